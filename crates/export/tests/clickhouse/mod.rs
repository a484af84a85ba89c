//! Rows arrive in ClickHouse: in its engine of today (chDB, in one process, behind the HTTP that exports speak), with the tables that
//! this program makes; and at a real server, Debian's of 2018, for the wire: framing, packed bodies, log-in and refusals. What is asked
//! there is in `conforms.rs`.

mod conforms;
mod sums;

use super::{World, denial, wait};
use export::{ClickHouse, Limits, Settings, clickhouse_ddl};
use ledger::{EdgeFilter, Entry, EntryFilter, Store};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A name that would end every text that is not written as it should be.
const HOSTILE: &str = "ai/Job/\"',\\\u{1b}[2J\n\t); DROP TABLE x; ä\u{202e}";
/// Settings that came after 2018.
const NEWER: [&str; 4] = [
    "async_insert=",
    "wait_for_async_insert=",
    "deduplicate_blocks_in_dependent_materialized_views=",
    "insert_deduplication_token=",
];

/// A program that answers at a port, until it is dropped.
struct Running {
    child: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Runs a statement; its answer's rows.
    fn ask(&self, statement: &str) -> Vec<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = statement.len();
        let head = format!("POST / HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), statement.as_bytes()].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split_whitespace().nth(1) == Some("200"), "{statement}: {answer}");
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Denials, one of them with a name that means harm, so many that they are two batches.
fn world() -> World {
    let mut world = World::with(700);
    let hostile = Entry { source: HOSTILE.into(), ..denial(700, "{\"a\": \"\\\"'\\\\\"}") };
    world.ledger.append(&[hostile]).unwrap();
    world
}

/// Sends all that the world's ledger has, as if nothing had been sent before.
fn send(world: &World, url: &str, settings: &Settings, entries: u64) {
    for file in std::fs::read_dir(world.folder.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.display().to_string().contains(".export-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let exports = world.start(&[url.to_owned()], settings);
    let status = wait(&exports, |status| status.sent + status.refused == entries);
    assert_eq!((status.refused, status.problem), (0, None));
}

/// A number, which old servers write as text.
fn number(rows: &[Value]) -> u64 {
    let value = &rows[0]["n"];
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

/// The engine with our tables in a database `security`, and the database's URL; `None` where the engine is not installed.
fn engine(folder: &Path) -> Option<(Running, String)> {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-chdb/bin/python"));
    let python = std::env::var_os("COFFERDAM_CHDB_PYTHON").map_or(target, PathBuf::from);
    if !python.exists() {
        return None;
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clickhouse/engine.py");
    let mut child =
        Command::new(python).arg(program).arg(folder.join("engine")).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let engine = Running { child, port: port.trim().parse().unwrap() };
    engine.ask("CREATE DATABASE security");
    // So long that what is recorded here is not forgotten at once.
    let ddl = clickhouse_ddl("security", 20_000);
    for statement in ddl.split(";\n").filter(|it| !it.trim().is_empty()) {
        engine.ask(statement);
    }
    let url = format!("clickhouse+http://127.0.0.1:{}/security", engine.port);
    Some((engine, url))
}

#[test]
fn the_engine_of_clickhouse_has_each_row_once_also_when_all_is_sent_again() {
    let world = world();
    let Some((engine, url)) = engine(world.folder.path()) else {
        eprintln!("NOT RUN: no Python with chDB; scripts/test makes one in target/test-chdb");
        return;
    };
    send(&world, &url, &Settings::default(), 701);
    let count = "SELECT count() AS n FROM security.cofferdam_records";
    let denied = "SELECT sum(denied) AS n FROM security.cofferdam_edges";
    assert_eq!((number(&engine.ask(count)), number(&engine.ask(denied))), (701, 701));
    send(&world, &url, &Settings::default(), 701);
    assert_eq!((number(&engine.ask(count)), number(&engine.ask(denied))), (701, 701), "sent again");
    let found = engine.ask("SELECT source, detail, toUnixTimestamp64Micro(time) AS n, port FROM security.cofferdam_records WHERE number = 701");
    let [row] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&row["source"], &row["detail"]), (&HOSTILE.into(), &"{\"a\": \"\\\"'\\\\\"}".into()));
    assert_eq!((number(&found), &row["port"]), (super::START + 700, &443.into()));
    let edges =
        engine.ask("SELECT toUnixTimestamp64Micro(min(first_seen)) AS n FROM security.cofferdam_edges");
    assert_eq!(number(&edges), super::START);
}

/// Debian's server, with a user who has a password; `None` where it is not installed.
fn server(folder: &Path) -> Option<Running> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.display();
    let user = |name: &str, password: &str, profile: &str| {
        format!(
            "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks><profile>{profile}</profile>\
             <quota>default</quota></{name}>"
        )
    };
    let users = [
        user("default", "", "default"),
        user("cofferdam", "geheim", "default"),
        // Who may read and set what a query may take, and who may only read.
        user("reader", "geheim", "reads"),
        user("bound", "geheim", "bound"),
    ]
    .concat();
    let files = [
        (
            "config.xml",
            format!(
                "<yandex><logger><level>error</level><log>{at}/log</log><errorlog>{at}/errors</errorlog></logger>\
                 <http_port>{port}</http_port><listen_host>127.0.0.1</listen_host><path>{at}/data/</path>\
                 <tmp_path>{at}/tmp/</tmp_path><users_config>{at}/users.xml</users_config>\
                 <default_profile>default</default_profile><default_database>default</default_database>\
                 <mark_cache_size>5368709</mark_cache_size></yandex>"
            ),
        ),
        (
            "users.xml",
            format!(
                "<yandex><profiles><default/><reads><readonly>2</readonly></reads><bound><readonly>1</readonly></bound></profiles><users>{users}</users><quotas><default/></quotas></yandex>"
            ),
        ),
    ];
    std::fs::create_dir(folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let child = Command::new("clickhouse-server")
        .arg(format!("--config-file={at}/config.xml"))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let running = Running { child: child.ok()?, port };
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "clickhouse-server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(running)
}

/// Passes requests on to the server without the settings that it does not know, and answers as it does. Its port.
fn without_newer(server: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let (first, rest) = head.split_once(" HTTP/1.1\r\n").unwrap();
                let known: Vec<_> =
                    first.split('&').filter(|it| !NEWER.iter().any(|newer| it.starts_with(newer))).collect();
                assert_eq!(first.split('&').count(), known.len() + NEWER.len());
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let mut upstream = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let head = format!("{} HTTP/1.1\r\nconnection: close\r\n{rest}", known.join("&"));
                upstream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
                let _ = std::io::copy(&mut upstream, &mut stream);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_server_of_clickhouse_takes_packed_rows_of_who_may_and_what_it_refuses_is_told() {
    let world = world();
    let Some(server) = server(&world.folder.path().join("server")) else {
        eprintln!("NOT RUN: no clickhouse-server; scripts/setup installs Debian 12's");
        return;
    };
    // It knows no parameters of queries, and has no table: that is told, and is no empty answer.
    let direct = format!("clickhouse+http://127.0.0.1:{}/security", server.port).parse().unwrap();
    let by_port = EntryFilter { port: Some(443), ..EntryFilter::default() };
    let who = |name: &str| {
        let headers = format!("X-ClickHouse-User: {name}\nX-ClickHouse-Key: geheim\n");
        Settings { headers: Some(world.file(name, &headers)), ..Settings::default() }
    };
    let asked = ClickHouse::new(&direct, &Settings::default()).unwrap();
    for error in [asked.entries(&by_port).unwrap_err(), asked.edges(&EdgeFilter::default()).unwrap_err()] {
        assert!(error.to_string().contains("Code: "), "{error}");
    }
    // Without limits, who may only read may ask.
    let asked = ClickHouse::new(&direct, &who("bound")).unwrap();
    let error = asked.edges(&EdgeFilter::default()).unwrap_err().to_string();
    assert!(error.contains("Code: ") && !error.contains("readonly"), "{error}");
    // It knows the limits, and takes them of who may set them.
    let limited =
        |settings: &Settings| ClickHouse::new(&direct, settings).unwrap().limited(Limits::default());
    for settings in [Settings::default(), who("reader")] {
        let error = limited(&settings).edges(&EdgeFilter::default()).unwrap_err().to_string();
        assert!(error.contains("Code: ") && !error.contains("setting"), "{error}");
    }
    let error = limited(&who("bound")).edges(&EdgeFilter::default()).unwrap_err().to_string();
    assert!(error.contains("readonly mode") && error.contains("readonly = 2"), "{error}");
    let through = without_newer(server.port);
    let url = format!("clickhouse+http://127.0.0.1:{through}/security");
    let [right, wrong] = ["geheim", "falsch"].map(|password| {
        let headers = format!("X-ClickHouse-User: cofferdam\nX-ClickHouse-Key: {password}\n");
        Settings { headers: Some(world.file(password, &headers)), ..Settings::default() }
    });
    for (settings, says) in [(&wrong, "401"), (&right, "404")] {
        let exports = world.start(std::slice::from_ref(&url), settings);
        let status = wait(&exports, |status| status.problem.is_some());
        let problem = status.problem.unwrap();
        assert!(problem.contains(says) && problem.contains("Code: "), "{problem}");
        assert_eq!((status.sent, status.refused, status.waiting), (0, 0, 701));
    }
    server.ask("CREATE DATABASE security");
    // Types that it has; the columns and the key are those of today's table.
    server.ask(
        "CREATE TABLE security.cofferdam_records (id String, number UInt64, time DateTime, kind String, verdict String, \
         node String, source String, destination String, port UInt16, protocol UInt8, rule String, reason String, \
         count UInt64, bytes_sent UInt64, bytes_received UInt64, detail String) ENGINE = ReplacingMergeTree \
         PARTITION BY toYYYYMM(time) ORDER BY (kind, source, time, node, number)",
    );
    let count = "SELECT count() AS n FROM security.cofferdam_records FINAL FORMAT JSONEachRow";
    for _ in 0..2 {
        send(&world, &url, &right, 701);
        assert_eq!(number(&server.ask(count)), 701);
    }
    let found = server.ask(
        "SELECT source, detail, port FROM security.cofferdam_records FINAL WHERE number = 701 FORMAT JSONEachRow",
    );
    let [row] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&row["source"], &row["detail"]), (&HOSTILE.into(), &"{\"a\": \"\\\"'\\\\\"}".into()));
    assert_eq!(row["port"], 443);
}
