//! What many entries say together: over time, by words, by pairs, by rules.
//!
//! Each looks at the entries of a time and gives no more than it is asked for. What takes too long is ended by
//! [`Interrupter`], from another thread.

use crate::brief::Brief;
use crate::entries::{EntryFilter, Where};
use crate::entry::{Kind, Verdict};
use crate::error::LedgerError;
use crate::query::{MOST, Reader, unsigned};
use crate::write::{OTHER, signed};
use rusqlite::types::Value;
use rusqlite::{InterruptHandle, OptionalExtension, Row, params, params_from_iter};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

/// A time, in microseconds since 1970, both ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not older.
    pub since: u64,
    /// Not younger.
    pub until: u64,
}

impl Span {
    /// Of a filter: all entries in it.
    #[must_use]
    pub fn all(self) -> EntryFilter {
        EntryFilter { since: Some(self.since), until: Some(self.until), ..EntryFilter::default() }
    }
}

/// A column of entries that holds words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who.
    Source,
    /// To whom.
    Destination,
    /// The rule that decided.
    Rule,
    /// Why.
    Reason,
    /// The enforcement point.
    Node,
}

impl Field {
    /// The name of the column.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Rule => "rule",
            Self::Reason => "reason",
            Self::Node => "node",
        }
    }
}

/// What series are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesBy {
    /// How it was decided.
    Verdict,
    /// What kind.
    Kind,
    /// A word.
    Field(Field),
}

/// How often something was in one step of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Number of the step, from 0.
    pub step: u64,
    /// Of what.
    pub of: String,
    /// How often.
    pub count: u64,
}

/// What passed between two at one port, in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Who.
    pub source: String,
    /// Whom.
    pub destination: String,
    /// At which port.
    pub port: u16,
    /// By which transport protocol.
    pub protocol: u8,
    /// How often it was let through.
    pub allowed: u64,
    /// How often it was not.
    pub denied: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// First seen in the time, in microseconds since 1970.
    pub first: u64,
    /// Last seen in it.
    pub last: u64,
    /// First seen at all.
    pub ever_first: u64,
}

/// How often a rule decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSum {
    /// The rule, as entries have it.
    pub rule: String,
    /// How often.
    pub count: u64,
    /// How often it denied.
    pub denied: u64,
    /// When last, in microseconds since 1970.
    pub last: u64,
}

/// A request, and what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who.
    pub source: String,
    /// To whom.
    pub destination: String,
    /// How it was decided.
    pub verdict: Verdict,
    /// The whole record as JSON.
    pub detail: Option<String>,
}

/// Ends what a [`Reader`] is looking for, from another thread: it then says so with an error.
pub struct Interrupter(InterruptHandle);

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupter")
    }
}

