//! The way to the server: one connection for each of a client's, in the same protocol; of HTTP/2 another where it takes no more requests.

use super::body::{Broken, Outgoing};
use super::hold::Share;
use super::line::Line;
use super::sessions::{Session, Sessions};
use super::socket::Stream;
use super::tasks::Tasks;
use crate::tls::Speech;
use http::{Request, Response, header};
use hyper::body::Incoming;
use std::sync::Arc;
use tokio::sync::Notify;

/// A connection to a server over which requests go.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One after the other.
    Http1(Line),
    /// Several at once.
    Http2(Box<Sessions>),
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
                let session = Session::open(io, tasks, gone).await?;
                Ok(Self::Http2(Box::new(Sessions::new(session))))
            }
        }
    }

    /// Sends a request; returns the head of its answer. With `upgrades`, that may agree to another protocol. What is kept of its body
    /// counts for `hold`.
    pub(crate) async fn send(
        &self,
        request: Request<Outgoing>,
        upgrades: bool,
        hold: &Share,
    ) -> Result<Response<Incoming>, Broken> {
        let request = request.map(Box::new);
        let answer = match self {
            Self::Http1(line) => line.send(request, upgrades).await?,
            Self::Http2(sessions) => sessions.send(request, hold).await?,
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
