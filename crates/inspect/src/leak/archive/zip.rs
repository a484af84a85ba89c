//! A zip, from its beginning: members by their local headers, then the directory at its end.
//!
//! Enters: bytes, split anywhere. Leaves: dangers. Guarantees: holds one header; remembers at most [`MAX_MEMBERS`] places of
//! members. A member without a size in its header ends where its compression does, or where a descriptor with the right
//! size follows. Does not: undo compressions other than deflate; read zips with something in front of them.

use super::content::Content;
use super::{Danger, Dangers, MAX_MEMBER_NAME, is_pickle_name, shown};
use crate::coding::{CodingFlaw, Inflate, MAX_RATIO};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Members whose places are remembered.
const MAX_MEMBERS: usize = 1 << 17;

/// Bytes that its members may become whatever they are packed in: arrays of zeros are large and pack well. Beyond it,
/// [`MAX_RATIO`] times as many.
const FREE: u64 = 256 << 20;

/// About how many bytes a remembered member takes, and what undoes its compression.
const REMEMBERED: usize = 32;
const INFLATING: usize = 48 * 1024;

const DESCRIPTOR: &[u8; 4] = b"PK\x07\x08";

/// Bytes of a local header and of a directory entry before the name.
const LOCAL: usize = 30;
const ENTRY: usize = 46;

#[derive(Debug, Default)]
enum State {
    /// A record, as far as it came.
    #[default]
    Record,
    Member(Member),
    /// So many bytes that say nothing.
    Skip(u64),
    Done,
}

#[derive(Debug)]
struct Member {
    length: Length,
    inflate: Option<Box<Inflate>>,
    content: Content,
    taken: u64,
}

/// Where a member ends.
#[derive(Debug)]
enum Length {
    Known(u64),
    /// Where its compression does.
    Compressed,
    /// Where a descriptor is; its bytes as far as they came.
    Described(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Zip {
    state: State,
    held: Vec<u8>,
    at: u64,
    /// Where a local header is, and whose.
    members: HashMap<u64, u64>,
    is_blind: bool,
    /// Bytes that its deflated members became.
    given: u64,
    /// Whether the last thing was a descriptor, of which another eight bytes may follow.
    may_be_long: bool,
}

impl Zip {
    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        let of_member = match &self.state {
            State::Member(member) => INFLATING + member.content.weight(),
            State::Record | State::Skip(_) | State::Done => 0,
        };
        self.held.len() + self.members.len() * REMEMBERED + of_member
    }

    pub(super) fn push(&mut self, bytes: &[u8], dangers: &mut Dangers) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Done => return,
                State::Skip(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Record;
                    }
                    taken
                }
                State::Record => self.record(rest, dangers),
                State::Member(member) => {
                    let (taken, is_over) = member.push(rest, self.at, &mut self.given, dangers);
                    if is_over {
                        self.may_be_long = matches!(member.length, Length::Described(_));
                        self.state = State::Record;
                    }
                    taken
                }
            };
            self.at += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    pub(super) fn end(&mut self, dangers: &mut Dangers) {
        if !matches!(self.state, State::Done | State::Record) || !self.held.is_empty() {
            dangers.add(Danger::Unreadable("a zip ends in the middle"));
        }
    }

    /// Gathers a record until it is whole.
    fn record(&mut self, bytes: &[u8], dangers: &mut Dangers) -> usize {
        let mut taken = 0;
        loop {
            let Some(wanted) = wanted(&self.held) else {
                if std::mem::take(&mut self.may_be_long) {
                    self.state = State::Skip(8u64.saturating_sub(self.held.len() as u64));
                    self.held.clear();
                    return taken;
                }
                dangers.add(Danger::Unreadable("a zip goes on with no record"));
                self.state = State::Done;
                return taken.max(1).min(bytes.len());
            };
            if self.held.len() >= wanted {
                break;
            }
            let more = (wanted - self.held.len()).min(bytes.len() - taken);
            if more == 0 {
                return taken;
            }
            self.held.extend_from_slice(bytes.get(taken..taken + more).unwrap_or_default());
            taken += more;
        }
        let record = std::mem::take(&mut self.held);
        self.may_be_long = record.starts_with(DESCRIPTOR);
        let begin = (self.at + taken as u64).saturating_sub(record.len() as u64);
        match record.get(2..4) {
            Some([3, 4]) => self.local(&record, begin, dangers),
            Some([1, 2]) => self.entry(&record, dangers),
            Some([5, 6]) => self.state = State::Done,
            _ => {}
        }
        taken
    }

    fn local(&mut self, record: &[u8], begin: u64, dangers: &mut Dangers) {
        let (flags, method) = (short(record, 6), short(record, 8));
        let name_length = usize::from(short(record, 26));
        let name = record.get(LOCAL..LOCAL + name_length).unwrap_or_default();
        let extra = record.get(LOCAL + name_length..).unwrap_or_default();
        dangers.add_name(name);
        if self.members.len() < MAX_MEMBERS {
            self.members.insert(begin, hash(name));
        } else {
            self.is_blind = true;
        }
        let is_encrypted = flags & 1 != 0;
        let size = match long(record, 18) {
            u32::MAX => zip64_packed(extra),
            size => Some(u64::from(size)),
        };
        let length = match (flags & 8 != 0, method, size) {
            (false, _, Some(size)) => Length::Known(size),
            (true, _, Some(size)) if size > 0 => Length::Known(size),
            (true, 8, _) if !is_encrypted => Length::Compressed,
            (true, 0, _) => Length::Described(Vec::new()),
            _ => {
                dangers.add(Danger::Unreadable("a member of a zip has no size"));
                self.state = State::Done;
                return;
            }
        };
        let can_read = !is_encrypted && matches!(method, 0 | 8);
        if !can_read {
            dangers.add(Danger::Unreadable("a member of a zip is encrypted or compressed in another way"));
        }
        if matches!(length, Length::Known(0)) {
            return;
        }
        self.state = match length {
            Length::Known(size) if !can_read => State::Skip(size),
            length => State::Member(Member {
                length,
                inflate: (method == 8).then(|| Box::new(Inflate::new(false))),
                content: Content::new(is_pickle_name(name)),
                taken: 0,
            }),
        };
    }

    /// An entry of the directory.
    fn entry(&mut self, record: &[u8], dangers: &mut Dangers) {
        let name_length = usize::from(short(record, 28));
        let name = record.get(ENTRY..ENTRY + name_length).unwrap_or_default();
        dangers.add_name(name);
        let mode = long(record, 38) >> 16;
        if mode & 0o170_000 == 0o120_000 {
            dangers.add(Danger::Link(shown(name)));
        }
        let offset = long(record, 42);
        let is_there = self.members.get(&u64::from(offset)) == Some(&hash(name));
        if !is_there && offset != u32::MAX && !self.is_blind {
            dangers.add(Danger::Hidden(shown(name)));
        }
    }
}

