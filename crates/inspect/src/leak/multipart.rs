//! Where the parts of a multipart body begin (RFC 2046 section 5.1).
//!
//! Enters: a body, split anywhere. Leaves: its parts' contents, piece by piece, so far as they are wanted. Guarantees: the
//! boundary is what the body begins with, whatever its media type says; nothing but one delimiter and the end of a part's
//! fields is remembered. Does not: read the fields of parts, or multipart inside multipart.

/// Longest delimiter: two dashes and a boundary of 70 characters.
const MAX_DELIMITER: usize = 72;

/// Most bytes of a part's fields.
const MAX_FIELDS: usize = 8 * 1024;

/// What a part's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A part's content begins at this offset of the body.
    Begin(u64),
    /// Bytes of its content.
    Bytes(&'a [u8]),
    /// Its content is over.
    End,
    /// Bytes of no part's content, but for delimiters: all of what is no multipart body.
    Outside(&'a [u8]),
}

/// Who is given what was found.
type Sink<'s> = &'s mut dyn FnMut(Part<'_>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// The first line, which is the delimiter.
    First,
    /// A part's fields: how many bytes, and how much of their end (`\r\n\r\n`) was seen.
    Fields(usize, usize),
    /// A part's content, with so much of the delimiter seen.
    Content(usize),
    /// It is no multipart body, or its end was seen.
    Done,
}

/// Finds parts.
#[derive(Debug)]
pub struct Parts {
    state: State,
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    at: u64,
}

impl Default for Parts {
    /// At a body's beginning.
    fn default() -> Self {
        Self { state: State::First, delimiter: b"\r\n".to_vec(), at: 0 }
    }
}

impl Parts {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], sink: Sink<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.state {
                State::First => self.first(rest, sink),
                State::Fields(seen, matched) => {
                    let (taken, begins) = self.fields(rest, seen, matched);
                    sink(Part::Outside(rest.get(..taken).unwrap_or_default()));
                    if begins {
                        sink(Part::Begin(self.at + taken as u64));
                    }
                    taken
                }
                State::Content(matched) => self.content(rest, matched, sink),
                State::Done => {
                    sink(Part::Outside(rest));
                    rest.len()
                }
            };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// The body is over.
    pub fn end(&mut self, sink: Sink<'_>) {
        if let State::Content(matched) = self.state {
            sink(Part::Bytes(self.delimiter.get(..matched).unwrap_or_default()));
            sink(Part::End);
        }
        if matches!(self.state, State::First) {
            sink(Part::Outside(self.delimiter.get(2..).unwrap_or_default()));
        }
        self.state = State::Done;
    }

    /// It is no multipart body.
    fn give_up(&mut self, sink: Sink<'_>) {
        sink(Part::Outside(self.delimiter.get(2..).unwrap_or_default()));
        self.state = State::Done;
    }

    fn first(&mut self, bytes: &[u8], sink: Sink<'_>) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            let length = self.delimiter.len() - 2;
            match byte {
                b'\n' if self.delimiter.ends_with(b"\r") && length > 3 => {
                    self.delimiter.pop();
                    // The line's end counts as one of two that end a part without fields.
                    self.state = State::Fields(0, 2);
                    return index + 1;
                }
                b'-' => self.delimiter.push(*byte),
                b' '..=b'~' | b'\r' if (2..MAX_DELIMITER).contains(&length) => self.delimiter.push(*byte),
                _ => {
                    self.give_up(sink);
                    return index;
                }
            }
        }
        if self.delimiter.len() > MAX_DELIMITER + 3 {
            self.give_up(sink);
        }
        bytes.len()
    }

    /// How many bytes are of a part's fields, and whether its content begins behind them.
    fn fields(&mut self, bytes: &[u8], mut seen: usize, mut matched: usize) -> (usize, bool) {
        const END: &[u8] = b"\r\n\r\n";
        for (index, byte) in bytes.iter().enumerate() {
            seen += 1;
            matched = match END.get(matched) {
                Some(wanted) if wanted == byte => matched + 1,
                _ => usize::from(*byte == b'\r'),
            };
            if matched == END.len() {
                self.state = State::Content(0);
                return (index + 1, true);
            }
            if seen > MAX_FIELDS {
                self.state = State::Done;
                return (index + 1, false);
            }
        }
        self.state = State::Fields(seen, matched);
        (bytes.len(), false)
    }

    /// The delimiter has a return at its beginning and nowhere else, so a mismatch needs no second look at what matched.
    fn content(&mut self, bytes: &[u8], mut matched: usize, sink: Sink<'_>) -> usize {
        let mut index = 0;
        while let Some(byte) = bytes.get(index) {
            if self.delimiter.get(matched) == Some(byte) {
                matched += 1;
                index += 1;
                if matched == self.delimiter.len() {
                    sink(Part::End);
                    self.state = State::Fields(0, 0);
                    return index;
                }
                continue;
            }
            if matched > 0 {
                sink(Part::Bytes(self.delimiter.get(..matched).unwrap_or_default()));
                matched = 0;
                continue;
            }
            let rest = bytes.get(index..).unwrap_or_default();
            let plain = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
            sink(Part::Bytes(rest.get(..plain).unwrap_or_default()));
            index += plain;
        }
        self.state = State::Content(matched);
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &[u8], piece: usize) -> Vec<(u64, String)> {
        let mut reader = Parts::default();
        let mut found: Vec<(u64, String)> = Vec::new();
        let mut open = |part: Part<'_>| match part {
            Part::Begin(at) => found.push((at, String::new())),
            Part::Bytes(bytes) => found.last_mut().unwrap().1.push_str(&bytes.escape_ascii().to_string()),
            Part::End | Part::Outside(_) => {}
        };
        body.chunks(piece).for_each(|bytes| reader.push(bytes, &mut open));
        reader.end(&mut open);
        found
    }

    fn check(body: &str, expected: &[(u64, &str)]) {
        for piece in [1, 2, 5, usize::MAX] {
            let found = parts(body.as_bytes(), piece);
            let found: Vec<_> = found.iter().map(|(at, text)| (*at, text.as_str())).collect();
            assert_eq!(found, expected, "{body} in pieces of {piece}");
        }
    }

    #[test]
    fn parts_begin_behind_their_fields_and_end_at_the_delimiter() {
        check(
            "--b7\r\na: b\r\n\r\none\r\n--b\r\r\n--b7\r\n\r\n\r\n--b7\r\nc: d\r\n\r\ntwo\r\n--b7--\r\n",
            &[(14, "one\\r\\n--b\\r"), (33, ""), (49, "two")],
        );
        check("--b7\r\n\r\nthe end is missing", &[(8, "the end is missing")]);
    }

    #[test]
    fn other_bodies_have_no_parts() {
        check("{\"a\": \"--b7\\r\\n\"}", &[]);
        check("- item\r\n\r\nx", &[]);
        check(&format!("--{}\r\n\r\nx", "b".repeat(90)), &[]);
        check("--\r\n\r\nx", &[]);
    }
}
