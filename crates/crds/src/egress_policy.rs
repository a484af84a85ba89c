//! `cofferdam.dev/v1alpha1`: EgressPolicy and ClusterEgressPolicy, as written.
//!
//! What they are for is what the standard kinds cannot say: domains per namespace, denying by domain, providers from the
//! catalog, how much may be uploaded, which requests may be made, and which names and resolvers a pod may ask. Does not: look a provider up; that is the
//! compiler's, which has the catalog.

use crate::catalog::Purpose;
use crate::cluster_network_policy::{MOST_NAME, RuleAction, Subject, Tier, V1ALPHA2, priority, subject};
use crate::decode::{Decoder, Map, Stray};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::identity_slice::label;
use crate::meta::{Located, ObjectMeta, Scope, short};
use crate::name;
use crate::network_policy::{Section, port_alone, strict_cidr};
use crate::pod::{Protocol, port_number};
use crate::selector::LabelSelector;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

mod inject;
mod meant;
mod requests;

pub use inject::Inject;
use meant::{
    MEANT_OF_CLUSTER_POLICY, MEANT_OF_PODS, MEANT_OF_POLICY, MEANT_OF_RULE, domain_meant, meant_in,
    peer_meant, quantity_meant,
};
pub(crate) use requests::pattern;
use requests::requests;
pub use requests::{
    Answers, Budget, Budgets, Capture, Credential, HostedTools, LEAST_OPAQUE, LeakAction, Leaks, Operations,
    ProviderEgress, Requests, Verb, WhenUnopened,
};
pub(crate) use requests::{canary, some_money};

/// API group and version of both kinds.
pub(crate) const API_VERSION: &str = "cofferdam.dev/v1alpha1";

/// An egress policy of either kind.
///
/// When it is `broken`, what could be read is there, so that the pods it may select can be closed; its rules must
/// not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// Which pods, and when it is judged.
    pub reach: EgressReach,
    /// `spec.egress`
    pub egress: Section<EgressRule>,
    /// `spec.dns`
    pub dns: EgressDns,
}

/// Which kind an egress policy was written as, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressReach {
    /// EgressPolicy: pods of its own namespace, beside NetworkPolicies.
    Namespaced {
        /// `spec.subject.podSelector`; left out means all. `None`: it could not be read.
        pods: Option<LabelSelector>,
    },
    /// ClusterEgressPolicy: pods of any namespace, beside ClusterNetworkPolicies.
    Cluster {
        /// `spec.tier`. `None`: it could not be read.
        tier: Option<Tier>,
        /// `spec.priority`, 0 to 1000. `None`: it could not be read.
        priority: Option<u16>,
        /// `spec.subject`. `None`: it could not be read.
        subject: Option<Subject>,
    },
}

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EgressPolicyKind {
    /// Of a namespace.
    EgressPolicy,
    /// Of the cluster.
    ClusterEgressPolicy,
}

impl EgressPolicyKind {
    /// The kind as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EgressPolicy => "EgressPolicy",
            Self::ClusterEgressPolicy => "ClusterEgressPolicy",
        }
    }

    fn unreadable(self) -> EgressReach {
        match self {
            Self::EgressPolicy => EgressReach::Namespaced { pods: None },
            Self::ClusterEgressPolicy => EgressReach::Cluster { tier: None, priority: None, subject: None },
        }
    }

    fn actions(self) -> &'static [(&'static str, RuleAction)] {
        const ACTIONS: [(&str, RuleAction); 3] =
            [("Allow", RuleAction::Accept), ("Deny", RuleAction::Deny), ("Pass", RuleAction::Pass)];
        match self {
            // There is no later tier to pass to that the isolation would leave.
            Self::EgressPolicy => ACTIONS.get(..2).unwrap_or_default(),
            Self::ClusterEgressPolicy => &ACTIONS,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    /// Where.
    pub position: Position,
    /// Its own name, if it has one.
    pub name: Option<Arc<str>>,
    /// What it does; `Pass` only in a ClusterEgressPolicy.
    pub action: RuleAction,
    /// `to`; at least one in a policy that is not broken.
    pub peers: Vec<Located<EgressPeer>>,
    /// `ports`. Empty: those of the catalog for providers, all for others.
    pub ports: Vec<Located<EgressPort>>,
    /// `maxUploadBytes` and `downloadOnly: true`; `None` where neither is written. Only a rule that allows has them, to
    /// domains and providers, with TCP ports.
    pub upload: Option<UploadLimits>,
    /// `operations`, `models`, `tools`, `credentials`, `onlyReferred`, `redirects`, `leaks`, `budgets`, `capture` and `providerEgress`; `None` where none of them is written. Only a rule that allows has
    /// them, to domains and providers, with TCP ports.
    pub requests: Option<Requests>,
}

/// What a rule lets a pod send. At least one field says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadLimits {
    /// `maxUploadBytes.connection`: bytes in one connection, 1 to [`MOST_BYTES`].
    pub connection: Option<u64>,
    /// `maxUploadBytes.hour`: bytes in an hour, 1 to [`MOST_BYTES`].
    pub hour: Option<u64>,
    /// `maxUploadBytes.day`: bytes in a day, 1 to [`MOST_BYTES`].
    pub day: Option<u64>,
    /// `downloadOnly: true`
    pub download_only: bool,
}

