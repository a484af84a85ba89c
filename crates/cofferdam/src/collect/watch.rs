//! Detectors over the joined ledger, on a thread of their own: what only shows where records of several nodes are together.
//!
//! Enters: entries, followed as who exports them does. Leaves: findings, as entries of the node `collector`. Guarantees: nobody who
//! sends waits for a detector; after a restart the last hour is looked at again, and what anybody told is not told twice; what
//! could not be looked at is counted; DetectionPolicies hold as [`super::policies`] knows them. Does not: look at entries of egress
//! gateways, for nodes record the same connections with their pods.

use super::policies::{Held, Policies};
use super::{NAME, now};
use crate::up::finding::Finding;
use crate::up::pen::Recorded;
use ::collector::Store;
use ::ledger::{Entry, EntryFilter, Kind, Order, Reader, Stored, Verdict};
use anyhow::{Context, Result};
use detect::event::{
    Event, Flow, HOUR, Lookup, Phase, Place, RecordId, SECOND, Scene, What, clean_name, clean_text,
};
use detect::joined::{Counts, Joined, TOLD};
use observe::Time;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked what came.
const PACE: Duration = Duration::from_secs(1);
/// Entries that are read at once.
const BATCH: usize = 8192;
/// What happened before the start is looked at for so long, in microseconds.
const BEFORE: u64 = HOUR;
/// Findings that are known from before the start.
const KNOWN: usize = 10_000;
/// What nodes of egress gateways begin with.
const EGRESS: &str = "egress-gateway/";
/// What words of nodes as ends of connections begin with.
const NODE: &str = "node ";
/// Types of questions: what entries have no word for.
const TYPE_A: u16 = 1;

/// How the detectors are.
#[derive(Debug, Default)]
pub(super) struct Watch {
    counts: Mutex<Counts>,
    /// Entries whose record could not be read.
    unreadable: AtomicU64,
    /// Entries that were forgotten before they were looked at.
    missed: AtomicU64,
    /// Findings that policies suppress.
    suppressed: AtomicU64,
    problem: Mutex<Option<String>>,
    policies: Arc<Policies>,
}

/// What is told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(super) counts: Counts,
    pub(super) unreadable: u64,
    pub(super) missed: u64,
    pub(super) suppressed: u64,
    /// DetectionPolicies that hold.
    pub(super) policies: usize,
    /// Why policies are not as they are written now.
    pub(super) unread: Option<String>,
    pub(super) problem: Option<String>,
}

