//! Who may use the API: who has the token of the file, and whom the cluster knows.
//!
//! Enters: tokens. Leaves: names and roles. Guarantees: the token of the file is tried first and sent nowhere; names of the cluster
//! begin with [`OF_CLUSTER`], so that no user of it can be taken for another. Does not: keep tokens.

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
    cluster: Option<Remembering<OfCluster>>,
}

impl Login {
    pub(super) fn new(file: Token, cluster: Option<Reviewer>) -> Self {
        Self { file, cluster: cluster.map(|reviewer| Remembering::new(OfCluster(reviewer))) }
    }
}

impl Authenticate for Login {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        Box::pin(async move {
            match (self.file.recognise(token).await, &self.cluster) {
                (Err(NotRecognised::Wrong), Some(cluster)) => cluster.recognise(token).await,
                (answer, Some(_) | None) => answer,
            }
        })
    }

    fn session(&self, who: &Who) -> Duration {
        match &self.cluster {
            Some(cluster) if who.name.starts_with(OF_CLUSTER) => cluster.session(who),
            Some(_) | None => self.file.session(who),
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
