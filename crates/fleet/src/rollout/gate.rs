//! Whether a stage may go on, and what is missing.

use super::evidence::{Cluster, Evidence, Findings, Mode, Report, Seen};
use super::plan::{Plan, Stage};
use super::state::{Numbers, State};

/// Most reasons that are given; those beyond are counted.
const MOST_REASONS: usize = 20;

/// What a stage is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// May it be enforced?
    Gate,
    /// Is it enforced for long enough that the next may begin?
    Hold,
}

impl Question {
    fn mode(self) -> Mode {
        match self {
            Self::Gate => Mode::Shadow,
            Self::Hold => Mode::Enforce,
        }
    }
}

/// What is missing (nothing: it holds), and what was seen.
pub(super) struct Answer {
    pub(super) missing: Vec<String>,
    pub(super) numbers: Numbers,
    /// Whether any of what is missing does not come by waiting alone.
    pub(super) held: bool,
}

/// Asks of the stage that the state is about.
pub(super) fn ask(question: Question, plan: &Plan, state: &State, seen: &Seen, now: u64) -> Answer {
    ask_of(state.stage, question, (plan, state, seen, now))
}

/// Asks of one stage.
pub(super) fn ask_of(
    index: usize,
    question: Question,
    (plan, state, seen, now): (&Plan, &State, &Seen, u64),
) -> Answer {
    let mut asking =
        Asking { question, plan, now, missing: Vec::new(), held: false, numbers: Numbers::default() };
    let Some(stage) = plan.stages.get(index) else {
        asking.stop("there is no such stage".to_owned());
        return asking.answer();
    };
    // Who came late is asked alone.
    let members = state.members.iter().filter(|(_, member)| member.stage == index && !member.late);
    for (name, _) in members {
        asking.numbers.clusters += 1;
        let least = if asking.numbers.clusters == 1 { u64::MAX } else { asking.numbers.seconds };
        let seconds = asking.cluster(stage, name, seen.clusters.get(name));
        asking.numbers.seconds = least.min(seconds);
    }
    asking.stage(stage);
    asking.answer()
}

/// Asks of one cluster that came late, by what it says itself. Of the flows that its stage was to see together, it is to see the
/// part of one cluster.
pub(super) fn ask_late(
    name: &str,
    index: usize,
    question: Question,
    (plan, state, seen, now): (&Plan, &State, &Seen, u64),
) -> Answer {
    let mut asking =
        Asking { question, plan, now, missing: Vec::new(), held: false, numbers: Numbers::default() };
    let Some(stage) = plan.stages.get(index) else {
        asking.stop("there is no such stage".to_owned());
        return asking.answer();
    };
    asking.numbers.clusters = 1;
    asking.numbers.seconds = asking.cluster(stage, name, seen.clusters.get(name));
    let of_stage = state.members.values().filter(|it| it.stage == index && !it.late).count() as u64;
    let (flows, needed) = (asking.numbers.flows, stage.gate.flows.div_ceil(of_stage.max(1)));
    // Whoever says nothing that counts is told of that, and not of flows.
    if question == Question::Gate && asking.numbers.reporting > 0 && flows < needed {
        asking.missing.push(format!("{name}: {flows} of {needed} flows were seen"));
    }
    asking.answer()
}

struct Asking<'p> {
    question: Question,
    plan: &'p Plan,
    now: u64,
    missing: Vec<String>,
    held: bool,
    numbers: Numbers,
}

