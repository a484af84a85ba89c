//! Operators that compare a value with a text.

use memchr::memmem;

/// How the value and the argument have to stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    BeginsWith,
    Contains,
    ContainsWord,
    EndsWith,
    Equals,
    Within,
}

impl Relation {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "beginswith" => Self::BeginsWith,
            "contains" | "strmatch" => Self::Contains,
            "containsword" => Self::ContainsWord,
            "endswith" => Self::EndsWith,
            "streq" => Self::Equals,
            "within" => Self::Within,
            _ => return None,
        })
    }

    /// Case counts. `@within` asks whether the argument contains the value.
    pub(super) fn holds(self, value: &[u8], argument: &[u8]) -> bool {
        match self {
            Self::BeginsWith => value.starts_with(argument),
            Self::Contains => memmem::find(value, argument).is_some(),
            Self::ContainsWord => contains_word(value, argument),
            Self::EndsWith => value.ends_with(argument),
            Self::Equals => value == argument,
            Self::Within => memmem::find(argument, value).is_some(),
        }
    }
}

fn contains_word(value: &[u8], word: &[u8]) -> bool {
    if word.is_empty() {
        return true;
    }
    // A digit ends a word, as in ModSecurity v3.
    let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    memmem::find_iter(value, word).any(|start| {
        let before = start.checked_sub(1).and_then(|before| value.get(before));
        !letter(before) && !letter(value.get(start + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_hold_as_the_manual_says() {
        for (name, value, argument, expected) in [
            ("beginsWith", "abc", "ab", true),
            ("contains", "abc", "b", true),
            ("containsWord", "a select b", "select", true),
            ("containsWord", "aselect b", "select", false),
            ("containsWord", "1select2", "select", true),
            ("endsWith", "abc", "bc", true),
            ("streq", "abc", "ABC", false),
            ("within", "POST", "GET POST", true),
            ("within", "", "GET", true),
            ("within", "PUT", "GET POST", false),
        ] {
            let relation = Relation::parse(name).unwrap();
            assert_eq!(
                relation.holds(value.as_bytes(), argument.as_bytes()),
                expected,
                "{name} {value} {argument}"
            );
        }
    }
}
