//! Clusters and rollouts of a hub, for the API.
//!
//! Guarantees: whoever asks waits for a bounded time. Does not: decide, or write at the hub.

use ::fleet::Ref;
use ::fleet::hub::Drift;
use ::fleet::rollout::{
    ClusterView, Decision, Errors, Findings, Numbers, Phase, Rate, Severity, StagePhase, StageView, Told,
    Word,
};
use api::Hub;
use api::shape::Moment;
use api::shape::fleet::{
    Fleet, FleetCluster, FleetDecision, FleetErrors, FleetFindings, FleetGate, FleetMember, FleetNumbers,
    FleetRate, FleetRollout, FleetStage, ReleaseRef,
};
use kube::Client;
use rollouts::{Looked, Standing, Survey, Surveyed};
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long the hub may take for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Clusters that are told of, and of one stage.
const CLUSTERS: usize = 1000;
const MEMBERS: usize = 200;
/// Decisions that are told of, the newest.
const DECISIONS: usize = 20;
const MICROS: u64 = 1_000_000;

/// A hub, on the runtime of another thread.
pub(super) struct AtHub {
    runtime: Handle,
    hub: Client,
}

impl AtHub {
    pub(super) fn new(runtime: Handle, hub: Client) -> Self {
        Self { runtime, hub }
    }
}

impl Hub for AtHub {
    fn fleet(&self) -> Result<Fleet, String> {
        let (done, answer) = sync_channel(1);
        let hub = self.hub.clone();
        self.runtime.spawn(async move {
            // Whoever asked may have given up.
            let _ = done.send(rollouts::survey(&hub).await);
        });
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(survey)) => Ok(told(survey)),
            Ok(Err(error)) => Err(format!("the hub: {error}")),
            Err(_) => Err(format!("the hub does not answer within {PATIENCE:?}")),
        }
    }
}

fn told(Survey { clusters, rollouts }: Survey) -> Fleet {
    let more_clusters = clusters.len().saturating_sub(CLUSTERS) as u64;
    let mut rollouts: Vec<FleetRollout> = rollouts.into_iter().map(rollout).collect();
    rollouts.sort_by_key(|it| matches!(it.phase.as_str(), "done" | "rolled-back"));
    let clusters = clusters.into_iter().take(CLUSTERS).map(cluster).collect();
    Fleet { has_hub: true, clusters, more_clusters, rollouts }
}

fn release(reference: &Ref) -> ReleaseRef {
    ReleaseRef { number: reference.number, digest: reference.digest.to_string() }
}

fn cluster(standing: Standing) -> FleetCluster {
    let Standing { name, labels, wanted, drift, status, silent, unclear } = standing;
    let mut problems: Vec<String> = unclear.into_iter().collect();
    problems.extend(status.iter().flat_map(|it| it.problems.iter().cloned()));
    FleetCluster {
        name,
        labels: labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        wanted: wanted.as_ref().map(|it| release(&it.enforce)),
        enforced: status.as_ref().map(|it| release(&it.enforced)),
        shadow: status.as_ref().and_then(|it| it.shadow.as_ref()).map(release),
        silent_seconds: silent,
        policies: status.as_ref().map_or(0, |it| it.effective.policies),
        effective: status.as_ref().map(|it| it.effective.digest.to_string()).unwrap_or_default(),
        drift_is: match drift {
            Drift::Correct => "correct",
            Drift::Report => "report",
        }
        .to_owned(),
        drift: status.map(|it| it.drift).unwrap_or_default(),
        problems,
    }
}

fn rollout(Surveyed { name, looked }: Surveyed) -> FleetRollout {
    let looked = match looked {
        Ok(looked) => looked,
        Err(why) => {
            return FleetRollout {
                name,
                phase: "waiting".to_owned(),
                problems: vec![why],
                ..Default::default()
            };
        }
    };
    let Looked { spec, plan, status, stages, idle } = looked;
    let state = status.state;
    let refused = status.conditions.iter().find(|it| it.kind == "Accepted" && it.status == "False");
    let mut problems = plan.err().unwrap_or_default();
    if problems.is_empty() {
        problems.extend(refused.map(|it| it.message.clone()));
    }
    problems.extend(idle.map(|it| format!("{it}: does `cofferdam rollouts` run?")));
    let skipped = state.decisions.len().saturating_sub(DECISIONS);
    FleetRollout {
        name,
        release: Some(release(&spec.release)),
        fallback: spec.fallback.as_ref().map(release),
        phase: phase(state.phase).to_owned(),
        stage: status.stage,
        held: state.held,
        paused: state.paused,
        waits: state.waits,
        problems,
        stages: stages.into_iter().map(stage).collect(),
        decisions: state.decisions.iter().skip(skipped).map(decision).collect(),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Shadow => "shadow",
        Phase::Enforce => "enforce",
        Phase::RollingBack => "rolling-back",
        Phase::RolledBack => "rolled-back",
        Phase::Done => "done",
    }
}

