//! Reading the kernel's tables back: what an earlier process left in force, and counters.
//!
//! Guarantees: anything that does not look exactly like what this process would make is reported as foreign, and is
//! then replaced whole in one transaction.

use super::batch::{INET, comment_bytes, kind};
use super::program::CURRENT;
use super::sets::{HashSet, Image, Interval, IntervalSet, Key};
use super::{Config, GUARD, Installed, SETTINGS_SHIFT, State, Suppressed, TABLE, comment, guard_comment};
use crate::error::ApplyError;
use crate::mark::{Judged, Tag};
use crate::netlink::{DUMP, Message, Parsed, Socket, TransactError};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is in force.
pub(super) fn read(socket: &mut Socket, config: &Config) -> Result<Installed, ApplyError> {
    let wanted = comment_bytes(&comment(config));
    let wanted_guard = comment_bytes(&guard_comment(config));
    let table = table_comment(socket, TABLE)?;
    let guard = table_comment(socket, GUARD)?;
    let (state, leftover) = match table.as_ref() == Some(&wanted) {
        true => state(socket)?,
        false => (None, Vec::new()),
    };
    Ok(Installed {
        foreign_table: table.is_some() && state.is_none(),
        foreign_guard: guard.as_ref().is_some_and(|comment| *comment != wanted_guard),
        guard: guard.as_ref() == Some(&wanted_guard),
        leftover,
        state,
    })
}

fn table_comment(socket: &mut Socket, table: &str) -> Result<Option<Vec<u8>>, ApplyError> {
    let mut messages = socket.messages();
    messages.push(kind::GET_TABLE, crate::netlink::ACK, INET, 0, |a| {
        a.text(1, table);
    });
    let mut comment = None;
    let asked = socket.query(&messages, |message| {
        comment = Some(message.attributes().get(6).unwrap_or_default().to_vec());
    });
    match asked {
        Ok(()) => Ok(comment),
        Err(TransactError::Refused(refused)) if refused.errno == Errno::ENOENT => Ok(None),
        Err(error) => Err(ApplyError::from_transact(error, &[(messages_first(&messages), reading(table))])),
    }
}

fn messages_first(messages: &crate::netlink::Messages) -> u32 {
    messages.next_sequence().wrapping_sub(1)
}

fn reading(table: &str) -> String {
    format!("reading table {table}")
}

/// The state in a table of our making (`None` if anything is missing), and the interval sets that are not in use.
fn state(socket: &mut Socket) -> Result<(Option<State>, Vec<String>), ApplyError> {
    let (mut tag, mut letters) = (Tag::NONE, None);
    elements(socket, TABLE, CURRENT, |key, _| {
        let bits = key.try_into().map_or(0, u32::from_be_bytes);
        match Judged::from_mark(bits).tag {
            Tag::NONE => letters = Some(bits),
            found => tag = found,
        }
    })?;
    let Some(letters) = letters.filter(|_| tag != Tag::NONE) else { return Ok((None, Vec::new())) };
    let mut image = Image::default();
    for set in HashSet::ALL {
        let held = image.hashes.entry(set).or_default();
        elements(socket, TABLE, set.name(), |key, element| {
            held.insert(Key::of(&[key]), value(element, set.is_ruling()).unwrap_or(0));
        })?;
    }
    let mut leftover = interval_names(socket)?;
    let mut names = BTreeMap::new();
    for (index, set) in IntervalSet::ALL.into_iter().enumerate() {
        let letter = if letters >> index & 1 == 1 { 'b' } else { 'a' };
        let name = format!("{}{letter}", set.stem());
        if !leftover.contains(&name) {
            return Ok((None, Vec::new()));
        }
        leftover.retain(|other| *other != name);
        image.intervals.insert(set, intervals(socket, set, &name)?);
        names.insert(set, name);
    }
    let settings = letters >> SETTINGS_SHIFT;
    Ok((Some(State { tag, settings, image, names }), leftover))
}

fn interval_names(socket: &mut Socket) -> Result<Vec<String>, ApplyError> {
    let mut names = Vec::new();
    let mut messages = socket.messages();
    messages.push(kind::GET_SET, DUMP, INET, 0, |a| {
        a.text(1, TABLE);
    });
    query(socket, &messages, &reading(TABLE), |message| {
        let Some(name) = message.attributes().text(2) else { return };
        if IntervalSet::ALL.iter().any(|set| name.starts_with(set.stem())) {
            names.push(name.to_owned());
        }
    })?;
    Ok(names)
}

fn intervals(socket: &mut Socket, set: IntervalSet, name: &str) -> Result<Vec<Interval>, ApplyError> {
    let mut points = Vec::new();
    elements(socket, TABLE, name, |key, element| {
        let end = element.u32(3).unwrap_or(0) & 1 == 1;
        let value = value(element, set == IntervalSet::Spans);
        // At the same key an end comes before the beginning of the next interval.
        points.push((Key::of(&[key]), !end, value.unwrap_or(0)));
    })?;
    points.sort_unstable();
    let mut intervals: Vec<Interval> = Vec::with_capacity(points.len() / 2 + 1);
    for (key, begins, value) in points {
        if begins {
            intervals.push(Interval { first: key, end: None, value });
        } else if let Some(open) = intervals.last_mut() {
            open.end = Some(key);
        }
    }
    Ok(intervals)
}

fn value(element: Parsed<'_>, ruling: bool) -> Option<u32> {
    let bytes: [u8; 4] = element.nest(2)?.get(1)?.try_into().ok()?;
    Some(if ruling { u32::from_ne_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

/// Hands key and attributes of every element to `each`.
pub(super) fn elements(
    socket: &mut Socket,
    table: &str,
    set: &str,
    mut each: impl FnMut(&[u8], Parsed<'_>),
) -> Result<(), ApplyError> {
    let mut messages = socket.messages();
    messages.push(kind::GET_ELEMENT, DUMP, INET, 0, |a| {
        a.text(1, table).text(2, set);
    });
    query(socket, &messages, &format!("reading set {table} {set}"), |message| {
        let Some(list) = message.attributes().nest(3) else { return };
        for (_, element) in list.iter() {
            let element = Parsed::from(element);
            if let Some(key) = element.nest(1).and_then(|key| key.get(1)) {
                each(key, element);
            }
        }
    })
}

/// Asks again if the tables changed while they were being read.
fn query(
    socket: &mut Socket,
    messages: &crate::netlink::Messages,
    doing: &str,
    each: impl FnMut(Message<'_>),
) -> Result<(), ApplyError> {
    let first = messages_first(messages);
    socket
        .query(messages, each)
        .map_err(|error| ApplyError::from_transact(error, &[(first, doing.to_owned())]))
}

/// Packets in the counter of an element.
pub(super) fn counted(element: Parsed<'_>) -> Option<u64> {
    let single = element.nest(7);
    let listed = || element.nest(11)?.nest(1);
    single.or_else(listed)?.nest(2)?.u64(2)
}

/// A key of the recently logged.
pub(super) fn tuple(key: &[u8], packets: u64) -> Option<Suppressed> {
    let (from, to, rest) = match key.len() {
        16 => {
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(key.get(at..at + 4)?).ok()?));
            (address(0)?, address(4)?, key.get(8..)?)
        }
        40 => {
            let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(key.get(at..at + 16)?).ok()?));
            (address(0)?, address(16)?, key.get(32..)?)
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?);
    Some(Suppressed { from, to, protocol: *rest.first()?, port, packets })
}
