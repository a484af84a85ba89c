//! The client's side of an opened connection: takes requests until it, or the server, is done. Between requests it rests.

use super::body::Broken;
use super::request::Exchange;
use super::socket::{Cut, Stream};
use super::strict::{Quiet, Strict};
use crate::call::Ledger;
use crate::reason::{End, Reason};
use crate::tls::Speech;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::pin::{self, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Most fields of a request.
const MAX_FIELDS: usize = 128;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// Most bytes of an answer, or of a request, that wait on a stream of HTTP/2 for the other side to take them. There are as many
/// streams as that side likes, with whatever window.
pub(super) const MAX_WAITING: usize = 64 * 1024;
/// Requests that a client took back before they were looked at, after which it is a flood (CVE-2023-44487).
const MAX_RESETS: usize = 20;

/// What bounds and ends it.
pub(crate) struct Serving<'a> {
    /// How long the head of an HTTP/1 request may take.
    pub(crate) head_within: Duration,
    /// How long an HTTP/1 connection is not used before it rests.
    pub(crate) rest_after: Duration,
    /// How long no request is under way on an HTTP/2 connection before it is ended.
    pub(crate) http2_idle: Duration,
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
    let is_clean = how.is_clean;
    let closing = Closing { ledger: Arc::clone(&exchange.ledger), is_clean };
    let served = match speech {
        Speech::Unsaid | Speech::Http1 => Box::pin(one_by_one(client, &exchange, &how, &closing, last)).await,
        Speech::Http2 => Box::pin(at_once(client, &exchange, &how, &closing, last)).await,
    };
    let tunnel = exchange.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(tunnel) = tunnel else { return served };
    match Box::pin(tunnel.run(is_clean)).await {
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

impl Closing<'_> {
    fn close(&self, served: hyper::Result<()>) -> Outcome {
        let outcome = match served {
            Ok(()) => (End::Closed, None),
            // The parser answered it.
            Err(error) if error.is_parse_too_large() => (End::Cut, Some(Reason::HttpTooLarge)),
            Err(error) if error.is_parse() => (End::Cut, Some(Reason::HttpMalformed)),
            Err(_) => self.ledger.end_of_broken(),
        };
        let is_clean = matches!(
            outcome,
            (End::Closed, None) | (End::Cut, Some(Reason::HttpTooLarge | Reason::HttpMalformed))
        );
        self.is_clean.store(is_clean, Ordering::Relaxed);
        outcome
    }
}

/// HTTP/2. A connection that nobody uses for a while is ended in good order: to rest and go on, both sides would have to keep what
/// they agreed on, which is most of what it takes.
async fn at_once(
    client: impl Stream + 'static,
    exchange: &Arc<Exchange>,
    how: &Serving<'_>,
    closing: &Closing<'_>,
    last: impl Future<Output = ()>,
) -> Outcome {
    let mut builder = http2::Builder::new(exchange.tasks.clone());
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_send_buf_size(MAX_WAITING)
        .auto_date_header(false);
    let answering = Arc::clone(exchange);
    let service = service_fn(move |request| Box::pin(Arc::clone(&answering).answer(request)));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(client), service));
    tokio::select! {
        served = &mut connection => return closing.close(served),
        () = last => {
            connection.as_mut().graceful_shutdown();
            return closing.close(connection.as_mut().await);
        }
        () = unused(how.http2_idle, &exchange.ledger) => connection.as_mut().graceful_shutdown(),
    }
    // What was asked before its client heard of it is answered. Who does not answer is gone.
    tokio::select! {
        served = &mut connection => closing.close(served),
        () = unused(how.head_within, &exchange.ledger) => (End::Idle, None),
    }
}

/// HTTP/1. A connection that nobody uses for a while rests: of it and the server's only the sockets are kept.
async fn one_by_one(
    client: impl Stream + 'static,
    exchange: &Arc<Exchange>,
    how: &Serving<'_>,
    closing: &Closing<'_>,
    last: impl Future<Output = ()>,
) -> Outcome {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD).auto_date_header(false);
    // How long a head may take is bounded where it is read strictly: the parser's own bound would end connections that
    // only wait for their next request.
    builder.header_read_timeout(None);
    let quiet = Arc::new(Quiet::default());
    let mut io = Strict::new(client, how.head_within, how.cut, &quiet);
    let mut last = pin!(last);
    loop {
        let answering = Arc::clone(exchange);
        // hyper keeps the place of an answer between requests: only what is under way is to take its room.
        let service = service_fn(move |request| Box::pin(Arc::clone(&answering).answer(request)));
        let mut connection = Box::new(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
        tokio::select! {
            served = &mut connection => return closing.close(served),
            () = &mut last => {
                pin::Pin::new(&mut *connection).graceful_shutdown();
                let served = (&mut connection).await;
                return closing.close(served);
            }
            () = tires(how.rest_after, &quiet, &exchange.ledger) => {}
        }
        let Some(parts) = connection.into_parts() else { return closing.close(Ok(())) };
        let http1::Parts { io: rested, read_buf, .. } = parts;
        io = rested.into_inner();
        if !read_buf.is_empty() {
            // What is left of a request is for nobody, and where the next one begins is not known.
            return exchange.ledger.end_of_broken();
        }
        // It is the whole of the parser's buffer.
        drop(read_buf);
        if let Ok(upstream) = &exchange.upstream {
            upstream.rest();
        }
        let wakes = tokio::select! {
            wakes = io.wakes() => wakes,
            () = &mut last => Ok(false),
        };
        if !matches!(wakes, Ok(true)) {
            let outcome = match wakes {
                Ok(_) => closing.close(Ok(())),
                Err(_) => exchange.ledger.end_of_broken(),
            };
            // Its client may be gone already.
            let _gone = io.shutdown().await;
            return outcome;
        }
    }
}

/// Returns when no request was under way for as long.
pub(super) async fn unused(after: Duration, ledger: &Ledger) {
    loop {
        let (was_open, before) = (ledger.is_open(), ledger.begun());
        tokio::time::sleep(after).await;
        // One that was under way at the first look may have ended just now.
        if !was_open && ledger.begun() == before {
            return;
        }
    }
}

/// Returns when nobody used a connection for as long.
async fn tires(after: Duration, quiet: &Quiet, ledger: &Ledger) {
    loop {
        tokio::time::sleep(after).await;
        if quiet.lasts() && !ledger.is_open() {
            return;
        }
    }
}
