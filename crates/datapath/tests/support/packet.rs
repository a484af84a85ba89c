//! Whole packets made by hand, for protocols without sockets here and sources nobody has.

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};
use policy::Protocol;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// Sends packets with their own network header, from the namespace of the thread that made it.
pub struct Sender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Sender {
    pub fn new() -> Self {
        let raw = |family| socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        Self { v4: raw(AddressFamily::Inet), v6: raw(AddressFamily::Inet6) }
    }

    /// To an address that is only known on an interface.
    pub fn send_on(&self, interface: &str, to: Ipv6Addr, packet: &[u8]) {
        let scope = if_nametoindex(interface).unwrap();
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
        sendto(self.v6.as_raw_fd(), packet, &to, MsgFlags::empty()).unwrap();
    }

    pub fn send(&self, to: IpAddr, packet: &[u8]) {
        let sent = match to {
            IpAddr::V4(v4) => {
                let to = SockaddrIn::from(SocketAddrV4::new(v4, 0));
                sendto(self.v4.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            IpAddr::V6(v6) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(v6, 0, 0, 0));
                sendto(self.v6.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
        };
        sent.unwrap();
    }
}

/// The first packet of a connection.
pub fn opening(from: IpAddr, to: IpAddr, protocol: Protocol, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut body = vec![];
    match protocol {
        Protocol::TCP => {
            body.extend(from_port.to_be_bytes());
            body.extend(to_port.to_be_bytes());
            body.extend([0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0x40, 0, 0, 0, 0, 0]);
            let sum = checksum(from, to, protocol, &body);
            body[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        Protocol::UDP => {
            body.extend(from_port.to_be_bytes());
            body.extend(to_port.to_be_bytes());
            body.extend([0, 12, 0, 0, 1, 2, 3, 4]);
            let sum = checksum(from, to, protocol, &body);
            body[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        Protocol::SCTP => {
            body.extend(from_port.to_be_bytes());
            body.extend(to_port.to_be_bytes());
            body.extend([0; 8]);
            // INIT: tag, window, one stream each way, first number.
            body.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            let sum = crc32c(&body);
            body[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        Protocol::ICMP | Protocol::ICMPV6 => {
            body.extend([if protocol == Protocol::ICMP { 8 } else { 128 }, 0, 0, 0]);
            body.extend(from_port.to_be_bytes());
            body.extend([0, 1]);
            let sum = if protocol == Protocol::ICMP {
                plain_checksum(&body)
            } else {
                checksum(from, to, protocol, &body)
            };
            body[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => body.extend([0; 16]),
    }
    network(from, to, protocol, 64, &body)
}

/// A network header before a body.
pub fn network(from: IpAddr, to: IpAddr, protocol: Protocol, hops: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0, 0, hops, protocol.0, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol.0, hops]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => panic!("both ends have one family"),
    };
    packet.extend_from_slice(body);
    packet
}

/// The Internet checksum with its pseudo header.
pub fn checksum(from: IpAddr, to: IpAddr, protocol: Protocol, body: &[u8]) -> u16 {
    let mut pseudo = vec![];
    for address in [from, to] {
        match address {
            IpAddr::V4(v4) => pseudo.extend(v4.octets()),
            IpAddr::V6(v6) => pseudo.extend(v6.octets()),
        }
    }
    pseudo.extend([0, protocol.0]);
    pseudo.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    fold(sum_of(&pseudo) + sum_of(body))
}

/// The Internet checksum without a pseudo header.
pub fn plain_checksum(body: &[u8]) -> u16 {
    fold(sum_of(body))
}

fn sum_of(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
