//! The line that an egress gateway prints for each connection.

use crate::printer::{Manner, Printer};
use gateway::{Record, Sink};
use policy::Verdict;
use std::io;
use std::sync::Arc;

/// Prints records on a thread of its own.
pub(super) struct Told(Printer<Record>);

impl Told {
    pub(super) fn start(as_json: bool) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(Printer::start(Manner { field: "central", line, as_json })?)))
    }
}

impl Sink for Told {
    fn take(&self, record: Record) -> bool {
        self.0.take(record)
    }
}

fn line(record: &Record) -> String {
    let verdict = match record.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let asked = record.explicit.as_deref().map(|explicit| explicit.asked.as_str());
    let whom = record.claim.name.as_deref().or(asked).unwrap_or("-");
    format!(
        "{} {verdict} {} {} {} to {whom} at {}: {}, {}, {} bytes sent, {} received{}",
        record.time.clock(),
        record.pod.ip(),
        if record.explicit.is_some() { "as" } else { "of node" },
        record.asked_by.as_deref().unwrap_or("-"),
        record.destination,
        record.reason.describe(),
        record.end,
        record.bytes_up,
        record.bytes_down,
        record.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default(),
    )
}
