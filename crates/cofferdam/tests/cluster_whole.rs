//! The program as a cluster runs it: controllers and agents as processes, beside a real API server, with real packets.

mod whole;

use whole::{NODES, World, eventually, only};

/// What a schema of today would refuse, as an API server may hold it from before.
const BROKEN: &str = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: broken}
spec: {tier: Admin, priority: high, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}}
";

#[test]
fn cluster_a_policy_becomes_packets_and_its_status_says_where() {
    let Some(world) = World::start() else { return };
    let _controller = world.controller("first");
    let _agents = NODES.map(|node| world.agent(node));
    world.reachable("no policy: everything", &[80, 5432]);

    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    let programmed = eventually("the policy's status", || {
        world.condition("policystatus db -n shop", "Programmed").filter(|it| it[0] == "True")
    });
    assert!(programmed[2].contains("all 1 nodes"), "{programmed:?}");
    assert_eq!(world.condition("policystatus db -n shop", "Accepted").unwrap()[0], "True");
    let table = world.kubectl("get polst -n shop", "");
    assert!(table.contains("PROGRAMMED") && table.contains("db"), "{table}");

    // What cannot be read closes what it may select, and says so.
    world.kubectl("apply -f -", BROKEN);
    world.reachable("closed by the broken policy", &[]);
    let accepted = eventually("the broken policy's status", || {
        world.condition("clusternetworkpolicy broken", "Accepted")
    });
    assert_eq!((accepted[0].as_str(), accepted[1].as_str()), ("False", "Invalid"), "{accepted:?}");
    eventually("an event", || world.kubectl("get events -A", "").contains("Invalid").then_some(()));
    world.kubectl("delete clusternetworkpolicy broken", "");
    world.reachable("open again", &[5432]);

    world.kubectl("delete networkpolicy db -n shop", "");
    world.reachable("no policy again", &[80, 5432]);
    eventually("the status goes with its policy", || {
        world.get("policystatuses -A")["items"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn cluster_agents_enrol_with_the_token_of_their_pod_and_as_nobody_else() {
    let Some(world) = World::start() else { return };
    for account in ["cofferdam-agent", "visitor"] {
        world.kubectl(&format!("create serviceaccount {account} -n cofferdam-system"), "");
    }
    let controller = world.controller_with_authority("first");
    eventually("the authority", || {
        let maps = world.kubectl("get configmaps -n cofferdam-system", "");
        maps.contains("cofferdam-authority").then_some(())
    });
    let token = world.token("node-b", "cofferdam-agent");
    let _b = world.agent_with_token("node-b", &token);
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);

    // The token is for its pod's node, whatever the agent calls itself; and for the agent's account only.
    let says = |text: &str| {
        eventually(text, || world.status("node-a")["degraded"].to_string().contains(text).then_some(()));
    };
    let a = world.agent_with_token("node-a", &token);
    says("not that of node node-a");
    a.kill();
    let a = world.agent_with_token("node-a", &world.token("node-a", "visitor"));
    says("system:serviceaccount:cofferdam-system:visitor");
    a.kill();

    // The next controller has the same authority.
    let before = world.get("secret cofferdam-authority -n cofferdam-system")["data"].clone();
    controller.kill();
    let _controller = world.controller_with_authority("second");
    let _a = world.agent_with_token("node-a", &world.token("node-a", "cofferdam-agent"));
    eventually("connected to the second", || {
        world.status("node-a")["degraded"].as_array()?.is_empty().then_some(())
    });
    assert_eq!(world.get("secret cofferdam-authority -n cofferdam-system")["data"], before);
}
