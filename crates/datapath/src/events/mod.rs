//! What the kernel did with connections: opened, closed, denied.
//!
//! Enters: conntrack events and the log of denials. Leaves: [`Event`]s. Guarantees: every judged connection that the
//! kernel reports yields its event; what was lost on the way is counted. Connections that no policy judged (tag 0) are
//! not reported. Does not resolve rule ids or tags.

mod conntrack;
pub(crate) use conntrack::flow;
mod nflog;

use crate::error::ApplyError;
use crate::mark::Judged;
use crate::netlink::Socket;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use policy::Protocol;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A connection: who opened it, and who really received it (after destination translation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address of the first packet.
    pub from: IpAddr,
    /// Source port; 0 where the protocol has none.
    pub from_port: u16,
    /// Address of the receiver.
    pub to: IpAddr,
    /// Port of the receiver; 0 where the protocol has none.
    pub to_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes, with network headers.
    pub bytes: u64,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub flow: Flow,
    /// The kernel's id of it: the same in its opening.
    pub id: u32,
    /// The last judgement. A denial here means that it was cut.
    pub judged: Judged,
    /// From the opener.
    pub sent: Tally,
    /// To the opener.
    pub received: Tally,
}

/// What the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new connection was allowed.
    Opened {
        /// Which.
        flow: Flow,
        /// The kernel's id of it.
        id: u32,
        /// Why.
        judged: Judged,
    },
    /// An allowed connection ended.
    Closed(Ended),
    /// A packet was dropped; further ones of the same tuple are only counted for a while.
    Denied {
        /// Which.
        flow: Flow,
        /// Why.
        judged: Judged,
    },
    /// At least so many events were lost because they were not read fast enough.
    Lost(u64),
}

/// Reads the kernel's events. Belongs to the network namespace it was opened in.
#[derive(Debug)]
pub struct EventSource {
    connections: Socket,
    denials: nflog::Log,
    ready: Epoll,
}

/// Events are gathered for so long and read together: to wake up for each costs more than the event does.
const GATHER: Duration = Duration::from_millis(10);
/// Datagrams taken from one socket before the other has its turn.
const TURN: usize = 64;

impl EventSource {
    /// Subscribes in the calling thread's network namespace and switches the kernel's accounting on.
    ///
    /// # Errors
    /// No privilege, or another process reads this log group already.
    pub fn open(log_group: u16) -> Result<Self, ApplyError> {
        let failed = |doing: &'static str| move |errno| ApplyError::from_errno(doing, errno);
        conntrack::account();
        let connections = conntrack::subscribe().map_err(failed("subscribing to connections"))?;
        let denials = nflog::Log::open(log_group)?;
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("making a poll set"))?;
        for fd in [connections.as_fd(), denials.as_fd()] {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
            ready.add(fd, event).map_err(failed("adding to a poll set"))?;
        }
        Ok(Self { connections, denials, ready })
    }

    /// What the kernel does not report in the calling thread's network namespace, as sentences for a person.
    #[must_use]
    pub fn lacks() -> Vec<String> {
        let off = conntrack::accounting().into_iter().filter(|(_, on)| !on);
        off.map(|(setting, _)| format!("{setting} is off: records of connections are incomplete")).collect()
    }

    /// Waits until there may be events, and a moment more for others to come, or until the time is over.
    ///
    /// # Errors
    /// Polling failed.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Errno> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match self.ready.wait(&mut [EpollEvent::empty(); 2], timeout) {
            Ok(0) => Ok(false),
            Ok(_) => {
                std::thread::sleep(GATHER);
                Ok(true)
            }
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Appends what is there, without waiting; a bounded amount at a time. Returns whether there may be more.
    ///
    /// # Errors
    /// Receiving failed.
    pub fn read(&mut self, events: &mut Vec<Event>) -> Result<bool, Errno> {
        let mut more = false;
        for turn in 0..TURN {
            match self.connections.receive() {
                Ok(bytes) => conntrack::events(bytes, events),
                Err(Errno::ENOBUFS) => events.push(Event::Lost(1)),
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return Err(errno),
            }
            more = turn + 1 == TURN;
        }
        for turn in 0..TURN {
            if !self.denials.read(events)? {
                break;
            }
            more |= turn + 1 == TURN;
        }
        Ok(more)
    }
}

impl AsFd for EventSource {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }
}
