//! ClickHouse, asked what the ledger is asked ([`Store`]).
//!
//! Enters: questions. Leaves: the answers that the ledger gives whose entries were sent there. Guarantees: texts are parameters of a
//! query and never a part of it; an answer is whole, or an error; entries that are there twice are answered once. Entries of several
//! ledgers are in no order, for each ledger has numbers of its own: a question that such are meant by is refused, and not answered in
//! another order. Does not: change anything, or set limits of the server's, which its administrator sets for whoever asks.
//!
//! What differs from the ledger: of a sum of 15 seconds it is known when it began, so an edge may have been seen up to 15 seconds
//! later than is said; all destinations of a source are told apart; what was sent again after the server forgot its token counts
//! twice in edges.
//!
//! Source: <https://clickhouse.com/docs/interfaces/http> ("Queries with parameters", `wait_end_of_query`).

mod query;

use crate::error::ExportError;
use crate::http::{Http, Tls};
use crate::settings::Settings;
use crate::sink::hidden;
use crate::target::{Format, Place, Target};
use ledger::{
    Edge, EdgeFilter, EdgeMark, EdgePage, Entry, EntryFilter, LedgerError, MarkOf, Measure, Store, Stored,
    Sum, TopBy,
};
use query::Query;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::str::FromStr;
use std::vec::IntoIter;
use tokio::runtime::Builder;

/// Most bytes of one answer.
const ANSWER: usize = 64 << 20;

/// A database of ClickHouse that a ledger's entries were sent to. To be asked by threads that may wait, never by tasks.
#[derive(Debug)]
pub struct ClickHouse {
    http: Http,
    database: String,
    /// Its URL.
    shown: String,
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
        Ok(Self { http, database: path.clone(), shown })
    }

    fn ask<T>(
        &self,
        doing: &'static str,
        query: &Query,
        read: impl Fn(&mut Row) -> Result<T, String>,
    ) -> Result<Vec<T>, LedgerError> {
        let (path, text) = (query.path(), query.text());
        let asking = self.http.ask(&path, text.as_bytes(), ANSWER);
        // With it ends the connection.
        let runtime = Builder::new_current_thread().enable_all().build();
        let answer = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(asking));
        answer.and_then(|bytes| rows(&bytes, read)).map_err(|why| self.failed(doing, why))
    }

    fn failed(&self, doing: &'static str, why: String) -> LedgerError {
        LedgerError::Store { store: self.shown.clone(), doing, why }
    }
}

impl Store for ClickHouse {
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        const DOING: &str = "looking for entries";
        let found = self
            .ask(DOING, &Query::entries(&self.database, filter), |row| Ok((stored(row)?, row.number()?)))?;
        let ledgers: u64 = found.first().map_or(0, |(_, ledgers)| *ledgers);
        if ledgers > 1 {
            let why = format!(
                "what is asked for are entries of {ledgers} ledgers, and their numbers, by which they are in order, are each \
                 ledger's own: ask for one node's, or have only the cluster's collector export to this database"
            );
            return Err(self.failed(DOING, why));
        }
        Ok(found.into_iter().map(|(stored, _)| stored).collect())
    }

    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        filter.goes_on_in(MarkOf::ClickHouse)?;
        let query = Query::edges(&self.database, filter);
        let found = self.ask("looking for edges", &query, |row| {
            let it = edge(row)?;
            let (source, destination) = (row.number()?, row.number()?);
            let (first, port, protocol) = (it.first, it.port, it.protocol);
            Ok((it, EdgeMark { of: MarkOf::ClickHouse, first, source, destination, port, protocol }))
        })?;
        let last = found.last().map(|(_, mark)| *mark);
        let next = last.filter(|_| found.len() == query::limit(filter.limit));
        Ok(EdgePage { edges: found.into_iter().map(|(edge, _)| edge).collect(), next })
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

/// The lines of an answer. What a server says after it began to answer is no line of it.
fn rows<T>(answer: &[u8], read: impl Fn(&mut Row) -> Result<T, String>) -> Result<Vec<T>, String> {
    let text = std::str::from_utf8(answer).map_err(|error| format!("its answer is no text: {error}"))?;
    text.lines().map(|line| read(&mut Row::of(line)?)).collect()
}

/// One line, read column by column.
struct Row(IntoIter<Value>);

impl Row {
    fn of(line: &str) -> Result<Self, String> {
        let values: Vec<Value> = serde_json::from_str(line)
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
        source: row.text()?,
        destination: row.text()?,
        port: row.number()?,
        protocol: row.number()?,
        first: row.number()?,
        last: row.number()?,
        allowed: row.number()?,
        denied: row.number()?,
        sent: row.number()?,
        received: row.number()?,
        rule: row.text()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_numbers_and_as_texts_and_nothing_else_is() {
        let read = |line: &str| rows(line.as_bytes(), |row| row.number::<u64>());
        assert_eq!(read("[18446744073709551615]\n[\"7\"]\n"), Ok(vec![u64::MAX, 7]));
        for (line, says) in [
            ("[-1]", "wrong number"),
            ("[1.5]", "wrong number"),
            ("[\"x\\u001b\"]", "\"x \" for a number"),
            ("[]", "ends early"),
            ("Code: 241. DB::Exception: Memory limit exceeded", "no row"),
            ("[1]\n\n[2]", "no row"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
        assert!(rows(b"\xff", Row::text).is_err());
    }
}
