//! The proxy without sockets and clock: queries, answers and acknowledgements in; replies, questions and records out.
//!
//! A query's way: [`Engine::query`] reads it, asks [`decide()`], looks at what is kept, and else has it wait for a resolver
//! (`flight`). An answer that teaches waits until the agent has bound it (`learn`). Then [`Engine`] writes the reply and
//! the record. Everything that comes in says what time it is; everything that goes out is in an [`Outbox`].
//!
//! Guarantees: each query has one reply or is counted as dropped; whatever waits is bounded, for each pod and in all;
//! a reply that names addresses its pod's policies speak of leaves after they were bound; without rules nothing is
//! answered.

use crate::address::Reach;
use crate::asked::{Found, Stead};
use crate::bounded::Bounded;
use crate::cache::{Cache, Entry, Key};
use crate::decide::{Decision, Permit, Refusal, decide};
use crate::flight::Flights;
use crate::health::Health;
use crate::kind::Rcode;
use crate::learn::{Binding, BoundKey, Learning};
use crate::map::Map;
use crate::question::{Question, Unreadable};
use crate::rate::{Meter, Pace};
use crate::record::{Counters, Query, Reason, Transport};
use crate::reply::{self, Lifetimes};
use crate::state::{PodRules, Rules, Settings, State, keeps_answers};
use observe::Time;
use policy::{DnsName, Generation};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For durations.
    pub at: Instant,
    /// For records.
    pub time: Time,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A datagram's sender, and the address it was sent to, which the reply must come from.
    Udp {
        /// Sender.
        peer: SocketAddr,
        /// What the reply comes from.
        local: IpAddr,
    },
    /// A connection.
    Tcp {
        /// Number of the connection.
        connection: u64,
    },
    /// The agent, in the pod's stead. It is told by [`Outbox::found`], not by a message.
    Agent(Stead),
}

impl Client {
    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Udp { .. } => Transport::Udp,
            Self::Tcp { .. } => Transport::Tcp,
            Self::Agent(stead) => stead.over,
        }
    }
}

/// A query as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where the reply goes.
    pub client: Client,
    /// Who asks.
    pub pod: IpAddr,
    /// Who is asked.
    pub resolver: IpAddr,
    /// The message.
    pub bytes: &'a [u8],
}

/// A question to send upstream.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Resolver.
    pub server: SocketAddr,
    /// From which of the sockets for its family.
    pub socket: usize,
    /// The message.
    pub bytes: Vec<u8>,
}

/// A question to ask upstream on a connection.
#[derive(Clone, Debug)]
pub struct TcpAsk {
    /// Number to give back with the answer.
    pub flight: u64,
    /// Whose turn it takes.
    pub pod: IpAddr,
    /// Resolver.
    pub server: SocketAddr,
    /// The message.
    pub bytes: Vec<u8>,
}

/// What is to be done. Whoever empties it does so in any order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Replies.
    pub replies: Vec<(Client, Vec<u8>)>,
    /// Questions.
    pub asks: Vec<Ask>,
    /// Questions on connections.
    pub tcp_asks: Vec<TcpAsk>,
    /// What to bind; the number comes back in [`Engine::learned`].
    pub learns: Vec<(u64, Vec<Binding>)>,
    /// What happened.
    pub records: Vec<Query>,
    /// What the agent asked for, by its numbers.
    pub found: Vec<(u64, Found)>,
    /// What the agent asked for and must be asked again otherwise: [`Engine::ask_for`].
    pub again: Vec<(Stead, IpAddr, DnsName)>,
}

/// A query that has no reply yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) since: Now,
    pub(crate) client: Client,
    pub(crate) pod: IpAddr,
    pub(crate) resolver: IpAddr,
    pub(crate) question: Question,
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) generation: Option<Generation>,
    /// Whose count of waiting queries it is in.
    pub(crate) counted: Option<IpAddr>,
}

/// How a query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) reason: Reason,
    pub(crate) learned: bool,
    /// Upper bound of the lifetimes that the pod sees.
    pub(crate) most: u32,
}

impl Served {
    pub(crate) fn by(reason: Reason) -> Self {
        Self { reason, learned: false, most: u32::MAX }
    }
}

/// What ends at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The try of this number of a flight.
    Retry(u64, usize),
    /// Patience of those who could have an old answer.
    Stale(u64),
    /// A flight.
    Deadline(u64),
    /// A request to bind.
    Learn(u64),
}

