//! `cofferdam incident` and `cofferdam hunt`: what happened together, and what is done about it.
//!
//! Enters: a ledger's file, the socket of the running `up` or agent, or an API over HTTP. Leaves: lines, JSON, or an archive of evidence.
//! Guarantees: as [`crate::ledger_cmd`]; whatever changes something goes through the running process, which writes down who
//! asked. Does not: change a ledger itself.

mod archive;
mod remote;
mod respond;
mod show;

use crate::flows::moment;
use crate::form::Output;
use crate::ledger_cmd::{Place, Rows};
use crate::plain::printable;
use crate::remote::RemoteArgs;
use crate::respond::{Annotation, Mark, Order};
use crate::up::client::ask;
use crate::up::protocol::{Answer, Request};
use ::ledger::Match;
use anyhow::{Context, Result, anyhow, bail, ensure};
use archive::{EvidenceArgs, VerifyArgs};
use clap::{Args, Subcommand, ValueEnum};
use incident::{Case, Hunt, Incident, Indicator, Of, Reach, Reachable, State, Unclear, View, Within};
use observe::Time;
use respond::ContainArgs;
use serde_json::{Value, json};
use std::io::Write;
use std::time::SystemTime;

/// List, show, contain and hand on incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    List(ListArgs),
    /// Show one incident: findings, score, timeline, and how far its workloads reach
    #[command(
        after_help = "Examples:\n  cofferdam incident show 3f2a9c\n  cofferdam incident show 3f2a9c --ledger /backup/ledger.db --json"
    )]
    Show(OneArgs),
    /// Show what happened around an incident, in order
    #[command(after_help = "Example:\n  cofferdam incident timeline 3f2a9c")]
    Timeline(OneArgs),
    Contain(ContainArgs),
    /// Let a workload go that was cut off
    #[command(
        after_help = "Examples:\n  cofferdam incident release ai/Job/train\n  cofferdam incident release ai/Job/train --api http://127.0.0.1:8080 --token token    at a collector"
    )]
    Release(ReleaseArgs),
    /// Write something about an incident
    #[command(after_help = "Example:\n  cofferdam incident note 3f2a9c 'the image was built on a laptop'")]
    Note(NoteArgs),
    /// Say that somebody looks after an incident
    #[command(after_help = "Example:\n  cofferdam incident acknowledge 3f2a9c --text 'Ada looks'")]
    Acknowledge(MarkArgs),
    /// Say that an incident is over; what is found later opens it again
    #[command(after_help = "Example:\n  cofferdam incident close 3f2a9c --text 'image replaced'")]
    Close(MarkArgs),
    /// Say that an incident is not over
    #[command(after_help = "Example:\n  cofferdam incident reopen 3f2a9c")]
    Reopen(MarkArgs),
    Evidence(EvidenceArgs),
    Verify(VerifyArgs),
}

/// List incidents, the latest first.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam incident list --state open
  cofferdam incident list --ledger /backup/ledger.db --json
  cofferdam incident list --since 1d --api http://127.0.0.1:8080 --token token    those of a collector")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    rows: Rows,
    /// Only those in this state
    #[arg(long)]
    state: Option<StateArg>,
    /// Seen since: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Begun until: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// Of this workload; with * at the end of all that begin so
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Of which this node told, in a ledger of several; with * at the end all that begin so
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// With this in title, workloads, destinations or detectors, in either case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StateArg {
    Open,
    Acknowledged,
    Contained,
    Closed,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Open => Self::Open,
            StateArg::Acknowledged => Self::Acknowledged,
            StateArg::Contained => Self::Contained,
            StateArg::Closed => Self::Closed,
        }
    }
}

