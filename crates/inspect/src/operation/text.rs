//! A string of JSON (RFC 8259, section 7) as it arrives.
//!
//! Enters: bytes behind the quote that begins it. Leaves: what it says, where somebody wants to know. Guarantees: it is
//! UTF-8 (RFC 3629), and what is wanted is made of whole characters and bounded. Does not: hold what nobody wants.

/// Bytes of a wanted value.
pub(super) const MAX_VALUE: usize = 512;
/// Bytes of the beginning of a text that is watched for whom it names.
const MAX_WATCHED: usize = 2048;
/// Bytes of a key that could be wanted; longer ones are none.
const MAX_KEY: usize = 64;

pub(super) const NOT_JSON: &str = "the body is not JSON";
pub(super) const TOO_LONG: &str = "a value that decides is too long";
pub(super) const HALF: &str = "a text that decides has half a character";

/// A string under way.
#[derive(Debug)]
pub(super) struct Text {
    is_key: bool,
    /// What it says so far, where somebody wants to know.
    kept: Option<Vec<u8>>,
    is_long: bool,
    /// Bytes of it that are kept.
    most: usize,
    /// Whether it is kept for one who takes what there is: the beginning of a long text, and a mark for half a character.
    is_watched: bool,
    /// The beginning of a watched text that is longer.
    beginning: Option<Vec<u8>>,
    escape: Escape,
    utf8: Utf8,
    /// First half of a character that was written as two escapes.
    half: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Begun,
    Unicode { digits: u8, value: u16 },
}

/// How far a character is (RFC 3629).
#[derive(Clone, Copy, Debug, Default)]
struct Utf8 {
    /// Bytes that are missing.
    missing: u8,
    /// What the next of them must be within: shorter forms of a character and halves of one are none.
    from: u8,
    to: u8,
}

impl Text {
    /// One that begins. What it says is kept only where somebody wants to know.
    pub(super) fn new(is_key: bool, is_wanted: bool) -> Self {
        let kept = is_wanted.then(Vec::new);
        let (escape, utf8, beginning) = (Escape::None, Utf8::default(), None);
        let most = if is_key { MAX_KEY } else { MAX_VALUE };
        Self { is_key, kept, is_long: false, most, is_watched: false, beginning, escape, utf8, half: None }
    }

