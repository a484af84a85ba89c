//! A release that is judged beside what is enforced: agents say what their pods open, the controller judges it, and the hub
//! hears of it. With real packets, beside a real API server, which is its own hub.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the failure report")]

use crate::whole::{NODES, Process, World, eventually, only};
use fleet::hub::{definitions, release_object};
use fleet::{Envelope, Header, Ref, Release, SigningKey};
use serde_json::{Value, json};
use std::fs;

fn key() -> SigningKey {
    let head =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let block = pem::encode(&pem::Pem::new("PRIVATE KEY", [&head[..], &[7; 32]].concat()));
    SigningKey::from_pem(block.as_bytes()).unwrap()
}

fn keys() -> String {
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", [&spki[..], &key().public()].concat()));
    let keys = json!([{ "name": "platform", "public": public }]);
    json!({ "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ReleaseKeys", "keys": keys }).to_string()
}

fn publish(world: &World, number: u64, fallback: Option<&Ref>, text: &str) -> Ref {
    let values = crds::as_json("t.yaml", text.as_bytes());
    let header = Header { number, fallback: fallback.cloned(), rollback_to: None };
    let release = Release::build(header, &values).unwrap().0;
    let object = release_object(&release, &Envelope::seal(&release, &[key()]));
    world.kubectl("apply --server-side -f -", &object.to_string());
    release.reference()
}

fn want(world: &World, enforce: &Ref, shadow: Option<&Ref>) {
    let patch = json!({ "spec": { "wanted": { "enforce": enforce, "shadow": shadow } } });
    world.kubectl(&format!("patch managedcluster dev --type=merge -p {patch}"), "");
}

fn status(world: &World) -> Value {
    world.get("managedcluster dev")["status"].clone()
}

/// Both ports of `db`.
fn both() -> String {
    only(80).replace("ports: [{port: 80}]", "ports: [{port: 80}, {port: 5432}]")
}

/// A hub's kinds and its one cluster, which is also the hub; with a controller and agents.
fn joined(world: &World) -> (Process, [Option<Process>; 2]) {
    let hub = json!({ "apiVersion": "v1", "kind": "List", "items": definitions() });
    world.kubectl("apply -f -", &hub.to_string());
    world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");
    let metadata = json!({ "name": "dev", "labels": { "env": "dev" } });
    let object =
        json!({ "apiVersion": "cofferdam.dev/v1alpha1", "kind": "ManagedCluster", "metadata": metadata });
    world.kubectl("apply -f -", &object.to_string());
    let pinned = world.folder.path().join("keys.json");
    fs::write(&pinned, keys()).unwrap();
    let config = world.kubeconfig_path().to_owned();
    let arguments = ["--hub", &config, "--cluster", "dev", "--release-keys", pinned.to_str().unwrap()];
    let controller = world.certified_controller_with("first", &arguments);
    (controller, NODES.map(|node| Some(world.agent(node))))
}

