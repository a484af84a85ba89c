//! One endpoint of a backend: its connections, and how much it has to do.
//!
//! Guarantees: a request goes over a connection that was idle or over one of its own (HTTP/1), or over one that others share
//! (HTTP/2), and there it waits for none of them: not for their answers to be taken, and not for one of as many streams as the endpoint
//! says that it takes; one that was idle and turns out to be gone costs nobody a request, nor does one whose endpoint goes away or refuses what it
//! did nothing with. Does not: try a request again with which an endpoint may have done anything.

use crate::body::{Broken, Outgoing};
use crate::secured::Secured;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use resend::{MAX_KEPT, Original, Sending, Unanswered, Watched, Written};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Most fields of an answer, and most bytes of its head.
const MAX_FIELDS: usize = 256;
const MAX_HEAD: usize = 256 * 1024;
/// Idle connections that are kept for each endpoint.
const MAX_IDLE: usize = 64;
/// How long one is kept.
const IDLE: Duration = Duration::from_secs(55);
/// How long a connection has to end the answer before, to be used again.
const SETTLE: Duration = Duration::from_secs(1);
/// Bytes of an answer over HTTP/2 that are taken before its client takes them.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of a connection: the most that there can be (RFC 9113, section 6.9.1), so that answers that nobody takes keep none of the
/// others waiting. How many there are is bounded by who may begin.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of a request that wait to be sent on its stream.
const MAX_WAITING: usize = 64 * 1024;
/// How often an endpoint that owes an answer is asked whether it is there, and how long it may take to say so: a pod that is gone
/// without a word must not keep the requests of all who share its connection.
const PING: Duration = Duration::from_secs(10);
/// Streams of a connection that an endpoint takes at once, until it says how many (RFC 9113, section 6.5.2).
const STREAMS: usize = 100;
/// How long an endpoint that could not be reached is left alone where others are there.
const REST: Duration = Duration::from_secs(5);

/// The body of what is sent to an endpoint.
#[derive(Debug)]
pub(crate) enum Carried {
    /// Of a client's request.
    Own(Box<Outgoing>),
    /// Of a copy of one.
    Copy(Option<Bytes>),
    /// Messages to an endpoint picker, as they come.
    Talk(mpsc::Receiver<Bytes>),
    /// Any of these over HTTP/2, of which what went is kept. `was_refused`: an endpoint got it twice, and did nothing with it.
    Again { body: Sending<Self>, was_refused: bool },
}

impl Body for Carried {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Copy(body) => {
                let body = body.take().filter(|body| !body.is_empty());
                Poll::Ready(body.map(|body| Ok(Frame::data(body))))
            }
            Self::Talk(messages) => {
                messages.poll_recv(cx).map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Again { body, .. } => Pin::new(body).poll_frame(cx).map_err(|_| Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Copy(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Talk(_) => false,
            Self::Again { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Copy(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Talk(_) => SizeHint::default(),
            Self::Again { body, .. } => body.size_hint(),
        }
    }
}

/// Why an endpoint did not answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It did nothing with the request, which may go to another.
    Unreachable(Box<Request<Carried>>),
    /// It broke off.
    Broke,
}

/// What a connection is made over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Carried>,
    since: Instant,
}

/// A connection that requests share. Each that goes over it holds it.
#[derive(Debug)]
struct Session {
    sender: http2::SendRequest<Carried>,
    written: Written,
}

impl Session {
    async fn send(&self, head: Parts, body: &Original<Carried>) -> Result<Response<Incoming>, Unanswered> {
        let carried = |body| Carried::Again { body, was_refused: false };
        resend::send(&self.sender, &self.written, head, body, carried).await
    }
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    is_http2: bool,
    tls: Option<Arc<Secured>>,
    /// Requests that are not over.
    running: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Vec<Arc<Session>>>,
    /// How many streams of one of these it takes, as it said last.
    streams: Arc<AtomicUsize>,
    failed: Mutex<Option<Instant>>,
}

/// A request that an endpoint has; its load, and its connection until the answer is over.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) endpoint: Arc<Endpoint>,
    sender: Option<http1::SendRequest<Carried>>,
    session: Option<Arc<Session>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, is_http2: bool, tls: Option<Arc<Secured>>) -> Self {
        Self {
            address,
            is_http2,
            tls,
            running: AtomicUsize::new(0),
            idle: Mutex::default(),
            shared: Mutex::default(),
            streams: Arc::new(AtomicUsize::new(STREAMS)),
            failed: Mutex::default(),
        }
    }

    /// How many requests it has.
    pub(crate) fn load(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether it could not be reached a moment ago.
    pub(crate) fn rests(&self) -> bool {
        lock(&self.failed).is_some_and(|failed| failed.elapsed() < REST)
    }

    /// Counts a request to it.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.running.fetch_add(1, Ordering::Relaxed);
        Lease { endpoint: Arc::clone(self), sender: None, session: None }
    }

    fn take_idle(&self) -> Option<http1::SendRequest<Carried>> {
        let mut idle = lock(&self.idle);
        // The one that was used last is the least likely to be gone.
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() < IDLE && kept.sender.is_ready() {
                return Some(kept.sender);
            }
        }
        None
    }

    fn keep(&self, sender: http1::SendRequest<Carried>) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// A new connection. One that cannot be had is remembered for a moment.
    pub(crate) async fn connect(&self, within: Duration) -> Option<Box<dyn Io>> {
        let connected = tokio::time::timeout(within, self.opened()).await;
        let stream = connected.ok().flatten();
        *lock(&self.failed) = stream.is_none().then(Instant::now);
        stream
    }

    /// With TLS if that is wanted, and then never without.
    async fn opened(&self) -> Option<Box<dyn Io>> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        // Without it, small pieces would wait for each other; that it cannot be set harms nobody.
        let _slower = stream.set_nodelay(true);
        match &self.tls {
            Some(tls) => Some(Box::new(tls.connect(stream, self.is_http2).await?)),
            None => Some(Box::new(stream)),
        }
    }

    async fn open_http1(&self, within: Duration) -> Option<http1::SendRequest<Carried>> {
        let io = TokioIo::new(self.connect(within).await?);
        let mut builder = http1::Builder::new();
        builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(io).await.ok()?;
        // Whoever waits for an answer is told that it broke.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Some(sender)
    }

    /// A connection that has a stream left, or a new one: no more of them than requests.
    async fn open_http2(&self, within: Duration) -> Option<Arc<Session>> {
        let most = self.streams.load(Ordering::Relaxed).max(1);
        {
            let mut shared = lock(&self.shared);
            shared.retain(|session| !session.sender.is_closed());
            // Held here once, and by each request.
            if let Some(known) = shared.iter().find(|session| Arc::strong_count(session) <= most) {
                return Some(Arc::clone(known));
            }
        }
        let written = Written::default();
        let io = TokioIo::new(Watched::new(self.connect(within).await?, &written));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(most)
            .max_send_buf_size(MAX_WAITING)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
        let (sender, mut connection) =
            tokio::time::timeout(within, builder.handshake(io)).await.ok()?.ok()?;
        let streams = Arc::clone(&self.streams);
        tokio::spawn(poll_fn(move |cx| {
            let over = Pin::new(&mut connection).poll(cx).map(drop);
            streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
            over
        }));
        let session = Arc::new(Session { sender, written });
        lock(&self.shared).push(Arc::clone(&session));
        Some(session)
    }

    /// No further request goes over this connection.
    fn leave(&self, session: &Arc<Session>) {
        lock(&self.shared).retain(|shared| !Arc::ptr_eq(shared, session));
    }

    /// Of the connections that nobody uses, one is enough.
    fn tidy(&self) {
        let mut has_unused = false;
        let mut is_first = || !std::mem::replace(&mut has_unused, true);
        lock(&self.shared).retain(|session| Arc::strong_count(session) > 1 || is_first());
    }
}

