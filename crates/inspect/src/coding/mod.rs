//! HTTP content codings, undone as the bytes arrive ([`Decoder`]).
//!
//! Enters: the values of `content-encoding`, then the body, split anywhere. Leaves: what was encoded. Guarantees: no layer
//! gives more than [`MAX_RATIO`] times what came of the body (beyond [`RATIO_FREE`] bytes) nor more than the caller's cap; memory is
//! bounded by the windows (gzip and deflate 32 KiB, zstd [`MAX_ZSTD_WINDOW`], br 16 MiB) and one piece per layer; anything
//! behind the end of a coding is a flaw, for readers differ in what they make of it; where the input is split does not
//! change the output. Does not: undo `compress` or codings with a dictionary. The output lags behind the input: by a
//! block, and with zstd by up to the frame's window, so that who forwards what was judged must hold back as much.
//! Source: RFC 9110 section 8.4, RFC 1950, RFC 1951, RFC 1952, RFC 7932, RFC 8878, RFC 9659.

mod brotli;
mod inflate;
mod zstd;

pub use zstd::MAX_ZSTD_WINDOW;

use brotli::Brotli;
pub(crate) use inflate::Inflate;
use inflate::{Gzip, Zlib};
use zstd::Zstd;

/// Most codings, one over the other, that are undone.
pub const MAX_LAYERS: usize = 3;

/// How many bytes one byte of a body may become in any layer, beyond the first [`RATIO_FREE`] ones that the layer gives. Were it
/// for each layer, three of them would make a million of one.
pub const MAX_RATIO: u64 = 100;

/// So many bytes a layer may give whatever came.
pub const RATIO_FREE: u64 = 1 << 20;

/// Bytes that a layer gives at a time, and that come of the body between two looks at the ratio.
const PIECE: usize = 16 * 1024;

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodingFlaw {
    /// A coding that is not undone here.
    Unsupported,
    /// More than [`MAX_LAYERS`] codings.
    TooManyLayers,
    /// The bytes are not what the coding says.
    Malformed,
    /// A checksum or length does not hold.
    Checksum,
    /// Something stands behind the end.
    Trailing,
    /// The body ended before the coding did.
    Truncated,
    /// It would need more memory than it may: a window, or a dictionary that nobody has.
    Window,
    /// It becomes too many times larger.
    Ratio,
    /// It becomes larger than the caller's cap.
    TooLarge,
}

impl CodingFlaw {
    /// For a person, in one line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "a content coding that is not supported",
            Self::TooManyLayers => "too many content codings",
            Self::Malformed => "not what its content coding says",
            Self::Checksum => "a checksum of its content coding does not hold",
            Self::Trailing => "bytes behind the end of its content coding",
            Self::Truncated => "it ends before its content coding does",
            Self::Window => "its content coding needs too much memory",
            Self::Ratio => "it decodes to too many times its size",
            Self::TooLarge => "it decodes to more than is allowed",
        }
    }
}

/// One coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls `deflate`.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// By its name in `content-encoding`. `None`: unknown, or `identity`.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// Undoes the codings of one body.
#[derive(Debug)]
pub struct Decoder {
    /// The outermost first.
    layers: Vec<Layer>,
    cap: u64,
    taken: u64,
    given: u64,
    flaw: Option<CodingFlaw>,
}

