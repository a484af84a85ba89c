//! What rules look for in requests, prepared once for each distinct [`Leaks`]; and what was found ([`LeakFact`]), or taken out
//! ([`MaskFact`]).
//!
//! Guarantees: nothing that was found is kept but a fingerprint, under a salt that is this process's own; what cannot be
//! looked for is no search that finds nothing, but one that lets nothing pass. Does not: read requests
//! (`http::searching`).

use ::inspect::leak::{Layer, Leak, LeakClass, LeakOptions, LeakRules, Span};
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
    /// In its method, its path, its query, or the name or value of a field.
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
    /// Whether the request went on with a marker in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// What was taken out of a request. Never what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskFact {
    /// Id of what found it.
    pub rule: Cow<'static, str>,
    /// What kind of thing.
    pub class: LeakKind,
    /// In how many places.
    pub count: u32,
}

impl MaskFact {
    pub(crate) fn of(rule: &'static str, class: LeakClass, count: u32) -> Self {
        Self { rule: Cow::Borrowed(rule), class: kind(class), count }
    }
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

    /// Whether a request may be stopped for anything.
    pub(crate) fn blocks(&self) -> bool {
        self.actions().any(LeakAction::may_stop)
    }

    /// Whether anything is masked.
    pub(crate) fn masks(&self) -> bool {
        self.actions().any(|action| action == LeakAction::Mask)
    }

    fn actions(&self) -> impl Iterator<Item = LeakAction> {
        let Leaks { secrets, personal, files, canaries, opaque } = &self.leaks;
        let canaries = canaries.as_ref().map(|canaries| canaries.action);
        let opaque = opaque.map(|opaque| opaque.action);
        [*secrets, *personal, *files, canaries, opaque].into_iter().flatten()
    }

    /// What is done where something is found; `None`: it is not looked for.
    pub(crate) fn action(&self, kind: LeakKind) -> Option<LeakAction> {
        let Leaks { secrets, personal, files, canaries, opaque } = &self.leaks;
        match kind {
            LeakKind::Secret => *secrets,
            LeakKind::Personal => *personal,
            LeakKind::Canary => canaries.as_ref().map(|canaries| canaries.action),
            LeakKind::File => *files,
            LeakKind::Opaque => opaque.map(|opaque| opaque.action),
            // Anything may be in it.
            LeakKind::Bomb => self.actions().max_by_key(|action| action.may_stop()),
        }
    }

    /// Whether a marker belongs in the place of it.
    pub(crate) fn is_masked(&self, span: &Span) -> bool {
        span.is_confirmed && self.action(kind(span.class)) == Some(LeakAction::Mask)
    }

    /// Whether what was found is there as it is. Canaries are also found as they are written in encodings, of which a marker
    /// would leave nothing that can be decoded.
    pub(crate) fn is_plain(&self, span: &Span, body: &[u8]) -> bool {
        let LeakClass::Canary(canary) = span.class else { return true };
        let values =
            self.leaks.canaries.as_ref().map(|canaries| canaries.values.as_slice()).unwrap_or_default();
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let text = body.get(place(span.range.start)..place(span.range.end)).map(std::str::from_utf8);
        let (Some(value), Some(Ok(text))) = (values.get(usize::from(canary)), text) else { return false };
        text == &**value
            || serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok_and(|text| *text == **value)
    }

    /// What a finding is to a rule; `None`: nothing. `may_mask`: whether a marker can be put in its place.
    pub(crate) fn fact(&self, leak: &Leak, place: LeakPlace, may_mask: bool) -> Option<LeakFact> {
        let class = kind(leak.class);
        let action = self.action(class)?;
        let masked = leak.is_confirmed && may_mask && action == LeakAction::Mask;
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
            blocked: leak.is_confirmed && !masked && action.may_stop(),
            masked,
        })
    }
}

/// Which of a rule's classes it is.
fn kind(class: LeakClass) -> LeakKind {
    match class {
        LeakClass::Secret => LeakKind::Secret,
        LeakClass::Pii | LeakClass::Emails => LeakKind::Personal,
        LeakClass::Canary(_) => LeakKind::Canary,
        LeakClass::File(_) => LeakKind::File,
        LeakClass::Bomb => LeakKind::Bomb,
        LeakClass::Opaque => LeakKind::Opaque,
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
