//! Archives of plain files in the POSIX ustar format (IEEE Std 1003.1, pax, "ustar Interchange Format").
//!
//! Guarantees: the same files give the same bytes (no times, no owners); reading is bounded and takes nothing but plain files.
//! Does not: know folders, links, or names of more than 100 bytes.

use thiserror::Error;

const BLOCK: usize = 512;
/// Longest name.
const NAME: usize = 100;
/// Files of an archive that are read.
const MOST_FILES: usize = 64;

/// It is not an archive that could have been written here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NotAnArchive {
    /// It ends too early.
    #[error("the archive ends in the middle of a file")]
    CutOff,
    /// A header is wrong.
    #[error("the archive is damaged: the head of file {0} does not add up")]
    Head(usize),
    /// Something else than a plain file.
    #[error("file {0} of the archive is not a plain file")]
    NotAFile(usize),
    /// Too many.
    #[error("the archive has more than {MOST_FILES} files")]
    TooMany,
}

/// Writes files, in this order. Names are ours: short ASCII.
pub(crate) fn write(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.extend(head(name, content.len()));
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn head(name: &str, size: usize) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let name: Vec<u8> = name.bytes().take(NAME).collect();
    put(&mut head, 0, &name);
    put(&mut head, 100, b"0000644\0");
    put(&mut head, 108, b"0000000\0");
    put(&mut head, 116, b"0000000\0");
    put(&mut head, 124, format!("{size:011o}\0").as_bytes());
    put(&mut head, 136, b"00000000000\0");
    put(&mut head, 156, b"0");
    put(&mut head, 257, b"ustar\0");
    put(&mut head, 263, b"00");
    let sum = checksum(&head);
    put(&mut head, 148, format!("{sum:06o}\0 ").as_bytes());
    head
}

fn put(head: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (slot, byte) in head.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// Of all bytes, its own field as spaces.
fn checksum(head: &[u8]) -> u64 {
    head.iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum()
}

/// Whether these bytes begin as those of [`write`]. One of two marks is enough: the other may have been changed.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    let has = |at: usize, mark: &[u8]| bytes.get(at..at + mark.len()) == Some(mark);
    has(257, b"ustar") || has(100, b"0000644")
}

/// Names and contents, in the order of the archive.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, NotAnArchive> {
    let mut files = Vec::new();
    let mut rest = bytes;
    loop {
        let number = files.len() + 1;
        let (head, after) = rest.split_at_checked(BLOCK).ok_or(NotAnArchive::CutOff)?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        if files.len() == MOST_FILES {
            return Err(NotAnArchive::TooMany);
        }
        let wrong = NotAnArchive::Head(number);
        let sum = octal(head, 148, 8).ok_or_else(|| wrong.clone())?;
        if sum != checksum(head) {
            return Err(wrong);
        }
        if !matches!(head.get(156), Some(b'0' | 0)) {
            return Err(NotAnArchive::NotAFile(number));
        }
        let size = octal(head, 124, 12).and_then(|size| usize::try_from(size).ok()).ok_or(wrong)?;
        let name: Vec<u8> = head.iter().take(NAME).take_while(|byte| **byte != 0).copied().collect();
        let (content, padded) = after.split_at_checked(size).ok_or(NotAnArchive::CutOff)?;
        let padding = size.next_multiple_of(BLOCK) - size;
        rest = padded.get(padding..).ok_or(NotAnArchive::CutOff)?;
        files.push((String::from_utf8_lossy(&name).into_owned(), content));
    }
}

fn octal(head: &[u8], at: usize, length: usize) -> Option<u64> {
    let text = std::str::from_utf8(head.get(at..at + length)?).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}
