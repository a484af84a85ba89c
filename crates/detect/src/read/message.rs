//! DNS messages: the question, the code of the answer, and how much it holds (RFC 1035, section 4).

use crate::event::clean_name;
use std::sync::Arc;

/// Bytes of a header.
const HEADER: usize = 12;
/// Most records of an answer that are gone through.
const MOST_RECORDS: u16 = 256;
/// Longest name in bytes, with its lengths.
const LONGEST: usize = 255;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) is_answer: bool,
    pub(super) rcode: u16,
    pub(super) name: Arc<str>,
    pub(super) kind: u16,
    /// Bytes of data of the records of the answer, as far as they can be read.
    pub(super) answer_bytes: u32,
}

/// The message; `None` if its header or first question cannot be read, or it has none.
pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let flags = number(bytes, 2)?;
    // Only questions are of interest, not updates and notifications. A message with two is none that a server answers (RFC 9619).
    if (flags >> 11) & 0xf != 0 || number(bytes, 4)? != 1 {
        return None;
    }
    let (name, at) = name(bytes, HEADER)?;
    let is_answer = flags & 0x8000 != 0;
    let answer_bytes = if is_answer { data(bytes, at + 4, number(bytes, 6)?) } else { 0 };
    Some(Message {
        id: number(bytes, 0)?,
        is_answer,
        rcode: flags & 0xf,
        name,
        kind: number(bytes, at)?,
        answer_bytes,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

/// A name without pointers, which a question has no reason for, and where it ends.
fn name(bytes: &[u8], start: usize) -> Option<(Arc<str>, usize)> {
    let mut name = Vec::new();
    let mut at = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        match length {
            0 => return Some((clean_name(&name), at)),
            1..=63 => {
                name.extend_from_slice(bytes.get(at..at + length)?);
                name.push(b'.');
                at += length;
            }
            _ => return None,
        }
        if at - start > LONGEST {
            return None;
        }
    }
}

/// Where a name ends, whatever it says.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            0xc0..=0xff => return Some(at + 2),
            _ => return None,
        }
    }
}

fn data(bytes: &[u8], mut at: usize, records: u16) -> u32 {
    let mut sum = 0u32;
    for _ in 0..records.min(MOST_RECORDS) {
        let Some(fixed) = after_name(bytes, at) else { break };
        let Some(length) = number(bytes, fixed + 8) else { break };
        sum = sum.saturating_add(u32::from(length));
        at = fixed + 10 + usize::from(length);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16, rest: &[u8]) -> Vec<u8> {
        let [high, low] = flags.to_be_bytes();
        [&[0x12, 0x34, high, low, 0, 1, 0, 1, 0, 0, 0, 0], rest].concat()
    }

    #[test]
    fn a_question_and_its_answer_are_read() {
        let question = b"\x03wWw\x02\xff \x03com\0\0\x10\0\x01";
        let answer = b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0\x05\x04abcd";
        let found = read(&message(0x8183, &[&question[..], answer].concat()));
        let expected = Message {
            id: 0x1234,
            is_answer: true,
            rcode: 3,
            name: "www.\\xff\\x20.com".into(),
            kind: 16,
            answer_bytes: 5,
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn what_is_cut_or_points_in_circles_is_no_question() {
        let whole = message(0x0100, b"\x03www\x03com\0\0\x01\0\x01");
        for end in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        assert_eq!(read(&message(0x0100, b"\xc0\x0c\0\x01\0\x01")), None);
        assert_eq!(read(&message(0x2800, b"\x03www\x03com\0\0\x01\0\x01")), None, "an update");
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(5);
        assert_eq!(read(&message(0x0100, &[&long[..], b"\0\0\x01\0\x01"].concat())), None);
    }
}
