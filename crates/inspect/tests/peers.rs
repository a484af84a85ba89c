//! The first bytes of clients that others wrote.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

use inspect::http_stream::{Event, Requests};
use inspect::{ClientHello, HelloReader, Outcome};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// Runs a client against a listener and hands its connection over. `None`, said loudly, where it is not installed.
fn connected(
    program: &str,
    arguments: impl Fn(u16) -> Vec<String>,
) -> Option<(TcpStream, std::process::Child)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let child = Command::new(program)
        .args(arguments(port))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("SKIPPED: {program} is not installed");
        return None;
    };
    Some((listener.accept().unwrap().0, child))
}

fn hello_of(program: &str, arguments: impl Fn(u16) -> Vec<String>) -> Option<ClientHello> {
    let (mut stream, mut child) = connected(program, arguments)?;
    let mut reader = HelloReader::new();
    let mut byte = [0];
    let hello = loop {
        stream.read_exact(&mut byte).unwrap();
        match reader.push(&byte) {
            Outcome::NeedMore => {}
            Outcome::Hello(hello) => break hello,
            other => panic!("{program}: {other:?}"),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    Some(hello)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn openssl_is_read() {
    let with = |options: &'static str| {
        hello_of("openssl", move |port| words(&format!("s_client -connect 127.0.0.1:{port} {options}")))
    };
    let Some(hello) = with("-servername hub.example -alpn h2,http/1.1") else { return };
    assert_eq!(hello.sni.unwrap().as_str(), "hub.example");
    assert_eq!(hello.alpn, ["h2", "http/1.1"]);
    assert!(hello.versions.contains(&0x0304) && !hello.ech);
    let old = with("-servername hub.example -tls1_2").unwrap();
    assert_eq!(old.versions, [0x0303]);
    assert_eq!(with("-noservername").unwrap().sni, None);
}

#[test]
fn curl_is_read() {
    let hello = hello_of("curl", |port| {
        words(&format!("-sk --resolve hub.example:{port}:127.0.0.1 https://hub.example:{port}/"))
    });
    let Some(hello) = hello else { return };
    assert_eq!(hello.sni.unwrap().as_str(), "hub.example");
    let (mut stream, mut child) = connected("curl", |port| {
        words(&format!("-s --resolve hub.example:{port}:127.0.0.1 -d text http://hub.example:{port}/path"))
    })
    .unwrap();
    let (mut requests, mut byte) = (Requests::new(), [0]);
    let head = loop {
        stream.read_exact(&mut byte).unwrap();
        match requests.push(&byte).1 {
            Event::More => {}
            Event::Request(head) => break head,
            Event::Refused(flaw) => panic!("{flaw}"),
        }
    };
    assert_eq!((head.method.as_str(), head.host.to_string().as_str()), ("POST", "hub.example"));
    child.kill().unwrap();
    child.wait().unwrap();
}
