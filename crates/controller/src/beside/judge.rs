//! Judges what agents say that pods open by a candidate.
//!
//! Guarantees: an access that two nodes saw is judged once; a node speaks only of its own pods. Does not: compile.

use super::Candidate;
use feed::access::{self, Asked, Asks, End, Found, Seen, Told, Tried};
use feed::server::Feed;
use fleet::rollout::{Denial, Errors, Findings, Rate, Severity};
use fleet::{Beside, MOST_DENIALS, Ref};
use observe::{Difference, Tally, Time};
use policy::decide::selects;
use policy::{Access, Endpoint, Party, Pod, PodName, PolicySet, Resolved, Verdict, decide};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Reports that wait to be judged.
const QUEUE: usize = 256;
/// How long a node may be silent: agents say every few seconds what they saw, also if it is nothing.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is said what was seen.
const PACE: Duration = Duration::from_secs(1);
/// Pods that are gone, of which a report may still speak, and for how long.
const DEPARTED: usize = 4096;
const MEMORY: Duration = Duration::from_secs(60);
/// Findings that are told apart.
const MOST_FOUND: usize = 10_000;

/// Judges by what is current until the future is dropped.
pub(crate) async fn run(
    feed: Feed,
    mut candidates: latest::Receiver<Option<Arc<Candidate>>>,
    said: latest::Sender<Option<Beside>>,
) {
    let (to, mut told) = mpsc::channel(QUEUE);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judge: Option<Judge> = None;
    let mut number = 0;
    loop {
        tokio::select! {
            changed = candidates.changed() => {
                if changed.is_err() {
                    return;
                }
                let candidate = candidates.borrow_and_update().clone();
                judge = match (candidate, judge.take()) {
                    (None, _) => None,
                    (Some(new), Some(mut judge)) if judge.candidate.is_of(&new) => {
                        judge.go_by(new);
                        Some(judge)
                    }
                    (Some(new), _) => {
                        number += 1;
                        Some(Judge::new(new, number))
                    }
                };
                let asked = judge.as_ref().filter(|judge| judge.candidate.set.is_ok());
                feed.ask(asked.map(|judge| Asked { asks: judge.asks(), to: to.clone() }));
            }
            Some(report) = told.recv() => {
                let Some(mut judging) = judge.take() else { continue };
                // Many accesses take their time, which is nobody else's.
                let work = tokio::task::spawn_blocking(move || {
                    judging.hear(&report);
                    judging
                });
                judge = match work.await {
                    Ok(judge) => Some(judge),
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                };
            }
            _ = ticks.tick() => {}
        }
        let beside = judge.as_mut().map(|judge| judge.said(Instant::now()));
        said.send_if_modified(|said| {
            let differs = *said != beside;
            *said = beside;
            differs
        });
    }
}

/// A node that was heard.
struct Heard {
    connection: u64,
    at: Instant,
}

struct Judge {
    candidate: Arc<Candidate>,
    number: u64,
    /// Its set, with what DNS answered whoever is judged.
    set: PolicySet,
    pods_at: HashMap<IpAddr, Arc<Pod>>,
    departed: HashMap<PodName, (Arc<Pod>, Instant)>,
    /// Nodes with pods, which have to be heard.
    nodes: BTreeSet<Arc<str>>,
    heard: HashMap<Arc<str>, Heard>,
    begun: Instant,
    /// Since when there is no gap, and what had been judged then.
    whole: Option<(Instant, u64)>,
    tally: Tally,
    /// Findings by their ids, each as it was when it mattered most, and those for which there was no room.
    found: HashMap<String, Severity>,
    more_found: u64,
    /// What became of what was tried.
    errors: Errors,
    /// Nodes with agents that do not count that.
    uncounted: BTreeSet<Arc<str>>,
}

