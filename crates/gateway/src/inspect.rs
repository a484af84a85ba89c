//! Reads the start of a connection until it is known for whom it is.
//!
//! Enters: a new connection. Leaves: its claim, every byte read so far, and the gate for those that follow.
//! Guarantees: ends within the time given, and within the bounds of the readers; keeps what it read, for the server must
//! get it unchanged.

use crate::decide::{Claim, Unreadable};
use crate::gate::Gate;
use crate::near::Near;
use crate::reason::Reason;
use ::inspect::http_head::{Host, HttpFlaw};
use ::inspect::http_stream::{Event, Requests};
use ::inspect::{HelloReader, Outcome};
use policy::DnsName;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Bytes read at once. A hello with post-quantum keys fits.
const PIECE: usize = 4096;

/// First byte of a TLS handshake record.
const TLS: u8 = 22;

/// What was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) claim: Claim,
    /// All bytes read.
    pub(crate) bytes: Vec<u8>,
    /// How many of them the claim is made of.
    pub(crate) judged: usize,
    pub(crate) gate: Gate,
}

/// The first line of HTTP/2 (RFC 9113, section 3.4): no request of HTTP/1 begins so.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

impl Opened {
    /// Whether it speaks HTTP/2 in clear. That says for whom it is with each request, and not before.
    pub(crate) fn is_http2(&self) -> bool {
        self.bytes.starts_with(HTTP2)
    }

    /// Takes a connection of HTTP/2 in clear for one to a name. It must be opened, and each request held to that.
    pub(crate) fn is_for(&mut self, name: DnsName) {
        self.claim = Claim::Http { host: Host::Name(name), method: "PRI".to_owned() };
    }

    /// The bytes that may be forwarded with the claim: those it is made of, and what the gate lets go of the rest.
    pub(crate) fn first_bytes(&mut self) -> Result<Vec<u8>, Reason> {
        let rest = self.bytes.split_off(self.judged);
        let passed = self.gate.push(&rest)?;
        self.bytes.extend_from_slice(&passed);
        Ok(std::mem::take(&mut self.bytes))
    }
}

/// Reads a claim. With `silence`, a client that says nothing for so long waits for the server to speak first.
/// `first` came before.
pub(crate) async fn read(
    stream: &mut Near,
    first: Vec<u8>,
    within: Duration,
    silence: Option<Duration>,
) -> Opened {
    let mut reading = Reading { bytes: first, first: First::default() };
    // Most say all that is asked for at once.
    reading.bytes.reserve(PIECE);
    if let Some(silence) = silence.filter(|_| reading.bytes.is_empty())
        // Cancelled, it read nothing. An end or an error comes again with the next one.
        && tokio::time::timeout(silence, stream.read_buf(&mut reading.bytes)).await.is_err()
    {
        let gate = Gate::for_silent(First::default());
        return Opened { claim: Claim::Opaque, bytes: Vec::new(), judged: 0, gate };
    }
    let claim = match tokio::time::timeout(within, reading.claim(stream)).await {
        Ok(claim) => claim,
        Err(_) => Claim::Unreadable(Unreadable::Timeout),
    };
    reading.opened(claim)
}

/// What need not be read: policy says the same whatever it says.
pub(crate) fn unread(first: Vec<u8>) -> Opened {
    let judged = first.len();
    Opened { claim: Claim::Opaque, bytes: first, judged, gate: Gate::open() }
}

struct Reading {
    bytes: Vec<u8>,
    first: First,
}

/// Finds out what the first bytes of a connection are.
#[derive(Debug, Default)]
pub(crate) struct First(Option<Kind>);

/// What the first byte says it is.
#[derive(Debug)]
enum Kind {
    Tls(HelloReader),
    /// The reader, and how many bytes it has had.
    Http(Requests, usize),
    Other,
}

impl Reading {
    async fn claim(&mut self, stream: &mut Near) -> Claim {
        let mut at = 0;
        loop {
            let new = self.bytes.get(at..).filter(|new| !new.is_empty());
            if let Some(claim) = new.and_then(|new| self.first.push(new)) {
                return claim;
            }
            at = self.bytes.len();
            self.bytes.reserve(PIECE);
            match stream.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return Claim::Unreadable(Unreadable::Incomplete),
                Ok(_) => {}
            }
        }
    }

    fn opened(self, claim: Claim) -> Opened {
        let Self { bytes, first: First(kind) } = self;
        let (judged, gate) = match (&claim, kind) {
            (Claim::Tls(hello), Some(Kind::Tls(reader))) => {
                (reader.consumed(), Gate::behind_hello(hello.clone()))
            }
            (Claim::Http { host, .. }, Some(Kind::Http(reader, had))) => {
                (had, Gate::behind_request(reader, host.clone()))
            }
            _ => (bytes.len(), Gate::open()),
        };
        Opened { claim, bytes, judged, gate }
    }
}

impl First {
    /// Takes the next bytes. `None`: it is not known yet.
    pub(crate) fn push(&mut self, new: &[u8]) -> Option<Claim> {
        let kind = match &mut self.0 {
            Some(kind) => kind,
            none => none.insert(match new.first()? {
                &TLS => Kind::Tls(HelloReader::new()),
                byte if byte.is_ascii_graphic() => Kind::Http(Requests::new(), 0),
                _ => Kind::Other,
            }),
        };
        match kind {
            Kind::Other => Some(Claim::Opaque),
            Kind::Tls(reader) => match reader.push(new) {
                Outcome::NeedMore => None,
                Outcome::Hello(hello) => Some(Claim::Tls(hello)),
                Outcome::NotTls => Some(Claim::Opaque),
                Outcome::Malformed(flaw) => Some(Claim::Unreadable(Unreadable::Tls(flaw))),
                Outcome::TooLarge => Some(Claim::Unreadable(Unreadable::TlsTooLarge)),
            },
            Kind::Http(reader, had) => {
                let (taken, event) = reader.push(new);
                *had += taken;
                match event {
                    Event::More => None,
                    Event::Request(head) => Some(Claim::Http { host: head.host, method: head.method }),
                    Event::Refused(HttpFlaw::NotHttp) => Some(Claim::Opaque),
                    Event::Refused(flaw) => Some(Claim::Unreadable(Unreadable::Http(flaw))),
                }
            }
        }
    }
}
