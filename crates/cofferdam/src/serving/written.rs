//! A policy set in the words of the API: its policies and rules, the lines of a rule, and the way of an access through it.
//!
//! Enters: a set, and the files that it was read from. Leaves: shapes of the API. Guarantees: no file is read but those, whatever a
//! record or an object says. Does not: know what is in force; whoever has the set does.

use super::walk::walk;
use ::ledger::Entry;
use api::Manifest;
use api::excerpt::excerpt;
use api::shape::live::{Deciding, PolicyItem, RuleItem};
use api::shape::walk::Walk;
use policy::decide::selects;
use policy::{ClosedScope, Generation, ObjectRef, Pod, Policy, PolicySet, RuleEntry, RuleId, Tier};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is told of one set.
#[derive(Debug, Default)]
pub(crate) struct Written {
    items: Vec<PolicyItem>,
    /// By the ledger's word for a rule.
    rules: HashMap<String, RuleEntry>,
    sources: HashMap<ObjectRef, (String, u32)>,
    /// All of it, to judge by.
    set: Option<Arc<PolicySet>>,
}

impl Written {
    /// Of this set.
    pub(crate) fn of(set: Arc<PolicySet>) -> Self {
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
            items.push(PolicyItem { rules, ..written(&set, policy) });
        }
        let problems = closed(&set);
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
        Self { items, rules, sources, set: Some(set) }
    }

    /// Of the set; 0: there is none.
    pub(crate) fn generation(&self) -> Generation {
        self.set.as_ref().map_or(Generation(0), |set| set.generation)
    }

    /// All policies, without what they decided.
    pub(crate) fn policies(&self) -> (u64, Vec<PolicyItem>) {
        (self.generation().0, self.items.clone())
    }

    /// One object as it was written into one of these files and folders.
    pub(crate) fn manifest(&self, object: &ObjectRef, files: &[PathBuf]) -> Option<Manifest> {
        let (file, line) = self.sources.get(object)?;
        let (yaml, line) = document(&source(file, files)?, *line)?;
        Some(Manifest { yaml, file: file.clone(), line })
    }

    /// A rule by the ledger's word for it, with its lines where one of these files and folders has them.
    pub(crate) fn deciding(&self, rule: &str, files: &[PathBuf]) -> Option<Deciding> {
        let entry = self.rules.get(rule)?;
        let place = entry.source.as_ref();
        let text = place.and_then(|place| source(&place.file, files));
        let lines = place.zip(text).map(|(place, text)| excerpt(&text, place.line));
        Some(Deciding {
            object: entry.object.as_ref().map(ToString::to_string).unwrap_or_default(),
            field: entry.field.to_string(),
            name: entry.name.as_deref().map(str::to_owned),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            lines: lines.unwrap_or_default(),
        })
    }

    /// The way of an access through the tiers. `is_here`: whether all policies of a pod are in the set.
    pub(crate) fn walk(&self, is_here: impl Fn(&Pod) -> bool, entry: &Entry) -> Option<Walk> {
        walk(self.set.as_ref()?, is_here, entry)
    }
}

/// A file of policy's sources: never another one, whatever a record or an object says.
fn source(file: &str, files: &[PathBuf]) -> Option<String> {
    let path = fs::canonicalize(file).ok()?;
    let is_among = |source: &PathBuf| fs::canonicalize(source).is_ok_and(|source| path.starts_with(source));
    if !files.iter().any(is_among) {
        return None;
    }
    read(&path)
}

fn read(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    if !found.is_file() || found.len() > crds::MAX_BYTES as u64 {
        return None;
    }
    fs::read_to_string(path).ok()
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
        standing: None,
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
        standing: None,
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
