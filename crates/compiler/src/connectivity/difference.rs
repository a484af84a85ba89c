//! What two allow lists say differently.
//!
//! Enters: two lists of [`super::connectivity`]. Leaves: for every two ends, which protocols and ports only one of them
//! allows. Guarantees: ranges of outside addresses that the lists cut differently are compared address by address; work is
//! near-linear in the lists. Does not: say which rule makes the difference, or know names and requests.

use super::{Entry, Peer, PortRange, Protocols};
use policy::Protocol;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is allowed differently between two ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Who connects.
    pub from: Peer,
    /// To whom.
    pub to: Peer,
    /// With which protocols.
    pub protocol: Protocols,
    /// Ports that only the first list allows: ascending, disjoint.
    pub only_first: Vec<PortRange>,
    /// Ports that only the second list allows.
    pub only_second: Vec<PortRange>,
}

/// Everything that the lists say differently, sorted by `from`, `to` and protocol.
pub fn difference(first: &[Entry], second: &[Entry]) -> Vec<Difference> {
    let mut lines: BTreeMap<(Ends, Protocols), [Vec<Span>; 2]> = BTreeMap::new();
    for (entry, is_second) in first.iter().map(|it| (it, false)).chain(second.iter().map(|it| (it, true))) {
        let (ends, first, last) = Ends::of(entry);
        for protocol in each(entry.protocol) {
            let [before, after] = lines.entry((ends.clone(), protocol)).or_default();
            let side = if is_second { after } else { before };
            side.push(Span { first, last, ports: entry.ports.clone() });
        }
    }
    let mut found = Vec::new();
    for ((ends, protocol), sides) in lines {
        for (first, last, only) in sweep(sides) {
            let (from, to) = ends.peers(first, last);
            let [only_first, only_second] = only;
            found.push(Difference { from, to, protocol, only_first, only_second });
        }
    }
    found.sort_unstable();
    united(found)
}

/// One protocol at a time, so that a list that says "all" can be compared with one that does not.
fn each(protocols: Protocols) -> Vec<Protocols> {
    match protocols {
        Protocols::All => ALL.to_vec(),
        Protocols::One(_) | Protocols::Portless => vec![protocols],
    }
}

/// In their order.
const ALL: [Protocols; 4] = {
    let [a, b, c] = Protocol::WITH_PORTS;
    [Protocols::One(a), Protocols::One(b), Protocols::One(c), Protocols::Portless]
};

/// Two ends, of which a range of addresses is told apart by its family alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ends {
    Pair(Peer, Peer),
    FromRange { is_v4: bool, to: Peer },
    ToRange { is_v4: bool, from: Peer },
}

/// Ports that are allowed at these addresses, both included.
struct Span {
    first: u128,
    last: u128,
    ports: Vec<PortRange>,
}

impl Ends {
    fn of(entry: &Entry) -> (Self, u128, u128) {
        match (&entry.from, &entry.to) {
            (Peer::Range(first, last), to) => {
                (Self::FromRange { is_v4: first.is_ipv4(), to: to.clone() }, bits(*first), bits(*last))
            }
            (from, Peer::Range(first, last)) => {
                (Self::ToRange { is_v4: first.is_ipv4(), from: from.clone() }, bits(*first), bits(*last))
            }
            (from, to) => (Self::Pair(from.clone(), to.clone()), 0, 0),
        }
    }

    fn peers(&self, first: u128, last: u128) -> (Peer, Peer) {
        let range = |is_v4| Peer::Range(address(is_v4, first), address(is_v4, last));
        match self {
            Self::Pair(from, to) => (from.clone(), to.clone()),
            Self::FromRange { is_v4, to } => (range(*is_v4), to.clone()),
            Self::ToRange { is_v4, from } => (from.clone(), range(*is_v4)),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(is_v4: bool, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if is_v4 => Ipv4Addr::from_bits(bits).into(),
        Ok(_) | Err(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

/// Pieces at which the sides differ, neighbours with the same difference as one. Spans of one side do not overlap.
fn sweep(mut sides: [Vec<Span>; 2]) -> Vec<(u128, u128, [Vec<PortRange>; 2])> {
    sides.iter_mut().for_each(|side| side.sort_unstable_by_key(|span| span.first));
    let mut begins: Vec<u128> = Vec::new();
    for span in sides.iter().flatten() {
        begins.push(span.first);
        begins.extend(span.last.checked_add(1));
    }
    begins.sort_unstable();
    begins.dedup();
    let [first, second] = &sides;
    let mut cursors = [first.iter().peekable(), second.iter().peekable()];
    let mut pieces: Vec<(u128, u128, [Vec<PortRange>; 2])> = Vec::new();
    for (i, begin) in begins.iter().enumerate() {
        let end = begins.get(i + 1).map_or(u128::MAX, |next| next - 1);
        let [a, b] = cursors.each_mut().map(|spans| {
            while spans.next_if(|span| span.last < *begin).is_some() {}
            spans.peek().filter(|span| span.first <= *begin).map_or(&[][..], |span| &span.ports)
        });
        let only = [without(a, b), without(b, a)];
        if only.iter().all(Vec::is_empty) {
            continue;
        }
        match pieces.last_mut() {
            Some((_, last, before)) if *last + 1 == *begin && *before == only => *last = end,
            Some(_) | None => pieces.push((*begin, end, only)),
        }
    }
    pieces
}

/// Ports of `all` that are not in `taken`; both ascending and disjoint.
fn without(all: &[PortRange], taken: &[PortRange]) -> Vec<PortRange> {
    let mut left = Vec::new();
    let mut taken = taken.iter().peekable();
    for range in all {
        let mut next = u32::from(range.first);
        while let Some(hole) = taken.peek().filter(|hole| hole.first <= range.last) {
            push(&mut left, next, u32::from(hole.first).saturating_sub(1));
            next = next.max(u32::from(hole.last) + 1);
            // It may reach into the next range as well.
            if hole.last > range.last {
                break;
            }
            taken.next();
        }
        push(&mut left, next, u32::from(range.last));
    }
    left
}

fn push(left: &mut Vec<PortRange>, first: u32, last: u32) {
    if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(last))
        && first <= last
    {
        left.push(PortRange { first, last });
    }
}

/// Where every protocol differs in the same way, one line says so.
fn united(found: Vec<Difference>) -> Vec<Difference> {
    let mut lines: Vec<Difference> = Vec::new();
    for chunk in found.chunk_by(|a, b| (&a.from, &a.to) == (&b.from, &b.to)) {
        let [first, ..] = chunk else { continue };
        let is_same =
            |it: &Difference| (&it.only_first, &it.only_second) == (&first.only_first, &first.only_second);
        if chunk.len() == ALL.len() && chunk.iter().all(is_same) {
            lines.push(Difference { protocol: Protocols::All, ..first.clone() });
        } else {
            lines.extend_from_slice(chunk);
        }
    }
    lines
}
