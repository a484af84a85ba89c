//! Numbers of people and their money in a text: found by their digits, believed by their check digits.
//!
//! Enters: a text and where a number begins in it. Leaves: which kind it is and where. Guarantees: looks at no more than
//! [`CONTEXT`] bytes before and [`AHEAD`] behind. Kinds whose check digits alone say little count only beside a word for
//! them. Does not: find names, addresses, birthdays.

use super::numbers;
use super::shape::Alphabet;
use std::ops::Range;

/// Bytes before a number in which a word for it is looked for.
const CONTEXT: usize = 48;

/// Most bytes of a number with its separators.
const AHEAD: usize = 48;

/// A kind of number: its rule's id, and its name.
pub(super) type Kind = (&'static str, &'static str);

const CARD: Kind = ("payment-card", "payment card number");
const IBAN: Kind = ("iban", "bank account number (IBAN)");
const SSN: Kind = ("us-ssn", "US social security number");
const GERMAN: Kind = ("de-tax-id", "German tax id");
const FRENCH: Kind = ("fr-nir", "French social security number");
const SPANISH: Kind = ("es-dni", "Spanish DNI or NIE");
const ITALIAN: Kind = ("it-codice-fiscale", "Italian tax code");
const DUTCH: Kind = ("nl-bsn", "Dutch citizen number");
const POLISH: Kind = ("pl-pesel", "Polish PESEL");
const BRAZILIAN: Kind = ("br-cpf", "Brazilian CPF");
const BRITISH: Kind = ("uk-nino", "UK National Insurance number");

/// The number whose first digit is at `at`, where no digit is before it.
pub(super) fn number_at(text: &[u8], at: usize) -> Option<(Kind, Range<usize>)> {
    // The cheapest look first: most numbers are short.
    if let Some([.., b' ']) = text.get(..at)
        && let Some(start) = at.checked_sub(3).filter(|start| is_free_before(text, *start))
        && let Some((kind, length)) = nino(text, start, text.get(start..text.len().min(start + AHEAD))?)
    {
        return Some((kind, start..start + length));
    }
    let letters = text.get(..at)?.iter().rev().take(7).take_while(|byte| byte.is_ascii_uppercase()).count();
    let start = match text.get(at.checked_sub(letters + 2).unwrap_or(usize::MAX)..at - letters) {
        Some([b'\\', b'n' | b'r' | b't']) => at - letters,
        _ if is_free_before(text, at - letters) => at - letters,
        _ => return None,
    };
    let rest = text.get(start..text.len().min(start + AHEAD))?;
    let (kind, length) = match letters {
        0 => digits_only(text, start, rest)?,
        1 => spanish_nie(text, start, rest)?,
        2 => iban(rest).or_else(|| nino(text, start, rest))?,
        6 => codice_fiscale(rest)?,
        _ => return None,
    };
    is_free_behind(rest.get(length..)?).then_some((kind, start..start + length))
}

fn is_free_before(text: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|at| text.get(at)) else { return true };
    !(Alphabet::Url.has(*before) || matches!(before, b'.' | b'+' | b'/' | b'%' | b'&' | b'#'))
}

/// Nothing goes on: no letter, no digit, no decimal places.
fn is_free_behind(rest: &[u8]) -> bool {
    match rest {
        [b'.' | b',' | b'-' | b':', next, ..] => !next.is_ascii_alphanumeric(),
        [next, ..] => !(Alphabet::Url.has(*next) || *next == b'%' || *next >= 0x80),
        [] => true,
    }
}

/// Whether one of these words, in lower case, stands shortly before.
fn has_word(text: &[u8], at: usize, words: &[&[u8]]) -> bool {
    let before = text.get(at.saturating_sub(CONTEXT)..at).unwrap_or_default().to_ascii_lowercase();
    words.iter().any(|word| before.windows(word.len()).any(|part| part == *word))
}

/// Digits in groups, with one kind of separator between them.
struct Groups {
    digits: Vec<u8>,
    /// How many digits each group has.
    sizes: Vec<usize>,
    separator: Option<u8>,
    length: usize,
}

