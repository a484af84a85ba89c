//! What one request to a service does ([`Operation`]), and which of them a rule allows ([`Requests`]).
//!
//! Enters: an operation, as `inspect` reads it off a request. Leaves: whether a rule allows it, or what it lacks
//! ([`Mismatch`]). Guarantees: an allow-list only; what was not understood ([`Verb::Unknown`]) is allowed by nothing but a
//! rule that names it. Does not: read requests.

mod shown;

use crate::cel::Budget;
use crate::condition::{MAX_STEPS, ToolCall, ToolCondition, Unmet, unmet};
use crate::contact::{Contact, ProviderEgress};
use crate::glob::Glob;
use crate::inject::Inject;
use crate::rule::RuleId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What a request does, in the direction that matters: what leaves, what comes, what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Brings what is stored elsewhere: a model, an object, a package.
    Download,
    /// Stores the caller's data elsewhere.
    Upload,
    /// Asks a model or a tool for an answer.
    Call,
    /// Changes something elsewhere other than by storing data.
    Mutate,
    /// Administers a server.
    Admin,
    /// Lists or describes.
    Meta,
    /// Asks for a token.
    Authorize,
    /// It could not be told.
    Unknown,
}

impl Verb {
    /// Every verb, as it is written.
    pub const ALL: [(&'static str, Self); 8] = [
        ("download", Self::Download),
        ("upload", Self::Upload),
        ("call", Self::Call),
        ("mutate", Self::Mutate),
        ("admin", Self::Admin),
        ("meta", Self::Meta),
        ("authorize", Self::Authorize),
        ("unknown", Self::Unknown),
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Call => "call",
            Self::Mutate => "mutate",
            Self::Admin => "admin",
            Self::Meta => "meta",
            Self::Authorize => "authorize",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// With what a request shows who pays for it, or whose it is. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credential {
    /// SHA-256 of a key or token as it was sent, without its scheme: 64 lower-case hexadecimal digits.
    Sha256(Arc<str>),
    /// Access key id of an AWS signature, which is no secret.
    AwsKeyId(Arc<str>),
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
            Self::AwsKeyId(id) => write!(f, "aws:{id}"),
        }
    }
}

/// One request, understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose service: a name of the catalog where it has one (`openai`, `huggingface`, `s3`), else that of a protocol or
    /// a server (`oci`, `ollama`, `mcp`). `None`: not known.
    pub provider: Option<Cow<'static, str>>,
    /// Which part of its interface: `chat`, `files`, `resolve`, `commit`.
    pub api: Cow<'static, str>,
    /// What it does.
    pub verb: Verb,
    /// What a token that is asked for is good for; only with [`Verb::Authorize`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Verb>,
    /// What it does it to: repository, `bucket/key`, image, package. `None`: nothing in particular.
    pub resource: Option<String>,
    /// What else of the same service it has read: what a server copies from, or a token also opens. An empty text: what that
    /// is the request does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The model that it names.
    pub model: Option<String>,
    /// Whether the answer comes piece by piece.
    pub stream: bool,
    /// Tools that it calls by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// What it shows of who pays for it; each of several places where a key can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// Whether it asks for what an answer to a request that was allowed led to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub referred: bool,
    /// Whether it asks for exactly what an answer granted, under a rule with [`Requests::redirects`], and that still holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub granted: bool,
    /// Whom it has the provider contact, where that was looked for; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// Why it was understood so, for a person.
    pub reason: Cow<'static, str>,
    /// Each call of a tool with its arguments, where somebody asked for these. They are never written down.
    #[serde(skip)]
    pub calls: Vec<ToolCall>,
}

impl Operation {
    /// What could not be told, and why not.
    pub fn unknown(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            provider: None,
            api: Cow::Borrowed("unknown"),
            verb: Verb::Unknown,
            intent: None,
            resource: None,
            sources: Vec::new(),
            model: None,
            stream: false,
            tools: Vec::new(),
            credentials: Vec::new(),
            referred: false,
            granted: false,
            contacts: Vec::new(),
            reason: reason.into(),
            calls: Vec::new(),
        }
    }
}

