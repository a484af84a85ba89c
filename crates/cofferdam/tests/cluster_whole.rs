//! The program as a cluster runs it: controllers and agents as processes, beside a real API server, with real packets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the failure report")]

use crate::whole::{LATE, NODES, OUTSIDE, World, eventually, only};
use controller::authority::Authority;
use lab::Place;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

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

/// An EgressPolicy of `web`; `spec` in flow style.
fn egress(spec: &str) -> String {
    format!(
        "{{apiVersion: cofferdam.dev/v1alpha1, kind: EgressPolicy, metadata: {{name: web, namespace: shop}}, spec: \
         {{subject: {{podSelector: {{matchLabels: {{app: web}}}}}}, {spec}}}}}"
    )
}

#[test]
fn cluster_an_egress_policy_becomes_packets_and_carries_its_own_conditions() {
    let Some(world) = World::start() else { return };
    let catalog = tempfile::NamedTempFile::new().unwrap();
    let providers = |name: &str| {
        format!(
            "{{apiVersion: cofferdam.dev/v1alpha1, kind: Catalog, providers: [{{name: {name}, hosts: [{{host: hub.example, for: api}}]}}]}}"
        )
    };
    fs::write(catalog.path(), providers("other")).unwrap();
    let path = catalog.path().to_str().unwrap();
    let _controller = world.certified_controller_with("first", &["--catalog", path]);
    let _agents = NODES.map(|node| world.agent(node));
    world.reachable("no policy: everything", &[80, 5432]);

    let one = "{action: Allow, to: [{networks: [10.77.2.2/32]}], ports: [{port: 5432}]}";
    world.kubectl("apply -f -", &egress(&format!("egress: [{one}]")));
    world.reachable("one port is allowed", &[5432]);
    let condition = |kind: &str, status: &str| {
        eventually(kind, || world.condition("egresspolicy web -n shop", kind).filter(|it| it[0] == status))
    };
    condition("Programmed", "True");
    condition("Accepted", "True");
    let table = world.kubectl("get egp -n shop", "");
    assert!(table.contains("PROGRAMMED") && table.contains("web"), "{table}");
    assert!(world.get("policystatuses -A")["items"].as_array().unwrap().is_empty());

    // A Deny of the cluster's kind comes first.
    world.kubectl(
        "apply -f -",
        "{apiVersion: cofferdam.dev/v1alpha1, kind: ClusterEgressPolicy, metadata: {name: none}, spec: {tier: Admin, \
         priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [10.77.2.2/32]}]}]}}",
    );
    world.reachable("the Admin tier denies", &[]);
    eventually("its condition", || {
        world.condition("clusteregresspolicy none", "Programmed").filter(|it| it[0] == "True")
    });
    world.kubectl("delete clusteregresspolicy none", "");
    world.reachable("open again", &[5432]);

    // A provider that nobody knows closes the pod, until the catalog has it.
    world.kubectl(
        "apply -f -",
        &egress(&format!("egress: [{one}, {{action: Allow, to: [{{provider: hub}}]}}]")),
    );
    world.reachable("closed for the provider", &[]);
    let accepted = condition("Accepted", "False");
    assert!(accepted[2].contains("\"hub\""), "{accepted:?}");
    fs::write(catalog.path(), providers("hub")).unwrap();
    world.reachable("open once the catalog has it", &[5432]);
    condition("Accepted", "True");
}

