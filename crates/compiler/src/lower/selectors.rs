//! Which of many selectors match a label set, without asking each of them.
//!
//! Enters: selectors with a payload. Leaves: the payloads of those that match a label set.
//! Guarantees: exactly what asking every selector gives. A selector is filed under the key and values of one of
//! its `In` requirements; one without any is asked always.

use policy::{Labels, Requirement, Selector};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Selectors, found by the labels they need.
#[derive(Clone, Debug)]
pub(crate) struct SelectorIndex<T> {
    /// Selectors that need no particular label value, and every selector while there are few.
    asked: Vec<(Selector, T)>,
    /// By a hash of key and value. A collision only costs a look: the whole selector is asked anyway.
    filed: HashMap<u64, Vec<(Selector, T)>, Fixed>,
}

/// Below this many selectors, asking each is cheaper than a table.
const FEW: usize = 8;

impl<T> Default for SelectorIndex<T> {
    fn default() -> Self {
        Self { asked: Vec::new(), filed: HashMap::default() }
    }
}

impl<T: Copy + Ord> SelectorIndex<T> {
    /// Files a selector.
    pub(crate) fn insert(&mut self, selector: &Selector, payload: T) {
        let narrow = narrowest(selector).filter(|_| self.asked.len() >= FEW);
        let Some((key, values)) = narrow else {
            self.asked.push((selector.clone(), payload));
            return;
        };
        for value in values {
            self.filed.entry(pair(key, value)).or_default().push((selector.clone(), payload));
        }
    }

    /// Payloads of the selectors that match, ascending.
    pub(crate) fn matching(&self, labels: &Labels) -> Vec<T> {
        let mut found: Vec<T> = Vec::new();
        let mut ask = |list: &[(Selector, T)]| {
            found.extend(list.iter().filter(|(selector, _)| selector.matches(labels)).map(|(_, p)| *p));
        };
        ask(&self.asked);
        if !self.filed.is_empty() {
            labels.iter().filter_map(|(key, value)| self.filed.get(&pair(key, value))).for_each(|l| ask(l));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn narrowest(selector: &Selector) -> Option<(&str, &[Arc<str>])> {
    selector.0.iter().filter_map(in_values).min_by_key(|(_, values)| values.len())
}

fn in_values(requirement: &Requirement) -> Option<(&str, &[Arc<str>])> {
    match requirement {
        Requirement::In(key, values) => Some((key.as_ref(), values.as_slice())),
        Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::DoesNotExist(_) => None,
    }
}

fn pair(key: &str, value: &str) -> u64 {
    let mut hasher = Fixed.build_hasher();
    hasher.write(key.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(value.as_bytes());
    hasher.finish()
}

/// A hasher without randomness: this crate is deterministic. Labels are written by many users, but the worst a
/// chosen collision does is to have one selector asked in vain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        Self::Hasher::new()
    }
}
