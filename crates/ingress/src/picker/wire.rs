//! Messages of Envoy's external processing (`envoy.service.ext_proc.v3`), as far as endpoint pickers speak it: what is told to
//! one is written, and what it says is read.
//!
//! Enters and leaves: bytes of protobuf without the five of gRPC before them. Guarantees: fields that are not known are looked
//! past; what is no protobuf is an error; everything is bounded by the length of the message. Does not: know which message is due.

/// Largest message that is read, in bytes.
pub const MOST_MESSAGE: usize = 4 << 20;
/// Bytes of a body in one message.
pub const PIECE: usize = 64 * 1024;
/// `FULL_DUPLEX_STREAMED`
const FULL_DUPLEX: u64 = 4;
/// The header, and the key of metadata, by which a picker says whom it picked.
pub const DESTINATION: &str = "x-gateway-destination-endpoint";
/// The key of metadata by which a picker is told who answered.
const SERVED: &str = "x-gateway-destination-endpoint-served";
/// The namespace of both.
const NAMESPACE: &str = "envoy.lb";

/// What a picker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What it is about.
    pub about: About,
    /// Fields that the request is to have.
    pub set: Vec<(String, String)>,
    /// Fields that it is not to have.
    pub remove: Vec<String>,
    /// Whom its metadata names.
    pub destination: Option<String>,
}

/// What a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// What is not looked at.
    #[default]
    Other,
    /// The head of the request.
    Head,
    /// Its body.
    Body(Change),
    /// The answer that its client is to have: its status.
    Answer(u16),
}

/// What becomes of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// It stays.
    #[default]
    None,
    /// It becomes this.
    Whole(Vec<u8>),
    /// It becomes this and what comes after; whether that was the last.
    Piece(Vec<u8>, bool),
}

/// The first message: the head of a request. Names in lower case; `:method`, `:path`, `:authority` and `:scheme` are there.
pub fn head<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>, has_body: bool) -> Vec<u8> {
    let mut config = Vec::new();
    put_number(&mut config, 1, FULL_DUPLEX);
    let mut message = Vec::new();
    put(&mut message, 2, &http_headers(fields, !has_body));
    put(&mut message, 11, &config);
    message
}

/// A piece of its body.
pub fn piece(bytes: &[u8], is_last: bool) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, 1, bytes);
    put_number(&mut body, 2, u64::from(is_last));
    let mut message = Vec::new();
    put(&mut message, 4, &body);
    message
}

/// Who answered, and with which status.
pub fn served(by: &str, status: &str) -> Vec<u8> {
    let fields = [(":status", status.as_bytes())];
    let mut message = Vec::new();
    put(&mut message, 3, &http_headers(fields.into_iter(), true));
    let value = of(3, by.as_bytes());
    let inner = of(1, &entry(SERVED, &value));
    put(&mut message, 8, &of(1, &entry(NAMESPACE, &inner)));
    message
}

fn http_headers<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>, is_end: bool) -> Vec<u8> {
    let mut map = Vec::new();
    for (name, value) in fields {
        let mut field = Vec::new();
        put(&mut field, 1, name.as_bytes());
        put(&mut field, 3, value);
        put(&mut map, 1, &field);
    }
    let mut headers = of(1, &map);
    put_number(&mut headers, 3, u64::from(is_end));
    headers
}

/// One entry of a map by names.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut entry = of(1, key.as_bytes());
    put(&mut entry, 2, value);
    entry
}

/// A message with one field.
fn of(field: u64, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put(&mut message, field, bytes);
    message
}

