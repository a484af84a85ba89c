//! What must hold of the arguments that a tool is called with.
//!
//! Enters: conditions, and which tools a request calls with what. Leaves: the first condition that is not met. Guarantees:
//! whoever judges asks [`unmet`], so all say the same; arguments that are not there to look at meet no condition, nor does what
//! cannot be told; whoever asks says how much it may cost, which is at most [`MAX_STEPS`] for one request. What is said of a
//! condition that is not met has nothing of the arguments.

use crate::cel::{Budget, CompileError, Expression, Type, Value, Wrong};
use crate::glob::Glob;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Steps ([`Budget`]) for conditions on one request: all of one rule, or all of all rules where the first that is meant decides.
pub const MAX_STEPS: u64 = 200_000;
/// What a condition can ask about, in the order of [`ToolCall::values`].
const VARIABLES: [(&str, Type); 3] = [("args", Type::Map), ("tool", Type::String), ("server", Type::String)];

/// A condition in CEL over `args` (what the tool is called with), `tool` (its name) and `server` (the name for which the
/// connection is, or to an ingress gateway the request).
#[derive(Clone, Debug)]
pub struct Condition(Expression);

impl Condition {
    /// Reads one.
    ///
    /// # Errors
    /// It is no expression, or one that cannot be true or false.
    pub fn new(text: &str) -> Result<Self, CompileError> {
        Expression::compile(text, &VARIABLES).map(Self)
    }

    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        self.0.text()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A condition on the calls of some tools.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ToolCondition {
    /// The tools. A star is any number of any characters, `/` too, for a condition that misses a tool lets it pass.
    pub tool: Glob,
    /// What must hold.
    pub when: Condition,
}

impl ToolCondition {
    /// What else to write where a condition cannot be read.
    pub const HINT: &str =
        "write an expression in CEL over args, tool and server: args.path.startsWith('/tmp/')";

    /// Reads one.
    ///
    /// # Errors
    /// As [`Condition::new`].
    pub fn new(tool: &str, when: &str) -> Result<Self, CompileError> {
        Ok(Self { tool: Glob::new(tool), when: Condition::new(when)? })
    }

    /// It is not met by a call that nobody looked at.
    pub fn unseen(&self) -> Unmet {
        Unmet { condition: self.clone(), why: Why::Unread(ArgumentsFlaw::NotHeld) }
    }

    fn is_for(&self, tool: &str) -> bool {
        Glob::new(&self.tool.to_string().replace('*', "**")).matches(tool)
    }
}

impl fmt::Display for ToolCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tool {} when {}", self.tool, self.when.text())
    }
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool.
    pub tool: String,
    /// The name of its server.
    pub server: Arc<str>,
    /// What it is called with.
    pub arguments: Arguments,
}

impl ToolCall {
    fn values(&self) -> Result<[Value; 3], ArgumentsFlaw> {
        match &self.arguments {
            Arguments::Written(json) => {
                let args = serde_json::from_slice(json).map_err(|_| ArgumentsFlaw::Ambiguous)?;
                Ok([args, Value::text(&self.tool), Value::String(self.server.clone())])
            }
            Arguments::Unread(flaw) => Err(*flaw),
        }
    }
}

/// What a tool is called with.
#[derive(Clone, PartialEq, Eq)]
pub enum Arguments {
    /// A JSON object, as it was written: what is made of it takes many times as much memory, and is gone once it is judged.
    Written(Arc<[u8]>),
    /// They cannot be judged.
    Unread(ArgumentsFlaw),
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(_) => f.write_str("Written"),
            Self::Unread(flaw) => f.debug_tuple("Unread").field(flaw).finish(),
        }
    }
}

/// Why arguments cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentsFlaw {
    /// With those of the other calls of the request they are beyond the bound.
    TooLarge,
    /// They are no object.
    NoObject,
    /// A key is there twice, or a number does not fit.
    Ambiguous,
    /// Nobody looked at them: they were recorded without, or it was not known that a rule asks.
    NotHeld,
}

impl ArgumentsFlaw {
    fn describe(self) -> &'static str {
        match self {
            Self::TooLarge => "the arguments have more than 64 KiB",
            Self::NoObject => "the arguments are no object",
            Self::Ambiguous => "the arguments have a key twice, or a number that does not fit into 64 bits",
            Self::NotHeld => "the arguments were not looked at",
        }
    }
}

