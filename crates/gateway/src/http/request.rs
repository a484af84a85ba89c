//! One request from its head to its answer.
//!
//! Its host must be the one of the connection; its head, as it would go on, and as much of its body as it takes, say what it
//! does; the policy of this moment says whether it may; then it streams to the server, and the answer back.

use super::answer::Answer;
use super::body::{Broken, Outgoing, Unclear};
use super::drawing::{Drawn, draw};
use super::echoing::Echoing;
use super::fields::{self, Asks};
use super::hold::{Full, Share};
use super::injecting::{Way, inject};
use super::joining::Joining;
use super::leading;
use super::naming::Naming;
use super::reading::{Reading, decoder_within};
use super::refusal;
use super::rewriting::{self, Rewriting};
use super::searching::{self, Part, Searching, search_head};
use super::tally::Tally;
use super::tasks::Tasks;
use super::trimming::Trimming;
use super::tunnel::Tunnel;
use super::upstream::{Silent, Upstream};
use super::watching;
use crate::call::{Asked, CallGuard, Caller, Ledger};
use crate::counters::Counters;
use crate::decide::{Claim, Judge, Opening};
use crate::edges::Edges;
use crate::files::Files;
use crate::keys::Injected;
use crate::parts::{Stands, Uploads};
use crate::reason::{End, Reason};
use crate::record::Sink;
use crate::referrals::{Referrals, Tenant, Url};
use crate::requests::Demands;
use ::inspect::operation::Head;
use ::inspect::refusal::{RpcIds, rpc_ids};
use http::header::{self, HeaderValue};
use http::uri::{Parts, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use policy::{AnswerFiles, DnsName, Operation, Verdict};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a client has to send as much of a body as it takes to know what the request does.
pub(super) const HOLD_PATIENCE: Duration = Duration::from_secs(60);
/// How long, and how much of, the body of a refused request is thrown away, so that its client hears the refusal.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);
const DISCARD: usize = 256 * 1024;
/// Fields by which a server copies what is in a part from elsewhere.
const COPIES: [&str; 3] = ["x-amz-copy-source", "x-goog-copy-source", "x-ms-copy-source"];
/// Largest body of a refused message of JSON-RPC that is read for the ids of its requests.
const MAX_RPC: usize = 64 * 1024;

/// What all requests of a connection share.
pub(crate) struct Exchange {
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) hold: Share,
    pub(crate) referrals: Arc<Referrals>,
    pub(crate) grants: Arc<Referrals>,
    pub(crate) files: Arc<Files>,
    pub(crate) edges: Arc<Edges>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) tasks: Tasks,
    /// Where the connection comes from, and the id in the certificate of who came by itself.
    pub(crate) from: (SocketAddr, Option<Arc<str>>),
    pub(crate) opening: Opening,
    /// To whom what its answers name is named.
    pub(crate) tenant: Tenant,
    /// For whom the connection was opened.
    pub(crate) name: DnsName,
    /// The way to the server, or why there is none.
    pub(crate) upstream: Result<Upstream, Reason>,
    /// Whether the server answered once.
    pub(crate) is_answered: AtomicBool,
    pub(crate) ledger: Arc<Ledger>,
    /// What the connection becomes when HTTP is over.
    pub(crate) tunnel: Mutex<Option<Tunnel>>,
    /// The next request may be for another server.
    pub(crate) is_single: bool,
    /// It came by the explicit proxy.
    pub(crate) explicit: bool,
}