/// One incident.
#[derive(Args, Debug)]
pub(crate) struct OneArgs {
    /// Its id, or as many letters of it as no other begins with
    id: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Whom to let go.
#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// The workload, as namespace/Kind/name
    workload: String,
    /// Why
    #[arg(long, value_name = "TEXT", conflicts_with = "api")]
    text: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What to write.
#[derive(Args, Debug)]
pub(crate) struct NoteArgs {
    /// Id of the incident
    id: String,
    /// The text
    text: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What to say of an incident.
#[derive(Args, Debug)]
pub(crate) struct MarkArgs {
    /// Id of the incident
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Look back for a domain, address, workload, key, model, ...
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam hunt evil.example                the domain and all below it
  cofferdam hunt 192.0.2.0/24 --since 7d     addresses
  cofferdam hunt ai/Job/train                a workload
  cofferdam hunt key:9f86d081884c            part of a key's fingerprint
  cofferdam hunt model:gpt-4o
  cofferdam hunt rule:policy.yaml:7
  cofferdam hunt evil.example --api http://127.0.0.1:8080 --token token    at a collector

Keys, models and hashes are looked for in the newest 200,000 requests and findings.")]
pub(crate) struct HuntArgs {
    /// What to look for
    indicator: String,
    #[command(flatten)]
    rows: Rows,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Not younger: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// Recorded by this node, in a ledger of several; with * at the end by all that begin so
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Runs `cofferdam incident`. False: the answer is no.
pub(crate) fn run(command: &IncidentCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        IncidentCommand::List(args) => list(args, out).map(|()| true),
        IncidentCommand::Show(args) => show::one(args, out).map(|()| true),
        IncidentCommand::Timeline(args) => show::timeline(args, out).map(|()| true),
        IncidentCommand::Contain(args) => respond::contain(args, out),
        IncidentCommand::Release(args) => respond::release(args, out),
        IncidentCommand::Note(NoteArgs { id, text, place, remote }) => {
            mark((place, remote), id, Mark::Note, Some(text), out)
        }
        IncidentCommand::Acknowledge(args) => args.mark(Mark::Acknowledged, out),
        IncidentCommand::Close(args) => args.mark(Mark::Closed, out),
        IncidentCommand::Reopen(args) => args.mark(Mark::Reopened, out),
        IncidentCommand::Evidence(args) => archive::take_out(args, out).map(|()| true),
        IncidentCommand::Verify(args) => archive::verify(args, out),
    }
}

fn now() -> Time {
    Time::from(SystemTime::now())
}

/// Those that are asked for, and whether older ones may be missing.
fn listed(args: &ListArgs) -> Result<(Vec<Incident>, bool)> {
    if let Some(remote) = args.remote.or_ledger(args.rows.place.ledger.as_deref())? {
        return remote.incidents(args);
    }
    let view = View::read(&args.rows.place.open()?, now())?;
    let state = args.state.map(State::from);
    let meant = |case: &&Case| {
        state.is_none_or(|state| case.incident.state == state)
            && args.since.is_none_or(|since| case.incident.last >= since)
            && args.until.is_none_or(|until| case.incident.first <= until)
    };
    let asked =
        Of { workload: args.workload.as_deref(), node: args.node.as_deref(), text: args.text.as_deref() };
    let cases = view.cases.iter().filter(meant).filter(|case| asked.is(case)).take(args.limit);
    Ok((cases.map(|case| case.incident.clone()).collect(), view.truncated))
}

fn list(args: &ListArgs, out: &mut impl Write) -> Result<()> {
    let (incidents, is_truncated) = listed(args)?;
    let heads = ["ID", "SCORE", "SEVERITY", "STATE", "FIRST", "LAST", "WHAT"];
    let clock = args.rows.clock();
    let cells = |incident: &Incident| {
        [
            incident.id.clone(),
            incident.score.to_string(),
            incident.severity.as_str().to_owned(),
            incident.state.as_str().to_owned(),
            clock.show(incident.first),
            clock.show(incident.last),
            incident.title.clone(),
        ]
    };
    args.rows.print(incidents, heads, cells, |incident| json!(incident), out)?;
    if is_truncated {
        args.rows.note("Older findings were left out.", out)?;
    }
    Ok(())
}

/// The incident that is meant.
fn find<'v>(view: &'v View, id: &str) -> Result<&'v Case> {
    let id_shown = printable(id);
    view.meant(id).map_err(|unclear| match unclear {
        Unclear::Several => anyhow!("several incidents begin with {id_shown}: give more of the id"),
        Unclear::Unknown => {
            anyhow!("there is no incident {id_shown}: `cofferdam incident list` shows those there are")
        }
    })
}

/// Gives one order to the running process.
fn order(place: &Place, order: Order) -> Result<Value> {
    ensure!(
        place.ledger.is_none(),
        "a ledger's file alone is only read: what changes something is asked of the running `up` or agent (--socket)"
    );
    match ask(place.socket.as_deref(), &Request::Respond(order))?.next().context("no answer")?? {
        Answer::Response(value) => Ok(value),
        _ => bail!("the answer is not what this version of the program expects"),
    }
}

/// The running process, asked for its policy; nobody, where only a file is read.
struct Running<'a>(&'a Place);

