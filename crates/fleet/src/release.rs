//! A release: policies that belong together, under a number and a digest.
//!
//! Enters: manifests and a [`Header`], or the payload of an envelope. Leaves: the other one. Guarantees: the digest is that of
//! the policies, and of nothing else; a payload whose policies do not have the digest it claims is refused, as is one with a
//! field that this version does not know. Does not: know whether anybody signed it ([`crate::Envelope`]).

use crate::contents::{Manifest, NotContents, policies};
use crate::digest::Digest;
use crate::name::FleetName;
use crds::ObjectName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Most bytes of a payload: what an API server and its store take in one object, after base64.
pub const MOST_BYTES: usize = 1024 * 1024;
/// Of the payload's own form.
const VERSION: u32 = 1;

/// A release by number and contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ref {
    /// From 1; 0 is what a cluster had before its fleet had any release.
    pub number: u64,
    /// Of its policies.
    pub digest: Digest,
}

impl Ref {
    /// No policy of the fleet's at all.
    pub fn nothing() -> Self {
        Self { number: 0, digest: Digest::of(b"[]") }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.digest.short())
    }
}

/// What is signed with the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// From 1, and higher than that of every release before.
    pub number: u64,
    /// What a cluster may go back to from this one without another signature. `None`: nothing.
    pub fallback: Option<Ref>,
    /// This release brings earlier policies back: their digest, which its own policies must have.
    pub rollback_to: Option<Digest>,
}

/// Policies under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    header: Header,
    fleet: Option<FleetName>,
    digest: Digest,
    manifests: Vec<Manifest>,
}

/// Why something is no release.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotARelease {
    /// Its policies cannot be handed over.
    #[error(transparent)]
    Contents(#[from] NotContents),
    /// Numbers begin with 1.
    #[error("a release has a number from 1")]
    Number,
    /// It would lead forward.
    #[error(
        "release {number} cannot go back to release {fallback}: only to one before it, or to 0, with the digest of no policy"
    )]
    Fallback {
        /// Its own.
        number: u64,
        /// What it names.
        fallback: u64,
    },
    /// It says that it brings back what it does not hold.
    #[error("the policies have digest {found}, and not {named}, which they are said to bring back")]
    NotThoseBroughtBack {
        /// Of its policies.
        found: Digest,
        /// What it names.
        named: Digest,
    },
    /// More than an API server takes.
    #[error("the release has {0} bytes, more than {MOST_BYTES}; split it into several fleets")]
    TooLarge(usize),
    /// Not what this version writes.
    #[error("the payload is no release that this version can read: {0}")]
    Unreadable(String),
    /// Altered, or made by something else.
    #[error("the payload claims digest {claimed}, and its policies have {found}")]
    Digest {
        /// What it says.
        claimed: Digest,
        /// What they have.
        found: Digest,
    },
}

/// The form of a payload.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload<V> {
    version: u32,
    number: u64,
    digest: Digest,
    /// Where it is left out, what is signed is what it was before releases named their fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_to: Option<Digest>,
    objects: Vec<V>,
}

impl Release {
    /// A release of the policies among these objects, and the names of those objects that are none and were left out.
    ///
    /// # Errors
    /// See [`NotARelease`].
    pub fn build(header: Header, values: &[Value]) -> Result<(Self, Vec<ObjectName>), NotARelease> {
        Self::assemble(header, None, values)
    }

    fn assemble(
        header: Header,
        fleet: Option<FleetName>,
        values: &[Value],
    ) -> Result<(Self, Vec<ObjectName>), NotARelease> {
        let (manifests, others) = policies(values)?;
        if manifests.is_empty() {
            return Err(NotContents::Nothing.into());
        }
        let release = Self { digest: digest_of(&manifests), header, fleet, manifests };
        release.check_header()?;
        Ok((release.bounded()?, others))
    }

    /// The same release, for this fleet and no other. That is signed with it; the digest of its policies stays.
    ///
    /// # Errors
    /// It has no room for the name.
    pub fn of_fleet(self, fleet: FleetName) -> Result<Self, NotARelease> {
        Self { fleet: Some(fleet), ..self }.bounded()
    }

    fn bounded(self) -> Result<Self, NotARelease> {
        let size = self.payload().len();
        if size > MOST_BYTES { Err(NotARelease::TooLarge(size)) } else { Ok(self) }
    }

    fn check_header(&self) -> Result<(), NotARelease> {
        let Header { number, fallback, rollback_to } = &self.header;
        if *number == 0 {
            return Err(NotARelease::Number);
        }
        let leads_back = |it: &Ref| it.number < *number && (it.number > 0 || *it == Ref::nothing());
        if let Some(fallback) = fallback.as_ref().filter(|it| !leads_back(it)) {
            return Err(NotARelease::Fallback { number: *number, fallback: fallback.number });
        }
        match rollback_to.as_ref().filter(|named| **named != self.digest) {
            Some(named) => {
                Err(NotARelease::NotThoseBroughtBack { found: self.digest.clone(), named: named.clone() })
            }
            None => Ok(()),
        }
    }

    /// Reads a payload. Whether it may be believed is not known here: see [`crate::Envelope::open`].
    ///
    /// # Errors
    /// See [`NotARelease`].
    pub(crate) fn read(payload: &[u8]) -> Result<Self, NotARelease> {
        if payload.len() > MOST_BYTES {
            return Err(NotARelease::TooLarge(payload.len()));
        }
        let unreadable = |error: serde_json::Error| NotARelease::Unreadable(error.to_string());
        let read: Payload<Value> = serde_json::from_slice(payload).map_err(unreadable)?;
        if read.version != VERSION {
            return Err(NotARelease::Unreadable(format!("it has version {}", read.version)));
        }
        let header = Header { number: read.number, fallback: read.fallback, rollback_to: read.rollback_to };
        let (release, others) = Self::assemble(header, read.fleet, &read.objects)?;
        if let Some(other) = others.first() {
            return Err(NotARelease::Unreadable(format!("{other} is no policy")));
        }
        if release.digest != read.digest {
            return Err(NotARelease::Digest { claimed: read.digest, found: release.digest });
        }
        Ok(release)
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> Vec<u8> {
        let Header { number, fallback, rollback_to } = self.header.clone();
        let objects = self.manifests.iter().map(|it| &it.value).collect::<Vec<&Value>>();
        let (digest, fleet) = (self.digest.clone(), self.fleet.clone());
        let payload = Payload { version: VERSION, number, digest, fleet, fallback, rollback_to, objects };
        // Texts, numbers and JSON values: there is nothing in it that could fail to be written.
        serde_json::to_vec(&payload).unwrap_or_default()
    }

    /// What is signed with the policies.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// For which fleet it was signed; `None`: it does not say.
    pub fn fleet(&self) -> Option<&FleetName> {
        self.fleet.as_ref()
    }

    /// Of its policies.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Number and digest.
    pub fn reference(&self) -> Ref {
        Ref { number: self.header.number, digest: self.digest.clone() }
    }

    /// By kind, namespace and name.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }
}

pub(crate) fn digest_of(manifests: &[Manifest]) -> Digest {
    let values: Vec<&Value> = manifests.iter().map(|it| &it.value).collect();
    Digest::of(&serde_json::to_vec(&values).unwrap_or_default())
}
