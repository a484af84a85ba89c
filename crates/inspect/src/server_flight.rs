//! The start of a server's answer to a TLS hello, up to its certificate, from bytes as they arrive.
//!
//! Up to TLS 1.2 a server shows its certificate in clear (RFC 5246, section 7.4.2); TLS 1.3 encrypts it, and a resumed
//! session has none. Enters: the server's bytes, split anywhere, with handshake messages over any number of records and
//! several in one (RFC 5246, section 6.2.1). Leaves: a [`Flight`].
//! Guarantees: how the same bytes are split never changes the flight; at most [`MAX_FLIGHT`] bytes are kept, each is
//! copied once; a flight other than [`Flight::NeedMore`] is final. Does not: check a certificate or who signed it, look
//! at those behind the first, or know kinds of certificate that are not X.509 (RFC 7250): those are malformed.

use crate::client_hello::{HANDSHAKE, MAX_RECORD, message_length};
use crate::cursor::Cursor;
use crate::hello_message::{ClientHello, Flaw, SUPPORTED_VERSIONS, has_duplicates};
use crate::retry::{ALERT, CHANGE_CIPHER_SPEC};

/// Most bytes of the connection that are read for a certificate, record headers included. Chains have some 4 KiB, and
/// common clients read no more than 64 to 100 KiB.
pub const MAX_FLIGHT: usize = 256 * 1024;

const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;

const HELLO_REQUEST: u8 = 0;
const SERVER_HELLO: u8 = 2;
const SESSION_TICKET: u8 = 4;
const CERTIFICATE: u8 = 11;
const KEY_EXCHANGE: u8 = 12;
const HELLO_DONE: u8 = 14;
const SUPPLEMENTAL_DATA: u8 = 23;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flight {
    /// A certificate may still come.
    NeedMore,
    /// None can be seen on this connection.
    Nothing(Unseen),
    /// The server's own certificate, in DER: the first of its list.
    Certificate(Vec<u8>),
    /// A client refuses it, or clients could read it differently.
    Malformed(Flaw),
    /// More than [`MAX_FLIGHT`] bytes.
    TooLarge,
}

/// Why no certificate can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// TLS 1.3: what follows is encrypted.
    Encrypted,
    /// An earlier session goes on, whose certificate was shown then.
    Resumed,
    /// The cipher suite goes without certificates: a shared key or a password, or nobody is authenticated.
    NoCertificate,
    /// The server ended the handshake with an alert.
    Ended,
    /// The first bytes are not the header of a record that a TLS server begins with.
    NotTls,
}

/// Reads the answer on one connection.
#[derive(Debug)]
pub struct ServerFlight {
    /// Only a client that offered TLS 1.3 may be answered with it.
    offers_tls13: bool,
    has_hello: bool,
    /// Header of the record under way, and how many of its bytes are there.
    header: [u8; 5],
    header_length: usize,
    /// Bytes of the record under way that did not come yet; 0 while its header is read.
    record_left: usize,
    consumed: usize,
    /// The handshake message under way.
    message: Vec<u8>,
    /// The content under way of a record that is no handshake; it has one or two bytes.
    signal: Vec<u8>,
    done: Option<Flight>,
}

impl ServerFlight {
    /// A reader for the answer to this hello.
    pub fn answering(hello: &ClientHello) -> Self {
        Self {
            offers_tls13: hello.versions.contains(&TLS_1_3),
            has_hello: false,
            header: [0; 5],
            header_length: 0,
            record_left: 0,
            consumed: 0,
            message: Vec::new(),
            signal: Vec::new(),
            done: None,
        }
    }

    /// Takes the next bytes, and says what all of them are. Bytes behind what decided are ignored.
    pub fn push(&mut self, bytes: &[u8]) -> Flight {
        let mut rest = bytes;
        while self.done.is_none() && !rest.is_empty() {
            let taken = self.step(rest);
            self.consumed += taken;
            rest = rest.get(taken..).unwrap_or_default();
            if self.done.is_none() && self.consumed >= MAX_FLIGHT {
                self.done = Some(Flight::TooLarge);
            }
        }
        self.done.clone().unwrap_or(Flight::NeedMore)
    }

