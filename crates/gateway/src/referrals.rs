//! Where answers to pods' allowed requests led, for a while; and what of it was granted.
//!
//! Enters: URLs that an answer names, and requests. Leaves: whether a request is for what was named. Guarantees: bounded,
//! the oldest go first; a URL counts for its pod only, and not for another that has its address later ([`Tenant`]), exactly as it
//! was named; what is kept cannot be read (a keyed hash).
//! Does not: look at a clock, or outlive its process.

use crate::decide::Judge;
use policy::DnsName;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a URL may be asked for after it was named, where no rule says otherwise.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);
/// Most URLs of one pod.
const MAX_OF_POD: usize = 4096;
/// Most pods. A node has some hundreds.
const MAX_PODS: usize = 4096;
/// Longest URL that is kept, in bytes. Signed ones have some two thousand.
const MAX_URL: usize = 16 * 1024;

/// A pod, as long as its address is its own: addresses move from pod to pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tenant {
    address: IpAddr,
    tenancy: u64,
}

impl Tenant {
    /// Who has an address now.
    pub(crate) fn of(judge: &dyn Judge, address: IpAddr) -> Self {
        Self { address, tenancy: judge.tenancy(address) }
    }

    pub(crate) fn address(self) -> IpAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) const fn new(address: IpAddr, tenancy: u64) -> Self {
        Self { address, tenancy }
    }
}

/// A URL: host, port, and path with query as they were named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// In lower case, without a trailing dot.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) target: String,
}

/// Two hashes under keys of this process: nobody finds another URL with the same.
type Mark = [u64; 2];

#[derive(Debug, Default)]
struct OfPod {
    until: HashMap<Mark, Instant>,
    /// In the order in which they were named; a mark may be there several times.
    order: VecDeque<(Mark, Instant)>,
}

impl OfPod {
    fn forget(&mut self, is_old: impl Fn(Instant, usize) -> bool) {
        while let Some((mark, until)) = self.order.front().copied() {
            if !is_old(until, self.order.len()) {
                return;
            }
            self.order.pop_front();
            // One that was named again later lives as long as that.
            if self.until.get(&mark) == Some(&until) {
                self.until.remove(&mark);
            }
        }
    }
}

/// The URLs that were named to each pod.
#[derive(Debug, Default)]
pub(crate) struct Referrals {
    pods: Mutex<HashMap<Tenant, OfPod>>,
    keys: [RandomState; 2],
}

impl Referrals {
    fn mark(&self, url: &Url) -> Mark {
        self.keys.each_ref().map(|key| key.hash_one(url))
    }

    /// An answer named these to a pod, for so long.
    pub(crate) fn name(
        &self,
        pod: Tenant,
        urls: impl IntoIterator<Item = Url>,
        now: Instant,
        lifetime: Duration,
    ) {
        let mut marks = Vec::new();
        let mut hosts = HashSet::new();
        for url in urls.into_iter().filter(|url| url.target.len() <= MAX_URL) {
            marks.push(self.mark(&url));
            hosts.insert((url.host, url.port));
        }
        marks.extend(hosts.into_iter().map(|(host, port)| self.host(host, port)));
        let until = now + lifetime;
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.len() >= MAX_PODS {
            pods.retain(|_, of_pod| {
                of_pod.forget(|until, _| until < now);
                !of_pod.order.is_empty()
            });
        }
        if marks.is_empty() || pods.len() >= MAX_PODS && !pods.contains_key(&pod) {
            return;
        }
        let of_pod = pods.entry(pod).or_default();
        for mark in marks {
            let held = of_pod.until.entry(mark).or_insert(until);
            *held = until.max(*held);
            of_pod.order.push_back((mark, until));
        }
        of_pod.forget(|until, count| until < now || count > MAX_OF_POD);
    }

    /// A server stands for all that was named of it: no target is empty.
    fn host(&self, host: String, port: u16) -> Mark {
        self.mark(&Url { host, port, target: String::new() })
    }

    /// Whether an answer named this to a pod a short while ago.
    pub(crate) fn is_named(&self, pod: Tenant, url: &Url, now: Instant) -> bool {
        self.is_marked(pod, self.mark(url), now)
    }

    /// Whether it named anything of this server.
    pub(crate) fn is_host_named(&self, pod: Tenant, host: &DnsName, port: u16, now: Instant) -> bool {
        self.is_marked(pod, self.host(host.as_str().to_owned(), port), now)
    }

    /// Whether anything that an answer named to a pod may still be asked for.
    pub(crate) fn names_any(&self, pod: Tenant, now: Instant) -> bool {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get(&pod).is_some_and(|of_pod| of_pod.until.values().any(|until| now <= *until))
    }

