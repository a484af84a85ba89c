//! ClickHouse, asked what the ledger is asked ([`Store`]).
//!
//! Enters: questions. Leaves: the answers that the ledger gives whose entries were sent there. Guarantees: texts are parameters of a
//! query and never a part of it; an answer is whole, or says where it goes on, or is an error; entries that are there twice are
//! answered once. Entries of several ledgers are in no order, for each ledger has numbers of its own: a question that such are meant by
//! is refused, and not answered in another order. Does not: change anything, or set limits of the server's but where it is told to
//! ([`Limits`]): without, its administrator sets them for whoever asks.
//!
//! What differs from the ledger: of a sum of 15 seconds it is known when it began, so an edge may have been seen up to 15 seconds
//! later than is said; all destinations of a source are told apart; what was sent again after the server forgot its token counts
//! twice in edges.
//!
//! Source: <https://clickhouse.com/docs/interfaces/http> ("Queries with parameters", `wait_end_of_query`).

mod query;

use crate::error::ExportError;
use crate::http::{Http, Tls, WHOLE};
use crate::settings::Settings;
use crate::sink::hidden;
use crate::target::{Format, Place, Target};
use ledger::{
    BoundedStore, Edge, EdgeFilter, EdgeMark, EdgePage, Entry, EntryFilter, LedgerError, MarkOf, Measure,
    Pair, Point, SeriesBy, Store, Stored, Sum, TopBy,
};
use query::Query;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;
use std::vec::IntoIter;
use tokio::runtime::Builder;

/// Most bytes of one answer.
const ANSWER: usize = 64 << 20;
/// How much longer than a query may take its answer is waited for: the server's own words say more.
const GRACE: Duration = Duration::from_secs(2);
/// How the server begins to say that who asks may not send settings.
const READONLY: &str = "Code: 164";
/// What a server that was told to give less instead of an error must not do; of the set too that `IN` looks in, which is less then as well.
const OVERFLOWS: [&str; 7] = [
    "timeout_overflow_mode",
    "read_overflow_mode",
    "group_by_overflow_mode",
    "sort_overflow_mode",
    "distinct_overflow_mode",
    "set_overflow_mode",
    "result_overflow_mode",
];

/// What one query may take of the server. It is sent with each, so that a server that is full or slow does not take who asks with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take, in whole seconds.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for Limits {
    /// For who answers others.
    fn default() -> Self {
        Self { time: Duration::from_secs(10), memory: 2 << 30 }
    }
}

impl Limits {
    /// As settings of a request, behind others.
    fn settings(&self) -> String {
        let throw = OVERFLOWS.map(|mode| format!("&{mode}=throw")).concat();
        let seconds = self.time.as_secs().max(1);
        format!("&max_execution_time={seconds}&max_memory_usage={}{throw}", self.memory.max(1))
    }
}

/// A database of ClickHouse that a ledger's entries were sent to. To be asked by threads that may wait, never by tasks.
#[derive(Debug)]
pub struct ClickHouse {
    http: Http,
    database: String,
    /// Its URL.
    shown: String,
    limits: Option<Limits>,
}

impl ClickHouse {
    /// Nothing is connected before something is asked.
    ///
    /// # Errors
    /// The target is not ClickHouse, a file that goes with it is not what it should be, or headers would be readable on the way.
    pub fn new(target: &Target, settings: &Settings) -> Result<Self, ExportError> {
        let shown = target.to_string();
        let (Format::ClickHouse, Place::Http { host, path }) = (target.format, &target.place) else {
            return Err(ExportError::Target { target: shown, why: "it cannot be asked".to_owned() });
        };
        if !settings.headers()?.is_empty() {
            hidden(target, host, "clickhouse+https, or a server on this machine")?;
        }
        let tls = if host.is_tls { Tls::Host(settings.tls()?) } else { Tls::Clear };
        let http = Http::new(target.format, host.clone(), path, tls, settings.clone());
        Ok(Self { http, database: path.clone(), shown, limits: None })
    }

