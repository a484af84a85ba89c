//! Finding again what was written, while it is written.

use crate::brief::{self, Brief};
use crate::entry::{Entry, Kind, Verdict};
use crate::error::LedgerError;
use crate::schema;
use crate::search::{Column, Match, limit};
use crate::sums::{summed, summed_of};
use crate::words::Texts;
use crate::write::signed;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params_from_iter};
use std::cell::{RefCell, RefMut};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Most rows of one answer.
pub const MOST: usize = 10_000;
/// Bytes of texts that whoever answers others asks for at once: what nodes hand over may be a thousand times as long as what they
/// have to say.
pub const TEXTS: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);
/// What [`stored`] reads of an entry `e`, behind [`brief::SELECTED`].
pub(crate) const DETAIL: &str = "e.detail";

/// One ledger, to be read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    texts: RefCell<Texts>,
}

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
    /// At most so many, the first in `order`; [`MOST`] at most.
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
    /// At most so many, the newest by when they were first seen; [`MOST`] at most.
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
        conditions.and("e.time >= ?", filter.since.map(signed));
        conditions.and("e.time <= ?", filter.until.map(signed));
        conditions.and("e.id < ?", filter.before);
        conditions.and("e.id > ?", filter.after);
        if let Some(tool) = &filter.tool {
            conditions.tool(tool);
        }
        conditions
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
    fn and(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        let Some(value) = value else { return };
        self.holds(condition);
        self.values.push(value.into());
    }

    /// `condition` has no `?`.
    fn holds(&mut self, condition: &str) {
        let word = if self.text.is_empty() { "WHERE" } else { "AND" };
        // Writing to a string cannot fail.
        let _ = write!(self.text, " {word} {condition}");
    }

    /// All of the words that `texts` mean are looked up once. To be called before anything else: what is bound comes first.
    fn texts(&mut self, texts: &[(Column, Match)], is_in: fn(Column, &str) -> String) {
        for (number, (column, wanted)) in texts.iter().enumerate() {
            let (query, values) = wanted.query();
            let word = if self.with.is_empty() { "WITH" } else { "," };
            let _ = write!(self.with, "{word} words_{number} AS MATERIALIZED ({query}) ");
            self.values.extend(values);
            self.holds(&is_in(*column, &format!("words_{number}")));
        }
    }
}

impl Reader {
    /// Opens a ledger to read. On a disk that cannot be written one can be read that was closed as it should be.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if matches!(path.try_exists(), Ok(false)) {
            return Err(LedgerError::Absent { path: path.to_owned() });
        }
        if path.is_dir() {
            return Err(LedgerError::Folder { path: path.to_owned() });
        }
        let connection = match Self::connect(path.as_os_str(), path, OpenFlags::empty()) {
            // SQLite keeps a file beside it where others may write. Nobody can here, and nothing of what was written is elsewhere.
            Err(error) if error.is_unwritable() && !has_log(path) => {
                Self::connect(&unchanging(path), path, OpenFlags::SQLITE_OPEN_URI)?
            }
            connected => connected?,
        };
        Ok(Self { connection, path: path.to_owned(), texts: RefCell::default() })
    }

    fn connect(name: &OsStr, path: &Path, more: OpenFlags) -> Result<Connection, LedgerError> {
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => LedgerError::NoDatabase { path: path.to_owned() },
            _ => LedgerError::Sqlite { path: path.to_owned(), doing: "opening it", source },
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        let connection = Connection::open_with_flags(name, flags).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        schema::prepare_reader(&connection).map_err(failed)?;
        schema::check(&connection, path)?;
        Ok(connection)
    }

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

    /// The largest of all connections since a time, by what is asked for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        let (query, conditions) = top(by, measure, since, most);
        self.list(&query, &conditions, "summing up", |row| {
            Ok(Sum {
                of: row.get(0)?,
                count: unsigned(row, 1)?,
                denied: unsigned(row, 2)?,
                sent: unsigned(row, 3)?,
                received: unsigned(row, 4)?,
            })
        })
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

    /// What is not in the file, and how often.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn lost(&self) -> Result<Vec<(String, u64)>, LedgerError> {
        let query = "SELECT what, count FROM lost ORDER BY what";
        self.list(query, &Where::default(), "reading what is lost", |row| {
            Ok((row.get(0)?, unsigned(row, 1)?))
        })
    }

    fn list<T>(
        &self,
        query: &str,
        conditions: &Where,
        doing: &'static str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        self.reading(doing, |connection| {
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map(params_from_iter(&conditions.values), |row| read(row))?;
            rows.collect()
        })
    }

    /// What is known of its words. Not to be asked for twice at once.
    pub(crate) fn texts(&self) -> RefMut<'_, Texts> {
        self.texts.borrow_mut()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn reading<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        read(&self.connection).map_err(|source| LedgerError::Sqlite {
            path: self.path.clone(),
            doing,
            source,
        })
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

