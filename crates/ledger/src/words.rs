//! Texts as numbers.

use rusqlite::{Connection, OptionalExtension};
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
