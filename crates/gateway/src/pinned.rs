//! Which clients do not let their TLS be opened, by what they themselves said.
//!
//! Enters: how handshakes with clients ended. Leaves: whether a pod's connections to a name may be passed unopened, where
//! their rule says so. Guarantees: bounded, and what finds no room is not remembered, so it stays refused; one client of the
//! pod that let itself be opened outweighs any number that did not; what a pod said does not count for another that has its
//! address later ([`Tenant`]). Does not: tell processes of a pod apart, or know that a client means what it says: a pod that
//! wants to be passed unopened is.

use crate::referrals::Tenant;
use policy::DnsName;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it counts what a client said. After it the next connection is opened again, to see.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How many connections must be refused by the client, with an alert and none opened in between.
const ENOUGH: u32 = 2;
/// Most names of one pod.
const MAX_OF_POD: usize = 256;
/// Most pods. A node has some hundreds.
const MAX_PODS: usize = 4096;

/// What clients of a pod said about our certificate for a name.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Alerts since the first that counts.
    refusals: u32,
    /// One took it.
    took_it: bool,
    until: Instant,
}

/// What clients said, by pod and name.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    pods: Mutex<HashMap<Tenant, HashMap<DnsName, Said>>>,
}

impl Pinned {
    /// A client refused our certificate, and said so.
    pub(crate) fn refused(&self, pod: Tenant, name: &DnsName, now: Instant) {
        self.said(pod, name, now, |said| {
            said.refusals = said.refusals.saturating_add(1);
            if said.refusals == ENOUGH {
                said.until = now + LIFETIME;
            }
        });
    }

    /// A client took our certificate.
    pub(crate) fn took(&self, pod: Tenant, name: &DnsName, now: Instant) {
        self.said(pod, name, now, |said| {
            said.took_it = true;
            said.until = now + LIFETIME;
        });
    }

    /// Whether clients of the pod do not take our certificate for a name, as far as is known.
    pub(crate) fn is(&self, pod: Tenant, name: &DnsName, now: Instant) -> bool {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let said = pods.get(&pod).and_then(|names| names.get(name));
        said.is_some_and(|said| now <= said.until && said.refusals >= ENOUGH && !said.took_it)
    }

    fn said(&self, pod: Tenant, name: &DnsName, now: Instant, change: impl FnOnce(&mut Said)) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let is_live = |_: &DnsName, said: &mut Said| now <= said.until;
        if pods.len() >= MAX_PODS && !pods.contains_key(&pod) {
            pods.retain(|_, names| {
                names.retain(is_live);
                !names.is_empty()
            });
            if pods.len() >= MAX_PODS {
                return;
            }
        }
        let names = pods.entry(pod).or_default();
        if names.len() >= MAX_OF_POD && !names.contains_key(name) {
            names.retain(is_live);
            if names.len() >= MAX_OF_POD {
                return;
            }
        }
        let unheard = Said { refusals: 0, took_it: false, until: now + LIFETIME };
        let said = names.entry(name.clone()).or_insert(unheard);
        if said.until < now {
            *said = unheard;
        }
        change(said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const POD: Tenant = Tenant::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 1);

    #[derive(Clone, Copy)]
    enum Heard {
        Refused,
        Took,
    }
    use Heard::{Refused, Took};

    /// What was heard, each so many seconds after the start; whether it is pinned at the last number.
    fn check(heard: &[(Heard, u64)], at: u64, expected: bool) {
        let (pinned, start) = (Pinned::default(), Instant::now());
        let name = DnsName::parse("a.example").unwrap();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (what, when) in heard {
            match what {
                Refused => pinned.refused(POD, &name, after(*when)),
                Took => pinned.took(POD, &name, after(*when)),
            }
        }
        assert_eq!(pinned.is(POD, &name, after(at)), expected);
        assert!(!pinned.is(Tenant::new(IpAddr::from([10, 0, 0, 2]), 1), &name, after(at)));
        assert!(!pinned.is(Tenant::new(POD.address(), 2), &name, after(at)), "another pod has the address");
        assert!(!pinned.is(POD, &DnsName::parse("b.example").unwrap(), after(at)));
    }

    #[test]
    fn a_client_is_pinned_that_refuses_again_and_never_takes() {
        check(&[], 0, false);
        check(&[(Refused, 0)], 0, false);
        check(&[(Refused, 0), (Refused, 5)], 5, true);
        check(&[(Took, 0), (Refused, 5), (Refused, 6), (Refused, 7)], 7, false);
        check(&[(Refused, 0), (Took, 1), (Refused, 2), (Refused, 3)], 3, false);
        check(&[(Refused, 0), (Refused, 1), (Took, 2)], 2, false);
    }

    #[test]
    fn what_was_said_counts_for_a_while() {
        check(&[(Refused, 0), (Refused, 5)], 3605, true);
        check(&[(Refused, 0), (Refused, 5)], 3606, false);
        check(&[(Refused, 0), (Refused, 3601)], 3601, false);
        check(&[(Refused, 0), (Refused, 5), (Refused, 3606)], 3606, false);
        check(&[(Took, 0), (Refused, 3601), (Refused, 3602)], 3602, true);
    }

    #[test]
    fn what_finds_no_room_is_not_remembered() {
        let (pinned, now) = (Pinned::default(), Instant::now());
        let name = |at: usize| DnsName::parse(&format!("n{at}.example")).unwrap();
        for at in (0..=MAX_OF_POD).flat_map(|at| [at, at]) {
            pinned.refused(POD, &name(at), now);
        }
        assert!(pinned.is(POD, &name(0), now) && !pinned.is(POD, &name(MAX_OF_POD), now));
        for at in 0..=u32::try_from(MAX_PODS).unwrap() {
            pinned.took(Tenant::new(IpAddr::from(at.to_be_bytes()), 1), &name(0), now);
        }
        assert_eq!(pinned.pods.lock().unwrap().len(), MAX_PODS);
        let later = now + LIFETIME + Duration::from_secs(1);
        pinned.refused(POD, &name(MAX_OF_POD), later);
        pinned.refused(POD, &name(MAX_OF_POD), later);
        assert!(pinned.is(POD, &name(MAX_OF_POD), later), "the old ones made room");
    }
}
