//! Asks the agent where hosts are, for clients of the front door.
//!
//! Enters: pods and hosts. Leaves: an [`Ask`] for each to the agent, and what it answers to whoever waits. Guarantees:
//! what waits is bounded, for each pod and in all, and in time; an answer that nobody waits for changes nothing; when the
//! agent goes, nobody waits for it. Does not: resolve, or judge.

use crate::front::{Host, Resolve, Resolved, Resolving, Unresolved};
use crate::reason::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Hosts of one pod that wait for an answer.
const MOST_OF_POD: usize = 64;
/// Hosts of all pods.
const MOST: usize = 4096;
/// How long an answer may take: as long as a query to DNS and a binding, and some more.
const PATIENCE: Duration = Duration::from_secs(8);

/// A host that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Number to give back with [`crate::Proxy::found`].
    pub id: u64,
    /// The pod's address.
    pub pod: IpAddr,
    /// The host.
    pub host: Host,
}

/// Who waits for answers.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    last: u64,
    by_id: HashMap<u64, (IpAddr, oneshot::Sender<Resolved>)>,
    of_pod: HashMap<IpAddr, usize>,
}

impl Waiting {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place to wait in.
    fn begin(self: &Arc<Self>, pod: IpAddr) -> Option<(Place, oneshot::Receiver<Resolved>)> {
        let mut waiters = self.waiters();
        if waiters.by_id.len() >= MOST
            || waiters.of_pod.get(&pod).is_some_and(|of_pod| *of_pod >= MOST_OF_POD)
        {
            return None;
        }
        // An answer to an earlier process of this node must not be taken for one to this.
        waiters.last = waiters.last.wrapping_add(1);
        let id = u64::from(std::process::id()) << 32 | (waiters.last & u64::from(u32::MAX));
        let (sender, receiver) = oneshot::channel();
        *waiters.of_pod.entry(pod).or_default() += 1;
        waiters.by_id.insert(id, (pod, sender));
        drop(waiters);
        Some((Place { waiting: Arc::clone(self), id }, receiver))
    }

    /// Nobody waits for this one any more.
    fn end(&self, id: u64) -> Option<oneshot::Sender<Resolved>> {
        let mut waiters = self.waiters();
        let (pod, sender) = waiters.by_id.remove(&id)?;
        if let Some(of_pod) = waiters.of_pod.get_mut(&pod) {
            *of_pod = of_pod.saturating_sub(1);
            if *of_pod == 0 {
                waiters.of_pod.remove(&pod);
            }
        }
        Some(sender)
    }

    /// Whether anybody does.
    pub(crate) fn has_anybody(&self) -> bool {
        !self.waiters().by_id.is_empty()
    }

    /// The agent answers.
    pub(crate) fn answer(&self, id: u64, found: Resolved) {
        if let Some(sender) = self.end(id) {
            // Its client may be gone.
            let _gone = sender.send(found);
        }
    }

    /// There is no agent.
    pub(crate) fn nobody_answers(&self, id: u64) {
        drop(self.end(id));
    }

    /// The agent is gone: whoever waits hears so.
    pub(crate) fn give_up(&self) {
        let mut waiters = self.waiters();
        waiters.by_id.clear();
        waiters.of_pod.clear();
    }
}

/// A place among those who wait; free again when dropped.
struct Place {
    waiting: Arc<Waiting>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.waiting.end(self.id));
    }
}

/// Asks by `send`, which says whether there was room.
pub(crate) struct Asking<S> {
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) send: S,
}

impl<S: Fn(Ask) -> bool + Send + Sync> Resolve for Asking<S> {
    fn resolve(&self, pod: IpAddr, host: &Host) -> Resolving<'_> {
        let host = host.clone();
        Box::pin(async move {
            let unresolved =
                |reason, detail: &str| Err(Unresolved { reason, rule: None, detail: Some(detail.into()) });
            let Some((place, answer)) = self.waiting.begin(pod) else {
                return unresolved(Reason::TooManyAsked, "they wait for an answer");
            };
            if !(self.send)(Ask { id: place.id, pod, host }) {
                return unresolved(Reason::TooManyAsked, "the agent is behind");
            }
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => {
                    unresolved(Reason::NoAddress, "the agent is gone: ask again when the next is there")
                }
                Err(_) => unresolved(Reason::NoAddress, "nobody answered in time"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn who_waits_is_bounded_and_places_are_given_back() {
        let waiting = Arc::<Waiting>::default();
        let mut held: Vec<_> = (0..MOST_OF_POD).map(|_| waiting.begin(pod(1)).unwrap()).collect();
        assert!(waiting.begin(pod(1)).is_none());
        let (place, mut answer) = waiting.begin(pod(2)).unwrap();
        assert!(waiting.has_anybody());
        waiting.answer(place.id, Ok(vec![pod(9)]));
        waiting.answer(place.id, Ok(vec![pod(8)]));
        assert_eq!(answer.try_recv().unwrap(), Ok(vec![pod(9)]));
        drop(held.pop());
        held.push(waiting.begin(pod(1)).unwrap());
        waiting.give_up();
        assert!(held.iter_mut().all(|(_, answer)| answer.try_recv().is_err()));
        assert!(waiting.begin(pod(1)).is_some());
        drop(held);
        assert!(waiting.waiters().of_pod.is_empty() && !waiting.has_anybody());
    }
}
