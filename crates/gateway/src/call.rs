//! One record for each request of an opened connection, whatever becomes of it.
//!
//! JSON, one object per request: `time` (its head was read), `pod`, `destination` (address and port), `name` (of the
//! connection), `request_id`, `method`, `path` (without query; untrusted text), `operation`, `verdict`, `reason`, `lacks`, `unmet`,
//! `rule`, `nearest`, `generation`, `status` (0: none was sent), `bytes_up` and `bytes_down` (of bodies),
//! `first_byte_micros`, `usage` (of a call: what the answer says of its tokens),
//! `leaks` (what was found in it), `window` (of a quota that is spent), `duration_micros`, `end`, `explicit`, `masked` (what was
//! taken out of it), `usage_asked`, `request_sha256` and `answer_sha256` (of their bodies, as far as they passed),
//! `answers` (what was found in the file that came back), `injected` (with which key it left: its Secret and its SHA-256),
//! `asked_by` (at the egress gateway, the workload's id).
//! Guarantees: a guard emits it when the request goes, so a request whose task is cancelled has
//! one as well. Does not: hold what was said, queries or keys.

use crate::capture::Contents;
use crate::counters::{Counters, add};
use crate::digest::Digests;
use crate::files::FileFact;
use crate::keys::Injected;
use crate::leaks::{LeakFact, MAX_FACTS, MaskFact};
use crate::parts::Piece;
use crate::quota::Spent;
use crate::reason::{End, Reason};
use crate::record::{Sink, Traffic};
use crate::requests::RequestJudgement;
use crate::state::Window;
use ::inspect::answer;
use ::inspect::refusal::RpcIds;
use http::{HeaderMap, header};
use observe::Time;
use policy::{DnsName, Generation, Mismatch, Operation, Verdict};
use purse::Cost;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

/// Longest method that is kept, in characters; the registered ones have at most 17.
const MAX_METHOD: usize = 32;
/// Longest path that is kept, in characters.
const MAX_PATH: usize = 256;

/// Distinguishes requests of one microsecond.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A number for what began then.
pub(crate) fn request_id(time: Time) -> String {
    format!("{:016x}{:08x}", time.0, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// One request, when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When its head was read.
    pub time: Time,
    /// Who sent it.
    pub pod: SocketAddr,
    /// Where its connection was going.
    pub destination: SocketAddr,
    /// For whom the connection was opened.
    pub name: DnsName,
    /// Unique on its node, and in the order of time: microseconds since 1970 and a counter, hexadecimal.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query. The client's text: show it as such.
    pub path: String,
    /// What it does, as it was judged.
    pub operation: Operation,
    /// Allow, or deny also where it was cut later.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What it lacks, by the rule that comes nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Mismatch>,
    /// Of what is refused for the arguments of a tool, the condition that is not met, and why, and nothing of the arguments; of
    /// what is refused for whom it has the provider contact, where in its body, whom, and the rule that is against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmet: Option<Arc<str>>,
    /// The rule that allows it, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Of what is refused, the rule that comes nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Arc<str>>,
    /// State of policy that judged it; 0 where none was asked.
    pub generation: Generation,
    /// Status of the answer; 0 where there was none.
    pub status: u16,
    /// Bytes of its body that went to the server.
    pub bytes_up: u64,
    /// Bytes of the answer's body that went to the client.
    pub bytes_down: u64,
    /// From its head to the first byte of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_micros: Option<u64>,
    /// Of a call, what the answer says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Of what is refused or cut for a quota, in which window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What was found in it that should not leave; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<LeakFact>,
    /// From its head to its end.
    pub duration_micros: u64,
    /// How it ended.
    pub end: End,
    /// Of a call whose price is known, what it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Of what is refused for a quota, how much it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// Whether the store of shared budgets could not be reached, so that it drew on what this node may use without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_store: bool,
    /// It came by the explicit proxy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explicit: bool,
    /// What was taken out of its body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<MaskFact>,
    /// Whether the server was asked to tell of its tokens where the client did not ask.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage_asked: bool,
    /// SHA-256 of what went to the server of its body, `bytes_up` bytes: 64 lower-case hexadecimal digits. Left out where
    /// nothing went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<String>,
    /// SHA-256 of what went to the client of the answer's body, `bytes_down` bytes; not of downloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_sha256: Option<String>,
    /// What was found in the file that its answer brought; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<FileFact>,
    /// With which key it left in place of what the pod sent, which `operation` has. Left out: with what the pod sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected: Option<Injected>,
    /// Of an upload that this request puts together, parts that were not looked at for what stands across them, or not as all that
    /// they may be; 0 also of all other requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen_parts: u32,
    /// At the egress gateway, the id in the certificate of the workload that came by itself; `pod` is where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Why there is not enough: tokens, or billionths of money, or one request and none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// What is set aside for it before it goes on.
    pub needed: u64,
    /// What is left in the window.
    pub left: u64,
}

/// What a model's answer says of itself, in the same terms for every provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that went in, with those that were found in a cache or written to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens that came out, with those of thoughts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of those that went in, those found in a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Of those that came out, those of thoughts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// The model that answered, at most 512 bytes. The server's text: show it as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why it ended, in the provider's words; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finish: Vec<String>,
    /// The answer's own id, at most 512 bytes. The server's text: show it as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Usage {
    /// `None`: it says nothing of itself.
    pub(crate) fn of(found: answer::Usage) -> Option<Self> {
        let answer::Usage { input_tokens, output_tokens, cached_tokens, reasoning_tokens, .. } = found;
        let (model, finish, id) = (found.model, found.finish, found.id);
        let usage = Self { input_tokens, output_tokens, cached_tokens, reasoning_tokens, model, finish, id };
        Some(usage).filter(|usage| *usage != Self::default())
    }
}

