//! The OpenAPI 3.1 document, made of the table of routes and of the types that are answered.

use crate::problem::ProblemAnswer;
use crate::query::{Parameter, ParameterKind};
use crate::route::{Answers, BASE, Route, routes};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut answers = settings.clone().for_serialize().into_generator();
    let mut bodies = settings.for_deserialize().into_generator();
    let problem = answers.subschema_for::<ProblemAnswer>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let operation = operation(&route, &mut answers, &mut bodies);
        let path = paths.entry(format!("{BASE}{}", route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas = bodies.take_definitions(true);
    schemas.extend(answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cofferdam",
            "version": "1",
            "description": "What the ledger of one `cofferdam up` or agent knows, and what goes on there. Names in answers \
                come from the wire: show them as text only.",
        },
        "security": [{ "bearer": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": "Why it was not done",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "cofferdam_session",
                    "description": "Set by POST /session; over TLS it is `__Host-cofferdam_session`. Whatever is not GET needs the header `x-cofferdam-csrf: 1`, too.",
                },
            },
        },
    })
}

fn operation(route: &Route, answers: &mut SchemaGenerator, bodies: &mut SchemaGenerator) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let parameters: Vec<Value> = in_path.chain(route.parameters.iter().map(parameter)).collect();
    let done = |kind: &str, schema: Value| {
        json!({
            "200": { "description": "Done", "content": { kind: { "schema": schema } } },
            "default": { "$ref": "#/components/responses/Problem" },
        })
    };
    let responses = match route.answer {
        Answers::Json(describe) => done("application/json", describe(answers).to_value()),
        Answers::Other(kind) => done(kind, json!({})),
        Answers::Elsewhere => json!({
            "302": {
                "description": "Where the browser goes on",
                "headers": { "Location": { "schema": { "type": "string" } } },
            },
            "default": { "description": "Why it does not, for people", "content": { "text/html": { "schema": {} } } },
        }),
    };
    let mut operation = json!({
        "operationId": name(route),
        "summary": route.about,
        "parameters": parameters,
        "responses": responses,
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    match route.role {
        Some(role) => fields.insert("x-role".to_owned(), role.name().into()),
        None => fields.insert("security".to_owned(), json!([])),
    };
    if let Some(describe) = route.body {
        let schema = describe(bodies).to_value();
        fields.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": { "application/json": { "schema": schema } } }),
        );
    }
    operation
}

/// For example `get_incidents_id_evidence`.
fn name(route: &Route) -> String {
    let path: String = route
        .path
        .chars()
        .filter_map(|it| match it {
            '/' | '.' => Some('_'),
            '{' | '}' => None,
            other => Some(other),
        })
        .collect();
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

fn parameter(parameter: &Parameter) -> Value {
    let mut is_list = false;
    let schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Time => json!({ "type": "string", "examples": ["2026-11-23T21:06:27Z", "2h"] }),
        ParameterKind::Flag => json!({ "type": "boolean" }),
        ParameterKind::Number(least, most) => {
            let mut schema = json!({ "type": "integer", "minimum": least });
            if let Some(fields) = schema.as_object_mut().filter(|_| most < i64::MAX) {
                fields.insert("maximum".to_owned(), most.into());
            }
            schema
        }
        ParameterKind::Texts => {
            is_list = true;
            json!({ "type": "array", "items": { "type": "string" } })
        }
        ParameterKind::OneOf(words) => json!({ "type": "string", "enum": words }),
        ParameterKind::SomeOf(words) => {
            is_list = true;
            json!({ "type": "array", "items": { "type": "string", "enum": words } })
        }
    };
    let mut all = json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": schema,
    });
    if let Some(fields) = all.as_object_mut().filter(|_| is_list) {
        fields.insert("style".to_owned(), "form".into());
        fields.insert("explode".to_owned(), true.into());
    }
    all
}
