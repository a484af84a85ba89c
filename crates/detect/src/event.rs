//! What detectors look at: one small shape for our own records and for recordings of others.
//!
//! Enters: readers ([`crate::read`]) and whoever has records. Guarantees: names are text without control characters, so a
//! finding can show them. Does not: hold what was said.

use crate::beacon::{real, whole};
use crate::catalog::Detector;
use observe::Time;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// Microseconds of a second.
pub const SECOND: u64 = 1_000_000;
/// Microseconds of a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Microseconds of an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Microseconds of a day.
pub const DAY: u64 = 24 * HOUR;
/// An event that is older than what came before it by more than this is not late: the clock was set back.
const LATE: u64 = DAY;
/// Bounds of what a threshold is multiplied by.
pub const LEAST_FACTOR: f64 = 0.25;
/// As [`LEAST_FACTOR`].
pub const MOST_FACTOR: f64 = 16.0;

/// Which record an event was made from: a source and a number in it. As text `source:number`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// A file, or the kind of record of our own.
    pub source: Arc<str>,
    /// Line of a file, packet of a capture, sequence of a record.
    pub number: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let parts = text.rsplit_once(':').and_then(|(source, number)| Some((source, number.parse().ok()?)));
        let (source, number) = parts.ok_or_else(|| de::Error::custom("not a record: write source:number"))?;
        Ok(Self { source: source.into(), number })
    }
}

/// Whether what began at `start` and lasts so long is over at `now`. What is late counts as if it came now, so nothing that began
/// later is over for it; but what began while a clock was ahead is, once the clock was set back.
pub(crate) fn is_over(start: u64, length: u64, now: u64) -> bool {
    now.saturating_sub(start) >= length || start.saturating_sub(now) > LATE
}

/// Something that a workload did.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When; the epoch where nobody knows.
    pub time: Time,
    /// Who: `namespace/kind/workload`, `namespace/pod`, `node name`, or an address where that is all that is known.
    pub who: Arc<str>,
    /// The record that says so.
    pub record: RecordId,
    /// What.
    pub what: What,
    /// What findings say besides.
    pub scene: Scene,
    /// How far from their own thresholds detectors tell of whoever did it.
    pub factors: Factors,
}

/// By what thresholds of detectors are multiplied, for one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors(Option<Arc<[Factor]>>);

/// Of one detector.
#[derive(Clone, Debug, PartialEq)]
struct Factor {
    detector: Arc<str>,
    times: f64,
}

impl Factors {
    /// By names of detectors; each factor is kept within [`LEAST_FACTOR`] and [`MOST_FACTOR`], and what is no number is left out.
    pub fn new(factors: impl IntoIterator<Item = (Arc<str>, f64)>) -> Self {
        let numbers = factors.into_iter().filter(|(_, times)| !times.is_nan());
        let bounded =
            |(detector, times): (_, f64)| Factor { detector, times: times.clamp(LEAST_FACTOR, MOST_FACTOR) };
        let factors: Arc<[Factor]> = numbers.map(bounded).collect();
        Self((!factors.is_empty()).then_some(factors))
    }

    fn of(&self, detector: &Detector) -> f64 {
        let Some(factors) = &self.0 else { return 1.0 };
        factors.iter().find(|factor| *factor.detector == *detector.name).map_or(1.0, |factor| factor.times)
    }
}

/// What else is known of an event. No detector looks at it: findings have it from the last event that speaks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The enforcement point.
    pub node: Option<Arc<str>>,
    /// The pod, `namespace/name`.
    pub pod: Option<Arc<str>>,
    /// The rule that decided, as text.
    pub rule: Option<Arc<str>>,
}

impl Event {
    /// One of which nothing else is known.
    pub fn new(time: Time, who: Arc<str>, record: RecordId, what: What) -> Self {
        Self { time, who, record, what, scene: Scene::default(), factors: Factors::default() }
    }

