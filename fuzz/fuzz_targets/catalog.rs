//! Any bytes are a catalog or errors, and what is read is what policies may be made of.
#![no_main]

use crds::Catalog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Catalog::read("fuzz.yaml", bytes) {
        Ok(catalog) => {
            for (name, provider) in &catalog.providers {
                assert_eq!(*name, provider.name);
                for host in &provider.hosts {
                    assert!(host.ports.iter().all(|port| *port > 0));
                    assert!(host.host.contains('.') && !host.host.contains(char::is_uppercase));
                }
            }
        }
        Err(found) => assert!(found.iter().any(crds::Diagnostic::is_error)),
    }
});
