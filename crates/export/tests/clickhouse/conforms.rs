//! One suite of questions for the ledger and for ClickHouse, over the same entries: the answers must be the same.

use super::super::stub::{Collector, answer};
use super::super::{START, World};
use super::sums::{same_pairs, same_series, same_sums};
use super::{HOSTILE, engine, send};
use export::{ClickHouse, Limits, Settings, Target, once};
use ledger::{
    BoundedStore, Column, Edge, EdgeFilter, Entry, EntryFilter, Kind, Match, Measure, Order, Reader,
    SeriesBy, Store, Stored, TopBy, Verdict,
};
use std::cmp::Reverse;
use std::net::TcpListener;
use std::time::Duration;

pub(super) const SECOND: u64 = 1_000_000;
const START_SECONDS: u64 = START / SECOND;
/// How long connections are summed up in one entry.
pub(super) const WINDOW: u64 = 15 * SECOND;
/// Names that would end, or begin, something else than a text.
const NAMES: [&str; 8] = [
    HOSTILE,
    "ai/Job/train",
    "ai/Job/tr'ain\\",
    "{p0:String}\t\\N",
    "%",
    "x.Evil.example",
    "a_b\u{0}c'--",
    "\u{10ffff}ärger",
];

/// Entries of all kinds and verdicts, of two months, of two nodes.
fn recorded() -> Vec<Entry> {
    let verdicts = [Verdict::Allow, Verdict::Deny, Verdict::Allow, Verdict::Fail, Verdict::None];
    let tools = [r#"["search","shell"]"#, "[]", r#"["sh\"ell%"]"#];
    let entry = |number: usize| {
        let kind = [Kind::Flow, Kind::Flow, Kind::Dns, Kind::Tls, Kind::AiCall, Kind::Finding, Kind::Audit]
            [number % 7];
        let far = if number.is_multiple_of(2) { 0 } else { 40 * 24 * 3600 * SECOND };
        let amount = u64::try_from(number).unwrap();
        let detail = match kind {
            Kind::AiCall if number.is_multiple_of(5) => r#"{"tools": not JSON"#.to_owned(),
            Kind::AiCall => format!(r#"{{"operation":{{"verb":"chat","tools":{}}}}}"#, tools[number % 3]),
            Kind::Flow | Kind::Dns | Kind::Tls | Kind::Finding | Kind::Audit => {
                format!(r#"{{"number": {number}, "a": "\\'"}}"#)
            }
        };
        Entry {
            time: START + far + amount * WINDOW + amount,
            node: ["node-1", "node-2"][number % 2].into(),
            source: NAMES[number % 8].into(),
            destination: if number.is_multiple_of(11) { "".into() } else { NAMES[number / 8 % 8].into() },
            port: [443, 0, 53, 8080][number % 4],
            protocol: [6, 17][number % 2],
            rule: ["", "EgressPolicy ai/hub spec.egress[0] (a.yaml:7)", "EgressPolicy ai/ALL"][number % 3]
                .into(),
            reason: ["isolated", "name-allowed"][number % 2].into(),
            count: amount % 6,
            // As much as a node may claim.
            sent: if number == 70 { u64::MAX } else { amount * 1000 },
            received: amount * 7,
            // Those without are sums.
            detail: (number % 3 != 1 || kind == Kind::AiCall).then_some(detail),
            ..Entry::new(kind, verdicts[number % 5])
        }
    };
    (0..300).map(entry).collect()
}

fn text(column: Column, wanted: Match) -> EntryFilter {
    EntryFilter { texts: vec![(column, wanted)], ..EntryFilter::default() }
}

/// Questions of which some entries are meant.
pub(super) fn some() -> Vec<EntryFilter> {
    let (has, begins) = (|it: &str| Match::Has(it.to_owned()), |it: &str| Match::Begins(it.to_owned()));
    let tool = |wanted: &str| EntryFilter { tool: Some(Match::wanted(wanted)), ..EntryFilter::default() };
    let mut all = vec![
        EntryFilter { kinds: vec![Kind::Flow], verdict: Some(Verdict::Deny), ..EntryFilter::default() },
        EntryFilter {
            kinds: vec![Kind::Flow, Kind::AiCall],
            kind: Some(Kind::AiCall),
            ..EntryFilter::default()
        },
        EntryFilter { port: Some(0), ..EntryFilter::default() },
        EntryFilter { port: Some(53), order: Order::OldestFirst, limit: Some(5), ..EntryFilter::default() },
        EntryFilter { since: Some(START + 100 * WINDOW + 100), ..EntryFilter::default() },
        EntryFilter {
            until: Some(START + 100 * WINDOW + 100),
            since: Some(START + 5),
            ..EntryFilter::default()
        },
        EntryFilter { since: Some(START + 1), until: Some(u64::MAX), ..EntryFilter::default() },
        EntryFilter { source: Some(HOSTILE.into()), destination: Some("%".into()), ..EntryFilter::default() },
        EntryFilter { before: Some(200), after: Some(100), ..EntryFilter::default() },
        EntryFilter { limit: Some(1), ..EntryFilter::default() },
        text(Column::Any, begins("")),
        text(Column::Source, begins("ai/")),
        text(Column::Source, begins("\u{10ffff}")),
        text(Column::Source, Match::AnyOf(NAMES[1..5].iter().map(|it| (*it).to_owned()).collect())),
        text(Column::Destination, Match::Below("EVIL.example".into())),
        text(Column::Destination, Match::Below("example".into())),
        text(Column::Destination, has("%")),
        text(Column::Destination, has("'--")),
        text(Column::Source, has("a_b\u{0}C")),
        text(Column::Rule, has("egresspolicy AI/")),
        text(Column::Any, has("TRAIN")),
        text(Column::Any, has("ÄRGER".to_lowercase().as_str())),
        text(Column::Reason, Match::Is("isolated".into())),
        text(Column::Node, Match::wanted("node-2")),
        tool("*"),
        tool("search"),
        tool("sh*"),
        tool("sh\"ell%"),
        EntryFilter {
            kinds: vec![Kind::Flow, Kind::Dns],
            texts: vec![
                (Column::Any, has("i/")),
                (Column::Rule, Match::wanted("EgressPolicy*")),
                (Column::Node, begins("node")),
            ],
            since: Some(START + SECOND),
            port: Some(443),
            ..EntryFilter::default()
        },
    ];
    for kind in Kind::ALL {
        all.push(EntryFilter { kind: Some(kind), ..EntryFilter::default() });
    }
    for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Fail, Verdict::None] {
        all.push(EntryFilter { verdict: Some(verdict), ..EntryFilter::default() });
    }
    all.extend(NAMES.map(|name| text(Column::Source, Match::Is(name.to_owned()))));
    all
}

/// Questions of which no entry is meant.
pub(super) fn none() -> Vec<EntryFilter> {
    let has = |it: &str| Match::Has(it.to_owned());
    vec![
        text(Column::Source, Match::Is("nobody".into())),
        text(Column::Source, Match::AnyOf(Vec::new())),
        text(Column::Source, Match::Is("ai/Job/trai_".into())),
        text(Column::Source, Match::Is("AI/Job/train".into())),
        text(Column::Any, has("ÄRGER")),
        text(Column::Node, Match::Is("isolated".into())),
        text(Column::Destination, Match::Below("vil.example".into())),
        EntryFilter { tool: Some(Match::wanted("sh%")), ..EntryFilter::default() },
        EntryFilter { tool: Some(Match::wanted("' OR 1=1 --")), ..EntryFilter::default() },
        EntryFilter { tool: Some(Match::wanted("*")), kind: Some(Kind::Flow), ..EntryFilter::default() },
        EntryFilter { since: Some(u64::MAX), ..EntryFilter::default() },
        EntryFilter { until: Some(START - 1), ..EntryFilter::default() },
        EntryFilter { limit: Some(0), ..EntryFilter::default() },
        EntryFilter { before: Some(i64::MIN), ..EntryFilter::default() },
    ]
}

/// All pages of entries, each asked for by where the one before ended.
fn pages(store: &dyn Store, order: Order) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let end = all.last().map(|it| it.id);
        let (before, after) = if order == Order::NewestFirst { (end, None) } else { (None, end) };
        let filter = EntryFilter { before, after, order, limit: Some(90), ..EntryFilter::default() };
        let page = store.entries(&filter).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The same by how many bytes there is room for: each page has an entry, and says whether it ended for that.
fn narrow_pages(store: &dyn BoundedStore, order: Order) -> Vec<Stored> {
    let (mut all, mut cut): (Vec<Stored>, u32) = (Vec::new(), 0);
    loop {
        let end = all.last().map(|it| it.id);
        let (before, after) = if order == Order::NewestFirst { (end, None) } else { (None, end) };
        let (page, is_cut) =
            store.page(&EntryFilter { before, after, order, ..EntryFilter::default() }, 10_000).unwrap();
        assert!(page.len() < 200 && !(is_cut && page.is_empty()), "{} entries, {is_cut}", page.len());
        all.extend(page);
        cut += u32::from(is_cut);
        if !is_cut {
            assert!(cut > 1, "{cut}");
            return all;
        }
    }
}

fn same_entries(ledger: &Reader, other: &dyn BoundedStore) {
    let all = Store::entries(ledger, &EntryFilter::default()).unwrap();
    assert_eq!(other.entries(&EntryFilter::default()).unwrap(), all);
    for filter in some() {
        let found = Store::entries(ledger, &filter).unwrap();
        assert_eq!(other.entries(&filter).unwrap(), found, "{filter:?}");
        assert!(!found.is_empty(), "nothing is asked by {filter:?}");
    }
    for filter in none() {
        assert_eq!(Store::entries(ledger, &filter).unwrap(), [], "{filter:?}");
        assert_eq!(other.entries(&filter).unwrap(), [], "{filter:?}");
    }
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let paged = pages(other, order);
        assert_eq!((&paged, paged.len()), (&pages(ledger, order), all.len()));
        for store in [ledger as &dyn BoundedStore, other] {
            assert_eq!(narrow_pages(store, order), paged);
        }
    }
    assert_eq!((BoundedStore::missing(ledger).unwrap(), other.missing().unwrap()), (0, 0));
}

/// Edges in one order where the stores may differ, and as last seen when the sum began that they were last seen in.
fn comparable(mut edges: Vec<Edge>, sums: &[u64]) -> Vec<Edge> {
    assert!(edges.is_sorted_by_key(|edge| Reverse(edge.first)));
    edges.sort_by(|one, other| {
        let key =
            |it: &Edge| (Reverse(it.first), it.source.clone(), it.destination.clone(), it.port, it.protocol);
        key(one).cmp(&key(other))
    });
    for edge in &mut edges {
        if let Some(begun) = sums.iter().find(|begun| (**begun..**begun + WINDOW).contains(&edge.last)) {
            edge.last = *begun;
        }
    }
    edges
}

fn same_edges(ledger: &Reader, other: &dyn BoundedStore, grown: u64) {
    let all = EdgeFilter::default();
    let of = |column, wanted: &str| EdgeFilter {
        texts: vec![(column, Match::wanted(wanted))],
        ..EdgeFilter::default()
    };
    let filters = [
        all.clone(),
        EdgeFilter { source: Some(HOSTILE.into()), ..all.clone() },
        EdgeFilter { destination: Some("{p0:String}\t\\N".into()), ..all.clone() },
        EdgeFilter { port: Some(443), verdict: Some(Verdict::Deny), ..all.clone() },
        EdgeFilter { verdict: Some(Verdict::Allow), ..all.clone() },
        EdgeFilter { first_since: Some(START + 50 * WINDOW), ..all.clone() },
        EdgeFilter {
            first_since: Some(START + 14 * WINDOW + 14),
            first_until: Some(START + 42 * WINDOW + 42),
            ..all.clone()
        },
        EdgeFilter { last_since: Some(START + 294 * WINDOW + 294), ..all.clone() },
        of(Column::Rule, "EgressPolicy ai/ALL"),
        of(Column::Source, "ai/*"),
        EdgeFilter { texts: vec![(Column::Any, Match::Has("TRAIN".into()))], limit: Some(4), ..all.clone() },
    ];
    for filter in filters {
        let found = comparable(Store::edges(ledger, &filter).unwrap(), &[grown]);
        assert_eq!(comparable(other.edges(&filter).unwrap(), &[grown]), found, "{filter:?}");
        assert!(!found.is_empty(), "nothing is asked by {filter:?}");
    }
    for filter in [of(Column::Node, "*"), of(Column::Reason, "isolated"), of(Column::Source, "nobody")] {
        assert_eq!(
            (Store::edges(ledger, &filter).unwrap(), other.edges(&filter).unwrap()),
            (vec![], vec![]),
            "{filter:?}"
        );
    }
    let file: &dyn BoundedStore = ledger;
    for store in [file, other] {
        let whole = store.edges(&all).unwrap();
        // By how many are asked for, and by how many bytes there is room for.
        for (limit, bytes) in [(Some(10), usize::MAX), (None, 500)] {
            let (mut paged, mut pages) = (Vec::new(), 0);
            let mut after = None;
            loop {
                let page =
                    store.edge_page_within(&EdgeFilter { after, limit, ..all.clone() }, bytes).unwrap();
                paged.extend(page.edges);
                pages += 1;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert!(pages > 2, "{pages}");
            assert_eq!(paged, whole);
        }
    }
    let first = EdgeFilter { limit: Some(1), ..all.clone() };
    for (one, next) in [(other, file), (file, other)] {
        let after = one.edge_page(&first).unwrap().next;
        let refused = next.edge_page(&EdgeFilter { after, ..all.clone() }).unwrap_err();
        assert!(after.is_some() && refused.to_string().contains("another store"), "{refused}");
    }
}

#[test]
fn clickhouse_gives_the_answers_of_the_ledger_whose_entries_it_has() {
    let mut world = World::new();
    let folder = world.folder.path().to_owned();
    let Some((engine, url)) = engine(&folder) else {
        eprintln!("NOT RUN: no Python with chDB; scripts/test makes one in target/test-chdb");
        return;
    };
    world.ledger.append(&recorded()).unwrap();
    // A sum that grows, with another rule in between: it is seen last when its window is nearly over.
    let grown = (START + 500 * WINDOW) / WINDOW * WINDOW;
    for later in [0, 5, 9] {
        let sum = Entry {
            time: grown + later * SECOND,
            source: "ai/Pod/sums".into(),
            destination: "hub.example".into(),
            port: 443,
            rule: "r".into(),
            ..Entry::new(Kind::Flow, Verdict::Allow)
        };
        world.ledger.append(&[sum]).unwrap();
    }
    let target: Target = url.parse().unwrap();
    let unlimited = ClickHouse::new(&target, &Settings::default()).unwrap();
    let clickhouse = ClickHouse::new(&target, &Settings::default()).unwrap().limited(Limits::default());
    assert_eq!(
        (
            clickhouse.entries(&EntryFilter::default()).unwrap(),
            clickhouse.edges(&EdgeFilter::default()).unwrap()
        ),
        (vec![], vec![])
    );
    send(&world, &url, &Settings::default(), 301);
    let ledger = Reader::open(&world.path).unwrap();
    same_entries(&ledger, &clickhouse);
    same_edges(&ledger, &clickhouse, grown);
    same_sums(&ledger, &clickhouse);
    same_series(&ledger, &clickhouse);
    same_pairs(&ledger, &clickhouse);
    same_entries(&ledger, &unlimited);
    // In other batches: rows that are there twice.
    once(&ledger, 150, &target, &Settings::default()).unwrap();
    same_entries(&ledger, &clickhouse);
    same_sums(&ledger, &clickhouse);
    same_series(&ledger, &clickhouse);
    same_pairs(&ledger, &clickhouse);

    let other = World::with(3);
    send(&other, &url, &Settings::default(), 3);
    let refused = clickhouse.entries(&EntryFilter { limit: Some(1), ..EntryFilter::default() }).unwrap_err();
    assert!(refused.to_string().contains("entries of 2 ledgers"), "{refused}");
    let one = text(Column::Reason, Match::Is("name-allowed".into()));
    assert_eq!(clickhouse.entries(&one).unwrap(), Store::entries(&ledger, &one).unwrap());

    // What was forgotten before it was sent, of two ledgers; one said so twice.
    for (id, time, ledger, records) in
        [("lost-9-4", 1, "a", 4), ("lost-9-4", 2, "a", 4), ("lost-9-4", 3, "b", 3)]
    {
        engine.ask(&format!(
            "INSERT INTO security.cofferdam_records (id, number, time, kind, count, ledger) VALUES ('{id}', 9, \
             toDateTime64({START_SECONDS} + {time}, 6, 'UTC'), 'lost', {records}, '{ledger}')"
        ));
    }
    assert_eq!((clickhouse.missing().unwrap(), unlimited.missing().unwrap()), (7, 7));
}

#[test]
fn a_question_that_takes_more_than_it_may_is_an_error_and_never_a_shorter_answer() {
    let mut world = World::new();
    let folder = world.folder.path().to_owned();
    let Some((engine, url)) = engine(&folder) else {
        eprintln!("NOT RUN: no Python with chDB; scripts/test makes one in target/test-chdb");
        return;
    };
    world.ledger.append(&recorded()).unwrap();
    send(&world, &url, &Settings::default(), 300);
    let target: Target = url.parse().unwrap();
    let all = EntryFilter::default();
    let of = |limits| ClickHouse::new(&target, &Settings::default()).unwrap().limited(limits);
    let little = of(Limits { memory: 1000, ..Limits::default() });
    let edges = little.edge_page_within(&EdgeFilter::default(), usize::MAX).map(|_| ());
    let top = little.top(TopBy::Source, Measure::Bytes, 0, 10).map(|_| ());
    let series = little.series(&all, SeriesBy::Kind, SECOND, 10).map(|_| ());
    let pairs = little.each_pair(&all, None, &mut |pair| panic!("{pair:?}"));
    for refused in [little.entries(&all).map(|_| ()), edges, top, series, pairs] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("Code: 241.") && error.contains("emory limit"), "{error}");
    }
    // A server whose profile has less given instead of an error.
    engine.ask("SET max_result_rows = 7, max_block_size = 2, result_overflow_mode = 'break'");
    let error = of(Limits::default()).entries(&all).unwrap_err().to_string();
    assert!(error.contains("Code: 396."), "{error}");
    // The same of the set in which entries of a page are looked up.
    engine.ask("SET max_result_rows = 0, max_rows_in_set = 2, set_overflow_mode = 'break'");
    let error = of(Limits::default()).entries(&all).unwrap_err().to_string();
    assert!(error.contains("Code: 191."), "{error}");
    // One that lets nobody set anything.
    engine.ask("SET max_rows_in_set = 0");
    engine.ask("SET readonly = 1");
    let error = of(Limits::default()).entries(&all).unwrap_err().to_string();
    assert!(error.contains("Code: 164.") && error.contains("readonly = 2"), "{error}");
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_longer_than_a_question_may_take() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("clickhouse+http://{}/security", silent.local_addr().unwrap());
    let limits = Limits { time: Duration::from_secs(1), ..Limits::default() };
    let asked = ClickHouse::new(&Target::store(&url).unwrap(), &Settings::default()).unwrap().limited(limits);
    let error = asked.entries(&EntryFilter::default()).unwrap_err().to_string();
    assert!(error.contains("looking for entries: no answer within 3 s"), "{error}");
}

