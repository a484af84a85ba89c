//! Where a pod may go by what a request says of a place: a name that nobody resolved, or an address.
//!
//! Enters: a set and a pod. Leaves: a [`OwnEgress`], which says of a [`Contact`] whether the pod might go there itself.
//! Guarantees: as the reference evaluator judges a connection to an address outside that has that name alone, and no
//! questions of DNS that the pod may not ask; but of a name without an address, only blocks of all addresses match. A rule that looks at
//! requests counts for what the provider asks, where that is known; what a rule counts or changes of requests, nobody does
//! of the provider's. Does not: resolve.

use crate::access::{Direction, Protocol};
use crate::contact::{Asks, Contact, Own, Whom};
use crate::decide::{Verdict, selects};
use crate::dns::{Lists, dns_rules};
use crate::domain::{DnsName, DomainPattern};
use crate::operation::{Operation, Requests, judge_operation};
use crate::rule::{Action, Demand, Peer, Peers, PortMatch, Ports, Rule, RuleId, Section, Tier};
use crate::set::PolicySet;
use crate::world::Pod;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Labels that stand for any below a domain: what is allowed to these is allowed to all.
const BELOW: [&str; 2] = ["any-name", "any-name.any-name"];

/// What a pod may reach. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnEgress {
    /// Rules that could match, in the order of judgement.
    rules: Vec<Entry>,
    /// What the NetworkPolicy tier says where none of its rules matches: a denial, by this rule.
    isolation: Option<Arc<str>>,
    /// The pod's scope is closed, by this rule.
    closed: Option<Arc<str>>,
    /// Names that may be asked for, and the rule that refuses the others; each must have the name.
    names: Vec<(Vec<DomainPattern>, Arc<str>)>,
    /// What refuses where no policy decides. None: then it is allowed.
    otherwise: Option<Arc<str>>,
    is_told: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    id: RuleId,
    text: Arc<str>,
    tier: Tier,
    action: Action,
    demand: Demand,
    everyone: bool,
    names: Vec<DomainPattern>,
    networks: Vec<(Net, Vec<Net>)>,
    /// First and last.
    ports: Vec<(u16, u16)>,
    requests: Option<Arc<Requests>>,
}

/// A block of addresses, in JSON as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Net(IpNet);

impl Serialize for Net {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// A place.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Name(&'a DnsName),
    Address(IpAddr),
}

/// Where a pod may go by itself.
pub fn own_egress(set: &PolicySet, pod: &Pod) -> OwnEgress {
    let text = |rule: RuleId| {
        set.rule(rule).map_or_else(|| "a rule that is gone".into(), |it| it.to_string().into())
    };
    let mut closed = set.closed.iter().filter(|scope| scope.directions.contains(&Direction::Egress));
    let closed = closed.find(|scope| selects(&set.world, &scope.subject, pod)).map(|scope| text(scope.rule));
    let selecting = || set.policies.iter().filter(|policy| selects(&set.world, &policy.subject, pod));
    let isolation = selecting()
        .find(|policy| policy.tier == Tier::NetworkPolicy && policy.egress != Section::Untouched)
        .map(|policy| text(policy.isolation(Direction::Egress)));
    let rules = selecting().flat_map(|policy| {
        let entry = |rule: &Rule| {
            let known = set.rule(rule.id);
            let demand = known.map_or(Demand::Nothing, |entry| entry.demand());
            let requests = known.and_then(|entry| entry.requests.clone());
            Entry::of(rule, policy.tier, demand, (text(rule.id), requests))
        };
        policy.egress.rules().iter().filter_map(entry)
    });
    let names = match dns_rules(set, pod).names() {
        Lists::Settled(ruling) if ruling.verdict == Verdict::Deny => vec![(Vec::new(), text(ruling.rule))],
        Lists::Settled(_) => Vec::new(),
        Lists::Each(each) => {
            let patterns = |list: Vec<(DomainPattern, RuleId)>| list.into_iter().map(|(it, _)| it).collect();
            each.into_iter().map(|(list, unlisted)| (patterns(list), text(unlisted))).collect()
        }
    };
    OwnEgress { rules: rules.collect(), isolation, closed, names, otherwise: None, is_told: true }
}

