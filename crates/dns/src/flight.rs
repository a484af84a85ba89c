//! Questions on their way upstream.
//!
//! Enters: permitted queries, answers, silences. Leaves: questions, and answers for all who wait for the same.
//! Guarantees: equal questions travel once, by TCP once for each pod; an answer counts only if it comes to the socket and from the address and
//! port that were asked, carries the number and repeats the question; a trusted resolver that is silent or fails is
//! stood in for by the others of its group, one that a pod chose itself is not.
//! Does not: ask by TCP what came by UDP (see [`crate::reply`]).
//!
//! When no resolver answers, names that are still kept go on being answered, with a lifetime of 30 seconds and extended
//! error 3 (RFC 8767), and all others get SERVFAIL.

use crate::answer::{self, Answer};
use crate::cache::{Entry, Key, Origin};
use crate::decide::{Permit, Source};
use crate::engine::{Ask, Client, Engine, Now, TcpAsk, Timer, Waiting};
use crate::kind::Rcode;
use crate::map::Map;
use crate::question::Question;
use crate::record::{Reason, Transport};
use crate::state::Rules;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// How often a question is asked, of whomever.
const MAX_TRIES: usize = 5;

/// A question on its way, and by TCP the pod whose turn it takes (see [`crate::tcp::Turns`]): another one must not wait for that.
type Way = (Key, Option<IpAddr>);

/// Who waits for whom.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: Map<u64, Flight>,
    by_question: Map<Way, u64>,
    by_try: Map<Try, u64>,
    sockets: usize,
    /// The socket of the questions that go out next.
    socket: usize,
}

#[derive(Debug)]
struct Flight {
    key: Way,
    question: Question,
    source: Source,
    /// Whom to ask, in order.
    order: Vec<IpAddr>,
    tries: Vec<Try>,
    /// How many of them will not be answered.
    failed: usize,
    waiting: Vec<Waiting>,
    /// What is said if nobody answers.
    failure: Reason,
}

/// What an answer must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Try {
    socket: usize,
    server: IpAddr,
    id: u16,
}

impl Flights {
    pub(crate) fn new(sockets: usize) -> Self {
        Self {
            flights: Map::default(),
            by_question: Map::default(),
            by_try: Map::default(),
            sockets: sockets.max(1),
            socket: 0,
        }
    }

    pub(crate) fn choose_socket(&mut self, random: u32) {
        self.socket = random as usize % self.sockets;
    }

    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.flights.contains_key(&id)
    }

    fn close(&mut self, id: u64) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.by_question.remove(&flight.key);
        for attempt in &flight.tries {
            self.by_try.remove(attempt);
        }
        Some(flight)
    }
}

impl Engine {
    /// Whether an answer may still come to the socket of this number.
    pub fn is_socket_in_use(&self, socket: usize) -> bool {
        self.flights.by_try.keys().any(|attempt| attempt.socket == socket)
    }

    /// Has a query wait for an answer, and asks unless somebody did already.
    pub(crate) fn depart(&mut self, now: Now, key: Key, waiting: Waiting, permit: &Permit) {
        let Some(rules) = self.rules.clone() else { return self.fail(now, waiting, Reason::NotReady) };
        let full = match waiting.client.transport() {
            Transport::Udp => (key, None),
            Transport::Tcp => (key, Some(waiting.pod)),
        };
        if let Some(flight) =
            self.flights.by_question.get(&full).and_then(|id| self.flights.flights.get_mut(id))
        {
            flight.waiting.push(waiting);
            return;
        }
        let order = match permit.source() {
            Source::Trusted { first, group } => self.health.order(first, rules.group(group), now.at),
            Source::Other(resolver) => vec![resolver],
        };
        let id = self.next_serial();
        let mut flight = Flight {
            key: full.clone(),
            question: waiting.question.clone(),
            source: permit.source(),
            order,
            tries: Vec::new(),
            failed: 0,
            waiting: Vec::new(),
            failure: Reason::UpstreamSilent,
        };
        // Nobody waits for resolvers that are known to be silent while there is an old answer; one is asked all the same.
        let all_down = flight.order.iter().all(|server| self.health.is_down(*server, now.at));
        match self.cache.stale(&full.0, now.at, &rules.settings) {
            Some(entry) if all_down => self.deliver(now, waiting, &entry, Reason::Stale),
            Some(_) => {
                flight.waiting.push(waiting);
                self.set_timer(now.at + rules.settings.stale_after(), Timer::Stale(id));
            }
            None => flight.waiting.push(waiting),
        }
        self.flights.by_question.insert(full, id);
        self.flights.flights.insert(id, flight);
        self.set_timer(now.at + rules.settings.deadline(), Timer::Deadline(id));
        self.ask(now, id, &rules);
    }

