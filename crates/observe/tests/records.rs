//! One record per access, one close per open, bounded memory, and JSON that stays as documented.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use observe::about::PUBLIC_RESOLVERS;
use observe::{
    About, Book, Bound, Candidate, Event, Kind, Limits, Observation, Pattern, Query, Record, Resolver, Store,
    Time, Traffic,
};
use policy::metadata::{At, PLACES};
use policy::set::built_in_rules;
use policy::table::{Cell, Lane, Row, RowId, Ruling, Slot, SlotId, Table};
use policy::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const RULE: RuleId = RuleId(17);
const ISOLATION: RuleId = RuleId(16);

fn pod(namespace: &str, name: &str, node: &str, address: &str) -> Pod {
    Pod {
        namespace: namespace.into(),
        name: name.into(),
        labels: Labels::from_iter([("app", name)]),
        service_account: "default".into(),
        node: Some(node.into()),
        addresses: vec![address.parse().unwrap()],
        ports: vec![],
        host_network: false,
        workload: WorkloadRef { kind: "Deployment".into(), name: name.into() },
    }
}

/// `prod/web` on n1 may reach `prod/db` on n2 at TCP 5432 and nothing else there.
fn book(generation: u64) -> Arc<Book> {
    Arc::new(book_of(generation, 5432, 0))
}

/// The same with another port, and another row for what `prod/web` may open.
fn book_of(generation: u64, port: u16, egress: u32) -> Book {
    let node = |name: &str, address: &str| {
        let node =
            Node { name: name.into(), labels: Labels::default(), addresses: vec![address.parse().unwrap()] };
        (node.name.clone(), node)
    };
    let world = World {
        nodes: BTreeMap::from([node("n1", "192.0.2.1"), node("n2", "192.0.2.2")]),
        pods: vec![pod("prod", "db", "n2", "10.0.2.1").into(), pod("prod", "web", "n1", "10.0.1.1").into()],
        ..World::default()
    };
    let mut rules = built_in_rules();
    let object = ObjectRef { kind: "NetworkPolicy".into(), namespace: "prod".into(), name: "db".into() };
    let written = |reason, index, field: &str, line| RuleEntry {
        reason,
        object: Some(object.clone()),
        direction: Some(Direction::Ingress),
        index,
        name: None,
        field: field.into(),
        source: Some(SourceRef { file: "db.yaml".into(), line, column: 3 }),
        upload: None,
        requests: None,
    };
    rules.push(written(Reason::Isolated, None, "spec.podSelector", 6));
    rules.push(written(Reason::NetworkPolicyAllow, Some(0), "spec.ingress[0]", 9));
    let rules = Arc::new(rules);
    let open = Ruling { verdict: Verdict::Allow, rule: RuleId::NO_POLICY };
    let isolated = Ruling { verdict: Verdict::Deny, rule: ISOLATION };
    let allowed = Ruling { verdict: Verdict::Allow, rule: RULE };
    let cell = Cell { protocol: Protocol::TCP, first: port, last: port, ruling: allowed };
    let rows = vec![Row { otherwise: open, cells: vec![] }, Row { otherwise: isolated, cells: vec![cell] }];
    let lane = |row| Lane { rows: BTreeMap::new(), otherwise: RowId(row) };
    let table = |node: &str, endpoint: &str, [egress, ingress]: [u32; 2]| {
        Arc::new(Table {
            generation: Generation(generation),
            node: node.into(),
            own: BTreeSet::new(),
            endpoints: BTreeMap::from([(endpoint.parse().unwrap(), SlotId(0))]),
            hosts: BTreeMap::new(),
            bound: BTreeMap::new(),
            past: BTreeMap::new(),
            networks: BTreeMap::new(),
            slots: vec![Slot { egress: lane(egress), ingress: lane(ingress) }],
            rows: rows.clone(),
            rules: rules.clone(),
        })
    };
    let tables = [table("n1", "10.0.1.1", [egress, 0]), table("n2", "10.0.2.1", [0, 1])];
    Book::new(Generation(generation), rules.clone(), &world, tables)
}

