//! How each policy stands, in the words of its status.
//!
//! Enters: what is published, what the compiler said, how the nodes stand. Leaves: a [`Report`] for each policy.
//! Of a DetectionPolicy, which no kernel has, `Programmed` says which detectors and thresholds are in force and on how many nodes.
//! Guarantees: `Programmed` is true only when every node that needs the policy said that its kernel has it; a node that
//! is not there or has a problem is named. Does not: write anything anywhere.

use crate::kinds::Kind;
use crds::{Code, Diagnostic};
use feed::server::{Publication, Standing};
use feed::{Digest, Key};
use policy::detection::Tuned;
use policy::{Generation, Glob, PolicySet};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A policy of an API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Written {
    /// What it is.
    pub kind: Kind,
    /// Empty where it has none.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Of this object and no later one of the same name.
    pub uid: Arc<str>,
    /// How often its specification changed.
    pub generation: i64,
    /// A containment whose time is over: nothing of it is published.
    pub is_over: bool,
}

/// A DetectionPolicy that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Its name, in the namespace of what it says.
    pub name: Arc<str>,
    /// What it says.
    pub says: policy::detection::Tuning,
    /// Nodes with pods that it is about.
    pub nodes: BTreeSet<Arc<str>>,
}

/// One thing to know about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// `Accepted`, `Programmed`, `Shadowed`, `Conflicted` or `Degraded`.
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Condition {
    /// Whether somebody should look at it.
    pub(crate) fn is_bad(&self) -> bool {
        match self.kind {
            "Accepted" => !self.holds,
            // It takes its time.
            "Programmed" => false,
            _ => self.holds,
        }
    }

    /// As Kubernetes writes conditions.
    pub(crate) fn json(&self, observed: i64, since: &str) -> Value {
        json!({
            "type": self.kind, "status": if self.holds { "True" } else { "False" }, "reason": self.reason,
            "message": self.message, "observedGeneration": observed, "lastTransitionTime": since,
        })
    }
}

/// How a policy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) needed: usize,
    pub(crate) enforced: usize,
    /// State of policy that first held it as it is.
    pub(crate) since: Generation,
    pub(crate) conditions: Vec<Condition>,
}

impl Tuning {
    /// Those of a policy set; `names` are those of the DetectionPolicies that it was made of, by namespace and name, as they
    /// are sorted.
    pub(crate) fn all(set: &PolicySet, names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Vec<Self> {
        let named =
            set.detection.iter().zip(names).filter(|(says, (namespace, _))| says.namespace == *namespace);
        let on = |says: &policy::detection::Tuning| {
            let pods = set.world.pods.iter();
            let meant = pods.filter(|pod| says.holds_for(&pod.namespace, &pod.labels));
            meant.filter_map(|pod| pod.node.clone()).collect()
        };
        named.map(|(says, (_, name))| Self { name, says: says.clone(), nodes: on(says) }).collect()
    }
}

/// Why a containment is not in force any more.
const OVER: &str = "Over";

impl Report {
    /// A containment's status in one word.
    pub(crate) fn phase(&self) -> &'static str {
        match self.conditions.iter().find(|it| it.kind == "Programmed") {
            Some(programmed) if programmed.reason == OVER => "Over",
            Some(programmed) if programmed.holds => "InForce",
            Some(_) | None => "Pending",
        }
    }
}

/// Kind, namespace and name.
type Name = (Arc<str>, Arc<str>, Arc<str>);

/// Remembers since when each policy is as it is.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    since: HashMap<Name, (Vec<Digest>, Generation)>,
    /// The same of DetectionPolicies, by namespace and name: they are no parts of policy.
    tuned: HashMap<(Arc<str>, Arc<str>), (Tuning, Generation)>,
}

/// Nodes that need a policy.
#[derive(Default)]
struct Spread<'a> {
    needed: usize,
    enforced: usize,
    /// A node that does not enforce it, and why.
    waits_for: Option<(&'a str, &'a str)>,
    /// A node that enforces it and is not well.
    unwell: Option<(&'a str, &'a str)>,
    /// A node where a pod may send packets before it is enforced for that pod.
    late: Option<&'a str>,
}

