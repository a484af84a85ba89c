//! Workloads that come to the central gateway by themselves: who they are to policy.
//!
//! Enters: the id in a certificate that was verified (`spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, as Istio and SPIRE write it).
//! Leaves: a [`Pod`] that policies select as any other: in that namespace, with the one label [`ACCOUNT_LABEL`]. It stands under an
//! address that no machine has, by which the front door knows its callers; the same id has the same address for as long as this
//! process runs, and no two ids have one. Guarantees: at most [`MAX_WORKLOADS`] of them. Pure but for a lock.

use policy::{ACCOUNT_LABEL, Labels, Pod, WorkloadRef};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most workloads at a time; all are certified by whom the operator named.
const MAX_WORKLOADS: usize = 65_536;
/// Bytes of a namespace's and of a service account's name (RFC 1123: a label, a subdomain).
const MAX_NAMES: [usize; 2] = [63, 253];
/// Addresses that are never used on a wire (RFC 9780: 100:0:0:1::/64).
const NOWHERE: [u16; 4] = [0x100, 0, 0, 1];

/// Everybody who came.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<Arc<str>, IpAddr>,
    pods: HashMap<IpAddr, Arc<Pod>>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The id is that of no workload.
    OtherForm,
    /// There are too many.
    TooMany,
}

impl Workloads {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address under which an id stands.
    pub(super) fn enter(&self, id: &str) -> Result<IpAddr, Stranger> {
        let mut known = self.known();
        if let Some(address) = known.by_id.get(id) {
            return Ok(*address);
        }
        let count = known.by_id.len();
        let number = u32::try_from(count).ok().filter(|_| count < MAX_WORKLOADS).ok_or(Stranger::TooMany)?;
        let [a, b, c, d] = NOWHERE;
        let host = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits() | u128::from(number + 1);
        let address = IpAddr::V6(Ipv6Addr::from_bits(host));
        let pod = pod_of(id, address).ok_or(Stranger::OtherForm)?;
        known.by_id.insert(id.into(), address);
        known.pods.insert(address, Arc::new(pod));
        Ok(address)
    }

    /// Who stands under an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.known().pods.get(&address).cloned()
    }
}

/// What policy takes it for. Its name cannot be that of a pod.
fn pod_of(id: &str, address: IpAddr) -> Option<Pod> {
    let (_domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, account) = path.strip_prefix("ns/")?.split_once("/sa/")?;
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let [most_of_namespace, most_of_account] = MAX_NAMES;
    let is_label = |text: &str| !text.is_empty() && text.bytes().all(is_letter);
    if namespace.len() > most_of_namespace || !is_label(namespace) {
        return None;
    }
    if account.len() > most_of_account || !account.split('.').all(is_label) {
        return None;
    }
    Some(Pod {
        namespace: namespace.into(),
        name: format!("serviceaccount:{account}").into(),
        labels: Labels(Arc::new([(ACCOUNT_LABEL.into(), account.into())].into())),
        service_account: account.into(),
        node: None,
        addresses: vec![address],
        ports: Vec::new(),
        host_network: false,
        workload: WorkloadRef { kind: "ServiceAccount".into(), name: account.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_workload_is_a_pod_of_its_namespace_with_its_account_as_label() {
        let workloads = Workloads::default();
        let id = "spiffe://prod.example.org/ns/team/sa/ci.runner";
        let address = workloads.enter(id).unwrap();
        let pod = workloads.at(address).unwrap();
        assert_eq!((&*pod.namespace, &*pod.name), ("team", "serviceaccount:ci.runner"));
        assert_eq!(pod.labels.get(ACCOUNT_LABEL), Some("ci.runner"));
        assert_eq!(pod.addresses, [address]);
        assert_eq!(workloads.enter(id), Ok(address), "the same id is the same workload");
        let other = workloads.enter("spiffe://prod.example.org/ns/team/sa/other").unwrap();
        assert_ne!(other, address);
        assert!(workloads.at("10.0.0.1".parse().unwrap()).is_none());
    }

    #[test]
    fn other_ids_are_nobody() {
        for id in [
            "spiffe://d",
            "spiffe://d/ns/team",
            "spiffe://d/ns/team/sa/",
            "spiffe://d/ns//sa/x",
            "spiffe://d/ns/team/sa/x/more",
            "spiffe://d/ns/team/more/sa/x",
            "spiffe://d/ns/Team/sa/x",
            "spiffe://d/ns/team/sa/x..y",
            "spiffe://d/ns/te.am/sa/x",
            "spiffe://d/workload/x",
            "https://d/ns/team/sa/x",
            "",
        ] {
            assert_eq!(Workloads::default().enter(id), Err(Stranger::OtherForm), "{id}");
        }
    }
}
