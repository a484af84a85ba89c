//! Forms in which bytes look random and are not secret: pictures, sound and films, archives, files of models.
//!
//! Enters: bytes, split anywhere. Leaves: whether they are in a known form, and follow its structure. Guarantees: holds one
//! header. Does not: undo what pictures, sound and films are packed in; know MP3, FLAC, Ogg, Matroska or PDF.
//! Sources: PNG (W3C, third edition), RIFF (Microsoft and IBM 1991), ISO/IEC 14496-12, JPEG (ITU-T T.81, annex B).

use super::archive::{DangerKind, Watch};
use super::files;

/// Bytes by which forms are told.
const HEAD: usize = 512;

/// Chunks of PNG and of its extension for moving pictures.
const PNG: [&[u8; 4]; 22] = [
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"tEXt",
    b"zTXt", b"iTXt", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"eXIf", b"acTL", b"fcTL", b"fdAT",
];

/// Boxes that stand alone in a film, or a picture of that family.
const BOXES: [&[u8; 4]; 16] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"meta", b"meco", b"free", b"skip", b"wide",
    b"sidx", b"ssix", b"prft", b"emsg", b"pdin",
];

/// The form of a stream.
#[derive(Debug)]
pub(super) enum Form {
    /// The first bytes.
    First(Vec<u8>),
    /// None that is known, or one that does not hold.
    Unknown,
    /// A packing that is undone elsewhere, or a file that has a rule of its own.
    Known,
    Chunks(Chunks),
    Jpeg(Jpeg),
    Zip(Box<Watch>),
}

impl Default for Form {
    fn default() -> Self {
        Self::First(Vec::new())
    }
}