impl Reporter {
    /// Reports on every policy.
    pub(crate) fn reports(
        &mut self,
        current: &Publication,
        (written, tunings): (&[Written], &[Tuning]),
        diagnostics: &[Diagnostic],
        standings: &BTreeMap<Arc<str>, Standing>,
    ) -> BTreeMap<Written, Report> {
        self.note(current, tunings);
        let spreads = self.spreads(current, standings);
        let mut said: HashMap<Name, Vec<&Diagnostic>> = HashMap::new();
        for diagnostic in diagnostics {
            let Some(object) = &diagnostic.object else { continue };
            let name = (object.kind.clone(), object.namespace.clone(), object.name.clone());
            said.entry(name).or_default().push(diagnostic);
        }
        let nowhere = Spread::default();
        let report = |policy: &Written| {
            let kind: Arc<str> = policy.kind.resource().kind.into();
            let name = (kind, policy.namespace.clone(), policy.name.clone());
            let spread = spreads.get(&name).unwrap_or(&nowhere);
            let since = self.since.get(&name).map_or(current.generation, |(_, since)| *since);
            let said = said.get(&name).map(Vec::as_slice).unwrap_or_default();
            if policy.kind == Kind::DetectionPolicy {
                return self.detection(policy, current, said, standings);
            }
            let conditions = if policy.kind == Kind::IdentitySlice {
                vec![known(said)]
            } else if policy.is_over {
                over()
            } else {
                conditions(spread, since, said)
            };
            Report { needed: spread.needed, enforced: spread.enforced, since, conditions }
        };
        written.iter().map(|policy| (policy.clone(), report(policy))).collect()
    }

    /// Of a DetectionPolicy.
    fn detection(
        &self,
        policy: &Written,
        current: &Publication,
        said: &[&Diagnostic],
        standings: &BTreeMap<Arc<str>, Standing>,
    ) -> Report {
        let found = self.tuned.get(&(policy.namespace.clone(), policy.name.clone()));
        let mut spread = Spread::default();
        let since = found.map_or(current.generation, |(_, since)| *since);
        let nodes = found.iter().flat_map(|(tuning, _)| &tuning.nodes);
        for node in nodes {
            spread.add(node, standings.get(node), since);
        }
        let conditions = tuning_conditions(&spread, found.map(|(tuning, _)| tuning), since, said);
        Report { needed: spread.needed, enforced: spread.enforced, since, conditions }
    }

    fn note(&mut self, current: &Publication, tunings: &[Tuning]) {
        let before = std::mem::take(&mut self.tuned);
        let kept = |tuning: &Tuning| {
            let name = (tuning.says.namespace.clone(), tuning.name.clone());
            // Where its pods are is no change of what it says.
            let same = before.get(&name).filter(|(held, _)| held.says == tuning.says);
            let since = same.map_or(current.generation, |(_, since)| *since);
            (name, (tuning.clone(), since))
        };
        self.tuned = tunings.iter().map(kept).collect();
        let mut now: HashMap<Name, Vec<Digest>> = HashMap::new();
        for encoded in current.parts.resources.values() {
            if let Some(name) = policy_of(&encoded.key) {
                now.entry(name).or_default().push(encoded.digest);
            }
        }
        let before = std::mem::take(&mut self.since);
        self.since = now
            .into_iter()
            .map(|(name, mut digests)| {
                digests.sort_unstable();
                let same = before.get(&name).filter(|(held, _)| *held == digests);
                let since = same.map_or(current.generation, |(_, since)| *since);
                (name, (digests, since))
            })
            .collect();
    }

    fn spreads<'a>(
        &self,
        current: &'a Publication,
        standings: &'a BTreeMap<Arc<str>, Standing>,
    ) -> HashMap<Name, Spread<'a>> {
        let mut spreads: HashMap<Name, Spread<'a>> = HashMap::new();
        let nodes = current.parts.resources.values().filter(|it| it.key.kind == feed::Kind::Node);
        // In one order each time: a status that names now one node and now another would be written again and again.
        let nodes: BTreeSet<&Arc<str>> = nodes.map(|encoded| &encoded.key.name).collect();
        for node in nodes {
            let standing = standings.get(node);
            let mut needed: Vec<Name> =
                current.needs.policies_of(node).into_iter().filter_map(policy_of).collect();
            // A policy that could not be read may be several closed scopes.
            needed.dedup();
            for name in needed {
                let since = self.since.get(&name).map(|(_, since)| *since);
                let spread = spreads.entry(name).or_default();
                spread.add(node, standing, since.unwrap_or(current.generation));
            }
        }
        spreads
    }
}

