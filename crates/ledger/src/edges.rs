//! Edges: who ever reached, or tried to reach, whom; page by page, those first that were first seen last.
//!
//! Enters: a filter, and where an earlier page ended. Leaves: edges, and where the next page begins.

use crate::entries::Where;
use crate::entry::Verdict;
use crate::error::LedgerError;
use crate::query::{Reader, positive, unsigned};
use crate::search::{Column, Match, limit, with_ends};
use crate::words::Texts;
use crate::write::signed;
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Which edges; what is absent holds for all.
#[derive(Clone, Debug, Default)]
pub struct EdgeFilter {
    /// Of this source.
    pub source: Option<String>,
    /// To this destination.
    pub destination: Option<String>,
    /// First seen not before, in microseconds since 1970.
    pub first_since: Option<u64>,
    /// Last seen not before.
    pub last_since: Option<u64>,
    /// First seen not after.
    pub first_until: Option<u64>,
    /// With these texts; all must hold. An edge has no node and no reason: who asks for one finds nothing.
    pub texts: Vec<(Column, Match)>,
    /// At this destination port.
    pub port: Option<u16>,
    /// That was let through at some time, or was not.
    pub verdict: Option<Verdict>,
    /// Only what comes behind this one: the last of an earlier page.
    pub after: Option<EdgeMark>,
    /// At most so many, the newest by when they were first seen; [`crate::query::MOST`] at most.
    pub limit: Option<usize>,
}

/// Who ever reached, or tried to reach, whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who.
    pub source: Arc<str>,
    /// Whom.
    pub destination: Arc<str>,
    /// At which port.
    pub port: u16,
    /// By which transport protocol.
    pub protocol: u8,
    /// First seen, in microseconds since 1970.
    pub first: u64,
    /// Last seen.
    pub last: u64,
    /// How often it was let through.
    pub allowed: u64,
    /// How often it was not.
    pub denied: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// The rule that decided last.
    pub rule: Arc<str>,
}

/// Edges in the order of a store, and where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgePage {
    /// The edges.
    pub edges: Vec<Edge>,
    /// The last of them, where there may be more: as many as were asked for came, or as many as there was room for.
    pub next: Option<EdgeMark>,
}

/// Whose order a mark is in. Its letter begins the mark: a mark of another form gets another letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOf {
    /// The file of a ledger.
    Ledger,
    /// A database of ClickHouse.
    ClickHouse,
}

impl MarkOf {
    fn letter(self) -> &'static str {
        match self {
            Self::Ledger => "l",
            Self::ClickHouse => "c",
        }
    }
}

/// Where an edge is in the order of the store that gave it: a letter and digits, which say nothing to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeMark {
    /// The store.
    pub of: MarkOf,
    /// When it was first seen, in microseconds since 1970.
    pub first: u64,
    /// A number that the store has for its source.
    pub source: u64,
    /// The same for its destination.
    pub destination: u64,
    /// Its port.
    pub port: u16,
    /// Its transport protocol.
    pub protocol: u8,
}

/// A text that no store gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no mark of a page of edges: give what an earlier answer has for the next one")]
pub struct NoMark;

impl fmt::Display for EdgeMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, first, source, destination, port, protocol } = self;
        write!(f, "{}-{first:x}-{source:x}-{destination:x}-{port:x}-{protocol:x}", of.letter())
    }
}

impl FromStr for EdgeMark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let (letter, numbers) = text.split_once('-').ok_or(NoMark)?;
        let of = [MarkOf::Ledger, MarkOf::ClickHouse].into_iter().find(|of| of.letter() == letter);
        let of = of.ok_or(NoMark)?;
        let numbers = numbers.split('-').map(|part| {
            let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(part, 16).ok().filter(|_| is_hex)
        });
        let numbers: Vec<u64> = numbers.collect::<Option<_>>().ok_or(NoMark)?;
        let [first, source, destination, port, protocol] = *numbers.as_slice() else { return Err(NoMark) };
        let (Ok(port), Ok(protocol)) = (u16::try_from(port), u8::try_from(protocol)) else {
            return Err(NoMark);
        };
        Ok(Self { of, first, source, destination, port, protocol })
    }
}

