//! A collector with a real API server: it and those who send to it are known by certificates that their service accounts' tokens got
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crate::whole::{DB, NODE_ADDRESSES, NODES, Process, World, eventually};
use lab::Place;
use ledger::{Column, EntryFilter, Kind, Match, Reader, Verdict};
use std::path::Path;

const AGENT: &str = "cofferdam-agent";
const COLLECTOR: &str = "cofferdam-collector";
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nowhere, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}
";

fn collector(world: &World, account: &str, ledger: &Path) -> Process {
    let token = world.token(NODES[1], account);
    let options =
        ["--listen", "0.0.0.0:9448", "--health", "127.0.0.1:9449", "--ledger", ledger.to_str().unwrap()];
    world.with_token("collector", NODES[1], &token, &options)
}

#[test]
fn cluster_collector_knows_nodes_by_the_certificates_of_their_agents() {
    let Some(world) = World::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for account in [AGENT, COLLECTOR] {
        world.kubectl(&format!("create serviceaccount {account} -n cofferdam-system"), "");
    }
    world.kubectl("apply -f -", POLICY);
    let _controller = world.controller_with_authority("first");
    eventually("the authority", || {
        let find = "get configmap -n cofferdam-system -o name";
        world.kubectl(find, "").contains("cofferdam-authority").then_some(())
    });
    let url = format!("https://{}:9448", NODE_ADDRESSES[1]);
    let agent = |node: &str| {
        let ledger = folder.path().join(node);
        let options = ["--ledger", ledger.to_str().unwrap(), "--collector", &url];
        world.agent_with_token_and(node, &world.token(node, AGENT), &options)
    };

    // Who has the token of an agent is no collector. It is there first: senders try again less and less often.
    let liars = folder.path().join("liars.db");
    let liar = collector(&world, AGENT, &liars);
    let place = Place::Node(NODES[1].to_owned());
    let is_ready = || world.probe(&place, "127.0.0.1:9449", "/readyz").contains("200 OK").then_some(());
    eventually("the one who is none", is_ready);
    let agents = NODES.map(agent);
    let problem = || {
        let problem = world.status(NODES[0])["ledger"]["exports"][0]["problem"].as_str().map(str::to_owned);
        problem.filter(|problem| problem.contains("not valid for name"))
    };
    eventually("the agent to turn away", problem);
    assert!(Reader::open(&liars).unwrap().joined().unwrap().is_empty());
    liar.kill();

    let all = folder.path().join("all.db");
    let _collector = collector(&world, COLLECTOR, &all);
    eventually("the collector to be ready", is_ready);
    let reader = Reader::open(&all).unwrap();
    let denial = EntryFilter {
        kind: Some(Kind::Flow),
        verdict: Some(Verdict::Deny),
        texts: vec![(Column::Node, Match::Is(NODES[0].to_owned()))],
        ..EntryFilter::default()
    };
    eventually("the denial", || {
        world.web_reaches(DB, 80);
        (!reader.entries(&denial).unwrap().is_empty()).then_some(())
    });
    // It was heard of, though it has nothing to tell.
    eventually("both nodes", || (reader.joined().unwrap().len() == 2).then_some(()));
    let metrics = world.probe(&place, "127.0.0.1:9449", "/metrics");
    assert!(metrics.contains("cofferdam_collector_senders 2"), "{metrics}");
    drop(agents);
    for node in NODES {
        world.uninstall(node);
    }
}
