//! Routes -> the listeners they attach to, and what their status says.

use crate::host::{HostSet, intersect};
use crate::known::{GROUP, Known};
use crate::listen::{Draft, Ours};
use crate::matching::Age;
use crate::resolve::Resolved;
use crate::rule::Resource;
use crate::status::{Condition, ConditionKind, ObjectStatus, ParentStatus, Reason, Status};
use crds::{AllowedFrom, ObjectName, Reference, Route, RouteKind};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

type Wrong = (Reason, String);

/// A listener by its gateway's place and its own.
pub(crate) type Place = (usize, usize);

/// Most matches in force, each counted once for every listener and host name it is for.
pub const MOST_IN_FORCE: usize = 1_000_000;

/// What is attached so far.
#[derive(Default)]
pub(crate) struct Attached {
    /// Host names of routes of each kind on each listener: HTTPRoutes and GRPCRoutes do not share one.
    hosts: HashMap<(Place, RouteKind), HostSet>,
    in_force: usize,
}

/// Gateways of ours by name, and those of others.
pub(crate) struct Parents {
    ours: HashMap<Resource, usize>,
    others: BTreeSet<Resource>,
}

impl Parents {
    pub(crate) fn new(known: &Known<'_>, ours: &[Ours<'_>]) -> Self {
        let resource =
            |meta: &crds::ObjectMeta| Resource { namespace: meta.namespace.clone(), name: meta.name.clone() };
        let ours: HashMap<Resource, usize> =
            ours.iter().enumerate().map(|(at, ours)| (resource(&ours.gateway.meta), at)).collect();
        let all = known.gateways.iter().map(|gateway| resource(&gateway.meta));
        let others = all.filter(|gateway| !ours.contains_key(gateway)).collect();
        Self { ours, others }
    }
}

/// Every route that may be ours, the oldest first: where two exclude each other, it wins.
pub(crate) fn in_order<'o>(known: &Known<'o>) -> Vec<&'o Route> {
    let mut routes = known.routes.clone();
    routes.sort_by_cached_key(|route| (Age::of(&route.meta), route.kind));
    routes
}

