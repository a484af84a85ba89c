//! A server over a sample ledger, and a client that says exactly what it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use crate::sample::{self, SampleActions};
use api::{Authenticate, Elsewhere, NotRecognised, Recognition, Role, SignOn, Who};
use ledger::Ledger;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Entries of a sample.
pub(crate) const ENTRIES: u64 = 3000;
/// When its last hour ends: 2026-11-26T12:00:00Z.
pub(crate) const END: u64 = 1_795_694_400_000_000;

/// Everybody's token is the name of their role; that of one holds until it is told that it does not.
#[derive(Default)]
pub(crate) struct Roles {
    pub(crate) is_over: AtomicBool,
}

impl Authenticate for Roles {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        let role = match token {
            "viewer" => Ok(Role::Viewer),
            "operator" => Ok(Role::Operator),
            "admin" => Ok(Role::Admin),
            "until-told" if !self.is_over.load(Ordering::Relaxed) => Ok(Role::Viewer),
            "idle" => Err(NotRecognised::NoRole("idle".into())),
            "down" => Err(NotRecognised::Unavailable("nobody answers".to_owned())),
            _ => Err(NotRecognised::Wrong),
        };
        Box::pin(std::future::ready(role.map(|role| Who { name: token.into(), role })))
    }
}

/// A server that ends with this.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) actions: Arc<SampleActions>,
    pub(crate) roles: Arc<Roles>,
    pub(crate) ledger: Ledger,
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub(crate) fn serve() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = sample::ledger(&path, ENTRIES, END);
    over((path, ledger), folder, (None, None))
}

/// The same, with a store that is asked instead of the file.
pub(crate) fn serve_asking(store: Elsewhere) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = sample::ledger(&path, ENTRIES, END);
    over((path, ledger), folder, (Some(store), None))
}

/// The same, with an identity provider by way of which people log in.
pub(crate) fn serve_signing_on(sign_on: SignOn) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = sample::ledger(&path, 10, END);
    over((path, ledger), folder, (None, Some(sign_on)))
}

/// A server over a ledger that is there already.
pub(crate) fn serve_from(path: &Path) -> Served {
    let (ledger, _) = Ledger::open(path).unwrap();
    over((path.to_owned(), ledger), tempfile::tempdir().unwrap(), (None, None))
}

fn over(
    (path, ledger): (PathBuf, Ledger),
    folder: tempfile::TempDir,
    (store, sign_on): (Option<Elsewhere>, Option<SignOn>),
) -> Served {
    let actions = Arc::new(SampleActions::default());
    let roles = Arc::new(Roles::default());
    let config = sample::config(&path, Arc::clone(&actions), Arc::<Roles>::clone(&roles));
    let config = api::Config { store, sign_on, ..config };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(api::serve(listener, config));
    Served { address, actions, roles, ledger, path, _folder: folder, _runtime: runtime }
}

impl Served {
    /// Says `METHOD PATH`, these headers, and a body.
    pub(crate) fn say(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.open(line, headers, body);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn open(&self, line: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut text = format!("{line} HTTP/1.0\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    /// GET, as a viewer.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.say(&format!("GET /api/v1{path}"), &[("authorization", "Bearer viewer")], "")
    }

    /// POST of JSON, as somebody.
    pub(crate) fn post(&self, path: &str, token: &str, body: &str) -> Answer {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        self.say(&format!("POST /api/v1{path}"), &headers, body)
    }

    /// Server-sent events, one by one.
    pub(crate) fn follow(&self, query: &str, headers: &[(&str, &str)]) -> Events {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| matches!(*name, "authorization" | "cookie")) {
            all.push(("authorization", "Bearer viewer"));
        }
        let stream = self.open(&format!("GET /api/v1/records/stream{query}"), &all, "");
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        Events(lines)
    }
}

/// What comes of a stream.
pub(crate) struct Events(BufReader<TcpStream>);

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<i64>,
    pub(crate) data: Value,
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                Some(_) => panic!("not a field of an event: {line:?}"),
                None if event.name.is_empty() => {}
                None => return Some(event),
            }
        }
    }
}
