//! How long the answer to a request may become, by the request's body as it was sent.
//!
//! Guarantees: a body that cannot be decoded sets no limit. Does not: keep anything of it.

use super::hold::Share;
use super::reading::decoder;
use super::undoing::Undoing;
use ::inspect::answer::{Ask, AskReader};
use http::HeaderMap;
use policy::Operation;

/// Reads one body.
pub(super) struct Asking {
    reader: AskReader,
    /// Undoes its codings; `None`: it cannot be read any further.
    decoder: Option<Undoing>,
    /// Decoded so far.
    bytes: u64,
}

impl Asking {
    /// Begins with the fields of its head.
    pub(super) fn new(operation: &Operation, fields: &HeaderMap, hold: &Share) -> Self {
        Self { reader: AskReader::new(operation), decoder: decoder(fields, hold), bytes: 0 }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        let (reader, decoded) = (&mut self.reader, &mut self.bytes);
        let read = decoder.push_to(piece, &mut |bytes| {
            reader.push(bytes);
            *decoded = decoded.saturating_add(bytes.len() as u64);
            Ok(())
        });
        if read.is_err() {
            self.decoder = None;
        }
    }

    /// Whether what came of it is no JSON.
    pub(super) fn is_broken(&self) -> bool {
        self.reader.is_broken()
    }

    /// What it says, and how many bytes it has. `is_whole`: there is no more of it.
    pub(super) fn end(mut self, is_whole: bool) -> (Ask, u64) {
        let is_decoded = self.decoder.as_mut().is_some_and(|decoder| decoder.end().is_ok());
        (self.reader.end(is_whole && is_decoded), self.bytes)
    }
}
