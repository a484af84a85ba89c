//! One part of a multipart body: its headers, then its content.

use super::{Flags, MAX_PART_HEADERS};

/// A part being read.
#[derive(Default)]
pub(super) struct Part {
    headers: Vec<Vec<u8>>,
    done: bool,
    fault: Option<&'static str>,
    content: Vec<u8>,
}

/// A part that was read.
pub(super) struct Finished {
    pub(super) name: Vec<u8>,
    pub(super) filename: Option<Vec<u8>>,
    pub(super) headers: Vec<Vec<u8>>,
    pub(super) content: Vec<u8>,
    /// What is wrong with its headers, which rules see nevertheless.
    pub(super) fault: Option<&'static str>,
}

impl Part {
    pub(super) fn in_headers(&self) -> bool {
        !self.done
    }

    /// Takes a line: `text` without its end, `whole` with it.
    pub(super) fn line(&mut self, text: &[u8], whole: &[u8], flags: &mut Flags) -> Result<(), &'static str> {
        if self.done {
            self.content.extend_from_slice(whole);
            return Ok(());
        }
        if text.is_empty() {
            self.done = true;
            return Ok(());
        }
        if text.first().is_some_and(u8::is_ascii_whitespace) {
            flags.header_folding = true;
            // Only a space or a tabulator folds for everybody.
            flags.invalid_header_folding |= !matches!(text.first(), Some(b' ' | b'\t'));
            let Some(last) = self.headers.last_mut() else {
                flags.invalid_part = true;
                return Err("a part begins by a folded header");
            };
            last.push(b' ');
            last.extend_from_slice(text.trim_ascii_start());
            return Ok(());
        }
        let Some(colon) = memchr::memchr(b':', text) else {
            flags.invalid_part = true;
            return Err("a part's header has no colon");
        };
        let name = text.get(..colon).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || text.contains(&0) {
            flags.invalid_part = true;
            self.fault = Some("a part's header has a character that it must not");
        }
        if self.headers.len() >= MAX_PART_HEADERS {
            return Err("a part has too many headers");
        }
        self.headers.push(text.to_vec());
        Ok(())
    }

    pub(super) fn finish(mut self, flags: &mut Flags) -> Result<Finished, &'static str> {
        // The end of the line before the boundary belongs to the boundary.
        let content = self.content.strip_suffix(b"\n").map_or(self.content.len(), <[u8]>::len);
        self.content.truncate(content);
        if self.content.last() == Some(&b'\r') {
            self.content.pop();
        }
        let disposition = self.headers.iter().find_map(|header| {
            let at = header.iter().position(|byte| *byte == b':')?;
            let (name, value) = header.split_at_checked(at)?;
            name.trim_ascii()
                .eq_ignore_ascii_case(b"content-disposition")
                .then(|| value.get(1..).unwrap_or_default())
        });
        let Some(disposition) = disposition else {
            flags.invalid_part = true;
            return Err("a part has no Content-Disposition");
        };
        let (name, filename) = match parameters(disposition, flags) {
            Ok(found) => found,
            Err(what) => {
                flags.invalid_part = true;
                return Err(what);
            }
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            flags.invalid_part = true;
            return Err("a part has no name");
        };
        // Readers differ on what it is without a name; as a field all rules look at it.
        let filename = filename.filter(|filename| !filename.is_empty());
        Ok(Finished { name, filename, headers: self.headers, content: self.content, fault: self.fault })
    }
}

/// What names of headers are made of (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Name of a field and of a file, where the header has them.
type Names = (Option<Vec<u8>>, Option<Vec<u8>>);

/// `form-data; name="a"; filename="b"`.
fn parameters(header: &[u8], flags: &mut Flags) -> Result<Names, &'static str> {
    let header = header.trim_ascii();
    let Some(mut rest) = strip_prefix_ignoring_case(header, b"form-data") else {
        return Err("a part is not form-data");
    };
    let (mut name, mut filename) = (None, None);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok((name, filename));
        }
        rest = rest
            .strip_prefix(b";")
            .ok_or("a part's parameters are not separated by a semicolon")?
            .trim_ascii_start();
        if rest.is_empty() {
            return Ok((name, filename));
        }
        let end = rest.iter().position(|byte| *byte == b'=').ok_or("a part's parameter has no value")?;
        let key = rest.get(..end).unwrap_or_default().trim_ascii_end().to_ascii_lowercase();
        let (value, behind) = value(rest.get(end + 1..).unwrap_or_default().trim_ascii_start(), flags)?;
        rest = behind;
        let slot = match key.as_slice() {
            b"name" => &mut name,
            b"filename" => &mut filename,
            // Readers that know RFC 5987 take this name, others the plain one.
            b"filename*" => {
                flags.invalid_part = true;
                &mut filename
            }
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err("a part's parameter is there twice");
        }
    }
}

fn strip_prefix_ignoring_case<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A value in quotes or up to a semicolon, and what is behind it.
fn value<'t>(text: &'t [u8], flags: &mut Flags) -> Result<(Vec<u8>, &'t [u8]), &'static str> {
    let Some(&quote @ (b'"' | b'\'')) = text.first() else {
        let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(text.len());
        let (value, behind) = text.split_at_checked(end).unwrap_or((text, &[]));
        flags.invalid_quoting |= value.iter().any(|byte| matches!(byte, b'"' | b'\''));
        return Ok((value.to_vec(), behind));
    };
    flags.invalid_quoting |= quote == b'\'';
    let mut value = Vec::new();
    let mut bytes = text.iter().copied().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            _ if byte == quote => return Ok((value, text.get(index + 1..).unwrap_or_default())),
            b'\\' => {
                // A backslash escapes a quote or itself; elsewhere some browsers mean a path.
                match text.get(index + 1) {
                    Some(next) if *next == quote || *next == b'\\' => {
                        value.push(*next);
                        bytes.next();
                    }
                    _ => value.push(byte),
                }
            }
            _ => value.push(byte),
        }
    }
    flags.invalid_quoting = true;
    Err("a quote in a part's header is not closed")
}
