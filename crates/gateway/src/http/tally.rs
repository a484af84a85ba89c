//! What a model's answer says of its tokens, as it goes by, and what of that is within the quota.
//!
//! Enters: the head of an answer to a call, then its body as it came. Leaves: its usage; and that its tokens are spent.
//! Guarantees: nothing is held; an answer that cannot be decoded goes on, and what was found until then counts. Until the
//! provider says how many tokens there were, they are estimated by the bytes of the question and the characters of the
//! answer. Does not: read answers to anything but calls.

use super::cutting::is_stream;
use super::drawing::Drawn;
use super::hold::Share;
use super::reading::decoder;
use super::undoing::Undoing;
use crate::call::{Course, Usage};
use crate::quota::{Amount, Reservation, Spent};
use ::inspect::answer::{self, AnswerReader, estimate, estimate_question, is_batch};
use http::response;
use policy::{Operation, Verb};
use purse::{Cost, Price, Tokens};
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
    decoder: Option<Undoing>,
    meter: Option<Meter>,
    /// What its tokens cost, where that is known.
    price: Option<Arc<Price>>,
    /// Whether it comes as it is made.
    is_stream: bool,
}

/// What a request took of its quota.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) reservation: Reservation,
    /// Tokens of the question, as far as that was known before it went on.
    pub(crate) asked: u64,
    pub(crate) course: Arc<Course>,
    pub(crate) price: Option<Arc<Price>>,
}

impl Meter {
    /// Tokens so far.
    fn tokens(&self, usage: &answer::Usage) -> Tokens {
        // A question whose length was not said is counted as it goes.
        let asked =
            if self.asked > 0 { self.asked.max(estimate_question(self.course.traffic.up())) } else { 0 };
        tokens(usage, asked)
    }

    fn amount(&self, tokens: Tokens) -> Amount {
        Amount { tokens: tokens.sum(), money: self.price.as_ref().map_or(0, |price| price.cost(tokens)) }
    }
}

/// Of what an answer says, and of what it has where it says nothing.
fn tokens(usage: &answer::Usage, asked: u64) -> Tokens {
    Tokens {
        input: usage.input_tokens.unwrap_or(asked),
        cached: usage.cached_tokens.unwrap_or(0),
        written: usage.cache_write_tokens.unwrap_or(0),
        output: usage.output_tokens.unwrap_or(0).max(estimate(usage.output_chars)),
    }
}

/// As the provider counts them, if it does.
fn told(usage: &answer::Usage) -> Option<Tokens> {
    let (Some(input), Some(output)) = (usage.input_tokens, usage.output_tokens) else { return None };
    Some(Tokens { input, output, ..tokens(usage, 0) })
}

impl Tally {
    /// `None`: it is no answer to a call.
    pub(crate) fn of(
        operation: &Operation,
        head: &response::Parts,
        drawn: Drawn,
        hold: &Share,
    ) -> Option<Self> {
        let Drawn { mut meter, mut price } = drawn;
        let is_batch = is_batch(operation);
        if operation.verb != Verb::Call && !is_batch {
            return None;
        }
        if !head.status.is_success() {
            // Nothing was answered that anybody would count.
            price = None;
            if let Some(mut meter) = meter.take() {
                meter.reservation.settle(Amount::default(), now());
            }
        }
        // Its answer says nothing of what it will cost: that stays set aside.
        if is_batch {
            return None;
        }
        let fields = head.headers.iter();
        let headers: Vec<(&str, &[u8])> =
            fields.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let meter = meter.filter(|meter| meter.reservation.counts_tokens());
        let reader = AnswerReader::new(operation, &headers);
        let is_stream = is_stream(operation, head);
        Some(Self { reader, decoder: decoder(&head.headers, hold), meter, price, is_stream })
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
        let amount = meter.amount(meter.tokens(&usage));
        let spent = meter.reservation.grow(amount, now());
        spent.filter(|_| usage.finish.is_empty())
    }

    /// The answer is over. Where it is whole, the provider's count is the last word; where neither it nor the answer says how
    /// much that was, or only part of what was made came, it took what was set aside. Returns what it says of itself, and what it cost.
    pub(crate) fn end(self, is_whole: bool) -> (Option<Usage>, Option<Cost>) {
        let is_read = self.decoder.is_some() && !self.reader.is_opaque();
        let usage = self.reader.end();
        let told = told(&usage).filter(|_| is_whole);
        let is_counted =
            told.is_some() || is_read && (usage.output_tokens.is_some() || usage.output_chars > 0);
        let mut cost = None;
        if let Some(mut meter) = self.meter {
            // Of an answer in one piece all was made, however little of it came.
            if is_counted && (is_whole || self.is_stream) {
                let amount = meter.amount(told.unwrap_or_else(|| meter.tokens(&usage)));
                meter.reservation.settle(amount, now());
            }
            cost = meter.price.is_some().then(|| meter.reservation.taken().money);
        } else if let Some(price) = self.price.filter(|_| is_counted) {
            cost = Some(price.cost(told.unwrap_or_else(|| tokens(&usage, 0))));
        }
        let cost = cost.map(|nanos| Cost { nanos, is_estimated: told.is_none() });
        (Usage::of(usage), cost)
    }
}
