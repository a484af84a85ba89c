//! `authentication` of an InferencePolicy: by which credentials somebody is known.
//!
//! Guarantees: no secret is in it (keys are digests), an issuer has at least one audience, keys come over TLS or are
//! written out. Does not: read certificates or keys; `authn` does.

use super::values::{duration, text};
use super::{MOST, MOST_CONSUMERS};
use crate::decode::Decoder;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::meta::{Located, short};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of a name: of a consumer, an issuer, an audience, a claim.
const MOST_NAME: usize = 512;
/// Bytes of key sets and of certificates that are written out.
const MOST_INLINE: usize = 256 * 1024;
/// Keys of one consumer.
const MOST_KEYS: usize = 16;
/// How often keys are fetched where that is not written, in seconds.
const USUAL_REFRESH: u64 = 300;
/// For how long keys serve that could not be fetched again, in seconds.
const USUAL_STALE: u64 = 24 * 3600;
/// How often keys may be fetched at most, in seconds between.
const LEAST_REFRESH: u64 = 30;

/// Who is known, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// `anonymous: true`: who shows nothing may ask too, as nobody. Who shows something that is wrong may not.
    pub anonymous: bool,
    /// `apiKeys`
    pub api_keys: Vec<Located<ApiKey>>,
    /// `jwt`
    pub jwt: Vec<Located<JwtIssuer>>,
    /// `mtls`
    pub mtls: Option<MutualTls>,
}

/// Keys of one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// `consumer`: its name.
    pub consumer: Arc<str>,
    /// `groups`
    pub groups: Vec<Arc<str>>,
    /// `sha256`: SHA-256 of each key, 1 to 16. Several are valid at once, so that keys can be changed.
    pub digests: Vec<[u8; 32]>,
}

/// Whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtIssuer {
    /// `name`: what records call it.
    pub name: Arc<str>,
    /// `issuer`: exactly what `iss` is.
    pub issuer: Arc<str>,
    /// `audiences`: one of them is exactly one of `aud`. At least one.
    pub audiences: Vec<Arc<str>>,
    /// `jwks`
    pub jwks: JwksSource,
    /// `consumer`: the claim with its name; `sub` if not written. Dots lead into objects.
    pub consumer: Arc<str>,
    /// `groups`: the claim with its groups, a text or a list of them.
    pub groups: Option<Arc<str>>,
    /// `prefix`: stands before the names of its consumers and groups, so that they are no other issuer's. Empty: nothing.
    pub prefix: Arc<str>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// `inline`: a JWK set.
    Inline(Located<Arc<str>>),
    /// `url` and what belongs to it.
    Url {
        /// `url`: with `https://`.
        url: Arc<str>,
        /// `ca`: certificates in PEM by which its server is known. `None`: those of the machine.
        ca: Option<Arc<str>>,
        /// `refresh`: seconds from one fetch to the next.
        refresh: u64,
        /// `stale`: seconds for which keys serve after they could not be fetched again.
        stale: u64,
    },
}

/// `mtls`: who shows a certificate with a SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualTls {
    /// `trustDomains`, at least one.
    pub trust_domains: Vec<Located<TrustDomain>>,
}

/// A SPIFFE trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain {
    /// `name`: `example.org`
    pub name: Arc<str>,
    /// `ca`: the certificates in PEM that certify ids of this domain, and of no other.
    pub ca: Located<Arc<str>>,
}

pub(super) fn authentication<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Authentication> {
    let map = d.strict(node, &["anonymous", "apiKeys", "jwt", "mtls"])?;
    let anonymous = d.field(map, "anonymous", Decoder::boolean).flatten().unwrap_or_default();
    let api_keys = d.field(map, "apiKeys", |d, node| {
        d.check_length(node, 1, MOST_CONSUMERS);
        let keys = d.located(node, api_key)?;
        one_owner_per_key(d, node, &keys);
        Some(keys)
    });
    let jwt = d.field(map, "jwt", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, jwt)
    });
    let mtls = d.field(map, "mtls", mtls).flatten();
    let jwt: Vec<_> = jwt.flatten().unwrap_or_default();
    let api_keys = api_keys.flatten().unwrap_or_default();
    names_apart(d, node, &jwt, !api_keys.is_empty());
    if !anonymous && map.keys().all(|key| key == "anonymous") {
        let diagnostic = Diagnostic::error(Code::MissingField, "nobody could be known by it");
        d.report(node.place, diagnostic.suggest("write apiKeys, jwt or mtls, or anonymous: true"));
    }
    Some(Authentication { anonymous, api_keys, jwt, mtls })
}

/// A key of two consumers would be whichever is looked for first.
fn one_owner_per_key<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, keys: &[Located<ApiKey>]) {
    let mut seen = BTreeSet::new();
    let all = keys.iter().flat_map(|key| key.value.digests.iter().map(move |digest| (digest, key)));
    for (_, key) in all.filter(|(digest, _)| !seen.insert(*digest)) {
        let message = format!("a key of {:?} is there twice", short(&key.value.consumer));
        d.error(node.place, Code::InvalidValue, message);
    }
}

