//! A hub and its clusters under faults, many times from seeds: nothing is enforced that no gate let through, nothing but the
//! release and what was there before is ever in force, and when the faults end, so does the rollout.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

mod support;

use fleet::rollout::*;
use fleet::{Header, Memory, Ref, Release, Signed};
use std::collections::BTreeMap;
use support::*;

const STAGES: [&str; 3] = ["dev", "staging", "prod"];
const GATE: u64 = 60;
const HOLD: u64 = 30;
/// Seconds with faults, and without.
const FAULTS: u64 = 1500;
const CALM: u64 = 1500;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn index(&mut self, below: u64) -> usize {
        usize::try_from(self.roll(below)).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

/// What is on a cluster's disk.
#[derive(Clone)]
struct Disk {
    enforced: Ref,
    shadow: Option<Ref>,
    memory: Memory,
}

struct Spoke {
    stage: &'static str,
    disk: Disk,
    backup: Disk,
    /// By its own steady clock, since either changed.
    seconds: u64,
    denials: u64,
    cut_until: u64,
    fails_until: u64,
    /// The release breaks a flow here, whatever it does elsewhere.
    is_odd: bool,
    /// What nobody in the system knows: for so long it has judged the release without effect, without a denial.
    clean: u64,
}

/// What can be pulled.
struct Releases(BTreeMap<u64, Signed>);

impl Releases {
    fn made() -> Self {
        let old = Release::build(Header { fallback: Some(Ref::nothing()), ..header(7) }, &values(&[WEB]))
            .unwrap()
            .0;
        let fallback = Some(old.reference());
        let next = Release::build(Header { fallback, ..header(8) }, &values(&[WEB, DENY])).unwrap().0;
        Self([old, next].iter().map(|it| (it.header().number, sign(it))).collect())
    }

    fn reference(&self, number: u64) -> Ref {
        self.0[&number].release().reference()
    }
}

struct World {
    releases: Releases,
    plan: Plan,
    dice: Dice,
    /// True time.
    now: u64,
    /// How much the hub's clock is ahead.
    skew: u64,
    hub_down_until: u64,
    state: State,
    /// The hub's objects.
    seen: Seen,
    spokes: BTreeMap<String, Spoke>,
    /// The release breaks a flow on clusters of this stage.
    breaks: Option<&'static str>,
    next_command: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (releases, mut dice) = (Releases::made(), Dice(seed));
        let (old, release) = (releases.reference(7), releases.reference(8));
        let stage = |name: &&str| Stage {
            name: (*name).to_owned(),
            clusters: crds::LabelSelector {
                match_labels: BTreeMap::from([("env".into(), (*name).into())]),
                match_expressions: Vec::new(),
            },
            gate: Gate { seconds: GATE, flows: 10, ..Gate::default() },
            approval: false,
            hold: HOLD,
        };
        let stages = STAGES.iter().map(stage).collect();
        let plan = Plan {
            release,
            fallback: Some(old.clone()),
            stages,
            accepted: Vec::new(),
            spike: 3,
            silence: 40,
        };
        let before = Memory::default().of_hub("hub").unwrap().after(&releases.0[&7]);
        let disk = Disk { enforced: old, shadow: None, memory: before };
        let mut spokes = BTreeMap::new();
        for stage in STAGES {
            for i in 0..1 + dice.roll(4) {
                let spoke = Spoke {
                    stage,
                    disk: disk.clone(),
                    backup: disk.clone(),
                    seconds: 0,
                    denials: 0,
                    cut_until: 0,
                    fails_until: 0,
                    is_odd: false,
                    clean: 0,
                };
                spokes.insert(format!("{stage}-{i}"), spoke);
            }
        }
        let label = |stage: &str| BTreeMap::from([("env".into(), stage.into())]);
        let clusters = spokes
            .iter()
            .map(|(name, it)| (name.clone(), Cluster { labels: label(it.stage), ..Cluster::default() }));
        let seen = Seen { clusters: clusters.collect(), ..Seen::default() };
        let breaks = if dice.one_in(2) { Some(STAGES[dice.index(3)]) } else { None };
        Self {
            releases,
            plan,
            dice,
            now: 100_000,
            skew: 0,
            hub_down_until: 0,
            state: State::default(),
            seen,
            spokes,
            breaks,
            next_command: 1,
        }
    }

    fn second(&mut self, faults: bool) {
        self.now += 1;
        if faults {
            self.faults();
        }
        for spoke in self.spokes.values_mut() {
            spoke.seconds += 1;
            let judges = spoke.disk.shadow.is_some() || spoke.disk.enforced == self.plan.release;
            let breaks = judges && (spoke.is_odd || self.breaks == Some(spoke.stage));
            spoke.denials += u64::from(breaks && spoke.seconds > 5);
            let clean = spoke.disk.shadow.is_some() && !breaks;
            spoke.clean = if clean {
                spoke.clean + 1
            } else if spoke.disk.shadow.is_some() {
                0
            } else {
                spoke.clean
            };
        }
        if self.now < self.hub_down_until {
            return;
        }
        self.exchange();
        let times = 1 + self.dice.roll(3);
        for _ in 0..times {
            self.hub();
        }
    }

    fn faults(&mut self) {
        if self.dice.one_in(200) {
            self.hub_down_until = self.now + self.dice.roll(200);
        }
        if self.dice.one_in(100) {
            // Somebody sets the hub's clock, to and fro.
            self.skew = self.dice.roll(90_000);
        }
        for spoke in self.spokes.values_mut() {
            if self.dice.one_in(300) {
                spoke.cut_until = self.now + self.dice.roll(300);
            }
            if self.dice.one_in(600) {
                spoke.fails_until = self.now + self.dice.roll(30);
            }
            if self.dice.one_in(150) {
                spoke.backup = spoke.disk.clone();
            }
            if self.dice.one_in(400) {
                (spoke.disk, spoke.seconds, spoke.denials) = (spoke.backup.clone(), 0, 0);
            }
        }
    }

    /// Each cluster that can asks what it is to have, does it if it may, and says how it stands.
    fn exchange(&mut self) {
        let heard = self.now + self.skew;
        for (name, spoke) in &mut self.spokes {
            if self.now < spoke.cut_until {
                continue;
            }
            let cluster = self.seen.clusters.get_mut(name).unwrap();
            let problems = match spoke.take(cluster.wanted.as_ref(), &self.releases, self.now) {
                Ok(()) => Vec::new(),
                Err(problem) => vec![problem],
            };
            let (of, mode) = match &spoke.disk.shadow {
                Some(shadow) => (shadow.clone(), Mode::Shadow),
                None => (spoke.disk.enforced.clone(), Mode::Enforce),
            };
            let (seconds, flows, more_denials) = (spoke.seconds, spoke.seconds, spoke.denials);
            let evidence = Evidence {
                of,
                mode,
                seconds,
                flows,
                denials: Vec::new(),
                more_denials,
                findings: 0,
                by_severity: Findings::default(),
                errors: None,
                unwatched: None,
            };
            let (enforced, shadow) = (spoke.disk.enforced.clone(), spoke.disk.shadow.clone());
            cluster.report = Some(Report { heard, enforced, shadow, evidence: Some(evidence), problems });
        }
    }

    /// The hub's controller takes a step, or dies between writing the state and saying what is wanted.
    fn hub(&mut self) {
        let before = self.state.phase;
        let (state, mut actions) = step(&self.plan, self.state.clone(), &self.seen, self.now + self.skew);
        if state.phase == Phase::Enforce && before == Phase::Shadow {
            self.check_gate(&state);
        }
        self.state = state;
        let lost = if self.dice.one_in(10) { self.dice.index(4) } else { 0 };
        actions.truncate(actions.len().saturating_sub(lost));
        for Action::Want { cluster, wanted } in actions {
            self.seen.clusters.get_mut(&cluster).unwrap().wanted = Some(wanted);
        }
    }

    /// What let a stage through was true.
    fn check_gate(&self, state: &State) {
        let decision = state.decisions.last().unwrap();
        if decision.what == Word::Forced {
            return;
        }
        assert_eq!((decision.what, decision.numbers.denials), (Word::Promoted, 0));
        let stage = STAGES[state.stage];
        for (name, spoke) in self.spokes.iter().filter(|(_, it)| it.stage == stage) {
            assert!(spoke.clean >= GATE, "{name} judged it for {} s", spoke.clean);
        }
    }

    /// A cluster that nobody knew before.
    fn late(&mut self, name: &str, stage: &'static str, is_odd: bool) {
        let memory = Memory::default().of_hub("hub").unwrap().after(&self.releases.0[&7]);
        let disk = Disk { enforced: self.releases.reference(7), shadow: None, memory };
        let (backup, labels) = (disk.clone(), BTreeMap::from([("env".into(), stage.into())]));
        let (seconds, denials, cut_until, fails_until, clean) = (0, 0, 0, 0, 0);
        let spoke = Spoke { stage, disk, backup, seconds, denials, cut_until, fails_until, is_odd, clean };
        self.spokes.insert(name.to_owned(), spoke);
        self.seen.clusters.insert(name.to_owned(), Cluster { labels, ..Cluster::default() });
    }

    fn check(&self) {
        for (name, spoke) in &self.spokes {
            let has = &spoke.disk.enforced;
            assert!(!spoke.is_odd || *has != self.plan.release, "{name} enforces what breaks a flow there");
            if *has == self.plan.release {
                let let_through =
                    self.state.decisions.iter().any(|it| {
                        it.stage == spoke.stage && matches!(it.what, Word::Promoted | Word::Forced)
                    });
                assert!(let_through, "{name} enforces what nobody let through");
            } else {
                assert_eq!(*has, self.releases.reference(7), "{name} has what nobody wants");
            }
        }
    }

    fn ask(&mut self, verb: Verb) {
        self.seen.commands.push(Command {
            id: self.next_command,
            by: "ann".to_owned(),
            verb,
            stage: None,
            cluster: None,
            why: None,
        });
        self.next_command += 1;
    }

    fn enforcing(&self) -> usize {
        self.spokes.values().filter(|it| it.disk.enforced == self.plan.release).count()
    }

    fn story(&self) -> String {
        let decisions = self
            .state
            .decisions
            .iter()
            .map(|it| format!("{} {:?} {}: {}\n", it.at, it.what, it.stage, it.why));
        format!(
            "{:?} stage {} waits {:?}\n{}",
            self.state.phase,
            self.state.stage,
            self.state.waits,
            decisions.collect::<String>()
        )
    }
}

