//! Claims against what was resolved and allowed, without sockets; QUIC among them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use gateway::quic::judge_quic;
use gateway::state::PodState;
use gateway::{
    Allowed, Bound, Ceiling, Claim, Decision, Ech, Judge, Judgement, Opaque, Opening, Reason, Rules, State,
    Table, Unreadable, bind, decide,
};
use inspect::http_head::Host;
use inspect::{ClientHello, Flaw};
use policy::{DnsName, DomainPattern, Generation};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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

fn allowed(pattern: &str, ports: &[(u16, u16)]) -> Arc<Allowed> {
    let pattern = DomainPattern::parse(pattern).unwrap();
    let rule = pattern.to_string().as_str().into();
    Arc::new(Allowed { pattern, ports: ports.to_vec(), rule, ceiling: Ceiling::default() })
}

/// The pod resolved three names to an address; one is allowed, one only on port 80.
fn bound() -> Bound {
    Bound {
        names: ["a.hub.example", "web.example", "evil.example"].map(name).into(),
        allowed: vec![allowed("*.hub.example", &[]), allowed("web.example", &[(80, 80), (8000, 8099)])],
    }
}

fn check(rules: &Rules, port: u16, claim: &Claim, expected: Reason) {
    let judgement = bind(&bound(), rules, port, claim);
    assert_eq!(judgement.reason, expected, "{claim:?} on {port}");
    assert_eq!(judgement.rule.is_some(), expected.verdict() == policy::Verdict::Allow);
    assert_eq!(judgement.nearest.is_some(), judgement.rule.is_none());
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
    let rules = Rules { opaque: Opaque::ByEveryName, ..Rules::default() };
    check(&rules, 80, &Claim::Opaque, Reason::Opaque);
    let mut only = bound();
    only.names = [name("a.hub.example")].into();
    assert_eq!(bind(&only, &rules, 22, &Claim::Opaque).reason, Reason::EveryNameAllowed);
    assert_eq!(bind(&Bound::default(), &rules, 22, &Claim::Opaque).reason, Reason::NotResolved);
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
    assert_eq!(table.judge(&opening(claim())).reason, Reason::NoPolicy);
    let destination = IpAddr::from([192, 0, 2, 1]);
    assert!(!table.bind(POD, destination, bound()), "nothing can be bound before there is a state");
    table.replace(State {
        generation: Generation(7),
        rules: Rules::default(),
        pods: [(POD, PodState::default())].into(),
    });
    assert_eq!(table.judge(&opening(claim())).reason, Reason::NotResolved);
    assert!(table.bind(POD, destination, bound()));
    assert_eq!(table.judge(&opening(claim())).reason, Reason::NameAllowed);
    let other = Opening { pod: IpAddr::from([10, 0, 0, 8]), ..opening(claim()) };
    assert_eq!(table.judge(&other).reason, Reason::UnknownPod);
    assert!(table.unbind(POD, destination));
    assert_eq!(table.judge(&opening(claim())).reason, Reason::NotResolved);
}

#[test]
fn quic_is_judged_by_its_hello() {
    let digits = include_str!("../../inspect/tests/vectors/rfc9001-a2.hex");
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_hexdigit).collect();
    let datagram: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect();
    let table = Table::new();
    let example = Bound { names: [name("example.com")].into(), allowed: vec![allowed("example.com", &[])] };
    let to = SocketAddr::from(([192, 0, 2, 1], 443));
    table.replace(State {
        generation: Generation(7),
        rules: Rules::default(),
        pods: [(POD, PodState { allowed: vec![], bound: [(to.ip(), example)].into() })].into(),
    });
    let judged = |datagrams: &[&[u8]]| match judge_quic(&table, POD, to, datagrams.iter().copied()) {
        Some(Decision::Permit(permit)) => Some(permit.judgement().reason),
        Some(Decision::Refuse(judgement)) => Some(judgement.reason),
        None => None,
    };
    assert_eq!(judged(&[&datagram]), Some(Reason::NameAllowed));
    assert_eq!(judged(&[]), None);
    assert_eq!(judged(&[b"no quic"]), Some(Reason::NotTls));
    let mut broken = datagram;
    broken[700] ^= 1;
    assert_eq!(judged(&[&broken]), Some(Reason::HelloMalformed));
}
