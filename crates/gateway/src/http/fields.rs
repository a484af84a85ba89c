//! Which fields of a message go on, and whether a host is the one that a connection was opened for.

use super::searching::KEY_FIELDS;
use ::inspect::fields::takes_trailers;
pub(crate) use ::inspect::fields::{Asks, authority, closes, strip, upgrade};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Version};
use policy::DnsName;

/// What goes on to the server. The parser answers expectations itself, and trailers are not for everybody.
pub(crate) fn strip_request(headers: &mut HeaderMap, asks: Asks, version: Version) {
    let takes_trailers = takes_trailers(headers);
    strip(headers);
    for name in ["expect", "trailer", "host", "http2-settings"] {
        headers.remove(name);
    }
    if asks == Asks::WebSocket {
        upgrade(headers);
    } else if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if version != Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// Removes from trailers what no trailer may be: what says how, by whom, with which key or to whom a message is (RFC 9110,
/// section 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    let own = ["expect", "host", "range", "trailer"];
    let is_own = |name: &str| {
        own.contains(&name)
            || KEY_FIELDS.contains(&name)
            || name.starts_with("content-")
            || name.starts_with("if-")
    };
    let names: Vec<HeaderName> = trailers.keys().filter(|name| is_own(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Whether an authority is this name, and at this port where it names one.
pub(crate) fn is_for(authority: &str, name: &DnsName, port: u16) -> bool {
    let (host, at) = authority.split_once(':').map_or((authority, None), |(host, at)| (host, Some(at)));
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse() == Ok(port);
    at.is_none_or(is_port) && DnsName::parse(host).is_ok_and(|host| host == *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_host_is_the_name_and_its_port_the_connections() {
        let name = DnsName::parse("a.example").unwrap();
        for (authority, expected) in [
            ("a.example", true),
            ("A.Example", true),
            ("a.example.", true),
            ("a.example:443", true),
            ("a.example:80", false),
            ("a.example:+443", false),
            ("a.example:", false),
            ("b.example", false),
            ("a.example.b.example", false),
            ("x@a.example", false),
            ("a.example:443:443", false),
            ("", false),
        ] {
            assert_eq!(is_for(authority, &name, 443), expected, "{authority}");
        }
    }

    #[test]
    fn what_is_about_the_connection_does_not_go_on() {
        let mut request = Request::builder().version(Version::HTTP_11);
        for (name, value) in [
            ("host", "a.example"),
            ("connection", "close, X-Secret"),
            ("connection", "te"),
            ("x-secret", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ] {
            request = request.header(name, value);
        }
        let mut headers = request.body(()).unwrap().into_parts().0.headers;
        strip_request(&mut headers, Asks::Nothing, Version::HTTP_11);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
