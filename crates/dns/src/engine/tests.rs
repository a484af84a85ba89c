//! Ways of queries with a clock of the test's own.

use super::*;
use crate::answer::tests::{address, alias, record};
use crate::question::tests::query as ask_for;
use crate::state::{Names, Pod, Questions, Resolvers};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name as HickoryName, RData, Record};
use policy::{DnsName, DomainPattern};
use std::time::Duration;

const POD: &str = "10.0.0.1";
const FIRST: &str = "10.96.0.1";
const SECOND: &str = "10.96.0.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Bench {
    engine: Engine,
    now: Now,
    id: u16,
}

impl Bench {
    fn new(change: impl Fn(&mut State)) -> Self {
        let mut counter = 0_u32;
        let mut bench = Self {
            // Numbers in a row: what is hard to guess is not this test's.
            engine: Engine::new(
                4,
                Box::new(move || {
                    counter += 1;
                    counter.rotate_right(16)
                }),
            ),
            now: Now { at: Instant::now(), time: Time(0) },
            id: 0,
        };
        bench.set_state(1, change);
        bench
    }

    fn set_state(&mut self, generation: u64, change: impl Fn(&mut State)) {
        let mut state = State {
            generation: Generation(generation),
            pods: vec![Pod {
                identity: "a".into(),
                addresses: vec![ip(POD)],
                patterns: vec![DomainPattern::parse("*.io").unwrap()],
                questions: Questions::Any,
                resolvers: Resolvers::Any,
            }],
            trusted: vec![vec![ip(FIRST), ip(SECOND)]],
            private_zones: vec![DnsName::parse("cluster.local").unwrap()],
            settings: Settings::default(),
        };
        change(&mut state);
        self.engine.set_state(state);
    }

    fn ask(&mut self, name: &str) -> u16 {
        self.ask_of(FIRST, name)
    }

    fn ask_of(&mut self, resolver: &str, name: &str) -> u16 {
        self.id += 1;
        let mut message = ask_for(name, 1);
        message.metadata.id = self.id;
        let bytes = message.to_vec().unwrap();
        let resolver = ip(resolver);
        let client = Client::Udp { peer: SocketAddr::new(ip(POD), 999), local: resolver };
        self.engine.query(self.now, &Arrival { client, pod: ip(POD), resolver, bytes: &bytes });
        self.id
    }