impl EntryFilter {
    /// All texts that must hold, those of `source` and `destination` with them.
    #[must_use]
    pub fn texts(&self) -> Vec<(Column, Match)> {
        with_ends(&self.texts, self.source.as_ref(), self.destination.as_ref())
    }
}

fn with_ends(
    texts: &[(Column, Match)],
    source: Option<&String>,
    destination: Option<&String>,
) -> Vec<(Column, Match)> {
    let ends = is(Column::Source, source).into_iter().chain(is(Column::Destination, destination));
    texts.iter().cloned().chain(ends).collect()
}

fn is(column: Column, text: Option<&String>) -> Option<(Column, Match)> {
    Some((column, Match::Is(text?.clone())))
}

/// Whether entries are in the log beside a file that are not in the file yet.
fn has_log(path: &Path) -> bool {
    let mut log = OsString::from(path);
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// The name of a file that nobody changes, as SQLite takes it.
fn unchanging(path: &Path) -> OsString {
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                name.push(char::from(*byte))
            }
            // Writing to a string cannot fail.
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    name.push_str("?immutable=1");
    name.into()
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

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(positive(row.get(column)?))
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An entry; `None`: one of its words is missing.
pub(crate) fn stored(
    row: &Row<'_>,
    mut text: impl FnMut(i64) -> rusqlite::Result<Option<Arc<str>>>,
) -> rusqlite::Result<Option<Stored>> {
    let unknown = |column, value| rusqlite::Error::IntegralValueOutOfRange(column, value);
    let it = Brief::read(row)?;
    let kind = Kind::of_number(it.kind).ok_or_else(|| unknown(2, it.kind))?;
    let verdict = Verdict::of_number(it.verdict).ok_or_else(|| unknown(3, it.verdict))?;
    let (node, source, destination) = (text(it.node)?, text(it.source)?, text(it.destination)?);
    let (Some(node), Some(source), Some(destination)) = (node, source, destination) else { return Ok(None) };
    let (Some(rule), Some(reason)) = (text(it.rule)?, text(it.reason)?) else { return Ok(None) };
    let entry = Entry {
        time: positive(it.time),
        kind,
        verdict,
        node,
        source,
        destination,
        port: row.get(7)?,
        protocol: row.get(8)?,
        rule,
        reason,
        count: positive(it.count),
        sent: positive(it.sent),
        received: positive(it.received),
        detail: row.get(14)?,
    };
    Ok(Some(Stored { id: it.id, entry }))
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
pub(crate) mod tests {
    use super::*;
    use crate::write::Ledger;

    /// How SQLite goes about a query of a new ledger.
    pub(crate) fn plan(query: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let _ledger = Ledger::open(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        let mut statement = reader.connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let values = vec![1_i64; statement.parameter_count()];
        let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }

    #[test]
    fn the_next_page_of_edges_begins_where_it_is_and_not_at_the_first() {
        let after =
            EdgeMark { of: MarkOf::Ledger, first: 7, source: 1, destination: 2, port: 443, protocol: 6 };
        let plan = plan(&edges(&EdgeFilter { after: Some(after), ..EdgeFilter::default() }).0);
        assert!(plan.contains("SEARCH e USING INDEX edges_by_first ("), "{plan}");
    }

    #[test]
    fn edges_come_in_the_order_of_an_index_and_their_texts_are_not_joined() {
        for filter in [
            EdgeFilter::default(),
            EdgeFilter { first_since: Some(7), ..EdgeFilter::default() },
            EdgeFilter { first_until: Some(7), verdict: Some(Verdict::Deny), ..EdgeFilter::default() },
        ] {
            let plan = plan(&edges(&filter).0);
            assert!(plan.contains("e USING INDEX edges_by_first") && plan.lines().count() == 1, "{plan}");
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