impl Lease {
    /// Sends a request; returns the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Carried>,
        connect: Duration,
    ) -> Result<Response<Incoming>, Failed> {
        if self.endpoint.is_http2 {
            return self.send_http2(request, connect).await;
        }
        let mut request = request;
        while let Some(mut idle) = self.endpoint.take_idle() {
            match idle.try_send_request(request).await {
                Ok(answer) => {
                    self.sender = Some(idle);
                    return Ok(answer);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failed::Broke),
                },
            }
        }
        let Some(mut sender) = self.endpoint.open_http1(connect).await else {
            return Err(Failed::Unreachable(Box::new(request)));
        };
        match sender.try_send_request(request).await {
            Ok(answer) => {
                self.sender = Some(sender);
                Ok(answer)
            }
            Err(mut error) => Err(error
                .take_message()
                .map_or(Failed::Broke, |unsent| Failed::Unreachable(Box::new(unsent)))),
        }
    }

    async fn send_http2(
        &mut self,
        request: Request<Carried>,
        connect: Duration,
    ) -> Result<Response<Incoming>, Failed> {
        let (head, body) = request.into_parts();
        let (body, mut was_refused) = match body {
            Carried::Again { body, was_refused } => (body.original().clone(), was_refused),
            body @ (Carried::Own(_) | Carried::Copy(_) | Carried::Talk(_)) => {
                (Original::new(body, |bytes| bytes <= MAX_KEPT), false)
            }
        };
        while let Some(session) = self.endpoint.open_http2(connect).await {
            let session = self.session.insert(session);
            match session.send(head.clone(), &body).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Broken) => return Err(Failed::Broke),
                Err(Unanswered::Unprocessed) => self.endpoint.leave(session),
            }
            if std::mem::replace(&mut was_refused, true) {
                break;
            }
        }
        let Some(body) = body.again() else { return Err(Failed::Broke) };
        let unsent = Request::from_parts(head, Carried::Again { body, was_refused });
        Err(Failed::Unreachable(Box::new(unsent)))
    }

    /// The connection became something else.
    pub(crate) fn forget_connection(&mut self) {
        self.sender = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.running.fetch_sub(1, Ordering::Relaxed);
        if self.session.take().is_some() {
            self.endpoint.tidy();
        }
        let Some(mut sender) = self.sender.take().filter(|sender| !sender.is_closed()) else { return };
        let endpoint = Arc::clone(&self.endpoint);
        if sender.is_ready() {
            endpoint.keep(sender);
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, sender.ready()).await {
                endpoint.keep(sender);
            }
        });
    }
}
