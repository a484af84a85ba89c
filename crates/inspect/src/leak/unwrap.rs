//! Runs of base64, hexadecimal digits and percent-encoding inside a body, decoded as they arrive.
//!
//! Enters: a body, split anywhere. Leaves: for each run its beginning, what it decodes to, its end ([`Piece`]).
//! Guarantees: holds fewer than [`MIN_RUN`] bytes; where the body is split does not change what is decoded. A text without
//! runs is mostly skipped. Does not: decode what it decoded.

/// Characters in a row from which on a text is taken for base64 or hexadecimal.
pub(super) const MIN_RUN: usize = 64;

/// Bytes before the first `%` that belong to a percent-encoded run.
const PERCENT_BEFORE: usize = 64;

/// Decoded bytes that are given at a time.
const PIECE: usize = 4096;

/// How something is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Base64,
    Hex,
    Percent,
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// It begins at this offset.
    Begin(u64),
    Bytes(&'a [u8]),
    End,
}

type Sink<'s> = &'s mut dyn FnMut(Encoding, Piece<'_>);

/// Six bits per character, four characters at a time.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    bits: u32,
    held: u32,
}

impl Base64 {
    /// Takes six bits; gives a byte when there are eight.
    pub(super) fn push(&mut self, value: u8) -> Option<u8> {
        self.bits = self.bits << 6 | u32::from(value);
        self.held += 6;
        (self.held >= 8).then(|| {
            self.held -= 8;
            u8::try_from(self.bits >> self.held & 0xff).unwrap_or(0)
        })
    }
}

/// Of either alphabet of RFC 4648.
pub(super) const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// What [`sextet`] says, or [`OUTSIDE`].
static SEXTETS: [u8; 256] = sextets();
const OUTSIDE: u8 = 64;

#[expect(
    clippy::indexing_slicing,
    reason = "a byte is an index into 256 entries, and const code has no other way"
)]
const fn sextets() -> [u8; 256] {
    let mut table = [OUTSIDE; 256];
    let mut byte = 0u8;
    loop {
        if let Some(value) = sextet(byte) {
            table[byte as usize] = value;
        }
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Whether a run may have it; JSON writes `\/` for a slash.
fn may_be_in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_' | b'\\')
}

/// Finds and decodes runs of base64 and of hexadecimal digits; the latter are given as both.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Bytes of a run that is not long enough yet.
    held: Vec<u8>,
    at: u64,
    run: Option<Run>,
}

#[derive(Debug, Default)]
struct Run {
    base64: Base64,
    decoded: Vec<u8>,
    /// The half of a byte, and the bytes; `None`: it has other characters.
    hex: Option<(Option<u8>, Vec<u8>)>,
    /// Characters of this line.
    line: usize,
    is_escaped: bool,
}

