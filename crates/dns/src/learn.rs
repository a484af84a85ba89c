//! Binds before it answers: the kernel must let a pod connect by the time it knows the address.
//!
//! Enters: answers that teach, acknowledgements, silences. Leaves: [`Binding`]s, and answers once those are in force.
//! Guarantees: only trusted resolvers teach, and only names that the pod's policies speak of; an answer leaves when all
//! its bindings were acknowledged, or were before and last for long enough; else the pod gets SERVFAIL, but where each
//! binding is still in force: then it gets the answer for as long as they are.
//!
//! An answer that the resolver was asked not to validate (CD) teaches as well: whether it validates at all is not known here.
//!
//! A binding that was acknowledged is known, and costs no question while more than half of the shortest binding's time
//! is left and it outlives what the pod sees as the answer's lifetime.

use crate::cache::{Entry, Lesson};
use crate::engine::{Engine, Now, STALE_TTL, Served, Timer, Waiting};
use crate::kind::RecordType;
use crate::map::Map;
use crate::record::Reason;
use crate::state::{PodRules, names};
use crate::wire::Name;
use policy::DnsName;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Names that lead a pod to addresses, to be put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// First address of the pod, as its state has it; the binding is for all of them.
    pub pod: IpAddr,
    /// Names that the pod's policies speak of; each leads to each of the addresses.
    #[serde(with = "names")]
    pub names: Vec<DnsName>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Seconds it must last at least.
    pub ttl: u32,
}

/// A binding of one name and one address, of the pod in one epoch.
pub(crate) type BoundKey = (u64, Name, IpAddr);

/// Pairs of name and address that one answer may teach: a thousand addresses by three names. One with more is not answered to
/// pods whose policies speak of it.
const MAX_PAIRS: usize = 3072;

/// Requests to bind that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Learning {
    requests: Map<u64, Request>,
    /// By pod's epoch and answer.
    by_answer: Map<(u64, u64), u64>,
}

impl Learning {
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.requests.contains_key(&id)
    }
}

#[derive(Debug)]
struct Request {
    epoch: u64,
    entry: Rc<Entry>,
    bound: Vec<BoundKey>,
    waiting: Vec<(Waiting, Reason)>,
}

/// What has to be put in force, and under which keys it is known from then on.
#[derive(Default)]
struct Wanted {
    bindings: Vec<Binding>,
    keys: Vec<BoundKey>,
}

/// How the bindings of an answer stand.
enum Standing {
    /// The answer teaches this pod nothing.
    Nothing,
    /// All are in force for long enough.
    Known,
    /// These have to be asked for.
    Wanted(Wanted),
    /// More than an answer may teach.
    TooMuch,
}

impl Engine {
    /// Answers, at once or when what the answer teaches is bound.
    pub(crate) fn teach(
        &mut self,
        now: Now,
        mut waiting: Waiting,
        entry: &Rc<Entry>,
        pod: &PodRules,
        reason: Reason,
    ) {
        let wanted = match self.standing(now.at, entry, pod, reason) {
            Standing::Nothing => return self.reply(now, waiting, entry, Served::by(reason)),
            Standing::Known => {
                let served = Served { learned: true, ..Served::by(reason) };
                return self.reply(now, waiting, entry, served);
            }
            Standing::Wanted(wanted) => wanted,
            Standing::TooMuch => return self.fail(now, waiting, Reason::LearnFailed),
        };
        if let Err(reason) = self.admit(pod.address, &mut waiting) {
            return self.fail(now, waiting, reason);
        }
        let by = (pod.epoch, entry.serial);
        if let Some(request) =
            self.learning.by_answer.get(&by).and_then(|id| self.learning.requests.get_mut(id))
        {
            request.waiting.push((waiting, reason));
            return;
        }
        let id = self.next_serial();
        let Wanted { bindings, keys: bound } = wanted;
        let request =
            Request { epoch: pod.epoch, entry: Rc::clone(entry), bound, waiting: vec![(waiting, reason)] };
        self.learning.requests.insert(id, request);
        self.learning.by_answer.insert(by, id);
        self.counters.learned += 1;
        self.out.learns.push((id, bindings));
        let patience = self.rules.as_ref().map(|rules| rules.settings.learn()).unwrap_or_default();
        self.set_timer(now.at + patience, Timer::Learn(id));
    }