impl Watch {
    /// Begins to look, until the process ends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(store: &Arc<Store>, policies: &Arc<Policies>) -> Result<Arc<Self>> {
        let watch = Arc::new(Self { policies: Arc::clone(policies), ..Self::default() });
        let (shared, store, policies) = (Arc::clone(&watch), Arc::clone(store), Arc::clone(policies));
        let run = move || {
            let mut eye = Eye { policies: Arc::clone(&policies), ..Eye::default() };
            loop {
                policies.look();
                if policies.awaits() {
                    std::thread::sleep(PACE);
                    continue;
                }
                let problem = eye.look(&store, &shared).err().map(|error| format!("{error:#}"));
                *shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
                std::thread::sleep(PACE);
            }
        };
        std::thread::Builder::new()
            .name("detect".into())
            .spawn(run)
            .context("starting the detectors' thread")?;
        Ok(watch)
    }

    /// How it is.
    pub(super) fn watched(&self) -> Watched {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Watched {
            counts: *self.counts.lock().unwrap_or_else(PoisonError::into_inner),
            unreadable: of(&self.unreadable),
            missed: of(&self.missed),
            suppressed: of(&self.suppressed),
            policies: self.policies.count(),
            unread: self.policies.problem(),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What the thread has.
#[derive(Default)]
struct Eye {
    policies: Arc<Policies>,
    joined: Joined,
    /// Which ledger it follows, and from where.
    ledger: Option<String>,
    last: i64,
    source: Option<Arc<str>>,
    /// Findings that could not be written yet.
    unwritten: Vec<Entry>,
}

impl Eye {
    /// Looks at what came.
    fn look(&mut self, store: &Store, watch: &Watch) -> Result<()> {
        self.write(store)?;
        let reader = Reader::open(store.path())?;
        let ledger = reader.origin()?;
        if self.ledger != ledger || self.ledger.is_none() {
            self.begin(&reader)?;
            self.ledger = ledger;
        }
        loop {
            let found = reader.follow(self.last, now(), BATCH)?;
            watch.missed.fetch_add(found.forgotten, Ordering::Relaxed);
            self.last = found.last;
            let newest = found.entries.iter().map(|stored| stored.entry.time).max();
            let is_behind = found.entries.len() == BATCH;
            let held = self.policies.held();
            for stored in &found.entries {
                self.take(stored, watch, &held);
            }
            // Who is behind goes by the time of what it reads.
            let time = if is_behind { newest.unwrap_or_default().min(now()) } else { now() };
            let told = self.joined.turn(Time(time));
            *watch.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.joined.counts();
            for finding in told {
                let suppressed = held.suppression(&finding);
                watch.suppressed.fetch_add(suppressed.is_some().into(), Ordering::Relaxed);
                self.unwritten.push(entry(detect::Finding { suppressed, ..finding }));
            }
            self.write(store)?;
            if !is_behind {
                return Ok(());
            }
        }
    }

    fn write(&mut self, store: &Store) -> Result<()> {
        if !self.unwritten.is_empty() {
            store.write(&self.unwritten)?;
            self.unwritten.clear();
        }
        Ok(())
    }

    /// Goes on where what happened lately begins; what was told lately is known.
    fn begin(&mut self, reader: &Reader) -> Result<()> {
        let now = now();
        let known = EntryFilter {
            kind: Some(Kind::Finding),
            since: Some(now.saturating_sub(TOLD)),
            limit: Some(KNOWN),
            order: Order::NewestFirst,
            ..EntryFilter::default()
        };
        for stored in reader.entries(&known)? {
            self.told(&stored);
        }
        self.last = reader.before(now.saturating_sub(BEFORE))?;
        Ok(())
    }

    fn told(&mut self, stored: &Stored) {
        let finding = incident::Finding::read(stored);
        match &*stored.entry.node {
            NAME => self.joined.told_here(&finding.id, finding.until, finding.count),
            _ => self.joined.told_by_node(&finding.id, finding.until),
        }
    }

    fn take(&mut self, stored: &Stored, watch: &Watch, held: &Held) {
        if stored.entry.kind == Kind::Finding {
            // Its own it knows since it told them.
            if &*stored.entry.node != NAME {
                self.told(stored);
            }
            return;
        }
        let source = self.source.get_or_insert_with(|| "ledger".into());
        let number = u64::try_from(stored.id).unwrap_or(0);
        let record = RecordId { source: Arc::clone(source), number };
        let mut events = Vec::new();
        if self::events(&stored.entry, &record, &mut events).is_err() {
            watch.unreadable.fetch_add(1, Ordering::Relaxed);
        }
        events.into_iter().for_each(|event| self.joined.add(held.tuned(event)));
    }
}

/// A finding, as the ledger has it.
fn entry(told: detect::Finding) -> Entry {
    Finding { sequence: 0, told: detect::Finding { node: Some(NAME.into()), ..told } }.entry()
}

/// What detectors look at of an entry. When it was and on which node is what the entry says, which was checked when it was taken.
fn events(entry: &Entry, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    if entry.node.is_empty() || &*entry.node == NAME || entry.node.starts_with(EGRESS) {
        return Ok(());
    }
    match (entry.kind, &entry.detail) {
        (Kind::Flow | Kind::Dns | Kind::Tls | Kind::AiCall, Some(detail)) => {
            detect::read::record(detail, record, events)?;
        }
        (Kind::Flow, None) => events.push(event(entry, record, What::Flow(flow(entry)))),
        (Kind::Dns, None) if matches!(entry.verdict, Verdict::Allow | Verdict::Fail) => {
            let lookup = Lookup {
                name: clean_name(entry.destination.as_bytes()),
                kind: TYPE_A,
                rcode: None,
                answer_bytes: 0,
            };
            events.push(event(entry, record, What::Lookup(lookup)));
        }
        // What passed the gateway, the kernel tells as well.
        (Kind::Dns | Kind::Tls | Kind::AiCall | Kind::Finding | Kind::Audit, _) => {}
    }
    for event in events {
        event.time = Time(entry.time);
        event.scene.node = Some(Arc::clone(&entry.node));
    }
    Ok(())
}

fn event(entry: &Entry, record: &RecordId, what: What) -> Event {
    let rule = (!entry.rule.is_empty()).then(|| Arc::clone(&entry.rule));
    let scene = Scene { rule, ..Scene::default() };
    Event { scene, ..Event::new(Time(entry.time), clean_text(&entry.source), record.clone(), what) }
}

/// Connections of one window, as one: what begins in it at its time, and what only ends in it as more of those before.
fn flow(entry: &Entry) -> Flow {
    let whom = &*entry.destination;
    let address = whom.parse::<IpAddr>().ok();
    let is_inside = address.is_none() && (whom.contains('/') || whom.starts_with(NODE));
    let name = match (address, is_inside) {
        (Some(_), _) => None,
        (None, true) => Some(clean_text(whom)),
        (None, false) => Some(clean_name(whom.as_bytes())),
    };
    Flow {
        phase: match (entry.verdict, entry.count) {
            (Verdict::Deny | Verdict::Fail, _) => Phase::Failed,
            (Verdict::Allow | Verdict::None, 0) => Phase::More,
            (Verdict::Allow | Verdict::None, _) => Phase::Whole,
        },
        from_node: entry.source.starts_with(NODE),
        address: address.unwrap_or_else(|| stand_in(whom)),
        name,
        place: if is_inside { Place::Inside } else { Place::Outside },
        port: entry.port,
        protocol: entry.protocol,
        sent: entry.sent,
        received: entry.received,
        duration: 0,
    }
}

/// An address by which whom an entry only names is told apart: of the network for documentation, and shown nowhere.
fn stand_in(whom: &str) -> IpAddr {
    let hash = whom.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(hash)).into()
}

/// Words for how it stands, for a person.
impl Watched {
    pub(super) fn words(&self) -> String {
        let Counts { looked_at, late, lost, told, told_by_nodes, .. } = self.counts;
        let problem = self.problem.as_ref().map(|why| format!("; it cannot look: {why}")).unwrap_or_default();
        format!(
            "detectors looked at {looked_at} events of several nodes ({late} came more than {} s late, {lost} found no room, {} \
             were forgotten before, {} could not be read) and told {told} findings that no node told ({} of them suppressed, \
             {told_by_nodes} times a node had){problem}",
            detect::joined::LATENESS / SECOND,
            self.missed,
            self.unreadable,
            self.suppressed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::sight::example;
    use ::ledger::{Parcel, Retention};
    use observe::{Kind as Told, Record};

    /// What a node hands over of denied connections of one workload to so many ports.
    fn denied(node: &str, ports: std::ops::Range<u16>, at: u64) -> Parcel {
        let entries = ports.enumerate().map(|(number, port)| {
            let to = example::outside([192, 0, 2, 1]);
            let flow = example::flow(Time(at), &example::pod("ai", "x"), &to, Told::Deny);
            let entry = Record { port, node: node.into(), ..flow }.entry();
            (i64::try_from(number).unwrap() + 1, entry)
        });
        let entries: Vec<_> = entries.collect();
        let last = i64::try_from(entries.len()).unwrap();
        Parcel { node: node.to_owned(), ledger: node.to_owned(), last, waiting: 0, lost: 0, entries }
    }

    fn findings(store: &Store) -> Vec<(String, String, Vec<String>)> {
        let filter = EntryFilter { kind: Some(Kind::Finding), ..EntryFilter::default() };
        let found = Reader::open(store.path()).unwrap().entries(&filter).unwrap();
        let told = found.iter().map(|it| {
            let told: detect::Finding = serde_json::from_str(it.entry.detail.as_ref().unwrap()).unwrap();
            let records = told.records.iter().map(ToString::to_string).collect();
            (it.entry.node.to_string(), it.entry.reason.to_string(), records)
        });
        told.collect()
    }

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("ledger.db"), Retention::default()).unwrap();
        (folder, Arc::new(store))
    }

    #[test]
    fn what_two_nodes_saw_of_one_workload_is_told_once_also_by_who_starts_again() {
        let (_folder, store) = store();
        // Long enough ago that nobody is waited for.
        let at = now() - detect::joined::LATENESS - 10 * SECOND;
        store.join(&denied("a", 1..13, at)).unwrap();
        store.join(&denied("b", 101..113, at)).unwrap();
        let watch = Watch::default();
        let mut eye = Eye::default();
        eye.look(&store, &watch).unwrap();
        let told = findings(&store);
        let [(node, reason, records)] = &told[..] else { panic!("{told:?} {:?}", watch.watched()) };
        assert_eq!((node.as_str(), reason.as_str()), (NAME, "port-scan"));
        assert_eq!(records[0], "ledger:1", "records are numbers of the ledger that was asked");
        eye.look(&store, &watch).unwrap();
        Eye::default().look(&store, &watch).unwrap();
        assert_eq!(findings(&store).len(), 1);
    }

    /// A collector's detectors with these manifests; what they tell, each with why it is suppressed.
    fn told_with(manifests: &str) -> (Vec<(String, Option<String>)>, Watched) {
        let (folder, store) = store();
        let path = folder.path().join("policies");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("all.yaml"), manifests).unwrap();
        let policies = Arc::new(Policies::new(super::super::policies::Origin::Files(vec![path])));
        policies.look();
        let at = now() - detect::joined::LATENESS - 10 * SECOND;
        store.join(&denied("a", 1..16, at)).unwrap();
        store.join(&denied("b", 101..116, at)).unwrap();
        let watch = Watch { policies: Arc::clone(&policies), ..Watch::default() };
        Eye { policies, ..Eye::default() }.look(&store, &watch).unwrap();
        let filter = EntryFilter { kind: Some(Kind::Finding), ..EntryFilter::default() };
        let found = Reader::open(store.path()).unwrap().entries(&filter).unwrap();
        let told = found.iter().map(|it| {
            let told: detect::Finding = serde_json::from_str(it.entry.detail.as_ref().unwrap()).unwrap();
            (told.detector.into_owned(), told.suppressed.map(|it| it.policy.to_string()))
        });
        (told.collect(), watch.watched())
    }

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: ai
  labels: {app: x}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u, controller: true}]