#[test]
fn cluster_schemas_of_egress_policies_refuse_what_the_reader_refuses() {
    let Some(world) = World::start() else { return };
    let to = |entry: &str| egress(&format!("egress: [{{action: Allow, to: [{entry}]}}]"));
    let whole = "egress: [{name: some, action: Deny, to: [{domains: ['**.a.io', '*.b.io', c.io.]}, {provider: s3, for: \
                 [storage], with: {bucket: a, region: b}}, {networks: [192.0.2.0/24, '2001:db8::/32']}], ports: [{port: 1, \
                 endPort: 2}, {protocol: UDP}]}], dns: {names: ['**.cluster.local'], fromRules: true, resolvers: [{pods: \
                 {namespaceSelector: {}, podSelector: {}}}, {networks: [192.0.2.53/32]}]}";
    world.kubectl("apply --validate=strict -f -", &egress(whole));
    let baseline = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["install", "baseline", "--api-server", "192.0.2.10/32", "--allow-namespace", "ops"])
        .output()
        .unwrap();
    world.kubectl("apply --validate=strict -f -", &String::from_utf8(baseline.stdout).unwrap());
    let limited = |action: &str, to: &str, more: &str| {
        egress(&format!("egress: [{{action: {action}, to: [{to}]{more}}}]"))
    };
    for more in [
        ", maxUploadBytes: {connection: 1, hour: 50Mi, day: '4611686018427387904'}, downloadOnly: true, ports: [{port: 443}]",
        ", maxUploadBytes: {day: '12'}, ports: [{protocol: TCP}]",
        ", downloadOnly: true",
    ] {
        world.kubectl(
            "apply --validate=strict -f -",
            &limited("Allow", "{domains: [a.io]}, {provider: a}", more),
        );
    }
    let unlimited = ", downloadOnly: false, ports: [{protocol: UDP}]";
    world.kubectl("apply --validate=strict -f -", &limited("Deny", "{networks: [192.0.2.0/24]}", unlimited));
    let (names, hour) = ("{domains: [a.io]}", ", maxUploadBytes: {hour: 1Mi}");
    for (object, told) in [
        (limited("Deny", names, hour), "only a rule that allows"),
        (limited("Deny", names, ", downloadOnly: true"), "only a rule that allows"),
        (limited("Allow", "{provider: a}, {networks: [192.0.2.0/24]}", hour), "a network has none"),
        (
            limited("Allow", names, &format!("{hour}, ports: [{{protocol: UDP, port: 443}}]")),
            "judged over TCP",
        ),
        (limited("Allow", names, ", downloadOnly: true, ports: [{protocol: SCTP}]"), "judged over TCP"),
        (limited("Allow", names, ", maxUploadBytes: {}"), "maxUploadBytes"),
        (limited("Allow", names, ", maxUploadBytes: {week: 1}"), "week"),
        (limited("Allow", names, ", maxUploadBytes: {hour: 0}"), "hour"),
        (limited("Allow", names, ", maxUploadBytes: {hour: 4611686018427388928}"), "hour"),
        (limited("Allow", names, ", maxUploadBytes: {hour: 1.5}"), "hour"),
        (limited("Allow", names, ", maxUploadBytes: {hour: 1.5Gi}"), "hour"),
        (limited("Allow", names, ", maxUploadBytes: {hour: 1Pi}"), "hour"),
        (limited("Allow", names, ", maxUploadBytes: {hour: '010'}"), "hour"),
        (to("{}"), "exactly one of domains, provider, networks, clusters and serviceImport"),
        (
            to("{domains: [a.io], networks: [192.0.2.0/24]}"),
            "exactly one of domains, provider, networks, clusters and serviceImport",
        ),
        (to("{domains: [a.io], for: [api]}"), "none is named"),
        (to("{clusters: [west], podSelector: {}}"), "written together"),
        (to("{domains: [a.io], namespaceSelector: {}, podSelector: {}}"), "written together"),
        (to("{clusters: [we@st], namespaceSelector: {}, podSelector: {}}"), "clusters"),
        (to("{domains: ['a.*.io']}"), "domains"),
        (to("{domains: ['**']}"), "domains"),
        (to("{networks: [192.0.2.1]}"), "CIDR"),
        (to("{provider: a, for: [fun]}"), "for"),
        (egress("egress: [{action: Pass, to: [{domains: [a.io]}]}]"), "action"),
        (egress("egress: [{action: Allow, to: []}]"), "to"),
        (
            egress("egress: [{action: Allow, to: [{domains: [a.io]}], ports: [{port: 2, endPort: 1}]}]"),
            "endPort",
        ),
        (egress("egress: [{action: Allow, to: [{domains: [a.io]}], ports: [{endPort: 1}]}]"), "endPort"),
        (egress("dns: {names: []}"), "names"),
        (egress("dns: {resolvers: [{}]}"), "exactly one of pods and networks"),
        (egress("dns: {resolvers: [{pods: {podSelector: {}}}]}"), "namespaceSelector"),
    ] {
        let said = world.refused("apply --validate=strict -f -", &object).unwrap_or_default();
        assert!(said.contains(told), "{object}: {said:?}");
        let read = crds::read_objects("x", object.as_bytes());
        assert!(read.diagnostics.iter().any(crds::Diagnostic::is_error), "{object}");
    }
    let cluster = "{apiVersion: cofferdam.dev/v1alpha1, kind: ClusterEgressPolicy, metadata: {name: c}, spec: {tier: Admin, \
                   priority: 1, subject: {namespaces: {}, pods: {podSelector: {}}}}}";
    let said = world.refused("apply -f -", cluster).unwrap_or_default();
    assert!(said.contains("exactly one of namespaces and pods"), "{said:?}");
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