    fn standing(&self, now: Instant, entry: &Entry, pod: &PodRules, reason: Reason) -> Standing {
        let Some(rules) = &self.rules else { return Standing::Nothing };
        if entry.lessons.is_empty() || !pod.speaks() {
            return Standing::Nothing;
        }
        // What the pod sees as the lifetime of an answer that ran out.
        let shown = if reason == Reason::Stale { STALE_TTL } else { 0 };
        let least = Duration::from_secs(u64::from(shown.max(rules.settings.binding_floor / 2)));
        let (mut spoken_of, mut wanted) = (0, Wanted::default());
        for lesson in &entry.lessons {
            let needed = entry.end_of(lesson).max(now + least);
            let names = || lesson.names.iter().filter(|name| pod.speaks_of(name));
            spoken_of += names().count() * lesson.addresses.len();
            if spoken_of > MAX_PAIRS {
                return Standing::TooMuch;
            }
            if names().all(|name| self.is_known(pod.epoch, name, lesson, needed)) {
                continue;
            }
            for name in names() {
                wanted.keys.extend(lesson.addresses.iter().map(|to| (pod.epoch, name.clone(), *to)));
            }
            wanted.bindings.push(Binding {
                pod: pod.address,
                // Policies speak of host names only.
                names: names().filter_map(Name::dns_name).collect(),
                addresses: lesson.addresses.clone(),
                ttl: rules.settings.binding(lesson.ttl.saturating_sub(entry.age(now)).max(shown)),
            });
        }
        match (spoken_of, wanted.bindings.is_empty()) {
            (0, _) => Standing::Nothing,
            (_, true) => Standing::Known,
            (_, false) => Standing::Wanted(wanted),
        }
    }

    fn is_known(&self, epoch: u64, name: &Name, lesson: &Lesson, needed: Instant) -> bool {
        let until = |address: &IpAddr| self.known.get(&(epoch, name.clone(), *address));
        lesson.addresses.iter().all(|address| until(address).is_some_and(|until| *until >= needed))
    }

    /// A request was answered: its bindings are in force for so many seconds, or could not be put in force.
    pub fn learned(&mut self, now: Now, id: u64, bound: Result<u32, String>) {
        let Some(request) = self.learning.requests.remove(&id) else { return };
        self.learning.by_answer.remove(&(request.epoch, request.entry.serial));
        let Ok(seconds) = bound else { return self.not_learned(now, request, Reason::LearnFailed) };
        let Some(rules) = self.rules.clone() else { return };
        let until = now.at + Duration::from_secs(u64::from(seconds.min(rules.settings.binding_cap)));
        for key in request.bound {
            self.known.put(key, until, 1, (rules.settings.known_bindings, usize::MAX));
        }
        for (waiting, reason) in request.waiting {
            // Policy may have changed meanwhile, and what was bound then may be for another.
            if waiting.generation == Some(rules.generation) {
                self.reply(now, waiting, &request.entry, Served { learned: true, ..Served::by(reason) });
            } else {
                self.deliver(now, waiting, &request.entry, reason);
            }
        }
    }

    pub(crate) fn learn_late(&mut self, now: Now, id: u64) {
        let Some(request) = self.learning.requests.remove(&id) else { return };
        self.learning.by_answer.remove(&(request.epoch, request.entry.serial));
        self.not_learned(now, request, Reason::LearnLate);
    }

    /// What is bound stays so without the agent: such names go on being answered for as long, with those addresses that
    /// are.
    fn not_learned(&mut self, now: Now, request: Request, why: Reason) {
        let mut open: HashMap<IpAddr, Instant> = HashMap::new();
        for key @ (.., address) in &request.bound {
            // Known by all its names, or not at all.
            let until = self.known.get(key).copied().unwrap_or(now.at);
            let held = open.entry(*address).or_insert(until);
            *held = until.min(*held);
        }
        let all = open.len();
        open.retain(|_, until| *until > now.at + Duration::from_secs(1));
        let left = open.values().min().map_or(0, |until| until.saturating_duration_since(now.at).as_secs());
        let most = u32::try_from(left).unwrap_or(u32::MAX);
        let given: HashSet<IpAddr> = open.into_keys().collect();
        for (waiting, reason) in request.waiting {
            let same = self.rules.as_ref().is_some_and(|rules| waiting.generation == Some(rules.generation));
            let is_of_addresses = [RecordType::A, RecordType::AAAA].contains(&waiting.question.kind);
            if !same || given.is_empty() {
                self.fail(now, waiting, why);
            } else if given.len() == all {
                self.reply(now, waiting, &request.entry, Served { reason, learned: true, most });
            } else if is_of_addresses && let Some(entry) = request.entry.with_only(&waiting.question, &given)
            {
                let served = Served { reason: Reason::Partial, learned: true, most };
                self.reply(now, waiting, &entry, served);
            } else {
                self.fail(now, waiting, why);
            }
        }
    }
}
