//! One request to the identity provider, by HTTPS.
//!
//! Guarantees: its certificate is verified; size and time are bounded; redirects are not followed, for they could take the code
//! elsewhere.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_BYTES: usize = 256 << 10;

pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Reads something.
///
/// # Errors
/// No whole answer came, in words.
pub(super) async fn get(tls: &Arc<ClientConfig>, url: &Uri) -> Result<(StatusCode, Bytes), String> {
    let request = Request::get(path(url)).header(header::ACCEPT, "application/json");
    ask(tls, url, request.body(Full::default())).await
}

/// Sends a form; `by`: the Authorization header.
///
/// # Errors
/// No whole answer came, in words.
pub(super) async fn post(
    tls: &Arc<ClientConfig>,
    url: &Uri,
    by: Option<&str>,
    form: String,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::post(path(url))
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = by.into_iter().fold(request, |request, by| request.header(header::AUTHORIZATION, by));
    ask(tls, url, request.body(Full::from(form))).await
}

fn path(url: &Uri) -> &str {
    url.path_and_query().map_or("/", |path| path.as_str())
}

async fn ask(
    tls: &Arc<ClientConfig>,
    url: &Uri,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<(StatusCode, Bytes), String> {
    let host = url.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(443);
    let mut request = request.map_err(|error| error.to_string())?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let authority = header::HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, authority);
    let asking = async {
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| format!("connecting to {host}:{port}: {error}"))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("TLS with {host}:{port}: {error}"))?;
        let lost = |error: hyper::Error| format!("{host}:{port}: the connection was lost: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let _ends = Ends(tokio::spawn(async move { drop(connection.await) }));
        let answer = sender.send_request(request).await.map_err(lost)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| format!("{host}:{port}: its answer: {error}"))?;
        Ok((head.status, body.to_bytes()))
    };
    let late = |_| format!("{host}:{port}: no answer within {} s", PATIENCE.as_secs());
    timeout(PATIENCE, asking).await.map_err(late)?
}

/// Ends a task with whoever has it.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
