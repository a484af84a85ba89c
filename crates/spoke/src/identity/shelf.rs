//! In which slice each pod of an exported namespace is.
//!
//! Enters: pods that come, change and go. Leaves: which slices differ by it. Guarantees: a pod stays in its slice, so that one
//! change writes one object; no slice holds more than [`ROOM`]. Pure.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Pods in a slice: few enough for a change to be a small object, enough for ten thousand to be some hundred objects.
pub(super) const ROOM: usize = 64;

/// The slices of one namespace, by number.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    slices: BTreeMap<u32, BTreeMap<String, Value>>,
    place: BTreeMap<String, u32>,
    /// Slices with room, the lowest first.
    roomy: BTreeSet<u32>,
}

impl Shelf {
    /// Keeps a place that a pod had before: what is exported already is not moved by a restart. The pod itself is put later.
    pub(super) fn reserve(&mut self, number: u32, name: &str) {
        let slice = self.slices.entry(number).or_default();
        if slice.len() < ROOM && !self.place.contains_key(name) {
            slice.insert(name.to_owned(), Value::Null);
            self.place.insert(name.to_owned(), number);
        }
        self.note_room(number);
    }

    /// Takes a pod in, as it is now. The slice that differs by it, if one does.
    pub(super) fn put(&mut self, name: &str, identity: Value) -> Option<u32> {
        let number = match self.place.get(name) {
            Some(number) => *number,
            None => self.roomy.first().copied().unwrap_or_else(|| self.unused()),
        };
        self.place.insert(name.to_owned(), number);
        let slice = self.slices.entry(number).or_default();
        let differs = slice.get(name) != Some(&identity);
        slice.insert(name.to_owned(), identity);
        self.note_room(number);
        differs.then_some(number)
    }

    /// Takes a pod out. The slice that differs by it, if it was there.
    pub(super) fn remove(&mut self, name: &str) -> Option<u32> {
        let number = self.place.remove(name)?;
        if let Some(slice) = self.slices.get_mut(&number) {
            slice.remove(name);
        }
        self.note_room(number);
        Some(number)
    }

    /// What a slice holds, by name; `None`: there is no such slice.
    pub(super) fn pods(&self, number: u32) -> Option<Vec<&Value>> {
        let slice = self.slices.get(&number)?;
        Some(slice.values().filter(|identity| !identity.is_null()).collect())
    }

    /// Every slice.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.slices.keys().copied()
    }

    /// Every pod.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.place.keys()
    }

    fn unused(&self) -> u32 {
        let last = self.slices.last_key_value();
        last.map_or(0, |(number, _)| number.saturating_add(1))
    }

    fn note_room(&mut self, number: u32) {
        let length = self.slices.get(&number).map_or(0, BTreeMap::len);
        match length {
            0 => {
                self.slices.remove(&number);
                self.roomy.remove(&number);
            }
            ROOM.. => {
                self.roomy.remove(&number);
            }
            _ => {
                self.roomy.insert(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn whatever_comes_and_goes_every_pod_is_in_one_slice_and_only_that_of_the_change_differs() {
        let (mut shelf, mut pods) = (Shelf::default(), BTreeMap::<String, u64>::new());
        let mut state = 7_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = format!("pod-{}", (state >> 33) % 700);
            let before: BTreeMap<u32, Vec<Value>> = shelf
                .numbers()
                .map(|number| (number, shelf.pods(number).unwrap().into_iter().cloned().collect()))
                .collect();
            let differs = if (state >> 20).is_multiple_of(3) {
                pods.remove(&name);
                shelf.remove(&name)
            } else {
                pods.insert(name.clone(), step % 2);
                shelf.put(&name, Value::from(step % 2))
            };
            if step % 97 != 0 {
                continue;
            }
            let after: BTreeMap<u32, Vec<Value>> = shelf
                .numbers()
                .map(|number| (number, shelf.pods(number).unwrap().into_iter().cloned().collect()))
                .collect();
            let all = before.keys().chain(after.keys()).copied();
            let changed: BTreeSet<u32> =
                all.filter(|number| before.get(number) != after.get(number)).collect();
            assert!(changed.iter().all(|number| Some(*number) == differs), "{changed:?} {differs:?}");
            assert_eq!(after.values().map(Vec::len).sum::<usize>(), pods.len());
            assert!(after.values().all(|slice| (1..=ROOM).contains(&slice.len())));
            assert!(shelf.names().eq(pods.keys()));
        }
    }

    #[test]
    fn what_was_exported_before_a_restart_stays_where_it_is() {
        let mut shelf = Shelf::default();
        shelf.reserve(3, "b");
        shelf.reserve(3, "gone");
        assert_eq!(shelf.put("b", Value::from(1)), Some(3));
        assert_eq!(shelf.put("a", Value::from(1)), Some(3), "there is room");
        assert_eq!(shelf.pods(3).unwrap().len(), 2, "who did not come again is not exported");
        assert_eq!(shelf.remove("gone"), Some(3));
        assert_eq!(shelf.remove("gone"), None);
        assert_eq!(shelf.put("b", Value::from(1)), None, "nothing differs");
    }
}
