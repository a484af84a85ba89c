//! How many connections there may be at once.

use crate::reason::Reason;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections are open, and whether somebody may have one more.
#[derive(Debug)]
pub(crate) struct Bounds<K: Hash + Eq> {
    total: usize,
    each: usize,
    open: Mutex<Open<K>>,
}

#[derive(Debug)]
struct Open<K> {
    total: usize,
    by: HashMap<K, usize>,
}

/// A place among the open connections; free again when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Slot<K: Hash + Eq> {
    bounds: Arc<Bounds<K>>,
    of: K,
}

impl<K: Hash + Eq + Clone> Bounds<K> {
    pub(crate) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { total, each, open: Mutex::new(Open { total: 0, by: HashMap::new() }) })
    }

    pub(crate) fn admit(self: &Arc<Self>, of: K) -> Result<Slot<K>, Reason> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(Reason::TooMany);
        }
        let mine = open.by.entry(of.clone()).or_default();
        if *mine >= self.each {
            return Err(Reason::TooManyOfPod);
        }
        *mine += 1;
        open.total += 1;
        drop(open);
        Ok(Slot { bounds: self.clone(), of })
    }
}

impl<K: Hash + Eq> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut open = self.bounds.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(mine) = open.by.get_mut(&self.of) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                open.by.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn one_pod_cannot_take_every_place_and_places_are_given_back() {
        let bounds = Bounds::new(3, 2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = bounds.admit(one).unwrap();
        let _second = bounds.admit(one).unwrap();
        assert_eq!(bounds.admit(one).unwrap_err(), Reason::TooManyOfPod);
        let _third = bounds.admit(other).unwrap();
        assert_eq!(bounds.admit(other).unwrap_err(), Reason::TooMany);
        drop(first);
        let _again = bounds.admit(other).unwrap();
    }
}
