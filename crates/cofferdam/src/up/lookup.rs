//! The record of a DNS query, as the journal keeps it: what the proxy tells, and who asked.

use dns::{Query, Verdict};
use observe::{End, Kept, Pattern, StoreCounts, Time};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One query. JSON: `sequence`, `node`, `from` as in a flow, and the fields of [`dns::record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lookup {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// Whose proxy was asked.
    pub(crate) node: Arc<str>,
    /// Who asked; left out before there was any policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<End>,
    /// What the proxy tells.
    #[serde(flatten)]
    pub(crate) query: Query,
}

/// Filters; those that are absent hold for every record. `V` is what a record's verdict can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Filter<V> {
    /// How it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<V>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Pattern>,
    /// Part of the name, or a glob over all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Pattern>,
    /// Not older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Time>,
    /// Not younger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Time>,
    /// At most so many, the newest ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// Calls a tool by such a name; only requests do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<Pattern>,
}

impl<V> Default for Filter<V> {
    fn default() -> Self {
        Self { verdict: None, from: None, name: None, since: None, until: None, limit: None, tool: None }
    }
}

impl<V: PartialEq> Filter<V> {
    /// Whether verdict and time are meant.
    pub(crate) fn covers(&self, verdict: V, time: Time) -> bool {
        self.verdict.as_ref().is_none_or(|wanted| *wanted == verdict)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time <= until)
    }
}

/// Filters of DNS queries.
pub(crate) type LookupQuery = Filter<Verdict>;

impl Kept for Lookup {
    type Query = LookupQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        let aliases: usize = self.query.aliases.iter().map(|alias| size_of_val(alias) + alias.len()).sum();
        let rule = self.query.rule.as_ref().map_or(0, |rule| rule.len());
        size_of::<Self>() + self.query.name.len() + size_of_val(&*self.query.addresses) + aliases + rule
    }

    fn count(&self, counts: &mut StoreCounts) {
        match self.query.verdict {
            Verdict::Allow => counts.opened += 1,
            Verdict::Deny => counts.denied += 1,
            // Neither allowed nor denied: nobody could answer.
            Verdict::Fail => {}
        }
    }

    fn matches(&self, query: &LookupQuery) -> bool {
        let asked_by = |pattern: &Pattern| self.from.as_ref().is_some_and(|from| pattern.matches(from));
        query.covers(self.query.verdict, self.query.time)
            && query.tool.is_none()
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(&self.query.name))
            && query.from.as_ref().is_none_or(asked_by)
    }

    fn limit(query: &LookupQuery) -> Option<usize> {
        query.limit
    }
}
