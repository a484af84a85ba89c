//! An HTTP API, asked what it knows, or told to do something: that of a collector, or of an `up` or agent elsewhere.
//!
//! Enters: where the API is, and a token for it. Leaves: what it answers. Guarantees: a token passes in clear only to this machine;
//! each question has an end. Does not: keep the token, follow redirects, or ask by way of a proxy that the environment names.

mod list;
mod store;

pub(crate) use list::{Kept, Seen, Sought, is_end, whole};

use crate::plain::printable;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one question may take: a containment is waited for until nodes have it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of an answer.
const ANSWER: usize = 64 << 20;
/// Most bytes of one event of a stream.
const EVENT: usize = 16 << 20;
/// How long a stream may say nothing: it says every 15 seconds that there is nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Where an API is, if one is to be asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RemoteArgs {
    /// Ask the HTTP API of a collector, or of an `up` or agent elsewhere: http://127.0.0.1:8080 or https://HOST:PORT
    #[arg(long, value_name = "URL", requires = "token", conflicts_with = "socket")]
    api: Option<Uri>,
    /// File with a token for it: that beside its ledger, or one of the cluster (kubectl create token)
    #[arg(long, value_name = "FILE", requires = "api")]
    token: Option<PathBuf>,
    /// Certificates (PEM) by which its server is known; needed for https
    #[arg(long, value_name = "FILE", requires = "api")]
    authority: Option<PathBuf>,
}

impl RemoteArgs {
    /// The API that is to be asked, if one is.
    ///
    /// # Errors
    /// Its URL cannot be used, or a file cannot be read.
    pub(crate) fn remote(&self) -> Result<Option<Remote>> {
        let (Some(url), Some(token)) = (&self.api, &self.token) else { return Ok(None) };
        let host = url.host().context("--api: the URL names no host: write http://127.0.0.1:8080")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ensure!(
            matches!(url.path(), "" | "/") && url.query().is_none(),
            "--api: name only scheme, host and port, as https://HOST:PORT"
        );
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        ensure!(!has_user, "--api: the URL names a user: leave that out, a token is all that is shown");
        let (tls, default) = match (url.scheme_str(), &self.authority) {
            (Some("https"), Some(file)) => (Some(trusting(file)?), 443),
            (Some("https"), None) => {
                bail!("--api {url}: name the certificates that its server is known by: --authority FILE")
            }
            (Some("http"), _) => {
                let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
                ensure!(
                    is_here,
                    "--api {url}: the token would pass in clear: use https, or kubectl port-forward and http://127.0.0.1"
                );
                (None, 80)
            }
            _ => bail!("--api {url}: write http://127.0.0.1:PORT or https://HOST:PORT"),
        };
        let text = fs::read_to_string(token).with_context(|| format!("--token {}", token.display()))?;
        ensure!(!text.trim().is_empty(), "--token {}: there is no token in it", token.display());
        let mut token = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .with_context(|| format!("--token {}: what is in it is no token", token.display()))?;
        token.set_sensitive(true);
        Ok(Some(Remote { host, port: url.port_u16().unwrap_or(default), token, tls }))
    }

    /// Whether one is named.
    pub(crate) fn is_named(&self) -> bool {
        self.api.is_some()
    }

    /// The same, where a ledger's file may be named as well.
    ///
    /// # Errors
    /// Both are named, or as [`Self::remote`].
    pub(crate) fn or_ledger(&self, ledger: Option<&Path>) -> Result<Option<Remote>> {
        let remote = self.remote()?;
        ensure!(remote.is_none() || ledger.is_none(), "--api and --ledger: name the one that is to be asked");
        Ok(remote)
    }
}

fn trusting(file: &Path) -> Result<Arc<ClientConfig>> {
    let reading = || format!("--authority {}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(reading)? {
        roots.add(certificate.with_context(reading)?).with_context(reading)?;
    }
    ensure!(!roots.is_empty(), "--authority {}: there is no certificate in it", file.display());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// One API.
#[derive(Debug)]
pub(crate) struct Remote {
    host: String,
    port: u16,
    token: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
}

/// What a stream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Of what kind it is.
    pub(crate) name: String,
    /// What comes with it.
    pub(crate) data: Value,
}

