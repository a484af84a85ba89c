//! Entries as bytes of a body.

use crate::batch::{Batch, Lost};
use crate::clickhouse;
use crate::otlp;
use crate::target::Format;
use ledger::Stored;
use observe::Time;
use serde_json::{Value, json};

/// A batch as the body of a request or the lines of a file. Syslog has messages instead.
pub(crate) fn body(format: Format, batch: &Batch) -> Vec<u8> {
    match format {
        Format::Otlp => otlp::request(batch).to_string().into_bytes(),
        Format::OtlpTraces => text(otlp::spans::request(batch)),
        Format::OtlpMetrics => text(otlp::metrics::request(batch)),
        // Those of collectors and syslog are made where they are sent.
        Format::JsonLines | Format::Syslog | Format::Collector => {
            lines(batch.lost.iter().map(lost_line).chain(batch.entries.iter().map(line)))
        }
        Format::ClickHouse => {
            let ledger = batch.place.ledger.as_deref().unwrap_or_default();
            let lost = batch.lost.iter().map(|lost| clickhouse::lost(lost, ledger));
            lines(lost.chain(batch.entries.iter().map(|stored| clickhouse::row(stored, ledger))))
        }
        Format::Ocsf => {
            let lost = batch.lost.iter().map(|lost| ocsf::lost(lost.records, lost.up_to, lost.time));
            lines(lost.chain(batch.entries.iter().map(ocsf::event)))
        }
    }
}

/// Media type of a body.
pub(crate) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Otlp | Format::OtlpTraces | Format::OtlpMetrics | Format::Collector => "application/json",
        Format::JsonLines | Format::Ocsf | Format::Syslog | Format::ClickHouse => "application/x-ndjson",
    }
}

/// Nothing is an empty body, which is not sent.
fn text(request: Option<Value>) -> Vec<u8> {
    request.map(|request| request.to_string().into_bytes()).unwrap_or_default()
}

fn lines(values: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        all.extend_from_slice(value.to_string().as_bytes());
        all.push(b'\n');
    }
    all
}

/// One entry: `number`, `time` (RFC 3339, UTC), `kind`, `verdict`, `node`, `source`, `destination`, `port`, `protocol`, `rule`,
/// `reason`, `count`, `bytes_sent`, `bytes_received`, `detail` (the whole record, or null), and `id`, which names it wherever it
/// is sent.
#[must_use]
pub fn line(stored: &Stored) -> Value {
    let Stored { id, entry } = stored;
    // What this program wrote is JSON; what somebody changed may not be, and is shown as it is.
    let detail = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
    json!({
        "id": ocsf::uid(stored),
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

/// What is missing: `kind` is `lost`.
pub(crate) fn lost_line(lost: &Lost) -> Value {
    json!({"kind": "lost", "records": lost.records, "up_to": lost.up_to, "time": Time(lost.time)})
}
