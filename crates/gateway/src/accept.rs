//! Takes connections that the kernel steers here, within bounds.

use crate::reason::Reason;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind,
    listen as nix_listen, setsockopt, socket, sockopt,
};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Connections that wait to be accepted, for each listener.
const BACKLOG: i32 = 4096;

/// Why there is no listener.
#[derive(Debug, Error)]
#[error("{action} for steered {family} connections: {source}")]
pub struct ListenError {
    action: &'static str,
    family: &'static str,
    source: std::io::Error,
}

/// Listeners for steered connections in the network namespace of the calling thread, `each` of either family, which
/// share the port. IPv6 is left out where the kernel has none.
///
/// Needs CAP_NET_ADMIN: such a listener answers for addresses that are not the machine's (IP_TRANSPARENT).
///
/// # Errors
/// The kernel refuses.
pub fn listen(port: u16, each: usize) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for _ in 0..each {
        let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        listeners.push(listener(AddressFamily::Inet, "IPv4", &address)?);
    }
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return Ok(listeners);
    }
    for _ in 0..each {
        let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
        listeners.push(listener(AddressFamily::Inet6, "IPv6", &address)?);
    }
    Ok(listeners)
}

fn listener(
    family: AddressFamily,
    name: &'static str,
    at: &dyn SockaddrLike,
) -> Result<TcpListener, ListenError> {
    let step = |action| move |error: nix::Error| ListenError { action, family: name, source: error.into() };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(family, SockType::Stream, flags, None).map_err(step("making a socket"))?;
    let set = || -> nix::Result<()> {
        setsockopt(&made, sockopt::ReuseAddr, &true)?;
        setsockopt(&made, sockopt::ReusePort, &true)?;
        if family == AddressFamily::Inet6 {
            setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
        }
        // One flag of the socket, whatever its family; the option of IPv4 sets it.
        setsockopt(&made, sockopt::IpTransparent, &true)
    };
    set().map_err(step("setting options (IP_TRANSPARENT needs CAP_NET_ADMIN)"))?;
    bind_and_listen(&made, at).map_err(step("listening"))?;
    Ok(TcpListener::from(made))
}

fn bind_and_listen(made: &OwnedFd, at: &dyn SockaddrLike) -> nix::Result<()> {
    bind(made.as_raw_fd(), at)?;
    nix_listen(made, Backlog::new(BACKLOG)?)
}

/// How many connections are open, and whether there may be one more.
#[derive(Debug)]
pub(crate) struct Bounds {
    total: usize,
    per_pod: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    pods: HashMap<IpAddr, usize>,
}

/// A place among the open connections; free again when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Slot {
    bounds: Arc<Bounds>,
    pod: IpAddr,
}

impl Bounds {
    pub(crate) fn new(total: usize, per_pod: usize) -> Arc<Self> {
        Arc::new(Self { total, per_pod, open: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, pod: IpAddr) -> Result<Slot, Reason> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(Reason::TooMany);
        }
        let of_pod = open.pods.entry(pod).or_default();
        if *of_pod >= self.per_pod {
            return Err(Reason::TooManyOfPod);
        }
        *of_pod += 1;
        open.total += 1;
        drop(open);
        Ok(Slot { bounds: self.clone(), pod })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.bounds.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(of_pod) = open.pods.get_mut(&self.pod) {
            *of_pod = of_pod.saturating_sub(1);
            if *of_pod == 0 {
                open.pods.remove(&self.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pod_cannot_take_every_place_and_places_are_given_back() {
        let bounds = Bounds::new(3, 2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = bounds.admit(one).unwrap();
        let _second = bounds.admit(one).unwrap();
        assert_eq!(bounds.admit(one).unwrap_err(), Reason::TooManyOfPod);
        let _third = bounds.admit(other).unwrap();
        assert_eq!(bounds.admit(other).unwrap_err(), Reason::TooMany);
        drop(first);
        let _again = bounds.admit(other).unwrap();
    }
}
