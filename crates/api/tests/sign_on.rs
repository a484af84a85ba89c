//! Logging in by way of an identity provider that keeps to its protocol: what leads to a log-in, and what does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::provider::{CLIENT, Does, Provider, SECRET};
use crate::served::{Answer, Served, serve_signing_on};
use api::{Role, SignOn};
use std::sync::Arc;

/// What a browser has after it was sent to the provider.
struct Attempt {
    cookie: String,
    /// Where it was sent.
    location: String,
}

/// A server whose people log in by way of a provider that does so.
fn world(does: Does) -> (Arc<Provider>, Served) {
    let provider = Provider::start(does);
    let settings = provider.settings();
    let served = serve_signing_on(SignOn::new(settings).unwrap());
    (provider, served)
}

fn begin(server: &Served, query: &str) -> Attempt {
    let answer = server.say(&format!("GET /api/v1/login{query}"), &[], "");
    assert_eq!(answer.status, 302, "{}", String::from_utf8_lossy(&answer.body));
    Attempt {
        cookie: cookie(&answer, "__Host-cofferdam_login").unwrap(),
        location: header(&answer, "location"),
    }
}

fn header(answer: &Answer, name: &str) -> String {
    answer.header(name).unwrap_or_else(|| panic!("no {name}: {}", answer.head)).to_owned()
}

/// A cookie that an answer sets, as a browser sends it.
fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let set = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let mut pairs = set.filter_map(|line| line.split(';').next());
    pairs.find(|pair| pair.starts_with(&format!("{name}="))).map(str::to_owned)
}

