//! The question: may this party open this connection to that one?

use crate::world::{Node, Pod, World};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A transport protocol by its IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP, the default of every API here.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// The protocols whose ports a policy can name.
    pub const WITH_PORTS: [Self; 3] = [Self::TCP, Self::UDP, Self::SCTP];

    /// Whether the protocol has ports a policy can name.
    pub fn has_ports(self) -> bool {
        Self::WITH_PORTS.contains(&self)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::SCTP => f.write_str("SCTP"),
            Self::ICMP => f.write_str("ICMP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            "TCP" => Ok(Self::TCP),
            "UDP" => Ok(Self::UDP),
            "SCTP" => Ok(Self::SCTP),
            "ICMP" => Ok(Self::ICMP),
            "ICMPV6" => Ok(Self::ICMPV6),
            other => other.parse().map(Self).map_err(|_| UnknownProtocol(text.to_owned())),
        }
    }
}

/// The text names no protocol.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a protocol: use TCP, UDP, SCTP, ICMP, ICMPv6 or a number from 0 to 255")]
pub struct UnknownProtocol(String);

/// Which side of a connection a rule speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Judged at the source.
    Egress,
    /// Judged at the destination.
    Ingress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}

/// Who is at one end. Never a host-network pod: that is its node.
#[derive(Clone, Copy, Debug)]
pub enum Party<'a> {
    /// A pod with a network of its own.
    Pod(&'a Pod),
    /// A node, or a host-network pod on it.
    Node(&'a Node),
    /// Anything else. Unknown is a party too.
    Outside,
}

/// One end of an access.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// Who.
    pub party: Party<'a>,
    /// From where. `None` for a pod that has no known address: no network peer matches it.
    pub address: Option<IpAddr>,
}

impl<'a> Endpoint<'a> {
    /// A pod at its first address. A host-network pod becomes its node.
    pub fn pod(world: &'a World, pod: &'a Pod) -> Self {
        let address = pod.addresses.first().copied();
        if !pod.host_network {
            return Self { party: Party::Pod(pod), address };
        }
        let node = pod.node.as_ref().and_then(|name| world.nodes.get(name));
        match node {
            Some(node) => {
                Self { party: Party::Node(node), address: address.or(node.addresses.first().copied()) }
            }
            None => Self { party: Party::Outside, address },
        }
    }

    /// Whoever has the address: a pod, a node, or the outside.
    pub fn at(world: &'a World, address: IpAddr) -> Self {
        if let Some(pod) = world.pods.iter().find(|pod| !pod.host_network && pod.addresses.contains(&address))
        {
            return Self { party: Party::Pod(pod), address: Some(address) };
        }
        match world.nodes.values().find(|node| node.addresses.contains(&address)) {
            Some(node) => Self { party: Party::Node(node), address: Some(address) },
            None => Self { party: Party::Outside, address: Some(address) },
        }
    }
}

impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.party, self.address) {
            (Party::Pod(pod), _) => write!(f, "pod {pod}"),
            (Party::Node(node), _) => write!(f, "node {}", node.name),
            (Party::Outside, Some(address)) => write!(f, "{address}"),
            (Party::Outside, None) => f.write_str("outside"),
        }
    }
}

/// A new connection, as policy sees it: after load-balancing, before source translation.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Who opens it.
    pub from: Endpoint<'a>,
    /// Who receives it.
    pub to: Endpoint<'a>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port on the receiving pod; 0 where the protocol has none.
    pub port: u16,
}
