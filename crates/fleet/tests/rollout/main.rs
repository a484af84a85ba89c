//! What a rollout does with what it sees, one situation at a time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

mod hub;
mod late;

use fleet::rollout::*;
use hub::*;

#[test]
fn a_release_goes_through_its_stages_and_every_decision_has_its_numbers() {
    let mut hub = Hub::at_dev(plan());
    hub.obey(30, 40);
    hub.step();
    assert_eq!((hub.state.phase, hub.state.stage), (Phase::Waiting, 1));
    hub.step();
    hub.obey(60, 100);
    hub.step();
    assert_eq!(hub.state.waits, ["somebody is to approve the stage"]);
    hub.ask(Verb::Approve);
    assert_eq!(hub.enforced_by(), "abp");
    hub.obey(30, 0);
    hub.step();
    assert_eq!(hub.state.phase, Phase::Done);
    use Word::*;
    assert_eq!(hub.words(), [Began, Promoted, Settled, Began, Approved, Promoted, Settled, Finished]);
    let promoted = &hub.state.decisions[1];
    let numbers = Numbers { clusters: 2, reporting: 2, seconds: 60, flows: 100, ..Numbers::default() };
    assert_eq!((promoted.stage.as_str(), promoted.by.as_str(), promoted.numbers), ("dev", "", numbers));
    let promoted = &hub.state.decisions[5];
    assert_eq!((promoted.stage.as_str(), promoted.by.as_str()), ("prod", "ann"));
    let text = serde_json::to_string(&hub.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), hub.state);
}

#[test]
fn a_gate_says_what_is_missing_and_lets_nothing_through() {
    for (case, change, says) in [
        (
            "too few flows",
            (|hub| hub.report("a").evidence.as_mut().unwrap().flows = 49) as fn(&mut Hub),
            "99 of 100 flows",
        ),
        ("too short", |hub| hub.report("a").evidence.as_mut().unwrap().seconds = 59, "a: 59 of 60 s"),
        ("a denial", |hub| hub.deny("b", "198.51.100.7", 1), "b: 1 would be denied"),
        (
            "denials without room",
            |hub| hub.report("b").evidence.as_mut().unwrap().more_denials = 1,
            "b: 1 would be denied",
        ),
        (
            "a finding",
            |hub| hub.report("b").evidence.as_mut().unwrap().findings = 1,
            "b: 1 findings, at most",
        ),
        ("a high one", |hub| hub.find("b", Severity::High), "b: 1 findings (1 high), at most 0"),
        ("a medium one", |hub| hub.find("b", Severity::Medium), "b: 1 findings (1 medium)"),
        ("silence", |hub| hub.report("b").heard -= 121, "b is silent for 121 s"),
        ("a problem", |hub| hub.report("b").problems.push("no such kind".to_owned()), "b: no such kind"),
        ("not shadowed", |hub| hub.report("b").shadow = None, "b does not judge"),
        (
            "of another",
            |hub| hub.report("b").evidence.as_mut().unwrap().of = reference(7),
            "b does not judge",
        ),
        (
            "enforced evidence",
            |hub| hub.report("b").evidence.as_mut().unwrap().mode = Mode::Enforce,
            "b does not judge",
        ),
        ("nothing heard", |hub| hub.seen.clusters.get_mut("b").unwrap().report = None, "b has never said"),
        ("paused", |hub| hub.ask(Verb::Pause), "paused by ann"),
    ] {
        let mut hub = Hub::new(plan());
        hub.step();
        hub.obey(60, 50);
        change(&mut hub);
        hub.step();
        assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Shadow, ""), "{case}");
        assert!(hub.state.waits.iter().any(|it| it.contains(says)), "{case}: {:?}", hub.state.waits);
    }
}

#[test]
fn denials_that_are_meant_hold_nothing_up() {
    let mut hub = Hub::new(plan());
    hub.step();
    hub.obey(60, 50);
    hub.deny("a", "192.0.2.1", 1000);
    hub.step();
    assert_eq!(hub.state.phase, Phase::Enforce);
    assert_eq!(hub.state.decisions[1].numbers.accepted, 1000);
}

#[test]
fn findings_that_matter_less_than_the_stage_asks_are_told_and_hold_nothing_up() {
    let mut hub = Hub::new(plan());
    hub.step();
    hub.obey(60, 50);
    hub.find("a", Severity::Low);
    hub.step();
    let numbers = hub.state.decisions[1].numbers;
    assert_eq!((hub.state.phase, numbers.findings, numbers.by_severity.low), (Phase::Enforce, 0, 1));

    let mut plan = plan();
    plan.stages[0].gate.severity = Severity::High;
    let mut hub = Hub::new(plan);
    hub.step();
    hub.obey(60, 50);
    hub.find("a", Severity::Medium);
    hub.step();
    assert_eq!(hub.state.phase, Phase::Enforce);
    let seen = &look(&hub.plan, &hub.state, &hub.seen, hub.now)[0].clusters[0];
    assert_eq!((seen.findings, seen.by_severity.to_string().as_str()), (1, "1 medium"), "as it said last");
}

