//! Finding entries by their texts: conditions on the table of words, so that no search reads the texts of all entries.

use crate::error::LedgerError;
use crate::query::{MOST, Reader};
use rusqlite::params_from_iter;
use rusqlite::types::Value;
use std::fmt::Write as _;

/// Words that [`Match::AnyOf`] takes; those beyond are not looked for.
pub const WORDS: usize = 1000;

/// Which text of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The enforcement point.
    Node,
    /// Who.
    Source,
    /// To whom.
    Destination,
    /// The rule that decided.
    Rule,
    /// Why.
    Reason,
    /// Any of source, destination, rule and reason.
    Any,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// This.
    Is(String),
    /// One of these, at most [`WORDS`].
    AnyOf(Vec<String>),
    /// Something that begins so.
    Begins(String),
    /// Something with this in it; letters of ASCII are alike in either case.
    Has(String),
    /// This domain name or one below it.
    Below(String),
}

impl Column {
    /// The names of the columns that are meant, any of which may have the text.
    #[must_use]
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["node"],
            Self::Source => &["source"],
            Self::Destination => &["destination"],
            Self::Rule => &["rule"],
            Self::Reason => &["reason"],
            Self::Any => &["source", "destination", "rule", "reason"],
        }
    }

    /// That the text of an entry `e` is among the numbers of a table.
    pub(crate) fn is_in(self, table: &str) -> String {
        let mut text = String::new();
        for column in self.columns() {
            let word = if text.is_empty() { "(" } else { " OR " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{word}e.{column} IN {table}");
        }
        text + ")"
    }
}

impl Column {
    /// That the text of an edge `e` is among the numbers of a table.
    pub(crate) fn is_in_edge(self, table: &str) -> String {
        match self {
            Self::Source | Self::Destination | Self::Rule => self.is_in(table),
            Self::Any => format!("(e.source IN {table} OR e.destination IN {table} OR e.rule IN {table})"),
            // An edge has none.
            Self::Node | Self::Reason => "0".to_owned(),
        }
    }
}

impl Match {
    /// What somebody means by a text: it, or with a star at its end all that begin so.
    #[must_use]
    pub fn wanted(text: &str) -> Self {
        text.strip_suffix('*')
            .map_or_else(|| Self::Is(text.to_owned()), |begin| Self::Begins(begin.to_owned()))
    }

    /// A query for the numbers of the words that match, and what is bound in it.
    pub(crate) fn query(&self) -> (String, Vec<Value>) {
        let (condition, values) = self.of("text");
        (format!("SELECT id FROM words WHERE {condition}"), values)
    }

    /// A condition on a column, and what is bound in it.
    pub(crate) fn of(&self, column: &str) -> (String, Vec<Value>) {
        match self {
            Self::Is(text) => (format!("{column} = ?"), vec![text.clone().into()]),
            Self::AnyOf(texts) => {
                let texts: Vec<Value> = texts.iter().take(WORDS).map(|text| text.clone().into()).collect();
                let places = vec!["?"; texts.len()].join(", ");
                (format!("{column} IN ({places})"), texts)
            }
            Self::Begins(text) => match after_all(text) {
                Some(end) => {
                    (format!("{column} >= ? AND {column} < ?"), vec![text.clone().into(), end.into()])
                }
                None => (format!("{column} >= ?"), vec![text.clone().into()]),
            },
            Self::Has(text) => (format!("instr(lower({column}), lower(?)) > 0"), vec![text.clone().into()]),
            Self::Below(name) => {
                let name = name.to_ascii_lowercase();
                let end = format!(".{name}");
                let length = i64::try_from(end.chars().count()).unwrap_or(i64::MAX);
                let condition = format!("(lower({column}) = ? OR substr(lower({column}), -?) = ?)");
                (condition, vec![name.into(), length.into(), end.into()])
            }
        }
    }
}

/// The first text, in the order of words, that is after all that begin so; `None`: none is.
fn after_all(text: &str) -> Option<String> {
    let mut end: Vec<char> = text.chars().collect();
    while let Some(last) = end.pop() {
        // Over the gap that no character has.
        let next = (u32::from(last) + 1..).take(0x801).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

impl Reader {
    /// Words that a test holds for, at most [`WORDS`] of them, and whether there are more. Looks at all words of the ledger.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn words(&self, is_meant: impl Fn(&str) -> bool) -> Result<(Vec<String>, bool), LedgerError> {
        self.reading("looking through its words", |connection| {
            let mut statement = connection.prepare_cached("SELECT text FROM words")?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                if !is_meant(&text) {
                    continue;
                }
                if found.len() == WORDS {
                    return Ok((found, true));
                }
                found.push(text);
            }
            Ok((found, false))
        })
    }

    /// Whether each of these has a word that matches.
    pub(crate) fn knows_all(&self, texts: &[(Column, Match)]) -> Result<bool, LedgerError> {
        for (_, wanted) in texts {
            if !self.knows(wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether any word matches: where none does, no entry has to be looked at.
    pub(crate) fn knows(&self, wanted: &Match) -> Result<bool, LedgerError> {
        let (query, values) = wanted.query();
        self.reading("looking for words", |connection| {
            let query = format!("SELECT EXISTS ({query})");
            connection.query_row(&query, params_from_iter(&values), |row| row.get(0))
        })
    }
}

/// Texts that must hold, those of the ends with them.
pub(crate) fn with_ends(
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

/// Of how many rows an answer may be.
pub(crate) fn limit(asked: Option<usize>) -> usize {
    asked.map_or(MOST, |asked| asked.min(MOST))
}
