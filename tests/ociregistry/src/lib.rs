//! A registry of OCI artifacts for tests, on loopback, with tokens as Docker's have them.
//!
//! It is strict: it takes no manifest whose blobs it has not, no blob that is not what its digest says, and no token for another
//! repository or right. Blobs it gives by a redirect to another server, which refuses whoever shows a token, as stores of objects do.
//! Everything is in memory, and ends on drop.
//!
//! Sources: [distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md),
//! [tokens](https://distribution.github.io/distribution/spec/auth/token/).

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use base64::Engine;
use fleet::Digest;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Proper,
    /// It answers 503 to everything.
    Down,
    /// It does not say which digest a manifest has, as it need not.
    Silent,
    /// What it gives as a manifest is another one.
    OtherManifest,
    /// What it gives as a blob is another one, of the same size.
    OtherBlob,
    /// It sends whoever wants a blob to a server without TLS.
    ToClear,
    /// It sends whoever wants a blob to itself, for ever.
    Circular,
    /// Its tokens are to be had without TLS.
    TokensInClear,
}

/// A registry that runs.
pub struct Registry {
    shared: Arc<Shared>,
    authority: String,
    _ends: oneshot::Sender<()>,
}

struct Shared {
    scheme: &'static str,
    port: u16,
    store: u16,
    login: Option<(String, String)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    manner: Manner,
    blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), Vec<u8>>,
    uploads: BTreeSet<String>,
    /// Repository and rights of each.
    tokens: BTreeMap<String, (String, String)>,
    asked: Vec<String>,
    count: u64,
}

type Answer = Response<Full<Bytes>>;

impl Registry {
    /// Over TLS, for whoever has this name and password, or for everybody.
    pub fn start(login: Option<(&str, &str)>) -> Self {
        Self::run(true, login)
    }

    /// Without TLS, for everybody.
    pub fn start_clear() -> Self {
        Self::run(false, None)
    }

