//! Where the front door leads nobody, whatever policy says.
//!
//! The proxy connects from this machine, so what trusts this machine, or is only reached from it, would take a pod for it:
//! its loopback, its own addresses, and link-local ones, where clouds serve credentials. Directly, a pod may connect to
//! what of these its policies allow; the kernel judges that.

use crate::central::is_of_machine;
use nix::ifaddrs::getifaddrs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Whether an address is one that only this machine means.
pub(super) fn is_local(address: IpAddr) -> bool {
    is_of_machine(address) || matches!(address.to_canonical(), IpAddr::V4(it) if is_reserved(it))
}

/// Whether nothing answers there but what a machine keeps for itself (RFC 6890, RFC 1112).
fn is_reserved(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [192, 0, 0, _] | [240..=255, ..])
}

/// The addresses of this machine, as its interfaces have them.
///
/// # Errors
/// The kernel does not say.
pub(super) fn own() -> io::Result<Vec<IpAddr>> {
    let address = |it: nix::ifaddrs::InterfaceAddress| {
        let storage = it.address?;
        let v4 = storage.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    };
    Ok(getifaddrs()?.filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_means_is_known() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.0.53.53", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.1.1", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("240.0.0.1", true),
            ("192.0.0.8", true),
            ("::1", true),
            ("::", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("2001:db8::1", false),
            ("fd00::1", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(is_local(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn metadata_is_of_this_machine() {
        for place in policy::metadata::PLACES {
            assert!(is_local(place.address), "{}", place.address);
        }
    }

    #[test]
    fn the_machine_knows_its_own_addresses() {
        assert!(own().unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }
}
