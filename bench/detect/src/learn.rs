//! Learns what letters cost after the two before them, from names that people registered.
//!
//! Enters: lists of names, one a line. Leaves: a byte for each three letters, the cost in sixteenths of a bit; and mean and spread of
//! names that were left out of learning, which `detect::model` has as constants. What three letters lack is taken from two,
//! and what these lack from one, by how many different letters were seen to follow (Witten and Bell).

use detect::model::{STEPS, bits, letter, place};
use detect::name;
use std::collections::HashMap;

/// Letters with the mark for begin and end.
const LETTERS: usize = 38;
/// Parts of which each is once left out.
const FOLDS: usize = 5;

/// What follows something, and how often.
type Followed = HashMap<usize, u32>;

/// The labels that were chosen, each once.
pub(crate) fn labels(lists: &[String]) -> Vec<String> {
    let mut labels: Vec<String> = lists
        .iter()
        .flat_map(|list| list.lines())
        .map(|line| line.trim().to_ascii_lowercase())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| name::chosen(name::split(&line).registered).to_owned())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// The costs.
pub(crate) fn costs<'a>(labels: impl Iterator<Item = &'a String>) -> Vec<u8> {
    let mut after_two: HashMap<(usize, usize), Followed> = HashMap::new();
    let mut after_one: HashMap<usize, Followed> = HashMap::new();
    let mut alone = Followed::new();
    for label in labels {
        let (mut before, mut last) = (0, 0);
        for byte in label.bytes().chain([b'.']) {
            let next = letter(byte);
            *after_two.entry((before, last)).or_default().entry(next).or_default() += 1;
            *after_one.entry(last).or_default().entry(next).or_default() += 1;
            *alone.entry(next).or_default() += 1;
            (before, last) = (last, next);
        }
    }
    let all = f64::from(alone.values().sum::<u32>()) + 38.0;
    let mut costs = vec![u8::MAX; LETTERS * LETTERS * LETTERS];
    for before in 0..LETTERS {
        for last in 0..LETTERS {
            for next in 0..LETTERS {
                let one = (f64::from(alone.get(&next).copied().unwrap_or(0)) + 1.0) / all;
                let two = mixed(after_one.get(&last), next, one);
                let three = mixed(after_two.get(&(before, last)), next, two);
                if let Some(cost) = costs.get_mut(place(before, last, next)) {
                    *cost = whole(-three.log2() * STEPS);
                }
            }
        }
    }
    costs
}

fn mixed(followed: Option<&Followed>, next: usize, otherwise: f64) -> f64 {
    let Some(followed) = followed else { return otherwise };
    let different = f64::from(u32::try_from(followed.len()).unwrap_or(u32::MAX));
    let all = f64::from(followed.values().sum::<u32>());
    (f64::from(followed.get(&next).copied().unwrap_or(0)) + different * otherwise) / (all + different)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and 255")]
fn whole(cost: f64) -> u8 {
    cost.round().clamp(1.0, 255.0) as u8
}

/// Bits of a letter on average, and the spread of a name's cost over the root of its length, of names left out.
pub(crate) fn measure(labels: &[String]) -> (f64, f64) {
    let mut all = Vec::new();
    for fold in 0..FOLDS {
        let part = |kept: bool| {
            labels
                .iter()
                .enumerate()
                .filter(move |(at, _)| (at % FOLDS != fold) == kept)
                .map(|(_, label)| label)
        };
        let costs = costs(part(true));
        all.extend(part(false).map(|label| bits(label, &costs)));
    }
    let mean =
        all.iter().map(|(bits, _)| bits).sum::<f64>() / all.iter().map(|(_, letters)| letters).sum::<f64>();
    let spread = all.iter().map(|(bits, letters)| (bits - letters * mean).powi(2) / letters);
    let count = f64::from(u32::try_from(all.len()).unwrap_or(u32::MAX));
    (mean, (spread.sum::<f64>() / count).sqrt())
}
