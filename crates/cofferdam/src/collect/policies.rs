//! The policies of a cluster at its collector: what is shown of them, and what DetectionPolicies say to its detectors.
//!
//! Enters: objects, of the API server or of manifests. Leaves: a policy set, factors and suppressions of workloads as the ledger names
//! them, and how that stands. Guarantees: what could not be read changes no threshold and suppresses nothing, and that is said; what
//! was read holds on while it cannot be read again. A DetectionPolicy holds for a workload whose pods are known, where it selects each of
//! them: a sum of connections does not say of which pod it is. Pods that are gone are known for a while, for what they did is looked at
//! later. Does not: enforce, read keys, or know consumers of an ingress gateway, which are no pods, whatever they are called.

use crate::folder;
use crate::serving::written::Written;
use crate::up::reach::word;
use crate::up::tuned::Tunings;
use api::shape::live::{PolicyItem, Standing};
use controller::definition::{GROUP, PLURAL};
use controller::follow::{Known, Seen};
use controller::standing::{self, Standings};
use crds::{Diagnostic, Object, ObjectName};
use detect::event::{Event, Factors};
use detect::finding::Suppressed;
use kube::Client;
use policy::{Generation, Labels, PolicySet};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long detectors wait for the first answer of an API server. What they look at is older than that anyway.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often manifests are read, and objects of a cluster at most: what compiling them takes is waited for nine times as well, so that
/// it takes a tenth of one processor.
const AGAIN: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];
/// How often it is looked whether a containment's time is over.
const LOOK: Duration = Duration::from_secs(30);
/// How long pods that are gone are known: what is looked at is 90 seconds old, or a little more.
const GONE: Duration = Duration::from_secs(600);
/// Workloads without a pod that are known so.
const MOST_GONE: usize = 1 << 16;
/// What nodes of ingress gateways begin with.
const INGRESS: &str = "ingress-gateway/";

/// Where policies come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody said.
    Nowhere,
    /// Files and folders.
    Files(Vec<PathBuf>),
    /// The API server.
    Cluster,
}

/// What is known of them.
#[derive(Debug)]
pub(super) struct Policies {
    from: Origin,
    begun: Instant,
    held: Mutex<Arc<Held>>,
    /// Why they cannot be read now.
    problem: Mutex<Option<String>>,
    /// Manifests, as they could be read last.
    read: Mutex<Option<FromFiles>>,
    /// How those of a cluster stand, as its controller wrote it.
    standings: Mutex<Arc<Standings>>,
    /// How often something was read: states are counted by it.
    loads: AtomicU64,
}

#[derive(Debug)]
struct FromFiles {
    /// `None`: they never could be read.
    seen: Option<Seen>,
    /// When somebody looked.
    at: Instant,
}

/// What holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// `None`: nothing was read yet.
    set: Option<Arc<PolicySet>>,
    /// What is told of it, once somebody asks.
    written: OnceLock<Written>,
    tunings: Tunings,
    /// By the word that the ledger has for them.
    workloads: HashMap<Arc<str>, Workload>,
    /// DetectionPolicies that do not hold, each with why.
    refused: Vec<String>,
}

#[derive(Clone, Debug)]
struct Workload {
    /// Of each pod.
    labels: Vec<Labels>,
    /// Since when it has none any more.
    gone: Option<Instant>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(Origin::Nowhere)
    }
}

impl Policies {
    pub(super) fn new(from: Origin) -> Self {
        Self {
            from,
            begun: Instant::now(),
            held: Mutex::default(),
            problem: Mutex::default(),
            read: Mutex::default(),
            standings: Mutex::default(),
            loads: AtomicU64::default(),
        }
    }

