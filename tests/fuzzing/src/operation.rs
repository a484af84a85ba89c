//! The same body, split in two ways, makes the same operation of any head, and asks for as much; at its end both are known.

use inspect::answer::AskReader;
use inspect::operation::{Head, Progress, Reader};

const HEADERS: [&str; 9] = [
    "content-type",
    "authorization",
    "upgrade",
    "accept",
    "mcp-method",
    "mcp-name",
    "x-http-method-override",
    "x-amz-content-sha256",
    "a2a-version",
];

/// With and without looking for whom it has the provider contact.
fn read<'a>(head: &Head<'_>, parts: impl Iterator<Item = &'a [u8]> + Clone) -> [String; 2] {
    [Reader::new(head), Reader::leaving(head, true)].map(|reader| read_by(reader, parts.clone()))
}

fn read_by<'a>(mut reader: Reader, parts: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    parts.clone().for_each(|part| reader.push(part));
    reader.end();
    assert_ne!(reader.progress(), Progress::NeedMore);
    let (Progress::Known(operation) | Progress::Contradicted(operation, _)) = reader.progress() else {
        return String::new();
    };
    let mut asking = AskReader::new(operation);
    parts.for_each(|part| asking.push(part));
    format!("{:?} {:?}", reader.progress(), asking.end(true))
}

pub(crate) fn run(input: (u8, u8, &str, &str, &[u8], &[u8])) {
    let (size, choice, host, target, value, body) = input;
    let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X"][usize::from(choice & 7)];
    let headers = [(HEADERS[usize::from(choice >> 3) % HEADERS.len()], value)];
    let head = Head { method, host, port: 443, target, headers: &headers };
    assert_eq!(read(&head, std::iter::once(body)), read(&head, body.chunks(usize::from(size).max(1))));
}
