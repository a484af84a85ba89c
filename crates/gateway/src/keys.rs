//! The keys that requests leave with, in place of what pods sent.
//!
//! Enters: what the agent tells, with each state. Leaves: a key by where it is. Guarantees: no key is shown by `Debug`; of each
//! its fingerprint is, as records have it. Does not: put it into requests (`http::injecting`).

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use policy::{Credential, Inject, Key, SecretRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<SecretRef, Arc<HeldKey>>);

/// A key, and how records name it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeldKey {
    pub(crate) key: Key,
    pub(crate) fingerprint: Credential,
}

/// With which key a request left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Where the key is.
    pub secret: SecretRef,
    /// SHA-256 of the key.
    pub credential: Credential,
}

/// What a rule has put into a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Injecting {
    pub(crate) inject: Inject,
    /// `None`: it is not there.
    pub(crate) held: Option<Arc<HeldKey>>,
}

impl Keys {
    /// Of all that there are, those that are wanted.
    pub fn some(all: &BTreeMap<SecretRef, Key>, is_wanted: impl Fn(&SecretRef) -> bool) -> Self {
        let wanted = all.iter().filter(|(secret, _)| is_wanted(secret));
        wanted.map(|(secret, key)| (secret.clone(), key.clone())).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SecretRef, &Key)> {
        self.0.iter().map(|(secret, held)| (secret, &held.key))
    }

    pub(crate) fn injecting(&self, inject: &Inject) -> Injecting {
        Injecting { inject: inject.clone(), held: self.0.get(&inject.secret).map(Arc::clone) }
    }
}

impl FromIterator<(SecretRef, Key)> for Keys {
    fn from_iter<I: IntoIterator<Item = (SecretRef, Key)>>(keys: I) -> Self {
        let held = |(secret, key): (SecretRef, Key)| {
            let fingerprint = fingerprint(&key);
            (secret, Arc::new(HeldKey { key, fingerprint }))
        };
        Self(keys.into_iter().map(held).collect())
    }
}

/// As credentials are known that pods show.
fn fingerprint(key: &Key) -> Credential {
    Credential::Sha256(HEXLOWER.encode(digest(&SHA256, key.expose().as_bytes()).as_ref()).into())
}
