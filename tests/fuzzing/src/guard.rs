//! Bytes as a text for the prompt guard, whole and split: the same is said.

use guard::{Collected, Role, Verdict};

fn judged(text: &[u8], piece: usize) -> Option<Verdict> {
    let mut collected = Collected::default();
    text.chunks(piece).for_each(|piece| collected.push(piece));
    collected.judge(Role::User)
}

pub(crate) fn run(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let whole = judged(text, usize::MAX).expect("the weights are whole");
    assert_eq!(Some(whole), judged(text, usize::from(*choice) + 1));
    assert!((0.0..=1.0).contains(&whole.score));
    assert!(whole.span.0 <= whole.span.1);
}
