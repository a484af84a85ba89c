//! Tags come round again after 1023 changes of state, and begin again with a new table. Before that, connections that
//! were idle all the while must lose their old tag, or they would look judged.
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use crate::error::ApplyError;
use crate::events::flow;
use crate::mark::{Judged, Tag};
use crate::netlink::{ACK, DUMP, Messages, Socket, TransactError};
use std::collections::HashSet;
use std::net::IpAddr;

const GET: u16 = 1 << 8 | 1;
const NEW: u16 = 1 << 8;
const TUPLE_ORIGINAL: u16 = 1;
const MARK: u16 = 8;
const ZONE: u16 = 18;
const NESTED: u16 = 0x8000;
/// Updates per send.
const CHUNK: usize = 500;

/// Whether connections should be swept when this tag comes into force: three times per round.
pub(super) fn is_due(tag: Tag) -> bool {
    tag.number().is_multiple_of(256)
}

/// Which of these pairs, source and real destination, have a connection.
pub(super) fn connected(
    socket: &mut Socket,
    pairs: &HashSet<(IpAddr, IpAddr)>,
) -> Result<HashSet<(IpAddr, IpAddr)>, ApplyError> {
    let mut messages = socket.messages();
    let first = messages.push(GET, DUMP, 0, 0, |_| {});
    let mut found = HashSet::new();
    socket
        .query(&messages, |message| {
            let Some(flow) = flow(message.attributes()) else { return };
            let pair = (flow.from, flow.to);
            if pairs.contains(&pair) {
                found.insert(pair);
            }
        })
        .map_err(|error| ApplyError::from_transact(error, &[(first, "listing connections".to_owned())]))?;
    Ok(found)
}

/// A connection to be forgotten.
struct Stale {
    family: u8,
    tuple: Vec<u8>,
    zone: Option<u16>,
}

/// Takes the mark of every judged connection that is to be forgotten; its next packet is judged.
pub(super) fn forget(socket: &mut Socket, which: impl Fn(Judged) -> bool) -> Result<usize, ApplyError> {
    let mut messages = socket.messages();
    let first = messages.push(GET, DUMP, 0, 0, |_| {});
    let mut stale = Vec::new();
    socket
        .query(&messages, |message| {
            let attributes = message.attributes();
            let judged = Judged::from_mark(attributes.u32(MARK).unwrap_or(0));
            if judged.tag == Tag::NONE || !which(judged) {
                return;
            }
            let Some(tuple) = attributes.get(TUPLE_ORIGINAL) else { return };
            let family = message.payload.first().copied().unwrap_or(0);
            stale.push(Stale { family, tuple: tuple.to_vec(), zone: attributes.u16(ZONE) });
        })
        .map_err(|error| ApplyError::from_transact(error, &[(first, "listing connections".to_owned())]))?;
    for chunk in stale.chunks(CHUNK) {
        let mut messages = socket.messages();
        let last = chunk.iter().fold(0, |_, connection| take_mark(&mut messages, connection));
        match socket.transact(&messages, last) {
            // Refused: it has ended meanwhile.
            Ok(()) | Err(TransactError::Refused(_) | TransactError::NoAnswer) => {}
            Err(error @ (TransactError::Socket(_) | TransactError::TooBig(_))) => {
                return Err(ApplyError::from_transact(error, &[]));
            }
        }
    }
    Ok(stale.len())
}

fn take_mark(messages: &mut Messages, connection: &Stale) -> u32 {
    messages.push(NEW, ACK, connection.family, 0, |a| {
        a.bytes(TUPLE_ORIGINAL | NESTED, &connection.tuple).u32(MARK, 0);
        if let Some(zone) = connection.zone {
            a.u16(ZONE, zone);
        }
    })
}
