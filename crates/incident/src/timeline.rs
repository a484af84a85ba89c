//! What happened around an incident, in order.
//!
//! Enters: an incident and its ledger. Leaves: at most [`MOST_ITEMS`] items of all kinds. Guarantees: findings and what people
//! did come before denials, these before calls, and these before all else where there is no room for all, which is then said;
//! connections that were let through are summed up, and so are questions for one name with each end of a search list. Does not: show more than the workloads of the incident did.

use crate::act::{Act, What};
use crate::finding::{MAX_TEXT, cut};
use crate::view::{Case, newest};
use ledger::{Column, Entry, EntryFilter, Kind, LedgerError, Match, Reader, Stored, Verdict};
use observe::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Items of one timeline.
pub const MOST_ITEMS: usize = 500;
/// Rows that are summed up for one timeline.
const MOST_SUMMED: usize = 20_000;
/// Workloads and ids that are looked for.
const MOST_NAMES: usize = 500;
/// Before an incident began and after it was seen last, so many microseconds belong to it: ten minutes.
const AROUND: u64 = 600 * 1_000_000;

/// One thing that happened. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// When, or since when.
    pub time: Time,
    /// What kind.
    pub kind: Kind,
    /// How it was decided.
    pub verdict: Verdict,
    /// Who.
    pub source: String,
    /// To whom, or on what.
    pub destination: String,
    /// Destination port; 0 where there is none.
    pub port: u16,
    /// The rule that decided.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// For a person.
    pub sentence: String,
    /// Number of the entry, or of the first of several.
    pub number: i64,
}

/// What happened, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// In the order of their times.
    pub items: Vec<Item>,
    /// Whether there was more.
    pub truncated: bool,
}

/// The timeline of an incident.
///
/// # Errors
/// The ledger cannot be read.
pub fn timeline(reader: &Reader, case: &Case) -> Result<Timeline, LedgerError> {
    let incident = &case.incident;
    let workloads: Vec<String> = incident.workloads.iter().take(MOST_NAMES).cloned().collect();
    let mut reading = Reading {
        reader,
        since: Some(incident.first.0.saturating_sub(AROUND)),
        until: Some(incident.last.0.saturating_add(AROUND)),
        truncated: incident.workloads.len() > MOST_NAMES,
    };
    let mut items: Vec<Item> = case.findings.iter().map(found).collect();
    items.extend(reading.acts(case, &workloads)?);
    let of = |kinds: &[Kind], verdict| EntryFilter {
        kinds: kinds.to_vec(),
        verdict,
        texts: vec![(Column::Source, Match::AnyOf(workloads.clone()))],
        ..EntryFilter::default()
    };
    let network = [Kind::Flow, Kind::Dns, Kind::Tls];
    for verdict in [Verdict::Deny, Verdict::Fail] {
        items.extend(reading.each(of(&network, Some(verdict)))?);
    }
    items.extend(reading.each(of(&[Kind::AiCall], None))?);
    let summed = reading.sums(of(&network, Some(Verdict::Allow)))?;
    let mut truncated = reading.truncated || items.len() > MOST_ITEMS;
    items.sort_by_key(|item| (rank(item), item.time, item.number));
    items.truncate(MOST_ITEMS);
    let room = MOST_ITEMS - items.len();
    truncated |= summed.len() > room;
    items.extend(summed.into_iter().take(room));
    items.sort_by_key(|item| (item.time, item.number));
    Ok(Timeline { items, truncated })
}

/// What stays where not all can.
fn rank(item: &Item) -> u8 {
    match (item.kind, item.verdict) {
        (Kind::Finding | Kind::Audit, _) => 0,
        (_, Verdict::Deny | Verdict::Fail) => 1,
        (Kind::AiCall, _) => 2,
        (Kind::Flow | Kind::Dns | Kind::Tls, Verdict::Allow | Verdict::None) => 3,
    }
}

/// What is summed up: kind, who, to whom, port.
type Asked<'a> = (Kind, &'a str, &'a str, u16);

struct Reading<'a> {
    reader: &'a Reader,
    since: Option<u64>,
    until: Option<u64>,
    truncated: bool,
}

