//! Places that many want, so many for each: connections by the address they come from, or by the name of who opened them.
//!
//! Enters: whose place it would be. Leaves: a place until it is dropped, or none. Guarantees: nobody has more than the number of them at
//! a time, so that one who opens connections takes no room from others. Does not: bound all of them together, or know who anybody is.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one address that have not said who they are: many nodes may come by one, where a load balancer stands before
/// the controller.
pub const OF_ADDRESS: usize = 256;

/// All of them, and how many one may have.
#[derive(Clone, Debug)]
pub struct Places<K> {
    each: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Place<K: Hash + Eq> {
    of: K,
    all: Places<K>,
}

impl<K: Hash + Eq + Clone> Places<K> {
    /// At most `each` for one.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self { each, taken: Arc::default() }
    }

    /// One more; `None`: they have as many as they may.
    pub fn take(&self, of: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of.clone()).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { of, all: self.clone() })
    }
}

impl Places<IpAddr> {
    /// Of connections that have not said who they are, by where they come from.
    #[must_use]
    pub fn of_strangers() -> Self {
        Self::new(OF_ADDRESS)
    }

    /// One for a connection from there, in whichever way its address is written.
    pub fn admit(&self, from: IpAddr) -> Option<Place<IpAddr>> {
        self.take(from.to_canonical())
    }
}

impl<K: Hash + Eq> Place<K> {
    /// Whose it is.
    pub fn of(&self) -> &K {
        &self.of
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.all.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_room_from_another_and_what_is_given_up_comes_back() {
        let strangers = Places::of_strangers();
        let [one, same, other] =
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut held: Vec<Place<IpAddr>> = (0..OF_ADDRESS).filter_map(|_| strangers.admit(one)).collect();
        assert_eq!(held.len(), OF_ADDRESS);
        assert!(strangers.admit(one).is_none() && strangers.admit(same).is_none());
        assert!(strangers.admit(other).is_some());
        held.pop();
        assert!(strangers.admit(same).is_some());
        drop(held);
        assert!(strangers.taken.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}
