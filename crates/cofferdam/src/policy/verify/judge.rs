//! The two enforcers that need no kernel: the reference evaluator and the compiled table in user space.

use super::case::{Check, End, Round};
use anyhow::{Context, Result, anyhow, bail};
use compiler::lower::{Cluster, Placement, Scope};
use policy::table::Table;
use policy::{Access, Endpoint, Party, PolicySet, RuleId, Verdict, World};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A verdict and the rule it came from, as text.
pub(super) struct Given {
    pub verdict: Verdict,
    pub because: String,
}

/// Judges a check with the reference evaluator, for every address family both ends share.
pub(super) fn reference(set: &PolicySet, check: &Check) -> Result<Given> {
    let (froms, tos) = (endpoints(&set.world, &check.from)?, endpoints(&set.world, &check.to)?);
    let mut given: Option<Given> = None;
    for (from, to) in pairs(&froms, &tos, |end| end.address) {
        let access = Access { from: *from, to: *to, protocol: check.protocol, port: check.port };
        let decision = policy::decide(set, &access);
        let rule = decision.deciding().1.rule;
        let because = explain(set, rule);
        if let Some(before) = given.as_ref().filter(|before| before.verdict != decision.verdict) {
            bail!("the address families disagree: {} and {because}", before.because);
        }
        given = Some(Given { verdict: decision.verdict, because });
    }
    given.context("the ends share no address family")
}

/// What a rule id stands for.
pub(super) fn explain(set: &PolicySet, rule: RuleId) -> String {
    set.rule(rule).map_or_else(|| format!("unknown rule {}", rule.0), ToString::to_string)
}

/// Pairs of the same family; a side without any address goes with every other.
fn pairs<'a, T>(
    froms: &'a [T],
    tos: &'a [T],
    address: impl Fn(&T) -> Option<IpAddr>,
) -> impl Iterator<Item = (&'a T, &'a T)> {
    let all = froms.iter().flat_map(move |from| tos.iter().map(move |to| (from, to)));
    all.filter(move |(from, to)| match (address(from), address(to)) {
        (Some(from), Some(to)) => from.is_ipv4() == to.is_ipv4(),
        (None, _) | (_, None) => true,
    })
}

/// An end at each of its addresses.
pub(super) fn endpoints<'a>(world: &'a World, end: &End) -> Result<Vec<Endpoint<'a>>> {
    let (namespace, name) = match end {
        End::Address(address) => return Ok(vec![Endpoint::at(world, *address)]),
        End::Pod(namespace, name) => (namespace, name),
    };
    let pod = world.find_pod(namespace, name).with_context(|| format!("no pod {namespace}/{name}"))?;
    let first = Endpoint::pod(world, pod);
    let addresses = match first.party {
        Party::Pod(pod) => pod.addresses.as_slice(),
        Party::Node(node) => node.addresses.as_slice(),
        Party::Outside => &[],
    };
    if addresses.is_empty() {
        return Ok(vec![first]);
    }
    Ok(addresses.iter().map(|address| Endpoint { party: first.party, address: Some(*address) }).collect())
}

/// Addresses for everything in a world that has none. Policy does not see them: they only tell packets apart.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub placement: Placement,
    next: u32,
}

impl Addresses {
    /// A pair of addresses, one of each family, from ranges for benchmarks (RFC 2544, RFC 5180) that no case uses.
    fn next(&mut self) -> [IpAddr; 2] {
        self.next += 1;
        let v4 = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + self.next);
        let v6 =
            Ipv6Addr::from_bits(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0).to_bits() + u128::from(self.next));
        [v4.into(), v6.into()]
    }
}

/// Gives every pod a placement and every node an address, so that packets can be sent.
pub(super) fn place(world: &mut World) -> Addresses {
    let mut addresses = Addresses::default();
    for pod in world.pods.iter().filter(|pod| pod.addresses.is_empty() && !pod.host_network) {
        let given = addresses.next().to_vec();
        addresses.placement.insert((pod.namespace.clone(), pod.name.clone()), given);
    }
    for node in world.nodes.values_mut().filter(|node| node.addresses.is_empty()) {
        node.addresses = addresses.next().to_vec();
    }
    addresses
}

/// Every address of an end, given or placed.
pub(super) fn addresses_of(world: &World, placement: &Placement, end: &End) -> Result<Vec<IpAddr>> {
    if let End::Pod(namespace, name) = end {
        let key: (Arc<str>, Arc<str>) = (namespace.as_str().into(), name.as_str().into());
        if let Some(placed) = placement.get(&key) {
            return Ok(placed.clone());
        }
    }
    Ok(endpoints(world, end)?.into_iter().filter_map(|end| end.address).collect())
}

/// The compiled table over a whole round.
pub(super) struct Compiled {
    set: PolicySet,
    placement: Placement,
    table: Table,
}

impl Compiled {
    pub(super) fn load(round: &Round) -> Result<Self> {
        let mut set = round.set.clone();
        let placement = place(&mut set.world).placement;
        let table = Cluster::load(&set).lower(Scope::Everything, &placement)?;
        Ok(Self { set, placement, table })
    }

    pub(super) fn judge(&self, check: &Check) -> Result<Given> {
        let ends = |end| addresses_of(&self.set.world, &self.placement, end);
        let (froms, tos) = (ends(&check.from)?, ends(&check.to)?);
        let mut given: Option<Given> = None;
        for (from, to) in pairs(&froms, &tos, |address| Some(*address)) {
            let found = self.table.judge(*from, *to, check.protocol, check.port);
            let denied =
                [found.egress, found.ingress].into_iter().flatten().find(|r| r.verdict == Verdict::Deny);
            let deciding = denied.or(found.ingress).or(found.egress);
            let because =
                deciding.map_or_else(|| "neither end is a pod".to_owned(), |r| explain(&self.set, r.rule));
            if given.as_ref().is_some_and(|before| before.verdict != found.verdict()) {
                bail!("the address families disagree");
            }
            given = Some(Given { verdict: found.verdict(), because });
        }
        given.ok_or_else(|| anyhow!("the ends share no address family"))
    }
}

/// Names of the nodes that have pods to enforce.
pub(super) fn nodes_with_pods(world: &World) -> BTreeSet<Arc<str>> {
    world.pods.iter().filter(|pod| !pod.host_network).filter_map(|pod| pod.node.clone()).collect()
}
