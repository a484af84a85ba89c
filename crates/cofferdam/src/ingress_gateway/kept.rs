//! What an ingress gateway's ledger keeps: an entry for each request and each finding.
//!
//! Enters: records and findings. Leaves: entries, of kind `ai_call` and `finding`, for who writes them. Guarantees: none waits for the
//! disk; what finds no room is counted. Does not: keep what was asked or answered, for a record has none of it.

use crate::up::finding::Finding;
use crate::up::pen::{Pen, Recorded};
use ::ledger::{Entry, Kind, Verdict};
use ingress::Record;
use serde_json::Value;
use std::sync::Arc;

const TCP: u8 = 6;

/// Has records of one gateway kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) pen: Arc<Pen>,
    /// The node of these records.
    node: Arc<str>,
}

impl Kept {
    pub(super) fn new(pen: Arc<Pen>, node: &str) -> Self {
        Self { pen, node: node.into() }
    }

    /// Keeps a request.
    pub(super) fn request(&self, record: &Record) {
        self.pen.write(entry(record, &self.node));
    }

    /// Keeps a finding.
    pub(super) fn finding(&self, told: &detect::Finding) {
        let told = detect::Finding { node: Some(Arc::clone(&self.node)), ..told.clone() };
        self.pen.write(Finding { sequence: 0, told }.entry());
    }
}

/// Who asked is the consumer, or an address where nobody is known.
fn entry(record: &Record, node: &Arc<str>) -> Entry {
    let who = record.consumer.clone().unwrap_or_else(|| record.client.ip().to_string());
    let verdict = match record.reason.verdict() {
        policy::Verdict::Allow => Verdict::Allow,
        policy::Verdict::Deny => Verdict::Deny,
    };
    Entry {
        time: record.time.0,
        node: Arc::clone(node),
        source: who.into(),
        destination: record.host.as_str().into(),
        port: record.port,
        protocol: TCP,
        rule: record.rule.as_deref().or(record.route.as_deref()).unwrap_or_default().into(),
        reason: record.reason.as_str().into(),
        sent: record.bytes_up,
        received: record.bytes_down,
        detail: detail(record),
        ..Entry::new(Kind::AiCall, verdict)
    }
}

/// The whole record, with its tokens as those of calls of pods have them.
fn detail(record: &Record) -> Option<String> {
    let mut value = serde_json::to_value(record).ok()?;
    if let Some(usage) = value.get_mut("usage").and_then(Value::as_object_mut) {
        for (ours, theirs) in [("input", "input_tokens"), ("output", "output_tokens")] {
            if let Some(count) = usage.remove(ours) {
                usage.insert(theirs.to_owned(), count);
            }
        }
    }
    Some(value.to_string())
}
