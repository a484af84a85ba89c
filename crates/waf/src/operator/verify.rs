//! Operators that look for numbers with check digits: payment cards (ISO/IEC 7812), social security numbers of the
//! United States, CPF of Brazil.

use regex_automata::meta::Regex;

/// Which numbers are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Card,
    Ssn,
    Cpf,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "verifycc" => Self::Card,
            "verifyssn" => Self::Ssn,
            "verifycpf" => Self::Cpf,
            _ => return None,
        })
    }

    /// The first match of the pattern that is such a number.
    pub(super) fn find<'v>(self, pattern: &Regex, value: &'v [u8]) -> Option<&'v [u8]> {
        pattern.find_iter(value).filter_map(|found| value.get(found.range())).find(|text| self.valid(text))
    }

    fn valid(self, text: &[u8]) -> bool {
        let digits: Vec<u32> =
            text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
        match self {
            Self::Card => luhn(&digits),
            Self::Ssn => ssn(&digits),
            Self::Cpf => cpf(&digits),
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

/// Area, group and serial number: never zero, and areas 666 and from 740 on were never given out before 2011.
fn ssn(digits: &[u32]) -> bool {
    let [a, b, c, d, e, f, g, h, i] = *digits else { return false };
    let (area, group, serial) = (a * 100 + b * 10 + c, d * 10 + e, f * 1000 + g * 100 + h * 10 + i);
    (1..740).contains(&area) && area != 666 && group > 0 && serial > 0
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
        let pattern = crate::pattern::compile(b"[0-9][0-9 .-]+", false).unwrap().regex;
        for (name, text, expected) in [
            ("verifyCC", "4111 1111 1111 1111", true),
            ("verifyCC", "4111 1111 1111 1112", false),
            ("verifySSN", "123-45-6789", true),
            ("verifySSN", "666-45-6789", false),
            ("verifyCPF", "529.982.247-25", true),
            ("verifyCPF", "529.982.247-26", false),
        ] {
            let found = Kind::parse(name).unwrap().find(&pattern, text.as_bytes());
            assert_eq!(found.is_some(), expected, "{name} {text}");
        }
    }
}
