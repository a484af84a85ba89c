//! Writes what was learned as the file that crate `guard` has inside (`guard::model` says its form).
//!
//! Features are put into their buckets in the order of what they do: how much they weigh, and in how many texts. What finds its
//! bucket full is left out.

use crate::learn::Learned;
use guard::model::{BUCKETS_LOG2, Head, MARK, SLOTS, slot_of};

/// A byte holds the weights of all but this part of the features, which are cut off.
const CUT: f64 = 0.0005;

/// The bytes, and how many features have a place and how many have none.
pub(crate) fn bytes(learned: &Learned, head: &Head, thresholds: [[f32; 2]; 2]) -> (Vec<u8>, usize, usize) {
    let scales = scales(learned);
    let mut out = MARK.to_vec();
    let numbers = learned.bias.iter().chain(&scales).chain(&head.coefficients).chain([&head.constant]);
    for number in numbers.chain(thresholds.iter().flatten()) {
        out.extend(number.to_le_bytes());
    }
    let mut features: Vec<(f32, u64, [i8; 3])> = Vec::new();
    for (hash, weights, texts) in &learned.weights {
        let mut small = [0; 3];
        for ((small, weight), scale) in small.iter_mut().zip(weights).zip(scales) {
            #[expect(clippy::cast_possible_truncation, reason = "clamped")]
            let byte = (weight / scale).round().clamp(-127.0, 127.0) as i8;
            *small = byte;
        }
        if small != [0; 3] {
            let heaviest = weights.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
            let often = f32::from(u16::try_from(*texts).unwrap_or(u16::MAX)).sqrt();
            features.push((heaviest * often, *hash, small));
        }
    }
    features.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut buckets: Vec<Vec<[u8; 5]>> = vec![Vec::new(); 1 << BUCKETS_LOG2];
    let (mut placed, mut left_out) = (0, 0);
    for (_, hash, [direct, indirect, jailbreak]) in features {
        let (bucket, fingerprint) = slot_of(hash);
        let [low, high] = fingerprint;
        let slot = [low, high, direct.cast_unsigned(), indirect.cast_unsigned(), jailbreak.cast_unsigned()];
        match buckets.get_mut(bucket) {
            Some(slots)
                if slots.len() < SLOTS && slots.iter().all(|other| !other.starts_with(&fingerprint)) =>
            {
                slots.push(slot);
                placed += 1;
            }
            Some(_) | None => left_out += 1,
        }
    }
    for slots in buckets {
        let empty = SLOTS - slots.len();
        out.extend(slots.into_iter().chain(std::iter::repeat_n([0; 5], empty)).flatten());
    }
    (out, placed, left_out)
}

/// For each family what a byte's step is worth.
fn scales(learned: &Learned) -> [f32; 3] {
    let mut scales = [1.0; 3];
    for (family, scale) in scales.iter_mut().enumerate() {
        let mut sizes: Vec<f64> = learned
            .weights
            .iter()
            .filter_map(|(_, weights, _)| weights.get(family))
            .map(|weight| f64::from(weight.abs()))
            .collect();
        sizes.push(0.01);
        #[expect(clippy::cast_possible_truncation, reason = "a scale needs no more")]
        let most = guard::quality::threshold(&sizes, CUT) as f32;
        *scale = most / 127.0;
    }
    scales
}
