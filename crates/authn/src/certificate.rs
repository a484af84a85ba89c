//! SPIFFE ids of client certificates (SPIFFE X.509-SVID: <https://spiffe.io/docs/latest/spiffe-specs/x509-svid/>).
//!
//! Enters: certificates as TLS had them. Leaves: the id and its trust domain. Guarantees: an id is only taken from a
//! certificate with exactly one, that an authority of just its trust domain certified for clients, and that is valid now.
//! Does not: look for revocations; SVIDs live for hours.

use crate::refused::Reason;
use crds::{Code, Diagnostic, Located, MutualTls, TrustDomain};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

/// Certificates of a chain, the client's own with them.
const MAX_CHAIN: usize = 8;
/// Authorities of a trust domain.
const MAX_AUTHORITIES: usize = 64;
/// Bytes of an id (SPIFFE-ID, section 2.3).
const MAX_ID: usize = 2048;

/// Ids of a certificate that are told, and characters of each.
const MAX_TOLD: usize = 4;
const MAX_TOLD_LENGTH: usize = 256;

/// Who may certify ids.
#[derive(Debug)]
pub struct Authorities {
    domains: Vec<(Arc<str>, Vec<TrustAnchor<'static>>)>,
}

impl Authorities {
    pub(crate) fn read(written: &MutualTls, wrong: &mut Vec<Diagnostic>) -> Self {
        let mut domains = Vec::new();
        for Located { value: TrustDomain { name, ca }, .. } in &written.trust_domains {
            match anchors(&ca.value) {
                Ok(anchors) => domains.push((name.clone(), anchors)),
                Err(why) => {
                    let message = format!("the authorities of {name} cannot be read: {why}");
                    wrong.push(Diagnostic::error(Code::InvalidValue, message).at(ca.position.clone()));
                }
            }
        }
        Self { domains }
    }

    /// Of one trust domain, with its authorities in PEM.
    ///
    /// # Errors
    /// It is no trust domain, or the authorities cannot be read.
    pub fn of(domain: &str, pem: &str) -> Result<Self, String> {
        if trust_domain(&format!("spiffe://{domain}")) != Some(domain) {
            return Err(format!("{domain:?} is no trust domain, such as `prod.example.org`"));
        }
        Ok(Self { domains: vec![(domain.into(), anchors(pem)?)] })
    }

    /// The id, and its trust domain. `chain`: certificates in DER, the client's own first. `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`Reason::NoCredential`], [`Reason::UnreadableCredential`], [`Reason::CertificateNoId`] or
    /// [`Reason::CertificateUntrusted`].
    pub fn identify(&self, chain: &[&[u8]], now: u64) -> Result<(Arc<str>, Arc<str>), Reason> {
        let (own, others) = chain.split_first().ok_or(Reason::NoCredential)?;
        if chain.len() > MAX_CHAIN {
            return Err(Reason::CertificateUntrusted);
        }
        let own = CertificateDer::from(*own);
        let certificate = EndEntityCert::try_from(&own).map_err(|_| Reason::UnreadableCredential)?;
        let mut ids = certificate.valid_uri_names();
        let (Some(id), None) = (ids.next(), ids.next()) else { return Err(Reason::CertificateNoId) };
        let domain = trust_domain(id).ok_or(Reason::CertificateNoId)?;
        let known = self.domains.iter().find(|(name, _)| **name == *domain);
        let (domain, anchors) = known.ok_or(Reason::CertificateUntrusted)?;
        let others: Vec<_> = others.iter().map(|it| CertificateDer::from(*it)).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let usage = KeyUsage::client_auth();
        certificate
            .verify_for_usage(ALL_VERIFICATION_ALGS, anchors, &others, time, usage, None, None)
            .map_err(|_| Reason::CertificateUntrusted)?;
        Ok((id.into(), domain.clone()))
    }
}

/// What a certificate in DER says whose it is, for a person who asks why it was refused: its URIs, cut short.
pub fn uris(certificate: &[u8]) -> Vec<String> {
    let own = CertificateDer::from(certificate);
    let Ok(certificate) = EndEntityCert::try_from(&own) else { return Vec::new() };
    let cut = |uri: &str| uri.chars().filter(char::is_ascii_graphic).take(MAX_TOLD_LENGTH).collect();
    certificate.valid_uri_names().take(MAX_TOLD).map(cut).collect()
}

/// When the first certificate of a chain ends, in seconds since 1970; `None` where one of them cannot be read, or there is none.
/// A client that shows more than it needs is bound by all that it shows.
pub fn ends(chain: &[&[u8]]) -> Option<u64> {
    let end = |certificate: &&[u8]| {
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(u64::try_from(read.validity().not_after.timestamp()).unwrap_or_default())
    };
    let ends: Option<Vec<u64>> = chain.iter().take(MAX_CHAIN + 1).map(end).collect();
    ends?.into_iter().min()
}

fn anchors(pem: &str) -> Result<Vec<TrustAnchor<'static>>, String> {
    let mut anchors = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|error| error.to_string())?;
        anchors.push(anchor.to_owned());
    }
    match anchors.len() {
        0 => Err("there is no certificate in PEM".into()),
        1..=MAX_AUTHORITIES => Ok(anchors),
        _ => Err(format!("there are more than {MAX_AUTHORITIES}")),
    }
}

/// The trust domain of an id, if it is one (SPIFFE-ID, section 2).
fn trust_domain(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("spiffe://").filter(|_| id.len() <= MAX_ID)?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_segment =
        |text: &str| !text.is_empty() && !matches!(text, "." | "..") && text.bytes().all(is_of_name);
    let is_domain = !domain.is_empty() && domain.bytes().all(|it| is_of_name(it) && !it.is_ascii_uppercase());
    (is_domain && path.is_none_or(|path| path.split('/').all(is_segment))).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_trust_domain_and_a_path_in_one_form_only() {
        for (id, expected) in [
            ("spiffe://example.org/ns/a/sa/b", Some("example.org")),
            ("spiffe://example.org", Some("example.org")),
            ("spiffe://example.org/A_b.c-9", Some("example.org")),
            ("spiffe://Example.org/a", None),
            ("SPIFFE://example.org/a", None),
            ("spiffe://example.org/", None),
            ("spiffe://example.org//a", None),
            ("spiffe://example.org/a/../b", None),
            ("spiffe://example.org/a/./b", None),
            ("spiffe://example.org/a%2fb", None),
            ("spiffe://example.org/a?b", None),
            ("spiffe://user@example.org/a", None),
            ("spiffe://example.org:8443/a", None),
            ("spiffe:///a", None),
            ("https://example.org/a", None),
            ("", None),
        ] {
            assert_eq!(trust_domain(id), expected, "{id}");
        }
        assert_eq!(trust_domain(&format!("spiffe://example.org/{}", "a".repeat(MAX_ID))), None);
    }
}
