//! What each detector tells of, and what it leaves alone though it looks alike; by events as readers make them.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

mod names;

use detect::event::{
    Asks, Call, Carrier, DAY, Factors, Fate, Flow, Found, HOUR, Limit, Lookup, MINUTE, NXDOMAIN, Phase,
    Place, Reached, RecordId, SECOND, Scene, Sign, Tool, What,
};
use detect::pace::MOST_OF_HOUR;
use detect::{Detectors, Event, Finding, Pace, Replay, Severity, catalog};
use observe::Time;
use std::sync::Arc;

/// When tests begin: somewhere in 2026.
const BEGIN: u64 = 1_790_000_000 * SECOND;

fn event(after: u64, who: &str, number: u64, what: What) -> Event {
    let record = RecordId { source: "test".into(), number };
    Event::new(Time(BEGIN + after), who.into(), record, what)
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
fn words(events: &[Event]) -> Vec<String> {
    let mut words: Vec<_> = found(events).iter().map(|finding| finding.detector.to_string()).collect();
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
    let browses = (0..200u8).flat_map(|number| {
        let page =
            flow([198, 51, 100, number % 50], 443, Phase::Whole, (900 + u64::from(number) * 7, 90_000));
        let order = flow([192, 0, 2, 7], 443, Phase::Whole, (300, 200));
        [Some(page), number.is_multiple_of(4).then_some(order)].into_iter().flatten()
    });
    check("a beacon of who browses", &every(MINUTE, browses), &["beacon"]);
    for (what, address, port) in [
        ("mDNS", [224, 0, 0, 251], 5353),
        ("SSDP", [239, 255, 255, 250], 1900),
        ("a broadcast", [255, 255, 255, 255], 6667),
        ("a lease", [10, 0, 0, 1], 67),
        ("a Windows network", [10, 0, 0, 255], 138),
    ] {
        let regular = (0..30).map(|_| flow(address, port, Phase::Whole, (300, 0)));
        check(what, &every(2 * MINUTE, regular), &[]);
    }
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
    let slow = (1..40).map(|port| flow([10, 0, 0, 9], port, Phase::Failed, (0, 0)));
    check("ports of one, one in half an hour", &every(30 * MINUTE, slow), &["port-scan"]);
    let late = (1..400).map(|port| flow([10, 0, 0, 9], 40_000 + port, Phase::Failed, (0, 0)));
    check("late answers to one client", &every(MINUTE, late), &[]);
    let few = (1..200).map(|hour| flow([10, 0, 0, 9], hour % 12, Phase::Failed, (0, 0)));
    check("a dozen that are gone, for days", &every(HOUR, few), &[]);
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
fn what_is_late_begins_no_hour_anew_and_a_clock_that_was_ahead_keeps_none_open() {
    let upload = |number: u64| {
        let sends = flow([198, 51, 100, 7], 443, Phase::Whole, (20 << 20, 4000));
        // As in Zeek's logs, which have connections when they end, at the time when they began.
        let began_earlier = flow([198, 51, 100, 7], 443, Phase::Whole, (500, 400));
        let (now, earlier) = (BEGIN.next_multiple_of(HOUR) - BEGIN + number * 50 * SECOND, 600 * SECOND);
        [
            event(now, "app/web", 2 * number, sends),
            event(
                now.saturating_sub(earlier + number * 50 * SECOND),
                "app/web",
                2 * number + 1,
                began_earlier,
            ),
        ]
    };
    let uploads: Vec<Event> = (0..60).flat_map(upload).collect();
    assert!(words(&uploads).contains(&"upload-volume".to_owned()), "{:?}", words(&uploads));
    let year = 365 * DAY;
    let ahead = |what: What| event(year, "app/web", 0, what);
    let after = |events: Vec<Event>, first: What| [vec![ahead(first)], events].concat();
    let typed = (0..40).map(|number| lookup(&format!("mistyped-shop-{number}.com"), 1, Some(NXDOMAIN)));
    check(
        "typing errors of days",
        &after(every(6 * HOUR, typed), lookup("www.example.com", 1, Some(0))),
        &[],
    );
    let gone = (0..25).map(|pod| flow([10, 7, 0, pod], 8080, Phase::Failed, (0, 0)));
    let first = flow([198, 51, 100, 7], 443, Phase::Whole, (1, 1));
    check("pods that are gone, one an hour", &after(every(HOUR, gone), first.clone()), &[]);
    let mut usual = every(HOUR, (0..30).map(|_| flow([192, 0, 2, 7], 443, Phase::Whole, (50_000, 90_000))));
    usual.push(event(30 * HOUR, "app/web", 30, flow([203, 0, 113, 1], 443, Phase::Whole, (10, 10))));
    assert!(words(&after(usual, first)).contains(&"new-destination".to_owned()));
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
    check("a budget", &every(SECOND, [refused]), &["quota-tokens"]);
    let texts = |count: u64| every(SECOND, (0..count).map(|_| call(|call| call.is_suspicious = true)));
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
    let probe = |calls: u64, asks: fn(u64) -> Asks| {
        let asked = (0..calls).map(move |number| {
            call(|call| (call.body, call.asks) = (Some(number.to_string().into()), Some(asks(number))))
        });
        every(SECOND, asked)
    };
    let likely = |number: u64| Asks { is_likelihood_wanted: number.is_multiple_of(2), ..Asks::default() };
    check("likelihoods", &probe(400, likely), &["model-probing"]);
    check("a few likelihoods", &probe(150, likely), &[]);
    check(
        "likelihoods now and then",
        &probe(600, |number| Asks { is_likelihood_wanted: number % 9 == 0, ..Asks::default() }),
        &[],
    );
    let sweep = |_| Asks { is_greedy: true, template: Some("one".into()), ..Asks::default() };
    check("a sweep", &probe(700, sweep), &["model-probing"]);
    check(
        "a program that asks in its own words",
        &probe(700, |number| Asks {
            is_greedy: true,
            template: Some((number % 30).to_string().into()),
            ..Asks::default()
        }),
        &[],
    );
    check("many answers each", &probe(300, |_| Asks { choices: 8, ..Asks::default() }), &["model-probing"]);
    check("two answers each", &probe(900, |_| Asks { choices: 2, ..Asks::default() }), &[]);
    check("a corpus", &probe(60, |_| Asks { texts: 2048, ..Asks::default() }), &["model-probing"]);
    check(
        "refusals",
        &probe(120, |number| Asks { is_refused: number % 2 == 0, ..Asks::default() }),
        &["model-probing"],
    );
    let upload = |name: &str, sent| {
        every(
            SECOND,
            [call(|call| (call.verb, call.subject, call.sent) = ("upload".into(), Some(name.into()), sent))],
        )
    };
    check("weights", &upload("acme/model/adapter.safetensors", 40 << 20), &["weights-leaving"]);
    check("a log", &upload("runs/1/train.log", 40 << 20), &[]);
    let refused = |verb: &str, times: usize| {
        let tried = call(|call| {
            (call.verb, call.allowed, call.subject) = (verb.into(), false, Some("datasets/out".into()))
        });
        every(SECOND, vec![tried; times])
    };
    check("commits that no rule allows", &refused("upload", 3), &["refused-writes"]);
    check("jobs that no rule allows", &refused("mutate", 4), &["refused-writes"]);
    check("two of them", &refused("upload", 2), &[]);
    check("downloads that no rule allows", &refused("download", 30), &[]);
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

fn found_in(place: Carrier, fate: Fate) -> What {
    let found = Found { rule: "github-token".into(), what: "base64".into(), place, fate };
    call(|call| (call.found, call.sent) = (vec![found], 900))
}

#[test]
fn what_enforcement_points_did_is_told_of_by_what_it_is() {
    for (place, fate, expected) in [
        (Carrier::Request, Fate::Told, "leak"),
        (Carrier::Request, Fate::Masked, "leak-masked"),
        (Carrier::Answer, Fate::Blocked, "leak-blocked"),
        (Carrier::File, Fate::Told, "unsafe-file"),
        (Carrier::File, Fate::Blocked, "unsafe-file-blocked"),
    ] {
        check(expected, &every(SECOND, [found_in(place, fate)]), &[expected]);
    }
    for (limit, expected) in [
        (Limit::UploadConnection, "upload-connection"),
        (Limit::DownloadOnly, "download-only"),
        (Limit::UploadHour, "upload-hour"),
        (Limit::UploadDay, "upload-day"),
        (Limit::Unopened, "unopened"),
    ] {
        let reached = What::Reached(Reached { limit, whom: Some("store.example".into()), bytes: 7 });
        check(expected, &every(SECOND, [reached]), &[expected]);
    }
    let allowed = call(|call| call.reason = "quota-money".into());
    check("a call that was cut later counts as it was judged", &every(SECOND, [allowed]), &[]);
}

#[test]
fn a_fact_is_told_at_once_by_doubling_and_in_every_hour_in_which_it_comes_again() {
    let mut detectors = Detectors::default();
    let mut told = |after: u64, count: u64| -> Vec<(String, u64)> {
        let each =
            |number| event(after + number, "app/web", number, found_in(Carrier::Request, Fate::Blocked));
        let findings = (0..count).flat_map(|number| detectors.observe(&each(number)));
        findings.map(|finding| (finding.id, finding.count)).collect()
    };
    let (first, again, later) = (told(0, 1000), told(MINUTE, 1), told(2 * HOUR, 1));
    let counts: Vec<u64> = first.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    assert_eq!(again, []);
    assert_eq!(later, [(first[0].0.clone(), 1002)], "the same finding");
    assert_eq!(told(9 * HOUR, 1), [(first[0].0.clone(), 1)], "of which nobody heard for long: counted anew");
}

#[test]
fn what_leaks_to_one_service_by_two_rules_or_twice_the_same_is_told_apart_by_the_rule() {
    let scene = |rule: &str| Scene { rule: Some(rule.into()), ..Scene::default() };
    let leak = |number, rule| Event {
        scene: scene(rule),
        ..event(number, "app/web", number, found_in(Carrier::Request, Fate::Told))
    };
    let findings = found(&[leak(1, "a"), leak(2, "b"), leak(3, "a")]);
    let told: Vec<_> = findings.iter().map(|it| (it.rule.as_deref(), it.count, &*it.subject)).collect();
    assert_eq!(told, [(Some("a"), 2, "api.openai.com"), (Some("b"), 1, "api.openai.com")]);
}

#[test]
fn a_tool_is_told_of_when_its_definition_is_another() {
    let lists = |digest: &str, has_changed: bool| {
        What::Tool(Tool {
            server: "tools.example".into(),
            name: "search\u{202e}".into(),
            digest: digest.into(),
            has_changed,
            is_quarantined: has_changed,
        })
    };
    check("the same", &every(SECOND, [lists("aa", false), lists("aa", false)]), &[]);
    let (other, said) = ([lists("aa", false), lists("bb", false)], [lists("aa", true)]);
    check("another", &every(SECOND, other.clone()), &["tool-definition-change"]);
    check("the gateway says so", &every(SECOND, said.clone()), &["tool-definition-change"]);
    let severity = |whats: &[What]| found(&every(SECOND, whats.to_vec()))[0].severity;
    assert_eq!((severity(&other), severity(&said)), (Severity::High, Severity::Medium));
    assert!(!found(&every(SECOND, said))[0].sentence.contains('\u{202e}'), "a name steers nothing");
}

#[test]
fn what_an_earlier_process_saw_is_not_new() {
    let goes = |after, to: [u8; 4], name: Option<&str>| {
        let mut what = flow(to, 443, Phase::Whole, (10, 10));
        if let (What::Flow(flow), Some(name)) = (&mut what, name) {
            (flow.name, flow.place) = (Some(name.into()), Place::Outside);
        }
        event(after, "app/Deployment/web", after, what)
    };
    let visits = [
        goes(0, [192, 0, 2, 7], None),
        goes(1, [192, 0, 2, 9], Some("cdn.example.com")),
        goes(2, [198, 51, 100, 1], None),
    ];
    let told = |detectors: &mut Detectors| -> Vec<String> {
        let findings = visits.iter().flat_map(|event| detectors.observe(event));
        findings.filter(|it| it.detector == "new-destination").map(|it| it.subject).collect()
    };
    assert_eq!(told(&mut Detectors::default()), Vec::<String>::new(), "it is watched since a moment");
    let mut detectors = Detectors::default();
    let since = Time(BEGIN - 2 * DAY);
    for whom in ["192.0.2.7", "api.example.com", "app/Deployment/db", "node a", "\u{1b}[2J", ""] {
        detectors.remember(&"app/Deployment/web".into(), whom, since);
    }
    assert_eq!(told(&mut detectors), ["198.51.100.1"]);
}

#[test]
fn findings_are_the_same_after_a_way_through_json() {
    let mut findings = found(&every(SECOND, [found_in(Carrier::Request, Fate::Blocked)]));
    findings[0].node = Some("a".into());
    let text = serde_json::to_string(&findings).expect("findings are JSON");
    assert_eq!(serde_json::from_str::<Vec<Finding>>(&text).expect("and are read"), findings);
    assert!(text.contains("\"records\":[\"test:0\"]"), "{text}");
}

#[test]
fn the_page_of_the_documentation_is_that_of_the_catalog() {
    let page = include_str!("../../../../docs/reference/detectors.md");
    assert_eq!(page, detect::reference::page(), "make it again: see its second line");
    let mut names: Vec<_> = catalog::ALL.iter().map(|detector| detector.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), catalog::ALL.len(), "each name once");
}

#[test]
fn a_factor_moves_the_threshold_of_its_detector_and_of_no_other() {
    let scan: Vec<_> = (1..30).map(|port| flow([10, 0, 0, 9], port, Phase::Failed, (0, 0))).collect();
    let told = |detector: &str, factor: f64| {
        let factors = Factors::new([(Arc::from(detector), factor)]);
        let events = every(SECOND, scan.clone());
        let events: Vec<_> =
            events.into_iter().map(|event| Event { factors: factors.clone(), ..event }).collect();
        found(&events).iter().map(|it| (it.count, it.numbers[0].threshold)).collect::<Vec<_>>()
    };
    assert_eq!(told("beacon", 16.0), [(20, Some(20.0))]);
    assert_eq!(told("port-scan", 1.2), [(24, Some(24.0))]);
    assert_eq!(told("port-scan", 2.0), []);
    assert_eq!(told("port-scan", 0.0), [(20, Some(5.0))], "a factor is bounded: from 5 on, and last at 20");
    assert_eq!(told("port-scan", f64::NAN), [(20, Some(20.0))], "what is no number changes nothing");
}

#[test]
fn a_clock_is_told_of_with_any_factor_and_what_is_nearly_one_is_not() {
    let told = |factor: f64, jitter: u64| {
        let events: Vec<_> = (0..40)
            .map(|number: u64| {
                let noise = (number * number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
                let at = number * MINUTE + noise * jitter;
                let what = flow([192, 0, 2, 7], 443, Phase::Whole, (300, 200));
                let factors = Factors::new([(Arc::from("beacon"), factor)]);
                Event { factors, ..event(at, "app/web", number, what) }
            })
            .collect();
        !found(&events).is_empty()
    };
    assert!(told(1.0, 0) && told(16.0, 0));
    assert!(told(1.0, SECOND) && !told(16.0, SECOND));
}

#[test]
fn policies_speak_of_the_detectors_that_there_are() {
    let (tunable, facts): (Vec<&detect::Detector>, Vec<_>) =
        catalog::ALL.iter().copied().partition(|detector| detector.is_tunable());
    assert_eq!(tunable.iter().map(|it| it.name).collect::<Vec<_>>(), crds::TUNABLE);
    assert_eq!(facts.iter().map(|it| it.name).collect::<Vec<_>>(), crds::FACTS);
    let percent = crds::THRESHOLD_PERCENT;
    let bounds = [percent.start(), percent.end()].map(|bound| f64::from(*bound) / 100.0);
    assert_eq!(bounds, [detect::event::LEAST_FACTOR, detect::event::MOST_FACTOR]);
}

#[test]
fn who_is_told_of_all_the_time_pushes_nobody_else_out_of_sight() {
    let (mut detectors, mut pace, mut told) = (Detectors::default(), Pace::default(), Vec::new());
    let mut tell = |after: u64, who: &str, number: u64| {
        let name = format!("{}.drawn-{number}.com", noise(number, 60));
        for part in 0..12 {
            let event = event(after, who, number, lookup(&format!("{part}{name}"), 16, Some(0)));
            told.extend(detectors.observe(&event).into_iter().filter(|it| pace.lets(it)));
        }
    };
    (0..1000).for_each(|number| tell(number * SECOND, "app/evil", number));
    tell(2000 * SECOND, "app/web", 2000);
    tell(2 * HOUR, "app/evil", 3000);
    let tunnels =
        |who: &str| told.iter().filter(|it| it.detector == "dns-tunnel" && *it.workload == *who).count();
    assert_eq!((tunnels("app/web"), tunnels("app/evil")), (1, MOST_OF_HOUR as usize + 1));
}