fn put(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(message, field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_number(message: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_varint(message, field << 3);
        put_varint(message, number);
    }
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while let Some(low) = u8::try_from(number & 0x7f).ok().filter(|_| number > 0x7f) {
        message.push(low | 0x80);
        number >>= 7;
    }
    message.push(u8::try_from(number).unwrap_or_default());
}

/// Reads a message of a picker. `None`: it is none.
pub fn read(message: &[u8]) -> Option<Said> {
    let mut said = Said::default();
    each(message, &mut |field, value| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                said.about = About::Head;
                each_of(bytes, 1, &mut |common| common_response(common, &mut said).map(drop))?;
            }
            (3, Value::Bytes(bytes)) => {
                let mut change = Change::None;
                each_of(bytes, 1, &mut |common| {
                    change = common_response(common, &mut said)?;
                    Some(())
                })?;
                said.about = About::Body(change);
            }
            (7, Value::Bytes(bytes)) => said.about = About::Answer(status(bytes)?),
            (8, Value::Bytes(bytes)) => said.destination = metadata(bytes)?,
            (_, _) => {}
        }
        Some(())
    })?;
    Some(said)
}

/// What is to be changed; returns what becomes of the body.
fn common_response(message: &[u8], said: &mut Said) -> Option<Change> {
    let mut change = Change::None;
    each(message, &mut |field, value| {
        match (field, value) {
            (2, Value::Bytes(bytes)) => header_mutation(bytes, said)?,
            (3, Value::Bytes(bytes)) => change = body_mutation(bytes)?,
            (_, _) => {}
        }
        Some(())
    })?;
    Some(change)
}

fn header_mutation(message: &[u8], said: &mut Said) -> Option<()> {
    each(message, &mut |field, value| match (field, value) {
        (1, Value::Bytes(option)) => each_of(option, 1, &mut |header| {
            let (mut name, mut value) = (String::new(), String::new());
            each(header, &mut |field, text| {
                match (field, text) {
                    (1, Value::Bytes(text)) => name = utf8(text)?.to_ascii_lowercase(),
                    (2 | 3, Value::Bytes(text)) if !text.is_empty() => value = utf8(text)?,
                    (_, _) => {}
                }
                Some(())
            })?;
            said.set.push((name, value));
            Some(())
        }),
        (2, Value::Bytes(name)) => {
            said.remove.push(utf8(name)?.to_ascii_lowercase());
            Some(())
        }
        (_, _) => Some(()),
    })
}

fn body_mutation(message: &[u8]) -> Option<Change> {
    let mut change = Change::None;
    each(message, &mut |field, value| {
        match (field, value) {
            (1, Value::Bytes(bytes)) => change = Change::Whole(bytes.to_vec()),
            (2, Value::Number(1)) => change = Change::Whole(Vec::new()),
            (3, Value::Bytes(streamed)) => {
                let (mut piece, mut is_last) = (Vec::new(), false);
                each(streamed, &mut |field, value| {
                    match (field, value) {
                        (1, Value::Bytes(bytes)) => piece = bytes.to_vec(),
                        (2, Value::Number(number)) => is_last = number != 0,
                        (_, _) => {}
                    }
                    Some(())
                })?;
                change = Change::Piece(piece, is_last);
            }
            (_, _) => {}
        }
        Some(())
    })?;
    Some(change)
}

/// Of an ImmediateResponse.
fn status(message: &[u8]) -> Option<u16> {
    let mut status = 200;
    each_of(message, 1, &mut |http_status| {
        each(http_status, &mut |field, value| {
            if let (1, Value::Number(code)) = (field, value) {
                status = u16::try_from(code).ok()?;
            }
            Some(())
        })
    })?;
    Some(status)
}

/// Whom a Struct of metadata names.
fn metadata(message: &[u8]) -> Option<Option<String>> {
    let mut found = None;
    each_entry(message, NAMESPACE, &mut |value| {
        each_of(value, 5, &mut |inner| {
            each_entry(inner, DESTINATION, &mut |value| {
                each_of(value, 3, &mut |text| {
                    found = Some(utf8(text)?);
                    Some(())
                })
            })
        })
    })?;
    Some(found)
}

