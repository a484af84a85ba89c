//! The compiled form of policy for one node: lookups only, no precedence left to resolve.
//!
//! An enforcement point maps an address to a class, a pod's address to a slot, (slot, class) to a row, and
//! (protocol, port) within the row to a ruling. Where DNS gave a pod an address for a name, (pod's address, address) leads
//! to the row at once. Rows are complete and their cells disjoint, so any lookup
//! order gives the same answer. The kernel backends load exactly this; [`Table::judge`] is the same lookup in
//! user space.

use crate::access::{Direction, Protocol};
use crate::decide::Verdict;
use crate::rule::{RuleEntry, RuleId};
use crate::set::Generation;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// All addresses that no rule of this node tells apart. Addresses found nowhere are [`ClassId::OTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// Addresses in neither `hosts` nor `networks`.
    pub const OTHER: Self = Self(0);
}

/// All local pods that the same policies select: index into [`Table::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// Index into [`Table::rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u32);

/// A verdict and the rule that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[must_use]
pub struct Ruling {
    /// Allow or deny.
    pub verdict: Verdict,
    /// Why.
    pub rule: RuleId,
}

/// Ports `first` to `last` of a protocol, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// One of [`Protocol::WITH_PORTS`].
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// What holds for them.
    pub ruling: Ruling,
}

/// What one slot says to one class in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row {
    /// For every protocol and port that no cell covers.
    pub otherwise: Ruling,
    /// Disjoint, sorted.
    pub cells: Vec<Cell>,
}

impl Row {
    /// The ruling for a protocol and port.
    pub fn ruling(&self, protocol: Protocol, port: u16) -> Ruling {
        let past = self.cells.partition_point(|cell| (cell.protocol, cell.first) <= (protocol, port));
        match past.checked_sub(1).and_then(|i| self.cells.get(i)) {
            Some(cell) if cell.protocol == protocol && port <= cell.last => cell.ruling,
            Some(_) | None => self.otherwise,
        }
    }

    /// What this row or another allows. Where both do, and where neither does, the ruling is this one's.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let either = |mine: Ruling, theirs: Ruling| match (mine.verdict, theirs.verdict) {
            (Verdict::Deny, Verdict::Allow) => theirs,
            (Verdict::Allow | Verdict::Deny, _) => mine,
        };
        let otherwise = either(self.otherwise, other.otherwise);
        let mut cells: Vec<Cell> = Vec::new();
        for (protocol, first, last) in pieces(&self.cells, &other.cells) {
            let ruling = either(self.ruling(protocol, first), other.ruling(protocol, first));
            let before = cells.last_mut().filter(|before| {
                before.protocol == protocol
                    && before.last.checked_add(1) == Some(first)
                    && before.ruling == ruling
            });
            match before {
                Some(before) => before.last = last,
                None if ruling != otherwise => cells.push(Cell { protocol, first, last, ruling }),
                None => {}
            }
        }
        Self { otherwise, cells }
    }

    /// The ports of a protocol that are allowed here. `None`: those that no cell covers, or more than `most`.
    #[must_use]
    pub fn open_ports(&self, protocol: Protocol, most: usize) -> Option<BTreeSet<u16>> {
        let mut ports = BTreeSet::new();
        if self.otherwise.verdict == Verdict::Allow {
            return None;
        }
        let allows = |cell: &&Cell| cell.protocol == protocol && cell.ruling.verdict == Verdict::Allow;
        for cell in self.cells.iter().filter(allows) {
            if usize::from(cell.last.saturating_sub(cell.first)) >= most.saturating_sub(ports.len()) {
                return None;
            }
            ports.extend(cell.first..=cell.last);
        }
        Some(ports)
    }

    /// Whether something is allowed here that the other row denies.
    #[must_use]
    pub fn allows_beyond(&self, other: &Self) -> bool {
        let beyond =
            |mine: Ruling, theirs: Ruling| mine.verdict == Verdict::Allow && theirs.verdict == Verdict::Deny;
        let mut pieces = pieces(&self.cells, &other.cells);
        beyond(self.otherwise, other.otherwise)
            || pieces
                .any(|(protocol, port, _)| beyond(self.ruling(protocol, port), other.ruling(protocol, port)))
    }
}

/// All that the cells of two rows cover, cut where a cell of either begins or ends; in rising order.
fn pieces(a: &[Cell], b: &[Cell]) -> impl Iterator<Item = (Protocol, u16, u16)> {
    let mut edges: BTreeMap<(Protocol, u32), i32> = BTreeMap::new();
    for cell in a.iter().chain(b) {
        *edges.entry((cell.protocol, cell.first.into())).or_default() += 1;
        *edges.entry((cell.protocol, u32::from(cell.last) + 1)).or_default() -= 1;
    }
    let starts: Vec<((Protocol, u32), i32)> = edges.into_iter().collect();
    let mut open = 0;
    let mut found = Vec::new();
    for (((protocol, from), change), next) in starts.iter().zip(starts.iter().skip(1).map(Some).chain([None]))
    {
        open += change;
        let Some(((_, to), _)) = next.filter(|((other, _), _)| open > 0 && other == protocol) else {
            continue;
        };
        if let (Ok(first), Ok(last)) = (u16::try_from(*from), u16::try_from(to - 1)) {
            found.push((*protocol, first, last));
        }
    }
    found.into_iter()
}

