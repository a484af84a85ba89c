//! Sums of many entries: none is left out, none is counted twice, and what takes too long can be ended.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use ledger::{
    Column, Entry, EntryFilter, Field, Kind, Ledger, LedgerError, Match, Pair, Reader, SeriesBy, Span,
    Verdict,
};
use std::path::Path;
use std::time::Duration;

const ALL: Span = Span { since: 0, until: u64::MAX };
const MINUTE: u64 = 60_000_000;

fn flow(time: u64, source: &str, destination: &str, verdict: Verdict) -> Entry {
    let rule = if verdict == Verdict::Allow { "rule a" } else { "rule d" };
    let detail = (verdict == Verdict::Deny).then(|| "{}".to_owned());
    Entry {
        time,
        source: source.into(),
        destination: destination.into(),
        port: 443,
        protocol: 6,
        rule: rule.into(),
        sent: 10,
        detail,
        ..Entry::new(Kind::Flow, verdict)
    }
}

fn ledger(path: &Path) -> Reader {
    let (mut ledger, _) = Ledger::open(path).unwrap();
    let entries = [
        flow(1, "ns/a", "x.example", Verdict::Allow),
        flow(2, "ns/a", "x.example", Verdict::Allow),
        flow(MINUTE, "ns/a", "x.example", Verdict::Deny),
        flow(MINUTE + 1, "ns/b", "y%_.example", Verdict::Allow),
        Entry {
            source: "ns/a".into(),
            destination: "x.example".into(),
            ..Entry::new(Kind::Finding, Verdict::None)
        },
        Entry {
            detail: Some("{}".into()),
            source: "ns/a".into(),
            ..Entry::new(Kind::AiCall, Verdict::Allow)
        },
        Entry { detail: Some("[]".into()), source: "ns/a".into(), ..Entry::new(Kind::AiCall, Verdict::Deny) },
    ];
    ledger.append(&entries).unwrap();
    Reader::open(path).unwrap()
}

fn flows(span: Span) -> EntryFilter {
    EntryFilter { kind: Some(Kind::Flow), ..span.all() }
}

fn pairs(reader: &Reader, filter: &EntryFilter, new_since: Option<u64>) -> Vec<Pair> {
    let mut all = Vec::new();
    reader.each_pair(filter, new_since, |pair| all.push(pair)).unwrap();
    all.sort_by(|one, other| one.source.cmp(&other.source));
    all
}

#[test]
fn sums_are_of_what_a_filter_means_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let reader = ledger(&folder.path().join("ledger.db"));
    let of =
        |column, wanted: &str| EntryFilter { texts: vec![(column, Match::wanted(wanted))], ..flows(ALL) };
    let counted = |filter: &EntryFilter| {
        let points = reader.series(filter, SeriesBy::Kind, MINUTE, 10).unwrap();
        points.iter().map(|point| point.count).sum::<u64>()
    };
    for (filter, count, met) in [
        (flows(ALL), 4, 2),
        (of(Column::Source, "ns/a"), 3, 1),
        (of(Column::Source, "ns/*"), 4, 2),
        (of(Column::Source, "ns/c"), 0, 0),
        (of(Column::Rule, "rule d"), 1, 1),
        (of(Column::Node, "nowhere"), 0, 0),
        (EntryFilter { verdict: Some(Verdict::Deny), ..flows(ALL) }, 1, 1),
        (EntryFilter { verdict: Some(Verdict::Deny), ..of(Column::Source, "ns/b") }, 0, 0),
    ] {
        assert_eq!((counted(&filter), pairs(&reader, &filter, None).len()), (count, met), "{filter:?}");
        let hints = reader.hints(Field::Source, "", &filter, 10).unwrap();
        assert_eq!(hints.is_empty(), count == 0, "{filter:?}");
    }
    let rules = reader.rules(&of(Column::Source, "ns/b")).unwrap();
    assert_eq!(rules.iter().map(|it| it.rule.as_str()).collect::<Vec<_>>(), ["rule a"]);
}

