//! A text that is still being written: what is in it, and how much of it may be given on already.
//!
//! Enters: pieces of a text as they are written, split anywhere. Leaves: [`Span`]s, and up to where everything is judged.
//! Guarantees: what is judged holds whatever follows, so that a match lies whole in what is judged or whole in what is not,
//! as long as it is no longer than may be held back; ordinary text waits for the end of its last word and for nothing
//! else. Does not: undo encodings ([`super::Scanner`] does, beside it).

use super::rules::{LeakRules, Target};
use super::stream::EMAILS_FROM;
use super::text::{AHEAD, Found, Text};
use super::{LeakClass, Span};

/// Bytes of a last word that wait for its end.
const WORD: usize = 512;
/// Bytes of numbers and what may stand between their digits that wait for their end.
const NUMBER: usize = 64;
/// Bytes behind a number that say whether it is one.
const BEHIND_NUMBER: usize = 2;
/// Most bytes between the dashes of a label (RFC 7468).
const MAX_LABEL: usize = 40;

/// Searches one text.
#[derive(Debug, Default)]
pub struct Tail {
    text: Text,
    emails: u64,
}

impl Tail {
    /// Takes the next bytes. No more than `hold` bytes are left unjudged; longer matches may be missed.
    pub fn push(&mut self, rules: &LeakRules, bytes: &[u8], hold: usize, found: &mut dyn FnMut(Span)) {
        let emails = &mut self.emails;
        let hold = hold.min(AHEAD);
        self.text.push_until(rules, bytes, |text, done| open_from(rules, text, done, hold), &mut |one| {
            tell(one, emails, found);
        });
    }

    /// Judges what is there as if nothing followed.
    pub fn flush(&mut self, rules: &LeakRules, found: &mut dyn FnMut(Span)) {
        let emails = &mut self.emails;
        self.text.judge_all(rules, &mut |one| tell(one, emails, found));
    }

    /// How many bytes are judged.
    pub fn judged(&self) -> u64 {
        self.text.judged()
    }
}

fn tell(found: Found<'_>, emails: &mut u64, tell: &mut dyn FnMut(Span)) {
    match found {
        Found::Hit(hit) => {
            let range = hit.start..hit.start.saturating_add(hit.text.len() as u64);
            tell(Span { range, rule: hit.rule, class: hit.class, is_confirmed: hit.is_confirmed });
        }
        Found::Email(at) => {
            *emails += 1;
            if *emails == EMAILS_FROM {
                let range = at..at + 1;
                tell(Span { range, rule: "emails", class: LeakClass::Emails, is_confirmed: true });
            }
        }
    }
}

/// From where on something may begin that is not whole yet; not before `done`, and not more than `hold` bytes before the end.
fn open_from(rules: &LeakRules, text: &[u8], done: usize, hold: usize) -> usize {
    let from = done.max(text.len().saturating_sub(hold));
    let mut open = word_start(text, text.len());
    if rules.pii {
        open = open.min(number_start(text));
    }
    let part = text.get(from..).unwrap_or_default();
    if let Some(search) = &rules.search {
        search.search(part, &mut |literal, at| {
            let prefix = from + at..from + at + search.length(literal);
            let is_earlier = prefix.start < open;
            if let Some(target) = rules.targets.get(literal).filter(|_| is_earlier)
                && may_go_on(rules, *target, text, prefix.start..prefix.end)
            {
                open = word_start(text, prefix.start);
            }
        });
    }
    for back in 1..=LeakRules::MAX_PREFIX.min(part.len()) {
        let rest = part.get(part.len() - back..).unwrap_or_default();
        if rules.spaced.iter().any(|literal| literal.starts_with(rest)) {
            open = open.min(text.len() - back);
        }
    }
    open.max(from)
}

/// Where the word begins that ends at `end`: some secrets are known by their middle.
fn word_start(text: &[u8], end: usize) -> usize {
    let before = text.get(..end).unwrap_or_default();
    end - before.iter().rev().take(WORD).take_while(|byte| byte.is_ascii_graphic()).count()
}

/// Where the last digits begin that may belong together, with the letters before them.
fn number_start(text: &[u8]) -> usize {
    let begins = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let is_of_number = |byte: &&u8| begins(byte) || matches!(byte, b' ' | b'-' | b'.');
    let end = text.len().saturating_sub(BEHIND_NUMBER);
    let before = text.get(..end).unwrap_or_default();
    let count = before.iter().rev().take(NUMBER).take_while(is_of_number).count();
    let last = text.get(end - count..).unwrap_or_default();
    // Where more came before, the first group is cut. What it is part of is judged by what is there, for no number is so long.
    let cut = if count == NUMBER { last.iter().take_while(|byte| begins(byte)).count() } else { 0 };
    let whole = last.get(cut..).unwrap_or_default();
    end - count + cut + whole.iter().position(begins).unwrap_or(whole.len())
}

