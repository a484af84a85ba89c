//! Entries are found by kinds, ports and parts of their texts, and paged in both directions.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use ledger::search::WORDS;
use ledger::{Column, EdgeFilter, EdgePage, Entry, EntryFilter, Kind, Ledger, Match, Order, Reader, Verdict};
use proptest::prelude::*;
use std::path::PathBuf;
use tempfile::TempDir;

const START: u64 = 1_800_000_000_000_000;

fn kept(entries: &[Entry]) -> (TempDir, PathBuf, Reader) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    Ledger::open(&path).unwrap().0.append(entries).unwrap();
    let reader = Reader::open(&path).unwrap();
    (folder, path, reader)
}

/// Each with a detail, so that none is added to another.
fn entry(number: u64, kind: Kind, source: &str, destination: &str, rule: &str) -> Entry {
    Entry {
        time: START + number,
        source: source.into(),
        destination: destination.into(),
        port: u16::try_from(number).unwrap(),
        rule: rule.into(),
        reason: "name-allowed".into(),
        detail: Some("{}".to_owned()),
        ..Entry::new(kind, Verdict::Allow)
    }
}

fn numbers(reader: &Reader, filter: &EntryFilter) -> Vec<i64> {
    reader.entries(filter).unwrap().iter().map(|it| it.id).collect()
}

fn some() -> Vec<Entry> {
    vec![
        entry(1, Kind::Flow, "ai/Job/train", "hub.example", "EgressPolicy ai/hub spec.egress[0] (a.yaml:7)"),
        entry(2, Kind::Dns, "ai/Job/train", "x.Evil.example", ""),
        entry(3, Kind::AiCall, "ai2/Job/serve", "evil.example", "EgressPolicy ai/ALL"),
        entry(4, Kind::Finding, "ai/Job/\u{10ffff}", "notevil.example", ""),
        entry(5, Kind::Audit, "local:0", "ai/Job/train", ""),
        entry(6, Kind::Flow, "%", "a_b\u{0}c\u{1b}[2J'--", ""),
    ]
}

