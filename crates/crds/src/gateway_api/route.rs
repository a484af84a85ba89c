//! `gateway.networking.k8s.io` HTTPRoute, GRPCRoute and TLSRoute.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::gateway_api::GROUP;
use crate::gateway_api::filter::{self, RouteFilter, filters};
use crate::gateway_api::matches::{PathMatch, RouteMatch};
use crate::gateway_api::reference::{REFERENCE, Reference, Usual, hostname, refuse, section_name};
use crate::gateway_api::session::{SessionPersistence, session};
use crate::meta::{ObjectMeta, Scope, short};
use std::sync::Arc;
use std::time::Duration;

/// Most parents of a route.
const MOST_PARENTS: usize = 32;
/// Most host names, rules, and backends of a rule.
const MOST: usize = 16;
/// Most matches of a rule, and of a route.
const MOST_MATCHES: (usize, usize) = (64, 128);
/// Largest weight.
const MOST_WEIGHT: u32 = 1_000_000;

/// A route of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which kind.
    pub kind: RouteKind,
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// What is wrong with it.
    pub broken: Option<Arc<str>>,
    /// `spec.parentRefs`
    pub parents: Vec<Reference>,
    /// `spec.hostnames`. Empty: any.
    pub hostnames: Vec<Arc<str>>,
    /// `spec.rules`
    pub rules: Vec<RouteRule>,
}

/// Which kind a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `HTTPRoute`
    Http,
    /// `GRPCRoute`
    Grpc,
    /// `TLSRoute`
    Tls,
}

impl RouteKind {
    /// The kind as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
        }
    }

    /// The kind that is written so.
    pub(crate) fn named(kind: &str) -> Option<Self> {
        [Self::Http, Self::Grpc, Self::Tls].into_iter().find(|known| known.as_str() == kind)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// Where.
    pub position: Position,
    /// `name`
    pub name: Option<Arc<str>>,
    /// `matches`; one that matches everything if none is written. Of a TLSRoute it means nothing.
    pub matches: Vec<RouteMatch>,
    /// `filters`
    pub filters: Vec<RouteFilter>,
    /// `backendRefs`
    pub backends: Vec<RouteBackend>,
    /// `timeouts.request`; zero and `None`: none.
    pub request_timeout: Option<Duration>,
    /// `timeouts.backendRequest`; zero and `None`: none.
    pub backend_timeout: Option<Duration>,
    /// `sessionPersistence`
    pub session: Option<SessionPersistence>,
}

/// One of `backendRefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteBackend {
    /// Who.
    pub reference: Reference,
    /// `weight`; 1 if not written.
    pub weight: u32,
    /// `filters`
    pub filters: Vec<RouteFilter>,
}

impl Route {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>, kind: RouteKind) -> Self {
        let mut route = Self {
            kind,
            meta: ObjectMeta::decode(d, object, Scope::Namespaced, true),
            position: d.position(object.place),
            broken: None,
            parents: Vec::new(),
            hostnames: Vec::new(),
            rules: Vec::new(),
        };
        d.required(object, "spec", |d, node| route.spec(d, node));
        route.broken = d.first_error();
        route
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        let map = d.strict(node, &["parentRefs", "useDefaultGateways", "hostnames", "rules"])?;
        refuse(d, map, &["useDefaultGateways"]);
        let fields = [REFERENCE.as_slice(), &["sectionName", "port"]].concat();
        let parents = d.field(map, "parentRefs", |d, node| {
            d.check_length(node, 0, MOST_PARENTS);
            d.list(node, |d, node| Reference::decode(d, node, Usual(GROUP, "Gateway"), &fields))
        });
        self.parents = parents.flatten().unwrap_or_default();
        let hostnames = d.field(map, "hostnames", |d, node| {
            d.check_length(node, usize::from(self.kind == RouteKind::Tls), MOST);
            d.list(node, hostname)
        });
        self.hostnames = hostnames.flatten().unwrap_or_default();
        let rules = d.field(map, "rules", |d, node| {
            d.check_length(node, 1, MOST);
            d.list(node, |d, node| rule(d, node, self.kind))
        });
        // One rule that matches everything is what the API puts where none is written.
        let everything = || vec![RouteRule::empty(self.kind, d.position(map.place))];
        self.rules = rules.flatten().unwrap_or_else(everything);
        let matches: usize = self.rules.iter().map(|rule| rule.matches.len()).sum();
        if matches > MOST_MATCHES.1 {
            let message = format!("{matches} matches; a route has at most {}", MOST_MATCHES.1);
            d.error(map.place, Code::ListLength, message);
        }
        Some(())
    }
}

impl RouteRule {
    fn empty(kind: RouteKind, position: Position) -> Self {
        Self {
            matches: vec![RouteMatch::everything(kind, position.clone())],
            position,
            name: None,
            filters: Vec::new(),
            backends: Vec::new(),
            request_timeout: None,
            backend_timeout: None,
            session: None,
        }
    }

    /// Whether all filters that need to know which prefix matched can.
    fn has_one_prefix(&self) -> bool {
        matches!(self.matches.as_slice(), [RouteMatch { path: PathMatch::Prefix(_), .. }])
    }
}