impl Spoke {
    fn take(&mut self, wanted: Option<&Wanted>, releases: &Releases, now: u64) -> Result<(), String> {
        let Some(wanted) = wanted else { return Ok(()) };
        if now < self.fails_until {
            return Err("the API server does not take it".to_owned());
        }
        let signed = &releases.0[&wanted.enforce.number];
        self.disk.memory.consider(signed).map_err(|refused| refused.to_string())?;
        let memory = std::mem::take(&mut self.disk.memory);
        self.disk.memory = memory.of_hub("hub").map_err(|refused| refused.to_string())?.after(signed);
        if (&self.disk.enforced, &self.disk.shadow) != (&wanted.enforce, &wanted.shadow) {
            (self.disk.enforced, self.disk.shadow) = (wanted.enforce.clone(), wanted.shadow.clone());
            (self.seconds, self.denials) = (0, 0);
            self.clean = 0;
        }
        Ok(())
    }
}

fn run(seed: u64, disturb: impl Fn(&mut World, u64)) -> World {
    let mut world = World::new(seed);
    for second in 0..FAULTS {
        disturb(&mut world, second);
        world.second(true);
        world.check();
    }
    for spoke in world.spokes.values_mut() {
        (spoke.cut_until, spoke.fails_until) = (0, spoke.fails_until.min(world.now));
    }
    world.hub_down_until = 0;
    for _ in 0..CALM {
        world.second(false);
        world.check();
    }
    world
}

