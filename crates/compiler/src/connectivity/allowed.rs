//! Protocols and ports that are allowed, as a value: rows are intersected into it, workloads' pods united.

use super::{Entry, Peer, PortRange, Protocols};
use policy::table::Row;
use policy::{Protocol, Verdict};

/// By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Protocols without ports.
    portless: bool,
    /// In the order of [`Protocol::WITH_PORTS`]; ascending, disjoint, not adjacent.
    ports: [Vec<PortRange>; 3],
}

impl Allowed {
    pub(super) fn everything() -> Self {
        Self { portless: true, ports: [vec![PortRange::ALL], vec![PortRange::ALL], vec![PortRange::ALL]] }
    }

    /// Keeps only what the row allows, too.
    pub(super) fn keep(&mut self, row: &Row) {
        self.portless &= row.otherwise.verdict == Verdict::Allow;
        for (ranges, protocol) in self.ports.iter_mut().zip(Protocol::WITH_PORTS) {
            *ranges = intersect(ranges, &allowed_ports(row, protocol));
        }
    }

    /// Adds what `other` allows.
    pub(super) fn unite(&mut self, other: &Self) {
        self.portless |= other.portless;
        for (ranges, more) in self.ports.iter_mut().zip(&other.ports) {
            if ranges != more {
                ranges.extend_from_slice(more);
                *ranges = joined(std::mem::take(ranges));
            }
        }
    }

    pub(super) fn entries(&self, from: &Peer, to: &Peer) -> Vec<Entry> {
        let entry = |protocol, ports| Entry { from: from.clone(), to: to.clone(), protocol, ports };
        if *self == Self::everything() {
            return vec![entry(Protocols::All, vec![PortRange::ALL])];
        }
        let with_ports = self.ports.iter().zip(Protocol::WITH_PORTS);
        let listed = with_ports.filter(|(ranges, _)| !ranges.is_empty());
        let mut entries: Vec<Entry> =
            listed.map(|(ranges, protocol)| entry(Protocols::One(protocol), ranges.clone())).collect();
        if self.portless {
            entries.push(entry(Protocols::Portless, vec![PortRange::ALL]));
        }
        entries
    }
}

fn allowed_ports(row: &Row, protocol: Protocol) -> Vec<PortRange> {
    let mut allowed = Vec::new();
    let mut next: u32 = 1;
    let gap = row.otherwise.verdict == Verdict::Allow;
    let mut push = |first: u32, last: u32| {
        if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(last))
            && first <= last
        {
            allowed.push(PortRange { first, last });
        }
    };
    for cell in row.cells.iter().filter(|cell| cell.protocol == protocol) {
        if gap && next < u32::from(cell.first) {
            push(next, u32::from(cell.first) - 1);
        }
        if cell.ruling.verdict == Verdict::Allow {
            push(u32::from(cell.first).max(1), u32::from(cell.last));
        }
        next = u32::from(cell.last) + 1;
    }
    if gap {
        push(next.max(1), u32::from(u16::MAX));
    }
    joined(allowed)
}

fn intersect(a: &[PortRange], b: &[PortRange]) -> Vec<PortRange> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let (first, last) = (x.first.max(y.first), x.last.min(y.last));
        if first <= last {
            both.push(PortRange { first, last });
        }
        if x.last < y.last {
            a.next();
        } else {
            b.next();
        }
    }
    both
}

fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut out: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                before.last = before.last.max(range.last);
            }
            Some(_) | None => out.push(range),
        }
    }
    out
}
