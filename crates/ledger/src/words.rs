//! Texts as numbers, and numbers as texts.

use ahash::HashMap;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Statement};
use std::sync::Arc;

/// Texts whose numbers are remembered; beyond, all are looked up anew.
const REMEMBERED: usize = 65_536;
/// Bytes of texts that one reader remembers, and what each takes beside its own, about.
const KEPT: usize = 2 << 20;
const BESIDE: usize = 64;

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

/// The texts of words by their numbers, each read once while there is room: no text ever changes, and no number is given twice.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    known: HashMap<i64, Arc<str>>,
    bytes: usize,
}

impl Texts {
    /// To read those that are not known yet.
    pub(crate) fn find(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
        connection.prepare_cached("SELECT text FROM words WHERE id = ?1")
    }

    /// `None`: nothing has this number, in a file that somebody changed.
    pub(crate) fn get(
        &mut self,
        find: &mut Statement<'_>,
        number: i64,
    ) -> rusqlite::Result<Option<Arc<str>>> {
        if let Some(known) = self.known.get(&number) {
            return Ok(Some(Arc::clone(known)));
        }
        let read = |row: &Row<'_>| Ok(Arc::<str>::from(row.get_ref(0)?.as_str()?));
        let Some(text) = find.query_row([number], read).optional()? else { return Ok(None) };
        let bytes = text.len() + BESIDE;
        if bytes > KEPT {
            return Ok(Some(text));
        }
        if self.bytes + bytes > KEPT {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.known.insert(number, Arc::clone(&text));
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;
    use crate::entry::{Entry, Kind, Verdict};
    use crate::write::Ledger;

    #[test]
    fn texts_are_read_once_and_what_is_remembered_of_them_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let long = "x".repeat(KEPT / 8);
        let name = |number: usize| format!("{number}-{long}");
        let entries: Vec<_> = (0..20)
            .map(|number| Entry { source: name(number).into(), ..Entry::new(Kind::Finding, Verdict::None) })
            .collect();
        Ledger::open(&path).unwrap().0.append(&entries).unwrap();
        let reader = Reader::open(&path).unwrap();
        let numbers = |number: usize| reader.number_of(&name(number)).unwrap().unwrap();
        let mut find = Texts::find(reader.connection()).unwrap();
        let mut nothing = reader.connection().prepare("SELECT text FROM words WHERE id = -?1").unwrap();
        let mut texts = Texts::default();
        for number in 0..20 {
            let text = texts.get(&mut find, numbers(number)).unwrap().unwrap();
            assert_eq!(&*text, name(number));
            assert_eq!(texts.get(&mut nothing, numbers(number)).unwrap(), Some(text), "it is not read again");
            let kept: usize = texts.known.values().map(|text| text.len()).sum();
            assert!(kept <= texts.bytes && texts.bytes <= KEPT, "{kept} {}", texts.bytes);
        }
        assert_eq!(texts.get(&mut find, i64::MAX).unwrap(), None);
        assert_eq!(texts.get(&mut nothing, numbers(0)).unwrap(), None, "the first ones are forgotten");
    }
}