#[test]
fn a_good_release_gets_everywhere_or_is_back_everywhere_and_a_bad_one_stops_at_the_gate() {
    let (mut done, mut held) = (0, 0);
    for seed in 0..100 {
        let world = run(seed, |_, _| {});
        let (all, enforcing) = (world.spokes.len(), world.enforcing());
        match (world.state.phase, world.breaks) {
            (Phase::Done, None) => {
                assert_eq!(enforcing, all, "seed {seed}: {}", world.story());
                done += 1;
            }
            (Phase::Shadow, Some(stage)) => {
                assert_eq!(STAGES[world.state.stage], stage, "seed {seed}: {}", world.story());
                assert!(
                    world
                        .spokes
                        .values()
                        .all(|it| it.stage != stage || it.disk.enforced != world.plan.release)
                );
                held += 1;
            }
            (Phase::RolledBack, _) => assert_eq!(enforcing, 0, "seed {seed}: {}", world.story()),
            (phase, breaks) => panic!("seed {seed}, breaks {breaks:?}: {phase:?} {}", world.story()),
        }
    }
    assert!(done > 20 && held > 20, "{done} {held}");
}

#[test]
fn a_bad_release_that_is_forced_through_is_back_everywhere_in_the_end() {
    let mut back = 0;
    for seed in 0..100 {
        let world = run(seed, |world, second| {
            // Who was never heard would be passed over.
            let all_heard = world.seen.clusters.values().all(|it| it.report.is_some());
            if second % 100 == 99 && all_heard {
                world.ask(Verb::Promote);
            }
        });
        let Some(_) = world.breaks else { continue };
        assert_eq!(
            (world.state.phase, world.enforcing()),
            (Phase::RolledBack, 0),
            "seed {seed}: {}",
            world.story()
        );
        back += 1;
    }
    assert!(back > 20, "{back}");
}

