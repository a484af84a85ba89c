//! Findings as the ledger has them, read without trust: whatever an entry says becomes a finding.
//!
//! Enters: entries of kind `finding`. Leaves: [`Finding`]s. Guarantees: never fails; what cannot be read is a finding of low
//! severity that says so; texts and lists are bounded. Does not: know the detectors.

use ledger::Stored;
use observe::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest text that is taken over, in bytes.
pub const MAX_TEXT: usize = 512;
/// Longest list that is taken over.
pub const MAX_LIST: usize = 32;

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
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    fn read(text: Option<&str>) -> Self {
        match text {
            Some("high") => Self::High,
            Some("medium") => Self::Medium,
            Some(_) | None => Self::Low,
        }
    }
}

/// Something that somebody should look at. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same whenever it is told again.
    pub id: String,
    /// Which detector, or which enforcement point.
    pub detector: String,
    /// How much it matters.
    pub severity: Severity,
    /// When it began.
    pub time: Time,
    /// When it was last seen; not before `time`.
    pub until: Time,
    /// Who.
    pub workload: String,
    /// What about: a domain, a destination, a service; empty where there is none.
    pub subject: String,
    /// The node that told of it; empty where none is known.
    pub node: String,
    /// What a person reads.
    pub sentence: String,
    /// What it rests on, as it was told.
    pub numbers: Vec<Value>,
    /// How many records speak for it.
    pub count: u64,
    /// The first of them, as it names them.
    pub records: Vec<String>,
    /// Ids of MITRE ATT&CK, MITRE ATLAS and the OWASP Top 10 for LLM applications.
    pub techniques: Vec<String>,
    /// The rule that was reached; empty where none was.
    pub rule: String,
    /// Entries of the ledger that told of it, the newest last; at most [`MAX_LIST`].
    pub entries: Vec<i64>,
    /// A policy says that nobody wants to hear of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suppressed: bool,
}

impl Finding {
    /// What an entry tells.
    #[must_use]
    pub fn read(stored: &Stored) -> Self {
        let entry = &stored.entry;
        let parsed: Option<Map<String, Value>> =
            entry.detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok());
        let is_broken = parsed.is_none();
        let said = Said(parsed.unwrap_or_default());
        let when = |key: &str| said.text(key).and_then(|text| text.parse::<Time>().ok());
        let until = when("until").unwrap_or(Time(entry.time));
        let time = when("time").unwrap_or(Time(entry.time)).min(until);
        let or = |key: &str, other: &str| said.text(key).map_or_else(|| cut(other), cut);
        let detector = or("detector", &entry.reason);
        let workload = or("workload", &entry.source);
        let subject = or("subject", &entry.destination);
        let sentence = match (is_broken, said.text("sentence")) {
            (true, _) => format!("{detector}: what was found cannot be read: its detail is not JSON"),
            (false, Some(sentence)) => cut(sentence),
            (false, None) => format!("{detector}: nothing more is told of it"),
        };
        let id = said.text("id").map_or_else(|| id_of(&detector, &workload, &subject), cut);
        Self {
            id,
            severity: Severity::read(said.text("severity")),
            time,
            until,
            node: cut(&entry.node),
            sentence,
            numbers: said.list("numbers").take(MAX_LIST).cloned().collect(),
            count: said.0.get("count").and_then(Value::as_u64).unwrap_or(entry.count),
            records: said.texts("records"),
            techniques: said.texts("techniques"),
            rule: cut(&entry.rule),
            entries: vec![stored.id],
            suppressed: said
                .0
                .get("suppressed")
                .is_some_and(|mark| !mark.is_null() && *mark != Value::Bool(false)),
            detector,
            workload,
            subject,
        }
    }
}

/// A detail, of which nothing is sure.
struct Said(Map<String, Value>);

impl Said {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.0.get(key).and_then(Value::as_array).into_iter().flatten()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).filter_map(Value::as_str).take(MAX_LIST).map(cut).collect()
    }
}

/// At most [`MAX_TEXT`] bytes of a text.
#[must_use]
pub fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn id_of(detector: &str, workload: &str, subject: &str) -> String {
    crate::digest::short([detector, workload, subject])
}
