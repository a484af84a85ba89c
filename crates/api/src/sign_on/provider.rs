//! What is said to an identity provider, and what it says: its own description (OpenID Connect Discovery 1.0), the request that
//! a browser takes to it, the answer that comes back, and the exchange of the code (RFC 6749, section 4.1; RFC 7636).
//!
//! Guarantees: endpoints are of HTTPS; a description of another issuer is none; what it says for people is bounded and has no
//! control characters. Does not: open sockets.

use super::attempt::Attempt;
use super::{BadSignOn, CALLBACK, NotSignedOn};
use crate::query::decode;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use std::fmt::Write;

/// Letters of what a provider says that are told.
const TOLD: usize = 300;
/// Longest query that it may send back.
const QUERY_BYTES: usize = 16 << 10;

/// This server, as the provider knows it.
pub(super) struct Client {
    pub(super) issuer: String,
    pub(super) redirect: String,
    id: String,
    secret: Option<String>,
    /// As the request has it.
    scope: String,
}

/// What the provider says of itself.
#[derive(Debug)]
pub(super) struct Provider {
    authorization: String,
    pub(super) token: Uri,
    /// Whether its answers name it (RFC 9207).
    pub(super) names_itself: bool,
    /// Whether the client's secret goes into the form: it knows no other way.
    by_form: bool,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// With what a browser comes back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) error: Option<String>,
    pub(super) description: Option<String>,
    pub(super) issuer: Option<String>,
}

impl Client {
    pub(super) fn new(
        issuer: String,
        id: String,
        secret: Option<String>,
        redirect: String,
        scopes: &[String],
    ) -> Result<Self, BadSignOn> {
        if https(&issuer).is_none() || issuer.contains(['?', '#']) {
            return Err(BadSignOn::Issuer(issuer));
        }
        check_redirect(&redirect).map_err(|why| BadSignOn::Redirect(redirect.clone(), why))?;
        if !is_visible(&id) {
            return Err(BadSignOn::Client);
        }
        if secret.as_deref().is_some_and(|secret| !is_visible(secret)) {
            return Err(BadSignOn::Secret);
        }
        let mut scope = "openid".to_owned();
        for word in scopes.iter().filter(|word| *word != "openid") {
            if !is_visible(word) || word.contains(['"', '\\']) {
                return Err(BadSignOn::Scope(word.clone()));
            }
            let _cannot_fail = write!(scope, " {word}");
        }
        Ok(Self { issuer, redirect, id, secret, scope })
    }

    /// Where the provider describes itself.
    pub(super) fn discovery(&self) -> Result<Uri, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        https(&url).ok_or_else(|| format!("{url} is no URL of https://"))
    }

    /// Where a browser is sent.
    pub(super) fn authorization(&self, provider: &Provider, attempt: &Attempt) -> String {
        let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, attempt.verifier.as_bytes()).as_ref());
        let asked = form(&[
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect),
            ("scope", &self.scope),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let joint = if provider.authorization.contains('?') { '&' } else { '?' };
        format!("{}{joint}{asked}", provider.authorization)
    }

    /// The form for which the provider gives tokens.
    pub(super) fn form(&self, provider: &Provider, code: &str, attempt: &Attempt) -> String {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("code_verifier", &attempt.verifier),
        ];
        match &self.secret {
            Some(_) if !provider.by_form => {}
            Some(secret) => fields.extend([("client_id", self.id.as_str()), ("client_secret", secret)]),
            None => fields.push(("client_id", &self.id)),
        }
        form(&fields)
    }

    /// The header by which it believes this client (RFC 6749, section 2.3.1).
    pub(super) fn authorization_header(&self, provider: &Provider) -> Option<String> {
        let secret = self.secret.as_ref().filter(|_| !provider.by_form)?;
        let pair = format!("{}:{}", encode(&self.id), encode(secret));
        Some(format!("Basic {}", BASE64.encode(pair.as_bytes())))
    }
}

