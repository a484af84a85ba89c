//! The ledger behind an API, asked as a ledger's file is.
//!
//! Enters: filters. Leaves: entries, edges and sums, as [`Store`] has them. Guarantees: a filter that the API has no parameter for is an
//! error, and is never left out of the question. Does not: keep anything that was answered.

use super::Remote;
use ::ledger::query::MOST;
use ::ledger::{
    Column, Edge, EdgeFilter, EdgeMark, EdgePage, Entry, EntryFilter, Kind, LedgerError, Match, Measure,
    Order, Store, Stored, Sum, TopBy, Verdict,
};
use observe::Time;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Write as _;

/// Records of one answer.
const PAGE: usize = 1000;

/// Parameters of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question(String);

impl Question {
    /// The parameters of a filter, but for its numbers and its limit.
    ///
    /// # Errors
    /// The API has none for what it means.
    pub(super) fn entries(filter: &EntryFilter) -> Result<Self, String> {
        let mut question = Self::default();
        let kinds = filter.kinds.iter().chain(&filter.kind);
        for kind in kinds {
            question.add("kind", kind.name());
        }
        if !filter.kinds.is_empty() && filter.kind.is_some() {
            return Err("one kind among several cannot be asked for".to_owned());
        }
        question.some("verdict", filter.verdict.map(Verdict::name));
        question.some("port", filter.port);
        question.some("since", filter.since.map(Time));
        question.some("until", filter.until.map(Time));
        question.texts(&filter.texts())?;
        if let Some(tool) = &filter.tool {
            question.add("tool", wanted(tool)?);
        }
        Ok(question)
    }

    fn edges(filter: &EdgeFilter) -> Result<Self, String> {
        let mut question = Self::default();
        match (filter.first_since, filter.last_since) {
            (Some(since), None) => {
                question.add("new", true);
                question.add("since", Time(since));
            }
            (None, since) => question.some("since", since.map(Time)),
            (Some(_), Some(_)) => {
                return Err("edges cannot be asked for by two times since when".to_owned());
            }
        }
        question.some("until", filter.first_until.map(Time));
        question.some("port", filter.port);
        question.some(
            "verdict",
            filter.verdict.map(|verdict| match verdict {
                Verdict::Allow => "allow",
                Verdict::Deny | Verdict::Fail | Verdict::None => "deny",
            }),
        );
        question.texts(&filter.texts())?;
        question.some("before", filter.after);
        question.add("limit", limit(filter.limit));
        Ok(question)
    }

    fn texts(&mut self, texts: &[(Column, Match)]) -> Result<(), String> {
        for (column, text) in texts {
            let name = match column {
                Column::Node => "node",
                Column::Source => "source",
                Column::Destination => "destination",
                Column::Rule => "rule",
                Column::Reason => "reason",
                Column::Any => "q",
            };
            let value = match (column, text) {
                (Column::Any, Match::Has(part)) => part.clone(),
                (Column::Reason, Match::Is(reason)) => reason.clone(),
                (Column::Any | Column::Reason, _) => {
                    return Err(format!("such a text cannot be asked for as {name}"));
                }
                (Column::Node | Column::Source | Column::Destination | Column::Rule, text) => wanted(text)?,
            };
            self.add(name, value);
        }
        Ok(())
    }

    /// Adds a parameter that may be left out.
    pub(crate) fn some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Adds a parameter.
    pub(crate) fn add(&mut self, name: &str, value: impl ToString) {
        let Self(text) = self;
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&segment(&value.to_string()));
    }

    /// The path that it is asked at, with a number in the place of what goes on.
    pub(crate) fn path(&self, at: &str, more: &[(&str, i64)]) -> String {
        let mut question = self.clone();
        for (name, number) in more {
            question.add(name, number);
        }
        format!("{at}{}", question.0)
    }
}

/// A text as it stands between two slashes of a path, or as the value of a parameter (RFC 3986).
pub(crate) fn segment(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                written.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            byte => drop(write!(written, "%{byte:02X}")),
        }
    }
    written
}

/// A text as the API takes one: with a star at its end all that begin so.
fn wanted(text: &Match) -> Result<String, String> {
    match text {
        Match::Is(text) if !text.ends_with('*') => Ok(text.clone()),
        Match::Begins(text) => Ok(format!("{text}*")),
        Match::Is(_) | Match::AnyOf(_) | Match::Has(_) | Match::Below(_) => {
            Err("only a text, or how one begins, can be asked for".to_owned())
        }
    }
}

