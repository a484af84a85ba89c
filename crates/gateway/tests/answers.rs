//! Files that answers bring are watched as they pass: what would act when it is opened is told of, or never arrives whole.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{Call, End, Reason};
use http::StatusCode;
use http_body_util::BodyExt;
use policy::{AnswerFiles, LeakAction, Requests};
use support::web::{Client, Way, World, anything, full, request, run};

const WAYS: [Way; 3] = [Way::Clear, Way::Tls1, Way::Tls2];
/// As `pickle.dumps` writes an object whose `__reduce__` is `(os.system, ("id",))`.
const SYSTEM: &[u8] = b"\x80\x02cposix\nsystem\nq\0X\x02\0\0\0idq\x01\x85q\x02Rq\x03.";
/// And the beginning of a dictionary of tensors.
const TENSOR: &[u8] = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01.";

fn watched(action: LeakAction) -> Requests {
    let answers = AnswerFiles { pickles: Some(action), archives: Some(action) };
    Requests { answers, ..anything() }
}

/// What a client has of an answer: its status, its bytes, and whether they came to their end.
type Got = (StatusCode, Vec<u8>, bool);

/// Has the server send a file, with these fields of the request.
async fn fetch(client: &mut Client, target: &str, fields: &[(&'static str, &str)], file: &[u8]) -> Got {
    let mut asked = request("POST", target, full(file.to_vec()));
    asked.headers_mut().insert("te", "trailers".parse().unwrap());
    for (name, value) in fields {
        asked.headers_mut().insert(*name, value.parse().unwrap());
    }
    // What is found in the first bytes may go before the head does.
    let Ok(answer) = client.send(asked).await else { return (StatusCode::OK, Vec::new(), false) };
    let (head, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
    loop {
        match body.frame().await {
            None => return (head.status, bytes, true),
            Some(Err(_)) => return (head.status, bytes, false),
            Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
    }
}

fn once(
    way: Way,
    action: LeakAction,
    target: &str,
    fields: &[(&'static str, &str)],
    file: &[u8],
) -> (Got, Call) {
    let world = World::new(way, watched(action));
    let got = run(async { fetch(&mut world.client().await, target, fields, file).await });
    let call = world.proxy.call();
    (got, call)
}

/// A tar with one member.
fn tar(name: &str) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[148..156].fill(b' ');
    header[124..135].copy_from_slice(b"00000000000");
    header[156] = b'0';
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    [header, vec![0; 1024]].concat()
}

#[test]
fn what_would_act_when_it_is_opened_never_arrives_whole_where_it_is_blocked() {
    let late = [TENSOR, &TENSOR.repeat(3000), SYSTEM, b"more"].concat();
    for way in WAYS {
        for (file, rule, what) in [
            (SYSTEM.to_vec(), "pickle-import", "posix.system"),
            (b"cposix\nsystem\n(Vid\ntR.".to_vec(), "pickle-import", "posix.system"),
            (late.clone(), "pickle-import", "posix.system"),
            (tar("../x"), "archive-path", "../x"),
            (b"\x80\x02csklearn.svm\nSVC\n)\x81.".to_vec(), "pickle-import", "sklearn.svm.SVC"),
        ] {
            for target in ["/model.bin", "/pieces/model.bin", "/late/model.bin"] {
                let ((status, bytes, is_whole), call) = once(way, LeakAction::Block, target, &[], &file);
                assert_eq!(status, StatusCode::OK);
                assert!(!is_whole && bytes.len() < file.len(), "{way:?} {target} {what}");
                assert!(!bytes.windows(6).any(|part| part == b"system"), "{way:?} {target}");
                assert_eq!((call.reason, call.end), (Reason::AnswerBlocked, End::Cut));
                let fact = &call.answers[0];
                assert_eq!((&*fact.rule, fact.what.as_str(), fact.blocked), (rule, what, true));
            }
        }
    }
}

#[test]
fn what_is_only_reported_arrives_and_what_is_harmless_is_not_told_of() {
    for way in WAYS {
        for (file, action, expected) in [
            (SYSTEM.to_vec(), LeakAction::Report, Some("pickle-import")),
            (tar("../x"), LeakAction::Report, Some("archive-path")),
            (TENSOR.repeat(2000), LeakAction::Block, None),
            (tar("a/x"), LeakAction::Block, None),
            (b"{\"a\": 1}".to_vec(), LeakAction::Block, None),
            (vec![], LeakAction::Block, None),
        ] {
            for target in ["/model.bin", "/pieces/model.bin", "/late/model.bin"] {
                let ((_, bytes, is_whole), call) = once(way, action, target, &[], &file);
                assert!(is_whole && bytes == file, "{way:?} {target} {expected:?}");
                assert_eq!((call.reason, call.end), (Reason::RequestAllowed, End::Closed));
                let rules: Vec<&str> = call.answers.iter().map(|fact| &*fact.rule).collect();
                assert_eq!(rules, expected.into_iter().collect::<Vec<_>>(), "{target}");
                assert!(call.answers.iter().all(|fact| !fact.blocked));
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_of_and_does_not_arrive_where_anything_is_blocked() {
    let zip = b"PK\x03\x04\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x03\0\0\0\x01\0\0\0abcd".to_vec();
    for way in WAYS {
        for (coding, file, rule) in [
            ("compress", SYSTEM.to_vec(), "answer-coding"),
            ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff".to_vec(), "answer-coding"),
            ("identity", b"BZh91AY&SY".to_vec(), "file-unread"),
            ("identity", zip.clone(), "file-unread"),
            ("identity", zip[..20].to_vec(), "file-unread"),
        ] {
            let fields = [("x-coding", coding)];
            for target in ["/model.bin", "/late/model.bin"] {
                let ((status, bytes, is_whole), call) = once(way, LeakAction::Block, target, &fields, &file);
                let arrived = status == StatusCode::OK && is_whole && bytes.len() >= file.len();
                assert!(!arrived, "{way:?} {target} {coding} {rule}");
                assert_eq!(call.reason, Reason::AnswerUnread, "{way:?} {target} {coding} {rule}");
                assert_eq!(&*call.answers[0].rule, rule);
            }
            let ((_, bytes, is_whole), call) = once(way, LeakAction::Report, "/model.bin", &fields, &file);
            assert!(is_whole && bytes == file, "{way:?} {coding}");
            assert_eq!((&*call.answers[0].rule, call.answers[0].blocked), (rule, false));
        }
    }
}

/// Fetches parts, each from one byte up to another, one after the other.
fn parts(action: LeakAction, file: &[u8], ranges: &[(usize, usize)]) -> Vec<(Got, Call)> {
    let world = World::new(Way::Tls2, watched(action));
    let mut got = Vec::new();
    for (first, behind) in ranges {
        let range = format!("bytes={first}-{}", behind - 1);
        let one = run(async {
            let fields = [("range", range.as_str())];
            fetch(&mut world.client().await, "/part/model.bin", &fields, file).await
        });
        got.push((one, world.proxy.call()));
    }
    got
}

#[test]
fn a_file_in_parts_is_read_in_its_order_and_where_it_is_harmless_in_any() {
    let weights = [b"GGUF\x03\0\0\0".as_slice(), &[7; 4000]].concat();
    for (part, call) in parts(LeakAction::Block, &weights, &[(0, 1000), (3000, 4008), (1000, 3000)]) {
        assert!(part.0 == StatusCode::PARTIAL_CONTENT && part.2 && call.answers.is_empty(), "{call:?}");
    }
    let tensors = TENSOR.repeat(100);
    for (part, call) in parts(LeakAction::Block, &tensors, &[(0, 101), (101, 2000), (2000, tensors.len())]) {
        assert!(part.0 == StatusCode::PARTIAL_CONTENT && part.2 && call.answers.is_empty(), "{call:?}");
    }
    let bad = [&tensors[..], SYSTEM].concat();
    let got =
        parts(LeakAction::Block, &bad, &[(0, tensors.len() + 8), (tensors.len() + 8, bad.len()), (5, 9)]);
    assert!(got[0].0.2 && got[0].1.answers.is_empty());
    assert!(!got[1].0.2, "it is cut");
    assert_eq!((got[1].1.reason, &*got[1].1.answers[0].what), (Reason::AnswerBlocked, "posix.system"));
    assert_eq!((got[2].0.0, got[2].1.reason), (StatusCode::FORBIDDEN, Reason::AnswerUnread));
}

#[test]
fn a_part_of_a_file_whose_beginning_was_not_read_is_refused_in_words_or_told_of() {
    let tensors = TENSOR.repeat(100);
    let got = parts(LeakAction::Block, &tensors, &[(0, 50), (40, 60)]);
    let ((status, bytes, _), call) = &got[1];
    assert_eq!((*status, call.reason, call.end), (StatusCode::FORBIDDEN, Reason::AnswerUnread, End::Refused));
    let told = String::from_utf8_lossy(bytes);
    assert!(told.contains("download it whole or in order"), "{told}");
    let got = parts(LeakAction::Report, &tensors, &[(40, 60)]);
    let ((status, bytes, is_whole), call) = &got[0];
    assert_eq!((*status, bytes.as_slice(), *is_whole), (StatusCode::PARTIAL_CONTENT, &tensors[40..60], true));
    assert_eq!((&*call.answers[0].rule, call.answers[0].blocked), ("answer-part", false));
}

#[test]
fn what_is_found_is_counted() {
    let world = World::new(Way::Clear, watched(LeakAction::Report));
    run(async { fetch(&mut world.client().await, "/model.bin", &[], SYSTEM).await });
    world.proxy.call();
    assert_eq!(world.proxy.counters.read().files, [("pickle-import".to_owned(), false, 1)]);
}