fn come_back(server: &Served, query: &str, cookie: &str) -> Answer {
    server.say(&format!("GET /api/v1/login/callback?{query}"), &[("cookie", cookie)], "")
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Logs in, and gives how that ends.
fn log_in(server: &Served, provider: &Provider) -> Answer {
    let attempt = begin(server, "");
    let query = provider.visit(&attempt.location);
    come_back(server, &query, &attempt.cookie)
}

/// Somebody is not let in: a page says why, and there is no session.
fn refused(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{}", text(answer));
    assert!(text(answer).contains(why), "{}", text(answer));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(header(answer, "content-security-policy").contains("default-src 'none'"));
    assert_eq!(cookie(answer, "__Host-cofferdam_session"), None);
}

#[test]
fn somebody_logs_in_and_goes_on_where_they_were() {
    let (provider, server) = world(Does::default());
    let offered = server.say("GET /api/v1/login/provider", &[], "");
    assert_eq!(offered.json()["provider"], "localhost");

    let attempt = begin(&server, "?page=flows%3Frange%3D6h%26q%3Da%2520b");
    let set = server.say("GET /api/v1/login", &[], "");
    let set = header(&set, "set-cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Max-Age=600", "Path=/", "Secure"] {
        assert!(set.contains(part), "{set}");
    }
    let asked = provider.asked(&attempt.location);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("scope", "openid groups"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", "https://console.example/api/v1/login/callback"),
    ] {
        assert_eq!(asked[name], value, "{}", attempt.location);
    }
    // Neither what proves the code nor the server's secret passes through the browser in clear.
    assert!(!attempt.location.contains(SECRET) && !attempt.location.contains("verifier"));

    let query = provider.visit(&attempt.location);
    let answer = come_back(&server, &format!("{query}&session_state=x&hd=y"), &attempt.cookie);
    assert_eq!((answer.status, answer.header("location")), (302, Some("../../../flows?range=6h&q=a%20b")));
    let session = cookie(&answer, "__Host-cofferdam_session").unwrap();
    assert_eq!(cookie(&answer, "__Host-cofferdam_login").as_deref(), Some("__Host-cofferdam_login="));
    let sets = answer.head.lines().find(|line| line.contains("__Host-cofferdam_session=")).unwrap();
    assert!(
        sets.contains("HttpOnly") && sets.contains("SameSite=Strict") && sets.ends_with("; Secure"),
        "{sets}"
    );
    let me = || server.say("GET /api/v1/me", &[("cookie", &session)], "");
    assert_eq!(me().json(), serde_json::json!({ "name": "oidc:ann", "role": "operator" }));
    let audited = server.actions.logged_in.lock().unwrap().clone();
    assert_eq!(audited, [("oidc:ann".to_owned(), "by way of localhost".to_owned())]);
    assert!(server.actions.refused.lock().unwrap().is_empty());

    let out = [("cookie", session.as_str()), ("x-cofferdam-csrf", "1")];
    assert_eq!(server.say("DELETE /api/v1/session", &out, "").status, 200);
    assert_eq!(me().status, 401);
}

#[test]
fn a_log_in_with_a_token_is_audited_too() {
    let (_, server) = world(Does::default());
    let json = ("content-type", "application/json");
    assert_eq!(server.say("POST /api/v1/session", &[json], r#"{"token":"viewer"}"#).status, 200);
    let audited = server.actions.logged_in.lock().unwrap().clone();
    assert_eq!(audited, [("viewer".to_owned(), "with a token".to_owned())]);
}

#[test]
fn where_people_come_by_tls_a_cookie_counts_that_no_other_site_can_set() {
    let (_, server) = world(Does::default());
    let log_in = |host: &str| {
        let headers = [("content-type", "application/json"), ("host", host)];
        header(&server.say("POST /api/v1/session", &headers, r#"{"token":"viewer"}"#), "set-cookie")
    };
    let me = |host: &str, cookie: &str| {
        server.say("GET /api/v1/me", &[("cookie", cookie), ("host", host)], "").status
    };
    let (by_tls, here) = (log_in("Console.example"), log_in("localhost"));
    assert!(by_tls.starts_with("__Host-cofferdam_session=") && by_tls.ends_with("; Secure"), "{by_tls}");
    assert!(here.starts_with("cofferdam_session=") && !here.contains("Secure"), "{here}");
    let [by_tls, here] = [&by_tls, &here].map(|set| set.split(';').next().unwrap());
    assert_eq!((me("console.example", by_tls), me("localhost", here)), (200, 200));
    // Another site of the domain `example` can set this one, and not the other.
    assert_eq!(me("console.example", here), 401);
    let both = format!("{here}; {by_tls}");
    assert_eq!(me("console.example", &both), 200);
}

#[test]
fn an_answer_counts_only_in_the_browser_that_began() {
    let (provider, server) = world(Does::default());
    let (mine, theirs) = (begin(&server, ""), begin(&server, ""));
    let query = provider.visit(&mine.location);
    let changed = query.replace("state=", "state=0");
    let without: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("state=")).collect();
    let without = without.join("&");
    for (query, cookie) in [
        (query.as_str(), ""),
        (query.as_str(), theirs.cookie.as_str()),
        (query.as_str(), "__Host-cofferdam_login=AAAA"),
        (query.as_str(), "__Host-cofferdam_login="),
        (changed.as_str(), mine.cookie.as_str()),
        (without.as_str(), mine.cookie.as_str()),
        ("code=%ff", mine.cookie.as_str()),
    ] {
        let answer = come_back(&server, query, cookie);
        if query == "code=%ff" {
            refused(&answer, 400, "cannot be understood");
            assert_eq!(answer.header("set-cookie"), None);
            continue;
        }
        refused(&answer, 400, "did not begin in this browser");
        // What others made up does not end the attempt, and makes nobody wait.
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(provider.exchanges(), 0, "no code was sent");
    assert!(server.actions.refused.lock().unwrap().is_empty());
    assert_eq!(come_back(&server, &query, &mine.cookie).status, 302);
}

#[test]
fn a_code_counts_once_and_only_with_what_began_it() {
    let (provider, server) = world(Does::default());
    let attempt = begin(&server, "");
    let query = provider.visit(&attempt.location);
    assert_eq!(come_back(&server, &query, &attempt.cookie).status, 302);
    refused(&come_back(&server, &query, &attempt.cookie), 502, "invalid_grant");

    // A code that somebody else got, put into an attempt of one's own: PKCE.
    let (mine, theirs) = (begin(&server, ""), begin(&server, ""));
    let (own, other) = (provider.visit(&mine.location), provider.visit(&theirs.location));
    let pick = |query: &str, name: &str| {
        query.split('&').find(|pair| pair.starts_with(&format!("{name}="))).unwrap().to_owned()
    };
    let mixed = format!("{}&{}", pick(&other, "code"), pick(&own, "state"));
    refused(&come_back(&server, &mixed, &mine.cookie), 502, "invalid_grant");
    assert_eq!(server.actions.refused.lock().unwrap().len(), 2);
}

#[test]
fn an_id_token_that_is_not_for_this_log_in_lets_nobody_in() {
    for does in [
        Does { nonce: Some("other"), ..Does::default() },
        Does { nonce: Some(""), ..Does::default() },
        Does { audience: Some("other"), ..Does::default() },
        Does { token_issuer: Some("https://evil.example"), ..Does::default() },
        Does { is_expired: true, ..Does::default() },
        Does { is_forged: true, ..Does::default() },
    ] {
        let (provider, server) = world(does.clone());
        let answer = log_in(&server, &provider);
        refused(&answer, 401, "not valid here");
        assert_eq!(server.actions.refused.lock().unwrap().len(), 1, "{does:?}");
        assert!(server.actions.logged_in.lock().unwrap().is_empty());
    }
}

#[test]
fn who_has_no_role_is_told_so() {
    let (provider, server) = world(Does { groups: &["guests"], ..Does::default() });
    refused(&log_in(&server, &provider), 403, "oidc:ann has no role here");
    assert_eq!(server.actions.refused.lock().unwrap().len(), 1);
}

#[test]
fn an_answer_of_another_issuer_is_not_taken_to_this_one() {
    let (provider, server) = world(Does { names_itself: true, ..Does::default() });
    assert_eq!(log_in(&server, &provider).status, 302);
    let attempt = begin(&server, "");
    let query = provider.visit(&attempt.location);
    let issuer = query.split('&').find(|pair| pair.starts_with("iss=")).unwrap();
    for other in ["iss=https%3A%2F%2Fevil.example", "iss=", "x=y"] {
        let answer = come_back(&server, &query.replace(issuer, other), &attempt.cookie);
        refused(&answer, 400, "another identity provider");
    }
    let before = provider.exchanges();
    assert_eq!(before, 1, "no code went to the one for which it was not");

    // A description of somebody else is none, and nobody is sent anywhere.
    let (_, server) = world(Does { described_issuer: Some("https://evil.example"), ..Does::default() });
    let answer = server.say("GET /api/v1/login", &[], "");
    refused(&answer, 502, "is of the issuer");
    assert_eq!(answer.header("location"), None);
}

#[test]
fn what_the_provider_says_against_it_is_shown_as_text() {
    let (provider, server) = world(Does::default());
    let attempt = begin(&server, "");
    let state = provider.asked(&attempt.location)["state"].clone();
    let query = format!(
        "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E+no%0d%0a&state={state}"
    );
    // Without the state it is nobody's answer, and its words are shown to nobody.
    let forged = come_back(&server, &query.replace(&state, "x"), &attempt.cookie);
    refused(&forged, 400, "did not begin in this browser");
    assert!(!text(&forged).contains("alert"));
    let answer = come_back(&server, &query, &attempt.cookie);
    refused(&answer, 403, "access_denied: &lt;script&gt;alert(1)&lt;/script&gt; no</p>");
    assert_eq!(cookie(&answer, "__Host-cofferdam_login").as_deref(), Some("__Host-cofferdam_login="));
    assert_eq!(provider.exchanges(), 0);
}

#[test]
fn answers_that_cannot_be_understood_are_refused() {
    let (provider, server) = world(Does::default());
    let attempt = begin(&server, "");
    let state = format!("state={}", provider.asked(&attempt.location)["state"]);
    for query in [
        state.clone(),
        format!("{state}&{state}&code=a"),
        format!("{state}&code=a&code=b"),
        format!("{state}&code=%ff"),
        format!("{state}&code=%2"),
        format!("{state}&code={}", "a".repeat(20_000)),
    ] {
        refused(&come_back(&server, &query, &attempt.cookie), 400, "cannot be understood");
    }
    let head = server.say("HEAD /api/v1/login/callback", &[("cookie", &attempt.cookie)], "");
    assert_eq!(head.status, 405);
    assert_eq!(provider.exchanges(), 0);
}

#[test]
fn nobody_is_led_elsewhere() {
    let (_, server) = world(Does::default());
    for page in [
        "//evil.example",
        "https://evil.example",
        "%5C%5Cevil.example",
        "%2F..%2F..",
        "map%23token=x",
        "map%0d%0aSet-Cookie:a=b",
    ] {
        let answer = server.say(&format!("GET /api/v1/login?page={page}"), &[], "");
        refused(&answer, 400, "must be one of the console");
        assert_eq!(answer.header("location"), None, "{page}");
    }
}

#[test]
fn a_provider_that_is_away_or_cannot_do_it_is_named_and_nobody_is_blamed() {
    for (does, why) in [
        (Does { is_away: true, ..Does::default() }, "cannot be asked"),
        (Does { plain_token: true, ..Does::default() }, "token_endpoint"),
        (Does { knows_plain_pkce_only: true, ..Does::default() }, "PKCE with S256"),
        (Does { secret_by: "private_key_jwt", ..Does::default() }, "takes no client"),
    ] {
        let (_, server) = world(does);
        refused(&server.say("GET /api/v1/login", &[], ""), 502, why);
        assert!(server.actions.refused.lock().unwrap().is_empty());
    }
    // It goes away in between; and what failed is not remembered.
    let (provider, server) = world(Does::default());
    let attempt = begin(&server, "");
    let query = provider.visit(&attempt.location);
    provider.set(Does { is_away: true, ..Does::default() });
    refused(&come_back(&server, &query, &attempt.cookie), 502, "cannot be asked");
    provider.set(Does::default());
    assert_eq!(log_in(&server, &provider).status, 302);
    // Whoever is not certified is not asked.
    let mut settings = provider.settings();
    settings.roots = rustls::RootCertStore::empty();
    let server = serve_signing_on(SignOn::new(settings).unwrap());
    refused(&server.say("GET /api/v1/login", &[], ""), 502, "TLS with localhost");
}

#[test]
fn the_secret_goes_as_the_provider_takes_it_and_without_one_there_is_none() {
    let (provider, server) = world(Does { secret_by: "client_secret_post", ..Does::default() });
    assert_eq!(log_in(&server, &provider).status, 302);
    let provider = Provider::start(Does { secret_by: "none", ..Does::default() });
    let settings = api::SignOnSettings { secret: None, ..provider.settings() };
    let server = serve_signing_on(SignOn::new(settings).unwrap());
    assert_eq!(log_in(&server, &provider).status, 302);
    // A wrong one.
    let provider = Provider::start(Does::default());
    let settings = api::SignOnSettings { secret: Some("other".to_owned()), ..provider.settings() };
    let server = serve_signing_on(SignOn::new(settings).unwrap());
    refused(&log_in(&server, &provider), 502, "invalid_client");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let provider = Provider::start(Does::default());
    let wrong = |change: &dyn Fn(&mut api::SignOnSettings)| {
        let mut settings = provider.settings();
        change(&mut settings);
        SignOn::new(settings).map(|_| ()).unwrap_err().to_string()
    };
    for redirect in [
        "",
        "/api/v1/login/callback",
        "http://console.example/api/v1/login/callback",
        "https://console.example/",
        "https://console.example/api/v1/login/callback?a=b",
        "https://console.example/api/v1/login/callback#a",
        "https://a@console.example/api/v1/login/callback",
        "ftp://console.example/api/v1/login/callback",
    ] {
        let why = wrong(&|settings| settings.redirect = redirect.to_owned());
        assert!(why.starts_with("the redirect URL"), "{redirect}: {why}");
    }
    for redirect in [
        "http://127.0.0.1:8080/api/v1/login/callback",
        "https://proxy.example/cofferdam/api/v1/login/callback",
    ] {
        let settings = api::SignOnSettings { redirect: redirect.to_owned(), ..provider.settings() };
        assert!(SignOn::new(settings).is_ok(), "{redirect}");
    }
    assert!(wrong(&|it| it.issuer = "http://issuer.example".to_owned()).contains("https://"));
    assert!(wrong(&|it| it.client = String::new()).contains("client id"));
    assert!(wrong(&|it| it.secret = Some("a\n".to_owned())).contains("secret"));
    assert!(wrong(&|it| it.scopes = vec!["a b".to_owned()]).contains("scope"));
}

#[test]
fn where_there_is_no_provider_there_is_no_such_log_in() {
    let server = crate::served::serve();
    assert!(server.say("GET /api/v1/login/provider", &[], "").json()["provider"].is_null());
    for path in ["/login", "/login/callback?code=a&state=b"] {
        assert_eq!(server.say(&format!("GET /api/v1{path}"), &[], "").status, 404, "{path}");
    }
}

#[test]
fn roles_are_those_of_the_groups() {
    let (provider, server) = world(Does { groups: &["staff"], ..Does::default() });
    let answer = log_in(&server, &provider);
    let session = cookie(&answer, "__Host-cofferdam_session").unwrap();
    let me = server.say("GET /api/v1/me", &[("cookie", &session)], "");
    assert_eq!(me.json()["role"], Role::Viewer.name());
}
