//! InferencePolicy: what is accepted, what is refused and where, and what is kept of what is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use crds::{Code, InferencePolicy, Object, ProtectionMode, Read, StoredObjects, TargetKind, read_objects};

const TARGETS: &str =
    "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: chat}]";

fn read(spec: &str) -> (InferencePolicy, Read) {
    let yaml = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {{name: p, namespace: x}}\nspec:\n  {spec}\n"
    );
    let read = read_objects("t.yaml", yaml.as_bytes());
    let Some(Object::InferencePolicy(policy)) = read.objects.first() else { panic!("{read:#?}") };
    (policy.clone(), read)
}

fn errors(read: &Read) -> Vec<(Code, &str)> {
    read.diagnostics.iter().filter(|it| it.is_error()).map(|it| (it.code, it.field.as_str())).collect()
}

#[test]
fn everything_that_can_be_written_is_read() {
    let digest = "0123456789abcdef".repeat(4);
    let (policy, read) = read(&format!(
        "{TARGETS}
  server: vllm
  authentication:
    apiKeys: [{{consumer: batch, groups: [jobs], sha256: ['{digest}']}}]
    jwt:
    - {{name: corp, issuer: 'https://i.example', audiences: [m], jwks: {{url: 'https://i.example/k', refresh: 5m, stale: 2h}},
       consumer: sub, groups: realm.roles, prefix: 'corp:'}}
    - {{name: own, issuer: 'https://o.example', audiences: [m], jwks: {{inline: '{{}}'}}, prefix: 'own:'}}
    mtls: {{trustDomains: [{{name: example.org, ca: 'PEM'}}]}}
  rules:
  - {{name: a, action: Allow, consumers: ['*'], groups: [jobs], classes: [infer], operations: [chat], models: [m], tools: [t],
     when: 'true', toolConditions: [{{tool: 'write_*', when: 'args.n < 5'}}]}}
  - {{action: Deny}}
  limits:
  - {{name: l, per: consumer, consumers: [x], groups: [y], models: [m], requests: 1k, streams: 2, inputTokens: 1M, outputTokens: 5, tokens: 6, window: 1m}}
  - {{per: policy, streams: 100}}
  waf: {{mode: Shadow, profile: CRS, paranoia: 2, inboundThreshold: 7, overBudget: Allow}}
  guard: {{mode: Enforce, annotateAt: 0.5, blockAt: 0.95, roles: [user, tool]}}
  responses: {{leaks: {{secrets: Mask, personal: Report, canaries: {{values: [a-canary-of-ours], action: Block}}, systemPrompt: Block}}, holdBytes: 8Ki, uninspected: Allow}}
  mcp: {{origins: ['https://app.example', 'http://[::1]:8080'], definitions: {{pins: [{{tool: search, sha256: '{digest}'}}], others: Quarantine}}}}
  storedObjects: PerConsumer"
    ));
    assert_eq!(errors(&read), []);
    assert_eq!(read.diagnostics, []);
    assert!(!policy.broken);
    assert_eq!(policy.stored_objects.as_ref().map(|it| it.value), Some(StoredObjects::PerConsumer));
    let target = &policy.targets.as_ref().unwrap()[0].value;
    assert_eq!(
        (target.kind, &*target.name, target.section.as_deref()),
        (TargetKind::HttpRoute, "r", Some("chat"))
    );
    let conditions = &policy.rules.as_ref().unwrap().value[0].value.tool_conditions;
    let [condition] = conditions.as_slice() else { panic!("{conditions:?}") };
    assert_eq!((&*condition.value.tool, &*condition.value.when.value), ("write_*", "args.n < 5"));
    assert_eq!(condition.value.when.position.line, 16);
    let limits = policy.limits.unwrap().value;
    assert_eq!((limits[0].value.requests, limits[0].value.input_tokens), (Some(1000), Some(1_000_000)));
    assert_eq!(policy.guard.unwrap().value.block_at.unwrap().to_string(), "0.95");
    let waf = policy.waf.unwrap();
    assert_eq!((waf.value.mode, waf.position.line), (ProtectionMode::Shadow, 21));
}

