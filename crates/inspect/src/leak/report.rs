//! What was found, without what it says.
//!
//! Enters: matches in any order. Leaves: [`Leak`]s in the order of the body, and spans to mask. Guarantees: bounded; each
//! rule keeps its first [`MAX_PER_RULE`] matches whatever others find, so that noise hides nothing; the same text found by
//! the same rule in the same layer is one leak. Does not: keep the text, only a fingerprint.

use super::rules::LeakRules;
use super::{Layer, Leak, LeakClass};
use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;
use std::ops::Range;

/// Leaks that one rule keeps of one layer.
pub const MAX_PER_RULE: usize = 4;

/// Spans to mask that are kept.
pub const MAX_SPANS: usize = 1024;

/// Where a text stands in the body as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its bytes.
    pub range: Range<u64>,
    /// As in [`Leak`].
    pub rule: &'static str,
    /// As in [`Leak`].
    pub class: LeakClass,
    /// As in [`Leak`].
    pub is_confirmed: bool,
}

impl Span {
    fn order(&self) -> (u64, u64, &'static str, LeakClass) {
        (self.range.start, self.range.end, self.rule, self.class)
    }
}

/// The first eight bytes of a SHA-256 over the rules' salt and a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 8]);

impl Fingerprint {
    /// Of a text.
    pub fn of(salt: &[u8], text: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(salt);
        context.update(text);
        Self(context.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Debug, Default)]
pub(super) struct Report {
    salt: Vec<u8>,
    pub(super) leaks: Vec<Leak>,
    pub(super) spans: Vec<Span>,
    pub(super) is_cut: bool,
    /// Whether there were more than [`MAX_SPANS`].
    pub(super) lacks_spans: bool,
    /// Bytes that all that is packed in the body may have become so far, and those that it did.
    may_unpack: u64,
    unpacked: u64,
}

impl Report {
    pub(super) fn new(salt: &[u8]) -> Self {
        Self { salt: salt.to_vec(), ..Self::default() }
    }

    /// All that is packed may have become so many bytes from now on.
    pub(super) fn may_unpack(&mut self, most: u64) {
        self.may_unpack = most;
    }

    /// Something packed became so many bytes more; how many of them may be looked at.
    pub(super) fn unpacks(&mut self, length: usize) -> usize {
        let room = self.may_unpack.saturating_sub(self.unpacked);
        let within = length.min(usize::try_from(room).unwrap_or(usize::MAX));
        self.unpacked = self.unpacked.saturating_add(within as u64);
        within
    }

    #[expect(clippy::too_many_arguments, reason = "each is a field of the leak")]
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        name: &'static str,
        class: LeakClass,
        layer: Layer,
        offset: u64,
        text: &[u8],
        is_confirmed: bool,
    ) {
        let length = text.len();
        if layer == Layer::Raw && length > 0 && class.is_text() {
            let range = offset..offset.saturating_add(length as u64);
            self.add_span(Span { range, rule, class, is_confirmed });
        }
        let fingerprint = Fingerprint::of(&self.salt, text);
        let leak = Leak { rule, name, class, layer, offset, length, fingerprint, is_confirmed };
        self.insert(leak);
    }

    /// What nobody can read begins there.
    pub(super) fn add_opaque(&mut self, rules: &LeakRules, layer: Layer, offset: u64) {
        let length = usize::try_from(rules.opaque_from.unwrap_or(0)).unwrap_or(usize::MAX);
        self.insert(Leak {
            rule: "opaque",
            name: "bytes that look encrypted, or packed in a form that is not known",
            class: LeakClass::Opaque,
            layer,
            offset,
            length,
            fingerprint: Fingerprint::default(),
            is_confirmed: true,
        });
    }

    /// Matches of one layer come nearly in order, so that most find their place at the end, or none.
    pub(super) fn insert(&mut self, leak: Leak) {
        let is_same = |other: &Leak| {
            (other.rule, other.layer, other.class, other.fingerprint)
                == (leak.rule, leak.layer, leak.class, leak.fingerprint)
        };
        if let Some(same) = self.leaks.iter().position(is_same) {
            match self.leaks.get(same) {
                Some(same) if same.offset <= leak.offset => return,
                _ => drop(self.leaks.remove(same)),
            }
        }
        let of_rule = |other: &Leak| other.rule == leak.rule && other.layer == leak.layer;
        // The last of too many goes: so what stays is the same in whatever order they came.
        if self.leaks.iter().filter(|other| of_rule(other)).count() >= MAX_PER_RULE {
            self.is_cut = true;
            let last = self.leaks.iter().rposition(of_rule);
            let Some(last) =
                last.filter(|at| self.leaks.get(*at).is_some_and(|last| leak.order() < last.order()))
            else {
                return;
            };
            self.leaks.remove(last);
        }
        let at = self.leaks.partition_point(|other| other.order() < leak.order());
        self.leaks.insert(at, leak);
    }

    fn add_span(&mut self, span: Span) {
        if self.spans.len() == MAX_SPANS {
            (self.is_cut, self.lacks_spans) = (true, true);
            return;
        }
        let at = self.spans.partition_point(|other| other.order() < span.order());
        if self.spans.get(at) != Some(&span) {
            self.spans.insert(at, span);
        }
    }
}
