//! A rollout for people, and as JSON.

use crate::plain::printable;
use anyhow::Result;
use fleet::Ref;
use fleet::rollout::{
    ClusterView, Decision, Errors, Findings, Numbers, Phase, StagePhase, StageView, State, Told,
};
use observe::Time;
use rollouts::Looked;
use serde_json::json;
use std::io::Write;

/// Clusters of one stage that are listed for people; those beyond are counted.
const MOST_CLUSTERS: usize = 50;
/// Decisions that `status` shows.
const LAST: usize = 5;

/// Everything, as one object.
pub(super) fn json(name: &str, looked: &Looked, out: &mut impl Write) -> Result<()> {
    let state = &looked.status.state;
    let whole = json!({
        "name": name, "release": looked.spec.release, "fallback": looked.spec.fallback, "phase": state.phase,
        "stage": looked.status.stage, "held": state.held, "paused": state.paused, "waits": state.waits, "stages": looked.stages,
        "conditions": looked.status.conditions, "decisions": state.decisions, "forgotten": state.forgotten,
        "problems": looked.plan.as_ref().err(), "idle": looked.idle,
    });
    writeln!(out, "{whole:#}")?;
    Ok(())
}

/// Stages, what is missing, and what was decided last.
pub(super) fn status(name: &str, looked: &Looked, out: &mut impl Write) -> Result<()> {
    let (state, spec) = (&looked.status.state, &looked.spec);
    let back = spec.fallback.as_ref().map_or_else(|| "nothing".to_owned(), Ref::to_string);
    writeln!(out, "rollout {}: release {}, falls back to {back}", printable(name), spec.release)?;
    writeln!(out, "{}", printable(&headline(looked)))?;
    if let Err(wrong) = &looked.plan {
        wrong.iter().try_for_each(|it| writeln!(out, "  {}", printable(it)))?;
        return Ok(());
    }
    if let Some(idle) = &looked.idle {
        writeln!(out, "{}: does `cofferdam rollouts` run?", printable(idle))?;
    }
    writeln!(out)?;
    let head =
        ["STAGE", "PHASE", "CLUSTERS", "SECONDS", "FLOWS", "DENIALS", "ACCEPTED", "FINDINGS", "ERRORS"];
    let rows = looked.stages.iter().map(|it| stage_row(it, spec.spike));
    table(&[vec![head.map(str::to_owned)], rows.collect()].concat(), "", out)?;
    for waits in &state.waits {
        writeln!(out, "  missing: {}", printable(waits))?;
    }
    for stage in looked.stages.iter().filter(|it| !it.clusters.is_empty()) {
        writeln!(out, "\nclusters of {}:", printable(&stage.name))?;
        let head = [
            "CLUSTER", "TOLD", "ENFORCED", "SHADOW", "HEARD", "SECONDS", "FLOWS", "DENIALS", "FINDINGS",
            "ERRORS", "PROBLEM",
        ];
        let rows = stage.clusters.iter().take(MOST_CLUSTERS).map(cluster_row);
        table(&[vec![head.map(str::to_owned)], rows.collect()].concat(), "  ", out)?;
        let more = stage.clusters.len().saturating_sub(MOST_CLUSTERS);
        if more > 0 {
            writeln!(out, "  and {more} more; --json lists all")?;
        }
    }
    let skipped = state.decisions.len().saturating_sub(LAST);
    if !state.decisions.is_empty() {
        writeln!(out, "\nlast decisions:")?;
    }
    state.decisions.iter().skip(skipped).try_for_each(|it| decision(it, out))
}

fn headline(looked: &Looked) -> String {
    let state = &looked.status.state;
    let (at, of) = (state.stage + 1, looked.spec.stages.len());
    let stage = looked.spec.stages.get(state.stage).map_or("", |it| it.name.as_str());
    let doing = match state.phase {
        Phase::Waiting => format!("stage {stage} ({at} of {of}) has not begun"),
        Phase::Shadow => format!("stage {stage} ({at} of {of}) judges it without effect"),
        Phase::Enforce => format!("stage {stage} ({at} of {of}) enforces it"),
        Phase::RollingBack => "it is being taken back".to_owned(),
        Phase::RolledBack => "it was taken back everywhere".to_owned(),
        Phase::Done => "every stage enforces it".to_owned(),
    };
    let refused = looked.status.conditions.iter().find(|it| it.kind == "Accepted" && it.status == "False");
    match (&state.paused, refused) {
        (_, Some(refused)) => format!("NOT ACCEPTED ({}): {doing}", refused.reason),
        (Some(by), None) => format!("PAUSED by {by}: {doing}"),
        (None, None) if state.held => format!("HELD: {doing}"),
        (None, None) => doing,
    }
}

