//! Names of members as readers of JSON see them that do not mind case.

/// Among them Go's, for which the long s and the Kelvin sign are letters too.
pub(crate) fn fold(key: &str) -> String {
    let letter = |character: char| match character {
        'ſ' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(letter).collect()
}
