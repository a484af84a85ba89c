//! Rules of an InferencePolicy, compiled, and whether one is meant by a request.
//!
//! Guarantees: a rule that allows is met only by what is known to fit; one that denies also by what may fit. Rules that do
//! not say of which classes allow inference alone, and deny everything. A rule with conditions on arguments of tools allows
//! only what is known to meet them.

use crate::effective::Source;
use crate::judge::Facts;
use crate::pattern::{Patterns, Star, Whom};
use crds::{Code, Diagnostic, InferenceAction, InferenceRule, Located, OperationClass, Position};
use policy::cel::{Budget, CompileError, Expression, Type, Value};
use policy::condition::unmet;
use policy::{Consumer, Known, ToolCondition, Unmet};
use std::sync::Arc;

/// What a condition can ask about, in the order of [`values`].
const VARIABLES: [(&str, Type); 12] = [
    ("consumer", Type::String),
    ("groups", Type::List),
    ("claims", Type::Map),
    ("how", Type::String),
    ("issuer", Type::String),
    ("class", Type::String),
    ("operation", Type::String),
    ("model", Type::Dyn),
    ("tools", Type::List),
    ("method", Type::String),
    ("path", Type::String),
    ("tokens", Type::Dyn),
];

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) action: InferenceAction,
    pub(crate) source: Source,
    whom: Whom,
    classes: Vec<OperationClass>,
    operations: Patterns,
    models: Patterns,
    tools: Patterns,
    when: Option<Expression>,
    conditions: Vec<ToolCondition>,
}

/// Whether a rule is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    No,
    Yes,
    /// It would be, were it not for what a tool is called with.
    ButForArguments(Box<Unmet>),
    /// Its condition cannot be told: why.
    Unknown(String),
}

/// All rules of a policy. A condition that cannot be read is told; the rule without it would be another one, so the policy is
/// not to be applied then.
pub(crate) fn rules(
    written: &[Located<InferenceRule>],
    source: &dyn Fn(&str, &Position) -> Source,
    wrong: &mut Vec<Diagnostic>,
) -> Arc<[Rule]> {
    let mut rules = Vec::new();
    for (at, Located { position, value }) in written.iter().enumerate() {
        let source = source(&format!("spec.rules[{at}]"), position);
        let mut unreadable = |field: &str, position: &Position, error: &CompileError, way_out: &str| {
            let diagnostic = Diagnostic::error(Code::InvalidValue, format!("it is no condition: {error}"));
            let mut diagnostic = diagnostic.at(position.clone());
            diagnostic.object = Some(source.object.clone());
            diagnostic.field = format!("{}.{field}", source.field);
            wrong.push(diagnostic.suggest(way_out));
        };
        let when = value.when.as_ref().and_then(|when| {
            let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
            let way_out = format!("it can ask about {}", names.join(", "));
            let read = Expression::compile(&when.value, &VARIABLES);
            read.map_err(|error| unreadable("when", &when.position, &error, &way_out)).ok()
        });
        let conditions =
            value.tool_conditions.iter().enumerate().filter_map(|(at, Located { value, .. })| {
                let field = format!("toolConditions[{at}].when");
                let read = ToolCondition::new(&value.tool, &value.when.value);
                read.map_err(|error| unreadable(&field, &value.when.position, &error, ToolCondition::HINT))
                    .ok()
            });
        let conditions = conditions.collect();
        rules.push(Rule::new(value, source, when, conditions));
    }
    rules.into()
}

impl Rule {
    fn new(
        written: &InferenceRule,
        source: Source,
        when: Option<Expression>,
        conditions: Vec<ToolCondition>,
    ) -> Self {
        let star = match written.action {
            InferenceAction::Allow => Star::Part,
            InferenceAction::Deny => Star::Anything,
        };
        let classes = match written.action {
            InferenceAction::Allow if written.classes.is_empty() => vec![OperationClass::Infer],
            InferenceAction::Allow | InferenceAction::Deny => written.classes.clone(),
        };
        let patterns = |list: &[Arc<str>]| Patterns::new(list, star);
        Self {
            name: written.name.clone(),
            action: written.action,
            source,
            whom: Whom { consumers: patterns(&written.consumers), groups: patterns(&written.groups) },
            classes,
            operations: patterns(&written.operations),
            models: Patterns::of_models(&written.models, star),
            tools: patterns(&written.tools),
            when,
            conditions,
        }
    }

