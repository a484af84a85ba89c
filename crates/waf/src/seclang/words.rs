//! Files to directives: lines that a backslash continues, comments, words in quotes.

use crate::error::{LoadError, LoadErrors};

/// Longest directive, continued lines together.
const MAX_DIRECTIVE: usize = 1 << 20;

/// One directive: its name and its words, quotes taken off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) words: Vec<Vec<u8>>,
}

/// Reads all directives of a file; faults go to `errors`.
pub(crate) fn directives(file: &str, bytes: &[u8], errors: &mut LoadErrors) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut fail = |line: usize, what: &str| {
        errors.push(LoadError { file: file.to_owned(), line, what: what.to_owned() });
    };
    for (line, text) in logical_lines(bytes) {
        if text.len() > MAX_DIRECTIVE {
            fail(line, "directive is longer than 1 MiB; split it");
            continue;
        }
        match split(&text) {
            Ok(words) => {
                let mut words = words.into_iter();
                let Some(first) = words.next() else { continue };
                let name = String::from_utf8_lossy(&first).into_owned();
                found.push(Directive { line, name, words: words.collect() });
            }
            Err(what) => fail(line, what),
        }
    }
    found
}

/// Lines without comments, those that end by a backslash joined with the next; each with the number of its first.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let trimmed = raw.trim_ascii();
        if trimmed.starts_with(b"#") || (open.is_none() && trimmed.is_empty()) {
            continue;
        }
        let (number, mut text) = open.take().unwrap_or((index + 1, Vec::new()));
        match raw.strip_suffix(b"\\") {
            Some(more) => {
                text.extend_from_slice(more);
                open = Some((number, text));
            }
            None => {
                text.extend_from_slice(raw);
                lines.push((number, text));
            }
        }
    }
    lines.extend(open);
    lines
}

/// Splits a line at blanks outside of quotes; within quotes `\"` is a quote and every other backslash stays.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while let Some((&first, after)) = rest.split_first() {
        let word = if first == b'"' {
            let (word, after) =
                quoted(after).ok_or("a quote is not closed; close it, or end the line by a backslash")?;
            rest = after;
            word
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = after;
            word.to_vec()
        };
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Ok(words)
}

fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut bytes = text.iter().copied().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((word, text.get(index + 1..)?)),
            b'\\' => {
                let (_, next) = bytes.next()?;
                if next != b'"' {
                    word.push(b'\\');
                }
                word.push(next);
            }
            other => word.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_comments_dropped_and_quotes_taken_off() {
        let text = b"# SecRule \\\nSecRule ARGS \\\n  \"@rx a\\\"b\\.c\" \\\n\"id:1\"\n\n  SecMarker X\r\n";
        let mut errors = LoadErrors::default();
        let found = directives("f", text, &mut errors);
        let seen: Vec<_> = found.iter().map(|d| (d.line, d.name.as_str(), d.words.len())).collect();
        assert_eq!(seen, [(2, "SecRule", 3), (6, "SecMarker", 1)]);
        assert_eq!(found[0].words[1], b"@rx a\"b\\.c");
        assert_eq!(errors, LoadErrors::default());
    }

    #[test]
    fn an_open_quote_is_a_fault_at_its_line() {
        let mut errors = LoadErrors::default();
        assert_eq!(directives("f", b"\nSecRule ARGS \"@rx a", &mut errors), []);
        assert_eq!(errors.errors[0].line, 2);
    }
}
