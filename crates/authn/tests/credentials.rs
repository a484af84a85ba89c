//! Keys, certificates, nobody; where a credential can be; and key sets that are fetched.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

mod support;

use authn::{Authenticator, Fetch, KeySources, Known, Reason, Shown};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::json;
use support::{NOW, Signer, authentication, bearer, claims};

/// SHA-256 of `key-1`, `key-2` and `key-3`, as `printf %s key-1 | sha256sum` says.
const KEYS: [&str; 3] = [
    "be2974546978e3739e6d6da85c4be9f334ce32df2b9fd4b6ff1b55c0d57e9d44",
    "7c36b0a9dedde119c75165957c6c9c187e65df1ee5db87c4c58ad503ad88cbe3",
    "d9ef8196557c9da69806fb5d777f4e5ad6d5c18593039e0ff62f9fdf003b0198",
];

fn keys(anonymous: bool) -> Authenticator {
    let [first, second, third] = KEYS;
    let written = json!({"anonymous": anonymous, "apiKeys": [
        {"consumer": "alice", "groups": ["team-a"], "sha256": [first, second]},
        {"consumer": "bob", "sha256": [third.to_uppercase()]},
    ]});
    Authenticator::new(&authentication(&written.to_string()), &KeySources::default()).unwrap()
}

#[test]
fn a_key_is_known_wherever_clients_send_it_and_only_there() {
    let by = keys(false);
    for (headers, expected) in [
        (&[("authorization", "Bearer key-1")][..], Ok("alice")),
        (&[("authorization", "bearer  key-2 ")], Ok("alice")),
        (&[("x-api-key", "key-3")], Ok("bob")),
        (&[("api-key", "key-3")], Ok("bob")),
        (&[("x-goog-api-key", "key-3")], Ok("bob")),
        (&[("authorization", "Bearer key-1"), ("api-key", "key-1")], Ok("alice")),
        (&[("authorization", "Bearer key-1"), ("api-key", "key-2")], Err(Reason::SeveralCredentials)),
        (&[("x-api-key", "key-1"), ("x-api-key", "key-3")], Err(Reason::SeveralCredentials)),
        (&[("x-api-key", "key-1"), ("authorization", "Basic eA==")], Err(Reason::UnreadableCredential)),
        (&[("authorization", "key-1")], Err(Reason::UnreadableCredential)),
        (&[("authorization", "Bearer")], Err(Reason::UnreadableCredential)),
        (&[("authorization", "Bearer ")], Err(Reason::UnreadableCredential)),
        (&[("authorization", "Bearer key-1, Bearer key-3")], Err(Reason::UnreadableCredential)),
        (&[("x-api-key", "")], Err(Reason::UnreadableCredential)),
        (&[("x-api-key", "key-1\u{e9}")], Err(Reason::UnreadableCredential)),
        (&[("x-api-key", "KEY-1")], Err(Reason::UnknownCredential)),
        // The digest itself is no key.
        (&[("x-api-key", KEYS[0])], Err(Reason::UnknownCredential)),
        (&[("x-api-key", "a.b.c")], Err(Reason::UnknownCredential)),
        (&[("cookie", "x-api-key=key-1")], Err(Reason::NoCredential)),
        (&[], Err(Reason::NoCredential)),
    ] {
        let lines: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let found = by.authenticate(&Shown { headers: &lines, certificates: &[] }, NOW);
        let found = found.as_ref().map(|it| &*it.name).map_err(|it| it.reason);
        assert_eq!(found, expected, "{headers:?}");
    }
}

#[test]
fn nobody_in_particular_is_who_shows_nothing_and_not_who_shows_something_wrong() {
    let by = keys(true);
    let nobody = by.authenticate(&Shown { headers: &[], certificates: &[] }, NOW).unwrap();
    assert_eq!((&*nobody.name, &nobody.how), ("", &Known::Anonymous));
    assert_eq!(bearer(&by, "wrong", NOW).unwrap_err().reason, Reason::UnknownCredential);
}

