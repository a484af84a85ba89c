//! The whole proxy over real sockets on the loopback network: resolvers that lie, delay and fail, and an agent of the
//! test's own at the other end of the channel.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

mod support;

use dns::{Addresses, AllowedName, Names, Questions, Reason, Resolvers, Settings, Transport, Verdict};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{NULL, SOA};
use hickory_proto::rr::{RData, Record, RecordType};
use policy::{DomainPattern, Generation};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use support::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_answer_leaves_after_its_names_are_bound_and_not_before() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, |question| {
        let records = vec![record("www.a.io.", 300, "cdn.io."), record("cdn.io.", 120, "192.0.2.7")];
        vec![Act::Send(answer(question, records))]
    });
    let mut world = World::start(state(port, &["*.a.io"]), Binds::WhenTold);
    let pod = world.pod(1, 1);
    pod.send(&question("Www.A.io.", RecordType::A, 5).to_vec().unwrap()).unwrap();
    let bindings = world.next_learn();
    assert_eq!(bindings.len(), 1);
    let binding = &bindings[0];
    assert_eq!((binding.pod, binding.ttl, &binding.addresses), (pod_address(1), 120, &vec![ip("192.0.2.7")]));
    assert_eq!(
        binding.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["www.a.io"],
        "not the alias"
    );
    assert!(is_empty(&pod), "nothing leaves before the binding is in force");
    world.bind(Ok(120));
    let reply = receive(&pod);
    assert_eq!((reply.metadata.id, addresses(&reply)), (5, vec![ip("192.0.2.7")]));
    assert_eq!(reply.queries[0].name().to_ascii(), "Www.A.io.");
    let record = world.next_record();
    assert_eq!((record.reason, record.verdict, record.learned), (Reason::Answered, Verdict::Allow, true));
    assert_eq!((&*record.name, record.upstream), ("www.a.io", Some(resolver_address(1))));
    assert_eq!(record.aliases.iter().map(|it| &**it).collect::<Vec<_>>(), ["cdn.io"]);
    // The same pod again: kept, and known to be bound. The agent is not asked, or this would wait for it.
    assert_eq!(addresses(&world.ask(1, 2, "www.a.io.")), [ip("192.0.2.7")]);
    let record = world.next_record();
    assert_eq!((record.reason, record.learned), (Reason::Cached, true));
    // Another pod has to be bound for itself.
    let other = world.pod(2, 1);
    other.send(&question("www.a.io.", RecordType::A, 6).to_vec().unwrap()).unwrap();
    assert_eq!(world.next_learn()[0].pod, pod_address(2));
    world.bind(Ok(120));
    receive(&other);
}

#[test]
fn names_that_cannot_be_bound_are_not_answered() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &["a.io"]);
    state.settings.learn_ms = 50;
    let mut world = World::start(state, Binds::WhenTold);
    let pod = world.pod(1, 1);
    let ask = |id| pod.send(&question("a.io.", RecordType::A, id).to_vec().unwrap()).unwrap();
    ask(1);
    world.next_learn();
    world.bind(Err("the table is full".to_owned()));
    let reply = receive(&pod);
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (1, ResponseCode::ServFail));
    assert_eq!(extended(&reply), Some((0, Reason::LearnFailed.describe().to_owned())));
    assert_eq!(world.next_record().reason, Reason::LearnFailed);
    // The agent says nothing.
    ask(2);
    assert_eq!(receive(&pod).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(resolver.asked(), 1, "the answer is kept all the same");
    world.bind(Ok(300));
    assert_eq!(world.next_record().reason, Reason::LearnLate);
}

#[test]
fn only_trusted_resolvers_teach_and_only_names_that_policies_speak_of() {
    let port = free_port();
    let _trusted = Resolver::start(1, port, always("192.0.2.7", 300));
    let _own = Resolver::start(3, port, always("192.0.2.8", 300));
    let mut world = World::start(state(port, &["a.io"]), Binds::AtOnce);
    assert_eq!(addresses(&world.ask(1, 3, "a.io.")), [ip("192.0.2.8")], "answers of its own are kept apart");
    assert!(!world.next_record().learned);
    assert_eq!(addresses(&world.ask(1, 1, "b.io.")), [ip("192.0.2.7")]);
    assert!(!world.next_record().learned);
    assert_eq!(addresses(&world.ask(1, 1, "a.io.")), [ip("192.0.2.7")]);
    assert!(world.next_record().learned);
    assert_eq!(world.learns.len(), 1);
}

