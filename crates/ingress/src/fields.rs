//! Header fields: which of a client's go on, and what the gateway says of where a request came from.

use crate::bound::FIELDS;
use crate::filters::FRAMING;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use inspect::fields::takes_trailers;
pub(crate) use inspect::fields::{Asks, authority, is_bodiless, strip, strip_named, upgrade};
use std::net::IpAddr;

/// Fields by which a client could say of itself what only a gateway knows: where it comes from, who it is, or what it asks for.
const ORIGIN: [&str; 31] = [
    "cf-connecting-ip",
    // (RFC 9440)
    "client-cert",
    "client-cert-chain",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "kubeflow-userid",
    // CGI makes `HTTP_PROXY` of it, by which programs find their own proxy.
    "proxy",
    "true-client-ip",
    "x-client-cert",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-gateway-inference-fairness-id",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-for",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-proto",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// How names of others of them begin: those that proxies give their servers, and a server behind believes.
const ORIGIN_BEGINS: [&str; 10] = [
    "remote-",
    "ssl-client-",
    "x-auth-request-",
    "x-authenticated-",
    "x-consumer-",
    "x-envoy-",
    "x-forwarded",
    "x-remote-",
    "x-ssl-",
    "x-webauth-",
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
    join_cookies(headers);
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

/// Clients of HTTP/2 send a cookie each; a server of HTTP/1 may take the first field alone, or none (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether a client's field does not go on, by its name or by the one that a server has for it that takes `_` for `-`, or one of them
/// for anything that is no letter, as those do that are asked by CGI or WSGI.
fn ends_here(name: &str) -> bool {
    let is_known = |name: &str| {
        let begins = |begin: &&str| name.starts_with(*begin);
        ENDS_HERE.contains(&name)
            || ORIGIN.contains(&name)
            || ORIGIN_BEGINS.iter().any(begins)
            // They were for the gateway; whoever stands behind could use them.
            || authn::CREDENTIAL_HEADERS.contains(&name)
            || OWN.iter().any(begins)
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if name.chars().all(is_plain) {
        return is_known(name);
    }
    let taken_for = name.replace(|letter: char| !is_plain(letter), "-");
    // Under another name nobody would ask whose they are.
    is_known(&taken_for) || FRAMING.contains(&&*taken_for) || FIELDS.contains(&&*taken_for)
}

/// Removes from trailers what says how, by whom or to whom a message is (RFC 9110, section 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers);
    let known = ["cookie", "range", "set-cookie"];
    let is_own = |name: &str| {
        known.contains(&name)
            || FIELDS.contains(&name)
            || name.starts_with("content-")
            || name.starts_with("if-")
            || ends_here(name)
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
                ("x-forwarded-client-cert", "URI=spiffe://example.org/root"),
                ("x-forwarded-user", "root"),
                ("x-forwarded-prefix", "/admin"),
                ("x-auth-request-email", "root@example.org"),
                ("remote-user", "root"),
                ("x-remote-group", "system:masters"),
                ("client-cert", ":MIIB:"),
                ("ssl-client-verify", "SUCCESS"),
                ("x-envoy-original-path", "/admin"),
                ("x-original-host", "b.example"),
                ("x-rewrite-url", "/admin"),
                ("x-http-method-override", "DELETE"),
                ("x-gateway-inference-fairness-id", "other"),
                ("x-request-id", "mine"),
                ("x-cofferdam-consumer", "root"),
                ("x-gateway-destination-endpoint", "10.0.0.1:22"),
                ("expect", "100-continue"),
                ("authorization", "Bearer x"),
                ("x_cofferdam_consumer", "root"),
                ("x-forwarded_for", "10.0.0.1"),
                ("x_api_key", "x"),
                ("x.cofferdam.consumer", "root"),
                ("x-client-request-id", "8"),
                ("transfer_encoding", "chunked"),
                ("mcp_session_id", "x"),
                ("last.event.id", "x"),
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
                "x-client-request-id: 8",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: a.example:8443",
                "x-forwarded-proto: https",
                "x-request-id: 00ff",
            ]
        );
    }

    #[test]
    fn cookies_go_on_as_one_field() {
        for (cookies, expected) in
            [(&["a=b"][..], vec!["a=b"]), (&["a=b", "c=d", "e=f"], vec!["a=b; c=d; e=f"]), (&[], vec![])]
        {
            let fields: Vec<(&str, &str)> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
            let mut headers = request("GET", &fields).headers().clone();
            forwarded(&mut headers, Asks::Nothing, &ORIGIN_OF_TEST);
            let found: Vec<&HeaderValue> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(found, expected);
        }
    }
}