impl Reading<'_> {
    fn newest(&mut self, filter: EntryFilter, most: usize) -> Result<Vec<Stored>, LedgerError> {
        let (found, has_more) = newest(self.reader, &filter, most)?;
        self.truncated |= has_more;
        Ok(found)
    }

    fn each(&mut self, filter: EntryFilter) -> Result<Vec<Item>, LedgerError> {
        let (since, until) = (self.since, self.until);
        let found = self.newest(EntryFilter { since, until, ..filter }, MOST_ITEMS)?;
        Ok(found.iter().map(|stored| item(stored, sentence(&stored.entry))).collect())
    }

    /// Changes of policy meanwhile, and what was done about the incident, whenever that was.
    fn acts(&mut self, case: &Case, workloads: &[String]) -> Result<Vec<Item>, LedgerError> {
        let of_policy = [What::PolicyApplied, What::PolicyRefused].map(|what| what.as_str().to_owned());
        let meanwhile = EntryFilter {
            kind: Some(Kind::Audit),
            since: self.since,
            until: self.until,
            texts: vec![(Column::Reason, Match::AnyOf(of_policy.to_vec()))],
            ..EntryFilter::default()
        };
        let names = case.ids.iter().take(MOST_NAMES / 2).chain(workloads.iter().take(MOST_NAMES / 2));
        let about = EntryFilter {
            kind: Some(Kind::Audit),
            since: self.since,
            texts: vec![(Column::Destination, Match::AnyOf(names.cloned().collect()))],
            ..EntryFilter::default()
        };
        let mut found = self.newest(meanwhile, MOST_ITEMS)?;
        found.extend(self.newest(about, MOST_ITEMS)?);
        Ok(found.iter().map(|stored| item(stored, Act::read(stored).sentence())).collect())
    }

    /// One item for each destination and port.
    fn sums(&mut self, filter: EntryFilter) -> Result<Vec<Item>, LedgerError> {
        let (since, until) = (self.since, self.until);
        let found = self.newest(EntryFilter { since, until, ..filter }, MOST_SUMMED)?;
        let mut sums: BTreeMap<Asked<'_>, (&Stored, Entry)> = BTreeMap::new();
        for stored in &found {
            let entry = &stored.entry;
            let key = (entry.kind, &*entry.source, &*entry.destination, entry.port);
            let (_, sum) = sums
                .entry(key)
                .or_insert_with(|| (stored, Entry { count: 0, sent: 0, received: 0, ..entry.clone() }));
            sum.time = sum.time.min(entry.time);
            sum.count = sum.count.saturating_add(entry.count);
            sum.sent = sum.sent.saturating_add(entry.sent);
            sum.received = sum.received.saturating_add(entry.received);
        }
        let steps: Vec<_> = sums.keys().filter(|key| is_step(key, &sums)).copied().collect();
        steps.iter().for_each(|key| drop(sums.remove(key)));
        let mut items: Vec<Item> = sums
            .into_values()
            .map(|(first, entry)| {
                let text = sentence(&entry);
                item(&Stored { id: first.id, entry }, text)
            })
            .collect();
        items.sort_by_key(|item| (item.time, item.number));
        Ok(items)
    }
}

/// Ends that a cluster's pods search, after that of their own namespace.
const SEARCHED: [&str; 2] = [".svc.cluster.local", ".cluster.local"];

/// Whether a question was a step of a search only: its pod went on to ask for the same with an end that comes later, or with none.
fn is_step<T>(key: &Asked<'_>, asked: &BTreeMap<Asked<'_>, T>) -> bool {
    let (Kind::Dns, source, name, port) = *key else { return false };
    let own = source.split('/').next().map(|namespace| format!(".{namespace}{}", SEARCHED[0]));
    let ends: Vec<&str> = own.as_deref().into_iter().chain(SEARCHED).collect();
    ends.iter().enumerate().any(|(place, end)| {
        let Some(sought) = name.strip_suffix(end).filter(|sought| !sought.is_empty()) else { return false };
        let later = ends.iter().skip(place + 1).copied().chain([""]);
        later
            .map(|end| format!("{sought}{end}"))
            .any(|name| asked.contains_key(&(Kind::Dns, source, &*name, port)))
    })
}

fn item(Stored { id, entry }: &Stored, sentence: String) -> Item {
    Item {
        time: Time(entry.time),
        kind: entry.kind,
        verdict: entry.verdict,
        source: entry.source.to_string(),
        destination: entry.destination.to_string(),
        port: entry.port,
        rule: entry.rule.to_string(),
        reason: entry.reason.to_string(),
        sentence,
        number: *id,
    }
}

