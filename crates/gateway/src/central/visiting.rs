//! How workloads that come by themselves are judged and led: the front door's judge, and who finds where names lead for it.
//!
//! Enters: states of policy, and who came ([`Workloads`]). Leaves: judgements, by the reference evaluator as for nodes; and
//! addresses of names. Guarantees: a name is only looked up where the workload's policy speaks of it and lets it ask; a
//! connection by a name goes only to an address that this gateway itself was told for the name; what policy leaves open, and
//! what it allows with demands that nobody here can meet, is refused; a rule that looks at requests lets none through that it
//! does not list; a name of which something is granted is looked up only while that holds; a request whose rule has a key leaves
//! with that key or not at all; what it uploads is counted over time where its rule limits that. Does not: keep contents.

use super::policies::{Policies, Visit};
use super::spending::Spending;
use super::workload::{Place, Stranger, Workloads};
use crate::bounds::Bounds;
use crate::decide::{Claim, Judge, Judgement, Opening, shut};
use crate::front::{Host, Resolve, Resolved, Resolving, Unresolved};
use crate::keys::Keys;
use crate::leaks::Searches;
use crate::reason::Reason;
use crate::referrals::{Referrals, Tenant};
use crate::requests::{Handling, RequestJudgement, name_of};
use crate::tls::Inspector;
use policy::{DnsName, DomainPattern, Generation, Operation, Verdict};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Names that wait for a resolver at once, and of these, those of one workload.
const ASKING: [usize; 2] = [512, 32];
/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of one name.
const MAX_ADDRESSES: usize = 16;
/// Names with an address that are remembered, and how long: a connection comes right behind its look-up.
const MAX_FOUND: usize = 65_536;
const REMEMBERED: Duration = Duration::from_secs(60);
/// The port at which answers grant anything.
const HTTPS: u16 = 443;

/// What a look-up gives.
pub type Looking<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Asks a resolver where names are.
pub trait Lookup: Send + Sync {
    /// The addresses of a name.
    fn lookup<'a>(&'a self, name: &'a DnsName) -> Looking<'a>;
}

/// The resolver of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup<'a>(&'a self, name: &'a DnsName) -> Looking<'a> {
        Box::pin(async move {
            // With a dot at its end it is looked up as it is, not below the domains that this machine searches.
            let found = tokio::net::lookup_host((format!("{name}."), 0)).await?;
            Ok(found.map(|it| it.ip()).collect())
        })
    }
}

/// Judges and leads workloads that come by themselves.
pub(super) struct Visiting {
    policies: watch::Receiver<Option<Arc<Policies>>>,
    workloads: Arc<Workloads>,
    lookup: Arc<dyn Lookup>,
    asking: Arc<Bounds<IpAddr>>,
    /// Which names led to an address, and until when that counts.
    found: Mutex<HashMap<(IpAddr, DnsName), Instant>>,
    /// What answers granted to each workload.
    grants: Arc<Referrals>,
    opens: RwLock<Opens>,
    spending: Spending,
    /// The keys that requests leave with.
    keys: OnceLock<watch::Receiver<Arc<Keys>>>,
    searches: Searches,
    /// The state of policy that searches are of.
    searched: AtomicU64,
}

/// With what TLS is opened.
#[derive(Debug, Default)]
pub(super) struct Opens {
    /// None: with nothing, and what would have to be opened is refused.
    pub(super) inspector: Option<Arc<Inspector>>,
    /// To whom it never is.
    pub(super) never: Vec<DomainPattern>,
}

impl Visiting {
    pub(super) fn new(policies: watch::Receiver<Option<Arc<Policies>>>, lookup: Arc<dyn Lookup>) -> Self {
        let [all, each] = ASKING;
        Self {
            policies,
            workloads: Arc::default(),
            lookup,
            asking: Bounds::new(all, each),
            found: Mutex::default(),
            grants: Arc::default(),
            opens: RwLock::default(),
            spending: Spending::default(),
            keys: OnceLock::new(),
            searches: Searches::default(),
            searched: AtomicU64::new(0),
        }
    }

