//! TLS to backends: checked as a BackendTLSPolicy says, or not spoken at all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use http::StatusCode;
use ingress::{ConfigError, Reason, Server, Settings};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{OPEN, PLAIN, Records, chat, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

/// A server with this certificate; how many requests it saw.
async fn server(certified: &CertifiedKey<KeyPair>) -> (SocketAddr, Arc<AtomicUsize>) {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config =
        builder.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                    drop(stream.write_all(ANSWER).await);
                    drop(stream.shutdown().await);
                }
            });
        }
    });
    (address, seen)
}

fn policy(spec: &str, bundle: Option<&str>) -> String {
    let bundle = bundle.map_or(String::new(), |text| {
        let data = serde_json::Value::from(text);
        format!("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: ai}}\ndata: {{ca.crt: {data}}}")
    });
    format!(
        "{PLAIN}{OPEN}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: tls, namespace: ai}}
spec:
  targetRefs: [{{group: '', kind: Service, name: model}}]
  validation: {spec}{bundle}
"
    )
}

/// What a request is answered with, why, and what could not be in force.
async fn asked(manifests: &str, server: SocketAddr) -> (StatusCode, Reason, Vec<ConfigError>) {
    let records = Arc::new(Records::default());
    let settings =
        Settings { bind: Ipv4Addr::LOCALHOST.into(), ports: [(80, 0)].into(), ..Settings::default() };
    let gateway = Server::start(settings, Arc::clone(&records) as _);
    let faults = gateway.reload(support::config(manifests, server)).unwrap();
    let stream = TcpStream::connect(*gateway.addresses().get(&80).unwrap()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(chat(r#"{"model":"m","messages":[]}"#)).await.unwrap();
    let status = response.status();
    text(response).await;
    (status, records.wait(1).await.remove(0).reason, faults)
}

#[tokio::test]
async fn a_backend_is_asked_only_if_it_is_who_its_policy_says() {
    let made = generate_simple_self_signed(vec!["model.internal".to_owned()]).unwrap();
    let other = generate_simple_self_signed(vec!["model.internal".to_owned()]).unwrap();
    let named = |host: &str| {
        format!("{{hostname: {host}, caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]}}")
    };
    let (unreachable, nobody) = (Reason::ServerUnreachable, Reason::NoBackend);
    for (spec, bundle, status, reason, faults) in [
        (named("model.internal"), Some(made.cert.pem()), 200, Reason::Allowed, 0),
        (named("model.internal"), Some(other.cert.pem()), 502, unreachable, 0),
        (named("other.internal"), Some(made.cert.pem()), 502, unreachable, 0),
        (named("model.internal"), Some("no certificate".to_owned()), 500, nobody, 1),
        (named("model.internal"), None, 500, nobody, 0),
        ("{hostname: model.internal, wellKnownCACertificates: System}".to_owned(), None, 500, nobody, 1),
    ] {
        let (address, seen) = server(&made).await;
        let (got, why, told) = asked(&policy(&spec, bundle.as_deref()), address).await;
        assert_eq!((got.as_u16(), why), (status, reason), "{spec}: {told:?}");
        assert_eq!(told.len(), faults, "{told:?}");
        assert_eq!(seen.load(Ordering::Relaxed), usize::from(status == 200), "{spec}");
    }
}

#[tokio::test]
async fn a_backend_that_speaks_no_tls_is_not_asked_without() {
    let made = generate_simple_self_signed(vec!["model.internal".to_owned()]).unwrap();
    let stub = support::Stub::start(false).await;
    let spec = "{hostname: model.internal, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}";
    let (status, reason, _) = asked(&policy(spec, Some(&made.cert.pem())), stub.address).await;
    assert_eq!((status.as_u16(), reason), (502, Reason::ServerUnreachable));
    assert!(stub.seen.lock().unwrap().is_empty());
}