fn seen(node: &str, to: &str, rule: Option<RuleId>, event: Event) -> Observation {
    let from: IpAddr = "10.0.1.1".parse().unwrap();
    Observation {
        time: Time(1_795_468_027_000_042),
        node: node.into(),
        from: SocketAddr::new(from, 40000),
        to: to.parse().unwrap(),
        protocol: Protocol::TCP,
        generation: Some(Generation(1)),
        rule,
        direction: None,
        event,
    }
}

fn resolver() -> Resolver {
    let mut resolver = Resolver::default();
    resolver.add_book(book(1));
    resolver
}

#[test]
fn an_open_names_both_ends_and_both_rules_and_its_close_repeats_them() {
    let mut resolver = resolver();
    let open = resolver.resolve(&seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened)).unwrap();
    assert_eq!((open.from.to_string(), open.to.to_string()), ("prod/web".into(), "prod/db".into()));
    assert_eq!(open.deciding, Direction::Ingress);
    assert_eq!(open.rule().unwrap().to_string(), "NetworkPolicy prod/db spec.ingress[0] (db.yaml:9)");
    assert_eq!(open.egress.as_ref().unwrap().reason, Reason::NoPolicy);

    let traffic = Traffic {
        packets_sent: 3,
        bytes_sent: 180,
        packets_received: 2,
        bytes_received: 120,
        duration_micros: None,
    };
    let end = Observation {
        time: Time(open.time.0 + 5),
        generation: None,
        ..seen("n2", "10.0.2.1:5432", None, Event::Closed(traffic))
    };
    let close = resolver.resolve(&end).unwrap();
    assert_eq!(close.kind, Kind::Close);
    assert_eq!((close.connection, &close.ingress), (open.connection, &open.ingress));
    assert_eq!(close.traffic.unwrap().duration_micros, Some(5));
    let counts = resolver.counts();
    assert_eq!((counts.open, counts.rule_disagreements, counts.verdict_disagreements), (0, 0, 0));
}

#[test]
fn a_denial_names_the_policy_that_isolates() {
    let denied = seen("n2", "10.0.2.1:22", Some(ISOLATION), Event::Denied { suppressed: 4 });
    let record = resolver().resolve(&denied).unwrap();
    assert_eq!((record.kind, record.verdict, record.reason), (Kind::Deny, Verdict::Deny, Reason::Isolated));
    assert_eq!(record.rule().unwrap().source.as_ref().unwrap().line, 6);
    assert_eq!(record.suppressed, 4);
}

#[test]
fn an_access_between_two_nodes_of_one_process_is_recorded_once() {
    let mut resolver = resolver();
    let source = seen("n1", "10.0.2.1:5432", Some(RuleId::NO_POLICY), Event::Opened);
    assert_eq!(resolver.resolve(&source), None);
    assert!(resolver.resolve(&seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened)).is_some());
    assert_eq!(resolver.resolve(&seen("n1", "10.0.2.1:5432", None, Event::Closed(Traffic::default()))), None);
    assert!(
        resolver.resolve(&seen("n2", "10.0.2.1:5432", None, Event::Closed(Traffic::default()))).is_some()
    );
    let outside = seen("n1", "198.51.100.7:443", Some(RuleId::NO_POLICY), Event::Opened);
    assert_eq!(resolver.resolve(&outside).unwrap().to.to_string(), "198.51.100.7");
    assert_eq!((resolver.counts().merged, resolver.counts().closes_without_open), (1, 0));
}

#[test]
fn a_repeated_open_is_counted_and_not_recorded_until_the_first_is_closed() {
    let mut resolver = resolver();
    let open = seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened);
    assert!(resolver.resolve(&open).is_some());
    assert_eq!(resolver.resolve(&open), None);
    assert_eq!(resolver.counts().repeated_opens, 1);
    assert!(
        resolver.resolve(&seen("n2", "10.0.2.1:5432", None, Event::Closed(Traffic::default()))).is_some()
    );
    assert!(resolver.resolve(&open).is_some());
}

