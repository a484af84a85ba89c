//! What the status of an object says.

use crate::rule::Resource;
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
    /// Of an InferencePool or a BackendTLSPolicy: one for each Gateway of ours that comes to it by a route.
    Used(Vec<UserStatus>),
}

/// What one Gateway says of an object that it comes to by its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserStatus {
    /// The Gateway.
    pub gateway: Resource,
    /// Its conditions.
    pub conditions: Vec<Condition>,
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
    /// Another listener excludes it.
    Conflicted,
}

/// `reason` of a condition, as the Gateway API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Of Accepted.
    Accepted,
    /// Of Programmed.
    Programmed,
    /// Of ResolvedRefs.
    ResolvedRefs,
    /// Of Conflicted: it excludes nobody.
    NoConflicts,
    /// A class or gateway has parameters, and there are none.
    InvalidParameters,
    /// A gateway wants an address.
    UnsupportedAddress,
    /// Some or all listeners of a gateway are not in force.
    ListenersNotValid,
    /// What is not accepted is not in force.
    Invalid,
    /// Two listeners of a port have one host name.
    HostnameConflict,
    /// Two listeners of a port do not go together.
    ProtocolConflict,
    /// The protocol of a listener is not known.
    UnsupportedProtocol,
    /// It is not written as it must be, or asks for what is not done.
    UnsupportedValue,
    /// A certificate is not there, or is none.
    InvalidCertificateRef,
    /// A listener names kinds of routes that it cannot have.
    InvalidRouteKinds,
    /// No ReferenceGrant allows the reference.
    RefNotPermitted,
    /// No listener of the parent is meant.
    NoMatchingParent,
    /// The listeners that are meant take no such route.
    NotAllowedByListeners,
    /// No listener that is meant has one of the host names.
    NoMatchingListenerHostname,
    /// A backend is of a kind that is not known.
    InvalidKind,
    /// A backend, or its port, is not there.
    BackendNotFound,
    /// No route that leads to a pool is accepted.
    HttpRouteNotAccepted,
    /// The endpoint picker of a pool is not there, or is none.
    InvalidExtensionRef,
    /// Certificates that a BackendTLSPolicy names are not there, or are none.
    InvalidCaCertificateRef,
    /// A BackendTLSPolicy has no certificates to go by.
    NoValidCaCertificate,
    /// Another BackendTLSPolicy holds instead.
    Conflicted,
    /// A policy names what is not there.
    TargetNotFound,
}

impl Reason {
    /// As it is written in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::NoConflicts => "NoConflicts",
            Self::InvalidParameters => "InvalidParameters",
            Self::UnsupportedAddress => "UnsupportedAddress",
            Self::ListenersNotValid => "ListenersNotValid",
            Self::Invalid => "Invalid",
            Self::HostnameConflict => "HostnameConflict",
            Self::ProtocolConflict => "ProtocolConflict",
            Self::UnsupportedProtocol => "UnsupportedProtocol",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::InvalidCertificateRef => "InvalidCertificateRef",
            Self::InvalidRouteKinds => "InvalidRouteKinds",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
            Self::InvalidKind => "InvalidKind",
            Self::BackendNotFound => "BackendNotFound",
            Self::HttpRouteNotAccepted => "HTTPRouteNotAccepted",
            Self::InvalidExtensionRef => "InvalidExtensionRef",
            Self::InvalidCaCertificateRef => "InvalidCACertificateRef",
            Self::NoValidCaCertificate => "NoValidCACertificate",
            Self::Conflicted => "Conflicted",
            Self::TargetNotFound => "TargetNotFound",
        }
    }
}

impl ConditionKind {
    /// As it is written in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
        }
    }
}

impl Condition {
    pub(crate) fn yes(kind: ConditionKind, reason: Reason) -> Self {
        Self { kind, holds: true, reason, message: String::new() }
    }

    pub(crate) fn no(kind: ConditionKind, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }

    /// Holds with the usual reason, unless something is wrong.
    pub(crate) fn of(kind: ConditionKind, wrong: Option<(Reason, String)>) -> Self {
        match wrong {
            Some((reason, message)) => Self::no(kind, reason, message),
            None => Self::yes(
                kind,
                match kind {
                    ConditionKind::Accepted => Reason::Accepted,
                    ConditionKind::Programmed => Reason::Programmed,
                    ConditionKind::ResolvedRefs => Reason::ResolvedRefs,
                    ConditionKind::Conflicted => Reason::HostnameConflict,
                },
            ),
        }
    }
}
