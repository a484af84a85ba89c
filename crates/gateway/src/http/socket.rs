//! The two sockets of an opened connection, between the kernel and whoever reads HTTP.

use crate::ceiling::Ceiling;
use crate::forward::Line;
use crate::reason::Reason;
use crate::record::Traffic;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

pub(crate) use crate::near::Stream;

/// Why a connection is cut, said from within it.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    reason: OnceLock<Reason>,
    told: Notify,
}

impl Cut {
    /// Cuts it. The first reason counts.
    pub(crate) fn cut(&self, reason: Reason) -> io::Error {
        let _earlier = self.reason.set(reason);
        self.told.notify_one();
        io::ErrorKind::ConnectionAborted.into()
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.get().copied()
    }

    /// Returns when it is to be cut.
    pub(crate) async fn wait(&self) -> Reason {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.told.notified().await;
        }
    }
}

/// A socket whose first bytes were read already. When it is dropped the kernel resets it, unless both sides came to a
/// clean end: nobody may take a broken connection for a complete one.
pub(crate) struct Socket<L: Line> {
    stream: L,
    first: Vec<u8>,
    /// How many of the first bytes were given out.
    given: usize,
    is_clean: Arc<AtomicBool>,
}

impl<L: Line> Socket<L> {
    pub(crate) fn new(stream: L, first: Vec<u8>, is_clean: &Arc<AtomicBool>) -> Self {
        Self { stream, first, given: 0, is_clean: Arc::clone(is_clean) }
    }
}

impl<L: Line> Drop for Socket<L> {
    fn drop(&mut self) {
        if self.is_clean.load(Ordering::Relaxed) {
            self.stream.finish();
        } else {
            self.stream.reset();
        }
    }
}

impl<L: Line> AsyncRead for Socket<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.first.get(self.given..).unwrap_or_default();
        if left.is_empty() {
            self.first = Vec::new();
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let given = left.len().min(to.remaining());
        to.put_slice(left.get(..given).unwrap_or_default());
        self.given += given;
        Poll::Ready(Ok(()))
    }
}

impl<L: Line> AsyncWrite for Socket<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The server's side: counts what passes, and cuts the connection before it carries more than it may.
pub(crate) struct Counted<S> {
    pub(crate) inner: S,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) ceiling: Ceiling,
    pub(crate) cut: Arc<Cut>,
}

impl<S> Counted<S> {
    /// Whether so many bytes more may go.
    fn check(&self, more: usize) -> io::Result<()> {
        let up = self.traffic.up().saturating_add(more as u64);
        self.ceiling.check(up, self.traffic.down()).map_err(|reason| self.cut.cut(reason))
    }
}

impl<S: Stream> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, to))?;
        let read = to.filled().len().saturating_sub(before);
        self.traffic.down.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(bytes.len())?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.traffic.up.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(pieces.iter().map(|piece| piece.len()).sum())?;
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces))?;
        self.traffic.up.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
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
