//! Messages of AWS's event stream, as they come.
//!
//! Guarantees: only a message whose CRCs are right is given out; of one that is longer than [`MAX_HELD`] nothing is kept.

use crate::event_stream::{self, Crc, PRELUDE};

/// Most bytes of a message that is looked at. A model's events have a few kilobytes.
const MAX_HELD: usize = 1024 * 1024;

#[derive(Debug)]
enum State {
    Prelude,
    /// So many bytes of a message, all of it kept, of which the headers have so many.
    Held {
        left: usize,
        headers: usize,
    },
    /// So many bytes of a message that is too long to keep.
    Passing(usize),
    /// Something does not fit.
    Broken,
}

/// Reads messages.
#[derive(Debug)]
pub(crate) struct Messages {
    state: State,
    held: Vec<u8>,
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self { state: State::Prelude, held: Vec::new() }
    }

    /// Gives out headers and payload of each message; of one that is too long, nothing twice.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut on: impl FnMut(&[u8], &[u8])) {
        while !bytes.is_empty() {
            let wanted = match self.state {
                State::Prelude => PRELUDE - self.held.len(),
                State::Held { left, .. } | State::Passing(left) => left,
                State::Broken => return,
            };
            let (taken, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            bytes = rest;
            let left = wanted - taken.len();
            match self.state {
                State::Prelude => {
                    self.held.extend_from_slice(taken);
                    if left == 0 {
                        self.state = self.begin();
                    }
                }
                State::Held { headers, .. } => {
                    self.held.extend_from_slice(taken);
                    self.state = State::Held { left, headers };
                    if left == 0 {
                        self.state = self.finish(headers, &mut on);
                    }
                }
                State::Passing(_) => {
                    self.state = State::Passing(left);
                    if left == 0 {
                        on(&[], &[]);
                        self.state = State::Prelude;
                    }
                }
                State::Broken => {}
            }
        }
    }

    fn begin(&mut self) -> State {
        let sizes = self.held.first_chunk().and_then(event_stream::prelude);
        match sizes {
            None => State::Broken,
            Some((total, headers)) if total <= MAX_HELD => State::Held { left: total - PRELUDE, headers },
            Some((total, _)) => {
                self.held.clear();
                State::Passing(total - PRELUDE)
            }
        }
    }

    fn finish(&mut self, headers: usize, on: &mut impl FnMut(&[u8], &[u8])) -> State {
        let held = std::mem::take(&mut self.held);
        let parts =
            held.split_last_chunk::<4>().filter(|(all, crc)| Crc::of(all) == u32::from_be_bytes(**crc));
        let parts = parts.and_then(|(all, _)| all.get(PRELUDE..)?.split_at_checked(headers));
        match parts {
            Some((headers, payload)) => {
                on(headers, payload);
                self.held = held;
                self.held.clear();
                State::Prelude
            }
            None => State::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], size: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut messages, mut found) = (Messages::new(), vec![]);
        for part in bytes.chunks(size) {
            messages.push(part, |headers, payload| found.push((headers.to_vec(), payload.to_vec())));
            assert!(messages.held.len() <= MAX_HELD);
        }
        found
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        event_stream::message(&[("a", "b")], payload).unwrap()
    }

    #[test]
    fn messages_are_read_however_they_are_split() {
        let bytes = [message(b"one"), message(b""), message(b"three")].concat();
        for size in 1..=bytes.len() {
            let found = read(&bytes, size);
            let payloads: Vec<_> = found.iter().map(|(_, payload)| payload.as_slice()).collect();
            assert_eq!(payloads, [&b"one"[..], b"", b"three"]);
            assert!(found.iter().all(|(headers, _)| headers == b"\x01a\x07\0\x01b"));
        }
    }

    #[test]
    fn a_wrong_crc_ends_it() {
        let good = message(b"one");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let bytes = [good.clone(), bad, good.clone()].concat();
            assert_eq!(read(&bytes, 7).len(), 1, "byte {at}");
        }
    }

    #[test]
    fn a_long_message_is_passed_over() {
        let bytes = [message(&vec![b'x'; MAX_HELD]), message(b"two")].concat();
        let found = read(&bytes, 9999);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].1.len(), found[1].1.as_slice()), (0, &b"two"[..]));
    }
}