fn groups(rest: &[u8]) -> Groups {
    let mut found = Groups { digits: Vec::new(), sizes: vec![0], separator: None, length: 0 };
    for pair in 0..rest.len() {
        let byte = rest.get(pair).copied().unwrap_or(0);
        let is_before_digit = rest.get(pair + 1).is_some_and(u8::is_ascii_digit);
        if byte.is_ascii_digit() {
            found.digits.push(byte - b'0');
            if let Some(size) = found.sizes.last_mut() {
                *size += 1;
            }
        } else if matches!(byte, b' ' | b'-') && is_before_digit && found.separator.unwrap_or(byte) == byte {
            found.separator = Some(byte);
            found.sizes.push(0);
        } else {
            break;
        }
        found.length = pair + 1;
    }
    found
}

fn digits_only(text: &[u8], start: usize, rest: &[u8]) -> Option<(Kind, usize)> {
    // A digit and a blank before it: this is the middle of something longer.
    let is_middle =
        matches!(text.get(start.checked_sub(2).unwrap_or(usize::MAX)..start), Some([b'0'..=b'9', b' ']));
    let is_written = |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-');
    (rest.iter().take(8).take_while(is_written).count() == 8).then_some(())?;
    let found = groups(rest);
    if found.separator.is_some()
        && !is_middle
        && let Some(kind) = grouped(text, start, &found)
    {
        return Some((kind, found.length));
    }
    let length =
        Alphabet::Hex.run(rest, 20).min(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let digits: Vec<u8> = rest.get(..length)?.iter().map(|byte| byte - b'0').collect();
    let kind = match length {
        8 => return spanish_dni(text, start, rest),
        9 if numbers::dutch_bsn(&digits) && has_word(text, start, &[b"bsn", b"burgerservice"]) => DUTCH,
        9 if numbers::ssn(&digits) && has_word(text, start, &[b"ssn", b"social security"]) => SSN,
        11 if numbers::german_tax_id(&digits) && has_word(text, start, &[b"steuer", b"idnr", b"tax"]) => {
            GERMAN
        }
        11 if numbers::polish_pesel(&digits) && has_word(text, start, &[b"pesel"]) => POLISH,
        11 if numbers::brazilian_cpf(&digits) && has_word(text, start, &[b"cpf"]) => BRAZILIAN,
        15 if numbers::french_nir(&digits) => FRENCH,
        14..=19 if is_card(&digits) && !is_in_id_field(text, start) => CARD,
        _ => return None,
    };
    Some((kind, length))
}

fn grouped(text: &[u8], start: usize, found: &Groups) -> Option<Kind> {
    let digits = &found.digits;
    match found.sizes.as_slice() {
        [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] if is_card(digits) => Some(CARD),
        [3, 2, 4] if numbers::ssn(digits) && has_word(text, start, &[b"ssn", b"social security"]) => {
            Some(SSN)
        }
        [1, 2, 2, 2, 3, 3, 2] if numbers::french_nir(digits) => Some(FRENCH),
        [2, 3, 3, 3]
            if numbers::german_tax_id(digits) && has_word(text, start, &[b"steuer", b"idnr", b"tax"]) =>
        {
            Some(GERMAN)
        }
        _ => None,
    }
}

fn is_card(digits: &[u8]) -> bool {
    let first = digits.first();
    numbers::is_card_range(digits)
        && numbers::luhn(digits)
        && digits.iter().skip(1).any(|digit| Some(digit) != first)
}

/// Whether the number is the value of a field named `id`, `…_id`, `…Id`, or of a time.
fn is_in_id_field(text: &[u8], start: usize) -> bool {
    let before = text.get(start.saturating_sub(CONTEXT)..start).unwrap_or_default();
    let is_between = |byte: &&u8| matches!(byte, b'"' | b'\'' | b':' | b'=' | b' ' | b'\\');
    let between = before.iter().rev().take_while(is_between).count();
    let key = before.get(..before.len().saturating_sub(between)).unwrap_or_default().to_ascii_lowercase();
    let has_sign = before.iter().rev().take(between).any(|byte| matches!(byte, b':' | b'='));
    let names: [&[u8]; 8] = [b"id", b"ids", b"time", b"timestamp", b"ts", b"seed", b"hash", b"nonce"];
    has_sign && names.iter().any(|name| key.ends_with(name))
}

/// `123.456.789-09` has two kinds of separators and so is no [`Groups`].
pub(super) fn formatted_cpf(text: &[u8], at: usize) -> Option<(Kind, Range<usize>)> {
    let written = text.get(at..at + 14)?;
    let fits = written.iter().zip(b"000.000.000-00").all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let digits =
        || written.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect::<Vec<u8>>();
    let is_one = fits && is_free_before(text, at) && numbers::brazilian_cpf(&digits());
    (is_one && is_free_behind(text.get(at + 14..)?)).then_some((BRAZILIAN, at..at + 14))
}

const SPANISH_WORDS: [&[u8]; 5] = [b"dni", b"nie", b"nif", b"documento", b"identidad"];

fn spanish_dni(text: &[u8], start: usize, rest: &[u8]) -> Option<(Kind, usize)> {
    let digits: Vec<u8> = rest.get(..8)?.iter().map(|byte| byte.wrapping_sub(b'0')).collect();
    let at = if rest.get(8) == Some(&b'-') { 9 } else { 8 };
    let holds = numbers::spanish_letter(numbers::value(&digits)).as_ref() == rest.get(at);
    (holds && has_word(text, start, &SPANISH_WORDS)).then_some((SPANISH, at + 1))
}

fn spanish_nie(text: &[u8], start: usize, rest: &[u8]) -> Option<(Kind, usize)> {
    let first = rest.first()?.checked_sub(b'X').filter(|first| *first < 3)?;
    let digits = rest.get(1..8)?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    let number: Vec<u8> = std::iter::once(first).chain(digits.iter().map(|byte| byte - b'0')).collect();
    let holds = numbers::spanish_letter(numbers::value(&number)).as_ref() == rest.get(8);
    (holds && has_word(text, start, &SPANISH_WORDS)).then_some((SPANISH, 9))
}

/// Upper case, together or in groups of four.
fn iban(rest: &[u8]) -> Option<(Kind, usize)> {
    let wanted = numbers::iban_length(rest)?;
    let mut compact = Vec::new();
    let mut length = 0;
    for byte in rest {
        if compact.len() == wanted {
            break;
        }
        match byte {
            b' ' if compact.len() % 4 == 0 => {}
            b'A'..=b'Z' | b'0'..=b'9' => compact.push(*byte),
            _ => return None,
        }
        length += 1;
    }
    let has_check = compact.get(2..4)?.iter().all(u8::is_ascii_digit);
    (has_check && numbers::iban(&compact)).then_some((IBAN, length))
}

fn nino(text: &[u8], start: usize, rest: &[u8]) -> Option<(Kind, usize)> {
    // Most numbers are none of these: asked first, for the rest costs more.
    rest.iter().find(|byte| **byte != b' ').filter(|byte| byte.is_ascii_uppercase())?;
    let mut compact = Vec::new();
    let mut length = 0;
    for byte in rest.iter().take(14) {
        if compact.len() == 9 {
            break;
        }
        length += 1;
        if *byte != b' ' {
            compact.push(*byte);
        }
    }
    let has_context = || has_word(text, start, &[b"national insurance", b"nino", b"ni number"]);
    (numbers::uk_nino(&compact) && has_context()).then_some((BRITISH, length))
}

fn codice_fiscale(rest: &[u8]) -> Option<(Kind, usize)> {
    numbers::codice_fiscale(rest.get(..16)?).then_some((ITALIAN, 16))
}

/// Whether an e-mail address stands around this `@`.
pub(super) fn is_email(text: &[u8], at: usize) -> bool {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(byte);
    let is_domain = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let has_local = at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(is_local);
    let rest = text.get(at + 1..).unwrap_or_default();
    let domain = rest.get(..rest.iter().take(128).take_while(is_domain).count()).unwrap_or_default();
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let last = domain.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let has_two = last.len() < domain.len() && last.len() >= 2 && domain.first() != Some(&b'.');
    has_local && has_two && last.iter().all(u8::is_ascii_alphabetic)
}
