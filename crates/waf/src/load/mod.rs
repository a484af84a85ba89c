//! Files to a rule set: every directive understood, or the place and the way out.
//!
//! Enters: rule files in their order and the data files that they name. Leaves: rules in their phases, exclusions
//! applied, what they share (the scanner of literals) built. Guarantees: nothing is skipped; a set loads whole or not.

mod actions;
mod control;
mod directive;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{LoadError, LoadErrors};
use crate::options::Options;
use crate::rule::{Ctl, Disruptive, Engine, Late, Phase, Rule, Skip, Which};
use crate::scanner::Scanner;
use crate::seclang::targets::{Mode, Target};
use crate::seclang::words;
use crate::transform::Transformation;
use crate::variable::Variable;

/// Most rules of a set.
pub const MAX_RULES: usize = 50_000;

/// Files of a rule set, each a name (for errors and `@pmFromFile`) and its bytes.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Rules, in the order in which they are read.
    pub rules: Vec<(String, Vec<u8>)>,
    /// What rules name: lists of phrases and addresses, code pages.
    pub data: Vec<(String, Vec<u8>)>,
}

/// Rules ready to judge: immutable, and cheap to share.
#[derive(Debug, Clone)]
pub struct RuleSet {
    pub(crate) inner: Arc<Compiled>,
}

/// Everything that a transaction needs of its rules.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rules: Vec<Rule>,
    /// Numbers of the rules of each phase, in order.
    pub(crate) phases: [Vec<usize>; 5],
    /// Of the request's phases, and of the answer's.
    pub(crate) scanners: [Scanner; 2],
    pub(crate) options: Options,
    /// Variables that rules look at.
    used: Vec<bool>,
    /// How many lists of transformations there are.
    pub(crate) pipelines: usize,
    /// How many lists of targets there are.
    pub(crate) gathers: usize,
}

impl Compiled {
    /// Whether any rule looks at a variable.
    pub(crate) fn uses(&self, variable: Variable) -> bool {
        self.used.get(variable as usize).copied().unwrap_or(false)
    }
}

impl RuleSet {
    /// Reads rules and makes them ready.
    ///
    /// # Errors
    /// All faults, each with its file and line; then nothing is loaded.
    pub fn load(files: &Files) -> Result<Self, LoadErrors> {
        let mut loader = Loader::new(files);
        for (name, bytes) in &files.rules {
            loader.file(name, bytes);
        }
        let inner = Arc::new(loader.finish()?);
        Ok(Self { inner })
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.inner.rules.len()
    }

    /// Whether the rules act, only report, or do not run.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.inner.options.engine
    }
}

/// What rules of a phase have unless they say something else.
#[derive(Debug, Clone, Default)]
struct Defaults {
    disruptive: Option<Disruptive>,
    status: Option<u16>,
    log: Option<bool>,
    audit: Option<bool>,
    steps: Vec<Transformation>,
}

struct Loader<'f> {
    files: &'f Files,
    rules: Vec<Rule>,
    /// Names of markers, each with how many rules stand before it.
    markers: Vec<(String, usize)>,
    defaults: BTreeMap<Phase, Defaults>,
    options: Options,
    removed: Vec<Which>,
    retargeted: Vec<(Which, Vec<Target>)>,
    ids: BTreeMap<u64, (Arc<str>, usize)>,
    /// Whether the last rule waits for the next link of its chain.
    open_chain: bool,
    /// Whether a link of the open chain has a fault, so that the chain is no rule.
    broken_chain: bool,
    errors: LoadErrors,
    file: Arc<str>,
    line: usize,
}

