//! The published vectors of both versions, and packets that rustls protects.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support::{Hello, rustls_hello};
use inspect::Flaw;
use inspect::quic::{Initials, Outcome};
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use rustls::{CipherSuite, Side};

/// Without spaces and line ends.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const DESTINATION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

/// Protects frames as the first packet number `number` of a client.
fn seal(version: Version, number: u64, mut frames: Vec<u8>, padded: usize) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    assert_eq!(TLS13_AES_128_GCM_SHA256.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    let keys = Keys::initial(version, suite, suite.quic.unwrap(), &DESTINATION, Side::Client);
    let (first, wire) = match version {
        Version::V2 => (0xd3, 0x6b33_43cf_u32),
        _ => (0xc3, 1),
    };
    let mut header = vec![first];
    header.extend(wire.to_be_bytes());
    header.push(8);
    header.extend(DESTINATION);
    header.extend([0, 0]);
    frames.resize(frames.len().max(padded.saturating_sub(header.len() + 2 + 4 + 16)), 0);
    let length = u16::try_from(4 + frames.len() + 16).unwrap() | 0x4000;
    header.extend(length.to_be_bytes());
    let number_at = header.len();
    header.extend(u32::try_from(number).unwrap().to_be_bytes());
    let tag = keys.local.packet.encrypt_in_place(number, &header, &mut frames).unwrap();
    let mut packet = [&header[..], &frames, tag.as_ref()].concat();
    let sample = packet[number_at + 4..number_at + 20].to_vec();
    let (front, rest) = packet.split_at_mut(number_at);
    keys.local.header.encrypt_in_place(&sample, &mut front[0], &mut rest[..4]).unwrap();
    packet
}

/// A CRYPTO frame.
fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let varint = |value: usize| (u16::try_from(value).unwrap() | 0x4000).to_be_bytes();
    [&[6][..], &varint(offset), &varint(bytes.len()), bytes].concat()
}

fn name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Hello(hello) => hello.sni.unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_vectors_of_rfc_9001_and_rfc_9369_are_read() {
    for vector in [include_str!("vectors/rfc9001-a2.hex"), include_str!("vectors/rfc9369-a2.hex")] {
        let datagram = hex(vector);
        assert_eq!(datagram.len(), 1200);
        let outcome = Initials::new().push(&datagram);
        let Outcome::Hello(hello) = outcome else { panic!("{outcome:?}") };
        assert_eq!(hello.sni.unwrap().as_str(), "example.com");
        assert_eq!(hello.alpn, ["alpn"]);
        assert_eq!(hello.versions, [0x0304]);
    }
}

#[test]
fn a_servers_packet_and_a_changed_one_do_not_open() {
    // RFC 9001, appendix A.3.
    let server = hex(
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3
        8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84
        022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
    );
    assert_eq!(Initials::new().push(&server), Outcome::Malformed(Flaw::Small));
    let mut datagram = hex(include_str!("vectors/rfc9001-a2.hex"));
    datagram[600] ^= 1;
    assert_eq!(Initials::new().push(&datagram), Outcome::Malformed(Flaw::Packet));
}

#[test]
fn a_post_quantum_hello_over_several_datagrams_in_any_order_is_read() {
    let message = rustls_hello("hub.example", true, false)[5..].to_vec();
    assert!(message.len() > 1300);
    for version in [Version::V1, Version::V2] {
        let parts: Vec<_> =
            message.chunks(500).enumerate().map(|(at, part)| crypto(at * 500, part)).collect();
        let mut order: Vec<usize> = (0..parts.len()).rev().collect();
        // Sent again, as after a loss.
        order.insert(1, parts.len() - 1);
        let mut initials = Initials::new();
        let outcomes: Vec<_> = order
            .iter()
            .zip(0..)
            .map(|(part, number)| initials.push(&seal(version, number, parts[*part].clone(), 1200)))
            .collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(before.iter().all(|outcome| *outcome == Outcome::NeedMore));
        assert_eq!(name(last.clone()), "hub.example");
    }
}

