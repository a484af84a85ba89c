//! The node's end: follows a controller, and never stops trying.
//!
//! Enters: where the controller is, who the node is, what it has. Leaves: its copy, each time it changed, and answers to
//! the controller. Guarantees: what the node has is kept through every failure; a connection goes on where the last one
//! ended; after a failure it waits ever longer, up to [`SLOWEST`]. Does not: enforce.

use crate::access::{self, Accesses, Asks};
use crate::replica::Replica;
use crate::server::{ALIVE, MESSAGE_LIMIT, PATH};
use crate::tls::{CONTROLLER, Identity};
use crate::wire::{Held, Hello, Report, Said, Standing, Update};
use crate::{decode, encode, server};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use policy::{Generation, Key, SecretRef};
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// First and longest wait after a failure.
const SOONEST: Duration = Duration::from_millis(100);
/// See [`SOONEST`].
pub const SLOWEST: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// What became of what was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    /// In the kernel; `None`: nothing yet.
    pub generation: Option<Generation>,
    /// Why that is not what was received, or what else is wrong.
    pub problem: Option<String>,
    /// Pod addresses judged for.
    pub endpoints: u64,
    /// Whether pods are held until their policy is in force.
    pub holds_pods: bool,
}

/// Whoever uses what is received.
pub trait Node: Send {
    /// Who the node is to the controller at an address; asked for before each connection, so that it can be renewed.
    ///
    /// # Errors
    /// There is none: tried again later.
    fn identity(&mut self, address: &str) -> impl Future<Output = io::Result<Identity>> + Send;
    /// The copy changed.
    fn received(&mut self, replica: &Replica) -> impl Future<Output = Enforced> + Send;
    /// The keys that rules of the node's pods put into requests, in place of those before. By default nobody wants them.
    fn keys(&mut self, _keys: BTreeMap<SecretRef, Key>) {}
    /// Whether there is a connection, and if not why.
    fn connected(&mut self, problem: Option<String>);
    /// Waits until something about [`Enforced`] changed by itself. Must be safe to drop and call again.
    fn changed(&mut self) -> impl Future<Output = Enforced> + Send;
    /// What is to be told of what pods open, on this connection, in place of what was asked before. By default nobody is told.
    fn asked(&mut self, _asks: Asks) {}
    /// Waits until there is something to say. Must be safe to drop and call again.
    fn news(&mut self) -> impl Future<Output = News> + Send {
        async { News::Enforced(self.changed().await) }
    }
}

/// What a node says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something about what is enforced changed.
    Enforced(Enforced),
    /// What its pods opened, since it was asked.
    Seen(Accesses),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the certificate of this node: {0}")]
    Tls(#[from] crate::tls::TlsError),
    #[error("connecting to the controller at {0}: {1}")]
    Connect(String, String),
    #[error("the controller said: {0}")]
    Status(String),
    #[error("the controller sent what cannot be taken: {0}")]
    Replica(#[from] crate::ReplicaError),
    #[error("the controller closed the connection")]
    Closed,
}

/// Follows whichever controller answers at one of the `addresses` (host and port) until the future is dropped.
pub async fn follow(
    addresses: &[String],
    name: &str,
    version: &str,
    mut replica: Replica,
    node: &mut impl Node,
) {
    let mut wait = SOONEST;
    for address in addresses.iter().cycle() {
        let before = replica.generation();
        let problem = match node.identity(address).await {
            Ok(identity) => {
                let Err(ended) = connection(address, &identity, name, version, &mut replica, node).await;
                // A refused certificate looks like a connection that broke.
                match identity.problem(SystemTime::now()) {
                    Some(why) => format!("the certificate of this node: {why} ({ended})"),
                    None => ended.to_string(),
                }
            }
            Err(error) => format!("the certificate of this node: {error}"),
        };
        node.connected(Some(problem));
        if replica.generation() > before {
            wait = SOONEST;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(SLOWEST);
    }
}

async fn connection(
    address: &str,
    identity: &Identity,
    name: &str,
    version: &str,
    replica: &mut Replica,
    node: &mut impl Node,
) -> Result<std::convert::Infallible, Ended> {
    let channel = connect_with(address, identity.client()?).await?;
    let mut grpc = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let status = |status: tonic::Status| Ended::Status(status.message().to_owned());
    grpc.ready().await.map_err(|error| Ended::Connect(address.to_owned(), chain(&error)))?;
    let (reports, outgoing) = mpsc::channel(4);
    let say = async |said| reports.send(Report { said: Some(said) }).await.map_err(|_| Ended::Closed);
    say(Said::Hello(hello(name, version, replica))).await?;
    let codec = tonic_prost::ProstCodec::<Report, Update>::default();
    let request = tonic::Request::new(ReceiverStream::new(outgoing));
    let answer = grpc.streaming(request, PathAndQuery::from_static(PATH), codec).await.map_err(status)?;
    let mut updates = answer.into_inner();
    node.connected(None);
    // Another controller, or this one anew, says by itself what it wants to be told.
    node.asked(Asks::default());
    let (mut messages, mut keys) = (Vec::new(), None);
    loop {
        let enforced = tokio::select! {
            update = updates.message() => {
                let mut update = update.map_err(status)?.ok_or(Ended::Closed)?;
                if let Some(asks) = update.asks.take() {
                    node.asked(access::decode_asks(&asks).map_err(crate::ReplicaError::from)?);
                    continue;
                }
                let more = update.more;
                keys = update.keys.take().or(keys);
                messages.push(update);
                if more {
                    continue;
                }
                replica.take(&std::mem::take(&mut messages))?;
                // Before the rules that need them.
                if let Some(keys) = keys.take() {
                    node.keys(decode::keys(keys));
                }
                node.received(replica).await
            }
            news = node.news() => match news {
                News::Enforced(enforced) => enforced,
                News::Seen(accesses) => {
                    say(Said::Accesses(access::encode_accesses(&accesses))).await?;
                    continue;
                }
            },
        };
        say(Said::Standing(standing(replica, enforced))).await?;
    }
}

pub(crate) async fn connect_with(address: &str, config: rustls::ClientConfig) -> Result<Channel, Ended> {
    let tls = TlsConnector::from(Arc::new(config));
    let to = address.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, to) = (tls.clone(), to.clone());
        async move {
            // The address of a Service comes without brackets, of whichever family it is.
            let (host, port) = to.rsplit_once(':').ok_or_else(|| io::Error::other("it is no HOST:PORT"))?;
            let port = port.parse().map_err(|_| io::Error::other("its port is no number"))?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(CONTROLLER).map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let [interval, patience] = ALIVE;
    Endpoint::from_static(server::ORIGIN)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        .connect_with_connector(connector)
        .await
        .map_err(|error| Ended::Connect(address.to_owned(), chain(&error)))
}

/// An error with its causes: the outermost alone says little.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn hello(name: &str, version: &str, replica: &Replica) -> Hello {
    let held = |(key, digest): (&crate::Key, &crate::Digest)| Held {
        key: Some(encode::key(key)),
        digest: digest.to_vec(),
    };
    Hello {
        node: name.to_owned(),
        version: version.to_owned(),
        generation: replica.generation().0,
        has: replica.digests().map(held).collect(),
        revisions: replica.revisions().clone(),
    }
}

fn standing(replica: &Replica, enforced: Enforced) -> Standing {
    Standing {
        received: replica.generation().0,
        enforced: enforced.generation.unwrap_or_default().0,
        problem: enforced.problem.unwrap_or_default(),
        endpoints: enforced.endpoints,
        holds_pods: enforced.holds_pods,
    }
}
