//! UTF-8 as it arrives.

/// How far a character is (RFC 3629).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    /// Bytes that are missing.
    missing: u8,
    /// What the next of them must be within: shorter forms of a character and halves of one are none.
    from: u8,
    to: u8,
}

impl Utf8 {
    /// Takes a byte. False: no text has it here.
    pub(super) fn take(&mut self, byte: u8) -> bool {
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
    pub(super) fn is_whole(self) -> bool {
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