/// The largest limit, in bytes: sums of what was sent stay far below what 64 bits hold.
pub const MOST_BYTES: u64 = 1 << 62;

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressPeer {
    /// Addresses that the pod resolved a matching name to: `name`, `*.name` or `**.name`, checked and in lower case without a
    /// trailing dot.
    Domains(Vec<Arc<str>>),
    /// Hosts of a provider of the catalog.
    Provider(ProviderRef),
    /// Any address in these blocks, host bits cleared.
    Networks(Vec<IpNet>),
    /// Pods that other clusters export.
    Clusters(Elsewhere),
    /// Pods behind a service of all clusters. Only a rule that allows has it.
    ServiceImport(ServiceImportRef),
}

/// Pods of other clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// `clusters`: their names. Empty: `"*"`, every other cluster.
    pub clusters: Vec<Arc<str>>,
    /// `namespaceSelector`, over the labels that namespaces have in their cluster.
    pub namespaces: LabelSelector,
    /// `podSelector`
    pub pods: LabelSelector,
}

/// A ServiceImport of `multicluster.x-k8s.io`, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceImportRef {
    /// Its namespace, which is that of the service in every cluster.
    pub namespace: Arc<str>,
    /// Its name, which is that of the service in every cluster.
    pub name: Arc<str>,
}

/// Hosts of a provider, or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRef {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// `for`: only hosts of these purposes. Empty: all.
    pub purposes: Vec<Purpose>,
    /// `with`: what stands for the words that hosts of the provider leave open.
    pub with: BTreeMap<Arc<str>, Arc<str>>,
}

/// One entry of `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressPort {
    /// TCP if not written.
    pub protocol: Protocol,
    /// First and last port; `None`: every port of the protocol.
    pub range: Option<(u16, u16)>,
}

/// `spec.dns`: what the subject may ask. Left out: anything, of anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressDns {
    /// `names`, with the place of the list. `None`: not written.
    pub names: Option<Located<Vec<Arc<str>>>>,
    /// `fromRules: true`, with its place: every name that rules allowing the pod speak of as well.
    pub from_rules: Option<Position>,
    /// `resolvers`, with the place of the list. `None`: not written.
    pub resolvers: Option<Located<Vec<Resolver>>>,
}

/// One entry of `resolvers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// These pods.
    Pods {
        /// In these namespaces.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
    /// Any address in these blocks, host bits cleared.
    Networks(Vec<IpNet>),
}

/// Longest lists: rules, entries of `to`, entries of `ports`, domains, networks, resolvers.
pub(crate) const MOST: usize = 25;
/// What to do with what a rule that limits uploads cannot have.
const NOT_LIMITED: &str = "write it as a rule of its own, without what is judged of uploads and requests";
/// Longest lists of patterns and of credentials.
pub(crate) const MOST_PATTERNS: usize = 100;
/// Longest pattern, in bytes.
pub(crate) const MOST_PATTERN: usize = 512;
/// Longest list of names that may be asked for.
pub(crate) const MOST_NAMES: usize = 100;

impl EgressPolicy {
    /// Which kind.
    pub fn kind(&self) -> EgressPolicyKind {
        match self.reach {
            EgressReach::Namespaced { .. } => EgressPolicyKind::EgressPolicy,
            EgressReach::Cluster { .. } => EgressPolicyKind::ClusterEgressPolicy,
        }
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>, kind: EgressPolicyKind) -> Self {
        let scope = match kind {
            EgressPolicyKind::EgressPolicy => Scope::Namespaced,
            EgressPolicyKind::ClusterEgressPolicy => Scope::Cluster,
        };
        let meta = ObjectMeta::decode(d, object, scope, true);
        let mut policy = Self::unreadable(kind, meta, d.position(object.place));
        d.required(object, "spec", |d, node| policy.spec(d, node, kind));
        policy.broken = d.is_broken();
        policy
    }

