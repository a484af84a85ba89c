//! The chains that judge a packet: fixed shape, all policy is in the sets.
//!
//! Enters: the tag and the phase in force. Leaves: chains of rules, in three groups: [`fixed`] ones are written once per
//! table, [`refusal`] again when settings change, [`moving`] ones with every state. The kernel walks a whole map for
//! every rule that is written with a lookup in it, so only fixed rules look into maps.
//!
//! The way of a packet (forward, input and output hook, after destination translation):
//! 1. Its connection's mark carries the tag in force: accept, or drop if the deny bit is set. Nothing else is looked
//!    at, in either direction.
//! 2. It belongs to no connection: neighbour discovery passes, anything else of an endpoint, or from where endpoints are,
//!    is dropped.
//! 3. `judge` looks up the connection's original source and its real destination (the source of its replies) and
//!    stamps the mark. The rule that finds a ruling looks up the tag last and stamps both in one go: the mark never
//!    holds half a judgement that another processor could take for a whole one.
//! 4. Step 1 again. What has no judgement by now was overtaken by a commit and is judged again, by the state after it.
//!    What has none even then is dropped.
//!
//! States take turns in two phases, each with its own copy of the fixed chains. A copy finds a tag only while a state of
//! its phase is in force. So a judgement that a commit overtakes, whose lookups may have seen both states, leaves no
//! stamp, whatever it found.
//!
//! A rule cannot remember anything for the next one, so each step of the lookup has a rule that repeats the ones
//! before it. Addresses that are nobody's (link-local ones, and those of many) are judged by the interface: between those
//! that endpoints are behind nothing passes to or from them, and from there to the node nothing from a link-local one.
//!
//! Lookups that decide which rule set applies (`goto`) are separate from those that yield a ruling, so that
//! a miss never falls through to a wider answer.

use super::Config;
use super::discovery::{listeners, neighbours, routers};
use super::expr::{Base, Compare, Ct, End, Meta, Register, Rule, Tuple, state};
use super::nobody::{MANY, NOBODY, SIDE, from_side, opened, own_packet};
use super::sets::{HashSet, IntervalSet};
use crate::mark::{DENY, HELD_DENY, RULING_MASK, TAG_MASK, TAG_SHIFT, Tag, held, ruling_bits};
use policy::table::Ruling;
use policy::{RuleId, Verdict};
use std::net::IpAddr;

/// One chain. `hook` is the netfilter hook number of a base chain.
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) hook: Option<u32>,
    pub(crate) rules: Vec<Rule>,
}

/// States take turns in these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    A,
    B,
}

impl Phase {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The phase as key of [`TAGS`].
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// What the moving rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    pub(crate) tag: Tag,
    pub(crate) phase: Phase,
    pub(crate) rejudge: bool,
}

pub(crate) const HOOK_INPUT: u32 = 1;
pub(crate) const HOOK_FORWARD: u32 = 2;
pub(crate) const HOOK_OUTPUT: u32 = 3;

/// Map from the phase in force, and from it alone, to the tag; and from [`SETTINGS`] to the settings.
pub(crate) const TAGS: &str = "tags";
/// The key in [`TAGS`] that is no phase.
pub(crate) const SETTINGS: u32 = 2;
/// New connections judged, by ruling.
pub(crate) const JUDGED: &str = "judged";
/// Denied tuples that were logged lately.
pub(crate) const RECENT4: &str = "recent4";
/// The same for IPv6.
pub(crate) const RECENT6: &str = "recent6";

/// Denied packets a second that are logged although their tuple could not be added to those.
pub(crate) const UNREMEMBERED_RATE: u32 = 1000;
/// Chains that end with the counter of denied packets that were not logged at all.
pub(crate) const REFUSALS: [&str; 2] = ["denied", "stray"];

/// Log prefixes: which way the logged packet went.
pub(crate) const LOG_ORIGINAL: &str = "original";
/// See [`LOG_ORIGINAL`].
pub(crate) const LOG_REPLY: &str = "reply";

