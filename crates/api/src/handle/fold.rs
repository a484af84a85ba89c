//! Who met whom, with parties that belong together as one: the pods of a namespace, the hosts of a provider, the names of a
//! registrable domain.
//!
//! Enters: pairs, one by one, however many. Leaves: a graph of a few hundred nodes. Guarantees: memory is bounded; every pair is
//! in an edge, or counted as left out. Does not: choose what is worth looking at; whoever asks opens what they want to see.

use super::graph::{PORTS, port};
use crate::graph_names::Providers;
use crate::groups::{Groups, OTHERS, group, others};
use crate::shape::Moment;
use crate::shape::records::{Graph, GraphEdge, Node};
use ledger::{Brief, LedgerError, Pair, Reader};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Nodes of an answer; what is beyond is one, [`OTHERS`].
const NODES: usize = 500;
/// Of what was opened, parties that are told one by one.
const OPENED: usize = 2000;
/// Words whose node is remembered, and whose number is known.
const KNOWN: usize = 1 << 20;
/// Nodes and edges that are kept meanwhile.
const ENDS: usize = 50_000;
const LINES: usize = 100_000;

/// What was put together so far.
pub(super) struct Folded<'a> {
    providers: &'a Providers,
    open: HashSet<&'a str>,
    since: u64,
    hasher: RandomState,
    /// By the hash of a word, its place in `ends`.
    known: HashMap<u64, usize>,
    /// By the number of a word, its place in `ends`, from 1.
    numbered: Vec<u32>,
    ends: Vec<Node>,
    /// What stands for several, by its id; and what was opened, by its word.
    groups: HashMap<String, usize>,
    opened: HashMap<String, usize>,
    lines: HashMap<(usize, usize), Line>,
    left_out: u64,
}

/// What passed between two of them.
#[derive(Clone, Default)]
struct Line {
    pairs: u64,
    ports: Vec<(u16, u8)>,
    allowed: u64,
    denied: u64,
    sent: u64,
    received: u64,
    first: u64,
    last: u64,
    is_new: bool,
}

impl Line {
    fn add(&mut self, other: &Self) {
        let is_first = self.pairs == 0;
        self.pairs += other.pairs;
        for port in &other.ports {
            if self.ports.len() < PORTS && !self.ports.contains(port) {
                self.ports.push(*port);
            }
        }
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.denied = self.denied.saturating_add(other.denied);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.first = if is_first { other.first } else { self.first.min(other.first) };
        self.last = self.last.max(other.last);
        self.is_new |= other.is_new;
    }

    fn add_brief(&mut self, brief: &Brief, is_first: bool, is_new: bool) {
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        let (time, count) = (number(brief.time), number(brief.count));
        let is_empty = self.last == 0;
        self.pairs += u64::from(is_first);
        let port = (u16::try_from(brief.port).unwrap_or(0), u8::try_from(brief.protocol).unwrap_or(0));
        if is_first && port != (0, 0) && self.ports.len() < PORTS && !self.ports.contains(&port) {
            self.ports.push(port);
        }
        let decided = if brief.is_allowed() { &mut self.allowed } else { &mut self.denied };
        *decided = decided.saturating_add(count);
        self.sent = self.sent.saturating_add(number(brief.sent));
        self.received = self.received.saturating_add(number(brief.received));
        self.first = if is_empty { time } else { self.first.min(time) };
        self.last = self.last.max(time);
        self.is_new |= is_new;
    }

    /// What somebody has to look at comes first: denials, then what is new, then how much it was.
    fn strength(&self) -> (bool, bool, u64) {
        (self.denied > 0, self.is_new, self.sent.saturating_add(self.received).saturating_add(self.allowed))
    }
}

impl<'a> Folded<'a> {
    /// `open`: ids of what is told one by one.
    pub(super) fn new(providers: &'a Providers, open: &'a [String], since: u64) -> Self {
        Self {
            providers,
            open: open.iter().map(String::as_str).collect(),
            since,
            hasher: RandomState::new(),
            known: HashMap::new(),
            numbered: Vec::new(),
            ends: Vec::new(),
            groups: HashMap::new(),
            opened: HashMap::new(),
            lines: HashMap::new(),
            left_out: 0,
        }
    }

    pub(super) fn add(&mut self, pair: &Pair) {
        let key = (self.end(&pair.source), self.end(&pair.destination));
        if self.lines.len() >= LINES && !self.lines.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        self.lines.entry(key).or_default().add(&Line {
            pairs: 1,
            ports: if pair.port == 0 && pair.protocol == 0 {
                Vec::new()
            } else {
                vec![(pair.port, pair.protocol)]
            },
            allowed: pair.allowed,
            denied: pair.denied,
            sent: pair.sent,
            received: pair.received,
            first: pair.first,
            last: pair.last,
            is_new: pair.ever_first >= self.since,
        });
    }

