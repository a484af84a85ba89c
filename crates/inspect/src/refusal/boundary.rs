//! Where in a stream its events end, for only there it can be cut.

use super::Framing;
use crate::event_stream::{self, PRELUDE};

/// Follows a stream of events.
#[derive(Debug)]
pub struct Boundary(State);

#[derive(Debug)]
enum State {
    /// Whether the line is empty so far, the last byte was a carriage return, and an event is open.
    Sse {
        is_empty: bool,
        behind_return: bool,
        is_open: bool,
    },
    /// Whether the line is empty so far.
    NdJson {
        is_empty: bool,
    },
    Array(Array),
    /// What is there of a prelude.
    Prelude([u8; PRELUDE], usize),
    /// So many bytes of a message left.
    Message(usize),
    /// It is not what it was said to be, or over.
    Lost,
}

#[derive(Debug, Default)]
struct Array {
    depth: u64,
    in_text: bool,
    is_escaped: bool,
    has_begun: bool,
    is_between: bool,
}

impl Boundary {
    /// At the beginning of a stream, where it can be cut.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Sse => State::Sse { is_empty: true, behind_return: false, is_open: false },
            Framing::NdJson => State::NdJson { is_empty: true },
            Framing::JsonArrayStart => State::Array(Array { is_between: true, ..Array::default() }),
            Framing::JsonArray => {
                State::Array(Array { depth: 1, has_begun: true, is_between: true, ..Array::default() })
            }
            Framing::EventStream => State::Prelude([0; PRELUDE], 0),
        })
    }

    /// Takes bytes up to the next place where the stream can be cut, at least one of them and at most all. Returns how
    /// many it took; whether they end at such a place, [`Self::is_between`] says.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += self.step(rest);
            if self.is_between() {
                break;
            }
        }
        taken
    }

    /// Whether the stream can be cut here.
    pub fn is_between(&self) -> bool {
        match &self.0 {
            State::Sse { is_empty, is_open, .. } => *is_empty && !is_open,
            State::NdJson { is_empty } => *is_empty,
            State::Array(array) => array.is_between,
            State::Prelude(_, count) => *count == 0,
            State::Message(_) | State::Lost => false,
        }
    }

    /// With which framing to cut it here.
    pub fn framing(&self) -> Framing {
        match &self.0 {
            State::Sse { .. } => Framing::Sse,
            State::NdJson { .. } => Framing::NdJson,
            State::Array(array) if !array.has_begun => Framing::JsonArrayStart,
            State::Array(_) | State::Lost => Framing::JsonArray,
            State::Prelude(..) | State::Message(_) => Framing::EventStream,
        }
    }

    fn step(&mut self, bytes: &[u8]) -> usize {
        let Some(byte) = bytes.first().copied() else { return 0 };
        match &mut self.0 {
            State::Sse { is_empty, behind_return, is_open } => {
                let is_second_half = byte == b'\n' && *behind_return;
                if (byte == b'\n' || byte == b'\r') && !is_second_half {
                    *is_open = !*is_empty;
                    *is_empty = true;
                } else if !is_second_half {
                    *is_empty = false;
                }
                *behind_return = byte == b'\r';
            }
            State::NdJson { is_empty } => *is_empty = byte == b'\n',
            State::Array(array) => {
                if array.take(byte).is_none() {
                    self.0 = State::Lost;
                }
            }
            State::Prelude(prelude, count) => {
                prelude.iter_mut().skip(*count).take(1).for_each(|place| *place = byte);
                *count += 1;
                if *count == PRELUDE {
                    self.0 = match event_stream::prelude(prelude) {
                        Some((total, _)) => State::Message(total - PRELUDE),
                        None => State::Lost,
                    };
                }
            }
            State::Message(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    self.0 = State::Prelude([0; PRELUDE], 0);
                }
                return taken;
            }
            State::Lost => return bytes.len(),
        }
        1
    }
}

impl Array {
    /// `None`: the array is over, or there is none.
    fn take(&mut self, byte: u8) -> Option<()> {
        let was_between = std::mem::take(&mut self.is_between);
        if self.in_text {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.in_text = !ends;
            return Some(());
        }
        match byte {
            b'[' | b'{' => {
                self.depth += 1;
                self.has_begun = true;
            }
            b']' | b'}' => {
                self.depth = self.depth.checked_sub(1).filter(|depth| *depth > 0)?;
                self.is_between = self.depth == 1;
            }
            b'"' => self.in_text = true,
            // Blanks behind an element or before all change nothing.
            b' ' | b'\t' | b'\r' | b'\n' => self.is_between = was_between,
            _ => {}
        }
        (self.depth > 0 || !self.has_begun).then_some(())
    }
}
