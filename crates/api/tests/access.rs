//! Who is let in, to what, and what a page of another site can do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::served::{Answer, Served, serve};
use api::Change;
use api::server::CONNECTIONS;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");

fn log_in(server: &Served, token: &str) -> Answer {
    server.say("POST /api/v1/session", &[JSON], &json!({ "token": token }).to_string())
}

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_log_in_holds_until_the_log_out() {
    let server = serve();
    let answer = log_in(&server, "operator");
    assert_eq!(answer.json(), json!({ "name": "operator", "role": "operator" }));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    let cookie = cookie(&answer);
    let me = || server.say("GET /api/v1/me", &[("cookie", &cookie)], "");
    assert_eq!(me().json()["name"], "operator");
    // Without its header a log-out is not ours.
    assert_eq!(server.say("DELETE /api/v1/session", &[("cookie", &cookie)], "").status, 403);
    assert_eq!(me().status, 200);
    let out = server.say("DELETE /api/v1/session", &[("cookie", &cookie), ("x-cofferdam-csrf", "1")], "");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!((out.status, me().status), (200, 401));
}

#[test]
fn a_log_in_in_place_of_another_ends_that() {
    let server = serve();
    let first = cookie(&log_in(&server, "operator"));
    let me = |cookie: &str| server.say("GET /api/v1/me", &[("cookie", cookie)], "").status;
    assert_eq!(me(&first), 200);
    let again = server.say("POST /api/v1/session", &[JSON, ("cookie", &first)], r#"{"token":"viewer"}"#);
    assert_eq!((again.status, me(&first), me(&cookie(&again))), (200, 401, 200));
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let server = serve();
    let cookie = cookie(&log_in(&server, "operator"));
    let note = "POST /api/v1/incidents/inc-1/notes";
    let body = r#"{"text":"seen"}"#;
    let by_form = ("content-type", "text/plain");
    for (headers, status) in [
        (vec![("cookie", cookie.as_str()), JSON], 403),
        (vec![("cookie", cookie.as_str()), ("x-cofferdam-csrf", "0"), JSON], 403),
        (vec![("cookie", cookie.as_str()), ("x-cofferdam-csrf", "1"), by_form], 415),
        (vec![("cookie", cookie.as_str()), ("x-cofferdam-csrf", "1"), JSON, ("host", "evil.example")], 421),
        (vec![JSON], 401),
    ] {
        assert_eq!(server.say(note, &headers, body).status, status, "{headers:?}");
    }
    assert!(server.actions.changes.lock().unwrap().is_empty());
    let good = [("cookie", cookie.as_str()), ("x-cofferdam-csrf", "1"), JSON, ("host", "console.example:80")];
    assert_eq!(server.say(note, &good, body).status, 200);
    let change = Change::Note { incident: "inc-1".into(), text: "seen".into() };
    assert_eq!(*server.actions.changes.lock().unwrap(), [("operator".to_owned(), change)]);
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let server = serve();
    for path in [
        "/findings/f/acknowledge",
        "/incidents/inc-1/notes",
        "/incidents/inc-1/acknowledge",
        "/incidents/inc-1/close",
        "/incidents/inc-1/reopen",
        "/incidents/inc-1/contain",
        "/incidents/inc-1/release",
    ] {
        assert_eq!(server.post(path, "viewer", r#"{"text":"x"}"#).status, 403, "{path}");
    }
    assert!(server.actions.changes.lock().unwrap().is_empty());
    assert_eq!(server.post("/findings/f%2F1/acknowledge", "admin", r#"{"text":"x"}"#).status, 200);
    let change = Change::AcknowledgeFinding { finding: "f/1".into(), text: "x".into() };
    assert_eq!(*server.actions.changes.lock().unwrap(), [("admin".to_owned(), change)]);
}

#[test]
fn orders_that_make_no_sense_are_refused_before_anything_is_done() {
    let server = serve();
    for (path, body, status) in [
        ("/incidents/inc-1/notes", "{}", 400),
        ("/incidents/inc-1/notes", r#"{"text":" "}"#, 400),
        ("/incidents/inc-1/notes", r#"{"text":1}"#, 400),
        ("/incidents/inc-1/notes", r#"{"txt":"a"}"#, 400),
        ("/incidents/inc-1/notes", "not JSON", 400),
        ("/incidents/inc-1/contain", r#"{"workload":"a"}"#, 400),
        ("/incidents/inc-1/contain", r#"{"workload":"a","minutes":0}"#, 400),
        ("/incidents/inc-1/contain", r#"{"workload":"a","minutes":-1}"#, 400),
        ("/incidents/inc-1/contain", r#"{"workload":"a","minutes":99999999}"#, 400),
        ("/incidents/other/contain", r#"{"workload":"a","minutes":1}"#, 404),
    ] {
        assert_eq!(server.post(path, "operator", body).status, status, "{path} {body}");
    }
    let long = json!({ "text": "x".repeat(5000) }).to_string();
    assert_eq!(server.post("/incidents/inc-1/notes", "operator", &long).status, 400);
    let longer = json!({ "text": "x".repeat(100_000) }).to_string();
    assert_eq!(server.post("/incidents/inc-1/notes", "operator", &longer).status, 413);
    assert!(server.actions.changes.lock().unwrap().is_empty());
}

#[test]
fn who_guesses_waits_and_is_told_of() {
    let server = serve();
    let answers: Vec<u16> = (0..12).map(|number| log_in(&server, &format!("guess{number}")).status).collect();
    assert_eq!(answers[..10], [401; 10]);
    assert_eq!(answers[10..], [429; 2]);
    // The right one waits, too: else guessing would go on beside it.
    let answer = server.get("/me");
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(server.actions.refused.lock().unwrap().len(), 10);
}

#[test]
fn who_is_known_and_has_no_role_is_refused_and_told_of() {
    let server = serve();
    let answer = log_in(&server, "idle");
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    assert!(answer.json()["detail"].as_str().unwrap().contains("idle has no role here"));
    assert_eq!(server.actions.refused.lock().unwrap().len(), 1);
    // While nobody can tell, nobody new is let in, and nobody is to blame.
    let answer = log_in(&server, "down");
    assert_eq!(answer.status, 503);
    assert!(answer.json()["detail"].as_str().unwrap().contains("nobody answers"));
    assert_eq!(server.actions.refused.lock().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_in_a_log_in_is_not_said_back() {
    let server = serve();
    for body in
        [r#"{"token":"secret-1234"}"#, r#"{"token":["secret-1234"]}"#, r#"{"secret-1234":1}"#, "secret-1234"]
    {
        let answer = server.say("POST /api/v1/session", &[JSON], body);
        assert!(answer.status >= 400);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret-1234"), "{body}");
    }
}

#[test]
fn head_and_options_say_what_there_is() {
    let server = serve();
    let viewer = [("authorization", "Bearer viewer")];
    let whole = server.say("GET /api/v1/openapi.json", &viewer, "");
    let head = server.say("HEAD /api/v1/openapi.json", &viewer, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    assert_eq!(server.say("HEAD /api/v1/records/stream", &viewer, "").status, 200);
    let options = server.say("OPTIONS /api/v1/session", &[("origin", "https://evil.example")], "");
    assert_eq!((options.status, options.header("allow")), (204, Some("POST, DELETE, OPTIONS")));
    assert!(!options.head.to_lowercase().contains("access-control"));
}

#[test]
fn pages_of_the_console_need_no_token_and_the_api_is_none_of_them() {
    let server = serve();
    for path in ["/", "/index.html", "/incidents", "/apiary"] {
        let answer = server.say(&format!("GET {path}"), &[], "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.starts_with(b"<!doctype html>"), "{path}");
    }
    assert_eq!(server.say("GET /api/v1", &[], "").status, 404);
    // The page names its files beside itself: below a folder it would be an empty one.
    for path in ["/incidents/abc", "/flows/", "/assets/gone"] {
        assert_eq!(server.say(&format!("GET {path}"), &[], "").status, 404, "{path}");
    }
}

#[test]
fn whoever_holds_connections_and_shows_nothing_keeps_nobody_out_and_ends_nobodys() {
    let server = serve();
    let mut kept = TcpStream::connect(server.address).unwrap();
    let mut ask = || {
        let request = "GET /api/v1/me HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer viewer\r\n\r\n";
        kept.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let read = kept.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    assert!(ask().starts_with("HTTP/1.1 200"));
    let held: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let answer = server.say("GET /api/v1/me", &[("authorization", "Bearer viewer")], "");
    assert_eq!(answer.status, 200);
    assert!(ask().starts_with("HTTP/1.1 200"), "who was recognised goes on");
    // The one that was held longest made room.
    assert_eq!((&held[0]).read(&mut [0]).unwrap(), 0);
}