#[test]
fn cluster_a_release_is_judged_beside_on_real_packets_and_the_hub_hears_what_it_would_deny() {
    let Some(world) = World::start() else { return };
    let (controller, mut agents) = joined(&world);

    let (one, two) = (publish(&world, 1, None, &both()), publish(&world, 2, None, &only(5432)));
    // Not of the fleet: it stays under whichever release.
    let mine = only(80).replace("name: db, namespace", "name: mine, namespace");
    world.kubectl("apply -f -", &mine);
    want(&world, &one, None);
    world.reachable("release 1", &[80, 5432]);
    want(&world, &one, Some(&two));
    let evidence = |what: &str, is_it: &dyn Fn(&Value) -> bool| {
        eventually(what, || {
            // Traffic goes on, and none of it is denied.
            assert!(world.web_reaches_db(80) && world.web_reaches_db(5432), "{what}");
            Some(status(&world)).filter(|it| is_it(&it["evidence"]))
        })
    };
    let judged = evidence("release 2 judged", &|it| {
        it["mode"] == "Shadow" && it["flows"].as_u64() >= Some(2) && it["seconds"].as_u64() >= Some(5)
    });
    assert_eq!(judged["evidence"]["denials"], json!([]), "another policy allows it: {judged:#}");
    assert_eq!((&judged["enforced"]["number"], &judged["shadow"]["number"]), (&1.into(), &2.into()));

    world.kubectl("delete networkpolicy mine -n shop", "");
    let denied = evidence("a would-be denial", &|it| it["denials"][0]["count"].as_u64() > Some(0));
    let denial = &denied["evidence"]["denials"][0];
    assert_eq!(
        (&denial["source"], &denial["destination"], &denial["port"]),
        (&"shop/web".into(), &"shop/db".into(), &80.into()),
        "{denied:#}"
    );
    assert_eq!(denied["evidence"]["denials"].as_array().unwrap().len(), 1, "{denied:#}");
    assert_eq!(
        (&denied["evidence"]["moreDenials"], &denied["problems"]),
        (&0.into(), &json!([])),
        "{denied:#}"
    );
    eventually("the controller names the rule", || {
        let line = "release 2 would deny shop/web to shop/db port 80: NetworkPolicy shop/db";
        controller.said().contains(line).then_some(())
    });

    // A node that says nothing is a gap, and told.
    drop(agents[1].take());
    let silent = eventually("the silent node", || {
        let now = status(&world);
        let told = now["problems"].to_string().contains("do not say what their pods open, such as node-b");
        told.then_some(now)
    });
    assert_eq!(silent["evidence"]["seconds"], 0, "{silent:#}");
    agents[1] = Some(world.agent(NODES[1]));
    eventually("whole again", || (status(&world)["problems"] == json!([])).then_some(()));

    want(&world, &one, None);
    let ended = eventually("no more", || Some(status(&world)).filter(|it| it["shadow"].is_null()));
    assert_eq!((&ended["evidence"]["mode"], &ended["evidence"]["denials"]), (&"Enforce".into(), &json!([])));
    world.reachable("as before", &[80, 5432]);

    // In force, it is judged by what it may fall back to: what that allowed and is denied now worked before.
    let three = publish(&world, 3, Some(&one), &only(5432));
    want(&world, &three, None);
    world.reachable("release 3", &[5432]);
    let broken = eventually("a denial of what worked", || {
        assert!(world.web_reaches_db(5432) && !world.web_reaches_db(80));
        Some(status(&world)).filter(|it| it["evidence"]["denials"][0]["count"].as_u64() > Some(0))
    });
    let evidence = &broken["evidence"];
    let denial = &evidence["denials"][0];
    assert_eq!((&evidence["mode"], &evidence["of"]["number"]), (&"Enforce".into(), &3.into()), "{broken:#}");
    assert_eq!(
        (&denial["source"], &denial["destination"], &denial["port"]),
        (&"shop/web".into(), &"shop/db".into(), &80.into()),
        "{broken:#}"
    );
    assert_eq!(evidence["denials"].as_array().unwrap().len(), 1, "{broken:#}");
    want(&world, &one, None);
    world.reachable("taken back", &[80, 5432]);
}

fn rollout(world: &World, release: &Ref, fallback: &Ref) {
    rollout_by(world, release, fallback, &json!({ "seconds": 5, "flows": 4 }));
}

fn rollout_by(world: &World, release: &Ref, fallback: &Ref, gate: &Value) {
    let stage = json!({
        "name": "dev", "clusters": { "matchLabels": { "env": "dev" } }, "gate": gate, "holdSeconds": 15,
    });
    let spec = json!({ "release": release, "fallback": fallback, "stages": [stage], "spike": 3 });
    let name = format!("release-{}", release.number);
    let object = json!({
        "apiVersion": "cofferdam.dev/v1alpha1", "kind": "Rollout", "metadata": { "name": name }, "spec": spec,
    });
    world.kubectl("apply -f -", &object.to_string());
}

/// Whether a condition of a rollout is true, with its message.
fn is_true(world: &World, rollout: &str, kind: &str) -> Option<String> {
    let [status, _, message] = world.condition(&format!("rollouts.cofferdam.dev {rollout}"), kind)?;
    (status == "True").then_some(message)
}

