//! Who has a token, and what they may do with what Cofferdam knows: asked of the API server.
//!
//! Enters: tokens. Leaves: names, and how much somebody may do ([`May`]), by roles of RBAC on resources that exist for this alone.
//! Guarantees: a token that was made for somebody else is refused; an API server that does not answer in time recognises nobody.
//! Does not: remember, or keep tokens.

use feed::client::chain;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Group of the resources that are asked about.
const GROUP: &str = crate::definition::GROUP;

/// How much somebody may do; each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum May {
    /// `get records` of `cofferdam.dev`.
    Look,
    /// `update incidents` of `cofferdam.dev`.
    Operate,
    /// Every verb on every resource of `cofferdam.dev`.
    Everything,
}

impl May {
    /// Verb and resource, the most first.
    const ASKED: [(Self, &'static str, &'static str); 3] = [
        (Self::Everything, "*", "*"),
        (Self::Operate, "update", "incidents"),
        (Self::Look, "get", "records"),
    ];
}

/// Why a token was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReviewed {
    /// It is not valid, or for somebody else.
    #[error("{0}")]
    Refused(String),
    /// The API server did not answer, or refused to be asked.
    #[error("{0}")]
    Unavailable(String),
}

/// Who has a token.
///
/// # Errors
/// The token is not valid for this audience, or nobody could tell.
pub async fn review(client: Client, token: String, audience: &str) -> Result<UserInfo, NotReviewed> {
    let api: Api<TokenReview> = Api::all(client);
    let asked = TokenReview {
        spec: TokenReviewSpec { audiences: Some(vec![audience.to_owned()]), token },
        ..TokenReview::default()
    };
    let reviewed = api.create(&PostParams::default(), &asked).await;
    let reviewed = reviewed.map_err(|error| NotReviewed::Unavailable(chain(&error)))?;
    let status = reviewed.status.unwrap_or_default();
    if !status.authenticated.unwrap_or_default() {
        let why = status.error.unwrap_or_else(|| "it is no token of this cluster".to_owned());
        return Err(NotReviewed::Refused(format!("the token is not valid: {why}")));
    }
    // A server that ignores audiences answers without any.
    if !status.audiences.unwrap_or_default().iter().any(|it| it == audience) {
        return Err(NotReviewed::Refused(format!("the token is not for {audience}")));
    }
    Ok(status.user.unwrap_or_default())
}

/// Asks one API server.
#[derive(Clone)]
pub struct Reviewer {
    client: Client,
    audience: String,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Reviewer {
    /// Asks for tokens that were made for `audience`.
    pub fn new(client: Client, audience: String) -> Self {
        Self { client, audience }
    }

    /// Who has a token, and what they may do; `None`: nothing.
    ///
    /// # Errors
    /// The token is not valid here, or nobody could tell.
    pub async fn recognise(&self, token: &str) -> Result<(String, Option<May>), NotReviewed> {
        let asking = async {
            let user = review(self.client.clone(), token.to_owned(), &self.audience).await?;
            let name = user.username.clone().unwrap_or_default();
            if name.is_empty() {
                return Err(NotReviewed::Refused("the API server gives the token no name".to_owned()));
            }
            for (may, verb, resource) in May::ASKED {
                if self.may(&user, verb, resource).await? {
                    return Ok((name, Some(may)));
                }
            }
            Ok((name, None))
        };
        match timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(NotReviewed::Unavailable(format!("the API server took longer than {PATIENCE:?}"))),
        }
    }

    async fn may(&self, user: &UserInfo, verb: &str, resource: &str) -> Result<bool, NotReviewed> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let asked = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some(resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviewed = api.create(&PostParams::default(), &asked).await;
        let reviewed = reviewed.map_err(|error| NotReviewed::Unavailable(chain(&error)))?;
        let status = reviewed.status.unwrap_or_default();
        Ok(status.allowed && !status.denied.unwrap_or_default())
    }
}
