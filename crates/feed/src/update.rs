//! From what a node has to what it should have.
//!
//! Enters: the parts of a policy set, the keys a node needs, and the digests of what it has. Leaves: the messages of one
//! update. Guarantees: only differences are sent; no message is much larger than [`MESSAGE`].

use crate::encode;
use crate::replica::Revisions;
use crate::resource::{Digest, Encoded, Key, Parts};
use crate::wire::Update;
use policy::Generation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A message is closed when it has so many bytes.
const MESSAGE: usize = 1 << 20;

/// What a node has. Thousands of nodes have the same parts, which are in memory once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Has(Vec<Part>);

/// A part that a node has.
#[derive(Clone, Debug)]
enum Part {
    /// It was sent.
    Sent(Arc<Encoded>),
    /// The node had it before it connected.
    Told(Box<(Key, Digest)>),
}

impl Part {
    fn key(&self) -> &Key {
        match self {
            Self::Sent(encoded) => &encoded.key,
            Self::Told(told) => &told.0,
        }
    }

    fn digest(&self) -> &Digest {
        match self {
            Self::Sent(encoded) => &encoded.digest,
            Self::Told(told) => &told.1,
        }
    }
}

impl FromIterator<(Key, Digest)> for Has {
    fn from_iter<I: IntoIterator<Item = (Key, Digest)>>(told: I) -> Self {
        let told: BTreeMap<Key, Digest> = told.into_iter().collect();
        Self(told.into_iter().map(|part| Part::Told(Box::new(part))).collect())
    }
}

