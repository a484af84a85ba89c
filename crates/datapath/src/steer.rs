//! Steering: connections of pods are handed to a listener of this node, which sees the addresses as the pod meant them.
//!
//! Enters: pods' addresses, addresses they know by name, and where listeners are. Leaves: a table of its own with
//! `tproxy` rules behind destination translation, and a route for what they marked. Guarantees: changed in one step; what
//! would be steered and finds no listener is dropped; a connection that a listener took stays with it; a TCP connection of
//! a steered pair that none took ends, whenever and however it was opened, unless its port is open beside the gateway; stays
//! when the process ends. Does not: judge. What is steered comes to the input hook, where the rules judge pod and destination
//! as ever.
//! Source: kernel documentation `networking/tproxy`, `linux/fib_rules.h`, `linux/rtnetlink.h`.

use crate::error::{ApplyError, absent_is_fine};
use crate::netlink::{ACK, Attributes, CREATE, EXCLUSIVE, Messages, REPLACE, Socket, TransactError};
use crate::nft::adopt::table_comment;
use crate::nft::batch::{Batch, Element, Part, SetSpec, Shape, delete_table};
use crate::nft::expr::{Base, Compare, Ct, End, Meta, Register, Rule, Sock, state};
use crate::nft::program::{Chain, Family, after};
use crate::nft::sets::{HashSet, Key};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use policy::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

const TABLE: &str = "cofferdam_steer";
const PODS4: &str = "pods4";
const PODS6: &str = "pods6";
const NAMED4: &str = "named4";
const NAMED6: &str = "named6";
/// Pairs whose TCP goes to the gateway only, but for ports that are listed.
const ONLY4: &str = "only4";
const ONLY6: &str = "only6";
/// Those ports, with their pairs.
const BESIDE4: &str = "beside4";
const BESIDE6: &str = "beside6";
/// Where packets of TCP connections are looked at that are not steered as such.
const HELD: &str = "held";
/// Where packets of TCP connections of a pair end up that no listener has.
const STRAY4: &str = "stray4";
const STRAY6: &str = "stray6";
/// Where packets of this machine's own sockets are looked at.
const OUTPUT: &str = "output";
const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
/// `IPS_DST_NAT`: the destination was translated.
const TRANSLATED: u32 = 1 << 5;
/// Right behind destination translation.
const PRIORITY: i32 = -99;
/// Tells steered packets to the routing; no other bit of the mark is touched.
const MARK: u32 = 1 << 20;
/// Mark of packets that a proxy sends to where a client of its own choice wants to go: while something is steered, they are
/// dropped where this machine translates their destination. Behind that is a Service, and whoever serves it would take the
/// client for this machine. No other bit of the mark matters.
pub const LED_MARK: u32 = 1 << 21;
/// Number of the routing table, and priority of the rule that leads to it.
const ROUTES: u32 = 3325;

const A: Register = Register::new(0);
const PORT: Register = Register::new(4);

const DNS_PORT: u16 = 53;
/// Of HTTP/3, the only steered protocol over UDP besides DNS.
const QUIC_PORT: u16 = 443;

const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const LOOPBACK: u32 = 1;

/// What is to be steered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steer {
    /// Whose DNS queries.
    pub pods: BTreeSet<IpAddr>,
    /// Listeners for DNS over UDP and TCP, one for each family. Queries of a family without one are left alone.
    pub dns: Vec<SocketAddr>,
    /// Listeners of the gateway for TCP and UDP, one for each family. Where `named` has pairs of a family without one,
    /// what would be steered is dropped.
    pub gateway: Vec<SocketAddr>,
    /// From a pod to an address that it knows by name: new TCP connections, and UDP datagrams to port 443, go to the
    /// gateway, and TCP connections that were opened past it end unless their port is open beside it. Pairs of two families
    /// are skipped.
    pub named: BTreeMap<Pair, Beside>,
}

/// A pod's address, and another.
pub type Pair = (IpAddr, IpAddr);

/// TCP ports that policy leaves open from a pod to an address whatever its name. Connections to these that were opened
/// before the pair was steered go on past the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// These, and no others.
    Ports(BTreeSet<u16>),
    /// All, or too many to list.
    Any,
}

impl Beside {
    /// No port.
    pub const NOTHING: Self = Self::Ports(BTreeSet::new());

    /// The ports, if they are listed.
    fn listed(&self) -> Option<&BTreeSet<u16>> {
        match self {
            Self::Ports(ports) => Some(ports),
            Self::Any => None,
        }
    }
}

