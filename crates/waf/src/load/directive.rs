//! Directives: what each does to the set that is being read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Defaults, Loader, MAX_RULES, actions};
use crate::operator::{self, Test};
use crate::options::{Beyond, MAX_BODY, MAX_DEPTH};
use crate::profile;
use crate::rule::{Audit, Disruptive, Engine, Link, Phase, Rule, RuleFacts, Which};
use crate::seclang::targets::{self, Mode};
use crate::transform::CodePage;

/// Directives whose work is done by construction, so that saying them changes nothing: patterns run in linear time.
const GUARANTEED: [&str; 2] = ["SecPcreMatchLimit", "SecPcreMatchLimitRecursion"];
/// Directives that only name what is loaded.
const NAMES: [&str; 2] = ["SecComponentSignature", "SecServerSignature"];

impl Loader<'_> {
    pub(super) fn directive(&mut self, name: &str, words: &[Vec<u8>]) -> Result<(), String> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let in_chain = self.open_chain || self.broken_chain;
        if in_chain && !is("SecRule") && !is("SecAction") {
            self.broken_chain = false;
            self.open_chain = false;
            return Err("a chain is open; its next SecRule must follow".to_owned());
        }
        let text = |index: usize| words.get(index).map(|word| String::from_utf8_lossy(word).into_owned());
        let one = || text(0).ok_or_else(|| format!("{name} needs a value"));
        let bytes = |index: usize| words.get(index).map(Vec::as_slice).unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "secrule" => {
                if !(2..=3).contains(&words.len()) {
                    return Err(format!(
                        "SecRule has targets, an operator and actions; here are {} words",
                        words.len()
                    ));
                }
                self.link(Some((bytes(0), bytes(1))), bytes(2))?;
            }
            "secaction" => self.link(None, bytes(0))?,
            "secmarker" => self.markers.push((one()?, self.rules.len())),
            "secdefaultaction" => self.default_action(bytes(0))?,
            "secruleengine" => self.options.engine = engine(&one()?)?,
            "secauditengine" => self.options.audit = audit(&one()?)?,
            "secauditlogparts" => self.options.audit_parts = one()?,
            "secrequestbodyaccess" => self.options.request_body_access = switch(&one()?)?,
            "secresponsebodyaccess" => self.options.response_body_access = switch(&one()?)?,
            "secrequestbodylimit" => self.options.request_body_limit = number(&one()?, MAX_BODY)?,
            "secrequestbodynofileslimit" => {
                self.options.request_body_no_files_limit = number(&one()?, MAX_BODY)?
            }
            "secrequestbodylimitaction" => self.options.request_body_beyond = beyond(&one()?)?,
            "secresponsebodylimit" => self.options.response_body_limit = number(&one()?, MAX_BODY)?,
            "secresponsebodylimitaction" => self.options.response_body_beyond = beyond(&one()?)?,
            "secresponsebodymimetype" => {
                self.options.response_types =
                    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            }
            "secresponsebodymimetypesclear" => self.options.response_types.clear(),
            "secargumentslimit" => self.options.arguments = number(&one()?, 1 << 20)?,
            "secrequestbodyjsondepthlimit" => self.options.depth = number(&one()?, MAX_DEPTH)?,
            "secargumentseparator" => match bytes(0) {
                [only] => self.options.separator = *only,
                _ => return Err("SecArgumentSeparator is one character".to_owned()),
            },
            "seccookieformat" if bytes(0) == b"0" => {}
            "seccollectiontimeout" => self.options.collection_timeout = number(&one()?, 1 << 31)? as u64,
            "secwebappid" => self.options.application = one()?,
            "secunicodemapfile" => self.code_page(&one()?, &text(1).unwrap_or_default())?,
            "secruleremovebyid" => {
                let ids = words.iter().map(|word| ids(word)).collect::<Result<Vec<_>, _>>()?;
                self.removed.push(Which::Ids(ids.concat()));
            }
            "secruleremovebytag" => self.removed.push(Which::Tag(one()?)),
            "secruleremovebymsg" => self.removed.push(Which::Message(one()?)),
            "secruleupdatetargetbyid" => self.retarget(Which::Ids(ids(bytes(0))?), words)?,
            "secruleupdatetargetbytag" => self.retarget(Which::Tag(one()?), words)?,
            "secruleupdatetargetbymsg" => self.retarget(Which::Message(one()?), words)?,
            "secruleupdateactionbyid" => self.update_action(&ids(bytes(0))?, bytes(1))?,
            _ if GUARANTEED.iter().chain(&NAMES).any(|known| is(known)) => {}
            _ => {
                return Err(format!(
                    "directive {name} is not supported here; remove it, or see docs/reference/waf.md"
                ));
            }
        }
        Ok(())
    }

    /// One link; behind one with a fault the rest of its chain is read past, for it is no rule of its own.
    fn link(&mut self, test: Option<(&[u8], &[u8])>, written: &[u8]) -> Result<(), String> {
        let chained = actions::Read::parse(written).is_ok_and(|read| read.chain);
        if self.broken_chain {
            self.broken_chain = chained;
            return Ok(());
        }
        let done = self.rule(test, written);
        if done.is_err() {
            self.open_chain = false;
            self.broken_chain = chained;
        }
        done
    }

    fn rule(&mut self, test: Option<(&[u8], &[u8])>, written: &[u8]) -> Result<(), String> {
        let in_chain = std::mem::take(&mut self.open_chain);
        let read = actions::Read::parse(written)?;
        let (targets, operator) = match test {
            Some((targets, operator)) => {
                (targets::parse(targets)?, operator::parse(operator, &|name| self.data(name))?)
            }
            None => (Vec::new(), operator::parse(b"@unconditionalMatch", &|_| None)?),
        };
        self.open_chain = read.chain;
        let (exclusions, targets) = targets.into_iter().partition(|target| target.mode == Mode::Exclude);
        let phase = if in_chain { self.rules.last().map(|rule| rule.facts.phase) } else { read.phase };
        let phase = phase.unwrap_or(Phase::RequestBody);
        let defaults = self.defaults.get(&phase).cloned().unwrap_or_default();
        let mut steps = if read.steps_replace { Vec::new() } else { defaults.steps.clone() };
        steps.extend(&read.steps);
        let link = Link {
            targets,
            exclusions,
            operator,
            steps,
            pipeline: 0,
            filter: None,
            gather: None,
            capture: read.capture,
            multi_match: read.multi_match,
            set: read.set.clone(),
            late: read.late.clone(),
            message: read.message.clone(),
            data: read.data.clone(),
        };
        if in_chain {
            read.only_in_first_link()?;
            let Some(rule) = self.rules.last_mut() else {
                return Err("a chain without a first rule".to_owned());
            };
            rule.links.push(link);
            return Ok(());
        }
        self.add(read, link, phase, &defaults)
    }

    fn add(
        &mut self,
        read: actions::Read,
        link: Link,
        phase: Phase,
        defaults: &Defaults,
    ) -> Result<(), String> {
        if self.rules.len() >= MAX_RULES {
            return Err(format!("more than {MAX_RULES} rules"));
        }
        let Some(id) = read.id else {
            return Err("a rule without an id; give it `id:` and a number of its own".to_owned());
        };
        if let Some((file, line)) = self.ids.insert(id, (Arc::clone(&self.file), self.line)) {
            return Err(format!("id {id} is taken by {file}:{line}; give this rule another"));
        }
        let facts = RuleFacts {
            id,
            file: Arc::clone(&self.file),
            line: self.line,
            phase,
            tags: read.tags,
            message: read.message_text,
            severity: read.severity,
            version: read.version,
        };
        let seeks_text = matches!(link.operator.test, Test::Pattern(_) | Test::Tried(..) | Test::Phrases(_));
        self.rules.push(Rule {
            links: vec![link],
            disruptive: read.disruptive.or_else(|| defaults.disruptive.clone()).map(|action| match action {
                Disruptive::Block => defaults.disruptive.clone().unwrap_or(Disruptive::Pass),
                other => other,
            }),
            status: read.status.or(defaults.status),
            log: read.log.or(defaults.log).unwrap_or(true),
            audit: read.audit.or(read.log).or(defaults.audit).unwrap_or(true),
            skip: read.skip,
            skip_to: None,
            injection: profile::is_injection(&facts.tags, seeks_text),
            facts: Arc::new(facts),
        });
        Ok(())
    }

    fn default_action(&mut self, written: &[u8]) -> Result<(), String> {
        let read = actions::Read::parse(written)?;
        let Some(phase) = read.phase else { return Err("SecDefaultAction needs a phase".to_owned()) };
        if read.disruptive.as_ref().is_none_or(|action| *action == Disruptive::Block) {
            return Err(
                "SecDefaultAction says what `block` does; add deny, drop, redirect, allow or pass".to_owned()
            );
        }
        if read.id.is_some() || read.chain || read.steps_replace {
            return Err("id, chain and t:none mean nothing in SecDefaultAction; take them away".to_owned());
        }
        let defaults = Defaults {
            disruptive: read.disruptive,
            status: read.status,
            log: read.log,
            audit: read.audit,
            steps: read.steps,
        };
        self.defaults.insert(phase, defaults);
        Ok(())
    }

    /// `SecRuleUpdateTarget…`: more targets, fewer, or one in place of another.
    fn retarget(&mut self, which: Which, words: &[Vec<u8>]) -> Result<(), String> {
        let Some(added) = words.get(1) else { return Err("targets are missing".to_owned()) };
        let mut targets = targets::parse(added)?;
        if let Some(replaced) = words.get(2) {
            for mut target in targets::parse(replaced)? {
                target.mode = Mode::Exclude;
                targets.push(target);
            }
        }
        self.retargeted.push((which, targets));
        Ok(())
    }

    fn update_action(&mut self, ids: &[(u64, u64)], written: &[u8]) -> Result<(), String> {
        let read = actions::Read::parse(written)?;
        let which = Which::Ids(ids.to_vec());
        let mut found = false;
        for rule in self.rules.iter_mut().filter(|rule| which.has(&rule.facts)) {
            found = true;
            let defaults = self.defaults.get(&rule.facts.phase);
            if let Some(action) = &read.disruptive {
                rule.disruptive = Some(match action {
                    Disruptive::Block => {
                        defaults.and_then(|defaults| defaults.disruptive.clone()).unwrap_or(Disruptive::Pass)
                    }
                    other => other.clone(),
                });
            }
            rule.status = read.status.or(rule.status);
            rule.log = read.log.unwrap_or(rule.log);
            rule.audit = read.audit.or(read.log).unwrap_or(rule.audit);
            if let Some(link) = rule.links.first_mut() {
                link.set.extend(read.set.iter().cloned());
                link.late.extend(read.late.iter().cloned());
                if read.steps_replace {
                    link.steps.clear();
                }
                link.steps.extend(&read.steps);
            }
        }
        if found { Ok(()) } else { Err("no rule before this line has that id".to_owned()) }
    }

    /// The file has, for each code page, a line with its number and one with `code:byte` pairs in hexadecimal digits.
    fn code_page(&mut self, name: &str, page: &str) -> Result<(), String> {
        let bytes =
            self.data(name).ok_or_else(|| format!("file {name} was not given; put it beside the rules"))?;
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines().skip_while(|line| line.split_ascii_whitespace().next() != Some(page));
        lines.next().ok_or_else(|| format!("{name} has no code page {page}"))?;
        let mut pairs = BTreeMap::new();
        for pair in lines.next().unwrap_or_default().split_ascii_whitespace() {
            let read = pair.split_once(':').and_then(|(code, byte)| {
                Some((u16::from_str_radix(code, 16).ok()?, u8::from_str_radix(byte, 16).ok()?))
            });
            let (code, byte) =
                read.ok_or_else(|| format!("{name}: {pair} is no pair of a character and a byte"))?;
            pairs.insert(code, byte);
        }
        self.options.code_page = Some(CodePage(pairs));
        Ok(())
    }
}

