//! Findings fold into incidents the same way each time, with states, scores and timelines from the ledger alone.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use incident::{
    Act, CLOSE, JOIN, MOST_ITEMS, SHARED, Severity, State, Story, Unclear, Unknown, View, What, timeline,
};
use ledger::{Entry, Kind, Ledger, Reader, Verdict};
use observe::Time;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

const START: u64 = 1_800_000_000_000_000;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

struct Kept {
    _folder: TempDir,
    path: PathBuf,
}

impl Kept {
    fn new(entries: &[Entry]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let kept = Self { _folder: folder, path };
        kept.add(entries);
        kept
    }

    fn add(&self, entries: &[Entry]) {
        Ledger::open(&self.path).unwrap().0.append(entries).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path).unwrap()
    }

    fn view(&self) -> View {
        View::read(&self.reader(), Time(START + HOUR)).unwrap()
    }
}

/// A finding of a detector about a subject, that began and was last seen so long after the start.
fn finding(detector: &str, workload: &str, subject: &str, severity: &str, (from, to): (u64, u64)) -> Entry {
    let detail = json!({
        "id": format!("{detector}/{workload}/{subject}"),
        "detector": detector,
        "severity": severity,
        "time": Time(START + from),
        "until": Time(START + to),
        "workload": workload,
        "subject": subject,
        "sentence": format!("{workload} did it to {subject}"),
        "numbers": [{ "name": "n", "value": 1.5 }],
        "count": 3,
        "records": ["dns:1"],
        "techniques": ["T1048"],
        "of a newer version": { "x": 1 },
    });
    Entry {
        time: START + to,
        source: workload.into(),
        destination: subject.into(),
        reason: detector.into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::Finding, Verdict::None)
    }
}

fn at(detector: &str, workload: &str, subject: &str, time: u64) -> Entry {
    finding(detector, workload, subject, "medium", (time, time))
}

fn act(what: What, on: &str, time: u64, detail: Value) -> Entry {
    let detail: Map<String, Value> = detail.as_object().unwrap().clone();
    incident::entry(Time(START + time), "local:1000", what, on, &detail)
}

/// Workloads of each incident, the incidents in any order.
fn folded(entries: &[Entry]) -> Vec<String> {
    let view = Kept::new(entries).view();
    let mut all: Vec<String> = view.cases.iter().map(|case| case.incident.workloads.join(" ")).collect();
    all.sort();
    all
}

#[test]
fn what_shares_a_name_or_a_namespace_and_time_is_one_incident_and_else_it_is_not() {
    let cases: [(&str, Vec<Entry>, &[&str]); 12] = [
        (
            "a phrase",
            vec![at("a", "x/w", "ports and so on", 0), at("a", "y/v", "ports and so on", 0)],
            &["x/w", "y/v"],
        ),
        ("one node", vec![at("a", "x/w", "node a", 0), at("a", "y/v", "node a", 0)], &["x/w y/v"]),
        ("one workload", vec![at("a", "x/w", "s", 0), at("b", "x/w", "t", JOIN)], &["x/w"]),
        ("too long between", vec![at("a", "x/w", "s", 0), at("b", "x/w", "t", JOIN + 1)], &["x/w", "x/w"]),
        (
            "bridged by one that lasted",
            vec![
                at("a", "x/w", "s", 0),
                finding("c", "x/w", "u", "low", (1, JOIN)),
                at("b", "x/w", "t", 2 * JOIN),
            ],
            &["x/w"],
        ),
        ("one subject", vec![at("a", "x/w", "s", 0), at("a", "y/v", "s", JOIN)], &["x/w y/v"]),
        ("no subject", vec![at("a", "x/w", "", 0), at("a", "y/v", "", 0)], &["x/w", "y/v"]),
        ("who was reached acts", vec![at("a", "x/w", "y/v", 0), at("b", "y/v", "t", 5)], &["x/w y/v"]),
        ("one namespace at once", vec![at("a", "x/w", "s", 0), at("a", "x/v", "t", CLOSE)], &["x/v x/w"]),
        ("and not at once", vec![at("a", "x/w", "s", 0), at("a", "x/v", "t", CLOSE + 1)], &["x/v", "x/w"]),
        ("two namespaces at once", vec![at("a", "x/w", "s", 0), at("a", "xx/w", "t", 0)], &["x/w", "xx/w"]),
        (
            "a chain",
            vec![
                at("a", "x/w", "s", 0),
                at("a", "y/v", "s", 9),
                at("b", "y/v", "t", 99),
                at("b", "z/u", "t", 999),
            ],
            &["x/w y/v z/u"],
        ),
    ];
    for (why, entries, expected) in cases {
        assert_eq!(folded(&entries), expected, "{why}");
        let backwards: Vec<Entry> = entries.into_iter().rev().collect();
        assert_eq!(folded(&backwards), expected, "{why}, told in the other order");
    }
}

