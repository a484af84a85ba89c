//! Who may use the API: who has the token of the file, whom an identity provider knows, and whom the cluster knows.
//!
//! Enters: tokens. Leaves: names and roles. Guarantees: the token of the file is tried first and those of an identity provider next,
//! and both are sent nowhere; names of the cluster begin with [`OF_CLUSTER`] and those of a provider with [`OF_ISSUER`], so that
//! nobody of either can be taken for another. Does not: keep tokens.

use super::oidc::{OF_ISSUER, Oidc};
use api::{Authenticate, NotRecognised, Recognition, Remembering, Role, Token, Who};
use controller::reviewer::{May, NotReviewed, Reviewer};
use std::time::Duration;

/// What names begin with that the cluster's API server gave.
const OF_CLUSTER: &str = "kubernetes:";
/// How long a browser's log-in holds that the cluster vouched for: nobody asks it again meanwhile.
const SESSION: Duration = Duration::from_secs(3600);

/// Everybody who is recognised.
pub(super) struct Login {
    file: Token,
    oidc: Option<Oidc>,
    cluster: Option<Remembering<OfCluster>>,
}

impl Login {
    pub(super) fn new(file: Token, oidc: Option<Oidc>, cluster: Option<Reviewer>) -> Self {
        Self { file, oidc, cluster: cluster.map(|reviewer| Remembering::new(OfCluster(reviewer))) }
    }
}

impl Authenticate for Login {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            let mut answer = self.file.recognise(token).await;
            if let (Err(NotRecognised::Wrong), Some(oidc)) = (&answer, &self.oidc) {
                answer = oidc.recognise(token).await;
            }
            if let (Err(NotRecognised::Wrong), Some(cluster)) = (&answer, &self.cluster) {
                answer = cluster.recognise(token).await;
            }
            answer
        })
    }

    fn session(&self, who: &Who) -> Duration {
        match (&self.cluster, &self.oidc) {
            (Some(cluster), _) if who.name.starts_with(OF_CLUSTER) => cluster.session(who),
            (_, Some(oidc)) if who.name.starts_with(OF_ISSUER) => oidc.session(who),
            (_, _) => self.file.session(who),
        }
    }
}

/// Asks the API server of the cluster.
struct OfCluster(Reviewer);

impl Authenticate for OfCluster {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            let (name, may) = self.0.recognise(token).await.map_err(|error| match error {
                NotReviewed::Refused(_) => NotRecognised::Wrong,
                NotReviewed::Unavailable(why) => NotRecognised::Unavailable(why),
            })?;
            let name = format!("{OF_CLUSTER}{name}");
            match may {
                None => Err(NotRecognised::NoRole(name.into())),
                Some(may) => Ok(Who { name: name.into(), role: role(may) }),
            }
        })
    }

    fn session(&self, _who: &Who) -> Duration {
        SESSION
    }
}

fn role(may: May) -> Role {
    match may {
        May::Look => Role::Viewer,
        May::Operate => Role::Operator,
        May::Everything => Role::Admin,
    }
}