    fn run(is_tls: bool, login: Option<(&str, &str)>) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.der().clone()], private).unwrap();
        let acceptor = is_tls.then(|| TlsAcceptor::from(Arc::new(config)));
        let (started, starts) = std::sync::mpsc::channel();
        let (ends, ended) = oneshot::channel::<()>();
        let login = login.map(|(name, password)| (name.to_owned(), password.to_owned()));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let [own, store] = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0")];
                let (own, store) = (own.await.unwrap(), store.await.unwrap());
                let [port, store_port] = [&own, &store].map(|it| it.local_addr().unwrap().port());
                let scheme = if is_tls { "https" } else { "http" };
                let shared =
                    Arc::new(Shared { scheme, port, store: store_port, login, state: Mutex::default() });
                started.send(Arc::clone(&shared)).unwrap();
                tokio::select! {
                    () = serve(own, acceptor.clone(), Arc::clone(&shared), Shared::registry) => {}
                    () = serve(store, acceptor, shared, Shared::store) => {}
                    _ = ended => {}
                }
            });
        });
        Self { shared: starts.recv().unwrap(), authority: made.pem(), _ends: ends }
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.shared.port)
    }

    /// Certificates (PEM) by which it is known.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What it was asked since the last time: `GET /v2/…`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().asked)
    }

    /// From now on it behaves so.
    pub fn behave(&self, manner: Manner) {
        self.shared.state().manner = manner;
    }

    /// Takes no token any more that it gave.
    pub fn forget_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Has a tag mean these bytes.
    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) {
        self.shared.state().put_manifest(repository, tag, bytes);
    }

    /// What a tag means.
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        self.shared.state().manifests.get(&(repository.to_owned(), tag.to_owned())).cloned()
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    answer: fn(&Shared, &Request<Incoming>, &[u8]) -> Answer,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            async move {
                let body = request.body_mut().collect().await.map(|it| it.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(answer(&shared, &request, &body))
            }
        });
        tokio::spawn(async move {
            let http = http1::Builder::new();
            // That somebody hangs up is no matter of the registry's.
            let _ended = match acceptor {
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
                None => http.serve_connection(TokioIo::new(stream), service).await,
            };
        });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn registry(&self, request: &Request<Incoming>, body: &[u8]) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        let query: BTreeMap<String, String> = request.uri().query().map(query).unwrap_or_default();
        self.state().asked.push(format!("{method} {path}"));
        if self.state().manner == Manner::Down {
            return error(503, "UNAVAILABLE");
        }
        if path == "/token" {
            return self.token(request, &query);
        }
        let path = path.strip_prefix("/v2/").unwrap_or_default();
        let parts = ["/manifests/", "/blobs/"].into_iter().find_map(|kind| {
            let (repository, rest) = path.split_once(kind)?;
            Some((repository, kind, rest))
        });
        let Some((repository, kind, rest)) = parts else { return error(404, "NAME_UNKNOWN") };
        let right = if matches!(*method, Method::GET | Method::HEAD) { "pull" } else { "push" };
        if !self.may(request, repository, right) {
            return self.challenge(repository, right);
        }
        match (method.as_str(), kind, rest) {
            ("GET" | "HEAD", "/manifests/", _) => self.give_manifest(repository, rest),
            ("PUT", "/manifests/", _) => self.take_manifest(repository, rest, body),
            ("HEAD", "/blobs/", _) => match self.state().blobs.contains_key(rest) {
                true => answer(200, &[], b""),
                false => error(404, "BLOB_UNKNOWN"),
            },
            ("GET", "/blobs/", _) => self.lead_to_blob(repository, rest),
            ("POST", "/blobs/", "uploads/") => {
                let mut state = self.state();
                state.count += 1;
                let id = format!("{}", state.count);
                state.uploads.insert(id.clone());
                let location = format!("/v2/{repository}/blobs/uploads/{id}?state=x");
                answer(202, &[("location", &location), ("range", "0-0")], b"")
            }
            ("PUT", "/blobs/", _) => self.take_blob(rest, &query, body),
            _ => error(405, "UNSUPPORTED"),
        }
    }

    fn may(&self, request: &Request<Incoming>, repository: &str, right: &str) -> bool {
        let header = request.headers().get("authorization").and_then(|it| it.to_str().ok());
        let state = self.state();
        let token = header.and_then(|it| state.tokens.get(it.strip_prefix("Bearer ")?));
        token.is_some_and(|(of, rights)| of == repository && rights.split(',').any(|it| it == right))
    }

    fn challenge(&self, repository: &str, right: &str) -> Answer {
        let scheme = if self.state().manner == Manner::TokensInClear { "http" } else { self.scheme };
        let wants = format!(
            "Bearer realm=\"{scheme}://localhost:{}/token\",service=\"for tests\",scope=\"repository:{repository}:{right}\"",
            self.port
        );
        let mut refused = error(401, "UNAUTHORIZED");
        refused.headers_mut().insert("www-authenticate", wants.parse().unwrap());
        refused
    }

    fn token(&self, request: &Request<Incoming>, query: &BTreeMap<String, String>) -> Answer {
        let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let expected = self.login.as_ref().map(|(name, password)| {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
            format!("Basic {pair}")
        });
        let shown = request.headers().get("authorization").and_then(|it| it.to_str().ok());
        if expected.is_some() && shown != expected.as_deref() {
            return error(401, "UNAUTHORIZED");
        }
        let scope: Vec<&str> = of("scope").split(':').collect();
        let (["repository", repository, rights], "for tests") = (scope.as_slice(), of("service")) else {
            return error(400, "UNSUPPORTED");
        };
        let mut state = self.state();
        state.count += 1;
        let token = format!("token-{}", state.count);
        state.tokens.insert(token.clone(), ((*repository).to_owned(), (*rights).to_owned()));
        answer(200, &[], json!({ "token": token, "expires_in": 300 }).to_string().as_bytes())
    }

    fn give_manifest(&self, repository: &str, which: &str) -> Answer {
        let state = self.state();
        let Some(bytes) = state.manifests.get(&(repository.to_owned(), which.to_owned())) else {
            return error(404, "MANIFEST_UNKNOWN");
        };
        let digest = Digest::of(bytes);
        let bytes = if state.manner == Manner::OtherManifest {
            [bytes, b" ".as_slice()].concat()
        } else {
            bytes.clone()
        };
        let mut given =
            answer(200, &[("content-type", "application/vnd.oci.image.manifest.v1+json")], &bytes);
        if state.manner != Manner::Silent {
            given.headers_mut().insert("docker-content-digest", digest.as_str().parse().unwrap());
        }
        given
    }

    fn take_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> Answer {
        let read: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let layers = read.get("layers").and_then(Value::as_array).into_iter().flatten();
        let mut blobs =
            layers.chain(read.get("config")).filter_map(|it| it.get("digest").and_then(Value::as_str));
        let mut state = self.state();
        if !blobs.all(|digest| state.blobs.contains_key(digest)) {
            return error(404, "MANIFEST_BLOB_UNKNOWN");
        }
        let digest = state.put_manifest(repository, tag, bytes);
        let location = format!("/v2/{repository}/manifests/{digest}");
        answer(201, &[("location", &location), ("docker-content-digest", digest.as_str())], b"")
    }

    fn take_blob(&self, path: &str, query: &BTreeMap<String, String>, bytes: &[u8]) -> Answer {
        let id = path.strip_prefix("uploads/").unwrap_or_default();
        let digest = query.get("digest").map(String::as_str).unwrap_or_default();
        let mut state = self.state();
        if query.get("state").map(String::as_str) != Some("x") || !state.uploads.remove(id) {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        if Digest::of(bytes).as_str() != digest {
            return error(400, "DIGEST_INVALID");
        }
        state.blobs.insert(digest.to_owned(), bytes.to_vec());
        answer(201, &[("docker-content-digest", digest)], b"")
    }

    fn lead_to_blob(&self, repository: &str, digest: &str) -> Answer {
        let state = self.state();
        if !state.blobs.contains_key(digest) {
            return error(404, "BLOB_UNKNOWN");
        }
        let location = match state.manner {
            Manner::Circular => format!("/v2/{repository}/blobs/{digest}"),
            Manner::ToClear => format!("http://localhost:{}/{digest}", self.store),
            Manner::Proper
            | Manner::Down
            | Manner::Silent
            | Manner::OtherManifest
            | Manner::OtherBlob
            | Manner::TokensInClear => {
                format!("{}://localhost:{}/{digest}?signature=for-a-while", self.scheme, self.store)
            }
        };
        answer(307, &[("location", &location)], b"")
    }

    fn store(&self, request: &Request<Incoming>, _body: &[u8]) -> Answer {
        // As S3: two ways to say who asks are one too many.
        if request.headers().contains_key("authorization") || request.uri().query().is_none() {
            return error(400, "INVALID");
        }
        let state = self.state();
        let Some(bytes) = state.blobs.get(request.uri().path().trim_start_matches('/')) else {
            return error(404, "BLOB_UNKNOWN");
        };
        let mut bytes = bytes.clone();
        if let Some(last) = bytes.last_mut().filter(|_| state.manner == Manner::OtherBlob) {
            *last ^= 1;
        }
        answer(200, &[], &bytes)
    }
}

impl State {
    fn put_manifest(&mut self, repository: &str, tag: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for which in [tag, digest.as_str()] {
            self.manifests.insert((repository.to_owned(), which.to_owned()), bytes.to_vec());
        }
        digest
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

fn error(status: u16, code: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase().replace('_', " ") }] });
    answer(status, &[("content-type", "application/json")], body.to_string().as_bytes())
}

/// Names and values of a query, with what is written as `%XX`.
fn query(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            let digits = (byte == b'%').then(|| [rest.next(), rest.next()]);
            bytes.push(match digits {
                Some([Some(high), Some(low)]) => {
                    u8::from_str_radix(std::str::from_utf8(&[high, low]).unwrap_or_default(), 16)
                        .unwrap_or(b'?')
                }
                Some(_) => b'?',
                None => byte,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
