//! Copies of requests, for backends of RequestMirror filters.
//!
//! Enters: a request as it goes on, and the pieces of its body as they go on. Leaves: the same request to somebody else, whose
//! answer is thrown away; how many copies became what. Guarantees: nobody waits for a copy, and nothing that becomes of one
//! changes the request or its answer; a copy leaves when all of its request went on, so nobody has one of a request that was
//! cut; what is held of bodies and how many copies are under way is bounded, and what finds no room is counted. Does not: copy
//! WebSockets or trailers, ask a second endpoint, make records of copies.

use crate::body::{Hold, Room, Unread};
use crate::upstream::{Carried, Endpoint};
use http::{Request, request};
use hyper::body::{Body, Bytes, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Largest body that is copied, in bytes.
pub const MOST_COPIED: usize = 1 << 20;
/// Bytes of all bodies that are held for copies.
const MOST_HELD: usize = 64 << 20;
/// Copies that are under way at once.
const MOST_AT_ONCE: usize = 256;
/// How much of an answer is read, so that its connection can be used again.
const MOST_READ: usize = 4 << 20;
/// How long a copy may take, with its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFate {
    /// It was answered.
    Sent,
    /// Its body is larger than what is copied.
    TooLarge,
    /// There was no room for it.
    NoRoom,
    /// Its request did not go on whole.
    Cut,
    /// Nobody is there to have it.
    NoEndpoint,
    /// It could not be sent, or was not answered in time.
    Failed,
}

impl CopyFate {
    /// Each.
    pub const ALL: [Self; 6] =
        [Self::Sent, Self::TooLarge, Self::NoRoom, Self::Cut, Self::NoEndpoint, Self::Failed];

    /// Its word in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
            Self::Cut => "cut",
            Self::NoEndpoint => "no-endpoint",
            Self::Failed => "failed",
        }
    }
}

/// What all copies share.
#[derive(Debug)]
pub(crate) struct Copies {
    room: Arc<Semaphore>,
    hold: Hold,
    /// To connect.
    within: Duration,
    fates: [AtomicU64; CopyFate::ALL.len()],
}

impl Copies {
    pub(crate) fn new(within: Duration) -> Arc<Self> {
        let hold = Hold::new(MOST_COPIED, MOST_HELD, PATIENCE);
        let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Arc::new(Self { room, hold, within, fates: Default::default() })
    }

    /// Notes what became of so many copies.
    pub(crate) fn note(&self, fate: CopyFate, count: usize) {
        let at = CopyFate::ALL.iter().position(|it| *it == fate);
        if let Some(counter) = at.and_then(|at| self.fates.get(at)) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// How many became what.
    pub(crate) fn counts(&self) -> Vec<(CopyFate, u64)> {
        let counts = self.fates.iter().map(|count| count.load(Ordering::Relaxed));
        CopyFate::ALL.into_iter().zip(counts).collect()
    }

    /// One head for each who gets a copy. `None`: nobody does.
    pub(crate) fn tap(self: &Arc<Self>, heads: Vec<(request::Parts, Arc<Endpoint>)>) -> Option<Tap> {
        let (copies, body, room) = (Arc::clone(self), Vec::new(), self.hold.room(Arc::default()));
        (!heads.is_empty()).then_some(Tap { copies, heads, body, room })
    }
}

/// Takes the pieces of a body, and sends the copies when they are all there.
#[derive(Debug)]
pub(crate) struct Tap {
    copies: Arc<Copies>,
    /// Empty: they were sent, or will not be.
    heads: Vec<(request::Parts, Arc<Endpoint>)>,
    body: Vec<u8>,
    room: Room,
}

impl Tap {
    /// The next piece went on.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.heads.is_empty() {
            return;
        }
        let length = self.body.len() + piece.len();
        match self.copies.hold.take(&mut self.room, length) {
            Ok(()) => self.body.extend_from_slice(piece),
            Err(Unread::TooLarge) => self.give_up(CopyFate::TooLarge),
            Err(Unread::NoRoom | Unread::Gone | Unread::Contradicted) => self.give_up(CopyFate::NoRoom),
        }
    }

    fn give_up(&mut self, fate: CopyFate) {
        self.copies.note(fate, self.heads.len());
        self.heads.clear();
        self.body = Vec::new();
        self.room.clear();
    }

    /// Everything went on.
    pub(crate) fn finish(&mut self) {
        let body = Bytes::from(std::mem::take(&mut self.body));
        let room = self.copies.hold.room(Arc::default());
        let room = Arc::new(std::mem::replace(&mut self.room, room));
        for (head, endpoint) in self.heads.drain(..) {
            let Ok(turn) = Arc::clone(&self.copies.room).try_acquire_owned() else {
                self.copies.note(CopyFate::NoRoom, 1);
                continue;
            };
            let (copies, held) = (Arc::clone(&self.copies), Arc::clone(&room));
            let request = Request::from_parts(head, Carried::Copy(Some(body.clone())));
            tokio::spawn(async move {
                let sent = timeout(PATIENCE, send(request, &endpoint, copies.within)).await;
                copies.note(if sent == Ok(true) { CopyFate::Sent } else { CopyFate::Failed }, 1);
                drop((turn, held));
            });
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.copies.note(CopyFate::Cut, self.heads.len());
    }
}

/// Whether it was answered.
async fn send(request: Request<Carried>, endpoint: &Arc<Endpoint>, within: Duration) -> bool {
    let mut lease = Endpoint::lease(endpoint);
    let Ok(answer) = lease.send(request, within).await else { return false };
    read_away(answer.into_body()).await;
    true
}

async fn read_away(mut body: Incoming) {
    let mut left = MOST_READ;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}
