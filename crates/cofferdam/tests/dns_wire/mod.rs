//! Questions and answers of DNS, as bytes.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::net::{Ipv4Addr, UdpSocket};

/// An answer with these addresses and a TTL of a second.
pub(crate) fn answer_with(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let mut answer = query[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

/// Response code and addresses that a name leads to; none if there was no answer.
pub(crate) fn query(socket: &UdpSocket, resolver: Ipv4Addr, name: &str) -> Option<(u8, Vec<Ipv4Addr>)> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.connect((resolver, 53)).unwrap();
    // Who is not there may have been said so by an earlier packet.
    let _ = socket.send(&query);
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    if length < query.len() || answer[..2] != query[..2] {
        return None;
    }
    let records = answer[query.len()..length].chunks(16).take(usize::from(answer[7]));
    let address = |record: &[u8]| <[u8; 4]>::try_from(record.get(12..16)?).ok().map(Ipv4Addr::from);
    Some((answer[3] & 15, records.filter_map(address).collect()))
}