impl<'f> Loader<'f> {
    fn new(files: &'f Files) -> Self {
        Self {
            files,
            rules: Vec::new(),
            markers: Vec::new(),
            defaults: BTreeMap::new(),
            options: Options::default(),
            removed: Vec::new(),
            retargeted: Vec::new(),
            ids: BTreeMap::new(),
            open_chain: false,
            broken_chain: false,
            errors: LoadErrors::default(),
            file: Arc::from(""),
            line: 0,
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) {
        self.file = Arc::from(name);
        for found in words::directives(name, bytes, &mut self.errors) {
            self.line = found.line;
            if let Err(what) = self.directive(&found.name, &found.words) {
                self.fail(what);
            }
        }
        self.broken_chain = false;
        if std::mem::take(&mut self.open_chain) {
            self.fail("the file ends within a chain; write its last rule, or take `chain` away".to_owned());
        }
    }

    fn fail(&mut self, what: String) {
        self.errors.push(LoadError { file: self.file.to_string(), line: self.line, what });
    }

    fn fail_at(&mut self, rule: &Rule, what: String) {
        self.errors.push(LoadError { file: rule.facts.file.to_string(), line: rule.facts.line, what });
    }

    fn data(&self, name: &str) -> Option<&'f [u8]> {
        self.files.data.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.as_slice())
    }

    fn finish(mut self) -> Result<Compiled, LoadErrors> {
        for (which, targets) in std::mem::take(&mut self.retargeted) {
            for rule in self.rules.iter_mut().filter(|rule| which.has(&rule.facts)) {
                let Some(link) = rule.links.first_mut() else { continue };
                for target in &targets {
                    match target.mode {
                        Mode::Exclude => link.exclusions.push(target.clone()),
                        Mode::Inspect | Mode::Count => link.targets.push(target.clone()),
                    }
                }
            }
        }
        let removed = std::mem::take(&mut self.removed);
        let mut kept = Vec::new();
        // Where each rule went, so that markers and skips find their place among those that are left.
        let mut position = Vec::with_capacity(self.rules.len() + 1);
        for rule in std::mem::take(&mut self.rules) {
            position.push(kept.len());
            if !removed.iter().any(|which| which.has(&rule.facts)) {
                kept.push(rule);
            }
        }
        position.push(kept.len());
        for marker in &mut self.markers {
            marker.1 = position.get(marker.1).copied().unwrap_or(kept.len());
        }
        let phases = Phase::ALL.map(|phase| {
            let numbered = kept.iter().enumerate();
            numbered
                .filter(|(_, rule)| rule.facts.phase == phase)
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        });
        self.link_skips(&mut kept, &phases);
        let mut pipelines: BTreeMap<Vec<Transformation>, usize> = BTreeMap::new();
        for link in kept.iter_mut().flat_map(|rule| &mut rule.links) {
            let next = pipelines.len();
            link.pipeline = *pipelines.entry(link.steps.clone()).or_insert(next);
        }
        let gathers = number_targets(&mut kept);
        let all: Vec<_> = kept.iter().map(|rule| Arc::clone(&rule.facts)).collect();
        for late in kept.iter_mut().flat_map(|rule| &mut rule.links).flat_map(|link| &mut link.late) {
            if let Late::Ctl(Ctl::Remove(chosen) | Ctl::RemoveTarget(chosen, _)) = late {
                chosen.find(&all);
            }
        }
        let scanners = [
            Scanner::build(&mut kept, |phase| phase <= Phase::RequestBody),
            Scanner::build(&mut kept, |phase| phase > Phase::RequestBody),
        ];
        let [request, response] = scanners;
        let scanners = match (request, response) {
            (Ok(request), Ok(response)) => [request, response],
            (Err(what), _) | (_, Err(what)) => {
                self.fail(what);
                return Err(self.errors);
            }
        };
        self.errors.into_result()?;
        let mut used = vec![false; Variable::ALL.len()];
        for target in kept.iter().flat_map(|rule| &rule.links).flat_map(|link| &link.targets) {
            if let Some(slot) = used.get_mut(target.variable as usize) {
                *slot = true;
            }
        }
        Ok(Compiled {
            rules: kept,
            phases,
            scanners,
            options: self.options,
            used,
            pipelines: pipelines.len(),
            gathers,
        })
    }

    /// Turns `skipAfter` and `skip` into positions in the rules of a phase.
    fn link_skips(&mut self, rules: &mut [Rule], phases: &[Vec<usize>; 5]) {
        let ids: Vec<u64> = rules.iter().map(|rule| rule.facts.id).collect();
        for number in 0..rules.len() {
            let Some(rule) = rules.get(number) else { continue };
            let Some(skip) = rule.skip.clone() else { continue };
            let empty = Vec::new();
            let of_phase = phases.get(rule.facts.phase.index()).unwrap_or(&empty);
            let own = of_phase.partition_point(|other| *other <= number);
            let target = match &skip {
                Skip::Rules(count) => Some((own + count).min(of_phase.len())),
                Skip::After(name) => {
                    let marker = self.markers.iter().filter(|(known, _)| known == name).map(|(_, at)| *at);
                    let by_id =
                        name.parse::<u64>().ok().and_then(|id| ids.iter().position(|known| *known == id));
                    let target = marker.chain(by_id.map(|at| at + 1)).filter(|at| *at > number).min();
                    target.map(|at| of_phase.partition_point(|other| *other < at))
                }
            };
            match (target, &skip) {
                (None, Skip::After(name)) => {
                    let rule = rule.clone();
                    self.fail_at(
                        &rule,
                        format!(
                            "skipAfter:{name} has no SecMarker {name} behind it; add one, or mend the name"
                        ),
                    );
                }
                _ => {
                    if let Some(rule) = rules.get_mut(number) {
                        rule.skip_to = target;
                    }
                }
            }
        }
    }
}

/// Numbers lists of targets, equal ones alike, and says how many there are.
fn number_targets(rules: &mut [Rule]) -> usize {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for rule in rules {
        let injection = rule.injection;
        for link in &mut rule.links {
            if link.targets.iter().any(|target| target.variable.changes_while_rules_run()) {
                continue;
            }
            let next = known.len();
            // Targets are equal when they are written alike, patterns included.
            let written = format!("{injection} {:?} {:?}", link.targets, link.exclusions);
            link.gather = Some(*known.entry(written).or_insert(next));
        }
    }
    known.len()
}