impl Decoder {
    /// For a body with these values of `content-encoding`, in the order of their fields; none: identity. `cap`: most bytes
    /// that it, and each layer of it, may decode to.
    ///
    /// # Errors
    /// [`CodingFlaw::Unsupported`], [`CodingFlaw::TooManyLayers`].
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>, cap: u64) -> Result<Self, CodingFlaw> {
        let mut codings = Vec::new();
        for name in values.into_iter().flat_map(|value| value.split(|byte| *byte == b',')) {
            let name = name.trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if codings.len() == MAX_LAYERS {
                return Err(CodingFlaw::TooManyLayers);
            }
            codings.push(Coding::named(name).ok_or(CodingFlaw::Unsupported)?);
        }
        codings.reverse();
        Ok(Self::of(&codings, cap))
    }

    /// For bytes that are so encoded, the outermost coding first.
    pub fn of(codings: &[Coding], cap: u64) -> Self {
        let layers = codings.iter().map(|coding| Layer::new(*coding)).collect();
        Self { layers, cap, taken: 0, given: 0, flaw: None }
    }

    /// Takes the next bytes, and appends what they decode to. What was appended before an error is valid.
    ///
    /// # Errors
    /// What is wrong; the same from then on.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CodingFlaw> {
        self.push_to(bytes, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })
    }

    /// Takes the next bytes, and gives what they decode to piece by piece.
    ///
    /// # Errors
    /// What is wrong, or what `sink` says; the same from then on.
    pub fn push_to(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<(), CodingFlaw>,
    ) -> Result<(), CodingFlaw> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let (cap, given) = (self.cap, &mut self.given);
        let mut counted = |piece: &[u8]| {
            *given = given.saturating_add(piece.len() as u64);
            if *given > cap {
                return Err(CodingFlaw::TooLarge);
            }
            sink(piece)
        };
        let (mut rest, mut done) = (bytes, Ok(()));
        while done.is_ok() && !rest.is_empty() {
            // Input is taken, and paid for, by whole pieces of the stream: so a split changes no judgement on the ratio.
            let into = usize::try_from(self.taken % PIECE as u64).unwrap_or(0);
            let (piece, behind) = rest.split_at(rest.len().min(PIECE - into));
            rest = behind;
            let paid = self.taken - into as u64 + PIECE as u64;
            self.taken = self.taken.saturating_add(piece.len() as u64);
            let by_ratio = RATIO_FREE.saturating_add(paid.saturating_mul(MAX_RATIO));
            done = run(&mut self.layers, Most { by_ratio, cap }, piece, &mut counted);
        }
        self.flaw = done.err();
        done
    }

    /// The body is over. A body without a byte is one, whatever its codings.
    ///
    /// # Errors
    /// What was wrong, or [`CodingFlaw::Truncated`].
    pub fn end(&mut self) -> Result<(), CodingFlaw> {
        if self.flaw.is_none() && !self.layers.iter().all(|layer| layer.taken == 0 || layer.is_finished()) {
            self.flaw = Some(CodingFlaw::Truncated);
        }
        self.flaw.map_or(Ok(()), Err)
    }

    /// At most how many bytes of what was given are kept to undo what follows, but for the windows of gzip and deflate.
    pub fn weight(&self) -> usize {
        self.layers.iter().map(Layer::weight).sum()
    }

    /// Whether every coding has ended, and nothing may follow.
    pub fn is_finished(&self) -> bool {
        self.layers.iter().all(Layer::is_finished)
    }
}

/// Where a layer's output goes.
type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<(), CodingFlaw>;

/// Most bytes that each layer may have given.
#[derive(Clone, Copy)]
struct Most {
    /// By what came of the body.
    by_ratio: u64,
    cap: u64,
}

fn run(layers: &mut [Layer], most: Most, bytes: &[u8], sink: Sink<'_>) -> Result<(), CodingFlaw> {
    match layers.split_first_mut() {
        None => sink(bytes),
        Some((outer, inner)) => outer.push(bytes, most, &mut |piece| run(inner, most, piece, sink)),
    }
}

#[derive(Debug)]
struct Layer {
    taken: u64,
    given: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gzip(Gzip),
    Deflate(Zlib),
    Brotli(Brotli),
    Zstd(Zstd),
}

impl Layer {
    fn new(coding: Coding) -> Self {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Gzip::new()),
            Coding::Deflate => Kind::Deflate(Zlib::new()),
            Coding::Brotli => Kind::Brotli(Brotli::new()),
            Coding::Zstd => Kind::Zstd(Zstd::new()),
        };
        Self { taken: 0, given: 0, kind }
    }

    fn push(&mut self, bytes: &[u8], most: Most, sink: Sink<'_>) -> Result<(), CodingFlaw> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        let given = &mut self.given;
        let mut gauged = |piece: &[u8]| {
            // All that may still be given is, however large the pieces are: these depend on the split.
            let room = most.by_ratio.min(most.cap).saturating_sub(*given);
            let (within, beyond) =
                piece.split_at(piece.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            *given = given.saturating_add(within.len() as u64);
            sink(within)?;
            match beyond {
                [] => Ok(()),
                _ if most.cap <= most.by_ratio => Err(CodingFlaw::TooLarge),
                _ => Err(CodingFlaw::Ratio),
            }
        };
        match &mut self.kind {
            Kind::Gzip(gzip) => gzip.push(bytes, &mut gauged),
            Kind::Deflate(zlib) => zlib.push(bytes, &mut gauged),
            Kind::Brotli(brotli) => brotli.push(bytes, &mut gauged),
            Kind::Zstd(zstd) => zstd.push(bytes, &mut gauged),
        }
    }

    fn weight(&self) -> usize {
        match &self.kind {
            // A window of 32 KiB, as everybody has who reads anything.
            Kind::Gzip(_) | Kind::Deflate(_) => 0,
            Kind::Brotli(brotli) => brotli.weight(),
            Kind::Zstd(zstd) => zstd.weight(),
        }
    }

    fn is_finished(&self) -> bool {
        match &self.kind {
            Kind::Gzip(gzip) => gzip.is_finished(),
            Kind::Deflate(zlib) => zlib.is_finished(),
            Kind::Brotli(brotli) => brotli.is_finished(),
            Kind::Zstd(zstd) => zstd.is_finished(),
        }
    }
}

#[cfg(test)]
mod tests;
