//! What is done with models: orders smuggled in, answers gathered, keys of others, weights that leave.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{CREDENTIAL, EXTRACTION, INJECTION, WEIGHTS, WRITES};
use crate::distinct::{Seen, key};
use crate::event::{Call, Event, HOUR, MINUTE};
use crate::finding::{Evidence, Finding, Number, Severity, Told};
use std::sync::Arc;

/// Workloads and services, and keys, that are followed at a time.
const PAIRS: usize = 1 << 15;
const KEYS: usize = 1 << 14;
/// Texts that the guard would block, in this time.
const TEXTS: u64 = 5;
const CAMPAIGN: u64 = 10 * MINUTE;
/// Writes that are refused, in this time.
const REFUSED: u64 = 3;
const REFUSALS: u64 = 10 * MINUTE;
/// Different questions in an hour, their part of all, and how much their length may differ. Of two thousand different ones a
/// quarter meets the place of another and is not counted.
const QUESTIONS: u32 = 1000;
const DIFFERENT: f64 = 0.7;
const SPREAD: f64 = 0.25;
/// How long a key is known before somebody else with it is told of.
const KNOWN: u64 = HOUR;
/// Bytes of an upload that look like a model whatever their name.
const LARGE: u64 = 256 << 20;
/// Bytes below which a file of weights is told of as low.
const SMALL: u64 = 1 << 20;
/// Ends of files that hold weights.
const WEIGHT_FILES: [&str; 10] = [
    ".safetensors",
    ".gguf",
    ".ggml",
    ".pt",
    ".pth",
    ".ckpt",
    ".onnx",
    ".h5",
    ".tflite",
    "pytorch_model.bin",
];

/// What is followed.
#[derive(Debug)]
pub(crate) struct Abuses {
    pairs: Bounded<u64, Pair>,
    keys: Bounded<Arc<str>, Key>,
}

#[derive(Debug, Default)]
struct Pair {
    campaign: u64,
    texts: Evidence,
    hour: u64,
    bodies: Seen,
    different: u32,
    asked: u32,
    /// Mean of the lengths, and of their squares.
    length: f64,
    squares: f64,
    gathered: Evidence,
    left: Evidence,
    refusals: u64,
    refused: Evidence,
}

#[derive(Debug, Default)]
struct Key {
    since: u64,
    namespace: Option<Arc<str>>,
    /// Where it was first seen.
    node: Option<Arc<str>>,
    evidence: Evidence,
}

impl Abuses {
    pub(crate) fn new() -> Self {
        Self { pairs: Bounded::new(PAIRS), keys: Bounded::new(KEYS) }
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.pairs.evicted() + self.keys.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, call: &Call, findings: &mut Vec<Finding>) {
        let pair = self.pairs.entry(&key((&event.who, &call.service)));
        findings.extend(pair.injection(event, call));
        findings.extend(pair.extraction(event, call));
        findings.extend(pair.weights(event, call));
        findings.extend(pair.writes(event, call));
        for shown in &call.keys {
            findings.extend(self.keys.entry(shown).see(event, call, shown));
        }
    }
}

impl Pair {
    fn injection(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        if !call.is_suspicious {
            return None;
        }
        let least = event.count(&INJECTION, TEXTS);
        if event.ends(self.campaign, CAMPAIGN) {
            if self.texts.count() < least {
                self.texts.clear();
            }
            self.campaign = event.micros();
        }
        self.texts.add(event);
        if self.texts.count() < least || !self.texts.is_due() {
            return None;
        }
        let count = self.texts.count();
        let sentence = format!(
            "{} sent {} {count} texts that look like orders to a model ({least} in ten minutes are the limit)",
            event.who, call.service
        );
        let numbers = vec![Number::of("texts", real(count)).from(real(least))];
        Some(self.texts.tell(
            &INJECTION,
            &event.who,
            &call.service,
            Told { severity: None, sentence, numbers },
        ))
    }

