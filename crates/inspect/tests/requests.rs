//! Requests as the clients of many services send them, and what each is taken for.
//!
//! The cases are lines of `vectors/requests.jsonl`: a request, and what is expected of it: provider, api, verb, then resource,
//! what it copies from, and model, where there are any.

use inspect::operation::{Head, Progress, Reader};
use policy::Operation;
use serde_json::Value;

/// What it is understood as, with its body in pieces of this size. None where the case is no request.
fn understood(case: &Value, size: usize) -> Option<String> {
    let (scheme, rest) = case["url"].as_str()?.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    let default = if scheme == "https" || scheme == "wss" { "443" } else { "80" };
    let (host, port) = authority.split_once(':').unwrap_or((authority, default));
    let host = host.to_ascii_lowercase();
    let headers = case["headers"].as_object()?.iter();
    let headers: Option<Vec<_>> =
        headers.map(|(name, value)| Some((name.as_str(), value.as_str()?.as_bytes()))).collect();
    let (method, port, headers) = (case["method"].as_str()?, port.parse().ok()?, headers?);
    let mut reader = Reader::leaving(&Head { method, host: &host, port, target, headers: &headers }, true);
    let body = case["body"].as_str().unwrap_or_default();
    body.as_bytes().chunks(size).for_each(|piece| reader.push(piece));
    reader.end();
    Some(match reader.progress() {
        Progress::NeedMore => "not known at the end".to_owned(),
        Progress::Known(operation) => shown(operation),
        Progress::Contradicted(..) => "contradicted".to_owned(),
    })
}

fn shown(operation: &Operation) -> String {
    let provider = operation.provider.as_deref().unwrap_or("-");
    let mut text = format!("{provider} {} {}", operation.api, operation.verb);
    text.extend(operation.resource.iter().map(|resource| format!(" resource={resource}")));
    let source =
        |source: &String| if source.is_empty() { " from=?".into() } else { format!(" from={source}") };
    text.extend(operation.sources.iter().map(source));
    text.extend(operation.model.iter().map(|model| format!(" model={model}")));
    text
}

#[test]
fn requests_of_many_clients_are_what_they_do() {
    let mut wrong = Vec::new();
    for (at, line) in include_str!("vectors/requests.jsonl").lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        for size in [1, usize::MAX] {
            let found = understood(&case, size).unwrap();
            let expected = case["expected"].as_str().unwrap();
            if found != expected {
                wrong.push(format!(
                    "{}: {} {}\n  expected {expected}\n  found    {found}",
                    at + 1,
                    case["method"],
                    case["url"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
