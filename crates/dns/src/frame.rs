//! The frames that agent and proxy exchange over a unix stream: four bytes of length, then JSON.
//!
//! File descriptors travel with the first byte of a frame.

use crate::learn::Binding;
use crate::record::{Counters, Query};
use crate::sockets::Sockets;
use crate::state::State;
use policy::Generation;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Longest frame: the state of a node with very many patterns.
const LONGEST: usize = 64 << 20;

/// Most descriptors of a frame.
const MOST_FDS: usize = 8;

/// What an agent tells a proxy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToProxy {
    /// Descriptors that came with it, in this order. Its form must not change: the agent of one version takes the
    /// sockets of the proxy of another.
    Sockets { udp: usize, tcp: usize, control: bool },
    /// The whole of what holds.
    State(Box<State>),
    /// Requests to bind that were answered: for how many seconds, or why not.
    Learned(Vec<(u64, Result<u32, String>)>),
    /// What was bound may be gone.
    Forget,
    /// Send the sockets back, and end.
    Stop,
}

/// What a proxy tells an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToAgent {
    /// The sockets of a proxy whose agent died, for the next one; as in [`ToProxy::Sockets`].
    Sockets { udp: usize, tcp: usize, control: bool },
    /// A state is in force.
    InForce(Generation),
    /// Requests to bind.
    Learn(Vec<(u64, Vec<Binding>)>),
    /// What happened.
    Records(Vec<Query>),
    /// Counts since the proxy began.
    Counters(Box<Counters>),
}

/// A message as a frame.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
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
pub(crate) fn send_with(stream: impl AsFd, bytes: &[u8], sockets: &Sockets) -> io::Result<usize> {
    let fds: Vec<_> = sockets.all().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

impl Sockets {
    /// Every descriptor, in the order of a frame.
    fn all(&self) -> impl Iterator<Item = &OwnedFd> {
        self.udp.iter().chain(&self.tcp).chain(&self.control)
    }

    /// The counts that go before them.
    pub(crate) fn counts(&self) -> (usize, usize, bool) {
        (self.udp.len(), self.tcp.len(), self.control.is_some())
    }
}

/// Puts frames together as their parts come.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Assembly {
    /// Reads what is there; `false` at the end of the stream.
    pub(crate) fn read(&mut self, stream: impl AsFd) -> io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let received = rustix::net::recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds.take(MOST_FDS.saturating_sub(self.fds.len())));
            }
        }
        self.bytes.extend_from_slice(buffer.get(..received.bytes).unwrap_or_default());
        Ok(received.bytes > 0)
    }

    /// The next message that is complete.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
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

    /// The descriptors that a message counted.
    pub(crate) fn sockets(&mut self, udp: usize, tcp: usize, control: bool) -> io::Result<Sockets> {
        if self.fds.len() != udp.saturating_add(tcp).saturating_add(usize::from(control)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "sockets are missing"));
        }
        let udp = self.fds.drain(..udp).collect();
        let tcp = self.fds.drain(..tcp).collect();
        Ok(Sockets { udp, tcp, control: self.fds.pop_front() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::Steering;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn sockets_arrive_with_their_frame_however_it_is_cut() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()], Steering::None).unwrap();
        let frame = encode(&ToProxy::Sockets { udp: 1, tcp: 1, control: false }).unwrap();
        assert_eq!(send_with(&near, &frame[..3], &sockets).unwrap(), 3);
        let mut assembly = Assembly::default();
        assert!(assembly.read(&far).unwrap());
        assert!(assembly.next::<ToProxy>().unwrap().is_none());
        near.write_all(&frame[3..]).unwrap();
        near.write_all(&encode(&ToProxy::Stop).unwrap()).unwrap();
        let mut messages = Vec::new();
        while messages.len() < 2 {
            assert!(assembly.read(&far).unwrap());
            while let Some(message) = assembly.next::<ToProxy>().unwrap() {
                messages.push(message);
            }
        }
        let [ToProxy::Sockets { udp: 1, tcp: 1, control: false }, ToProxy::Stop] = &messages[..] else {
            panic!("{messages:?}");
        };
        let there = assembly.sockets(1, 1, false).unwrap();
        let address = |fd: &OwnedFd| std::net::UdpSocket::from(fd.try_clone().unwrap()).local_addr().unwrap();
        assert_eq!(address(&there.udp[0]), address(&sockets.udp[0]));
        assert!(assembly.sockets(1, 0, false).is_err());
        drop(near);
        assert!(!assembly.read(&far).unwrap());
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let mut assembly = Assembly { bytes: u32::MAX.to_be_bytes().into(), ..Assembly::default() };
        assert!(assembly.next::<ToProxy>().is_err());
    }
}
