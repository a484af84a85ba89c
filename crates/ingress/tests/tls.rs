//! TLS that ends at the gateway.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{Limits, Settings};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use support::{OPEN, PATIENCE, PLAIN, World, chat, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |piece: &[u8]| {
        let bits =
            piece.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        let letter = |at: usize| match at <= piece.len() {
            true => char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(letters).collect()
}

/// A gateway with these listeners at a port for TLS, and who certifies their names.
struct Served {
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Served {
    fn new() -> Self {
        let names = vec!["models.example".to_owned(), "other.example".to_owned()];
        Self { certificate: rcgen::generate_simple_self_signed(names).unwrap() }
    }

    fn manifests(&self, names: &[&str]) -> String {
        let listener = |name: &&str| {
            format!(
                "    - {{name: {}, port: 443, protocol: HTTPS, hostname: {name}, tls: {{certificateRefs: [{{name: cert}}]}}}}\n",
                name.replace('.', "-")
            )
        };
        let listeners: String = names.iter().map(listener).collect();
        let plain = PLAIN.replace(
            "    - {name: web, port: 80, protocol: HTTP}\n",
            &format!("{listeners}    - {{name: web, port: 80, protocol: HTTP}}\n"),
        );
        let secret = format!(
            "\n---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: cert, namespace: ai}}\n\
             data: {{tls.crt: {}, tls.key: {}}}\n",
            base64(self.certificate.cert.pem().as_bytes()),
            base64(self.certificate.signing_key.serialize_pem().as_bytes())
        );
        format!("{plain}{OPEN}{secret}")
    }

    async fn connect(&self, world: &World, alpn: &str) -> TokioIo<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(*world.server.addresses().get(&443).unwrap()).await.unwrap();
        let name = "models.example".try_into().unwrap();
        TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
    }
}

#[tokio::test]
async fn a_listener_ends_tls_with_its_secret_and_speaks_what_the_client_offers() {
    let served = Served::new();
    let world = World::with(&served.manifests(&["models.example"]), Settings::default(), false).await;
    for alpn in ["h2", "http/1.1"] {
        let io = served.connect(&world, alpn).await;
        let mut request = chat(r#"{"model":"m","messages":[]}"#);
        let response = if alpn == "h2" {
            *request.uri_mut() = "https://models.example/v1/chat/completions".parse().unwrap();
            let http = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = http.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(response.status(), StatusCode::OK, "{alpn}");
        text(response).await;
        assert_eq!(world.stub.last().headers["x-forwarded-proto"], "https");
    }
}

#[tokio::test]
async fn who_says_nothing_after_the_handshake_or_only_half_of_how_http2_begins_keeps_no_place() {
    let served = Served::new();
    let limits =
        Limits { idle: Duration::from_millis(100), head: Duration::from_secs(1), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let world = World::with(&served.manifests(&["models.example"]), settings, false).await;
    for (alpn, said) in [("h2", ""), ("h2", "PRI * HTTP/2.0\r\n"), ("http/1.1", "")] {
        let mut stream = served.connect(&world, alpn).await.into_inner();
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut back = Vec::new();
        // It ends, in whatever way.
        let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut back)).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_stays_with_its_listener_when_others_come_and_go() {
    let served = Served::new();
    let world = World::with(&served.manifests(&["models.example"]), Settings::default(), false).await;
    let io = served.connect(&world, "http/1.1").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for (names, status) in [
        (&["models.example"][..], StatusCode::OK),
        (&["other.example", "models.example"], StatusCode::OK),
        (&["other.example"], StatusCode::NOT_FOUND),
    ] {
        world.server.reload(support::config(&served.manifests(names), world.stub.address)).unwrap();
        let response = sender.send_request(chat(r#"{"model":"m","messages":[]}"#)).await.unwrap();
        assert_eq!(response.status(), status, "{names:?}");
        text(response).await;
    }
}

#[tokio::test]
async fn tls_is_handed_on_to_an_endpoint_that_is_there_byte_by_byte() {
    let passing = PLAIN
        .replace(
            "    - {name: web, port: 80, protocol: HTTP}\n",
            "    - {name: passed, port: 443, protocol: TLS, hostname: models.example, tls: {mode: Passthrough}}\n",
        )
        .replace("kind: HTTPRoute", "kind: TLSRoute")
        .replace("spec:\n  parentRefs", "spec:\n  hostnames: [models.example]\n  parentRefs");
    let world = World::with(&format!("{passing}{OPEN}"), Settings::default(), false).await;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = support::config(&format!("{passing}{OPEN}"), echo.local_addr().unwrap());
    for addresses in config.endpoints.values_mut() {
        addresses.insert(0, "127.0.0.1:1".parse().unwrap());
    }
    assert!(world.server.reload(config).unwrap().is_empty());
    tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            let (mut from, mut to) = stream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
        }
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    // The first of them that meets the one that is gone would end there if nobody were asked after it.
    for _ in 0..4 {
        let name = "models.example".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut stream = TcpStream::connect(*world.server.addresses().get(&443).unwrap()).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        let mut back = vec![0; hello.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert!(back == hello, "as it was sent");
    }
}