#[test]
fn cluster_an_authority_that_somebody_else_makes_and_renews() {
    let Some(world) = World::start() else { return };
    world.kubectl("create serviceaccount cofferdam-agent -n cofferdam-system", "");
    // As cert-manager writes it.
    let write = || {
        let (certificate, key) = Authority::new(SystemTime::now()).unwrap().to_pem();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": "cofferdam-authority", "namespace": "cofferdam-system" },
            "stringData": { "tls.crt": certificate, "tls.key": key, "ca.crt": certificate },
        });
        world.kubectl("apply --server-side --force-conflicts -f -", &secret.to_string());
        certificate
    };
    let believed = |certificate: &str| {
        eventually("the authority is published", || {
            let map = world.get("configmaps -n cofferdam-system")["items"].as_array()?.clone();
            let is_it = |map: &Value| map["data"]["ca.crt"] == certificate;
            map.iter().any(is_it).then_some(())
        });
    };
    let mut controller = world.controller_with("first", &["--await-authority"]);
    eventually("it waits", || controller.said().contains("is not there yet").then_some(()));
    believed(&write());
    let _agent = world.agent_with_token("node-b", &world.token("node-b", "cofferdam-agent"));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);

    let renewed = write();
    eventually("it gives way to a process that begins anew", || controller.has_ended().then_some(()));
    assert!(controller.said().contains("holds another authority"), "{}", controller.said());
    let _controller = world.controller_with("first", &["--await-authority"]);
    believed(&renewed);
    assert!(world.web_reaches_db(5432), "what is enforced stays");
    // What a kubelet does with the ConfigMap that is mounted.
    fs::write(world.folder.path().join("node-b/ca.crt"), &renewed).unwrap();
    world.kubectl("apply -f -", &only(80));
    world.reachable("the agent asked anew", &[80]);
}

