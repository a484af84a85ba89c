//! How Gateways and what is attached to them stand -> what the status of each is to say.
//!
//! Enters: the objects, what `routes` and the readers say of them, and what the gateway could not put in force. Leaves:
//! what the status of each object that is ours is to say ([`Stands`]). Guarantees: nothing is said to be in force that the
//! gateway does not serve; of a route, nothing is said for a Gateway that is not ours. Does not: write anything anywhere.

use super::policies;
use super::serves::Serves;
use crate::report::Condition;
use admit::Policies;
use crds::{Diagnostic, Object, ObjectName};
use routes::{ListenerStatus, ObjectStatus, ParentStatus, Resource, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most addresses that a Gateway's status has room for.
const MOST_ADDRESSES: usize = 16;

/// What the gateway could not put in force although it is written well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Why nothing of the newest is in force.
    pub whole: Option<String>,
    /// Listeners that are not served.
    pub listeners: Vec<Unserved>,
    /// Policies that cannot be enforced, and why.
    pub policies: Vec<(ObjectName, String)>,
}

/// A listener that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Its Gateway.
    pub gateway: Resource,
    /// Its name.
    pub name: Arc<str>,
    /// What it has not.
    pub lacks: Lacks,
}

/// What a listener would need to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// Its port.
    Port,
    /// A certificate that can be used.
    Certificate,
}

/// What there is to say of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// `metadata.generation` that it is about.
    pub(crate) generation: i64,
    /// `metadata.creationTimestamp`: of this object and no later one.
    pub(crate) created: Arc<str>,
    pub(crate) says: Says,
}

/// What a status says, by kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Says {
    Class(Vec<Condition>),
    Policy(Vec<Condition>),
    /// `addresses`: type and value of each.
    Gateway {
        conditions: Vec<Condition>,
        addresses: Vec<(&'static str, Arc<str>)>,
        listeners: Vec<Listener>,
    },
    /// For some of its parents, by their places in `spec.parentRefs`.
    Route(Vec<(usize, Vec<Condition>)>),
    /// Of an InferencePool, for each Gateway that comes to it.
    Pool(Vec<(Resource, Vec<Condition>)>),
    /// Of a BackendTLSPolicy, for each Gateway that comes to it.
    BackendTls(Vec<(Resource, Vec<Condition>)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) attached: usize,
    pub(crate) conditions: Vec<Condition>,
}

/// What the status of every object that is ours is to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stands {
    pub(crate) wanted: BTreeMap<ObjectName, Wanted>,
    /// The Gateways that are spoken for.
    pub(crate) serves: Serves,
}

/// What is known when a gateway has read all and put in force what it can.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Every object.
    pub objects: &'a [Object],
    /// What is wrong with them.
    pub diagnostics: &'a [&'a Diagnostic],
    /// What routing says of Gateways and routes.
    pub statuses: &'a [ObjectStatus],
    /// Every policy.
    pub policies: &'a Policies,
    /// What is not in force all the same.
    pub faults: &'a Faults,
    /// Namespace and name of the Service that leads here, whose addresses Gateways have.
    pub service: Option<&'a Resource>,
    /// The Gateways that are served: nothing is said for others.
    pub serves: &'a Serves,
}

impl Stands {
    /// What is to be said.
    pub fn new(told: &Told<'_>) -> Self {
        let addresses = told.service.map(|service| addresses(told.objects, service));
        let ours: BTreeSet<(&str, &str)> = told.statuses.iter().filter_map(gateway_of).collect();
        let mut wanted = BTreeMap::new();
        for status in told.statuses {
            let says = match &status.status {
                Status::Class(conditions) => Says::Class(conditions.iter().map(condition).collect()),
                Status::Gateway { conditions, listeners } => {
                    let own: Vec<&Unserved> =
                        told.faults.listeners.iter().filter(|it| is_of(it, status)).collect();
                    gateway(conditions, listeners, &own, told.faults.whole.as_deref(), addresses.as_deref())
                }
                Status::Route(parents) => Says::Route(route(parents, &ours)),
                Status::Used(users) => {
                    let of = |it: &routes::UserStatus| {
                        (it.gateway.clone(), it.conditions.iter().map(condition).collect())
                    };
                    let users = users.iter().map(of).collect();
                    match &*status.object.kind {
                        "InferencePool" => Says::Pool(users),
                        _ => Says::BackendTls(users),
                    }
                }
            };
            let created = "".into();
            wanted.insert(status.object.clone(), Wanted { generation: status.generation, created, says });
        }
        for (object, generation, conditions) in policies::conditions(told) {
            let says = Says::Policy(conditions);
            wanted.insert(object, Wanted { generation, created: "".into(), says });
        }
        for object in told.objects {
            let meta = object.meta();
            let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
            let name = ObjectName { kind: object.kind().into(), namespace, name };
            if let Some(wanted) = wanted.get_mut(&name) {
                wanted.created = meta.created.clone();
            }
        }
        Self { wanted, serves: told.serves.clone() }
    }
}