/// Which requests a rule allows, of those over connections that it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// One of them must match. Empty: every verb but [`Verb::Unknown`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operations>,
    /// The model of a call, and of whatever else names one, must be one of these. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Glob>,
    /// Each tool that is called must be one of these. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Glob>,
    /// There must be a credential, and each must be one of these. Empty: any, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// Only what an answer to an allowed request of the pod led to a short while ago.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_referred: bool,
    /// Only what an answer granted, whatever else is known of it: the rule that comes with another's [`Self::redirects`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub granted: bool,
    /// For how many seconds what its answers lead to is granted, 1 to [`Self::MOST_GRANTED`]. `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<u32>,
    /// What must not be in their bodies.
    #[serde(default, skip_serializing_if = "Leaks::is_open")]
    pub leaks: Leaks,
    /// How many there may be.
    #[serde(default, skip_serializing_if = "Quotas::is_open")]
    pub quotas: Quotas,
    /// What is kept of their contents. `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// Each call of a tool must meet all of these that are for the tool. Empty: nothing is asked of arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_conditions: Vec<ToolCondition>,
    /// What must not be in the files that come back.
    #[serde(default, skip_serializing_if = "AnswerFiles::is_open")]
    pub answers: AnswerFiles,
    /// What becomes of connections of a client that does not let its TLS be opened.
    #[serde(default, skip_serializing_if = "WhenUnopened::is_deny")]
    pub when_unopened: WhenUnopened,
    /// With which key they leave, in place of all that the pod sent. `None`: with what it sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
    /// Whom they may have the provider contact, beside whom the sender may reach itself.
    #[serde(default, skip_serializing_if = "ProviderEgress::is_closed")]
    pub provider_egress: ProviderEgress,
}

/// What becomes of a connection whose requests a rule would judge, and whose client does not let its TLS be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnopened {
    /// It is refused.
    #[default]
    Deny,
    /// It passes unread: the name in its hello and the limits of upload hold, its requests are not judged.
    Pass,
}

impl WhenUnopened {
    fn is_deny(&self) -> bool {
        *self == Self::Deny
    }
}

/// What is kept of what was said, with leaks masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// Bodies of requests.
    pub requests: bool,
    /// Bodies of answers.
    pub answers: bool,
    /// Of each body its first bytes, at most so many.
    pub max_bytes: u32,
}

impl Capture {
    /// Kept of a body where the rule does not say how much.
    pub const BYTES: u32 = 16 * 1024;
    /// Most that is kept of a body.
    pub const MOST_BYTES: u32 = 256 * 1024;
}

/// What is looked for in files that answers bring. `None`: it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerFiles {
    /// Pickles that import what is not known to be harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickles: Option<LeakAction>,
    /// Archives with members that lead out of where they are unpacked, links, devices; and those that become too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archives: Option<LeakAction>,
}

impl AnswerFiles {
    /// Whether nothing is looked for.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do with a request in whose body something is found that should not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeakAction {
    /// Tell of it, as a finding.
    Report,
    /// Refuse it, or cut it before its end.
    Block,
    /// Put a marker in its place; a request in which that cannot be done is one to block.
    Mask,
}

impl LeakAction {
    /// All, as they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Report", Self::Report), ("Block", Self::Block), ("Mask", Self::Mask)];

    /// Whether a request may be stopped for it.
    pub fn may_stop(self) -> bool {
        match self {
            Self::Report => false,
            Self::Block | Self::Mask => true,
        }
    }
}

/// What is looked for in bodies of requests. `None`: it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaks {
    /// Keys and tokens of known kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<LeakAction>,
    /// Payment cards, bank accounts, national ids, many e-mail addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<LeakAction>,
    /// Files with weights of models, and data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<LeakAction>,
    /// Marks that the user planted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canaries: Option<Canaries>,
    /// What looks encrypted, or packed in a form that nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
}

/// Bodies, and parts of bodies, that nobody can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opaque {
    /// What to do with one.
    pub action: LeakAction,
    /// From how many such bytes on.
    pub min_bytes: u64,
}

