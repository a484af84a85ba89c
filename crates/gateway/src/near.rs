//! A client's end of a connection: a socket of its own, or any other way that bytes come and go.
//!
//! Guarantees: what the kernel can do for a socket (move bytes, reset it) is done for those that are sockets; all else is
//! the same. Dropped without its end being said, neither looks like a complete one: a socket is reset where that was asked
//! for, TLS ends without its farewell.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that come and go.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A client's end of a connection.
pub enum Near {
    /// A socket.
    Tcp(TcpStream),
    /// Anything else, such as TLS that ends here.
    Any(Box<dyn Stream + Sync>),
}

impl Near {
    /// Any way that bytes come and go.
    pub fn any(stream: impl Stream + Sync + 'static) -> Self {
        Self::Any(Box::new(stream))
    }

    /// Has the kernel end the connection with a reset when it is closed, where it is a socket.
    pub(crate) fn reset(&self) {
        match self {
            // A connection that is already gone needs none.
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            Self::Any(_) => {}
        }
    }

    fn inner(&mut self) -> Pin<&mut (dyn Stream + '_)> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Any(stream) => Pin::new(&mut **stream),
        }
    }
}

impl From<TcpStream> for Near {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            Self::Any(_) => f.write_str("Any"),
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, to)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Any(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
