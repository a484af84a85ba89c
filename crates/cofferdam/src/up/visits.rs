//! Where clients of the explicit proxy were led: pairs of a pod's address and another, with the names that were asked for.
//!
//! The gateway judges a connection for as long as it is open, also after an answer of DNS ran out and after a change of
//! policy. The kernel does not know these pairs, for it sees connections to the proxy only; so they are kept here. What is
//! kept opens nothing: a name that no answer holds for counts only for connections that are open.
//! Guarantees: bounded for each pod; what was led to longest ago goes first, and what is still open there is cut with the
//! next change of policy. Does not: know whether anything is open.

use super::enforce::NamedPair;
use policy::{DnsName, PodName};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Addresses of one pod.
const OF_POD: usize = 1024;
/// Names of one address.
const OF_ADDRESS: usize = 64;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visits {
    pods: HashMap<IpAddr, OfPod>,
}

/// Those of one pod's address.
#[derive(Clone, Debug)]
struct OfPod {
    pod: PodName,
    turn: u64,
    by_address: HashMap<IpAddr, (u64, BTreeSet<DnsName>)>,
    /// Addresses by their last turn.
    by_turn: BTreeMap<u64, IpAddr>,
}

impl Visits {
    /// A client is led somewhere, by a name or by the address itself.
    pub(crate) fn note(&mut self, pod: &PodName, (from, to): (IpAddr, IpAddr), name: Option<&DnsName>) {
        let new =
            || OfPod { pod: pod.clone(), turn: 0, by_address: HashMap::new(), by_turn: BTreeMap::new() };
        let of_pod = self.pods.entry(from).or_insert_with(new);
        if of_pod.pod != *pod {
            // Another had the address before.
            *of_pod = new();
        }
        of_pod.turn += 1;
        let turn = of_pod.turn;
        let (last, names) = of_pod.by_address.entry(to).or_default();
        of_pod.by_turn.remove(&std::mem::replace(last, turn));
        of_pod.by_turn.insert(turn, to);
        if names.len() < OF_ADDRESS {
            names.extend(name.cloned());
        }
        if of_pod.by_address.len() > OF_POD
            && let Some((_, oldest)) = of_pod.by_turn.pop_first()
        {
            of_pod.by_address.remove(&oldest);
        }
    }

    /// The names by which a pod was led to an address; `None` if it never was.
    pub(crate) fn names(&self, from: IpAddr, to: IpAddr) -> Option<&BTreeSet<DnsName>> {
        self.pods.get(&from)?.by_address.get(&to).map(|(_, names)| names)
    }

    /// All pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = NamedPair<'_>> {
        self.pods.iter().flat_map(|(from, OfPod { pod, by_address, .. })| {
            by_address.keys().map(move |to| NamedPair {
                pod,
                from: *from,
                to: *to,
                live: Vec::new(),
                past: Vec::new(),
                is_outside: true,
            })
        })
    }

    /// Forgets pods' addresses that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(IpAddr) -> bool) {
        self.pods.retain(|from, _| is_there(*from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_another_pod_at_the_address_inherits_nothing() {
        let from = IpAddr::from([10, 0, 0, 1]);
        let to = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        let pods: [PodName; 2] = ["a", "b"].map(|name| ("ns".into(), name.into()));
        let name = DnsName::parse("hub.example").unwrap();
        let mut visits = Visits::default();
        visits.note(&pods[0], (from, to(0)), None);
        for number in 1..=OF_POD {
            // The first is visited again and again.
            visits.note(&pods[0], (from, to(0)), Some(&name));
            visits.note(&pods[0], (from, to(number)), None);
        }
        assert_eq!(visits.pairs().count(), OF_POD);
        assert_eq!(visits.names(from, to(0)), Some(&[name.clone()].into()));
        assert_eq!(visits.names(from, to(1)), None);
        visits.note(&pods[1], (from, to(2)), Some(&name));
        assert_eq!(visits.pairs().map(|pair| pair.to).collect::<Vec<_>>(), [to(2)]);
        visits.retain(|_| false);
        assert_eq!(visits.pairs().count(), 0);
    }
}
