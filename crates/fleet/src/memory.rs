//! What a cluster remembers, so that nobody brings back what was taken out of force.
//!
//! Enters: a release whose signatures hold. Leaves: whether it may be applied. Guarantees: a number is one content for ever;
//! numbers only grow, except to what the newest release itself was signed to fall back to. Does not: keep itself; whoever
//! has it writes it where a backup of the cluster does not take it back with it, and gives [`Memory::newer`] both.

use crate::digest::Digest;
use crate::envelope::Signed;
use crate::release::{Ref, Release};
use serde::{Deserialize, Serialize};

/// The newest release that a cluster was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// It.
    pub highest: Option<Ref>,
    /// What it may fall back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Ref>,
    /// Which hub it is told by: only that one is listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}

/// What it means to apply a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Higher than everything before.
    Forward,
    /// The newest, once more.
    Again,
    /// What the newest may fall back to.
    Back,
}

/// Why a release changes nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// Old, and nobody signed that it may come back.
    #[error(
        "release {older} is older than {newest}, which was not signed to fall back to it; sign the old policies as a release with \
         a number above {}: `cofferdam release build --rollback-to {}`", newest.number, older.digest
    )]
    Older {
        /// What came.
        older: Ref,
        /// What was there before.
        newest: Ref,
    },
    /// Two releases under one number: somebody signed what should not have been.
    #[error("number {} was release {known} and is {other} here; a number is never used twice", known.number)]
    SameNumber {
        /// What it was.
        known: Ref,
        /// What it is to be.
        other: Ref,
    },
    /// Another hub claims the cluster.
    #[error(
        "this cluster is told by hub {own}, and {other} claims it; what is in force stays. To move it there on purpose, remove `hub` from \
         the memory in its ConfigMap cofferdam-fleet"
    )]
    OtherHub {
        /// That it listens to.
        own: String,
        /// That claims it.
        other: String,
    },
}

impl Memory {
    /// What a cluster remembers whose newest release is this one.
    pub fn of(release: &Release) -> Self {
        Self { highest: Some(release.reference()), fallback: release.header().fallback.clone(), hub: None }
    }

    /// Whether a release may be applied.
    ///
    /// # Errors
    /// Why not.
    pub fn consider(&self, signed: &Signed) -> Result<Step, Refused> {
        self.judge(&signed.release().reference())
    }

    /// As [`Self::consider`], of a release whose signatures are not yet known: its step, should they hold.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, release: &Ref) -> Result<Step, Refused> {
        let Some(newest) = &self.highest else { return Ok(Step::Forward) };
        if release.number > newest.number {
            return Ok(Step::Forward);
        }
        if release == newest {
            return Ok(Step::Again);
        }
        if release.number == newest.number {
            return Err(Refused::SameNumber { known: newest.clone(), other: release.clone() });
        }
        if self.fallback.as_ref() == Some(release) {
            return Ok(Step::Back);
        }
        Err(Refused::Older { older: release.clone(), newest: newest.clone() })
    }

    /// Remembers a release that is about to be applied. One that is not newer leaves it as it is.
    #[must_use]
    pub fn after(self, signed: &Signed) -> Self {
        match self.consider(signed) {
            Ok(Step::Forward) => Self { hub: self.hub, ..Self::of(signed.release()) },
            Ok(Step::Again | Step::Back) | Err(_) => self,
        }
    }

    /// Listens to a hub: the first that comes, and no other afterwards.
    ///
    /// # Errors
    /// It listens to another.
    pub fn of_hub(self, hub: &str) -> Result<Self, Refused> {
        match &self.hub {
            Some(own) if own != hub => Err(Refused::OtherHub { own: own.clone(), other: hub.to_owned() }),
            Some(_) => Ok(self),
            None => Ok(Self { hub: Some(hub.to_owned()), ..self }),
        }
    }

    /// Of two memories of one cluster the newer: one of them may have come back from a backup.
    #[must_use]
    pub fn newer(self, other: Self) -> Self {
        let number = |it: &Self| it.highest.as_ref().map(|it| it.number);
        if number(&other) > number(&self) { other } else { self }
    }

    /// What the newest release is, for people.
    pub fn digest(&self) -> Option<&Digest> {
        self.highest.as_ref().map(|it| &it.digest)
    }
}
