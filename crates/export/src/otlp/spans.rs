//! Requests as spans of OTLP in JSON; other entries have none.
//!
//! Source: OTLP 1.9, `ExportTraceServiceRequest`. A request's own trace is not known: each span is a trace of its own, with ids made
//! of the entry's, so that a span that is sent again is the same. `cofferdam.request.id` is in the client's answer and in the log.

use super::{attributes, named, nanos, resource, scope};
use crate::batch::Batch;
use crate::otel;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ledger::{Kind, Stored};
use ocsf::Detail;
use serde_json::{Value, json};

/// `SPAN_KIND_CLIENT`.
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// Bytes of the ids of a trace and of a span.
const TRACE_ID: usize = 16;
const SPAN_ID: usize = 8;

/// The body of a request; `None` where no entry has a span.
pub(crate) fn request(batch: &Batch) -> Option<Value> {
    let spans: Vec<Value> = batch.entries.iter().filter_map(span).collect();
    if spans.is_empty() {
        return None;
    }
    Some(
        json!({"resourceSpans": [{"resource": resource(), "scopeSpans": [{"scope": scope(), "spans": spans}]}]}),
    )
}

fn span(stored: &Stored) -> Option<Value> {
    let entry = &stored.entry;
    if entry.kind != Kind::AiCall {
        return None;
    }
    let detail = Detail::of(entry.detail.as_deref());
    let took = detail.number(&["duration_micros"]).unwrap_or(0);
    let id = HEXLOWER.encode(digest(&SHA256, ocsf::uid(stored).as_bytes()).as_ref());
    let (trace, rest) = id.split_at(2 * TRACE_ID);
    let (span, _) = rest.split_at(2 * SPAN_ID);
    let status = match otel::error(&detail) {
        Some(why) => json!({"code": ERROR, "message": why}),
        None => json!({}),
    };
    Some(json!({
        "traceId": trace,
        "spanId": span,
        "name": otel::name(&detail),
        "kind": CLIENT,
        "startTimeUnixNano": nanos(entry.time),
        "endTimeUnixNano": nanos(entry.time.saturating_add(took)),
        "attributes": attributes(named(stored, &detail)),
        "status": status,
    }))
}