impl Runs {
    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = if self.run.is_some() {
                self.decode(rest, sink)
            } else if self.held.is_empty() {
                self.search(rest)
            } else {
                self.gather(rest)
            };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
            if self.held.len() == MIN_RUN {
                self.begin(sink);
            }
        }
    }

    pub(super) fn end(&mut self, sink: Sink<'_>) {
        self.held.clear();
        if let Some(run) = self.run.take() {
            run.end(sink);
        }
    }

    /// Skips to where a run may begin: if a byte is in none, no run that has it can, so the last of each window is looked
    /// at first.
    fn search(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        loop {
            let rest = bytes.get(start..).unwrap_or_default();
            let window = rest.get(..rest.len().min(MIN_RUN)).unwrap_or_default();
            match window.iter().rposition(|byte| !may_be_in_run(*byte)) {
                Some(outside) => start += outside + 1,
                None => {
                    self.held.extend_from_slice(window);
                    return start + window.len();
                }
            }
        }
    }

    /// Adds to a run that began at the end of the last bytes.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        let room = MIN_RUN.saturating_sub(self.held.len());
        let more = bytes.iter().take(room).take_while(|byte| may_be_in_run(**byte)).count();
        self.held.extend_from_slice(bytes.get(..more).unwrap_or_default());
        if more < room && more < bytes.len() {
            self.held.clear();
        }
        more
    }

    fn begin(&mut self, sink: Sink<'_>) {
        let held = std::mem::take(&mut self.held);
        let offset = self.at.saturating_sub(held.len() as u64);
        sink(Encoding::Base64, Piece::Begin(offset));
        sink(Encoding::Hex, Piece::Begin(offset));
        self.run = Some(Run { hex: Some((None, Vec::new())), ..Run::default() });
        // A run may end within what was held, and what is behind is no run of its own: it is too short.
        self.decode(&held, sink);
        self.held = held;
        self.held.clear();
    }

    fn decode(&mut self, bytes: &[u8], sink: Sink<'_>) -> usize {
        let Some(run) = &mut self.run else { return bytes.len() };
        let mut at = 0;
        loop {
            at += run.take_groups(bytes.get(at..).unwrap_or_default(), sink);
            let Some(byte) = bytes.get(at) else { return at };
            at += 1;
            if !run.take(*byte, sink) {
                if let Some(run) = self.run.take() {
                    run.end(sink);
                }
                return at;
            }
        }
    }
}

impl Run {
    /// Takes whole groups of four characters, the quick way; how many characters.
    fn take_groups(&mut self, bytes: &[u8], sink: Sink<'_>) -> usize {
        if self.hex.is_some() || self.is_escaped || self.base64.held != 0 {
            return 0;
        }
        let mut taken = 0;
        for group in bytes.as_chunks::<4>().0 {
            let [a, b, c, d] =
                group.map(|byte| u32::from(SEXTETS.get(usize::from(byte)).copied().unwrap_or(OUTSIDE)));
            if (a | b | c | d) >= u32::from(OUTSIDE) {
                break;
            }
            let [_, bytes @ ..] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
            self.decoded.extend_from_slice(&bytes);
            if self.decoded.len() >= PIECE {
                sink(Encoding::Base64, Piece::Bytes(&self.decoded));
                self.decoded.clear();
            }
            taken += 4;
        }
        self.line += taken;
        taken
    }

    /// Whether the byte is of the run.
    fn take(&mut self, byte: u8, sink: Sink<'_>) -> bool {
        match byte {
            b'\\' if !self.is_escaped => {
                self.is_escaped = true;
                return true;
            }
            b'n' | b'r' if std::mem::take(&mut self.is_escaped) => return self.new_line(),
            b'\r' | b'\n' if !self.is_escaped => return self.new_line(),
            b'/' => self.is_escaped = false,
            _ if self.is_escaped => return false,
            _ => {}
        }
        let Some(value) = sextet(byte) else { return false };
        self.line += 1;
        if let Some(decoded) = self.base64.push(value) {
            give(Encoding::Base64, &mut self.decoded, decoded, sink);
        }
        self.take_hex(byte, sink);
        true
    }

    /// Lines of base64 have a whole number of groups; anything else ends there.
    fn new_line(&mut self) -> bool {
        let is_whole = self.line.is_multiple_of(4);
        self.line = 0;
        is_whole
    }

    fn take_hex(&mut self, byte: u8, sink: Sink<'_>) {
        let Some((half, bytes)) = &mut self.hex else { return };
        match (nibble(byte), half.take()) {
            (Some(high), None) => *half = Some(high),
            (Some(low), Some(high)) => give(Encoding::Hex, bytes, high << 4 | low, sink),
            (None, _) => {
                sink(Encoding::Hex, Piece::Bytes(bytes));
                sink(Encoding::Hex, Piece::End);
                self.hex = None;
            }
        }
    }

    fn end(self, sink: Sink<'_>) {
        sink(Encoding::Base64, Piece::Bytes(&self.decoded));
        sink(Encoding::Base64, Piece::End);
        if let Some((_, bytes)) = self.hex {
            sink(Encoding::Hex, Piece::Bytes(&bytes));
            sink(Encoding::Hex, Piece::End);
        }
    }
}

