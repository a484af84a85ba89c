//! The records of requests that the gateway judged, and what rules had kept of them, as the journal keeps both.

use super::lookup::Filter;
use observe::{End, Kept, Pattern, StoreCounts};
use policy::Verdict;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One request. JSON: `sequence`, `node`, `from` as in a flow, and the fields of [`gateway::Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiCall {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// Whose gateway it went through.
    pub(crate) node: Arc<str>,
    /// Who sent it; left out before there was any policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<End>,
    /// What the gateway tells.
    #[serde(flatten)]
    pub(crate) call: gateway::Call,
}

/// Filters of requests.
pub(crate) type ApiCallQuery = Filter<Verdict>;

impl Kept for ApiCall {
    type Query = ApiCallQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        let gateway::Call { request_id, method, path, operation, rule, nearest, answers, injected, .. } =
            &self.call;
        let digests = [&self.call.request_sha256, &self.call.answer_sha256].into_iter().flatten();
        let rules = [rule, nearest].into_iter().flatten().map(|rule| rule.len());
        let named = [&operation.resource, &operation.model].into_iter().flatten();
        let named = named.chain(&operation.sources).chain(&operation.tools);
        size_of::<Self>()
            + [request_id, method, path]
                .into_iter()
                .chain(named)
                .chain(digests)
                .map(String::len)
                .sum::<usize>()
            + rules.sum::<usize>()
            + injected
                .iter()
                .map(|it| it.secret.to_string().len() + it.credential.to_string().len())
                .sum::<usize>()
            + answers.iter().map(|fact| size_of_val(fact) + fact.what.len()).sum::<usize>()
    }

    fn count(&self, counts: &mut StoreCounts) {
        match self.call.verdict {
            Verdict::Allow => counts.opened += 1,
            Verdict::Deny => counts.denied += 1,
        }
    }

    fn matches(&self, query: &ApiCallQuery) -> bool {
        let sent_by = |pattern: &Pattern| self.from.as_ref().is_some_and(|from| pattern.matches(from));
        let calls =
            |pattern: &Pattern| self.call.operation.tools.iter().any(|tool| pattern.matches_text(tool));
        query.covers(self.call.verdict, self.call.time)
            && query.tool.as_ref().is_none_or(calls)
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(self.call.name.as_str()))
            && query.from.as_ref().is_none_or(sent_by)
    }

    fn limit(query: &ApiCallQuery) -> Option<usize> {
        query.limit
    }
}

/// What was kept of one request. JSON: `sequence`, `node`, `from` as in a flow, and the fields of [`gateway::Content`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiContent {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// Whose gateway it went through.
    pub(crate) node: Arc<str>,
    /// Who sent it; left out before there was any policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<End>,
    /// What the gateway kept.
    #[serde(flatten)]
    pub(crate) content: gateway::Content,
}

/// Only what was let through is kept, so that these filters know one verdict.
impl Kept for ApiContent {
    type Query = ApiCallQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.content.weight() + self.content.rule.as_ref().map_or(0, |rule| rule.len())
    }

    fn count(&self, counts: &mut StoreCounts) {
        counts.opened += 1;
    }

    fn matches(&self, query: &ApiCallQuery) -> bool {
        let sent_by = |pattern: &Pattern| self.from.as_ref().is_some_and(|from| pattern.matches(from));
        query.covers(Verdict::Allow, self.content.time)
            && query.tool.is_none()
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(self.content.name.as_str()))
            && query.from.as_ref().is_none_or(sent_by)
    }

    fn limit(query: &ApiCallQuery) -> Option<usize> {
        query.limit
    }
}
