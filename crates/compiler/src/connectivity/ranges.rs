//! Outside addresses, split where policies can tell them apart.

use crate::lower::classes::Signature;
use crate::lower::forest::Forest;
use ipnet::IpNet;
use policy::table::ClassId;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 always, IPv6 where a policy mentions a network of it. Ranges of one family ascend without a gap.
pub(super) fn outside(
    forest: &Forest,
    mut class: impl FnMut(Signature) -> ClassId,
) -> Vec<(IpAddr, IpAddr, ClassId)> {
    let mut starts: BTreeSet<IpAddr> = BTreeSet::from([Ipv4Addr::UNSPECIFIED.into()]);
    if forest.prefixes.iter().any(|prefix| matches!(prefix.net, IpNet::V6(_))) {
        starts.insert(Ipv6Addr::UNSPECIFIED.into());
    }
    for prefix in &forest.prefixes {
        starts.insert(prefix.net.network());
        starts.extend(after(prefix.net.broadcast()));
    }
    let ends = starts.iter().skip(1).map(|next| before(*next)).chain([None]);
    let range = |(first, last): (&IpAddr, Option<IpAddr>)| {
        let mut peers = forest.peers(*first).to_vec();
        peers.sort_unstable();
        peers.dedup();
        let last = last.filter(|last| last.is_ipv4() == first.is_ipv4()).unwrap_or_else(|| highest(*first));
        (*first, last, class(Signature { peers, ..Signature::default() }))
    };
    starts.iter().zip(ends).map(range).collect()
}

fn highest(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => Ipv4Addr::BROADCAST.into(),
        IpAddr::V6(_) => Ipv6Addr::from(u128::MAX).into(),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

/// `None` at the start of a family.
fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_sub(1).map(|previous| Ipv4Addr::from(previous).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_sub(1).map(|previous| Ipv6Addr::from(previous).into()),
    }
}
