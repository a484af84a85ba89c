//! The compiled tables against the reference evaluator, over random policy sets and accesses.

use compiler::lower::{Binder, Cluster, Destination, Scope, lower};
use compiler::sample::{self, Dice, End};
use policy::decide::judge;
use policy::table::{Bindings, Ruling, Table};
use policy::{
    Access, Asks, Contact, Decision, Demand, Direction, DnsName, Endpoint, Judgement, NamespaceScope,
    Operation, Own, Party, Peer, Peers, Pod, PolicySet, Protocol, Reason, Resolved, RuleEntry, Selector,
    Subject, Tier, Verdict, Whom, decide, decide_question, judge_operation, judging_rules, own_egress,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Accesses judged when the environment asks for no other number.
const ACCESSES: u64 = 100_000;
const PER_SET: u64 = 250;

fn ruling(judgement: &Judgement) -> Ruling {
    Ruling { verdict: judgement.verdict, rule: judgement.rule }
}

fn is_local(end: &End<'_>, node: Option<&str>) -> bool {
    match end.endpoint.party {
        Party::Pod(pod) => pod.cluster().is_none() && (node.is_none() || pod.node.as_deref() == node),
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

/// One access to every address that is bound.
fn to_bound_addresses<'a>(
    table: &Table,
    ends: &[End<'a>],
) -> impl Iterator<Item = (End<'a>, End<'a>, Access<'a>)> {
    let end = |address| ends.iter().find(|end| end.address == address).copied();
    let pairs = table.bound.keys().filter_map(move |(from, to)| Some((end(*from)?, end(*to)?)));
    let pairs = pairs.filter(|(from, to)| !sample::stays_inside(from, to));
    pairs.zip([80, 443, 999].into_iter().cycle()).map(|((from, to), port)| {
        let access = Access { from: from.endpoint, to: to.endpoint, protocol: Protocol::TCP, port };
        (from, to, access)
    })
}

#[test]
fn tables_judge_every_access_as_the_reference_does() {
    let accesses = std::env::var("COFFERDAM_PROPERTY_ACCESSES").ok();
    let accesses = accesses.map_or(ACCESSES, |text| text.parse().expect("a number of accesses"));
    let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
    let (mut judged, mut bound, mut seed) = (0, 0, 0);
    while judged < accesses {
        seed += 1;
        let set = sample::policy_set(seed);
        let placement = sample::placement(&set);
        let nodes = ["node0", "node1", "node2", "node3"];
        let tables = nodes.map(|node| (node, lower(&set, node, &placement).unwrap()));
        let cluster = Cluster::load(&set);
        let everything = cluster.lower(Scope::Everything, &placement).unwrap();
        let mut each = BTreeMap::new();
        cluster
            .lower_each(nodes, &placement, |table, _| drop(each.insert(table.node.clone(), table)))
            .unwrap();
        for (node, alone) in &tables {
            assert_eq!(each.get(*node), Some(alone), "seed {seed}: node {node} alone and among others");
        }
        let ends = sample::ends(&set);
        let mut dice = Dice::new(seed);
        let random = (0..PER_SET).filter_map(|_| sample::access(&mut dice, &ends));
        let asked: Vec<_> = random.chain(to_bound_addresses(&everything, &ends)).collect();
        for (from, to, access) in asked {
            let decision = decide(&set, &access);
            *reasons.entry(decision.egress.reason).or_default() += 1;
            *reasons.entry(decision.ingress.reason).or_default() += 1;
            let case = Case { seed, from, to, access, decision };
            for (node, table) in &tables {
                check(&case, table, Some(node));
            }
            check(&case, &everything, None);
            bound += u64::from(everything.bound.contains_key(&(from.address, to.address)));
            judged += 1;
        }
    }
    println!("{judged} accesses over {seed} policy sets, {bound} to bound addresses: {reasons:?}");
    assert!(bound > judged / 500);
    // Those of connections; nobody tells a table of pods nobody manages, or of questions.
    let of_others = [
        Reason::Unmanaged,
        Reason::Untracked,
        Reason::DnsNameAllow,
        Reason::DnsNameDeny,
        Reason::DnsResolverDeny,
    ];
    for reason in Reason::ALL.iter().filter(|reason| !of_others.contains(reason)) {
        assert!(reasons.contains_key(reason), "the sample never reached {reason}");
    }
}

#[test]
fn rules_that_demand_more_decide_first_in_tables_too() {
    let mut preferred = 0;
    for seed in 0..3000 {
        let mut set = sample::policy_set(seed);
        // Policies of the tier meet at every pod.
        for policy in set.policies.iter_mut().filter(|policy| policy.tier == Tier::NetworkPolicy) {
            let namespaces = NamespaceScope::Matching(Selector::everything());
            policy.subject = Subject { namespaces, pods: Selector::everything() };
        }
        let mut unlimited = set.clone();
        let without = |entry: &RuleEntry| RuleEntry { upload: None, requests: None, ..entry.clone() };
        unlimited.rules = Arc::new(set.rules.iter().map(without).collect());
        let placement = sample::placement(&set);
        let table = Cluster::load(&set).lower(Scope::Everything, &placement).unwrap();
        let ends = sample::ends(&set);
        let mut dice = Dice::new(seed);
        let random = (0..PER_SET).filter_map(|_| sample::access(&mut dice, &ends));
        for (from, to, access) in random.chain(to_bound_addresses(&table, &ends)).collect::<Vec<_>>() {
            let decision = decide(&set, &access);
            let by = &decision.egress;
            let first = judge(&unlimited, &access, Direction::Egress).rule;
            let demand = set.rule(by.rule).map(RuleEntry::demand);
            let is_first = by.rule == first || matches!(demand, Some(Demand::Upload | Demand::Requests));
            assert!(is_first || set.requests(first).is_some(), "seed {seed}");
            preferred += u32::from(by.rule != first);
            check(&Case { seed, from, to, access, decision }, &table, None);
        }
    }
    println!("{preferred} accesses decided by a rule because it demands more");
    assert!(preferred > 500, "{preferred}");
}

#[test]
fn rows_bound_later_say_what_a_table_lowered_with_the_names_says() {
    let mut rows = 0;
    for seed in 0..2000 {
        let set = sample::policy_set(seed);
        let placement = sample::placement(&set);
        let mut unanswered = set.clone();
        unanswered.world.names.clear();
        let mut known = BTreeMap::new();
        let keep = |table: Table, _| drop(known.insert(table.node.clone(), table));
        let nodes = ["node0", "node1", "node2", "node3"];
        Cluster::load(&set).lower_each(nodes, &placement, keep).unwrap();
        let check = |table: Table, mut binder: Binder| {
            assert!(table.bound.is_empty() && table.past.is_empty());
            let with_names = &known[&table.node];
            let row = |bindings: &Bindings, from, to| {
                bindings.get(&(from, to)).map(|row| &with_names.rows[row.0 as usize])
            };
            for (pod, resolved) in &set.world.names {
                let pod = set.world.find_pod(&pod.0, &pod.1).unwrap();
                let addresses = pod.addresses.iter().filter(|it| {
                    matches!(Endpoint::at(&set.world, **it).party, Party::Pod(first) if first.name == pod.name)
                });
                for from in addresses.filter(|it| table.endpoints.contains_key(it)) {
                    for (to, names) in &resolved.live {
                        let bound = binder.row(&table, *from, destination(&set, *to), names);
                        assert_eq!(
                            bound.as_deref(),
                            row(&with_names.bound, *from, *to),
                            "seed {seed}: {from} {to}"
                        );
                        rows += u32::from(bound.is_some());
                    }
                    for (to, names) in &resolved.past {
                        let live = resolved.live.get(to).into_iter().flatten();
                        let open = binder.open_row(&table, *from, destination(&set, *to), live, names);
                        assert_eq!(
                            open.as_deref(),
                            row(&with_names.past, *from, *to),
                            "seed {seed}: {from} {to}"
                        );
                        rows += u32::from(open.is_some());
                    }
                }
            }
        };
        Cluster::load(&unanswered).lower_each(nodes, &placement, check).unwrap();
    }
    assert!(rows > 1000, "{rows} rows compared");
}

fn destination(set: &PolicySet, to: IpAddr) -> Destination {
    let is_outside = matches!(Endpoint::at(&set.world, to).party, Party::Outside);
    Destination { address: to, is_outside }
}

/// The set as it was when the pod's answers for an address had not run out.
fn before_it_ran_out(set: &PolicySet, pod: &Pod, to: IpAddr) -> PolicySet {
    let mut before = set.clone();
    let resolved = before.world.names.entry((pod.namespace.clone(), pod.name.clone())).or_default();
    let names = resolved.past.remove(&to).unwrap_or_default();
    resolved.live.insert(to, names);
    before
}

#[test]
fn open_connections_go_on_by_the_names_an_address_has_or_had() {
    let mut verdicts: BTreeMap<(Verdict, Verdict), u32> = BTreeMap::new();
    for seed in 0..6000 {
        let set = sample::policy_set(seed);
        let table = Cluster::load(&set).lower(Scope::Everything, &sample::placement(&set)).unwrap();
        let ends = sample::ends(&set);
        let end = |address| ends.iter().find(|end| end.address == address).unwrap();
        for ((from, to), row) in &table.past {
            let (from, to) = (end(*from), end(*to));
            let Party::Pod(pod) = from.endpoint.party else { panic!("{} has answers", from.endpoint) };
            if sample::stays_inside(from, to) || from.address == to.address {
                continue;
            }
            let before = before_it_ran_out(&set, pod, to.address);
            for port in [79, 80, 81, 443, 999, 1000] {
                let protocol = if port % 2 == 0 { Protocol::TCP } else { Protocol::UDP };
                let access = Access { from: from.endpoint, to: to.endpoint, protocol, port };
                let judged = |set| judge(set, &access, Direction::Egress).verdict;
                let (now, then) = (judged(&set), judged(&before));
                let expected = if now == Verdict::Allow { now } else { then };
                let got = table.rows[row.0 as usize].ruling(protocol, port).verdict;
                assert_eq!(
                    got, expected,
                    "seed {seed}: {} to {} {protocol} {port}",
                    from.address, to.address
                );
                *verdicts.entry((now, then)).or_default() += 1;
            }
        }
    }
    assert_eq!(verdicts.len(), 4, "every combination occurs: {verdicts:?}");
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
                // Of a pod or node that it is not shown, a node takes a name to lead outside: to the gateway, which judges.
                let is_outside = |set| matches!(Endpoint::at(set, to.address).party, Party::Outside);
                let by = judge(&shown).egress.map(|ruling| ruling.rule);
                if is_outside(&part.world)
                    && !is_outside(&set.world)
                    && by.is_some_and(|rule| part.requests(rule).is_some())
                {
                    continue;
                }
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

#[test]
fn rules_that_look_at_requests_are_those_of_the_reference() {
    let (mut compared, mut several) = (0, 0);
    for seed in 0..4000 {
        let set = sample::policy_set(seed);
        let placement = sample::placement(&set);
        let nodes = ["node0", "node1", "node2", "node3"];
        let check = |table: Table, binder: Binder| {
            for (pod, resolved) in &set.world.names {
                let pod = set.world.find_pod(&pod.0, &pod.1).unwrap();
                // The gateway judges as if an address had one name alone.
                for (to, names) in resolved.live.iter().filter(|(_, names)| names.len() == 1) {
                    let is_own = |it: &&IpAddr| {
                        let party = Endpoint::at(&set.world, **it).party;
                        it.is_ipv4() == to.is_ipv4()
                            && matches!(party, Party::Pod(first) if first.name == pod.name)
                    };
                    let Some(from) = pod.addresses.iter().find(is_own) else { continue };
                    let (from, name) = (*from, names.first().unwrap());
                    let judging = binder.judging(&table, from);
                    let granted = |rule| set.requests(rule).is_some_and(|requests| requests.granted);
                    for port in [80, 443, 8080] {
                        let Some(ruling) = table.judge(from, *to, Protocol::TCP, port).egress else {
                            continue;
                        };
                        let ends = [from, *to].map(|it| Endpoint::at(&set.world, it));
                        let access = Access { from: ends[0], to: ends[1], protocol: Protocol::TCP, port };
                        let expected: Vec<_> = judging_rules(&set, &access, ruling.rule)
                            .into_iter()
                            .map(|(rule, _)| rule)
                            .collect();
                        let is_for = |it: &&compiler::lower::Judging| {
                            it.names.iter().any(|pattern| pattern.matches(name))
                                && it.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
                        };
                        let first = judging.iter().filter(is_for).find(|it| it.rule == ruling.rule);
                        let shares = first.is_some_and(|it| it.is_shared);
                        let others = judging
                            .iter()
                            .filter(is_for)
                            .filter(|it| shares && it.is_shared && it.rule != ruling.rule)
                            .filter(|it| granted(it.rule) == granted(ruling.rule));
                        let found: Vec<_> = first.into_iter().chain(others).map(|it| it.rule).collect();
                        assert_eq!(found, expected, "seed {seed}: {from} to {name} {to} {port}");
                        compared += u32::from(!found.is_empty());
                        several += u32::from(found.len() > 1);
                    }
                }
            }
        };
        Cluster::load(&set).lower_each(nodes, &placement, check).unwrap();
    }
    println!("{compared} connections whose requests are judged, {several} of them by several rules");
    assert!(compared > 500 && several > 5, "{compared} {several}");
}

/// Whether a rule of the set means the address in another way than by its being one: then names say less than addresses do.
fn is_told_apart(set: &PolicySet, address: IpAddr) -> bool {
    let rules = set.policies.iter().flat_map(|policy| policy.egress.rules());
    let mut peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Everyone => &[],
        Peers::AnyOf(peers) => peers.as_slice(),
    });
    peers.any(|peer| match peer {
        Peer::Network { cidr, except } if cidr.prefix_len() == 0 => {
            !cidr.contains(&address) || except.iter().any(|it| it.contains(&address))
        }
        Peer::Network { cidr, .. } => cidr.contains(&address),
        Peer::Pods { .. } | Peer::Nodes(_) | Peer::Names(_) => false,
    })
}

#[test]
fn where_a_pod_may_go_itself_is_where_the_reference_lets_it_go_by_that_name() {
    let address: IpAddr = "198.51.100.77".parse().unwrap();
    let mut seen: BTreeMap<(Option<Demand>, bool), u32> = BTreeMap::new();
    for seed in 0..3000 {
        let mut set = sample::policy_set(seed);
        if is_told_apart(&set, address) || !matches!(Endpoint::at(&set.world, address).party, Party::Outside)
        {
            continue;
        }
        let pods: Vec<_> = set
            .world
            .pods
            .iter()
            .filter(|pod| !pod.host_network && pod.cluster().is_none())
            .cloned()
            .collect();
        for pod in pods {
            let own = own_egress(&set, &pod);
            for (name, port) in ["a.io", "x.a.io", "y.x.a.io", "b.io", "unheard.example"]
                .into_iter()
                .zip([443, 80, 443, 999, 443])
            {
                let whom = Whom::Host { name: name.into(), port, asks: Asks::Anything };
                let mut contacts = [Contact { at: "x".into(), whom, own: Own::Unjudged }];
                own.judge(&mut contacts);
                let name = DnsName::parse(name).unwrap();
                let live = [(address, [name.clone()].into())].into();
                let key = (pod.namespace.clone(), pod.name.clone());
                set.world.names = [(key, Resolved { live, past: Default::default() })].into();
                let from = Endpoint { party: Party::Pod(&pod), address: pod.addresses.first().copied() };
                let to = Endpoint { party: Party::Outside, address: Some(address) };
                let access = Access { from, to, protocol: Protocol::TCP, port };
                let judged = judge(&set, &access, Direction::Egress);
                let question = decide_question(&set, &pod, &name);
                let demand = set.rule(judged.rule).map(RuleEntry::demand);
                let is_allowed = match (question.verdict, judged.verdict, demand) {
                    (Verdict::Deny, _, _) | (_, Verdict::Deny, _) => false,
                    // What the provider asks there is seen and counted by nobody, and granted to nobody.
                    (_, _, Some(Demand::Upload | Demand::Grant)) => false,
                    (_, _, Some(Demand::Requests)) => {
                        let unknown = Operation::unknown("x");
                        judge_operation(judging_rules(&set, &access, judged.rule), &unknown).is_ok()
                    }
                    (_, _, Some(Demand::Nothing) | None) => true,
                };
                assert_eq!(
                    contacts[0].own == Own::Allowed,
                    is_allowed,
                    "seed {seed}: {pod} {name} {port} {contacts:?} {judged:?}"
                );
                if question.verdict == Verdict::Allow && judged.verdict == Verdict::Deny {
                    let rule = set.rule(judged.rule).unwrap().to_string();
                    assert_eq!(contacts[0].own, Own::Denied(rule.into()), "seed {seed}: {pod} {name} {port}");
                }
                *seen.entry((demand, is_allowed)).or_default() += 1;
            }
        }
    }
    let of = |demand, is_allowed| seen.get(&(Some(demand), is_allowed)).copied().unwrap_or_default();
    assert!(of(Demand::Nothing, true) > 100 && of(Demand::Nothing, false) > 100, "{seen:?}");
    assert!(of(Demand::Requests, false) > 20 && of(Demand::Upload, false) > 20, "{seen:?}");
}
