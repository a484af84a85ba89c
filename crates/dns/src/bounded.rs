//! A map that holds so much and no more: what was put in first goes first.

use crate::map::Map;
use std::collections::VecDeque;
use std::collections::hash_map::Entry as Place;
use std::hash::Hash;

/// A map bounded by entries and by weight.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: Map<K, Entry<V>>,
    /// In the order they were put in. One that was put in again stands twice; the first does not count.
    order: VecDeque<(K, u64)>,
    puts: u64,
    weight: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    put: u64,
    weight: usize,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    pub(crate) fn new() -> Self {
        Self { entries: Map::default(), order: VecDeque::new(), puts: 0, weight: 0 }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Puts in one of this weight, and lets go of the oldest until no more than `entries` and `weight` are left.
    pub(crate) fn put(&mut self, key: K, value: V, weight: usize, (most, heaviest): (usize, usize)) {
        self.puts += 1;
        self.order.push_back((key.clone(), self.puts));
        self.weight += weight;
        if let Some(old) = self.entries.insert(key, Entry { value, put: self.puts, weight }) {
            self.weight -= old.weight;
        }
        while self.entries.len() > most || self.weight > heaviest {
            let Some((key, put)) = self.order.pop_front() else { return };
            self.let_go(key, put);
        }
        self.forget_repeats();
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.weight -= entry.weight;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn let_go(&mut self, key: K, put: u64) {
        if let Place::Occupied(place) = self.entries.entry(key)
            && place.get().put == put
        {
            self.weight -= place.remove().weight;
        }
    }

    /// Keys that were put in again and again must not make the order long.
    fn forget_repeats(&mut self) {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(key, put)| entries.get(key).is_some_and(|entry| entry.put == *put));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_putting_again_makes_young() {
        let mut map = Bounded::new();
        for key in [1, 2, 1, 3] {
            map.put(key, key, 1, (2, 99));
        }
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some(&1), None, Some(&3)));
    }

    #[test]
    fn weight_is_bounded_and_given_back() {
        let mut map = Bounded::new();
        for key in 0..10 {
            map.put(key, (), 30, (100, 100));
        }
        assert_eq!((map.len(), map.weight), (3, 90));
        map.put(9, (), 5, (100, 100));
        assert_eq!(map.weight, 65);
        map.put(7, (), 1000, (100, 100));
        assert_eq!((map.len(), map.weight), (0, 0), "too heavy for all the room there is");
    }

    #[test]
    fn the_order_stays_short() {
        let mut map = Bounded::new();
        for round in 0..10_000 {
            map.put(round % 3, (), 1, (10, 10));
        }
        assert!(map.order.len() < 100 && map.len() == 3);
    }
}