    fn is_marked(&self, pod: Tenant, mark: Mark, now: Instant) -> bool {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get(&pod).and_then(|of_pod| of_pod.until.get(&mark)).is_some_and(|until| now <= *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Tenant = tenant(1, 1);

    const fn tenant(last: u8, tenancy: u64) -> Tenant {
        Tenant { address: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last)), tenancy }
    }

    fn url(target: &str) -> Url {
        Url { host: "cdn.example".into(), port: 443, target: target.into() }
    }

    #[test]
    fn what_is_granted_twice_holds_until_the_later_end() {
        let (referrals, now) = (Referrals::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        referrals.name(POD, [url("/a")], now, Duration::from_secs(60));
        referrals.name(POD, [url("/a"), url("/b")], now, Duration::from_secs(5));
        let holds = |target, seconds| referrals.is_named(POD, &url(target), after(seconds));
        assert!(holds("/a", 60) && holds("/b", 5));
        assert!(!holds("/a", 61) && !holds("/b", 6));
        // The first to be named is not the first to end.
        referrals.name(POD, [url("/c")], after(30), Duration::from_secs(5));
        assert!(holds("/a", 31) && holds("/c", 31) && !holds("/b", 31));
        assert!(referrals.names_any(POD, after(60)) && !referrals.names_any(POD, after(61)));
        assert!(!referrals.names_any(tenant(1, 2), now));
    }

    #[test]
    fn what_was_named_counts_for_its_pod_exactly_and_for_a_while() {
        let (referrals, now) = (Referrals::default(), Instant::now());
        referrals.name(POD, [url("/a?sig=1")], now, LIFETIME);
        let named =
            |pod, url: &Url, after: u64| referrals.is_named(pod, url, now + Duration::from_secs(after));
        assert!(named(POD, &url("/a?sig=1"), 0) && named(POD, &url("/a?sig=1"), 300));
        assert!(!named(POD, &url("/a?sig=1"), 301));
        assert!(!named(tenant(2, 1), &url("/a?sig=1"), 0));
        assert!(!named(tenant(1, 2), &url("/a?sig=1"), 0), "another pod has the address");
        for other in [
            url("/a"),
            url("/a?sig=2"),
            Url { port: 80, ..url("/a?sig=1") },
            Url { host: "x.example".into(), ..url("/a?sig=1") },
        ] {
            assert!(!named(POD, &other, 0), "{other:?}");
        }
        referrals.name(POD, [url("/a?sig=1")], now + Duration::from_secs(200), LIFETIME);
        referrals.name(POD, [url("/b")], now + Duration::from_secs(400), LIFETIME);
        assert!(named(POD, &url("/a?sig=1"), 500), "it was named again");
    }

    #[test]
    fn a_server_counts_for_as_long_as_anything_of_it() {
        let (referrals, now) = (Referrals::default(), Instant::now());
        let cdn = DnsName::parse("cdn.example").unwrap();
        let named = |pod, port, after: u64| {
            referrals.is_host_named(pod, &cdn, port, now + Duration::from_secs(after))
        };
        assert!(!named(POD, 443, 0));
        referrals.name(POD, [url("/a"), url("/b")], now, LIFETIME);
        assert!(named(POD, 443, 0) && named(POD, 443, 300));
        assert!(!named(POD, 443, 301) && !named(POD, 80, 0) && !named(tenant(2, 1), 443, 0));
        assert!(!referrals.is_named(POD, &url("/"), now), "a server is nothing of it");
        referrals.name(POD, [url("/c")], now + Duration::from_secs(200), LIFETIME);
        assert!(named(POD, 443, 400));
    }

    #[test]
    fn the_oldest_of_too_many_go() {
        let (referrals, now) = (Referrals::default(), Instant::now());
        referrals.name(POD, (0..=MAX_OF_POD).map(|at| url(&format!("/{at}"))), now, LIFETIME);
        assert!(!referrals.is_named(POD, &url("/1"), now));
        assert!(referrals.is_named(POD, &url("/2"), now), "their server is one more");
        referrals.name(POD, [url(&"x".repeat(MAX_URL + 1))], now, LIFETIME);
        assert!(!referrals.is_named(POD, &url(&"x".repeat(MAX_URL + 1)), now));
        let pods = referrals.pods.lock().unwrap();
        assert_eq!((pods[&POD].until.len(), pods[&POD].order.len()), (MAX_OF_POD, MAX_OF_POD));
    }
}
