//! Entities of HTML: numbers, and the five names that matter to attacks.

const NAMES: [(&[u8], u8); 5] =
    [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 0xa0)];

pub(super) fn decode(input: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'&', input)?;
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some(start) = memchr::memchr(b'&', rest) {
        let (before, entity) = rest.split_at_checked(start)?;
        output.extend_from_slice(before);
        let (byte, taken) = one(entity).unwrap_or((b'&', 1));
        output.push(byte);
        rest = entity.get(taken..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    (output != input).then_some(output)
}

/// The byte of an entity and how long it is, its semicolon with it.
fn one(entity: &[u8]) -> Option<(u8, usize)> {
    let (byte, end) = match entity {
        [_, b'#', b'x' | b'X', digits @ ..] => number(digits, 16).map(|(byte, count)| (byte, 3 + count))?,
        [_, b'#', digits @ ..] => number(digits, 10).map(|(byte, count)| (byte, 2 + count))?,
        [_, name @ ..] => {
            let count = name.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            // A name that only begins by a known one is read as that one.
            let known =
                |known: &[u8]| name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
            NAMES.iter().find(|(text, _)| known(text)).map(|(_, byte)| (*byte, 1 + count))?
        }
        [] => return None,
    };
    Some((byte, end + usize::from(entity.get(end) == Some(&b';'))))
}

/// The low byte of a number, however many digits it has, and how many those are.
fn number(text: &[u8], radix: u32) -> Option<(u8, usize)> {
    let digits = text.iter().map_while(|byte| char::from(*byte).to_digit(radix));
    let add = |value: u32, digit: u32| value.wrapping_mul(radix).wrapping_add(digit);
    let (value, count) = digits.fold((0_u32, 0), |(value, count), digit| (add(value, digit), count + 1));
    (count > 0).then(|| (value.to_le_bytes().first().copied().unwrap_or_default(), count))
}
