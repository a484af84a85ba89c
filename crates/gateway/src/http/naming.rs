//! The name that a server's answer gives a part of an upload.
//!
//! Enters: an answer as it goes by. Leaves: the part's name, for [`Uploads`], before the client has it. Guarantees: bounded.
//! Does not: change the answer; an answer that cannot be read names nothing, and the part is then one that was not seen.

use super::hold::Share;
use super::reading::decoder;
use super::undoing::Undoing;
use crate::parts::{Piece, Uploads};
use ::inspect::operation::part_list::PartName;
use http::HeaderMap;
use std::sync::Arc;
use std::time::Instant;

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Naming {
    uploads: Arc<Uploads>,
    piece: Piece,
    decoder: Undoing,
    name: PartName,
}

impl Naming {
    /// Of an answer with these fields; `None`: it cannot be read.
    pub(crate) fn new(
        uploads: &Arc<Uploads>,
        piece: Piece,
        fields: &HeaderMap,
        hold: &Share,
    ) -> Option<Self> {
        let (uploads, decoder) = (Arc::clone(uploads), decoder(fields, hold)?);
        Some(Self { uploads, piece, decoder, name: PartName::default() })
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        let (uploads, name, part) = (&self.uploads, &mut self.name, self.piece);
        // What came before a flaw may have named it.
        let _read = self.decoder.push_to(piece, &mut |bytes| {
            if let Some(name) = name.push(bytes) {
                uploads.named(part, &name, Instant::now());
            }
            Ok(())
        });
    }
}
