//! The same bytes, split in two ways, are the same requests with the same end; nothing is held but a head.
#![no_main]

use inspect::http_head::Head;
use inspect::http_stream::{Event, MAX_HEAD, Requests};
use libfuzzer_sys::fuzz_target;

fn read<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Head>, Event, usize) {
    let (mut requests, mut heads, mut last) = (Requests::new(), vec![], Event::More);
    for part in parts {
        let mut at = 0;
        loop {
            let (taken, event) = requests.push(&part[at..]);
            at += taken;
            assert!(requests.holding() <= MAX_HEAD);
            match event {
                Event::Request(head) => heads.push(head),
                other => {
                    last = other;
                    break;
                }
            }
        }
    }
    (heads, last, requests.holding())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    assert_eq!(read(std::iter::once(bytes)), read(bytes.chunks(usize::from(size).max(1))));
});
