//! The one credential that a request shows in its headers.
//!
//! Guarantees: what cannot be read as one is refused, and so is a request that shows two: whoever stands behind could take
//! the other one. Does not: look at query parameters, which end in logs.

use crate::refused::Reason;

/// Header fields in which credentials are looked for. They are not for the server behind.
pub const CREDENTIAL_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// What a request shows of who asks.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Every field line, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The client's certificates as TLS had them, its own first, in DER. The handshake has proved that it has the key of the
    /// first; whom they are by is not yet known. Empty: none.
    pub certificates: &'a [&'a [u8]],
}

impl<'a> Shown<'a> {
    /// The credential of the headers; `None`: there is none.
    pub(crate) fn credential(&self) -> Result<Option<&'a str>, Reason> {
        let mut found = None;
        for (name, value) in self.headers.iter().filter(|(name, _)| CREDENTIAL_HEADERS.contains(name)) {
            let credential = read(name, value).ok_or(Reason::UnreadableCredential)?;
            if found.is_some_and(|other| other != credential) {
                return Err(Reason::SeveralCredentials);
            }
            found = Some(credential);
        }
        Ok(found)
    }
}

/// A key, or what stands behind `Bearer` (RFC 6750, section 2.1, where the scheme's case does not matter).
fn read<'a>(name: &str, value: &'a [u8]) -> Option<&'a str> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let credential = match name {
        "authorization" => {
            let (scheme, rest) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim_start_matches(' '))?
        }
        _ => value,
    };
    let is_one = !credential.is_empty() && credential.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then_some(credential)
}