    /// Whether it is meant. `values`: what conditions are asked with.
    pub(crate) fn is_meant(
        &self,
        consumer: &Consumer,
        facts: &Facts<'_>,
        values: &[Value],
        budget: &mut Budget,
    ) -> Meant {
        let fits = self.whom.is(consumer)
            && (self.classes.is_empty() || self.classes.contains(&facts.class))
            && self.operations.admits(Some(facts.operation))
            && self.fits_model(facts)
            && self.fits_tools(facts.tools);
        match &self.when {
            _ if !fits => Meant::No,
            None => self.by_arguments(facts, budget),
            Some(when) => match when.holds(values, budget) {
                Ok(true) => self.by_arguments(facts, budget),
                Ok(false) => Meant::No,
                Err(wrong) => Meant::Unknown(wrong.to_string()),
            },
        }
    }

    /// Whether what tools are called with is what it wants. Of what could not be told nobody knows which tools it calls.
    fn by_arguments(&self, facts: &Facts<'_>, budget: &mut Budget) -> Meant {
        let first = self.conditions.first().filter(|_| facts.class == OperationClass::Unknown);
        let unmet = match first {
            Some(condition) => Some(condition.unseen()),
            None => unmet(&self.conditions, facts.tools, facts.calls, budget),
        };
        unmet.map_or(Meant::Yes, |unmet| Meant::ButForArguments(Box::new(unmet)))
    }

    pub(crate) fn has_condition(&self) -> bool {
        self.when.is_some()
    }

    pub(crate) fn asks_for_arguments(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Where a model is asked or changed and none is named, it may be any: a server has a usual one.
    fn fits_model(&self, facts: &Facts<'_>) -> bool {
        let may_be_any = match facts.class {
            OperationClass::Infer | OperationClass::Unknown => facts.tools.is_empty(),
            OperationClass::MutateWeights => true,
            OperationClass::Introspect | OperationClass::Admin => false,
        };
        let fits_without = match self.action {
            InferenceAction::Allow => !may_be_any,
            InferenceAction::Deny => may_be_any,
        };
        self.models.admits(facts.model) || facts.model.is_none() && fits_without
    }

    fn fits_tools(&self, tools: &[String]) -> bool {
        match self.action {
            InferenceAction::Allow => {
                self.tools.is_open() || tools.iter().all(|tool| self.tools.matches(tool))
            }
            InferenceAction::Deny => {
                self.tools.is_open() || tools.iter().any(|tool| self.tools.matches(tool))
            }
        }
    }
}

/// What conditions are asked with. What is not known is null, which no comparison of size and no function takes.
pub(crate) fn values(consumer: &Consumer, facts: &Facts<'_>) -> Vec<Value> {
    let list = |texts: &mut dyn Iterator<Item = Value>| Value::List(texts.collect::<Vec<_>>().into());
    let (how, issuer) = match &consumer.how {
        Known::Anonymous => ("anonymous", ""),
        Known::ApiKey => ("api-key", ""),
        Known::Token(issuer) => ("jwt", &**issuer),
        Known::Certificate(domain) => ("certificate", &**domain),
    };
    let tokens = facts.input_tokens.map(|tokens| Value::Int(i64::try_from(tokens).unwrap_or(i64::MAX)));
    vec![
        Value::String(consumer.name.clone()),
        list(&mut consumer.groups.iter().map(|group| Value::String(group.clone()))),
        consumer.claims.clone(),
        Value::text(how),
        Value::text(issuer),
        Value::text(facts.class.as_str()),
        Value::text(facts.operation),
        facts.model.map_or(Value::Null, Value::text),
        list(&mut facts.tools.iter().map(|tool| Value::text(tool))),
        Value::text(facts.method),
        Value::text(facts.path),
        tokens.unwrap_or(Value::Null),
    ]
}
