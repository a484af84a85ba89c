//! What two allow lists say differently, against asking both at points.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use compiler::connectivity::{Difference, Entry, Peer, PortRange, Protocols, connectivity, difference};
use compiler::sample::{self, Dice};
use policy::{Protocol, WorkloadRef};
use std::net::IpAddr;

fn workload(name: &str) -> Peer {
    Peer::Workload { namespace: "a".into(), workload: WorkloadRef { kind: "Pod".into(), name: name.into() } }
}

fn range(first: &str, last: &str) -> Peer {
    Peer::Range(first.parse().unwrap(), last.parse().unwrap())
}

fn ports(list: &[(u16, u16)]) -> Vec<PortRange> {
    list.iter().map(|&(first, last)| PortRange { first, last }).collect()
}

fn entry(from: Peer, to: Peer, protocol: Protocols, list: &[(u16, u16)]) -> Entry {
    Entry { from, to, protocol, ports: ports(list) }
}

const TCP: Protocols = Protocols::One(Protocol::TCP);

#[test]
fn ranges_that_are_cut_differently_are_compared_address_by_address() {
    let web = || workload("web");
    let first = [entry(web(), range("0.0.0.0", "255.255.255.255"), TCP, &[(1, 65535)])];
    let second = [
        entry(web(), range("0.0.0.0", "9.255.255.255"), TCP, &[(1, 65535)]),
        entry(web(), range("10.0.0.0", "10.0.0.255"), TCP, &[(1, 79), (81, 65535)]),
        entry(web(), range("11.0.0.0", "255.255.255.255"), TCP, &[(1, 65535)]),
    ];
    let line = |from, to, only_first: &[(u16, u16)], only_second: &[(u16, u16)]| Difference {
        from: web(),
        to: range(from, to),
        protocol: TCP,
        only_first: ports(only_first),
        only_second: ports(only_second),
    };
    let expected = [
        line("10.0.0.0", "10.0.0.255", &[(80, 80)], &[]),
        line("10.0.1.0", "10.255.255.255", &[(1, 65535)], &[]),
    ];
    assert_eq!(difference(&first, &second), expected);
    let back = [
        line("10.0.0.0", "10.0.0.255", &[], &[(80, 80)]),
        line("10.0.1.0", "10.255.255.255", &[], &[(1, 65535)]),
    ];
    assert_eq!(difference(&second, &first), back);
}

#[test]
fn all_protocols_are_one_line_where_they_differ_alike() {
    let all = [entry(workload("a"), workload("b"), Protocols::All, &[(1, 65535)])];
    let lines = difference(&all, &[]);
    assert_eq!((lines.len(), lines[0].protocol), (1, Protocols::All));
    let lines = difference(&all, &[entry(workload("a"), workload("b"), TCP, &[(80, 80)])]);
    assert_eq!((lines.len(), lines[0].only_first.clone()), (4, ports(&[(1, 79), (81, 65535)])));
    let v6 = |last: &str| [entry(range("::", last), workload("b"), Protocols::Portless, &[(1, 65535)])];
    let lines = difference(&v6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), &v6("::1"));
    assert_eq!(lines[0].from, range("::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    // The same bits in both families are two addresses.
    let v4 = [entry(range("0.0.0.0", "0.0.0.1"), workload("b"), Protocols::Portless, &[(1, 65535)])];
    assert_eq!(difference(&v4, &v6("::1")).len(), 2);
}

/// One thing that may be asked.
type Point = (Peer, Peer, Protocols, u16);

fn within(point: &Peer, peer: &Peer) -> bool {
    match (point, peer) {
        (Peer::Range(at, _), Peer::Range(first, last)) => {
            at.is_ipv4() == first.is_ipv4() && first <= at && at <= last
        }
        (point, peer) => point == peer,
    }
}

fn holds(point: &Point, from: &Peer, to: &Peer, protocol: Protocols, ports: &[PortRange]) -> bool {
    within(&point.0, from)
        && within(&point.1, to)
        && (protocol == Protocols::All || protocol == point.2)
        && ports.iter().any(|range| (range.first..=range.last).contains(&point.3))
}

fn near(dice: &mut Dice, peer: &Peer) -> Peer {
    let Peer::Range(first, last) = peer else { return peer.clone() };
    let at = if dice.chance(50) { first } else { last };
    let step = dice.below(3) as u128;
    let moved: IpAddr = match at {
        IpAddr::V4(at) => std::net::Ipv4Addr::from_bits(
            (at.to_bits().wrapping_add(u32::try_from(dice.below(3)).unwrap())).wrapping_sub(1),
        )
        .into(),
        IpAddr::V6(at) => {
            std::net::Ipv6Addr::from_bits(at.to_bits().wrapping_add(step).wrapping_sub(1)).into()
        }
    };
    Peer::Range(moved, moved)
}

#[test]
fn at_every_point_the_difference_is_what_one_list_allows_and_the_other_does_not() {
    let (mut differs, mut agrees) = (0, 0);
    for seed in 0..60 {
        let one = sample::policy_set(seed);
        let mut two = one.clone();
        let mut dice = Dice::new(seed);
        two.policies.retain(|_| dice.chance(60));
        let lists = [connectivity(&one), connectivity(&two)];
        let lines = difference(&lists[0], &lists[1]);
        let entries: Vec<&Entry> = lists.iter().flatten().collect();
        for _ in 0..300 {
            let Some(entry) = dice.pick(&entries).copied() else { break };
            let ranges = entry.ports.clone();
            let port = dice.pick(&ranges).map_or(1, |it| if dice.chance(50) { it.first } else { it.last });
            let port = port.wrapping_add(u16::try_from(dice.below(3)).unwrap()).wrapping_sub(1).max(1);
            let kinds =
                [TCP, Protocols::One(Protocol::UDP), Protocols::One(Protocol::SCTP), Protocols::Portless];
            let protocol = *dice.pick(&kinds).unwrap();
            let point = (near(&mut dice, &entry.from), near(&mut dice, &entry.to), protocol, port);
            let [a, b] = lists
                .each_ref()
                .map(|list| list.iter().any(|it| holds(&point, &it.from, &it.to, it.protocol, &it.ports)));
            let said = |ports: fn(&Difference) -> &Vec<PortRange>| {
                lines.iter().any(|it| holds(&point, &it.from, &it.to, it.protocol, ports(it)))
            };
            let expected = (a && !b, b && !a);
            assert_eq!(
                (said(|it| &it.only_first), said(|it| &it.only_second)),
                expected,
                "seed {seed}: {point:?}"
            );
            if a == b { agrees += 1 } else { differs += 1 }
        }
    }
    assert!(differs > 500 && agrees > 500, "{differs} {agrees}");
}