/// Marks that must not leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canaries {
    /// The marks.
    pub values: Vec<Arc<str>>,
    /// What to do where one is found.
    pub action: LeakAction,
}

impl Leaks {
    /// Whether nothing is looked for.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// How many requests a pod may make under a rule, how many tokens they may take, both ways together, and what these may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// Requests.
    #[serde(default, skip_serializing_if = "Quota::is_open")]
    pub requests: Quota,
    /// Tokens, as the provider counts them; as estimated until it does.
    #[serde(default, skip_serializing_if = "Quota::is_open")]
    pub tokens: Quota,
    /// What the tokens cost, by the prices that the user gives, in billionths of their currency ([`crate::NANOS`]).
    #[serde(default, skip_serializing_if = "Quota::is_open")]
    pub money: Quota,
}

/// How much in a window of time. `None`: any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// In one hour of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<u64>,
    /// In one day of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
}

impl Quota {
    /// Whether nothing is limited.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

impl Quotas {
    /// Whether nothing is limited.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// Some verbs on some resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// The verbs. [`Verb::Download`] means [`Verb::Meta`] as well; a verb means the requests for tokens that are good for
    /// it and nothing else.
    pub verbs: BTreeSet<Verb>,
    /// The resource must be one of these. Empty: any, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Glob>,
}

/// What a request lacks to be allowed, from the farthest to the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mismatch {
    /// It was not understood.
    Unknown,
    /// The rule does not allow what it does.
    Verb,
    /// Not with this resource.
    Resource,
    /// The rule does not allow to download what it copies from, or nobody can tell what that is.
    Source,
    /// Not this model, or it names none.
    Model,
    /// Not this tool.
    Tool,
    /// Not with this key, or there is none.
    Credential,
    /// No answer led to it, or that was too long ago.
    Referral,
    /// Not with these arguments of a tool, or it cannot be told.
    ToolArguments,
    /// No answer granted exactly that, or that was too long ago.
    Grant,
    /// It has the provider contact somebody whom the sender may not reach itself, or it cannot be told whom.
    ProviderEgress,
}

impl Mismatch {
    /// A clause for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Unknown => "what it does is not known",
            Self::Verb => "the rule does not allow to do that",
            Self::Resource => "not to that",
            Self::Source => "the rule does not allow to download what it copies from",
            Self::Model => "not with that model",
            Self::Tool => "not with that tool",
            Self::Credential => "not with that key",
            Self::Referral => "no answer led to it a short while ago",
            Self::ToolArguments => "not with those arguments of that tool",
            Self::Grant => "no answer granted it a short while ago",
            Self::ProviderEgress => {
                "it has the provider contact somebody whom the workload may not reach itself"
            }
        }
    }
}

impl Requests {
    /// Longest time for which what answers lead to may be granted, in seconds.
    pub const MOST_GRANTED: u32 = 3600;

