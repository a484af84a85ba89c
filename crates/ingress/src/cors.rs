//! CORS filters of routes: preflights are answered here, and what other answers say of it is the route's
//! (Fetch Standard, section 3.2; Gateway API, HTTPCORSFilter).
//!
//! Guarantees: an origin that the route does not allow gets no field that allows anything; what a server says of CORS does not
//! pass where the route does. Does not: refuse a request for its origin; browsers do that, by what is answered.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, request};
use routes::Cors;

/// Fields by which an answer allows anything.
const ALLOWING: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];
/// Longest list of fields of a preflight that is answered with itself, in bytes.
const MOST_ASKED: usize = 4096;

/// What a browser asks, kept for its answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    origin: HeaderValue,
    /// Of a preflight: the method that it is about.
    method: Option<HeaderValue>,
    fields: Option<HeaderValue>,
}

impl Asked {
    /// `None`: no page of another origin asks.
    pub(crate) fn of(head: &request::Parts) -> Option<Self> {
        let one = |name: HeaderName| {
            let mut values = head.headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).cloned()
        };
        let origin = one(header::ORIGIN)?;
        let method = one(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| head.method == Method::OPTIONS);
        let fields = one(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|it| it.len() <= MOST_ASKED);
        Some(Self { origin, method, fields })
    }

    /// Whether it asks whether it may ask.
    pub(crate) fn is_preflight(&self) -> bool {
        self.method.is_some()
    }
}

/// Makes an answer say what the route allows, and nothing else.
pub(crate) fn allow(headers: &mut HeaderMap, cors: &Cors, asked: Option<&Asked>) {
    ALLOWING.iter().for_each(|name| drop(headers.remove(name)));
    // Who asks from elsewhere gets another answer, whatever this one is.
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(asked) = asked else { return };
    if !asked.origin.to_str().is_ok_and(|origin| cors.allows(origin)) {
        return;
    }
    // Never `*`: who shows credentials may not be answered so, and the answer is of this origin in any case.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, asked.origin.clone());
    if cors.0.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if asked.is_preflight() {
        let methods = listed(&cors.0.methods, cors.0.credentials, asked.method.as_ref());
        put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let fields = listed(&cors.0.headers, cors.0.credentials, asked.fields.as_ref());
        put(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, cors.0.max_age.into());
    }
    // Browsers look for it in answers alone; the API's conformance suite wants it of preflights too.
    put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, listed(&cors.0.exposed, cors.0.credentials, None));
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// A list as it is answered: itself, or where it is everything, that, or what was asked for.
fn listed(
    list: &[std::sync::Arc<str>],
    credentials: bool,
    asked: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let is_any = list.iter().any(|it| &**it == "*");
    match (is_any, credentials) {
        (true, true) => asked.cloned(),
        (true, false) => Some(HeaderValue::from_static("*")),
        (false, _) if list.is_empty() => None,
        (false, _) => {
            let names: Vec<&str> = list.iter().map(|it| &**it).collect();
            HeaderValue::from_str(&names.join(", ")).ok()
        }
    }
}
