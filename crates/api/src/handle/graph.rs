//! Who reached whom in a time, as nodes and edges.
//!
//! Guarantees: bounded by what was asked for, however many met: what is weak is left out and counted, or parties that belong
//! together are put together ([`Folded`]).

use super::fold::Folded;
use super::{Asked, Reply, json};
use crate::graph_names::Providers;
use crate::groups::Kept;
use crate::problem::Problem;
use crate::shape::Moment;
use crate::shape::records::{Graph, GraphEdge};
use ledger::query::MOST;
use ledger::write::EDGES_LOST;
use ledger::{BoundedStore, EntryFilter, Kind, LedgerError, Pair, Reader};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

/// Ports of one edge that are named.
pub(super) const PORTS: usize = 20;
/// Pairs that are told apart where they are put together: of those beyond only the sums are told.
const PAIRS: usize = 1 << 22;

/// `GET /graph`, by the ledger's file.
pub(crate) fn graph(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let (filter, met) = wanted(asked)?;
    if met.open.is_none() || filter.tool.is_some() {
        return graph_of(asked, reader);
    }
    json(&met.together(&filter, asked.query.flag("new"), (reader, &asked.known.groups))?)
}

/// The same by any store: by pairs alone.
pub(crate) fn graph_of(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let (filter, mut met) = wanted(asked)?;
    let new_since = asked.query.flag("new").then_some(met.since);
    store.each_pair(&filter, new_since, &mut |pair| met.add(pair))?;
    json(&met.graph())
}

