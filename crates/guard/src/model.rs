//! What each feature weighs, and how the parts of a text are put together: the numbers that `bench/guard` learned.
//!
//! A file of weights, little-endian: the mark `GUARD2`, two zero bytes; floats: three biases, three scales of a weight, the
//! coefficients of the head ([`Head::INPUTS`] and one constant), and for each role two thresholds; then buckets of four
//! slots, each slot a fingerprint of two bytes and three weights of one.

use crate::features::{Group, Reading};
use crate::window::Logits;
use std::sync::LazyLock;

/// Slots of a bucket: features whose hashes share the bits that choose it.
pub const SLOTS: usize = 4;
/// Bytes of a slot: two of a fingerprint, and a weight for each family.
const SLOT: usize = 5;
/// The buckets' number is a power of two of this exponent.
pub const BUCKETS_LOG2: u32 = 16;
/// What a file of weights begins with.
pub const MARK: [u8; 8] = *b"GUARD2\0\0";

static EMBEDDED: LazyLock<Option<Model>> =
    LazyLock::new(|| Model::parse(include_bytes!("../data/weights.bin")));

/// Weights, head and thresholds.
#[derive(Clone, Debug)]
pub struct Model {
    /// What a text without features says.
    pub bias: Logits,
    scales: [f32; 3],
    /// How the parts of a text are put together.
    pub head: Head,
    /// For each role but the operator's: from which logit on a text is annotated, and from which it is blocked.
    pub thresholds: [[f32; 2]; 2],
    slots: Vec<u8>,
}

/// A logistic function of a few numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// For each input.
    pub coefficients: [f32; Self::INPUTS],
    /// Added.
    pub constant: f32,
}

impl Head {
    /// How many numbers there are of a text.
    pub const INPUTS: usize = 11;

    /// The logit of an attack.
    pub fn logit(&self, inputs: &[f32; Self::INPUTS]) -> f32 {
        let weighed = self.coefficients.iter().zip(inputs).map(|(coefficient, input)| coefficient * input);
        self.constant + weighed.sum::<f32>()
    }
}

/// Where a feature's weights are: its bucket, and what tells it from others there.
pub fn slot_of(hash: u64) -> (usize, [u8; 2]) {
    let bucket = hash & ((1 << BUCKETS_LOG2) - 1);
    // Zero marks an empty slot.
    let fingerprint = u16::try_from(hash >> 48).unwrap_or(0).max(1);
    (usize::try_from(bucket).unwrap_or(0), fingerprint.to_le_bytes())
}

impl Model {
    /// The weights in the program. None: they are damaged, and nothing can be judged.
    pub fn embedded() -> Option<&'static Self> {
        EMBEDDED.as_ref()
    }

    /// Reads a file of weights.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MARK)?;
        let bias = floats(&mut rest)?;
        let scales = floats(&mut rest)?;
        let head =
            Head { coefficients: floats(&mut rest)?, constant: floats::<1>(&mut rest)?.into_iter().next()? };
        let thresholds = [floats(&mut rest)?, floats(&mut rest)?];
        let is_whole = rest.len() == (SLOT * SLOTS) << BUCKETS_LOG2;
        is_whole.then(|| Self { bias, scales, head, thresholds, slots: rest.to_vec() })
    }

    /// The weights of a feature; zero where it has none.
    fn weights(&self, hash: u64) -> [i8; 3] {
        let (bucket, fingerprint) = slot_of(hash);
        let from = bucket * SLOT * SLOTS;
        let bucket = self.slots.get(from..from + SLOT * SLOTS).unwrap_or_default();
        let (slots, _) = bucket.as_chunks::<SLOT>();
        slots.iter().find(|slot| slot.starts_with(&fingerprint)).map_or([0; 3], |slot| {
            let [_, _, direct, indirect, jailbreak] = *slot;
            [direct.cast_signed(), indirect.cast_signed(), jailbreak.cast_signed()]
        })
    }

    /// Sums of weights up to each token, as [`summary`](crate::window::summary) takes them, and what part of the words has a
    /// weight.
    pub fn sums(&self, chars: &[char], reading: &Reading) -> (Vec<Logits>, f32) {
        let mut own = vec![[0i32; 3]; reading.tokens.len()];
        let (mut words, mut known) = (0u32, 0u32);
        reading.features(chars, |at, group, hash| {
            let weights = self.weights(hash);
            if group == Group::Word {
                words += 1;
                known += u32::from(weights != [0; 3]);
            }
            if let Some(own) = own.get_mut(at) {
                for (own, weight) in own.iter_mut().zip(weights) {
                    *own += i32::from(weight);
                }
            }
        });
        let mut sum = [0.0; 3];
        let mut sums = Vec::with_capacity(own.len() + 1);
        sums.push(sum);
        for own in own {
            for ((sum, own), scale) in sum.iter_mut().zip(own).zip(self.scales) {
                *sum += small(own) * scale;
            }
            sums.push(sum);
        }
        (sums, ratio(known, words))
    }
}

/// Exact: a token has at most some hundred features of one byte.
fn small(value: i32) -> f32 {
    f32::from(i16::try_from(value).unwrap_or(i16::MAX))
}

/// A part of a whole; 0 of nothing.
fn ratio(part: u32, whole: u32) -> f32 {
    let short = |count: u32| f32::from(u16::try_from(count.min(60_000)).unwrap_or(u16::MAX));
    if whole == 0 { 0.0 } else { (short(part) / short(whole)).min(1.0) }
}

fn floats<const COUNT: usize>(bytes: &mut &[u8]) -> Option<[f32; COUNT]> {
    let mut values = [0.0; COUNT];
    for value in &mut values {
        let (first, rest) = bytes.split_first_chunk::<4>()?;
        *value = f32::from_le_bytes(*first);
        *bytes = rest;
    }
    values.iter().all(|value| value.is_finite()).then_some(values)
}