#[test]
fn what_the_agent_asks_in_a_pods_stead_is_judged_bound_and_recorded_as_the_pods_own() {
    let port = free_port();
    let resolver = Resolver::start(1, port, |question| {
        let records = vec![
            record("www.a.io.", 300, "cdn.io."),
            record("cdn.io.", 120, "192.0.2.7"),
            record("stray.io.", 120, "192.0.2.8"),
        ];
        vec![Act::Send(answer(question, records))]
    });
    let mut state = state(port, &["*.a.io"]);
    let allowed = AllowedName { pattern: DomainPattern::parse("*.a.io").unwrap(), rule: "rule 1".into() };
    state.pods[0].questions =
        Questions::Only(vec![Names { allowed: vec![allowed], otherwise: "rule 2".into() }]);
    let mut world = World::start(state, Binds::AtOnce);
    let found = world.found(7, pod_address(1), "www.a.io");
    assert_eq!((found.reason, found.addresses), (Reason::Answered, vec![ip("192.0.2.7")]), "no stray");
    assert_eq!(found.rule.as_deref(), Some("rule 1"));
    let learned = world.learns.pop().unwrap();
    assert_eq!((learned.pod, learned.addresses), (pod_address(1), vec![ip("192.0.2.7")]));
    let record = world.next_record();
    assert_eq!((record.explicit, record.learned, record.pod), (true, true, pod_address(1)));
    assert_eq!((&*record.name, record.resolver), ("www.a.io", resolver_address(1)));
    assert_eq!(world.found(8, pod_address(1), "www.a.io").reason, Reason::Cached);
    let refused = world.found(9, pod_address(1), "b.io");
    assert_eq!((refused.reason, refused.rule.as_deref()), (Reason::Name, Some("rule 2")));
    assert_eq!(world.found(10, pod_address(9), "www.a.io").reason, Reason::UnknownPod);
    assert_eq!(resolver.asked(), 1);
}

#[test]
fn what_the_agent_asks_is_asked_of_a_resolver_that_the_pod_may_ask_and_by_tcp_where_it_is_long() {
    let port = free_port();
    let _first = Resolver::start(1, port, always("192.0.2.1", 300));
    let second = Resolver::start(2, port, |question| {
        let mut cut = answer(question, Vec::new());
        cut.metadata.truncation = true;
        vec![Act::Send(cut)]
    });
    let mut state = state(port, &[]);
    let only = |last: u8| {
        let allowed = vec![resolver_address(last).into()];
        Resolvers::Only(vec![Addresses { allowed, otherwise: "rule".into() }])
    };
    state.pods[0].resolvers = only(2);
    state.pods[1].resolvers = only(3);
    state.trusted = vec![vec![resolver_address(2)]];
    let mut world = World::start(state.clone(), Binds::AtOnce);
    // Over TCP it is cut as well: nothing can be made of it.
    let found = world.found(1, pod_address(1), "a.io");
    assert_eq!((found.reason, found.addresses), (Reason::UpstreamMalformed, vec![]));
    let transports = [world.next_record().transport, world.next_record().transport];
    assert_eq!((transports, second.asked()), ([Transport::Udp, Transport::Tcp], 2));
    let refused = world.found(2, pod_address(2), "a.io");
    assert_eq!((refused.reason, refused.rule.as_deref()), (Reason::Resolver, Some("rule")));
    state.trusted = vec![vec![resolver_address(1), resolver_address(2)]];
    state.pods[0].resolvers = only(1);
    state.generation = Generation(2);
    world.set_state(state);
    assert_eq!(world.found(3, pod_address(1), "a.io").addresses, [ip("192.0.2.1")]);
}

#[test]
fn who_asks_in_a_pods_stead_without_measure_is_answered_each_time() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &[]);
    (state.settings.pod_rate, state.settings.pod_burst) = (1, 2);
    let mut world = World::start(state, Binds::AtOnce);
    let reasons: Vec<Reason> = (0..40).map(|id| world.found(id, pod_address(1), "a.io").reason).collect();
    assert_eq!(reasons[0], Reason::Answered);
    assert_eq!(reasons[39], Reason::Rate, "{reasons:?}");
}

