//! A tar, member by member.
//!
//! Enters: bytes, split anywhere. Leaves: dangers. Guarantees: holds one header, or one long name or set of records; what
//! readers take differently is told of. Does not: read sparse members of the old GNU form.

use super::content::Content;
use super::{Danger, Dangers, MAX_MEMBER_NAME, is_pickle_name, is_unsafe, shown};

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// Most bytes of a member's records, or of a long name.
const MAX_RECORDS: usize = 4 * MAX_MEMBER_NAME;

#[derive(Debug)]
enum State {
    /// A header, as far as it came.
    Header,
    /// A member's bytes, then the padding of its last block.
    Body { left: u64, padding: u64, use_of: Use },
    /// It cannot be followed any further.
    Done,
}

/// What a member's bytes are.
#[derive(Debug)]
enum Use {
    /// The name, or the link's target, of the next member.
    LongName,
    /// Records of the next member.
    Pax,
    File(Box<Content>),
}

#[derive(Debug)]
pub(super) struct Tar {
    state: State,
    held: Vec<u8>,
    /// From a member before, for the next.
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether a block of zeros was seen, with which a tar ends.
    is_over: bool,
}

impl Default for Tar {
    fn default() -> Self {
        Self { state: State::Header, held: Vec::new(), name: None, size: None, is_over: false }
    }
}

/// Whether a block is the header of a member: its checksum holds.
pub(super) fn is_header(block: &[u8]) -> bool {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    block.len() == BLOCK && block.get(148..156).and_then(number) == Some(sum)
}

impl Tar {
    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        let of_file = match &self.state {
            State::Body { use_of: Use::File(content), .. } => content.weight(),
            State::Body { .. } | State::Header | State::Done => 0,
        };
        self.held.len() + of_file
    }

    pub(super) fn push(&mut self, bytes: &[u8], dangers: &mut Dangers) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Done => return,
                State::Header => {
                    let taken = rest.len().min(BLOCK - self.held.len().min(BLOCK));
                    self.held.extend_from_slice(rest.get(..taken).unwrap_or_default());
                    if self.held.len() == BLOCK {
                        self.header(dangers);
                    }
                    taken
                }
                State::Body { left, use_of, .. } if *left > 0 => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    let part = rest.get(..taken).unwrap_or_default();
                    match use_of {
                        Use::File(content) => content.push(part, dangers),
                        Use::LongName | Use::Pax => self.held.extend_from_slice(part),
                    }
                    taken
                }
                State::Body { padding, .. } => {
                    let taken = rest.len().min(usize::try_from(*padding).unwrap_or(usize::MAX));
                    *padding -= taken as u64;
                    taken
                }
            };
            if let State::Body { left: 0, padding: 0, .. } = &self.state {
                self.body_is_over(dangers);
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn give_up(&mut self, why: &'static str, dangers: &mut Dangers) {
        dangers.add(Danger::Unreadable(why));
        self.state = State::Done;
    }

    fn header(&mut self, dangers: &mut Dangers) {
        let header = std::mem::take(&mut self.held);
        if header.iter().all(|byte| *byte == 0) {
            self.is_over = true;
            return;
        }
        if !is_header(&header) {
            // Anything may stand behind the end.
            return match self.is_over {
                true => self.state = State::Done,
                false => self.give_up("a tar goes on with no header", dangers),
            };
        }
        let kind = header.get(156).copied().unwrap_or(0);
        let Some(size) = header.get(124..136).and_then(number) else {
            return self.give_up("a member of a tar has no size", dangers);
        };
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            if size > MAX_RECORDS as u64 {
                return self.give_up("a member of a tar has too many records", dangers);
            }
            let use_of = if matches!(kind, b'L' | b'K') { Use::LongName } else { Use::Pax };
            self.state = State::Body { left: size, padding: padding(size), use_of };
            return;
        }
        let size = self.size.take().unwrap_or(size);
        let name = self.name.take().unwrap_or_else(|| name(&header));
        dangers.add_name(&name);
        match kind {
            b'1' | b'2' => {
                let target = text(&header, 157..257);
                let danger = if is_unsafe(target) { Danger::Path } else { Danger::Link };
                dangers.add(danger(shown(&[&name, b" -> ".as_slice(), target].concat())));
            }
            b'3' | b'4' | b'6' => dangers.add(Danger::Device(shown(&name))),
            b'S' | b'M' | b'D' | b'V' => {
                return self.give_up("a member of a tar is of an old GNU form", dangers);
            }
            _ => {}
        }
        // Some readers skip what others take for the next header.
        if matches!(kind, b'1'..=b'6') && size > 0 {
            return self.give_up("a member of a tar without bytes has a size", dangers);
        }
        let content = Content::new(is_pickle_name(&name));
        self.state = State::Body { left: size, padding: padding(size), use_of: Use::File(Box::new(content)) };
    }

    fn body_is_over(&mut self, dangers: &mut Dangers) {
        let held = std::mem::take(&mut self.held);
        let State::Body { use_of, .. } = std::mem::replace(&mut self.state, State::Header) else { return };
        match use_of {
            Use::File(_) => {}
            Use::LongName => {
                let name = held.split(|byte| *byte == 0).next().unwrap_or_default();
                dangers.add_name(name);
                self.name = Some(name.to_vec());
            }
            Use::Pax => {
                if self.records(&held, dangers).is_none() {
                    self.give_up("the records of a member of a tar cannot be read", dangers);
                }
            }
        }
    }

    /// `LENGTH KEY=VALUE\n`, the length of all of it in decimal.
    fn records(&mut self, held: &[u8], dangers: &mut Dangers) -> Option<()> {
        let mut rest = held;
        while rest.first().is_some_and(|byte| *byte != 0) {
            let digits = rest.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
            let record = rest.get(digits + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let value = record.get(equals + 1..)?;
            match record.get(..equals)? {
                b"path" | b"GNU.sparse.name" => {
                    dangers.add_name(value);
                    self.name = Some(value.to_vec());
                }
                b"linkpath" => dangers.add_name(value),
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
            rest = rest.get(length..)?;
        }
        Some(())
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn text(header: &[u8], range: std::ops::Range<usize>) -> &[u8] {
    header.get(range).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default()
}

fn name(header: &[u8]) -> Vec<u8> {
    // Only there, and not in the old GNU form, stands a prefix.
    let prefix = if header.get(257..263) == Some(b"ustar\0") { text(header, 345..500) } else { b"" };
    if prefix.is_empty() {
        text(header, 0..100).to_vec()
    } else {
        [prefix, b"/", text(header, 0..100)].concat()
    }
}

/// Octal digits, or base 256 behind a first byte of 0x80.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => {
            rest.iter().try_fold(0u64, |size, byte| Some(size.checked_mul(256)? + u64::from(*byte)))
        }
        digits => {
            let text = std::str::from_utf8(digits).ok()?;
            let text = text.trim_matches(|letter| letter == '\0' || letter == ' ');
            if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
        }
    }
}