    /// A policy of which no more than the metadata is known.
    pub(crate) fn unreadable(kind: EgressPolicyKind, meta: ObjectMeta, position: Position) -> Self {
        Self {
            meta,
            position,
            broken: true,
            reach: kind.unreadable(),
            egress: Section::unreadable(),
            dns: EgressDns::default(),
        }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<()> {
        let map = match kind {
            EgressPolicyKind::EgressPolicy => {
                let map = d.strict_or(node, &["subject", "egress", "dns"], |stray| {
                    meant_in(&MEANT_OF_POLICY, stray)
                })?;
                let pods = d.field(map, "subject", own_subject).unwrap_or_else(everything);
                self.reach = EgressReach::Namespaced { pods };
                map
            }
            EgressPolicyKind::ClusterEgressPolicy => {
                let known = ["tier", "priority", "subject", "egress", "dns"];
                let map = d.strict_or(node, &known, |stray| meant_in(&MEANT_OF_CLUSTER_POLICY, stray))?;
                let tiers = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
                let tier = d.required(map, "tier", |d, node| d.one_of(node, &tiers));
                let priority = d.required(map, "priority", priority);
                let subject = d.required(map, "subject", |d, node| subject(d, node, V1ALPHA2));
                self.reach = EgressReach::Cluster { tier, priority, subject };
                map
            }
        };
        self.egress = Section::decode(d, map, "egress", MOST, |d, node| rule(d, node, kind));
        self.dns = d.field(map, "dns", dns).flatten().unwrap_or_default();
        Some(())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stands in for a selector that was not written")]
fn everything() -> Option<LabelSelector> {
    Some(LabelSelector::default())
}

/// `{podSelector}`; left out means all pods of the namespace.
fn own_subject<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<LabelSelector> {
    d.sound(|d| {
        let map = d.strict(node, &["podSelector"])?;
        d.field(map, "podSelector", LabelSelector::decode).unwrap_or_else(everything)
    })
}

fn rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<EgressRule> {
    const FIELDS: [&str; 19] = [
        "name",
        "action",
        "to",
        "ports",
        "maxUploadBytes",
        "downloadOnly",
        "operations",
        "models",
        "tools",
        "credentials",
        "onlyReferred",
        "leaks",
        "budgets",
        "capture",
        "toolConditions",
        "answers",
        "whenUnopened",
        "redirects",
        "providerEgress",
    ];
    let map = d.strict_or(node, &FIELDS, |stray| meant_in(&MEANT_OF_RULE, stray))?;
    let name = d.field(map, "name", |d, node| {
        let name = d.string(node)?;
        if name.chars().count() > MOST_NAME {
            let message = format!("a rule's name has at most {MOST_NAME} characters");
            d.error(node.place, Code::InvalidName, message);
        }
        Some(name)
    });
    let action = d.required(map, "action", |d, node| d.one_of(node, kind.actions()));
    let upload = upload_limits(d, map, action);
    let requests = requests(d, map, action, upload.is_some(), kind);
    let is_limited = upload.is_some() || requests.is_some();
    let peers = d.required(map, "to", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, |d, node| peer(d, node, (action, is_limited)))
    });
    let ports = d.field(map, "ports", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, |d, node| port(d, node, is_limited))
    });
    if let Some(Requests { inject: Some(_), when_unopened, .. }) = &requests {
        inject::check(d, map, peers.as_deref().unwrap_or_default(), *when_unopened);
    }
    Some(EgressRule {
        position: d.position(node.place),
        name: name.flatten(),
        action: action?,
        peers: peers?,
        ports: ports.flatten().unwrap_or_default(),
        upload,
        requests,
    })
}

/// Only a rule that allows can say more of what it allows.
fn only_allow<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, action: Option<RuleAction>) {
    match action {
        Some(RuleAction::Accept) | None => {}
        Some(RuleAction::Deny | RuleAction::Pass) => {
            let message = "only a rule that allows can say what may be uploaded or requested";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("write action: Allow, or leave it out"));
        }
    }
}