/// Which entries are meant, and what becomes of them.
fn wanted<'a>(asked: &'a Asked<'_>) -> Result<(EntryFilter, Met<'a>), Problem> {
    let query = asked.query;
    let filter = EntryFilter { kind: Some(Kind::Flow), ..asked.filter(1)? };
    let met = Met {
        providers: &asked.known.providers,
        open: query.flag("fold").then(|| query.texts("open")),
        since: filter.since.unwrap_or(0),
        limit: query.limit(2000).min(MOST),
        count: 0,
        pairs: Vec::new(),
        folded: None,
    };
    Ok((filter, met))
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

    /// The same by the numbers of words: all pairs, where they are no more than is asked for, or all of them put together.
    fn together(
        mut self,
        filter: &EntryFilter,
        only_new: bool,
        (reader, kept): (&Reader, &Kept),
    ) -> Result<Graph, LedgerError> {
        let hasher = RandomState::new();
        let mut new = HashSet::new();
        reader.each_new_edge(self.since, |met| {
            if new.len() < PAIRS {
                new.insert(hasher.hash_one(met));
            }
        })?;
        let is_new = |met: &ledger::Met| new.contains(&hasher.hash_one(met));
        if let Some(pairs) = reader.few_pairs(filter, self.limit, |met| !only_new || is_new(met))? {
            self.count = pairs.len() as u64;
            self.pairs = pairs;
            return Ok(self.graph());
        }
        let groups = kept.all(reader, self.providers)?;
        let nowhere = reader.number_of("")?;
        // What no edge tells apart was not seen before either.
        let has_more = reader.lost()?.iter().any(|(what, _)| what == EDGES_LOST);
        let mut folded = Folded::new(self.providers, self.open.unwrap_or_default(), self.since);
        let (mut seen, mut wrong) = (HashSet::new(), None);
        reader.each_brief(filter, |brief| {
            let met = ledger::Met::of(brief);
            let number = hasher.hash_one(met);
            let is_new = new.contains(&number);
            if Some(brief.destination) == nowhere || only_new && !is_new {
                return ControlFlow::Continue(());
            }
            let is_first = seen.len() < PAIRS && seen.insert(number);
            self.count += u64::from(is_first);
            let is_unknown =
                || Ok::<_, LedgerError>(has_more && is_first && reader.first_met(&met)?.is_none());
            let added = match if is_new { Ok(true) } else { is_unknown() } {
                Ok(is_new) => folded.add_brief(brief, (is_first, is_new), (&groups, reader)),
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        wrong.map_or_else(|| Ok(folded.graph(self.limit, self.count)), Err)
    }

    fn keep_strongest(&mut self) {
        let since = self.since;
        self.pairs.sort_unstable_by(|one, other| {
            let key = |pair: &Pair| {
                Reverse((pair.denied, pair.ever_first >= since, pair.sent.saturating_add(pair.received)))
            };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crds::Catalog;
    use ledger::{Entry, Ledger, Retention, Verdict};
    use serde_json::{Value, json};

    const START: u64 = 1_800_000_000_000_000;

    fn entry(number: u64) -> Entry {
        let destination = match number % 6 {
            0 => String::new(),
            1 => "api.openai.com".to_owned(),
            2 => format!("10.0.0.{}", number % 40),
            3 => format!("h{}.site-{}.example", number % 30, number % 5),
            _ => format!("ns-{}/Pod/p{}", number % 5, number % 37),
        };
        Entry {
            time: START + number * 20_000,
            node: format!("node-{}", number % 3).into(),
            source: format!("ns-{}/Pod/p{}", number % 4, number % 29).into(),
            destination: destination.into(),
            port: 443,
            protocol: 6,
            sent: number,
            received: number * 2,
            ..Entry::new(Kind::Flow, if number % 10 == 1 { Verdict::Deny } else { Verdict::Allow })
        }
    }

    /// All that it says, whichever came first of what is as strong.
    fn told(mut graph: Graph) -> Value {
        graph.nodes.sort_by(|one, other| one.id.cmp(&other.id));
        graph
            .edges
            .sort_by(|one, other| (&one.source, &one.destination).cmp(&(&other.source, &other.destination)));
        json!(graph)
    }

    #[test]
    fn what_is_put_together_by_numbers_is_what_pairs_give() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let (mut ledger, _) = Ledger::open(&path).unwrap();
        let middle = START + 100_000_000;
        // One source has more destinations than are told apart.
        let many = (0..10_100).map(|number| Entry {
            source: "many/Pod/one".into(),
            destination: format!("x{number}.many.example").into(),
            ..entry(number)
        });
        for turn in 0..3 {
            ledger.append(&(turn * 3000..(turn + 1) * 3000).map(entry).collect::<Vec<_>>()).unwrap();
            ledger.tend(START + turn * 60_000_000, &Retention::default()).unwrap();
        }
        ledger.append(&many.collect::<Vec<_>>()).unwrap();
        ledger.tend(START + 400_000_000, &Retention::default()).unwrap();
        let (reader, providers) = (Reader::open(&path).unwrap(), Providers::of(&Catalog::built_in()));
        let kept = Kept::default();
        let opened = ["n:ns-1".to_owned(), "e:site-2.example".to_owned()];
        for (limit, since, verdict, open) in [
            (200, START, None, &[][..]),
            (200, middle, None, &opened[..]),
            (100, middle, Some(Verdict::Deny), &opened[..1]),
            (200, START + 1, Some(Verdict::Allow), &[][..]),
            (100_000, middle, Some(Verdict::Deny), &[][..]),
        ] {
            for only_new in [false, true] {
                let filter = EntryFilter {
                    kind: Some(Kind::Flow),
                    since: Some(since),
                    verdict,
                    ..EntryFilter::default()
                };
                let met = || Met {
                    providers: &providers,
                    open: Some(open),
                    since,
                    limit,
                    count: 0,
                    pairs: Vec::new(),
                    folded: None,
                };
                let mut slow = met();
                reader.each_pair(&filter, only_new.then_some(since), |pair| slow.add(pair)).unwrap();
                let slow = slow.graph();
                assert!(slow.pairs > 0 && slow.is_folded == (slow.pairs > limit as u64), "{limit} {since}");
                let quick = met().together(&filter, only_new, (&reader, &kept)).unwrap();
                assert_eq!(told(quick), told(slow), "{limit} {since} {verdict:?} {only_new}");
            }
        }
    }
}
