//! Connections that have not said who they are, counted by where they come from.
//!
//! Enters: addresses of others. Leaves: a place for one more, or none. Guarantees: one address has no more than [`OF_SOURCE`] places at a
//! time, so that a pod that opens connections takes no room from nodes. Does not: know who anybody is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Of one address: many nodes may come by one, where a load balancer stands before the controller.
pub(crate) const OF_SOURCE: u32 = 256;

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<BTreeMap<IpAddr, u32>>>);

/// One of them, until it is dropped.
pub(crate) struct Stranger {
    from: IpAddr,
    all: Strangers,
}

impl Strangers {
    /// A place for a connection from there; `None`: it has too many.
    pub(crate) fn place(&self, from: IpAddr) -> Option<Stranger> {
        let from = from.to_canonical();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(from).or_default();
        if *count >= OF_SOURCE {
            return None;
        }
        *count += 1;
        Some(Stranger { from, all: self.clone() })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_room_from_another_and_what_is_given_up_comes_back() {
        let strangers = Strangers::default();
        let [one, same, other] =
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let mut held: Vec<Stranger> = (0..OF_SOURCE).filter_map(|_| strangers.place(one)).collect();
        assert_eq!(held.len(), OF_SOURCE as usize);
        assert!(strangers.place(one).is_none() && strangers.place(same).is_none());
        assert!(strangers.place(other).is_some());
        held.pop();
        assert!(strangers.place(same).is_some());
        drop(held);
        assert!(strangers.0.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}
