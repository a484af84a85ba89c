//! The inspection authority of a cluster: in whose name nodes open TLS, where policies look at requests.
//!
//! Enters: a certificate and its key, of the user or made here; signing requests of nodes. Leaves: for each node an authority
//! of its own, for servers only, valid a week and unable to make another; and what pods must trust. Guarantees: an authority
//! that clients would not follow is refused with what is wrong with it; no text that this module makes shows a key.
//! Does not: keep anything, or decide who may ask.

use crate::authority::VALIDITY;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;

/// How far clocks may differ.
const SKEW: Duration = Duration::from_secs(3600);
/// How long an authority that is made here is valid.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);
/// Longest common name (RFC 5280, appendix A.1, ub-common-name).
const NAME: usize = 64;
/// Most certificates that pods are given to trust: the present authority, those above it, the last and the next one.
const TRUSTED: usize = 16;

/// Why there is no authority, or none for a node.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// What was given is none, or there is no randomness.
    #[error("{0}: {1}")]
    Certificate(&'static str, #[source] rcgen::Error),
    /// No PEM.
    #[error("reading {0}: {1}")]
    Pem(&'static str, #[source] rustls_pki_types::pem::Error),
    /// Too many certificates, or none.
    #[error("there are {0} certificates, not between 1 and {TRUSTED}")]
    Count(usize),
    /// Clients would not follow it.
    #[error("the certificate cannot vouch for nodes: {0}")]
    Unfit(&'static str),
}

fn doing(doing: &'static str) -> impl Fn(rcgen::Error) -> RootError {
    move |cause| RootError::Certificate(doing, cause)
}

/// Vouches for the authorities of nodes.
pub struct Root {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificates, PEM: what a node's authority has behind its own.
    chain: String,
    trust: String,
    ends: SystemTime,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Root {
    /// A new one: certificate and key, PEM.
    ///
    /// # Errors
    /// No randomness.
    pub fn make(now: SystemTime) -> Result<(String, String), RootError> {
        let mut params = between(now, now + LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("Cofferdam inspection authority");
        let key = KeyPair::generate().map_err(doing("making the authority's key"))?;
        let certificate = params.self_signed(&key).map_err(doing("making the authority's certificate"))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The one with this certificate (PEM; behind it may be those above it) and key (PEM). `others` (PEM, or nothing) are
    /// certificates that pods shall trust beside: of those above it, of the last one, or of the next.
    ///
    /// # Errors
    /// It is none, or one that clients would not follow to the certificate of a node's server.
    pub fn of(certificate: &str, key: &str, others: &str) -> Result<Self, RootError> {
        let chain = certificates(certificate, "the certificate")?;
        let Some(own) = chain.first() else { return Err(RootError::Count(0)) };
        let key = KeyPair::from_pem(key).map_err(doing("reading the key"))?;
        let ends = fitness(own, &key)?;
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(doing("reading the certificate"))?;
        let mut trusted = chain.clone();
        for other in certificates(others, "what else pods shall trust")? {
            if !trusted.contains(&other) {
                trusted.push(other);
            }
        }
        if trusted.len() > TRUSTED {
            return Err(RootError::Count(trusted.len()));
        }
        Ok(Self { issuer, chain: text(&chain), trust: text(&trusted), ends })
    }

    /// What pods must trust, PEM.
    pub fn trust(&self) -> &str {
        &self.trust
    }

    /// An authority for the key of a node's signing request (DER), of which only the key counts. Returns PEM, with the
    /// certificates of this one behind it.
    ///
    /// # Errors
    /// The request is none, or not signed by its key, or this authority is at its end.
    pub fn intermediate(&self, request: &[u8], node: &str, now: SystemTime) -> Result<String, RootError> {
        if now >= self.ends {
            return Err(RootError::Unfit("it has expired"));
        }
        let mut request = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(doing("reading a signing request"))?;
        let mut params = between(now, (now + VALIDITY).min(self.ends));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // To read, not to go by: a name may be cut.
        let name: String = format!("Cofferdam inspection on {node}").chars().take(NAME).collect();
        params.distinguished_name = named(&name);
        request.params = params;
        let certificate = request.signed_by(&self.issuer).map_err(doing("issuing a node's authority"))?;
        Ok(certificate.pem() + &self.chain)
    }
}

/// Until when the certificate can vouch for authorities of nodes. Clients check the same (RFC 5280, section 6.1.4), each node's
/// connections would fail one by one.
fn fitness(own: &CertificateDer<'_>, key: &KeyPair) -> Result<SystemTime, RootError> {
    let unfit = |why| Err(RootError::Unfit(why));
    let Ok((_, own)) = x509_parser::parse_x509_certificate(own) else { return unfit("it cannot be read") };
    let Some(constraints) = basic_constraints(&own) else { return unfit("it is not of an authority (CA)") };
    if constraints.path_len_constraint == Some(0) {
        return unfit("its path length is 0, and each node has an authority below it: 1 is needed");
    }
    let usage = own.key_usage();
    if usage.is_err() || usage.is_ok_and(|it| it.is_some_and(|usage| !usage.value.key_cert_sign())) {
        return unfit("its key usage has no certificate signing");
    }
    if own.public_key().raw != key.subject_public_key_info() {
        return unfit("the key is another one's");
    }
    let ends = u64::try_from(own.validity().not_after.timestamp()).unwrap_or_default();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(ends))
}

fn basic_constraints<'a>(
    own: &'a X509Certificate<'_>,
) -> Option<&'a x509_parser::extensions::BasicConstraints> {
    own.basic_constraints().ok().flatten().map(|it| it.value).filter(|it| it.ca)
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, RootError> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).take(TRUSTED + 1);
    all.collect::<Result<_, _>>().map_err(|error| RootError::Pem(what, error))
}

fn text(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates.iter().map(|it| pem::encode_config(&Pem::new("CERTIFICATE", it.to_vec()), config)).collect()
}

fn between(now: SystemTime, end: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - SKEW).into();
    params.not_after = end.into();
    params
}

