//! The API over TLS: browsers are told to come back by it, a new certificate holds from the next connection on, and nothing is
//! said in clear.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::sample;
use crate::sample::SampleActions;
use crate::served;
use crate::served::{END, Roles};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A certificate of `localhost` that vouches for itself, and what it is served with.
fn certificate() -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let own = made.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.clone()], key)
        .unwrap();
    (own, Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The head of the answer, to whoever believes one certificate alone.
fn ask(address: SocketAddr, believed: &CertificateDer<'static>, request: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        // The server need not say that the connection ends.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase())
}

#[test]
fn browsers_come_back_by_tls_and_a_new_certificate_holds_from_the_next_connection_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let _ledger = sample::ledger(&path, 10, END);
    let config = sample::config(&path, Arc::new(SampleActions::default()), Arc::new(Roles::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let ((first, served), (second, renewed)) = (certificate(), certificate());
    let (sender, newest) = watch::channel(served);
    runtime.spawn(api::serve_tls(listener, config, newest));

    let body = r#"{"token":"viewer"}"#;
    let log_in = format!(
        "POST /api/v1/session HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let head = ask(address, &first, &log_in).unwrap();
    assert!(head.starts_with("http/1.0 200"), "{head}");
    assert!(head.contains("strict-transport-security: max-age="), "{head}");
    assert!(
        head.lines()
            .any(|line| line.starts_with("set-cookie: __host-cofferdam_session=")
                && line.ends_with("; secure")),
        "{head}"
    );

    let page = "GET / HTTP/1.0\r\nhost: localhost\r\n\r\n";
    assert!(ask(address, &second, page).is_err(), "it is served with the first");
    sender.send_replace(renewed);
    assert!(ask(address, &second, page).unwrap().contains("strict-transport-security"));
    assert!(ask(address, &first, page).is_err(), "it is served with the second");

    let mut clear = TcpStream::connect(address).unwrap();
    clear.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    clear.write_all(page.as_bytes()).unwrap();
    let mut said = Vec::new();
    // What comes is an alert, or an end.
    let _ = clear.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
}

#[test]
fn in_clear_nobody_is_told_to_come_back_by_tls() {
    let server = served::serve();
    let answer = server.get("/me");
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, None));
}