impl Provider {
    /// # Errors
    /// It is no description of this issuer, or of one that can do what is wanted; in words.
    pub(super) fn read(client: &Client, status: StatusCode, body: &[u8]) -> Result<Self, String> {
        if status != StatusCode::OK {
            return Err(format!("its openid-configuration: status {status}"));
        }
        let found: Metadata = serde_json::from_slice(body)
            .map_err(|error| format!("its openid-configuration: {}", told(&error.to_string())))?;
        if found.issuer != client.issuer {
            let (is, wanted) = (told(&found.issuer), &client.issuer);
            return Err(format!("its openid-configuration is of the issuer {is:?}, and not of {wanted:?}"));
        }
        let endpoint = |name: &str, url: &str| {
            let wrong = || format!("its {name} {:?} is no URL of https:// without fragment", told(url));
            https(url).filter(|_| !url.contains('#')).ok_or_else(wrong)
        };
        endpoint("authorization_endpoint", &found.authorization_endpoint)?;
        let token = endpoint("token_endpoint", &found.token_endpoint)?;
        let methods = found.code_challenge_methods_supported;
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err("it does not know PKCE with S256".to_owned());
        }
        // Where nothing is said, it is client_secret_basic.
        let ways = found.token_endpoint_auth_methods_supported;
        let ways = ways.unwrap_or_else(|| vec!["client_secret_basic".to_owned()]);
        let knows = |way: &str| ways.iter().any(|known| known == way);
        let by_form = !knows("client_secret_basic");
        if client.secret.is_some() && by_form && !knows("client_secret_post") {
            return Err(format!("it takes no client's secret, but {}", told(&ways.join(", "))));
        }
        let names_itself = found.authorization_response_iss_parameter_supported;
        Ok(Self { authorization: found.authorization_endpoint, token, names_itself, by_form })
    }
}

impl Answered {
    /// Reads the query that a browser came back with. What is not known is left out (RFC 6749, section 4.1.2).
    pub(crate) fn read(query: &str) -> Result<Self, NotSignedOn> {
        let unreadable = |why: &str| NotSignedOn::Unreadable(why.to_owned());
        if query.len() > QUERY_BYTES {
            return Err(unreadable("it is too long"));
        }
        let mut found = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "state" => &mut found.state,
                "code" => &mut found.code,
                "error" => &mut found.error,
                "error_description" => &mut found.description,
                "iss" => &mut found.issuer,
                _ => continue,
            };
            let value = decode(value, true).map_err(|problem| unreadable(&problem.detail))?;
            if place.replace(value).is_some() {
                return Err(unreadable("something is said twice"));
            }
        }
        Ok(found)
    }
}

/// The ID token of an answer to a code.
pub(super) fn id_token(status: StatusCode, body: &[u8]) -> Result<String, NotSignedOn> {
    #[derive(Deserialize)]
    struct Given {
        id_token: Option<String>,
        error: Option<String>,
        error_description: Option<String>,
    }
    // What serde says could have part of a token in it.
    let given: Option<Given> = serde_json::from_slice(body).ok();
    match (status, given) {
        (StatusCode::OK, Some(Given { id_token: Some(token), .. })) => Ok(token),
        (StatusCode::OK, _) => Err(NotSignedOn::CodeRefused(
            "there is no ID token in its answer: is the client one for OpenID Connect?".to_owned(),
        )),
        (_, Some(Given { error: Some(error), error_description, .. })) => {
            Err(NotSignedOn::CodeRefused(said(&error, error_description.as_deref())))
        }
        (status, _) => Err(NotSignedOn::CodeRefused(format!("status {status}"))),
    }
}

/// An error and its description, for people.
pub(super) fn said(error: &str, description: Option<&str>) -> String {
    match description.map(told).filter(|description| !description.is_empty()) {
        None => told(error),
        Some(description) => format!("{}: {description}", told(error)),
    }
}

fn told(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TOLD).collect()
}

/// The host of a URL, without its port.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    }
}

/// A URL of HTTPS that names nobody (`user@`).
fn https(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_it = url.starts_with("https://")
        && uri.scheme_str() == Some("https")
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.host().is_some_and(|host| !host.is_empty());
    (is_it && url.bytes().all(|byte| byte.is_ascii_graphic())).then_some(uri)
}

fn check_redirect(redirect: &str) -> Result<(), String> {
    let in_clear = redirect.strip_prefix("http://").map(|rest| format!("https://{rest}"));
    let uri = https(in_clear.as_deref().unwrap_or(redirect));
    let uri =
        uri.filter(|_| !redirect.contains('#')).ok_or("a URL of https:// without fragment is wanted")?;
    let name = uri.host().unwrap_or("");
    let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    if in_clear.is_some() && !is_here {
        return Err(
            "by http:// only this machine (localhost, 127.0.0.1, [::1]) may be: the code would pass in clear"
                .to_owned(),
        );
    }
    if uri.query().is_some() || !uri.path().ends_with(CALLBACK) {
        return Err(format!("it must be the console's address and {CALLBACK}, and have no query"));
    }
    Ok(())
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    fields.join("&")
}

/// In a query or a form: all but what RFC 3986, section 2.3 leaves as it is.
fn encode(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            safe.push(char::from(byte));
        } else {
            let _cannot_fail = write!(safe, "%{byte:02X}");
        }
    }
    safe
}
