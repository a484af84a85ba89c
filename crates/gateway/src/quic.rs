//! The judgement of a QUIC connection, from its first datagrams. Pure; nobody forwards UDP yet.

use crate::decide::{Claim, Decision, Judge, Opening, Unreadable, decide};
use ::inspect::quic::{Initials, Outcome};
use std::net::{IpAddr, SocketAddr};

/// Judges what a pod's first datagrams to a destination say, in the order of their arrival. `None`: their hello is not
/// whole. A forwarder would have to hold them until then, and to judge anew whenever a first packet is of another
/// connection.
pub fn judge_quic<'a>(
    judge: &dyn Judge,
    pod: IpAddr,
    destination: SocketAddr,
    datagrams: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Decision> {
    let mut initials = Initials::new();
    let mut datagrams = datagrams.into_iter();
    let claim = loop {
        match initials.push(datagrams.next()?) {
            Outcome::NeedMore => {}
            Outcome::Hello(hello) => break Claim::Tls(hello),
            Outcome::NotQuic | Outcome::Version(_) => break Claim::Opaque,
            Outcome::Malformed(flaw) => break Claim::Unreadable(Unreadable::Tls(flaw)),
            Outcome::TooLarge => break Claim::Unreadable(Unreadable::TlsTooLarge),
        }
    };
    Some(decide(judge, Opening { pod, destination, claim }))
}