    /// The same, with limits for each query. Whoever asks must be let set them: a profile with `readonly = 1` does not.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    fn ask<T>(
        &self,
        doing: &'static str,
        query: &Query,
        read: impl Fn(&mut Row) -> Result<T, String>,
    ) -> Result<Vec<T>, LedgerError> {
        self.ask_within(doing, query, usize::MAX, read).map(|(found, _)| found)
    }

    /// Rows until they have so many bytes, and whether that was why they ended.
    fn ask_within<T>(
        &self,
        doing: &'static str,
        query: &Query,
        bytes: usize,
        read: impl Fn(&mut Row) -> Result<T, String>,
    ) -> Result<(Vec<T>, bool), LedgerError> {
        let (mut found, mut left) = (Vec::new(), bytes);
        self.ask_each(doing, query, |line| {
            found.push(read(&mut Row::of(line)?)?);
            left = left.saturating_sub(line.len());
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((found, left == 0))
    }

    /// Shows the lines of an answer one by one, until it is told to stop.
    fn ask_each(
        &self,
        doing: &'static str,
        query: &Query,
        see: impl FnMut(&[u8]) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), LedgerError> {
        let (mut path, text) = (query.path(), query.text());
        path.extend(self.limits.map(|limits| limits.settings()));
        let patience = self.limits.map_or(WHOLE, |limits| limits.time + GRACE);
        let asking = self.http.ask(&path, text.as_bytes(), (ANSWER, patience), see);
        // With it ends the connection.
        let runtime = Builder::new_current_thread().enable_all().build();
        let answer = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(asking));
        answer.map(|_| ()).map_err(|why| self.failed(doing, why))
    }

    fn failed(&self, doing: &'static str, mut why: String) -> LedgerError {
        if self.limits.is_some() && why.contains(READONLY) {
            why.push_str(": limits are sent with each query; give who asks a profile with readonly = 2");
        }
        LedgerError::Store { store: self.shown.clone(), doing, why }
    }
}

impl Store for ClickHouse {
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        self.page(filter, usize::MAX).map(|(found, _)| found)
    }

    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        self.edge_page_within(filter, usize::MAX)
    }

    fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        let query = Query::top(&self.database, by, measure, since, most);
        self.ask("summing up", &query, |row| {
            Ok(Sum {
                of: row.text()?,
                count: row.number()?,
                denied: row.number()?,
                sent: row.number()?,
                received: row.number()?,
            })
        })
    }
}

impl BoundedStore for ClickHouse {
    fn page(&self, filter: &EntryFilter, bytes: usize) -> Result<(Vec<Stored>, bool), LedgerError> {
        let query = Query::entries(&self.database, filter);
        let read = |row: &mut Row| -> Result<(Stored, u64), String> { Ok((stored(row)?, row.number()?)) };
        let (found, is_cut) = self.ask_within("looking for entries", &query, bytes, read)?;
        let ledgers = found.first().map_or(0, |(_, ledgers)| *ledgers);
        if ledgers > 1 {
            return Err(LedgerError::Several { store: self.shown.clone(), ledgers });
        }
        Ok((found.into_iter().map(|(stored, _)| stored).collect(), is_cut))
    }

    fn edge_page_within(&self, filter: &EdgeFilter, bytes: usize) -> Result<EdgePage, LedgerError> {
        filter.goes_on_in(MarkOf::ClickHouse)?;
        let query = Query::edges(&self.database, filter);
        let (found, is_cut) = self.ask_within("looking for edges", &query, bytes, |row| {
            let it = edge(row)?;
            let (source, destination) = (row.number()?, row.number()?);
            let (first, port, protocol) = (it.first, it.port, it.protocol);
            Ok((it, EdgeMark { of: MarkOf::ClickHouse, first, source, destination, port, protocol }))
        })?;
        let last = found.last().map(|(_, mark)| *mark);
        let next = last.filter(|_| is_cut || found.len() == query::limit(filter.limit));
        Ok(EdgePage { edges: found.into_iter().map(|(edge, _)| edge).collect(), next })
    }

    fn series(
        &self,
        filter: &EntryFilter,
        by: SeriesBy,
        step: u64,
        most: usize,
    ) -> Result<Vec<Point>, LedgerError> {
        let query = Query::series(&self.database, filter, by, step, most);
        self.ask("counting over time", &query, |row| {
            Ok(Point { step: row.number()?, of: row.text()?, count: row.number()? })
        })
    }

