//! Whatever can be read compiles without a panic and the same way twice; rule ids stay dense, names unique, and a policy
//! that is broken is closed, never left out.

use crds::Object;
use policy::Generation;

pub(crate) fn run(bytes: &[u8]) {
    let objects = crds::read_objects("fuzz.yaml", bytes).objects;
    let broken = objects.iter().any(|object| match object {
        Object::NetworkPolicy(policy) => policy.broken,
        Object::ClusterPolicy(policy) => policy.broken,
        _ => false,
    });
    let compiled = compiler::compile(objects.clone(), Generation(1));
    let set = &compiled.set;
    assert!(!broken || !set.closed.is_empty(), "broken, and nothing closed");
    for policy in &set.policies {
        for rule in policy.ingress.rules().iter().chain(policy.egress.rules()) {
            let entry = set.rule(rule.id).expect("every rule has its entry");
            assert_eq!(entry.object.as_ref(), Some(&policy.object));
        }
    }
    for scope in &set.closed {
        assert!(set.rule(scope.rule).is_some());
    }
    let name = |pod: &policy::Pod| (pod.namespace.clone(), pod.name.clone());
    assert!(set.world.pods.windows(2).all(|pair| name(&pair[0]) < name(&pair[1])), "pods sorted, each once");
    assert!(set.world.pods.iter().all(|pod| set.world.namespaces.contains_key(&pod.namespace)));
    let again = compiler::compile(objects, Generation(1));
    assert_eq!(
        (&set.world, &set.policies, &set.rules),
        (&again.set.world, &again.set.policies, &again.set.rules)
    );
    assert_eq!(compiled.diagnostics, again.diagnostics);
}
