//! Requests of one client that stay with one endpoint (`sessionPersistence`).
//!
//! Enters: the fields of a request, or the endpoint that answered it. Leaves: the endpoint that it should have; a cookie or field by which
//! the next one gets it. Guarantees: what a client is given is sealed (AES-256-GCM), names no address to it, and is worth nothing
//! once it was changed, is over, or comes to another rule. Gateways that know the same `uid` of a route understand each other. Does not:
//! keep anything, or insist: whoever is not there any more is replaced.

use crate::pool::{Pool, Spoken};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use crds::SessionKind;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use routes::{Backend, Rule, Session, Target};
use rustls::crypto::aws_lc_rs::default_provider;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of what is sealed: when it began, when it was used, and where.
const PLAIN: usize = 8 + 8 + 16 + 2;
/// Of a nonce, and of the tag behind what is sealed.
const NONCE: usize = 12;
const TAG: usize = 16;
/// Seconds by which clocks of gateways may differ.
const SKEW: u64 = 60;
/// Cookies and fields of a name that are looked at.
const MOST_LOOKED: usize = 8;

/// A secret of the process, for routes without a `uid`.
pub(crate) type Secret = [u8; 32];

/// One that nobody else has. Without randomness it is one that can be guessed: then a client could choose its endpoint.
pub(crate) fn own_secret() -> Secret {
    let mut secret = [0; 32];
    let _guessable = default_provider().secure_random.fill(&mut secret);
    secret
}

/// What a client says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    began: u64,
    used: u64,
    endpoint: SocketAddr,
}

/// The session of one request.
#[derive(Debug)]
pub(crate) struct Staying<'r> {
    session: &'r Session,
    key: Option<RandomizedNonceKey>,
    said: Option<Said>,
}

