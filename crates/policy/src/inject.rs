//! With which key a request that a rule allows leaves, in place of what its pod sent.
//!
//! Guarantees: says where a key is, never what it is. Does not: know any service; which field a key goes in is told by
//! `inspect`, unless the rule names it.

use crate::labels::Requirement;
use crate::rule::{Policy, RuleId};
use crate::set::PolicySet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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

/// The label that a workload has which comes to an egress gateway without a node, with the name of its service account.
pub const ACCOUNT_LABEL: &str = "cofferdam.dev/service-account";

/// Where the keys are that rules put into requests of workloads without a node. A policy that is meant for such workloads names
/// [`ACCOUNT_LABEL`] in its subject; the keys of others, which select them with all pods, are not told to who serves them.
pub fn keys_of_accounts(set: &PolicySet) -> BTreeSet<&SecretRef> {
    let rules = set.policies.iter().filter(|policy| names_accounts(policy));
    let rules = rules.flat_map(|policy| policy.egress.rules());
    rules.filter_map(|rule| Some(&set.requests(rule.id)?.inject.as_ref()?.secret)).collect()
}

/// Whether a rule is of a policy that is meant for workloads without a node: only then its key is put into their requests, also
/// where another such policy has the same key, and who serves them knows it.
pub fn is_for_accounts(set: &PolicySet, rule: RuleId) -> bool {
    let policies = set.policies.iter().filter(|policy| names_accounts(policy));
    policies.flat_map(|policy| policy.egress.rules()).any(|of_policy| of_policy.id == rule)
}

fn names_accounts(policy: &Policy) -> bool {
    policy.subject.pods.0.iter().any(|requirement| match requirement {
        Requirement::In(key, _) | Requirement::Exists(key) => key.as_ref() == ACCOUNT_LABEL,
        Requirement::NotIn(..) | Requirement::DoesNotExist(_) => false,
    })
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