#[test]
fn cluster_what_is_installed_runs_with_its_own_arguments_and_rights() {
    let Some(world) = World::start() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["install", "manifests", "--image", "registry.example/cofferdam:1", "--guard", "cfd"])
        .output()
        .unwrap();
    world.kubectl("apply --server-side --force-conflicts -f -", &String::from_utf8(output.stdout).unwrap());
    let config = world.kubeconfig_of_pod("cofferdam-controller");
    let deployed = [
        ("--json", &*format!("--kubeconfig={config}")),
        ("--listen=0.0.0.0", &*format!("--listen={}", OUTSIDE[0])),
    ];
    let controller =
        world.as_deployed(&Place::Outside, "deployment cofferdam-controller", "first", &deployed);
    let health = "127.0.0.1:9440";
    eventually("the controller is ready", || {
        world.probe(&Place::Outside, health, "/readyz").starts_with("HTTP/1.1 200").then_some(())
    });
    eventually("the authority", || {
        world.kubectl("get configmaps -n cofferdam-system", "").contains("cofferdam-authority").then_some(())
    });

    let node = Place::Node("node-b".to_owned());
    let folder = world.folder.path().join("node-b");
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let map = world.get("configmap cofferdam-authority -n cofferdam-system");
    fs::write(path("ca.crt"), map["data"]["ca.crt"].as_str().unwrap()).unwrap();
    fs::write(path("token"), world.token("node-b", "cofferdam-agent")).unwrap();
    let given = [
        ("$(COFFERDAM_CONTROLLER_SERVICE_HOST)", OUTSIDE[0]),
        ("$(COFFERDAM_CONTROLLER_SERVICE_PORT)", "9443"),
        ("/run/secrets/cofferdam/token/token", &*path("token")),
        ("/run/secrets/cofferdam/authority/ca.crt", &*path("ca.crt")),
        ("/run/cofferdam", &*path("")),
        ("--json", "--node=node-b"),
    ];
    let agent = world.as_deployed(&node, "daemonset cofferdam-agent", "node-b", &given);
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    assert!(world.probe(&node, "127.0.0.1:9441", "/readyz").starts_with("HTTP/1.1 200"));
    assert!(world.probe(&node, "127.0.0.1:9441", "/healthz").starts_with("HTTP/1.1 200"));
    eventually("the status is written with the controller's own rights", || {
        world.condition("policystatus db -n shop", "Programmed").filter(|it| it[0] == "True")
    });
    let holder = world.get("lease cofferdam-controller -n cofferdam-system");
    assert_eq!(holder["spec"]["holderIdentity"], "first");
    let figures =
        world.probe(&Place::Outside, health, "/metrics") + &world.probe(&node, "127.0.0.1:9441", "/metrics");
    for line in [
        "cofferdam_leads 1",
        "cofferdam_nodes{state=\"connected\"} 1",
        "cofferdam_watch_failing{kind=\"pods\"} 0",
        "cofferdam_endpoints 1",
        "cofferdam_verdict_disagreements_total 0",
    ] {
        assert!(figures.lines().any(|it| it.trim_end() == line), "{line} is not in {figures}");
    }
    the_webhook_refuses(&world);
    kubectl_finds_its_plugin(&world);
    // Its proxies outlive it: here they have no container to end with.
    agent.kill();
    world.uninstall("node-b");
    assert!(!controller.said().contains("forbidden"), "{}", controller.said());
    controller.kill();
    nobody_is_locked_out(&world);
}

/// The webhook must be asked and nobody answers: what repairs a cluster still works.
fn nobody_is_locked_out(world: &World) {
    let refused = world.refused("apply -f -", &only(80)).unwrap();
    assert!(refused.contains("policies.cofferdam.dev"), "{refused}");
    world.kubectl("delete networkpolicy db -n shop", "");
    world.kubectl("apply -f -", &only(80).replace("namespace: shop", "namespace: kube-system"));
    world.kubectl("annotate deployment cofferdam-controller -n cofferdam-system repaired=yes", "");
    let ignore = "[{\"op\":\"replace\",\"path\":\"/webhooks/0/failurePolicy\",\"value\":\"Ignore\"}]";
    world.kubectl(&format!("patch validatingwebhookconfiguration cofferdam --type=json -p {ignore}"), "");
    eventually("stored unasked", || world.refused("apply -f -", &only(80)).is_none().then_some(()));
}

/// No proxy carries a Service's traffic here, so the webhook is asked where it is; whose certificate it shows, the
/// controller has said.
fn the_webhook_refuses(world: &World) {
    let hook = || world.get("validatingwebhookconfiguration cofferdam")["webhooks"][0].clone();
    eventually("the webhook's authority", || hook()["clientConfig"]["caBundle"].as_str().map(str::len));
    let url = "[{\"op\":\"remove\",\"path\":\"/webhooks/0/clientConfig/service\"},\
                {\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/url\",\"value\":\"https://localhost:9444/validate\"},\
                {\"op\":\"replace\",\"path\":\"/webhooks/0/failurePolicy\",\"value\":\"Fail\"}]"
        .replace(' ', "");
    world.kubectl(&format!("patch validatingwebhookconfiguration cofferdam --type=json -p {url}"), "");
    let odd = BROKEN.replace("priority: high", "priority: 5");
    let refused = eventually("the webhook is asked", || {
        world.refused("apply -f -", BROKEN).filter(|said| said.contains("spec.priority"))
    });
    assert!(
        refused.contains("denied the request") && refused.contains("close what it may select"),
        "{refused}"
    );
    world.kubectl("apply -f -", &odd);
    world.kubectl("delete clusternetworkpolicy broken", "");
    // What was stored before can be removed and repaired whatever the webhook thinks of it.
    world.kubectl("apply -f -", &only(80));
    world.reachable("stored and enforced", &[80]);
}

