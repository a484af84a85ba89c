//! What the gateway goes by: [`Settings`] of the process, and the [`Config`] that objects say, swapped whole.

use crate::bound::SessionKeys;
use crate::certificate;
use crate::policy::{Attached, Held};
use crate::secured::{Made, Secured, Ways};
use admit::{Ledger, Pins};
use authn::KeySources;
use crds::{InferencePolicy, Object};
use purse::{Prices, Purse};
use routes::{BackendTls, Endpoints, ListenerId, Routing, RuleId, Target};
use rustls::{RootCertStore, ServerConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What holds as long as the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on.
    pub bind: IpAddr,
    /// The port to open for one that a Gateway names, where it is another: a process without rights cannot have 80.
    pub ports: BTreeMap<u16, u16>,
    /// Bounds.
    pub limits: Limits,
    /// By whom the servers are certified from which keys of issuers are fetched, where a policy says nothing.
    pub roots: Arc<RootCertStore>,
    /// What consumers used of their limits. Whoever keeps that beyond the process has it too.
    pub ledger: Arc<Ledger>,
    /// Tools of servers as they were seen first; the same holds.
    pub pins: Arc<Pins>,
    /// What models cost. `None`: policies with limits of money are closed.
    pub prices: Option<Arc<Prices>>,
    /// Where gateways share what is left of limits, for [`Settings::ledger`]. `None`: each has its own.
    pub purse: Option<Arc<Purse<Ledger>>>,
    /// By which ids of sessions and tasks are bound to who got them. None: by what is known of a route.
    pub session_keys: SessionKeys,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::UNSPECIFIED.into(),
            ports: BTreeMap::new(),
            limits: Limits::default(),
            roots: Arc::new(RootCertStore::empty()),
            ledger: Arc::default(),
            pins: Arc::default(),
            prices: None,
            purse: None,
            session_keys: SessionKeys::default(),
        }
    }
}

/// Bounds of what the gateway does at once, and how long it waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of clients. More wait to be accepted.
    pub connections: usize,
    /// Connections of one client address, of IPv6 of one /64. More are closed at once. `None`: as many as of all, for behind a load
    /// balancer that hides clients all of them have one address.
    pub connections_of_address: Option<NonZeroUsize>,
    /// Requests at once. More wait for their turn, consumer by consumer.
    pub running: usize,
    /// Requests that wait. More are refused 503.
    pub waiting: usize,
    /// How long a request waits for its turn before it is refused 503.
    pub wait: Duration,
    /// Largest body, in bytes, that is held to look at it; larger ones are refused where a policy wants to see them whole.
    pub body: usize,
    /// Bytes of all bodies that are held.
    pub held: usize,
    /// For TLS, and for a head from its first byte to its last.
    pub head: Duration,
    /// For the next piece of a request's body.
    pub body_piece: Duration,
    /// For a connection without a request.
    pub idle: Duration,
    /// For a client that takes nothing of its answer.
    pub write: Duration,
    /// To connect to an endpoint.
    pub connect: Duration,
    /// For an endpoint picker to say who answers.
    pub pick: Duration,
    /// Until the head of an answer, where a route says nothing.
    pub answer: Duration,
    /// For the next piece of an answer, or for anything over a WebSocket, either way.
    pub answer_piece: Duration,
    /// For anything over a connection that is handed on in its TLS, either way.
    pub passed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections: 16 * 1024,
            connections_of_address: None,
            running: 1024,
            waiting: 4096,
            wait: seconds(10),
            body: 16 << 20,
            held: 256 << 20,
            head: seconds(10),
            body_piece: seconds(30),
            idle: seconds(75),
            write: seconds(60),
            connect: seconds(5),
            pick: seconds(10),
            answer: seconds(600),
            answer_piece: seconds(300),
            passed: seconds(3600),
        }
    }
}

/// What objects say.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, routes, filters.
    pub routing: Arc<Routing>,
    /// Who answers for each target that a route names, or that a pool that it names is picked by.
    pub endpoints: BTreeMap<Target, Vec<SocketAddr>>,
    /// Who may ask, what, and what is looked at.
    pub policies: Vec<InferencePolicy>,
    /// Backends of which not all endpoints are asked.
    pub cut: Vec<String>,
    /// Endpoints that are not asked, as [`Endpoints::barred`] says them.
    pub barred: Vec<String>,
    /// Files of a Core Rule Set, by their paths; none: no policy may want a firewall.
    pub waf: Arc<[(String, Vec<u8>)]>,
}

impl Default for Config {
    fn default() -> Self {
        Self::of(&[], Arc::new([]))
    }
}

