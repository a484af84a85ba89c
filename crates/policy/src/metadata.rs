//! Where clouds hand out credentials: the one list that everybody goes by who refuses, denies, recognises or scores such a place.
//!
//! Enters: an address, and protocol and port where they are known. Leaves: the [`Place`] that it is, or nothing.
//! Guarantees: an address that also serves something else (Azure's is its DNS as well) is such a place at its ports of
//! metadata alone, for those who know the port. Does not: know names, or addresses that somebody chose for a proxy of his own
//! (kube2iam, for example).

use crate::access::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A place where credentials are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: IpAddr,
    /// At which of its ports.
    pub ports: At,
    /// Whose credentials they are.
    pub whose: Whose,
    /// The clouds that have it, for people.
    pub providers: &'static str,
    /// Who says so: a page of the provider by its name, or a client that the provider supports.
    pub source: &'static str,
}

/// At which ports an address hands out credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The address is for nothing else that a pod needs.
    EveryPort,
    /// At these of TCP; at others it is something that pods may need.
    Tcp(&'static [u16]),
}

/// Whose credentials a place hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The machine's, or what the machine was started with: to whoever asks from there.
    Machine,
    /// The asking workload's own, which shows a token or is known by its address: what it is meant to use.
    Workload,
}

/// Every place that is known.
pub static PLACES: [Place; 16] = [
    Place {
        address: v4(169, 254, 169, 254),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "AWS, Azure, Google Cloud, Oracle Cloud, OpenStack, Akamai, DigitalOcean, Hetzner and others",
        source: "Amazon EC2, \"Access instance metadata for an EC2 instance\"; Google Cloud, \"View and query VM metadata\"; \
                 Oracle Cloud, \"Getting Instance Metadata\"",
    },
    Place {
        address: v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "AWS",
        source: "Amazon EC2, \"Access instance metadata for an EC2 instance\"",
    },
    Place {
        address: v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Google Cloud",
        source: "Google Cloud, \"View and query VM metadata\"",
    },
    Place {
        address: v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Oracle Cloud",
        source: "cloud-init, data source Oracle",
    },
    Place {
        address: v4(192, 0, 0, 192),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Oracle Cloud Classic",
        source: "Oracle, Terraform provider for Oracle Cloud Infrastructure Classic, \"attributes\" of instances",
    },
    Place {
        address: v4(100, 100, 100, 200),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Alibaba Cloud",
        source: "Alibaba Cloud ECS, \"View instance metadata\"; cloud-init, \"Alibaba Cloud (AliYun)\"",
    },
    Place {
        address: v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Alibaba Cloud",
        source: "cloud-init, data source AliYun",
    },
    Place {
        address: v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "OpenStack, Akamai",
        source: "OpenStack Neutron, \"IPv6 support in Metadata service\"",
    },
    Place {
        address: v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Akamai",
        source: "cloud-init, \"Akamai\"; Akamai, \"Metadata service API\"",
    },
    Place {
        address: v4(169, 254, 42, 42),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Scaleway",
        source: "cloud-init, \"Scaleway\"",
    },
    Place {
        address: v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),
        ports: At::EveryPort,
        whose: Whose::Machine,
        providers: "Scaleway",
        source: "cloud-init, \"Scaleway\"",
    },
    // The wire server, whose goal state has secrets of extensions. Port 53 is Azure's DNS.
    Place {
        address: v4(168, 63, 129, 16),
        ports: At::Tcp(&[80, 32526]),
        whose: Whose::Machine,
        providers: "Azure",
        source: "Azure, \"What is IP address 168.63.129.16?\"; AKS closes the same two ports to pods (AgentBaker)",
    },
    // Google's node answers there for 169.254.169.254 where iptables translates; what is judged is the translated address.
    Place {
        address: v4(169, 254, 169, 252),
        ports: At::EveryPort,
        whose: Whose::Workload,
        providers: "GKE (Workload Identity)",
        source: "Google Kubernetes Engine, \"About Workload Identity Federation for GKE\"",
    },
    Place {
        address: v4(169, 254, 170, 2),
        ports: At::EveryPort,
        whose: Whose::Workload,
        providers: "AWS ECS",
        source: "Amazon ECS, \"Task IAM role\"",
    },
    Place {
        address: v4(169, 254, 170, 23),
        ports: At::EveryPort,
        whose: Whose::Workload,
        providers: "AWS EKS (Pod Identity)",
        source: "Amazon EKS, \"Set up the Amazon EKS Pod Identity Agent\"",
    },
    Place {
        address: v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
        ports: At::EveryPort,
        whose: Whose::Workload,
        providers: "AWS EKS (Pod Identity)",
        source: "Amazon EKS, \"Set up the Amazon EKS Pod Identity Agent\"",
    },
];

