//! Header fields: what is about one connection only, whom a request is for, and what the gateway says of where it came from.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use std::net::IpAddr;

/// Fields about one connection (RFC 9110, section 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields by which a client could say of itself what only a gateway knows.
const ORIGIN: [&str; 10] = [
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-original-url",
    "x-real-ip",
];

/// Fields of our own, and of whoever picks endpoints, begin so.
const OWN: [&str; 2] = ["x-cofferdam-", "x-gateway-destination-"];

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
        let headers = request.headers();
        let is_upgrade = headers.contains_key(header::UPGRADE);
        if request.method() == Method::CONNECT {
            return Self::Tunnel;
        }
        if !is_upgrade {
            return Self::Nothing;
        }
        let values: Vec<&HeaderValue> = headers.get_all(header::UPGRADE).iter().collect();
        let is_web_socket =
            matches!(values.as_slice(), [one] if one.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let is_plain = request.version() == Version::HTTP_11
            && request.method() == Method::GET
            && listed(headers, header::CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"))
            && !has_body.iter().any(|name| headers.contains_key(name));
        if is_web_socket && is_plain { Self::WebSocket } else { Self::Tunnel }
    }
}

/// The elements of a field that is a list.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what is about the connection only, and what it names as such.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        listed(headers, header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Says that the connection becomes a WebSocket.
pub(crate) fn upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Where a request came from, as the gateway saw it.
pub(crate) struct Origin<'a> {
    pub(crate) client: IpAddr,
    pub(crate) is_tls: bool,
    /// As the client wrote it.
    pub(crate) host: &'a str,
    pub(crate) request_id: &'a str,
}

/// Makes a client's fields those that go on: nothing about its connection, nothing that it says of where it comes from.
pub(crate) fn forwarded(headers: &mut HeaderMap, asks: Asks, origin: &Origin<'_>) {
    let takes_trailers = listed(headers, header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    strip(headers);
    for name in ["expect", "host", "http2-settings", "trailer"].iter().chain(&ORIGIN) {
        headers.remove(*name);
    }
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| OWN.iter().any(|own| name.as_str().starts_with(own))).cloned().collect();
    own.iter().for_each(|name| drop(headers.remove(name)));
    let proto = if origin.is_tls { "https" } else { "http" };
    let client = origin.client.to_string();
    for (name, value) in [
        ("x-forwarded-for", client.as_str()),
        ("x-forwarded-proto", proto),
        ("x-forwarded-host", origin.host),
        ("x-request-id", origin.request_id),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    if asks == Asks::WebSocket {
        upgrade(headers);
    } else if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes from trailers what says how, by whom or to whom a message is (RFC 9110, section 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    let known = ["authorization", "cookie", "expect", "host", "range", "set-cookie", "trailer"];
    let is_own =
        |name: &str| known.contains(&name) || name.starts_with("content-") || name.starts_with("if-");
    let names: Vec<HeaderName> = trailers.keys().filter(|name| is_own(name.as_str())).cloned().collect();
    names.iter().for_each(|name| drop(trailers.remove(name)));
}

/// The host that a request names, with its port if it has one: one that its target and its field agree on.
/// `None`: none, several, or one that cannot be read.
pub(crate) fn authority<B>(request: &Request<B>) -> Option<String> {
    let fields: Vec<&HeaderValue> = request.headers().get_all(header::HOST).iter().collect();
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let field = match fields.as_slice() {
        [] => None,
        [one] => Some(one.to_str().ok()?),
        [..] => return None,
    };
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

    const ORIGIN_OF_TEST: Origin<'_> = Origin {
        client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        is_tls: true,
        host: "a.example:8443",
        request_id: "00ff",
    };

    fn request(method: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).version(Version::HTTP_11);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn what_a_client_says_of_its_connection_or_its_origin_does_not_go_on() {
        let mut headers = request(
            "GET",
            &[
                ("host", "a.example:8443"),
                ("connection", "close, X-Secret"),
                ("x-secret", "1"),
                ("te", "gzip, trailers"),
                ("x-forwarded-for", "10.0.0.1"),
                ("forwarded", "for=10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x-request-id", "mine"),
                ("x-cofferdam-consumer", "root"),
                ("x-gateway-destination-endpoint", "10.0.0.1:22"),
                ("expect", "100-continue"),
                ("accept", "*/*"),
            ],
        )
        .headers()
        .clone();
        forwarded(&mut headers, Asks::Nothing, &ORIGIN_OF_TEST);
        let mut found: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "accept: */*",
                "te: trailers",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: a.example:8443",
                "x-forwarded-proto: https",
                "x-request-id: 00ff",
            ]
        );
    }

    #[test]
    fn only_a_plain_request_for_a_web_socket_is_one() {
        let (socket, on) = (("upgrade", "websocket"), ("connection", "keep-alive, Upgrade"));
        for (method, fields, expected) in [
            ("GET", &[][..], Asks::Nothing),
            ("GET", &[socket, on], Asks::WebSocket),
            ("CONNECT", &[], Asks::Tunnel),
            ("POST", &[socket, on], Asks::Tunnel),
            ("GET", &[socket], Asks::Tunnel),
            ("GET", &[("upgrade", "h2c"), on], Asks::Tunnel),
            ("GET", &[socket, socket, on], Asks::Tunnel),
            ("GET", &[socket, on, ("content-length", "0")], Asks::Tunnel),
        ] {
            assert_eq!(Asks::of(&request(method, fields)), expected, "{method} {fields:?}");
        }
    }

    #[test]
    fn a_request_names_one_host_or_none() {
        for (fields, expected) in [
            (&[][..], None),
            (&[("host", "a.example")], Some("a.example")),
            (&[("host", "a.example"), ("host", "a.example")], None),
            (&[("host", "root@a.example")], None),
            (&[("host", "")], None),
        ] {
            assert_eq!(authority(&request("GET", fields)).as_deref(), expected, "{fields:?}");
        }
    }
}