/// `maxUploadBytes` and `downloadOnly`. What cannot be read of them is left out, and makes the policy broken.
fn upload_limits<'n>(d: &mut Decoder<'n>, rule: Map<'n>, action: Option<RuleAction>) -> Option<UploadLimits> {
    let written = d.field(rule, "maxUploadBytes", |d, node| {
        only_allow(d, node, action);
        max_upload_bytes(d, node).unwrap_or_default()
    });
    let download_only = d.field(rule, "downloadOnly", |d, node| {
        let is_wanted = d.boolean(node)?;
        is_wanted.then(|| only_allow(d, node, action))
    });
    let download_only = download_only.flatten().is_some();
    if written.is_none() && !download_only {
        return None;
    }
    Some(UploadLimits { download_only, ..written.unwrap_or_default() })
}

fn max_upload_bytes<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<UploadLimits> {
    const WINDOWS: [&str; 3] = ["connection", "hour", "day"];
    let map = d.strict_or(node, &WINDOWS, |stray| match stray {
        Stray::Scalar(text) => {
            let limit = quantity_meant(text)?;
            let windows = WINDOWS.join(", ");
            Some(format!("say of what, by one or more of {windows}: {{hour: {limit}}}"))
        }
        Stray::Field(..) => None,
    })?;
    if map.keys().next().is_none() {
        let message = format!("at least one of {} is needed", WINDOWS.join(", "));
        let diagnostic = Diagnostic::error(Code::MissingField, message);
        d.report(node.place, diagnostic.suggest("for example {hour: 50Mi}, or leave maxUploadBytes out"));
    }
    let [connection, hour, day] = WINDOWS.map(|window| d.field(map, window, bytes).flatten());
    Some(UploadLimits { connection, hour, day, download_only: false })
}

/// A number: whole, or a quantity with a suffix.
pub(crate) fn bytes<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let number = match Decoder::as_integer(node) {
        Some(number) => u64::try_from(number).ok(),
        None => quantity(d.str(node)?),
    };
    let number = number.filter(|number| (1..=MOST_BYTES).contains(number));
    if number.is_none() {
        let message = format!("it is no number of bytes from 1 to {MOST_BYTES}");
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        let meant = Decoder::as_text(node).and_then(quantity_meant);
        let example = meant.unwrap_or_else(|| "50Mi".to_owned());
        let help =
            format!("write it without a fraction, alone or with one of Ki Mi Gi Ti k M G T: {example}");
        d.report(node.place, diagnostic.suggest(help));
    }
    number
}

/// Digits and one of the suffixes that Kubernetes' quantities have.
fn quantity(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let of_suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (digits, factor) = of_suffix.unwrap_or((text, 1));
    // With leading zeros the same digits, unquoted, would be octal.
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse::<u64>().ok().filter(|_| is_decimal)?.checked_mul(factor)
}

/// `is_limited`: the rule says what may be uploaded or requested.
fn peer<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    (action, is_limited): (Option<RuleAction>, bool),
) -> Option<EgressPeer> {
    const KINDS: [&str; 5] = ["domains", "provider", "networks", "clusters", "serviceImport"];
    const SELECTORS: [&str; 2] = ["namespaceSelector", "podSelector"];
    const FIELDS: [&str; 9] = [
        "domains",
        "provider",
        "for",
        "with",
        "networks",
        "clusters",
        "namespaceSelector",
        "podSelector",
        "serviceImport",
    ];
    let map = d.strict_or(node, &FIELDS, peer_meant)?;
    let kinds = map.keys().filter(|key| KINDS.contains(key)).count();
    if kinds == 0 && map.keys().any(|key| !FIELDS.contains(&key)) {
        // That field is reported, and is what the entry was to have.
        return None;
    }
    if kinds != 1 {
        let message = format!("exactly one of {} is needed", KINDS.join(", "));
        let diagnostic = Diagnostic::error(Code::ExactlyOne, message);
        let help = match kinds {
            0 if map.keys().any(|key| SELECTORS.contains(&key)) => MEANT_OF_PODS,
            0 => "for example {domains: [huggingface.co]}",
            _ => "make it several entries, which means any of them",
        };
        d.report(node.place, diagnostic.suggest(help));
        return None;
    }
    if map.get("provider").is_none() {
        for field in ["for", "with"].into_iter().filter(|field| map.get(field).is_some()) {
            let message = "chooses among the hosts of a provider, and the entry names none";
            d.field(map, field, |d, node| d.error(node.place, Code::InvalidValue, message));
        }
    }
    if map.get("clusters").is_none() {
        for field in SELECTORS.into_iter().filter(|field| map.get(field).is_some()) {
            let message = "selects pods of other clusters, and the entry names none: pods of this one are NetworkPolicies' to name";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.field(map, field, |d, node| {
                d.report(node.place, diagnostic.suggest("write clusters: [west] beside it"))
            });
        }
    }
    let domains = d.field(map, "domains", |d, node| {
        d.check_length(node, 1, MOST);
        d.list(node, resolvable).map(EgressPeer::Domains)
    });
    let networks = d.field(map, "networks", |d, node| {
        if is_limited {
            let message = "what is uploaded and requested is judged where a connection's name is known, and a network has \
                           none";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest(NOT_LIMITED));
        }
        networks(d, node).map(EgressPeer::Networks)
    });
    let provider = map.get("provider").map(|_| provider(d, map).map(EgressPeer::Provider));
    let clusters = map.get("clusters").map(|_| elsewhere(d, map, is_limited).map(EgressPeer::Clusters));
    let service = d.field(map, "serviceImport", |d, node| {
        service_import(d, node, (action, is_limited)).map(EgressPeer::ServiceImport)
    });
    domains.or(networks).or(provider).or(clusters).or(service).flatten()
}