/// Whoever may choose names at one issuer could otherwise take those of another's consumers.
fn names_apart<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, issuers: &[Located<JwtIssuer>], has_keys: bool) {
    let mut seen = BTreeSet::new();
    for issuer in issuers.iter().filter(|it| !seen.insert(it.value.name.clone())) {
        let message = format!("two issuers are called {:?}", short(&issuer.value.name));
        d.error(node.place, Code::InvalidValue, message);
    }
    let mut prefixes: BTreeSet<&str> = if has_keys { [""].into() } else { BTreeSet::new() };
    for issuer in issuers.iter().filter(|it| !prefixes.insert(&it.value.prefix)) {
        let message = format!(
            "consumers of issuer {:?} can have the names of others: {:?} stands before both",
            short(&issuer.value.name),
            short(&issuer.value.prefix)
        );
        let diagnostic = Diagnostic::warning(Code::InvalidValue, message);
        let example = short(&issuer.value.name);
        d.report(
            node.place,
            diagnostic.suggest(format!("give it a prefix of its own: prefix: '{example}:'")),
        );
    }
}

fn name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    text(d, node, MOST_NAME)
}

fn names<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, MOST);
    d.list(node, name)
}

fn api_key<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ApiKey> {
    let map = d.strict(node, &["consumer", "groups", "sha256"])?;
    let consumer = d.required(map, "consumer", name);
    let groups = d.field(map, "groups", names).flatten().unwrap_or_default();
    let digests = d.required(map, "sha256", |d, node| {
        d.check_length(node, 1, MOST_KEYS);
        d.list(node, digest)
    });
    Some(ApiKey { consumer: consumer?, groups, digests: digests? })
}

fn digest<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<[u8; 32]> {
    let text = d.str(node)?;
    let read = hex(text);
    if read.is_none() {
        // What is there may be the key itself: it is not repeated.
        let diagnostic = Diagnostic::error(Code::InvalidValue, "it is no SHA-256 in hexadecimal digits");
        d.report(node.place, diagnostic.suggest("printf %s \"$KEY\" | sha256sum gives the 64 digits"));
    }
    read
}

/// 32 bytes in hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair.get(at).copied().unwrap_or_default()).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(digest)
}

fn jwt<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<JwtIssuer> {
    let map = d.strict(node, &["name", "issuer", "audiences", "jwks", "consumer", "groups", "prefix"])?;
    let of = d.required(map, "name", name);
    let issuer = d.required(map, "issuer", name);
    let audiences = d.required(map, "audiences", names);
    let jwks = d.required(map, "jwks", jwks);
    let consumer = d.field(map, "consumer", name).unwrap_or_else(|| Some("sub".into()));
    let groups = d.field(map, "groups", name).flatten();
    let prefix = d.field(map, "prefix", name).flatten().unwrap_or_default();
    Some(JwtIssuer {
        name: of?,
        issuer: issuer?,
        audiences: audiences?,
        jwks: jwks?,
        consumer: consumer?,
        groups,
        prefix,
    })
}

fn jwks<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<JwksSource> {
    let map = d.strict(node, &["inline", "url", "ca", "refresh", "stale"])?;
    match (map.get("inline"), map.get("url")) {
        (Some(_), None) => {
            for field in ["ca", "refresh", "stale"] {
                d.field(map, field, |d, node| {
                    d.error(node.place, Code::InvalidValue, "is for keys that are fetched from a url");
                });
            }
            d.required(map, "inline", inline).map(JwksSource::Inline)
        }
        (None, Some(_)) => {
            let url = d.required(map, "url", url);
            let ca = d.field(map, "ca", |d, node| text(d, node, MOST_INLINE)).flatten();
            let refresh = d.field(map, "refresh", refresh).unwrap_or(Some(USUAL_REFRESH));
            let stale = d.field(map, "stale", duration).unwrap_or(Some(USUAL_STALE));
            Some(JwksSource::Url { url: url?, ca, refresh: refresh?, stale: stale? })
        }
        (Some(_), Some(_)) | (None, None) => {
            d.error(node.place, Code::ExactlyOne, "exactly one of inline and url is needed");
            None
        }
    }
}

fn inline<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Located<Arc<str>>> {
    let value = text(d, node, MOST_INLINE)?;
    Some(Located { position: d.position(node.place), value })
}

fn refresh<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let seconds = duration(d, node)?;
    if seconds < LEAST_REFRESH {
        let message = format!("keys are fetched at most every {LEAST_REFRESH} seconds");
        d.error(node.place, Code::InvalidValue, message);
    }
    Some(seconds)
}

fn url<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    const MOST_URL: usize = 2048;
    let url = text(d, node, MOST_URL)?;
    let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?']).next());
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_plain || host.is_none_or(|host| host.is_empty() || host.contains('@')) {
        let message = "it is no URL with https:// and without a user or a fragment";
        d.error(node.place, Code::InvalidValue, message);
    }
    Some(url)
}

fn mtls<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<MutualTls> {
    let map = d.strict(node, &["trustDomains"])?;
    let trust_domains = d.required(map, "trustDomains", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, trust_domain)
    });
    Some(MutualTls { trust_domains: trust_domains? })
}

fn trust_domain<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<TrustDomain> {
    let map = d.strict(node, &["name", "ca"])?;
    let of = d.required(map, "name", |d, node| {
        let name = d.string(node)?;
        // SPIFFE-ID, section 2.1: lower-case letters, digits, dots, dashes, underscores; at most 255 bytes.
        let is_right = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if name.is_empty() || name.len() > 255 || !name.bytes().all(is_right) {
            let message = format!("{:?} is no SPIFFE trust domain", short(&name));
            let diagnostic = Diagnostic::error(Code::InvalidName, message);
            d.report(node.place, diagnostic.suggest("write it without spiffe://: example.org"));
        }
        Some(name)
    });
    let ca = d.required(map, "ca", inline);
    Some(TrustDomain { name: of?, ca: ca? })
}
