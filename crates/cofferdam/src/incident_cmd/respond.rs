//! Cutting a workload off, reviewed before it is done, and letting it go.

use super::{ReleaseArgs, find, now, order};
use crate::ledger_cmd::Place;
use crate::plain::printable;
use crate::remote::{Remote, RemoteArgs};
use crate::respond::{Containment, Order};
use anyhow::{Result, bail};
use clap::Args;
use incident::View;
use observe::parse_duration;
use serde_json::Value;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

/// Connections that are listed before they are cut.
const SHOWN: usize = 50;

/// Cut a workload off from everything, for a while: shown first, reversible, and written down.
///
/// A policy of the Admin tier denies everything to and from its pods, names included, before all other policies; open
/// connections are cut. Only the node that a pod runs on still reaches it, for its health is asked from there. It ends at its
/// time by itself, outlives a restart, and holds whatever is wrong with the manifests.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam incident contain 3f2a9c --for 2h --dry-run
  cofferdam incident contain --workload ai/Job/train --for 2h --yes
  cofferdam incident contain --workload ai/Job/train --for 2h --manifest | kubectl apply -f -
  cofferdam incident contain 3f2a9c --for 2h --api http://127.0.0.1:8080 --token token    at a collector

On a cluster that is an object of it, a Containment, which ends by itself. An agent or collector with --serve-kubernetes writes it where
it may; else apply what --manifest prints.
Exits with 1 where nothing is in force afterwards, but for --dry-run and --manifest.")]
pub(crate) struct ContainArgs {
    /// Id of the incident; with one workload, that is meant
    #[arg(required_unless_present = "workload")]
    id: Option<String>,
    /// The workload, as namespace/Kind/name
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// For how long: 30m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = lasts)]
    lasts: Duration,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only print the policy
    #[arg(long, conflicts_with_all = ["dry_run", "yes"])]
    manifest: bool,
    /// Cut off other pods with the same labels, too
    #[arg(long, conflicts_with = "api")]
    wide: bool,
    /// Why
    #[arg(long, value_name = "TEXT", conflicts_with = "api")]
    text: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

fn lasts(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// `cofferdam incident contain`. False: nothing is in force.
pub(super) fn contain(args: &ContainArgs, out: &mut impl Write) -> Result<bool> {
    let remote = args.remote.or_ledger(args.place.ledger.as_deref())?;
    let containment = meant(args, remote.as_ref())?;
    let dry_run = Containment { dry_run: true, ..containment.clone() };
    let plan = give(args, remote.as_ref(), dry_run)?;
    if args.manifest {
        write!(out, "{}", text(&plan, "policy"))?;
        return Ok(true);
    }
    if args.dry_run {
        tell(args, &plan, out)?;
        return Ok(true);
    }
    if !args.yes {
        tell(args, &plan, out)?;
        if !confirmed(out)? {
            bail!("nothing was done: say yes, or --yes");
        }
    }
    let done = give(args, remote.as_ref(), containment)?;
    let in_force = done.get("in_force") == Some(&Value::Bool(true));
    if args.place.json {
        writeln!(out, "{done}")?;
        return Ok(in_force);
    }
    let workload = printable(text(&done, "workload"));
    if in_force {
        writeln!(out, "{workload} is cut off until {}", text(&done, "until"))?;
        let there = if remote.is_some() { " (with the same --api and --token)" } else { "" };
        writeln!(out, "cofferdam incident release {workload}{there} lets it go before")?;
    } else {
        writeln!(out, "{workload} is NOT cut off. The policy that would do it:")?;
        write!(out, "{}", text(&done, "policy"))?;
    }
    warnings(&done, out)?;
    Ok(in_force)
}

/// Gives the order to the running process, or to the API that was named.
fn give(args: &ContainArgs, remote: Option<&Remote>, containment: Containment) -> Result<Value> {
    let Some(remote) = remote else { return order(&args.place, Order::Contain(containment)) };
    let incident = containment.incident.as_deref().unwrap_or_default();
    remote.contain(incident, &containment.workload, args.lasts, containment.dry_run)
}

fn meant(args: &ContainArgs, remote: Option<&Remote>) -> Result<Containment> {
    let (incident, workload) = match (&args.id, &args.workload, remote) {
        (None, None, _) => bail!("say whom to cut off: the id of an incident, or --workload"),
        (None, Some(workload), None) => (None, workload.clone()),
        (id, workload, Some(remote)) => {
            let (incident, workloads) = remote.incident(id.as_deref(), workload.as_deref())?;
            (Some(incident), only_of(workload.as_ref(), &workloads)?)
        }
        (Some(id), workload, None) => {
            let view = View::read(&args.place.open()?, now())?;
            let incident = &find(&view, id)?.incident;
            (Some(incident.id.clone()), only_of(workload.as_ref(), &incident.workloads)?)
        }
    };
    let (wide, text) = (args.wide, args.text.clone());
    Ok(Containment { workload, incident, seconds: args.lasts.as_secs(), dry_run: false, wide, text })
}

/// The workload that was named, or the only one there is.
fn only_of(named: Option<&String>, workloads: &[String]) -> Result<String> {
    match (named, workloads) {
        (Some(workload), _) => Ok(workload.clone()),
        (None, [only]) => Ok(only.clone()),
        (None, several) => {
            let several: Vec<String> = several.iter().map(|it| printable(it)).collect();
            bail!("say whom to cut off, with --workload: {}", several.join(", "))
        }
    }
}

fn tell(args: &ContainArgs, plan: &Value, out: &mut impl Write) -> Result<()> {
    if args.place.json {
        writeln!(out, "{plan}")?;
        return Ok(());
    }
    let workload = printable(text(plan, "workload"));
    writeln!(out, "{workload} would be cut off until {} by", text(plan, "until"))?;
    for line in text(plan, "policy").lines() {
        writeln!(out, "  {}", printable(line))?;
    }
    let cuts = plan.get("cuts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    writeln!(out, "Connections that are open or were used in the last hour: {}", cuts.len())?;
    for cut in cuts.iter().take(SHOWN) {
        let port = cut.get("port").and_then(Value::as_u64).unwrap_or_default();
        let (source, destination) = (printable(text(cut, "source")), printable(text(cut, "destination")));
        writeln!(out, "  {source} -> {destination}:{port}")?;
    }
    if cuts.len() > SHOWN {
        writeln!(out, "  and {} more", cuts.len() - SHOWN)?;
    }
    warnings(plan, out)
}

fn warnings(answer: &Value, out: &mut impl Write) -> Result<()> {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "Note: {}", printable(warning.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

fn confirmed(out: &mut impl Write) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    write!(out, "Cut it off? Type yes: ")?;
    out.flush()?;
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

/// `cofferdam incident release`. False: it was not cut off.
pub(super) fn release(args: &ReleaseArgs, out: &mut impl Write) -> Result<bool> {
    let workload = args.workload.clone();
    let done = match args.remote.or_ledger(args.place.ledger.as_deref())? {
        None => order(&args.place, Order::Release { workload, incident: None, text: args.text.clone() })?,
        Some(remote) => {
            let (incident, _) = remote.incident(None, Some(&workload))?;
            remote.release(&incident, &workload)?
        }
    };
    let released = done.get("released") == Some(&Value::Bool(true));
    if args.place.json {
        writeln!(out, "{done}")?;
    } else {
        let workload = printable(text(&done, "workload"));
        let what = if released { "is not cut off any more" } else { "was not cut off" };
        writeln!(out, "{workload} {what}")?;
    }
    Ok(released)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
