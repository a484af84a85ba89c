//! Findings, as the journal keeps them: what detectors say of its records.

use detect::Severity;
use feed::access::{self, Found};
use observe::{Kept, Pattern, StoreCounts, Time};
use serde::{Deserialize, Serialize};

/// One finding. JSON: `sequence`, and the fields of [`detect::Finding`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// What is said.
    #[serde(flatten)]
    pub(crate) told: detect::Finding,
}

/// Filters; those that are absent hold for every finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FindingQuery {
    /// Matters at least so much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<Severity>,
    /// Of this detector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detector: Option<String>,
    /// Of whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Pattern>,
    /// What about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Pattern>,
    /// Last seen not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Time>,
    /// Begun not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Time>,
    /// At most so many, the newest ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// Those as well that policies suppress.
    pub(crate) suppressed: bool,
}

impl Finding {
    /// As a controller is told of it.
    pub(crate) fn found(&self) -> Found {
        let pod = self.told.pod.as_deref().and_then(|it| it.split_once('/'));
        let severity = match self.told.severity {
            Severity::Low => access::Severity::Low,
            Severity::Medium => access::Severity::Medium,
            Severity::High => access::Severity::High,
        };
        let pod = pod.map(|(namespace, name)| (namespace.into(), name.into()));
        Found { id: self.told.id.clone(), pod, severity }
    }
}

impl Kept for Finding {
    type Query = FindingQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        let told = &self.told;
        let suppressed = told.suppressed.as_ref().map_or(0, |it| it.policy.len() + it.reason.len());
        let known = [&told.node, &told.pod, &told.rule].into_iter().flatten().map(|text| text.len());
        size_of::<Self>()
            + told.id.len()
            + told.workload.len()
            + told.subject.len()
            + told.sentence.len()
            + size_of_val(&*told.numbers)
            + size_of_val(&*told.records)
            + size_of_val(&*told.techniques)
            + told.nodes.iter().map(|node| size_of_val(node) + node.len()).sum::<usize>()
            + suppressed
            + known.sum::<usize>()
    }

    fn count(&self, counts: &mut StoreCounts) {
        match self.told.suppressed {
            None => counts.opened += 1,
            Some(_) => counts.suppressed += 1,
        }
    }

    fn matches(&self, query: &FindingQuery) -> bool {
        let told = &self.told;
        (query.suppressed || told.suppressed.is_none())
            && query.severity.is_none_or(|least| told.severity >= least)
            && query.detector.as_ref().is_none_or(|detector| *detector == told.detector)
            && query.since.is_none_or(|since| told.until >= since)
            && query.until.is_none_or(|until| told.time <= until)
            && query.from.as_ref().is_none_or(|pattern| pattern.matches_text(&told.workload))
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(&told.subject))
    }

    fn limit(query: &FindingQuery) -> Option<usize> {
        query.limit
    }
}