impl EdgeFilter {
    /// That a page of it can begin in this store.
    ///
    /// # Errors
    /// It is to begin behind a mark of another.
    pub fn goes_on_in(&self, store: MarkOf) -> Result<(), LedgerError> {
        match self.after {
            Some(mark) if mark.of != store => Err(LedgerError::OtherMark),
            Some(_) | None => Ok(()),
        }
    }

    /// All texts that must hold, those of `source` and `destination` with them.
    #[must_use]
    pub fn texts(&self) -> Vec<(Column, Match)> {
        with_ends(&self.texts, self.source.as_ref(), self.destination.as_ref())
    }
}

impl Reader {
    /// Edges, those first that were first seen last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn edges(&self, filter: &EdgeFilter) -> Result<Vec<Edge>, LedgerError> {
        self.edge_page(filter).map(|page| page.edges)
    }

    /// The same, with where the next page begins. Of pages that follow each other each edge is in one, whatever is written meanwhile; only
    /// one that turns out to have been seen earlier can come again.
    ///
    /// # Errors
    /// The file cannot be read, or the page is to begin behind a mark of another store.
    pub fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        self.edge_page_within(filter, usize::MAX)
    }

    /// The same, and no more once their texts have so many bytes.
    ///
    /// # Errors
    /// As [`Self::edge_page`].
    pub fn edge_page_within(&self, filter: &EdgeFilter, bytes: usize) -> Result<EdgePage, LedgerError> {
        filter.goes_on_in(MarkOf::Ledger)?;
        if !self.knows_all(&filter.texts())? {
            return Ok(EdgePage::default());
        }
        let (query, conditions) = edges(filter);
        let mut texts = self.texts();
        let mut last = None;
        let (found, is_cut) = self.reading("looking for edges", |connection| {
            let mut statement = connection.prepare_cached(&query)?;
            // Both read the same moment, for the second runs while the first does.
            let mut rows = statement.query(params_from_iter(&conditions.values))?;
            let mut find = Texts::find(connection)?;
            let (mut found, mut left) = (Vec::new(), bytes);
            while let Some(row) = rows.next()? {
                let Some((it, mark)) = edge(row, |number| texts.get(&mut find, number))? else { continue };
                last = Some(mark);
                left = left.saturating_sub(it.source.len() + it.destination.len() + it.rule.len());
                found.push(it);
                if left == 0 {
                    return Ok((found, true));
                }
            }
            Ok((found, false))
        })?;
        let next = last.filter(|_| is_cut || found.len() == limit(filter.limit));
        Ok(EdgePage { edges: found, next })
    }

    /// Goes through who was let through to whom, those first that were seen last, and when first; at most so many. For whoever
    /// has to know what is usual.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_allowed_edge(
        &self,
        most: usize,
        mut see: impl FnMut(&str, &str, u64),
    ) -> Result<(), LedgerError> {
        let query = "SELECT s.text, d.text, e.first FROM edges e JOIN words s ON s.id = e.source \
                     JOIN words d ON d.id = e.destination WHERE e.allowed > 0 ORDER BY e.last DESC LIMIT ?1";
        self.reading("going through edges", |connection| {
            let mut statement = connection.prepare(query)?;
            let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                see(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, unsigned(row, 2)?);
            }
            Ok(())
        })
    }
}

