//! The client's side of an opened connection: takes requests until it, or the server, is done.

use super::body::Broken;
use super::request::Exchange;
use super::socket::{Cut, Stream};
use super::strict::Strict;
use crate::call::Ledger;
use crate::reason::{End, Reason};
use crate::tls::Speech;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Most fields of a request.
const MAX_FIELDS: usize = 128;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// Requests that a client took back before they were looked at, after which it is a flood (CVE-2023-44487).
const MAX_RESETS: usize = 20;

/// What bounds and ends it.
pub(crate) struct Serving<'a> {
    /// How long the head of an HTTP/1 request may take.
    pub(crate) head_within: Duration,
    pub(crate) cut: &'a Arc<Cut>,
    /// Set before the sockets go, where everything came to its end.
    pub(crate) is_clean: &'a AtomicBool,
}

/// Answers the requests of a client. `last` returns when no further ones are to be taken.
pub(crate) async fn serve(
    client: impl Stream + 'static,
    speech: Speech,
    exchange: Arc<Exchange>,
    how: Serving<'_>,
    last: impl Future<Output = ()>,
) -> Outcome {
    let Serving { head_within, cut, is_clean } = how;
    let answering = Arc::clone(&exchange);
    let closing = Closing { ledger: Arc::clone(&exchange.ledger), is_clean };
    // hyper keeps the place of an answer between requests: only what is under way is to take its room.
    let service = service_fn(move |request| Box::pin(Arc::clone(&answering).answer(request)));
    let served = match speech {
        Speech::Unsaid | Speech::Http1 => {
            let mut builder = http1::Builder::new();
            builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD).auto_date_header(false);
            // How long a head may take is bounded where it is read strictly: the parser's own bound would end
            // connections that only wait for their next request.
            builder.header_read_timeout(None);
            let io = TokioIo::new(Strict::new(client, head_within, cut));
            let connection = builder.serve_connection(io, service).with_upgrades();
            until_last(connection, http1::UpgradeableConnection::graceful_shutdown, closing, last).await
        }
        Speech::Http2 => {
            let mut builder = http2::Builder::new(exchange.tasks.clone());
            builder
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(MAX_RESETS)
                .auto_date_header(false);
            let connection = builder.serve_connection(TokioIo::new(client), service);
            until_last(connection, http2::Connection::graceful_shutdown, closing, last).await
        }
    };
    let tunnel = exchange.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(tunnel) = tunnel else { return served };
    match tunnel.run(is_clean).await {
        Ok(()) => (End::Closed, None),
        Err(Broken) => exchange.ledger.end_of_broken(),
    }
}

/// How a connection ended, and why it was cut or refused if it was.
pub(crate) type Outcome = (End, Option<Reason>);

/// What is to be known when HTTP is over, while its sockets are still there.
struct Closing<'a> {
    ledger: Arc<Ledger>,
    is_clean: &'a AtomicBool,
}

/// Drives a connection to its end; has it take no further requests once `last` returns.
async fn until_last<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    closing: Closing<'_>,
    last: impl Future<Output = ()>,
) -> Outcome {
    let (mut connection, mut last) = (pin!(connection), pin!(last));
    let served = tokio::select! {
        served = &mut connection => served,
        () = &mut last => {
            end(connection.as_mut());
            connection.as_mut().await
        }
    };
    let outcome = match served {
        Ok(()) => (End::Closed, None),
        // The parser answered it.
        Err(error) if error.is_parse_too_large() => (End::Cut, Some(Reason::HttpTooLarge)),
        Err(error) if error.is_parse() => (End::Cut, Some(Reason::HttpMalformed)),
        Err(_) => closing.ledger.end_of_broken(),
    };
    let is_clean = matches!(
        outcome,
        (End::Closed, None) | (End::Cut, Some(Reason::HttpTooLarge | Reason::HttpMalformed))
    );
    closing.is_clean.store(is_clean, Ordering::Relaxed);
    outcome
}
