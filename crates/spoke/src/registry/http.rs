//! One question to a server of HTTP/1.1, on a connection of its own.
//!
//! Guarantees: each has an end, in time and in bytes; what a server says is shown short and on one line. Does not: follow
//! redirects, or keep connections: a registry is asked twice a minute.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one question may take: a release has a megabyte.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer's text that are told.
const TOLD: usize = 200;

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Most bytes of the answer.
    pub(super) most: usize,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A header, if it is a text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Its status, and what it says of it (distribution specification, "Error Codes").
    pub(super) fn says(&self) -> String {
        let read: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let first = |name: &str| read.pointer(&format!("/errors/0/{name}")).and_then(Value::as_str);
        let words: Vec<String> = [first("code"), first("message")].into_iter().flatten().map(short).collect();
        let status = self.status;
        if words.is_empty() { status.to_string() } else { format!("{status}: {}", words.join(" ")) }
    }
}

/// A server's text, short and on one line.
pub(super) fn short(text: &str) -> String {
    text.chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Asks. An error: why there is no whole answer.
pub(super) async fn ask(
    tls: &Arc<ClientConfig>,
    question: Question,
    credentials: Option<&HeaderValue>,
) -> Result<Answer, String> {
    let host = question.uri.authority().map(ToString::to_string).unwrap_or_default();
    let asking = asking(tls, question, credentials);
    match timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|why| format!("{host}: {why}")),
        Err(_) => Err(format!("{host}: no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn asking(
    tls: &Arc<ClientConfig>,
    question: Question,
    credentials: Option<&HeaderValue>,
) -> Result<Answer, String> {
    let Question { method, uri, headers, body, most } = question;
    let is_tls = uri.scheme_str() == Some("https");
    let name = uri.host().unwrap_or_default();
    let name = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name).to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |it| it.as_str());

    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|error| format!("the path: {error}"))?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&authority).map_err(|error| format!("the host: {error}"))?;
    let agent = HeaderValue::from_static(concat!("cofferdam/", env!("CARGO_PKG_VERSION")));
    let credentials = credentials.cloned().map(|it| (AUTHORIZATION, it));
    request.headers_mut().extend([(HOST, host), (USER_AGENT, agent)].into_iter().chain(credentials));

    let stream = TcpStream::connect((name.as_str(), port)).await;
    let stream = stream.map_err(|error| format!("connecting: {error}"))?;
    if !is_tls {
        return answer(stream, request, most).await;
    }
    let server = ServerName::try_from(name).map_err(|error| format!("its name: {error}"))?;
    let secured = TlsConnector::from(Arc::clone(tls)).connect(server, stream).await;
    answer(secured.map_err(|error| format!("TLS: {error}"))?, request, most).await
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, String> {
    let lost = |error: hyper::Error| format!("connection lost: {error}");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let answering = async move {
        let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| format!("its answer, of {most} bytes at most: {error}"))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // Who waits for the answer hears of its end, too.
    let connection = async move {
        let _ended = connection.await;
        pending().await
    };
    tokio::select! {
        answer = answering => answer,
        never = connection => never,
    }
}
