//! What the status of an object says.

use crds::{ObjectName, Position};
use std::sync::Arc;

/// The status of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    /// Which.
    pub object: ObjectName,
    /// Where it is written.
    pub position: Position,
    /// `metadata.generation`: what the conditions are about. 0 for what is in a file.
    pub generation: i64,
    /// What it says.
    pub status: Status,
}

/// What a status says, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Of a GatewayClass.
    Class(Vec<Condition>),
    /// Of a Gateway.
    Gateway {
        /// Its own.
        conditions: Vec<Condition>,
        /// Its listeners', in order.
        listeners: Vec<ListenerStatus>,
    },
    /// Of a route: one for each of its parents that is ours.
    Route(Vec<ParentStatus>),
}

/// Of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// `name`
    pub name: Arc<str>,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<&'static str>,
    /// How many did.
    pub attached_routes: usize,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// What one parent of a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentStatus {
    /// Which of `spec.parentRefs`, from 0.
    pub index: usize,
    /// Of the Gateway.
    pub namespace: Arc<str>,
    /// Of the Gateway.
    pub name: Arc<str>,
    /// `sectionName`
    pub section: Option<Arc<str>>,
    /// `port`
    pub port: Option<u16>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`
    pub kind: ConditionKind,
    /// `status`
    pub holds: bool,
    /// `reason`
    pub reason: Reason,
    /// What is wrong, and the way out.
    pub message: String,
}

/// `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionKind {
    /// It is understood and taken.
    Accepted,
    /// What it asks for is in force.
    Programmed,
    /// Everything it refers to is there and may be referred to.
    ResolvedRefs,
    /// It excludes another listener.
    Conflicted,
    /// Some of its rules are left out.
    PartiallyInvalid,
}

/// `reason` of a condition, as the Gateway API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Of Accepted.
    Accepted,
}
