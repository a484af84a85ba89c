//! What a model's answer says of its tokens, as it goes by.
//!
//! Enters: the head of an answer to a call, then its body as it came. Leaves: its usage. Guarantees: nothing is held; an
//! answer that cannot be decoded goes on, and what was found until then counts. Does not: read answers to anything but
//! calls.

use super::reading::decoder;
use crate::call::Usage;
use ::inspect::answer::AnswerReader;
use ::inspect::coding::Decoder;
use http::HeaderMap;
use policy::{Operation, Verb};

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Tally {
    reader: AnswerReader,
    /// Undoes its codings; `None`: it cannot be read any further.
    decoder: Option<Decoder>,
}

impl Tally {
    /// `None`: it is no answer to a call.
    pub(crate) fn of(operation: &Operation, fields: &HeaderMap) -> Option<Self> {
        let headers: Vec<(&str, &[u8])> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let is_call = operation.verb == Verb::Call;
        is_call.then(|| Self { reader: AnswerReader::new(operation, &headers), decoder: decoder(fields) })
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        let reader = &mut self.reader;
        let read = decoder.push_to(piece, &mut |bytes| {
            reader.push(bytes);
            Ok(())
        });
        if read.is_err() {
            self.decoder = None;
        }
    }

    /// The answer is over, whether or not it is whole.
    pub(crate) fn end(self) -> Option<Usage> {
        Usage::of(self.reader.end())
    }
}
