//! Watches what a TLS client sends behind its hello, for a second one.
//!
//! A server may ask for the hello again (HelloRetryRequest, RFC 8446 section 4.1.4), and some read the name from the
//! second. A client that wants another name than it was let through for needs only a first hello that the server cannot
//! use. The second hello travels in clear, so it can be read.
//!
//! Enters: the client's bytes behind the record of its hello. Leaves: [`Watched`]; [`RetryWatch::holding`] says how
//! many of them must wait. Guarantees: a second hello is told before its last byte was let go; bounded as
//! [`HelloReader`] is. Does not: see renegotiation (TLS 1.2 encrypts it; hardly a server allows a client to start it).

use crate::client_hello::{CLIENT_HELLO, HANDSHAKE, HelloReader, Outcome};
use crate::hello_message::ClientHello;

pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

/// An encrypted Finished of TLS 1.2 is longer: 16 bytes of content and 16 of a tag, at least.
const SHORTEST_ENCRYPTED: usize = 32;

/// What the bytes so far say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A second hello may still come.
    Watching,
    /// It came, or something that starts like one. Judge it as the first; nothing behind it is watched.
    Second(Outcome),
    /// None can come any more.
    Done,
}

/// Watches one connection.
#[derive(Debug)]
pub struct RetryWatch {
    /// With early data, application data may come before the second hello.
    early_data: bool,
    ciphered: bool,
    header: Vec<u8>,
    /// Bytes of a record that is passed over.
    skip: usize,
    second: Option<Second>,
    holding: usize,
    done: Option<Watched>,
}

/// A handshake record that may start the second hello.
#[derive(Debug)]
struct Second {
    reader: HelloReader,
    /// The first bytes of its content, until they tell what it is.
    start: Vec<u8>,
    length: usize,
    certain: bool,
}

impl RetryWatch {
    /// Watches behind this hello.
    pub fn behind(first: &ClientHello) -> Self {
        Self {
            early_data: first.early_data,
            ciphered: false,
            header: Vec::new(),
            skip: 0,
            second: None,
            holding: 0,
            done: None,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Watched {
        let mut rest = bytes;
        while self.done.is_none() && !rest.is_empty() {
            let taken = self.step(rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
        if self.done.is_some() {
            self.holding = 0;
        }
        self.done.clone().unwrap_or(Watched::Watching)
    }

    /// How many of the last bytes belong to something that is not decided. They must not be forwarded yet.
    pub fn holding(&self) -> usize {
        self.holding
    }

    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.skip > 0 {
            let taken = self.skip.min(bytes.len());
            self.skip -= taken;
            return taken;
        }
        self.holding += 1;
        let Some(byte) = bytes.first().copied() else { return 0 };
        if self.second.is_some() {
            self.second_byte(byte);
        } else {
            self.header_byte(byte);
        }
        1
    }

    fn header_byte(&mut self, byte: u8) {
        self.header.push(byte);
        let [kind, _, _, high, low] = *self.header.as_slice() else { return };
        let length = usize::from(high) << 8 | usize::from(low);
        match kind {
            HANDSHAKE => {
                let mut reader = HelloReader::new();
                match reader.push(&self.header) {
                    Outcome::NeedMore => {
                        self.second = Some(Second { reader, start: Vec::new(), length, certain: false });
                    }
                    // An empty record, say, behind which a tolerant server would go on reading.
                    broken => self.done = Some(Watched::Second(broken)),
                }
            }
            CHANGE_CIPHER_SPEC | ALERT => {
                self.ciphered |= kind == CHANGE_CIPHER_SPEC;
                self.pass(length);
            }
            APPLICATION_DATA if self.early_data => self.pass(length),
            _ => self.done = Some(Watched::Done),
        }
        self.header.clear();
    }

    fn pass(&mut self, length: usize) {
        self.skip = length;
        self.holding = 0;
    }

    fn second_byte(&mut self, byte: u8) {
        let Some(second) = &mut self.second else { return };
        let outcome = second.reader.push(&[byte]);
        if !second.certain {
            second.start.push(byte);
            match second.is_hello(self.ciphered) {
                Some(true) => second.certain = true,
                Some(false) => {
                    self.done = Some(Watched::Done);
                    return;
                }
                None => return,
            }
        }
        if outcome != Outcome::NeedMore {
            self.done = Some(Watched::Second(outcome));
        }
    }
}

impl Second {
    /// Whether the record is a hello in clear. `None`: its first bytes do not tell yet.
    ///
    /// Behind a ChangeCipherSpec it may as well be an encrypted Finished of TLS 1.2, whose first bytes are arbitrary:
    /// one in some eight million of those looks like a hello, and is then refused.
    fn is_hello(&self, ciphered: bool) -> Option<bool> {
        let kind = *self.start.first()?;
        if kind != CLIENT_HELLO {
            return Some(false);
        }
        if !ciphered || self.length < SHORTEST_ENCRYPTED {
            return Some(true);
        }
        let [_, high, _, _, major] = *self.start.first_chunk::<5>()?;
        Some(high <= 1 && major == 3)
    }
}
