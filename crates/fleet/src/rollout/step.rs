//! One step of a rollout.

use super::evidence::{Command, MOST_AHEAD, Mode, Report, Seen, Verb, Wanted};
use super::gate::{Answer, Question, ask, ask_late};
use super::plan::Plan;
use super::state::{Decision, MOST_CLUSTERS, Member, Numbers, Phase, State, Told, Word};
use crate::release::Ref;
use std::collections::BTreeMap;

/// Names of clusters in one decision.
const MOST_NAMED: usize = 10;
/// What is waited for: more than one gate gives.
const MOST_WAITS: usize = 25;
/// Who paused it, where that is written beside the plan.
const WRITTEN: &str = "spec.paused";

/// Something to be done at the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say that a cluster is to have this. Said in every step until the hub says so.
    Want {
        /// Its name.
        cluster: String,
        /// What.
        wanted: Wanted,
    },
}

/// Goes on from what is seen. `now`: seconds by the hub's clock; it may jump.
///
/// At most one change of phase is made, so that what the next one goes by was seen after it.
#[must_use]
pub fn step(plan: &Plan, state: State, seen: &Seen, now: u64) -> (State, Vec<Action>) {
    let mut work = Work { plan, state, seen, now };
    let before = work.state.phase;
    work.leave();
    work.note_paused();
    work.note_failing();
    let forced = work.commands();
    work.look_for_harm();
    work.look_for_harm_of_late();
    work.note_settled();
    if work.state.phase == before {
        work.go_on(forced);
    } else {
        work.not_forced(forced, "the rollout goes another way");
    }
    let actions = work.actions();
    (work.state, actions)
}

struct Work<'a> {
    plan: &'a Plan,
    state: State,
    seen: &'a Seen,
    now: u64,
}

