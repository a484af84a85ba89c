//! A repository of an OCI registry ([`fleet::oci`]): asked for its files, and given them.
//!
//! Enters: which repository and tag, how TLS is spoken, a login. Leaves: files of the folder that was pushed there. Guarantees: what is
//! not what its digest says is not handed on; a login and a token pass in clear to nobody, and to no other host than the one
//! that the registry names for it; answers are bounded, in time and in bytes. Does not: believe what is in the files.
//!
//! Protocol: [distribution specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md), and its
//! [token authentication](https://distribution.github.io/distribution/spec/auth/token/).

mod http;

use self::http::{Answer, Question, ask, short};
use fleet::Digest;
use fleet::oci::{Blob, Challenge, EMPTY, Files, Login, MANIFEST, MOST_MANIFEST, Place, Version};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use hyper::{Method, StatusCode, Uri};
use rustls::ClientConfig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes of an answer in which only its head counts, and of one with a token.
const MOST_WORDS: usize = 64 * 1024;
/// Redirects on the way to one blob.
const MOST_REDIRECTS: usize = 3;
/// How long a token holds of which that is not said, and how much earlier it is asked for again.
const TOKEN: Duration = Duration::from_secs(60);
const EARLIER: Duration = Duration::from_secs(10);
/// What a registry says that a manifest's digest is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// Who reads the login for the registry: anew whenever one is asked for. `Ok(None)`: there is none.
pub type Logins = Box<dyn Fn() -> Result<Option<Login>, String> + Send + Sync>;

/// A repository, and what of it was seen.
pub struct Registry {
    place: Place,
    tls: Arc<ClientConfig>,
    logins: Logins,
    token: Mutex<Option<Token>>,
    tree: Mutex<Option<Arc<Tree>>>,
}

/// What was pushed at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Of its manifest.
    pub(crate) digest: Digest,
    files: Files,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest.
    pub digest: Digest,
    /// Files that the registry did not have.
    pub new: usize,
}

/// What is to be done there, as a token's scope says it.
#[derive(Clone, Copy)]
enum Right {
    Pull,
    Push,
}

