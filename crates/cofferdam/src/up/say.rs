//! What `up` prints: loads, readiness, records, what pods say. For people, or one JSON object per line.
//!
//! Guarantees: a reader that left never stops enforcement; nothing printed can steer the terminal.
//! Does not: decide what is worth printing.

use super::journal::Journal;
use super::protocol::{Answer, Load, Outcome, Status};
use crate::flows::{FlowTable, Summary};
use crate::plain::{Plain, counted, printable};
use anyhow::{Context, Result};
use observe::{Query, Record};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the printer of records waits at a time.
const TICK: Duration = Duration::from_secs(2);

/// Standard output.
#[derive(Debug)]
pub(crate) struct Say {
    json: bool,
}

impl Say {
    /// For people, or as JSON lines.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// One or more lines at once. Whoever read them may have left; that is no reason to stop.
    fn text(&self, text: &str) {
        let mut out = Plain::new(std::io::stdout().lock());
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn line(&self, value: &Value) {
        self.text(&format!("{value}\n"));
    }

    /// What became of a load.
    pub(crate) fn load(&self, load: &Load) {
        if self.json {
            return self.line(&json!({ "load": load }));
        }
        let mut text = String::new();
        for diagnostic in &load.diagnostics {
            text.push_str(&printable_lines(diagnostic));
            text.push('\n');
        }
        let outcome = match load.outcome {
            Outcome::JudgedOnly => "loaded, NOTHING IS ENFORCED",
            Outcome::Applied => "in force",
            Outcome::AppliedWithClosedScopes => "in force; policies with errors close what they may select",
            Outcome::KeptLastGood => "NOT in force: the last good policy stays",
            Outcome::Refused => "NOT in force: see `cofferdam status`",
        };
        let took = Duration::from_micros(load.took_micros);
        let objects = counted(load.objects, "object");
        let (errors, warnings) = (counted(load.errors, "error"), counted(load.warnings, "warning"));
        // As quiet as a folder whose policies allow all.
        let empty = match load.objects + load.errors {
            0 => {
                "no object was found, so nothing is denied: manifests are files that end in .yaml, .yml or .json\n"
            }
            _ => "",
        };
        self.text(&format!("{text}{objects}, {errors}, {warnings}: {outcome} ({took:.1?})\n{empty}"));
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        if self.json {
            return self.line(&json!({ "note": text }));
        }
        self.text(&format!("{}\n", printable(text)));
    }

    /// Everything is up.
    pub(crate) fn ready(&self, status: &Status, socket: &Path) {
        if self.json {
            return self.line(&json!({ "ready": { "status": status, "socket": socket } }));
        }
        let mut text = String::new();
        for reason in &status.degraded {
            text.push_str(&format!("degraded: {}\n", printable(reason)));
        }
        for node in &status.nodes {
            text.push_str(&match &node.problem {
                Some(problem) => format!("node {}: NOT ENFORCED: {}\n", node.node, printable(problem)),
                None => format!("node {}: {} pod addresses by {}\n", node.node, node.endpoints, node.backend),
            });
        }
        let generation = status.generation;
        self.text(&format!("{text}ready: generation {generation}, answering at {}\n", socket.display()));
    }

    /// What a pod's program printed.
    pub(crate) fn output(&self, pod: &str, line: &str) {
        if self.json {
            return self.line(&json!({ "output": { "pod": pod, "line": line } }));
        }
        self.text(&format!("[{pod}] {}\n", printable(line)));
    }

    /// Counts of everything that was recorded, and whether kernel and tables ever disagreed.
    pub(crate) fn summary(&self, journal: &Journal, status: &Status) {
        let mut summary = Summary::default();
        for record in &journal.flows.newest(&Query { limit: Some(usize::MAX), ..Query::default() }).records {
            summary.add(record);
        }
        if self.json {
            return self.line(&json!({ "summary": { "status": status } }));
        }
        self.text(&format!(
            "\nSUMMARY\n{}{} verdicts of the kernel differ from the compiled tables, {} events lost\n",
            summary.text(),
            status.resolver.verdict_disagreements,
            status.nodes.iter().map(|node| node.lost_events).sum::<u64>(),
        ));
    }

    /// Prints records as they come, until the process ends.
    pub(crate) fn follow(self: &Arc<Self>, journal: &Arc<Journal>) -> Result<()> {
        let (journal, say) = (Arc::clone(journal), Arc::clone(self));
        let print = move || {
            let (mut table, mut cursor) = (FlowTable::default(), 0);
            loop {
                let page = journal.flows.after(cursor, &Query::default(), TICK);
                cursor = page.cursor;
                for record in page.records {
                    say.record(record, &mut table);
                }
            }
        };
        std::thread::Builder::new()
            .name("flows".into())
            .spawn(print)
            .context("starting the printer's thread")?;
        Ok(())
    }

    fn record(&self, record: Arc<Record>, table: &mut FlowTable) {
        if self.json {
            return self.line(&json!(Answer::Record(record)));
        }
        self.text(&table.line(&record));
    }
}

/// As [`printable`], but a diagnostic may have several lines.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
