//! Connections from their birth to their end, as conntrack reports them.
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use super::{Ended, Event, Flow, Tally};
use crate::mark::{Judged, Tag};
use crate::netlink::{Message, Parsed, Socket, messages};
use nix::errno::Errno;
use policy::{Protocol, Verdict};
use std::net::IpAddr;

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const CREATE: u16 = 0x400;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const MARK: u16 = 8;
const COUNTERS_ORIGINAL: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const ID: u16 = 12;

/// Multicast groups of new and of ended connections.
const GROUPS: u32 = 1 << 0 | 1 << 2;

pub(super) fn subscribe() -> Result<Socket, Errno> {
    let mut socket = Socket::open_groups(GROUPS)?;
    socket.grow_receive(8 << 20);
    Ok(socket)
}

/// Asks the kernel to count bytes and to report connections. Where that is not allowed, [`accounting`] says so.
pub(super) fn account() {
    for (path, value) in [(ACCOUNTING, "1"), (EVENTS, "1")] {
        // Refused: seen in what `accounting` reads back.
        let _refused = std::fs::write(path, value);
    }
}

const ACCOUNTING: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";
const EVENTS: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// The settings that events need, and whether they are on in the calling thread's network namespace.
pub(super) fn accounting() -> [(&'static str, bool); 2] {
    [ACCOUNTING, EVENTS]
        .map(|path| (path, std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")))
}

/// Appends the events in one datagram.
pub(super) fn events(bytes: &[u8], events: &mut Vec<Event>) {
    events.extend(messages(bytes).filter_map(event));
}

fn event(message: Message<'_>) -> Option<Event> {
    let attributes = message.attributes();
    let judged = Judged::from_mark(attributes.u32(MARK).unwrap_or(0));
    if judged.tag == Tag::NONE {
        return None;
    }
    let flow = flow(attributes)?;
    let id = attributes.u32(ID).unwrap_or(0);
    match message.kind {
        NEW if message.flags & CREATE != 0 => match judged.ruling.verdict {
            Verdict::Allow => Some(Event::Opened { flow, id, judged }),
            Verdict::Deny => None,
        },
        DELETE => {
            let sent = tally(attributes, COUNTERS_ORIGINAL);
            let received = tally(attributes, COUNTERS_REPLY);
            Some(Event::Closed(Ended { flow, id, judged, sent, received }))
        }
        _ => None,
    }
}

/// Who is connected, by the attributes of a connection.
pub(crate) fn flow(attributes: Parsed<'_>) -> Option<Flow> {
    let original = attributes.nest(TUPLE_ORIGINAL)?;
    let reply = attributes.nest(TUPLE_REPLY)?;
    let protocol = Protocol(original.nest(2)?.u8(1)?);
    let port = |tuple: Parsed<'_>| tuple.nest(2).and_then(|proto| proto.u16(2)).unwrap_or(0);
    Some(Flow {
        from: source(original)?,
        from_port: port(original),
        to: source(reply)?,
        to_port: port(reply),
        protocol,
    })
}

fn source(tuple: Parsed<'_>) -> Option<IpAddr> {
    let ip = tuple.nest(1)?;
    if let Some(v4) = ip.get(1) {
        return Some(<[u8; 4]>::try_from(v4).ok()?.into());
    }
    Some(<[u8; 16]>::try_from(ip.get(3)?).ok()?.into())
}

fn tally(attributes: Parsed<'_>, kind: u16) -> Tally {
    let Some(counters) = attributes.nest(kind) else { return Tally::default() };
    Tally { packets: counters.u64(1).unwrap_or(0), bytes: counters.u64(2).unwrap_or(0) }
}
