//! One request from its head to its answer.
//!
//! Its head says which route it takes; then it waits for its turn, goes to the endpoint that has the least to do, and its
//! answer streams back. Whatever it is stopped for, [`Stop`] says it, and its client hears it in the words of its service.

mod forward;
mod ids;
mod objects;
mod outward;

use crate::admission::{Full, Turn};
use crate::answer::Answer;
use crate::body::{Broken, Outgoing, Unread};
use crate::config::Live;
use crate::cors;
use crate::crowd::network;
use crate::definitions;
use crate::fields::{self, Asks};
use crate::filters;
use crate::judge::Judging;
use crate::policy::Held;
use crate::reason::Reason;
use crate::record::{Begin, End, Guard, micros};
use crate::refusal::{self, Caller};
use crate::server::{Shared, seconds};
use crate::session::Staying;
use crate::spend::Drawn;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, request};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::OnUpgrade;
use ids::Ids;
use inspect::operation::{Head, Reader};
use inspect::sieve::Prompt;
use policy::Known;
use routes::{Backend, Cors, Found, Matched, Rule, Why};
use rustls_pki_types::CertificateDer;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long, and how much of, the body of a refused request is thrown away, so that its client hears the refusal.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);
const DISCARD: usize = 256 * 1024;
/// Endpoints that are tried for one request.
pub(crate) const MAX_TRIED: usize = 3;
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

/// What a client said before TLS: listeners come and go while its connection stays, and this says at any time which one it has.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// `None`: it named no server.
    pub(crate) server_name: Option<Arc<str>>,
}

/// Who sends requests over a connection, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Of the Gateway.
    pub(crate) port: u16,
    /// `None`: it comes without TLS.
    pub(crate) tls: Option<Hello>,
    /// That it showed, its own first; whom they are by is not known.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
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
    /// The host that it names.
    host: &'a str,
    asks: Asks,
    head: request::Parts,
    /// Its target as it goes on.
    target: PathAndQuery,
}

/// What a request that may go on takes with it.
struct Passed {
    turn: Turn,
    drawn: Drawn,
    /// What its answer must not repeat.
    prompt: Prompt,
    ids: Ids,
}

