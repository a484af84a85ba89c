//! `toolConditions`: what must hold of the arguments that tools are called with, as rules of several kinds say it.
//!
//! Guarantees: a list that is written has entries. Does not: read conditions; whoever judges by them does.

use crate::decode::Decoder;
use crate::document::Node;
use crate::egress_policy::{MOST, pattern};
use crate::meta::Located;
use std::sync::Arc;

/// One entry of `toolConditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCondition {
    /// `tool`, a pattern.
    pub tool: Arc<str>,
    /// `when`, an expression in CEL; whether it is one is for whoever judges by it to say.
    pub when: Located<Arc<str>>,
}

/// A list of them.
pub(crate) fn tool_conditions<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
) -> Option<Vec<Located<ToolCondition>>> {
    d.check_length(node, 1, MOST);
    d.located(node, tool_condition)
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
