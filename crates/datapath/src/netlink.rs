//! Netlink messages, above all for the netfilter subsystems: building, parsing, and a socket that sends a batch and reads answers.
//!
//! Enters: attributes as types and bytes. Leaves: messages, parsed attributes, kernel errors by message.
//! Guarantees: lengths and padding are right by construction; parsing never reads past its input and skips what is
//! malformed. Does not know any subsystem's meaning.
//! Source: kernel documentation `userspace-api/netlink`, `linux/netlink.h`, `linux/netfilter/nfnetlink.h`.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt,
    socket, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
/// In answers: what is dumped changed meanwhile.
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 0x2;
const DONE: u16 = 0x3;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Messages one after the other, as they go into one send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Messages {
    pub(crate) fn new(first_sequence: u32) -> Self {
        // A small change fits.
        Self { bytes: Vec::with_capacity(1024), sequence: first_sequence }
    }

    /// Appends a message and returns its sequence number.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> u32 {
        let start = self.bytes.len();
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(slot) = self.bytes.get_mut(start..start + 4) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
        sequence
    }

    /// Opens a transaction of a netfilter subsystem.
    pub(crate) fn begin_batch(&mut self, subsystem: u16) {
        self.push(BATCH_BEGIN, 0, 0, subsystem, |_| {});
    }

    /// Commits it.
    pub(crate) fn end_batch(&mut self, subsystem: u16) {
        self.push(BATCH_END, 0, 0, subsystem, |_| {});
    }

    /// Appends attributes without a message around them.
    pub(crate) fn attributes(&mut self) -> Attributes<'_> {
        Attributes { bytes: &mut self.bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The attributes of a message or of a nest, being written.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// Netfilter numbers are in network byte order.
    pub(crate) fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Text with its closing zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let length = u16::try_from(value.len() + 5).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
        self
    }

    /// How much has been written so far, with everything before.
    pub(crate) fn written(&self) -> usize {
        self.bytes.len()
    }

    /// What is already encoded.
    pub(crate) fn encoded(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0_u16.to_ne_bytes());
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(slot) = self.bytes.get_mut(start..start + 2) {
            slot.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// One received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Attributes after the netfilter family header.
    pub(crate) fn attributes(self) -> Parsed<'a> {
        Parsed(self.payload.get(FAMILY_HEADER..).unwrap_or_default())
    }

    /// For an error message: the errno (0 is an acknowledgement).
    pub(crate) fn error(self) -> Option<i32> {
        if self.kind != ERROR {
            return None;
        }
        let code: [u8; 4] = self.payload.get(..4)?.try_into().ok()?;
        Some(i32::from_ne_bytes(code).wrapping_neg())
    }
}

/// Splits what one receive returned into messages.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let length = usize::try_from(ne_u32(header.get(..4)?)?).ok()?;
        let message = Message {
            kind: ne_u16(header.get(4..6)?)?,
            flags: ne_u16(header.get(6..8)?)?,
            sequence: ne_u32(header.get(8..12)?)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes of a received message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parsed<'a>(&'a [u8]);

impl<'a> Parsed<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut bytes = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(ne_u16(bytes.get(..2)?)?);
            let kind = ne_u16(bytes.get(2..4)?)? & TYPE_MASK;
            let value = bytes.get(4..length)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub(crate) fn nest(self, kind: u16) -> Option<Parsed<'a>> {
        self.get(kind).map(Parsed)
    }

    pub(crate) fn u8(self, kind: u16) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    pub(crate) fn u16(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.get(..2)?.try_into().ok()?))
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.get(..4)?.try_into().ok()?))
    }

    pub(crate) fn u64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.get(..8)?.try_into().ok()?))
    }

    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
    }
}

impl<'a> From<&'a [u8]> for Parsed<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

fn ne_u16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn ne_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A failure of one message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which message.
    pub(crate) sequence: u32,
    pub(crate) errno: Errno,
}

