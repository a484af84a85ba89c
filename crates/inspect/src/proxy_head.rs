//! The head with which a client tells an explicit proxy where it wants to go (RFC 9110, section 9.3.6; RFC 9112,
//! section 3.2): `CONNECT host:port`, or a request whose target is a whole `http` address.
//!
//! Enters: bytes, split anywhere. Leaves: an [`Asked`], or the [`Unasked`] for which it must go nowhere. Guarantees: as for
//! other requests ([`crate::http_stream`]): one host, one framing, and nothing that two readers could take differently;
//! how the bytes are split never changes what is found; at most [`MAX_HEAD`] bytes are kept, each looked at twice.
//! Does not: read bodies, or the requests behind this one.

use crate::http_head::{Host, HttpFlaw, authority_with_port, connect_field, connect_target};
use crate::http_stream::{Event, MAX_HEAD, Requests};

/// Port of a target that names none.
const HTTP_PORT: u16 = 80;

/// Where a client wants to go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How it asks.
    pub form: Form,
    /// Whom it is for.
    pub host: Host,
    /// At which TCP port; never 0.
    pub port: u16,
    /// Length of the head in bytes; what follows is behind it.
    pub length: usize,
}

/// How a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a tunnel.
    Connect,
    /// For an answer to a request of this method.
    Request(String),
}

/// Why there is nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// It is a request, and not to a proxy: it names no server in its target.
    Origin,
    /// It is not understood by everybody alike.
    Flaw(HttpFlaw),
}

/// Reads one head.
#[derive(Debug, Default)]
pub struct ProxyHead {
    bytes: Vec<u8>,
    /// How far no end was found.
    looked: usize,
}

impl ProxyHead {
    /// A reader for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. `None`: the head is not whole.
    pub fn push(&mut self, new: &[u8]) -> Option<Result<Asked, Unasked>> {
        self.bytes.extend_from_slice(new);
        if self.bytes.first().is_some_and(|byte| !byte.is_ascii_graphic()) {
            return Some(Err(Unasked::Flaw(HttpFlaw::NotHttp)));
        }
        let unseen = self.bytes.get(self.looked..).unwrap_or_default();
        let Some(end) = unseen.windows(4).position(|four| four == b"\r\n\r\n") else {
            self.looked = self.bytes.len().saturating_sub(3);
            let is_too_large = self.bytes.len() > MAX_HEAD;
            return is_too_large.then_some(Err(Unasked::Flaw(HttpFlaw::TooLarge)));
        };
        let length = self.looked + end + 4;
        let head = self.bytes.get(..length).unwrap_or_default();
        Some(if length > MAX_HEAD { Err(Unasked::Flaw(HttpFlaw::TooLarge)) } else { read(head) })
    }

    /// All bytes that came, those behind the head too.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn read(head: &[u8]) -> Result<Asked, Unasked> {
    if head.starts_with(b"CONNECT ") {
        return connect(head).map_err(Unasked::Flaw);
    }
    let (_, event) = Requests::new().push(head);
    let found = match event {
        Event::Request(found) => found,
        Event::Refused(flaw) => return Err(Unasked::Flaw(flaw)),
        Event::More => return Err(Unasked::Flaw(HttpFlaw::Malformed)),
    };
    let line = lines(head).next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let Some(authority) = authority_of(target) else { return Err(Unasked::Origin) };
    let (host, port) = authority_with_port(authority).map_err(Unasked::Flaw)?;
    let port = port.unwrap_or(HTTP_PORT);
    if port == 0 {
        return Err(Unasked::Flaw(HttpFlaw::Malformed));
    }
    Ok(Asked { form: Form::Request(found.method), host, port, length: head.len() })
}

/// A request for a tunnel. It has no body, and its only host is its target.
fn connect(head: &[u8]) -> Result<Asked, HttpFlaw> {
    let mut lines = lines(head);
    let first = lines.next().unwrap_or_default();
    let (host, port) = connect_target(first)?;
    let mut named = None;
    for line in lines {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(HttpFlaw::Malformed);
        }
        let Some(field) = connect_field(line)? else { continue };
        if named.replace(field).is_some() {
            return Err(HttpFlaw::SeveralHosts);
        }
    }
    // Some clients name the port here, some do not, and those of HTTP/1.0 need no such field.
    if named.is_some_and(|(other, at)| other != host || at.is_some_and(|at| at != port)) {
        return Err(HttpFlaw::SeveralHosts);
    }
    Ok(Asked { form: Form::Connect, host, port, length: head.len() })
}

/// The lines of a whole head, without the empty one.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let end = rest.windows(2).position(|two| two == b"\r\n");
        is_over = end.is_none();
        let line = rest.get(..end.unwrap_or(rest.len()))?;
        rest = end.and_then(|end| rest.get(end + 2..)).unwrap_or_default();
        Some(line)
    })
}

/// The authority of a target in absolute form, which was read before.
fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let at = target.windows(3).position(|three| three == b"://")?;
    // In a path it is no scheme.
    if target.first() == Some(&b'/') {
        return None;
    }
    let rest = target.get(at + 3..)?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    rest.get(..end)
}