/// Steering in one network namespace.
#[derive(Debug)]
pub struct Steering {
    netfilter: Socket,
    routes: Socket,
    in_force: Option<Steer>,
}

/// Pairs that come and go.
#[derive(Debug, Default)]
pub(crate) struct PairChange {
    gone: BTreeMap<Pair, Beside>,
    new: BTreeMap<Pair, Beside>,
}

impl PairChange {
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }

    pub(crate) fn write(&self, batch: &mut Batch) {
        for family in Family::BOTH {
            for (set, keys) in Keys::of(&self.gone, family).by_set(family) {
                batch.remove(TABLE, set, keys.iter().map(|key| element(key)));
            }
            for (set, keys) in Keys::of(&self.new, family).by_set(family) {
                batch.add(TABLE, set, keys.iter().map(|key| element(key)));
            }
        }
    }
}

impl Steering {
    /// In the calling thread's network namespace. Changes nothing.
    ///
    /// # Errors
    /// No privilege, or no nf_tables.
    pub fn open() -> Result<Self, ApplyError> {
        let failed = |errno| ApplyError::from_errno("opening nf_tables and rtnetlink", errno);
        let netfilter = Socket::open().map_err(failed)?;
        let routes = Socket::open_protocol(SockProtocol::NetlinkRoute).map_err(failed)?;
        Ok(Self { netfilter, routes, in_force: None })
    }

    /// Steers this and nothing else, from when it returns. While there is a listener of the gateway, connections that any
    /// listener took stay with it.
    ///
    /// # Errors
    /// What was steered before still is.
    pub fn steer(&mut self, wanted: &Steer) -> Result<(), ApplyError> {
        if self.in_force.as_ref() == Some(wanted) && self.is_there()? {
            return Ok(());
        }
        for family in Family::BOTH {
            if [&wanted.dns, &wanted.gateway].iter().any(|all| listener(all, family).is_some()) {
                self.route(family)?;
            }
        }
        let mut batch = Batch::new(self.netfilter.messages());
        batch.replace_table(TABLE, "steers pods' DNS and named connections to the node's proxies");
        let [beside4, beside6]: [&'static [Part]; 2] =
            [&[Part::Ipv4, Part::Ipv4, Part::Number], &[Part::Ipv6, Part::Ipv6, Part::Number]];
        for (name, key) in [
            (PODS4, HashSet::Endpoints4.key()),
            (PODS6, HashSet::Endpoints6.key()),
            (NAMED4, HashSet::Bound4.key()),
            (NAMED6, HashSet::Bound6.key()),
            (ONLY4, HashSet::Bound4.key()),
            (ONLY6, HashSet::Bound6.key()),
            (BESIDE4, beside4),
            (BESIDE6, beside6),
        ] {
            batch.new_set(TABLE, SetSpec { name, key, map: false, shape: Shape::Hash });
        }
        let chains = chains(wanted);
        for chain in &chains {
            batch.new_chain(TABLE, &chain.name, chain.hook.map(|hook| (hook, PRIORITY)));
        }
        for chain in &chains {
            for (index, rule) in chain.rules.iter().enumerate() {
                batch.append_rule(TABLE, &chain.name, index, rule);
            }
        }
        for family in Family::BOTH {
            let of_family = wanted.pods.iter().filter(|it| family.has(**it));
            let keys: Vec<_> = of_family.map(|it| Key::address(*it)).collect();
            batch.add(TABLE, pods(family), keys.iter().map(Key::element));
            for (set, keys) in Keys::of(&wanted.named, family).by_set(family) {
                batch.add(TABLE, set, keys.iter().map(|key| element(key)));
            }
        }
        self.commit(batch)?;
        self.in_force = Some(wanted.clone());
        Ok(())
    }

    /// Whether the kernel still has what this process steers: somebody may have removed it.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn is_there(&mut self) -> Result<bool, ApplyError> {
        Ok(self.in_force.is_none() || table_comment(&mut self.netfilter, TABLE)?.is_some())
    }

    /// Where this process sends DNS and named connections; `None` before it steered anything.
    #[must_use]
    pub fn leads_to(&self) -> Option<(&[SocketAddr], &[SocketAddr])> {
        self.in_force.as_ref().map(|steer| (&*steer.dns, &*steer.gateway))
    }

