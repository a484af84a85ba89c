//! What users write: Kubernetes objects, read from YAML or JSON and validated as the API server would.
//!
//! Bytes enter ([`read_objects`]); objects and diagnostics leave, each with file, line and column. Types follow the
//! shapes of the API, not what they mean: meaning is the compiler's. Nothing is skipped silently, one broken
//! document never hides the others, and no input makes it panic or grow without bound.

mod admin_network_policy;
mod catalog;
mod cluster_network_policy;
mod containment;
mod decode;
mod detection_policy;
mod diagnostic;
mod document;
mod egress_policy;
mod gateway_api;
mod glimpse;
mod identity_slice;
mod inference_policy;
mod key_secret;
mod meta;
mod name;
mod network_policy;
mod object;
mod pod;
mod price;
mod read_elsewhere;
mod selector;
mod service;
mod time;
mod tool_condition;
mod workload;

pub use catalog::{Catalog, CatalogHost, Provider, Purpose};
pub use cluster_network_policy::{
    ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, RuleAction, Subject, Tier,
};
pub use containment::{Contained, Containment};
pub use decode::MAX_DIAGNOSTICS_PER_FILE;
pub use detection_policy::{DetectionPolicy, DetectorTuning, FACTS, Suppression, THRESHOLD_PERCENT, TUNABLE};
pub use diagnostic::{Code, Diagnostic, ObjectName, Position, Severity};
pub use document::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use egress_policy::{
    Answers, Budget, Budgets, Capture, Credential, EgressDns, EgressPeer, EgressPolicy, EgressPolicyKind,
    EgressPort, EgressReach, EgressRule, Elsewhere, HostedTools, Inject, LEAST_OPAQUE, LeakAction, Leaks,
    MOST_BYTES, Operations, ProviderEgress, ProviderRef, Requests, Resolver, ServiceImportRef, UploadLimits,
    Verb, WhenUnopened,
};
pub use gateway_api::{
    AllowedFrom, BackendTlsPolicy, CaBundle, CorsFilter, CorsOrigin, Endpoint, EndpointSlice, Gateway,
    GatewayApi, GatewayClass, GatewayListener, GrantFrom, GrantTo, HeaderFilter, Hidden, IMPORTED_SERVICE,
    InferencePool, ListenerTls, MirrorFilter, PathMatch, PathModifier, PickerRef, RedirectFilter, Reference,
    ReferenceGrant, RewriteFilter, Route, RouteBackend, RouteFilter, RouteKind, RouteMatch, RouteRule,
    SessionKind, SessionPersistence, TextMatch, TlsSecret, read_origin,
};
pub use identity_slice::{Identity, IdentitySlice, MOST_IDENTITIES};
pub use inference_policy::{
    AGENT_CARD, ApiKey, Authentication, Definitions, Guard, GuardRole, InferenceAction, InferencePolicy,
    InferenceRule, JwksSource, JwtIssuer, Limit, LimitPer, LimitWindow, Mcp, MutualTls, OperationClass,
    OverBudget, PolicyTarget, ProtectionMode, ResponseLeaks, Responses, Score, ServerKind, StoredObjects,
    TargetKind, TrustDomain, Unpinned, Waf, WafProfile,
};
pub use key_secret::{INJECT_LABEL, KeySecret};
pub use meta::{Located, Namespace, Node, ObjectMeta, OwnerReference};
pub use network_policy::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule, PolicyTypes, Section,
};
pub use object::{Object, Read, as_json, read_objects, read_value};
pub use pod::{Container, ContainerPort, Phase, Pod, PodSpec, PortRef, Protocol};
pub use price::{MOST_PRICES, Price, PriceList};
pub use selector::{LabelSelector, Operator, SelectorExpression};
pub use service::{Ingress, IngressBackend, Service, ServicePort};
pub use tool_condition::ToolCondition;
pub use workload::{PodTemplate, Workload, WorkloadKind};