    /// Asks the next in turn.
    fn ask(&mut self, now: Now, id: u64, rules: &Rules) {
        let socket = self.flights.socket;
        let Some(flight) = self.flights.flights.get_mut(&id) else { return };
        let turn = flight.tries.len();
        let Some(server) = flight.order.iter().cycle().nth(turn).copied() else { return };
        let mut attempt = Try { socket, server, id: 0 };
        // As long as fewer than half of the numbers are taken, the loop is short; that is bounded by those who wait.
        loop {
            let [high, low, ..] = (self.random)().to_be_bytes();
            attempt.id = u16::from_be_bytes([high, low]);
            if !self.flights.by_try.contains_key(&attempt) {
                break;
            }
        }
        flight.tries.push(attempt);
        let bytes = flight.question.upstream(attempt.id);
        let server = SocketAddr::new(server, rules.settings.upstream_port);
        match flight.key.1 {
            None => self.out.asks.push(Ask { server, socket, bytes }),
            Some(pod) => self.out.tcp_asks.push(TcpAsk { flight: id, pod, server, bytes }),
        }
        self.flights.by_try.insert(attempt, id);
        self.counters.asked += 1;
        self.set_timer(now.at + rules.settings.retry(), Timer::Retry(id, turn));
    }

    /// A datagram came from upstream to the socket of this number.
    pub fn answer(&mut self, now: Now, socket: usize, from: SocketAddr, bytes: &[u8]) {
        let port = self.rules.as_ref().map(|rules| rules.settings.upstream_port);
        let id = bytes.first_chunk().copied().map(u16::from_be_bytes);
        let flight = match (id, port == Some(from.port())) {
            (Some(id), true) => self.flights.by_try.get(&Try { socket, server: from.ip(), id }).copied(),
            (None, _) | (_, false) => None,
        };
        // An answer to another question may be a guess: whoever is waited for may still answer.
        let matches = flight
            .and_then(|flight| self.flights.flights.get(&flight))
            .is_some_and(|flight| flight.key.1.is_none() && answers(bytes, &flight.question));
        match flight.filter(|_| matches) {
            Some(flight) => self.arrived(now, flight, from.ip(), bytes),
            None => self.counters.stray += 1,
        }
    }