    /// Whom the engine asked since the last look.
    fn asked(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.engine.outbox().asks)
    }

    fn answer(&mut self, ask: &Ask, records: Vec<Record>) {
        self.answer_with(ask, ResponseCode::NoError, records);
    }

    fn answer_with(&mut self, ask: &Ask, code: ResponseCode, records: Vec<Record>) {
        self.answer_saying(ask, code, records, Vec::new());
    }

    fn answer_saying(
        &mut self,
        ask: &Ask,
        code: ResponseCode,
        records: Vec<Record>,
        authorities: Vec<Record>,
    ) {
        let mut message = Message::from_vec(&ask.bytes).unwrap();
        message.metadata.message_type = MessageType::Response;
        message.metadata.response_code = code;
        message.add_answers(records);
        message.add_authorities(authorities);
        self.engine.answer(self.now, ask.socket, ask.server, &message.to_vec().unwrap());
    }

    /// Lets time pass, with everything that is due on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now.at + time;
        while let Some(at) = self.engine.next_timer().filter(|at| *at <= until) {
            self.now.at = at;
            self.engine.tick(self.now);
        }
        self.now.at = until;
    }

    /// Replies since the last look, as number, code and count of records, and the reasons of their records.
    fn replies(&mut self) -> Vec<(u16, ResponseCode, usize, Reason)> {
        let replies = std::mem::take(&mut self.engine.outbox().replies);
        let records = std::mem::take(&mut self.engine.outbox().records);
        assert_eq!(replies.len(), records.len(), "one record for each reply");
        let read = |(_, bytes): &(Client, Vec<u8>)| Message::from_vec(bytes).unwrap();
        let both = replies.iter().map(read).zip(&records);
        both.map(|(it, record)| (it.metadata.id, it.metadata.response_code, it.answers.len(), record.reason))
            .collect()
    }

    fn learns(&mut self) -> Vec<(u64, Vec<Binding>)> {
        std::mem::take(&mut self.engine.outbox().learns)
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn good(name: &str, ttl: u32) -> Vec<Record> {
    vec![record(name, ttl, address("192.0.2.1"))]
}

/// A zone that says for so many seconds that there is nothing.
fn start(seconds: u32) -> RData {
    let name = || HickoryName::from_ascii("ns.org.").unwrap();
    RData::SOA(SOA::new(name(), name(), 1, 2, 3, 4, seconds))
}

#[test]
fn a_silent_resolver_is_followed_by_another_and_a_late_answer_still_counts() {
    let mut bench = Bench::new(|_| {});
    let id = bench.ask("a.org.");
    let first = bench.asked();
    assert_eq!(first[0].server, SocketAddr::new(ip(FIRST), 53));
    bench.pass(Duration::from_millis(700));
    let second = bench.asked();
    assert_eq!(second[0].server.ip(), ip(SECOND));
    assert_ne!(first[0].bytes[..2], second[0].bytes[..2], "another number");
    bench.answer(&first[0], good("a.org.", 60));
    assert_eq!(bench.replies(), [(id, ResponseCode::NoError, 1, Reason::Answered)]);
    bench.answer(&second[0], good("a.org.", 60));
    assert_eq!((bench.replies(), bench.engine.counters().stray), (Vec::new(), 1));
}

#[test]
fn a_query_fails_after_its_deadline_and_nothing_is_left_of_it() {
    let mut bench = Bench::new(|_| {});
    let id = bench.ask("a.org.");
    bench.pass(secs(4));
    assert_eq!(bench.replies(), [(id, ResponseCode::ServFail, 0, Reason::UpstreamSilent)]);
    assert_eq!(bench.asked().len(), 5);
    let counters = bench.engine.counters();
    assert_eq!((counters.waiting, bench.engine.next_timer()), (0, None));
    assert!(!bench.engine.is_socket_in_use(0) && !bench.engine.is_socket_in_use(1));
}

#[test]
fn an_answer_is_waited_for_until_it_is_bound_and_asked_for_again_when_that_ends() {
    let mut bench = Bench::new(|_| {});
    let id = bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 20));
    assert_eq!(bench.replies(), []);
    let [(request, bindings)] = &bench.learns()[..] else { panic!("one request") };
    assert_eq!((bindings.len(), bindings[0].ttl), (1, 30), "the floor");
    bench.engine.learned(bench.now, *request, Ok(30));
    assert_eq!(bench.replies(), [(id, ResponseCode::NoError, 1, Reason::Answered)]);
    // Kept and bound for long enough: nobody is asked.
    bench.pass(secs(15));
    bench.ask("a.io.");
    assert_eq!(bench.replies()[0].3, Reason::Cached);
    // Kept, and the binding ends in less than half of the floor.
    bench.pass(secs(1));
    bench.ask("a.io.");
    assert_eq!((bench.replies().len(), bench.learns().len()), (0, 1));
    // The agent does not answer, and what is bound is bound for fourteen seconds more.
    bench.pass(secs(2));
    assert_eq!(bench.replies()[0].3, Reason::Cached);
    bench.pass(secs(12));
    bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 20));
    bench.pass(secs(2));
    assert_eq!(bench.replies()[0].3, Reason::LearnLate);
}

#[test]
fn what_of_an_answer_is_open_is_given_while_nobody_opens_the_rest() {
    let mut bench = Bench::new(|_| {});
    let rotated =
        |last: [u8; 2]| last.map(|last| record("a.io.", 1, address(&format!("192.0.2.{last}")))).to_vec();
    bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], rotated([1, 2]));
    let learns = bench.learns();
    bench.engine.learned(bench.now, learns[0].0, Ok(30));
    bench.replies();
    let mut next = |last, expected: (usize, Reason)| {
        bench.pass(secs(2));
        bench.ask("a.io.");
        let ask = bench.asked();
        bench.answer(&ask[0], rotated(last));
        let learns = bench.learns();
        bench.engine.learned(bench.now, learns[0].0, Err("nobody is there".to_owned()));
        let replies = bench.replies();
        assert_eq!((replies[0].2, replies[0].3), expected);
    };
    next([2, 3], (1, Reason::Partial));
    next([3, 4], (0, Reason::LearnFailed));
}