#[test]
fn what_a_policy_suppresses_makes_no_incident_until_it_is_told_without() {
    let told = at("a", "x/w", "s", 0);
    let mut detail: Map<String, Value> = serde_json::from_str(told.detail.as_ref().unwrap()).unwrap();
    detail.insert("suppressed".into(), json!({ "policy": "p", "reason": "r" }));
    let suppressed = Entry { detail: Some(Value::Object(detail).to_string()), ..told.clone() };
    assert_eq!(folded(&[suppressed.clone(), suppressed.clone()]), Vec::<String>::new());
    assert_eq!(folded(&[suppressed, told]), ["x/w"]);
}

#[test]
fn a_subject_of_many_workloads_joins_none_of_them() {
    let of = |count: usize| -> Vec<Entry> {
        (0..count).map(|n| at("a", &format!("n{n}/w"), "everybody.example", 0)).collect()
    };
    assert_eq!(folded(&of(SHARED)).len(), 1);
    assert_eq!(folded(&of(SHARED + 1)).len(), SHARED + 1);
}

#[test]
fn the_same_entries_give_the_same_incidents_and_old_ids_lead_to_what_two_became() {
    let first = [at("a", "x/w", "s", 0), at("a", "y/v", "t", 60 * SECOND)];
    let kept = Kept::new(&first);
    let before = kept.view();
    assert_eq!(before.cases, Kept::new(&first).view().cases);
    let ids: Vec<&String> = before.cases.iter().map(|case| &case.incident.id).collect();
    assert_eq!(ids.len(), 2);
    // Something that joins both, and the first told again.
    kept.add(&[at("b", "x/w", "t", 90 * SECOND), finding("a", "x/w", "s", "high", (0, 100 * SECOND))]);
    let after = kept.view();
    assert_eq!(after.cases.len(), 1);
    let joined = &after.cases[0];
    assert!(ids.iter().all(|id| after.find(id) == Some(joined)), "{:?}", joined.ids);
    assert!(ids.contains(&&joined.incident.id));
    assert_eq!(joined.incident.findings.len(), 3);
    assert_eq!((joined.incident.severity, joined.findings[0].severity), (Severity::High, Severity::High));
    assert_eq!(joined.findings[0].entries, [1, 4]);
    assert_eq!(after.latest_of("y/v"), Some(joined));
    assert_eq!(after.find("0000000000000000"), None);
}

#[test]
fn a_suppressed_finding_is_counted_and_no_incident() {
    let marked = |mark: Value| {
        let entry = at("a", "x/w", "s", 0);
        let mut detail: Value = serde_json::from_str(entry.detail.as_deref().unwrap()).unwrap();
        detail["suppressed"] = mark;
        Entry { detail: Some(detail.to_string()), ..entry }
    };
    let kept = Kept::new(&[marked(json!({ "policy": "p", "reason": "known" }))]);
    let view = kept.view();
    assert_eq!((view.cases.len(), view.suppressed), (0, 1));
    // Told again when nothing suppresses it any more.
    kept.add(&[marked(Value::Null)]);
    let view = kept.view();
    assert_eq!((view.cases.len(), view.suppressed), (1, 1));
}

#[test]
fn whatever_an_entry_says_is_a_finding() {
    let details = [
        None,
        Some("{".to_owned()),
        Some("[1]".to_owned()),
        Some("null".to_owned()),
        Some(json!({ "id": 7, "time": "yesterday", "numbers": "many", "severity": "huge", "count": -1 }).to_string()),
        Some(json!({ "id": "x".repeat(100_000), "sentence": "\u{1b}[2J".repeat(1000), "records": vec!["r"; 9999] }).to_string()),
        Some(json!({ "time": Time(u64::MAX / 2), "until": Time(0) }).to_string()),
        Some("[".repeat(100_000)),
    ];
    for detail in details {
        let entry = Entry {
            time: START,
            source: "<b>/w".into(),
            reason: "odd".into(),
            detail,
            ..Entry::new(Kind::Finding, Verdict::None)
        };
        let view = Kept::new(std::slice::from_ref(&entry)).view();
        let case = &view.cases[0];
        let finding = &case.findings[0];
        assert_eq!((finding.severity, finding.workload.as_str()), (Severity::Low, "<b>/w"));
        assert!(finding.time <= finding.until && finding.sentence.len() <= incident::MAX_TEXT);
        assert!(finding.records.len() <= incident::MAX_LIST && !case.incident.title.is_empty());
    }
}

