//! What an API server was seen to have of one kind.
//!
//! Enters: events of a watch. Leaves: the objects, and which of them changed. Guarantees: what is half listed is not seen; before a
//! whole list came, nothing is known. Does not: talk to anything.

use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet};

/// Objects of one kind, and what is kept of each.
#[derive(Debug)]
pub(super) struct Known<K, V> {
    objects: BTreeMap<K, V>,
    listing: BTreeMap<K, V>,
    is_whole: bool,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: BTreeMap::new(), is_whole: false }
    }
}

impl<K: Ord + Clone, V: PartialEq> Known<K, V> {
    /// Takes an event in, of which `keep` keeps the key and something; `None`: the object is as good as not there. The keys by
    /// which something differs.
    pub(super) fn take<T>(
        &mut self,
        event: Event<T>,
        mut keep: impl FnMut(T) -> (K, Option<V>),
    ) -> BTreeSet<K> {
        match event {
            Event::Init => {
                self.listing.clear();
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                if let (key, Some(value)) = keep(object) {
                    self.listing.insert(key, value);
                }
                BTreeSet::new()
            }
            Event::InitDone => {
                self.is_whole = true;
                let before = std::mem::replace(&mut self.objects, std::mem::take(&mut self.listing));
                let all = before.keys().chain(self.objects.keys());
                all.filter(|key| before.get(*key) != self.objects.get(*key)).cloned().collect()
            }
            Event::Apply(object) => {
                let (key, value) = keep(object);
                self.set(key, value)
            }
            Event::Delete(object) => {
                let (key, _) = keep(object);
                self.set(key, None)
            }
        }
    }

    /// Notes what was written oneself, before the watch says so.
    pub(super) fn set(&mut self, key: K, value: Option<V>) -> BTreeSet<K> {
        let differs = self.objects.get(&key) != value.as_ref();
        match value {
            Some(value) => drop(self.objects.insert(key.clone(), value)),
            None => drop(self.objects.remove(&key)),
        }
        differs.then_some(key).into_iter().collect()
    }

    /// Whether a whole list came.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.objects.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.objects.iter()
    }

    /// Those from a key on, in order.
    pub(super) fn from(&self, first: K) -> impl Iterator<Item = (&K, &V)> {
        self.objects.range(first..)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_whole_and_says_what_differs() {
        let mut known: Known<&str, u32> = Known::default();
        let keep = |(name, value): (&'static str, u32)| (name, (value > 0).then_some(value));
        assert!(known.take(Event::InitApply(("a", 1)), keep).is_empty() && !known.is_whole());
        assert!(known.take(Event::InitApply(("b", 1)), keep).is_empty());
        assert_eq!(known.take(Event::InitDone, keep), ["a", "b"].into());
        assert!(known.is_whole());
        assert!(known.take(Event::Apply(("a", 1)), keep).is_empty());
        assert_eq!(known.take(Event::Apply(("a", 2)), keep), ["a"].into());
        known.take(Event::Init, keep);
        known.take(Event::InitApply(("a", 2)), keep);
        assert_eq!(known.get(&"b"), Some(&1), "the list is not whole yet");
        known.take(Event::InitApply(("c", 0)), keep);
        assert_eq!(known.take(Event::InitDone, keep), ["b"].into());
        assert_eq!(known.take(Event::Delete(("a", 2)), keep), ["a"].into());
        assert_eq!(known.iter().count(), 0);
    }
}
