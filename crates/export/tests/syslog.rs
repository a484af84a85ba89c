//! Messages of RFC 5424 arrive over UDP, TCP and TLS, and HTTP over TLS goes to who shows a certificate of the right authority.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod stub;

use export::{Exports, Settings, SinkStatus, Target};
use ledger::{Entry, Kind, Ledger, Verdict};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap().0;
        Self { _folder: folder, path, ledger }
    }

    fn add(&mut self, source: &str, detail: &str) {
        let entry = Entry {
            time: 1_700_000_000_000_000,
            node: "node-1".into(),
            source: source.into(),
            detail: Some(detail.to_owned()),
            ..Entry::new(Kind::Finding, Verdict::None)
        };
        self.ledger.append(&[entry]).unwrap();
    }

    fn start(&self, url: &str, settings: &Settings) -> Exports {
        let target: Target = url.parse().unwrap();
        let exports = Exports::new(&self.path, &[target], settings).unwrap();
        exports.begin().unwrap();
        exports
    }
}

fn wait(exports: &Exports, until: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = exports.status().remove(0);
        if until(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One message, held to the grammar of RFC 5424, section 6: the value of `source`, and the JSON.
fn check(message: &str) -> (String, serde_json::Value) {
    let (head, rest) = message.split_once(" [").unwrap();
    let fields: Vec<&str> = head.split(' ').collect();
    let [priority, time, host, app, process, id] = fields[..] else { panic!("{head:?}") };
    assert_eq!((priority, app, process, id), ("<107>1", "cofferdam", "-", "finding"));
    assert_eq!((time, host), ("2023-11-14T22:13:20.000000Z", "node-1"));
    let (data, json) = rest.split_once("] {").unwrap();
    let mut values = data.split(' ');
    assert_eq!(values.next(), Some("cofferdam@32473"));
    let source = values.find_map(|pair| pair.strip_prefix("source=")).unwrap();
    (source.trim_matches('"').to_owned(), serde_json::from_str(&format!("{{{json}")).unwrap())
}

/// Reads one message with its length before it.
fn counted(reader: &mut impl BufRead) -> Option<String> {
    let mut length = Vec::new();
    if reader.read_until(b' ', &mut length).unwrap_or(0) == 0 {
        return None;
    }
    let length = std::str::from_utf8(&length).unwrap().trim_end_matches(' ');
    assert!(!length.starts_with('0'), "{length}");
    let mut message = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut message).unwrap();
    Some(String::from_utf8(message).unwrap())
}

#[test]
fn a_datagram_has_one_message_and_no_more_than_fits() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut world = World::new();
    world.add("ai/a", "{\"x\": 1}");
    world.add("ai/b", &format!("{{\"x\": \"{}\"}}", "y".repeat(9000)));
    let exports =
        world.start(&format!("syslog+udp://{}", server.local_addr().unwrap()), &Settings::default());
    let receive = || {
        let mut buffer = [0; 65_536];
        let length = server.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap())
    };
    let (source, whole) = receive();
    assert_eq!((source.as_str(), &whole["detail"]["x"]), ("ai/a", &1.into()));
    let (source, short) = receive();
    assert_eq!(
        (source.as_str(), &short["detail"], &short["detail_left_out"]),
        ("ai/b", &serde_json::Value::Null, &true.into())
    );
    wait(&exports, |status| status.sent == 2);
}

#[test]
fn a_stream_has_lengths_and_a_server_that_closed_it_is_connected_to_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::new();
    world.add("ai/a", "{\"x\": \"ä\\n\"}");
    world.add("ai/b", "{}");
    let exports =
        world.start(&format!("syslog+tcp://{}", server.local_addr().unwrap()), &Settings::default());
    let (stream, _) = server.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (source, whole) = check(&counted(&mut reader).unwrap());
    assert_eq!((source.as_str(), &whole["detail"]["x"]), ("ai/a", &"ä\n".into()));
    assert_eq!(check(&counted(&mut reader).unwrap()).0, "ai/b");
    wait(&exports, |status| status.sent == 2);
    drop(reader);
    world.add("ai/c", "{}");
    let (stream, _) = server.accept().unwrap();
    assert_eq!(check(&counted(&mut BufReader::new(stream)).unwrap()).0, "ai/c");
    wait(&exports, |status| status.sent == 3);
}

/// A server's side of TLS, and a file with its authority.
fn identity(folder: &std::path::Path) -> (Arc<ServerConfig>, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config), file)
}

/// A stream with TLS that is read and written by turns.
struct Secured(Mutex<StreamOwned<ServerConnection, TcpStream>>);

impl Secured {
    fn accept(server: &TcpListener, config: &Arc<ServerConfig>) -> Self {
        let (stream, _) = server.accept().unwrap();
        Self(Mutex::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)))
    }
}

impl Read for &Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap().read(buffer)
    }
}

impl Write for &Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

#[test]
fn tls_goes_to_whom_the_authority_vouches_for_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = identity(folder.path());
    let trusting = Settings { authorities: Some(authority), ..Settings::default() };
    for scheme in ["syslog+tls", "https"] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut world = World::new();
        world.add("ai/a", "{}");
        // Another name, and an authority that vouches for others only.
        for (host, settings) in [("127.0.0.1", &trusting), ("localhost", &Settings::default())] {
            let exports = world.start(&format!("{scheme}://{host}:{port}"), settings);
            let mut byte = [0];
            let read = (&Secured::accept(&server, &config)).read(&mut byte);
            assert!(!matches!(read, Ok(1..)), "{scheme} {host}");
            let status = wait(&exports, |status| status.problem.is_some());
            let problem = status.problem.unwrap();
            assert!(problem.contains("TLS with") && status.sent == 0, "{problem}");
            drop(exports);
            // What it tried meanwhile.
            server.set_nonblocking(true).unwrap();
            while server.accept().is_ok() {}
            server.set_nonblocking(false).unwrap();
        }
        let exports = world.start(&format!("{scheme}://localhost:{port}"), &trusting);
        let stream = Secured::accept(&server, &config);
        if scheme == "https" {
            let asked = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                scope.spawn(|| stub::serve(&stream, &asked, &Mutex::new(VecDeque::new())));
                wait(&exports, |status| status.sent == 1);
                drop(exports);
            });
            assert_eq!(asked.into_inner().unwrap()[0].lines()[0]["source"], "ai/a");
        } else {
            assert_eq!(check(&counted(&mut BufReader::new(&stream)).unwrap()).0, "ai/a");
            wait(&exports, |status| status.sent == 1);
        }
    }
}
