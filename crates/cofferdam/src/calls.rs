//! `cofferdam calls`: what pods asked of services whose requests a rule looks at, and why it was allowed or not; and what rules had
//! kept of what was said.
//!
//! Enters: filters. Leaves: one line per request that ended. Guarantees: as [`crate::flows`]; what was said only where
//! it is asked for. Does not: keep anything.

use crate::flows::{bytes, verdict};
use crate::form::Clock;
use crate::ledger_cmd::entry_cells;
use crate::listing::{Form, Listing, entry_json, kept_verdict};
use crate::plain::printable;
use crate::remote::{Kept, whole};
use crate::up::calls::{ApiCall, ApiContent};
use crate::up::protocol::{Answer, Request};
use ::ledger::{Entry, Kind, Stored};
use anyhow::{Result, ensure};
use clap::Args;
use policy::{Money, Verdict};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write;

/// API requests: what they did, passed or not, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam calls --follow
  cofferdam calls --verdict deny --since 5m
  cofferdam calls --from 'train/*' --name huggingface.co
  cofferdam calls --follow --otel
  cofferdam calls --content --from agents/helper-0
  cofferdam calls --json | jq -r 'select(.operation.verb == \"upload\") | [.from.name, .operation.resource] | @tsv'
  cofferdam calls --since 1d --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector

A request is listed when it has ended. Requests are judged where a rule has operations, models, tools or credentials; other
connections to names are in `cofferdam connections`. A name without * or ? matches anywhere in it.")]
pub(crate) struct CallsArgs {
    /// Only this verdict: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// One span per line, as JSON with the names of OpenTelemetry's semantic conventions
    #[arg(long, conflicts_with_all = ["json", "output", "content"])]
    otel: bool,
    /// What rules had kept of what was said (`capture`), masked
    #[arg(long, conflicts_with_all = ["verdict", "output"])]
    content: bool,
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub(crate) fn run(args: &CallsArgs, out: &mut impl Write) -> Result<()> {
    if let Some(remote) = args.listing.remote()? {
        ensure!(
            !args.otel,
            "--otel: spans are made of what is in the memory of a node, which an API does not tell"
        );
        ensure!(
            !args.content,
            "--content: what was said is in the memory of a node alone; an API does not tell it"
        );
        let kept = Kept {
            heads: HEADS,
            widths: [27, 7, 24, 24, 9, 28, 6, 8, 8, 0],
            cells: |stored, clock| match whole::<ApiCall>(stored) {
                Some(call) => cells(&call, &clock.dated()),
                None => request_cells(stored, &clock.dated()),
            },
            json: whole_json,
        };
        let verdict = args.verdict.map(kept_verdict);
        return args.listing.show_kept(&remote, (Kind::AiCall, verdict, None), &kept, out);
    }
    if args.content {
        return contents(args, out);
    }
    let query = args.listing.filter(args.verdict);
    let request = Request::Calls { query, after: None, follow: args.listing.follow };
    let form = Form {
        heads: HEADS,
        widths: [12, 7, 24, 24, 9, 28, 6, 8, 8, 0],
        record: |answer| match answer {
            Answer::Call(call) => Some(call),
            _ => None,
        },
        cells,
        mark,
        line: args.otel.then_some(otel),
    };
    args.listing.show(&request, &form, out)
}

const HEADS: [&str; 10] =
    ["TIME", "VERDICT", "FROM", "SERVICE", "DOES", "TO WHAT", "STATUS", "SENT", "RECEIVED", "WHY"];

/// The whole record of a request, with the number of its entry; the entry, where that is all there is.
pub(crate) fn whole_json(stored: &Stored) -> String {
    whole::<Value>(stored).map_or_else(|| entry_json(stored), |record| record.to_string())
}

/// A request to a service inside, which an ingress gateway let through or not.
fn request_cells(stored: &Stored, clock: &Clock) -> [String; 10] {
    let [_, time, _, _, verdict, _, from, to, _, _] = entry_cells(stored, clock);
    let record = whole::<Value>(stored).unwrap_or_default();
    let text = |field: &str| match record.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let what = ["model", "path"].map(text).into_iter().find(|it| it != "-").unwrap_or_else(|| "-".to_owned());
    let (sent, received) = (bytes(stored.entry.sent), bytes(stored.entry.received));
    let (does, status, why) = (text("method"), text("status"), kept_why(stored));
    [time, verdict, from, to, does, what, status, sent, received, why]
}

/// Why, as the entry alone says it.
pub(crate) fn kept_why(stored: &Stored) -> String {
    let Entry { reason, rule, .. } = &stored.entry;
    if rule.is_empty() { reason.to_string() } else { format!("{reason}: {rule}") }
}

fn contents(args: &CallsArgs, out: &mut impl Write) -> Result<()> {
    let query = args.listing.filter(None);
    let request = Request::Contents { query, after: None, follow: args.listing.follow };
    let line: fn(&ApiContent) -> String = content;
    let form = Form {
        heads: [],
        widths: [],
        record: |answer| match answer {
            Answer::Content(content) => Some(content),
            _ => None,
        },
        cells: |_, _| [],
        mark: |it| (format!("content:{}", it.sequence), false),
        line: (!args.listing.is_json()).then_some(line),
    };
    args.listing.show(&request, &form, out)
}

/// A span, with who sent it.
fn otel(call: &ApiCall) -> String {
    let record = serde_json::to_value(&call.call).unwrap_or_default();
    let mut span = export::otel::span(&record.into());
    if let Some(attributes) = span.get_mut("attributes").and_then(serde_json::Value::as_object_mut) {
        attributes.insert("k8s.node.name".to_owned(), call.node.as_ref().into());
        let from = call.from.as_ref().map(ToString::to_string);
        if let Some((namespace, name)) = from.as_deref().and_then(|from| from.split_once('/')) {
            attributes.insert("k8s.namespace.name".to_owned(), namespace.into());
            attributes.insert("k8s.pod.name".to_owned(), name.into());
        }
    }
    span.to_string()
}

/// A head, and what was said with a mark before each of its lines, so that no line of it is taken for ours.
fn content(kept: &ApiContent) -> String {
    let ApiContent { from, content, .. } = kept;
    let from = from.as_ref().map_or_else(|| content.pod.to_string(), ToString::to_string);
    let rule = content.rule.as_deref().unwrap_or_default();
    let mut text =
        format!("{} {from} -> {} ({}) {rule}", content.time.clock(), content.name, content.request_id);
    for (mark, said) in [('>', &content.request), ('<', &content.answer)] {
        let Some(said) = said else { continue };
        for line in said.text.split('\n') {
            let _ = write!(text, "\n{mark} {}", printable(line.strip_suffix('\r').unwrap_or(line)));
        }
        if said.is_cut {
            let _ = write!(text, "\n{mark} (there was more)");
        }
    }
    text
}

/// Its id, and whether it was denied.
pub(crate) fn mark(call: &ApiCall) -> (String, bool) {
    (format!("ai_call:{}", call.sequence), call.call.verdict == Verdict::Deny)
}

pub(crate) fn cells(call: &ApiCall, clock: &Clock) -> [String; 10] {
    let ApiCall { from, call, .. } = call;
    let verdict = match call.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let from = from.as_ref().map_or_else(|| call.pod.to_string(), ToString::to_string);
    let operation = &call.operation;
    let what = operation.model.as_ref().or(operation.resource.as_ref());
    [
        clock.show(call.time),
        verdict.into(),
        from,
        call.name.to_string(),
        operation.verb.to_string(),
        what.cloned().unwrap_or_else(|| format!("{} {}", call.method, call.path)),
        if call.status == 0 { "-".to_owned() } else { call.status.to_string() },
        bytes(call.bytes_up),
        bytes(call.bytes_down),
        why(call),
    ]
}

/// Why a request went as it did, by what it was understood to do, and with what was found in it.
pub(crate) fn why(call: &gateway::Call) -> String {
    let mut text = call.reason.describe().to_owned();
    if let Some(lacks) = call.lacks {
        let _ = write!(text, ": {}", call.unmet.as_deref().unwrap_or(lacks.describe()));
    }
    let _ = write!(text, " ({}: {})", call.operation.api, call.operation.reason);
    if !call.operation.sources.is_empty() {
        let sources =
            call.operation.sources.iter().map(|it| if it.is_empty() { "wherever it is" } else { it });
        let _ = write!(text, ", has also {} read", sources.collect::<Vec<_>>().join(", "));
    }
    if !call.operation.contacts.is_empty() {
        let whom: Vec<_> = call.operation.contacts.iter().map(|contact| contact.whom.to_string()).collect();
        let _ = write!(text, ", has the provider contact {}", whom.join(", "));
    }
    if let Some(usage) = &call.usage {
        let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        let _ =
            write!(text, ", {} tokens in, {} out", tokens(usage.input_tokens), tokens(usage.output_tokens));
    }
    if let Some(cost) = call.cost {
        let about = if cost.is_estimated { "about " } else { "" };
        let _ = write!(text, ", cost {about}{}", Money(cost.nanos));
    }
    if let Some(injected) = &call.injected {
        let _ = write!(text, ", sent with {} ({})", injected.secret, injected.credential);
    }
    for leak in &call.leaks {
        let masked = if leak.masked { ", masked" } else { "" };
        let _ = write!(text, ", with {} in it ({}{masked})", leak.rule, leak.layer);
    }
    if call.unseen_parts > 0 {
        let _ = write!(text, ", {} of its parts not searched across", call.unseen_parts);
    }
    for fact in &call.answers {
        let _ = write!(text, ", brings {} ({})", fact.rule, fact.what);
    }
    match (&call.rule, &call.nearest) {
        (Some(rule), _) => {
            let _ = write!(text, ": {rule}");
        }
        (None, Some(nearest)) => {
            let _ = write!(text, "; nearest: {nearest}");
        }
        (None, None) => {}
    }
    text
}