#[test]
fn refusals_name_the_rule() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &[]);
    state.pods[0].questions = Questions::Only(vec![Names {
        allowed: vec![AllowedName {
            pattern: DomainPattern::parse("*.a.io").unwrap(),
            rule: "rule 1".into(),
        }],
        otherwise: "EgressPolicy train/hub spec.names".into(),
    }]);
    state.pods[0].resolvers = Resolvers::Only(vec![Addresses {
        allowed: vec![resolver_address(1).into()],
        otherwise: "EgressPolicy train/hub dns".into(),
    }]);
    let mut world = World::start(state, Binds::AtOnce);
    let mut check = |resolver, text, code, said: Option<(u16, &str)>, reason, rule: Option<&str>| {
        let reply = world.ask(1, resolver, text);
        assert_eq!(reply.metadata.response_code, code, "{text}");
        assert_eq!(extended(&reply), said.map(|(code, text)| (code, text.to_owned())));
        let record = world.next_record();
        assert_eq!((record.reason, record.rule.as_deref()), (reason, rule));
    };
    let names = "EgressPolicy train/hub spec.names";
    check(1, "b.io.", ResponseCode::Refused, Some((15, names)), Reason::Name, Some(names));
    let dns = "EgressPolicy train/hub dns";
    check(3, "x.a.io.", ResponseCode::Refused, Some((18, dns)), Reason::Resolver, Some(dns));
    assert_eq!(resolver.asked(), 0);
    check(1, "x.a.io.", ResponseCode::NoError, None, Reason::Answered, Some("rule 1"));
    // An address that is no pod's.
    let reply = world.ask(9, 1, "x.a.io.");
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert_eq!(world.next_record().reason, Reason::UnknownPod);
}

#[test]
fn public_names_do_not_lead_inside() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("10.0.0.7", 300));
    let mut world = World::start(state(port, &["*.io", "*.cluster.local"]), Binds::AtOnce);
    assert_eq!(world.ask(1, 1, "a.io.").metadata.response_code, ResponseCode::Refused);
    assert_eq!(world.next_record().reason, Reason::Rebinding);
    assert_eq!(addresses(&world.ask(1, 1, "a.svc.cluster.local.")), [ip("10.0.0.7")]);
    assert_eq!(world.next_record().reason, Reason::Answered);
    resolver.now(always("169.254.169.254", 300));
    assert_eq!(world.ask(1, 1, "b.svc.cluster.local.").metadata.response_code, ResponseCode::Refused);
    // A private address anywhere in the message, next to a public one.
    resolver.now(|question| {
        let mut message = answer(question, vec![record("c.io.", 300, "192.0.2.7")]);
        message.add_additional(record("ns.io.", 300, "fd00::7"));
        vec![Act::Send(message)]
    });
    assert_eq!(world.ask(1, 1, "c.io.").metadata.response_code, ResponseCode::Refused);
    assert_eq!(world.learns.len(), 1, "only the cluster's name was bound");
}

#[test]
fn ech_is_taken_out_and_hints_are_learned() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, |question| {
        let data = b"\0\x01\0\0\x04\0\x04\xc0\0\x02\x07\0\x05\0\x06secret".to_vec();
        let data = RData::Unknown { code: 65.into(), rdata: NULL::with(data) };
        vec![Act::Send(answer(question, vec![Record::from_rdata(name("a.io."), 300, data)]))]
    });
    let mut world = World::start(state(port, &["a.io"]), Binds::AtOnce);
    let pod = world.pod(1, 1);
    pod.send(&question("a.io.", RecordType::HTTPS, 5).to_vec().unwrap()).unwrap();
    let mut buffer = [0; 2048];
    let size = pod.recv(&mut buffer).unwrap();
    assert!(!buffer[..size].windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(Message::from_vec(&buffer[..size]).unwrap().answers.len(), 1);
    assert_eq!(world.next_record().addresses[..], [ip("192.0.2.7")]);
    assert_eq!(world.learns[0].addresses, [ip("192.0.2.7")]);
}