    /// Takes some bytes, at least one and not more than to the next point where something is decided.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.record_left == 0 {
            if let Some(byte) = bytes.first() {
                self.header_byte(*byte);
            }
            return 1;
        }
        let is_handshake = self.record_kind() == HANDSHAKE;
        let wanted = if is_handshake { self.wanted() } else { self.record_left };
        let wanted = wanted.min(self.record_left).min(MAX_FLIGHT - self.consumed).min(bytes.len());
        let new = bytes.get(..wanted).unwrap_or_default();
        self.record_left -= wanted;
        if is_handshake {
            self.message.extend_from_slice(new);
            self.look_at_message();
        } else {
            self.signal.extend_from_slice(new);
            if self.record_left == 0 {
                self.done = self.signalled();
                self.signal.clear();
            }
        }
        wanted
    }

    fn record_kind(&self) -> u8 {
        let [kind, ..] = self.header;
        kind
    }

    fn header_byte(&mut self, byte: u8) {
        let at = self.header_length;
        if let Some(slot) = self.header.get_mut(at) {
            *slot = byte;
        }
        self.header_length += 1;
        // Only what comes first tells TLS from something else.
        let first = self.consumed == at;
        self.done = match at {
            0 if matches!(byte, HANDSHAKE | ALERT | CHANGE_CIPHER_SPEC) => None,
            1 if byte == 3 => None,
            0 | 1 if first => Some(Flight::Nothing(Unseen::NotTls)),
            0 => Some(Flight::Malformed(Flaw::Order)),
            1 => Some(Flight::Malformed(Flaw::Record)),
            _ => None,
        };
        if self.done.is_some() || self.header_length < self.header.len() {
            return;
        }
        let [kind, _, _, high, low] = self.header;
        self.record_left = usize::from(high) << 8 | usize::from(low);
        self.header_length = 0;
        let is_sound = match kind {
            HANDSHAKE => (1..=MAX_RECORD).contains(&self.record_left),
            ALERT => self.record_left == 2,
            _ => self.record_left == 1,
        };
        if self.is_out_of_place(kind) {
            self.done = Some(Flight::Malformed(Flaw::Order));
        } else if !is_sound {
            self.done = Some(Flight::Malformed(Flaw::Record));
        }
    }

    /// Whether clients could differ in what a record of this kind means now.
    fn is_out_of_place(&self, kind: u8) -> bool {
        let is_inside_message = kind != HANDSHAKE && !self.message.is_empty();
        // Before the hello some clients pass over a ChangeCipherSpec, for TLS 1.3 has ones that mean nothing.
        let is_early = kind == CHANGE_CIPHER_SPEC && !self.has_hello;
        is_inside_message || is_early
    }

    /// What a whole alert or ChangeCipherSpec means.
    fn signalled(&self) -> Option<Flight> {
        match *self.signal.as_slice() {
            [1] => Some(Flight::Nothing(Unseen::Resumed)),
            [FATAL, _] | [WARNING, CLOSE_NOTIFY] => Some(Flight::Nothing(Unseen::Ended)),
            // The handshake goes on: a server that does not know the name may say so and show what it has.
            [WARNING, _] => None,
            _ => Some(Flight::Malformed(Flaw::Record)),
        }
    }

    /// Bytes that the message lacks: to the end of its header, then to its own end.
    fn wanted(&self) -> usize {
        let whole = message_length(&self.message).unwrap_or(4);
        whole.saturating_sub(self.message.len())
    }

    fn look_at_message(&mut self) {
        let Some(kind) = self.message.first().copied() else { return };
        if !self.is_expected(kind) {
            self.done = Some(self.unexpected(kind));
            return;
        }
        let Some(whole) = message_length(&self.message) else { return };
        if whole > MAX_FLIGHT {
            self.done = Some(Flight::TooLarge);
            return;
        }
        if self.message.len() < whole {
            return;
        }
        let body = self.message.get(4..).unwrap_or_default();
        self.done = match kind {
            SERVER_HELLO => self.server_hello(body),
            CERTIFICATE => Some(certificate(body)),
            HELLO_REQUEST if !body.is_empty() => Some(Flight::Malformed(Flaw::Length)),
            _ => None,
        };
        self.has_hello |= kind == SERVER_HELLO;
        self.message.clear();
    }

    /// Whether a message may come now, and must be read or passed over whole.
    fn is_expected(&self, kind: u8) -> bool {
        match kind {
            // Clients ignore it (RFC 5246, section 7.4.1.1).
            HELLO_REQUEST => true,
            SERVER_HELLO => !self.has_hello,
            // A new ticket for a resumed session, or what RFC 4680 puts before the certificate.
            CERTIFICATE | SESSION_TICKET | SUPPLEMENTAL_DATA => self.has_hello,
            _ => false,
        }
    }

    fn unexpected(&self, kind: u8) -> Flight {
        match kind {
            KEY_EXCHANGE | HELLO_DONE if self.has_hello => Flight::Nothing(Unseen::NoCertificate),
            _ => Flight::Malformed(Flaw::Order),
        }
    }

    fn server_hello(&self, body: &[u8]) -> Option<Flight> {
        match versions(body) {
            Err(flaw) => Some(Flight::Malformed(flaw)),
            Ok((0x0300..=TLS_1_2, None)) => None,
            // A HelloRetryRequest as well: no version before TLS 1.3 may follow it.
            Ok((TLS_1_2, Some(TLS_1_3))) if self.offers_tls13 => Some(Flight::Nothing(Unseen::Encrypted)),
            Ok(_) => Some(Flight::Malformed(Flaw::Version)),
        }
    }
}

