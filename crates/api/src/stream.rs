//! Records as they come, as server-sent events.
//!
//! Guarantees: the ledger is the queue: a reader that is slow, or comes again with `Last-Event-ID`, gets all that came
//! meanwhile, in order and once, and costs no memory beyond one page. Only what lies further back than [`BEHIND`], or was
//! forgotten, is left out, and said so. A reader that takes nothing for [`STALL`] is let go, and so is one that would not be let in
//! any more: who logged out, or whose token holds no more, hears nothing that came later. Does not: tell of the growth of sums that
//! were sent already.

use crate::dispatch::{Badge, Shared};
use crate::handle::records::filter;
use crate::problem::Problem;
use crate::query::Query;
use crate::shape::records::Record;
use crate::who::Role;
use hyper::body::Bytes;
use ledger::{EntryFilter, Order, Reader};
use serde_json::json;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// Readers at a time.
pub(crate) const STREAMS: usize = 64;
/// Entries that a reader may be behind.
pub(crate) const BEHIND: i64 = 50_000;
/// Entries of one page, and bytes of their texts.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 2 << 20;
/// Pages that wait for a reader.
const WAITING: usize = 2;
/// How often is looked for what came.
const PACE: Duration = Duration::from_millis(250);
/// How often a reader hears that there is nothing.
const PING: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
const STALL: Duration = Duration::from_secs(60);

/// Looks for the number of the newest entry, for all readers, until the future is dropped.
pub(crate) async fn look(shared: Arc<Shared>, newest: watch::Sender<i64>) {
    loop {
        tokio::time::sleep(PACE).await;
        if newest.receiver_count() <= 1 {
            // Only the server itself would hear of it.
            continue;
        }
        let found = shared.readers.read(|reader| Ok(reader.numbers()?.1)).await;
        if let Ok(found) = found {
            newest.send_if_modified(|known| std::mem::replace(known, found) != found);
        }
    }
}

/// Begins to send to one reader, who is recognised by `badge`.
///
/// # Errors
/// The query is wrong, there are too many readers, or the ledger cannot be read.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    query: &Query,
    last_event: Option<&str>,
    badge: (Badge, Role),
) -> Result<Receiver<Bytes>, Problem> {
    let wanted = filter(query)?;
    let room = Arc::clone(&shared.streams).try_acquire_owned();
    let room = room.map_err(|_| Problem::unavailable(format!("{STREAMS} readers follow already")))?;
    let newest = shared.newest.clone();
    let after = match last_event {
        Some(id) => Some(
            id.parse::<i64>().map_err(|_| Problem::bad("Last-Event-ID: a number of a record is wanted"))?,
        ),
        None => query.number("after"),
    };
    let after = match after {
        Some(after) => after.max(0),
        None => shared.readers.read(|reader| Ok(reader.numbers()?.1)).await?,
    };
    let (sender, receiver) = channel(WAITING);
    let tail = Tail { shared: Arc::clone(shared), wanted, after, sender, badge, _room: room };
    tokio::spawn(tail.follow(newest));
    Ok(receiver)
}

/// What one reader gets.
struct Tail {
    shared: Arc<Shared>,
    wanted: EntryFilter,
    /// The newest entry that was looked at for it.
    after: i64,
    sender: Sender<Bytes>,
    /// Who it is, and what they must be allowed to do.
    badge: (Badge, Role),
    _room: OwnedSemaphorePermit,
}

impl Tail {
    async fn follow(mut self, mut newest: watch::Receiver<i64>) {
        let mut quiet = tokio::time::interval(PING);
        loop {
            let (wanted, after) = (self.wanted.clone(), self.after);
            let page = self.shared.readers.read(move |reader| page(reader, &wanted, after)).await;
            let is_last = match page {
                Ok(Page { text, after, is_last }) => {
                    self.after = after;
                    if !text.is_empty() && !self.send(text).await {
                        return;
                    }
                    is_last
                }
                // It may be busy, or put aside; the next time it is read again.
                Err(_) => true,
            };
            if !is_last {
                continue;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                _ = quiet.tick() => if !self.send("event: ping\ndata: {}\n\n".to_owned()).await { return },
                () = self.sender.closed() => return,
            }
        }
    }

    /// False: nobody takes it, or may.
    async fn send(&self, text: String) -> bool {
        let (badge, role) = &self.badge;
        if !self.shared.still_lets_in(badge, *role).await {
            return false;
        }
        matches!(tokio::time::timeout(STALL, self.sender.send(text.into())).await, Ok(Ok(())))
    }
}

/// What comes next for a reader.
struct Page {
    text: String,
    after: i64,
    is_last: bool,
}

fn page(reader: &Reader, wanted: &EntryFilter, after: i64) -> Result<Page, Problem> {
    let (oldest, newest) = reader.numbers()?;
    // Another ledger, or one that was put aside: its numbers begin anew.
    let mut after = if after > newest { newest } else { after };
    let mut text = String::new();
    let first = (oldest - 1).max(newest - BEHIND);
    if after < first {
        // Of what is forgotten nobody knows whether it was wanted.
        let _ = write!(text, "event: lost\ndata: {}\n\n", json!({ "records": first - after }));
        after = first;
    }
    let filter = EntryFilter {
        after: Some(after),
        before: Some(newest + 1),
        order: Order::OldestFirst,
        limit: Some(PAGE),
        ..wanted.clone()
    };
    let (found, is_cut) = reader.page(&filter, PAGE_BYTES)?;
    for stored in &found {
        let data = serde_json::to_string(&Record::from(stored))
            .map_err(|error| Problem::unavailable(error.to_string()))?;
        // JSON has no line breaks.
        let _ = write!(text, "event: record\nid: {}\ndata: {data}\n\n", stored.id);
    }
    let is_last = found.len() < PAGE && !is_cut;
    let after = if is_last { newest } else { found.last().map_or(newest, |it| it.id) };
    Ok(Page { text, after, is_last })
}
