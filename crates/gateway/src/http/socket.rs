//! The two sockets of an opened connection, between the kernel and whoever reads HTTP.

use crate::ceiling::Ceiling;
use crate::forward::Line;
use crate::reason::Reason;
use crate::record::Traffic;
use crate::uploads::Upload;
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
    /// Set where nobody needs it any more, before the others come to their end.
    pub(crate) is_put_aside: Arc<AtomicBool>,
}

impl<L: Line> Socket<L> {
    pub(crate) fn new(stream: L, first: Vec<u8>, is_clean: &Arc<AtomicBool>) -> Self {
        Self { stream, first, given: 0, is_clean: Arc::clone(is_clean), is_put_aside: Arc::default() }
    }
}

impl<L: Line> Drop for Socket<L> {
    fn drop(&mut self) {
        if self.is_clean.load(Ordering::Relaxed) || self.is_put_aside.load(Ordering::Relaxed) {
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
    /// What is drawn from before anything is written.
    pub(crate) upload: Option<Arc<Upload>>,
    pub(crate) cut: Arc<Cut>,
    /// How many bytes were drawn that are not written yet.
    drawn: usize,
    drawing: Option<Drawing>,
}

/// Draws bytes from an account; returns how many.
type Drawing = Pin<Box<dyn Future<Output = Result<usize, Reason>> + Send>>;

impl<S> Counted<S> {
    /// Without limits.
    pub(crate) fn new(inner: S, traffic: Arc<Traffic>, cut: Arc<Cut>) -> Self {
        Self { inner, traffic, ceiling: Ceiling::default(), upload: None, cut, drawn: 0, drawing: None }
    }

    /// Returns when so many bytes may go.
    fn poll_leave(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        self.check(bytes)?;
        let Some(upload) = &self.upload else { return Poll::Ready(Ok(())) };
        while self.drawn < bytes {
            let more = bytes.saturating_sub(self.drawn);
            let drawing = self.drawing.get_or_insert_with(|| {
                let upload = Arc::clone(upload);
                Box::pin(async move { upload.take(more as u64).await.map(|()| more) })
            });
            let drawn = ready!(drawing.as_mut().poll(cx));
            self.drawing = None;
            self.drawn = self.drawn.saturating_add(drawn.map_err(|reason| self.cut.cut(reason))?);
        }
        Poll::Ready(Ok(()))
    }

    /// So many bytes went.
    fn wrote(&mut self, bytes: usize) {
        self.traffic.up.fetch_add(bytes as u64, Ordering::Relaxed);
        self.drawn = self.drawn.saturating_sub(bytes);
    }

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
        ready!(self.poll_leave(cx, bytes.len()))?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_leave(cx, pieces.iter().map(|piece| piece.len()).sum()))?;
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces))?;
        self.wrote(written);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uploads::sample;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn nothing_is_written_that_an_account_does_not_have_on_whatever_connection() {
        let uploads = Arc::default();
        let (mut sent, mut came) = (0, 0);
        // In one piece, and in several at once, as HTTP/2 is written.
        for is_vectored in [false, true] {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            let mut counted = Counted::new(near, Arc::default(), Arc::default());
            counted.upload = Some(sample::upload(&uploads, "{day: 1000}"));
            let cut = Arc::clone(&counted.cut);
            let failed = loop {
                let written = match is_vectored {
                    false => counted.write(&[b'x'; 60]).await,
                    true => {
                        counted.write_vectored(&[IoSlice::new(&[b'x'; 30]), IoSlice::new(&[b'x'; 30])]).await
                    }
                };
                match written {
                    Ok(written) => sent += written,
                    Err(error) => break error,
                }
                if !is_vectored && sent > 500 {
                    break io::ErrorKind::Other.into();
                }
            };
            assert_eq!(cut.reason(), is_vectored.then_some(Reason::UploadDay), "{failed}");
            drop(counted);
            came += far.read_to_end(&mut Vec::new()).await.unwrap();
        }
        assert!(sent <= 1000 && sent > 900, "{sent}");
        assert_eq!(came, sent);
    }
}
