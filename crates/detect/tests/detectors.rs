//! What each detector tells of, and what it leaves alone though it looks alike; by events as readers make them.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use detect::event::{Call, Flow, HOUR, Lookup, MINUTE, NXDOMAIN, Phase, Place, RecordId, SECOND, Sign, What};
use detect::{Event, Finding, Replay};
use observe::Time;
use std::sync::Arc;

/// When tests begin: somewhere in 2026.
const BEGIN: u64 = 1_790_000_000 * SECOND;

fn event(after: u64, who: &str, number: u64, what: What) -> Event {
    let record = RecordId { source: "test".into(), number };
    Event { time: Time(BEGIN + after), who: who.into(), record, what }
}

/// Events of one workload, so far apart.
fn every(pause: u64, whats: impl IntoIterator<Item = What>) -> Vec<Event> {
    (0..).zip(whats).map(|(number, what)| event(number * pause, "app/web", number, what)).collect()
}

fn lookup(name: &str, kind: u16, rcode: Option<u16>) -> What {
    What::Lookup(Lookup { name: name.into(), kind, rcode, answer_bytes: 0 })
}

fn flow(address: [u8; 4], port: u16, phase: Phase, (sent, received): (u64, u64)) -> What {
    What::Flow(Flow {
        phase,
        from_node: false,
        address: address.into(),
        name: None,
        place: Place::Unknown,
        port,
        protocol: 6,
        sent,
        received,
        duration: SECOND,
    })
}

fn call(change: impl FnOnce(&mut Call)) -> What {
    let mut call =
        Call { service: "api.openai.com".into(), verb: "call".into(), allowed: true, ..Call::default() };
    change(&mut call);
    What::Call(Box::new(call))
}

fn found(events: &[Event]) -> Vec<Finding> {
    let mut replay = Replay::default();
    events.iter().for_each(|event| replay.observe(event));
    assert_eq!(replay.lost(), 0);
    replay.findings()
}

/// Words of the detectors that tell, each once.
fn words(events: &[Event]) -> Vec<&'static str> {
    let mut words: Vec<_> = found(events).iter().map(|finding| finding.detector).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn check(what: &str, events: &[Event], expected: &[&str]) {
    assert_eq!(words(events), expected, "{what}");
}

/// Text that looks random, of letters and digits.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::try_from(state >> 59).expect("below 32")])
    };
    (0..length).map(letter).collect()
}

#[test]
fn data_in_names_is_told_of_for_every_type_of_question() {
    for kind in [1, 5, 10, 15, 16, 25, 28, 33, 65399] {
        let names = (0..40).map(|seed| lookup(&format!("{}.t.example.com", noise(seed, 45)), kind, Some(0)));
        check(&format!("type {kind}"), &every(SECOND, names), &["dns-tunnel"]);
    }
    let slow = (0..60).map(|seed| lookup(&format!("{}.t.example.com", noise(seed, 45)), 16, Some(0)));
    check("one name in 50 seconds", &every(50 * SECOND, slow), &["dns-tunnel"]);
}

#[test]
fn names_of_services_that_have_many_are_no_tunnel() {
    let services =
        (0..500).map(|number| lookup(&format!("db-{number}.team-{number}.svc.cluster.local"), 1, Some(0)));
    check("services", &every(SECOND / 10, services), &[]);
    let cdn = (0..200).map(|seed| lookup(&format!("{}.cloudfront.net", noise(seed, 14)), 1, Some(0)));
    check("a CDN", &every(SECOND, cdn), &[]);
    let turned = (0..=255).map(|number| lookup(&format!("{number}.3.2.10.in-addr.arpa"), 12, Some(0)));
    check("reverse lookups", &every(SECOND / 10, turned), &[]);
    let lists =
        (0..=255).map(|number| lookup(&format!("{number}.2.0.192.zen.spamhaus.org"), 1, Some(NXDOMAIN)));
    check("a block list, at the pace of a mail server", &every(4 * SECOND, lists), &[]);
    let repeated =
        (0..5000).map(|number| lookup(&format!("{}.t.example.com", noise(number % 4, 60)), 16, Some(0)));
    check("the same few names", &every(SECOND / 100, repeated), &[]);
}