fn stage_row(stage: &StageView, spike: u64) -> [String; 9] {
    let Numbers { clusters, reporting, seconds, flows, denials, accepted, findings, errors, .. } =
        stage.numbers;
    let most = stage.gate.error_percent.map_or_else(String::new, |it| format!("/{it}%"));
    let of = |seen: u64, limit: u64| format!("{seen}/{limit}");
    let phase = match stage.phase {
        StagePhase::Pending => "pending",
        StagePhase::Shadow => "shadow",
        StagePhase::Enforce => "enforced",
        StagePhase::Through => "through",
        StagePhase::GoingBack => "going back",
        StagePhase::Back => "back",
    };
    let enforces = matches!(stage.phase, StagePhase::Enforce | StagePhase::Through | StagePhase::GoingBack);
    let numbers = match stage.phase {
        StagePhase::Pending | StagePhase::Back => [
            stage.selects.to_string(),
            format!("-/{}", stage.gate.seconds),
            format!("-/{}", stage.gate.flows),
            "-/0".to_owned(),
            "-".to_owned(),
            format!("-/{}", stage.gate.findings),
            format!("-{most}"),
        ],
        StagePhase::Shadow | StagePhase::Enforce | StagePhase::Through | StagePhase::GoingBack => [
            of(reporting, clusters),
            of(seconds, if enforces { stage.hold } else { stage.gate.seconds }),
            if enforces { flows.to_string() } else { of(flows, stage.gate.flows) },
            if enforces { format!("{denials} (back at {spike})") } else { of(denials, 0) },
            accepted.to_string(),
            if enforces { findings.to_string() } else { of(findings, stage.gate.findings) },
            format!("{}{most}", percent(Some(errors))),
        ],
    };
    let [clusters, seconds, flows, denials, accepted, findings, errors] = numbers;
    [stage.name.clone(), phase.to_owned(), clusters, seconds, flows, denials, accepted, findings, errors]
}

/// Of connections, names or requests, whichever fail most often: `2.5%`.
fn percent(errors: Option<Errors>) -> String {
    let worst = errors.and_then(|it| it.worst());
    worst.map_or_else(|| "-".to_owned(), |it| format!("{}.{}%", it / 10, it % 10))
}

fn cluster_row(cluster: &ClusterView) -> [String; 11] {
    let release = |it: &Option<Ref>| it.as_ref().map_or_else(|| "-".to_owned(), Ref::to_string);
    let told = match cluster.told {
        Told::Shadow => "shadow",
        Told::Enforce => "enforce",
        Told::Back => "back",
    };
    [
        cluster.name.clone(),
        if cluster.late { format!("{told} (late)") } else { told.to_owned() },
        release(&cluster.enforced),
        release(&cluster.shadow),
        cluster.silent.map_or_else(|| "never".to_owned(), |it| format!("{it} s ago")),
        cluster.seconds.to_string(),
        cluster.flows.to_string(),
        cluster.denials.to_string(),
        cluster.by_severity.to_string(),
        percent(cluster.errors),
        cluster.problem.clone().unwrap_or_default(),
    ]
}

/// Columns as wide as what is in them.
pub(crate) fn table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    indent: &str,
    out: &mut impl Write,
) -> Result<()> {
    let rows: Vec<[String; COLUMNS]> =
        rows.iter().map(|row| row.each_ref().map(|it| printable(it))).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        writeln!(out, "{indent}{}", cells.trim_end())?;
    }
    Ok(())
}

