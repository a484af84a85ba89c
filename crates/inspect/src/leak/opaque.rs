//! What nobody can read: encrypted, or packed in a form that is not known.
//!
//! Enters: a body, a part of it, or what is encoded in it, split anywhere. Leaves: whether it has as many bytes that look
//! random as make it opaque. Guarantees: what is in a known form is not opaque as long as the form's structure holds
//! (`forms`). Bytes look random in a window of [`WINDOW`] bytes with more than [`NOISE`] bits per byte (Shannon, over the
//! window's byte counts). Does not: count an incomplete last window; undo what was made to look like text.

use super::forms::Form;

/// Bytes of a window.
const WINDOW: usize = 4096;
const SIZE: f32 = 4096.0;

/// Bits per byte from which on a window looks random. Random bytes have 7.95 in a window of this size, what is well packed
/// nearly as many; text and code 4 to 6, weights of 32 bits 7.0 to 7.5, sound that is not packed up to 7.7.
const NOISE: f32 = 7.8;

/// Watches one stream of bytes.
#[derive(Debug)]
pub(super) struct Opaque {
    form: Form,
    /// The beginning of a window.
    held: Vec<u8>,
    random: u64,
    from: u64,
    is_told: bool,
}

impl Opaque {
    /// From so many bytes on it is opaque.
    pub(super) fn new(from: u64) -> Self {
        Self { form: Form::default(), held: Vec::new(), random: 0, from, is_told: false }
    }

    /// Takes the next bytes. Whether it turned out to be opaque.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.is_told {
            return false;
        }
        self.form.push(bytes);
        let mut rest = bytes;
        if !self.held.is_empty() {
            let (head, behind) = rest.split_at(rest.len().min(WINDOW.saturating_sub(self.held.len())));
            self.held.extend_from_slice(head);
            rest = behind;
            if self.held.len() < WINDOW {
                return self.is_now();
            }
            self.random += random(&self.held);
            self.held.clear();
        }
        let (windows, behind) = rest.as_chunks::<WINDOW>();
        self.random += windows.iter().map(|window| random(window)).sum::<u64>();
        self.held.extend_from_slice(behind);
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
}

/// How many bytes of a window count: all, if it looks random.
///
/// Text is told without counting: if of its bytes the share p is 0x80 or above, they have at most 7 bits each and the entropy
/// of p, which for a fifth is 7.73.
fn random(window: &[u8]) -> u64 {
    let high = window.iter().filter(|byte| !byte.is_ascii()).count();
    if high < WINDOW / 5 {
        return 0;
    }
    let mut counts = [0u16; 256];
    for byte in window {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let of = |count: u16| f32::from(count) * f32::from(count).max(1.0).log2();
    let sum: f32 = counts.iter().map(|count| of(*count)).sum();
    let is_random = SIZE.log2() - sum / SIZE > NOISE;
    if is_random { WINDOW as u64 } else { 0 }
}