    /// The same, of which so many bytes are kept.
    pub(super) fn with_room(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// One that begins, of which nothing is an error that would be none if nobody wanted it.
    pub(super) fn watched(is_key: bool) -> Self {
        let text = Self { is_watched: true, ..Self::new(is_key, true) };
        if is_key { text } else { text.with_room(MAX_WATCHED) }
    }

    /// Whether it is a key.
    pub(super) fn is_key(&self) -> bool {
        self.is_key
    }

    /// Whether nobody wants it, and it is at no particular place.
    pub(super) fn is_passing(&self) -> bool {
        let is_plain = matches!(self.escape, Escape::None) && self.half.is_none();
        self.kept.is_none() && is_plain && self.utf8.is_whole()
    }

    /// What it says. `None`: nobody wanted it, or it is a key that is longer than any of ours.
    pub(super) fn take_kept(&mut self) -> Option<Vec<u8>> {
        self.kept.take().or_else(|| self.beginning.take())
    }

    /// Whether it is watched, and longer than what is kept of it.
    pub(super) fn is_cut(&self) -> bool {
        self.is_watched && self.is_long
    }

    /// Takes a byte. True: it was the quote at the end.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, &'static str> {
        match self.escape {
            Escape::Begun => self.escaped(byte)?,
            Escape::Unicode { digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return Err(NOT_JSON) };
                let value = value << 4 | u16::try_from(digit).unwrap_or_default();
                self.escape = Escape::Unicode { digits: digits + 1, value };
                if digits == 3 {
                    self.escape = Escape::None;
                    self.unit(value)?;
                }
            }
            Escape::None if byte == b'\\' && self.utf8.is_whole() => self.escape = Escape::Begun,
            Escape::None => {
                self.whole()?;
                if byte < b' ' || !self.utf8.take(byte) {
                    return Err("a text of the body has bytes that no text has");
                }
                if byte == b'"' {
                    return self.finish();
                }
                self.keep(&[byte])?;
            }
        }
        Ok(false)
    }

    fn finish(&mut self) -> Result<bool, &'static str> {
        if self.is_long && self.is_key {
            // A key that is so long is none of ours.
            self.kept = None;
        }
        Ok(true)
    }

    fn escaped(&mut self, byte: u8) -> Result<(), &'static str> {
        self.escape = Escape::None;
        let meant = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.escape = Escape::Unicode { digits: 0, value: 0 };
                return Ok(());
            }
            _ => return Err(NOT_JSON),
        };
        self.whole()?;
        self.keep(&[meant])
    }

    /// A UTF-16 unit that was written as an escape.
    fn unit(&mut self, unit: u16) -> Result<(), &'static str> {
        let half = self.half.take();
        if half.is_some() && !(0xDC00..=0xDFFF).contains(&unit) && self.kept.is_some() {
            self.garbled()?;
        }
        match (half, unit) {
            (Some(high), 0xDC00..=0xDFFF) => {
                let read = char::decode_utf16([high, unit]).next();
                let Some(Ok(character)) = read else { return Err(NOT_JSON) };
                self.keep(character.encode_utf8(&mut [0; 4]).as_bytes())
            }
            (_, 0xD800..=0xDBFF) => {
                self.half = Some(unit);
                Ok(())
            }
            // Clients cut texts within characters; what nobody wants may be so.
            (_, 0xDC00..=0xDFFF) if self.kept.is_some() => self.garbled(),
            (_, 0xDC00..=0xDFFF) => Ok(()),
            (_, _) => {
                let Some(character) = char::from_u32(u32::from(unit)) else { return Err(NOT_JSON) };
                self.keep(character.encode_utf8(&mut [0; 4]).as_bytes())
            }
        }
    }

    fn whole(&mut self) -> Result<(), &'static str> {
        if self.half.take().is_some() && self.kept.is_some() { self.garbled() } else { Ok(()) }
    }

    /// It has half a character.
    fn garbled(&mut self) -> Result<(), &'static str> {
        if self.is_watched { self.keep("\u{FFFD}".as_bytes()) } else { Err(HALF) }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        if kept.len() + bytes.len() <= self.most {
            kept.extend_from_slice(bytes);
            return Ok(());
        }
        self.is_long = true;
        if self.is_watched {
            self.beginning = self.kept.take();
            return Ok(());
        }
        if self.is_key { Ok(()) } else { Err(TOO_LONG) }
    }
}

impl Utf8 {
    /// Takes a byte. False: no text has it here.
    fn take(&mut self, byte: u8) -> bool {
        let (missing, from, to) = match (self.missing, byte) {
            (0, 0..=0x7F) => (0, 0, 0),
            (0, 0xC2..=0xDF) => (1, 0x80, 0xBF),
            (0, 0xE0) => (2, 0xA0, 0xBF),
            (0, 0xED) => (2, 0x80, 0x9F),
            (0, 0xE1..=0xEF) => (2, 0x80, 0xBF),
            (0, 0xF0) => (3, 0x90, 0xBF),
            (0, 0xF1..=0xF3) => (3, 0x80, 0xBF),
            (0, 0xF4) => (3, 0x80, 0x8F),
            (0, _) => return false,
            (missing, _) if self.from <= byte && byte <= self.to => (missing - 1, 0x80, 0xBF),
            (_, _) => return false,
        };
        *self = Self { missing, from, to };
        true
    }

    /// Whether no character is under way.
    fn is_whole(self) -> bool {
        self.missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_text(bytes: &[u8]) -> bool {
        let mut utf8 = Utf8::default();
        bytes.iter().all(|byte| utf8.take(*byte)) && utf8.is_whole()
    }

    #[test]
    fn it_is_what_the_standard_library_takes_for_utf8() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                for rest in [&b""[..], b"\x80", b"\x80\x80", b"a"] {
                    let bytes = [&[first, second][..], rest].concat();
                    assert_eq!(is_text(&bytes), std::str::from_utf8(&bytes).is_ok(), "{bytes:x?}");
                }
            }
        }
    }
}
