//! The ClientHello at the start of a QUIC connection, version 1 (RFC 9000, 9001) or 2 (RFC 9369).
//!
//! Enters: whole UDP datagrams from client to server, in the order of their arrival. Leaves: an [`Outcome`].
//! Guarantees: at most [`MAX_HELLO`](crate::MAX_HELLO) bytes and 256 pieces are kept; a
//! datagram that a server would ignore (too small, a packet that does not open) is a flaw, for it would otherwise show
//! one hello here and another there. First packets are protected only against accident: their keys come from what they
//! carry (RFC 9001, section 5.2), so anybody can read them.
//! Does not: follow a connection beyond its hello. A server that answers with Retry makes the client start over with
//! other keys, and a client may open several connections from one port: each is a new [`Initials`].

mod keys;
mod packet;
mod pieces;

use crate::client_hello::outcome;
use crate::hello_message::{ClientHello, Flaw};
use keys::Keys;
use packet::{Frames, Long};
use pieces::{Pieces, Unfit};

/// A client pads a datagram that carries a first packet to this size at least (RFC 9000, section 14.1).
const SMALLEST: usize = 1200;

/// What the datagrams so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Part of a hello.
    NeedMore,
    /// A whole hello.
    Hello(ClientHello),
    /// The first datagram does not start a QUIC connection.
    NotQuic,
    /// QUIC of a version whose first packets cannot be read here.
    Version(u32),
    /// QUIC, but not a hello that everybody reads alike.
    Malformed(Flaw),
    /// A hello of more than [`MAX_HELLO`](crate::MAX_HELLO) bytes, or in too many pieces.
    TooLarge,
}

/// Reads the hello of one connection.
#[derive(Debug, Default)]
pub struct Initials {
    keys: Option<Keys>,
    /// Largest packet number so far.
    largest: Option<u64>,
    pieces: Pieces,
    done: Option<Outcome>,
}

impl Initials {
    /// A reader for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next datagram. What it returns is final unless it is [`Outcome::NeedMore`].
    pub fn push(&mut self, datagram: &[u8]) -> Outcome {
        if self.done.is_none() {
            self.done = self.read(datagram).err();
        }
        self.done.clone().unwrap_or(Outcome::NeedMore)
    }

    /// Reads all packets of a datagram (RFC 9000, section 12.2). `Err` is how the reading ends, well or not.
    fn read(&mut self, datagram: &[u8]) -> Result<(), Outcome> {
        let mut rest = datagram;
        let mut found = false;
        while let Some(first) = rest.first() {
            if first & 0x80 == 0 {
                // A short header has no length: it is the last, and cannot carry a hello.
                break;
            }
            let (long, behind) = packet::long(rest).map_err(|error| self.refused(error))?;
            if let Long::Initial(initial) = long {
                if datagram.len() < SMALLEST {
                    return Err(Outcome::Malformed(Flaw::Small));
                }
                found = true;
                self.initial(&initial)?;
            }
            rest = behind;
        }
        if !found && self.keys.is_none() {
            return Err(Outcome::NotQuic);
        }
        Ok(())
    }

    /// Before anything was understood, a broken packet is no QUIC at all.
    fn refused(&self, error: packet::Unreadable) -> Outcome {
        match error {
            packet::Unreadable::Version(version) => Outcome::Version(version),
            packet::Unreadable::Shape if self.keys.is_none() => Outcome::NotQuic,
            packet::Unreadable::Shape => Outcome::Malformed(Flaw::Packet),
        }
    }

    fn initial(&mut self, initial: &packet::Initial<'_>) -> Result<(), Outcome> {
        let keys = match &self.keys {
            Some(keys) if keys.version() != initial.version => return Err(Outcome::Malformed(Flaw::Packet)),
            Some(keys) => keys,
            None => {
                let keys = Keys::of_client(initial.version, initial.destination)
                    .ok_or(Outcome::Malformed(Flaw::Packet))?;
                self.keys.insert(keys)
            }
        };
        let (number, payload) =
            packet::open(keys, initial, self.largest).ok_or(Outcome::Malformed(Flaw::Packet))?;
        self.largest = self.largest.max(Some(number));
        for piece in Frames::new(&payload) {
            let (offset, bytes) = piece.map_err(|_| Outcome::Malformed(Flaw::Frame))?;
            self.pieces.add(offset, bytes).map_err(|unfit| match unfit {
                Unfit::TooLarge => Outcome::TooLarge,
                Unfit::Overlap => Outcome::Malformed(Flaw::Overlap),
            })?;
        }
        self.look_at_message()
    }

    fn look_at_message(&self) -> Result<(), Outcome> {
        let start = self.pieces.start();
        if start.first().is_some_and(|kind| *kind != crate::client_hello::CLIENT_HELLO) {
            return Err(Outcome::Malformed(Flaw::NotClientHello));
        }
        let Some(whole) = crate::client_hello::message_length(start) else { return Ok(()) };
        if whole > crate::MAX_HELLO {
            return Err(Outcome::TooLarge);
        }
        if self.pieces.end() > whole {
            return Err(Outcome::Malformed(Flaw::Trailing));
        }
        match start.get(..whole) {
            None => Ok(()),
            Some(message) => Err(match outcome(message) {
                crate::Outcome::Hello(hello) => Outcome::Hello(hello),
                crate::Outcome::Malformed(flaw) => Outcome::Malformed(flaw),
                crate::Outcome::TooLarge => Outcome::TooLarge,
                crate::Outcome::NeedMore | crate::Outcome::NotTls => Outcome::Malformed(Flaw::Length),
            }),
        }
    }
}