impl Form {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let holds = match self {
            Self::Unknown | Self::Known => return,
            Self::First(held) => {
                let (head, behind) = bytes.split_at(bytes.len().min(HEAD - held.len().min(HEAD)));
                held.extend_from_slice(head);
                if held.len() < HEAD {
                    return;
                }
                let head = std::mem::take(held);
                *self = Self::told(&head);
                self.push(&head);
                return self.push(behind);
            }
            Self::Chunks(chunks) => chunks.push(bytes),
            Self::Jpeg(jpeg) => jpeg.push(bytes),
            Self::Zip(watch) => {
                watch.push(bytes);
                watch.dangers().iter().all(|danger| danger.kind() != DangerKind::Unread)
            }
        };
        if !holds {
            *self = Self::Unknown;
        }
    }

    /// The stream is over; `holds`: what it is packed in was undone to its end.
    pub(super) fn end(&mut self, holds: bool) {
        if !holds {
            *self = Self::Unknown;
        }
    }

    /// Whether it may be a known form.
    pub(super) fn holds(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    fn told(head: &[u8]) -> Self {
        match head {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
                Self::Chunks(Chunks::new(Family::Png, 8))
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, kind @ ..]
                if [b"WAVE", b"WEBP", b"AVI "].iter().any(|known| kind.starts_with(*known)) =>
            {
                Self::Chunks(Chunks::new(Family::Riff, 12))
            }
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::Chunks(Chunks::new(Family::Boxes, 0)),
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg(Jpeg::default()),
            [b'P', b'K', 3, 4, ..] => match files::sniff(head) {
                Some(_) => Self::Known,
                None => Self::Zip(Box::new(Watch::new(""))),
            },
            [0x1f, 0x8b, 8, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Known,
            _ if files::sniff(head).is_some() => Self::Known,
            _ => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Png,
    Riff,
    Boxes,
}

/// Pieces, each behind its kind and length.
#[derive(Debug)]
pub(super) struct Chunks {
    family: Family,
    /// Bytes of what is under way.
    skip: u64,
    held: Vec<u8>,
    is_over: bool,
}

impl Chunks {
    fn new(family: Family, skip: u64) -> Self {
        Self { family, skip, held: Vec::new(), is_over: false }
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let skipped = rest.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            rest = rest.get(skipped..).unwrap_or_default();
            if rest.is_empty() {
                return true;
            }
            if self.is_over {
                return false;
            }
            let (head, behind) = rest.split_at(rest.len().min(self.wanted().saturating_sub(self.held.len())));
            self.held.extend_from_slice(head);
            rest = behind;
            if self.held.len() == self.wanted() {
                let held = std::mem::take(&mut self.held);
                let Some(skip) = self.header(&held) else { return false };
                self.skip = skip;
            }
        }
        true
    }

    /// Bytes of a header: a long box has its length behind it.
    fn wanted(&self) -> usize {
        let is_long = self.family == Family::Boxes && self.held.starts_with(&[0, 0, 0, 1]);
        if is_long { 16 } else { 8 }
    }

    /// How many bytes follow a header; `None`: it is none.
    fn header(&mut self, header: &[u8]) -> Option<u64> {
        let (first, second) = (header.first_chunk::<4>()?, header.get(4..8)?.first_chunk::<4>()?);
        match self.family {
            Family::Png => {
                self.is_over = second == b"IEND";
                PNG.contains(&second).then(|| u64::from(u32::from_be_bytes(*first)) + 4)
            }
            Family::Riff => {
                let length = u64::from(u32::from_le_bytes(*second));
                let is_text = first.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
                is_text.then_some(length + length % 2)
            }
            Family::Boxes if !BOXES.contains(&second) => None,
            Family::Boxes => match (u32::from_be_bytes(*first), header.get(8..16)) {
                (0, _) => Some(u64::MAX),
                (1, Some(long)) => u64::from_be_bytes(*long.first_chunk()?).checked_sub(16),
                (length, _) => u64::from(length).checked_sub(8),
            },
        }
    }
}

/// Segments behind markers, and what is packed behind the start of a scan.
#[derive(Debug, Default)]
pub(super) struct Jpeg {
    state: Place,
    /// What is left of a segment, and whether a scan follows it.
    left: u16,
    is_scan: bool,
    high: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// 0xff and the kind come next.
    #[default]
    Marker,
    Kind,
    High,
    Low,
    Segment,
    Scan,
    /// Behind a 0xff of a scan.
    Escape,
    Over,
}

impl Jpeg {
    fn push(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.take(*byte))
    }

    fn take(&mut self, byte: u8) -> bool {
        self.state = match (self.state, byte) {
            (Place::Marker, 0xff) | (Place::Kind, 0xff) => Place::Kind,
            (Place::Kind | Place::Escape, 0xd9) => Place::Over,
            // Without a length: the beginning, and marks within a scan.
            (Place::Kind, 0x01 | 0xd8) => Place::Marker,
            (Place::Kind | Place::Escape, 0xc0..=0xcf | 0xda..=0xef | 0xfe) => {
                self.is_scan = byte == 0xda;
                Place::High
            }
            (Place::High, _) => {
                self.high = byte;
                Place::Low
            }
            (Place::Low, _) => {
                self.left = u16::from_be_bytes([self.high, byte]).saturating_sub(2);
                if self.left == 0 { self.behind() } else { Place::Segment }
            }
            (Place::Segment, _) => {
                self.left -= 1;
                if self.left == 0 { self.behind() } else { Place::Segment }
            }
            (Place::Scan, 0xff) | (Place::Escape, 0xff) => Place::Escape,
            (Place::Scan, _) | (Place::Escape, 0x00 | 0xd0..=0xd7) => Place::Scan,
            (Place::Marker | Place::Kind | Place::Escape | Place::Over, _) => return false,
        };
        true
    }

    fn behind(&self) -> Place {
        if self.is_scan { Place::Scan } else { Place::Marker }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(bytes: &[u8], piece: usize) -> bool {
        let mut form = Form::default();
        bytes.chunks(piece).for_each(|bytes| form.push(bytes));
        form.holds()
    }

    fn check(bytes: &[u8], expected: bool) {
        for piece in [1, 7, 600, usize::MAX] {
            let head: Vec<_> = bytes.iter().take(12).copied().collect();
            assert_eq!(holds(bytes, piece), expected, "{} in pieces of {piece}", head.escape_ascii());
        }
    }

    fn chunk(length: &[u8], kind: &[u8], body: usize) -> Vec<u8> {
        [length, kind, &vec![0x5a; body]].concat()
    }

    #[test]
    fn known_forms_hold_as_long_as_their_structure_does() {
        let png = [
            b"\x89PNG\r\n\x1a\n".to_vec(),
            chunk(&[0, 0, 0, 13], b"IHDR", 17),
            chunk(&[0, 0, 8, 0], b"IDAT", 2052),
            chunk(&[0; 4], b"IEND", 4),
        ]
        .concat();
        let riff = |kind: &[u8]| [b"RIFF\0\0\0\0", kind, b"data", &[0xd0, 7, 0, 0], &[7; 2000]].concat();
        let film = [
            chunk(&[0, 0, 0, 16], b"ftyp", 8),
            chunk(&[0, 0, 0, 1], b"mdat", 0),
            vec![0, 0, 0, 0, 0, 0, 3, 0xf8],
            vec![9; 1000],
            chunk(&[0, 0, 0, 8], b"moov", 0),
        ]
        .concat();
        let scan =
            [b"\xff\xd8\xff\xe0\0\x04ab\xff\xda\0\x02".to_vec(), b"\x12\xff\0\xff\xd3".repeat(200)].concat();
        let whole = [&scan[..], b"\xff\xd9"].concat();
        for form in [&png, &riff(b"WAVE"), &film, &scan, &whole] {
            check(form, true);
        }
        for (form, more) in [(&png, &b"x"[..]), (&film, &[3; 9]), (&scan, b"\xff\x12"), (&whole, b"x")] {
            check(&[form, more].concat(), false);
        }
        check(&riff(b"SOME"), false);
        check(&[b"\x89PNG\r\n\x1a\n".as_slice(), &[0x33; 600]].concat(), false);
        check(&[0x33; 600], false);
        check(&[0x33; 500], true);
        check(&[b"GGUF\x03\0\0\0".as_slice(), &[1; 600]].concat(), true);
    }
}
