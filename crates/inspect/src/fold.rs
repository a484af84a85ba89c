//! Names of members as readers of JSON see them that do not mind case.

pub(crate) fn fold(key: &str) -> String {
    key.chars().map(fold_letter).collect()
}

/// Among them Go's, for which the long s and the Kelvin sign are letters too.
pub(crate) fn fold_letter(letter: char) -> char {
    match letter {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}
