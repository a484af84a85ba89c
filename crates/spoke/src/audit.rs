//! What a cluster took and what it refused: when, what, who signed it, from where, and why not.
//!
//! Guarantees: bounded, the newest stay; what is refused again and again for the same reason is one entry; however much is refused, half
//! of the room is for what was taken. Does not: keep itself.

use fleet::Ref;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Entries that are kept.
const MOST: usize = 50;
/// Most bytes of a reason.
const MOST_WHY: usize = 1024;

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// It is in force.
    Enforced,
    /// It changes nothing.
    Refused,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// When, by the cluster's clock: RFC 3339.
    pub(crate) at: String,
    pub(crate) what: What,
    pub(crate) release: Ref,
    /// Names of pinned keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signers: Vec<String>,
    /// The hub, or the folder.
    pub(crate) from: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) why: String,
}

impl Entry {
    pub(crate) fn enforced(release: &Ref, signers: &[String], from: String) -> Self {
        let (at, release) = (now(), release.clone());
        Self { at, what: What::Enforced, release, signers: signers.to_vec(), from, why: String::new() }
    }

    pub(crate) fn refused(release: &Ref, from: String, why: &str) -> Self {
        let why = why.chars().take(MOST_WHY).collect();
        Self { at: now(), what: What::Refused, release: release.clone(), signers: Vec::new(), from, why }
    }
}

fn now() -> String {
    Timestamp::now().to_string()
}

/// Adds an entry. False: it is the last one, once more.
pub(crate) fn note(entries: &mut Vec<Entry>, entry: Entry) -> bool {
    let same = |it: &Entry| (it.what, &it.release, &it.why) == (entry.what, &entry.release, &entry.why);
    if entries.last().is_some_and(same) {
        return false;
    }
    entries.push(entry);
    while entries.len() > MOST {
        // A hub that wants one refused release after the other does not have it forgotten what was taken.
        let refused = entries.iter().filter(|it| it.what == What::Refused).count();
        let what = if refused * 2 > MOST { What::Refused } else { What::Enforced };
        let oldest = entries.iter().position(|it| it.what == what).unwrap_or_default();
        entries.remove(oldest);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_what_is_said_again_is_one() {
        let of = |number: u64| Ref { number, ..Ref::nothing() };
        let mut entries = Vec::new();
        for number in 0..60 {
            assert!(note(&mut entries, Entry::refused(&of(number), "the hub".to_owned(), "unsigned")));
            assert!(!note(&mut entries, Entry::refused(&of(number), "the hub".to_owned(), "unsigned")));
        }
        assert!(note(&mut entries, Entry::enforced(&of(59), &["ann".to_owned()], "the hub".to_owned())));
        let (first, last) = (entries.first().unwrap(), entries.last().unwrap());
        assert_eq!((entries.len(), first.release.number, last.what), (MOST, 11, What::Enforced));
    }

    #[test]
    fn what_was_taken_is_not_forgotten_for_what_is_refused() {
        let of = |number: u64| Ref { number, ..Ref::nothing() };
        let (mut entries, hub) = (Vec::new(), || "the hub".to_owned());
        for number in 0..40 {
            assert!(note(&mut entries, Entry::enforced(&of(number), &[], hub())));
        }
        for number in 100..300 {
            assert!(note(&mut entries, Entry::refused(&of(number), hub(), "unsigned")));
        }
        let taken: Vec<u64> =
            entries.iter().filter(|it| it.what == What::Enforced).map(|it| it.release.number).collect();
        assert_eq!((entries.len(), taken), (MOST, (15..40).collect()));
        assert_eq!(entries.last().unwrap().release.number, 299);
    }
}