impl Judge {
    fn new(candidate: Arc<Candidate>, number: u64) -> Self {
        let mut judge = Self {
            candidate: Arc::clone(&candidate),
            number,
            set: PolicySet::empty(policy::Generation(0), policy::World::default()),
            pods_at: HashMap::new(),
            departed: HashMap::new(),
            nodes: BTreeSet::new(),
            heard: HashMap::new(),
            begun: Instant::now(),
            whole: None,
            tally: Tally::default(),
            found: HashMap::new(),
            more_found: 0,
            errors: Errors::default(),
            uncounted: BTreeSet::new(),
        };
        judge.go_by(candidate);
        judge
    }

    fn asks(&self) -> Asks {
        Asks { number: self.number, names: Arc::clone(&self.candidate.names) }
    }

    /// The same release, with other parties.
    fn go_by(&mut self, candidate: Arc<Candidate>) {
        self.candidate = candidate;
        let Ok(set) = &self.candidate.set else {
            self.whole = None;
            return;
        };
        let now = Instant::now();
        self.departed.retain(|_, (_, since)| now.duration_since(*since) < MEMORY);
        let gone =
            self.set.world.pods.iter().filter(|pod| set.world.find_pod(&pod.namespace, &pod.name).is_none());
        for pod in gone {
            if self.departed.len() < DEPARTED {
                self.departed.insert((pod.namespace.clone(), pod.name.clone()), (Arc::clone(pod), now));
            }
        }
        self.set = set.clone();
        let pods = || self.set.world.pods.iter().filter(|pod| !pod.host_network);
        self.pods_at = pods()
            .flat_map(|pod| pod.addresses.iter().map(move |address| (*address, Arc::clone(pod))))
            .collect();
        let running = pods().filter(|pod| !pod.addresses.is_empty());
        self.nodes = running.filter_map(|pod| pod.node.clone()).collect();
    }

    /// Takes in what a node saw.
    fn hear(&mut self, told: &Told) {
        if told.accesses.number != self.number {
            return;
        }
        let now = Instant::now();
        let before = self.heard.insert(told.node.clone(), Heard { connection: told.connection, at: now });
        // Between two connections something may have been lost.
        let is_another = before.is_some_and(|it| it.connection != told.connection);
        let mut lost = told.accesses.lost;
        for (seen, count) in &told.accesses.seen {
            if !self.judge(&told.node, seen, *count) {
                lost = lost.saturating_add(*count);
            }
        }
        told.accesses.found.iter().for_each(|found| self.note(&told.node, found));
        match &told.accesses.tried {
            Some(tried) => {
                self.uncounted.remove(&told.node);
                tried.iter().for_each(|(pod, tried)| self.weigh(&told.node, pod, *tried));
            }
            None => drop(self.uncounted.insert(Arc::clone(&told.node))),
        }
        if lost > 0 || is_another {
            self.whole = None;
        }
    }

    /// Takes in a finding, if it is about somebody whom the release selects. Of whom that cannot be said, it is taken to be.
    fn note(&mut self, node: &Arc<str>, found: &Found) {
        if found.pod.as_ref().is_none_or(|pod| self.is_about(node, pod)) {
            self.count(found);
        }
    }

    /// Takes in what became of what a pod of the node tried, or others at it, where the release selects the pod.
    fn weigh(&mut self, node: &Arc<str>, pod: &PodName, tried: Tried) {
        if !self.is_about(node, pod) {
            return;
        }
        let rate = |it: access::Rate| Rate { tried: it.tried, failed: it.failed };
        self.errors = self.errors.with(Errors {
            connections: rate(tried.connections),
            names: rate(tried.names),
            requests: rate(tried.requests),
        });
    }

    /// Whether the release selects a pod of the node. Where that cannot be said, it is taken to.
    fn is_about(&self, node: &Arc<str>, (namespace, name): &PodName) -> bool {
        let known = self.set.world.find_pod(namespace, name);
        let (Some(pod), Some(subjects)) = (known, &self.candidate.subjects) else { return true };
        let is_own = pod.node.as_ref().is_none_or(|it| it == node);
        is_own && subjects.iter().any(|subject| selects(&self.set.world, subject, pod))
    }