#[test]
fn what_cannot_be_is_an_error_at_its_field() {
    let key = "sha256: ['0000000000000000000000000000000000000000000000000000000000000000']";
    let jwt = "name: c, issuer: i, audiences: [m], jwks:";
    for (section, code, field) in [
        ("", Code::MissingField, "spec"),
        ("wafs: {}", Code::UnknownField, "spec"),
        ("server: vlm", Code::InvalidValue, "spec.server"),
        ("authentication: {}", Code::MissingField, "spec.authentication"),
        ("authentication: {anonymous: false}", Code::MissingField, "spec.authentication"),
        ("authentication: {apiKeys: []}", Code::ListLength, "spec.authentication.apiKeys"),
        (
            "authentication: {apiKeys: [{consumer: a, sha256: [secret-key]}]}",
            Code::InvalidValue,
            "spec.authentication.apiKeys[0].sha256[0]",
        ),
        (
            &format!("authentication: {{apiKeys: [{{consumer: a, {key}}}, {{consumer: b, {key}}}]}}"),
            Code::InvalidValue,
            "spec.authentication.apiKeys",
        ),
        (
            &format!("authentication: {{jwt: [{{{jwt} {{url: 'http://i/k'}}}}]}}"),
            Code::InvalidValue,
            "spec.authentication.jwt[0].jwks.url",
        ),
        (
            &format!("authentication: {{jwt: [{{{jwt} {{url: 'https://u@i/k'}}}}]}}"),
            Code::InvalidValue,
            "spec.authentication.jwt[0].jwks.url",
        ),
        (
            &format!("authentication: {{jwt: [{{{jwt} {{url: 'https://i/k', inline: '{{}}'}}}}]}}"),
            Code::ExactlyOne,
            "spec.authentication.jwt[0].jwks",
        ),
        (
            &format!("authentication: {{jwt: [{{{jwt} {{inline: '{{}}', stale: 1h}}}}]}}"),
            Code::InvalidValue,
            "spec.authentication.jwt[0].jwks.stale",
        ),
        (
            &format!("authentication: {{jwt: [{{{jwt} {{url: 'https://i/k', refresh: 5s}}}}]}}"),
            Code::InvalidValue,
            "spec.authentication.jwt[0].jwks.refresh",
        ),
        (
            "authentication: {jwt: [{name: c, issuer: i, audiences: [], jwks: {inline: '{}'}}]}",
            Code::ListLength,
            "spec.authentication.jwt[0].audiences",
        ),
        (
            "authentication: {mtls: {trustDomains: [{name: 'spiffe://a', ca: x}]}}",
            Code::InvalidName,
            "spec.authentication.mtls.trustDomains[0].name",
        ),
        ("rules: []", Code::ListLength, "spec.rules"),
        ("rules: [{action: Pass}]", Code::InvalidValue, "spec.rules[0].action"),
        ("rules: [{action: Allow, models: []}]", Code::ListLength, "spec.rules[0].models"),
        ("rules: [{action: Allow, classes: [inference]}]", Code::InvalidValue, "spec.rules[0].classes[0]"),
        ("rules: [{action: Allow, toolConditions: []}]", Code::ListLength, "spec.rules[0].toolConditions"),
        (
            "rules: [{action: Allow, toolConditions: [{tool: a}]}]",
            Code::MissingField,
            "spec.rules[0].toolConditions[0].when",
        ),
        (
            "rules: [{action: Allow, toolConditions: [{tool: '', when: a}]}]",
            Code::InvalidValue,
            "spec.rules[0].toolConditions[0].tool",
        ),
        (
            "rules: [{action: Deny, toolConditions: [{tool: a, when: 'true'}]}]",
            Code::InvalidValue,
            "spec.rules[0].toolConditions",
        ),
        ("limits: [{per: consumer}]", Code::MissingField, "spec.limits[0]"),
        ("limits: [{per: consumer, requests: 5}]", Code::InvalidValue, "spec.limits[0]"),
        ("limits: [{per: consumer, streams: 5, window: 1m}]", Code::InvalidValue, "spec.limits[0]"),
        ("limits: [{per: consumer, requests: 0, window: 1m}]", Code::InvalidValue, "spec.limits[0].requests"),
        ("limits: [{per: consumer, money: '5.00'}]", Code::InvalidValue, "spec.limits[0]"),
        ("limits: [{per: consumer, money: 5, window: 1d}]", Code::WrongType, "spec.limits[0].money"),
        ("limits: [{per: consumer, money: '0.0', window: 1d}]", Code::InvalidValue, "spec.limits[0].money"),
        ("limits: [{per: consumer, requests: 5, window: 5m}]", Code::InvalidValue, "spec.limits[0].window"),
        ("waf: {profile: CRS}", Code::MissingField, "spec.waf.mode"),
        ("waf: {mode: Off}", Code::WrongType, "spec.waf.mode"),
        ("waf: {mode: Shadow, paranoia: 5}", Code::InvalidValue, "spec.waf.paranoia"),
        ("guard: {mode: Shadow, blockAt: 1.5}", Code::InvalidValue, "spec.guard.blockAt"),
        ("guard: {mode: Shadow, annotateAt: 0.9, blockAt: 0.5}", Code::InvalidValue, "spec.guard"),
        ("responses: {leaks: {}}", Code::MissingField, "spec.responses.leaks"),
        (
            "responses: {leaks: {secrets: Mask}, holdBytes: 65Ki}",
            Code::InvalidValue,
            "spec.responses.holdBytes",
        ),
        (
            "responses: {leaks: {secrets: Mask}, uninspected: Maybe}",
            Code::InvalidValue,
            "spec.responses.uninspected",
        ),
        ("mcp: {}", Code::MissingField, "spec.mcp"),
        ("mcp: {origins: ['https://app.example/']}", Code::InvalidValue, "spec.mcp.origins[0]"),
        ("mcp: {origins: ['null']}", Code::InvalidValue, "spec.mcp.origins[0]"),
        (
            "mcp: {definitions: {pins: [{tool: a, sha256: b}]}}",
            Code::InvalidValue,
            "spec.mcp.definitions.pins[0].sha256",
        ),
    ] {
        let (policy, read) = read(&format!("{TARGETS}\n  {section}"));
        assert_eq!(errors(&read), [(code, field)], "{section}: {:#?}", read.diagnostics);
        assert!(policy.broken && policy.targets.is_some());
        assert!(
            !format!("{:?}", read.diagnostics).contains("secret-key"),
            "what may be a key is not repeated"
        );
    }
}

