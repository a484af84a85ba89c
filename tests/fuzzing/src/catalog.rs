//! Any bytes are a catalog or errors, and what is read is what policies may be made of; a price list or errors, in amounts that can
//! be counted.

use crds::{Catalog, PriceList};

pub(crate) fn run(bytes: &[u8]) {
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
    match PriceList::read("fuzz.yaml", bytes) {
        Ok(list) => {
            assert!((1..=crds::MOST_PRICES).contains(&list.prices.len()));
            assert!(list.prices.iter().all(|price| price.input.max(price.output) < 1 << 62));
        }
        Err(found) => assert!(found.iter().any(crds::Diagnostic::is_error)),
    }
}
