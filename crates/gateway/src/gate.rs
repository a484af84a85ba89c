//! Watches what a pod sends behind its first claim, and lets go only what cannot change it.
//!
//! A connection stays for whom it was opened: a later HTTP request for another host, and a second TLS hello that asks
//! for something else, end it. Enters: the pod's bytes in order. Leaves: those that may be forwarded now.

use crate::decide::Claim;
use crate::inspect::First;
use crate::reason::Reason;
use ::inspect::http_head::Host;
use ::inspect::http_stream::{Event, Requests};
use ::inspect::retry::{RetryWatch, Watched};
use ::inspect::{ClientHello, Outcome};
use std::borrow::Cow;

/// What is watched for.
#[derive(Debug)]
enum Follow {
    /// Nothing can come any more, or nothing was claimed.
    Nothing,
    /// A second hello.
    Retry(Box<Retry>),
    /// Later requests.
    Requests { reader: Requests, first: Host },
    /// A client that waited for the server to speak first: it must not say for whom it is now.
    Late(First),
}

#[derive(Debug)]
struct Retry {
    watch: RetryWatch,
    first: ClientHello,
}

/// The gate of one connection.
#[derive(Debug)]
pub(crate) struct Gate {
    follow: Follow,
    /// Bytes that came and may not be forwarded yet.
    held: Vec<u8>,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Self { follow: Follow::Nothing, held: Vec::new() }
    }

    pub(crate) fn behind_hello(first: ClientHello) -> Self {
        let watch = RetryWatch::behind(&first);
        Self { follow: Follow::Retry(Box::new(Retry { watch, first })), held: Vec::new() }
    }

    /// `reader` has had exactly the head of the first request.
    pub(crate) fn behind_request(reader: Requests, first: Host) -> Self {
        Self { follow: Follow::Requests { reader, first }, held: Vec::new() }
    }

    /// Nothing was read.
    pub(crate) fn for_silent(first: First) -> Self {
        Self { follow: Follow::Late(first), held: Vec::new() }
    }

    /// Whether everything passes from now on.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.follow, Follow::Nothing) && self.held.is_empty()
    }

    /// Takes the next bytes and returns those that may be forwarded now.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Reason> {
        let holding = match &mut self.follow {
            Follow::Nothing => 0,
            Follow::Retry(retry) => match retry.watch.push(bytes) {
                Watched::Watching => retry.watch.holding(),
                Watched::Done => {
                    self.follow = Follow::Nothing;
                    0
                }
                Watched::Second(Outcome::Hello(second)) if same(&retry.first, &second) => {
                    self.follow = Follow::Nothing;
                    0
                }
                Watched::Second(_) => return Err(Reason::SecondHello),
            },
            Follow::Late(first) => match first.push(bytes) {
                None => self.held.len() + bytes.len(),
                Some(Claim::Opaque) => {
                    self.follow = Follow::Nothing;
                    0
                }
                Some(Claim::Tls(_) | Claim::Http { .. } | Claim::Unreadable(_)) => {
                    return Err(Reason::LateClaim);
                }
            },
            Follow::Requests { reader, first } => {
                read_requests(reader, first, bytes)?;
                reader.holding()
            }
        };
        if self.held.is_empty() && holding == 0 {
            return Ok(Cow::Borrowed(bytes));
        }
        self.held.extend_from_slice(bytes);
        let rest = self.held.split_off(self.held.len().saturating_sub(holding));
        Ok(Cow::Owned(std::mem::replace(&mut self.held, rest)))
    }
}

/// RFC 8446, section 4.1.2: all that a client may change in its second hello is not among these.
fn same(first: &ClientHello, second: &ClientHello) -> bool {
    first.sni == second.sni && first.ech == second.ech && first.alpn == second.alpn
}

fn read_requests(reader: &mut Requests, first: &Host, bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = bytes;
    loop {
        let (taken, event) = reader.push(rest);
        rest = rest.get(taken..).unwrap_or_default();
        match event {
            Event::More => return Ok(()),
            Event::Request(head) if head.host == *first => {}
            Event::Request(_) => return Err(Reason::LaterHost),
            Event::Refused(flaw) => return Err(crate::decide::Unreadable::Http(flaw).reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind_first_request(text: &str) -> Gate {
        let mut reader = Requests::new();
        let (taken, event) = reader.push(text.as_bytes());
        let Event::Request(head) = event else { panic!("{event:?}") };
        assert_eq!(taken, text.len());
        Gate::behind_request(reader, head.host)
    }

    #[test]
    fn a_later_head_is_held_until_it_is_whole() {
        let mut gate = behind_first_request("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(gate.push(b"GET / HT").unwrap().as_ref(), b"");
        assert_eq!(gate.push(b"TP/1.1\r\nHost: a.example\r\n").unwrap().as_ref(), b"");
        let whole = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(gate.push(b"\r\nG").unwrap().as_ref(), whole);
        assert_eq!(gate.push(b"ET / HTTP/1.1\r\nHost: b.example\r\n\r\n"), Err(Reason::LaterHost));
    }

    #[test]
    fn who_waited_for_the_server_may_not_say_for_whom_it_is() {
        let silent = || Gate::for_silent(First::default());
        let mut mail = silent();
        assert_eq!(mail.push(b"EHLO me").unwrap().as_ref(), b"");
        assert_eq!(mail.push(b"\r\nMAIL").unwrap().as_ref(), b"EHLO me\r\nMAIL");
        assert!(mail.is_open());
        assert_eq!(silent().push(&[1, 2, 3]).unwrap().as_ref(), [1, 2, 3]);
        assert_eq!(silent().push(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), Err(Reason::LateClaim));
        let mut tls = silent();
        assert_eq!(tls.push(&[22, 3, 1]).unwrap().as_ref(), b"");
        assert_eq!(tls.push(&[0, 4, 1, 0, 0, 0, 0, 0]), Err(Reason::LateClaim));
    }

    #[test]
    fn behind_a_handshake_everything_passes() {
        let mut gate = Gate::behind_hello(ClientHello::default());
        assert!(!gate.is_open());
        assert_eq!(gate.push(&[20, 3, 3, 0, 1]).unwrap().as_ref(), [20, 3, 3, 0, 1]);
        assert_eq!(gate.push(&[1, 23, 3]).unwrap().as_ref(), [1]);
        assert_eq!(gate.push(&[3, 0, 9, 0]).unwrap().as_ref(), [23, 3, 3, 0, 9, 0]);
        assert!(gate.is_open());
    }
}
