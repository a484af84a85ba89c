//! What a downloaded file would do to who opens it, told while it streams ([`Watch`]).
//!
//! Enters: a file's bytes, split anywhere, and its name if it is known. Leaves: [`Danger`]s: imports of pickles, alone or in
//! a zip or tar, and members of archives that would be written elsewhere. Guarantees: bounded memory; a member counts by its
//! own header as well as by the archive's directory, and where these differ that is a danger. Does not: look into archives
//! in archives (gzip or zstd around one is undone), or into compressions other than deflate.
//! Sources: APPNOTE.TXT 6.3 for zip, POSIX.1-2017 `pax` for tar.

mod tar;
mod zip;

use super::pickle::{Import, Pickles, Threat};
use crate::coding::{Coding, CodingFlaw, Decoder};
use tar::Tar;
use zip::Zip;

/// Dangers that are kept.
pub const MAX_DANGERS: usize = 64;

/// Most bytes of a member's name.
const MAX_MEMBER_NAME: usize = 4096;

/// Most bytes that a packed archive may become.
const MAX_UNPACKED: u64 = 1 << 40;

/// Bytes by which a file's kind is told: a tar says it at 257.
const HEAD: usize = 512;

/// Something that a file would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// A pickle imports what is not harmless.
    Import(Import),
    /// A member would be written outside of where the archive is unpacked.
    Path(String),
    /// A member is a link.
    Link(String),
    /// The archive's directory has a member that is not where it says, or not by that name.
    Hidden(String),
    /// It cannot be followed. Why.
    Unreadable(&'static str),
}

impl Danger {
    /// Whether it has no good use.
    pub fn is_malicious(&self) -> bool {
        match self {
            Self::Import(import) => import.threat == Threat::Malicious,
            Self::Path(_) | Self::Hidden(_) => true,
            Self::Link(_) | Self::Unreadable(_) => false,
        }
    }
}

/// Dangers so far.
#[derive(Debug, Default)]
struct Dangers {
    all: Vec<Danger>,
    is_cut: bool,
}

impl Dangers {
    fn add(&mut self, danger: Danger) {
        if self.all.contains(&danger) {
            return;
        }
        if self.all.len() == MAX_DANGERS {
            self.is_cut = true;
            // What is malicious is not lost for having come late.
            let milder = self.all.iter().rposition(|other| !other.is_malicious());
            let Some(at) = milder.filter(|_| danger.is_malicious()) else { return };
            self.all.remove(at);
        }
        self.all.push(danger);
    }

    fn add_imports(&mut self, pickles: &Pickles) {
        pickles.imports().iter().for_each(|import| self.add(Danger::Import(import.clone())));
    }

    /// A member of this name.
    fn add_name(&mut self, name: &[u8]) {
        if is_unsafe(name) {
            self.add(Danger::Path(shown(name)));
        }
    }
}

/// Whether a path leads out of where it is put.
fn is_unsafe(path: &[u8]) -> bool {
    let is_absolute = matches!(path, [b'/' | b'\\', ..] | [_, b':', ..]);
    is_absolute
        || path.contains(&0)
        || path.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..")
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..name.len().min(256)).unwrap_or(name)).into_owned()
}

/// Whether files of such names are read as pickles, whatever they begin with.
fn is_pickle_name(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    [b".pkl".as_slice(), b".pickle", b".pt", b".pth", b".ckpt", b".joblib"]
        .iter()
        .any(|ending| lower.ends_with(ending))
}

/// Watches one file.
#[derive(Debug)]
pub struct Watch {
    is_pickle_named: bool,
    /// Whether gzip or zstd around it may still be undone.
    may_unpack: bool,
    head: Vec<u8>,
    kind: Kind,
    dangers: Dangers,
}

#[derive(Debug)]
enum Kind {
    NotYetKnown,
    Harmless,
    Pickle(Box<Pickles>),
    Zip(Box<Zip>),
    Tar(Box<Tar>),
    Packed(Box<(Decoder, Watch)>),
}

impl Watch {
    /// For a file of this name, which may be a path or an address; empty if it is not known.
    pub fn new(name: &str) -> Self {
        Self {
            is_pickle_named: is_pickle_name(name.as_bytes()),
            may_unpack: true,
            head: Vec::new(),
            kind: Kind::NotYetKnown,
            dangers: Dangers::default(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if matches!(self.kind, Kind::NotYetKnown) {
            let (head, behind) = rest.split_at(rest.len().min(HEAD - self.head.len().min(HEAD)));
            self.head.extend_from_slice(head);
            if self.head.len() < HEAD {
                return;
            }
            rest = behind;
            self.decide();
        }
        self.feed(rest);
    }

    /// The file is over.
    pub fn end(&mut self) {
        if matches!(self.kind, Kind::NotYetKnown) {
            self.decide();
        }
        match &mut self.kind {
            Kind::Zip(zip) => zip.end(&mut self.dangers),
            Kind::Packed(packed) => {
                if packed.0.end() == Err(CodingFlaw::Truncated) {
                    self.dangers.add(Danger::Unreadable("it does not unpack"));
                }
                packed.1.end();
                packed.1.dangers.all.drain(..).for_each(|danger| self.dangers.add(danger));
            }
            Kind::NotYetKnown | Kind::Harmless | Kind::Pickle(_) | Kind::Tar(_) => {}
        }
    }

    /// What was found so far.
    pub fn dangers(&self) -> &[Danger] {
        &self.dangers.all
    }

    /// Whether there was more than is kept.
    pub fn is_cut(&self) -> bool {
        self.dangers.is_cut
    }

    fn decide(&mut self) {
        let packed = |coding| {
            let inner = Self { may_unpack: false, ..Self::new("") };
            let inner = Self { is_pickle_named: self.is_pickle_named, ..inner };
            Kind::Packed(Box::new((Decoder::of(&[coding], MAX_UNPACKED), inner)))
        };
        let head = std::mem::take(&mut self.head);
        self.kind = match head.as_slice() {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Kind::Zip(Box::default()),
            [0x1f, 0x8b, 8, ..] if self.may_unpack => packed(Coding::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] if self.may_unpack => packed(Coding::Zstd),
            [0x80, 2..=5, ..] => Kind::Pickle(Box::default()),
            head if head.get(257..262) == Some(b"ustar") => Kind::Tar(Box::default()),
            _ if self.is_pickle_named => Kind::Pickle(Box::default()),
            _ => Kind::Harmless,
        };
        self.feed(&head);
    }

    fn feed(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::NotYetKnown | Kind::Harmless => {}
            Kind::Pickle(pickles) => {
                pickles.push(bytes);
                self.dangers.add_imports(pickles);
            }
            Kind::Zip(zip) => zip.push(bytes, &mut self.dangers),
            Kind::Tar(tar) => tar.push(bytes, &mut self.dangers),
            Kind::Packed(packed) => {
                let (decoder, inner) = packed.as_mut();
                let fed = decoder.push_to(bytes, &mut |piece| {
                    inner.push(piece);
                    Ok(())
                });
                if fed.is_err_and(|flaw| flaw != CodingFlaw::Trailing) {
                    self.dangers.add(Danger::Unreadable("it does not unpack"));
                }
                inner.dangers.all.drain(..).for_each(|danger| self.dangers.add(danger));
            }
        }
    }
}

#[cfg(test)]
mod tests;
