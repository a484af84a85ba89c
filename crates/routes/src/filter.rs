//! What a rule changes of requests and answers.

use crate::rule::Target;
use std::sync::Arc;

/// What a rule, or one of its backends, changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Of a request's header fields, in order.
    pub request: Vec<HeaderChange>,
    /// Of an answer's header fields, in order.
    pub response: Vec<HeaderChange>,
    /// Answer with a redirect instead of asking a backend.
    pub redirect: Option<Redirect>,
    /// Of host and path, before a backend is asked.
    pub rewrite: Option<Rewrite>,
    /// Who is sent a copy, whose answer is thrown away.
    pub mirrors: Vec<Mirror>,
}

/// Names are in lower case and checked; values have no control characters. First `set`, then `add`, then `remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChange {
    /// Replace every value of the field by this one.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Add a value.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Remove every value.
    pub remove: Vec<Arc<str>>,
}

/// `RequestRedirect`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; `None`: as the request.
    pub scheme: Option<Arc<str>>,
    /// `None`: as the request.
    pub host: Option<Arc<str>>,
    /// `None`: as the scheme if one is written, or that of the listener.
    pub port: Option<u16>,
    /// `None`: as the request.
    pub path: Option<PathChange>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `URLRewrite`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// `None`: as the request.
    pub host: Option<Arc<str>>,
    /// `None`: as the request.
    pub path: Option<PathChange>,
}

/// How a path is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// All of it.
    Full(Arc<str>),
    /// What matched as a prefix.
    Prefix(Arc<str>),
}

/// `RequestMirror`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// To whom.
    pub target: Target,
    /// Of so many requests ...
    pub of: u32,
    /// ... so many are copied.
    pub part: u32,
}