    /// A question on a connection was answered, or could not be.
    pub fn tcp_answer(&mut self, now: Now, flight: u64, server: IpAddr, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.arrived(now, flight, server, bytes),
            None => self.failed(now, flight, Reason::UpstreamUnreachable),
        }
    }

    fn arrived(&mut self, now: Now, id: u64, server: IpAddr, bytes: &[u8]) {
        let Some(rules) = self.rules.clone() else { return };
        let Some(flight) = self.flights.flights.get(&id) else { return };
        let Ok(answer) = Answer::read(bytes, &flight.question) else {
            return self.failed(now, id, Reason::UpstreamMalformed);
        };
        if let Source::Trusted { group, .. } = flight.source {
            // What it says would be kept, and taught, as what one of the group says.
            if rules.group_of(server) != Some(group) {
                return self.failed(now, id, Reason::UpstreamUnreachable);
            }
            self.health.answered(server);
        }
        if answer.truncated {
            return match flight.key.1 {
                None => self.cut_short(now, id),
                Some(_) => self.failed(now, id, Reason::UpstreamMalformed),
            };
        }
        if answer.rcode.0 > 15 {
            // It speaks of the exchange with this proxy. Without the OPT record, which ends here, the pod would take the
            // lower bits for the code.
            return self.failed(now, id, Reason::UpstreamMalformed);
        }
        let settled = answer.rcode == Rcode::NOERROR || answer.rcode == Rcode::NXDOMAIN;
        if !settled && flight.tries.len() < flight.order.len() {
            return self.ask(now, id, &rules);
        }
        if !settled && let Some(old) = self.cache.stale(&flight.key.0, now.at, &rules.settings) {
            return self.land(now, id, &old, Reason::Stale);
        }
        let (question, source) = (flight.question.clone(), flight.source);
        let origin = Origin { serial: self.next_serial(), source, upstream: server, taken: now.at };
        let Ok(entry) = Entry::new(bytes, answer, &question, origin, &rules.settings) else {
            return self.failed(now, id, Reason::UpstreamMalformed);
        };
        self.land(now, id, &Rc::new(entry), Reason::Answered);
    }

    /// Everybody who waits gets this answer.
    fn land(&mut self, now: Now, id: u64, entry: &Rc<Entry>, reason: Reason) {
        let Some(flight) = self.flights.close(id) else { return };
        if reason == Reason::Answered
            && let Some(rules) = &self.rules
        {
            self.cache.put(flight.key.0, entry, &rules.settings);
        }
        for waiting in flight.waiting {
            self.deliver(now, waiting, entry, reason);
        }
    }

    /// The answer does not fit a datagram; whoever waits asks again by TCP.
    fn cut_short(&mut self, now: Now, id: u64) {
        let Some(flight) = self.flights.close(id) else { return };
        for waiting in flight.waiting {
            self.reply_truncated(now, waiting);
        }
    }

    /// Who was asked last cannot answer: the next is, or everybody who waits hears of it.
    fn failed(&mut self, now: Now, id: u64, why: Reason) {
        let Some(rules) = self.rules.clone() else { return };
        let Some(flight) = self.flights.flights.get_mut(&id) else { return };
        flight.failure = why;
        flight.failed += 1;
        if flight.tries.len() < flight.order.len() {
            self.ask(now, id, &rules);
        } else if flight.failed >= flight.tries.len() {
            self.give_up(now, id, &rules);
        }
    }

    pub(crate) fn retry(&mut self, now: Now, id: u64, turn: usize) {
        let Some(rules) = self.rules.clone() else { return };
        let Some(flight) = self.flights.flights.get(&id) else { return };
        let Some(attempt) = flight.tries.get(turn).copied() else { return };
        if matches!(flight.source, Source::Trusted { .. }) {
            self.health.silent(attempt.server, now.at);
        }
        // Only the last one asks on: an earlier one was followed already.
        if turn + 1 == flight.tries.len() && turn + 1 < MAX_TRIES {
            self.ask(now, id, &rules);
        }
    }

    /// Those who could have an old answer get it; the flight goes on.
    pub(crate) fn out_of_patience(&mut self, now: Now, id: u64) {
        let Some(rules) = self.rules.clone() else { return };
        let Some(flight) = self.flights.flights.get_mut(&id) else { return };
        let Some(entry) = self.cache.stale(&flight.key.0, now.at, &rules.settings) else { return };
        for waiting in std::mem::take(&mut flight.waiting) {
            self.deliver(now, waiting, &entry, Reason::Stale);
        }
    }

    pub(crate) fn deadline(&mut self, now: Now, id: u64) {
        if let Some(rules) = self.rules.clone() {
            self.give_up(now, id, &rules);
        }
    }

    fn give_up(&mut self, now: Now, id: u64, rules: &Arc<Rules>) {
        let Some(flight) = self.flights.flights.get(&id) else { return };
        if let Some(old) = self.cache.stale(&flight.key.0, now.at, &rules.settings) {
            return self.land(now, id, &old, Reason::Stale);
        }
        let Some(flight) = self.flights.close(id) else { return };
        for waiting in flight.waiting {
            self.fail(now, waiting, flight.failure);
        }
    }

    /// Whether this very query waits already: a datagram that was sent again.
    pub(crate) fn is_repeated(&self, key: &Key, waiting: &Waiting) -> bool {
        let Client::Udp { .. } = waiting.client else { return false };
        let flights = &self.flights;
        let flight = flights.by_question.get(&(key.clone(), None)).and_then(|id| flights.flights.get(id));
        flight.is_some_and(|flight| {
            flight
                .waiting
                .iter()
                .any(|it| it.client == waiting.client && it.question.id == waiting.question.id)
        })
    }
}

fn answers(bytes: &[u8], question: &Question) -> bool {
    answer::head(bytes).is_ok_and(|(head, _)| head.name == question.name && head.kind == question.kind)
}
