//! What must not leave is found in heads and bodies however they come, and stops them where the rule says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Call, End, LeakKind, LeakPlace, Reason};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use policy::{Canaries, LeakAction, Leaks, Requests};
use support::PATIENCE;
use support::web::{Body, Step, Way, World, anything, full, request, run, steps};

const CANARY: &str = "canary-3f9c1d7e";
const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];

/// Allows everything but what has the canary or a secret in it.
fn watched(action: LeakAction) -> Requests {
    let canaries = Some(Canaries { values: vec![CANARY.into()], action });
    let leaks = Leaks { canaries, secrets: Some(action), ..Leaks::default() };
    Requests { leaks, ..anything() }
}

/// Posts a body; returns the status if there was an answer, the record, and the body if it came whole.
fn post(way: Way, action: LeakAction, body: Body) -> (Option<StatusCode>, Call, Option<Vec<u8>>) {
    let world = World::new(way, watched(action));
    let status = run(async {
        let mut client = world.client().await;
        let answer = client.send(request("POST", "/echo", body)).await.ok()?;
        let (head, body) = answer.into_parts();
        // Who leaves before the end has broken it off.
        body.collect().await.unwrap();
        Some(head.status)
    });
    let call = world.proxy.call();
    let seen = if status == Some(StatusCode::OK) {
        world.seen.recv_timeout(PATIENCE).ok()
    } else {
        world.seen.try_recv().ok()
    };
    (status, call, seen.and_then(|seen| seen.body))
}

fn pieces(text: &str, size: usize) -> Body {
    let all: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
    steps(all.into_iter().map(Step::Piece))
}

#[test]
fn a_body_with_a_blocked_leak_never_arrives_and_its_client_is_told() {
    for way in WAYS {
        for (before, behind) in [(0, 0), (10, 10), (30_000, 10), (10, 30_000), (100_000, 100_000)] {
            let text = format!("{} {CANARY} {}", "a".repeat(before), "b".repeat(behind));
            for body in [full(text.clone()), pieces(&text, 7_001)] {
                let (status, call, seen) = post(way, LeakAction::Block, body);
                assert_eq!(seen, None, "{way:?} {before} {behind}");
                assert_eq!(call.reason, Reason::LeakBlocked);
                assert_eq!(status, Some(StatusCode::FORBIDDEN), "{way:?} {before} {behind}");
                let fact = &call.leaks[0];
                assert_eq!(
                    (fact.class, fact.place, fact.canary),
                    (LeakKind::Canary, LeakPlace::Body, Some(0))
                );
                assert!(fact.blocked && fact.offset == before as u64 + 1, "{fact:?}");
            }
        }
    }
}

#[test]
fn what_is_only_reported_arrives_and_is_recorded_without_what_it_says() {
    for way in WAYS {
        let text = format!("{} {CANARY}", "a".repeat(20_000));
        let (status, call, seen) = post(way, LeakAction::Report, full(text.clone()));
        assert_eq!((status, seen), (Some(StatusCode::OK), Some(text.into_bytes())));
        assert_eq!((call.reason, call.end, call.leaks.len()), (Reason::RequestAllowed, End::Closed, 1));
        assert!(!call.leaks[0].blocked);
        assert!(!serde_json::to_string(&call).unwrap().contains(CANARY));
    }
}

#[test]
fn a_body_without_leaks_arrives_as_it_was_sent_however_it_is_split() {
    for way in WAYS {
        for length in [0, 1, 8_191, 8_192, 8_193, 100_000] {
            let text = "x".repeat(length);
            for size in [977, 8_192, 100_000] {
                let (status, call, seen) = post(way, LeakAction::Block, pieces(&text, size));
                assert_eq!(status, Some(StatusCode::OK), "{way:?} {length} {size}");
                assert_eq!(seen.as_deref(), Some(text.as_bytes()));
                assert_eq!((call.leaks, call.reason), (vec![], Reason::RequestAllowed));
            }
        }
    }
}