impl Reach for Running<'_> {
    fn could(&self, workload: &str) -> Option<Reachable> {
        if self.0.ledger.is_some() {
            return None;
        }
        let answer = order(self.0, Order::Reach { workload: workload.to_owned() }).ok()?;
        serde_json::from_value(answer).ok()?
    }
}

impl MarkArgs {
    fn mark(&self, what: Mark, out: &mut impl Write) -> Result<bool> {
        mark((&self.place, &self.remote), &self.id, what, self.text.as_ref(), out)
    }
}

fn mark(
    (place, remote): (&Place, &RemoteArgs),
    id: &str,
    what: Mark,
    text: Option<&String>,
    out: &mut impl Write,
) -> Result<bool> {
    let (on, answer) = match remote.or_ledger(place.ledger.as_deref())? {
        // It answers with the incident, which this command does not show.
        Some(remote) => (remote.mark(id, what, text)?, json!({})),
        None => {
            let view = View::read(&place.open()?, now())?;
            let on = find(&view, id)?.incident.id.clone();
            let annotation = Annotation { on: on.clone(), what, text: text.cloned(), manifest: None };
            (on, order(place, Order::Annotate(annotation))?)
        }
    };
    if place.json {
        writeln!(out, "{answer}")?;
    } else {
        writeln!(out, "{}: written down", printable(&on))?;
    }
    Ok(true)
}

/// Runs `cofferdam hunt`.
pub(crate) fn hunt(args: &HuntArgs, out: &mut impl Write) -> Result<()> {
    let indicator = Indicator::read(&args.indicator)?;
    let found: Hunt = match args.remote.or_ledger(args.rows.place.ledger.as_deref())? {
        Some(remote) => remote.hunt(args)?,
        None => {
            let node = args.node.as_deref().map(Match::wanted);
            let within = Within { since: args.since, until: args.until, node };
            incident::hunt(&args.rows.place.open()?, &indicator, &within)?
        }
    };
    if matches!(args.rows.output(), Output::Json | Output::Jsonl) {
        writeln!(out, "{}", json!(found))?;
        return Ok(());
    }
    let kind = json!(found.kind);
    let kind = kind.as_str().unwrap_or_default();
    if found.hits == 0 {
        args.rows.note(&format!("Nobody had to do with the {kind} {}.", printable(&found.indicator)), out)?;
    } else {
        let heads = ["HITS", "FIRST", "LAST", "WHO"];
        let clock = args.rows.clock();
        let cells = |it: &incident::hunt::OfWorkload| {
            [it.hits.to_string(), clock.show(it.first), clock.show(it.last), it.workload.clone()]
        };
        args.rows.print(found.workloads, heads, cells, |it| json!(it), out)?;
    }
    if found.truncated {
        args.rows.note("There may be more: not everything was looked at.", out)?;
    }
    Ok(())
}
