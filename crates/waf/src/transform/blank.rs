//! Blanks, null bytes, case, and what shells ignore.

use super::is_blank;

/// The bytes that `keep` keeps.
fn keep(input: &[u8], keep: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let first = input.iter().position(|byte| !keep(*byte))?;
    let mut output = Vec::with_capacity(input.len());
    output.extend_from_slice(input.get(..first)?);
    output.extend(input.iter().skip(first).copied().filter(|byte| keep(*byte)));
    Some(output)
}

pub(super) fn lowercase(input: &[u8]) -> Option<Vec<u8>> {
    input.iter().any(u8::is_ascii_uppercase).then(|| input.to_ascii_lowercase())
}

pub(super) fn uppercase(input: &[u8]) -> Option<Vec<u8>> {
    input.iter().any(u8::is_ascii_lowercase).then(|| input.to_ascii_uppercase())
}

pub(super) fn remove_nulls(input: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(0, input)?;
    keep(input, |byte| byte != 0)
}

pub(super) fn replace_nulls(input: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(0, input)?;
    Some(input.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect())
}

/// Blanks go, and so does the non-breaking space: as Latin-1 has it, and both bytes that UTF-8 writes for it.
pub(super) fn remove(input: &[u8]) -> Option<Vec<u8>> {
    keep(input, |byte| !is_blank(byte) && !matches!(byte, 0xa0 | 0xc2))
}

/// Each run of blanks becomes one space.
pub(super) fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let mut before = false;
    let awkward = input.iter().any(|byte| {
        let blank = is_blank(*byte);
        let again = blank && (before || *byte != b' ');
        before = blank;
        again
    });
    if !awkward {
        return None;
    }
    let mut output = Vec::with_capacity(input.len());
    let mut before = false;
    for byte in input {
        let blank = is_blank(*byte);
        if !blank {
            output.push(*byte);
        } else if !before {
            output.push(b' ');
        }
        before = blank;
    }
    Some(output)
}

fn changed<'a>(input: &'a [u8], output: &'a [u8]) -> Option<Vec<u8>> {
    (input.len() != output.len()).then(|| output.to_vec())
}

fn start(input: &[u8]) -> &[u8] {
    let first = input.iter().position(|byte| !is_blank(*byte)).unwrap_or(input.len());
    input.get(first..).unwrap_or_default()
}

fn end(input: &[u8]) -> &[u8] {
    let last = input.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
    input.get(..last).unwrap_or_default()
}

pub(super) fn trim(input: &[u8]) -> Option<Vec<u8>> {
    changed(input, end(start(input)))
}

pub(super) fn trim_left(input: &[u8]) -> Option<Vec<u8>> {
    changed(input, start(input))
}

pub(super) fn trim_right(input: &[u8]) -> Option<Vec<u8>> {
    changed(input, end(input))
}

/// Takes away what shells of Unix and Windows ignore: quotes, carets and backslashes go, separators become one space,
/// spaces before a slash or parenthesis go, letters are lower case.
pub(super) fn cmd_line(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    let mut space = false;
    for byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !space {
                    output.push(b' ');
                }
                space = true;
            }
            b'/' | b'(' => {
                if space {
                    output.pop();
                }
                space = false;
                output.push(*byte);
            }
            other => {
                space = false;
                output.push(other.to_ascii_lowercase());
            }
        }
    }
    (output != input).then_some(output)
}
