//! The same body, split in two ways, makes the same operation of any head; at its end it is known.
#![no_main]

use inspect::operation::{Head, Progress, Reader};
use libfuzzer_sys::fuzz_target;

const HEADERS: [&str; 8] = [
    "content-type",
    "authorization",
    "upgrade",
    "accept",
    "mcp-method",
    "mcp-name",
    "x-http-method-override",
    "x-amz-content-sha256",
];

fn read<'a>(head: &Head<'_>, parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut reader = Reader::new(head);
    parts.for_each(|part| reader.push(part));
    reader.end();
    assert_ne!(reader.progress(), Progress::NeedMore);
    format!("{:?}", reader.progress())
}

fuzz_target!(|input: (u8, u8, &str, &str, &[u8], &[u8])| {
    let (size, choice, host, target, value, body) = input;
    let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X"][usize::from(choice & 7)];
    let headers = [(HEADERS[usize::from(choice >> 5)], value)];
    let head = Head { method, host, port: 443, target, headers: &headers };
    assert_eq!(read(&head, std::iter::once(body)), read(&head, body.chunks(usize::from(size).max(1))));
});
