//! One layer of a body: its text, the file that it begins as, and what is packed in it.
//!
//! Enters: the layer's bytes, split anywhere. Leaves: leaks, into a [`Report`]. Guarantees: gzip and zstd are undone once,
//! under the bounds of `coding`, which hold for all of a body together as well. Does not: find encoded runs (`unwrap`), which only the outermost layer has.

use super::files::{self, FileKind, HEAD};
use super::opaque::Opaque;
use super::report::Report;
use super::rules::LeakRules;
use super::text::{Found, Text};
use super::{Layer, LeakClass};
use crate::coding::{Coding, CodingFlaw, Decoder};

/// Most bytes that packed ones may become.
const MAX_UNPACKED: u64 = 1 << 30;

/// Addresses from which on they are a leak.
pub const EMAILS_FROM: u64 = 20;

/// The beginning of something that may be a file.
#[derive(Debug, Default)]
pub(super) struct Head {
    held: Vec<u8>,
    is_judged: bool,
}

impl Head {
    /// Gives the kind as soon as enough was seen.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<FileKind> {
        if self.is_judged {
            return None;
        }
        let room = HEAD.saturating_sub(self.held.len());
        self.held.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        if self.held.len() == HEAD { self.end() } else { None }
    }

    pub(super) fn end(&mut self) -> Option<FileKind> {
        let is_judged = std::mem::replace(&mut self.is_judged, true);
        (!is_judged).then(|| files::sniff(&self.held)).flatten()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.held
    }
}

/// One layer.
#[derive(Debug)]
pub(super) struct Stream {
    layer: Layer,
    /// Where in the body it begins.
    offset: u64,
    text: Text,
    head: Head,
    /// The first bytes, by which packing is told.
    magic: Vec<u8>,
    packed: Packed,
    emails: u64,
    /// Whether it is opaque; of the outermost layer that is asked of its parts.
    opaque: Option<Opaque>,
    is_begun: bool,
    /// Whether what it is packed in could be undone so far.
    unpacks: bool,
}

#[derive(Debug)]
enum Packed {
    NotYetKnown,
    No,
    Yes(Box<(Decoder, Stream)>),
}

impl Stream {
    pub(super) fn new(layer: Layer, offset: u64) -> Self {
        let packed = if layer.is_packed() { Packed::No } else { Packed::NotYetKnown };
        Self {
            layer,
            offset,
            text: Text::default(),
            head: Head::default(),
            magic: Vec::new(),
            packed,
            emails: 0,
            opaque: None,
            is_begun: layer == Layer::Raw,
            unpacks: true,
        }
    }

    pub(super) fn push(&mut self, rules: &LeakRules, bytes: &[u8], report: &mut Report) {
        let (layer, offset, emails) = (self.layer, self.offset, &mut self.emails);
        self.text.push(rules, bytes, &mut |found| tell(found, layer, offset, emails, report));
        if rules.files
            && let Some(kind) = self.head.push(bytes)
        {
            self.tell_file(kind, report);
        }
        self.push_packed(rules, bytes, report);
        if !self.is_begun {
            (self.opaque, self.is_begun) = (rules.opaque(), true);
        }
        if self.opaque.as_mut().is_some_and(|opaque| opaque.push(bytes)) {
            report.add_opaque(rules, layer, offset);
        }
    }

    /// Whether what it is packed in could be undone so far.
    pub(super) fn unpacks(&self) -> bool {
        self.unpacks
    }

    pub(super) fn end(&mut self, rules: &LeakRules, report: &mut Report) {
        let (layer, offset, emails) = (self.layer, self.offset, &mut self.emails);
        self.text.end(rules, &mut |found| tell(found, layer, offset, emails, report));
        if rules.files
            && let Some(kind) = self.head.end()
        {
            self.tell_file(kind, report);
        }
        if let Packed::Yes(inner) = &mut self.packed {
            self.unpacks &= inner.0.end().is_ok();
            inner.1.end(rules, report);
        }
        if self.opaque.as_mut().is_some_and(|opaque| opaque.end(self.unpacks)) {
            report.add_opaque(rules, layer, offset);
        }
    }

    /// As [`Decoder::weight`], of what undoes what it is packed in.
    pub(super) fn weight(&self) -> usize {
        match &self.packed {
            Packed::Yes(inner) => inner.0.weight(),
            Packed::NotYetKnown | Packed::No => 0,
        }
    }

    /// How many of its bytes are judged.
    pub(super) fn judged(&self) -> u64 {
        self.text.judged()
    }

    fn tell_file(&self, kind: FileKind, report: &mut Report) {
        let head = self.head.bytes();
        report.add(kind.rule(), kind.name(), LeakClass::File(kind), self.layer, self.offset, head, true);
    }

    fn push_packed(&mut self, rules: &LeakRules, bytes: &[u8], report: &mut Report) {
        let mut rest = bytes;
        if matches!(self.packed, Packed::NotYetKnown) {
            let (head, behind) = rest.split_at(rest.len().min(4 - self.magic.len().min(4)));
            self.magic.extend_from_slice(head);
            if self.magic.len() < 4 {
                return;
            }
            rest = behind;
            self.packed = match self.magic.as_slice() {
                [0x1f, 0x8b, 8, _] => self.unpack(Coding::Gzip, Layer::Gzip),
                [0x28, 0xb5, 0x2f, 0xfd] => self.unpack(Coding::Zstd, Layer::Zstd),
                _ => Packed::No,
            };
            let magic = std::mem::take(&mut self.magic);
            self.feed(rules, &magic, report);
        }
        self.feed(rules, rest, report);
    }

    fn unpack(&self, coding: Coding, layer: Layer) -> Packed {
        Packed::Yes(Box::new((Decoder::of(&[coding], MAX_UNPACKED), Self::new(layer, self.offset))))
    }

    fn feed(&mut self, rules: &LeakRules, bytes: &[u8], report: &mut Report) {
        let Packed::Yes(packed) = &mut self.packed else { return };
        let (decoder, inner) = packed.as_mut();
        let fed = decoder.push_to(bytes, &mut |piece| {
            let (within, beyond) = piece.split_at(report.unpacks(piece.len()).min(piece.len()));
            inner.push(rules, within, report);
            if beyond.is_empty() { Ok(()) } else { Err(CodingFlaw::Ratio) }
        });
        let Err(flaw) = fed else { return };
        inner.end(rules, report);
        if matches!(flaw, CodingFlaw::Ratio | CodingFlaw::TooLarge | CodingFlaw::Window) {
            let (rule, name) = ("packing-bomb", "packed bytes that become too many");
            report.add(rule, name, LeakClass::Bomb, inner.layer, self.offset, b"", true);
        }
        self.packed = Packed::No;
        self.unpacks = false;
    }
}

fn tell(found: Found<'_>, layer: Layer, begin: u64, emails: &mut u64, report: &mut Report) {
    let place = |start: u64| if layer == Layer::Raw { start } else { begin };
    match found {
        Found::Hit(hit) => {
            report.add(hit.rule, hit.name, hit.class, layer, place(hit.start), hit.text, hit.is_confirmed);
        }
        Found::Email(at) => {
            *emails += 1;
            if *emails == EMAILS_FROM {
                report.add(
                    "emails",
                    "many e-mail addresses",
                    LeakClass::Emails,
                    layer,
                    place(at),
                    b"@",
                    true,
                );
            }
        }
    }
}
