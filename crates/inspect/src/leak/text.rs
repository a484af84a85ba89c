//! Every rule over one stream of bytes, without holding it.
//!
//! Enters: bytes, split anywhere. Leaves: a [`Hit`] for each match. Guarantees: a match at one place is judged by [`BEHIND`]
//! bytes before and [`AHEAD`] bytes behind its beginning, never by how the bytes came; holds at most both and one step.
//! Does not: know layers of encoding.

use super::LeakClass;
use super::pii;
use super::rules::{LeakRules, Target};
use super::secret_checks;
use super::shape::begins_word;
use std::ops::Range;

/// Bytes before a match that may be looked at.
pub(super) const BEHIND: usize = 128;

/// Bytes from the beginning of a match on that may be looked at: so long a match may be.
pub(super) const AHEAD: usize = 4096;

/// Bytes that are judged together, at most and, while more may come, at least.
const STEP: usize = 32 * 1024;
const LEAST: usize = 2048;

/// Bytes that are passed over together if no number and no address is in them.
const BLOCK: usize = 64;

/// What a secret has in its middle: its shape says where it begins.
const WITHIN: [&str; 2] = ["://", "JQQJ99"];

/// Tokens whose last characters are a checksum.
const WITH_CHECKSUM: [&str; 6] =
    ["github-pat", "github-oauth", "github-app-user", "github-refresh", "npm-token", "cloudflare-token"];

/// One match.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) rule: &'static str,
    pub(super) name: &'static str,
    pub(super) class: LeakClass,
    pub(super) is_confirmed: bool,
    /// From the beginning of the stream.
    pub(super) start: u64,
    pub(super) text: &'a [u8],
}

/// What a stream's matches are told to.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Found<'_>);

/// A match, or an address of which many together are one.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Hit(Hit<'a>),
    /// An e-mail address around this offset.
    Email(u64),
}

/// Searches one stream.
#[derive(Debug, Default)]
pub(super) struct Text {
    held: Vec<u8>,
    /// Offset of the first byte held.
    base: u64,
    /// How many bytes held are judged.
    done: usize,
}

impl Text {
    pub(super) fn push(&mut self, rules: &LeakRules, bytes: &[u8], sink: Sink<'_>) {
        for bytes in bytes.chunks(STEP) {
            self.held.extend_from_slice(bytes);
            let limit = self.held.len().saturating_sub(AHEAD);
            if limit >= self.done + LEAST {
                self.judge(rules, limit, sink);
                self.forget();
            }
        }
    }

    /// Takes bytes and judges all up to where `open`, given what is held and how much of it is judged, says that something may
    /// begin that is not whole.
    pub(super) fn push_until(
        &mut self,
        rules: &LeakRules,
        bytes: &[u8],
        open: impl Fn(&[u8], usize) -> usize,
        sink: Sink<'_>,
    ) {
        self.held.extend_from_slice(bytes);
        let limit = open(&self.held, self.done).min(self.held.len()).max(self.done);
        self.judge(rules, limit, sink);
        self.forget();
    }

    /// Judges all that is there, as if nothing followed. More may follow.
    pub(super) fn judge_all(&mut self, rules: &LeakRules, sink: Sink<'_>) {
        self.judge(rules, self.held.len(), sink);
        self.forget();
    }

    /// Forgets what is not looked at again.
    fn forget(&mut self) {
        let old = self.done.saturating_sub(BEHIND);
        self.held.drain(..old);
        self.base += old as u64;
        self.done -= old;
    }

    /// The stream is over; the next push begins another.
    pub(super) fn end(&mut self, rules: &LeakRules, sink: Sink<'_>) {
        self.judge(rules, self.held.len(), sink);
        self.held.clear();
        (self.base, self.done) = (0, 0);
    }

    /// How many bytes of the stream are judged.
    pub(super) fn judged(&self) -> u64 {
        self.base + self.done as u64
    }