/// One direction of a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// For the classes its rules speak of.
    pub rows: BTreeMap<ClassId, RowId>,
    /// For every other class.
    pub otherwise: RowId,
}

/// What holds for a group of local pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Connections from the pod.
    pub egress: Lane,
    /// Connections to the pod.
    pub ingress: Lane,
}

impl Slot {
    /// The lane of a direction.
    pub fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }
}

/// Rows by endpoint and destination.
pub type Bindings = BTreeMap<(IpAddr, IpAddr), RowId>;

/// Everything one node enforces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// State of policy it was compiled from.
    pub generation: Generation,
    /// The node.
    pub node: Arc<str>,
    /// The node's own addresses. Connections from them to local pods are always allowed; connections from local
    /// pods to them are judged by their class, whose rows already leave the NetworkPolicy tier out.
    pub own: BTreeSet<IpAddr>,
    /// Addresses of the pods on this node.
    pub endpoints: BTreeMap<IpAddr, SlotId>,
    /// Exact addresses: pods and nodes anywhere.
    pub hosts: BTreeMap<IpAddr, ClassId>,
    /// The longest prefix holds.
    pub networks: BTreeMap<IpNet, ClassId>,
    /// What holds from an endpoint to an address that DNS gave it for a name its rules speak of, in place of what its
    /// slot says to the address's class.
    pub bound: Bindings,
    /// The same after the answer ran out: it holds for connections that are open already.
    pub past: Bindings,
    /// By [`SlotId`].
    pub slots: Vec<Slot>,
    /// By [`RowId`]; shared between lanes.
    pub rows: Vec<Row>,
    /// By [`RuleId`].
    pub rules: Arc<Vec<RuleEntry>>,
}

/// Both directions of an access as one node sees them. A direction is `None` when its pod is not on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TableVerdict {
    /// Judged when the source is a pod of this node.
    pub egress: Option<Ruling>,
    /// Judged when the destination is a pod of this node.
    pub ingress: Option<Ruling>,
}

impl TableVerdict {
    /// Deny if either direction denies.
    pub fn verdict(self) -> Verdict {
        let denies = |ruling: Option<Ruling>| ruling.is_some_and(|r| r.verdict == Verdict::Deny);
        if denies(self.egress) || denies(self.ingress) { Verdict::Deny } else { Verdict::Allow }
    }
}

impl Table {
    /// The class of an address: exact, else longest prefix, else [`ClassId::OTHER`].
    pub fn class(&self, address: IpAddr) -> ClassId {
        if let Some(class) = self.hosts.get(&address) {
            return *class;
        }
        self.network(address).unwrap_or(ClassId::OTHER)
    }

    /// The class of the longest prefix around an address. Prefixes sort before what they contain, so the last one
    /// not after the address either contains it, or any that does also contains that one: then only lengths up to
    /// what the two have in common are left. A few steps, however many prefixes there are.
    fn network(&self, address: IpAddr) -> Option<ClassId> {
        let mut up_to = IpNet::from(address);
        loop {
            let (net, class) = self.networks.range(..=up_to).next_back()?;
            if net.contains(&address) {
                return Some(*class);
            }
            let length = common_length(net.network(), address)?;
            up_to = IpNet::new(address, length).ok()?.trunc();
        }
    }

    /// The ruling of one slot. `None` only if the table is broken (an id without its row).
    pub fn ruling(
        &self,
        slot: SlotId,
        direction: Direction,
        class: ClassId,
        protocol: Protocol,
        port: u16,
    ) -> Option<Ruling> {
        let lane = self.slots.get(slot.0 as usize)?.lane(direction);
        let row = lane.rows.get(&class).copied().unwrap_or(lane.otherwise);
        Some(self.rows.get(row.0 as usize)?.ruling(protocol, port))
    }

    /// What an endpoint's slot says to an address, whatever DNS gave it. `None` if it is no endpoint, or the table is broken.
    pub fn unbound_row(&self, from: IpAddr, to: IpAddr) -> Option<&Row> {
        let lane = &self.slots.get(self.endpoints.get(&from)?.0 as usize)?.egress;
        let row = lane.rows.get(&self.class(to)).copied().unwrap_or(lane.otherwise);
        self.rows.get(row.0 as usize)
    }

