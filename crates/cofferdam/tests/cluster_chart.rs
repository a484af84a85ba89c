//! The chart, rendered by a real helm and taken by a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use apiserver::Cluster;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What differs from the defaults in everything that can.
const EVERYTHING: &str = "
image: {repository: registry.example/cofferdam, tag: v1, pullPolicy: Always, pullSecrets: [{name: key}]}
controller: {replicas: 3, ports: {feed: 19443, webhook: 19444, health: 19440}, tolerations: [], nodeSelector: {a: b}}
cni: {enabled: true, binDir: /home/kubernetes/bin, remove: false}
catalog: {providers: [{name: hub, title: ours, hosts: [{host: hub.example, for: storage}]}]}
webhook: {failurePolicy: Fail, timeoutSeconds: 9}
trust: {namespaces: labelled}
delegation: {enabled: true}
agent: {guard: [veth, cali], keepConnections: true, ports: {health: 19441}, dns: {privateZones: [k8s.corp.example]}}
egressGateway:
  enabled: true
  replicas: 3
  hostNetwork: false
  nodeSelector: {cofferdam.dev/egress: \"true\"}
  privateNetworks: [10.20.0.0/16]
  clients:
    enabled: true
    domain: prod.example.org
    secret: clients
    inspectionSecret: clients-inspection
    neverOpen: [\"**.bank.example\"]
    port: 19447
    service: {type: NodePort, annotations: {a: b}, externalTrafficPolicy: Cluster}
ingressGateway:
  enabled: true
  replicas: 3
  listeners: [{port: 443, containerPort: 8443}]
  secretNamespaces: [default]
  separateGateways: [serve/inside, ml/models.of.the.whole.company.and.its.customers]
  service: {type: NodePort, annotations: {a: b}, externalTrafficPolicy: Cluster}
  crs: /rules
  volumes: [{name: rules, image: {reference: registry.example/crs:4}}]
  volumeMounts: [{name: rules, mountPath: /rules, readOnly: true}]
inspection: {namespaces: [default]}
certManager: {enabled: true, issuerRef: {name: company, kind: ClusterIssuer}}
monitoring: {enabled: true, interval: 10s, labels: {release: prometheus}}
dashboards: {enabled: true, labels: {a: b}}
ledger: {enabled: true, age: 7d, sizeMiB: 64, export: [otlp+https://otel.example], exportSecret: siem, exportCa: true}
collector:
  enabled: true
  storage: {size: 1Gi, className: fast}
  age: 7d
  sizeMiB: 64
  ports: {collect: 19448, health: 19449, serve: 18080}
  console: {secret: console, names: [console.example.org]}
  hub: {enabled: true, secret: hub, ports: [6443]}
  export: [clickhouse+https://ch.example:8443/security]
  exportSecret: writer
  exportCa: true
  store: {url: clickhouse+https://ch.example:8443/security, secret: reader, ca: true}
  exportPorts: [8443]
  oidc:
    issuer: https://login.example
    audiences: [cofferdam]
    jwks: https://login.example/keys
    roles: [viewer=all of us, admin=security]
    client: console
    redirect: https://console.example.org/api/v1/login/callback
    scopes: [groups]
    secret: oidc
    clientSecret: true
    ca: true
    ports: [8443]
  nodeSelector: {a: b}
rollouts: {enabled: true, replicas: 3, ports: {health: 19450}, nodeSelector: {a: b}}
fleet:
  enabled: true
  cluster: west
  hubSecret: hub-account
  keys: \"kind: ReleaseKeys\"
  identities: {enabled: true, expireSeconds: 600}
  volumes: [{name: more, emptyDir: {}}]
  volumeMounts: [{name: more, mountPath: /more}]
  sidecars: [{name: beside, image: registry.example/beside:1}]
hub: {clusters: [{name: west, identities: true}, {name: east}]}
prices: {list: \"kind: PriceList\"}
budgetStore: {url: rediss://10.0.0.7, secret: budget-store, ca: true, down: deny}
";
/// Kinds of others that the chart has objects of: the fields that their documentation gives for what the chart says, so that
/// one they do not have is refused (<https://prometheus-operator.dev/docs/api-reference/api/>,
/// <https://cert-manager.io/docs/reference/api-docs/>).
const OTHERS: [[&str; 4]; 3] = [
    [
        "monitoring.coreos.com",
        "PodMonitor",
        "podmonitors",
        "
selector:
  type: object
  properties:
    matchLabels: {type: object, additionalProperties: {type: string}}
    matchExpressions:
      type: array
      items:
        type: object
        required: [key, operator]
        properties: {key: {type: string}, operator: {type: string}, values: {type: array, items: {type: string}}}
podMetricsEndpoints:
  type: array
  items: {type: object, properties: {port: {type: string}, path: {type: string}, interval: {type: string}}}
",
    ],
    [
        "monitoring.coreos.com",
        "ServiceMonitor",
        "servicemonitors",
        "
selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
endpoints:
  type: array
  items: {type: object, properties: {port: {type: string}, path: {type: string}, interval: {type: string}}}
",
    ],
    [
        "cert-manager.io",
        "Certificate",
        "certificates",
        "
secretName: {type: string}
commonName: {type: string}
isCA: {type: boolean}
duration: {type: string}
usages: {type: array, items: {type: string, enum: [cert sign, digital signature, crl sign]}}
privateKey:
  type: object
  properties:
    algorithm: {type: string, enum: [RSA, ECDSA, Ed25519]}
    size: {type: integer}
    encoding: {type: string, enum: [PKCS1, PKCS8]}
    rotationPolicy: {type: string, enum: [Never, Always]}
issuerRef:
  type: object
  required: [name]
  properties: {name: {type: string}, kind: {type: string}, group: {type: string}}
",
    ],
];

/// The Gateway API's class, with the fields that the chart's has.
const CLASS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gatewayclasses.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: 'unapproved, for tests'}
spec:
  group: gateway.networking.k8s.io
  scope: Cluster
  names: {kind: GatewayClass, plural: gatewayclasses, singular: gatewayclass}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {controllerName: {type: string}}}}
";

/// ClusterNetworkPolicy, with what is asked of it here.
const CLUSTER_POLICIES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusternetworkpolicies.policy.networking.k8s.io
  annotations: {api-approved.kubernetes.io: 'unapproved, for tests'}
spec:
  group: policy.networking.k8s.io
  scope: Cluster
  names: {kind: ClusterNetworkPolicy, listKind: ClusterNetworkPolicyList, plural: clusternetworkpolicies, singular: clusternetworkpolicy}
  versions:
  - name: v1alpha2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn definition_of([group, kind, plural, fields]: [&str; 4]) -> String {
    let fields = fields.replace('\n', "\n                ");
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, listKind: {kind}List, plural: {plural}, singular: {singular}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:{fields}
",
        singular = kind.to_lowercase()
    )
}

pub(crate) fn helm() -> Option<PathBuf> {
    let output = Command::new(Path::new(ROOT).join("tests/helm/build")).arg("--path").output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: helm is not built (tests/helm/build)");
    None
}

pub(crate) fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(Path::new(ROOT).join("deploy")).output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> Output {
    cluster.kubectl(arguments.split(' '), input).unwrap()
}

fn must(cluster: &Cluster, arguments: &str, input: &str) -> String {
    let output = kubectl(cluster, arguments, input);
    assert!(output.status.success(), "{arguments}: {}", text(&output));
    text(&output)
}

#[test]
fn chart_is_what_is_checked_in_and_refuses_values_that_are_none() {
    let Some(helm) = helm() else { return };
    let fresh = run(&Path::new(ROOT).join("deploy/render"), &[]);
    assert!(fresh.status.success(), "{}", text(&fresh));
    let held = std::fs::read_to_string(Path::new(ROOT).join("deploy/cofferdam.yaml")).unwrap();
    assert_eq!(String::from_utf8_lossy(&fresh.stdout), held, "deploy/render > deploy/cofferdam.yaml");

    let lint = run(&helm, &["lint", "--strict", "chart"]);
    assert!(lint.status.success(), "{}", text(&lint));
    for wrong in [
        "trust.namespaces=some",
        "agent.gaurd={veth}",
        "controller.replicas=none",
        "agent.guard={a b}",
        "controller.ports.feed=70000",
        "ingressGateway.listeners[0].port=443",
        "ingressGateway.service.type=ExternalName",
        "ingressGateway.separateGateways={inside}",
        "ingressGateway.separateGateways={serve/inside,serve/inside}",
        "collector.storage.size=much",
        "collector.ports.listen=1",
        "collector.console.certificate=x",
        "collector.console.names={-}",
        "collector.hub.kubeconfig=hub",
        "collector.hub.ports={0}",
        "collector.export={ch.example}",
        "collector.exportPorts={0}",
        "collector.store.url=https://ch.example:8443/security",
        "collector.store.url=clickhouse+https://ch.example:8443",
        "collector.store.headers=x",
        "collector.enabled=true,collector.store.url=clickhouse+https://ch/a,ledger.export={clickhouse+https://ch/a}",
        "collector.oidc.issuer=http://login.example",
        "collector.oidc.issuer=https://login.example",
        "collector.oidc.client=console",
        "collector.oidc.roles={root=a}",
        "collector.oidc.ca=true",
        "collector.oidc.redirect=https://console.example.org/",
        "rollouts.replicas=0",
        "fleet.enabled=true",
        "fleet.enabled=true,fleet.cluster=a,fleet.hubSecret=b",
        "fleet.enabled=true,fleet.cluster=a,fleet.keys=k",
        "fleet.enabled=true,fleet.cluster=a,fleet.keys=k,fleet.hubSecret=b,fleet.folder=/c",
        "fleet.enabled=true,fleet.cluster=a,fleet.keys=k,fleet.folder=/c,fleet.identities.enabled=true",
        "fleet.enabled=true,fleet.cluster=a,fleet.keys=k,fleet.folder=/c,fleet.registry.repository=oci://r/n:t",
        "fleet.registry.repository=r/n:t",
        "fleet.name=A",
        "fleet.namedOnly=true",
        "fleet.identities.expireSeconds=1",
        "hub.clusters[0].name=kube-system",
        "hub.clusters[0].name=A",
        "cni.enabled=true,cni.remove=true",
        "egressGateway.leaveSeconds=0",
        // Without their Secret there is no such file, and agents would not start.
        "budgetStore.ca=true",
        "ledger.exportCa=true",
        "collector.exportCa=true",
        "collector.store.ca=true",
    ] {
        let output = run(&helm, &["template", "chart", "--set", wrong]);
        assert!(!output.status.success(), "{wrong} is taken");
    }
}

/// Documents of what the chart renders with these values, each as its lines.
fn rendered(helm: &Path, values: &str) -> Vec<String> {
    let output = run(helm, &["template", "cofferdam", "chart", "--namespace", "here", "--set", values]);
    assert!(output.status.success(), "{}", text(&output));
    text(&output).split("\n---\n").map(ToOwned::to_owned).collect()
}

#[test]
fn chart_gives_a_separate_gateway_a_process_and_a_service_and_the_others_leave_it_alone() {
    let Some(helm) = helm() else { return };
    let documents = rendered(
        &helm,
        "ingressGateway.enabled=true,ingressGateway.separateGateways={serve/inside,ml/inside},monitoring.enabled=true",
    );
    let names = |kind: &str| -> Vec<&str> {
        let is_one =
            |it: &&String| it.contains(&format!("\nkind: {kind}\n")) && it.contains("ingress-gateway");
        let name = |it: &'_ String| it.lines().position(|line| line.starts_with("  name: "));
        let found = documents.iter().filter(is_one);
        found.map(|it| it.lines().nth(name(it).unwrap()).unwrap().trim_start_matches("  name: ")).collect()
    };
    let deployments = names("Deployment");
    assert_eq!(deployments.len(), 3, "{deployments:?}");
    assert_eq!(names("Service"), deployments);
    assert_eq!(names("PodDisruptionBudget"), deployments);
    let [all, inside, other] = deployments[..] else { panic!("{deployments:?}") };
    assert_eq!(all, "cofferdam-ingress-gateway");
    assert!(inside != other && inside.starts_with("cofferdam-ingress-gateway-serve-inside-"), "{inside}");
    let lines = |kind: &str, name: &str| -> Vec<&str> {
        let is_it = |it: &&String| {
            it.contains(&format!("\nkind: {kind}\n")) && it.contains(&format!("\n  name: {name}\n"))
        };
        documents.iter().find(is_it).unwrap().lines().map(str::trim).collect()
    };
    for (name, gateways) in [
        (all, &["- --except=serve/inside", "- --except=ml/inside"][..]),
        (inside, &["- --gateway=serve/inside"]),
        (other, &["- --gateway=ml/inside"]),
    ] {
        let deployment = lines("Deployment", name);
        let said =
            deployment.iter().filter(|it| it.starts_with("- --except") || it.starts_with("- --gateway"));
        assert_eq!(said.copied().collect::<Vec<_>>(), gateways);
        assert!(deployment.contains(&&*format!("- --service=here/{name}")), "{deployment:#?}");
        // What a Service leads to, and what a Deployment counts as its own, are nobody else's pods.
        let component = format!("app.kubernetes.io/component: {}", name.trim_start_matches("cofferdam-"));
        for (kind, times) in [("Deployment", 4), ("Service", 2), ("PodDisruptionBudget", 2)] {
            let lines = lines(kind, name);
            assert_eq!(lines.iter().filter(|it| **it == component).count(), times, "{lines:#?}");
        }
        assert!(lines("PodMonitor", all).contains(&&*format!("- {}", name.trim_start_matches("cofferdam-"))));
    }
}

/// Everything that runs.
const ALL: &str = "ingressGateway.enabled=true,ingressGateway.separateGateways={serve/inside},egressGateway.enabled=true,\
                   collector.enabled=true,rollouts.enabled=true";

#[test]
fn chart_lets_replicas_that_do_no_work_be_evicted_and_waits_for_those_that_do() {
    let Some(helm) = helm() else { return };
    let documents =
        rendered(&helm, &format!("{ALL},egressGateway.leaveSeconds=7,egressGateway.drainSeconds=100"));
    let of = |kind: &str| -> Vec<&String> {
        documents.iter().filter(|it| it.contains(&format!("\nkind: {kind}\n"))).collect()
    };
    let budgets = of("PodDisruptionBudget");
    assert_eq!(budgets.len(), 5, "{budgets:#?}");
    for budget in budgets {
        assert!(budget.contains("\n  unhealthyPodEvictionPolicy: AlwaysAllow"), "{budget}");
    }
    let deployments = of("Deployment");
    let leaves = |it: &&&String| it.contains("-gateway\n");
    for gateway in deployments.iter().filter(leaves) {
        assert!(gateway.contains("lifecycle: {preStop: {sleep: {seconds: "), "{gateway}");
    }
    let egress = deployments.iter().find(|it| it.contains("name: cofferdam-egress-gateway\n")).unwrap();
    for line in ["terminationGracePeriodSeconds: 137", "seconds: 7}", "- --drain=100"] {
        assert!(egress.contains(line), "{line}: {egress}");
    }
    // New replicas are spread among themselves, however many of the ones before are still there.
    for ingress in deployments.iter().filter(|it| it.contains("maxSurge: 1")) {
        assert!(ingress.contains("matchLabelKeys: [pod-template-hash]"), "{ingress}");
    }
}

#[test]
fn chart_may_use_its_priorities_where_a_namespace_needs_a_quota_for_them() {
    let Some(helm) = helm() else { return };
    let documents = rendered(&helm, ALL);
    let used: std::collections::BTreeSet<&str> = documents
        .iter()
        .flat_map(|it| it.lines())
        .filter_map(|line| line.trim().strip_prefix("priorityClassName: "))
        .collect();
    let quota = documents.iter().find(|it| it.contains("\nkind: ResourceQuota\n")).unwrap();
    assert!(!used.is_empty() && used.iter().all(|class| quota.contains(class)), "{used:?}: {quota}");
}

#[test]
fn chart_takes_the_plugin_off_the_nodes_again() {
    let Some(helm) = helm() else { return };
    let agent = |values: &str| {
        let documents = rendered(&helm, values);
        documents.into_iter().find(|it| it.contains("\nkind: DaemonSet\n")).unwrap()
    };
    let command = |word: &str| format!("command: [/usr/bin/cofferdam-cni, {word}, /host/bin, /host/conf]");
    let (there, gone, never) = (agent("cni.enabled=true"), agent("cni.remove=true"), agent(""));
    assert!(there.contains(&command("install")) && there.contains("- --cni\n"), "{there}");
    assert!(gone.contains(&command("uninstall")) && !gone.contains("- --cni\n"), "{gone}");
    assert!(gone.contains("hostPath: {path: /opt/cni/bin"), "{gone}");
    assert!(!never.contains("cni"), "{never}");
}

#[test]
fn chart_has_the_collector_ask_a_store_that_it_exports_to_and_go_nowhere_else() {
    let Some(helm) = helm() else { return };
    let url = "clickhouse+https://ch.example:8443/security";
    let of = |values: &str| -> [Vec<String>; 2] {
        let documents = rendered(&helm, &format!("collector.enabled=true,{values}"));
        ["StatefulSet", "NetworkPolicy"].map(|kind| {
            let is_it = |it: &&String| {
                it.contains(&format!("\nkind: {kind}\n")) && it.contains("\n  name: cofferdam-collector\n")
            };
            let found = documents.iter().find(is_it).unwrap();
            found.lines().map(|line| line.trim().to_owned()).collect()
        })
    };
    let has = |lines: &[String], line: &str| lines.iter().any(|it| it == line);
    let [set, policy] = of(&format!(
        "collector.export={{{url}}},collector.exportSecret=writer,collector.exportPorts={{8443}},\
         collector.store.url={url},collector.store.secret=reader,collector.store.ca=true"
    ));
    for line in [
        &*format!("- \"--export={url}\""),
        "- --export-headers=/run/secrets/cofferdam/export/headers",
        &*format!("- \"--serve-store={url}\""),
        "- --serve-store-headers=/run/secrets/cofferdam/store/headers",
        "- --serve-store-ca=/run/secrets/cofferdam/store/ca.crt",
        "- {name: store, mountPath: /run/secrets/cofferdam/store, readOnly: true}",
        "secret: {secretName: reader}",
        "secret: {secretName: writer}",
    ] {
        assert!(has(&set, line), "{line}: {set:#?}");
    }
    assert!(!set.iter().any(|it| it.contains("--export-ca")), "{set:#?}");
    let dns = "- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]";
    assert!(has(&policy, "- {protocol: TCP, port: 8443}") && has(&policy, dns), "{policy:#?}");
    let [set, policy] = of("collector.store.secret=reader");
    assert!(!set.iter().any(|it| it.contains("store") || it.contains("export")), "{set:#?}");
    assert!(!has(&policy, dns) && !policy.iter().any(|it| it.contains("port: 8443")), "{policy:#?}");
}

#[test]
fn chart_is_taken_by_an_api_server_that_checks_every_field() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    must(&cluster, "create namespace cofferdam-system", "");
    // The chart makes it, and nothing is made here.
    must(&cluster, "create namespace west", "");
    for other in OTHERS {
        must(&cluster, "apply -f -", &definition_of(other));
    }
    must(&cluster, "apply -f -", CLASS);
    must(&cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    std::fs::write(&values, EVERYTHING).unwrap();
    let values = values.to_str().unwrap();
    for more in [[].as_slice(), &["--values", values]] {
        let arguments =
            ["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--include-crds"];
        let rendered = run(&helm, &[&arguments, more].concat());
        assert!(rendered.status.success(), "{}", text(&rendered));
        let rendered = String::from_utf8(rendered.stdout).unwrap();
        let taken = must(&cluster, "apply --dry-run=server --validate=strict -f -", &rendered);
        let objects = rendered.matches("\nkind: ").count() + rendered.matches("\n  \"kind\": ").count();
        assert_eq!(taken.lines().filter(|line| line.contains("server dry run")).count(), objects, "{taken}");
    }
}

/// The commands of `docs/how-to/install-on-a-cluster.md`, as they stand there.
#[test]
fn chart_installs_upgrades_and_goes_as_the_page_says() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    for other in OTHERS {
        must(&cluster, "apply -f -", &definition_of(other));
    }
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/how-to/install-on-a-cluster.md")).unwrap();
    let page = page.replace("\\\n", " ");
    let mut ran = Vec::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
        let output = match words.as_slice() {
            ["helm", arguments @ ..] => Command::new(&helm)
                .args(arguments)
                .env("KUBECONFIG", cluster.kubeconfig())
                .current_dir(ROOT)
                .output()
                .unwrap(),
            ["kubectl", what @ ("create" | "label"), arguments @ ..] => {
                kubectl(&cluster, &[&[*what], arguments].concat().join(" "), "")
            }
            // These need an image, a kubelet or the folder of an administrator.
            _ => continue,
        };
        assert!(output.status.success(), "{line}: {}", text(&output));
        ran.push(words[..2].join(" "));
        if words[1] == "install" {
            let there = must(&cluster, "get deployment,daemonset,service,pdb,lease -n cofferdam-system", "");
            assert!(there.contains("cofferdam-controller") && there.contains("cofferdam-agent"), "{there}");
        }
    }
    assert_eq!(ran, ["kubectl create", "kubectl label", "helm install", "helm upgrade", "helm uninstall"]);
    let left = must(&cluster, "get deployment,daemonset,service,pdb,certificate -n cofferdam-system", "");
    assert!(left.contains("No resources found"), "{left}");
}

#[test]
fn chart_gives_each_role_what_it_needs_and_no_more() {
    let Some(cluster) = Cluster::start_or_skip() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["install", "manifests", "--image", "registry.example/cofferdam:1", "--guard", "veth"])
        .output()
        .unwrap();
    let manifests = String::from_utf8(output.stdout).unwrap();
    must(&cluster, "apply --server-side -f -", &manifests);
    let may = |account: &str, what: &str| {
        let question = format!("auth can-i {what} --as system:serviceaccount:cofferdam-system:{account}");
        text(&kubectl(&cluster, &question, "")).lines().any(|line| line == "yes")
    };
    let own = "-n cofferdam-system";
    for what in [
        "list pods",
        "watch nodes",
        "watch networkpolicies.networking.k8s.io",
        "watch egresspolicies",
        "patch clusteregresspolicies --subresource=status",
        "watch containments",
        "patch containments --subresource=status",
        "patch detectionpolicies --subresource=status",
        "create tokenreviews",
    ] {
        assert!(may("cofferdam-controller", &format!("{what} -A")), "{what}");
    }
    for what in ["get", "create", "patch"] {
        assert!(
            may("cofferdam-controller", &format!("{what} configmaps/cofferdam-trust -n default")),
            "{what}"
        );
    }
    for what in [
        "get secrets/cofferdam-authority",
        "get secrets/cofferdam-inspection",
        "update leases/cofferdam-controller",
        "create secrets",
        "watch identityslices",
        "patch identityslices --subresource=status",
    ] {
        assert!(may("cofferdam-controller", &format!("{what} {own}")), "{what}");
    }
    for what in [
        "get secrets",
        "list secrets",
        "get secrets/other",
        "delete pods",
        "patch networkpolicies",
        "patch egresspolicies",
        "create containments",
        "create identityslices",
        "get nodes --subresource=proxy",
        "list configmaps",
        "get configmaps/other",
        "patch configmaps/other",
        "patch secrets/cofferdam-inspection",
    ] {
        assert!(!may("cofferdam-controller", &format!("{what} {own}")), "{what}");
        assert!(!may("cofferdam-controller", &format!("{what} -n default")), "{what}");
    }
    assert!(!may("cofferdam-controller", "get secrets/cofferdam-authority -n default"));
    assert!(!may("cofferdam-controller", "list identityslices -n default"));
    assert!(!may("cofferdam-controller", "get secrets/cofferdam-inspection -n default"));
    for what in [
        "list pods",
        "get nodes",
        "get secrets",
        "create tokenreviews",
        "get configmaps",
        "list policystatuses",
    ] {
        assert!(!may("cofferdam-agent", &format!("{what} {own}")), "{what}");
    }
}

#[test]
fn chart_lets_the_controller_read_the_authorities_of_the_namespaces_that_are_named_and_nothing_else_there() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    for namespace in ["cofferdam-system", "team", "other"] {
        must(&cluster, &format!("create namespace {namespace}"), "");
    }
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system"];
    let rendered = run(&helm, &[&arguments[..], &["--set", "inspection.namespaces={team}"]].concat());
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    let may = |what: &str| {
        let account = "--as system:serviceaccount:cofferdam-system:cofferdam-controller";
        let answer = kubectl(&cluster, &format!("auth can-i {what} {account}"), "");
        text(&answer).lines().any(|line| line == "yes")
    };
    assert!(may("get secrets/cofferdam-inspection -n team"));
    for what in ["list secrets", "get secrets/other", "create secrets", "patch secrets/cofferdam-inspection"]
    {
        assert!(!may(&format!("{what} -n team")), "{what}");
    }
    assert!(!may("get secrets/cofferdam-inspection -n other"));
}

