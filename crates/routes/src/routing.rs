//! Where a request goes: listener, host, path, and the rest of its head.

use crate::asked::{Asked, PathFault};
use crate::attach::{self, Attached, Parents};
use crate::host::{self, Hosts};
use crate::known::Known;
use crate::listen::{self, Ours};
use crate::matching::Table;
use crate::path::Path;
use crate::query::Query;
use crate::resolve::{Resolved, resolve};
use crate::rule::{Resource, Rule, RuleId};
use crate::status::ObjectStatus;
use crate::used;
use crds::{Object, Position, Route};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Everything that requests are routed by. Immutable: a change is another one.
#[derive(Debug, Default)]
pub struct Routing {
    listeners: Vec<Listener>,
    rules: Vec<Rule>,
    /// Of each port, by host name.
    ports: HashMap<u16, Hosts<Claim>>,
    /// Of each listener, by the host names that its routes are written with.
    tables: Vec<Hosts<Table>>,
}

/// Whose a host name of a port is.
#[derive(Clone, Copy, Debug, Default)]
enum Claim {
    /// Nobody's: a less specific one may have it.
    #[default]
    Free,
    /// That of a listener without a certificate that can be used. No other has it, whose policies would be other ones.
    Closed,
    Open(ListenerId),
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
        let known = Known::new(objects);
        let (mut ours, mut statuses) = listen::gateways(&known);
        let (mut routing, ids) = Self::listening(&ours);
        let parents = Parents::new(&known, &ours);
        let mut attached = Attached::default();
        for route in attach::in_order(&known) {
            let first = u32::try_from(routing.rules.len()).unwrap_or(u32::MAX);
            let resolved = resolve(&known, route, first);
            let (places, status) =
                attach::attach(&known, &mut ours, &parents, &mut attached, route, &resolved);
            statuses.extend(status);
            let listeners: BTreeSet<ListenerId> =
                places.iter().filter_map(|place| ids.get(place).copied()).collect();
            if !listeners.is_empty() {
                routing.add(route, resolved, &listeners);
            }
        }
        routing.tables.iter_mut().flat_map(Hosts::values_mut).for_each(Table::sort);
        statuses.extend(used::statuses(&known, &statuses, &ours));
        statuses.extend(ours.into_iter().map(listen::status));
        (Arc::new(routing), statuses)
    }

    /// With the listeners that are in force, and the ids that they have.
    fn listening(ours: &[Ours<'_>]) -> (Self, HashMap<attach::Place, ListenerId>) {
        let (mut routing, mut ids) = (Self::default(), HashMap::new());
        for (at, gateway) in ours.iter().enumerate() {
            for (place, draft) in gateway.listeners.iter().enumerate() {
                if gateway.lacks_certificate(draft) {
                    let hosts = routing.ports.entry(draft.written.port).or_default();
                    *hosts.entry(draft.written.hostname.as_deref()) = Claim::Closed;
                }
                let (true, Some(protocol)) = (gateway.is_in_force(draft), draft.protocol) else { continue };
                let Ok(id) = u32::try_from(routing.listeners.len()).map(ListenerId) else { continue };
                let meta = &gateway.gateway.meta;
                ids.insert((at, place), id);
                routing.listeners.push(Listener {
                    id,
                    gateway: Resource { namespace: meta.namespace.clone(), name: meta.name.clone() },
                    name: draft.written.name.clone(),
                    position: draft.written.position.clone(),
                    port: draft.written.port,
                    protocol,
                    hostname: draft.written.hostname.clone(),
                    tls: draft.tls.clone(),
                });
                routing.tables.push(Hosts::default());
                let hosts = routing.ports.entry(draft.written.port).or_default();
                *hosts.entry(draft.written.hostname.as_deref()) = Claim::Open(id);
            }
        }
        (routing, ids)
    }

    fn add(&mut self, route: &Route, resolved: Resolved, listeners: &BTreeSet<ListenerId>) {
        for id in listeners {
            let Ok(at) = usize::try_from(id.0) else { continue };
            let (Some(listener), Some(hosts)) = (self.listeners.get(at), self.tables.get_mut(at)) else {
                continue;
            };
            for name in attach::hostnames(route) {
                if name.is_some_and(|name| !host::intersect(listener.hostname.as_deref(), name)) {
                    continue;
                }
                let table = hosts.entry(name);
                resolved.entries.iter().for_each(|entry| table.insert(entry));
            }
        }
        self.rules.extend(resolved.rules);
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
    /// with the most specific host name. Without a host, the one that has any.
    pub fn listener_for(&self, port: u16, host: Option<&str>) -> Option<&Listener> {
        let host = match host {
            Some(host) => Some(host::read(host)?),
            None => None,
        };
        self.of_host(port, host.as_deref())
    }

    fn of_host(&self, port: u16, host: Option<&str>) -> Option<&Listener> {
        match self.ports.get(&port)?.matching(host).find(|claim| !matches!(claim, Claim::Free))? {
            Claim::Open(id) => self.listener(*id),
            Claim::Closed | Claim::Free => None,
        }
    }

    /// The rule of a request. `listener` is that of the connection's server name, or with plain HTTP that of the request's host.
    pub fn find<'r>(&'r self, listener: ListenerId, asked: &Asked<'_>) -> Found<'r> {
        match self.look(listener, asked) {
            Ok((rule, matched)) => Found::Rule(rule, matched),
            Err(why) => Found::Nothing(why),
        }
    }

    fn look(&self, id: ListenerId, asked: &Asked<'_>) -> Result<(&Rule, Matched), Why> {
        let listener = self.listener(id).ok_or(Why::NoListener)?;
        let host = host::read(asked.host).ok_or(Why::BadHost)?;
        // A request belongs to the listener of its host alone, whatever the connection was opened to.
        if self.of_host(listener.port, Some(&host)).map(|own| own.id) != Some(id) {
            return Err(match listener.protocol {
                ListenerProtocol::Http => Why::NoListener,
                ListenerProtocol::Https | ListenerProtocol::Tls => Why::Misdirected,
            });
        }
        let path = Path::read(asked.path).map_err(Why::BadPath)?;
        let query = Query::new(asked.query);
        for table in self.tables_of(id).flat_map(|hosts| hosts.matching(Some(&host))) {
            if let Some((rule, elements)) = table.find(&path, asked, &query)? {
                let prefix = elements.map(|elements| path.raw_length(elements));
                let rule = self.rule(rule).ok_or(Why::NoRule)?;
                return Ok((rule, Matched { listener: id, prefix }));
            }
        }
        Err(Why::NoRule)
    }

    fn tables_of(&self, id: ListenerId) -> impl Iterator<Item = &Hosts<Table>> {
        usize::try_from(id.0).ok().and_then(|at| self.tables.get(at)).into_iter()
    }

    /// The rule of a TLS connection that is handed on.
    pub fn find_tls(&self, listener: ListenerId, server_name: &str) -> TlsFound<'_> {
        let own = self.listener(listener).filter(|own| own.protocol == ListenerProtocol::Tls)?;
        let host = host::read(server_name)?;
        if self.of_host(own.port, Some(&host)).map(|own| own.id) != Some(listener) {
            return None;
        }
        let table = self.tables_of(listener).flat_map(|hosts| hosts.matching(Some(&host))).next()?;
        self.rule(table.first()?)
    }
}
