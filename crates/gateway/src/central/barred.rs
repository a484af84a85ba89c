//! Addresses that mean something else to each machine, or that are inside: nobody is connected there for another.
//!
//! A central gateway that connected wherever a node says would lend out its own place: its loopback, the metadata service of
//! its node with that node's credentials, the pods and nodes beside it. Does not: know names.

use ipnet::IpNet;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Networks of IPv6 in which an IPv4 address is: NAT64 (RFC 6052) and 6to4 (RFC 3056), with the place of its first byte.
const TRANSLATED: [(Ipv6Addr, u8, usize); 2] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 12),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
];

/// Networks that the outside does not route, besides those that a standard library knows: shared (RFC 6598), protocol
/// assignments (RFC 6890), benchmarks (RFC 2544), reserved (RFC 1112).
const UNROUTED: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// AWS keeps this network for services of the machine: besides metadata, its clock and its resolver.
const OF_AWS: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32);

/// Whether an address is another one on each machine: loopback, link-local, all or none of them, and where clouds hand out
/// credentials ([`policy::metadata`]), at whatever port: even Azure's DNS answers a gateway for the gateway's own place.
pub(crate) fn is_of_machine(address: IpAddr) -> bool {
    let address = plain(address);
    if policy::metadata::at(address).is_some() {
        return true;
    }
    match address {
        IpAddr::V4(it) => {
            it.is_loopback()
                || it.is_link_local()
                || it.is_multicast()
                || it.is_broadcast()
                || it.octets().first() == Some(&0)
        }
        IpAddr::V6(it) => {
            it.is_loopback()
                || it.is_unspecified()
                || it.is_multicast()
                || it.is_unicast_link_local()
                || within(it.into(), OF_AWS.0.into(), OF_AWS.1)
        }
    }
}

/// Whether it is in a network that many have: of a company, or of the cluster.
fn is_private(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(it) => {
            let is_unrouted = |(network, length): (Ipv4Addr, u8)| within(it.into(), network.into(), length);
            it.is_private() || UNROUTED.into_iter().any(is_unrouted)
        }
        IpAddr::V6(it) => it.is_unique_local(),
    }
}

/// The address that is meant, where it is written in another.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(whole) = address else { return address };
    let of = |(network, length, at): (Ipv6Addr, u8, usize)| {
        let octets = whole.octets();
        let inner = within(address, network.into(), length).then(|| octets.get(at..at + 4))??;
        Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(inner).ok()?)))
    };
    TRANSLATED.into_iter().find_map(of).unwrap_or_else(|| address.to_canonical())
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    IpNet::new(network, length).is_ok_and(|network| network.contains(&address))
}

/// Where policy may lead.
#[derive(Clone, Debug, Default)]
pub(super) struct Bar {
    /// Addresses of pods and nodes.
    pub(super) inside: HashSet<IpAddr>,
    /// Private networks to which names may lead.
    pub(super) private: Vec<IpNet>,
}

/// What an address needs to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// A rule that allows it by name or by address.
    Rule,
    /// A rule that allows the address itself: names may not lead there.
    RuleOfAddress,
    /// Nothing helps.
    Barred,
}

impl Bar {
    pub(super) fn needs(&self, destination: SocketAddr) -> Needs {
        let address = destination.ip();
        // Written as IPv6, an address of IPv4 is connected to by IPv4 and would be judged by rules for IPv6.
        let is_mapped = address != address.to_canonical();
        if is_mapped
            || is_of_machine(address)
            || self.inside.contains(&plain(address))
            || destination.port() == 0
        {
            return Needs::Barred;
        }
        let is_meant = self.private.iter().any(|network| network.contains(&plain(address)));
        if is_private(address) && !is_meant { Needs::RuleOfAddress } else { Needs::Rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_is_known_in_every_form() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let bar = Bar {
            inside: [address("203.0.113.5"), address("2001:db8::5")].into(),
            private: vec!["10.9.0.0/16".parse().unwrap(), "fd00:9::/32".parse().unwrap()],
        };
        for (text, needs) in [
            ("192.0.2.1", Needs::Rule),
            ("2001:db8::1", Needs::Rule),
            ("10.9.0.1", Needs::Rule),
            ("fd00:9::1", Needs::Rule),
            ("10.8.0.1", Needs::RuleOfAddress),
            ("172.16.0.1", Needs::RuleOfAddress),
            ("192.168.0.1", Needs::RuleOfAddress),
            ("100.64.0.1", Needs::RuleOfAddress),
            ("198.18.0.1", Needs::RuleOfAddress),
            ("fd00:8::1", Needs::RuleOfAddress),
            ("64:ff9b::10.8.0.1", Needs::RuleOfAddress),
            ("2002:a08:1::1", Needs::RuleOfAddress),
            ("127.0.0.1", Needs::Barred),
            ("127.9.9.9", Needs::Barred),
            ("0.0.0.0", Needs::Barred),
            ("0.1.2.3", Needs::Barred),
            ("169.254.1.1", Needs::Barred),
            ("fd00:ec2::253", Needs::Barred),
            ("::ffff:192.0.2.1", Needs::Barred),
            ("::ffff:10.8.0.1", Needs::Barred),
            ("224.0.0.1", Needs::Barred),
            ("255.255.255.255", Needs::Barred),
            ("::", Needs::Barred),
            ("::1", Needs::Barred),
            ("fe80::1", Needs::Barred),
            ("ff02::1", Needs::Barred),
            ("::ffff:169.254.169.254", Needs::Barred),
            ("64:ff9b::a9fe:a9fe", Needs::Barred),
            ("2002:7f00:1::", Needs::Barred),
            ("203.0.113.5", Needs::Barred),
            ("::ffff:203.0.113.5", Needs::Barred),
            ("2001:db8::5", Needs::Barred),
        ] {
            assert_eq!(bar.needs(SocketAddr::new(address(text), 443)), needs, "{text}");
        }
        assert_eq!(bar.needs(SocketAddr::new(address("192.0.2.1"), 0)), Needs::Barred);
    }

    #[test]
    fn nobody_is_connected_to_metadata_even_where_its_network_was_listed() {
        let everything = ["0.0.0.0/0", "::/0"].map(|network| network.parse::<IpNet>().unwrap());
        let bar = Bar { inside: HashSet::new(), private: everything.into() };
        for place in policy::metadata::PLACES {
            for port in [53, 80, 443] {
                let to = SocketAddr::new(place.address, port);
                assert_eq!(bar.needs(to), Needs::Barred, "{to}");
            }
        }
    }
}
