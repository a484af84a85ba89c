//! What must not leave, found in a request's body as it passes ([`Scanner`]).
//!
//! Enters: a body without its content coding (`coding`), split anywhere. Leaves: [`Leak`]s: secrets, numbers of people,
//! canaries, files of models and datasets, what nobody can read. Guarantees: memory is bounded (some 100 KiB, and the windows of `coding`
//! while something packed is undone); each byte is looked at a bounded number of times; where the body is split changes
//! nothing; no found text is kept or shown. One layer of base64, hexadecimal or percent-encoding is undone, and gzip or zstd
//! below it or alone. Does not: decide what is done; see what is encoded twice, encrypted, or spread over requests.

pub mod archive;
mod canary;
pub mod files;
mod forms;
mod literals;
pub mod multipart;
mod numbers;
mod opaque;
pub mod pickle;
mod pii;
mod report;
mod rules;
mod secret_checks;
mod secrets;
mod shape;
mod stream;
mod tail;
mod text;
mod unwrap;

pub use files::FileKind;
pub use report::{Fingerprint, MAX_PER_RULE, MAX_SPANS, Span};
pub use rules::{CANARY_LENGTH, LeakFlaw, LeakOptions, LeakRules, MAX_CANARIES};
pub use secrets::{SECRETS, Secret};
pub use stream::EMAILS_FROM;
pub use tail::Tail;

use crate::coding::{MAX_RATIO, RATIO_FREE};
use multipart::{Part, Parts};
use opaque::Opaque;
use report::Report;
use std::sync::Arc;
use stream::{Head, Stream};
use unwrap::{Encoding, Percent, Piece, Runs};

/// How many of the last bytes may belong to what is not judged yet: what a caller must hold back to mask or to block.
pub const HOLD_BACK: usize = 8 * 1024;

/// Bytes of a body between two looks at what is packed in it.
const PIECE: usize = 16 * 1024;

/// What kind of thing leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeakClass {
    /// A key, token or password.
    Secret,
    /// A number of a person or of their money.
    Pii,
    /// A canary, by its place among the options' canaries.
    Canary(u16),
    /// A file of a model or a dataset.
    File(FileKind),
    /// At least [`EMAILS_FROM`] e-mail addresses.
    Emails,
    /// Bytes that look encrypted, or packed in a form that is not known; the length says from how many on they count.
    Opaque,
    /// Something packed that was not undone to its end, for it becomes too large.
    Bomb,
}

impl LeakClass {
    /// Whether its range is the text itself, which can be masked.
    pub fn is_text(self) -> bool {
        match self {
            Self::Secret | Self::Pii | Self::Canary(_) => true,
            Self::File(_) | Self::Emails | Self::Opaque | Self::Bomb => false,
        }
    }
}

/// How the leak was wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// As it is.
    Raw,
    /// In a run of base64.
    Base64,
    /// In a run of hexadecimal digits.
    Hex,
    /// Percent-encoded.
    Percent,
    /// In gzip, alone or in a run of base64 or hexadecimal digits.
    Gzip,
    /// In zstd, likewise.
    Zstd,
}

impl Layer {
    fn is_packed(self) -> bool {
        match self {
            Self::Gzip | Self::Zstd => true,
            Self::Raw | Self::Base64 | Self::Hex | Self::Percent => false,
        }
    }
}

/// Something that must not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The rule's id, the same in every release: of [`SECRETS`], of [`FileKind::ALL`], or of the classes.
    pub rule: &'static str,
    /// For a person.
    pub name: &'static str,
    /// What kind of thing.
    pub class: LeakClass,
    /// How it was wrapped.
    pub layer: Layer,
    /// Where in the body: the text itself if it is [`Layer::Raw`], else where its wrapping begins.
    pub offset: u64,
    /// How many bytes, unwrapped; of a file, how many were looked at.
    pub length: usize,
    /// Of the text.
    pub fingerprint: Fingerprint,
    /// Whether everything that its kind is checked by holds. `false`: the shape is right, a checksum within is not.
    pub is_confirmed: bool,
}

impl Leak {
    fn order(&self) -> (u64, Layer, &'static str, LeakClass, Fingerprint) {
        (self.offset, self.layer, self.rule, self.class, self.fingerprint)
    }
}

/// Scans one body.
#[derive(Debug)]
pub struct Scanner {
    rules: Arc<LeakRules>,
    raw: Stream,
    runs: Runs,
    percent: Percent,
    wrapped: Wrapped,
    parts: Parts,
    /// The part that is under way.
    part: Option<PartOf>,
    /// What is in no part.
    opaque: Option<Opaque>,
    report: Report,
    seen: u64,
}

/// A part of a body.
#[derive(Debug)]
struct PartOf {
    offset: u64,
    head: Head,
    opaque: Option<Opaque>,
}

/// The runs that are under way.
#[derive(Debug, Default)]
struct Wrapped {
    base64: Option<Stream>,
    hex: Option<Stream>,
    percent: Option<Stream>,
}