/// Roles as `docs/how-to/give-tenants-their-rights.md` has them.
const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: policies}
rules:
- {apiGroups: [policy.networking.k8s.io], resources: [clusternetworkpolicies], verbs: [get, create, update, patch, delete]}
- {apiGroups: [cofferdam.dev], resources: [clusteregresspolicies, egresspolicies], verbs: [get, create, update, patch, delete]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, create, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: baseline}
rules: [{apiGroups: [cofferdam.dev], resources: [tiers], resourceNames: [baseline], verbs: [use]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: overrides}
rules: [{apiGroups: [cofferdam.dev], resources: [fleets], verbs: [override]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: one-key, namespace: team}
rules: [{apiGroups: [''], resources: [secrets], resourceNames: [models], verbs: [use]}]
";

#[test]
fn chart_has_the_api_server_ask_who_may_write_a_tier_name_a_key_or_change_a_fleets_policy() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    for namespace in ["cofferdam-system", "team"] {
        must(&cluster, &format!("create namespace {namespace}"), "");
    }
    let set =
        "delegation.enabled=true,fleet.enabled=true,fleet.cluster=west,fleet.hubSecret=hub,fleet.keys=k";
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--include-crds"];
    let rendered = run(&helm, &[&arguments[..], &["--set", set]].concat());
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply --server-side -f -", &String::from_utf8(rendered.stdout).unwrap());
    must(&cluster, "apply -f -", CLUSTER_POLICIES);
    must(&cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    must(&cluster, "apply -f -", RIGHTS);
    for (role, user) in [("policies", "ann"), ("policies", "bob"), ("baseline", "ann"), ("overrides", "bob")]
    {
        must(
            &cluster,
            &format!("create clusterrolebinding {role}-{user} --clusterrole={role} --user={user}"),
            "",
        );
    }
    must(&cluster, "create rolebinding one-key -n team --role=one-key --user=bob", "");
    let refused = |user: &str, what: &str, object: &str| {
        let output = kubectl(&cluster, &format!("{what} --as {user}"), object);
        if output.status.success() { String::new() } else { text(&output) }
    };
    let tiers = |kind: &str, tier: &str| {
        let (group, spec) = match kind {
            "ClusterNetworkPolicy" => ("policy.networking.k8s.io/v1alpha2", "subject: {namespaces: {}}"),
            _ => ("cofferdam.dev/v1alpha1", "subject: {namespaces: {}}, egress: []"),
        };
        format!(
            "{{apiVersion: {group}, kind: {kind}, metadata: {{name: p}}, spec: {{tier: {tier}, priority: 1, {spec}}}}}"
        )
    };
    // What is asked is known to the API server a moment after it was written.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while refused("ann", "create --dry-run=server -f -", &tiers("ClusterNetworkPolicy", "Admin")).is_empty() {
        assert!(std::time::Instant::now() < end, "nobody asks who may write a tier");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for kind in ["ClusterNetworkPolicy", "ClusterEgressPolicy"] {
        let found = refused("ann", "create -f -", &tiers(kind, "Admin"));
        assert!(
            found.contains("ann may not write policy of tier admin: a role must allow the verb use on"),
            "{found}"
        );
        assert_eq!(refused("ann", "create -f -", &tiers(kind, "Baseline")), "");
        let found = refused("ann", "replace -f -", &tiers(kind, "Admin"));
        assert!(found.contains("of tier admin and baseline"), "{found}");
        must(&cluster, "replace -f -", &tiers(kind, "Admin"));
        let found = refused("ann", "replace -f -", &tiers(kind, "Baseline"));
        assert!(found.contains("of tier baseline and admin"), "what it was counts, too: {found}");
        let found = refused("ann", &format!("delete {kind} p"), "");
        assert!(found.contains("of tier admin: "), "{found}");
        must(&cluster, "replace -f -", &tiers(kind, "Baseline"));
        assert_eq!(refused("ann", &format!("delete {kind} p"), ""), "");
        let found = refused("bob", "create -f -", &tiers(kind, "Baseline"));
        assert!(found.contains("bob may not write policy of tier baseline"), "{found}");
    }
    let own = |secrets: &[&str]| {
        let one = |name: &&str| {
            format!(
                "{{action: Allow, to: [{{provider: openai}}], credentials: [{{inject: {{secretRef: {{name: {name}, key: k}}}}}}]}}"
            )
        };
        let rules: Vec<String> = secrets.iter().map(one).collect();
        let spec = format!("subject: {{podSelector: {{}}}}, egress: [{}]", rules.join(", "));
        format!(
            "{{apiVersion: cofferdam.dev/v1alpha1, kind: EgressPolicy, metadata: {{name: p, namespace: team}}, spec: {{{spec}}}}}"
        )
    };
    let found = refused("ann", "apply -f -", &own(&["models"]));
    assert!(found.contains("ann may not have requests leave with the key in Secret team/models"), "{found}");
    assert_eq!(refused("ann", "apply -f -", &own(&[])), "");
    assert_eq!(refused("bob", "apply -f -", &own(&["models", "models"])), "");
    for others in [&["other"][..], &["models", "other"]] {
        assert!(
            refused("bob", "apply -f -", &own(others)).contains("may not have requests leave"),
            "{others:?}"
        );
    }
    must(&cluster, "apply -f -", &own(&["models", "other"]));
    let of_fleet = |label: &str, port: u16| {
        let metadata = format!("{{name: f, namespace: team, labels: {{{label}}}}}");
        let spec = format!("{{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}");
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {metadata}, spec: {spec}}}"
        )
    };
    let label = "cofferdam.dev/of-fleet: 'true'";
    must(&cluster, "create -f -", &of_fleet(label, 1));
    for (what, object) in [
        ("replace -f -", of_fleet(label, 2)),
        ("replace -f -", of_fleet("", 1)),
        ("delete networkpolicy f -n team", String::new()),
    ] {
        let found = refused("ann", what, &object);
        assert!(
            found.contains("this policy is the fleet's: change it in the next release. ann may"),
            "{what}: {found}"
        );
    }
    assert_eq!(refused("bob", "replace -f -", &of_fleet(label, 2)), "");
    // Whoever brings releases may, and so may what cleans up behind a namespace.
    let controller = "system:serviceaccount:cofferdam-system:cofferdam-controller";
    assert_eq!(refused(controller, "replace -f -", &of_fleet(label, 3)), "");
    assert_eq!(refused(controller, "replace -f -", &own(&["models", "other", "third"])), "");
    for kind in ["ClusterNetworkPolicy", "ClusterEgressPolicy"] {
        assert_eq!(refused(controller, "create -f -", &tiers(kind, "Admin")), "");
    }
    must(
        &cluster,
        "delete networkpolicy f -n team --as system:serviceaccount:kube-system:namespace-controller",
        "",
    );
}

