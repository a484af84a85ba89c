//! Finding entries again: by all that they say, page by page.
//!
//! Enters: a filter. Leaves: entries with their numbers, or the conditions of a query that has others of its own.

use crate::brief::{self, Brief};
use crate::entry::{Entry, Kind, Verdict};
use crate::error::LedgerError;
use crate::query::{Reader, positive};
use crate::search::{Column, Match, limit, with_ends};
use crate::trail;
use crate::words::Texts;
use crate::write::signed;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};
use std::fmt::Write as _;
use std::sync::Arc;

/// What [`stored`] reads of an entry `e`, behind [`brief::SELECTED`].
pub(crate) const DETAIL: &str = "e.detail";

/// An entry with its number in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// From 1, ascending; numbers of what was forgotten do not come again.
    pub id: i64,
    /// What was written.
    pub entry: Entry,
}

/// Which entries; what is absent holds for all.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
    /// Of this source.
    pub source: Option<String>,
    /// To this destination.
    pub destination: Option<String>,
    /// Not older, in microseconds since 1970.
    pub since: Option<u64>,
    /// Not younger.
    pub until: Option<u64>,
    /// With a lower number: what came before.
    pub before: Option<i64>,
    /// At most so many, the first in `order`; [`crate::query::MOST`] at most.
    pub limit: Option<usize>,
    /// Of one of these kinds; where none is named, of any.
    pub kinds: Vec<Kind>,
    /// At this destination port.
    pub port: Option<u16>,
    /// With these texts; all must hold.
    pub texts: Vec<(Column, Match)>,
    /// Requests that offer or call a tool with such a name.
    pub tool: Option<Match>,
    /// With a higher number: what came after.
    pub after: Option<i64>,
    /// Which come first.
    pub order: Order,
}

/// Which entries come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Those with the highest numbers.
    #[default]
    NewestFirst,
    /// Those with the lowest numbers.
    OldestFirst,
}

/// Conditions of a query, and what is bound in them.
#[derive(Default)]
pub(crate) struct Where {
    /// Tables of words that conditions name.
    pub(crate) with: String,
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
}

impl Where {
    /// That an entry `e` is one of those that a filter means, but for their number, order and limit.
    pub(crate) fn entries(filter: &EntryFilter) -> Self {
        let mut conditions = Self::default();
        conditions.texts(&filter.texts(), |column, table| column.is_in(table));
        if !filter.kinds.is_empty() {
            let numbers: Vec<String> = filter.kinds.iter().map(|kind| kind.number().to_string()).collect();
            conditions.holds(&format!("e.kind IN ({})", numbers.join(", ")));
        }
        conditions.and("e.kind = ?", filter.kind.map(Kind::number));
        conditions.and("e.verdict = ?", filter.verdict.map(Verdict::number));
        conditions.and("e.port = ?", filter.port.map(i64::from));
        conditions.span(filter);
        if let Some(tool) = &filter.tool {
            conditions.tool(tool);
        }
        conditions
    }

    /// That an entry `e` is within the times and numbers of a filter.
    pub(crate) fn span(&mut self, filter: &EntryFilter) {
        self.and("e.time >= ?", filter.since.map(signed));
        self.and("e.time <= ?", filter.until.map(signed));
        self.and("e.id < ?", filter.before);
        self.and("e.id > ?", filter.after);
    }

    /// Details are JSON of this program's own writing; what somebody changed may not be, and has no tools.
    fn tool(&mut self, wanted: &Match) {
        let (condition, values) = wanted.of("value");
        self.holds(&format!(
            "(e.kind = {} AND instr(e.detail, '\"tools\"') > 0 AND CASE WHEN json_valid(e.detail) THEN EXISTS (SELECT 1 FROM \
             json_each(e.detail, '$.operation.tools') WHERE {condition}) ELSE 0 END)",
            Kind::AiCall.number()
        ));
        self.values.extend(values);
    }