/// The messages that lead from `has` to `needs`, at least one. Afterwards `has` is what the node will have.
pub(crate) fn between(
    parts: &Parts,
    needs: &BTreeSet<Key>,
    has: &mut Has,
    generation: Generation,
    revisions: &Revisions,
) -> Vec<Update> {
    let empty =
        |more| Update { generation: generation.0, more, revisions: revisions.clone(), ..Update::default() };
    let mut messages = Vec::new();
    let mut message = Update { snapshot: has.0.is_empty(), ..empty(false) };
    // Both are in the order of their keys.
    let mut had = std::mem::take(&mut has.0).into_iter().peekable();
    has.0.reserve_exact(needs.len());
    let mut size = 0;
    for encoded in needs.iter().filter_map(|key| parts.resources.get(key)) {
        while let Some(gone) = had.next_if(|part| *part.key() < encoded.key) {
            message.gone.push(encode::key(gone.key()));
        }
        let held = had.next_if(|part| *part.key() == encoded.key);
        has.0.push(Part::Sent(Arc::clone(encoded)));
        if held.is_some_and(|held| *held.digest() == encoded.digest) {
            continue;
        }
        if size > 0 && size + encoded.bytes.len() > MESSAGE {
            messages.push(Update { more: true, ..std::mem::replace(&mut message, empty(false)) });
            size = 0;
        }
        size += encoded.bytes.len();
        message.resources.push(encoded.bytes.clone());
    }
    message.gone.extend(had.map(|gone| encode::key(gone.key())));
    messages.push(message);
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Replica, ReplicaError, decode};
    use compiler::lower::{Cluster, View, lower};
    use compiler::sample::{self, Dice};
    use policy::PolicySet;
    use prost::Message as _;

    fn needs(parts: &Parts, set: &PolicySet, view: &View) -> BTreeSet<Key> {
        parts.needs(&view.pods, &view.nodes, &view.policies, &view.closed, &set.world)
    }

    /// Twenty states of a cluster after another, as one node hears of them.
    fn follow(start: u64, node: &str) -> (usize, usize) {
        let (mut replica, mut has, mut before) = (Replica::default(), Has::default(), None);
        let (mut sent, mut whole) = (0, 0);
        for (step, seed) in (start..start + 20).enumerate() {
            // Every other state is the one before with little changed.
            let mut set = sample::policy_set(seed - (step as u64 % 2));
            if step % 2 == 1 {
                set.policies.pop();
                set.world.pods.pop();
            }
            set.world.names.clear();
            set.generation = Generation(step as u64 + 1);
            let parts = Parts::new(&set, before.as_ref());
            let view = Cluster::load(&set).view(node);
            let wanted = needs(&parts, &set, &view);
            let messages = between(&parts, &wanted, &mut has, set.generation, &Revisions::new());
            sent += messages.iter().map(|message| message.resources.len()).sum::<usize>();
            whole += wanted.len();
            replica.take(&messages).unwrap();
            assert!(
                replica.digests().eq(has.0.iter().map(|part| (part.key(), part.digest()))),
                "seed {seed}"
            );
            let kept = Replica::from_bytes(&replica.to_bytes()).unwrap();
            for copy in [&replica, &kept] {
                alike(&set, &copy.policy_set(), node, seed);
            }
            before = Some(parts);
        }
        (sent, whole)
    }

    /// Both judge the same, by a rule that says the same; and every rule that came limits uploads as it did.
    fn alike(set: &PolicySet, copy: &PolicySet, node: &str, seed: u64) {
        let limits = |set: &PolicySet, policy: &policy::Policy| -> Vec<_> {
            policy.egress.rules().iter().map(|rule| set.upload(rule.id)).collect()
        };
        for policy in &copy.policies {
            let from = set.policies.iter().find(|it| it.object == policy.object).unwrap();
            assert_eq!(
                limits(set, from),
                limits(copy, policy),
                "seed {seed}, node {node}: {}",
                policy.object
            );
        }
        let placement = sample::placement(set);
        let mut known = placement.clone();
        known.retain(|(namespace, name), _| copy.world.find_pod(namespace, name).is_some());
        let (whole, shown) = (lower(set, node, &placement).unwrap(), lower(copy, node, &known).unwrap());
        let ends = sample::ends(set);
        let mut dice = Dice::new(seed);
        for _ in 0..60 {
            let Some((from, to, access)) = sample::access(&mut dice, &ends) else { continue };
            if [&from, &to].iter().any(|end| end.endpoint.address.is_none()) {
                continue;
            }
            let a = whole.judge(from.address, to.address, access.protocol, access.port);
            let b = shown.judge(from.address, to.address, access.protocol, access.port);
            // Of a pod or node that it is not shown, a node takes a name to lead outside: to the gateway, which judges.
            let is_outside = |set: &PolicySet| {
                matches!(policy::Endpoint::at(&set.world, to.address).party, policy::Party::Outside)
            };
            let judging = b.egress.is_some_and(|ruling| copy.requests(ruling.rule).is_some());
            if judging && is_outside(copy) && !is_outside(set) {
                continue;
            }
            for (a, b) in [(a.egress, b.egress), (a.ingress, b.ingress)] {
                let of_a = a.map(|ruling| (ruling.verdict, set.rule(ruling.rule).cloned()));
                let of_b = b.map(|ruling| (ruling.verdict, copy.rule(ruling.rule).cloned()));
                assert_eq!(of_a, of_b, "seed {seed}, node {node}: {} to {}", access.from, access.to);
            }
        }
        let resolver = policy::Endpoint { party: policy::Party::Outside, address: "10.0.0.2".parse().ok() };
        for pod in set.world.pods.iter().filter(|pod| pod.node.as_deref() == Some(node)) {
            let judged = |set: &PolicySet| {
                let of = |judged: policy::Judgement| (judged.verdict, set.rule(judged.rule).cloned());
                let names = ["a.io", "x.a.io", "y.x.a.io", "w.x.b.io", "c.com"].map(|name| {
                    let name = policy::DnsName::parse(name).unwrap();
                    of(policy::decide_question(set, pod, &name))
                });
                (names, of(policy::decide_resolver(set, pod, resolver)), policy::dns_rules(set, pod).spoken)
            };
            assert_eq!(judged(set), judged(copy), "seed {seed}, node {node}: questions of {pod}");
        }
    }

    #[test]
    fn a_node_that_hears_of_changes_judges_as_one_that_knows_all() {
        let (mut sent, mut whole) = (0, 0);
        for start in (2..400).step_by(20) {
            for node in ["node0", "node1", "node2"] {
                let (s, w) = follow(start, node);
                (sent, whole) = (sent + s, whole + w);
            }
        }
        assert!(sent * 10 < whole * 9, "{sent} resources sent of {whole}: changes should cost less");
    }

    #[test]
    fn an_older_generation_and_what_is_not_understood_change_nothing() {
        let mut set = sample::policy_set(7);
        set.generation = Generation(5);
        let parts = Parts::new(&set, None);
        let all: BTreeSet<Key> = parts.resources.keys().cloned().collect();
        let update = |generation| {
            between(&parts, &all, &mut Has::default(), Generation(generation), &Revisions::new())
        };
        let mut replica = Replica::default();
        replica.take(&update(5)).unwrap();
        let before = replica.to_bytes();
        let backwards = ReplicaError::Backwards { offered: Generation(4), held: Generation(5) };
        assert_eq!(replica.take(&update(4)), Err(backwards));
        for change in [
            |it: &mut crate::wire::Resource| it.body = None,
            |it: &mut crate::wire::Resource| it.key = None,
            |it: &mut crate::wire::Resource| {
                if let Some(key) = &mut it.key {
                    key.kind = 99;
                }
            },
        ] {
            let mut messages = update(6);
            let last = messages.last_mut().unwrap();
            let mut resource = crate::wire::Resource::decode(&*last.resources[0]).unwrap();
            change(&mut resource);
            last.resources.push(resource.encode_to_vec().into());
            assert!(matches!(replica.take(&messages), Err(ReplicaError::Decode(_))));
            assert_eq!(replica.to_bytes(), before);
        }
        assert!(decode::Decoder::default().resource(b"\xff\xff\xff").is_err());
    }

    #[test]
    fn values_that_no_controller_sends_are_named() {
        use crate::wire::{Body, Closed, PodSet, Port, Ports, Resource, Rule, Section};
        let key = |kind| Some(crate::wire::Key { kind, name: "x".into(), ..Default::default() });
        let refused = |kind, body| {
            let resource = Resource { key: key(kind), body: Some(body) };
            decode::Decoder::default().resource(&resource.encode_to_vec()).unwrap_err().to_string()
        };
        let entry = || crate::wire::Entry { reason: "isolated".into(), ..Default::default() };
        let subject = || PodSet {
            namespaces: Some(crate::wire::Namespaces::Own("a".into())),
            pods: Some(Default::default()),
        };
        let policy = |rule: Rule| {
            Body::Policy(crate::wire::Policy {
                tier: 1,
                subject: Some(subject()),
                ingress: Some(Section { rules: vec![rule] }),
                entries: vec![entry()],
                ..Default::default()
            })
        };
        let port = |first, last| {
            let any_of = vec![Port { protocol: Some(6), name: None, first, last }];
            Rule { action: 1, ports: Some(Ports { any_of }), ..Default::default() }
        };
        let names = |listed, pattern: &str| {
            Body::Policy(crate::wire::Policy {
                tier: 3,
                subject: Some(subject()),
                entries: vec![entry()],
                dns_names: Some(crate::wire::DnsNames {
                    listed,
                    unlisted: 0,
                    names: Some(crate::wire::Names { patterns: vec![pattern.to_owned()] }),
                    from_rules: false,
                }),
                ..Default::default()
            })
        };
        for (body, told) in [
            (names(1, "a.io"), "the number of a rule"),
            (names(0, "*2.a.io"), "a pattern of domain names"),
            (policy(port(1, 70_000)), "a port"),
            (policy(Rule { entry: 1, action: 1, ..Default::default() }), "the number of a rule"),
            (policy(Rule { action: 7, ..Default::default() }), "an action"),
        ] {
            let error = refused(4, body);
            assert!(error.starts_with(told), "{error}");
        }
        let closed = Closed { entry: Some(entry()), subject: Some(subject()), directions: vec![] };
        assert_eq!(refused(5, Body::Closed(closed)), "a direction of a closed scope is missing");
    }

    #[test]
    fn a_reader_that_knows_no_single_labels_and_no_zones_refuses_them_instead_of_taking_them_for_more() {
        let zones = [policy::DnsName::parse("x.a.io").unwrap(), policy::DnsName::parse("y.a.io").unwrap()];
        let parse = |text| policy::DomainPattern::parse_own(text).unwrap();
        let one = [parse("*.a.io"), parse("**.a.io").outside(&zones), parse("*.a.io").outside(&zones)];
        assert_eq!(crate::decode::patterns(&crate::encode::names(&one)).unwrap(), one);
        let mut set = (1..).map(sample::policy_set).find(|set| !set.policies.is_empty()).unwrap();
        let peers = policy::Peers::AnyOf(vec![policy::Peer::Names(one.to_vec())]);
        let policy = set.policies.first_mut().unwrap();
        policy.egress = policy::Section::Rules(vec![policy::Rule {
            id: policy::RuleId::NO_POLICY,
            action: policy::Action::Accept,
            peers,
            ports: policy::Ports::All,
        }]);
        let parts = Parts::new(&set, None);
        let bytes = &parts.resources[&parts.policies[0]].bytes;
        let message = crate::wire::Resource::decode(&**bytes).unwrap();
        let Some(crate::wire::Body::Policy(sent)) = message.body else { panic!("a policy") };
        let peers = sent.egress.unwrap().rules.remove(0).peers.unwrap().any_of.remove(0);
        let Some(crate::wire::Who::Names(names)) = peers.who else { panic!("names") };
        // What an older reader parses patterns with.
        assert!(names.patterns.iter().all(|text| policy::DomainPattern::parse(text).is_err()), "{names:?}");
    }

    #[test]
    fn a_reader_that_does_not_know_what_a_rule_demands_refuses_it_instead_of_allowing_without() {
        let is_limited = |entry: &policy::RuleEntry| entry.upload.is_some();
        refused_without(
            is_limited,
            "+limited",
            |entry| entry.upload = None,
            ["what a rule lets a pod upload is missing", "the reason of a rule that limits uploads"],
        );
        let is_judging = |entry: &policy::RuleEntry| entry.requests.is_some();
        refused_without(
            is_judging,
            "+requests",
            |entry| entry.requests = None,
            ["which requests a rule allows is missing", "the reason of a rule that looks at requests"],
        );
        refused_without(
            is_judging,
            "+requests",
            |entry| entry.requests.as_mut().unwrap().level = crate::wire::LEVEL + 1,
            ["what is demanded of requests", "the reason of a rule that looks at requests"],
        );
    }

    /// Entries that demand something are refused where the demand is gone, the word for it is, or it is not known.
    fn refused_without(
        demands: impl Fn(&policy::RuleEntry) -> bool,
        word: &str,
        take: impl Fn(&mut crate::wire::Entry),
        told: [&str; 2],
    ) {
        use crate::wire::{Body, Resource};
        let set = (1..).map(sample::policy_set).find(|set| set.rules.iter().any(&demands)).unwrap();
        let parts = Parts::new(&set, None);
        let mut found = 0;
        for key in &parts.policies {
            let bytes = &parts.resources[key].bytes;
            let (_, read) = decode::Decoder::default().resource(bytes).unwrap();
            let crate::resource::Resource::Policy(_, entries) = read else { panic!("a policy") };
            let message = Resource::decode(&**bytes).unwrap();
            let Some(Body::Policy(sent)) = &message.body else { panic!("a policy") };
            assert_eq!(sent.entries.len(), entries.len());
            for (at, _) in entries.iter().enumerate().filter(|(_, entry)| demands(entry)) {
                found += 1;
                // What an older reader looks reasons up with.
                let reason = &sent.entries[at].reason;
                assert!(policy::Reason::ALL.iter().all(|known| known.as_str() != reason), "{reason}");
                let [missing, unexpected] = told;
                let unknown = format!("some{word}");
                for (change, told) in [
                    (None, missing),
                    (Some(reason.replace(word, "")), unexpected),
                    (Some(unknown), "a reason"),
                ] {
                    let mut message = message.clone();
                    let Some(Body::Policy(sent)) = &mut message.body else { panic!("a policy") };
                    let entry = &mut sent.entries[at];
                    match change {
                        // Nothing else is demanded of it, whose absence would be told first.
                        Some(reason) if reason.starts_with("some") => {
                            match word {
                                "+limited" => entry.requests = None,
                                _ => entry.upload = None,
                            }
                            entry.reason = reason;
                        }
                        Some(reason) => entry.reason = reason,
                        None => take(entry),
                    }
                    let error = decode::Decoder::default().resource(&message.encode_to_vec()).unwrap_err();
                    assert!(error.to_string().starts_with(told), "{error}");
                }
            }
        }
        let written: usize = set.rules.iter().filter(|entry| demands(entry)).count();
        assert_eq!(found, written);
    }

    #[test]
    fn a_large_update_comes_in_several_messages_and_holds_as_a_whole() {
        let mut set = sample::policy_set(7);
        let pod = set.world.pods[0].clone();
        set.world.pods = (0..20_000)
            .map(|number| policy::Pod { name: format!("pod-{number:05}").into(), ..(*pod).clone() })
            .map(std::sync::Arc::new)
            .collect();
        let parts = Parts::new(&set, None);
        let all: BTreeSet<Key> = parts.resources.keys().cloned().collect();
        let messages = between(&parts, &all, &mut Has::default(), Generation(1), &Revisions::new());
        assert!(messages.len() > 1 && messages.iter().rev().skip(1).all(|message| message.more));
        assert!(messages.iter().all(|message| message.encoded_len() < MESSAGE + (1 << 18)));
        let mut replica = Replica::default();
        replica.take(&messages).unwrap();
        assert_eq!(replica.policy_set().world, policy::World { names: Default::default(), ..set.world });
    }
}
