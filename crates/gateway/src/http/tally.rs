//! What a model's answer says of its tokens, as it goes by, and what of that is within the quota.
//!
//! Enters: the head of an answer to a call, then its body as it came. Leaves: its usage; and that its tokens are spent.
//! Guarantees: nothing is held; an answer that cannot be decoded goes on, and what was found until then counts. Until the
//! provider says how many tokens there were, they are estimated by the bytes of the question and the characters of the
//! answer. Does not: read answers to anything but calls.

use super::reading::decoder;
use crate::call::{Course, Usage};
use crate::quota::{Reservation, Spent};
use ::inspect::answer::{self, AnswerReader, estimate};
use ::inspect::coding::Decoder;
use http::response;
use policy::{Operation, Verb};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Tally {
    reader: AnswerReader,
    /// Undoes its codings; `None`: it cannot be read any further.
    decoder: Option<Decoder>,
    meter: Option<Meter>,
}

/// What a request took of its quota.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) reservation: Reservation,
    /// Tokens of the question, as far as that was known before it went on.
    pub(crate) asked: u64,
    pub(crate) course: Arc<Course>,
}

impl Meter {
    /// Tokens so far.
    fn tokens(&self, usage: &answer::Usage) -> u64 {
        // A question whose length was not said is counted as it goes.
        let asked = if self.asked > 0 { self.asked.max(estimate(self.course.traffic.up())) } else { 0 };
        let told = usage.output_tokens.unwrap_or(0).max(estimate(usage.output_chars));
        usage.input_tokens.unwrap_or(asked).saturating_add(told)
    }
}

impl Tally {
    /// `None`: it is no answer to a call.
    pub(crate) fn of(operation: &Operation, head: &response::Parts, meter: Option<Meter>) -> Option<Self> {
        let mut meter = meter;
        meter.iter_mut().for_each(|meter| meter.reservation.answered());
        if operation.verb != Verb::Call {
            return None;
        }
        if !head.status.is_success()
            && let Some(mut meter) = meter.take()
        {
            // Nothing was answered that anybody would count.
            let _spent_before = meter.reservation.count(0, now());
        }
        let fields = head.headers.iter();
        let headers: Vec<(&str, &[u8])> =
            fields.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let meter = meter.filter(|meter| meter.reservation.counts_tokens());
        let reader = AnswerReader::new(operation, &headers);
        Some(Self { reader, decoder: decoder(&head.headers), meter })
    }

    /// Whether its tokens are counted.
    pub(crate) fn is_metered(&self) -> bool {
        self.meter.is_some()
    }

    /// Takes what goes by. Returns what is spent by that, of an answer that did not come to its end.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Option<Spent> {
        let decoder = self.decoder.as_mut()?;
        let reader = &mut self.reader;
        let read = decoder.push_to(piece, &mut |bytes| {
            reader.push(bytes);
            Ok(())
        });
        if read.is_err() {
            self.decoder = None;
        }
        let meter = self.meter.as_mut()?;
        let usage = self.reader.usage();
        let tokens = meter.tokens(&usage);
        let spent = meter.reservation.count(tokens, now());
        spent.filter(|_| usage.finish.is_empty())
    }

    /// The answer is over. Where it is whole, the provider's count is the last word.
    pub(crate) fn end(self, is_whole: bool) -> Option<Usage> {
        let usage = self.reader.end();
        if let Some(mut meter) = self.meter {
            let tokens = match (usage.output_tokens, usage.input_tokens) {
                (Some(output), Some(input)) if is_whole => input.saturating_add(output),
                (Some(_) | None, Some(_) | None) => meter.tokens(&usage),
            };
            let _nothing_follows = meter.reservation.count(tokens, now());
        }
        Usage::of(usage)
    }
}