#[test]
fn hints_open_no_address_under_the_name_of_a_target() {
    let port = free_port();
    // The zone of `evil.io` says that its service is at `a.io`, and where that is.
    let _resolver = Resolver::start(1, port, |question| {
        let data = b"\0\x01\x01a\x02io\0\0\x04\0\x04\xc0\0\x02\x07".to_vec();
        let data = RData::Unknown { code: 65.into(), rdata: NULL::with(data) };
        vec![Act::Send(answer(question, vec![Record::from_rdata(name("evil.io."), 300, data)]))]
    });
    let mut world = World::start(state(port, &["a.io"]), Binds::AtOnce);
    let pod = world.pod(1, 1);
    pod.send(&question("evil.io.", RecordType::HTTPS, 5).to_vec().unwrap()).unwrap();
    let mut buffer = [0; 2048];
    let size = pod.recv(&mut buffer).unwrap();
    assert_eq!(Message::from_vec(&buffer[..size]).unwrap().answers.len(), 1);
    assert_eq!(world.next_record().addresses[..], [ip("192.0.2.7")]);
    assert!(world.learns.is_empty(), "{:?}", world.learns);
}

#[test]
fn another_trusted_resolver_stands_in() {
    let port = free_port();
    let first = Resolver::start(1, port, silent);
    let second = Resolver::start(2, port, always("192.0.2.7", 0));
    let mut state = state(port, &[]);
    state.settings.retry_ms = 20;
    let mut world = World::start(state, Binds::AtOnce);
    for _ in 0..5 {
        assert_eq!(addresses(&world.ask(1, 1, "a.io.")), [ip("192.0.2.7")]);
        assert_eq!(world.next_record().upstream, Some(resolver_address(2)));
    }
    assert!(first.asked() <= 4, "it is not waited for each time: {}", first.asked());
    // One that fails is stood in for at once.
    second.now(failing(ResponseCode::ServFail));
    first.now(always("192.0.2.8", 0));
    assert_eq!(addresses(&world.ask(1, 2, "b.io.")), [ip("192.0.2.8")]);
}

#[test]
fn a_resolver_of_the_pods_own_has_no_substitute() {
    let port = free_port();
    let trusted = Resolver::start(1, port, always("192.0.2.7", 300));
    let _own = Resolver::start(3, port, silent);
    let mut state = state(port, &[]);
    (state.settings.retry_ms, state.settings.deadline_ms) = (10, 100);
    let mut world = World::start(state, Binds::AtOnce);
    let reply = world.ask(1, 3, "a.io.");
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended(&reply).unwrap().0, 22);
    assert_eq!(world.next_record().reason, Reason::UpstreamSilent);
    assert_eq!(trusted.asked(), 0);
}

#[test]
fn spoofed_answers_are_not_believed() {
    let port = free_port();
    let resolver = Resolver::start(1, port, move |question| {
        let forged = |id: u16, text: &str| {
            let mut message = answer(question, vec![record(text, 300, "203.0.113.66")]);
            message.metadata.id = id;
            if text != "a.io." {
                message.queries[0].set_name(name(text));
            }
            message
        };
        let id = question.metadata.id;
        vec![
            Act::Send(forged(id.wrapping_add(1), "a.io.")),
            Act::Send(forged(id, "b.io.")),
            Act::SendFrom(SocketAddr::new(resolver_address(4), port), forged(id, "a.io.")),
            Act::SendFrom(SocketAddr::new(resolver_address(1), 0), forged(id, "a.io.")),
            Act::Raw(vec![0; 11]),
            Act::Send(answer(question, vec![record("a.io.", 0, "192.0.2.7")])),
        ]
    });
    let mut world = World::start(state(port, &["*.io", "a.io"]), Binds::AtOnce);
    let mut ports = HashSet::new();
    for _ in 0..20 {
        assert_eq!(addresses(&world.ask(1, 1, "a.io.")), [ip("192.0.2.7")]);
    }
    ports.extend(resolver.ports.lock().unwrap().iter().copied());
    assert!(ports.len() > 5, "questions come from many ports: {ports:?}");
    assert_eq!(world.counters(|it| it.stray == 100).stray, 100);
}

