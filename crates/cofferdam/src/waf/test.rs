//! `cofferdam waf test`: one request, and what each rule that matches says to it.

use super::Rules;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use waf::cases::{self, Case};
use waf::{Action, Cause, Interruption, Match, Outcome};

/// Ask a rule set what it says to one request, and why
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam waf test --rules crs-4.28.0 --url '/search?q=1%27%20OR%201=1--'
  cofferdam waf test --rules crs-4.28.0 --url https://api.example.com/v1/chat/completions \\
      --header 'Content-Type: application/json' --body-file prompt.json --profile field-aware

The request has Host, User-Agent and Accept unless a header says something else, and Content-Length with a body. The set-up is
crs-setup.conf of the rule set; without it crs-setup.conf.example, which has paranoia level 1 and threshold 5. Printed are the
rules that match, with file and line, message, data and the values that matched, then the anomaly score and the verdict.

Exit code: 0 the request passes; 1 it is blocked; 2 it could not be asked.")]
pub(crate) struct TestArgs {
    #[command(flatten)]
    rules: Rules,
    /// Method; GET without a body and POST with one unless it is named
    #[arg(long)]
    method: Option<String>,
    /// Path and query, or a whole URL
    #[arg(long, default_value = "/")]
    url: String,
    /// `Name: value`; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Body
    #[arg(long, conflicts_with = "body_file")]
    body: Option<String>,
    /// File with the body
    #[arg(long, value_name = "PATH")]
    body_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TestArgs, out: &mut impl Write) -> Result<bool> {
    let bench = args.rules.load()?;
    let case = args.case()?;
    let (outcome, interruption) = cases::judge(bench.blocking(), &case, args.rules.profile.into());
    if args.json {
        writeln!(out, "{:#}", as_json(&outcome, interruption.as_ref()))?;
        return Ok(interruption.is_none());
    }
    for found in outcome.matched.iter().filter(|found| found.log) {
        print(found, out)?;
    }
    for limit in &outcome.limits {
        writeln!(out, "limit reached: {}", limit.name())?;
    }
    writeln!(
        out,
        "anomaly score: {} of the request, {} of the answer",
        outcome.scores.inbound, outcome.scores.outbound
    )?;
    let Some(interruption) = interruption else {
        writeln!(out, "verdict: passes")?;
        return Ok(true);
    };
    let (cause, action) = said(&interruption);
    writeln!(out, "verdict: blocked by {cause} in phase {}: {action}", interruption.phase.number())?;
    Ok(false)
}

/// What blocks a request, and how.
fn said(interruption: &Interruption) -> (String, String) {
    let cause = match interruption.cause {
        Cause::Rule(id) => format!("rule {id}"),
        Cause::Limit(limit) => format!("the limit {}", limit.name()),
    };
    let action = match &interruption.action {
        Action::Deny => format!("denied with status {}", interruption.status),
        Action::Drop => "the connection is closed".to_owned(),
        Action::Redirect(url) => format!("redirected to {}", url.escape_ascii()),
    };
    (cause, action)
}

fn as_json(outcome: &Outcome, interruption: Option<&Interruption>) -> Value {
    let rules = outcome.matched.iter().filter(|found| found.log).map(|found| {
        let rule = &found.rule;
        let values = found.values.iter().map(|(name, value)| {
            json!({ "name": name.escape_ascii().to_string(), "value": value.escape_ascii().to_string() })
        });
        json!({
            "id": rule.id,
            "severity": rule.severity.map(waf::Severity::name),
            "message": found.message.escape_ascii().to_string(),
            "file": rule.file.to_string(),
            "line": rule.line,
            "data": found.data.escape_ascii().to_string(),
            "values": values.collect::<Vec<_>>(),
        })
    });
    let blocked = interruption.map(|it| {
        let (by, action) = said(it);
        json!({ "by": by, "phase": it.phase.number(), "action": action })
    });
    json!({
        "passes": interruption.is_none(),
        "blocked": blocked,
        "score": { "request": outcome.scores.inbound, "answer": outcome.scores.outbound },
        "limits": outcome.limits.iter().map(|limit| limit.name()).collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn print(found: &Match, out: &mut impl Write) -> Result<()> {
    let rule = &found.rule;
    let severity = rule.severity.map_or("no severity", waf::Severity::name);
    writeln!(out, "{} {severity}: {}", rule.id, found.message.escape_ascii())?;
    writeln!(out, "    {}:{}", rule.file, rule.line)?;
    for (name, value) in &found.values {
        writeln!(out, "    {} = {}", name.escape_ascii(), value.escape_ascii())?;
    }
    if !found.data.is_empty() {
        writeln!(out, "    {}", found.data.escape_ascii())?;
    }
    Ok(())
}

impl TestArgs {
    fn case(&self) -> Result<Case> {
        let body = match (&self.body, &self.body_file) {
            (Some(body), _) => body.clone().into_bytes(),
            (None, Some(path)) => {
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            (None, None) => Vec::new(),
        };
        let default = if body.is_empty() { "GET" } else { "POST" };
        let method = self.method.as_deref().unwrap_or(default);
        let (host, target) = match self.url.split_once("://") {
            Some((_, rest)) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (host, target) = rest.split_at(end);
                (
                    host.to_owned(),
                    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
                )
            }
            None => ("localhost".to_owned(), self.url.clone()),
        };
        let mut headers = Vec::new();
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').with_context(|| format!("{header} is no `Name: value`"))?;
            headers.push((name.trim().as_bytes().to_vec(), value.trim().as_bytes().to_vec()));
        }
        let length = body.len().to_string();
        let mut add = |name: &str, value: &str| {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())) {
                headers.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
        };
        add("Host", &host);
        add("User-Agent", "cofferdam");
        add("Accept", "*/*");
        if !body.is_empty() {
            add("Content-Length", &length);
        }
        let line = [method.as_bytes().to_vec(), target.into_bytes(), b"HTTP/1.1".to_vec()];
        Ok(Case { line, headers, body, status: 200, ..Case::default() })
    }
}
