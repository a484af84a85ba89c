//! One incident, for a person or as JSON.

use super::{OneArgs, Running, find, now};
use crate::plain::printable;
use anyhow::Result;
use incident::{Case, Radius, Severity, Timeline, View, radius, story, timeline as timeline_of};
use serde_json::json;
use std::io::Write;

/// Places that are listed of where one workload could go.
const PLACES: usize = 20;

/// `cofferdam incident show`.
pub(super) fn one(args: &OneArgs, out: &mut impl Write) -> Result<()> {
    let reader = args.place.open()?;
    let view = View::read(&reader, now())?;
    let case = find(&view, &args.id)?;
    let reach = Running(&args.place);
    if args.place.json {
        writeln!(out, "{}", story(&reader, case, &reach)?)?;
        return Ok(());
    }
    head(case, out)?;
    writeln!(out, "\nWhat happened")?;
    items(&timeline_of(&reader, case)?, out)?;
    for radius in radius(&reader, &reach, &case.incident.workloads)? {
        reached(&radius, out)?;
    }
    Ok(())
}

/// `cofferdam incident timeline`.
pub(super) fn timeline(args: &OneArgs, out: &mut impl Write) -> Result<()> {
    let reader = args.place.open()?;
    let view = View::read(&reader, now())?;
    let found = timeline_of(&reader, find(&view, &args.id)?)?;
    if args.place.json {
        for item in &found.items {
            writeln!(out, "{}", json!(item))?;
        }
        return Ok(());
    }
    items(&found, out)
}

fn head(case: &Case, out: &mut impl Write) -> Result<()> {
    let incident = &case.incident;
    writeln!(out, "{}  {}", incident.id, printable(&incident.title))?;
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
    for finding in &case.findings {
        writeln!(out, "  {:6}  {}", finding.severity.as_str(), printable(&finding.sentence))?;
    }
    Ok(())
}

fn items(timeline: &Timeline, out: &mut impl Write) -> Result<()> {
    for item in &timeline.items {
        writeln!(out, "  {}  {:7}  {}", item.time, item.kind.name(), printable(&item.sentence))?;
    }
    if timeline.truncated {
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