#[test]
fn loops_and_garbage_of_a_resolver_end_in_an_answer() {
    let port = free_port();
    let resolver = Resolver::start(1, port, |question| {
        let records = vec![record("a.io.", 300, "b.io."), record("b.io.", 300, "a.io.")];
        vec![Act::Send(answer(question, records))]
    });
    let mut state = state(port, &["a.io"]);
    state.trusted[0].truncate(1);
    let mut world = World::start(state, Binds::AtOnce);
    let reply = world.ask(1, 1, "a.io.");
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 2));
    assert!(!world.next_record().learned);
    resolver.now(|question| {
        let mut bytes = answer(question, vec![record("c.io.", 300, "192.0.2.7")]).to_vec().unwrap();
        bytes.extend_from_slice(b"behind its end");
        vec![Act::Raw(bytes)]
    });
    let reply = world.ask(1, 1, "c.io.");
    assert_eq!((reply.metadata.response_code, extended(&reply).unwrap().0), (ResponseCode::ServFail, 23));
    assert_eq!(world.next_record().reason, Reason::UpstreamMalformed);
    assert_eq!(world.learns.len(), 0);
}

#[test]
fn kept_answers_are_given_again_and_lifetimes_are_those_of_the_protocol() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut world = World::start(state(port, &["*.io"]), Binds::AtOnce);
    for _ in 0..3 {
        let reply = world.ask(1, 1, "a.io.");
        assert!((290..=300).contains(&reply.answers[0].ttl));
    }
    assert_eq!(resolver.asked(), 1);
    // None at all, and one that counts as none: asked each time, bound for the floor.
    for ttl in [0, 1 << 31] {
        resolver.now(always("192.0.2.7", ttl));
        let text = format!("t{ttl}.io.");
        let before = resolver.asked();
        for _ in 0..2 {
            assert_eq!(world.ask(1, 1, &text).answers[0].ttl, 0);
        }
        assert_eq!(resolver.asked(), before + 2);
        world.next_learn();
        let record = loop {
            let record = world.next_record();
            if *record.name == *text.trim_end_matches('.') {
                break record;
            }
        };
        assert_eq!((record.reason, record.learned), (Reason::Answered, true));
        assert_eq!(world.learns.last().unwrap().ttl, 30);
    }
    // That there is no such name is kept too.
    resolver.now(|question| {
        let mut message = answer(question, Vec::new());
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(name("ns.io."), name("root.io."), 1, 2, 3, 4, 60);
        message.add_authority(Record::from_rdata(name("io."), 600, RData::SOA(soa)));
        vec![Act::Send(message)]
    });
    let before = resolver.asked();
    for _ in 0..3 {
        assert_eq!(world.ask(1, 1, "none.io.").metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(resolver.asked(), before + 1);
}

#[test]
fn known_names_go_on_being_answered_when_all_resolvers_are_silent() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 1));
    let mut state = state(port, &["a.io"]);
    state.trusted[0].truncate(1);
    // It asks as fast as it can.
    let (pod_rate, pod_burst) = (1_000_000, 1_000_000);
    state.settings = Settings {
        stale_after_ms: 20,
        deadline_ms: 200,
        retry_ms: 50,
        pod_rate,
        pod_burst,
        ..state.settings
    };
    let world = World::start(state, Binds::AtOnce);
    world.ask(1, 1, "a.io.");
    resolver.now(silent);
    // The kept answer runs out while this asks.
    let stale = loop {
        let reply = world.ask(1, 1, "a.io.");
        if extended(&reply).is_some() {
            break reply;
        }
    };
    assert_eq!(extended(&stale).unwrap().0, 3);
    assert_eq!((addresses(&stale), stale.answers[0].ttl), (vec![ip("192.0.2.7")], 30));
    let unknown = world.ask(1, 1, "b.io.");
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended(&unknown).unwrap().0, 22);
    resolver.now(always("192.0.2.9", 300));
    loop {
        let reply = world.ask(1, 1, "a.io.");
        if addresses(&reply) == [ip("192.0.2.9")] {
            break;
        }
        assert_eq!(extended(&reply).unwrap().0, 3);
    }
}

#[test]
fn equal_questions_travel_once() {
    let port = free_port();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let resolver = Resolver::start(1, port, move |question| {
        held.lock().unwrap().recv().unwrap();
        always("192.0.2.7", 0)(question)
    });
    let mut state = state(port, &[]);
    (state.settings.retry_ms, state.settings.deadline_ms) = (20_000, 20_000);
    let mut world = World::start(state, Binds::AtOnce);
    let pods: Vec<_> = (0..10).map(|at| world.pod(1 + at % 2, 1 + at % 2)).collect();
    for (pod, id) in pods.iter().zip(0..) {
        let message = question("a.io.", RecordType::A, id).to_vec().unwrap();
        pod.send(&message).unwrap();
        // Sent again, as clients do: it has one reply.
        pod.send(&message).unwrap();
    }
    let counters = world.counters(|it| it.waiting == 10 && it.dropped == 10);
    assert_eq!(counters.asked, 1);
    release.send(()).unwrap();
    for (pod, id) in pods.iter().zip(0..) {
        assert_eq!(receive(pod).metadata.id, id);
    }
    assert!(pods.iter().all(is_empty));
    assert_eq!(resolver.asked(), 1);
}

