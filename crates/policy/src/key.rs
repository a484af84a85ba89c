//! A key that requests leave with. It is printed by nothing, written by no serializer, and overwritten when it goes.

use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// A key as it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<String>);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyFlaw {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// More than [`Key::MOST`] bytes.
    #[error("it is longer than 8192 bytes")]
    TooLong,
    /// Not what a field of a request can hold without being read otherwise.
    #[error("it has other characters than those of ASCII that are seen")]
    Characters,
}

impl Key {
    /// Longest key, in bytes.
    pub const MOST: usize = 8192;

    /// Reads what a Secret holds; white space around it, such as the line end that `echo` adds, is no part of it.
    ///
    /// # Errors
    /// It cannot be sent as a key.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyFlaw> {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Err(KeyFlaw::Empty);
        }
        if bytes.len() > Self::MOST {
            return Err(KeyFlaw::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFlaw::Characters)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyFlaw::Characters);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The key itself: for who sends it, and for nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_a_field_can_hold_and_is_not_shown() {
        let long = "k".repeat(Key::MOST + 1);
        for (bytes, expected) in [
            (&b"sk-1"[..], Ok("sk-1")),
            (b" sk-1\r\n", Ok("sk-1")),
            (b"", Err(KeyFlaw::Empty)),
            (b" \n", Err(KeyFlaw::Empty)),
            (b"sk-1\r\nx-evil: 1", Err(KeyFlaw::Characters)),
            (b"sk 1", Err(KeyFlaw::Characters)),
            (b"sk\x001", Err(KeyFlaw::Characters)),
            (b"sk-\xff", Err(KeyFlaw::Characters)),
            ("sk-é".as_bytes(), Err(KeyFlaw::Characters)),
            (long.as_bytes(), Err(KeyFlaw::TooLong)),
        ] {
            let read = Key::read(bytes);
            assert!(!format!("{read:?}").contains("sk"), "{read:?}");
            assert_eq!(read.as_ref().map(Key::expose).map_err(|flaw| *flaw), expected);
        }
    }
}