    /// A connection of the workload of an id, with the address under which that stands.
    pub(super) fn enter(&self, id: &str) -> Result<Place, Stranger> {
        let now = Instant::now();
        self.workloads.enter(id, now, |address| self.grants.names_any(Tenant::of(self, address), now))
    }

    /// Where what answers grant is kept.
    pub(super) fn grants(&self) -> Arc<Referrals> {
        Arc::clone(&self.grants)
    }

    /// Has requests leave with the latest of these keys. Once: what was set before stays.
    pub(super) fn inject_with(&self, keys: watch::Receiver<Arc<Keys>>) {
        let _set_before = self.keys.set(keys);
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.get().map(|keys| Arc::clone(&keys.borrow())).unwrap_or_default()
    }

    /// What budgets are counted by.
    pub(super) fn spending(&self) -> &Spending {
        &self.spending
    }

    fn found(&self) -> MutexGuard<'_, HashMap<(IpAddr, DnsName), Instant>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, name: &DnsName, addresses: &[IpAddr], now: Instant) {
        let mut found = self.found();
        if found.len() + addresses.len() > MAX_FOUND {
            found.retain(|_, until| now <= *until);
            if found.len() + addresses.len() > MAX_FOUND {
                // Who is under way asks again: without an entry nothing passes.
                found.clear();
            }
        }
        found.extend(addresses.iter().map(|address| ((*address, name.clone()), now + REMEMBERED)));
    }

    fn leads(&self, name: &DnsName, to: IpAddr, now: Instant) -> bool {
        self.found().get(&(to, name.clone())).is_some_and(|until| now <= *until)
    }

    /// Asks policy about a connection, for the name to which its address belongs; or refuses it unasked.
    fn ask<T>(
        &self,
        opening: &Opening,
        is_open: bool,
        question: impl FnOnce(&Policies, &Visit<'_>) -> T,
    ) -> Result<T, Judgement> {
        let refuse = |reason| Err(Judgement::without_rule(reason));
        let (source, destination) = (opening.pod, opening.destination);
        let Some(workload) = self.workloads.at(source) else { return refuse(Reason::UnknownPod) };
        let Some(policies) = self.policies.borrow().clone() else { return refuse(Reason::NoPolicy) };
        match &opening.claim {
            Claim::Unreadable(why) => return refuse(why.reason()),
            Claim::Tls(hello) if hello.ech => return refuse(Reason::EncryptedHello),
            Claim::Tls(_) | Claim::Http { .. } | Claim::Opaque => {}
        }
        let leads = |name: &&DnsName| is_open || self.leads(name, destination.ip(), Instant::now());
        let name = name_of(&opening.claim).filter(leads);
        let spending = &self.spending;
        Ok(question(&policies, &Visit { workload: &workload, source, destination, name, spending }))
    }

    fn judged(&self, opening: &Opening, is_open: bool) -> Judgement {
        let asked = self.ask(opening, is_open, |policies, visit| {
            let judgement = policies.visited(visit);
            let is_elsewhere = visit.name.is_none() && judgement.reason == Reason::NoName;
            let reason = match (&opening.claim, name_of(&opening.claim)) {
                (Claim::Tls(_), Some(_)) if is_elsewhere => Reason::NameMismatch,
                (Claim::Http { .. }, Some(_)) if is_elsewhere => Reason::HostMismatch,
                _ => judgement.reason,
            };
            Judgement { reason, ..judgement }
        });
        let judgement = asked.unwrap_or_else(|refused| refused);
        match (judgement.reason.verdict(), judgement.handling, self.shut(&opening.claim)) {
            (Verdict::Allow, Handling::Open, Some(reason)) => Judgement { reason, ..judgement },
            _ => judgement,
        }
    }

    /// Why TLS is not opened where it would have to be.
    fn shut(&self, claim: &Claim) -> Option<Reason> {
        let (Claim::Tls(hello), Some(name)) = (claim, name_of(claim)) else { return None };
        shut(hello, name, &self.opens().never)
    }

    fn opens(&self) -> RwLockReadGuard<'_, Opens> {
        self.opens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by other means to open TLS from now on.
    pub(super) fn open_with(&self, opens: Opens) {
        *self.opens.write().unwrap_or_else(PoisonError::into_inner) = opens;
    }

    /// What is looked for by a state of policy. What earlier ones looked for is forgotten.
    fn searches(&self, generation: Generation) -> &Searches {
        if self.searched.swap(generation.0, Ordering::Relaxed) != generation.0 {
            self.searches.keep(std::iter::empty());
        }
        &self.searches
    }

    async fn led(&self, pod: IpAddr, host: Host) -> Resolved {
        let name = match host {
            Host::Address(address) => return Ok(vec![address]),
            Host::Name(name) => name,
        };
        let refuse = |reason| Unresolved { reason, rule: None, detail: None };
        let workload = self.workloads.at(pod).ok_or_else(|| refuse(Reason::UnknownPod))?;
        let policies = self.policies.borrow().clone().ok_or_else(|| refuse(Reason::NoPolicy))?;
        let is_granted = self.grants.is_host_named(Tenant::of(self, pod), &name, HTTPS, Instant::now());
        policies
            .may_ask(&workload, &name, is_granted)
            .map_err(|rule| Unresolved { rule, ..refuse(Reason::LookupRefused) })?;
        let _place = self.asking.admit(pod).map_err(|_| refuse(Reason::TooManyAsked))?;
        let failed = |why: String| Unresolved { detail: Some(why.into()), ..refuse(Reason::NoAddress) };
        let mut addresses = match tokio::time::timeout(PATIENCE, self.lookup.lookup(&name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("no resolver answered in time".to_owned())),
        };
        addresses.truncate(MAX_ADDRESSES);
        self.remember(&name, &addresses, Instant::now());
        Ok(addresses)
    }
}

