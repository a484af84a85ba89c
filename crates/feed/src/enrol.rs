//! How a node without a certificate gets one: it shows a token that says who it is, and a key of its own.
//!
//! Enters: a token of a service account, the authority to believe. Leaves: an [`Identity`], or an authority of the node's own
//! for its gateway ([`Intermediate`]). Guarantees: the node's keys never leave it; the token is shown only to a controller
//! whose certificate that authority issued.
//! Does not: judge tokens (`controller`).

use crate::client::{Ended, connect_with};
use crate::tls::{Identity, node_name};
use crate::wire::{Enrolled, Enrolment, OfNamespace};
use http::uri::PathAndQuery;
use rcgen::{CertificateParams, KeyPair};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Where the method is.
pub(crate) const PATH: &str = "/cofferdam.feed.v1.Feed/Enrol";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest token and signing request, in bytes.
pub(crate) const LIMIT: usize = 64 << 10;

/// What a node shows.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of its service account.
    pub token: String,
    /// DER, signed by the node's key.
    pub signing_request: Vec<u8>,
    /// The same for an authority of the node's own, if it wants one.
    pub inspection: Option<InspectionRequest>,
}

/// What a node shows for an authority of its own, with which its gateway opens TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectionRequest {
    /// Whose authority is to sign it.
    pub of: Signer,
    /// DER, signed by the key of the node's authority.
    pub signing_request: Vec<u8>,
}

/// By whom an authority of a node is signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signer {
    /// The cluster's inspection authority.
    Cluster,
    /// That of a namespace.
    Namespace(Arc<str>),
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// What a node gets.
#[derive(Clone, Debug)]
pub struct Granted {
    /// PEM.
    pub certificate: String,
    /// PEM, the certificate of the node's authority first, behind it those up to one that pods trust; or why there is none.
    pub inspection: Result<String, String>,
}

/// That, or why there is nothing.
pub type Answer = Result<Granted, String>;

/// An authority of the node's own, signed by the cluster's or a namespace's for requests inside TLS. Its key is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Intermediate {
    /// PEM, its own certificate first.
    pub chain: String,
    /// PEM, PKCS#8. Made here and kept nowhere else.
    pub key: String,
}

impl fmt::Debug for Intermediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intermediate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Decides who gets a certificate for which name.
pub type Registrar = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Asks the controller at `address` for a certificate of the node. `authority` is PEM.
///
/// # Errors
/// There is no such controller, or it refuses.
pub async fn enrol(address: &str, authority: &[u8], token: &str, node: &str) -> io::Result<Identity> {
    let (key, signing_request) = request(node)?;
    let asked = Enrolment { token: token.to_owned(), signing_request, ..Enrolment::default() };
    let certificate = ask(address, authority, asked).await?.certificate;
    let (chain, key) = (certificate.into_bytes(), key.serialize_pem().into_bytes());
    Ok(Identity { chain, key, authority: authority.to_vec() })
}

/// Asks it for an authority of the node's own, signed by the cluster's or by a namespace's. `authority` (PEM) is who vouches for the
/// controller, not for what is asked.
///
/// # Errors
/// There is no such controller, it refuses, or it has none to give, as one of before does not.
pub async fn intermediate(
    address: &str,
    authority: &[u8],
    token: &str,
    node: &str,
    of: &Signer,
) -> io::Result<Intermediate> {
    // One message asks for both: what comes for the first key is not used.
    let ((_, signing_request), (key, wanted)) = (request(node)?, request(node)?);
    let asked = Enrolment { token: token.to_owned(), signing_request, ..Enrolment::default() };
    let asked = match of {
        Signer::Cluster => Enrolment { inspection_request: wanted, ..asked },
        Signer::Namespace(name) => {
            let of_namespace = OfNamespace { namespace: name.to_string(), signing_request: wanted };
            Enrolment { of_namespace: Some(of_namespace), ..asked }
        }
    };
    let Enrolled { inspection, no_inspection, .. } = ask(address, authority, asked).await?;
    match (inspection.is_empty(), no_inspection.is_empty()) {
        (false, _) => Ok(Intermediate { chain: inspection, key: key.serialize_pem() }),
        (true, false) => Err(io::Error::other(no_inspection)),
        (true, true) => Err(io::Error::other("the controller is of a version that gives none")),
    }
}

/// A new key, and a request for it.
fn request(node: &str) -> io::Result<(KeyPair, Vec<u8>)> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params = CertificateParams::new(vec![node_name(node)]).map_err(io::Error::other)?;
    let request = params.serialize_request(&key).map_err(io::Error::other)?;
    Ok((key, request.der().to_vec()))
}

async fn ask(address: &str, authority: &[u8], asked: Enrolment) -> io::Result<Enrolled> {
    match tokio::time::timeout(PATIENCE, call(address, authority, asked)).await {
        Ok(Ok(enrolled)) => Ok(enrolled),
        Ok(Err(ended)) => Err(io::Error::other(ended.to_string())),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"))),
    }
}

async fn call(address: &str, authority: &[u8], asked: Enrolment) -> Result<Enrolled, Ended> {
    let channel = connect_with(address, crate::tls::anonymous(authority)?).await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(LIMIT);
    let status = |status: tonic::Status| Ended::Status(status.message().to_owned());
    grpc.ready().await.map_err(|error| Ended::Connect(address.to_owned(), crate::client::chain(&error)))?;
    let codec = tonic_prost::ProstCodec::<Enrolment, Enrolled>::default();
    let path = PathAndQuery::from_static(PATH);
    Ok(grpc.unary(tonic::Request::new(asked), path, codec).await.map_err(status)?.into_inner())
}
