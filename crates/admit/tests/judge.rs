//! Which policy holds where, and what its rules say; with a naive judge beside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use admit::{Facts, Place, Policies, Reason, RouteKey};
use crds::{
    Diagnostic, InferenceAction, InferencePolicy, InferenceRule, Object, OperationClass, TargetKind,
    read_objects,
};
use policy::{Arguments, Consumer, Glob, Known, ToolCall};
use proptest::prelude::*;
use std::sync::Arc;

const GATEWAY: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: g}";
const LISTENER: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: g, sectionName: https}";
const ROUTE: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}";
const RULE: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: chat}";

/// A policy of this name on this target in namespace `n`.
fn policy(name: &str, target: &str, spec: &str) -> InferencePolicy {
    let yaml = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {{name: {name}, namespace: n}}\n\
         spec:\n  targetRefs: [{target}]\n  {spec}\n"
    );
    let read = read_objects("p.yaml", yaml.as_bytes());
    let [Object::InferencePolicy(policy)] = read.objects.as_slice() else { panic!("{read:#?}") };
    policy.clone()
}

fn here(policies: Vec<InferencePolicy>) -> (Arc<admit::Effective>, Vec<Diagnostic>) {
    let (policies, wrong) = Policies::build(policies);
    let route = RouteKey { kind: TargetKind::HttpRoute, namespace: "n", name: "r", rule: Some("chat") };
    (policies.at(&Place { gateway: ("n", "g"), listener: "https", route: Some(route) }), wrong)
}

fn consumer(name: &str, groups: &[&str]) -> Consumer {
    let claims = serde_json_claims(name);
    let groups = groups.iter().map(|group| Arc::from(*group)).collect();
    Consumer { name: name.into(), groups, how: Known::Token("corp".into()), claims }
}

fn serde_json_claims(name: &str) -> policy::cel::Value {
    serde_json::from_str(&format!(r#"{{"email":"{name}@example.com","level":3}}"#)).unwrap()
}

fn facts(class: OperationClass, operation: &'static str, model: Option<&'static str>) -> Facts<'static> {
    Facts {
        class,
        operation,
        model,
        tools: &[],
        calls: &[],
        method: "POST",
        path: "/v1/chat/completions",
        input_tokens: Some(100),
    }
}

fn chat() -> Facts<'static> {
    facts(OperationClass::Infer, "chat", Some("llama"))
}

#[test]
fn the_most_specific_policy_that_writes_a_section_says_it() {
    let levels = [("gateway", GATEWAY), ("listener", LISTENER), ("route", ROUTE), ("rule", RULE)];
    for subset in 1..16_u32 {
        let written =
            levels.iter().enumerate().filter(|(at, _)| subset & 1 << at != 0).map(|(_, level)| level);
        let policies = written.clone().map(|(name, target)| policy(name, target, "waf: {mode: Shadow}"));
        let (found, wrong) = here(policies.collect());
        assert_eq!(wrong, []);
        let expected = written.clone().next_back().unwrap().0;
        assert_eq!(&*found.waf.as_ref().unwrap().1.object.name, expected, "{subset:b}");
        assert!(found.guard.is_none() && found.closed.is_none());
    }
    let (found, _) = here(vec![
        policy("a", GATEWAY, "authentication: {anonymous: true}"),
        policy("b", ROUTE, "waf: {mode: Disabled}"),
    ]);
    let of = |it: &admit::Source| (it.object.name.to_string(), it.field.clone(), it.position.line);
    assert_eq!(of(&found.authentication.as_ref().unwrap().1), ("a".into(), "spec.authentication".into(), 6));
    assert_eq!(found.judge(&Consumer::anonymous(), &chat()).reason, Reason::AllowedByDefault);
    let elsewhere = Place { gateway: ("n", "g"), listener: "http", route: None };
    let (policies, _) = Policies::build(vec![policy("l", LISTENER, "waf: {mode: Disabled}")]);
    assert!(policies.at(&elsewhere).waf.is_none());
    let other_namespace = Place { gateway: ("m", "g"), listener: "https", route: None };
    assert!(policies.at(&other_namespace).waf.is_none());
}

