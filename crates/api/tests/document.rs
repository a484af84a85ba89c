//! The OpenAPI document and what is really answered are the same: every route is asked, and its answer held against it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::served;
use crate::served::{Answer, Served, serve};
use serde_json::{Map, Value, json};

/// Whether a value is what a schema says, and nothing besides: a field that the schema does not have is one too many.
fn fits(schema: &Value, value: &Value, document: &Value) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let meant = document.pointer(reference.trim_start_matches('#'));
        return fits(meant.ok_or(format!("{reference} is not there"))?, value, document);
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema.get(several).and_then(Value::as_array) {
            let wrongs: Vec<_> = schemas.iter().filter_map(|it| fits(it, value, document).err()).collect();
            if wrongs.len() == schemas.len() {
                return Err(wrongs.join(" and "));
            }
        }
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        return Err(format!("{value} is not one of {words:?}"));
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        return Err(format!("{value} is not {:?}", schema["const"]));
    }
    has_type(schema, value)?;
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (place, value) in values.iter().enumerate() {
            fits(items, value, document).map_err(|wrong| format!("[{place}]: {wrong}"))?;
        }
    }
    if schema.get("type") == Some(&json!("object")) {
        has_fields(schema, value.as_object().unwrap(), document)?;
    }
    Ok(())
}

fn has_type(schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    let Some(types) = schema.get("type") else { return Ok(()) };
    let types = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}: a type that this test does not know"),
    };
    if types.iter().any(|it| is(it.as_str().unwrap())) {
        Ok(())
    } else {
        Err(format!("{value} is no {types:?}"))
    }
}

fn has_fields(
    schema: &Map<String, Value>,
    value: &Map<String, Value>,
    document: &Value,
) -> Result<(), String> {
    let none = Map::new();
    let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(missing) = required.iter().find(|name| !value.contains_key(name.as_str().unwrap())) {
        return Err(format!("{missing} is missing"));
    }
    for (name, value) in value {
        let schema = known.get(name).ok_or(format!("{name} is not in the document"))?;
        fits(schema, value, document).map_err(|wrong| format!("{name}: {wrong}"))?;
    }
    Ok(())
}

/// What is asked of each route that is not GET, or has braces.
fn asked(server: &Served, method: &str, path: &str) -> Answer {
    let newest = served::ENTRIES.to_string();
    // What is read comes from the ledger; what is ordered, from who does it.
    let incidents = server.get("/incidents").json();
    let incident = incidents["items"][0]["id"].as_str().unwrap();
    let incident = if method == "GET" { incident } else { "inc-1" };
    let path = path
        .replace("{number}", &newest)
        .replace("{kind}/{namespace}/{name}", "EgressPolicy/ai/train")
        .replace("{id}", incident);
    let path = if path == "/hunt" { "/hunt?indicator=example.com".to_owned() } else { path };
    // The sample's hour is not the last one.
    let spans = ["/graph", "/series", "/usage", "/hints", "/top", "/edges", "/records", "/policies"];
    let span = if spans.contains(&path.as_str()) { "?since=2026-11-26T11:00:00Z" } else { "" };
    let body = match path.as_str() {
        "/session" => r#"{"token":"viewer"}"#,
        "/incidents/inc-1/contain" => r#"{"workload":"ai/Job/train","minutes":10,"dry_run":true}"#,
        "/incidents/inc-1/release" => r#"{"workload":"ai/Job/train"}"#,
        _ => r#"{"text":"seen"}"#,
    };
    let body = if method == "POST" { body } else { "" };
    let headers = [("authorization", "Bearer operator"), ("content-type", "application/json")];
    server.say(&format!("{method} /api/v1{path}{span}"), &headers, body)
}