    /// Adds an entry, if it is the first of its pair `is_first`.
    ///
    /// # Errors
    /// A word cannot be read.
    pub(super) fn add_brief(
        &mut self,
        brief: &Brief,
        (is_first, is_new): (bool, bool),
        (groups, reader): (&Groups, &Reader),
    ) -> Result<(), LedgerError> {
        let source = self.end_of(brief.source, groups, reader)?;
        let key = (source, self.end_of(brief.destination, groups, reader)?);
        if self.lines.len() >= LINES && !self.lines.contains_key(&key) {
            self.left_out += u64::from(is_first);
            return Ok(());
        }
        self.lines.entry(key).or_default().add_brief(brief, is_first, is_new);
        Ok(())
    }

    /// The place of a word's node, by the word's number.
    fn end_of(&mut self, word: i64, groups: &Groups, reader: &Reader) -> Result<usize, LedgerError> {
        let Some(group) = groups.of(word) else { return Ok(self.end(&reader.word(word)?)) };
        let number = usize::try_from(word).unwrap_or(usize::MAX);
        if let Some(known) = self.numbered.get(number).and_then(|place| place.checked_sub(1)) {
            return Ok(usize::try_from(known).unwrap_or(usize::MAX));
        }
        let place = match self.groups.get(&group.id) {
            _ if self.open.contains(group.id.as_str()) => self.place(&reader.word(word)?),
            Some(place) => *place,
            None => self.several(group.clone()),
        };
        if self.numbered.len() < groups.len() {
            self.numbered.resize(groups.len(), 0);
        }
        if let Some(known) = self.numbered.get_mut(number) {
            *known = u32::try_from(place + 1).unwrap_or(0);
        }
        self.count_member(place);
        Ok(place)
    }

    /// The place of a word's node.
    fn end(&mut self, word: &str) -> usize {
        let hash = self.hasher.hash_one(word);
        if let Some(place) = self.known.get(&hash) {
            return *place;
        }
        let place = self.place(word);
        if self.known.len() < KNOWN {
            self.known.insert(hash, place);
            self.count_member(place);
        }
        place
    }

    fn place(&mut self, word: &str) -> usize {
        if let Some(place) = self.opened.get(word) {
            return *place;
        }
        let node = self.providers.node(word);
        let group = group(&node);
        let is_open = self.open.contains(group.id.as_str());
        if is_open && self.opened.len() < OPENED {
            return self.one(node);
        }
        // Of what was opened and found no room, the rest.
        let id = if is_open { format!("{} (rest)", group.id) } else { group.id };
        self.several(Node { id, ..group })
    }

    fn count_member(&mut self, place: usize) {
        if let Some(members) = self.ends.get_mut(place).and_then(|end| end.members.as_mut()) {
            *members += 1;
        }
    }

    fn one(&mut self, node: Node) -> usize {
        let place = self.ends.len();
        self.opened.insert(node.id.clone(), place);
        self.ends.push(node);
        place
    }

    fn several(&mut self, node: Node) -> usize {
        if let Some(place) = self.groups.get(&node.id) {
            return *place;
        }
        let node = if self.groups.len() < ENDS { node } else { others() };
        if let Some(place) = self.groups.get(&node.id) {
            return *place;
        }
        let place = self.ends.len();
        self.groups.insert(node.id.clone(), place);
        self.ends.push(node);
        place
    }

    /// The strongest nodes and edges of it; `pairs`: how many were added.
    pub(super) fn graph(mut self, limit: usize, pairs: u64) -> Graph {
        self.keep_strongest_nodes();
        let mut lines: Vec<((usize, usize), Line)> = self.lines.into_iter().collect();
        lines.sort_by_key(|(ends, line)| (Reverse(line.strength()), *ends));
        self.left_out += lines.iter().skip(limit).map(|(_, line)| line.pairs).sum::<u64>();
        lines.truncate(limit);
        let met: HashSet<usize> = lines.iter().flat_map(|((from, to), _)| [*from, *to]).collect();
        let id = |place: usize| self.ends.get(place).map_or_else(String::new, |end| end.id.clone());
        let edges = lines.into_iter().map(|((from, to), line)| edge(id(from), id(to), line)).collect();
        let nodes = self.ends.iter().enumerate().filter(|(place, _)| met.contains(place));
        Graph {
            nodes: nodes.map(|(_, node)| node.clone()).collect(),
            edges,
            truncated: self.left_out > 0,
            pairs,
            left_out: self.left_out,
            is_folded: true,
        }
    }

