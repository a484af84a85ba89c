//! Tokens and money: more than usual in an hour.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{Detector, SPEND};
use crate::distinct::key;
use crate::event::{Call, Event, HOUR};
use crate::finding::{Evidence, Finding, Number, Told};
use crate::volume::median;
use std::collections::VecDeque;

/// Workloads and services that are followed at a time.
const PAIRS: usize = 1 << 15;
/// Tokens in an hour below which nothing is said.
const LEAST_TOKENS: f64 = 200_000.0;
/// Money in an hour below which nothing is said, in billionths: 5 units.
const LEAST_NANOS: f64 = 5e9;
/// Times the median of the hours before.
const TIMES: f64 = 8.0;
/// Hours that are remembered, and how many a median needs.
const HOURS: usize = 24;
const LEAST_HOURS: usize = 3;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Spending(Bounded<u64, Pair>);

#[derive(Debug, Default)]
struct Pair {
    hour: u64,
    tokens: Course,
    nanos: Course,
}

/// An hour, and those before.
#[derive(Debug, Default)]
struct Course {
    sum: f64,
    before: VecDeque<f64>,
    evidence: Evidence,
}

impl Spending {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(PAIRS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, call: &Call, findings: &mut Vec<Finding>) {
        let pair = self.0.entry(&key((&event.who, &call.service)));
        if event.ends(pair.hour * HOUR, HOUR) {
            if pair.hour != 0 {
                pair.tokens.turn();
                pair.nanos.turn();
            }
            pair.hour = event.micros() / HOUR;
        }
        let tokens = real(call.input_tokens.saturating_add(call.output_tokens));
        findings.extend(pair.tokens.add(event, call, tokens, ("tokens", LEAST_TOKENS, 1.0)));
        findings.extend(pair.nanos.add(
            event,
            call,
            real(call.cost_nanos),
            ("units of money", LEAST_NANOS, 1e9),
        ));
    }
}

impl Course {
    fn turn(&mut self) {
        if self.before.len() == HOURS {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::take(&mut self.sum));
        self.evidence.clear();
    }

    fn add(
        &mut self,
        event: &Event,
        call: &Call,
        amount: f64,
        (unit, least, one): (&str, f64, f64),
    ) -> Option<Finding> {
        if amount <= 0.0 {
            return None;
        }
        self.sum += amount;
        self.evidence.add(event);
        let least = event.limit(&SPEND, least);
        if self.sum < least || self.before.len() < LEAST_HOURS {
            return None;
        }
        let usual = median(&self.before);
        let limit = least.max(event.limit(&SPEND, TIMES * usual));
        if self.sum < limit || !self.evidence.is_due() {
            return None;
        }
        let sentence = format!(
            "{} used {:.0} {unit} of {} in this hour; {:.0} an hour are usual, {:.0} are the limit",
            event.who,
            self.sum / one,
            call.service,
            usual / one,
            limit / one
        );
        let detector: &'static Detector = &SPEND;
        let numbers = vec![Number::of("used_this_hour", self.sum / one).was(usual / one).from(limit / one)];
        let subject = format!("{} ({unit})", call.service);
        Some(self.evidence.tell(detector, &event.who, &subject, Told { severity: None, sentence, numbers }))
    }
}
