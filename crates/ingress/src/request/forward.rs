//! A request that may go on: to an endpoint of its backend, and the answer back.

use super::ids::Ids;
use super::{Asking, Exchange, MAX_TRIED, Passed, RETRY, Stop, Way};
use crate::answer::{Answer, Held, Patience};
use crate::body::{Outgoing, Unread};
use crate::definitions::{self, Listing, Told};
use crate::fields;
use crate::filters;
use crate::pool::Spoken;
use crate::reason::Reason;
use crate::record::Guard;
use crate::server::seconds;
use crate::sieving::{self, Edited, Sieving};
use crate::tunnel;
use crate::upstream::{Carried, Endpoint, Failed, Lease};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, response};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use inspect::answer::AnswerReader;
use inspect::sieve::{Form, Prompt};
use routes::{Backend, Target};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Longer than any answer takes whose route says nothing.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

impl Exchange {
    /// Sends a request on. The error gives its record back.
    pub(super) async fn forward(
        &self,
        mut asking: Asking<'_>,
        way: Way<'_>,
        mut body: Outgoing,
        mut guard: Guard,
        (passed, upgrade): (Passed, Option<OnUpgrade>),
    ) -> Result<Response<Answer>, (Stop, Guard)> {
        let Passed { turn, mut drawn, prompt, ids } = passed;
        let (backend, addresses, spoken) = match backend(&way) {
            Ok(found) => found,
            Err(stop) => return Err((stop, guard)),
        };
        if spoken.is_http2 && upgrade.is_some() {
            return Err((Stop::because(Reason::HttpTunnel, "its backend speaks HTTP/2"), guard));
        }
        if drawn.is_metered() {
            // What is coded could be neither counted nor cut.
            asking.head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let path = asking.target.path().to_owned();
        let mut outward = self.outward(asking, &way, backend, &guard);
        let picked = match &backend.picker {
            None => None,
            Some(picker) => {
                let of_request = (&mut body, &mut guard);
                match self.picked(picker, &outward, &way, of_request, addresses).await {
                    Ok(picked) => picked,
                    Err(stop) => return Err((stop, guard)),
                }
            }
        };
        if let Some(picked) = &picked {
            filters::change(&mut outward.head.headers, std::slice::from_ref(&picked.change));
        }
        let head = match outward.addressed(spoken) {
            Ok(head) => head,
            Err(stop) => return Err((stop, guard)),
        };
        if upgrade.is_none() {
            body.copied_to(self.copies(&outward, &way, backend));
        }
        let request = Request::from_parts(head, Carried::Own(Box::new(body)));
        let pods = picked.as_ref().map(|picked| picked.pods.as_slice());
        let stays = way.staying.as_ref().and_then(|it| it.endpoint(&self.shared.pool, addresses, spoken));
        let limits = &self.shared.limits;
        let until = Instant::now() + way.rule.timeouts.backend_request.unwrap_or(limits.answer);
        let until = way.until.map_or(until, |last| last.min(until));
        drawn.sent(&guard.course);
        let sending = self.send(request, (addresses, pods, stays), spoken, &mut guard);
        let sent = timeout_at(until, sending).await;
        let aborted = guard.course.aborted();
        let (mut answer, lease) = match sent {
            Ok(Ok(sent)) => sent,
            Ok(Err(reason)) => {
                drawn.refused();
                return Err((aborted.unwrap_or(reason).into(), guard));
            }
            Err(_) => return Err((Reason::ServerTimeout.into(), guard)),
        };
        ids.answered(answer.headers_mut());
        if let Some(staying) = &way.staying {
            let is_tls = self.client.tls.is_some();
            staying.tell(answer.headers_mut(), lease.endpoint.address, is_tls, seconds());
        }
        drawn.answered(answer.status());
        if let Some(picked) = &picked {
            picked.talk.served(lease.endpoint.address, answer.status());
        }
        let most = self.shared.hold.most();
        let listing = Listing {
            server: definitions::server(&backend.target),
            path: &path,
            consumer: guard.record.consumer.as_deref().unwrap_or_default(),
            operation: &guard.record.operation,
            status: answer.status(),
        };
        let edited = self.edited(&way, prompt, listing, &ids);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade else { return Err((Reason::ServerBroke.into(), guard)) };
            let joins = sieving::joins(&guard.record.operation);
            let looking = way.held.answers.as_ref().map(|answers| {
                let (told, source) = (edited.told.clone(), answers.source.to_string());
                tunnel::Looking { sieve: answers.sieve(edited, Form::Messages, joins, most), source, told }
            });
            let held = (lease, turn, drawn, looking);
            return Ok(tunnel::agreed(upgrade, answer, guard, held, limits.answer_piece));
        }
        let (mut head, body) = answer.into_parts();
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            // How long it is its chunks say alone (RFC 9112, section 6.3).
            head.headers.remove(header::CONTENT_LENGTH);
        }
        fields::strip(&mut head.headers);
        head.extensions.clear();
        filters::change(&mut head.headers, &way.rule.filters.response);
        filters::change(&mut head.headers, &backend.filters.response);
        let id = ("x-request-id", guard.record.request_id.clone());
        for (name, value) in drawn.headers().into_iter().chain([id]) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&value)) {
                head.headers.insert(name, value);
            }
        }
        let sieving = match self.sieving(&way, edited, &mut head, &body, &mut guard) {
            Ok(sieving) => sieving,
            Err(stop) => return Err((stop, guard)),
        };
        let fields: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let reader = AnswerReader::new(&guard.record.operation, &fields);
        let patience = Patience { piece: limits.answer_piece, until: way.until };
        let held = Held { drawn, lease, turn, talk: picked.map(|picked| picked.talk) };
        if sieving.as_ref().is_some_and(|(sieving, _)| sieving.is_whole()) {
            return whole(self, head, body, guard, (reader, held, patience, sieving)).await;
        }
        guard.answered(head.status.as_u16());
        let events = ids.events(&mut head);
        let body = Answer::of_server(body, &head, guard, reader, held, (patience, sieving, events));
        Ok(Response::from_parts(head, body))
    }

    /// What is looked for besides in the answer to this request.
    fn edited(&self, way: &Way<'_>, prompt: Prompt, listing: Listing<'_>, ids: &Ids) -> Edited {
        let (told, is_card) = (Told::default(), listing.is_card(&way.held));
        let edit = ids.edit(listing.edit(&way.held, &self.shared.pins, &told));
        Edited { prompt, edit, is_card, is_owned: ids.has_objects(), told }
    }

    /// Begins to look through an answer, where a policy wants that.
    fn sieving(
        &self,
        way: &Way<'_>,
        edited: Edited,
        head: &mut response::Parts,
        body: &Incoming,
        guard: &mut Guard,
    ) -> Result<Option<(Sieving, String)>, Stop> {
        let Some(answers) = way.held.answers.as_ref().filter(|_| !body.is_end_stream()) else {
            return Ok(None);
        };
        if edited.is_card && !sieving::reads_card(&head.headers) {
            let why = "an agent's card in a form that is not read";
            return Err(Stop {
                rule: Some(answers.source.to_string()),
                ..Stop::because(Reason::Uninspected, why)
            });
        }
        if answers.passes(&head.headers, &edited) {
            return Ok(None);
        }
        let most = self.shared.hold.most();
        let most = (most, body.size_hint().lower());
        let is_lenient = answers.is_lenient() && !edited.is_owned;
        let why = match Sieving::of(answers, edited, &guard.record.operation, head, most) {
            Ok(sieving) => return Ok(Some((sieving, answers.source.to_string()))),
            Err(why) => why,
        };
        if is_lenient {
            guard.record.detail = Some(format!("not inspected: {why}"));
            return Ok(None);
        }
        Err(Stop { rule: Some(answers.source.to_string()), ..Stop::because(Reason::Uninspected, why) })
    }

    /// Asks endpoints until one answers, or may have seen something of the request: those that were picked, in their order, or
    /// the one that the client stays with, and then the ones with the least to do.
    async fn send(
        &self,
        request: Request<Carried>,
        (addresses, picked, stays): (&[SocketAddr], Option<&[SocketAddr]>, Option<SocketAddr>),
        spoken: Spoken<'_>,
        guard: &mut Guard,
    ) -> Result<(Response<Incoming>, Lease), Reason> {
        let mut tried = Vec::new();
        let mut request = request;
        let pick = |tried: &[SocketAddr]| match picked {
            None => {
                let first = stays.filter(|first| !tried.contains(first));
                let from = first.as_ref().map_or(addresses, std::slice::from_ref);
                self.shared.pool.pick(from, spoken, tried)
            }
            Some(picked) => {
                let next = picked.iter().find(|address| !tried.contains(address))?;
                self.shared.pool.pick(std::slice::from_ref(next), spoken, &[])
            }
        };
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

/// Who answers.
fn backend<'a>(way: &Way<'a>) -> Result<(&'a Backend, &'a [SocketAddr], Spoken<'a>), Stop> {
    let backend = way.backend.ok_or(Reason::NoBackend)?;
    if let Target::Nobody(fault) = &backend.target {
        return Err(Stop::because(Reason::NoBackend, format!("{fault:?}")));
    }
    let tls = match &backend.tls {
        Some(tls) => Some(way.live.secured(tls).ok_or_else(|| {
            Stop::because(Reason::NoBackend, "its BackendTLSPolicy cannot be applied, so it is not asked")
        })?),
        None => None,
    };
    let addresses = way.live.endpoints(&backend.target);
    if addresses.is_empty() {
        return Err(Stop { retry_after: Some(RETRY), ..Reason::NoEndpoint.into() });
    }
    Ok((backend, addresses, Spoken { is_http2: backend.target.is_h2(), tls }))
}

