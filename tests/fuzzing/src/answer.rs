//! The same bytes as an answer's body, split in two ways, say the same of it; so do the places where it could be cut.

use inspect::answer::{AnswerReader, Usage};
use inspect::refusal::{Boundary, Framing};
use policy::Operation;

const KINDS: [(&str, Framing); 4] = [
    ("application/json", Framing::JsonArrayStart),
    ("text/event-stream", Framing::Sse),
    ("application/x-ndjson", Framing::NdJson),
    ("application/vnd.amazon.eventstream", Framing::EventStream),
];

fn read<'a>(kind: &str, parts: impl Iterator<Item = &'a [u8]>) -> Usage {
    let mut reader = AnswerReader::new(&Operation::unknown("fuzz"), &[("content-type", kind.as_bytes())]);
    parts.for_each(|part| reader.push(part));
    reader.end()
}

fn places<'a>(framing: Framing, parts: impl Iterator<Item = &'a [u8]>) -> Vec<usize> {
    let (mut boundary, mut at, mut found) = (Boundary::new(framing), 0, vec![]);
    for part in parts {
        let mut rest = part;
        while !rest.is_empty() {
            let taken = boundary.push(rest);
            assert!(taken > 0);
            (at, rest) = (at + taken, &rest[taken..]);
            if boundary.is_between() {
                found.push(at);
            }
        }
    }
    found
}

pub(crate) fn run(input: (u8, u8, &[u8])) {
    let (which, size, bytes) = input;
    let size = usize::from(size).max(1);
    let (kind, framing) = KINDS[usize::from(which) % KINDS.len()];
    let usage = read(kind, std::iter::once(bytes));
    assert_eq!(usage, read(kind, bytes.chunks(size)));
    assert!(usage.output_chars <= bytes.len() as u64 && usage.events <= bytes.len() as u64);
    assert_eq!(places(framing, std::iter::once(bytes)), places(framing, bytes.chunks(size)));
}
