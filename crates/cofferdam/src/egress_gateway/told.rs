//! What an egress gateway tells of each connection, and of each request of a workload that it opened TLS for: a line, and an entry
//! of its ledger where it has one.

use crate::calls::why;
use crate::printer::{Manner, Printer};
use crate::up::calls::ApiCall;
use crate::up::passage::Passage;
use crate::up::pen::{Pen, Recorded};
use gateway::{Call, Record, Sink};
use policy::Verdict;
use std::io;
use std::sync::Arc;

/// Prints records on threads of its own, and has them kept.
pub(super) struct Told {
    connections: Printer<Record>,
    calls: Printer<Call>,
    /// Keeps them on disk.
    pen: Option<Arc<Pen>>,
    /// The node of these records.
    node: Arc<str>,
}

impl Told {
    pub(super) fn start(as_json: bool, pen: Option<Arc<Pen>>, node: &str) -> io::Result<Arc<Self>> {
        let connections = Printer::start(Manner { field: "central", line, as_json })?;
        let calls = Printer::start(Manner { field: "call", line: line_of_call, as_json })?;
        Ok(Arc::new(Self { connections, calls, pen, node: node.into() }))
    }
}

impl Sink for Told {
    fn take(&self, record: Record) -> bool {
        if let Some(pen) = &self.pen {
            // It does not know pods by name, as their nodes do.
            let (node, record) = (Arc::clone(&self.node), record.clone());
            pen.write(Passage { sequence: 0, node, from: None, record }.entry());
        }
        self.connections.take(record)
    }

    fn call(&self, call: Call) -> bool {
        if let Some(pen) = &self.pen {
            let (node, call) = (Arc::clone(&self.node), call.clone());
            pen.write(ApiCall { sequence: 0, node, from: None, call }.entry());
        }
        self.calls.take(call)
    }
}

fn line_of_call(call: &Call) -> String {
    let verdict = match call.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    format!(
        "{} {verdict} {} as {} {} {} {} {}: {}, {} bytes sent, {} received",
        call.time.clock(),
        call.pod.ip(),
        call.asked_by.as_deref().unwrap_or("-"),
        call.name,
        call.method,
        call.path,
        call.status,
        why(call),
        call.bytes_up,
        call.bytes_down,
    )
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