impl Interrupter {
    /// Ends what is looked for at this moment, if anything is.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Reader {
    /// What ends a query that takes too long.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.connection().get_interrupt_handle())
    }

    /// Numbers of the oldest and of the newest entry; both 0 where there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn numbers(&self) -> Result<(i64, i64), LedgerError> {
        let query =
            "SELECT coalesce((SELECT min(id) FROM entries), 0), coalesce((SELECT max(id) FROM entries), 0)";
        self.reading("looking for the newest entry", |connection| {
            connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }

    /// How often what was of the entries that a filter means, in steps of so many microseconds from `since` on. Of words, the `most`
    /// that are most frequent are told apart; all others are [`OTHER`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn series(
        &self,
        filter: &EntryFilter,
        by: SeriesBy,
        step: u64,
        most: usize,
    ) -> Result<Vec<Point>, LedgerError> {
        let column = match by {
            SeriesBy::Verdict => "verdict",
            SeriesBy::Kind => "kind",
            SeriesBy::Field(field) => field.column(),
        };
        let since = signed(filter.since.unwrap_or(0));
        let step = signed(step).max(1);
        let Where { mut with, text: conditions, mut values } = Where::entries(filter);
        let mut word = format!("e.{column}");
        if let SeriesBy::Field(_) = by {
            // Its conditions stand in the query twice, and so must what is bound in them, but not what is bound before.
            let again = values.get(with.matches('?').count()..).unwrap_or_default().to_vec();
            values.extend(again);
            let begin = if with.is_empty() { "WITH" } else { "," };
            with += &format!(
                "{begin} frequent AS MATERIALIZED (SELECT e.{column} FROM entries e{conditions} GROUP BY +e.{column} \
                 ORDER BY {} DESC, e.{column} LIMIT {most}) ",
                summed("e.count")
            );
            word = format!("CASE WHEN e.{column} IN frequent THEN e.{column} END");
        }
        let query = format!(
            "{with}SELECT step, word, w.text, number FROM (SELECT (e.time - {since}) / {step} AS step, {word} AS word, \
             {} AS number FROM entries e{conditions} GROUP BY 1, 2) LEFT JOIN words w ON w.id = word ORDER BY step, word",
            summed("e.count")
        );
        let name = |row: &Row<'_>| -> rusqlite::Result<String> {
            let Some(number) = row.get::<_, Option<i64>>(1)? else { return Ok(OTHER.to_owned()) };
            Ok(match by {
                SeriesBy::Verdict => Verdict::of_number(number).map_or("unknown", Verdict::name).to_owned(),
                SeriesBy::Kind => Kind::of_number(number).map_or("unknown", Kind::name).to_owned(),
                SeriesBy::Field(_) => row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            })
        };
        self.all("counting over time", &query, values, |row| {
            Ok(Point { step: unsigned(row, 0)?, of: name(row)?, count: unsigned(row, 3)? })
        })
    }

    /// The most frequent words of a column that begin so, of the entries that a filter means, and how many have them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hints(
        &self,
        field: Field,
        prefix: &str,
        filter: &EntryFilter,
        most: usize,
    ) -> Result<Vec<(String, u64)>, LedgerError> {
        let Where { with, text, mut values } = Where::entries(filter);
        values.push(prefix.to_owned().into());
        values.push(prefix.to_owned().into());
        let query = with + &hints(field, &text, most);
        self.all("looking for words", &query, values, |row| Ok((row.get(0)?, unsigned(row, 1)?)))
    }

    /// Shows who met whom by the entries that a filter means, one by one and in no order that means anything: there may be
    /// millions, and whoever asks keeps no more than they want. With `new_since`, only those that were first seen then or later.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_pair(
        &self,
        filter: &EntryFilter,
        new_since: Option<u64>,
        mut show: impl FnMut(Pair),
    ) -> Result<(), LedgerError> {
        let conditions = Where::entries(filter);
        let query = conditions.with + &pairs(&conditions.text, new_since);
        self.reading("looking for pairs", |connection| {
            let mut statement = connection.prepare(&query)?;
            let mut rows = statement.query(params_from_iter(&conditions.values))?;
            while let Some(row) = rows.next()? {
                show(Pair {
                    source: row.get(0)?,
                    destination: row.get(1)?,
                    port: row.get(2)?,
                    protocol: row.get(3)?,
                    allowed: unsigned(row, 4)?,
                    denied: unsigned(row, 5)?,
                    sent: unsigned(row, 6)?,
                    received: unsigned(row, 7)?,
                    first: unsigned(row, 8)?,
                    last: unsigned(row, 9)?,
                    ever_first: unsigned(row, 10)?,
                });
            }
            Ok(())
        })
    }

    /// The same for who wants all of them that `is_meant` holds for, if they are no more than so many; `None`: there are more. The
    /// filter's tool is not gone by.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn few_pairs(
        &self,
        filter: &EntryFilter,
        most: usize,
        is_meant: impl Fn(&Met) -> bool,
    ) -> Result<Option<Vec<Pair>>, LedgerError> {
        let mut met: HashMap<Met, Pair> = HashMap::new();
        self.each_brief(filter, |brief| {
            let ends = Met::of(brief);
            if !is_meant(&ends) {
                return ControlFlow::Continue(());
            }
            met.entry(ends).or_insert_with(|| nothing_at(brief)).add(brief);
            if met.len() > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if met.len() > most {
            return Ok(None);
        }
        let mut pairs = Vec::with_capacity(met.len());
        for (ends, pair) in met {
            let destination = self.word(ends.destination)?;
            if !destination.is_empty() {
                let ever_first = self.first_met(&ends)?.unwrap_or(pair.first);
                pairs.push(Pair { source: self.word(ends.source)?, destination, ever_first, ..pair });
            }
        }
        Ok(Some(pairs))
    }

    /// When two were first seen to meet, in microseconds since 1970; `None`: they are not told apart from others.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn first_met(&self, met: &Met) -> Result<Option<u64>, LedgerError> {
        let find =
            "SELECT first FROM edges WHERE source = ?1 AND destination = ?2 AND port = ?3 AND protocol = ?4";
        self.reading("looking for an edge", |connection| {
            let ends = params![met.source, met.destination, met.port, met.protocol];
            connection.prepare_cached(find)?.query_row(ends, |row| unsigned(row, 0)).optional()
        })
    }

    /// Shows who was first seen to meet whom since a time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_new_edge(&self, since: u64, mut see: impl FnMut(Met)) -> Result<(), LedgerError> {
        self.reading("looking for new edges", |connection| {
            let mut statement = connection.prepare_cached(NEW_EDGES)?;
            let mut rows = statement.query([signed(since)])?;
            while let Some(row) = rows.next()? {
                see(Met {
                    source: row.get(0)?,
                    destination: row.get(1)?,
                    port: row.get(2)?,
                    protocol: row.get(3)?,
                });
            }
            Ok(())
        })
    }

    /// How often each rule decided, of the entries that a filter means.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rules(&self, filter: &EntryFilter) -> Result<Vec<RuleSum>, LedgerError> {
        if filter.tool.is_some() {
            return self.rules_of_rows(filter);
        }
        let mut sums: HashMap<i64, RuleSum> = HashMap::new();
        self.each_brief(filter, |brief| {
            let none = || RuleSum { rule: String::new(), count: 0, denied: 0, last: 0 };
            let sum = sums.entry(brief.rule).or_insert_with(none);
            add(&mut sum.count, brief.count);
            if brief.is_denied() {
                add(&mut sum.denied, brief.count);
            }
            sum.last = sum.last.max(u64::try_from(brief.time).unwrap_or(0));
            ControlFlow::Continue(())
        })?;
        let mut named = Vec::with_capacity(sums.len());
        for (number, sum) in sums {
            let rule = self.word(number)?;
            if !rule.is_empty() {
                named.push(RuleSum { rule, ..sum });
            }
        }
        named.sort_unstable_by(|one, other| {
            other.count.cmp(&one.count).then_with(|| one.rule.cmp(&other.rule))
        });
        named.truncate(MOST);
        Ok(named)
    }

    fn rules_of_rows(&self, filter: &EntryFilter) -> Result<Vec<RuleSum>, LedgerError> {
        let conditions = Where::entries(filter);
        let query = format!(
            "{}SELECT w.text, g.number, g.denied, g.last FROM (SELECT e.rule, {} AS number, \
             {} AS denied, max(e.time) AS last FROM entries e{} \
             GROUP BY e.rule) g JOIN words w ON w.id = g.rule WHERE w.text != '' \
             ORDER BY g.number DESC, w.text LIMIT {MOST}",
            conditions.with,
            summed("e.count"),
            summed_of(Verdict::Deny),
            conditions.text
        );
        self.all("summing up rules", &query, conditions.values, |row| {
            Ok(RuleSum {
                rule: row.get(0)?,
                count: unsigned(row, 1)?,
                denied: unsigned(row, 2)?,
                last: unsigned(row, 3)?,
            })
        })
    }

    /// Shows the newest requests that a filter means one by one, at most so many. Whether there were more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn calls(
        &self,
        filter: &EntryFilter,
        most: usize,
        mut show: impl FnMut(Call),
    ) -> Result<bool, LedgerError> {
        let filter = EntryFilter { kind: Some(Kind::AiCall), ..filter.clone() };
        if filter.tool.is_some() {
            return self.calls_of_rows(&filter, most, show);
        }
        let mut newest = VecDeque::new();
        self.each_brief(&filter, |brief| {
            newest.push_front(brief.id);
            newest.truncate(most.saturating_add(1));
            ControlFlow::Continue(())
        })?;
        let more = newest.len() > most;
        newest.truncate(most);
        let find = "SELECT s.text, d.text, e.verdict, e.detail FROM entries e JOIN words s ON s.id = e.source \
                    JOIN words d ON d.id = e.destination WHERE e.id = ?1";
        self.reading("looking for requests", |connection| {
            let mut statement = connection.prepare_cached(find)?;
            for number in newest {
                // One may be forgotten meanwhile.
                if let Some(found) = statement.query_row([number], call).optional()? {
                    show(found);
                }
            }
            Ok(more)
        })
    }

    fn calls_of_rows(
        &self,
        filter: &EntryFilter,
        most: usize,
        mut show: impl FnMut(Call),
    ) -> Result<bool, LedgerError> {
        let conditions = Where::entries(filter);
        let query = format!(
            "{}SELECT s.text, d.text, e.verdict, e.detail FROM entries e JOIN words s ON s.id = e.source \
             JOIN words d ON d.id = e.destination{} ORDER BY e.id DESC LIMIT {}",
            conditions.with,
            conditions.text,
            i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)
        );
        self.reading("looking for requests", |connection| {
            let mut statement = connection.prepare(&query)?;
            let mut rows = statement.query(params_from_iter(&conditions.values))?;
            let mut shown = 0;
            while let Some(row) = rows.next()? {
                if shown == most {
                    return Ok(true);
                }
                shown += 1;
                show(call(row)?);
            }
            Ok(false)
        })
    }

    /// How many findings there are of whom about whom, of the entries that a filter means.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn findings_by_pair(&self, filter: &EntryFilter) -> Result<Vec<(String, String, u64)>, LedgerError> {
        let filter = EntryFilter { kind: Some(Kind::Finding), ..filter.clone() };
        if filter.tool.is_some() {
            // Only requests have tools.
            return Ok(Vec::new());
        }
        let mut sums: HashMap<(i64, i64), u64> = HashMap::new();
        self.each_brief(&filter, |brief| {
            *sums.entry((brief.source, brief.destination)).or_default() += 1;
            ControlFlow::Continue(())
        })?;
        let mut found = Vec::with_capacity(sums.len());
        for ((source, destination), count) in sums {
            found.push((self.word(source)?, self.word(destination)?, count));
        }
        found.sort_unstable_by(|one, other| {
            other.2.cmp(&one.2).then_with(|| (&one.0, &one.1).cmp(&(&other.0, &other.1)))
        });
        found.truncate(MOST);
        Ok(found)
    }

    /// The same of rows: what the numbers must say, too.
    #[cfg(test)]
    fn findings_of_rows(&self, filter: &EntryFilter) -> Result<Vec<(String, String, u64)>, LedgerError> {
        let filter = EntryFilter { kind: Some(Kind::Finding), ..filter.clone() };
        let conditions = Where::entries(&filter);
        let query = conditions.with + &findings(&conditions.text);
        self.all("counting findings", &query, conditions.values, |row| {
            Ok((row.get(0)?, row.get(1)?, unsigned(row, 2)?))
        })
    }

    fn all<T>(
        &self,
        doing: &'static str,
        query: &str,
        values: Vec<Value>,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        self.reading(doing, |connection| {
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map(params_from_iter(values), |row| read(row))?;
            rows.collect()
        })
    }
}