    /// Whether a request is allowed.
    ///
    /// # Errors
    /// What it lacks.
    pub fn allows(&self, operation: &Operation) -> Result<(), Mismatch> {
        if self.granted {
            // What a server says of its own object needs no more understanding than its URL.
            return if operation.granted { Ok(()) } else { Err(Mismatch::Grant) };
        }
        self.allows_verb(operation)?;
        let any = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.matches(text));
        let names_model = operation.verb == Verb::Call && operation.tools.is_empty();
        let is_model = match &operation.model {
            Some(model) => any(&self.models, model),
            None => !names_model,
        };
        if !self.models.is_empty() && !is_model {
            return Err(Mismatch::Model);
        }
        if !self.tools.is_empty() && !operation.tools.iter().all(|tool| any(&self.tools, tool)) {
            return Err(Mismatch::Tool);
        }
        let shown = &operation.credentials;
        let is_known = !shown.is_empty() && shown.iter().all(|one| self.credentials.contains(one));
        if !self.credentials.is_empty() && !is_known {
            return Err(Mismatch::Credential);
        }
        if self.only_referred && !operation.referred {
            return Err(Mismatch::Referral);
        }
        if self.unmet(operation).is_some() {
            return Err(Mismatch::ToolArguments);
        }
        if self.provider_egress.refused(&operation.contacts).is_some() {
            return Err(Mismatch::ProviderEgress);
        }
        Ok(())
    }

    /// The first of its conditions on arguments that a request does not meet. Of what is unknown nobody knows which tools it calls,
    /// and it meets none.
    pub fn unmet(&self, operation: &Operation) -> Option<Unmet> {
        if let (Verb::Unknown, Some(condition)) = (operation.verb, self.tool_conditions.first()) {
            return Some(condition.unseen());
        }
        unmet(&self.tool_conditions, &operation.tools, &operation.calls, &mut Budget::new(MAX_STEPS))
    }

    /// More of what a request lacks by this rule, for a person, where there is more to say.
    pub fn detail(&self, lacks: Mismatch, operation: &Operation) -> Option<String> {
        match lacks {
            Mismatch::ToolArguments => self.unmet(operation).map(|unmet| unmet.to_string()),
            Mismatch::ProviderEgress => {
                self.provider_egress.refused(&operation.contacts).map(ToString::to_string)
            }
            Mismatch::Source => self.unread_source(operation).map(|source| match source {
                "" => "it does not say from where".to_owned(),
                source => format!("that is {source}"),
            }),
            Mismatch::Unknown
            | Mismatch::Verb
            | Mismatch::Resource
            | Mismatch::Model
            | Mismatch::Tool
            | Mismatch::Credential
            | Mismatch::Referral
            | Mismatch::Grant => None,
        }
    }

    fn allows_verb(&self, operation: &Operation) -> Result<(), Mismatch> {
        let mut nearest = if operation.verb == Verb::Unknown { Mismatch::Unknown } else { Mismatch::Verb };
        if self.operations.is_empty() && operation.verb != Verb::Unknown {
            return Ok(());
        }
        for some in self.operations.iter().filter(|some| some.has_verb(operation)) {
            if some.has_resource(operation) {
                return self.unread_source(operation).map_or(Ok(()), |_| Err(Mismatch::Source));
            }
            nearest = Mismatch::Resource;
        }
        Err(nearest)
    }

    /// The first that the request copies from without the rule allowing to download it: who may write to one place could else
    /// read any other there.
    fn unread_source<'o>(&self, operation: &'o Operation) -> Option<&'o str> {
        let may_read = |source: &str| {
            self.operations.is_empty() || self.operations.iter().any(|some| some.reads(source))
        };
        operation.sources.iter().map(String::as_str).find(|source| !may_read(source))
    }
}

impl Operations {
    fn has_verb(&self, operation: &Operation) -> bool {
        let listed = |verb: Verb| {
            self.verbs.contains(&verb) || verb == Verb::Meta && self.verbs.contains(&Verb::Download)
        };
        listed(operation.verb) || operation.verb == Verb::Authorize && operation.intent.is_some_and(listed)
    }

    /// Whether this may be downloaded. What is not named may be anything.
    fn reads(&self, source: &str) -> bool {
        let is_meant = || self.resources.iter().any(|resources| resources.matches(source));
        self.verbs.contains(&Verb::Download)
            && (self.resources.is_empty() || !source.is_empty() && is_meant())
    }

    fn has_resource(&self, operation: &Operation) -> bool {
        let is_meant = |resource: &String| self.resources.iter().any(|resources| resources.matches(resource));
        self.resources.is_empty() || operation.resource.as_ref().is_some_and(is_meant)
    }
}