/// An answer with its body.
struct Whole {
    status: StatusCode,
    /// Seconds after which to ask again, if it says so.
    wait: Option<u64>,
    body: Bytes,
}

/// An answer whose body is still to come, and the connection that it comes by.
struct Answering {
    response: Response<Incoming>,
    _sender: SendRequest<Full<Bytes>>,
}

impl Remote {
    /// Asks for something below `/api/v1`, with `order` as JSON.
    ///
    /// # Errors
    /// The API refuses it, or does not answer.
    pub(crate) fn ask(&self, method: &Method, path: &str, order: Option<&Value>) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A timer begins within the runtime that runs it, or panics.
        let asking = async {
            let Answering { response, _sender } = self.begin(method, path, order).await?;
            self.whole(response).await
        };
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await });
        self.judged(&asked.map_err(|_| self.silent(PATIENCE))??)
    }

    /// Shows what a stream below `/api/v1` says, until `see` fails or the stream ends.
    ///
    /// # Errors
    /// The API refuses it, it ends or breaks off, or what `see` says.
    pub(crate) fn follow(&self, path: &str, mut see: impl FnMut(Event) -> Result<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let begun = tokio::time::timeout(PATIENCE, self.begin(&Method::GET, path, None)).await;
            let Answering { response, _sender } = begun.map_err(|_| self.silent(PATIENCE))??;
            if !response.status().is_success() {
                let whole = tokio::time::timeout(PATIENCE, self.whole(response)).await;
                return self.judged(&whole.map_err(|_| self.silent(PATIENCE))??).map(drop);
            }
            let mut body = response.into_body();
            let mut waiting = Vec::new();
            loop {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let frame = frame.map_err(|_| self.silent(SILENCE))?;
                let frame = frame.with_context(|| format!("{} ended what it told", self.name()))?;
                if let Ok(bytes) = frame.with_context(|| format!("following {}", self.name()))?.into_data() {
                    waiting.extend_from_slice(&bytes);
                }
                for event in events(&mut waiting) {
                    see(event)?;
                }
                ensure!(waiting.len() <= EVENT, "{}: an event is longer than {EVENT} bytes", self.name());
            }
        })
    }

    fn silent(&self, lasts: Duration) -> anyhow::Error {
        anyhow::anyhow!("{}: no answer within {} s", self.name(), lasts.as_secs())
    }

    fn judged(&self, Whole { status, wait, body }: &Whole) -> Result<Value> {
        let read: Value = serde_json::from_slice(body).unwrap_or_default();
        if status.is_success() {
            return Ok(read);
        }
        let why = match read.get("detail").and_then(Value::as_str) {
            Some(why) => printable(why),
            None if status.is_redirection() => {
                "it sends elsewhere, and no token follows: name the API's own address".to_owned()
            }
            None => "it says no more: is it the API of Cofferdam, and of this version?".to_owned(),
        };
        let out = match (*status, wait) {
            (StatusCode::UNAUTHORIZED, _) => "; name a file with a token of this API with --token".to_owned(),
            (_, Some(seconds)) => format!("; try again in {seconds} s"),
            (_, None) => String::new(),
        };
        bail!("{} answers {status}: {why}{out}", self.name())
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Whole> {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
        match Limited::new(response.into_body(), ANSWER).collect().await {
            Ok(body) => Ok(Whole { status, wait, body: body.to_bytes() }),
            Err(error) => bail!("the answer of {}: {error}", self.name()),
        }
    }

    async fn begin(&self, method: &Method, path: &str, order: Option<&Value>) -> Result<Answering> {
        let connecting = || format!("connecting to {}", self.name());
        let found = (self.host.as_str(), self.port).to_socket_addrs().with_context(connecting)?;
        let addresses = self.addresses(found);
        let stream = TcpStream::connect(addresses.as_slice()).await.with_context(connecting)?;
        let body = order.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method.clone();
        *request.uri_mut() = format!("/api/v1{path}").parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.name())?);
        headers.insert(AUTHORIZATION, self.token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match &self.tls {
            None => answering(stream, request).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                answering(stream.with_context(connecting)?, request).await
            }
        }
        .with_context(|| format!("asking {}", self.name()))
    }

    /// Those that are tried, one after the other: a name may lead to more than it listens at. In clear, whatever a name leads to, none but
    /// this machine's.
    fn addresses(&self, found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        found.filter(|address| self.tls.is_some() || address.ip().is_loopback()).collect()
    }

    /// Its host and port.
    pub(crate) fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

