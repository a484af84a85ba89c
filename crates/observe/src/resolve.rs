//! From what an enforcement point saw to a record that explains itself.
//!
//! Enters: observations (addresses, the rule the kernel decided by) and the books of the last generations.
//! Leaves: records; exactly one for each access and one for each close.
//! Guarantees: the enforcement point's rule is what the record shows for the direction it decided; the other
//! direction comes from the same generation's tables. Where kernel and tables disagree it is counted and kept as a
//! sample: the differential check that always runs. All memory is bounded; what a bound costs is counted.
//! Does not: decide anything about traffic.

use crate::about::{About, Knowledge};
use crate::book::Book;
use crate::record::{Kind, Record, RuleVerdict, Traffic};
use crate::shadow::{Beside, Candidate, Tally};
use crate::time::Time;
use policy::table::{Row, TableVerdict};
use policy::{Direction, DnsName, Generation, Protocol, Reason, RuleId, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What happened to a connection, or to packets that wanted to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel let the first packet of a connection pass.
    Opened,
    /// The kernel forgot a connection it had let pass.
    Closed(Traffic),
    /// The kernel dropped.
    Denied {
        /// Equal drops before this one that had no event of their own.
        suppressed: u64,
    },
}

/// One event of an enforcement point, after load-balancing and before source translation, like policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub time: Time,
    /// Whose event.
    pub node: Arc<str>,
    /// Who opens; port 0 where the protocol has none.
    pub from: SocketAddr,
    /// Who receives.
    pub to: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The generation whose rules decided; `None` if the event cannot tell: then the newest is assumed.
    pub generation: Option<Generation>,
    /// The rule that decided; `None` if the event does not carry one (closes).
    pub rule: Option<RuleId>,
    /// The direction it decided, if the event carries that; written rules know theirs.
    pub direction: Option<Direction>,
    /// What happened.
    pub event: Event,
}

/// What a resolver could not do, or found out on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverCounts {
    /// Connections that are open now.
    pub open: u64,
    /// Events where kernel and tables gave another verdict.
    pub verdict_disagreements: u64,
    /// Events where kernel and tables gave the same verdict by another rule.
    pub rule_disagreements: u64,
    /// The newest disagreements, as text.
    pub samples: VecDeque<String>,
    /// Opens seen on the source's node that the destination's node of the same process records.
    pub merged: u64,
    /// Opens of a connection that is open already.
    pub repeated_opens: u64,
    /// Closes whose open was not seen, for example because it was before a restart.
    pub closes_without_open: u64,
    /// Open connections forgotten because there were too many; their close comes without an open.
    pub forgotten: u64,
    /// Events of a generation whose book is gone; read with the newest instead.
    pub unknown_generation: u64,
    /// Events before there was any book: no record could be made.
    pub unresolved: u64,
}

/// What holds between two addresses because DNS gave the one the other.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The names, those that rules speak of.
    pub names: Arc<[DnsName]>,
    /// The row of the newest generation; `None` where only open connections live on.
    pub row: Option<Arc<Row>>,
}

/// By source and destination.
pub type Bindings = HashMap<(IpAddr, IpAddr), Bound>;

/// Who, from where, to where: one connection of one node.
type Key = (Arc<str>, Protocol, SocketAddr, SocketAddr);

/// Makes records.
#[derive(Debug)]
pub struct Resolver {
    /// Oldest first.
    books: VecDeque<Arc<Book>>,
    keep_books: usize,
    keep_open: usize,
    open: HashMap<Key, (u64, Arc<Record>)>,
    /// By connection number, so that the oldest can be forgotten.
    order: BTreeMap<u64, Key>,
    connections: u64,
    bindings: Bindings,
    /// What was bound when all of it was said the time before: the kernel still judges by it until it has the next state.
    before: Bindings,
    /// What was bound before the latest changes, the latest last.
    replaced: VecDeque<((IpAddr, IpAddr), Option<Bound>)>,
    /// What is judged beside, without effect.
    beside: Option<Box<Beside>>,
    counts: ResolverCounts,
}

const SAMPLES: usize = 8;

/// Changes of bindings that are remembered for events that are read after them.
const REPLACED: usize = 1024;

impl Default for Resolver {
    fn default() -> Self {
        Self::new(8, 65_536)
    }
}

