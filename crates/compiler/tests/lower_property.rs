//! The compiled tables against the reference evaluator, over random policy sets and accesses.

use compiler::lower::{Cluster, Scope, lower};
use compiler::sample::{self, Dice, End};
use policy::table::{Ruling, Table};
use policy::{Access, Decision, Judgement, Party, Reason, decide};
use std::collections::BTreeMap;

/// Accesses judged when the environment asks for no other number.
const ACCESSES: u64 = 100_000;
const PER_SET: u64 = 250;

fn ruling(judgement: &Judgement) -> Ruling {
    Ruling { verdict: judgement.verdict, rule: judgement.rule }
}

fn is_local(end: &End<'_>, node: Option<&str>) -> bool {
    match end.endpoint.party {
        Party::Pod(pod) => node.is_none() || pod.node.as_deref() == node,
        Party::Node(_) | Party::Outside => false,
    }
}

struct Case<'a> {
    seed: u64,
    from: End<'a>,
    to: End<'a>,
    access: Access<'a>,
    decision: Decision,
}

fn check(case: &Case<'_>, table: &Table, node: Option<&str>) {
    let Case { seed, from, to, access, decision } = case;
    let got = table.judge(from.address, to.address, access.protocol, access.port);
    let side = |end: &End<'_>, judgement: &Judgement| is_local(end, node).then(|| ruling(judgement));
    let expected = (side(from, &decision.egress), side(to, &decision.ingress));
    assert_eq!(
        (got.egress, got.ingress),
        expected,
        "seed {seed}, node {node:?}: {} at {} to {} at {}, {} {}",
        access.from,
        from.address,
        access.to,
        to.address,
        access.protocol,
        access.port
    );
}

#[test]
fn tables_judge_every_access_as_the_reference_does() {
    let accesses = std::env::var("COFFERDAM_PROPERTY_ACCESSES").ok();
    let accesses = accesses.map_or(ACCESSES, |text| text.parse().expect("a number of accesses"));
    let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
    let (mut judged, mut seed) = (0, 0);
    while judged < accesses {
        seed += 1;
        let set = sample::policy_set(seed);
        let placement = sample::placement(&set);
        let nodes = ["node0", "node1", "node2", "node3"];
        let tables = nodes.map(|node| (node, lower(&set, node, &placement).unwrap()));
        let cluster = Cluster::load(&set);
        let everything = cluster.lower(Scope::Everything, &placement).unwrap();
        let mut each = BTreeMap::new();
        cluster.lower_each(nodes, &placement, |table| drop(each.insert(table.node.clone(), table))).unwrap();
        for (node, alone) in &tables {
            assert_eq!(each.get(*node), Some(alone), "seed {seed}: node {node} alone and among others");
        }
        let ends = sample::ends(&set);
        let mut dice = Dice::new(seed);
        for _ in 0..PER_SET {
            let Some((from, to, access)) = sample::access(&mut dice, &ends) else { continue };
            let decision = decide(&set, &access);
            *reasons.entry(decision.egress.reason).or_default() += 1;
            *reasons.entry(decision.ingress.reason).or_default() += 1;
            let case = Case { seed, from, to, access, decision };
            for (node, table) in &tables {
                check(&case, table, Some(node));
            }
            check(&case, &everything, None);
            judged += 1;
        }
    }
    println!("{judged} accesses over {seed} policy sets: {reasons:?}");
    for reason in Reason::ALL.iter().filter(|reason| !matches!(reason, Reason::Unmanaged | Reason::Untracked))
    {
        assert!(reasons.contains_key(reason), "the sample never reached {reason}");
    }
}

#[test]
fn what_a_node_is_shown_judges_as_the_whole_does() {
    let (mut judged, mut left_out) = (0, 0);
    for seed in 1..400 {
        let set = sample::policy_set(seed);
        let (cluster, placement, ends) = (Cluster::load(&set), sample::placement(&set), sample::ends(&set));
        for node in ["node0", "node1", "node2", "node3"] {
            let part = cluster.view(node).of(&set);
            left_out +=
                set.world.pods.len() + set.policies.len() - part.world.pods.len() - part.policies.len();
            let mut known = placement.clone();
            known.retain(|(namespace, name), _| part.world.find_pod(namespace, name).is_some());
            let (whole, shown) =
                (lower(&set, node, &placement).unwrap(), lower(&part, node, &known).unwrap());
            let mut dice = Dice::new(seed);
            for _ in 0..PER_SET {
                let Some((from, to, access)) = sample::access(&mut dice, &ends) else { continue };
                // A node that knows nothing of a pod cannot know the address it was given for the test.
                let unplaced = |end: &End<'_>| {
                    end.endpoint.address.is_none() && !known.values().flatten().any(|it| *it == end.address)
                };
                if unplaced(&from) || unplaced(&to) {
                    continue;
                }
                let judge =
                    |table: &Table| table.judge(from.address, to.address, access.protocol, access.port);
                assert_eq!(
                    judge(&shown),
                    judge(&whole),
                    "seed {seed}, node {node}: {} at {} to {} at {}, {} {}",
                    access.from,
                    from.address,
                    access.to,
                    to.address,
                    access.protocol,
                    access.port
                );
                judged += 1;
            }
        }
    }
    println!("{judged} accesses; {left_out} pods and policies left out");
    assert!(judged > 100_000 && left_out > 1000);
}

#[test]
fn rows_are_disjoint_sorted_and_minimal() {
    for seed in 0..300 {
        let set = sample::policy_set(seed);
        let table = Cluster::load(&set).lower(Scope::Everything, &sample::placement(&set)).unwrap();
        for row in &table.rows {
            assert!(row.cells.iter().all(|c| c.first <= c.last && c.ruling != row.otherwise));
            for (a, b) in row.cells.iter().zip(row.cells.iter().skip(1)) {
                assert!((a.protocol, a.last) < (b.protocol, b.first), "seed {seed}: {a:?} {b:?}");
                let mergeable = a.protocol == b.protocol && a.last + 1 == b.first && a.ruling == b.ruling;
                assert!(!mergeable, "seed {seed}: {a:?} {b:?}");
            }
        }
        for lane in table.slots.iter().flat_map(|slot| [&slot.egress, &slot.ingress]) {
            assert!(lane.rows.values().all(|row| *row != lane.otherwise));
        }
        let mut distinct = table.rows.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), table.rows.len(), "seed {seed}");
    }
}
