//! Reads what an HTTP/1 client sends once more, before the server's parser does, and cuts what two readers could
//! understand differently.
//!
//! The parser behind it takes a request with two framings, or some bad line ends, as RFC 9112 allows a tolerant reader
//! to. What goes on is written anew, so that tolerance could smuggle nothing; but it could be judged as something else
//! than its sender meant, and so it is refused as on connections that are passed on. Also bounds how long a head may take.

use super::socket::{Cut, Stream};
use crate::decide::Unreadable;
use crate::reason::Reason;
use ::inspect::http_head::HttpFlaw;
use ::inspect::http_stream::{Event, Requests};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The client's side.
pub(crate) struct Strict<S> {
    inner: S,
    /// Nothing once a request asked for a tunnel: it is answered, and is the last.
    requests: Option<Requests>,
    /// How long a head may take, and when the one that began is late.
    head_within: Duration,
    late: Option<Pin<Box<Sleep>>>,
    cut: Arc<Cut>,
}

impl<S: Stream> Strict<S> {
    pub(crate) fn new(inner: S, head_within: Duration, cut: &Arc<Cut>) -> Self {
        Self { inner, requests: Some(Requests::new()), head_within, late: None, cut: Arc::clone(cut) }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let Some(requests) = &mut self.requests else { return Ok(()) };
        let mut rest = bytes;
        loop {
            let (taken, event) = requests.push(rest);
            rest = rest.get(taken..).unwrap_or_default();
            match event {
                Event::Request(_) => {}
                Event::More => break,
                Event::Refused(HttpFlaw::Upgrade | HttpFlaw::Connect) => {
                    self.requests = None;
                    break;
                }
                Event::Refused(flaw) => return Err(Unreadable::Http(flaw).reason()),
            }
        }
        if !self.is_in_head() {
            self.late = None;
        }
        Ok(())
    }

    fn is_in_head(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.holding() > 0)
    }
}

impl<S: Stream> AsyncRead for Strict<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = to.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, to)?.is_pending() {
            if !this.is_in_head() {
                return Poll::Pending;
            }
            let within = this.head_within;
            let late = this.late.get_or_insert_with(|| Box::pin(sleep(within)));
            ready!(late.as_mut().poll(cx));
            return Poll::Ready(Err(this.cut.cut(Reason::Timeout)));
        }
        let new = to.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.read(new).map_err(|reason| this.cut.cut(reason)))
    }
}

impl<S: Stream> AsyncWrite for Strict<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
