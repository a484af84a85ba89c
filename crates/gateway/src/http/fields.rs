//! Which fields of a message are about its connection only, and for whom a request says it is.

use super::searching::KEY_FIELDS;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use policy::DnsName;

/// Fields about one connection (RFC 9110, section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What a request asks its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing else.
    Nothing,
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// Another protocol, or a tunnel.
    Tunnel,
}

impl Asks {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        if request.method() == Method::CONNECT {
            return Self::Tunnel;
        }
        let headers = request.headers();
        let mut asked = headers.get_all(header::UPGRADE).iter();
        let is_http1 = request.version() == Version::HTTP_11;
        match (asked.next(), asked.next()) {
            (None, _) => Self::Nothing,
            (Some(protocol), None)
                if is_http1
                    && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
                    && request.method() == Method::GET
                    && listed(headers, header::CONNECTION)
                        .any(|name| name.eq_ignore_ascii_case("upgrade"))
                    && !headers.contains_key(header::CONTENT_LENGTH)
                    && !headers.contains_key(header::TRANSFER_ENCODING) =>
            {
                Self::WebSocket
            }
            (Some(_), _) => Self::Tunnel,
        }
    }
}

/// The elements of a field that is a list.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the connection ends with this message.
pub(crate) fn closes(headers: &HeaderMap) -> bool {
    listed(headers, header::CONNECTION).any(|option| option.eq_ignore_ascii_case("close"))
}

/// Removes what is about the connection only, and what it names as such.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        listed(headers, header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// What goes on to the server. The parser answers expectations itself, and trailers are not for everybody.
pub(crate) fn strip_request(headers: &mut HeaderMap, asks: Asks, version: Version) {
    let takes_trailers = listed(headers, header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
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

/// Says that the connection becomes a WebSocket.
pub(crate) fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The host that a request names, with its port if it has one: one that its target and its field agree on.
/// `None`: none, several, or one that cannot be read.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<String> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(field), None) => Some(field.to_str().ok()?),
        (Some(_), Some(_)) => return None,
    };
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    match (target, field) {
        (Some(target), Some(field)) => target.eq_ignore_ascii_case(field).then(|| field.to_owned()),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
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

    #[test]
    fn only_a_plain_request_for_a_web_socket_is_one() {
        let asks = |method: &str, fields: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).version(Version::HTTP_11);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            Asks::of(&request.body(()).unwrap())
        };
        let socket = ("upgrade", "websocket");
        let on = ("connection", "keep-alive, Upgrade");
        assert_eq!(asks("GET", &[]), Asks::Nothing);
        assert_eq!(asks("GET", &[socket, on]), Asks::WebSocket);
        for tunnel in [
            asks("CONNECT", &[]),
            asks("POST", &[socket, on]),
            asks("GET", &[socket]),
            asks("GET", &[("upgrade", "h2c"), on]),
            asks("GET", &[socket, socket, on]),
            asks("GET", &[socket, on, ("content-length", "0")]),
            asks("GET", &[socket, on, ("transfer-encoding", "chunked")]),
        ] {
            assert_eq!(tunnel, Asks::Tunnel);
        }
    }
}
