//! One request: is it meant for here, who asks, may they, and what is answered.
//!
//! Guarantees: nobody who is not recognised learns more than that; a page of another site can neither read (no CORS, names
//! of hosts are checked against DNS rebinding) nor change anything (cookies are SameSite, and need a header besides); every
//! answer has a number and headers that keep browsers from doing more with it than showing it.

use crate::body::AnswerBody;
use crate::cookie::SESSION;
use crate::handle::{Asked, Known, Reply};
use crate::problem::Problem;
use crate::query::Query;
use crate::readers::{Readers, aside};
use crate::route::{BASE, Handle, Led, Route, lead};
use crate::seam::Assets;
use crate::session::{Sessions, Wrongs};
use crate::shape::Done;
use crate::shape::incident::{LogIn, LogInBy, Me};
use crate::sign_on::SignOn;
use crate::stream;
use crate::who::{Authenticate, NotRecognised, Role, Who};
use feed::room::Seat;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use ledger::BoundedStore;
use observe::Time;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, watch};

/// Longest body of a request.
const BODY_BYTES: usize = 64 << 10;
/// How long a body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// What a page of ours sends with what changes something; a page of others cannot without CORS.
const CSRF: &str = "x-cofferdam-csrf";
/// Over TLS: for a year a browser comes back by TLS only.
const HSTS: &str = "max-age=31536000";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Of all answers.
static HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];
/// Of those of the API.
static API_HEADERS: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) routes: Vec<Route>,
    pub(crate) known: Arc<Known>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) sessions: Sessions,
    pub(crate) wrongs: Wrongs,
    pub(crate) sign_on: Option<SignOn>,
    /// Names that it may be asked by, besides addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// Whether this is served over TLS: browsers are to send cookies, and to come back, only so.
    pub(crate) has_tls: bool,
    pub(crate) assets: Box<Assets>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) newest: watch::Receiver<i64>,
    /// Of this process, so that numbers of requests of several do not meet.
    pub(crate) started: u64,
    pub(crate) requests: AtomicU64,
}

/// By what somebody who is told something for long is recognised again.
pub(crate) enum Badge {
    /// Of a program; not kept anywhere else.
    Token(String),
    /// The name of a log-in.
    Session(String),
}

/// Somebody, and by what they were recognised.
struct Recognised {
    who: Who,
    by_cookie: bool,
}

impl Shared {
    /// Answers.
    pub(crate) async fn answer(
        self: Arc<Self>,
        seat: &Seat,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:x}-{number:x}", self.started);
        let is_api = is_below(request.uri().path(), "/api");
        let mut response = match self.handle(seat, request).await {
            Ok(response) => response,
            Err(problem) => refusal(&problem, &id),
        };
        let headers = response.headers_mut();
        let all = HEADERS.iter().chain(if is_api { &API_HEADERS[..] } else { &[] });
        for (name, value) in all {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if self.has_tls {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
        }
        headers.extend(HeaderValue::from_str(&id).ok().map(|id| (REQUEST_ID, id)));
        response
    }

