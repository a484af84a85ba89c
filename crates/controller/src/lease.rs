//! Which of several controllers leads: a Lease of `coordination.k8s.io`.
//!
//! Enters: a client and a name. Leaves: the moment this one leads, and the moment it sees that another does.
//! Guarantees: nobody's wall clock counts, only how long a lease was seen unchanged; while the API server is gone, who
//! leads goes on leading, for nobody else can take over. So two may lead for a moment: what they publish and write must
//! bear that. Does not: lead.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Who writes policies' status and serves agents.
pub const CONTROLLER: &str = "cofferdam-controller";
/// Who writes the status of what ingress gateways serve.
pub const INGRESS: &str = "cofferdam-ingress-gateway";
/// Not renewed for so long, it is free.
const TERM: Duration = Duration::from_secs(10);
/// How often it is looked at and renewed, and how long the server may take.
const EVERY: Duration = Duration::from_secs(2);

/// How one stands in the election.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It is not known yet.
    #[default]
    Unknown,
    /// The server lets it take no part; why.
    Barred(String),
    /// Waits; another leads.
    Stands(String),
    /// This one does.
    Leads,
}

/// Takes part in the election for the lease of this name until this one led and another took over; returns that one's name.
pub async fn run(
    client: Client,
    (namespace, name): (&str, &str),
    holder: &str,
    role: &watch::Sender<Role>,
) -> String {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen = Seen::default();
    loop {
        // While the server does not answer, nothing changes.
        match timeout(EVERY, api.get_opt(name)).await {
            Ok(Ok(lease)) => {
                let is_held_by_other = seen.note(lease.as_ref(), holder, Instant::now());
                match is_held_by_other {
                    Some(other) if *role.borrow() == Role::Leads => return other,
                    Some(other) => note(role, Role::Stands(other)),
                    None => match timeout(EVERY, claim(&api, name, lease, holder)).await {
                        Ok(Ok(())) => note(role, Role::Leads),
                        Ok(Err(error)) => bar(role, &error),
                        Err(_) => {}
                    },
                }
            }
            Ok(Err(error)) => bar(role, &error),
            Err(_) => {}
        }
        sleep(EVERY).await;
    }
}

fn note(role: &watch::Sender<Role>, new: Role) {
    role.send_if_modified(|role| {
        let differs = *role != new;
        *role = new;
        differs
    });
}

/// Whoever leads goes on leading, for the server refuses this one and not its work.
fn bar(role: &watch::Sender<Role>, error: &kube::Error) {
    let kube::Error::Api(status) = error else { return };
    // Where there is no such namespace nothing can be made in it, and that does not come by waiting.
    if matches!(status.code, 403 | 404) && *role.borrow() != Role::Leads {
        note(role, Role::Barred(status.message.clone()));
    }
}

/// The lease as it was seen last, and since when it is so.
#[derive(Default)]
struct Seen {
    version: Option<String>,
    since: Option<Instant>,
}

impl Seen {
    /// Who else holds it.
    fn note(&mut self, lease: Option<&Lease>, me: &str, now: Instant) -> Option<String> {
        let lease = lease?;
        if self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since = Some(now);
        }
        let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
        let is_fresh = self.since.is_some_and(|since| now.duration_since(since) < TERM);
        (holder != me && !holder.is_empty() && is_fresh).then(|| holder.clone())
    }
}

/// Takes or renews it; somebody else may be faster.
async fn claim(api: &Api<Lease>, name: &str, lease: Option<Lease>, me: &str) -> Result<(), kube::Error> {
    let params = PostParams::default();
    let now = MicroTime(Timestamp::now());
    let is_new = lease.is_none();
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(me) {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.lease_duration_seconds = i32::try_from(TERM.as_secs()).ok();
    spec.renew_time = Some(now);
    let written =
        if is_new { api.create(&params, &lease).await } else { api.replace(name, &params, &lease).await };
    written.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn whoever_cannot_stand_says_why() {
        for (code, role, expected) in [
            (403, Role::Unknown, Role::Barred("no".to_owned())),
            (404, Role::Unknown, Role::Barred("no".to_owned())),
            (409, Role::Unknown, Role::Unknown),
            (500, Role::Unknown, Role::Unknown),
            (404, Role::Leads, Role::Leads),
        ] {
            let role = watch::Sender::new(role);
            bar(&role, &kube::Error::Api(Status::failure("no", "").with_code(code).boxed()));
            assert_eq!(*role.borrow(), expected, "{code}");
        }
    }
}
