//! Looking back: who ever had to do with something that is known to be bad by now?
//!
//! Enters: an indicator, a ledger. Leaves: hits by workload, and the newest records. Guarantees: bounded, and says where it
//! stopped. Names, addresses, workloads and rules are found by the table of words; keys, models and hashes are only in the
//! details of requests and findings, of which the newest [`SCANNED`] are read.

use crate::record;
use ipnet::IpNet;
use ledger::query::TEXTS;
use ledger::{Column, EntryFilter, Kind, LedgerError, Match, Reader, Stored};
use observe::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Hits that are counted.
pub const MOST_HITS: usize = 100_000;
/// Details that are looked into.
pub const SCANNED: usize = 200_000;
/// Records that are listed, the newest.
pub const MOST_RECORDS: usize = 100;
/// Workloads that are listed, those with the most hits.
pub const MOST_WORKLOADS: usize = 1000;
/// Longest indicator in bytes.
pub const MAX_INDICATOR: usize = 512;

/// What kind of thing an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// A domain, and all names below it.
    Domain,
    /// An address, or a block of them.
    Address,
    /// A workload as `namespace/Kind/name`.
    Workload,
    /// The fingerprint of a key, as requests show it.
    Key,
    /// A model.
    Model,
    /// A SHA-256 of what was sent or came.
    Hash,
    /// Part of a rule, as it is told.
    Rule,
}

impl Sort {
    const ALL: [(&'static str, Self); 7] = [
        ("domain", Self::Domain),
        ("address", Self::Address),
        ("workload", Self::Workload),
        ("key", Self::Key),
        ("model", Self::Model),
        ("hash", Self::Hash),
        ("rule", Self::Rule),
    ];
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// What kind of thing.
    pub sort: Sort,
    /// As it was given, without the word before it.
    pub text: String,
}

/// It is nothing to look for.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAnIndicator {
    /// Nothing is.
    #[error(
        "nothing to look for: give a domain, an address or a block of them, a workload as namespace/Kind/name, or, with \
             the word before it, key:, model:, hash: or rule:"
    )]
    Empty,
    /// Too much is.
    #[error("an indicator has at most {MAX_INDICATOR} bytes")]
    TooLong,
    /// The word before says it is an address.
    #[error("{0:?} is not an address or a block of addresses like 192.0.2.0/24")]
    NoAddress(String),
}

impl Indicator {
    /// Reads what somebody looks for: `word:text`, or a text that tells what it is.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn read(text: &str) -> Result<Self, NotAnIndicator> {
        let text = text.trim();
        if text.len() > MAX_INDICATOR {
            return Err(NotAnIndicator::TooLong);
        }
        let said = Sort::ALL
            .iter()
            .find_map(|(word, sort)| Some((*sort, text.strip_prefix(word)?.strip_prefix(':')?.trim())));
        let (sort, text) = said.unwrap_or_else(|| (guess(text), text));
        if text.is_empty() {
            return Err(NotAnIndicator::Empty);
        }
        if sort == Sort::Address && network(text).is_none() {
            return Err(NotAnIndicator::NoAddress(text.to_owned()));
        }
        let text =
            if sort == Sort::Domain { text.trim_start_matches("*.").trim_end_matches('.') } else { text };
        if text.is_empty() {
            return Err(NotAnIndicator::Empty);
        }
        Ok(Self { sort, text: text.to_owned() })
    }
}

