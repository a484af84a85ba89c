//! `cofferdam.dev/v1alpha1`: InferencePolicy, as written.
//!
//! What it says: who may ask a model that is behind an ingress gateway, what, how much, and what is looked at on the way in
//! and out. Each section is optional; which policies meet on a route, and which of them says a section, is `admit`'s.
//! Guarantees: a section that cannot be read makes the policy broken, and a policy whose targets cannot be read has none
//! of them, so that everything it may have meant can be closed. Does not: fetch keys, or read conditions.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{Located, ObjectMeta, Scope, short};
use crate::name;
use std::sync::Arc;

mod authentication;
mod limits;
mod mcp;
mod protection;
mod rules;
pub(crate) mod values;

pub use authentication::{ApiKey, Authentication, JwksSource, JwtIssuer, MutualTls, TrustDomain};
pub use limits::{Limit, LimitPer, LimitWindow};
pub use mcp::{AGENT_CARD, Definitions, Mcp, Unpinned};
pub use protection::{
    Guard, GuardRole, OverBudget, ProtectionMode, ResponseLeaks, Responses, Waf, WafProfile,
};
pub use rules::{InferenceAction, InferenceRule, OperationClass};
pub use values::Score;

/// Longest lists: targets, rules, limits, issuers, trust domains.
const MOST: usize = 64;
/// Longest list of consumers with keys.
const MOST_CONSUMERS: usize = 10_000;

/// One policy.
///
/// When it is `broken`, what could be read is there, so that what it is attached to can be closed; its sections must not be
/// applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferencePolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// `targetRefs`, 1 to 64. `None`: they could not be read.
    pub targets: Option<Vec<Located<PolicyTarget>>>,
    /// `server`
    pub server: Option<Located<ServerKind>>,
    /// `authentication`
    pub authentication: Option<Located<Authentication>>,
    /// `rules`, 1 to 64.
    pub rules: Option<Located<Vec<Located<InferenceRule>>>>,
    /// `limits`, 1 to 64.
    pub limits: Option<Located<Vec<Located<Limit>>>>,
    /// `waf`
    pub waf: Option<Located<Waf>>,
    /// `guard`
    pub guard: Option<Located<Guard>>,
    /// `responses`
    pub responses: Option<Box<Located<Responses>>>,
    /// `mcp`
    pub mcp: Option<Box<Located<Mcp>>>,
    /// `a2a`
    pub a2a: Option<Box<Located<Mcp>>>,
    /// `storedObjects`
    pub stored_objects: Option<Located<StoredObjects>>,
}

/// One entry of `targetRefs`: an object of the policy's own namespace, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTarget {
    /// `kind`, in group `gateway.networking.k8s.io`.
    pub kind: TargetKind,
    /// `name`
    pub name: Arc<str>,
    /// `sectionName`: a listener of a gateway, a rule of a route. `None`: all of it.
    pub section: Option<Arc<str>>,
}

/// What a policy can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// `Gateway`
    Gateway,
    /// `HTTPRoute`
    HttpRoute,
    /// `GRPCRoute`
    GrpcRoute,
}

impl TargetKind {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Gateway", Self::Gateway), ("HTTPRoute", Self::HttpRoute), ("GRPCRoute", Self::GrpcRoute)];
}

/// Which server answers: its own administration is told from inference by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerKind {
    /// `vllm`
    Vllm,
    /// `sglang`
    Sglang,
    /// `tgi`
    Tgi,
    /// `triton`
    Triton,
    /// `kserve`
    Kserve,
    /// `ollama`
    Ollama,
    /// `llamacpp`
    LlamaCpp,
    /// `torchserve`
    TorchServe,
    /// `ray`
    Ray,
    /// `mcp`
    Mcp,
    /// `a2a`
    A2a,
    /// `openai`: any server with that interface and nothing else.
    OpenAi,
}

impl ServerKind {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 12] = [
        ("vllm", Self::Vllm),
        ("sglang", Self::Sglang),
        ("tgi", Self::Tgi),
        ("triton", Self::Triton),
        ("kserve", Self::Kserve),
        ("ollama", Self::Ollama),
        ("llamacpp", Self::LlamaCpp),
        ("torchserve", Self::TorchServe),
        ("ray", Self::Ray),
        ("mcp", Self::Mcp),
        ("a2a", Self::A2a),
        ("openai", Self::OpenAi),
    ];
}

