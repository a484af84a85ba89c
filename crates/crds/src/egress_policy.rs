//! `cofferdam.dev/v1alpha1`: EgressPolicy and ClusterEgressPolicy, as written.
//!
//! What they are for is what the standard kinds cannot say: domains per namespace, denying by domain, providers from the
//! catalog, how much may be uploaded, which requests may be made, and which names and resolvers a pod may ask. Does not: look a provider up; that is the
//! compiler's, which has the catalog.

use crate::catalog::Purpose;
use crate::cluster_network_policy::{MOST_NAME, RuleAction, Subject, Tier, V1ALPHA2, priority, subject};
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{Located, ObjectMeta, Scope, short};
use crate::name;
use crate::network_policy::{Section, cidr};
use crate::pod::{Protocol, port_number};
use crate::price;
use crate::selector::LabelSelector;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// `operations`, `models`, `tools`, `credentials`, `onlyReferred`, `leaks`, `budgets` and `capture`; `None` where none of them is written. Only a rule that allows has
    /// them, to domains and providers, with TCP ports.
    pub requests: Option<Requests>,
}

/// Which requests a rule allows. At least one field says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `operations`: one of them must match. Empty: not written.
    pub operations: Vec<Operations>,
    /// `models`, patterns. Empty: not written.
    pub models: Vec<Arc<str>>,
    /// `tools`, patterns. Empty: not written.
    pub tools: Vec<Arc<str>>,
    /// `credentials`. Empty: not written.
    pub credentials: Vec<Credential>,
    /// `onlyReferred: true`
    pub only_referred: bool,
    /// `leaks`
    pub leaks: Leaks,
    /// `budgets`
    pub budgets: Budgets,
    /// `capture`
    pub capture: Option<Capture>,
    /// `toolConditions`. Empty: not written.
    pub tool_conditions: Vec<Located<ToolCondition>>,
    /// `answers`
    pub answers: Answers,
}

/// `capture`: what is kept of the contents of requests and answers; at least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// `requests: true`
    pub requests: bool,
    /// `answers: true`
    pub answers: bool,
    /// `maxBytes`, 1 to [`Capture::MOST_BYTES`].
    pub max_bytes: Option<u32>,
}

impl Capture {
    /// Most that may be kept of a body, in bytes.
    pub const MOST_BYTES: u32 = 256 * 1024;
}

/// One entry of `toolConditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCondition {
    /// `tool`, a pattern.
    pub tool: Arc<str>,
    /// `when`, an expression in CEL; whether it is one is the compiler's to say.
    pub when: Located<Arc<str>>,
}

/// `answers`: what is looked for in files that come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// `pickles`
    pub pickles: Option<LeakAction>,
    /// `archives`
    pub archives: Option<LeakAction>,
}

/// `leaks`: what is looked for in bodies of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// `secrets`
    pub secrets: Option<LeakAction>,
    /// `personal`
    pub personal: Option<LeakAction>,
    /// `files`
    pub files: Option<LeakAction>,
    /// `canaries`: the marks, and what to do.
    pub canaries: Option<(Vec<Arc<str>>, LeakAction)>,
    /// `opaque`: what to do, and from how many bytes on: [`LEAST_OPAQUE`] to [`MOST_BYTES`].
    pub opaque: Option<(LeakAction, u64)>,
}

/// What to do where something is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakAction {
    /// `Report`
    Report,
    /// `Block`
    Block,
    /// `Mask`
    Mask,
}

impl LeakAction {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Report", Self::Report), ("Block", Self::Block), ("Mask", Self::Mask)];
    /// Those for files, of which nothing would be left.
    pub const OF_FILES: [(&'static str, Self); 2] = [("Report", Self::Report), ("Block", Self::Block)];
}

/// `budgets`: how much there may be of requests and tokens, each 1 to [`MOST_BYTES`], and of money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// `requests`
    pub requests: Budget,
    /// `tokens`
    pub tokens: Budget,
    /// `money`, in billionths of the currency of the price list, each 1 to 10^18 - 1.
    pub money: Budget,
}

/// How much in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// `hour`
    pub hour: Option<u64>,
    /// `day`
    pub day: Option<u64>,
}

/// One entry of `operations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// `verbs`, at least one.
    pub verbs: Vec<Verb>,
    /// `resources`, patterns. Empty: any.
    pub resources: Vec<Arc<str>>,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `download`
    Download,
    /// `upload`
    Upload,
    /// `call`
    Call,
    /// `mutate`
    Mutate,
    /// `admin`
    Admin,
    /// `meta`
    Meta,
    /// `authorize`
    Authorize,
    /// `unknown`
    Unknown,
}

impl Verb {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("download", Self::Download),
        ("upload", Self::Upload),
        ("call", Self::Call),
        ("mutate", Self::Mutate),
        ("admin", Self::Admin),
        ("meta", Self::Meta),
        ("authorize", Self::Authorize),
        ("unknown", Self::Unknown),
    ];
}