    /// From where on a detector tells that tells from this on.
    pub(crate) fn limit(&self, detector: &Detector, own: f64) -> f64 {
        own * self.factors.of(detector)
    }

    /// The same of what is counted: at least 1, and exact where nobody tuned the detector.
    pub(crate) fn count(&self, detector: &Detector, own: u64) -> u64 {
        let factor = self.factors.of(detector);
        if factor == 1.0 { own } else { whole((real(own) * factor).ceil()).max(1) }
    }

    /// Microseconds since 1970 UTC.
    pub(crate) fn micros(&self) -> u64 {
        self.time.0
    }

    /// Whether what began at a time and lasts so long is over; see [`is_over`].
    pub(crate) fn ends(&self, start: u64, length: u64) -> bool {
        is_over(start, length, self.micros())
    }
}

/// What a workload did.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It asked DNS.
    Lookup(Lookup),
    /// It connected, or tried to.
    Flow(Flow),
    /// It asked a service something that was understood.
    Call(Box<Call>),
    /// It did what an enforcement point has a word for.
    Sign(Sign),
    /// It came to a limit of a rule.
    Reached(Reached),
    /// A server of MCP told it of a tool.
    Tool(Tool),
}

/// A question to DNS and, as far as it is known, what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Lower case, without the last dot; bytes that are no printable ASCII as `\xNN`.
    pub name: Arc<str>,
    /// Type asked for, by its number.
    pub kind: u16,
    /// Response code; `None` where no answer is known.
    pub rcode: Option<u16>,
    /// Bytes of what the answer holds; 0 where nobody knows.
    pub answer_bytes: u32,
}

/// A name as a lookup has it. What is no printable ASCII is written as `\xNN`, so that it can be shown, and is at most four times
/// as long.
pub fn clean_name(bytes: &[u8]) -> Arc<str> {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.into()
}

/// A text of somebody else's without control characters: each is written as `?`.
pub fn clean_text(text: &str) -> Arc<str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect::<String>().into()
}

/// Response code for a name that is not there.
pub const NXDOMAIN: u16 = 3;

/// Where the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A pod or a node of the cluster.
    Inside,
    /// Outside the cluster.
    Outside,
    /// The recording does not say.
    Unknown,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was opened; another event tells of its end.
    Open,
    /// It ended; another event told of its begin.
    Close,
    /// It was opened and ended.
    Whole,
    /// More passed over connections whose begin another event told of.
    More,
    /// It was refused, by policy or by the other end, or nobody answered.
    Failed,
}

/// A connection. The event's time is when it began, except of [`Phase::Close`], where it is when it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// How far it is.
    pub phase: Phase,
    /// Whether the one who opened it is a node.
    pub from_node: bool,
    /// Where it went.
    pub address: IpAddr,
    /// By which name, if that is known; for workloads inside `namespace/workload`.
    pub name: Option<Arc<str>>,
    /// Where that is.
    pub place: Place,
    /// Destination port.
    pub port: u16,
    /// Number of the transport protocol: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// Bytes from the one who opened it.
    pub sent: u64,
    /// Bytes to the one who opened it.
    pub received: u64,
    /// Microseconds from begin to end; 0 where nobody knows.
    pub duration: u64,
}

impl Flow {
    /// Whom a person would say it went to.
    pub fn whom(&self) -> String {
        self.name.as_ref().map_or_else(|| self.address.to_string(), ToString::to_string)
    }
}

