//! A changed engine against the reference evaluator: only the nodes it names are lowered again.

use crate::support;
use compiler::engine::{Engine, Event};
use compiler::lower::{Cluster, Placement, Scope};
use compiler::sample::{self, Dice};
use policy::table::{Ruling, Table};
use policy::{Generation, Labels, Namespace, Party, PolicySet, Protocol, Verdict, decide};
use std::collections::BTreeMap;
use std::sync::Arc;

const NODES: [&str; 4] = ["node0", "node1", "node2", "node3"];

/// Changes `now` at random towards or away from `all`, and says which event that is.
fn change(dice: &mut Dice, all: &PolicySet, now: &mut PolicySet) -> Option<Event> {
    match dice.below(5) {
        0 | 1 => {
            let mut pod = policy::Pod::clone(dice.pick(&all.world.pods)?);
            let same = |other: &policy::Pod| (&other.namespace, &other.name) == (&pod.namespace, &pod.name);
            now.world.pods.retain(|other| !same(other));
            if dice.chance(40) {
                return Some(Event::PodRemoved { namespace: pod.namespace, name: pod.name });
            }
            let other = dice.pick(&all.world.pods)?;
            // Of those elsewhere no node is known.
            if dice.chance(50) && pod.cluster().is_none() && other.cluster().is_none() {
                (pod.labels, pod.ports, pod.node) =
                    (other.labels.clone(), other.ports.clone(), other.node.clone());
            }
            let pod = std::sync::Arc::new(pod);
            now.world.pods.push(pod.clone());
            now.world.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            Some(Event::Pod(pod))
        }
        2 | 3 => {
            let policy = dice.pick(&all.policies)?.clone();
            now.policies.retain(|other| other.object != policy.object);
            if dice.chance(40) {
                return Some(Event::PolicyRemoved(policy.object));
            }
            now.policies.push(policy.clone());
            now.policies.sort_by(|a, b| a.order().cmp(&b.order()));
            Some(Event::Policy { policy: Box::new(policy), rules: all.rules.clone() })
        }
        _ => {
            let name: Arc<str> = (*dice.pick(&["red", "green", "blue", "ghost"])?).into();
            let team = *dice.pick(&["a", "b"])?;
            let labels = Labels::from_iter([("kubernetes.io/metadata.name", name.as_ref()), ("team", team)]);
            let entry = Namespace { name: name.clone(), labels: labels.clone() };
            now.world.namespaces.insert(name.clone(), entry);
            Some(Event::Namespace { name, labels })
        }
    }
}

fn check(seed: u64, step: usize, set: &PolicySet, tables: &BTreeMap<&str, Table>, dice: &mut Dice) {
    let ends: Vec<_> = sample::ends(set).into_iter().filter(|end| end.endpoint.address.is_some()).collect();
    for _ in 0..40 {
        let Some((from, to, access)) = sample::access(dice, &ends) else { continue };
        let decision = decide(set, &access);
        for (node, table) in tables {
            let local =
                |party: Party<'_>| matches!(party, Party::Pod(pod) if pod.node.as_deref() == Some(node));
            let ruling =
                |judgement: &policy::Judgement| Ruling { verdict: judgement.verdict, rule: judgement.rule };
            let expected = (
                local(from.endpoint.party).then(|| ruling(&decision.egress)),
                local(to.endpoint.party).then(|| ruling(&decision.ingress)),
            );
            let got = table.judge(from.address, to.address, access.protocol, access.port);
            assert_eq!(
                (got.egress, got.ingress),
                expected,
                "seed {seed} step {step} {node}: {} -> {} {} {}",
                access.from,
                access.to,
                access.protocol,
                access.port
            );
        }
    }
}

#[test]
fn a_changed_engine_judges_like_the_changed_set() {
    for seed in 0..200 {
        let all = sample::policy_set(seed);
        let mut dice = Dice::new(seed);
        let mut now = all.clone();
        now.world.pods.retain(|_| dice.chance(60));
        now.policies.retain(|_| dice.chance(60));
        let mut engine = Engine::load(&now);
        let lower = |engine: &Engine, node| engine.lower(Scope::Node(node), &Placement::new()).unwrap();
        let mut tables: BTreeMap<&str, Table> =
            NODES.iter().map(|node| (*node, lower(&engine, node))).collect();
        for step in 0..25 {
            let Some(event) = change(&mut dice, &all, &mut now) else { continue };
            let concerned = engine.apply(event, Generation(2));
            for node in NODES.iter().filter(|node| concerned.contains(**node)) {
                tables.insert(node, lower(&engine, node));
            }
            check(seed, step, &now, &tables, &mut dice);
        }
    }
}

/// Work shared between nodes must not share what is a node's own.
#[test]
fn nodes_with_the_same_slots_still_have_their_own_addresses() {
    let node = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{node: {name}}}}}\nstatus: {{addresses: \
             [{{type: InternalIP, address: {address}}}]}}\n"
        )
    };
    let on = |node: &str, name: &str, address: &str| {
        support::pod_with("x", name, address, "{app: a}", &format!("  nodeName: {node}\n"), "")
    };
    let yaml = support::world()
        + &node("n1", "10.8.0.1")
        + &node("n2", "10.8.0.2")
        + &on("n1", "one", "10.0.7.1")
        + &on("n2", "two", "10.0.7.2")
        + &support::network_policy(
            "x",
            "p",
            "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/16}}]}]}",
        )
        + &support::cluster_policy(
            "q",
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {matchLabels: {node: n2}}}]}]}",
        );
    let set = support::set(&yaml);
    let mut tables = BTreeMap::new();
    let keep = |table: Table, _| drop(tables.insert(table.node.to_string(), table));
    Cluster::load(&set).lower_each(["n1", "n2"], &Placement::new(), keep).unwrap();
    for (node, pod) in [("n1", "10.0.7.1"), ("n2", "10.0.7.2")] {
        for peer in ["10.8.0.1", "10.8.0.2", "10.0.1.1", "192.0.2.1"] {
            for (from, to) in [(pod, peer), (peer, pod)] {
                let expected = support::judge(&set, from, to, "TCP", 80).verdict;
                let table: &Table = &tables[node];
                let got = table.judge(from.parse().unwrap(), to.parse().unwrap(), Protocol::TCP, 80);
                assert_eq!(got.verdict(), expected, "{node}: {from} -> {to}");
            }
        }
    }
    let nodes_from =
        |pod| ["10.8.0.1", "10.8.0.2"].map(|node| support::judge(&set, pod, node, "TCP", 80).verdict);
    assert_eq!(nodes_from("10.0.7.1"), [Verdict::Allow, Verdict::Deny], "the case tells own nodes apart");
    assert_eq!(nodes_from("10.0.7.2"), [Verdict::Deny, Verdict::Deny]);
}