fn give(encoding: Encoding, bytes: &mut Vec<u8>, byte: u8, sink: Sink<'_>) {
    bytes.push(byte);
    if bytes.len() >= PIECE {
        sink(encoding, Piece::Bytes(bytes));
        bytes.clear();
    }
}

/// Finds and decodes percent-encoded text (RFC 3986 section 2.1), with `+` for a blank as forms have it.
#[derive(Debug, Default)]
pub(super) struct Percent {
    /// The last bytes before a run.
    before: Vec<u8>,
    at: u64,
    is_in_run: bool,
    /// A `%` and perhaps a digit.
    escape: Vec<u8>,
    decoded: Vec<u8>,
}

impl Percent {
    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = if self.is_in_run { self.decode(rest, sink) } else { self.search(rest, sink) };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    pub(super) fn end(&mut self, sink: Sink<'_>) {
        if self.is_in_run {
            self.finish(sink);
        }
    }

    fn search(&mut self, bytes: &[u8], sink: Sink<'_>) -> usize {
        let found = memchr::memchr(b'%', bytes);
        let seen = bytes.get(..found.unwrap_or(bytes.len())).unwrap_or_default();
        self.before
            .extend_from_slice(seen.get(seen.len().saturating_sub(PERCENT_BEFORE)..).unwrap_or_default());
        self.before.drain(..self.before.len().saturating_sub(PERCENT_BEFORE));
        if found.is_some() {
            let from = self.before.iter().rposition(|byte| is_break(*byte)).map_or(0, |at| at + 1);
            let before = self.before.split_off(from);
            let begin = (self.at + seen.len() as u64).saturating_sub(before.len() as u64);
            sink(Encoding::Percent, Piece::Begin(begin));
            self.is_in_run = true;
            self.decoded.extend(before.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }));
            self.before.clear();
        }
        seen.len()
    }

    fn decode(&mut self, bytes: &[u8], sink: Sink<'_>) -> usize {
        let mut index = 0;
        while let Some(byte) = bytes.get(index).copied() {
            if is_break(byte) {
                self.finish(sink);
                return index;
            }
            if self.escape.is_empty() && !matches!(byte, b'%' | b'+') {
                let rest = bytes.get(index..).unwrap_or_default();
                let plain = rest.iter().take(PIECE).take_while(|byte| is_plain(**byte)).count();
                self.decoded.extend_from_slice(rest.get(..plain).unwrap_or_default());
                index += plain;
            } else if self.escape.is_empty()
                && let Some([b'%', high, low]) = bytes.get(index..index + 3)
                && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
            {
                self.decoded.push(high << 4 | low);
                index += 3;
            } else {
                self.take(byte);
                index += 1;
            }
            if self.decoded.len() >= PIECE {
                sink(Encoding::Percent, Piece::Bytes(&self.decoded));
                self.decoded.clear();
            }
        }
        bytes.len()
    }

    fn take(&mut self, byte: u8) {
        match self.escape.as_slice() {
            [] if byte == b'%' => self.escape.push(byte),
            [] => self.decoded.push(if byte == b'+' { b' ' } else { byte }),
            [_] if nibble(byte).is_some() => self.escape.push(byte),
            [_, high] => match (nibble(*high), nibble(byte)) {
                (Some(high), Some(low)) => {
                    self.decoded.push(high << 4 | low);
                    self.escape.clear();
                }
                _ => self.literal(byte),
            },
            _ => self.literal(byte),
        }
    }

    /// What looked like an escape was none.
    fn literal(&mut self, byte: u8) {
        self.decoded.append(&mut self.escape);
        self.take(byte);
    }

    fn finish(&mut self, sink: Sink<'_>) {
        self.decoded.append(&mut self.escape);
        sink(Encoding::Percent, Piece::Bytes(&self.decoded));
        sink(Encoding::Percent, Piece::End);
        self.decoded.clear();
        self.is_in_run = false;
    }
}

