//! One incident, for a person or as JSON.

use super::{OneArgs, Running, find, now};
use crate::plain::printable;
use anyhow::Result;
use incident::{Item, Radius, Severity, Story, View, timeline as timeline_of};
use serde_json::json;
use std::io::Write;

/// Places that are listed of where one workload could go.
const PLACES: usize = 20;

/// `cofferdam incident show`.
pub(super) fn one(args: &OneArgs, out: &mut impl Write) -> Result<()> {
    let story = match args.remote.or_ledger(args.place.ledger.as_deref())? {
        Some(remote) => remote.story(&args.id)?,
        None => {
            let reader = args.place.open()?;
            let view = View::read(&reader, now())?;
            Story::of(&reader, find(&view, &args.id)?, &Running(&args.place))?
        }
    };
    let untold = story.incident.workloads.len().saturating_sub(story.blast_radius.len());
    let untold = format!("How far {untold} more of its workloads reach is not told.");
    let is_whole = story.incident.workloads.len() <= story.blast_radius.len();
    if args.place.json {
        writeln!(out, "{}", json!(story))?;
        if !is_whole {
            writeln!(std::io::stderr(), "{untold}")?;
        }
        return Ok(());
    }
    head(&story, out)?;
    writeln!(out, "\nWhat happened")?;
    items(&story.timeline, story.timeline_truncated, out)?;
    for radius in &story.blast_radius {
        reached(radius, out)?;
    }
    if !is_whole {
        writeln!(out, "\n{untold}")?;
    }
    Ok(())
}

/// `cofferdam incident timeline`.
pub(super) fn timeline(args: &OneArgs, out: &mut impl Write) -> Result<()> {
    let (found, is_truncated) = match args.remote.or_ledger(args.place.ledger.as_deref())? {
        Some(remote) => {
            let story = remote.story(&args.id)?;
            (story.timeline, story.timeline_truncated)
        }
        None => {
            let reader = args.place.open()?;
            let view = View::read(&reader, now())?;
            let found = timeline_of(&reader, find(&view, &args.id)?)?;
            (found.items, found.truncated)
        }
    };
    if args.place.json {
        for item in &found {
            writeln!(out, "{}", json!(item))?;
        }
        return Ok(());
    }
    items(&found, is_truncated, out)
}

fn head(story: &Story, out: &mut impl Write) -> Result<()> {
    let incident = &story.incident;
    writeln!(out, "{}  {}", printable(&incident.id), printable(&incident.title))?;
    let severity: Severity = incident.severity;
    writeln!(
        out,
        "{}, severity {}, {} of 100 points, {} to {}",
        incident.state.as_str(),
        severity.as_str(),
        incident.score,
        incident.first,
        incident.last
    )?;
    for part in &incident.parts {
        writeln!(out, "  {:>3}  {}: {}", part.points, printable(&part.what), printable(&part.why))?;
    }
    for held in &incident.contained {
        writeln!(out, "  {} is cut off until {}", printable(&held.workload), held.until)?;
    }
    for note in &incident.notes {
        writeln!(out, "  {} {}: {}", note.time, printable(&note.who), printable(&note.text))?;
    }
    writeln!(out, "\nFindings")?;
    for finding in &story.findings {
        writeln!(out, "  {:6}  {}", finding.severity.as_str(), printable(&finding.sentence))?;
    }
    Ok(())
}

fn items(items: &[Item], is_truncated: bool, out: &mut impl Write) -> Result<()> {
    for item in items {
        writeln!(out, "  {}  {:7}  {}", item.time, item.kind.name(), printable(&item.sentence))?;
    }
    if is_truncated {
        writeln!(out, "  There was more than is shown here: see `cofferdam ledger show`.")?;
    }
    Ok(())
}

fn reached(radius: &Radius, out: &mut impl Write) -> Result<()> {
    let workload = printable(&radius.workload);
    writeln!(
        out,
        "\n{workload} reached, or tried to: {} places (`cofferdam edges --source {workload}`)",
        radius.did.len()
    )?;
    if radius.could.is_empty() && !radius.could_is_complete {
        writeln!(out, "Where policy lets it go is not known here.")?;
        return Ok(());
    }
    writeln!(out, "Policy lets it go to {} places:", radius.could.len())?;
    for could in radius.could.iter().take(PLACES) {
        let rule =
            if could.rule.is_empty() { String::new() } else { format!("  {}", printable(&could.rule)) };
        writeln!(out, "  {} {}{rule}", printable(&could.destination), printable(&could.port))?;
    }
    if radius.could.len() > PLACES || !radius.could_is_complete {
        writeln!(out, "  and more: --json")?;
    }
    Ok(())
}