pub(super) fn engine(text: &str) -> Result<Engine, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(Engine::On),
        "detectiononly" => Ok(Engine::DetectionOnly),
        "off" => Ok(Engine::Off),
        _ => Err(format!("{text} is none of On, DetectionOnly, Off")),
    }
}

pub(super) fn audit(text: &str) -> Result<Audit, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(Audit::On),
        "off" => Ok(Audit::Off),
        "relevantonly" => Ok(Audit::RelevantOnly),
        _ => Err(format!("{text} is none of On, Off, RelevantOnly")),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text} is neither On nor Off")),
    }
}

fn beyond(text: &str) -> Result<Beyond, String> {
    match text.to_ascii_lowercase().as_str() {
        "reject" => Ok(Beyond::Reject),
        "processpartial" => Ok(Beyond::ProcessPartial),
        _ => Err(format!("{text} is neither Reject nor ProcessPartial")),
    }
}

fn number(text: &str, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("{text} is no number from 0 to {most}"))
}

/// `1 2-5,7` to ranges.
pub(super) fn ids(text: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let text = String::from_utf8_lossy(text);
    let parts = text.split([' ', ',', '\t']).filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from.parse().ok().zip(to.parse().ok());
        range.ok_or_else(|| format!("{part} is no id and no range of ids such as 942100-942199"))
    };
    parts.map(range).collect()
}
