//! Claims against what was resolved and allowed, without sockets; QUIC among them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{
    Bound, Ceiling, Claim, Decision, Ech, Judge, Judgement, Opaque, Opening, PodState, Reason, Rules, State,
    Table, Unreadable, decide,
};
use inspect::http_head::Host;
use inspect::{ClientHello, Flaw};
use policy::{DnsName, Generation, Verdict};
use std::net::{IpAddr, SocketAddr};
use support::{ALL, bound, row, rules};

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn tls(sni: Option<&str>, ech: bool) -> Claim {
    Claim::Tls(ClientHello { sni: sni.map(name), ech, ..ClientHello::default() })
}

fn http(host: &str) -> Claim {
    let host = host.parse().map_or_else(|_| Host::Name(name(host)), Host::Address);
    Claim::Http { host, method: "GET".into() }
}

/// The pod resolved three names to an address; one is allowed, one only on some ports.
fn known() -> Bound {
    bound(&[("a.hub.example", ALL), ("web.example", &[(80, 80), (8000, 8099)]), ("evil.example", &[])])
}

fn judged(bound: &Bound, how: &Rules, port: u16, claim: &Claim) -> Judgement {
    let table = Table::new();
    let destination = SocketAddr::from(([192, 0, 2, 1], port));
    let pod = PodState {
        rules: rules(Ceiling::default(), None).into(),
        bound: [(destination.ip(), bound.clone())].into(),
        ..PodState::default()
    };
    table.replace(State { rules: how.clone(), pods: [(POD, pod)].into(), ..State::default() });
    table.judge(&Opening { pod: POD, destination, claim: claim.clone() })
}

fn check(how: &Rules, port: u16, claim: &Claim, expected: Reason) {
    let judgement = judged(&known(), how, port, claim);
    assert_eq!(judgement.reason, expected, "{claim:?} on {port}");
    let is_by_rule = expected.verdict() == Verdict::Allow || expected == Reason::NameNotAllowed;
    assert_eq!(judgement.rule.is_some(), is_by_rule, "{claim:?} on {port}");
}

#[test]
fn a_claim_must_be_resolved_and_allowed() {
    let rules = Rules::default();
    for (port, claim, expected) in [
        (443, tls(Some("a.hub.example"), false), Reason::NameAllowed),
        (443, tls(Some("b.hub.example"), false), Reason::NameMismatch),
        (443, tls(Some("evil.example"), false), Reason::NameNotAllowed),
        (443, tls(Some("web.example"), false), Reason::NameNotAllowed),
        (8042, tls(Some("web.example"), false), Reason::NameAllowed),
        (443, tls(None, false), Reason::NoName),
        (443, tls(Some("a.hub.example"), true), Reason::EncryptedHello),
        (443, tls(None, true), Reason::EncryptedHello),
        (80, http("web.example"), Reason::NameAllowed),
        (80, http("b.hub.example"), Reason::HostMismatch),
        (80, http("evil.example"), Reason::NameNotAllowed),
        (80, http("192.0.2.1"), Reason::NoName),
        (443, http("a.hub.example"), Reason::NotTls),
        (443, Claim::Opaque, Reason::NotTls),
        (22, Claim::Opaque, Reason::Opaque),
        (80, Claim::Opaque, Reason::Opaque),
        (443, Claim::Unreadable(Unreadable::Tls(Flaw::Length)), Reason::HelloMalformed),
    ] {
        check(&rules, port, &claim, expected);
    }
}

#[test]
fn an_encrypted_hello_is_judged_by_its_outer_name_only_where_that_was_set() {
    let rules = Rules { ech: Ech::ByOuterName, ..Rules::default() };
    check(&rules, 443, &tls(Some("a.hub.example"), true), Reason::NameAllowed);
    check(&rules, 443, &tls(Some("evil.example"), true), Reason::NameNotAllowed);
}

#[test]
fn one_name_that_is_not_allowed_closes_the_address_for_what_names_nobody() {
    let how = Rules { opaque: Opaque::ByEveryName, ..Rules::default() };
    check(&how, 22, &Claim::Opaque, Reason::Opaque);
    let only = bound(&[("a.hub.example", ALL)]);
    let reason = |bound: &Bound, port| judged(bound, &how, port, &Claim::Opaque).reason;
    assert_eq!(reason(&only, 22), Reason::EveryNameAllowed);
    assert_eq!(reason(&only, 80), Reason::Opaque, "this port is for HTTP");
    assert_eq!(reason(&bound(&[]), 22), Reason::Opaque);
    assert_eq!(
        judged(&only, &Rules { opaque: Opaque::Deny, ..how.clone() }, 22, &Claim::Opaque).reason,
        Reason::Opaque
    );
}