impl Exchange {
    /// Answers a request. An error breaks the connection, or with HTTP/2 the stream. Boxed: whoever writes the answer moves it about,
    /// and may keep its place for the next.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Box<Answer>>, Broken> {
        let is_http2 = request.version() == Version::HTTP_2;
        let asks = Asks::of(&request);
        let answered = self.asked(request, asks).await;
        answered.map(|mut response| {
            // What asked for a tunnel was the last that was read strictly; and without a server there is no next.
            let is_last = asks != Asks::Nothing || self.upstream.is_err() || self.is_single;
            if is_last && !is_http2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response.map(Box::new)
        })
    }

    async fn asked(&self, mut request: Request<Incoming>, asks: Asks) -> Result<Response<Answer>, Broken> {
        let (pod, asked_by) = self.from.clone();
        let asked = Asked {
            pod,
            asked_by,
            destination: self.opening.destination,
            name: &self.name,
            method: request.method().as_str(),
            path: request.uri().path(),
            caller: Caller::of(request.headers()),
            explicit: self.explicit,
        };
        let (sink, counters) = (Arc::clone(&self.sink), Arc::clone(&self.counters));
        let mut guard = CallGuard::new(sink, counters, Arc::clone(&self.ledger), asked);
        let will_continue = request.headers().contains_key(header::EXPECT);
        let client = (asks == Asks::WebSocket).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let (upstream, mut head) = match self.ready(head, asks) {
            Ok(ready) => ready,
            Err(reason) => {
                guard.refused(reason);
                return Ok(self.refuse(guard, body, will_continue));
            }
        };
        let may_be_granted = body.is_end_stream() && asks == Asks::Nothing && self.is_verified();
        let outgoing = Outgoing::new(body, self.reading(&head), &guard.course, &self.hold);
        let mut outgoing = outgoing.with_trailers(upstream.is_http2() && is_grpc(&guard.caller));
        let understood = tokio::time::timeout(HOLD_PATIENCE, outgoing.understand()).await;
        let led = Led {
            referred: self.is_named(&self.referrals, &head),
            granted: may_be_granted && self.is_named(&self.grants, &head),
        };
        let judged = self.judged(understood.unwrap_or(Err(Unclear::TooSlow)), led, &mut guard)?;
        let met = match judged {
            Ok(mut demands) => {
                let (answers, redirects) = (demands.answers, demands.redirects);
                let key = demands.inject.as_ref().and_then(|inject| inject.held.as_ref());
                let echoing = key.and_then(Echoing::of);
                let met = self.met(&demands, &mut head, asks, &mut outgoing, &mut guard).await?;
                if let Some(keep) = demands.capture.take() {
                    guard.course.contents.asked(keep, &head.headers, &self.hold);
                }
                match met.and_then(|()| self.injected(&demands, &mut head, &guard)) {
                    Ok(injected) => {
                        let drawn = draw(demands, asks, &mut head, &mut outgoing, &mut guard).await?;
                        // What does not go on leaves with no key.
                        if drawn.is_ok() {
                            guard.injected(injected);
                        }
                        drawn
                    }
                    Err(reason) => Err(reason),
                }
                .map(|drawn| Owed { drawn, answers, redirects, echoing })
            }
            Err(reason) => Err(reason),
        };
        let owed = match met {
            Ok(owed) => owed,
            Err(reason) => {
                guard.refused(reason);
                if is_rpc(&guard.so_far().operation) {
                    guard.caller.rpc = asked_ids(&mut outgoing, &head.headers, will_continue).await;
                }
                return Ok(self.refuse(guard, outgoing.into_rest(), will_continue));
            }
        };
        self.forward(upstream, Request::from_parts(head, outgoing), client, guard, owed).await
    }

    /// The request as it would go on, and the way to the server; or why it does not.
    fn ready(&self, head: request::Parts, asks: Asks) -> Result<(&Upstream, request::Parts), Reason> {
        let upstream = self.upstream.as_ref().map_err(|reason| *reason)?;
        if asks == Asks::Tunnel {
            return Err(Reason::HttpTunnel);
        }
        let request = Request::from_parts(head, ());
        let authority = fields::authority(&request).ok_or(Reason::HttpHost)?;
        if !fields::is_for(&authority, &self.name, self.opening.destination.port()) {
            return Err(Reason::HostMismatch);
        }
        let (mut head, ()) = request.into_parts();
        let path = head.uri.path_and_query().cloned().ok_or(Reason::HttpMalformed)?;
        let version = if upstream.is_http2() { Version::HTTP_2 } else { Version::HTTP_11 };
        fields::strip_request(&mut head.headers, asks, head.version);
        if self.is_single {
            // For the proxy, not for the server.
            head.headers.remove(header::PROXY_AUTHORIZATION);
        }
        head.version = version;
        head.extensions = http::Extensions::new();
        if upstream.is_http2() {
            let is_tls = matches!(self.opening.claim, Claim::Tls(_));
            head.uri = absolute(if is_tls { Scheme::HTTPS } else { Scheme::HTTP }, &authority, path)?;
        } else {
            head.uri = Uri::from(path);
            let host = HeaderValue::from_str(&authority).map_err(|_| Reason::HttpHost)?;
            head.headers.insert(header::HOST, host);
        }
        Ok((upstream, head))
    }

    /// Begins to read what a request does.
    fn reading(&self, head: &request::Parts) -> Reading {
        let headers: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let asked = Head {
            method: head.method.as_str(),
            host: self.name.as_str(),
            port: self.opening.destination.port(),
            target: head.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            headers: &headers,
        };
        Reading::new(&asked, &head.headers, self.judge.wants_arguments(self.opening.pod), &self.hold)
    }

    /// Judges what a request does. The error within says why it does not go on; the one without, that its client went.
    fn judged(
        &self,
        understood: Result<Option<Operation>, Unclear>,
        led: Led,
        guard: &mut CallGuard,
    ) -> Result<Result<Demands, Reason>, Broken> {
        let mut operation = match understood {
            Ok(Some(operation)) => operation,
            Ok(None) => Operation::unknown("its body is in a form that is not read"),
            Err(Unclear::Gone) => {
                guard.ended(End::PodGone);
                return Err(Broken);
            }
            Err(Unclear::TooLarge) => return Ok(Err(Reason::RequestTooLarge)),
            Err(Unclear::Full) => return Ok(Err(Reason::TooMuchHeld)),
            Err(Unclear::TooSlow) => return Ok(Err(Reason::Timeout)),
            Err(Unclear::Contradicted(operation)) => {
                guard.understood(*operation);
                return Ok(Err(Reason::RequestChanged));
            }
        };
        (operation.referred, operation.granted) = (led.referred, led.granted);
        let judgement = self.judge.judge_request(&self.opening, &operation);
        guard.understood(operation);
        guard.judged(&judgement);
        Ok(match judgement.reason.verdict() {
            Verdict::Allow => Ok(judgement.demands),
            Verdict::Deny => Err(judgement.reason),
        })
    }

    /// Has a request leave with the key that the rule that allows it has, if it has one, and with no other.
    fn injected(
        &self,
        demands: &Demands,
        head: &mut request::Parts,
        guard: &CallGuard,
    ) -> Result<Option<Injected>, Reason> {
        let Some(injecting) = &demands.inject else { return Ok(None) };
        // Without a verified server there is none to send to.
        let way = Way { is_verified: self.is_verified(), name: &self.name };
        inject(injecting, way, &guard.so_far().operation, head).map(Some)
    }

    fn url(&self, uri: &Uri) -> Url {
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        Url { host: self.name.as_str().to_owned(), port: self.opening.destination.port(), target }
    }

    /// Whether an answer named what is asked for. To write there, no answer gives leave.
    fn is_named(&self, named: &Referrals, head: &request::Parts) -> bool {
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        is_read && named.is_named(self.tenant, &self.url(&head.uri), Instant::now())
    }

    /// Whether the server proved its name.
    fn is_verified(&self) -> bool {
        matches!(self.opening.claim, Claim::Tls(_))
    }

    /// Has a request searched and changed as the rule that allows it demands. The errors are as those of [`Self::judged`].
    async fn met(
        &self,
        demands: &Demands,
        head: &mut request::Parts,
        asks: Asks,
        outgoing: &mut Outgoing,
        guard: &mut CallGuard,
    ) -> Result<Result<(), Reason>, Broken> {
        let is_blocking = demands.search.as_ref().is_some_and(|search| search.blocks());
        if asks == Asks::WebSocket && is_blocking {
            return Ok(Err(Reason::LeakUnread));
        }
        let rewriting = Rewriting::of(demands, head, &guard.so_far().operation);
        let may_mask = rewriting.as_ref().is_some_and(Rewriting::masks);
        if let Err(reason) = self.searched(demands, head, outgoing, guard, may_mask).await? {
            return Ok(Err(reason));
        }
        let Some(rewriting) = rewriting else { return Ok(Ok(())) };
        let held = tokio::time::timeout(HOLD_PATIENCE, outgoing.hold_all()).await;
        match held.unwrap_or(Err(Unclear::TooSlow)) {
            Ok(()) => {}
            Err(Unclear::Gone) => {
                guard.ended(End::PodGone);
                return Err(Broken);
            }
            // Without masks nothing has to be changed.
            Err(Unclear::TooLarge | Unclear::Full) if !may_mask => return Ok(Ok(())),
            Err(Unclear::TooLarge) => return Ok(Err(Reason::RequestTooLarge)),
            Err(Unclear::Full) => return Ok(Err(Reason::TooMuchHeld)),
            Err(Unclear::TooSlow | Unclear::Contradicted(_)) => return Ok(Err(Reason::Timeout)),
        }
        Ok(outgoing.stops().map_or_else(|| self.rewritten(&rewriting, head, outgoing, guard), Err))
    }

    /// Changes a body that is held. What goes on is read again, and must do the same.
    fn rewritten(
        &self,
        rewriting: &Rewriting,
        head: &mut request::Parts,
        outgoing: &mut Outgoing,
        guard: &mut CallGuard,
    ) -> Result<(), Reason> {
        let operation = outgoing.operation();
        let is_stream = operation.as_ref().is_some_and(|operation| operation.stream);
        if !rewriting.is_needed(outgoing.searching(), is_stream) {
            return Ok(());
        }
        let has_masked = outgoing.searching().is_some_and(Searching::has_masked);
        let unchanged = |guard: &CallGuard| {
            if has_masked { Err(rewriting::unmasked(&guard.course)) } else { Ok(()) }
        };
        let Some(body) = outgoing.decoded(&head.headers) else { return unchanged(guard) };
        let made = rewriting.apply(&body, outgoing.searching(), is_stream, &guard.course)?;
        let Some(made) = made else { return Ok(()) };
        let fields = head.headers.clone();
        head.headers.remove(header::CONTENT_ENCODING);
        let mut reading = self.reading(head);
        reading.push(&made.body);
        reading.end();
        reading.forget_arguments();
        if reading.operation() != operation || operation.is_none() {
            head.headers = fields;
            return unchanged(guard);
        }
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(made.body.len()));
        outgoing.replace(made.body, reading).map_err(Full::reason)?;
        guard.course.masked(made.masked);
        if made.asks_usage {
            guard.asked_usage();
        }
        Ok(())
    }

    /// Has a request searched for what the rule that allows it looks for. The errors are as those of [`Self::judged`].
    async fn searched(
        &self,
        demands: &Demands,
        head: &request::Parts,
        outgoing: &mut Outgoing,
        guard: &mut CallGuard,
        may_mask: bool,
    ) -> Result<Result<(), Reason>, Broken> {
        let Some(search) = &demands.search else { return Ok(Ok(())) };
        let searching = search_head(search, head).and_then(|facts| {
            let stops = searching::stops(search, &facts);
            guard.leaked(facts);
            if let Some(reason) = stops {
                return Err(reason);
            }
            let searching = Searching::new(search, &head.headers, &guard.course, may_mask, &self.hold)?;
            Ok(self.beside_others(searching, head, guard))
        });
        match searching {
            Ok(searching) => outgoing.search(searching),
            Err(reason) => return Ok(Err(reason)),
        }
        match tokio::time::timeout(HOLD_PATIENCE, outgoing.search_first()).await {
            Err(_) => Ok(Err(Reason::Timeout)),
            Ok(Err(_)) => {
                guard.ended(End::PodGone);
                Err(Broken)
            }
            Ok(Ok(())) => Ok(outgoing.stops().map_or(Ok(()), Err)),
        }
    }

    /// Has what stands across the edges of a part of an upload searched as well, and across all of them where they are put
    /// together.
    fn beside_others(&self, searching: Searching, head: &request::Parts, guard: &CallGuard) -> Searching {
        let (pod, host) = (self.opening.pod, self.name.as_str());
        let place = self.edges.place(pod, host, &head.method, &head.uri, &head.headers);
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let is_copy = COPIES.iter().any(|name| head.headers.contains_key(*name));
        let method = head.method.as_str();
        let stands = self.uploads.stands((pod, host), method, target, is_copy, Instant::now());
        let (piece, joining) = match stands {
            Some(Stands::Part(piece)) => (Some(piece), None),
            Some(Stands::List(upload, kind)) => (None, Some(Joining::new(&self.uploads, upload, kind))),
            None => (None, None),
        };
        if let Some(piece) = piece.filter(|piece| piece.is_untold()) {
            // A request is one part.
            let _first = guard.course.piece.set(piece);
        }
        let place = place.map(|place| (Arc::clone(&self.edges), place));
        let piece = piece.map(|piece| (Arc::clone(&self.uploads), piece));
        searching.part(Part::of(place, piece, &head.headers)).joining(joining)
    }

    async fn forward(
        &self,
        upstream: &Upstream,
        request: Request<Outgoing>,
        client: Option<OnUpgrade>,
        mut guard: CallGuard,
        mut owed: Owed,
    ) -> Result<Response<Answer>, Broken> {
        let asked = leading::Asked {
            referrals: Arc::clone(&self.referrals),
            pod: self.tenant,
            url: self.url(request.uri()),
            is_tls: self.is_verified(),
            grants: owed.redirects.map(|lifetime| (Arc::clone(&self.grants), lifetime)),
        };
        let method = request.method().clone();
        owed.drawn.sent();
        let mut answer = match upstream.send(request, client.is_some(), &self.hold).await {
            Ok(answer) => answer,
            Err(silent) => {
                owed.drawn.unanswered();
                return self.unanswered(silent, guard);
            }
        };
        if let Some(echoing) = &owed.echoing {
            echoing.hide_in(answer.headers_mut());
        }
        self.is_answered.store(true, Ordering::Relaxed);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = client else { return self.unanswered(Silent::Broken, guard) };
            let (tunnel, response) = Tunnel::agreed(client, answer, guard);
            *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
            return Ok(response);
        }
        guard.answered(answer.status().as_u16());
        let (mut head, body) = answer.into_parts();
        let closes = !upstream.is_http2() && fields::closes(&head.headers);
        fields::strip(&mut head.headers);
        if closes {
            // The next request would find no server.
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        head.extensions = http::Extensions::new();
        let operation = &guard.so_far().operation;
        let watched = watching::watch(owed.answers, &self.files, &asked, &method, operation, &head).await;
        let watching = match watched {
            Ok(watching) => watching,
            Err((reason, facts)) => {
                guard.watched(&facts);
                guard.refused(reason);
                return Ok(refusal::refuse(guard));
            }
        };
        let tally = Tally::of(&guard.so_far().operation, &head, owed.drawn, &self.hold);
        let naming = guard.course.piece.get();
        let naming = naming.and_then(|piece| Naming::new(&self.uploads, *piece, &head.headers, &self.hold));
        let leading = leading::follow(&guard.so_far().operation, asked, &head, &self.hold);
        guard.course.contents.answered(&head.headers, &self.hold);
        let trimming = if guard.so_far().usage_asked { Trimming::of(&head) } else { None };
        if trimming.is_some() {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let body =
            Answer::of_server(body, &head, guard, tally).leading(leading).naming(naming).trimming(trimming);
        let body = body.echoing(owed.echoing);
        let body = body.watched(watching);
        Ok(Response::from_parts(head, body))
    }

    /// The server is not there, broke off, or was made to. A client whose connection was used before takes its end for what it is,
    /// and may try again.
    fn unanswered(&self, silent: Silent, mut guard: CallGuard) -> Result<Response<Answer>, Broken> {
        let unreached = match silent {
            Silent::Unreached(reason) => Some(reason),
            Silent::Broken => None,
        };
        if let Some(reason) = guard.course.aborted().or(unreached) {
            guard.refused(reason);
            return Ok(refusal::refuse(guard));
        }
        if !self.is_answered.load(Ordering::Relaxed) {
            return Ok(refusal::failed(guard));
        }
        guard.ended(End::ServerGone);
        Err(Broken)
    }

    /// Refuses a request whose body was not read to its end. To read it asks a client that waits for leave to send it.
    fn refuse(&self, guard: CallGuard, rest: Incoming, will_continue: bool) -> Response<Answer> {
        if !rest.is_end_stream() && !will_continue {
            self.tasks.spawn(discard(rest));
        }
        refusal::refuse(guard)
    }
}

