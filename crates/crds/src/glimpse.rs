//! What a text that is not well-formed was probably going to be.
//!
//! Enters: the text of one document. Leaves: its kind, name and namespace as far as they can be seen. Guarantees: reads
//! block style, flow style and JSON. Does not: parse; a guess is only ever used to close something.

use crate::meta::short;

/// What a text that is not well-formed says of itself, in block style, flow style or JSON.
#[derive(Default)]
pub(crate) struct Glimpse {
    pub(crate) kind: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
}

impl Glimpse {
    pub(crate) fn new(text: &str) -> Self {
        let mut found = Self::block(text);
        let metadata = text.find("metadata").and_then(|at| text.get(at..)).unwrap_or_default();
        let first = |text, name| fields(text, name).next();
        found.kind = found.kind.or_else(|| first(text, "kind"));
        found.api_version = found.api_version.or_else(|| first(text, "apiVersion"));
        found.name = found.name.or_else(|| first(metadata, "name"));
        found.namespace = found.namespace.or_else(|| first(metadata, "namespace"));
        found
    }

    /// Fields at the depth where block style has them: a label may be called "name" as well.
    fn block(text: &str) -> Self {
        let mut found = Self::default();
        let mut in_metadata = false;
        let mut indent = None;
        let depth = |row: &str| row.len() - row.trim_start().len();
        for row in text.lines() {
            let value = |name: &str| row.trim_start().starts_with(name).then(|| fields(row, name).next())?;
            let indented = row.starts_with([' ', '\t']);
            if !indented && !row.trim().is_empty() && !row.starts_with('#') {
                in_metadata = row.starts_with("metadata:");
                found.kind = found.kind.or_else(|| value("kind"));
                found.api_version = found.api_version.or_else(|| value("apiVersion"));
            } else if in_metadata && *indent.get_or_insert(depth(row)) == depth(row) {
                found.name = found.name.or_else(|| value("name"));
                found.namespace = found.namespace.or_else(|| value("namespace"));
            }
        }
        found
    }
}

/// The values of every scalar field of this name, wherever it stands.
pub(crate) fn fields<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = String> + 't {
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = text.get(..at)?.chars().next_back();
        let begins = before.is_none_or(|c| c.is_whitespace() || matches!(c, '{' | ',' | '"' | '\''));
        let rest = text.get(at + name.len()..)?.trim_start_matches(['"', '\'']).trim_start_matches(' ');
        let value = rest.strip_prefix(':')?.trim_start_matches(' ').trim_start_matches(['"', '\'']);
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']' | '{' | '[' | '"' | '\'' | '#');
        let value = value.split(ends).next()?;
        (begins && !value.is_empty()).then(|| short(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_is_seen() {
        for text in [
            "apiVersion: a/v1\nkind: K\nmetadata:\n  labels: {name: no}\n  name: n # here\n  namespace: \"s\"\nspec: {",
            "apiVersion: a/v1\nkind: K\nmetadata: {name: n, namespace: s}\nspec: [",
            "{\"apiVersion\": \"a/v1\", \"kind\": \"K\", \"metadata\": {\"namespace\":\"s\",\"name\" : \"n\"}, \"spec\": ",
            "{apiVersion: a/v1, kind: K, metadata: {name: 'n', namespace: 's'}",
        ] {
            let seen = Glimpse::new(text);
            let found =
                [seen.api_version, seen.kind, seen.name, seen.namespace].map(Option::unwrap_or_default);
            assert_eq!(found, ["a/v1", "K", "n", "s"], "{text}");
        }
    }

    #[test]
    fn a_field_is_a_whole_word_with_a_value() {
        let seen: Vec<_> =
            fields("a-kind: no\nkindness: no\nkind:\nkind: {x: y}\n  kind: yes", "kind").collect();
        assert_eq!(seen, ["yes"]);
    }
}