#[test]
fn a_pod_that_floods_is_refused_and_others_are_answered() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &[]);
    (state.settings.pod_rate, state.settings.pod_burst) = (1, 10);
    let mut world = World::start(state, Binds::AtOnce);
    let flood = world.pod(1, 1);
    for id in 0..500 {
        flood.send(&question("a.io.", RecordType::A, id).to_vec().unwrap()).unwrap();
    }
    for _ in 0..5 {
        assert_eq!(addresses(&world.ask(2, 1, "a.io.")), [ip("192.0.2.7")]);
    }
    let counters = world.counters(|it| it.dropped > 400);
    let refused = counters.queries[&Reason::Rate];
    assert!((10..20).contains(&refused), "refused {refused}");
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(receive(&flood).metadata.response_code);
    }
    assert!(codes.contains(&ResponseCode::NoError) && codes.contains(&ResponseCode::Refused));
}

#[test]
fn a_pod_has_so_many_questions_under_way_and_no_more() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, silent);
    let mut state = state(port, &[]);
    state.settings.pod_waiting = 5;
    let mut world = World::start(state, Binds::AtOnce);
    let pod = world.pod(1, 1);
    for id in 0..8 {
        pod.send(&question(&format!("n{id}.io."), RecordType::A, id).to_vec().unwrap()).unwrap();
    }
    let refused: HashSet<u16> = (0..3).map(|_| receive(&pod).metadata.id).collect();
    assert_eq!(refused, HashSet::from([5, 6, 7]));
    assert_eq!(world.counters(|it| it.waiting == 5).queries[&Reason::Rate], 3);
}

#[test]
fn a_pod_whose_resolver_takes_connections_and_says_nothing_keeps_nobody_from_others() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let _mute = TcpListener::bind((resolver_address(3), port)).unwrap();
    let mut state = state(port, &[]);
    (state.settings.retry_ms, state.settings.deadline_ms) = (15_000, 15_000);
    let mut world = World::start(state, Binds::AtOnce);
    let mut flood: Vec<_> = (0..3).map(|_| world.connect(1, 3)).collect();
    for (at, stream) in flood.iter_mut().enumerate() {
        for id in 0..60 {
            let name = format!("n{id}.c{at}.io.");
            stream.write_all(&framed(&question(&name, RecordType::A, id).to_vec().unwrap())).unwrap();
        }
    }
    world.counters(|it| it.asked == 180);
    let mut other = world.connect(2, 1);
    other.write_all(&framed(&question("a.io.", RecordType::A, 1).to_vec().unwrap())).unwrap();
    let answered = Message::from_vec(&read_framed(&mut other)).unwrap();
    assert_eq!(addresses(&answered), [ip("192.0.2.7")]);
    for stream in &mut flood {
        stream.set_nonblocking(true).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err(), "it was answered while the flood waits");
    }
}

