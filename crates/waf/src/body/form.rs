//! Forms and queries: `name=value` pairs with percent escapes.

use super::{Limits, Pairs};
use crate::transform::decode_form;

/// Pairs of a form, and what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) pairs: Pairs,
    /// A percent sign without two digits behind it.
    pub(crate) bad_escape: bool,
    /// There were more pairs than the limit.
    pub(crate) too_many: bool,
}

/// Reads a form.
pub(crate) fn read(text: &[u8], separator: u8, limits: Limits) -> Form {
    let mut form = Form::default();
    for part in text.split(|byte| *byte == separator).filter(|part| !part.is_empty()) {
        if form.pairs.len() >= limits.arguments {
            form.too_many = true;
            break;
        }
        let end = memchr::memchr(b'=', part).unwrap_or(part.len());
        let name = decode_form(part.get(..end).unwrap_or_default());
        let value = decode_form(part.get(end + 1..).unwrap_or_default());
        form.bad_escape |= name.invalid || value.invalid;
        form.pairs.push((name.bytes, value.bytes));
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_bounded() {
        let form = read(b"a=1&b%20c=+x%41&&d&e=%zz", b'&', Limits { arguments: 9, depth: 1 });
        let pairs: Vec<_> =
            form.pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b c", b" xA"), (b"d", b""), (b"e", b"%zz")]);
        assert!(form.bad_escape && !form.too_many);
        assert!(read(b"a&b", b'&', Limits { arguments: 1, depth: 1 }).too_many);
    }
}
