//! Connections of HTTP/2 to one server, one after the other, for all requests of one of a client's.
//!
//! Guarantees: a request of which it is proved that the server did nothing with it goes over the next connection, once; whoever waits
//! for one is told that it is there or that there will be none; there are few. Does not: open connections by itself.

use super::body::Broken;
use super::hold::{Held, Share};
use super::line::{Kept, MAX_HEAD};
use super::serve::MAX_WAITING;
use super::socket::Stream;
use super::tasks::Tasks;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use resend::{MAX_KEPT, Original, Sending, Unanswered, Watched, Written};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most connections to the server for one of a client's: once the first is over, the client is asked to come anew.
const MOST: u32 = 4;

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    sender: http2::SendRequest<Sending<Kept>>,
    written: Written,
}

impl Session {
    /// Begins to speak HTTP/2. `gone` is told when the connection ended.
    pub(crate) async fn open(
        io: impl Stream + 'static,
        tasks: &Tasks,
        gone: Arc<Notify>,
    ) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_send_buf_size(MAX_WAITING);
        let written = Written::default();
        let (sender, connection) = builder.handshake(TokioIo::new(Watched::new(io, &written))).await?;
        tasks.spawn(async move {
            // Whoever waits for an answer is told.
            let _broken = connection.await;
            gone.notify_one();
        });
        Ok(Self { sender, written })
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
    session: Arc<Session>,
    /// Which it is, from 1.
    number: u32,
    is_wanted: bool,
    is_last: bool,
}

impl Sessions {
    pub(crate) fn new(first: Session) -> Self {
        let now = Now { session: Arc::new(first), number: 1, is_wanted: false, is_last: false };
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
    ) -> Result<Response<Incoming>, Broken> {
        let (head, body) = request.into_parts();
        let mut held = Held::none(hold);
        let body = Original::new(body, move |bytes| bytes <= MAX_KEPT && held.at_least(bytes).is_ok());
        let number = {
            let (session, number) = self.current();
            match session.send(head.clone(), &body).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Broken) => return Err(Broken),
                Err(Unanswered::Unprocessed) => number,
            }
        };
        let next = self.after(number).await.ok_or(Broken)?;
        next.send(head, &body).await.map_err(|_| Broken)
    }

    fn current(&self) -> (Arc<Session>, u32) {
        let now = self.now();
        (Arc::clone(&now.session), now.number)
    }

    /// One that is newer than this, once it is there; `None`: there will be none.
    async fn after(&self, number: u32) -> Option<Arc<Session>> {
        loop {
            let mut came = pin!(self.came.notified());
            // What comes after the look is heard.
            came.as_mut().enable();
            {
                let mut now = self.now();
                if now.number > number {
                    return Some(Arc::clone(&now.session));
                }
                if now.is_last {
                    return None;
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

    /// Another is there; or there is none, and will be none.
    pub(crate) fn came(&self, next: Option<Session>) {
        let mut now = self.now();
        now.is_wanted = false;
        match next {
            Some(next) => {
                now.session = Arc::new(next);
                now.number += 1;
                now.is_last = now.number >= MOST;
            }
            None => now.is_last = true,
        }
        drop(now);
        self.came.notify_waiters();
    }
}
