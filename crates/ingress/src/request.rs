//! One request from its head to its answer.
//!
//! Its head says which route it takes; then it waits for its turn, goes to the endpoint that has the least to do, and its
//! answer streams back. Whatever it is stopped for, [`Stop`] says it, and its client hears it in the words of its service.

use crate::admission::{Full, Turn};
use crate::answer::{Answer, Patience};
use crate::body::{Broken, Outgoing, Unread};
use crate::config::Live;
use crate::fields::{self, Asks, Origin};
use crate::filters;
use crate::reason::Reason;
use crate::record::{Begin, End, Guard, micros};
use crate::refusal::{self, Caller};
use crate::server::Shared;
use crate::tunnel;
use crate::upstream::{Endpoint, Failed, Lease};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::OnUpgrade;
use inspect::answer::AnswerReader;
use inspect::operation::Head;
use routes::{Backend, Found, ListenerId, Matched, Rule, Target, Why};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Endpoints that are tried for one request.
const MAX_TRIED: usize = 3;
/// How long, and how much of, the body of a refused request is thrown away, so that its client hears the refusal.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);
const DISCARD: usize = 256 * 1024;
/// In how many seconds a client should try again where nobody knows.
const RETRY: u64 = 1;

/// Why a request does not go on.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: Reason,
    /// What it is about, for a person.
    pub(crate) detail: Option<String>,
    /// The rule that decided.
    pub(crate) rule: Option<String>,
    /// In how many seconds it may be tried again.
    pub(crate) retry_after: Option<u64>,
    /// Further fields of the answer.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None, rule: None, retry_after: None, headers: Vec::new() }
    }
}

impl Stop {
    pub(crate) fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..reason.into() }
    }
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Gone => Reason::Timeout.into(),
            Unread::TooLarge => Reason::BodyTooLarge.into(),
            Unread::Contradicted => Reason::RequestChanged.into(),
            Unread::NoRoom => Self { retry_after: Some(RETRY), ..Reason::Overloaded.into() },
        }
    }
}

/// Who sends requests over a connection, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Of the Gateway.
    pub(crate) port: u16,
    /// The listener that ended its TLS; `None`: there is none.
    pub(crate) tls: Option<ListenerId>,
    /// Counts its requests that are not over.
    pub(crate) active: Arc<()>,
}

/// What all requests of a connection share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Client,
}

/// A request that is on its way.
struct Asking<'a> {
    live: &'a Live,
    /// The host that it names.
    host: &'a str,
    asks: Asks,
    head: request::Parts,
    body: Outgoing,
}

/// A request that may go on.
struct Going<'a> {
    rule: &'a Rule,
    matched: Matched,
    turn: Turn,
    /// When its time is over, if its route says so.
    until: Option<Instant>,
}

impl Exchange {
    /// Answers a request. An error breaks the connection, or with HTTP/2 the stream.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Broken> {
        let asks = Asks::of(&request);
        let is_http1 = request.version() != Version::HTTP_2;
        let mut response = self.asked(request, asks).await?;
        // What asked for a tunnel was the last that was read strictly.
        let is_last = asks != Asks::Nothing || self.shared.is_draining();
        if is_last && is_http1 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn asked(&self, mut request: Request<Incoming>, asks: Asks) -> Result<Response<Answer>, Broken> {
        let live = self.shared.live();
        let host = fields::authority(&request);
        let begin = Begin {
            client: self.client.address,
            port: self.client.port,
            host: host.as_deref().unwrap_or_default(),
            method: request.method().as_str(),
            path: request.uri().path(),
        };
        let mut guard = Guard::new(&self.shared.sink, &begin, &self.client.active);
        let mut caller = Caller::of(request.headers());
        let will_continue = request.headers().contains_key(header::EXPECT);
        let upgrade = (asks == Asks::WebSocket).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let body = self.outgoing(&head, host.as_deref(), body, &guard);
        guard.record.operation = body.so_far().clone();
        let host = host.as_deref().ok_or(Reason::HttpHost);
        let mut asking = Asking { live: &live, host: host.unwrap_or_default(), asks, head, body };
        let going = match host {
            Ok(_) => self.judged(&mut asking, &mut guard).await,
            Err(reason) => Err(reason.into()),
        };
        let stop = match going {
            Ok(going) if going.rule.filters.redirect.is_some() => {
                return Ok(self.redirected(&asking, &going, guard));
            }
            Ok(going) => match self.forward(asking, going, guard, &caller, upgrade).await {
                Ok(response) => return Ok(response),
                Err((stop, back)) => {
                    guard = back;
                    stop
                }
            },
            Err(stop) => {
                if !will_continue {
                    tokio::spawn(discard(asking.body.into_source()));
                }
                stop
            }
        };
        let end = if guard.record.reason == Reason::Allowed { End::ServerGone } else { End::Refused };
        guard.refused(stop.reason, stop.detail);
        guard.record.rule = stop.rule.or(guard.record.rule.take());
        (caller.retry_after, caller.headers) = (stop.retry_after, stop.headers);
        Ok(refusal::refuse(guard, &caller, end))
    }