// Addresses take registers 0 to 7, lookups the rest.
const A: Register = Register::new(0);
const B4: Register = Register::new(1);
const B6: Register = Register::new(4);
/// What is looked up by a name begins with a zero here. `nft` takes the result of a lookup for a value without length and
/// breaks off where it finds one at the beginning of a key; it knows the length of a constant.
const KEY: Register = Register::new(8);
const SLOT: Register = Register::new(9);
const CLASS: Register = Register::new(10);
const ROW: Register = SLOT;
const PROTOCOL: Register = Register::new(10);
const PORT: Register = Register::new(11);
/// As long as the longest key, in bytes.
const KEY_ZERO: [u8; 16] = [0; 16];
/// With the ruling behind it, a number of 64 bits.
const TAG: Register = Register::new(13);
const RULING: Register = Register::new(14);

const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// The chains that look addresses and ports up, once for each phase.
pub(crate) fn fixed() -> Vec<Chain> {
    let mut chains = vec![];
    for phase in Phase::BOTH {
        let by_family = Family::BOTH.map(|family| {
            family.only().end(End::Goto(&of_phase(phase, &format!("judge{}", family.digit()))))
        });
        chains.push(plain(of_phase(phase, "judge"), by_family.into()));
        for family in Family::BOTH {
            chains.extend(Judge { phase, family }.chains());
        }
        chains.push(plain(of_phase(phase, "loose"), loose_of(phase)));
    }
    chains
}

/// The chains that depend on the tag in force. They look into no map.
pub(crate) fn moving(p: Parameters) -> Vec<Chain> {
    let hooks = [("forward", HOOK_FORWARD), ("input", HOOK_INPUT), ("output", HOOK_OUTPUT)];
    let hook = |(name, hook): (&str, u32)| Chain {
        name: name.to_owned(),
        hook: Some(hook),
        rules: vec![accept_judged(p.tag), Rule::new().end(End::Goto("gate"))],
    };
    let mut chains: Vec<Chain> = hooks.into_iter().map(hook).collect();
    chains.push(plain("gate", gate(p)));
    chains.push(plain("overtaken", overtaken(p)));
    chains.push(plain("loose", loose(p)));
    for (name, rule) in [("untracked", RuleId::UNTRACKED), (NOBODY, RuleId::UNMANAGED)] {
        chains.push(plain(name, vec![stray(p.tag, Ruling { verdict: Verdict::Deny, rule })]));
    }
    chains
}

fn of_phase(phase: Phase, stem: &str) -> String {
    format!("{}_{stem}", phase.letter())
}

fn plain(name: impl Into<String>, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: None, rules }
}

fn accept_judged(tag: Tag) -> Rule {
    mark_is(TAG_MASK | DENY, tag.bits()).end(End::Accept)
}

fn refuse_judged(tag: Tag) -> Rule {
    mark_is(TAG_MASK | DENY, tag.bits() | DENY).end(End::Goto("denied"))
}

/// Counts a new connection that was judged under the tag.
fn count_judged(tag: Tag) -> Rule {
    let opens = in_state(state::NEW | state::RELATED);
    let judged =
        opens.ct(Ct::Mark, A).bits(A, TAG_MASK, 0).compare(A, Compare::Equal, &tag.bits().to_ne_bytes());
    judged.ct(Ct::Mark, A).bits(A, RULING_MASK, 0).count_in(JUDGED, A)
}

fn mark_is(mask: u32, value: u32) -> Rule {
    Rule::new().ct(Ct::Mark, A).bits(A, mask, 0).compare(A, Compare::Equal, &value.to_ne_bytes())
}

fn of_family(family: u8) -> Rule {
    Rule::new().meta(Meta::Family, A).compare(A, Compare::Equal, &[family])
}

fn in_state(bits: u32) -> Rule {
    let none = 0_u32.to_ne_bytes();
    Rule::new().ct(Ct::State, A).bits(A, bits, 0).compare(A, Compare::NotEqual, &none)
}

/// The packet belongs to a connection that was let through before.
fn is_open() -> Rule {
    in_state(state::ESTABLISHED)
}

fn gate(p: Parameters) -> Vec<Rule> {
    let mut rules = vec![refuse_judged(p.tag)];
    if !p.rejudge {
        // Judged by any earlier state and allowed: it stays.
        let allowed = mark_is(DENY, 0).ct(Ct::Mark, B4).bits(B4, TAG_MASK, 0);
        rules.push(allowed.compare(B4, Compare::NotEqual, &0_u32.to_ne_bytes()).end(End::Accept));
    }
    rules.push(in_state(state::INVALID | state::UNTRACKED).end(End::Goto("loose")));
    rules.push(judge(p.phase));
    rules.extend(settle(p.tag));
    rules.push(Rule::new().end(End::Goto("overtaken")));
    rules
}

