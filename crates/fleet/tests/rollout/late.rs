//! Clusters that come late to a rollout.

use super::hub::*;
use fleet::rollout::*;

#[test]
fn who_comes_late_judges_it_when_everybody_has_it_and_then_has_it_too() {
    let mut hub = Hub::at_dev(plan());
    hub.join("late", "dev", 7);
    hub.obey(30, 40);
    hub.step();
    hub.step();
    hub.obey(60, 100);
    assert!(!hub.state.members.contains_key("late"));
    hub.ask(Verb::Approve);
    hub.obey(30, 0);
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Done, "abp"));
    hub.step();
    assert_eq!((hub.enforced_by().as_str(), hub.last().what), ("abp", Word::Joined));
    assert_eq!(
        (&hub.has("late").enforce, hub.has("late").shadow.as_ref()),
        (&reference(7), Some(&reference(8)))
    );
    // Its stage was to see 100 flows at two clusters.
    hub.obey(60, 49);
    hub.step();
    assert_eq!(
        (hub.state.waits.as_slice(), hub.state.held),
        (&["late: 49 of 50 flows were seen".to_owned()][..], false)
    );
    hub.obey(60, 50);
    hub.step();
    let numbers = Numbers { clusters: 1, reporting: 1, seconds: 60, flows: 50, ..Numbers::default() };
    assert_eq!(
        (hub.last().what, hub.last().numbers, hub.last().stage.as_str()),
        (Word::Promoted, numbers, "dev")
    );
    assert_eq!(hub.enforced_by(), "ablatep");
    assert!(hub.state.members["late"].late);
    let dev = &look(&hub.plan, &hub.state, &hub.seen, hub.now)[0];
    assert_eq!((dev.numbers.clusters, dev.clusters[2].late), (2, true), "it is judged by itself");
    hub.obey(30, 5);
    hub.step();
    assert!(!hub.state.members["late"].late && hub.state.waits.is_empty());
}

#[test]
fn who_comes_late_and_does_not_see_what_it_breaks_waits_as_a_stage_would() {
    let mut hub = Hub::done_with_late(plan(), "dev", 7);
    hub.obey(60, 50);
    hub.step();
    hub.obey(30, 5);
    hub.report("late").evidence.as_mut().unwrap().unwatched = Some("release 7 cannot be had".to_owned());
    hub.step();
    assert!(hub.state.members["late"].late && hub.state.held);
    assert!(
        hub.state.waits[0].starts_with("late does not see what the release denies"),
        "{:?}",
        hub.state.waits
    );
    hub.report("late").evidence.as_mut().unwrap().unwatched = None;
    hub.step();
    assert!(!hub.state.members["late"].late && hub.state.waits.is_empty() && !hub.state.held);
}

#[test]
fn who_comes_late_and_would_deny_what_worked_is_held_and_the_rollout_stays_done() {
    let mut hub = Hub::done_with_late(plan(), "dev", 7);
    hub.obey(60, 50);
    hub.deny("late", "198.51.100.7", 37);
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str(), hub.state.held), (Phase::Done, "abp", true));
    assert!(
        hub.state.waits[0].starts_with("late: 37 would be denied that are not accepted"),
        "{:?}",
        hub.state.waits
    );
    let said = hub.ask_of("late", Verb::ApproveCluster);
    assert_eq!((said.what, hub.enforced_by().as_str()), (Word::NotDone, "abp"));
    assert!(said.why.contains("its gate does not hold"), "{}", said.why);
    let said = hub.ask_of("late", Verb::PromoteCluster);
    assert_eq!((said.what, said.by.as_str(), said.numbers.denials), (Word::Forced, "ann", 37));
    assert_eq!(hub.enforced_by(), "ablatep");
    assert_eq!(hub.ask_of("late", Verb::PromoteCluster).what, Word::NotDone, "it has it");
}

