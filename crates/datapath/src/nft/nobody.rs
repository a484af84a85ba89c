//! Packets under addresses that no policy can speak of, because they are nobody's, or not the sender's: rules that tell them
//! by the interface that they come in by.
//!
//! Enters: the set of sides, the interfaces that endpoints are behind. Leaves: rules of the chains that judge, each of which
//! stands where the packet is none of those that policy is about, so that others do not pay for it.

use super::discovery::LINK_LOCAL6;
use super::expr::{Compare, Ct, End, Meta, Place, Register, Rule, Tuple, place};
use super::program::{Family, Judge};
use super::sets::HashSet;
use policy::RuleId;

const A: Register = Register::new(0);

/// Where packets end that nobody may send.
pub(super) const NOBODY: &str = "nobody";
/// Stems of chains: [`Judge::to_many`], and [`Judge::one_sided`].
pub(super) const MANY: &str = "many";
/// See [`MANY`].
pub(super) const SIDE: &str = "side";

/// Mask and bits of link-local addresses.
const LINK_LOCAL4: ([u8; 4], [u8; 4]) = ([255, 255, 0, 0], [169, 254, 0, 0]);
/// The same of loopback addresses.
const LOOPBACK4: ([u8; 4], [u8; 4]) = ([255, 0, 0, 0], [127, 0, 0, 0]);

/// The same of IPv4's addresses of many, with those that are reserved and that of all hosts.
const MANY4: ([u8; 4], [u8; 4]) = ([0xe0, 0, 0, 0], [0xe0, 0, 0, 0]);
/// The same of IPv6.
const MANY6: ([u8; 4], [u8; 4]) = ([0xff, 0, 0, 0], [0xff, 0, 0, 0]);

/// The packet came by an interface that endpoints are behind.
pub(super) fn from_side() -> Rule {
    Rule::new().meta(Meta::Input, A).found(HashSet::Sides.name(), A)
}

/// The packet goes the way that the first one of its connection went.
pub(super) fn opened(rule: Rule) -> Rule {
    rule.ct(Ct::Direction, A).compare(A, Compare::Equal, &[0])
}

/// The packet is this node's own, and leaves it.
pub(super) fn own_packet() -> Rule {
    Rule::new().meta(Meta::Input, A).compare(A, Compare::Equal, &[0; 4])
}

impl Judge {
    /// From where endpoints are, under addresses of which none is theirs.
    pub(super) fn one_sided(&self) -> Vec<Rule> {
        vec![self.between(), self.nobodys()]
    }

    /// What goes from where endpoints are to where endpoints are has its destination looked at. Only bridges forward this.
    pub(super) fn between(&self) -> Rule {
        let between = from_side().meta(Meta::Output, A).found(HashSet::Sides.name(), A);
        between.end(End::Jump(&self.chain(MANY)))
    }

    /// To many at once, or to one by an address that no policy knows. Whoever takes it, nobody judged its ingress.
    pub(super) fn to_many(&self) -> Vec<Rule> {
        let rule = || self.family.header_destination(Rule::new(), A);
        let rules = match self.family {
            Family::V4 => vec![
                rule().begins(A, MANY4),
                rule().begins(A, LINK_LOCAL4),
                Rule::new().place(Place::Destination, A).compare(
                    A,
                    Compare::Equal,
                    &place::BROADCAST.to_ne_bytes(),
                ),
            ],
            Family::V6 => vec![rule().begins(A, MANY6), rule().begins(A, LINK_LOCAL6)],
        };
        rules.into_iter().map(|rule| rule.end(End::Goto(NOBODY))).collect()
    }

    /// Opened by a link-local address. What the node opened to one is answered.
    fn nobodys(&self) -> Rule {
        let from = self.source(opened(Rule::new()), A);
        let local = match self.family {
            Family::V4 => from.begins(A, LINK_LOCAL4),
            Family::V6 => from.begins(A, LINK_LOCAL6),
        };
        local.end(End::Goto(NOBODY))
    }

    /// A pod that reaches itself, which it can only by an address that was translated: what is for itself stays in it.
    pub(super) fn same(&self) -> Vec<Rule> {
        let untranslated =
            self.meant(self.source(Rule::new(), A), self.family.second()).found(self.selves(), A);
        vec![untranslated.end(End::Goto(NOBODY)), self.stamp_constant(RuleId::SAME_ENDPOINT)]
    }

    /// The node reaches its pods, from itself and not from where pods are.
    pub(super) fn own(&self) -> Vec<Rule> {
        vec![opened(from_side()).end(End::Goto(NOBODY)), self.stamp_constant(RuleId::OWN_NODE)]
    }

    /// What a pod means by a loopback address is in the pod. The node takes it for its own where `route_localnet` is set.
    pub(super) fn to_loopback(&self) -> Option<Rule> {
        match self.family {
            Family::V4 => Some(self.meant(Rule::new(), A).begins(A, LOOPBACK4).end(End::Goto(NOBODY))),
            // The kernel takes it from no wire.
            Family::V6 => None,
        }
    }

    /// The destination before translation.
    fn meant(&self, rule: Rule, to: Register) -> Rule {
        match self.family {
            Family::V4 => rule.ct_tuple(Ct::DstIp, Tuple::Original, to),
            Family::V6 => rule.ct_tuple(Ct::DstIp6, Tuple::Original, to),
        }
    }
}
