//! Asks the endpoint picker of an InferencePool which pod is to answer (endpoint picker protocol of the Gateway API Inference
//! Extension, 1.0.0: Envoy's external processing over gRPC, with bodies in `FULL_DUPLEX_STREAMED`).
//!
//! Enters: a request that may go on, with all of its body. Leaves: pods in the order in which to try them, fields to change, and
//! what the picker is told when one answered. Guarantees: who is picked is of the pool; the wait is bounded, and so is what is
//! read; the body stays as it was judged, and a picker that wants another one is not followed. Does not: decide what happens
//! where it does not answer, or show it answers' bodies.

pub mod wire;

use crate::config::Live;
use crate::pool::Spoken;
use crate::server::Shared;
use crate::upstream::{Carried, Endpoint, Lease};
use http::{HeaderMap, Request, StatusCode, header};
use hyper::body::{Body, Bytes, Incoming};
use routes::{HeaderChange, Picker};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use wire::{About, Change, DESTINATION, Said};

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
/// Messages that wait to be taken by the connection.
const QUEUE: usize = 16;
/// Pods of one answer that are looked at.
const MOST_PICKED: usize = 16;
/// Fields of a request that a picker may change.
const MOST_CHANGES: usize = 64;
/// How much longer than the body that was sent one may be that comes back: it may be written otherwise.
const MORE: usize = 64 * 1024;
/// How long a picker has to end, once everything was told to it.
const GRACE: Duration = Duration::from_secs(5);
/// Fields of which a picker says nothing: what they say was found out here, or is about the body.
const OWN: [&str; 4] = ["x-cofferdam-", "x-forwarded-", "content-", ":"];

/// A request, as it goes on.
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) is_tls: bool,
    pub(crate) fields: &'a HeaderMap,
    pub(crate) body: Vec<Bytes>,
    /// Pods of the pool.
    pub(crate) pods: &'a [SocketAddr],
}

/// Why nobody was picked.
#[derive(Debug)]
pub(crate) enum Unpicked {
    /// It does not answer as it must.
    Fails(&'static str),
    /// It answers the client itself, with this status.
    Answers(u16),
}

/// What a picker says.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Pods, the one to try first before the others.
    pub(crate) pods: Vec<SocketAddr>,
    pub(crate) change: HeaderChange,
    pub(crate) talk: Talk,
}

/// The stream to a picker. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Talk {
    messages: mpsc::Sender<Bytes>,
    _ended: oneshot::Sender<()>,
}

impl Talk {
    /// Tells who answered, and how.
    pub(crate) fn served(&self, by: SocketAddr, status: StatusCode) {
        let message = framed(&wire::served(&by.to_string(), status.as_str()));
        // One that does not take what it is told has no use for it.
        let _full = self.messages.try_send(message);
    }
}

/// Asks, within the time that is given to it.
pub(crate) async fn ask(
    shared: &Shared,
    live: &Live,
    picker: &Picker,
    question: &Question<'_>,
) -> Result<Picked, Unpicked> {
    let asking = asked(shared, live, picker, question);
    timeout(shared.limits.pick, asking).await.unwrap_or(Err(Unpicked::Fails("it does not answer in time")))
}

async fn asked(
    shared: &Shared,
    live: &Live,
    picker: &Picker,
    question: &Question<'_>,
) -> Result<Picked, Unpicked> {
    let fails = Unpicked::Fails;
    let tls = match &picker.tls {
        Some(tls) => Some(live.secured(tls).ok_or(fails("its BackendTLSPolicy cannot be applied"))?),
        None => None,
    };
    let spoken = Spoken { is_http2: true, tls };
    let endpoint = shared.pool.pick(live.endpoints(&picker.target), spoken, &[]);
    let endpoint = endpoint.ok_or(fails("it is not there"))?;
    let (messages, to_send) = mpsc::channel(QUEUE);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{}{PROCESS}", endpoint.address))
        .version(http::Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Carried::Talk(to_send))
        .map_err(|_| fails("it cannot be addressed"))?;
    tokio::spawn(tell(messages.clone(), head(question), question.body.clone()));
    let mut lease = Endpoint::lease(&endpoint);
    let answer = lease.send(request, shared.limits.connect).await;
    let answer = answer.map_err(|_| fails("it cannot be reached"))?;
    if answer.status() != StatusCode::OK {
        return Err(fails("it does not speak the protocol"));
    }
    let mut hearing = Hearing::new(answer.into_body(), question.body.iter().map(Bytes::len).sum());
    while !hearing.is_done() {
        let said = hearing.next().await.map_err(fails)?;
        hearing.take(said)?;
    }
    let pods = hearing.pods(question.pods).map_err(fails)?;
    if !is_same(&question.body, &hearing.returned) {
        return Err(fails("it wants another body, and bodies stay as they were judged"));
    }
    let change = hearing.change();
    let (ended, over) = oneshot::channel();
    tokio::spawn(listen_on(hearing.body, over, lease));
    Ok(Picked { pods, change, talk: Talk { messages, _ended: ended } })
}