#[test]
fn a_kernel_that_decides_otherwise_is_believed_and_counted() {
    let mut resolver = resolver();
    let wrong = seen("n2", "10.0.2.1:22", Some(RULE), Event::Opened);
    let record = resolver.resolve(&wrong).unwrap();
    assert_eq!(record.ingress.as_ref().unwrap().rule, RULE);
    let wrong = seen("n2", "10.0.2.1:5432", Some(ISOLATION), Event::Denied { suppressed: 0 });
    assert_eq!(resolver.resolve(&wrong).unwrap().reason, Reason::Isolated);
    let counts = resolver.counts();
    assert_eq!((counts.verdict_disagreements, counts.samples.len()), (2, 2));
    assert!(counts.samples[0].contains("kernel allow by rule 17"), "{}", counts.samples[0]);
}

#[test]
fn too_many_open_connections_forget_the_oldest_and_say_so() {
    let mut resolver = Resolver::new(1, 2);
    resolver.add_book(book(1));
    for port in [1, 2, 3] {
        let open = seen("n1", &format!("198.51.100.7:{port}"), Some(RuleId::NO_POLICY), Event::Opened);
        assert!(resolver.resolve(&open).is_some());
    }
    assert_eq!((resolver.counts().open, resolver.counts().forgotten), (2, 1));
    let close = seen("n1", "198.51.100.7:1", None, Event::Closed(Traffic::default()));
    assert_eq!(resolver.resolve(&close).unwrap().connection, None);
    assert_eq!(resolver.counts().closes_without_open, 1);
}

#[test]
fn events_of_a_generation_whose_book_is_gone_are_read_with_the_newest_and_counted() {
    let mut resolver = Resolver::new(2, 8);
    let early = seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened);
    assert_eq!(resolver.resolve(&early), None);
    for generation in 1..=3 {
        resolver.add_book(book(generation));
    }
    assert_eq!(resolver.resolve(&early).unwrap().generation, Generation(3));
    let counts = resolver.counts();
    assert_eq!((counts.unresolved, counts.unknown_generation), (1, 1));
}

fn denial(time: u64, to: &str) -> Record {
    let seen = seen("n2", to, Some(ISOLATION), Event::Denied { suppressed: 0 });
    resolver().resolve(&Observation { time: Time(time), ..seen }).unwrap()
}