/// What the two directions of a request tell each other.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) traffic: Arc<Traffic>,
    /// Set once it must not go on.
    aborted: OnceLock<Reason>,
    /// What was found in its body so far.
    leaks: Mutex<Vec<LeakFact>>,
    /// What was taken out of its body.
    masked: OnceLock<Vec<MaskFact>>,
    digests: Digests,
    /// Parts of an upload that were not looked at.
    unseen_parts: AtomicU32,
    /// The part of an upload that it is, where its answer names it.
    pub(crate) piece: OnceLock<Piece>,
    /// What is kept of what was said.
    pub(crate) contents: Contents,
}

impl Course {
    pub(crate) fn abort(&self, reason: Reason) {
        // The first reason is the one that stopped it.
        let _earlier = self.aborted.set(reason);
    }

    /// All that was found in its body.
    pub(crate) fn leaked(&self, facts: Vec<LeakFact>) {
        *self.leaks.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// A piece of its body goes to the server.
    pub(crate) fn sent(&self, piece: &[u8]) {
        self.traffic.up.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.digests.up(piece);
        self.contents.up(piece);
    }

    /// A piece of the answer's body goes to the client.
    pub(crate) fn received(&self, piece: &[u8], is_digested: bool) {
        self.traffic.down.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if is_digested {
            self.digests.down(piece);
        }
        self.contents.down(piece);
    }

    /// What was taken out of its body, which happens once.
    pub(crate) fn masked(&self, facts: Vec<MaskFact>) {
        let _only = self.masked.set(facts);
    }

    /// So many parts of the upload that it puts together were not looked at.
    pub(crate) fn unseen(&self, parts: u32) {
        self.unseen_parts.store(parts, Ordering::Relaxed);
    }

    pub(crate) fn found(&self) -> Vec<LeakFact> {
        self.leaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn aborted(&self) -> Option<Reason> {
        self.aborted.get().copied()
    }
}

/// What became of the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: AtomicUsize,
    /// All that ever began.
    begun: AtomicUsize,
    /// How the first ended that did not come to its end, and why where it was cut.
    broke: OnceLock<(End, Option<Reason>)>,
}

impl Ledger {
    /// Whether a request is under way.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0
    }

    /// How many requests began.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How a connection ended that broke off, and why where it was cut: that matters to nobody if no request was under
    /// way.
    pub(crate) fn end_of_broken(&self) -> (End, Option<Reason>) {
        match self.broke.get() {
            Some((End::ServerGone, _)) => (End::ServerGone, None),
            Some((End::Cut, reason)) => (End::Cut, *reason),
            None if !self.is_open() => (End::Closed, None),
            Some(_) | None => (End::PodGone, None),
        }
    }
}

/// The record of a request under way. Emits it when dropped, once.
#[must_use]
pub(crate) struct CallGuard {
    ledger: Arc<Ledger>,
    sink: Arc<dyn Sink>,
    counters: Arc<Counters>,
    began: Instant,
    call: Call,
    pub(crate) caller: Caller,
    pub(crate) course: Arc<Course>,
    /// When it may be tried again, where it may: seconds since 1970.
    pub(crate) retry_at: Option<u64>,
}

/// Longest field that is kept to tell a refusal by, in bytes.
const MAX_FIELD: usize = 256;

/// What of a request's head says in which words its client reads a refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) accept: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// Of a message of JSON-RPC that is refused.
    pub(crate) rpc: RpcIds,
}

impl Caller {
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let field = |name| {
            let text = fields.get(name)?.to_str().ok()?;
            Some(text.get(..text.len().min(MAX_FIELD)).unwrap_or_default().to_owned())
        };
        let (accept, content_type) = (field(header::ACCEPT), field(header::CONTENT_TYPE));
        Self { accept, content_type, user_agent: field(header::USER_AGENT), rpc: RpcIds::default() }
    }
}

