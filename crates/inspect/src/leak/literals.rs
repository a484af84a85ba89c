//! Where one of many literals may begin: one look per byte, whatever their number.
//!
//! Enters: literals of at least three bytes; a text. Leaves: each place of the text where a literal stands, and which.
//! Guarantees: every place of every literal is found, overlapping or not; the work per byte is bounded by how many literals share the hash of their first three bytes. Does not: know what they are for.

/// Places of the table that says which three bytes begin a literal, as a power of two: 32 KiB, as much as a core's first
/// cache has.
const BITS: u32 = 14;
const PLACES: usize = 1 << BITS;

/// Odd, and without a pattern (Fibonacci hashing, Knuth volume 3 section 6.4); moved so that of four bytes three count.
const FACTOR: u32 = 0x9e37_79b1 << 8;

/// The search for many literals.
#[derive(Debug)]
pub(super) struct Literals {
    /// By a hash of three bytes, which of `groups` begins so; the first has none.
    begins: Box<[u16; PLACES]>,
    groups: Vec<Vec<usize>>,
    texts: Vec<Vec<u8>>,
}

impl Literals {
    /// Prepares the search. What is shorter than three bytes is never found.
    pub(super) fn new(literals: &[&[u8]]) -> Self {
        let mut begins = Box::new([0; PLACES]);
        let mut groups = vec![Vec::new()];
        for (at, literal) in literals.iter().enumerate() {
            let Some(place) = literal.first_chunk().and_then(|three| begins.get_mut(hash(*three))) else {
                continue;
            };
            if *place == 0 {
                *place = u16::try_from(groups.len()).unwrap_or(0);
                groups.push(Vec::new());
            }
            if let Some(group) = groups.get_mut(usize::from(*place)) {
                group.push(at);
            }
        }
        Self { begins, groups, texts: literals.iter().map(|literal| literal.to_vec()).collect() }
    }

    /// Tells `found` each literal's number and place that begins in `text`, in the order of places.
    pub(super) fn search(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        let mut at = 0;
        while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let bytes = u64::from_le_bytes(*eight);
            let [a, b, c, d] = [bytes, bytes >> 8, bytes >> 16, bytes >> 24].map(|bytes| self.group(bytes));
            if a | b | c | d != 0 {
                for (at, group) in (at..).zip([a, b, c, d]) {
                    self.compare(group, text, at, found);
                }
            }
            at += 4;
        }
        while let Some([a, b, c]) = text.get(at..).and_then(<[u8]>::first_chunk) {
            self.compare(self.group(u64::from_le_bytes([*a, *b, *c, 0, 0, 0, 0, 0])), text, at, found);
            at += 1;
        }
    }

    /// Which literals may begin with the lowest three bytes; 0: none.
    fn group(&self, bytes: u64) -> u16 {
        self.begins.get(hash_of_low(bytes)).copied().unwrap_or(0)
    }

    /// Apart from the search, which keeps what it needs in registers.
    #[inline(never)]
    fn compare(&self, group: u16, text: &[u8], at: usize, found: &mut dyn FnMut(usize, usize)) {
        for literal in self.groups.get(usize::from(group)).map(Vec::as_slice).unwrap_or_default() {
            let rest = text.get(at..).unwrap_or_default();
            if self.texts.get(*literal).is_some_and(|bytes| rest.starts_with(bytes)) {
                found(*literal, at);
            }
        }
    }

    /// How long a literal is.
    pub(super) fn length(&self, literal: usize) -> usize {
        self.texts.get(literal).map_or(0, Vec::len)
    }
}

fn hash([a, b, c]: [u8; 3]) -> usize {
    hash_of_low(u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]))
}

/// Of the lowest three bytes.
#[expect(clippy::cast_possible_truncation, reason = "what is cut off does not count")]
fn hash_of_low(bytes: u64) -> usize {
    ((bytes as u32).wrapping_mul(FACTOR) >> (32 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(literals: &[&[u8]], text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        Literals::new(literals).search(text, &mut |literal, at| found.push((at, literal)));
        found.sort_unstable();
        found
    }

    #[test]
    fn every_place_is_found_overlapping_or_not() {
        let literals: [&[u8]; 5] = [b"sk-", b"sk-ant-", b"SK1", b"k-a", b"sk-"];
        assert_eq!(find(&literals, b"xsk-ant-SK1"), [(1, 0), (1, 1), (1, 4), (2, 3), (8, 2)]);
        assert_eq!(find(&literals, b"SK"), []);
        assert_eq!(find(&literals, b"sk-"), [(0, 0), (0, 4)]);
        assert_eq!(find(&[], b"sk-"), []);
        assert_eq!(find(&literals, b""), []);
    }

    proptest! {
        #[test]
        fn it_finds_what_comparing_at_every_place_finds(
            literals in prop::collection::vec("[ab]{3,6}", 0..8), text in "[abc]{0,60}",
        ) {
            let literals: Vec<&[u8]> = literals.iter().map(String::as_bytes).collect();
            let text = text.as_bytes();
            let slow = (0..text.len()).flat_map(|at| {
                let begins = move |literal: &&[u8]| text[at..].starts_with(literal);
                literals.iter().enumerate().filter(move |(_, literal)| begins(literal)).map(move |(index, _)| (at, index))
            });
            prop_assert_eq!(find(&literals, text), slow.collect::<Vec<_>>());
        }
    }
}
