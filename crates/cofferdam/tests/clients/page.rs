//! `docs/clients.md`: rows as a table for people.

use super::row::{Expected, Row};
use gateway::Call;
use std::collections::BTreeSet;
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Clients that were tried

Unmodified clients, each through the gateway, which opens their connections and judges every request. Written by
`crates/cofferdam/tests/netns_clients.rs` (`COFFERDAM_BLESS=1 cargo test -p cofferdam --test all netns_clients`), which runs them in the lab
against stand-ins of the services (`tests/clients/outside`, `examples/genai/outside`) under `tests/clients/policies.yaml`. The services
themselves were not asked. Without a policy each operation of the table succeeds there.

*Requests* are those that decided, as the gateway understood them. *Shows* is what the client's own error output has of
why: the reason, the policy, the number by which `cofferdam calls` has the request.
";

/// The whole page.
pub(crate) fn write(rows: &[Row], calls: &[Call]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let clients: BTreeSet<(&str, &str)> = rows.iter().map(|row| (&*row.client, &*row.version)).collect();
    let with: Vec<String> = clients.iter().map(|(client, version)| format!("{client} {version}")).collect();
    let _ = writeln!(page, "\nSeen with {}.\n", with.join(", "));
    page.push_str(
        "| client | operation | verdict | requests | why | shows |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (client, _) in &clients {
        for row in rows.iter().filter(|row| row.client == *client) {
            let _ = writeln!(page, "| {} |", cells(row, calls).join(" | "));
        }
    }
    page.push_str("\n## What a user sees\n");
    for (client, _) in &clients {
        if let Some((row, call)) = example(client, rows, calls) {
            let _ = write!(page, "\n{client}, {}:\n\n```text\n{}\n```\n", row.operation, told(row, call));
        }
    }
    page
}

/// Rows of the table that are not the same in both, of clients that were run.
pub(crate) fn difference(kept: &str, found: &str, rows: &[Row]) -> Vec<String> {
    let was_run = |line: &&str| {
        line.strip_prefix("| ")
            .is_some_and(|rest| rows.iter().any(|row| rest.starts_with(&format!("{} |", row.client))))
    };
    let lines = |page: &str| page.lines().filter(was_run).map(str::to_owned).collect::<BTreeSet<_>>();
    let (kept, found) = (lines(kept), lines(found));
    let gone = kept.difference(&found).map(|line| format!("-{line}"));
    gone.chain(found.difference(&kept).map(|line| format!("+{line}"))).collect()
}

fn cells(row: &Row, calls: &[Call]) -> [String; 6] {
    let list = |items: BTreeSet<String>| items.into_iter().collect::<Vec<_>>().join(", ");
    let (verdict, decided): (_, Vec<&Call>) = match row.expected {
        Expected::Allowed => ("allowed", row.calls(calls).filter(is_awaited).collect()),
        Expected::Refused => ("refused", row.refused(calls).collect()),
    };
    let requests = decided.iter().map(|call| request(call)).collect();
    let why = decided.iter().map(|call| why(call)).collect();
    let shows = row.shows(calls).iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", ");
    let shows = match row.expected {
        Expected::Refused if shows.is_empty() => "nothing".to_owned(),
        Expected::Allowed | Expected::Refused => shows,
    };
    [row.client.clone(), row.operation.clone(), verdict.to_owned(), list(requests), list(why), shows]
}

/// A client of MCP opens the stream on which the server may send beside what it does, and may be done before it comes to it.
fn is_awaited(call: &&Call) -> bool {
    call.operation.api != "listen"
}

/// `upload commit of acme/tiny-llm`.
fn request(call: &Call) -> String {
    let operation = &call.operation;
    let tools = operation.tools.first();
    let what = operation.model.as_ref().or(operation.resource.as_ref()).or(tools);
    let of = what.map(|what| format!(" of {what}")).unwrap_or_default();
    format!("{} {}{of}", operation.verb, operation.api)
}

/// The rule, and what it lacks.
fn why(call: &Call) -> String {
    let rule = call.rule.as_ref().or(call.nearest.as_ref()).map_or("", |rule| rule);
    let name = rule.split('"').nth(1).unwrap_or(rule);
    match call.lacks {
        Some(lacks) => format!("rule {name}: {}", lacks.describe()),
        None => format!("rule {name}"),
    }
}

/// Of a client, the refusal of which it says most; none if it says nothing.
fn example<'r>(client: &str, rows: &'r [Row], calls: &'r [Call]) -> Option<(&'r Row, &'r Call)> {
    let of_client = rows.iter().filter(|row| row.client == client && !row.shows(calls).is_empty());
    let most = of_client.rev().max_by_key(|row| row.shows(calls).len())?;
    most.refused(calls).next().map(|call| (most, call))
}

/// Its lines that say why, or else all, without what is another in each run.
fn told(row: &Row, call: &Call) -> String {
    let is_why = |line: &&str| line.contains(&*call.request_id) || line.contains(call.reason.as_str());
    let why: Vec<&str> = row.shown.lines().filter(is_why).collect();
    let lines = if why.is_empty() { row.shown.lines().collect() } else { why };
    lines.join("\n").replace(&*call.request_id, "0006…")
}
