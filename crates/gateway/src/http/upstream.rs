//! The way to the server: one connection for each of a client's, in the same protocol; of HTTP/2 another where it takes no more requests.

use super::body::Outgoing;
use super::hold::Share;
use super::line::Line;
use super::sessions::{Session, Sessions};
use super::socket::Stream;
use super::tasks::Tasks;
use crate::reason::Reason;
use crate::tls::Speech;
use http::{Request, Response, header};
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silent {
    /// There is no connection to its server, for this reason: nothing of it went.
    Unreached(Reason),
    /// The connection broke off, or the answer is none.
    Broken,
}

/// A connection to a server over which requests go.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// One after the other.
    Http1(Line),
    /// Several at once.
    Http2(Box<Sessions>),
}

impl Upstream {
    /// Begins to speak HTTP. `gone` is told when the connection ended, unless it was put aside.
    pub(crate) async fn open(
        io: impl Stream + 'static,
        speech: Speech,
        tasks: &Tasks,
        gone: Arc<Notify>,
        is_put_aside: Arc<AtomicBool>,
    ) -> hyper::Result<Self> {
        match speech {
            Speech::Unsaid | Speech::Http1 => Ok(Self::Http1(Line::open(io, tasks, gone))),
            Speech::Http2 => {
                let session = Session::open(io, tasks, gone, is_put_aside).await?;
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
    ) -> Result<Response<Incoming>, Silent> {
        let request = request.map(Box::new);
        let answer = match self {
            Self::Http1(line) => line.send(request, upgrades).await.map_err(|_| Silent::Broken)?,
            Self::Http2(sessions) => sessions.send(request, hold).await?,
        };
        // Two lengths, of which a client might believe the other: an error of the server, or an attack (RFC 9112, 6.3).
        let fields = answer.headers();
        let is_twofold =
            fields.contains_key(header::TRANSFER_ENCODING) && fields.contains_key(header::CONTENT_LENGTH);
        if is_twofold { Err(Silent::Broken) } else { Ok(answer) }
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
