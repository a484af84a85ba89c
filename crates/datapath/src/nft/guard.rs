//! The guard: a table of its own that drops traffic of pod interfaces whose pod nobody manages.
//!
//! It comes with the first table and stays when the last process is gone. A packet from a pod interface must
//! have a managed source address that the node would answer by the same interface, so neither an address nobody manages
//! can be assumed nor that of another pod (on a bridge: of a pod elsewhere); a packet to a pod interface must have a
//! managed destination. Of neighbour discovery passes what a host says, not what a router does, from managed and
//! link-local addresses, but none of the node, and from none. An advertisement speaks of its own source only: what it says
//! of another address is made to speak of that. Traffic of the node itself to a pod is not its subject.

use super::Config;
use super::discovery;
use super::expr::{Compare, End, Meta, Register, Rule};
use super::program::{Chain, Family, HOOK_FORWARD, HOOK_INPUT, LOG_ORIGINAL, header_tuple, log_and_drop};
use crate::mark::ruling_bits;
use policy::table::Ruling;
use policy::{Protocol, RuleId, Verdict};

const A: Register = Register::new(0);

/// Where traffic of nobody ends; its last rule counts what was not logged.
pub(crate) const UNMANAGED: &str = "unmanaged";

const DISCOVERY: &str = "discovery";

/// Addresses of managed pods.
pub(crate) const MANAGED4: &str = "managed4";
/// The same for IPv6.
pub(crate) const MANAGED6: &str = "managed6";

/// The guard's chains for interfaces whose names begin with one of the configured prefixes.
pub(crate) fn chains(config: &Config) -> Vec<Chain> {
    let each = |key: Meta, to: &'static str| {
        config.guard.iter().filter(|prefix| !prefix.is_empty()).map(move |prefix| {
            Rule::new().meta(key, A).compare(A, Compare::Equal, prefix.as_bytes()).end(End::Jump(to))
        })
    };
    let from: Vec<Rule> = each(Meta::InputName, "from_pod").collect();
    let to: Vec<Rule> = each(Meta::OutputName, "to_pod").collect();
    let forward = from.iter().chain(&to).cloned().collect();
    let icmpv6 = Rule::new().meta(Meta::Protocol, A).compare(A, Compare::Equal, &[Protocol::ICMPV6.0]);
    let mut from_pod = vec![icmpv6.end(End::Jump(DISCOVERY))];
    from_pod.extend(managed(|family, rule, to| {
        family.header_source(rule.way_back(to).compare(to, Compare::NotEqual, &[0; 4]), to)
    }));
    vec![
        Chain { name: "forward".to_owned(), hook: Some(HOOK_FORWARD), rules: forward },
        Chain { name: "input".to_owned(), hook: Some(HOOK_INPUT), rules: from },
        Chain { name: "from_pod".to_owned(), hook: None, rules: from_pod },
        Chain { name: DISCOVERY.to_owned(), hook: None, rules: discovery::of_hosts(MANAGED6) },
        Chain { name: "to_pod".to_owned(), hook: None, rules: managed(Family::header_destination) },
        Chain { name: UNMANAGED.to_owned(), hook: None, rules: unmanaged(config) },
    ]
}

fn managed(end: impl Fn(Family, Rule, Register) -> Rule) -> Vec<Rule> {
    let known = |family: Family, set| end(family, family.only(), A).found(set, A).end(End::Return);
    vec![known(Family::V4, MANAGED4), known(Family::V6, MANAGED6), Rule::new().end(End::Goto(UNMANAGED))]
}

fn unmanaged(config: &Config) -> Vec<Rule> {
    let mark = ruling_bits(Ruling { verdict: Verdict::Deny, rule: RuleId::UNMANAGED });
    let mut rules = vec![Rule::new().load(&mark.to_ne_bytes(), A).set_packet_mark(A)];
    let log = |rule: Rule| rule.log(config.log_group, LOG_ORIGINAL).end(End::Drop);
    rules.extend(log_and_drop(config, header_tuple, log));
    rules
}