/// What ends when. All of one kind last equally long, so they end in the order they began; if a setting shortens them, those
/// that began later wait for those before.
#[derive(Debug, Default)]
struct Timers([VecDeque<(Instant, Timer)>; 4]);

impl Timers {
    fn set(&mut self, at: Instant, timer: Timer) {
        let [retry, stale, deadline, learn] = &mut self.0;
        match timer {
            Timer::Retry(..) => retry,
            Timer::Stale(_) => stale,
            Timer::Deadline(_) => deadline,
            Timer::Learn(_) => learn,
        }
        .push_back((at, timer));
    }

    /// Lets go of the oldest as long as nobody needs them: most are needed no longer after a millisecond.
    fn forget(&mut self, over: impl Fn(Timer) -> bool) {
        for queue in &mut self.0 {
            while queue.front().is_some_and(|(_, timer)| over(*timer)) {
                queue.pop_front();
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.0.iter().filter_map(|queue| Some(queue.front()?.0)).min()
    }

    fn due(&mut self, now: Instant) -> Option<Timer> {
        let queue = self.0.iter_mut().find(|queue| queue.front().is_some_and(|(at, _)| *at <= now))?;
        queue.pop_front().map(|(_, timer)| timer)
    }
}

/// Lifetime that a pod sees of an answer that ran out (RFC 8767, section 4).
pub(crate) const STALE_TTL: u32 = 30;

/// The proxy without sockets and clock.
pub struct Engine {
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) cache: Cache,
    pub(crate) flights: Flights,
    pub(crate) health: Health,
    pub(crate) learning: Learning,
    pub(crate) known: Bounded<BoundKey, Instant>,
    pub(crate) counters: Counters,
    pub(crate) out: Outbox,
    pub(crate) random: Box<dyn FnMut() -> u32>,
    meters: Map<IpAddr, Meter>,
    strangers: Option<Meter>,
    timers: Timers,
    serial: u64,
    waiting: usize,
}

impl Engine {
    /// An engine without rules, which sends from so many sockets of each family. `random` must be hard to guess:
    /// numbers of questions come from it.
    pub fn new(sockets: usize, random: Box<dyn FnMut() -> u32>) -> Self {
        Self {
            rules: None,
            cache: Cache::new(),
            flights: Flights::new(sockets),
            health: Health::default(),
            learning: Learning::default(),
            known: Bounded::new(),
            counters: Counters::default(),
            out: Outbox::default(),
            random,
            meters: Map::default(),
            strangers: None,
            timers: Timers::default(),
            serial: 0,
            waiting: 0,
        }
    }

    /// Goes by another state from now on. What waits is judged again before it is answered.
    pub fn set_state(&mut self, state: State) {
        let rules = Rules::new(state, self.rules.as_deref());
        if self.rules.as_deref().is_some_and(|old| !keeps_answers(old, &rules)) {
            self.cache.clear();
        }
        self.meters.retain(|pod, meter| meter.waiting > 0 || rules.pod(*pod).is_some());
        self.health.keep(|resolver| rules.group_of(resolver).is_some());
        self.rules = Some(Arc::new(rules));
    }

    /// What is known to be bound may not be: everything is asked for again.
    pub fn forget_bindings(&mut self) {
        self.known.clear();
    }

    /// The generation that it goes by.
    pub fn generation(&self) -> Option<Generation> {
        self.rules.as_ref().map(|rules| rules.generation)
    }

    /// Settings it goes by.
    pub fn settings(&self) -> Settings {
        self.rules.as_ref().map(|rules| rules.settings.clone()).unwrap_or_default()
    }

    /// What is to be done.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// What is to be done, and from now on it is something new: questions that come together go out of the same socket,
    /// by one call to the kernel, and those after them out of any other.
    pub fn take_outbox(&mut self) -> Outbox {
        self.flights.choose_socket((self.random)());
        std::mem::take(&mut self.out)
    }

    /// Counts until now. The caller adds what happened to it.
    pub fn counters(&self) -> Counters {
        let number = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        Counters {
            cached: number(self.cache.len()),
            known: number(self.known.len()),
            waiting: number(self.waiting),
            ..self.counters.clone()
        }
    }

