//! Sets one option of a request to `true`: a member of an object that is a member of the whole.
//!
//! Enters: a JSON text and both names. Leaves: the text with the option set, or that it is. Guarantees: nothing else is
//! changed; what could be read in two ways (a name that is there twice, an object that is none) is left alone.

use super::tokens::{Kind, Token, Tokens, is_json};
use std::ops::Range;

/// What became of the option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// It was set before.
    Already,
    /// The body as it goes on.
    Changed(Vec<u8>),
}

/// What is there of a member.
enum Member {
    No,
    Once(Token),
    Twice,
}

/// Sets `option` within the member `object`. `None`: that is not possible.
pub fn set_option(body: &[u8], object: &str, option: &str) -> Option<Set> {
    let text = std::str::from_utf8(body).ok().filter(|text| is_json(text))?;
    let tokens = || Tokens::of(text);
    tokens().next().filter(|first| first.kind == Kind::Object)?;
    let setting = format!("\"{option}\":true");
    let whole = format!("{{{setting}}}");
    let changed = match member(text, tokens(), object) {
        Member::Twice => return None,
        Member::No => first_in(text, tokens(), &format!("\"{object}\":{whole}"))?,
        Member::Once(value) if is_bare(text, &value, "null") => replaced(text, value.range, &whole)?,
        Member::Once(value) => {
            let inside = || Tokens::from(text, value.range.start);
            match member(text, inside(), option) {
                _ if value.kind != Kind::Object => return None,
                Member::Twice => return None,
                Member::No => first_in(text, inside(), &setting)?,
                Member::Once(value) if is_bare(text, &value, "true") => return Some(Set::Already),
                Member::Once(value) if value.kind == Kind::Bare => replaced(text, value.range, "true")?,
                Member::Once(_) => return None,
            }
        }
    };
    Some(Set::Changed(changed.into_bytes()))
}

/// The value of a member of the object that begins with these tokens.
fn member(text: &str, mut tokens: Tokens<'_>, name: &str) -> Member {
    let (mut depth, mut found) = (0usize, Member::No);
    while let Some(token) = tokens.next() {
        match token.kind {
            Kind::Object | Kind::Array => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Name if depth == 1 && is_named(text, &token, name) => {
                // The value itself is still to be counted.
                found = match (found, tokens.clone().next()) {
                    (Member::No, Some(value)) => Member::Once(value),
                    (Member::No | Member::Once(_) | Member::Twice, _) => Member::Twice,
                }
            }
            Kind::Name | Kind::Text | Kind::Bare => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Readers undo escapes in names.
fn is_named(text: &str, token: &Token, name: &str) -> bool {
    let written = text.get(token.range.clone()).unwrap_or_default();
    serde_json::from_str::<String>(written).is_ok_and(|written| written == name)
}

fn is_bare(text: &str, token: &Token, word: &str) -> bool {
    token.kind == Kind::Bare && text.get(token.range.clone()) == Some(word)
}

/// A member more in the object that begins with these tokens.
fn first_in(text: &str, mut tokens: Tokens<'_>, member: &str) -> Option<String> {
    let at = tokens.next()?.range.end;
    let comma = if tokens.next()?.kind == Kind::Close { "" } else { "," };
    replaced(text, at..at, &format!("{member}{comma}"))
}

fn replaced(text: &str, range: Range<usize>, by: &str) -> Option<String> {
    Some([text.get(..range.start)?, by, text.get(range.end..)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(body: &str) -> Option<String> {
        Some(match set_option(body.as_bytes(), "stream_options", "include_usage")? {
            Set::Already => "already".to_owned(),
            Set::Changed(body) => String::from_utf8(body).unwrap(),
        })
    }

    #[test]
    fn an_option_is_set_where_it_is_not_and_nothing_else_changes() {
        for (body, expected) in [
            (r#"{}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#" { "a": [1.0] } "#, r#" {"stream_options":{"include_usage":true}, "a": [1.0] } "#),
            (r#"{"stream_options":null}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{}}"#, r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#"{"stream_options":{"x":{"include_usage":true}}}"#,
                r#"{"stream_options":{"include_usage":true,"x":{"include_usage":true}}}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": false}}"#,
                r#"{"stream_options":{"include_usage": true}}"#,
            ),
            (
                r#"{"stream\u005foptions":{"include_usage":null}}"#,
                r#"{"stream\u005foptions":{"include_usage":true}}"#,
            ),
            (
                r#"{"a":{"stream_options":{}}}"#,
                r#"{"stream_options":{"include_usage":true},"a":{"stream_options":{}}}"#,
            ),
            (r#"{"stream_options":{"include_usage":true}}"#, "already"),
        ] {
            assert_eq!(set(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_left_alone() {
        for body in [
            "",
            "[]",
            "1",
            "{",
            r#"{"stream_options":1}"#,
            r#"{"stream_options":[{"include_usage":false}]}"#,
            r#"{"stream_options":{},"stream_options":{}}"#,
            r#"{"stream_options":{},"stream\u005foptions":{"include_usage":true}}"#,
            r#"{"stream_options":{"include_usage":false,"include_usage":true}}"#,
            r#"{"stream_options":{"include_usage":"yes"}}"#,
        ] {
            assert_eq!(set(body), None, "{body}");
        }
    }
}
