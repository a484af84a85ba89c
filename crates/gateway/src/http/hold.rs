//! How much of requests' bodies, and of answers that are read, may be held until it is known what they do.
//!
//! Guarantees: a pod may hold as much as is left for the others, so that whatever one does, as much as it has
//! stays free; many pods together can leave little. Does not: wait for room.

use crate::reason::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes that are held of one body.
pub(crate) const MAX_HELD: usize = 16 * 1024 * 1024;
/// Most bytes that are held in one process. A pod alone gets half of it.
const MAX_HELD_BY_ALL: usize = 64 * 1024 * 1024;

/// Bytes held in this process.
#[derive(Debug, Default)]
pub(crate) struct Hold(Mutex<Shares>);

#[derive(Debug, Default)]
struct Shares {
    all: usize,
    /// Only of pods that hold something: no more than there are connections.
    by: HashMap<IpAddr, usize>,
}

/// Why no more may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of this body.
    Body,
    /// Of its pod, or of all.
    Share,
}

impl Full {
    /// Why a request is refused for it.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Body => Reason::RequestTooLarge,
            Self::Share => Reason::TooMuchHeld,
        }
    }
}

/// What one pod may hold of it.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    hold: Arc<Hold>,
    of: IpAddr,
}

/// Bytes of one body; not counted any more when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Held {
    share: Share,
    length: usize,
}

impl Hold {
    pub(crate) fn share(self: &Arc<Self>, of: IpAddr) -> Share {
        Share { hold: Arc::clone(self), of }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(crate) fn none(share: &Share) -> Self {
        Self { share: share.clone(), length: 0 }
    }

    /// Counts as much in all, if there is room for it; it does not become less.
    pub(crate) fn at_least(&mut self, length: usize) -> Result<(), Full> {
        self.more(length.saturating_sub(self.length))
    }

    /// Counts more, if there is room for it.
    pub(crate) fn more(&mut self, length: usize) -> Result<(), Full> {
        if self.length.saturating_add(length) > MAX_HELD {
            return Err(Full::Body);
        }
        if length == 0 {
            return Ok(());
        }
        let mut shares = self.share.hold.shares();
        let mine = shares.by.get(&self.share.of).copied().unwrap_or(0).saturating_add(length);
        let all = shares.all.saturating_add(length);
        if mine > MAX_HELD_BY_ALL.saturating_sub(all) {
            return Err(Full::Share);
        }
        shares.all = all;
        shares.by.insert(self.share.of, mine);
        self.length += length;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.length == 0 {
            return;
        }
        let mut shares = self.share.hold.shares();
        shares.all = shares.all.saturating_sub(self.length);
        if let Some(mine) = shares.by.get_mut(&self.share.of) {
            *mine = mine.saturating_sub(self.length);
            if *mine == 0 {
                shares.by.remove(&self.share.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn pod(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    /// Has a pod hold as much as it may, in bodies of at most this length.
    fn fill(hold: &Arc<Hold>, number: u32, length: usize) -> Vec<Held> {
        let mut all = Vec::new();
        loop {
            let mut held = Held::none(&hold.share(pod(number)));
            if held.more(length).is_err() {
                return all;
            }
            all.push(held);
        }
    }

    fn of(all: &[Held]) -> usize {
        all.iter().map(|held| held.length).sum()
    }

    #[test]
    fn one_body_is_bounded_and_room_is_given_back() {
        let hold = Arc::new(Hold::default());
        let mut one = Held::none(&hold.share(pod(1)));
        assert_eq!(one.more(MAX_HELD + 1), Err(Full::Body));
        assert_eq!(one.more(usize::MAX), Err(Full::Body));
        assert_eq!((one.more(MAX_HELD), one.more(1)), (Ok(()), Err(Full::Body)));
        assert_eq!(one.length, MAX_HELD);
        drop(one);
        let shares = hold.shares();
        assert!(shares.all == 0 && shares.by.is_empty(), "{shares:?}");
    }

    #[test]
    fn whatever_one_pod_holds_another_finds_as_much() {
        let hold = Arc::new(Hold::default());
        let greedy = fill(&hold, 1, 64 * 1024);
        assert_eq!(of(&greedy), MAX_HELD_BY_ALL / 2, "alone, half of it");
        let mut another = Held::none(&hold.share(pod(2)));
        assert_eq!(another.more(MAX_HELD), Ok(()), "a body of the greatest length");
        assert_eq!(Held::none(&hold.share(pod(1))).more(1), Err(Full::Share));
        drop(another);
        // Of those that do the same each finds half of what the one before did, and the next something.
        let others: Vec<_> = (2..12).map(|number| fill(&hold, number, 1024)).collect();
        let most: Vec<_> = others.iter().map(|held| of(held)).collect();
        let halves: Vec<_> = (2..12).map(|number| MAX_HELD_BY_ALL >> number).collect();
        assert_eq!(most, halves);
        assert_eq!(Held::none(&hold.share(pod(12))).more(1), Ok(()));
        drop((greedy, others));
        assert_eq!(of(&fill(&hold, 1, MAX_HELD)), MAX_HELD_BY_ALL / 2, "as before");
    }
}
