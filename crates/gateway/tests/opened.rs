//! Connections that are opened: requests are judged one by one, arrive as they were sent, and have one record each.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Call, Ceiling, End, Limits, Phase, Reason};
use http::{HeaderMap, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use policy::{Mismatch, Verb, Verdict};
use std::sync::Arc;
use support::PATIENCE;
use support::web::{Client, Step, Way, World, anything, full, nothing, request, run, steps};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const WAYS: [Way; 4] = [Way::Clear, Way::Tls1, Way::Tls2, Way::TlsUnsaid];

/// The record of a connection whose requests were all answered, and those of its requests.
fn records(world: World) -> (gateway::Record, Vec<Call>) {
    let record = world.proxy.record();
    let calls = world.proxy.calls.try_iter().collect();
    assert_eq!(world.proxy.kill(), [], "one record for one connection");
    (record, calls)
}

#[test]
fn requests_and_answers_arrive_as_they_were_sent() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let mut asked = request("POST", "/echo?q=1", full("question"));
            asked.headers_mut().insert("x-own", "1".parse().unwrap());
            let (head, body) = client.send(asked).await.unwrap().into_parts();
            assert_eq!((head.status, head.headers["x-answer"].as_bytes()), (StatusCode::OK, &b"1"[..]));
            assert_eq!(body.collect().await.unwrap().to_bytes(), "question");
            assert_eq!(client.get("/empty").await.0, StatusCode::NO_CONTENT);
            assert_eq!(client.get("/again").await.0, StatusCode::OK);
        });
        let seen = world.seen.recv().unwrap();
        assert_eq!((seen.method.as_str(), seen.body.as_deref()), ("POST", Some(&b"question"[..])), "{way:?}");
        assert_eq!(seen.headers["x-own"], "1");
        assert_eq!(seen.version == Version::HTTP_2, way == Way::Tls2);
        assert!(seen.target.ends_with("/echo?q=1"), "{}", seen.target);
        let (record, calls) = records(world);
        assert_eq!(
            (record.reason, record.end, record.verdict),
            (Reason::NameAllowed, End::Closed, Verdict::Allow)
        );
        assert!(record.bytes_up > 8 && record.bytes_down > 8);
        let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
        assert_eq!(paths, ["/echo", "/empty", "/again"]);
        let first = &calls[0];
        assert_eq!((first.reason, first.end, first.status), (Reason::RequestAllowed, End::Closed, 200));
        assert_eq!((first.bytes_up, first.bytes_down, first.method.as_str()), (8, 8, "POST"));
        assert_eq!((first.name.as_str(), first.verdict), ("hub.example", Verdict::Allow));
        assert_eq!(first.rule.as_deref(), Some("ClusterNetworkPolicy hub spec.egress[0]"));
    }
}

#[test]
fn a_refused_request_is_told_why_and_the_next_one_is_judged_anew() {
    for way in WAYS {
        let world = World::new(way, nothing());
        run(async {
            let mut client = world.client().await;
            let (status, fields, body) = client.get("/secret?token=1").await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{way:?}");
            assert_eq!(fields["x-cofferdam-reason"], "request-not-allowed");
            assert_eq!(fields["x-cofferdam-policy"], "ClusterNetworkPolicy hub spec.egress[0]");
            let call = world.proxy.call();
            assert_eq!(fields["x-cofferdam-request-id"], call.request_id.as_str());
            assert!(body.contains("request-not-allowed"), "{body}");
            assert_eq!((call.reason, call.lacks), (Reason::RequestNotAllowed, Some(Mismatch::Unknown)));
            assert_eq!((call.status, call.end, call.path.as_str()), (403, End::Refused, "/secret"));
            // A body that nobody read is in nobody's way.
            let refused = client.send(request("POST", "/", full(vec![0; 100_000]))).await.unwrap();
            assert_eq!(refused.status(), StatusCode::FORBIDDEN);
            drop(refused);
            world.allow(anything());
            assert_eq!(client.get("/open").await.0, StatusCode::OK);
        });
        assert_eq!(world.seen.recv().unwrap().method, "GET", "only the last one arrived");
        assert!(world.seen.try_recv().is_err());
        let counts = world.proxy.counters.read().requests;
        let expected = [(Verdict::Allow, Verb::Unknown, 1), (Verdict::Deny, Verb::Unknown, 2)];
        assert_eq!(counts, expected);
    }
}

