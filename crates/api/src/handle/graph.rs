//! Who reached whom in a time, as nodes and edges.

use super::{Asked, Reply, json};
use crate::problem::Problem;
use crate::shape::Moment;
use crate::shape::records::{Graph, GraphEdge};
use ledger::query::MOST;
use ledger::{Pair, Reader};
use std::collections::BTreeMap;

/// Ports of one edge that are named.
const PORTS: usize = 20;

/// `GET /graph`.
pub(crate) fn graph(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let (span, limit) = (asked.span(1), asked.query.limit(2000).min(MOST));
    let pairs = reader.pairs(span, limit)?;
    let truncated = pairs.len() >= limit;
    let mut edges: BTreeMap<(String, String), GraphEdge> = BTreeMap::new();
    for pair in pairs {
        add(&mut edges, pair, span.since);
    }
    let mut ids: Vec<&str> =
        edges.keys().flat_map(|(source, destination)| [source.as_str(), destination.as_str()]).collect();
    ids.sort_unstable();
    ids.dedup();
    let nodes = ids.into_iter().map(|id| asked.known.providers.node(id)).collect();
    json(&Graph { nodes, edges: edges.into_values().collect(), truncated })
}

fn add(edges: &mut BTreeMap<(String, String), GraphEdge>, pair: Pair, since: u64) {
    let port = match (pair.port, pair.protocol) {
        (0, 0) => None,
        (0, protocol) => Some(policy::Protocol(protocol).to_string()),
        (port, protocol) => Some(format!("{port}/{}", policy::Protocol(protocol))),
    };
    let (first, last) = (Moment::of(pair.first), Moment::of(pair.last));
    let key = (pair.source.clone(), pair.destination.clone());
    let edge = edges.entry(key).or_insert_with(|| GraphEdge {
        source: pair.source,
        destination: pair.destination,
        ports: Vec::new(),
        allowed: 0,
        denied: 0,
        bytes_sent: 0,
        bytes_received: 0,
        first_seen: first,
        last_seen: last,
        is_new: true,
    });
    if edge.ports.len() < PORTS {
        edge.ports.extend(port);
    }
    edge.allowed = edge.allowed.saturating_add(pair.allowed);
    edge.denied = edge.denied.saturating_add(pair.denied);
    edge.bytes_sent = edge.bytes_sent.saturating_add(pair.sent);
    edge.bytes_received = edge.bytes_received.saturating_add(pair.received);
    edge.first_seen = edge.first_seen.min(first);
    edge.last_seen = edge.last_seen.max(last);
    edge.is_new &= pair.ever_first >= since;
}