    /// Has connections of more pairs go to the gateway, and of fewer, in one step; all else stays. A pair in both is
    /// steered. Pairs that are steered so already, or not, cost nothing.
    ///
    /// # Errors
    /// Nothing changed. [`ApplyError::NotInstalled`]: nothing was steered yet by this process.
    pub fn steer_pairs(&mut self, more: &[(Pair, Beside)], fewer: &[Pair]) -> Result<(), ApplyError> {
        let change = self.change(more, fewer)?;
        if !change.is_empty() {
            let mut batch = Batch::new(self.netfilter.messages());
            change.write(&mut batch);
            self.commit(batch)?;
            self.note(change);
        }
        Ok(())
    }

    /// What [`Self::steer_pairs`] changes.
    pub(crate) fn change(&self, more: &[(Pair, Beside)], fewer: &[Pair]) -> Result<PairChange, ApplyError> {
        if more.is_empty() && fewer.is_empty() {
            return Ok(PairChange::default());
        }
        let Some(steer) = &self.in_force else { return Err(ApplyError::NotInstalled) };
        let mut new: BTreeMap<Pair, Beside> = more.iter().cloned().collect();
        let ended = fewer.iter().filter(|pair| !new.contains_key(*pair));
        let held = |pair: &Pair| steer.named.get(pair).map(|beside| (*pair, beside.clone()));
        let mut gone: BTreeMap<Pair, Beside> = ended.filter_map(held).collect();
        new.retain(|pair, beside| steer.named.get(pair) != Some(beside));
        // Those of which other ports are open beside the gateway from now on.
        gone.extend(new.keys().filter_map(held));
        Ok(PairChange { gone, new })
    }

    /// The kernel took a change.
    pub(crate) fn note(&mut self, change: PairChange) {
        if let Some(steer) = &mut self.in_force {
            for pair in change.gone.keys() {
                steer.named.remove(pair);
            }
            steer.named.extend(change.new);
        }
    }

    /// Steers nothing any more.
    ///
    /// # Errors
    /// What was steered still is.
    pub fn uninstall(&mut self) -> Result<(), ApplyError> {
        let (messages, acknowledged) = delete_table(self.netfilter.messages(), TABLE);
        absent_is_fine(self.netfilter.transact(&messages, acknowledged))?;
        for family in Family::BOTH {
            for push in [push_rule, push_route] {
                let mut messages = self.routes.messages();
                let acknowledged = push(&mut messages, family, false);
                absent_is_fine(self.routes.transact(&messages, acknowledged))?;
            }
        }
        self.in_force = None;
        Ok(())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), ApplyError> {
        let (messages, acknowledged, doing) = batch.finish(TABLE);
        let sent = self.netfilter.transact(&messages, acknowledged);
        sent.map_err(|error| ApplyError::from_transact(error, &doing))
    }

    /// Has marked packets delivered here, whatever their destination.
    fn route(&mut self, family: Family) -> Result<(), ApplyError> {
        for (push, doing) in [
            (push_route as fn(&mut Messages, Family, bool) -> u32, "adding the route of steered packets"),
            (push_rule, "adding the routing rule of steered packets"),
        ] {
            let mut messages = self.routes.messages();
            let acknowledged = push(&mut messages, family, true);
            match self.routes.transact(&messages, acknowledged) {
                Ok(()) => {}
                // The rule of an earlier process.
                Err(TransactError::Refused(refused)) if refused.errno == Errno::EEXIST => {}
                Err(error) => {
                    return Err(ApplyError::from_transact(error, &[(acknowledged, doing.to_owned())]));
                }
            }
        }
        Ok(())
    }
}

fn listener(all: &[SocketAddr], family: Family) -> Option<SocketAddr> {
    all.iter().copied().find(|address| family.has(address.ip()))
}

fn pods(family: Family) -> &'static str {
    match family {
        Family::V4 => PODS4,
        Family::V6 => PODS6,
    }
}

fn named(family: Family) -> &'static str {
    match family {
        Family::V4 => NAMED4,
        Family::V6 => NAMED6,
    }
}

fn only(family: Family) -> &'static str {
    match family {
        Family::V4 => ONLY4,
        Family::V6 => ONLY6,
    }
}

fn beside(family: Family) -> &'static str {
    match family {
        Family::V4 => BESIDE4,
        Family::V6 => BESIDE6,
    }
}

fn stray(family: Family) -> &'static str {
    match family {
        Family::V4 => STRAY4,
        Family::V6 => STRAY6,
    }
}

/// What the sets have of pairs whose two addresses are of one family.
#[derive(Debug, Default)]
struct Keys {
    named: Vec<Vec<u8>>,
    only: Vec<Vec<u8>>,
    beside: Vec<Vec<u8>>,
}