fn head(question: &Question<'_>) -> Bytes {
    let scheme = if question.is_tls { "https" } else { "http" };
    let own = [
        (":method", question.method),
        (":path", question.target),
        (":authority", question.host),
        (":scheme", scheme),
    ];
    let own = own.into_iter().map(|(name, value)| (name, value.as_bytes()));
    let fields = question.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    framed(&wire::head(own.chain(fields), !question.body.is_empty()))
}

/// Whoever is told may go at any time.
async fn tell(messages: mpsc::Sender<Bytes>, head: Bytes, body: Vec<Bytes>) {
    if messages.send(head).await.is_err() {
        return;
    }
    let count = body.iter().map(|bytes| bytes.chunks(wire::PIECE).len()).sum::<usize>();
    for (at, piece) in body.iter().flat_map(|bytes| bytes.chunks(wire::PIECE)).enumerate() {
        if messages.send(framed(&wire::piece(piece, at + 1 == count))).await.is_err() {
            return;
        }
    }
}

/// With what gRPC has before each message: that it is not compressed, and its length.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// Reads what nobody looks at, so that nobody waits for it to be taken.
async fn listen_on(mut body: Incoming, over: oneshot::Receiver<()>, lease: Lease) {
    let reading = async { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {} };
    let waiting = async {
        let _dropped = over.await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = reading => {}
        () = waiting => {}
    }
    drop(lease);
}

/// What a picker said so far.
struct Hearing {
    body: Incoming,
    /// Bytes of messages that are not whole yet.
    rest: VecDeque<u8>,
    sent: usize,
    /// The body that came back.
    returned: Option<Vec<u8>>,
    is_head_over: bool,
    is_body_over: bool,
    by_field: Option<String>,
    by_metadata: Option<String>,
    set: Vec<(Arc<str>, Arc<str>)>,
    remove: Vec<Arc<str>>,
}

impl Hearing {
    fn new(body: Incoming, sent: usize) -> Self {
        Self {
            body,
            rest: VecDeque::new(),
            sent,
            returned: None,
            is_head_over: false,
            is_body_over: sent == 0,
            by_field: None,
            by_metadata: None,
            set: Vec::new(),
            remove: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.is_head_over && self.is_body_over
    }

    /// The next message.
    async fn next(&mut self) -> Result<Said, &'static str> {
        loop {
            if let Some(message) = self.message()? {
                return wire::read(&message).ok_or("what it says is not of the protocol");
            }
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            let frame = frame.ok_or("it ends before it picked anybody")?.map_err(|_| "it broke off")?;
            if let Ok(data) = frame.into_data() {
                self.rest.extend(data.iter());
            }
        }
    }

