//! The connection mark: where the kernel keeps its judgement of a connection.
//!
//! Layout of the 32 bits, from the top: generation tag (10), deny (1), rule id (21). Tag 0 means never judged.
//! The mark is the only memory of a judgement, so a packet is passed without a lookup exactly if its mark carries
//! the tag in force. It does not say which [`policy::Generation`] a tag stands for: tags come round again.

use policy::table::Ruling;
use policy::{RuleId, Verdict};
use std::fmt;

/// How far the tag is shifted up.
pub(crate) const TAG_SHIFT: u32 = 22;

/// The tag's bits.
pub(crate) const TAG_MASK: u32 = 0xffc0_0000;
/// Set if the connection is denied.
pub(crate) const DENY: u32 = 1 << 21;
/// The rule's bits.
pub(crate) const RULE_MASK: u32 = DENY - 1;
/// Verdict and rule, without the tag.
pub(crate) const RULING_MASK: u32 = RULE_MASK | DENY;

/// Names one state that was in force. Counts from 1 to 1023 and begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) u16);

impl Tag {
    /// No state: the packet was dropped before any policy was asked.
    pub const NONE: Self = Self(0);
    /// How many tags there are.
    pub const COUNT: u16 = 1023;

    /// The tag as a number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 % Self::COUNT + 1)
    }

    pub(crate) fn bits(self) -> u32 {
        u32::from(self.0) << TAG_SHIFT
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A decoded mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Judged {
    /// The state that judged.
    pub tag: Tag,
    /// Verdict and rule.
    pub ruling: Ruling,
}

impl Judged {
    pub(crate) fn from_mark(mark: u32) -> Self {
        let tag = u16::try_from(mark >> TAG_SHIFT).unwrap_or_default();
        Self { tag: Tag(tag), ruling: ruling_of(mark) }
    }

    pub(crate) fn is_denied(self) -> bool {
        self.ruling.verdict == Verdict::Deny
    }
}

/// A ruling as mark bits, without a tag.
pub(crate) fn ruling_bits(ruling: Ruling) -> u32 {
    let deny = match ruling.verdict {
        Verdict::Allow => 0,
        Verdict::Deny => DENY,
    };
    (ruling.rule.0 & RULE_MASK) | deny
}

/// A ruling as the sets hold it: at the upper end of its 32 bits, where a shift by [`TAG_SHIFT`] puts it behind a tag.
pub(crate) fn held(ruling: Ruling) -> u32 {
    ruling_bits(ruling) << (u32::BITS - TAG_SHIFT)
}

/// The deny bit of a ruling as the sets hold it.
pub(crate) const HELD_DENY: u32 = DENY << (u32::BITS - TAG_SHIFT);

/// The ruling in mark bits.
pub(crate) fn ruling_of(mark: u32) -> Ruling {
    let verdict = if mark & DENY == 0 { Verdict::Allow } else { Verdict::Deny };
    Ruling { verdict, rule: RuleId(mark & RULE_MASK) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_carry_tag_verdict_and_rule_unchanged() {
        for verdict in [Verdict::Allow, Verdict::Deny] {
            for rule in [RuleId::NO_POLICY, RuleId::FIRST_WRITTEN, RuleId::MAX] {
                for tag in [Tag(1), Tag(Tag::COUNT)] {
                    let ruling = Ruling { verdict, rule };
                    let judged = Judged::from_mark(ruling_bits(ruling) | tag.bits());
                    assert_eq!(judged, Judged { tag, ruling });
                }
            }
        }
    }

    #[test]
    fn tags_never_become_zero() {
        let mut tag = Tag(Tag::COUNT);
        for _ in 0..3000 {
            tag = tag.next();
            assert!((1..=Tag::COUNT).contains(&tag.0));
        }
    }
}
