//! The same bytes, split in two ways, are the same answer; a certificate is made of bytes that came, and more bytes change
//! nothing once it is known what it is.

use inspect::{ClientHello, Flight, ServerFlight};

pub(crate) fn run(input: (u8, bool, &[u8])) {
    let (size, offers_tls13, bytes) = input;
    let size = usize::from(size).max(1);
    let versions = if offers_tls13 { vec![0x0304, 0x0303] } else { vec![0x0303] };
    let hello = ClientHello { versions, ..ClientHello::default() };
    let mut reader = ServerFlight::answering(&hello);
    let whole = reader.push(bytes);
    let mut other = ServerFlight::answering(&hello);
    let split = bytes.chunks(size).fold(Flight::NeedMore, |_, part| other.push(part));
    assert_eq!(whole, split);
    if let Flight::Certificate(der) = &whole {
        assert!(!der.is_empty() && der.len() < bytes.len());
    }
    if whole != Flight::NeedMore {
        assert_eq!(reader.push(&[22; 9]), whole);
    }
}
