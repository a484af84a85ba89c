//! Every object by kind and name, and who may refer to whom.

use crate::rule::Resource;
use crds::{
    BackendTlsPolicy, Gateway, GatewayApi, GatewayClass, InferencePool, Object, Reference, ReferenceGrant,
    Route, Service, TlsSecret,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Group of the Gateway API's own kinds.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";
/// Group of InferencePool.
pub(crate) const INFERENCE_GROUP: &str = "inference.networking.k8s.io";

/// What a build looks things up in.
#[derive(Default)]
pub(crate) struct Known<'o> {
    pub(crate) classes: Vec<&'o GatewayClass>,
    pub(crate) gateways: Vec<&'o Gateway>,
    pub(crate) routes: Vec<&'o Route>,
    pub(crate) services: HashMap<Resource, &'o Service>,
    pub(crate) pools: HashMap<Resource, &'o InferencePool>,
    pub(crate) secrets: HashMap<Resource, Arc<TlsSecret>>,
    pub(crate) bundles: HashMap<Resource, Arc<str>>,
    /// By the Service that they are for.
    pub(crate) backend_tls: HashMap<Resource, Vec<&'o BackendTlsPolicy>>,
    /// By the namespace that grants.
    grants: HashMap<Arc<str>, Vec<&'o ReferenceGrant>>,
    namespaces: HashMap<Arc<str>, &'o BTreeMap<Arc<str>, Arc<str>>>,
}

impl<'o> Known<'o> {
    pub(crate) fn new(objects: &'o [Object]) -> Self {
        let mut known = Self::default();
        for object in objects {
            let meta = object.meta();
            let resource = Resource { namespace: meta.namespace.clone(), name: meta.name.clone() };
            match object {
                Object::Namespace(it) => {
                    known.namespaces.insert(resource.name, &it.meta.labels);
                }
                Object::Service(it) => {
                    known.services.insert(resource, it);
                }
                Object::GatewayApi(it) => known.add(it, resource),
                Object::Node(_)
                | Object::Pod(_)
                | Object::Workload(_)
                | Object::Ingress(_)
                | Object::InferencePolicy(_)
                | Object::DetectionPolicy(_)
                | Object::Containment(_)
                | Object::NetworkPolicy(_)
                | Object::ClusterPolicy(_)
                | Object::EgressPolicy(_)
                | Object::IdentitySlice(_)
                | Object::KeySecret(_) => {}
            }
        }
        known
    }

    fn add(&mut self, object: &'o GatewayApi, resource: Resource) {
        match object {
            GatewayApi::Class(it) => self.classes.push(it),
            GatewayApi::Gateway(it) => self.gateways.push(it),
            GatewayApi::Route(it) => self.routes.push(it),
            GatewayApi::Grant(it) if it.broken.is_none() => {
                self.grants.entry(resource.namespace).or_default().push(it);
            }
            GatewayApi::Pool(it) => {
                self.pools.insert(resource, it);
            }
            GatewayApi::Secret(it) => {
                self.secrets.insert(resource, Arc::new(it.clone()));
            }
            GatewayApi::CaBundle(it) => {
                self.bundles.insert(resource, it.certificates.clone());
            }
            GatewayApi::BackendTls(it) => {
                for (name, _) in &it.targets {
                    let service = Resource { namespace: resource.namespace.clone(), name: name.clone() };
                    self.backend_tls.entry(service).or_default().push(it);
                }
            }
            GatewayApi::Grant(_) | GatewayApi::Slice(_) => {}
        }
    }

    /// What a reference in an object of this namespace means.
    pub(crate) fn meant(reference: &Reference, namespace: &Arc<str>) -> Resource {
        let namespace = reference.namespace.as_ref().unwrap_or(namespace).clone();
        Resource { namespace, name: reference.name.clone() }
    }

    /// Whether an object of a kind of [`GROUP`] and of this namespace may refer so: within its namespace always, elsewhere
    /// by a grant there.
    pub(crate) fn may_refer(&self, kind: &str, namespace: &str, reference: &Reference) -> bool {
        let Some(to) = reference.namespace.as_ref().filter(|to| &***to != namespace) else { return true };
        self.grants.get(to).into_iter().flatten().any(|grant| {
            let from = |it: &crds::GrantFrom| {
                &*it.group == GROUP && &*it.kind == kind && &*it.namespace == namespace
            };
            let to = |it: &crds::GrantTo| {
                it.group == reference.group
                    && it.kind == reference.kind
                    && it.name.as_ref().is_none_or(|name| *name == reference.name)
            };
            grant.from.iter().any(from) && grant.to.iter().any(to)
        })
    }

    /// Whether a selector selects a namespace. One that was not read has the label that the API server gives every one.
    pub(crate) fn selects(&self, selector: &crds::LabelSelector, namespace: &Arc<str>) -> bool {
        match self.namespaces.get(namespace) {
            Some(labels) => selector.selects(labels),
            None => {
                selector.selects(&BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.clone())]))
            }
        }
    }
}
