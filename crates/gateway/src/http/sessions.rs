//! Connections of HTTP/2 to one server, one after the other, for all requests of one of a client's.
//!
//! What a connection of HTTP/2 holds cannot be put aside, and is most of what a client's takes: one that nobody uses is ended in good
//! order, and the next request has another opened. Guarantees: a request of which it is proved that the server did nothing with it goes
//! over the next connection, once; whoever waits for one is told that it is there or why there will be none; few follow on such that
//! took no more requests. Does not: open connections by itself, or find out that nobody uses one.

use super::hold::{Held, Share};
use super::line::{Kept, MAX_HEAD};
use super::serve::MAX_WAITING;
use super::socket::Stream;
use super::tasks::Tasks;
use super::upstream::Silent;
use crate::reason::Reason;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use resend::{MAX_KEPT, Original, Sending, Unanswered, Watched, Written};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most connections to the server for one of a client's, but for those after which nobody needed one for a while: once the first is
/// over, the client is asked to come anew.
const MOST: u32 = 4;

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    sender: http2::SendRequest<Sending<Kept>>,
    written: Written,
    is_put_aside: Arc<AtomicBool>,
}

impl Session {
    /// Begins to speak HTTP/2. `gone` is told when the connection ended, unless `is_put_aside` was set by then.
    pub(crate) async fn open(
        io: impl Stream + 'static,
        tasks: &Tasks,
        gone: Arc<Notify>,
        is_put_aside: Arc<AtomicBool>,
    ) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_send_buf_size(MAX_WAITING);
        let written = Written::default();
        let (sender, connection) = builder.handshake(TokioIo::new(Watched::new(io, &written))).await?;
        let was_put_aside = Arc::clone(&is_put_aside);
        tasks.spawn(async move {
            // Whoever waits for an answer is told.
            let _broken = connection.await;
            if !was_put_aside.load(Ordering::Relaxed) {
                gone.notify_one();
            }
        });
        Ok(Self { sender, written, is_put_aside })
    }

    async fn send(&self, head: Parts, body: &Original<Kept>) -> Result<Response<Incoming>, Unanswered> {
        resend::send(&self.sender, &self.written, head, body, std::convert::identity).await
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    now: Mutex<Now>,
    /// For whoever opens them: another is wanted.
    wanted: Notify,
    /// For whoever waits for it: it is there, or there will be none.
    came: Notify,
}

#[derive(Debug)]
struct Now {
    /// `None`: it was put aside.
    session: Option<Arc<Session>>,
    /// Which it is, from 1.
    number: u32,
    /// How many followed on one that took no more requests.
    replaced: u32,
    is_wanted: bool,
    /// Why there will be no other.
    no_more: Option<Reason>,
}

/// One of them, and which it is.
type Numbered = (Arc<Session>, u32);

impl Sessions {
    pub(crate) fn new(first: Session) -> Self {
        let session = Some(Arc::new(first));
        let now = Now { session, number: 1, replaced: 0, is_wanted: false, no_more: None };
        Self { now: Mutex::new(now), wanted: Notify::new(), came: Notify::new() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request; returns the head of its answer. What is kept of its body counts for `hold`.
    pub(crate) async fn send(
        &self,
        request: Request<Kept>,
        hold: &Share,
    ) -> Result<Response<Incoming>, Silent> {
        let (head, body) = request.into_parts();
        let mut held = Held::none(hold);
        let body = Original::new(body, move |bytes| bytes <= MAX_KEPT && held.at_least(bytes).is_ok());
        let number = {
            let (session, number) = self.current().await.map_err(Silent::Unreached)?;
            match session.send(head.clone(), &body).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Broken) => return Err(Silent::Broken),
                Err(Unanswered::Unprocessed) => number,
            }
        };
        let (next, _) = self.after(number).await.map_err(|_| Silent::Broken)?;
        next.send(head, &body).await.map_err(|_| Silent::Broken)
    }

    async fn current(&self) -> Result<Numbered, Reason> {
        let number = {
            let now = self.now();
            match &now.session {
                Some(session) => return Ok((Arc::clone(session), now.number)),
                None => now.number,
            }
        };
        self.after(number).await
    }

    /// One that is newer than this, once it is there; or why there will be none.
    async fn after(&self, number: u32) -> Result<Numbered, Reason> {
        loop {
            let mut came = pin!(self.came.notified());
            // What comes after the look is heard.
            came.as_mut().enable();
            {
                let mut now = self.now();
                if let Some(session) = now.session.as_ref().filter(|_| now.number > number) {
                    return Ok((Arc::clone(session), now.number));
                }
                if let Some(reason) = now.no_more {
                    return Err(reason);
                }
                now.is_wanted = true;
            }
            self.wanted.notify_one();
            came.await;
        }
    }

    /// Returns when another is wanted.
    pub(crate) async fn wanted(&self) {
        while !self.now().is_wanted {
            self.wanted.notified().await;
        }
    }

    /// Another is there; or why there is none, and will be none.
    pub(crate) fn came(&self, next: Result<Session, Reason>) {
        let mut now = self.now();
        now.is_wanted = false;
        match next {
            Ok(next) => {
                let before = now.session.replace(Arc::new(next));
                now.number += 1;
                now.replaced += u32::from(before.is_some());
                now.no_more = (now.replaced + 1 >= MOST).then_some(Reason::ServerUnreachable);
            }
            Err(reason) => now.no_more = Some(reason),
        }
        drop(now);
        self.came.notify_waiters();
    }

    /// Nobody needs one for now. The one that is there ends in good order, with what is under way over it.
    pub(crate) fn put_aside(&self) {
        let mut now = self.now();
        // Where another is awaited, or there will be none, somebody sees to that.
        if now.is_wanted || now.no_more.is_some() {
            return;
        }
        if let Some(session) = now.session.take() {
            session.is_put_aside.store(true, Ordering::Relaxed);
        }
    }
}
