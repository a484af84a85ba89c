//! Recordings are read the same however they are split, and what cannot be read is named.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use detect::event::{Carrier, Fate, Phase, Sign, What};
use detect::read::{Read, Recording};
use proptest::prelude::*;

fn read(bytes: &[u8], piece: usize) -> Read {
    let (mut recording, mut read) = (Recording::new("file"), Read::default());
    bytes.chunks(piece.max(1)).for_each(|piece| recording.push(piece, &mut read));
    recording.finish(&mut read);
    read
}

fn shown(read: &Read) -> (Vec<String>, Vec<String>) {
    let events = read.events.iter().map(|event| format!("{event:?}")).collect();
    (events, read.unreadable.iter().map(ToString::to_string).collect())
}

/// A packet of a capture at so many seconds.
fn packet(second: u32, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    let numbers = [second, 0, length, length].map(u32::to_le_bytes).concat();
    [numbers, frame.to_vec()].concat()
}

/// Raw IPv4 of UDP or TCP.
fn ip(protocol: u8, from: (u8, u16), to: (u8, u16), rest: &[u8]) -> Vec<u8> {
    let total = u16::try_from(24 + rest.len()).unwrap().to_be_bytes();
    let mut bytes =
        vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, from.0, 10, 0, 0, to.0];
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn tcp(from: (u8, u16), to: (u8, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    ip(6, from, to, &[&[0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0], payload].concat())
}

fn udp(from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Vec<u8> {
    ip(17, from, to, &[&[0, 0, 0, 0], payload].concat())
}

fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 101].map(u32::to_le_bytes).concat();
    [header, packets.concat()].concat()
}

/// A question, its answer, a connection, one that is refused, a question that nobody answers, and something unreadable.
fn sample() -> Vec<u8> {
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03WWW\x07example\x03com\0\0\x10\0\x01";
    let answer = b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x03WWW\x07example\x03com\0\0\x10\0\x01";
    let lonely = b"\x12\x35\x01\0\0\x01\0\0\0\0\0\0\x02t1\x07example\x03org\0\0\x01\0\x01";
    capture(&[
        packet(100, &udp((1, 4000), (2, 53), question)),
        packet(101, &udp((2, 53), (1, 4000), answer)),
        packet(102, &tcp((1, 4001), (3, 443), 2, b"")),
        packet(102, &tcp((3, 443), (1, 4001), 0x12, b"")),
        packet(103, &tcp((1, 4001), (3, 443), 0x10, b"hello")),
        packet(104, &tcp((3, 443), (1, 4001), 0x11, b"bye")),
        packet(105, &tcp((1, 4001), (3, 443), 0x11, b"")),
        packet(106, &tcp((1, 4002), (3, 22), 2, b"")),
        packet(106, &tcp((3, 22), (1, 4002), 0x14, b"")),
        packet(107, &udp((1, 4003), (2, 53), lonely)),
        packet(108, b"\x45"),
    ])
}