fn named(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "in a test a panic is the failure report"
    )]

    use super::*;

    const DAY: Duration = Duration::from_secs(86400);

    fn root(now: SystemTime) -> Root {
        let (certificate, key) = Root::make(now).unwrap();
        Root::of(&certificate, &key, "").unwrap()
    }

    fn request() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let wanted = CertificateParams::new(vec!["somebody.else".to_owned()]).unwrap();
        wanted.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_node_gets_an_authority_that_can_make_no_other_and_ends_within_a_week() {
        let now = SystemTime::now();
        let root = root(now);
        let node = "a".repeat(80);
        let chain = root.intermediate(&request(), &node, now).unwrap();
        assert!(chain.ends_with(root.trust()));
        let chain = certificates(&chain, "it").unwrap();
        let (_, own) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let (_, above) = x509_parser::parse_x509_certificate(&chain[1]).unwrap();
        assert_eq!(basic_constraints(&own).unwrap().path_len_constraint, Some(0));
        assert_eq!(basic_constraints(&above).unwrap().path_len_constraint, Some(1));
        let usage = own.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert_eq!(own.issuer(), above.subject());
        let name = own.subject().iter_common_name().next().unwrap().as_str().unwrap();
        assert!(name.starts_with("Cofferdam inspection on aaa") && name.len() == NAME, "{name}");
        let ends = own.validity().not_after.timestamp();
        let week = (now + 7 * DAY).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(u64::try_from(ends).unwrap() <= week);
        assert!(!String::from_utf8_lossy(&chain[0]).contains("somebody.else"));
        assert!(root.intermediate(b"nonsense", "n", now).is_err());
    }

    #[test]
    fn no_authority_of_a_node_outlives_the_one_above_it() {
        let now = SystemTime::now();
        let root = root(now - LIFE + DAY);
        let chain = certificates(&root.intermediate(&request(), "n", now).unwrap(), "it").unwrap();
        let (_, own) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let day = (now + DAY).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(u64::try_from(own.validity().not_after.timestamp()).unwrap() <= day);
        let late = root.intermediate(&request(), "n", now + DAY).unwrap_err();
        assert!(late.to_string().contains("expired"), "{late}");
    }

    /// A certificate and its key, of another form than [`Root::make`]'s.
    fn other(is_ca: IsCa, usages: Vec<KeyUsagePurpose>) -> (String, String) {
        let now = SystemTime::now();
        let mut params = between(now, now + DAY);
        (params.is_ca, params.key_usages) = (is_ca, usages);
        params.distinguished_name = named("other");
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn an_authority_that_clients_would_not_follow_is_refused_with_why() {
        let sign = || vec![KeyUsagePurpose::KeyCertSign];
        let any = || IsCa::Ca(BasicConstraints::Unconstrained);
        let (good, key) = other(any(), sign());
        Root::of(&good, &key, "").unwrap();
        let (without_usages, its_key) = other(any(), Vec::new());
        Root::of(&without_usages, &its_key, "").unwrap();
        let check = |(certificate, key): (String, String), why: &str| {
            let error = Root::of(&certificate, &key, "").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        check(other(IsCa::Ca(BasicConstraints::Constrained(0)), sign()), "path length");
        check(other(IsCa::NoCa, sign()), "not of an authority");
        check(other(IsCa::ExplicitNoCa, sign()), "not of an authority");
        check(other(any(), vec![KeyUsagePurpose::DigitalSignature]), "no certificate signing");
        check((good.clone(), other(any(), sign()).1), "another one's");
        check((String::new(), key.clone()), "0 certificates");
        check((good.clone(), "nonsense".to_owned()), "reading the key");
        let many: String = (0..=TRUSTED).map(|_| other(any(), sign()).0).collect();
        check((good.clone() + &many, key), "17 certificates");
    }

    #[test]
    fn pods_trust_what_is_beside_it_too_and_nothing_twice() {
        let now = SystemTime::now();
        let ((certificate, key), (next, _)) = (Root::make(now).unwrap(), Root::make(now).unwrap());
        let root = Root::of(&certificate, &key, &format!("{certificate}# the next one\n{next}")).unwrap();
        assert_eq!(certificates(root.trust(), "it").unwrap().len(), 2);
        let chain = root.intermediate(&request(), "n", now).unwrap();
        assert_eq!(certificates(&chain, "it").unwrap().len(), 2, "the next one is not of the chain");
        assert!(!root.trust().contains('\r') && !root.trust().contains("PRIVATE"));
        let secret = key.lines().nth(1).unwrap();
        assert!(!format!("{root:?}").contains(secret));
    }
}
