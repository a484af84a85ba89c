//! What stands at the hub: releases, rollouts, and for each cluster what it is to have and how it stands.
//!
//! Leaves: the definitions of PolicyRelease, ManagedCluster, Rollout and IdentitySlice, and the forms of the first three. Guarantees: a release's object cannot be changed
//! once it is there; what a cluster says of itself is in its status, which it may be allowed to write alone. Does not: write.

mod asked;
mod definition;
mod identity;
mod share;
mod stands;

pub use asked::{MOST_ACCEPTED, MOST_COMMANDS, RolloutSpec, StageSpec};
pub use definition::guards;
pub use identity::identity_slice;
pub use share::{Contender, Labels, Share, share};
pub use stands::{Accepted, Condition, RolloutStatus, StageStatus};

use crate::beside::MOST_DENIALS;
use crate::digest::Digest;
use crate::envelope::{Envelope, MOST_SIGNATURES};
use crate::memory::Memory;
use crate::release::{MOST_BYTES, Ref, Release};
use crate::rollout::{Denial, Evidence, Findings, Report, Wanted};
use crate::short::short;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Group and version of the kinds.
pub const API_VERSION: &str = "cofferdam.dev/v1alpha1";
/// Label of the fleet's policies in a cluster.
pub const LABEL: &str = "cofferdam.dev/of-fleet";
/// Label of a ManagedCluster: the fleet that it is of, where a hub has several.
pub const FLEET_LABEL: &str = "cofferdam.dev/fleet";
/// Policies of which a cluster's status lists the digest of each; of more, only that of all.
pub const MOST_LISTED: usize = 500;
/// Problems of a cluster that are read; it tells no more.
const MOST_PROBLEMS: usize = 32;
/// Most bytes of a text of a cluster that are read. A denial that is accepted is named by less.
const MOST_TEXT: usize = 512;
/// Largest number of a cluster that is read: the sum over all clusters of a rollout is still a whole number to every reader of JSON.
const MOST_COUNT: u64 = 10_000_000_000;

/// `spec` of a ManagedCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// What it is to have; left out: what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// What is done where a policy of the fleet was changed in the cluster.
    #[serde(default)]
    pub drift: Drift,
}

/// What is done where somebody changed a policy of the fleet in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drift {
    /// It is put back, and told.
    #[default]
    Correct,
    /// It is told.
    Report,
}

/// `status` of a ManagedCluster, written by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Another number each time it is written: that the cluster lives is seen by it, whatever its clock says.
    pub beat: i64,
    /// What it has in force.
    pub enforced: Ref,
    /// What it judges beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Ref>,
    /// What was seen of the newest of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Why it does not have what is wanted.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Policies of the fleet that were changed in the cluster since the release came.
    #[serde(default)]
    pub drift: Vec<String>,
    /// The fleet's policies as the cluster's API server has them.
    pub effective: Effective,
    /// What it remembers; a cluster that came back from a backup asks for it.
    pub memory: Memory,
}

/// Digests of policies as an API server has them, its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Of all of them: equal where two clusters have the same.
    pub digest: Digest,
    /// How many.
    pub policies: u64,
    /// By kind, namespace and name, of at most [`MOST_LISTED`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub each: BTreeMap<String, String>,
}

impl Effective {
    /// Of these policies.
    pub fn of(manifests: &[crate::Manifest]) -> Self {
        let listed = if manifests.len() > MOST_LISTED { &[] } else { manifests };
        let each = listed.iter().map(|it| (it.name.to_string(), it.digest().short().to_owned()));
        let digest = crate::release::digest_of(manifests);
        Self { digest, policies: manifests.len() as u64, each: each.collect() }
    }
}

impl ClusterStatus {
    /// As a rollout reads it. `heard`: when, by the hub's clock.
    ///
    /// The API server holds a cluster to no form, and what is read here goes into the status of its rollout, which is one object for
    /// all of them: lists, texts and numbers are cut to what a cluster has reason to say. What is cut off still counts.
    pub fn report(&self, heard: u64) -> Report {
        let first = self.problems.iter().take(MOST_PROBLEMS);
        let problems = first.map(|it| short(it.clone(), MOST_TEXT)).collect();
        let evidence = self.evidence.as_ref().map(bounded);
        Report { heard, enforced: self.enforced.clone(), shadow: self.shadow.clone(), evidence, problems }
    }
}

fn bounded(said: &Evidence) -> Evidence {
    let number = |it: u64| it.min(MOST_COUNT);
    let denial = |it: &Denial| Denial {
        source: short(it.source.clone(), MOST_TEXT),
        destination: short(it.destination.clone(), MOST_TEXT),
        port: it.port,
        count: number(it.count),
    };
    let beyond = said.denials.iter().skip(MOST_DENIALS);
    let more_denials = beyond.fold(said.more_denials, |all, it| all.saturating_add(it.count));
    let Findings { low, medium, high } = said.by_severity;
    Evidence {
        of: said.of.clone(),
        mode: said.mode,
        seconds: number(said.seconds),
        flows: number(said.flows),
        denials: said.denials.iter().take(MOST_DENIALS).map(denial).collect(),
        more_denials: number(more_denials),
        findings: number(said.findings),
        by_severity: Findings { low: number(low), medium: number(medium), high: number(high) },
        errors: said.errors.map(|it| it.map(number)),
        unwatched: said.unwatched.as_ref().map(|it| short(it.clone(), MOST_TEXT)),
    }
}