const LINES: &str = concat!(
    r#"{"sequence":7,"time":"2026-11-23T21:06:27.000042Z","kind":"deny","verdict":"deny","node":"n","generation":1,"#,
    r#""from":{"kind":"pod","namespace":"app","name":"web-7d9-x","address":"10.0.0.1","port":4000,"workload":{"kind":"Deployment","name":"web"}},"#,
    r#""to":{"kind":"outside","address":"169.254.169.254","port":80},"protocol":"TCP","port":80,"reason":"no-policy","deciding":"egress","about":"metadata-service"}"#,
    "\n",
    r#"{"sequence":1,"node":"n","time":"2026-11-23T21:06:27Z","pod":"10.0.0.1","resolver":"10.0.0.2","transport":"udp","name":"X.Example.com","type":"TXT","verdict":"allow","reason":"answered","rcode":3,"micros":3,"learned":false}"#,
    "\n",
    r#"{"request":{"time":"2026-11-23T21:06:28Z","client":"10.0.0.9:5000","consumer":"key:team-a","host":"llm.example","operation":{"provider":null,"api":"chat","verb":"call","resource":null,"model":"m","stream":false,"reason":"r"},"reason":"allowed","guard":{"score":0.9,"band":"block"},"status":200,"usage":{"input":5,"output":6},"leaks":["github-token"],"bytes_up":1,"bytes_down":2}}"#,
    "\n{\"note\":\"it began\"}\n{\"missed\":3}\n",
    r#"{"ts":1588205199.82437,"uid":"C","id.orig_h":"10.0.1.6","id.orig_p":1,"id.resp_h":"10.0.0.4","id.resp_p":53,"proto":"udp","query":"a.example.com","qtype":16,"rcode":3}"#,
    "\n",
    r#"{"ts":"2026-11-23T21:06:27.000042Z","id_orig_h":"10.0.1.6","id_resp_h":"10.0.0.4","id_resp_p":445,"proto":"tcp","conn_state":"REJ"}"#,
    "\n# a comment\nevil.Example.ORG.\n{\"no\":1}\nnot a name\n{\"time\": 3}",
);