fn guess(text: &str) -> Sort {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_name = text.contains('.') && !text.contains(['/', ' ']);
    match text {
        _ if network(text).is_some() => Sort::Address,
        _ if is_hash => Sort::Hash,
        _ if text.starts_with("sha256:") => Sort::Key,
        _ if text.contains(' ') => Sort::Rule,
        _ if text.contains('/') => Sort::Workload,
        _ if is_name => Sort::Domain,
        _ => Sort::Model,
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for Indicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Hits of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfWorkload {
    /// Which.
    pub workload: String,
    /// How many.
    pub hits: u64,
    /// The first.
    pub first: Time,
    /// The last.
    pub last: Time,
}

/// What was found. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// What was looked for.
    pub indicator: String,
    /// What kind of thing that is.
    pub kind: Sort,
    /// How often something had to do with it.
    pub hits: u64,
    /// When that was first.
    pub first: Option<Time>,
    /// When that was last.
    pub last: Option<Time>,
    /// By whom, those with the most hits first.
    pub workloads: Vec<OfWorkload>,
    /// The newest of them.
    pub records: Vec<Value>,
    /// Whether there may be more than was looked at.
    pub truncated: bool,
}

/// Where it is looked for; what is absent leaves all in.
#[derive(Clone, Debug, Default)]
pub struct Within {
    /// Not older.
    pub since: Option<Time>,
    /// Not younger.
    pub until: Option<Time>,
    /// Recorded by such nodes.
    pub node: Option<Match>,
}

impl Within {
    fn filter(&self) -> EntryFilter {
        EntryFilter {
            since: self.since.map(|time| time.0),
            until: self.until.map(|time| time.0),
            texts: self.node.iter().map(|node| (Column::Node, node.clone())).collect(),
            ..EntryFilter::default()
        }
    }
}

/// Looks for an indicator in what was recorded.
///
/// # Errors
/// The ledger cannot be read.
pub fn hunt(reader: &Reader, indicator: &Indicator, within: &Within) -> Result<Hunt, LedgerError> {
    let mut found = Found::default();
    let text = indicator.text.clone();
    let by_word = |column, wanted| {
        let mut filter = within.filter();
        filter.texts.push((column, wanted));
        filter
    };
    let filter = match indicator.sort {
        Sort::Domain => by_word(Column::Destination, Match::Below(text)),
        Sort::Workload => by_word(Column::Any, Match::Is(text)),
        Sort::Rule => by_word(Column::Rule, Match::Has(text)),
        Sort::Address => {
            let Some(block) = network(&text) else { return Ok(found.told(indicator)) };
            let (words, has_more) = reader.words(|word| is_within(word, &block))?;
            found.truncated |= has_more;
            by_word(Column::Any, Match::AnyOf(words))
        }
        Sort::Key | Sort::Model | Sort::Hash => {
            let kinds = vec![Kind::AiCall, Kind::Finding];
            let filter = EntryFilter { kinds, ..within.filter() };
            // As it stands in JSON.
            let quoted = Value::from(text).to_string();
            let wanted = quoted.trim_matches('"').to_owned();
            found.pages(reader, filter, SCANNED, |stored| {
                stored.entry.detail.as_ref().is_some_and(|detail| detail.contains(&wanted))
            })?;
            return Ok(found.told(indicator));
        }
    };
    found.pages(reader, filter, MOST_HITS, |_| true)?;
    Ok(found.told(indicator))
}

/// Whether a word is an address of the block: by itself, or behind a name in brackets.
fn is_within(word: &str, block: &IpNet) -> bool {
    let inner = word.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(word);
    inner.parse::<IpAddr>().is_ok_and(|address| block.contains(&address.to_canonical()))
}

#[derive(Default)]
struct Found {
    hits: u64,
    span: Option<(Time, Time)>,
    workloads: BTreeMap<String, OfWorkload>,
    records: Vec<Value>,
    truncated: bool,
}

impl Found {
    /// The newest first; `most` are looked at.
    fn pages(
        &mut self,
        reader: &Reader,
        mut filter: EntryFilter,
        most: usize,
        is_hit: impl Fn(&Stored) -> bool,
    ) -> Result<(), LedgerError> {
        let mut left = most;
        loop {
            let (page, _) = reader.page(&EntryFilter { limit: Some(left), ..filter.clone() }, TEXTS)?;
            page.iter().filter(|stored| is_hit(stored)).for_each(|stored| self.add(stored));
            let Some(last) = page.last() else { return Ok(()) };
            left = left.saturating_sub(page.len());
            if left == 0 {
                self.truncated = true;
                return Ok(());
            }
            filter.before = Some(last.id);
        }
    }

    fn add(&mut self, stored: &Stored) {
        let entry = &stored.entry;
        // Bytes that were added to connections which were counted before are no hit of their own, but where nothing else is.
        let hits = entry.count.max(1);
        let time = Time(entry.time);
        self.hits = self.hits.saturating_add(hits);
        self.span = Some(self.span.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
        let workload = entry.source.to_string();
        let of = self.workloads.entry(workload.clone());
        let of = of.or_insert(OfWorkload { workload, hits: 0, first: time, last: time });
        of.hits = of.hits.saturating_add(hits);
        (of.first, of.last) = (of.first.min(time), of.last.max(time));
        if self.records.len() < MOST_RECORDS {
            self.records.push(record::json(stored));
        }
    }

    fn told(self, indicator: &Indicator) -> Hunt {
        let mut workloads: Vec<OfWorkload> = self.workloads.into_values().collect();
        workloads.sort_by(|a, b| (b.hits, &a.workload).cmp(&(a.hits, &b.workload)));
        let truncated = self.truncated || workloads.len() > MOST_WORKLOADS;
        workloads.truncate(MOST_WORKLOADS);
        Hunt {
            indicator: indicator.text.clone(),
            kind: indicator.sort,
            hits: self.hits,
            first: self.span.map(|(first, _)| first),
            last: self.span.map(|(_, last)| last),
            workloads,
            records: self.records,
            truncated,
        }
    }
}
