//! JSON (RFC 8259) to arguments: each scalar one, named by its path, as ModSecurity v3 names it: `json.list.array_0.key`.

use super::{Limits, MAX_NAMES, Pairs};

/// What a body says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) pairs: Pairs,
    /// Names of lists: they are names of the sender's choice too, though only their elements are arguments.
    pub(crate) lists: Vec<Vec<u8>>,
    /// Whether a key could be taken for a path or for the number of an element.
    pub(crate) dotted: bool,
    pub(crate) fault: Option<String>,
}

/// Reads a body; a fault comes with the arguments before it.
pub(crate) fn read(body: &[u8], limits: Limits) -> Document {
    let document = Document::default();
    let mut reader =
        Reader { body, at: 0, stack: Vec::new(), path: b"json".to_vec(), document, names: 0, limits };
    let fault =
        reader.document().err().map(|what| format!("JSON parsing error at byte {}: {what}", reader.at));
    Document { fault, ..reader.document }
}

/// An open container: how long the path around it is, and for an array how many elements there were.
struct Open {
    path: usize,
    elements: Option<usize>,
}

struct Reader<'b> {
    body: &'b [u8],
    at: usize,
    stack: Vec<Open>,
    path: Vec<u8>,
    document: Document,
    names: usize,
    limits: Limits,
}