impl OwnEgress {
    /// The same for one that policy must allow what it does: where none decides, it is denied for this.
    #[must_use]
    pub fn otherwise(self, why: &str) -> Self {
        Self { otherwise: Some(why.into()), ..self }
    }

    /// Whether some of the pod's requests are judged, so that anybody asks.
    pub fn is_asked(&self) -> bool {
        self.rules.iter().any(|entry| entry.requests.is_some())
    }

    /// Says of each contact whether the pod may go there itself.
    pub fn judge(&self, contacts: &mut [Contact]) {
        for contact in contacts {
            contact.own = match &contact.whom {
                _ if !self.is_told => Own::Unjudged,
                Whom::Host { name, port, asks } => self.host(name, *port, asks),
                Whom::Domain(name) => self.domain(name),
                Whom::Tool { .. } | Whom::Unread(_) => Own::Unjudged,
            };
        }
    }

    fn host(&self, host: &str, port: u16, asks: &Asks) -> Own {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.place(Place::Address(address.to_canonical()), port, asks);
        }
        match DnsName::parse(host) {
            Ok(name) => self.place(Place::Name(&name), port, asks),
            Err(_) => Own::Unjudged,
        }
    }

    /// A domain and all below it, by HTTPS.
    fn domain(&self, name: &DnsName) -> Own {
        let all = DomainPattern::Below(name.clone());
        let holds_more = |entry: &&Entry| {
            let is_less = entry.action == Action::Deny || entry.demand != Demand::Nothing;
            is_less && entry.names.iter().any(|pattern| all.covers(pattern))
        };
        if let Some(entry) = self.rules.iter().find(holds_more) {
            return Own::Denied(Arc::clone(&entry.text));
        }
        for base in std::iter::once(name).chain(self.zones().filter(|zone| zone.is_in(name))) {
            let below = BELOW.iter().map(|labels| DnsName::parse(&format!("{labels}.{base}")));
            for name in std::iter::once(Ok(base.clone())).chain(below) {
                let own = match name {
                    Ok(name) => self.place(Place::Name(&name), 443, &Asks::Anything),
                    // So long a name has none below it.
                    Err(_) => continue,
                };
                if own != Own::Allowed {
                    return own;
                }
            }
        }
        Own::Allowed
    }

    /// Private zones that wildcards of rules do not mean.
    fn zones(&self) -> impl Iterator<Item = &DnsName> {
        self.rules.iter().flat_map(|entry| &entry.names).flat_map(|pattern| match pattern {
            DomainPattern::Outside(outside) => outside.zones(),
            DomainPattern::Exact(_)
            | DomainPattern::OneBelow(_)
            | DomainPattern::Below(_)
            | DomainPattern::Any => &[],
        })
    }

    fn place(&self, place: Place<'_>, port: u16, asks: &Asks) -> Own {
        if let Some(rule) = &self.closed {
            return Own::Denied(Arc::clone(rule));
        }
        if let Place::Name(name) = place {
            let lists = |list: &[DomainPattern]| list.iter().any(|pattern| pattern.matches(name));
            if let Some((_, rule)) = self.names.iter().find(|(list, _)| !lists(list)) {
                return Own::Denied(Arc::clone(rule));
            }
        }
        let matching: Vec<&Entry> = self.rules.iter().filter(|entry| entry.matches(place, port)).collect();
        let of = |tier: Tier| matching.iter().copied().filter(move |entry| entry.tier == tier);
        if let Some(own) = decided(of(Tier::Admin).next(), asks) {
            return own;
        }
        let own = |action: Action| of(Tier::NetworkPolicy).filter(move |entry| entry.action == action);
        if let Some(denying) = own(Action::Deny).next() {
            return Own::Denied(Arc::clone(&denying.text));
        }
        // What an answer granted, it granted to the pod.
        let allowing = || own(Action::Accept).filter(|entry| entry.demand != Demand::Grant);
        if let Some(first) = allowing().min_by_key(|entry| entry.demand) {
            return match first.demand {
                Demand::Requests => {
                    asked(allowing().filter(|it| it.demand == Demand::Requests).collect(), asks)
                }
                Demand::Upload | Demand::Nothing | Demand::Grant => first.accepted(asks),
            };
        }
        if let Some(rule) = &self.isolation {
            return Own::Denied(Arc::clone(rule));
        }
        let by_default = || self.otherwise.clone().map_or(Own::Allowed, Own::Denied);
        decided(of(Tier::Baseline).next(), asks).unwrap_or_else(by_default)
    }
}