/// The values of a Struct under this key.
fn each_entry(message: &[u8], key: &str, see: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    each_of(message, 1, &mut |entry| {
        let (mut is_it, mut found) = (false, None);
        each(entry, &mut |field, value| {
            match (field, value) {
                (1, Value::Bytes(name)) => is_it = name == key.as_bytes(),
                (2, Value::Bytes(value)) => found = Some(value.to_vec()),
                (_, _) => {}
            }
            Some(())
        })?;
        found.filter(|_| is_it).map_or(Some(()), |value| see(&value))
    })
}

fn utf8(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// A value of a field.
#[derive(Clone, Copy)]
enum Value<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

fn each_of(message: &[u8], wanted: u64, see: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    each(message, &mut |field, value| match value {
        Value::Bytes(bytes) if field == wanted => see(bytes),
        Value::Bytes(_) | Value::Number(_) => Some(()),
    })
}

fn each(message: &[u8], see: &mut dyn FnMut(u64, Value<'_>) -> Option<()>) -> Option<()> {
    let mut rest = message;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => {
                take(&mut rest, 8)?;
                continue;
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => {
                take(&mut rest, 4)?;
                continue;
            }
            _ => return None,
        };
        see(tag >> 3, value)?;
    }
    Some(())
}

fn take<'m>(rest: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for at in 0..10_u32 {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(at * 7).filter(|moved| moved >> (at * 7) == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As protoc writes a HeadersResponse with a header, a field to remove, and metadata.
    #[test]
    fn what_a_picker_says_of_a_head_is_read() {
        let mut field = of(1, b"X-Gateway-Destination-Endpoint");
        put(&mut field, 3, b"10.0.0.1:8000");
        let mut mutation = of(1, &of(1, &field));
        put(&mut mutation, 2, b"x-gone");
        let mut message = of(1, &of(1, &of(2, &mutation)));
        let inner = of(1, &entry(DESTINATION, &of(3, b"10.0.0.1:8000")));
        put(&mut message, 8, &of(1, &entry(NAMESPACE, &of(5, &inner))));
        let said = read(&message).unwrap();
        assert_eq!(said.about, About::Head);
        assert_eq!(said.set, [(DESTINATION.to_owned(), "10.0.0.1:8000".to_owned())]);
        assert_eq!(said.remove, ["x-gone"]);
        assert_eq!(said.destination.as_deref(), Some("10.0.0.1:8000"));
    }

    #[test]
    fn pieces_answers_and_what_is_not_known_are_told_apart() {
        let mut streamed = of(1, b"abc");
        put_number(&mut streamed, 2, 1);
        let piece = of(3, &of(1, &of(3, &of(3, &streamed))));
        assert_eq!(read(&piece).unwrap().about, About::Body(Change::Piece(b"abc".to_vec(), true)));
        let mut code = Vec::new();
        put_number(&mut code, 1, 429);
        assert_eq!(read(&of(7, &of(1, &code))).unwrap().about, About::Answer(429));
        assert_eq!(read(&of(99, b"new")).unwrap().about, About::Other);
        assert_eq!(read(&[]).unwrap(), Said::default());
    }

    #[test]
    fn what_is_no_protobuf_is_nothing() {
        let never_ends = [0x80; 11];
        for bytes in [&b"\x0a\xff"[..], b"\x0a", b"\x0b", &never_ends, b"\x0a\x02\x0a\x05"] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        // Every cut of a good message ends in an error or in less.
        let good = of(1, &of(1, &of(2, &of(1, &of(1, &of(1, b"name"))))));
        for length in 0..good.len() {
            let _no_panic = read(good.get(..length).unwrap());
        }
    }

    #[test]
    fn a_head_is_written_as_the_definition_says() {
        let message = head([("a", &b"b"[..])].into_iter(), false);
        // request_headers {headers {headers {key raw_value}} end_of_stream}, protocol_config {request_body_mode}
        let expected = b"\x12\x0c\x0a\x08\x0a\x06\x0a\x01a\x1a\x01b\x18\x01\x5a\x02\x08\x04";
        assert_eq!(message, expected);
        assert_eq!(piece(b"x", true), b"\x22\x05\x0a\x01x\x10\x01");
    }
}
