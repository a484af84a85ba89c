//! Requests that have no family of their own, as rows of a table: what some hosts have beside an interface that many have,
//! and what servers and stores of others look like wherever they are.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what stores the caller's data is an upload, be it a vector, a measurement or
//! a message to somebody. Does not: know all of anybody's interface; what has no row is not known.
//!
//! Sources: the reference documentation of each service. Rows are `METHOD /path`: `*` is some segment or the rest of one,
//! `**` at the end whatever follows; `{model}` and `{resource}` are such segments, and what they are: several of one are
//! one with slashes between. The method `WS` is a GET that becomes a WebSocket.

mod anywhere;
mod clouds;
mod platforms;
mod speech;
mod there;

use anywhere::ANYWHERE;
use clouds::CLOUDS;
use platforms::PLATFORMS;
use speech::SPEECH;
use there::THERE;

use super::graphql;
use super::request::{Draft, Field, MODEL, Request, STREAM, Says, Shape, Wanted};
use super::shield::{Class, Server, class};
use policy::Verb;

/// Provider, request, part of the interface, what it does, and what its body says.
type Row = (&'static str, &'static str, &'static str, Verb, Reads);

/// What the body is read for.
#[derive(Clone, Copy, Debug)]
enum Reads {
    Nothing,
    /// Nothing; the answer streams.
    Streams,
    /// The fields `model` and `stream`.
    Model,
    /// The field `stream`.
    Stream,
    /// The field `model_id`.
    ModelId,
    /// The same; the answer streams.
    ModelIdStream,
    /// The field `collectionName`.
    Collection,
    /// A document of GraphQL.
    GraphQl,
    /// `request.model`.
    Within,
    /// The parameter `model` of the query.
    Query,
}

const MODEL_ID: &[Field] = &[Field { path: &["model_id"], says: Says::Model }];
const COLLECTION: &[Field] = &[Field { path: &["collectionName"], says: Says::Resource }];
const WITHIN: &[Field] = &[
    Field { path: &["request", "model"], says: Says::Model },
    Field { path: &["request", "stream"], says: Says::Stream },
];

/// Servers of models that have a table of what is theirs (`shield`).
const SERVERS: [Server; 9] = [
    Server::Vllm,
    Server::Sglang,
    Server::Tgi,
    Server::Triton,
    Server::Kserve,
    Server::Ollama,
    Server::LlamaCpp,
    Server::TorchServe,
    Server::Ray,
];
/// What other programs have as well.
const COMMON: [&str; 12] = [
    "/",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/events",
    "/nodes",
    "/nodes/**",
    "/logs/**",
    "/task/**",
    "/token",
    "/tools",
    "/tools/**",
];

/// Reads a head at a known host.
pub(super) fn there(request: &Request<'_>) -> Shape {
    let provider = request.provider("");
    let rows = [PLATFORMS, SPEECH, CLOUDS, THERE, ANYWHERE].into_iter().flatten();
    read(request, rows.filter(|row| row.0 == provider))
}

/// Reads a head at a host that is not known.
pub(super) fn anywhere(request: &Request<'_>) -> Shape {
    read(request, ANYWHERE.iter())
}

fn read(request: &Request<'_>, rows: impl Iterator<Item = &'static Row>) -> Shape {
    let mut segments = request.segments();
    // Pages of MLflow ask under this what programs ask under the other.
    if let [first, "2.0" | "3.0", ..] = segments.as_mut_slice()
        && *first == "ajax-api"
    {
        *first = "api";
    }
    let is_websocket = request.is_websocket();
    for (provider, row, api, verb, reads) in rows {
        let Some((method, pattern)) = row.split_once(" /") else { continue };
        let is_method = match method {
            "WS" => is_websocket,
            "GET" => request.is_read() && !is_websocket,
            method => method == request.method(),
        };
        let Some(named) = named(pattern, &segments).filter(|_| is_method) else { continue };
        let mut draft = Draft::new(provider, *api, *verb);
        draft.operation.model = named.model;
        draft.operation.resource = named.resource;
        draft.operation.stream = is_websocket;
        return reads.of(draft, request).map(Some);
    }
    Ok(None)
}

impl Reads {
    fn of(self, draft: Draft, request: &Request<'_>) -> Result<Draft, &'static str> {
        Ok(match self {
            Self::Nothing => draft,
            Self::Streams => draft.stream(true),
            Self::Model => draft.wants(Wanted::Json(MODEL)),
            Self::Stream => draft.wants(Wanted::Json(STREAM)),
            Self::ModelId => {
                let is_stream = request.segments().last() == Some(&"stream");
                draft.stream(is_stream).wants(Wanted::Json(MODEL_ID))
            }
            Self::ModelIdStream => draft.stream(true).wants(Wanted::Json(MODEL_ID)),
            Self::Collection => draft.wants(Wanted::Json(COLLECTION)),
            Self::GraphQl => graphql::draft(draft, request)?,
            Self::Within => draft.wants(Wanted::Json(WITHIN)),
            Self::Query => match request.parameter("model")? {
                Some(model) => draft.model(model),
                None => draft,
            },
        })
    }
}

/// What a path names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    model: Option<String>,
    resource: Option<String>,
}

/// What a segment of a path is.
enum Place {
    Nothing,
    Model,
    Resource,
}

/// Whether the pattern, without its first slash, is of this path, and what that names.
fn named(pattern: &str, segments: &[&str]) -> Option<Named> {
    let mut found = Named::default();
    let mut rest = segments.iter();
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return Some(found);
        }
        let segment = *rest.next()?;
        let (place, before, behind) = match (wanted.split_once("{model}"), wanted.split_once("{resource}")) {
            (Some((before, behind)), _) => (Place::Model, before, behind),
            (None, Some((before, behind))) => (Place::Resource, before, behind),
            (None, None) => match wanted.split_once('*') {
                // `**` within a segment is whatever is behind its beginning, in later segments too.
                Some((before, "*")) => return segment.starts_with(before).then_some(found),
                Some((before, behind)) => (Place::Nothing, before, behind),
                None if wanted == segment => continue,
                None => return None,
            },
        };
        let inner = segment.strip_prefix(before)?.strip_suffix(behind)?;
        if inner.is_empty() {
            return None;
        }
        let slot = match place {
            Place::Nothing => continue,
            Place::Resource => &mut found.resource,
            Place::Model => &mut found.model,
        };
        *slot = Some(slot.as_ref().map_or_else(|| inner.to_owned(), |before| format!("{before}/{inner}")));
    }
    rest.next().is_none().then_some(found)
}