    fn message(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let head: Vec<u8> = self.rest.iter().copied().take(5).collect();
        let &[is_compressed, a, b, c, d] = head.as_slice() else { return Ok(None) };
        if is_compressed != 0 {
            return Err("what it says is compressed");
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > wire::MOST_MESSAGE {
            return Err("what it says is too long");
        }
        if self.rest.len() < 5 + length {
            return Ok(None);
        }
        Ok(Some(self.rest.drain(..5 + length).skip(5).collect()))
    }

    fn take(&mut self, said: Said) -> Result<(), Unpicked> {
        for (name, value) in said.set {
            if name == DESTINATION {
                self.by_field = Some(value.clone());
            }
            if may_change(&name) && self.set.len() < MOST_CHANGES {
                self.set.push((name.into(), value.into()));
            }
        }
        let removed = said.remove.into_iter().filter(|name| may_change(name));
        self.remove.extend(removed.take(MOST_CHANGES - self.remove.len().min(MOST_CHANGES)).map(Arc::from));
        self.by_metadata = said.destination.or(self.by_metadata.take());
        let more = match said.about {
            About::Other => return Ok(()),
            About::Head => {
                self.is_head_over = true;
                return Ok(());
            }
            About::Answer(status) => return Err(Unpicked::Answers(status)),
            About::Body(Change::None) => {
                self.is_body_over = true;
                return Ok(());
            }
            About::Body(Change::Whole(bytes)) => {
                self.is_body_over = true;
                bytes
            }
            About::Body(Change::Piece(bytes, is_last)) => {
                self.is_body_over |= is_last;
                bytes
            }
        };
        let returned = self.returned.get_or_insert_default();
        returned.extend_from_slice(&more);
        if returned.len() > self.sent.saturating_mul(2).saturating_add(MORE) {
            return Err(Unpicked::Fails("it wants another body, and bodies stay as they were judged"));
        }
        Ok(())
    }

    /// Those it names that are of the pool.
    fn pods(&self, of_pool: &[SocketAddr]) -> Result<Vec<SocketAddr>, &'static str> {
        let named = match (&self.by_field, &self.by_metadata) {
            (Some(field), Some(metadata)) if field != metadata => {
                return Err("its header and its metadata name different pods");
            }
            (Some(named), _) | (None, Some(named)) => named,
            (None, None) => return Err("it names no pod"),
        };
        let named = named.split(',').take(MOST_PICKED).filter_map(|one| one.trim().parse().ok());
        let pods: Vec<SocketAddr> = named.filter(|address| of_pool.contains(address)).collect();
        if pods.is_empty() { Err("it names no pod of its pool") } else { Ok(pods) }
    }

    fn change(&mut self) -> HeaderChange {
        let (set, remove) = (std::mem::take(&mut self.set), std::mem::take(&mut self.remove));
        HeaderChange { set, add: Vec::new(), remove }
    }
}

fn may_change(name: &str) -> bool {
    !OWN.iter().any(|own| name.starts_with(own)) && !authn::CREDENTIAL_HEADERS.contains(&name)
}

/// Whether what came back says what was sent: pickers of today read it as JSON and write it again.
fn is_same(sent: &[Bytes], returned: &Option<Vec<u8>>) -> bool {
    let Some(returned) = returned else { return true };
    let sent = sent.concat();
    sent == *returned
        || match (serde_json::from_slice(&sent), serde_json::from_slice(returned)) {
            (Ok(sent), Ok(returned)) => means_same(&sent, &returned),
            (_, _) => false,
        }
}

fn means_same(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        // Who writes `1.0` as `1` means the same.
        (Number(one), Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Array(one), Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| means_same(one, other))
        }
        (Object(one), Object(other)) => {
            let has = |(name, one): (&String, _)| other.get(name).is_some_and(|other| means_same(one, other));
            one.len() == other.len() && one.iter().all(has)
        }
        (_, _) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_only_written_again_is_the_same() {
        let sent =
            br#"{"model":"m","temperature":1.0,"seed":12345678901234567890,"messages":[{"role":"user"}]}"#;
        for (returned, expected) in [
            (None, true),
            (Some(&sent[..]), true),
            (Some(br#"{"messages":[{"role":"user"}],"model":"m","seed":12345678901234567000,"temperature":1}"#), true),
            (Some(br#"{"messages":[{"role":"user"}],"model":"n","seed":12345678901234567890,"temperature":1}"#), false),
            (Some(br#"{"model":"m"}"#), false),
            (Some(b""), false),
            (Some(b"not json"), false),
        ] {
            let pieces = [Bytes::copy_from_slice(&sent[..10]), Bytes::copy_from_slice(&sent[10..])];
            assert_eq!(is_same(&pieces, &returned.map(<[u8]>::to_vec)), expected, "{returned:?}");
        }
    }
}