/// What is never in percent-encoded text.
fn is_break(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'\\')
}

/// What stands for itself in percent-encoded text.
fn is_plain(byte: u8) -> bool {
    !is_break(byte) && !matches!(byte, b'%' | b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<(Encoding, u64, String)>;

    fn decode(text: &[u8], piece: usize) -> Found {
        let (mut runs, mut percent) = (Runs::default(), Percent::default());
        let mut found: Found = Vec::new();
        let mut open = |encoding, piece: Piece<'_>| match piece {
            Piece::Begin(offset) => found.push((encoding, offset, String::new())),
            Piece::Bytes(bytes) => {
                let run = found.iter_mut().rev().find(|run| run.0 == encoding).unwrap();
                run.2.push_str(&bytes.escape_ascii().to_string());
            }
            Piece::End => {}
        };
        for bytes in text.chunks(piece) {
            runs.push(bytes, &mut open);
        }
        runs.end(&mut open);
        for bytes in text.chunks(piece) {
            percent.push(bytes, &mut open);
        }
        percent.end(&mut open);
        found
    }

    fn check(text: &str, expected: &[(Encoding, u64, &str)]) {
        for piece in [1, 3, 50, usize::MAX] {
            let found = decode(text.as_bytes(), piece);
            let found: Vec<_> =
                found.iter().map(|(encoding, at, text)| (*encoding, *at, text.as_str())).collect();
            assert_eq!(found, expected, "{text} in pieces of {piece}");
        }
    }

    const LINE: &str = "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4gVGhl";
    const PLAIN: &str = "The quick brown fox jumps over the lazy dog. The";

    #[test]
    fn base64_is_decoded_over_lines_and_escapes() {
        let more =
            |text: &str| vec![(Encoding::Base64, 5, text.to_owned()), (Encoding::Hex, 5, String::new())];
        let cases = [
            (format!("a = \"{LINE}\""), PLAIN.to_owned()),
            (format!("a = \"{LINE}\nIGVuZA==\""), format!("{PLAIN} end")),
            (format!("a = \"{LINE}\r\nIGVuZA==\""), format!("{PLAIN} end")),
            (format!(r#"a = "{LINE}\r\nIGVuZA==""#), format!("{PLAIN} end")),
            (format!(r#"a = "{LINE}IGVu\/w==""#), format!("{PLAIN} en\\xff")),
            (format!("a = \"{LINE}IGVu_w\""), format!("{PLAIN} en\\xff")),
        ];
        for (text, plain) in cases {
            let expected = more(&plain);
            let expected: Vec<_> = expected.iter().map(|(e, at, text)| (*e, *at, text.as_str())).collect();
            check(&text, &expected);
        }
        check(&LINE[1..], &[]);
    }

    #[test]
    fn hexadecimal_is_decoded_as_both() {
        let found = decode("68656c6c6f".repeat(7).as_bytes(), 9);
        assert_eq!(found[1], (Encoding::Hex, 0, "hello".repeat(7)));
        assert_eq!(found[0].0, Encoding::Base64);
    }

    #[test]
    fn percent_encoding_is_decoded_with_what_stands_before_it() {
        check(
            "q=x postgres%3A%2f%2fme%zz+%4 50%",
            &[(Encoding::Percent, 4, "postgres://me%zz %4"), (Encoding::Percent, 30, "50%")],
        );
    }

    proptest::proptest! {
        #[test]
        fn where_a_text_is_split_changes_nothing(text in "[A-Za-z0-9+/=%\\\\ \n]{0,40}[a-f0-9]{50,90}[A-Z0-9\\\\/\n%]{0,200}", piece in 1usize..120) {
            proptest::prop_assert_eq!(decode(text.as_bytes(), piece), decode(text.as_bytes(), usize::MAX));
        }
    }
}