impl Resolver {
    /// Keeps the books of so many generations and so many open connections.
    pub fn new(keep_books: usize, keep_open: usize) -> Self {
        Self {
            books: VecDeque::new(),
            keep_books: keep_books.max(1),
            keep_open: keep_open.max(1),
            open: HashMap::new(),
            order: BTreeMap::new(),
            connections: 0,
            bindings: Bindings::new(),
            before: Bindings::new(),
            replaced: VecDeque::new(),
            beside: None,
            counts: ResolverCounts::default(),
        }
    }

    /// Adds the book of a generation. Do it before the kernel enforces it, so that no event comes too early.
    pub fn add_book(&mut self, book: Arc<Book>) {
        self.books.retain(|known| known.generation() != book.generation());
        self.books.push_back(book);
        while self.books.len() > self.keep_books {
            self.books.pop_front();
        }
    }

    /// Says what is bound, all of it.
    pub fn set_bindings(&mut self, bindings: Bindings) {
        self.before = std::mem::replace(&mut self.bindings, bindings);
    }

    /// Says what is bound between two addresses; nothing any more if `None`.
    pub fn bind(&mut self, from: IpAddr, to: IpAddr, bound: Option<Bound>) {
        let before = match bound {
            Some(bound) => self.bindings.insert((from, to), bound),
            None => self.bindings.remove(&(from, to)),
        };
        if self.replaced.len() >= REPLACED {
            self.replaced.pop_front();
        }
        self.replaced.push_back(((from, to), before));
    }

    /// Has a candidate judge what comes from here on; nobody if `None`. What it said so far goes on to count if it is the same
    /// edition.
    pub fn judge_beside(&mut self, candidate: Option<Candidate>) {
        let before = self.beside.take();
        self.beside = candidate.map(|candidate| {
            let same = before.filter(|it| it.candidate.edition == candidate.edition);
            Box::new(Beside { candidate, tally: same.map(|it| it.tally).unwrap_or_default() })
        });
    }

    /// Says what the candidate has bound between two addresses.
    pub fn bind_beside(&mut self, from: IpAddr, to: IpAddr, row: Option<Arc<Row>>) {
        let Some(beside) = &mut self.beside else { return };
        match row {
            Some(row) => beside.candidate.rows.insert((from, to), row),
            None => beside.candidate.rows.remove(&(from, to)),
        };
    }

    /// What the candidate said so far; `None` where there is none.
    pub fn tally(&self) -> Option<&Tally> {
        self.beside.as_ref().map(|beside| &beside.tally)
    }

    /// Notes in a record what the candidate says. What comes before all policy would come before the candidate's, too.
    fn note_beside(&mut self, record: &mut Record, by: Option<RuleId>) {
        let Some(beside) = &mut self.beside else { return };
        if !matches!(by, Some(RuleId::UNMANAGED | RuleId::UNTRACKED)) {
            beside.judge(record);
        }
    }

    /// What was bound when an event came. Events are read after what changed behind them: where what is bound now leads to
    /// another rule than the kernel's, what was bound lately may lead to it.
    fn bound(&self, book: &Book, seen: &Observation, pair: (IpAddr, IpAddr), port: u16) -> Option<Bound> {
        let now = self.bindings.get(&pair);
        let agrees = |bound: &Option<&Bound>| {
            let row = bound.and_then(|bound| bound.row.as_deref());
            let ruling = book.judge(pair.0, pair.1, seen.protocol, port, row).egress;
            seen.rule.is_none() || ruling.is_none_or(|ruling| Some(ruling.rule) == seen.rule)
        };
        let lately =
            self.replaced.iter().rev().filter(|(of, _)| *of == pair).map(|(_, bound)| bound.as_ref());
        let before = std::iter::once_with(|| self.before.get(&pair));
        std::iter::once(now).chain(lately).chain(before).find(agrees).unwrap_or(now).cloned()
    }

    /// The book in force.
    pub fn newest(&self) -> Option<&Arc<Book>> {
        self.books.back()
    }

    /// The counters.
    pub fn counts(&self) -> ResolverCounts {
        ResolverCounts { open: self.open.len() as u64, ..self.counts.clone() }
    }