#[test]
fn what_is_in_a_target_or_a_field_stops_a_request_too_but_a_key_in_its_place_does_not() {
    let token = format!("AKIA{}", "Q3XJ7KZTB5WDN4RM");
    for (target, field, value, is_blocked) in [
        (format!("/x/{CANARY}"), "x-own", String::new(), true),
        (format!("/?q={CANARY}"), "x-own", String::new(), true),
        (format!("/?key={CANARY}"), "x-own", String::new(), true),
        ("/".to_owned(), "x-own", format!("a {CANARY}"), true),
        ("/".to_owned(), CANARY, String::new(), true),
        ("/".to_owned(), "authorization", format!("Bearer {CANARY}"), true),
        ("/".to_owned(), "x-own", String::new(), false),
        (format!("/?X-Amz-Credential={token}/20260101/eu/s3/aws4_request"), "x-own", String::new(), false),
        ("/".to_owned(), "authorization", format!("AWS4 Credential={token}/1/eu/s3/aws4_request"), false),
    ] {
        let world = World::new(Way::Clear, watched(LeakAction::Block));
        let status = run(async {
            let mut asked = request("GET", &target, full(""));
            asked.headers_mut().insert(field, value.parse().unwrap());
            world.client().await.send(asked).await.unwrap().status()
        });
        let expected = if is_blocked { StatusCode::FORBIDDEN } else { StatusCode::OK };
        let call = world.proxy.call();
        assert_eq!(status, expected, "{target} {field} {value} {call:?}");
        assert_eq!(call.leaks.iter().any(|fact| fact.place == LeakPlace::Head), is_blocked);
        assert_eq!(world.seen.try_recv().is_err(), is_blocked);
    }
}

#[test]
fn a_method_that_says_what_must_not_leave_stops_its_request() {
    let world = World::new(Way::Clear, watched(LeakAction::Block));
    let asked = request(CANARY, "/", full(""));
    let status = run(async { world.client().await.send(asked).await.unwrap().status() });
    assert_eq!((status, world.proxy.call().reason), (StatusCode::FORBIDDEN, Reason::LeakBlocked));
    assert!(world.seen.try_recv().is_err());
}

#[test]
fn what_cannot_be_searched_does_not_pass_where_leaks_are_blocked() {
    let chunks = "5\r\nplain\r\n0\r\n\r\n";
    for (action, coding, body, expected) in [
        (LeakAction::Block, "compress", "plain", Some(Reason::LeakUnread)),
        (LeakAction::Block, "gzip", "plain", Some(Reason::LeakUnread)),
        (LeakAction::Block, "gzip,aws-chunked", "plain", Some(Reason::LeakUnread)),
        (LeakAction::Block, "aws-chunked", "plain", Some(Reason::LeakUnread)),
        (LeakAction::Block, "aws-chunked", chunks, None),
        (LeakAction::Block, "identity", "plain", None),
        (LeakAction::Report, "compress", "plain", None),
        (LeakAction::Report, "aws-chunked", "plain", None),
    ] {
        let world = World::new(Way::Clear, watched(action));
        let status = run(async {
            let mut asked = request("PUT", "/x", full(body));
            asked.headers_mut().insert("content-encoding", coding.parse().unwrap());
            world.client().await.send(asked).await.unwrap().status()
        });
        let call = world.proxy.call();
        assert_eq!(call.reason, expected.unwrap_or(Reason::RequestAllowed), "{coding}");
        assert_eq!(status, expected.map_or(StatusCode::OK, |_| StatusCode::FORBIDDEN));
    }
}

#[test]
fn chunks_that_only_the_signature_tells_of_hide_nothing() {
    let (before, behind) = CANARY.split_at(9);
    let chunk = |text: &str| format!("{:x};chunk-signature={}\r\n{text}\r\n", text.len(), "0a".repeat(32));
    let chunks = [before, behind, ""].map(chunk).concat();
    let chunks = chunks.as_str();
    for (signed, coding, body, expected) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None, chunks, Some(Reason::LeakBlocked)),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Some("identity"), chunks, Some(Reason::LeakBlocked)),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Some("aws-chunked"), chunks, Some(Reason::LeakBlocked)),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None, "plain", Some(Reason::LeakUnread)),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Some("gzip"), chunks, Some(Reason::LeakUnread)),
        ("UNSIGNED-PAYLOAD", None, "plain", None),
    ] {
        let world = World::new(Way::Tls1, watched(LeakAction::Block));
        let status = run(async {
            let mut asked = request("PUT", "/bucket/key", full(body.to_owned()));
            asked.headers_mut().insert("x-amz-content-sha256", signed.parse().unwrap());
            coding.into_iter().for_each(|coding| {
                asked.headers_mut().insert("content-encoding", coding.parse().unwrap());
            });
            world.client().await.send(asked).await.unwrap().status()
        });
        let call = world.proxy.call();
        assert_eq!(call.reason, expected.unwrap_or(Reason::RequestAllowed), "{signed} {coding:?}");
        assert_eq!(status, expected.map_or(StatusCode::OK, |_| StatusCode::FORBIDDEN));
    }
}

