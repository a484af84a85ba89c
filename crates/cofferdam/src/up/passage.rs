//! The records of the gateway, as the journal keeps them: connections that were held to their name.

use super::lookup::Filter;
use observe::{End, Kept, Pattern, StoreCounts};
use policy::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One connection. JSON: `sequence`, `node`, `from` as in a flow, and the fields of [`gateway::record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// Whose gateway it went through.
    pub(crate) node: Arc<str>,
    /// Who opened it; left out before there was any policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<End>,
    /// What the gateway tells.
    #[serde(flatten)]
    pub(crate) record: gateway::Record,
}

impl Passage {
    /// Whom it was for: the name that it said, else what the explicit proxy was asked for, else where it went.
    pub(crate) fn whom(&self) -> String {
        let record = &self.record;
        let asked = || Some(self.asked()?.rsplit_once(':')?.0.to_owned());
        record.claim.name.clone().or_else(asked).unwrap_or_else(|| record.destination.ip().to_string())
    }

    /// What the explicit proxy was asked for, where it could be read.
    pub(crate) fn asked(&self) -> Option<&str> {
        let explicit = self.record.explicit.as_deref()?;
        Some(explicit.asked.as_str()).filter(|asked| !asked.is_empty())
    }
}

/// Filters of connections.
pub(crate) type PassageQuery = Filter<Verdict>;

impl Kept for Passage {
    type Query = PassageQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        let claim = &self.record.claim;
        let texts = [&claim.name, &claim.method, &claim.flaw].into_iter().flatten().chain(&claim.alpn);
        let rules = [&self.record.rule, &self.record.nearest].into_iter().flatten();
        let explicit = self
            .record
            .explicit
            .as_deref()
            .map_or(0, |it| size_of_val(it) + it.method.len() + it.asked.len() + it.request_id.len());
        size_of::<Self>()
            + texts.map(String::len).sum::<usize>()
            + rules.map(|rule| rule.len()).sum::<usize>()
            + explicit
    }

    fn count(&self, counts: &mut StoreCounts) {
        match self.record.verdict {
            Verdict::Allow => counts.opened += 1,
            Verdict::Deny => counts.denied += 1,
        }
    }

    fn matches(&self, query: &PassageQuery) -> bool {
        let opened_by = |pattern: &Pattern| self.from.as_ref().is_some_and(|from| pattern.matches(from));
        query.covers(self.record.verdict, self.record.time)
            && query.tool.is_none()
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(&self.whom()))
            && query.from.as_ref().is_none_or(opened_by)
    }

    fn limit(query: &PassageQuery) -> Option<usize> {
        query.limit
    }
}