fn failing(failed: u64, tried: u64) -> Option<Errors> {
    let requests = Rate { tried, failed };
    Some(Errors { requests, names: Rate { tried: 900, failed: 0 }, ..Errors::default() })
}

#[test]
fn what_fails_more_often_than_a_gate_allows_holds_it_before_and_after_and_takes_nothing_back() {
    let mut plan = plan();
    plan.stages[0].gate.error_percent = Some(10);
    let mut hub = Hub::new(plan);
    hub.step();
    let asked = |hub: &mut Hub, errors| {
        hub.obey(60, 50);
        hub.report("a").evidence.as_mut().unwrap().errors = failing(0, 0);
        hub.report("b").evidence.as_mut().unwrap().errors = errors;
        hub.step();
        (hub.state.phase, hub.state.held, hub.state.waits.join("; "))
    };
    let (phase, held, waits) = asked(&mut hub, None);
    assert_eq!((phase, held), (Phase::Shadow, true));
    assert!(waits.contains("b does not count what fails"), "{waits}");
    let (phase, held, waits) = asked(&mut hub, failing(11, 100));
    assert_eq!((phase, held), (Phase::Shadow, true));
    assert!(waits.contains("b: 11 of 100 requests fail (11.0 %), at most 10 % may"), "{waits}");
    let (phase, ..) = asked(&mut hub, failing(10, 100));
    assert_eq!(phase, Phase::Enforce);
    assert_eq!(hub.state.decisions.last().unwrap().numbers.errors.requests, Rate { tried: 100, failed: 10 });
    // Enforced for long enough, and more fails than did before.
    for _ in 0..3 {
        let (phase, held, waits) = asked(&mut hub, failing(70, 100));
        assert_eq!((phase, hub.state.stage, held), (Phase::Enforce, 0, true));
        assert!(waits.contains("b: 70 of 100 requests fail (70.0 %)"), "{waits}");
    }
    // Fewer than five are none.
    let _ = asked(&mut hub, failing(4, 4));
    assert!(hub.state.decisions.iter().any(|it| it.what == Word::Settled), "{:?}", hub.state.decisions);
}

#[test]
fn a_stage_does_not_begin_where_it_could_not_be_taken_back() {
    for (case, change, says) in [
        ("another release", (|hub| hub.join("b", "dev", 5)) as fn(&mut Hub), "b has release 5"),
        ("a newer one", |hub| hub.join("b", "dev", 9), "which is newer"),
        ("unheard", |hub| hub.seen.clusters.get_mut("b").unwrap().report = None, "b has never said"),
        ("nobody", |hub| hub.seen.clusters.retain(|name, _| name == "p"), "selects no cluster"),
        ("paused", |hub| hub.ask(Verb::Pause), "paused by ann"),
    ] {
        let mut hub = Hub::new(plan());
        change(&mut hub);
        let members = hub.state.members.len();
        hub.step();
        hub.step();
        assert_eq!((hub.state.phase, hub.state.members.len(), members), (Phase::Waiting, 0, 0), "{case}");
        assert!(hub.state.waits.iter().any(|it| it.contains(says)), "{case}: {:?}", hub.state.waits);
    }
}

#[test]
fn a_stage_without_clusters_is_passed_over_only_by_somebody() {
    let mut hub = Hub::new(plan());
    hub.seen.clusters.retain(|name, _| name == "p");
    hub.ask(Verb::Promote);
    assert_eq!((hub.state.stage, hub.state.phase), (1, Phase::Waiting));
    assert_eq!((hub.words(), hub.state.decisions[0].by.as_str()), (vec![Word::Skipped], "ann"));
}

