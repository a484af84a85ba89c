//! Who is at an end, in the schema's words: an address, a workload, or a name.

use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// An endpoint; `None` where nobody is named.
pub(crate) fn endpoint(whom: &str, port: u16, address: Option<&str>) -> Option<Value> {
    let mut end = Map::new();
    if let Ok(ip) = whom.parse::<IpAddr>() {
        end.insert("ip".to_owned(), json!(ip));
    } else if is_workload(whom) {
        end.insert("name".to_owned(), json!(whom));
    } else if !whom.is_empty() {
        end.insert("hostname".to_owned(), json!(whom));
    }
    if let Some(ip) = address.and_then(ip) {
        end.insert("ip".to_owned(), json!(ip));
    }
    if end.is_empty() {
        return None;
    }
    if port != 0 {
        end.insert("port".to_owned(), json!(port));
    }
    Some(Value::Object(end))
}

/// Workloads are `namespace/name` or `namespace/Kind/name`; what stands for many is in parentheses.
fn is_workload(whom: &str) -> bool {
    whom.contains('/') || whom.starts_with('(')
}

/// Of an address with or without a port, the address.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// A workload as something that a finding is about.
pub(crate) fn resource(whom: &str) -> Value {
    /// What acted.
    const ACTOR: u8 = 2;
    match whom.split_once('/') {
        Some((namespace, _)) => json!({"name": whom, "namespace": namespace, "role_id": ACTOR}),
        None => json!({"name": whom, "role_id": ACTOR}),
    }
}