fn found(finding: &crate::Finding) -> Item {
    Item {
        time: finding.time,
        kind: Kind::Finding,
        verdict: Verdict::None,
        source: finding.workload.clone(),
        destination: finding.subject.clone(),
        port: 0,
        rule: finding.rule.clone(),
        reason: finding.detector.clone(),
        sentence: finding.sentence.clone(),
        number: finding.entries.first().copied().unwrap_or(0),
    }
}

/// One sentence for a person.
fn sentence(entry: &Entry) -> String {
    let Entry { source, destination, .. } = entry;
    let place =
        if entry.port == 0 { destination.to_string() } else { format!("{destination}:{}", entry.port) };
    let place = if place.is_empty() { "somebody".to_owned() } else { place };
    let times = match entry.count {
        0 | 1 => String::new(),
        count => format!(" {count} times"),
    };
    let why = if entry.rule.is_empty() { &entry.reason } else { &entry.rule };
    let text = match (entry.kind, entry.verdict) {
        (Kind::Dns, Verdict::Allow) => format!("{source} asked for {destination}{times}"),
        (Kind::Dns, Verdict::Deny) => format!("{source} was not told of {destination}{times}: {why}"),
        (Kind::Dns, Verdict::Fail | Verdict::None) => {
            format!("{source} asked for {destination}{times}, and nobody answered")
        }
        (Kind::AiCall, verdict) => return call(entry, verdict),
        (Kind::Flow | Kind::Tls, Verdict::Allow) => {
            format!("{source} reached {place}{times}; sent {} bytes, received {}", entry.sent, entry.received)
        }
        (Kind::Flow | Kind::Tls, Verdict::Deny) => {
            format!("{source} was kept from {place}{times}: {why}")
        }
        (Kind::Flow | Kind::Tls, Verdict::Fail | Verdict::None) => {
            format!("{source} tried {place}{times}, and it could not be done: {why}")
        }
        (Kind::Finding | Kind::Audit, _) => format!("{source}: {} {place}", entry.reason),
    };
    cut_at(&text)
}

/// What one request did, from what its record says.
fn call(entry: &Entry, verdict: Verdict) -> String {
    let detail: Value =
        entry.detail.as_ref().and_then(|detail| serde_json::from_str(detail).ok()).unwrap_or_default();
    let text = |path: &str| detail.pointer(path).and_then(Value::as_str).map(cut);
    let what = match (text("/method"), text("/path")) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        (_, _) => "a request".to_owned(),
    };
    let model = text("/operation/model").map(|model| format!(", model {model}")).unwrap_or_default();
    let outcome = match verdict {
        Verdict::Allow | Verdict::None => String::new(),
        Verdict::Deny | Verdict::Fail => format!(" was refused ({})", entry.reason),
    };
    cut_at(&format!("{}: {what}{model} at {}{outcome}", entry.source, entry.destination))
}

/// Names and rules are of others: a sentence has room for a few.
fn cut_at(text: &str) -> String {
    if text.len() <= 4 * MAX_TEXT {
        return text.to_owned();
    }
    let mut end = 4 * MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_search_the_name_that_came_last_is_told() {
        let asked = |names: &[&str], source: &str| -> Vec<String> {
            let all: BTreeMap<Asked<'_>, ()> =
                names.iter().map(|name| ((Kind::Dns, source, *name, 0), ())).collect();
            all.keys().filter(|key| !is_step(key, &all)).map(|key| key.2.to_owned()).collect()
        };
        let searched =
            ["hf.co.train.svc.cluster.local", "hf.co.svc.cluster.local", "hf.co.cluster.local", "hf.co"];
        assert_eq!(asked(&searched, "train/Job/a"), ["hf.co"]);
        let service = [
            "db.shop.svc.train.svc.cluster.local",
            "db.shop.svc.svc.cluster.local",
            "db.shop.svc.cluster.local",
        ];
        assert_eq!(asked(&service, "train/Job/a"), ["db.shop.svc.cluster.local"]);
        // Of another namespace, and below a name that somebody else answers for, it was no search.
        let others = ["hf.co", "hf.co.evil.example", "hf.co.other.svc.cluster.local"];
        assert_eq!(asked(&others, "train/Job/a"), others);
        assert_eq!(asked(&["db.train.svc.cluster.local"], "train/Job/a").len(), 1);
    }
}
