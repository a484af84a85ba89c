//! Texts cut to a size, where others say how long they are.

/// At most about so many bytes of a text; where any are missing, dots at its end say so.
pub(crate) fn short(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= most).last();
    text.get(..end.unwrap_or_default()).map(|it| format!("{it}...")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        for (text, most, expected) in
            [("abc", 3, "abc"), ("abcd", 3, "abc..."), ("aéé", 2, "a..."), ("", 0, ""), ("a", 0, "...")]
        {
            assert_eq!(short(text.to_owned(), most), expected, "{text:?} to {most}");
        }
    }
}