#[test]
fn what_was_done_at_another_node_is_told_and_changes_no_state() {
    let kept = Kept::new(&[at("a", "x/w", "s", 0)]);
    let id = kept.view().cases[0].incident.id.clone();
    let elsewhere = |entry: Entry| Entry { node: "node-b".into(), ..entry };
    let until = json!({ "until": Time(START + 9 * HOUR), "incident": id });
    kept.add(&[
        elsewhere(act(What::Closed, &id, 1, json!({ "text": "nothing to see" }))),
        elsewhere(act(What::Contained, "x/w", 2, until)),
        elsewhere(act(What::Acknowledged, "a/x/w/s", 3, json!({}))),
    ]);
    let view = kept.view();
    assert_eq!((view.cases[0].incident.state, view.acknowledged.len()), (State::Open, 0));
    let told = timeline(&kept.reader(), &view.cases[0]).unwrap();
    assert!(told.items.iter().any(|item| item.sentence.contains("local:1000 at node-b")), "{told:?}");
}

#[test]
fn findings_of_two_nodes_about_one_workload_are_one_incident() {
    let of =
        |node: &str, time| Entry { node: node.into(), ..at("port-scan", "x/w", "addresses and ports", time) };
    assert_eq!(folded(&[of("node-a", 0), of("node-b", SECOND)]), ["x/w"]);
}

#[test]
fn what_was_done_about_an_incident_is_its_state_and_what_comes_later_opens_it_again() {
    let kept = Kept::new(&[at("a", "x/w", "s", 0)]);
    let id = kept.view().cases[0].incident.id.clone();
    let until = |hours: u64| json!({ "until": Time(START + hours * HOUR), "incident": id });
    let nothing = || json!({});
    let steps = [
        (act(What::Acknowledged, &id, 1, json!({ "text": "I look" })), State::Acknowledged),
        (act(What::Note, &id, 2, json!({ "text": "it is <b>odd</b>" })), State::Acknowledged),
        (act(What::Contained, "x/w", 3, until(9)), State::Contained),
        // The later end counts.
        (act(What::Contained, "x/w", 4, until(2)), State::Contained),
        (act(What::Released, "x/w", 5, nothing()), State::Acknowledged),
        (act(What::Contained, "x/w", 6, until(0)), State::Acknowledged),
        // Of somebody else.
        (act(What::Contained, "z/z", 7, json!({ "until": Time(START + 9 * HOUR) })), State::Acknowledged),
        (act(What::Contained, "x/w", 8, until(9)), State::Contained),
        (act(What::ContainmentExpired, "x/w", 9, nothing()), State::Acknowledged),
        (act(What::Closed, &id, 10, json!({ "text": "done" })), State::Closed),
        (act(What::Other, &id, 11, nothing()), State::Closed),
        (act(What::Reopened, &id, 12, nothing()), State::Open),
        (act(What::Closed, &id, 13, nothing()), State::Closed),
        (at("a", "x/w", "s", 14), State::Open),
        (act(What::Closed, &id, 15, nothing()), State::Closed),
        (act(What::Unacknowledged, &id, 16, nothing()), State::Open),
    ];
    for (number, (entry, expected)) in steps.into_iter().enumerate() {
        kept.add(&[entry]);
        let view = kept.view();
        assert_eq!((view.cases.len(), view.cases[0].incident.state), (1, expected), "after step {number}");
    }
    let notes = &kept.view().cases[0].incident.notes;
    let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(texts, ["I look", "it is <b>odd</b>", "done"]);
    assert_eq!(notes[0].who, "local:1000");
    // A finding is acknowledged by itself.
    kept.add(&[act(What::Acknowledged, "a/x/w/s", 20, nothing())]);
    assert!(kept.view().acknowledged.contains("a/x/w/s"));
    kept.add(&[act(What::Unacknowledged, "a/x/w/s", 21, nothing())]);
    assert!(kept.view().acknowledged.is_empty());
}

