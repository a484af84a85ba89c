//! The central gateway's other door: workloads from outside the nodes come by themselves, over TLS, to an explicit proxy.
//!
//! Enters: TLS connections with client certificates, and what these are known by ([`Clients`]). Leaves: what clients of the
//! front door get; one record for each, with the id that was presented. Guarantees: who is no workload by a certificate of
//! the operator's authority gets nothing but an answer that says so; a connection does not outlive its certificate, nor the
//! authority behind it. Does not: believe addresses, ask for passwords, look for revocations.

use super::policies::Policies;
use super::visiting::{Lookup, Opens, Visiting};
use super::workload::Stranger;
use crate::bounds::Bounds;
use crate::counters::{Counters, add};
use crate::front::{Caller, Presented};
use crate::keys::Keys;
use crate::near::Near;
use crate::reason::Reason;
use crate::record::Sink;
use crate::serve::{Gateway, Phase, draining};
use crate::settings::Limits;
use crate::tls::{Inspection, InspectionError, Inspector};
use authn::Authorities;
use feed::tls::{Identity, TlsError};
use policy::DomainPattern;
use purse::{Prices, StoreMeans, StoreStanding};
use rustls::ServerConfig;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long a client may take for its handshake.
const GREETING: Duration = Duration::from_secs(10);
/// Handshakes, and refusals of strangers, at once; and of these, those from one address.
const GREETINGS: [usize; 2] = [1024, 128];
/// How long nobody is accepted after the kernel refused.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether a certificate ended.
const CLOCK: Duration = Duration::from_secs(60);
/// Who has no place among workloads.
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What the door shows, and by what it knows who comes.
#[derive(Debug)]
pub struct Clients {
    tls: Arc<ServerConfig>,
    authorities: Authorities,
}

/// Why nobody can be known.
#[derive(Debug, Error)]
pub enum ClientsError {
    /// The certificate that is shown, its key, or the authority.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authority or the trust domain.
    #[error("knowing workloads by their certificates: {0}")]
    Authorities(String),
}

impl Clients {
    /// Shows the certificate of `identity`, and knows workloads of a SPIFFE trust domain (`prod.example.org`) by the
    /// certificates of its authority.
    ///
    /// # Errors
    /// Something of it cannot be used.
    pub fn new(identity: &Identity, domain: &str) -> Result<Self, ClientsError> {
        let pem = std::str::from_utf8(&identity.authority)
            .map_err(|error| ClientsError::Authorities(format!("the authority is not PEM: {error}")))?;
        let authorities = Authorities::of(domain, pem).map_err(ClientsError::Authorities)?;
        // Who shows nothing is told so in words; who shows what the authority did not make, by TLS.
        let mut tls = identity.server()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls), authorities })
    }

    /// The id that a chain of certificates shows; or what is wrong, for the client.
    fn identify(&self, chain: &[Vec<u8>], now: SystemTime) -> Result<Arc<str>, String> {
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
        self.authorities.identify(&chain, seconds).map(|(id, _)| id).map_err(|reason| {
            let uris = chain.first().map(|own| authn::uris(own)).unwrap_or_default();
            let why = authn::Refused::new(reason);
            if uris.is_empty() { why.to_string() } else { format!("{why}; it says {}", uris.join(", ")) }
        })
    }
}

