//! The kernel's sets and their elements: names, keys, values.
//!
//! Values of rows are rulings, at the upper end of their bits; other values are names. Keys are bytes in the order in
//! which rules put them into registers. Does not know where elements come from (`image`) or how they are sent (`batch`).

use super::batch::{Element, Part};
use super::program::Phase;
use crate::Span;
use policy::Protocol;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The key of an element, at most two IPv6 addresses long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    bytes: [u8; 32],
    length: u8,
}

impl Key {
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut key = Self { bytes: [0; 32], length: 0 };
        for byte in parts.iter().copied().flatten() {
            key.push(*byte);
        }
        key
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
            *slot = byte;
            self.length += 1;
        }
    }

    pub(crate) fn number(value: u32) -> Self {
        Self::of(&[&value.to_be_bytes()])
    }

    /// The key of what is found by names: they follow a zero.
    pub(super) fn named(names: &[u32]) -> Self {
        let mut key = Self::of(&[&[0; 4]]);
        for byte in names.iter().flat_map(|name| name.to_be_bytes()) {
            key.push(byte);
        }
        key
    }

    /// The only name of such a key.
    pub(crate) fn name(bytes: &[u8]) -> Option<u32> {
        let [0, 0, 0, 0, a, b, c, d] = *bytes else { return None };
        Some(u32::from_be_bytes([a, b, c, d]))
    }

    pub(crate) fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of(&[&v4.octets()]),
            IpAddr::V6(v6) => Self::of(&[&v6.octets()]),
        }
    }

    /// Two addresses, one behind the other.
    pub(crate) fn pair(from: IpAddr, to: IpAddr) -> Self {
        Self::of(&[Self::address(from).bytes(), Self::address(to).bytes()])
    }

    /// An element without a value.
    pub(crate) fn element(&self) -> Element<'_> {
        Element { key: self.bytes(), value: None, end: false }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// The sets whose elements are changed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HashSet {
    Endpoints4,
    Endpoints6,
    Self4,
    Self6,
    Own4,
    Own6,
    /// Numbers of the interfaces that endpoints are behind.
    Sides,
    Hosts4,
    Hosts6,
    Bound4,
    Bound6,
    Past4,
    Past6,
    EgressLanes,
    IngressLanes,
    EgressRest,
    IngressRest,
    Cells,
    RowRest,
}

impl HashSet {
    pub(crate) const ALL: [Self; 19] = [
        Self::Endpoints4,
        Self::Endpoints6,
        Self::Self4,
        Self::Self6,
        Self::Own4,
        Self::Own6,
        Self::Sides,
        Self::Hosts4,
        Self::Hosts6,
        Self::Bound4,
        Self::Bound6,
        Self::Past4,
        Self::Past6,
        Self::EgressLanes,
        Self::IngressLanes,
        Self::EgressRest,
        Self::IngressRest,
        Self::Cells,
        Self::RowRest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Endpoints4 => "endpoints4",
            Self::Endpoints6 => "endpoints6",
            Self::Self4 => "self4",
            Self::Self6 => "self6",
            Self::Own4 => "own4",
            Self::Own6 => "own6",
            Self::Sides => "sides",
            Self::Hosts4 => "hosts4",
            Self::Hosts6 => "hosts6",
            Self::Bound4 => "bound4",
            Self::Bound6 => "bound6",
            Self::Past4 => "past4",
            Self::Past6 => "past6",
            Self::EgressLanes => "egress_lanes",
            Self::IngressLanes => "ingress_lanes",
            Self::EgressRest => "egress_rest",
            Self::IngressRest => "ingress_rest",
            Self::Cells => "cells",
            Self::RowRest => "row_rest",
        }
    }

    pub(crate) fn key(self) -> &'static [Part] {
        match self {
            Self::Endpoints4 | Self::Own4 | Self::Hosts4 => &[Part::Ipv4],
            Self::Endpoints6 | Self::Own6 | Self::Hosts6 => &[Part::Ipv6],
            Self::Self4 | Self::Bound4 | Self::Past4 => &[Part::Ipv4, Part::Ipv4],
            Self::Self6 | Self::Bound6 | Self::Past6 => &[Part::Ipv6, Part::Ipv6],
            Self::Sides => &[Part::Number],
            Self::EgressRest | Self::IngressRest | Self::RowRest => &[Part::Number; 2],
            Self::EgressLanes | Self::IngressLanes => &[Part::Number; 3],
            Self::Cells => &[Part::Number; 4],
        }
    }

    /// Whether keys have values.
    pub(crate) fn is_map(self) -> bool {
        !matches!(self, Self::Self4 | Self::Self6 | Self::Own4 | Self::Own6 | Self::Sides)
    }

    /// Whether its elements belong to rows.
    pub(crate) fn is_of_rows(self) -> bool {
        matches!(self, Self::Cells | Self::RowRest)
    }

    /// Most elements; a table that needs more is refused.
    pub(crate) fn bound(self) -> usize {
        match self {
            Self::Endpoints4 | Self::Endpoints6 | Self::Self4 | Self::Self6 | Self::Sides => 1 << 16,
            Self::Own4 | Self::Own6 => 1 << 12,
            Self::Hosts4 | Self::Hosts6 => 1 << 20,
            Self::Bound4 | Self::Bound6 | Self::Past4 | Self::Past6 => 1 << 19,
            Self::EgressRest | Self::IngressRest | Self::RowRest => 1 << 17,
            Self::EgressLanes | Self::IngressLanes | Self::Cells => 1 << 21,
        }
    }

    /// An element of this set.
    pub(crate) fn element(self, key: &Key, value: u32) -> Element<'_> {
        Element {
            key: key.bytes(),
            value: self.is_map().then(|| encode(self.is_of_rows(), value)),
            end: false,
        }
    }

    pub(crate) fn hosts(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Hosts4 } else { Self::Hosts6 }
    }

    /// What bindings the set holds.
    pub(crate) fn span(self) -> Option<Span> {
        match self {
            Self::Bound4 | Self::Bound6 => Some(Span::Live),
            Self::Past4 | Self::Past6 => Some(Span::Past),
            Self::Endpoints4
            | Self::Endpoints6
            | Self::Self4
            | Self::Self6
            | Self::Own4
            | Self::Own6
            | Self::Sides
            | Self::Hosts4
            | Self::Hosts6
            | Self::EgressLanes
            | Self::IngressLanes
            | Self::EgressRest
            | Self::IngressRest
            | Self::Cells
            | Self::RowRest => None,
        }
    }

    pub(crate) fn bindings(span: Span, from: IpAddr) -> Self {
        match (span, from) {
            (Span::Live, IpAddr::V4(_)) => Self::Bound4,
            (Span::Live, IpAddr::V6(_)) => Self::Bound6,
            (Span::Past, IpAddr::V4(_)) => Self::Past4,
            (Span::Past, IpAddr::V6(_)) => Self::Past6,
        }
    }
}

