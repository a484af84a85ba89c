//! What a denied connection was about, as far as its destination tells: one closed table, for detection and for people.
//!
//! | word | destination |
//! |---|---|
//! | `metadata-service` | a place of [`policy::metadata`] |
//! | `api-server` | TCP port 6443, outside or at a node |
//! | `dns-elsewhere` | port 53 or 5353 of TCP or UDP, outside |
//! | `dns-over-tls` | port 853 of TCP or UDP, outside |
//! | `dns-over-https` | port 443 of TCP or UDP at an address of [`PUBLIC_RESOLVERS`] |
//! | `address-not-resolved` | any other outside, for a pod whose rules speak of names, none of which led it there |
//!
//! The first that fits holds. Enters: destination, protocol, port, how the source knows the address. Leaves: a word or
//! nothing. Guarantees: pods are never meant, so the cluster's own DNS is not. Does not: know the address of an API server
//! that serves another port, or say that a connection was meant ill.

use crate::record::{End, EndKind};
use policy::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What a denied connection was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The metadata service of a cloud, which hands out credentials.
    MetadataService,
    /// The Kubernetes API server.
    ApiServer,
    /// DNS of somebody who is not the cluster's, or multicast DNS.
    DnsElsewhere,
    /// DNS over TLS or QUIC (RFC 7858, RFC 9250).
    DnsOverTls,
    /// A public resolver at the port of HTTPS (RFC 8484).
    DnsOverHttps,
    /// An address that no answer gave the pod for a name that its rules speak of, or none that still holds.
    AddressNotResolved,
}

/// How a source knows the address that it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// No rule for it speaks of names, so nobody follows what it resolves.
    NotFollowed,
    /// DNS gave it the address for a name that its rules speak of.
    Resolved,
    /// Its rules speak of names, and none of them led it there.
    NotResolved,
}

/// A word that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use one of {}", About::ALL.map(About::as_str).join(", "))]
pub struct UnknownAbout;

/// Public resolvers that answer over HTTPS, as their operators publish them: Google Public DNS, Cloudflare 1.1.1.1, Quad9,
/// OpenDNS, AdGuard DNS. For each two addresses of IPv4, then two of IPv6, and the same of what the operator serves besides:
/// without malware, for families, unfiltered.
pub const PUBLIC_RESOLVERS: [IpAddr; 48] = [
    v4(8, 8, 8, 8),
    v4(8, 8, 4, 4),
    v6([0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888]),
    v6([0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844]),
    v4(1, 1, 1, 1),
    v4(1, 0, 0, 1),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111]),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1001]),
    v4(1, 1, 1, 2),
    v4(1, 0, 0, 2),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1112]),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1002]),
    v4(1, 1, 1, 3),
    v4(1, 0, 0, 3),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1113]),
    v6([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1003]),
    v4(9, 9, 9, 9),
    v4(149, 112, 112, 112),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe]),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0, 0x9]),
    v4(9, 9, 9, 10),
    v4(149, 112, 112, 10),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0, 0x10]),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0xfe, 0x10]),
    v4(9, 9, 9, 11),
    v4(149, 112, 112, 11),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0, 0x11]),
    v6([0x2620, 0xfe, 0, 0, 0, 0, 0xfe, 0x11]),
    v4(208, 67, 222, 222),
    v4(208, 67, 220, 220),
    v6([0x2620, 0x119, 0x35, 0, 0, 0, 0, 0x35]),
    v6([0x2620, 0x119, 0x53, 0, 0, 0, 0, 0x53]),
    v4(208, 67, 222, 123),
    v4(208, 67, 220, 123),
    v6([0x2620, 0x119, 0x35, 0, 0, 0, 0, 0x123]),
    v6([0x2620, 0x119, 0x53, 0, 0, 0, 0, 0x123]),
    v4(94, 140, 14, 14),
    v4(94, 140, 15, 15),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0xad1, 0xff]),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0xad2, 0xff]),
    v4(94, 140, 14, 15),
    v4(94, 140, 15, 16),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0xbad1, 0xff]),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0xbad2, 0xff]),
    v4(94, 140, 14, 140),
    v4(94, 140, 14, 141),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0x1, 0xff]),
    v6([0x2a10, 0x50c0, 0, 0, 0, 0, 0x2, 0xff]),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// Port of the API server, as kubeadm and most distributions have it behind its Service.
const API_SERVER: u16 = 6443;

impl About {
    /// Every word, in the order in which they are tried.
    pub const ALL: [Self; 6] = [
        Self::MetadataService,
        Self::ApiServer,
        Self::DnsElsewhere,
        Self::DnsOverTls,
        Self::DnsOverHttps,
        Self::AddressNotResolved,
    ];

    /// What a denied connection to this end was about; `None` where nothing in the table fits.
    pub fn denied(to: &End, protocol: Protocol, port: u16, knowledge: Knowledge) -> Option<Self> {
        let is_api_server = protocol == Protocol::TCP && port == API_SERVER;
        match to.kind {
            EndKind::Pod => return None,
            EndKind::Node => return is_api_server.then_some(Self::ApiServer),
            EndKind::Outside => {}
        }
        if policy::metadata::asked(to.address, protocol, port).is_some() {
            return Some(Self::MetadataService);
        }
        if is_api_server {
            return Some(Self::ApiServer);
        }
        if matches!(protocol, Protocol::TCP | Protocol::UDP) {
            match port {
                53 | 5353 => return Some(Self::DnsElsewhere),
                853 => return Some(Self::DnsOverTls),
                443 if PUBLIC_RESOLVERS.contains(&to.address) => return Some(Self::DnsOverHttps),
                _ => {}
            }
        }
        match knowledge {
            Knowledge::NotResolved => Some(Self::AddressNotResolved),
            Knowledge::NotFollowed | Knowledge::Resolved => None,
        }
    }

    /// Short stable word for records, queries and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MetadataService => "metadata-service",
            Self::ApiServer => "api-server",
            Self::DnsElsewhere => "dns-elsewhere",
            Self::DnsOverTls => "dns-over-tls",
            Self::DnsOverHttps => "dns-over-https",
            Self::AddressNotResolved => "address-not-resolved",
        }
    }

    /// What was tried, as findings say it who have no single destination.
    pub fn attempted(self) -> &'static str {
        match self {
            Self::MetadataService => "the cloud's metadata service, which hands out credentials",
            Self::ApiServer => "the API server",
            Self::DnsElsewhere => "DNS past the cluster's resolver",
            Self::DnsOverTls => "DNS over TLS, past the cluster's resolver",
            Self::DnsOverHttps => "a public resolver by HTTPS, past the cluster's",
            Self::AddressNotResolved => "addresses that no allowed name led it to",
        }
    }

    /// What a person reads behind the reason.
    pub fn describe(self) -> &'static str {
        match self {
            Self::MetadataService => "it is the metadata service of the cloud",
            Self::ApiServer => "it is the API server's port",
            Self::DnsElsewhere => "it is DNS past the cluster's",
            Self::DnsOverTls => "it is the port of DNS over TLS",
            Self::DnsOverHttps => "it is a public resolver, by HTTPS",
            Self::AddressNotResolved => "the address was not resolved by this pod from a name of its rules",
        }
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for About {
    type Err = UnknownAbout;

    fn from_str(text: &str) -> Result<Self, UnknownAbout> {
        Self::ALL.into_iter().find(|about| about.as_str() == text).ok_or(UnknownAbout)
    }
}
