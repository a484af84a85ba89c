//! Tokens that were verified, by the SHA-256 of their text, so that a client's next request costs no signature.
//!
//! Guarantees: at most [`MOST`] tokens; none after its time, and none whose key set is not the one that it was verified with,
//! so that a key that an issuer takes back is good for nothing here either. Does not: hold tokens.

use crate::jwks::KeySet;
use policy::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most tokens that are known at once.
pub(crate) const MOST: usize = 32_768;

/// SHA-256 of a credential.
pub(crate) type Digest = [u8; 32];

#[derive(Debug, Default)]
pub(crate) struct Verified(Mutex<Halves>);

/// Once the young half is full it becomes the old one, and what was old is forgotten: whatever is used stays.
#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    consumer: Arc<Consumer>,
    until: u64,
    /// Which of the policy's issuers it is of.
    issuer: usize,
    keys: Arc<KeySet>,
}

impl Verified {
    /// Whose token it is. `keys`: those that the issuer has now.
    pub(crate) fn find(
        &self,
        token: &Digest,
        now: u64,
        keys: impl FnOnce(usize) -> Option<Arc<KeySet>>,
    ) -> Option<Arc<Consumer>> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Halves { young, old } = &mut *halves;
        let entry = young.get(token).or_else(|| old.get(token)).cloned()?;
        let is_same = |now: Arc<KeySet>| Arc::ptr_eq(&now, &entry.keys);
        if now >= entry.until || !keys(entry.issuer).is_some_and(is_same) {
            young.remove(token);
            old.remove(token);
            return None;
        }
        if let Some(entry) = old.remove(token) {
            halves.add(*token, entry);
        }
        Some(entry.consumer)
    }

    pub(crate) fn add(
        &self,
        token: Digest,
        consumer: &Arc<Consumer>,
        until: u64,
        issuer: usize,
        keys: Arc<KeySet>,
    ) {
        let entry = Entry { consumer: consumer.clone(), until, issuer, keys };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(token, entry);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let halves = self.0.lock().unwrap();
        halves.young.len() + halves.old.len()
    }
}

impl Halves {
    fn add(&mut self, token: Digest, entry: Entry) {
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_so_many_and_those_in_use_stay() {
        let (verified, keys) = (Verified::default(), Arc::new(KeySet::default()));
        let nobody = Arc::new(Consumer::anonymous());
        let token = |number: usize| {
            let mut digest = Digest::default();
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        let mut most = 0;
        for number in 0..2 * MOST {
            verified.add(token(number), &nobody, 9, 0, keys.clone());
            most = most.max(verified.len());
            assert!(verified.find(&token(0), 1, |_| Some(keys.clone())).is_some(), "{number}");
        }
        assert!(most <= MOST, "{most}");
        assert!(verified.find(&token(1), 1, |_| Some(keys.clone())).is_none());
    }
}
