//! What this node's pods hang on, and whether their packets pass it unjudged: where pods hang on a bridge, netfilter sees
//! what the bridge forwards only if it is told to.
//!
//! Enters: addresses of pods. Leaves: the interfaces that they are behind; the bridge among these, and the setting that is
//! missing. Guarantees: the interface by which the node reaches the world is not one that pods are behind. Does not: change
//! any setting.
//! Source: kernel documentation `networking/bridge`, `linux/rtnetlink.h`.

use crate::error::ApplyError;
use crate::netlink::{ACK, DUMP, Messages, Parsed, Socket};
use crate::nft::sets::Key;
use nix::sys::socket::SockProtocol;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
/// What follows the family in the fixed part of a link's and of a route's message, beyond what [`Messages`] writes.
const LINK_REST: usize = 12;
const ROUTE_REST: usize = 8;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const ROUTE_TO: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
/// How a route names the router that it leads over: one of its own family, and any.
const ROUTE_OVER: [u16; 2] = [5, 18];
/// Where the message of a route has its type, and that of one to somebody else.
const ROUTE_TYPE: usize = 7;
const UNICAST: u8 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Kinds of interfaces that pods hang on.
const BRIDGE: &str = "bridge";
const KINDS: [&str; 3] = [BRIDGE, "veth", "netkit"];
/// Addresses of documentation: whatever leads there leads to the world.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Interfaces that pods are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    numbers: BTreeSet<u32>,
    bridged: bool,
}

impl Sides {
    /// As packets have them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.numbers.iter().map(|number| Key::of(&[&number.to_ne_bytes()]))
    }

    /// Whether one of them is a bridge.
    pub(crate) fn are_bridged(&self) -> bool {
        self.bridged
    }
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug)]
struct Way {
    device: u32,
    /// To the address itself, and not over a router.
    direct: bool,
}

/// An interface of a kind that pods hang on.
#[derive(Debug)]
struct Link {
    name: String,
    bridge: bool,
}

/// Pods that reach each other past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The bridge that they hang on.
    pub bridge: String,
    /// The setting that must be 1.
    pub setting: &'static str,
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pods on bridge {} reach each other unjudged: load br_netfilter and set {} to 1 on this node",
            self.bridge, self.setting
        )
    }
}

/// Looks for it in one network namespace.
#[derive(Debug)]
pub struct Paths {
    socket: Socket,
}

impl Paths {
    /// In the calling thread's network namespace, where [`Self::bypass`] must be called, too.
    ///
    /// # Errors
    /// No rtnetlink.
    pub fn open() -> Result<Self, ApplyError> {
        let socket = Socket::open_protocol(SockProtocol::NetlinkRoute);
        Ok(Self { socket: socket.map_err(|errno| ApplyError::from_errno("asking for interfaces", errno))? })
    }

    /// The first of the pods' addresses that others on its bridge reach unjudged.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn bypass(&mut self, pods: impl Iterator<Item = IpAddr>) -> Result<Option<Bypass>, ApplyError> {
        let unfiltered =
            [("net.bridge.bridge-nf-call-iptables", true), ("net.bridge.bridge-nf-call-ip6tables", false)]
                .into_iter()
                .filter(|(setting, _)| !is_set(setting));
        let unfiltered: Vec<_> = unfiltered.collect();
        if unfiltered.is_empty() {
            return Ok(None);
        }
        let links = self.links()?;
        if !links.values().any(|link| link.bridge) {
            return Ok(None);
        }
        for pod in pods {
            let Some((setting, _)) = unfiltered.iter().find(|(_, v4)| *v4 == pod.is_ipv4()) else { continue };
            let link = self.way(pod)?.and_then(|way| links.get(&way.device));
            if let Some(link) = link.filter(|link| link.bridge) {
                return Ok(Some(Bypass { bridge: link.name.clone(), setting }));
            }
        }
        Ok(None)
    }

    /// The interfaces that pods are behind. Those that have no route yet are behind none.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn sides(&mut self, pods: impl Iterator<Item = IpAddr>) -> Result<Sides, ApplyError> {
        let mut links = self.links()?;
        for address in ELSEWHERE {
            if let Some(way) = self.way(address)? {
                links.remove(&way.device);
            }
        }
        let mut sides = Sides::default();
        for pod in pods {
            if links.is_empty() {
                break;
            }
            let Some(way) = self.way(pod)?.filter(|way| way.direct) else { continue };
            if let Some(link) = links.get(&way.device) {
                sides.numbers.insert(way.device);
                sides.bridged |= link.bridge;
            }
        }
        Ok(sides)
    }

    /// Those that pods may hang on, by number.
    fn links(&mut self) -> Result<BTreeMap<u32, Link>, ApplyError> {
        let mut messages = self.socket.messages();
        push(&mut messages, (GET_LINK, DUMP), 0, LINK_REST, |_| {});
        let mut found = BTreeMap::new();
        let asked = self.socket.query(&messages, |message| {
            let number = message.payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
            let attributes = Parsed::from(message.payload.get(4 + LINK_REST..).unwrap_or_default());
            let kind = attributes.nest(LINK_INFO).and_then(|info| info.text(INFO_KIND));
            if message.kind == NEW_LINK
                && let Some(kind) = kind.filter(|kind| KINDS.contains(kind))
                && let (Some(number), Some(name)) = (number, attributes.text(LINK_NAME))
            {
                let link = Link { name: name.to_owned(), bridge: kind == BRIDGE };
                found.insert(u32::from_ne_bytes(number), link);
            }
        });
        asked.map_err(|error| ApplyError::from_transact(error, &[]))?;
        Ok(found)
    }

    /// Where packets to an address go, unless it is one of this node.
    fn way(&mut self, address: IpAddr) -> Result<Option<Way>, ApplyError> {
        let mut messages = self.socket.messages();
        let family = if address.is_ipv4() { INET } else { INET6 };
        push(&mut messages, (GET_ROUTE, ACK), family, ROUTE_REST, |a| {
            match address {
                IpAddr::V4(address) => a.bytes(ROUTE_TO, &address.octets()),
                IpAddr::V6(address) => a.bytes(ROUTE_TO, &address.octets()),
            };
        });
        let mut way = None;
        let asked = self.socket.query(&messages, |message| {
            let attributes = Parsed::from(message.payload.get(4 + ROUTE_REST..).unwrap_or_default());
            let number = attributes.get(ROUTE_DEVICE).and_then(|bytes| bytes.try_into().ok());
            let leads = message.kind == NEW_ROUTE && message.payload.get(ROUTE_TYPE) == Some(&UNICAST);
            if let Some(number) = number.filter(|_| leads) {
                let direct = ROUTE_OVER.iter().all(|over| attributes.get(*over).is_none());
                way = Some(Way { device: u32::from_ne_bytes(number), direct });
            }
        });
        match asked {
            // There is no route to a pod that is not there yet.
            Ok(()) | Err(crate::netlink::TransactError::Refused(_)) => Ok(way),
            Err(error) => Err(ApplyError::from_transact(error, &[])),
        }
    }
}

fn push(
    messages: &mut Messages,
    (kind, flags): (u16, u16),
    family: u8,
    rest: usize,
    fill: impl FnOnce(&mut crate::netlink::Attributes<'_>),
) {
    messages.push(kind, flags, family, 0, |a| {
        a.encoded(&vec![0; rest]);
        fill(a);
    });
}

/// Whether netfilter is called. The file is absent while the module is not loaded.
fn is_set(setting: &str) -> bool {
    let path = format!("/proc/sys/{}", setting.replace('.', "/"));
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}