async fn answering<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answering>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    Ok(Answering { response, _sender: sender })
}

/// Takes the events that are whole out of what came (WHATWG HTML, "Server-sent events", as the API writes them).
fn events(waiting: &mut Vec<u8>) -> Vec<Event> {
    let mut found = Vec::new();
    while let Some(end) = waiting.windows(2).position(|it| it == b"\n\n") {
        let rest = waiting.split_off(end + 2);
        let text = std::mem::replace(waiting, rest);
        let mut event = Event::default();
        for line in String::from_utf8_lossy(&text).lines() {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap_or_default(),
                Some(_) | None => {}
            }
        }
        found.push(event);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(api: &str, authority: bool) -> (tempfile::TempDir, Result<Option<Remote>>) {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "secret\n").unwrap();
        let authority = authority.then(|| folder.path().join("none.crt"));
        let args = RemoteArgs { api: Some(api.parse().unwrap()), token: Some(token), authority };
        let remote = args.remote();
        (folder, remote)
    }

    #[test]
    fn events_come_whole_however_they_are_cut_on_the_way() {
        let text = "event: lost\ndata: {\"records\":3}\n\nevent: record\nid: 7\ndata: {\"number\":7}\n\nevent: ping\ndata: {}\n\n";
        let expected =
            [("lost", json!({"records": 3})), ("record", json!({"number": 7})), ("ping", json!({}))]
                .map(|(name, data)| Event { name: name.to_owned(), data });
        for cut in 1..text.len() {
            let (mut waiting, mut found) = (Vec::new(), Vec::new());
            for bytes in text.as_bytes().chunks(cut) {
                waiting.extend_from_slice(bytes);
                found.extend(events(&mut waiting));
            }
            assert_eq!((found.as_slice(), waiting.len()), (&expected[..], 0), "{cut}");
        }
    }

    #[test]
    fn a_token_passes_in_clear_only_to_this_machine() {
        for api in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080/"] {
            assert!(args(api, false).1.unwrap().is_some(), "{api}");
        }
        for (api, says) in [
            ("http://10.0.0.1:8080", "in clear"),
            ("https://10.0.0.1:8080", "--authority"),
            ("ftp://127.0.0.1", "https://HOST:PORT"),
            ("http://127.0.0.1:8080/api/v1", "only scheme, host and port"),
            ("http://ada:secret@127.0.0.1:8080", "names a user"),
        ] {
            let error = args(api, false).1.err().unwrap().to_string();
            assert!(error.contains(says), "{api}: {error}");
        }
        assert!(args("https://10.0.0.1:8080", true).1.err().unwrap().to_string().contains("none.crt"));
    }

    #[test]
    fn in_clear_all_addresses_of_this_machine_are_tried_and_no_others() {
        let found: [SocketAddr; 3] =
            ["[::1]:80", "10.0.0.1:80", "127.0.0.1:80"].map(|text| text.parse().unwrap());
        let [first, _, last] = found;
        let remote = args("http://localhost", false).1.unwrap().unwrap();
        assert_eq!(remote.addresses(found.into_iter()), [first, last]);
    }

    #[test]
    fn a_file_without_a_token_is_told() {
        for (text, says) in [("", "no token in it"), (" \n", "no token in it"), ("a\nb\n", "is no token")] {
            let folder = tempfile::tempdir().unwrap();
            let token = folder.path().join("token");
            fs::write(&token, text).unwrap();
            let api = Some("http://127.0.0.1".parse().unwrap());
            let error = RemoteArgs { api, token: Some(token), authority: None }.remote().err().unwrap();
            assert!(error.to_string().contains(says), "{text:?}: {error}");
        }
    }
}
