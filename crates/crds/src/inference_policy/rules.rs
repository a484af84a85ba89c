//! `rules` of an InferencePolicy: who may do what.
//!
//! Guarantees: a list that is written has entries. Does not: read conditions, or say what lists that are not written mean;
//! `admit` does.

use super::values::{patterns, text};
use crate::decode::Decoder;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::meta::Located;
use crate::tool_condition::{ToolCondition, tool_conditions};
use std::sync::Arc;

/// Bytes of the name of a rule.
const MOST_NAME: usize = 253;
/// Bytes of a condition, as `policy::cel` has them.
const MOST_CONDITION: usize = 4096;

/// One rule. Lists that are empty are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceRule {
    /// `name`
    pub name: Option<Arc<str>>,
    /// `action`
    pub action: InferenceAction,
    /// `consumers`, patterns.
    pub consumers: Vec<Arc<str>>,
    /// `groups`, patterns: one of them is meant by one of the consumer's.
    pub groups: Vec<Arc<str>>,
    /// `classes`
    pub classes: Vec<OperationClass>,
    /// `operations`, patterns: `chat`, `embeddings`, `tools/call`.
    pub operations: Vec<Arc<str>>,
    /// `models`, patterns.
    pub models: Vec<Arc<str>>,
    /// `tools`, patterns.
    pub tools: Vec<Arc<str>>,
    /// `when`, an expression in CEL; whether it is one is `admit`'s to say.
    pub when: Option<Located<Arc<str>>>,
    /// `toolConditions`, only of an `Allow`. Empty: not written.
    pub tool_conditions: Vec<Located<ToolCondition>>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InferenceAction {
    /// `Allow`
    Allow,
    /// `Deny`
    Deny,
}

/// Which part of a server's interface a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationClass {
    /// `infer`: it asks a model or a tool.
    Infer,
    /// `introspect`: it looks at what is there: models, health, metrics.
    Introspect,
    /// `admin`: it changes how the server works.
    Admin,
    /// `mutate-weights`: it changes which models there are.
    MutateWeights,
    /// `unknown`: it could not be told.
    Unknown,
}

impl OperationClass {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("infer", Self::Infer),
        ("introspect", Self::Introspect),
        ("admin", Self::Admin),
        ("mutate-weights", Self::MutateWeights),
        ("unknown", Self::Unknown),
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Introspect => "introspect",
            Self::Admin => "admin",
            Self::MutateWeights => "mutate-weights",
            Self::Unknown => "unknown",
        }
    }
}

pub(super) fn rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<InferenceRule> {
    const ACTIONS: [(&str, InferenceAction); 2] =
        [("Allow", InferenceAction::Allow), ("Deny", InferenceAction::Deny)];
    const LISTS: [&str; 5] = ["consumers", "groups", "operations", "models", "tools"];
    const FIELDS: [&str; 10] = [
        "name",
        "action",
        "consumers",
        "groups",
        "classes",
        "operations",
        "models",
        "tools",
        "when",
        "toolConditions",
    ];
    let map = d.strict(node, &FIELDS)?;
    let name = d.field(map, "name", |d, node| text(d, node, MOST_NAME)).flatten();
    let action = d.required(map, "action", |d, node| d.one_of(node, &ACTIONS));
    let [consumers, groups, operations, models, tools] =
        LISTS.map(|field| d.field(map, field, patterns).flatten().unwrap_or_default());
    let classes = d.field(map, "classes", |d, node| {
        d.check_length(node, 1, OperationClass::WORDS.len());
        d.list(node, |d, node| d.one_of(node, &OperationClass::WORDS))
    });
    let when = d.field(map, "when", |d, node| {
        let value = d.string(node)?;
        if value.len() > MOST_CONDITION {
            let message = format!("a condition has at most {MOST_CONDITION} bytes");
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("make it several rules"));
        }
        Some(Located { position: d.position(node.place), value })
    });
    let conditions = d.field(map, "toolConditions", |d, node| {
        if action == Some(InferenceAction::Deny) {
            let message = "only a rule that allows can say what must hold of the arguments of tools";
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(
                node.place,
                diagnostic.suggest(
                    "write it in the rules with action: Allow: a call that meets none of them is refused",
                ),
            );
        }
        tool_conditions(d, node)
    });
    Some(InferenceRule {
        name,
        action: action?,
        consumers,
        groups,
        classes: classes.flatten().unwrap_or_default(),
        operations,
        models,
        tools,
        when: when.flatten(),
        tool_conditions: conditions.flatten().unwrap_or_default(),
    })
}
