//! With which key a request that a rule allows leaves, in place of what its pod sent.
//!
//! Guarantees: says where a key is, never what it is. Does not: know any service; which field a key goes in is told by
//! `inspect`, unless the rule names it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Where a key is: one entry of the data of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// Namespace of the Secret.
    pub namespace: Arc<str>,
    /// Name of the Secret.
    pub name: Arc<str>,
    /// Name of the entry of its data.
    pub key: Arc<str>,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of Secret {}/{}", self.key, self.namespace, self.name)
    }
}

/// With which key requests leave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inject {
    /// Where the key is.
    pub secret: SecretRef,
    /// The field of a request that it goes in, in lower case: `authorization` with `Bearer` before it, another alone.
    /// `None`: as the service has it, and where that is not known, nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Arc<str>>,
}

impl Inject {
    /// Label that a Secret must have for its keys to be used, with [`Self::LABEL_VALUE`].
    pub const LABEL: &'static str = "cofferdam.dev/inject";
    /// Its value.
    pub const LABEL_VALUE: &'static str = "true";
}

impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "with {}", self.secret)?;
        match &self.header {
            Some(header) => write!(f, " in {header}, whatever key the pod sends"),
            None => f.write_str(", whatever key the pod sends"),
        }
    }
}