    /// When [`Engine::tick`] wants to be called, at the latest.
    pub fn next_timer(&mut self) -> Option<Instant> {
        let (flights, learning) = (&self.flights, &self.learning);
        self.timers.forget(|timer| match timer {
            Timer::Retry(flight, _) | Timer::Stale(flight) | Timer::Deadline(flight) => {
                !flights.is_open(flight)
            }
            Timer::Learn(request) => !learning.is_open(request),
        });
        self.timers.next()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.due(now.at) {
            match timer {
                Timer::Retry(flight, attempt) => self.retry(now, flight, attempt),
                Timer::Stale(flight) => self.out_of_patience(now, flight),
                Timer::Deadline(flight) => self.deadline(now, flight),
                Timer::Learn(request) => self.learn_late(now, request),
            }
        }
    }

    /// A query came.
    pub fn query(&mut self, now: Now, arrival: &Arrival<'_>) {
        let rules = self.rules.clone();
        let pod = rules.as_ref().and_then(|rules| rules.pod(arrival.pod));
        let pace = match &rules {
            Some(rules) => self.pace(now.at, pod, &rules.settings),
            None => Pace::Within,
        };
        // The agent waits for each of its own.
        if pace == Pace::FarBeyond && !matches!(arrival.client, Client::Agent(_)) {
            self.counters.dropped += 1;
            return;
        }
        let question = match Question::read(arrival.bytes) {
            Ok(question) => question,
            Err(unreadable) => return self.unreadable(arrival.client, &unreadable),
        };
        let waiting = Waiting {
            since: now,
            client: arrival.client,
            pod: arrival.pod,
            resolver: arrival.resolver,
            question,
            rule: None,
            generation: rules.as_ref().map(|rules| rules.generation),
            counted: None,
        };
        let Some(rules) = &rules else { return self.fail(now, waiting, Reason::NotReady) };
        if pace != Pace::Within {
            return self.fail(now, waiting, Reason::Rate);
        }
        let Some(pod) = pod else { return self.fail(now, waiting, Reason::UnknownPod) };
        match decide(rules, pod, &waiting.question, arrival.resolver) {
            Decision::Refuse(refusal) => self.refuse(now, waiting, refusal),
            Decision::Allow(permit) => self.permitted(now, waiting, pod, permit),
        }
    }

    fn pace(&mut self, now: Instant, pod: Option<&Arc<PodRules>>, settings: &Settings) -> Pace {
        let new = || Meter::new(now, settings.pod_burst);
        let meter = match pod {
            Some(pod) => self.meters.entry(pod.address).or_insert_with(new),
            None => self.strangers.get_or_insert_with(new),
        };
        meter.query(now, settings.pod_rate, settings.pod_burst)
    }

    fn unreadable(&mut self, client: Client, unreadable: &Unreadable) {
        match unreadable {
            Unreadable::Drop => self.counters.dropped += 1,
            Unreadable::Answer { id, repeated, rcode } => {
                self.counters.count(Reason::Malformed);
                self.out.replies.push((client, reply::header(*id, *repeated, *rcode)));
            }
        }
    }

    fn permitted(&mut self, now: Now, mut waiting: Waiting, pod: &PodRules, permit: Permit) {
        waiting.rule = permit.rule().cloned();
        let key = Key::new(&waiting.question, permit.source());
        if let Some(entry) = self.cache.fresh(&key, now.at) {
            return self.deliver(now, waiting, &entry, Reason::Cached);
        }
        if self.is_repeated(&key, &waiting) {
            self.counters.dropped += 1;
            return;
        }
        match self.admit(pod.address, &mut waiting) {
            Ok(()) => self.depart(now, key, waiting, &permit),
            Err(reason) => self.fail(now, waiting, reason),
        }
    }

    /// Counts a query among those that wait, if there is room.
    pub(crate) fn admit(&mut self, pod: IpAddr, waiting: &mut Waiting) -> Result<(), Reason> {
        let (Some(rules), Some(meter)) = (&self.rules, self.meters.get_mut(&pod)) else {
            return Err(Reason::NotReady);
        };
        if waiting.counted.is_some() {
            return Ok(());
        }
        if meter.waiting >= rules.settings.pod_waiting {
            return Err(Reason::Rate);
        }
        if self.waiting >= rules.settings.waiting {
            return Err(Reason::Busy);
        }
        meter.waiting += 1;
        self.waiting += 1;
        waiting.counted = Some(pod);
        Ok(())
    }

