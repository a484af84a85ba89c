//! Shares equal strings, label sets and selectors.
//!
//! Enters: what objects carry. Leaves: the same values, equal ones behind one allocation. A cluster has many
//! pods and policies but few distinct label sets; sharing them is most of the memory saved.
//! Does not: forget by itself. Whoever keeps one asks it to, now and then.

use crate::labels::{Labels, Requirement, Selector};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
    labels: HashSet<Labels>,
    selectors: HashSet<Selector>,
}

impl Interner {
    /// The shared copy of a text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }

    /// Forgets what nobody else has any more.
    pub fn forget_unused(&mut self) {
        self.selectors.retain(|it| Arc::strong_count(&it.0) > 1);
        self.labels.retain(|it| Arc::strong_count(&it.0) > 1);
        // Last, for the others hold strings.
        self.strings.retain(|it| Arc::strong_count(it) > 1);
    }

    /// How many strings, label sets and selectors it holds.
    pub fn len(&self) -> usize {
        self.strings.len() + self.labels.len() + self.selectors.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shared copy of a label set.
    pub fn labels<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Labels {
        let map: BTreeMap<Arc<str>, Arc<str>> =
            pairs.into_iter().map(|(k, v)| (self.text(k.as_ref()), self.text(v.as_ref()))).collect();
        let labels = Labels(Arc::new(map));
        match self.labels.get(&labels) {
            Some(known) => known.clone(),
            None => {
                self.labels.insert(labels.clone());
                labels
            }
        }
    }

    /// The shared copy of a selector.
    pub fn selector(&mut self, requirements: impl IntoIterator<Item = Requirement>) -> Selector {
        let selector: Selector = requirements.into_iter().collect();
        match self.selectors.get(&selector) {
            Some(known) => known.clone(),
            None => {
                self.selectors.insert(selector.clone());
                selector
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_one_allocation() {
        let mut interner = Interner::default();
        let (a, b) = (interner.text("web"), interner.text("web"));
        assert!(Arc::ptr_eq(&a, &b));
        let (a, b) = (interner.labels([("app", "web")]), interner.labels([("app", "web")]));
        assert!(Arc::ptr_eq(&a.0, &b.0));
        let wanted = || [Requirement::Exists("app".into())];
        let (a, b) = (interner.selector(wanted()), interner.selector(wanted()));
        assert!(Arc::ptr_eq(&a.0, &b.0));
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.labels([("app", "web")]);
        drop(interner.labels([("app", "db")]));
        drop(interner.selector([Requirement::Exists(interner_text())]));
        interner.forget_unused();
        assert_eq!(
            (interner.len(), interner.labels.get(&kept)),
            (3, Some(&kept)),
            "app, web and the set of both"
        );
        drop(kept);
        interner.forget_unused();
        assert!(interner.is_empty());
    }

    fn interner_text() -> Arc<str> {
        "tier".into()
    }
}
