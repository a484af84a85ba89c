//! How things stand, for the API: the engine's status and policies in its words.

use super::budgets::budgets;
use super::walk::walk;
use crate::up::engine::Engine;
use crate::up::journal::Journal;
use crate::up::protocol::{NodeStatus, Status};
use crate::up::shadow::Seen;
use ::ledger::Entry;
use api::excerpt::excerpt;
use api::shape::Moment;
use api::shape::live::{
    Budget, Counts, Deciding, Difference, LedgerStatus, PolicyItem, RuleItem, Sensor, Shadow, Status as Told,
};
use api::shape::walk::Walk;
use api::{Live, Manifest};
use observe::Time;
use policy::decide::selects;
use policy::{ClosedScope, Generation, ObjectRef, Pod, Policy, PolicySet, RuleEntry, RuleId, Tier};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Ways in which a candidate differs that are told.
const DIFFERENCES: usize = 200;

/// Tells of one engine.
pub(crate) struct Teller {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
    files: Vec<PathBuf>,
    known: Mutex<Arc<Known>>,
}

/// What is told of one generation.
#[derive(Default)]
struct Known {
    generation: Generation,
    items: Vec<PolicyItem>,
    /// By the ledger's word for a rule.
    rules: HashMap<String, RuleEntry>,
    sources: HashMap<ObjectRef, (String, u32)>,
    /// All of it, to judge by.
    set: Option<Arc<PolicySet>>,
}

impl Teller {
    pub(crate) fn new(engine: Arc<Mutex<Engine>>, journal: Arc<Journal>, files: Vec<PathBuf>) -> Self {
        Self { engine, journal, files, known: Mutex::default() }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // After a panic in a load the last good tables are still the kernel's.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told of the generation in force; made once, and without holding up who enforces.
    fn known(&self) -> Arc<Known> {
        let generation = self.engine().in_force();
        let known = Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner));
        if known.generation == generation && generation != Generation(0) {
            return known;
        }
        let Some(set) = self.engine().policy_set().cloned() else { return known };
        let known = Known::of(&set);
        let known = Known { set: Some(Arc::new(set)), ..known };
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        known
    }

    /// A file of policy's sources: never another one, whatever a record or an object says.
    fn source(&self, file: &str) -> Option<String> {
        let path = fs::canonicalize(file).ok()?;
        let is_among =
            |source: &PathBuf| fs::canonicalize(source).is_ok_and(|source| path.starts_with(source));
        if !self.files.iter().any(is_among) {
            return None;
        }
        read(&path)
    }
}

fn read(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    if !found.is_file() || found.len() > crds::MAX_BYTES as u64 {
        return None;
    }
    fs::read_to_string(path).ok()
}

impl Known {
    fn of(set: &PolicySet) -> Self {
        let mut rules: HashMap<String, RuleEntry> = HashMap::new();
        let mut by_object: HashMap<&ObjectRef, Vec<RuleItem>> = HashMap::new();
        let mut told: HashSet<String> = HashSet::new();
        for entry in set.rules.iter().skip(RuleId::FIRST_WRITTEN.0 as usize) {
            let Some(object) = &entry.object else { continue };
            let text = entry.to_string();
            // One rule that a user wrote can be several entries.
            if told.insert(text.clone()) {
                by_object.entry(object).or_default().push(item(entry, &text));
                rules.insert(text, entry.clone());
            }
        }
        let mut items: Vec<PolicyItem> = Vec::new();
        let mut sources = HashMap::new();
        for policy in &set.policies {
            let place = policy.source.as_ref().map(|source| (source.file.to_string(), source.line));
            sources.extend(place.clone().map(|place| (policy.object.clone(), place)));
            let rules = by_object.remove(&policy.object).unwrap_or_default();
            items.push(PolicyItem { rules, ..written(set, policy) });
        }
        let problems = closed(set);
        for item in &mut items {
            let object = (item.kind.clone(), item.namespace.clone(), item.name.clone());
            item.problems = problems.get(&object).cloned().unwrap_or_default();
        }
        let known: HashSet<_> =
            items.iter().map(|it| (it.kind.clone(), it.namespace.clone(), it.name.clone())).collect();
        for ((kind, namespace, name), problems) in problems {
            if !known.contains(&(kind.clone(), namespace.clone(), name.clone())) {
                items.push(unread(kind, namespace, name, problems));
            }
        }
        Self { generation: set.generation, items, rules, sources, set: None }
    }
}