#[test]
fn bodies_beyond_any_bound_of_what_is_held_stream_through() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let piece = Bytes::from(vec![7; 64 * 1024]);
            let body = steps((0..320).map(move |_| Step::Piece(piece.clone())));
            let answer = client.send(request("POST", "/big", body)).await.unwrap();
            let back = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(back.len(), 20 << 20, "{way:?}");
        });
        let call = world.proxy.call();
        assert_eq!((call.bytes_up, call.bytes_down, call.end), (20 << 20, 20 << 20, End::Closed));
    }
}

#[test]
fn an_answer_streams_piece_by_piece() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let mut answer = client.send(request("GET", "/slow", full(""))).await.unwrap().into_body();
            let mut next = async || answer.frame().await.unwrap().unwrap().into_data().unwrap();
            // The server waits until this one was seen.
            assert_eq!(next().await, "some");
            world.go_on.notify_one();
            assert_eq!(next().await, "more");
        });
    }
}

#[test]
fn trailers_of_answers_arrive_and_those_of_requests_where_a_protocol_keeps_them_apart() {
    for (way, kind) in WAYS.into_iter().flat_map(|way| [(way, "text/plain"), (way, "application/grpc+proto")])
    {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-late", "1".parse().unwrap());
            trailers.insert("content-type", "text/html".parse().unwrap());
            let body = full("some").with_trailers(async { Some(Ok(trailers)) }).boxed();
            let mut asked = request("POST", "/trailers", body);
            asked.headers_mut().insert("te", "trailers".parse().unwrap());
            asked.headers_mut().insert("content-type", kind.parse().unwrap());
            asked.headers_mut().insert("trailer", "x-late".parse().unwrap());
            let answer = client.send(asked).await.unwrap();
            let answer = answer.into_body().collect().await.unwrap();
            let is_told = answer.trailers().is_some_and(|trailers| trailers["grpc-status"] == "0");
            assert!(is_told, "{way:?}");
        });
        assert_eq!(world.proxy.call().end, End::Closed, "{way:?}");
        let seen = world.seen.recv().unwrap();
        let names: Vec<_> = seen.trailers.iter().flat_map(HeaderMap::keys).map(ToString::to_string).collect();
        let expected =
            if (way, kind) == (Way::Tls2, "application/grpc+proto") { vec!["x-late"] } else { vec![] };
        assert_eq!(
            (names, seen.body.as_deref()),
            (expected.iter().map(ToString::to_string).collect(), Some(&b"some"[..]))
        );
        assert!(!seen.headers.contains_key("trailer"));
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let answer = client.send(request("GET", "/break", full(""))).await.unwrap();
            world.go_on.notify_one();
            assert!(answer.into_body().collect().await.is_err(), "{way:?}");
        });
        let call = world.proxy.call();
        assert_eq!((call.end, call.status, call.verdict), (End::ServerGone, 200, Verdict::Allow));
    }
}

#[test]
fn a_request_that_breaks_off_is_never_whole_at_the_server() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let body =
                [Step::Piece(Bytes::from_static(b"half")), Step::Wait(world.began.clone()), Step::Break];
            assert!(client.send(request("POST", "/", steps(body))).await.is_err());
            assert_eq!(world.seen.recv_timeout(PATIENCE).unwrap().body, None, "{way:?}");
        });
        let call = world.proxy.call();
        assert_ne!(call.end, End::Closed);
        assert!(world.proxy.calls.try_recv().is_err(), "one record");
    }
}