    /// Many different questions of one make: what somebody asks who wants all answers.
    fn extraction(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        let body = call.body.as_ref().filter(|_| &*call.verb == "call" && call.allowed)?;
        if event.ends(self.hour * HOUR, HOUR) {
            self.bodies.clear(event.micros());
            self.gathered.clear();
            let hour = event.micros() / HOUR;
            (self.hour, self.different, self.asked, self.length, self.squares) = (hour, 0, 0, 0.0, 0.0);
        }
        self.asked += 1;
        self.different += u32::from(self.bodies.is_new(key(body)));
        let asked = f64::from(self.asked);
        let length = real(call.sent);
        self.length += (length - self.length) / asked;
        self.squares += (length * length - self.squares) / asked;
        self.gathered.add(event);
        let different = f64::from(self.different) / asked;
        let spread = (self.squares - self.length * self.length).max(0.0).sqrt() / self.length.max(1.0);
        let least = event.count(&EXTRACTION, u64::from(QUESTIONS));
        let is_many = u64::from(self.different) >= least && different >= DIFFERENT && spread <= SPREAD;
        if !is_many || !self.gathered.is_due() {
            return None;
        }
        let sentence = format!(
            "{} asked {} {} different questions this hour ({least} are the limit), {:.0}% of all, of nearly one length ({:.2} of the \
             mean): it may be gathering the model's answers",
            event.who,
            call.service,
            self.different,
            different * 100.0,
            spread
        );
        let numbers = vec![
            Number::of("different_questions", f64::from(self.different)).from(real(least)),
            Number::of("share_of_different", different).from(DIFFERENT),
            Number::of("spread_of_length", spread).from(SPREAD),
        ];
        Some(self.gathered.tell(
            &EXTRACTION,
            &event.who,
            &call.service,
            Told { severity: None, sentence, numbers },
        ))
    }

    fn weights(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        if &*call.verb != "upload" {
            return None;
        }
        let subject = call.subject.as_deref().unwrap_or_default();
        let lower = subject.to_ascii_lowercase();
        let is_named = WEIGHT_FILES.iter().any(|end| lower.ends_with(end));
        let large = event.count(&WEIGHTS, LARGE);
        if !is_named && call.sent < large {
            return None;
        }
        self.left.add(event);
        if !self.left.is_due() {
            return None;
        }
        let became = if call.allowed { "sent" } else { "tried to send" };
        let sentence = format!(
            "{} {became} {} {} bytes as {}: {}",
            event.who,
            call.service,
            call.sent,
            if subject.is_empty() { "an upload without a name" } else { subject },
            if is_named {
                "a file of that name holds the weights of a model"
            } else {
                "as large as the weights of a model"
            }
        );
        let numbers = vec![
            Number::of("bytes", real(call.sent)).from(if is_named { 0.0 } else { real(large) }),
            Number::of("uploads", real(self.left.count())),
        ];
        let is_small = call.allowed && call.sent < SMALL;
        let severity = is_small.then_some(Severity::Low);
        Some(self.left.tell(&WEIGHTS, &event.who, &call.service, Told { severity, sentence, numbers }))
    }

    /// What a program that looks for a way out does where it may only read.
    fn writes(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        if call.allowed || !matches!(&*call.verb, "upload" | "mutate" | "admin") {
            return None;
        }
        let least = event.count(&WRITES, REFUSED);
        if event.ends(self.refusals, REFUSALS) {
            // What is told of already goes on as the same finding.
            if self.refused.count() < least {
                self.refused.clear();
            }
            self.refusals = event.micros();
        }
        self.refused.add(event);
        let count = self.refused.count();
        if count < least || !self.refused.is_due() {
            return None;
        }
        let sentence = format!(
            "{} tried to write to {} {count} times (the limit is {least} in ten minutes), the last time {}; it was refused",
            event.who,
            call.service,
            call.subject
                .as_deref()
                .map_or_else(|| call.verb.to_string(), |of| format!("{} of {of}", call.verb)),
        );
        let numbers = vec![Number::of("attempts", real(count)).from(real(least))];
        Some(self.refused.tell(
            &WRITES,
            &event.who,
            &call.service,
            Told { severity: None, sentence, numbers },
        ))
    }
}

impl Key {
    /// A key that one namespace shows, from another.
    fn see(&mut self, event: &Event, call: &Call, shown: &str) -> Option<Finding> {
        let namespace = event.who.split('/').next().unwrap_or_default();
        let Some(owner) = self.namespace.clone() else {
            (self.namespace, self.since) = (Some(namespace.into()), event.micros());
            self.node.clone_from(&event.scene.node);
            return None;
        };
        self.since = self.since.min(event.micros());
        let known = event.micros() - self.since;
        let least = event.count(&CREDENTIAL, KNOWN);
        if *owner == *namespace || known < least {
            return None;
        }
        self.evidence.add(event);
        if let Some(node) = &self.node {
            self.evidence.of(node);
        }
        if !self.evidence.is_due() {
            return None;
        }
        let minutes = known / MINUTE;
        let sentence = format!(
            "{} shows {} a key that only namespace {owner} showed in the {minutes} minutes since it was first seen",
            event.who, call.service
        );
        let numbers = vec![
            Number::of("minutes_known", real(minutes)).from(real(least / MINUTE)),
            Number::of("calls", real(self.evidence.count())).from(1.0),
        ];
        // A fingerprint is no secret, and the beginning of one is enough to find it.
        let subject: String = shown.chars().take(20).collect();
        Some(self.evidence.tell(
            &CREDENTIAL,
            &event.who,
            &subject,
            Told { severity: None, sentence, numbers },
        ))
    }
}