/// The sets that exist once for each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IntervalSet {
    Networks4,
    Networks6,
    Spans,
}

impl IntervalSet {
    pub(crate) const ALL: [Self; 3] = [Self::Networks4, Self::Networks6, Self::Spans];

    pub(crate) fn name(self, phase: Phase) -> String {
        format!("{}_{}", self.stem(), phase.letter())
    }

    pub(crate) fn is_of_rows(self) -> bool {
        self == Self::Spans
    }

    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Networks4 => "networks4",
            Self::Networks6 => "networks6",
            Self::Spans => "spans",
        }
    }

    pub(crate) fn key(self) -> &'static [Part] {
        match self {
            Self::Networks4 => &[Part::Ipv4],
            Self::Networks6 => &[Part::Ipv6],
            Self::Spans => &[Part::Cell],
        }
    }

    /// Most intervals.
    pub(crate) fn bound(self) -> usize {
        1 << 18
    }
}

/// Keys from `first` up to but not including `end`; to the end of the space without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) first: Key,
    pub(crate) end: Option<Key>,
    pub(crate) value: u32,
}

impl Interval {
    /// The elements that make it: to be added with the value they have in the set, to be removed without.
    pub(crate) fn elements(&self, added_to: Option<IntervalSet>) -> impl Iterator<Item = Element<'_>> {
        let value = added_to.map(|set| encode(set.is_of_rows(), self.value));
        let first = Element { key: self.first.bytes(), value, end: false };
        let end = self.end.as_ref().map(|end| Element { key: end.bytes(), value: None, end: true });
        std::iter::once(first).chain(end)
    }
}

/// Values of rows are rulings, which become connection marks, which the kernel keeps in the byte order of the machine.
/// Other values are names, which become parts of keys, which are compared as bytes.
fn encode(of_rows: bool, value: u32) -> [u8; 4] {
    if of_rows { value.to_ne_bytes() } else { value.to_be_bytes() }
}

/// Content of the interval sets of one phase, in rising order.
pub(crate) type Intervals = BTreeMap<IntervalSet, Arc<Vec<Interval>>>;

/// The row, protocol and port of a key of [`HashSet::Cells`].
pub(crate) fn cell_of(key: &[u8]) -> Option<(u32, u8, u16)> {
    let [0, 0, 0, 0, a, b, c, d, protocol, _, _, _, high, low, _, _] = *key else { return None };
    Some((u32::from_be_bytes([a, b, c, d]), protocol, u16::from_be_bytes([high, low])))
}

pub(super) fn cell_key(row: u32, protocol: Protocol, port: u16) -> Key {
    let [high, low] = port.to_be_bytes();
    Key::named(&[row, u32::from_be_bytes([protocol.0, 0, 0, 0]), u32::from_be_bytes([high, low, 0, 0])])
}