/// `serviceImport`: `{namespace, name}`.
fn service_import<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    (action, is_limited): (Option<RuleAction>, bool),
) -> Option<ServiceImportRef> {
    if is_limited {
        no_limits(d, node);
    }
    match action {
        Some(RuleAction::Accept) | None => {}
        // Whoever takes an endpoint out of a service would open it.
        Some(RuleAction::Deny | RuleAction::Pass) => {
            let message = "only a rule that allows can name a service: its endpoints come and go";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("write clusters, namespaceSelector and podSelector"));
        }
    }
    let map = d.strict(node, &["namespace", "name"])?;
    let namespace = d.required(map, "namespace", |d, node| label(d, node, "namespace"));
    let name = d.required(map, "name", |d, node| label(d, node, "service"));
    Some(ServiceImportRef { namespace: namespace?, name: name? })
}

fn no_limits<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) {
    let message = "what is uploaded and requested is judged where a connection's name is known, and a pod of another \
                   cluster is known by its address";
    let diagnostic = Diagnostic::error(Code::InvalidValue, message);
    d.report(node.place, diagnostic.suggest(NOT_LIMITED));
}

/// `clusters`, `namespaceSelector` and `podSelector`.
fn elsewhere<'n>(d: &mut Decoder<'n>, entry: Map<'n>, is_limited: bool) -> Option<Elsewhere> {
    let names = d.field(entry, "clusters", |d, node| {
        if is_limited {
            no_limits(d, node);
        }
        d.check_length(node, 1, MOST);
        d.list(node, |d, node| match d.str(node)? {
            "*" => Some(None),
            _ => label(d, node, "cluster").map(Some),
        })
    });
    // Both: a label of a pod is easily given, and a namespace is what two clusters agree about.
    let namespaces = d.required(entry, "namespaceSelector", LabelSelector::decode);
    let pods = d.required(entry, "podSelector", LabelSelector::decode);
    let names = names.flatten()?;
    let clusters = if names.contains(&None) { Vec::new() } else { names.into_iter().flatten().collect() };
    Some(Elsewhere { clusters, namespaces: namespaces?, pods: pods? })
}

fn domains<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, most: usize) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, most);
    d.list(node, domain)
}

/// A domain whose addresses are known from answers. Nobody asks DNS for an address, so a rule that denies one as a name would
/// deny nothing.
fn resolvable<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let name = domain(d, node)?;
    if let Ok(address) = name.parse::<IpAddr>() {
        let message = format!("{address} is an address, which no name opens");
        let hint = format!("write networks: [{}]", IpNet::from(address));
        d.report(node.place, Diagnostic::error(Code::InvalidDomain, message).suggest(hint));
        return None;
    }
    Some(name)
}

