//! One rule of a route, with everything resolved that it refers to.

use crate::filter::Filters;
use crate::session::Session;
use crds::Position;
use std::sync::Arc;
use std::time::Duration;

/// Names a rule within one [`crate::Routing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// A route, for policies that attach to it and for records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteRef {
    /// `HTTPRoute`, `GRPCRoute` or `TLSRoute`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Where it is written.
    pub position: Position,
    /// Its `uid`, which nobody who only sends requests knows. Empty: it has none, as in a folder.
    pub uid: Arc<str>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which.
    pub id: RuleId,
    /// Of which route.
    pub route: RouteRef,
    /// Its own name, if it has one: what `sectionName` of a policy's `targetRefs` means.
    pub name: Option<Arc<str>>,
    /// Which of the route's rules, from 0.
    pub index: usize,
    /// Where it is written.
    pub position: Position,
    /// What it changes.
    pub filters: Filters,
    /// Who answers. Empty with a redirect, or where none is written (answer 500).
    pub backends: Vec<Backend>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How requests of one client stay with one endpoint; `None`: they do not.
    pub session: Option<Session>,
}

impl Rule {
    /// Everybody to whom something of its requests is sent: backends, who gets copies, and who picks endpoints.
    pub fn ways(&self) -> impl Iterator<Item = Way<'_>> {
        let backends = self.backends.iter().map(|it| (&it.target, it.tls.as_ref()));
        let pickers = self.backends.iter().filter_map(|it| it.picker.as_ref());
        let filters = self.backends.iter().map(|it| &it.filters).chain([&self.filters]);
        let mirrors = filters.flat_map(|it| &it.mirrors).map(|it| (&it.target, it.tls.as_ref()));
        backends.chain(pickers.map(|it| (&it.target, it.tls.as_ref()))).chain(mirrors)
    }

    /// The backend for this number, evenly by weight over all numbers. `None`: nobody has a weight, answer 500.
    pub fn pick(&self, number: u64) -> Option<&Backend> {
        let all: u64 = self.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        let mut left = number.checked_rem(all)?;
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }
}

/// One of those who answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// How many of all requests, against the other weights.
    pub weight: u32,
    /// Who.
    pub target: Target,
    /// How the connection to it is secured; `None`: it is not.
    pub tls: Option<Arc<BackendTls>>,
    /// What is changed for this backend alone, after the rule's.
    pub filters: Filters,
    /// Who says which pod of an InferencePool answers; `None`: nobody has to.
    pub picker: Option<Picker>,
}

/// `endpointPickerRef` of an InferencePool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picker {
    /// Who is asked; nobody where it is not there.
    pub target: Target,
    /// How the connection to it is secured; `None`: it is not.
    pub tls: Option<Arc<BackendTls>>,
    /// Whether any pod answers where the picker does not (`FailOpen`).
    pub is_lenient: bool,
}

/// Somebody to whom something is sent, and how the connection is secured.
pub type Way<'r> = (&'r Target, Option<&'r Arc<BackendTls>>);

/// What the certificate of a backend must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendTls {
    /// For whom it is, and what is asked for in the hello.
    pub hostname: Arc<str>,
    /// Who may have certified it, in PEM. `None`: whom the system trusts.
    pub authorities: Option<Arc<str>>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A port of a Service.
    Service {
        /// Its namespace and name.
        service: Resource,
        /// Of the Service.
        port: u16,
        /// `appProtocol` says `kubernetes.io/h2c`, or the route is a GRPCRoute: HTTP/2 without TLS.
        is_h2: bool,
    },
    /// Pods of an InferencePool.
    Pool {
        /// Its namespace and name.
        pool: Resource,
        /// As of a Service.
        is_h2: bool,
    },
    /// Nobody: the share of requests that this backend has is answered 500.
    Nobody(Fault),
}

impl Target {
    /// Whether it is spoken to in HTTP/2 whatever a client speaks.
    #[must_use]
    pub fn is_h2(&self) -> bool {
        matches!(self, Self::Service { is_h2: true, .. } | Self::Pool { is_h2: true, .. })
    }
}

/// A namespace and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// Why a backend is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It is of a kind that is not known.
    Kind,
    /// It, or its port, is not there.
    Missing,
    /// It is in another namespace, and no ReferenceGrant there allows it.
    NotPermitted,
    /// It speaks what the gateway does not (`appProtocol`).
    Protocol,
    /// A BackendTLSPolicy of it cannot be applied: it must not be asked without.
    Tls,
}

/// How long a request may take; `None`: as long as the server allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeouts.request`: from the request's first byte to the answer's last.
    pub request: Option<Duration>,
    /// `timeouts.backendRequest`: one attempt to have an answer of a backend.
    pub backend_request: Option<Duration>,
}