/// A netlink socket of the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    send_buffer: usize,
    receive: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Errno> {
        Self::open_protocol(SockProtocol::NetlinkNetFilter)
    }

    /// The same, of another subsystem.
    pub(crate) fn open_protocol(protocol: SockProtocol) -> Result<Self, Errno> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let mut socket = Self { fd, sequence: 1, send_buffer: 0, receive: vec![0; 128 * 1024] };
        socket.grow_receive(4 << 20);
        Ok(socket)
    }

    /// Joins multicast groups given as a bit set of the first 32.
    pub(crate) fn open_groups(groups: u32) -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, sequence: 1, send_buffer: 0, receive: vec![0; 128 * 1024] })
    }

    /// Asks for a receive buffer; takes what the kernel gives.
    pub(crate) fn grow_receive(&mut self, bytes: usize) {
        if setsockopt(&self.fd, sockopt::RcvBufForce, &bytes).is_err() {
            // Without the privilege the kernel caps this instead of failing; a small buffer means lost events, which
            // are counted.
            let _capped = setsockopt(&self.fd, sockopt::RcvBuf, &bytes);
        }
    }

    /// Messages to fill; numbered so that their answers are told from older ones.
    pub(crate) fn messages(&self) -> Messages {
        Messages::new(self.sequence)
    }

    /// Sends everything in one go and reads the answers, which the kernel has queued when the send returns.
    /// `acknowledged` is the message that asked for an acknowledgement.
    pub(crate) fn transact(&mut self, messages: &Messages, acknowledged: u32) -> Result<(), TransactError> {
        self.send(messages)?;
        let mut answered = false;
        let mut refused = None;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut self.receive, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(TransactError::Socket(errno)),
            };
            for message in self::messages(self.receive.get(..length).unwrap_or_default()) {
                match message.error() {
                    Some(0) => answered |= message.sequence == acknowledged,
                    Some(code) => {
                        let errno = Errno::from_raw(code);
                        refused.get_or_insert(Refused { sequence: message.sequence, errno });
                    }
                    None => {}
                }
            }
        }
        match refused {
            Some(refused) => Err(TransactError::Refused(refused)),
            None if answered => Ok(()),
            None => Err(TransactError::NoAnswer),
        }
    }

    /// Sends a request that is answered by a dump or one object, and hands every message of it to `each`.
    pub(crate) fn query(
        &mut self,
        messages: &Messages,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), TransactError> {
        let first = self.sequence;
        self.send(messages)?;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut self.receive, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(TransactError::Socket(errno)),
            };
            for message in self::messages(self.receive.get(..length).unwrap_or_default()) {
                if message.sequence != first {
                    continue;
                }
                match message.error() {
                    Some(0) => return Ok(()),
                    Some(code) => {
                        let errno = Errno::from_raw(code);
                        return Err(TransactError::Refused(Refused { sequence: first, errno }));
                    }
                    None if message.kind == DONE => return Ok(()),
                    None => each(message),
                }
            }
        }
    }

    /// Receives one datagram without waiting.
    pub(crate) fn receive(&mut self) -> Result<&[u8], Errno> {
        let length = recv(self.fd.as_raw_fd(), &mut self.receive, MsgFlags::MSG_DONTWAIT)?;
        Ok(self.receive.get(..length).unwrap_or_default())
    }

    fn send(&mut self, messages: &Messages) -> Result<(), TransactError> {
        self.sequence = messages.next_sequence();
        // The kernel wants a batch in one datagram, and a datagram no longer than the send buffer.
        let needed = messages.len() + 4096;
        if needed > self.send_buffer.max(100 * 1024) {
            self.grow_send(needed);
        }
        let sent = sendto(self.fd.as_raw_fd(), messages.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty());
        match sent {
            Ok(_) => Ok(()),
            Err(Errno::EMSGSIZE) => Err(TransactError::TooBig(messages.len())),
            Err(errno) => Err(TransactError::Socket(errno)),
        }
    }

    fn grow_send(&mut self, bytes: usize) {
        let forced = setsockopt(&self.fd, sockopt::SndBufForce, &bytes);
        if forced.is_ok() || setsockopt(&self.fd, sockopt::SndBuf, &bytes).is_ok() {
            self.send_buffer = bytes;
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why a batch was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactError {
    /// Sending or receiving failed.
    Socket(Errno),
    /// The kernel refused one message; nothing of the batch holds.
    Refused(Refused),
    /// The batch of this many bytes does not fit the send buffer.
    TooBig(usize),
    /// The kernel did not acknowledge.
    NoAnswer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_parsed_back() {
        let mut built = Messages::new(7);
        let sequence = built.push(0xa05, CREATE, 1, 3, |attributes| {
            attributes.text(1, "name").u32(2, 0x0102_0304).nest(3, |inner| {
                inner.u8(1, 9).u64(2, 77);
            });
        });
        built.push(0xa06, 0, 2, 0, |_| {});
        let parsed: Vec<_> = messages(built.bytes()).collect();
        assert_eq!(parsed.len(), 2);
        assert_eq!((parsed[0].kind, parsed[0].sequence, sequence), (0xa05, 7, 7));
        let attributes = parsed[0].attributes();
        assert_eq!(attributes.text(1), Some("name"));
        assert_eq!(attributes.u32(2), Some(0x0102_0304));
        let inner = attributes.nest(3).unwrap();
        assert_eq!((inner.u8(1), inner.u64(2)), (Some(9), Some(77)));
    }

    #[test]
    fn truncated_and_lying_input_ends_the_parse() {
        let mut built = Messages::new(1);
        built.push(1, 0, 0, 0, |attributes| {
            attributes.text(1, "a longer text").bytes(2, &[1, 2, 3]);
        });
        for end in 0..built.len() {
            for message in messages(&built.bytes()[..end]) {
                assert!(message.attributes().iter().count() <= 2);
            }
        }
        for lie in 0..=u8::MAX {
            let mut bytes = built.bytes().to_vec();
            bytes[20] = lie;
            for message in messages(&bytes) {
                assert!(message.attributes().iter().count() <= 8);
            }
        }
        assert_eq!(messages(&[0; 64]).take(9).count(), 0);
    }
}
