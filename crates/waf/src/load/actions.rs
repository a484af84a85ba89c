//! The third word of a rule: what it says of itself and does.

use super::control;
use crate::rule::{Allow, Change, Disruptive, Late, Phase, SetVar, Severity, Skip};
use crate::seclang::actions::{self, Written};
use crate::template::Template;
use crate::transform::Transformation;
use crate::variable::Variable;

/// Actions of one rule or link.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) id: Option<u64>,
    pub(super) phase: Option<Phase>,
    pub(super) disruptive: Option<Disruptive>,
    pub(super) status: Option<u16>,
    pub(super) log: Option<bool>,
    pub(super) audit: Option<bool>,
    pub(super) steps: Vec<Transformation>,
    /// Whether `t:none` took away what the default has.
    pub(super) steps_replace: bool,
    pub(super) capture: bool,
    pub(super) multi_match: bool,
    pub(super) chain: bool,
    pub(super) set: Vec<SetVar>,
    pub(super) late: Vec<Late>,
    pub(super) message: Option<Template>,
    pub(super) message_text: String,
    pub(super) data: Option<Template>,
    pub(super) tags: Vec<String>,
    pub(super) severity: Option<Severity>,
    pub(super) version: String,
    pub(super) skip: Option<Skip>,
}

/// Actions that need what this engine must not have, with the reason.
const IMPOSSIBLE: [(&str, &str); 9] = [
    ("exec", "it runs a program"),
    ("setenv", "it sets the environment of a server"),
    ("append", "it changes answers"),
    ("prepend", "it changes answers"),
    ("pause", "it makes connections wait"),
    ("proxy", "it chooses another server"),
    ("xmlns", "only the paths /* and //@* of XML are kept"),
    ("deprecatevar", "no engine of version 3 does it"),
    ("sanitiseArg", "this engine writes no log; see what a report shows in docs/reference/waf.md"),
];

impl Read {
    pub(super) fn parse(written: &[u8]) -> Result<Self, String> {
        let mut read = Self::default();
        for action in actions::parse(written)? {
            read.action(&action)?;
        }
        Ok(read)
    }

    /// What a rule says of itself belongs to the first link of its chain; elsewhere it would be lost.
    pub(super) fn only_in_first_link(&self) -> Result<(), String> {
        let misplaced = [
            ("id", self.id.is_some()),
            ("phase", self.phase.is_some()),
            (
                "a disruptive action",
                self.disruptive.as_ref().is_some_and(|action| *action != Disruptive::Pass),
            ),
            ("skip", self.skip.is_some()),
            ("status", self.status.is_some()),
        ];
        match misplaced.iter().find(|(_, there)| *there) {
            Some((what, _)) => Err(format!("{what} belongs to the first rule of a chain; move it there")),
            None => Ok(()),
        }
    }

    fn action(&mut self, action: &Written) -> Result<(), String> {
        let name = action.name.as_str();
        let value = action.value.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(value).into_owned();
        let bad = |what: &str| Err(format!("{name}:{text} {what}"));
        match name.to_ascii_lowercase().as_str() {
            "id" => match text.trim_matches('\'').parse() {
                Ok(id) => self.id = Some(id),
                Err(_) => return bad("is no number"),
            },
            "phase" => match Phase::parse(&text.to_ascii_lowercase()) {
                Some(phase) => self.phase = Some(phase),
                None => return bad("is no phase from 1 to 5"),
            },
            "t" => self.transformation(&text)?,
            "msg" => {
                self.message = Some(Template::parse(value)?);
                self.message_text = text;
            }
            "logdata" => self.data = Some(Template::parse(value)?),
            "tag" => self.tags.push(text),
            "severity" => match Severity::parse(&text) {
                Some(severity) => self.severity = Some(severity),
                None => return bad("is no severity from 0 (EMERGENCY) to 7 (DEBUG)"),
            },
            "ver" => self.version = text,
            "rev" | "maturity" | "accuracy" => {}
            "capture" => self.capture = true,
            "multimatch" => self.multi_match = true,
            "chain" => self.chain = true,
            "log" => self.log = Some(true),
            "nolog" => self.log = Some(false),
            "auditlog" => self.audit = Some(true),
            "noauditlog" => self.audit = Some(false),
            "status" => match text.parse() {
                Ok(status @ 100..=599) => self.status = Some(status),
                _ => return bad("is no status from 100 to 599"),
            },
            "skip" => match text.parse() {
                Ok(count) => self.skip = Some(Skip::Rules(count)),
                Err(_) => return bad("is no number of rules"),
            },
            "skipafter" => self.skip = Some(Skip::After(text)),
            "setvar" => self.set.push(set_var(value)?),
            "ctl" => self.late.push(Late::Ctl(control::parse(&text)?)),
            "initcol" => self.late.push(open(value)?),
            "setuid" => self.late.push(Late::Open(Variable::User, Template::parse(value)?)),
            "setsid" => self.late.push(Late::Open(Variable::Session, Template::parse(value)?)),
            "setrsc" => self.late.push(Late::Open(Variable::Resource, Template::parse(value)?)),
            "expirevar" => self.late.push(expire(value)?),
            _ => match disruptive(name, value)? {
                Some(action) => self.disruptive = Some(action),
                None => return Err(unknown(name)),
            },
        }
        Ok(())
    }