/// Where a request goes.
struct Way<'a> {
    live: &'a Live,
    held: Arc<Held>,
    rule: &'a Rule,
    matched: Matched,
    backend: Option<&'a Backend>,
    /// How its client's requests stay with one endpoint; `None`: they do not.
    staying: Option<Staying<'a>>,
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
        let mut response = self.asked(request, asks).await;
        // What asked for a tunnel was the last that was read strictly.
        let is_last = asks != Asks::Nothing || self.shared.is_draining();
        if is_last && is_http1 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn asked(&self, request: Request<Incoming>, asks: Asks) -> Response<Answer> {
        let mut cors = None;
        let mut response = self.led(request, asks, &mut cors).await;
        if let Some((cors, asked)) = cors.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
            cors::allow(response.headers_mut(), &cors, asked.as_ref());
        }
        response
    }

    /// `cors`: what its route says of pages of other origins, and what one asks.
    async fn led(
        &self,
        mut request: Request<Incoming>,
        asks: Asks,
        cors: &mut Option<(Arc<Cors>, Option<cors::Asked>)>,
    ) -> Response<Answer> {
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
        let upgrade = (asks == Asks::WebSocket).then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        fields::strip_named(&mut head.headers);
        let will_continue = head.headers.contains_key(header::EXPECT);
        let found = self.found(&live, host.as_deref(), asks, &head, &mut guard);
        let of_route = found.as_ref().ok().and_then(|way| way.rule.filters.cors.clone());
        *cors = of_route.map(|cors| (cors, cors::Asked::of(&head)));
        let is_preflight =
            cors.as_ref().is_some_and(|(_, asked)| asked.as_ref().is_some_and(cors::Asked::is_preflight));
        let stop = match found {
            // Browsers ask so without saying who they are for.
            Ok(_) if is_preflight => return preflight(guard),
            Ok(way) if way.rule.filters.redirect.is_some() => {
                return redirected(host.as_deref().unwrap_or_default(), &head, &way, guard);
            }
            Ok(way) => {
                let host = host.as_deref().unwrap_or_default();
                let target = head.uri.path_and_query().cloned();
                let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
                let asking = Asking { host, asks, head, target };
                match self.go(asking, way, body, guard, upgrade).await {
                    Ok(response) => return response,
                    Err((stop, back)) => {
                        guard = back;
                        stop
                    }
                }
            }
            Err(stop) => {
                let told = operation(&head, self.client.port, None, None);
                guard.record.operation = told.so_far().clone();
                if !will_continue {
                    tokio::spawn(discard(body));
                }
                stop
            }
        };
        let was_sent = guard.record.reason == Reason::Allowed;
        let is_ours = matches!(
            stop.reason,
            Reason::LeakBlocked
                | Reason::Uninspected
                | Reason::PickerFailed
                | Reason::PickerRefused
                | Reason::PickerSheds
        );
        let end = if was_sent && !is_ours { End::ServerGone } else { End::Refused };
        guard.refused(stop.reason, stop.detail);
        guard.record.rule = stop.rule.or(guard.record.rule.take());
        (caller.retry_after, caller.headers) = (stop.retry_after, stop.headers);
        refusal::refuse(guard, &caller, end)
    }

    /// Judges a request and sends it on. The error gives its record back.
    async fn go(
        &self,
        mut asking: Asking<'_>,
        way: Way<'_>,
        body: Incoming,
        mut guard: Guard,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Answer>, (Stop, Guard)> {
        match rewritten(&way, &asking.target) {
            Some(target) => asking.target = target,
            None => return Err((Stop::because(Reason::NoBackend, "its rewritten path is none"), guard)),
        }
        let server =
            way.held.effective.asks_for_arguments().then(|| routes::read_host(asking.host)).flatten();
        let reader = operation(&asking.head, self.client.port, Some(&asking.target), server.as_deref());
        guard.record.operation = reader.so_far().clone();
        let mut body = Outgoing::new(body, reader, &asking.head.headers, &self.shared.hold, &guard.course);
        match self.judged(&mut asking, &way, &mut body, &mut guard).await {
            Ok(passed) => self.forward(asking, way, body, guard, (passed, upgrade)).await,
            Err(mut stop) => {
                if let Some(reason) = guard.course.aborted() {
                    stop = reason.into();
                }
                if !asking.head.headers.contains_key(header::EXPECT) {
                    tokio::spawn(discard(body.into_source()));
                }
                Err((stop, guard))
            }
        }
    }

    /// Finds out whether a request may go on.
    async fn judged(
        &self,
        asking: &mut Asking<'_>,
        way: &Way<'_>,
        body: &mut Outgoing,
        guard: &mut Guard,
    ) -> Result<Passed, Stop> {
        let judging = Judging { shared: &self.shared, client: &self.client, held: &way.held };
        let head = &asking.head;
        definitions::origin(&way.held, &head.headers)?;
        let consumer = judging.consumer(&head.headers).await?;
        guard.record.consumer = Some(consumer.name.to_string());
        let turn = match consumer.how {
            // All that is known of them is where they are.
            Known::Anonymous => self.turn(&network(self.client.address.ip()), guard).await?,
            Known::ApiKey | Known::Token(_) | Known::Certificate(_) => {
                self.turn(&consumer.name, guard).await?
            }
        };
        body.belongs_to(turn.consumer());
        if fields::is_bodiless(head.method.as_str()) && !body.is_empty().await? {
            // Of HTTP/1 the socket refuses it.
            let why = "it has a body, which servers may take for the next request: its method has none";
            return Err(Stop::because(Reason::HttpMalformed, why));
        }
        guard.record.operation = body.understand().await?;
        guard.rpc = body.rpc_ids(&guard.record.operation, &head.headers).await;
        let may = judging.may(&consumer, head, asking.target.path(), body, guard);
        // They are in no record, and need not be there as long as the request is.
        guard.record.operation.calls = Vec::new();
        body.forget_arguments();
        may?;
        if let Some(backend) = way.backend {
            let server = definitions::server(&backend.target);
            let there = (&*server, asking.target.path());
            let operation = &guard.record.operation;
            definitions::call(&way.held, &self.shared.pins, there, &consumer.name, operation)?;
        }
        let of = (&*way.held, &way.rule.route);
        let ids = self.own_ids(asking, of, &consumer, (&mut *body, &guard.record.operation)).await?;
        let head = &asking.head;
        let drawn = judging.draw(&consumer, (head, asking.asks), body, guard).await?;
        if asking.asks == Asks::WebSocket && judging.looks_inside() {
            let why = "its policy looks at what is said, and within a WebSocket nobody does";
            return Err(Stop::because(Reason::Uninspected, why));
        }
        judging.inspect(head, body, guard).await?;
        let prompt = judging.prompt(head, body, guard).await?;
        guard.record.reason = Reason::Allowed;
        Ok(Passed { turn, drawn, prompt, ids })
    }

    /// Finds the way of a request.
    fn found<'a>(
        &self,
        live: &'a Live,
        host: Option<&str>,
        asks: Asks,
        head: &request::Parts,
        guard: &mut Guard,
    ) -> Result<Way<'a>, Stop> {
        let host = host.ok_or(Reason::HttpHost)?;
        if asks == Asks::Tunnel {
            return Err(Reason::HttpTunnel.into());
        }
        let routing = live.routing();
        let named = match &self.client.tls {
            Some(hello) => hello.server_name.as_deref(),
            None => Some(host),
        };
        let listener = routing.listener_for(self.client.port, named).ok_or(Reason::NoListener)?;
        let gateway = &listener.gateway;
        guard.record.gateway = Some(format!("{}/{}/{}", gateway.namespace, gateway.name, listener.name));
        let fields = Fields(&head.headers);
        let (rule, matched) = match routing.find(listener.id, &asked(host, head, &fields)) {
            Found::Rule(rule, matched) => (rule, matched),
            Found::Nothing(why) => return Err(nothing(why)),
        };
        let route = &rule.route;
        guard.record.route = Some(format!(
            "{} {}/{} rule {} ({})",
            route.kind, route.namespace, route.name, rule.index, rule.position
        ));
        let held = live.held(listener.id, rule.id).ok_or(Reason::NoPolicy)?;
        let staying = Staying::of(rule, &self.shared.secret, &head.headers, seconds());
        let stays = staying.as_ref().and_then(|it| it.backend(&rule.backends, |to| live.endpoints(to)));
        let backend = stays.or_else(|| rule.pick(spread(self.shared.next_number())));
        let until = rule.timeouts.request.map(|request| Instant::now() + request);
        Ok(Way { live, held: Arc::clone(held), rule, matched, backend, staying, until })
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
}

