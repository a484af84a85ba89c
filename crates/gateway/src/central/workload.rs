//! Workloads that come to the central gateway by themselves: who they are to policy.
//!
//! Enters: the id in a certificate that was verified (`spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, as Istio and SPIRE write it).
//! Leaves: a [`Pod`] that policies select as any other: in that namespace, with the one label [`ACCOUNT_LABEL`]. It stands under an
//! address that no machine has, by which the front door knows its callers; the same id has the same address for as long as it comes,
//! and no address is ever given twice. Guarantees: at most [`MAX_WORKLOADS`] of them; who has something open, or left something that
//! still counts, stays known.

use policy::{ACCOUNT_LABEL, Labels, Pod, WorkloadRef};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most workloads at a time; all are certified by whom the operator named.
const MAX_WORKLOADS: usize = 65_536;
/// How long one is known after its last connection ended: longer than anything is kept by an address (parts of uploads, and clients that
/// cannot be opened: an hour), but for what is asked for separately.
const REMEMBERED: Duration = Duration::from_secs(2 * 3600);
/// How often it is looked for those that are not known any more, where there is no room: that takes a look at all of them.
const LOOKED: Duration = Duration::from_secs(10);
/// Bytes of a namespace's and of a service account's name (RFC 1123: a label, a subdomain).
const MAX_NAMES: [usize; 2] = [63, 253];
/// Addresses that are never used on a wire (RFC 9780: 100:0:0:1::/64).
const NOWHERE: [u16; 4] = [0x100, 0, 0, 1];

/// Everybody who came.
#[derive(Debug)]
pub(super) struct Workloads {
    most: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<Arc<str>, IpAddr>,
    workloads: HashMap<IpAddr, Workload>,
    /// How many addresses were given.
    given: u64,
    /// When it was last looked for those that are not known any more.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Workload {
    id: Arc<str>,
    pod: Arc<Pod>,
    /// Its connections, and when the last one ended.
    open: usize,
    left: Instant,
}

/// One connection of a workload.
#[derive(Debug)]
#[must_use]
pub(super) struct Place {
    workloads: Arc<Workloads>,
    /// Under which the workload stands.
    pub(super) address: IpAddr,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The id is that of no workload.
    OtherForm,
    /// There are too many.
    TooMany,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::up_to(MAX_WORKLOADS)
    }
}

impl Workloads {
    /// With room for so many.
    fn up_to(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of the workload of an id. `counts`: whether anything still counts that is kept by an address.
    pub(super) fn enter(
        self: &Arc<Self>,
        id: &str,
        now: Instant,
        counts: impl Fn(IpAddr) -> bool,
    ) -> Result<Place, Stranger> {
        let mut known = self.known();
        let address = match known.by_id.get(id).copied() {
            Some(address) => address,
            None => known.add(id, self.most, now, counts)?,
        };
        if let Some(workload) = known.workloads.get_mut(&address) {
            workload.open = workload.open.saturating_add(1);
        }
        Ok(Place { workloads: Arc::clone(self), address })
    }

    /// Who stands under an address.
    pub(super) fn at(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.known().workloads.get(&address).map(|workload| Arc::clone(&workload.pod))
    }
}

impl Known {
    fn add(
        &mut self,
        id: &str,
        most: usize,
        now: Instant,
        counts: impl Fn(IpAddr) -> bool,
    ) -> Result<IpAddr, Stranger> {
        let given = self.given.checked_add(1).ok_or(Stranger::TooMany)?;
        let [a, b, c, d] = NOWHERE;
        let host = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits() | u128::from(given);
        let address = IpAddr::V6(Ipv6Addr::from_bits(host));
        let pod = Arc::new(pod_of(id, address).ok_or(Stranger::OtherForm)?);
        if self.workloads.len() >= most {
            self.forget(now, counts);
        }
        if self.workloads.len() >= most {
            return Err(Stranger::TooMany);
        }
        self.given = given;
        let id = Arc::<str>::from(id);
        self.by_id.insert(Arc::clone(&id), address);
        self.workloads.insert(address, Workload { id, pod, open: 0, left: now });
        Ok(address)
    }

