//! Who asks, once that is known.

use crate::cel::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// Who asks. Nothing of the credential itself is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Its name; empty for nobody in particular.
    pub name: Arc<str>,
    /// The groups it is in.
    pub groups: Vec<Arc<str>>,
    /// How it is known.
    pub how: Known,
    /// What its token says of it: a map, empty where there is no token.
    pub claims: Value,
}

impl Consumer {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { name: "".into(), groups: Vec::new(), how: Known::Anonymous, claims: Self::no_claims() }
    }

    /// The claims of who has no token.
    pub fn no_claims() -> Value {
        Value::Map(Arc::new(Map::default()))
    }
}

/// How somebody is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Not at all.
    Anonymous,
    /// By a key.
    ApiKey,
    /// By a token of the issuer that the policy calls so.
    Token(Arc<str>),
    /// By a certificate of this trust domain.
    Certificate(Arc<str>),
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::ApiKey => f.write_str("api-key"),
            Self::Token(issuer) => write!(f, "jwt {issuer}"),
            Self::Certificate(domain) => write!(f, "certificate {domain}"),
        }
    }
}
