//! What the status of InferencePools and BackendTLSPolicies says, for each Gateway of ours that comes to them by a route.
//!
//! Guarantees: a Gateway is named only where one of its routes refers to the pool or Service and may; an object that none comes to
//! says so by an empty list.

use crate::backend_tls;
use crate::known::{INFERENCE_GROUP, Known};
use crate::listen::Ours;
use crate::picker;
use crate::rule::Resource;
use crate::status::{Condition, ConditionKind, ObjectStatus, Reason, Status, UserStatus};
use crds::{
    BackendTlsPolicy, InferencePool, ObjectMeta, ObjectName, Position, Reference, Route, RouteFilter,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Gateways, and whether one of their routes is accepted.
type Users = BTreeMap<Resource, bool>;

/// Who comes to what.
#[derive(Default)]
struct Used {
    services: HashMap<Resource, Users>,
    pools: HashMap<Resource, Users>,
}

/// Of every pool and policy that was read. `routes`: what was said of routes.
pub(crate) fn statuses(known: &Known<'_>, routes: &[ObjectStatus], ours: &[Ours<'_>]) -> Vec<ObjectStatus> {
    let used = Used::of(known, routes, ours);
    let mut pools: Vec<&InferencePool> = known.pools.values().copied().collect();
    pools.sort_by_key(|it| (&it.meta.namespace, &it.meta.name));
    let pools = pools.into_iter().map(|it| {
        let users = used.pools.get(&resource(&it.meta)).into_iter().flatten();
        let said = users.map(|(gateway, accepts)| UserStatus {
            gateway: gateway.clone(),
            conditions: pool(known, it, *accepts),
        });
        status("InferencePool", (&it.meta, &it.position), said.collect())
    });
    let by_name = known.backend_tls.values().flatten().copied();
    let policies: BTreeMap<Resource, &BackendTlsPolicy> =
        by_name.map(|it| (resource(&it.meta), it)).collect();
    let policies = policies.into_values().map(|it| {
        let services = it
            .targets
            .iter()
            .map(|(name, _)| Resource { namespace: it.meta.namespace.clone(), name: name.clone() });
        let users = services.filter_map(|service| used.services.get(&service)).flatten();
        let gateways: BTreeSet<&Resource> =
            users.filter(|(_, accepts)| **accepts).map(|(it, _)| it).collect();
        let conditions = policy(known, it);
        let said = gateways
            .into_iter()
            .map(|gateway| UserStatus { gateway: gateway.clone(), conditions: conditions.clone() });
        status("BackendTLSPolicy", (&it.meta, &it.position), said.collect())
    });
    pools.chain(policies).collect()
}

fn resource(meta: &ObjectMeta) -> Resource {
    Resource { namespace: meta.namespace.clone(), name: meta.name.clone() }
}

fn status(kind: &str, (meta, position): (&ObjectMeta, &Position), users: Vec<UserStatus>) -> ObjectStatus {
    let object = ObjectName { kind: kind.into(), namespace: meta.namespace.clone(), name: meta.name.clone() };
    let (position, generation) = (position.clone(), meta.generation);
    ObjectStatus { object, position, generation, status: Status::Used(users) }
}

