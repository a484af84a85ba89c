//! The rules of one route, with everything found that they refer to.

use crate::backend_tls;
use crate::filter::{Cors, Filters, HeaderChange, Mirror, PathChange, Redirect, Rewrite};
use crate::known::{INFERENCE_GROUP, Known};
use crate::matching::{Age, Entry};
use crate::picker;
use crate::rule::{Backend, BackendTls, Fault, Resource, RouteRef, Rule, RuleId, Target, Timeouts};
use crate::session::Session;
use crate::status::Reason;
use crds::{PathModifier, Protocol, Reference, Route, RouteFilter, RouteKind, RouteRule};
use std::sync::Arc;

/// What a route becomes.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) rules: Vec<Rule>,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Why nothing of it can be applied.
    pub(crate) wrong: Option<Arc<str>>,
    /// The first thing that it refers to in vain.
    pub(crate) unresolved: Option<(Reason, String)>,
}

/// Resolves a route, whose rules get ids from `first` on.
pub(crate) fn resolve(known: &Known<'_>, route: &Route, first: u32) -> Resolved {
    let mut resolved = Resolved::default();
    let age = Age::of(&route.meta);
    for (index, written) in route.rules.iter().enumerate() {
        let Some(id) = u32::try_from(index).ok().and_then(|index| first.checked_add(index)) else { break };
        let rule = rule(known, route, (index, RuleId(id)), written, &mut resolved.unresolved);
        resolved.rules.push(rule);
        for (place, wanted) in written.matches.iter().enumerate() {
            match Entry::new(wanted, RuleId(id), &age, (index, place)) {
                Ok(entry) => resolved.entries.push(Arc::new(entry)),
                Err(why) => {
                    let why = format!("spec.rules[{index}].matches[{place}]: {why}");
                    resolved.wrong.get_or_insert(why.into());
                }
            }
        }
    }
    resolved
}

type Unresolved = Option<(Reason, String)>;

fn rule(
    known: &Known<'_>,
    route: &Route,
    (index, id): (usize, RuleId),
    written: &RouteRule,
    unresolved: &mut Unresolved,
) -> Rule {
    let mut find = |reference: &Reference| {
        let (target, tls) = match target(known, route, reference) {
            Ok(found) => found,
            Err(why) => {
                unresolved.get_or_insert_with(|| (Reason::InvalidCertificateRef, why));
                (Target::Nobody(Fault::Tls), None)
            }
        };
        if let Target::Nobody(fault) = target {
            unresolved.get_or_insert_with(|| told(route, fault, reference));
        }
        (target, tls)
    };
    let backends = written.backends.iter().map(|backend| {
        let (target, tls) = find(&backend.reference);
        let filters = filters(&backend.filters, &mut find);
        let picker = picker::of(known, &target);
        Backend { weight: backend.weight, target, filters, tls, picker }
    });
    let backends = backends.collect();
    Rule {
        id,
        route: RouteRef {
            kind: route.kind.as_str(),
            namespace: route.meta.namespace.clone(),
            name: route.meta.name.clone(),
            position: route.position.clone(),
            uid: route.meta.uid.clone(),
        },
        name: written.name.clone(),
        index,
        position: written.position.clone(),
        filters: filters(&written.filters, &mut find),
        backends,
        timeouts: Timeouts { request: written.request_timeout, backend_request: written.backend_timeout },
        session: Session::of(route, index, written),
    }
}

fn told(route: &Route, fault: Fault, reference: &Reference) -> (Reason, String) {
    let Resource { namespace, name } = Known::meant(reference, &route.meta.namespace);
    let shown = format!("{} {namespace}/{name}", reference.kind);
    match fault {
        Fault::Kind => (Reason::InvalidKind, format!("{shown}: a backend is a Service or an InferencePool")),
        Fault::Missing => {
            let port = reference.port.map_or("no port".to_owned(), |port| format!("port {port}"));
            (Reason::BackendNotFound, format!("{shown} with {port} is not there"))
        }
        Fault::NotPermitted => {
            let message = format!(
                "{shown}: no ReferenceGrant there lets {}s of {} refer to it",
                route.kind.as_str(),
                route.meta.namespace
            );
            (Reason::RefNotPermitted, message)
        }
        Fault::Tls => (Reason::InvalidCertificateRef, format!("{shown} cannot be asked by TLS")),
        Fault::Protocol => {
            (Reason::UnsupportedProtocol, format!("{shown} has a protocol that the gateway does not speak"))
        }
    }
}

