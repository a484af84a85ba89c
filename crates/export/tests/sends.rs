//! What is in a ledger arrives, at real sockets, at least once and whatever the other side does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod clickhouse;
mod nats;
mod stub;

use export::{Exports, Settings, SinkStatus, Target, once};
use ledger::{Entry, Kind, Ledger, Reader, Retention, Verdict};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stub::{Collector, answer};
use tempfile::TempDir;

/// Long ago: all of it is settled.
const START: u64 = 1_700_000_000_000_000;

struct World {
    folder: TempDir,
    path: PathBuf,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap().0;
        Self { folder, path, ledger }
    }

    fn with(entries: u64) -> Self {
        let mut world = Self::new();
        world.add(0..entries);
        world
    }

    fn add(&mut self, numbers: std::ops::Range<u64>) {
        let entries: Vec<_> = numbers.map(|number| denial(number, "{}")).collect();
        self.ledger.append(&entries).unwrap();
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, urls: &[String], settings: &Settings) -> Exports {
        let exports = Exports::new(&self.path, &targets(urls), settings).unwrap();
        exports.begin().unwrap();
        exports
    }
}

fn targets(urls: &[String]) -> Vec<Target> {
    urls.iter().map(|url| url.parse().unwrap()).collect()
}

fn denial(number: u64, detail: &str) -> Entry {
    Entry {
        time: START + number,
        node: "node-1".into(),
        source: format!("ai/Job/j{number}").into(),
        destination: "hub.example".into(),
        port: 443,
        protocol: 6,
        reason: "isolated".into(),
        detail: Some(detail.to_owned()),
        ..Entry::new(Kind::Flow, Verdict::Deny)
    }
}

