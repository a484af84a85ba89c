//! XML to what rules look at: all text together (`XML:/*`) and each attribute's value (`XML://@*`).
//!
//! Well-formedness is checked as far as a different reading could hide text: tags must pair, references must be known,
//! characters and their encoding must be those that every reader takes.
//! A document that defines entities is a fault, for what they stand for would have to be expanded without bound.
//! Source: XML 1.0 (fifth edition).

use std::collections::BTreeSet;

use super::Limits;

/// Texts of a document.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) text: Vec<u8>,
    pub(crate) attributes: Vec<Vec<u8>>,
}

/// Reads a body; a fault comes with the texts before it.
pub(crate) fn read(body: &[u8], limits: Limits) -> (Texts, Option<String>) {
    let mut reader = Reader { rest: body, texts: Texts::default(), open: Vec::new(), limits, root: false };
    let fault = reader.document().and_then(|()| characters(body)).err();
    let at = body.len() - reader.rest.len();
    (reader.texts, fault.map(|what| format!("XML: Failed parsing document at byte {at}: {what}")))
}

/// Encodings in which ASCII is ASCII, so that what is read here is what others read.
const ENCODINGS: [&str; 3] = ["utf-8", "us-ascii", "ascii"];
/// The same, by how their names begin.
const FAMILIES: [&str; 2] = ["iso-8859-", "windows-125"];

/// Whether a document has an encoding and characters that every reader takes.
fn characters(body: &[u8]) -> Result<(), String> {
    if body.iter().any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0c | 0x0e..=0x1f)) {
        return Err("a control character".to_owned());
    }
    let encoding = encoding(body).unwrap_or_else(|| "utf-8".to_owned());
    if encoding == "utf-8" && std::str::from_utf8(body).is_err() {
        return Err("it is not UTF-8".to_owned());
    }
    let known =
        ENCODINGS.contains(&encoding.as_str()) || FAMILIES.iter().any(|family| encoding.starts_with(family));
    if known { Ok(()) } else { Err(format!("encoding {encoding} is not read here")) }
}

/// The encoding that the declaration names.
fn encoding(body: &[u8]) -> Option<String> {
    let declaration = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).strip_prefix(b"<?xml")?;
    let declaration = declaration.get(..memchr::memmem::find(declaration, b"?>")?)?;
    let at = memchr::memmem::find(declaration, b"encoding")?;
    let value = declaration.get(at + 8..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let value = value.get(..memchr::memchr(*quote, value)?)?;
    Some(String::from_utf8_lossy(value).to_ascii_lowercase())
}

struct Reader<'b> {
    rest: &'b [u8],
    texts: Texts,
    open: Vec<&'b [u8]>,
    limits: Limits,
    root: bool,
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.' | 0x80..)
}