fn edges(filter: &EdgeFilter) -> (String, Where) {
    let mut conditions = Where::default();
    conditions.texts(&filter.texts(), Column::is_in_edge);
    conditions.and("e.first >= ?", filter.first_since.map(signed));
    conditions.and("e.first <= ?", filter.first_until.map(signed));
    conditions.and("e.last >= ?", filter.last_since.map(signed));
    conditions.and("e.port = ?", filter.port.map(i64::from));
    match filter.verdict {
        Some(Verdict::Allow) => conditions.holds("e.allowed > 0"),
        // An edge tells apart only what was let through and what was not.
        Some(Verdict::Deny | Verdict::Fail | Verdict::None) => conditions.holds("e.denied > 0"),
        None => {}
    }
    if let Some(EdgeMark { of: _, first, source, destination, port, protocol }) = filter.after {
        conditions.holds("(e.first, e.source, e.destination, e.port, e.protocol) < (?, ?, ?, ?, ?)");
        let numbers = [signed(first), signed(source), signed(destination), port.into(), protocol.into()];
        conditions.values.extend(numbers.map(Value::from));
    }
    // In the order of an index. Texts are looked up afterwards: joined, whole rows would be sorted once more, and each text looked up for
    // each row.
    let query = format!(
        "{}SELECT e.source, e.destination, e.port, e.protocol, e.first, e.last, e.allowed, e.denied, e.sent, e.received, e.rule \
         FROM edges e{} ORDER BY e.first DESC, e.source DESC, e.destination DESC, e.port DESC, e.protocol DESC LIMIT {}",
        conditions.with,
        conditions.text,
        limit(filter.limit)
    );
    (query, conditions)
}

/// An edge and where it is; `None`: one of its words is missing.
fn edge(
    row: &Row<'_>,
    mut text: impl FnMut(i64) -> rusqlite::Result<Option<Arc<str>>>,
) -> rusqlite::Result<Option<(Edge, EdgeMark)>> {
    let (source, destination): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (port, protocol, first) = (row.get(2)?, row.get(3)?, unsigned(row, 4)?);
    let (from, to) = (positive(source), positive(destination));
    let mark = EdgeMark { of: MarkOf::Ledger, first, source: from, destination: to, port, protocol };
    let (source, destination, rule) = (text(source)?, text(destination)?, text(row.get(10)?)?);
    let (Some(source), Some(destination), Some(rule)) = (source, destination, rule) else { return Ok(None) };
    let edge = Edge {
        source,
        destination,
        port,
        protocol,
        first,
        last: unsigned(row, 5)?,
        allowed: unsigned(row, 6)?,
        denied: unsigned(row, 7)?,
        sent: unsigned(row, 8)?,
        received: unsigned(row, 9)?,
        rule,
    };
    Ok(Some((edge, mark)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::plan;

    #[test]
    fn the_next_page_of_edges_begins_where_it_is_and_not_at_the_first() {
        let after =
            EdgeMark { of: MarkOf::Ledger, first: 7, source: 1, destination: 2, port: 443, protocol: 6 };
        let plan = plan(&edges(&EdgeFilter { after: Some(after), ..EdgeFilter::default() }).0);
        assert!(plan.contains("SEARCH e USING COVERING INDEX edges_newest ("), "{plan}");
    }

    #[test]
    fn edges_come_in_the_order_of_an_index_and_their_texts_are_not_joined() {
        for filter in [
            EdgeFilter::default(),
            EdgeFilter { first_since: Some(7), ..EdgeFilter::default() },
            EdgeFilter { first_until: Some(7), verdict: Some(Verdict::Deny), ..EdgeFilter::default() },
        ] {
            let plan = plan(&edges(&filter).0);
            assert!(
                plan.contains("e USING COVERING INDEX edges_newest") && plan.lines().count() == 1,
                "{plan}"
            );
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written_and_nothing_else_is() {
        let of = MarkOf::Ledger;
        let mark =
            EdgeMark { of, first: u64::MAX, source: 0, destination: 31, port: u16::MAX, protocol: 132 };
        let other = EdgeMark { of: MarkOf::ClickHouse, ..mark };
        assert_eq!(mark.to_string(), "l-ffffffffffffffff-0-1f-ffff-84");
        assert_eq!(other.to_string(), "c-ffffffffffffffff-0-1f-ffff-84");
        assert_eq!((mark.to_string().parse(), other.to_string().parse()), (Ok(mark), Ok(other)));
        for text in [
            "",
            "7",
            "1-2-3-4-5",
            "l-1-2-3-4",
            "l-1-2-3-4-5-6",
            "l-1-2-3-10000-6",
            "l-1-2-3-4-100",
            "l-1-2-3--6",
            "l-+1-2-3-4-5",
            "l-x-2-3-4-5",
            "L-1-2-3-4-5",
            "x-1-2-3-4-5",
        ] {
            assert_eq!(text.parse::<EdgeMark>(), Err(NoMark), "{text}");
        }
    }
}
