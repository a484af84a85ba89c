//! TLS to backends, as BackendTLSPolicies say.
//!
//! Guarantees: a certificate is checked against the authorities that the policy names, and its name; a connection that does not come to be
//! so is none, and nothing goes on without TLS instead. Each way of checking has a number of its own, so that no connection that was
//! checked otherwise is used. Does not: open connections.

use routes::BackendTls;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One way of checking a backend.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// Unique in the process.
    pub(crate) number: u64,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Secured {
    fn new(number: u64, tls: &BackendTls, system: &Arc<RootCertStore>) -> Result<Self, String> {
        let roots = match &tls.authorities {
            Some(text) => Arc::new(read(text)?),
            None if system.is_empty() => {
                return Err("the gateway knows no authorities of its system: name some".to_owned());
            }
            None => Arc::clone(system),
        };
        let name = ServerName::try_from(tls.hostname.to_string())
            .map_err(|_| format!("{:?} is no host name", tls.hostname))?;
        let config = |alpn: &[u8]| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = builder.map_err(|error| error.to_string())?;
            let mut config = builder.with_root_certificates(Arc::clone(&roots)).with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            Ok::<_, String>(Arc::new(config))
        };
        Ok(Self { number, http1: config(b"http/1.1")?, http2: config(b"h2")?, name })
    }

    /// `None`: it is not who it must be, or does not speak what it must.
    pub(crate) async fn connect(&self, stream: TcpStream, is_http2: bool) -> Option<TlsStream<TcpStream>> {
        let config = if is_http2 { &self.http2 } else { &self.http1 };
        let stream = TlsConnector::from(Arc::clone(config)).connect(self.name.clone(), stream).await.ok()?;
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        (speaks_http2 == is_http2).then_some(stream)
    }
}

fn read(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("its ca.crt cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| format!("its ca.crt cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err("its ca.crt holds no certificate in PEM".to_owned()) } else { Ok(roots) }
}

/// All that are in use. One for the process, so that a reload that changes nothing keeps connections.
#[derive(Debug, Default)]
pub(crate) struct Ways(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    made: BTreeMap<Arc<BackendTls>, Arc<Secured>>,
    last: u64,
}

/// Those of a configuration.
pub(crate) type Made = BTreeMap<Arc<BackendTls>, Arc<Secured>>;

impl Ways {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that these backends need; what cannot be is told with why, and such a backend must not be asked.
    pub(crate) fn of<'b>(
        &self,
        backends: impl Iterator<Item = &'b Arc<BackendTls>>,
        system: &Arc<RootCertStore>,
        wrong: &mut dyn FnMut(&BackendTls, String),
    ) -> Made {
        let (mut known, mut made) = (self.known(), Made::new());
        let wanted: BTreeSet<&Arc<BackendTls>> = backends.collect();
        for tls in wanted {
            if let Some(way) = known.made.get(tls) {
                made.insert(Arc::clone(tls), Arc::clone(way));
                continue;
            }
            known.last += 1;
            match Secured::new(known.last, tls, system) {
                Ok(way) => drop(made.insert(Arc::clone(tls), Arc::new(way))),
                Err(why) => wrong(tls, why),
            }
        }
        known.made.clone_from(&made);
        made
    }
}
