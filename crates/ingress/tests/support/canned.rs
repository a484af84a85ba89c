//! A server that gives one answer, and a gateway before it.

use super::{PLAIN, Records, config, text};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives one answer, byte by byte as it is written here, to whatever is asked.
pub async fn server(answer: Vec<Vec<u8>>) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(String::new())));
    let heard = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            *heard.lock().unwrap() = String::from_utf8(head).unwrap();
            for piece in &answer {
                if stream.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // The client's end is its own to say: an answer without a length ends with the connection.
            let _gone = stream.shutdown().await;
        }
    });
    (address, seen)
}

/// An answer of a kind, in pieces of so many bytes, that ends with its connection.
pub fn answer(kind: &str, body: &[u8], size: usize) -> Vec<Vec<u8>> {
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}\r\n\r\n");
    std::iter::once(head.into_bytes()).chain(body.chunks(size).map(<[u8]>::to_vec)).collect()
}

/// A gateway whose policy has one more section, before a server.
#[derive(Debug)]
pub struct Canned {
    pub inner: ingress::Server,
    pub records: Arc<Records>,
}

pub fn manifests(section: &str) -> String {
    format!(
        "{PLAIN}
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {{name: models, namespace: ai}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  authentication: {{anonymous: true}}
  rules: [{{name: all, action: Allow, classes: [infer, introspect, unknown]}}]
  {section}
"
    )
}

impl Canned {
    pub fn new(section: &str, server: SocketAddr) -> Self {
        let records = Arc::new(Records::default());
        let settings = ingress::Settings {
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: [(80, 0)].into(),
            ..ingress::Settings::default()
        };
        let inner = ingress::Server::start(settings, Arc::clone(&records) as _);
        let faults = inner.reload(config(&manifests(section), server)).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        Self { inner, records }
    }

    /// The answer to a request over a connection of its own.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let address = *self.inner.addresses().get(&80).unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let response = sender.send_request(request).await.unwrap();
        (response.status(), text(response).await)
    }

    /// The record of the only request.
    pub async fn record(&self) -> ingress::Record {
        self.records.wait(1).await.remove(0)
    }
}