#[test]
fn requests_for_the_same_answer_are_one() {
    let mut bench = Bench::new(|_| {});
    let one = bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 60));
    let two = bench.ask("a.io.");
    let learns = bench.learns();
    assert_eq!((learns.len(), bench.asked().len()), (1, 0));
    bench.engine.learned(bench.now, learns[0].0, Ok(60));
    let replies = bench.replies();
    assert_eq!((replies[0].0, replies[1].0), (one, two));
}

#[test]
fn what_a_pod_before_had_bound_is_not_known_for_its_successor() {
    let mut bench = Bench::new(|_| {});
    bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 600));
    let learns = bench.learns();
    bench.engine.learned(bench.now, learns[0].0, Ok(600));
    bench.set_state(2, |_| {});
    bench.ask("a.io.");
    assert_eq!(bench.learns().len(), 0, "the same pod");
    bench.set_state(3, |state| state.pods[0].identity = "b".into());
    bench.ask("a.io.");
    assert_eq!(bench.learns().len(), 1, "another with its address");
    bench.engine.forget_bindings();
}

#[test]
fn old_answers_are_given_after_a_while_and_at_once_when_all_resolvers_are_known_to_be_silent() {
    let mut bench = Bench::new(|state| state.pods[0].patterns.clear());
    bench.ask("a.org.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.org.", 60));
    bench.replies();
    bench.pass(secs(100));
    bench.ask("a.org.");
    bench.pass(Duration::from_millis(1799));
    assert_eq!(bench.replies(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.replies()[0].3, Reason::Stale);
    bench.pass(secs(3));
    // By now both were silent often enough.
    for _ in 0..2 {
        bench.ask("b.org.");
        bench.pass(secs(4));
    }
    bench.replies();
    bench.asked();
    bench.ask("a.org.");
    assert_eq!(bench.replies()[0].3, Reason::Stale);
    let probe = bench.asked();
    assert_eq!(probe.len(), 1, "one is asked all the same");
    bench.answer(&probe[0], good("a.org.", 60));
    bench.ask("a.org.");
    assert_eq!(bench.replies()[0].3, Reason::Cached);
    bench.pass(secs(60 + 86_400));
    bench.ask("a.org.");
    bench.pass(secs(4));
    assert_eq!(bench.replies()[0].3, Reason::UpstreamSilent, "too old");
}

#[test]
fn an_old_answer_is_open_for_as_long_as_the_pod_sees_it() {
    let mut bench = Bench::new(|state| state.settings.binding_floor = 1);
    bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 1));
    let learns = bench.learns();
    bench.engine.learned(bench.now, learns[0].0, Ok(1));
    bench.pass(secs(100));
    for _ in 0..2 {
        bench.replies();
        // The second time what was bound at the first does not last for another thirty seconds.
        bench.pass(secs(5));
        bench.ask("a.io.");
        bench.pass(Duration::from_millis(1800));
        let learns = bench.learns();
        assert_eq!((bench.replies().len(), learns.len(), learns[0].1[0].ttl), (0, 1, 30));
        bench.engine.learned(bench.now, learns[0].0, Ok(30));
        assert_eq!(bench.replies()[0].3, Reason::Stale);
    }
}

#[test]
fn no_answer_is_shown_or_asked_to_be_bound_for_longer_than_a_day() {
    let mut bench = Bench::new(|_| {});
    bench.ask("a.io.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.io.", 200_000));
    let learns = bench.learns();
    assert_eq!(learns[0].1[0].ttl, 86_400);
    bench.engine.learned(bench.now, learns[0].0, Ok(86_400));
    bench.pass(secs(400));
    bench.ask("a.io.");
    assert_eq!(bench.learns().len(), 0, "it is bound for as long as the pod believes it");
    let replies = std::mem::take(&mut bench.engine.outbox().replies);
    let shown = |(_, bytes): &(Client, Vec<u8>)| Message::from_vec(bytes).unwrap().answers[0].ttl;
    assert_eq!(replies.iter().map(shown).collect::<Vec<_>>(), [86_400, 86_000]);
}

