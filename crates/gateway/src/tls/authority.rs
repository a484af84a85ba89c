//! A certificate authority of the cluster's own, in whose name the gateway answers for servers whose requests it judges.
//!
//! Enters: the authority's certificate and key, with the certificates of those above it; the names that clients ask for.
//! Leaves: a certificate for each name, and behind it all that were given.
//! Guarantees: certificates live [`LIFE`] and begin [`SKEW`] early, so that clocks may differ; they are good for servers
//! only; at most twice [`GENERATION`] are kept; all share one key, which never leaves the process; no text that this module
//! makes shows a key. Does not: decide for which names there is a certificate. The connection was judged by its name before.

use policy::DnsName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;

/// How long a certificate for a name is valid.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// How far clocks may differ.
const SKEW: Duration = Duration::from_secs(86_400);
/// How long a certificate is used before another is made. Connections made with it may last the rest of its life.
const FRESH: Duration = Duration::from_secs(3 * 86_400);
/// How long an authority is valid.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Certificates that are made before those that nobody used since as many were made are forgotten.
const GENERATION: usize = 1024;
/// Certificates of an authority: its own, and those of the ones above it.
const CHAIN: usize = 8;
/// Bytes of a serial number: with its highest bit clear at most 20 (RFC 5280, section 4.1.2.2).
const SERIAL: usize = 16;

/// An authority as it is kept and sent: PEM. Its key is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityPem {
    /// Its certificate; behind it, where another authority signed that, the certificates up to one that clients trust.
    pub certificate: String,
    /// Its key, PKCS#8.
    pub key: String,
}

impl fmt::Debug for AuthorityPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityPem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why there is no authority, or no certificate.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A certificate or key cannot be made, or what was given is none.
    #[error("{0}: {1}")]
    Certificate(&'static str, #[source] rcgen::Error),
    /// A key cannot be used.
    #[error("{0}: {1}")]
    Key(&'static str, #[source] rustls::Error),
    /// What was given is no PEM of a certificate.
    #[error("reading the authority's certificate: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// It has no certificate, or more than anybody would follow.
    #[error("the authority has {0} certificates, not between 1 and {CHAIN}")]
    Chain(usize),
}

fn doing(doing: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |cause| AuthorityError::Certificate(doing, cause)
}

/// Makes certificates for names.
pub struct Authority {
    /// The issuer's first.
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    leaf: KeyPair,
    signer: Arc<dyn SigningKey>,
    made: Mutex<Made>,
}

/// Certificates by name, the older ones apart: those are forgotten together, but for what was used since.
#[derive(Default)]
struct Made {
    young: HashMap<DnsName, Leaf>,
    old: HashMap<DnsName, Leaf>,
}

#[derive(Clone)]
struct Leaf {
    key: Arc<CertifiedKey>,
    at: Instant,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a key of its own, valid ten years from now, for any name.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate(now: SystemTime) -> Result<AuthorityPem, AuthorityError> {
        let mut params = CertificateParams::default();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("Cofferdam inspection authority");
        let key = KeyPair::generate().map_err(doing("making the authority's key"))?;
        let certificate = params.self_signed(&key).map_err(doing("making the authority's certificate"))?;
        Ok(AuthorityPem { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The authority that [`Self::generate`] made, or another of the same form; also one that others vouch for.
    ///
    /// # Errors
    /// It is something else, or there is no randomness for the key that its certificates share.
    pub fn of(pem: &AuthorityPem) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(&pem.key).map_err(doing("reading the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&pem.certificate, key)
            .map_err(doing("reading the authority's certificate"))?;
        let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(AuthorityError::Pem)?;
        if chain.is_empty() || chain.len() > CHAIN {
            return Err(AuthorityError::Chain(chain.len()));
        }
        let leaf = KeyPair::generate().map_err(doing("making a key"))?;
        let der = PrivateKeyDer::Pkcs8(leaf.serialize_der().into());
        let signer = any_ecdsa_type(&der).map_err(|cause| AuthorityError::Key("using a key", cause))?;
        Ok(Self { chain, issuer, leaf, signer, made: Mutex::default() })
    }

    /// The certificate for a name, and the key to it.
    ///
    /// # Errors
    /// There is no randomness, or the name is none for a certificate.
    pub fn leaf(&self, name: &DnsName) -> Result<Arc<CertifiedKey>, AuthorityError> {
        if let Some(known) = self.made().find(name) {
            return Ok(known);
        }
        // Two that need the same at once both make it.
        let certificate = self.make(name)?;
        let chain = [certificate].into_iter().chain(self.chain.iter().cloned()).collect();
        let key = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer)));
        self.made().keep(name.clone(), Leaf { key: Arc::clone(&key), at: Instant::now() });
        Ok(key)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, name: &DnsName) -> Result<CertificateDer<'static>, AuthorityError> {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LIFE).into();
        let text = name.as_str().try_into().map_err(doing("naming a certificate"))?;
        params.subject_alt_names = vec![SanType::DnsName(text)];
        params.distinguished_name = named("Cofferdam gateway");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // All have the same key, and clients refuse two certificates of one issuer with the same number.
        let mut serial = [0; SERIAL];
        default_provider().secure_random.fill(&mut serial).map_err(|_| {
            AuthorityError::Key("numbering a certificate", rustls::Error::FailedToGetRandomBytes)
        })?;
        serial.first_mut().into_iter().for_each(|first| *first = *first & 0x3f | 0x40);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let made = params.signed_by(&self.leaf, &self.issuer).map_err(doing("issuing a certificate"))?;
        Ok(made.der().clone())
    }
}

impl Made {
    fn find(&mut self, name: &DnsName) -> Option<Arc<CertifiedKey>> {
        if let Some(leaf) = self.young.get(name).filter(|leaf| leaf.is_fresh()) {
            return Some(Arc::clone(&leaf.key));
        }
        let leaf = self.old.remove(name).filter(Leaf::is_fresh)?;
        self.keep(name.clone(), leaf.clone());
        Some(leaf.key)
    }

    fn keep(&mut self, name: DnsName, leaf: Leaf) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, leaf);
    }
}

