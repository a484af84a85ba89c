//! What enforcement points stopped, changed or only tell of: limits of rules that were reached, budgets that are used up, what
//! leaked, and files that are unsafe. Each is a fact; nothing is compared with what is usual.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{self, Detector};
use crate::distinct::key;
use crate::event::{Call, Carrier, Event, Fate, Found, HOUR, Limit, Reached};
use crate::finding::{Evidence, Finding, Number, Told, id};

/// Facts that are followed at a time.
const FACTS: usize = 1 << 15;
/// After so long without it a fact begins anew.
const QUIET: u64 = 6 * HOUR;
/// What of one request is looked at.
const MOST_FOUND: usize = 64;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Limits(Bounded<u64, Fact>);

#[derive(Debug, Default)]
struct Fact {
    hour: u64,
    evidence: Evidence,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(FACTS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn reached(&mut self, event: &Event, reached: &Reached) -> Option<Finding> {
        let (detector, words) = limit(reached.limit);
        let whom = reached.whom.as_deref().unwrap_or_default();
        let towards = if whom.is_empty() { "all whom its rule allows" } else { whom };
        let sentence = format!("{} {words}, {} bytes, to {towards}", event.who, reached.bytes);
        let numbers = vec![Number::of("bytes", real(reached.bytes))];
        self.tell(event, detector, (whom, ""), sentence, numbers)
    }

    pub(crate) fn called(&mut self, event: &Event, call: &Call, findings: &mut Vec<Finding>) {
        for found in call.found.iter().take(MOST_FOUND) {
            let (detector, words) = carried(found);
            let sentence = format!("{} {words} {}: {} ({})", event.who, call.service, found.rule, found.what);
            let numbers = vec![Number::of("bytes_of_the_request", real(call.sent))];
            findings.extend(self.tell(event, detector, (&call.service, &found.rule), sentence, numbers));
        }
        let Some((detector, words)) = budget(call) else { return };
        let sentence = format!("{} was refused a call of {}: {words}", event.who, call.service);
        findings.extend(self.tell(event, detector, (&call.service, ""), sentence, Vec::new()));
    }

    /// A fact is told the first time, whenever there is twice as much of it, and once in every hour in which it comes again.
    fn tell(
        &mut self,
        event: &Event,
        detector: &'static Detector,
        (subject, apart): (&str, &str),
        sentence: String,
        mut numbers: Vec<Number>,
    ) -> Option<Finding> {
        let rule = event.scene.rule.as_deref().unwrap_or_default();
        let fact = self.0.entry(&key((detector.name, &event.who, subject, apart, rule)));
        if event.ends(fact.evidence.last().0, QUIET) {
            fact.evidence.clear();
        }
        if event.ends(fact.hour * HOUR, HOUR) {
            fact.hour = event.micros() / HOUR;
            fact.evidence.again();
        }
        fact.evidence.add(event);
        if !fact.evidence.is_due() {
            return None;
        }
        numbers.push(Number::of("times", real(fact.evidence.count())).from(1.0));
        let mut finding =
            fact.evidence.tell(detector, &event.who, subject, Told { severity: None, sentence, numbers });
        // Two rules, or two things that leak to one service, are two findings.
        finding.id = id(&[detector.name, &event.who, &finding.subject, apart, rule]);
        Some(finding)
    }
}

fn limit(limit: Limit) -> (&'static Detector, &'static str) {
    match limit {
        Limit::UploadConnection => {
            (&catalog::UPLOAD_CONNECTION, "had a connection cut that sent as much as its rule lets one send")
        }
        Limit::DownloadOnly => {
            (&catalog::DOWNLOAD_ONLY, "had a connection cut that sent more than goes with downloading")
        }
        Limit::UploadHour => {
            (&catalog::UPLOAD_HOUR, "used up the hour's upload; its connections are cut until the hour ends")
        }
        Limit::UploadDay => {
            (&catalog::UPLOAD_DAY, "used up the day's upload; its connections are cut until the day ends")
        }
        Limit::Unopened => {
            (&catalog::UNOPENED, "had a connection pass unread, for it does not trust the inspection CA")
        }
    }
}

fn carried(found: &Found) -> (&'static Detector, &'static str) {
    match (found.place, found.fate) {
        (Carrier::Request, Fate::Told) => (&catalog::LEAK, "sent what should not leave to"),
        (Carrier::Request, Fate::Masked) => {
            (&catalog::LEAK_MASKED, "had what should not leave taken out of a request to")
        }
        (Carrier::Request, Fate::Blocked) => {
            (&catalog::LEAK_BLOCKED, "was stopped sending what should not leave to")
        }
        (Carrier::Answer, Fate::Told) => (&catalog::LEAK, "was given what should not be given away by"),
        (Carrier::Answer, Fate::Masked) => {
            (&catalog::LEAK_MASKED, "had what should not be given away taken out of an answer of")
        }
        (Carrier::Answer, Fate::Blocked) => {
            (&catalog::LEAK_BLOCKED, "was not given what should not be given away by")
        }
        (Carrier::File, Fate::Told | Fate::Masked) => {
            (&catalog::UNSAFE_FILE, "got a file that is unsafe, or could not be read, from")
        }
        (Carrier::File, Fate::Blocked) => {
            (&catalog::UNSAFE_FILE_BLOCKED, "was not given a file that is unsafe, or could not be read, of")
        }
    }
}

/// Which budget of a refused call is used up.
fn budget(call: &Call) -> Option<(&'static Detector, &'static str)> {
    if call.allowed {
        return None;
    }
    match &*call.reason {
        "quota-requests" => Some((&catalog::QUOTA_REQUESTS, "its budget of requests is used up")),
        "quota-tokens" => Some((&catalog::QUOTA_TOKENS, "its budget of tokens is used up")),
        "quota-money" => Some((&catalog::QUOTA_MONEY, "its budget of money is used up")),
        "no-price" => Some((&catalog::NO_PRICE, "the model has no price, and money is limited")),
        _ => None,
    }
}
