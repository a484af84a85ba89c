//! Hellos made by hand, and by real clients: what is read is what the client was told to ask for, however it arrives.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support::{Hello, extension, listed_name, records, rustls_hello};
use inspect::{ClientHello, Flaw, HelloReader, MAX_HELLO, Outcome};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Outcome {
    HelloReader::new().push(bytes)
}

fn byte_by_byte(bytes: &[u8]) -> Outcome {
    let mut reader = HelloReader::new();
    bytes.iter().fold(Outcome::NeedMore, |_, byte| reader.push(&[*byte]))
}

fn check(hello: &Hello, expected: &Outcome) {
    let bytes = records(&hello.message(), 1 << 14);
    assert_eq!(&read(&bytes), expected);
    assert_eq!(&byte_by_byte(&bytes), expected);
}

fn facts(outcome: Outcome) -> ClientHello {
    match outcome {
        Outcome::Hello(hello) => hello,
        other => panic!("not a hello: {other:?}"),
    }
}

#[test]
fn a_hello_gives_its_name_protocols_and_versions() {
    let bytes = records(&Hello::of("Model.Example.").message(), 1 << 14);
    let hello = facts(read(&bytes));
    assert_eq!(hello.sni.unwrap().as_str(), "model.example");
    assert_eq!(hello.versions, [0x0303]);
    assert!(!hello.ech && !hello.early_data && hello.alpn.is_empty());
}

#[test]
fn a_hello_without_extensions_has_no_name() {
    let hello = Hello { extensions: None };
    assert_eq!(facts(read(&records(&hello.message(), 1 << 14))).sni, None);
}

#[test]
fn every_prefix_needs_more() {
    let bytes = records(&Hello::of("model.example").message(), 50);
    for length in 0..bytes.len() {
        assert_eq!(read(&bytes[..length]), Outcome::NeedMore, "{length} of {}", bytes.len());
    }
}

#[test]
fn a_hello_over_records_of_one_byte_is_read() {
    let bytes = records(&Hello::of("model.example").message(), 1);
    assert_eq!(facts(byte_by_byte(&bytes)).sni.unwrap().as_str(), "model.example");
}

#[test]
fn what_is_not_tls_is_told_at_once() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x80, 0x2e, 1, 3, 1], &[22, 2]] {
        assert_eq!(read(bytes), Outcome::NotTls, "{bytes:?}");
    }
}

#[test]
fn what_servers_could_read_differently_is_a_flaw() {
    let name = |data: Vec<u8>| Hello { extensions: Some(vec![extension(0, &data)]) };
    let two = [listed_name(0, b"a.example"), listed_name(0, b"b.example")].concat();
    let list = |entries: &[u8]| {
        let length = u16::try_from(entries.len()).unwrap().to_be_bytes();
        [&length[..], entries].concat()
    };
    check(&name(list(&two)), &Outcome::Malformed(Flaw::ServerName));
    check(&name(list(&[])), &Outcome::Malformed(Flaw::ServerName));
    check(&name(vec![]), &Outcome::Malformed(Flaw::ServerName));
    check(&name(list(&listed_name(1, b"a.example"))), &Outcome::Malformed(Flaw::ServerName));
    check(&name(list(&listed_name(0, b"a.example\0.b"))), &Outcome::Malformed(Flaw::ServerName));
    check(&name(list(&listed_name(0, b""))), &Outcome::Malformed(Flaw::ServerName));
    check(
        &name([list(&listed_name(0, b"a.example")), vec![0]].concat()),
        &Outcome::Malformed(Flaw::ServerName),
    );
    let mut twice = Hello::of("a.example");
    twice.extensions.as_mut().unwrap().extend(Hello::of("b.example").extensions.unwrap());
    check(&twice, &Outcome::Malformed(Flaw::DuplicateExtension));
    check(&Hello { extensions: Some(vec![vec![0, 16, 0, 9, 1]]) }, &Outcome::Malformed(Flaw::Length));
}

#[test]
fn bytes_behind_the_hello_in_its_record_are_a_flaw_and_in_the_next_are_not_read() {
    let message = Hello::of("model.example").message();
    let trailing = records(&[&message[..], b"x"].concat(), 1 << 14);
    assert_eq!(read(&trailing), Outcome::Malformed(Flaw::Trailing));
    let next = [records(&message, 1 << 14), vec![23, 3, 3, 0, 1, 0]].concat();
    let mut reader = HelloReader::new();
    let _hello = facts(reader.push(&next));
    assert_eq!(reader.consumed(), next.len() - 6);
}

#[test]
fn other_messages_empty_records_and_too_much_are_refused() {
    assert_eq!(read(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Outcome::Malformed(Flaw::NotClientHello));
    assert_eq!(read(&[22, 3, 1, 0, 0]), Outcome::Malformed(Flaw::Record));
    assert_eq!(read(&[22, 3, 1, 0x40, 1]), Outcome::Malformed(Flaw::Record));
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 0xff, 0, 0]), Outcome::TooLarge);
    let endless = records(&[&[1, 0, 0xff, 0][..], &vec![0; MAX_HELLO]].concat(), 1);
    assert_eq!(read(&endless), Outcome::TooLarge);
    assert_eq!(byte_by_byte(&endless), Outcome::TooLarge);
}

#[test]
fn encrypted_hello_and_early_data_are_told() {
    for kind in [0xfe0d, 0xffce] {
        let hello = Hello { extensions: Some(vec![extension(kind, &[0, 0])]) };
        assert!(facts(read(&records(&hello.message(), 100))).ech);
    }
    let hello = Hello { extensions: Some(vec![extension(42, &[])]) };
    assert!(facts(read(&records(&hello.message(), 100))).early_data);
}

#[test]
fn hellos_of_rustls_are_read_also_with_post_quantum_keys_and_grease() {
    for (post_quantum, grease) in [(false, false), (true, false), (true, true)] {
        let bytes = rustls_hello("hub.example", post_quantum, grease);
        assert_eq!(post_quantum, bytes.len() > 1300, "{} bytes", bytes.len());
        let hello = facts(byte_by_byte(&bytes));
        assert_eq!(hello.sni.as_ref().unwrap().as_str(), "hub.example");
        assert_eq!(hello.alpn, ["h2", "http/1.1"]);
        assert!(hello.versions.contains(&0x0304));
        assert_eq!(hello.ech, grease);
    }
}

/// Bytes near to a hello: one with some bytes changed, in records of some size.
fn near_hello() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (1..200_usize, prop::collection::vec(change, 0..4), any::<bool>()).prop_map(|(size, changes, rustls)| {
        let message = if rustls {
            rustls_hello("hub.example", false, false)[5..].to_vec()
        } else {
            Hello::of("model.example").message()
        };
        let mut bytes = records(&message, size);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn how_bytes_are_split_does_not_matter(
        bytes in prop_oneof![near_hello(), prop::collection::vec(any::<u8>(), 0..300)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut reader = HelloReader::new();
        let split = cuts.windows(2).fold(Outcome::NeedMore, |_, cut| reader.push(&bytes[cut[0]..cut[1]]));
        prop_assert_eq!(&split, &read(&bytes));
        prop_assert_eq!(&split, &byte_by_byte(&bytes));
    }
}
