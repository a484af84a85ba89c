//! Puts a key into a request that is about to leave, and takes out all that its pod put there.
//!
//! Enters: the key of the rule that allows the request, and its head as it would go on. Leaves: the head with that key as the
//! service takes it, and with no other. Guarantees: on an error nothing of the key is in the head; a key is never in a URL.
//! Does not: look into bodies; verify the server, which was done before there was anybody to send to (`tls`).

use super::searching::KEY_FIELDS;
use crate::keys::{Injected, Injecting};
use crate::reason::Reason;
use ::inspect::operation::{KeptKey, KeyForm, key_form, without_keys};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, request};
use policy::{Credential, DnsName, Inject, Operation};

/// Fields in which keys are shown to some services, besides [`KEY_FIELDS`].
const MORE_FIELDS: [&str; 6] = [
    "authentication",
    "deploy-token",
    "x-auth-token",
    "x-goog-iam-authorization-token",
    "x-jfrog-art-api",
    "x-nuget-apikey",
];
/// Begins an element of `Sec-WebSocket-Protocol` that is a key.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
/// Schemes of fields that are computed over the request.
const SIGNING: [&str; 3] = ["aws", "goog", "sharedkey"];

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// Whether it leaves over TLS, to a server that was verified.
    pub(super) is_verified: bool,
    pub(super) name: &'a DnsName,
}

/// Replaces what a request shows of whose it is.
pub(super) fn inject(
    injecting: &Injecting,
    way: Way<'_>,
    operation: &Operation,
    head: &mut request::Parts,
) -> Result<Injected, Reason> {
    if !way.is_verified {
        return Err(Reason::KeyInClear);
    }
    let held = injecting.held.as_ref().ok_or(Reason::KeyMissing)?;
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if is_signed(operation, &head.headers) {
        return Err(Reason::KeySigned);
    }
    let bare = without_keys(way.name.as_str(), target).map_err(|kept| match kept {
        KeptKey::Signed => Reason::KeySigned,
        KeptKey::Unreadable => Reason::HttpMalformed,
    })?;
    // TRACE has the server send back what it was sent.
    let form = form(&injecting.inject, operation, target).filter(|_| head.method != Method::TRACE);
    let (field, start) = form.ok_or(Reason::KeyForm)?;
    let mut value =
        HeaderValue::from_str(&format!("{start}{}", held.key.expose())).map_err(|_| Reason::KeyMissing)?;
    // Kept out of tables that compress heads, and of what is printed.
    value.set_sensitive(true);
    let uri = if bare == target { None } else { Some(with_target(&head.uri, &bare)?) };
    strip(&mut head.headers);
    head.headers.insert(field, value);
    // In a coded answer nobody would see the key come back.
    head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head.uri = uri.unwrap_or_else(|| head.uri.clone());
    Ok(Injected { secret: injecting.inject.secret.clone(), credential: held.fingerprint.clone() })
}

/// The field of the key, and what stands before it there.
fn form(inject: &Inject, operation: &Operation, target: &str) -> Option<(HeaderName, &'static str)> {
    let name = match &inject.header {
        Some(name) => HeaderName::from_bytes(name.as_bytes()).ok()?,
        None => match key_form(operation.provider.as_deref(), target)? {
            KeyForm::Bearer => header::AUTHORIZATION,
            KeyForm::Field(name) => HeaderName::from_static(name),
        },
    };
    let start = if name == header::AUTHORIZATION { "Bearer " } else { "" };
    Some((name, start))
}

/// Whether somebody signed it with a key of their own.
fn is_signed(operation: &Operation, fields: &HeaderMap) -> bool {
    let is_aws = |shown: &Credential| matches!(shown, Credential::AwsKeyId(_));
    let is_signing = |value: &HeaderValue| {
        let start = value.as_bytes().trim_ascii().split(|byte| !byte.is_ascii_alphanumeric()).next();
        let scheme = start.unwrap_or_default().to_ascii_lowercase();
        SIGNING.iter().any(|signing| scheme.starts_with(signing.as_bytes()))
            && value.as_bytes().contains(&b' ')
    };
    operation.credentials.iter().any(is_aws) || fields.get_all(header::AUTHORIZATION).iter().any(is_signing)
}

/// Takes out every field in which a key can be.
fn strip(fields: &mut HeaderMap) {
    let protocols = protocols(fields);
    for name in KEY_FIELDS.iter().chain(&MORE_FIELDS) {
        fields.remove(*name);
    }
    fields.extend(protocols.map(|rest| (header::SEC_WEBSOCKET_PROTOCOL, rest)));
}

/// What a WebSocket may speak, without the key that is said to be one of these.
fn protocols(fields: &HeaderMap) -> Option<HeaderValue> {
    let all = fields.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let each = all.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let rest: Vec<&str> =
        each.map(str::trim).filter(|one| !one.is_empty() && !one.starts_with(KEY_PROTOCOL)).collect();
    if rest.is_empty() { None } else { HeaderValue::from_str(&rest.join(", ")).ok() }
}

/// The same with another path and query.
fn with_target(uri: &Uri, target: &str) -> Result<Uri, Reason> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| Reason::HttpMalformed)?);
    Uri::from_parts(parts).map_err(|_| Reason::HttpMalformed)
}