    fn count(&mut self, found: &Found) {
        let severity = match found.severity {
            access::Severity::Low => Severity::Low,
            access::Severity::Medium => Severity::Medium,
            access::Severity::High => Severity::High,
        };
        let has_room = self.found.len() < MOST_FOUND;
        match self.found.get_mut(&found.id) {
            Some(known) => *known = severity.max(*known),
            None if has_room => {
                self.found.insert(found.id.clone(), severity);
            }
            // Whether it was told before is not known: it counts as one more, and as one that matters.
            None => self.more_found = self.more_found.saturating_add(1),
        }
    }

    fn findings(&self) -> Findings {
        let mut findings = Findings { high: self.more_found, ..Findings::default() };
        self.found.values().for_each(|severity| findings.add(*severity));
        findings
    }

    /// Judges accesses alike. False: they are none of the node's.
    fn judge(&mut self, node: &Arc<str>, seen: &Seen, count: u64) -> bool {
        let (from, to) = (self.party(&seen.from), self.party(&seen.to));
        let on = |party: &Who| match party {
            Who::Pod(pod) => pod.node.clone(),
            Who::Gone | Who::Other => None,
        };
        let (from_node, to_node) = (on(&from), on(&to));
        let is_gone = matches!(from, Who::Gone) || matches!(to, Who::Gone);
        if !is_gone && from_node.as_ref() != Some(node) && to_node.as_ref() != Some(node) {
            return false;
        }
        let is_also_seen = to_node.as_ref().is_some_and(|it| it != node && self.heard.contains_key(it));
        if seen.verdict == Verdict::Allow && is_also_seen {
            return true;
        }
        let names = match &from {
            Who::Pod(pod) if !seen.names.is_empty() => {
                let live = BTreeMap::from([(seen.to.address, seen.names.iter().cloned().collect())]);
                let resolved = Resolved { live, ..Resolved::default() };
                BTreeMap::from([((pod.namespace.clone(), pod.name.clone()), resolved)])
            }
            Who::Pod(_) | Who::Gone | Who::Other => BTreeMap::new(),
        };
        self.set.world.names = names;
        let (would, rule) = self.decide(seen, &from, &to);
        let [source, destination] = [self.whom(&seen.from, &from), self.whom(&seen.to, &to)];
        let destination = seen.names.first().map_or(destination, ToString::to_string);
        self.tally.add([seen.verdict, would], (count, Time::from(SystemTime::now())), || Difference {
            verdict: would,
            source: source.into(),
            destination: destination.into(),
            protocol: seen.protocol,
            port: seen.port,
            rule: rule.into(),
        });
        true
    }

    /// What the candidate would do, and by which rule.
    fn decide(&self, seen: &Seen, from: &Who, to: &Who) -> (Verdict, String) {
        let (Some(from), Some(to)) = (self.endpoint(&seen.from, from), self.endpoint(&seen.to, to)) else {
            return (Verdict::Deny, "a pod that is gone: nothing can be said of it".to_owned());
        };
        let access = Access { from, to, protocol: seen.protocol, port: seen.port };
        let decision = decide(&self.set, &access);
        let (_, by) = decision.deciding();
        let rule =
            self.set.rule(by.rule).map_or_else(|| by.reason.describe().to_owned(), ToString::to_string);
        let may_be_named = decision.egress.verdict == Verdict::Deny
            && seen.unfollowed
            && seen.names.is_empty()
            && matches!(to.party, Party::Outside)
            && matches!(from.party, Party::Pod(pod) if !policy::dns::dns_rules(&self.set, pod).spoken.is_empty());
        let unsure = if may_be_named { " (or a name allows it: the pod's DNS is not followed)" } else { "" };
        (decision.verdict, format!("{rule}{unsure}"))
    }

    fn party(&self, end: &End) -> Who {
        let Some((namespace, name)) = &end.pod else {
            return self.pods_at.get(&end.address).map_or(Who::Other, |pod| Who::Pod(Arc::clone(pod)));
        };
        let known = self.set.world.find_pod(namespace, name).filter(|pod| !pod.host_network);
        let departed = || self.departed.get(&(namespace.clone(), name.clone())).map(|(pod, _)| pod);
        known.or_else(departed).map_or(Who::Gone, |pod| Who::Pod(Arc::clone(pod)))
    }

