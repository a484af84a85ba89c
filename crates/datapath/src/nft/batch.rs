//! One nf_tables transaction being written: tables, chains, rules, sets and elements by name.
//!
//! Leaves: netlink messages, each with the words for what it was to do, so that a refusal can say so. Nothing is in
//! force until the whole batch is sent, and then all of it at once. Source: `linux/netfilter/nf_tables.h`.

use super::expr::{Rule, write_quota};
use crate::netlink::{ACK, APPEND, Attributes, CREATE, Messages};

pub(crate) const SUBSYSTEM: u16 = 10;
pub(crate) const INET: u8 = 1;
/// The family of frames that bridges forward.
pub(crate) const BRIDGE: u8 = 7;

/// Message numbers of `enum nf_tables_msg_types` in the subsystem.
pub(crate) mod kind {
    const fn of(message: u16) -> u16 {
        super::SUBSYSTEM << 8 | message
    }
    pub(crate) const NEW_TABLE: u16 = of(0);
    pub(crate) const GET_TABLE: u16 = of(1);
    pub(crate) const DELETE_TABLE: u16 = of(2);
    pub(crate) const NEW_CHAIN: u16 = of(3);
    pub(crate) const NEW_RULE: u16 = of(6);
    pub(crate) const GET_RULE: u16 = of(7);
    pub(crate) const DELETE_RULE: u16 = of(8);
    pub(crate) const NEW_SET: u16 = of(9);
    pub(crate) const NEW_ELEMENT: u16 = of(12);
    pub(crate) const GET_ELEMENT: u16 = of(13);
    pub(crate) const DELETE_ELEMENT: u16 = of(14);
}

/// Attribute lengths have 16 bits; an element list must stay well below.
const LIST_BYTES: usize = 48 * 1024;

/// How a set finds its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// By hash.
    Hash,
    /// Between two keys.
    Interval,
    /// By hash, and rules add elements, up to so many; each lives so many milliseconds (0: for ever).
    Dynamic {
        /// Most elements.
        size: u32,
        /// Lifetime.
        timeout_ms: u64,
    },
}

/// A set to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'static [Part],
    pub(crate) map: bool,
    pub(crate) shape: Shape,
}

/// One element of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<[u8; 4]>,
    /// Ends the interval that the element before it begins.
    pub(crate) end: bool,
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    family: u8,
    messages: Messages,
    doing: Vec<(u32, String)>,
    set_id: u32,
}

const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const EVAL: u32 = 0x20;

/// What a part of a key is. The kernel only looks at lengths; `nft` needs it to print elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Four bytes without a meaning of their own.
    Number,
    /// What a packet has as its priority, in the byte order of the machine.
    Priority,
    Ipv4,
    Ipv6,
    /// The key of a cell as one part. `nft` prints no intervals of a key with several parts unless the kernel knows the
    /// parts too.
    Cell,
}

impl Part {
    /// Number of the type, as in `nft`.
    fn kind(self) -> u32 {
        match self {
            Self::Number => 19,
            Self::Priority => 23,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Cell => 6,
        }
    }

    fn length(self) -> u32 {
        match self {
            Self::Number | Self::Priority | Self::Ipv4 => 4,
            Self::Ipv6 | Self::Cell => 16,
        }
    }
}

impl Batch {
    pub(crate) fn new(messages: Messages) -> Self {
        Self::of_family(INET, messages)
    }

    pub(crate) fn of_family(family: u8, mut messages: Messages) -> Self {
        messages.begin_batch(SUBSYSTEM);
        Self { family, messages, doing: Vec::new(), set_id: 0 }
    }

