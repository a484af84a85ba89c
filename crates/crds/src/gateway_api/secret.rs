//! `v1` Secret of type `kubernetes.io/tls`: a certificate and its key. Other Secrets are not read at all.
//!
//! Guarantees: the key is printed by nothing; not by `Debug`, not in a diagnostic.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Position};
use crate::document::{Node, Value};
use crate::meta::{ObjectMeta, Scope};
use std::fmt;

/// A certificate and its key, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSecret {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// `tls.crt`: a chain in PEM, the server's own certificate first. Empty: not written or not readable.
    pub certificate: Vec<u8>,
    /// `tls.key`: in PEM. Empty: not written or not readable.
    pub key: Hidden,
}

/// Bytes that are printed by nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl TlsSecret {
    /// Whether the object has this type; Secrets of other types are nothing that is read.
    pub(crate) fn is_one(object: Map<'_>) -> bool {
        let kind = object.get("type").map(|node| &node.value);
        matches!(kind, Some(Value::Scalar { text, .. }) if text == "kubernetes.io/tls")
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let mut secret = Self {
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, false),
            position: d.position(object.place),
            certificate: Vec::new(),
            key: Hidden::default(),
        };
        d.field(object, "data", |d, node| {
            let map = d.map(node)?;
            secret.certificate = d.field(map, "tls.crt", encoded).flatten().unwrap_or_default();
            secret.key = Hidden(d.field(map, "tls.key", encoded).flatten().unwrap_or_default());
            Some(())
        });
        // As the API server does: what is written in clear wins.
        d.field(object, "stringData", |d, node| {
            let map = d.map(node)?;
            if let Some(text) = d.field(map, "tls.crt", clear).flatten() {
                secret.certificate = text;
            }
            if let Some(text) = d.field(map, "tls.key", clear).flatten() {
                secret.key = Hidden(text);
            }
            Some(())
        });
        secret
    }
}

/// Text that no diagnostic repeats.
fn hidden<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::Sequence(_) | Value::Mapping(_) => {
            d.error(node.place, Code::WrongType, "text is needed");
            None
        }
    }
}

pub(crate) fn clear<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<u8>> {
    hidden(d, node).map(|text| text.as_bytes().to_vec())
}

pub(crate) fn encoded<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<u8>> {
    let bytes = base64(hidden(d, node)?);
    if bytes.is_none() {
        d.error(node.place, Code::InvalidValue, "it is not in base64");
    }
    bytes
}

/// RFC 4648, section 4; line breaks are looked past, padding must be right.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let body = digits.strip_suffix(b"==").or(digits.strip_suffix(b"=")).unwrap_or(&digits);
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len());
    let (mut bits, mut kept) = (0_u32, 0);
    for digit in body {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            bytes.push(u8::try_from(bits >> kept & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10, and what is none.
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9v\nYmFy\n", Some("foobar")),
            ("Zg=", None),
            ("Zg", None),
            ("Z===", None),
            ("Zm9v!mFy", None),
            ("-_-_", None),
        ] {
            assert_eq!(base64(text), expected.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }
}