/// Waits until a status is as it should be.
fn wait(exports: &Exports, until: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = exports.status().remove(0);
        if until(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The numbers that arrived, in order.
fn numbers(collector: &Collector) -> Vec<u64> {
    let asked = collector.asked();
    asked.iter().flat_map(stub::Asked::lines).map(|line| line["number"].as_u64().unwrap()).collect()
}

#[test]
fn all_entries_arrive_in_order_with_headers_and_again_only_what_is_new() {
    let mut world = World::with(1200);
    let collector = Collector::start(&[]);
    let headers = Some(world.file("headers", "Authorization: Bearer x\n"));
    let settings = Settings { headers, ..Settings::default() };
    let url = collector.url("", "/in?key=1");
    let exports = world.start(std::slice::from_ref(&url), &settings);
    let status = wait(&exports, |status| status.sent == 1200);
    assert_eq!((status.waiting, status.lost, status.refused, &status.problem), (0, 0, 0, &None));
    assert_eq!(numbers(&collector), (1..=1200).collect::<Vec<_>>());
    let asked = collector.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].path, "/in?key=1");
    assert_eq!(asked[0].headers["authorization"], "Bearer x");
    assert_eq!(asked[0].headers["content-type"], "application/x-ndjson");
    let mut ids: Vec<_> =
        asked.iter().flat_map(stub::Asked::lines).map(|line| line["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1200);
    drop(exports);
    world.add(1200..1210);
    let exports = world.start(&[url], &settings);
    wait(&exports, |status| status.sent == 1210);
    assert_eq!(numbers(&collector), (1..=1210).collect::<Vec<_>>());
}

#[test]
fn whatever_a_server_does_nothing_is_lost_and_what_waits_is_told() {
    for (name, refusal, says) in [
        (
            "busy",
            answer("429 Too Many Requests", "retry-after: 1\r\n", "slow\u{1b} down"),
            "429 Too Many Requests: slow  down",
        ),
        ("broken", answer("503 Service Unavailable", "", ""), "503 Service Unavailable"),
        ("token", answer("401 Unauthorized", "", "who?"), "401 Unauthorized: who?"),
        ("path", answer("404 Not Found", "", ""), "404 Not Found"),
        (
            "moved",
            answer("307 Temporary Redirect", "location: http://x.example/a?token=t\r\n", ""),
            "it is elsewhere (http://x.example/a), and redirects",
        ),
        ("gone", String::new(), "connection lost"),
        ("nonsense", "HTTP/9.9 what\r\n\r\n".to_owned(), "connection lost"),
        (
            "endless",
            format!("HTTP/1.1 500 No\r\ncontent-length: 999999999\r\n\r\n{}", "x".repeat(70_000)),
            "500 Internal Server Error",
        ),
    ] {
        let world = World::with(3);
        let collector = Collector::start(&[refusal]);
        let exports = world.start(&[collector.url("", "/")], &Settings::default());
        let problem = wait(&exports, |status| status.problem.is_some());
        let found = problem.problem.unwrap();
        assert!(found.contains(says), "{name}: {found}");
        assert_eq!((problem.waiting, problem.sent), (3, 0), "{name}");
        let status = wait(&exports, |status| status.sent == 3);
        assert_eq!((status.waiting, status.problem), (0, None), "{name}");
        assert_eq!(numbers(&collector), [1, 2, 3, 1, 2, 3], "{name}");
    }
}

#[test]
fn an_entry_that_is_never_taken_is_found_skipped_counted_and_told() {
    let world = World::with(4);
    let no = || answer("400 Bad Request", "", "number 3 is bad");
    let yes = || answer("200 OK", "", "");
    // Entries 1 to 4, 1 and 2, 3 to 4, 3, then 4.
    let collector = Collector::start(&[no(), yes(), no(), no(), yes()]);
    let exports = world.start(&[collector.url("", "/")], &Settings::default());
    let status = wait(&exports, |status| status.sent + status.refused == 4);
    assert_eq!((status.sent, status.refused, status.waiting, status.problem), (3, 1, 0, None));
    assert_eq!(status.notice.unwrap(), "entry 3 was refused: 400 Bad Request: number 3 is bad");
    assert_eq!(numbers(&collector), [1, 2, 3, 4, 1, 2, 3, 4, 3, 4]);
}

#[test]
fn a_server_that_comes_back_after_a_day_gets_what_is_left_and_learns_what_is_not() {
    let mut world = World::with(10);
    let day = 24 * 3600 * 1_000_000;
    let short = Retention { age: day, ..Retention::default() };
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/");
    let exports = world.start(&[url], &Settings::default());
    wait(&exports, |status| {
        status.problem.as_ref().is_some_and(|why| why.contains("connecting to")) && status.waiting == 10
    });
    drop(exports);
    world.ledger.tend(START + day / 2, &short).unwrap();
    world.ledger.tend(START + 3 * day, &short).unwrap();
    world.add(10..12);
    let out = world.folder.path().join("out.jsonl");
    let collector = Collector::start(&[]);
    let ocsf = collector.url("ocsf+", "/ocsf");
    let otlp = collector.url("otlp+", "");
    let exports = world.start(&[format!("file:{}", out.display()), ocsf, otlp], &Settings::default());
    let end = Instant::now() + Duration::from_secs(60);
    while !exports.status().iter().all(|status| status.sent == 2 && status.lost == 10) {
        assert!(Instant::now() < end, "{:?}", exports.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(out).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["records"], &lines[0]["up_to"]),
        (&json!("lost"), &json!(10), &json!(10))
    );
    assert_eq!((&lines[1]["number"], &lines[2]["number"]), (&json!(11), &json!(12)));
    for asked in collector.asked() {
        if asked.path == "/ocsf" {
            let lines = asked.lines();
            assert_eq!((&lines[0]["class_uid"], &lines[0]["unmapped"]["records"]), (&json!(0), &json!(10)));
        } else {
            assert_eq!(asked.path, "/v1/logs");
            let body: Value = serde_json::from_slice(&asked.body).unwrap();
            let lost = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
            assert_eq!(lost["eventName"], "cofferdam.lost");
        }
    }
}

#[test]
fn a_target_that_never_answers_holds_up_no_other_and_not_who_writes() {
    let mut world = World::with(700);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let out = world.folder.path().join("out.jsonl");
    let urls = [format!("http://{}/", silent.local_addr().unwrap()), format!("file:{}", out.display())];
    let exports = world.start(&urls, &Settings::default());
    // It takes the request, and says nothing.
    let (_asked, _) = silent.accept().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    for (from, to) in [(700, 700), (700, 1400)] {
        world.add(from..to);
        while exports.status()[1].sent < to {
            assert!(Instant::now() < end, "{:?}", exports.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let [silent, file] = &exports.status()[..] else { panic!("two targets") };
    assert_eq!((silent.sent, silent.lost, file.waiting, &file.problem), (0, 0, 0, &None));
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 1400);
}

#[test]
fn a_ledger_that_was_put_aside_is_followed_by_the_new_one_from_its_beginning() {
    let mut world = World::with(5);
    world.ledger.tend(START + 3_600_000_000, &Retention::default()).unwrap();
    let collector = Collector::start(&[]);
    let exports = world.start(&[collector.url("", "/")], &Settings::default());
    wait(&exports, |status| status.sent == 5);
    // What `Ledger::open` does with a damaged file.
    let aside = world.folder.path().join("ledger.db.damaged-1");
    for end in ["", "-wal", "-shm"] {
        let name = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        if name(&world.path).exists() {
            std::fs::rename(name(&world.path), name(&aside)).unwrap();
        }
    }
    world.ledger = Ledger::open(&world.path).unwrap().0;
    world.add(5..7);
    wait(&exports, |status| status.sent == 7);
    assert_eq!(numbers(&collector), [1, 2, 3, 4, 5, 1, 2]);
}

#[test]
fn what_a_cursor_says_that_nobody_can_read_is_told_and_all_is_sent_again() {
    let world = World::with(2);
    let collector = Collector::start(&[]);
    let url = collector.url("", "/");
    let exports = world.start(std::slice::from_ref(&url), &Settings::default());
    wait(&exports, |status| status.sent == 2);
    drop(exports);
    let cursor = std::fs::read_dir(world.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let cursor = cursor.into_iter().find(|path| path.display().to_string().contains(".export-")).unwrap();
    std::fs::write(&cursor, "{\"last\": ").unwrap();
    let exports = world.start(&[url], &Settings::default());
    let status = wait(&exports, |status| status.sent == 2);
    assert!(status.notice.unwrap().contains("all that the ledger has is sent"));
    assert_eq!(numbers(&collector), [1, 2, 1, 2]);
}

#[test]
fn a_collector_of_otlp_is_told_in_its_form_and_what_it_rejects_is_counted_and_not_sent_again() {
    let mut world = World::new();
    let call = json!({"pod": "10.0.0.1:4000", "destination": "192.0.2.1:443", "name": "api.openai.com", "method": "POST",
        "operation": {"provider": "openai", "api": "chat", "verb": "call", "model": "gpt"}, "verdict": "allow", "status": 200,
        "usage": {"input_tokens": 3, "output_tokens": 4}, "end": "closed"});
    let call = Entry {
        time: START,
        detail: Some(call.to_string()),
        source: "ai/Job/j".into(),
        ..Entry::new(Kind::AiCall, Verdict::Allow)
    };
    let dns = Entry { time: START, destination: "x.example".into(), ..Entry::new(Kind::Dns, Verdict::Allow) };
    let finding = json!({"severity": "high", "sentence": "it tunnels", "techniques": ["T1048"]}).to_string();
    let finding = Entry { time: START, detail: Some(finding), ..Entry::new(Kind::Finding, Verdict::None) };
    world.ledger.append(&[call, finding, denial(1, "\"not an object\"")]).unwrap();
    world.ledger.append(&[dns]).unwrap();
    let partial = r#"{"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "too old"}}"#;
    let collector = Collector::start(&[answer("200 OK", "content-type: application/json\r\n", partial)]);
    let exports = world.start(&[collector.url("otlp+", "/")], &Settings::default());
    let status = wait(&exports, |status| status.sent + status.refused == 4);
    assert_eq!((status.sent, status.refused, status.notice.as_deref()), (3, 1, Some("too old")));
    let [asked] = &collector.asked()[..] else { panic!("it was sent again") };
    assert_eq!(
        (asked.path.as_str(), asked.headers["content-type"].as_str()),
        ("/v1/logs", "application/json")
    );
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let records = otlp_records(&body);
    let attributes: Vec<_> = records.iter().map(attributes).collect();
    assert_eq!(attributes[0]["gen_ai.request.model"], json!({"stringValue": "gpt"}));
    assert_eq!(attributes[0]["gen_ai.usage.input_tokens"], json!({"intValue": "3"}));
    assert_eq!(attributes[0]["k8s.namespace.name"], json!({"stringValue": "ai"}));
    assert_eq!(
        attributes[1]["cofferdam.finding.techniques"],
        json!({"arrayValue": {"values": [{"stringValue": "T1048"}]}})
    );
    assert_eq!(
        (&records[1]["severityNumber"], &records[1]["body"]),
        (&json!(17), &json!({"stringValue": "it tunnels"}))
    );
    assert_eq!(attributes[2]["error.type"], json!({"stringValue": "isolated"}));
    assert_eq!(attributes[2]["destination.port"], json!({"intValue": "443"}));
    assert_eq!(attributes[3]["dns.question.name"], json!({"stringValue": "x.example"}));
}

/// A request to a model, one to a tool that was denied, and a flow.
fn calls() -> [Entry; 3] {
    let call = |more: Value| {
        let mut call = json!({"pod": "10.0.0.1:4000", "destination": "192.0.2.1:443", "name": "api.openai.com", "method": "POST",
            "operation": {"provider": "openai", "api": "chat", "verb": "call", "model": "gpt"}, "verdict": "allow", "status": 200,
            "usage": {"input_tokens": 300, "output_tokens": 4}, "duration_micros": 1_500_000, "end": "closed"});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Entry {
            time: START,
            detail: Some(call.to_string()),
            source: "ai/Job/j".into(),
            ..Entry::new(Kind::AiCall, Verdict::Allow)
        }
    };
    let tool = json!({"operation": {"provider": "mcp", "api": "tools/call", "verb": "call", "tools": ["delete_all"]},
        "verdict": "deny", "reason": "tool", "usage": null, "name": "tools.example"});
    let flow = Entry {
        time: START + 2,
        destination: "x.example".into(),
        count: 7,
        ..Entry::new(Kind::Flow, Verdict::Allow)
    };
    [call(json!({})), call(tool), flow]
}

#[test]
fn requests_are_spans_with_the_same_ids_whenever_they_are_sent_and_nothing_else_is_one() {
    let mut world = World::new();
    world.ledger.append(&calls()).unwrap();
    let partial = r#"{"partialSuccess": {"rejectedSpans": 1, "errorMessage": "too old"}}"#;
    let again = answer("503 Service Unavailable", "", "");
    let collector = Collector::start(&[again, answer("200 OK", "", partial)]);
    let exports = world.start(&[collector.url("otlp-traces+", "/")], &Settings::default());
    let status = wait(&exports, |status| status.sent + status.refused == 3);
    assert_eq!((status.sent, status.refused, status.notice.as_deref()), (2, 1, Some("too old")));
    let [first, second] = &collector.asked()[..] else { panic!("it was not tried twice") };
    assert_eq!((first.path.as_str(), &first.body), ("/v1/traces", &second.body));
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let [model, tool] = &spans[..] else { panic!("{body:#}") };
    for span in [model, tool] {
        let digits =
            |field: &str| span[field].as_str().unwrap().bytes().filter(u8::is_ascii_hexdigit).count();
        assert_eq!((digits("traceId"), digits("spanId"), &span["kind"]), (32, 16, &json!(3)));
        let time = |field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(time("endTimeUnixNano") - time("startTimeUnixNano"), 1_500_000_000);
    }
    assert_ne!(model["traceId"], tool["traceId"]);
    assert_eq!((&model["name"], &model["status"]), (&json!("chat gpt"), &json!({})));
    assert_eq!(tool["name"], "execute_tool delete_all");
    assert_eq!(tool["status"], json!({"code": 2, "message": "tool"}));
    assert_eq!(attributes(model)["gen_ai.usage.input_tokens"], json!({"intValue": "300"}));
    assert_eq!(attributes(tool)["gen_ai.tool.name"], json!({"stringValue": "delete_all"}));
}

#[test]
fn where_nothing_is_a_span_nothing_is_sent_and_the_target_goes_on() {
    let mut world = World::new();
    let [_, _, flow] = calls();
    world.ledger.append(&[flow]).unwrap();
    let collector = Collector::start(&[]);
    let exports = world.start(&[collector.url("otlp-traces+", "/")], &Settings::default());
    wait(&exports, |status| status.sent == 1);
    assert_eq!(collector.asked().len(), 0);
}

#[test]
fn metrics_have_counts_tokens_and_durations_and_no_names_of_who() {
    let mut world = World::new();
    world.ledger.append(&calls()).unwrap();
    let collector = Collector::start(&[answer("200 OK", "", "{}")]);
    let exports = world.start(&[collector.url("otlp-metrics+", "/")], &Settings::default());
    wait(&exports, |status| status.sent == 3);
    let [asked] = &collector.asked()[..] else { panic!("it was sent again") };
    assert_eq!(asked.path, "/v1/metrics");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let metrics = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let [records, tokens, durations] = &metrics[..] else { panic!("{body:#}") };
    let points = |of: &Value| of["dataPoints"].as_array().unwrap().clone();
    let counts: Vec<_> = points(&records["sum"])
        .iter()
        .map(|point| (attributes(point)["cofferdam.kind"]["stringValue"].clone(), point["asInt"].clone()))
        .collect();
    assert_eq!(records["sum"]["aggregationTemporality"], 1);
    assert_eq!(counts, [(json!("ai_call"), json!("2")), (json!("flow"), json!("7"))]);
    assert_eq!(tokens["name"], "gen_ai.client.token.usage");
    let [input, output] = &points(&tokens["histogram"])[..] else { panic!("{tokens:#}") };
    assert_eq!((&input["count"], &input["sum"]), (&json!("1"), &json!(300.0)));
    assert_eq!(attributes(input)["gen_ai.token.type"], json!({"stringValue": "input"}));
    let buckets = |point: &Value| {
        let counts = point["bucketCounts"].as_array().unwrap();
        assert_eq!(counts.len(), point["explicitBounds"].as_array().unwrap().len() + 1);
        counts.iter().position(|count| count == "1").unwrap()
    };
    // 300 is above 256, 4 is not above 4.
    assert_eq!((buckets(input), buckets(output)), (5, 1));
    assert_eq!(durations["name"], "gen_ai.client.operation.duration");
    let errors: Vec<_> =
        points(&durations["histogram"]).iter().map(|it| attributes(it).get("error.type").cloned()).collect();
    assert_eq!(errors.len(), 2);
    assert!(errors.contains(&None) && errors.contains(&Some(json!({"stringValue": "tool"}))), "{errors:?}");
    assert!(!body.to_string().contains("ai/Job/j") && !body.to_string().contains("10.0.0.1"), "{body}");
}

/// The records of a request, held to `logs.proto` in JSON.
fn otlp_records(body: &Value) -> Vec<Value> {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(body), ["resourceLogs"]);
    let [logs] = &body["resourceLogs"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(keys(logs), ["resource", "scopeLogs"]);
    assert_eq!(attributes(&logs["resource"])["service.name"], json!({"stringValue": "cofferdam"}));
    let [scope] = &logs["scopeLogs"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(
        (keys(scope), keys(&scope["scope"])),
        (vec!["logRecords".into(), "scope".into()], vec!["name".to_owned(), "version".into()])
    );
    let records = scope["logRecords"].as_array().unwrap().clone();
    for record in &records {
        let known = [
            "attributes",
            "body",
            "eventName",
            "observedTimeUnixNano",
            "severityNumber",
            "severityText",
            "timeUnixNano",
        ];
        assert_eq!(keys(record), known);
        for time in ["timeUnixNano", "observedTimeUnixNano"] {
            assert!(record[time].as_str().unwrap().parse::<u64>().unwrap() > START * 1000 - 1);
        }
        assert!((1..=24).contains(&record["severityNumber"].as_u64().unwrap()));
    }
    records
}

/// Attributes by name, each a right `AnyValue`, and none twice.
fn attributes(of: &Value) -> serde_json::Map<String, Value> {
    fn check(value: &Value) {
        let fields: Vec<_> = value.as_object().unwrap().iter().collect();
        let [(name, inside)] = &fields[..] else { panic!("{value} is no AnyValue") };
        match name.as_str() {
            "stringValue" => assert!(inside.is_string()),
            "boolValue" => assert!(inside.is_boolean()),
            "intValue" => drop(inside.as_str().unwrap().parse::<i64>().unwrap()),
            "doubleValue" => assert!(inside.is_number()),
            "arrayValue" => inside["values"].as_array().unwrap().iter().for_each(check),
            other => panic!("{other}"),
        }
    }
    let mut all = serde_json::Map::new();
    for pair in of["attributes"].as_array().unwrap() {
        check(&pair["value"]);
        let twice = all.insert(pair["key"].as_str().unwrap().to_owned(), pair["value"].clone());
        assert_eq!(twice, None);
    }
    all
}

#[test]
fn a_table_of_clickhouse_gets_rows_with_a_token_that_is_the_same_when_they_come_again() {
    let mut world = World::new();
    world.ledger.append(&[denial(0, "{\"a\": [1]}")]).unwrap();
    let down = answer("500 Internal Server Error", "", "Code: 241. DB::Exception: Memory limit exceeded");
    let collector = Collector::start(&[down]);
    let exports = world.start(&[collector.url("clickhouse+", "/security")], &Settings::default());
    wait(&exports, |status| status.sent == 1);
    let [first, second] = &collector.asked()[..] else { panic!("it was not tried twice") };
    assert_eq!((&first.path, &first.body), (&second.path, &second.body));
    let (path, token) = first.path.rsplit_once("&insert_deduplication_token=").unwrap();
    assert_eq!(token.len(), 64);
    let insert = "/?query=INSERT%20INTO%20security.cofferdam_records%20FORMAT%20JSONEachRow";
    assert!(path.starts_with(insert) && path.contains("&async_insert=1&wait_for_async_insert=1&"), "{path}");
    let row = first.lines().remove(0);
    assert_eq!(
        (&row["detail"], &row["source"], &row["port"]),
        (&json!("{\"a\": [1]}"), &json!("ai/Job/j0"), &json!(443))
    );
    // Exactly the columns of the table.
    let ddl = export::clickhouse_ddl("security", 90);
    let columns = ddl.split_once('(').unwrap().1.split_once("\nENGINE").unwrap().0;
    for name in row.as_object().unwrap().keys() {
        assert!(columns.contains(&format!(" {name} ")), "{name} is no column of {columns}");
    }
}

#[test]
fn exporting_once_sends_all_of_it_and_says_where_it_gave_up() {
    let mut world = World::with(3);
    // It may still grow, and is sent as it is.
    let now = observe::Time::from(std::time::SystemTime::now()).0;
    world.ledger.append(&[Entry { time: now, ..Entry::new(Kind::Flow, Verdict::Allow) }]).unwrap();
    let reader = Reader::open(&world.path).unwrap();
    let out = world.folder.path().join("out");
    let target: Target = format!("ocsf+file:{}", out.display()).parse().unwrap();
    let sent = once(&reader, 1, &target, &Settings::default()).unwrap();
    assert_eq!((sent.sent, sent.refused, sent.last), (3, 0, 4));
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 3);
    let collector = Collector::start(&[answer("200 OK", "", "")]);
    let target: Target = collector.url("", "/").parse().unwrap();
    assert_eq!(once(&reader, 0, &target, &Settings::default()).unwrap().sent, 4);
    assert_eq!(once(&reader, 4, &target, &Settings::default()).unwrap().sent, 0);
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_sent() {
    let world = World::new();
    let headers = world.file("headers", "Authorization: Bearer geheim");
    let other = world.file("other", "X-Key: geheim");
    let empty = world.file("empty.pem", "");
    let missing = world.folder.path().join("missing");
    let with = |headers: Option<&PathBuf>, authorities: Option<&PathBuf>| Settings {
        headers: headers.cloned(),
        authorities: authorities.cloned(),
        ..Settings::default()
    };
    for (urls, settings, says) in [
        (vec!["http://logs.example/"], with(Some(&headers), None), "would be readable on the way: use https"),
        (
            vec!["nats://bus.example/a"],
            with(Some(&headers), None),
            "would be readable on the way: use nats-tls://",
        ),
        (vec!["nats-tls://bus.example/a"], with(Some(&other), None), "NATS takes one header"),
        (vec!["https://logs.example/"], with(Some(&missing), None), "reading headers"),
        (vec!["https://logs.example/"], with(None, Some(&missing)), "reading it"),
        (vec!["syslog+tls://logs.example"], with(None, Some(&empty)), "there is no certificate in it"),
        (vec!["stdout:", "stdout:"], with(None, None), "named twice"),
        (vec!["stdout:"; 17], with(None, None), "17 targets to export to, and at most 16"),
    ] {
        let urls: Vec<_> = urls.into_iter().map(str::to_owned).collect();
        let error = Exports::new(&world.path, &targets(&urls), &settings).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("geheim"), "{error}");
    }
}

#[test]
fn a_ledger_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let collector = Collector::start(&[]);
    let exports = Exports::new(&path, &targets(&[collector.url("", "/")]), &Settings::default()).unwrap();
    exports.begin().unwrap();
    wait(&exports, |status| status.problem.is_some());
    Ledger::open(&path).unwrap().0.append(&[denial(0, "{}")]).unwrap();
    let status = wait(&exports, |status| status.sent == 1);
    assert_eq!(status.problem, None);
}
