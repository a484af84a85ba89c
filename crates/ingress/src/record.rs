//! One record for each request, whatever becomes of it.
//!
//! Guarantees: a guard gives it to the [`Sink`] when the request goes, so one whose task is cancelled has one as well. Does
//! not: hold what was said, queries or keys.

use crate::probe::ProbeFact;
use crate::reason::Reason;
use inspect::answer::Usage;
use inspect::refusal::RpcIds;
use observe::Time;
use policy::Operation;
use purse::Cost;
use serde::Serialize;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most characters of a method and of a path that are kept.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 512;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Where records go. It is called where requests end, so it must be quick and not wait.
pub trait Sink: Send + Sync + Debug {
    /// A request ended.
    fn ended(&self, record: Record);
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Its answer was given out whole.
    Closed,
    /// The gateway answered itself.
    Refused,
    /// Its client went before its answer was whole.
    #[default]
    ClientGone,
    /// Its server broke off.
    ServerGone,
    /// The gateway ended it in the middle.
    Cut,
}

/// One request, when it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When its head was read.
    pub time: Time,
    /// Unique in its gateway, and in the order of time.
    pub request_id: String,
    /// Who sent it.
    pub client: SocketAddr,
    /// At which port of a Gateway.
    pub port: u16,
    /// `namespace/name/listener` of its Gateway. `None`: no listener has its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The host that it named. The client's text: show it as such, and so path and method.
    pub host: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Kind, namespace/name and rule of its route, with file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Who asked, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// Of which class it is to the server: `infer`, `introspect`, `admin`, `mutate-weights`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// What it does.
    pub operation: Operation,
    /// Why it went on, or not.
    pub reason: Reason,
    /// What the reason is about, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The rule that decided: object, field, file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the web application firewall said. `None`: it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waf: Option<WafFact>,
    /// What the prompt guard said of the most suspicious text. `None`: it was not asked, or there was no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardFact>,
    /// What it asks of a model beside an answer. `None`: it is no call, or was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeFact>,
    /// What was found in the answer, each kind once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<LeakFact>,
    /// Tools of a server of MCP that the answer lists, the first of them, and those in quarantine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolFact>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// Status of the answer; 0: none was sent.
    pub status: u16,
    /// What the answer says of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Tokens>,
    /// What that cost, by the prices that the gateway was given. `None`: nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// A limit was held to without the store in which gateways share them, for it could not be reached.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub without_store: bool,
    /// Bytes of its body.
    pub bytes_up: u64,
    /// Bytes of the answer's body.
    pub bytes_down: u64,
    /// How long it waited for its turn.
    pub waited_micros: u64,
    /// Until the head of the answer.
    pub first_byte_micros: u64,
    /// Until its end.
    pub duration_micros: u64,
    /// How it ended.
    pub end: End,
}

/// What the web application firewall said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WafFact {
    /// Anomaly score of the request.
    pub score: i64,
    /// Ids of rules that matched and ask to be told, the first of them.
    pub rules: Vec<u64>,
    /// Whether it would block, whatever the mode.
    pub blocks: bool,
}

/// What was found in an answer. Never what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeakFact {
    /// Id of what found it, the same in every release: `github-pat`, `canary`, `system-prompt`.
    pub rule: &'static str,
    /// `secret`, `personal`, `canary`, `system-prompt`.
    pub class: &'static str,
    /// Whether everything that its kind is checked by holds; what is not certain is only told.
    pub certain: bool,
    /// `reported`, `masked`, `blocked`.
    pub action: &'static str,
    /// How often.
    pub count: u32,
}

/// A tool that a server of MCP lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolFact {
    /// Its name. The server's text: show it as such.
    pub name: String,
    /// SHA-256 of its definition, as `mcp.definitions.pins` takes it.
    pub sha256: String,
    /// `same`, `first`, `changed`, `unpinned`, `no-room`.
    pub standing: &'static str,
    /// Whether it was taken out of the list.
    pub is_quarantined: bool,
}

