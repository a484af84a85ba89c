//! A resolver at pod `b`, and questions of pod `a`.

#![allow(clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use super::Machine;
pub(crate) use crate::dns_wire::{answer_with, query};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub(crate) const CDN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);

/// A resolver at pod `b`, which has the addresses that the names lead to.
pub(crate) struct Resolver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Any name leads to one address: those of the CDN to its own, others to the hub's.
    pub(crate) fn start(machine: &Machine) -> Self {
        machine.must("b", "ip addr add 203.0.113.7/32 dev lo; ip addr add 203.0.113.8/32 dev lo");
        machine.must("n", "ip route add 203.0.113.0/24 via 10.9.2.2");
        Self::start_with(machine, answer)
    }

    /// One that answers queries so.
    pub(crate) fn start_with(
        machine: &Machine,
        mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let socket = machine.at("b", || UdpSocket::bind((RESOLVER, 53)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut query = [0; 1500];
            while !end.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut query) {
                    let _ = socket.send_to(&answer(&query[..length]), from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn answer(query: &[u8]) -> Vec<u8> {
    let of_cdn = query.windows(4).any(|part| part == b"\x03cdn");
    answer_with(query, &[if of_cdn { CDN } else { HUB }])
}

/// The response code of a query of pod `a`; none if there was no answer.
pub(crate) fn ask(machine: &Machine, name: &str) -> Option<u8> {
    let name = name.to_owned();
    machine.at("a", move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        query(&socket, RESOLVER, &name).map(|(code, _)| code)
    })
}