/// What is known of a request when its head was read.
pub(crate) struct Asked<'a> {
    pub(crate) pod: SocketAddr,
    pub(crate) asked_by: Option<Arc<str>>,
    pub(crate) destination: SocketAddr,
    pub(crate) name: &'a DnsName,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) caller: Caller,
    pub(crate) explicit: bool,
}

impl CallGuard {
    pub(crate) fn new(
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        ledger: Arc<Ledger>,
        asked: Asked<'_>,
    ) -> Self {
        ledger.open.fetch_add(1, Ordering::Relaxed);
        ledger.begun.fetch_add(1, Ordering::Relaxed);
        let time: Time = SystemTime::now().into();
        let call = Call {
            time,
            pod: asked.pod,
            destination: asked.destination,
            name: asked.name.clone(),
            request_id: request_id(time),
            method: asked.method.chars().take(MAX_METHOD).collect(),
            path: asked.path.chars().take(MAX_PATH).collect(),
            operation: Operation::unknown("it was not read"),
            verdict: Verdict::Deny,
            reason: Reason::NotJudged,
            lacks: None,
            unmet: None,
            rule: None,
            nearest: None,
            generation: Generation::default(),
            status: 0,
            bytes_up: 0,
            bytes_down: 0,
            first_byte_micros: None,
            usage: None,
            window: None,
            leaks: Vec::new(),
            duration_micros: 0,
            end: End::Cancelled,
            cost: None,
            shortfall: None,
            without_store: false,
            explicit: asked.explicit,
            masked: Vec::new(),
            usage_asked: false,
            request_sha256: None,
            answer_sha256: None,
            answers: Vec::new(),
            injected: None,
            unseen_parts: 0,
            asked_by: asked.asked_by,
        };
        let (began, course) = (Instant::now(), Arc::default());
        Self { ledger, sink, counters, began, call, caller: asked.caller, course, retry_at: None }
    }

    pub(crate) fn so_far(&self) -> &Call {
        &self.call
    }

    /// Without what tools are called with: that was judged, and is not kept.
    pub(crate) fn understood(&mut self, operation: Operation) {
        self.call.operation = Operation { calls: Vec::new(), ..operation };
    }

    pub(crate) fn judged(&mut self, judgement: &RequestJudgement) {
        self.call.lacks = judgement.lacks;
        self.call.unmet.clone_from(&judgement.unmet);
        self.call.rule.clone_from(&judgement.rule);
        self.call.nearest.clone_from(&judgement.nearest);
        self.call.generation = judgement.generation;
        self.refused(judgement.reason);
    }

    /// A later reason takes the place of the one before; the rule stays, for it is the one that let it in.
    pub(crate) fn refused(&mut self, reason: Reason) {
        self.call.reason = reason;
        self.call.verdict = reason.verdict();
    }

    pub(crate) fn answered(&mut self, status: u16) {
        self.call.status = status;
    }

    /// A byte of the answer's body is there.
    pub(crate) fn has_byte(&mut self) {
        let after = self.micros();
        self.call.first_byte_micros.get_or_insert(after);
    }

