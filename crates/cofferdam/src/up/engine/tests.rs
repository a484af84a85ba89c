//! What an engine knows of pods that come and go, without a kernel.

use super::*;
use observe::Limits;
use policy::{DnsName, Labels, WorkloadRef};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(name: &str, addresses: &[&str]) -> Arc<Pod> {
    Arc::new(Pod {
        namespace: "x".into(),
        name: name.into(),
        labels: Labels::default(),
        service_account: "default".into(),
        node: Some("n".into()),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        ports: Vec::new(),
        host_network: false,
        workload: WorkloadRef { kind: "Pod".into(), name: name.into() },
    })
}

fn engine() -> Engine {
    let enforcers = vec![Enforcer::without_kernel("n".into(), "a test has no kernel".to_owned())];
    let ground = Ground { mode: Mode::Node, enforcers };
    Engine::new(ground, Vec::new(), Arc::new(Journal::new(Limits::default())), None)
}

/// Loads a world of these pods, and says what became of it.
fn load(engine: &mut Engine, pods: Vec<Arc<Pod>>) -> Outcome {
    let world = World { pods, ..World::default() };
    let loaded = |generation| Loaded {
        objects: world.pods.len(),
        runs: Runs::default(),
        set: PolicySet::empty(generation, world),
        diagnostics: Vec::new(),
        keys: None,
    };
    engine.load(loaded).outcome
}

#[test]
fn an_address_that_was_given_anew_is_of_whom_it_was_given_to_last() {
    let mut engine = engine();
    let world = || vec![pod("a", &[]), pod("b", &[])];
    assert_eq!(load(&mut engine, world()), Outcome::Applied);
    let at = [ip("10.0.0.5")];
    assert!(engine.settle(sandbox("a", "c1"), &at).unwrap());
    // Nobody said that the first is gone.
    assert!(engine.settle(sandbox("b", "c2"), &at).unwrap());
    assert_eq!(engine.pods_at[&at[0]], ("x".into(), "b".into()));
    assert_eq!(load(&mut engine, world()), Outcome::Applied, "later states come into force");
}

fn sandbox<'a>(name: &'a str, container: &'a str) -> Sandbox<'a> {
    Sandbox { namespace: "x", name, container }
}

#[test]
fn the_end_of_a_sandbox_takes_nothing_from_the_next_one_of_the_same_name() {
    let mut engine = engine();
    let key: PodName = ("x".into(), "a".into());
    let world = || vec![pod("a", &[])];
    load(&mut engine, world());
    let (old, new) = (ip("10.0.0.5"), ip("10.0.0.6"));
    assert!(engine.settle(sandbox("a", "c1"), &[old]).unwrap());
    assert!(engine.settle(sandbox("a", "c2"), &[new]).unwrap());
    engine.forget(sandbox("a", "c1"));
    load(&mut engine, world());
    assert_eq!(engine.pods_at.get(&new), Some(&key), "it runs, and the sources do not know its address yet");
    engine.forget(sandbox("a", "c2"));
    load(&mut engine, world());
    assert_eq!(engine.pods_at.get(&new), None);
    // Whoever says no sandbox means the pod.
    assert!(engine.settle(sandbox("a", "c3"), &[new]).unwrap());
    engine.forget(sandbox("a", ""));
    load(&mut engine, world());
    assert_eq!(engine.pods_at.get(&new), None);
}

#[test]
fn who_comes_by_the_name_of_a_pod_with_another_address_knows_nothing_of_what_that_was_told() {
    let mut engine = engine();
    let key: PodName = ("x".into(), "a".into());
    let to = ip("192.0.2.1");
    let known = |engine: &Engine| engine.names.get(&key, to).is_some();
    load(&mut engine, vec![pod("a", &["10.0.0.5"])]);
    let names = vec![DnsName::parse("hub.io").unwrap()];
    let binding = ::dns::Binding { pod: ip("10.0.0.5"), names, addresses: vec![to], ttl: 60 };
    assert_eq!(engine.learn(&[binding]), [Ok(60)]);
    load(&mut engine, vec![pod("a", &["10.0.0.5", "fd00::5"])]);
    assert!(known(&engine), "it got an address of another family");
    load(&mut engine, vec![pod("a", &["10.0.0.6"])]);
    assert!(!known(&engine));
}

#[test]
fn what_was_removed_for_good_is_not_put_in_force_again() {
    let mut engine = engine();
    load(&mut engine, vec![pod("a", &["10.0.0.5"])]);
    engine.remove().unwrap();
    for _ in 0..2 {
        assert_eq!(load(&mut engine, vec![pod("a", &["10.0.0.5"])]), Outcome::Refused);
        assert!(engine.retry().is_none() && !engine.wants_retry() && engine.tick().is_none());
        let status = engine.status();
        let told = status.degraded.iter().filter(|reason| reason.contains("cofferdam uninstall"));
        assert_eq!((told.count(), status.nodes[0].enforced), (1, None));
    }
}
