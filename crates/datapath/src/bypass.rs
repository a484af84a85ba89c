//! What this node's pods hang on, and whether their packets pass it unjudged: where pods hang on a bridge, netfilter sees
//! what the bridge forwards only if it is told to.
//!
//! Enters: addresses of pods. Leaves: the interfaces that they are behind; the bridge among these, and the setting that is
//! missing. Guarantees: the interface by which the node reaches the world is not one that pods are behind; while nothing
//! changes, looking costs one list of interfaces, however many pods there are. Does not: change any setting.
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
/// What a list of interfaces is to be without: their counters, which are most of it.
const LINK_WITHOUT: (u16, u32) = (29, 1 << 3);
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

/// Settings by which netfilter sees what bridges forward, and whether of IPv4.
const SETTINGS: [(&str, bool); 2] =
    [("net.bridge.bridge-nf-call-iptables", true), ("net.bridge.bridge-nf-call-ip6tables", false)];

/// Kinds of interfaces that pods hang on.
const BRIDGE: &str = "bridge";
const KINDS: [&str; 3] = [BRIDGE, "veth", "netkit"];
/// So often in a row what is known of pods' ways is believed while the interfaces are the same.
const BELIEVED: u32 = 15;
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

/// What pods hang on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The interfaces that they are behind. Pods that have no route yet are behind none.
    pub sides: Sides,
    /// The first of them that others on its bridge reach unjudged.
    pub bypass: Option<Bypass>,
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    device: u32,
    /// To the address itself, and not over a router.
    direct: bool,
}

/// An interface of a kind that pods hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Ways of pods, as they were found. A pod that moves has another interface, or another address.
#[derive(Debug, Default)]
struct Ways {
    links: BTreeMap<u32, Link>,
    known: BTreeMap<IpAddr, Way>,
    left: u32,
}

impl Ways {
    /// Takes these for the interfaces that there are.
    fn among(&mut self, links: BTreeMap<u32, Link>) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || self.links != links {
            self.known.clear();
            self.left = BELIEVED;
        }
        self.links = links;
    }

    /// The way of each of these pods that has one. What is not known of them is asked for; what is known of others is forgotten.
    fn of(
        &mut self,
        pods: impl Iterator<Item = IpAddr>,
        mut ask: impl FnMut(IpAddr) -> Result<Option<Way>, ApplyError>,
    ) -> Result<Vec<(IpAddr, Way)>, ApplyError> {
        let mut before = std::mem::take(&mut self.known);
        let mut found = vec![];
        for pod in pods {
            let way = match before.remove(&pod) {
                Some(way) => Some(way),
                None => ask(pod)?,
            };
            let Some(way) = way else { continue };
            // The route of a pod that has just come may follow its interface: until then it has the way to the world.
            if way.direct && self.links.contains_key(&way.device) {
                self.known.insert(pod, way);
            }
            found.push((pod, way));
        }
        Ok(found)
    }
}

/// Looks for what pods hang on in one network namespace.
#[derive(Debug)]
pub struct Paths {
    socket: Socket,
    ways: Ways,
}

impl Paths {
    /// In the calling thread's network namespace, where [`Self::behind`] must be called, too.
    ///
    /// # Errors
    /// No rtnetlink.
    pub fn open() -> Result<Self, ApplyError> {
        let socket = Socket::open_protocol(SockProtocol::NetlinkRoute);
        let socket = socket.map_err(|errno| ApplyError::from_errno("asking for interfaces", errno))?;
        Ok(Self { socket, ways: Ways::default() })
    }