fn policy_of(key: &Key) -> Option<Name> {
    match key.kind {
        feed::Kind::Policy | feed::Kind::Closed => {
            Some((key.object_kind.clone(), key.namespace.clone(), key.name.clone()))
        }
        feed::Kind::Namespace | feed::Kind::Node | feed::Kind::Pod => None,
    }
}

impl<'a> Spread<'a> {
    fn add(&mut self, node: &'a str, standing: Option<&'a Standing>, since: Generation) {
        self.needed += 1;
        let is_enforced = standing.is_some_and(|it| it.enforced.is_some_and(|enforced| enforced >= since));
        let why = match standing {
            None => "no agent has connected from it",
            Some(standing) if !standing.problem.is_empty() => &standing.problem,
            Some(standing) if standing.connections == 0 => "its agent is cut off; what it had stays in force",
            Some(_) => "",
        };
        if !is_enforced {
            self.waits_for.get_or_insert((node, why));
            return;
        }
        self.enforced += 1;
        if standing.is_some_and(|standing| !standing.holds_pods) {
            self.late.get_or_insert(node);
        }
        if !why.is_empty() {
            self.unwell.get_or_insert((node, why));
        }
    }
}

/// Of a containment whose time is over.
fn over() -> Vec<Condition> {
    let programmed = Condition {
        kind: "Programmed",
        holds: false,
        reason: OVER,
        message: "its time is over: it is not in force any more".to_owned(),
    };
    let accepted = Condition {
        kind: "Accepted",
        holds: true,
        reason: "Valid",
        message: "it was enforced as written".to_owned(),
    };
    vec![accepted, programmed]
}

/// Of a DetectionPolicy: whether it was understood, and what of it holds where.
fn tuning_conditions(
    spread: &Spread<'_>,
    tuning: Option<&Tuning>,
    since: Generation,
    said: &[&Diagnostic],
) -> Vec<Condition> {
    let condition = |kind, holds, reason, message| Condition { kind, holds, reason, message };
    let errors: Vec<_> = said.iter().filter(|it| it.is_error()).collect();
    let wrong = errors.first().map(|first| format!("{}{}", whole(first), more(errors.len())));
    let (Some(tuning), None) = (tuning, &wrong) else {
        let why = wrong.unwrap_or_else(|| "it is not published yet".to_owned());
        let message = format!("nothing of it is in force, so that all is told: {why}");
        return vec![
            condition(
                "Accepted",
                errors.is_empty(),
                if errors.is_empty() { "Valid" } else { "Invalid" },
                message,
            ),
            condition("Programmed", false, "NotApplied", "detectors tell as if it were not there".to_owned()),
        ];
    };
    let accepted = condition("Accepted", true, "Valid", "in force as written".to_owned());
    let (enforced, needed, what) = (spread.enforced, spread.needed, in_force(tuning));
    let programmed = match &spread.waits_for {
        None if needed == 0 => {
            condition("Programmed", true, "NoNodes", format!("{what}; no node has pods that it is about"))
        }
        None => {
            let message = format!("{what}; on all {needed} nodes that need it, since generation {since}");
            condition("Programmed", true, "Programmed", message)
        }
        Some((node, why)) => {
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            let message = format!("{what}; on {enforced} of {needed} nodes; waits for {node}{why}");
            condition("Programmed", false, "Pending", message)
        }
    };
    vec![accepted, programmed]
}

/// The field, what is wrong with it, and the way out.
fn whole(diagnostic: &Diagnostic) -> String {
    let Diagnostic { field, message, suggestion, .. } = diagnostic;
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let way = suggestion.as_ref().map(|way| format!(" ({way})")).unwrap_or_default();
    format!("{field}{message}{way}")
}