#[test]
fn names_that_a_program_draws_are_told_of_where_they_do_not_exist() {
    let drawn = |rcode| (0..12).map(move |seed| lookup(&format!("{}.net", noise(seed, 14)), 1, rcode));
    check("none exists", &every(10 * SECOND, drawn(Some(NXDOMAIN))), &["dga"]);
    check("unknown", &every(10 * SECOND, drawn(None)), &["dga"]);
    check("all exist", &every(10 * SECOND, drawn(Some(0))), &[]);
    let cdn = (0..40).map(|seed| lookup(&format!("{}.cloudfront.net", noise(seed, 14)), 1, None));
    check("a CDN, unknown", &every(10 * SECOND, cdn), &[]);
    let shared = (0..12).map(|seed| lookup(&format!("{}.ddns.net", noise(seed, 14)), 1, Some(NXDOMAIN)));
    check("below a zone that anybody may use", &every(10 * SECOND, shared), &["dga"]);
    let words = ["river", "stone", "cloud", "garden", "silver", "winter"];
    let put_together = words.iter().flat_map(|one| words.iter().map(move |two| format!("{one}{two}.com")));
    let put_together = put_together.map(|name| lookup(&name, 1, Some(NXDOMAIN)));
    check("words put together, by their number", &every(10 * SECOND, put_together), &["dga"]);
}

#[test]
fn search_lists_are_no_storm_and_a_storm_is() {
    let hosts = (0..100).map(|number| format!("api-{number}.example.com"));
    let expanded = hosts.flat_map(|host| {
        let ends = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example.org"];
        let tried = ends.map(|end| lookup(&format!("{host}.{end}"), 1, Some(NXDOMAIN)));
        tried.into_iter().chain([lookup(&host, 1, Some(0))])
    });
    check("a search list", &every(SECOND / 10, expanded), &[]);
    let storm = (0..60).map(|number| lookup(&format!("host{number}.example.com"), 1, Some(NXDOMAIN)));
    check("a storm", &every(SECOND / 2, storm), &["nxdomain-storm"]);
}

#[test]
fn probes_and_scrapes_are_no_beacons_and_a_beacon_is() {
    let beacon = (0..30).map(|_| flow([192, 0, 2, 7], 443, Phase::Whole, (300, 200)));
    check("a beacon", &every(MINUTE, beacon), &["beacon"]);
    let scrapes =
        (0..30).flat_map(|_| (1..20).map(|pod| flow([10, 0, 0, pod], 9090, Phase::Whole, (200, 9000))));
    check("scrapes", &every(SECOND, scrapes), &[]);
    let probes = (0..30).map(|_| match flow([10, 0, 0, 9], 8080, Phase::Whole, (100, 100)) {
        What::Flow(flow) => What::Flow(Flow { from_node: true, place: Place::Inside, ..flow }),
        other => panic!("{other:?}"),
    });
    check("probes", &every(10 * SECOND, probes), &[]);
    let pushes: Vec<Event> = (0..30)
        .flat_map(|round| (0..8).map(move |pod| (round, pod)))
        .map(|(round, pod)| {
            let what = flow([192, 0, 2, 8], 443, Phase::Whole, (500, 100));
            event(round * MINUTE + pod * SECOND, &format!("app/pod-{pod}"), round * 8 + pod, what)
        })
        .collect();
    check("what all push to", &pushes, &[]);
}

#[test]
fn scans_and_ports_of_administration_are_told_of() {
    let scan = (1..30).map(|port| flow([10, 0, 0, 9], port, Phase::Failed, (0, 0)));
    check("ports", &every(SECOND, scan), &["port-scan"]);
    let retries = (0..100).map(|_| flow([10, 0, 0, 9], 8080, Phase::Failed, (0, 0)));
    check("retries", &every(SECOND, retries), &[]);
    let fan = (1..8).map(|machine| flow([10, 0, 0, machine], 22, Phase::Whole, (5000, 5000)));
    check("SSH to many", &every(SECOND, fan), &["lateral-movement"]);
    let mix = [135, 445, 5985].map(|port| flow([10, 0, 0, 9], port, Phase::Whole, (5000, 5000)));
    check("many kinds on one", &every(SECOND, mix), &["lateral-movement"]);
    let share = [135, 139, 445].map(|port| flow([10, 0, 0, 9], port, Phase::Whole, (5000, 5000)));
    check("a file share", &every(SECOND, share), &[]);
}

