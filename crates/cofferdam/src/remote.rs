//! An HTTP API, asked what it knows, or told to do something: that of a collector, or of an `up` or agent elsewhere.
//!
//! Enters: where the API is, and a token for it. Leaves: what it answers. Guarantees: a token passes in clear only to this machine;
//! each question has an end; what is not the API's answer is an error. Does not: keep the token, follow redirects, or ask by way of a
//! proxy that the environment names.

mod answer;
mod list;
mod store;
mod trust;

pub(crate) use list::{Kept, Seen, Sought, is_end, whole};
pub(crate) use store::{Question, segment};

use crate::plain::printable;
use answer::{ANSWER, Event, Whole, events, is_stream, over};
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use trust::Trust;

/// How long one question may take: a containment is waited for until nodes have it.
const PATIENCE: Duration = Duration::from_secs(60);
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
    /// Certificates (PEM) of the authorities by which its server is known over https, instead of the system's
    #[arg(long, visible_alias = "api-ca", value_name = "FILE", requires = "api")]
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
            (Some("https"), file) => (Some(Trust::of(file.as_deref())?), 443),
            (Some("http"), Some(_)) => {
                bail!(
                    "--api {url}: nobody shows a certificate in clear: write https://, or leave out --authority"
                )
            }
            (Some("http"), None) => {
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

/// One API.
#[derive(Debug)]
pub(crate) struct Remote {
    host: String,
    port: u16,
    token: HeaderValue,
    tls: Option<Trust>,
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
        self.whole(method, path, order, ANSWER)?.judged(&self.name())
    }

    /// Asks for a file of this media type below `/api/v1`, of at most so many bytes.
    ///
    /// # Errors
    /// As [`Self::ask`], or it is longer.
    pub(crate) fn file(&self, path: &str, kind: &str, most: usize) -> Result<Bytes> {
        self.whole(&Method::GET, path, None, most)?.file(kind, &self.name())
    }

    fn whole(&self, method: &Method, path: &str, order: Option<&Value>, most: usize) -> Result<Whole> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A timer begins within the runtime that runs it, or panics.
        let asking = async {
            let Answering { response, _sender } = self.begin(method, path, order).await?;
            Whole::of(response, most, &self.name()).await
        };
        let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await });
        asked.map_err(|_| self.silent(PATIENCE))?
    }

    /// Asks for something below `/api/v1` whose form is known.
    ///
    /// # Errors
    /// As [`Self::ask`], or it has another form.
    pub(crate) fn told<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.ask(&Method::GET, path, None)?;
        serde_json::from_value(answer).map_err(|error| {
            // It repeats what the answer has.
            let error = printable(&error.to_string());
            anyhow!("the answer of {} is not what this version of the program expects: {error}", self.name())
        })
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
            if !is_stream(&response) {
                let whole = tokio::time::timeout(PATIENCE, Whole::of(response, ANSWER, &self.name())).await;
                return whole.map_err(|_| self.silent(PATIENCE))??.no_events(&self.name());
            }
            let mut body = response.into_body();
            let mut waiting = Vec::new();
            loop {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let frame = frame.map_err(|_| self.silent(SILENCE))?;
                let Some(frame) = frame else { return over(&waiting, &self.name()) };
                if let Ok(bytes) = frame.with_context(|| format!("following {}", self.name()))?.into_data() {
                    waiting.extend_from_slice(&bytes);
                }
                for event in events(&mut waiting).with_context(|| format!("following {}", self.name()))? {
                    see(event)?;
                }
                ensure!(waiting.len() <= EVENT, "{}: an event is longer than {EVENT} bytes", self.name());
            }
        })
    }

    fn silent(&self, lasts: Duration) -> anyhow::Error {
        anyhow::anyhow!("{}: no answer within {} s", self.name(), lasts.as_secs())
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
        let asked = match &self.tls {
            None => answering(stream, request).await,
            Some(trust) => {
                let stream = trust.connect(&self.host, stream).await.with_context(connecting)?;
                answering(stream, request).await
            }
        };
        asked.map_err(|error| self.unanswered(error)).with_context(|| format!("asking {}", self.name()))
    }

    /// A server of TLS answers what comes in clear with an alert, or not at all.
    fn unanswered(&self, error: hyper::Error) -> anyhow::Error {
        let what = if error.is_parse() { "what comes is no HTTP" } else { "no answer came" };
        let out = if self.tls.is_none() { ": if it speaks TLS there, write https://" } else { "" };
        anyhow::Error::new(error).context(format!("{what}{out}"))
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

async fn answering<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answering, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    Ok(Answering { response, _sender: sender })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_token_passes_in_clear_only_to_this_machine() {
        for api in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080/"] {
            assert!(args(api, false).1.unwrap().is_some(), "{api}");
        }
        for (api, says) in [
            ("http://10.0.0.1:8080", "in clear"),
            ("ftp://127.0.0.1", "https://HOST:PORT"),
            ("http://127.0.0.1:8080/api/v1", "only scheme, host and port"),
            ("http://ada:secret@127.0.0.1:8080", "names a user"),
        ] {
            let error = args(api, false).1.err().unwrap().to_string();
            assert!(error.contains(says), "{api}: {error}");
        }
        assert!(args("https://10.0.0.1:8080", true).1.err().unwrap().to_string().contains("none.crt"));
        assert!(args("http://127.0.0.1:8080", true).1.err().unwrap().to_string().contains("write https://"));
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