/// A condition that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The condition.
    pub condition: ToolCondition,
    /// Why not.
    pub why: Why,
}

/// Why a condition is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not hold.
    False,
    /// It cannot be told.
    Wrong(Wrong),
    /// There is nothing to look at.
    Unread(ArgumentsFlaw),
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { condition, why } = self;
        write!(f, "the condition on {} is not met: {}", condition.tool, condition.when.text())?;
        match why {
            Why::False => Ok(()),
            Why::Wrong(wrong) => write!(f, " ({wrong})"),
            Why::Unread(flaw) => write!(f, " ({})", flaw.describe()),
        }
    }
}

/// The first condition that a request does not meet. `tools`: all that it calls; `calls`: what was held of that.
pub fn unmet(
    conditions: &[ToolCondition],
    tools: &[String],
    calls: &[ToolCall],
    budget: &mut Budget,
) -> Option<Unmet> {
    if conditions.is_empty() {
        return None;
    }
    let of = |condition: &ToolCondition, why| Some(Unmet { condition: condition.clone(), why });
    let is_held = |tool: &String| calls.iter().any(|call| call.tool == *tool);
    for tool in tools.iter().filter(|tool| !is_held(tool)) {
        if let Some(condition) = conditions.iter().find(|condition| condition.is_for(tool)) {
            return Some(condition.unseen());
        }
    }
    for call in calls {
        let mut meant = conditions.iter().filter(|condition| condition.is_for(&call.tool)).peekable();
        let Some(first) = meant.peek() else { continue };
        let values = match call.values() {
            Ok(values) => values,
            Err(flaw) => return of(first, Why::Unread(flaw)),
        };
        for condition in meant {
            match condition.when.0.holds(&values, budget) {
                Ok(true) => {}
                Ok(false) => return of(condition, Why::False),
                Err(wrong) => return of(condition, Why::Wrong(wrong)),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Mismatch, Operation, Operations, Requests, Verb, judge_operation};
    use crate::rule::RuleId;

    fn condition(tool: &str, when: &str) -> ToolCondition {
        ToolCondition::new(tool, when).unwrap()
    }

    fn call(tool: &str, args: &str) -> ToolCall {
        let arguments = Arguments::Written(args.as_bytes().into());
        ToolCall { tool: tool.into(), server: "tools.example".into(), arguments }
    }

    fn of(calls: Vec<ToolCall>) -> Operation {
        let tools = calls.iter().map(|call| call.tool.clone()).collect();
        Operation { verb: Verb::Call, tools, calls, ..Operation::unknown("test") }
    }

    #[test]
    fn every_call_meets_every_condition_for_its_tool_or_the_request_is_refused() {
        let conditions = [
            condition("write_*", "args.path.startsWith('/tmp/')"),
            condition("write_*", "!args.path.contains('..')"),
            condition("**", "server == 'tools.example' && tool != 'exec'"),
        ];
        let first = "the condition on write_* is not met: args.path.startsWith('/tmp/')";
        let good = || call("write_file", r#"{"path":"/tmp/a"}"#);
        for (calls, expected) in [
            (vec![good()], None),
            (vec![good(), call("read", "{}")], None),
            (vec![], None),
            (vec![call("write_file", r#"{"path":"/etc/a"}"#)], Some(first.to_owned())),
            (vec![good(), call("write_file", r#"{"path":"/etc/a"}"#)], Some(first.to_owned())),
            (vec![call("write_a/b", r#"{"path":"/etc/a"}"#)], Some(first.to_owned())),
            (
                vec![call("write_file", r#"{"path":"/tmp/../a"}"#)],
                Some("the condition on write_* is not met: !args.path.contains('..')".into()),
            ),
            (vec![call("write_file", "{}")], Some(format!("{first} (there is no field `path`)"))),
            (
                vec![call("write_file", r#"{"path":"/tmp/a","Path":"/etc/a"}"#)],
                Some(format!(
                    "{first} (a field that is asked for is there in another case, which some readers take for it)"
                )),
            ),
            (
                vec![call("write_file", r#"{"path":"/tmp/a","path":"/etc/a"}"#)],
                Some(format!(
                    "{first} (the arguments have a key twice, or a number that does not fit into 64 bits)"
                )),
            ),
            (
                vec![call("exec", "{}")],
                Some("the condition on ** is not met: server == 'tools.example' && tool != 'exec'".into()),
            ),
        ] {
            let rule = Requests { tool_conditions: conditions.to_vec(), ..Requests::default() };
            let operation = of(calls);
            let told = rule.unmet(&operation).map(|unmet| unmet.to_string());
            assert_eq!(told, expected, "{operation:?}");
            let judged = expected.map_or(Ok(()), |_| Err(Mismatch::ToolArguments));
            assert_eq!(rule.allows(&operation), judged);
        }
    }

    #[test]
    fn arguments_that_nobody_looked_at_meet_no_condition() {
        let rule = Requests { tool_conditions: vec![condition("write", "true")], ..Requests::default() };
        let not_held = Operation { calls: Vec::new(), ..of(vec![call("write", "{}")]) };
        let told = rule.unmet(&not_held).unwrap().to_string();
        assert_eq!(told, "the condition on write is not met: true (the arguments were not looked at)");
        let other = Operation { calls: Vec::new(), ..of(vec![call("read", "{}")]) };
        assert_eq!(rule.unmet(&other), None);
        let rules = [(RuleId(16), &rule)];
        let judged = judge_operation(rules, &not_held);
        assert_eq!(judged, Err(Some((RuleId(16), Mismatch::ToolArguments))));
    }

    #[test]
    fn what_is_unknown_meets_no_condition_though_the_rule_lists_it() {
        let operations =
            vec![Operations { verbs: [Verb::Call, Verb::Unknown].into(), resources: Vec::new() }];
        let rule = Requests { operations, ..Requests::default() };
        let held = Requests { tool_conditions: vec![condition("write", "true")], ..rule.clone() };
        // As a batch is that calls more than is looked at: which tools, nobody can tell.
        let unknown = Operation::unknown("test");
        assert_eq!(rule.allows(&unknown), Ok(()));
        assert_eq!(held.allows(&unknown), Err(Mismatch::ToolArguments));
        assert_eq!(held.allows(&of(vec![call("write", "{}")])), Ok(()));
    }

    #[test]
    fn all_calls_of_a_request_share_one_budget() {
        let list: Vec<_> = (0..2000).map(|at| at.to_string()).collect();
        let args = format!(r#"{{"l":[{}]}}"#, list.join(","));
        let rule = Requests {
            tool_conditions: vec![condition("*", "args.l.all(x, x >= 0)")],
            ..Requests::default()
        };
        let calls = |count| of((0..count).map(|_| call("t", &args)).collect());
        assert_eq!(rule.unmet(&calls(1)), None);
        assert_eq!(rule.unmet(&calls(40)).map(|unmet| unmet.why), Some(Why::Wrong(Wrong::Cost)));
        // So do all rules where whoever asks gives them one.
        let (one, mut budget) = (calls(1), Budget::new(MAX_STEPS));
        let mut ask = || unmet(&rule.tool_conditions, &one.tools, &one.calls, &mut budget);
        assert_eq!(ask(), None);
        let later = (0..40).find_map(|_| ask());
        assert_eq!(later.map(|unmet| unmet.why), Some(Why::Wrong(Wrong::Cost)));
    }

    #[test]
    fn a_condition_is_written_as_its_text_and_arguments_are_not_written_at_all() {
        let condition = condition("t", "args.n == 1");
        let text = serde_json::to_string(&condition).unwrap();
        assert_eq!(text, r#"{"tool":"t","when":"args.n == 1"}"#);
        assert_eq!(serde_json::from_str::<ToolCondition>(&text).unwrap(), condition);
        let wrong = serde_json::from_str::<ToolCondition>(r#"{"tool":"t","when":"args.n =="}"#);
        assert!(wrong.unwrap_err().to_string().contains("ends too early"));
        let operation = of(vec![call("t", r#"{"k":"a-secret"}"#)]);
        let written = format!("{operation:?}{}", serde_json::to_string(&operation).unwrap());
        assert!(!written.contains("a-secret"), "{written}");
    }
}