    fn judge(&mut self, rules: &LeakRules, limit: usize, sink: Sink<'_>) {
        if let Some(search) = &rules.search {
            let reach = self.held.len().min(limit + LeakRules::MAX_PREFIX);
            let part = self.held.get(self.done..reach).unwrap_or_default();
            search.search(part, &mut |literal, at| {
                let start = self.done + at;
                if let Some(target) = rules.targets.get(literal).filter(|_| start < limit) {
                    self.candidate(rules, *target, start..start + search.length(literal), sink);
                }
            });
        }
        if rules.pii {
            self.numbers(limit, sink);
        }
        self.done = limit;
    }

    /// What may be looked at around a place, and where it begins.
    fn around(&self, at: usize) -> (&[u8], usize) {
        let start = at.saturating_sub(BEHIND);
        let end = self.held.len().min(at + AHEAD);
        (self.held.get(start..end).unwrap_or_default(), start)
    }

    fn candidate(&self, rules: &LeakRules, target: Target, at: Range<usize>, sink: Sink<'_>) {
        let (text, start) = self.around(at.start);
        let prefix = at.start - start..at.end - start;
        let (found, rule, name, class) = match target {
            Target::Canary { canary, variant } => {
                let Some(variant) = rules.variant(canary, variant) else { return };
                let rest = text.get(prefix.start..).unwrap_or_default();
                let found = rest.starts_with(variant).then_some(prefix.start..prefix.start + variant.len());
                (found, "canary", "canary token", LeakClass::Canary(canary))
            }
            Target::Secret(secret) => {
                let is_word = text.get(prefix.start).is_some_and(u8::is_ascii_alphanumeric);
                let is_within = secret.prefixes.iter().any(|prefix| WITHIN.contains(prefix));
                let may_begin = !is_word || is_within || begins_word(text, prefix.start);
                let found = may_begin.then(|| secret.shape.find(text, prefix)).flatten();
                (found, secret.id, secret.name, LeakClass::Secret)
            }
        };
        let Some(found) = found else { return };
        let Some(matched) = text.get(found.clone()) else { return };
        let has_checksum =
            secret_checks::has_base62_checksum(matched) || secret_checks::has_hex_checksum(matched);
        let is_confirmed = !WITH_CHECKSUM.contains(&rule) || has_checksum;
        let start = self.base + (start + found.start) as u64;
        sink(Found::Hit(Hit { rule, name, class, is_confirmed, start, text: matched }));
    }

    fn numbers(&self, limit: usize, sink: Sink<'_>) {
        let mut is_digit_before =
            self.done.checked_sub(1).and_then(|at| self.held.get(at)).is_some_and(u8::is_ascii_digit);
        let part = self.held.get(self.done..limit).unwrap_or_default();
        for (block, begin) in part.chunks(BLOCK).zip((self.done..).step_by(BLOCK)) {
            if !has_digit_or_at(block) {
                is_digit_before = false;
                continue;
            }
            for (at, byte) in (begin..).zip(block) {
                let is_digit = byte.is_ascii_digit();
                if is_digit && !is_digit_before {
                    self.number(at, sink);
                } else if *byte == b'@' {
                    let (text, start) = self.around(at);
                    if pii::is_email(text, at - start) {
                        sink(Found::Email(self.base + at as u64));
                    }
                }
                is_digit_before = is_digit;
            }
        }
    }

    fn number(&self, at: usize, sink: Sink<'_>) {
        let (text, start) = self.around(at);
        let found = pii::number_at(text, at - start).or_else(|| pii::formatted_cpf(text, at - start));
        let Some(((rule, name), range)) = found else { return };
        let Some(matched) = text.get(range.clone()) else { return };
        let start = self.base + (start + range.start) as u64;
        let class = LeakClass::Pii;
        sink(Found::Hit(Hit { rule, name, class, is_confirmed: true, start, text: matched }));
    }
}

/// Without a branch, so that many bytes are looked at in one step.
fn has_digit_or_at(block: &[u8]) -> bool {
    block.iter().fold(0, |any, byte| any | u8::from(byte.is_ascii_digit()) | u8::from(*byte == b'@')) != 0
}
