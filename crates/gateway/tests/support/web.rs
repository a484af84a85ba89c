//! A web server behind the proxy, clients in front of it, and rules about their requests.

use super::{ALLOWS, Proxy, Tls, usual};
use gateway::{Authority, AuthorityPem, Ceiling, Inspection, Limits, RequestRule, RuleFacts, State};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use policy::{DomainPattern, Operations, Requests, Verb};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub type Body = BoxBody<Bytes, std::io::Error>;

/// A request as it came to the server.
#[derive(Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// Its body, or nothing if it broke off.
    pub body: Option<Vec<u8>>,
    pub trailers: Option<HeaderMap>,
}

/// What both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Clear,
    Tls1,
    Tls2,
    /// TLS, and nothing is offered or agreed on.
    TlsUnsaid,
    /// HTTP/2 in clear. The server has one name only.
    Clear2,
}

impl Way {
    pub fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Clear | Self::Clear2 | Self::TlsUnsaid => vec![],
            Self::Tls1 => vec![b"http/1.1".to_vec()],
            Self::Tls2 => vec![b"h2".to_vec()],
        }
    }
}

/// Lets everything through.
pub fn anything() -> Requests {
    let verbs = Verb::ALL.map(|(_, verb)| verb).into();
    Requests { operations: vec![Operations { verbs, resources: vec![] }], ..Requests::default() }
}

/// Lets nothing through that these tests ask for.
pub fn nothing() -> Requests {
    let verbs = [Verb::Admin].into();
    Requests { operations: vec![Operations { verbs, resources: vec![] }], ..Requests::default() }
}

pub fn rule(requests: Requests, shared: bool) -> Arc<RequestRule> {
    let names = vec![DomainPattern::parse_own("hub.example").unwrap()];
    Arc::new(RequestRule { requests, names, ports: vec![(0, 65535)], shared })
}

/// The usual state, where the rule that allows `hub.example` allows these requests only.
pub fn state_of(requests: Requests, ceiling: Ceiling, inspection: Option<Arc<Inspection>>) -> State {
    let mut state = usual(ceiling);
    state.inspection = inspection;
    for pod in state.pods.values_mut() {
        let facts =
            RuleFacts { requests: Some(rule(requests.clone(), false)), ..(*pod.rules[&ALLOWS]).clone() };
        pod.rules.insert(ALLOWS, Arc::new(facts));
    }
    state
}

/// A proxy that opens connections, and a server behind it.
pub struct World {
    pub proxy: Proxy,
    pub seen: Receiver<Seen>,
    pub inspection: Arc<Inspection>,
    pub way: Way,
    /// Lets a stream of `/slow` or `/break` go on.
    pub go_on: Arc<Notify>,
    /// Told when the head of a request is at the server.
    pub began: Arc<Notify>,
    pub count: Arc<Count>,
}

/// Connections at the server.
#[derive(Default)]
pub struct Count {
    pub came: AtomicUsize,
    /// That ended as HTTP has it.
    pub ended: AtomicUsize,
}

impl World {
    pub fn new(way: Way, requests: Requests) -> Self {
        Self::with(way, requests, Ceiling::default(), Limits::default(), true)
    }

    /// `is_trusted`: whether the proxy was given the server's authority.
    pub fn with(way: Way, requests: Requests, ceiling: Ceiling, limits: Limits, is_trusted: bool) -> Self {
        Self::before(&Tls::new(), way, state_of(requests, ceiling, None), limits, is_trusted)
    }

