//! Which requests rules allow, and which connections they open, without sockets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{
    Bound, Ceiling, Claim, Handling, Judge, Opaque, Opening, PodState, Reason, RequestRule, RuleFacts, Rules,
    State, Table,
};
use inspect::ClientHello;
use inspect::http_head::Host;
use policy::{
    DnsName, DomainPattern, Generation, Glob, Mismatch, Operation, Operations, Requests, RuleId, Verb,
    Verdict,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use support::{ALL, ALLOWS, POD, bound, row};

const DESTINATION: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn verbs(verbs: &[Verb]) -> Requests {
    let operations = vec![Operations { verbs: verbs.iter().copied().collect(), resources: vec![] }];
    Requests { operations, ..Requests::default() }
}

/// A rule that allows a verb at `names` and `ports`.
fn rule(verb: Verb, names: &str, ports: (u16, u16), shared: bool) -> Arc<RuleFacts> {
    let names = names.split(' ').map(|name| DomainPattern::parse_own(name).unwrap()).collect();
    let requests = RequestRule { requests: verbs(&[verb]), names, ports: vec![ports], shared };
    Arc::new(RuleFacts {
        text: verb.as_str().into(),
        requests: Some(Arc::new(requests)),
        ..RuleFacts::default()
    })
}

/// What a pod's rules say, of whose the first decides on connections to `hub.example`.
fn table(rules: &[Arc<RuleFacts>], bound: Bound, how: Rules) -> Table {
    let table = Table::new();
    let number = |place: usize| RuleId(ALLOWS.0 + u32::try_from(place).unwrap());
    let rules = rules.iter().enumerate().map(|(place, facts)| (number(place), facts.clone())).collect();
    let pod = PodState { rules, bound: [(DESTINATION, bound)].into(), ..PodState::default() };
    table.replace(State {
        generation: Generation(7),
        rules: how,
        pods: [(POD, pod)].into(),
        ..State::default()
    });
    table
}

fn tls(name: &str, alpn: &[&str]) -> Claim {
    let alpn = alpn.iter().map(ToString::to_string).collect();
    Claim::Tls(ClientHello { sni: Some(DnsName::parse(name).unwrap()), alpn, ..ClientHello::default() })
}

fn opening(claim: Claim, port: u16) -> Opening {
    Opening { pod: POD, destination: SocketAddr::new(DESTINATION, port), claim }
}

fn operation(verb: Verb) -> Operation {
    Operation { verb, ..Operation::unknown("test") }
}

#[test]
fn shared_rules_for_the_same_server_are_a_union() {
    let rules = [
        rule(Verb::Call, "hub.example", (443, 443), true),
        rule(Verb::Upload, "**.example hub.example", (0, 500), true),
        rule(Verb::Mutate, "other.example", (443, 443), true),
        rule(Verb::Admin, "hub.example", (444, 500), true),
        rule(Verb::Meta, "hub.example", (443, 443), false),
    ];
    let table = table(&rules, bound(&[("hub.example", ALL)]), Rules::default());
    let judge = |verb| table.judge_request(&opening(tls("hub.example", &[]), 443), &operation(verb));
    for (verb, expected) in [(Verb::Call, Ok("call")), (Verb::Upload, Ok("upload"))] {
        let judgement = judge(verb);
        assert_eq!(
            (judgement.reason, judgement.rule.as_deref().ok_or(())),
            (Reason::RequestAllowed, expected)
        );
        assert_eq!((judgement.lacks, judgement.generation), (None, Generation(7)));
    }
    for (verb, lacks) in [
        (Verb::Mutate, Mismatch::Verb),
        (Verb::Admin, Mismatch::Verb),
        (Verb::Meta, Mismatch::Verb),
        (Verb::Unknown, Mismatch::Unknown),
    ] {
        let judgement = judge(verb);
        assert_eq!((judgement.reason, judgement.lacks), (Reason::RequestNotAllowed, Some(lacks)), "{verb}");
        assert_eq!((judgement.nearest.as_deref(), judgement.rule), (Some("call"), None), "the deciding rule");
    }
}

#[test]
fn what_a_rule_with_limits_allows_does_not_go_over_a_connection_without_them() {
    let most = |max_upload| Ceiling { max_upload, download_only: None };
    let none = (most(None), None);
    for (first, second, expected) in [
        (none, none, Reason::RequestAllowed),
        (none, (most(None), Some(17)), Reason::LimitsChanged),
        (none, (most(Some(10)), None), Reason::LimitsChanged),
        ((most(Some(11)), None), (most(Some(10)), None), Reason::LimitsChanged),
        ((most(Some(10)), Some(16)), (most(Some(10)), Some(17)), Reason::RequestAllowed),
        ((most(Some(10)), Some(16)), none, Reason::RequestAllowed),
    ] {
        let limited = |verb, (ceiling, budget): (Ceiling, Option<u32>)| {
            let facts = rule(verb, "hub.example", (443, 443), true);
            Arc::new(RuleFacts { ceiling, budget, ..(*facts).clone() })
        };
        let rules = [limited(Verb::Download, first), limited(Verb::Upload, second)];
        let table = table(&rules, bound(&[("hub.example", ALL)]), Rules::default());
        let request = opening(tls("hub.example", &[]), 443);
        assert_eq!(table.judge(&request).budget, first.1, "the first decides the connection");
        let judge = |verb| table.judge_request(&request, &operation(verb));
        assert_eq!(judge(Verb::Download).reason, Reason::RequestAllowed, "{first:?} {second:?}");
        let judged = judge(Verb::Upload);
        assert_eq!(judged.reason, expected, "{first:?} {second:?}");
        let named = [judged.rule, judged.nearest];
        let is_refused = expected.verdict() == Verdict::Deny;
        let says: [Option<Arc<str>>; 2] =
            if is_refused { [None, Some("upload".into())] } else { [Some("upload".into()), None] };
        assert_eq!(named, says, "{first:?} {second:?}");
    }
}

#[test]
fn what_is_allowed_with_one_resource_is_not_with_another() {
    let operations =
        vec![Operations { verbs: [Verb::Download].into(), resources: vec![Glob::new("acme/*")] }];
    let named = rule(Verb::Download, "hub.example", (443, 443), true);
    let mut asked = named.requests.as_deref().unwrap().clone();
    asked.requests.operations = operations;
    let named = Arc::new(RuleFacts { requests: Some(Arc::new(asked)), ..(*named).clone() });
    let table = table(&[named], bound(&[("hub.example", ALL)]), Rules::default());
    let judge = |resource: Option<&str>| {
        let asked = Operation { resource: resource.map(str::to_owned), ..operation(Verb::Download) };
        let judged = table.judge_request(&opening(tls("hub.example", &[]), 443), &asked);
        (judged.reason, judged.lacks)
    };
    assert_eq!(judge(Some("acme/model")), (Reason::RequestAllowed, None));
    for other in [Some("globex/model"), Some("acme/model/other"), None] {
        assert_eq!(judge(other), (Reason::RequestNotAllowed, Some(Mismatch::Resource)), "{other:?}");
    }
}

#[test]
fn a_deciding_rule_that_is_not_shared_stands_alone() {
    let rules = [
        rule(Verb::Call, "hub.example", (443, 443), false),
        rule(Verb::Upload, "hub.example", (443, 443), true),
    ];
    let table = table(&rules, bound(&[("hub.example", ALL)]), Rules::default());
    let judge = |verb| table.judge_request(&opening(tls("hub.example", &[]), 443), &operation(verb)).reason;
    assert_eq!(judge(Verb::Call), Reason::RequestAllowed);
    assert_eq!(judge(Verb::Upload), Reason::RequestNotAllowed);
}

#[test]
fn a_connection_that_is_not_allowed_any_more_has_no_allowed_requests() {
    let rules = [rule(Verb::Call, "hub.example", (443, 443), true)];
    let request = || opening(tls("hub.example", &[]), 443);
    let judge = |table: &Table| table.judge_request(&request(), &operation(Verb::Call)).reason;
    assert_eq!(judge(&Table::new()), Reason::NoPolicy);
    let table = table(&rules, bound(&[("hub.example", &[])]), Rules::default());
    assert_eq!(judge(&table), Reason::NameNotAllowed);
    let stranger = Opening { pod: IpAddr::from([10, 0, 0, 9]), ..request() };
    assert_eq!(table.judge_request(&stranger, &operation(Verb::Call)).reason, Reason::UnknownPod);
    // The name's time may be over.
    let mut past = bound(&[("hub.example", ALL)]);
    past.names.values_mut().for_each(|named| named.is_live = false);
    assert!(table.bind(POD, DESTINATION, [], Some(past)));
    assert_eq!(judge(&table), Reason::RequestAllowed);
    table.replace(State { spent: [(16, gateway::Window::Day)].into(), ..State::default() });
    assert_eq!(judge(&table), Reason::UnknownPod);
}

#[test]
fn a_rule_without_requests_asks_nothing_of_them() {
    let facts = Arc::new(RuleFacts { text: "any".into(), ..RuleFacts::default() });
    let table = table(&[facts], bound(&[("hub.example", ALL)]), Rules::default());
    let request = opening(tls("hub.example", &["smtp"]), 443);
    let judgement = table.judge(&request);
    assert_eq!((judgement.reason, judgement.handling), (Reason::NameAllowed, Handling::Pass));
    let judged = table.judge_request(&request, &operation(Verb::Unknown));
    assert_eq!((judged.reason, judged.rule.as_deref()), (Reason::RequestAllowed, Some("any")));
}

#[test]
fn what_does_not_speak_http_never_passes_under_a_rule_about_requests() {
    let how = || Rules {
        opaque: Opaque::ByEveryName,
        tls_ports: [].into(),
        http_ports: [].into(),
        ..Rules::default()
    };
    let rules = [rule(Verb::Call, "hub.example", (0, 65535), true)];
    let named = || bound(&[("hub.example", ALL)]);
    let open = || Bound { unnamed: row(ALL), ..named() };
    let http = |host: &str| Claim::Http {
        host: host.parse().map_or_else(|_| Host::Name(DnsName::parse(host).unwrap()), Host::Address),
        method: "GET".into(),
    };
    let nobody = || Claim::Tls(ClientHello::default());
    for (bound, claim, expected) in [
        (named(), tls("hub.example", &[]), Ok(())),
        (named(), tls("hub.example", &["http/1.1", "x"]), Ok(())),
        (named(), tls("hub.example", &["x", "h2"]), Ok(())),
        (named(), tls("hub.example", &["x"]), Err(Reason::NotHttp)),
        (named(), http("hub.example"), Ok(())),
        (named(), Claim::Opaque, Err(Reason::NotHttp)),
        (named(), nobody(), Err(Reason::NoName)),
        (open(), tls("stranger.example", &["h2"]), Ok(())),
        (open(), Claim::Opaque, Err(Reason::NotHttp)),
        (open(), nobody(), Err(Reason::NoName)),
        (open(), http("192.0.2.1"), Err(Reason::NoName)),
    ] {
        let table = table(&rules, bound, how());
        let judgement = table.judge(&opening(claim.clone(), 8443));
        match expected {
            Ok(()) => {
                assert_eq!(judgement.reason.verdict(), Verdict::Allow, "{claim:?}: {judgement:?}");
                assert_eq!(judgement.handling, Handling::Open, "{claim:?}");
            }
            Err(reason) => assert_eq!(judgement.reason, reason, "{claim:?}"),
        }
    }
}

#[test]
fn to_whom_tls_is_never_opened_nothing_passes_where_requests_were_to_be_judged() {
    let pattern = |text| policy::DomainPattern::parse_own(text).unwrap();
    let how =
        Rules { never_open: vec![pattern("**.bank.example"), pattern("hub.example")], ..Rules::default() };
    let requests = rule(Verb::Call, "**.example", (443, 443), true);
    let any = Arc::new(RuleFacts { text: "any".into(), ..RuleFacts::default() });
    for (facts, name, expected) in [
        (&requests, "hub.example", Reason::NeverOpened),
        (&requests, "my.bank.example", Reason::NeverOpened),
        (&requests, "other.example", Reason::NameAllowed),
        // Nobody would have opened it.
        (&any, "hub.example", Reason::NameAllowed),
    ] {
        let table = table(&[Arc::clone(facts)], bound(&[(name, ALL)]), how.clone());
        let opening = opening(tls(name, &["h2"]), 443);
        assert_eq!(table.judge(&opening).reason, expected, "{name}");
        // What was opened before the list came is judged anew.
        assert_eq!(table.still(&opening, &table.judge(&opening)).reason, expected, "{name}");
    }
}

#[test]
fn a_claim_is_waited_for_where_requests_are_judged() {
    let free = || Bound { unnamed: row(ALL), ..bound(&[("hub.example", ALL)]) };
    let needs = |facts: Arc<RuleFacts>| {
        table(&[facts], free(), Rules::default()).needs_claim(POD, SocketAddr::new(DESTINATION, 443))
    };
    assert!(needs(rule(Verb::Call, "hub.example", (443, 443), true)));
    assert!(!needs(Arc::new(RuleFacts::default())));
}