/// The version in the body of a ServerHello, and that of its `supported_versions`, which stands above it (RFC 8446,
/// sections 4.1.3 and 4.2.1).
fn versions(body: &[u8]) -> Result<(u16, Option<u16>), Flaw> {
    let mut cursor = Cursor::new(body);
    let version = cursor.u16().ok_or(Flaw::Length)?;
    let _random = cursor.take(32).ok_or(Flaw::Length)?;
    let session = cursor.part8().ok_or(Flaw::Length)?;
    let _suite_and_compression = cursor.take(3).ok_or(Flaw::Length)?;
    if session.len() > 32 {
        return Err(Flaw::Length);
    }
    let (mut selected, mut seen) = (None, Vec::new());
    if !cursor.is_empty() {
        let mut extensions = Cursor::new(cursor.part16().ok_or(Flaw::Length)?);
        while !extensions.is_empty() {
            let kind = extensions.u16().ok_or(Flaw::Length)?;
            let data = extensions.part16().ok_or(Flaw::Length)?;
            seen.push(kind);
            if kind == SUPPORTED_VERSIONS {
                let version = data.first_chunk().filter(|_| data.len() == 2).ok_or(Flaw::List)?;
                selected = Some(u16::from_be_bytes(*version));
            }
        }
    }
    if !cursor.is_empty() {
        return Err(Flaw::Length);
    }
    if has_duplicates(seen) { Err(Flaw::DuplicateExtension) } else { Ok((version, selected)) }
}

/// The first of a list of certificates, each behind its length, all of them sound.
fn certificate(body: &[u8]) -> Flight {
    let list = || {
        let mut cursor = Cursor::new(body);
        let mut list = Cursor::new(cursor.part24()?);
        let first = list.part24().filter(|first| !first.is_empty())?;
        while !list.is_empty() {
            list.part24()?;
        }
        cursor.is_empty().then_some(first)
    };
    list().map_or(Flight::Malformed(Flaw::List), |first| Flight::Certificate(first.to_vec()))
}
