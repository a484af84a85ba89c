//! br (RFC 7932), incremental.
//!
//! Enters: bytes, split anywhere. Leaves: what they decode to. Guarantees: windows of RFC 7932 only (at most 16 MiB).

use super::{CodingFlaw, PIECE, Sink};
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use std::fmt;

/// Largest window (section 9.1).
const WINDOW: usize = 16 << 20;

/// One brotli stream.
pub(super) struct Brotli {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    total: usize,
    is_finished: bool,
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli").field("total", &self.total).field("is_finished", &self.is_finished).finish()
    }
}

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        let state = Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()));
        Self { state, total: 0, is_finished: false }
    }

    pub(super) fn weight(&self) -> usize {
        self.total.min(WINDOW)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), CodingFlaw> {
        let mut piece = vec![0; PIECE];
        let (mut left, mut at) = (bytes.len(), 0);
        while !self.is_finished {
            let (mut room, mut given) = (piece.len(), 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut at,
                bytes,
                &mut room,
                &mut given,
                &mut piece,
                &mut self.total,
                &mut self.state,
            );
            if given > 0 {
                sink(piece.get(..given).unwrap_or_default())?;
            }
            match result {
                BrotliResult::ResultSuccess => self.is_finished = true,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(CodingFlaw::Malformed),
            }
        }
        if left > 0 { Err(CodingFlaw::Trailing) } else { Ok(()) }
    }
}