/// Who is asked, and how it is secured. The error: it must be, and cannot.
fn target(
    known: &Known<'_>,
    route: &Route,
    reference: &Reference,
) -> Result<(Target, Option<Arc<BackendTls>>), String> {
    let nobody = |fault| Ok((Target::Nobody(fault), None));
    let is_service = reference.group.is_empty() && &*reference.kind == "Service";
    let is_pool = &*reference.group == INFERENCE_GROUP && &*reference.kind == "InferencePool";
    if !is_service && !is_pool {
        return nobody(Fault::Kind);
    }
    // Before it is looked for: who may not refer to a namespace learns nothing of what is in it.
    if !known.may_refer(route.kind.as_str(), &route.meta.namespace, reference) {
        return nobody(Fault::NotPermitted);
    }
    let meant = Known::meant(reference, &route.meta.namespace);
    if is_pool {
        let Some(pool) = known.pools.get(&meant).filter(|pool| pool.broken.is_none()) else {
            return nobody(Fault::Missing);
        };
        let is_h2 = pool.is_h2 || route.kind == RouteKind::Grpc;
        return Ok((Target::Pool { pool: meant, is_h2 }, None));
    }
    let (Some(service), Some(number)) = (known.services.get(&meant), reference.port) else {
        return nobody(Fault::Missing);
    };
    // A name elsewhere is nothing that a grant was asked about.
    if &*service.service_type == "ExternalName" {
        return nobody(Fault::Protocol);
    }
    let of_number = |port: &&crds::ServicePort| port.port == number && port.protocol == Protocol::Tcp;
    let Some(port) = service.ports.iter().find(of_number) else {
        return nobody(Fault::Missing);
    };
    // What is handed on is the client's own TLS.
    let tls = match route.kind {
        RouteKind::Tls => None,
        RouteKind::Http | RouteKind::Grpc => backend_tls::of(known, &meant, port)?,
    };
    // The registry's names of protocols have no case (RFC 6335, 5.1).
    let is_h2 = match &*port.app_protocol.to_ascii_lowercase() {
        "" | "http" | "kubernetes.io/ws" => false,
        "kubernetes.io/h2c" | "grpc" | "http2" => true,
        _ if route.kind == RouteKind::Tls => false,
        "https" if tls.is_some() => false,
        _ => return nobody(Fault::Protocol),
    };
    let is_h2 = is_h2 || route.kind == RouteKind::Grpc;
    Ok((Target::Service { service: meant, port: number, is_h2 }, tls))
}

fn filters(
    written: &[RouteFilter],
    find: &mut impl FnMut(&Reference) -> (Target, Option<Arc<BackendTls>>),
) -> Filters {
    let mut filters = Filters::default();
    for filter in written {
        match filter {
            RouteFilter::Request(change) => filters.request.push(header_change(change)),
            RouteFilter::Response(change) => filters.response.push(header_change(change)),
            RouteFilter::Mirror(mirror) => {
                let (target, tls) = find(&mirror.backend);
                filters.mirrors.push(Mirror { target, tls, of: mirror.of, part: mirror.part });
            }
            RouteFilter::Cors(cors) => filters.cors = Some(Arc::new(Cors(cors.clone()))),
            RouteFilter::Redirect(redirect) => {
                filters.redirect = Some(Redirect {
                    scheme: redirect.scheme.clone(),
                    host: redirect.host.clone(),
                    port: redirect.port,
                    path: redirect.path.as_ref().map(path_change),
                    status: redirect.status,
                });
            }
            RouteFilter::Rewrite(rewrite) => {
                let path = rewrite.path.as_ref().map(path_change);
                filters.rewrite = Some(Rewrite { host: rewrite.host.clone(), path });
            }
        }
    }
    filters
}

fn header_change(written: &crds::HeaderFilter) -> HeaderChange {
    HeaderChange { set: written.set.clone(), add: written.add.clone(), remove: written.remove.clone() }
}

fn path_change(written: &PathModifier) -> PathChange {
    match written {
        PathModifier::Full(text) => PathChange::Full(text.clone()),
        PathModifier::Prefix(text) => PathChange::Prefix(text.clone()),
    }
}