    /// Judges a new connection. A broken table denies.
    pub fn judge(&self, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> TableVerdict {
        let bound = self.bound.get(&(from, to)).and_then(|row| self.rows.get(row.0 as usize));
        self.judge_bound(from, to, protocol, port, bound)
    }

    /// As [`Self::judge`], with another row, or none, bound from the one address to the other.
    pub fn judge_bound(
        &self,
        from: IpAddr,
        to: IpAddr,
        protocol: Protocol,
        port: u16,
        bound: Option<&Row>,
    ) -> TableVerdict {
        if from == to {
            let same = Ruling { verdict: Verdict::Allow, rule: RuleId::SAME_ENDPOINT };
            let local = self.endpoints.contains_key(&from).then_some(same);
            return TableVerdict { egress: local, ingress: local };
        }
        let broken = Ruling { verdict: Verdict::Deny, rule: RuleId::UNMANAGED };
        let side = |end: IpAddr, peer: IpAddr, direction: Direction| {
            let slot = *self.endpoints.get(&end)?;
            if direction == Direction::Ingress && self.own.contains(&peer) {
                return Some(Ruling { verdict: Verdict::Allow, rule: RuleId::OWN_NODE });
            }
            if let Some(row) = bound.filter(|_| direction == Direction::Egress) {
                return Some(row.ruling(protocol, port));
            }
            Some(self.ruling(slot, direction, self.class(peer), protocol, port).unwrap_or(broken))
        };
        TableVerdict {
            egress: side(from, to, Direction::Egress),
            ingress: side(to, from, Direction::Ingress),
        }
    }
}

/// How many leading bits two addresses of one family share; `None` across families.
fn common_length(a: IpAddr, b: IpAddr) -> Option<u8> {
    let bits = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    u8::try_from(bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let ruling = |verdict, rule| Ruling { verdict, rule: RuleId(rule) };
        let rulings = [ruling(Verdict::Allow, 16), ruling(Verdict::Deny, 17), ruling(Verdict::Allow, 18)];
        let cell = |protocol, first, last, ruling| Cell { protocol, first, last, ruling };
        let mut rows = Vec::new();
        for otherwise in rulings {
            for one in rulings.into_iter().filter(|it| *it != otherwise) {
                for two in rulings.into_iter().filter(|it| *it != otherwise && *it != one) {
                    rows.push(Row { otherwise, cells: vec![] });
                    rows.push(Row { otherwise, cells: vec![cell(Protocol::TCP, 0, 65535, one)] });
                    rows.push(Row {
                        otherwise,
                        cells: vec![
                            cell(Protocol::TCP, 10, 20, one),
                            cell(Protocol::TCP, 21, 30, two),
                            cell(Protocol::UDP, 15, 65535, one),
                        ],
                    });
                    rows.push(Row {
                        otherwise,
                        cells: vec![cell(Protocol::TCP, 0, 14, two), cell(Protocol::TCP, 25, 40, one)],
                    });
                }
            }
        }
        rows
    }

    #[test]
    fn open_ports_are_listed_where_they_are_few() {
        let ruling = |verdict, rule| Ruling { verdict, rule: RuleId(rule) };
        let (allow, deny) = (ruling(Verdict::Allow, 16), ruling(Verdict::Deny, 17));
        let cell = |protocol, first, last, ruling| Cell { protocol, first, last, ruling };
        let cells = vec![
            cell(Protocol::TCP, 21, 22, allow),
            cell(Protocol::TCP, 80, 80, deny),
            cell(Protocol::TCP, 443, 443, allow),
            cell(Protocol::UDP, 53, 53, allow),
        ];
        let few = Row { otherwise: deny, cells };
        assert_eq!(few.open_ports(Protocol::TCP, 3), Some([21, 22, 443].into()));
        assert_eq!(few.open_ports(Protocol::TCP, 2), None);
        assert_eq!(few.open_ports(Protocol::SCTP, 0), Some(BTreeSet::new()));
        assert_eq!(Row { otherwise: allow, ..few }.open_ports(Protocol::TCP, 99_999), None);
        let all = Row { otherwise: deny, cells: vec![cell(Protocol::TCP, 0, 65535, allow)] };
        assert_eq!(all.open_ports(Protocol::TCP, 16), None);
    }

    #[test]
    fn a_union_allows_what_either_row_allows() {
        for (a, b) in rows().iter().flat_map(|a| rows().into_iter().map(move |b| (a, b))) {
            let (or, mut beyond) = (a.or(&b), false);
            for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
                for port in [0, 9, 10, 14, 15, 20, 21, 24, 25, 30, 31, 40, 41, 65534, 65535] {
                    let (mine, theirs) = (a.ruling(protocol, port), b.ruling(protocol, port));
                    let only_theirs = (mine.verdict, theirs.verdict) == (Verdict::Deny, Verdict::Allow);
                    let expected = if only_theirs { theirs } else { mine };
                    assert_eq!(or.ruling(protocol, port), expected, "{a:?} {b:?} {protocol} {port}");
                    beyond |= (mine.verdict, theirs.verdict) == (Verdict::Allow, Verdict::Deny);
                }
            }
            assert_eq!(a.allows_beyond(&b), beyond, "{a:?} {b:?}");
            assert!(or.cells.iter().all(|cell| cell.ruling != or.otherwise));
            let touching = or.cells.iter().zip(or.cells.iter().skip(1)).any(|(x, y)| {
                x.protocol == y.protocol
                    && x.ruling == y.ruling
                    && u32::from(x.last) + 1 == u32::from(y.first)
            });
            assert!(!touching, "{or:?} is not minimal");
        }
    }
}
