//! Header fields: which of a client's go on, and what the gateway says of where a request came from.

use crate::filters::FRAMING;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use inspect::fields::takes_trailers;
pub(crate) use inspect::fields::{Asks, authority, strip, upgrade};
use std::net::IpAddr;

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

/// Fields that say what only this side of the gateway is about.
const ENDS_HERE: [&str; 6] =
    ["expect", "host", "http2-settings", "proxy-authorization", "trailer", "x-request-id"];

/// Fields of our own, and of whoever picks endpoints, begin so.
const OWN: [&str; 2] = ["x-cofferdam-", "x-gateway-destination-"];

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
    let takes_trailers = takes_trailers(headers);
    strip(headers);
    let ends_here: Vec<HeaderName> =
        headers.keys().filter(|name| ends_here(name.as_str())).cloned().collect();
    ends_here.iter().for_each(|name| drop(headers.remove(name)));
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

/// Whether a client's field does not go on, by its name or by the one that a server has for it that takes `_` for `-`, as those do that
/// are asked by CGI or WSGI.
fn ends_here(name: &str) -> bool {
    let is_known = |name: &str| {
        ENDS_HERE.contains(&name)
            || ORIGIN.contains(&name)
            // They were for the gateway; whoever stands behind could use them.
            || authn::CREDENTIAL_HEADERS.contains(&name)
            || OWN.iter().any(|own| name.starts_with(own))
    };
    if !name.contains('_') {
        return is_known(name);
    }
    let taken_for = name.replace('_', "-");
    is_known(&taken_for) || FRAMING.contains(&&*taken_for)
}

/// Removes from trailers what says how, by whom or to whom a message is (RFC 9110, section 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    let known = ["cookie", "range", "set-cookie"];
    let is_own = |name: &str| {
        known.contains(&name) || name.starts_with("content-") || name.starts_with("if-") || ends_here(name)
    };
    let names: Vec<HeaderName> = trailers.keys().filter(|name| is_own(name.as_str())).cloned().collect();
    names.iter().for_each(|name| drop(trailers.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Version};

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
                ("authorization", "Bearer x"),
                ("x_cofferdam_consumer", "root"),
                ("x-forwarded_for", "10.0.0.1"),
                ("x_api_key", "x"),
                ("transfer_encoding", "chunked"),
                ("user_id", "7"),
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
                "user_id: 7",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: a.example:8443",
                "x-forwarded-proto: https",
                "x-request-id: 00ff",
            ]
        );
    }
}
