//! Records as they come: none is lost, none comes twice, whoever is slow or comes again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::served::{END, ENTRIES, Event, serve};
use ledger::{Entry, Kind, Verdict};
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

fn entries(from: u64, count: u64) -> Vec<Entry> {
    let entry = |number| Entry {
        time: END + number,
        source: "ai/Job/late".into(),
        destination: format!("n{number}\nevent: lost.example").into(),
        detail: Some("{}".into()),
        ..Entry::new(Kind::Dns, Verdict::Allow)
    };
    (from..from + count).map(entry).collect()
}

fn ids(events: impl Iterator<Item = Event>, count: usize) -> Vec<i64> {
    let records = events.filter(|event| event.name != "ping");
    let records = records.inspect(|event| assert_eq!(event.name, "record", "{event:?}"));
    records.take(count).map(|event| event.id.unwrap()).collect()
}

#[test]
fn what_is_written_comes_and_what_was_written_before_does_not() {
    let mut server = serve();
    let events = server.follow("?kind=dns", &[]);
    server.ledger.append(&entries(0, 1200)).unwrap();
    let first = ENTRIES.cast_signed() + 1;
    assert_eq!(ids(events, 1200), (first..first + 1200).collect::<Vec<_>>());
}

#[test]
fn who_comes_again_gets_all_that_came_meanwhile_once() {
    let mut server = serve();
    let mut seen = Vec::new();
    let mut events = server.follow("", &[]);
    server.ledger.append(&entries(0, 10)).unwrap();
    seen.extend(ids(events.by_ref(), 5));
    drop(events);
    server.ledger.append(&entries(10, 700)).unwrap();
    let last = seen.last().unwrap().to_string();
    let events = server.follow("", &[("last-event-id", &last)]);
    server.ledger.append(&entries(710, 10)).unwrap();
    seen.extend(ids(events, 715));
    let first = ENTRIES.cast_signed() + 1;
    assert_eq!(seen, (first..first + 720).collect::<Vec<_>>());
}

#[test]
fn between_a_list_and_its_stream_nothing_is_lost() {
    let mut server = serve();
    let newest = server.get("/records?limit=1").json()["items"][0]["number"].as_i64().unwrap();
    server.ledger.append(&entries(0, 3)).unwrap();
    let events = server.follow(&format!("?after={newest}"), &[]);
    assert_eq!(ids(events, 3), (newest + 1..newest + 4).collect::<Vec<_>>());
}

#[test]
fn who_is_too_far_behind_is_told_how_many_are_left_out() {
    let mut server = serve();
    let many = 60_000;
    for from in (0..many).step_by(10_000) {
        server.ledger.append(&entries(from, 10_000)).unwrap();
    }
    let mut events = server.follow("?after=1", &[]).filter(|event| event.name != "ping");
    let lost = events.next().unwrap();
    assert_eq!((lost.name.as_str(), lost.id), ("lost", None));
    let left_out = lost.data["records"].as_i64().unwrap();
    let next = events.next().unwrap();
    // All numbers from 2 on are either counted as lost, or come.
    assert_eq!(next.id, Some(left_out + 2));
    assert!(left_out > 0);
}

#[test]
fn a_filter_holds_for_the_stream_and_wrong_ones_are_refused() {
    let mut server = serve();
    let events = server.follow("?source=ai/Job/other", &[]);
    server.ledger.append(&entries(0, 50)).unwrap();
    let other = Entry { source: "ai/Job/other".into(), ..entries(50, 1).remove(0) };
    server.ledger.append(&[other]).unwrap();
    assert_eq!(ids(events, 1), [ENTRIES.cast_signed() + 51]);
    let viewer = ("authorization", "Bearer viewer");
    assert_eq!(server.say("GET /api/v1/records/stream", &[], "").status, 401);
    assert_eq!(server.say("GET /api/v1/records/stream?limit=1", &[viewer], "").status, 400);
    let wrong = [viewer, ("last-event-id", "x")];
    assert_eq!(server.say("GET /api/v1/records/stream", &wrong, "").status, 400);
}

#[test]
fn who_logged_out_or_has_no_token_any_more_hears_nothing_that_came_later() {
    let mut server = serve();
    let answer =
        server.say("POST /api/v1/session", &[("content-type", "application/json")], r#"{"token":"viewer"}"#);
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut by_cookie = server.follow("", &[("cookie", &cookie)]);
    let mut by_token = server.follow("", &[("authorization", "Bearer until-told")]);
    let mut of_another = server.follow("", &[]);
    server.ledger.append(&entries(0, 1)).unwrap();
    for events in [&mut by_cookie, &mut by_token, &mut of_another] {
        assert_eq!(ids(events, 1).len(), 1);
    }
    let out = [("cookie", cookie.as_str()), ("x-cofferdam-csrf", "1")];
    assert_eq!(server.say("DELETE /api/v1/session", &out, "").status, 200);
    server.roles.is_over.store(true, Ordering::Relaxed);
    server.ledger.append(&entries(1, 1)).unwrap();
    for (events, count) in [(&mut by_cookie, 0), (&mut by_token, 0), (&mut of_another, 1)] {
        assert_eq!(ids(events, 1).len(), count);
    }
}

#[test]
fn more_readers_than_there_is_room_for_are_refused_and_room_comes_back() {
    let server = serve();
    let all: Vec<_> = (0..64).map(|_| server.follow("", &[])).collect();
    let viewer = [("authorization", "Bearer viewer")];
    assert_eq!(server.say("GET /api/v1/records/stream", &viewer, "").status, 503);
    // Others are answered meanwhile.
    assert_eq!(server.get("/records?limit=1").status, 200);
    drop(all);
    let is_room = (0..200).any(|_| {
        let status = server.say("HEAD /api/v1/me", &viewer, "").status;
        assert_eq!(status, 200);
        let mut stream = TcpStream::connect(server.address).unwrap();
        let text =
            "GET /api/v1/records/stream HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer viewer\r\n\r\n";
        std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        begin.ends_with(b"200")
    });
    assert!(is_room);
}