    /// The record of an event; `None` where another event of the same access has it, which is counted.
    pub fn resolve(&mut self, seen: &Observation) -> Option<Record> {
        let Some(book) = self.book(seen.generation) else {
            self.counts.unresolved += 1;
            return None;
        };
        match seen.event {
            Event::Opened => self.opened(&book, seen),
            Event::Closed(traffic) => self.closed(&book, seen, traffic),
            Event::Denied { suppressed } => {
                let judged = self.judged(&book, seen, Kind::Deny, Verdict::Deny);
                let mut record = Record { suppressed, ..judged };
                self.note_beside(&mut record, seen.rule);
                Some(record)
            }
        }
    }

    fn book(&mut self, generation: Option<Generation>) -> Option<Arc<Book>> {
        let newest = self.books.back()?;
        let Some(wanted) = generation else { return Some(Arc::clone(newest)) };
        if let Some(book) = self.books.iter().find(|book| book.generation() == wanted) {
            return Some(Arc::clone(book));
        }
        self.counts.unknown_generation += 1;
        Some(Arc::clone(newest))
    }

    fn opened(&mut self, book: &Book, seen: &Observation) -> Option<Record> {
        if is_recorded_elsewhere(book, seen) {
            self.counts.merged += 1;
            return None;
        }
        let key = key(seen);
        if self.open.contains_key(&key) {
            self.counts.repeated_opens += 1;
            return None;
        }
        self.connections += 1;
        let mut record = self.judged(book, seen, Kind::Open, Verdict::Allow);
        record.connection = Some(self.connections);
        self.note_beside(&mut record, seen.rule);
        self.order.insert(self.connections, key.clone());
        self.open.insert(key, (self.connections, Arc::new(record.clone())));
        if self.open.len() > self.keep_open
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.open.remove(&oldest);
            self.counts.forgotten += 1;
        }
        Some(record)
    }

    fn closed(&mut self, book: &Book, seen: &Observation, traffic: Traffic) -> Option<Record> {
        if let Some((connection, open)) = self.open.remove(&key(seen)) {
            self.order.remove(&connection);
            let micros = u64::try_from(seen.time.since(open.time).as_micros()).unwrap_or(u64::MAX);
            let traffic = Traffic { duration_micros: Some(micros), ..traffic };
            return Some(Record {
                time: seen.time,
                kind: Kind::Close,
                traffic: Some(traffic),
                ..open.as_ref().clone()
            });
        }
        if is_recorded_elsewhere(book, seen) {
            return None;
        }
        self.counts.closes_without_open += 1;
        let record = self.judged(book, seen, Kind::Close, Verdict::Allow);
        Some(Record { traffic: Some(traffic), ..record })
    }

    /// A record with the rules of both directions, the enforcement point's where it decided.
    fn judged(&mut self, book: &Book, seen: &Observation, kind: Kind, verdict: Verdict) -> Record {
        let (from, mut to) = (book.end(seen.from), book.end(seen.to));
        let port = if seen.protocol.has_ports() { seen.to.port() } else { 0 };
        let bound = self.bound(book, seen, (from.address, to.address), port);
        let row = bound.as_ref().and_then(|bound| bound.row.as_deref());
        let tables = book.judge(from.address, to.address, seen.protocol, port, row);
        if let Some(bound) = &bound {
            to.names = Arc::clone(&bound.names);
        }
        let side = |ruling: policy::table::Ruling| {
            RuleVerdict::new(ruling.verdict, ruling.rule, book.rule(ruling.rule))
        };
        let mut egress = tables.egress.map(side);
        let mut ingress = tables.ingress.map(side);
        let mut denying = None;
        if let Some(rule) = seen.rule {
            let direction = deciding_direction(book, seen, rule, verdict, tables);
            let shown = match direction {
                Direction::Egress => &mut egress,
                Direction::Ingress => &mut ingress,
            };
            let kernel = RuleVerdict::new(verdict, rule, book.rule(rule));
            if kind != Kind::Close {
                self.compare(seen, direction, &kernel, shown.as_ref());
            }
            *shown = Some(kernel);
            denying = (verdict == Verdict::Deny).then_some(direction);
        }
        let deciding = denying.unwrap_or_else(|| deciding_of_allow(ingress.as_ref(), egress.as_ref()));
        let rule = match deciding {
            Direction::Egress => egress.as_ref(),
            Direction::Ingress => ingress.as_ref(),
        };
        let reason = rule.map_or(Reason::NotSubject, |rule| rule.reason);
        let is_egress_denied = kind == Kind::Deny && deciding == Direction::Egress;
        let about = if is_egress_denied {
            About::denied(&to, seen.protocol, port, knowledge(book, from.address, bound.as_ref(), reason))
        } else {
            None
        };
        Record {
            sequence: 0,
            time: seen.time,
            kind,
            verdict,
            node: seen.node.clone(),
            generation: book.generation(),
            connection: None,
            from,
            to,
            protocol: seen.protocol,
            port,
            reason,
            deciding,
            egress,
            ingress,
            traffic: None,
            about,
            suppressed: 0,
            shadow: None,
        }
    }

    /// Counts where the kernel's rule is not the table's.
    fn compare(
        &mut self,
        seen: &Observation,
        direction: Direction,
        kernel: &RuleVerdict,
        table: Option<&RuleVerdict>,
    ) {
        // These two are about the packet, not about policy: no table has them.
        if matches!(kernel.rule, RuleId::UNMANAGED | RuleId::UNTRACKED) {
            return;
        }
        if table.is_some_and(|table| table.verdict == kernel.verdict && table.rule == kernel.rule) {
            return;
        }
        if table.is_some_and(|table| table.verdict == kernel.verdict) {
            self.counts.rule_disagreements += 1;
        } else {
            self.counts.verdict_disagreements += 1;
        }
        let expected = table.map_or_else(
            || "no ruling".to_owned(),
            |table| format!("{} by rule {}: {table}", table.verdict, table.rule.0),
        );
        let sample = format!(
            "{} {} {} -> {} {direction}: kernel {} by rule {}: {kernel}; table {expected}",
            seen.node, seen.protocol, seen.from, seen.to, kernel.verdict, kernel.rule.0
        );
        self.counts.samples.push_back(sample);
        if self.counts.samples.len() > SAMPLES {
            self.counts.samples.pop_front();
        }
    }
}

