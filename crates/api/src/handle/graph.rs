//! Who reached whom in a time, as nodes and edges.
//!
//! Guarantees: bounded by what was asked for, however many met: what is weak is left out and counted, or parties that belong
//! together are put together ([`Folded`]).

use super::fold::Folded;
use super::{Asked, Reply, json};
use crate::graph_names::Providers;
use crate::problem::Problem;
use crate::shape::Moment;
use crate::shape::records::{Graph, GraphEdge};
use ledger::query::MOST;
use ledger::{EntryFilter, Kind, Pair, Reader};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Ports of one edge that are named.
pub(super) const PORTS: usize = 20;

/// `GET /graph`.
pub(crate) fn graph(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let query = asked.query;
    let filter = EntryFilter { kind: Some(Kind::Flow), ..asked.filter(1)? };
    let since = filter.since.unwrap_or(0);
    let mut met = Met {
        providers: &asked.known.providers,
        open: query.flag("fold").then(|| query.texts("open")),
        since,
        limit: query.limit(2000).min(MOST),
        count: 0,
        pairs: Vec::new(),
        folded: None,
    };
    reader.each_pair(&filter, query.flag("new").then_some(since), |pair| met.add(pair))?;
    json(&met.graph())
}

/// Who met whom so far: at most twice as many pairs as may be answered, or all of them put together.
struct Met<'a> {
    providers: &'a Providers,
    /// What is told one by one where the rest is put together; `None`: what is too much is left out instead.
    open: Option<&'a [String]>,
    since: u64,
    limit: usize,
    count: u64,
    pairs: Vec<Pair>,
    folded: Option<Folded<'a>>,
}

impl Met<'_> {
    fn add(&mut self, pair: Pair) {
        self.count += 1;
        if let Some(folded) = &mut self.folded {
            folded.add(&pair);
            return;
        }
        self.pairs.push(pair);
        match self.open {
            Some(open) if self.pairs.len() > self.limit => {
                let mut folded = Folded::new(self.providers, open, self.since);
                self.pairs.drain(..).for_each(|pair| folded.add(&pair));
                self.folded = Some(folded);
            }
            None if self.pairs.len() >= self.limit * 2 => self.keep_strongest(),
            Some(_) | None => {}
        }
    }

    fn keep_strongest(&mut self) {
        self.pairs.sort_unstable_by(|one, other| {
            let key = |pair: &Pair| Reverse((pair.denied, pair.sent.saturating_add(pair.received)));
            let name = |pair: &Pair| (pair.source.clone(), pair.destination.clone(), pair.port);
            key(one).cmp(&key(other)).then_with(|| name(one).cmp(&name(other)))
        });
        self.pairs.truncate(self.limit);
    }

    fn graph(mut self) -> Graph {
        if let Some(folded) = self.folded {
            return folded.graph(self.limit, self.count);
        }
        self.keep_strongest();
        let left_out = self.count - self.pairs.len() as u64;
        let mut edges: BTreeMap<(String, String), GraphEdge> = BTreeMap::new();
        for pair in self.pairs {
            add(&mut edges, pair, self.since);
        }
        let mut ids: Vec<&str> =
            edges.keys().flat_map(|(source, destination)| [source.as_str(), destination.as_str()]).collect();
        ids.sort_unstable();
        ids.dedup();
        let nodes = ids.into_iter().map(|id| self.providers.node(id)).collect();
        let (edges, pairs) = (edges.into_values().collect(), self.count);
        Graph { nodes, edges, truncated: left_out > 0, pairs, left_out, is_folded: false }
    }
}

fn add(edges: &mut BTreeMap<(String, String), GraphEdge>, pair: Pair, since: u64) {
    let port = port(pair.port, pair.protocol);
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

/// As `443/TCP`; `None`: there is none.
pub(super) fn port(port: u16, protocol: u8) -> Option<String> {
    match (port, protocol) {
        (0, 0) => None,
        (0, protocol) => Some(policy::Protocol(protocol).to_string()),
        (port, protocol) => Some(format!("{port}/{}", policy::Protocol(protocol))),
    }
}
