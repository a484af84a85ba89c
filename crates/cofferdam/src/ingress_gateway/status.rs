//! What an ingress gateway of a cluster has written to the status of what it serves.
//!
//! Enters: what was put in force and what could not. Leaves: [`Stands`] for the writer, and lines about how the writing goes.

use ::ingress::{ConfigError, Server};
use anyhow::Result;
use controller::ingress::{self, Candidate, Faults, Lacks, Stands, Told, Unserved, Writing};
use controller::lease::Role;
use kube::Client;
use routes::{Resource, Routing};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Where what is to be written goes.
pub(super) struct Statuses {
    stands: watch::Sender<Option<Arc<Stands>>>,
    pub(super) writing: watch::Receiver<Writing>,
    pub(super) service: Option<Resource>,
}

impl Statuses {
    /// Writes from now on, as long as the runtime is there.
    pub(super) fn start(
        runtime: &Runtime,
        client: Client,
        candidate: Candidate,
        service: Option<Resource>,
    ) -> Self {
        let (stands, to_write) = watch::channel(None);
        let (sender, writing) = watch::channel(Writing::default());
        runtime.spawn(async move { ingress::write(client, &candidate, to_write, sender).await });
        Self { stands, writing, service }
    }

    /// Has this written, where it differs.
    pub(super) fn say(&self, told: &Told<'_>) {
        let stands = Stands::new(told);
        self.stands.send_if_modified(|before| {
            let differs = before.as_deref() != Some(&stands);
            *before = Some(Arc::new(stands));
            differs
        });
    }
}

/// What is not in force although it is written well.
pub(super) fn faults(
    taken: &Result<Vec<ConfigError>, ConfigError>,
    server: &Server,
    routing: &Routing,
) -> Faults {
    let found = match taken {
        Ok(found) => found,
        Err(error) => return Faults { whole: Some(error.to_string()), ..Faults::default() },
    };
    let policies = found.iter().filter_map(|fault| match fault {
        ConfigError::Policy { at, why } => Some((at.object.clone(), why.clone())),
        ConfigError::Secret { .. }
        | ConfigError::TooMany(_)
        | ConfigError::Backend { .. }
        | ConfigError::Endpoints(_)
        | ConfigError::Barred(_)
        | ConfigError::Tls(_)
        | ConfigError::Listen { .. } => None,
    });
    let unserved = server.unserved().into_iter().filter_map(|(id, why)| {
        let listener = routing.listener(id)?;
        let lacks = match why {
            ::ingress::Unserved::Port => Lacks::Port,
            ::ingress::Unserved::Certificate => Lacks::Certificate,
        };
        Some(Unserved { gateway: listener.gateway.clone(), name: listener.name.clone(), lacks })
    });
    Faults { whole: None, listeners: unserved.collect(), policies: policies.collect() }
}

/// How the writing goes.
pub(super) fn line(writing: &Writing) -> String {
    let role = match &writing.role {
        Role::Unknown => "it is not known yet who writes status".to_owned(),
        Role::Barred(why) => format!(
            "this one may not stand to write status: {why}; give its service account get, create and update of that Lease (in the \
             chart, for a process with --gateway: ingressGateway.separateGateways)"
        ),
        Role::Stands(other) => format!("{other} writes status"),
        Role::Leads => "this one writes status".to_owned(),
    };
    match &writing.problem {
        None => role,
        Some(why) => format!("{role}, and cannot: {why}; it is tried again"),
    }
}

/// `NAMESPACE/NAME`
pub(super) fn object(text: &str) -> Result<Resource, String> {
    let (namespace, name) = text.split_once('/').ok_or("write it as NAMESPACE/NAME")?;
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err("write it as NAMESPACE/NAME".to_owned());
    }
    Ok(Resource { namespace: namespace.into(), name: name.into() })
}