fn judge(phase: Phase) -> Rule {
    Rule::new().end(End::Jump(&of_phase(phase, "judge")))
}

fn settle(tag: Tag) -> [Rule; 3] {
    [count_judged(tag), accept_judged(tag), refuse_judged(tag)]
}

/// A commit came between: the state after it judges, or the one after that. Or another processor stamped the tag
/// before ours between our stamp and our test.
fn overtaken(p: Parameters) -> Vec<Rule> {
    let next = p.tag.next();
    let mut rules = vec![judge(p.phase.other())];
    rules.extend(settle(next));
    rules.push(judge(p.phase));
    rules.extend(settle(p.tag));
    rules.extend(settle(next.next()));
    rules.push(Rule::new().end(End::Goto(NOBODY)));
    rules
}

/// Packets of no connection.
fn loose(p: Parameters) -> Vec<Rule> {
    let mut rules = vec![routers(own_packet()).end(End::Accept)];
    rules.extend(neighbours().map(|rule| rule.end(End::Accept)));
    rules.extend(listeners().map(|rule| rule.end(End::Accept)));
    for phase in [p.phase, p.phase.other(), p.phase] {
        rules.push(Rule::new().end(End::Jump(&of_phase(phase, "loose"))));
    }
    rules.push(Rule::new().end(End::Goto("untracked")));
    rules
}

/// Accepts what concerns no endpoint; comes back if the phase is not in force.
fn loose_of(phase: Phase) -> Vec<Rule> {
    let mut rules = vec![];
    for family in Family::BOTH {
        let endpoints = family.set(HashSet::Endpoints4, HashSet::Endpoints6);
        for header in [Family::header_source, Family::header_destination] {
            let concerned = header(family, family.only(), A).lookup(endpoints, A, SLOT);
            rules.push(concerned.end(End::Goto("untracked")));
        }
    }
    rules.push(from_side().end(End::Goto("untracked")));
    rules.push(in_force(Rule::new(), phase).end(End::Accept));
    rules
}

/// Loads the tag, and ends the rule if no state of the phase is in force. What a rule looked up before, it then looked
/// up in the state of this tag.
fn in_force(rule: Rule, phase: Phase) -> Rule {
    rule.load(&phase.number().to_be_bytes(), A).lookup(TAGS, A, TAG)
}

/// Stamps the ruling in its register with the tag in force.
fn stamp(rule: Rule, phase: Phase) -> Rule {
    in_force(rule, phase).shift_pair_up(TAG, TAG_SHIFT).set_ct_mark(TAG).end(End::Return)
}

/// Marks the packet itself, for the log, and drops it.
fn stray(tag: Tag, ruling: Ruling) -> Rule {
    let mark = tag.bits() | ruling_bits(ruling);
    Rule::new().load(&mark.to_ne_bytes(), A).set_packet_mark(A).end(End::Goto("stray"))
}

/// IPv4 and IPv6 differ in the length of addresses and the names of the sets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn has(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// The register behind an address at register 0.
    pub(crate) fn second(self) -> Register {
        match self {
            Self::V4 => B4,
            Self::V6 => B6,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => IPV4,
            Self::V6 => IPV6,
        }
    }

    fn recent(self) -> &'static str {
        match self {
            Self::V4 => RECENT4,
            Self::V6 => RECENT6,
        }
    }

    fn address(self, rule: Rule, tuple: Tuple, to: Register) -> Rule {
        match self {
            Self::V4 => rule.ct_tuple(Ct::SrcIp, tuple, to),
            Self::V6 => rule.ct_tuple(Ct::SrcIp6, tuple, to),
        }
    }

    /// The addresses in the packet's own header.
    pub(crate) fn header_source(self, rule: Rule, to: Register) -> Rule {
        match self {
            Self::V4 => rule.payload(Base::Network, 12, 4, to),
            Self::V6 => rule.payload(Base::Network, 8, 16, to),
        }
    }

    pub(crate) fn header_destination(self, rule: Rule, to: Register) -> Rule {
        match self {
            Self::V4 => rule.payload(Base::Network, 16, 4, to),
            Self::V6 => rule.payload(Base::Network, 24, 16, to),
        }
    }

    pub(crate) fn only(self) -> Rule {
        of_family(self.number())
    }

    pub(super) fn set(self, of4: HashSet, of6: HashSet) -> &'static str {
        match self {
            Self::V4 => of4.name(),
            Self::V6 => of6.name(),
        }
    }
}