/// What an answer is read and held with.
type Looked = (AnswerReader, Held, Patience, Option<(Sieving, String)>);

/// Looks through an answer that is one value: it is there whole before any of it leaves.
async fn whole(
    exchange: &Exchange,
    head: response::Parts,
    mut body: Incoming,
    mut guard: Guard,
    (mut reader, held, patience, sieving): Looked,
) -> Result<Response<Answer>, (Stop, Guard)> {
    let Some((mut sieving, source)) = sieving else { return Err((Reason::Uninspected.into(), guard)) };
    let whose = (held.turn.consumer(), patience.piece);
    let reading = read(exchange, &mut body, &mut sieving, &mut reader, whose);
    let last = patience.until.unwrap_or_else(|| Instant::now() + FOREVER);
    let read = timeout_at(last, reading).await.unwrap_or(Err(Reason::ServerTimeout.into()));
    sieving.note(&mut guard.record);
    let read = match sieving.stops() {
        Some(why) => Err(Stop::because(Reason::CardQuarantined, why)),
        None => read,
    };
    match read {
        Ok(bytes) => {
            guard.answered(head.status.as_u16());
            Ok(Response::from_parts(head, Answer::whole(bytes.into(), guard, reader, held)))
        }
        Err(stop) => Err((Stop { rule: stop.rule.or(Some(source)), ..stop }, guard)),
    }
}

async fn read(
    exchange: &Exchange,
    body: &mut Incoming,
    sieving: &mut Sieving,
    reader: &mut AnswerReader,
    (consumer, piece_within): (Arc<str>, Duration),
) -> Result<Vec<u8>, Stop> {
    let (mut out, mut room, mut count) = (Vec::new(), exchange.shared.hold.room(consumer), 0);
    let stopped = |stop| {
        let (reason, why) = sieving::why(stop);
        Stop::because(reason, why)
    };
    loop {
        let frame = timeout(piece_within, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
        let Some(frame) = frame.map_err(|_| Reason::ServerTimeout)? else { break };
        let Ok(data) = frame.map_err(|_| Reason::ServerBroke)?.into_data() else { continue };
        count += data.len();
        exchange.shared.hold.take(&mut room, count).map_err(|unread| match unread {
            Unread::TooLarge => Stop::because(Reason::Uninspected, "its answer is larger than what is held"),
            other => other.into(),
        })?;
        let (more, came) = sieving.push(&data, &mut |plain| reader.push(plain));
        out.extend(more);
        came.map_err(stopped)?;
    }
    let (more, came) = sieving.end();
    out.extend(more);
    came.map_err(stopped)?;
    Ok(out)
}
