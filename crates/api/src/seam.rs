//! What the API is told and has done by whoever runs it.

use crate::shape::fleet::Fleet;
use crate::shape::live::{Budget, Deciding, PolicyItem, Shadow, Status};
use crate::shape::walk::Walk;
use crate::who::Who;
use hyper::body::Bytes;
use incident::Reachable;
use ledger::Entry;
use serde_json::Value;
use std::borrow::Cow;
use std::net::IpAddr;
use thiserror::Error;

/// How things stand. Asked on threads that may wait.
pub trait Live: Send + Sync + 'static {
    /// All that the ledger does not know; its counts are filled in later.
    fn status(&self) -> Status;

    /// State of policy in force, and each policy with its rules; hits are filled in later.
    fn policies(&self) -> (u64, Vec<PolicyItem>);

    /// What policies would have done that are judged and not enforced; `None`: there are none.
    fn shadow(&self) -> Option<Shadow>;

    /// The manifest of one object that is among the policy's sources; `namespace` is empty where it has none.
    fn manifest(&self, kind: &str, namespace: &str, name: &str) -> Option<Manifest>;

    /// The rule that the ledger's word means, with its lines where its file is among the policy's sources.
    fn deciding(&self, rule: &str) -> Option<Deciding>;

    /// Budgets of which something is used.
    fn budgets(&self) -> Vec<Budget>;

    /// How the policy in force judges an access like this entry's; `None`: there is no policy here, or the entry is no access, or
    /// who it is about is not known any more. Lines of the nearest rule are filled in later.
    fn walk(&self, entry: &Entry) -> Option<Walk>;
}

/// The hub of a fleet. Asked on threads that may wait.
pub trait Hub: Send + Sync + 'static {
    /// Its clusters and rollouts as they stand now.
    ///
    /// # Errors
    /// It does not answer, or does not let them be seen; in words.
    fn fleet(&self) -> Result<Fleet, String>;
}

/// One object as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its text.
    pub yaml: String,
    /// Where.
    pub file: String,
    /// Where it begins, from 1.
    pub line: u32,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotDone {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It could be done at another time.
    #[error("{0}")]
    Unavailable(String),
}

/// A change of state that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A finding was seen by somebody.
    AcknowledgeFinding {
        /// Its id.
        finding: String,
        /// Why.
        text: String,
    },
    /// Somebody writes something down.
    Note {
        /// The incident's id.
        incident: String,
        /// What.
        text: String,
    },
    /// An incident was seen by somebody.
    Acknowledge {
        /// Its id.
        incident: String,
        /// Why.
        text: String,
    },
    /// It is over.
    Close {
        /// Its id.
        incident: String,
        /// Why.
        text: String,
    },
    /// It is not over.
    Reopen {
        /// Its id.
        incident: String,
        /// Why.
        text: String,
    },
    /// A workload may reach nobody for a while, and nobody it.
    Contain {
        /// The incident's id.
        incident: String,
        /// As the ledger has it.
        workload: String,
        /// For how long.
        minutes: u32,
        /// Only say what it would do.
        dry_run: bool,
    },
    /// It may again.
    Release {
        /// The incident's id.
        incident: String,
        /// As the ledger has it.
        workload: String,
    },
    /// Evidence of an incident was taken away.
    Export {
        /// Its id.
        incident: String,
        /// SHA-256 of the bundle's manifest.
        manifest: String,
    },
}

/// Does what changes something. Each change leaves an audit entry. Called on threads that may wait.
pub trait Actions: Send + Sync + 'static {
    /// Does it, and gives what is answered.
    ///
    /// # Errors
    /// Why it was not done; then nothing was.
    fn change(&self, who: &Who, change: Change) -> Result<Value, NotDone>;

    /// Seals what the ledger has so far, as far as it can be, so that evidence tells whether it was changed.
    fn seal(&self);

    /// Where policy lets a workload go; `None` where that is not known.
    fn could(&self, workload: &str) -> Option<Reachable>;

    /// Somebody logged in from a browser, `how`: an audit entry.
    fn logged_in(&self, from: IpAddr, who: &Who, how: &str);

    /// Somebody was not let in: an audit entry.
    fn refused(&self, from: IpAddr, why: &str);
}

/// A file of the console.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Type, coding, how long it may be kept, what it may do: as the console says.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// Its bytes, in the coding that the headers say.
    pub body: Bytes,
}

/// Finds a file of the console by its path and by what codings the client takes (`accept-encoding`).
pub type Assets = dyn Fn(&str, &str) -> Option<Asset> + Send + Sync;