#[test]
fn what_cannot_be_applied_closes_what_it_is_attached_to() {
    let open = "authentication: {anonymous: true}";
    for (what, policies, reason) in [
        ("nothing is written", vec![], Reason::NoPolicy),
        ("nobody can be known", vec![policy("a", ROUTE, "waf: {mode: Disabled}")], Reason::NoPolicy),
        ("open", vec![policy("a", ROUTE, open)], Reason::AllowedByDefault),
        (
            "broken above",
            vec![policy("a", ROUTE, open), policy("b", GATEWAY, "waf: {mode: Sometimes}")],
            Reason::Closed,
        ),
        ("an unknown field", vec![policy("a", ROUTE, open), policy("b", ROUTE, "wafs: {}")], Reason::Closed),
        (
            "targets that cannot be read close the namespace",
            vec![policy("a", ROUTE, open), policy("b", "{kind: Gatway, name: x}", "waf: {mode: Disabled}")],
            Reason::Closed,
        ),
        (
            "a condition that is none",
            vec![policy("a", ROUTE, &format!("{open}\n  rules: [{{action: Allow, when: 'consumr == 1'}}]"))],
            Reason::Closed,
        ),
        ("the same section twice", vec![policy("a", ROUTE, open), policy("b", ROUTE, open)], Reason::Closed),
        (
            "other sections",
            vec![policy("a", ROUTE, open), policy("b", ROUTE, "waf: {mode: Disabled}")],
            Reason::AllowedByDefault,
        ),
    ] {
        let (found, _) = here(policies);
        let verdict = found.judge(&Consumer::anonymous(), &chat());
        assert_eq!(verdict.reason, reason, "{what}: {}", verdict.message);
    }
    let (_, wrong) = here(vec![policy("a", ROUTE, open), policy("b", ROUTE, open)]);
    assert_eq!(wrong.len(), 1);
    let told = wrong[0].to_string();
    assert!(told.contains("authentication") && told.contains("n/b") && told.contains("p.yaml:5"), "{told}");
    let bad = format!("{open}\n  rules: [{{action: Allow, when: 'consumr == 1'}}]");
    let told = here(vec![policy("a", ROUTE, &bad)]).1[0].to_string();
    assert!(told.contains("consumr") && told.contains("spec.rules[0].when"), "{told}");
    let condition = "rules: [{action: Allow, toolConditions: [{tool: t, when: 'arg.n < 5'}]}]";
    let (found, wrong) = here(vec![policy("a", ROUTE, &format!("{open}\n  {condition}"))]);
    assert_eq!(found.judge(&Consumer::anonymous(), &chat()).reason, Reason::Closed);
    let told = wrong[0].to_string();
    for part in
        ["n/a", "spec.rules[0].toolConditions[0].when", "p.yaml:7", "`arg` is no variable", "args, tool"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Judges one request of `alice` in `team-a` by these rules.
fn by_rules(rules: &str, facts: &Facts<'_>) -> (Reason, Option<String>) {
    let spec = format!("authentication: {{anonymous: true}}\n  rules: {rules}");
    let (found, wrong) = here(vec![policy("p", ROUTE, &spec)]);
    assert_eq!(wrong, []);
    let verdict = found.judge(&consumer("alice", &["team-a"]), facts);
    (verdict.reason, verdict.rule.map(|it| it.to_string()))
}

#[test]
fn the_first_rule_that_is_meant_decides() {
    use OperationClass::{Admin, Infer, Introspect, MutateWeights, Unknown};
    let models = facts(Introspect, "models", None);
    let any = facts(Infer, "chat", None);
    let delete = facts(MutateWeights, "delete", Some("llama"));
    let all = "[infer, introspect, admin, mutate-weights, unknown]";
    for (rules, facts, expected) in [
        ("[{action: Allow}]".into(), &chat(), Reason::Allowed),
        ("[{action: Allow}]".into(), &models, Reason::NoRule),
        ("[{action: Allow}]".into(), &facts(Unknown, "unknown", None), Reason::NoRule),
        (format!("[{{action: Allow, classes: {all}}}]"), &facts(Unknown, "unknown", None), Reason::Allowed),
        (format!("[{{action: Allow, classes: {all}}}]"), &facts(Admin, "sleep", None), Reason::Allowed),
        ("[{action: Deny}, {action: Allow}]".into(), &chat(), Reason::Denied),
        ("[{action: Deny, consumers: [bob]}, {action: Allow}]".into(), &chat(), Reason::Allowed),
        ("[{action: Allow, consumers: [al*], groups: [team-b]}]".into(), &chat(), Reason::NoRule),
        ("[{action: Allow, consumers: [al*], groups: [team-*]}]".into(), &chat(), Reason::Allowed),
        ("[{action: Allow, operations: [embeddings]}]".into(), &chat(), Reason::NoRule),
        ("[{action: Allow, models: [llama]}]".into(), &chat(), Reason::Allowed),
        // A model that is not named may be any.
        ("[{action: Allow, models: [llama]}]".into(), &any, Reason::NoRule),
        ("[{action: Deny, models: [gpt]}, {action: Allow}]".into(), &any, Reason::Denied),
        ("[{action: Deny, models: [gpt]}, {action: Allow}]".into(), &chat(), Reason::Allowed),
        // A server may find a model by its name in any case; what allows is still exact.
        ("[{action: Deny, models: ['LLA*']}, {action: Allow}]".into(), &chat(), Reason::Denied),
        ("[{action: Allow, models: [Llama]}]".into(), &chat(), Reason::NoRule),
        (
            "[{action: Deny, models: [gpt]}, {action: Allow, classes: [introspect]}]".into(),
            &models,
            Reason::Allowed,
        ),
        ("[{action: Allow, classes: [introspect], models: [llama]}]".into(), &models, Reason::Allowed),
        ("[{action: Allow, classes: [mutate-weights], models: [other]}]".into(), &delete, Reason::NoRule),
        (
            "[{action: Allow, when: 'consumer == \"alice\" && \"team-a\" in groups'}]".into(),
            &chat(),
            Reason::Allowed,
        ),
        (
            "[{action: Allow, when: 'claims.level >= 3 && issuer == \"corp\"'}]".into(),
            &chat(),
            Reason::Allowed,
        ),
        ("[{action: Allow, when: 'tokens <= 99'}]".into(), &chat(), Reason::NoRule),
        (
            "[{action: Allow, when: 'model.startsWith(\"ll\") && path == \"/v1/chat/completions\"'}]".into(),
            &chat(),
            Reason::Allowed,
        ),
        // What cannot be told allows nothing, and denies.
        ("[{action: Allow, when: 'claims.none == 1'}, {action: Allow}]".into(), &chat(), Reason::Allowed),
        (
            "[{action: Deny, when: 'claims.none == 1'}, {action: Allow}]".into(),
            &chat(),
            Reason::ConditionUnknown,
        ),
        ("[{action: Allow, when: 'model.startsWith(\"ll\")'}]".into(), &any, Reason::NoRule),
    ] {
        assert_eq!(by_rules(&rules, facts).0, expected, "{rules} {facts:?}");
    }
    let named =
        by_rules("[{name: first, action: Deny, groups: [x]}, {name: second, action: Allow}]", &chat());
    assert_eq!(named, (Reason::Allowed, Some("second".into())));
}

#[test]
fn a_star_that_denies_does_not_stop_at_a_slash() {
    let of = |model| facts(OperationClass::Infer, "chat", Some(model));
    assert_eq!(by_rules("[{action: Allow, models: ['meta*']}]", &of("meta/llama")).0, Reason::NoRule);
    assert_eq!(by_rules("[{action: Allow, models: ['meta/*']}]", &of("meta/llama")).0, Reason::Allowed);
    let rules = "[{action: Deny, models: ['meta*']}, {action: Allow}]";
    assert_eq!(by_rules(rules, &of("meta/llama")).0, Reason::Denied);
}

#[test]
fn every_tool_must_be_allowed_and_one_that_is_denied_is_enough() {
    let tools = ["search".to_owned(), "exec".to_owned()];
    let of = |tools| Facts { tools, operation: "tools/call", model: None, ..chat() };
    let allow = "[{action: Allow, tools: [search, 'read*']}]";
    let deny = "[{action: Deny, tools: [exec]}, {action: Allow}]";
    assert_eq!(by_rules(allow, &of(&tools[..1])).0, Reason::Allowed);
    assert_eq!(by_rules(allow, &of(&tools)).0, Reason::NoRule);
    assert_eq!(by_rules(deny, &of(&tools[..1])).0, Reason::Allowed);
    assert_eq!(by_rules(deny, &of(&tools)).0, Reason::Denied);
}

/// A call of a tool with this.
fn call(tool: &str, args: &str) -> ToolCall {
    let arguments = Arguments::Written(args.as_bytes().into());
    ToolCall { tool: tool.into(), server: "tools.example".into(), arguments }
}

#[test]
fn a_rule_that_allows_is_met_by_calls_that_meet_each_of_its_conditions() {
    let written = "{action: Allow, tools: ['write*', read], toolConditions: [{tool: 'write*', when: 'args.n < 5'}, \
                   {tool: '*', when: 'server == \"tools.example\"'}]}";
    let judged = |rules: &str, class, tools: &[&str], calls: &[ToolCall]| {
        let tools: Vec<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
        let facts = Facts { tools: &tools, calls, model: None, ..facts(class, "tools/call", None) };
        by_rules(rules, &facts)
    };
    let infer = OperationClass::Infer;
    let (good, bad) = (call("write", r#"{"n":1}"#), call("write", r#"{"n":9}"#));
    let elsewhere = ToolCall { server: "other.example".into(), ..good.clone() };
    let one = format!("[{written}]");
    for (what, tools, calls, expected) in [
        ("met", &["write"][..], &[good.clone()][..], Reason::Allowed),
        ("not met", &["write"], std::slice::from_ref(&bad), Reason::ToolArguments),
        ("cannot be told", &["write"], &[call("write", "{}")], Reason::ToolArguments),
        (
            "no JSON that all read alike",
            &["write"],
            &[call("write", r#"{"n":1,"n":1}"#)],
            Reason::ToolArguments,
        ),
        ("nobody looked", &["write"], &[], Reason::ToolArguments),
        ("one of two", &["write"], &[good.clone(), bad.clone()], Reason::ToolArguments),
        ("of another server", &["write"], &[elsewhere], Reason::ToolArguments),
        ("only one condition is for it", &["read"], &[call("read", r#"{"n":9}"#)], Reason::Allowed),
        ("no tool of the list", &["exec"], &[call("exec", r#"{"n":1}"#)], Reason::NoRule),
        ("no tool at all", &[], &[], Reason::Allowed),
    ] {
        assert_eq!(judged(&one, infer, tools, calls).0, expected, "{what}");
    }
    // Nobody knows what it calls.
    let all = one.replace("tools: ['write*', read]", "classes: [infer, unknown]");
    assert_eq!(judged(&all, OperationClass::Unknown, &[], &[]).0, Reason::ToolArguments);
    // Another rule may still allow it, or deny it.
    let then =
        |more: &str| judged(&format!("[{written}, {more}]"), infer, &["write"], std::slice::from_ref(&bad)).0;
    assert_eq!(then("{action: Allow, consumers: [alice]}"), Reason::Allowed);
    assert_eq!(then("{action: Allow, consumers: [bob]}"), Reason::ToolArguments);
    assert_eq!(then("{action: Deny, consumers: [alice]}"), Reason::Denied);
}

#[test]
fn all_rules_share_the_steps_of_their_conditions() {
    let list: Vec<_> = (0..2000).map(|at| at.to_string()).collect();
    let calls = [call("t", &format!(r#"{{"l":[{}]}}"#, list.join(",")))];
    let tools = ["t".to_owned()];
    let facts = Facts { tools: &tools, calls: &calls, model: None, ..chat() };
    let costly =
        "{action: Allow, toolConditions: [{tool: t, when: 'args.l.all(x, x >= 0) && args.l.size() == 0'}]}";
    let cheap = "{action: Allow, toolConditions: [{tool: t, when: 'args.l.size() == 2000'}]}";
    let rules = |costly_ones: usize| {
        let rules: Vec<_> = std::iter::repeat_n(costly, costly_ones).chain([cheap]).collect();
        format!("[{}]", rules.join(", "))
    };
    assert_eq!(by_rules(&rules(1), &facts).0, Reason::Allowed);
    assert_eq!(by_rules(&rules(60), &facts).0, Reason::ToolArguments);
}

#[test]
fn a_condition_that_is_not_met_is_told_with_its_rule_and_nothing_of_the_arguments() {
    let spec = "authentication: {anonymous: true}\n  rules: [{name: w, action: Allow, toolConditions: [{tool: t, when: 'args.n < 5'}]}]";
    let (found, _) = here(vec![policy("p", ROUTE, spec)]);
    assert!(found.asks_for_arguments());
    let (tools, calls) = (["t".to_owned()], [call("t", r#"{"n":"a-secret"}"#)]);
    let facts = Facts { tools: &tools, calls: &calls, model: None, ..chat() };
    let verdict = found.judge(&consumer("alice", &[]), &facts);
    assert_eq!((verdict.reason, verdict.rule.as_deref()), (Reason::ToolArguments, Some("w")));
    let told = &verdict.message;
    let rule = "by InferencePolicy n/p spec.rules[0] (p.yaml:7:11) the condition on t is not met: args.n < 5";
    assert!(told.starts_with(rule) && !told.contains("a-secret"), "{told}");
    let without = "authentication: {anonymous: true}\n  rules: [{action: Allow, tools: [t]}]";
    assert!(!here(vec![policy("p", ROUTE, without)]).0.asks_for_arguments());
}

#[test]
fn a_refusal_says_which_rule_and_where_and_nothing_of_the_claims() {
    let spec = "authentication: {anonymous: true}\n  rules: [{name: never, action: Deny, when: 'claims.email.size() > 3'}]";
    let (found, _) = here(vec![policy("p", ROUTE, spec)]);
    let verdict = found.judge(&consumer("alice", &[]), &chat());
    let source = verdict.source.clone().unwrap();
    assert_eq!(source.to_string(), "InferencePolicy n/p spec.rules[0] (p.yaml:7:11)");
    assert!(
        verdict.message.contains("p.yaml:7") && !verdict.message.contains("alice@"),
        "{}",
        verdict.message
    );
    assert_eq!(verdict.reason.status(), 403);
}

/// One rule after the other, as the reference says it.
fn naive(rules: &[InferenceRule], consumer: &Consumer, facts: &Facts<'_>) -> Reason {
    for rule in rules {
        let denies = rule.action == InferenceAction::Deny;
        let any = |list: &[Arc<str>], texts: &[&str]| {
            let glob =
                |it: &Arc<str>| Glob::new(&if denies { it.replace('*', "**") } else { it.to_string() });
            list.is_empty() || texts.iter().any(|text| list.iter().any(|it| glob(it).matches(text)))
        };
        let groups: Vec<&str> = consumer.groups.iter().map(|it| &**it).collect();
        let name: &[&str] = if consumer.name.is_empty() { &[] } else { &[&consumer.name] };
        let class = match (rule.classes.is_empty(), denies) {
            (true, true) => true,
            (true, false) => facts.class == OperationClass::Infer,
            (false, _) => rule.classes.contains(&facts.class),
        };
        let is_loose = matches!(facts.class, OperationClass::Introspect | OperationClass::Admin)
            || matches!(facts.class, OperationClass::Infer | OperationClass::Unknown)
                && !facts.tools.is_empty();
        let model = match facts.model {
            _ if rule.models.is_empty() => true,
            Some(model) => any(&rule.models, &[model]),
            None => is_loose != denies,
        };
        let is_listed = |tool: &String| any(&rule.tools, &[tool.as_str()]);
        let tools = rule.tools.is_empty()
            || if denies { facts.tools.iter().any(is_listed) } else { facts.tools.iter().all(is_listed) };
        let whom = any(&rule.consumers, name) && any(&rule.groups, &groups);
        if whom && class && any(&rule.operations, &[facts.operation]) && model && tools {
            return if denies { Reason::Denied } else { Reason::Allowed };
        }
    }
    Reason::NoRule
}

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(of), 0..3)
}

fn rule() -> impl Strategy<Value = String> {
    let lists = (
        words(&["alice", "a*", "b/*", "**"]),
        words(&["x", "y*"]),
        words(&["infer", "introspect", "admin", "mutate-weights", "unknown"]),
        words(&["chat", "c*", "tools/*"]),
        words(&["m", "m/*", "m*"]),
        words(&["t", "u*"]),
    );
    (any::<bool>(), lists).prop_map(|(allows, (consumers, groups, classes, operations, models, tools))| {
        let fields = [
            ("consumers", consumers),
            ("groups", groups),
            ("classes", classes),
            ("operations", operations),
            ("models", models),
            ("tools", tools),
        ];
        let written = fields.iter().filter(|(_, list)| !list.is_empty());
        let written: Vec<_> =
            written.map(|(name, list)| format!(", {name}: ['{}']", list.join("', '"))).collect();
        format!("{{action: {}{}}}", if allows { "Allow" } else { "Deny" }, written.concat())
    })
}

proptest! {
    #[test]
    fn rules_are_judged_as_a_naive_reading_judges_them(
        rules in prop::collection::vec(rule(), 1..5),
        name in prop::sample::select(&["", "alice", "b/c", "d"][..]),
        groups in words(&["x", "y1", "z"]),
        class in prop::sample::select(OperationClass::WORDS.map(|(_, class)| class).to_vec()),
        operation in prop::sample::select(&["chat", "tools/call", "embed"][..]),
        model in prop::sample::select(&[None, Some("m"), Some("m/n"), Some("o")][..]),
        tools in words(&["t", "u1", "v"]),
    ) {
        let spec = format!("authentication: {{anonymous: true}}\n  rules: [{}]", rules.join(", "));
        let policy = policy("p", ROUTE, &spec);
        let written: Vec<_> = policy.rules.iter().flat_map(|it| &it.value).map(|it| it.value.clone()).collect();
        let tools: Vec<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
        let facts = Facts { tools: &tools, ..facts(class, operation, model) };
        let consumer = consumer(name, &groups);
        let expected = naive(&written, &consumer, &facts);
        prop_assert_eq!(here(vec![policy]).0.judge(&consumer, &facts).reason, expected);
    }
}
