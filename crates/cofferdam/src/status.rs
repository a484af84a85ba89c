//! `cofferdam status`: what is enforced, what is not and why, and what was lost.
//!
//! Enters: nothing. Leaves: the status of a running `up`, or what an API over HTTP tells of it, for people or as JSON.
//! Guarantees: a problem is never below the fold: what is not enforced comes first. Exit code 1 when anything
//! that was written is not in force.
//! Does not: fix anything.

mod remote;

use crate::flows::bytes;
use crate::plain::{counted, printable};
use crate::remote::RemoteArgs;
use crate::shadow_cmd::summary;
use crate::up::client::ask;
use crate::up::protocol::{Answer, GatewayStatus, Mode, NodeStatus, Outcome, Request, Status, Used};
use anyhow::{Context, Result, bail};
use clap::Args;
use export::SinkStatus;
use observe::Time;
use policy::Money;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

/// Pods and rules of whose budgets is told for people.
const MOST_BUDGETS: usize = 10;

/// What is enforced, and what is not and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam status
  cofferdam status --json | jq .nodes
  cofferdam status --api http://127.0.0.1:8080 --token token    of a collector: who sends to it, and who is silent

Exits with 1 when something that was written is not in force; with --api also when a part, or a sender, does not do its work.
With --api the answer has what the API tells, as GET /api/v1/status.")]
pub(crate) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Local socket of the running `up`
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs the command; whether everything that was written is in force.
pub(crate) fn run(args: &StatusArgs, out: &mut impl Write) -> Result<bool> {
    if let Some(remote) = args.remote.remote()? {
        return remote::run(&remote, args.json, out);
    }
    let answer = ask(args.socket.as_deref(), &Request::Status {})?.next().context("no answer")??;
    let Answer::Status(status) = answer else { bail!("the answer is not a status") };
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&status, out)?;
    }
    Ok(is_whole(&status))
}

fn is_whole(status: &Status) -> bool {
    status.degraded.is_empty() && status.nodes.iter().all(|node| node.problem.is_none())
}

fn print(status: &Status, out: &mut impl Write) -> Result<()> {
    let mode = match status.mode {
        Mode::Machine => "enforcing on this machine",
        Mode::Lab => "enforcing in the lab",
        Mode::Node => "enforcing on this node of a cluster",
        Mode::JudgeOnly => "judging only: NOTHING IS ENFORCED",
    };
    let health = if is_whole(status) { "ok" } else { "DEGRADED" };
    writeln!(out, "{health}: {mode}, generation {}", status.generation)?;
    for reason in &status.degraded {
        writeln!(out, "  {}", printable(reason))?;
    }
    for node in &status.nodes {
        print_node(node, out)?;
    }
    let up = Time::from(SystemTime::now()).since(status.started).as_secs();
    if status.first_packets_judged == Some(false) {
        writeln!(
            out,
            "  a new pod's first packets may precede its policy: there is neither --guard nor cofferdam-cni"
        )?;
    }
    writeln!(out, "process   {} (version {}), up {up} s", status.pid, status.version)?;
    writeln!(out, "sources   {} ({})", printable(&status.sources.join(" ")), status.watched_by)?;
    if status.findings > 0 {
        writeln!(out, "findings  {} (see `cofferdam findings`)", status.findings)?;
    }
    print_load(status, out)?;
    print_records(status, out)?;
    if !status.top_rules.is_empty() {
        writeln!(out, "rules by new connections judged:")?;
    }
    for rule in &status.top_rules {
        writeln!(out, "  {:>10}  {}", rule.connections, printable(&rule.text))?;
    }
    Ok(())
}

fn print_node(node: &NodeStatus, out: &mut impl Write) -> Result<()> {
    let state = match (&node.enforced, &node.problem) {
        (Some(generation), None) => format!("enforces generation {generation}"),
        (Some(generation), Some(problem)) => format!("STILL ENFORCES GENERATION {generation}: {problem}"),
        (None, Some(problem)) => format!("ENFORCES NOTHING: {problem}"),
        (None, None) => "has nothing to enforce yet".to_owned(),
    };
    writeln!(out, "node      {} {}: {}", printable(&node.node), node.backend, printable(&state))?;
    writeln!(
        out,
        "          {} endpoints in {} groups, {} rows, {} events lost",
        node.endpoints, node.slots, node.rows, node.lost_events
    )?;
    if let Some(dns) = &node.dns {
        writeln!(
            out,
            "          DNS: {} answered, {} refused, {} failed; {} addresses open by name; proxy started {} times, {} records \
             lost",
            dns.answered, dns.refused, dns.failed, dns.opened, dns.starts, dns.lost_records
        )?;
    }
    if let Some(gateway) = &node.gateway {
        writeln!(
            out,
            "          gateway: {} open, {} passed, {} refused, sent {}, received {}; {} pairs held to names, {} limits used up; \
             started {} times, {} records lost{}",
            gateway.open,
            gateway.passed,
            gateway.refused,
            bytes(gateway.bytes_up),
            bytes(gateway.bytes_down),
            gateway.named,
            gateway.spent,
            gateway.starts,
            gateway.lost_records,
            if gateway.opens_tls { "; opens TLS where rules look at requests" } else { "" }
        )?;
        print_budgets(gateway, out)?;
        if gateway.requests_allowed + gateway.requests_refused > 0 {
            writeln!(
                out,
                "          requests: {} allowed, {} refused",
                gateway.requests_allowed, gateway.requests_refused
            )?;
        }
        if gateway.files_reported + gateway.files_blocked > 0 {
            writeln!(
                out,
                "          found in files of answers: {} reported, {} blocked",
                gateway.files_reported, gateway.files_blocked
            )?;
        }
        if gateway.passed_unopened > 0 {
            writeln!(
                out,
                "          {} connections passed unread: their clients do not trust the inspection CA (whenUnopened: Pass)",
                gateway.passed_unopened
            )?;
        }
        if gateway.edges_lost > 0 {
            writeln!(
                out,
                "          {} edges of parts of uploads were forgotten: not searched across",
                gateway.edges_lost
            )?;
        }
    }
    Ok(())
}

