//! Any bytes from a pod are a question or not, and any bytes from a resolver end in a reply that another implementation can
//! read, that fits what the pod takes, that names no address which a public name must not lead to, and that leaves after
//! what it teaches was asked for.

use dns::address::{Reach, reach};
use dns::answer::Answer;
use dns::engine::{Arrival, Client, Engine, Now};
use dns::question::Question;
use dns::rewrite::rewrite;
use dns::{Pod, Questions, Resolvers, Settings, State};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use policy::{DnsName, DomainPattern, Generation};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 53));

/// Questions whose answers differ: by name, type and EDNS.
const ASKED: [(&[u8], u8, bool); 5] = [
    (b"\x01a\x02io\0", 1, true),
    (b"\x01a\x02io\0", 65, true),
    (b"\x01b\x02io\0", 28, false),
    (b"\x01a\x07cluster\x05local\0", 1, false),
    (b"\x02mx\x03org\0", 15, true),
];

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(question) = Question::read(bytes) {
        let again =
            Question::read(&question.upstream(question.id)).expect("what is asked upstream can be read");
        assert_eq!((&again.name, again.kind, again.flags), (&question.name, question.kind, question.flags));
    }
    let Some((choice, rest)) = bytes.split_first() else { return };
    let (name, kind, edns) = ASKED[usize::from(*choice) % ASKED.len()];
    let query = query(name, kind, edns);
    let question = Question::read(&query).expect("a question");
    let Some(answer) = respond(&question, rest) else { return };
    read_and_rewritten(&question, &answer);
    answered(&query, &question, &answer);
}

fn query(name: &[u8], kind: u8, edns: bool) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    query.extend_from_slice(name);
    query.extend_from_slice(&[0, kind, 0, 1]);
    if edns {
        query.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    }
    query
}

/// A response whose flags, counts and records are the fuzzer's.
fn respond(question: &Question, bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, records) = bytes.split_at_checked(8)?;
    let mut answer = vec![0, 7, 0x80 | head[0] & 0x07, head[1], 0, 1];
    answer.extend_from_slice(&[0, head[2], 0, head[3], 0, head[4]]);
    answer.extend_from_slice(question.name.wire());
    answer.extend_from_slice(&question.kind.0.to_be_bytes());
    answer.extend_from_slice(&[0, 1]);
    answer.extend_from_slice(records);
    Some(answer)
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let all = message.answers.iter().chain(&message.authorities).chain(&message.additionals);
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    all.filter_map(|record| address(&record.data)).collect()
}

fn read_and_rewritten(question: &Question, bytes: &[u8]) {
    let Ok(answer) = Answer::read(bytes, question) else { return };
    if let Ok(other) = Message::from_vec(bytes) {
        assert!(addresses(&other).iter().all(|address| answer.addresses.contains(address)));
    }
    for strip_ech in [false, true] {
        let Ok(written) = rewrite(bytes, strip_ech) else { continue };
        let again = Answer::read(&written, question).expect("what was written can be read");
        assert_eq!((&again.leads, &again.addresses), (&answer.leads, &answer.addresses));
        // Part of the response code stands in the OPT record.
        assert!(again.ttl == answer.ttl || answer.rcode.0 > 15);
        assert_eq!(again.has_ech, answer.has_ech && !strip_ech);
    }
}

fn state() -> State {
    State {
        generation: Generation(1),
        pods: vec![Pod {
            identity: "pod".into(),
            addresses: vec![POD],
            patterns: vec![DomainPattern::parse("*.io").expect("a pattern")],
            questions: Questions::Any,
            resolvers: Resolvers::Any,
        }],
        trusted: vec![vec![RESOLVER]],
        private_zones: vec![DnsName::parse("cluster.local").expect("a name")],
        settings: Settings::default(),
    }
}

fn answered(query: &[u8], question: &Question, answer: &[u8]) {
    let mut engine = Engine::new(1, Box::new(|| 0x0007_0007));
    engine.set_state(state());
    let now = Now { at: Instant::now(), time: observe::Time(0) };
    let client = Client::Udp { peer: SocketAddr::new(POD, 4711), local: RESOLVER };
    engine.query(now, &Arrival { client, pod: POD, resolver: RESOLVER, bytes: query });
    assert_eq!(engine.outbox().asks.len(), 1);
    engine.answer(now, 0, SocketAddr::new(RESOLVER, 53), answer);
    let learns = std::mem::take(&mut engine.outbox().learns);
    if let Some((id, bindings)) = learns.into_iter().next() {
        assert!(engine.outbox().replies.is_empty(), "it waits for what it teaches");
        for binding in &bindings {
            assert!(binding.addresses.iter().all(|it| reach(*it) == Reach::Public));
            assert!(binding.names.iter().all(|it| it.as_str().ends_with(".io")));
            assert!((30..=86_400).contains(&binding.ttl));
        }
        engine.learned(now, id, Ok(30));
    }
    // What is not settled is asked again until there is no more patience.
    while engine.outbox().replies.is_empty() {
        let at = engine.next_timer().expect("somebody waits");
        engine.tick(Now { at, ..now });
    }
    let replies = std::mem::take(&mut engine.outbox().replies);
    let [(_, reply)] = &replies[..] else { panic!("one reply") };
    assert!(reply.len() <= question.udp_limit());
    let inside = question.name.to_string() == "a.cluster.local";
    // Types that the other implementation reads more strictly are passed on as they came.
    if let Ok(message) = Message::from_vec(reply) {
        assert_eq!(message.metadata.id, 7);
        let worst = addresses(&message).into_iter().map(reach).max().unwrap_or(Reach::Public);
        assert!(worst == Reach::Public || inside && worst == Reach::Private, "{message}");
    }
    if reply[7] > 0 {
        let read = Answer::read(reply, question).expect("a reply with records can be read");
        assert!(!read.has_ech);
    }
}
