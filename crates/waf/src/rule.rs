//! What a rule is once it is read: immutable, shared by all transactions.

use std::sync::Arc;

use crate::operator::Operator;
use crate::scanner::Filter;
use crate::seclang::targets::Target;
use crate::template::Template;
use crate::transform::Transformation;
use crate::variable::Variable;

/// When a rule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The head of the request is there.
    RequestHeaders,
    /// Its body is.
    RequestBody,
    /// The head of the answer is there.
    ResponseHeaders,
    /// Its body is.
    ResponseBody,
    /// Everything is over.
    Logging,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 5] =
        [Self::RequestHeaders, Self::RequestBody, Self::ResponseHeaders, Self::ResponseBody, Self::Logging];

    /// The number that rules use, 1 to 5.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::RequestHeaders => 1,
            Self::RequestBody => 2,
            Self::ResponseHeaders => 3,
            Self::ResponseBody => 4,
            Self::Logging => 5,
        }
    }

    /// `2` or `request`, as rules write it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "1" => Self::RequestHeaders,
            "2" | "request" => Self::RequestBody,
            "3" => Self::ResponseHeaders,
            "4" | "response" => Self::ResponseBody,
            "5" | "logging" => Self::Logging,
            _ => return None,
        })
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.number()) - 1
    }
}

/// How grave a rule says its match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Severity(u8);

impl Severity {
    const NAMES: [&str; 8] =
        ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let named = Self::NAMES.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = named.or_else(|| text.parse().ok()).filter(|number| *number < Self::NAMES.len())?;
        u8::try_from(number).ok().map(Self)
    }

    /// 0, an emergency, to 7.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// `CRITICAL` and the like.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
}

/// What a report says of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFacts {
    /// Its id; 0 for a rule without one.
    pub id: u64,
    /// File that has it, as the host named it.
    pub file: Arc<str>,
    /// Line of its directive, from 1.
    pub line: usize,
    /// When it runs.
    pub phase: Phase,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its message, variables not filled in.
    pub message: String,
    /// How grave a match is.
    pub severity: Option<Severity>,
    /// Version of the rule set, as the rule says it.
    pub version: String,
}

/// A rule: one link, or a chain of them that must all match.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) facts: Arc<RuleFacts>,
    pub(crate) links: Vec<Link>,
    pub(crate) disruptive: Option<Disruptive>,
    pub(crate) status: Option<u16>,
    pub(crate) log: bool,
    pub(crate) audit: bool,
    pub(crate) skip: Option<Skip>,
    /// Position in the rules of its phase where a match goes on.
    pub(crate) skip_to: Option<usize>,
    /// Whether it looks for an injection, which prose may look like.
    pub(crate) injection: bool,
}

/// Rules that a match leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Skip {
    Rules(usize),
    After(String),
}

/// One test of a rule and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) targets: Vec<Target>,
    pub(crate) exclusions: Vec<Target>,
    pub(crate) operator: Operator,
    pub(crate) steps: Vec<Transformation>,
    /// Number of these steps among all lists of steps that the set has.
    pub(crate) pipeline: usize,
    /// What the shared scanner must find in a text that it matches.
    pub(crate) filter: Option<Filter>,
    /// Number of its targets among all lists of targets that the set has; none where what they name changes while
    /// rules run.
    pub(crate) gather: Option<usize>,
    pub(crate) capture: bool,
    pub(crate) multi_match: bool,
    pub(crate) set: Vec<SetVar>,
    pub(crate) late: Vec<Late>,
    pub(crate) message: Option<Template>,
    pub(crate) data: Option<Template>,
}

/// What a rule does to a transaction that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disruptive {
    Allow(Allow),
    Block,
    Deny,
    Drop,
    Pass,
    Redirect(Template),
}

/// What `allow` lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allow {
    Everything,
    Request,
    Phase,
}

/// A change of a collection, for each value that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetVar {
    pub(crate) collection: Variable,
    pub(crate) key: Template,
    pub(crate) change: Change,
}

/// What is done to one entry of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Template),
    Add(Template),
    Subtract(Template),
    Unset,
}

/// What happens once all links have matched.
#[derive(Debug, Clone)]
pub(crate) enum Late {
    Ctl(Ctl),
    /// Opens a persistent collection under a key.
    Open(Variable, Template),
    /// An entry of a collection ends after so many seconds.
    Expire(Variable, Template, Template),
}

/// A change of the engine for one transaction.
#[derive(Debug, Clone)]
pub(crate) enum Ctl {
    Engine(Engine),
    Audit(Audit),
    AuditParts(String),
    ForceRequestBodyVariable(bool),
    RequestBodyAccess(bool),
    ResponseBodyAccess(bool),
    RequestBodyProcessor(Processor),
    Remove(Chosen),
    RemoveTarget(Chosen, Target),
}

/// Which rules an exclusion means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    Ids(Vec<(u64, u64)>),
    Tag(String),
    Message(String),
}

/// Rules that a change at run time means.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    which: Which,
    /// A bit for each rule of the set that it means, once the set is whole.
    pub(crate) rules: Vec<u64>,
}

impl Chosen {
    pub(crate) fn new(which: Which) -> Self {
        Self { which, rules: Vec::new() }
    }

    /// Finds the rules, which have the numbers of their places here.
    pub(crate) fn find(&mut self, all: &[Arc<RuleFacts>]) {
        self.rules = vec![0; all.len().div_ceil(64)];
        for (number, _) in all.iter().enumerate().filter(|(_, facts)| self.which.has(facts)) {
            if let Some(word) = self.rules.get_mut(number / 64) {
                *word |= 1 << (number % 64);
            }
        }
    }
}

impl Which {
    pub(crate) fn has(&self, facts: &RuleFacts) -> bool {
        match self {
            Self::Ids(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&facts.id)),
            Self::Tag(tag) => facts.tags.contains(tag),
            Self::Message(message) => facts.message == *message,
        }
    }
}

/// Whether rules act, only report, or do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Disruptive actions are taken.
    On,
    /// Rules run and report; nothing is interrupted.
    DetectionOnly,
    /// No rule runs.
    Off,
}

/// Which transactions an audit log should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// All.
    On,
    /// None.
    Off,
    /// Those of which a rule said so.
    RelevantOnly,
}

/// Who reads a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    UrlEncoded,
    Multipart,
    Json,
    Xml,
}

impl Processor {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "URLENCODED" => Self::UrlEncoded,
            "MULTIPART" => Self::Multipart,
            "JSON" => Self::Json,
            "XML" => Self::Xml,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UrlEncoded => "URLENCODED",
            Self::Multipart => "MULTIPART",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }
}
