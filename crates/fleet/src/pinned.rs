//! Whom to believe: public keys in a file on each cluster.
//!
//! Enters: a manifest of kind ReleaseKeys, in YAML or JSON. Leaves: keys and how many of them must agree. Guarantees: a file
//! with an unknown field, a date that is none or no key at all is refused as a whole: nobody is believed by mistake.
//! Does not: fetch keys.

use crate::envelope::{key_id, public_from_pem};
use crate::name::FleetName;
use crds::Code;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most keys of a file.
pub const MOST_KEYS: usize = 64;
/// Longest name of a key.
const MOST_NAME: usize = 63;

/// Keys that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    pub(crate) keys: Vec<PinnedKey>,
    pub(crate) threshold: usize,
    pub(crate) own: Option<OwnFleet>,
}

/// Which fleet a cluster is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFleet {
    /// Its name.
    pub name: FleetName,
    /// What becomes of a release that names no fleet.
    pub unnamed: Unnamed,
}

/// What becomes of a release that names no fleet, at a cluster that knows its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// It may be taken, like one that names the cluster's own.
    Taken,
    /// It is refused, like one of another fleet.
    Refused,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedKey {
    /// For people.
    pub name: String,
    /// Ed25519.
    pub public: [u8; 32],
    /// Last day, or last second, of which it is believed: `2027-01-31` or `2027-01-31T12:00:00Z`.
    pub not_after: Option<String>,
    /// It is believed no more, whatever it signed.
    pub revoked: bool,
}

impl PinnedKey {
    /// What signatures call it.
    pub fn id(&self) -> String {
        key_id(&self.public)
    }
}

/// Why a file pins nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotPinned {
    /// Not one object of the kind.
    #[error("{file} needs exactly one object, of apiVersion cofferdam.dev/v1alpha1 and kind ReleaseKeys")]
    Kind {
        /// Where.
        file: String,
    },
    /// Another form.
    #[error("{file}: {why}")]
    Form {
        /// Where.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// One key cannot be used.
    #[error("{file}: keys[{index}]: {why}")]
    Key {
        /// Where.
        file: String,
        /// From 0.
        index: usize,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default = "one")]
    threshold: usize,
    keys: Vec<FileKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileKey {
    name: String,
    public: String,
    not_after: Option<String>,
    #[serde(default)]
    revoked: bool,
}

fn one() -> usize {
    1
}

impl Pinned {
    /// Keys of which so many must have signed: at least one, and no more than there are.
    pub fn new(keys: Vec<PinnedKey>, threshold: usize) -> Option<Self> {
        (1..=keys.len()).contains(&threshold).then_some(Self { keys, threshold, own: None })
    }

    /// The same keys, believed for releases of this fleet alone.
    #[must_use]
    pub fn of_fleet(self, own: OwnFleet) -> Self {
        Self { own: Some(own), ..self }
    }

    /// All of them.
    pub fn keys(&self) -> &[PinnedKey] {
        &self.keys
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`NotPinned`].
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, NotPinned> {
        let form = |why: String| NotPinned::Form { file: file.to_owned(), why };
        // The kind is none that policy is made of, and that is all that may be wrong with it: a half-read list of keys would
        // still believe a key that the other half revokes.
        let is_kind = |code| matches!(code, Code::UnknownKind | Code::UnknownPolicyKind);
        let wrong = crds::read_objects(file, bytes)
            .diagnostics
            .into_iter()
            .find(|it| it.is_error() && !is_kind(it.code));
        if let Some(wrong) = wrong {
            return Err(form(wrong.message));
        }
        let mut objects = crds::as_json(file, bytes).into_iter();
        let is_one = |it: &Value| {
            it.get("apiVersion").is_some_and(|it| it == "cofferdam.dev/v1alpha1")
                && it.get("kind").is_some_and(|it| it == "ReleaseKeys")
        };
        let (Some(object), None) = (objects.next().filter(is_one), objects.next()) else {
            return Err(NotPinned::Kind { file: file.to_owned() });
        };
        let read: File = serde_json::from_value(object).map_err(|error| form(error.to_string()))?;
        if read.keys.len() > MOST_KEYS {
            return Err(form(format!("more than {MOST_KEYS} keys")));
        }
        let (mut names, mut publics) = (BTreeSet::new(), BTreeSet::new());
        let mut keys = Vec::new();
        for (index, written) in read.keys.into_iter().enumerate() {
            let wrong = |why: &str| NotPinned::Key { file: file.to_owned(), index, why: why.to_owned() };
            let key = key(written).map_err(wrong)?;
            if !names.insert(key.name.clone()) || !publics.insert(key.public) {
                return Err(wrong("a key of this name, or the same key, is there twice"));
            }
            keys.push(key);
        }
        let (threshold, count) = (read.threshold, keys.len());
        let fits = format!("threshold {threshold} of {count} keys: it must be from 1 to the number of keys");
        Self::new(keys, threshold).ok_or_else(|| form(fits))
    }
}

fn key(written: FileKey) -> Result<PinnedKey, &'static str> {
    let FileKey { name, public, not_after, revoked } = written;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(is_plain) {
        return Err("name: 1 to 63 of letters, digits, and -_.@");
    }
    let Some(public) = public_from_pem(&public) else {
        return Err("public: it is no Ed25519 key in PEM; `openssl pkey -pubout` prints one");
    };
    if not_after.as_deref().is_some_and(|text| !is_date(text) && !is_time(text)) {
        return Err("notAfter: write it like \"2027-01-31\" or \"2027-01-31T12:00:00Z\"");
    }
    Ok(PinnedKey { name, public, not_after, revoked })
}

fn is_like(text: &str, form: &str) -> bool {
    let fits = |(it, as_in): (u8, u8)| if as_in == b'0' { it.is_ascii_digit() } else { it == as_in };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

fn is_date(text: &str) -> bool {
    is_like(text, "0000-00-00")
}

fn is_time(text: &str) -> bool {
    is_like(text, "0000-00-00T00:00:00Z")
}

/// Whether a date or time is over. Texts of one form sort as times do; a clock that says something else says that it is.
pub(crate) fn is_past(end: &str, now: &str) -> bool {
    let seconds = now.get(..19).map(|it| format!("{it}Z")).filter(|it| is_time(it));
    let end = end.trim_end_matches('Z');
    seconds.is_none_or(|now| now.get(..end.len()).is_none_or(|now| now > end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_with_it_and_a_time_with_its_second() {
        for (end, now, expected) in [
            ("2027-01-31", "2027-01-31T23:59:59.999999Z", false),
            ("2027-01-31", "2027-02-01T00:00:00.000000Z", true),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00.9Z", false),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:01Z", true),
            ("2027-01-31", "2026-12-31T00:00:00Z", false),
            // A clock that makes no sense.
            ("2027-01-31", "", true),
            ("2027-01-31", "soon, I am told, or not", true),
        ] {
            assert_eq!(is_past(end, now), expected, "{end} at {now}");
        }
    }
}