/// What is next in a container.
enum Next {
    Value,
    Nothing,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), String> {
        self.blanks();
        if self.at == self.body.len() {
            return Err("the body is empty".to_owned());
        }
        self.value()?;
        while !self.stack.is_empty() {
            match self.element()? {
                Next::Value => self.value()?,
                Next::Nothing => {}
            }
        }
        self.blanks();
        if self.at == self.body.len() { Ok(()) } else { Err("something follows the value".to_owned()) }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Goes to the next value of the innermost container, or closes it.
    fn element(&mut self) -> Result<Next, String> {
        let Some(open) = self.stack.last_mut() else { return Ok(Next::Nothing) };
        // Whatever was before it, a key or the number of an element, made the path longer.
        let first = self.path.len() == open.path;
        self.path.truncate(open.path);
        let array = open.elements;
        if let Some(elements) = &mut open.elements {
            self.path.extend_from_slice(format!(".array_{elements}").as_bytes());
            *elements += 1;
        }
        self.blanks();
        let close = if array.is_some() { b']' } else { b'}' };
        if self.eat(close) {
            self.close();
            return Ok(Next::Nothing);
        }
        if !first && !self.eat(b',') {
            return Err("a comma or the end of the list is missing".to_owned());
        }
        self.blanks();
        if array.is_none() {
            let key = self.string()?;
            self.document.dotted |= key.contains(&b'.') || key.starts_with(b"array_");
            self.path.push(b'.');
            self.path.extend_from_slice(&key);
            self.blanks();
            if !self.eat(b':') {
                return Err("a colon is missing".to_owned());
            }
            self.blanks();
        }
        Ok(Next::Value)
    }

    fn close(&mut self) {
        if let Some(open) = self.stack.pop() {
            self.path.truncate(open.path);
        }
    }

    fn value(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(open @ (b'{' | b'[')) => {
                if self.stack.len() >= self.limits.depth {
                    return Err(format!("nested deeper than {}", self.limits.depth));
                }
                self.at += 1;
                let elements = (open == b'[').then_some(0);
                if elements.is_some() && !self.stack.is_empty() {
                    self.count(self.path.len(), self.document.lists.len())?;
                    self.document.lists.push(self.path.clone());
                }
                self.stack.push(Open { path: self.path.len(), elements });
                Ok(())
            }
            Some(b'"') => {
                let text = self.string()?;
                self.argument(text)
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                self.argument(number)
            }
            _ => {
                for (word, value) in [(&b"true"[..], &b"true"[..]), (b"false", b"false"), (b"null", b"")] {
                    if self.body.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
                        self.at += word.len();
                        return self.argument(value.to_vec());
                    }
                }
                Err("a value is missing".to_owned())
            }
        }
    }

    fn argument(&mut self, value: Vec<u8>) -> Result<(), String> {
        self.count(self.path.len(), self.document.pairs.len())?;
        self.document.pairs.push((self.path.clone(), value));
        Ok(())
    }

    fn count(&mut self, name: usize, others: usize) -> Result<(), String> {
        self.names += name;
        if others >= self.limits.arguments || self.names > MAX_NAMES {
            return Err(format!("more than {} values, or their names are too long", self.limits.arguments));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Vec<u8>, String> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(self.body.get(start..self.at).unwrap_or_default().to_vec())
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err("a digit is missing".to_owned()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        if !self.eat(b'"') {
            return Err("a quote is missing".to_owned());
        }
        let mut text = Vec::new();
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let Some(plain) = plain else { return Err("a string is not closed".to_owned()) };
            let run = rest.get(..plain).unwrap_or_default();
            if std::str::from_utf8(run).is_err() {
                return Err("a string is not UTF-8".to_owned());
            }
            text.extend_from_slice(run);
            self.at += plain + 1;
            match rest.get(plain) {
                Some(b'"') => return Ok(text),
                Some(b'\\') => self.escape(&mut text)?,
                _ => return Err("a string has a control character".to_owned()),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let letter = self.peek();
        self.at += 1;
        text.push(match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(text),
            _ => return Err("an escape is not known".to_owned()),
        });
        Ok(())
    }

    /// A surrogate without its other half becomes a question mark, as in the parser that ModSecurity uses.
    fn unicode(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let mut code = self.four_digits()?;
        if (0xd800..0xdc00).contains(&code)
            && self.body.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u"))
        {
            let back = self.at;
            self.at += 2;
            match self.four_digits()? {
                low @ 0xdc00..0xe000 => code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                _ => self.at = back,
            }
        }
        let c = char::from_u32(code).unwrap_or('?');
        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let digits = self.body.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| "an escape needs four digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { arguments: 20, depth: 5 };

    fn check(body: &str, expected: &[(&str, &str)], whole: bool) {
        let Document { pairs, fault, .. } = read(body.as_bytes(), LIMITS);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (str(name), str(value))).collect();
        assert_eq!(pairs, expected, "{body}");
        assert_eq!(fault.is_none(), whole, "{body}: {fault:?}");
    }

    fn str(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn scalars_are_named_by_their_path() {
        check(
            r#"{"a":"b","c":{"d":1.5e3},"e":[true,null,{"f":"g"},[2]],"h":{}}"#,
            &[
                ("json.a", "b"),
                ("json.c.d", "1.5e3"),
                ("json.e.array_0", "true"),
                ("json.e.array_1", ""),
                ("json.e.array_2.f", "g"),
                ("json.e.array_3.array_0", "2"),
            ],
            true,
        );
        check(r#" "x\u00e9\ud83d\ude00\n\ud800" "#, &[("json", "xé😀\n?")], true);
        check("[{},[],1]", &[("json.array_2", "1")], true);
        check(r#"{"":1,"":2}"#, &[("json.", "1"), ("json.", "2")], true);
        check(r#"{"":{"":1}}"#, &[("json..", "1")], true);
    }

    #[test]
    fn lists_have_names_too() {
        let lists = read(br#"[{"a":[1,[2]]}]"#, LIMITS).lists;
        assert_eq!(lists, [b"json.array_0.a".to_vec(), b"json.array_0.a.array_1".to_vec()]);
    }

    #[test]
    fn faults_keep_what_was_before_them() {
        check(r#"{"a":1,"b":}"#, &[("json.a", "1")], false);
        for bad in [
            "",
            "{",
            "[1",
            "[1 2]",
            "{\"a\" 1}",
            "{1:2}",
            "[1,]x",
            "\"\u{1}\"",
            "\"\\x\"",
            "[[[[[[1]]]]]]",
            "nul",
            "01",
            "1 2",
        ] {
            assert!(read(bad.as_bytes(), LIMITS).fault.is_some(), "{bad}");
        }
        assert!(read(b"\"\xff\"", LIMITS).fault.is_some());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(body: Vec<u8>) {
            read(&body, LIMITS);
        }

        #[test]
        fn what_serde_reads_is_read(text in "[\\[\\]{}:,\"a1\\\\u0-9 etrufalsn.-]{0,40}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let ours = read(text.as_bytes(), Limits { arguments: 1000, depth: 100 }).fault.is_none();
            proptest::prop_assert!(!theirs || ours, "{}", text);
        }
    }
}
