//! What a rule of an egress policy says of requests: which it allows, and what it demands of them.
//!
//! Enters: the fields of a rule. Leaves: [`Requests`], with a diagnostic for each value that cannot be. Guarantees: what
//! cannot be read is left out and makes the policy broken. Does not: say what the fields mean; the compiler does.

use super::inject::{Inject, inject};
use super::{EgressPolicyKind, MOST, MOST_PATTERN, MOST_PATTERNS, bytes, domain, only_allow};
use crate::cluster_network_policy::RuleAction;
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::inference_policy::values::duration;
use crate::meta::Located;
use crate::price;
use crate::tool_condition::{ToolCondition, tool_conditions};
use std::sync::Arc;

/// Which requests a rule allows. At least one field says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `operations`: one of them must match. Empty: not written.
    pub operations: Vec<Operations>,
    /// `models`, patterns. Empty: not written.
    pub models: Vec<Arc<str>>,
    /// `tools`, patterns. Empty: not written.
    pub tools: Vec<Arc<str>>,
    /// `credentials` that the pod may show. Empty: not written.
    pub credentials: Vec<Credential>,
    /// `onlyReferred: true`
    pub only_referred: bool,
    /// `redirects.grant`: seconds, 1 to 3600; only in an EgressPolicy.
    pub redirects: Option<u32>,
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
    /// `whenUnopened`
    pub when_unopened: WhenUnopened,
    /// `inject`, among `credentials`.
    pub inject: Option<Inject>,
    /// `providerEgress`
    pub provider_egress: ProviderEgress,
}

/// `providerEgress`: whom requests may have the provider contact, beside whom the pod may reach itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderEgress {
    /// `domains`: `name`, `*.name`, `**.name`, or `**` for anybody; in lower case without a trailing dot. Empty: not written.
    pub domains: Vec<Arc<str>>,
    /// `hostedTools`
    pub hosted_tools: HostedTools,
}

/// `hostedTools`: which tools of the provider's that contact hosts of their own choice may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostedTools {
    /// `Deny`, also where nothing is written.
    #[default]
    Deny,
    /// `AllowedDomains`: those that the request limits to domains, which are judged.
    AllowedDomains,
    /// `Allow`
    Allow,
}

impl HostedTools {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Deny", Self::Deny), ("AllowedDomains", Self::AllowedDomains), ("Allow", Self::Allow)];
}

/// `whenUnopened`: what becomes of a client that does not let its TLS be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnopened {
    /// `Deny`, also where nothing is written.
    #[default]
    Deny,
    /// `Pass`, only beside limits of upload.
    Pass,
}

impl WhenUnopened {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 2] = [("Deny", Self::Deny), ("Pass", Self::Pass)];
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

/// One entry of `credentials` that is no `inject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `sha256`: of the key, 64 lower-case hexadecimal digits.
    Sha256(Arc<str>),
    /// `awsKeyId`: an access key id.
    AwsKeyId(Arc<str>),
}

/// Fewest bytes that can be told to be opaque: of fewer, texts would be too.
pub const LEAST_OPAQUE: u64 = 4096;

/// Longest time for which what answers lead to can be granted, in seconds.
const MOST_GRANTED: u32 = 3600;

/// In `domains` of `providerEgress`: any name, and any address.
const ANYBODY: &str = "**";

/// From how many bytes on something is opaque where that is not written.
const USUAL_OPAQUE: u64 = 64 * 1024;
/// How long a canary may be, in bytes.
const CANARY: std::ops::RangeInclusive<usize> = 8..=256;

/// What is judged of requests. What cannot be read of them is left out, and makes the policy broken.
pub(super) fn requests<'n>(
    d: &mut Decoder<'n>,
    rule: Map<'n>,
    action: Option<RuleAction>,
    is_upload_limited: bool,
    kind: EgressPolicyKind,
) -> Option<Requests> {
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
        credentials(d, node, kind)
    });
    let only_referred = d.field(rule, "onlyReferred", |d, node| {
        let is_wanted = d.boolean(node)?;
        is_wanted.then(|| only_allow(d, node, action))
    });
    let only_referred = only_referred.flatten().is_some();
    let redirects = d.field(rule, "redirects", |d, node| {
        only_allow(d, node, action);
        redirects(d, node, kind)
    });
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
    let conditions = d.field(rule, "toolConditions", |d, node| {
        only_allow(d, node, action);
        tool_conditions(d, node)
    });
    let answers = d.field(rule, "answers", |d, node| {
        only_allow(d, node, action);
        answers(d, node).unwrap_or_default()
    });
    let provider_egress = d.field(rule, "providerEgress", |d, node| {
        only_allow(d, node, action);
        provider_egress(d, node).unwrap_or_default()
    });
    let lists = [
        provider_egress.is_some(),
        operations.is_some(),
        models.is_some(),
        tools.is_some(),
        credentials.is_some(),
        conditions.is_some(),
        redirects.is_some(),
    ];
    let demands = [leaks.is_some(), budgets.is_some(), capture.is_some(), answers.is_some()];
    let judges = lists.contains(&true) || only_referred || demands.contains(&true);
    let when_unopened = d.field(rule, "whenUnopened", |d, node| {
        only_allow(d, node, action);
        when_unopened(d, node, judges, is_upload_limited)
    });
    if !judges {
        return None;
    }
    let (credentials, inject) = credentials.flatten().unwrap_or_default();
    Some(Requests {
        only_referred,
        redirects: redirects.flatten(),
        leaks: leaks.unwrap_or_default(),
        budgets: budgets.unwrap_or_default(),
        operations: operations.flatten().unwrap_or_default(),
        models: models.flatten().unwrap_or_default(),
        tools: tools.flatten().unwrap_or_default(),
        credentials,
        capture: capture.flatten(),
        tool_conditions: conditions.flatten().unwrap_or_default(),
        answers: answers.unwrap_or_default(),
        when_unopened: when_unopened.flatten().unwrap_or_default(),
        inject,
        provider_egress: provider_egress.unwrap_or_default(),
    })
}