#[test]
fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let port = free_port();
    // About sixty-four kilobytes, written by hand: it takes the other implementation seconds.
    let mut most = question("big.org.", RecordType::A, 0);
    most.edns = None;
    let mut most = most.to_vec().unwrap();
    (most[2], most[6], most[7]) = (0x81, 0x0f, 0xa0);
    for at in 0..4000_u32 {
        let [_, _, c, d] = at.to_be_bytes();
        most.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 198, 51, c, d]);
    }
    let resolver = Resolver::start(1, port, move |question| {
        let mut most = most.clone();
        most[..2].copy_from_slice(&question.metadata.id.to_be_bytes());
        vec![Act::Raw(most)]
    });
    let mut state = state(port, &["*.io"]);
    state.pods[1].patterns.push(DomainPattern::parse("big.org").unwrap());
    let mut world = World::start(state, Binds::AtOnce);
    let mut stream = world.connect(1, 1);
    // One after the other without waiting, the second in two parts.
    let ask = |id| framed(&question("big.org.", RecordType::A, id).to_vec().unwrap());
    let second = ask(2);
    stream.write_all(&[ask(1), second[..10].to_vec()].concat()).unwrap();
    let first = read_framed(&mut stream);
    stream.write_all(&second[10..]).unwrap();
    assert!(first.len() > 60_000, "{:?}", Message::from_vec(&first).unwrap());
    assert_eq!(addresses(&Message::from_vec(&first).unwrap()).len(), 4000);
    assert_eq!(Message::from_vec(&read_framed(&mut stream)).unwrap().metadata.id, 2);
    let record = world.next_record();
    assert_eq!((record.transport, record.addresses.len()), (Transport::Tcp, 64));
    // More than can be bound for a pod whose policies speak of it.
    let mut other = world.connect(2, 1);
    other.write_all(&ask(3)).unwrap();
    let refused = Message::from_vec(&read_framed(&mut other)).unwrap();
    assert_eq!(refused.metadata.response_code, ResponseCode::ServFail);
    // Kept, and too long for a datagram.
    let cut = world.ask(1, 1, "big.org.");
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(resolver.asked(), 1);
    // Truncated upstream: the pod hears so, and nothing is learned from a part.
    resolver.now(|question| {
        let mut message = answer(question, vec![record_of(question)]);
        message.metadata.truncation = true;
        vec![Act::Send(message)]
    });
    let cut = world.ask(1, 1, "cut.io.");
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(world.learns.len(), 0);
    // Over a connection the resolver sends all of it.
    resolver.now(|question| vec![Act::Send(answer(question, vec![record_of(question)]))]);
    stream.write_all(&framed(&question("cut.io.", RecordType::A, 3).to_vec().unwrap())).unwrap();
    assert_eq!(addresses(&Message::from_vec(&read_framed(&mut stream)).unwrap()).len(), 1);
    // The pod ends its side; the proxy ends the connection.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

fn record_of(question: &Message) -> Record {
    record(&question.queries[0].name().to_ascii(), 300, "192.0.2.7")
}

#[test]
fn connections_of_a_pod_are_bounded() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &[]);
    state.settings.pod_connections = 2;
    let mut world = World::start(state, Binds::AtOnce);
    let mut open: Vec<_> = (0..2).map(|_| world.connect(1, 1)).collect();
    for stream in &mut open {
        stream.write_all(&framed(&question("a.io.", RecordType::A, 1).to_vec().unwrap())).unwrap();
        read_framed(stream);
    }
    let mut third = world.connect(1, 1);
    assert_eq!(third.read(&mut [0; 1]).unwrap_or_default(), 0, "it is closed");
    world.counters(|it| it.connections_refused == 1);
    let mut other = world.connect(2, 1);
    other.write_all(&framed(&question("a.io.", RecordType::A, 1).to_vec().unwrap())).unwrap();
    read_framed(&mut other);
}

#[test]
fn nothing_is_answered_before_there_is_a_state() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut world = World::without_state(state(port, &[]), Binds::AtOnce, None);
    let reply = world.ask(1, 1, "a.io.");
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended(&reply), Some((14, Reason::NotReady.describe().to_owned())));
    assert_eq!(resolver.asked(), 0);
    world.set_state(world.state.clone());
    assert_eq!(addresses(&world.ask(1, 1, "a.io.")), [ip("192.0.2.7")]);
}

#[test]
fn another_state_holds_for_what_waits_already() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut world = World::start(state(port, &["a.io"]), Binds::WhenTold);
    let pod = world.pod(1, 1);
    pod.send(&question("a.io.", RecordType::A, 1).to_vec().unwrap()).unwrap();
    world.next_learn();
    let mut closed = world.state.clone();
    closed.generation = Generation(2);
    closed.pods[0].questions =
        Questions::Only(vec![Names { allowed: Vec::new(), otherwise: "closed".into() }]);
    // The agent is within `learn`, so it hears that the state is in force only afterwards; the proxy reads in order.
    world.proxy.as_ref().unwrap().set_state(closed).unwrap();
    world.bind(Ok(300));
    let reply = receive(&pod);
    assert_eq!(
        (reply.metadata.response_code, extended(&reply)),
        (ResponseCode::Refused, Some((15, "closed".into())))
    );
}