    /// Before a server with these certificates; the state lacks only the means to open TLS.
    pub fn before(tls: &Tls, way: Way, mut state: State, limits: Limits, is_trusted: bool) -> Self {
        let root = CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap().to_vec();
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let inspection = Inspection { authority, roots: if is_trusted { vec![root] } else { vec![] } };
        let inspection = Arc::new(inspection);
        state.inspection = Some(Arc::clone(&inspection));
        if way == Way::Clear2 {
            let all = state.pods.values_mut().flat_map(|pod| pod.bound.values_mut());
            all.for_each(|bound| bound.names.retain(|name, _| name.as_str() == "hub.example"));
        }
        let proxy = Proxy::start(Some(state), limits);
        let mut config = (*tls.server).clone();
        config.alpn_protocols = way.alpn();
        let (sender, seen) = channel();
        let (go_on, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let config = (!matches!(way, Way::Clear | Way::Clear2)).then(|| Arc::new(config));
        let told = [&go_on, &began].map(Arc::clone);
        let count = Arc::<Count>::default();
        serve(proxy.server.try_clone().unwrap(), (way, config), sender, told, Arc::clone(&count));
        Self { proxy, seen, inspection, way, go_on, began, count }
    }

    pub fn allow(&self, requests: Requests) {
        let inspection = Some(Arc::clone(&self.inspection));
        self.proxy.table.replace(state_of(requests, Ceiling::default(), inspection));
    }

    /// A client that believes the proxy's authority.
    pub async fn client(&self) -> Client {
        Client::connect(&self.proxy, self.way, &self.inspection.authority).await.unwrap()
    }
}

/// A client's connection.
pub enum Client {
    Http1(hyper::client::conn::http1::SendRequest<Body>),
    Http2(hyper::client::conn::http2::SendRequest<Body>),
}

pub fn trusting(authority: &AuthorityPem, alpn: Vec<Vec<u8>>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(super::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn;
    Arc::new(config)
}

impl Client {
    pub async fn connect(proxy: &Proxy, way: Way, authority: &AuthorityPem) -> std::io::Result<Self> {
        Self::connect_to("hub.example", proxy, way, authority).await
    }

    pub async fn connect_to(
        name: &'static str,
        proxy: &Proxy,
        way: Way,
        authority: &AuthorityPem,
    ) -> std::io::Result<Self> {
        let stream = tokio::net::TcpStream::connect(proxy.address).await?;
        if matches!(way, Way::Clear | Way::Clear2) {
            return Ok(Self::over(TokioIo::new(stream), way == Way::Clear2).await);
        }
        let connector = TlsConnector::from(trusting(authority, way.alpn()));
        let name = ServerName::try_from(name).unwrap();
        let stream = connector.connect(name, stream).await?;
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(alpn.into_iter().collect::<Vec<_>>(), way.alpn(), "what both agree on is agreed on");
        Ok(Self::over(TokioIo::new(stream), way == Way::Tls2).await)
    }

    async fn over(
        io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
        is_http2: bool,
    ) -> Self {
        if is_http2 {
            let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = made.unwrap();
            tokio::spawn(connection);
            return Self::Http2(sender);
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    pub async fn send(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                if !request.headers().contains_key("host") {
                    request.headers_mut().insert("host", "hub.example".parse().unwrap());
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                if request.uri().authority().is_none() {
                    *request.uri_mut() = format!("https://hub.example{}", request.uri()).parse().unwrap();
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Status, fields and body of an answer.
    pub async fn get(&mut self, target: &str) -> (StatusCode, HeaderMap, String) {
        let answer = self.send(request("GET", target, full(""))).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

pub fn request(method: &str, target: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(target).body(body).unwrap()
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// What a body does next.
pub enum Step {
    Piece(Bytes),
    /// Waits until it is told.
    Wait(Arc<Notify>),
    Break,
}

/// A body that comes step by step.
pub fn steps(all: impl IntoIterator<Item = Step, IntoIter: Send + Sync + 'static>) -> Body {
    BoxBody::new(Steps { all: Box::new(all.into_iter()), waits: None })
}

struct Steps {
    all: Box<dyn Iterator<Item = Step> + Send + Sync>,
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl hyper::body::Body for Steps {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(waits) = &mut self.waits {
                ready!(waits.as_mut().poll(cx));
                self.waits = None;
            }
            match self.all.next() {
                None => return Poll::Ready(None),
                Some(Step::Piece(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Step::Break) => return Poll::Ready(Some(Err(std::io::Error::other("it breaks")))),
                Some(Step::Wait(told)) => self.waits = Some(Box::pin(async move { told.notified().await })),
            }
        }
    }
}

pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tested = runtime.block_on(async { tokio::time::timeout(super::PATIENCE, test).await });
    tested.unwrap()
}

/// What the server answers to a chat that has a field `x-stream`: the second piece once it is let go on. 40 characters in
/// the first piece, which are about ten tokens; three by its own count.
pub const STREAMED: (&str, &str) = (
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"0123456789012345678901234567890123456789\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
);

/// And to one that has a field `x-usage`; the event in the middle where the body asks for it.
pub const TOLD: [&str; 3] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n: it ends within an event",
];

/// And to one that has a field `x-completed`, or `x-gzip`: the same by Python's `gzip.compress(…, mtime=0)`.
pub const COMPLETED: &str = "{\"model\":\"m-1\",\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}";
#[rustfmt::skip]
pub const COMPLETED_GZIP: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 61, 140, 177, 14, 194, 48, 12, 5, 255, 229, 205, 101, 128, 5, 41, 191, 82, 161, 170, 10, 134, 88, 109, 236, 168, 54, 83, 148, 127, 175, 151, 178, 222, 157, 174, 163, 234, 155, 118, 36, 212, 219, 29, 19, 114, 81, 206, 100, 72, 115, 199, 135, 133, 173, 44, 7, 173, 166, 18, 133, 185, 182, 72, 42, 153, 173, 95, 66, 234, 200, 42, 78, 226, 225, 10, 99, 140, 215, 132, 223, 165, 218, 161, 181, 249, 226, 186, 145, 196, 238, 25, 235, 0, 59, 57, 171, 252, 233, 99, 140, 19, 85, 101, 222, 12, 129, 0, 0, 0];

/// Serves a listener until the test ends.
fn serve(
    listener: TcpListener,
    (way, tls): (Way, Option<Arc<ServerConfig>>),
    seen: Sender<Seen>,
    told: [Arc<Notify>; 2],
    count: Arc<Count>,
) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (tls, seen, told, count) = (tls.clone(), seen.clone(), told.clone(), Arc::clone(&count));
                count.came.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, seen.clone(), told.clone()));
                    let Some(config) = tls else {
                        if way == Way::Clear2 {
                            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            let _over = http.serve_connection(TokioIo::new(stream), service).await;
                            return;
                        }
                        let http = hyper::server::conn::http1::Builder::new();
                        let _over =
                            http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                        return;
                    };
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    if is_http2 {
                        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        if http.serve_connection(io, service).await.is_ok() {
                            count.ended.fetch_add(1, Ordering::SeqCst);
                        }
                    } else {
                        let http = hyper::server::conn::http1::Builder::new();
                        let _over = http.serve_connection(io, service).with_upgrades().await;
                    }
                });
            }
        });
    });
}