impl Member {
    /// Takes bytes up to its end; how many, and whether it is over. `at`: how many came before them in the file. `given`:
    /// how many its members became.
    fn push(&mut self, bytes: &[u8], at: u64, given: &mut u64, dangers: &mut Dangers) -> (usize, bool) {
        let (taken, is_over) = match &mut self.length {
            Length::Known(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                (taken, *left == 0)
            }
            Length::Compressed => (bytes.len(), false),
            Length::Described(seen) => described(seen, bytes, self.taken),
        };
        let part = bytes.get(..taken).unwrap_or_default();
        self.taken += taken as u64;
        let Some(inflate) = &mut self.inflate else {
            self.content.push(part, dangers);
            return (taken, is_over);
        };
        let most = FREE.saturating_add((at + taken as u64).saturating_mul(MAX_RATIO));
        let inflated = inflate.push(part, &mut |piece| {
            *given = given.saturating_add(piece.len() as u64);
            self.content.push(piece, dangers);
            if *given > most { Err(CodingFlaw::Ratio) } else { Ok(()) }
        });
        match inflated {
            Ok(used) if matches!(self.length, Length::Compressed) => {
                self.taken = self.taken.saturating_sub((taken - used) as u64);
                (used, inflate.is_finished)
            }
            Ok(_) => (taken, is_over),
            Err(flaw) => {
                dangers.add(match flaw {
                    CodingFlaw::Ratio => Danger::Bomb,
                    _ => Danger::Unreadable("a member of a zip does not unpack"),
                });
                (self.inflate, self.content) = (None, Content::none());
                (taken, is_over)
            }
        }
    }
}

/// Looks for a descriptor whose size is what was taken before it. Gives how many bytes are taken, and whether it was found.
fn described(seen: &mut Vec<u8>, bytes: &[u8], before: u64) -> (usize, bool) {
    let mut index = 0;
    while let Some(rest) = bytes.get(index..).filter(|rest| !rest.is_empty()) {
        if seen.is_empty() {
            let plain = rest.iter().position(|byte| *byte == b'P').unwrap_or(rest.len());
            index += plain;
        }
        let Some(byte) = bytes.get(index) else { break };
        seen.push(*byte);
        index += 1;
        let length = (before + index as u64).saturating_sub(16);
        // Sizes of four bytes, or the first half of one of eight.
        if seen.len() == 16 && u64::from(long(seen, 8)) == length & u64::from(u32::MAX) {
            return (index, true);
        }
        let begins = |part: &[u8]| part.iter().zip(DESCRIPTOR).all(|(is, must)| is == must);
        if seen.len() == 16 || !begins(seen) {
            let next = (1..seen.len()).find(|at| seen.get(*at..).is_some_and(begins)).unwrap_or(seen.len());
            seen.drain(..next);
        }
    }
    (bytes.len(), false)
}

/// How many bytes the record has that begins so; `None`: it is none.
fn wanted(held: &[u8]) -> Option<usize> {
    let Some(signature) = held.first_chunk::<4>() else { return Some(4) };
    let sum = |fixed: usize, lengths: &[usize]| {
        if held.len() < fixed {
            return Some(fixed);
        }
        let name = lengths.first().map_or(0, |at| usize::from(short(held, *at)));
        let rest: usize = lengths.iter().map(|at| usize::from(short(held, *at))).sum();
        (name <= MAX_MEMBER_NAME).then_some(fixed + rest)
    };
    match signature {
        b"PK\x03\x04" => sum(LOCAL, &[26, 28]),
        b"PK\x01\x02" => sum(ENTRY, &[28, 30, 32]),
        b"PK\x05\x06" => Some(22),
        // The descriptor of a member that ended by itself, and the end of a directory with sizes of eight bytes.
        b"PK\x07\x08" => Some(16),
        b"PK\x06\x06" => Some(56),
        b"PK\x06\x07" => Some(20),
        _ => None,
    }
}

fn short(record: &[u8], at: usize) -> u16 {
    record.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn long(record: &[u8], at: usize) -> u32 {
    record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The packed size in a zip64 extra field (4.5.3): the second number of eight bytes.
fn zip64_packed(extra: &[u8]) -> Option<u64> {
    let mut rest = extra;
    while rest.len() >= 4 {
        let length = usize::from(short(rest, 2));
        if short(rest, 0) == 1 {
            return Some(u64::from_le_bytes(rest.get(12..20)?.try_into().ok()?));
        }
        rest = rest.get(4 + length..)?;
    }
    None
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
