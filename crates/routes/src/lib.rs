//! Gateway API objects -> compiled routing, and what each object's status says (Gateway API v1.5,
//! <https://gateway-api.sigs.k8s.io/reference/spec/>).
//!
//! Enters: every object that was read. Leaves: a [`Routing`], which finds the rule of a request, and an
//! [`ObjectStatus`] for every class, gateway and route that is ours. Guarantees: finding takes time linear in the
//! request and in the rules of one host; what cannot be read, resolved or told apart never becomes a rule that
//! forwards. Does not: open sockets, read certificates, pick endpoints, judge who may ask.

mod asked;
mod attach;
mod backend_tls;
mod endpoints;
mod filter;
mod host;
mod known;
mod listen;
mod matching;
mod path;
mod picker;
mod query;
mod resolve;
mod routing;
mod rule;
mod session;
mod status;
mod used;

pub use asked::{Asked, Headers, PathFault};
pub use attach::MOST_IN_FORCE;
pub use endpoints::{Endpoints, MOST_ENDPOINTS};
pub use filter::{Cors, Filters, HeaderChange, Mirror, PathChange, Redirect, Rewrite};
pub use host::read as read_host;
pub use path::read as read_path;
pub use routing::{Found, Listener, ListenerId, ListenerProtocol, Matched, Routing, Tls, TlsFound, Why};
pub use rule::{Backend, BackendTls, Fault, Picker, Resource, RouteRef, Rule, RuleId, Target, Timeouts, Way};
pub use session::Session;
pub use status::{
    Condition, ConditionKind, ListenerStatus, ObjectStatus, ParentStatus, Reason, Status, UserStatus,
};

/// What of the Gateway API is done, in the words of its `supportedFeatures`, in their order. What is not here is refused with a
/// condition, or is no feature with a name.
pub const FEATURES: [&str; 33] = [
    "BackendTLSPolicy",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TLSRoute",
];

/// What GatewayClasses that are ours name as `spec.controllerName`.
pub const CONTROLLER: &str = "cofferdam.dev/ingress-gateway";