#[test]
fn with_one_target_unknown_it_is_not_known_what_to_close() {
    for targets in [
        "waf: {mode: Shadow}",
        "targetRefs: []",
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}, {group: '', kind: Service, name: s}]",
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g, namespace: other}]",
    ] {
        let (policy, read) = read(targets);
        assert!(policy.broken, "{targets}");
        assert!(policy.targets.is_none(), "{targets}: {:?}", read.diagnostics);
    }
    let unreadable = "kind: InferencePolicy\nmetadata: {name: p, namespace: x}\nspec: {a: [}\n";
    let read = read_objects("t.yaml", unreadable.as_bytes());
    let [Object::InferencePolicy(policy)] = read.objects.as_slice() else { panic!("{read:#?}") };
    assert!(policy.broken && policy.targets.is_none() && &*policy.meta.namespace == "x");
}

#[test]
fn issuers_whose_consumers_could_have_the_names_of_others_are_told_of() {
    let issuer = |name: &str, prefix: &str| {
        format!("{{name: {name}, issuer: i, audiences: [m], jwks: {{inline: '{{}}'}}{prefix}}}")
    };
    for (jwt, told) in [
        (issuer("a", ""), 0),
        (format!("{}, {}", issuer("a", ""), issuer("b", ", prefix: 'b:'")), 0),
        (format!("{}, {}", issuer("a", ""), issuer("b", "")), 1),
    ] {
        let (policy, read) = read(&format!("{TARGETS}\n  authentication: {{jwt: [{jwt}]}}"));
        assert_eq!((policy.broken, read.diagnostics.len()), (false, told), "{:#?}", read.diagnostics);
    }
}
