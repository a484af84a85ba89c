//! Any bytes as a node's kept copy are refused or give a policy set whose every rule has its entry, which can be
//! lowered, and which comes back the same from what the copy writes.

use feed::Replica;
use policy::Direction;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(replica) = Replica::from_bytes(bytes) else { return };
    let set = replica.policy_set();
    for policy in &set.policies {
        for direction in [Direction::Egress, Direction::Ingress] {
            assert!(set.rule(policy.isolation(direction)).is_some());
            assert!(policy.section(direction).rules().iter().all(|rule| set.rule(rule.id).is_some()));
        }
    }
    for scope in &set.closed {
        assert!(set.rule(scope.rule).is_some() && !scope.directions.is_empty());
    }
    let _table = compiler::lower::lower(&set, "node", &Default::default());
    let again = Replica::from_bytes(&replica.to_bytes()).expect("what a copy writes can be read");
    assert_eq!(replica.to_bytes(), again.to_bytes());
}