spec: {nodeName: a, containers: [{name: c, image: i}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
";

    fn policy(namespace: &str, selector: &str, says: &str) -> String {
        format!(
            "---\napiVersion: cofferdam.dev/v1alpha1\nkind: DetectionPolicy\nmetadata: {{name: p, namespace: {namespace}}}\n\
             spec:\n  podSelector: {selector}\n  detectors:\n  - {{name: port-scan, {says}}}\n"
        )
    }

    #[test]
    fn policies_hold_for_workloads_whose_pods_they_select_and_no_others() {
        let off = "enabled: false, reason: it is our scanner";
        let told = |manifests: &str| told_with(manifests).0;
        let loud = vec![("port-scan".to_owned(), None)];
        for (says, is_told) in [("thresholdPercent: 200", false), ("thresholdPercent: 140", true)] {
            let told = told(&format!("{POD}{}", policy("ai", "{}", says)));
            assert_eq!(
                told,
                if is_told { loud.clone() } else { Vec::new() },
                "{says}: 30 ports, of 20 times that"
            );
        }
        let (marked, watched) = told_with(&format!("{POD}{}", policy("ai", "{matchLabels: {app: x}}", off)));
        let [(_, Some(by))] = &marked[..] else { panic!("{marked:?}") };
        assert!(
            by.starts_with("DetectionPolicy ai/p spec.detectors[0] (") && by.contains("all.yaml:"),
            "{by}"
        );
        assert_eq!((watched.suppressed, watched.policies, watched.unread), (1, 1, None));
        // Another's, one that does not select it, one that selects not all of its pods, and one of whose pods nothing is known.
        let second =
            POD.replace("web-1", "web-2").replace("app: x", "app: y").replace("10.0.0.1", "10.0.0.2");
        for manifests in [
            format!("{POD}{}", policy("other", "{}", off)),
            format!("{POD}{}", policy("ai", "{matchLabels: {app: y}}", off)),
            format!("{POD}---{second}{}", policy("ai", "{matchLabels: {app: x}}", off)),
            policy("ai", "{}", off),
        ] {
            assert_eq!(told(&manifests), loud, "{manifests}");
        }
    }

    #[test]
    fn policies_that_cannot_be_read_change_nothing_and_that_is_said() {
        let wrong = policy("ai", "{}", "enabled: false");
        let (told, watched) = told_with(&format!("{POD}{wrong}"));
        assert_eq!(told, [("port-scan".to_owned(), None)]);
        let why = watched.unread.unwrap();
        assert!(
            why.contains("own thresholds") && why.contains("all.yaml:") && why.contains("reason"),
            "{why}"
        );
    }

    #[test]
    fn what_a_node_told_and_what_only_one_saw_is_not_told() {
        for (other, told) in [("b", true), ("a", false), ("b", false)] {
            let (_folder, store) = store();
            let at = now() - detect::joined::LATENESS - 10 * SECOND;
            store.join(&denied("a", 1..13, at)).unwrap();
            let mut parcel = denied(other, 101..113, at);
            // Another ledger of the same node.
            parcel.ledger = "other".to_owned();
            store.join(&parcel).unwrap();
            if told {
                let id = {
                    let mut eye = Eye::default();
                    let (_folder, second) = self::store();
                    second.join(&denied("a", 1..13, at)).unwrap();
                    second.join(&denied("b", 101..113, at)).unwrap();
                    eye.look(&second, &Watch::default()).unwrap();
                    let filter = EntryFilter { kind: Some(Kind::Finding), ..EntryFilter::default() };
                    let found = Reader::open(second.path()).unwrap().entries(&filter).unwrap();
                    found[0].clone()
                };
                let of_node = Entry { node: "b".into(), ..id.entry };
                let finding = Parcel {
                    node: "b".to_owned(),
                    ledger: "third".to_owned(),
                    last: 1,
                    waiting: 0,
                    lost: 0,
                    entries: vec![(1, of_node)],
                };
                store.join(&finding).unwrap();
            }
            Eye::default().look(&store, &Watch::default()).unwrap();
            let own = findings(&store).iter().filter(|(node, ..)| node == NAME).count();
            assert_eq!(own, usize::from(other == "b" && !told), "{other} {told}");
        }
    }

    #[test]
    fn what_came_and_went_in_one_window_is_a_connection_and_what_only_ended_in_it_is_none() {
        let entry = |destination: &str, count| Entry {
            source: "ai/Deployment/web".into(),
            destination: destination.into(),
            node: "a".into(),
            count,
            sent: 7,
            ..Entry::new(Kind::Flow, Verdict::Allow)
        };
        let id = RecordId { source: "ledger".into(), number: 1 };
        let of = |entry: &Entry| {
            let mut found = Vec::new();
            events(entry, &id, &mut found).unwrap();
            found.into_iter().next().map(|event| match event.what {
                What::Flow(flow) => (flow.phase, flow.place, flow.name.as_deref().map(str::to_owned)),
                other => panic!("{other:?}"),
            })
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(of(&entry("hub.example", 1)), Some((Phase::Whole, Place::Outside, named("hub.example"))));
        assert_eq!(of(&entry("hub.example", 0)).unwrap().0, Phase::More);
        assert_eq!(of(&entry("192.0.2.1", 1)), Some((Phase::Whole, Place::Outside, None)));
        assert_eq!(of(&entry("ai/db", 1)).unwrap().1, Place::Inside);
        assert_eq!(of(&entry("node a", 1)).unwrap().1, Place::Inside);
        for node in ["egress-gateway/x", NAME, ""] {
            assert_eq!(of(&Entry { node: node.into(), ..entry("hub.example", 1) }), None, "{node}");
        }
    }

    #[test]
    fn a_record_cannot_say_that_it_is_of_another_time_or_node_than_its_entry() {
        let parcel = denied("a", 1..2, 7_000_000);
        let mut entry = parcel.entries[0].1.clone();
        let mut detail: serde_json::Value = serde_json::from_str(entry.detail.as_ref().unwrap()).unwrap();
        detail["time"] = "2030-01-01T00:00:00Z".into();
        detail["node"] = "b".into();
        entry.detail = Some(detail.to_string());
        let mut found = Vec::new();
        let id = RecordId { source: "ledger".into(), number: 1 };
        events(&entry, &id, &mut found).unwrap();
        assert_eq!((found[0].time, found[0].scene.node.as_deref()), (Time(7_000_000), Some("a")));
        entry.detail = Some("{}".to_owned());
        assert!(events(&entry, &id, &mut Vec::new()).is_err());
    }
}
