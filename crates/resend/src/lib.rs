//! Requests over HTTP/2 that may go to their server once more.
//!
//! A server that goes away (GOAWAY, RFC 9113 section 6.8) says up to which stream it took requests, one that refuses a stream
//! (REFUSED_STREAM, section 8.7) that it took nothing of it. Such a request can go over another connection, and its client
//! need not know.
//!
//! Enters: a request. Leaves: the head of its answer, or whether it is proved that nobody did anything with it. Guarantees: what a
//! server may have done something with is never called unprocessed; what is kept of a body is bounded, and only until there is an
//! answer. Does not: open connections, or decide how often a request goes.

mod body;
mod wire;

pub use body::{Broken, Original, Sending};
pub use wire::{Watched, Written};

use h2::Reason;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http2::SendRequest;
use std::error::Error;
use std::io;

/// Most bytes of a body that are kept to be sent once more: what a server lets come before it read anything (64 KiB, RFC 9113
/// section 6.9.2), and as much again for the last piece.
pub const MAX_KEPT: usize = 128 * 1024;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It is proved that the server did nothing with it.
    Unprocessed,
    /// The server may have done anything with it.
    Broken,
}

/// Sends a request over a connection; returns the head of its answer. `written` is of this connection. `with` makes the body that is
/// sent of one that gives all of `original`.
///
/// # Errors
/// There is no answer. [`Unanswered::Broken`] also where what is left of the body is not all of it.
pub async fn send<B, C>(
    sender: &SendRequest<C>,
    written: &Written,
    head: Parts,
    original: &Original<B>,
    with: impl FnOnce(Sending<B>) -> C,
) -> Result<Response<Incoming>, Unanswered>
where
    B: Body<Data = Bytes> + Unpin,
    C: Body + 'static,
{
    let Some(body) = original.again() else { return Err(Unanswered::Broken) };
    let is_idempotent = head.method.is_idempotent();
    let before = written.count();
    let mut sender = sender.clone();
    let error = match sender.try_send_request(Request::from_parts(head, with(body))).await {
        Ok(answer) => {
            original.forget();
            return Ok(answer);
        }
        Err(error) => error,
    };
    // What never left the queue comes back.
    let is_unsent = error.message().is_some();
    let is_opened = is_idempotent || original.was_asked();
    if is_unsent || is_refused(error.error(), written.count() == before, is_opened) {
        Err(Unanswered::Unprocessed)
    } else {
        Err(Unanswered::Broken)
    }
}

/// Whether an error proves that nobody did anything with a request. `is_silent`: nothing was written since before it was sent.
/// `is_opened`: its stream was opened, or to do it twice does no harm.
fn is_refused(error: &hyper::Error, is_silent: bool, is_opened: bool) -> bool {
    let Some(cause) = error.source() else { return false };
    if cause.is::<io::Error>() {
        // The connection is over, and with it what waited to be written.
        return is_silent;
    }
    let Some(cause) = cause.downcast_ref::<h2::Error>().filter(|cause| cause.is_remote()) else {
        return false;
    };
    // A stream is told of a GOAWAY only where it is none that the server took. But whoever begins a stream at the very moment at which
    // one comes is told as well, of a stream that may be among those: then nobody asked for its body.
    cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM) || cause.is_go_away() && is_opened
}