/// One direction of judgement, and what a ruling leads to.
#[derive(Clone, Copy, Debug)]
enum Lane {
    /// The destination is no endpoint of this node: the egress ruling is the verdict.
    Egress,
    /// It is: an egress denial is the verdict, otherwise ingress decides.
    Pair,
    /// The ingress ruling is the verdict.
    Ingress,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Pair => "pair",
            Self::Ingress => "ingress",
        }
    }
}

pub(super) struct Judge {
    phase: Phase,
    pub(super) family: Family,
}

impl Judge {
    fn chains(&self) -> Vec<Chain> {
        let mut judge = vec![
            self.source(Rule::new(), A)
                .lookup(self.endpoints(), A, SLOT)
                .end(End::Goto(&self.chain("egress"))),
            self.destination(Rule::new(), A)
                .lookup(self.endpoints(), A, SLOT)
                .end(End::Goto(&self.chain("ingress"))),
        ];
        // One lookup for what comes from elsewhere, each packet of which comes this far.
        judge.push(from_side().end(End::Jump(&self.chain(SIDE))));
        judge.push(in_force(Rule::new(), self.phase).end(End::Accept));
        let mut chains = vec![
            plain(self.chain("judge"), judge),
            plain(self.chain(SIDE), self.one_sided()),
            plain(self.chain(MANY), self.to_many()),
            plain(self.chain("same"), self.same()),
            plain(self.chain("own"), self.own()),
        ];
        for lane in [Lane::Egress, Lane::Pair, Lane::Ingress] {
            chains.extend(self.lane(lane));
        }
        chains
    }

    fn lane(&self, lane: Lane) -> Vec<Chain> {
        let sub = |part: &str| format!("{}_{part}", self.chain(lane.name()));
        let (known, unknown, exact_host, exact_net, rest) =
            (sub("known"), sub("unknown"), sub("host"), sub("net"), sub("rest"));
        let mut entry = self.before(lane);
        let mut chains = vec![];
        match lane {
            Lane::Egress | Lane::Pair => {
                for (part, open) in [("past", true), ("bound", false)] {
                    let bindings = self.bindings(open);
                    let found =
                        self.ends(if open { is_open() } else { Rule::new() }).lookup(bindings, A, ROW);
                    entry.push(found.end(End::Goto(&sub(part))));
                    let row = self.ends(Rule::new().load(&KEY_ZERO, KEY)).lookup(bindings, A, ROW);
                    chains.push(plain(sub(part), self.rulings(&row, lane)));
                }
            }
            Lane::Ingress => {}
        }
        entry.push(self.host_class(Rule::new(), lane).end(End::Goto(&known)));
        entry.push(self.net_class(Rule::new(), lane).end(End::Goto(&unknown)));
        let known_rules = vec![
            self.exact(self.host_class(self.slot(lane), lane), lane).end(End::Goto(&exact_host)),
            Rule::new().end(End::Goto(&rest)),
        ];
        let unknown_rules = vec![
            self.exact(self.net_class(self.slot(lane), lane), lane).end(End::Goto(&exact_net)),
            Rule::new().end(End::Goto(&rest)),
        ];
        let by_host = self.exact(self.host_class(self.slot(lane), lane), lane);
        let by_net = self.exact(self.net_class(self.slot(lane), lane), lane);
        let by_rest = self.slot(lane).lookup(rest_map(lane), KEY, ROW);
        chains.extend([
            plain(self.chain(lane.name()), entry),
            plain(known, known_rules),
            plain(unknown, unknown_rules),
            plain(exact_host, self.rulings(&by_host, lane)),
            plain(exact_net, self.rulings(&by_net, lane)),
            plain(rest, self.rulings(&by_rest, lane)),
        ]);
        chains
    }

    /// What is decided before any row: a pod reaching itself, the own node, both ends local, nobody's addresses.
    fn before(&self, lane: Lane) -> Vec<Rule> {
        match lane {
            Lane::Egress => {
                let same = self.ends(Rule::new()).found(self.selves(), A);
                let local = self.destination(Rule::new(), A).lookup(self.endpoints(), A, SLOT);
                let mut rules =
                    vec![same.end(End::Goto(&self.chain("same"))), local.end(End::Goto(&self.chain("pair")))];
                rules.push(self.between());
                rules.extend(self.to_loopback());
                rules
            }
            Lane::Pair => vec![],
            Lane::Ingress => {
                let own = self.source(Rule::new(), A);
                let own = own.found(self.family.set(HashSet::Own4, HashSet::Own6), A);
                vec![own.end(End::Goto(&self.chain("own")))]
            }
        }
    }