impl Used {
    fn of(known: &Known<'_>, routes: &[ObjectStatus], ours: &[Ours<'_>]) -> Self {
        let gateways: BTreeSet<Resource> = ours.iter().map(|it| resource(&it.gateway.meta)).collect();
        let mut said = HashMap::new();
        for status in routes {
            if let Status::Route(parents) = &status.status {
                let object = &status.object;
                said.insert((&*object.kind, &*object.namespace, &*object.name), parents);
            }
        }
        let mut used = Self::default();
        for route in &known.routes {
            let name = (route.kind.as_str(), &*route.meta.namespace, &*route.meta.name);
            let parents = said.get(&name).copied().into_iter().flatten();
            for parent in parents {
                let gateway = Resource { namespace: parent.namespace.clone(), name: parent.name.clone() };
                if gateways.contains(&gateway) {
                    let is_accepted = |it: &Condition| it.kind == ConditionKind::Accepted && it.holds;
                    used.add(known, route, &gateway, parent.conditions.iter().any(is_accepted));
                }
            }
        }
        used
    }

    fn add(&mut self, known: &Known<'_>, route: &Route, gateway: &Resource, accepts: bool) {
        let note = |users: &mut HashMap<Resource, Users>, to: Resource| {
            *users.entry(to).or_default().entry(gateway.clone()).or_default() |= accepts;
        };
        for reference in references(route) {
            if !known.may_refer(route.kind.as_str(), &route.meta.namespace, reference) {
                continue;
            }
            let meant = Known::meant(reference, &route.meta.namespace);
            match (&*reference.group, &*reference.kind) {
                ("", "Service") => note(&mut self.services, meant),
                (INFERENCE_GROUP, "InferencePool") => {
                    let picker = known.pools.get(&meant).and_then(|pool| pool.picker.as_ref());
                    if let Some(picker) = picker {
                        let service = Known::meant(&picker.reference, &meant.namespace);
                        note(&mut self.services, service);
                    }
                    note(&mut self.pools, meant);
                }
                _ => {}
            }
        }
    }
}

/// Backends of a route, and those who get copies.
fn references(route: &Route) -> impl Iterator<Item = &Reference> {
    let backends = route.rules.iter().flat_map(|rule| &rule.backends);
    let own = route.rules.iter().flat_map(|rule| &rule.filters);
    let filters = own.chain(backends.clone().flat_map(|backend| &backend.filters));
    let mirrors = filters.filter_map(|filter| match filter {
        RouteFilter::Mirror(mirror) => Some(&mirror.backend),
        RouteFilter::Request(_)
        | RouteFilter::Response(_)
        | RouteFilter::Cors(_)
        | RouteFilter::Redirect(_)
        | RouteFilter::Rewrite(_) => None,
    });
    backends.map(|backend| &backend.reference).chain(mirrors)
}

fn pool(known: &Known<'_>, pool: &InferencePool, accepts: bool) -> Vec<Condition> {
    let wrong = match &pool.broken {
        Some(why) => Some((Reason::UnsupportedValue, why.to_string())),
        None if !accepts => {
            let why = "no route of this Gateway that leads here is accepted; its status says why";
            Some((Reason::HttpRouteNotAccepted, why.to_owned()))
        }
        None => None,
    };
    let picker = picker::find(known, pool).and_then(Result::err);
    let picker = picker.map(|(_, why)| (Reason::InvalidExtensionRef, why));
    vec![Condition::of(ConditionKind::Accepted, wrong), Condition::of(ConditionKind::ResolvedRefs, picker)]
}

fn policy(known: &Known<'_>, policy: &BackendTlsPolicy) -> Vec<Condition> {
    let unresolved = backend_tls::authorities(known, policy).err();
    let has_port = |(name, section): &(std::sync::Arc<str>, Option<std::sync::Arc<str>>)| {
        let service = Resource { namespace: policy.meta.namespace.clone(), name: name.clone() };
        let service = known.services.get(&service);
        service.is_some_and(|it| section.is_none() || it.ports.iter().any(|port| port.name == *section))
    };
    let wrong = if let Some(why) = &policy.broken {
        Some((Reason::Invalid, why.to_string()))
    } else if let Some((_, why)) = &unresolved {
        Some((Reason::NoValidCaCertificate, why.clone()))
    } else if !policy.targets.iter().any(has_port) {
        Some((Reason::TargetNotFound, "no Service has a port of the name that sectionName says".to_owned()))
    } else {
        let other = backend_tls::instead_of(known, policy);
        other.map(|other| {
            let name = &other.meta.name;
            (
                Reason::Conflicted,
                format!("BackendTLSPolicy {name} is for the same, and is older ({})", other.position),
            )
        })
    };
    vec![
        Condition::of(ConditionKind::Accepted, wrong),
        Condition::of(ConditionKind::ResolvedRefs, unresolved),
    ]
}