#[test]
fn a_request_for_another_host_is_misdirected() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let mut asked = request("GET", "/", full(""));
            if way == Way::Tls2 {
                *asked.uri_mut() = "https://other.example/".parse().unwrap();
            } else {
                asked.headers_mut().insert("host", "other.example".parse().unwrap());
            }
            let answer = client.send(asked).await.unwrap();
            // In clear the host is what the connection is judged by: there it is no allowed one at all.
            let expected =
                if way == Way::Clear { StatusCode::FORBIDDEN } else { StatusCode::MISDIRECTED_REQUEST };
            assert_eq!(answer.status(), expected, "{way:?}");
        });
        if way != Way::Clear {
            assert_eq!(world.proxy.call().reason, Reason::HostMismatch);
        }
        assert!(world.seen.try_recv().is_err());
    }
    let world = World::new(Way::Clear, anything());
    run(async {
        let mut client = world.client().await;
        assert_eq!(client.get("/").await.0, StatusCode::OK);
        let mut asked = request("GET", "/", full(""));
        asked.headers_mut().insert("host", "other.example".parse().unwrap());
        assert_eq!(client.send(asked).await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    });
}

#[test]
fn a_server_that_does_not_verify_is_told_of_inside() {
    for way in [Way::Tls1, Way::TlsUnsaid] {
        let world = World::with(way, anything(), Ceiling::default(), Limits::default(), false);
        run(async {
            let mut client = world.client().await;
            let (status, fields, body) = client.get("/").await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert_eq!(fields["x-cofferdam-reason"], "server-certificate");
            assert!(body.contains("does not verify"), "{body}");
        });
        assert!(world.seen.try_recv().is_err());
        let (record, calls) = records(world);
        assert_eq!(
            (record.reason, record.end, record.bytes_down > 0),
            (Reason::ServerCertificate, End::Refused, true)
        );
        assert_eq!(calls.iter().map(|call| call.reason).collect::<Vec<_>>(), [Reason::ServerCertificate]);
    }
}

#[test]
fn a_server_whose_certificate_is_for_another_name_is_none() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = support::Tls::of(&["other.example"], version);
        let state = support::web::state_of(anything(), Ceiling::default(), None);
        let world = World::before(&tls, Way::Tls1, state, Limits::default(), true);
        run(async {
            let (status, fields, _) = world.client().await.get("/").await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert_eq!(fields["x-cofferdam-reason"], "server-certificate");
        });
        assert!(world.seen.try_recv().is_err());
    }
}

#[test]
fn a_client_that_does_not_believe_us_is_known_by_that() {
    let world = World::new(Way::Tls1, anything());
    let stranger = gateway::Authority::generate(std::time::SystemTime::now()).unwrap();
    run(async {
        let refused = Client::connect(&world.proxy, Way::Tls1, &stranger).await;
        assert!(refused.is_err());
    });
    let (record, calls) = records(world);
    assert_eq!((record.reason, record.end, calls.len()), (Reason::ClientDistrusts, End::Refused, 0));
}

#[test]
fn without_an_authority_nothing_is_opened() {
    let world = World::new(Way::Tls1, anything());
    world.proxy.table.replace(support::web::state_of(anything(), Ceiling::default(), None));
    run(async {
        let refused = Client::connect(&world.proxy, Way::Tls1, &world.inspection.authority).await;
        assert!(refused.is_err());
    });
    assert!(world.proxy.nobody_came());
    let record = world.proxy.record();
    assert_eq!((record.reason, record.end), (Reason::NoAuthority, End::Refused));
}