/// What a rule demands of a request once it has gone on.
struct Owed {
    drawn: Drawn,
    answers: AnswerFiles,
    /// For how long what its answer leads to is granted.
    redirects: Option<Duration>,
    /// Hides the key that it leaves with in its answer.
    echoing: Option<Echoing>,
}

/// Whether answers led to a request.
#[derive(Clone, Copy)]
struct Led {
    referred: bool,
    granted: bool,
}

/// A target that names its server.
fn absolute(scheme: Scheme, authority: &str, path: PathAndQuery) -> Result<Uri, Reason> {
    let mut parts = Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority.parse().map_err(|_| Reason::HttpHost)?);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Reason::HttpMalformed)
}

fn is_grpc(caller: &Caller) -> bool {
    caller.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn is_rpc(operation: &Operation) -> bool {
    matches!(operation.provider.as_deref(), Some("mcp" | "a2a"))
}

/// The ids of the requests that a refused body of JSON-RPC has, so far as it comes in time.
async fn asked_ids(outgoing: &mut Outgoing, fields: &HeaderMap, will_continue: bool) -> RpcIds {
    let patience = if will_continue { Duration::ZERO } else { DISCARD_PATIENCE };
    let whole = tokio::time::timeout(patience, outgoing.whole(MAX_RPC)).await;
    let (Ok(Some(body)), Some(mut decoder)) = (whole, decoder_within(fields, MAX_RPC as u64)) else {
        return RpcIds::default();
    };
    let mut plain = Vec::new();
    let read = decoder.push(&body, &mut plain);
    read.map_or_else(|_| RpcIds::default(), |()| rpc_ids(&plain))
}

/// Throws away what a client still sends.
async fn discard(mut body: Incoming) {
    let mut left = DISCARD;
    let all = async {
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
            if left == 0 {
                return;
            }
        }
    };
    // Who takes longer has its connection closed.
    let _closed = tokio::time::timeout(DISCARD_PATIENCE, all).await;
}
