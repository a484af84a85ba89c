//! The same bytes, split in two ways, are the same requests with the same end; nothing is held but a head. As a head to an
//! explicit proxy they ask for the same.

use inspect::http_head::Head;
use inspect::http_stream::{Event, MAX_HEAD, Requests};
use inspect::proxy_head::{Asked, ProxyHead, Unasked};

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

fn asked<'a>(mut parts: impl Iterator<Item = &'a [u8]>) -> Option<Result<Asked, Unasked>> {
    let mut head = ProxyHead::new();
    parts.find_map(|part| head.push(part))
}

pub(crate) fn run(input: (u8, &[u8])) {
    let (size, bytes) = input;
    let parts = || bytes.chunks(usize::from(size).max(1));
    assert_eq!(read(std::iter::once(bytes)), read(parts()));
    let asked_at_once = asked(std::iter::once(bytes));
    assert_eq!(asked_at_once, asked(parts()));
    if let Some(Ok(asked)) = asked_at_once {
        assert!(
            asked.port > 0 && asked.length <= bytes.len() && bytes[..asked.length].ends_with(b"\r\n\r\n")
        );
    }
}
