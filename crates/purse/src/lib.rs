//! What budgets are drawn by: prices ([`price`]), and the store in which gateways share accounts.
//!
//! Enters: what accounts need. Leaves: leases in [`Accounts`], and how the store stands. Guarantees: a request waits for the store at most
//! [`PATIENCE`], and not at all while it is known to be out of reach; what is drawn for one is not there for the next before the first took
//! it, if it does so at once ([`Turn`]); what was used is told within [`TELL_EVERY`]; its queue is bounded, and what finds no room in it is
//! not granted. Owner: its thread ends when the last [`Purse`] is dropped. Does not:
//! judge.

pub mod price;
pub mod reply;
mod store;

pub use price::{Cost, Price, Prices, Tokens};
pub use store::{StoreAddress, StoreMeans, WhenDown};

use lease::{Accounts, Ask, Grant, StoreIs};
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long the store may take for one answer, and to be connected to.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is told what was used, and of what is not.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long it is left alone when it could not be reached.
const REST: Duration = Duration::from_secs(1);
/// How long whoever has its turn may take to take what was drawn.
const TURN: Duration = Duration::from_millis(100);
/// Requests that wait for it.
const QUEUE: usize = 1024;
/// Accounts of which it is told at once: as many as there are before those that rest are forgotten.
const MOST_TOLD: usize = 65_536;
/// Longest problem that is told, in characters.
const MAX_PROBLEM: usize = 256;

/// How the store stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStanding {
    /// Why it cannot be reached, since the last answer. `None`: it can.
    pub problem: Option<String>,
    /// Answers since the process began.
    pub answers: u64,
    /// Times that there was none.
    pub failures: u64,
}

/// The way to a store.
#[derive(Debug)]
pub struct Purse<A: Accounts> {
    means: Arc<StoreMeans>,
    asks: mpsc::Sender<Needed<A>>,
    standing: Arc<Mutex<StoreStanding>>,
}

/// What a request needs.
#[derive(Debug)]
struct Needed<A: Accounts> {
    keys: Vec<A::Key>,
    amount: A::Amount,
    done: oneshot::Sender<Turn>,
}