/// Who may use what a server of models stores, by its id: answers, conversations, files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoredObjects {
    /// `Shared`: whoever knows the id.
    Shared,
    /// `PerConsumer`: who was given the id.
    PerConsumer,
}

impl StoredObjects {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 2] =
        [("Shared", Self::Shared), ("PerConsumer", Self::PerConsumer)];
}

impl InferencePolicy {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, true);
        let mut policy = Self::unreadable(meta, d.position(object.place));
        d.required(object, "spec", |d, node| policy.spec(d, node));
        policy.broken = d.is_broken();
        policy
    }

    /// A policy of which no more than the metadata is known.
    pub(crate) fn unreadable(meta: ObjectMeta, position: Position) -> Self {
        Self {
            meta,
            position,
            broken: true,
            targets: None,
            server: None,
            authentication: None,
            rules: None,
            limits: None,
            waf: None,
            guard: None,
            responses: None,
            mcp: None,
            a2a: None,
            stored_objects: None,
        }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        const FIELDS: [&str; 11] = [
            "targetRefs",
            "server",
            "authentication",
            "rules",
            "limits",
            "waf",
            "guard",
            "responses",
            "mcp",
            "a2a",
            "storedObjects",
        ];
        let map = d.strict(node, &FIELDS)?;
        self.targets = d.required(map, "targetRefs", |d, node| {
            // With one of them unknown it is not known what to close.
            d.sound(|d| {
                d.check_length(node, 1, MOST);
                d.located(node, target)
            })
        });
        self.server = section(d, map, "server", |d, node| d.one_of(node, &ServerKind::WORDS));
        self.authentication = section(d, map, "authentication", authentication::authentication);
        self.rules = section(d, map, "rules", |d, node| {
            d.check_length(node, 1, MOST);
            d.located(node, rules::rule)
        });
        self.limits = section(d, map, "limits", |d, node| {
            d.check_length(node, 1, MOST);
            d.located(node, limits::limit)
        });
        self.waf = section(d, map, "waf", protection::waf);
        self.guard = section(d, map, "guard", protection::guard);
        self.responses = section(d, map, "responses", protection::responses).map(Box::new);
        self.mcp = section(d, map, "mcp", mcp::mcp).map(Box::new);
        self.a2a = section(d, map, "a2a", mcp::a2a).map(Box::new);
        self.stored_objects =
            section(d, map, "storedObjects", |d, node| d.one_of(node, &StoredObjects::WORDS));
        if map.keys().all(|key| key == "targetRefs") {
            let diagnostic = Diagnostic::error(Code::MissingField, "it says nothing of its targets");
            d.report(node.place, diagnostic.suggest("for example authentication: {anonymous: true}"));
        }
        Some(())
    }
}

fn section<'n, T>(
    d: &mut Decoder<'n>,
    map: Map<'n>,
    field: &'static str,
    read: impl FnOnce(&mut Decoder<'n>, &'n Node<'n>) -> Option<T>,
) -> Option<Located<T>> {
    let read = |d: &mut Decoder<'n>, node: &'n Node<'n>| {
        let value = read(d, node)?;
        Some(Located { position: d.position(node.place), value })
    };
    d.field(map, field, read).flatten()
}

/// The group of what a policy can be attached to.
const TARGET_GROUP: &str = "gateway.networking.k8s.io";

fn target<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PolicyTarget> {
    let map = d.strict(node, &["group", "kind", "name", "sectionName"])?;
    d.required(map, "group", |d, node| d.one_of(node, &[(TARGET_GROUP, ())]));
    let kind = d.required(map, "kind", |d, node| d.one_of(node, &TargetKind::WORDS));
    let named = |d: &mut Decoder<'n>, node: &'n Node<'n>| {
        let text = d.string(node)?;
        if let Some(wrong) = name::dns_subdomain(&text) {
            d.error(node.place, Code::InvalidName, format!("{:?} names no object: {wrong}", short(&text)));
        }
        Some(text)
    };
    let of = d.required(map, "name", named);
    let section = d.field(map, "sectionName", named).flatten();
    Some(PolicyTarget { kind: kind?, name: of?, section })
}