async fn answer(
    mut request: Request<Incoming>,
    seen: Sender<Seen>,
    [go_on, began]: [Arc<Notify>; 2],
) -> Result<Response<Body>, Infallible> {
    began.notify_one();
    let path = request.uri().path().to_owned();
    let client = (path == "/socket").then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let collected = body.collect().await.ok();
    let trailers = collected.as_ref().and_then(|body| body.trailers().cloned());
    let body = collected.map(|body| body.to_bytes());
    // The test may have seen enough.
    let _gone = seen.send(Seen {
        method: head.method,
        target: head.uri.to_string(),
        version: head.version,
        headers: head.headers.clone(),
        body: body.as_ref().map(|body| body.to_vec()),
        trailers,
    });
    let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
    if head.headers.contains_key("x-wait") {
        go_on.notified().await;
    }
    let response = Response::builder();
    let coded = || match head.headers.get("x-coding") {
        Some(coding) => Response::builder().header("content-encoding", coding),
        None => Response::builder(),
    };
    Ok(match path.as_str() {
        "/v1/chat/completions" if head.headers.contains_key("x-stream") => {
            let all = [Step::Piece(piece(STREAMED.0)), Step::Wait(go_on), Step::Piece(piece(STREAMED.1))];
            response.header("content-type", "text/event-stream").body(steps(all)).unwrap()
        }
        "/v1/chat/completions" if head.headers.contains_key("x-usage") => {
            let asked = String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
            let is_asked = asked.contains("\"include_usage\":true");
            let [first, usage, done] = TOLD.map(piece);
            let all = [Some(first), Some(usage).filter(|_| is_asked), Some(done)];
            let all = all.into_iter().flatten().map(Step::Piece);
            response.header("content-type", "text/event-stream").body(steps(all)).unwrap()
        }
        // Breaks off, or waits for whoever does.
        "/v1/chat/completions" if head.headers.contains_key("x-begun") => {
            let begun = r#"{"model":"m-1","choices":[{"message":{"content":"h"#;
            let all = [Step::Piece(piece(begun)), Step::Wait(go_on), Step::Break];
            response.header("content-type", "application/json").body(steps(all)).unwrap()
        }
        "/v1/chat/completions" if head.headers.contains_key("x-gzip") => {
            let response = response.header("content-type", "application/json");
            response.header("content-encoding", "gzip").body(full(COMPLETED_GZIP.to_vec())).unwrap()
        }
        "/v1/chat/completions" if head.headers.contains_key("x-completed") => {
            response.header("content-type", "application/json").body(full(COMPLETED)).unwrap()
        }
        // Says the key that it was asked with, in its head and, in pieces of so many bytes, in its body and trailers.
        _ if head.headers.contains_key("x-echo") => {
            let key = &head.headers["authorization"];
            let text = Bytes::from(format!("you said {}, and end so: sk-of", key.to_str().unwrap()));
            let response =
                response.header("x-said", key).header("x-coding", &head.headers["accept-encoding"]);
            match head.headers["x-echo"].to_str().unwrap().parse().unwrap() {
                0 => response.body(full(text)).unwrap(),
                size => {
                    let pieces: Vec<_> =
                        text.chunks(size).map(Bytes::copy_from_slice).map(Step::Piece).collect();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-message", key.clone());
                    let body = steps(pieces).with_trailers(async { Some(Ok(trailers)) });
                    response.header("trailer", "grpc-message").body(body.boxed()).unwrap()
                }
            }
        }
        // So many bytes.
        _ if head.headers.contains_key("x-length") => {
            let length = head.headers["x-length"].to_str().unwrap().parse().unwrap();
            response.body(full(vec![b'x'; length])).unwrap()
        }
        // Names a part of an upload.
        _ if head.headers.contains_key("x-part") => {
            let name = head.headers["x-part"].to_str().unwrap();
            let text = format!("{{\"object\":\"upload.part\",\"id\":\"{name}\"}}");
            response.header("content-type", "application/json").body(full(text)).unwrap()
        }
        _ if head.headers.contains_key("x-location") => {
            let response = response.status(302).header("location", &head.headers["x-location"]);
            response.body(full("")).unwrap()
        }
        path if path.ends_with("/info/lfs/objects/batch") => {
            let batch = head.headers["x-batch"].as_bytes().to_vec();
            response.header("content-type", "application/vnd.git-lfs+json").body(full(batch)).unwrap()
        }
        "/empty" => response.status(204).body(full("")).unwrap(),
        "/close" => response.header("connection", "close").body(full("bye")).unwrap(),
        "/break" => {
            let all = [Step::Piece(piece("some")), Step::Wait(go_on), Step::Break];
            response.body(steps(all)).unwrap()
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let body = steps([Step::Piece(piece("some"))]).with_trailers(async { Some(Ok(trailers)) });
            response.header("trailer", "grpc-status").body(body.boxed()).unwrap()
        }
        "/slow" => {
            let all = [Step::Piece(piece("some")), Step::Wait(go_on), Step::Piece(piece("more"))];
            response.body(steps(all)).unwrap()
        }
        "/socket" => {
            tokio::spawn(async {
                let mut socket = TokioIo::new(client.unwrap().await.unwrap());
                let mut question = [0; 4];
                socket.read_exact(&mut question).await.unwrap();
                socket.write_all(b"pong!").await.unwrap();
                socket.shutdown().await.unwrap();
            });
            let response =
                response.status(101).header("connection", "upgrade").header("upgrade", "websocket");
            response.body(full("")).unwrap()
        }
        path if path.starts_with("/pieces/") => {
            let body = body.unwrap_or_default();
            let pieces: Vec<_> = body.chunks(700).map(Bytes::copy_from_slice).map(Step::Piece).collect();
            response.body(steps(pieces)).unwrap()
        }
        path if path.starts_with("/late/") => {
            let body = body.unwrap_or_default();
            let pieces: Vec<_> = body.chunks(700).map(Bytes::copy_from_slice).map(Step::Piece).collect();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            let body = steps(pieces).with_trailers(async { Some(Ok(trailers)) });
            coded().header("trailer", "x-sum").body(body.boxed()).unwrap()
        }
        path if path.starts_with("/part/") => {
            let (body, range) = (body.unwrap_or_default(), head.headers["range"].to_str().unwrap());
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let bounds: [usize; 2] = [first, last].map(|at| at.parse().unwrap());
            let part = body.slice(bounds[0]..=bounds[1]);
            let range = format!("bytes {first}-{last}/{}", body.len());
            response.status(206).header("content-range", range).body(full(part)).unwrap()
        }
        _ => coded().header("x-answer", "1").body(full(body.unwrap_or_default())).unwrap(),
    })
}