fn may_go_on(rules: &LeakRules, target: Target, text: &[u8], prefix: std::ops::Range<usize>) -> bool {
    let rest = text.get(prefix.start..).unwrap_or_default();
    match target {
        Target::Canary { canary, variant } => rules
            .variant(canary, variant)
            .is_some_and(|whole| rest.len() < whole.len() && whole.starts_with(rest)),
        Target::Secret(secret) if secret.id == "private-key" => key_goes_on(text, prefix.end),
        Target::Secret(secret) => secret.shape.may_go_on(text, prefix),
    }
}

/// Whether a private key is not over, whose label begins at `label`.
fn key_goes_on(text: &[u8], label: usize) -> bool {
    let rest = text.get(label..).unwrap_or_default();
    let Some(dashes) = rest.iter().take(MAX_LABEL).position(|byte| *byte == b'-') else {
        return rest.len() < MAX_LABEL;
    };
    let (label, behind) = rest.split_at_checked(dashes).unwrap_or_default();
    let is_private = label.windows(7).any(|part| part == b"PRIVATE");
    is_private
        && behind.iter().position(|byte| *byte != b'-').is_none_or(|body| {
            // The body ends where the dashes of the next label begin.
            !behind.get(body..).unwrap_or_default().contains(&b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::super::LeakOptions;
    use super::*;
    use proptest::prelude::*;

    fn rules() -> LeakRules {
        let canaries = vec![b"a canary with blanks".to_vec(), b"plain-canary-1".to_vec()];
        LeakRules::new(&LeakOptions { secrets: true, pii: true, canaries, ..LeakOptions::default() }).unwrap()
    }

    /// Spans, and for each piece how much was judged behind it.
    fn search(pieces: &[&[u8]], hold: usize) -> (Vec<Span>, Vec<u64>) {
        let (rules, mut tail, mut found, mut judged) = (rules(), Tail::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let before = tail.judged();
            tail.push(&rules, piece, hold, &mut |span| {
                assert!(span.range.start >= before, "{span:?} began in what was given on");
                found.push(span);
            });
            judged.push(tail.judged());
        }
        let before = tail.judged();
        tail.flush(&rules, &mut |span| {
            assert!(span.range.start >= before, "{span:?} began in what was given on");
            found.push(span);
        });
        found.sort_by_key(|span| (span.range.start, span.range.end, span.rule));
        (found, judged)
    }

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----";

    #[test]
    fn many_numbers_in_a_row_are_given_on_one_by_one() {
        let iban = "DE89 3704 0044 0532 0130 00";
        let text = format!("{iban} {iban}-----NO NUMBER, AND YET CAPITALS-----");
        let (found, _) = search(&text.as_bytes().chunks(1).collect::<Vec<_>>(), 4096);
        let found: Vec<_> = found.iter().map(|span| (span.rule, span.range.start, span.range.end)).collect();
        assert_eq!(found, [("iban", 0, 27), ("iban", 28, 55)]);
    }

    #[test]
    fn ordinary_text_waits_for_the_end_of_its_last_word_and_no_longer() {
        for (text, waits) in [
            ("Hello wor", 3),
            ("Hello world ", 0),
            ("see https://example.org/a?b for more ", 0),
            ("in 2024 there were 12 of ", 0),
            ("the key is sk-", 3),
            ("the key is sk-what? no ", 0),
            ("my card is 4111 1111 ", 10),
            ("-----BEGIN PRIVATE KEY-----\nMC4C AQAw ", 38),
            ("say a canary with ", 14),
            ("say a canary of ", 0),
        ] {
            let (_, judged) = search(&[text.as_bytes()], AHEAD);
            assert_eq!(text.len() as u64 - judged[0], waits, "{text}");
        }
    }

    #[test]
    fn what_is_longer_than_may_be_held_goes_on() {
        let (found, judged) = search(&[b"ghp_", &[b'x'; 30], &[b'y'; 30]], 16);
        assert_eq!(judged, [0, 18, 48]);
        assert!(found.is_empty(), "{found:?}");
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(
            parts in prop::collection::vec(prop_oneof![
                Just(KEY), Just("4111 1111 1111 1111"), Just("ghp_k3J9fLq0ZxVb7NwR2tYcPm5sQd8eHg1uWa4B "),
                Just("a canary with blanks"), Just("plain-canary-1"), Just(" "), Just("DE89 3704 0044 0532 0130 00"),
                Just("postgres://app:tr0ub4dor@db/x"), Just("ssn 078-05-1120 "), Just("word"), Just("\n"), Just("é"),
                Just("aws_secret_access_key = k3J9fLq0ZxVb7NwR2tYcPm5sQd8eHg1uWa4Bx6Kd"),
            ], 0..8),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let text = parts.concat();
            let (whole, _) = search(&[text.as_bytes()], AHEAD);
            let (mut pieces, mut rest, mut cuts) = (Vec::new(), text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                pieces.push(piece);
                rest = behind;
            }
            let (split, _) = search(&pieces, AHEAD);
            prop_assert_eq!(whole, split);
        }
    }
}
