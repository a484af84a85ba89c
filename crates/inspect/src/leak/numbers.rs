//! Check digits of numbers that belong to people.
//!
//! Enters: digits as values 0 to 9 in order, or letters and digits in upper case. Leaves: whether the number can exist.
//! Sources: ISO/IEC 7812 (Luhn), ISO 7064 and ISO 13616 (IBAN), and the issuers' own rules, named at each function.

/// The remainder of a weighted sum.
fn weighted(digits: &[u8], weights: &[i32], modulus: i32) -> i32 {
    let sum: i32 = digits.iter().zip(weights).map(|(digit, weight)| i32::from(*digit) * weight).sum();
    sum.rem_euclid(modulus)
}

fn digit(digits: &[u8], at: usize) -> i32 {
    digits.get(at).map_or(-1, |digit| i32::from(*digit))
}

/// The decimal number that these digits write.
pub(super) fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let each = digits.iter().rev().enumerate();
    let sum: u32 = each.map(|(at, digit)| u32::from(if at % 2 == 1 { double(*digit) } else { *digit })).sum();
    sum.is_multiple_of(10)
}

/// Whether an issuer of cards gives out numbers that begin so and have this length.
pub(super) fn is_card_range(digits: &[u8]) -> bool {
    let first = |count: usize| value(digits.get(..count).unwrap_or_default());
    match digits.len() {
        14 => matches!(first(3), 300..=305) || matches!(first(2), 36 | 38 | 39),
        15 => matches!(first(2), 34 | 37),
        16 => {
            matches!(first(1), 4)
                || matches!(first(2), 51..=55 | 62 | 65)
                || matches!(first(3), 644..=649)
                || matches!(first(4), 2221..=2720 | 3528..=3589 | 6011)
        }
        17..=19 => first(2) == 62,
        _ => false,
    }
}

/// ISO 7064 MOD 97-10 over letters and digits, the first four moved to the end. Length by country as the SWIFT registry
/// has it.
pub(super) fn iban(text: &[u8]) -> bool {
    let Some((head, body)) = text.split_at_checked(4) else { return false };
    let remainder = body.iter().chain(head).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
    });
    iban_length(head) == Some(text.len()) && remainder == 1
}

/// How long an IBAN of this country is.
pub(super) fn iban_length(country: &[u8]) -> Option<usize> {
    let length = match country.get(..2)? {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FI" | b"NL" | b"FO" | b"GL" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"EE" | b"LT" | b"LU" | b"KZ" | b"XK" | b"BA" => 20,
        b"CH" | b"HR" | b"LI" | b"LV" | b"CR" => 21,
        b"BG" | b"DE" | b"GB" | b"IE" | b"GE" | b"ME" | b"RS" | b"BH" => 22,
        b"AE" | b"GI" | b"IL" | b"IQ" | b"TL" => 23,
        b"AD" | b"CZ" | b"ES" | b"PK" | b"RO" | b"SA" | b"SE" | b"SK" | b"TN" | b"MD" | b"VG" => 24,
        b"PT" => 25,
        b"IS" | b"TR" => 26,
        b"FR" | b"GR" | b"IT" | b"MC" | b"SM" | b"MR" => 27,
        b"AL" | b"AZ" | b"CY" | b"HU" | b"LB" | b"PL" | b"DO" | b"GT" => 28,
        b"BR" | b"QA" | b"UA" | b"PS" => 29,
        b"JO" | b"KW" | b"MU" => 30,
        b"MT" | b"SC" => 31,
        _ => return None,
    };
    Some(length)
}

/// United States: area not 000, 666 or 900 and above, group not 00, serial not 0000 (SSA, randomization of 2011).
pub(super) fn ssn(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| value(digits.get(range).unwrap_or_default());
    let area = part(0..3);
    digits.len() == 9 && area != 0 && area != 666 && area < 900 && part(3..5) != 0 && part(5..9) != 0
}

/// Germany, tax id: ISO 7064 MOD 11,10; of the first ten digits one is there twice or three times, and none more often.
pub(super) fn german_tax_id(digits: &[u8]) -> bool {
    let Some((&check, first)) = digits.split_last().filter(|(_, first)| first.len() == 10) else {
        return false;
    };
    let product = first.iter().fold(10u32, |product, digit| match (u32::from(*digit) + product) % 10 {
        0 => 20 % 11,
        sum => sum * 2 % 11,
    });
    let times = |value: u8| first.iter().filter(|digit| **digit == value).count();
    let most = (0..10).map(times).max().unwrap_or(0);
    let repeated = (0..10).filter(|value| times(*value) > 1).count();
    first.first() != Some(&0) && repeated == 1 && most <= 3 && (11 - product) % 10 == u32::from(check)
}

/// France, NIR of INSEE: sex, month and a key of two digits, 97 less the number's remainder. Corsica's letters are left out.
pub(super) fn french_nir(digits: &[u8]) -> bool {
    let Some((number, key)) = digits.split_at_checked(13).filter(|(_, key)| key.len() == 2) else {
        return false;
    };
    let month = value(digits.get(3..5).unwrap_or_default());
    let is_sex = matches!(digits.first(), Some(1 | 2));
    is_sex && matches!(month, 1..=12 | 20..=42 | 50..=99) && value(key) == 97 - value(number) % 97
}

/// Spain, DNI and NIE: a letter by the number's remainder of 23. X, Y, Z of an NIE are 0, 1, 2.
pub(super) fn spanish_letter(number: u64) -> Option<u8> {
    b"TRWAGMYFPDXBNJZSQVHLCKE".get(usize::try_from(number % 23).ok()?).copied()
}

