//! What a downloaded file would do to who opens it, told while it streams ([`Watch`]).
//!
//! Enters: a file's bytes, split anywhere, and its name if it is known. Leaves: [`Danger`]s: imports of pickles, alone, in an
//! array or in a zip or tar, and members of archives that would be written elsewhere. Guarantees: bounded memory; a danger is
//! there with the bytes that complete it, and none is complete before [`Watch`] has looked at it; a member counts by its own
//! header as well as by the archive's directory, and where these differ that is a danger. Does not: look into archives in
//! archives (one packing around it is undone), or into packings but gzip, zlib and zstd, which it tells of.
//! Sources: APPNOTE.TXT 6.3 for zip, POSIX.1-2017 `pax` for tar.

mod content;
mod tar;
mod zip;

use super::pickle::{Import, Pickles, Threat};
use crate::coding::{Coding, CodingFlaw, Decoder};
use content::Content;
use tar::Tar;
use zip::Zip;

/// Dangers that are kept of one reading: a file is read for what it is itself, and for what is in it.
pub const MAX_DANGERS: usize = 64;

/// Most bytes of a member's name.
const MAX_MEMBER_NAME: usize = 4096;

/// Most bytes that a packed archive may become.
const MAX_UNPACKED: u64 = 1 << 40;

/// Bytes by which packings are told.
const MAGIC: usize = 6;

/// About how many bytes it takes to undo a packing.
const UNPACKING: usize = 1 << 20;

/// Packings and archives that are not looked into: bzip2, xz, 7z, rar, lz4.
const UNDONE: [&[u8]; 5] = [b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x04\"M\x18"];

/// Something that a file would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// A pickle imports what is not harmless.
    Import(Import),
    /// A member would be written outside of where the archive is unpacked.
    Path(String),
    /// A member is a link.
    Link(String),
    /// A member is a device or a pipe.
    Device(String),
    /// It becomes too many times larger.
    Bomb,
    /// The archive's directory has a member that is not where it says, or not by that name.
    Hidden(String),
    /// It cannot be followed. Why.
    Unreadable(&'static str),
}

/// What kind of thing a danger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DangerKind {
    /// Of a pickle.
    Pickle,
    /// Of an archive.
    Archive,
    /// It is not known what there is.
    Unread,
}

impl Danger {
    /// Whether it has no good use.
    pub fn is_malicious(&self) -> bool {
        match self {
            Self::Import(import) => import.threat == Threat::Malicious,
            Self::Path(_) | Self::Hidden(_) | Self::Device(_) | Self::Bomb => true,
            Self::Link(_) | Self::Unreadable(_) => false,
        }
    }

    /// What kind of thing. A pickle whose import has no name cannot be read.
    pub fn kind(&self) -> DangerKind {
        match self {
            Self::Import(import) if import.module == "?" => DangerKind::Unread,
            Self::Import(_) => DangerKind::Pickle,
            Self::Path(_) | Self::Link(_) | Self::Device(_) | Self::Hidden(_) | Self::Bomb => {
                DangerKind::Archive
            }
            Self::Unreadable(_) => DangerKind::Unread,
        }
    }

