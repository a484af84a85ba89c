//! A target that takes requests of HTTP/1.1: JSON lines, OCSF events, OTLP logs, rows of ClickHouse or parcels of a collector, packed with gzip.
//!
//! What an answer means: 2xx, it is taken; of OTLP some of it may not be, and is not sent again. 400, 413, 415 and 422: it will
//! never be, and smaller parts are tried, to find what of it. Everything else is tried again later: also 401, 403 and 404, for a
//! token or a path can be put right, and until then the ledger keeps what waits. Redirects are not followed.
//! Whoever asks something instead gets the lines of the answer of a 2xx, until they have enough of it, or an error.

use crate::clickhouse;
use crate::format::media_type;
use crate::otlp;
use crate::settings::{Sender, Settings};
use crate::sink::Outcome;
use crate::target::{Format, Host};
use feed::tls::COLLECTOR;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ledger::Receipt;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// How long connecting and one request may take.
const CONNECT: Duration = Duration::from_secs(10);
pub(crate) const WHOLE: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER: usize = 65_536;
/// Bytes of it that are told.
const TOLD: usize = 200;
/// A server may ask for no longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// One target.
#[derive(Debug)]
pub(crate) struct Http {
    format: Format,
    host: Host,
    path: String,
    tls: Tls,
    settings: Settings,
    open: Option<Open>,
}

/// Whether and how TLS is spoken.
#[derive(Clone, Debug)]
pub(crate) enum Tls {
    /// It is not.
    Clear,
    /// With a server whose certificate is one of the URL's host.
    Host(Arc<ClientConfig>),
    /// With a collector, which is known by a name of its own, wherever it is.
    Collector(Sender),
}

/// A connection that may be used again.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http {
    pub(crate) fn new(format: Format, host: Host, path: &str, tls: Tls, settings: Settings) -> Self {
        Self { format, host, path: path.to_owned(), tls, settings, open: None }
    }

    /// Sends one body.
    pub(crate) async fn post(&mut self, body: &[u8]) -> Outcome {
        if body.is_empty() {
            // Nothing in the batch is for this format.
            return Outcome::Taken { rejected: 0, says: None };
        }
        let later = |why: String| Outcome::Later { why, after: None };
        // Of a target of ClickHouse, the path is the database.
        let path = match self.format {
            Format::ClickHouse => clickhouse::path(&self.path, body),
            Format::JsonLines
            | Format::Otlp
            | Format::OtlpTraces
            | Format::OtlpMetrics
            | Format::Ocsf
            | Format::Syslog
            | Format::Collector => self.path.clone(),
        };
        let request = match self.request(&path, body) {
            Ok(request) => request,
            Err(why) => return later(why),
        };
        match tokio::time::timeout(WHOLE, self.exchange(request)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => {
                self.open = None;
                later(why)
            }
            Err(_elapsed) => {
                self.open = None;
                later(format!("no answer within {} s", WHOLE.as_secs()))
            }
        }
    }

    /// Asks something at a path, and shows the lines of the answer, which must come within `patience`, until `see` ends it. Of an answer
    /// that is longer than `most` bytes, or ends early, some lines may have been shown before the error.
    pub(crate) async fn ask(
        &self,
        path: &str,
        question: &[u8],
        (most, patience): (usize, Duration),
        see: impl FnMut(&[u8]) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), String> {
        let asking = async {
            let request = self.request(path, question)?;
            let mut open = self.connect().await?;
            let answer = open.sender.send_request(request).await;
            let answer = answer.map_err(|error| format!("connection lost: {error}"))?;
            let (head, body) = answer.into_parts();
            if !head.status.is_success() {
                let says = Limited::new(body, ANSWER).collect().await.map(Collected::to_bytes);
                return Err(format!("{}{}", head.status, told(&says.unwrap_or_default())));
            }
            each_line(body, most, see).await
        };
        let late = |_| format!("no answer within {} s", patience.as_secs());
        tokio::time::timeout(patience, asking).await.map_err(late)?
    }

    fn request(&self, path: &str, body: &[u8]) -> Result<Request<Full<Bytes>>, String> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let packed =
            packed.write_all(body).and_then(|()| packed.finish()).map_err(|error| error.to_string())?;
        let mut request = Request::new(Full::new(Bytes::from(packed)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().map_err(|error| format!("its path: {error}"))?;
        *request.headers_mut() = self.settings.headers().map_err(|error| error.to_string())?;
        let default = if self.host.is_tls { 443 } else { 80 };
        let host = self.host.to_string();
        let host =
            if self.host.port == default { host.trim_end_matches(&format!(":{default}")) } else { &host };
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|error| format!("its host: {error}"))?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(self.format)));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let agent = HeaderValue::from_static(concat!("cofferdam/", env!("CARGO_PKG_VERSION")));
        headers.entry(USER_AGENT).or_insert(agent);
        Ok(request)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Outcome, String> {
        let mut open = match self.open.take() {
            // The server may have closed it meanwhile.
            Some(open) if !open.sender.is_closed() => open,
            Some(_) | None => self.connect().await?,
        };
        open.sender.ready().await.map_err(|error| format!("connection lost: {error}"))?;
        let answer = open.sender.send_request(request).await;
        let answer = answer.map_err(|error| format!("connection lost: {error}"))?;
        let (outcome, is_whole) = self.outcome(answer).await;
        if is_whole {
            self.open = Some(open);
        }
        Ok(outcome)
    }

    async fn connect(&self) -> Result<Open, String> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.name.as_str(), self.host.port)).await;
            let stream = stream.map_err(|error| format!("connecting to {}: {error}", self.host))?;
            match &self.tls {
                Tls::Clear => spoken(stream).await,
                Tls::Host(config) => spoken(secured(config, &self.host, stream).await?).await,
                Tls::Collector(sender) => {
                    let config = sender.tls()?;
                    spoken(secured_as(&config, COLLECTOR, &self.host, stream).await?).await
                }
            }
        };
        let late = |_| format!("connecting to {}: no answer within {} s", self.host, CONNECT.as_secs());
        tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
    }

    /// What an answer means, and whether it was read to its end.
    async fn outcome(&self, answer: Response<Incoming>) -> (Outcome, bool) {
        let (head, body) = answer.into_parts();
        let read = Limited::new(body, ANSWER).collect().await;
        let (bytes, is_whole) = read.map_or_else(|_| (Bytes::new(), false), |read| (read.to_bytes(), true));
        let says = || format!("{}{}", head.status, told(&bytes));
        let outcome = match head.status {
            // Half an answer says nothing of what became of it.
            status if status.is_success() && self.format == Format::Collector => received(&bytes),
            status if status.is_success() => self.taken(&bytes),
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Never { why: says() },
            status if status.is_redirection() => Outcome::Later {
                why: format!(
                    "{status}: it is elsewhere{}, and redirects are not followed: name the new URL",
                    place(&head.headers)
                ),
                after: None,
            },
            _ => Outcome::Later { why: says(), after: pause(&head.headers, SystemTime::now()) },
        };
        (outcome, is_whole)
    }

    fn taken(&self, answer: &[u8]) -> Outcome {
        match self.format {
            Format::Otlp | Format::OtlpTraces | Format::OtlpMetrics => {
                let (rejected, says) = otlp::partial(answer);
                Outcome::Taken { rejected, says: says.map(|says| told_text(&says)) }
            }
            Format::JsonLines | Format::Ocsf | Format::Syslog | Format::ClickHouse | Format::Collector => {
                Outcome::Taken { rejected: 0, says: None }
            }
        }
    }
}

