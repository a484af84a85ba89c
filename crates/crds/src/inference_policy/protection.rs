//! `waf`, `guard` and `responses` of an InferencePolicy: what is looked at on the way in and out.
//!
//! Guarantees: a mode is always written out, so that leaving one out is not taken for either. Does not: load rules.

use super::values::{Score, score};
use crate::decode::Decoder;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::egress_policy::{LeakAction, MOST_PATTERNS, bytes, canary};
use std::sync::Arc;

/// Most bytes of an answer that may be held back.
const MOST_HELD: u64 = 64 * 1024;

/// Whether what is found has consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtectionMode {
    /// `Disabled`; not `Off`, which is a boolean in YAML.
    Off,
    /// `Shadow`: it is recorded, and passes.
    Shadow,
    /// `Enforce`
    Enforce,
}

impl ProtectionMode {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("Disabled", Self::Off), ("Shadow", Self::Shadow), ("Enforce", Self::Enforce)];
}

/// `waf`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waf {
    /// `mode`
    pub mode: ProtectionMode,
    /// `profile`; `FieldAware` if not written.
    pub profile: WafProfile,
    /// `paranoia`, 1 to 4; 1 if not written.
    pub paranoia: u8,
    /// `inboundThreshold`: the anomaly score that blocks; 5 if not written.
    pub inbound_threshold: u32,
    /// `overBudget`; `Deny` if not written.
    pub over_budget: OverBudget,
}

/// What rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WafProfile {
    /// `CRS`: everything, as the Core Rule Set does.
    Crs,
    /// `FieldAware`: in bodies of known interfaces, not what people write to a model.
    FieldAware,
}

/// What becomes of what cannot be inspected, or not with the work that may be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverBudget {
    /// `Deny`
    Deny,
    /// `Allow`
    Allow,
}

impl OverBudget {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 2] = [("Deny", Self::Deny), ("Allow", Self::Allow)];
}

/// `guard`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// `mode`
    pub mode: ProtectionMode,
    /// `annotateAt`: from this score on it is told. `None`: as the guard was measured with.
    pub annotate_at: Option<Score>,
    /// `blockAt`: from this score on it is not passed on. `None`: as the guard was measured with.
    pub block_at: Option<Score>,
    /// `roles`: whose texts are looked at. Empty: not written, which means users' and tools'.
    pub roles: Vec<GuardRole>,
}

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardRole {
    /// `user`
    User,
    /// `tool`: what tools, pages and documents gave.
    Tool,
    /// `operator`: system and developer texts.
    Operator,
}

impl GuardRole {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("user", Self::User), ("tool", Self::Tool), ("operator", Self::Operator)];
}

/// `responses`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    /// `leaks`
    pub leaks: ResponseLeaks,
    /// `holdBytes`: how much of an answer is held back so that what is found in it does not leave, 1 to 64 KiB. `None`:
    /// as much as the longest thing that is looked for needs.
    pub hold_bytes: Option<u64>,
    /// `uninspected`: what becomes of an answer that cannot be looked at; `Deny` if not written.
    pub uninspected: OverBudget,
}

/// What is looked for in answers; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseLeaks {
    /// `secrets`
    pub secrets: Option<LeakAction>,
    /// `personal`
    pub personal: Option<LeakAction>,
    /// `canaries`: the marks, and what to do.
    pub canaries: Option<(Vec<Arc<str>>, LeakAction)>,
    /// `systemPrompt`: parts of what the request's own operator told the model.
    pub system_prompt: Option<LeakAction>,
}