#[test]
fn limits_are_sent_with_each_question_and_nothing_is_where_there_are_none() {
    let collector = Collector::start(&[answer("200 OK", "", ""), answer("200 OK", "", "[0]\n")]);
    let target = Target::store(&collector.url("clickhouse+", "/security")).unwrap();
    let unlimited = ClickHouse::new(&target, &Settings::default()).unwrap();
    assert_eq!(unlimited.entries(&EntryFilter::default()).unwrap(), []);
    let limited = unlimited.limited(Limits { time: Duration::from_secs(7), memory: 9 << 20 });
    assert_eq!(limited.missing().unwrap(), 0);
    let asked = collector.asked();
    let [before, after] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(before.path, "/?wait_end_of_query=1");
    for setting in [
        "max_execution_time=7",
        "max_memory_usage=9437184",
        "timeout_overflow_mode=throw",
        "set_overflow_mode=throw",
        "result_overflow_mode=throw",
    ] {
        assert!(after.path.split('&').any(|part| part == setting), "{}: {setting}", after.path);
    }
}

#[test]
fn a_page_ends_where_there_is_no_more_room_and_the_rest_is_not_read() {
    let row = |number: u32| {
        format!("[{number},\"1\",\"flow\",\"deny\",\"n\",\"s\",\"d\",443,6,\"\",\"\",\"1\",2,3,\"\",1]\n")
    };
    let rows: String = (1..=9).rev().map(row).collect();
    let cut = format!("{rows}[0,\"1\",\"fl");
    // An answer that is longer than any may be, and breaks off.
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{rows}");
    for (answer, bytes, says) in [
        (answer("200 OK", "", &rows), usize::MAX, Ok((9, false))),
        (answer("200 OK", "", &rows), rows.len(), Ok((9, false))),
        (answer("200 OK", "", &rows), 1, Ok((1, true))),
        (answer("200 OK", "", &rows), 60, Ok((2, true))),
        (long, 60, Ok((2, true))),
        (answer("200 OK", "", &cut), 60, Ok((2, true))),
        (answer("200 OK", "", &cut), usize::MAX, Err("no row")),
    ] {
        let collector = Collector::start(&[answer]);
        let target = Target::store(&collector.url("clickhouse+", "/security")).unwrap();
        let asked = ClickHouse::new(&target, &Settings::default()).unwrap();
        match (asked.page(&EntryFilter::default(), bytes), says) {
            (Ok((found, is_cut)), Ok(says)) => assert_eq!((found.len(), is_cut), says, "{bytes}"),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (found, says) => panic!("{found:?}, and not {says:?}"),
        }
    }
}

