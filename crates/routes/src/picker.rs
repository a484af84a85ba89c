//! Who picks the endpoints of an InferencePool, and what its status says (Gateway API Inference Extension,
//! <https://gateway-api-inference-extension.sigs.k8s.io/reference/spec/>).
//!
//! Guarantees: a picker is a TCP port of a Service of the pool's namespace that is no name elsewhere; one that is not there is still
//! a picker, whom nobody can ask, so that its pool fails as it says.

use crate::backend_tls;
use crate::known::Known;
use crate::rule::{Fault, Picker, Target};
use crds::{InferencePool, Protocol};

/// The picker of a pool that is a backend.
pub(crate) fn of(known: &Known<'_>, target: &Target) -> Option<Picker> {
    let Target::Pool { pool, .. } = target else { return None };
    let pool = known.pools.get(pool)?;
    let is_lenient = pool.picker.as_ref()?.is_lenient;
    Some(match find(known, pool)? {
        Ok(mut picker) => {
            picker.is_lenient = is_lenient;
            picker
        }
        Err((fault, _)) => Picker { target: Target::Nobody(fault), tls: None, is_lenient },
    })
}

/// The picker that a pool names. The error: why it cannot be asked. `None`: the pool names none.
pub(crate) fn find(known: &Known<'_>, pool: &InferencePool) -> Option<Result<Picker, (Fault, String)>> {
    let written = pool.picker.as_ref()?;
    let reference = &written.reference;
    if !reference.group.is_empty() || &*reference.kind != "Service" {
        let why = format!("endpointPickerRef: a {} is no Service", reference.kind);
        return Some(Err((Fault::Kind, why)));
    }
    let service = Known::meant(reference, &pool.meta.namespace);
    let shown = format!("endpointPickerRef: Service {}/{}", service.namespace, service.name);
    let Some(number) = reference.port else {
        return Some(Err((Fault::Missing, format!("{shown}: port.number says where the picker is asked"))));
    };
    let found = known.services.get(&service).filter(|it| &*it.service_type != "ExternalName");
    let is_it = |port: &&crds::ServicePort| port.port == number && port.protocol == Protocol::Tcp;
    let Some(port) = found.and_then(|it| it.ports.iter().find(is_it)) else {
        return Some(Err((Fault::Missing, format!("{shown} with port {number} is not there"))));
    };
    let tls = match backend_tls::of(known, &service, port) {
        Ok(tls) => tls,
        Err(why) => return Some(Err((Fault::Tls, why))),
    };
    let target = Target::Service { service, port: number, is_h2: true };
    Some(Ok(Picker { target, tls, is_lenient: false }))
}