    /// What holds now.
    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.slot())
    }

    fn slot(&self) -> MutexGuard<'_, Arc<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Whether an API server may still give them soon.
    pub(super) fn awaits(&self) -> bool {
        self.from == Origin::Cluster && self.held().set.is_none() && self.begun.elapsed() < PATIENCE
    }

    /// Reads manifests where they were not read for a while. Where anything of them cannot be read, what held before holds.
    pub(super) fn look(&self) {
        let Origin::Files(files) = &self.from else { return };
        let [again, _] = AGAIN;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref().is_some_and(|it| it.at.elapsed() < again) {
            return;
        }
        let manifests = folder::read(files, None);
        let wrong = manifests.diagnostics.iter().find(|it| it.is_error() && !is_of_other(it));
        let last = read.take().and_then(|it| it.seen);
        let seen = match (wrong, last) {
            (Some(_), last) => last,
            (None, Some(last)) if last.objects == manifests.objects => Some(last),
            (None, _) => {
                let seen = Seen { objects: manifests.objects, diagnostics: Vec::new() };
                self.take(&seen);
                Some(seen)
            }
        };
        self.set_problem(wrong.map(ToString::to_string));
        *read = Some(FromFiles { seen, at: Instant::now() });
    }

    /// Follows an API server until the future is dropped.
    pub(super) async fn follow(self: Arc<Self>, client: Client) {
        let (sender, known) = watch::channel(Known::default());
        tokio::select! {
            () = controller::policies::follow(client, sender) => {}
            () = self.take_all(known) => {}
        }
    }

    async fn take_all(self: &Arc<Self>, mut known: watch::Receiver<Known>) {
        let mut last: Option<Arc<Seen>> = None;
        loop {
            let news = match timeout(LOOK, known.changed()).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => {
                    let Known { seen, problems, missing, standings } = known.borrow_and_update().clone();
                    *self.standings.lock().unwrap_or_else(PoisonError::into_inner) = standings;
                    self.set_problem(problem(&problems, &missing));
                    seen.filter(|seen| last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, seen)))
                }
                Err(_) => last.clone().filter(|seen| seen.objects.iter().any(is_containment)),
            };
            let begun = Instant::now();
            if let Some(seen) = news {
                last = Some(Arc::clone(&seen));
                self.compile(seen).await;
            }
            let [_, again] = AGAIN;
            tokio::time::sleep(again.max(begun.elapsed() * 9)).await;
        }
    }

    async fn compile(self: &Arc<Self>, seen: Arc<Seen>) {
        let policies = Arc::clone(self);
        // A panic there is a bug that must be seen.
        if let Err(panicked) = tokio::task::spawn_blocking(move || policies.take(&seen)).await {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }

    /// Goes by these objects from now on.
    fn take(&self, seen: &Seen) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let holds = |object: &&Object| !matches!(object, Object::Containment(it) if it.until <= now);
        let objects = seen.objects.iter().filter(holds).cloned().collect();
        let generation = Generation(self.loads.fetch_add(1, Ordering::Relaxed) + 1);
        let compiled = compiler::compile_unlinted(objects, generation);
        let mut workloads = HashMap::<Arc<str>, Workload>::new();
        for pod in compiled.set.world.pods.iter().filter(|pod| !pod.host_network) {
            let name = word(&pod.namespace, &pod.workload).into();
            let none = || Workload { labels: Vec::new(), gone: None };
            let known = workloads.entry(name).or_insert_with(none);
            // Pods of one workload mostly have the same.
            if !known.labels.contains(&pod.labels) {
                known.labels.push(pod.labels.clone());
            }
        }
        let before = self.held();
        let (most, now) = (workloads.len().saturating_add(MOST_GONE), Instant::now());
        for (name, known) in &before.workloads {
            let since = known.gone.unwrap_or(now);
            if since.elapsed() < GONE && workloads.len() < most {
                let left = || Workload { labels: known.labels.clone(), gone: Some(since) };
                workloads.entry(Arc::clone(name)).or_insert_with(left);
            }
        }
        let wrong = seen.diagnostics.iter().chain(&compiled.diagnostics);
        let wrong = wrong.filter(|it| it.is_error() && it.object.as_ref().is_some_and(is_policy));
        let held = Held {
            tunings: Tunings::new(&compiled.set.detection),
            workloads,
            refused: wrong.map(ToString::to_string).collect(),
            set: Some(Arc::new(compiled.set)),
            written: OnceLock::new(),
        };
        *self.slot() = Arc::new(held);
    }

    /// Why detectors do not go by what policies say, or not by what they say now; `None`: they do, or nobody asked for that.
    pub(super) fn problem(&self) -> Option<String> {
        let held = self.held();
        let why = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (&self.from, held.set.is_some(), why) {
            (Origin::Nowhere, _, _) | (_, true, None) => None,
            (_, true, Some(why)) => Some(format!(
                "policies cannot be read now: those of before hold on, {} DetectionPolicies among them ({why})",
                held.tunings.count()
            )),
            (_, false, why) => Some(format!(
                "policies cannot be read, so none is shown, detectors go by their own thresholds and nothing is suppressed ({})",
                why.as_deref().unwrap_or("nothing was read yet")
            )),
        }
    }

    /// Says of each how it stands in the cluster; nothing of manifests, which nobody has to enforce.
    pub(super) fn tell_standings(&self, items: &mut [PolicyItem]) {
        if self.from != Origin::Cluster {
            return;
        }
        let standings = Arc::clone(&self.standings.lock().unwrap_or_else(PoisonError::into_inner));
        for item in items {
            let name = (item.kind.as_str().into(), item.namespace.as_str().into(), item.name.as_str().into());
            let standing::Standing { in_force, detail } = standings.get(&name).cloned().unwrap_or_default();
            item.standing = Some(Standing { in_force, detail });
        }
    }

    /// Files and folders that they are read from.
    pub(super) fn files(&self) -> &[PathBuf] {
        match &self.from {
            Origin::Files(files) => files,
            Origin::Nowhere | Origin::Cluster => &[],
        }
    }

    /// How many DetectionPolicies hold.
    pub(super) fn count(&self) -> usize {
        self.held().tunings.count()
    }

    /// Where they come from, and how they stand, for a person; `None`: nobody asked for any.
    pub(super) fn words(&self) -> Option<String> {
        if self.from == Origin::Nowhere {
            return None;
        }
        if let Some(problem) = self.problem() {
            return Some(problem);
        }
        let held = self.held();
        let refused = match &held.refused[..] {
            [] => String::new(),
            [first, rest @ ..] => format!("; what has errors holds nothing: {first}{}", more(rest.len())),
        };
        Some(format!(
            "{} policies are shown; {} DetectionPolicies hold for what is found here, of {} workloads{refused}",
            held.set.as_ref().map_or(0, |set| set.policies.len()),
            held.tunings.count(),
            held.workloads.values().filter(|known| known.gone.is_none()).count(),
        ))
    }
}

