//! Any bytes as a message of an endpoint picker: what it says is no longer than the message, and fields come by in lower case.

use ingress::picker_wire::{About, Change, read};

pub(crate) fn run(bytes: &[u8]) {
    let Some(said) = read(bytes) else { return };
    let fields = said.set.iter().flat_map(|(name, value)| [name, value]).chain(&said.remove);
    let mut length: usize = fields.map(String::len).sum();
    length += said.destination.as_ref().map_or(0, String::len);
    if let About::Body(Change::Whole(body) | Change::Piece(body, _)) = &said.about {
        length += body.len();
    }
    assert!(length <= bytes.len().max(1) * 2, "{length} bytes out of {}", bytes.len());
    let names = said.set.iter().map(|(name, _)| name).chain(&said.remove);
    assert!(names.into_iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
}
