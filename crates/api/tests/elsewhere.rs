//! What is asked of a store elsewhere is answered by it, or by nobody; all else by the ledger's file.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::sample;
use crate::served::{END, Served, serve, serve_asking, serve_from};
use api::Elsewhere;
use ledger::{
    BoundedStore, EdgeFilter, EdgePage, Entry, EntryFilter, LedgerError, Measure, Pair, Point, Reader,
    SeriesBy, Store, Stored, Sum, TopBy,
};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How it is called.
const NAME: &str = "clickhouse+https://ch.example:8443/security";
/// What the store is asked for.
const ASKED: [&str; 13] = [
    "/records?limit=20",
    "/records?kind=dns&verdict=deny",
    "/records?kind=ai_call&limit=3",
    "/records?kind=finding&before=500",
    "/records/77",
    "/edges?limit=5",
    "/edges?new=true&since=2026-11-26T10:30:00Z",
    "/top?by=destination",
    "/top?by=rule&measure=denied",
    "/series?since=2026-11-26T10:30:00Z",
    "/series?since=2026-11-26T10:00:00Z&until=2026-11-26T12:00:00Z&by=destination&kind=flow&step=60",
    "/graph?since=2026-11-26T10:30:00Z",
    "/graph?since=2026-11-26T10:30:00Z&fold=true&new=true",
];
/// And what it is not.
const OTHERS: [&str; 5] =
    ["/usage?since=2026-11-26T11:00:00Z", "/findings", "/incidents", "/policies", "/hints"];

type Asking = dyn Fn(&Reader) -> Result<(), LedgerError> + Send + Sync;

/// Another ledger's file in the place of a database, which may not answer.
struct Far {
    reader: Mutex<Reader>,
    before: Box<Asking>,
}

impl Far {
    fn with<T>(&self, ask: impl FnOnce(&Reader) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let reader = self.reader.lock().unwrap();
        (self.before)(&reader)?;
        ask(&reader)
    }
}

impl Store for Far {
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        self.with(|reader| reader.entries(filter))
    }

    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        self.with(|reader| reader.edge_page(filter))
    }

    fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        self.with(|reader| reader.top(by, measure, since, most))
    }
}

impl BoundedStore for Far {
    fn page(&self, filter: &EntryFilter, bytes: usize) -> Result<(Vec<Stored>, bool), LedgerError> {
        self.with(|reader| reader.page(filter, bytes))
    }

    fn edge_page_within(&self, filter: &EdgeFilter, bytes: usize) -> Result<EdgePage, LedgerError> {
        self.with(|reader| reader.edge_page_within(filter, bytes))
    }

    fn series(
        &self,
        filter: &EntryFilter,
        by: SeriesBy,
        step: u64,
        most: usize,
    ) -> Result<Vec<Point>, LedgerError> {
        self.with(|reader| reader.series(filter, by, step, most))
    }

    fn each_pair(
        &self,
        filter: &EntryFilter,
        new_since: Option<u64>,
        show: &mut dyn FnMut(Pair),
    ) -> Result<(), LedgerError> {
        self.with(|reader| reader.each_pair(filter, new_since, show))
    }

    fn missing(&self) -> Result<u64, LedgerError> {
        self.with(|reader| reader.missing())
    }
}

fn far(path: &Path, before: impl Fn(&Reader) -> Result<(), LedgerError> + Send + Sync + 'static) -> Served {
    let reader = Mutex::new(Reader::open(path).unwrap());
    serve_asking(Elsewhere::new(NAME.to_owned(), Arc::new(Far { reader, before: Box::new(before) })))
}

/// A ledger of an hour before that of the server.
fn earlier(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("earlier.db");
    let mut ledger = sample::ledger(&path, 600, END - 3600 * 1_000_000);
    let only_here = Entry {
        source: "old/Pod/one".into(),
        destination: "forgotten.example".into(),
        ..sample::entries(1, END - 3600 * 1_000_000).remove(0)
    };
    ledger.append(&[only_here]).unwrap();
    path
}

#[test]
fn records_edges_and_sums_are_those_of_the_store_and_all_else_is_the_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let path = earlier(folder.path());
    let (own, other) = (serve(), serve_from(&path));
    let server = far(&path, |_| Ok(()));
    for question in ASKED {
        let [found, there, here] = [&server, &other, &own].map(|it| it.get(question).json());
        assert_eq!(found, there, "{question}");
        assert_ne!(found, here, "{question}: it would not show who answered");
    }
    for question in OTHERS {
        assert_eq!(server.get(question).json(), own.get(question).json(), "{question}");
    }
    let gone = server.get("/records/2999");
    assert_eq!((gone.status, own.get("/records/2999").status), (404, 200));
    assert_eq!(server.get("/status").json()["ledger"]["store"], NAME);
    assert_eq!(own.get("/status").json()["ledger"]["store"], Value::Null);
}

#[test]
fn where_the_store_is_away_that_is_said_and_nothing_is_answered_instead() {
    let folder = tempfile::tempdir().unwrap();
    let path = earlier(folder.path());
    let why = "connecting to ch.example:8443: no answer within 10 s";
    let away = far(&path, |_| {
        Err(LedgerError::Store { store: NAME.to_owned(), doing: "looking for entries", why: why.to_owned() })
    });
    let own = serve();
    for question in ASKED {
        let answer = away.get(question);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{question}: {detail}");
        assert_eq!(detail, format!("{NAME}: looking for entries: {why}"), "{question}");
    }
    for question in OTHERS {
        assert_eq!(away.get(question).json(), own.get(question).json(), "{question}");
    }
    assert_eq!(away.get("/status").status, 200);
}

#[test]
fn entries_of_several_ledgers_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = earlier(folder.path());
    let several = far(&path, |_| Err(LedgerError::Several { store: NAME.to_owned(), ledgers: 3 }));
    let answer = several.get("/records");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    // To ask again changes nothing.
    assert_eq!((answer.status, answer.header("retry-after")), (409, None), "{detail}");
    assert!(detail.contains("entries of 3 ledgers") && detail.contains("ask for one node's"), "{detail}");
}