#[test]
fn new_destinations_and_uploads_are_told_of_after_learning() {
    let usual = (0..30).map(|_| flow([192, 0, 2, 7], 443, Phase::Whole, (50_000, 90_000)));
    let mut events = every(HOUR, usual);
    events.push(event(30 * HOUR, "app/web", 30, flow([198, 51, 100, 1], 443, Phase::Whole, (10, 10))));
    let findings = found(&events);
    assert_eq!(findings.iter().filter(|it| it.detector == "new-destination").count(), 1, "{findings:?}");
    events.push(event(
        30 * HOUR + 1,
        "app/web",
        31,
        flow([192, 0, 2, 7], 443, Phase::Whole, (200 << 20, 100)),
    ));
    let uploads = found(&events).into_iter().filter(|it| it.detector == "upload-volume").count();
    assert_eq!(uploads, 1);
    let download =
        vec![event(0, "app/web", 0, flow([192, 0, 2, 7], 443, Phase::Whole, (100 << 20, 9 << 30)))];
    check("a download", &download, &[]);
}

#[test]
fn words_of_enforcement_points_are_told_of() {
    for (sign, count, expected) in [
        (Sign::MetadataService, 1, &["probing"][..]),
        (Sign::ApiServer, 2, &[]),
        (Sign::ApiServer, 3, &["probing"]),
        (Sign::DnsElsewhere, 1, &["resolver-evasion"]),
        (Sign::NotResolved, 9, &[]),
        (Sign::NotResolved, 10, &["gateway-bypass"]),
        (Sign::OtherName, 1, &["gateway-bypass"]),
    ] {
        check(&format!("{sign:?} {count}"), &every(SECOND, (0..count).map(|_| What::Sign(sign))), expected);
    }
}

#[test]
fn calls_are_told_of_where_they_cost_gather_or_give_away() {
    let hours = |last: u64| {
        let used = (0..6).map(move |hour| if hour == 5 { last } else { 100_000 });
        every(HOUR, used.map(|tokens| call(|call| call.input_tokens = tokens)))
    };
    check("as usual", &hours(150_000), &[]);
    check("a spike", &hours(2_000_000), &["spend-spike"]);
    let refused = call(|call| (call.reason, call.allowed) = ("quota-tokens".into(), false));
    check("a budget", &every(SECOND, [refused]), &["budget-exhausted"]);
    let texts =
        |count: u64| every(SECOND, (0..count).map(|_| call(|call| call.found = vec!["prompt-guard".into()])));
    check("a few texts", &texts(4), &[]);
    check("a campaign", &texts(6), &["injection-campaign"]);
    let gather = |bodies: u64| {
        let asked = (0..1500).map(move |number| {
            call(|call| (call.sent, call.body) = (900 + number % 50, Some(noise(number % bodies, 64).into())))
        });
        every(SECOND, asked)
    };
    check("different questions", &gather(1500), &["model-extraction"]);
    check("the same questions", &gather(50), &[]);
    let upload = |name: &str, sent| {
        every(
            SECOND,
            [call(|call| (call.verb, call.subject, call.sent) = ("upload".into(), Some(name.into()), sent))],
        )
    };
    check("weights", &upload("acme/model/adapter.safetensors", 40 << 20), &["weights-leaving"]);
    check("a log", &upload("runs/1/train.log", 40 << 20), &[]);
}

#[test]
fn a_key_is_told_of_when_another_namespace_shows_it_later() {
    let shows =
        |after, who: &str| event(after, who, after, call(|call| call.keys = vec![Arc::from("sha256:abcd")]));
    check("its own", &[shows(0, "a/web"), shows(2 * HOUR, "a/job")], &[]);
    check("at once, as when both begin", &[shows(0, "a/web"), shows(MINUTE, "b/web")], &[]);
    check("later", &[shows(0, "a/web"), shows(2 * HOUR, "b/web")], &["credential-misuse"]);
}

#[test]
fn what_goes_on_is_one_finding_with_its_size_and_the_same_id_each_time() {
    let names =
        |count| (0..count).map(|seed| lookup(&format!("{}.t.example.com", noise(seed, 45)), 16, Some(0)));
    let (short, long) = (found(&every(SECOND, names(40))), found(&every(SECOND, names(2000))));
    let ([short], [long]) = (&short[..], &long[..]) else { panic!("{short:?} {long:?}") };
    assert_eq!((&short.id, short.time), (&long.id, long.time));
    assert!(long.count > 1000, "{}", long.count);
    assert_eq!(found(&every(SECOND, names(2000))), std::slice::from_ref(long));
}
