//! Paths: doubled slashes, `.` and `..` resolved without going above the start.

pub(super) fn normalize(input: &[u8]) -> Option<Vec<u8>> {
    let plain = |pair: &[u8]| !matches!(pair, b"//" | b"/." | b"./");
    if !input.starts_with(b".") && input.windows(2).all(plain) {
        return None;
    }
    let output = resolve(input);
    (output != input).then_some(output)
}

pub(super) fn normalize_win(input: &[u8]) -> Option<Vec<u8>> {
    if !input.contains(&b'\\') {
        return normalize(input);
    }
    let slashes: Vec<u8> = input.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    Some(normalize(&slashes).unwrap_or(slashes))
}

fn resolve(input: &[u8]) -> Vec<u8> {
    let absolute = input.starts_with(b"/");
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in input.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match kept.last() {
                Some(last) if *last != b".." => {
                    kept.pop();
                }
                _ if absolute => {}
                _ => kept.push(part),
            },
            name => kept.push(name),
        }
    }
    let mut output = Vec::with_capacity(input.len());
    if absolute {
        output.push(b'/');
    }
    output.extend_from_slice(&kept.join(&b'/'));
    if input.ends_with(b"/") && !output.is_empty() && !output.ends_with(b"/") {
        output.push(b'/');
    }
    output
}