/// Which detectors are told of when, in words.
fn in_force(tuning: &Tuning) -> String {
    /// Detectors that are named; a message is read in a column.
    const NAMED: usize = 8;
    let of = |tuned: &Tuned| {
        let percent = tuned.threshold_percent.map(|percent| format!("from {percent}% of its threshold"));
        // What is switched off is suppressed whatever it is about.
        let all = tuned.suppress.iter().filter(|it| it.subject == Glob::new("**") && it.until.is_none());
        let off = (all.count() > 0).then(|| "not shown".to_owned());
        let some = tuned.suppress.len();
        let some = (off.is_none() && some > 0).then(|| format!("{some} suppressions"));
        let parts: Vec<String> = [off, percent, some].into_iter().flatten().collect();
        format!("{} {}", tuned.detector, parts.join(" and "))
    };
    let named: Vec<String> = tuning.says.detectors.iter().take(NAMED).map(of).collect();
    let rest = tuning.says.detectors.len().saturating_sub(NAMED);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{rest}", named.join(", "))
}

/// Whether pods of another cluster are believed.
fn known(said: &[&Diagnostic]) -> Condition {
    let errors: Vec<_> = said.iter().filter(|it| it.is_error()).collect();
    let (holds, reason, message) = match errors.first() {
        None => (true, "Valid", "rules of own kinds that name the cluster mean its pods".to_owned()),
        Some(first) => {
            let reason = if first.code == Code::OverlappingAddress {
                "OverlappingAddress"
            } else if first.code == Code::LimitExceeded {
                "TooManyPods"
            } else {
                "Invalid"
            };
            (false, reason, format!("{}{}", first.message, more(errors.len())))
        }
    };
    Condition { kind: "Accepted", holds, reason, message }
}

fn conditions(spread: &Spread<'_>, since: Generation, said: &[&Diagnostic]) -> Vec<Condition> {
    let condition = |kind, holds, reason, message| Condition { kind, holds, reason, message };
    let errors: Vec<_> = said.iter().filter(|it| it.is_error()).collect();
    let mut conditions = vec![match errors.first() {
        None => condition("Accepted", true, "Valid", "enforced as written".to_owned()),
        Some(first) => condition(
            "Accepted",
            false,
            "Invalid",
            format!("what it may select is closed: {}{}", first.message, more(errors.len())),
        ),
    }];
    let (enforced, needed) = (spread.enforced, spread.needed);
    conditions.push(match &spread.waits_for {
        None if needed == 0 => {
            condition("Programmed", true, "NoNodes", "no node has pods that it is about".to_owned())
        }
        None => {
            let late = spread.late.map_or_else(String::new, |node| {
                format!("; a new pod's first packets may precede it (on {node} for one: neither guard nor CNI plugin)")
            });
            let message = format!("on all {needed} nodes that need it, since generation {since}{late}");
            condition("Programmed", true, "Programmed", message)
        }
        Some((node, why)) => {
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            let message = format!("on {enforced} of {needed} nodes; waits for {node}{why}");
            condition("Programmed", false, "Pending", message)
        }
    });
    for (kind, code) in [("Shadowed", Code::ShadowedRule), ("Conflicted", Code::EqualPriority)] {
        let found: Vec<_> = said.iter().filter(|it| it.code == code).collect();
        if let Some(first) = found.first() {
            let field = if first.field.is_empty() { String::new() } else { format!("{}: ", first.field) };
            let message = format!("{field}{}{}", first.message, more(found.len()));
            let reason = if code == Code::ShadowedRule { "ShadowedRule" } else { "EqualPriority" };
            conditions.push(condition(kind, true, reason, message));
        }
    }
    if let Some((node, why)) = spread.unwell.or(spread.waits_for.filter(|(_, why)| !why.is_empty())) {
        conditions.push(condition("Degraded", true, "NodeProblem", format!("node {node}: {why}")));
    }
    conditions
}

pub(crate) fn more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use crate::share::Shares;
    use crds::Severity;
    use feed::Parts;

    const OBJECTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-a}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-b}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop}, spec: {nodeName: node-a}, status: {podIP: 10.0.0.1}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: db, namespace: shop}, spec: {podSelector: {}}}
