//! Operators that look for numbers with check digits: payment cards (ISO/IEC 7812), social security numbers of the
//! United States and of Austria, CPF of Brazil.

use regex_automata::Input;
use regex_automata::meta::Regex;

/// Longest text that is read again from its second byte.
const MAX_NUMBER: usize = 64;

/// Which numbers are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Card,
    Ssn,
    Cpf,
    Svnr,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "verifycc" => Self::Card,
            "verifyssn" => Self::Ssn,
            "verifycpf" => Self::Cpf,
            "verifysvnr" => Self::Svnr,
            _ => return None,
        })
    }

    /// The first match of the pattern that is such a number, wherever it begins: what stands right before a number does not
    /// hide it.
    pub(super) fn find<'v>(self, pattern: &Regex, value: &'v [u8]) -> Option<&'v [u8]> {
        let mut from = 0;
        while let Some(found) = pattern.find(Input::new(value).range(from..)) {
            let text = value.get(found.range())?;
            if self.valid(text) {
                return Some(text);
            }
            // A long match is no number with something before it, and reading it again from each byte would take long.
            from = if text.len() > MAX_NUMBER { found.end() } else { found.start() + 1 };
            if from > value.len() {
                return None;
            }
        }
        None
    }

    fn valid(self, text: &[u8]) -> bool {
        let digits: Vec<u32> =
            text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
        match self {
            Self::Card => luhn(&digits),
            Self::Ssn => ssn(&digits),
            Self::Cpf => cpf(&digits),
            Self::Svnr => svnr(&digits),
        }
    }
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// Area, group and serial number: never zero, and areas 666 and from 740 on were never given out before 2011. Nine times the
/// same digit, or each one more than that before it, is an example and nobody's number.
fn ssn(digits: &[u32]) -> bool {
    let [a, b, c, d, e, f, g, h, i] = *digits else { return false };
    let all =
        |step: u32| digits.windows(2).all(|pair| matches!(pair, [left, right] if left + step == *right));
    if all(0) || all(1) {
        return false;
    }
    let (area, group, serial) = (a * 100 + b * 10 + c, d * 10 + e, f * 1000 + g * 100 + h * 10 + i);
    (1..740).contains(&area) && area != 666 && group > 0 && serial > 0
}

/// Serial number, check digit, and date of birth.
fn svnr(digits: &[u32]) -> bool {
    let [a, b, c, check, rest @ ..] = digits else { return false };
    let weights = [3, 7, 9, 5, 8, 4, 2, 1, 6];
    let weighed = [a, b, c].into_iter().chain(rest).zip(weights);
    rest.len() == 6 && weighed.map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == *check
}

fn cpf(digits: &[u32]) -> bool {
    let [body @ .., first, second] = digits else { return false };
    let check = |digits: &[u32]| {
        let sum: u32 = digits.iter().rev().zip(2..).map(|(digit, weight)| digit * weight).sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    let with_first: Vec<u32> = body.iter().chain([first]).copied().collect();
    body.len() == 9
        && body.windows(2).any(|pair| pair.first() != pair.last())
        && check(body) == *first
        && check(&with_first) == *second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_checked() {
        const CARD: &str = "[0-9]{4,5} [0-9]{4} [0-9]{4} [0-9]{4}";
        for (name, pattern, text, expected) in [
            ("verifyCC", CARD, "4111 1111 1111 1111", true),
            ("verifyCC", CARD, "4111 1111 1111 1112", false),
            ("verifyCC", CARD, "14111 1111 1111 1111", true),
            ("verifySSN", "[0-9]{3}-[0-9]{2}-[0-9]{4}", "123-45-6780", true),
            ("verifySSN", "[0-9]{3}-[0-9]{2}-[0-9]{4}", "666-45-6780", false),
            ("verifySSN", "[0-9]{3}-[0-9]{2}-[0-9]{4}", "123-45-6789", false),
            ("verifySSN", "[0-9]{3}-[0-9]{2}-[0-9]{4}", "111-11-1111", false),
            ("verifyCPF", "[0-9.-]{14}", "529.982.247-25", true),
            ("verifyCPF", "[0-9.-]{14}", "529.982.247-26", false),
            ("verifySVNR", "[0-9]{4} [0-9]{6}", "1237 010180", true),
            ("verifySVNR", "[0-9]{4} [0-9]{6}", "1238 010180", false),
        ] {
            let pattern = crate::pattern::compile(pattern.as_bytes(), false).unwrap().regex;
            let found = Kind::parse(name).unwrap().find(&pattern, text.as_bytes());
            assert_eq!(found.is_some(), expected, "{name} {text}");
        }
    }
}