#[test]
fn who_could_not_go_back_is_passed_over_only_by_somebody_and_comes_late() {
    let mut hub = Hub::new(plan());
    hub.join("b", "dev", 5);
    hub.step();
    assert_eq!((hub.state.phase, hub.state.members.len(), hub.state.held), (Phase::Waiting, 0, true));
    assert_eq!(hub.state.waits.last().unwrap(), "promote it to begin without them");
    hub.ask(Verb::Promote);
    assert_eq!((hub.words(), hub.state.phase), (vec![Word::Skipped, Word::Began], Phase::Shadow));
    let skipped = &hub.state.decisions[0];
    assert!(skipped.by == "ann" && skipped.why.contains("b has release 5"), "{skipped:?}");
    // The others still have their gate.
    hub.obey(60, 99);
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Shadow, ""));
    hub.obey(60, 100);
    hub.step();
    assert_eq!(hub.enforced_by(), "a");
    hub.obey(30, 0);
    hub.step();
    hub.step();
    hub.obey(60, 100);
    hub.ask(Verb::Approve);
    hub.obey(30, 0);
    hub.step();
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str(), hub.state.held), (Phase::Done, "ap", true));
    assert!(
        hub.state.waits[0].starts_with("b came late and is not taken in: b has release 5"),
        "{:?}",
        hub.state.waits
    );
    hub.join("b", "dev", 7);
    hub.step();
    assert_eq!(*hub.has("b"), Wanted { enforce: reference(7), shadow: Some(reference(8)) });

    // Nobody left: the stage itself.
    let mut hub = Hub::new(plan());
    hub.join("a", "dev", 5);
    hub.join("b", "dev", 5);
    hub.ask(Verb::Promote);
    assert_eq!((hub.words(), hub.state.stage, hub.state.phase), (vec![Word::Skipped], 1, Phase::Waiting));
    assert!(hub.seen.clusters["a"].wanted.is_none());
}

#[test]
fn what_breaks_a_flow_goes_back_everywhere_also_when_forced_and_paused() {
    let mut hub = Hub::new(plan());
    hub.step();
    hub.obey(10, 0);
    hub.ask(Verb::Promote);
    assert_eq!((hub.enforced_by().as_str(), *hub.words().last().unwrap()), ("ab", Word::Forced));
    assert!(hub.state.decisions.last().unwrap().why.contains("of 60 s"));
    hub.obey(5, 10);
    hub.ask(Verb::Pause);
    hub.deny("a", "192.0.2.1", 100);
    hub.deny("a", "198.51.100.7", 4);
    hub.step();
    assert_eq!(hub.state.phase, Phase::Enforce);
    hub.deny("a", "198.51.100.8", 1);
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::RollingBack, ""));
    assert_eq!(hub.state.decisions.last().unwrap().numbers.denials, 5);
    hub.step();
    assert_eq!(hub.state.waits, ["a is not back yet", "b is not back yet"]);
    assert!(!hub.state.held, "they have only just been told");
    // Whoever waits for them in vain is told why, and what to do.
    let before = hub.state.clone();
    hub.report("a").problems.push("web: it is not allowed".to_owned());
    hub.now += 121;
    hub.report("a").heard = hub.now;
    hub.step();
    assert!(hub.state.held);
    let expected = [
        "a is not back yet: web: it is not allowed",
        "b is not back yet: it is silent for 121 s; if it is gone for good, delete its ManagedCluster",
    ];
    assert_eq!(hub.state.waits, expected);
    hub.report("a").problems.clear();
    hub.now -= 121;
    hub.report("a").heard = hub.now;
    hub.step();
    assert_eq!(hub.state, before);
    hub.obey(1, 0);
    hub.step();
    assert_eq!(hub.state.phase, Phase::RolledBack);
    assert_eq!(hub.seen.clusters["a"].wanted, Some(Wanted { enforce: reference(7), shadow: None }));
}

#[test]
fn a_stage_that_nobody_watches_makes_no_room_for_the_next() {
    let mut hub = Hub::at_dev(plan());
    hub.obey(30, 40);
    hub.report("a").evidence.as_mut().unwrap().unwatched = Some("release-7: key ann is revoked".to_owned());
    hub.step();
    assert_eq!((hub.state.phase, hub.state.held), (Phase::Enforce, true));
    let why = "a does not see what the release denies that worked before: release-7: key ann is revoked";
    assert_eq!(hub.state.waits, [why]);
}

#[test]
fn half_of_a_stage_that_cannot_have_it_takes_it_back_after_a_while() {
    let mut hub = Hub::at_dev(plan());
    hub.obey(10, 0);
    hub.report("a").problems.push("no such kind".to_owned());
    hub.step();
    assert_eq!((hub.state.phase, hub.state.waits[0].as_str()), (Phase::Enforce, "a: no such kind"));
    hub.now += 121;
    hub.step();
    assert_eq!(hub.state.phase, Phase::RollingBack);
    let why =
        "1 of 2 clusters of the stage cannot have the release, such as a (no such kind); 2 clusters go back";
    assert_eq!(hub.last().why, why);
}