/// In the order of an index that has all of it.
const NEW_EDGES: &str = "SELECT source, destination, port, protocol FROM edges WHERE first >= ?1";

/// Two that met, and how; by the numbers of their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Met {
    /// Who.
    pub source: i64,
    /// Whom.
    pub destination: i64,
    /// At which port.
    pub port: u16,
    /// By which transport protocol.
    pub protocol: u8,
}

impl Met {
    /// Who met in an entry.
    #[must_use]
    pub fn of(brief: &Brief) -> Self {
        let Brief { source, destination, .. } = *brief;
        let (port, protocol) = (u16::try_from(brief.port), u8::try_from(brief.protocol));
        Self { source, destination, port: port.unwrap_or(0), protocol: protocol.unwrap_or(0) }
    }
}

/// Without names.
fn nothing_at(brief: &Brief) -> Pair {
    let Met { port, protocol, .. } = Met::of(brief);
    let time = u64::try_from(brief.time).unwrap_or(0);
    let (source, destination) = (String::new(), String::new());
    let (allowed, denied, sent, received) = (0, 0, 0, 0);
    let (first, last, ever_first) = (time, time, time);
    Pair { source, destination, port, protocol, allowed, denied, sent, received, first, last, ever_first }
}

impl Pair {
    fn add(&mut self, brief: &Brief) {
        add(if brief.is_allowed() { &mut self.allowed } else { &mut self.denied }, brief.count);
        add(&mut self.sent, brief.sent);
        add(&mut self.received, brief.received);
        let time = u64::try_from(brief.time).unwrap_or(0);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

/// A sum that no entries make fail, as [`summed`].
fn add(sum: &mut u64, more: i64) {
    *sum = sum.saturating_add(u64::try_from(more).unwrap_or(0)).min(MOST_SUM);
}

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let verdict = Verdict::of_number(row.get(2)?).unwrap_or(Verdict::None);
    Ok(Call { source: row.get(0)?, destination: row.get(1)?, verdict, detail: row.get(3)? })
}

// A sign hides a column from the planner, which would go through all entries in the order of its index.

fn hints(field: Field, conditions: &str, most: usize) -> String {
    let (column, most) = (field.column(), most.min(MOST));
    format!(
        "SELECT w.text, number FROM (SELECT e.{column} AS word, count(*) AS number FROM entries e{conditions} \
         GROUP BY +e.{column}) JOIN words w ON w.id = word \
         WHERE w.text != '' AND substr(w.text, 1, length(?)) = ? ORDER BY number DESC, w.text LIMIT {most}"
    )
}

fn pairs(conditions: &str, new_since: Option<u64>) -> String {
    let is_new = new_since.map_or_else(String::new, |since| format!(" AND e.first >= {}", signed(since)));
    format!(
        "SELECT s.text, d.text, g.port, g.protocol, g.allowed, g.denied, g.sent, g.received, g.first, g.last, \
         coalesce(e.first, g.first) FROM (SELECT e.source, e.destination, e.port, e.protocol, \
         {allowed} AS allowed, {denied} AS denied, {sent} AS sent, \
         {received} AS received, min(e.time) AS first, max(e.time) AS last FROM entries e{conditions} \
         GROUP BY +e.source, e.destination, e.port, e.protocol) g \
         JOIN words s ON s.id = g.source JOIN words d ON d.id = g.destination \
         LEFT JOIN edges e ON e.source = g.source AND e.destination = g.destination AND e.port = g.port \
         AND e.protocol = g.protocol WHERE d.text != ''{is_new}",
        allowed = summed_of(Verdict::Allow),
        denied = summed(&format!("CASE e.verdict WHEN {} THEN 0 ELSE e.count END", Verdict::Allow.number())),
        sent = summed("e.sent"),
        received = summed("e.received"),
    )
}

#[cfg(test)]
fn findings(conditions: &str) -> String {
    format!(
        "SELECT s.text, d.text, g.number FROM (SELECT e.source, e.destination, count(*) AS number FROM entries e{conditions} \
         GROUP BY +e.source, e.destination) g JOIN words s ON s.id = g.source JOIN words d ON d.id = g.destination \
         ORDER BY g.number DESC, s.text, d.text LIMIT {MOST}"
    )
}

/// As much as a sum is said to be.
pub const MOST_SUM: u64 = 9_000_000_000_000_000_000;

/// A sum that is a whole number, and that no entries make fail: SQLite ends a query whose sum has more than 63 bits, and what nodes
/// say that they counted is not known to be true. Exact up to 2^53.
pub(crate) fn summed(what: &str) -> String {
    format!("CAST(min(total({what}), 9.0e18) AS INTEGER)")
}

/// How often something of `entries e` was decided so.
pub(crate) fn summed_of(verdict: Verdict) -> String {
    summed(&format!("CASE e.verdict WHEN {} THEN e.count ELSE 0 END", verdict.number()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::query::tests::plan;
    use crate::retention::Retention;
    use crate::search::{Column, Match};
    use crate::write::Ledger;

    #[test]
    fn what_is_summed_up_of_a_time_is_found_by_time() {
        let of = |kind| EntryFilter { kind, ..Span { since: 1, until: 2 }.all() };
        let (any, flows) = (Where::entries(&of(None)).text, Where::entries(&of(Some(Kind::Flow))).text);
        let fields = [Field::Source, Field::Destination, Field::Rule, Field::Reason, Field::Node];
        let words = fields.map(|field| hints(field, &any, 10));
        for query in words.into_iter().chain([pairs(&flows, None), pairs(&flows, Some(1)), findings(&flows)])
        {
            let plan = plan(&query);
            assert!(plan.contains("SEARCH e USING INDEX entries_by_time"), "{query}: {plan}");
        }
    }

    /// A ledger of all kinds, in blocks that are sealed, of before there were numbers, broken, and not sealed yet.
    fn mixed(path: &std::path::Path) -> Reader {
        let start = 1_800_000_000_000_000;
        let (mut ledger, _) = Ledger::open(path).unwrap();
        let entry = |number: u64| {
            let kind = Kind::ALL[usize::try_from(number % 11).unwrap().min(5)];
            let verdict = [Verdict::Allow, Verdict::Deny, Verdict::Allow, Verdict::Fail, Verdict::None];
            let is_single = number.is_multiple_of(3);
            Entry {
                time: start + number * 20_000,
                node: format!("node-{}", number % 3).into(),
                source: format!("ns-{}/Pod/p{}", number % 4, number % 17).into(),
                destination: if number.is_multiple_of(50) {
                    "".into()
                } else {
                    format!("host-{}", number % 23).into()
                },
                port: u16::try_from(number % 5 * 100).unwrap(),
                protocol: 6,
                rule: if number.is_multiple_of(7) {
                    "".into()
                } else {
                    format!("rule {}", number % 9).into()
                },
                reason: format!("reason {}", number % 2).into(),
                count: number % 4,
                sent: if number == 9 { u64::MAX } else { number },
                received: number % 1000,
                detail: is_single.then(|| format!("{{\"number\":{number}}}")),
                ..Entry::new(kind, verdict[usize::try_from(number % 5).unwrap()])
            }
        };
        for turn in 0..4 {
            let entries: Vec<Entry> = (turn * 6000..(turn + 1) * 6000).map(entry).collect();
            ledger.append(&entries).unwrap();
            ledger.tend(start + turn * 120_000_000, &Retention::default()).unwrap();
        }
        drop(ledger);
        let sound = Reader::open(path).unwrap().verify().unwrap();
        assert!(sound.unsealed > 0 && sound.fault.is_none(), "{sound:?}");
        let connection = rusqlite::Connection::open(path).unwrap();
        let blocks: i64 = connection.query_row("SELECT count(*) FROM packed", [], |row| row.get(0)).unwrap();
        assert!(blocks >= 3, "{blocks} blocks");
        connection
            .execute_batch(
                "DELETE FROM packed WHERE block = 1; UPDATE packed SET data = x'ff' WHERE block = 2",
            )
            .unwrap();
        Reader::open(path).unwrap()
    }

    #[test]
    fn sums_of_numbers_are_those_of_rows() {
        let folder = tempfile::tempdir().unwrap();
        let reader = mixed(&folder.path().join("ledger.db"));
        let (since, until) = (Some(1_800_000_050_000_000), Some(1_800_000_400_000_000));
        let of = |column, wanted: &str| EntryFilter {
            texts: vec![(column, Match::wanted(wanted))],
            ..EntryFilter::default()
        };
        let filters = [
            EntryFilter::default(),
            EntryFilter { since, ..EntryFilter::default() },
            EntryFilter { since, until, kinds: vec![Kind::Flow, Kind::AiCall], ..EntryFilter::default() },
            EntryFilter { kind: Some(Kind::Flow), verdict: Some(Verdict::Deny), ..EntryFilter::default() },
            EntryFilter { port: Some(300), before: Some(9000), after: Some(100), ..EntryFilter::default() },
            of(Column::Node, "node-1"),
            of(Column::Source, "ns-2/*"),
            of(Column::Reason, "reason 1"),
            of(Column::Destination, "nobody"),
            EntryFilter {
                texts: vec![
                    (Column::Any, Match::Has("HOST-1".into())),
                    (Column::Rule, Match::wanted("rule 5")),
                ],
                until,
                ..EntryFilter::default()
            },
        ];
        for filter in filters {
            let rules = reader.rules_of_rows(&filter).unwrap();
            assert_eq!(reader.rules(&filter).unwrap(), rules, "{filter:?}");
            let findings = reader.findings_of_rows(&filter).unwrap();
            assert_eq!(reader.findings_by_pair(&filter).unwrap(), findings, "{filter:?}");
            let (mut pairs, key) =
                (Vec::new(), |pair: &Pair| (pair.source.clone(), pair.destination.clone(), pair.port));
            reader.each_pair(&filter, None, |pair| pairs.push(pair)).unwrap();
            pairs.sort_by_key(key);
            let mut few = reader.few_pairs(&filter, 100_000, |_| true).unwrap().unwrap();
            few.sort_by_key(key);
            assert_eq!(few, pairs, "{filter:?}");
            for most in [3, 100_000] {
                let (mut shown, mut of_rows) = (Vec::new(), Vec::new());
                let more = reader.calls(&filter, most, |call| shown.push(call)).unwrap();
                let calls = EntryFilter { kind: Some(Kind::AiCall), ..filter.clone() };
                assert_eq!(more, reader.calls_of_rows(&calls, most, |call| of_rows.push(call)).unwrap());
                assert_eq!(shown, of_rows, "{filter:?}");
            }
        }
        assert!(reader.few_pairs(&EntryFilter::default(), 10, |_| true).unwrap().is_none());
        assert!(plan(NEW_EDGES).contains("COVERING INDEX edges_newest"), "{}", plan(NEW_EDGES));
    }
}
