//! Header fields that are about one connection and not about the message, and for whom a request says it is.
//!
//! Enters: fields as a parser found them. Leaves: what a request asks its connection to become ([`Asks`]); the fields without those that
//! no next hop is to have; the one host that is named. Guarantees: what two readers could take for different things is a tunnel, or no
//! host at all. Does not: know which other fields a gateway does not believe.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Version};

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
pub enum Asks {
    /// Nothing else.
    Nothing,
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// Another protocol, or a tunnel.
    Tunnel,
}

impl Asks {
    /// Of a request of HTTP/1 or HTTP/2.
    pub fn of<B>(request: &Request<B>) -> Self {
        // Some servers read methods in any case.
        if request.method().as_str().eq_ignore_ascii_case("CONNECT") {
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

/// The elements of a field that is a list; lines that are no text are passed over.
pub fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the connection ends with this message.
pub fn closes(headers: &HeaderMap) -> bool {
    listed(headers, header::CONNECTION).any(|option| option.eq_ignore_ascii_case("close"))
}

/// Whether who sent this takes trailers.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    listed(headers, header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// Removes what is about the connection only, and what it names as such.
pub fn strip(headers: &mut HeaderMap) {
    strip_named(headers);
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Removes what `Connection` names, but for fields that are about the connection whoever names them. What else it names does not go
/// on, so nobody may judge a message by it: how it is coded, or of what kind it is.
pub fn strip_named(headers: &mut HeaderMap) {
    let named = listed(headers, header::CONNECTION).filter_map(|name| name.parse().ok());
    let named: Vec<HeaderName> =
        named.filter(|name: &HeaderName| !HOP_BY_HOP.contains(&name.as_str())).collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
}

/// Whether servers take requests of this method for ones without a body, and what follows their heads for the next request.
pub fn is_bodiless(method: &str) -> bool {
    // Some read methods in any case.
    ["GET", "HEAD", "TRACE"].iter().any(|known| known.eq_ignore_ascii_case(method))
}

/// Says that the connection becomes a WebSocket.
pub fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The host that a request names, with its port if it has one: one that its target and its field agree on.
/// `None`: none, several, or one that cannot be read.
pub fn authority<B>(request: &Request<B>) -> Option<String> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(field), None) => Some(field.to_str().ok()?),
        (Some(_), Some(_)) => return None,
    };
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let named = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => return None,
        (_, Some(one)) | (Some(one), None) => one,
        (None, None) => return None,
    };
    // Who a user is says nothing about the host, and readers differ on it.
    (!named.is_empty() && !named.contains('@')).then(|| named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).version(Version::HTTP_11);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_a_plain_request_for_a_web_socket_is_one() {
        let asks = |method: &str, fields: &[(&str, &str)]| Asks::of(&request(method, fields));
        let socket = ("upgrade", "websocket");
        let on = ("connection", "keep-alive, Upgrade");
        assert_eq!(asks("GET", &[]), Asks::Nothing);
        assert_eq!(asks("GET", &[socket, on]), Asks::WebSocket);
        for tunnel in [
            asks("CONNECT", &[]),
            asks("connect", &[]),
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

    #[test]
    fn what_a_connection_names_as_its_own_does_not_go_on() {
        let fields = [
            ("connection", "close, X-Secret"),
            ("connection", "te"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ];
        let mut headers = request("GET", &fields).headers().clone();
        assert!(closes(&headers) && takes_trailers(&headers));
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn what_is_about_a_connection_anyway_stays_until_it_goes_on() {
        let fields = [
            ("connection", "te, content-encoding"),
            ("connection", "upgrade"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("content-encoding", "gzip"),
        ];
        let mut headers = request("GET", &fields).headers().clone();
        strip_named(&mut headers);
        assert!(takes_trailers(&headers) && headers.contains_key(header::UPGRADE));
        assert!(!headers.contains_key(header::CONTENT_ENCODING));
    }

    #[test]
    fn a_request_is_for_one_host_or_for_none() {
        for (fields, expected) in [
            (&[("host", "a.example:8443")][..], Some("a.example:8443")),
            (&[("host", "a.example"), ("host", "a.example")], None),
            (&[("host", "user@a.example")], None),
            (&[("host", "")], None),
            (&[], None),
        ] {
            assert_eq!(authority(&request("GET", fields)).as_deref(), expected, "{fields:?}");
        }
    }
}