fn difference(Seen { difference, seen }: Seen) -> Difference {
    Difference {
        verdict: difference.verdict.to_string(),
        source: difference.source.to_string(),
        destination: difference.destination.to_string(),
        protocol: difference.protocol.to_string(),
        port: difference.port,
        rule: difference.rule.to_string(),
        count: seen.count,
        first: Moment(seen.first),
        last: Moment(seen.last),
    }
}

fn item(entry: &RuleEntry, text: &str) -> RuleItem {
    RuleItem {
        rule: text.to_owned(),
        field: entry.field.to_string(),
        name: entry.name.as_deref().map(str::to_owned),
        hits: 0,
        denied: 0,
        last: None,
    }
}

fn written(set: &PolicySet, policy: &Policy) -> PolicyItem {
    let ObjectRef { kind, namespace, name } = &policy.object;
    let selected = set.world.pods.iter().filter(|pod| selects(&set.world, &policy.subject, pod)).count();
    PolicyItem {
        kind: kind.to_string(),
        namespace: namespace.to_string(),
        name: name.to_string(),
        file: policy.source.as_ref().map(|source| source.file.to_string()),
        line: policy.source.as_ref().map(|source| source.line),
        tier: tier(policy.tier).to_owned(),
        selects: selected as u64,
        rules: Vec::new(),
        problems: Vec::new(),
    }
}

pub(super) fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Admin => "admin",
        Tier::NetworkPolicy => "network-policy",
        Tier::Baseline => "baseline",
    }
}

/// Kind, namespace and name.
type Object = (String, String, String);

/// What is closed, by the object that could not be read, or not be enforced.
fn closed(set: &PolicySet) -> BTreeMap<Object, Vec<String>> {
    let mut problems: BTreeMap<Object, Vec<String>> = BTreeMap::new();
    for ClosedScope { rule, .. } in &set.closed {
        let Some(entry) = set.rule(*rule) else { continue };
        let Some(ObjectRef { kind, namespace, name }) = &entry.object else { continue };
        let object = (kind.to_string(), namespace.to_string(), name.to_string());
        problems.entry(object).or_default().push(format!("what it may select is closed: {entry}"));
    }
    problems
}

fn unread(kind: String, namespace: String, name: String, problems: Vec<String>) -> PolicyItem {
    PolicyItem {
        kind,
        namespace,
        name,
        file: None,
        line: None,
        tier: "closed".to_owned(),
        selects: 0,
        rules: Vec::new(),
        problems,
    }
}

impl Live for Teller {
    fn status(&self) -> Told {
        let status = self.engine().status();
        let ledger = self.journal.ledger().map(|ledger| LedgerStatus {
            path: ledger.path.display().to_string(),
            written: ledger.written,
            lost: ledger.lost,
            problem: ledger.problem,
        });
        Told {
            version: status.version.clone(),
            time: Moment(Time::from(SystemTime::now())),
            node: status.nodes.first().map_or_else(String::new, |node| node.node.to_string()),
            generation: status.generation.0,
            enforcement: word(status.mode),
            degraded: status.degraded.clone(),
            ledger: ledger.unwrap_or_default(),
            sensors: status.nodes.iter().flat_map(sensors).collect(),
            counts: counts(&status),
        }
    }

    fn policies(&self) -> (u64, Vec<PolicyItem>) {
        let known = self.known();
        (known.generation.0, known.items.clone())
    }

    fn shadow(&self) -> Option<Shadow> {
        let shadow = self.engine().shadow()?;
        Some(Shadow {
            sources: shadow.sources,
            policies: shadow.policies as u64,
            problem: shadow.problem,
            judged: shadow.judged,
            would_deny: shadow.would_deny,
            would_allow: shadow.would_allow,
            unknown: shadow.unknown,
            unlisted: shadow.differences.iter().skip(DIFFERENCES).map(|it| it.seen.count).sum::<u64>()
                + shadow.unlisted,
            differences: shadow.differences.into_iter().take(DIFFERENCES).map(difference).collect(),
        })
    }

    fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Option<Manifest> {
        let object = ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        let known = self.known();
        let (file, line) = known.sources.get(&object)?;
        let (yaml, line) = document(&self.source(file)?, *line)?;
        Some(Manifest { yaml, file: file.clone(), line })
    }

    fn deciding(&self, rule: &str) -> Option<Deciding> {
        let known = self.known();
        let entry = known.rules.get(rule)?;
        let source = entry.source.as_ref();
        let text = source.and_then(|source| self.source(&source.file));
        let lines = source.zip(text).map(|(source, text)| excerpt(&text, source.line));
        Some(Deciding {
            object: entry.object.as_ref().map(ToString::to_string).unwrap_or_default(),
            field: entry.field.to_string(),
            name: entry.name.as_deref().map(str::to_owned),
            file: source.map(|source| source.file.to_string()),
            line: source.map(|source| source.line),
            lines: lines.unwrap_or_default(),
        })
    }

    fn budgets(&self) -> Vec<Budget> {
        budgets(&self.engine().status().nodes)
    }

    fn walk(&self, entry: &Entry) -> Option<Walk> {
        let known = self.known();
        let set = known.set.as_ref()?;
        // A node of a cluster has the policies of its own pods, and judges by none those of others.
        let nodes: Vec<Arc<str>> = match self.files.is_empty() {
            true => self.engine().status().nodes.iter().map(|node| Arc::clone(&node.node)).collect(),
            false => Vec::new(),
        };
        let is_here =
            |pod: &Pod| nodes.is_empty() || pod.node.as_ref().is_some_and(|node| nodes.contains(node));
        walk(set, is_here, entry)
    }
}

/// The document of YAML that has a line, and where it begins.
fn document(text: &str, line: u32) -> Option<(String, u32)> {
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    let lines: Vec<&str> = text.lines().collect();
    let is_end = |line: &&str| line.starts_with("---");
    let before = lines.get(..at)?.iter().rposition(is_end).map_or(0, |end| end + 1);
    let after = lines.iter().skip(at + 1).position(is_end).map_or(lines.len(), |end| at + 1 + end);
    let yaml = lines.get(before..after)?.join("\n") + "\n";
    Some((yaml, u32::try_from(before + 1).ok()?))
}

fn word(mode: impl serde::Serialize) -> String {
    serde_json::to_value(mode).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

fn counts(status: &Status) -> Counts {
    Counts {
        records: status.records.opened.saturating_add(status.records.denied),
        denied: status.records.denied,
        // The ledger says how much is open.
        findings: 0,
        incidents_open: 0,
    }
}

/// The parts of a node that see something.
fn sensors(node: &NodeStatus) -> Vec<Sensor> {
    let sensor = |role: &str, ready: bool, lost: u64, detail: String| Sensor {
        name: node.node.to_string(),
        role: role.to_owned(),
        ready,
        lost,
        detail,
    };
    let or = |problem: &Option<String>, detail: String| problem.clone().unwrap_or(detail);
    let kernel = or(&node.problem, format!("{}, {} addresses", node.backend, node.endpoints));
    let is_ready = node.problem.is_none() && node.enforced.is_some();
    let mut all = vec![sensor("kernel", is_ready, node.lost_events, kernel)];
    if let Some(dns) = &node.dns {
        let detail = or(&dns.problem, format!("{} answered, {} refused", dns.answered, dns.refused));
        all.push(sensor("dns", dns.problem.is_none(), dns.lost_records, detail));
    }
    if let Some(gateway) = &node.gateway {
        let detail = or(&gateway.problem, format!("{} passed, {} refused", gateway.passed, gateway.refused));
        all.push(sensor("gateway", gateway.problem.is_none(), gateway.lost_records, detail));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_what_is_between_its_marks() {
        let text = "a: 1\n---\nb: 2\nc: 3\n---\n# d\nd: 4\n";
        for (line, yaml, begins) in
            [(1, "a: 1\n", 1), (3, "b: 2\nc: 3\n", 3), (4, "b: 2\nc: 3\n", 3), (7, "# d\nd: 4\n", 6)]
        {
            assert_eq!(document(text, line), Some((yaml.to_owned(), begins)), "{line}");
        }
        assert_eq!((document(text, 0), document(text, 99)), (None, None));
    }
}
