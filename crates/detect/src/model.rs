//! How much a label looks like one that nobody chose: the cost of its letters under what names that people register look like.
//!
//! Enters: the label that was registered. Leaves: a number; about 0 with spread 1 for such names, more for letters drawn by a program.
//! The costs are those of each letter after the two before it, in sixteenths of a bit, learned by `bench/detect` from lists of
//! names that the public asked for (OpenDNS, public domain); no name of a malicious program was learned from. Does not: tell words put
//! together by a program from words put together by people.

/// Letters that a label can have, after the mark for its begin and end.
const LETTERS: usize = 38;
/// Costs are whole numbers of this part of a bit.
pub const STEPS: f64 = 16.0;
/// A name says at most so much, so that one odd name does not speak for the nine beside it.
const MOST: f64 = 3.0;
/// A short name says less: names of four letters are all taken, most of them for what they abbreviate, in whatever language.
const MOST_SHORT: [f64; 6] = [0.75, 0.75, 0.75, 0.75, 0.75, 1.25];
/// And takes away at most so much.
const LEAST: f64 = -1.5;
/// Bits of a letter on average over the names learned from, by `bench/detect`.
const MEAN: f64 = 3.896;
/// Spread of a name's cost over the root of its length, of the same.
const SPREAD: f64 = 2.403;

static COSTS: &[u8] = include_bytes!("../data/letters.bin");

/// Where a byte is among the letters; 0 for what is none.
pub fn letter(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' => usize::from(byte - b'a') + 1,
        b'0'..=b'9' => usize::from(byte - b'0') + 27,
        b'-' => 37,
        _ => 0,
    }
}

/// Where the cost of a letter after two others is.
pub fn place(before: usize, last: usize, letter: usize) -> usize {
    (before * LETTERS + last) * LETTERS + letter
}

/// Bits of the label and of its end under these costs, and how many letters that are.
pub fn bits(label: &str, costs: &[u8]) -> (f64, f64) {
    let (mut before, mut last, mut sum, mut count) = (0, 0, 0u32, 0u32);
    for byte in label.bytes().chain([b'.']) {
        let next = letter(byte);
        sum += costs.get(place(before, last, next)).copied().map_or(u32::from(u8::MAX), u32::from);
        count += 1;
        (before, last) = (last, next);
    }
    (f64::from(sum) / STEPS, f64::from(count))
}

/// How odd the label is: its cost beyond the usual in spreads, from -1.5 to 3; of one of up to five letters to less.
pub fn oddity(label: &str) -> f64 {
    let (bits, letters) = bits(label, COSTS);
    let most = MOST_SHORT.get(label.len()).copied().unwrap_or(MOST);
    ((bits - letters * MEAN) / (SPREAD * letters.sqrt())).clamp(LEAST, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_costs_are_whole() {
        assert_eq!(COSTS.len(), LETTERS * LETTERS * LETTERS);
        assert!(COSTS.iter().all(|cost| *cost > 0));
    }

    #[test]
    fn letters_drawn_by_a_program_are_odder_than_names_that_people_chose() {
        for name in ["kubernetes", "huggingface", "weather", "grafana", "anthropic", "wikipedia"] {
            assert!(oddity(name) < 1.0, "{name}: {}", oddity(name));
        }
        for name in ["xkqzvwpfj", "q7f3k9z2xw1p", "vbhtqzlmwrkd", "9f86d081884c7d65"] {
            assert!(oddity(name) > 2.0, "{name}: {}", oddity(name));
        }
        assert!((LEAST..=MOST).contains(&oddity("")));
        for name in ["51la", "qq", "xkqz", "17173", "k12"] {
            assert!(oddity(name) <= 1.25, "{name} abbreviates something: {}", oddity(name));
        }
    }
}