#[test]
fn a_canary_that_cannot_be_looked_for_lets_nothing_pass() {
    let canaries = Some(Canaries { values: vec!["short".into()], action: LeakAction::Report });
    let leaks = Leaks { canaries, ..Leaks::default() };
    let world = World::new(Way::Clear, Requests { leaks, ..anything() });
    run(async { assert_eq!(world.client().await.get("/").await.0, StatusCode::FORBIDDEN) });
    assert_eq!(world.proxy.call().reason, Reason::LeakUnread);
}

/// `{"model":"m","input":"a canary-3f9c1d7e b"}` by Python's `gzip.compress(…, mtime=0)`.
#[rustfmt::skip]
const GZIP: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 205, 79, 73, 205, 81, 178, 82, 202, 85, 210, 81, 202, 204, 43, 40, 45, 1, 178, 19, 21, 146, 19, 243, 18, 139, 42, 117, 141, 211, 44, 147, 13, 83, 204, 83, 21, 146, 148, 106, 1, 242, 99, 71, 232, 43, 0, 0, 0];

#[test]
fn a_coded_body_is_searched_for_what_it_says() {
    let (whole, broken) = (GZIP, GZIP.get(..12).unwrap());
    for (action, body, expected) in [
        (LeakAction::Block, whole, Reason::LeakBlocked),
        (LeakAction::Report, whole, Reason::RequestAllowed),
        (LeakAction::Block, broken, Reason::LeakUnread),
    ] {
        let world = World::new(Way::Tls1, watched(action));
        run(async {
            // What it does is known by its head alone.
            let mut asked = request("PUT", "/v2/a/b/manifests/latest", full(body.to_vec()));
            asked.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            world.client().await.send(asked).await.unwrap();
        });
        let call = world.proxy.call();
        assert_eq!(call.reason, expected, "{action:?} {call:?}");
        assert_eq!(world.seen.try_recv().is_ok(), expected == Reason::RequestAllowed);
        assert_eq!(call.leaks.is_empty(), expected == Reason::LeakUnread);
    }
}

#[test]
fn a_web_socket_that_nobody_could_search_is_refused() {
    for (action, expected) in
        [(LeakAction::Block, StatusCode::FORBIDDEN), (LeakAction::Report, StatusCode::SWITCHING_PROTOCOLS)]
    {
        let world = World::new(Way::Tls1, watched(action));
        run(async {
            let mut asked = request("GET", "/socket", full(""));
            asked.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            asked.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            let answer = world.client().await.send(asked).await.unwrap();
            assert_eq!(answer.status(), expected, "{action:?}");
        });
    }
}

/// Puts a part of an upload with so many bytes of its own beside what it brings; returns what was found.
async fn put(world: &World, number: u64, text: &str, coding: Option<&str>) -> (Option<StatusCode>, Call) {
    let target = format!("/bucket/key?partNumber={number}&uploadId=x");
    let body = match coding {
        Some(_) => format!("{:x}\r\n{text}\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", text.len()),
        None => text.to_owned(),
    };
    let mut asked = request("PUT", &target, full(body));
    coding.into_iter().for_each(|coding| {
        asked.headers_mut().insert("content-encoding", coding.parse().unwrap());
    });
    let status = world.client().await.send(asked).await.ok().map(|answer| answer.status());
    (status, world.proxy.call())
}

#[test]
fn what_stands_across_parts_of_an_upload_is_found_in_whatever_order_they_come() {
    let (before, behind) = CANARY.split_at(9);
    let filler = "-".repeat(20_000);
    let middle = behind.split_at(3);
    let parts = [
        format!("{filler}{before}"),
        format!("{behind}{filler}"),
        middle.0.to_owned(),
        format!("{}{filler}", middle.1),
    ];
    for coding in [None, Some("aws-chunked")] {
        for (order, expected) in [
            (&[(1, 0), (2, 1)][..], &[false, true][..]),
            (&[(2, 1), (1, 0)], &[false, true]),
            (&[(1, 0), (2, 2), (3, 3)], &[false, false, true]),
            (&[(1, 0), (3, 1)], &[false, false]),
            (&[(1, 1), (2, 0)], &[false, false]),
        ] {
            for action in [LeakAction::Block, LeakAction::Report] {
                let world = World::new(Way::Tls1, watched(action));
                let found: Vec<bool> = run(async {
                    let mut found = Vec::new();
                    for (number, part) in order {
                        let (status, call) = put(&world, *number, &parts[*part], coding).await;
                        let is_found = call.leaks.iter().any(|fact| fact.class == LeakKind::Canary);
                        let passed = status == Some(StatusCode::OK);
                        assert_eq!(passed, !is_found || action == LeakAction::Report, "{order:?} {call:?}");
                        found.push(is_found);
                    }
                    found
                });
                assert_eq!(found, expected, "{coding:?} {order:?} {action:?}");
            }
        }
    }
}

