//! Connections, and connections that were held to their name: class 4001, network activity.

use crate::detail::Detail;
use crate::end::endpoint;
use crate::event::Class;
use ledger::{Entry, Verdict};
use serde_json::{Value, json};

/// Numbers of the schema.
const NETWORK_ACTIVITY: u64 = 4001;
const FAIL: u64 = 4;
const REFUSE: u64 = 5;
const TRAFFIC: u64 = 6;
const OUTBOUND: u64 = 2;
const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;

/// The class of an entry about a connection.
pub(crate) fn class(entry: &Entry, detail: &Detail) -> Class {
    let activity = match entry.verdict {
        // Many connections are one entry, so it is a report of traffic and not of one that was opened.
        Verdict::Allow | Verdict::None => TRAFFIC,
        Verdict::Deny => REFUSE,
        Verdict::Fail => FAIL,
    };
    let mut class =
        Class { uid: NETWORK_ACTIVITY, activity, severity: severity(entry.verdict), ..Class::default() };
    ends(&mut class, entry, detail);
    class.put("connection_info", Some(connection(entry)));
    class.put("traffic", traffic(entry));
    class.put("app_protocol_name", detail.text(&["claim", "kind"]));
    class
}

/// How much an entry with this verdict matters by itself.
pub(crate) fn severity(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Allow | Verdict::None => INFORMATIONAL,
        Verdict::Deny | Verdict::Fail => LOW,
    }
}

/// Source and destination; of these, every event has at least one.
pub(crate) fn ends(class: &mut Class, entry: &Entry, detail: &Detail) {
    let from = ["from", "address"];
    let source = endpoint(&entry.source, 0, detail.text(&from).or_else(|| detail.text(&["pod"])));
    let to = detail.text(&["to", "address"]).or_else(|| detail.text(&["destination"]));
    let destination = endpoint(&entry.destination, entry.port, to);
    if source.is_none() && destination.is_none() {
        class.put("src_endpoint", Some(json!({"name": "unknown"})));
    }
    class.put("src_endpoint", source);
    class.put("dst_endpoint", destination);
}

/// Protocol and direction: pods ask, whoever they ask.
pub(crate) fn connection(entry: &Entry) -> Value {
    let mut all = json!({"direction_id": OUTBOUND});
    if let (Some(all), true) = (all.as_object_mut(), entry.protocol != 0) {
        all.insert("protocol_num".to_owned(), json!(entry.protocol));
    }
    all
}

/// Bytes both ways.
pub(crate) fn traffic(entry: &Entry) -> Option<Value> {
    let (sent, received) = (entry.sent, entry.received);
    (sent > 0 || received > 0)
        .then(|| json!({"bytes": sent.saturating_add(received), "bytes_out": sent, "bytes_in": received}))
}