fn limit(asked: Option<usize>) -> usize {
    asked.map_or(MOST, |asked| asked.min(MOST))
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct List<T, N> {
    items: Vec<T>,
    next: Option<N>,
}

/// A record, as it is told.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    number: i64,
    time: Time,
    kind: Kind,
    verdict: Verdict,
    node: String,
    source: String,
    destination: String,
    port: u16,
    protocol: u8,
    rule: String,
    reason: String,
    count: u64,
    bytes_sent: u64,
    bytes_received: u64,
    detail: Value,
}

impl From<Told> for Stored {
    fn from(told: Told) -> Self {
        let entry = Entry {
            time: told.time.0,
            kind: told.kind,
            verdict: told.verdict,
            node: told.node.into(),
            source: told.source.into(),
            destination: told.destination.into(),
            port: told.port,
            protocol: told.protocol,
            rule: told.rule.into(),
            reason: told.reason.into(),
            count: told.count,
            sent: told.bytes_sent,
            received: told.bytes_received,
            detail: match told.detail {
                Value::Null => None,
                Value::String(text) => Some(text),
                detail => Some(detail.to_string()),
            },
        };
        Self { id: told.number, entry }
    }
}

/// An edge, as it is told.
#[derive(Debug, Deserialize)]
struct ToldEdge {
    source: String,
    destination: String,
    port: u16,
    protocol: u8,
    first_seen: Time,
    last_seen: Time,
    allowed: u64,
    denied: u64,
    bytes_sent: u64,
    bytes_received: u64,
    rule: String,
}

impl From<ToldEdge> for Edge {
    fn from(told: ToldEdge) -> Self {
        Self {
            source: told.source.into(),
            destination: told.destination.into(),
            port: told.port,
            protocol: told.protocol,
            first: told.first_seen.0,
            last: told.last_seen.0,
            allowed: told.allowed,
            denied: told.denied,
            sent: told.bytes_sent,
            received: told.bytes_received,
            rule: told.rule.into(),
        }
    }
}

/// A line of the largest, as it is told.
#[derive(Debug, Deserialize)]
struct ToldSum {
    of: String,
    count: u64,
    denied: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Remote {
    fn listed<T: DeserializeOwned, N: DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
    ) -> Result<List<T, N>, LedgerError> {
        self.told(path).map_err(|error| self.failed(doing, format!("{error:#}")))
    }

    /// One answer: entries, and before which number those are that follow, where there may be more.
    pub(super) fn entry_page(&self, filter: &EntryFilter) -> Result<(Vec<Stored>, Option<i64>), LedgerError> {
        const DOING: &str = "looking for records";
        let question = Question::entries(filter).map_err(|why| self.failed(DOING, why))?;
        let before = filter.before;
        let most = i64::try_from(limit(filter.limit).min(PAGE)).unwrap_or(1);
        let more: Vec<_> = before.map(|number| ("before", number)).into_iter().collect();
        let path = question.path("/records", &[&[("limit", most)], more.as_slice()].concat());
        let List { items, next } = self.listed::<Told, i64>(DOING, &path)?;
        if next.is_some_and(|next| items.is_empty() || before.is_some_and(|before| next >= before)) {
            return Err(self.failed(DOING, "its answer does not go on from the one before".to_owned()));
        }
        Ok((items.into_iter().map(Stored::from).collect(), next))
    }

    pub(super) fn failed(&self, doing: &'static str, why: String) -> LedgerError {
        LedgerError::Store { store: format!("the API at {}", self.name()), doing, why }
    }
}