fn rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: RouteKind) -> Option<RouteRule> {
    let fields: &[&str] = match kind {
        RouteKind::Http => {
            &["name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence"]
        }
        RouteKind::Grpc => &["name", "matches", "filters", "backendRefs", "sessionPersistence"],
        RouteKind::Tls => &["name", "backendRefs"],
    };
    let map = d.strict(node, fields)?;
    filter::refuse_in_rule(d, map);
    let mut rule = RouteRule::empty(kind, d.position(node.place));
    rule.name = d.field(map, "name", section_name).flatten();
    let matches = d.field(map, "matches", |d, node| {
        d.check_length(node, 0, MOST_MATCHES.0);
        d.list(node, |d, node| RouteMatch::decode(d, node, kind))
    });
    if let Some(matches) = matches.flatten().filter(|matches| !matches.is_empty()) {
        rule.matches = matches;
    }
    rule.filters = filters(d, map, kind);
    let backends = d.field(map, "backendRefs", |d, node| {
        d.check_length(node, 0, MOST);
        d.list(node, |d, node| backend(d, node, kind))
    });
    rule.backends = backends.flatten().unwrap_or_default();
    d.field(map, "timeouts", |d, node| timeouts(d, node, &mut rule));
    rule.session = d.field(map, "sessionPersistence", session).flatten();
    check_filters(d, map, &rule);
    if rule.session.is_some() && rule.backends.iter().any(|it| &*it.reference.kind == "InferencePool") {
        let message = "sessionPersistence with an InferencePool: its pods are picked for each request";
        let diagnostic = Diagnostic::error(Code::Unsupported, message);
        d.report(map.place, diagnostic.suggest("leave it out, or name a Service"));
    }
    Some(rule)
}

fn check_filters<'n>(d: &mut Decoder<'n>, map: Map<'n>, rule: &RouteRule) {
    let every = || rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters));
    if every().any(RouteFilter::needs_prefix) && !rule.has_one_prefix() {
        let message = "replacePrefixMatch needs a rule with exactly one match, of type PathPrefix";
        d.error(map.place, Code::InvalidValue, message);
    }
    let of_backends = rule.backends.iter().flat_map(|backend| &backend.filters);
    if of_backends.clone().any(|filter| matches!(filter, RouteFilter::Redirect(_) | RouteFilter::Cors(_))) {
        let message = "requestRedirect and cors stand in a rule: a backend has none of its own";
        let diagnostic = Diagnostic::error(Code::Unsupported, message);
        d.report(map.place, diagnostic.suggest("write it in the filters of the rule"));
    }
    let redirects = rule.filters.iter().any(|filter| matches!(filter, RouteFilter::Redirect(_)));
    if redirects && !rule.backends.is_empty() {
        d.error(map.place, Code::ExactlyOne, "a rule redirects or has backends, not both");
    }
}

fn backend<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: RouteKind) -> Option<RouteBackend> {
    let fields = [REFERENCE.as_slice(), &["port", "weight", "filters"]].concat();
    let map = d.strict(node, &fields)?;
    let weight = d.field(map, "weight", |d, node| {
        let weight = d.count(node)?;
        if weight > MOST_WEIGHT {
            d.error(node.place, Code::InvalidValue, format!("a weight is at most {MOST_WEIGHT}"));
        }
        Some(weight)
    });
    let filters = filters(d, map, kind);
    let reference = Reference::of(d, map, Usual("", "Service"))?;
    Some(RouteBackend { reference, weight: weight.flatten().unwrap_or(1), filters })
}

fn timeouts<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, rule: &mut RouteRule) -> Option<()> {
    let map = d.strict(node, &["request", "backendRequest"])?;
    rule.request_timeout = d.field(map, "request", duration).flatten().filter(|it| !it.is_zero());
    rule.backend_timeout = d.field(map, "backendRequest", duration).flatten().filter(|it| !it.is_zero());
    if let (Some(whole), Some(part)) = (rule.request_timeout, rule.backend_timeout)
        && part > whole
    {
        d.error(node.place, Code::InvalidValue, "backendRequest is longer than request");
    }
    Some(())
}

pub(super) fn duration<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Duration> {
    let text = d.str(node)?;
    let duration = read_duration(text);
    if duration.is_none() {
        let message = format!("{:?} is no duration, as in 500ms or 1m30s", short(text));
        d.error(node.place, Code::InvalidValue, message);
    }
    duration
}

/// GEP-2257: one to four numbers of at most five digits, each with `h`, `m`, `s` or `ms`.
fn read_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum, mut parts) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits)?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (name, millis) = units.into_iter().find(|(name, _)| unit.starts_with(name))?;
        if !(1..=5).contains(&digits) || parts == 4 {
            return None;
        }
        sum += Duration::from_millis(number.parse::<u64>().ok()? * millis);
        rest = unit.get(name.len()..)?;
        parts += 1;
    }
    (parts > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::read_duration;
    use std::time::Duration;

    #[test]
    fn durations_are_those_of_the_api() {
        for (text, millis) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
        ] {
            assert_eq!(read_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