#[test]
fn packets_that_share_a_datagram_are_read() {
    let message = Hello::of("hub.example").message();
    let (left, right) = message.split_at(20);
    let datagram = [
        seal(Version::V1, 0, [crypto(20, right), vec![1]].concat(), 0),
        seal(Version::V1, 1, [vec![2, 0, 0, 0, 0], crypto(0, left)].concat(), 1200),
    ]
    .concat();
    assert_eq!(name(Initials::new().push(&datagram)), "hub.example");
}

#[test]
fn what_a_server_would_ignore_or_read_differently_is_refused() {
    let message = Hello::of("hub.example").message();
    let one = |frames: Vec<u8>| Initials::new().push(&seal(Version::V1, 0, frames, 1200));
    let small = seal(Version::V1, 0, crypto(0, &message), 600);
    assert_eq!(Initials::new().push(&small), Outcome::Malformed(Flaw::Small));
    let mut other = message.clone();
    *other.last_mut().unwrap() ^= 1;
    let overlap = [crypto(1, &message[1..]), crypto(0, &other)].concat();
    assert_eq!(one(overlap), Outcome::Malformed(Flaw::Overlap));
    assert_eq!(one(crypto(0, &[&message[..], b"x"].concat())), Outcome::Malformed(Flaw::Trailing));
    assert_eq!(one(crypto(0, &[2, 0, 0, 0])), Outcome::Malformed(Flaw::NotClientHello));
    assert_eq!(one(vec![8, 0]), Outcome::Malformed(Flaw::Frame));
    assert_eq!(one(crypto(0, &[1, 0xff, 0, 0])), Outcome::TooLarge);
    let far = [&[6, 0x80, 1, 0, 0, 1][..], b"x"].concat();
    assert_eq!(one(far), Outcome::TooLarge);
    // Another connection's packet on the same ports.
    let mut initials = Initials::new();
    assert_eq!(initials.push(&seal(Version::V1, 0, crypto(0, &message[..9]), 1200)), Outcome::NeedMore);
    assert_eq!(
        initials.push(&seal(Version::V2, 1, crypto(9, &message[9..]), 1200)),
        Outcome::Malformed(Flaw::Packet)
    );
}

#[test]
fn other_protocols_and_versions_are_told() {
    let first = |bytes: &[u8]| Initials::new().push(bytes);
    assert_eq!(first(&[]), Outcome::NotQuic);
    assert_eq!(first(b"\x40short header"), Outcome::NotQuic);
    assert_eq!(first(&[0xc0, 0, 0, 0, 0, 0, 0]), Outcome::NotQuic);
    assert_eq!(first(&[0xc0, 0xff, 0, 0, 29, 8, 0]), Outcome::Version(0xff00_001d));
    assert_eq!(first(&[0x80, 0, 0, 0, 1, 0, 0, 0, 0]), Outcome::NotQuic);
}

proptest! {
    #[test]
    fn any_bytes_end_without_panic(datagrams in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..1300), 1..4,
    )) {
        let mut initials = Initials::new();
        for datagram in datagrams {
            let _outcome = initials.push(&datagram);
        }
    }

    #[test]
    fn any_frames_end_without_panic_and_never_in_a_hello(frames in prop::collection::vec(any::<u8>(), 0..200)) {
        let outcome = Initials::new().push(&seal(Version::V1, 0, frames, 1200));
        prop_assert!(!matches!(outcome, Outcome::Hello(_) | Outcome::NotQuic));
    }

    #[test]
    fn how_a_hello_is_cut_and_ordered_does_not_matter(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        dice in any::<prop::sample::Index>(),
    ) {
        let message = Hello::of("hub.example").message();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len())).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let mut frames: Vec<_> =
            cuts.windows(2).map(|cut| crypto(cut[0], &message[cut[0]..cut[1]])).collect();
        let turn = dice.index(frames.len());
        frames.rotate_left(turn);
        let outcome = Initials::new().push(&seal(Version::V2, 7, frames.concat(), 1200));
        prop_assert_eq!(name(outcome), "hub.example");
    }
}