    /// From a rule that has loaded the row: one rule per place where its ruling may be.
    fn rulings(&self, row: &Rule, lane: Lane) -> Vec<Rule> {
        let keyed = row.clone().ct(Ct::Protocol, PROTOCOL).ct_tuple(Ct::ProtoSrc, Tuple::Reply, PORT);
        let places = [
            keyed.clone().lookup(HashSet::Cells.name(), KEY, RULING),
            row.clone().lookup(HashSet::RowRest.name(), KEY, RULING),
            keyed.lookup(&IntervalSet::Spans.name(self.phase), KEY, RULING),
        ];
        places.into_iter().flat_map(|place| self.conclude(place, lane)).collect()
    }

    fn conclude(&self, ruling: Rule, lane: Lane) -> Vec<Rule> {
        let stamped = stamp(ruling.clone(), self.phase);
        match lane {
            Lane::Egress | Lane::Ingress => vec![stamped],
            Lane::Pair => {
                let none = 0_u32.to_ne_bytes();
                let allowed = ruling.bits(RULING, HELD_DENY, 0).compare(RULING, Compare::Equal, &none);
                vec![allowed.end(End::Goto(&self.chain("ingress"))), stamped]
            }
        }
    }

    pub(super) fn stamp_constant(&self, rule: RuleId) -> Rule {
        let ruling = held(Ruling { verdict: Verdict::Allow, rule });
        stamp(Rule::new().load(&ruling.to_ne_bytes(), RULING), self.phase)
    }

    fn slot(&self, lane: Lane) -> Rule {
        let rule = Rule::new().load(&KEY_ZERO, KEY);
        let own = match lane {
            Lane::Egress | Lane::Pair => self.source(rule, A),
            Lane::Ingress => self.destination(rule, A),
        };
        own.lookup(self.endpoints(), A, SLOT)
    }

    fn peer(&self, rule: Rule, lane: Lane) -> Rule {
        match lane {
            Lane::Egress | Lane::Pair => self.destination(rule, A),
            Lane::Ingress => self.source(rule, A),
        }
    }

    fn host_class(&self, rule: Rule, lane: Lane) -> Rule {
        self.peer(rule, lane).lookup(self.family.set(HashSet::Hosts4, HashSet::Hosts6), A, CLASS)
    }

    fn net_class(&self, rule: Rule, lane: Lane) -> Rule {
        let networks = match self.family {
            Family::V4 => IntervalSet::Networks4,
            Family::V6 => IntervalSet::Networks6,
        };
        self.peer(rule, lane).lookup(&networks.name(self.phase), A, CLASS)
    }

    fn exact(&self, rule: Rule, lane: Lane) -> Rule {
        let lanes = match lane {
            Lane::Egress | Lane::Pair => HashSet::EgressLanes,
            Lane::Ingress => HashSet::IngressLanes,
        };
        rule.lookup(lanes.name(), KEY, ROW)
    }

    /// Source and destination, as a key.
    fn ends(&self, rule: Rule) -> Rule {
        self.destination(self.source(rule, A), self.family.second())
    }

    /// What DNS gave the endpoints; what it gave them once, for connections that are open.
    fn bindings(&self, open: bool) -> &'static str {
        match open {
            true => self.family.set(HashSet::Past4, HashSet::Past6),
            false => self.family.set(HashSet::Bound4, HashSet::Bound6),
        }
    }

    pub(super) fn source(&self, rule: Rule, to: Register) -> Rule {
        self.family.address(rule, Tuple::Original, to)
    }

    pub(super) fn destination(&self, rule: Rule, to: Register) -> Rule {
        self.family.address(rule, Tuple::Reply, to)
    }

    pub(super) fn selves(&self) -> &'static str {
        self.family.set(HashSet::Self4, HashSet::Self6)
    }

    fn endpoints(&self) -> &'static str {
        self.family.set(HashSet::Endpoints4, HashSet::Endpoints6)
    }

    pub(super) fn chain(&self, stem: &str) -> String {
        of_phase(self.phase, &format!("{stem}{}", self.family.digit()))
    }
}