/// How an upload is put together by its last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// Blocks of Azure's.
    Azure,
    /// Parts of S3's, by their numbers.
    S3,
    /// Parts of OpenAI's, which its answers name.
    OpenAi,
}

impl Listed {
    const ALL: [Self; 3] = [Self::Azure, Self::S3, Self::OpenAi];

    fn part(self, number: usize, text: &str) -> http::Request<Body> {
        match self {
            Self::Azure => request(
                "PUT",
                &format!("/c/blob?comp=block&blockid={}", ["eA%3D%3D", "eQ%3D%3D", "eg%3D%3D"][number - 1]),
                full(text.to_owned()),
            ),
            Self::S3 => {
                request("PUT", &format!("/b/k?partNumber={number}&uploadId=u"), full(text.to_owned()))
            }
            Self::OpenAi => {
                let field = "Content-Disposition: form-data; name=\"data\"; filename=\"x\"";
                let body = format!("--edge\r\n{field}\r\n\r\n{text}\r\n--edge--\r\n");
                let mut asked = request("POST", "/v1/uploads/u1/parts", full(body));
                let kind = "multipart/form-data; boundary=edge".parse().unwrap();
                asked.headers_mut().insert("content-type", kind);
                asked.headers_mut().insert("x-part", format!("part_{number}").parse().unwrap());
                asked
            }
        }
    }

    fn list(self, numbers: &[usize]) -> http::Request<Body> {
        let all = |one: &dyn Fn(&usize) -> String, between: &str| {
            numbers.iter().map(one).collect::<Vec<_>>().join(between)
        };
        match self {
            Self::Azure => {
                let block =
                    |number: &usize| format!("<Latest>{}</Latest>", ["eA==", "eQ==", "eg=="][number - 1]);
                let list = format!("<?xml version=\"1.0\"?><BlockList>{}</BlockList>", all(&block, ""));
                request("PUT", "/c/blob?comp=blocklist", full(list))
            }
            Self::S3 => {
                let part = |number: &usize| {
                    format!("<Part><ETag>\"x\"</ETag><PartNumber>{number}</PartNumber></Part>")
                };
                let list = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", all(&part, "\n"));
                request("POST", "/b/k?uploadId=u", full(list))
            }
            Self::OpenAi => {
                let ids = all(&|number: &usize| format!("\"part_{number}\""), ",");
                request("POST", "/v1/uploads/u1/complete", full(format!("{{\"part_ids\":[{ids}]}}")))
            }
        }
    }
}

/// Sends a request, and reads its answer; returns whether it passed, and its record.
async fn sent(world: &World, asked: http::Request<Body>) -> (bool, Call) {
    let answer = world.client().await.send(asked).await;
    let passed = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            body.collect().await.unwrap();
            head.status == StatusCode::OK
        }
        Err(_) => false,
    };
    (passed, world.proxy.call())
}

fn classes(call: &Call) -> Vec<LeakKind> {
    call.leaks.iter().map(|fact| fact.class).collect()
}

/// Sends parts, none of which has anything in it; then the list.
fn put_together(
    action: LeakAction,
    listed: Listed,
    parts: &[(usize, &str)],
    list: http::Request<Body>,
) -> (bool, Call) {
    let mut watched = watched(action);
    watched.leaks.files = Some(action);
    let world = World::new(Way::Tls1, watched);
    run(async {
        for (number, text) in parts {
            let (passed, call) = sent(&world, listed.part(*number, text)).await;
            assert_eq!((passed, classes(&call)), (true, vec![]), "{listed:?} {number} {call:?}");
        }
        sent(&world, list).await
    })
}