/// It is somebody's turn to take of accounts: nothing is drawn for others until it is dropped, or for [`TURN`].
#[derive(Debug)]
#[must_use]
pub struct Turn(#[expect(dead_code, reason = "that it is dropped is what is told")] oneshot::Sender<()>);

impl<A: Accounts> Purse<A> {
    /// Begins to draw for these accounts.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start(means: Arc<StoreMeans>, accounts: &Arc<A>) -> Result<Arc<Self>> {
        let (asks, asked) = mpsc::channel(QUEUE);
        let standing = Arc::default();
        let drawing = Drawing {
            gateway: own_name(&means.node),
            means: Arc::clone(&means),
            accounts: Arc::clone(accounts),
            standing: Arc::clone(&standing),
            store: None,
            rest_until: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("purse".to_owned())
            .spawn(move || runtime.block_on(drawing.run(asked)))?;
        Ok(Arc::new(Self { means, asks, standing }))
    }

    /// Where the store is.
    pub fn means(&self) -> &Arc<StoreMeans> {
        &self.means
    }

    /// Has what a request needs of each of these drawn, if that is possible. What came of it is in the accounts, and is to be taken while
    /// the turn is held.
    /// `None`: it did not come to its turn. Where too many wait before it, nobody asked, and what the account has says nothing of what there
    /// is.
    pub async fn draw(&self, keys: Vec<A::Key>, amount: A::Amount) -> Option<Turn> {
        let (done, drawn) = oneshot::channel();
        self.asks.try_send(Needed { keys, amount, done }).ok()?;
        drawn.await.ok()
    }

    /// Whether it can be reached, and what may be used where it cannot.
    pub fn store_is(&self) -> StoreIs {
        match (self.standing().problem, self.means.down) {
            (None, _) => StoreIs::Up,
            (Some(_), WhenDown::Share) => StoreIs::Down,
            (Some(_), WhenDown::Deny) => StoreIs::DownAndDenied,
        }
    }

    /// How it stands.
    pub fn standing(&self) -> StoreStanding {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A gateway is replaced while the one before still has connections, so its node's name is not enough.
fn own_name(node: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{node}/{}-{}", std::process::id(), since.as_micros())
}

/// Why there is no answer.
enum Silence {
    /// It is left alone, for it could not be reached a moment ago.
    Resting,
    Failed(Error),
}

async fn in_time<T>(doing: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, doing).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// What its thread has.
struct Drawing<A> {
    means: Arc<StoreMeans>,
    /// Who this is, unlike any other process.
    gateway: String,
    accounts: Arc<A>,
    standing: Arc<Mutex<StoreStanding>>,
    store: Option<Store>,
    rest_until: Option<Instant>,
}

impl<A: Accounts> Drawing<A> {
    async fn run(mut self, mut asked: mpsc::Receiver<Needed<A>>) {
        let mut told = tokio::time::interval(TELL_EVERY);
        told.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                needed = asked.recv() => {
                    let Some(needed) = needed else { return };
                    self.draw(needed).await;
                }
                _ = told.tick() => self.tell(&mut asked).await,
            }
        }
    }

    async fn draw(&mut self, Needed { keys, amount, done }: Needed<A>) {
        for key in &keys {
            // An answer to another request may have brought enough.
            if let Some(ask) = self.accounts.lease_ask(key, amount)
                && !self.ask(key, &ask).await
            {
                break;
            }
        }
        let (turn, over) = oneshot::channel();
        // Whoever asked may have gone, and who takes longer has no turn of its own any more.
        if done.send(Turn(turn)).is_ok() {
            let _late = timeout(TURN, over).await;
        }
    }

    /// Tells what was used; what requests need in between comes first.
    async fn tell(&mut self, asked: &mut mpsc::Receiver<Needed<A>>) {
        for key in self.accounts.leased(MOST_TOLD) {
            while let Ok(needed) = asked.try_recv() {
                self.draw(needed).await;
            }
            // As it is now: what was drawn in between must not be given back.
            let Some(ask) = self.accounts.lease_news_of(&key) else { continue };
            if !self.ask(&key, &ask).await {
                return;
            }
        }
        // Somebody must find out that it is there again.
        if self.store.is_none()
            && let Err(silence) = self.connected().await.map(|_| ())
        {
            self.failed(silence);
        }
    }

    /// Whether it answered.
    async fn ask(&mut self, key: &A::Key, ask: &Ask) -> bool {
        match self.answered(ask).await {
            Ok(grants) => {
                self.accounts.lease_granted(key, ask, &grants);
                let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
                standing.answers += 1;
                standing.problem = None;
                true
            }
            Err(silence) => {
                self.failed(silence);
                false
            }
        }
    }

    async fn answered(&mut self, ask: &Ask) -> std::result::Result<Vec<Grant>, Silence> {
        let store = self.connected().await?;
        in_time(store.ask(ask)).await.map_err(Silence::Failed)
    }

    async fn connected(&mut self) -> std::result::Result<&mut Store, Silence> {
        if self.store.is_none() {
            if self.rest_until.is_some_and(|until| Instant::now() < until) {
                return Err(Silence::Resting);
            }
            let connected = in_time(Store::connect(&self.means, &self.gateway)).await;
            self.store = Some(connected.map_err(Silence::Failed)?);
            // That it lets us in is an answer.
            self.standing.lock().unwrap_or_else(PoisonError::into_inner).problem = None;
        }
        self.store.as_mut().ok_or(Silence::Resting)
    }

    fn failed(&mut self, silence: Silence) {
        self.store = None;
        let Silence::Failed(error) = silence else { return };
        let why: String = error.to_string().chars().take(MAX_PROBLEM).collect();
        self.rest_until = Some(Instant::now() + REST);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.failures += 1;
        standing.problem = Some(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Accounts of which the store is never asked.
    #[derive(Debug)]
    struct Nothing;

    impl Accounts for Nothing {
        type Key = ();
        type Amount = ();

        fn lease_ask(&self, (): &(), (): ()) -> Option<Ask> {
            None
        }

        fn leased(&self, _: usize) -> Vec<()> {
            Vec::new()
        }

        fn lease_news_of(&self, (): &()) -> Option<Ask> {
            None
        }

        fn lease_granted(&self, (): &(), _: &Ask, _: &[Grant]) {}
    }

    #[test]
    fn who_finds_no_room_in_the_queue_is_told_that_nobody_asked() {
        let means = StoreMeans {
            address: StoreAddress::Unix("/nonexistent".into()),
            roots: None,
            user: None,
            password: None,
            node: "node".into(),
            down: WhenDown::Deny,
        };
        let (asks, mut asked) = mpsc::channel(1);
        let purse = Purse::<Nothing> { means: Arc::new(means), asks, standing: Arc::default() };
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(purse.draw(vec![()], ()));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let second = pin!(purse.draw(vec![()], ()));
        assert!(matches!(second.poll(&mut context), Poll::Ready(None)));
        asked.try_recv().unwrap().done.send(Turn(oneshot::channel().0)).unwrap();
        assert!(matches!(first.poll(&mut context), Poll::Ready(Some(_))));
        assert_eq!(purse.store_is(), StoreIs::Up, "nothing is wrong with the store");
    }
}
