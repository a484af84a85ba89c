//! What a file, or a member of an archive, has in it that acts when it is read: a pickle, or an array with pickled objects.
//!
//! Enters: its bytes, split anywhere. Leaves: dangers. Guarantees: holds one header of an array, and what [`Pickles`] does.
//! Does not: believe names more than that a file is read as a pickle for its name's sake.
//! Source of the arrays: numpy, `numpy.lib.format`.

use super::{Danger, Dangers};
use crate::leak::pickle::Pickles;

/// Bytes of an array that say how long its header is, for the later versions.
const PREFIX: usize = 12;
const ARRAY: &[u8; 6] = b"\x93NUMPY";

/// Longest header of an array: numpy itself takes 10000 bytes from those that it does not trust.
const MAX_HEADER: usize = 64 * 1024;

/// Reads one file.
#[derive(Debug)]
pub(super) struct Content {
    is_pickle_named: bool,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// The first bytes, by which an array is told.
    First(Vec<u8>),
    Pickle(Box<Pickles>),
    /// The header of an array.
    Array(Vec<u8>),
    /// Nothing that acts.
    Nothing,
}

impl Content {
    pub(super) fn new(is_pickle_named: bool) -> Self {
        Self { is_pickle_named, reader: Reader::First(Vec::new()) }
    }

    /// Of what is not looked at.
    pub(super) fn none() -> Self {
        Self { is_pickle_named: false, reader: Reader::Nothing }
    }

    /// Whether nothing of what follows acts.
    pub(super) fn is_done(&self) -> bool {
        match &self.reader {
            Reader::First(_) | Reader::Array(_) => false,
            Reader::Pickle(pickles) => pickles.is_done(),
            Reader::Nothing => true,
        }
    }

    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        match &self.reader {
            Reader::First(held) | Reader::Array(held) => held.len(),
            Reader::Pickle(pickles) => pickles.weight(),
            Reader::Nothing => 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], dangers: &mut Dangers) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.reader {
                Reader::Nothing => return,
                Reader::Pickle(pickles) => {
                    pickles.push(rest);
                    dangers.add_imports(pickles);
                    return;
                }
                Reader::First(held) => {
                    let taken = gather(held, rest, ARRAY.len());
                    if held.len() == ARRAY.len() {
                        let held = std::mem::take(held);
                        self.begin(held, dangers);
                    }
                    taken
                }
                Reader::Array(held) => {
                    let wanted = header_length(held);
                    let taken = gather(held, rest, wanted.unwrap_or(PREFIX).min(MAX_HEADER));
                    if wanted.is_some_and(|wanted| wanted > MAX_HEADER) {
                        dangers.add(Danger::Unreadable("the header of an array is too long"));
                        self.reader = Reader::Nothing;
                    } else if wanted == Some(held.len()) {
                        self.reader = objects(held);
                    }
                    taken
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn begin(&mut self, held: Vec<u8>, dangers: &mut Dangers) {
        if held == ARRAY {
            self.reader = Reader::Array(held);
            return;
        }
        let mut pickles = if self.is_pickle_named { Pickles::new() } else { Pickles::guess() };
        pickles.push(&held);
        dangers.add_imports(&pickles);
        self.reader = Reader::Pickle(Box::new(pickles));
    }
}

fn gather(held: &mut Vec<u8>, bytes: &[u8], wanted: usize) -> usize {
    let taken = bytes.len().min(wanted.saturating_sub(held.len()));
    held.extend_from_slice(bytes.get(..taken).unwrap_or_default());
    taken
}

/// Of an array, all that stands before its values; `None`: not enough of it came.
fn header_length(held: &[u8]) -> Option<usize> {
    let [major, _, length @ ..] = held.get(ARRAY.len()..PREFIX)? else { return None };
    let (prefix, length) = match (major, length) {
        (1, [low, high, ..]) => (10, u32::from(u16::from_le_bytes([*low, *high]))),
        (_, length) => (PREFIX, u32::from_le_bytes(length.try_into().ok()?)),
    };
    // The shortest header is longer than what is read to know its length.
    Some(usize::try_from(length).ok()?.saturating_add(prefix).max(PREFIX))
}

/// What follows the header of an array: a pickle, if its values are objects (`'descr': '|O'`, or such a field).
fn objects(header: &[u8]) -> Reader {
    let has = |word: &[u8]| header.windows(word.len()).any(|part| part == word);
    let has_objects = [&b"|O"[..], b"'O", b"\"O"].iter().any(|word| has(word));
    if has_objects { Reader::Pickle(Box::default()) } else { Reader::Nothing }
}
