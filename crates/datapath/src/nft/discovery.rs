//! IPv6's neighbour discovery and listener reports, as rules: what any host may say, and what only a router may.
//!
//! RFC 4861 asks for hop limit 255, which no forwarded packet can have; RFC 2710 and 3810 for hop limit 1. Extension headers
//! in between and fragments change nothing: the kernel looks for the message behind them, and puts fragments together first.

use super::expr::{Base, Compare, End, Meta, Place, Register, Rule, place};
use super::program::Family;
use policy::Protocol;

/// Mask and bits of link-local addresses.
pub(crate) const LINK_LOCAL6: ([u8; 4], [u8; 4]) = ([0xff, 0xc0, 0, 0], [0xfe, 0x80, 0, 0]);

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const LISTENER_REPORT: u8 = 131;
const LISTENER_DONE: u8 = 132;
const LISTENER_REPORT_2: u8 = 143;
/// Where an advertisement names the address that it speaks of, and how long that is.
const TARGET: u32 = 8;
const TARGET_LENGTH: u32 = 16;

const A: Register = Register::new(0);

/// What hosts ask and tell their neighbours.
pub(crate) fn neighbours() -> [Rule; 2] {
    [
        message(Rule::new(), 255, ROUTER_SOLICITATION, ROUTER_SOLICITATION),
        message(Rule::new(), 255, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT),
    ]
}

/// The same and what routers say, from where the rule so far demands.
pub(crate) fn routers(rule: Rule) -> Rule {
    message(rule, 255, ROUTER_ADVERTISEMENT, REDIRECT)
}

/// Reports of multicast listeners.
pub(crate) fn listeners() -> [Rule; 2] {
    [
        message(Rule::new(), 1, LISTENER_REPORT, LISTENER_DONE),
        message(Rule::new(), 1, LISTENER_REPORT_2, LISTENER_REPORT_2),
    ]
}

/// Accepts what hosts say from addresses in the set that the node would answer by the same interface, from link-local ones
/// that are none of the node's, and from none. All else is left to the rules that follow.
pub(crate) fn of_hosts(managed: &str) -> Vec<Rule> {
    // An advertisement speaks of its target, whatever its source. There is no comparing one address with another, but
    // there is setting one to the other. Hosts advertise an address from that address.
    let advertised = message(Rule::new(), 255, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT);
    let mut rules = vec![Family::V6.header_source(advertised, A).set_icmpv6(A, TARGET, TARGET_LENGTH)];
    for said in neighbours() {
        // Who looks whether an address is free has none yet.
        let from_none = Family::V6.header_source(said.clone(), A).compare(A, Compare::Equal, &[0; 16]);
        rules.push(from_none.end(End::Accept));
        let known = said.clone().way_back(A).compare(A, Compare::NotEqual, &[0; 4]);
        rules.push(Family::V6.header_source(known, A).found(managed, A).end(End::Accept));
        let local = Family::V6.header_source(said, A).begins(A, LINK_LOCAL6);
        let of_others =
            local.place(Place::Source, A).compare(A, Compare::NotEqual, &place::OWN.to_ne_bytes());
        rules.push(of_others.end(End::Accept));
    }
    rules.extend(listeners().map(|rule| rule.end(End::Accept)));
    rules
}

/// With this hop limit and one of these types.
fn message(rule: Rule, hops: u8, first: u8, last: u8) -> Rule {
    rule.meta(Meta::Family, A)
        .compare(A, Compare::Equal, &[Family::V6.number()])
        .meta(Meta::Protocol, A)
        .compare(A, Compare::Equal, &[Protocol::ICMPV6.0])
        .payload(Base::Network, 7, 1, A)
        .compare(A, Compare::Equal, &[hops])
        .payload(Base::Transport, 0, 1, A)
        .compare(A, Compare::AtLeast, &[first])
        .compare(A, Compare::AtMost, &[last])
}