impl Keys {
    fn of(pairs: &BTreeMap<Pair, Beside>, family: Family) -> Self {
        let mut keys = Self::default();
        let of_family = pairs.iter().filter(|((from, to), _)| family.has(*from) && family.has(*to));
        for ((from, to), open) in of_family {
            let pair = Key::pair(*from, *to).bytes().to_vec();
            if let Some(ports) = open.listed() {
                // A register begins with the port, and ends with nothing.
                let with = |port: &u16| [pair.as_slice(), &port.to_be_bytes(), &[0; 2]].concat();
                keys.beside.extend(ports.iter().map(with));
                keys.only.push(pair.clone());
            }
            keys.named.push(pair);
        }
        keys
    }

    fn by_set(self, family: Family) -> [(&'static str, Vec<Vec<u8>>); 3] {
        [(named(family), self.named), (only(family), self.only), (beside(family), self.beside)]
    }
}

fn element(key: &[u8]) -> Element<'_> {
    Element { key, value: None, end: false }
}

fn chains(wanted: &Steer) -> Vec<Chain> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let Some(to) = listener(&wanted.dns, family) else { continue };
        for protocol in [Protocol::UDP, Protocol::TCP] {
            let of_pod = family.header_source(family.only(), A).found(pods(family), A);
            rules.extend(hand_or_drop(to_port(of_protocol(of_pod, protocol), DNS_PORT), family, Some(to)));
        }
    }
    for family in Family::BOTH {
        let to = listener(&wanted.gateway, family);
        for is_new in [opening, asking] {
            let new = is_new(of_protocol(family.only(), Protocol::TCP));
            rules.extend(hand_or_drop(of_pair(new, family), family, to));
        }
        let quic = to_port(of_protocol(family.only(), Protocol::UDP), QUIC_PORT);
        rules.extend(hand_or_drop(of_pair(quic, family), family, to));
    }
    let mut chains = vec![];
    if !wanted.gateway.is_empty() {
        rules.push(of_protocol(Rule::new(), Protocol::TCP).end(End::Jump(HELD)));
        chains.push(Chain { name: HELD.to_owned(), hook: None, rules: held() });
        chains.push(Chain { name: OUTPUT.to_owned(), hook: Some(HOOK_OUTPUT), rules: vec![led_inside()] });
    }
    for family in Family::BOTH {
        let opened = opened_by_source(of_protocol(family.only(), Protocol::TCP));
        rules.push(of_ends(opened, family).found(only(family), A).end(End::Goto(stray(family))));
        let to = listener(&wanted.gateway, family);
        chains.push(Chain { name: stray(family).to_owned(), hook: None, rules: astray(family, to) });
    }
    chains.push(Chain { name: "prerouting".to_owned(), hook: Some(HOOK_PREROUTING), rules });
    chains
}

/// Delivers here what belongs to a connection that was taken here in another's name, wherever it goes and whatever is
/// steered by now.
fn held() -> Vec<Rule> {
    let is = |what| Rule::new().socket(what, A).compare(A, Compare::Equal, &[1]);
    vec![
        // A packet to the gateway's port finds its listener, which answers for every address, although the packet may
        // belong to a connection that goes by. What is not yet or no longer a whole connection has no such property.
        is(Sock::Wildcard).end(End::Return),
        accept_marked(is(Sock::Transparent)),
    ]
}

/// What a pod sends by a connection that no listener has: it was opened before its pair was steered, or slipped through while
/// that began, or the gateway ended it. The listener knows no such connection either, and has the kernel reset it.
fn astray(family: Family, to: Option<SocketAddr>) -> Vec<Rule> {
    let tcp = || of_protocol(family.only(), Protocol::TCP);
    let port = of_ends(tcp(), family).payload(Base::Transport, 2, 2, after(family, 0));
    let open = port.found(beside(family), A).end(End::Accept);
    [open].into_iter().chain(hand_or_drop(tcp(), family, to)).collect()
}

/// What is led to a Service of the cluster.
fn led_inside() -> Rule {
    let some = |rule: Rule, bits| rule.bits(A, bits, 0).compare(A, Compare::NotEqual, &0_u32.to_ne_bytes());
    let led = some(Rule::new().meta(Meta::Mark, A), LED_MARK);
    some(led.ct(Ct::Status, A), TRANSLATED).end(End::Drop)
}

/// What the rule matches goes to the listener, and nowhere without one.
fn hand_or_drop(matching: Rule, family: Family, to: Option<SocketAddr>) -> Vec<Rule> {
    // Without a socket a rule that hands over ends early, and the packet would go on to whom it was meant for.
    let dropped = matching.clone().end(End::Drop);
    to.map(|to| hand_to(matching, family, to)).into_iter().chain([dropped]).collect()
}

