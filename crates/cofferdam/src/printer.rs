//! What a gateway that runs by itself prints: a line for each record, and what happens to the gateway.
//!
//! Guarantees: a reader that is slow or gone keeps nobody waiting; what it did not get is counted by whoever has the record.

use crate::plain::{Plain, printable};
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Records that wait to be printed.
const QUEUE: usize = 8192;

/// Prints records on a thread of its own.
#[derive(Debug)]
pub(crate) struct Printer<R>(SyncSender<R>);

/// How records of one kind are printed.
pub(crate) struct Manner<R> {
    /// The field that holds a record in JSON.
    pub(crate) field: &'static str,
    /// A record for people.
    pub(crate) line: fn(&R) -> String,
    /// Whether they are printed as JSON.
    pub(crate) as_json: bool,
}

impl<R: Serialize + Send + 'static> Printer<R> {
    /// Starts the thread.
    pub(crate) fn start(manner: Manner<R>) -> io::Result<Self> {
        let (sender, records) = sync_channel(QUEUE);
        std::thread::Builder::new().name("printer".into()).spawn(move || manner.print(&records))?;
        Ok(Self(sender))
    }

    /// Whether it will be printed.
    pub(crate) fn take(&self, record: R) -> bool {
        self.0.try_send(record).is_ok()
    }
}

impl<R: Serialize> Manner<R> {
    fn print(&self, records: &Receiver<R>) {
        for record in records {
            if self.as_json {
                say(&json!({ self.field: record }).to_string());
            } else {
                say(&printable(&(self.line)(&record)));
            }
        }
    }
}

/// Something about the gateway itself.
pub(crate) fn note(text: &str, as_json: bool) {
    say(&if as_json { json!({ "note": text }).to_string() } else { printable(text) });
}

/// One line. Whoever read it may have left; that is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut out = Plain::new(io::stdout().lock());
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
