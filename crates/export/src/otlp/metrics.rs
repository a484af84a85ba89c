//! What a batch of entries amounts to, as metrics of OTLP in JSON.
//!
//! Source: OTLP 1.9, `ExportMetricsServiceRequest`; `gen_ai.client.token.usage` and `gen_ai.client.operation.duration` with the
//! attributes and bounds of the conventions for generative AI
//! (<https://github.com/open-telemetry/semantic-conventions-genai> at `004902b8`, in development). Sums are deltas from the oldest to
//! the newest entry of a batch: a batch that is sent again after a crash counts twice. Guarantees: at most as many points as a
//! batch has entries, and two for each of its requests. Does not: have names of pods, domains or paths in attributes.

use super::{attributes, nanos, resource, scope};
use crate::batch::Batch;
use crate::otel;
use ledger::Kind;
use ocsf::Detail;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: u8 = 1;
/// Bounds of the conventions, in tokens.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// The same, in seconds.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// What falls between bounds.
#[derive(Debug, Default)]
struct Histogram {
    count: u64,
    sum: f64,
    buckets: [u64; 15],
}

impl Histogram {
    fn add(&mut self, value: f64, bounds: &[f64]) {
        self.count += 1;
        self.sum += value;
        let place = bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
    }
}

/// Points by their attributes, which are told apart by their text.
type Points<T> = BTreeMap<String, (Map<String, Value>, T)>;

fn point<T: Default>(points: &mut Points<T>, attributes: Map<String, Value>) -> &mut T {
    let key = Value::Object(attributes.clone()).to_string();
    &mut points.entry(key).or_insert_with(|| (attributes, T::default())).1
}

/// The body of a request; `None` where there is nothing to count.
pub(crate) fn request(batch: &Batch) -> Option<Value> {
    let times = batch.entries.iter().map(|stored| stored.entry.time);
    let (begin, end) = (times.clone().min()?, times.max()?);
    let (mut records, mut tokens, mut durations) = (Points::<u64>::new(), Points::new(), Points::new());
    for stored in &batch.entries {
        let entry = &stored.entry;
        let of = [("cofferdam.kind", json!(entry.kind)), ("cofferdam.verdict", json!(entry.verdict))];
        let of = of.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let count = point(&mut records, of);
        *count = count.saturating_add(entry.count);
        if entry.kind == Kind::AiCall {
            call(&Detail::of(entry.detail.as_deref()), &mut tokens, &mut durations);
        }
    }
    // A span of time that has an end.
    let span = (nanos(begin), nanos(end.max(begin.saturating_add(1))));
    let sums: Vec<Value> = records
        .into_values()
        .map(|(of, count)| {
            json!({"attributes": attributes(of), "startTimeUnixNano": span.0, "timeUnixNano": span.1, "asInt": count.to_string()})
        })
        .collect();
    let mut metrics = vec![json!({
        "name": "cofferdam.records", "unit": "{record}", "description": "What was allowed, denied or found",
        "sum": {"dataPoints": sums, "aggregationTemporality": DELTA, "isMonotonic": true},
    })];
    metrics.extend(histogram("gen_ai.client.token.usage", "{token}", tokens, &TOKENS, &span));
    metrics.extend(histogram("gen_ai.client.operation.duration", "s", durations, &SECONDS, &span));
    Some(
        json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"scope": scope(), "metrics": metrics}]}]}),
    )
}

/// Only requests that are an operation of a model, tool or agent count.
fn call(detail: &Detail, tokens: &mut Points<Histogram>, durations: &mut Points<Histogram>) {
    let all = otel::attributes(detail);
    let kept = ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address"];
    let of = |more: Option<(&str, Value)>| -> Map<String, Value> {
        let kept = kept.iter().filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone())));
        kept.chain(more.map(|(name, value)| (name.to_owned(), value))).collect()
    };
    if !all.contains_key("gen_ai.operation.name") {
        return;
    }
    for kind in ["input", "output"] {
        if let Some(count) = detail.number(&["usage", &format!("{kind}_tokens")]) {
            point(tokens, of(Some(("gen_ai.token.type", json!(kind))))).add(count as f64, &TOKENS);
        }
    }
    if let Some(micros) = detail.number(&["duration_micros"]) {
        let error = otel::error(detail).map(|why| ("error.type", json!(why)));
        point(durations, of(error)).add(micros as f64 / 1e6, &SECONDS);
    }
}

fn histogram(
    name: &str,
    unit: &str,
    points: Points<Histogram>,
    bounds: &[f64],
    (begin, end): &(String, String),
) -> Option<Value> {
    if points.is_empty() {
        return None;
    }
    let points: Vec<Value> = points
        .into_values()
        .map(|(of, Histogram { count, sum, buckets })| {
            json!({
                "attributes": attributes(of), "startTimeUnixNano": begin, "timeUnixNano": end, "count": count.to_string(),
                "sum": sum, "bucketCounts": buckets.map(|count| count.to_string()), "explicitBounds": bounds,
            })
        })
        .collect();
    Some(
        json!({"name": name, "unit": unit, "histogram": {"dataPoints": points, "aggregationTemporality": DELTA}}),
    )
}
