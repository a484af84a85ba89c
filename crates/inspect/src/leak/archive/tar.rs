//! A tar, member by member.
//!
//! Enters: bytes, split anywhere. Leaves: dangers. Guarantees: holds one header, or one long name. Does not: verify checksums.

use super::{Danger, Dangers, MAX_MEMBER_NAME, is_pickle_name, is_unsafe, shown};
use crate::leak::pickle::Pickles;

const BLOCK: usize = 512;

#[derive(Debug, Default)]
enum State {
    /// A header, as far as it came.
    #[default]
    Header,
    /// A member's bytes, then the padding of its last block.
    Body { left: u64, padding: u64, use_of: Use },
}

/// What a member's bytes are.
#[derive(Debug)]
enum Use {
    None,
    /// The name, or the link's target, of the next member.
    LongName,
    /// Records of the next member.
    Pax,
    Pickle(Box<Pickles>),
}

#[derive(Debug, Default)]
pub(super) struct Tar {
    state: State,
    held: Vec<u8>,
    /// From a member before, for the next.
    name: Option<Vec<u8>>,
}

impl Tar {
    pub(super) fn push(&mut self, bytes: &[u8], dangers: &mut Dangers) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Header => {
                    let taken = rest.len().min(BLOCK - self.held.len().min(BLOCK));
                    self.held.extend_from_slice(rest.get(..taken).unwrap_or_default());
                    if self.held.len() == BLOCK {
                        self.header(dangers);
                    }
                    taken
                }
                State::Body { left, padding, use_of } => {
                    let of = |count: u64| rest.len().min(usize::try_from(count).unwrap_or(usize::MAX));
                    if *left > 0 {
                        let taken = of(*left);
                        let part = rest.get(..taken).unwrap_or_default();
                        *left -= taken as u64;
                        match use_of {
                            Use::None => {}
                            Use::Pickle(pickles) => {
                                pickles.push(part);
                                dangers.add_imports(pickles);
                            }
                            Use::LongName | Use::Pax => {
                                let room = MAX_MEMBER_NAME.saturating_sub(self.held.len());
                                self.held.extend_from_slice(part.get(..taken.min(room)).unwrap_or_default());
                            }
                        }
                        taken
                    } else {
                        let taken = of(*padding);
                        *padding -= taken as u64;
                        if *padding == 0 {
                            self.body_is_over(dangers);
                        }
                        taken
                    }
                }
            };
            if let State::Body { left: 0, padding: 0, .. } = &self.state {
                self.body_is_over(dangers);
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn header(&mut self, dangers: &mut Dangers) {
        let header = std::mem::take(&mut self.held);
        if header.iter().all(|byte| *byte == 0) {
            return;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = header.get(range).unwrap_or_default();
            field.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        let prefix = text(345..500);
        let short =
            if prefix.is_empty() { text(0..100).to_vec() } else { [prefix, b"/", text(0..100)].concat() };
        let Some(size) = size(header.get(124..136).unwrap_or_default()) else {
            dangers.add(Danger::Unreadable("a member of a tar has no size"));
            return;
        };
        let kind = header.get(156).copied().unwrap_or(0);
        let is_member = !matches!(kind, b'L' | b'K' | b'x' | b'g');
        let name = if is_member { self.name.take().unwrap_or(short) } else { Vec::new() };
        let use_of = match kind {
            b'L' | b'K' => Use::LongName,
            b'x' | b'g' => Use::Pax,
            b'1' | b'2' => {
                let target = text(157..257);
                let danger = if is_unsafe(target) { Danger::Path } else { Danger::Link };
                dangers.add(danger(shown(&[&name, b" -> ".as_slice(), target].concat())));
                Use::None
            }
            _ if is_pickle_name(&name) => Use::Pickle(Box::default()),
            _ => Use::None,
        };
        dangers.add_name(&name);
        // Links have no bytes, whatever size they say.
        let left = if matches!(kind, b'1' | b'2') { 0 } else { size };
        self.state = State::Body { left, padding: left.wrapping_neg() % BLOCK as u64, use_of };
    }

    fn body_is_over(&mut self, dangers: &mut Dangers) {
        let held = std::mem::take(&mut self.held);
        let State::Body { use_of, .. } = std::mem::take(&mut self.state) else { return };
        match use_of {
            Use::None | Use::Pickle(_) => {}
            Use::LongName => {
                let name = held.split(|byte| *byte == 0).next().unwrap_or_default();
                dangers.add_name(name);
                self.name = Some(name.to_vec());
            }
            Use::Pax => {
                // `LENGTH KEY=VALUE\n`; a value with a line end in it is no path that is meant well, and is cut there.
                for line in held.split(|byte| *byte == b'\n') {
                    let record = line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
                    if let Some(path) = record.strip_prefix(b"path=") {
                        dangers.add_name(path);
                        self.name = Some(path.to_vec());
                    } else if let Some(target) = record.strip_prefix(b"linkpath=") {
                        dangers.add_name(target);
                    }
                }
            }
        }
    }
}

/// Octal digits, or base 256 behind a first byte of 0x80.
fn size(field: &[u8]) -> Option<u64> {
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
