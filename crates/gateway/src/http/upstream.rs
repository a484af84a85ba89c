//! The way to the server: one connection for each of a client's, in the same protocol.

use super::body::Outgoing;
use super::socket::Stream;
use super::tasks::Tasks;
use crate::tls::Speech;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most fields of an answer.
const MAX_FIELDS: usize = 256;
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 256 * 1024;

/// A body, kept apart from its request: for each connection hyper keeps room for 32 requests.
type Kept = Box<Outgoing>;

/// A connection to a server over which requests go.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One after the other.
    Http1(Mutex<http1::SendRequest<Kept>>),
    /// Several at once.
    Http2(http2::SendRequest<Kept>),
}

impl Upstream {
    /// Begins to speak HTTP. `gone` is told when the connection ended.
    pub(crate) async fn open(
        io: impl Stream + 'static,
        speech: Speech,
        tasks: &Tasks,
        gone: Arc<Notify>,
    ) -> hyper::Result<Self> {
        let io = TokioIo::new(io);
        match speech {
            Speech::Unsaid | Speech::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD);
                let (sender, connection) = builder.handshake(io).await?;
                tasks.spawn(async move {
                    // Whoever waits for an answer is told.
                    let _broken = connection.with_upgrades().await;
                    gone.notify_one();
                });
                Ok(Self::Http1(Mutex::new(sender)))
            }
            Speech::Http2 => {
                let mut builder = http2::Builder::new(tasks.clone());
                builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
                let (sender, connection) = builder.handshake(io).await?;
                tasks.spawn(async move {
                    let _broken = connection.await;
                    gone.notify_one();
                });
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Sends a request; returns the head of its answer.
    pub(crate) async fn send(&self, request: Request<Outgoing>) -> hyper::Result<Response<Incoming>> {
        let request = request.map(Box::new);
        match self {
            Self::Http1(sender) => {
                poll_fn(|cx| lock(sender).poll_ready(cx)).await?;
                let answer = lock(sender).send_request(request);
                answer.await
            }
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Whether targets name their server, as in HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

fn lock<T>(sender: &Mutex<T>) -> MutexGuard<'_, T> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}