impl<'b> Reader<'b> {
    fn document(&mut self) -> Result<(), String> {
        self.eat("\u{feff}".as_bytes());
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'<', self.rest).unwrap_or(self.rest.len());
            let text = self.take(end);
            self.text(text)?;
            if !self.rest.is_empty() {
                self.markup()?;
            }
        }
        match (self.open.is_empty(), self.root) {
            (true, true) => Ok(()),
            (true, false) => Err("there is no element".to_owned()),
            (false, _) => Err("an element is not closed".to_owned()),
        }
    }

    fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn eat(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, end: &[u8], what: &str) -> Result<&'b [u8], String> {
        let at = memchr::memmem::find(self.rest, end).ok_or_else(|| format!("{what} is not closed"))?;
        let inner = self.take(at);
        self.eat(end);
        Ok(inner)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn name(&mut self) -> Result<&'b [u8], String> {
        let count = self.rest.iter().take_while(|byte| is_name(**byte)).count();
        match self.rest.first() {
            Some(first) if count > 0 && !first.is_ascii_digit() && !matches!(first, b'-' | b'.') => {
                Ok(self.take(count))
            }
            _ => Err("a name is missing".to_owned()),
        }
    }

    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        if self.open.is_empty() {
            return if text.trim_ascii().is_empty() {
                Ok(())
            } else {
                Err("text outside of the element".to_owned())
            };
        }
        if memchr::memmem::find(text, b"]]>").is_some() {
            return Err("`]]>` outside of a CDATA section".to_owned());
        }
        let mut out = std::mem::take(&mut self.texts.text);
        let done = unescape(text, &mut out);
        self.texts.text = out;
        done
    }

    fn markup(&mut self) -> Result<(), String> {
        if self.eat(b"<!--") {
            return self.until(b"-->", "a comment").map(|_| ());
        }
        if self.eat(b"<![CDATA[") {
            let inner = self.until(b"]]>", "a CDATA section")?;
            if self.open.is_empty() {
                return Err("text outside of the element".to_owned());
            }
            self.texts.text.extend_from_slice(inner);
            return Ok(());
        }
        if self.eat(b"<?") {
            return self.until(b"?>", "an instruction").map(|_| ());
        }
        if self.eat(b"<!DOCTYPE") {
            return self.doctype();
        }
        if self.eat(b"</") {
            let name = self.name()?;
            self.blanks();
            let paired = self.open.pop().is_some_and(|open| open == name);
            return if paired && self.eat(b">") { Ok(()) } else { Err("an end tag has no start".to_owned()) };
        }
        self.eat(b"<");
        self.element()
    }

    /// A document type may name what it is, and nothing else.
    fn doctype(&mut self) -> Result<(), String> {
        let inner = self.until(b">", "the document type")?;
        if inner.contains(&b'[') {
            return Err("the document type defines something; entities are not expanded".to_owned());
        }
        Ok(())
    }

    fn element(&mut self) -> Result<(), String> {
        if self.open.is_empty() && self.root {
            return Err("there is a second element".to_owned());
        }
        let name = self.name()?;
        self.root = true;
        let mut names = BTreeSet::new();
        loop {
            let before = self.rest.len();
            self.blanks();
            if self.eat(b"/>") {
                return Ok(());
            }
            if self.eat(b">") {
                if self.open.len() >= self.limits.depth {
                    return Err(format!("nested deeper than {}", self.limits.depth));
                }
                self.open.push(name);
                return Ok(());
            }
            if self.rest.len() == before {
                return Err("a tag is not closed".to_owned());
            }
            if !names.insert(self.attribute()?) {
                return Err("an attribute is there twice".to_owned());
            }
        }
    }

    /// An attribute; gives its name.
    fn attribute(&mut self) -> Result<&'b [u8], String> {
        let name = self.name()?;
        self.blanks();
        if !self.eat(b"=") {
            return Err("an attribute has no value".to_owned());
        }
        self.blanks();
        let quote = self.take(1);
        if quote != b"\"" && quote != b"'" {
            return Err("an attribute's value has no quotes".to_owned());
        }
        let inner = self.until(quote, "an attribute's value")?;
        if self.texts.attributes.len() >= self.limits.arguments {
            return Err(format!("more than {} attributes", self.limits.arguments));
        }
        let mut value = Vec::with_capacity(inner.len());
        let done = if inner.contains(&b'<') {
            Err("an attribute's value has a `<`".to_owned())
        } else {
            unescape(inner, &mut value)
        };
        self.texts.attributes.push(value);
        done.map(|()| name)
    }
}

/// Appends text with its references resolved.
fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let end = rest.iter().take(12).position(|byte| *byte == b';').ok_or("a reference is not closed")?;
        let name = std::str::from_utf8(rest.get(..end).unwrap_or_default()).unwrap_or_default();
        let code = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "apos" => Some('\''),
            "quot" => Some('"'),
            _ => match name.strip_prefix("#x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => name.strip_prefix('#').and_then(|digits| digits.parse().ok()),
            }
            .and_then(char::from_u32)
            .filter(|c| *c >= ' ' || matches!(c, '\t' | '\n' | '\r')),
        };
        let c = code.ok_or_else(|| format!("reference &{name}; is not known"))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { arguments: 5, depth: 4 };

    #[test]
    fn text_and_attributes_are_found() {
        let body = b"<?xml version=\"1.0\"?><!DOCTYPE a><a x='1 &amp; 2'><!-- no --><b y=\"z\"/>t&#x41;<![CDATA[<u>]]></a>\n";
        let (texts, fault) = read(body, LIMITS);
        assert_eq!(fault, None);
        assert_eq!(texts.text, b"tA<u>");
        assert_eq!(texts.attributes, [b"1 & 2".to_vec(), b"z".to_vec()]);
    }

    #[test]
    fn what_is_not_well_formed_is_a_fault() {
        for bad in [
            "",
            "test",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&x;</a>",
            "<a b=c/>",
            "<a b='1' b='2'/>",
            "<a>]]></a>",
            "<a>&#0;</a>",
            "<a>\0</a>",
            "<?xml version='1.0' encoding='UTF-16'?><a/>",
            "<?xml version=\"1.0\" encoding=\"utf-7\"?><a>+ADw-</a>",
            "<a><b><c><d><e>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
            "<a",
        ] {
            assert!(read(bad.as_bytes(), LIMITS).1.is_some(), "{bad}");
        }
        assert!(read(b"<a>\xff</a>", LIMITS).1.is_some());
        assert_eq!(read(b"<?xml version='1.0' encoding='ISO-8859-15'?><a>\xe9</a>", LIMITS).1, None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(body in "[<>a/='\"&;!\\-\\[\\]?#x ]{0,60}") {
            read(body.as_bytes(), LIMITS);
        }
    }
}