#[test]
fn what_is_aborted_at_any_time_is_back_everywhere() {
    for seed in 0..100 {
        let at = Dice(!seed).roll(FAULTS);
        let world = run(seed, |world, second| {
            if second == at {
                world.ask(Verb::Abort);
            }
        });
        assert_eq!(
            (world.state.phase, world.enforcing()),
            (Phase::RolledBack, 0),
            "seed {seed}: {}",
            world.story()
        );
    }
}

#[test]
fn a_stage_of_which_half_cannot_have_it_is_taken_back_and_nobody_is_left_with_it() {
    let (mut back, mut done) = (0, 0);
    for seed in 0..100 {
        let world = run(seed, |world, _| {
            if (world.state.phase, world.state.stage) != (Phase::Enforce, 1) {
                return;
            }
            let staging = world.spokes.values_mut().filter(|it| it.stage == "staging");
            staging.step_by(2).for_each(|spoke| spoke.fails_until = world.now + 100);
        });
        match world.state.phase {
            Phase::RolledBack => {
                assert_eq!(world.enforcing(), 0, "seed {seed}: {}", world.story());
                back += usize::from(world.state.stage == 1);
            }
            // Where the faults ended before.
            Phase::Done => done += 1,
            Phase::Shadow => assert!(world.breaks.is_some(), "seed {seed}: {}", world.story()),
            other => panic!("seed {seed}: {other:?} {}", world.story()),
        }
    }
    assert!(back > 20 && done < back, "{back} {done}");
}

#[test]
fn who_comes_late_gets_what_is_good_there_and_takes_back_nobody_where_it_is_not() {
    let mut done = 0;
    for seed in 0..100 {
        let world = run(seed, |world, _| {
            if world.state.phase == Phase::Done && !world.spokes.contains_key("late") {
                world.late("late", "dev", false);
                world.late("odd", "prod", true);
            }
        });
        if !world.spokes.contains_key("late") {
            continue;
        }
        let all = world.spokes.len();
        assert_eq!(
            (world.state.phase, world.enforcing()),
            (Phase::Done, all - 1),
            "seed {seed}: {}",
            world.story()
        );
        assert!(
            world.state.held && world.state.waits.iter().any(|it| it.starts_with("odd: ")),
            "{}",
            world.story()
        );
        assert!(!world.state.decisions.iter().any(|it| it.what == Word::RollsBack), "{}", world.story());
        done += 1;
    }
    assert!(done > 10, "{done}");
}
