//! Answers made by hand: the certificate is found where it is in clear, however it arrives.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support::{extension, records};
use inspect::{ClientHello, Flaw, Flight, MAX_FLIGHT, ServerFlight, Unseen};
use proptest::prelude::*;

const CIPHERED: [u8; 6] = [20, 3, 3, 0, 1, 1];
const TLS_1_3: [u8; 2] = [3, 4];
const FIRST: &[u8] = b"the server's own";

fn offering(versions: &[u16]) -> ServerFlight {
    ServerFlight::answering(&ClientHello { versions: versions.to_vec(), ..ClientHello::default() })
}

fn reader() -> ServerFlight {
    offering(&[0x0304, 0x0303])
}

fn byte_by_byte(bytes: &[u8]) -> Flight {
    let mut reader = reader();
    bytes.iter().fold(Flight::NeedMore, |_, byte| reader.push(&[*byte]))
}

fn check(bytes: &[u8], expected: &Flight) {
    assert_eq!(&reader().push(bytes), expected);
    assert_eq!(&byte_by_byte(bytes), expected);
}

/// A handshake message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &length[1..], body].concat()
}

/// A ServerHello, without extensions unless there are some.
fn server_hello(version: [u8; 2], extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = [&version[..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
    if let Some(extensions) = extensions {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    message(2, &body)
}

fn certificates(all: &[&[u8]]) -> Vec<u8> {
    let part = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat();
    let list: Vec<u8> = all.iter().flat_map(|one| part(one)).collect();
    message(11, &part(&list))
}

fn tls12() -> Vec<u8> {
    server_hello([3, 3], None)
}

/// A whole flight of TLS 1.2.
fn full() -> Vec<u8> {
    [tls12(), certificates(&[FIRST, b"its issuer"]), message(12, &[5; 70]), message(14, &[])].concat()
}

fn found() -> Flight {
    Flight::Certificate(FIRST.to_vec())
}

#[test]
fn the_first_certificate_is_found_in_records_of_every_size_and_in_those_of_several_messages() {
    for size in [1, 3, 4, 5, 40, 1 << 14] {
        check(&records(&full(), size), &found());
    }
    let apart = [records(&tls12(), 1 << 14), records(&certificates(&[FIRST]), 7)].concat();
    check(&apart, &found());
}

#[test]
fn every_prefix_up_to_the_end_of_the_certificate_needs_more() {
    let bytes = records(&[tls12(), certificates(&[FIRST, b"its issuer"])].concat(), 50);
    for length in 0..bytes.len() {
        assert_eq!(reader().push(&bytes[..length]), Flight::NeedMore, "{length} of {}", bytes.len());
    }
    check(&bytes, &found());
}

#[test]
fn nothing_is_seen_in_tls_1_3_also_where_the_hello_is_asked_for_again() {
    let hello = server_hello([3, 3], Some(&extension(43, &TLS_1_3)));
    let encrypted = Flight::Nothing(Unseen::Encrypted);
    check(&records(&hello, 1 << 14), &encrypted);
    check(&[&records(&hello, 1 << 14)[..], &CIPHERED, &[23, 3, 3, 0, 1, 0]].concat(), &encrypted);
    // Who did not offer it reads something else or nothing.
    assert_eq!(offering(&[0x0303]).push(&records(&hello, 1 << 14)), Flight::Malformed(Flaw::Version));
}

#[test]
fn nothing_is_seen_where_there_is_no_certificate() {
    let hello = records(&tls12(), 1 << 14);
    let behind = |more: &[u8]| [&hello[..], more].concat();
    let handshake = |kind, body: &[u8]| records(&message(kind, body), 1 << 14);
    check(&behind(&CIPHERED), &Flight::Nothing(Unseen::Resumed));
    check(&behind(&[&handshake(4, &[1; 200])[..], &CIPHERED].concat()), &Flight::Nothing(Unseen::Resumed));
    check(&behind(&handshake(12, &[1; 70])), &Flight::Nothing(Unseen::NoCertificate));
    check(&behind(&handshake(14, &[])), &Flight::Nothing(Unseen::NoCertificate));
    check(&[21, 3, 3, 0, 2, 2, 40], &Flight::Nothing(Unseen::Ended));
    check(&behind(&[21, 3, 3, 0, 2, 1, 0]), &Flight::Nothing(Unseen::Ended));
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"220 mail", &[23, 3, 3], &[22, 2], &[20, 9]] {
        check(bytes, &Flight::Nothing(Unseen::NotTls));
    }
}

#[test]
fn what_may_come_before_a_certificate_is_passed_over() {
    // A server that does not know the name says so, and goes on with the certificate it has.
    let unknown_name = [21, 3, 3, 0, 2, 1, 112];
    let hello_request = records(&message(0, &[]), 1 << 14);
    let supplement = records(&message(23, &[0; 9]), 1 << 14);
    for before in [&unknown_name[..], &hello_request] {
        check(&[before, &records(&full(), 1 << 14)].concat(), &found());
    }
    let certificate = records(&certificates(&[FIRST]), 1 << 14);
    for between in [&unknown_name[..], &hello_request, &supplement] {
        check(&[&records(&tls12(), 1 << 14)[..], between, &certificate].concat(), &found());
    }
}

#[test]
fn what_clients_refuse_or_read_differently_is_a_flaw() {
    let order = Flight::Malformed(Flaw::Order);
    let hello = records(&tls12(), 1 << 14);
    let certificate = records(&certificates(&[FIRST]), 1 << 14);
    let behind = |more: &[u8]| [&hello[..], more].concat();
    check(&certificate, &order);
    check(&CIPHERED, &order);
    check(&behind(&hello), &order);
    check(&behind(&[23, 3, 3, 0, 1, 0]), &order);
    check(&[&records(&tls12(), 9)[..14], &[21, 3, 3, 0, 2, 1, 112]].concat(), &order);
    check(&behind(&records(&message(13, &[0; 4]), 1 << 14)), &order);
    for broken in [
        &[22, 3, 3, 0, 0][..],
        &[22, 3, 3, 0x40, 1],
        &[22, 2],
        &[20, 3, 3, 0, 1, 2],
        &[20, 3, 3, 0, 2],
        &[21, 3, 3, 0, 3],
        &[21, 3, 3, 0, 2, 3, 40],
    ] {
        check(&behind(broken), &Flight::Malformed(Flaw::Record));
    }
}

#[test]
fn versions_lengths_and_lists_must_be_sound() {
    let answer = |message: Vec<u8>| records(&message, 1 << 14);
    let version = Flight::Malformed(Flaw::Version);
    let later = extension(43, &TLS_1_3);
    check(&answer(server_hello([3, 4], None)), &version);
    check(&answer(server_hello([2, 0], None)), &version);
    check(&answer(server_hello([3, 1], Some(&later))), &version);
    check(&answer(server_hello([3, 3], Some(&extension(43, &[3, 3])))), &version);
    check(&answer(server_hello([3, 0], Some(&[]))), &Flight::NeedMore);
    let twice = [&later[..], &later].concat();
    check(&answer(server_hello([3, 3], Some(&twice))), &Flight::Malformed(Flaw::DuplicateExtension));
    check(&answer(server_hello([3, 3], Some(&extension(43, &[3])))), &Flight::Malformed(Flaw::List));
    let length = Flight::Malformed(Flaw::Length);
    check(&answer(server_hello([3, 3], Some(&[0, 9, 0, 9]))), &length);
    check(&answer(message(2, &[3, 3])), &length);
    check(&answer(message(2, &[&[3, 3][..], &[7; 32], &[0, 0, 0, 0, 0, 0, 1]].concat())), &length);
    check(&answer(message(0, &[1])), &length);
    for body in [&[][..], &[0, 0, 0], &[0, 0, 3, 0, 0, 0], &[0, 0, 9, 0, 0, 1, 7], &[0, 0, 4, 0, 0, 1, 7, 0]]
    {
        let bytes = answer([tls12(), message(11, body)].concat());
        check(&bytes, &Flight::Malformed(Flaw::List));
    }
}

#[test]
fn too_much_is_told_by_its_length_and_by_its_bytes() {
    check(&records(&[&tls12()[..], &[11, 4, 0, 0]].concat(), 1 << 14), &Flight::TooLarge);
    let endless = records(&message(0, &[]), 1 << 14).repeat(MAX_FLIGHT / 9 + 1);
    check(&endless, &Flight::TooLarge);
    let large = vec![7; MAX_FLIGHT - 1000];
    check(&records(&[tls12(), certificates(&[&large])].concat(), 1 << 14), &Flight::Certificate(large));
}

/// Bytes near to an answer: one with some bytes changed, in records of some size.
fn near_answer() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let kinds = prop_oneof![
        Just(full()),
        Just(tls12()),
        Just([tls12(), message(4, &[1; 20])].concat()),
        Just(server_hello([3, 3], Some(&extension(43, &TLS_1_3)))),
    ];
    let signals = prop_oneof![Just(&[][..]), Just(&CIPHERED[..]), Just(&[21, 3, 3, 0, 2, 1, 112][..])];
    let parts = (kinds, signals.clone(), signals, 1..200_usize, prop::collection::vec(change, 0..4));
    parts.prop_map(|(message, before, behind, size, changes)| {
        let mut bytes = [before, &records(&message, size), behind].concat();
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
        bytes in prop_oneof![near_answer(), prop::collection::vec(any::<u8>(), 0..300)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut split = reader();
        let split = cuts.windows(2).fold(Flight::NeedMore, |_, cut| split.push(&bytes[cut[0]..cut[1]]));
        prop_assert_eq!(&split, &reader().push(&bytes));
        prop_assert_eq!(&split, &byte_by_byte(&bytes));
    }
}
