//! What a detector says: numbers with what they were compared with, and one sentence.
//!
//! JSON, one object: `id`, `detector`, `severity`, `time`, `until` (RFC 3339, UTC), `workload`,
//! `subject`, `sentence`, `numbers` (`name`, `value`, and where they apply `baseline`, `threshold`), `count`, `records`,
//! `techniques`, and where they are known `node`, `pod`, `rule` (of the last record that speaks for it), `nodes` (where records of
//! several speak for it) and `suppressed`.
//! Guarantees: the same records in the same order give the same findings with the same ids; an id names a
//! detector, a workload and a subject, so what is told again is told under its id, and the newest is the truth.

use crate::catalog::Detector;
use crate::event::{Event, RecordId};
use observe::Time;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// Most records that a finding names; how many there were is in its count.
pub const MAX_RECORDS: usize = 32;
/// Most nodes that a finding names.
pub const MAX_NODES: usize = 16;
/// Longest subject in bytes; what is longer is cut.
pub const MAX_SUBJECT: usize = 256;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A number that a finding rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// What was counted or measured, with its unit.
    pub name: Cow<'static, str>,
    /// How much it is; rounded to three digits behind the point.
    pub value: f64,
    /// What it was before, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// From where on it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Number {
    /// A number that is only said.
    pub fn of(name: &'static str, value: f64) -> Self {
        Self { name: Cow::Borrowed(name), value: rounded(value), baseline: None, threshold: None }
    }

    /// From where on it is told.
    #[must_use]
    pub fn from(mut self, threshold: f64) -> Self {
        self.threshold = Some(rounded(threshold));
        self
    }

    /// What it was before.
    #[must_use]
    pub fn was(mut self, baseline: f64) -> Self {
        self.baseline = Some(rounded(baseline));
        self
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// 16 hexadecimal digits of detector, workload and subject.
    pub id: String,
    /// Which detector.
    pub detector: Cow<'static, str>,
    /// How much it matters.
    pub severity: Severity,
    /// When it began.
    pub time: Time,
    /// When it was last seen.
    pub until: Time,
    /// Who.
    pub workload: Arc<str>,
    /// What about: a domain, a destination, a service.
    pub subject: String,
    /// What a person reads.
    pub sentence: String,
    /// What it rests on.
    pub numbers: Vec<Number>,
    /// How many records speak for it, as far as they were counted.
    pub count: u64,
    /// The first of them.
    pub records: Vec<RecordId>,
    /// Ids of MITRE ATT&CK, MITRE ATLAS and the OWASP Top 10 for LLM applications.
    pub techniques: Vec<Cow<'static, str>>,
    /// The enforcement point that saw the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The pod of the last of them, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// The rule that decided the last of them, with the place where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The enforcement points whose records speak for it, the first ones; empty where it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Arc<str>>,
    /// By which policy it is not to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppressed>,
}

/// Why a finding is not to be shown. It is counted and kept all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// The policy that says so, with the place where it was written.
    pub policy: Arc<str>,
    /// Why, in the words of its author.
    pub reason: Arc<str>,
}

/// What a detector has seen that speaks for a finding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    first: Option<Time>,
    last: Time,
    count: u64,
    records: Vec<RecordId>,
    /// Whose they are, each once.
    nodes: Vec<Arc<str>>,
    /// The count from which on it is told again.
    again: u64,
}

impl Evidence {
    /// One more record.
    pub(crate) fn add(&mut self, event: &Event) {
        self.first.get_or_insert(event.time);
        self.last = event.time;
        self.count += 1;
        if self.records.len() < MAX_RECORDS {
            self.records.push(event.record.clone());
        }
        if let Some(node) = &event.scene.node {
            self.of(node);
        }
    }

    /// Something that an enforcement point saw before speaks for it, too.
    pub(crate) fn of(&mut self, node: &Arc<str>) {
        if self.nodes.len() < MAX_NODES && !self.nodes.contains(node) {
            self.nodes.push(Arc::clone(node));
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When the last was.
    pub(crate) fn last(&self) -> Time {
        self.last
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether to tell now: the first time, and whenever there is twice as much as when it was last told. So what lasts is
    /// told with its size, and at most 64 times.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.count >= self.again;
        if due {
            self.again = self.count.saturating_mul(2).max(1);
        }
        due
    }

    /// Whether it was told.
    pub(crate) fn is_told(&self) -> bool {
        self.again > 0
    }

    /// Has it told the next time, whatever there is.
    pub(crate) fn again(&mut self) {
        self.again = 0;
    }

    /// The finding that it speaks for.
    pub(crate) fn tell(
        &self,
        detector: &'static Detector,
        who: &Arc<str>,
        subject: &str,
        told: Told,
    ) -> Finding {
        let subject = cut(subject);
        Finding {
            id: id(&[detector.name, who, &subject]),
            detector: Cow::Borrowed(detector.name),
            severity: told.severity.unwrap_or(detector.severity),
            time: self.first.unwrap_or_default(),
            until: self.last,
            workload: Arc::clone(who),
            subject,
            sentence: told.sentence,
            numbers: told.numbers,
            count: self.count,
            records: self.records.clone(),
            techniques: detector.techniques.iter().copied().map(Cow::Borrowed).collect(),
            node: None,
            pod: None,
            rule: None,
            nodes: if self.nodes.len() > 1 { self.nodes.clone() } else { Vec::new() },
            suppressed: None,
        }
    }
}

/// What a detector says in its own words.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Another severity than the detector's.
    pub(crate) severity: Option<Severity>,
    /// The sentence.
    pub(crate) sentence: String,
    /// The numbers.
    pub(crate) numbers: Vec<Number>,
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_SUBJECT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// FNV-1a over the parts, with a byte between that no part has: the same on every machine and in every release.
pub(crate) fn id(parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let mut text = String::with_capacity(16);
    let _ = write!(text, "{hash:016x}");
    text
}