const FLEETS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: hub}
rules: [{apiGroups: [cofferdam.dev], resources: [rollouts, managedclusters], verbs: [get, create, update, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: shops}
rules: [{apiGroups: [cofferdam.dev], resources: [fleets], resourceNames: [shops], verbs: [roll]}]
";

#[test]
fn chart_has_the_hub_ask_who_may_roll_out_to_which_fleet() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    must(&cluster, "create namespace cofferdam-system", "");
    let kinds = Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(["install", "hub"]).output().unwrap();
    must(&cluster, "apply --server-side -f -", &String::from_utf8(kinds.stdout).unwrap());
    must(&cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    let set = "delegation.enabled=true,rollouts.enabled=true";
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", set];
    let rendered = run(&helm, &arguments);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    must(&cluster, "apply -f -", FLEETS);
    for role in ["hub", "shops"] {
        must(&cluster, &format!("create clusterrolebinding {role} --clusterrole={role} --user=ann"), "");
    }
    let refused = |user: &str, what: &str, object: &str| {
        let output = kubectl(&cluster, &format!("{what} --as {user}"), object);
        if output.status.success() { String::new() } else { text(&output) }
    };
    let rollout = |name: &str, fleet: &str| {
        let digest = format!("sha256:{}", "a".repeat(64));
        format!(
            "{{apiVersion: cofferdam.dev/v1alpha1, kind: Rollout, metadata: {{name: {name}}}, spec: {{{fleet} \
             release: {{number: 1, digest: '{digest}'}}, stages: [{{name: dev, clusters: {{}}, gate: {{seconds: 1, flows: 1}}}}]}}}}"
        )
    };
    let member = |label: &str| {
        format!(
            "{{apiVersion: cofferdam.dev/v1alpha1, kind: ManagedCluster, metadata: {{name: west, labels: {{{label}}}}}}}"
        )
    };
    let [shops, banks] = ["fleet: shops,", "fleet: banks,"];
    // What is asked is known to the API server a moment after it was written.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while refused("ann", "create --dry-run=server -f -", &rollout("r", banks)).is_empty() {
        assert!(std::time::Instant::now() < end, "nobody asks who may roll out");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let found = refused("ann", "create -f -", &rollout("r", banks));
    assert!(
        found.contains("ann may not roll out to fleet banks: a role must allow the verb roll"),
        "{found}"
    );
    let found = refused("ann", "create -f -", &rollout("r", ""));
    assert!(found.contains("ann may not roll out to clusters of every fleet"), "{found}");
    assert_eq!(refused("ann", "create -f -", &rollout("r", shops)), "");
    let moved = kubectl(&cluster, "replace -f -", &rollout("r", banks));
    assert!(text(&moved).contains("fleet never changes; make another Rollout"), "{}", text(&moved));
    must(&cluster, "create -f -", &rollout("b", banks));
    let found = refused("ann", "delete rollouts.cofferdam.dev b", "");
    assert!(found.contains("ann may not roll out to fleet banks"), "{found}");

    // A cluster is in the fleet that its label says; so that label is nobody else's to write.
    let [of_shops, of_banks] = ["cofferdam.dev/fleet: shops", "cofferdam.dev/fleet: banks"];
    assert_eq!(refused("ann", "create -f -", &member(of_shops)), "");
    let found = refused("ann", "replace -f -", &member(of_banks));
    assert!(found.contains("ann may not roll out to fleet banks and shops"), "{found}");
    must(&cluster, "replace -f -", &member(of_banks));
    for (what, object) in [
        ("replace -f -", member(of_shops)),
        ("replace -f -", member("")),
        ("delete managedcluster west", String::new()),
    ] {
        let found = refused("ann", what, &object);
        assert!(found.contains("ann may not roll out to "), "{what}: {found}");
    }
    // What carries rollouts out writes what each cluster is to have; each cluster writes how it stands.
    let rollouts = "system:serviceaccount:cofferdam-system:cofferdam-rollouts";
    let wanted = format!(
        "{{\"spec\":{{\"wanted\":{{\"enforce\":{{\"number\":0,\"digest\":\"sha256:{}\"}}}}}}}}",
        "b".repeat(64)
    );
    let patch = format!("patch managedcluster west --type=merge -p {wanted}");
    assert_eq!(refused(rollouts, &patch, ""), "");
    let status = "patch managedcluster west --subresource=status --type=merge -p {\"status\":{\"beat\":1}}";
    must(
        &cluster,
        "create clusterrole beat --verb=get,patch --resource=managedclusters.cofferdam.dev/status",
        "",
    );
    must(&cluster, "create clusterrolebinding beat --clusterrole=beat --user=west", "");
    assert_eq!(refused("west", status, ""), "");
}

#[test]
fn chart_tells_agents_and_gateways_of_a_collector_that_has_no_rights() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    must(&cluster, "create namespace cofferdam-system", "");
    must(&cluster, "apply -f -", CLASS);
    // Of kinds that it does not know, kubectl asks in a way that no rule answers.
    for what in ["crds", "hub"] {
        let kinds = Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(["install", what]).output().unwrap();
        must(&cluster, "apply --server-side -f -", &String::from_utf8(kinds.stdout).unwrap());
    }
    must(&cluster, "wait --for=condition=Established crd --all --timeout=60s", "");
    let values = "collector.enabled=true,egressGateway.enabled=true,ingressGateway.enabled=true";
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", values];
    let rendered = run(&helm, &arguments);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    for sender in [
        "daemonset/cofferdam-agent",
        "deployment/cofferdam-egress-gateway",
        "deployment/cofferdam-ingress-gateway",
    ] {
        let pod = must(&cluster, &format!("get {sender} -n cofferdam-system -o yaml"), "");
        for argument in ["--ledger=", "--collector=https://$(COFFERDAM_COLLECTOR_SERVICE_HOST):", "--token="]
        {
            assert!(pod.contains(argument), "{sender} has no {argument}: {pod}");
        }
        assert!(pod.contains("mountPath: /var/lib/cofferdam"), "{sender}: {pod}");
    }
    let of = |what: &str| must(&cluster, &format!("get {what} -n cofferdam-system -o yaml"), "");
    assert!(of("statefulset/cofferdam-collector").contains("volumeClaimTemplates"));
    assert!(of("service/cofferdam-collector").contains("port: 9448"));
    assert!(of("networkpolicy/cofferdam-collector").contains("port: collect"));
    let who = "--as system:serviceaccount:cofferdam-system:cofferdam-collector -n cofferdam-system";
    let may = |what: &str, answer: &str| {
        let said = text(&kubectl(&cluster, &format!("auth can-i {what} {who}"), ""));
        assert!(said.lines().any(|line| line == answer), "{what}: {said}");
    };
    let nothing = ["list pods", "get secrets", "get configmaps", "create tokenreviews", "get nodes"];
    let fleet = ["list managedclusters.cofferdam.dev", "list rollouts.cofferdam.dev"];
    nothing.iter().chain(&fleet).for_each(|what| may(what, "no"));

    // In a hub's cluster it may see the fleet, and neither change it nor see anything else.
    let hub = format!("{values},collector.hub.enabled=true");
    let rendered =
        run(&helm, &["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", &hub]);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    assert!(of("statefulset/cofferdam-collector").contains("--serve-hub=in-cluster"));
    fleet.iter().for_each(|what| may(what, "yes"));
    let more = [
        "patch managedclusters.cofferdam.dev",
        "get policyreleases.cofferdam.dev",
        "update rollouts.cofferdam.dev",
    ];
    nothing.iter().chain(&more).for_each(|what| may(what, "no"));

    let never = [
        "get pods",
        "patch pods",
        "get secrets",
        "get configmaps",
        "get nodes",
        "patch networkpolicies.networking.k8s.io",
        "patch detectionpolicies.cofferdam.dev",
    ];
    let asked = [
        "create tokenreviews.authentication.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
        "patch containments.cofferdam.dev",
        "delete containments.cofferdam.dev",
        "list pods",
        "watch detectionpolicies.cofferdam.dev",
        "list networkpolicies.networking.k8s.io",
    ];
    never.iter().chain(&asked).for_each(|what| may(what, "no"));

    // It is given what it needs to contain workloads and to read policy, and nothing else.
    let values = "collector.enabled=true,collector.kubernetes=true";
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", values];
    let rendered = run(&helm, &arguments);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    asked.iter().for_each(|what| may(what, "yes"));
    never.iter().for_each(|what| may(what, "no"));
    let pod = of("statefulset/cofferdam-collector");
    assert!(
        pod.contains("- --serve-kubernetes") && pod.contains("automountServiceAccountToken: true"),
        "{pod}"
    );
    assert!(pod.contains("- --serve=127.0.0.1:8080"), "{pod}");
    assert!(!of("service/cofferdam-collector").contains("name: console"));

    // With a certificate the console is at the Service.
    let values =
        format!("{values},collector.console.secret=console,collector.console.names={{console.example.org}}");
    let rendered =
        run(&helm, &["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", &values]);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    let pod = of("statefulset/cofferdam-collector");
    for part in ["- --serve=0.0.0.0:8080", "- --serve-name=console.example.org", "secretName: console"] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    assert!(of("service/cofferdam-collector").contains("port: 443"));
    assert!(of("networkpolicy/cofferdam-collector").contains("port: console"));

    // People log in by way of an identity provider, which it may reach then.
    assert!(!pod.contains("--serve-oidc"), "{pod}");
    let values = format!(
        "{values},collector.oidc.issuer=https://login.example,collector.oidc.jwks=https://login.example/keys,\
         collector.oidc.audiences={{cofferdam}},collector.oidc.roles={{viewer=staff}},collector.oidc.client=console,\
         collector.oidc.redirect=https://console.example.org/api/v1/login/callback,collector.oidc.scopes={{groups}},\
         collector.oidc.secret=oidc,collector.oidc.clientSecret=true,collector.oidc.ports={{8443}}"
    );
    let rendered =
        run(&helm, &["template", "cofferdam", "chart", "--namespace", "cofferdam-system", "--set", &values]);
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    let pod = of("statefulset/cofferdam-collector");
    for part in [
        "- --serve-oidc=https://login.example",
        "- --serve-oidc-audience=cofferdam",
        "- --serve-oidc-role=viewer=staff",
        "- --serve-oidc-client=console",
        "- --serve-oidc-redirect=https://console.example.org/api/v1/login/callback",
        "- --serve-oidc-scope=groups",
        "- --serve-oidc-client-secret=/run/secrets/cofferdam/oidc/client-secret",
        "secretName: oidc",
    ] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    assert!(of("networkpolicy/cofferdam-collector").contains("port: 8443"));
}

/// Helm prints notes only when it installs: they are put into an object here.
#[test]
fn chart_notes_say_where_the_console_is() {
    let Some(helm) = helm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").arg("-r").arg(Path::new(ROOT).join("deploy/chart")).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let chart = folder.path().join("chart");
    std::fs::copy(chart.join("templates/NOTES.txt"), chart.join("notes")).unwrap();
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  notes: |\n\
                  {{ tpl (.Files.Get \"notes\") . | indent 4 }}\n";
    std::fs::write(chart.join("templates/notes.yaml"), object).unwrap();
    let notes = |values: &str| {
        let chart = chart.to_str().unwrap();
        let arguments =
            ["template", "c", chart, "--namespace", "here", "--show-only", "templates/notes.yaml"];
        let output = run(&helm, &[&arguments[..], &["--set", values]].concat());
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let none = notes("collector.enabled=false");
    assert!(none.contains("There is no console") && none.contains("collector.enabled"), "{none}");
    let plain = notes("collector.enabled=true,collector.ports.serve=18080");
    for part in [
        "-n here port-forward statefulset/cofferdam-collector 8080:18080",
        " http://127.0.0.1:8080/",
        "api token",
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    let tls = notes("collector.enabled=true,collector.kubernetes=true,collector.console.secret=tls");
    for part in
        ["https://cofferdam-collector.here.svc/", " https://127.0.0.1:8080/", "--audience cofferdam-api"]
    {
        assert!(tls.contains(part), "{part}: {tls}");
    }
}

/// What the rollouts themselves are tried with is `examples/fleet/role.yaml`: the chart's are to be the same.
#[test]
fn chart_gives_rollouts_the_rights_of_the_example() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    must(&cluster, "create namespace cofferdam-system", "");
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system"];
    let rendered = run(&helm, &[&arguments[..], &["--set", "rollouts.enabled=true"]].concat());
    assert!(rendered.status.success(), "{}", text(&rendered));
    must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    let rules = |what: &str| -> serde_json::Value {
        let text = must(&cluster, &format!("get {what} -o jsonpath={{.rules}}"), "");
        serde_json::from_str(&text).unwrap()
    };
    let (role, lease) = ("clusterrole cofferdam-rollouts", "role cofferdam-rollouts -n cofferdam-system");
    let (of_chart, leases) = (rules(role), rules(lease));
    must(&cluster, "delete clusterrole cofferdam-rollouts", "");
    let example = Path::new(ROOT).join("examples/fleet/role.yaml");
    must(&cluster, &format!("apply -f {}", example.display()), "");
    assert_eq!(of_chart, rules(role));
    assert_eq!(leases, rules(lease));
}

#[test]
fn chart_gives_the_ingress_gateway_what_it_watches_and_says_and_no_more() {
    let (Some(helm), Some(cluster)) = (helm(), Cluster::start_or_skip()) else { return };
    must(&cluster, "create namespace cofferdam-system", "");
    let arguments = ["template", "cofferdam", "chart", "--namespace", "cofferdam-system"];
    let with = |more: &str| {
        let values = format!("ingressGateway.enabled=true,ingressGateway.createClass=false{more}");
        let rendered = run(&helm, &[&arguments[..], &["--set", &values]].concat());
        must(&cluster, "apply -f -", &String::from_utf8(rendered.stdout).unwrap());
    };
    with("");
    // As kubectl asks only of kinds that are defined: verb, group, resource, namespace (empty: all).
    let may = |[verb, group, resource, namespace]: [&str; 4]| {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let (part, name) = if part == "status" { (part, "") } else { ("", part) };
        let review = format!(
            "{{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, spec: {{
              user: 'system:serviceaccount:cofferdam-system:cofferdam-ingress-gateway', resourceAttributes: {{
              verb: {verb}, group: '{group}', resource: {resource}, subresource: '{part}', name: '{name}', namespace: '{namespace}'}}}}}}"
        );
        must(&cluster, "create -f - -o jsonpath={.status.allowed}", &review) == "true"
    };
    let (api, own, here) = ("gateway.networking.k8s.io", "cofferdam.dev", "cofferdam-system");
    let (leases, lease) = ("coordination.k8s.io", "leases/cofferdam-ingress-gateway");
    for what in [
        ["watch", "", "namespaces", ""],
        ["list", "", "pods", ""],
        ["list", "", "services", ""],
        ["watch", "", "secrets", ""],
        ["list", "discovery.k8s.io", "endpointslices", ""],
        ["watch", api, "gatewayclasses", ""],
        ["watch", api, "tlsroutes", ""],
        ["list", api, "referencegrants", ""],
        ["watch", api, "backendtlspolicies", ""],
        ["list", "", "configmaps", ""],
        ["get", api, "httproutes", ""],
        ["patch", api, "gateways/status", ""],
        ["patch", api, "httproutes/status", ""],
        ["watch", "inference.networking.k8s.io", "inferencepools", ""],
        ["get", "inference.networking.k8s.io", "inferencepools", ""],
        ["patch", "inference.networking.k8s.io", "inferencepools/status", ""],
        ["get", api, "backendtlspolicies", ""],
        ["patch", api, "backendtlspolicies/status", ""],
        ["create", "events.k8s.io", "events", ""],
        ["patch", "events.k8s.io", "events", ""],
        ["get", own, "inferencepolicies", ""],
        ["patch", own, "inferencepolicies/status", ""],
        ["get", leases, lease, here],
        ["update", leases, lease, here],
        ["create", leases, "leases", here],
    ] {
        assert!(may(what), "{what:?}");
    }
    for what in [
        ["get", "", "secrets/cofferdam-authority", here],
        ["create", "", "secrets", here],
        ["update", leases, "leases/cofferdam-controller", here],
        ["patch", api, "gateways", here],
        ["patch", own, "inferencepolicies", here],
        ["delete", "", "pods", here],
        ["list", "", "nodes", ""],
        ["create", "", "configmaps", here],
        ["create", "authentication.k8s.io", "tokenreviews", ""],
    ] {
        assert!(!may(what), "{what:?}");
    }
    with(",ingressGateway.secretNamespaces={default}");
    assert!(may(["list", "", "secrets", "default"]) && may(["watch", "", "secrets", "default"]));
    assert!(!may(["list", "", "secrets", here]) && !may(["list", "", "secrets", ""]));
    let of_one = "leases/cofferdam-ingress-gateway.serve.inside";
    assert!(!may(["update", leases, of_one, here]));
    with(",ingressGateway.separateGateways={serve/inside}");
    assert!(may(["get", leases, of_one, here]) && may(["update", leases, of_one, here]));
    assert!(
        may(["update", leases, lease, here]) && !may(["update", leases, "leases/cofferdam-controller", here])
    );
}
