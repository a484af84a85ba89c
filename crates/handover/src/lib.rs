//! What an agent gives the proxies of its node: the sockets that they serve, and messages over a unix stream.
//!
//! A frame is four bytes of length, big endian, then JSON; file descriptors travel with its first byte. Guarantees: what
//! is read is bounded, and a frame that is too long is refused before it is read. Does not: know any message.

pub mod sockets;

pub use sockets::{SocketError, Sockets, Steering};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest frame: the state of a node with very many names.
pub const LONGEST: usize = 64 << 20;

/// Most descriptors that go with a frame.
pub const MOST_FDS: usize = 64;

/// A message as a frame.
///
/// # Errors
/// It cannot be written as JSON, or is longer than [`LONGEST`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    // Most messages fit.
    let mut frame = Vec::with_capacity(512);
    frame.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    for (slot, byte) in frame.iter_mut().zip(length) {
        *slot = byte;
    }
    Ok(frame)
}

/// Sends bytes with descriptors; how many bytes went.
///
/// # Errors
/// The other end is gone, or there are more than [`MOST_FDS`] descriptors.
pub fn send_with(stream: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Puts frames together as their parts come.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
    /// Where one read goes: clearing as much for each costs more than most messages.
    buffer: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

/// Most bytes that one read takes.
const AT_ONCE: usize = 64 << 10;

impl Assembly {
    /// Reads what is there; `false` at the end of the stream.
    ///
    /// # Errors
    /// The stream fails, or would have to be waited for.
    pub fn read(&mut self, stream: impl AsFd) -> io::Result<bool> {
        self.buffer.resize(AT_ONCE, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let received = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds.take(MOST_FDS.saturating_sub(self.fds.len())));
            }
        }
        self.bytes.extend_from_slice(self.buffer.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes > 0)
    }

    /// The next message that is complete.
    ///
    /// # Errors
    /// What came is no such message.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(length) = self.bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(None);
        };
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let Some(json) = self.bytes.get(4..4 + length) else { return Ok(None) };
        let message = serde_json::from_slice(json)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }

    /// Waits for the next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream fails, or what came is no such message.
    pub fn wait<T: DeserializeOwned>(&mut self, stream: impl AsFd) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            match self.read(&stream) {
                Ok(true) => {}
                // Gone, perhaps with something of ours unread.
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The descriptors that came so far and were not taken.
    ///
    /// # Errors
    /// They are not as many as a message said.
    pub fn take_fds(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if self.fds.len() != count {
            let message = format!("{} descriptors came instead of {count}", self.fds.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(self.fds.drain(..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_with_their_frame_however_it_is_cut() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let frame = encode(&"two").unwrap();
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        assert_eq!(send_with(&near, &frame[..3], &fds).unwrap(), 3);
        let mut assembly = Assembly::default();
        assert!(assembly.read(&far).unwrap());
        assert!(assembly.take::<String>().unwrap().is_none());
        near.write_all(&frame[3..]).unwrap();
        near.write_all(&encode(&"none").unwrap()).unwrap();
        assert_eq!(assembly.wait::<String>(&far).unwrap().unwrap(), "two");
        assert_eq!(assembly.wait::<String>(&far).unwrap().unwrap(), "none");
        assert!(assembly.take_fds(1).is_err());
        let there = assembly.take_fds(2).unwrap();
        for (there, here) in there.into_iter().zip(&sockets) {
            assert_eq!(UdpSocket::from(there).local_addr().unwrap(), here.local_addr().unwrap());
        }
        assert!(assembly.take_fds(1).is_err());
        drop(near);
        assert!(assembly.wait::<String>(&far).unwrap().is_none());
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let mut assembly = Assembly { bytes: u32::MAX.to_be_bytes().into(), ..Assembly::default() };
        assert!(assembly.take::<String>().is_err());
    }
}
