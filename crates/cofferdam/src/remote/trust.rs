//! By what the server of an API is known over TLS, and what is said where it is not.
//!
//! Enters: a file of authorities, or none: then those of the system. Leaves: connections to a server that one of them vouches for,
//! under the name that was asked for. Guarantees: nobody else is shown anything; each refusal says what is wrong and the way out.
//! Does not: show a certificate, or ask whether one was revoked.

use crate::plain::printable;
use anyhow::{Context, Result, anyhow, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who is believed.
#[derive(Debug)]
pub(super) struct Trust {
    config: Arc<ClientConfig>,
    /// The file that names them; without one it is the system.
    authority: Option<PathBuf>,
}

impl Trust {
    /// Believes the authorities of a file, or those of the system.
    ///
    /// # Errors
    /// The file cannot be read, or there is no certificate in it; or the system has none.
    pub(super) fn of(authority: Option<&Path>) -> Result<Self> {
        let roots = match authority {
            Some(file) => named(file)?,
            None => of_system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { config, authority: authority.map(Path::to_owned) })
    }

    /// Speaks TLS with whoever is there.
    ///
    /// # Errors
    /// It is not the server that was asked for, or does not speak TLS.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{} is no name that a certificate could be for", printable(host)))?;
        let connected = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await;
        // It may repeat what the certificate has.
        connected.map_err(|error| anyhow!("{}: {}", self.why(host, &error), printable(&error.to_string())))
    }

    fn why(&self, host: &str, error: &io::Error) -> String {
        let told = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match told {
            Some(rustls::Error::InvalidCertificate(wrong)) => self.wrong(host, wrong),
            Some(rustls::Error::InvalidMessage(_)) => {
                "it does not speak TLS there: where it serves in clear, ask it on its own machine, or through kubectl \
                 port-forward, with http://127.0.0.1:PORT"
                    .to_owned()
            }
            Some(rustls::Error::AlertReceived(_)) => "it refused to speak TLS".to_owned(),
            Some(_) => "TLS could not be agreed on".to_owned(),
            None => {
                "the connection ended before TLS was agreed on: does it speak TLS at that port?".to_owned()
            }
        }
    }

    /// What is wrong with a certificate.
    fn wrong(&self, host: &str, wrong: &CertificateError) -> String {
        let host = printable(host);
        match wrong {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for {host}: name it in --api as its certificate does")
            }
            // One of the same name with another key is another authority.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.authority {
                Some(file) => format!(
                    "no authority of --authority {} vouches for its certificate: is that file of this server?",
                    file.display()
                ),
                None => "no authority that this system believes vouches for its certificate: name the one that does with \
                         --authority FILE"
                    .to_owned(),
            },
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: have it renewed, or look at the clock of this machine".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate does not hold yet: look at the clock of this machine".to_owned()
            }
            _ => "its certificate cannot be believed".to_owned(),
        }
    }
}

fn named(file: &Path) -> Result<RootCertStore> {
    let reading = || format!("--authority {}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(reading)? {
        roots.add(certificate.with_context(reading)?).with_context(reading)?;
    }
    ensure!(!roots.is_empty(), "--authority {}: there is no certificate in it", file.display());
    Ok(roots)
}

/// Some of them may be unreadable; with none, nothing could be believed.
fn of_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let _some_cannot_be_read = roots.add_parsable_certificates(found.certs);
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    ensure!(
        !roots.is_empty(),
        "this system has no authorities to know the server by{why}: name the one of its certificate with --authority FILE"
    );
    Ok(roots)
}