";

    #[test]
    fn a_slice_says_in_one_word_why_its_pods_are_not_known() {
        for (code, reason) in [
            (Code::LimitExceeded, "TooManyPods"),
            (Code::OverlappingAddress, "OverlappingAddress"),
            (Code::InvalidValue, "Invalid"),
        ] {
            let said = Diagnostic::error(code, "x");
            let condition = known(&[&said]);
            assert_eq!((condition.holds, condition.reason, condition.message.as_str()), (false, reason, "x"));
        }
        assert!(known(&[]).holds);
    }

    fn publication(generation: u64) -> Publication {
        publication_of(OBJECTS, generation)
    }

    fn publication_of(objects: &str, generation: u64) -> Publication {
        let objects = crds::read_objects("x", objects.as_bytes()).objects;
        let set = compiler::compile_unlinted(objects, Generation(generation));
        let set = Arc::new(set.set);
        let parts = Arc::new(Parts::new(&set, None));
        let needs = Box::new(Shares::new(set, Arc::clone(&parts), BTreeMap::default()));
        let (revisions, reached) = Default::default();
        Publication { generation: Generation(generation), revisions, reached, parts, needs }
    }

    fn policy() -> Written {
        let (namespace, name) = ("shop".into(), "db".into());
        Written { kind: Kind::NetworkPolicy, namespace, name, uid: "1".into(), generation: 3, is_over: false }
    }

    /// Conditions as text, of the policy after these standings of its node.
    fn said(
        reporter: &mut Reporter,
        at: u64,
        standing: Option<Standing>,
        findings: &[Diagnostic],
    ) -> Vec<String> {
        let standings = standing.into_iter().map(|it| ("node-a".into(), it)).collect();
        let reports = reporter.reports(&publication(at), (&[policy()], &[]), findings, &standings);
        let text = |it: &Condition| format!("{} {} {}", it.kind, it.holds, it.message);
        reports.get(&policy()).unwrap().conditions.iter().map(text).collect()
    }

    #[test]
    fn a_policy_is_programmed_when_the_nodes_that_need_it_say_so() {
        let mut reporter = Reporter::default();
        let enforces = |generation: u64| Standing {
            enforced: Some(Generation(generation)),
            holds_pods: true,
            connections: 1,
            ..Standing::default()
        };
        let nobody = said(&mut reporter, 5, None, &[]);
        assert!(
            nobody.contains(
                &"Programmed false on 0 of 1 nodes; waits for node-a (no agent has connected from it)"
                    .to_owned()
            ),
            "{nobody:?}"
        );
        let older = said(&mut reporter, 5, Some(enforces(4)), &[]);
        assert!(
            older.contains(&"Programmed false on 0 of 1 nodes; waits for node-a".to_owned()),
            "{older:?}"
        );
        // What changed since is not this policy.
        let there = said(&mut reporter, 9, Some(enforces(5)), &[]);
        let programmed = "Programmed true on all 1 nodes that need it, since generation 5";
        assert_eq!(there, ["Accepted true enforced as written", programmed]);
        let late = said(&mut reporter, 9, Some(Standing { holds_pods: false, ..enforces(5) }), &[]);
        let first_packets =
            "; a new pod's first packets may precede it (on node-a for one: neither guard nor CNI plugin)";
        assert_eq!(late[1], format!("{programmed}{first_packets}"));
        let cut_off = said(&mut reporter, 9, Some(Standing { connections: 0, ..enforces(5) }), &[]);
        assert!(
            cut_off.iter().any(|it| it.starts_with("Degraded true node node-a: its agent is cut off")),
            "{cut_off:?}"
        );
    }

    const TUNED: &str = "
---
{apiVersion: cofferdam.dev/v1alpha1, kind: DetectionPolicy, metadata: {name: sweeps, namespace: shop}, spec: {podSelector: {}, detectors: [
  {name: beacon, enabled: false, reason: polls}, {name: port-scan, thresholdPercent: 200, suppress: [{subject: 'a*', reason: ours}]}]}}