/// What the prompt guard said of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuardFact {
    /// From 0 to 1.
    pub score: f64,
    /// What it looks like.
    pub family: &'static str,
    /// `allow`, `annotate` or `block`.
    pub band: &'static str,
    /// Whose text it was.
    pub role: &'static str,
    /// Bytes of it that are most suspicious.
    pub span: (usize, usize),
    /// Why, in a sentence.
    pub why: String,
}

/// Tokens of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// That went in. `None`: the answer does not say.
    pub input: Option<u64>,
    /// That came out. `None`: the answer does not say.
    pub output: Option<u64>,
    /// Characters of its text.
    pub output_chars: u64,
    /// The model that answered.
    pub model: Option<String>,
    /// Why it ended, in the provider's words.
    pub finish: Vec<String>,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input: usage.input_tokens,
            output: usage.output_tokens,
            output_chars: usage.output_chars,
            model: usage.model,
            finish: usage.finish,
        }
    }
}

/// What both bodies of a request share.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
    cut: OnceLock<Reason>,
}

impl Course {
    /// Ends both bodies. The first reason counts.
    pub(crate) fn abort(&self, reason: Reason) {
        let _earlier = self.cut.set(reason);
    }

    pub(crate) fn aborted(&self) -> Option<Reason> {
        self.cut.get().copied()
    }
}

/// What a request begins with.
pub(crate) struct Begin<'a> {
    pub(crate) client: SocketAddr,
    pub(crate) port: u16,
    pub(crate) host: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

/// Gives the record out when the request goes.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) record: Box<Record>,
    pub(crate) course: Arc<Course>,
    pub(crate) began: Instant,
    /// Which requests of JSON-RPC a refusal answers.
    pub(crate) rpc: RpcIds,
    sink: Arc<dyn Sink>,
    /// Its connection has a request as long as this is there.
    _active: Arc<()>,
}

impl Guard {
    pub(crate) fn new(sink: &Arc<dyn Sink>, begin: &Begin<'_>, active: &Arc<()>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Time(micros(since));
        let record = Record {
            time,
            request_id: format!("{:016x}{:08x}", time.0, COUNTER.fetch_add(1, Ordering::Relaxed)),
            client: begin.client,
            port: begin.port,
            gateway: None,
            host: begin.host.chars().take(MAX_PATH).collect(),
            method: begin.method.chars().take(MAX_METHOD).collect(),
            path: begin.path.chars().take(MAX_PATH).collect(),
            route: None,
            consumer: None,
            class: None,
            operation: Operation::unknown("it was not read"),
            reason: Reason::NotJudged,
            detail: None,
            rule: None,
            waf: None,
            guard: None,
            probe: None,
            leaks: Vec::new(),
            tools: Vec::new(),
            upstream: None,
            status: 0,
            usage: None,
            cost: None,
            without_store: false,
            bytes_up: 0,
            bytes_down: 0,
            waited_micros: 0,
            first_byte_micros: 0,
            duration_micros: 0,
            end: End::ClientGone,
        };
        Self {
            record: Box::new(record),
            course: Arc::default(),
            began: Instant::now(),
            rpc: RpcIds::default(),
            sink: Arc::clone(sink),
            _active: Arc::clone(active),
        }
    }

    /// Why it does not go on.
    pub(crate) fn refused(&mut self, reason: Reason, detail: Option<String>) {
        self.record.reason = reason;
        self.record.detail = detail;
    }

    /// The head of its answer goes out.
    pub(crate) fn answered(&mut self, status: u16) {
        self.record.status = status;
        self.record.first_byte_micros = micros(self.began.elapsed());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut record = (*self.record).clone();
        if let Some(reason) = self.course.aborted() {
            (record.reason, record.end) = (reason, End::Cut);
        }
        record.bytes_up = self.course.up.load(Ordering::Relaxed);
        record.bytes_down = self.course.down.load(Ordering::Relaxed);
        record.duration_micros = micros(self.began.elapsed());
        self.sink.ended(record);
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
