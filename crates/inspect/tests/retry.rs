//! A second hello is seen before it is let through, and what is none is left alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support::{Hello, records};
use inspect::retry::{RetryWatch, Watched};
use inspect::{ClientHello, Flaw, Outcome};

const CIPHERED: [u8; 6] = [20, 3, 3, 0, 1, 1];

fn first(early_data: bool) -> ClientHello {
    ClientHello { early_data, ..ClientHello::default() }
}

/// What all bytes at once are, which is what they are one by one.
fn watch(early_data: bool, bytes: &[u8]) -> Watched {
    let whole = RetryWatch::behind(&first(early_data)).push(bytes);
    let mut watch = RetryWatch::behind(&first(early_data));
    let single = bytes.iter().fold(Watched::Watching, |_, byte| watch.push(&[*byte]));
    assert_eq!(whole, single);
    whole
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, content].concat()
}

fn second_name(watched: &Watched) -> &str {
    match watched {
        Watched::Second(Outcome::Hello(hello)) => hello.sni.as_ref().unwrap().as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_hello_is_read_with_and_without_change_cipher_spec_and_in_small_records() {
    for before in [&[][..], &CIPHERED] {
        for size in [1, 3, 40, 1 << 14] {
            let bytes = [before, &records(&Hello::of("other.example").message(), size)].concat();
            assert_eq!(second_name(&watch(false, &bytes)), "other.example");
        }
    }
}

#[test]
fn no_byte_of_a_second_hello_is_let_go_before_it_is_whole() {
    let hello = records(&Hello::of("other.example").message(), 1 << 14);
    let mut watch = RetryWatch::behind(&first(false));
    for (at, byte) in hello[..hello.len() - 1].iter().enumerate() {
        assert_eq!(watch.push(&[*byte]), Watched::Watching);
        assert_eq!(watch.holding(), at + 1);
    }
}

#[test]
fn the_usual_ends_of_a_handshake_are_left_alone() {
    // TLS 1.3: ChangeCipherSpec and an encrypted Finished.
    let finished = record(23, &[9; 53]);
    assert_eq!(watch(false, &[&CIPHERED[..], &finished].concat()), Watched::Done);
    assert_eq!(watch(false, &finished), Watched::Done);
    // TLS 1.2: a key exchange; and with a resumed session only an encrypted Finished.
    assert_eq!(watch(false, &record(22, &[16, 0, 0, 33])), Watched::Done);
    assert_eq!(watch(false, &[&CIPHERED[..], &record(22, &[0; 40])].concat()), Watched::Done);
    // Also where its first byte is that of a hello by chance.
    assert_eq!(watch(false, &[&CIPHERED[..], &record(22, &[1; 40])].concat()), Watched::Done);
}

#[test]
fn behind_early_data_a_second_hello_is_still_seen() {
    let hello = records(&Hello::of("other.example").message(), 1 << 14);
    let bytes = [&CIPHERED[..], &record(23, &[1; 900]), &record(23, &[2; 9]), &hello].concat();
    assert_eq!(second_name(&watch(true, &bytes)), "other.example");
    assert_eq!(watch(false, &bytes), Watched::Done);
}

#[test]
fn an_empty_record_before_the_second_hello_does_not_hide_it() {
    let bytes = [record(22, &[]), records(&Hello::of("other.example").message(), 1 << 14)].concat();
    assert_eq!(watch(false, &bytes), Watched::Second(Outcome::Malformed(Flaw::Record)));
}
