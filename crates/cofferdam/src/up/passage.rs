//! The records of the gateway, as the journal keeps them: connections that were held to their name, and findings.

use super::lookup::Filter;
use gateway::Reason;
use observe::{End, Kept, Pattern, StoreCounts, Time};
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

    /// What is worth somebody's attention about it.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let kind = match self.record.reason {
            Reason::UploadCeiling => FindingKind::UploadConnection,
            Reason::DownloadOnly => FindingKind::DownloadOnly,
            Reason::PassedUnopened => FindingKind::Unopened,
            _ => return None,
        };
        let from = self.from.as_ref().map_or_else(|| self.record.pod.to_string(), ToString::to_string);
        Some(Finding {
            sequence: 0,
            time: self.record.time,
            node: Arc::clone(&self.node),
            kind,
            from: from.into(),
            to: Some(self.whom().into()),
            rule: self.record.rule.clone(),
            what: None,
            bytes: self.record.bytes_up,
        })
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
            && query.name.as_ref().is_none_or(|pattern| pattern.matches_text(&self.whom()))
            && query.from.as_ref().is_none_or(opened_by)
    }

    fn limit(query: &PassageQuery) -> Option<usize> {
        query.limit
    }
}

/// What kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingKind {
    /// One connection sent as much as its rule lets one send.
    UploadConnection,
    /// One connection sent more than goes with downloading.
    DownloadOnly,
    /// A pod sent as much as its rule allows in an hour.
    UploadHour,
    /// A pod sent as much as its rule allows in a day.
    UploadDay,
    /// A request carried what should not leave, and went.
    Leak,
    /// A request carried what should not leave, and was stopped.
    LeakBlocked,
    /// A pod made as many requests as its rule allows.
    QuotaRequests,
    /// A pod used as many tokens as its rule allows.
    QuotaTokens,
    /// A pod's calls cost as much as its rule allows.
    QuotaMoney,
    /// A pod called a model without a price where money is limited.
    NoPrice,
    /// A request carried what should not leave, and went without it.
    LeakMasked,
    /// An answer brought a file that does something when it is opened, or that nobody could read, and it went on.
    UnsafeFile,
    /// Such a file was stopped.
    UnsafeFileBlocked,
    /// A client did not let its connection be opened, and it passed without its requests being judged.
    Unopened,
}

impl FindingKind {
    /// One sentence for a person; `bytes` is what a finding has.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::UploadConnection => "a connection was cut: it sent as much as its rule lets one send",
            Self::DownloadOnly => "a connection was cut: it sent more than goes with downloading",
            Self::UploadHour => {
                "the hour's upload is used up: its connections are cut until the hour ends (UTC)"
            }
            Self::UploadDay => {
                "the day's upload is used up: its connections are cut until the day ends (UTC)"
            }
            Self::Leak => "a request carried what should not leave",
            Self::LeakBlocked => "a request was stopped: it carried what should not leave",
            Self::QuotaRequests => "the budget of requests is used up",
            Self::QuotaTokens => "the budget of tokens is used up",
            Self::QuotaMoney => "the budget of money is used up",
            Self::NoPrice => "a model was called that has no price, where money is limited",
            Self::LeakMasked => "a request carried what should not leave, and went without it",
            Self::UnsafeFile => "an answer brought a file that is unsafe, or could not be read",
            Self::UnsafeFileBlocked => "a file was stopped: it is unsafe, or could not be read",
            Self::Unopened => "a connection passed unread: its client does not trust the inspection CA",
        }
    }
}

/// Something that somebody should look at. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Number in the store that kept it.
    pub(crate) sequence: u64,
    /// When it was found.
    pub(crate) time: Time,
    /// Where.
    pub(crate) node: Arc<str>,
    /// What.
    pub(crate) kind: FindingKind,
    /// Who did it, `namespace/pod`.
    pub(crate) from: Arc<str>,
    /// To whom, where that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Arc<str>>,
    /// The rule that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Arc<str>>,
    /// What exactly, where that is more than the kind says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) what: Option<String>,
    /// Bytes: the limit, or what one connection or request sent.
    pub(crate) bytes: u64,
}

/// Filters of findings; they have no verdict.
pub(crate) type FindingQuery = Filter<FindingKind>;

impl Kept for Finding {
    type Query = FindingQuery;

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn set_sequence(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    fn weight(&self) -> usize {
        let rule = self.rule.as_ref().map_or(0, |rule| rule.len());
        let what = self.what.as_ref().map_or(0, String::len);
        what + size_of::<Self>() + self.from.len() + self.to.as_ref().map_or(0, |to| to.len()) + rule
    }

    fn count(&self, counts: &mut StoreCounts) {
        counts.denied += 1;
    }

    fn matches(&self, query: &FindingQuery) -> bool {
        query.covers(self.kind, self.time)
            && query.from.as_ref().is_none_or(|pattern| pattern.matches_text(&self.from))
            && query
                .name
                .as_ref()
                .is_none_or(|pattern| self.to.as_ref().is_some_and(|to| pattern.matches_text(to)))
    }

    fn limit(query: &FindingQuery) -> Option<usize> {
        query.limit
    }
}