pub(super) fn waf<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Waf> {
    const PROFILES: [(&str, WafProfile); 2] =
        [("CRS", WafProfile::Crs), ("FieldAware", WafProfile::FieldAware)];
    const MOST_THRESHOLD: u32 = 1000;
    let map = d.strict(node, &["mode", "profile", "paranoia", "inboundThreshold", "overBudget"])?;
    let mode = d.required(map, "mode", |d, node| d.one_of(node, &ProtectionMode::WORDS));
    let profile = d.field(map, "profile", |d, node| d.one_of(node, &PROFILES));
    let paranoia = d.field(map, "paranoia", |d, node| between(d, node, 4));
    let threshold = d.field(map, "inboundThreshold", |d, node| between(d, node, MOST_THRESHOLD));
    let over_budget = d.field(map, "overBudget", |d, node| d.one_of(node, &OverBudget::WORDS));
    Some(Waf {
        mode: mode?,
        profile: profile.unwrap_or(Some(WafProfile::FieldAware))?,
        paranoia: u8::try_from(paranoia.unwrap_or(Some(1))?).ok()?,
        inbound_threshold: threshold.unwrap_or(Some(5))?,
        over_budget: over_budget.unwrap_or(Some(OverBudget::Deny))?,
    })
}

fn between<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, most: u32) -> Option<u32> {
    let number = d.count(node)?;
    if !(1..=most).contains(&number) {
        d.error(node.place, Code::InvalidValue, format!("it is no number from 1 to {most}"));
        return None;
    }
    Some(number)
}

pub(super) fn guard<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Guard> {
    let map = d.strict(node, &["mode", "annotateAt", "blockAt", "roles"])?;
    let mode = d.required(map, "mode", |d, node| d.one_of(node, &ProtectionMode::WORDS));
    let [annotate_at, block_at] = ["annotateAt", "blockAt"].map(|field| d.field(map, field, score).flatten());
    if let (Some(annotate), Some(block)) = (annotate_at, block_at)
        && annotate > block
    {
        d.error(node.place, Code::InvalidValue, "annotateAt is above blockAt: what is blocked is told too");
    }
    let roles = d.field(map, "roles", |d, node| {
        d.check_length(node, 1, GuardRole::WORDS.len());
        d.list(node, |d, node| d.one_of(node, &GuardRole::WORDS))
    });
    Some(Guard { mode: mode?, annotate_at, block_at, roles: roles.flatten().unwrap_or_default() })
}

pub(super) fn responses<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Responses> {
    let map = d.strict(node, &["leaks", "holdBytes", "uninspected"])?;
    let leaks = d.required(map, "leaks", leaks);
    let hold_bytes = d.field(map, "holdBytes", |d, node| {
        let held = bytes(d, node)?;
        if held > MOST_HELD {
            let diagnostic = Diagnostic::error(Code::InvalidValue, "at most 64 KiB are held back");
            d.report(node.place, diagnostic.suggest("write at most 64Ki"));
        }
        Some(held)
    });
    let uninspected = d.field(map, "uninspected", |d, node| d.one_of(node, &OverBudget::WORDS));
    Some(Responses {
        leaks: leaks?,
        hold_bytes: hold_bytes.flatten(),
        uninspected: uninspected.unwrap_or(Some(OverBudget::Deny))?,
    })
}

fn leaks<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ResponseLeaks> {
    let map = d.strict(node, &["secrets", "personal", "canaries", "systemPrompt"])?;
    if map.keys().next().is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "at least one field is needed");
        d.report(node.place, diagnostic.suggest("for example {secrets: Mask}, or leave responses out"));
    }
    let [secrets, personal, system_prompt] = ["secrets", "personal", "systemPrompt"]
        .map(|class| d.field(map, class, |d, node| d.one_of(node, &LeakAction::WORDS)).flatten());
    let canaries = d.field(map, "canaries", |d, node| {
        let map = d.strict(node, &["values", "action"])?;
        let values = d.required(map, "values", |d, node| {
            d.check_length(node, 1, MOST_PATTERNS);
            d.list(node, canary)
        });
        let action = d.required(map, "action", |d, node| d.one_of(node, &LeakAction::WORDS));
        Some((values?, action?))
    });
    Some(ResponseLeaks { secrets, personal, canaries: canaries.flatten(), system_prompt })
}