#[test]
fn a_score_is_the_sum_of_its_parts_and_grows_with_each_reason() {
    let flow = |verdict| Entry {
        time: START,
        source: "x/w".into(),
        destination: "s".into(),
        port: 443,
        ..Entry::new(Kind::Flow, verdict)
    };
    let high = |detector: &str, subject: &str| finding(detector, "x/w", subject, "high", (0, 0));
    let mut entries = vec![finding("a", "x/w", "s", "low", (0, 0))];
    let more = [
        // Another finding of the same detector and weight says nothing more.
        (finding("a", "x/w", "s2", "low", (0, 0)), 1),
        (flow(Verdict::Deny), 2),
        (flow(Verdict::Allow), 6),
        (finding("b", "x/w", "s", "medium", (0, 0)), 24),
        (high("c", "s"), 25),
        (at("c", "x/v", "s", 0), 3),
        (high("d", "169.254.169.254"), 18),
        (high("e", "s"), 3),
    ];
    let score = |entries: &[Entry]| {
        let view = Kept::new(entries).view();
        let incident = &view.cases[0].incident;
        let sum: u64 = incident.parts.iter().map(|part| part.points).sum();
        assert_eq!((view.cases.len(), incident.score), (1, sum), "{:#?}", incident.parts);
        assert!(incident.parts.iter().all(|part| !part.why.is_empty()) && sum <= 100);
        sum
    };
    let mut before = score(&entries);
    assert_eq!(before, 10);
    for (entry, points) in more {
        entries.push(entry);
        let now = score(&entries);
        assert_eq!(now - before, points, "{:?}", entries.last());
        before = now;
    }
}

#[test]
fn a_timeline_has_all_kinds_in_order_with_changes_of_policy_and_sums_of_what_was_let_through() {
    let seconds = |count: u64| START + count * SECOND;
    let of = |kind, verdict, time, to: &str, detail: Option<&str>| Entry {
        time: seconds(time),
        source: "x/w".into(),
        destination: to.into(),
        port: 443,
        rule: "a rule (a.yaml:7)".into(),
        detail: detail.map(str::to_owned),
        ..Entry::new(kind, verdict)
    };
    let call = r#"{"method":"POST","path":"/v1/chat/completions","operation":{"model":"gpt-x"}}"#;
    let entries = [
        act(What::PolicyApplied, "policy", 0, json!({ "generation": 7, "added": ["EgressPolicy x/a", "B"] })),
        of(Kind::Flow, Verdict::Allow, 1, "hub.example", None),
        of(Kind::Dns, Verdict::Deny, 2, "evil.example", Some("{}")),
        of(Kind::AiCall, Verdict::Allow, 3, "api.example", Some(call)),
        at("tunnel", "x/w", "evil.example", 4 * SECOND),
        of(Kind::Flow, Verdict::Deny, 5, "10.0.0.9", Some("{}")),
        of(Kind::Flow, Verdict::Allow, 70, "hub.example", None),
        act(What::Contained, "x/w", 80 * SECOND, json!({ "until": Time(seconds(9999)) })),
        // Of others, and long before.
        Entry { source: "x/other".into(), ..of(Kind::Flow, Verdict::Deny, 5, "10.0.0.9", Some("{}")) },
        Entry { time: START - HOUR, ..of(Kind::Flow, Verdict::Deny, 0, "10.0.0.9", Some("{}")) },
    ];
    let kept = Kept::new(&entries);
    let view = kept.view();
    let found = timeline(&kept.reader(), &view.cases[0]).unwrap();
    let told: Vec<(&str, &str)> =
        found.items.iter().map(|it| (it.kind.name(), it.sentence.as_str())).collect();
    let expected = [
        ("audit", "policy changed to generation 7; added EgressPolicy x/a and 1 more"),
        ("flow", "x/w reached hub.example:443 2 times; sent 0 bytes, received 0"),
        ("dns", "x/w was not told of evil.example: a rule (a.yaml:7)"),
        ("ai_call", "x/w: POST /v1/chat/completions, model gpt-x at api.example"),
        ("finding", "x/w did it to evil.example"),
        ("flow", "x/w was kept from 10.0.0.9:443: a rule (a.yaml:7)"),
        ("audit", "local:1000 cut x/w off from everything until 2027-01-15T10:46:39.000000Z"),
    ];
    assert_eq!((told, found.truncated), (expected.to_vec(), false));
}