#[test]
fn a_full_store_evicts_the_oldest_counts_it_and_tells_a_slow_reader() {
    let mut store = Store::new(Limits { records: 3, bytes: 1 << 20, answer: 100 });
    for n in 1..=5 {
        assert_eq!(store.add(denial(n, "10.0.2.1:22")).sequence, n);
    }
    assert_eq!((store.counts().kept, store.counts().evicted, store.counts().denied), (3, 2, 5));
    let page = store.after(1, &Query::default());
    assert_eq!(page.records.iter().map(|r| r.sequence).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!((page.cursor, page.missed), (5, 1));
    assert_eq!(store.after(5, &Query::default()).records.len(), 0);
    assert_eq!(store.after(u64::MAX, &Query::default()).cursor, 5);
    let bytes = denial(1, "10.0.2.1:22").weight();
    let mut small = Store::new(Limits { records: 100, bytes: bytes * 2, answer: 100 });
    for n in 1..=5 {
        small.add(denial(n, "10.0.2.1:22"));
    }
    assert_eq!((small.counts().kept, small.counts().evicted), (2, 3));
    assert!(small.counts().bytes <= (bytes * 2) as u64);
}

#[test]
fn following_in_small_pages_sees_every_matching_record_once() {
    let mut store = Store::new(Limits::default());
    for n in 1..=20 {
        store.add(denial(n, if n % 2 == 0 { "10.0.2.1:22" } else { "10.0.2.1:23" }));
    }
    let query = Query { port: Some(22), limit: Some(3), ..Query::default() };
    let (mut cursor, mut found) = (0, Vec::new());
    for _ in 0..20 {
        let page = store.after(cursor, &query);
        cursor = page.cursor;
        found.extend(page.records.iter().map(|r| r.sequence));
    }
    assert_eq!(found, (1..=10).map(|n| n * 2).collect::<Vec<_>>());
    let newest: Vec<_> = store.newest(&query).records.iter().map(|r| r.sequence).collect();
    assert_eq!(newest, [16, 18, 20]);
}

#[test]
fn queries_find_by_name_glob_workload_address_time_and_verdict() {
    let record = denial(1000, "10.0.2.1:22");
    let pattern = |text: &str| Some(Pattern(text.into()));
    let matching = [
        Query::default(),
        Query { verdict: Some(Verdict::Deny), kind: Some(Kind::Deny), ..Query::default() },
        Query { from: pattern("web"), to: pattern("prod/*"), ..Query::default() },
        Query { from: pattern("Deployment/web"), ..Query::default() },
        Query { to: pattern("10.0.2."), protocol: Some(Protocol::TCP), port: Some(22), ..Query::default() },
        Query { since: Some(Time(1000)), until: Some(Time(1000)), ..Query::default() },
    ];
    for query in matching {
        assert!(query.matches(&record), "{query:?}");
    }
    let others = [
        Query { verdict: Some(Verdict::Allow), ..Query::default() },
        Query { from: pattern("db"), ..Query::default() },
        Query { to: pattern("*/web"), ..Query::default() },
        Query { since: Some(Time(1001)), ..Query::default() },
        Query { until: Some(Time(999)), ..Query::default() },
        Query { port: Some(23), ..Query::default() },
        Query { protocol: Some(Protocol::UDP), ..Query::default() },
    ];
    for query in others {
        assert!(!query.matches(&record), "{query:?}");
    }
}

#[test]
fn the_json_of_a_record_is_the_documented_one_and_reads_back() {
    let mut store = Store::new(Limits::default());
    let record = store.add(denial(1_795_468_027_000_042, "10.0.2.1:22"));
    let json = serde_json::to_value(&*record).unwrap();
    let expected = serde_json::json!({
        "sequence": 1,
        "time": "2026-11-23T21:07:07.000042Z",
        "kind": "deny",
        "verdict": "deny",
        "node": "n2",
        "generation": 1,
        "from": {
            "kind": "pod", "namespace": "prod", "name": "web", "address": "10.0.1.1", "port": 40000,
            "workload": { "kind": "Deployment", "name": "web" }, "labels": { "app": "web" }
        },
        "to": {
            "kind": "pod", "namespace": "prod", "name": "db", "address": "10.0.2.1", "port": 22,
            "workload": { "kind": "Deployment", "name": "db" }, "labels": { "app": "db" }
        },
        "protocol": "TCP",
        "port": 22,
        "reason": "isolated",
        "deciding": "ingress",
        "egress": { "verdict": "allow", "reason": "no-policy", "rule": 0 },
        "ingress": {
            "verdict": "deny", "reason": "isolated", "rule": 16,
            "object": { "kind": "NetworkPolicy", "namespace": "prod", "name": "db" },
            "field": "spec.podSelector",
            "source": { "file": "db.yaml", "line": 6, "column": 3 }
        }
    });
    assert_eq!(json, expected);
    let back: Record = serde_json::from_value(json).unwrap();
    assert_eq!(back, *record);
}

/// A denial on the way out of `prod/web`.
fn denied_egress(resolver: &mut Resolver, protocol: Protocol, to: &str) -> Option<Record> {
    let event = Event::Denied { suppressed: 0 };
    let seen = seen("n1", to, Some(ISOLATION), event);
    resolver.resolve(&Observation { direction: Some(Direction::Egress), protocol, ..seen })
}

/// As [`resolver`], and rules for `prod/web` speak of names.
fn resolver_by_names() -> Resolver {
    let mut resolver = Resolver::default();
    let book = Arc::unwrap_or_clone(book(1)).with_led_by_names(["10.0.1.1".parse().unwrap()]);
    resolver.add_book(Arc::new(book));
    resolver
}

#[test]
fn a_denied_egress_says_what_it_was_about() {
    use About::*;
    let (tcp, udp, icmp) = (Protocol::TCP, Protocol::UDP, Protocol::ICMP);
    let cases = [
        (tcp, "169.254.169.254:80", Some(MetadataService)),
        (icmp, "169.254.169.254:0", Some(MetadataService)),
        (udp, "169.254.169.254:53", Some(MetadataService)),
        (tcp, "[::ffff:169.254.169.254]:80", Some(MetadataService)),
        (tcp, "169.254.170.23:80", Some(MetadataService)),
        (tcp, "[fd00:ec2::254]:6443", Some(MetadataService)),
        (tcp, "168.63.129.16:80", Some(MetadataService)),
        (tcp, "168.63.129.16:32526", Some(MetadataService)),
        (udp, "168.63.129.16:53", Some(DnsElsewhere)),
        (udp, "168.63.129.16:80", Some(AddressNotResolved)),
        (tcp, "198.51.100.9:6443", Some(ApiServer)),
        (udp, "198.51.100.9:6443", Some(AddressNotResolved)),
        (tcp, "192.0.2.2:6443", Some(ApiServer)),
        (tcp, "192.0.2.2:10250", None),
        (udp, "192.0.2.2:53", None),
        (udp, "8.8.8.8:53", Some(DnsElsewhere)),
        (tcp, "198.51.100.9:53", Some(DnsElsewhere)),
        (udp, "224.0.0.251:5353", Some(DnsElsewhere)),
        (Protocol::SCTP, "198.51.100.9:53", Some(AddressNotResolved)),
        (tcp, "1.1.1.1:853", Some(DnsOverTls)),
        (udp, "198.51.100.9:853", Some(DnsOverTls)),
        (tcp, "9.9.9.9:443", Some(DnsOverHttps)),
        (tcp, "1.1.1.2:443", Some(DnsOverHttps)),
        (tcp, "1.0.0.3:443", Some(DnsOverHttps)),
        (tcp, "9.9.9.10:443", Some(DnsOverHttps)),
        (tcp, "208.67.222.123:443", Some(DnsOverHttps)),
        (tcp, "94.140.14.140:443", Some(DnsOverHttps)),
        (tcp, "[2620:fe::fe:11]:443", Some(DnsOverHttps)),
        (udp, "[2606:4700:4700::1111]:443", Some(DnsOverHttps)),
        (tcp, "9.9.9.9:80", Some(AddressNotResolved)),
        (tcp, "198.51.100.9:443", Some(AddressNotResolved)),
        (icmp, "198.51.100.9:0", Some(AddressNotResolved)),
        (tcp, "10.0.2.1:53", None),
        (tcp, "10.0.2.1:6443", None),
    ];
    for (protocol, to, expected) in cases {
        let record = denied_egress(&mut resolver_by_names(), protocol, to).unwrap();
        assert_eq!(record.about, expected, "{protocol} {to}");
        let unfollowed = denied_egress(&mut resolver(), protocol, to).unwrap();
        assert_eq!(unfollowed.about, expected.filter(|it| *it != AddressNotResolved), "{protocol} {to}");
    }
}

#[test]
fn a_denied_attempt_at_credentials_is_known_for_each_cloud() {
    for place in PLACES {
        let ports: &[u16] = match place.ports {
            At::EveryPort => &[80, 443, 8080],
            At::Tcp(ports) => ports,
        };
        for port in ports {
            let to = SocketAddr::new(place.address, *port);
            let record = denied_egress(&mut resolver(), Protocol::TCP, &to.to_string()).unwrap();
            assert_eq!(record.about, Some(About::MetadataService), "{to}");
        }
    }
}

#[test]
fn an_address_that_dns_gave_and_a_packet_of_no_connection_are_no_attempt() {
    let mut resolver = resolver_by_names();
    let ends = ["10.0.1.1", "198.51.100.9"].map(|end| end.parse().unwrap());
    let bound = Bound { names: Arc::from([DnsName::parse("hub.example").unwrap()]), row: None };
    resolver.bind(ends[0], ends[1], Some(bound));
    let record = denied_egress(&mut resolver, Protocol::TCP, "198.51.100.9:22").unwrap();
    assert_eq!((record.to.names.len(), record.about), (1, None));
    resolver.bind(ends[0], ends[1], None);
    let record = denied_egress(&mut resolver, Protocol::TCP, "198.51.100.9:22").unwrap();
    assert_eq!(record.about, Some(About::AddressNotResolved), "its answer ran out");

    let late = seen("n1", "198.51.100.9:22", Some(RuleId::UNTRACKED), Event::Denied { suppressed: 0 });
    let late = Observation { direction: Some(Direction::Egress), ..late };
    assert_eq!(resolver.resolve(&late).unwrap().about, None);
}

#[test]
fn an_event_that_is_read_after_what_was_bound_has_gone_is_no_disagreement() {
    let ends: [IpAddr; 2] = ["10.0.1.1", "198.51.100.9"].map(|end| end.parse().unwrap());
    let bound = || {
        let otherwise = Ruling { verdict: Verdict::Allow, rule: RULE };
        let row = Some(Arc::new(Row { otherwise, cells: vec![] }));
        Bound { names: Arc::from([DnsName::parse("hub.example").unwrap()]), row }
    };
    let opened = |resolver: &mut Resolver| {
        let seen = seen("n1", "198.51.100.9:443", Some(RULE), Event::Opened);
        let record = resolver.resolve(&Observation { direction: Some(Direction::Egress), ..seen }).unwrap();
        (record.to.names.len(), resolver.counts().rule_disagreements)
    };
    let mut never = resolver();
    assert_eq!(opened(&mut never), (0, 1), "a rule that nothing leads to");
    let mut one = resolver();
    one.bind(ends[0], ends[1], Some(bound()));
    one.bind(ends[0], ends[1], None);
    assert_eq!(opened(&mut one), (1, 0));
    let mut all = resolver();
    all.set_bindings([((ends[0], ends[1]), bound())].into());
    all.set_bindings(Default::default());
    assert_eq!(opened(&mut all), (1, 0));
}

#[test]
fn only_denials_of_egress_are_about_something() {
    let open = seen("n1", "8.8.8.8:53", Some(RuleId::NO_POLICY), Event::Opened);
    assert_eq!(resolver_by_names().resolve(&open).unwrap().about, None);
    let inwards = seen("n2", "10.0.2.1:53", Some(ISOLATION), Event::Denied { suppressed: 0 });
    assert_eq!(resolver_by_names().resolve(&inwards).unwrap().about, None);
}

#[test]
fn what_it_was_about_is_a_word_in_json_and_a_filter() {
    let record = denied_egress(&mut resolver(), Protocol::UDP, "8.8.4.4:53").unwrap();
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(json["about"], "dns-elsewhere");
    assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    for about in About::ALL {
        assert_eq!(serde_json::to_value(about).unwrap(), about.as_str());
        assert_eq!(about.as_str().parse(), Ok(about));
        let query = Query { about: Some(about), ..Query::default() };
        assert_eq!(query.matches(&record), about == About::DnsElsewhere);
    }
    let told = "dns".parse::<About>().unwrap_err().to_string();
    assert!(told.contains("metadata-service, api-server, dns-elsewhere"), "{told}");
}

#[test]
fn no_address_is_in_the_tables_twice() {
    let places = PLACES.map(|place| place.address);
    let all: BTreeSet<IpAddr> = places.into_iter().chain(PUBLIC_RESOLVERS).collect();
    assert_eq!(all.len(), PLACES.len() + PUBLIC_RESOLVERS.len());
}

/// A candidate by which `prod/web` reaches `prod/db` at port 22 and nothing else there.
fn candidate(edition: u64, egress: u32) -> Candidate {
    let web: IpAddr = "10.0.1.1".parse().unwrap();
    let book = book_of(1, 22, egress).with_led_by_names([web]);
    Candidate { edition, book: Arc::new(book), rows: HashMap::new(), followed: HashSet::new() }
}

#[test]
fn a_candidate_is_judged_beside_and_changes_nothing_else_of_a_record() {
    let opened = seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened);
    let plain = resolver().resolve(&opened).unwrap();
    let mut resolver = resolver();
    resolver.judge_beside(Some(candidate(1, 0)));
    let open = resolver.resolve(&opened).unwrap();
    assert_eq!(Record { shadow: None, ..open.clone() }, plain);
    let shadow = open.shadow.clone().unwrap();
    assert_eq!((shadow.verdict, shadow.reason, open.differs()), (Verdict::Deny, Reason::Isolated, true));

    // Its end says the same, and is no access of its own.
    let close =
        resolver.resolve(&seen("n2", "10.0.2.1:5432", None, Event::Closed(Traffic::default()))).unwrap();
    assert_eq!(close.shadow.unwrap(), shadow);
    let denied = seen("n2", "10.0.2.1:22", Some(ISOLATION), Event::Denied { suppressed: 4 });
    assert_eq!(resolver.resolve(&denied).unwrap().shadow.unwrap().verdict, Verdict::Allow);
    // What comes before all policy comes before the candidate, too.
    let late = seen("n2", "10.0.2.1:22", Some(RuleId::UNTRACKED), Event::Denied { suppressed: 0 });
    assert_eq!(resolver.resolve(&late).unwrap().shadow, None);

    let tally = resolver.tally().unwrap();
    assert_eq!((tally.judged, tally.would_deny, tally.would_allow, tally.unknown), (6, 1, 5, 0));
    let told: Vec<_> = tally
        .differences()
        .into_iter()
        .map(|(it, seen)| (&*it.source, &*it.destination, it.port, seen.count))
        .collect();
    let (web, db) = ("prod/Deployment/web", "prod/Deployment/db");
    assert_eq!(told, [(web, db, 5432, 1), (web, db, 22, 5)]);

    resolver.judge_beside(Some(candidate(1, 0)));
    assert_eq!(resolver.tally().unwrap().judged, 6, "other parties, the same candidate");
    resolver.judge_beside(Some(candidate(2, 0)));
    assert_eq!(resolver.tally().unwrap().judged, 0, "another candidate");
    resolver.judge_beside(None);
    let again = seen("n2", "10.0.2.1:5432", Some(RULE), Event::Opened);
    assert!(resolver.resolve(&again).unwrap().shadow.is_none() && resolver.tally().is_none());
}

