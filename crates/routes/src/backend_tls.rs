//! Which BackendTLSPolicy holds for a port of a Service.
//!
//! Guarantees: one that names the port goes before one that means all of the Service, then the older; where the one that holds cannot be
//! applied, the Service must not be asked, for the API forbids to ask it without TLS then.

use crate::known::Known;
use crate::matching::Age;
use crate::rule::{BackendTls, Resource};
use crate::status::Reason;
use crds::{BackendTlsPolicy, ServicePort};
use std::sync::Arc;

/// How a port of a Service is asked; `None`: without TLS.
///
/// # Errors
/// Why it cannot be asked.
pub(crate) fn of(
    known: &Known<'_>,
    service: &Resource,
    port: &ServicePort,
) -> Result<Option<Arc<BackendTls>>, String> {
    let policies = known.backend_tls.get(service).map(Vec::as_slice).unwrap_or_default();
    let rank = |policy: &&BackendTlsPolicy| {
        let own = policy.targets.iter().filter(|(name, _)| *name == service.name);
        let sections = own.filter(|(_, section)| section.is_none() || *section == port.name);
        sections.map(|(_, section)| section.is_none()).min()
    };
    let meant = policies.iter().copied().filter_map(|policy| Some((rank(&policy)?, policy)));
    let Some((_, policy)) = meant.min_by_key(|(rank, policy)| (*rank, Age::of(&policy.meta))) else {
        return Ok(None);
    };
    let named =
        format!("BackendTLSPolicy {}/{} ({})", policy.meta.namespace, policy.meta.name, policy.position);
    if let Some(why) = &policy.broken {
        return Err(format!("{named} cannot be applied: {why}"));
    }
    let authorities = authorities(known, policy).map_err(|(_, why)| format!("{named}: {why}"))?;
    Ok(Some(Arc::new(BackendTls { hostname: policy.hostname.clone(), authorities })))
}

/// Whom a policy trusts, in PEM; `None`: whom the system trusts.
///
/// # Errors
/// What is not there, or is none.
pub(crate) fn authorities(
    known: &Known<'_>,
    policy: &BackendTlsPolicy,
) -> Result<Option<Arc<str>>, (Reason, String)> {
    let mut authorities = String::new();
    for reference in &policy.authorities {
        let name = &reference.name;
        if !reference.group.is_empty() || &*reference.kind != "ConfigMap" {
            let why = format!("it names a {}, and certificates are in a ConfigMap", reference.kind);
            return Err((Reason::InvalidKind, why));
        }
        let bundle = Resource { namespace: policy.meta.namespace.clone(), name: name.clone() };
        let elsewhere = reference.namespace.as_ref().is_some_and(|it| *it != bundle.namespace);
        let found = known.bundles.get(&bundle).filter(|text| !elsewhere && !text.is_empty());
        let Some(found) = found else {
            let why = format!("ConfigMap {name} with ca.crt is not there");
            return Err((Reason::InvalidCaCertificateRef, why));
        };
        authorities.push_str(found);
        authorities.push('\n');
    }
    Ok((!policy.authorities.is_empty()).then(|| authorities.into()))
}

/// Which other policy holds for everything that this one is for.
pub(crate) fn instead_of<'o>(known: &Known<'o>, policy: &BackendTlsPolicy) -> Option<&'o BackendTlsPolicy> {
    let older = |target: &(Arc<str>, Option<Arc<str>>)| {
        let service = Resource { namespace: policy.meta.namespace.clone(), name: target.0.clone() };
        let same = known.backend_tls.get(&service)?.iter().copied();
        let same = same.filter(|other| other.targets.contains(target));
        same.min_by_key(|other| Age::of(&other.meta)).filter(|first| first.meta.name != policy.meta.name)
    };
    let mut found = policy.targets.iter().map(older);
    let first = found.next()??;
    found.all(|other| other.is_some()).then_some(first)
}
