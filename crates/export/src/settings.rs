//! What goes with targets: headers that say who sends, and whom to believe.

use crate::error::ExportError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use feed::tls::Identity;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Most bytes of a file with headers.
const HEADERS: u64 = 65_536;
/// Headers that are made here, and not by a user.
const OURS: [&str; 5] = ["content-length", "content-type", "content-encoding", "host", "transfer-encoding"];

/// What goes with targets.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// File with one `Name: value` per line, sent to every HTTP target; read anew for each request, so that a token may be
    /// renewed. Targets of NATS take its `Authorization`.
    pub headers: Option<PathBuf>,
    /// File with certificates of authorities in PEM, which are believed instead of the system's.
    pub authorities: Option<PathBuf>,
    /// As whom collectors are sent something.
    pub sender: Option<Sender>,
}

/// As whom a collector is sent what a ledger has.
#[derive(Clone)]
pub struct Sender {
    /// The node, or the gateway's replica, as its certificate and its records have it.
    pub node: String,
    /// What it shows, or why it has nothing to show. Looked at for each connection.
    pub identity: watch::Receiver<Result<Arc<Identity>, String>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Sender {
    /// How TLS is spoken with a collector.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let identity = self.identity.borrow().clone();
        let identity = identity.map_err(|why| format!("there is no certificate to show: {why}"))?;
        let mut config = identity.client().map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Settings {
    /// What is sent with each request.
    pub(crate) fn headers(&self) -> Result<HeaderMap, ExportError> {
        let Some(path) = &self.headers else { return Ok(HeaderMap::new()) };
        let failed = |why: String| ExportError::File { path: path.clone(), why };
        let text = read(path).map_err(|error| failed(format!("reading headers: {error}")))?;
        headers(&text).map_err(failed)
    }

    /// The same for a target that knows no headers: all that there may be is `Authorization`.
    pub(crate) fn login(&self) -> Result<Option<Login>, ExportError> {
        let headers = self.headers()?;
        match (headers.len(), headers.get(AUTHORIZATION).and_then(Login::of)) {
            (0, _) => Ok(None),
            (1, Some(login)) => Ok(Some(login)),
            (_, _) => Err(ExportError::File {
                path: self.headers.clone().unwrap_or_default(),
                why: "NATS takes one header and no other: Authorization: Bearer TOKEN, or Authorization: Basic with \
                      USER:PASSWORD in Base64"
                    .to_owned(),
            }),
        }
    }

    /// How TLS is spoken.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, ExportError> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(path) => {
                authorities(path, &mut roots).map_err(|why| ExportError::File { path: path.clone(), why })?
            }
            None => {
                let found = rustls_native_certs::load_native_certs().certs;
                let _some_cannot_be_read = roots.add_parsable_certificates(found);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ExportError::Target { target: "TLS".to_owned(), why: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Who sends, to a server that has a log-in of its own.
#[derive(PartialEq, Eq)]
pub(crate) enum Login {
    Token(String),
    /// A name and a password.
    User(String, String),
}

impl Login {
    fn of(header: &HeaderValue) -> Option<Self> {
        let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !value.is_empty() {
            return Some(Self::Token(value.to_owned()));
        }
        let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(value).ok())??;
        let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self::User(name.to_owned(), password.to_owned()))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(HEADERS + 1).read_to_string(&mut text)?;
    if text.len() as u64 > HEADERS {
        return Err(io::Error::other(format!("it has more than {HEADERS} bytes")));
    }
    Ok(text)
}

/// What is wrong is told by its line, and never by its value, which may be a token.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut all = HeaderMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: &str| format!("line {}: {why}", number + 1);
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("write Name: value"))?;
        let name = name.trim().parse::<HeaderName>().map_err(|_| wrong("this is no name of a header"))?;
        if OURS.contains(&name.as_str()) {
            return Err(wrong(&format!("the header {name} is made by this program: remove it")));
        }
        let mut value =
            HeaderValue::from_str(value.trim()).map_err(|_| wrong("this is no value of a header"))?;
        value.set_sensitive(true);
        all.append(name, value);
    }
    Ok(all)
}

fn authorities(path: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| format!("reading it: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("reading a certificate: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate: {error}"))?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_is_a_token_or_a_name_with_a_password() {
        let user = |name: &str, password: &str| Some(Login::User(name.to_owned(), password.to_owned()));
        for (value, expected) in [
            ("Bearer geheim", Some(Login::Token("geheim".to_owned()))),
            ("bearer  a b ", Some(Login::Token("a b".to_owned()))),
            // RFC 7617, section 2.
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", user("Aladdin", "open sesame")),
            ("Basic YTpiOmM=", user("a", "b:c")),
            ("Basic YQ==", None),
            ("Basic geheim!", None),
            ("Bearer ", None),
            ("geheim", None),
        ] {
            assert!(Login::of(&HeaderValue::from_str(value).unwrap()) == expected, "{value}");
        }
    }

    #[test]
    fn headers_are_lines_and_what_is_wrong_is_said_without_the_value() {
        let found = headers("# who\n\nAuthorization: Bearer geheim:x\r\nX-Scope-OrgID:  a\n").unwrap();
        assert_eq!(found["authorization"], "Bearer geheim:x");
        assert_eq!(found["x-scope-orgid"], "a");
        for (text, says) in [
            ("geheim", "line 1: write Name: value"),
            ("a: b\nx y: geheim", "line 2: this is no name"),
            ("a: ge\u{0}heim", "line 1: this is no value"),
            ("Host: geheim", "line 1: the header host is made"),
        ] {
            let error = headers(text).unwrap_err();
            assert!(error.starts_with(says) && !error.contains("heim"), "{error}");
        }
    }
}
