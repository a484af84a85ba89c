//! TCP and UDP probes: ordinary sockets.

use super::{Evidence, Outcome, Probe, ProbeTuple, Progress, TICK};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, getsockopt,
    recv, send, socket, sockopt,
};
use policy::Protocol;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// An unanswered datagram is sent once more after this long: the first may have hit a full queue.
const RESEND: Duration = Duration::from_millis(300);

struct Open {
    socket: OwnedFd,
    resend: Option<Instant>,
    progress: Progress,
}

/// Tries them all at once.
pub(super) fn run(
    probes: &[(usize, Probe)],
    deadline: Duration,
    dropped: &Evidence,
) -> Vec<(usize, Outcome)> {
    let mut done = Vec::new();
    let mut open = Vec::new();
    for (index, probe) in probes {
        match start(*index, probe) {
            Ok(started) => open.push(started),
            Err(e) => done.push((*index, Outcome::Failed(format!("opening: {e}")))),
        }
    }
    let end = Instant::now() + deadline;
    while !open.is_empty() {
        wait_and_read(&mut open, dropped);
        let now = Instant::now();
        for one in &mut open {
            one.progress.tick(now, end, dropped);
            if one.resend.is_some_and(|at| now >= at) {
                one.resend = None;
                let _ = send(one.socket.as_raw_fd(), b"cofferdam", MsgFlags::MSG_DONTWAIT);
            }
        }
        open.retain_mut(|one| match one.progress.outcome.take() {
            Some(outcome) => {
                done.push((one.progress.index, outcome));
                false
            }
            None => true,
        });
    }
    done
}

fn start(index: usize, probe: &Probe) -> nix::Result<Open> {
    let family = if probe.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if probe.protocol == Protocol::TCP { SockType::Stream } else { SockType::Datagram };
    let socket = socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(source) = probe.source {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    let immediate =
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(probe.to, probe.port))) {
            Ok(()) | Err(Errno::EINPROGRESS) => None,
            // Connecting to a place of the same namespace is refused at once.
            Err(Errno::ECONNREFUSED) => Some(Outcome::Answered),
            Err(e) => return Err(e),
        };
    let tuple = local_end(&socket, probe)?;
    let mut progress = Progress::new(index, tuple);
    progress.outcome = immediate;
    let resend = (probe.protocol == Protocol::UDP).then(|| Instant::now() + RESEND);
    if probe.protocol == Protocol::UDP {
        send(socket.as_raw_fd(), b"cofferdam", MsgFlags::MSG_DONTWAIT)?;
    }
    Ok(Open { socket, resend, progress })
}

fn local_end(socket: &OwnedFd, probe: &Probe) -> nix::Result<ProbeTuple> {
    let local: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let v4 = local.as_sockaddr_in().map(|a| (IpAddr::V4(a.ip()), a.port()));
    let (source, source_port) = v4
        .or_else(|| local.as_sockaddr_in6().map(|a| (IpAddr::V6(a.ip()), a.port())))
        .ok_or(Errno::EAFNOSUPPORT)?;
    Ok(ProbeTuple { source, source_port, destination: probe.to, protocol: probe.protocol, port: probe.port })
}

fn wait_and_read(open: &mut [Open], dropped: &Evidence) {
    let interest = |one: &Open| match one.progress.tuple.protocol {
        Protocol::TCP => PollFlags::POLLOUT,
        Protocol(_) => PollFlags::POLLIN,
    };
    let mut polled: Vec<PollFd<'_>> =
        open.iter().map(|one| PollFd::new(one.socket.as_fd(), interest(one))).collect();
    let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    if poll(&mut polled, timeout).is_err() {
        return;
    }
    let ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(false)).collect();
    drop(polled);
    for (one, _) in open.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
        match result(one) {
            Ok(()) | Err(Errno::ECONNREFUSED | Errno::ECONNRESET) => one.progress.answered(dropped),
            // The kernel gave up by itself: that is silence, and the clock will say so.
            Err(Errno::ETIMEDOUT | Errno::EAGAIN) => {}
            Err(e) => one.progress.failed(e.desc()),
        }
    }
}

/// `Ok` when the socket proves an arrival.
fn result(one: &Open) -> nix::Result<()> {
    if one.progress.tuple.protocol == Protocol::TCP {
        return match getsockopt(&one.socket, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        };
    }
    let mut buffer = [0; 2048];
    recv(one.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map(drop)
}