#[test]
fn who_comes_late_and_breaks_a_flow_goes_back_alone() {
    let mut hub = Hub::done_with_late(plan(), "dev", 7);
    hub.obey(60, 50);
    hub.step();
    hub.obey(5, 10);
    hub.deny("late", "198.51.100.7", 4);
    hub.step();
    assert_eq!(hub.enforced_by(), "ablatep");
    hub.deny("late", "198.51.100.8", 1);
    hub.step();
    let said = hub.last();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Done, "abp"));
    assert_eq!((said.what, said.stage.as_str(), said.numbers.denials), (Word::SentBack, "dev", 5));
    assert!(
        said.why.contains("late came late and denies 5 flows that worked before, and 5 are too many"),
        "{}",
        said.why
    );
    assert_eq!(*hub.has("late"), Wanted { enforce: reference(7), shadow: None });
    let before = hub.state.decisions.len();
    hub.obey(60, 50);
    hub.step();
    assert_eq!((hub.state.decisions.len(), hub.state.held), (before, true), "once, and somebody is to look");
    assert!(hub.state.waits[0].contains("was sent back to release 7"), "{:?}", hub.state.waits);
    // Those of the stages that have held it are not looked at for it.
    hub.deny("a", "198.51.100.8", 1000);
    hub.step();
    assert_eq!(hub.state.phase, Phase::Done);
    assert_eq!(hub.ask_of("late", Verb::PromoteCluster).what, Word::Forced);
    assert_eq!(hub.ask_of("late", Verb::SendBack).what, Word::SentBack);
    assert_eq!(hub.ask_of("late", Verb::SendBack).what, Word::NotDone);
    // Taken back everywhere, it goes with the others.
    hub.ask(Verb::Abort);
    hub.obey(1, 0);
    hub.step();
    assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::RolledBack, ""));
}

#[test]
fn who_comes_late_to_a_stage_with_approval_waits_for_somebody_and_for_its_gate() {
    let mut hub = Hub::done_with_late(plan(), "prod", 7);
    hub.seen.paused = true;
    hub.obey(60, 100);
    hub.step();
    assert_eq!(hub.state.waits, ["late: somebody is to approve it", "paused by spec.paused"]);
    assert_eq!(hub.ask_of("late", Verb::ApproveCluster).what, Word::NotDone);
    hub.seen.paused = false;
    let said = hub.ask_of("late", Verb::ApproveCluster);
    assert_eq!((said.what, said.by.as_str(), hub.enforced_by().as_str()), (Word::Promoted, "ann", "ablatep"));
    assert_eq!(hub.ask_of("a", Verb::SendBack).what, Word::NotDone, "it did not come late");
    assert_eq!(hub.ask_of("nobody", Verb::SendBack).what, Word::NotDone);
    // What is about all does not become what is about one, nor the other way round.
    assert_eq!((hub.ask_of("late", Verb::Abort).what, hub.state.phase), (Word::NotDone, Phase::Done));
    hub.ask(Verb::SendBack);
    assert_eq!((hub.last().what, hub.enforced_by().as_str()), (Word::NotDone, "ablatep"));
}

#[test]
fn who_comes_late_with_the_release_keeps_it_and_who_could_not_go_back_is_named() {
    let mut hub = Hub::done_with_late(plan(), "dev", 8);
    assert_eq!(*hub.has("late"), Wanted { enforce: reference(8), shadow: None });
    hub.obey(5, 10);
    hub.deny("late", "198.51.100.7", 5);
    hub.step();
    assert_eq!(
        (hub.state.phase, hub.last().what, hub.enforced_by().as_str()),
        (Phase::Done, Word::SentBack, "abp")
    );

    let hub = Hub::done_with_late(plan(), "dev", 5);
    assert!(
        hub.state.waits[0].starts_with("late came late and is not taken in: late has release 5"),
        "{:?}",
        hub.state.waits
    );
    assert!(hub.state.held && hub.seen.clusters["late"].wanted.is_none());
    // One that has gone further, or is another's, is not missed.
    assert!(Hub::done_with_late(plan(), "dev", 9).state.waits.is_empty());

    let mut hub = Hub::done_with_late(Plan { fallback: None, ..plan() }, "dev", 7);
    hub.obey(60, 50);
    hub.step();
    hub.obey(5, 10);
    hub.deny("late", "198.51.100.7", 5);
    hub.step();
    hub.step();
    assert_eq!((hub.enforced_by().as_str(), hub.last().what), ("ablatep", Word::SentBack));
    assert!(hub.last().why.contains("late keeps the release"), "{}", hub.last().why);
}
