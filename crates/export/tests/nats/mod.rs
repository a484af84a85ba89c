//! A real nats-server with JetStream: each entry is one message of a stream, and there once, whoever is killed.

use super::{World, denial, wait};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use export::Settings;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// With what it keeps in a folder of its own, which outlives it.
    fn start(port: u16, folder: &Path, more: &[&str]) -> Self {
        let child = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(folder)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else { panic!("no nats-server: scripts/setup installs one") };
        let server = Self { child, port };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Asks the API of JetStream.
    fn ask(&self, what: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = body.to_string();
        let length = body.len();
        let ask = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answers 1\r\nPUB $JS.API.{what} answers {length}\r\n{body}\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "{what}: the server closed the connection");
            if let Some(("MSG answers 1", length)) = line.trim_end().rsplit_once(' ') {
                let mut answer = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut answer).unwrap();
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert_eq!(answer["error"], Value::Null, "{what}");
                return answer;
            }
            assert!(!line.starts_with("-ERR"), "{what}: {line}");
        }
    }

    /// A stream of the subject `security.records`, made or changed.
    fn stream(&self, how: &str, more: &Value) {
        let mut config =
            json!({"name": "S", "subjects": ["security.records"], "num_replicas": 1, "storage": "file"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(&format!("STREAM.{how}.S"), &config);
    }

    /// Numbers of the entries in it, in order, of which each message has its entry's id.
    fn numbers(&self) -> Vec<u64> {
        let state = self.ask("STREAM.INFO.S", &json!({}))["state"].clone();
        let all = state["first_seq"].as_u64().unwrap()..=state["last_seq"].as_u64().unwrap();
        let read = |number| {
            let message = &self.ask("STREAM.MSG.GET.S", &json!({"seq": number}))["message"];
            let decoded = |key: &str| BASE64.decode(message[key].as_str().unwrap()).unwrap();
            let entry: Value = serde_json::from_slice(&decoded("data")).unwrap();
            let head = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", entry["id"].as_str().unwrap());
            assert_eq!(String::from_utf8(decoded("hdrs")).unwrap(), head);
            entry["number"].as_u64().unwrap()
        };
        all.map(read).collect()
    }
}

impl Drop for Server {
    /// As a power cut would.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn url(port: u16) -> [String; 1] {
    [format!("nats://127.0.0.1:{port}/security.records")]
}

#[test]
fn each_entry_is_once_in_a_stream_also_when_the_server_is_killed_and_when_all_is_sent_again() {
    let (mut world, port) = (World::with(3), free_port());
    let store = world.folder.path().join("nats");
    let server = Server::start(port, &store, &[]);
    server.stream("CREATE", &json!({}));
    // More than the server takes.
    world.ledger.append(&[denial(3, &format!("{{\"text\":\"{}\"}}", "x".repeat(2 << 20)))]).unwrap();
    world.add(4..5);
    let exports = world.start(&url(port), &Settings::default());
    let status = wait(&exports, |status| status.sent == 4 && status.refused == 1);
    let notice = status.notice.unwrap();
    assert!(status.problem.is_none() && notice.contains("and the server takes 1048576"), "{notice}");
    assert_eq!(server.numbers(), [1, 2, 3, 5]);
    drop(server);
    world.add(5..8);
    wait(&exports, |status| status.problem.is_some() && status.waiting == 3);
    let server = Server::start(port, &store, &[]);
    wait(&exports, |status| status.sent == 7 && status.problem.is_none());
    assert_eq!(server.numbers(), [1, 2, 3, 5, 6, 7, 8]);
    drop(exports);
    for file in std::fs::read_dir(world.folder.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.display().to_string().contains(".export-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let exports = world.start(&url(port), &Settings::default());
    wait(&exports, |status| status.sent == 7 && status.refused == 1);
    assert_eq!(server.numbers(), [1, 2, 3, 5, 6, 7, 8]);
}

#[test]
fn without_a_stream_nothing_is_taken_and_of_one_that_was_full_nothing_is_doubled_however_long_that_took() {
    let (world, port) = (World::with(5), free_port());
    let server = Server::start(port, &world.folder.path().join("nats"), &[]);
    let exports = world.start(&url(port), &Settings::default());
    let status = wait(&exports, |status| status.problem.is_some());
    let problem = status.problem.unwrap();
    assert!(problem.contains("no stream has this subject") && status.sent == 0, "{problem}");
    let window = Duration::from_millis(100);
    let window_of =
        |more: Value| json!({"duplicate_window": 100_000_000, "discard": "new", "max_msgs": more});
    server.stream("CREATE", &window_of(json!(2)));
    let full = |status: &export::SinkStatus| {
        status.problem.as_ref().is_some_and(|why| why.contains("maximum messages"))
    };
    assert_eq!(wait(&exports, full).sent, 0);
    assert_eq!(server.numbers(), [1, 2]);
    // The stream forgets whom it has seen.
    std::thread::sleep(3 * window);
    server.stream("UPDATE", &window_of(json!(-1)));
    wait(&exports, |status| status.sent == 5 && status.problem.is_none());
    assert_eq!(server.numbers(), [1, 2, 3, 4, 5]);
}

#[test]
fn who_sends_is_told_over_tls_to_who_has_the_right_certificate_and_a_wrong_log_in_is_a_problem() {
    let mut world = World::with(3);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let [certificate, key] = [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())]
        .map(|(name, text)| world.file(name, &text));
    let (port, store) = (free_port(), world.folder.path().join("nats"));
    let server = Server::start(port, &store, &[]);
    server.stream("CREATE", &json!({}));
    drop(server);
    let [shown, shown_key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let more =
        ["--user", "cofferdam", "--pass", "geheim", "--tls", "--tlscert", shown, "--tlskey", shown_key];
    let server = Server::start(port, &store, &more);
    let settings = |password: &str| {
        let login = BASE64.encode(format!("cofferdam:{password}"));
        let headers = world.file(password, &format!("Authorization: Basic {login}\n"));
        Settings { headers: Some(headers), authorities: Some(certificate.clone()), ..Settings::default() }
    };
    let (right, wrong) = (settings("geheim"), settings("falsch"));
    let over_tls = [format!("nats-tls://localhost:{port}/security.records")];
    for (urls, settings, says) in [
        (&over_tls, wrong, "Authorization Violation"),
        (&over_tls, Settings { authorities: None, ..right.clone() }, "TLS with localhost"),
        (&url(port), Settings::default(), "write nats-tls://"),
    ] {
        let exports = world.start(urls, &settings);
        let problem = wait(&exports, |status| status.problem.is_some()).problem.unwrap();
        assert!(problem.contains(says), "{problem}");
    }
    let exports = world.start(&over_tls, &right);
    wait(&exports, |status| status.sent == 3 && status.problem.is_none());
    drop((exports, server));
    let server = Server::start(port, &store, &[]);
    assert_eq!(server.numbers(), [1, 2, 3]);
    // A token, in clear on this machine.
    drop(server);
    world.add(3..4);
    let server = Server::start(port, &store, &["--auth", "geheim"]);
    let headers = Some(world.file("token", "Authorization: Bearer geheim\n"));
    let exports = world.start(&url(port), &Settings { headers, ..Settings::default() });
    wait(&exports, |status| status.sent == 4 && status.problem.is_none());
    drop((exports, server));
    assert_eq!(Server::start(port, &store, &[]).numbers(), [1, 2, 3, 4]);
}

#[test]
fn whatever_a_server_says_that_is_none_nothing_counts_as_taken() {
    let info = "INFO {\"headers\":true}\r\n";
    for (said, says) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), "is no server of NATS"),
        ("INFO {}\r\n".to_owned(), "takes no headers"),
        ("INFO nonsense\r\n".to_owned(), "is no server of NATS"),
        ("x".repeat(70_000), "a line of more than 65536 bytes"),
        ("INFO {\"head".to_owned(), "closed the connection"),
        (info.to_owned(), "closed the connection"),
        (format!("{info}hello\r\n"), "no line of NATS: hello"),
        (format!("{info}MSG a 1 99999999999\r\n"), "an answer of 99999999999 bytes"),
        (format!("{info}MSG a 1 -1\r\n"), "without a length"),
        (format!("{info}HMSG _INBOX.0 1 9 3\r\nabc\r\n"), "closed the connection"),
        (format!("{info}-ERR 'Authorization\u{1b}[2J Violation'\r\n"), "says: 'Authorization [2J Violation'"),
    ] {
        let world = World::with(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(said.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let exports = world.start(&url(port), &Settings::default());
        let status = wait(&exports, |status| status.problem.is_some());
        let problem = status.problem.unwrap();
        assert!(problem.contains(says) && status.sent == 0, "{problem}");
    }
}