#[test]
fn a_capture_tells_of_answers_and_of_how_connections_ended() {
    let found = read(&sample(), usize::MAX);
    assert_eq!(shown(&found).1, Vec::<String>::new());
    let mut texts = Vec::new();
    for event in &found.events {
        texts.push(match &event.what {
            What::Lookup(it) => format!("{} {} {} {:?}", event.record, it.name, it.kind, it.rcode),
            What::Flow(it) => {
                format!("{} {:?} {} {}/{}", event.record, it.phase, it.port, it.sent, it.received)
            }
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        "file:1 www.example.com 16 Some(3)",
        "file:3 Whole 443 5/3",
        "file:8 Failed 22 0/0",
        "file:10 t1.example.org 1 None",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn the_last_words_of_a_connection_are_no_connection_that_failed() {
    let ends = |side: bool| if side { ((1, 4001), (3, 443)) } else { ((3, 443), (1, 4001)) };
    let said = |second: u32, side: bool, flags: u8, payload: &[u8]| {
        let (from, to) = ends(side);
        packet(second, &tcp(from, to, flags, payload))
    };
    // The server closes, the client too; then acknowledgements, a reset, and what was sent once more.
    let whole = [
        said(100, true, 0x02, b""),
        said(100, false, 0x12, b""),
        said(101, true, 0x18, b"hello"),
        said(102, false, 0x19, b"bye"),
        said(103, true, 0x11, b""),
        said(103, false, 0x10, b""),
        said(104, true, 0x14, b""),
        said(105, false, 0x19, b"bye"),
    ];
    // Of one that began before the capture did, only one side.
    let half = packet(106, &tcp((1, 4002), (4, 443), 0x18, b"more"));
    let mut cut = tcp((1, 4003), (5, 443), 0x18, &[0; 3000]);
    cut[2..4].fill(0);
    let found = read(&capture(&[whole.concat(), half, packet(107, &cut)]), usize::MAX);
    let flows: Vec<_> = found
        .events
        .iter()
        .map(|event| match &event.what {
            What::Flow(it) => (event.record.number, it.phase, it.sent, it.received),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (1, Phase::Whole, 5, 3),
        (8, Phase::Whole, 3, 0),
        (9, Phase::Whole, 4, 0),
        (10, Phase::Whole, 3000, 0),
    ];
    assert_eq!(flows, expected);
}

#[test]
fn a_capture_in_blocks_is_read_as_one_without() {
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    };
    let section = block(0x0a0d_0d0a, b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    let mut blocks = vec![section, block(1, &[101, 0, 0, 0, 0, 0, 0, 0])];
    let mut rest = &sample()[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap());
        let (frame, after) = after.split_at(usize::try_from(length).unwrap());
        let micros = u64::from(u32::from_le_bytes(header[..4].try_into().unwrap())) * 1_000_000;
        let (high, low) = (micros >> 32, micros & 0xffff_ffff);
        let numbers = [0, u32::try_from(high).unwrap(), u32::try_from(low).unwrap(), length, length];
        let padding = [0; 3];
        let padded = &padding[..frame.len().next_multiple_of(4) - frame.len()];
        blocks.push(block(6, &[&numbers.map(u32::to_le_bytes).concat(), frame, padded].concat()));
        rest = after;
    }
    let bytes = blocks.concat();
    assert_eq!(shown(&read(&bytes, usize::MAX)), shown(&read(&sample(), usize::MAX)));
    assert_eq!(shown(&read(&bytes, 7)), shown(&read(&bytes, usize::MAX)));
    let cut = shown(&read(&bytes[..bytes.len() - 1], usize::MAX)).1;
    assert_eq!(cut, ["file:11: the capture ends within a packet"]);
}

#[test]
fn lines_of_all_kinds_are_read_and_those_that_cannot_are_named() {
    let found = read(LINES.as_bytes(), usize::MAX);
    let whats: Vec<_> = found.events.iter().map(|event| (&*event.who, &event.what)).collect();
    let [(web, denied), (_, sign), (pod, asked), (consumer, called), (_, zeek), (_, refused), (list, name)] =
        &whats[..]
    else {
        panic!("{whats:?}")
    };
    assert_eq!((*web, *pod, *consumer, *list), ("app/Deployment/web", "10.0.0.1", "key:team-a", "list"));
    assert!(matches!(denied, What::Flow(flow) if flow.phase == Phase::Failed));
    assert!(matches!(sign, What::Sign(Sign::MetadataService)));
    assert!(
        matches!(asked, What::Lookup(it) if (&*it.name, it.kind, it.rcode) == ("x.example.com", 16, Some(3)))
    );
    let What::Call(called) = called else { panic!("{called:?}") };
    assert_eq!((called.input_tokens, called.output_tokens, called.allowed), (5, 6, true));
    assert_eq!(called.found.iter().map(|it| &*it.rule).collect::<Vec<_>>(), ["github-token"]);
    assert!(called.is_suspicious);
    assert!(matches!(zeek, What::Lookup(it) if it.kind == 16 && it.rcode == Some(3)));
    assert!(matches!(refused, What::Flow(flow) if flow.phase == Phase::Failed && flow.port == 445));
    assert!(matches!(name, What::Lookup(it) if &*it.name == "evil.example.org" && it.rcode.is_none()));
    let unreadable = shown(&found).1;
    assert_eq!(unreadable.len(), 3, "{unreadable:?}");
    for (text, place) in unreadable.iter().zip(["file:10: ", "file:11: ", "file:12: "]) {
        assert!(text.starts_with(place), "{text}");
    }
}

#[test]
fn entries_of_a_ledger_are_read_as_the_records_they_have() {
    let records: Vec<&str> = LINES.lines().take(2).collect();
    let entry = |kind: &str, detail: &str| {
        format!(
            r#"{{"bytes_received":0,"bytes_sent":0,"count":1,"detail":{detail},"destination":"d","id":"i","kind":"{kind}","node":"n","number":4,"source":"s","time":"2026-11-23T21:06:27Z","verdict":"deny"}}"#
        )
    };
    let [flow, dns] = records[..] else { panic!("{records:?}") };
    let (expected, wrong) = shown(&read(records.join("\n").as_bytes(), 7));
    // What is denied towards a place of credentials is a sign besides.
    assert!(wrong.is_empty() && expected.len() == 3, "{wrong:?} {expected:?}");
    let entries =
        [entry("flow", flow), entry("dns", dns), entry("flow", "null"), entry("finding", "{\"a\":1}")];
    let read = read(entries.join("\n").as_bytes(), 7);
    assert_eq!(shown(&read), (expected, vec![]));
}

#[test]
fn times_of_zeek_are_read_in_each_form_and_a_mark_at_the_beginning_is_none_of_a_name() {
    let row = r#"{"ts":TIME,"id.orig_h":"10.0.1.6","id.resp_h":"10.0.0.4","query":"a.example.com","qtype":16,"rcode":null,"answers":null}"#;
    let forms = [
        "1588205199.5",
        "1588205199500",
        "\"1588205199.5\"",
        "\"1588205199500\"",
        "\"2020-04-30T00:06:39.5Z\"",
    ];
    let lines = forms.map(|time| row.replace("TIME", time)).join("\n");
    let found = read(format!("\u{feff}{lines}").as_bytes(), usize::MAX);
    assert_eq!(shown(&found).1, Vec::<String>::new());
    let times: Vec<_> = found.events.iter().map(|event| event.time.0).collect();
    assert_eq!(times, [1_588_205_199_500_000; 5]);
    let names = read(b"\xef\xbb\xbfevil.example\nother.example", usize::MAX);
    assert!(matches!(&names.events[0].what, What::Lookup(it) if &*it.name == "evil.example"));
}

/// Names, types and codes of the lookups.
fn lookups(read: &Read) -> Vec<(String, u16, Option<u16>)> {
    let lookup = |event: &detect::Event| match &event.what {
        What::Lookup(it) => Some((it.name.to_string(), it.kind, it.rcode)),
        _ => None,
    };
    read.events.iter().filter_map(lookup).collect()
}

#[test]
fn lines_of_zeek_are_read_as_collectors_change_them() {
    let row = r#"{"ts":1588205199.5,"id.orig_h":"10.0.1.6","id.resp_h":"10.0.0.4","id.resp_p":53,"query":"a.example.com","qtype":16,"rcode":3,"answers":["b"]}"#;
    let forms = [
        row.to_owned(),
        row.replace("16", "\"16\"").replace(":3", ":\"3\"").replace(":53", ":\"53\"").replace("10.0.1.\"16\"", "10.0.1.16"),
        row.replace(":16", ":16.0").replace(":3,", ":3.0,"),
        row.replace("[\"b\"]", "\"b\""),
        row.replace("id.", "id_"),
        r#"{"ts":1588205199.5,"id":{"orig_h":"10.0.1.6","orig_p":"4000"},"query":"a.example.com","qtype":16,"rcode":3}"#.to_owned(),
        row.replace("\"rcode\":3", "\"rcode_name\":\"NXDOMAIN\""),
    ];
    let expected = vec![("a.example.com".to_owned(), 16, Some(3)); forms.len()];
    let found = read(forms.join("\n").as_bytes(), usize::MAX);
    assert_eq!((lookups(&found), shown(&found).1), (expected.clone(), Vec::new()));
    for array in [format!("[{}]\n", forms.join(",\n")), format!("[\n{}\n]\n", forms.join(",\n"))] {
        let found = read(array.as_bytes(), usize::MAX);
        assert_eq!((lookups(&found), shown(&found).1), (expected.clone(), Vec::new()), "{array}");
    }
    let wrong = [
        r#"{"ts":1,"id.orig_h":"here","id.resp_h":"10.0.0.4","query":"a.example.com"}"#,
        r#"{"ts":1,"id.orig_h":"10.0.1.6","conn_state":"SF"}"#,
        r#"{"ts":null,"id.orig_h":"10.0.1.6","query":"a.example.com"}"#,
    ];
    let said = shown(&read(wrong.join("\n").as_bytes(), usize::MAX)).1;
    for (text, expected) in
        said.iter().zip(["id.orig_h is no address: here", "id.resp_h is missing", "ts is missing"])
    {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(said.len(), wrong.len());
}

#[test]
fn tables_of_zeek_are_read_by_their_line_of_fields() {
    let dns = "#separator \\x09\n#path\tdns\n#fields\tts\tuid\tid.orig_h\tid.resp_h\tquery\tqtype\trcode\tanswers\n#types\ttime\n\
               1588205199.5\tC1\t10.0.1.6\t10.0.0.4\ta.example.com\t16\t3\t-\n1588205199.6\tC2\t10.0.1.6\t10.0.0.4\t-\t-\t-\t-\n#close\tx\n";
    let found = read(dns.as_bytes(), usize::MAX);
    assert_eq!(lookups(&found), [("a.example.com".to_owned(), 16, Some(3))]);
    let conn = "#fields\tts\tid.orig_h\tid.resp_h\tid.resp_p\tproto\tduration\torig_bytes\tresp_bytes\tconn_state\n\
                1588205199.5\t10.0.1.6\t10.0.0.4\t445\ttcp\t1.5\t7\t9\tSF\n";
    let found = read(conn.as_bytes(), usize::MAX);
    assert!(
        matches!(&found.events[..], [one] if matches!(&one.what, What::Flow(it)
            if (it.port, it.sent, it.received, it.duration) == (445, 7, 9, 1_500_000))),
        "{found:?}"
    );
    let other = read(b"#fields\tts\tfuid\n1\tF1\n", usize::MAX);
    assert_eq!((other.events.len(), shown(&other).1.len()), (0, 0), "a log that says nothing of interest");
}

#[test]
fn messages_of_dns_over_tcp_are_read_however_segments_cut_them() {
    let question = |label: &[u8]| {
        [b"\x92\x34\x01\0\0\x01\0\0\0\0\0\0\x02", label, b"\x07example\x03com\0\0\x10\0\x01"].concat()
    };
    let framed =
        |message: &[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    let segment =
        |second: u32, port: u16, payload: &[u8]| packet(second, &tcp((1, port), (2, 53), 0x18, payload));
    let long = [question(b"t5"), vec![0; 40]].concat();
    let found = read(
        &capture(&[
            segment(1, 4000, &[framed(&question(b"t1")), framed(&question(b"t2"))].concat()),
            segment(2, 4001, &framed(&question(b"t3"))[..2]),
            segment(3, 4001, &question(b"t3")),
            segment(4, 4002, &framed(&long)[..40]),
            segment(5, 4002, b"the rest of something, which is no message by itself"),
        ]),
        usize::MAX,
    );
    let mut names: Vec<_> = lookups(&found).into_iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    // Two questions of one port have one number: the second takes the place of the first.
    assert_eq!(names, ["t2.example.com", "t3.example.com", "t5.example.com"]);
}

#[test]
fn frames_below_tags_sessions_and_extensions_are_read() {
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02t1\x07example\x03com\0\0\x10\0\x01";
    let four = udp((1, 4000), (2, 53), question);
    let length = u16::try_from(8 + question.len()).unwrap().to_be_bytes();
    let datagram = [&[0x0f, 0xa0, 0, 53][..], &length, &[0, 0], question].concat();
    let authenticated = [&[17, 4, 0, 0][..], &[7; 20], &datagram].concat();
    let total = u16::try_from(authenticated.len()).unwrap().to_be_bytes();
    let six = [&[0x60, 0, 0, 0, total[0], total[1], 51, 64][..], &[0xfd; 32], &authenticated].concat();
    for (what, kind, rest) in [
        ("three tags", &[0x88, 0xa8][..], [&[0, 1, 0x91, 0, 0, 2, 0x81, 0, 0, 3, 8, 0][..], &four].concat()),
        ("a session", &[0x88, 0x64], [&[0x11, 0, 0, 1, 0, 99, 0, 0x21][..], &four].concat()),
        ("a session of IPv6", &[0x88, 0x64], [&[0x11, 0, 0, 1, 0, 99, 0, 0x57][..], &six].concat()),
        ("an authentication header", &[0x86, 0xdd], six.clone()),
    ] {
        let mut bytes = capture(&[packet(1, &[&[2; 12][..], kind, &rest].concat())]);
        bytes[20] = 1;
        assert_eq!(lookups(&read(&bytes, usize::MAX)), [("t1.example.com".to_owned(), 16, None)], "{what}");
    }
}

#[test]
fn tools_and_leaks_of_the_ingress_gateway_are_read_with_what_became_of_them() {
    let line = r#"{"request":{"time":"2026-11-23T21:06:28Z","client":"10.0.0.9:5000","host":"Tools.example","operation":{"verb":"call"},
        "reason":"forwarded","rule":"InferencePolicy ai/tools","status":200,"leaks":[{"rule":"canary","class":"canary","certain":true,"action":"blocked","count":1}],
        "tools":[{"name":"a\u001bb","sha256":"00ff","standing":"changed","is_quarantined":true},{"name":"c","sha256":"01","standing":"same","is_quarantined":false}]}}"#
        .replace('\n', "");
    // What it says of findings is no record.
    let found = read(format!("{line}\n{{\"finding\":{{\"id\":\"x\"}}}}").as_bytes(), usize::MAX);
    assert_eq!(shown(&found).1, Vec::<String>::new());
    let [call, first, second] = &found.events[..] else { panic!("{found:?}") };
    assert_eq!(call.scene.rule.as_deref(), Some("InferencePolicy ai/tools"));
    let What::Call(call) = &call.what else { panic!("{call:?}") };
    let leaks: Vec<_> = call.found.iter().map(|it| (&*it.rule, it.place, it.fate)).collect();
    assert_eq!(leaks, [("canary", Carrier::Answer, Fate::Blocked)]);
    let tools: Vec<_> = [first, second]
        .into_iter()
        .map(|event| match &event.what {
            What::Tool(it) => (&*it.server, &*it.name, it.has_changed, it.is_quarantined),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tools, [("tools.example", "a?b", true, true), ("tools.example", "c", false, false)]);
}

#[test]
fn what_is_damaged_or_of_another_kind_is_named_with_the_way_out() {
    let whole = sample();
    let other_link = [&whole[..20], &[147, 0, 0, 0][..]].concat();
    let huge = [&whole[..24], &[0xff; 16][..]].concat();
    let long = [vec![b'a'; 3 << 20], b"\nok.example.com\n".to_vec()].concat();
    for (bytes, expected) in [
        (
            &b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1b\x01\0\0\0\xff\xff\xff\xff\0\0\0\0"[..],
            "how its numbers are written",
        ),
        (&whole[..whole.len() - 1], "file:11: the capture ends within a packet"),
        (&whole[..20], "shorter than the header"),
        (&other_link, "link type 147"),
        (&huge, "damaged"),
        (&long, "file:1: the line is longer"),
    ] {
        let errors = shown(&read(bytes, 1000)).1;
        assert!(matches!(&errors[..], [one] if one.contains(expected)), "{expected}: {errors:?}");
    }
    assert_eq!(read(&long, 1000).events.len(), 1, "the line after a long one is read");
}

proptest! {
    #[test]
    fn a_recording_is_read_the_same_however_it_is_split(piece in 1usize..400) {
        for bytes in [sample(), LINES.as_bytes().to_vec()] {
            prop_assert_eq!(shown(&read(&bytes, piece)), shown(&read(&bytes, usize::MAX)));
        }
    }

    #[test]
    fn damage_is_no_panic_and_splitting_changes_nothing(
        at in 0usize..700, byte: u8, cut in 0usize..700, piece in 1usize..100,
    ) {
        for mut bytes in [sample(), LINES.as_bytes().to_vec()] {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len() / 2));
            prop_assert_eq!(shown(&read(&bytes, piece)), shown(&read(&bytes, usize::MAX)));
        }
    }
}