#[test]
fn queries_wait_in_the_sockets_while_the_proxy_starts_again() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut world = World::start(state(port, &["a.io"]), Binds::AtOnce);
    world.ask(1, 1, "a.io.");
    world.stop();
    let pods: Vec<_> = (0..200).map(|_| world.pod(1, 1)).collect();
    for (pod, id) in pods.iter().zip(0..) {
        pod.send(&question("a.io.", RecordType::A, id).to_vec().unwrap()).unwrap();
    }
    let mut stream = world.connect(2, 1);
    stream.write_all(&framed(&question("a.io.", RecordType::A, 9).to_vec().unwrap())).unwrap();
    // Those that it reads before its state comes are told so. That must not be: the state comes first.
    world.restart(Binds::AtOnce);
    for pod in &pods {
        assert_eq!(addresses(&receive(pod)), [ip("192.0.2.7")]);
    }
    assert_eq!(addresses(&Message::from_vec(&read_framed(&mut stream)).unwrap()), [ip("192.0.2.7")]);
}

#[test]
fn without_an_agent_what_is_bound_is_answered_and_the_next_agent_takes_over() {
    let port = free_port();
    let resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let folder = std::env::temp_dir().join(format!("cofferdam-dns-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("control");
    let mut world = World::without_state(state(port, &["*.io"]), Binds::AtOnce, Some(&path));
    world.set_state(world.state.clone());
    world.ask(1, 1, "a.io.");
    assert!(dns::Proxy::adopt(&path, Nobody).unwrap().is_none(), "it is led already");
    // The agent dies: its end of the channel closes, and so do its sockets.
    drop(world.proxy.take());
    world.sockets = handover::Sockets::default();
    world.shut();
    assert_eq!(addresses(&world.ask(1, 1, "a.io.")), [ip("192.0.2.7")]);
    let unknown = world.ask(1, 1, "b.io.");
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    world.adopt(&path, Binds::AtOnce);
    world.set_state(world.state.clone());
    assert_eq!(addresses(&world.ask(1, 1, "b.io.")), [ip("192.0.2.7")]);
    // A proxy of the next version, with the same sockets.
    world.stop();
    resolver.now(always("192.0.2.8", 300));
    world.restart(Binds::AtOnce);
    assert_eq!(addresses(&world.ask(1, 1, "c.io.")), [ip("192.0.2.8")]);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// An agent that nothing is told.
struct Nobody;

impl dns::Agent for Nobody {
    fn learn(&mut self, _: &[dns::Binding]) -> Vec<Result<u32, String>> {
        Vec::new()
    }
    fn records(&mut self, _: Vec<dns::Query>) {}
    fn counters(&mut self, _: dns::Counters) {}
    fn in_force(&mut self, _: Generation) {}
    fn ended(&mut self, _: &str) {}
}

#[test]
fn a_flood_of_garbage_harms_nobody() {
    let port = free_port();
    let _resolver = Resolver::start(1, port, always("192.0.2.7", 300));
    let mut state = state(port, &[]);
    (state.settings.pod_rate, state.settings.pod_burst) = (1_000_000, 1_000_000);
    let mut world = World::start(state, Binds::AtOnce);
    let pod = world.pod(1, 1);
    let good = question("a.io.", RecordType::A, 1).to_vec().unwrap();
    let mut sent = 0;
    for at in 0..good.len() {
        for value in [0, 0x0c, 0x3f, 0x40, 0x80, 0xc0, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            pod.send(&bytes).unwrap();
            pod.send(&bytes[..at]).unwrap();
            sent += 2;
        }
        // Each is answered, refused or dropped before the next.
        assert_eq!(addresses(&world.ask(2, 1, "a.io.")), [ip("192.0.2.7")]);
    }
    let total = |it: &dns::Counters| it.dropped + it.queries.values().sum::<u64>() + it.waiting;
    let counters = world.counters(|it| total(it) >= sent + good.len() as u64);
    assert!(counters.queries[&Reason::Malformed] > 50 && counters.dropped > 50);
    let mut buffer = [0; 4096];
    pod.set_nonblocking(true).unwrap();
    while let Ok(size) = pod.recv(&mut buffer) {
        assert!(size <= 12 + 11 || size >= good.len(), "a header, or an answer to a question");
    }
}
