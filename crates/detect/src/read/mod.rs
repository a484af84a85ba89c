//! Recordings -> events.
//!
//! Enters: lines of text ([`lines`]) or the bytes of a capture ([`capture`]). Leaves: events in the order of the recording.
//! Guarantees: no panic and bounded memory whatever comes; what cannot be read is an [`Unreadable`] that says where, and what
//! is read but says nothing of interest is counted ([`Reader::ignored`]). Does not: open files, or undo compression.

pub mod capture;
mod frames;
mod list;
mod message;
mod own;
mod packet;
mod recording;
mod zeek;

pub use recording::{Read, Recording};

use crate::event::{Event, Lookup, RecordId, What};
use observe::Time;
use std::sync::Arc;

/// Longest line in bytes.
pub const LONGEST_LINE: usize = 1 << 20;
/// Who asked for the names of a list.
const LISTED: &str = "list";
/// Type of a question for an address.
pub(crate) const TYPE_A: u16 = 1;

/// The events of one record of our own, as JSON, of which somebody knows what is in it.
///
/// # Errors
/// It is no record that detectors look at. A clause.
pub fn record(text: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    own::read(text, record, events)
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {why}")]
pub struct Unreadable {
    /// In which file.
    pub file: Arc<str>,
    /// Line, or packet of a capture, from 1.
    pub line: u64,
    /// Why, and what would be right.
    pub why: String,
}

/// Reads lines: our own JSON, Zeek's JSON or table, or names.
#[derive(Debug)]
pub struct Reader {
    file: Arc<str>,
    line: u64,
    ignored: u64,
    listed: Arc<str>,
    table: zeek::Table,
}

impl Reader {
    /// For lines of this file, whose name is only said.
    pub fn new(file: &str) -> Self {
        Self { file: file.into(), line: 0, ignored: 0, listed: LISTED.into(), table: zeek::Table::default() }
    }

    /// How many lines said nothing of interest: other logs of Zeek, comments, how many records were missed.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The events of the next line. An object is ours or Zeek's by its fields, also as an element of an array that has a line for each;
    /// what follows Zeek's line of `#fields` is a row; anything else has a name.
    pub fn line(&mut self, line: &[u8], events: &mut Vec<Event>) -> Result<(), Unreadable> {
        self.line += 1;
        if line.len() > LONGEST_LINE + 1 {
            return Err(self.unreadable(format!("the line is longer than {LONGEST_LINE} bytes")));
        }
        // Some programs begin a file of UTF-8 with a mark that says so.
        let mark = if self.line == 1 { &b"\xef\xbb\xbf"[..] } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(line).trim_ascii();
        if line.is_empty() || line.starts_with(b"#") || matches!(line, b"[" | b"]") {
            self.table.head(line);
            self.ignored += 1;
            return Ok(());
        }
        let record = RecordId { source: Arc::clone(&self.file), number: self.line };
        let object = line.strip_prefix(b"[").unwrap_or(line).trim_ascii_start();
        if !object.starts_with(b"{") && !self.table.is_open() {
            events.push(self.name(line, record)?);
            return Ok(());
        }
        let before = events.len();
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| self.unreadable("the line is not UTF-8"));
        let read = if object.starts_with(b"{") {
            let object = object.strip_suffix(b"]").unwrap_or(object).trim_ascii_end();
            let object = text(object.strip_suffix(b",").unwrap_or(object))?;
            if zeek::is_one(object) {
                zeek::read(object, &record, events)
            } else {
                own::read(object, &record, events)
            }
        } else {
            self.table.row(text(line)?, &record, events)
        };
        read.map_err(|why| self.unreadable(why))?;
        self.ignored += u64::from(events.len() == before);
        Ok(())
    }

    /// A name that somebody may have asked for; whether it exists is not known.
    fn name(&self, line: &[u8], record: RecordId) -> Result<Event, Unreadable> {
        let Some(name) = list::name(line) else {
            let why = "this is neither a JSON object nor one name: write one name a line, JSON lines of cofferdam, or logs of Zeek";
            return Err(self.unreadable(why));
        };
        let lookup = Lookup { name, kind: TYPE_A, rcode: None, answer_bytes: 0 };
        Ok(Event::new(Time::default(), Arc::clone(&self.listed), record, What::Lookup(lookup)))
    }

    fn unreadable(&self, why: impl Into<String>) -> Unreadable {
        Unreadable { file: Arc::clone(&self.file), line: self.line, why: why.into() }
    }
}
