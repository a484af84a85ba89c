//! With what a request shows whose it is: every place where a key can be.
//!
//! Enters: a head. Leaves: [`Credential`]s, no secret among them. Guarantees: each line of a field counts, so that a key
//! beside an allowed one is seen. Does not: look at cookies, which networks in front of providers set by themselves.

use super::hosts::Family;
use super::request::Request;
use crate::base64;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use policy::Credential;

/// Fields that show a key and nothing else.
const FIELDS: [&str; 12] = [
    "api-key",
    "authentication",
    "deploy-token",
    "job-token",
    "ocp-apim-subscription-key",
    "private-token",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
    "x-goog-iam-authorization-token",
    "x-jfrog-art-api",
    "x-nuget-apikey",
];
/// Parameters that hold a key at any host, as [`plain`] writes them.
pub(super) const PARAMETERS: [&str; 6] =
    ["access_token", "api-key", "api_key", "job_token", "oauth_token", "private_token"];

/// More than this many in one request is nobody's.
const MAX_CREDENTIALS: usize = 8;

/// All that a request shows.
///
/// What cannot be read stands for itself, and is nobody's whose key is known.
///
/// # Errors
/// There are too many, or a signature names two.
pub(super) fn credentials(request: &Request<'_>) -> Result<Vec<Credential>, &'static str> {
    let mut found = Vec::new();
    for (name, value) in request.head.headers {
        match *name {
            "authorization" => found.extend(authorization(value)?),
            field if FIELDS.contains(&field) => found.push(sha256(value.trim_ascii())),
            "sec-websocket-protocol" => {
                found.extend(value.split(|byte| *byte == b',').filter_map(subprotocol))
            }
            _ => {}
        }
    }
    let takes_key = request
        .service
        .is_none_or(|service| matches!(service.family, Family::Gemini | Family::Vertex | Family::Gcs));
    for (name, value) in &request.target.query {
        match &*plain(name) {
            "x-amz-credential" | "x-goog-credential" => {
                found.push(key_id(value).unwrap_or_else(|| sha256(value.as_bytes())));
            }
            "awsaccesskeyid" => found.push(Credential::AwsKeyId(value.as_str().into())),
            "key" if takes_key => found.push(sha256(value.as_bytes())),
            name if PARAMETERS.contains(&name) => found.push(sha256(value.as_bytes())),
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    if found.len() > MAX_CREDENTIALS { Err("it shows more than 8 keys") } else { Ok(found) }
}

/// The name of a parameter as it is compared: some readers do not mind case, and Google's take what is common to all of their
/// interfaces with a dollar sign before it, too.
pub(super) fn plain(name: &str) -> String {
    name.strip_prefix('$').unwrap_or(name).to_ascii_lowercase()
}

fn authorization(value: &[u8]) -> Result<Vec<Credential>, &'static str> {
    let value = value.trim_ascii();
    let at = value.iter().position(|byte| *byte == b' ');
    let Some((scheme, rest)) = at.and_then(|at| value.split_at_checked(at)) else {
        // Cargo sends its token without a scheme.
        return Ok(vec![sha256(value)]);
    };
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic") {
        return Ok(vec![basic(rest).unwrap_or_else(|| sha256(value))]);
    }
    if scheme.len() >= 4 && scheme.to_ascii_uppercase().starts_with(b"AWS4") {
        let text = std::str::from_utf8(rest).map_err(|_| "its signature is no text")?;
        let mut parts = text.split(',').filter_map(|part| part.trim().strip_prefix("Credential="));
        return match (parts.next(), parts.next()) {
            (Some(one), None) => Ok(vec![key_id(one).unwrap_or_else(|| sha256(value))]),
            (None, _) => Ok(vec![sha256(value)]),
            (Some(_), Some(_)) => Err("its signature names two keys"),
        };
    }
    if scheme.eq_ignore_ascii_case(b"aws") {
        let text = std::str::from_utf8(rest).map_err(|_| "its signature is no text")?;
        return Ok(vec![Credential::AwsKeyId(text.split(':').next().unwrap_or_default().into())]);
    }
    Ok(vec![sha256(rest)])
}

/// `KEYID/date/region/service/aws4_request` (Signature Version 4).
fn key_id(scope: &str) -> Option<Credential> {
    let (id, _) = scope.split_once('/')?;
    (!id.is_empty()).then(|| Credential::AwsKeyId(id.into()))
}

/// The password: for registries and Git it is the token, whatever the user is called.
fn basic(encoded: &[u8]) -> Option<Credential> {
    let decoded = base64::decode(encoded)?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = (decoded.get(..at)?, decoded.get(at + 1..)?);
    Some(sha256(if password.is_empty() { user } else { password }))
}

/// Browsers cannot set fields on a WebSocket; OpenAI takes the key as a subprotocol.
fn subprotocol(value: &[u8]) -> Option<Credential> {
    value.trim_ascii().strip_prefix(b"openai-insecure-api-key.").map(sha256)
}

fn sha256(secret: &[u8]) -> Credential {
    Credential::Sha256(HEXLOWER.encode(digest(&SHA256, secret).as_ref()).into())
}

#[cfg(test)]
mod tests {
    use super::super::target::Target;
    use super::super::{Head, hosts};
    use super::*;

    fn of(url: &str, headers: &[(&str, &str)]) -> Result<Vec<String>, &'static str> {
        let (host, target) = url.split_at(url.find('/').unwrap());
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let head = Head { method: "GET", host, port: 443, target, headers: &headers };
        let target = Target::read(target).unwrap();
        let request = Request { head: &head, target: &target, service: hosts::service(host) };
        credentials(&request).map(|found| found.iter().map(ToString::to_string).collect())
    }

    /// Of "abc" (FIPS 180-2, example B.1).
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_key_is_found_in_every_place() {
        for (url, name, value, expected) in [
            ("a/", "authorization", "Bearer abc", ABC),
            ("a/", "authorization", "bearer   abc ", ABC),
            ("a/", "authorization", "token abc", ABC),
            ("a/", "authorization", "abc", ABC),
            ("a/", "authorization", "Basic dXNlcjphYmM=", ABC),
            ("a/", "authorization", "Basic YWJjOg==", ABC),
            ("a/", "x-api-key", "abc", ABC),
            ("a/", "api-key", "abc", ABC),
            ("a/", "x-goog-api-key", "abc", ABC),
            ("a/", "sec-websocket-protocol", "realtime, openai-insecure-api-key.abc", ABC),
            ("generativelanguage.googleapis.com/v1?key=abc", "x", "", ABC),
            ("generativelanguage.googleapis.com/v1?%24key=abc", "x", "", ABC),
            ("generativelanguage.googleapis.com/v1?KEY=abc", "x", "", ABC),
            ("generativelanguage.googleapis.com/v1?oauth_token=abc", "x", "", ABC),
            ("a/?access_token=abc", "x", "", ABC),
            ("a/?API-Key=abc", "x", "", ABC),
            ("gitlab.com/api/v4/projects?private_token=abc", "x", "", ABC),
            ("gitlab.com/api/v4/projects", "private-token", "abc", ABC),
            ("gitlab.com/api/v4/projects", "job-token", "abc", ABC),
            (
                "a/",
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/eu/s3/aws4_request, SignedHeaders=host",
                "aws:AKIA1",
            ),
            ("a/", "authorization", "AWS AKIA1:sig", "aws:AKIA1"),
            ("a/?X-Amz-Credential=AKIA1%2F20260101%2Feu", "x", "", "aws:AKIA1"),
            ("a/?AWSAccessKeyId=AKIA1", "x", "", "aws:AKIA1"),
        ] {
            assert_eq!(of(url, &[(name, value)]), Ok(vec![expected.to_owned()]), "{url} {name}: {value}");
        }
        assert_eq!(of("s3.eu-west-1.amazonaws.com/b?key=abc", &[]), Ok(vec![]));
    }

    #[test]
    fn a_key_beside_another_is_seen_and_the_same_twice_is_one() {
        let two = [("authorization", "Bearer abc"), ("authorization", "Bearer other"), ("x-api-key", "abc")];
        assert_eq!(of("a/", &two).unwrap().len(), 2);
        let many: Vec<_> = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|key| ("api-key", key)).into();
        assert!(of("a/", &many).is_err());
        let both = "AWS4-HMAC-SHA256 Credential=A/b, Credential=C/d";
        assert!(of("a/", &[("authorization", both)]).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_nobodys_whose_key_is_known() {
        for value in ["AWS4-HMAC-SHA256 x", "AWS4-HMAC-SHA256 Credential=A", "Basic !", "Basic YWJj"] {
            let itself = sha256(value.as_bytes()).to_string();
            assert_eq!(of("a/", &[("authorization", value)]), Ok(vec![itself]), "{value}");
        }
        assert_eq!(of("a/?X-Amz-Credential=A", &[]).unwrap().len(), 1);
    }
}