/// Why an API server does not give all of them.
fn problem(
    problems: &BTreeMap<&'static str, String>,
    missing: &BTreeMap<&'static str, String>,
) -> Option<String> {
    let failing = problems.iter().map(|(kind, why)| format!("{kind}: {why}"));
    // Kinds of others are add-ons that a cluster may go without. How policies stand is nothing that they are.
    let own = missing.iter().filter(|(kind, version)| version.starts_with(GROUP) && **kind != PLURAL);
    let absent = own.map(|(kind, version)| {
        format!("{kind}: the cluster has no such kind of {version} (cofferdam install crds)")
    });
    let all: Vec<String> = failing.chain(absent).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn is_containment(object: &Object) -> bool {
    matches!(object, Object::Containment(_))
}

fn more(rest: usize) -> String {
    if rest == 0 { String::new() } else { format!(" (and {rest} more)") }
}

fn is_policy(object: &ObjectName) -> bool {
    &*object.kind == "DetectionPolicy"
}

/// Whether it is about an object that says nothing of detectors.
fn is_of_other(wrong: &Diagnostic) -> bool {
    wrong.object.as_ref().is_some_and(|object| !is_policy(object))
}

impl Held {
    /// What is told of the policies.
    pub(super) fn written(&self) -> &Written {
        self.written.get_or_init(|| self.set.clone().map(Written::of).unwrap_or_default())
    }

    /// Which state of the policies it is, counted since the process began; 0: none was read.
    pub(super) fn generation(&self) -> u64 {
        self.set.as_ref().map_or(0, |set| set.generation.0)
    }

    /// The event, with how far from their own thresholds detectors tell of whoever did it.
    pub(super) fn tuned(&self, event: Event) -> Event {
        let is_of_pod = event.scene.node.as_ref().is_some_and(|node| !node.starts_with(INGRESS));
        if !is_of_pod || self.tunings.count() == 0 {
            return event;
        }
        let factors = match self.known(&event.who) {
            Some((namespace, pods)) => self.tunings.factors_of(namespace, pods),
            None => Factors::default(),
        };
        Event { factors, ..event }
    }

    /// Why nobody has to see a finding.
    pub(super) fn suppression(&self, finding: &detect::Finding) -> Option<Suppressed> {
        if finding.nodes.iter().any(|node| node.starts_with(INGRESS)) {
            return None;
        }
        let (namespace, pods) = self.known(&finding.workload)?;
        self.tunings.suppression_of(namespace, pods, finding)
    }

    fn known<'a>(&'a self, word: &'a str) -> Option<(&'a str, &'a [Labels])> {
        let (namespace, _) = word.split_once('/')?;
        Some((namespace, &self.workloads.get(word)?.labels))
    }
}
