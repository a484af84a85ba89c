//! Kinds other than policies: what of them is read, and the labels that controllers add to their pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use crds::{Code, Object, Phase, PodTemplate, PortRef, Protocol, Workload, read_objects};

fn one(text: &str) -> Object {
    let mut read = read_objects("x.yaml", text.as_bytes());
    assert_eq!(read.diagnostics, vec![], "{text}");
    assert_eq!(read.objects.len(), 1);
    read.objects.remove(0)
}

fn workload(api: &str, kind: &str, spec: &str) -> Workload {
    let text =
        format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: w, namespace: ml}}\nspec: {spec}\n");
    let Object::Workload(workload) = one(&text) else { panic!("{text}") };
    assert_eq!(workload.kind.as_str(), kind);
    workload
}

fn check(template: &PodTemplate, suffix: &str, replicas: u32, labels: &[(&str, &str)]) {
    let found: Vec<_> = template.labels.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
    assert_eq!((&*template.name_suffix, template.replicas, found.as_slice()), (suffix, replicas, labels));
}

const TEMPLATE: &str = "template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}";

#[test]
fn replicas_and_labels_of_the_plain_kinds_are_read() {
    for (api, kind) in [("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("v1", "ReplicationController")]
    {
        let w = workload(api, kind, &format!("{{replicas: 3, {TEMPLATE}}}"));
        check(&w.templates[0], "", 3, &[("app", "x")]);
        check(&workload(api, kind, &format!("{{{TEMPLATE}}}")).templates[0], "", 1, &[("app", "x")]);
    }
    let set = workload("apps/v1", "StatefulSet", &format!("{{replicas: 2, {TEMPLATE}}}"));
    assert_eq!(&*set.templates[0].name_labels[0], "statefulset.kubernetes.io/pod-name");
    assert_eq!(&*set.templates[0].index_labels[0], "apps.kubernetes.io/pod-index");
    check(&workload("apps/v1", "DaemonSet", &format!("{{{TEMPLATE}}}")).templates[0], "", 1, &[("app", "x")]);
}

#[test]
fn jobs_carry_their_name_and_run_in_parallel() {
    let labels = [("app", "x"), ("batch.kubernetes.io/job-name", "w"), ("job-name", "w")];
    let job = workload("batch/v1", "Job", &format!("{{parallelism: 4, completions: 2, {TEMPLATE}}}"));
    check(&job.templates[0], "", 2, &labels);
    let cron = workload("batch/v1", "CronJob", &format!("{{jobTemplate: {{spec: {{{TEMPLATE}}}}}}}"));
    check(&cron.templates[0], "", 1, &[("app", "x")]);
}

#[test]
fn distributed_training_kinds_have_one_template_per_role() {
    let job = format!("template: {{spec: {{parallelism: 4, {TEMPLATE}}}}}");
    let w = workload(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        &format!("{{replicatedJobs: [{{name: worker, replicas: 2, {job}}}]}}"),
    );
    check(
        &w.templates[0],
        "worker",
        8,
        &[
            ("app", "x"),
            ("jobset.sigs.k8s.io/jobset-name", "w"),
            ("jobset.sigs.k8s.io/replicatedjob-name", "worker"),
            ("jobset.sigs.k8s.io/replicatedjob-replicas", "2"),
        ],
    );
    let worker = TEMPLATE.replace("template:", "workerTemplate:");
    let w = workload(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        &format!("{{replicas: 2, leaderWorkerTemplate: {{size: 4, {worker}}}}}"),
    );
    let name = ("leaderworkerset.sigs.k8s.io/name", "w");
    check(
        &w.templates[0],
        "leader",
        2,
        &[("app", "x"), name, ("leaderworkerset.sigs.k8s.io/worker-index", "0")],
    );
    check(&w.templates[1], "worker", 6, &[("app", "x"), name]);
    let w = workload(
        "ray.io/v1",
        "RayCluster",
        &format!(
            "{{headGroupSpec: {{{TEMPLATE}}}, workerGroupSpecs: [{{groupName: gpu, replicas: 3, {TEMPLATE}}}]}}"
        ),
    );
    assert_eq!(w.templates.iter().map(|t| t.replicas).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(w.templates[0].labels["ray.io/node-type"].as_ref(), "head");
    assert_eq!(w.templates[1].labels["ray.io/group"].as_ref(), "gpu");
    let w = workload(
        "kubeflow.org/v1",
        "PyTorchJob",
        &format!("{{pytorchReplicaSpecs: {{Master: {{{TEMPLATE}}}, Worker: {{replicas: 3, {TEMPLATE}}}}}}}"),
    );
    assert_eq!(w.templates[0].labels["training.kubeflow.org/job-role"].as_ref(), "master");
    assert_eq!(w.templates[1].labels["training.kubeflow.org/replica-type"].as_ref(), "worker");
    assert_eq!(w.templates[1].replicas, 3);
}

#[test]
fn a_pod_is_read_with_ports_and_addresses() {
    let Object::Pod(pod) = one(
        "{apiVersion: v1, kind: Pod, metadata: {generateName: p-, deletionTimestamp: '2026-01-01T00:00:00Z'},
          spec: {nodeName: n, hostNetwork: true, serviceAccountName: sa,
            containers: [{name: c, ports: [{containerPort: 53, name: dns, protocol: UDP}]}],
            initContainers: [{name: i, ports: [{containerPort: 1}]}]},
          status: {phase: Succeeded, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], hostIP: 10.9.9.9}}",
    ) else {
        panic!("a pod")
    };
    assert_eq!((&*pod.meta.name, &*pod.meta.namespace, pod.meta.deleting), ("p", "default", true));
    assert_eq!((pod.phase, pod.phase.is_completed(), pod.spec.host_network), (Phase::Succeeded, true, true));
    assert_eq!(pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    let ports: Vec<_> = pod.spec.ports().map(|port| (port.port, port.protocol)).collect();
    assert_eq!(ports, [(53, Protocol::Udp), (1, Protocol::Tcp)]);
}

#[test]
fn services_and_what_leads_to_them_are_read() {
    let Object::Service(service) = one(
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1],
          selector: {a: b}, ports: [{port: 80}, {port: 81, targetPort: web, protocol: UDP, name: x}]}}",
    ) else {
        panic!("a service")
    };
    assert_eq!((service.cluster_addresses.len(), service.headless), (1, false));
    assert_eq!(service.ports[0].target, PortRef::Number(80));
    assert_eq!(service.ports[1].target, PortRef::Name("web".into()));
    let Object::Ingress(ingress) =
        one("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {
          defaultBackend: {service: {name: d, port: {name: web}}},
          rules: [{host: a.b, http: {paths: [{backend: {service: {name: s, port: {number: 80}}}}]}}]}}")
    else {
        panic!("an ingress")
    };
    let backends: Vec<_> = ingress.backends.iter().map(|b| (b.host.as_deref(), &*b.service)).collect();
    assert_eq!(backends, [(None, "d"), (Some("a.b"), "s")]);
    let Object::Ingress(route) = one(
        "{apiVersion: route.openshift.io/v1, kind: Route, metadata: {name: r}, spec: {host: h, port: {targetPort: web},
          to: {kind: Service, name: s}, alternateBackends: [{name: t}]}}",
    ) else {
        panic!("a route")
    };
    assert_eq!((route.kind, route.backends.len()), ("Route", 2));
    assert_eq!(route.backends[1].port, Some(PortRef::Name("web".into())));
}