#[test]
fn who_lost_trust_on_the_way_teaches_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.ask("a.io.");
    let first = bench.asked();
    bench.set_state(2, |state| state.trusted = vec![vec![ip(SECOND)]]);
    bench.answer(&first[0], good("a.io.", 60));
    assert_eq!((bench.learns().len(), bench.replies().len()), (0, 0));
    let second = bench.asked();
    assert_eq!(second[0].server.ip(), ip(SECOND));
    bench.answer(&second[0], good("a.io.", 60));
    assert_eq!(bench.learns().len(), 1);
}

#[test]
fn a_failure_is_remembered_for_a_second_and_does_not_replace_an_answer() {
    let mut bench = Bench::new(|state| state.trusted[0].truncate(1));
    bench.ask("a.org.");
    let ask = bench.asked();
    bench.answer_with(&ask[0], ResponseCode::Refused, Vec::new());
    assert_eq!(bench.replies()[0].1, ResponseCode::Refused);
    bench.ask("a.org.");
    assert_eq!((bench.replies()[0].1, bench.asked().len()), (ResponseCode::Refused, 0));
    bench.pass(secs(1));
    bench.ask("a.org.");
    let ask = bench.asked();
    bench.answer(&ask[0], good("a.org.", 60));
    bench.pass(secs(60));
    bench.replies();
    bench.ask("a.org.");
    let ask = bench.asked();
    bench.answer_with(&ask[0], ResponseCode::ServFail, Vec::new());
    assert_eq!(bench.replies()[0].3, Reason::Stale);
}

/// Found by fuzzing: the pod was told NOERROR, and given addresses.
#[test]
fn a_code_of_edns_is_a_failure_of_the_resolver() {
    let mut bench = Bench::new(|state| state.trusted[0].truncate(1));
    bench.ask("a.io.");
    let ask = bench.asked();
    let mut message = Message::from_vec(&ask[0].bytes).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = ResponseCode::BADVERS;
    message.add_answers(good("a.io.", 60));
    bench.engine.answer(bench.now, ask[0].socket, ask[0].server, &message.to_vec().unwrap());
    assert_eq!(bench.replies()[0].3, Reason::UpstreamMalformed);
    assert_eq!(bench.learns().len(), 0);
}

#[test]
fn searches_go_on_where_a_name_is_refused() {
    let none = Questions::Only(vec![Names { allowed: Vec::new(), otherwise: "closed".into() }]);
    let mut bench = Bench::new(|state| state.pods[0].questions = none.clone());
    bench.ask("a.io.ns.svc.cluster.local.");
    bench.ask("a.io.");
    let codes: Vec<_> = bench.replies().into_iter().map(|it| (it.1, it.3)).collect();
    assert_eq!(codes, [(ResponseCode::NXDomain, Reason::Name), (ResponseCode::Refused, Reason::Name)]);
}

#[test]
fn every_name_of_a_chain_that_policy_speaks_of_is_bound() {
    let mut bench = Bench::new(|_| {});
    bench.ask("www.a.io.");
    let ask = bench.asked();
    let records = vec![
        record("www.a.io.", 300, alias("x.cdn.org.")),
        record("x.cdn.org.", 90, alias("edge.cdn.io.")),
        record("edge.cdn.io.", 120, address("192.0.2.1")),
    ];
    bench.answer(&ask[0], records);
    let learns = bench.learns();
    let names: Vec<_> = learns[0].1[0].names.iter().map(ToString::to_string).collect();
    assert_eq!((names, learns[0].1[0].ttl), (vec!["www.a.io".to_owned(), "edge.cdn.io".to_owned()], 90));
}

#[test]
fn timers_of_what_is_over_are_forgotten() {
    let mut bench = Bench::new(|state| state.settings.pod_rate = 1_000_000);
    for number in 0..5000 {
        let name = format!("n{number}.org.");
        bench.ask(&name);
        let ask = bench.asked();
        bench.answer(&ask[0], good(&name, 60));
        bench.replies();
        bench.pass(Duration::from_micros(10));
        assert!(bench.engine.timers.0.iter().all(|queue| queue.len() < 3));
    }
}

