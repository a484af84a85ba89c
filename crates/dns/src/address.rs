//! Which addresses a name of the outside may lead to (protection against DNS rebinding).
//!
//! A name that anybody can register may point at an address of ours: whoever then trusts the name reaches the inside.
//! So answers with such addresses are refused, but for names of zones that are known to be inside.
//!
//! Sources: IANA's registries of special-purpose addresses; RFC 6890, 8190, 4193, 6598; for metadata, [`policy::metadata`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Anybody's.
    Public,
    /// Of a private network: fit for names of private zones only.
    Private,
    /// Of this machine, this link, no machine, many machines, or of a cloud's metadata: fit for no name.
    Special,
}

/// What an address is to the outside.
pub fn reach(address: IpAddr) -> Reach {
    // Whatever the port: who was told an address chooses the port himself.
    if policy::metadata::at(address).is_some() {
        return Reach::Special;
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0 | 127 | 224..=255, ..] | [169, 254, ..] => Reach::Special,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Reach::Private,
        [192, 0, 0, _] | [198, 18..=19, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        reach(Ipv4Addr::new(a, b, c, d).into())
    };
    match address.segments() {
        // Unspecified, loopback, IPv4-compatible and IPv4-mapped.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Special,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low),
        // Translated by NAT64, with the well-known prefix and with one of the network's own.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => Reach::Private,
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Reach::Private,
        [first, ..] if first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00 => Reach::Special,
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_told_apart() {
        let cases = [
            (Reach::Public, "192.0.2.1 8.8.8.8 172.32.0.1 100.128.0.1 2001:db8::1 2606:4700::1111"),
            (Reach::Public, "::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1"),
            (
                Reach::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 fd00::1 fec0::1",
            ),
            (Reach::Private, "::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 2002:a00:1::1 ::10.0.0.1"),
            (
                Reach::Special,
                "0.0.0.0 0.1.2.3 127.0.0.1 127.9.9.9 169.254.169.254 224.0.0.1 255.255.255.255 240.0.0.1",
            ),
            (Reach::Special, ":: ::1 fe80::1 ff02::1"),
            (Reach::Special, "::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 2002:7f00:1::1"),
        ];
        for (expected, addresses) in cases {
            for address in addresses.split(' ') {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn no_name_leads_to_metadata_in_any_form() {
        for place in policy::metadata::PLACES {
            let address = place.address;
            assert_eq!(reach(address), Reach::Special, "{address}");
            let IpAddr::V4(v4) = address else { continue };
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for written in [
                v4.to_ipv6_mapped(),
                v4.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert_eq!(reach(written.into()), Reach::Special, "{written}");
            }
        }
    }
}