    pub(crate) fn told(&mut self, usage: Option<Usage>, cost: Option<Cost>) {
        (self.call.usage, self.call.cost) = (usage, cost);
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A quota is spent.
    pub(crate) fn spent(&mut self, spent: Spent) {
        self.call.window = Some(spent.window);
        self.call.shortfall = spent.shortfall;
        self.retry_at = spent.retry_at;
        self.refused(spent.reason);
    }

    /// The store of shared budgets could not be reached.
    pub(crate) fn without_store(&mut self) {
        self.call.without_store = true;
    }

    /// What was found in its head.
    pub(crate) fn leaked(&mut self, facts: Vec<LeakFact>) {
        self.call.leaks = facts;
    }

    /// What was found in the file that its answer brings.
    pub(crate) fn watched(&mut self, facts: &[FileFact]) {
        self.call.answers = facts.to_vec();
    }

    /// What was found in all of it, what stops it first.
    pub(crate) fn leaks(&self) -> Vec<LeakFact> {
        let mut all = [self.call.leaks.clone(), self.course.found()].concat();
        if self.course.masked.get().is_none() {
            all.iter_mut().for_each(|fact| fact.masked = false);
        }
        all.sort_by_key(|fact| !fact.blocked);
        all.truncate(MAX_FACTS);
        all
    }

    pub(crate) fn asked_usage(&mut self) {
        self.call.usage_asked = true;
    }

    /// With which key it leaves in place of the pod's; `None`: with the pod's.
    pub(crate) fn injected(&mut self, injected: Option<Injected>) {
        self.call.injected = injected;
    }

    pub(crate) fn ended(&mut self, end: End) {
        self.call.end = end;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(reason) = self.course.aborted() {
            self.refused(reason);
            self.call.end = if self.call.end == End::Refused { End::Refused } else { End::Cut };
        }
        let leaks = self.leaks();
        // What it does goes into its record, and nobody asks for it any more.
        let operation = std::mem::replace(&mut self.call.operation, Operation::unknown(""));
        let mut call = Call {
            request_id: std::mem::take(&mut self.call.request_id),
            method: std::mem::take(&mut self.call.method),
            path: std::mem::take(&mut self.call.path),
            operation,
            usage: self.call.usage.take(),
            ..self.call.clone()
        };
        call.leaks = leaks;
        call.masked = self.course.masked.get().cloned().unwrap_or_default();
        call.unseen_parts = self.course.unseen_parts.load(Ordering::Relaxed);
        (call.request_sha256, call.answer_sha256) = self.course.digests.read();
        call.bytes_up = self.course.traffic.up();
        call.bytes_down = self.course.traffic.down();
        call.duration_micros = self.micros();
        if call.end != End::Closed && call.end != End::Refused {
            // The first is the one that broke it.
            let _earlier = self.ledger.broke.set((call.end, self.course.aborted()));
        }
        self.ledger.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(content) = self.course.contents.read(&call)
            && !self.sink.content(content)
        {
            add(&self.counters.records_lost, 1);
        }
        self.counters.called(call.verdict, call.operation.verb);
        call.answers.iter().for_each(|fact| self.counters.found(fact));
        if !self.sink.call(call) {
            add(&self.counters.records_lost, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use std::sync::Mutex;

    /// Has room for two.
    #[derive(Default)]
    struct Small(Mutex<Vec<Call>>);

    impl Sink for Small {
        fn take(&self, _: Record) -> bool {
            true
        }

        fn call(&self, call: Call) -> bool {
            let mut kept = self.0.lock().unwrap();
            let room = kept.len() < 2;
            kept.extend(room.then_some(call));
            room
        }
    }

    #[test]
    fn a_connection_that_breaks_off_breaks_nothing_where_no_request_is_under_way() {
        let (sink, counters) = (Arc::new(Small::default()), Arc::new(Counters::new()));
        let address = SocketAddr::from(([10, 0, 0, 1], 443));
        let name = DnsName::parse("a.example").unwrap();
        let asked = || Asked {
            asked_by: None,
            pod: address,
            destination: address,
            name: &name,
            method: "GET",
            path: "/",
            caller: Caller::default(),
            explicit: false,
        };
        for (end, expected) in [
            (End::Closed, End::Closed),
            (End::Refused, End::Closed),
            (End::ServerGone, End::ServerGone),
            (End::Cancelled, End::PodGone),
            (End::PodGone, End::PodGone),
            (End::Cut, End::Cut),
        ] {
            let ledger = Arc::new(Ledger::default());
            let mut guard = CallGuard::new(sink.clone(), counters.clone(), ledger.clone(), asked());
            assert_eq!(ledger.end_of_broken().0, End::PodGone, "it is under way");
            guard.ended(end);
            drop(guard);
            assert_eq!(ledger.end_of_broken().0, expected, "{end}");
        }
    }

    #[test]
    fn each_request_has_one_record_with_a_number_of_its_own_in_order() {
        let (sink, counters) = (Arc::new(Small::default()), Arc::new(Counters::new()));
        let address = SocketAddr::from(([10, 0, 0, 1], 443));
        let name = DnsName::parse("a.example").unwrap();
        let path = "/é".repeat(300);
        let asked = || Asked {
            asked_by: None,
            pod: address,
            destination: address,
            name: &name,
            method: "GET",
            path: &path,
            caller: Caller::default(),
            explicit: false,
        };
        for _ in 0..3 {
            let guard = CallGuard::new(sink.clone(), counters.clone(), Arc::default(), asked());
            guard.course.abort(Reason::RequestChanged);
            guard.course.abort(Reason::Timeout);
        }
        let kept = sink.0.lock().unwrap();
        assert!(kept[0].request_id < kept[1].request_id, "{kept:?}");
        assert_eq!((kept[0].reason, kept[0].end), (Reason::RequestChanged, End::Cut));
        assert_eq!(kept[0].path.chars().count(), MAX_PATH);
        let counts = counters.read();
        assert_eq!(counts.records_lost, 1);
        assert_eq!(counts.requests, [(Verdict::Deny, policy::Verb::Unknown, 3)]);
        let json = serde_json::to_string(&kept[0]).unwrap();
        assert_eq!(serde_json::from_str::<Call>(&json).unwrap(), kept[0]);
    }
}
