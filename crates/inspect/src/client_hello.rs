//! The ClientHello at the start of a TLS connection, from bytes as they arrive.
//!
//! Enters: bytes, split anywhere and over any number of TLS records (RFC 8446, section 5.1). Leaves: an [`Outcome`].
//! Guarantees: how the same bytes are split never changes the outcome; at most [`MAX_HELLO`] bytes are kept, each is
//! copied once; an outcome other than [`Outcome::NeedMore`] is final. Does not: read what follows the hello (see
//! [`crate::retry`]), nor the SSL 2 format, which is told as not TLS.

use crate::hello_message::{ClientHello, Flaw};

/// Most bytes of the connection that a hello may take, record headers included. With post-quantum keys it has some
/// 2 KiB.
pub const MAX_HELLO: usize = 64 * 1024;

/// Longest content of one record (RFC 8446, section 5.1).
pub(crate) const MAX_RECORD: usize = 1 << 14;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const CLIENT_HELLO: u8 = 1;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The start of a hello, or nothing at all.
    NeedMore,
    /// A whole hello.
    Hello(ClientHello),
    /// Not TLS: the first bytes are not the header of a handshake record.
    NotTls,
    /// TLS, but not a hello that everybody reads alike.
    Malformed(Flaw),
    /// More than [`MAX_HELLO`] bytes.
    TooLarge,
}

/// Reads the hello of one connection.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Header of the record under way, and how many of its bytes are there.
    header: [u8; 5],
    header_length: usize,
    /// Bytes of the record under way that did not come yet; 0 while its header is read.
    record_left: usize,
    consumed: usize,
    message: Vec<u8>,
    done: Option<Outcome>,
}

impl HelloReader {
    /// A reader for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, and says what all of them are. Bytes behind the end of the hello's record are ignored.
    pub fn push(&mut self, bytes: &[u8]) -> Outcome {
        let mut rest = bytes;
        while self.done.is_none() && !rest.is_empty() {
            let taken = self.step(rest);
            self.consumed += taken;
            rest = rest.get(taken..).unwrap_or_default();
            if self.done.is_none() && self.consumed >= MAX_HELLO {
                self.done = Some(Outcome::TooLarge);
            }
        }
        self.done.clone().unwrap_or(Outcome::NeedMore)
    }

    /// How many bytes of the connection the hello has had so far.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Takes some bytes, at least one and not more than to the next point where something is decided.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.record_left == 0 {
            if let Some(byte) = bytes.first() {
                self.header_byte(*byte);
            }
            return 1;
        }
        let wanted = self.wanted().min(self.record_left).min(MAX_HELLO - self.consumed).min(bytes.len());
        self.message.extend_from_slice(bytes.get(..wanted).unwrap_or_default());
        self.record_left -= wanted;
        self.look_at_message();
        wanted
    }

    fn header_byte(&mut self, byte: u8) {
        let at = self.header_length;
        if let Some(slot) = self.header.get_mut(at) {
            *slot = byte;
        }
        self.header_length += 1;
        let sound = match at {
            0 => byte == HANDSHAKE,
            1 => byte == 3,
            _ => true,
        };
        if !sound {
            // Only what comes first tells TLS from something else.
            let first = self.consumed == at;
            self.done = Some(if first { Outcome::NotTls } else { Outcome::Malformed(Flaw::Record) });
            return;
        }
        if self.header_length < self.header.len() {
            return;
        }
        let [_, _, _, high, low] = self.header;
        self.record_left = usize::from(high) << 8 | usize::from(low);
        self.header_length = 0;
        if self.record_left == 0 || self.record_left > MAX_RECORD {
            self.done = Some(Outcome::Malformed(Flaw::Record));
        }
    }

    /// Bytes that the message lacks: to the end of its header, then to its own end.
    fn wanted(&self) -> usize {
        let whole = self.message_length().unwrap_or(4);
        whole.saturating_sub(self.message.len())
    }

    /// Length of the message with its header, once the header is there.
    fn message_length(&self) -> Option<usize> {
        message_length(&self.message)
    }

    fn look_at_message(&mut self) {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            self.done = Some(Outcome::Malformed(Flaw::NotClientHello));
            return;
        }
        let Some(whole) = self.message_length() else { return };
        if whole > MAX_HELLO {
            self.done = Some(Outcome::TooLarge);
            return;
        }
        if self.message.len() < whole {
            return;
        }
        self.done = Some(if self.record_left > 0 {
            Outcome::Malformed(Flaw::Trailing)
        } else {
            outcome(&self.message)
        });
    }
}

/// Length of a handshake message with its header, once the header is there.
pub(crate) fn message_length(message: &[u8]) -> Option<usize> {
    let [_, high, middle, low] = *message.first_chunk::<4>()?;
    Some(4 + (usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)))
}

/// What a whole handshake message of the type ClientHello is.
pub(crate) fn outcome(message: &[u8]) -> Outcome {
    match ClientHello::parse(message.get(4..).unwrap_or_default()) {
        Ok(hello) => Outcome::Hello(hello),
        Err(flaw) => Outcome::Malformed(flaw),
    }
}