";

    /// As the store tells them.
    fn tunings(objects: &str) -> Vec<Tuning> {
        let objects = crds::read_objects("x", objects.as_bytes()).objects;
        let set = compiler::compile_unlinted(objects, Generation(1)).set;
        Tuning::all(&set, [("shop".into(), "sweeps".into())])
    }

    #[test]
    fn a_detection_policy_says_what_is_in_force_and_on_how_many_nodes() {
        let policy = Written { kind: Kind::DetectionPolicy, name: "sweeps".into(), ..policy() };
        let mut reporter = Reporter::default();
        let mut said = |at, objects: &str, enforced: Option<u64>, findings: &[Diagnostic]| {
            let standing = enforced.map(|generation| Standing {
                enforced: Some(Generation(generation)),
                connections: 1,
                ..Standing::default()
            });
            let standings = standing.into_iter().map(|it| ("node-a".into(), it)).collect();
            let current = publication_of(objects, at);
            let tunings = tunings(objects);
            let reports =
                reporter.reports(&current, (std::slice::from_ref(&policy), &tunings), findings, &standings);
            let text = |it: &Condition| format!("{} {} {}", it.kind, it.holds, it.message);
            reports[&policy].conditions.iter().map(text).collect::<Vec<_>>()
        };
        let objects = format!("{OBJECTS}{TUNED}");
        let what = "beacon not shown, port-scan from 200% of its threshold and 1 suppressions";
        assert_eq!(
            said(5, &objects, None, &[]),
            [
                "Accepted true in force as written".to_owned(),
                format!(
                    "Programmed false {what}; on 0 of 1 nodes; waits for node-a (no agent has connected from it)"
                ),
            ]
        );
        let there = format!("Programmed true {what}; on all 1 nodes that need it, since generation 5");
        assert_eq!(said(7, &objects, Some(5), &[])[1], there, "what changed since is not this policy");
        let elsewhere =
            objects.replace("podSelector: {}, detectors", "podSelector: {matchLabels: {a: b}}, detectors");
        assert_eq!(
            said(8, &elsewhere, Some(8), &[])[1],
            format!("Programmed true {what}; no node has pods that it is about")
        );
        let broken = objects.replace("thresholdPercent: 200", "thresholdPercent: 5");
        let wrong = crds::read_objects("x", broken.as_bytes()).diagnostics;
        let told = said(9, &broken, Some(9), &wrong);
        assert!(told[0].starts_with("Accepted false nothing of it is in force, so that all is told: spec.detectors[1].thresholdPercent: 5 is not"), "{told:?}");
        assert_eq!(told[1], "Programmed false detectors tell as if it were not there");
    }

    #[test]
    fn what_is_over_is_in_force_nowhere() {
        let mut reporter = Reporter::default();
        let current = publication_of(OBJECTS, 5);
        for (is_over, phase, programmed) in [(true, "Over", false), (false, "Pending", false)] {
            let policy = Written { is_over, ..policy() };
            let reports =
                reporter.reports(&current, (std::slice::from_ref(&policy), &[]), &[], &BTreeMap::new());
            let report = &reports[&policy];
            assert_eq!(report.phase(), phase);
            let found = report.conditions.iter().find(|it| it.kind == "Programmed").unwrap();
            assert_eq!((found.holds, found.reason == OVER), (programmed, is_over));
        }
    }

    #[test]
    fn a_report_stays_the_same_while_nothing_changes() {
        let mut objects = OBJECTS.to_owned();
        for number in 0..40 {
            objects += &format!(
                "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}, namespace: shop}}, spec: {{nodeName: n{number}}}}}\n"
            );
        }
        let mut reporter = Reporter::default();
        let mut report = |at| {
            let current = publication_of(&objects, at);
            reporter.reports(&current, (&[policy()], &[]), &[], &BTreeMap::new()).remove(&policy()).unwrap()
        };
        let first = report(5);
        assert_eq!((first.needed, first.enforced), (41, 0));
        for at in 6..20 {
            assert_eq!(report(at), first);
        }
    }

    #[test]
    fn what_the_compiler_says_of_a_policy_is_in_its_conditions() {
        let object =
            crds::ObjectName { kind: "NetworkPolicy".into(), namespace: "shop".into(), name: "db".into() };
        let about = |severity, code| Diagnostic {
            severity,
            code,
            object: Some(object.clone()),
            field: "spec".to_owned(),
            position: None,
            message: "is odd".to_owned(),
            suggestion: None,
        };
        let found = [about(Severity::Warning, Code::ShadowedRule), about(Severity::Error, Code::InvalidCidr)];
        let said = said(&mut Reporter::default(), 5, None, &found);
        assert!(said.contains(&"Shadowed true spec: is odd".to_owned()), "{said:?}");
        assert!(said.contains(&"Accepted false what it may select is closed: is odd".to_owned()), "{said:?}");
    }
}