/// By the first rule of an ordered tier, unless it passes.
fn decided(first: Option<&Entry>, asks: &Asks) -> Option<Own> {
    let first = first?;
    match first.action {
        Action::Accept => Some(first.accepted(asks)),
        Action::Deny => Some(Own::Denied(Arc::clone(&first.text))),
        Action::Pass => None,
    }
}

/// By rules that look at requests, of which any may allow.
fn asked(rules: Vec<&Entry>, asks: &Asks) -> Own {
    let known = match asks {
        Asks::Anything => None,
        Asks::Fetch(operation) | Asks::Store(operation) => Some(&**operation),
    };
    let unknown = || Operation::unknown("what the provider asks is not seen");
    let looked = rules.iter().filter_map(|entry| Some((entry.id, entry.requests.as_deref()?)));
    let judged = match known {
        Some(operation) => judge_operation(looked, operation),
        None => judge_operation(looked, &unknown()),
    };
    let text = |rule: Option<RuleId>| {
        let named = rules.iter().find(|entry| Some(entry.id) == rule).or(rules.first());
        named.map_or_else(|| "no rule".into(), |entry| Arc::clone(&entry.text))
    };
    match judged {
        Ok(_) => Own::Allowed,
        Err(nearest) => Own::Denied(text(nearest.map(|(rule, _)| rule))),
    }
}

impl Entry {
    /// None: it can match nothing outside.
    fn of(
        rule: &Rule,
        tier: Tier,
        demand: Demand,
        (text, requests): (Arc<str>, Option<Arc<Requests>>),
    ) -> Option<Self> {
        let (mut names, mut networks) = (Vec::new(), Vec::new());
        let everyone = match &rule.peers {
            Peers::Everyone => true,
            Peers::AnyOf(peers) => {
                for peer in peers {
                    match peer {
                        Peer::Names(patterns) => names.extend_from_slice(patterns),
                        Peer::Network { cidr, except } => {
                            networks.push((Net(*cidr), except.iter().copied().map(Net).collect()));
                        }
                        Peer::Pods { .. } | Peer::Nodes(_) => {}
                    }
                }
                false
            }
        };
        let ports = match &rule.ports {
            Ports::All => vec![(0, u16::MAX)],
            Ports::AnyOf(ports) => ports.iter().filter_map(tcp).collect(),
        };
        let can_match = (everyone || !names.is_empty() || !networks.is_empty()) && !ports.is_empty();
        let (id, action) = (rule.id, rule.action);
        can_match.then_some(Self {
            id,
            text,
            tier,
            action,
            demand,
            everyone,
            names,
            networks,
            ports,
            requests,
        })
    }

    fn matches(&self, place: Place<'_>, port: u16) -> bool {
        let is_meant = self.everyone
            || match place {
                Place::Name(name) => {
                    self.names.iter().any(|pattern| pattern.matches(name))
                        || self.networks.iter().any(|(cidr, _)| cidr.0.prefix_len() == 0)
                }
                Place::Address(address) => self.networks.iter().any(|(cidr, except)| {
                    cidr.0.contains(&address) && !except.iter().any(|carved| carved.0.contains(&address))
                }),
            };
        is_meant && self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// What it allows, where it allows connections.
    fn accepted(&self, asks: &Asks) -> Own {
        match (self.demand, asks) {
            (Demand::Nothing, _) | (Demand::Upload, Asks::Fetch(_)) => Own::Allowed,
            // Nobody counts what the provider sends there.
            (Demand::Upload, Asks::Anything | Asks::Store(_)) | (Demand::Grant, _) => {
                Own::Denied(Arc::clone(&self.text))
            }
            (Demand::Requests, _) => asked(vec![self], asks),
        }
    }
}

fn tcp(port: &PortMatch) -> Option<(u16, u16)> {
    match port {
        PortMatch::Numbers { protocol, first, last } => {
            (*protocol == Protocol::TCP).then_some((*first, *last))
        }
        // Names mean pods' ports.
        PortMatch::Named { .. } => None,
    }
}
