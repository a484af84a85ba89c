//! Entries and edges of the ledger as JSON: one shape for commands, the API and evidence.

use ledger::{Edge, Stored};
use observe::Time;
use serde_json::{Value, json};

/// An entry: its number and fields, and as `detail` the whole record where there is one.
#[must_use]
pub fn json(Stored { id, entry }: &Stored) -> Value {
    // What this program wrote is JSON; what somebody changed may not be, and is shown as it is.
    let detail = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    json!({
        "number": id,
        "time": Time(entry.time),
        "kind": entry.kind,
        "verdict": entry.verdict,
        "node": &*entry.node,
        "source": &*entry.source,
        "destination": &*entry.destination,
        "port": entry.port,
        "protocol": entry.protocol,
        "rule": &*entry.rule,
        "reason": &*entry.reason,
        "count": entry.count,
        "bytes_sent": entry.sent,
        "bytes_received": entry.received,
        "detail": entry.detail.as_ref().map(detail),
    })
}

/// An edge.
#[must_use]
pub fn edge(edge: &Edge) -> Value {
    json!({
        "source": edge.source,
        "destination": edge.destination,
        "port": edge.port,
        "protocol": edge.protocol,
        "first_seen": Time(edge.first),
        "last_seen": Time(edge.last),
        "allowed": edge.allowed,
        "denied": edge.denied,
        "bytes_sent": edge.sent,
        "bytes_received": edge.received,
        "rule": edge.rule,
    })
}
