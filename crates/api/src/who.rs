//! Who asks, and what they may do.

use crate::session::LASTS;
use schemars::JsonSchema;
use serde::Serialize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What somebody may do; each may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Acknowledge, take notes, contain, and take evidence away.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Somebody who was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Who {
    /// As audit entries have it.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// Why somebody was not recognised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecognised {
    /// The token is not one that is believed.
    #[error("the token is not valid here")]
    Wrong,
    /// Somebody who is known, and may do nothing here.
    #[error("{0} has no role here")]
    NoRole(Arc<str>),
    /// Whoever could tell cannot be reached; nobody is let in then.
    #[error("nobody can be recognised at the moment: {0}")]
    Unavailable(String),
}

/// What recognising somebody will give.
pub type Recognition<'a> = Pin<Box<dyn Future<Output = Result<Who, NotRecognised>> + Send + 'a>>;

/// Recognises people and programs by a bearer's token.
pub trait Authenticate: Send + Sync + 'static {
    /// Who has this token. It is never logged.
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a>;

    /// How long a browser's log-in holds that begins with such a token: nobody is asked again meanwhile.
    fn session(&self, who: &Who) -> Duration {
        let _ = who;
        LASTS
    }
}
