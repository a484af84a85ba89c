//! How requests of one client stay with one endpoint.

use crds::{Route, RouteRule, SessionKind};
use std::sync::Arc;
use std::time::Duration;

/// `sessionPersistence` of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Of the cookie or field.
    pub name: Arc<str>,
    /// In what it is told.
    pub kind: SessionKind,
    /// How long after it began it is over.
    pub absolute: Option<Duration>,
    /// How long after its last request it is over.
    pub idle: Option<Duration>,
    /// Which rule of which route: of another one a session means nothing.
    pub rule: Arc<str>,
    /// The route's `uid`, which nobody who only sends requests knows. `None`: it has none, as in a folder.
    pub uid: Option<Arc<str>>,
}

impl Session {
    /// Of a rule, if its requests stay.
    pub(crate) fn of(route: &Route, index: usize, written: &RouteRule) -> Option<Self> {
        let session = written.session.as_ref()?;
        let meta = &route.meta;
        let rule = format!("{} {}/{} {index}", route.kind.as_str(), meta.namespace, meta.name);
        Some(Self {
            name: session.name.clone().unwrap_or_else(|| usual_name(&rule)),
            kind: session.kind,
            absolute: session.absolute,
            idle: session.idle,
            rule: rule.into(),
            uid: Some(&meta.uid).filter(|uid| !uid.is_empty()).cloned(),
        })
    }
}

/// Rules have different ones, so that one host can have several (FNV-1a of 64 bits). Where two had the same, their sessions would
/// begin anew: what is sealed says of which rule it is.
fn usual_name(rule: &str) -> Arc<str> {
    let hash = rule.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("cofferdam-session-{hash:016x}").into()
}
