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
    const SIGNS: [&[u8]; 6] = [b"/*", b"*/", b"<!--", b"-->", b"--", b"#"];
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((first, after)) = rest.split_first() {
        match SIGNS.iter().find_map(|sign| rest.strip_prefix(*sign)) {
            Some(behind) => rest = behind,
            None => {
                output.push(*first);
                rest = after;
            }
        }
    }
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
