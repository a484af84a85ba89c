//! What tools are called with is judged before anything of it is at the server, as the reference judges it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::Call;
use http::StatusCode;
use http_body_util::BodyExt;
use inspect::operation::{Head, Progress, Reader};
use policy::{Condition, Glob, Mismatch, Requests, ToolCondition};
use std::sync::Arc;
use support::web::{Client, Step, Way, World, anything, full, request, run, steps};
use tokio::sync::Notify;

const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];

fn rule(conditions: &[(&str, &str)]) -> Requests {
    let condition = |(tool, when): &(&str, &str)| ToolCondition {
        tool: Glob::new(tool),
        when: Condition::new(when).unwrap(),
    };
    Requests { tool_conditions: conditions.iter().map(condition).collect(), ..anything() }
}

fn call(tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

async fn ask(client: &mut Client, body: support::web::Body) -> (StatusCode, String) {
    let answer = client.send(request("POST", "/mcp", body)).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

/// What the reference says to a request with this body.
fn reference(rule: &Requests, body: &str) -> Result<(), Mismatch> {
    let head = Head { method: "POST", host: "hub.example", port: 443, target: "/mcp", headers: &[] };
    let mut reader = Reader::with_arguments(&head);
    reader.push(body.as_bytes());
    reader.end();
    match reader.progress() {
        Progress::Known(operation) => rule.allows(operation),
        Progress::Contradicted(..) | Progress::NeedMore => panic!("{body} is one thing"),
    }
}

fn is_like_it(call: &Call, allowed: Result<(), Mismatch>) -> bool {
    call.lacks == allowed.err()
}

#[test]
fn a_call_whose_arguments_a_rule_does_not_allow_is_refused_with_the_condition() {
    let conditions = [("write_*", "args.path.startsWith('/tmp/') && server == 'hub.example'")];
    for way in WAYS {
        let world = World::new(way, rule(&conditions));
        run(async {
            let mut client = world.client().await;
            let (status, _) = ask(&mut client, full(call("write_file", r#"{"path":"/tmp/a"}"#))).await;
            assert_eq!(status, StatusCode::OK, "{way:?}");
            let (_, told) = ask(&mut client, full(call("write_file", r#"{"path":"/etc/a-secret"}"#))).await;
            assert!(told.contains("the condition on write_* is not met"), "{told}");
            assert!(told.contains("args.path.startsWith("), "{told}");
            let (status, _) = ask(&mut client, full(call("read_file", r#"{"path":"/etc/a"}"#))).await;
            assert_eq!(status, StatusCode::OK, "no condition is for it");
        });
        let calls: Vec<_> = (0..3).map(|_| world.proxy.call()).collect();
        assert!(is_like_it(&calls[0], Ok(())) && is_like_it(&calls[2], Ok(())));
        assert_eq!(calls[1].lacks, Some(Mismatch::ToolArguments));
        assert!(calls[1].unmet.as_ref().unwrap().contains("write_*"));
        let kept = serde_json::to_string(&calls).unwrap();
        assert!(
            !kept.contains("a-secret") && !kept.contains("/etc/") && !kept.contains("\"path\":\"/tmp"),
            "{kept}"
        );
        let seen: Vec<_> = world.seen.try_iter().map(|seen| seen.body.unwrap_or_default()).collect();
        assert_eq!(seen.len(), 2, "what is refused is not at the server");
    }
}

#[test]
fn nothing_goes_on_before_the_arguments_are_there() {
    for way in WAYS {
        let world = World::new(way, rule(&[("*", "args.n == 1")]));
        let whole = call("t", r#"{"x":"é","n":2}"#);
        let (first, rest) = whole.split_at(whole.find("\"n\"").unwrap());
        run(async {
            let go_on = Arc::new(Notify::new());
            let pieces = [first, rest].map(|piece| Step::Piece(piece.to_owned().into()));
            let [first, rest] = pieces;
            let mut client = world.client().await;
            go_on.notify_one();
            let (_, told) = ask(&mut client, steps([first, Step::Wait(go_on), rest])).await;
            assert!(told.contains("the condition on * is not met: args.n == 1"), "{told}");
        });
        assert_eq!(world.seen.try_iter().count(), 0, "{way:?}");
        assert_eq!(world.proxy.call().bytes_up, 0);
    }
}

#[test]
fn the_gateway_and_the_reference_judge_arguments_alike() {
    let large = format!(r#"{{"n":1,"x":"{}"}}"#, "a".repeat(64 * 1024));
    let list = format!(r#"{{"n":1,"l":[{}]}}"#, vec!["1"; 20_000].join(","));
    let bodies = [
        call("t", r#"{"n":1}"#),
        call("t", r#"{"n":1.0,"path":"/tmp/../x"}"#),
        call("t", r#"{"n":"1","N":1}"#),
        call("t", r#"{"n":1,"n":1}"#),
        call("u", "[1]"),
        call("u/v", &large),
        call("t", &list),
        format!("[{},{}]", call("t", r#"{"n":1}"#), call("u", r#"{"n":2}"#)),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#.to_owned(),
    ];
    let rules = [
        rule(&[("*", "args.n == 1")]),
        rule(&[("t", "!has(args.path) || !args.path.contains('..')"), ("u", "false")]),
        rule(&[("u*", "has(args.n)")]),
        rule(&[("*", "!has(args.l) || args.l.all(x, args.l.all(y, x == y))")]),
        rule(&[("**", "tool == 't' || size(args) > 1")]),
        rule(&[]),
    ];
    let world = World::new(Way::Tls2, anything());
    let (mut allowed, mut denied) = (0, 0);
    for rule in &rules {
        world.allow(rule.clone());
        run(async {
            let mut client = world.client().await;
            for body in &bodies {
                let (status, _) = ask(&mut client, full(body.clone())).await;
                let call = world.proxy.call();
                let expected = reference(rule, body);
                assert!(is_like_it(&call, expected), "{:?} {expected:?}: {rule} {body:.90}", call.lacks);
                assert_eq!(call.verdict == policy::Verdict::Allow, expected.is_ok(), "{status}");
                *(if expected.is_ok() { &mut allowed } else { &mut denied }) += 1;
            }
        });
    }
    assert!(allowed > 10 && denied > 10, "{allowed} {denied}");
}