/// An authority, and certificates by it with these URIs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self, uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 6, 1);
        params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().to_vec()
    }
}

#[test]
fn a_certificate_says_who_asks_if_an_authority_of_its_own_domain_made_it() {
    let (mine, other, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let written = json!({"mtls": {"trustDomains": [
        {"name": "example.org", "ca": mine.0.pem()}, {"name": "example.net", "ca": other.0.pem()},
    ]}});
    let by = Authenticator::new(&authentication(&written.to_string()), &KeySources::default()).unwrap();
    let id = "spiffe://example.org/ns/prod/sa/rag";
    for (what, certificate, now, expected) in [
        ("good", mine.certificate(&[id]), NOW, Ok(id)),
        ("another's", other.certificate(&[id]), NOW, Err(Reason::CertificateUntrusted)),
        ("a stranger's", stranger.certificate(&[id]), NOW, Err(Reason::CertificateUntrusted)),
        (
            "of no domain",
            mine.certificate(&["spiffe://example.com/a"]),
            NOW,
            Err(Reason::CertificateUntrusted),
        ),
        ("too late", mine.certificate(&[id]), NOW + 365 * 86_400, Err(Reason::CertificateUntrusted)),
        ("too early", mine.certificate(&[id]), NOW - 2 * 365 * 86_400, Err(Reason::CertificateUntrusted)),
        ("without an id", mine.certificate(&[]), NOW, Err(Reason::CertificateNoId)),
        ("with two", mine.certificate(&[id, "spiffe://example.org/b"]), NOW, Err(Reason::CertificateNoId)),
        ("with another URI", mine.certificate(&["https://example.org/"]), NOW, Err(Reason::CertificateNoId)),
        ("none", b"0\x03abc".to_vec(), NOW, Err(Reason::UnreadableCredential)),
    ] {
        let found = by.authenticate(&Shown { headers: &[], certificates: &[&certificate] }, now);
        let found = found.as_ref().map(|it| &*it.name).map_err(|it| it.reason);
        assert_eq!(found, expected, "{what}");
    }
    let no_certificate = by.authenticate(&Shown { headers: &[], certificates: &[] }, NOW);
    assert_eq!(no_certificate.unwrap_err().reason, Reason::NoCredential);
    let wrong = json!({"mtls": {"trustDomains": [{"name": "example.org", "ca": "no certificate"}]}});
    let wrong = Authenticator::new(&authentication(&wrong.to_string()), &KeySources::default()).unwrap_err();
    assert!(wrong[0].to_string().contains("example.org") && wrong[0].position.is_some(), "{wrong:?}");
}

#[test]
fn a_chain_ends_with_the_first_of_its_certificates() {
    let authority = Authority::new();
    let own = authority.certificate(&["spiffe://example.org/ns/prod/sa/rag"]);
    // 2027-06-01.
    const OWN: u64 = 1_811_808_000;
    let above = authority.0.der().to_vec();
    assert_eq!(authn::ends(&[&own]), Some(OWN));
    assert_eq!(authn::ends(&[&own, &above]), Some(OWN), "the authority lives longer");
    let mut params = CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2026, 6, 1);
    let short = params.signed_by(&KeyPair::generate().unwrap(), &authority.0).unwrap().der().to_vec();
    assert!(authn::ends(&[&own, &short]).is_some_and(|end| end < OWN));
    for unreadable in [&[][..], &[&b"0\x03abc"[..]], &[own.as_slice(), b""]] {
        assert_eq!(authn::ends(unreadable), None);
    }
}

const URL: &str = "https://issuer.example/jwks";

fn fetched(sources: &KeySources) -> Authenticator {
    let written = json!({"jwt": [{
        "name": "corp", "issuer": "https://issuer.example", "audiences": ["models"],
        "jwks": {"url": URL, "refresh": "5m", "stale": "1h"},
    }]});
    Authenticator::new(&authentication(&written.to_string()), sources).unwrap()
}

