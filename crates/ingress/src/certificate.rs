//! Certificates of listeners, from Secrets.
//!
//! Enters: a chain and a key in PEM. Leaves: what rustls answers with. Guarantees: a key that does not belong to its certificate
//! is an error at load, not at the first client.

use crate::config::ConfigError;
use crds::TlsSecret;
use routes::{Listener, Tls};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::sync::Arc;

/// Protocols that are offered, the better first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Those of one listener.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    /// The first whose key the client can check.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).cloned()
    }
}

/// How a listener answers hellos; `None`: it does not end TLS, or has no certificate that can be used. `asks`: clients are
/// asked for a certificate. What cannot be used is added to `faults`.
pub(crate) fn server(
    listener: &Listener,
    asks: bool,
    faults: &mut Vec<ConfigError>,
) -> Option<Arc<ServerConfig>> {
    let Tls::Terminate(secrets) = &listener.tls else { return None };
    let mut keys = Vec::new();
    for secret in secrets {
        match certified(secret) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(fault) => faults.push(fault),
        }
    }
    if keys.is_empty() {
        return None;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = match ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        Err(error) => {
            faults.push(ConfigError::Tls(error.to_string()));
            return None;
        }
    };
    let certificates = Arc::new(Certificates(keys));
    let mut config = match asks {
        true => builder.with_client_cert_verifier(Arc::new(Anybody)).with_cert_resolver(certificates),
        false => builder.with_no_client_auth().with_cert_resolver(certificates),
    };
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Some(Arc::new(config))
}

fn certified(secret: &TlsSecret) -> Result<CertifiedKey, ConfigError> {
    let bad = |field: &'static str, why: String| ConfigError::Secret {
        at: secret.position.to_string(),
        field,
        why,
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&secret.certificate).collect();
    let chain = chain.map_err(|error| bad("tls.crt", error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("tls.crt", "it holds no certificate in PEM".to_owned()));
    }
    // What a key is must not be told, not even in an error.
    let unread = |_| bad("tls.key", "it holds no private key in PEM that can be used".to_owned());
    let key = PrivateKeyDer::from_pem_slice(&secret.key.0).map_err(unread)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| bad("tls.key", error.to_string()))
}

/// Takes any certificate of a client, and none: that the client has its key is proved here, and whom it is by is for the
/// policies of a route to say, which differ.
#[derive(Debug)]
struct Anybody;

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
