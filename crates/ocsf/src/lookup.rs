//! DNS queries: class 4003, DNS activity.

use crate::detail::Detail;
use crate::end::endpoint;
use crate::event::Class;
use crate::network::{connection, severity};
use ledger::Entry;
use serde_json::{Value, json};
use std::ops::RangeInclusive;

/// Numbers of the schema.
const DNS_ACTIVITY: u64 = 4003;
const RESPONSE: u64 = 2;
const TRAFFIC: u64 = 6;
const OTHER_CODE: u64 = 99;

/// Response codes of RFC 6895 that the schema knows by their own numbers.
const KNOWN_CODES: [RangeInclusive<u64>; 2] = [0..=11, 16..=23];

/// The class of an entry about a query: what was answered, or many queries of which only the number is known.
pub(crate) fn class(entry: &Entry, detail: &Detail) -> Class {
    let activity = if detail.is_there() { RESPONSE } else { TRAFFIC };
    let mut class =
        Class { uid: DNS_ACTIVITY, activity, severity: severity(entry.verdict), ..Class::default() };
    let source = endpoint(&entry.source, 0, detail.text(&["pod"]));
    class.put("src_endpoint", Some(source.unwrap_or_else(|| json!({"name": "unknown"}))));
    class.put(
        "dst_endpoint",
        detail.text(&["resolver"]).and_then(|resolver| endpoint(resolver, entry.port, None)),
    );
    class.put("connection_info", Some(connection(entry)));
    let mut query = json!({"hostname": &*entry.destination});
    if let (Some(query), Some(kind)) = (query.as_object_mut(), detail.text(&["type"])) {
        query.insert("type".to_owned(), json!(kind));
    }
    class.put("query", Some(query));
    if let Some(code) = detail.number(&["rcode"]) {
        let is_known = KNOWN_CODES.iter().any(|codes| codes.contains(&code));
        class.put("rcode_id", Some(if is_known { code } else { OTHER_CODE }));
        class.put("rcode", (!is_known).then(|| format!("RCODE{code}")));
    }
    let answers: Vec<Value> =
        detail.texts(&["addresses"]).into_iter().map(|address| json!({"rdata": address})).collect();
    class.put("answers", (!answers.is_empty()).then_some(answers));
    class
}
