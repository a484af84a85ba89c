//! `sessionPersistence` of a rule (GEP-1619, experimental channel).
//!
//! Guarantees: a name is one that a cookie and a field can have, and no field that HTTP itself uses. Does not: choose endpoints.

use super::route::duration;
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a session's name.
const MOST_NAME: usize = 128;
/// Fields that say something else than a session.
const TAKEN: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "location",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// `sessionPersistence`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPersistence {
    /// `sessionName`; `None`: not written.
    pub name: Option<Arc<str>>,
    /// `type`
    pub kind: SessionKind,
    /// `absoluteTimeout`; zero and `None`: none.
    pub absolute: Option<Duration>,
    /// `idleTimeout`; zero and `None`: none.
    pub idle: Option<Duration>,
}

/// `type`, and for cookies `cookieConfig.lifetimeType`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// `Cookie`, `Session`: until the browser is closed.
    Cookie,
    /// `Cookie`, `Permanent`: as long as `absoluteTimeout` says.
    PermanentCookie,
    /// `Header`
    Header,
}

pub(super) fn session<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<SessionPersistence> {
    let fields = ["sessionName", "type", "absoluteTimeout", "idleTimeout", "cookieConfig"];
    let map = d.strict(node, &fields)?;
    let is_header = d.field(map, "type", |d, node| d.one_of(node, &[("Cookie", false), ("Header", true)]));
    let is_header = is_header.unwrap_or(Some(false))?;
    let name = d.field(map, "sessionName", |d, node| name(d, node, is_header));
    let name = name.map_or(Some(None), |name| name.map(Some))?;
    let absolute = d.field(map, "absoluteTimeout", duration).flatten().filter(|it| !it.is_zero());
    let idle = d.field(map, "idleTimeout", duration).flatten().filter(|it| !it.is_zero());
    let is_permanent = d.field(map, "cookieConfig", lifetime).unwrap_or(Some(false))?;
    let kind = kind(d, map, (is_header, is_permanent), absolute)?;
    Some(SessionPersistence { name, kind, absolute, idle })
}

fn kind<'n>(
    d: &mut Decoder<'n>,
    map: Map<'n>,
    (is_header, is_permanent): (bool, bool),
    absolute: Option<Duration>,
) -> Option<SessionKind> {
    if is_header && map.keys().any(|key| key == "cookieConfig") {
        d.error(map.place, Code::ExactlyOne, "cookieConfig is for type Cookie");
        return None;
    }
    if is_permanent && absolute.is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "a Permanent cookie needs absoluteTimeout");
        d.report(map.place, diagnostic.suggest("for example absoluteTimeout: 24h"));
        return None;
    }
    Some(match (is_header, is_permanent) {
        (true, _) => SessionKind::Header,
        (false, true) => SessionKind::PermanentCookie,
        (false, false) => SessionKind::Cookie,
    })
}

fn lifetime<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<bool> {
    let map = d.strict(node, &["lifetimeType"])?;
    let words = [("Session", false), ("Permanent", true)];
    d.field(map, "lifetimeType", |d, node| d.one_of(node, &words)).unwrap_or(Some(false))
}

/// A token (RFC 9110, section 5.6.2), as names of cookies and fields are.
fn name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, is_header: bool) -> Option<Arc<str>> {
    let text = d.string(node)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > MOST_NAME || !text.bytes().all(is_token) {
        d.error(node.place, Code::InvalidValue, "a session's name is a token of at most 128 characters");
        return None;
    }
    if is_header && TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(&text)) {
        let diagnostic = Diagnostic::error(Code::InvalidValue, "this field says something else");
        d.report(node.place, diagnostic.suggest("a name of your own: x-session"));
        return None;
    }
    Some(text)
}
