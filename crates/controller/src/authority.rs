//! The authority that vouches for the controller, the nodes and the webhook to each other.
//!
//! Enters: names, keys, the time. Leaves: certificates. Guarantees: a certificate is valid from some time before it was
//! asked for, so that clocks may differ a little; the authority's key leaves only as what [`Authority::to_pem`] gives.
//! Does not: decide who may have which name, or keep anything.

use feed::tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::time::{Duration, SystemTime};

/// How far clocks may differ.
const SKEW: Duration = Duration::from_secs(3600);
/// How long the authority is believed. It lives in a Secret; removing that makes a new one.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86400);
/// How long a certificate is valid from the time it is asked for.
pub const VALIDITY: Duration = Duration::from_secs(7 * 86400);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct AuthorityError {
    doing: &'static str,
    #[source]
    cause: rcgen::Error,
}

fn doing(doing: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |cause| AuthorityError { doing, cause }
}

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// No randomness.
    pub fn new(now: SystemTime) -> Result<Self, AuthorityError> {
        let mut params = between(now, LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("Cofferdam authority");
        let key = KeyPair::generate().map_err(doing("making the authority's key"))?;
        let certificate = params.self_signed(&key).map_err(doing("making the authority's certificate"))?;
        Ok(Self { certificate: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// What [`Self::to_pem`] gave: certificate and key.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(doing("reading the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)
            .map_err(doing("reading the authority's certificate"))?;
        Ok(Self { issuer, certificate: certificate.to_owned() })
    }

    /// Its certificate and its key.
    pub fn to_pem(&self) -> (String, String) {
        (self.certificate.clone(), self.issuer.key().serialize_pem())
    }

    /// Its certificate, for those who shall believe it.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate with a new key for a holder of these DNS names.
    ///
    /// # Errors
    /// A name is none.
    pub fn issue(&self, names: &[String], now: SystemTime) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate().map_err(doing("making a key"))?;
        let params = leaf(names, now)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(doing("issuing a certificate"))?;
        Ok(Identity {
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authority: self.certificate.clone().into_bytes(),
        })
    }

    /// A certificate for the key of a signing request (DER). Of the request only the key counts: the names are those
    /// given here. Returns PEM.
    ///
    /// # Errors
    /// The request is none, or not signed by its key.
    pub fn sign(&self, request: &[u8], names: &[String], now: SystemTime) -> Result<String, AuthorityError> {
        let mut request = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(doing("reading a signing request"))?;
        request.params = leaf(names, now)?;
        let certificate = request.signed_by(&self.issuer).map_err(doing("issuing a certificate"))?;
        Ok(certificate.pem())
    }
}

fn between(now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
    params
}

fn leaf(names: &[String], now: SystemTime) -> Result<CertificateParams, AuthorityError> {
    let mut params = between(now, VALIDITY);
    params.subject_alt_names =
        CertificateParams::new(names.to_vec()).map_err(doing("naming a certificate"))?.subject_alt_names;
    params.distinguished_name = named("Cofferdam");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;

    #[test]
    fn an_authority_read_back_issues_what_the_first_one_did_too() {
        let now = SystemTime::now();
        let first = Authority::new(now).unwrap();
        let (certificate, key) = first.to_pem();
        let again = Authority::from_pem(&certificate, &key).unwrap();
        let names = ["a.node.cofferdam.internal".to_owned()];
        for authority in [&first, &again] {
            let identity = authority.issue(&names, now).unwrap();
            assert_eq!(identity.authority, certificate.as_bytes());
            identity.client().unwrap();
            identity.server().unwrap();
        }
    }

    /// As cert-manager gives it for an issuer that is a company's authority.
    #[test]
    fn an_authority_that_another_one_signed_vouches_as_well() {
        let now = SystemTime::now();
        let company = Authority::new(now).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = between(now, LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = named("Cofferdam authority");
        let signed = params.signed_by(&key, &company.issuer).unwrap().pem();
        let authority = Authority::from_pem(&(signed + company.certificate()), &key.serialize_pem()).unwrap();
        let node = authority.issue(&["a.node.cofferdam.internal".to_owned()], now).unwrap();
        let controller = authority.issue(&[feed::tls::CONTROLLER.to_owned()], now).unwrap();
        assert_eq!(handshake(&node, &controller), Ok(()));
        let stranger = Authority::new(now).unwrap().issue(&[feed::tls::CONTROLLER.to_owned()], now).unwrap();
        assert!(handshake(&node, &stranger).is_err());
    }

    fn handshake(node: &Identity, controller: &Identity) -> Result<(), rustls::Error> {
        let name = feed::tls::CONTROLLER.try_into().unwrap();
        let mut client = rustls::ClientConnection::new(node.client().unwrap().into(), name)?;
        let mut server = rustls::ServerConnection::new(controller.server().unwrap().into())?;
        for _ in 0..10 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn of_a_signing_request_only_the_key_counts() {
        let now = SystemTime::now();
        let authority = Authority::new(now).unwrap();
        let key = KeyPair::generate().unwrap();
        let wanted = CertificateParams::new(vec!["somebody.else".to_owned()]).unwrap();
        let request = wanted.serialize_request(&key).unwrap();
        let pem = authority.sign(request.der(), &["a.b".to_owned()], now).unwrap();
        let identity = Identity {
            chain: pem.clone().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authority: authority.certificate().into(),
        };
        identity.client().unwrap();
        assert!(!String::from_utf8_lossy(&rcgen_der(&pem)).contains("somebody.else"));
        assert!(String::from_utf8_lossy(&rcgen_der(&pem)).contains("a.b"));
        assert!(authority.sign(b"nonsense", &["a.b".to_owned()], now).is_err());
    }

    fn rcgen_der(pem: &str) -> Vec<u8> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }
}
