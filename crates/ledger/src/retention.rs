//! Forgetting: the oldest blocks go when they are too old or the file is too large; edges, when they would take most of it.

use crate::join::AHEAD;
use crate::trail;
use crate::write::{EDGES_LOST, lose, signed};
use rusqlite::{Connection, OptionalExtension, params};

/// Blocks that are forgotten in one go, so that a writer never waits long.
const AT_ONCE: usize = 16;
/// So many more words than were in use the last time are let be.
const UNUSED: i64 = 100_000;
/// Bytes of an edge with its names and its places in indexes, about.
const EDGE: u64 = 256;
/// Edges that are forgotten in one go.
const EDGES_AT_ONCE: u64 = 20_000;

/// The oldest block that was not forgotten.
const OLDEST: &str = "SELECT number, last, newest FROM blocks WHERE pruned = 0 ORDER BY number LIMIT 1";

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long, in microseconds.
    pub age: u64,
    /// In how many bytes of file; some more may be in use for a while. Edges take half of it at most.
    pub bytes: u64,
}

impl Default for Retention {
    /// Thirty days, two GiB.
    fn default() -> Self {
        Self { age: 30 * 24 * 3600 * 1_000_000, bytes: 2 << 30 }
    }
}

/// Forgets old blocks, and says whether words went, too; `words_left` are those that were in use when they were last looked
/// through. Room in the file is used again; the file does not shrink.
pub(crate) fn prune(
    connection: &mut Connection,
    now: u64,
    retention: &Retention,
    words_left: &mut i64,
) -> rusqlite::Result<bool> {
    let mut pruned = 0;
    while pruned < AT_ONCE {
        let oldest: Option<(i64, i64, i64)> = connection
            .prepare_cached(OLDEST)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((number, last, newest)) = oldest else { break };
        let limit = signed(now.saturating_sub(retention.age));
        let is_old = newest < limit
            || (newest > signed(now.saturating_add(AHEAD)) && is_past(connection, now, limit)?);
        if !is_old && used(connection)? <= retention.bytes {
            break;
        }
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.prepare_cached("DELETE FROM entries WHERE id <= ?1")?.execute([last])?;
        transaction.prepare_cached("DELETE FROM packed WHERE block <= ?1")?.execute([number])?;
        trail::forget(&transaction, number)?;
        transaction.prepare_cached("UPDATE blocks SET pruned = 1 WHERE number = ?1")?.execute([number])?;
        transaction.commit()?;
        pruned += 1;
    }
    if pruned == 0 { Ok(false) } else { forget_words(connection, words_left) }
}

/// Whether the first block that is not of the future is older than `limit`: what was written before it is, too, whatever a clock that was
/// wrong for a while said.
fn is_past(connection: &Connection, now: u64, limit: i64) -> rusqlite::Result<bool> {
    let first = "SELECT newest FROM blocks WHERE pruned = 0 AND newest <= ?1 ORDER BY number LIMIT 1";
    let ahead = signed(now.saturating_add(AHEAD));
    let first: Option<i64> =
        connection.prepare_cached(first)?.query_row([ahead], |row| row.get(0)).optional()?;
    Ok(first.is_some_and(|newest| newest < limit))
}

pub(crate) fn count_edges(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT count(*) FROM edges", [], |row| row.get(0))
        .map(|count: i64| u64::try_from(count).unwrap_or(0))
}

/// Forgets edges where they would take more than half of the file, in which there would be no room for entries then: first those of
/// which nothing was let through, for packets with false senders make as many of these as somebody likes. What goes is counted.
pub(crate) fn forget_edges(
    connection: &mut Connection,
    retention: &Retention,
    edges: &mut u64,
) -> rusqlite::Result<()> {
    let most = retention.bytes / 2 / EDGE;
    if *edges <= most {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let count = count_edges(&transaction)?;
    let beyond = count.saturating_sub(most).min(EDGES_AT_ONCE);
    if beyond == 0 {
        *edges = count;
        return Ok(());
    }
    let mut gone = 0;
    for which in ["WHERE allowed = 0 ORDER BY last", "ORDER BY first"] {
        let forget = format!(
            "DELETE FROM edges WHERE (source, destination, port, protocol) IN \
             (SELECT source, destination, port, protocol FROM edges {which} LIMIT ?1)"
        );
        gone += transaction.prepare_cached(&forget)?.execute([signed(beyond - gone)])? as u64;
    }
    lose(&transaction, EDGES_LOST, gone)?;
    transaction.commit()?;
    *edges = count - gone;
    Ok(())
}

/// Bytes of the file that hold something.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// Forgets words that nothing uses, where there are so many more that looking through all entries is worth it: in a flood of names
/// all of them are in use, and looking again with each block would leave no time to write.
fn forget_words(connection: &mut Connection, words_left: &mut i64) -> rusqlite::Result<bool> {
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM words", [], |row| row.get::<_, i64>(0))
    };
    if count(connection)?.saturating_sub(*words_left) < UNUSED {
        return Ok(false);
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // The newest stays, whoever uses it: no number of a word is given twice.
    let unused = "DELETE FROM words WHERE id < (SELECT max(id) FROM words) AND id NOT IN (SELECT node FROM entries UNION SELECT source FROM entries UNION \
                  SELECT destination FROM entries UNION SELECT rule FROM entries UNION SELECT reason FROM entries UNION \
                  SELECT source FROM edges UNION SELECT destination FROM edges UNION SELECT rule FROM edges)";
    let gone = transaction.execute(unused, params![])?;
    transaction.commit()?;
    *words_left = count(connection)?;
    Ok(gone > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::plan;

    #[test]
    fn blocks_that_were_forgotten_are_not_gone_through_again() {
        assert!(plan(OLDEST).contains("USING INDEX blocks_kept"), "{}", plan(OLDEST));
    }
}
