//! Containments: pods that reach nobody and are reached by nobody.
//!
//! Enters: one object. Leaves: a policy of the Admin tier that denies everything in both directions and is judged before all
//! others ([`policy::order`]), or the scope to close if it is broken. Does not: know the time; whoever compiles leaves out what is
//! over.

use super::{Closure, Draft, reason, rule_field};
use crate::convert::{Context, object_name, source};
use crate::world::contained_label;
use crds::{Code, Contained, Diagnostic};
use policy::{
    Action, CONTAINMENT, Direction, Dns, NamespaceScope, Peers, Policy, Ports, Requirement, Rule, RuleEntry,
    RuleId, Section, Selector, Subject, Tier,
};

pub(super) fn draft(context: &mut Context, written: &crds::Containment) -> Draft {
    let object = context.object(CONTAINMENT, &written.meta);
    let at = source(&written.position);
    let namespaces = match &written.namespace {
        Some(namespace) => NamespaceScope::Own(context.interner.text(namespace)),
        // It may be any.
        None => NamespaceScope::Matching(Selector::everything()),
    };
    let pods = match &written.whom {
        Contained::Pods(selector) => context.selector(selector),
        // Nobody knows whose pods those would be.
        Contained::Workload { .. } if written.namespace.is_none() => Selector::everything(),
        Contained::Workload { .. } => {
            let label = context.interner.text(&contained_label(&written.meta.name));
            context.interner.selector([Requirement::Exists(label)])
        }
    };
    let subject = Subject { namespaces, pods };
    if written.broken {
        let (field, directions) = (context.interner.text(""), vec![Direction::Egress, Direction::Ingress]);
        return Draft::Closed(Closure { object, source: at, field, subject, directions });
    }
    if at.is_some() {
        let message =
            "from a file it holds as long as it is written there: only a controller looks at its end";
        let note = Diagnostic::note(Code::Unsupported, message).of(object_name(&object));
        context.report(note.at(written.position.clone()).field("spec.until"));
    }
    let mut entries = Vec::new();
    let mut section = |direction| {
        let id = RuleId(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        entries.push(RuleEntry {
            reason: reason(Tier::Admin, Action::Deny),
            object: Some(object.clone()),
            direction: Some(direction),
            index: Some(0),
            name: Some(context.interner.text("contained")),
            field: rule_field(context, direction, 0),
            source: at.clone(),
            upload: None,
            requests: None,
        });
        Section::Rules(vec![Rule { id, action: Action::Deny, peers: Peers::Everyone, ports: Ports::All }])
    };
    let (ingress, egress) = (section(Direction::Ingress), section(Direction::Egress));
    let policy = Policy {
        object: object.clone(),
        source: at.clone(),
        tier: Tier::Admin,
        priority: 0,
        subject,
        ingress,
        egress,
        isolation: [RuleId::NO_POLICY; 2],
        dns: Dns::default(),
    };
    Draft::Judged { policy: Box::new(policy), entries }
}

#[cfg(test)]
mod tests {
    use crate::{Compiled, Preparer, built_in_catalog, compile, compile_prepared};
    use policy::{Access, Endpoint, Generation, Protocol, Verdict, decide};

    /// Pods of two ReplicaSets of one Deployment, of a Job of a CronJob, and of workloads whose names only look like it; and a policy
    /// that accepts everything and comes first by priority and name.
    const WORLD: &str = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: \"0\"}
spec:
  tier: Admin
  priority: 0
  subject: {namespaces: {}}
  ingress: [{action: Accept, from: [{namespaces: {}}]}]
  egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]
";
    const PODS: [(&str, &str, &str); 6] = [
        ("10.0.0.1", "ReplicaSet/web-5d4f8", "app: web, pod-template-hash: 5d4f8"),
        ("10.0.0.2", "ReplicaSet/web-77777", "app: web, pod-template-hash: '77777'"),
        ("10.0.0.3", "ReplicaSet/web-api", "app: web"),
        ("10.0.0.4", "Job/night-28391", "app: night"),
        ("10.0.0.5", "Job/night-shift", "app: night"),
        ("10.0.0.6", "Deployment/web", "app: other"),
    ];

    fn world() -> String {
        let mut text = WORLD.to_owned();
        for (address, owner, labels) in PODS {
            let (kind, name) = owner.split_once('/').unwrap();
            text += &format!(
                "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{}, namespace: x, labels: {{{labels}}}, ownerReferences: \
                 [{{kind: {kind}, name: {name}}}]}}, spec: {{nodeName: n, containers: [{{name: c, image: i}}]}}, \
                 status: {{podIP: {address}}}}}\n",
                address.replace('.', "-")
            );
        }
        text
    }

    fn containment(name: &str, spec: &str) -> String {
        format!(
            "---\n{{apiVersion: cofferdam.dev/v1alpha1, kind: Containment, metadata: {{name: {name}}}, \
             spec: {{namespace: x, until: '2026-12-31T18:00:00Z', {spec}}}}}\n"
        )
    }

    /// Of each pod, whether it reaches the outside and is reached from there.
    fn cut_off(compiled: &Compiled) -> Vec<bool> {
        let outside = Endpoint::at(&compiled.set.world, "192.0.2.1".parse().unwrap());
        let judge =
            |from, to| decide(&compiled.set, &Access { from, to, protocol: Protocol::TCP, port: 80 }).verdict;
        PODS.iter()
            .map(|(address, ..)| {
                let pod = Endpoint::at(&compiled.set.world, address.parse().unwrap());
                let both = [judge(pod, outside), judge(outside, pod)];
                assert!(both[0] == both[1], "both ways: {address}");
                both[0] == Verdict::Deny
            })
            .collect()
    }

    fn compiled(containments: &str) -> Compiled {
        let text = world() + containments;
        compile(crds::read_objects("t.yaml", text.as_bytes()).objects, Generation(1))
    }

    #[test]
    fn exactly_the_pods_of_a_workload_are_cut_off_before_all_other_policy() {
        for (spec, expected) in [
            ("workload: {kind: Deployment, name: web}", [true, true, false, false, false, true]),
            ("workload: {kind: ReplicaSet, name: web-5d4f8}", [true, false, false, false, false, false]),
            ("workload: {kind: CronJob, name: night}", [false, false, false, true, false, false]),
            ("workload: {kind: Deployment, name: nobody}", [false; 6]),
            ("podSelector: {matchLabels: {app: web}}", [true, true, true, false, false, false]),
            ("podSelector: {}", [true; 6]),
        ] {
            let compiled = compiled(&containment("z", spec));
            assert_eq!(cut_off(&compiled), expected, "{spec}");
            let errors: Vec<_> = compiled.diagnostics.iter().filter(|it| it.is_error()).collect();
            assert!(errors.is_empty(), "{spec}: {errors:?}");
            let first = compiled.set.policies.first().unwrap();
            assert_eq!(first.object.to_string(), "Containment z", "{spec}");
        }
        assert_eq!(cut_off(&compiled("")), [false; 6]);
    }

    #[test]
    fn several_containments_do_not_get_in_each_others_way() {
        let both = containment("a", "workload: {kind: Deployment, name: web}")
            + &containment("b", "workload: {kind: ReplicaSet, name: web-5d4f8}")
            + &containment("c", "workload: {kind: CronJob, name: night}");
        assert_eq!(cut_off(&compiled(&both)), [true, true, false, true, false, true]);
    }

    #[test]
    fn one_that_cannot_be_read_closes_what_it_may_select() {
        let by_labels = containment("z", "podSelector: {matchLabels: {pod-template-hash: 5d4f8}}");
        let by_workload = containment("z", "workload: {kind: ReplicaSet, name: web-5d4f8}");
        let one = [true, false, false, false, false, false];
        for (text, from, to, expected) in [
            (&by_labels, "'2026-12-31T18:00:00Z'", "soon", one),
            (&by_labels, "namespace: x", "namespace: '#'", one),
            (&by_labels, "matchLabels", "labels", [true; 6]),
            (&by_workload, "'2026-12-31T18:00:00Z'", "soon", one),
            (&by_workload, "kind: ReplicaSet", "kinds: ReplicaSet", [true; 6]),
            (&by_workload, "namespace: x", "namespace: '#'", [true; 6]),
        ] {
            let compiled = compiled(&text.replace(from, to));
            assert_eq!(cut_off(&compiled), expected, "{to}");
        }
    }

    #[test]
    fn whose_time_is_over_is_left_out_by_who_knows_the_time() {
        let text = world() + &containment("z", "podSelector: {}");
        let mut preparer = Preparer::default();
        let objects = crds::read_objects("t.yaml", text.as_bytes()).objects;
        let prepared: Vec<_> = objects.into_iter().map(|object| preparer.prepare(object)).collect();
        assert_eq!(prepared.iter().filter(|it| it.is_containment()).count(), 1);
        for (seconds, expected) in [(1_798_739_999, [true; 6]), (1_798_740_000, [false; 6])] {
            let left = prepared.iter().filter(|it| !it.is_over(seconds));
            let compiled = compile_prepared(left, built_in_catalog(), Generation(1));
            assert_eq!(cut_off(&compiled), expected, "{seconds}");
        }
    }

    #[test]
    fn pods_of_their_nodes_network_are_told_of() {
        let pod = "---\n{apiVersion: v1, kind: Pod, metadata: {name: h, namespace: x}, spec: {hostNetwork: true, \
                   nodeName: n, containers: [{name: c, image: i}]}}\n";
        let compiled = compiled(&(pod.to_owned() + &containment("z", "workload: {kind: Pod, name: h}")));
        let said: Vec<String> = compiled.diagnostics.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|it| it.contains("use their node's network")), "{said:?}");
    }
}