    /// There is an answer: the pod gets it, if it may, and once what it teaches is bound.
    pub(crate) fn deliver(&mut self, now: Now, waiting: Waiting, entry: &Rc<Entry>, reason: Reason) {
        let Some(rules) = self.rules.clone() else { return self.fail(now, waiting, Reason::NotReady) };
        let Some(pod) = rules.pod(waiting.pod) else { return self.fail(now, waiting, Reason::UnknownPod) };
        if waiting.generation != Some(rules.generation)
            && let Decision::Refuse(refusal) = decide(&rules, pod, &waiting.question, waiting.resolver)
        {
            return self.refuse(now, waiting, refusal);
        }
        let inside = match entry.reach {
            Reach::Public => true,
            Reach::Private => rules.is_private(&waiting.question.name),
            Reach::Special => false,
        };
        if !inside {
            return self.fail(now, waiting, Reason::Rebinding);
        }
        self.teach(now, waiting, entry, pod, reason);
    }

    /// Writes the reply, and its record.
    pub(crate) fn reply(&mut self, now: Now, waiting: Waiting, entry: &Entry, served: Served) {
        let stale = served.reason == Reason::Stale;
        let lifetimes = if stale {
            Lifetimes::All(STALE_TTL.min(served.most))
        } else {
            Lifetimes::After { seconds: entry.age(now.at), most: served.most }
        };
        let limit = match waiting.client {
            Client::Udp { .. } => waiting.question.udp_limit(),
            Client::Tcp { .. } | Client::Agent(_) => usize::from(u16::MAX),
        };
        let is_odd = stale || served.reason == Reason::Partial;
        let said = is_odd.then_some((3, served.reason.describe()));
        let bytes = reply::answer(entry.kept(), &waiting.question, lifetimes, limit, said);
        self.out.replies.push((waiting.client, bytes));
        self.finish(now, &waiting, Some(entry), served, entry.rcode);
    }

    /// Says that there is more than fits a datagram.
    pub(crate) fn reply_truncated(&mut self, now: Now, waiting: Waiting) {
        self.out.replies.push((waiting.client, reply::truncated(&waiting.question)));
        self.finish(now, &waiting, None, Served::by(Reason::Answered), Rcode::NOERROR);
    }

    fn refuse(&mut self, now: Now, mut waiting: Waiting, refusal: Refusal) {
        waiting.rule = refusal.rule;
        self.fail(now, waiting, refusal.reason);
    }

    /// Writes a reply without an answer, and its record.
    pub(crate) fn fail(&mut self, now: Now, waiting: Waiting, reason: Reason) {
        let (mut rcode, code) = reason.codes();
        let searched = || self.rules.as_ref().is_some_and(|rules| rules.is_private(&waiting.question.name));
        if reason == Reason::Name && searched() {
            // Resolver libraries try a name with the cluster's domains behind it first, and some (musl's) take REFUSED
            // for the end of the search.
            rcode = Rcode::NXDOMAIN;
        }
        let named = matches!(reason, Reason::Name | Reason::Resolver);
        let text = waiting.rule.as_deref().filter(|_| named).unwrap_or(reason.describe());
        let bytes = reply::refusal(&waiting.question, rcode, code.map(|code| (code, text)));
        self.out.replies.push((waiting.client, bytes));
        self.finish(now, &waiting, None, Served::by(reason), rcode);
    }

    fn finish(&mut self, now: Now, waiting: &Waiting, entry: Option<&Entry>, served: Served, rcode: Rcode) {
        if let Some(pod) = waiting.counted {
            self.waiting = self.waiting.saturating_sub(1);
            if let Some(meter) = self.meters.get_mut(&pod) {
                meter.waiting = meter.waiting.saturating_sub(1);
            }
        }
        self.counters.count(served.reason);
        let explicit = match waiting.client {
            Client::Agent(stead) => {
                self.found(stead, waiting, entry, served);
                true
            }
            Client::Udp { .. } | Client::Tcp { .. } => false,
        };
        let took = now.at.saturating_duration_since(waiting.since.at);
        self.out.records.push(Query {
            time: waiting.since.time,
            generation: waiting.generation,
            pod: waiting.pod,
            resolver: waiting.resolver,
            upstream: entry.map(|entry| entry.upstream),
            transport: waiting.client.transport(),
            name: match entry {
                Some(entry) => Arc::clone(&entry.name),
                None => waiting.question.name.text().into(),
            },
            kind: waiting.question.kind,
            verdict: served.reason.verdict(),
            reason: served.reason,
            rule: waiting.rule.clone(),
            rcode,
            addresses: entry.map(|entry| Arc::clone(&entry.addresses)).unwrap_or_default(),
            aliases: entry.map(|entry| Arc::clone(&entry.aliases)).unwrap_or_default(),
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            learned: served.learned,
            explicit,
        });
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.set(at, timer);
    }
}

#[cfg(test)]
mod tests;