/// The door.
pub struct Visitors {
    gateway: Gateway,
    visiting: Arc<Visiting>,
    greeting: Arc<Bounds<IpAddr>>,
    counters: Arc<Counters>,
    phase: watch::Receiver<Phase>,
}

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitors").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Visitors {
    /// A door that judges by the latest policy, asks `lookup` for names, and does as `phase` says. With each change of policy
    /// [`Phase::changes`] must grow, so that open connections are judged again.
    pub fn new(
        policies: watch::Receiver<Option<Arc<Policies>>>,
        lookup: Arc<dyn Lookup>,
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        limits: Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let visiting = Arc::new(Visiting::new(policies, lookup));
        visiting.spending().tell(Arc::clone(&sink));
        let mut gateway = Gateway::new(visiting.clone(), sink, Arc::clone(&counters), limits, phase.clone())
            .resolving(visiting.clone());
        gateway.grants = visiting.grants();
        let [all, each] = GREETINGS;
        Self { gateway, visiting, greeting: Bounds::new(all, each), counters, phase }
    }

    /// Opens TLS with these means from the next connection on, where a rule looks at requests, but never to these names. `None`:
    /// it is not opened, and what would have to be is refused.
    ///
    /// # Errors
    /// The means cannot be used. Then nothing changes.
    pub fn open_with(
        &self,
        means: Option<&Inspection>,
        never: Vec<DomainPattern>,
    ) -> Result<(), InspectionError> {
        let inspector = means.map(Inspector::new).transpose()?.map(Arc::new);
        self.visiting.open_with(Opens { inspector, never });
        Ok(())
    }

    /// Counts budgets and uploads in this store, and money by these prices, from the next request on. Without a store, rules with
    /// budgets allow nothing, and uploads are those through this gateway. Once: what was set before stays.
    ///
    /// # Errors
    /// The system has no threads for it.
    pub fn count_with(
        &self,
        store: Option<Arc<StoreMeans>>,
        prices: Option<Arc<Prices>>,
    ) -> std::io::Result<()> {
        self.visiting.spending().count_with(store, prices)
    }

    /// Has requests leave with the latest of these keys, where their rule puts one into them. Without them, and without the key
    /// that a rule has, such requests are refused. Once: what was set before stays.
    pub fn inject_with(&self, keys: watch::Receiver<Arc<Keys>>) {
        self.visiting.inject_with(keys);
    }

    /// How the store of budgets stands; nothing where there is none.
    pub fn store_standing(&self) -> Option<StoreStanding> {
        self.visiting.spending().standing()
    }

    /// Serves until told to drain, and then until the last connection ended or the time for that is over. `clients` is looked
    /// at for each connection. Dropping the future cuts every connection.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, clients: watch::Receiver<Arc<Clients>>) {
        let mut phase = self.phase.clone();
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = draining(&mut phase) => break,
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        open.spawn(Arc::clone(&self).connection(stream, peer, clients.clone()));
                    }
                    Err(_) => {
                        add(&self.counters.accept_errors, 1);
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while open.join_next().await.is_some() {}
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        mut clients: watch::Receiver<Arc<Clients>>,
    ) {
        let Ok(greeting) = self.greeting.admit(peer.ip()) else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        let known = Arc::clone(&clients.borrow_and_update());
        let Some(Greeted { near, listener, chain }) = greet(stream, &known).await else {
            add(&self.counters.accept_errors, 1);
            return;
        };
        let (end, over) = watch::channel(None);
        let entered =
            known.identify(&chain, SystemTime::now()).and_then(|id| match self.visiting.enter(&id) {
                Ok(place) => Ok((id, place)),
                Err(Stranger::OtherForm) => Err(format!("its certificate says {id}")),
                Err(Stranger::TooMany) => {
                    Err("too many workloads came, and there is no room for another".to_owned())
                }
            });
        // Its workload is known for as long as it lasts.
        let (place, presented) = match entered {
            Ok((id, place)) => {
                // From here on it takes a place of its workload's.
                drop(greeting);
                (Some(place), Presented { peer, id: Some(id), refused: None, over })
            }
            Err(why) => {
                let refused = Some((Reason::WorkloadUnknown, why.into()));
                (None, Presented { peer, id: None, refused, over })
            }
        };
        let address = place.as_ref().map_or(NOBODY, |place| place.address);
        let caller = Caller { pod: SocketAddr::new(address, peer.port()), listener };
        let is_over = async {
            ended(&chain, &mut clients).await;
            end.send_replace(Some(Reason::CertificateEnded));
            // What is open ends by it; what is not open yet as soon as it is.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = Box::pin(self.gateway.presented(near, caller, presented)) => {}
            () = is_over => {}
        }
    }
}

/// Who came.
struct Greeted {
    near: Near,
    /// Where it connected to.
    listener: SocketAddr,
    /// The certificates that it shows, in DER.
    chain: Vec<Vec<u8>>,
}

/// The handshake.
async fn greet(stream: TcpStream, clients: &Clients) -> Option<Greeted> {
    stream.set_nodelay(true).ok()?;
    let listener = stream.local_addr().ok()?;
    let accepting = TlsAcceptor::from(Arc::clone(&clients.tls)).accept(stream);
    let stream = tokio::time::timeout(GREETING, accepting).await.ok()?.ok()?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|it| it.to_vec()).collect();
    Some(Greeted { near: Near::any(stream), listener, chain })
}

/// Returns when nobody is known by a chain any more: it came to its end, or newer files have another authority.
async fn ended(chain: &[Vec<u8>], clients: &mut watch::Receiver<Arc<Clients>>) {
    let shown: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(authn::ends(&shown).unwrap_or_default());
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        tokio::select! {
            // The clock that certificates go by may be set.
            () = tokio::time::sleep(left.min(CLOCK)) => {}
            changed = clients.changed() => {
                if changed.is_err() {
                    // None will come; this one's end does.
                    tokio::time::sleep(left.min(CLOCK)).await;
                } else if clients.borrow_and_update().identify(chain, SystemTime::now()).is_err() {
                    return;
                }
            }
        }
    }
}
