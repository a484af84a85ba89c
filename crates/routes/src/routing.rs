//! Where a request goes: listener, host, path, and the rest of its head.

use crate::asked::{Asked, PathFault};
use crate::rule::{Resource, Rule, RuleId};
use crate::status::ObjectStatus;
use crds::{Object, Position};
use std::sync::Arc;

/// Everything that requests are routed by. Immutable: a change is another one.
#[derive(Debug, Default)]
pub struct Routing {
    listeners: Vec<Listener>,
    rules: Vec<Rule>,
}

/// Names a listener within one [`Routing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// One listener that is in force. Several may share a port.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Which.
    pub id: ListenerId,
    /// Namespace and name of its Gateway.
    pub gateway: Resource,
    /// Its name: what `sectionName` means.
    pub name: Arc<str>,
    /// Where it is written.
    pub position: Position,
    /// The port to listen on.
    pub port: u16,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// In lower case; `*.` first means any name below. `None`: any host.
    pub hostname: Option<Arc<str>>,
    /// What is done with TLS.
    pub tls: Tls,
}

/// `protocol` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerProtocol {
    /// HTTP/1 and HTTP/2 without TLS.
    Http,
    /// The same in TLS, which ends here.
    Https,
    /// TLS which is handed on as it is.
    Tls,
}

/// What a listener does with TLS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// There is none.
    None,
    /// It ends here.
    Terminate(Vec<Arc<crds::TlsSecret>>),
    /// It is handed on.
    Passthrough,
}

/// What a request found.
#[must_use]
#[derive(Debug)]
pub enum Found<'r> {
    /// A rule.
    Rule(&'r Rule, Matched),
    /// None.
    Nothing(Why),
}

/// How a rule was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// By which listener.
    pub listener: ListenerId,
    /// How many bytes of the path as it came the match's `PathPrefix` took, without a `/` at its end. `None`: another kind of match.
    pub prefix: Option<usize>,
}

/// Why a request found no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// No listener of the port has this host. Answer 404.
    NoListener,
    /// No rule matches. Answer 404.
    NoRule,
    /// The host belongs to another listener than the one the connection was opened to. Answer 421.
    Misdirected,
    /// The host is none. Answer 400.
    BadHost,
    /// Servers read the path differently. Answer 400.
    BadPath(PathFault),
    /// The query has more parameters than are looked at. Answer 400.
    LongQuery,
}

impl Why {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::NoListener | Self::NoRule => 404,
            Self::Misdirected => 421,
            Self::BadHost | Self::BadPath(_) | Self::LongQuery => 400,
        }
    }
}

/// What a TLS connection that is handed on found. `None`: close it.
pub type TlsFound<'r> = Option<&'r Rule>;

impl Routing {
    /// Compiles every object that was read. Objects of other kinds are looked past, and gateways of other classes.
    pub fn build(objects: &[Object]) -> (Arc<Self>, Vec<ObjectStatus>) {
        let _ = objects;
        (Arc::new(Self::default()), Vec::new())
    }

    /// Those in force.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// One of them.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::try_from(id.0).ok()?)
    }

    /// A rule by its id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(usize::try_from(id.0).ok()?)
    }

    /// Every rule, in the order of their ids.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The listener of a port for a host, which is the server name of a TLS connection or the host of a request: the one
    /// with the most specific host name.
    pub fn listener_for(&self, port: u16, host: Option<&str>) -> Option<&Listener> {
        let _ = (port, host);
        None
    }

    /// The rule of a request. `listener` is that of the connection's server name, or with plain HTTP that of the request's host.
    pub fn find<'r>(&'r self, listener: ListenerId, asked: &Asked<'_>) -> Found<'r> {
        let _ = (listener, asked);
        Found::Nothing(Why::NoRule)
    }

    /// The rule of a TLS connection that is handed on.
    pub fn find_tls(&self, listener: ListenerId, server_name: &str) -> TlsFound<'_> {
        let _ = (listener, server_name);
        None
    }
}