fn provider_egress<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ProviderEgress> {
    let map = d.strict(node, &["domains", "hostedTools"])?;
    at_least_one(d, node, map, "for example {domains: [mcp.example.com]}, or leave providerEgress out");
    let domains = d.field(map, "domains", |d, node| {
        d.check_length(node, 1, MOST_PATTERNS);
        d.list(node, |d, node| {
            let text = d.string(node)?;
            if &*text == ANYBODY { Some(text) } else { domain(d, node) }
        })
    });
    let hosted_tools = d.field(map, "hostedTools", |d, node| d.one_of(node, &HostedTools::WORDS));
    Some(ProviderEgress {
        domains: domains.flatten().unwrap_or_default(),
        hosted_tools: hosted_tools.flatten().unwrap_or_default(),
    })
}

/// What is granted is allowed where nothing else is, and in the tiers with an order there is no such place.
fn redirects<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<u32> {
    match kind {
        EgressPolicyKind::EgressPolicy => {}
        EgressPolicyKind::ClusterEgressPolicy => {
            let diagnostic = Diagnostic::error(Code::InvalidValue, "a ClusterEgressPolicy grants nothing");
            let way_out = "write redirects in an EgressPolicy, or name the hosts that answers lead to in a rule with onlyReferred: true";
            d.report(node.place, diagnostic.suggest(way_out));
        }
    }
    let map = d.strict(node, &["grant"])?;
    d.required(map, "grant", |d, node| {
        let seconds = u32::try_from(duration(d, node)?).ok().filter(|seconds| *seconds <= MOST_GRANTED);
        if seconds.is_none() {
            let diagnostic = Diagnostic::error(Code::InvalidValue, "it is longer than an hour");
            d.report(node.place, diagnostic.suggest("a client follows at once: 60s"));
        }
        seconds
    })
}

/// A pod chooses itself not to be opened, so what passes then must be limited in some other way.
fn when_unopened<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    judges: bool,
    is_upload_limited: bool,
) -> Option<WhenUnopened> {
    let written = d.one_of(node, &WhenUnopened::WORDS)?;
    let wrong = match (judges, written, is_upload_limited) {
        (false, _, _) => Some((
            "nothing is opened for this rule, for it looks at no requests",
            "leave whenUnopened out, or write which requests the rule allows: operations, models, tools",
        )),
        (true, WhenUnopened::Pass, false) => Some((
            "what passes unopened is not judged, and nothing else limits what it may send",
            "add maxUploadBytes or downloadOnly: true to the same rule, or write whenUnopened: Deny",
        )),
        (true, WhenUnopened::Pass, true) | (true, WhenUnopened::Deny, _) => None,
    };
    if let Some((message, way_out)) = wrong {
        d.report(node.place, Diagnostic::error(Code::InvalidValue, message).suggest(way_out));
    }
    Some(written)
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

pub(crate) fn canary<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
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

/// An amount of money that is something, in billionths.
pub(crate) fn some_money<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
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

pub(crate) fn pattern<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.is_empty() || text.len() > MOST_PATTERN {
        let message = format!("a pattern has 1 to {MOST_PATTERN} bytes");
        d.error(node.place, Code::InvalidValue, message);
        return None;
    }
    Some(text)
}

/// What the pod may show, and what takes its place.
fn credentials<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    kind: EgressPolicyKind,
) -> Option<(Vec<Credential>, Option<Inject>)> {
    let entries = d.list(node, |d, node| credential(d, node, kind))?;
    let (mut shown, mut injected) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Shown(credential) => shown.push(credential),
            Entry::Inject(inject) => injected.push(inject),
        }
    }
    let is_signed = shown.iter().any(|it| matches!(it, Credential::AwsKeyId(_)));
    let wrong = match injected.as_slice() {
        [_, _, ..] => {
            Some(("a request leaves with one key, and this rule has several", "write a rule for each key"))
        }
        [_] if is_signed => Some((
            "a signature of AWS is made by the client with its own key, and no other can take its place",
            "leave awsKeyId or inject out",
        )),
        [_] | [] => None,
    };
    if let Some((message, way_out)) = wrong {
        d.report(node.place, Diagnostic::error(Code::InvalidValue, message).suggest(way_out));
    }
    Some((shown, injected.into_iter().next()))
}

enum Entry {
    Shown(Credential),
    Inject(Inject),
}

fn credential<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: EgressPolicyKind) -> Option<Entry> {
    let map = d.strict(node, &["sha256", "awsKeyId", "inject"])?;
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
    let inject = d.field(map, "inject", |d, node| inject(d, node, kind));
    match (digest.or(key), inject) {
        (Some(one), None) if map.keys().count() == 1 => one.map(Entry::Shown),
        (None, Some(one)) => one.map(Entry::Inject),
        (Some(_), _) | (None, None) => {
            let message = "exactly one of sha256, awsKeyId and inject is needed";
            d.error(node.place, Code::ExactlyOne, message);
            None
        }
    }
}
