//! How a node without a certificate gets one: it shows a token that says who it is, and a key of its own.
//!
//! Enters: a token of a service account, the authority to believe. Leaves: an [`Identity`]. Guarantees: the node's key
//! never leaves it; the token is shown only to a controller whose certificate that authority issued.
//! Does not: judge tokens (`controller`).

use crate::client::{Ended, connect_with};
use crate::tls::{Identity, node_name};
use crate::wire::{Enrolled, Enrolment};
use http::uri::PathAndQuery;
use rcgen::{CertificateParams, KeyPair};
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
}

/// A certificate in PEM, or why there is none.
pub type Answer = Result<String, String>;

/// Decides who gets a certificate for which name.
pub type Registrar = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Asks the controller at `address` for a certificate of the node. `authority` is PEM.
///
/// # Errors
/// There is no such controller, or it refuses.
pub async fn enrol(address: &str, authority: &[u8], token: &str, node: &str) -> io::Result<Identity> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params = CertificateParams::new(vec![node_name(node)]).map_err(io::Error::other)?;
    let request = params.serialize_request(&key).map_err(io::Error::other)?;
    let asked = Enrolment { token: token.to_owned(), signing_request: request.der().to_vec() };
    let answer = tokio::time::timeout(PATIENCE, ask(address, authority, asked));
    let certificate = match answer.await {
        Ok(Ok(enrolled)) => enrolled.certificate,
        Ok(Err(ended)) => return Err(io::Error::other(ended.to_string())),
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"))),
    };
    let (chain, key) = (certificate.into_bytes(), key.serialize_pem().into_bytes());
    Ok(Identity { chain, key, authority: authority.to_vec() })
}

async fn ask(address: &str, authority: &[u8], asked: Enrolment) -> Result<Enrolled, Ended> {
    let channel = connect_with(address, crate::tls::anonymous(authority)?).await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(LIMIT);
    let status = |status: tonic::Status| Ended::Status(status.message().to_owned());
    grpc.ready().await.map_err(|error| Ended::Connect(address.to_owned(), crate::client::chain(&error)))?;
    let codec = tonic_prost::ProstCodec::<Enrolment, Enrolled>::default();
    let path = PathAndQuery::from_static(PATH);
    Ok(grpc.unary(tonic::Request::new(asked), path, codec).await.map_err(status)?.into_inner())
}
