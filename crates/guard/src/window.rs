//! How suspicious the most suspicious parts of a text are, from the weights of its features.
//!
//! Enters: sums of weights up to each token, for each family. Leaves: [`Summary`]. Guarantees: time linear in the tokens, for
//! every window is a difference of two sums.

/// Tokens of a window.
pub const WINDOW: usize = 48;
/// How far the next window begins behind.
pub const STRIDE: usize = 16;
/// The same for small windows, which find an order in one sentence.
pub const SMALL: usize = 16;
/// How far the next small window begins behind.
pub const SMALL_STRIDE: usize = 4;
/// Tokens from which on a text counts as no longer, as a whole. Harmless texts that were learned from are shorter, and all but
/// attacks are short there; outside, a long text is a document.
pub const LONG: usize = 512;
/// What one window says at most, either way.
const MOST: f32 = 30.0;

/// What kind of attack: the place of each in arrays of three.
pub const FAMILIES: [&str; 3] = ["direct", "indirect", "jailbreak"];

/// Logits of the families.
pub type Logits = [f32; 3];

/// How suspicious parts of a text are; all are logits of any attack against none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// The most suspicious window.
    pub best: f32,
    /// The next that shares no token with it, or how little a text without one says.
    pub second: f32,
    /// The most suspicious small window.
    pub small: f32,
    /// The text as a whole.
    pub whole: f32,
    /// The families' logits in the most suspicious window.
    pub families: Logits,
    /// Its first token, and the first behind it.
    pub place: (usize, usize),
    /// Tokens.
    pub tokens: usize,
}

/// Sums up. `sums` has an entry before the first token, and one after each.
pub fn summary(sums: &[Logits], bias: Logits) -> Summary {
    let tokens = sums.len().saturating_sub(1);
    let logits = |window: (usize, usize)| logits(sums, bias, window);
    let mut best = (f32::MIN, (0, tokens));
    for window in windows(tokens, WINDOW, STRIDE) {
        let value = any(logits(window));
        if value > best.0 {
            best = (value, window);
        }
    }
    let (from, to) = best.1;
    let apart = windows(tokens, WINDOW, STRIDE).filter(|(start, end)| *end <= from || *start >= to);
    Summary {
        best: best.0,
        second: apart.map(|window| any(logits(window))).fold(any(bias), f32::max),
        small: windows(tokens, SMALL, SMALL_STRIDE)
            .map(|window| any(logits(window)))
            .fold(f32::MIN, f32::max),
        whole: any(whole(sums, bias)),
        families: logits(best.1),
        place: best.1,
        tokens,
    }
}

/// The windows of this many tokens: each of `length`, but the only one of a shorter text.
pub fn windows(tokens: usize, length: usize, stride: usize) -> impl Iterator<Item = (usize, usize)> {
    let last = tokens.saturating_sub(length);
    (0..last).step_by(stride.max(1)).chain([last]).map(move |start| (start, (start + length).min(tokens)))
}

/// The logits of a window: what its features weigh, by the root of its length.
pub fn logits(sums: &[Logits], bias: Logits, (start, end): (usize, usize)) -> Logits {
    let length = end.saturating_sub(start);
    of_part(sums, bias, (start, end), float(length).sqrt().recip())
}

/// The same of all tokens: where they are many, as if they were [`LONG`] that say as much each.
fn whole(sums: &[Logits], bias: Logits) -> Logits {
    let tokens = sums.len().saturating_sub(1);
    of_part(sums, bias, (0, tokens), float(tokens.min(LONG)).sqrt() / float(tokens))
}

fn of_part(sums: &[Logits], bias: Logits, (start, end): (usize, usize), norm: f32) -> Logits {
    let (before, after) =
        (sums.get(start).copied().unwrap_or_default(), sums.get(end).copied().unwrap_or_default());
    let mut logits = bias;
    for (logit, (before, after)) in logits.iter_mut().zip(before.into_iter().zip(after)) {
        *logit = (*logit + (after - before) * norm).clamp(-MOST, MOST);
    }
    logits
}

/// A number of tokens, at least one: exact up to what a float can count.
fn float(tokens: usize) -> f32 {
    let tokens = u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
    let [high, low] = [tokens >> 16, tokens & 0xffff].map(|half| u16::try_from(half).unwrap_or(u16::MAX));
    f32::from(high).mul_add(65_536.0, f32::from(low))
}

/// The logit of any of them against none.
pub fn any(logits: Logits) -> f32 {
    let most = logits.into_iter().fold(f32::MIN, f32::max);
    most + logits.into_iter().map(|logit| (logit - most).exp()).sum::<f32>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_token_and_all_have_their_length() {
        for (tokens, expected) in
            [(0, vec![(0, 0)]), (5, vec![(0, 5)]), (16, vec![(0, 16)]), (20, vec![(0, 16), (4, 20)])]
        {
            assert_eq!(windows(tokens, SMALL, SMALL_STRIDE).collect::<Vec<_>>(), expected, "{tokens}");
        }
    }

    #[test]
    fn a_text_of_so_many_parts_says_as_much_as_one_of_many_parts() {
        let of = |tokens: u16| {
            let sums: Vec<Logits> = (0..=tokens).map(|at| [0.01 * f32::from(at), 0.0, 0.0]).collect();
            summary(&sums, [-2.0; 3]).whole
        };
        assert!(of(512) > of(128));
        assert!((of(512) - of(40_000)).abs() < 1e-3, "{} {}", of(512), of(40_000));
    }

    #[test]
    fn a_loud_place_in_a_long_text_is_found() {
        let mut sums = vec![[0.0; 3]];
        for token in 0..1000 {
            let [a, b, c] = *sums.last().unwrap();
            sums.push([a, b + if (500..510).contains(&token) { 9.0 } else { -0.01 }, c]);
        }
        let found = summary(&sums, [-2.0; 3]);
        assert!(found.best > 5.0 && found.second < 0.0 && found.whole < found.best, "{found:?}");
        assert!(found.place.0 <= 500 && found.place.1 >= 510, "{found:?}");
        assert!(found.families[1] > found.families[0]);
    }
}