#[test]
fn every_route_answers_as_the_document_says() {
    let server = serve();
    let document = server.get("/openapi.json").json();
    assert_eq!(document, api::document());
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix(api::BASE).unwrap();
        for (method, operation) in operations.as_object().unwrap() {
            // Where browsers are led needs somebody to lead them to: sign_on.rs.
            if path == "/records/stream" || operation["responses"].get("302").is_some() {
                continue;
            }
            let answer = asked(&server, &method.to_uppercase(), path);
            let name = format!("{method} {path}");
            assert_eq!(answer.status, 200, "{name}: {}", String::from_utf8_lossy(&answer.body));
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            let (kind, media) = content.iter().next().unwrap();
            assert_eq!(answer.header("content-type"), Some(kind.as_str()), "{name}");
            if kind == "application/json" {
                let value = answer.json();
                fits(&media["schema"], &value, &document)
                    .unwrap_or_else(|wrong| panic!("{name}: {wrong}\n{value:#}"));
            }
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}

/// The types of the console are made of it: `web/scripts/types.mjs`.
#[test]
fn the_document_that_the_console_is_made_by_is_this_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/openapi.json");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let made = format!("{:#}\n", api::document());
    if kept == made {
        return;
    }
    if std::env::var_os("COFFERDAM_WRITE").is_some() {
        std::fs::write(&path, made).unwrap();
        return;
    }
    let differs = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    panic!(
        "web/openapi.json is stale: `COFFERDAM_WRITE=1 cargo test -p api --test all document`, then `npm run types` in web/; \
         first: {differs:?}"
    );
}

#[test]
fn a_hub_that_is_gone_is_told_and_what_it_said_holds_for_a_moment() {
    let server = serve();
    let first = server.get("/clusters");
    assert_eq!(first.status, 200);
    let fleet = first.json();
    assert_eq!((fleet["has_hub"].clone(), fleet["clusters"].as_array().unwrap().len()), (json!(true), 2));
    assert_eq!(server.get("/clusters").json(), fleet, "asked again at once, the hub is not");
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let gone = server.get("/clusters");
    assert_eq!(gone.status, 503);
    assert_eq!(gone.json()["detail"], "the hub: it does not answer");
}

#[test]
fn why_has_the_tiers_and_the_lines_of_the_nearest_rule() {
    let server = serve();
    let denied = server.get("/records?verdict=deny&kind=flow&limit=1").json();
    let why = server.get(&format!("/records/{}", denied["items"][0]["number"])).json();
    let [recorded, walked] = [&why["nearest"], &why["walk"]["nearest"]];
    for nearest in [recorded, walked] {
        let lines = nearest["deciding"]["lines"].as_array().unwrap();
        assert!(lines.iter().any(|line| line["decides"] == true), "{nearest}");
    }
    assert_eq!(why["walk"]["sides"][0]["steps"][1]["decides"], true);
    let audit = server.get("/records?kind=audit&limit=1").json();
    let why = server.get(&format!("/records/{}", audit["items"][0]["number"])).json();
    assert!(why["walk"].is_null() && why["nearest"].is_null(), "{why}");
}

#[test]
fn what_is_refused_is_a_problem_as_the_document_says() {
    let server = serve();
    let document = api::document();
    let problem =
        &document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"];
    for (line, headers, status) in [
        ("GET /api/v1/nothing", vec![], 404),
        ("GET /api/v2/me", vec![], 404),
        ("GET /api/v1/me", vec![], 401),
        ("GET /api/v1/me", vec![("authorization", "Bearer no")], 401),
        ("GET /api/v1/me", vec![("authorization", "Bearer down")], 503),
        ("PUT /api/v1/me", vec![], 405),
        ("POST /", vec![], 405),
        ("GET /missing.js", vec![], 404),
        ("GET /api/v1/records?colour=red", vec![("authorization", "Bearer viewer")], 400),
        ("GET /api/v1/records/99999999", vec![("authorization", "Bearer viewer")], 404),
        ("GET /api/v1/records/x", vec![("authorization", "Bearer viewer")], 400),
        ("GET /api/v1/series?since=30d&step=1", vec![("authorization", "Bearer viewer")], 400),
        ("GET /api/v1/incidents/none", vec![("authorization", "Bearer viewer")], 404),
        ("GET /api/v1/incidents/x/evidence", vec![("authorization", "Bearer viewer")], 403),
        ("GET /api/v1/hunt", vec![("authorization", "Bearer viewer")], 400),
        ("GET /api/v1/me", vec![("host", "evil.example")], 421),
    ] {
        let answer = server.say(line, &headers, "");
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{line}");
        let value = answer.json();
        fits(problem, &value, &document).unwrap();
        assert_eq!(value["status"], status, "{line}");
        assert_eq!(value["request_id"].as_str(), answer.header("x-request-id"), "{line}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{line}");
    }
}

#[test]
fn a_value_that_the_document_does_not_have_is_found() {
    let document = api::document();
    let status = document.pointer("/components/schemas/Me").unwrap();
    assert!(fits(status, &json!({ "name": "a", "role": "viewer" }), &document).is_ok());
    for wrong in [
        json!({ "name": "a" }),
        json!({ "name": "a", "role": "emperor" }),
        json!({ "name": 1, "role": "viewer" }),
        json!({ "name": "a", "role": "viewer", "more": 1 }),
        json!([]),
    ] {
        assert!(fits(status, &wrong, &document).is_err(), "{wrong}");
    }
}