/// One entry of `credentials`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `sha256`: of the key, 64 lower-case hexadecimal digits.
    Sha256(Arc<str>),
    /// `awsKeyId`: an access key id.
    AwsKeyId(Arc<str>),
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

/// Fewest bytes that can be told to be opaque: of fewer, texts would be too.
pub const LEAST_OPAQUE: u64 = 4096;

/// From how many bytes on something is opaque where that is not written.
const USUAL_OPAQUE: u64 = 64 * 1024;

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
/// How long a canary may be, in bytes.
const CANARY: std::ops::RangeInclusive<usize> = 8..=256;
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
                let map = d.strict(node, &["subject", "egress", "dns"])?;
                let pods = d.field(map, "subject", own_subject).unwrap_or_else(everything);
                self.reach = EgressReach::Namespaced { pods };
                map
            }
            EgressPolicyKind::ClusterEgressPolicy => {
                let map = d.strict(node, &["tier", "priority", "subject", "egress", "dns"])?;
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
    const FIELDS: [&str; 16] = [
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
    ];
    let map = d.strict(node, &FIELDS)?;
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
    let requests = requests(d, map, action);
    let is_limited = upload.is_some() || requests.is_some();
    let peers = d.required(map, "to", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, |d, node| peer(d, node, is_limited))
    });
    let ports = d.field(map, "ports", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, |d, node| port(d, node, is_limited))
    });
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

/// What is judged of requests. What cannot be read of them is left out, and makes the policy broken.
fn requests<'n>(d: &mut Decoder<'n>, rule: Map<'n>, action: Option<RuleAction>) -> Option<Requests> {
    let operations = d.field(rule, "operations", |d, node| {
        only_allow(d, node, action);
        d.check_length(node, 1, MOST);
        d.list(node, operations)
    });
    let patterns = |d: &mut Decoder<'n>, field: &'static str| {
        d.field(rule, field, |d, node| {
            only_allow(d, node, action);
            patterns(d, node)
        })
    };
    let (models, tools) = (patterns(d, "models"), patterns(d, "tools"));
    let credentials = d.field(rule, "credentials", |d, node| {
        only_allow(d, node, action);
        d.check_length(node, 1, MOST_PATTERNS);
        d.list(node, credential)
    });
    let only_referred = d.field(rule, "onlyReferred", |d, node| {
        let is_wanted = d.boolean(node)?;
        is_wanted.then(|| only_allow(d, node, action))
    });
    let only_referred = only_referred.flatten().is_some();
    let leaks = d.field(rule, "leaks", |d, node| {
        only_allow(d, node, action);
        leaks(d, node).unwrap_or_default()
    });
    let budgets = d.field(rule, "budgets", |d, node| {
        only_allow(d, node, action);
        budgets(d, node).unwrap_or_default()
    });
    let capture = d.field(rule, "capture", |d, node| {
        only_allow(d, node, action);
        capture(d, node)
    });
    let tool_conditions = d.field(rule, "toolConditions", |d, node| {
        only_allow(d, node, action);
        d.check_length(node, 1, MOST);
        d.located(node, tool_condition)
    });
    let answers = d.field(rule, "answers", |d, node| {
        only_allow(d, node, action);
        answers(d, node).unwrap_or_default()
    });
    let lists = [
        operations.is_some(),
        models.is_some(),
        tools.is_some(),
        credentials.is_some(),
        tool_conditions.is_some(),
    ];
    let demands = [leaks.is_some(), budgets.is_some(), capture.is_some(), answers.is_some()];
    if !(lists.contains(&true) || only_referred || demands.contains(&true)) {
        return None;
    }
    Some(Requests {
        only_referred,
        leaks: leaks.unwrap_or_default(),
        budgets: budgets.unwrap_or_default(),
        operations: operations.flatten().unwrap_or_default(),
        models: models.flatten().unwrap_or_default(),
        tools: tools.flatten().unwrap_or_default(),
        credentials: credentials.flatten().unwrap_or_default(),
        capture: capture.flatten(),
        tool_conditions: tool_conditions.flatten().unwrap_or_default(),
        answers: answers.unwrap_or_default(),
    })
}

fn capture<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Capture> {
    let map = d.strict(node, &["requests", "answers", "maxBytes"])?;
    let [requests, answers] = ["requests", "answers"]
        .map(|what| d.field(map, what, Decoder::boolean).flatten().unwrap_or_default());
    if !(requests || answers) {
        let diagnostic = Diagnostic::error(Code::MissingField, "it keeps neither requests nor answers");
        d.report(node.place, diagnostic.suggest("for example {requests: true}, or leave capture out"));
    }
    let max_bytes = d.field(map, "maxBytes", |d, node| {
        let number = u32::try_from(bytes(d, node)?).ok().filter(|number| *number <= Capture::MOST_BYTES);
        if number.is_none() {
            let message = format!("at most {} bytes of a body are kept", Capture::MOST_BYTES);
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("write at most 256Ki"));
        }
        number
    });
    Some(Capture { requests, answers, max_bytes: max_bytes.flatten() })
}