/// Italy, codice fiscale: sixteen letters and digits; the last by the sum of values that differ at odd and even places
/// (decree of 23 December 1976).
pub(super) fn codice_fiscale(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    const SHAPE: &[u8; 16] = b"AAAAAA00M00A000A";
    let fits = |byte: u8, shape: u8| match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'M' => b"ABCDEHLMPRST".contains(&byte),
        // Where two people would have the same code, letters stand for digits.
        _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte),
    };
    let Some((check, first)) = text.split_last().filter(|_| text.len() == 16) else { return false };
    let value =
        |byte: u8| usize::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.saturating_sub(b'A') });
    let even = |byte: u8| u32::try_from(value(byte)).unwrap_or(0);
    let odd = |byte: u8| ODD.get(value(byte)).copied().unwrap_or(0);
    let each = first.iter().enumerate();
    let sum: u32 = each.map(|(at, byte)| if at % 2 == 0 { odd(*byte) } else { even(*byte) }).sum();
    text.iter().zip(SHAPE).all(|(byte, shape)| fits(*byte, *shape)) && sum % 26 == even(*check)
}

/// Netherlands, BSN: the eleven test, with the last digit's weight -1.
pub(super) fn dutch_bsn(digits: &[u8]) -> bool {
    digits.len() == 9 && weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2, -1], 11) == 0 && value(digits) > 0
}

/// Poland, PESEL: month and day (the century is in the month), and a weighted check digit.
pub(super) fn polish_pesel(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| value(digits.get(range).unwrap_or_default());
    let sum = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1], 10);
    digits.len() == 11 && matches!(part(2..4) % 20, 1..=12) && matches!(part(4..6), 1..=31) && sum == 0
}

/// Brazil, CPF: two check digits by remainders of 11; not all digits the same.
pub(super) fn brazilian_cpf(digits: &[u8]) -> bool {
    let check = |count: i32| {
        let weights: Vec<i32> = (2..=count + 1).rev().collect();
        match weighted(digits, &weights, 11) {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    let first = digits.first();
    let is_same = digits.iter().all(|digit| Some(digit) == first);
    digits.len() == 11 && !is_same && check(9) == digit(digits, 9) && check(10) == digit(digits, 10)
}

/// United Kingdom, National Insurance number: which two letters it may begin with, and A to D at the end (HMRC NIM39110).
pub(super) fn uk_nino(text: &[u8]) -> bool {
    let [first, second, digits @ .., last] = text else { return false };
    let never = [b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"];
    let is_letter = |byte: &u8| byte.is_ascii_uppercase() && !b"DFIQUV".contains(byte);
    digits.len() == 6
        && digits.iter().all(u8::is_ascii_digit)
        && is_letter(first)
        && is_letter(second)
        && *second != b'O'
        && !never.contains(&&[*first, *second])
        && matches!(last, b'A'..=b'D')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    /// One number that can exist; with any other last digit it cannot.
    fn check(good: &str, holds: fn(&[u8]) -> bool) {
        let (start, last) = good.split_at(good.len() - 1);
        for other in 0..10 {
            let other = other.to_string();
            assert_eq!(holds(&digits(&format!("{start}{other}"))), other == last, "{start}{other}");
        }
        assert!(!holds(&digits(start)), "{start}");
        assert!(!holds(&[]));
    }

    #[test]
    fn check_digits_hold_for_one_digit_only() {
        check("86095742719", german_tax_id);
        check("44051401359", polish_pesel);
        check("52998224725", brazilian_cpf);
        check("111222333", dutch_bsn);
        check("255081416802538", french_nir);
        assert!(luhn(&digits("4111111111111111")) && !luhn(&digits("4111111111111112")));
    }

    #[test]
    fn texts_with_check_letters_hold() {
        for (text, expected) in
            [("RSSMRA85T10A562S", true), ("RSSMRA85T10A562T", false), ("RSSMRA85T10A562", false)]
        {
            assert_eq!(codice_fiscale(text.as_bytes()), expected, "{text}");
        }
        let ibans = [
            ("DE89370400440532013000", true),
            ("DE89370400440532013001", false),
            ("GB82WEST12345698765432", true),
            ("FR1420041010050500013M02606", true),
            ("XX89370400440532013000", false),
        ];
        for (text, expected) in ibans {
            assert_eq!(iban(text.as_bytes()), expected, "{text}");
        }
        for (text, expected) in
            [("AB123456C", true), ("AB123456E", false), ("GB123456C", false), ("AO123456C", false)]
        {
            assert_eq!(uk_nino(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(spanish_letter(12_345_678), Some(b'Z'));
    }

    #[test]
    fn areas_of_social_security_numbers_hold() {
        for (text, expected) in [
            ("123456789", true),
            ("000456789", false),
            ("666456789", false),
            ("900456789", false),
            ("123006789", false),
            ("123450000", false),
        ] {
            assert_eq!(ssn(&digits(text)), expected, "{text}");
        }
    }

    #[test]
    fn cards_are_of_an_issuer() {
        for (text, expected) in [
            ("4111111111111111", true),
            ("378282246310005", true),
            ("30569309025904", true),
            ("2223003122003222", true),
            ("1711111111111111", false),
            ("411111111111111", false),
        ] {
            assert_eq!(is_card_range(&digits(text)), expected, "{text}");
        }
    }
}