    fn transformation(&mut self, name: &str) -> Result<(), String> {
        if name.eq_ignore_ascii_case("none") {
            self.steps.clear();
            self.steps_replace = true;
            return Ok(());
        }
        match Transformation::parse(name) {
            Some(step) => self.steps.push(step),
            None => {
                return Err(format!("transformation t:{name} is not known here; see docs/reference/waf.md"));
            }
        }
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    let sanitise = name.to_ascii_lowercase().starts_with("sanitise");
    let known = IMPOSSIBLE
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name) || sanitise && *known == "sanitiseArg");
    match known {
        Some((_, reason)) => format!("action {name} is not supported, for {reason}; take it away"),
        None => format!("action {name} is not known here; see docs/reference/waf.md for those that are"),
    }
}

fn disruptive(name: &str, value: &[u8]) -> Result<Option<Disruptive>, String> {
    Ok(Some(match (name.to_ascii_lowercase().as_str(), value) {
        ("allow", b"") => Disruptive::Allow(Allow::Everything),
        ("allow", b"request") => Disruptive::Allow(Allow::Request),
        ("allow", b"phase") => Disruptive::Allow(Allow::Phase),
        ("allow", _) => return Err("allow is followed by nothing, request or phase".to_owned()),
        ("block", _) => Disruptive::Block,
        ("deny", _) => Disruptive::Deny,
        ("drop", _) => Disruptive::Drop,
        ("pass", _) => Disruptive::Pass,
        ("redirect", url) => Disruptive::Redirect(Template::parse(url)?),
        _ => return Ok(None),
    }))
}

/// A collection and a key: `tx.name`.
fn entry(text: &[u8]) -> Result<(Variable, Template), String> {
    let shown = String::from_utf8_lossy(text);
    let Some((collection, key)) = shown.split_once(['.', ':']) else {
        return Err(format!("{shown} is no collection and key such as tx.score"));
    };
    let variable =
        Variable::parse(collection).filter(|variable| *variable == Variable::Tx || variable.is_persistent());
    let variable = variable.ok_or_else(|| format!("{collection} is no collection that rules can change"))?;
    let start = collection.len() + 1;
    Ok((variable, Template::parse(text.get(start..).unwrap_or(key.as_bytes()))?))
}

fn set_var(text: &[u8]) -> Result<SetVar, String> {
    if let Some(name) = text.strip_prefix(b"!") {
        let (collection, key) = entry(name)?;
        return Ok(SetVar { collection, key, change: Change::Unset });
    }
    let (name, value) = match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &b"1"[..]),
    };
    let (collection, key) = entry(name)?;
    let change = match value.split_first() {
        Some((b'+', more)) => Change::Add(Template::parse(more)?),
        Some((b'-', less)) => Change::Subtract(Template::parse(less)?),
        _ => Change::Set(Template::parse(value)?),
    };
    Ok(SetVar { collection, key, change })
}

fn open(text: &[u8]) -> Result<Late, String> {
    let shown = String::from_utf8_lossy(text);
    let Some((collection, _)) = shown.split_once('=') else {
        return Err(format!("initcol:{shown} has no key"));
    };
    let variable = Variable::parse(collection).filter(|variable| variable.is_persistent());
    let variable = variable.ok_or_else(|| format!("{collection} is no persistent collection"))?;
    Ok(Late::Open(variable, Template::parse(text.get(collection.len() + 1..).unwrap_or_default())?))
}

fn expire(text: &[u8]) -> Result<Late, String> {
    let at =
        text.iter().position(|byte| *byte == b'=').ok_or("expirevar needs seconds, such as ip.block=600")?;
    let (collection, key) = entry(text.get(..at).unwrap_or_default())?;
    Ok(Late::Expire(collection, key, Template::parse(text.get(at + 1..).unwrap_or_default())?))
}