fn tool_condition<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ToolCondition> {
    let map = d.strict(node, &["tool", "when"])?;
    let tool = d.required(map, "tool", pattern);
    let when = d.required(map, "when", |d, node| {
        let value = d.string(node)?;
        Some(Located { position: d.position(node.place), value })
    });
    Some(ToolCondition { tool: tool?, when: when? })
}

fn answers<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Answers> {
    const CLASSES: [&str; 2] = ["pickles", "archives"];
    let map = d.strict(node, &CLASSES)?;
    at_least_one(d, node, map, "for example {pickles: Block}, or leave answers out");
    let [pickles, archives] =
        CLASSES.map(|class| d.field(map, class, |d, node| d.one_of(node, &LeakAction::OF_FILES)).flatten());
    Some(Answers { pickles, archives })
}

fn leaks<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Leaks> {
    let map = d.strict(node, &["secrets", "personal", "files", "canaries", "opaque"])?;
    at_least_one(d, node, map, "for example {secrets: Block}, or leave leaks out");
    let [secrets, personal] = ["secrets", "personal"]
        .map(|class| d.field(map, class, |d, node| d.one_of(node, &LeakAction::WORDS)).flatten());
    let files = d.field(map, "files", |d, node| d.one_of(node, &LeakAction::OF_FILES)).flatten();
    let canaries = d.field(map, "canaries", |d, node| {
        let map = d.strict(node, &["values", "action"])?;
        let values = d.required(map, "values", |d, node| {
            d.check_length(node, 1, MOST_PATTERNS);
            d.list(node, canary)
        });
        let action = d.required(map, "action", |d, node| d.one_of(node, &LeakAction::WORDS));
        Some((values?, action?))
    });
    let opaque = d.field(map, "opaque", |d, node| {
        let map = d.strict(node, &["action", "minBytes"])?;
        let action = d.required(map, "action", |d, node| d.one_of(node, &LeakAction::OF_FILES));
        let least = d.field(map, "minBytes", opaque_bytes).unwrap_or(Some(USUAL_OPAQUE));
        Some((action?, least?))
    });
    Some(Leaks { secrets, personal, files, canaries: canaries.flatten(), opaque: opaque.flatten() })
}

fn opaque_bytes<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let number = bytes(d, node)?;
    if number < LEAST_OPAQUE {
        let message = format!("fewer than {LEAST_OPAQUE} bytes cannot be told to be opaque");
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        d.report(node.place, diagnostic.suggest("write a larger number, or leave it out for 64Ki"));
        return None;
    }
    Some(number)
}

fn canary<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if !CANARY.contains(&text.len()) {
        let message = format!("a canary has {} to {} bytes", CANARY.start(), CANARY.end());
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        d.report(node.place, diagnostic.suggest("a shorter one would be found where it is not"));
        return None;
    }
    Some(text)
}

fn budgets<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Budgets> {
    let map = d.strict(node, &["requests", "tokens", "money"])?;
    at_least_one(d, node, map, "for example {tokens: {day: 1M}}, or leave budgets out");
    let [requests, tokens] = ["requests", "tokens"].map(|what| {
        let budget = d.field(map, what, |d, node| budget(d, node, "for example {day: 1M}", bytes));
        budget.flatten().unwrap_or_default()
    });
    let money = d.field(map, "money", |d, node| budget(d, node, "for example {day: \"5.00\"}", some_money));
    Some(Budgets { requests, tokens, money: money.flatten().unwrap_or_default() })
}

fn budget<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    example: &str,
    much: fn(&mut Decoder<'n>, &'n Node<'n>) -> Option<u64>,
) -> Option<Budget> {
    let map = d.strict(node, &["hour", "day"])?;
    at_least_one(d, node, map, &format!("{example}, or leave it out"));
    let [hour, day] = ["hour", "day"].map(|window| d.field(map, window, much).flatten());
    Some(Budget { hour, day })
}

fn some_money<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let amount = price::amount(d, node)?;
    if amount == 0 {
        d.error(node.place, Code::InvalidValue, "a budget of nothing allows no call; write a Deny instead");
        return None;
    }
    Some(amount)
}

/// An empty object would say nothing, and whoever writes it means something.
fn at_least_one<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, map: Map<'n>, way_out: &str) {
    if map.keys().next().is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "at least one field is needed");
        d.report(node.place, diagnostic.suggest(way_out));
    }
}