/// How the source knows the destination of a denied connection.
fn knowledge(book: &Book, from: IpAddr, bound: Option<&Bound>, reason: Reason) -> Knowledge {
    match bound {
        Some(_) => Knowledge::Resolved,
        // A packet of no connection opens none: it may be the last of one whose answer held then.
        None if reason == Reason::Untracked || !book.is_led_by_names(from) => Knowledge::NotFollowed,
        None => Knowledge::NotResolved,
    }
}

fn key(seen: &Observation) -> Key {
    (seen.node.clone(), seen.protocol, seen.from, seen.to)
}

/// Where one process enforces several nodes, the destination's node records an access that it sees: only there
/// both directions are decided.
fn is_recorded_elsewhere(book: &Book, seen: &Observation) -> bool {
    book.home(seen.to.ip().to_canonical()).is_some_and(|home| *home != seen.node)
}

/// The direction that the enforcement point's rule decided: what it says, else what the rule was written for,
/// else the side where the tables have the same answer.
fn deciding_direction(
    book: &Book,
    seen: &Observation,
    rule: RuleId,
    verdict: Verdict,
    tables: TableVerdict,
) -> Direction {
    let written = book.rule(rule).and_then(|entry| entry.direction);
    if let Some(direction) = seen.direction.or(written) {
        return direction;
    }
    let sides = [(Direction::Ingress, tables.ingress), (Direction::Egress, tables.egress)];
    let of = |fits: &dyn Fn(policy::table::Ruling) -> bool| {
        sides.iter().find(|(_, ruling)| ruling.is_some_and(fits)).map(|(direction, _)| *direction)
    };
    of(&|ruling| ruling.rule == rule && ruling.verdict == verdict)
        .or_else(|| of(&|ruling| ruling.verdict == verdict))
        .or_else(|| of(&|_| true))
        .unwrap_or(Direction::Egress)
}

/// As [`policy::Decision::deciding`] says for an allowed access: ingress where a policy could select the
/// destination, else egress.
fn deciding_of_allow(ingress: Option<&RuleVerdict>, egress: Option<&RuleVerdict>) -> Direction {
    let subject = |rule: &RuleVerdict| rule.reason != Reason::NotSubject;
    if ingress.is_some_and(subject) || egress.is_none() && ingress.is_some() {
        Direction::Ingress
    } else {
        Direction::Egress
    }
}
