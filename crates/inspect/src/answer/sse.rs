//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), of which only the data matters.
//!
//! Guarantees: nothing of a line is kept but the name of its field, so lines and events may have any length.

/// The longest name that is looked for, with a byte order mark before it and one byte more.
const MAX_NAME: usize = 8;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The next bytes of an event's data. Where lines end, there is a line feed.
    Data(&'a [u8]),
    /// The event is over.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Name,
    /// Behind the colon of data, where one space counts for nothing.
    Colon,
    Data,
    Skip,
}

/// Reads events.
#[derive(Debug)]
pub(crate) struct Sse {
    line: Line,
    name: Vec<u8>,
    is_first: bool,
    behind_return: bool,
    has_data: bool,
}

impl Sse {
    pub(crate) fn new() -> Self {
        Self { line: Line::Name, name: Vec::new(), is_first: true, behind_return: false, has_data: false }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], mut on: impl FnMut(Piece<'_>)) {
        while let Some((first, behind)) = bytes.split_first() {
            let is_second_half = *first == b'\n' && std::mem::take(&mut self.behind_return);
            self.behind_return = *first == b'\r';
            if is_second_half {
                bytes = behind;
                continue;
            }
            if matches!(first, b'\r' | b'\n') {
                self.end_line(&mut on);
                bytes = behind;
                continue;
            }
            let length = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
            let (line, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            self.within_line(line, &mut on);
            bytes = rest;
        }
    }

    fn within_line(&mut self, mut line: &[u8], on: &mut impl FnMut(Piece<'_>)) {
        while let Some((first, behind)) = line.split_first() {
            match self.line {
                Line::Name if *first == b':' => {
                    self.line = if self.is_data() { Line::Colon } else { Line::Skip };
                }
                Line::Name if self.name.len() < MAX_NAME => self.name.push(*first),
                Line::Name | Line::Skip => {
                    self.line = Line::Skip;
                    return;
                }
                Line::Colon => {
                    self.line = Line::Data;
                    if *first != b' ' {
                        continue;
                    }
                }
                Line::Data => {
                    on(Piece::Data(line));
                    return;
                }
            }
            line = behind;
        }
    }

    fn is_data(&self) -> bool {
        let name = if self.is_first { self.name.strip_prefix(MARK) } else { None };
        name.unwrap_or(&self.name) == b"data"
    }

    fn end_line(&mut self, on: &mut impl FnMut(Piece<'_>)) {
        let has_nothing = self.line == Line::Name && self.name.is_empty();
        let is_data =
            matches!(self.line, Line::Colon | Line::Data) || self.line == Line::Name && self.is_data();
        if has_nothing && std::mem::take(&mut self.has_data) {
            on(Piece::End);
        } else if is_data {
            self.has_data = true;
            on(Piece::Data(b"\n"));
        }
        self.line = Line::Name;
        self.name.clear();
        self.is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data of each event that ended, then what is open.
    fn events<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut sse, mut events) = (Sse::new(), vec![vec![]]);
        for part in parts {
            sse.push(part, |piece| match piece {
                Piece::Data(data) => events.last_mut().unwrap().extend_from_slice(data),
                Piece::End => events.push(vec![]),
            });
        }
        events.iter().map(|data| String::from_utf8_lossy(data).into_owned()).collect()
    }

    #[test]
    fn events_are_told_apart_whatever_ends_their_lines() {
        for (text, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["a\n", "b\n", ""]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["a\n", "b\n", ""]),
            ("data: a\r\rdata: b\r\r", vec!["a\n", "b\n", ""]),
            ("data: a\ndata: b\n\n", vec!["a\nb\n", ""]),
            ("data: a\r\ndata: b\r\n\r\n", vec!["a\nb\n", ""]),
            ("data:a\n\n", vec!["a\n", ""]),
            ("data:  a\n\n", vec![" a\n", ""]),
            ("data\n\n", vec!["\n", ""]),
            ("event: x\nid: 1\ndata: a\nretry: 3\n\n", vec!["a\n", ""]),
            (": comment\n\n\n\n", vec![""]),
            ("event: x\n\n", vec![""]),
            ("database: a\n\nxdata: a\n\n data: a\n\n", vec![""]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec!["a\n", ""]),
            ("data: open", vec!["open"]),
            ("data: a:b\n\n", vec!["a:b\n", ""]),
        ] {
            assert_eq!(events(std::iter::once(text.as_bytes())), expected, "{text:?}");
            assert_eq!(events(text.as_bytes().chunks(1)), expected, "{text:?} by bytes");
        }
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(text in "(data|event|:| |\r|\n|x|ü|\u{feff}){0,30}", size in 1_usize..5) {
            let bytes = text.as_bytes();
            prop_assert_eq!(events(std::iter::once(bytes)), events(bytes.chunks(size)));
        }
    }
}
