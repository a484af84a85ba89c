//! Who may begin: as many requests at once as there is room for, the others one after the other, consumer by consumer.
//!
//! Guarantees: a consumer with many requests waits for itself, not before others, and never has all places, however long its
//! requests last; what waits is bounded, in number and in time.

use crate::share::Shares;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a request does not get its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There is no room, for anybody.
    Everybody,
    /// There is none for this consumer.
    Consumer,
}

#[derive(Debug)]
struct Queues {
    running: Shares,
    waiting: usize,
    by_consumer: BTreeMap<String, VecDeque<oneshot::Sender<Turn>>>,
    /// Consumers with somebody waiting, in the order of their turns.
    order: VecDeque<String>,
}

/// Gives turns.
#[derive(Debug)]
pub(crate) struct Admission {
    most_waiting: usize,
    wait: Duration,
    queues: Mutex<Queues>,
}

/// A request that runs. The next gets its turn when it goes.
#[derive(Debug)]
pub(crate) struct Turn(Option<(Arc<Admission>, Arc<str>)>);

impl Turn {
    /// Whose it is.
    pub(crate) fn consumer(&self) -> Arc<str> {
        self.0.as_ref().map(|(_, consumer)| Arc::clone(consumer)).unwrap_or_default()
    }
}

impl Admission {
    pub(crate) fn new(most_running: usize, most_waiting: usize, wait: Duration) -> Arc<Self> {
        let queues = Queues {
            running: Shares::new(most_running),
            waiting: 0,
            by_consumer: BTreeMap::new(),
            order: VecDeque::new(),
        };
        Arc::new(Self { most_waiting, wait, queues: Mutex::new(queues) })
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    pub(crate) async fn enter(self: &Arc<Self>, consumer: &str) -> Result<Turn, Full> {
        let waiting = {
            let mut queues = self.queues();
            if queues.running.may_take(consumer) {
                let consumer = Arc::from(consumer);
                queues.running.take(&consumer);
                return Ok(Turn(Some((Arc::clone(self), consumer))));
            }
            self.wait_in(&mut queues, consumer)?
        };
        match tokio::time::timeout(self.wait, waiting).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => {
                self.queues().forget_gone(consumer);
                Err(Full::Everybody)
            }
        }
    }

    fn wait_in(&self, queues: &mut Queues, consumer: &str) -> Result<oneshot::Receiver<Turn>, Full> {
        queues.forget_gone(consumer);
        // Whoever is next has waited longest, and most of its clients may be gone.
        if let Some(next) = queues.order.front().cloned() {
            queues.forget_gone(&next);
        }
        if queues.waiting >= self.most_waiting {
            return Err(Full::Everybody);
        }
        // Nobody takes more than its part of the places, so that there is one for whoever comes next.
        let own = queues.by_consumer.get(consumer).map_or(0, VecDeque::len);
        let consumers = queues.by_consumer.len() + 1;
        if own > 0 && own >= self.most_waiting.div_ceil(consumers) {
            return Err(Full::Consumer);
        }
        let (give, take) = oneshot::channel();
        if own == 0 {
            queues.order.push_back(consumer.to_owned());
        }
        queues.by_consumer.entry(consumer.to_owned()).or_default().push_back(give);
        queues.waiting += 1;
        Ok(take)
    }
}

impl Queues {
    /// Forgets the requests of a consumer whose clients went while they waited.
    fn forget_gone(&mut self, consumer: &str) {
        let Some(queue) = self.by_consumer.get_mut(consumer) else { return };
        let before = queue.len();
        queue.retain(|waiting| !waiting.is_closed());
        self.waiting = self.waiting.saturating_sub(before - queue.len());
        if queue.is_empty() {
            self.by_consumer.remove(consumer);
            self.order.retain(|waiting| waiting != consumer);
        }
    }

    /// Who is next of those that may run, which it does from now on.
    fn next(&mut self) -> Option<(Arc<str>, oneshot::Sender<Turn>)> {
        let at = self.order.iter().position(|consumer| self.running.may_take(consumer))?;
        let consumer = self.order.remove(at)?;
        let queue = self.by_consumer.get_mut(&consumer)?;
        let next = queue.pop_front()?;
        if queue.is_empty() {
            self.by_consumer.remove(&consumer);
        } else {
            self.order.push_back(consumer.clone());
        }
        self.waiting = self.waiting.saturating_sub(1);
        let consumer = Arc::from(consumer);
        self.running.take(&consumer);
        Some((consumer, next))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some((admission, mut consumer)) = self.0.take() else { return };
        loop {
            let next = {
                let mut queues = admission.queues();
                queues.running.give_back(&consumer, 1);
                queues.next()
            };
            let Some((other, next)) = next else { return };
            consumer = Arc::clone(&other);
            match next.send(Self(Some((Arc::clone(&admission), other)))) {
                Ok(()) => return,
                // It went; somebody else has its turn.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn consumers_take_turns_however_many_requests_one_of_them_has() {
        let admission = Admission::new(1, 100, LONG);
        let first = admission.enter("greedy").await.unwrap();
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for consumer in ["greedy", "greedy", "greedy", "modest", "modest"] {
            let (admission, told) = (Arc::clone(&admission), told.clone());
            tasks.push(tokio::spawn(async move {
                let turn = admission.enter(consumer).await.unwrap();
                told.send(consumer).unwrap();
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        let mut found = Vec::new();
        while let Ok(consumer) = order.try_recv() {
            found.push(consumer);
        }
        assert_eq!(found, ["greedy", "modest", "greedy", "modest", "greedy"]);
        assert!(admission.queues().running.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_all_places_however_long_its_requests_last() {
        let admission = Admission::new(16, 100, LONG);
        let mut greedy = Vec::new();
        for _ in 0..14 {
            greedy.push(admission.enter("greedy").await.unwrap());
        }
        let waits = Arc::clone(&admission);
        let waits = tokio::spawn(async move { waits.enter("greedy").await.map(drop) });
        tokio::task::yield_now().await;
        let modest = [admission.enter("a").await.unwrap(), admission.enter("b").await.unwrap()];
        assert!(!waits.is_finished());
        drop(modest);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "what is kept stays kept");
        greedy.pop();
        assert_eq!(waits.await.unwrap(), Ok(()));
        drop(greedy);
        let queues = admission.queues();
        assert!(queues.running.is_empty() && queues.waiting == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded_in_number_and_in_time() {
        let admission = Admission::new(1, 2, LONG);
        let running = admission.enter("a").await.unwrap();
        let mut waiting = Vec::new();
        for consumer in ["a", "b"] {
            let admission = Arc::clone(&admission);
            waiting.push(tokio::spawn(async move { admission.enter(consumer).await.map(drop) }));
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.enter("a").await.unwrap_err(), Full::Everybody);
        for task in waiting {
            assert_eq!(task.await.unwrap(), Err(Full::Everybody), "its time was over");
        }
        let late = Arc::clone(&admission);
        let late = tokio::spawn(async move { late.enter("b").await.map(drop) });
        tokio::task::yield_now().await;
        drop(running);
        assert_eq!(late.await.unwrap(), Ok(()), "places of those that went are free");
        assert!(admission.queues().running.is_empty());
    }
}