/// What was used most today, and what it is priced in.
fn print_budgets(gateway: &GatewayStatus, out: &mut impl Write) -> Result<()> {
    if let Some(currency) = &gateway.currency {
        writeln!(out, "          calls are priced in {currency}")?;
    }
    if let Some(store) = &gateway.store {
        let state =
            store.problem.as_deref().map_or_else(|| "answers".to_owned(), |why| format!("DOWN: {why}"));
        writeln!(out, "          store of shared budgets: {}", printable(&state))?;
    }
    for Used { pod, rule, used } in gateway.used.iter().take(MOST_BUDGETS) {
        writeln!(
            out,
            "          used today (UTC) by {} under {}: {} requests, {} tokens, {} of money",
            printable(pod),
            printable(rule),
            used.requests_day,
            used.tokens_day,
            Money(used.money_day)
        )?;
    }
    let more = gateway.used.len().saturating_sub(MOST_BUDGETS);
    if more > 0 {
        writeln!(out, "          and by {more} more, see --json")?;
    }
    Ok(())
}

fn print_load(status: &Status, out: &mut impl Write) -> Result<()> {
    let load = &status.load;
    let outcome = match load.outcome {
        Outcome::JudgedOnly => "loaded, not enforced",
        Outcome::Applied => "in force",
        Outcome::AppliedWithClosedScopes => "in force; policies with errors close what they may select",
        Outcome::KeptLastGood => "NOT in force; the last good one is",
        Outcome::Refused => "REFUSED by the kernel; the last good one is in force",
    };
    writeln!(
        out,
        "policy    {}, {}, {}",
        counted(status.policies, "policy"),
        counted(status.rules, "rule"),
        counted(status.closed_scopes, "closed scope")
    )?;
    writeln!(
        out,
        "last load {} {outcome}: {}, {}, {}, {} ms",
        load.time,
        counted(load.objects, "object"),
        counted(load.errors, "error"),
        counted(load.warnings, "warning"),
        load.took_micros / 1000
    )?;
    for diagnostic in &load.diagnostics {
        writeln!(out, "  {}", printable(diagnostic))?;
    }
    Ok(())
}

fn print_records(status: &Status, out: &mut impl Write) -> Result<()> {
    let (records, resolver) = (&status.records, &status.resolver);
    writeln!(
        out,
        "records   {} kept ({}), {} opened, {} closed, {} denied, {} equal denials counted",
        records.kept,
        bytes(records.bytes),
        records.opened,
        records.closed,
        records.denied,
        records.suppressed
    )?;
    writeln!(
        out,
        "lost      {} evicted, {} unresolved, {} of an unknown generation, {} open forgotten",
        records.evicted, resolver.unresolved, resolver.unknown_generation, resolver.forgotten
    )?;
    writeln!(
        out,
        "checked   kernel and tables disagree on {} verdicts and {} rules; {} connections open now",
        resolver.verdict_disagreements, resolver.rule_disagreements, resolver.open
    )?;
    if let Some(ledger) = &status.ledger {
        let path = ledger.path.display().to_string();
        writeln!(out, "ledger    {}: {} written, {} lost", printable(&path), ledger.written, ledger.lost)?;
        for notice in &ledger.notices {
            writeln!(out, "  {}", printable(notice))?;
        }
        for export in &ledger.exports {
            print_export(export, out)?;
        }
    }
    if let Some(shadow) = &status.shadow {
        writeln!(out, "shadow    {}", printable(&summary(shadow)))?;
    }
    if let Some(detection) = &status.detection {
        writeln!(
            out,
            "detectors {} records looked at, {} lost, {} things forgotten; {} findings suppressed, {} too many of one workload; {} \
             destinations known from the ledger",
            detection.records,
            detection.lost,
            detection.forgotten,
            detection.suppressed,
            detection.held_back,
            detection.remembered
        )?;
        if let Some(problem) = &detection.problem {
            writeln!(out, "  {}", printable(problem))?;
        }
    }
    for sample in &resolver.samples {
        writeln!(out, "  {}", printable(sample))?;
    }
    Ok(())
}

fn print_export(export: &SinkStatus, out: &mut impl Write) -> Result<()> {
    let SinkStatus { to, sent, refused, lost, waiting, problem, notice, .. } = export;
    writeln!(
        out,
        "export    {}: {sent} sent, {waiting} waiting, {refused} refused, {lost} forgotten before they were sent",
        printable(to)
    )?;
    if let Some(problem) = problem {
        writeln!(out, "  NOTHING IS SENT: {}", printable(problem))?;
    }
    if let Some(notice) = notice {
        writeln!(out, "  {}", printable(notice))?;
    }
    Ok(())
}
