//! What is printed cannot steer the terminal that shows it, whatever names somebody gave.
//!
//! Enters: text, and JSON, which leaves everything beyond ASCII as it is. Leaves: the same with each character that steers written out;
//! for JSON that is another spelling of the same value. Guarantees: no control character beyond ASCII and none that changes the direction
//! or ends a line gets through. Does not: touch ASCII, in which the program itself writes line ends and colours; [`printable`] does that
//! for one name or line.

use std::fmt::Display;
use std::io::{self, Write};
use std::str;

/// Whether a character does something to a terminal, or to the text around it, instead of being shown.
fn steers(c: char) -> bool {
    let directs =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text that cannot steer a terminal: control and direction-changing characters are written out.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(steers) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// How many of something, with its noun in the right number: `1 error`, `2 policies`.
pub(crate) fn counted(number: impl Display, one: &str) -> String {
    let number = number.to_string();
    match one.strip_suffix('y') {
        _ if number == "1" => format!("1 {one}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {one}s"),
    }
}

/// Passes on what is written, without what steers beyond ASCII.
#[derive(Debug)]
pub(crate) struct Plain<W> {
    out: W,
    /// The beginning of a character whose end is not written yet; at most three bytes.
    begun: Vec<u8>,
}

impl<W: Write> Plain<W> {
    /// Before this.
    pub(crate) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !c.is_ascii() && steers(*c)) {
            let (before, after) = rest.split_at(at);
            self.out.write_all(before.as_bytes())?;
            write!(self.out, "\\u{:04x}", u32::from(c))?;
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        self.out.write_all(rest.as_bytes())
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text(chunk.valid())?;
            let broken = chunk.invalid();
            let is_begun = str::from_utf8(broken).is_err_and(|it| it.error_len().is_none());
            if is_begun && chunks.peek().is_none() {
                self.begun = broken.to_vec();
            } else {
                self.out.write_all(broken)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_has_its_number() {
        let said = [counted(1, "error"), counted(0, "error"), counted(2, "policy"), counted(1, "policy")];
        assert_eq!(said, ["1 error", "0 errors", "2 policies", "1 policy"]);
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("web"), "web");
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
    }

    fn passed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut plain = Plain::new(Vec::new());
        pieces.iter().for_each(|piece| plain.write_all(piece).unwrap());
        plain.out
    }

    #[test]
    fn json_is_the_same_value_and_plain() {
        let written = serde_json::json!({"name": "a\u{9b}2J\u{202e}\u{2028}é\u{7f}🦀"});
        let passed = passed(&[written.to_string().as_bytes()]);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&passed).unwrap(), written);
        let text = String::from_utf8(passed).unwrap();
        assert!(text.contains("\\u009b2J\\u202e\\u2028é"), "{text}");
    }

    #[test]
    fn how_it_is_written_changes_nothing() {
        let text = "x\u{1b}[31m\u{9b}é\u{202e}🦀\n".as_bytes();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(passed(&bytes), passed(&[text]));
        // What is no text goes on as it is.
        assert_eq!(passed(&[b"a\xff\xc3(", b"\xe2\x80"]), b"a\xff\xc3(");
        assert_eq!(passed(&[b"\xe2\x80", b"z"]), b"\xe2\x80z");
        assert_eq!(passed(&[b"\xe2\x80z\xe2\x80", b"\xae"]), b"\xe2\x80z\\u202e");
    }
}
