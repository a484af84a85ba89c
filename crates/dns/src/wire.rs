//! Names and numbers as DNS messages carry them (RFC 1035, section 4.1).
//!
//! Enters: bytes of a message. Leaves: numbers, and names in lower case with compression undone.
//! Guarantees: any bytes end in a value or in [`Malformed`]; a pointer leads only backwards, so that every name ends.
//! Does not: know what a record means.

use policy::DnsName;
use std::fmt::{self, Write};
use std::sync::Arc;
use thiserror::Error;

/// Length of a message's header.
pub const HEADER: usize = 12;

/// Most bytes of a name, with the root (RFC 1035, section 2.3.4).
pub const MAX_NAME: usize = 255;

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed DNS message: {0}")]
pub struct Malformed(pub &'static str);

/// A domain name in wire form: length-prefixed labels up to the root, lower case, no compression.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The name as policy speaks of it; `None` for the root and for names that are no host names.
    pub fn dns_name(&self) -> Option<DnsName> {
        if self.is_host_name() { DnsName::parse(&self.text()).ok() } else { None }
    }

    /// Whether policy can speak of it: the same as [`DnsName::parse`] says, without making text.
    pub fn is_host_name(&self) -> bool {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let good =
            |label: &[u8]| label.iter().all(plain) && !label.starts_with(b"-") && !label.ends_with(b"-");
        self.0.len() > 1 && self.labels().all(good)
    }

    /// Its text, in one allocation for most names.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        // A string takes everything.
        let _ = write!(text, "{self}");
        text
    }

    /// This name and every name above it, in wire form, without the root.
    pub fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let this = rest;
            let length = usize::from(*this.first()?);
            rest = this.get(1 + length..)?;
            (length > 0).then_some(this)
        })
    }

    fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.suffixes().filter_map(|suffix| suffix.get(1..=usize::from(*suffix.first()?)))
    }
}