    /// Puts together all but the strongest [`NODES`] that stand for several.
    fn keep_strongest_nodes(&mut self) {
        if self.groups.len() <= NODES {
            return;
        }
        let mut strengths = vec![(false, false, 0_u64); self.ends.len()];
        for ((from, to), line) in &self.lines {
            for place in [from, to] {
                if let Some(sum) = strengths.get_mut(*place) {
                    let (is_denied, is_new, much) = line.strength();
                    *sum = (sum.0 | is_denied, sum.1 | is_new, sum.2.saturating_add(much));
                }
            }
        }
        let mut ranked: Vec<usize> = self.groups.values().copied().collect();
        ranked.sort_by_key(|place| (Reverse(strengths.get(*place).copied()), *place));
        let weak: HashSet<usize> = ranked.split_off(NODES).into_iter().collect();
        let others = match self.groups.get(OTHERS).filter(|place| !weak.contains(place)) {
            Some(place) => *place,
            None => {
                self.ends.push(others());
                self.ends.len() - 1
            }
        };
        let members = weak.iter().filter_map(|place| self.ends.get(*place)?.members).sum::<u64>();
        if let Some(node) = self.ends.get_mut(others) {
            node.members = node.members.map(|before| before + members);
        }
        let place = |old: usize| if weak.contains(&old) { others } else { old };
        let mut lines: HashMap<(usize, usize), Line> = HashMap::new();
        for ((from, to), line) in &self.lines {
            lines.entry((place(*from), place(*to))).or_default().add(line);
        }
        self.lines = lines;
    }
}

fn edge(source: String, destination: String, line: Line) -> GraphEdge {
    GraphEdge {
        source,
        destination,
        ports: line.ports.into_iter().filter_map(|(number, protocol)| port(number, protocol)).collect(),
        allowed: line.allowed,
        denied: line.denied,
        bytes_sent: line.sent,
        bytes_received: line.received,
        first_seen: Moment::of(line.first),
        last_seen: Moment::of(line.last),
        is_new: line.is_new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crds::Catalog;

    fn pair(source: &str, destination: &str) -> Pair {
        Pair {
            source: source.to_owned(),
            destination: destination.to_owned(),
            port: 443,
            protocol: 6,
            allowed: 1,
            denied: 0,
            sent: 1,
            received: 2,
            first: 5,
            last: 7,
            ever_first: 1,
        }
    }

    fn folded(open: &[&str], pairs: &[Pair], limit: usize) -> Graph {
        let (providers, open) = (Providers::of(&Catalog::built_in()), open.iter().map(ToString::to_string));
        let open: Vec<String> = open.collect();
        let mut folded = Folded::new(&providers, &open, 3);
        pairs.iter().for_each(|pair| folded.add(pair));
        folded.graph(limit, pairs.len() as u64)
    }

    #[test]
    fn who_belongs_together_is_one_and_what_is_opened_is_not() {
        let pairs = [
            pair("ai/Job/a", "huggingface.co"),
            pair("ai/Job/b", "cdn-lfs.hf.co"),
            pair("ai/Job/b", "data/Pod/c"),
            Pair { ever_first: 4, denied: 2, ..pair("ai/Job/a", "10.0.0.1") },
        ];
        let of = |graph: &Graph| -> Vec<(String, Option<u64>)> {
            graph.nodes.iter().map(|node| (node.id.clone(), node.members)).collect()
        };
        let own = |all: &[(&str, Option<u64>)]| -> Vec<_> {
            all.iter().map(|(id, members)| ((*id).to_owned(), *members)).collect()
        };
        let graph = folded(&[], &pairs, 10);
        let all =
            [("n:ai", Some(2)), ("p:huggingface", Some(2)), ("n:data", Some(1)), ("e:(addresses)", Some(1))];
        assert_eq!(of(&graph), own(&all));
        assert_eq!((graph.edges.len(), graph.left_out, graph.is_folded), (3, 0, true));
        assert_eq!((graph.edges[0].denied, graph.edges[0].is_new), (2, true), "denials come first");
        let to_provider = graph.edges.iter().find(|edge| edge.destination == "p:huggingface").unwrap();
        assert_eq!((to_provider.allowed, to_provider.bytes_received, to_provider.is_new), (2, 4, false));
        let opened = folded(&["n:ai"], &pairs, 10);
        assert!(of(&opened).contains(&("ai/Job/a".to_owned(), None)));
        assert!(!of(&opened).iter().any(|(id, _)| id == "n:ai"));
    }

    #[test]
    fn however_many_met_the_answer_is_bounded_and_every_pair_is_in_it_or_counted() {
        let pairs: Vec<Pair> = (0..3000)
            .flat_map(|number| {
                let source = format!("ns{}/Pod/p{number}", number % 40);
                [pair(&source, &format!("host.of-{number}.example")), pair(&source, "big/Pod/one")]
            })
            .collect();
        let graph = folded(&["n:ns7"], &pairs, 400);
        assert!(graph.nodes.len() <= NODES + 1 + 75, "{}", graph.nodes.len());
        assert_eq!(graph.edges.len(), 400);
        assert!(graph.left_out > 0 && graph.truncated && graph.pairs == 6000);
        let shown: u64 = graph.edges.iter().map(|edge| edge.allowed).sum();
        assert_eq!(shown + graph.left_out, 6000);
        let members: u64 = folded(&[], &pairs, 400).nodes.iter().filter_map(|node| node.members).sum();
        assert!(members > 2000, "{members}");
    }
}