    fn each_pair(
        &self,
        filter: &EntryFilter,
        new_since: Option<u64>,
        show: &mut dyn FnMut(Pair),
    ) -> Result<(), LedgerError> {
        let query = Query::pairs(&self.database, filter, new_since);
        self.ask_each("looking for pairs", &query, |line| {
            show(pair(&mut Row::of(line)?)?);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn missing(&self) -> Result<u64, LedgerError> {
        let found = self.ask("reading what is lost", &Query::missing(&self.database), Row::number)?;
        let none = || self.failed("reading what is lost", "its answer has no row".to_owned());
        found.first().copied().ok_or_else(none)
    }
}

/// One line, read column by column. What a server says after it began to answer is no line of ours.
struct Row(IntoIter<Value>);

impl Row {
    fn of(line: &[u8]) -> Result<Self, String> {
        let values: Vec<Value> = serde_json::from_slice(line)
            .map_err(|error| format!("its answer has a line that is no row: {error}"))?;
        Ok(Self(values.into_iter()))
    }

    fn value<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        let value = self.0.next().ok_or("its answer has a row that ends early")?;
        serde_json::from_value(value)
            .map_err(|error| format!("its answer has a row with a wrong value: {error}"))
    }

    fn text(&mut self) -> Result<String, String> {
        self.value()
    }

    /// Servers write long numbers as numbers or as texts, as they are set up.
    fn number<T: DeserializeOwned + FromStr>(&mut self) -> Result<T, String> {
        match self.value()? {
            Value::String(text) => text
                .parse()
                .map_err(|_| format!("its answer has {:?} for a number", crate::http::told_text(&text))),
            value => serde_json::from_value(value)
                .map_err(|error| format!("its answer has a row with a wrong number: {error}")),
        }
    }
}

fn stored(row: &mut Row) -> Result<Stored, String> {
    let id = row.number()?;
    let entry = Entry {
        time: row.number()?,
        kind: row.value()?,
        verdict: row.value()?,
        node: row.text()?.into(),
        source: row.text()?.into(),
        destination: row.text()?.into(),
        port: row.number()?,
        protocol: row.number()?,
        rule: row.text()?.into(),
        reason: row.text()?.into(),
        count: row.number()?,
        sent: row.number()?,
        received: row.number()?,
        // A detail is an object, so that nothing means that there is none.
        detail: Some(row.text()?).filter(|detail| !detail.is_empty()),
    };
    Ok(Stored { id, entry })
}

fn edge(row: &mut Row) -> Result<Edge, String> {
    Ok(Edge {
        source: row.text()?.into(),
        destination: row.text()?.into(),
        port: row.number()?,
        protocol: row.number()?,
        first: row.number()?,
        last: row.number()?,
        allowed: row.number()?,
        denied: row.number()?,
        sent: row.number()?,
        received: row.number()?,
        rule: row.text()?.into(),
    })
}

fn pair(row: &mut Row) -> Result<Pair, String> {
    Ok(Pair {
        source: row.text()?,
        destination: row.text()?,
        port: row.number()?,
        protocol: row.number()?,
        allowed: row.number()?,
        denied: row.number()?,
        sent: row.number()?,
        received: row.number()?,
        first: row.number()?,
        last: row.number()?,
        ever_first: row.number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_numbers_and_as_texts_and_nothing_else_is() {
        let read = |line: &str| Row::of(line.as_bytes()).and_then(|mut row| row.number::<u64>());
        assert_eq!((read("[18446744073709551615]"), read("[\"7\"]")), (Ok(u64::MAX), Ok(7)));
        for (line, says) in [
            ("[-1]", "wrong number"),
            ("[1.5]", "wrong number"),
            ("[\"x\\u001b\"]", "\"x \" for a number"),
            ("[]", "ends early"),
            ("Code: 241. DB::Exception: Memory limit exceeded", "no row"),
            ("", "no row"),
            ("[1][2]", "no row"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
        assert!(Row::of(b"[\"\xff\"]").is_err());
    }
}
