//! Texts as numbers, and numbers as texts.

use rusqlite::{Connection, OptionalExtension, Statement};
use std::collections::HashMap;
use std::sync::Arc;

/// Texts whose numbers are remembered; beyond, all are looked up anew.
const REMEMBERED: usize = 65_536;

/// The numbers of texts that were needed lately.
#[derive(Debug, Default)]
pub(crate) struct Words {
    known: HashMap<Arc<str>, i64>,
}

impl Words {
    /// The number of a text, which is given one where it has none.
    pub(crate) fn number(&mut self, connection: &Connection, text: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(number) = self.known.get(text) {
            return Ok(*number);
        }
        let mut find = connection.prepare_cached("SELECT id FROM words WHERE text = ?1")?;
        let number = match find.query_row([&**text], |row| row.get(0)).optional()? {
            Some(number) => number,
            None => {
                connection.prepare_cached("INSERT INTO words (text) VALUES (?1)")?.execute([&**text])?;
                connection.last_insert_rowid()
            }
        };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(Arc::clone(text), number);
        Ok(number)
    }

    /// Forgets all: the numbers given last may not have come into the file, or were taken out of it.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

/// The texts of words by their numbers, each read once.
pub(crate) struct Texts<'a> {
    find: Statement<'a>,
    known: HashMap<i64, Option<String>>,
}

impl<'a> Texts<'a> {
    pub(crate) fn of(connection: &'a Connection) -> rusqlite::Result<Self> {
        let find = connection.prepare("SELECT text FROM words WHERE id = ?1")?;
        Ok(Self { find, known: HashMap::new() })
    }

    /// `None`: nothing has this number, in a file that somebody changed.
    pub(crate) fn get(&mut self, number: i64) -> rusqlite::Result<Option<String>> {
        if let Some(known) = self.known.get(&number) {
            return Ok(known.clone());
        }
        let text = self.find.query_row([number], |row| row.get::<_, String>(0)).optional()?;
        self.known.insert(number, text.clone());
        Ok(text)
    }
}
