//! The way to the server: one connection for each of a client's, in the same protocol.

use super::body::{Broken, Outgoing};
use super::line::{Kept, Line, MAX_HEAD};
use super::serve::MAX_WAITING;
use super::socket::Stream;
use super::tasks::Tasks;
use crate::tls::Speech;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::sync::Notify;

/// A connection to a server over which requests go.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One after the other.
    Http1(Line),
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
        match speech {
            Speech::Unsaid | Speech::Http1 => Ok(Self::Http1(Line::open(io, tasks, gone))),
            Speech::Http2 => {
                let mut builder = http2::Builder::new(tasks.clone());
                builder
                    .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                    .max_send_buf_size(MAX_WAITING);
                let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
                tasks.spawn(async move {
                    // Whoever waits for an answer is told.
                    let _broken = connection.await;
                    gone.notify_one();
                });
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Sends a request; returns the head of its answer. With `upgrades`, that may agree to another protocol.
    pub(crate) async fn send(
        &self,
        request: Request<Outgoing>,
        upgrades: bool,
    ) -> Result<Response<Incoming>, Broken> {
        let request = request.map(Box::new);
        let answer = match self {
            Self::Http1(line) => line.send(request, upgrades).await?,
            Self::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(|_| Broken)?;
                sender.send_request(request).await.map_err(|_| Broken)?
            }
        };
        // Two lengths, of which a client might believe the other: an error of the server, or an attack (RFC 9112, 6.3).
        let fields = answer.headers();
        let is_twofold =
            fields.contains_key(header::TRANSFER_ENCODING) && fields.contains_key(header::CONTENT_LENGTH);
        if is_twofold { Err(Broken) } else { Ok(answer) }
    }

    /// No request is expected soon.
    pub(crate) fn rest(&self) {
        match self {
            Self::Http1(line) => line.rest(),
            Self::Http2(_) => {}
        }
    }

    /// Whether targets name their server, as in HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}