impl Right {
    fn words(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

impl Registry {
    /// Nothing is asked before it is needed.
    pub fn new(place: Place, tls: Arc<ClientConfig>, logins: Logins) -> Self {
        Self { place, tls, logins, token: Mutex::default(), tree: Mutex::default() }
    }

    /// What is there now.
    pub(crate) async fn look(&self) -> Result<Arc<Tree>, String> {
        let expected = match &self.place.version {
            Version::Digest(digest) => Some(digest.clone()),
            Version::Tag(tag) => self.digest_of(tag).await?,
        };
        let known = self.known().filter(|known| Some(&known.digest) == expected.as_ref());
        if let Some(known) = known {
            return Ok(known);
        }
        let which = expected.as_ref().map_or(self.place.version.as_str(), Digest::as_str);
        let answer = self.get(&format!("manifests/{which}"), MOST_MANIFEST).await?;
        let found = Digest::of(&answer.body);
        if let Some(expected) = expected.filter(|it| *it != found) {
            return Err(format!("{}: what it gives as {expected} is {found}", self.place));
        }
        let files = Files::read(&answer.body).map_err(|error| format!("{}: {error}", self.place))?;
        let tree = Arc::new(Tree { digest: found, files });
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// What was seen last.
    pub(crate) fn known(&self) -> Option<Arc<Tree>> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A file, which is what it was when it was pushed. `None`: there is none.
    pub(crate) async fn file(&self, tree: &Tree, path: &str, most: u64) -> Result<Option<Bytes>, String> {
        let Some(Blob { digest, size }) = tree.files.0.get(path) else { return Ok(None) };
        if *size > most {
            return Err(format!("{}: {path} has more than {most} bytes", self.place));
        }
        let most = usize::try_from(*size).unwrap_or(usize::MAX);
        let body = self.get(&format!("blobs/{digest}"), most).await?.body;
        let found = Digest::of(&body);
        if found != *digest {
            return Err(format!("{}: what it gives as {path} is {found}, and not {digest}", self.place));
        }
        Ok(Some(body))
    }

    /// As people read it.
    pub(crate) fn name(&self) -> String {
        match self.known() {
            Some(tree) if matches!(self.place.version, Version::Tag(_)) => {
                format!("{}@{}", self.place, tree.digest)
            }
            _ => self.place.to_string(),
        }
    }

    /// Which manifest a tag means now. `None`: the registry does not say it so.
    async fn digest_of(&self, tag: &str) -> Result<Option<Digest>, String> {
        let mut question = self.question(Method::HEAD, &format!("manifests/{tag}"), MOST_WORDS)?;
        question.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST));
        let answer = self.authorized(question, Right::Pull).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.header(CONTENT_DIGEST).and_then(|it| it.parse().ok())),
            StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            StatusCode::NOT_FOUND => {
                Err(format!("{} is not there; `cofferdam release push` puts it there", self.place))
            }
            _ => Err(format!("{}: {}", self.place, answer.says())),
        }
    }

    /// Something of the repository, wherever the registry keeps it.
    async fn get(&self, path: &str, most: usize) -> Result<Answer, String> {
        let mut question = self.question(Method::GET, path, most.max(MOST_WORDS))?;
        if path.starts_with("manifests/") {
            question.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST));
        }
        let mut answer = self.authorized(question.clone(), Right::Pull).await?;
        for _ in 0..MOST_REDIRECTS {
            if !answer.status.is_redirection() {
                break;
            }
            question.uri = self.elsewhere(&question.uri, &answer)?;
            // Elsewhere nobody is told who asks: what is there is asked for by its address alone.
            answer = if self.is_own(&question.uri) {
                self.authorized(question.clone(), Right::Pull).await?
            } else {
                ask(&self.tls, question.clone(), None).await?
            };
        }
        match answer.status {
            StatusCode::OK if answer.body.len() <= most => Ok(answer),
            StatusCode::OK => Err(format!("{}: {path} has more than {most} bytes", self.place)),
            _ => Err(format!("{}: {path}: {}", self.place, answer.says())),
        }
    }

    fn question(&self, method: Method, path: &str, most: usize) -> Result<Question, String> {
        let Place { host, repository, is_clear, .. } = &self.place;
        let scheme = if *is_clear { "http" } else { "https" };
        let uri = format!("{scheme}://{host}/v2/{repository}/{path}").parse();
        let uri = uri.map_err(|error| format!("{}: {error}", self.place))?;
        Ok(Question { method, uri, headers: HeaderMap::new(), body: Bytes::new(), most })
    }

    /// Where an answer sends whoever asked.
    fn elsewhere(&self, from: &Uri, answer: &Answer) -> Result<Uri, String> {
        let location = answer.headers.get(LOCATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
        // What follows the host may be a secret that opens it.
        let shown = || short(location.split('?').next().unwrap_or_default());
        let text = match (from.scheme_str(), from.authority()) {
            (Some(scheme), Some(authority)) if location.starts_with('/') && !location.starts_with("//") => {
                format!("{scheme}://{authority}{location}")
            }
            _ => location.to_owned(),
        };
        let uri: Uri = text
            .parse()
            .map_err(|_| format!("{}: it leads to {:?}, which is no URL", self.place, shown()))?;
        self.must_be_secured(&uri)
            .map_err(|why| format!("{}: it leads to {}, {why}", self.place, shown()))?;
        Ok(uri)
    }

    fn must_be_secured(&self, uri: &Uri) -> Result<(), &'static str> {
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.place.is_clear => Ok(()),
            _ => Err("which is not https"),
        }
    }

    fn is_own(&self, uri: &Uri) -> bool {
        let scheme = if self.place.is_clear { "http" } else { "https" };
        uri.scheme_str() == Some(scheme) && uri.authority().is_some_and(|it| it.as_str() == self.place.host)
    }

    /// Asks, and once more where the registry first wants to know who asks.
    async fn authorized(&self, question: Question, right: Right) -> Result<Answer, String> {
        let answer = ask(&self.tls, question.clone(), self.token().as_ref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let Token { header, until } = self.log_in(&answer, right).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Token { header: header.clone(), until });
        ask(&self.tls, question, Some(&header)).await
    }

    fn token(&self) -> Option<HeaderValue> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|it| Instant::now() < it.until).map(|it| it.header.clone())
    }

    /// Does what the registry wants of whoever asks.
    async fn log_in(&self, answer: &Answer, right: Right) -> Result<Token, String> {
        let place = &self.place;
        let login = (self.logins)().map_err(|why| format!("the login for {}: {why}", place.host))?;
        if place.is_clear && login.is_some() {
            return Err(format!("{place}: a login does not pass in clear: write oci://"));
        }
        let wants = answer.headers.get_all(WWW_AUTHENTICATE).into_iter();
        let wants = wants.filter_map(|it| it.to_str().ok()).find_map(Challenge::read);
        match (wants, login) {
            (None, _) => Err(format!("{place}: {}, and it does not say how", answer.says())),
            (Some(Challenge::Basic), None) => Err(format!("{place}: it wants a name and a password")),
            (Some(Challenge::Basic), Some(login)) => {
                // It is asked with every question, and read anew with the next.
                Ok(Token { header: secret(&login.basic())?, until: Instant::now() + TOKEN })
            }
            (Some(Challenge::Bearer { realm, service }), login) => {
                self.fetch_token(&realm, service.as_deref(), login, right).await
            }
        }
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        login: Option<Login>,
        right: Right,
    ) -> Result<Token, String> {
        let place = &self.place;
        let scope = format!("repository:{}:{}", place.repository, right.words());
        let mut url =
            format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, encoded(&scope));
        if let Some(service) = service {
            url += &format!("&service={}", encoded(service));
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| format!("{place}: its tokens are at {:?}, which is no URL", short(realm)))?;
        self.must_be_secured(&uri)
            .map_err(|why| format!("{place}: its tokens are at {}, {why}", short(realm)))?;
        let question = Question {
            method: Method::GET,
            uri,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            most: MOST_WORDS,
        };
        let login = login.map(|login| secret(&login.basic())).transpose()?;
        let answer = ask(&self.tls, question, login.as_ref()).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("{place}: a token was not given: {}", answer.says()));
        }
        let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let field = |name: &str| read.get(name).and_then(Value::as_str);
        let token = field("token").or(field("access_token"));
        let token = token.ok_or_else(|| format!("{place}: what it was given for a token has none in it"))?;
        let lasts = read.get("expires_in").and_then(Value::as_u64).map_or(TOKEN, Duration::from_secs);
        let lasts = lasts.min(Duration::from_secs(24 * 3600)).saturating_sub(EARLIER);
        Ok(Token { header: secret(&format!("Bearer {token}"))?, until: Instant::now() + lasts })
    }

    /// Puts these files there, and has the tag mean them and no others.
    ///
    /// # Errors
    /// A digest is no tag; the registry does not answer, or does not take them. Then the tag means what it did.
    pub async fn push(&self, files: BTreeMap<String, Vec<u8>>) -> Result<Pushed, String> {
        let place = &self.place;
        let Version::Tag(tag) = &place.version else {
            return Err(format!("{place}: only a tag can come to mean something else"));
        };
        let blobs = files.iter().map(|(path, bytes)| (path.clone(), Blob::of(bytes)));
        let manifest = Files(blobs.collect()).manifest();
        if manifest.len() > MOST_MANIFEST {
            return Err(format!(
                "{place}: these are more files than a manifest has room for: remove old releases"
            ));
        }
        self.upload(EMPTY.into()).await?;
        let mut new = 0;
        for (path, bytes) in files {
            let is_new = self.upload(bytes.into()).await.map_err(|why| format!("{path}: {why}"))?;
            new += usize::from(is_new);
        }
        let digest = Digest::of(&manifest);
        let mut question = self.question(Method::PUT, &format!("manifests/{tag}"), MOST_WORDS)?;
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        question.body = manifest.into();
        let answer = self.authorized(question, Right::Push).await?;
        if answer.status != StatusCode::CREATED {
            return Err(format!("{place}: it does not take the manifest: {}", answer.says()));
        }
        if let Some(said) = answer.header(CONTENT_DIGEST).filter(|it| *it != digest.as_str()) {
            return Err(format!("{place}: it was given {digest}, and says that it has {}", short(said)));
        }
        Ok(Pushed { digest, new })
    }

    /// Puts a blob there, whole (distribution specification, "POST then PUT"). Whether it was not there yet.
    async fn upload(&self, bytes: Bytes) -> Result<bool, String> {
        let place = &self.place;
        let digest = Digest::of(&bytes);
        let there = self.question(Method::HEAD, &format!("blobs/{digest}"), MOST_WORDS)?;
        let there = self.authorized(there, Right::Push).await?;
        if there.status == StatusCode::OK {
            return Ok(false);
        }
        if there.status != StatusCode::NOT_FOUND {
            return Err(format!("{place}: blobs/{digest}: {}", there.says()));
        }
        let mut begin = self.question(Method::POST, "blobs/uploads/", MOST_WORDS)?;
        begin.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let begun = self.authorized(begin.clone(), Right::Push).await?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(format!("{place}: it begins no upload: {}", begun.says()));
        }
        let uri = self.elsewhere(&begin.uri, &begun)?;
        let mark = if uri.query().is_some() { '&' } else { '?' };
        let uri: Uri = format!("{uri}{mark}digest={}", encoded(digest.as_str()))
            .parse()
            .map_err(|error| format!("{place}: where it takes uploads: {error}"))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let is_own = self.is_own(&uri);
        let put = Question { method: Method::PUT, uri, headers, body: bytes, most: MOST_WORDS };
        let done =
            if is_own { self.authorized(put, Right::Push).await } else { ask(&self.tls, put, None).await }?;
        if done.status != StatusCode::CREATED {
            return Err(format!("{place}: it does not take blobs/{digest}: {}", done.says()));
        }
        Ok(true)
    }
}

/// A header that is shown nowhere.
fn secret(text: &str) -> Result<HeaderValue, String> {
    let header = HeaderValue::from_str(text);
    // What is wrong with it would say what is in it.
    let mut header =
        header.map_err(|_| "a login or token has characters that no header may have".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// As a part of a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
