//! Reading the kernel's tables back: what an earlier process left in force, and counters.
//!
//! Guarantees: anything that does not look exactly like what this process would make is reported as foreign, and is
//! then replaced whole in one transaction.

use super::batch::{INET, comment_bytes, kind};
use super::image::{Image, Listed};
use super::program::{Phase, SETTINGS, TAGS};
use super::sets::{HashSet, Interval, IntervalSet, Intervals, Key, cell_of};
use super::{Config, GUARD, Installed, State, Suppressed, TABLE, comment, guard_comment};
use crate::error::ApplyError;
use crate::mark::Tag;
use crate::netlink::{DUMP, DUMP_INTERRUPTED, Message, Parsed, Socket, TransactError};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How often a set is read before it counts as unreadable, and the pause between; a resize takes milliseconds.
const READINGS: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// What is in force.
pub(super) fn read(socket: &mut Socket, config: &Config) -> Result<Installed, ApplyError> {
    let wanted = comment_bytes(&comment(config));
    let wanted_guard = comment_bytes(&guard_comment(config));
    let table = table_comment(socket, TABLE)?;
    let guard = table_comment(socket, GUARD)?;
    let state = if table.as_ref() == Some(&wanted) { state(socket)? } else { None };
    Ok(Installed {
        foreign_table: table.is_some() && state.is_none(),
        foreign_guard: guard.as_ref().is_some_and(|comment| *comment != wanted_guard),
        guard: guard.as_ref() == Some(&wanted_guard),
        state,
    })
}

/// The comment of a table, as [`comment_bytes`] has it; `None` if there is no such table.
pub(crate) fn table_comment(socket: &mut Socket, table: &str) -> Result<Option<Vec<u8>>, ApplyError> {
    table_comment_of(INET, socket, table)
}

