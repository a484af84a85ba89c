//! zstd (RFC 8878), one frame, block by block.
//!
//! Enters: bytes, split anywhere. Leaves: what they decode to, behind by the frame's window until its end. Guarantees:
//! windows of at most [`MAX_ZSTD_WINDOW`]; at most one block held. Does not: verify the content's checksum; read skippable
//! frames, a second frame, or frames with a dictionary.

use super::{CodingFlaw, PIECE, Sink};
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use std::fmt;
use std::io::Read;

/// Largest window of a frame, 8 MiB: what RFC 9659 allows for the content coding.
pub const MAX_ZSTD_WINDOW: u64 = 8 << 20;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest block, section 3.1.1.2.3.
const MAX_BLOCK: usize = 128 * 1024;

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Blocks,
    /// The checksum behind the last block, of 4 bytes.
    Checksum,
    Finished,
}

/// One zstd frame.
pub(super) struct Zstd {
    inner: Box<FrameDecoder>,
    state: State,
    /// The unit that is not complete: the header, a block with its header, the checksum.
    held: Vec<u8>,
    has_checksum: bool,
    /// Its window: as much is kept.
    window: usize,
    /// Blocks that were decoded.
    blocks: usize,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").field("state", &self.state).field("held", &self.held.len()).finish()
    }
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut inner = Box::new(FrameDecoder::new());
        inner.set_max_window_size(MAX_ZSTD_WINDOW);
        Self { inner, state: State::Header, held: Vec::new(), has_checksum: false, window: 0, blocks: 0 }
    }

    pub(super) fn weight(&self) -> usize {
        self.blocks.saturating_mul(MAX_BLOCK).min(self.window)
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: Sink<'_>) -> Result<(), CodingFlaw> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_finished() {
                return Err(CodingFlaw::Trailing);
            }
            let wanted = self.wanted()?;
            let (head, behind) = rest.split_at(rest.len().min(wanted.saturating_sub(self.held.len())));
            self.held.extend_from_slice(head);
            rest = behind;
            // The first bytes of a unit say how long it is.
            if self.held.len() >= self.wanted()? {
                self.unit(sink)?;
                self.held.clear();
            }
        }
        Ok(())
    }

    /// How many bytes the unit has, as far as the bytes held say it.
    fn wanted(&self) -> Result<usize, CodingFlaw> {
        Ok(match self.state {
            State::Header => {
                // However many bytes came at once: what follows another magic is not waited for.
                if !MAGIC.starts_with(self.held.get(..self.held.len().min(4)).unwrap_or_default()) {
                    return Err(CodingFlaw::Malformed);
                }
                self.held.get(4).map_or(5, |descriptor| header_length(*descriptor))
            }
            State::Blocks => match self.held.get(..3) {
                Some(&[a, b, c]) => 3 + block_length(u32::from_le_bytes([a, b, c, 0]))?,
                _ => 3,
            },
            State::Checksum => 4,
            State::Finished => 0,
        })
    }

    fn unit(&mut self, sink: Sink<'_>) -> Result<(), CodingFlaw> {
        match self.state {
            State::Header => {
                self.inner.init(self.held.as_slice()).map_err(|error| flaw(&error))?;
                self.window = window(&self.held, self.inner.content_size());
                self.has_checksum = self.held.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
                self.state = State::Blocks;
                return Ok(());
            }
            State::Blocks => {
                let is_last = self.held.first().is_some_and(|first| first & 1 != 0);
                let (taken, _) =
                    self.inner.decode_from_to(&self.held, &mut []).map_err(|error| flaw(&error))?;
                self.blocks = self.blocks.saturating_add(1);
                if taken != self.held.len() {
                    return Err(CodingFlaw::Malformed);
                }
                self.state = match (is_last, self.has_checksum) {
                    (false, _) => State::Blocks,
                    (true, true) => State::Checksum,
                    (true, false) => State::Finished,
                };
            }
            State::Checksum => self.state = State::Finished,
            State::Finished => {}
        }
        self.drain(sink)
    }

    fn drain(&mut self, sink: Sink<'_>) -> Result<(), CodingFlaw> {
        let mut piece = vec![0; PIECE];
        loop {
            let given = self.inner.read(&mut piece).map_err(|_| CodingFlaw::Malformed)?;
            if given == 0 {
                return Ok(());
            }
            sink(piece.get(..given).unwrap_or_default())?;
        }
    }
}

/// Length of a frame's header with its magic, from its descriptor (section 3.1.1.1).
fn header_length(descriptor: u8) -> usize {
    let is_single = descriptor & 0x20 != 0;
    let window = usize::from(!is_single);
    let dictionary = match descriptor & 3 {
        3 => 4,
        length => usize::from(length),
    };
    let content = match descriptor >> 6 {
        0 => usize::from(is_single),
        exponent => 1 << exponent,
    };
    5 + window + dictionary + content
}

/// Bytes of the window that a frame's header gives (section 3.1.1.1.2), or of its content where that is the window.
fn window(header: &[u8], content: u64) -> usize {
    let most = usize::try_from(MAX_ZSTD_WINDOW).unwrap_or(usize::MAX);
    match header.get(4..6) {
        Some(&[descriptor, window]) if descriptor & 0x20 == 0 => {
            let base = 1_usize.checked_shl(10 + u32::from(window >> 3)).unwrap_or(most);
            base.saturating_add((base >> 3).saturating_mul(usize::from(window & 7))).min(most)
        }
        _ => usize::try_from(content).unwrap_or(most).min(most),
    }
}

/// Length of a block behind its header (section 3.1.1.2).
fn block_length(header: u32) -> Result<usize, CodingFlaw> {
    let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
    match header >> 1 & 3 {
        _ if size > MAX_BLOCK => Err(CodingFlaw::Malformed),
        1 => Ok(1),
        3 => Err(CodingFlaw::Malformed),
        _ => Ok(size),
    }
}

fn flaw(error: &FrameDecoderError) -> CodingFlaw {
    match error {
        FrameDecoderError::WindowSizeTooBig { .. } | FrameDecoderError::DictNotProvided { .. } => {
            CodingFlaw::Window
        }
        _ => CodingFlaw::Malformed,
    }
}
