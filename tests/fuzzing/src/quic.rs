//! Any bytes as datagrams, and any frames in a well protected packet, end in an outcome that stays.

use inspect::quic::{Initials, Outcome};
use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};

pub(crate) fn run(input: (bool, Vec<&[u8]>)) {
    let (protected, parts) = input;
    let mut initials = Initials::new();
    let mut last = Outcome::NeedMore;
    for (part, number) in parts.into_iter().take(32).zip(0..) {
        let datagram = if protected { seal(number, part) } else { padded(part.to_vec(), 1200) };
        let next = initials.push(&datagram);
        assert!(last == Outcome::NeedMore || last == next);
        assert!(!protected || !matches!(next, Outcome::NotQuic | Outcome::Malformed(inspect::Flaw::Packet)));
        last = next;
    }
}

fn padded(mut bytes: Vec<u8>, size: usize) -> Vec<u8> {
    bytes.resize(bytes.len().max(size), 0);
    bytes
}

/// The frames as a first packet of version 1, whose client chose the connection id 0102030405060708.
fn seal(number: u8, frames: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let id = [1, 2, 3, 4, 5, 6, 7, 8];
    let keys = Keys::initial(Version::V1, suite, suite.quic.unwrap(), &id, Side::Client);
    let mut frames = padded(frames[..frames.len().min(8000)].to_vec(), 1200);
    let length = u16::try_from(1 + frames.len() + 16).unwrap() | 0x4000;
    let header = [&[0xc0, 0, 0, 0, 1, 8][..], &id, &[0, 0], &length.to_be_bytes(), &[number]].concat();
    let tag = keys.local.packet.encrypt_in_place(number.into(), &header, &mut frames).unwrap();
    let mut packet = [&header[..], &frames, tag.as_ref()].concat();
    let at = header.len() - 1;
    let sample = packet[at + 4..at + 20].to_vec();
    let (front, rest) = packet.split_at_mut(at);
    keys.local.header.encrypt_in_place(&sample, &mut front[0], &mut rest[..1]).unwrap();
    packet
}
