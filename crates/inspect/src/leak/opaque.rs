//! What nobody can read: encrypted, or packed in a form that is not known.
//!
//! Enters: a body, a part of it, or what is encoded in it, split anywhere. Leaves: whether it has as many bytes that look
//! random as make it opaque. Guarantees: what is in a known form is not opaque as long as the form's structure holds
//! (`forms`). Bytes look random in a window of [`WINDOW`] bytes with more than [`NOISE`] bits per byte (Shannon, over the
//! window's byte counts). Does not: count an incomplete last window; undo what was made to look like text.

use super::forms::Form;

/// Bytes of a window.
const WINDOW: u16 = 4096;

/// Bits per byte from which on a window looks random. Random bytes have 7.95 in a window of this size, what is well packed
/// nearly as many; text and code 4 to 6, weights of 32 bits 7.0 to 7.5, sound that is not packed up to 7.7.
const NOISE: f32 = 7.8;

/// Watches one stream of bytes.
#[derive(Debug)]
pub(super) struct Opaque {
    form: Form,
    counts: Box<[u16; 256]>,
    seen: u16,
    random: u64,
    from: u64,
    is_told: bool,
}

impl Opaque {
    /// From so many bytes on it is opaque.
    pub(super) fn new(from: u64) -> Self {
        let counts = Box::new([0; 256]);
        Self { form: Form::default(), counts, seen: 0, random: 0, from, is_told: false }
    }

    /// Takes the next bytes. Whether it turned out to be opaque.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.is_told {
            return false;
        }
        self.form.push(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, behind) = rest.split_at(rest.len().min(usize::from(WINDOW - self.seen)));
            for byte in head {
                if let Some(count) = self.counts.get_mut(usize::from(*byte)) {
                    *count += 1;
                }
            }
            self.seen += u16::try_from(head.len()).unwrap_or(WINDOW);
            rest = behind;
            if self.seen == WINDOW {
                self.judge();
            }
        }
        self.is_now()
    }

    /// The stream is over, or its form does not hold. Whether it turned out to be opaque.
    pub(super) fn end(&mut self, holds: bool) -> bool {
        self.form.end(holds);
        self.is_now()
    }

    fn is_now(&mut self) -> bool {
        let is_now = !self.is_told && self.random >= self.from && !self.form.holds();
        self.is_told |= is_now;
        is_now
    }

    fn judge(&mut self) {
        let of = |count: u16| f32::from(count) * f32::from(count).max(1.0).log2();
        let sum: f32 = self.counts.iter().map(|count| of(*count)).sum();
        if f32::from(WINDOW).log2() - sum / f32::from(WINDOW) > NOISE {
            self.random += u64::from(WINDOW);
        }
        self.counts.fill(0);
        self.seen = 0;
    }
}
