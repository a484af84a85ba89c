//! Reads what an HTTP/1 client sends once more, before the server's parser does, and cuts what two readers could
//! understand differently.
//!
//! The parser behind it takes a request with two framings, or some bad line ends, as RFC 9112 allows a tolerant reader
//! to. What goes on is written anew, so that tolerance could smuggle nothing; but it could be judged as something else
//! than its sender meant, and so it is refused as on connections that are passed on. Also bounds how long a head may take,
//! and knows when nothing is under way ([`Quiet`]).

use super::socket::{Cut, Stream};
use crate::decide::Unreadable;
use crate::reason::Reason;
use ::inspect::http_stream::Along;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is read at once when a connection wakes.
const PIECE: usize = 512;

/// Whether a connection is between requests, for whoever does not see its bytes.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    /// All that was read belongs to requests that are whole.
    is_whole: AtomicBool,
    /// All that was written has gone.
    is_flushed: AtomicBool,
    /// Something was read since it was last asked.
    was_used: AtomicBool,
}

impl Quiet {
    /// Whether nothing came since this was asked before, and nothing is under way.
    pub(crate) fn lasts(&self) -> bool {
        let was_used = self.was_used.swap(false, Ordering::Relaxed);
        !was_used && self.is_whole.load(Ordering::Relaxed) && self.is_flushed.load(Ordering::Relaxed)
    }
}

/// The client's side.
pub(crate) struct Strict<S> {
    inner: S,
    /// What was read and not given out.
    ahead: Vec<u8>,
    quiet: Arc<Quiet>,
    along: Along,
    /// How long a head may take, and when the one that began is late.
    head_within: Duration,
    late: Option<Pin<Box<Sleep>>>,
    cut: Arc<Cut>,
}

impl<S: Stream> Strict<S> {
    pub(crate) fn new(inner: S, head_within: Duration, cut: &Arc<Cut>, quiet: &Arc<Quiet>) -> Self {
        Self {
            inner,
            ahead: Vec::new(),
            quiet: Arc::clone(quiet),
            along: Along::default(),
            head_within,
            late: None,
            cut: Arc::clone(cut),
        }
    }

    /// Returns when bytes came, which are kept for who reads next; false at the end.
    pub(crate) async fn wakes(&mut self) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let length = self.read(&mut piece).await?;
        self.ahead = piece.get(..length).unwrap_or_default().to_vec();
        Ok(length > 0)
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.quiet.was_used.store(true, Ordering::Relaxed);
        let judged = self.along.push(bytes).map_err(|flaw| Unreadable::Http(flaw).reason());
        if !self.along.is_in_head() {
            self.late = None;
        }
        self.quiet.is_whole.store(self.along.is_between_requests(), Ordering::Relaxed);
        judged
    }
}

impl<S: Stream> AsyncRead for Strict<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            let rest = this.ahead.split_off(this.ahead.len().min(to.remaining()));
            to.put_slice(&this.ahead);
            this.ahead = rest;
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, to)?.is_pending() {
            if !this.along.is_in_head() {
                return Poll::Pending;
            }
            let within = this.head_within;
            let late = this.late.get_or_insert_with(|| Box::pin(sleep(within)));
            ready!(late.as_mut().poll(cx));
            return Poll::Ready(Err(this.cut.cut(Reason::Timeout)));
        }
        let new = to.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.judge(new).map_err(|reason| this.cut.cut(reason)))
    }
}

impl<S: Stream> AsyncWrite for Strict<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.quiet.is_flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.quiet.is_flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.quiet.is_flushed.store(flushed.is_ok(), Ordering::Relaxed);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
