//! `metav1.LabelSelector`, with the API server's rules for label keys and values.

use crate::decode::{Decoder, Kept, Stray, pairs};
use crate::diagnostic::Code;
use crate::document::{Node, tree};
use crate::meta::{labels, short};
use crate::name;
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

    /// Whether it selects these labels.
    pub fn selects(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        let has = |key: &Arc<str>, value: &Arc<str>| labels.get(key) == Some(value);
        self.match_labels.iter().all(|(key, value)| has(key, value))
            && self.match_expressions.iter().all(|expression| {
                let is_one = expression.values.iter().any(|value| has(&expression.key, value));
                match expression.operator {
                    Operator::In => is_one,
                    Operator::NotIn => !is_one,
                    Operator::Exists => labels.contains_key(&expression.key),
                    Operator::DoesNotExist => !labels.contains_key(&expression.key),
                }
            })
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

impl LabelSelector {
    /// One that is no object's of a file, but a value of its own.
    ///
    /// # Errors
    /// Which field of it is wrong, and how.
    pub fn read(value: &serde_json::Value) -> Result<Self, String> {
        let root = tree(value);
        let mut decoder = Decoder::new("".into(), Kept::default());
        decoder.begin(None);
        let selector = Self::decode(&mut decoder, &root);
        selector.ok_or_else(|| decoder.first_error().as_deref().unwrap_or("it is no selector").to_owned())
    }

    /// `None` if anything in it is wrong: half a selector selects something else.
    pub(crate) fn decode<'n>(decoder: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Self> {
        decoder.sound(|d| {
            let of_namespaces = d.is_in("namespaceSelector") || d.is_in("namespaces");
            let known = ["matchLabels", "matchExpressions"];
            let map = d.strict_or(node, &known, |stray| labels_alone(stray, of_namespaces))?;
            let match_labels = d.field(map, "matchLabels", labels).unwrap_or_default();
            let expressions = d.field(map, "matchExpressions", |d, node| d.list(node, expression));
            Some(Self { match_labels, match_expressions: expressions.flatten().unwrap_or_default() })
        })
    }
}

/// Of a selector that is no more than the labels themselves, or the name of a namespace.
fn labels_alone(stray: Stray<'_>, of_namespaces: bool) -> Option<String> {
    let (key, value) = match stray {
        Stray::Scalar(text) if of_namespaces && name::dns_label(text).is_none() => ("name", text),
        Stray::Scalar(text) => return pairs(text).map(|pairs| format!("write {{matchLabels: {pairs}}}")),
        Stray::Field(key, node) => (key, Decoder::as_text(node)?),
    };
    // The label that every namespace has; one called name it has only where somebody gave it.
    let key = if of_namespaces && key == "name" { "kubernetes.io/metadata.name" } else { key };
    let pair = pairs(&format!("{key}={value}"))?;
    Some(format!("labels are written under matchLabels: {{matchLabels: {pair}}}"))
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

fn expression<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<SelectorExpression> {
    let map = d.strict(node, &["key", "operator", "values"])?;
    let key = d.required(map, "key", |d, node| {
        let key = d.string(node)?;
        if let Some(wrong) = name::label_key(&key) {
            d.error(node.place, Code::InvalidSelector, format!("{:?} is no label key: {wrong}", short(&key)));
        }
        Some(key)
    })?;
    let operator = d.required(map, "operator", |d, node| d.one_of(node, &OPERATORS))?;
    let values =
        d.field(map, "values", |d, node| d.list(node, expression_value)).flatten().unwrap_or_default();
    let needs_values = matches!(operator, Operator::In | Operator::NotIn);
    if needs_values && values.is_empty() {
        d.error(node.place, Code::InvalidSelector, "In and NotIn need at least one value");
    }
    if !needs_values && !values.is_empty() {
        d.error(node.place, Code::InvalidSelector, "Exists and DoesNotExist take no values");
    }
    Some(SelectorExpression { key, operator, values })
}

fn expression_value<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let value = d.string(node)?;
    if let Some(wrong) = name::label_value(&value) {
        d.error(node.place, Code::InvalidSelector, format!("{:?} is no label value: {wrong}", short(&value)));
    }
    Some(value)
}
