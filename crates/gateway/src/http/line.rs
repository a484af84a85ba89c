//! A connection to a server over which requests go one after the other, and which can rest between them.
//!
//! hyper keeps buffers and a queue for as long as a connection lives, some 30 KiB. A connection that rests keeps its socket
//! alone, and begins to speak HTTP again with the next request. Guarantees: it rests only where the last request has gone
//! whole, its answer came to its end and no byte is left of either; what a server sends while nobody asked ends it, as it
//! would have before.

use super::body::{Broken, Outgoing};
use super::socket::Stream;
use super::tasks::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;

/// Most fields of an answer.
const MAX_FIELDS: usize = 256;
/// Most bytes of an answer's head.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// A body, kept apart from its request: for each connection hyper keeps room for 32 requests.
pub(super) type Kept = Box<Outgoing>;

/// The connection, as those see it who ask. Its end is theirs.
#[derive(Debug)]
pub(crate) struct Line(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// All that was written has gone: a server may answer a request that it did not read to its end.
    is_flushed: AtomicBool,
    /// For whoever drives the connection: the state changed.
    told: Notify,
    /// For whoever asks: it rests no more.
    woke: Notify,
}

#[derive(Debug, Default)]
enum State {
    /// Requests go.
    Open(http1::SendRequest<Kept>),
    /// As `Open`, and the next answer may make something else of the connection.
    Upgrading(http1::SendRequest<Kept>),
    /// To rest, if no request is under way.
    Tired(http1::SendRequest<Kept>),
    /// Nothing is kept of it but its socket.
    Resting,
    /// There is a request again.
    #[default]
    Waking,
    /// Nobody asks any more, or the server went.
    Over,
}

impl Line {
    /// Begins to speak HTTP. `gone` is told when the connection ended.
    pub(crate) fn open(io: impl Stream + 'static, tasks: &Tasks, gone: Arc<Notify>) -> Self {
        let shared = Arc::<Shared>::default();
        let driven = Arc::clone(&shared);
        tasks.spawn(async move {
            drive(io, &driven).await;
            *driven.state() = State::Over;
            driven.woke.notify_one();
            gone.notify_one();
        });
        Self(shared)
    }

    /// Sends a request; returns the head of its answer. With `upgrades`, that may agree to another protocol.
    pub(crate) async fn send(
        &self,
        request: Request<Kept>,
        upgrades: bool,
    ) -> Result<Response<Incoming>, Broken> {
        let mut request = Some(request);
        loop {
            let sent = poll_fn(|cx| {
                let mut state = self.0.state();
                match std::mem::replace(&mut *state, State::Over) {
                    State::Over => Poll::Ready(Err(Broken)),
                    State::Resting | State::Waking => {
                        *state = State::Waking;
                        self.0.told.notify_one();
                        Poll::Ready(Ok(None))
                    }
                    State::Open(mut sender) | State::Upgrading(mut sender) | State::Tired(mut sender) => {
                        if upgrades {
                            // Before an answer can be read, it is known what it may agree to.
                            self.0.told.notify_one();
                        }
                        let is_ready = sender.poll_ready(cx);
                        let request = if is_ready.is_ready() { request.take() } else { None };
                        let sent = request.map(|request| sender.send_request(request));
                        *state = if upgrades { State::Upgrading(sender) } else { State::Open(sender) };
                        ready!(is_ready).map_err(|_| Broken)?;
                        Poll::Ready(Ok(sent))
                    }
                }
            });
            match sent.await? {
                Some(answer) => return answer.await.map_err(|_| Broken),
                None => self.0.woke.notified().await,
            }
        }
    }

    /// Has it rest until there is another request.
    pub(crate) fn rest(&self) {
        let mut state = self.0.state();
        *state = match std::mem::replace(&mut *state, State::Over) {
            State::Open(sender) => State::Tired(sender),
            other => other,
        };
        self.0.told.notify_one();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        *self.0.state() = State::Over;
        self.0.told.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests go over `sender` from now on: somebody waits for them.
    fn begins(&self, sender: http1::SendRequest<Kept>) -> bool {
        let mut state = self.state();
        let waits = matches!(*state, State::Waking);
        if waits {
            *state = State::Open(sender);
            self.woke.notify_one();
        }
        waits
    }

    /// Begins its rest if it is to, and no request is under way.
    fn lies_down(&self) -> bool {
        let mut state = self.state();
        let is_idle = matches!(&*state, State::Tired(sender) if sender.is_ready());
        let rests = is_idle && self.is_flushed.load(Ordering::Relaxed);
        if rests {
            *state = State::Resting;
        }
        rests
    }
}

/// Speaks HTTP until one side goes.
async fn drive(io: impl Stream + 'static, shared: &Arc<Shared>) {
    let mut io = Noted { inner: io, shared: Arc::clone(shared) };
    loop {
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD);
        let Ok((sender, connection)) = Box::pin(builder.handshake(TokioIo::new(io))).await else {
            return;
        };
        // Apart from what rests.
        let mut connection = Box::new(connection);
        if !shared.begins(sender) {
            // Its end is said without a request, too.
            let _broken = connection.await;
            return;
        }
        let parts = loop {
            tokio::select! {
                biased;
                () = shared.told.notified() => {
                    if matches!(*shared.state(), State::Upgrading(_)) {
                        let _broken = Box::pin(connection.with_upgrades()).await;
                        return;
                    }
                    if shared.lies_down() {
                        break connection.into_parts();
                    }
                }
                // Whoever waits for an answer is told.
                _broken = &mut connection => return,
            }
        };
        io = parts.io.into_inner();
        let is_all_read = parts.read_buf.is_empty();
        // It is the whole of the parser's buffer.
        drop(parts.read_buf);
        if !is_all_read || !wakes(&mut io, shared).await {
            // The server may be gone already.
            let _gone = io.shutdown().await;
            return;
        }
    }
}

/// Waits until there is another request; not if one side goes first.
async fn wakes(io: &mut impl Stream, shared: &Shared) -> bool {
    loop {
        tokio::select! {
            biased;
            () = shared.told.notified() => match *shared.state() {
                State::Resting => {}
                State::Waking => return true,
                State::Open(_) | State::Upgrading(_) | State::Tired(_) | State::Over => return false,
            },
            // Nobody asked for what a server says now.
            _said = io.read_u8() => return false,
        }
    }
}

/// A socket of which is known whether all that was written has gone.
struct Noted<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Noted<S> {
    fn is_flushed(&self, is_flushed: bool) {
        self.shared.is_flushed.store(is_flushed, Ordering::Relaxed);
    }
}

impl<S: Stream> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl<S: Stream> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_flushed(false);
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed(false);
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.is_flushed(flushed.is_ok());
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