#[test]
fn a_release_that_was_signed_to_fall_back_to_nothing_stays_and_says_so() {
    let mut hub = Hub::at_dev(Plan { fallback: None, ..plan() });
    hub.obey(5, 10);
    hub.deny("a", "198.51.100.8", 50);
    hub.step();
    assert_eq!(hub.enforced_by(), "ab");
    let why = &hub.state.decisions.last().unwrap().why;
    assert!(why.contains("2 keep the release, for it was not signed to fall back to anything"), "{why}");
}

#[test]
fn commands_are_handled_once_and_what_is_not_done_is_said() {
    let mut hub = Hub::at_dev(plan());
    hub.ask(Verb::Abort);
    assert_eq!(hub.state.phase, Phase::RollingBack);
    hub.obey(1, 0);
    hub.step();
    for verb in [Verb::Abort, Verb::Resume, Verb::Promote, Verb::Approve, Verb::Pause] {
        hub.ask(verb);
        assert_eq!(
            (hub.state.phase, *hub.words().last().unwrap()),
            (Phase::RolledBack, Word::NotDone),
            "{verb:?}"
        );
    }
    let before = hub.state.clone();
    hub.step();
    assert_eq!(hub.state, before);
}

#[test]
fn a_command_with_the_largest_number_is_not_the_last_one() {
    let mut hub = Hub::at_dev(plan());
    let (phase, handled) = (hub.state.phase, hub.state.handled);
    hub.next = i64::MAX as u64;
    hub.ask(Verb::Abort);
    assert_eq!((hub.state.phase, hub.last().what, hub.state.handled), (phase, Word::NotDone, handled));
    assert!(hub.last().why.contains("its id, 9223372036854775807, is more than"), "{}", hub.last().why);
    let before = hub.state.clone();
    hub.step();
    assert_eq!(hub.state, before, "it is said once");
    // Nor does it wait until its number is near enough.
    hub.next = i64::MAX as u64 - 5;
    hub.state.handled = hub.next - 1;
    hub.ask(Verb::Pause);
    assert_eq!((hub.state.phase, hub.last().what), (phase, Word::Paused));
    hub.seen.commands.clear();
    hub.step();
    assert!(hub.state.passed_over.is_empty(), "nothing is remembered of what is no longer written");
    // Times are numbers as well, and growing ones.
    let mut hub = Hub::at_dev(plan());
    for (id, word) in [(1_800_000_000_000, Word::Paused), (1_800_000_000_001, Word::Resumed)] {
        hub.next = id;
        hub.ask(if word == Word::Paused { Verb::Pause } else { Verb::Resume });
        assert_eq!((hub.last().what, hub.state.handled), (word, id));
    }
}

#[test]
fn a_cluster_that_is_gone_holds_nobody_up() {
    let mut hub = Hub::new(plan());
    hub.step();
    hub.seen.clusters.remove("b");
    hub.obey(60, 100);
    hub.step();
    assert_eq!(
        (hub.enforced_by().as_str(), hub.words()),
        ("a", vec![Word::Began, Word::Left, Word::Promoted])
    );
}

#[test]
fn decisions_are_bounded_and_those_forgotten_are_counted() {
    let mut hub = Hub::at_dev(plan());
    for _ in 0..150 {
        hub.ask(Verb::Pause);
        hub.ask(Verb::Resume);
    }
    assert_eq!(
        (hub.state.decisions.len(), hub.state.forgotten),
        (MOST_DECISIONS, 2 + 300 - MOST_DECISIONS as u64)
    );
}

#[test]
fn what_is_paused_beside_the_plan_goes_on_only_when_that_is_gone() {
    let mut hub = Hub::new(plan());
    hub.seen.paused = true;
    hub.step();
    assert_eq!((hub.words(), hub.state.waits[0].as_str()), (vec![Word::Paused], "paused by spec.paused"));
    hub.ask(Verb::Resume);
    assert_eq!((*hub.words().last().unwrap(), hub.state.phase), (Word::NotDone, Phase::Waiting));
    hub.seen.paused = false;
    hub.step();
    assert_eq!(hub.words()[2..], [Word::Resumed, Word::Began]);
    // Who paused it by name, resumes it.
    hub.ask(Verb::Pause);
    hub.seen.paused = true;
    hub.step();
    hub.seen.paused = false;
    hub.step();
    assert_eq!(hub.state.paused.as_deref(), Some("ann"));
}