impl Scanner {
    /// For a body of which nothing is known.
    pub fn new(rules: Arc<LeakRules>) -> Self {
        Self {
            raw: Stream::new(Layer::Raw, 0),
            runs: Runs::default(),
            percent: Percent::default(),
            wrapped: Wrapped::default(),
            parts: Parts::default(),
            part: None,
            opaque: rules.opaque(),
            report: Report::new(&rules.salt),
            seen: 0,
            rules,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // What is packed is paid for by whole pieces of the body: so a split changes nothing.
            let into = usize::try_from(self.seen % PIECE as u64).unwrap_or(0);
            let (piece, behind) = rest.split_at(rest.len().min(PIECE - into));
            rest = behind;
            let paid = self.seen - into as u64 + PIECE as u64;
            self.seen = self.seen.saturating_add(piece.len() as u64);
            self.report.may_unpack(RATIO_FREE.saturating_add(paid.saturating_mul(MAX_RATIO)));
            self.take(piece);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let (rules, report, wrapped) = (&self.rules, &mut self.report, &mut self.wrapped);
        self.raw.push(rules, bytes, report);
        self.runs.push(bytes, &mut |encoding, piece| wrapped.take(rules, encoding, piece, report));
        self.percent.push(bytes, &mut |encoding, piece| wrapped.take(rules, encoding, piece, report));
        if rules.files || rules.opaque_from.is_some() {
            let (part, outside) = (&mut self.part, &mut self.opaque);
            self.parts.push(bytes, &mut |piece| take_part(rules, part, outside, piece, report));
        }
    }

    /// The body is over.
    pub fn end(&mut self) {
        let (rules, report, wrapped) = (&self.rules, &mut self.report, &mut self.wrapped);
        self.runs.end(&mut |encoding, piece| wrapped.take(rules, encoding, piece, report));
        self.percent.end(&mut |encoding, piece| wrapped.take(rules, encoding, piece, report));
        let (part, outside) = (&mut self.part, &mut self.opaque);
        self.parts.end(&mut |piece| take_part(rules, part, outside, piece, report));
        self.raw.end(rules, report);
        // What it is packed in was undone, or was not.
        if let Some(opaque) = &mut self.opaque
            && opaque.end(self.raw.unpacks())
        {
            report.add_opaque(rules, Layer::Raw, 0);
        }
    }

    /// What was found so far, in the order of the body.
    pub fn leaks(&self) -> &[Leak] {
        &self.report.leaks
    }

    /// Where secrets, numbers and canaries stand in the body as they are, in order; they may overlap. `None`: there are more
    /// than [`MAX_SPANS`].
    pub fn spans(&self) -> Option<&[Span]> {
        (!self.report.lacks_spans).then_some(&self.report.spans)
    }

    /// How many bytes of the body are judged, as they are: no leak that begins before is still to be found, but in a layer
    /// or as a file.
    pub fn judged(&self) -> u64 {
        self.raw.judged()
    }

    /// As [`Decoder::weight`](crate::coding::Decoder::weight), of all that it is packed in.
    pub fn weight(&self) -> usize {
        let Wrapped { base64, hex, percent } = &self.wrapped;
        let wrapped = [base64, hex, percent].into_iter().flatten();
        wrapped.chain([&self.raw]).map(Stream::weight).sum()
    }

    /// Whether there was more than is kept.
    pub fn is_cut(&self) -> bool {
        self.report.is_cut
    }
}

impl Wrapped {
    fn take(&mut self, rules: &LeakRules, encoding: Encoding, piece: Piece<'_>, report: &mut Report) {
        let (slot, layer) = match encoding {
            Encoding::Base64 => (&mut self.base64, Layer::Base64),
            Encoding::Hex => (&mut self.hex, Layer::Hex),
            Encoding::Percent => (&mut self.percent, Layer::Percent),
        };
        match (piece, slot.as_mut()) {
            (Piece::Begin(offset), _) => *slot = Some(Stream::new(layer, offset)),
            (Piece::Bytes(bytes), Some(stream)) => stream.push(rules, bytes, report),
            (Piece::End, Some(stream)) => {
                stream.end(rules, report);
                *slot = None;
            }
            (Piece::Bytes(_) | Piece::End, None) => {}
        }
    }
}

fn take_part(
    rules: &LeakRules,
    slot: &mut Option<PartOf>,
    outside: &mut Option<Opaque>,
    piece: Part<'_>,
    report: &mut Report,
) {
    match (piece, slot.as_mut()) {
        (Part::Begin(offset), _) => {
            *slot = Some(PartOf { offset, head: Head::default(), opaque: rules.opaque() });
        }
        (Part::Bytes(bytes), Some(part)) => {
            let kind = part.head.push(bytes);
            part.tell(rules, kind, report);
            if part.opaque.as_mut().is_some_and(|opaque| opaque.push(bytes)) {
                report.add_opaque(rules, Layer::Raw, part.offset);
            }
        }
        (Part::End, Some(part)) => {
            let kind = part.head.end();
            part.tell(rules, kind, report);
            *slot = None;
        }
        (Part::Outside(bytes), _) => {
            if outside.as_mut().is_some_and(|opaque| opaque.push(bytes)) {
                report.add_opaque(rules, Layer::Raw, 0);
            }
        }
        (Part::Bytes(_) | Part::End, None) => {}
    }
}

impl PartOf {
    fn tell(&self, rules: &LeakRules, kind: Option<FileKind>, report: &mut Report) {
        if let Some(kind) = kind.filter(|_| rules.files) {
            let (class, head) = (LeakClass::File(kind), self.head.bytes());
            report.add(kind.rule(), kind.name(), class, Layer::Raw, self.offset, head, true);
        }
    }
}

#[cfg(test)]
mod tests;
