//! Clients that others wrote: let through where they may, told where they may not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::Reason;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use support::{Proxy, Tls, patient};

/// Runs a client to its end. `None`, said loudly, where it is not installed.
fn client(program: &str, arguments: &str) -> Option<Output> {
    let output = Command::new(program).args(arguments.split(' ')).stdin(Stdio::null()).output();
    if output.is_err() {
        eprintln!("SKIPPED: {program} is not installed");
    }
    output.ok()
}

/// Answers one TLS connection at the server with a small HTTP response.
fn serve_one(proxy: &Proxy, tls: &Tls) -> std::thread::JoinHandle<()> {
    let (listener, config) = (proxy.server.try_clone().unwrap(), tls.server.clone());
    std::thread::spawn(move || {
        let stream = patient(listener.accept().unwrap().0);
        let mut server = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
        let mut request = vec![];
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
        server.conn.send_close_notify();
        server.flush().unwrap();
    })
}

#[test]
fn curl_is_let_through_and_refused() {
    let (proxy, tls) = (Proxy::usual(), Tls::new());
    let port = proxy.address.port();
    let fetch = |url: &str| {
        client("curl", &format!("-sSk --max-time 20 --connect-to ::127.0.0.1:{port} --include {url}"))
    };
    let Some(plain) = fetch("http://other.example/") else { return };
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(text.contains("403 Forbidden") && text.contains("name-not-allowed"), "{text}");
    assert_eq!(proxy.record().reason, Reason::NameNotAllowed);
    let refused = fetch("https://other.example/").unwrap();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("alert access denied"), "{error}");
    assert_eq!(proxy.record().reason, Reason::NameNotAllowed);
    let server = serve_one(&proxy, &tls);
    let passed = fetch("https://hub.example/").unwrap();
    server.join().unwrap();
    assert!(String::from_utf8_lossy(&passed.stdout).ends_with("hello"), "{passed:?}");
    assert_eq!(proxy.record().reason, Reason::NameAllowed);
}

#[test]
fn openssl_is_let_through_and_refused() {
    let (proxy, tls) = (Proxy::usual(), Tls::new());
    let to = proxy.address;
    let session = |more: &str| client("openssl", &format!("s_client -connect {to} {more}"));
    let Some(refused) = session("-noservername") else { return };
    assert!(String::from_utf8_lossy(&refused.stderr).contains("alert access denied"), "{refused:?}");
    assert_eq!(proxy.record().reason, Reason::NoName);
    for version in ["-tls1_2", "-tls1_3"] {
        let (listener, config) = (proxy.server.try_clone().unwrap(), tls.server.clone());
        let server = std::thread::spawn(move || {
            let stream = patient(listener.accept().unwrap().0);
            let mut server = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
            let _closed = server.read_to_end(&mut vec![]);
        });
        let passed = session(&format!("-servername hub.example {version}")).unwrap();
        assert!(
            String::from_utf8_lossy(&passed.stdout).contains("CN = rcgen self signed cert"),
            "{passed:?}"
        );
        server.join().unwrap();
        assert_eq!(proxy.record().reason, Reason::NameAllowed, "{version}");
    }
}