#[test]
fn a_namespace_carries_its_name_as_label_and_a_node_its_addresses() {
    let Object::Namespace(namespace) = one("{apiVersion: v1, kind: Namespace, metadata: {name: ml}}") else {
        panic!("a namespace")
    };
    assert_eq!(namespace.meta.labels["kubernetes.io/metadata.name"].as_ref(), "ml");
    let Object::Node(node) = one(
        "{apiVersion: v1, kind: Node, metadata: {name: n}, status: {addresses: [{type: Hostname, address: n},
          {type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 'fd00::1'}]}}",
    ) else {
        panic!("a node")
    };
    assert_eq!(node.addresses.len(), 2);
}

#[test]
fn lists_are_expanded_and_their_items_inherit_kind_and_version() {
    let text = "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}, spec: {}}, {metadata: {name: b}, spec: {}}]}";
    let read = read_objects("x.yaml", text.as_bytes());
    assert_eq!((read.objects.len(), read.diagnostics), (2, vec![]));
    let read = read_objects("x.yaml", b"{apiVersion: v1, kind: List, items: [{metadata: {name: a}}, 1]}");
    let codes: Vec<_> = read.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::NotAnObject, Code::NotAnObject]);
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: &l {app: x, tier: y}\n  annotations: {<<: *l, tier: z}\nspec: {}\n";
    let Object::Pod(pod) = one(text) else { panic!("a pod") };
    assert_eq!(pod.meta.annotations["app"].as_ref(), "x");
    assert_eq!(pod.meta.annotations["tier"].as_ref(), "z");
}
