//! What a CONNECT says: who wants to go where, by which name, and by which policy it was allowed.
//!
//! `:authority` is the address and port; `cofferdam-pod` is `namespace/name`; `cofferdam-source` the pod's own address and
//! port; `cofferdam-generation` the state of policy that allowed it; `cofferdam-name`, as often as there are names, those by
//! which it is allowed: the one that the connection claims, or all that the pod has for the address.
//! Guarantees: what is read is what [`Asked::head`] would write of it; nothing is guessed.

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use policy::{DnsName, Generation};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

const POD: HeaderName = HeaderName::from_static("cofferdam-pod");
const SOURCE: HeaderName = HeaderName::from_static("cofferdam-source");
const NAME: HeaderName = HeaderName::from_static("cofferdam-name");
const GENERATION: HeaderName = HeaderName::from_static("cofferdam-generation");
/// Why it is refused, in an answer.
pub(super) const REASON: HeaderName = HeaderName::from_static("cofferdam-reason");

/// Names of one CONNECT, at most.
pub(crate) const MOST_NAMES: usize = 16;

/// One connection that a node asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `namespace/name`.
    pub(crate) pod: Arc<str>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// All of them must be allowed; without any the address itself must.
    pub(crate) names: Vec<DnsName>,
    pub(crate) generation: Generation,
}

impl Asked {
    /// The head of the CONNECT. `None` where something of it cannot be said in one.
    pub(crate) fn head(&self) -> Option<Request<()>> {
        let value = |text: String| HeaderValue::try_from(text).ok();
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::builder().authority(self.destination.to_string()).build().ok()?;
        let headers = request.headers_mut();
        headers.insert(POD, value(self.pod.to_string())?);
        headers.insert(SOURCE, value(self.source.to_string())?);
        headers.insert(GENERATION, value(self.generation.to_string())?);
        for name in &self.names {
            headers.append(NAME, value(name.to_string())?);
        }
        Some(request)
    }

    /// What a head says. `None` where it is none of these.
    pub(crate) fn read(head: &Parts) -> Option<Self> {
        let uri = &head.uri;
        let is_connect = head.method == Method::CONNECT && uri.scheme().is_none() && uri.path().is_empty();
        let authority = uri.authority().filter(|_| is_connect)?;
        let destination: SocketAddr = parsed(authority.as_str())?;
        let pod = one(&head.headers, &POD)?;
        let (namespace, name) = pod.split_once('/')?;
        let is_name = |part: &str| !part.is_empty() && !part.contains('/');
        let names = head.headers.get_all(NAME);
        if !is_name(namespace) || !is_name(name) || names.iter().count() > MOST_NAMES {
            return None;
        }
        let name = |value: &HeaderValue| {
            let text = value.to_str().ok()?;
            DnsName::parse(text).ok().filter(|name| name.as_str() == text)
        };
        Some(Self {
            pod: pod.into(),
            source: parsed(one(&head.headers, &SOURCE)?)?,
            destination,
            names: names.iter().map(name).collect::<Option<_>>()?,
            generation: Generation(parsed(one(&head.headers, &GENERATION)?)?),
        })
    }
}

/// The only value of a field.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Only as it would be written: one thing has one form.
fn parsed<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|value: &T| value.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    fn asked() -> Asked {
        Asked {
            pod: "team/trainer-0".into(),
            source: "10.1.0.7:40123".parse().unwrap(),
            destination: "[2001:db8::7]:443".parse().unwrap(),
            names: ["hub.example", "cdn.hub.example"].map(|name| DnsName::parse(name).unwrap()).to_vec(),
            generation: Generation(42),
        }
    }

    #[test]
    fn what_is_asked_is_what_is_read() {
        let without = Asked { names: Vec::new(), ..asked() };
        for asked in [asked(), without] {
            let (parts, ()) = asked.head().unwrap().into_parts();
            assert_eq!(Asked::read(&parts).unwrap(), asked);
        }
    }

    proptest! {
        /// Nearly right in every way: what is read of it would be written so.
        #[test]
        fn what_is_read_has_one_form(
            authority in "[0-9.:a-f\\[\\]]{1,24}",
            fields in vec((0..4_usize, "[a-z0-9/.:\\[\\]+-]{0,24}"), 0..6),
            right in vec(any::<bool>(), 4),
        ) {
            let (mut parts, ()) = asked().head().unwrap().into_parts();
            if let Ok(uri) = authority.parse() {
                parts.uri = uri;
            }
            let names = [POD, SOURCE, NAME, GENERATION];
            names.iter().zip(&right).filter(|(_, right)| !**right).for_each(|(name, _)| drop(parts.headers.remove(name)));
            for (at, text) in fields {
                parts.headers.append(names[at].clone(), HeaderValue::from_str(&text).unwrap());
            }
            if let Some(read) = Asked::read(&parts) {
                let (again, ()) = read.head().unwrap().into_parts();
                assert_eq!((again.uri, again.headers), (parts.uri, parts.headers));
            }
        }
    }

    type Change = fn(&mut Parts);

    fn set(parts: &mut Parts, name: HeaderName, value: &'static str) {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }

    fn add(parts: &mut Parts, name: HeaderName, value: &'static str) {
        parts.headers.append(name, HeaderValue::from_static(value));
    }

    #[test]
    fn what_two_could_read_differently_is_nothing() {
        let cases: [(&str, Change); 12] = [
            ("a GET", |it| it.method = Method::GET),
            ("a name as destination", |it| it.uri = "hub.example:443".parse().unwrap()),
            ("no port", |it| it.uri = "192.0.2.1".parse().unwrap()),
            ("a path", |it| it.uri = "http://192.0.2.1:443/x".parse().unwrap()),
            ("an address with zeros", |it| it.uri = "[2001:db8:0::7]:443".parse().unwrap()),
            ("two pods", |it| add(it, POD, "a/b")),
            ("a pod of no namespace", |it| set(it, POD, "/b")),
            ("a pod with more", |it| set(it, POD, "a/b/c")),
            ("no source", |it| set(it, SOURCE, "")),
            ("a generation with a sign", |it| set(it, GENERATION, "+7")),
            ("a name in capitals", |it| add(it, NAME, "Hub.example")),
            ("too many names", |it| (0..MOST_NAMES).for_each(|_| add(it, NAME, "a.example"))),
        ];
        for (what, change) in cases {
            let (mut parts, ()) = asked().head().unwrap().into_parts();
            change(&mut parts);
            assert_eq!(Asked::read(&parts), None, "{what}");
        }
    }
}
