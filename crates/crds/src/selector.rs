//! `metav1.LabelSelector`, with the API server's rules for label keys and values.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A label selector as written. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// All must be equal.
    pub match_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// All must hold.
    pub match_expressions: Vec<SelectorExpression>,
}

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorExpression {
    /// Label key.
    pub key: Arc<str>,
    /// How `values` are compared.
    pub operator: Operator,
    /// Not empty for `In` and `NotIn`, empty for the others.
    pub values: Vec<Arc<str>>,
}

/// Operator of a selector expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there and one of the values.
    In,
    /// The label is absent or none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}