/// Attaches a route. Gives the listeners that have it, and its status; no status if no parent is ours.
pub(crate) fn attach(
    known: &Known<'_>,
    ours: &mut [Ours<'_>],
    parents: &Parents,
    attached: &mut Attached,
    route: &Route,
    resolved: &Resolved,
) -> (BTreeSet<Place>, Option<ObjectStatus>) {
    let (mut places, mut statuses) = (BTreeSet::new(), Vec::new());
    for (index, parent) in route.parents.iter().enumerate() {
        let meant = Known::meant(parent, &route.meta.namespace);
        if &*parent.group != GROUP || &*parent.kind != "Gateway" || parents.others.contains(&meant) {
            continue;
        }
        let found = match (&route.broken, &resolved.wrong, parents.ours.get(&meant)) {
            (_, _, None) => {
                let message = format!("there is no Gateway {}/{}", meant.namespace, meant.name);
                Err((Reason::NoMatchingParent, message))
            }
            (Some(why), _, _) | (None, Some(why), _) => Err((Reason::UnsupportedValue, why.to_string())),
            (None, None, Some(at)) => to_gateway(known, ours, *at, attached, route, parent),
        };
        let wrong = match found {
            Ok(found) => {
                places.extend(found);
                None
            }
            Err(wrong) => Some(wrong),
        };
        statuses.push(ParentStatus {
            index,
            namespace: meant.namespace,
            name: meant.name,
            section: parent.section.clone(),
            port: parent.port,
            conditions: vec![
                Condition::of(ConditionKind::Accepted, wrong),
                Condition::of(ConditionKind::ResolvedRefs, resolved.unresolved.clone()),
            ],
        });
    }
    let cost = resolved.entries.len() * hostnames(route).count() * places.len();
    if attached.in_force + cost > MOST_IN_FORCE {
        places.clear();
        refuse(&mut statuses);
    } else {
        attached.in_force += cost;
    }
    for (gateway, listener) in &places {
        if let Some(draft) = ours.get_mut(*gateway).and_then(|ours| ours.listeners.get_mut(*listener)) {
            draft.attached += 1;
        }
        let hosts = attached.hosts.entry(((*gateway, *listener), route.kind)).or_default();
        hostnames(route).for_each(|host| hosts.insert(host));
    }
    let status = (!statuses.is_empty()).then(|| ObjectStatus {
        object: ObjectName {
            kind: route.kind.as_str().into(),
            namespace: route.meta.namespace.clone(),
            name: route.meta.name.clone(),
        },
        position: route.position.clone(),
        generation: route.meta.generation,
        status: Status::Route(statuses),
    });
    (places, status)
}

fn refuse(statuses: &mut [ParentStatus]) {
    let message = format!(
        "older routes have all {MOST_IN_FORCE} matches (times listeners and host names) that there may be: \
         attach it to fewer listeners, or write fewer host names and matches"
    );
    for accepted in statuses.iter_mut().filter_map(|status| status.conditions.first_mut()) {
        if accepted.holds {
            *accepted = Condition::no(ConditionKind::Accepted, Reason::UnsupportedValue, message.clone());
        }
    }
}

/// Its host names, or that it has any.
pub(crate) fn hostnames(route: &Route) -> impl Iterator<Item = Option<&str>> {
    let any = route.hostnames.is_empty().then_some(None);
    any.into_iter().chain(route.hostnames.iter().map(|host| Some(&**host)))
}

fn to_gateway(
    known: &Known<'_>,
    ours: &[Ours<'_>],
    at: usize,
    attached: &Attached,
    route: &Route,
    parent: &Reference,
) -> Result<Vec<Place>, Wrong> {
    let Some(gateway) = ours.get(at) else { return Ok(Vec::new()) };
    let mut left: Vec<(usize, &Draft<'_>)> = gateway.listeners.iter().enumerate().collect();
    left.retain(|(_, draft)| is_meant(draft, parent));
    if left.is_empty() {
        let message = "no listener of the Gateway has this sectionName and port";
        return Err((Reason::NoMatchingParent, message.into()));
    }
    left.retain(|(_, draft)| allows(known, &gateway.gateway.meta.namespace, draft, route));
    if left.is_empty() {
        let message = format!(
            "allowedRoutes of the listeners take no {} of namespace {}",
            route.kind.as_str(),
            route.meta.namespace
        );
        return Err((Reason::NotAllowedByListeners, message));
    }
    left.retain(|(_, draft)| {
        let listener = draft.written.hostname.as_deref();
        hostnames(route).any(|host| host.is_none_or(|host| intersect(listener, host)))
    });
    if left.is_empty() {
        let message = "no listener has one of the route's host names";
        return Err((Reason::NoMatchingListenerHostname, message.into()));
    }
    left.retain(|(listener, _)| !is_excluded(attached, (at, *listener), route));
    if left.is_empty() {
        let message = "an older route of the other kind (HTTPRoute, GRPCRoute) has a host name of this one here: \
                       give each its own";
        return Err((Reason::NotAllowedByListeners, message.into()));
    }
    Ok(left.into_iter().map(|(listener, _)| (at, listener)).collect())
}

fn is_meant(draft: &Draft<'_>, parent: &Reference) -> bool {
    parent.section.as_ref().is_none_or(|section| *section == draft.written.name)
        && parent.port.is_none_or(|port| port == draft.written.port)
}

fn allows(known: &Known<'_>, gateway: &Arc<str>, draft: &Draft<'_>, route: &Route) -> bool {
    let namespace = &route.meta.namespace;
    let from = match &draft.written.from {
        AllowedFrom::All => true,
        AllowedFrom::Same => namespace == gateway,
        AllowedFrom::Selector(selector) => known.selects(selector, namespace),
        AllowedFrom::None => false,
    };
    from && draft.kinds.contains(&route.kind.as_str())
}

fn is_excluded(attached: &Attached, place: Place, route: &Route) -> bool {
    let other = match route.kind {
        RouteKind::Http => RouteKind::Grpc,
        RouteKind::Grpc => RouteKind::Http,
        RouteKind::Tls => return false,
    };
    let theirs = attached.hosts.get(&(place, other));
    theirs.is_some_and(|theirs| hostnames(route).any(|host| theirs.meets(host)))
}
