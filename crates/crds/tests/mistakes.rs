//! What people write by mistake, and whether what is said of it leads out at once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use crds::{Code, Object, Read, Severity, read_objects};

fn policy(kind: &str, spec: &str) -> Read {
    let version = match kind {
        "NetworkPolicy" => "networking.k8s.io/v1",
        _ => "cofferdam.dev/v1alpha1",
    };
    let yaml =
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p, namespace: x}}\nspec: {spec}\n");
    read_objects("t.yaml", yaml.as_bytes())
}

/// One error, at this field, with this message and this way out.
fn check(kind: &str, spec: &str, field: &str, message: &str, way_out: &str) {
    let read = policy(kind, spec);
    let errors: Vec<_> = read.diagnostics.iter().filter(|it| it.is_error()).collect();
    let [found] = errors.as_slice() else { panic!("{spec}: {errors:#?}") };
    let suggestion = found.suggestion.as_deref().unwrap_or_default();
    assert_eq!(
        (found.field.as_str(), found.message.as_str(), suggestion),
        (field, message, way_out),
        "{spec}"
    );
}

#[test]
fn a_wrong_type_leads_to_what_is_right_and_not_to_the_next_error() {
    let spec = |rest: &str| format!("{{podSelector: {{}}, {rest}}}");
    let ports = |port: &str| spec(&format!("ingress: [{{ports: [{port}]}}]"));
    let from = |peer: &str| spec(&format!("ingress: [{{from: [{peer}]}}]"));
    for (spec, field, message, way_out) in [
        (
            spec("policyTypes: Egress"),
            "spec.policyTypes",
            "the string \"Egress\" stands where a list is needed",
            "write a list: [Egress]",
        ),
        (
            spec("policyTypes: egress"),
            "spec.policyTypes",
            "the string \"egress\" stands where a list is needed",
            "begin each entry with '- '; and of this one: \"egress\" is not one of Ingress, Egress; did you mean \"Egress\"?",
        ),
        (
            spec("policyTypes: [1]"),
            "spec.policyTypes[0]",
            "1 is a number, and one of Ingress, Egress is needed",
            "",
        ),
        (
            spec("policyTypes: [null]"),
            "spec.policyTypes[0]",
            "nothing stands where one of Ingress, Egress is needed",
            "write one, or take the entry out",
        ),
        (
            spec("ingress: [{from: {podSelector: {}}}]"),
            "spec.ingress[0].from",
            "a mapping stands where a list is needed",
            "begin the entry with '- '",
        ),
        (
            ports("{protocol: 6}"),
            "spec.ingress[0].ports[0].protocol",
            "6 is a number, and one of TCP, UDP, SCTP is needed",
            "",
        ),
        (
            ports("{port: true}"),
            "spec.ingress[0].ports[0].port",
            "true is a boolean, and a port's number or name is needed",
            "for example 443 or https",
        ),
        (
            ports("80"),
            "spec.ingress[0].ports[0]",
            "a number stands where a mapping is needed",
            "write {port: 80}",
        ),
        (
            ports("{port: 80, endPort: '90'}"),
            "spec.ingress[0].ports[0].endPort",
            "the string \"90\" stands where a whole number is needed",
            "leave out the quotes: 90",
        ),
        (
            from("{ipBlock: 10.0.0.0/8}"),
            "spec.ingress[0].from[0].ipBlock",
            "the string \"10.0.0.0/8\" stands where a mapping is needed",
            "write {cidr: \"10.0.0.0/8\"}",
        ),
        (
            from("{ipBlock: {cidr: 10}}"),
            "spec.ingress[0].from[0].ipBlock.cidr",
            "10 is a number, and a block in CIDR notation is needed",
            "for example 203.0.113.0/24",
        ),
        (
            from("{podSelector: 'app=web,tier=1'}"),
            "spec.ingress[0].from[0].podSelector",
            "the string \"app=web,tier=1\" stands where a mapping is needed",
            "write {matchLabels: {app: web, tier: \"1\"}}",
        ),
        (
            from("{podSelector: {app: web}}"),
            "spec.ingress[0].from[0].podSelector",
            "unknown field \"app\"",
            "labels are written under matchLabels: {matchLabels: {app: web}}",
        ),
        (
            ports("{port: 80-90}"),
            "spec.ingress[0].ports[0].port",
            "\"80-90\" is no port name: a port name needs at least one letter",
            "write port: 80, endPort: 90",
        ),
        (
            from("{cidr: 192.0.2.0/24}"),
            "spec.ingress[0].from[0]",
            "no known field in the peer (cidr); the rule fails closed",
            "write ipBlock: {cidr: 203.0.113.0/24}",
        ),
        (
            from("{podSelector: {}, ports: []}"),
            "spec.ingress[0].from[0]",
            "unknown field \"ports\"",
            "write ports in the rule, beside from or to",
        ),
        (
            spec("ingress: [{podSelector: {}}]"),
            "spec.ingress[0]",
            "unknown field \"podSelector\"",
            "write it in an entry of from",
        ),
        (
            spec("ingress: [{to: []}]"),
            "spec.ingress[0]",
            "unknown field \"to\"",
            "where pods connect to is said under spec.egress",
        ),
        (
            from("{namespaceSelector: shop}"),
            "spec.ingress[0].from[0].namespaceSelector",
            "the string \"shop\" stands where a mapping is needed",
            "labels are written under matchLabels: {matchLabels: {kubernetes.io/metadata.name: shop}}",
        ),
        (
            from("{namespaceSelector: {name: shop}}"),
            "spec.ingress[0].from[0].namespaceSelector",
            "unknown field \"name\"",
            "labels are written under matchLabels: {matchLabels: {kubernetes.io/metadata.name: shop}}",
        ),
        (
            from("{podSelector: {matchLabels: app=web}}"),
            "spec.ingress[0].from[0].podSelector.matchLabels",
            "the string \"app=web\" stands where a mapping is needed",
            "write {app: web}",
        ),
        (
            from("{podSelector: {matchLabels: {app: 1}}}"),
            "spec.ingress[0].from[0].podSelector.matchLabels.app",
            "1 is a number, and a string is needed",
            "put it in quotes: \"1\"",
        ),
        (
            from("{podSelector: {matchLabels: {app: [web]}}}"),
            "spec.ingress[0].from[0].podSelector.matchLabels.app",
            "a list stands where a string is needed",
            "there is only one here; without a list: web",
        ),
    ] {
        check("NetworkPolicy", &spec, field, message, way_out);
    }
}

