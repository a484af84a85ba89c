//! Hides from a pod the key that its request left with, where the server sends it back.
//!
//! Enters: the key, and the head, body and trailers of an answer. Leaves: the same with `*` in place of each byte of the key.
//! Guarantees: nothing becomes longer or shorter; what is held back is the beginning of a key, shorter than one, and goes on with
//! the next piece or at the end. Does not: look into what is coded, or find a key that the server wrote in another form.

use crate::keys::HeldKey;
use http::{HeaderMap, HeaderValue};
use hyper::body::Bytes;
use std::sync::Arc;

/// Shortest key that is looked for: a shorter one would stand in many an answer by chance.
const LEAST: usize = 8;
/// In place of a byte of a key.
const MARK: u8 = b'*';

/// Follows one answer.
pub(crate) struct Echoing {
    key: Arc<HeldKey>,
    /// The beginning of what may be the key.
    held: Vec<u8>,
}

impl Echoing {
    /// `None`: the key is too short to be told from other text.
    pub(crate) fn of(key: &Arc<HeldKey>) -> Option<Self> {
        let key = Arc::clone(key);
        (key.key.expose().len() >= LEAST).then(|| Self { key, held: Vec::new() })
    }

    /// Hides it in the head, or in trailers.
    pub(crate) fn hide_in(&self, fields: &mut HeaderMap) {
        let key = self.key.key.expose().as_bytes();
        for value in fields.values_mut() {
            if find(value.as_bytes(), key).is_none() {
                continue;
            }
            let mut hidden = value.as_bytes().to_vec();
            hide(&mut hidden, key);
            // Stars can be in any field.
            *value = HeaderValue::from_bytes(&hidden).unwrap_or_else(|_| HeaderValue::from_static("*"));
        }
    }

    /// Takes a piece; what goes on by that.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        let key = self.key.key.expose().as_bytes();
        if self.held.is_empty() && find(&piece, key).is_none() && begun(&piece, key) == 0 {
            return piece;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(&piece);
        hide(&mut all, key);
        self.held = all.split_off(all.len() - begun(&all, key));
        Bytes::from(all)
    }

    /// Whether something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The body is over; what is left of it.
    pub(crate) fn end(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}

fn hide(text: &mut [u8], key: &[u8]) {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| find(rest, key)) {
        let found = text.get_mut(from + at..from + at + key.len());
        found.into_iter().for_each(|found| found.fill(MARK));
        from += at + key.len();
    }
}

fn find(text: &[u8], key: &[u8]) -> Option<usize> {
    text.windows(key.len()).position(|window| window == key)
}

/// How many of the last bytes begin a key.
fn begun(text: &[u8], key: &[u8]) -> usize {
    let last = text.get(text.len().saturating_sub(key.len() - 1)..).unwrap_or_default();
    let begins = |at: &usize| last.get(*at..).is_some_and(|rest| key.starts_with(rest));
    (0..last.len()).find(begins).map_or(0, |at| last.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Credential, Key};
    use proptest::prelude::*;

    fn echoing(key: &str) -> Option<Echoing> {
        let key = Key::read(key.as_bytes()).unwrap();
        Echoing::of(&Arc::new(HeldKey { key, fingerprint: Credential::Sha256("".into()) }))
    }

    /// What goes on of pieces, and the most that was held.
    fn hidden(key: &str, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let (mut echoing, mut most) = (echoing(key).unwrap(), 0);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(echoing.push(Bytes::copy_from_slice(piece)));
            most = most.max(echoing.held.len());
        }
        out.extend(echoing.end());
        (out, most)
    }

    #[test]
    fn a_key_is_hidden_wherever_it_is_cut() {
        let (key, text) = ("sk-of-sk-of-us", "a sk-of-sk-of-sk-of-us b sk-of-sk-of-us");
        let expected = "a sk-of-************** b **************";
        for at in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(hidden(key, &[first, second]).0, expected.as_bytes(), "{at}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(hidden(key, &bytes).0, expected.as_bytes());
    }

    #[test]
    fn what_begins_no_key_is_not_held_and_a_short_key_is_not_looked_for() {
        assert_eq!(hidden("sk-12345", &[b"data: {}\n\n"]), (b"data: {}\n\n".to_vec(), 0));
        assert_eq!(hidden("sk-12345", &[b"a sk-1234"]), (b"a sk-1234".to_vec(), 7));
        assert!(echoing("sk-1234").is_none());
    }

    proptest! {
        #[test]
        fn what_is_hidden_does_not_depend_on_how_it_comes(text in "[ab]{0,60}", key in "[ab]{8,10}", size in 1usize..9) {
            let (whole, _) = hidden(&key, &[text.as_bytes()]);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let (out, most) = hidden(&key, &pieces);
            prop_assert_eq!(&out, &whole);
            prop_assert!(most < key.len());
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(find(&out, key.as_bytes()).is_none());
        }
    }
}
