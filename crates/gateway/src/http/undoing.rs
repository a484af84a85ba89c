//! Undoes the codings of a message, with what that takes counted as held by its pod.
//!
//! Enters: the fields of a message, then its body as it was sent. Leaves: the body as it was before. Guarantees: what a few bytes
//! make a decoder keep is bounded for each pod and in all, as what is held of bodies is (`hold`); beyond that a body cannot be
//! read.

use super::hold::{Held, Share};
use ::inspect::coding::{CodingFlaw, Decoder};

/// Undoes the codings of one message.
#[derive(Debug)]
pub(crate) struct Undoing {
    decoder: Decoder,
    /// `None`: it keeps nothing.
    held: Option<Held>,
}

impl Undoing {
    pub(super) fn of(decoder: Decoder, share: &Share) -> Self {
        Self { decoder, held: Some(Held::none(share)) }
    }

    /// Of a message without codings.
    pub(crate) fn plain() -> Self {
        Self { decoder: Decoder::of(&[], u64::MAX), held: None }
    }

    /// As [`Decoder::push_to`].
    pub(crate) fn push_to(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), CodingFlaw>,
    ) -> Result<(), CodingFlaw> {
        self.decoder.push_to(bytes, sink)?;
        let weight = self.decoder.weight();
        let has_room = self.held.as_mut().map_or(Ok(()), |held| held.at_least(weight));
        has_room.map_err(|_| CodingFlaw::Window)
    }

    /// As [`Decoder::end`].
    pub(crate) fn end(&mut self) -> Result<(), CodingFlaw> {
        self.decoder.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::Hold;
    use super::super::reading::decoder;
    use super::*;
    use http::{HeaderMap, HeaderValue, header};
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    #[test]
    fn what_a_few_bytes_make_decoders_keep_is_bounded_for_each_pod() {
        // A window of 8 MiB, and as many blocks of 128 KiB of one byte.
        let bomb = [&b"\x28\xb5\x2f\xfd\0\x68"[..], &b"\x02\0\x10x".repeat(64)].concat();
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        let hold = Arc::new(Hold::default());
        let [greedy, other] = [1, 2].map(|last| hold.share(Ipv4Addr::new(10, 0, 0, last).into()));
        let undo = |share: &Share| {
            let mut undoing = decoder(&fields, share).unwrap();
            undoing.push_to(&bomb, &mut |_| Ok(())).map(|()| undoing)
        };
        let mut all: Vec<_> = std::iter::from_fn(|| undo(&greedy).ok()).take(20).collect();
        assert_eq!(all.len(), 4, "half of 64 MiB");
        assert_eq!(undo(&greedy).err(), Some(CodingFlaw::Window));
        assert!(undo(&other).is_ok(), "another's");
        all.pop();
        assert!(undo(&greedy).is_ok(), "what one kept was given back");
    }
}