/// Judges a request by rules of which any may allow it: of those that do, the one that demands most of it, else the first. An error
/// is the rule that comes nearest, and what it lacks.
///
/// # Errors
/// No rule allows it; without an entry there is no rule.
pub fn judge_operation<'r>(
    rules: impl IntoIterator<Item = (RuleId, &'r Requests)>,
    operation: &Operation,
) -> Result<RuleId, Option<(RuleId, Mismatch)>> {
    let mut nearest: Option<(RuleId, Mismatch)> = None;
    let mut allowing: Option<(RuleId, [bool; 4])> = None;
    for (rule, requests) in rules {
        match requests.allows(operation) {
            // What one rule demands must not be undone by another that allows the same.
            Ok(()) => {
                let Requests { leaks, quotas, answers, inject, .. } = requests;
                let demands = [!leaks.is_open(), !quotas.is_open(), !answers.is_open(), inject.is_some()];
                if allowing.is_none_or(|(_, before)| before < demands) {
                    allowing = Some((rule, demands));
                }
            }
            Err(lacks) if nearest.is_none_or(|(_, before)| before < lacks) => nearest = Some((rule, lacks)),
            Err(_) => {}
        }
    }
    allowing.map(|(rule, _)| rule).ok_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::SecretRef;

    fn operation(verb: Verb, resource: &str) -> Operation {
        Operation { verb, resource: Some(resource.into()), ..Operation::unknown("test") }
    }

    fn download_llama() -> Requests {
        let operations =
            vec![Operations { verbs: [Verb::Download].into(), resources: vec![Glob::new("meta-llama/*")] }];
        Requests { operations, ..Requests::default() }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let rule = download_llama();
        let llama = "meta-llama/Llama-3";
        let asks_for = |intent| Operation { intent: Some(intent), ..operation(Verb::Authorize, llama) };
        for (operation, expected) in [
            (operation(Verb::Download, llama), Ok(())),
            (operation(Verb::Meta, llama), Ok(())),
            (operation(Verb::Download, "evil/x"), Err(Mismatch::Resource)),
            (operation(Verb::Upload, llama), Err(Mismatch::Verb)),
            (operation(Verb::Call, llama), Err(Mismatch::Verb)),
            (operation(Verb::Unknown, llama), Err(Mismatch::Unknown)),
            (operation(Verb::Authorize, llama), Err(Mismatch::Verb)),
            (asks_for(Verb::Download), Ok(())),
            (asks_for(Verb::Upload), Err(Mismatch::Verb)),
            (Operation { resource: None, ..operation(Verb::Download, "") }, Err(Mismatch::Resource)),
        ] {
            assert_eq!(rule.allows(&operation), expected, "{operation:?}");
        }
        let all = Requests::default();
        assert_eq!(all.allows(&operation(Verb::Admin, "x")), Ok(()));
        assert_eq!(all.allows(&operation(Verb::Unknown, "x")), Err(Mismatch::Unknown));
    }

    #[test]
    fn who_may_write_somewhere_copies_only_what_the_rule_lets_it_read() {
        let some = |verb, resources: &[&str]| Operations {
            verbs: [verb].into(),
            resources: resources.iter().map(|glob| Glob::new(glob)).collect(),
        };
        let upload = || some(Verb::Upload, &["acme/out"]);
        let rule = |operations| Requests { operations, ..Requests::default() };
        let copy = |sources: &[&str]| Operation {
            sources: sources.iter().map(ToString::to_string).collect(),
            ..operation(Verb::Upload, "acme/out")
        };
        let refused = Err(Mismatch::Source);
        for (operations, sources, expected) in [
            (vec![upload()], vec![], Ok(())),
            (vec![upload()], vec!["acme/secret"], refused),
            (vec![upload()], vec!["acme/out"], refused),
            (vec![some(Verb::Upload, &[])], vec!["acme/secret"], refused),
            (vec![upload(), some(Verb::Download, &["acme/base"])], vec!["acme/base"], Ok(())),
            (vec![upload(), some(Verb::Download, &["acme/base"])], vec!["acme/base", "acme/secret"], refused),
            (vec![upload(), some(Verb::Meta, &[])], vec!["acme/base"], refused),
            (vec![upload(), some(Verb::Download, &["**"])], vec![""], refused),
            (vec![upload(), some(Verb::Download, &[])], vec!["", "any"], Ok(())),
            (vec![], vec!["", "any"], Ok(())),
        ] {
            let rule = rule(operations);
            assert_eq!(rule.allows(&copy(&sources)), expected, "{rule} with {sources:?}");
        }
        let rule = rule(vec![upload()]);
        let detail = |sources: &[&str]| rule.detail(Mismatch::Source, &copy(sources)).unwrap();
        assert_eq!(detail(&["acme/secret"]), "that is acme/secret");
        assert_eq!(detail(&[""]), "it does not say from where");
    }

    #[test]
    fn models_tools_and_keys_are_held_to_their_lists() {
        let key = |text: &str| Credential::Sha256(text.into());
        let rule = Requests {
            models: vec![Glob::new("gpt-4o*")],
            tools: vec![Glob::new("read_*")],
            credentials: vec![key("a")],
            ..Requests::default()
        };
        let call = Operation {
            model: Some("gpt-4o".into()),
            credentials: vec![key("a")],
            ..operation(Verb::Call, "")
        };
        assert_eq!(rule.allows(&call), Ok(()));
        let model = |model: Option<&str>| Operation { model: model.map(Into::into), ..call.clone() };
        assert_eq!(rule.allows(&model(Some("o3"))), Err(Mismatch::Model));
        assert_eq!(rule.allows(&model(None)), Err(Mismatch::Model));
        let tools = |tools: &[&str]| Operation {
            model: None,
            tools: tools.iter().map(ToString::to_string).collect(),
            ..call.clone()
        };
        assert_eq!(rule.allows(&tools(&["read_file"])), Ok(()));
        assert_eq!(rule.allows(&tools(&["read_file", "exec"])), Err(Mismatch::Tool));
        let keys = |credentials| Operation { credentials, ..call.clone() };
        for credentials in [vec![], vec![key("b")], vec![key("a"), key("b")]] {
            assert_eq!(rule.allows(&keys(credentials)), Err(Mismatch::Credential));
        }
    }

    #[test]
    fn the_nearest_rule_is_the_one_that_lacks_least() {
        let (llama, all) =
            (download_llama(), Requests { models: vec![Glob::new("m")], ..Requests::default() });
        let rules = || [(RuleId(16), &llama), (RuleId(17), &all)];
        let judge = |operation: &Operation| judge_operation(rules(), operation);
        assert_eq!(judge(&operation(Verb::Download, "meta-llama/a")), Ok(RuleId(16)));
        assert_eq!(judge(&operation(Verb::Upload, "x")), Ok(RuleId(17)));
        let scanned = Requests {
            leaks: Leaks { secrets: Some(LeakAction::Block), ..Leaks::default() },
            ..Requests::default()
        };
        let rules = [(RuleId(16), &all), (RuleId(17), &scanned), (RuleId(18), &scanned)];
        assert_eq!(judge_operation(rules, &operation(Verb::Upload, "x")), Ok(RuleId(17)));
        let answers = AnswerFiles { pickles: Some(LeakAction::Block), archives: None };
        let watched = Requests { answers, ..Requests::default() };
        let rules = [(RuleId(16), &all), (RuleId(17), &watched)];
        assert_eq!(judge_operation(rules, &operation(Verb::Upload, "x")), Ok(RuleId(17)));
        assert_eq!(watched.to_string(), "anything that is understood; unsafe pickles blocked");
        let secret = SecretRef { namespace: "ns".into(), name: "keys".into(), key: "openai".into() };
        let keyed = Requests { inject: Some(Inject { secret, header: None }), ..Requests::default() };
        for (rules, expected) in [
            ([(RuleId(16), &all), (RuleId(17), &keyed), (RuleId(18), &keyed)], 17),
            ([(RuleId(16), &keyed), (RuleId(17), &watched), (RuleId(18), &keyed)], 17),
        ] {
            assert_eq!(judge_operation(rules, &operation(Verb::Upload, "x")), Ok(RuleId(expected)));
        }
        let shown =
            "anything that is understood; sent with openai of Secret ns/keys, whatever key the pod sends";
        assert_eq!(keyed.to_string(), shown);
        assert_eq!(judge(&operation(Verb::Call, "x")), Err(Some((RuleId(17), Mismatch::Model))));
        assert_eq!(judge_operation([], &operation(Verb::Call, "x")), Err(None));
    }
}
