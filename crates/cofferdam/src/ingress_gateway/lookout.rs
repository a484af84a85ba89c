//! Detectors over the requests of an ingress gateway, on a thread of their own.
//!
//! Enters: records, as the gateway makes them. Leaves: a line for each finding, and an entry of its ledger where it has one. Guarantees: no request waits for a detector; what
//! finds no room is counted. Does not: remember anything over a restart, or know what other gateways serve.

use super::kept::Kept;
use crate::plain::printable;
use crate::printer::say;
use detect::event::{
    Asks, Call, Carrier, Event, Fate, Found, RecordId, Scene, Tool, clean_name, clean_text, is_refusal,
};
use detect::own::{self, Head};
use detect::{Detectors, Pace};
use ingress::Record;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Events of so many requests wait to be looked at.
const QUEUE: usize = 8192;

/// Looks at requests.
#[derive(Debug)]
pub(super) struct Lookout {
    events: SyncSender<Vec<Event>>,
    /// What ids of records begin with.
    kind: Arc<str>,
    counts: Arc<Counts>,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(super) struct Counts {
    seen: AtomicU64,
    /// Requests for which there was no room.
    pub(super) lost: AtomicU64,
    /// Findings that were told.
    pub(super) findings: AtomicU64,
    /// Findings beyond those of one consumer and detector that are told in an hour.
    pub(super) held_back: AtomicU64,
}

impl Lookout {
    /// Starts the thread.
    pub(super) fn start(as_json: bool, kept: Option<Kept>) -> io::Result<Self> {
        let (events, received) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let of_thread = Arc::clone(&counts);
        let look = move || look(&received, &of_thread, as_json, kept.as_ref());
        std::thread::Builder::new().name("detect".into()).spawn(look)?;
        Ok(Self { events, kind: "request".into(), counts })
    }

    /// Has a record looked at.
    pub(super) fn see(&self, record: &Record) {
        let number = self.counts.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let id = RecordId { source: Arc::clone(&self.kind), number };
        if self.events.try_send(events(record, id)).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of requests so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn look(received: &Receiver<Vec<Event>>, counts: &Counts, as_json: bool, kept: Option<&Kept>) {
    let (mut detectors, mut pace) = (Detectors::default(), Pace::default());
    for event in received.iter().flatten() {
        for finding in detectors.observe(&event) {
            if !pace.lets(&finding) {
                counts.held_back.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            counts.findings.fetch_add(1, Ordering::Relaxed);
            if let Some(kept) = kept {
                kept.finding(&finding);
            }
            say(&if as_json { json!({ "finding": finding }).to_string() } else { line(&finding) });
        }
    }
}

fn line(finding: &detect::Finding) -> String {
    let (time, severity, detector) = (finding.until.clock(), finding.severity.as_str(), &finding.detector);
    printable(&format!("{time} finding ({severity}) {detector}: {}", finding.sentence))
}

/// The request, and each tool that its answer lists.
fn events(record: &Record, id: RecordId) -> Vec<Event> {
    let who = record.consumer.as_deref().map_or_else(|| record.client.ip().to_string().into(), clean_text);
    let scene = Scene { rule: record.rule.as_deref().map(Arc::from), ..Scene::default() };
    let head = Head { time: record.time, who, record: id, scene };
    let mut events = Vec::new();
    own::call(&head, call(record), &mut events);
    for tool in &record.tools {
        let tool = Tool {
            server: clean_name(record.host.as_bytes()),
            name: clean_text(&tool.name),
            digest: tool.sha256.as_str().into(),
            has_changed: tool.standing == "changed",
            is_quarantined: tool.is_quarantined,
        };
        own::tool(&head, tool, &mut events);
    }
    events
}

fn call(record: &Record) -> Call {
    let operation = &record.operation;
    let tokens = record.usage.as_ref();
    let question = record.probe.as_ref().and_then(|probe| probe.question.as_ref());
    let leaks = record.leaks.iter().map(|leak| Found {
        rule: leak.rule.into(),
        what: leak.class.into(),
        place: Carrier::Answer,
        fate: match leak.action {
            "blocked" => Fate::Blocked,
            "masked" => Fate::Masked,
            _ => Fate::Told,
        },
    });
    Call {
        service: clean_text(&record.host),
        verb: operation.verb.as_str().into(),
        subject: operation.model.as_deref().or(operation.resource.as_deref()).map(clean_text),
        allowed: (200..400).contains(&record.status),
        reason: record.reason.as_str().into(),
        input_tokens: tokens.and_then(|tokens| tokens.input).unwrap_or(0),
        output_tokens: tokens.and_then(|tokens| tokens.output).unwrap_or(0),
        cost_nanos: record.cost.map_or(0, |cost| cost.nanos),
        sent: record.bytes_up,
        received: record.bytes_down,
        keys: operation.credentials.iter().map(|key| key.to_string().into()).collect(),
        body: question.map(|digest| digest.as_str().into()),
        found: leaks.collect(),
        is_suspicious: record.guard.as_ref().is_some_and(|guard| guard.band != "allow"),
        asks: record.probe.as_ref().map(|probe| Asks {
            is_likelihood_wanted: probe.logprobs > 0,
            choices: probe.choices,
            is_greedy: probe.is_greedy,
            texts: probe.texts,
            template: probe.template.as_deref().map(Into::into),
            is_refused: tokens.is_some_and(|tokens| tokens.finish.iter().any(|word| is_refusal(word))),
        }),
    }
}
