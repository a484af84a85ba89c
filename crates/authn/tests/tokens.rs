//! Tokens: which are taken, and what is not to be taken for one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

mod support;

use authn::{Authenticator, Known, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use support::{NOW, Signer, b64, bearer, claims, hmac_token, issuer};

static RSA: LazyLock<Signer> = LazyLock::new(Signer::rsa);
static P256: LazyLock<Signer> = LazyLock::new(Signer::p256);

fn refused(by: &Authenticator, token: &str, now: u64) -> Option<Reason> {
    bearer(by, token, now).err().map(|it| it.reason)
}

#[test]
fn a_good_token_says_who_asks() {
    let by = issuer(&[P256.jwk("k")]);
    let token = P256.token("ES256", "k", &claims(json!({})));
    for _ in ["verified", "from the cache"] {
        let consumer = bearer(&by, &token, NOW).unwrap();
        assert_eq!((&*consumer.name, &consumer.how), ("alice", &Known::Token("corp".into())));
        assert_eq!(consumer.groups, ["team-a".into(), "team-b".into()]);
    }
}

#[test]
fn a_key_is_good_for_its_own_algorithms_alone() {
    let keys = [("rsa", &*RSA), ("p256", &*P256), ("p384", &Signer::p384()), ("ed", &Signer::ed25519())];
    let by = issuer(&keys.map(|(kid, key)| key.jwk(kid)));
    let fits = |kid: &str, algorithm: &str| match kid {
        "rsa" => "RS256 RS384 RS512 PS256 PS384 PS512".contains(algorithm),
        "p256" => algorithm == "ES256",
        "p384" => algorithm == "ES384",
        _ => matches!(algorithm, "EdDSA" | "Ed25519"),
    };
    let algorithms =
        "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519 HS256 none NONE rs256 RS1";
    for algorithm in algorithms.split(' ') {
        for (kid, key) in &keys {
            let token = key.token(algorithm, kid, &claims(json!({})));
            let expected = (!fits(kid, algorithm)).then_some(Reason::TokenAlgorithm);
            assert_eq!(refused(&by, &token, NOW), expected, "{algorithm} with {kid}");
        }
    }
}

#[test]
fn a_public_key_is_no_shared_secret_and_no_signature_is_none() {
    let by = issuer(&[RSA.jwk("k"), json!({"kty": "oct", "k": b64("secret"), "kid": "o"})]);
    let written = claims(json!({})).to_string();
    let jwk = RSA.jwk("k");
    for secret in [jwk["n"].as_str().unwrap().as_bytes(), jwk.to_string().as_bytes(), b"secret", b""] {
        for kid in ["k", "o"] {
            let header = json!({"alg": "HS256", "kid": kid}).to_string();
            assert_eq!(
                refused(&by, &hmac_token(&header, &written, secret), NOW),
                Some(Reason::TokenAlgorithm)
            );
            // As if it were a signature of the key's kind.
            let header = json!({"alg": "RS256", "kid": kid}).to_string();
            let found = refused(&by, &hmac_token(&header, &written, secret), NOW);
            let expected = if kid == "k" { Reason::TokenSignature } else { Reason::TokenUnknownKey };
            assert_eq!(found, Some(expected));
        }
    }
    for algorithm in ["none", "None", "nOnE", ""] {
        let header = json!({"alg": algorithm}).to_string();
        for signature in ["", "AA"] {
            let token = format!("{}.{}.{signature}", b64(&header), b64(&written));
            assert_eq!(refused(&by, &token, NOW), Some(Reason::TokenAlgorithm), "{algorithm}");
        }
    }
    let unsigned = format!("{}.{}.", b64(r#"{"alg":"RS256","kid":"k"}"#), b64(&written));
    assert_eq!(refused(&by, &unsigned, NOW), Some(Reason::TokenSignature));
}

#[test]
fn a_header_can_choose_a_key_and_say_nothing_else() {
    let (mine, theirs) = (&*P256, Signer::p256());
    let by = issuer(&[mine.jwk("k")]);
    let own = theirs.jwk("k");
    for (header, expected) in [
        (r#"{"alg":"ES256","kid":"k","typ":"at+JWT"}"#.to_owned(), None),
        (r#"{"alg":"ES256","kid":"k","typ":"application/jwt","cty":"x"}"#.into(), None),
        (r#"{"alg":"ES256"}"#.into(), None),
        (r#"{"alg":"ES256","kid":"k","typ":"logout+jwt"}"#.into(), Some(Reason::UnreadableCredential)),
        (r#"{"alg":"ES256","kid":"k","crit":["exp"]}"#.into(), Some(Reason::TokenCritical)),
        (r#"{"alg":"ES256","kid":"k","crit":[]}"#.into(), Some(Reason::TokenCritical)),
        (r#"{"alg":"ES256","kid":"k","b64":false}"#.into(), Some(Reason::TokenCritical)),
        (r#"{"alg":"ES256","kid":"k","zip":"DEF"}"#.into(), Some(Reason::TokenCritical)),
        (r#"{"alg":"ES256","kid":"../../dev/null"}"#.into(), Some(Reason::TokenUnknownKey)),
        (r#"{"alg":"ES256","kid":"' or 1=1 --"}"#.into(), Some(Reason::TokenUnknownKey)),
        (r#"{"alg":"ES256","kid":7}"#.into(), Some(Reason::UnreadableCredential)),
        (json!({"alg": "ES256", "kid": "k".repeat(257)}).to_string(), Some(Reason::UnreadableCredential)),
        (r#"{"alg":["ES256"],"kid":"k"}"#.into(), Some(Reason::TokenAlgorithm)),
        (r#"{"kid":"k"}"#.into(), Some(Reason::TokenAlgorithm)),
        (r#"{"alg":"none","alg":"ES256","kid":"k"}"#.into(), Some(Reason::UnreadableCredential)),
        (r#"{"alg":"ES256","kid":"k","x":{"a":1,"a":1}}"#.into(), Some(Reason::UnreadableCredential)),
        (r#"["ES256"]"#.into(), Some(Reason::UnreadableCredential)),
        ("{".into(), Some(Reason::UnreadableCredential)),
    ] {
        let token = mine.token_of(&header, &claims(json!({})).to_string());
        assert_eq!(refused(&by, &token, NOW), expected, "{header}");
    }
    for field in ["jwk", "x5c", "jku", "x5u"] {
        let value = if field == "jwk" { own.clone() } else { json!("https://attacker.example/keys") };
        let mut header = json!({"alg": "ES256", "kid": "k"});
        header[field] = value;
        let token = theirs.token_of(&header.to_string(), &claims(json!({})).to_string());
        assert_eq!(refused(&by, &token, NOW), Some(Reason::TokenSignature), "{field}");
    }
}

#[test]
fn claims_say_for_whom_and_when() {
    let by = issuer(&[P256.jwk("k")]);
    for (changed, expected) in [
        (json!({"exp": NOW + 1}), None),
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(Reason::TokenExpired)),
        (json!({"exp": null}), Some(Reason::TokenExpired)),
        (json!({"exp": -1}), Some(Reason::UnreadableCredential)),
        (json!({"exp": format!("{}", NOW + 9)}), Some(Reason::UnreadableCredential)),
        (json!({"exp": 1.8e9 + 0.5}), None),
        (json!({"exp": 1e300}), Some(Reason::UnreadableCredential)),
        (json!({"exp": u64::MAX}), Some(Reason::UnreadableCredential)),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some(Reason::TokenNotYet)),
        (json!({"nbf": null}), None),
        (json!({"iat": NOW + 61}), Some(Reason::TokenNotYet)),
        (json!({"aud": ["x", "models"]}), None),
        (json!({"aud": "Models"}), Some(Reason::TokenAudience)),
        (json!({"aud": "models "}), Some(Reason::TokenAudience)),
        (json!({"aud": []}), Some(Reason::TokenAudience)),
        (json!({"aud": {"models": true}}), Some(Reason::TokenAudience)),
        (json!({"aud": null}), Some(Reason::TokenAudience)),
        (json!({"iss": "https://issuer.example/"}), Some(Reason::TokenIssuer)),
        (json!({"iss": "https://Issuer.example"}), Some(Reason::TokenIssuer)),
        (json!({"iss": ["https://issuer.example"]}), Some(Reason::TokenIssuer)),
        (json!({"iss": null}), Some(Reason::TokenIssuer)),
        (json!({"sub": null}), Some(Reason::TokenNoConsumer)),
        (json!({"sub": ""}), Some(Reason::TokenNoConsumer)),
        (json!({"sub": 7}), Some(Reason::TokenNoConsumer)),
        (json!({"groups": null}), None),
    ] {
        let token = P256.token("ES256", "k", &claims(changed.clone()));
        assert_eq!(refused(&by, &token, NOW), expected, "{changed}");
    }
    let twice = claims(json!({})).to_string().replacen('{', r#"{"sub":"bob","#, 1);
    let token = P256.token_of(r#"{"alg":"ES256"}"#, &twice);
    assert_eq!(refused(&by, &token, NOW), Some(Reason::UnreadableCredential), "a claim that is there twice");
}

#[test]
fn a_token_that_is_known_ends_when_it_says() {
    let by = issuer(&[P256.jwk("k")]);
    let token = P256.token("ES256", "k", &claims(json!({})));
    assert_eq!(refused(&by, &token, NOW), None);
    assert_eq!(refused(&by, &token, NOW + 600 + 59), None);
    assert_eq!(refused(&by, &token, NOW + 600 + 60), Some(Reason::TokenExpired));
}

#[test]
fn names_and_groups_come_from_the_claims_that_the_policy_says() {
    let written = json!({"jwt": [{
        "name": "corp", "issuer": "https://issuer.example", "audiences": ["models"], "prefix": "corp:",
        "consumer": "https://example.com/name", "groups": "realm.roles",
        "jwks": {"inline": json!({"keys": [P256.jwk("k")]}).to_string()},
    }]});
    let by = Authenticator::new(&support::authentication(&written.to_string()), &<_>::default()).unwrap();
    let of = |groups: Value| {
        let extra = json!({"https://example.com/name": "bob", "realm": {"roles": groups}});
        bearer(&by, &P256.token("ES256", "k", &claims(extra)), NOW).unwrap()
    };
    assert_eq!(&*of(json!([])).name, "corp:bob");
    for (groups, expected) in [
        (json!(["a", 7, "b c"]), &["corp:a", "corp:b c"][..]),
        (json!("a  b"), &["corp:a", "corp:b"]),
        (json!({"a": true}), &[]),
    ] {
        let consumer = of(groups);
        assert_eq!(consumer.groups.iter().map(|it| &**it).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_service_account_token_of_a_cluster_is_one_like_any_other() {
    let written = json!({"jwt": [{
        "name": "cluster", "issuer": "https://kubernetes.default.svc.cluster.local", "audiences": ["models"],
        "jwks": {"inline": json!({"keys": [RSA.jwk("k")]}).to_string()},
    }]});
    let by = Authenticator::new(&support::authentication(&written.to_string()), &<_>::default()).unwrap();
    // As the API server issues them: no `typ`, a list of audiences.
    let token = RSA.token(
        "RS256",
        "k",
        &json!({
            "aud": ["models"], "exp": NOW + 3600, "iat": NOW, "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": "0d0e", "nbf": NOW, "sub": "system:serviceaccount:prod:rag",
            "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "rag", "uid": "1"}},
        }),
    );
    assert_eq!(&*bearer(&by, &token, NOW).unwrap().name, "system:serviceaccount:prod:rag");
}

#[test]
fn an_id_token_answers_the_log_in_that_sent_its_nonce_and_no_other() {
    let by = issuer(&[P256.jwk("k")]);
    for (changed, expected) in [
        (json!({"nonce": "n"}), true),
        (json!({"nonce": "n", "azp": "models"}), true),
        (json!({"nonce": "n", "aud": ["models"]}), true),
        (json!({"nonce": "n", "aud": ["models", "x"], "azp": "models"}), true),
        (json!({"nonce": "n", "aud": ["models", "x"]}), false),
        (json!({"nonce": "n", "azp": "x"}), false),
        (json!({"nonce": "n", "azp": ["models"]}), false),
        (json!({"nonce": "m"}), false),
        (json!({"nonce": ""}), false),
        (json!({"nonce": ["n"]}), false),
        (json!({}), false),
    ] {
        let consumer = bearer(&by, &P256.token("ES256", "k", &claims(changed.clone())), NOW).unwrap();
        assert_eq!(authn::answers_log_in(&consumer, "models", "n"), expected, "{changed}");
    }
    let consumer = bearer(&by, &P256.token("ES256", "k", &claims(json!({"nonce": ""}))), NOW).unwrap();
    assert!(!authn::answers_log_in(&consumer, "models", ""), "no nonce is none that was sent");
}

#[test]
fn what_is_too_large_is_not_looked_at() {
    let by = issuer(&[P256.jwk("k")]);
    let token = P256.token("ES256", "k", &claims(json!({"x": "y".repeat(16 * 1024)})));
    assert_eq!(refused(&by, &token, NOW), Some(Reason::TokenTooLarge));
    let deep = format!("{{\"iss\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let token = P256.token_of(r#"{"alg":"ES256"}"#, &deep);
    assert_eq!(refused(&by, &token, NOW), Some(Reason::UnreadableCredential));
}

proptest! {
    /// Also of what only differs in how it is written: what is signed is the text.
    #[test]
    fn no_text_is_taken_but_the_token_itself(at in any::<prop::sample::Index>(), with in 33u8..127, cut in any::<bool>()) {
        let by = issuer(&[P256.jwk("k")]);
        let token = P256.token("ES256", "k", &claims(json!({})));
        let mut other = token.clone().into_bytes();
        let at = at.index(other.len());
        if cut { other.truncate(at) } else { other[at] = with }
        let other = String::from_utf8(other).unwrap();
        prop_assert_eq!(bearer(&by, &other, NOW).is_ok(), other == token);
    }

    #[test]
    fn whatever_is_shown_makes_nobody_of_nothing(parts in prop::collection::vec("[ -~]{0,40}|\\{\"[a-z]{3}\":\"[ -~]{0,9}\"\\}", 0..5)) {
        let by = issuer(&[P256.jwk("k")]);
        let coded: Vec<_> = parts.iter().map(b64).collect();
        for text in [parts.join("."), coded.join(".")] {
            prop_assert!(bearer(&by, &text, NOW).is_err());
        }
    }
}
