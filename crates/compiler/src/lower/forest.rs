//! Which network peers hold at an address: prefixes never overlap partially, so the longest mentioned prefix
//! that contains an address determines all of them.
//!
//! Enters: network peers. Leaves: every mentioned prefix with the peers that match its addresses.
//! Guarantees: an address in no prefix matches none of the peers. Does not: know pods or nodes.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A mentioned prefix.
pub(crate) struct Prefix {
    pub(crate) net: IpNet,
    /// Index of the next longer-reaching prefix around this one.
    pub(crate) parent: Option<usize>,
    /// Peers that match the addresses of this prefix which no longer prefix contains; sorted.
    pub(crate) peers: Vec<u32>,
}

/// All mentioned prefixes, sorted by first address, the shorter first.
pub(crate) struct Forest {
    pub(crate) prefixes: Vec<Prefix>,
}

#[derive(Default)]
struct Change {
    opens: Vec<u32>,
    closes: Vec<u32>,
}

impl Forest {
    /// From `(peer, cidr, except)`.
    pub(crate) fn new<'a>(peers: impl Iterator<Item = (u32, IpNet, &'a [IpNet])>) -> Self {
        let mut changes: BTreeMap<IpNet, Change> = BTreeMap::new();
        for (peer, cidr, except) in peers {
            let cidr = cidr.trunc();
            // Carved out whole: it matches nothing.
            if except.iter().any(|carved| carved.contains(&cidr)) {
                continue;
            }
            changes.entry(cidr).or_default().opens.push(peer);
            for carved in except.iter().map(IpNet::trunc).filter(|carved| cidr.contains(carved)) {
                changes.entry(carved).or_default().closes.push(peer);
            }
        }
        Self { prefixes: nest(changes) }
    }

    /// The longest prefix around an address.
    pub(crate) fn find(&self, address: IpAddr) -> Option<usize> {
        let past = self.prefixes.partition_point(|prefix| prefix.net.network() <= address);
        let mut at = past.checked_sub(1);
        while let Some(index) = at {
            let prefix = self.prefixes.get(index)?;
            if prefix.net.contains(&address) {
                return Some(index);
            }
            at = prefix.parent;
        }
        None
    }

    /// The peers that match an address.
    pub(crate) fn peers(&self, address: IpAddr) -> &[u32] {
        self.find(address).and_then(|index| self.prefixes.get(index)).map_or(&[], |prefix| &prefix.peers)
    }
}

/// `IpNet` orders by family, first address, then length: a prefix comes before everything inside it.
fn nest(changes: BTreeMap<IpNet, Change>) -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> = Vec::with_capacity(changes.len());
    let mut around: Vec<usize> = Vec::new();
    for (net, mut change) in changes {
        while let Some(outer) = around.last().and_then(|&index| prefixes.get(index)) {
            if outer.net.contains(&net) {
                break;
            }
            around.pop();
        }
        let parent = around.last().copied();
        let inherited = parent.and_then(|index| prefixes.get(index)).map_or(&[][..], |outer| &outer.peers);
        change.closes.sort_unstable();
        let mut peers: Vec<u32> = inherited
            .iter()
            .chain(&change.opens)
            .copied()
            .filter(|peer| change.closes.binary_search(peer).is_err())
            .collect();
        peers.sort_unstable();
        peers.dedup();
        around.push(prefixes.len());
        prefixes.push(Prefix { net, parent, peers });
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_determines_every_peer() {
        let carved = [net("10.1.0.0/16"), net("10.1.2.0/24")];
        let whole = [net("10.0.0.0/8")];
        let forest = Forest::new(
            [
                (1, net("10.0.0.0/8"), &carved[..]),
                (2, net("10.1.2.0/24"), &[][..]),
                (3, net("10.1.0.0/16"), &whole[..]),
                (4, net("::/0"), &[][..]),
            ]
            .into_iter(),
        );
        let check = |address: &str, expected: &[u32]| {
            assert_eq!(forest.peers(address.parse().unwrap()), expected, "{address}");
        };
        check("10.0.0.1", &[1]);
        check("10.200.0.1", &[1]);
        check("10.1.9.9", &[]);
        check("10.1.2.3", &[2]);
        check("11.0.0.0", &[]);
        check("9.255.255.255", &[]);
        check("fd00::1", &[4]);
    }
}