    /// Its id, the same in every release.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Import(import) if import.module == "?" => "pickle-unread",
            Self::Import(_) => "pickle-import",
            Self::Path(_) => "archive-path",
            Self::Link(_) => "archive-link",
            Self::Device(_) => "archive-device",
            Self::Hidden(_) => "archive-hidden",
            Self::Bomb => "archive-bomb",
            Self::Unreadable(_) => "file-unread",
        }
    }

    /// What exactly: an import, a member, or why. Text of the file's: show it as such. At most some 1100 bytes.
    pub fn what(&self) -> String {
        match self {
            Self::Import(import) if import.module == "?" => "an import that cannot be told".to_owned(),
            Self::Import(import) => format!("{}.{}", import.module, import.name),
            Self::Path(what) | Self::Link(what) | Self::Device(what) | Self::Hidden(what) => what.clone(),
            Self::Bomb => "it becomes too large".to_owned(),
            Self::Unreadable(why) => (*why).to_owned(),
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
    /// Whether a packing around it may still be undone.
    may_unpack: bool,
    kind: Kind,
    /// The file itself, whatever else it is.
    content: Content,
    /// What each of the two readings found, in its order.
    of_content: Dangers,
    dangers: Dangers,
}

#[derive(Debug)]
enum Kind {
    /// The first bytes.
    NotYetKnown(Vec<u8>),
    /// What may be the first header of a tar.
    Other(Vec<u8>),
    Harmless,
    Zip(Box<Zip>),
    Tar(Box<Tar>),
    Packed(Box<(Decoder, Watch)>),
}

impl Watch {
    /// For a file of this name, which may be a path; empty if it is not known.
    pub fn new(name: &str) -> Self {
        Self::named(is_pickle_name(name.as_bytes()))
    }

    fn named(is_pickle_named: bool) -> Self {
        Self {
            is_pickle_named,
            may_unpack: true,
            kind: Kind::NotYetKnown(Vec::new()),
            content: Content::new(false),
            of_content: Dangers::default(),
            dangers: Dangers::default(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let Kind::NotYetKnown(head) = &mut self.kind else { return self.feed(bytes) };
        let (more, behind) = bytes.split_at(bytes.len().min(MAGIC - head.len().min(MAGIC)));
        head.extend_from_slice(more);
        if head.len() == MAGIC {
            self.decide();
            self.feed(behind);
        }
    }

    /// The file is over.
    pub fn end(&mut self) {
        if matches!(self.kind, Kind::NotYetKnown(_)) {
            self.decide();
        }
        match &mut self.kind {
            Kind::Zip(zip) => zip.end(&mut self.dangers),
            Kind::Packed(packed) => {
                if packed.0.end() == Err(CodingFlaw::Truncated) {
                    self.dangers.add(Danger::Unreadable("it does not unpack"));
                }
                packed.1.end();
            }
            Kind::NotYetKnown(_) | Kind::Other(_) | Kind::Harmless | Kind::Tar(_) => {}
        }
    }

    /// What was found so far, each once.
    pub fn dangers(&self) -> Vec<&Danger> {
        let mut all: Vec<_> = self.of_content.all.iter().collect();
        for danger in self.dangers.all.iter().chain(self.inner().map(Self::dangers).unwrap_or_default()) {
            if !all.contains(&danger) {
                all.push(danger);
            }
        }
        all
    }

    /// Whether there was more than is kept.
    pub fn is_cut(&self) -> bool {
        self.of_content.is_cut || self.dangers.is_cut || self.inner().is_some_and(Self::is_cut)
    }

    fn inner(&self) -> Option<&Self> {
        match &self.kind {
            Kind::Packed(packed) => Some(&packed.1),
            Kind::NotYetKnown(_) | Kind::Other(_) | Kind::Harmless | Kind::Zip(_) | Kind::Tar(_) => None,
        }
    }

    /// Whether nothing of what follows can be a danger, in whatever order it is read.
    pub fn is_harmless(&self) -> bool {
        matches!(self.kind, Kind::Harmless) && self.content.is_done() && self.dangers().is_empty()
    }

    /// About how many bytes it holds.
    pub fn weight(&self) -> usize {
        let of_kind = match &self.kind {
            Kind::NotYetKnown(head) | Kind::Other(head) => head.len(),
            Kind::Harmless => 0,
            Kind::Zip(zip) => zip.weight(),
            Kind::Tar(tar) => tar.weight(),
            Kind::Packed(packed) => UNPACKING + packed.1.weight(),
        };
        size_of::<Self>() + of_kind + self.content.weight()
    }

    fn decide(&mut self) {
        let Kind::NotYetKnown(head) = std::mem::replace(&mut self.kind, Kind::Harmless) else { return };
        let packed = |coding| {
            let inner = Self { may_unpack: false, ..Self::named(self.is_pickle_named) };
            Kind::Packed(Box::new((Decoder::of(&[coding], MAX_UNPACKED), inner)))
        };
        let coding = match head.as_slice() {
            [0x1f, 0x8b, 8, ..] => Some(Coding::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Coding::Zstd),
            // With the levels that zlib writes; `x^` may begin a text.
            [0x78, 0x01 | 0x9c | 0xda, ..] => Some(Coding::Deflate),
            [0x78, 0x5e, ..] if self.is_pickle_named => Some(Coding::Deflate),
            _ => None,
        };
        let is_undone = UNDONE.iter().any(|magic| head.starts_with(magic));
        self.kind = match (coding, head.as_slice()) {
            (_, [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..]) => Kind::Zip(Box::default()),
            (Some(coding), _) if self.may_unpack => packed(coding),
            (packing, _) if packing.is_some() || is_undone => {
                self.dangers.add(Danger::Unreadable("a packing that is not undone"));
                Kind::Harmless
            }
            _ => {
                self.content = Content::new(self.is_pickle_named);
                Kind::Other(Vec::new())
            }
        };
        self.feed(&head);
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.content.push(bytes, &mut self.of_content);
        match &mut self.kind {
            Kind::NotYetKnown(_) | Kind::Harmless => {}
            Kind::Other(head) => {
                let (more, behind) = bytes.split_at(bytes.len().min(tar::BLOCK - head.len().min(tar::BLOCK)));
                head.extend_from_slice(more);
                if head.len() < tar::BLOCK {
                    return;
                }
                if !tar::is_header(head) {
                    self.kind = Kind::Harmless;
                    return;
                }
                let mut tar = Box::<Tar>::default();
                tar.push(head, &mut self.dangers);
                tar.push(behind, &mut self.dangers);
                self.kind = Kind::Tar(tar);
            }
            Kind::Zip(zip) => zip.push(bytes, &mut self.dangers),
            Kind::Tar(tar) => tar.push(bytes, &mut self.dangers),
            Kind::Packed(packed) => {
                let (decoder, inner) = packed.as_mut();
                let fed = decoder.push_to(bytes, &mut |piece| {
                    inner.push(piece);
                    Ok(())
                });
                if let Some(danger) = fed.err().and_then(|flaw| danger_of(flaw, inner)) {
                    self.dangers.add(danger);
                }
            }
        }
    }
}

fn danger_of(flaw: CodingFlaw, inner: &Watch) -> Option<Danger> {
    match flaw {
        CodingFlaw::Ratio | CodingFlaw::TooLarge | CodingFlaw::Window => Some(Danger::Bomb),
        // Many readers go on with a second part, which is the same file.
        CodingFlaw::Trailing if inner.is_harmless() => None,
        CodingFlaw::Trailing => Some(Danger::Unreadable("its packing has several parts")),
        CodingFlaw::Unsupported
        | CodingFlaw::TooManyLayers
        | CodingFlaw::Malformed
        | CodingFlaw::Checksum
        | CodingFlaw::Truncated => Some(Danger::Unreadable("it does not unpack")),
    }
}

#[cfg(test)]
mod tests;
