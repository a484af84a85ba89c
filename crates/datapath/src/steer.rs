//! Steering: connections of pods are handed to a listener of this node, which sees the addresses as the pod meant them.
//!
//! Enters: pods' addresses, and where listeners are. Leaves: a table of its own with `tproxy` rules behind destination
//! translation, and a route for what they marked. Guarantees: changed in one step; what would be steered and finds no
//! listener is dropped; stays when the process ends. Does not: judge. What is steered comes to the input hook, where the
//! rules judge pod and destination as ever.
//! Source: kernel documentation `networking/tproxy`, `linux/fib_rules.h`, `linux/rtnetlink.h`.

use crate::error::ApplyError;
use crate::netlink::{ACK, Attributes, CREATE, EXCLUSIVE, Messages, REPLACE, Socket, TransactError};
use crate::nft::batch::{Batch, SetSpec, Shape, delete_table};
use crate::nft::expr::{Base, Compare, End, Meta, Register};
use crate::nft::program::{Chain, Family};
use crate::nft::sets::{HashSet, Key};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use policy::Protocol;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

const TABLE: &str = "cofferdam_steer";
const PODS4: &str = "pods4";
const PODS6: &str = "pods6";
const HOOK_PREROUTING: u32 = 0;
/// Right behind destination translation.
const PRIORITY: i32 = -99;
/// Tells steered packets to the routing; no other bit of the mark is touched.
const MARK: u32 = 1 << 20;
/// Number of the routing table, and priority of the rule that leads to it.
const ROUTES: u32 = 3325;

const A: Register = Register::new(0);
const PORT: Register = Register::new(4);

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
}

impl Steer {
    fn listener(&self, family: Family) -> Option<SocketAddr> {
        self.dns.iter().copied().find(|address| family.has(address.ip()))
    }
}

/// Steering in one network namespace.
#[derive(Debug)]
pub struct Steering {
    netfilter: Socket,
    routes: Socket,
    in_force: Option<Steer>,
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

    /// Steers this and nothing else, from when it returns.
    ///
    /// # Errors
    /// What was steered before still is.
    pub fn steer(&mut self, wanted: &Steer) -> Result<(), ApplyError> {
        if self.in_force.as_ref() == Some(wanted) {
            return Ok(());
        }
        for family in Family::BOTH.into_iter().filter(|family| wanted.listener(*family).is_some()) {
            self.route(family)?;
        }
        let mut batch = Batch::new(self.netfilter.messages());
        batch.replace_table(TABLE, "steers pods' DNS to the node's proxy");
        for (name, set) in [(PODS4, HashSet::Endpoints4), (PODS6, HashSet::Endpoints6)] {
            batch.new_set(TABLE, SetSpec { name, key: set.key(), map: false, shape: Shape::Hash });
        }
        let chain = prerouting(wanted);
        batch.new_chain(TABLE, &chain.name, chain.hook.map(|hook| (hook, PRIORITY)));
        for (index, rule) in chain.rules.iter().enumerate() {
            batch.append_rule(TABLE, &chain.name, index, rule);
        }
        for (name, is_v4) in [(PODS4, true), (PODS6, false)] {
            let keys: Vec<_> =
                wanted.pods.iter().filter(|it| it.is_ipv4() == is_v4).map(|it| Key::address(*it)).collect();
            batch.add(TABLE, name, keys.iter().map(Key::element));
        }
        let (messages, acknowledged, doing) = batch.finish(TABLE);
        let sent = self.netfilter.transact(&messages, acknowledged);
        sent.map_err(|error| ApplyError::from_transact(error, &doing))?;
        self.in_force = Some(wanted.clone());
        Ok(())
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

fn absent_is_fine(done: Result<(), TransactError>) -> Result<(), ApplyError> {
    match done {
        Ok(()) => Ok(()),
        Err(TransactError::Refused(refused))
            if matches!(refused.errno, Errno::ENOENT | Errno::ESRCH | Errno::EAFNOSUPPORT) =>
        {
            Ok(())
        }
        Err(error) => Err(ApplyError::from_transact(error, &[])),
    }
}

fn prerouting(wanted: &Steer) -> Chain {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let Some(to) = wanted.listener(family) else { continue };
        for protocol in [Protocol::UDP, Protocol::TCP] {
            let query = |pods| {
                let of_pod = family.header_source(family.only(), A).found(pods, A);
                let of_protocol = of_pod.meta(Meta::Protocol, A).compare(A, Compare::Equal, &[protocol.0]);
                of_protocol.payload(Base::Transport, 2, 2, A).compare(
                    A,
                    Compare::Equal,
                    &53_u16.to_be_bytes(),
                )
            };
            let pods = match family {
                Family::V4 => PODS4,
                Family::V6 => PODS6,
            };
            let octets = match to.ip() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let handed =
                query(pods).load(&octets, A).load(&to.port().to_be_bytes(), PORT).hand_to(family, A, PORT);
            let marked = handed.meta(Meta::Mark, A).bits(A, !MARK, MARK).set_packet_mark(A);
            rules.push(marked.end(End::Accept));
            // Without a listener the rule before ends early, and the packet would go on to whom it was meant for.
            rules.push(query(pods).end(End::Drop));
        }
    }
    Chain { name: "prerouting".to_owned(), hook: Some(HOOK_PREROUTING), rules }
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