impl Store for Remote {
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        const DOING: &str = "looking for records";
        if filter.order == Order::OldestFirst {
            return Err(self.failed(DOING, "it tells the newest first".to_owned()));
        }
        let (most, after) = (limit(filter.limit), filter.after.unwrap_or(i64::MIN));
        let (mut found, mut before) = (Vec::new(), filter.before);
        while found.len() < most {
            let rest = EntryFilter { before, limit: Some(most - found.len()), ..filter.clone() };
            let (page, next) = self.entry_page(&rest)?;
            let is_past = page.iter().any(|stored| stored.id <= after);
            found.extend(page.into_iter().filter(|stored| stored.id > after));
            before = next;
            if is_past || before.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        const DOING: &str = "looking for edges";
        let failed = |why: &str| self.failed(DOING, why.to_owned());
        let most = limit(filter.limit);
        let (mut edges, mut after) = (Vec::new(), filter.after);
        // An answer ends early where its texts are long.
        loop {
            let rest = EdgeFilter { after, limit: Some(most - edges.len()), ..filter.clone() };
            let question = Question::edges(&rest).map_err(|why| failed(&why))?;
            let List { items, next } =
                self.listed::<ToldEdge, String>(DOING, &question.path("/edges", &[]))?;
            let next = next.map(|next| next.parse::<EdgeMark>()).transpose();
            let next = next.map_err(|_| {
                failed("its answer has a mark that this version of the program does not know")
            })?;
            if next.is_some() && items.is_empty() {
                return Err(failed("its answer does not go on from the one before"));
            }
            edges.extend(items.into_iter().map(Edge::from));
            after = next;
            if after.is_none() || edges.len() >= most {
                return Ok(EdgePage { edges, next: after });
            }
        }
    }

    fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        let mut question = Question::default();
        question.add(
            "by",
            match by {
                TopBy::Source => "source",
                TopBy::Destination => "destination",
                TopBy::Rule => "rule",
            },
        );
        question.add(
            "measure",
            match measure {
                Measure::Bytes => "bytes",
                Measure::Count => "count",
                Measure::Denied => "denied",
            },
        );
        question.some("since", Some(since).filter(|since| *since > 0).map(Time));
        question.add("limit", most);
        let found = self.listed::<ToldSum, i64>("summing up", &question.path("/top", &[]))?;
        let sum = |told: ToldSum| Sum {
            of: told.of,
            count: told.count,
            denied: told.denied,
            sent: told.bytes_sent,
            received: told.bytes_received,
        };
        Ok(found.items.into_iter().map(sum).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_in_the_question_or_is_refused() {
        let filter = EntryFilter {
            kinds: vec![Kind::Flow, Kind::AiCall],
            verdict: Some(Verdict::Deny),
            port: Some(443),
            since: Some(1_795_468_027_000_042),
            source: Some("ai/Job/train".to_owned()),
            tool: Some(Match::wanted("delete*")),
            texts: vec![
                (Column::Any, Match::Has("a&b=c #%é".to_owned())),
                (Column::Destination, Match::wanted("hub*")),
                (Column::Reason, Match::Is("no-rule".to_owned())),
            ],
            ..EntryFilter::default()
        };
        let path = Question::entries(&filter).unwrap().path("/records", &[("limit", 7)]);
        assert_eq!(
            path,
            "/records?kind=flow&kind=ai_call&verdict=deny&port=443&since=2026-11-23T21%3A07%3A07.000042Z\
             &q=a%26b%3Dc%20%23%25%C3%A9&destination=hub%2A&reason=no-rule&source=ai%2FJob%2Ftrain&tool=delete%2A&limit=7"
        );
        assert!(format!("http://localhost/api/v1{path}").parse::<hyper::Uri>().is_ok());
        for (column, text) in [
            (Column::Source, Match::Is("ends in a star*".to_owned())),
            (Column::Source, Match::Has("a".to_owned())),
            (Column::Destination, Match::Below("example".to_owned())),
            (Column::Rule, Match::AnyOf(vec!["a".to_owned()])),
            (Column::Any, Match::Is("a".to_owned())),
            (Column::Reason, Match::Begins("a".to_owned())),
        ] {
            let filter = EntryFilter { texts: vec![(column, text.clone())], ..EntryFilter::default() };
            assert!(Question::entries(&filter).is_err(), "{text:?}");
        }
        let twice = EdgeFilter { first_since: Some(1), last_since: Some(2), ..EdgeFilter::default() };
        assert!(Question::edges(&twice).is_err());
        let new = EdgeFilter { first_since: Some(1_000_000), limit: Some(5), ..EdgeFilter::default() };
        assert_eq!(
            Question::edges(&new).unwrap().path("/edges", &[]),
            "/edges?new=true&since=1970-01-01T00%3A00%3A01.000000Z&limit=5"
        );
    }
}
