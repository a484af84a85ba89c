//! What filters of a route do to heads.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use routes::{HeaderChange, Matched, Rewrite};

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

/// The target of a request as it goes on. `None`: what it became is none.
pub(crate) fn target(
    rewrite: Option<&Rewrite>,
    asked: &PathAndQuery,
    matched: &Matched,
) -> Option<PathAndQuery> {
    let Some(change) = rewrite.and_then(|rewrite| rewrite.path.as_ref()) else { return Some(asked.clone()) };
    let path = change.of(asked.path(), matched.prefix);
    match asked.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routes::{ListenerId, PathChange};

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
