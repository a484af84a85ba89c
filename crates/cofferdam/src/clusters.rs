//! `cofferdam clusters`: which there are ([`list`]), what several answer ([`ask`]), and what differs between two.
//!
//! Enters: for each side its policies, and what they are about. Leaves: objects that differ, field by field, and connections that
//! only one side allows, with the rule that denies them on the other. Guarantees: what cannot be read is named and makes the
//! answer an error, not a difference; names from manifests cannot steer a terminal; at most [`MOST_LINES`] of either are
//! listed, and those beyond counted. Does not: know names that DNS resolves, or judge requests; objects that differ tell of those.

mod ask;
mod list;

use crate::folder;
use crate::plain::{counted, printable};
use crate::policy::rule_text;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use compiler::connectivity::{Difference, Entry, Peer, PortRange, Protocols, connectivity, difference};
use crds::{Diagnostic, Object};
use fleet::{Change, Manifest, Release};
use policy::{Access, Endpoint, Generation, PolicySet, Protocol, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Most objects, and most connections, that are listed.
const MOST_LINES: usize = 1000;
/// Most characters of a field's value.
const MOST_VALUE: usize = 120;

/// List and compare clusters of a fleet.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam clusters list --hub hub.kubeconfig
  kubectl --context dev get networkpolicy,clusternetworkpolicy,egresspolicy,pod,namespace,node -A -o yaml > dev.yaml
  kubectl --context prod get networkpolicy,clusternetworkpolicy,egresspolicy,pod,namespace,node -A -o yaml > prod.yaml
  cofferdam clusters diff dev.yaml prod.yaml
  cofferdam clusters ask --at west=https://west.example:8443 --token west=west.token --at east=https://east.example:8443 --token east=east.token -- edges --new --since 24h

Exit code of diff: 0 both judge alike and have the same policies, 1 they differ, 2 it could not be done.")]
pub(crate) enum ClustersCommand {
    /// Every cluster at the hub: what it is to have and has, when it spoke last, what is wrong. Exit code 1: one is silent, has a problem
    /// or drift, or does not have what is wanted
    #[command(
        after_help = "Examples:\n  cofferdam clusters list --hub hub.kubeconfig\n  cofferdam clusters list --hub hub.kubeconfig --json"
    )]
    List(list::ListArgs),
    /// What several clusters answer to one question, asked of their HTTP APIs at once. Exit code 1: not all answered
    Ask(ask::AskArgs),
    /// What two clusters say differently: object by object, and verdict by verdict
    #[command(
        after_help = "Examples:\n  cofferdam clusters diff dev.yaml prod.yaml\n  cofferdam clusters diff dev/ prod/ --json"
    )]
    Diff {
        /// Manifest or folder of manifests of the first
        first: PathBuf,
        /// Of the second
        second: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs a verb; false if they differ.
pub(crate) fn run(command: &ClustersCommand, out: &mut impl Write) -> Result<bool> {
    let (first, second, json) = match command {
        ClustersCommand::List(args) => return list::run(args, out),
        ClustersCommand::Ask(args) => return ask::run(args, out),
        ClustersCommand::Diff { first, second, json } => (first, second, json),
    };
    let [first, second] =
        [first, second].map(|path| Side::read(&path.display().to_string(), std::slice::from_ref(path), &[]));
    print(&first?, &second?, true, if *json { Form::Json } else { Form::Text }, out)
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// One side of a comparison.
pub(crate) struct Side {
    name: String,
    manifests: Vec<Manifest>,
    set: PolicySet,
}

impl Side {
    /// What is in these paths, and in those beside them that say what it is about.
    pub(crate) fn read(name: &str, paths: &[PathBuf], on: &[PathBuf]) -> Result<Self> {
        let read = folder::read_with_json(paths, None);
        if read.files == 0 {
            bail!("{name} holds no manifest: nothing ends in .yaml, .yml or .json");
        }
        refuse(name, &read.diagnostics)?;
        if read.objects.is_empty() {
            bail!("{name} has no object: did what wrote it fail?");
        }
        let (manifests, _) = fleet::policies(&read.json).with_context(|| name.to_owned())?;
        Self::of(name, manifests, read.objects, on)
    }

    /// The policies of a release.
    pub(crate) fn of_release(name: &str, release: &Release, on: &[PathBuf]) -> Result<Self> {
        let objects = release.manifests().iter().flat_map(|it| crds::read_value(name, &it.value).objects);
        Self::of(name, release.manifests().to_vec(), objects.collect(), on)
    }

    /// No policy at all.
    pub(crate) fn of_nothing(name: &str, on: &[PathBuf]) -> Result<Self> {
        Self::of(name, Vec::new(), Vec::new(), on)
    }

    fn of(name: &str, manifests: Vec<Manifest>, mut objects: Vec<Object>, on: &[PathBuf]) -> Result<Self> {
        let beside = folder::read(on, None);
        refuse(name, &beside.diagnostics)?;
        objects.extend(beside.objects);
        let compiled = compiler::compile_unlinted(objects, Generation(1));
        refuse(name, &compiled.diagnostics)?;
        Ok(Self { name: name.to_owned(), manifests, set: compiled.set })
    }
}

/// A difference that comes from something half read would be none.
fn refuse(name: &str, diagnostics: &[Diagnostic]) -> Result<()> {
    let mut errors = diagnostics.iter().filter(|it| it.is_error()).peekable();
    if errors.peek().is_none() {
        return Ok(());
    }
    let mut err = std::io::stderr();
    for error in errors {
        writeln!(err, "{}", printable(&error.to_string()).replace("\\u{a}", "\n"))?;
    }
    bail!("{name} cannot be compared before its errors are mended");
}

/// A connection that one side allows and the other does not.
struct Verdicts {
    line: Difference,
    /// Who denies it: on the second side what only the first allows, and the other way round.
    denied_by: Option<String>,
}

/// Says what differs; false if anything does. `verdicts`: connections too.
pub(crate) fn print(
    first: &Side,
    second: &Side,
    verdicts: bool,
    form: Form,
    out: &mut impl Write,
) -> Result<bool> {
    let objects = fleet::compare(&first.manifests, &second.manifests);
    let (lines, alone) = if verdicts { compare(first, second) } else { (Vec::new(), Vec::new()) };
    let is_same = objects.is_empty() && lines.is_empty();
    match form {
        Form::Json => writeln!(out, "{:#}", as_json(&objects, &lines, &alone))?,
        Form::Text => {
            let [first, second] = [&first.name, &second.name].map(|it| printable(it));
            writeln!(out, "- {first}\n+ {second}")?;
            objects.iter().take(MOST_LINES).try_for_each(|it| write_object(it, out))?;
            surplus(objects.len(), "objects differ", out)?;
            for (workload, is_first) in alone.iter().take(MOST_LINES) {
                writeln!(
                    out,
                    "{} {workload} is only there; what it may reach is not compared",
                    sign(*is_first)
                )?;
            }
            surplus(alone.len(), "workloads are on one side only", out)?;
            lines.iter().take(MOST_LINES).try_for_each(|it| write_verdicts(it, out))?;
            surplus(lines.len(), "connections are judged differently", out)?;
            let said =
                if verdicts { format!(", {}", counted(lines.len(), "connection")) } else { String::new() };
            let verb = if objects.len() == 1 && !verdicts { "differs" } else { "differ" };
            writeln!(out, "{}{said} {verb}", counted(objects.len(), "object"))?;
        }
    }
    Ok(is_same)
}

fn surplus(count: usize, what: &str, out: &mut impl Write) -> Result<()> {
    if count > MOST_LINES {
        writeln!(out, "  and {} more {what}", count - MOST_LINES)?;
    }
    Ok(())
}

fn sign(is_first: bool) -> char {
    if is_first { '-' } else { '+' }
}

fn write_object(change: &Change, out: &mut impl Write) -> Result<()> {
    match change {
        Change::Removed(name) => writeln!(out, "- {}", printable(&name.to_string()))?,
        Change::Added(name) => writeln!(out, "+ {}", printable(&name.to_string()))?,
        Change::Changed { object, fields, more } => {
            writeln!(out, "  {}", printable(&object.to_string()))?;
            for field in fields {
                for (sign, value) in [('-', &field.before), ('+', &field.after)] {
                    let Some(value) = value else { continue };
                    writeln!(out, "{sign}   {}: {}", printable(&field.field), short(value))?;
                }
            }
            if *more > 0 {
                writeln!(out, "    and {more} more fields")?;
            }
        }
    }
    Ok(())
}

fn short(value: &Value) -> String {
    let text = printable(&value.to_string());
    match text.char_indices().nth(MOST_VALUE) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn write_verdicts(verdicts: &Verdicts, out: &mut impl Write) -> Result<()> {
    let Verdicts { line, denied_by } = verdicts;
    for (sign, ports) in [('-', &line.only_first), ('+', &line.only_second)] {
        if ports.is_empty() {
            continue;
        }
        let ends = printable(&format!("{} -> {}", line.from, line.to));
        writeln!(out, "{sign} {ends} : {}", what(line.protocol, ports))?;
    }
    if let Some(rule) = denied_by {
        writeln!(out, "    denied on the other side by {}", printable(rule))?;
    }
    Ok(())
}

fn what(protocol: Protocols, ports: &[PortRange]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    match (protocol, ports.join(",").as_str()) {
        (protocol, "*") => protocol.to_string(),
        (protocol, ports) => format!("{protocol} {ports}"),
    }
}

fn as_json(objects: &[Change], lines: &[Verdicts], alone: &[(String, bool)]) -> Value {
    let object = |change: &Change| match change {
        Change::Removed(name) => json!({ "object": name, "change": "removed" }),
        Change::Added(name) => json!({ "object": name, "change": "added" }),
        Change::Changed { object, fields, more } => json!({
            "object": object, "change": "changed", "moreFields": more,
            "fields": fields.iter().map(|it| json!({ "field": it.field, "before": it.before, "after": it.after })).collect::<Vec<_>>(),
        }),
    };
    let ports = |ports: &[PortRange]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
    let line = |Verdicts { line, denied_by }: &Verdicts| {
        json!({
            "from": line.from.to_string(), "to": line.to.to_string(), "protocol": line.protocol.to_string(),
            "onlyFirst": ports(&line.only_first), "onlySecond": ports(&line.only_second), "deniedBy": denied_by,
        })
    };
    let one_side = |(workload, is_first): &(String, bool)| json!({ "workload": workload, "first": is_first });
    json!({
        "objects": objects.iter().map(object).collect::<Vec<_>>(),
        "connections": lines.iter().map(line).collect::<Vec<_>>(),
        "workloadsOnOneSide": alone.iter().map(one_side).collect::<Vec<_>>(),
    })
}

/// Connections between workloads that both sides have, and workloads that only one has.
fn compare(first: &Side, second: &Side) -> (Vec<Verdicts>, Vec<(String, bool)>) {
    let [own, other] = [first, second].map(|side| workloads(&side.set));
    let shared: BTreeSet<&Peer> = own.intersection(&other).collect();
    let is_shared = |peer: &Peer| !matches!(peer, Peer::Workload { .. }) || shared.contains(peer);
    let [before, after] = [first, second].map(|side| {
        let entries: Vec<Entry> = connectivity(&side.set);
        entries.into_iter().filter(|it| is_shared(&it.from) && is_shared(&it.to)).collect::<Vec<_>>()
    });
    let lines = difference(&before, &after);
    let lines = lines.into_iter().enumerate().map(|(i, line)| {
        // What is not shown need not be explained.
        let denied_by = if i < MOST_LINES { denied_by(&line, first, second) } else { None };
        Verdicts { line, denied_by }
    });
    let name = |peer: &Peer, is_first| (peer.to_string(), is_first);
    let mut alone: Vec<(String, bool)> = own.difference(&other).map(|it| name(it, true)).collect();
    alone.extend(other.difference(&own).map(|it| name(it, false)));
    (lines.collect(), alone)
}

fn workloads(set: &PolicySet) -> BTreeSet<Peer> {
    let peer = |pod: &std::sync::Arc<policy::Pod>| Peer::Workload {
        namespace: pod.namespace.clone(),
        workload: pod.workload.clone(),
    };
    set.world.pods.iter().map(peer).collect()
}

/// The rule that denies one connection of the line on the side that does not allow it. A workload's pods may differ, so the
/// one that is asked may be judged alike on both sides: then nothing is said.
fn denied_by(line: &Difference, first: &Side, second: &Side) -> Option<String> {
    let (allows, denies, ports) = match line.only_first.first() {
        Some(ports) => (first, second, ports),
        None => (second, first, line.only_second.first()?),
    };
    let (protocol, port) = match line.protocol {
        Protocols::All => (Protocol::TCP, ports.first),
        Protocols::One(protocol) => (protocol, ports.first),
        Protocols::Portless => (Protocol::ICMP, 0),
    };
    let decide = |side: &Side| {
        let (from, to) = (end(&side.set, &line.from)?, end(&side.set, &line.to)?);
        let decision = policy::decide(&side.set, &Access { from, to, protocol, port });
        Some((decision.verdict, rule_text(&side.set, decision.deciding().1.rule)))
    };
    match (decide(allows)?, decide(denies)?) {
        ((Verdict::Allow, _), (Verdict::Deny, rule)) => Some(rule),
        _ => None,
    }
}

fn end<'s>(set: &'s PolicySet, peer: &Peer) -> Option<Endpoint<'s>> {
    match peer {
        Peer::Range(first, _) => Some(Endpoint::at(&set.world, *first)),
        Peer::Workload { namespace, workload } => {
            let is_its =
                |pod: &&std::sync::Arc<policy::Pod>| pod.namespace == *namespace && pod.workload == *workload;
            set.world.pods.iter().find(is_its).map(|pod| Endpoint::pod(&set.world, pod))
        }
        Peer::IngressController => None,
    }
}