#[test]
fn fields_of_other_policies_are_led_to_those_of_an_egress_policy() {
    let rule = |rest: &str| format!("{{egress: [{{action: Allow, to: [{{domains: [a.io]}}], {rest}}}]}}");
    let to = |entry: &str| format!("{{egress: [{{action: Allow, to: [{entry}]}}]}}");
    for (spec, field, message, way_out) in [
        (
            "{podSelector: {}}".to_owned(),
            "spec",
            "unknown field \"podSelector\"",
            "write it under subject: {podSelector: {}}",
        ),
        (
            "{policyTypes: [Egress]}".to_owned(),
            "spec",
            "unknown field \"policyTypes\"",
            "leave it out: it is about egress alone",
        ),
        (
            rule("maxUploadBytes: 10MB"),
            "spec.egress[0].maxUploadBytes",
            "the string \"10MB\" stands where a mapping is needed",
            "say of what, by one or more of connection, hour, day: {hour: 10M}",
        ),
        (
            rule("maxUploadBytes: 10000"),
            "spec.egress[0].maxUploadBytes",
            "a number stands where a mapping is needed",
            "say of what, by one or more of connection, hour, day: {hour: 10000}",
        ),
        (
            rule("maxUploadBytes: {hour: 10 mib}"),
            "spec.egress[0].maxUploadBytes.hour",
            "it is no number of bytes from 1 to 4611686018427387904",
            "write it without a fraction, alone or with one of Ki Mi Gi Ti k M G T: 10Mi",
        ),
        (
            rule("downloadOnly: 'yes'"),
            "spec.egress[0].downloadOnly",
            "the string \"yes\" stands where true or false is needed",
            "leave out the quotes: true",
        ),
        (
            rule("verbs: [download]"),
            "spec.egress[0]",
            "unknown field \"verbs\"",
            "write operations: [{verbs: [download]}]",
        ),
        (
            rule("ports: [443]"),
            "spec.egress[0].ports[0]",
            "a number stands where a mapping is needed",
            "write {port: 443}",
        ),
        (
            rule("ports: [{port: '443'}]"),
            "spec.egress[0].ports[0].port",
            "a port's name is a container port of a pod, and what is outside the cluster has none",
            "for a number, leave out the quotes: 443",
        ),
        (
            rule("ports: [{port: true}]"),
            "spec.egress[0].ports[0].port",
            "a boolean stands where a whole number is needed",
            "",
        ),
        (
            to("{domain: [a.io]}"),
            "spec.egress[0].to[0]",
            "unknown field \"domain\"",
            "write domains: [huggingface.co]",
        ),
        (
            to("{ipBlock: {cidr: 192.0.2.0/24}}"),
            "spec.egress[0].to[0]",
            "unknown field \"ipBlock\"",
            "write networks: [203.0.113.0/24]",
        ),
        (
            to("{podSelector: {}}"),
            "spec.egress[0].to[0]",
            "exactly one of domains, provider, networks, clusters, serviceImport is needed",
            "pods of this cluster are allowed by a NetworkPolicy of networking.k8s.io/v1",
        ),
        (
            to("{}"),
            "spec.egress[0].to[0]",
            "exactly one of domains, provider, networks, clusters, serviceImport is needed",
            "for example {domains: [huggingface.co]}",
        ),
        (
            to("huggingface.co"),
            "spec.egress[0].to[0]",
            "the string \"huggingface.co\" stands where a mapping is needed",
            "write {domains: [\"huggingface.co\"]}",
        ),
        (
            to("192.0.2.0/24"),
            "spec.egress[0].to[0]",
            "the string \"192.0.2.0/24\" stands where a mapping is needed",
            "write {networks: [\"192.0.2.0/24\"]}",
        ),
        (
            "{egress: [{action: Allow, to: a.io}]}".to_owned(),
            "spec.egress[0].to",
            "the string \"a.io\" stands where a list is needed",
            "begin each entry with '- '; and of this one: the string \"a.io\" stands where a mapping is needed; write \
             {domains: [\"a.io\"]}",
        ),
        (
            to("{domains: a.io}"),
            "spec.egress[0].to[0].domains",
            "the string \"a.io\" stands where a list is needed",
            "write a list: [a.io]",
        ),
        (
            to("{domains: ['https://a.io/x']}"),
            "spec.egress[0].to[0].domains[0]",
            "\"https://a.io/x\" is no domain name: a label has 1 to 63 letters, digits, '-' and '_', no '-' at its ends",
            "write the name alone: a.io; ports has the port, and operations what may be asked for",
        ),
        (
            "{egress: [{action: yes, to: [{domains: [a.io]}]}]}".to_owned(),
            "spec.egress[0].action",
            "yes is a boolean, and one of Allow, Deny is needed",
            "",
        ),
    ] {
        check("EgressPolicy", &spec, field, message, way_out);
    }
}

