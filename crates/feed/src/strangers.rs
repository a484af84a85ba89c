//! Connections that did not show whose they are, counted by where they come from.
//!
//! Enters: addresses. Leaves: a [`Place`] for each connection, as long as its address has room. Guarantees: who shows nothing takes
//! only a part of what is there for nodes. Does not: know nodes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most of one address. A node has a handful while it enrols; behind one address there may be many nodes, which come again.
const OF_ADDRESS: usize = 256;

/// How many there are, by address.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, usize>>);

/// A place among them; free again when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place {
    strangers: Arc<Strangers>,
    of: IpAddr,
}

impl Strangers {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more from an address. `None`: it has as many as it may.
    pub(crate) fn place(self: &Arc<Self>, of: IpAddr) -> Option<Place> {
        let mut counts = self.counts();
        let count = counts.entry(of).or_default();
        if *count >= OF_ADDRESS {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { strangers: Arc::clone(self), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts();
        if let Some(count) = counts.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_takes_nothing_from_another() {
        let strangers = Arc::<Strangers>::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut held: Vec<Place> = (0..OF_ADDRESS).filter_map(|_| strangers.place(one)).collect();
        assert_eq!(held.len(), OF_ADDRESS);
        assert!(strangers.place(one).is_none() && strangers.place(other).is_some());
        held.pop();
        assert!(strangers.place(one).is_some());
        held.clear();
        assert!(strangers.counts().is_empty(), "nothing is kept of who is gone");
    }
}