#[test]
fn an_answer_that_is_none_is_an_error_and_never_a_shorter_answer() {
    let row = r#"[7,"1","flow","deny","n","s","d",443,6,"","","1",2,3,"",1]"#;
    for (answer, says) in [
        (answer("200 OK", "", &format!("{row}\n{row}\n")), Ok(2)),
        (answer("200 OK", "", ""), Ok(0)),
        (answer("200 OK", "", &format!("{row}\nCode: 241. DB::Exception: Memory limit")), Err("no row")),
        (answer("200 OK", "", r#"[7,"1","flow","#), Err("no row")),
        (answer("200 OK", "", r#"[7,"1","flow"]"#), Err("ends early")),
        (answer("200 OK", "", &row.replace("flow", "lost")), Err("wrong value")),
        (answer("200 OK", "", &row.replace("443", "70000")), Err("wrong number")),
        (
            answer("500 Internal Server Error", "", "Code: 60. no\u{1b} table"),
            Err("500 Internal Server Error: Code: 60. no  table"),
        ),
        (answer("403 Forbidden", "", ""), Err("403 Forbidden")),
        (
            answer("307 Temporary Redirect", "location: http://x.example/\r\n", ""),
            Err("307 Temporary Redirect"),
        ),
        (answer("200 OK", "", &"x".repeat((64 << 20) + 1)), Err("more than 67108864 bytes")),
        (String::new(), Err("connection lost")),
    ] {
        let collector = Collector::start(&[answer]);
        let headers = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(headers.path(), "X-ClickHouse-Key: geheim\n").unwrap();
        let settings = Settings { headers: Some(headers.path().to_owned()), ..Settings::default() };
        let target = Target::store(&collector.url("clickhouse+", "/security")).unwrap();
        let found = ClickHouse::new(&target, &settings).unwrap().entries(&EntryFilter::default());
        match (found, says) {
            (Ok(found), Ok(count)) => assert_eq!(found.len(), count),
            (Err(error), Err(says)) => {
                let error = error.to_string();
                assert!(
                    error.contains(says)
                        && error.contains("looking for entries")
                        && !error.contains("geheim"),
                    "{error}"
                );
            }
            (found, says) => panic!("{found:?}, and not {says:?}"),
        }
        assert_eq!(collector.asked()[0].headers["x-clickhouse-key"], "geheim");
    }
    assert!(
        Target::store("https://logs.example/")
            .unwrap_err()
            .to_string()
            .contains("only ClickHouse can be asked")
    );
    let far = Target::store("clickhouse+http://ch.example/").unwrap();
    let headers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(headers.path(), "X-ClickHouse-Key: geheim\n").unwrap();
    let settings = Settings { headers: Some(headers.path().to_owned()), ..Settings::default() };
    let error = ClickHouse::new(&far, &settings).unwrap_err().to_string();
    assert!(error.contains("readable on the way"), "{error}");
}