fn hand_to(rule: Rule, family: Family, to: SocketAddr) -> Rule {
    let octets = match to.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // A listener at every address is found at the one that the kernel assumes if it is told none.
    let told = !to.ip().is_unspecified();
    let rule = if told { rule.load(&octets, A) } else { rule };
    let rule = rule.load(&to.port().to_be_bytes(), PORT);
    accept_marked(rule.hand_to(family, told.then_some(A), PORT))
}

fn accept_marked(rule: Rule) -> Rule {
    rule.meta(Meta::Mark, A).bits(A, !MARK, MARK).set_packet_mark(A).end(End::Accept)
}

fn of_protocol(rule: Rule, protocol: Protocol) -> Rule {
    rule.meta(Meta::Protocol, A).compare(A, Compare::Equal, &[protocol.0])
}

fn to_port(rule: Rule, port: u16) -> Rule {
    rule.payload(Base::Transport, 2, 2, A).compare(A, Compare::Equal, &port.to_be_bytes())
}

/// Nothing has answered yet.
fn opening(rule: Rule) -> Rule {
    rule.ct(Ct::State, A).bits(A, state::NEW, 0).compare(A, Compare::NotEqual, &0_u32.to_ne_bytes())
}

/// A SYN without an ACK. Where the opener of a connection closed it, conntrack takes the next SYN between the same ports for a part
/// of it, which was answered, and lets both ends come to terms again.
fn asking(rule: Rule) -> Rule {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let flags = |flags: u8| [0, flags, 0, 0];
    let begun = rule.payload(Base::Transport, 12, 4, A).bits(A, u32::from_ne_bytes(flags(SYN | ACK)), 0);
    begun.compare(A, Compare::Equal, &flags(SYN))
}

fn of_pair(rule: Rule, family: Family) -> Rule {
    of_ends(rule, family).found(named(family), A)
}

fn of_ends(rule: Rule, family: Family) -> Rule {
    let from = family.header_source(rule, A);
    family.header_destination(from, family.second())
}

/// Not an answer to who opened the connection: pods answer addresses that they know by name, too.
fn opened_by_source(rule: Rule) -> Rule {
    rule.ct(Ct::Direction, A).compare(A, Compare::Equal, &[0])
}

/// `ip rule` that looks up marked packets in the table. `struct fib_rule_hdr` has the table at byte 4, the action at 7.
fn push_rule(messages: &mut Messages, family: Family, add: bool) -> u32 {
    const TO_TABLE: u8 = 1;
    const PRIORITY: u16 = 6;
    const FWMARK: u16 = 10;
    const TABLE: u16 = 15;
    const FWMASK: u16 = 16;
    let fixed = [0, 0, 0, TO_TABLE, 0, 0, 0, 0];
    push(
        messages,
        if add { (NEW_RULE, ACK | CREATE | EXCLUSIVE) } else { (DELETE_RULE, ACK) },
        family,
        fixed,
        |a| {
            number(a, PRIORITY, ROUTES);
            number(a, FWMARK, MARK);
            number(a, FWMASK, MARK);
            number(a, TABLE, ROUTES);
        },
    )
}

/// The only route of the table: everything is local. `struct rtmsg` ends with table, protocol, scope, type and flags.
fn push_route(messages: &mut Messages, family: Family, add: bool) -> u32 {
    const STATIC: u8 = 4;
    const HOST: u8 = 254;
    const LOCAL: u8 = 2;
    const DEVICE: u16 = 4;
    const TABLE: u16 = 15;
    let fixed = [0, STATIC, HOST, LOCAL, 0, 0, 0, 0];
    push(
        messages,
        if add { (NEW_ROUTE, ACK | CREATE | REPLACE) } else { (DELETE_ROUTE, ACK) },
        family,
        fixed,
        |a| {
            number(a, DEVICE, LOOPBACK);
            number(a, TABLE, ROUTES);
        },
    )
}

fn push(
    messages: &mut Messages,
    (kind, flags): (u16, u16),
    family: Family,
    fixed: [u8; 8],
    fill: impl FnOnce(&mut Attributes<'_>),
) -> u32 {
    messages.push(kind, flags, family.number(), 0, |a| {
        a.encoded(&fixed);
        fill(a);
    })
}

/// Numbers of rtnetlink are in the byte order of the machine.
fn number(a: &mut Attributes<'_>, kind: u16, value: u32) {
    a.bytes(kind, &value.to_ne_bytes());
}