fn gateway_of(status: &ObjectStatus) -> Option<(&str, &str)> {
    let is_one = matches!(status.status, Status::Gateway { .. });
    is_one.then_some((&*status.object.namespace, &*status.object.name))
}

fn is_of(unserved: &Unserved, status: &ObjectStatus) -> bool {
    (&unserved.gateway.namespace, &unserved.gateway.name) == (&status.object.namespace, &status.object.name)
}

fn condition(of: &routes::Condition) -> Condition {
    let (kind, reason) = (of.kind.as_str(), of.reason.as_str());
    Condition { kind, holds: of.holds, reason, message: of.message.clone() }
}

/// Puts a condition in the place of the one of its kind.
fn put(conditions: &mut [Condition], kind: &'static str, holds: bool, reason: &'static str, message: &str) {
    if let Some(condition) = conditions.iter_mut().find(|it| it.kind == kind) {
        *condition = Condition { kind, holds, reason, message: message.to_owned() };
    }
}

fn gateway(
    conditions: &[routes::Condition],
    listeners: &[ListenerStatus],
    unserved: &[&Unserved],
    whole: Option<&str>,
    addresses: Option<&[(&'static str, Arc<str>)]>,
) -> Says {
    let mut conditions: Vec<_> = conditions.iter().map(condition).collect();
    let listeners: Vec<_> = listeners.iter().map(|it| listener(it, unserved, whole)).collect();
    let holds = |of: &[Condition], kind: &str| of.iter().any(|it| it.kind == kind && it.holds);
    let served = listeners.iter().filter(|it| holds(&it.conditions, "Programmed")).count();
    // What is written wrong was said by whoever read it; here comes what the process cannot do.
    if holds(&conditions, "Accepted") && served < listeners.len() {
        let some = format!(
            "{} of {} listeners are not in force; their conditions say why",
            listeners.len() - served,
            listeners.len()
        );
        put(&mut conditions, "Accepted", true, "ListenersNotValid", &some);
        if served == 0 {
            put(&mut conditions, "Programmed", false, "Invalid", &some);
        }
    }
    if let Some(why) = whole {
        put(&mut conditions, "Programmed", false, "Invalid", why);
    } else if holds(&conditions, "Programmed") && addresses.is_some_and(<[_]>::is_empty) {
        let why = "the Service that leads to the gateway has no address yet";
        put(&mut conditions, "Programmed", false, "AddressNotAssigned", why);
    }
    Says::Gateway { conditions, addresses: addresses.unwrap_or_default().to_vec(), listeners }
}

fn listener(status: &ListenerStatus, unserved: &[&Unserved], whole: Option<&str>) -> Listener {
    let mut conditions: Vec<_> = status.conditions.iter().map(condition).collect();
    match unserved.iter().find(|it| it.name == status.name).map(|it| it.lacks) {
        Some(Lacks::Port) => {
            let why = "the gateway cannot listen on this port: another process has it, or it may not \
                       (see --port for ports below 1024)";
            put(&mut conditions, "Accepted", false, "PortUnavailable", why);
            put(&mut conditions, "Programmed", false, "Invalid", why);
        }
        Some(Lacks::Certificate) => {
            let why = "no certificate of its Secrets can be used; the gateway prints why";
            put(&mut conditions, "ResolvedRefs", false, "InvalidCertificateRef", why);
            put(&mut conditions, "Programmed", false, "Invalid", why);
        }
        None => {}
    }
    if let Some(why) = whole {
        put(&mut conditions, "Programmed", false, "Invalid", why);
    }
    Listener {
        name: status.name.clone(),
        kinds: status.supported_kinds.clone(),
        attached: status.attached_routes,
        conditions,
    }
}

/// A Gateway that is not there, or is of another class, may be another controller's to speak for.
fn route(parents: &[ParentStatus], ours: &BTreeSet<(&str, &str)>) -> Vec<(usize, Vec<Condition>)> {
    let is_ours = |it: &&ParentStatus| ours.contains(&(&*it.namespace, &*it.name));
    let own = parents.iter().filter(is_ours);
    own.map(|it| (it.index, it.conditions.iter().map(condition).collect())).collect()
}

/// Where clients reach a Service: its load balancer's, or without one its own.
fn addresses(objects: &[Object], service: &Resource) -> Vec<(&'static str, Arc<str>)> {
    let found = objects.iter().find_map(|object| {
        let Object::Service(it) = object else { return None };
        let is_it = (&it.meta.namespace, &it.meta.name) == (&service.namespace, &service.name);
        is_it.then_some(it)
    });
    let Some(found) = found else { return Vec::new() };
    let given = found.balancer_addresses.iter().map(|address| match address.parse::<std::net::IpAddr>() {
        Ok(_) => ("IPAddress", address.clone()),
        Err(_) => ("Hostname", address.clone()),
    });
    let own = found.cluster_addresses.iter().map(|address| ("IPAddress", address.to_string().into()));
    let is_inside = &*found.service_type != "LoadBalancer";
    given.chain(own.filter(|_| is_inside)).take(MOST_ADDRESSES).collect()
}
