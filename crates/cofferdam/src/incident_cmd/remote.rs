//! Containments asked for at an API over HTTP: that of a collector, or of an agent elsewhere.
//!
//! Enters: where the API is, and a token for it. Leaves: what it answers. Guarantees: a token passes in clear only to this machine;
//! each question has an end. Does not: keep the token, or follow redirects.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one question may take: a containment is waited for until nodes have it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes of an answer.
const ANSWER: usize = 16 << 20;

/// Where an API is, if one is to be asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RemoteArgs {
    /// Ask the API of a collector, or of an agent elsewhere: http://127.0.0.1:8080 or https://HOST:PORT
    #[arg(long, value_name = "URL", requires = "token", conflicts_with_all = ["ledger", "socket"])]
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
    pub(super) fn remote(&self) -> Result<Option<Remote>> {
        let (Some(url), Some(token)) = (&self.api, &self.token) else { return Ok(None) };
        let host = url.host().context("--api: the URL names no host: write http://127.0.0.1:8080")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ensure!(
            matches!(url.path(), "" | "/") && url.query().is_none(),
            "--api: name only scheme, host and port, as https://HOST:PORT"
        );
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
        let mut token = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .with_context(|| format!("--token {}: what is in it is no token", token.display()))?;
        token.set_sensitive(true);
        Ok(Some(Remote { host, port: url.port_u16().unwrap_or(default), token, tls }))
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
pub(super) struct Remote {
    host: String,
    port: u16,
    token: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
}

impl Remote {
    /// The incident that is meant, and its workloads: by its id or the beginning of one, or the latest of a workload.
    ///
    /// # Errors
    /// There is none, there are several, or the API does not answer.
    pub(super) fn incident(&self, id: Option<&str>, workload: Option<&str>) -> Result<(String, Vec<String>)> {
        let found = self.ask(&Method::GET, "/incidents", None)?;
        let items = found.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = |item: &Value| {
            let workloads = item.get("workloads").and_then(Value::as_array).into_iter().flatten();
            let workloads: Vec<String> = workloads.filter_map(Value::as_str).map(str::to_owned).collect();
            (item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(), workloads)
        };
        let mut meant = items.iter().map(of).filter(|(known, workloads)| match (id, workload) {
            (Some(id), _) => !id.is_empty() && known.starts_with(id),
            (None, Some(workload)) => workloads.iter().any(|it| it == workload),
            (None, None) => false,
        });
        // Of a workload the latest, which comes first.
        match (meant.next(), id.is_some() && meant.next().is_some()) {
            (Some(_), true) => bail!("several incidents begin with that: give more of the id"),
            (Some(found), false) => Ok(found),
            (None, _) => bail!(
                "there is no such incident at that API: name one by its id, as its console and GET /api/v1/incidents have it"
            ),
        }
    }

    /// Cuts a workload off, or says what that would be. Answers as the socket does.
    ///
    /// # Errors
    /// The API refuses it, or does not answer.
    pub(super) fn contain(
        &self,
        incident: &str,
        workload: &str,
        lasts: Duration,
        dry_run: bool,
    ) -> Result<Value> {
        let minutes = lasts.as_secs().div_ceil(60).max(1);
        let order = json!({ "workload": workload, "minutes": minutes, "dry_run": dry_run });
        self.ask(&Method::POST, &format!("/incidents/{incident}/contain"), Some(&order))
    }

    /// Lets a workload go.
    ///
    /// # Errors
    /// As [`Self::contain`].
    pub(super) fn release(&self, incident: &str, workload: &str) -> Result<Value> {
        self.ask(
            &Method::POST,
            &format!("/incidents/{incident}/release"),
            Some(&json!({ "workload": workload })),
        )
    }

    fn ask(&self, method: &Method, path: &str, order: Option<&Value>) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A timer begins within the runtime that runs it, or panics.
        let asking = async { tokio::time::timeout(PATIENCE, self.exchange(method, path, order)).await };
        let asked = runtime.block_on(asking);
        let (status, answer) = asked
            .map_err(|_| anyhow::anyhow!("{}: no answer within {} s", self.name(), PATIENCE.as_secs()))??;
        let read: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(read);
        }
        let why = read.get("detail").and_then(Value::as_str).unwrap_or("it says no more");
        bail!("{} answers {status}: {why}", self.name())
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        order: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let connecting = || format!("connecting to {}", self.name());
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs().with_context(connecting)?;
        let address = addresses.next().with_context(connecting)?;
        let stream = TcpStream::connect(address).await.with_context(connecting)?;
        let body = order.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method.clone();
        *request.uri_mut() = format!("/api/v1{path}").parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.name())?);
        headers.insert(AUTHORIZATION, self.token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match &self.tls {
            None => answer(stream, request).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                answer(stream.with_context(connecting)?, request).await
            }
        }
        .with_context(|| format!("asking {}", self.name()))
    }

    fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

async fn answer<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let read = Limited::new(response.into_body(), ANSWER).collect().await;
    connection.abort();
    match read {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) => bail!("its answer: {error}"),
    }
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
            ("https://10.0.0.1:8080", "--authority"),
            ("ftp://127.0.0.1", "https://HOST:PORT"),
            ("http://127.0.0.1:8080/api/v1", "only scheme, host and port"),
        ] {
            let error = args(api, false).1.err().unwrap().to_string();
            assert!(error.contains(says), "{api}: {error}");
        }
        assert!(args("https://10.0.0.1:8080", true).1.err().unwrap().to_string().contains("none.crt"));
    }
}
