//! The head of an HTTP/1 request (RFC 9112), line by line, to whom it is for and how long its body is.
//!
//! Enters: lines without their line ends. Leaves: a [`Head`], or the [`HttpFlaw`] for which the request must go nowhere.
//! Guarantees: one host, which every server must take for the same; one framing of the body. Whatever RFC 9112 leaves to
//! the reader's tolerance is refused: a reader with another tolerance would see another request (request smuggling).
//! Does not: keep other header fields, or decode the target.

use crate::fields::is_bodiless;
use policy::domain::DnsName;
use std::fmt;
use std::net::IpAddr;

/// Longest method kept; the registered ones have at most 17 characters.
const MAX_METHOD: usize = 32;

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(DnsName),
    /// An address written as such; one of IPv4 is that, also where it is written as one of IPv6 (`::ffff:192.0.2.1`).
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 0 where there is none.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What policy may mention of a request, and what is needed to find the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// As written.
    pub method: String,
    /// Whom it is for, without port.
    pub host: Host,
    /// Its body.
    pub body: Body,
}

/// Why a request is not understood by everybody alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpFlaw {
    /// The first line is not that of an HTTP/1 request.
    NotHttp,
    /// HTTP/2 in clear (h2c), which is not read here.
    Http2,
    /// A line that breaks the grammar, or that only tolerant servers accept.
    Malformed,
    /// A head, or a line of a chunked body, beyond the bound.
    TooLarge,
    /// No host.
    NoHost,
    /// Several hosts: two Host fields, or a target in absolute form that names another one.
    SeveralHosts,
    /// A body whose end servers may see at different places.
    Framing,
    /// CONNECT: what follows is for somebody else.
    Connect,
    /// The request asks for another protocol on this connection.
    Upgrade,
}

impl HttpFlaw {
    /// Short stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotHttp => "not-http",
            Self::Http2 => "http2",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::NoHost => "no-host",
            Self::SeveralHosts => "several-hosts",
            Self::Framing => "framing",
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
        }
    }
}

impl fmt::Display for HttpFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A head of which some lines have come.
#[derive(Debug)]
pub(crate) struct Lines {
    method: String,
    minor: u8,
    target: Option<Host>,
    host: Option<Host>,
    length: Option<u64>,
    chunked: bool,
}

impl Lines {
    /// The request line: `method SP target SP HTTP/1.x`, with one space each.
    pub(crate) fn first(line: &[u8]) -> Result<Self, HttpFlaw> {
        if line == b"PRI * HTTP/2.0" {
            return Err(HttpFlaw::Http2);
        }
        let text = std::str::from_utf8(line).map_err(|_| HttpFlaw::NotHttp)?;
        let mut parts = text.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HttpFlaw::NotHttp);
        };
        let minor = match version {
            "HTTP/1.0" => 0,
            "HTTP/1.1" => 1,
            _ => return Err(HttpFlaw::NotHttp),
        };
        if !is_token(method.as_bytes()) || method.len() > MAX_METHOD {
            return Err(HttpFlaw::NotHttp);
        }
        if method.eq_ignore_ascii_case("CONNECT") {
            return Err(HttpFlaw::Connect);
        }
        let target = target_host(method, target)?;
        Ok(Self { method: method.into(), minor, target, host: None, length: None, chunked: false })
    }

    /// One field line.
    pub(crate) fn field(&mut self, line: &[u8]) -> Result<(), HttpFlaw> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() {
                return Err(HttpFlaw::SeveralHosts);
            }
            self.host = Some(authority(value)?);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(HttpFlaw::Framing);
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpFlaw::Framing);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            return Err(HttpFlaw::Upgrade);
        }
        Ok(())
    }

    /// The empty line came.
    pub(crate) fn finish(self) -> Result<Head, HttpFlaw> {
        let host = self.host.ok_or(HttpFlaw::NoHost)?;
        if self.target.is_some_and(|target| target != host) {
            return Err(HttpFlaw::SeveralHosts);
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(HttpFlaw::Framing),
            (true, None) if self.minor == 0 => return Err(HttpFlaw::Framing),
            (true, None) => Body::Chunked,
            (false, length) => Body::Length(length.unwrap_or(0)),
        };
        if is_bodiless(&self.method) && body != Body::Length(0) {
            return Err(HttpFlaw::Framing);
        }
        Ok(Head { method: self.method, host, body })
    }
}

