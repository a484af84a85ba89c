//! The bytes of one CONNECT stream, as a socket.
//!
//! Guarantees: what is not read is not asked for (the sender's window stays closed); what is written waits for the other
//! side's window; the end of one direction is passed on alone; a tunnel that is dropped before both directions came to their
//! end is reset, so that nobody takes a broken one for complete.

use super::SEND_BUFFER;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One stream.
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received, and not read yet.
    rest: Bytes,
    has_ended: bool,
    has_finished: bool,
    /// A place among the streams of its connection; free again when dropped.
    _place: Arc<()>,
}

impl Tunnel {
    pub(crate) fn new(send: SendStream<Bytes>, receive: RecvStream, place: Arc<()>) -> Self {
        Self { send, receive, rest: Bytes::new(), has_ended: false, has_finished: false, _place: place }
    }

    /// Ends what is sent, once.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.has_finished, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(broken)
    }

    /// Breaks it off.
    pub(crate) fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !(self.has_ended && self.has_finished) {
            self.reset();
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.has_ended {
            match ready!(self.receive.poll_data(cx)) {
                Some(data) => self.rest = data.map_err(broken)?,
                None => self.has_ended = true,
            }
        }
        let length = self.rest.len().min(to.remaining());
        to.put_slice(self.rest.get(..length).unwrap_or_default());
        self.rest.advance(length);
        self.receive.flow_control().release_capacity(length).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(bytes.len().min(SEND_BUFFER));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(capacity) => drop(capacity.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let piece = bytes.get(..self.send.capacity().min(bytes.len())).unwrap_or_default();
        self.send.send_data(Bytes::copy_from_slice(piece), false).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// What was written is under way: the connection is driven elsewhere.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
