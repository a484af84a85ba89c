//! What is looked for, prepared once and shared by every scanner.
//!
//! Enters: [`LeakOptions`]. Leaves: [`LeakRules`]. Guarantees: the size of what is searched with is bounded by
//! [`MAX_CANARIES`] and [`LeakRules::MAX_PREFIX`]. Does not: say what is done about a leak.

use super::canary::variants;
use super::literals::Literals;
use super::opaque::Opaque;
use super::secrets::{SECRETS, Secret};

/// Most canaries.
pub const MAX_CANARIES: usize = 256;

/// Fewest and most bytes of a canary. A shorter one would be found by chance.
pub const CANARY_LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeakOptions {
    /// Keys, tokens, passwords, by their shapes.
    pub secrets: bool,
    /// Numbers of people and their money, e-mail addresses in number.
    pub pii: bool,
    /// Strings that nobody may send.
    pub canaries: Vec<Vec<u8>>,
    /// Files of models and datasets.
    pub files: bool,
    /// From how many bytes on something is looked for that looks encrypted, or packed in a form that is not known. `None`: it
    /// is not.
    pub opaque_from: Option<u64>,
    /// Put before a text when its fingerprint is taken, so that the fingerprint of a number cannot be guessed.
    pub salt: Vec<u8>,
}

/// Why rules cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakFlaw {
    /// More than [`MAX_CANARIES`].
    TooManyCanaries,
    /// A canary, by its place, is not of [`CANARY_LENGTH`].
    CanaryLength(usize),
}

/// What to look for, prepared.
#[derive(Debug)]
pub struct LeakRules {
    /// `None`: nothing is searched for.
    pub(super) search: Option<Literals>,
    /// By literal.
    pub(super) targets: Vec<Target>,
    /// The literals that are no single word.
    pub(super) spaced: Vec<Vec<u8>>,
    canaries: Vec<Vec<Vec<u8>>>,
    pub(super) pii: bool,
    pub(super) files: bool,
    pub(super) opaque_from: Option<u64>,
    pub(super) salt: Vec<u8>,
}

/// What a pattern may be the beginning of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Secret(&'static Secret),
    Canary { canary: u16, variant: u16 },
}

impl LeakRules {
    /// Most bytes of a pattern that is searched for; the rest of a longer one is compared.
    pub(super) const MAX_PREFIX: usize = 32;

    /// Prepares the search.
    ///
    /// # Errors
    /// A canary that cannot be looked for.
    pub fn new(options: &LeakOptions) -> Result<Self, LeakFlaw> {
        if options.canaries.len() > MAX_CANARIES {
            return Err(LeakFlaw::TooManyCanaries);
        }
        if let Some(at) = options.canaries.iter().position(|canary| !CANARY_LENGTH.contains(&canary.len())) {
            return Err(LeakFlaw::CanaryLength(at));
        }
        let canaries: Vec<_> = options.canaries.iter().map(|canary| variants(canary)).collect();
        let mut patterns: Vec<&[u8]> = Vec::new();
        let mut targets = Vec::new();
        for secret in SECRETS.iter().filter(|_| options.secrets) {
            for prefix in secret.prefixes {
                patterns.push(prefix.as_bytes());
                targets.push(Target::Secret(secret));
            }
        }
        for (canary, variants) in (0..).zip(&canaries) {
            for (variant, text) in (0..).zip(variants) {
                patterns.push(text.get(..Self::MAX_PREFIX / 2).unwrap_or(text));
                targets.push(Target::Canary { canary, variant });
            }
        }
        let is_spaced = |pattern: &&&[u8]| !pattern.iter().all(u8::is_ascii_graphic);
        let spaced = patterns.iter().filter(is_spaced).map(|pattern| pattern.to_vec()).collect();
        let search = (!patterns.is_empty()).then(|| Literals::new(&patterns));
        let LeakOptions { pii, files, opaque_from, .. } = *options;
        Ok(Self { search, targets, spaced, canaries, pii, files, opaque_from, salt: options.salt.clone() })
    }

    pub(super) fn opaque(&self) -> Option<Opaque> {
        self.opaque_from.map(Opaque::new)
    }

    pub(super) fn variant(&self, canary: u16, variant: u16) -> Option<&[u8]> {
        Some(self.canaries.get(usize::from(canary))?.get(usize::from(variant))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_long_enough_and_every_id_is_its_own() {
        let mut ids: Vec<_> = SECRETS.iter().map(|secret| secret.id).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert!(all >= 40, "{all}");
        for secret in SECRETS {
            assert!(
                secret.prefixes.iter().all(|prefix| (3..=LeakRules::MAX_PREFIX).contains(&prefix.len())),
                "{}",
                secret.id
            );
        }
    }

    #[test]
    fn canaries_that_cannot_be_looked_for_are_refused() {
        let rules =
            |canaries| LeakRules::new(&LeakOptions { canaries, ..LeakOptions::default() }).map(|_| ());
        assert_eq!(rules(vec![b"long enough".to_vec(), b"short".to_vec()]), Err(LeakFlaw::CanaryLength(1)));
        assert_eq!(rules(vec![vec![b'x'; 257]]), Err(LeakFlaw::CanaryLength(0)));
        assert_eq!(rules(vec![b"long enough".to_vec(); 257]), Err(LeakFlaw::TooManyCanaries));
        assert_eq!(rules(vec![vec![b'x'; 256]; 256]), Ok(()));
    }
}