/// One decision, in one line.
pub(super) fn decision(decision: &Decision, out: &mut impl Write) -> Result<()> {
    let Decision { at, what, stage, by, why, numbers } = decision;
    let who = if by.is_empty() { "by itself".to_owned() } else { format!("by {by}") };
    let line = format!("{}  {what:?} {stage} {who}: {why}{}", time(*at), seen(numbers));
    writeln!(out, "{}", printable(&line))?;
    Ok(())
}

fn time(seconds: u64) -> String {
    let text = Time(seconds.saturating_mul(1_000_000)).to_string();
    // To the second: no decision is dated more finely.
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}

fn seen(numbers: &Numbers) -> String {
    let Numbers {
        clusters,
        reporting,
        failing,
        seconds,
        flows,
        denials,
        accepted,
        findings,
        by_severity,
        errors,
    } = *numbers;
    if *numbers == Numbers::default() {
        return String::new();
    }
    let mut text = format!(
        " [{reporting} of {clusters} clusters, {seconds} s, {flows} flows, {denials} denials, {findings} findings"
    );
    if by_severity != Findings::default() {
        text += &format!(" ({by_severity})");
    }
    for (count, what) in [(accepted, "accepted denials"), (failing, "clusters failing")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if errors.worst().is_some_and(|it| it > 0) {
        text += &format!(", failed: {errors}");
    }
    text + "]"
}

/// Every decision that is kept.
pub(super) fn history(state: &State, as_json: bool, out: &mut impl Write) -> Result<()> {
    if as_json {
        let whole = json!({ "decisions": state.decisions, "forgotten": state.forgotten });
        writeln!(out, "{whole:#}")?;
        return Ok(());
    }
    if state.forgotten > 0 {
        writeln!(out, "{} decisions before these are no longer kept", state.forgotten)?;
    }
    if state.decisions.is_empty() {
        writeln!(out, "nothing was decided yet")?;
    }
    state.decisions.iter().try_for_each(|it| decision(it, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::rollout::{Gate, Rate, Word};

    #[test]
    fn a_decision_is_one_line_with_who_and_what_was_seen() {
        let numbers =
            Numbers { clusters: 2, reporting: 1, seconds: 60, flows: 9, denials: 3, ..Numbers::default() };
        let names = Rate { tried: 40, failed: 6 };
        let numbers = Numbers { errors: Errors { names, ..Errors::default() }, ..numbers };
        let mut text = Vec::new();
        let forced = Decision {
            at: 1_795_468_027,
            what: Word::Forced,
            stage: "dev".to_owned(),
            by: "ann".to_owned(),
            why: "a: 3 would be\nde\u{202e}nied".to_owned(),
            numbers,
        };
        decision(&forced, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2026-11-23T21:07:07Z  Forced dev by ann: a: 3 would be\\u{a}de\\u{202e}nied [1 of 2 clusters, 60 s, 9 flows, 3 \
             denials, 0 findings, failed: 6 of 40 names]\n"
        );
    }

    #[test]
    fn numbers_stand_beside_what_they_are_measured_by() {
        let stage = |phase| StageView {
            name: "dev".to_owned(),
            phase,
            selects: 4,
            gate: Gate { seconds: 600, flows: 1000, findings: 1, error_percent: Some(5), ..Gate::default() },
            approval: false,
            hold: 300,
            numbers: Numbers {
                clusters: 4,
                reporting: 3,
                seconds: 20,
                flows: 30,
                denials: 2,
                errors: Errors {
                    names: Rate { tried: 200, failed: 1 },
                    requests: Rate { tried: 40, failed: 3 },
                    ..Errors::default()
                },
                ..Numbers::default()
            },
            missing: Vec::new(),
            clusters: Vec::new(),
        };
        for (phase, expected) in [
            (StagePhase::Pending, "dev pending 4 -/600 -/1000 -/0 - -/1 -/5%"),
            (StagePhase::Shadow, "dev shadow 3/4 20/600 30/1000 2/0 0 0/1 7.5%/5%"),
            (StagePhase::Enforce, "dev enforced 3/4 20/300 30 2 (back at 7) 0 0 7.5%/5%"),
        ] {
            assert_eq!(stage_row(&stage(phase), 7).join(" "), expected);
        }
    }
}