impl<'r> Staying<'r> {
    /// Of a request to a rule. `None`: its requests do not stay.
    pub(crate) fn of(rule: &'r Rule, secret: &Secret, headers: &HeaderMap, now: u64) -> Option<Self> {
        let session = rule.session.as_ref()?;
        let uid = session.uid.as_ref().map_or(secret.as_slice(), |uid| uid.as_bytes());
        let key = digest(&SHA256, &[b"cofferdam session ".as_slice(), uid].concat());
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).ok();
        let mut staying = Self { session, key, said: None };
        staying.said = staying.read(headers, now);
        Some(staying)
    }

    /// The backend of the endpoint that it had. `None`: it had none, or that may not or cannot be asked any more.
    pub(crate) fn backend<'b>(
        &self,
        backends: &'b [Backend],
        endpoints: impl Fn(&Target) -> &'b [SocketAddr],
    ) -> Option<&'b Backend> {
        let said = self.said?;
        backends.iter().find(|backend| {
            backend.weight > 0
                && backend.picker.is_none()
                && endpoints(&backend.target).contains(&said.endpoint)
        })
    }

    /// The endpoint that it had, where that can be asked.
    pub(crate) fn endpoint(
        &self,
        pool: &Pool,
        addresses: &[SocketAddr],
        spoken: Spoken<'_>,
    ) -> Option<SocketAddr> {
        let endpoint = self.said.map(|said| said.endpoint).filter(|it| addresses.contains(it))?;
        pool.pick(&[endpoint], spoken, &[]).filter(|it| !it.rests()).map(|it| it.address)
    }

    /// Tells the client whose endpoint it has, where it does not say so itself.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, endpoint: SocketAddr, is_tls: bool, now: u64) {
        let same = self.said.filter(|said| said.endpoint == endpoint);
        if same.is_some() && self.session.idle.is_none() {
            return;
        }
        let began = same.map_or(now, |said| said.began);
        let Some(sealed) = self.seal(Said { began, used: now, endpoint }) else { return };
        let (name, text) = match self.session.kind {
            SessionKind::Header => (HeaderName::try_from(&*self.session.name).ok(), sealed),
            SessionKind::Cookie | SessionKind::PermanentCookie => {
                let mut text = format!("{}={sealed}; Path=/; HttpOnly", self.session.name);
                if let (SessionKind::PermanentCookie, Some(absolute)) =
                    (self.session.kind, self.session.absolute)
                {
                    let left = (began + absolute.as_secs()).saturating_sub(now);
                    // Writing to a text does not fail.
                    let _written = write!(text, "; Max-Age={left}");
                }
                if is_tls {
                    text.push_str("; Secure");
                }
                (Some(header::SET_COOKIE), text)
            }
        };
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(&text)) {
            // The server's own cookies stay.
            headers.append(name, value);
        }
    }

    fn read(&self, headers: &HeaderMap, now: u64) -> Option<Said> {
        let open = |value: &str| self.open(value, now);
        match self.session.kind {
            SessionKind::Header => {
                let values = headers.get_all(&*self.session.name).iter().take(MOST_LOOKED);
                values.filter_map(|value| value.to_str().ok()).find_map(open)
            }
            SessionKind::Cookie | SessionKind::PermanentCookie => {
                let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
                let pairs =
                    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
                let own = pairs.filter(|(name, _)| *name == &*self.session.name).take(MOST_LOOKED);
                own.map(|(_, value)| value).find_map(open)
            }
        }
    }

    fn seal(&self, said: Said) -> Option<String> {
        let mut bytes = Vec::with_capacity(NONCE + PLAIN + TAG);
        bytes.extend(said.began.to_be_bytes());
        bytes.extend(said.used.to_be_bytes());
        bytes.extend(wide(said.endpoint.ip()).octets());
        bytes.extend(said.endpoint.port().to_be_bytes());
        let aad = Aad::from(self.session.rule.as_bytes());
        let nonce = self.key.as_ref()?.seal_in_place_append_tag(aad, &mut bytes).ok()?;
        Some(HEXLOWER.encode(nonce.as_ref()) + &HEXLOWER.encode(&bytes))
    }

    /// What a sealed text says, where it is not over.
    fn open(&self, text: &str, now: u64) -> Option<Said> {
        if text.len() != 2 * (NONCE + PLAIN + TAG) {
            return None;
        }
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(self.session.rule.as_bytes());
        let plain = self.key.as_ref()?.open_in_place(Nonce::from(nonce), aad, &mut sealed).ok()?;
        let (began, rest) = plain.split_first_chunk::<8>()?;
        let (used, rest) = rest.split_first_chunk::<8>()?;
        let (address, rest) = rest.split_first_chunk::<16>()?;
        let address = Ipv6Addr::from(*address);
        let ip = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
        let endpoint = SocketAddr::new(ip, u16::from_be_bytes(*rest.first_chunk::<2>()?));
        let said = Said { began: u64::from_be_bytes(*began), used: u64::from_be_bytes(*used), endpoint };
        let is_over = |from: u64, lasts: Option<std::time::Duration>| {
            from > now + SKEW || lasts.is_some_and(|lasts| now.saturating_sub(from) >= lasts.as_secs().max(1))
        };
        let over = is_over(said.began, self.session.absolute) || is_over(said.used, self.session.idle);
        (!over).then_some(said)
    }
}

/// The endpoint that a client had, by the fields of its request to a rule; `None`: it had none, or that is over at `now`, in seconds.
pub fn session_endpoint(rule: &Rule, secret: &[u8; 32], headers: &HeaderMap, now: u64) -> Option<SocketAddr> {
    Some(Staying::of(rule, secret, headers, now)?.said?.endpoint)
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECRET: Secret = [7; 32];

    fn rule(spec: &str, uid: &str) -> Rule {
        let text = format!(
            "
{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {{name: c}}, spec: {{controllerName: cofferdam.dev/ingress-gateway}}}}
---
{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g, namespace: x}}, spec: {{gatewayClassName: c, listeners: [{{name: l, port: 80, protocol: HTTP}}]}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: x}}, spec: {{ports: [{{port: 80}}]}}}}
---
{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: x{uid}}},
 spec: {{parentRefs: [{{name: g}}], rules: [{{backendRefs: [{{name: s, port: 80}}], sessionPersistence: {spec}}}]}}}}
