//! Entries come out of the API once each, whole, and unharmed by what is in them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::sample;
use crate::served::{END, ENTRIES, Served, serve};
use ledger::{Entry, Kind, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

fn entry(number: u64) -> Entry {
    Entry {
        time: END + number,
        source: "ai/Job/late".into(),
        destination: format!("n{number}.example").into(),
        detail: Some("{}".into()),
        ..Entry::new(Kind::Dns, Verdict::Allow)
    }
}

fn numbers(answer: &Value) -> Vec<i64> {
    answer["items"].as_array().unwrap().iter().map(|it| it["number"].as_i64().unwrap()).collect()
}

#[test]
fn entries_that_are_long_come_in_several_answers_and_none_is_left_out() {
    let mut server = serve();
    let detail = Some(format!("\"{}\"", "x".repeat(4 << 20)));
    let events = server.follow("?kind=dns", &[]);
    let long: Vec<_> = (0..6).map(|number| Entry { detail: detail.clone(), ..entry(number) }).collect();
    server.ledger.append(&long).unwrap();
    let streamed = events.filter(|event| event.name == "record").take(6).map(|event| event.id.unwrap());
    let expected: Vec<i64> = (1..=6).map(|number| ENTRIES.cast_signed() + number).collect();
    assert_eq!(streamed.collect::<Vec<_>>(), expected);
    let first = server.get("/records?kind=dns&source=ai/Job/late&limit=1000").json();
    let next = first["next"].as_i64().expect("there is more");
    let rest = server.get(&format!("/records?kind=dns&source=ai/Job/late&limit=1000&before={next}")).json();
    assert!(rest["next"].is_null());
    let mut all = [numbers(&first), numbers(&rest)].concat();
    all.reverse();
    assert_eq!((numbers(&first).len(), all), (4, expected));
}

#[test]
fn sums_go_by_the_same_filters_as_records() {
    let server = serve();
    let all = server.get("/records?since=2026-11-26T11:00:00Z&kind=flow&limit=1000").json();
    let first = &all["items"][0];
    let (source, node) = (first["source"].as_str().unwrap(), first["node"].as_str().unwrap());
    let begins = &source[..source.len() - 1];
    let encoded =
        |text: &str| text.replace('%', "%25").replace(' ', "%20").replace('&', "%26").replace('#', "%23");
    for asked in [
        String::new(),
        format!("&source={}", encoded(source)),
        format!("&source={}*", encoded(begins)),
        "&verdict=deny".to_owned(),
        format!("&node={}", encoded(node)),
        "&node=nobody".to_owned(),
        "&q=EXAMPLE".to_owned(),
        "&port=443".to_owned(),
    ] {
        let found =
            server.get(&format!("/records?since=2026-11-26T11:00:00Z&kind=flow&limit=1000{asked}")).json();
        assert!(found["next"].is_null(), "the sample is too large for this test");
        let count: u64 =
            found["items"].as_array().unwrap().iter().map(|it| it["count"].as_u64().unwrap()).sum();
        let series = server.get(&format!("/series?since=2026-11-26T11:00:00Z&kind=flow{asked}")).json();
        let lines = series["series"].as_array().unwrap().iter();
        let summed: u64 =
            lines.flat_map(|line| line["values"].as_array().unwrap()).map(|it| it.as_u64().unwrap()).sum();
        assert_eq!(summed, count, "series{asked}");
        let graph = server.get(&format!("/graph?since=2026-11-26T11:00:00Z{asked}")).json();
        let edges = graph["edges"].as_array().unwrap().iter();
        let drawn: u64 =
            edges.map(|it| it["allowed"].as_u64().unwrap() + it["denied"].as_u64().unwrap()).sum();
        assert_eq!(drawn, count, "graph{asked}");
    }
    assert_eq!(server.get("/edges?verdict=none").status, 400);
}

#[test]
fn pages_of_edges_have_each_once_while_new_ones_come() {
    let mut server = serve();
    let name = |edge: &Value| {
        format!("{} {} {} {}", edge["source"], edge["destination"], edge["port"], edge["protocol"])
    };
    let names = |page: &Value| page["items"].as_array().unwrap().iter().map(name).collect::<Vec<_>>();
    let wanted = names(&server.get("/edges?limit=10000").json());
    assert!(wanted.len() > 14, "{}", wanted.len());
    let (mut seen, mut before) = (Vec::new(), String::new());
    for number in 0.. {
        let page = server.get(&format!("/edges?limit=7{before}")).json();
        seen.extend(names(&page));
        // By number of rows, each of these would have the last row of a page come again.
        let late = Entry { kind: Kind::Flow, port: 443, protocol: 6, ..entry(number) };
        server.ledger.append(&[late]).unwrap();
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, wanted);
    let refused = server.get("/edges?before=7");
    assert_eq!((refused.status, refused.json()["detail"].as_str().unwrap().contains("next")), (400, true));
    let refused = server.get("/edges?before=c-7-1-2-1bb-6");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(refused.status == 400 && detail.contains("another store"), "{detail}");
    assert_eq!(server.get("/edges?before=l-7-1-2-1bb-6").status, 200);
    assert_eq!(server.get("/edges?skip=7").status, 400);
}

#[test]
fn edges_with_long_texts_come_in_several_answers_and_none_is_left_out() {
    let mut server = serve();
    let long = "x".repeat(6 << 20);
    let edges: Vec<_> = (0..4)
        .map(|number| Entry {
            kind: Kind::Flow,
            source: "ai/Job/long".into(),
            destination: format!("{number}{long}").into(),
            ..entry(number)
        })
        .collect();
    server.ledger.append(&edges).unwrap();
    let (mut counts, mut seen, mut before) = (Vec::new(), BTreeSet::new(), String::new());
    loop {
        let page = server.get(&format!("/edges?source=ai/Job/long&limit=10000{before}")).json();
        let items = page["items"].as_array().unwrap();
        counts.push(items.len());
        seen.extend(items.iter().map(|it| it["destination"].as_str().unwrap()[..1].to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!((counts, seen.len()), (vec![3, 1], 4));
}

#[test]
fn paging_walks_all_entries_once_while_more_are_written() {
    let mut server = serve();
    let mut seen = Vec::new();
    let mut before = String::new();
    for round in 0.. {
        let answer = server.get(&format!("/records?limit=97{before}")).json();
        seen.extend(numbers(&answer));
        server.ledger.append(&[entry(round)]).unwrap();
        match answer["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    let wanted: Vec<i64> = (1..=ENTRIES.cast_signed()).rev().collect();
    assert_eq!(seen, wanted);
}

#[test]
fn filters_give_what_they_say_and_no_more() {
    let server = serve();
    let all = sample::entries(ENTRIES, END);
    let count = |is: &dyn Fn(&Entry) -> bool| all.iter().filter(|entry| is(entry)).count();
    let ask = |query: &str| numbers(&server.get(&format!("/records?limit=1000&{query}")).json()).len();
    let flow = |it: &Entry| it.kind == Kind::Flow;
    assert_eq!(ask("kind=flow"), count(&flow));
    assert_eq!(ask("kind=flow&kind=dns&verdict=deny"), {
        count(&|it| matches!(it.kind, Kind::Flow | Kind::Dns) && it.verdict == Verdict::Deny)
    });
    assert_eq!(ask("kind=flow&source=ai%2F*"), count(&|it| flow(it) && it.source.starts_with("ai/")));
    assert_eq!(ask("kind=flow&source=ai/"), 0);
    assert_eq!(ask("kind=dns&port=53"), count(&|it| it.kind == Kind::Dns));
    assert_eq!(
        ask("kind=flow&q=OPENAI"),
        count(&|it| flow(it) && { it.destination.contains("openai") || it.rule.contains("openai") })
    );
    for name in sample::HOSTILE {
        let query = format!("kind=flow&destination={}", encoded(name));
        assert_eq!(ask(&query), count(&|it| flow(it) && &*it.destination == name), "{name:?}");
    }
    assert_eq!(ask("since=2026-11-26T11:59:00Z&until=2026-11-26T11:59:30Z"), {
        count(&|it| (END - 60_000_000..=END - 30_000_000).contains(&it.time))
    });
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn names_that_mean_harm_come_back_as_they_are_and_as_json() {
    let server = serve();
    let mut found = BTreeSet::new();
    for before in [1001, 2001, 3001] {
        let answer = server.get(&format!("/records?limit=1000&before={before}"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        // Control characters leave escaped.
        assert!(answer.body.iter().all(|byte| *byte >= 0x20));
        let items = answer.json()["items"].as_array().unwrap().clone();
        found.extend(items.iter().map(|it| it["destination"].as_str().unwrap().to_owned()));
    }
    for name in sample::HOSTILE.iter().map(ToString::to_string).chain([sample::long_name()]) {
        assert!(found.contains(&name), "{name:?}");
    }
}

#[test]
fn a_record_tells_its_rule_with_its_lines_and_what_it_belongs_to() {
    let server = serve();
    let by =
        |query: &str| server.get(&format!("/records?limit=1&{query}")).json()["items"][0]["number"].clone();
    let allowed = server.get(&format!("/records/{}", by("kind=flow&verdict=allow"))).json();
    assert_eq!(allowed["deciding"]["object"], "EgressPolicy ai/train");
    let decides: Vec<_> = allowed["deciding"]["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["decides"].as_bool().unwrap())
        .map(|line| line["number"].as_u64().unwrap())
        .collect();
    assert_eq!(decides, [8, 9, 10]);
    for joined in allowed["joined"].as_array().unwrap() {
        assert_eq!(joined["source"], allowed["record"]["source"]);
        assert_eq!(joined["destination"], allowed["record"]["destination"]);
    }
    let denied = server.get(&format!("/records/{}", by("kind=flow&verdict=deny"))).json();
    assert_eq!(
        (&denied["deciding"], &denied["nearest"]["lacks"]),
        (&Value::Null, &"the rule does not allow to do that".into())
    );
}

#[test]
fn a_finding_is_listed_once_as_it_was_told_last() {
    let server = serve();
    let answer = server.get("/findings?limit=1000").json();
    let items = answer["items"].as_array().unwrap();
    let ids: BTreeSet<&str> = items.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), items.len()), (ENTRIES as usize / 60, ENTRIES as usize / 60));
    assert!(items.iter().all(|it| it["first"].as_str() <= it["last"].as_str()));
    assert!(items.iter().any(|it| it["first"].as_str() < it["last"].as_str()));
    // The pages of a list have each of them once.
    let mut paged = Vec::new();
    let mut before = String::new();
    loop {
        let page = server.get(&format!("/findings?limit=7{before}")).json();
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(&paged, items);
    // The sample's audit entries are notes: nothing is acknowledged.
    assert_eq!(server.get("/findings?state=acknowledged").json()["items"], Value::Array(vec![]));
    let mut server = server;
    acknowledge(&mut server);
    let seen = server.get("/findings?state=acknowledged").json();
    assert_eq!(seen["items"][0]["id"], "finding-1");
}

fn acknowledge(server: &mut Served) {
    let audit = Entry {
        time: END,
        source: "local:0".into(),
        destination: "finding-1".into(),
        reason: "acknowledged".into(),
        detail: Some("{}".into()),
        ..Entry::new(Kind::Audit, Verdict::None)
    };
    server.ledger.append(&[audit]).unwrap();
}

#[test]
fn sums_agree_with_the_entries() {
    let server = serve();
    let all = sample::entries(ENTRIES, END);
    let series =
        server.get("/series?since=2026-11-26T11:00:00Z&until=2026-11-26T12:00:00Z&by=kind&step=600").json();
    let sum: u64 = series["series"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|line| line["values"].as_array().unwrap())
        .map(|value| value.as_u64().unwrap())
        .sum();
    assert_eq!(sum, ENTRIES);
    let step = |since: &str| {
        let asked = format!("/series?since={since}&until=2026-11-26T12:00:00Z");
        server.get(&asked).json()["step"].as_u64()
    };
    let steps =
        ["2026-11-26T11:00:00Z", "2026-11-25T00:00:00Z", "2026-10-01T00:00:00Z", "2022-01-01T00:00:00Z"];
    assert_eq!(steps.map(step), [60, 300, 3600, 86_400].map(Some), "as long as it has to be");
    assert_eq!(
        server.get("/series?since=2026-11-25T00:00:00Z&until=2026-11-26T12:00:00Z&step=60").status,
        400
    );
    let usage = server.get("/usage?since=2026-11-26T11:00:00Z").json();
    let calls: u64 = usage["items"].as_array().unwrap().iter().map(|it| it["calls"].as_u64().unwrap()).sum();
    assert_eq!(calls, all.iter().filter(|it| it.kind == Kind::AiCall).count() as u64);
    let graph = server.get("/graph?since=2026-11-26T11:00:00Z").json();
    let sent: u64 =
        graph["edges"].as_array().unwrap().iter().map(|it| it["bytes_sent"].as_u64().unwrap()).sum();
    assert_eq!(sent, all.iter().filter(|it| it.kind == Kind::Flow).map(|it| it.sent).sum::<u64>());
    let kinds: BTreeSet<&str> =
        graph["nodes"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["external", "node", "provider", "workload"].into());
    let policies = server.get("/policies").json();
    assert_eq!(
        (&policies["shadow"]["would_deny"], &policies["shadow"]["differences"][0]["count"]),
        (&3.into(), &3.into())
    );
    let hits = policies["items"][0]["rules"][0]["hits"].as_u64().unwrap();
    assert_eq!(hits, all.iter().filter(|it| &*it.rule == sample::RULE).count() as u64);
    assert_eq!(policies["items"][0]["rules"][1]["last"], Value::Null);
}

#[test]
fn a_ledger_that_is_gone_or_replaced_is_said_so_and_read_anew() {
    let server = serve();
    assert_eq!(server.get("/records?limit=1").status, 200);
    let aside = server.path.with_extension("aside");
    std::fs::rename(&server.path, &aside).unwrap();
    let answer = server.get("/records?limit=1");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    let _new = sample::ledger(&server.path, 6, END);
    assert_eq!(numbers(&server.get("/records").json()).len(), 6);
}

#[test]
fn curl_gets_what_it_asks_for() {
    let server = serve();
    let url = format!("http://{}/api/v1/records?limit=3", server.address);
    let output = Command::new("curl")
        .args(["-sS", "--fail-with-body", "-H", "Authorization: Bearer viewer", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(numbers(&serde_json::from_slice(&output.stdout).unwrap()).len(), 3);
}