    /// What these pods hang on. Who changes a route of a pod and no interface is noticed later: after 15 calls.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn behind(&mut self, pods: impl Iterator<Item = IpAddr>) -> Result<Behind, ApplyError> {
        let links = links(&mut self.socket)?;
        if links.is_empty() {
            self.ways = Ways::default();
            return Ok(Behind::default());
        }
        self.ways.among(links);
        let socket = &mut self.socket;
        let ways = self.ways.of(pods, |pod| way(socket, pod))?;
        let mut world = BTreeSet::new();
        for address in ELSEWHERE {
            world.extend(way(socket, address)?.map(|way| way.device));
        }
        let unfiltered: Vec<_> = SETTINGS.into_iter().filter(|(setting, _)| !is_set(setting)).collect();
        let mut behind = Behind::default();
        for (pod, Way { device, direct }) in ways {
            let Some(link) = self.ways.links.get(&device) else { continue };
            if direct && !world.contains(&device) {
                behind.sides.numbers.insert(device);
                behind.sides.bridged |= link.bridge;
            }
            let unseen = unfiltered.iter().find(|(_, v4)| link.bridge && *v4 == pod.is_ipv4());
            if let (Some((setting, _)), None) = (unseen, &behind.bypass) {
                behind.bypass = Some(Bypass { bridge: link.name.clone(), setting });
            }
        }
        Ok(behind)
    }
}

/// Those that pods may hang on, by number.
fn links(socket: &mut Socket) -> Result<BTreeMap<u32, Link>, ApplyError> {
    let mut messages = socket.messages();
    push(&mut messages, (GET_LINK, DUMP), 0, LINK_REST, |a| {
        let (mask, counters) = LINK_WITHOUT;
        a.bytes(mask, &counters.to_ne_bytes());
    });
    let mut found = BTreeMap::new();
    let asked = socket.query(&messages, |message| {
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
fn way(socket: &mut Socket, address: IpAddr) -> Result<Option<Way>, ApplyError> {
    let mut messages = socket.messages();
    let family = if address.is_ipv4() { INET } else { INET6 };
    push(&mut messages, (GET_ROUTE, ACK), family, ROUTE_REST, |a| {
        match address {
            IpAddr::V4(address) => a.bytes(ROUTE_TO, &address.octets()),
            IpAddr::V6(address) => a.bytes(ROUTE_TO, &address.octets()),
        };
    });
    let mut way = None;
    let asked = socket.query(&messages, |message| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn links(numbers: &[u32]) -> BTreeMap<u32, Link> {
        numbers.iter().map(|number| (*number, Link { name: format!("v{number}"), bridge: false })).collect()
    }

    /// For which of these pods a route is asked for. Pod n is behind interface n, if it has a route already.
    fn asked(ways: &mut Ways, pods: &[u8], routed: impl Fn(u8) -> bool) -> Vec<u8> {
        let mut asked = vec![];
        let at = pods.iter().map(|pod| IpAddr::from([10, 0, 0, *pod]));
        let found = ways.of(at, |address| {
            let IpAddr::V4(address) = address else { panic!("{address}") };
            let [.., pod] = address.octets();
            asked.push(pod);
            let direct = routed(pod);
            Ok(Some(Way { device: if direct { pod.into() } else { 99 }, direct }))
        });
        assert_eq!(found.unwrap().len(), pods.len());
        asked
    }

    #[test]
    fn routes_are_asked_for_where_something_changed() {
        let mut ways = Ways::default();
        ways.among(links(&[1, 2, 99]));
        assert_eq!(asked(&mut ways, &[1, 2], |pod| pod == 1), [1, 2]);
        ways.among(links(&[1, 2, 99]));
        assert_eq!(asked(&mut ways, &[1, 2], |_| true), [2], "its route was not there yet");
        ways.among(links(&[1, 2, 99]));
        assert_eq!(asked(&mut ways, &[1, 2], |_| true), [0; 0]);
        ways.among(links(&[1, 2, 3, 99]));
        assert_eq!(asked(&mut ways, &[1, 2, 3], |_| true), [1, 2, 3], "another interface");
        ways.among(links(&[1, 2, 3, 99]));
        assert_eq!(asked(&mut ways, &[1, 3], |_| true), [0; 0]);
        ways.among(links(&[1, 2, 3, 99]));
        assert_eq!(asked(&mut ways, &[1, 2, 3], |_| true), [2], "nothing is kept of who is gone");
        let mut again = 0;
        for _ in 0..3 * BELIEVED {
            ways.among(links(&[1, 2, 3, 99]));
            again += asked(&mut ways, &[1, 2, 3], |_| true).len();
        }
        assert_eq!(again, 3 * 3, "whatever changed without an interface is found out in the end");
    }
}
