//! Fetches the key sets of issuers.
//!
//! Guarantees: by HTTPS and without following anybody elsewhere; size and time are bounded; who waits for keys is told when
//! something came. When to fetch which, `authn` says.

use crate::server::seconds;
use authn::{Fetch, KeySources};
use http::{Request, StatusCode, Uri, header};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether one is due, at least.
const STEP: Duration = Duration::from_secs(5);

/// Keys of issuers, and who waits for them.
#[derive(Debug)]
pub struct Keys {
    pub(crate) sources: Arc<KeySources>,
    roots: Arc<RootCertStore>,
    wanted: Notify,
    came: watch::Sender<u64>,
}

impl Keys {
    /// `roots`: by whom servers are certified where a policy says nothing.
    pub fn new(roots: Arc<RootCertStore>) -> Self {
        Self { sources: Arc::default(), roots, wanted: Notify::new(), came: watch::Sender::new(0) }
    }

    /// When to fetch which.
    #[must_use]
    pub fn sources(&self) -> &KeySources {
        &self.sources
    }

    /// Has what is due fetched, and waits until something came.
    pub async fn wanted(&self, within: Duration) {
        let mut came = self.came.subscribe();
        self.wanted.notify_one();
        // Who asks again sees whether it was enough.
        let _late = timeout(within, came.changed()).await;
    }

    /// Fetches what is due, for ever.
    pub async fn keep(self: Arc<Self>) {
        loop {
            for fetch in self.sources.due(seconds()) {
                let keys = Arc::clone(&self);
                tokio::spawn(async move {
                    let fetched = timeout(PATIENCE, keys.fetch(&fetch)).await;
                    match fetched.ok().flatten() {
                        // What is no key set is as good as none.
                        Some(body) => drop(keys.sources.fetched(&fetch, &body, seconds())),
                        None => keys.sources.failed(&fetch, seconds()),
                    }
                    keys.came.send_modify(|count| *count = count.wrapping_add(1));
                });
            }
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep(STEP) => {}
            }
        }
    }

    async fn fetch(&self, fetch: &Fetch) -> Option<Vec<u8>> {
        let uri: Uri = fetch.url.parse().ok()?;
        if uri.scheme_str() != Some("https") {
            return None;
        }
        let host = uri.host()?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((name.as_str(), uri.port_u16().unwrap_or(443))).await.ok()?;
        let connector = TlsConnector::from(Arc::new(self.client(fetch)?));
        let stream = connector.connect(ServerName::try_from(name).ok()?, stream).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let task = tokio::spawn(async move { drop(connection.await) });
        let request = Request::get(uri.path_and_query()?.as_str())
            .header(header::HOST, uri.authority()?.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Nothing)
            .ok()?;
        let answer = sender.send_request(request).await.ok()?;
        let body = match answer.status() {
            StatusCode::OK => read(answer.into_body()).await,
            _ => None,
        };
        task.abort();
        body
    }

    fn client(&self, fetch: &Fetch) -> Option<ClientConfig> {
        let roots = match &fetch.ca {
            None => Arc::clone(&self.roots),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(certificate.ok()?).ok()?;
                }
                Arc::new(roots)
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        Some(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// A body, as far as a key set may be long.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if bytes.len() + data.len() > KeySources::MOST_BYTES {
            return None;
        }
        bytes.extend_from_slice(&data);
    }
    Some(bytes)
}

/// The body of a request without one.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