impl Asking<'_> {
    /// Something is missing that does not come by waiting alone.
    fn stop(&mut self, why: String) {
        self.held = true;
        self.missing.push(why);
    }

    /// Takes in what is seen of one cluster. For how long it has had the release so.
    fn cluster(&mut self, stage: &Stage, name: &str, cluster: Option<&Cluster>) -> u64 {
        let Some(report) = cluster.and_then(|it| it.report.as_ref()) else {
            self.stop(format!("{name} has never said how it stands"));
            return 0;
        };
        let silent = self.now.saturating_sub(report.heard);
        if silent > self.plan.silence {
            self.stop(format!("{name} is silent for {silent} s"));
            return 0;
        }
        if let Some(problem) = report.problems.first() {
            self.numbers.failing += 1;
            self.stop(format!("{name}: {problem}"));
            return 0;
        }
        let Some(evidence) = self.evidence(report) else {
            let what = match self.question {
                Question::Gate => "does not judge the release yet",
                Question::Hold => "does not enforce the release yet",
            };
            self.missing.push(format!("{name} {what}"));
            return 0;
        };
        self.numbers.reporting += 1;
        self.weigh(stage, name, evidence);
        evidence.seconds
    }

    fn evidence<'r>(&self, report: &'r Report) -> Option<&'r Evidence> {
        let has_it = match self.question {
            Question::Gate => report.shadow.as_ref() == Some(&self.plan.release),
            Question::Hold => report.enforced == self.plan.release,
        };
        let is_it = |it: &&Evidence| it.of == self.plan.release && it.mode == self.question.mode();
        report.evidence.as_ref().filter(|_| has_it).filter(is_it)
    }

    fn weigh(&mut self, stage: &Stage, name: &str, evidence: &Evidence) {
        let [denials, accepted] = evidence.denials(&self.plan.accepted);
        let numbers = &mut self.numbers;
        numbers.flows = numbers.flows.saturating_add(evidence.flows);
        numbers.denials = numbers.denials.saturating_add(denials);
        numbers.accepted = numbers.accepted.saturating_add(accepted);
        let findings = evidence.findings_from(stage.gate.severity);
        numbers.findings = numbers.findings.saturating_add(findings);
        numbers.by_severity = numbers.by_severity.with(evidence.by_severity);
        numbers.errors = numbers.errors.with(evidence.errors.unwrap_or_default());
        let needed = match self.question {
            Question::Gate => stage.gate.seconds,
            Question::Hold => stage.hold,
        };
        if evidence.seconds < needed {
            self.missing.push(format!("{name}: {} of {needed} s", evidence.seconds));
        }
        if let Some(most) = stage.gate.error_percent {
            self.errors(name, evidence, most);
        }
        if self.question == Question::Hold {
            if let Some(why) = &evidence.unwatched {
                self.stop(format!("{name} does not see what the release denies that worked before: {why}"));
            }
            return;
        }
        if denials > 0 {
            let first = evidence.denials.iter().find(|it| !self.plan.accepted.iter().any(|a| a.fits(it)));
            let like = first.map_or_else(String::new, |it| {
                format!(", such as {} to {} port {}", it.source, it.destination, it.port)
            });
            self.stop(format!("{name}: {denials} would be denied that are not accepted{like}"));
        }
        let most = stage.gate.findings;
        if findings > most {
            let by = match evidence.by_severity {
                by if by == Findings::default() => String::new(),
                by => format!(" ({by})"),
            };
            self.stop(format!("{name}: {findings} findings{by}, at most {most} may be"));
        }
    }

    /// Whether more fails than may.
    fn errors(&mut self, name: &str, evidence: &Evidence, most: u64) {
        let Some(errors) = evidence.errors else {
            match (evidence.seconds, &evidence.unwatched) {
                (0, _) => self.missing.push(format!("{name} does not count yet what fails")),
                (_, None) => {
                    self.stop(format!("{name} does not count what fails; its agents may be too old"))
                }
                // That is told besides.
                (_, Some(_)) => {}
            }
            return;
        };
        for (what, share) in errors.each().into_iter().filter(|(_, share)| share.is_beyond(most)) {
            let (whole, tenth) = (share.per_mille() / 10, share.per_mille() % 10);
            let (failed, tried) = (share.failed, share.tried);
            let why =
                format!("{name}: {failed} of {tried} {what} fail ({whole}.{tenth} %), at most {most} % may");
            self.stop(why);
        }
    }

    fn stage(&mut self, stage: &Stage) {
        if self.numbers.clusters == 0 {
            self.stop(format!("stage {} has no cluster", stage.name));
        }
        let needed = stage.gate.flows;
        if self.question == Question::Gate && self.numbers.flows < needed {
            self.missing.push(format!("{} of {needed} flows were seen", self.numbers.flows));
        }
    }

    fn answer(mut self) -> Answer {
        let more = self.missing.len().saturating_sub(MOST_REASONS);
        if more > 0 {
            self.missing.truncate(MOST_REASONS);
            self.missing.push(format!("and {more} more reasons"));
        }
        Answer { missing: self.missing, numbers: self.numbers, held: self.held }
    }
}