    /// Whether it asks for nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.doing.is_empty()
    }

    /// Closes the transaction. The number is of the message that asks for an acknowledgement.
    pub(crate) fn finish(mut self, table: &str) -> (Messages, u32, Vec<(u32, String)>) {
        // Deleting nothing from a table that must exist is a message whose acknowledgement says that all went well.
        let acknowledged = self.messages.push(kind::NEW_TABLE, ACK, self.family, 0, |a| {
            a.text(1, table);
        });
        self.doing.push((acknowledged, format!("finding table {table}")));
        self.messages.end_batch(SUBSYSTEM);
        (self.messages, acknowledged, self.doing)
    }

    pub(crate) fn new_table(&mut self, table: &str, comment: &str) {
        self.push(kind::NEW_TABLE, CREATE, format!("making table {table}"), |a| {
            a.text(1, table).bytes(6, &comment_bytes(comment));
        });
    }

    /// An empty table in place of what there is under the name, if there is something.
    pub(crate) fn replace_table(&mut self, table: &str, comment: &str) {
        // Making a table that is there already changes nothing, and deleting one that is not there fails.
        self.push(kind::NEW_TABLE, 0, format!("finding table {table}"), |a| {
            a.text(1, table);
        });
        self.delete_table(table);
        self.new_table(table, comment);
    }

    pub(crate) fn delete_table(&mut self, table: &str) {
        self.push(kind::DELETE_TABLE, 0, format!("deleting table {table}"), |a| {
            a.text(1, table);
        });
    }

    /// `hook` is the netfilter hook and the priority of a base chain, whose policy is accept.
    pub(crate) fn new_chain(&mut self, table: &str, chain: &str, hook: Option<(u32, i32)>) {
        self.push(kind::NEW_CHAIN, CREATE, format!("making chain {table} {chain}"), |a| {
            a.text(1, table).text(3, chain);
            if let Some((hook, priority)) = hook {
                a.nest(4, |a| {
                    a.u32(1, hook).bytes(2, &priority.to_be_bytes());
                });
                a.u32(5, 1).text(7, "filter");
            }
        });
    }

    pub(crate) fn flush_chain(&mut self, table: &str, chain: &str) {
        self.push(kind::DELETE_RULE, 0, format!("emptying chain {table} {chain}"), |a| {
            a.text(1, table).text(2, chain);
        });
    }

    pub(crate) fn append_rule(&mut self, table: &str, chain: &str, index: usize, rule: &Rule) {
        let doing = format!("adding rule {index} of chain {table} {chain}");
        self.push(kind::NEW_RULE, CREATE | APPEND, doing, |a| {
            a.text(1, table).text(2, chain).nest(4, |a| {
                a.encoded(rule.bytes());
            });
        });
    }

    pub(crate) fn new_set(&mut self, table: &str, set: SetSpec<'_>) {
        let mut flags = if set.map { MAP } else { 0 };
        match set.shape {
            Shape::Hash => {}
            Shape::Interval => flags |= INTERVAL,
            Shape::Dynamic { timeout_ms: 0, .. } => flags |= EVAL,
            Shape::Dynamic { .. } => flags |= EVAL | TIMEOUT,
        }
        self.set_id += 1;
        let id = self.set_id;
        self.push(kind::NEW_SET, CREATE, format!("making set {table} {}", set.name), |a| {
            a.text(1, table)
                .text(2, set.name)
                .u32(3, flags)
                .u32(4, set.key.iter().fold(0, |all, part| all << 6 | part.kind()))
                .u32(5, set.key.iter().map(|part| part.length()).sum());
            if set.map {
                a.u32(6, Part::Number.kind()).u32(7, Part::Number.length());
            }
            a.u32(10, id);
            if let Shape::Dynamic { size, timeout_ms } = set.shape {
                a.nest(9, |a| {
                    a.u32(1, size);
                });
                if timeout_ms > 0 {
                    a.u64(11, timeout_ms);
                }
            }
        });
    }

    /// Deletes every element.
    pub(crate) fn flush_set(&mut self, table: &str, set: &str) {
        self.push(kind::DELETE_ELEMENT, 0, format!("emptying set {table} {set}"), |a| {
            a.text(1, table).text(2, set);
        });
    }

    pub(crate) fn add<'a>(&mut self, table: &str, set: &str, elements: impl Iterator<Item = Element<'a>>) {
        self.elements(kind::NEW_ELEMENT, table, set, elements, write_element);
    }

    /// Adds elements that have a quota: key, limit, used.
    pub(crate) fn add_quotas<'a>(
        &mut self,
        table: &str,
        set: &str,
        elements: impl Iterator<Item = (&'a [u8], u64, u64)>,
    ) {
        self.elements(kind::NEW_ELEMENT, table, set, elements, |a, (key, limit, used)| {
            write_element(a, Element { key, value: None, end: false });
            a.nest(7, |a| write_quota(a, limit, used));
        });
    }

    pub(crate) fn remove<'a>(&mut self, table: &str, set: &str, elements: impl Iterator<Item = Element<'a>>) {
        self.elements(kind::DELETE_ELEMENT, table, set, elements, write_element);
    }

    fn elements<T>(
        &mut self,
        kind: u16,
        table: &str,
        set: &str,
        elements: impl Iterator<Item = T>,
        write: impl Fn(&mut Attributes<'_>, T),
    ) {
        let mut elements = elements.peekable();
        let (verb, flags) =
            if kind == kind::NEW_ELEMENT { ("adding to", CREATE) } else { ("removing from", 0) };
        while elements.peek().is_some() {
            self.push(kind, flags, format!("{verb} set {table} {set}"), |a| {
                a.text(1, table).text(2, set).nest(3, |a| {
                    let start = a.written();
                    while a.written() - start < LIST_BYTES
                        && let Some(element) = elements.next()
                    {
                        a.nest(1, |a| write(a, element));
                    }
                });
            });
        }
    }

    fn push(&mut self, kind: u16, flags: u16, doing: String, fill: impl FnOnce(&mut Attributes<'_>)) {
        let sequence = self.messages.push(kind, flags, self.family, 0, fill);
        self.doing.push((sequence, doing));
    }
}

/// A transaction that only deletes a table, and the message that asks for its acknowledgement.
pub(crate) fn delete_table(messages: Messages, table: &str) -> (Messages, u32) {
    delete_table_of(INET, messages, table)
}

/// The same of another family.
pub(crate) fn delete_table_of(family: u8, mut messages: Messages, table: &str) -> (Messages, u32) {
    messages.begin_batch(SUBSYSTEM);
    let acknowledged = messages.push(kind::DELETE_TABLE, ACK, family, 0, |a| {
        a.text(1, table);
    });
    messages.end_batch(SUBSYSTEM);
    (messages, acknowledged)
}

fn write_element(a: &mut Attributes<'_>, element: Element<'_>) {
    a.nest(1, |a| {
        a.bytes(1, element.key);
    });
    if let Some(value) = element.value {
        a.nest(2, |a| {
            a.bytes(1, &value);
        });
    }
    if element.end {
        a.u32(3, 1);
    }
}

/// User data of a table as `nft` writes comments: type 0, length, text with its closing zero.
pub(crate) fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}