#[test]
fn what_a_name_that_is_not_known_may_allow_is_neither_allowed_nor_denied() {
    let (web, outside): (IpAddr, IpAddr) = ("10.0.1.1".parse().unwrap(), "198.51.100.9".parse().unwrap());
    let mut resolver = resolver();
    let mut judged = |candidate: Candidate, port: u16| {
        resolver.judge_beside(Some(candidate));
        let opened = seen("n1", &format!("198.51.100.9:{port}"), Some(RuleId::NO_POLICY), Event::Opened);
        let shadow = resolver.resolve(&opened).unwrap().shadow.map(|it| it.verdict);
        (shadow, resolver.tally().unwrap().unknown)
    };
    assert_eq!(judged(candidate(1, 1), 443), (None, 1));
    let followed = Candidate { followed: HashSet::from([web]), ..candidate(2, 1) };
    assert_eq!(judged(followed.clone(), 444), (Some(Verdict::Deny), 0));
    let ruling = Ruling { verdict: Verdict::Allow, rule: RULE };
    let row = Arc::new(Row { otherwise: ruling, cells: vec![] });
    let named = Candidate { edition: 3, rows: HashMap::from([((web, outside), row)]), ..followed };
    assert_eq!(judged(named, 445), (Some(Verdict::Allow), 0));
}