#[test]
fn a_second_object_without_a_marker_is_one_mistake() {
    let one = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n";
    let read = read_objects(
        "t.yaml",
        format!("{one}apiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n").as_bytes(),
    );
    let said: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "error: t.yaml:5:1: NetworkPolicy default/a: another object begins here, and a line '---' before it is \
          missing [duplicate-key]"
        ]
    );
    assert!(matches!(read.objects.as_slice(), [Object::NetworkPolicy(policy)] if policy.broken));
    let read = read_objects("t.yaml", format!("{one}kind: NetworkPolicy\n").as_bytes());
    assert_eq!(read.diagnostics[0].message, "the key \"kind\" is there twice");
}

#[test]
fn own_kinds_that_are_no_policy_lie_beside_policies_and_say_who_reads_them() {
    for (kind, severity, who) in [
        ("Rollout", Severity::Note, "`cofferdam rollouts`"),
        ("ManagedCluster", Severity::Note, "`cofferdam controller --hub`"),
        ("PolicyRelease", Severity::Note, "`cofferdam release show`"),
        ("PolicyStatus", Severity::Note, "`kubectl get policystatuses -A`"),
        ("ReleaseKeys", Severity::Warning, "`cofferdam release verify --keys`"),
        ("Catalog", Severity::Warning, "--catalog"),
        ("PriceList", Severity::Warning, "--prices"),
    ] {
        let yaml = format!("apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\n");
        let read = read_objects("t.yaml", yaml.as_bytes());
        let [found] = read.diagnostics.as_slice() else { panic!("{kind}: {read:#?}") };
        assert_eq!((found.severity, found.code), (severity, Code::UnknownKind), "{found}");
        assert!(found.suggestion.as_ref().unwrap().contains(who), "{found}");
        // Of a version that nobody reads, nobody can say that it is read elsewhere.
        let read = read_objects("t.yaml", yaml.replace("v1alpha1", "v9").as_bytes());
        assert!(read.diagnostics.iter().any(|it| it.code == Code::UnknownPolicyKind), "{read:#?}");
    }
    let read =
        read_objects("t.yaml", b"apiVersion: cofferdam.dev/v1alpha1\nkind: Rolout\nmetadata: {name: a}\n");
    let found = read.diagnostics.first().unwrap();
    assert!(found.is_error() && found.suggestion.as_ref().unwrap().contains("kind Rollout of"), "{found}");
}