#[test]
fn a_timeline_without_room_keeps_findings_and_says_that_there_is_more() {
    let denied = |n: u64| Entry {
        time: START + n,
        source: "x/w".into(),
        destination: format!("{n}").into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    };
    let mut entries: Vec<Entry> = (0..MOST_ITEMS as u64 + 5).map(denied).collect();
    entries.push(at("scan", "x/w", "", 9999));
    let kept = Kept::new(&entries);
    let found = timeline(&kept.reader(), &kept.view().cases[0]).unwrap();
    assert_eq!((found.items.len(), found.truncated), (MOST_ITEMS, true));
    assert!(found.items.iter().any(|item| item.kind == Kind::Finding));
}

#[test]
fn many_findings_of_hostile_names_are_folded_whole() {
    let mut entries = Vec::new();
    for n in 0..20_000_u64 {
        let (workload, subject) = (format!("n{}/w{}", n % 50, n % 1000), format!("s{}", n % 3000));
        entries.push(at(&format!("d{}", n % 7), &workload, &subject, (n * 7919) % 100_000 * SECOND));
    }
    let view = Kept::new(&entries).view();
    let findings: usize = view.cases.iter().map(|case| case.findings.len()).sum();
    assert!(findings > 15_000 && !view.truncated, "{findings}");
}

#[test]
fn an_act_that_cannot_be_read_is_told_and_changes_nothing() {
    for detail in ["", "{", "[]", "{\"text\":7,\"until\":\"never\",\"incident\":{}}"] {
        let kept = Kept::new(&[
            at("a", "x/w", "s", 0),
            Entry {
                time: START + 1,
                source: "local:0".into(),
                destination: "x/w".into(),
                reason: "contained".into(),
                detail: Some(detail.to_owned()),
                ..Entry::new(Kind::Audit, Verdict::None)
            },
        ]);
        let view = kept.view();
        assert_eq!(view.cases[0].incident.state, State::Open);
        let found = timeline(&kept.reader(), &view.cases[0]).unwrap();
        assert_eq!(found.items.last().unwrap().sentence, "local:0 cut x/w off from everything");
    }
    let all = What::ALL.map(|what| What::of(what.as_str()));
    assert_eq!((all, What::of("rm -rf")), (What::ALL, What::Other));
    let stored = ledger::Stored { id: 1, entry: act(What::Note, "i", 0, json!({ "text": "t" })) };
    assert_eq!(Act::read(&stored).sentence(), "local:1000 wrote: t");
}

#[test]
fn the_beginning_of_an_id_means_an_incident_as_long_as_no_other_begins_so() {
    let apart = |number: u64| {
        at("beacon", &format!("n{number}/Job/a"), &format!("{number}.example"), number * SECOND)
    };
    let entries: Vec<Entry> = (0..17).map(apart).collect();
    let view = Kept::new(&entries).view();
    assert_eq!(view.cases.len(), 17, "ids have sixteen digits to begin with");
    let mut several = 0;
    for case in &view.cases {
        let id = &case.incident.id;
        assert_eq!(view.meant(id).unwrap().incident.id, *id);
        let begin = id.get(..1).unwrap();
        match view.meant(begin) {
            Ok(meant) => assert_eq!(meant.incident.id, *id),
            Err(unclear) => {
                assert_eq!(unclear, Unclear::Several);
                several += 1;
            }
        }
    }
    assert!(several > 1, "{several}");
    assert_eq!(view.meant("").err(), Some(Unclear::Unknown));
    assert_eq!(view.meant("z").err(), Some(Unclear::Unknown));
}

#[test]
fn a_finding_that_came_again_long_after_is_told_once_and_what_is_told_can_be_read() {
    let kept = Kept::new(&[
        at("beacon", "a/Job/a", "c2.example", 0),
        at("scan", "a/Job/a", "x.example", 5 * HOUR),
        at("beacon", "a/Job/a", "c2.example", 10 * HOUR),
    ]);
    let view = kept.view();
    assert_eq!(view.cases.len(), 1);
    let case = &view.cases[0];
    assert_eq!(case.findings.len(), 3);
    let story = Story::of(&kept.reader(), case, &Unknown).unwrap();
    let told: Vec<_> = story.findings.iter().map(|it| (it.detector.as_str(), it.time)).collect();
    assert_eq!(told, [("beacon", Time(START + 10 * HOUR)), ("scan", Time(START + 5 * HOUR))]);
    assert_eq!(serde_json::from_value::<Story>(json!(story)).unwrap(), story);
}