#[test]
fn what_stands_across_parts_in_the_order_of_their_list_stops_the_list() {
    let (before, behind) = CANARY.split_at(9);
    let filler = "-".repeat(20_000);
    let [first, last] = [format!("{filler}{before}"), format!("{behind}{filler}")];
    let [model, rest] = ["GG", "UF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0 and weights"];
    for listed in Listed::ALL {
        // S3's lists rise, and of what its numbers put beside each other the parts tell already: so another is between.
        for (parts, list, expected) in [
            (&[(1, &*first), (2, "-"), (3, &*last)][..], &[1, 3][..], Some(LeakKind::Canary)),
            (&[(3, &*last), (1, &*first)], &[1, 3], Some(LeakKind::Canary)),
            (&[(1, &*first), (2, "-"), (3, &*last)], &[1, 2, 3], None),
            (&[(1, &*first), (2, "-"), (3, &*last)], &[2, 3], None),
            (&[(1, before), (3, behind)], &[1, 3], Some(LeakKind::Canary)),
            (&[(1, model), (2, "-"), (3, rest)], &[1, 3], Some(LeakKind::File)),
            // It is not known which of the two contents of a part the server has.
            (&[(1, &*first), (3, &*last), (3, "-")], &[1, 3], Some(LeakKind::Canary)),
        ] {
            if listed == Listed::OpenAi && matches!(parts, [_, (3, _), (3, _)]) {
                // It names every part anew.
                continue;
            }
            for action in [LeakAction::Block, LeakAction::Report] {
                let (passed, call) = put_together(action, listed, parts, listed.list(list));
                assert_eq!(classes(&call), Vec::from_iter(expected), "{listed:?} {list:?} {call:?}");
                assert_eq!(passed, expected.is_none() || action == LeakAction::Report, "{call:?}");
                let reason = if passed { Reason::RequestAllowed } else { Reason::LeakBlocked };
                assert_eq!((call.reason, call.unseen_parts), (reason, 0), "{listed:?}");
            }
        }
    }
}

#[test]
fn the_order_in_which_parts_came_means_nothing() {
    let (before, behind) = CANARY.split_at(9);
    for listed in [Listed::Azure, Listed::OpenAi] {
        for (list, is_found) in [
            (&[1, 2][..], false),
            (&[2, 1], true),
            (&[3, 2, 1, 3], true),
            (&[2, 3, 1], false),
            (&[1, 2, 1], true),
        ] {
            let parts = [(1, behind), (2, before), (3, "-")];
            let (passed, call) = put_together(LeakAction::Block, listed, &parts, listed.list(list));
            assert_eq!((passed, !call.leaks.is_empty()), (!is_found, is_found), "{listed:?} {list:?}");
        }
    }
}

#[test]
fn many_parts_between_two_change_nothing() {
    let (before, behind) = CANARY.split_at(9);
    let parts: Vec<_> =
        [(1, before)].into_iter().chain((0..40).map(|_| (2, "-"))).chain([(3, behind)]).collect();
    let (passed, call) =
        put_together(LeakAction::Block, Listed::Azure, &parts, Listed::Azure.list(&[2, 1, 3]));
    assert_eq!((passed, classes(&call)), (false, vec![LeakKind::Canary]));
}

#[test]
fn parts_that_were_not_seen_are_told_and_a_list_that_is_none_stops_where_leaks_are_blocked() {
    for listed in Listed::ALL {
        let (passed, call) = put_together(LeakAction::Block, listed, &[(1, "a")], listed.list(&[1, 2, 3]));
        assert_eq!((passed, call.unseen_parts, classes(&call)), (true, 2, vec![]), "{listed:?}");
    }
    let mut copy = Listed::S3.list(&[1]);
    *copy.body_mut() = full("{\"parts\":[]}");
    let (passed, call) = put_together(LeakAction::Block, Listed::S3, &[(1, "a")], copy);
    assert_eq!(
        (passed, call.unseen_parts),
        (true, 1),
        "others have such parameters too, and S3 takes none such"
    );
    for (action, reason) in
        [(LeakAction::Block, Reason::LeakUnread), (LeakAction::Report, Reason::RequestAllowed)]
    {
        for listed in Listed::ALL {
            let mut list = listed.list(&[1]);
            *list.body_mut() = full("<BlockList><!-- --><Latest>eA==</Latest></BlockList>");
            let (passed, call) = put_together(action, listed, &[(1, "a")], list);
            assert_eq!((passed, call.reason), (action == LeakAction::Report, reason), "{listed:?}");
            assert_eq!(call.unseen_parts, 1);
        }
    }
}

#[test]
fn what_a_server_copies_into_a_part_is_told_as_not_seen() {
    let world = World::new(Way::Tls1, watched(LeakAction::Block));
    let call = run(async {
        let mut copy = Listed::S3.part(1, "");
        copy.headers_mut().insert("x-amz-copy-source", "/other/key".parse().unwrap());
        assert!(sent(&world, copy).await.0);
        sent(&world, Listed::S3.list(&[1])).await.1
    });
    assert_eq!((call.reason, call.unseen_parts), (Reason::RequestAllowed, 1));
}
