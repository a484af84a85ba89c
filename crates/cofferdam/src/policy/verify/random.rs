//! Cases nobody wrote: random worlds, policies and accesses; the reference evaluator says what is expected.

use super::case::{Case, Check, End, Round};
use super::judge;
use anyhow::Result;
use compiler::sample::{self, Dice};
use policy::{Party, Protocol};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Accesses that are asked in each world.
const ACCESSES: usize = 250;

/// So many cases; the same seed gives the same ones.
pub(super) fn cases(count: usize, seed: u64) -> Result<Vec<Case>> {
    (0..count as u64).map(|i| case(seed.wrapping_mul(1_000_003).wrapping_add(i))).collect()
}

fn case(seed: u64) -> Result<Case> {
    let mut set = sample::policy_set(seed);
    // Nobody enforces for those of other clusters; that tables know them, the compiler's own tests hold.
    set.world.pods.retain(|pod| pod.cluster().is_none());
    // Packets tell parties apart by address; the compiler closes pods that share one before it comes to this.
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    set.world.nodes.values_mut().for_each(|node| node.addresses.retain(|address| seen.insert(*address)));
    let own = set.world.pods.iter_mut().map(Arc::make_mut).filter(|pod| !pod.host_network);
    own.for_each(|pod| pod.addresses.retain(|address| seen.insert(*address)));
    let mut dice = Dice::new(seed);
    let ends = sample::ends(&set);
    let mut checks = Vec::new();
    for _ in 0..ACCESSES {
        let Some((from, to, access)) = sample::access(&mut dice, &ends) else { continue };
        // A prober has no socket of port 0.
        let has_no_port = access.protocol.has_ports() && access.port == 0;
        if has_no_port || !exists(from.address, to.address, access.protocol) {
            continue;
        }
        let mut check = Check {
            from: end(&from),
            to: end(&to),
            protocol: access.protocol,
            port: access.port,
            expected: policy::Verdict::Deny,
        };
        check.expected = judge::reference(&set, &check)?.verdict;
        checks.push(check);
    }
    let id = format!("random__{seed}");
    Ok(Case {
        id,
        family: "random".to_owned(),
        rounds: vec![Round { set, manifests: Default::default(), catalog: Default::default(), checks }],
        facts: Vec::new(),
    })
}

/// Whether there are such packets, of a kind that both a table and a prober can make: one family, and its own ICMP.
fn exists(from: IpAddr, to: IpAddr, protocol: Protocol) -> bool {
    from.is_ipv4() == to.is_ipv4()
        && match protocol {
            Protocol::ICMP => from.is_ipv4(),
            Protocol::ICMPV6 => from.is_ipv6(),
            Protocol(_) => protocol.has_ports(),
        }
}

/// A pod that has an address is asked about by that address: it may have several.
fn end(end: &sample::End<'_>) -> End {
    match (end.endpoint.party, end.endpoint.address) {
        (Party::Pod(pod), None) => End::Pod(pod.namespace.to_string(), pod.name.to_string()),
        (Party::Pod(_) | Party::Node(_) | Party::Outside, _) => End::Address(end.address),
    }
}
