//! How well scores tell attacks from harmless texts.

/// The probability that an attack has a higher score than a harmless text; half where they are equal. None without both.
pub fn auc(attacks: &[f64], harmless: &[f64]) -> Option<f64> {
    let mut all: Vec<(f64, bool)> = attacks.iter().map(|score| (*score, true)).collect();
    all.extend(harmless.iter().map(|score| (*score, false)));
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let (mut won, mut below) = (0.0, 0.0);
    for same in all.chunk_by(|(one, _), (other, _)| one.total_cmp(other).is_eq()) {
        let theirs = number(same.iter().filter(|(_, is_attack)| *is_attack).count());
        let ours = number(same.len()) - theirs;
        won += theirs * (below + ours / 2.0);
        below += ours;
    }
    (!attacks.is_empty() && !harmless.is_empty())
        .then(|| won / (number(attacks.len()) * number(harmless.len())))
}

/// The score that no more than this part of the harmless texts exceeds.
pub fn threshold(harmless: &[f64], rate: f64) -> f64 {
    let mut sorted = harmless.to_vec();
    sorted.sort_by(|one, other| other.total_cmp(one));
    let mut allowed = 0;
    while allowed < sorted.len() && number(allowed + 1) <= number(sorted.len()) * rate {
        allowed += 1;
    }
    sorted.get(allowed).copied().unwrap_or(f64::MIN)
}

/// What part of them exceeds it. None of none.
pub fn part_above(scores: &[f64], threshold: f64) -> Option<f64> {
    let above = scores.iter().filter(|score| **score > threshold).count();
    (!scores.is_empty()).then(|| number(above) / number(scores.len()))
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_the_textbook() {
        let harmless: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(auc(&[1000.0], &harmless), Some(1.0));
        assert_eq!(auc(&[500.0], &[500.0]), Some(0.5));
        assert_eq!(auc(&[1.0, 3.0], &[2.0]), Some(0.5));
        assert_eq!(auc(&[], &[2.0]), None);
        let at = threshold(&harmless, 0.01);
        assert_eq!(part_above(&harmless, at), Some(0.01));
        assert_eq!(part_above(&[989.0, 990.0], at), Some(0.5));
        assert_eq!(part_above(&[], at), None);
    }
}