fn operations<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Operations> {
    let map = d.strict(node, &["verbs", "resources"])?;
    let verbs = d.required(map, "verbs", |d, node| {
        d.check_length(node, 1, Verb::WORDS.len());
        d.list(node, |d, node| d.one_of(node, &Verb::WORDS))
    });
    let resources = d.field(map, "resources", patterns).flatten();
    Some(Operations { verbs: verbs?, resources: resources.unwrap_or_default() })
}

fn patterns<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, MOST_PATTERNS);
    d.list(node, pattern)
}

fn pattern<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.is_empty() || text.len() > MOST_PATTERN {
        let message = format!("a pattern has 1 to {MOST_PATTERN} bytes");
        d.error(node.place, Code::InvalidValue, message);
        return None;
    }
    Some(text)
}

fn credential<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Credential> {
    let map = d.strict(node, &["sha256", "awsKeyId"])?;
    let digest = d.field(map, "sha256", |d, node| {
        let text = d.string(node)?;
        let is_digest = text.len() == 64 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            let message = "it is no SHA-256 of a key: 64 hexadecimal digits in lower case";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("make it with: printf %s \"$KEY\" | sha256sum"));
            return None;
        }
        Some(Credential::Sha256(text))
    });
    let key = d.field(map, "awsKeyId", |d, node| {
        let text = d.string(node)?;
        let is_id = (16..=128).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_alphanumeric());
        if !is_id {
            let message = "it is no access key id: 16 to 128 letters and digits, AKIA or ASIA before them";
            d.error(node.place, Code::InvalidValue, message);
            return None;
        }
        Some(Credential::AwsKeyId(text))
    });
    match (digest, key) {
        (Some(one), None) | (None, Some(one)) => one,
        (Some(_), Some(_)) | (None, None) => {
            d.error(node.place, Code::ExactlyOne, "exactly one of sha256 and awsKeyId is needed");
            None
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
    let map = d.strict(node, &WINDOWS)?;
    if map.keys().next().is_none() {
        let message = format!("at least one of {} is needed", WINDOWS.join(", "));
        let diagnostic = Diagnostic::error(Code::MissingField, message);
        d.report(node.place, diagnostic.suggest("for example {hour: 50Mi}, or leave maxUploadBytes out"));
    }
    let [connection, hour, day] = WINDOWS.map(|window| d.field(map, window, bytes).flatten());
    Some(UploadLimits { connection, hour, day, download_only: false })
}

/// A number: whole, or a quantity with a suffix.
fn bytes<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let number = match Decoder::as_integer(node) {
        Some(number) => u64::try_from(number).ok(),
        None => quantity(d.str(node)?),
    };
    let number = number.filter(|number| (1..=MOST_BYTES).contains(number));
    if number.is_none() {
        let message = format!("it is no number from 1 to {MOST_BYTES}");
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        d.report(
            node.place,
            diagnostic.suggest("write it without a fraction, alone or with one of Ki Mi Gi Ti k M G T: 50Mi"),
        );
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
fn peer<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, is_limited: bool) -> Option<EgressPeer> {
    const KINDS: [&str; 3] = ["domains", "provider", "networks"];
    let map = d.strict(node, &["domains", "provider", "for", "with", "networks"])?;
    if map.keys().filter(|key| KINDS.contains(key)).count() != 1 {
        let message = format!("exactly one of {} is needed", KINDS.join(", "));
        let diagnostic = Diagnostic::error(Code::ExactlyOne, message);
        d.report(node.place, diagnostic.suggest("make it several entries, which means any of them"));
        return None;
    }
    if map.get("provider").is_none() {
        for field in ["for", "with"].into_iter().filter(|field| map.get(field).is_some()) {
            let message = "chooses among the hosts of a provider, and the entry names none";
            d.field(map, field, |d, node| d.error(node.place, Code::InvalidValue, message));
        }
    }
    let domains = d.field(map, "domains", |d, node| domains(d, node, MOST).map(EgressPeer::Domains));
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
    domains.or(networks).or(provider).flatten()
}

fn domains<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, most: usize) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, most);
    d.list(node, |d, node| {
        let text = d.str(node)?;
        if let Some(wrong) = name::own_domain_pattern(text) {
            d.error(node.place, Code::InvalidDomain, format!("{:?} is no domain name: {wrong}", short(text)));
            return None;
        }
        Some(d.intern(&text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
    })
}

fn networks<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<IpNet>> {
    d.check_length(node, 1, MOST);
    d.list(node, cidr)
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
    let map = d.strict(node, &["protocol", "port", "endPort"])?;
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
        let is_name = Decoder::as_integer(node).is_none() && d.str(node).is_some();
        if is_name {
            let message =
                "a port's name is a container port of a pod, and what is outside the cluster has none";
            d.report(node.place, Diagnostic::error(Code::InvalidPort, message).suggest("write its number"));
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