    fn endpoint<'a>(&'a self, end: &End, who: &'a Who) -> Option<Endpoint<'a>> {
        let party = match who {
            Who::Gone => return None,
            Who::Pod(pod) => Party::Pod(pod),
            Who::Other => self
                .set
                .world
                .nodes
                .values()
                .find(|node| node.addresses.contains(&end.address))
                .map_or(Party::Outside, Party::Node),
        };
        Some(Endpoint { party, address: Some(end.address) })
    }

    /// As records have it.
    fn whom(&self, end: &End, who: &Who) -> String {
        match (who, &end.pod) {
            (Who::Pod(pod), _) if &*pod.workload.kind != "Pod" => {
                format!("{}/{}/{}", pod.namespace, pod.workload.kind, pod.workload.name)
            }
            (Who::Pod(pod), _) => pod.to_string(),
            (Who::Gone, Some((namespace, name))) => format!("{namespace}/{name}"),
            (Who::Gone | Who::Other, _) => {
                let node = self.set.world.nodes.values().find(|node| node.addresses.contains(&end.address));
                node.map_or_else(|| end.address.to_string(), |node| format!("node {}", node.name))
            }
        }
    }

    /// What was seen so far.
    fn said(&mut self, now: Instant) -> Beside {
        let missing = |node: &&Arc<str>| {
            let at = self.heard.get(*node).map(|heard| heard.at);
            at.is_none_or(|at| now.duration_since(at) > PATIENCE)
        };
        let mut missing: Vec<&Arc<str>> = self.nodes.iter().filter(missing).collect();
        missing.sort();
        let problem = match (&self.candidate.set, missing.first()) {
            (Err(why), _) => Some(format!("release {} cannot be judged by: {why}", self.candidate.of.number)),
            (Ok(_), Some(first)) if now.duration_since(self.begun) > PATIENCE => Some(format!(
                "{} nodes do not say what their pods open, such as {first}: not all is judged by release {}",
                missing.len(),
                self.candidate.of.number
            )),
            (Ok(_), _) => None,
        };
        let is_whole = missing.is_empty() && self.candidate.set.is_ok();
        self.whole = self.whole.filter(|_| is_whole).or_else(|| is_whole.then_some((now, self.tally.judged)));
        let (seconds, judged_before) = self
            .whole
            .map_or((0, self.tally.judged), |(since, judged)| (now.duration_since(since).as_secs(), judged));
        let flows = self.tally.judged.saturating_sub(judged_before);
        self.told(self.candidate.of.clone(), (seconds, flows), problem)
    }

    fn told(&self, of: Ref, (seconds, flows): (u64, u64), problem: Option<String>) -> Beside {
        let mut beside = Beside {
            of,
            about: self.candidate.about.clone(),
            seconds,
            flows,
            denials: Vec::new(),
            more_denials: self.tally.would_deny,
            rules: Vec::new(),
            refused: Vec::new(),
            more_refused: self.tally.would_allow,
            findings: self.findings(),
            errors: self.nodes.is_disjoint(&self.uncounted).then_some(self.errors),
            problem,
        };
        for (difference, seen) in self.tally.differences() {
            let (listed, more) = match difference.verdict {
                Verdict::Deny => (&mut beside.denials, &mut beside.more_denials),
                Verdict::Allow => (&mut beside.refused, &mut beside.more_refused),
            };
            if listed.len() == MOST_DENIALS {
                continue;
            }
            *more = more.saturating_sub(seen.count);
            listed.push(Denial {
                source: difference.source.to_string(),
                destination: difference.destination.to_string(),
                port: difference.port,
                count: seen.count,
            });
            if difference.verdict == Verdict::Deny {
                beside.rules.push(Arc::clone(&difference.rule));
            }
        }
        beside
    }
}

/// Whom an end was.
enum Who {
    /// A pod that is there, or was lately.
    Pod(Arc<Pod>),
    /// A pod that nobody knows any more.
    Gone,
    /// A node, or the outside.
    Other,
}

#[cfg(test)]
mod tests;