    /// `condition` has one `?`.
    pub(crate) fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        let Some(value) = value else { return };
        self.holds(condition);
        self.values.push(value.into());
    }

    /// `condition` has no `?`.
    pub(crate) fn holds(&mut self, condition: &str) {
        let word = if self.text.is_empty() { "WHERE" } else { "AND" };
        // Writing to a string cannot fail.
        let _ = write!(self.text, " {word} {condition}");
    }

    /// All of the words that `texts` mean are looked up once. To be called before anything else: what is bound comes first.
    pub(crate) fn texts(&mut self, texts: &[(Column, Match)], is_in: fn(Column, &str) -> String) {
        for (number, (column, wanted)) in texts.iter().enumerate() {
            let (query, values) = wanted.query();
            let word = if self.with.is_empty() { "WITH" } else { "," };
            let _ = write!(self.with, "{word} words_{number} AS MATERIALIZED ({query}) ");
            self.values.extend(values);
            self.holds(&is_in(*column, &format!("words_{number}")));
        }
    }
}

impl EntryFilter {
    /// All texts that must hold, those of `source` and `destination` with them.
    #[must_use]
    pub fn texts(&self) -> Vec<(Column, Match)> {
        with_ends(&self.texts, self.source.as_ref(), self.destination.as_ref())
    }
}

impl Reader {
    /// Entries, the newest first where the filter says no other.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        self.page(filter, usize::MAX).map(|(entries, _)| entries)
    }

    /// The same, of which no more come once their texts have so many bytes; and whether that was why it ended.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn page(&self, filter: &EntryFilter, bytes: usize) -> Result<(Vec<Stored>, bool), LedgerError> {
        if !self.knows_all(&filter.texts())? {
            return Ok((Vec::new(), false));
        }
        if let Some(source) = trail::only_source(filter) {
            return self.page_of_source(&source, filter, bytes);
        }
        let conditions = Where::entries(filter);
        let order = match filter.order {
            Order::NewestFirst => "DESC",
            Order::OldestFirst => "ASC",
        };
        // What is sorted are numbers: whole entries, with their details, only those of the answer.
        let query = format!(
            "{}SELECT {}, {DETAIL} FROM (SELECT e.id AS number FROM entries e{} ORDER BY e.id {order} LIMIT {}) \
             JOIN entries e ON e.id = number ORDER BY e.id {order}",
            conditions.with,
            brief::SELECTED,
            conditions.text,
            limit(filter.limit)
        );
        let mut texts = self.texts();
        self.reading("looking for entries", |connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut rows = statement.query(params_from_iter(&conditions.values))?;
            let mut find = Texts::find(connection)?;
            let (mut found, mut left) = (Vec::new(), bytes);
            while let Some(row) = rows.next()? {
                let Some(it) = stored(row, |number| texts.get(&mut find, number))? else { continue };
                left = left.saturating_sub(it.entry.bytes());
                found.push(it);
                if left == 0 {
                    return Ok((found, true));
                }
            }
            Ok((found, false))
        })
    }
}

/// An entry; `None`: one of its words is missing.
pub(crate) fn stored(
    row: &Row<'_>,
    text: impl FnMut(i64) -> rusqlite::Result<Option<Arc<str>>>,
) -> rusqlite::Result<Option<Stored>> {
    let it = Brief::read(row)?;
    let entry = entry_of(&it, row.get(14)?, text)?;
    Ok(entry.map(|entry| Stored { id: it.id, entry }))
}

/// An entry with its detail; `None`: one of its words is missing.
pub(crate) fn entry_of(
    it: &Brief,
    detail: Option<String>,
    mut text: impl FnMut(i64) -> rusqlite::Result<Option<Arc<str>>>,
) -> rusqlite::Result<Option<Entry>> {
    let unknown = |column, value| rusqlite::Error::IntegralValueOutOfRange(column, value);
    let kind = Kind::of_number(it.kind).ok_or_else(|| unknown(2, it.kind))?;
    let verdict = Verdict::of_number(it.verdict).ok_or_else(|| unknown(3, it.verdict))?;
    let (node, source, destination) = (text(it.node)?, text(it.source)?, text(it.destination)?);
    let (Some(node), Some(source), Some(destination)) = (node, source, destination) else { return Ok(None) };
    let (Some(rule), Some(reason)) = (text(it.rule)?, text(it.reason)?) else { return Ok(None) };
    Ok(Some(Entry {
        time: positive(it.time),
        kind,
        verdict,
        node,
        source,
        destination,
        port: u16::try_from(it.port).map_err(|_| unknown(7, it.port))?,
        protocol: u8::try_from(it.protocol).map_err(|_| unknown(8, it.protocol))?,
        rule,
        reason,
        count: positive(it.count),
        sent: positive(it.sent),
        received: positive(it.received),
        detail,
    }))
}