"
        );
        let read = crds::read_objects("t.yaml", text.as_bytes());
        assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
        routes::Routing::build(&read.objects).0.rules()[0].clone()
    }

    fn endpoint(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8080).into()
    }

    /// What a client sends that was told so.
    fn told(rule: &Rule, secret: &Secret, sent: &HeaderMap, at: SocketAddr, now: u64) -> HeaderMap {
        let mut answer = HeaderMap::new();
        Staying::of(rule, secret, sent, now).unwrap().tell(&mut answer, at, true, now);
        let mut next = HeaderMap::new();
        for (name, value) in &answer {
            match value.to_str().unwrap().split_once(';') {
                Some((cookie, _)) => {
                    next.insert(header::COOKIE, format!("a=b; {cookie}; c").parse().unwrap());
                }
                None => {
                    next.insert(name.clone(), value.clone());
                }
            }
        }
        next
    }

    fn had(rule: &Rule, secret: &Secret, sent: &HeaderMap, now: u64) -> Option<SocketAddr> {
        session_endpoint(rule, secret, sent, now)
    }

    #[test]
    fn a_session_is_understood_by_every_gateway_that_knows_the_route_and_by_no_other_rule() {
        for spec in ["{}", "{type: Header, sessionName: x-session}", "{sessionName: s, type: Cookie}"] {
            let (one, other) = (rule(spec, ", uid: one"), rule(spec, ", uid: two"));
            let sent = told(&one, &SECRET, &HeaderMap::new(), endpoint(1), 1000);
            assert_eq!(sent.len(), 1);
            assert_eq!(had(&one, &[8; 32], &sent, 1000), Some(endpoint(1)), "{spec}: another gateway");
            assert_eq!(had(&other, &SECRET, &sent, 1000), None, "{spec}");
            assert!(!format!("{sent:?}").contains("10.0.0.1"));
            let bare = rule(spec, "");
            let sent = told(&bare, &SECRET, &HeaderMap::new(), endpoint(1), 1000);
            assert_eq!(had(&bare, &SECRET, &sent, 1000), Some(endpoint(1)));
            assert_eq!(had(&bare, &[8; 32], &sent, 1000), None, "{spec}: without a uid only this process");
        }
    }

    #[test]
    fn what_was_changed_means_nothing() {
        let rule = rule("{type: Header, sessionName: x-session}", ", uid: u");
        let sent = told(&rule, &SECRET, &HeaderMap::new(), endpoint(1), 1000);
        let text = sent["x-session"].to_str().unwrap();
        assert_eq!(text.len(), 124);
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("x-session"),
                HeaderValue::from_bytes(&changed).unwrap(),
            )]);
            assert_eq!(had(&rule, &SECRET, &headers, 1000), None, "{at}");
        }
        for other in ["", "00", &text[2..], &"+f".repeat(62)] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static("x-session"), other.parse().unwrap())]);
            assert_eq!(had(&rule, &SECRET, &headers, 1000), None, "{other}");
        }
    }

    #[test]
    fn a_session_is_over_in_time_and_one_that_is_used_goes_on() {
        let rule = rule("{absoluteTimeout: 1h, idleTimeout: 10m}", ", uid: u");
        let mut sent = told(&rule, &SECRET, &HeaderMap::new(), endpoint(1), 0);
        assert_eq!(had(&rule, &SECRET, &sent, 599), Some(endpoint(1)));
        assert_eq!(had(&rule, &SECRET, &sent, 600), None);
        for now in [500, 1000, 1500, 2000, 2500, 3000, 3500] {
            sent = told(&rule, &SECRET, &sent, endpoint(1), now);
            assert_eq!(had(&rule, &SECRET, &sent, now), Some(endpoint(1)), "{now}");
        }
        assert_eq!(had(&rule, &SECRET, &sent, 3600), None, "however it was used");
        let late = told(&rule, &SECRET, &HeaderMap::new(), endpoint(1), 10_000);
        assert_eq!(had(&rule, &SECRET, &late, 10), None, "it began in the future");
    }

    #[test]
    fn a_client_is_told_once_and_again_where_its_endpoint_is_another() {
        let rule = rule("{}", ", uid: u");
        let sent = told(&rule, &SECRET, &HeaderMap::new(), endpoint(1), 0);
        assert!(told(&rule, &SECRET, &sent, endpoint(1), 5).is_empty());
        assert_eq!(had(&rule, &SECRET, &told(&rule, &SECRET, &sent, endpoint(2), 5), 5), Some(endpoint(2)));
    }

    #[test]
    fn a_permanent_cookie_says_how_long() {
        let rule = rule("{sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}", "");
        assert_eq!(rule.session.as_ref().unwrap().absolute, Some(Duration::from_secs(3600)));
        let mut answer = HeaderMap::new();
        Staying::of(&rule, &SECRET, &HeaderMap::new(), 9).unwrap().tell(&mut answer, endpoint(1), true, 9);
        let cookie = answer[header::SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.starts_with("s=") && cookie.ends_with("; Path=/; HttpOnly; Max-Age=3600; Secure"),
            "{cookie}"
        );
    }
}
