//! A gateway with real sockets, an inference server behind it that speaks as a true one, and clients.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test, and not every test uses all of them"
)]

pub mod canned;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Bytes;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{Config, Record, Server, Settings, Sink};
use routes::Target;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The class and a gateway with one listener for everything at port 80, and a route to the Service `model`.
pub const PLAIN: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: cofferdam}
spec: {controllerName: cofferdam.dev/ingress-gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ai}
spec:
  gatewayClassName: cofferdam
  listeners:
    - {name: web, port: 80, protocol: HTTP}
---
apiVersion: v1
kind: Service
metadata: {name: model, namespace: ai}
spec: {ports: [{port: 8000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: models, namespace: ai}
spec:
  parentRefs: [{name: edge}]
  rules:
    - backendRefs: [{name: model, port: 8000}]
";

/// Everybody may do everything.
pub const OPEN: &str = r"
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {name: open, namespace: ai}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  authentication: {anonymous: true}
  rules:
    - {name: all, action: Allow, classes: [infer, introspect, admin, mutate-weights, unknown]}
";

/// Keeps records.
#[derive(Debug, Default)]
pub struct Records(pub Mutex<Vec<Record>>);

impl Sink for Records {
    fn ended(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Records {
    /// Waits until there are so many.
    pub async fn wait(&self, count: usize) -> Vec<Record> {
        let waiting = async {
            loop {
                let found = self.0.lock().unwrap().clone();
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("{count} records are not there: {:?}", self.0.lock().unwrap()))
    }
}

/// What the server behind saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub version: Version,
}

/// An inference server.
#[derive(Debug)]
pub struct Stub {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
    /// Pieces of answers to `/held` go out as permits are added.
    pub gate: Arc<Semaphore>,
}

type Boxed = BoxBody<Bytes, Infallible>;

impl Stub {
    pub async fn start(is_http2: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stub = Self {
            address,
            seen: Arc::default(),
            connections: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        let (seen, connections, gate) =
            (Arc::clone(&stub.seen), Arc::clone(&stub.connections), Arc::clone(&stub.gate));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
                let service =
                    service_fn(move |request| answer(Arc::clone(&seen), Arc::clone(&gate), request));
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    if is_http2 {
                        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(http.serve_connection(io, service).await);
                    } else {
                        let http = hyper::server::conn::http1::Builder::new();
                        drop(http.serve_connection(io, service).with_upgrades().await);
                    }
                });
            }
        });
        stub
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

/// Events of a chat completion.
pub const EVENTS: [&str; 4] = [
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"llama\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"}}]}\n\n",
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"llama\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"llama\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n",
    "data: [DONE]\n\n",
];

async fn answer(
    seen: Arc<Mutex<Vec<Seen>>>,
    gate: Arc<Semaphore>,
    mut request: Request<Incoming>,
) -> Result<Response<Boxed>, Infallible> {
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 4];
            io.read_exact(&mut bytes).await.unwrap();
            bytes.reverse();
            io.write_all(&bytes).await.unwrap();
            io.shutdown().await.unwrap();
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket");
        return Ok(response.body(Full::default().boxed()).unwrap());
    }
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::from_static(b"(broken off)"),
    };
    seen.lock().unwrap().push(Seen {
        method: head.method.clone(),
        uri: head.uri.to_string(),
        headers: head.headers.clone(),
        body: body.clone(),
        version: head.version,
    });
    let path = head.uri.path().to_owned();
    let wants_stream = body.windows(13).any(|piece| piece == b"\"stream\":true");
    let pieces: Vec<Bytes> = match path.as_str() {
        "/held" => (0..3).map(|number| Bytes::from(format!("piece {number}\n"))).collect(),
        path if path.ends_with("/grpc") => vec![Bytes::from_static(b"\0\0\0\0\0")],
        _ if wants_stream => EVENTS.iter().map(|event| Bytes::from_static(event.as_bytes())).collect(),
        _ => vec![Bytes::from(
            "{\"id\":\"c1\",\"object\":\"chat.completion\",\"model\":\"llama\",\"choices\":[{\"index\":0,\"message\":\
             {\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\
             \"completion_tokens\":2,\"total_tokens\":11}}",
        )],
    };
    let response =
        Response::builder().header("x-from", "stub").header("connection", "x-hop").header("x-hop", "1");
    let response = if wants_stream {
        response.header(header::CONTENT_TYPE, "text/event-stream")
    } else {
        response.header(header::CONTENT_TYPE, "application/json")
    };
    if path.ends_with("/grpc") || path == "/held" || wants_stream {
        let (send, mut receive) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        tokio::spawn(async move {
            for piece in pieces {
                if path == "/held" {
                    gate.acquire().await.unwrap().forget();
                }
                if send.send(Ok(Frame::data(piece))).await.is_err() {
                    return;
                }
            }
            if path.ends_with("/grpc") {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                drop(send.send(Ok(Frame::trailers(trailers))).await);
            }
        });
        let stream = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
        return Ok(response.body(BodyExt::boxed(StreamBody::new(stream))).unwrap());
    }
    Ok(response.body(Full::new(pieces.concat().into()).boxed()).unwrap())
}

/// A gateway before a server.
#[derive(Debug)]
pub struct World {
    pub server: Server,
    pub records: Arc<Records>,
    pub stub: Stub,
}

/// What manifests say, with the server behind every Service that a route names.
pub fn config(manifests: &str, stub: SocketAddr) -> Config {
    let read = crds::read_objects("test.yaml", manifests.as_bytes());
    assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
    let mut config = Config::of(&read.objects, Arc::new([]));
    let targets = config.routing.rules().iter().flat_map(routes::Rule::ways);
    let targets: Vec<Target> = targets.map(|(target, _)| target.clone()).collect();
    config.endpoints = targets.into_iter().map(|target| (target, vec![stub])).collect();
    config
}

impl World {
    pub async fn new(manifests: &str) -> Self {
        Self::with(manifests, Settings::default(), false).await
    }

    pub async fn with(manifests: &str, settings: Settings, is_http2: bool) -> Self {
        let stub = Stub::start(is_http2).await;
        let records = Arc::new(Records::default());
        let settings = Settings {
            bind: Ipv4Addr::LOCALHOST.into(),
            ports: BTreeMap::from([(80, 0), (443, 0)]),
            ..settings
        };
        let config = config(manifests, stub.address);
        let sink: Arc<dyn Sink> = Arc::clone(&records) as _;
        let server = Server::start(settings, sink);
        let faults = server.reload(config).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        Self { server, records, stub }
    }

    pub fn address(&self) -> SocketAddr {
        *self.server.addresses().get(&80).unwrap()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends a request over a connection of its own.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
    }

    /// Sends bytes as they are; returns everything that comes back.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        // A reset is an end as well.
        drop(read.unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A request to ask a model.
pub fn chat(body: &str) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions")
        .header(header::HOST, "models.example")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// The whole body.
pub async fn text(response: Response<Incoming>) -> String {
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap();
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}
