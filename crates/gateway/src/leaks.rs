//! What rules look for in requests, prepared once for each distinct [`Leaks`]; and what was found ([`LeakFact`]).
//!
//! Guarantees: nothing that was found is kept but a fingerprint, under a salt that is this process's own; what cannot be
//! looked for is no search that finds nothing, but one that lets nothing pass. Does not: read requests
//! (`http::searching`).

use ::inspect::leak::{Layer, Leak, LeakClass, LeakOptions, LeakRules};
use policy::{LeakAction, Leaks};
use rustls::crypto::aws_lc_rs::default_provider;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most findings in the record of one request.
pub(crate) const MAX_FACTS: usize = 16;
/// Bytes of the salt.
const SALT: usize = 16;

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakKind {
    /// A key, token or password.
    Secret,
    /// A number of a person or of their money, or many e-mail addresses.
    Personal,
    /// A mark that the user planted.
    Canary,
    /// A file of a model or a data set.
    File,
    /// Something packed that becomes too large to be searched.
    Bomb,
    /// Something that looks encrypted, or packed in a form that is not known.
    Opaque,
}

/// In which part of a request it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakPlace {
    /// In its path, its query or a field.
    Head,
    /// In its body.
    Body,
}

/// Something that was found in a request. Never what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakFact {
    /// Id of what found it, the same in every release: `github-token`.
    pub rule: Cow<'static, str>,
    /// What kind of thing.
    pub class: LeakKind,
    /// Which of the rule's canaries, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u16>,
    /// Where.
    pub place: LeakPlace,
    /// How it was wrapped: `raw`, `base64`, `hex`, `percent`, `gzip`, `zstd`.
    pub layer: Cow<'static, str>,
    /// Where in the body, without its content coding; 0 in the head.
    pub offset: u64,
    /// How many bytes, unwrapped; of a file, how many were looked at.
    pub length: usize,
    /// The same for the same text within one process of the gateway: 16 hexadecimal digits.
    pub fingerprint: String,
    /// Whether everything that its kind is checked by holds; what is not certain blocks nothing.
    pub certain: bool,
    /// Whether the request was stopped for it.
    pub blocked: bool,
}

/// What a rule looks for, prepared.
#[derive(Debug)]
pub(crate) struct Search {
    leaks: Leaks,
    rules: Option<Arc<LeakRules>>,
}

impl PartialEq for Search {
    fn eq(&self, other: &Self) -> bool {
        self.leaks == other.leaks
    }
}

impl Search {
    fn new(leaks: &Leaks, salt: &[u8]) -> Self {
        let canaries = leaks.canaries.iter().flat_map(|canaries| &canaries.values);
        let options = LeakOptions {
            secrets: leaks.secrets.is_some(),
            pii: leaks.personal.is_some(),
            canaries: canaries.map(|canary| canary.as_bytes().to_vec()).collect(),
            files: leaks.files.is_some(),
            opaque_from: leaks.opaque.map(|opaque| opaque.min_bytes),
            salt: salt.to_vec(),
        };
        Self { leaks: leaks.clone(), rules: LeakRules::new(&options).ok().map(Arc::new) }
    }

    /// `None`: it cannot be looked for.
    pub(crate) fn rules(&self) -> Option<&Arc<LeakRules>> {
        self.rules.as_ref()
    }

    /// Whether a request is stopped for anything.
    pub(crate) fn blocks(&self) -> bool {
        self.strongest() == Some(LeakAction::Block)
    }

    fn strongest(&self) -> Option<LeakAction> {
        let Leaks { secrets, personal, files, canaries, opaque } = &self.leaks;
        let canaries = canaries.as_ref().map(|canaries| canaries.action);
        let opaque = opaque.map(|opaque| opaque.action);
        [*secrets, *personal, *files, canaries, opaque].into_iter().flatten().max()
    }

