//! `ctl:` actions: changes of the engine for one transaction.

use super::directive::{audit, engine, ids, switch};
use crate::rule::{Chosen, Ctl, Processor, Which};
use crate::seclang::targets::{self, Mode, Target};

/// Reads `name=value`.
pub(super) fn parse(text: &str) -> Result<Ctl, String> {
    let Some((name, value)) = text.split_once('=') else { return Err(format!("ctl:{text} has no value")) };
    Ok(match name.to_ascii_lowercase().as_str() {
        "ruleengine" => Ctl::Engine(engine(value)?),
        "auditengine" => Ctl::Audit(audit(value)?),
        "auditlogparts" => Ctl::AuditParts(value.to_owned()),
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(switch(value)?),
        "requestbodyaccess" => Ctl::RequestBodyAccess(switch(value)?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(switch(value)?),
        "requestbodyprocessor" => Ctl::RequestBodyProcessor(
            Processor::parse(value)
                .ok_or_else(|| format!("{value} is none of URLENCODED, MULTIPART, JSON, XML"))?,
        ),
        "ruleremovebyid" => Ctl::Remove(Chosen::new(Which::Ids(ids(value.as_bytes())?))),
        "ruleremovebytag" => Ctl::Remove(Chosen::new(Which::Tag(value.to_owned()))),
        "ruleremovebymsg" => Ctl::Remove(Chosen::new(Which::Message(value.to_owned()))),
        "ruleremovetargetbyid" => {
            let (which, target) = excluded(value)?;
            Ctl::RemoveTarget(Chosen::new(Which::Ids(ids(which.as_bytes())?)), target)
        }
        "ruleremovetargetbytag" => {
            let (tag, target) = excluded(value)?;
            Ctl::RemoveTarget(Chosen::new(Which::Tag(tag.to_owned())), target)
        }
        "ruleremovetargetbymsg" => {
            let (message, target) = excluded(value)?;
            Ctl::RemoveTarget(Chosen::new(Which::Message(message.to_owned())), target)
        }
        _ => {
            return Err(format!(
                "ctl:{name} is not known here; see docs/reference/waf.md for those that are"
            ));
        }
    })
}

/// `rules;TARGET`.
fn excluded(value: &str) -> Result<(&str, Target), String> {
    let Some((which, target)) = value.split_once(';') else {
        return Err(format!("{value} names no target; write rules;TARGET, such as 942100;ARGS:comment"));
    };
    let mut targets = targets::parse(target.as_bytes())?;
    match (targets.pop(), targets.is_empty()) {
        (Some(mut target), true) => {
            target.mode = Mode::Exclude;
            Ok((which, target))
        }
        _ => Err(format!("{target} is not one target")),
    }
}