impl Leaf {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < FRESH
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = DnsName::parse(hello.server_name()?).ok()?;
        self.leaf(&name).ok()
    }
}

fn named(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        Authority::of(&Authority::generate(SystemTime::now()).unwrap()).unwrap()
    }

    #[test]
    fn a_name_has_one_certificate_and_another_has_another() {
        let authority = authority();
        let leaf = |name: &str| authority.leaf(&DnsName::parse(name).unwrap()).unwrap();
        let (first, again, other) = (leaf("a.example"), leaf("a.example"), leaf("b.example"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_ne!(first.cert[0], other.cert[0]);
        for (key, name) in [(&first, "a.example"), (&other, "b.example")] {
            let certificate = webpki::EndEntityCert::try_from(&key.cert[0]).unwrap();
            certificate.verify_is_valid_for_subject_name(&name.try_into().unwrap()).unwrap();
            assert_eq!(key.cert[1..], authority.chain);
        }
    }

    /// An authority of one node, as the controller of a cluster vouches for it.
    fn of_a_node(root: &AuthorityPem) -> AuthorityPem {
        let root_key = KeyPair::from_pem(&root.key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, root_key).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("of a node");
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &issuer).unwrap().pem();
        AuthorityPem { certificate: format!("{own}{}", root.certificate), key: key.serialize_pem() }
    }

    #[test]
    fn who_trusts_the_root_believes_what_an_authority_below_it_signs() {
        let root = Authority::generate(SystemTime::now()).unwrap();
        let pem = of_a_node(&root);
        let leaf = Authority::of(&pem).unwrap().leaf(&DnsName::parse("a.example").unwrap()).unwrap();
        assert_eq!(leaf.cert.len(), 3);
        let root = CertificateDer::from_pem_slice(root.certificate.as_bytes()).unwrap();
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let algorithms = default_provider().signature_verification_algorithms.all;
        let verify = |between: &[CertificateDer<'_>]| {
            let now = rustls_pki_types::UnixTime::now();
            let usage = webpki::KeyUsage::server_auth();
            let end = webpki::EndEntityCert::try_from(&leaf.cert[0]).unwrap();
            end.verify_for_usage(algorithms, &anchors, between, now, usage, None, None).map(drop)
        };
        verify(&leaf.cert[1..]).unwrap();
        verify(&leaf.cert[2..]).unwrap_err();
        let many = AuthorityPem { certificate: pem.certificate.repeat(CHAIN), ..pem.clone() };
        let none = AuthorityPem { certificate: String::new(), ..pem };
        assert!(matches!(Authority::of(&many), Err(AuthorityError::Chain(16))));
        assert!(Authority::of(&none).is_err());
    }

    #[test]
    fn what_nobody_uses_is_forgotten_and_what_is_used_is_not() {
        let authority = authority();
        let leaf = |name: &str| authority.leaf(&DnsName::parse(name).unwrap()).unwrap();
        let key = leaf("used.example");
        let mut made = Made::default();
        let keep = |made: &mut Made, name: &str| {
            made.keep(DnsName::parse(name).unwrap(), Leaf { key: Arc::clone(&key), at: Instant::now() });
        };
        let (used, unused) = (DnsName::parse("used.example").unwrap(), DnsName::parse("un.example").unwrap());
        keep(&mut made, "used.example");
        keep(&mut made, "un.example");
        for number in 0..3 * GENERATION {
            keep(&mut made, &format!("n{number}.example"));
            assert!(made.find(&used).is_some());
            assert!(made.young.len() + made.old.len() <= 2 * GENERATION);
        }
        assert!(made.find(&unused).is_none());
    }

    #[test]
    fn no_text_shows_the_key_and_what_is_no_authority_is_refused() {
        let pem = Authority::generate(SystemTime::now()).unwrap();
        let authority = Authority::of(&pem).unwrap();
        let secret = pem.key.lines().nth(1).unwrap();
        assert!(!format!("{pem:?} {authority:?}").contains(secret));
        let no_key = AuthorityPem { key: "x".into(), ..pem.clone() };
        let no_certificate = AuthorityPem { certificate: "x".into(), ..pem };
        assert!(Authority::of(&no_key).is_err() && Authority::of(&no_certificate).is_err());
    }
}
