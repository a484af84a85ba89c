//! Persistent collections: what rules keep about clients, sessions and users from one transaction to the next.
//!
//! The host makes one store and gives it to all its transactions; it lives in memory. Guarantees: bounded; when it is
//! full the collection that would end first makes room, which is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::variable::Variable;

/// Most collections at a time.
pub const MAX_COLLECTIONS: usize = 100_000;
/// Most entries of one collection.
pub const MAX_ENTRIES: usize = 128;
/// Longest key of a collection or an entry, and longest value.
pub const MAX_TEXT: usize = 4096;

type Key = (Variable, Vec<u8>);

/// Collections of all transactions of a host.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    collections: BTreeMap<Key, Collection>,
    /// When each ends, soonest first.
    ends: BTreeSet<(u64, Key)>,
    displaced: u64,
}

#[derive(Debug, Default)]
struct Collection {
    ends: u64,
    entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    ends: Option<u64>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many collections made room for others before their time.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        self.with(|inner| inner.displaced)
    }

    /// Opens a collection, and has it live for `lifetime` seconds from `now`.
    pub(crate) fn open(&self, variable: Variable, key: &[u8], now: u64, lifetime: u64) {
        self.with(|inner| inner.open((variable, cut(key)), now, now.saturating_add(lifetime)));
    }

    /// All entries of a collection that have not ended.
    pub(crate) fn entries(&self, variable: Variable, key: &[u8], now: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.with(|inner| {
            let collection =
                inner.collections.get(&(variable, cut(key))).filter(|collection| collection.ends > now);
            let entries = collection.into_iter().flat_map(|collection| &collection.entries);
            let alive = entries.filter(|(_, entry)| entry.ends.is_none_or(|ends| ends > now));
            alive.map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
        })
    }

    /// Sets an entry, or takes it away; says whether there was room.
    pub(crate) fn set(&self, variable: Variable, key: &[u8], name: &[u8], value: Option<Vec<u8>>) -> bool {
        self.with(|inner| {
            let Some(collection) = inner.collections.get_mut(&(variable, cut(key))) else { return true };
            let name = cut(name).to_ascii_lowercase();
            let Some(value) = value else {
                collection.entries.remove(&name);
                return true;
            };
            let room = collection.entries.len() < MAX_ENTRIES || collection.entries.contains_key(&name);
            if room {
                let ends = collection.entries.get(&name).and_then(|entry| entry.ends);
                collection.entries.insert(name, Entry { value: cut(&value), ends });
            }
            room
        })
    }

    /// Has an entry end at a time.
    pub(crate) fn expire(&self, variable: Variable, key: &[u8], name: &[u8], ends: u64) {
        self.with(|inner| {
            let collection = inner.collections.get_mut(&(variable, cut(key)));
            let entry =
                collection.and_then(|collection| collection.entries.get_mut(&cut(name).to_ascii_lowercase()));
            if let Some(entry) = entry {
                entry.ends = Some(ends);
            }
        });
    }

    /// A panic elsewhere leaves collections as they are: each change is whole.
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn cut(text: &[u8]) -> Vec<u8> {
    text.get(..MAX_TEXT).unwrap_or(text).to_vec()
}

impl Inner {
    fn open(&mut self, key: Key, now: u64, ends: u64) {
        if let Some(collection) = self.collections.get_mut(&key) {
            self.ends.remove(&(collection.ends, key.clone()));
            if collection.ends <= now {
                collection.entries.clear();
            }
            collection.ends = ends;
        } else {
            self.make_room(now);
            self.collections.insert(key.clone(), Collection { ends, entries: BTreeMap::new() });
        }
        self.ends.insert((ends, key));
    }

    fn make_room(&mut self, now: u64) {
        while self
            .ends
            .first()
            .is_some_and(|(ends, _)| *ends <= now || self.collections.len() >= MAX_COLLECTIONS)
        {
            let Some((ends, key)) = self.ends.pop_first() else { return };
            self.collections.remove(&key);
            self.displaced += u64::from(ends > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_with_their_collection_or_before() {
        let store = Store::new();
        store.open(Variable::Ip, b"1", 100, 10);
        assert!(store.set(Variable::Ip, b"1", b"Count", Some(b"3".to_vec())));
        assert!(store.set(Variable::Ip, b"1", b"flag", Some(b"1".to_vec())));
        store.expire(Variable::Ip, b"1", b"flag", 105);
        assert_eq!(store.entries(Variable::Ip, b"1", 104).len(), 2);
        assert_eq!(store.entries(Variable::Ip, b"1", 106), [(b"count".to_vec(), b"3".to_vec())]);
        assert_eq!(store.entries(Variable::Ip, b"1", 110), []);
        assert_eq!(store.entries(Variable::Ip, b"2", 104), []);
    }

    #[test]
    fn a_full_store_displaces_what_would_end_first() {
        let store = Store::new();
        for client in 0..=MAX_COLLECTIONS {
            store.open(Variable::Ip, client.to_string().as_bytes(), 0, 10 + client as u64);
        }
        store.set(Variable::Ip, b"0", b"a", Some(b"1".to_vec()));
        assert_eq!((store.displaced(), store.entries(Variable::Ip, b"0", 1).len()), (1, 0));
    }
}