/// The same of another family.
pub(crate) fn table_comment_of(
    family: u8,
    socket: &mut Socket,
    table: &str,
) -> Result<Option<Vec<u8>>, ApplyError> {
    let mut messages = socket.messages();
    messages.push(kind::GET_TABLE, crate::netlink::ACK, family, 0, |a| {
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

/// Which state is in force, and under which settings; `None` if there is none or it is not clear which.
pub(super) fn in_force(socket: &mut Socket) -> Result<Option<(Tag, Phase, u32)>, ApplyError> {
    let mut tags = BTreeMap::new();
    let read = elements(socket, TABLE, TAGS, |key, element| {
        if let Ok(key) = key.try_into() {
            tags.insert(u32::from_be_bytes(key), value(element, true).unwrap_or(0));
        }
    });
    match read {
        Err(ApplyError::Kernel { errno: Errno::ENOENT, .. }) => return Ok(None),
        read => read?,
    }
    let tag = |phase: Phase| {
        let tag = Tag(u16::try_from(*tags.get(&phase.number())?).ok()?);
        (tag != Tag::NONE).then_some(tag)
    };
    let (tag, phase) = match (tag(Phase::A), tag(Phase::B)) {
        (Some(tag), None) => (tag, Phase::A),
        (None, Some(tag)) => (tag, Phase::B),
        (_, _) => return Ok(None),
    };
    Ok(tags.get(&SETTINGS).map(|settings| (tag, phase, *settings)))
}

/// The state in a table of our making.
fn state(socket: &mut Socket) -> Result<Option<State>, ApplyError> {
    let Some((tag, phase, settings)) = in_force(socket)? else { return Ok(None) };
    let mut image = Image { intervals: all_intervals(socket, phase)?, ..Image::default() };
    for set in HashSet::ALL.into_iter().filter(|set| !set.is_of_rows()) {
        let held = image.hashes.entry(set).or_default();
        elements(socket, TABLE, set.name(), |key, element| {
            held.insert(Key::of(&[key]), value(element, false).unwrap_or(0));
        })?;
    }
    image.rows = rows(socket)?;
    let idle = all_intervals(socket, phase.other())?;
    Ok(Some(State { tag, phase, settings, image, idle }))
}

fn rows(socket: &mut Socket) -> Result<BTreeMap<u32, Listed>, ApplyError> {
    let mut rows: BTreeMap<u32, Listed> = BTreeMap::new();
    elements(socket, TABLE, HashSet::Cells.name(), |key, element| {
        if let Some((row, protocol, port)) = cell_of(key) {
            let ruling = value(element, true).unwrap_or(0);
            rows.entry(row).or_default().cells.push((protocol, port, ruling));
        }
    })?;
    elements(socket, TABLE, HashSet::RowRest.name(), |key, element| {
        if let Some(row) = Key::name(key) {
            rows.entry(row).or_default().otherwise = value(element, true);
        }
    })?;
    for row in rows.values_mut() {
        row.cells.sort_unstable();
    }
    Ok(rows)
}

fn all_intervals(socket: &mut Socket, phase: Phase) -> Result<Intervals, ApplyError> {
    let mut all = Intervals::new();
    for set in IntervalSet::ALL {
        all.insert(set, intervals(socket, set, &set.name(phase))?.into());
    }
    Ok(all)
}

fn intervals(socket: &mut Socket, set: IntervalSet, name: &str) -> Result<Vec<Interval>, ApplyError> {
    let mut points = Vec::new();
    elements(socket, TABLE, name, |key, element| {
        let end = element.u32(3).unwrap_or(0) & 1 == 1;
        let value = value(element, set.is_of_rows());
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

/// The value in the byte order of the machine, or in that of networks.
fn value(element: Parsed<'_>, machine: bool) -> Option<u32> {
    let bytes: [u8; 4] = element.nest(2)?.get(1)?.try_into().ok()?;
    Some(if machine { u32::from_ne_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

/// Hands key and attributes of every element to `each`, once.
///
/// A dump of more than one message goes on after as many elements as were given, and the kernel may resize its hash
/// table between two messages: the dump then has some elements twice and others not at all. It never gives fewer than
/// there are, so one without repetition is complete; any other is asked for again, as is one that a change interrupted.
pub(crate) fn elements(
    socket: &mut Socket,
    table: &str,
    set: &str,
    mut each: impl FnMut(&[u8], Parsed<'_>),
) -> Result<(), ApplyError> {
    let doing = format!("reading set {table} {set}");
    for _ in 0..READINGS {
        let Some(lists) = dump(socket, table, set, &doing)? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        for list in &lists {
            for_each_element(list, &mut each);
        }
        return Ok(());
    }
    Err(ApplyError::from_errno(doing, Errno::EAGAIN))
}

/// The lists of elements as they came; `None` if the dump may lack some.
fn dump(
    socket: &mut Socket,
    table: &str,
    set: &str,
    doing: &str,
) -> Result<Option<Vec<Vec<u8>>>, ApplyError> {
    let mut messages = socket.messages();
    messages.push(kind::GET_ELEMENT, DUMP, INET, 0, |a| {
        a.text(1, table).text(2, set);
    });
    let (mut lists, mut interrupted) = (Vec::new(), false);
    query(socket, &messages, doing, |message| {
        interrupted |= message.flags & DUMP_INTERRUPTED != 0;
        lists.extend(message.attributes().get(3).map(<[u8]>::to_vec));
    })?;
    let mut seen = std::collections::HashSet::new();
    let mut once = true;
    for list in &lists {
        // An interval's end has the key of the next one's beginning.
        for_each_element(list, &mut |key, element| once &= seen.insert((key.to_vec(), element.u32(3))));
    }
    Ok((once && !interrupted).then_some(lists))
}

fn for_each_element(list: &[u8], each: &mut impl FnMut(&[u8], Parsed<'_>)) {
    for (_, element) in Parsed::from(list).iter() {
        let element = Parsed::from(element);
        if let Some(key) = element.nest(1).and_then(|key| key.get(1)) {
            each(key, element);
        }
    }
}

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
    counter(expression(element)?)
}

/// Limit and use of the quota of an element. What came after it was used up does not count as use.
pub(crate) fn quota(element: Parsed<'_>) -> Option<(u64, u64)> {
    let quota = expression(element).filter(|it| it.text(1) == Some("quota"))?.nest(2)?;
    Some((quota.u64(1)?, quota.u64(4)?))
}

/// The only expression of an element.
fn expression(element: Parsed<'_>) -> Option<Parsed<'_>> {
    let listed = || element.nest(11)?.nest(1);
    element.nest(7).or_else(listed)
}

fn counter(expression: Parsed<'_>) -> Option<u64> {
    expression.nest(2)?.u64(2)
}

/// Packets in the counters of a chain's rules.
pub(super) fn counted_by_rules(socket: &mut Socket, table: &str, chain: &str) -> Result<u64, ApplyError> {
    let mut messages = socket.messages();
    messages.push(kind::GET_RULE, DUMP, INET, 0, |a| {
        a.text(1, table).text(2, chain);
    });
    let mut packets = 0;
    query(socket, &messages, &format!("reading chain {table} {chain}"), |message| {
        let Some(expressions) = message.attributes().nest(4) else { return };
        for expression in expressions.iter().map(|(_, expression)| Parsed::from(expression)) {
            if expression.text(1) == Some("counter") {
                packets += counter(expression).unwrap_or(0);
            }
        }
    })?;
    Ok(packets)
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