/// A pod may ask the node's resolver for a name of the cluster, which that does not know: what it says must not be told to who asks
/// the cluster's.
#[test]
fn resolvers_of_another_group_neither_stand_in_nor_share_answers() {
    let apart = |state: &mut State| state.trusted = vec![vec![ip(FIRST)], vec![ip(SECOND)]];
    let mut bench = Bench::new(apart);
    let name = "db.prod.svc.cluster.local.";
    bench.ask_of(SECOND, name);
    let ask = bench.asked();
    let nothing = record("local.", 86_400, start(3_600));
    bench.answer_saying(&ask[0], ResponseCode::NXDomain, Vec::new(), vec![nothing]);
    assert_eq!(bench.replies()[0].1, ResponseCode::NXDomain);
    bench.ask_of(FIRST, name);
    assert_eq!(bench.replies(), []);
    bench.pass(secs(4));
    assert!(bench.asked().iter().all(|ask| ask.server.ip() == ip(FIRST)), "nobody stands in");
    assert_eq!(bench.replies()[0].3, Reason::UpstreamSilent);
}

/// The cluster's DNS is a pod that asks the node's resolvers: were its question taken for the one that waits for it, both would wait
/// for each other.
#[test]
fn what_one_group_is_asked_is_not_taken_for_what_another_is_asked() {
    let mut bench = Bench::new(|state| state.trusted = vec![vec![ip(FIRST)], vec![ip(SECOND)]]);
    bench.ask_of(FIRST, "a.org.");
    bench.ask_of(SECOND, "a.org.");
    let servers: Vec<_> = bench.asked().iter().map(|ask| ask.server.ip()).collect();
    assert_eq!(servers, [ip(FIRST), ip(SECOND)]);
}

#[test]
fn whoever_may_have_no_more_connections_to_resolvers_keeps_nobody_else_waiting() {
    const OTHER: &str = "10.0.0.2";
    let mut bench = Bench::new(|state| {
        let other = Pod { identity: "b".into(), addresses: vec![ip(OTHER)], ..state.pods[0].clone() };
        state.pods.push(other);
    });
    let bytes = ask_for("a.org.", 1).to_vec().unwrap();
    for (connection, pod) in [(1, POD), (2, OTHER), (3, OTHER)] {
        let client = Client::Tcp { connection };
        let arrival = Arrival { client, pod: ip(pod), resolver: ip(FIRST), bytes: &bytes };
        bench.engine.query(bench.now, &arrival);
    }
    let asked: Vec<_> = bench.engine.outbox().tcp_asks.iter().map(|ask| ask.pod).collect();
    assert_eq!(asked, [ip(POD), ip(OTHER)], "once for each pod");
}

#[test]
fn a_thousand_addresses_behind_an_alias_are_bound_by_both_names() {
    let mut bench = Bench::new(|_| {});
    bench.ask("a.io.");
    let ask = bench.asked();
    let addresses = (0..1000).map(|n: u16| {
        let [high, low] = n.to_be_bytes();
        record("b.io.", 60, address(&format!("198.51.{high}.{low}")))
    });
    let records = [record("a.io.", 60, alias("b.io."))].into_iter().chain(addresses).collect();
    bench.answer(&ask[0], records);
    let learns = bench.learns();
    assert_eq!((learns[0].1[0].names.len(), learns[0].1[0].addresses.len()), (2, 1000));
}

/// The target's zone may say so for an hour; the alias may lead elsewhere in a minute.
#[test]
fn that_an_alias_leads_to_nothing_is_kept_no_longer_than_the_alias() {
    let mut bench = Bench::new(|_| {});
    bench.ask("a.org.");
    let ask = bench.asked();
    let (alias, nothing) = (record("a.org.", 60, alias("b.org.")), record("b.org.", 3_600, start(3_600)));
    bench.answer_saying(&ask[0], ResponseCode::NoError, vec![alias], vec![nothing]);
    bench.replies();
    bench.pass(secs(59));
    bench.ask("a.org.");
    assert_eq!(bench.replies()[0].3, Reason::Cached);
    bench.pass(secs(1));
    bench.ask("a.org.");
    assert_eq!(bench.asked().len(), 1);
}
