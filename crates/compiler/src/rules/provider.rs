//! Providers of the catalog: which names and ports an entry of a policy stands for.
//!
//! Enters: the catalog, and what a policy asks of it. Leaves: patterns by their ports, or what is wrong.
//! Guarantees: what is asked is there as a whole, or nothing of it is: half a provider would be another policy.

use crds::{Catalog, CatalogHost, ProviderRef, Purpose};
use policy::{DnsName, DomainPattern};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with an entry, and what would be right.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) suggestion: String,
}

/// Patterns of the hosts that are meant, by their TCP ports.
pub(super) fn hosts(
    catalog: &Catalog,
    asked: &ProviderRef,
) -> Result<BTreeMap<Vec<u16>, Vec<DomainPattern>>, Wrong> {
    let name = &asked.name;
    let Some(provider) = catalog.providers.get(name) else {
        return Err(unknown(catalog, name));
    };
    if provider.hosts.is_empty() {
        return Err(Wrong {
            message: format!("the catalog leaves the hosts of {name} to be named"),
            suggestion: format!(
                "name them in a catalog of yours (--catalog), or write domains. {}",
                provider.note
            ),
        });
    }
    let is_meant = |host: &&CatalogHost| asked.purposes.is_empty() || asked.purposes.contains(&host.purpose);
    let meant: Vec<&CatalogHost> = provider.hosts.iter().filter(is_meant).collect();
    let has: BTreeSet<&str> = provider.hosts.iter().map(|host| host.purpose.as_str()).collect();
    let lacks = |purpose: &&Purpose| !meant.iter().any(|host| host.purpose == **purpose);
    if let Some(purpose) = asked.purposes.iter().find(lacks) {
        return Err(Wrong {
            message: format!("{name} has no host for {}", purpose.as_str()),
            suggestion: format!("it has hosts for {}", joined(&has)),
        });
    }
    let open: BTreeSet<&str> = meant.iter().flat_map(|host| host.parameters()).collect();
    let given: BTreeSet<&str> = asked.with.keys().map(AsRef::as_ref).collect();
    if let Some(word) = open.difference(&given).next() {
        return Err(Wrong {
            message: format!("hosts of {name} depend on {word}, which is not given"),
            suggestion: format!("write with: {{{word}: ...}}, or domains for some of its hosts"),
        });
    }
    if let Some(word) = given.difference(&open).next() {
        let words = if open.is_empty() { "nothing".to_owned() } else { joined(&open) };
        return Err(Wrong {
            message: format!("no host of {name} that is meant depends on {word:?}"),
            suggestion: format!("they depend on {words}"),
        });
    }
    let mut by_ports: BTreeMap<Vec<u16>, Vec<DomainPattern>> = BTreeMap::new();
    for host in meant {
        let mut text = host.host.to_string();
        for (word, value) in &asked.with {
            text = text.replace(&format!("{{{word}}}"), value);
        }
        let pattern = DomainPattern::parse_own(&text).map_err(|error| Wrong {
            message: format!("a host of {name}: {error}"),
            suggestion: "give another value in with".to_owned(),
        })?;
        let mut ports = host.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        by_ports.entry(ports).or_default().push(pattern);
    }
    Ok(by_ports)
}

/// A provider and a host of it that lies more than one label below a name.
pub(super) fn further_below<'c>(catalog: &'c Catalog, base: &DnsName) -> Option<(&'c str, &'c str)> {
    let (near, all) = (DomainPattern::OneBelow(base.clone()), DomainPattern::Below(base.clone()));
    let hosts = catalog.providers.values().flat_map(|provider| {
        let name = &*provider.name;
        provider.hosts.iter().map(move |host| (name, &*host.host))
    });
    // Most are told apart by their text.
    let mut below = hosts.filter(|(_, host)| host.ends_with(base.as_str()) && !host.contains('{'));
    below.find(|(_, host)| {
        DomainPattern::parse_own(host).is_ok_and(|host| all.covers(&host) && !near.covers(&host))
    })
}

fn unknown(catalog: &Catalog, name: &str) -> Wrong {
    let message = format!("the catalog has no provider {:?}", name.chars().take(80).collect::<String>());
    let suggestion = match catalog.nearest(name) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "`cofferdam catalog list` shows them; a catalog of yours (--catalog) adds to them".to_owned(),
    };
    Wrong { message, suggestion }
}

fn joined(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(", ")
}