/// The place at an address, whatever the port: for who must not be led there at all.
#[must_use]
pub fn at(address: IpAddr) -> Option<&'static Place> {
    let address = meant(address);
    PLACES.iter().find(|place| place.address == address)
}

/// The place that a connection is to.
#[must_use]
pub fn asked(address: IpAddr, protocol: Protocol, port: u16) -> Option<&'static Place> {
    at(address).filter(|place| match place.ports {
        At::EveryPort => true,
        At::Tcp(ports) => protocol == Protocol::TCP && ports.contains(&port),
    })
}

/// The address of IPv4 that is meant, where it is written as one of IPv6: mapped, or for NAT64 to translate by the well-known prefix
/// (RFC 6052), which some nodes do themselves.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(whole) = address else { return address };
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = whole.segments() else { return address.to_canonical() };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    v4(a, b, c, d)
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The only test that repeats the list: what it says of others, others are held to by walking over it.
    #[test]
    fn the_list_is_this() {
        let told = |whose: Whose| {
            let of = PLACES.iter().filter(move |place| place.whose == whose);
            of.map(|place| place.address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            told(Whose::Machine),
            [
                "169.254.169.254",
                "fd00:ec2::254",
                "fd20:ce::254",
                "fd00:c1::a9fe:a9fe",
                "192.0.0.192",
                "100.100.100.200",
                "fd00:100::100:200",
                "fe80::a9fe:a9fe",
                "fd00:a9fe:a9fe::1",
                "169.254.42.42",
                "fd00:42::42",
                "168.63.129.16",
            ]
        );
        assert_eq!(
            told(Whose::Workload),
            ["169.254.169.252", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"]
        );
        assert_eq!(PLACES.iter().map(|place| place.address).collect::<BTreeSet<_>>().len(), PLACES.len());
        assert!(PLACES.iter().all(|place| !place.providers.is_empty() && !place.source.is_empty()));
    }

    #[test]
    fn an_address_that_serves_something_else_too_is_told_by_its_ports() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let azure = address("168.63.129.16");
        assert!(at(azure).is_some());
        for (protocol, port, expected) in [
            (Protocol::TCP, 80, true),
            (Protocol::TCP, 32526, true),
            (Protocol::TCP, 53, false),
            (Protocol::UDP, 53, false),
            (Protocol::UDP, 80, false),
            (Protocol::UDP, 67, false),
            (Protocol::ICMP, 0, false),
        ] {
            assert_eq!(asked(azure, protocol, port).is_some(), expected, "{protocol} {port}");
        }
        for (protocol, port) in [(Protocol::TCP, 443), (Protocol::UDP, 53), (Protocol::ICMP, 0)] {
            for written in ["::ffff:169.254.169.254", "64:ff9b::169.254.169.254"] {
                assert!(asked(address(written), protocol, port).is_some(), "{written} {protocol} {port}");
            }
        }
        assert!(asked(address("64:ff9b::168.63.129.16"), Protocol::UDP, 53).is_none());
        for beside in [
            "168.63.129.17",
            "169.254.169.253",
            "fd00:ec2::253",
            "fd20:ce::253",
            "8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(at(address(beside)), None, "{beside}");
        }
    }
}
