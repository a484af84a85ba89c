//! Holds back the start of a server's answer until its certificate is known to be for the name that was judged.
//!
//! An address that a name opened may be served by others, and one that does not know the name shows the certificate it
//! has. Enters: the server's bytes in order. Leaves: those that may be forwarded now, all of them and unchanged once it is
//! known. Guarantees: no byte of an answer with another's certificate is let go; what is held is bounded by
//! [`MAX_FLIGHT`](::inspect::MAX_FLIGHT) and one piece. Does not: check who signed the certificate, its dates or that the
//! server has its key, which the client does; or see one that is encrypted (TLS 1.3) or not sent (a resumed session).

use crate::reason::Reason;
use ::inspect::{ClientHello, Flight, ServerFlight};
use policy::DnsName;
use rustls_pki_types::{CertificateDer, ServerName};
use std::borrow::Cow;

/// The gate of one connection.
#[derive(Debug)]
pub(crate) struct ServerGate {
    /// Nothing once everything passes.
    awaited: Option<Box<Awaited>>,
}

#[derive(Debug)]
struct Awaited {
    flight: ServerFlight,
    name: DnsName,
    /// Bytes that came and may not be forwarded yet.
    held: Vec<u8>,
}

impl ServerGate {
    pub(crate) fn open() -> Self {
        Self { awaited: None }
    }

    /// Awaits a certificate for this name, in the answer to this hello.
    pub(crate) fn awaiting(name: &DnsName, hello: &ClientHello) -> Self {
        let flight = ServerFlight::answering(hello);
        Self { awaited: Some(Box::new(Awaited { flight, name: name.clone(), held: Vec::new() })) }
    }

    /// Whether everything passes from now on.
    pub(crate) fn is_open(&self) -> bool {
        self.awaited.is_none()
    }

    /// Whether bytes are held that nobody has judged.
    pub(crate) fn is_holding(&self) -> bool {
        self.awaited.as_ref().is_some_and(|awaited| !awaited.held.is_empty())
    }

    /// Takes the next bytes and returns those that may be forwarded now.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Reason> {
        let Some(awaited) = &mut self.awaited else { return Ok(Cow::Borrowed(bytes)) };
        let is_known = awaited.push(bytes)?;
        if is_known && awaited.held.is_empty() {
            self.awaited = None;
            return Ok(Cow::Borrowed(bytes));
        }
        awaited.held.extend_from_slice(bytes);
        if !is_known {
            return Ok(Cow::Borrowed(&[]));
        }
        let held = std::mem::take(&mut awaited.held);
        self.awaited = None;
        Ok(Cow::Owned(held))
    }
}

impl Awaited {
    /// Whether it is known now that the answer may pass.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, Reason> {
        match self.flight.push(bytes) {
            Flight::NeedMore => Ok(false),
            Flight::Nothing(_) => Ok(true),
            Flight::Certificate(der) => is_for(&self.name, &der).map(|()| true),
            Flight::Malformed(_) | Flight::TooLarge => Err(Reason::ServerFlight),
        }
    }
}

/// Checks the names in a certificate, as clients do (RFC 9525: the subject's common name counts for nothing).
fn is_for(name: &DnsName, der: &[u8]) -> Result<(), Reason> {
    let der = CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).map_err(|_| Reason::ServerFlight)?;
    // What is no name for clients, no certificate can be for.
    let name = ServerName::try_from(name.as_str()).map_err(|_| Reason::CertificateName)?;
    certificate.verify_is_valid_for_subject_name(&name).map_err(|_| Reason::CertificateName)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of TLS 1.2 with this certificate, in one record.
    fn answer(der: &[u8]) -> Vec<u8> {
        let be = |length: usize| u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        let hello = [&[2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
        let one = [be(der.len()), der.to_vec()].concat();
        let list = [be(one.len()), one].concat();
        let flight = [hello, vec![11], be(list.len()), list].concat();
        let length = u16::try_from(flight.len()).unwrap().to_be_bytes();
        [&[22, 3, 3][..], &length, &flight].concat()
    }

    fn certificate(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names).unwrap().cert.der().to_vec()
    }

    fn awaiting(name: &str) -> ServerGate {
        ServerGate::awaiting(&DnsName::parse(name).unwrap(), &ClientHello::default())
    }

    #[test]
    fn everything_passes_in_order_once_the_certificate_is_known() {
        let bytes = [answer(&certificate(&["a.example"])), b"what follows".to_vec()].concat();
        let mut whole = awaiting("a.example");
        assert_eq!(whole.push(&bytes).unwrap().as_ref(), bytes);
        assert!(whole.is_open() && !whole.is_holding());
        let mut gate = awaiting("a.example");
        let mut passed = Vec::new();
        for byte in &bytes {
            let now = gate.push(std::slice::from_ref(byte)).unwrap();
            assert_eq!(gate.is_holding(), passed.is_empty() && now.is_empty());
            passed.extend_from_slice(&now);
        }
        assert_eq!(passed, bytes);
    }

    #[test]
    fn names_count_as_for_clients() {
        let passes = |names: &[&str], name: &str| awaiting(name).push(&answer(&certificate(names))).err();
        assert_eq!(passes(&["b.example", "a.example"], "a.example"), None);
        assert_eq!(passes(&["*.example.org"], "a.example.org"), None);
        assert_eq!(passes(&["*.example.org"], "a.b.example.org"), Some(Reason::CertificateName));
        assert_eq!(passes(&["*.example.org"], "example.org"), Some(Reason::CertificateName));
        assert_eq!(passes(&["b.example"], "a.example"), Some(Reason::CertificateName));
        assert_eq!(passes(&["127.0.0.1"], "a.example"), Some(Reason::CertificateName));
    }

    #[test]
    fn what_is_no_certificate_does_not_pass() {
        assert_eq!(awaiting("a.example").push(&answer(b"x")), Err(Reason::ServerFlight));
        assert_eq!(awaiting("a.example").push(&[22, 3, 3, 0, 0]), Err(Reason::ServerFlight));
        assert_eq!(awaiting("a.example").push(&[22, 3, 3, 0, 4, 2, 0xff, 0, 0]), Err(Reason::ServerFlight));
    }

    #[test]
    fn what_shows_none_passes_at_once() {
        for bytes in [&b"HTTP/1.1 400"[..], &[21, 3, 3, 0, 2, 2, 40]] {
            let mut gate = awaiting("a.example");
            assert_eq!(gate.push(bytes).unwrap().as_ref(), bytes);
            assert!(gate.is_open());
        }
    }
}
