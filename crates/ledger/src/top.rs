//! The largest: of all connections since a time, by source, destination or rule.

use crate::entries::Where;
use crate::entry::{Kind, Verdict};
use crate::error::LedgerError;
use crate::query::{Reader, unsigned};
use crate::search::limit;
use crate::sums::{summed, summed_of};
use crate::write::signed;

/// By what sums are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopBy {
    /// Who.
    Source,
    /// Whom.
    Destination,
    /// The rule that decided.
    Rule,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes both ways.
    Bytes,
    /// How often.
    Count,
    /// How often it was not let through.
    Denied,
}

/// One line of a table of the largest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Of whom.
    pub of: String,
    /// How often.
    pub count: u64,
    /// How often it was not let through.
    pub denied: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

impl Reader {
    /// The largest of all connections since a time, by what is asked for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        let (query, conditions) = top(by, measure, since, most);
        self.list(&query, &conditions.values, "summing up", |row| {
            Ok(Sum {
                of: row.get(0)?,
                count: unsigned(row, 1)?,
                denied: unsigned(row, 2)?,
                sent: unsigned(row, 3)?,
                received: unsigned(row, 4)?,
            })
        })
    }
}

fn top(by: TopBy, measure: Measure, since: u64, most: usize) -> (String, Where) {
    let column = match by {
        TopBy::Source => "source",
        TopBy::Destination => "destination",
        TopBy::Rule => "rule",
    };
    let order = match measure {
        Measure::Bytes => "sent + received",
        Measure::Count => "number",
        Measure::Denied => "denied",
    };
    let mut conditions = Where::default();
    conditions.and("kind = ?", Some(Kind::Flow.number()));
    // All entries are read faster in their own order than in that of an index.
    conditions.and("time >= ?", Some(signed(since)).filter(|since| *since > 0));
    // The sign hides the column from the planner, which would go through all entries in its order.
    let query = format!(
        "SELECT w.text, number, denied, sent, received FROM (SELECT {column} AS word, {} AS number, \
         {} AS denied, {} AS sent, {} AS received \
         FROM entries e{} GROUP BY +{column}) JOIN words w ON w.id = word ORDER BY {order} DESC, w.text LIMIT {}",
        summed("e.count"),
        summed_of(Verdict::Deny),
        summed("e.sent"),
        summed("e.received"),
        conditions.text,
        limit(Some(most))
    );
    (query, conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::plan;

    #[test]
    fn the_largest_of_a_time_are_found_by_time_and_not_among_all_entries() {
        for by in [TopBy::Source, TopBy::Destination, TopBy::Rule] {
            let timed = plan(&top(by, Measure::Bytes, 7, 20).0);
            assert!(timed.contains("SEARCH e USING INDEX entries_by_time"), "{by:?}: {timed}");
            let all = plan(&top(by, Measure::Bytes, 0, 20).0);
            assert!(all.contains("SCAN e\n"), "{by:?}: {all}");
        }
    }
}
