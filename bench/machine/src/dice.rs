//! In which order rows are measured: drawn anew for each round, the same in every run.

/// A small generator of its own, from a seed: an order needs no more (Knuth's constants for 64 bits).
pub struct Dice(pub u64);

impl Dice {
    /// Puts items into another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let other = usize::try_from(self.0 >> 33).unwrap_or_default() % (last + 1);
            items.swap(last, other);
        }
    }
}
