//! TLS that ends at the gateway.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::Settings;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use support::{OPEN, PLAIN, World, chat, text};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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

#[tokio::test]
async fn a_listener_ends_tls_with_its_secret_and_speaks_what_the_client_offers() {
    let made = rcgen::generate_simple_self_signed(vec!["models.example".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let listener = "    - {name: tls, port: 443, protocol: HTTPS, hostname: models.example, tls: {certificateRefs: [{name: cert}]}}";
    let plain = PLAIN.replace(
        "    - {name: web, port: 80, protocol: HTTP}",
        &format!("    - {{name: web, port: 80, protocol: HTTP}}\n{listener}"),
    );
    let secret = format!(
        "\n---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: cert, namespace: ai}}\n\
         data: {{tls.crt: {}, tls.key: {}}}\n",
        base64(certificate.as_bytes()),
        base64(key.as_bytes())
    );
    let world = World::with(&format!("{plain}{OPEN}{secret}"), Settings::default(), false).await;
    let address = *world.server.addresses().get(&443).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for alpn in ["h2", "http/1.1"] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "models.example".try_into().unwrap();
        let io = TokioIo::new(connector.connect(name, stream).await.unwrap());
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