fn stage(view: StageView) -> FleetStage {
    let StageView { name, phase, selects, gate, approval, hold, numbers, missing, clusters } = view;
    let phase = match phase {
        StagePhase::Pending => "pending",
        StagePhase::Shadow => "shadow",
        StagePhase::Enforce => "enforce",
        StagePhase::Through => "through",
        StagePhase::GoingBack => "going-back",
        StagePhase::Back => "back",
    };
    let Numbers {
        clusters: of,
        reporting,
        failing,
        seconds,
        flows,
        denials,
        accepted,
        findings,
        by_severity,
        errors,
    } = numbers;
    FleetStage {
        name,
        phase: phase.to_owned(),
        selects,
        gate: FleetGate {
            seconds: gate.seconds,
            flows: gate.flows,
            findings: gate.findings,
            severity: match gate.severity {
                Severity::Low => "low",
                Severity::Medium => "medium",
                Severity::High => "high",
            },
            error_percent: gate.error_percent,
        },
        approval,
        hold_seconds: hold,
        numbers: FleetNumbers {
            clusters: of,
            reporting,
            failing,
            seconds,
            flows,
            denials,
            accepted,
            findings,
            by_severity: by_how_much(by_severity),
            errors: failures(errors),
        },
        missing,
        more_clusters: clusters.len().saturating_sub(MEMBERS) as u64,
        clusters: clusters.into_iter().take(MEMBERS).map(member).collect(),
    }
}

fn by_how_much(Findings { low, medium, high }: Findings) -> FleetFindings {
    FleetFindings { low, medium, high }
}

fn failures(Errors { connections, names, requests }: Errors) -> FleetErrors {
    let rate = |it: Rate| FleetRate { tried: it.tried, failed: it.failed };
    FleetErrors { connections: rate(connections), names: rate(names), requests: rate(requests) }
}

fn member(view: ClusterView) -> FleetMember {
    let told = match view.told {
        Told::Shadow => "shadow",
        Told::Enforce => "enforce",
        Told::Back => "back",
    };
    FleetMember {
        name: view.name,
        told: told.to_owned(),
        silent_seconds: view.silent,
        seconds: view.seconds,
        flows: view.flows,
        denials: view.denials,
        findings: view.findings,
        by_severity: by_how_much(view.by_severity),
        errors: view.errors.map(failures),
        problem: view.problem,
    }
}

fn decision(decision: &Decision) -> FleetDecision {
    let what = match decision.what {
        Word::Began => "began",
        Word::Promoted => "promoted",
        Word::Forced => "forced",
        Word::Settled => "settled",
        Word::Skipped => "skipped",
        Word::Finished => "finished",
        Word::RollsBack => "rolls back",
        Word::RolledBack => "rolled back",
        Word::Paused => "paused",
        Word::Resumed => "resumed",
        Word::Approved => "approved",
        Word::NotDone => "not done",
        Word::Left => "left",
        Word::Joined => "joined",
        Word::SentBack => "sent back",
    };
    FleetDecision {
        time: Moment::of(decision.at.saturating_mul(MICROS)),
        what: what.to_owned(),
        stage: decision.stage.clone(),
        by: decision.by.clone(),
        why: decision.why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_comes_first_and_what_has_no_room_is_counted() {
        let clusters = (0..CLUSTERS + 3)
            .map(|number| Standing { name: format!("c{number:04}"), ..Standing::default() })
            .collect();
        let unclear =
            |name: &str| Surveyed { name: name.to_owned(), looked: Err("spec: it is odd".to_owned()) };
        let fleet = told(Survey { clusters, rollouts: vec![unclear("a")] });
        assert_eq!((fleet.clusters.len(), fleet.more_clusters, fleet.has_hub), (CLUSTERS, 3, true));
        assert_eq!(fleet.rollouts[0].problems, ["spec: it is odd"]);
        assert_eq!((fleet.clusters[0].enforced.clone(), fleet.clusters[0].silent_seconds), (None, None));
    }
}
