//! What a rule changes of requests and answers.

use crate::asked::Asked;
use crate::routing::{Listener, ListenerProtocol};
use crate::rule::{BackendTls, Target};
use crds::CorsOrigin;
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
    /// Which pages of other origins may ask. `None`: the server says so.
    pub cors: Option<Arc<Cors>>,
}

/// `CORS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors(pub crds::CorsFilter);

impl Cors {
    /// Whether pages of this origin may ask: what a request has as `Origin`.
    pub fn allows(&self, origin: &str) -> bool {
        let read = crds::read_origin(origin);
        self.0.origins.iter().any(|allowed| match (allowed, read) {
            (CorsOrigin::Any, _) => true,
            (CorsOrigin::One { .. }, None) => false,
            (CorsOrigin::One { scheme, host, port }, Some((its_scheme, its_host, its_port))) => {
                let its_host = its_host.to_ascii_lowercase();
                let is_host = match host.strip_prefix('*') {
                    Some(end) => its_host.ends_with(end) && its_host.len() > end.len(),
                    None => its_host == **host,
                };
                is_host && **scheme == *its_scheme && *port == its_port
            }
        })
    }
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
    /// How the connection to it is secured; `None`: it is not.
    pub tls: Option<Arc<BackendTls>>,
    /// Of so many requests ...
    pub of: u32,
    /// ... so many are copied.
    pub part: u32,
}

impl Redirect {
    /// What `Location` says. `prefix`: what matched of the path, as of [`crate::Matched`].
    pub fn location(&self, listener: &Listener, asked: &Asked<'_>, prefix: Option<usize>) -> String {
        let own = match listener.protocol {
            ListenerProtocol::Http => "http",
            ListenerProtocol::Https | ListenerProtocol::Tls => "https",
        };
        let scheme = self.scheme.as_deref().unwrap_or(own);
        let usual = if scheme == "https" { 443 } else { 80 };
        // The API: without a port, that of a written scheme, or else the listener's.
        let port = self.port.unwrap_or(if self.scheme.is_some() { usual } else { listener.port });
        let host = self.host.as_deref().unwrap_or_else(|| without_port(asked.host));
        let port = if port == usual { String::new() } else { format!(":{port}") };
        let path = self.path.as_ref().map(|change| change.of(asked.path, prefix));
        let path = path.as_deref().unwrap_or(asked.path);
        let query = asked.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

/// The host of an authority; an IPv6 address keeps its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        Some(_) | None => authority,
    }
}

impl PathChange {
    /// The path instead of this one. `prefix`: how many bytes of it matched as a prefix.
    pub fn of(&self, path: &str, prefix: Option<usize>) -> String {
        match self {
            Self::Full(text) => text.to_string(),
            Self::Prefix(text) => {
                let rest = prefix.and_then(|prefix| path.get(prefix..)).unwrap_or_default();
                let start = if rest.starts_with('/') { text.strip_suffix('/').unwrap_or(text) } else { text };
                let whole = format!("{start}{rest}");
                if whole.is_empty() { "/".to_owned() } else { whole }
            }
        }
    }
}

impl Mirror {
    /// Whether the request with this number is copied: so many of each `of`, evenly over all numbers.
    pub fn is_meant(&self, number: u64) -> bool {
        number.checked_rem(u64::from(self.of)).is_some_and(|rest| rest < u64::from(self.part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_whole_elements() {
        // The table of the API's `replacePrefixMatch`, and prefixes of nothing.
        for (path, prefix, new, expected) in [
            ("/foo/bar", 4, "/xyz", "/xyz/bar"),
            ("/foo/bar", 4, "/xyz/", "/xyz/bar"),
            ("/foo", 4, "/xyz", "/xyz"),
            ("/foo/", 4, "/xyz", "/xyz/"),
            ("/foo/bar", 4, "", "/bar"),
            ("/foo/", 4, "", "/"),
            ("/foo", 4, "", "/"),
            ("/foo/", 4, "/", "/"),
            ("/foo", 4, "/", "/"),
            ("/foo/bar", 0, "/xyz", "/xyz/foo/bar"),
            ("/f%6Fo/b%20r", 6, "/xyz", "/xyz/b%20r"),
        ] {
            assert_eq!(PathChange::Prefix(new.into()).of(path, Some(prefix)), expected, "{path} {new}");
            assert_eq!(PathChange::Full("/f".into()).of(path, Some(prefix)), "/f");
        }
    }

    #[test]
    fn a_port_is_no_part_of_a_host() {
        for (authority, expected) in [
            ("a.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(authority), expected);
        }
    }

    #[test]
    fn an_origin_is_allowed_by_scheme_host_and_port() {
        let cors = |origins: &str| {
            let route = format!(
                "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: x}},
                 spec: {{rules: [{{filters: [{{type: CORS, cors: {{allowOrigins: [{origins}]}}}}]}}]}}}}"
            );
            let objects = crds::read_objects("t", route.as_bytes()).objects;
            let [crds::Object::GatewayApi(crds::GatewayApi::Route(route))] = objects.as_slice() else {
                panic!("{objects:?}")
            };
            let [crds::RouteFilter::Cors(cors)] = route.rules[0].filters.as_slice() else {
                panic!("{route:?}")
            };
            Cors(cors.clone())
        };
        for (origins, origin, expected) in [
            ("'*'", "https://a.example", true),
            ("'*'", "null", true),
            ("'https://a.example'", "https://a.example", true),
            ("'https://A.example'", "https://a.EXAMPLE:443", true),
            ("'https://a.example'", "http://a.example", false),
            ("'https://a.example'", "https://a.example:8443", false),
            ("'https://a.example:8443'", "https://a.example:8443", true),
            ("'https://a.example'", "https://b.a.example", false),
            ("'https://*.example'", "https://b.a.example", true),
            ("'https://*.example'", "https://.example", false),
            ("'https://*.example'", "https://evilexample", false),
            ("'https://*.example'", "https://a.example.evil", false),
            ("'https://*'", "https://a.example", true),
            ("'https://*'", "http://a.example", false),
            ("'https://a.example'", "null", false),
            ("'https://a.example'", "https://a.example@evil", false),
            ("", "https://a.example", false),
        ] {
            assert_eq!(cors(origins).allows(origin), expected, "{origins} {origin}");
        }
    }

    #[test]
    fn so_many_are_copied() {
        let mirror = |part, of| Mirror { target: Target::Nobody(crate::Fault::Missing), tls: None, of, part };
        for (part, of, expected) in [(1, 1, 1000), (0, 100, 0), (20, 100, 200), (1, 4, 250), (1, 0, 0)] {
            let copied = (0..1000).filter(|number| mirror(part, of).is_meant(*number)).count();
            assert_eq!(copied, expected, "{part} of {of}");
        }
    }
}