/// What a server of models has, by the tables of those: the gravest that one of them has it for.
pub(super) fn server(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let is_common = COMMON.iter().any(|common| named(common.trim_start_matches('/'), &segments).is_some());
    if is_common || segments.is_empty() {
        return Ok(None);
    }
    let path = format!("/{}", segments.join("/"));
    let of = |server: Server| (server, class(server, request.method(), &path));
    let known = SERVERS.into_iter().map(of).filter(|(_, class)| *class != Class::Unknown);
    // The first of those that are alike: the tables begin with the server that most have.
    let Some((server, class)) = known.reduce(|one, other| if other.1 > one.1 { other } else { one }) else {
        return Ok(None);
    };
    let is_base = |segment: &&&str| matches!(**segment, "api" | "v1" | "v2" | "-") || segment.contains('.');
    let api = match segments.iter().find(|segment| !is_base(segment)).copied().unwrap_or_default() {
        _ if matches!(segments.first(), Some(&("predictions" | "explanations" | "wfpredict"))) => "infer",
        "embedding" | "embeddings" | "encode" => "embeddings",
        "reranking" => "rerank",
        "completion" => "completions",
        word => word,
    };
    let api = api.to_owned();
    let is_asked = request.method() == "POST" || request.method() == "PUT" && api == "infer";
    let draft = |verb| Draft::new(server.name(), api, verb);
    Ok(Some(match class {
        // TorchServe takes what is asked by PUT, too (`curl -T`).
        Class::Infer if !is_asked => return Ok(None),
        Class::Infer => {
            let draft = draft(Verb::Call);
            match segments.as_slice() {
                ["predictions" | "explanations" | "wfpredict", model, ..] => draft.model(*model),
                _ if request.content_type()? == "application/json" => draft.model_in_body(),
                _ => draft,
            }
        }
        Class::Introspect => draft(Verb::Meta),
        // TorchServe describes under the path under which it loads; more segments are somebody else's files.
        Class::MutateWeights if request.is_read() && segments.first() == Some(&"models") => {
            return Ok((segments.len() <= 3).then(|| draft(Verb::Meta)));
        }
        Class::Admin | Class::MutateWeights | Class::Unknown => draft(Verb::Admin),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_what_is_at_its_places() {
        let named = |pattern, path: &'static str| {
            let segments: Vec<_> = path.split('/').collect();
            named(pattern, &segments).map(|found| (found.model, found.resource))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(named("a/{model}:x", "a/b:x"), Some((text("b"), None)));
        assert_eq!(named("a/{model}/{model}", "a/b/c"), Some((text("b/c"), None)));
        assert_eq!(named("a/{resource}/c", "a/b/c"), Some((None, text("b"))));
        assert_eq!(named("a/*.b", "a/c.b"), Some((None, None)));
        assert_eq!(named("a/**", "a"), Some((None, None)));
        assert_eq!(named("a/**", "a/b/c"), Some((None, None)));
        assert_eq!(named("a.**", "a.b/c"), Some((None, None)));
        for (pattern, path) in
            [("a/*", "a"), ("a/*", "a/b/c"), ("a/*:x", "a/:x"), ("a", "b"), ("a/**", "b/c")]
        {
            assert_eq!(named(pattern, path), None, "{pattern} {path}");
        }
    }

    #[test]
    fn a_row_that_another_hides_says_the_same() {
        for rows in [PLATFORMS, SPEECH, CLOUDS, THERE, ANYWHERE] {
            for (at, (provider, row, _, verb, _)) in rows.iter().enumerate() {
                let (method, pattern) = row.split_once(" /").unwrap();
                assert!(["GET", "POST", "PUT", "PATCH", "DELETE", "WS"].contains(&method), "{row}");
                let segments: Vec<_> = pattern.split('/').collect();
                let first = rows.iter().find(|other| {
                    let (other_method, other_pattern) = other.1.split_once(" /").unwrap();
                    other.0 == *provider
                        && other_method == method
                        && named(other_pattern, &segments).is_some()
                });
                let first = first.unwrap();
                assert!(std::ptr::eq(first, &rows[at]) || first.3 == *verb, "{row} is hidden by {}", first.1);
            }
        }
    }
}