/// Shows the lines of an answer, without their ends. What has no end is shown as a line, too: whoever reads it finds out.
async fn each_line(
    mut body: Incoming,
    most: usize,
    mut see: impl FnMut(&[u8]) -> Result<ControlFlow<()>, String>,
) -> Result<(), String> {
    let (mut begun, mut read) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("its answer ended early: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read > most {
            return Err(format!("its answer has more than {most} bytes: ask for less at once"));
        }
        let mut parts = data.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            begun.extend_from_slice(part);
            if parts.peek().is_none() {
                break;
            }
            if see(&begun)?.is_break() {
                return Ok(());
            }
            begun.clear();
        }
    }
    if !begun.is_empty() {
        let _end = see(&begun)?;
    }
    Ok(())
}

async fn spoken(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Open, String> {
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| format!("connection lost: {error}"))?;
    let task = tokio::spawn(async move {
        // Whoever sends hears of it, too.
        let _ended = connection.await;
    });
    Ok(Open { sender, task })
}

/// What a collector says of a parcel.
fn received(answer: &[u8]) -> Outcome {
    match serde_json::from_slice::<Receipt>(answer) {
        Ok(Receipt { refused, why, .. }) => {
            Outcome::Taken { rejected: refused, says: why.map(|why| told_text(&why)) }
        }
        Err(error) => Outcome::Later { why: format!("its answer is no receipt: {error}"), after: None },
    }
}

/// TLS to a server.
pub(crate) async fn secured(
    config: &Arc<ClientConfig>,
    host: &Host,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    secured_as(config, &host.name, host, stream).await
}

/// TLS to a server that is known by this name.
async fn secured_as(
    config: &Arc<ClientConfig>,
    name: &str,
    host: &Host,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("its name: {error}"))?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await.map_err(|error| format!("TLS with {host}: {error}"))
}

/// How long the server asks to wait: seconds, or a date (RFC 9110, section 10.2.3).
fn pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

fn place(headers: &HeaderMap) -> String {
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
    place
        .and_then(|place| place.split('?').next())
        .map(|place| format!(" ({})", told_text(place)))
        .unwrap_or_default()
}

/// The beginning of an answer.
fn told(bytes: &[u8]) -> String {
    let text = told_text(&String::from_utf8_lossy(bytes.get(..TOLD * 4).unwrap_or(bytes)));
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A server's text, short and on one line.
pub(crate) fn told_text(text: &str) -> String {
    text.trim().chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_and_never_longer_than_an_hour() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(pause(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