fn domain<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.formed(node, "a domain name", "huggingface.co")?;
    if let Some(wrong) = name::own_domain_pattern(text) {
        let message = format!("{:?} is no domain name: {wrong}", short(text));
        let mut diagnostic = Diagnostic::error(Code::InvalidDomain, message);
        diagnostic.suggestion = domain_meant(text);
        d.report(node.place, diagnostic);
        return None;
    }
    Some(d.intern(&text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
}

fn networks<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<IpNet>> {
    d.check_length(node, 1, MOST);
    d.list(node, strict_cidr)
}

fn provider<'n>(d: &mut Decoder<'n>, entry: Map<'n>) -> Option<ProviderRef> {
    let name = d.field(entry, "provider", Decoder::string).flatten();
    let purposes = d.field(entry, "for", |d, node| {
        d.check_length(node, 1, MOST);
        d.list(node, |d, node| d.one_of(node, &Purpose::WORDS))
    });
    let with = d.field(entry, "with", |d, node| {
        let with = d.text_map(node);
        for (word, value) in &with {
            if let Some(wrong) = name::dns_label(value) {
                let message = format!("{:?} cannot stand for {word:?}: {wrong}", short(value));
                d.error(node.place, Code::InvalidDomain, message);
            }
        }
        with
    });
    Some(ProviderRef {
        name: name?,
        purposes: purposes.flatten().unwrap_or_default(),
        with: with.unwrap_or_default(),
    })
}

/// `is_limited`: the rule says what may be uploaded or requested.
fn port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, is_limited: bool) -> Option<EgressPort> {
    let map = d.strict_or(node, &["protocol", "port", "endPort"], port_alone)?;
    let protocol = d.field(map, "protocol", |d, node| {
        let protocol = Protocol::decode(d, node)?;
        if is_limited && protocol != Protocol::Tcp {
            let message =
                "what is uploaded and requested is judged over TCP, and over QUIC where TCP port 443 is allowed";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest(NOT_LIMITED));
        }
        Some(protocol)
    });
    let protocol = protocol.unwrap_or(Some(Protocol::Tcp));
    let port = d.field(map, "port", |d, node| {
        if let Some(text) = Decoder::as_text(node) {
            let message =
                "a port's name is a container port of a pod, and what is outside the cluster has none";
            let help = text.parse::<u16>().map(|port| format!("for a number, leave out the quotes: {port}"));
            let diagnostic = Diagnostic::error(Code::InvalidPort, message);
            d.report(node.place, diagnostic.suggest(help.unwrap_or_else(|_| "write its number".to_owned())));
            return None;
        }
        port_number(d, node)
    });
    let end = d.field(map, "endPort", |d, node| {
        let end = port_number(d, node)?;
        match port {
            Some(Some(first)) if end < first => {
                let message = format!("the range ends at {end}, before its first port {first}");
                d.error(node.place, Code::InvalidPort, message);
            }
            None => d.error(node.place, Code::InvalidPort, "a range needs port, its first one"),
            Some(Some(_) | None) => {}
        }
        Some(end)
    });
    if port == Some(None) || end == Some(None) {
        return None;
    }
    let range = port.flatten().map(|first| (first, end.flatten().unwrap_or(first)));
    Some(EgressPort { protocol: protocol?, range })
}

fn dns<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<EgressDns> {
    let map = d.strict(node, &["names", "fromRules", "resolvers"])?;
    let names = d.field(map, "names", |d, node| {
        let value = domains(d, node, MOST_NAMES)?;
        Some(Located { position: d.position(node.place), value })
    });
    let from_rules = d.field(map, "fromRules", |d, node| {
        let is_wanted = d.boolean(node)?;
        is_wanted.then(|| d.position(node.place))
    });
    let resolvers = d.field(map, "resolvers", |d, node| {
        d.check_length(node, 1, MOST);
        let value = d.list(node, resolver)?;
        Some(Located { position: d.position(node.place), value })
    });
    Some(EgressDns {
        names: names.flatten(),
        from_rules: from_rules.flatten(),
        resolvers: resolvers.flatten(),
    })
}

fn resolver<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Resolver> {
    let map = d.strict(node, &["pods", "networks"])?;
    let pods = d.field(map, "pods", |d, node| {
        let map = d.strict(node, &["namespaceSelector", "podSelector"])?;
        // Both: whoever may label a pod could otherwise make it a resolver.
        let namespaces = d.required(map, "namespaceSelector", LabelSelector::decode);
        let pods = d.required(map, "podSelector", LabelSelector::decode);
        Some(Resolver::Pods { namespaces: namespaces?, pods: pods? })
    });
    let networks = d.field(map, "networks", |d, node| networks(d, node).map(Resolver::Networks));
    match (pods, networks) {
        (Some(one), None) | (None, Some(one)) => one,
        (Some(_), Some(_)) | (None, None) => {
            d.error(node.place, Code::ExactlyOne, "exactly one of pods and networks is needed");
            None
        }
    }
}
