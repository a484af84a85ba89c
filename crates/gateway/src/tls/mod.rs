//! Opens TLS: towards the client in the name of the server, towards the server as a client that believes only what
//! it was given.
//!
//! Enters: [`Inspection`], as the agent gives it. Leaves: an [`Inspector`] with both sides' configurations. Guarantees:
//! a server is verified strictly (name, signature chain, dates); both sides speak the same protocol; nothing is accepted
//! before the handshake is over (no early data). Does not: read files, or ask who revoked what.

mod accept;
mod authority;
mod own;

pub use authority::{Authority, AuthorityError, AuthorityPem};
pub use own::OwnInspection;

pub(crate) use accept::{Speech, Unbelieved};
pub(crate) use own::{Inspectors, Whose};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// Servers whose sessions are kept for resumption.
const SESSIONS: usize = 1024;

/// With what TLS is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// In whose name clients are answered.
    pub authority: AuthorityPem,
    /// Certificates (DER) of the authorities that servers are verified with.
    #[serde(with = "hexadecimal")]
    pub roots: Vec<Vec<u8>>,
}

/// Why TLS cannot be opened.
#[derive(Debug, Error)]
pub enum InspectionError {
    /// There is no authority to open it with.
    #[error("using the inspection authority: {0}")]
    Authority(#[from] AuthorityError),
    /// The system lacks something.
    #[error("preparing to open TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Opens TLS.
#[derive(Debug)]
pub struct Inspector {
    /// Of protocols to be agreed on with clients.
    unnamed: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    /// Towards servers.
    client: Arc<ClientConfig>,
}

impl Inspector {
    /// Prepares to open TLS. Roots that cannot be read are left out: systems carry some that no verifier takes.
    ///
    /// # Errors
    /// The authority is none, or the system lacks something.
    pub fn new(means: &Inspection) -> Result<Self, InspectionError> {
        Self::of(&means.authority, &means.roots)
    }

    /// As [`Self::new`], of the parts of an [`Inspection`].
    pub(crate) fn of(authority: &AuthorityPem, believed: &[Vec<u8>]) -> Result<Self, InspectionError> {
        let authority = Arc::new(Authority::of(authority)?);
        let provider = Arc::new(default_provider());
        let server = |protocol: Option<&[u8]>| {
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&authority) as _);
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(believed.iter().map(|root| CertificateDer::from(root.as_slice())));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self {
            unnamed: server(None)?,
            http1: server(Some(b"http/1.1"))?,
            http2: server(Some(b"h2"))?,
            client: Arc::new(client),
        })
    }
}

/// Bytes as text with two digits each: a list of numbers in JSON is twice as long.
mod hexadecimal {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(all: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|bytes| HEXLOWER.encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let all = Vec::<String>::deserialize(from)?;
        let read = |text: String| {
            HEXLOWER
                .decode(text.as_bytes())
                .map_err(|_| serde::de::Error::custom("bytes have two lower-case hexadecimal digits each"))
        };
        all.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn means_survive_the_way_and_show_no_key() {
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let secret = authority.key.lines().nth(1).unwrap().to_owned();
        let means = Inspection { authority, roots: vec![vec![0, 1, 0xfe], vec![]] };
        let json = serde_json::to_string(&means).unwrap();
        assert!(json.contains(r#"["0001fe",""]"#), "{json}");
        assert_eq!(serde_json::from_str::<Inspection>(&json).unwrap(), means);
        assert!(!format!("{means:?}").contains(&secret));
        for bad in ["0", "0g", "ä0"] {
            assert!(serde_json::from_str::<Inspection>(&json.replace("0001fe", bad)).is_err(), "{bad}");
        }
    }
}