#[test]
fn a_web_socket_passes_where_its_request_does() {
    for way in [Way::Tls1, Way::TlsUnsaid] {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let mut asked = request("GET", "/socket", full(""));
            asked.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            asked.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            let answer = client.send(asked).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
            let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
            socket.write_all(b"ping").await.unwrap();
            let mut back = vec![];
            socket.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"pong!");
            socket.shutdown().await.unwrap();
        });
        let (record, calls) = records(world);
        assert_eq!((record.end, calls.len()), (End::Closed, 1));
        let call = &calls[0];
        assert_eq!((call.status, call.bytes_up, call.bytes_down, call.end), (101, 4, 5, End::Closed));
    }
}

#[test]
fn other_upgrades_are_refused_and_are_the_last_of_their_connection() {
    for (requests, protocol) in [(anything(), "h2c"), (nothing(), "websocket")] {
        let world = World::new(Way::Tls1, requests);
        run(async {
            let mut client = world.client().await;
            let mut asked = request("GET", "/socket", full(""));
            asked.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            asked.headers_mut().insert("upgrade", protocol.parse().unwrap());
            let answer = client.send(asked).await.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()["connection"]),
                (StatusCode::FORBIDDEN, &"close".parse().unwrap())
            );
            drop(answer);
            assert!(client.send(request("GET", "/", full(""))).await.is_err());
        });
        assert!(world.seen.try_recv().is_err());
        assert_eq!(world.proxy.call().end, End::Refused);
    }
}

#[test]
fn a_server_that_closes_closes_its_clients_connection() {
    for way in [Way::Clear, Way::Tls1] {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let (status, fields, body) = client.get("/close").await;
            assert_eq!(
                (status, body.as_str(), &fields["connection"]),
                (StatusCode::OK, "bye", &"close".parse().unwrap())
            );
        });
        let (record, calls) = records(world);
        assert_eq!((record.end, calls.len(), calls[0].end), (End::Closed, 1, End::Closed));
    }
}

#[test]
fn uploads_end_at_their_ceiling() {
    for way in WAYS {
        let ceiling = Ceiling { max_upload: Some(100_000), download_only: None };
        let world = World::with(way, anything(), ceiling, Limits::default(), true);
        run(async {
            let mut client = world.client().await;
            let piece = Bytes::from(vec![7; 10_000]);
            let body = steps((0..100).map(move |_| Step::Piece(piece.clone())));
            assert!(client.send(request("POST", "/", body)).await.is_err(), "{way:?}");
        });
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::UploadCeiling, End::Cut));
        // A reset may come before the server looked at what it has.
        assert!(world.seen.try_iter().all(|seen| seen.body.is_none()));
        assert!(record.bytes_up <= 100_000 && record.bytes_up > 50_000, "{}", record.bytes_up);
    }
}

#[test]
fn a_change_of_policy_cuts_an_open_connection() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let answer = client.send(request("GET", "/slow", full(""))).await.unwrap();
            world.proxy.table.replace(support::state(
                support::POD,
                &[("hub.example", &[])],
                Ceiling::default(),
                support::strict(),
            ));
            world.proxy.phase.send_replace(Phase { changes: 1, ..Phase::default() });
            assert!(answer.into_body().collect().await.is_err(), "{way:?}");
        });
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::NameNotAllowed, End::Cut));
        assert_eq!(world.proxy.call().end, End::Cancelled);
    }
}

#[test]
fn what_passed_unread_does_not_outlive_a_rule_about_requests() {
    let world = World::new(Way::Tls1, anything());
    world.proxy.table.replace(support::usual(Ceiling::default()));
    let hello = support::hello_of(Some("hub.example"), &[]);
    let mut client = world.proxy.connect();
    std::io::Write::write_all(&mut client, &hello).unwrap();
    // Until the server's end is there, the connection may not have been judged.
    std::io::Read::read_exact(&mut client, &mut [0; 1]).unwrap();
    world.allow(anything());
    world.proxy.phase.send_replace(Phase { changes: 1, ..Phase::default() });
    let record = world.proxy.record();
    assert_eq!((record.reason, record.end), (Reason::Unread, End::Cut));
}