#[test]
fn what_is_asked_for_is_found_and_nothing_else() {
    let (_folder, _path, reader) = kept(&some());
    let text = |column, wanted| EntryFilter { texts: vec![(column, wanted)], ..EntryFilter::default() };
    let (has, begins) = (|it: &str| Match::Has(it.to_owned()), |it: &str| Match::Begins(it.to_owned()));
    let cases = [
        (EntryFilter { kinds: vec![Kind::Dns, Kind::Audit], ..EntryFilter::default() }, vec![5, 2]),
        (EntryFilter { port: Some(3), ..EntryFilter::default() }, vec![3]),
        (EntryFilter { source: Some("ai/Job/train".into()), ..EntryFilter::default() }, vec![2, 1]),
        (EntryFilter { source: Some("nobody".into()), ..EntryFilter::default() }, vec![]),
        (text(Column::Source, begins("ai/")), vec![4, 2, 1]),
        (text(Column::Source, begins("ai/Job/\u{10ffff}")), vec![4]),
        (text(Column::Source, begins("")), vec![6, 5, 4, 3, 2, 1]),
        (text(Column::Source, Match::AnyOf(vec!["local:0".into(), "%".into(), "none".into()])), vec![6, 5]),
        (text(Column::Source, Match::AnyOf(Vec::new())), vec![]),
        (text(Column::Destination, Match::Below("EVIL.example".into())), vec![3, 2]),
        (text(Column::Destination, Match::Is("evil.example".into())), vec![3]),
        (text(Column::Destination, has("evil")), vec![4, 3, 2]),
        // Neither a wildcard of LIKE nor a quote means anything.
        (text(Column::Destination, has("%")), vec![]),
        (text(Column::Source, has("%")), vec![6]),
        (text(Column::Destination, has("a_b")), vec![6]),
        (text(Column::Destination, has("'--")), vec![6]),
        (text(Column::Rule, has("egresspolicy ai/")), vec![3, 1]),
        (text(Column::Any, has("train")), vec![5, 2, 1]),
        (text(Column::Reason, Match::Is("name-allowed".into())), vec![6, 5, 4, 3, 2, 1]),
        (text(Column::Node, Match::Is("name-allowed".into())), vec![]),
        (
            EntryFilter {
                kinds: vec![Kind::Flow],
                since: Some(START + 1),
                until: Some(START + 5),
                ..text(Column::Any, has("example"))
            },
            vec![1],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(numbers(&reader, &filter), expected, "{filter:?}");
    }
}

#[test]
fn requests_are_found_by_their_tools() {
    let call = |detail: &str| Entry { detail: Some(detail.into()), ..entry(1, Kind::AiCall, "a", "b", "") };
    let of = |tools: &str| call(&format!(r#"{{"operation":{{"verb":"chat","tools":{tools}}}}}"#));
    let (_folder, _path, reader) = kept(&[
        of(r#"["search","shell"]"#),
        of("[]"),
        of(r#""search""#),
        of(r#"["sh\"ell%"]"#),
        call("{}"),
        // What somebody changed.
        call(r#"{"tools": not JSON"#),
        Entry { kind: Kind::Flow, ..of(r#"["search"]"#) },
    ]);
    let found = |wanted: &str| {
        numbers(&reader, &EntryFilter { tool: Some(Match::wanted(wanted)), ..EntryFilter::default() })
    };
    assert_eq!(found("*"), [4, 3, 1]);
    assert_eq!(found("search"), [3, 1]);
    assert_eq!(found("sh*"), [4, 1]);
    assert_eq!(found("sh\"ell%"), [4]);
    assert_eq!((found("sh%"), found("' OR 1=1 --")), (vec![], vec![]));
}

#[test]
fn a_page_of_edges_ends_where_its_texts_are_as_long_as_may_be() {
    let long = "x".repeat(1000);
    let flows: Vec<_> =
        (1..6).map(|number| entry(number, Kind::Flow, "s", &format!("{number}{long}"), "r")).collect();
    let (_folder, _path, reader) = kept(&flows);
    let (mut all, mut counts, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let filter = EdgeFilter { after, ..EdgeFilter::default() };
        let EdgePage { edges, next } = reader.edge_page_within(&filter, 2000).unwrap();
        counts.push(edges.len());
        all.extend(edges);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(counts, [2, 2, 1]);
    assert_eq!(all, reader.edges(&EdgeFilter::default()).unwrap());
}

#[test]
fn edges_are_found_page_by_page_each_once() {
    let flows: Vec<_> = (0..25)
        .map(|number| Entry {
            time: 1000 + number / 5,
            port: if number == 7 { 9 } else { 443 },
            verdict: if number % 10 == 0 { Verdict::Deny } else { Verdict::Allow },
            ..entry(1, Kind::Flow, &format!("ns{}/Pod/p", number % 2), &format!("{number:02}.example"), "r")
        })
        .collect();
    let (_folder, path, reader) = kept(&flows);
    let page = |after, filter: &EdgeFilter| {
        reader.edge_page(&EdgeFilter { after, limit: Some(10), ..filter.clone() }).unwrap()
    };
    let mut ledger = Ledger::open(&path).unwrap().0;
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let EdgePage { edges, next } = page(after, &EdgeFilter::default());
        all.extend(edges);
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
        // What is new comes first, and in no later page; what is seen again stays where it is.
        let late = Entry { time: 2000 + pages, ..entry(1, Kind::Flow, "late", &format!("{pages}"), "r") };
        let again = Entry { time: 3000 + pages, ..flows[3].clone() };
        ledger.append(&[late, again]).unwrap();
    }
    assert_eq!(pages, 3);
    assert_eq!(page(None, &EdgeFilter::default()).edges[1].destination.as_ref(), "1");
    assert!(
        all.is_sorted_by(|one, next| one.first >= next.first),
        "those that were first seen last come first"
    );
    let mut names: Vec<_> = all.iter().map(|edge| &*edge.destination).collect();
    names.sort_unstable();
    assert_eq!(names, flows.iter().map(|flow| &*flow.destination).collect::<Vec<_>>());
    let text = |column, wanted: &str| EdgeFilter {
        texts: vec![(column, Match::wanted(wanted))],
        ..EdgeFilter::default()
    };
    for (filter, count) in [
        (text(Column::Source, "ns1/*"), 10),
        (EdgeFilter { texts: vec![(Column::Any, Match::Has("7.EX".into()))], ..EdgeFilter::default() }, 2),
        (text(Column::Node, "n"), 0),
        (EdgeFilter { verdict: Some(Verdict::Deny), ..EdgeFilter::default() }, 3),
        (EdgeFilter { verdict: Some(Verdict::Allow), port: Some(9), ..EdgeFilter::default() }, 1),
        (EdgeFilter { first_until: Some(1001), ..EdgeFilter::default() }, 10),
        (EdgeFilter { first_since: Some(1004), ..EdgeFilter::default() }, 5),
    ] {
        let filter = EdgeFilter { first_until: filter.first_until.or(Some(1999)), ..filter };
        assert_eq!(page(None, &filter).edges.len(), count, "{filter:?}");
    }
}

#[test]
fn pages_in_either_direction_have_every_entry_once() {
    let (_folder, path, reader) = kept(&some());
    let mut ledger = Ledger::open(&path).unwrap().0;
    let mut seen = Vec::new();
    let page =
        |after| EntryFilter { after, limit: Some(2), order: Order::OldestFirst, ..EntryFilter::default() };
    let mut added = 0;
    loop {
        let found = numbers(&reader, &page(seen.last().copied()));
        if found.is_empty() {
            break;
        }
        seen.extend(found);
        if added < 3 {
            added += 1;
            ledger.append(&[entry(90 + added, Kind::Dns, "late", "late", "")]).unwrap();
        }
    }
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
    let back = EntryFilter { before: Some(4), limit: Some(2), ..EntryFilter::default() };
    assert_eq!(numbers(&reader, &back), [3, 2]);
}

#[test]
fn words_are_looked_through_up_to_their_bound() {
    let flows: Vec<_> = (0..WORDS as u64 + 1)
        .map(|number| Entry { port: 1, ..entry(1, Kind::Flow, "a", &format!("10.0.0.{number}"), "") })
        .collect();
    let (_folder, _path, reader) = kept(&flows);
    let (found, has_more) = reader.words(|word| word.starts_with("10.0.0.")).unwrap();
    assert_eq!((found.len(), has_more), (WORDS, true));
    let (found, has_more) = reader.words(|word| word == "10.0.0.7").unwrap();
    assert_eq!((found, has_more), (vec!["10.0.0.7".to_owned()], false));
}

#[test]
fn the_blocks_of_entries_are_those_that_verification_follows() {
    let (_folder, path, reader) = kept(&some());
    let mut ledger = Ledger::open(&path).unwrap().0;
    assert_eq!(reader.seals(&[1, 6]).unwrap(), []);
    ledger.tend(START + 3_600_000_000, &ledger::Retention { age: u64::MAX, bytes: u64::MAX }).unwrap();
    ledger.append(&[entry(7, Kind::Dns, "late", "late", "")]).unwrap();
    let seals = reader.seals(&[6, 1, 7, 9999]).unwrap();
    let seal = seals.first().unwrap();
    assert_eq!((seals.len(), seal.block, seal.first, seal.last), (1, 1, 1, 6));
    assert_eq!(reader.verify().unwrap().newest.as_ref(), Some(&seal.hash));
    assert!(reader.has_block(&seal.hash).unwrap() && seal.holds());
    assert!(!ledger::Seal { last: 7, ..seal.clone() }.holds());
    assert!(!ledger::Seal { content: "\u{e9}x".to_owned(), ..seal.clone() }.holds());
    assert_eq!(reader.seals(&[7]).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against the obvious: reading every entry and looking at its texts.
    #[test]
    fn texts_are_found_as_looking_at_each_entry_finds_them(
        texts in proptest::collection::vec("[aB%_.\u{d7ff}\u{e000}]{0,3}", 1..12),
        wanted in "[ab%_.\u{d7ff}\u{e000}]{0,2}",
    ) {
        let entries: Vec<_> = texts.iter().map(|text| entry(1, Kind::Dns, text, "", "")).collect();
        let (_folder, _path, reader) = kept(&entries);
        let of = |is: &dyn Fn(&str) -> bool| -> Vec<i64> {
            let all = (1..).zip(&texts).filter(|(_, text)| is(text)).map(|(id, _)| id);
            let mut all: Vec<i64> = all.collect();
            all.reverse();
            all
        };
        let lower = |text: &str| text.to_ascii_lowercase();
        let below = format!(".{wanted}");
        let cases = [
            (Match::Is(wanted.clone()), of(&|it| it == wanted)),
            (Match::Begins(wanted.clone()), of(&|it| it.starts_with(&wanted))),
            (Match::Has(wanted.clone()), of(&|it| lower(it).contains(&wanted))),
            (Match::Below(wanted.clone()), of(&|it| lower(it) == wanted || lower(it).ends_with(&below))),
        ];
        for (wanted, expected) in cases {
            let filter = EntryFilter { texts: vec![(Column::Source, wanted)], ..EntryFilter::default() };
            prop_assert_eq!(numbers(&reader, &filter), expected, "{:?}", filter);
        }
    }
}
