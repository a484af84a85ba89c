//! One whole ClientHello message (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301, RFC 9849) to its facts.
//!
//! Enters: the body of the handshake message. Leaves: a [`ClientHello`], or the [`Flaw`] for which nobody should guess.
//! Guarantees: a name is given only where every server must read the same one: one `server_name` extension with one
//! host name in it. Does not: look at key shares, cipher suites or anything that policy cannot mention.

use crate::cursor::Cursor;
use policy::domain::DnsName;
use std::fmt;

/// No client offers as many; a list beyond this is not worth its memory.
const MAX_LISTED: usize = 64;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const EARLY_DATA: u16 = 42;
pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
const ECH: u16 = 0xfe0d;
/// What ECH was before it was RFC 9849, and still hides a name where a server knows it.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What a ClientHello claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name it asks for, in clear.
    pub sni: Option<DnsName>,
    /// Application protocols it offers, in its order, as they were written; bytes that are not printable are escaped.
    pub alpn: Vec<String>,
    /// Whether there is an Encrypted ClientHello extension: the real name may be another than `sni`. A client that
    /// has no key sends an empty shell of it (GREASE ECH), which by design cannot be told from a real one.
    pub ech: bool,
    /// Whether it announces data of the application before the handshake is over (0-RTT).
    pub early_data: bool,
    /// TLS versions it offers, as on the wire (0x0304 is TLS 1.3); GREASE values are left out.
    pub versions: Vec<u16>,
}

/// Why bytes are not a hello, or an answer to one, that everybody reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// A record that TLS does not have here: wrong type, version, length or content.
    Record,
    /// The first handshake message is another one.
    NotClientHello,
    /// A length inside says other than the bytes there are.
    Length,
    /// Bytes behind the hello in the record or stream that carries it.
    Trailing,
    /// A version that no TLS has.
    Version,
    /// The same extension twice.
    DuplicateExtension,
    /// A `server_name` extension with none, several, or a malformed name.
    ServerName,
    /// A malformed list of protocols, versions or certificates, or one too long.
    List,
    /// A server's message or record that has no place where it comes.
    Order,
    /// QUIC: a packet that cannot be read, or whose protection does not open with the keys of its connection.
    Packet,
    /// QUIC: a frame that has no place in a first packet.
    Frame,
    /// QUIC: the same part of the hello twice, with different bytes.
    Overlap,
    /// QUIC: a datagram smaller than a client may send, which a server ignores.
    Small,
}

impl Flaw {
    /// Short stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::NotClientHello => "not-client-hello",
            Self::Length => "length",
            Self::Trailing => "trailing",
            Self::Version => "version",
            Self::DuplicateExtension => "duplicate-extension",
            Self::ServerName => "server-name",
            Self::List => "list",
            Self::Order => "order",
            Self::Packet => "packet",
            Self::Frame => "frame",
            Self::Overlap => "overlap",
            Self::Small => "small",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ClientHello {
    /// Reads the body of a ClientHello, without the message's own header.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Flaw> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u16().ok_or(Flaw::Length)?;
        if version >> 8 != 3 {
            return Err(Flaw::Version);
        }
        let _random = cursor.take(32).ok_or(Flaw::Length)?;
        let session = cursor.part8().ok_or(Flaw::Length)?;
        let suites = cursor.part16().ok_or(Flaw::Length)?;
        let compressions = cursor.part8().ok_or(Flaw::Length)?;
        if session.len() > 32
            || suites.is_empty()
            || !suites.len().is_multiple_of(2)
            || compressions.is_empty()
        {
            return Err(Flaw::Length);
        }
        let mut hello = Self::default();
        // Before TLS 1.3 a hello may end here (RFC 5246, section 7.4.1.2).
        if !cursor.is_empty() {
            let extensions = cursor.part16().ok_or(Flaw::Length)?;
            if !cursor.is_empty() {
                return Err(Flaw::Length);
            }
            hello.read_extensions(extensions)?;
        }
        if hello.versions.is_empty() {
            hello.versions.push(version);
        }
        Ok(hello)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Result<(), Flaw> {
        let mut cursor = Cursor::new(extensions);
        let mut seen = Vec::new();
        while !cursor.is_empty() {
            let kind = cursor.u16().ok_or(Flaw::Length)?;
            let data = cursor.part16().ok_or(Flaw::Length)?;
            seen.push(kind);
            match kind {
                SERVER_NAME => self.sni = Some(server_name(data)?),
                ALPN => self.alpn = protocols(data).ok_or(Flaw::List)?,
                SUPPORTED_VERSIONS => self.versions = versions(data).ok_or(Flaw::List)?,
                EARLY_DATA => self.early_data = true,
                ECH | ENCRYPTED_SERVER_NAME => self.ech = true,
                _ => {}
            }
        }
        if has_duplicates(seen) { Err(Flaw::DuplicateExtension) } else { Ok(()) }
    }
}

/// Whether an extension comes twice.
pub(crate) fn has_duplicates(mut extensions: Vec<u16>) -> bool {
    extensions.sort_unstable();
    extensions.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}

/// RFC 6066: a list that may hold one name of each kind, of which there is one kind.
fn server_name(data: &[u8]) -> Result<DnsName, Flaw> {
    let mut cursor = Cursor::new(data);
    let mut list = Cursor::new(cursor.part16().ok_or(Flaw::ServerName)?);
    let kind = list.u8().ok_or(Flaw::ServerName)?;
    let name = list.part16().ok_or(Flaw::ServerName)?;
    if kind != 0 || !list.is_empty() || !cursor.is_empty() {
        return Err(Flaw::ServerName);
    }
    let text = std::str::from_utf8(name).map_err(|_| Flaw::ServerName)?;
    DnsName::parse(text).map_err(|_| Flaw::ServerName)
}

fn protocols(data: &[u8]) -> Option<Vec<String>> {
    let mut cursor = Cursor::new(data);
    let mut list = Cursor::new(cursor.part16()?);
    let mut found = Vec::new();
    while !list.is_empty() {
        let name = list.part8().filter(|name| !name.is_empty())?;
        found.push(name.escape_ascii().to_string());
    }
    let sound = cursor.is_empty() && !found.is_empty() && found.len() <= MAX_LISTED;
    sound.then_some(found)
}

fn versions(data: &[u8]) -> Option<Vec<u16>> {
    let mut cursor = Cursor::new(data);
    let mut list = Cursor::new(cursor.part8()?);
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.u16()?);
    }
    if !cursor.is_empty() || found.is_empty() || found.len() > MAX_LISTED {
        return None;
    }
    found.retain(|version| !is_grease(*version));
    Some(found)
}

/// Values that clients send only to see that servers ignore them (RFC 8701): 0x0a0a, 0x1a1a, ... 0xfafa.
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}