impl Config {
    /// What objects say. `waf`: files of a Core Rule Set. What is wrong with the objects, whoever reads
    /// them tells; what is wrong is closed here.
    pub fn of(objects: &[Object], waf: Arc<[(String, Vec<u8>)]>) -> Self {
        let (routing, _told_by_who_reads_them) = Routing::build(objects);
        let policies = objects.iter().filter_map(|object| match object {
            Object::InferencePolicy(policy) => Some(policy.clone()),
            _ => None,
        });
        let found = Endpoints::build(objects);
        let ways = routing.rules().iter().flat_map(routes::Rule::ways);
        let endpoints = ways.map(|(target, _)| (target.clone(), found.of(target).to_vec())).collect();
        let barred = found.barred().map(str::to_owned).collect();
        Self { routing, endpoints, policies: policies.collect(), cut: found.cut().to_vec(), barred, waf }
    }
}

/// What of a configuration does not take hold, so that what needs it is closed; or why all of it does not.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A certificate or a key.
    #[error("{at}: {field} of the Secret cannot be used: {why}")]
    Secret {
        /// Where the Secret is written.
        at: String,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A policy.
    #[error("{at} cannot be enforced: {why}")]
    Policy {
        /// Where it is written.
        at: Box<admit::Source>,
        /// What is wrong, and the way out.
        why: String,
    },
    /// TLS to a backend, which is then not asked.
    #[error("backends that must be {hostname} by TLS cannot be asked: {why}")]
    Backend {
        /// For whom its certificate must be.
        hostname: String,
        /// What is wrong, and the way out.
        why: String,
    },
    /// A backend that is too large.
    #[error("{0} has more than {most} endpoints, and those beyond are not asked: make it several", most = routes::MOST_ENDPOINTS)]
    Endpoints(String),
    /// An endpoint that nobody is led to.
    #[error("{0} is not asked: a cloud hands out credentials there")]
    Barred(String),
    /// Listeners and rules.
    #[error("more than {0} pairs of a listener and a rule of a route")]
    TooMany(usize),
    /// TLS as such.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A port.
    #[error("cannot listen on {address} for port {port} of a Gateway")]
    Listen {
        /// The port that the Gateway names.
        port: u16,
        /// Where.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
}

/// A configuration in force.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) config: Config,
    tls: BTreeMap<ListenerId, Arc<ServerConfig>>,
    attached: Attached,
    secured: Made,
}

impl Live {
    /// Adds to `faults` what cannot be in force.
    ///
    /// # Errors
    /// There is too much.
    pub(crate) fn new(
        config: Config,
        sources: &KeySources,
        (ways, settings): (&Ways, &Settings),
        faults: &mut Vec<ConfigError>,
    ) -> Result<Self, ConfigError> {
        let attached = Attached::build(&config, sources, settings.prices.is_some(), faults)?;
        let mut tls = BTreeMap::new();
        for listener in config.routing.listeners() {
            let asks = attached.mtls.contains(&listener.id);
            if let Some(server) = certificate::server(listener, asks, faults) {
                tls.insert(listener.id, server);
            }
        }
        let asked = config.routing.rules().iter().flat_map(routes::Rule::ways);
        let secured = ways.of(asked.filter_map(|(_, tls)| tls), &settings.roots, &mut |tls, why| {
            faults.push(ConfigError::Backend { hostname: tls.hostname.to_string(), why });
        });
        faults.extend(config.cut.iter().cloned().map(ConfigError::Endpoints));
        faults.extend(config.barred.iter().cloned().map(ConfigError::Barred));
        Ok(Self { config, tls, attached, secured })
    }

    /// What holds for a rule on a listener.
    pub(crate) fn held(&self, listener: ListenerId, rule: RuleId) -> Option<&Arc<Held>> {
        self.attached.at(listener, rule)
    }

    pub(crate) fn routing(&self) -> &Routing {
        &self.config.routing
    }

    /// How a listener ends TLS; `None`: it does not.
    pub(crate) fn tls(&self, listener: ListenerId) -> Option<&Arc<ServerConfig>> {
        self.tls.get(&listener)
    }

    pub(crate) fn endpoints(&self, target: &Target) -> &[SocketAddr] {
        self.config.endpoints.get(target).map(Vec::as_slice).unwrap_or_default()
    }

    /// How a backend is checked; `None`: it cannot be, and must not be asked.
    pub(crate) fn secured(&self, tls: &Arc<BackendTls>) -> Option<&Arc<Secured>> {
        self.secured.get(tls)
    }

    /// Numbers of all ways of checking.
    pub(crate) fn ways(&self) -> BTreeSet<u64> {
        self.secured.values().map(|way| way.number).collect()
    }

    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.routing().listeners().iter().map(|listener| listener.port).collect()
    }
}
