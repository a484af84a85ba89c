//! Networks and port ranges as intervals.
//!
//! Guarantees: intervals are disjoint and cover their whole space, so that a miss can only mean that the kernel does not
//! show the set yet, and the packet is then dropped.

use super::sets::{Interval, Key, cell_key};
use crate::mark::held;
use ipnet::IpNet;
use policy::Protocol;
use policy::table::{Cell, ClassId, Row, Table};
use std::net::IpAddr;

/// The whole protocol and port space of one row, as intervals.
pub(super) fn spans(name: u32, row: &Row) -> Vec<Interval> {
    const SPACE: u32 = 1 << 24;
    let key_at = |point: u32| {
        if point == SPACE {
            return cell_key(name + 1, Protocol(0), 0);
        }
        let [_, protocol, high, low] = point.to_be_bytes();
        cell_key(name, Protocol(protocol), u16::from_be_bytes([high, low]))
    };
    let mut tiles = Tiles::default();
    let mut next = 0;
    for Cell { protocol, first, last, ruling } in &row.cells {
        let base = u32::from(protocol.0) << 16;
        let (start, past) = (base + u32::from(*first), base + u32::from(*last) + 1);
        if start > next {
            tiles.put(next.into(), held(row.otherwise));
        }
        tiles.put(start.into(), held(*ruling));
        next = past;
    }
    if next < SPACE {
        tiles.put(next.into(), held(row.otherwise));
    }
    let point = |at: u128| key_at(u32::try_from(at).unwrap_or(SPACE));
    tiles.intervals(point, Some(key_at(SPACE)))
}

/// The whole address space of a family by class, the longest prefix winning.
pub(super) fn networks(table: &Table, v4: bool) -> Vec<Interval> {
    let bits = if v4 { 32 } else { 128 };
    let top = u128::MAX >> (128 - bits);
    let mut nets: Vec<(u128, u8, u128, ClassId)> = table
        .networks
        .iter()
        // A prefix with host bits is found by no lookup.
        .filter(|(net, _)| net.addr().is_ipv4() == v4 && net.trunc() == **net)
        .map(|(net, class)| (number(net.network()), net.prefix_len(), number(last(net)), *class))
        .collect();
    nets.sort_unstable();
    let mut tiles = Tiles::default();
    let mut open = vec![(top, ClassId::OTHER)];
    tiles.put(0, ClassId::OTHER.0);
    for (start, _, end, class) in nets {
        close_before(&mut open, &mut tiles, start);
        tiles.put(start, class.0);
        open.push((end, class));
    }
    close_before(&mut open, &mut tiles, top);
    let key = |at: u128| match u32::try_from(at) {
        Ok(small) if v4 => Key::number(small),
        Ok(_) | Err(_) => Key::of(&[&at.to_be_bytes()]),
    };
    tiles.intervals(key, None)
}

/// Ends the networks that lie wholly before `start`; what encloses them holds again behind each.
fn close_before(open: &mut Vec<(u128, ClassId)>, tiles: &mut Tiles, start: u128) {
    while let [.., (_, around), (end, _)] = open.as_slice()
        && *end < start
    {
        tiles.put(end + 1, around.0);
        open.pop();
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn last(net: &IpNet) -> IpAddr {
    net.broadcast()
}

/// Points in rising order; each value holds to the next point.
#[derive(Default)]
struct Tiles(Vec<(u128, u32)>);

impl Tiles {
    fn put(&mut self, at: u128, value: u32) {
        if self.0.last().is_some_and(|(last, _)| *last == at) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, before)| *before != value) {
            self.0.push((at, value));
        }
    }

    fn intervals(self, key: impl Fn(u128) -> Key, end: Option<Key>) -> Vec<Interval> {
        let ends = self.0.iter().skip(1).map(|(at, _)| Some(key(*at))).chain([end]);
        self.0
            .iter()
            .zip(ends)
            .map(|((at, value), end)| Interval { first: key(*at), end, value: *value })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::Image;
    use super::super::sets::IntervalSet;
    use super::*;
    use policy::table::Ruling;
    use policy::{RuleId, Verdict};

    fn ruling(rule: u32) -> Ruling {
        Ruling { verdict: Verdict::Allow, rule: RuleId(rule) }
    }

    fn value_at(intervals: &[Interval], key: Key) -> Option<u32> {
        let inside = |i: &&Interval| i.first <= key && i.end.is_none_or(|end| key < end);
        let found: Vec<_> = intervals.iter().filter(inside).collect();
        assert!(found.len() <= 1, "intervals overlap");
        found.first().map(|interval| interval.value)
    }

    fn table_with(networks: &[(&str, u32)]) -> Table {
        Table {
            generation: policy::Generation(1),
            node: "n".into(),
            own: Default::default(),
            endpoints: Default::default(),
            hosts: Default::default(),
            networks: networks.iter().map(|(net, class)| (net.parse().unwrap(), ClassId(*class))).collect(),
            bound: Default::default(),
            past: Default::default(),
            slots: vec![],
            rows: vec![],
            rules: Default::default(),
        }
    }

    #[test]
    fn networks_become_intervals_in_which_the_longest_prefix_holds() {
        let table = table_with(&[
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.0.0/24", 3),
            ("10.1.255.0/24", 4),
            ("255.255.255.255/32", 5),
            ("2001:db8::/32", 6),
            ("2001:db8::/128", 7),
            ("ff00::/8", 8),
        ]);
        let image = Image::of(&table).unwrap();
        for address in [
            "0.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.0.255.255",
            "10.1.0.0",
            "10.1.0.255",
            "10.1.1.0",
            "10.1.254.255",
            "10.1.255.0",
            "10.1.255.255",
            "10.2.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "2001:db8::",
            "2001:db8::1",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "ff00::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let set = if address.is_ipv4() { IntervalSet::Networks4 } else { IntervalSet::Networks6 };
            let value = value_at(&image.intervals[&set], Key::address(address));
            assert_eq!(value, Some(table.class(address).0), "{address}");
        }
    }

    #[test]
    fn spans_cover_every_protocol_and_port_of_a_row() {
        let cell = |protocol, first, last, rule| Cell { protocol, first, last, ruling: ruling(rule) };
        let row = Row {
            otherwise: ruling(20),
            cells: vec![
                cell(Protocol::TCP, 0, 79, 21),
                cell(Protocol::TCP, 80, 80, 22),
                cell(Protocol::TCP, 1000, 65535, 23),
                cell(Protocol::UDP, 0, 0, 24),
                cell(Protocol::UDP, 65535, 65535, 25),
                cell(Protocol::SCTP, 0, 65535, 26),
            ],
        };
        let intervals = spans(7, &row);
        for protocol in [0, 1, 5, 6, 7, 16, 17, 18, 58, 131, 132, 133, 255] {
            for port in [0, 1, 79, 80, 81, 999, 1000, 1001, 65534, 65535] {
                let value = value_at(&intervals, cell_key(7, Protocol(protocol), port));
                assert_eq!(value, Some(held(row.ruling(Protocol(protocol), port))), "{protocol} {port}");
            }
        }
        assert_eq!(value_at(&intervals, cell_key(8, Protocol(0), 0)), None);
        assert_eq!(value_at(&intervals, cell_key(6, Protocol(255), 65535)), None);
    }
}