/// What the object of a release is called.
pub fn release_name(release: &Ref) -> String {
    format!("release-{}", release.number)
}

/// The object of a release, to be applied at the hub.
pub fn release_object(release: &Release, envelope: &Envelope) -> Value {
    let reference = release.reference();
    json!({
        "apiVersion": API_VERSION, "kind": "PolicyRelease", "metadata": { "name": release_name(&reference) },
        "spec": { "number": reference.number, "digest": reference.digest, "envelope": envelope },
    })
}

/// Definitions of the kinds that only a hub has.
pub fn definitions() -> [Value; 3] {
    [policy_release(), managed_cluster(), definition::rollout()]
}

fn definition(
    kind: &str,
    plural: &str,
    short: &str,
    schema: &Value,
    columns: &[(&str, &str, &str)],
) -> Value {
    let column =
        |(name, kind, path): &(&str, &str, &str)| json!({ "name": name, "type": kind, "jsonPath": path });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.cofferdam.dev") },
        "spec": {
            "group": "cofferdam.dev", "scope": "Cluster",
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase(),
                "shortNames": [short], "categories": ["cofferdam"],
            },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": schema },
                "additionalPrinterColumns": columns.iter().map(column).collect::<Vec<_>>(),
            }],
        },
    })
}

fn object(about: &str, required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "description": about, "required": required, "properties": properties })
}

fn text(about: &str, most: usize) -> Value {
    json!({ "type": "string", "maxLength": most, "description": about })
}

fn whole_number(about: &str) -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": about })
}

fn reference(about: &str) -> Value {
    let number = whole_number("Its number; 0: no policy of the fleet's.");
    let digest = json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "maxLength": 71, "description": "Of its policies." });
    object(about, &["number", "digest"], &json!({ "number": number, "digest": digest }))
}

fn policy_release() -> Value {
    let signature = object(
        "One signature.",
        &["sig"],
        &json!({ "keyid": text("Which key is claimed to have made it.", 128), "sig": text("Base64.", 256) }),
    );
    let envelope = object(
        "What was signed, in the form of DSSE.",
        &["payloadType", "payload", "signatures"],
        &json!({
            "payloadType": text("What the payload is.", 128),
            "payload": text("The policies, in base64.", MOST_BYTES / 3 * 4 + 4),
            "signatures": { "type": "array", "maxItems": MOST_SIGNATURES, "items": signature },
        }),
    );
    let mut spec = object(
        "What `cofferdam release object` prints.",
        &["number", "digest", "envelope"],
        &json!({
            "number": whole_number("Higher than that of every release before."),
            "digest": text("Of its policies. Clusters go by what is signed, not by this.", 71),
            "envelope": envelope,
        }),
    );
    if let Some(fields) = spec.as_object_mut() {
        let rule = json!([{ "rule": "self == oldSelf", "message": "a release never changes; make another, with a higher number" }]);
        fields.insert("x-kubernetes-validations".to_owned(), rule);
    }
    let about = "Policies that are handed to clusters as one, under a number, signed.";
    let schema = object(about, &["spec"], &json!({ "spec": spec }));
    let columns = [
        ("Number", "integer", ".spec.number"),
        ("Digest", "string", ".spec.digest"),
        ("Age", "date", ".metadata.creationTimestamp"),
    ];
    definition("PolicyRelease", "policyreleases", "polrel", &schema, &columns)
}

fn managed_cluster() -> Value {
    let mut wanted = object(
        "What it is to have. Left out: what it has.",
        &["enforce"],
        &json!({
            "enforce": reference("In force."),
            "shadow": reference("Judged beside it, without effect."),
        }),
    );
    // Whoever writes it writes both: who only applies one field does not leave another's beside it.
    if let Some(fields) = wanted.as_object_mut() {
        fields.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    let drift = json!({
        "type": "string", "enum": ["Correct", "Report"], "default": "Correct",
        "description": "What is done where somebody changed a policy of the fleet in the cluster.",
    });
    let spec = object("What the hub wants.", &[], &json!({ "wanted": wanted, "drift": drift }));
    // Only the cluster itself writes it, and only this program reads it: its form is the reader's to check.
    // It is always written whole. As one value the API server keeps no record of who wrote each of its fields, which may be hundreds.
    let status = json!({
        "type": "object", "description": "How the cluster stands, in its own words.", "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-map-type": "atomic",
    });
    let about = "A cluster that takes its policies from this hub. Rollouts choose clusters by their labels.";
    let schema = object(about, &[], &json!({ "spec": spec, "status": status }));
    let columns = [
        ("Wanted", "integer", ".spec.wanted.enforce.number"),
        ("Enforced", "integer", ".status.enforced.number"),
        ("Shadow", "integer", ".status.shadow.number"),
        ("Policies", "integer", ".status.effective.policies"),
        ("Effective", "string", ".status.effective.digest"),
        ("Problem", "string", ".status.problems[0]"),
    ];
    definition("ManagedCluster", "managedclusters", "mcl", &schema, &columns)
}
