//! The kinds of the Gateway API (<https://gateway-api.sigs.k8s.io/reference/spec/>), and those that they refer to.
//!
//! Guarantees: an object of which anything is wrong, or which asks for something that Cofferdam does not do, says so in
//! `broken`, and is to be used for nothing but its status.

mod backend_tls;
mod behind;
mod filter;
mod gateway;
mod grant;
mod matches;
mod reference;
mod route;
mod secret;
mod session;

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{ObjectMeta, short};

pub use backend_tls::{BackendTlsPolicy, CaBundle};
pub use behind::{Endpoint, EndpointSlice, IMPORTED_SERVICE, InferencePool, PickerRef};
pub use filter::{
    CorsFilter, CorsOrigin, HeaderFilter, MirrorFilter, PathModifier, RedirectFilter, RewriteFilter,
    RouteFilter, read_origin,
};
pub use gateway::{AllowedFrom, Gateway, GatewayClass, GatewayListener, ListenerTls};
pub use grant::{GrantFrom, GrantTo, ReferenceGrant};
pub use matches::{PathMatch, RouteMatch, TextMatch};
pub use reference::Reference;
pub use route::{Route, RouteBackend, RouteKind, RouteRule};
pub use secret::{Hidden, TlsSecret};
pub(crate) use secret::{clear, encoded};
pub use session::{SessionKind, SessionPersistence};

/// Group of the Gateway API's own kinds.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";
/// Group of InferencePool.
pub(crate) const INFERENCE_GROUP: &str = "inference.networking.k8s.io";

/// One object of the Gateway API, or one that these refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayApi {
    /// `gateway.networking.k8s.io`
    Class(GatewayClass),
    /// `gateway.networking.k8s.io`
    Gateway(Gateway),
    /// HTTPRoute, GRPCRoute or TLSRoute.
    Route(Route),
    /// `gateway.networking.k8s.io`
    Grant(ReferenceGrant),
    /// `discovery.k8s.io/v1`
    Slice(EndpointSlice),
    /// `inference.networking.k8s.io/v1`
    Pool(InferencePool),
    /// `v1`, of type `kubernetes.io/tls`.
    Secret(TlsSecret),
    /// `gateway.networking.k8s.io`
    BackendTls(BackendTlsPolicy),
    /// `v1` ConfigMap with `ca.crt`.
    CaBundle(CaBundle),
}

impl GatewayApi {
    /// Its kind, as written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Class(_) => "GatewayClass",
            Self::Gateway(_) => "Gateway",
            Self::Route(route) => route.kind.as_str(),
            Self::Grant(_) => "ReferenceGrant",
            Self::Slice(_) => "EndpointSlice",
            Self::Pool(_) => "InferencePool",
            Self::Secret(_) => "Secret",
            Self::BackendTls(_) => "BackendTLSPolicy",
            Self::CaBundle(_) => "ConfigMap",
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Class(object) => &object.meta,
            Self::Gateway(object) => &object.meta,
            Self::Route(object) => &object.meta,
            Self::Grant(object) => &object.meta,
            Self::Slice(object) => &object.meta,
            Self::Pool(object) => &object.meta,
            Self::Secret(object) => &object.meta,
            Self::BackendTls(object) => &object.meta,
            Self::CaBundle(object) => &object.meta,
        }
    }

    /// Where it begins.
    pub fn position(&self) -> &Position {
        match self {
            Self::Class(object) => &object.position,
            Self::Gateway(object) => &object.position,
            Self::Route(object) => &object.position,
            Self::Grant(object) => &object.position,
            Self::Slice(object) => &object.position,
            Self::Pool(object) => &object.position,
            Self::Secret(object) => &object.position,
            Self::BackendTls(object) => &object.position,
            Self::CaBundle(object) => &object.position,
        }
    }

    /// `None`: the kind is none of these.
    pub(crate) fn decode<'n>(
        d: &mut Decoder<'n>,
        node: &'n Node<'n>,
        map: Map<'n>,
        (group, version, kind): (&str, &str, &str),
    ) -> Option<Self> {
        if group == GROUP {
            let route = RouteKind::named(kind);
            if route.is_none()
                && !matches!(kind, "GatewayClass" | "Gateway" | "ReferenceGrant" | "BackendTLSPolicy")
            {
                return None;
            }
            known_version(d, node, version, kind);
            d.strict(node, &["apiVersion", "kind", "metadata", "spec", "status"]);
            return Some(match (route, kind) {
                (Some(route), _) => Self::Route(Route::decode(d, map, route)),
                (None, "GatewayClass") => Self::Class(GatewayClass::decode(d, map)),
                (None, "Gateway") => Self::Gateway(Gateway::decode(d, map)),
                (None, "BackendTLSPolicy") => Self::BackendTls(BackendTlsPolicy::decode(d, map)),
                (None, _) => Self::Grant(ReferenceGrant::decode(d, map)),
            });
        }
        match (group, kind) {
            ("discovery.k8s.io", "EndpointSlice") => Some(Self::Slice(EndpointSlice::decode(d, map))),
            (INFERENCE_GROUP, "InferencePool") => Some(Self::Pool(InferencePool::decode(d, node, map))),
            ("", "ConfigMap") if CaBundle::is_one(map) => Some(Self::CaBundle(CaBundle::decode(d, map))),
            ("", "Secret") if TlsSecret::is_one(map) => Some(Self::Secret(TlsSecret::decode(d, map))),
            _ => None,
        }
    }
}

/// Fields of versions that are not read may mean something else.
fn known_version<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, version: &str, kind: &str) {
    if !matches!(version, "v1" | "v1beta1" | "v1alpha2" | "v1alpha3") {
        let message = format!("version {:?} of {kind} cannot be read", short(version));
        let diagnostic = Diagnostic::error(Code::UnknownKind, message);
        d.report(node.place, diagnostic.suggest(format!("apiVersion: {GROUP}/v1")));
    }
}
