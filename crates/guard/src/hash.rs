//! The hash that names words and features. It decides which weight a feature has, so it never changes by itself.

/// A hash of what was added, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn new(kind: u64) -> Self {
        Self(0xCBF2_9CE4_8422_2325 ^ kind.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// FNV-1a, a character at a time.
    pub(crate) const fn char(self, char: char) -> Self {
        Self((self.0 ^ char as u64).wrapping_mul(0x0000_0100_0000_01B3))
    }

    pub(crate) const fn part(self, part: u64) -> Self {
        Self((self.0.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// All bits depend on all that was added (the finalizer of splitmix64).
    pub(crate) const fn value(self) -> u64 {
        let bits = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }
}