    async fn handle(
        self: &Arc<Self>,
        seat: &Seat,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Problem> {
        self.check_host(&request)?;
        let from = seat.from();
        let path = request.uri().path();
        let Some(path) = path.strip_prefix(BASE).filter(|rest| rest.starts_with('/')) else {
            return self.asset(&request);
        };
        let Led { routes, words } = lead(&self.routes, path)?;
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let Some(route) = routes.iter().find(|route| route.method == *method) else {
            return other_method(&routes, method);
        };
        let recognised = match route.role {
            None => None,
            Some(role) => Some(self.let_in(from, &request, role).await?),
        };
        if recognised.is_some() {
            seat.shown();
        }
        let is_change = route.method != Method::GET;
        let by_cookie =
            recognised.as_ref().map_or(self.session_of(request.headers()).is_some(), |it| it.by_cookie);
        if is_change && by_cookie && !matches!(route.handle, Handle::LogIn) && !has_csrf(request.headers()) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("what changes something and comes with a cookie needs the header {CSRF}: 1"),
            ));
        }
        if let Handle::SignedOn = route.handle {
            return self.signed_on(from, &request).await;
        }
        let now = Time::from(SystemTime::now());
        let query = Query::read(request.uri().query().unwrap_or(""), route.parameters, now)?;
        let is_head = request.method() == Method::HEAD;
        if let (Handle::Stream, Some(role)) = (route.handle, route.role) {
            return self.stream(&request, &query, role, is_head).await;
        }
        let headers = request.headers().clone();
        let body = if is_change { body(request).await? } else { Bytes::new() };
        let handle = match (route.handle, &self.known.store) {
            (Handle::Either { file, .. }, None) => Handle::Ledger(file),
            (Handle::Either { store, .. }, Some(_)) => Handle::Store(store),
            (handle, _) => handle,
        };
        match (handle, recognised) {
            (Handle::LogIn, _) => self.log_in(from, &headers, &body).await,
            (Handle::LogOut, _) => Ok(self.log_out(&headers)),
            (Handle::LogInBy, _) => {
                let provider = self.sign_on.as_ref().map(|sign_on| sign_on.provider().to_owned());
                crate::handle::json(&LogInBy { provider }).map(reply)
            }
            (Handle::SignOn, _) => self.begin_sign_on(query.text("page").unwrap_or("")).await,
            (Handle::Ledger(handle), Some(Recognised { who, .. })) => {
                let known = Arc::clone(&self.known);
                let read = move |reader: &ledger::Reader| {
                    let asked = Asked { known: &known, who: &who, query: &query, words: &words, body: &body };
                    handle(&asked, reader)
                };
                self.readers.read(read).await.map(reply)
            }
            (Handle::Store(handle), Some(Recognised { who, .. })) => {
                let known = Arc::clone(&self.known);
                let store = known.store.clone();
                let ask = move |store: &dyn BoundedStore| {
                    let asked = Asked { known: &known, who: &who, query: &query, words: &words, body: &body };
                    handle(&asked, store)
                };
                let answer = match store {
                    Some(elsewhere) => elsewhere.ask(ask).await,
                    None => self.readers.read(move |reader| ask(reader)).await,
                };
                answer.map(reply)
            }
            (Handle::Aside(handle), Some(Recognised { who, .. })) => {
                let known = Arc::clone(&self.known);
                let work = move || {
                    handle(&Asked { known: &known, who: &who, query: &query, words: &words, body: &body })
                };
                aside(work).await.map(reply)
            }
            // Routes that name no role are those above; without one, nobody is let in.
            (
                Handle::Ledger(_)
                | Handle::Store(_)
                | Handle::Either { .. }
                | Handle::Aside(_)
                | Handle::Stream
                | Handle::SignedOn,
                _,
            ) => Err(unauthorised("log in first")),
        }
    }

    /// Pages of other sites may have their own name lead here (DNS rebinding); an address or a name of ours cannot.
    fn check_host(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let given = request.uri().host().or_else(|| request.headers().get(header::HOST)?.to_str().ok());
        let host = given.map(host_of).unwrap_or_default();
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let is_known = host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
        if is_address || is_known {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not a host that is answered for: use an address, localhost, or a name given with --serve-name",
        ))
    }

    /// Who asks, if they may.
    async fn let_in(
        &self,
        from: IpAddr,
        request: &Request<Incoming>,
        role: Role,
    ) -> Result<Recognised, Problem> {
        let recognised = match bearer(request.headers()) {
            Some(token) => Recognised { who: self.recognise(from, token).await?, by_cookie: false },
            None => {
                let session = self.session_of(request.headers());
                let who = session.and_then(|name| self.sessions.of(name, Instant::now()));
                let who = who.ok_or_else(|| {
                    unauthorised(match session {
                        Some(_) => "the log-in is over: log in again",
                        None => "send a token as `Authorization: Bearer TOKEN`, or log in with POST /api/v1/session",
                    })
                })?;
                Recognised { who, by_cookie: true }
            }
        };
        if recognised.who.role < role {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("this is for the role {}; yours is {}", role.name(), recognised.who.role.name()),
            ));
        }
        Ok(recognised)
    }

    /// Whether somebody who was let in would be now: not who logged out meanwhile, or whose token holds no more.
    pub(crate) async fn still_lets_in(&self, badge: &Badge, role: Role) -> bool {
        let who = match badge {
            Badge::Token(token) => self.authenticate.recognise(token).await.ok(),
            Badge::Session(name) => self.sessions.of(name, Instant::now()),
        };
        who.is_some_and(|who| who.role >= role)
    }

    async fn recognise(&self, from: IpAddr, token: &str) -> Result<Who, Problem> {
        self.check_wrongs(from)?;
        match self.authenticate.recognise(token).await {
            Ok(who) => Ok(who),
            Err(error @ NotRecognised::Wrong) => {
                self.note_refusal(from, &error.to_string());
                Err(unauthorised(&error.to_string()))
            }
            Err(error @ NotRecognised::NoRole(_)) => {
                self.note_refusal(from, &error.to_string());
                Err(Problem::new(StatusCode::FORBIDDEN, error.to_string()))
            }
            Err(error @ NotRecognised::Unavailable(_)) => Err(Problem::unavailable(error.to_string())),
        }
    }

    /// Who was wrong too often waits.
    pub(crate) fn check_wrongs(&self, from: IpAddr) -> Result<(), Problem> {
        let wait = self.wrongs.wait(from, Instant::now());
        if wait > 0 {
            let text = "too many tokens from this address were wrong";
            return Err(Problem { retry_after: wait, ..Problem::new(StatusCode::TOO_MANY_REQUESTS, text) });
        }
        Ok(())
    }

    pub(crate) fn note_refusal(&self, from: IpAddr, why: &str) {
        if self.wrongs.add(from, Instant::now()) {
            self.known.actions.refused(from, why);
        }
    }

    /// Whether browsers come by TLS to the host that these headers name: to this server, or to what stands before it.
    fn is_secure(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map_or("", host_of);
        let is_of_provider =
            |sign_on: &SignOn| sign_on.is_over_tls() && sign_on.host().eq_ignore_ascii_case(host);
        self.has_tls || self.sign_on.as_ref().is_some_and(is_of_provider)
    }

    /// The name of the log-in that a browser brings.
    fn session_of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        SESSION.of(headers, self.is_secure(headers))
    }

    fn badge_of(&self, headers: &HeaderMap) -> Option<Badge> {
        let token = bearer(headers).map(|token| Badge::Token(token.to_owned()));
        token.or_else(|| self.session_of(headers).map(|session| Badge::Session(session.to_owned())))
    }

    async fn log_in(
        &self,
        from: IpAddr,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<AnswerBody>, Problem> {
        // What serde says could have part of the token in it.
        let LogIn { token } = serde_json::from_slice(body)
            .map_err(|_| Problem::bad("the body: an object with nothing but a token is wanted"))?;
        let who = self.recognise(from, &token).await?;
        let mut response = reply(crate::handle::json(&Me::from(&who))?);
        self.begin_session(&mut response, (from, "with a token"), who, self.is_secure(headers))?;
        // The one before has no cookie any more.
        self.session_of(headers).into_iter().for_each(|before| self.sessions.end(before));
        Ok(response)
    }

    /// Begins a log-in that holds, which is audited; `secure`: whether the browser is to send its cookie over TLS only.
    pub(crate) fn begin_session(
        &self,
        response: &mut Response<AnswerBody>,
        (from, how): (IpAddr, &str),
        who: Who,
        secure: bool,
    ) -> Result<(), Problem> {
        let lasts = self.authenticate.session(&who);
        let session = self.sessions.begin(who.clone(), lasts, Instant::now());
        let session = session.map_err(|error| Problem::unavailable(error.to_string()))?;
        self.known.actions.logged_in(from, &who, how);
        SESSION.set(response, &session, lasts.as_secs(), secure);
        Ok(())
    }

    fn log_out(&self, headers: &HeaderMap) -> Response<AnswerBody> {
        if let Some(session) = self.session_of(headers) {
            self.sessions.end(session);
        }
        let done = crate::handle::json(&Done {}).unwrap_or(Reply::Json(Bytes::from_static(b"{}")));
        let mut response = reply(done);
        let is_secure = SESSION.of(headers, true).is_some() || self.is_secure(headers);
        SESSION.set(&mut response, "", 0, is_secure);
        response
    }

    async fn stream(
        self: &Arc<Self>,
        request: &Request<Incoming>,
        query: &Query,
        role: Role,
        is_head: bool,
    ) -> Result<Response<AnswerBody>, Problem> {
        let badge = self.badge_of(request.headers()).ok_or_else(|| unauthorised("log in first"))?;
        let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        let last = last.filter(|id| !id.is_empty());
        let body = if is_head {
            AnswerBody::empty()
        } else {
            AnswerBody::Stream(stream::begin(self, query, last, (badge, role)).await?)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        // A proxy in between must not wait for more of it.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }

    /// A file of the console. A path of one part that is no file is its first page, which knows the rest; below a folder that page
    /// would look for its own files there, and stay empty.
    fn asset(&self, request: &Request<Incoming>) -> Result<Response<AnswerBody>, Problem> {
        let path = request.uri().path();
        if is_below(path, "/api") {
            return Err(Problem::not_found(format!("the API is at {BASE}")));
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let allow = Some("GET, HEAD".to_owned());
            return Err(Problem {
                allow,
                ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD")
            });
        }
        let codings = request.headers().get(header::ACCEPT_ENCODING).and_then(|it| it.to_str().ok());
        let codings = codings.unwrap_or("");
        let is_page = path.strip_prefix('/').is_some_and(|name| !name.contains(['/', '.']));
        let found = (self.assets)(path, codings);
        let found = found.or_else(|| if is_page { (self.assets)("/index.html", codings) } else { None });
        let asset =
            found.ok_or_else(|| Problem::not_found("there is no such page: the console begins at /"))?;
        let mut response = Response::new(AnswerBody::whole(asset.body));
        for (name, value) in asset.headers {
            let value = HeaderValue::from_str(&value).ok();
            response.headers_mut().extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        Ok(response)
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A host without its port.
fn host_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last part of an address of IPv6 is no port.
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) && !name.is_empty() => {
            if name.contains(':') && !name.starts_with('[') { host } else { name }
        }
        Some(_) | None => host,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn has_csrf(headers: &HeaderMap) -> bool {
    headers.get(CSRF).is_some_and(|value| value == "1")
}

fn unauthorised(text: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, text)
}

/// OPTIONS is told what else there is; other methods are refused with the same.
fn other_method(routes: &[&Route], method: &Method) -> Result<Response<AnswerBody>, Problem> {
    let mut names: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    let allow = names.join(", ");
    if method != Method::OPTIONS {
        let text = format!("only {allow} can be done with this");
        return Err(Problem { allow: Some(allow), ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, text) });
    }
    let mut response = Response::new(AnswerBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().extend(HeaderValue::from_str(&allow).ok().map(|it| (header::ALLOW, it)));
    Ok(response)
}

/// The body of a request that changes something. Forms of other sites cannot send JSON.
async fn body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
    let reading = Limited::new(request.into_body(), BODY_BYTES).collect();
    let Ok(read) = tokio::time::timeout(BODY_PATIENCE, reading).await else {
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come"));
    };
    let bytes = read.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {BODY_BYTES} bytes, or broke off"),
        )
    })?;
    let bytes = bytes.to_bytes();
    if !bytes.is_empty() && kind.as_deref() != Some("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body: application/json is wanted as content-type",
        ));
    }
    Ok(bytes)
}

fn reply(reply: Reply) -> Response<AnswerBody> {
    let (kind, name, bytes) = match reply {
        Reply::Json(bytes) => ("application/json", None, bytes),
        Reply::File(kind, name, bytes) => (kind, Some(name), bytes),
    };
    let mut response = Response::new(AnswerBody::whole(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let attached =
        name.and_then(|name| HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).ok());
    headers.extend(attached.map(|value| (header::CONTENT_DISPOSITION, value)));
    response
}

fn refusal(problem: &Problem, id: &str) -> Response<AnswerBody> {
    // Nothing in it can fail to be written.
    let bytes = serde_json::to_vec(&problem.answer(id)).unwrap_or_default();
    let mut response = Response::new(AnswerBody::whole(bytes));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if problem.retry_after > 0 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(problem.retry_after));
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let allow = problem.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok());
    headers.extend(allow.map(|allow| (header::ALLOW, allow)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (given, host) in [
            ("localhost:8080", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("evil.example:1", "evil.example"),
            ("", ""),
            (":80", ":80"),
        ] {
            assert_eq!(host_of(given), host, "{given}");
        }
    }
}
