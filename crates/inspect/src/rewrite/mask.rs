//! Puts a marker in the place of each leak.
//!
//! Enters: a whole body and the spans that were found in it ([`crate::leak::Scanner::spans`]). Leaves: the body with
//! `[secret removed: github-pat]` and the like in their places, and how often of what. Guarantees: JSON has the same values
//! but for the texts that had a leak, and of these all but the leak; no half of an escape or of a character is left; a leak that is so long that its
//! search was cut is masked to the end of what can be part of it. Does not: mask what is no text of a value: names, numbers,
//! what goes over several.

use super::tokens::{Kind, Tokens, is_json};
use crate::leak::{LeakClass, Span};
use std::ops::Range;

/// From so many bytes on the search for a leak's end may have been cut.
const LONG: usize = 1024;

/// Why a body cannot be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmaskable {
    /// It is no UTF-8, or said to be JSON and none.
    Form,
    /// A leak is in a name, a number, or goes over several values.
    OutsideText,
}

/// A body that was masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// As it goes on.
    pub body: Vec<u8>,
    /// How often of what: the rule that found it, its class. In the order of the body, each once.
    pub counts: Vec<(&'static str, LeakClass, u32)>,
}

/// Masks spans, which are in the order of their beginnings. `is_json`: whether the body is said to be JSON; else it is text.
///
/// # Errors
/// Why that is not possible.
pub fn mask<'s>(
    body: &[u8],
    is_said_json: bool,
    spans: impl IntoIterator<Item = &'s Span>,
) -> Result<Masked, Unmaskable> {
    let text = std::str::from_utf8(body).map_err(|_| Unmaskable::Form)?;
    if !is_json(text) {
        return if is_said_json { Err(Unmaskable::Form) } else { Ok(mask_text(text, spans)) };
    }
    let (mut masker, cuts) = (Masker::new(text), cuts(text, spans));
    let mut rest = cuts.as_slice();
    for token in Tokens::of(text) {
        let inside = rest.iter().take_while(|cut| cut.range.start < token.range.end).count();
        let (here, behind) = rest.split_at(inside);
        if here.is_empty() {
            continue;
        }
        let content = token.range.start + 1..token.range.end.saturating_sub(1);
        let fits = |cut: &Cut| content.start <= cut.range.start && cut.range.end <= content.end;
        if token.kind != Kind::Text || !here.iter().all(fits) {
            return Err(Unmaskable::OutsideText);
        }
        masker.within(content, here, escape_or_character);
        rest = behind;
    }
    if rest.is_empty() { Ok(masker.done()) } else { Err(Unmaskable::OutsideText) }
}

/// Masks spans, which are in the order of their beginnings, in a text of any form: JSON may be none any more.
pub fn mask_text<'s>(text: &str, spans: impl IntoIterator<Item = &'s Span>) -> Masked {
    let mut masker = Masker::new(text);
    masker.within(0..text.len(), &cuts(text, spans), character);
    masker.done()
}

/// What one marker stands for.
#[derive(Debug)]
struct Cut {
    range: Range<usize>,
    rule: &'static str,
    class: LeakClass,
}

/// Spans without those that overlap one before, which grows.
fn cuts<'s>(text: &str, spans: impl IntoIterator<Item = &'s Span>) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for span in spans {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
        let mut range = place(span.range.start)..place(span.range.end);
        if range.len() >= LONG {
            let rest = text.as_bytes().get(range.end..).unwrap_or_default();
            range.end += rest.iter().take_while(|byte| may_be_part(**byte)).count();
        }
        match cuts.last_mut() {
            Some(last) if range.start < last.range.end => last.range.end = last.range.end.max(range.end),
            Some(_) | None => cuts.push(Cut { range, rule: span.rule, class: span.class }),
        }
    }
    cuts
}

/// Of keys and tokens: any alphabet of base64, line ends as they are or escaped, the dashes and the label of a PEM.
fn may_be_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=_-.\\".contains(&byte)
}

struct Masker<'t> {
    text: &'t str,
    out: String,
    /// Up to where the text was copied or left out.
    copied: usize,
    counts: Vec<(&'static str, LeakClass, u32)>,
}

impl<'t> Masker<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, out: String::with_capacity(text.len()), copied: 0, counts: Vec::new() }
    }

    /// Puts markers in a part of the text that is made of units, none of which is cut.
    fn within(&mut self, part: Range<usize>, cuts: &[Cut], unit: fn(&str) -> usize) {
        let mut at = part.start;
        for cut in cuts {
            let mut start = at;
            while at < part.end && at < cut.range.end {
                let length = unit(self.text.get(at..).unwrap_or_default()).max(1);
                if at + length <= cut.range.start {
                    start = at + length;
                }
                at += length;
            }
            self.put(start, at, cut);
        }
    }

    fn put(&mut self, start: usize, end: usize, cut: &Cut) {
        self.out.push_str(self.text.get(self.copied..start.max(self.copied)).unwrap_or_default());
        self.copied = end;
        self.out.push_str(&marker(cut.rule, cut.class));
        match self.counts.iter_mut().find(|(rule, class, _)| (*rule, *class) == (cut.rule, cut.class)) {
            Some((.., count)) => *count = count.saturating_add(1),
            None => self.counts.push((cut.rule, cut.class, 1)),
        }
    }

    fn done(mut self) -> Masked {
        self.out.push_str(self.text.get(self.copied..).unwrap_or_default());
        Masked { body: self.out.into_bytes(), counts: self.counts }
    }
}

/// Nothing in it has a meaning in JSON.
pub(crate) fn marker(rule: &str, class: LeakClass) -> String {
    match class {
        LeakClass::Secret => format!("[secret removed: {rule}]"),
        LeakClass::Pii | LeakClass::Emails => format!("[personal data removed: {rule}]"),
        LeakClass::Canary(_) => "[canary removed]".to_owned(),
        LeakClass::File(_) | LeakClass::Opaque | LeakClass::Bomb => format!("[removed: {rule}]"),
    }
}

fn character(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Of what is between the quotes of a string. Two halves of a pair of UTF-16 are one.
fn escape_or_character(text: &str) -> usize {
    let bytes = text.as_bytes();
    let half = |at: usize| {
        let digits = text.get(at..).and_then(|rest| rest.strip_prefix("\\u")).and_then(|rest| rest.get(..4));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    match (bytes.first(), bytes.get(1)) {
        (Some(b'\\'), Some(b'u')) => {
            let is_pair =
                matches!(half(0), Some(0xD800..=0xDBFF)) && matches!(half(6), Some(0xDC00..=0xDFFF));
            if is_pair { 12 } else { 6 }
        }
        (Some(b'\\'), _) => 2,
        _ => character(text),
    }
}

#[cfg(test)]
mod tests;