    /// What a finding is to a rule; `None`: nothing.
    pub(crate) fn fact(&self, leak: &Leak, place: LeakPlace) -> Option<LeakFact> {
        let Leaks { secrets, personal, files, canaries, opaque } = &self.leaks;
        let (class, action) = match leak.class {
            LeakClass::Secret => (LeakKind::Secret, *secrets),
            LeakClass::Pii | LeakClass::Emails => (LeakKind::Personal, *personal),
            LeakClass::Canary(_) => (LeakKind::Canary, canaries.as_ref().map(|canaries| canaries.action)),
            LeakClass::File(_) => (LeakKind::File, *files),
            LeakClass::Bomb => (LeakKind::Bomb, self.strongest()),
            LeakClass::Opaque => (LeakKind::Opaque, opaque.map(|opaque| opaque.action)),
        };
        let canary = match leak.class {
            LeakClass::Canary(canary) => Some(canary),
            LeakClass::Secret
            | LeakClass::Pii
            | LeakClass::Emails
            | LeakClass::File(_)
            | LeakClass::Opaque
            | LeakClass::Bomb => None,
        };
        Some(LeakFact {
            rule: Cow::Borrowed(leak.rule),
            class,
            canary,
            place,
            layer: Cow::Borrowed(word(leak.layer)),
            offset: if place == LeakPlace::Body { leak.offset } else { 0 },
            length: leak.length,
            fingerprint: leak.fingerprint.to_string(),
            certain: leak.is_confirmed,
            blocked: leak.is_confirmed && action? == LeakAction::Block,
        })
    }
}

fn word(layer: Layer) -> &'static str {
    match layer {
        Layer::Raw => "raw",
        Layer::Base64 => "base64",
        Layer::Hex => "hex",
        Layer::Percent => "percent",
        Layer::Gzip => "gzip",
        Layer::Zstd => "zstd",
    }
}

/// Every search that rules need, each prepared once.
#[derive(Debug)]
pub(crate) struct Searches {
    known: Mutex<HashMap<Leaks, Arc<Search>>>,
    salt: [u8; SALT],
}

impl Default for Searches {
    fn default() -> Self {
        let mut salt = [0; SALT];
        // Without randomness a fingerprint is one that can be guessed; it is still none that says more.
        let _guessable = default_provider().secure_random.fill(&mut salt);
        Self { known: Mutex::default(), salt }
    }
}

impl Searches {
    fn known(&self) -> MutexGuard<'_, HashMap<Leaks, Arc<Search>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one for this; `None`: nothing is looked for.
    pub(crate) fn of(&self, leaks: &Leaks) -> Option<Arc<Search>> {
        if leaks.is_open() {
            return None;
        }
        if let Some(known) = self.known().get(leaks) {
            return Some(Arc::clone(known));
        }
        // It takes a while, in which others must not wait.
        let made = Arc::new(Search::new(leaks, &self.salt));
        Some(Arc::clone(self.known().entry(leaks.clone()).or_insert(made)))
    }

    /// Prepares these, and forgets all others.
    pub(crate) fn keep<'l>(&self, leaks: impl Iterator<Item = &'l Leaks>) {
        let wanted: HashSet<&Leaks> = leaks.collect();
        for leaks in &wanted {
            self.of(leaks);
        }
        self.known().retain(|leaks, _| wanted.contains(leaks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Canaries;

    fn canaries(values: &[&str]) -> Leaks {
        let values = values.iter().map(|value| (*value).into()).collect();
        let canaries = Some(Canaries { values, action: LeakAction::Block });
        Leaks { canaries, ..Leaks::default() }
    }

    #[test]
    fn a_search_is_prepared_once_and_forgotten_with_its_rules() {
        let searches = Searches::default();
        let (one, other) = (canaries(&["canary-one"]), canaries(&["canary-two"]));
        assert!(searches.of(&Leaks::default()).is_none(), "there is nothing to look for");
        searches.keep([&one, &one, &other].into_iter());
        let first = searches.of(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &searches.of(&one).unwrap()) && first.rules().is_some());
        searches.keep([&other].into_iter());
        assert_eq!(searches.known().len(), 1);
        assert!(!Arc::ptr_eq(&first, &searches.of(&one).unwrap()));
    }

    #[test]
    fn what_cannot_be_looked_for_has_no_rules() {
        let searches = Searches::default();
        let search = searches.of(&canaries(&["short"])).unwrap();
        assert!(search.rules().is_none() && search.blocks());
    }
}