impl Work<'_> {
    /// Clusters that are gone hold nobody up; those of another rollout are that one's.
    fn leave(&mut self) {
        let members = self.state.members.keys();
        let gone: Vec<String> = members.filter(|it| !self.seen.clusters.contains_key(*it)).cloned().collect();
        for name in gone {
            self.state.members.remove(&name);
            self.decide(Word::Left, "", format!("{name} is no longer a cluster of this hub"), None);
        }
        let mut taken: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.state.members.keys() {
            let other = self.seen.clusters.get(name).and_then(|it| it.held_by.as_ref());
            if let Some(other) = other {
                taken.entry(other.clone()).or_default().push(name.clone());
            }
        }
        for (other, names) in taken {
            names.iter().for_each(|name| drop(self.state.members.remove(name)));
            let (count, first) = (names.len(), names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>());
            let why =
                format!("rollout {other} has {count} of its clusters now, such as {}", first.join(", "));
            self.decide(Word::Left, "", why, None);
        }
    }

    /// That nothing goes on may be written beside the plan, instead of being asked for.
    fn note_paused(&mut self) {
        let is_written = self.state.paused.as_deref() == Some(WRITTEN);
        if self.seen.paused && self.state.paused.is_none() && self.runs() {
            self.state.paused = Some(WRITTEN.to_owned());
            self.decide(Word::Paused, "", format!("{WRITTEN} is true"), None);
        } else if !self.seen.paused && is_written {
            self.state.paused = None;
            self.decide(Word::Resumed, "", format!("{WRITTEN} is no longer true"), None);
        }
    }

    fn runs(&self) -> bool {
        matches!(self.state.phase, Phase::Waiting | Phase::Shadow | Phase::Enforce)
    }

    fn note_failing(&mut self) {
        for (name, member) in &mut self.state.members {
            let report = self.seen.clusters.get(name).and_then(|it| it.report.as_ref());
            let fails = report.is_some_and(|it| !it.problems.is_empty());
            member.failing_since = fails.then(|| member.failing_since.unwrap_or(self.now));
        }
    }

    /// Handles what was asked, each command once. The one, if any, that wants the stage to go on without its gate.
    fn commands(&mut self) -> Option<Command> {
        let seen = self.seen;
        self.state.passed_over.retain(|id| seen.commands.iter().any(|it| it.id == *id));
        let mut due: Vec<&Command> = seen.commands.iter().filter(|it| self.state.awaits(it)).collect();
        due.sort_by_key(|it| it.id);
        let mut forced = None;
        for command in due {
            let handled = self.state.handled;
            if command.is_too_far(handled) {
                self.state.passed_over.insert(command.id);
                let why = format!(
                    "{:?}: its id, {}, is more than {MOST_AHEAD} beyond {handled}, the last that was handled",
                    command.verb, command.id
                );
                self.decide(Word::NotDone, &command.by, command.with_reason(&why), None);
                continue;
            }
            self.state.handled = command.id;
            if let Err(why) = self.command(command, &mut forced) {
                self.decide(
                    Word::NotDone,
                    &command.by,
                    command.with_reason(&format!("{:?}: {why}", command.verb)),
                    None,
                );
            }
        }
        forced
    }

    fn command(&mut self, command: &Command, forced: &mut Option<Command>) -> Result<(), &'static str> {
        let by = command.by.as_str();
        let runs = self.runs();
        let on_request = command.with_reason("on request");
        let now = self.plan.stages.get(self.state.stage).map(|it| it.name.as_str());
        let is_meant = command.stage.is_none() || command.stage.as_deref() == now;
        match command.verb {
            Verb::ApproveCluster | Verb::PromoteCluster | Verb::SendBack => {
                self.command_of_late(command, command.cluster.as_deref().unwrap_or_default())
            }
            _ if command.cluster.is_some() => {
                Err("it names a cluster; of one are ApproveCluster, PromoteCluster and SendBack")
            }
            Verb::Abort if runs || self.state.phase == Phase::Done => {
                self.roll_back(by, command.with_reason("it was aborted"));
                Ok(())
            }
            _ if !runs => Err("the rollout is over, or going back"),
            Verb::Pause => {
                self.state.paused = Some(by.to_owned());
                self.decide(Word::Paused, by, on_request, None);
                Ok(())
            }
            Verb::Resume if self.seen.paused => Err("spec.paused is true; set it to false"),
            Verb::Resume => {
                self.state.paused = None;
                self.decide(Word::Resumed, by, on_request, None);
                Ok(())
            }
            Verb::Approve | Verb::Promote if !is_meant => Err("it was meant for another stage"),
            Verb::Approve if self.state.phase == Phase::Enforce => Err("the stage is enforced already"),
            Verb::Approve => {
                self.state.approved = Some(by.to_owned());
                self.decide(Word::Approved, by, on_request, None);
                Ok(())
            }
            Verb::Promote if self.state.paused.is_some() => Err("it is paused; resume it first"),
            Verb::Promote => {
                *forced = Some(command.clone());
                Ok(())
            }
            Verb::Abort => Err("there is nothing to take back"),
        }
    }

    /// What is asked of one cluster that came late.
    fn command_of_late(&mut self, command: &Command, name: &str) -> Result<(), &'static str> {
        let member = self.state.members.get(name).filter(|it| it.late && self.state.phase == Phase::Done);
        let Some(&Member { stage, told, .. }) = member else {
            return Err("no cluster of that name came after the rollout was done and is not settled yet");
        };
        let by = command.by.as_str();
        if command.verb == Verb::SendBack {
            if told == Told::Back {
                return Err("it was sent back already");
            }
            self.send_back(name, by, &command.with_reason("on request"));
            return Ok(());
        }
        if self.seen.paused {
            return Err("spec.paused is true; set it to false");
        }
        if told == Told::Enforce {
            return Err("it enforces it already");
        }
        let Answer { missing, numbers, .. } = self.ask_late(name, stage, Question::Gate);
        let (word, why) = match missing.as_slice() {
            [] => (Word::Promoted, format!("{name} came late, and the gate holds there")),
            _ if command.verb == Verb::ApproveCluster => {
                return Err("its gate does not hold; promote it to have it enforced all the same");
            }
            missing => (Word::Forced, format!("{name} came late: {}", missing.join("; "))),
        };
        self.admit(name);
        self.decide_of(stage, word, by, command.with_reason(&why), Some(numbers));
        Ok(())
    }

    fn ask_late(&self, name: &str, stage: usize, question: Question) -> Answer {
        ask_late(name, stage, question, (self.plan, &self.state, self.seen, self.now))
    }

    /// Denials of what worked, or half of a stage that cannot have the release, take it back; also while it is paused, and
    /// where a cluster enforces it only after somebody let the rollout go on without it.
    fn look_for_harm(&mut self) {
        let is_done = match self.state.phase {
            Phase::Waiting | Phase::Shadow | Phase::Enforce => false,
            Phase::Done => true,
            Phase::RollingBack | Phase::RolledBack => return,
        };
        let is_watched = |it: &Member| it.told == Told::Enforce && !it.late && !(is_done && it.settled);
        let enforcing = self.state.members.iter().filter(|(_, member)| is_watched(member));
        let denied = enforcing.filter_map(|(name, _)| Some((name, self.harm(name)?)));
        let worst = denied.max_by_key(|(_, denials)| *denials);
        if let Some((name, denials)) = worst {
            let why = format!(
                "{name} denies {denials} flows that worked before, and {} are too many",
                self.plan.spike
            );
            return self.roll_back("", why);
        }
        let of_stage = || self.state.members.iter().filter(|(_, it)| it.stage == self.state.stage);
        let is_lasting =
            |it: &Member| it.failing_since.is_some_and(|at| self.now.saturating_sub(at) > self.plan.silence);
        let failing: Vec<&String> =
            of_stage().filter(|(_, it)| is_lasting(it)).map(|(name, _)| name).collect();
        let (count, all) = (failing.len(), of_stage().count());
        if let Some(first) =
            failing.first().filter(|_| self.state.phase == Phase::Enforce && count * 2 >= all)
        {
            let problem = self.report(first).and_then(|it| it.problems.first());
            let problem = problem.map_or_else(String::new, |it| format!(" ({it})"));
            let why = format!(
                "{count} of {all} clusters of the stage cannot have the release, such as {first}{problem}"
            );
            self.roll_back("", why);
        }
    }

    fn report(&self, name: &str) -> Option<&Report> {
        self.seen.clusters.get(name)?.report.as_ref()
    }

    /// What a cluster that enforces the release denies of what worked before, where that is too much.
    fn harm(&self, name: &str) -> Option<u64> {
        let evidence = self.report(name)?.evidence.as_ref()?;
        let is_it = evidence.of == self.plan.release && evidence.mode == Mode::Enforce;
        let [denials, _] = evidence.denials(&self.plan.accepted);
        (is_it && denials >= self.plan.spike.max(1)).then_some(denials)
    }

    /// The release held where it was rolled out: what a cluster denies that came late is a matter of that cluster.
    fn look_for_harm_of_late(&mut self) {
        if self.state.phase != Phase::Done {
            return;
        }
        let enforcing = self.state.members.iter().filter(|(_, it)| it.late && it.told == Told::Enforce);
        let harmed = enforcing.filter_map(|(name, _)| Some((name.clone(), self.harm(name)?)));
        for (name, denials) in harmed.collect::<Vec<_>>() {
            let spike = self.plan.spike;
            let why = format!(
                "{name} came late and denies {denials} flows that worked before, and {spike} are too many"
            );
            self.send_back(&name, "", &why);
        }
    }

    /// One cluster that came late goes back, and nobody else.
    fn send_back(&mut self, name: &str, by: &str, why: &str) {
        let Some(&Member { stage, told, .. }) = self.state.members.get(name) else { return };
        let question = if told == Told::Enforce { Question::Hold } else { Question::Gate };
        let numbers = self.ask_late(name, stage, question).numbers;
        let Some(member) = self.state.members.get_mut(name) else { return };
        let text = if told == Told::Enforce && self.plan.fallback.is_none() {
            (member.settled, member.late) = (true, false);
            format!("{why}; {name} keeps the release, for it was not signed to fall back to anything")
        } else {
            member.told = Told::Back;
            format!("{why}; {name} alone goes back to release {}", member.before)
        };
        self.decide_of(stage, Word::SentBack, by, text, Some(numbers));
    }

    fn note_settled(&mut self) {
        for (name, member) in &mut self.state.members {
            let report = self.seen.clusters.get(name).and_then(|it| it.report.as_ref());
            let hold = self.plan.stages.get(member.stage).map_or(u64::MAX, |it| it.hold);
            let has_held = report.and_then(|it| it.evidence.as_ref()).is_some_and(|it| {
                // A stage is held where one of its clusters does not see what it breaks; who comes late stands for itself.
                let is_watched = !member.late || it.unwatched.is_none();
                it.of == self.plan.release && it.mode == Mode::Enforce && it.seconds >= hold && is_watched
            });
            member.settled |= has_held && member.told == Told::Enforce;
            // From then on it is one of its stage like the others.
            member.late &= !member.settled;
        }
    }

    fn go_on(&mut self, forced: Option<Command>) {
        match self.state.phase {
            Phase::Waiting => self.begin(forced),
            Phase::Shadow => self.promote(forced),
            Phase::Enforce => self.finish_stage(forced),
            Phase::RollingBack => self.finish_rollback(),
            Phase::Done => self.go_on_with_late(),
            Phase::RolledBack => {}
        }
    }

    /// The clusters of a stage begin to judge the release.
    fn begin(&mut self, mut forced: Option<Command>) {
        self.wait_for(Vec::new(), false);
        if !self.state.has_begun() && !self.seen.refused.is_empty() {
            self.wait_for(self.seen.refused.clone(), true);
            return self.not_forced(forced, "the rollout may not begin");
        }
        if let Some(by) = &self.state.paused {
            return self.wait_for(vec![format!("paused by {by}")], true);
        }
        let (mut chosen, mut missing) = (Vec::new(), Vec::new());
        for name in self.clusters_of(self.state.stage) {
            match self.starting_point(&name) {
                Ok(before) => chosen.push((name, before)),
                Err(why) => missing.push(why),
            }
        }
        if self.state.members.len() + chosen.len() > MOST_CLUSTERS {
            let why = format!("more than {MOST_CLUSTERS} clusters; make several fleets of them");
            self.wait_for(vec![why], true);
            return self.not_forced(forced, "there are too many clusters");
        }
        if chosen.is_empty() && missing.is_empty() {
            let why = "the stage selects no cluster".to_owned();
            let Some(command) = forced else {
                return self.wait_for(vec![format!("{why}; promote it to pass over it")], true);
            };
            self.decide(Word::Skipped, &command.by, command.with_reason(&why), None);
            return self.next_stage();
        }
        if !missing.is_empty() {
            let Some(command) = forced.take() else {
                missing.push("promote it to begin without them".to_owned());
                return self.wait_for(missing, true);
            };
            // They are in no stage, so they come late once it is done, and are named then.
            let why = format!("without some clusters: {}", first_of(&missing));
            self.decide(Word::Skipped, &command.by, command.with_reason(&why), None);
            if chosen.is_empty() {
                return self.next_stage();
            }
        }
        let (stage, count) = (self.state.stage, chosen.len());
        for (name, before) in chosen {
            self.state.members.insert(
                name,
                Member {
                    stage,
                    before,
                    told: Told::Shadow,
                    failing_since: None,
                    settled: false,
                    late: false,
                },
            );
        }
        self.state.phase = Phase::Shadow;
        let numbers = Numbers { clusters: count as u64, ..Numbers::default() };
        self.decide(
            Word::Began,
            "",
            format!("{count} clusters judge the release without effect"),
            Some(numbers),
        );
        self.not_forced(forced, "the stage has only just begun");
    }

    fn not_forced(&mut self, forced: Option<Command>, why: &str) {
        if let Some(command) = forced {
            let why = command.with_reason(&format!("Promote: {why}"));
            self.decide(Word::NotDone, &command.by, why, None);
        }
    }

    fn wait_for(&mut self, missing: Vec<String>, held: bool) {
        let mut missing = missing;
        let more = missing.len().saturating_sub(MOST_WAITS);
        if more > 0 {
            missing.truncate(MOST_WAITS);
            missing.push(format!("and {more} more"));
        }
        (self.state.waits, self.state.held) = (missing, held);
    }

    /// Clusters that a stage is the first to select, and that are in no stage yet.
    fn clusters_of(&self, stage: usize) -> Vec<String> {
        let first = |labels| self.plan.stages.iter().position(|it| it.clusters.selects(labels));
        let all = self.seen.clusters.iter();
        let own = all
            .filter(|(name, it)| first(&it.labels) == Some(stage) && !self.state.members.contains_key(*name));
        own.map(|(name, _)| name.clone()).collect()
    }

    /// What a cluster goes back to.
    fn starting_point(&self, name: &str) -> Result<Ref, String> {
        let cluster = self.seen.clusters.get(name);
        if let Some(other) = cluster.and_then(|it| it.held_by.as_ref()) {
            return Err(format!("{name} is of rollout {other}"));
        }
        let report = cluster.and_then(|it| it.report.as_ref());
        let Some(report) = report else { return Err(format!("{name} has never said how it stands")) };
        let (has, release) = (&report.enforced, &self.plan.release);
        if has.number > release.number {
            return Err(format!("{name} has release {has}, which is newer"));
        }
        match &self.plan.fallback {
            None => Ok(has.clone()),
            Some(fallback) if has == fallback || has == release => Ok(fallback.clone()),
            Some(fallback) => Err(format!(
                "{name} has release {has}, and this one was signed to fall back to {fallback}: it could not be taken back there"
            )),
        }
    }

    /// A stage whose gate holds enforces the release.
    fn promote(&mut self, forced: Option<Command>) {
        let Answer { mut missing, numbers, mut held } =
            ask(Question::Gate, self.plan, &self.state, self.seen, self.now);
        let wants_approval = self.plan.stages.get(self.state.stage).is_some_and(|it| it.approval);
        if wants_approval && self.state.approved.is_none() {
            missing.push("somebody is to approve the stage".to_owned());
            held = true;
        }
        if let Some(by) = &self.state.paused {
            missing.push(format!("paused by {by}"));
            held = true;
        }
        let why = if missing.is_empty() { "the gate holds".to_owned() } else { missing.join("; ") };
        let (word, by, why) = match forced {
            _ if missing.is_empty() => (Word::Promoted, self.state.approved.clone().unwrap_or_default(), why),
            // A command to promote is not taken while it is paused.
            Some(command) => (Word::Forced, command.by.clone(), command.with_reason(&why)),
            None => return self.wait_for(missing, held),
        };
        self.decide(word, &by, why, Some(numbers));
        let stage = self.state.stage;
        self.state.members.values_mut().filter(|it| it.stage == stage).for_each(|it| it.told = Told::Enforce);
        (self.state.phase, self.state.approved) = (Phase::Enforce, None);
        self.wait_for(Vec::new(), false);
    }

    /// A stage that has enforced the release for long enough makes room for the next.
    fn finish_stage(&mut self, forced: Option<Command>) {
        let Answer { mut missing, numbers, mut held } =
            ask(Question::Hold, self.plan, &self.state, self.seen, self.now);
        if let Some(by) = &self.state.paused {
            missing.push(format!("paused by {by}"));
            held = true;
        }
        let (word, by, why) = match forced {
            _ if missing.is_empty() => {
                let why = "every cluster of the stage has enforced it for long enough";
                (Word::Settled, String::new(), why.to_owned())
            }
            Some(command) => (Word::Forced, command.by.clone(), command.with_reason(&missing.join("; "))),
            None => return self.wait_for(missing, held),
        };
        self.decide(word, &by, why, Some(numbers));
        self.next_stage();
    }

    fn next_stage(&mut self) {
        self.state.approved = None;
        self.wait_for(Vec::new(), false);
        if self.state.stage + 1 < self.plan.stages.len() {
            self.state.stage += 1;
            self.state.phase = Phase::Waiting;
            return;
        }
        self.decide(Word::Finished, "", "every stage is through".to_owned(), None);
        self.state.phase = Phase::Done;
    }

    /// Whoever has the release, or judges it, goes back to what it had.
    fn roll_back(&mut self, by: &str, why: String) {
        let has_way = self.plan.fallback.is_some();
        let (mut goes, mut stays) = (0, 0);
        for member in self.state.members.values_mut() {
            if member.told == Told::Enforce && !has_way {
                stays += 1;
            } else {
                (member.told, goes) = (Told::Back, goes + 1);
            }
        }
        let mut text = format!("{why}; {goes} clusters go back");
        if stays > 0 {
            text += &format!("; {stays} keep the release, for it was not signed to fall back to anything");
        }
        self.state.phase = Phase::RollingBack;
        self.state.paused = None;
        self.wait_for(Vec::new(), false);
        let numbers = ask(Question::Hold, self.plan, &self.state, self.seen, self.now).numbers;
        self.decide(Word::RollsBack, by, text, Some(numbers));
    }

    fn finish_rollback(&mut self) {
        let goes_back = self.state.members.iter().filter(|(_, it)| it.told == Told::Back);
        let late = goes_back.filter_map(|(name, member)| Some((name, self.not_back(name, member)?)));
        let (mut waits, mut held) = (Vec::new(), false);
        for (name, why) in late {
            held |= why.is_some();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            waits.push(format!("{name} is not back yet{why}"));
        }
        if waits.is_empty() {
            self.decide(Word::RolledBack, "", "every cluster is back".to_owned(), None);
            self.state.phase = Phase::RolledBack;
        }
        self.wait_for(waits, held);
    }

    /// Where a cluster does not have again what it had: why that does not come by waiting alone, if it does not.
    fn not_back(&self, name: &str, member: &Member) -> Option<Option<String>> {
        let Some(report) = self.report(name) else {
            return Some(Some("it has never said how it stands".to_owned()));
        };
        if report.enforced == member.before && report.shadow.is_none() {
            return None;
        }
        let silent = self.now.saturating_sub(report.heard);
        if silent > self.plan.silence {
            let way = "if it is gone for good, delete its ManagedCluster";
            return Some(Some(format!("it is silent for {silent} s; {way}")));
        }
        Some(report.problems.first().cloned())
    }

    /// Clusters that came late are taken in, and each enforces the release once it has judged it without effect and the gate of its
    /// stage holds there.
    fn go_on_with_late(&mut self) {
        let mut waits = self.join();
        let mut held = !waits.is_empty();
        let late = self.state.members.iter().filter(|(_, it)| it.late);
        for (name, Member { stage, before, told, .. }) in
            late.map(|(name, it)| (name.clone(), it.clone())).collect::<Vec<_>>()
        {
            let question = match told {
                Told::Shadow => Question::Gate,
                Told::Enforce => Question::Hold,
                Told::Back => {
                    waits.push(format!(
                        "{name} came late and was sent back to release {before}: promote it by its name, or leave it so"
                    ));
                    held = true;
                    continue;
                }
            };
            let Answer { mut missing, numbers, held: mut stopped } = self.ask_late(&name, stage, question);
            if question == Question::Gate {
                if self.plan.stages.get(stage).is_some_and(|it| it.approval) {
                    missing.push(format!("{name}: somebody is to approve it"));
                    stopped = true;
                }
                if self.seen.paused {
                    missing.push(format!("paused by {WRITTEN}"));
                    stopped = true;
                }
                if missing.is_empty() {
                    self.admit(&name);
                    let why = format!("{name} came late, and the gate holds there");
                    self.decide_of(stage, Word::Promoted, "", why, Some(numbers));
                }
            }
            waits.extend(missing);
            held |= stopped;
        }
        self.wait_for(waits, held);
    }

    fn admit(&mut self, name: &str) {
        if let Some(member) = self.state.members.get_mut(name) {
            member.told = Told::Enforce;
        }
    }

    /// Takes in clusters that came late. Why some are not.
    fn join(&mut self) -> Vec<String> {
        let mut missing = Vec::new();
        for stage in 0..self.plan.stages.len() {
            for name in self.clusters_of(stage) {
                let Some(has_it) = self.joins_with(&name) else { continue };
                let before = match self.starting_point(&name) {
                    Ok(before) => before,
                    Err(why) => {
                        missing.push(format!("{name} came late and is not taken in: {why}"));
                        continue;
                    }
                };
                if self.state.members.len() >= MOST_CLUSTERS {
                    missing.push(format!("{name} came late, and there are {MOST_CLUSTERS} clusters already"));
                    return missing;
                }
                // What it enforces already is not taken from it to be judged.
                let (told, how) = if has_it {
                    (Told::Enforce, "has the release already")
                } else {
                    (Told::Shadow, "judges the release without effect first")
                };
                let member = Member { stage, before, told, failing_since: None, settled: false, late: true };
                self.state.members.insert(name.clone(), member);
                let numbers = Numbers { clusters: 1, ..Numbers::default() };
                self.decide_of(
                    stage,
                    Word::Joined,
                    "",
                    format!("{name} came late, and {how}"),
                    Some(numbers),
                );
            }
        }
        missing
    }

    /// Whether a cluster that would come late has the release. `None`: it is not waited for, because it has not spoken yet, is
    /// another rollout's, or has gone further.
    fn joins_with(&self, name: &str) -> Option<bool> {
        let cluster = self.seen.clusters.get(name).filter(|it| it.held_by.is_none())?;
        let has = &cluster.report.as_ref()?.enforced;
        (has.number <= self.plan.release.number).then(|| *has == self.plan.release)
    }

    fn decide(&mut self, what: Word, by: &str, why: String, numbers: Option<Numbers>) {
        self.decide_of(self.state.stage, what, by, why, numbers);
    }

    fn decide_of(&mut self, stage: usize, what: Word, by: &str, why: String, numbers: Option<Numbers>) {
        let stage = self.plan.stages.get(stage).map(|it| it.name.clone()).unwrap_or_default();
        let numbers = numbers.unwrap_or_default();
        self.state.decide(Decision { at: self.now, what, stage, by: by.to_owned(), why, numbers });
    }

    /// What the hub does not say yet.
    fn actions(&self) -> Vec<Action> {
        let members = self.state.members.iter();
        let due = members.filter_map(|(name, member)| {
            let wanted = State::wanted(self.plan, member);
            let said = self.seen.clusters.get(name)?.wanted.as_ref();
            (said != Some(&wanted)).then(|| Action::Want { cluster: name.clone(), wanted })
        });
        due.collect()
    }
}

fn first_of(reasons: &[String]) -> String {
    let first = reasons.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join("; ");
    match reasons.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