#[test]
fn sums_have_all_entries_of_the_time_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let reader = ledger(&folder.path().join("ledger.db"));
    let points = |by| {
        let found = reader.series(&flows(ALL), by, MINUTE, 10).unwrap();
        found.into_iter().map(|point| (point.step, point.of, point.count)).collect::<Vec<_>>()
    };
    let own =
        |all: &[(u64, &str, u64)]| all.iter().map(|(a, b, c)| (*a, (*b).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(points(SeriesBy::Verdict), own(&[(0, "allow", 2), (1, "allow", 1), (1, "deny", 1)]));
    assert_eq!(points(SeriesBy::Kind), own(&[(0, "flow", 2), (1, "flow", 2)]));
    assert_eq!(
        points(SeriesBy::Field(Field::Source)),
        own(&[(0, "ns/a", 2), (1, "ns/a", 1), (1, "ns/b", 1)])
    );
    let pairs = pairs(&reader, &flows(ALL), None);
    assert_eq!(pairs.len(), 2);
    assert_eq!((&*pairs[0].source, pairs[0].allowed, pairs[0].denied, pairs[0].sent), ("ns/a", 2, 1, 30));
    let late = self::pairs(&reader, &flows(Span { since: MINUTE, until: MINUTE }), None);
    assert_eq!((late.len(), late[0].allowed, late[0].denied, late[0].ever_first), (1, 0, 1, 1));
    let new = self::pairs(&reader, &flows(ALL), Some(MINUTE));
    assert_eq!(new.iter().map(|pair| &*pair.source).collect::<Vec<_>>(), ["ns/b"]);
    let rules = reader.rules(&ALL.all()).unwrap();
    let rules: Vec<_> = rules.iter().map(|it| (it.rule.as_str(), it.count, it.denied, it.last)).collect();
    assert_eq!(rules, [("rule a", 3, 0, MINUTE + 1), ("rule d", 1, 1, MINUTE)]);
    assert_eq!(
        reader.findings_by_pair(&ALL.all()).unwrap(),
        [("ns/a".to_owned(), "x.example".to_owned(), 1)]
    );
}

#[test]
fn of_many_words_the_most_frequent_are_told_apart_and_no_filter_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let entry = |number: u64| Entry {
        time: number * 1000,
        source: format!("ns/{}", number % 2).into(),
        destination: if number % 5 < 2 { "often".into() } else { format!("n{number}.example").into() },
        detail: Some("{}".to_owned()),
        ..Entry::new(Kind::Dns, if number.is_multiple_of(3) { Verdict::Deny } else { Verdict::Allow })
    };
    Ledger::open(&path).unwrap().0.append(&(0..3000).map(entry).collect::<Vec<_>>()).unwrap();
    let reader = Reader::open(&path).unwrap();
    for texts in
        [vec![], vec![(Column::Source, Match::wanted("ns/1")), (Column::Any, Match::Has("N".into()))]]
    {
        let filter = EntryFilter {
            texts,
            since: Some(0),
            until: Some(2_000_000),
            verdict: Some(Verdict::Allow),
            ..EntryFilter::default()
        };
        let by = |by, most| reader.series(&filter, by, 500_000, most).unwrap();
        let all = by(SeriesBy::Verdict, 10).iter().map(|point| point.count).sum::<u64>();
        let few = by(SeriesBy::Field(Field::Destination), 3);
        assert!(few.len() <= 4 * 5 && few.iter().any(|point| point.of == "(other)"), "{few:?}");
        assert!(all > 100 && few.iter().any(|point| point.of == "often"), "{few:?}");
        assert_eq!(few.iter().map(|point| point.count).sum::<u64>(), all);
    }
}

#[test]
fn hints_begin_as_they_are_asked_for_letter_by_letter() {
    let folder = tempfile::tempdir().unwrap();
    let reader = ledger(&folder.path().join("ledger.db"));
    let hints = |field, prefix: &str| reader.hints(field, prefix, &ALL.all(), 10).unwrap();
    assert_eq!(hints(Field::Source, "ns/")[0].0, "ns/a");
    assert_eq!(hints(Field::Destination, "y%_").len(), 1);
    assert_eq!(hints(Field::Destination, "%").len(), 0);
    assert_eq!(hints(Field::Destination, "' OR 1=1 --").len(), 0);
    assert_eq!(reader.hints(Field::Source, "", &ALL.all(), 1).unwrap().len(), 1);
}

#[test]
fn calls_are_shown_newest_first_up_to_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let reader = ledger(&folder.path().join("ledger.db"));
    let shown = |most| {
        let mut shown = Vec::new();
        let more = reader.calls(&ALL.all(), most, |call| shown.push(call.detail.unwrap())).unwrap();
        (shown, more)
    };
    assert_eq!(shown(1), (vec!["[]".to_owned()], true));
    assert_eq!(shown(2), (vec!["[]".to_owned(), "{}".to_owned()], false));
}

#[test]
fn numbers_are_those_of_the_oldest_and_the_newest_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (_empty, _) = Ledger::open(&path).unwrap();
    assert_eq!(Reader::open(&path).unwrap().numbers().unwrap(), (0, 0));
    // Two flows of one window are one entry.
    assert_eq!(ledger(&path).numbers().unwrap(), (1, 6));
}

#[test]
fn what_takes_too_long_is_ended_from_another_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (mut ledger, _) = Ledger::open(&path).unwrap();
    let entry = |time| Entry { time, detail: Some("{}".into()), ..flow(time, "ns/a", "x", Verdict::Allow) };
    ledger.append(&(0..20_000).map(entry).collect::<Vec<_>>()).unwrap();
    let reader = Reader::open(&path).unwrap();
    let interrupter = reader.interrupter();
    let (done, ends) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while ends.recv_timeout(Duration::from_millis(1)).is_err() {
            interrupter.interrupt();
        }
    });
    let ended = (0..1000).find_map(|_| reader.rules(&ALL.all()).err());
    done.send(()).unwrap();
    thread.join().unwrap();
    assert!(ended.as_ref().is_some_and(LedgerError::is_interrupted), "{ended:?}");
    assert_eq!(reader.rules(&ALL.all()).unwrap().len(), 1);
}