#[test]
fn who_let_one_stage_through_did_not_mean_another() {
    let mut hub = Hub::new(plan());
    hub.step();
    let command = |id, stage: &str| Command {
        id,
        by: "ann".to_owned(),
        verb: Verb::Promote,
        stage: Some(stage.to_owned()),
        cluster: None,
        why: Some("it is known to be harmless".to_owned()),
    };
    hub.seen.commands.push(command(1, "prod"));
    hub.step();
    assert_eq!((hub.state.phase, *hub.words().last().unwrap()), (Phase::Shadow, Word::NotDone));
    assert!(hub.state.decisions.last().unwrap().why.contains("it was meant for another stage"));
    hub.seen.commands.push(command(2, "dev"));
    hub.step();
    let decision = hub.state.decisions.last().unwrap();
    assert_eq!((hub.state.phase, decision.what), (Phase::Enforce, Word::Forced));
    assert!(decision.why.ends_with("(ann: it is known to be harmless)"), "{}", decision.why);
}

#[test]
fn what_may_not_begin_does_not_and_what_has_begun_is_not_stopped_by_it() {
    let mut hub = Hub::new(plan());
    hub.seen.refused = vec!["a is of rollout other".to_owned()];
    hub.ask(Verb::Promote);
    assert_eq!((hub.state.phase, hub.words()), (Phase::Waiting, vec![Word::NotDone]));
    assert_eq!((hub.state.waits[0].as_str(), hub.state.held), ("a is of rollout other", true));
    hub.seen.refused.clear();
    hub.step();
    hub.seen.refused = vec!["the hub has no release-8".to_owned()];
    hub.obey(60, 50);
    hub.step();
    assert_eq!(hub.enforced_by(), "ab");
    // It could be aborted before, too.
    let mut hub = Hub::new(plan());
    hub.seen.refused = vec!["a is of rollout other".to_owned()];
    hub.ask(Verb::Abort);
    hub.step();
    assert_eq!(hub.state.phase, Phase::RolledBack);
}

#[test]
fn a_cluster_of_another_rollout_is_let_go_and_not_taken() {
    let mut hub = Hub::at_dev(plan());
    for name in ["b", "p"] {
        hub.seen.clusters.get_mut(name).unwrap().held_by = Some("other".to_owned());
    }
    let before = hub.seen.clusters["b"].wanted.clone();
    hub.step();
    let decision = hub.state.decisions.last().unwrap();
    assert_eq!((decision.what, hub.state.members.len()), (Word::Left, 1));
    assert_eq!(decision.why, "rollout other has 1 of its clusters now, such as b");
    hub.obey(30, 40);
    hub.step();
    hub.step();
    assert_eq!((hub.state.waits[0].as_str(), hub.state.held), ("p is of rollout other", true));
    assert_eq!(hub.seen.clusters["b"].wanted, before);
}

#[test]
fn a_look_shows_what_a_step_would_decide_by() {
    let mut hub = Hub::new(plan());
    let stages = look(&hub.plan, &hub.state, &hub.seen, hub.now);
    assert_eq!((stages[0].phase, stages[0].selects, stages[1].selects), (StagePhase::Pending, 2, 1));
    hub.step();
    hub.obey(60, 40);
    hub.deny("a", "198.51.100.7", 3);
    hub.deny("a", "192.0.2.1", 5);
    hub.step();
    let stages = look(&hub.plan, &hub.state, &hub.seen, hub.now);
    let dev = &stages[0];
    assert_eq!((dev.phase, dev.numbers.flows, dev.numbers.denials), (StagePhase::Shadow, 80, 3));
    assert_eq!((&dev.missing, dev.missing.len()), (&hub.state.waits, 2));
    let a = &dev.clusters[0];
    assert_eq!((a.name.as_str(), a.denials, a.accepted, a.seconds, a.silent), ("a", 3, 5, 60, Some(0)));
    hub.ask(Verb::Promote);
    let phases = |hub: &Hub| -> Vec<StagePhase> {
        look(&hub.plan, &hub.state, &hub.seen, hub.now).iter().map(|it| it.phase).collect()
    };
    assert_eq!(phases(&hub), [StagePhase::Enforce, StagePhase::Pending]);
    hub.ask(Verb::Abort);
    assert_eq!(phases(&hub), [StagePhase::GoingBack, StagePhase::Pending]);
    hub.obey(1, 0);
    hub.step();
    assert_eq!(phases(&hub), [StagePhase::Back, StagePhase::Pending]);
}

#[test]
fn what_comes_by_waiting_alone_holds_nothing_up() {
    let mut hub = Hub::new(plan());
    hub.step();
    hub.obey(30, 10);
    hub.step();
    assert_eq!((hub.state.waits.len(), hub.state.held), (3, false));
    hub.deny("a", "198.51.100.7", 3);
    hub.step();
    assert!(hub.state.held);
}