fn rest_map(lane: Lane) -> &'static str {
    match lane {
        Lane::Egress | Lane::Pair => HashSet::EgressRest.name(),
        Lane::Ingress => HashSet::IngressRest.name(),
    }
}

/// The chains that log a refused packet and drop it.
pub(crate) fn refusal(config: &Config) -> Vec<Chain> {
    let log = |prefix| Rule::new().log(config.log_group, prefix).end(End::Drop);
    let forwards = opened(Rule::new());
    let tuple = |family: Family| {
        let ends = family.address(family.only(), Tuple::Original, A);
        family.address(ends, Tuple::Reply, family.second()).ct(Ct::Protocol, after(family, 0)).ct_tuple(
            Ct::ProtoSrc,
            Tuple::Reply,
            after(family, 1),
        )
    };
    let mut denied = vec![Rule::new().ct(Ct::Mark, A).set_packet_mark(A)];
    denied.extend(log_and_drop(config, tuple, |rule| rule.end(End::Goto("log"))));
    vec![
        plain("denied", denied),
        plain("stray", log_and_drop(config, header_tuple, |rule| rule.end(End::Goto("log_stray")))),
        plain("log", vec![forwards.log(config.log_group, LOG_ORIGINAL).end(End::Drop), log(LOG_REPLY)]),
        plain("log_stray", vec![log(LOG_ORIGINAL)]),
    ]
}

/// Logs a packet if none of the same key was logged lately, and drops it. Keys beyond what the kernel remembers are
/// logged nonetheless, or somebody who fills its memory could go on unseen; but not all of a flood, and the last rule
/// counts the rest.
pub(crate) fn log_and_drop(
    config: &Config,
    key: impl Fn(Family) -> Rule,
    log: impl Fn(Rule) -> Rule,
) -> Vec<Rule> {
    if config.quiet_ms == 0 {
        return vec![log(Rule::new())];
    }
    let mut rules = vec![];
    for family in Family::BOTH {
        rules.push(key(family).found(family.recent(), A).end(End::Drop));
        rules.push(log(key(family).count_in(family.recent(), A)));
    }
    rules.push(log(Rule::new().at_most(UNREMEMBERED_RATE)));
    rules.push(Rule::new().counter().end(End::Drop));
    rules
}

/// Addresses and protocol of the packet, as a key of the recently logged.
pub(crate) fn header_tuple(family: Family) -> Rule {
    let source = family.header_source(family.only(), A);
    family
        .header_destination(source, family.second())
        .meta(Meta::Protocol, after(family, 0))
        .load(&[0; 4], after(family, 1))
}

/// The register so far behind two addresses at register 0.
pub(crate) fn after(family: Family, offset: u32) -> Register {
    match family {
        Family::V4 => Register::new(2 + offset),
        Family::V6 => Register::new(8 + offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(chains: &[Chain], name: &str, end: End<'_>) -> bool {
        let chain = chains.iter().find(|chain| chain.name == name).unwrap();
        chain.rules.last().unwrap().bytes().ends_with(Rule::new().end(end).bytes())
    }

    /// That commits overtake a packet as often as this takes cannot be had with packets.
    #[test]
    fn what_no_state_judged_is_dropped() {
        for phase in Phase::BOTH {
            for rejudge in [true, false] {
                let chains = moving(Parameters { tag: Tag::NONE.next(), phase, rejudge });
                for hook in ["forward", "input", "output"] {
                    assert!(ends(&chains, hook, End::Goto("gate")));
                }
                for (name, next) in [
                    ("gate", "overtaken"),
                    ("overtaken", NOBODY),
                    (NOBODY, "stray"),
                    ("loose", "untracked"),
                    ("untracked", "stray"),
                ] {
                    assert!(ends(&chains, name, End::Goto(next)), "{name}");
                }
            }
        }
        for quiet_ms in [0, 1000] {
            let chains = refusal(&Config { quiet_ms, ..Config::default() });
            for name in ["log", "log_stray"] {
                assert!(ends(&chains, name, End::Drop), "{name}");
            }
            for (name, log) in [("denied", "log"), ("stray", "log_stray")] {
                let end = if quiet_ms == 0 { End::Goto(log) } else { End::Drop };
                assert!(ends(&chains, name, end), "{name}");
            }
        }
    }
}