impl Judge for Visiting {
    fn judge(&self, opening: &Opening) -> Judgement {
        self.judged(opening, false)
    }

    fn still(&self, opening: &Opening, permitted: &Judgement) -> Judgement {
        self.judged(opening, permitted.reason == Reason::NameAllowed)
    }

    fn judge_request(&self, opening: &Opening, operation: &Operation) -> RequestJudgement {
        let asked = self.ask(opening, true, |policies, visit| {
            let searches = self.searches(policies.generation());
            policies.asked(visit, operation, (searches, &self.keys()))
        });
        asked.unwrap_or_else(|refused| RequestJudgement::without_rule(refused.reason))
    }

    fn wants_arguments(&self, pod: IpAddr) -> bool {
        let (workload, policies) = (self.workloads.at(pod), self.policies.borrow().clone());
        workload.zip(policies).is_some_and(|(workload, policies)| policies.wants_arguments(&workload))
    }

    fn inspector(&self, _pod: IpAddr) -> Option<Arc<Inspector>> {
        self.opens().inspector.clone()
    }
}

impl Resolve for Visiting {
    fn resolve(&self, pod: IpAddr, host: &Host) -> Resolving<'_> {
        let host = host.clone();
        Box::pin(self.led(pod, host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::inspect::ClientHello;
    use policy::{Inject, Key, SecretRef, Verb};

    const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: runners, namespace: team}
spec:
  subject: {podSelector: {matchLabels: {cofferdam.dev/service-account: runner}}}
  egress:
  - action: Allow
    to: [{domains: [hub.example]}]
    ports: [{port: 443}]
    operations: [{verbs: [download]}]
    credentials: [{inject: {secretRef: {name: keys, key: hub}, header: x-key}}]
";

    fn policies(objects: &str) -> Arc<Policies> {
        let read = crds::read_objects("test.yaml", objects.as_bytes());
        let compiled = compiler::compile_unlinted(read.objects, Generation(7));
        let mut diagnostics = read.diagnostics.iter().chain(&compiled.diagnostics);
        assert_eq!(diagnostics.find(|it| it.is_error()), None);
        Arc::new(Policies::new(compiled.set, Vec::new()))
    }

    #[test]
    fn a_rule_with_a_key_allows_its_workload_and_has_the_key_of_this_moment_put_in_or_none() {
        let (_policies, latest) = watch::channel(Some(policies(OBJECTS)));
        let visiting = Visiting::new(latest, Arc::new(SystemLookup));
        let pod = visiting.enter("spiffe://prod.example/ns/team/sa/runner").unwrap().address;
        let (name, address) = (DnsName::parse("hub.example").unwrap(), IpAddr::from([203, 0, 113, 9]));
        visiting.remember(&name, &[address], Instant::now());
        let claim = Claim::Tls(ClientHello { sni: Some(name), ..ClientHello::default() });
        let opening = Opening { pod, destination: (address, 443).into(), claim };
        let judged = visiting.judge(&opening);
        assert_eq!((judged.reason, judged.handling), (Reason::NameAllowed, Handling::Open));

        let download = Operation { verb: Verb::Download, ..Operation::unknown("") };
        let injecting = || {
            let judged = visiting.judge_request(&opening, &download);
            assert_eq!(judged.reason, Reason::RequestAllowed);
            judged.demands.inject.unwrap()
        };
        let secret = SecretRef { namespace: "team".into(), name: "keys".into(), key: "hub".into() };
        let inject = Inject { secret: secret.clone(), header: Some("x-key".into()) };
        assert_eq!(
            (injecting().inject, injecting().held),
            (inject, None),
            "nobody told any: it leaves not at all"
        );
        let (keys, held) = watch::channel(Arc::default());
        visiting.inject_with(held);
        for key in ["of-the-first-secret", "of-the-second-secret"] {
            let one = (secret.clone(), Key::read(key.as_bytes()).unwrap());
            keys.send_replace(Arc::new([one].into_iter().collect()));
            assert_eq!(injecting().held.unwrap().key.expose(), key);
        }
        keys.send_replace(Arc::default());
        assert_eq!(injecting().held, None, "a Secret that is taken away is no longer used");
    }

    #[test]
    fn a_rule_for_all_pods_has_no_key_for_who_comes_by_himself_though_another_policy_has_the_same() {
        let for_all = "---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: everybody, namespace: team}
spec:
  subject: {podSelector: {}}
  egress:
  - action: Allow
    to: [{domains: [hub.example]}]
    ports: [{port: 443}]
    operations: [{verbs: [download]}]
    credentials: [{inject: {secretRef: {name: keys, key: hub}, header: x-key}}]
";
        let (_policies, latest) = watch::channel(Some(policies(&[OBJECTS, for_all].concat())));
        let visiting = Visiting::new(latest, Arc::new(SystemLookup));
        let (name, address) = (DnsName::parse("hub.example").unwrap(), IpAddr::from([203, 0, 113, 9]));
        visiting.remember(&name, &[address], Instant::now());
        let secret = SecretRef { namespace: "team".into(), name: "keys".into(), key: "hub".into() };
        let key = [(secret, Key::read(b"of-the-runner").unwrap())].into_iter().collect();
        let (_keys, held) = watch::channel(Arc::new(key));
        visiting.inject_with(held);
        let download = Operation { verb: Verb::Download, ..Operation::unknown("") };
        let pod = visiting.enter("spiffe://prod.example/ns/team/sa/other").unwrap().address;
        let claim = Claim::Tls(ClientHello { sni: Some(name), ..ClientHello::default() });
        let judged =
            visiting.judge_request(&Opening { pod, destination: (address, 443).into(), claim }, &download);
        assert_eq!(judged.reason, Reason::RequestAllowed);
        assert_eq!(judged.demands.inject.unwrap().held, None, "the key is the runner's");
    }
}
