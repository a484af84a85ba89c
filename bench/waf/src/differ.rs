//! Whether our engine and libmodsecurity say the same of rules and requests made by chance.
//!
//! Enters: how many cases, from which number on, and the other engine. Leaves: the cases on which they differ, each with as few
//! rules and requests as still show it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use waf::{Files, RuleSet, Start, Transaction};

use crate::chance::{self, Asked, Case};
use crate::peer::Peer;

/// What both engines are told first.
const ENGINE: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n\
    SecResponseBodyMimeType text/plain\nSecAuditEngine Off\n";
/// Cases that differ and are shown.
const SHOWN: usize = 20;

/// What an engine says of a request: rules that matched, with their messages, and the status of an interruption.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    matched: Vec<(u64, String)>,
    status: Option<u64>,
}

/// Runs `count` cases from this number on, and returns a text for the terminal and how many differed.
pub(crate) fn run(peer: &mut Peer, from: u64, count: u64) -> Result<(String, usize)> {
    let (mut text, mut differ, mut refused) = (String::new(), 0, 0);
    for number in from..from.saturating_add(count) {
        let case = chance::case(number);
        match differs(peer, &case)? {
            Some(true) => {
                differ += 1;
                if differ <= SHOWN {
                    let least = smallest(peer, case)?;
                    show(peer, number, &least, &mut text)?;
                }
            }
            Some(false) => {}
            None => refused += 1,
        }
    }
    writeln!(text, "{count} cases, {differ} differ, {refused} were refused by one of the two")?;
    Ok((text, differ))
}

fn directives(case: &Case) -> String {
    format!("{ENGINE}{}\n", case.rules.join("\n"))
}

/// None where one of the two does not load the rules.
fn differs(peer: &mut Peer, case: &Case) -> Result<Option<bool>> {
    let (Some(own), Some(other)) = (ours(case), theirs(peer, case)?) else { return Ok(None) };
    Ok(Some(own != other))
}

fn ours(case: &Case) -> Option<Vec<Said>> {
    let rules = vec![("case".to_owned(), directives(case).into_bytes())];
    let set = RuleSet::load(&Files { rules, data: Vec::new() }).ok()?;
    Some(case.requests.iter().map(|asked| judged(&set, asked)).collect())
}

fn judged(set: &RuleSet, asked: &Asked) -> Said {
    let mut transaction = Transaction::new(set, Start { now: 1_800_000_000, ..Start::default() });
    transaction.connection(([192, 0, 2, 7], 5000).into(), ([192, 0, 2, 1], 80).into());
    transaction.request_line(b"POST", asked.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in &asked.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let mut over = transaction.request_headers_done().is_some();
    if !over {
        transaction.request_body(asked.body.as_bytes());
        over = transaction.request_body_done().is_some();
    }
    if !over {
        transaction.response_status(200, b"HTTP/1.1");
        transaction.response_header(b"Content-Type", b"text/plain");
        over = transaction.response_headers_done().is_some();
    }
    if !over {
        transaction.response_body(b"answer ab");
        let _ = transaction.response_body_done();
    }
    let status = transaction.interruption().map(|found| u64::from(found.status));
    let logged = transaction.finish().matched.into_iter().filter(|found| found.log);
    let matched = logged.map(|found| (found.rule.id, shown(&found.message))).collect::<Vec<_>>();
    Said { matched: once(matched), status }
}

/// A rule that says the same again, as `multiMatch` does in the other engine, counts once.
fn once(mut matched: Vec<(u64, String)>) -> Vec<(u64, String)> {
    matched.dedup();
    matched
}

/// Characters beyond ASCII as question marks, for the two write them differently, and so what is no UTF-8 at all.
fn shown(message: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(message) else { return "?".to_owned() };
    // Only one of the two has this sign before the name of a count.
    let text = text.chars().filter(|char| *char != '&');
    text.map(|char| if char.is_ascii() { char } else { '?' }).collect()
}

fn theirs(peer: &mut Peer, case: &Case) -> Result<Option<Vec<Said>>> {
    let requests: Vec<Value> = case
        .requests
        .iter()
        .map(|asked| json!({"target": asked.target, "headers": asked.headers, "body": asked.body}))
        .collect();
    let answer = peer.ask(&json!({"rules": directives(case), "requests": requests}).to_string())?;
    let Some(outcomes) = answer.get("outcomes").and_then(Value::as_array) else { return Ok(None) };
    outcomes.iter().map(said).collect::<Result<Vec<Said>>>().map(Some)
}

fn said(outcome: &Value) -> Result<Said> {
    let matched = outcome.get("matched").and_then(Value::as_array).context("no list of rules")?;
    let matched = matched.iter().map(|found| {
        let id = found.get(0).and_then(Value::as_u64)?;
        let message = found.get(1).and_then(Value::as_str)?;
        Some((id, shown(message.as_bytes())))
    });
    Ok(Said {
        matched: once(matched.collect::<Option<_>>().context("a rule without id or message")?),
        status: outcome.get("status").and_then(Value::as_u64),
    })
}

/// The case without rules and requests that it differs without.
fn smallest(peer: &mut Peer, mut case: Case) -> Result<Case> {
    let mut at = 0;
    while at < case.requests.len() && case.requests.len() > 1 {
        let mut less = case.clone();
        less.requests.remove(at);
        if differs(peer, &less)? == Some(true) { case = less } else { at += 1 }
    }
    let mut at = 0;
    while at < case.rules.len() {
        let mut less = case.clone();
        less.rules.remove(at);
        if differs(peer, &less)? == Some(true) { case = less } else { at += 1 }
    }
    Ok(case)
}

fn show(peer: &mut Peer, number: u64, case: &Case, text: &mut String) -> Result<()> {
    writeln!(text, "case {number}\n{}", case.rules.join("\n"))?;
    let (own, other) = (ours(case).unwrap_or_default(), theirs(peer, case)?.unwrap_or_default());
    for ((asked, own), other) in
        case.requests.iter().zip(own).zip(other).filter(|((_, own), other)| own != other)
    {
        writeln!(
            text,
            "  {} {:?} {:?}\n  ours:   {:?} {:?}\n  theirs: {:?} {:?}",
            asked.target, asked.headers, asked.body, own.status, own.matched, other.status, other.matched
        )?;
    }
    writeln!(text)?;
    Ok(())
}