/// What one request does, as far as detectors look at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// Service: the name that the connection was opened for.
    pub service: Arc<str>,
    /// What it does: `call`, `upload`, `download`, ...
    pub verb: Arc<str>,
    /// The model it names, or what it is done to.
    pub subject: Option<Arc<str>>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, in the word of its record.
    pub reason: Arc<str>,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Billionths of the currency of the prices.
    pub cost_nanos: u64,
    /// Bytes of its body.
    pub sent: u64,
    /// Bytes of its answer's body.
    pub received: u64,
    /// Fingerprints of the keys it shows.
    pub keys: Vec<Arc<str>>,
    /// Digest of its body.
    pub body: Option<Arc<str>>,
    /// What was found in it or in its answer.
    pub found: Vec<Found>,
    /// Whether the prompt guard would annotate or block it.
    pub is_suspicious: bool,
    /// What it asks of a model beside an answer. `None`: nobody looked.
    pub asks: Option<Asks>,
}

/// What a call asks of a model beside an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Whether it asks how likely tokens are.
    pub is_likelihood_wanted: bool,
    /// How many answers it wants.
    pub choices: u64,
    /// Whether it wants the likeliest answer, the same each time.
    pub is_greedy: bool,
    /// Texts that it wants to have as vectors.
    pub texts: u64,
    /// Digest of how its question begins.
    pub template: Option<Arc<str>>,
    /// Whether the model, or what its provider put before it, refused.
    pub is_refused: bool,
}

/// Whether an answer that ended for this reason is none: `finish_reason` of OpenAI and Azure, `stop_reason` of Anthropic, `finishReason`
/// of Gemini, stop reasons of Bedrock.
pub fn is_refusal(finish: &str) -> bool {
    const WORDS: [&str; 9] = [
        "content_filter",
        "content_filtered",
        "refusal",
        "guardrail_intervened",
        "safety",
        "prohibited_content",
        "blocklist",
        "recitation",
        "spii",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(finish))
}

/// Something that was found in a request or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Id of what found it.
    pub rule: Arc<str>,
    /// Where and what, as far as it is known.
    pub what: Arc<str>,
    /// In what.
    pub place: Carrier,
    /// What became of it.
    pub fate: Fate,
}

/// In what something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A request: something that should not leave.
    Request,
    /// An answer: something that it should not give away.
    Answer,
    /// A file that an answer brought: something that is unsafe to open.
    File,
}

/// What became of something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It went on.
    Told,
    /// It was taken out, and the rest went on.
    Masked,
    /// It was stopped.
    Blocked,
}

/// A limit of a rule that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub limit: Limit,
    /// With whom; `None`: with all whom the rule allows.
    pub whom: Option<Arc<str>>,
    /// Bytes: the limit, or what was sent.
    pub bytes: u64,
}

/// Limits of what is sent, and of what may pass unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// One connection sent as much as its rule lets one send.
    UploadConnection,
    /// One connection sent more than goes with downloading.
    DownloadOnly,
    /// A pod sent as much as its rule allows in an hour.
    UploadHour,
    /// A pod sent as much as its rule allows in a day.
    UploadDay,
    /// A client did not let its connection be opened, and it passed without its requests being judged.
    Unopened,
}

/// A tool, as a server of MCP lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The server, by the name that it was asked under.
    pub server: Arc<str>,
    /// Its name; the server's text, without control characters.
    pub name: Arc<str>,
    /// Digest of its definition.
    pub digest: Arc<str>,
    /// Whether an enforcement point says that it is another than it was, or than it is pinned to.
    pub has_changed: bool,
    /// Whether it was taken out of the list.
    pub is_quarantined: bool,
}

/// A word of an enforcement point for something that it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// The service that hands out credentials of a cloud.
    MetadataService,
    /// The Kubernetes API server.
    ApiServer,
    /// DNS of somebody who is not the cluster's.
    DnsElsewhere,
    /// DNS over TLS or QUIC.
    DnsOverTls,
    /// A public resolver by HTTPS.
    DnsOverHttps,
    /// An address that no answer gave.
    NotResolved,
    /// A connection that says another name than the one it was opened for.
    OtherName,
    /// A connection that hides its name, or speaks what cannot be judged.
    Hidden,
    /// An answer of DNS that leads a public name inside.
    Rebinding,
}