/// The answer that leads elsewhere.
fn redirected(host: &str, head: &request::Parts, way: &Way<'_>, mut guard: Guard) -> Response<Answer> {
    let mut response = Response::new(());
    let listener = way.live.routing().listener(way.matched.listener);
    if let (Some(redirect), Some(listener)) = (&way.rule.filters.redirect, listener) {
        let fields = Fields(&head.headers);
        let location = redirect.location(listener, &asked(host, head, &fields), way.matched.prefix);
        *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    filters::change(response.headers_mut(), &way.rule.filters.response);
    guard.refused(Reason::Redirected, None);
    guard.answered(response.status().as_u16());
    guard.record.end = End::Closed;
    response.map(|()| Answer::own(Bytes::new(), guard))
}

/// The answer to a browser that asks whether it may ask; what it may is added.
fn preflight(mut guard: Guard) -> Response<Answer> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    guard.refused(Reason::Preflight, None);
    guard.answered(response.status().as_u16());
    guard.record.end = End::Closed;
    response.map(|()| Answer::own(Bytes::new(), guard))
}

/// Why no route was found.
fn nothing(why: Why) -> Stop {
    match why {
        Why::NoListener => Reason::NoListener.into(),
        Why::NoRule => Reason::NoRoute.into(),
        Why::Misdirected => Reason::Misdirected.into(),
        Why::BadHost => Reason::HttpHost.into(),
        Why::BadPath(fault) => Stop::because(Reason::TargetAmbiguous, fault.as_str()),
        Why::LongQuery => {
            Stop::because(Reason::TargetAmbiguous, "the query has more parameters than are looked at")
        }
    }
}

/// The target as it goes on. `None`: what it would become is none.
fn rewritten(way: &Way<'_>, target: &PathAndQuery) -> Option<PathAndQuery> {
    let own = way.backend.and_then(|backend| backend.filters.rewrite.as_ref());
    filters::target(own.or(way.rule.filters.rewrite.as_ref()), target, &way.matched)
}

/// Begins to read what a request does. `target`: the one that goes on, where that is known. `server`: by this name, where rules ask
/// what its tools are called with.
fn operation(
    head: &request::Parts,
    port: u16,
    target: Option<&PathAndQuery>,
    server: Option<&str>,
) -> Reader {
    let headers: Vec<(&str, &[u8])> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let target = target.or_else(|| head.uri.path_and_query());
    let head = Head {
        method: head.method.as_str(),
        host: "",
        port,
        target: target.map_or("/", PathAndQuery::as_str),
        headers: &headers,
    };
    Reader::of_server(&head, server)
}

/// Spreads a counter over all numbers, so that weights hold for every rule whatever others are asked in between
/// (the finalizer of SplitMix64).
pub(crate) fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A request as routing looks at it.
fn asked<'a>(host: &'a str, head: &'a request::Parts, headers: &'a Fields<'a>) -> routes::Asked<'a> {
    let (path, query) = (head.uri.path(), head.uri.query());
    routes::Asked { host, path, query, method: head.method.as_str(), headers }
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
