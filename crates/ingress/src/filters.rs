//! What filters of a route do to heads.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use routes::{HeaderChange, Matched, PathChange, Redirect, Rewrite};

/// Fields that frame a message or name its connection, which no filter may write.
pub(crate) const FRAMING: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Changes header fields: first what is set, then what is added, then what is removed.
pub(crate) fn change(headers: &mut HeaderMap, changes: &[HeaderChange]) {
    let known = |name: &str| HeaderName::try_from(name).ok().filter(|name| !FRAMING.contains(&name.as_str()));
    for change in changes {
        for (name, value) in &change.set {
            if let (Some(name), Ok(value)) = (known(name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        for (name, value) in &change.add {
            if let (Some(name), Ok(value)) = (known(name), HeaderValue::from_str(value)) {
                headers.append(name, value);
            }
        }
        for name in change.remove.iter().filter_map(|name| known(name)) {
            headers.remove(name);
        }
    }
}

fn changed(change: &PathChange, path: &str, matched: &Matched) -> String {
    match change {
        PathChange::Full(path) => path.to_string(),
        PathChange::Prefix(prefix) => {
            let rest = path.get(matched.prefix.unwrap_or(0)..).unwrap_or_default();
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            if rest.is_empty() && prefix.is_empty() { "/".to_owned() } else { format!("{prefix}{rest}") }
        }
    }
}

/// The target of a request as it goes on. `None`: what it became is none.
pub(crate) fn target(
    rewrite: Option<&Rewrite>,
    asked: &PathAndQuery,
    matched: &Matched,
) -> Option<PathAndQuery> {
    let Some(change) = rewrite.and_then(|rewrite| rewrite.path.as_ref()) else { return Some(asked.clone()) };
    let path = changed(change, asked.path(), matched);
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    match asked.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

/// What a redirect is made of, besides itself.
pub(crate) struct Asked<'a> {
    pub(crate) is_tls: bool,
    /// Of the listener.
    pub(crate) port: u16,
    /// As the client wrote it, with its port if it has one.
    pub(crate) host: &'a str,
    pub(crate) target: &'a PathAndQuery,
}

/// `Location` of a redirect (Gateway API, HTTPRequestRedirectFilter).
pub(crate) fn location(redirect: &Redirect, asked: &Asked<'_>, matched: &Matched) -> String {
    let own = if asked.is_tls { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own);
    let well_known = |scheme: &str| if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(scheme)) => well_known(scheme),
        (None, None) => asked.port,
    };
    let host = redirect.host.as_deref().unwrap_or_else(|| without_port(asked.host));
    let path = match &redirect.path {
        Some(change) => changed(change, asked.target.path(), matched),
        None => asked.target.path().to_owned(),
    };
    let port = if port == well_known(scheme) { String::new() } else { format!(":{port}") };
    let query = asked.target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}{query}")
}

/// The host of an authority.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routes::ListenerId;

    fn matched(prefix: Option<usize>) -> Matched {
        Matched { listener: ListenerId(0), prefix }
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_elements() {
        for (asked, taken, prefix, expected) in [
            ("/a/b?x=1", 2, "/z", "/z/b?x=1"),
            ("/a/b", 2, "/z/", "/z/b"),
            ("/a", 2, "/", "/"),
            ("/a/b", 2, "/", "/b"),
            ("/b", 0, "/z", "/z/b"),
        ] {
            let rewrite = Rewrite { host: None, path: Some(PathChange::Prefix(prefix.into())) };
            let found = target(Some(&rewrite), &asked.parse().unwrap(), &matched(Some(taken))).unwrap();
            assert_eq!(found.as_str(), expected, "{asked} {prefix}");
        }
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        let plain = Redirect { scheme: None, host: None, port: None, path: None, status: 302 };
        let https = Redirect { scheme: Some("https".into()), ..plain.clone() };
        let moved = Redirect { host: Some("b.example".into()), port: Some(8443), ..https.clone() };
        let deeper = Redirect { path: Some(PathChange::Prefix("/v2".into())), ..plain.clone() };
        for (redirect, expected) in [
            (plain, "http://a.example:8080/v1/x?q=1"),
            (https, "https://a.example/v1/x?q=1"),
            (moved, "https://b.example:8443/v1/x?q=1"),
            (deeper, "http://a.example:8080/v2/x?q=1"),
        ] {
            let target = "/v1/x?q=1".parse().unwrap();
            let asked = Asked { is_tls: false, port: 8080, host: "a.example:8080", target: &target };
            assert_eq!(location(&redirect, &asked, &matched(Some(3))), expected);
        }
    }

    #[test]
    fn no_filter_writes_what_frames_a_message() {
        let text = |name: &str| (name.into(), "1".into());
        let change_all = HeaderChange {
            set: vec![text("transfer-encoding"), text("x-set")],
            add: vec![text("content-length"), text("x-set")],
            remove: vec!["x-gone".into()],
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-gone", HeaderValue::from_static("1"));
        change(&mut headers, &[change_all]);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-set", "x-set"]);
    }
}