/// A field of a trailer section: sound, and none that would mean something to the request.
pub(crate) fn trailer(line: &[u8]) -> Result<(), HttpFlaw> {
    let (name, _) = field(line)?;
    let meant = ["host", "content-length", "transfer-encoding", "upgrade"];
    let means = meant.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    if means { Err(HttpFlaw::Framing) } else { Ok(()) }
}

/// The size of a chunk. Extensions, which nobody uses and servers read differently, are refused.
pub(crate) fn chunk_size(line: &[u8]) -> Result<u64, HttpFlaw> {
    let digits = std::str::from_utf8(line).map_err(|_| HttpFlaw::Framing)?;
    if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(HttpFlaw::Framing);
    }
    u64::from_str_radix(digits, 16).map_err(|_| HttpFlaw::Framing)
}

/// Name and trimmed value. A line that starts with a space continues the one before (obs-fold), and is refused as one
/// without a sound name.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HttpFlaw> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(HttpFlaw::Malformed)?;
    let (name, value) = line.split_at_checked(colon).ok_or(HttpFlaw::Malformed)?;
    if !is_token(name) {
        return Err(HttpFlaw::Malformed);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// The host of a target in absolute form; none for a path, or for `*` with OPTIONS.
fn target_host(method: &str, target: &str) -> Result<Option<Host>, HttpFlaw> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HttpFlaw::NotHttp);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(None);
    }
    let (scheme, rest) = target.split_once("://").ok_or(HttpFlaw::Malformed)?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(HttpFlaw::Malformed);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    authority(host.as_bytes()).map(Some)
}

/// The target of a CONNECT, from its request line: `CONNECT SP host:port SP HTTP/1.x`, with one space each.
pub(crate) fn connect_target(line: &[u8]) -> Result<(Host, u16), HttpFlaw> {
    let text = std::str::from_utf8(line).map_err(|_| HttpFlaw::NotHttp)?;
    let mut parts = text.split(' ');
    let (Some("CONNECT"), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HttpFlaw::NotHttp);
    };
    match authority_with_port(target.as_bytes())? {
        (host, Some(port)) if port > 0 => Ok((host, port)),
        _ => Err(HttpFlaw::Malformed),
    }
}

/// A field of a CONNECT: what `Host` says, of others nothing. One that would bring a body or another protocol is a flaw.
pub(crate) fn connect_field(line: &[u8]) -> Result<Option<(Host, Option<u16>)>, HttpFlaw> {
    let (name, value) = field(line)?;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if is("host") {
        return authority_with_port(value).map(Some);
    }
    if is("upgrade") {
        return Err(HttpFlaw::Upgrade);
    }
    if is("transfer-encoding") || (is("content-length") && value != b"0") {
        return Err(HttpFlaw::Framing);
    }
    Ok(None)
}

/// `host` or `host:port`; user information is refused.
fn authority(value: &[u8]) -> Result<Host, HttpFlaw> {
    authority_with_port(value).map(|(host, _)| host)
}

/// `host` or `host:port`, with the port where it names one; user information is refused.
pub(crate) fn authority_with_port(value: &[u8]) -> Result<(Host, Option<u16>), HttpFlaw> {
    let text = std::str::from_utf8(value).map_err(|_| HttpFlaw::Malformed)?;
    if text.is_empty() {
        return Err(HttpFlaw::NoHost);
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, behind) = inner.split_once(']').ok_or(HttpFlaw::Malformed)?;
            let address = IpAddr::V6(address.parse().map_err(|_| HttpFlaw::Malformed)?);
            (Host::Address(address.to_canonical()), behind)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, behind) = text.split_at_checked(end).ok_or(HttpFlaw::Malformed)?;
            (name_or_address(host)?, behind)
        }
    };
    let digits = match port.strip_prefix(':') {
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits,
        None if port.is_empty() => return Ok((host, None)),
        Some(_) | None => return Err(HttpFlaw::Malformed),
    };
    // `host:` names no port (RFC 3986, section 3.2.3).
    if digits.is_empty() {
        return Ok((host, None));
    }
    digits.parse().map(|port| (host, Some(port))).map_err(|_| HttpFlaw::Malformed)
}

fn name_or_address(text: &str) -> Result<Host, HttpFlaw> {
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    DnsName::parse(text).map(Host::Name).map_err(|_| HttpFlaw::Malformed)
}

fn length(value: &[u8]) -> Result<u64, HttpFlaw> {
    let digits = std::str::from_utf8(value).map_err(|_| HttpFlaw::Framing)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HttpFlaw::Framing);
    }
    digits.parse().map_err(|_| HttpFlaw::Framing)
}

/// RFC 9110, section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(sound)
}