#[test]
fn where_the_address_itself_is_allowed_only_a_name_that_is_denied_is_refused() {
    let mut open = known();
    open.unnamed = row(ALL);
    let how = Rules::default();
    for (port, claim, expected) in [
        (443, tls(Some("a.hub.example"), false), Reason::NameAllowed),
        (443, tls(Some("stranger.example"), false), Reason::AddressAllowed),
        (443, tls(Some("evil.example"), false), Reason::NameNotAllowed),
        // It could be for the one that is denied.
        (443, tls(None, false), Reason::NoName),
        (22, Claim::Opaque, Reason::Opaque),
    ] {
        assert_eq!(judged(&open, &how, port, &claim).reason, expected, "{claim:?} on {port}");
    }
    open.names.retain(|name, _| name.as_str() == "a.hub.example");
    assert_eq!(judged(&open, &how, 443, &tls(None, false)).reason, Reason::AddressAllowed);
    assert_eq!(judged(&open, &how, 443, &Claim::Opaque).reason, Reason::AddressAllowed);
}

#[test]
fn a_claim_is_waited_for_only_where_it_matters() {
    let destination = SocketAddr::from(([192, 0, 2, 1], 443));
    let needs = |bound: Bound, budget| {
        let table = Table::new();
        let rules = rules(Ceiling::default(), budget).into();
        let pod = PodState { rules, bound: [(destination.ip(), bound)].into(), ..PodState::default() };
        table.replace(State { pods: [(POD, pod)].into(), ..State::default() });
        table.needs_claim(POD, destination)
    };
    assert!(needs(known(), None));
    let free = Bound { unnamed: row(ALL), ..bound(&[("a.hub.example", ALL)]) };
    assert!(!needs(free.clone(), None));
    assert!(needs(free, Some(16)), "whose budget it is");
    assert!(needs(bound(&[("a.hub.example", ALL)]), None), "without the name it is denied");
}

struct Always(Reason);

impl Judge for Always {
    fn judge(&self, _: &Opening) -> Judgement {
        Judgement::without_rule(self.0)
    }
}

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

fn opening(claim: Claim) -> Opening {
    Opening { pod: POD, destination: SocketAddr::from(([192, 0, 2, 1], 443)), claim }
}

#[test]
fn no_judge_can_permit_what_was_not_understood_or_permit_with_a_denying_reason() {
    let unreadable = Claim::Unreadable(Unreadable::TlsTooLarge);
    let decision = decide(&Always(Reason::NameAllowed), opening(unreadable));
    assert!(matches!(decision, Decision::Refuse(Judgement { reason: Reason::HelloTooLarge, .. })));
    for reason in Reason::ALL {
        let permitted = matches!(decide(&Always(reason), opening(Claim::Opaque)), Decision::Permit(_));
        assert_eq!(permitted, reason.verdict() == policy::Verdict::Allow);
    }
}

#[test]
fn pods_and_addresses_are_told_apart() {
    let table = Table::new();
    let claim = || tls(Some("a.hub.example"), false);
    let judge = |table: &Table| table.judge(&opening(claim())).reason;
    assert_eq!(judge(&table), Reason::NoPolicy);
    let destination = IpAddr::from([192, 0, 2, 1]);
    let bind = |bound| table.bind(POD, destination, rules(Ceiling::default(), None), bound);
    assert!(!bind(Some(known())), "nothing can be bound before there is a state");
    table.replace(State {
        generation: Generation(7),
        pods: [(POD, PodState::default())].into(),
        ..State::default()
    });
    assert_eq!(judge(&table), Reason::NotResolved);
    assert!(bind(Some(known())));
    assert_eq!(judge(&table), Reason::NameAllowed);
    let permitted = table.judge(&opening(claim()));
    let other = Opening { pod: IpAddr::from([10, 0, 0, 8]), ..opening(claim()) };
    assert_eq!(table.judge(&other).reason, Reason::UnknownPod);
    // What ran out is good only for what is open.
    let mut past = known();
    past.names.values_mut().for_each(|named| named.is_live = false);
    assert!(bind(Some(past)));
    assert_eq!(judge(&table), Reason::NameMismatch);
    assert_eq!(table.still(&opening(claim()), &permitted).reason, Reason::NameAllowed);
    assert!(bind(None));
    assert_eq!(judge(&table), Reason::NotResolved);
}