impl From<&DnsName> for Name {
    fn from(name: &DnsName) -> Self {
        let mut wire = Vec::with_capacity(name.as_str().len() + 2);
        for label in name.as_str().split('.') {
            // A `DnsName` has labels of 1 to 63 bytes.
            wire.push(u8::try_from(label.len()).unwrap_or_default());
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self(wire.into())
    }
}

impl fmt::Display for Name {
    /// Text without the trailing dot; bytes that text cannot hold are escaped as in zone files. The root is `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 1 {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if let (true, Ok(text)) = (label.iter().all(plain), std::str::from_utf8(label)) {
                f.write_str(text)?;
                continue;
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a message from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The whole message up to the end of the next `length` bytes, so that pointers in them still lead somewhere.
    pub(crate) fn until(&self, length: usize) -> Result<Self, Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed("a length"))?;
        let bytes = self.bytes.get(..end).ok_or(Malformed("it ends within a record"))?;
        Ok(Self { bytes, at: self.at })
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed("a length"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed("it ends too early"))?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("a length"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// A name, which may end in a pointer to an earlier one.
    pub(crate) fn name(&mut self) -> Result<Name, Malformed> {
        let mut buffer = [0; MAX_NAME];
        let mut length = 0;
        let mut jumped: Option<Self> = None;
        // Where the part that is read began: a pointer from it must lead before that.
        let mut begun = self.at;
        loop {
            let here = jumped.as_mut().unwrap_or(self);
            let first = here.u8()?;
            match first {
                0 => break,
                1..=63 => {
                    let label = here.take(usize::from(first))?;
                    let end = length + 1 + label.len();
                    // One byte is left for the root.
                    if end >= MAX_NAME {
                        return Err(Malformed("a name of more than 255 bytes"));
                    }
                    if let Some((head, rest)) = buffer.get_mut(length..end).and_then(<[u8]>::split_first_mut)
                    {
                        *head = first;
                        rest.copy_from_slice(label);
                        rest.make_ascii_lowercase();
                    }
                    length = end;
                }
                0xc0.. => {
                    let target = usize::from(first & 0x3f) << 8 | usize::from(here.u8()?);
                    if target >= begun || target < HEADER {
                        return Err(Malformed("a name that points forward"));
                    }
                    begun = target;
                    jumped = Some(Self { bytes: self.bytes, at: target });
                }
                64..=0xbf => return Err(Malformed("a label of an unknown kind")),
            }
        }
        Ok(Self::finished(&buffer, length))
    }

    /// A name that must not be compressed.
    pub(crate) fn plain_name(&mut self) -> Result<Name, Malformed> {
        let from = self.at;
        let name = self.name()?;
        if self.at - from == name.wire().len() { Ok(name) } else { Err(Malformed("a compressed name")) }
    }

    fn finished(buffer: &[u8; MAX_NAME], length: usize) -> Name {
        // The byte behind the last label is still zero: the root.
        Name(buffer.get(..=length).unwrap_or(&[0]).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], at: usize) -> Result<String, Malformed> {
        Reader { bytes, at }.name().map(|name| name.to_string())
    }

    /// A message of nothing but a header, and `rest`.
    fn message(rest: &[u8]) -> Vec<u8> {
        [&[0; HEADER], rest].concat()
    }

    #[test]
    fn names_are_read_in_lower_case_with_pointers_followed() {
        let bytes = message(b"\x03wWw\x02A1\0\x01x\xc0\x10");
        assert_eq!(read(&bytes, 12), Ok("www.a1".to_owned()));
        assert_eq!(read(&bytes, 20), Ok("x.a1".to_owned()));
        assert_eq!(read(&message(b"\0"), 12), Ok(".".to_owned()));
        assert_eq!(read(&message(b"\x03a.\\\x01\x07\0"), 12), Ok("a\\.\\\\.\\007".to_owned()));
    }

    #[test]
    fn names_that_do_not_end_are_refused() {
        for (rest, why) in [
            (&b"\xc0\x0c"[..], "a name that points forward"),
            (b"\xc0\x0d\x01a\0", "a name that points forward"),
            (b"\x01a\xc0\x0c", "a name that points forward"),
            (b"\xc0\x00", "a name that points forward"),
            (b"\x01a", "it ends too early"),
            (b"\x05a\0", "it ends too early"),
            (b"\x40a\0", "a label of an unknown kind"),
        ] {
            assert_eq!(read(&message(rest), 12), Err(Malformed(why)), "{rest:?}");
        }
        let long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(4);
        assert!(read(&message(&[&long, &b"\0"[..]].concat()), 12).is_err(), "257 bytes");
    }

    #[test]
    fn a_dot_within_a_label_is_no_host_name() {
        let name = Reader { bytes: &message(b"\x03a.b\0"), at: 12 }.name().unwrap();
        assert_eq!(name.dns_name(), None);
    }

    proptest! {
        #[test]
        fn host_names_survive_the_way_over_the_wire(text in "[a-z0-9]{1,10}(\\.[a-z0-9_]{1,10}){0,5}") {
            let name = DnsName::parse(&text).unwrap();
            let wire = Name::from(&name);
            prop_assert_eq!(wire.dns_name(), Some(name));
            prop_assert_eq!(read(&message(wire.wire()), 12), Ok(text));
        }

        #[test]
        fn host_names_are_what_policy_says(labels in prop::collection::vec("[a-z0-9_.-]{1,6}", 0..4)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend_from_slice(label.as_bytes());
            }
            wire.push(0);
            let name = Reader { bytes: &message(&wire), at: 12 }.name().unwrap();
            // A dot within a label would read as two labels.
            let dotted = labels.iter().any(|label| label.contains('.'));
            let expected = !dotted && DnsName::parse(&labels.join(".")).is_ok();
            prop_assert_eq!(name.is_host_name(), expected);
            prop_assert_eq!(name.dns_name().is_some(), expected);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..400usize) {
            let mut reader = Reader { bytes: &bytes, at };
            if let Ok(name) = reader.name() {
                prop_assert!(name.wire().len() <= MAX_NAME && name.wire().last() == Some(&0));
            }
        }
    }
}