#[test]
fn a_kill_in_the_middle_leaves_one_record_each() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let _open = client.send(request("GET", "/slow", full(""))).await.unwrap();
            let (records, calls) =
                (world.proxy.records.try_iter().count(), world.proxy.calls.try_iter().count());
            assert_eq!((records, calls), (0, 0));
            let World { proxy, .. } = world;
            let calls = proxy.kill_all();
            assert_eq!(calls.0.iter().map(|record| record.end).collect::<Vec<_>>(), [End::Cancelled]);
            assert_eq!(
                calls.1.iter().map(|call| (call.end, call.status)).collect::<Vec<_>>(),
                [(End::Cancelled, 200)]
            );
        });
    }
}

#[test]
fn several_requests_at_once_are_told_apart() {
    let world = World::new(Way::Tls2, anything());
    run(async {
        let mut client = world.client().await;
        let slow = client.send(request("GET", "/slow", full(""))).await.unwrap();
        assert_eq!(client.get("/quick").await.0, StatusCode::OK);
        world.go_on.notify_one();
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "somemore");
    });
    let mut ids: Vec<_> =
        [world.proxy.call(), world.proxy.call()].map(|call| (call.request_id, call.path)).into();
    ids.sort();
    assert_eq!(ids.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["/slow", "/quick"]);
}

#[test]
fn a_client_that_waits_for_leave_gets_it_only_where_its_request_goes_on() {
    for (requests, expected) in [(anything(), "HTTP/1.1 100 Continue"), (nothing(), "HTTP/1.1 403 Refused b")]
    {
        let world = World::new(Way::Clear, requests);
        let mut client = world.proxy.connect();
        let head =
            "POST / HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
        std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
        let mut line = vec![0; expected.len()];
        std::io::Read::read_exact(&mut client, &mut line).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), expected);
        if expected.contains("100") {
            std::io::Write::write_all(&mut client, b"body").unwrap();
            let seen = world.seen.recv_timeout(PATIENCE).unwrap();
            assert_eq!(
                (seen.body.as_deref(), seen.headers.contains_key("expect")),
                (Some(&b"body"[..]), false)
            );
        }
    }
}

#[test]
fn head_has_the_length_of_what_it_does_not_send() {
    let world = World::new(Way::Tls1, anything());
    run(async {
        let mut client = world.client().await;
        let answer = client.send(request("HEAD", "/close", full(""))).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "3");
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    });
    let call = world.proxy.call();
    assert_eq!((call.end, call.bytes_down), (End::Closed, 0));
}

#[test]
fn draining_lets_a_request_end_and_takes_no_further_one() {
    for way in WAYS {
        let world = World::new(way, anything());
        run(async {
            let mut client = world.client().await;
            let answer = client.send(request("GET", "/slow", full(""))).await.unwrap();
            world.proxy.phase.send_replace(Phase { draining: true, ..Phase::default() });
            world.go_on.notify_one();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "somemore", "{way:?}");
            let refused = async { while client.send(request("GET", "/", full(""))).await.is_ok() {} };
            refused.await;
            // The client must be there to hear the end.
            let record = loop {
                match world.proxy.records.try_recv() {
                    Ok(record) => break record,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            assert_eq!((record.end, record.verdict), (End::Closed, Verdict::Allow), "{way:?}");
        });
        assert_eq!(world.proxy.wait(), []);
    }
}

#[test]
fn a_body_that_waits_is_no_reason_to_wait_with_its_request() {
    let world = World::new(Way::Tls2, anything());
    run(async {
        let mut client = world.client().await;
        let told = Arc::new(Notify::new());
        let body = steps([
            Step::Piece(Bytes::from_static(b"a")),
            Step::Wait(told.clone()),
            Step::Piece(Bytes::from_static(b"b")),
        ]);
        let answer = client.send(request("POST", "/", body));
        told.notify_one();
        assert_eq!(answer.await.unwrap().into_body().collect().await.unwrap().to_bytes(), "ab");
    });
}
