//! Who is at the other end: both sides show a certificate of one authority.
//!
//! Enters: PEM files' contents. Leaves: configurations for TLS 1.3. Guarantees: a node is who its certificate says, by a
//! DNS name made of the node's name ([`node_name`]). Does not: issue certificates.

use crate::client::chain;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The controller's own name in its certificate.
pub const CONTROLLER: &str = "feed.cofferdam.internal";

/// The central egress gateway's name in its certificate.
pub const GATEWAY: &str = "egress.cofferdam.internal";
/// What the names begin with by which replicas of it follow a controller: no node's name can.
const GATEWAYS: &str = "egress-gateway/";
/// The ingress gateway's name in its certificate.
pub const INGRESS: &str = "ingress.cofferdam.internal";
/// What the names of its replicas begin with.
const INGRESS_GATEWAYS: &str = "ingress-gateway/";
/// The collector's name in its certificate.
pub const COLLECTOR: &str = "collector.cofferdam.internal";
/// What the names of nodes end in.
const OF_NODES: &str = ".node.cofferdam.internal";

/// A certificate with its key, and the authority of the other side.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM, the own certificate first.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
    /// PEM: who is believed.
    pub authority: Vec<u8>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No PEM, or none of the right kind.
    #[error("{0}: {1}")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    /// They do not fit each other, or are no certificates.
    #[error("the certificate, its key or its authority cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// No certificate of an authority.
    #[error("the authority cannot be used: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// The name in the certificate of a node.
pub fn node_name(node: &str) -> String {
    format!("{node}{OF_NODES}")
}

/// The node whose certificate it is; `None` where it is of none, or of several.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let end = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = end.valid_dns_names();
    let node = names.next()?.strip_suffix(OF_NODES)?.to_owned();
    names.next().is_none().then_some(node)
}

/// The first name of a certificate, for people; empty where it has none.
pub fn first_name(certificate: &CertificateDer<'_>) -> String {
    let end = webpki::EndEntityCert::try_from(certificate).ok();
    end.and_then(|end| end.valid_dns_names().next().map(str::to_owned)).unwrap_or_default()
}

/// For a node that has no certificate yet. `authority` is PEM.
pub(crate) fn anonymous(authority: &[u8]) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(authority)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| TlsError::Pem(what, error))
}

fn roots(authority: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority, "the authority")? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The name by which a replica of the central egress gateway follows a controller.
pub fn gateway_name(replica: &str) -> String {
    format!("{GATEWAYS}{replica}")
}

/// Whether who follows is a replica of the central egress gateway, and no node.
pub fn is_gateway(name: &str) -> bool {
    name.starts_with(GATEWAYS)
}

/// The name of a replica of the ingress gateway.
pub fn ingress_name(replica: &str) -> String {
    format!("{INGRESS_GATEWAYS}{replica}")
}

/// Whether a certificate is that of a node, or of a replica of the central egress gateway.
pub(crate) fn is_of(certificate: &CertificateDer<'_>, follower: &str) -> bool {
    let name = if is_gateway(follower) { GATEWAY.to_owned() } else { node_name(follower) };
    is_named(certificate, name)
}

/// Whether who shows a certificate may speak for a node, or for a replica of one of the gateways that run by themselves.
pub fn speaks_for(certificate: &CertificateDer<'_>, who: &str) -> bool {
    if who.starts_with(INGRESS_GATEWAYS) {
        return is_named(certificate, INGRESS.to_owned());
    }
    is_of(certificate, who)
}

fn is_named(certificate: &CertificateDer<'_>, name: String) -> bool {
    let (Ok(name), Ok(end)) = (ServerName::try_from(name), webpki::EndEntityCert::try_from(certificate))
    else {
        return false;
    };
    end.verify_is_valid_for_subject_name(&name).is_ok()
}

impl Identity {
    /// From `tls.crt`, `tls.key` and `ca.crt` of a folder, named as a Secret of type `kubernetes.io/tls` names them.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        Ok(Self { chain: file("tls.crt")?, key: file("tls.key")?, authority: file("ca.crt")? })
    }

    /// Why the other side would not believe it at this time; `None`: it would.
    pub fn problem(&self, now: SystemTime) -> Option<String> {
        let error = self.verify(now).err()?;
        let seconds = |from: &UnixTime, to: &UnixTime| to.as_secs().saturating_sub(from.as_secs());
        Some(match error.downcast_ref() {
            Some(webpki::Error::CertExpired { time, not_after }) => {
                format!("it expired {} s ago", seconds(not_after, time))
            }
            Some(webpki::Error::CertNotValidYet { time, not_before }) => {
                let left = seconds(time, not_before);
                format!(
                    "it is not valid yet, for another {left} s; is the clock of this node or its issuer wrong?"
                )
            }
            Some(_) | None => chain(&*error),
        })
    }

    fn verify(&self, now: SystemTime) -> Result<(), Box<dyn Error>> {
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH)?);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.chain).collect::<Result<_, _>>()?;
        let authority: Vec<_> = CertificateDer::pem_slice_iter(&self.authority).collect::<Result<_, _>>()?;
        let anchors: Vec<_> =
            authority.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<_, _>>()?;
        let Some((own, between)) = certificates.split_first() else { return Err("there is none".into()) };
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let usage = webpki::KeyUsage::client_auth();
        let end = webpki::EndEntityCert::try_from(own)?;
        end.verify_for_usage(algorithms, &anchors, between, now, usage, None, None)?;
        Ok(())
    }

    fn parts(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, RootCertStore), TlsError> {
        let chain = certificates(&self.chain, "the certificate")?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::Pem("the key", error))?;
        let roots = roots(&self.authority)?;
        Ok((chain, key, roots))
    }

    /// For the controller: a certificate that is shown must be one of the authority. Without one only enrolment is
    /// answered.
    ///
    /// # Errors
    /// The parts cannot be used.
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        self.server_of(ClientCertVerifierBuilder::allow_unauthenticated)
    }

    /// For those who serve nobody without a certificate of the authority.
    ///
    /// # Errors
    /// The parts cannot be used.
    pub fn server_of_known(&self) -> Result<ServerConfig, TlsError> {
        self.server_of(|clients| clients)
    }

    fn server_of(
        &self,
        whom: impl FnOnce(ClientCertVerifierBuilder) -> ClientCertVerifierBuilder,
    ) -> Result<ServerConfig, TlsError> {
        let (chain, key, roots) = self.parts()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(whom(clients).build()?)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// For those who show nothing, as an API server that asks a webhook.
    ///
    /// # Errors
    /// The parts cannot be used.
    pub fn server_of_anyone(&self) -> Result<ServerConfig, TlsError> {
        let (chain, key, _) = self.parts()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(config)
    }

    /// For a node.
    ///
    /// # Errors
    /// The parts cannot be used.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let (chain, key, roots) = self.parts()?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