fn set(keys: &[serde_json::Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

#[test]
fn keys_are_fetched_rotated_and_outlast_an_outage_for_as_long_as_is_said() {
    let sources = KeySources::default();
    let by = fetched(&sources);
    let (old, new) = (Signer::p256(), Signer::p256());
    let far = json!({"exp": NOW + 100_000});
    let tokens = [old.token("ES256", "old", &claims(far.clone())), new.token("ES256", "new", &claims(far))];
    let is = |token: &str, now: u64| {
        bearer(&by, token, now).map(drop).map_err(|it| (it.reason, it.awaits.is_some()))
    };
    let fetch = Fetch { url: URL.into(), ca: None };

    assert_eq!(
        is(&tokens[0], NOW),
        Err((Reason::KeysNotThere, true)),
        "the first fetch is worth to wait for"
    );
    assert_eq!(sources.due(NOW), std::slice::from_ref(&fetch));
    assert_eq!(sources.due(NOW + 59), [], "it is under way");
    assert_eq!(sources.due(NOW + 60).len(), 1, "nothing was heard of it");
    sources.fetched(&fetch, &set(&[old.jwk("old")]), NOW).unwrap();
    assert_eq!(sources.next_due(), Some(NOW + 300));
    assert_eq!(is(&tokens[0], NOW), Ok(()));

    // A key that is not there yet: it is asked for, and not at every request.
    assert_eq!(is(&tokens[1], NOW + 10), Err((Reason::TokenUnknownKey, false)), "fetched a moment ago");
    assert_eq!(sources.due(NOW + 10), []);
    assert_eq!(is(&tokens[1], NOW + 30), Err((Reason::TokenUnknownKey, true)));
    assert_eq!(sources.due(NOW + 30).len(), 1);
    sources.fetched(&fetch, &set(&[old.jwk("old"), new.jwk("new")]), NOW + 31).unwrap();
    assert_eq!((is(&tokens[0], NOW + 31), is(&tokens[1], NOW + 31)), (Ok(()), Ok(())));

    // A key that is taken back is good for nothing, however well its tokens are known.
    sources.fetched(&fetch, &set(&[new.jwk("new")]), NOW + 40).unwrap();
    assert_eq!(is(&tokens[0], NOW + 40), Err((Reason::TokenUnknownKey, false)));

    // An outage: later and later tries, and the keys serve for five minutes and an hour.
    let mut tries = Vec::new();
    let mut now = NOW + 40;
    while now < NOW + 40 + 4000 {
        now = sources.next_due().unwrap();
        assert_eq!(sources.due(now).len(), 1);
        match tries.len() % 2 {
            0 => sources.failed(&fetch, now),
            _ => assert!(sources.fetched(&fetch, b"<html>", now).is_err()),
        }
        tries.push(now - NOW - 40);
    }
    assert_eq!(tries[..9], [300, 302, 306, 314, 330, 362, 426, 554, 810]);
    assert!(tries.windows(2).all(|two| two[1] - two[0] <= 300), "{tries:?}");
    assert_eq!(is(&tokens[1], NOW + 40 + 3900), Ok(()));
    assert_eq!(is(&tokens[1], NOW + 40 + 3901).unwrap_err().0, Reason::KeysNotThere);
    sources.fetched(&fetch, &set(&[new.jwk("new")]), NOW + 5000).unwrap();
    assert_eq!(is(&tokens[1], NOW + 5000), Ok(()));
}

#[test]
fn policies_that_name_one_set_share_it_and_it_is_forgotten_with_the_last() {
    let sources = KeySources::default();
    let (first, second) = (fetched(&sources), fetched(&sources));
    assert_eq!(sources.due(NOW).len(), 1);
    let key = Signer::p256();
    sources.fetched(&Fetch { url: URL.into(), ca: None }, &set(&[key.jwk("k")]), NOW).unwrap();
    let token = key.token("ES256", "k", &claims(json!({})));
    drop(first);
    assert!(bearer(&second, &token, NOW).is_ok());
    drop(second);
    assert_eq!((sources.due(NOW + 9999), sources.next_due()), (Vec::new(), None));
}
