//! Entries as rows of ClickHouse, and the tables that they go to.
//!
//! Source: <https://clickhouse.com/docs/interfaces/http>, <https://clickhouse.com/docs/operations/settings/settings> (`async_insert`,
//! `wait_for_async_insert`, `insert_deduplication_token`). The same
//! rows that come again are left out while the server remembers their token. After that, the table still keeps one of those with
//! the same key (at once with `FINAL`, else after a merge), and the view of edges counts them twice.

use crate::batch::Lost;
use crate::format;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use ledger::Stored;
use observe::Time;
use serde_json::{Value, json};

/// Where rows go to in a database, and the view that sums them up.
pub(crate) const TABLE: &str = "cofferdam_records";
pub(crate) const EDGES: &str = "cofferdam_edges";

/// The statements that make the tables in a database. `days` is how long rows are kept.
#[must_use]
pub fn clickhouse_ddl(database: &str, days: u16) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {database}.{TABLE} (
    id String, number UInt64, time DateTime64(6, 'UTC'), kind LowCardinality(String), verdict LowCardinality(String),
    node LowCardinality(String), source LowCardinality(String), destination String, port UInt16, protocol UInt8,
    rule LowCardinality(String), reason LowCardinality(String), count UInt64, bytes_sent UInt64, bytes_received UInt64,
    detail String CODEC(ZSTD(3)), ledger LowCardinality(String))
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (kind, source, time, node, number)
TTL toDateTime(time) + INTERVAL {days} DAY
SETTINGS non_replicated_deduplication_window = 1000;

ALTER TABLE {database}.{TABLE} ADD COLUMN IF NOT EXISTS ledger LowCardinality(String);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{EDGES}
ENGINE = AggregatingMergeTree
ORDER BY (source, destination, port, protocol)
SETTINGS non_replicated_deduplication_window = 1000
AS SELECT source, destination, port, protocol,
    minSimpleState(time) AS first_seen, maxSimpleState(time) AS last_seen,
    sumSimpleState(toUInt128(if(verdict = 'allow', count, 0))) AS allowed,
    sumSimpleState(toUInt128(if(verdict = 'allow', 0, count))) AS denied,
    sumSimpleState(toUInt128(bytes_sent)) AS sent, sumSimpleState(toUInt128(bytes_received)) AS received,
    argMaxState(toString(rule), (time, number)) AS last_rule
FROM {database}.{TABLE} WHERE kind = 'flow' AND destination != '' GROUP BY source, destination, port, protocol;
"
    )
}

/// Whether a text is a name that needs no quotes.
pub(crate) fn is_name(text: &str) -> bool {
    let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_word && text.starts_with(|c: char| !c.is_ascii_digit()) && text.len() <= 64
}

/// Path and query of the request that adds these rows: they are acknowledged when they are in the table, and the same rows are
/// not added again while the server remembers them. A table of before, with fewer columns, takes what it has.
pub(crate) fn path(database: &str, body: &[u8]) -> String {
    let token = HEXLOWER.encode(digest(&SHA256, body).as_ref());
    format!(
        "/?query=INSERT%20INTO%20{database}.{TABLE}%20FORMAT%20JSONEachRow&date_time_input_format=best_effort\
         &async_insert=1&wait_for_async_insert=1&deduplicate_blocks_in_dependent_materialized_views=1\
         &input_format_skip_unknown_fields=1&insert_deduplication_token={token}"
    )
}

/// An entry as a row; the detail is its text. `ledger` says by which ledger it has its number.
pub(crate) fn row(stored: &Stored, ledger: &str) -> Value {
    let mut row = format::line(stored);
    if let Some(row) = row.as_object_mut() {
        row.insert("detail".to_owned(), json!(stored.entry.detail.as_deref().unwrap_or_default()));
        row.insert("ledger".to_owned(), json!(ledger));
    }
    row
}

/// What is missing, as a row: `count` is how many.
pub(crate) fn lost(lost: &Lost, ledger: &str) -> Value {
    json!({
        "id": format!("lost-{}-{}", lost.up_to, lost.records),
        "number": lost.up_to,
        "time": Time(lost.time),
        "kind": "lost",
        "count": lost.records,
        "ledger": ledger,
    })
}
