//! Endpoints by address, whatever configuration is in force, and which of them gets a request.
//!
//! Guarantees: the one with the fewest requests that are not over, of those that could be reached; among equals they take
//! turns. An endpoint that is in no configuration any more and has nothing to do is forgotten.

use crate::secured::Secured;
use crate::upstream::Endpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An address, whether HTTP/2 is spoken there, and in which TLS; 0: in none.
type Key = (SocketAddr, bool, u64);

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoken<'a> {
    pub(crate) is_http2: bool,
    pub(crate) tls: Option<&'a Arc<Secured>>,
}

impl Spoken<'_> {
    fn number(self) -> u64 {
        self.tls.map_or(0, |way| way.number)
    }
}

/// All endpoints.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    endpoints: Mutex<BTreeMap<Key, Arc<Endpoint>>>,
    turn: AtomicUsize,
}

impl Pool {
    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Endpoint>>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint for the next request to these, but for those that were tried already.
    pub(crate) fn pick(
        &self,
        addresses: &[SocketAddr],
        spoken: Spoken<'_>,
        tried: &[SocketAddr],
    ) -> Option<Arc<Endpoint>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(addresses.len())?;
        let (later, first) = addresses.split_at(start);
        let mut endpoints = self.endpoints();
        let in_turn = first.iter().chain(later).filter(|address| !tried.contains(address));
        let known = in_turn.map(|address| {
            let key = (*address, spoken.is_http2, spoken.number());
            let new = || Arc::new(Endpoint::new(*address, spoken.is_http2, spoken.tls.cloned()));
            Arc::clone(endpoints.entry(key).or_insert_with(new))
        });
        known.min_by_key(|endpoint| (endpoint.rests(), endpoint.load()))
    }

    /// Forgets those that are not named and have nothing to do.
    pub(crate) fn keep(&self, named: &BTreeSet<SocketAddr>, ways: &BTreeSet<u64>) {
        self.endpoints().retain(|(address, _, way), endpoint| {
            let is_named = named.contains(address) && (*way == 0 || ways.contains(way));
            is_named || endpoint.load() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_with_the_least_to_do_is_picked_and_equals_take_turns() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let pool = Pool::default();
        let mut leases = Vec::new();
        for _ in 0..6 {
            leases.push(pool.pick(&addresses, Spoken::default(), &[]).unwrap().lease());
        }
        let loads: Vec<usize> = addresses
            .iter()
            .map(|address| pool.pick(&[*address], Spoken::default(), &[]).unwrap().load())
            .collect();
        assert_eq!(loads, [2, 2, 2]);
        let freed = leases.remove(3).endpoint.address;
        let next = pool.pick(&addresses, Spoken::default(), &[]).unwrap().address;
        assert_eq!(next, freed);
        let other = pool.pick(&addresses, Spoken::default(), &[freed]).unwrap().address;
        assert_ne!(other, freed, "what was tried is not tried again");
        assert!(pool.pick(&addresses, Spoken::default(), &addresses).is_none());
        assert!(pool.pick(&[], Spoken::default(), &[]).is_none());
        drop(leases);
        pool.keep(&BTreeSet::from([freed]), &BTreeSet::new());
        assert_eq!(pool.endpoints().len(), 1);
    }
}
