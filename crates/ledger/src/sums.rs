//! What many entries say together: over time, by words, by pairs, by rules.
//!
//! Each looks at the entries of a time and gives no more than it is asked for. What takes too long is ended by
//! [`Interrupter`], from another thread.

use crate::entry::{Kind, Verdict};
use crate::error::LedgerError;
use crate::query::{EntryFilter, MOST, Reader, Where, unsigned};
use crate::write::signed;
use rusqlite::types::Value;
use rusqlite::{InterruptHandle, Row, params_from_iter};

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
    fn column(self) -> &'static str {
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

    /// How often what was of the entries that a filter means, in steps of so many microseconds from `since` on.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn series(&self, filter: &EntryFilter, by: SeriesBy, step: u64) -> Result<Vec<Point>, LedgerError> {
        let column = match by {
            SeriesBy::Verdict => "verdict",
            SeriesBy::Kind => "kind",
            SeriesBy::Field(field) => field.column(),
        };
        let since = signed(filter.since.unwrap_or(0));
        let step = signed(step).max(1);
        let conditions = Where::entries(filter);
        let query = format!(
            "{}SELECT step, word, w.text, number FROM (SELECT (e.time - {since}) / {step} AS step, e.{column} AS word, \
             {} AS number FROM entries e{} GROUP BY 1, 2) LEFT JOIN words w ON w.id = word ORDER BY step, word",
            conditions.with,
            summed("e.count"),
            conditions.text
        );
        let name = |row: &Row<'_>| -> rusqlite::Result<String> {
            let number: i64 = row.get(1)?;
            Ok(match by {
                SeriesBy::Verdict => Verdict::of_number(number).map_or("unknown", Verdict::name).to_owned(),
                SeriesBy::Kind => Kind::of_number(number).map_or("unknown", Kind::name).to_owned(),
                SeriesBy::Field(_) => row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            })
        };
        self.all("counting over time", &query, conditions.values, |row| {
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

    /// How often each rule decided, of the entries that a filter means.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rules(&self, filter: &EntryFilter) -> Result<Vec<RuleSum>, LedgerError> {
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
        let conditions = Where::entries(&filter);
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
                let verdict = Verdict::of_number(row.get(2)?).unwrap_or(Verdict::None);
                show(Call { source: row.get(0)?, destination: row.get(1)?, verdict, detail: row.get(3)? });
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

fn findings(conditions: &str) -> String {
    format!(
        "SELECT s.text, d.text, g.number FROM (SELECT e.source, e.destination, count(*) AS number FROM entries e{conditions} \
         GROUP BY +e.source, e.destination) g JOIN words s ON s.id = g.source JOIN words d ON d.id = g.destination \
         ORDER BY g.number DESC, s.text, d.text LIMIT {MOST}"
    )
}

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
    use crate::query::tests::plan;

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
}
