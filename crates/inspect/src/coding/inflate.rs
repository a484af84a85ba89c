//! gzip (RFC 1952) and zlib (RFC 1950) over one incremental inflater.
//!
//! Enters: bytes, split anywhere. Leaves: what they inflate to. Guarantees: one member, its header and checksum held to;
//! 32 KiB of window. Does not: read a second member, of which some readers see only the first.

use super::{CodingFlaw, Sink};
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Most bytes of a gzip header. It is looked at anew with each push, so it is small.
const MAX_HEADER: usize = 1024;

/// Bytes of a window of deflate (RFC 1951, section 2).
const WINDOW: usize = 32 * 1024;

/// The header's flags: CRC, extra field, name, comment; the others are reserved.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;

#[derive(Debug)]
enum State {
    Header(Vec<u8>),
    Body,
    /// CRC-32 and length, as far as they came.
    Trailer(Vec<u8>),
    Finished,
}

/// One gzip member.
#[derive(Debug)]
pub(super) struct Gzip {
    state: State,
    inflate: Inflate,
    crc: Crc,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { state: State::Header(Vec::new()), inflate: Inflate::new(false), crc: Crc::new() }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), CodingFlaw> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.state {
                State::Header(seen) => {
                    let before = seen.len();
                    seen.extend_from_slice(rest.get(..rest.len().min(MAX_HEADER + 1)).unwrap_or(rest));
                    let Some(length) = header_length(seen)? else {
                        if seen.len() > MAX_HEADER {
                            return Err(CodingFlaw::Malformed);
                        }
                        return Ok(());
                    };
                    rest = rest.get(length.saturating_sub(before)..).unwrap_or_default();
                    self.state = State::Body;
                }
                State::Body => {
                    let crc = &mut self.crc;
                    let taken = self.inflate.push(rest, &mut |piece| {
                        crc.update(piece);
                        sink(piece)
                    })?;
                    rest = rest.get(taken..).unwrap_or_default();
                    if self.inflate.is_finished {
                        self.state = State::Trailer(Vec::new());
                    }
                }
                State::Trailer(seen) => {
                    let (head, behind) = rest.split_at(rest.len().min(8 - seen.len().min(8)));
                    seen.extend_from_slice(head);
                    rest = behind;
                    if let Ok(trailer) = <[u8; 8]>::try_from(seen.as_slice()) {
                        let expected = u64::from(self.crc.sum()) | u64::from(self.crc.amount()) << 32;
                        if u64::from_le_bytes(trailer) != expected {
                            return Err(CodingFlaw::Checksum);
                        }
                        self.state = State::Finished;
                    }
                }
                State::Finished => return Err(CodingFlaw::Trailing),
            }
        }
        Ok(())
    }
}

/// Length of the header that begins these bytes; `None`: it is not complete.
fn header_length(seen: &[u8]) -> Result<Option<usize>, CodingFlaw> {
    if seen.iter().zip([0x1f, 0x8b, 8]).any(|(is, must)| *is != must) {
        return Err(CodingFlaw::Malformed);
    }
    let Some(flags) = seen.get(3) else { return Ok(None) };
    if flags & 0xe0 != 0 {
        return Err(CodingFlaw::Malformed);
    }
    let mut at = 10;
    if flags & FEXTRA != 0 {
        let Some(&[low, high]) = seen.get(at..at + 2) else { return Ok(None) };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let Some(end) = seen.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else {
                return Ok(None);
            };
            at += end + 1;
        }
    }
    if flags & FHCRC != 0 {
        at += 2;
    }
    match at {
        at if at > MAX_HEADER => Err(CodingFlaw::Malformed),
        at => Ok((seen.len() >= at).then_some(at)),
    }
}

/// One zlib stream. Its checksum is held to by the inflater.
#[derive(Debug)]
pub(super) struct Zlib {
    inflate: Inflate,
}

impl Zlib {
    pub(super) fn new() -> Self {
        Self { inflate: Inflate::new(true) }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.inflate.is_finished
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), CodingFlaw> {
        match self.inflate.push(bytes, sink)? {
            taken if taken < bytes.len() => Err(CodingFlaw::Trailing),
            _ => Ok(()),
        }
    }
}

/// One deflate stream (RFC 1951), with or without zlib's frame.
#[derive(Debug)]
pub(crate) struct Inflate {
    inner: Decompress,
    pub(crate) is_finished: bool,
}

impl Inflate {
    pub(crate) fn new(zlib_header: bool) -> Self {
        Self { inner: Decompress::new(zlib_header), is_finished: false }
    }

    /// Takes bytes up to the end of the stream; how many. What stands before a flaw is given before the flaw is told.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<usize, CodingFlaw> {
        let mut piece = vec![0; WINDOW];
        let mut at = 0;
        while !self.is_finished {
            let (before_in, before_out) = (self.inner.total_in(), self.inner.total_out());
            let rest = bytes.get(at..).unwrap_or_default();
            // The inflater fills its window, then copies it out. Room up to the window's end takes all that it has: what is
            // left in it when it meets a flaw is lost, and how much that is would depend on where the input is split.
            let into = usize::try_from(before_out % WINDOW as u64).unwrap_or(0);
            let room = piece.get_mut(into..).unwrap_or_default();
            let status = self.inner.decompress(rest, room, FlushDecompress::None);
            let count = |now: u64, before: u64| usize::try_from(now.saturating_sub(before)).unwrap_or(0);
            let (taken, given) =
                (count(self.inner.total_in(), before_in), count(self.inner.total_out(), before_out));
            at += taken;
            if given > 0 {
                sink(room.get(..given).unwrap_or_default())?;
            }
            self.is_finished = status.map_err(|_| CodingFlaw::Malformed)? == Status::StreamEnd;
            if taken == 0 && given == 0 {
                break;
            }
        }
        if !self.is_finished && at < bytes.len() {
            return Err(CodingFlaw::Malformed);
        }
        Ok(at)
    }
}