#[test]
fn cluster_a_mistake_is_held_by_real_traffic_and_taken_back_where_it_is_forced() {
    let Some(world) = World::start() else { return };
    let (_controller, _agents) = joined(&world);
    let _rollouts = world.rollouts();
    // It selects `web`, too, to which nobody connects; so the node of `web` knows whom its connections are for.
    let web = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\n\
               spec:\n  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]\n";
    let one = publish(&world, 1, None, &(both() + web));
    want(&world, &one, None);
    world.reachable("release 1", &[80, 5432]);

    // It forgets port 80, which is in use.
    let two = publish(&world, 2, Some(&one), &(only(5432) + web));
    rollout(&world, &two, &one);
    let held = eventually("the gate holds it", || {
        assert!(world.web_reaches_db(80) && world.web_reaches_db(5432), "traffic goes on as it was");
        is_true(&world, "release-2", "Held").filter(|it| it.contains("port 80"))
    });
    assert!(held.contains("shop/web to shop/db port 80"), "{held}");
    // What detectors find of a workload that the release selects holds it as well.
    for port in [22, 445, 2375] {
        assert!(!world.web_reaches_db(port), "nobody listens there");
    }
    let found = eventually("a finding of lateral movement", || {
        is_true(&world, "release-2", "Held").filter(|it| it.contains("1 findings (1 high), at most 0 may be"))
    });
    assert!(found.contains("port 80"), "{found}");
    let hub = format!("--hub {}", world.kubeconfig_path());
    let (code, said) = world.run(&format!("rollout status release-2 {hub}"));
    assert!(
        code == Some(1) && said.contains("HELD") && said.contains("shop/web to shop/db port 80"),
        "{said}"
    );

    let (code, said) = world.run(&format!("rollout promote release-2 {hub} --reason in-a-hurry"));
    assert!(code == Some(0) && said.contains("Forced dev"), "{said}");
    eventually("it is in force", || (!world.web_reaches_db(80)).then_some(()));
    eventually("taken back", || {
        // Whoever used the port goes on trying.
        world.web_reaches_db(80);
        is_true(&world, "release-2", "RolledBack")
    });
    world.reachable("as before", &[80, 5432]);
    let (_, history) = world.run(&format!("rollout history release-2 {hub}"));
    for told in [
        "Began dev",
        "Forced dev",
        "in-a-hurry",
        ", 1 findings (1 high)]",
        "RollsBack",
        "flows that worked before",
        "RolledBack",
    ] {
        assert!(history.contains(told), "{told}: {history}");
    }

    // Mended, it goes by itself.
    let three = publish(&world, 3, Some(&one), &(both() + web));
    rollout(&world, &three, &one);
    eventually("release 3 is done", || {
        assert!(world.web_reaches_db(80) && world.web_reaches_db(5432), "nobody notices");
        is_true(&world, "release-3", "Done")
    });
    assert_eq!(status(&world)["enforced"]["number"], 3);
}

#[test]
fn cluster_a_gate_goes_by_what_fails_of_what_workloads_try() {
    let Some(world) = World::start() else { return };
    let (_controller, _agents) = joined(&world);
    let _rollouts = world.rollouts();
    // Port 22 is open, and nobody listens there.
    let open = both().replace("{port: 5432}]", "{port: 5432}, {port: 22}]");
    let one = publish(&world, 1, None, &open);
    want(&world, &one, None);
    world.reachable("release 1", &[80, 5432]);
    // The first release has none to fall back to, and what fails is counted all the same.
    eventually("what fails with the first release", || {
        assert!(!world.web_reaches_db(22), "nobody listens");
        let errors = status(&world)["evidence"]["errors"]["connections"].clone();
        (errors["failed"].as_u64() > Some(0)).then_some(())
    });

    let label = open.replace("metadata: {name: db", "metadata: {labels: {release: two}, name: db");
    let two = publish(&world, 2, Some(&one), &label);
    rollout_by(&world, &two, &one, &json!({ "seconds": 5, "flows": 4, "errorPercent": 20 }));
    let held = eventually("the gate holds it", || {
        assert!(!world.web_reaches_db(22) && world.web_reaches_db(80));
        is_true(&world, "release-2", "Held").filter(|it| it.contains("connections fail"))
    });
    assert!(held.contains("at most 20 % may"), "{held}");
    let hub = format!("--hub {}", world.kubeconfig_path());
    let (code, said) = world.run(&format!("rollout status release-2 {hub}"));
    assert!(code == Some(1) && said.contains("%/20%"), "{said}");

    // Once enough succeeds, it goes on by itself; and enforced it is counted anew.
    eventually("release 2 is done", || {
        assert!((0..20).all(|_| world.web_reaches_db(80)));
        is_true(&world, "release-2", "Done")
    });
    assert_eq!(status(&world)["enforced"]["number"], 2);
    let errors = &status(&world)["evidence"]["errors"]["connections"];
    assert!(errors["tried"].as_u64() > Some(19), "{errors}");
}
