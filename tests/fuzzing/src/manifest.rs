//! Any bytes are read without a panic, within bounds, and the same way twice; nothing is skipped without a word.

pub(crate) fn run(bytes: &[u8]) {
    let read = crds::read_objects("fuzz.yaml", bytes);
    for diagnostic in &read.diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    for object in &read.objects {
        let broken = match object {
            crds::Object::NetworkPolicy(policy) => policy.broken,
            crds::Object::ClusterPolicy(policy) => policy.broken,
            _ => false,
        };
        assert!(object.position().line > 0 && object.position().column > 0);
        assert!(
            !broken || read.diagnostics.iter().any(crds::Diagnostic::is_error),
            "broken, and nothing said"
        );
    }
    assert_eq!(read, crds::read_objects("fuzz.yaml", bytes));
}