    /// Begins to read what a request does.
    fn outgoing(&self, head: &request::Parts, host: Option<&str>, body: Incoming, guard: &Guard) -> Outgoing {
        let headers: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let asked = Head {
            method: head.method.as_str(),
            host: host.unwrap_or_default(),
            port: self.client.port,
            target: head.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            headers: &headers,
        };
        Outgoing::new(body, &asked, &head.headers, &self.shared.hold, &guard.course)
    }

    /// Finds out whether a request may go on, and where to.
    async fn judged<'a>(&self, asking: &mut Asking<'a>, guard: &mut Guard) -> Result<Going<'a>, Stop> {
        if asking.asks == Asks::Tunnel {
            return Err(Reason::HttpTunnel.into());
        }
        let (rule, matched) = self.route(asking, guard)?;
        let until = rule.timeouts.request.map(|request| Instant::now() + request);
        let consumer = self.client.address.ip().to_string();
        let turn = self.turn(&consumer, guard).await?;
        guard.record.operation = asking.body.understand().await?;
        guard.record.reason = Reason::Allowed;
        Ok(Going { rule, matched, turn, until })
    }

    /// Finds the route of a request.
    fn route<'a>(&self, asking: &Asking<'a>, guard: &mut Guard) -> Result<(&'a Rule, Matched), Stop> {
        let routing = asking.live.routing();
        let listener = match self.client.tls {
            Some(listener) => routing.listener(listener),
            None => routing.listener_for(self.client.port, Some(asking.host)),
        };
        let listener = listener.ok_or(Reason::NoListener)?;
        let asked = routes::Asked {
            host: asking.host,
            path: asking.head.uri.path(),
            query: asking.head.uri.query(),
            method: asking.head.method.as_str(),
            headers: &Fields(&asking.head.headers),
        };
        let gateway = &listener.gateway;
        guard.record.gateway = Some(format!("{}/{}/{}", gateway.namespace, gateway.name, listener.name));
        match routing.find(listener.id, &asked) {
            Found::Rule(rule, matched) => {
                let route = &rule.route;
                guard.record.route = Some(format!(
                    "{} {}/{} rule {} ({})",
                    route.kind, route.namespace, route.name, rule.index, rule.position
                ));
                Ok((rule, matched))
            }
            Found::Nothing(why) => Err(match why {
                Why::NoListener => Reason::NoListener.into(),
                Why::NoRule => Reason::NoRoute.into(),
                Why::Misdirected => Reason::Misdirected.into(),
                Why::BadHost => Reason::HttpHost.into(),
                Why::BadPath(fault) => Stop::because(Reason::TargetAmbiguous, fault.as_str()),
                Why::LongQuery => {
                    Stop::because(Reason::TargetAmbiguous, "the query has more parameters than are looked at")
                }
            }),
        }
    }

    async fn turn(&self, consumer: &str, guard: &mut Guard) -> Result<Turn, Stop> {
        let began = Instant::now();
        let turn = self.shared.admission.enter(consumer).await;
        guard.record.waited_micros = micros(began.elapsed());
        turn.map_err(|full| {
            let reason = match full {
                Full::Everybody => Reason::Overloaded,
                Full::Consumer => Reason::TooManyWaiting,
            };
            Stop { retry_after: Some(RETRY), ..reason.into() }
        })
    }

    fn redirected(&self, asking: &Asking<'_>, going: &Going<'_>, mut guard: Guard) -> Response<Answer> {
        let mut response = Response::new(());
        let target = asking.head.uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let asked = filters::Asked {
            is_tls: self.client.tls.is_some(),
            port: self.client.port,
            host: asking.host,
            target: &target,
        };
        if let Some(redirect) = &going.rule.filters.redirect {
            let location = filters::location(redirect, &asked, &going.matched);
            *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
        }
        filters::change(response.headers_mut(), &going.rule.filters.response);
        guard.refused(Reason::Redirected, None);
        guard.answered(response.status().as_u16());
        guard.record.end = End::Closed;
        response.map(|()| Answer::own(Bytes::new(), guard))
    }

    /// Sends a request on. The error gives its record back.
    async fn forward(
        &self,
        asking: Asking<'_>,
        going: Going<'_>,
        mut guard: Guard,
        caller: &Caller,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Answer>, (Stop, Guard)> {
        let live = asking.live;
        let (backend, addresses, is_http2) = match self.backend(live, &going) {
            Ok(found) => found,
            Err(stop) => return Err((stop, guard)),
        };
        if is_http2 && upgrade.is_some() {
            return Err((Stop::because(Reason::HttpTunnel, "its backend speaks HTTP/2"), guard));
        }
        let request = match self.written(asking, &going, backend, is_http2, &guard) {
            Ok(request) => request,
            Err(stop) => return Err((stop, guard)),
        };
        let limits = &self.shared.limits;
        let within = going.rule.timeouts.backend_request.unwrap_or(limits.answer);
        let until = Instant::now() + within;
        let until = going.until.map_or(until, |last| last.min(until));
        let sending = self.send(request, addresses, is_http2, &mut guard);
        let sent = tokio::time::timeout_at(until, sending).await;
        let aborted = guard.course.aborted();
        let (answer, lease) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(reason)) => return Err((aborted.unwrap_or(reason).into(), guard)),
            Err(_) => return Err((Reason::ServerTimeout.into(), guard)),
        };
        let held = (lease, going.turn);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade else { return Err((Reason::ServerBroke.into(), guard)) };
            return Ok(tunnel::agreed(upgrade, answer, guard, held, limits.answer_piece));
        }
        let (mut head, body) = answer.into_parts();
        fields::strip(&mut head.headers);
        head.extensions.clear();
        filters::change(&mut head.headers, &going.rule.filters.response);
        filters::change(&mut head.headers, &backend.filters.response);
        if let Ok(id) = HeaderValue::from_str(&guard.record.request_id) {
            head.headers.insert("x-request-id", id);
        }
        guard.answered(head.status.as_u16());
        let fields: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let reader = AnswerReader::new(&guard.record.operation, &fields);
        let _ = caller;
        let patience = Patience { piece: limits.answer_piece, until: going.until };
        let body = Answer::of_server(body, guard, reader, held, patience);
        Ok(Response::from_parts(head, body))
    }

    /// Who answers.
    fn backend<'a>(
        &self,
        live: &'a Live,
        going: &Going<'a>,
    ) -> Result<(&'a Backend, &'a [SocketAddr], bool), Stop> {
        if going
            .rule
            .filters
            .mirrors
            .iter()
            .chain(going.rule.backends.iter().flat_map(|backend| &backend.filters.mirrors))
            .next()
            .is_some()
        {
            return Err(Stop::because(
                Reason::NoBackend,
                "its route has a RequestMirror, which is not served",
            ));
        }
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let backend = going.rule.pick(spread(number)).ok_or(Reason::NoBackend)?;
        let is_http2 = match &backend.target {
            Target::Service { is_h2, .. } => *is_h2,
            Target::Pool { .. } => false,
            Target::Nobody(fault) => {
                return Err(Stop::because(Reason::NoBackend, format!("{fault:?}")));
            }
        };
        let addresses = live.endpoints(&backend.target);
        if addresses.is_empty() {
            return Err(Stop { retry_after: Some(RETRY), ..Reason::NoEndpoint.into() });
        }
        Ok((backend, addresses, is_http2))
    }

    /// The request as it goes on.
    fn written(
        &self,
        asking: Asking<'_>,
        going: &Going<'_>,
        backend: &Backend,
        is_http2: bool,
        guard: &Guard,
    ) -> Result<Request<Outgoing>, Stop> {
        let Asking { host, asks, mut head, body, .. } = asking;
        let origin = Origin {
            client: self.client.address.ip(),
            is_tls: self.client.tls.is_some(),
            host,
            request_id: &guard.record.request_id,
        };
        fields::forwarded(&mut head.headers, asks, &origin);
        let filters = [&going.rule.filters, &backend.filters];
        filters.iter().for_each(|filters| filters::change(&mut head.headers, &filters.request));
        let rewrite = backend.filters.rewrite.as_ref().or(going.rule.filters.rewrite.as_ref());
        let asked = head.uri.path_and_query().cloned().ok_or(Reason::HttpMalformed)?;
        let target = filters::target(rewrite, &asked, &going.matched);
        let target = target.ok_or_else(|| Stop::because(Reason::NoBackend, "its rewritten path is none"))?;
        let host = rewrite.and_then(|rewrite| rewrite.host.as_deref()).unwrap_or(host);
        head.extensions = http::Extensions::new();
        if is_http2 {
            head.version = Version::HTTP_2;
            let uri = Uri::builder().scheme("http").authority(host).path_and_query(target);
            head.uri = uri.build().map_err(|_| Reason::HttpHost)?;
        } else {
            head.version = Version::HTTP_11;
            head.uri = Uri::from(target);
            let host = HeaderValue::from_str(host).map_err(|_| Reason::HttpHost)?;
            head.headers.insert(header::HOST, host);
        }
        Ok(Request::from_parts(head, body))
    }

    /// Asks endpoints until one answers, or may have seen something of the request.
    async fn send(
        &self,
        request: Request<Outgoing>,
        addresses: &[SocketAddr],
        is_http2: bool,
        guard: &mut Guard,
    ) -> Result<(Response<Incoming>, Lease), Reason> {
        let mut tried = Vec::new();
        let mut request = request;
        let pick = |tried: &[SocketAddr]| self.shared.pool.pick(addresses, is_http2, tried);
        while let Some(endpoint) = pick(&tried).filter(|_| tried.len() < MAX_TRIED) {
            tried.push(endpoint.address);
            guard.record.upstream = Some(endpoint.address);
            let mut lease = Endpoint::lease(&endpoint);
            match lease.send(request, self.shared.limits.connect).await {
                Ok(answer) => return Ok((answer, lease)),
                Err(Failed::Broke) => return Err(Reason::ServerBroke),
                Err(Failed::Unreachable(unsent)) => request = *unsent,
            }
        }
        Err(Reason::ServerUnreachable)
    }
}

/// Spreads a counter over all numbers, so that weights hold for every rule whatever others are asked in between
/// (the finalizer of SplitMix64).
fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Fields as routing looks at them.
struct Fields<'a>(&'a HeaderMap);

impl routes::Headers for Fields<'_> {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.get_all(name).iter().for_each(|value| see(value.as_bytes()));
    }
}

/// Reads a body that nobody wants, for a while.
async fn discard(mut body: Incoming) {
    use hyper::body::Body;
    let mut left = DISCARD;
    let read = async {
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Who does not stop is cut.
    let _late = timeout(DISCARD_PATIENCE, read).await;
}
