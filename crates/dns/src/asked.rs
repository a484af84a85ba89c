//! Names that the agent asks for in a pod's stead: the explicit proxy connects where such a name leads.
//!
//! Enters: pod and name. Leaves: a [`Found`]. Guarantees: judged, paced, recorded, bound and answered as a query of the pod
//! itself, to the first trusted resolver that it may ask; only addresses that the name leads to are given, of the family
//! of the pod's address. Does not: ask again; who asks for it waits as long as a query may take.

use crate::cache::Entry;
use crate::decide::{Decision, decide};
use crate::engine::{Arrival, Client, Engine, Now, Served, Waiting};
use crate::kind::RecordType;
use crate::question::{Flags, Question, UDP_LIMIT};
use crate::record::{Reason, Transport};
use crate::wire::Name;
use policy::DnsName;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Where a name leads a pod, or why nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Whom it leads.
    pub pod: IpAddr,
    /// The name.
    pub name: DnsName,
    /// What became of the query.
    pub reason: Reason,
    /// The rule that allowed or denied, where one did.
    pub rule: Option<Arc<str>>,
    /// Where it leads, at most 64; bound for the pod where its policies speak of the name. Empty also where it is
    /// answered that there is none.
    pub addresses: Vec<IpAddr>,
}

/// Most addresses that are given.
const MAX_ADDRESSES: usize = 64;

/// A query in a pod's stead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stead {
    /// Number to give back.
    pub id: u64,
    /// How it is asked upstream.
    pub over: Transport,
}

impl Engine {
    /// Asks for the addresses of a name in a pod's stead; what is found is in [`crate::engine::Outbox::found`].
    pub fn ask_for(&mut self, now: Now, stead: Stead, pod: IpAddr, name: &DnsName) {
        let kind = if pod.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let flags = Flags { recursion: true, ..Flags::default() };
        let edns = Some(UDP_LIMIT);
        let question = Question { id: 0, name: Name::from(name), kind, flags, edns, cased: None };
        let Some(resolver) = self.resolver_for(pod, &question) else {
            let (name, addresses) = (name.clone(), Vec::new());
            let found = Found { pod, name, reason: Reason::NotReady, rule: None, addresses };
            return self.out.found.push((stead.id, found));
        };
        let bytes = question.upstream(0);
        self.query(now, &Arrival { client: Client::Agent(stead), pod, resolver, bytes: &bytes });
    }

    /// The first trusted resolver that the pod may ask; where there is none, one whose refusal says why.
    fn resolver_for(&self, pod: IpAddr, question: &Question) -> Option<IpAddr> {
        let rules = self.rules.as_ref()?;
        let first = rules.trusted().next();
        let Some(pod) = rules.pod(pod) else { return first };
        let may = |resolver: &IpAddr| matches!(decide(rules, pod, question, *resolver), Decision::Allow(_));
        rules.trusted().find(may).or(first)
    }

    /// A query in a pod's stead has its answer.
    pub(crate) fn found(&mut self, stead: Stead, waiting: &Waiting, entry: Option<&Entry>, served: Served) {
        let Some(name) = waiting.question.name.dns_name() else { return };
        let is_cut = entry.is_none() && served.reason == Reason::Answered;
        if is_cut && stead.over == Transport::Udp {
            // As a client does that hears that there is more. Not from within: what waits is being answered.
            let again = Stead { over: Transport::Tcp, ..stead };
            return self.out.again.push((again, waiting.pod, name));
        }
        let addresses = entry.map(|entry| led_to(entry, &waiting.question, served)).unwrap_or_default();
        let found =
            Found { pod: waiting.pod, name, reason: served.reason, rule: waiting.rule.clone(), addresses };
        self.out.found.push((stead.id, found));
    }
}

/// Addresses that a chain of names leads to from the question; not every one that an answer mentions.
fn led_to(entry: &Entry, question: &Question, served: Served) -> Vec<IpAddr> {
    let is_asked = |address: &IpAddr| address.is_ipv4() == (question.kind == RecordType::A);
    if served.reason == Reason::Partial {
        // What is left of them was bound.
        return entry.addresses.iter().copied().filter(is_asked).take(MAX_ADDRESSES).collect();
    }
    let lessons = entry.lessons.iter().filter(|lesson| lesson.names.contains(&question.name));
    lessons.flat_map(|lesson| lesson.addresses.iter().copied()).filter(is_asked).take(MAX_ADDRESSES).collect()
}
