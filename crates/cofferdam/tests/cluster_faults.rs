//! Whatever dies, lies or is cut off: enforcement stays at the last good state, and goes on by itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the failure report")]

use crate::whole::{DB, NODE_ADDRESSES, NODES, World, eventually, only};
use apiserver::Part;
use feed::tls::node_name;
use lab::{Network, Place};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn generation(world: &World, node: &str) -> u64 {
    world.status(node)["generation"].as_u64().unwrap_or_default()
}

fn degraded(world: &World, node: &str) -> String {
    world.status(node)["degraded"].to_string()
}

#[test]
fn cluster_enforcement_outlives_controller_agent_api_server_and_etcd() {
    let Some(world) = World::start() else { return };
    let controller = world.controller("first");
    let [_a, agent] = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    let before = generation(&world, "node-b");

    // The controller dies; then the agent too, and comes back to nobody.
    controller.kill();
    eventually("the agent says so", || degraded(&world, "node-b").contains("cut off").then_some(()));
    agent.kill();
    assert!(!world.web_reaches_db(80), "the kernel needs no process");
    let agent = world.agent("node-b");
    eventually("the agent took up what it had", || (generation(&world, "node-b") == before).then_some(()));
    assert!(!world.web_reaches_db(80) && world.web_reaches_db(5432));
    assert!(degraded(&world, "node-b").contains("cut off"), "{}", degraded(&world, "node-b"));

    // Policy changes while nobody looks, and several controllers die while they take it in.
    for (round, port) in [80, 5432, 80, 5432, 80].into_iter().enumerate() {
        world.kubectl("apply -f -", &only(port));
        let controller = world.controller("doomed");
        std::thread::sleep(Duration::from_millis(40 * (round as u64 + 1)));
        controller.kill();
    }
    let controller = world.controller("second");
    world.reachable("the last policy is in force", &[80]);
    let after = generation(&world, "node-b");
    assert!(after > before, "{after} after {before}");

    // The API server hangs, then dies; etcd dies.
    world.at_api(|cluster| cluster.pause_part(Part::Api).unwrap());
    world.reachable("a server that hangs changes nothing", &[80]);
    world.at_api(|cluster| cluster.resume_part(Part::Api).unwrap());
    world.at_api(|cluster| cluster.kill_part(Part::Api).unwrap());
    world.at_api(|cluster| cluster.kill_part(Part::Etcd).unwrap());
    eventually("the controller says so", || {
        controller.said().lines().last()?.contains("networkpolicies: ").then_some(())
    });
    world.reachable("a server that is gone changes nothing", &[80]);
    world.at_api(|cluster| cluster.start_part(Part::Etcd).unwrap());
    world.at_api(|cluster| cluster.start_part(Part::Api).unwrap());
    world.kubectl("apply -f -", &only(5432));
    world.reachable("what was written after it came back", &[5432]);
    assert!(generation(&world, "node-b") > after);
    drop(agent);
}

#[test]
fn cluster_a_history_that_is_gone_is_listed_anew() {
    let Some(world) = World::start() else { return };
    let controller = world.controller("first");
    let _agents = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    // While the controller stands still the server forgets what it would go on from: 410 Gone.
    controller.signal(Signal::SIGSTOP);
    world.kubectl("apply -f -", &only(80));
    world.kubectl("delete networkpolicy db -n shop", "");
    world.kubectl("apply -f -", &only(80));
    world.at_api(|cluster| cluster.kill_part(Part::Api).unwrap());
    world.at_api(|cluster| cluster.compact().unwrap());
    world.at_api(|cluster| cluster.start_part(Part::Api).unwrap());
    world.reachable("nothing opened", &[5432]);
    controller.signal(Signal::SIGCONT);
    world.reachable("what was written meanwhile", &[80]);
}