/// What a container runtime does: it calls the plugin behind the one that gave the pod its address.
fn add_pod(world: &World, name: &str, address: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_cofferdam")).with_file_name("cofferdam-cni");
    let built =
        Command::new(env!("CARGO")).args(["build", "--quiet", "--locked", "-p", "cni"]).status().unwrap();
    assert!(built.success());
    let config = serde_json::json!({
        "cniVersion": "1.0.0", "name": "lab", "type": "cofferdam-cni",
        "socket": world.folder.path().join("node-b/cofferdam.sock"),
        "prevResult": { "cniVersion": "1.0.0", "ips": [{ "address": format!("{address}/24") }] },
    });
    let mut child = Command::new(program)
        .env("CNI_COMMAND", "ADD")
        .env("CNI_ARGS", format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn cluster_a_pod_starts_when_its_policy_is_in_force_before_the_api_knows_its_address() {
    let Some(world) = World::start() else { return };
    let _controller = world.controller("first");
    let _agents = NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", &only(5432));
    world.reachable("one port is allowed", &[5432]);
    let (name, address) = LATE;
    assert!(!world.web_reaches(address, 5432), "the guard closes what nobody knows");
    let held = add_pod(&world, name, address);
    let said = String::from_utf8(held.stdout).unwrap();
    assert!(!held.status.success() && said.contains("\"code\":11") && said.contains("is held"), "{said}");

    // Bound to the node, and without an address until its runtime has said that it runs.
    let object = "{apiVersion: v1, kind: Pod, metadata: {name: late, namespace: shop, labels: {app: db}}, \
                  spec: {nodeName: node-b, containers: [{name: c, image: i}]}}";
    world.kubectl("apply -f -", object);
    let added = add_pod(&world, name, address);
    let said = String::from_utf8(added.stdout).unwrap();
    assert!(added.status.success() && said.contains(address), "{said}");
    assert!(world.web_reaches(address, 5432) && !world.web_reaches(address, 80), "from the first packet");
    world.kubectl("apply -f -", &only(80));
    world.reachable("another policy", &[80]);
    assert!(world.web_reaches(address, 80) && !world.web_reaches(address, 5432), "it stays settled");
    let status = format!("{{\"status\":{{\"phase\":\"Running\",\"podIPs\":[{{\"ip\":\"{address}\"}}]}}}}");
    world.kubectl(&format!("patch pod late -n shop --subresource=status -p {status}"), "");
    world.kubectl("apply -f -", &only(5432));
    world.reachable("the first policy again", &[5432]);
    assert!(world.web_reaches(address, 5432) && !world.web_reaches(address, 80), "now the API says it too");
}

fn kubectl_finds_its_plugin(world: &World) {
    let folder = world.folder.path().join("bin");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cofferdam"), folder.join("kubectl-cofferdam")).unwrap();
    world.kubectl_in(&folder);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let run = |arguments: &[&str]| {
        let (path, words) = (path.clone(), arguments.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let run =
            move || Command::new("kubectl").arg("cofferdam").args(words).env("PATH", path).output().unwrap();
        let output = world.lab.run(&Place::Outside, run).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let ends = ["--from", "pod:shop/web", "--to", "pod:shop/db", "--port"];
    let (allowed, said) = run(&[&["explain"], ends.as_slice(), &["80"]].concat());
    assert!(allowed == Some(0) && said.contains("NetworkPolicy shop/db"), "{said}");
    let (denied, said) = run(&[&["explain"], ends.as_slice(), &["5432"]].concat());
    assert!(denied == Some(1) && said.contains("NetworkPolicy shop/db"), "{said}");
    let (code, said) = run(&["status"]);
    assert!(code == Some(0) && said.contains("PROGRAMMED") && said.contains("db"), "{said}");
    let (code, said) = run(&["flows", "--node", "node-a"]);
    assert!(code == Some(2) && said.contains("no agent runs on node node-a"), "{said}");
}
