//! Comments of SQL, C and HTML.

/// Removes each comment; `--` and `#` end the value.
pub(super) fn remove(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    let mut inside = false;
    while let Some((first, after)) = rest.split_first() {
        let tail = |count: usize| rest.get(count..).unwrap_or_default();
        if inside {
            let end = if rest.starts_with(b"*/") {
                2
            } else if rest.starts_with(b"-->") {
                3
            } else {
                0
            };
            inside = end == 0;
            rest = if inside { after } else { tail(end) };
        } else if rest.starts_with(b"/*") {
            inside = true;
            rest = tail(2);
        } else if rest.starts_with(b"<!--") {
            inside = true;
            rest = tail(4);
        } else if rest.starts_with(b"--") || *first == b'#' {
            break;
        } else {
            output.push(*first);
            rest = after;
        }
    }
    if inside {
        output.push(b' ');
    }
    (output != input).then_some(output)
}

/// Removes the signs of comments and keeps what is between them.
pub(super) fn remove_signs(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    // All signs begin by one of five bytes; what is between them goes in one piece.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'/' | b'*' | b'<' | b'-' | b'#')) {
        let (before, sign) = rest.split_at_checked(at)?;
        output.extend_from_slice(before);
        rest = match sign {
            [b'/', b'*', behind @ ..]
            | [b'*', b'/', behind @ ..]
            | [b'<', b'!', b'-', b'-', behind @ ..]
            | [b'-', b'-', b'>', behind @ ..]
            | [b'-', b'-', behind @ ..]
            | [b'#', behind @ ..] => behind,
            [other, behind @ ..] => {
                output.push(*other);
                behind
            }
            [] => &[],
        };
    }
    output.extend_from_slice(rest);
    (output.len() != input.len()).then_some(output)
}

/// Puts a space in place of each comment; one that is not closed takes all that follows.
pub(super) fn replace(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    memchr::memmem::find(rest, b"/*")?;
    while let Some(start) = memchr::memmem::find(rest, b"/*") {
        output.extend_from_slice(rest.get(..start)?);
        output.push(b' ');
        rest = rest.get(start + 2..)?;
        rest = match memchr::memmem::find(rest, b"*/") {
            Some(end) => rest.get(end + 2..)?,
            None => &[],
        };
    }
    output.extend_from_slice(rest);
    Some(output)
}
