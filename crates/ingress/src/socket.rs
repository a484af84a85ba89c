//! A client's socket, between the kernel and the parser of HTTP.
//!
//! Guarantees: of HTTP/1, what two readers could understand differently reaches the parser as what every parser refuses,
//! so that it answers 400 and ends the connection; a head that does not come to its end in time, and a client that does
//! not take its answer, end it too. Does not: judge what it reads.

use inspect::http_head::HttpFlaw;
use inspect::http_stream::Along;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes that come and go.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// No parser of HTTP takes this: NUL is in no method, no field and no size of a chunk.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// What was wrong with a connection, said from within it.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    flaw: OnceLock<HttpFlaw>,
    is_late: AtomicBool,
}

impl Wrong {
    /// What could be understood in two ways, if anything.
    pub(crate) fn flaw(&self) -> Option<HttpFlaw> {
        self.flaw.get().copied()
    }

    /// Whether it was too slow.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    fn late(&self) -> io::Error {
        self.is_late.store(true, Ordering::Relaxed);
        io::ErrorKind::TimedOut.into()
    }
}

/// How long a socket may make somebody wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the rest of a head of HTTP/1.
    pub(crate) head: Duration,
    /// For a client that takes nothing of its answer.
    pub(crate) write: Duration,
}

/// A client's socket.
pub(crate) struct Socket<S> {
    inner: S,
    along: Along,
    patience: Patience,
    late_head: Option<Pin<Box<Sleep>>>,
    late_write: Option<Pin<Box<Sleep>>>,
    wrong: Arc<Wrong>,
    is_over: bool,
}

impl<S: Stream> Socket<S> {
    /// A client's, which speaks HTTP/1 or HTTP/2.
    pub(crate) fn new(inner: S, is_http1: bool, patience: Patience, wrong: &Arc<Wrong>) -> Self {
        Self {
            inner,
            along: if is_http1 { Along::default() } else { Along::of_nothing() },
            patience,
            late_head: None,
            late_write: None,
            wrong: Arc::clone(wrong),
            is_over: false,
        }
    }

    /// Reads along. False: it could be understood in two ways.
    fn is_clear(&mut self, bytes: &[u8]) -> bool {
        if let Err(flaw) = self.along.push(bytes) {
            let _earlier = self.wrong.flaw.set(flaw);
            return false;
        }
        if !self.along.is_in_head() {
            self.late_head = None;
        }
        true
    }

    /// A write that went on, or one that waits and may be late.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late_write = None;
            return written;
        }
        let within = self.patience.write;
        let late = self.late_write.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(self.wrong.late()))
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, to)?.is_pending() {
            if !this.along.is_in_head() {
                return Poll::Pending;
            }
            let within = this.patience.head;
            let late = this.late_head.get_or_insert_with(|| Box::pin(sleep(within)));
            ready!(late.as_mut().poll(cx));
            return Poll::Ready(Err(this.wrong.late()));
        }
        if this.is_clear(to.filled().get(before..).unwrap_or_default()) {
            return Poll::Ready(Ok(()));
        }
        this.is_over = true;
        to.set_filled(before);
        let room = REFUSED.len().min(to.remaining());
        to.put_slice(REFUSED.get(..room).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A stream of which the first bytes were read already.
pub(crate) struct Begun<S> {
    inner: S,
    first: Vec<u8>,
    /// How many of them were given out.
    given: usize,
}

impl<S: Stream> Begun<S> {
    pub(crate) fn new(inner: S, first: Vec<u8>) -> Self {
        Self { inner, first, given: 0 }
    }
}

impl<S: Stream> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.first.get(self.given..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, to);
        }
        let piece = left.get(..left.len().min(to.remaining())).unwrap_or_default();
        to.put_slice(piece);
        self.given += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Begun<S> {
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
