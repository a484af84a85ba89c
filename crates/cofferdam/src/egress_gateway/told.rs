//! What an egress gateway prints: a line for each connection, and what happens to itself.
//!
//! Guarantees: a reader that is slow or gone keeps no connection waiting; what it did not get is counted.

use crate::flows::printable;
use gateway::{Record, Sink};
use policy::Verdict;
use serde_json::json;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Records that wait to be printed.
const QUEUE: usize = 8192;

/// Prints records on a thread of its own.
pub(super) struct Printer(SyncSender<Record>);

impl Printer {
    pub(super) fn start(as_json: bool) -> io::Result<Arc<Self>> {
        let (sender, records) = sync_channel(QUEUE);
        std::thread::Builder::new().name("printer".into()).spawn(move || print(&records, as_json))?;
        Ok(Arc::new(Self(sender)))
    }
}

impl Sink for Printer {
    fn take(&self, record: Record) -> bool {
        self.0.try_send(record).is_ok()
    }
}

fn print(records: &Receiver<Record>, as_json: bool) {
    for record in records {
        say(&if as_json { json!({ "central": record }).to_string() } else { line(&record) });
    }
}

/// Something about the gateway itself.
pub(super) fn note(text: &str, as_json: bool) {
    say(&if as_json { json!({ "note": text }).to_string() } else { printable(text) });
}

/// Whoever read it may have left; that is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn line(record: &Record) -> String {
    let verdict = match record.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let whom = record.claim.name.as_deref().unwrap_or("-");
    let text = format!(
        "{} {verdict} {} of node {} to {whom} at {}: {}, {}, {} bytes sent, {} received{}",
        record.time.clock(),
        record.pod.ip(),
        record.asked_by.as_deref().unwrap_or("-"),
        record.destination,
        record.reason.describe(),
        record.end,
        record.bytes_up,
        record.bytes_down,
        record.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default(),
    );
    printable(&text)
}