    /// Forgets those that came no more.
    fn forget(&mut self, now: Instant, counts: impl Fn(IpAddr) -> bool) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOKED) {
            return;
        }
        self.looked = Some(now);
        let Self { by_id, workloads, .. } = self;
        workloads.retain(|address, workload| {
            let is_gone = workload.open == 0 && now.saturating_duration_since(workload.left) >= REMEMBERED;
            let stays = !is_gone || counts(*address);
            if !stays {
                by_id.remove(&workload.id);
            }
            stays
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(workload) = self.workloads.known().workloads.get_mut(&self.address) {
            workload.open = workload.open.saturating_sub(1);
            workload.left = Instant::now();
        }
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
    use std::collections::HashSet;

    /// A connection of somebody of whom nothing counts.
    fn enter(workloads: &Arc<Workloads>, id: &str, now: Instant) -> Result<Place, Stranger> {
        workloads.enter(id, now, |_| false)
    }

    #[test]
    fn an_id_of_a_workload_is_a_pod_of_its_namespace_with_its_account_as_label() {
        let workloads = Arc::new(Workloads::default());
        let id = "spiffe://prod.example.org/ns/team/sa/ci.runner";
        let address = enter(&workloads, id, Instant::now()).unwrap().address;
        let pod = workloads.at(address).unwrap();
        assert_eq!((&*pod.namespace, &*pod.name), ("team", "serviceaccount:ci.runner"));
        assert_eq!(pod.labels.get(ACCOUNT_LABEL), Some("ci.runner"));
        assert_eq!(pod.addresses, [address]);
        let again = enter(&workloads, id, Instant::now()).unwrap();
        assert_eq!(again.address, address, "the same id is the same workload");
        let other = enter(&workloads, "spiffe://prod.example.org/ns/team/sa/other", Instant::now()).unwrap();
        assert_ne!(other.address, address);
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
            let entered = enter(&Arc::default(), id, Instant::now());
            assert_eq!(entered.unwrap_err(), Stranger::OtherForm, "{id}");
        }
    }

    fn account(number: usize) -> String {
        format!("spiffe://prod.example.org/ns/team/sa/a{number}")
    }

    #[test]
    fn who_comes_no_more_makes_room_and_nobody_gets_an_address_again() {
        let (workloads, start) = (Arc::new(Workloads::up_to(3)), Instant::now());
        let mut seen = HashSet::new();
        for round in 0_u32..10 {
            // Longer than what the round before left behind is remembered.
            let now = start + (round + 1) * 2 * REMEMBERED;
            let first = usize::try_from(round).unwrap() * 3;
            let addresses: Vec<IpAddr> = (first..first + 3)
                .map(|number| enter(&workloads, &account(number), now).unwrap().address)
                .collect();
            assert!(addresses.iter().all(|address| seen.insert(*address)), "{addresses:?}");
            assert_eq!(workloads.known().workloads.len(), 3);
            assert_eq!(workloads.known().by_id.len(), 3);
        }
        let now = start + 30 * REMEMBERED;
        let back = enter(&workloads, &account(0), now).unwrap();
        assert!(seen.insert(back.address), "who was forgotten is as one who never came");
        let gone = seen.iter().filter(|address| workloads.at(**address).is_none()).count();
        assert_eq!(gone, seen.len() - workloads.known().workloads.len());
    }

    #[test]
    fn who_has_something_open_or_left_something_behind_stays_known() {
        let (workloads, start) = (Arc::new(Workloads::up_to(3)), Instant::now());
        let open = enter(&workloads, &account(0), start).unwrap();
        let [left, other] = [1, 2].map(|number| enter(&workloads, &account(number), start).unwrap().address);
        let come = |after: Duration, id: usize| {
            workloads.enter(&account(id), start + after, |address| address == left).map(|place| place.address)
        };
        assert_eq!(come(REMEMBERED / 2, 3), Err(Stranger::TooMany), "a short while ago they were there");
        let new = come(REMEMBERED + REMEMBERED, 3).unwrap();
        assert!(workloads.at(open.address).is_some() && workloads.at(left).is_some());
        assert!(workloads.at(other).is_none() && workloads.at(new).is_some());
        assert_eq!(come(REMEMBERED + REMEMBERED, 0), Ok(open.address));
        assert_eq!(come(REMEMBERED + REMEMBERED, 1), Ok(left));
        // It is not looked again for every stranger.
        drop(open);
        assert_eq!(come(REMEMBERED + REMEMBERED + LOOKED / 2, 4), Err(Stranger::TooMany));
    }
}