#[test]
fn an_object_of_an_unknown_kind_is_put_into_no_namespace_that_it_does_not_name() {
    for (metadata, named) in [
        ("{name: a}", "ClusterRole a: "),
        ("{name: a, namespace: x}", "ClusterRole x/a: "),
        ("{name: a, namespace: default}", "ClusterRole default/a: "),
    ] {
        let text =
            format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {metadata}\n");
        let read = read_objects("x.yaml", text.as_bytes());
        let [told] = read.diagnostics.as_slice() else { panic!("{:#?}", read.diagnostics) };
        assert!(told.to_string().contains(named), "{told}");
    }
}

#[test]
fn a_case_without_a_kind_is_told_how_it_may_lie_among_manifests() {
    let told = |text: &str| {
        let read = read_objects("expected.json", text.as_bytes());
        let [told] = read.diagnostics.as_slice() else { panic!("{:#?}", read.diagnostics) };
        assert!(read.objects.is_empty());
        (told.is_error(), told.suggestion.clone().unwrap_or_default())
    };
    let (is_error, help) = told(r#"{"id": "a", "expect": []}"#);
    assert!(is_error && help.contains("kind: Case"), "{help}");
    assert_eq!(told(r#"{"id": "a"}"#), (true, String::new()));
    let case =
        read_objects("expected.json", br#"{"apiVersion": "conformance/v1", "kind": "Case", "expect": []}"#);
    assert!(case.objects.is_empty() && case.diagnostics.is_empty(), "{:#?}", case.diagnostics);
}

#[test]
fn a_policy_in_a_mistyped_group_is_an_error_and_one_of_another_product_is_not() {
    let told = |api_version: &str, kind: &str| {
        let text = format!(
            "{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: a, namespace: b}}, spec: {{}}}}"
        );
        let read = read_objects("a.yaml", text.as_bytes());
        let [told] = read.diagnostics.as_slice() else { panic!("{:#?}", read.diagnostics) };
        (told.is_error(), told.suggestion.clone().unwrap_or_default())
    };
    for (api_version, kind, meant) in [
        ("coferdam.dev/v1alpha1", "EgressPolicy", "EgressPolicy of cofferdam.dev/v1alpha1"),
        ("networking.k8s.oi/v1", "NetworkPolicy", "NetworkPolicy of networking.k8s.io/v1"),
        ("policy.network.k8s.io/v1alpha2", "Unknown", ""),
    ] {
        let (is_error, help) = told(api_version, kind);
        assert_eq!((is_error, help.contains(meant)), (!meant.is_empty(), true), "{api_version}: {help}");
    }
    assert!(!told("crd.projectcalico.org/v1", "NetworkPolicy").0);
}