#[test]
fn cluster_a_partitioned_agent_keeps_what_it_has_and_catches_up() {
    let Some(world) = World::start() else { return };
    let _controller = world.controller("first");
    let _agents = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    let route = |what: &'static str| {
        let to = format!("{}/32", NODE_ADDRESSES[1]);
        let run =
            move || Command::new("ip").args(["route", what, "blackhole", &to]).status().unwrap().success();
        assert!(world.lab.run(&Place::Outside, run).unwrap());
    };
    route("add");
    world.kubectl("apply -f -", &only(80));
    let pending = eventually("the status says who lacks it", || {
        world.condition("policystatus db -n shop", "Programmed").filter(|it| it[0] == "False")
    });
    assert!(pending[2].contains("0 of 1 nodes") && pending[2].contains("node-b"), "{pending:?}");
    assert!(world.web_reaches_db(5432) && !world.web_reaches_db(80), "the last state holds");
    let cut = eventually("the agent noticed", || {
        Some(degraded(&world, "node-b")).filter(|it| it.contains("cut off"))
    });
    assert!(cut.contains("stays in force"), "{cut}");
    route("del");
    world.reachable("it caught up", &[80]);
    eventually("and the status says so", || {
        world.condition("policystatus db -n shop", "Programmed").filter(|it| it[0] == "True")
    });
}

#[test]
fn cluster_pods_that_reach_each_other_unjudged_are_told_of() {
    if !lab::can_filter_bridges() {
        eprintln!("SKIPPED: pods on a bridge (br_netfilter is not loaded)");
        return;
    }
    let Some(world) = World::start_with(Network::Bridged) else { return };
    let _controller = world.controller("first");
    let _agents = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed, over the bridges", &[5432]);
    let degraded = || world.condition("policystatus db -n shop", "Degraded");
    let set = |value: &'static str| {
        let run = move || fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", value);
        world.lab.run(&Place::Node("node-b".to_owned()), run).unwrap().unwrap();
    };
    eventually("nothing is wrong yet", || degraded().is_none().then_some(()));
    set("0");
    let told = eventually("the status tells of it", degraded);
    assert!(told[2].contains("node-b") && told[2].contains("bridge cni0"), "{told:?}");
    set("1");
    eventually("and when it is over", || degraded().is_none().then_some(()));
}

#[test]
fn cluster_an_expired_certificate_changes_nothing_until_there_is_a_new_one() {
    let Some(world) = World::start() else { return };
    let _controller = world.controller("first");
    let _a = world.agent("node-a");
    let month = Duration::from_secs(30 * 86400);
    let folder = world.certify("node-b", &node_name("node-b"), SystemTime::now() - month);
    let _b = world.agent_as_it_is("node-b", &folder);
    let reason = eventually("the agent says why", || {
        Some(degraded(&world, "node-b")).filter(|it| it.to_lowercase().contains("expired"))
    });
    assert!(reason.contains("cut off"), "{reason}");
    // Nothing was ever received: what the guard covers is closed.
    assert!(!world.web_reaches_db(80), "{DB} must not be reachable");
    // Not yet valid for a clock that is slow by a month, either.
    world.certify("node-b", &node_name("node-b"), SystemTime::now() + month);
    eventually("the agent says why", || degraded(&world, "node-b").contains("not valid yet").then_some(()));
    // A clock that is wrong by half an hour is no reason.
    world.certify("node-b", &node_name("node-b"), SystemTime::now() + Duration::from_secs(1800));
    world.reachable("everything, for there is no policy", &[80, 5432]);
    // A certificate of another node is refused.
    world.certify("node-b", &node_name("node-a"), SystemTime::now());
    drop(_b);
    let _b = world.agent_as_it_is("node-b", &folder);
    eventually("the controller refuses", || {
        degraded(&world, "node-b").contains("not that of node").then_some(())
    });
    assert!(world.web_reaches_db(80), "what was received stays in force");
}

#[test]
fn cluster_of_two_leaders_one_gives_way_and_nothing_goes_back() {
    let Some(world) = World::start() else { return };
    let mut first = world.controller("first");
    eventually("the first leads", || first.said().contains("leads;").then_some(()));
    let second = world.controller("second");
    let _agents = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    eventually("the second stands by", || second.said().contains("stands by (first leads)").then_some(()));

    first.signal(Signal::SIGSTOP);
    world.kubectl("apply -f -", &only(80));
    eventually("the second takes over", || second.said().lines().last()?.starts_with("leads;").then_some(()));
    first.signal(Signal::SIGCONT);
    eventually("the first gives way", || first.has_ended().then_some(()));
    assert!(first.said().contains("second leads now"), "{}", first.said());
    world.reachable("what was written meanwhile", &[80]);
    let all = NODES.map(|node| generation(&world, node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("what was written after", &[5432]);
    assert!(generation(&world, "node-b") > all[1], "generations only grow");
}
