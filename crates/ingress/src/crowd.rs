//! How many connections the clients of one address have.
//!
//! Guarantees: no more than are allowed at once; an address that has all of them is told once, and again only after it had none.
//! Where nothing is bounded nothing is counted. Does not: know who is behind an address: behind a load balancer that hides
//! clients all of them are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has how many connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: Option<NonZeroUsize>,
    of: Mutex<HashMap<String, Standing>>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Standing {
    open: usize,
    is_told: bool,
}

/// An address has all the connections that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// How many that is.
    pub(crate) most: usize,
    /// Whether this was not told of it before.
    pub(crate) is_new: bool,
}

impl Crowd {
    /// So many of each address; `None`: as many as there may be of all.
    pub(crate) fn new(most: Option<NonZeroUsize>) -> Arc<Self> {
        Arc::new(Self { most, of: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// One more of this address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let Some(most) = self.most.map(NonZeroUsize::get) else { return Ok(Place(None)) };
        let name = network(address);
        let mut of = self.lock();
        let standing = of.entry(name.clone()).or_default();
        if standing.open >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full { most, is_new: !std::mem::replace(&mut standing.is_told, true) });
        }
        standing.open += 1;
        drop(of);
        Ok(Place(Some((Arc::clone(self), name))))
    }

    /// Connections that were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Standing>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that may be there. Dropped, it is not.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Crowd>, String)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, name)) = &self.0 else { return };
        let mut of = crowd.lock();
        let Some(standing) = of.get_mut(name) else { return };
        standing.open = standing.open.saturating_sub(1);
        if standing.open == 0 {
            of.remove(name);
        }
    }
}

/// An address, of IPv6 its network, for a host has all addresses of it.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_is_told_once_while_it_has_any() {
        let crowd = Crowd::new(NonZeroUsize::new(2));
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mut places: Vec<_> = (0..2).map(|_| crowd.enter(one).unwrap()).collect();
        assert_eq!(crowd.enter(one).unwrap_err(), Full { most: 2, is_new: true });
        assert_eq!(crowd.enter(one).unwrap_err(), Full { most: 2, is_new: false });
        let _other = crowd.enter("192.0.2.2".parse().unwrap()).unwrap();
        // As a socket of both families shows it.
        assert!(crowd.enter("::ffff:192.0.2.1".parse().unwrap()).is_err());
        places.pop();
        places.push(crowd.enter(one).unwrap());
        assert_eq!(crowd.enter(one).unwrap_err(), Full { most: 2, is_new: false });
        places.clear();
        let _again = (0..2).map(|_| crowd.enter(one).unwrap()).collect::<Vec<_>>();
        assert_eq!(crowd.enter(one).unwrap_err(), Full { most: 2, is_new: true });
        assert_eq!(crowd.refused(), 5);
    }

    #[test]
    fn nothing_is_left_of_who_went_and_nothing_is_counted_that_is_not_bounded() {
        let crowd = Crowd::new(NonZeroUsize::new(1));
        let near: IpAddr = "2001:db8::1".parse().unwrap();
        let place = crowd.enter(near).unwrap();
        assert!(crowd.enter("2001:db8::2".parse().unwrap()).is_err(), "of the same network");
        assert!(crowd.enter("2001:db8:0:1::1".parse().unwrap()).is_ok());
        drop(place);
        assert!(crowd.lock().is_empty());
        let open = Crowd::new(None);
        let _places: Vec<_> = (0..9).map(|_| open.enter(near).unwrap()).collect();
        assert!(open.lock().is_empty() && open.refused() == 0);
    }
}
