//! All that can be asked: one table, by which requests are led and the OpenAPI document is made.

use crate::handle::{Asked, Reply, findings, fleet, graph, incidents, live, records, sums, usage};
use crate::problem::Problem;
use crate::query::{Parameter, ParameterKind, decode};
use crate::shape::fleet::Fleet;
use crate::shape::incident::{
    ContainOrder, Containment, Finding, Hunt, Incident, IncidentWhole, Incidents, LogIn, LogInBy, Me,
    ReleaseOrder, Released, Words,
};
use crate::shape::live::{ManifestAnswer, Policies, Status};
use crate::shape::records::{Edges, Graph, Hints, Record, Series, SumAnswer, Usage, Why};
use crate::shape::{Done, List};
use crate::who::Role;
use hyper::Method;
use schemars::{Schema, SchemaGenerator};

/// Where all of it is.
pub const BASE: &str = "/api/v1";

/// How a type is described.
pub(crate) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// One thing that can be asked.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Below [`BASE`]; a segment in braces stands for any.
    pub(crate) path: &'static str,
    /// What one must be allowed to do; `None`: nobody has to be recognised.
    pub(crate) role: Option<Role>,
    pub(crate) about: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) body: Option<Describe>,
    pub(crate) answer: Answers,
    pub(crate) handle: Handle,
}

/// Of what form the answer is.
#[derive(Clone, Copy)]
pub(crate) enum Answers {
    /// JSON of a type.
    Json(Describe),
    /// Something else of this media type.
    Other(&'static str),
    /// A browser is led elsewhere, or told on a page why not.
    Elsewhere,
}

/// How it is answered.
#[derive(Clone, Copy)]
pub(crate) enum Handle {
    /// By what the ledger's file has, whatever else is asked.
    Ledger(fn(&Asked<'_>, &ledger::Reader) -> Result<Reply, Problem>),
    /// By what the store has that is asked instead of the file, or by the file.
    Store(fn(&Asked<'_>, &dyn ledger::BoundedStore) -> Result<Reply, Problem>),
    /// The same, and by the file in a way of its own.
    Either {
        file: fn(&Asked<'_>, &ledger::Reader) -> Result<Reply, Problem>,
        store: fn(&Asked<'_>, &dyn ledger::BoundedStore) -> Result<Reply, Problem>,
    },
    /// By whoever runs this, on a thread that may wait.
    Aside(fn(&Asked<'_>) -> Result<Reply, Problem>),
    /// With records as they come.
    Stream,
    /// With a cookie.
    LogIn,
    /// By taking the cookie back.
    LogOut,
    /// With whether an identity provider logs people in.
    LogInBy,
    /// By sending the browser to the identity provider.
    SignOn,
    /// By what it sent the browser back with, whatever else is beside it.
    SignedOn,
}

/// What may stand for a segment in braces, in bytes.
const SEGMENT_BYTES: usize = 1024;

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind: ParameterKind::Text, about }
}

const fn limit(most: i64, about: &'static str) -> Parameter {
    Parameter { name: "limit", kind: ParameterKind::Number(1, most), about }
}

const SINCE: Parameter = Parameter {
    name: "since",
    kind: ParameterKind::Time,
    about: "Not older: a time, or how long ago, like 90s, 5m, 2h or 1d",
};
const UNTIL: Parameter =
    Parameter { name: "until", kind: ParameterKind::Time, about: "Not younger: written like since" };
const KINDS: &[&str] = &["flow", "dns", "tls", "ai_call", "finding", "audit"];
const KIND: Parameter = Parameter {
    name: "kind",
    kind: ParameterKind::SomeOf(KINDS),
    about: "Only these kinds; may be repeated",
};
const VERDICT: Parameter = Parameter {
    name: "verdict",
    kind: ParameterKind::OneOf(&["allow", "deny", "fail", "none"]),
    about: "Only this verdict",
};
const SOURCE: Parameter = text("source", "Who, as records have it; with * at the end all that begin so");
const DESTINATION: Parameter = text("destination", "To whom; with * at the end all that begin so");
const PORT: Parameter =
    Parameter { name: "port", kind: ParameterKind::Number(0, 65_535), about: "Destination port" };
const RULE: Parameter = text("rule", "The rule that decided; with * at the end all that begin so");
const REASON: Parameter = text("reason", "Why");
const NODE: Parameter =
    text("node", "The enforcement point: in a ledger of several nodes; with * at the end all that begin so");
const TOOL: Parameter = text(
    "tool",
    "Only requests that offer or call a tool of this name; with * at the end all that begin so, * alone any",
);
const Q: Parameter = text("q", "Part of source, destination, rule or reason, in either case");
const BEFORE: Parameter = Parameter {
    name: "before",
    kind: ParameterKind::Number(1, i64::MAX),
    about: "Only lower numbers: `next` of an earlier answer",
};
const AFTER: Parameter = Parameter {
    name: "after",
    kind: ParameterKind::Number(0, i64::MAX),
    about: "Begin behind this number; the header Last-Event-ID goes before it",
};

/// All of them.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(crate) fn routes() -> Vec<Route> {
    use Answers::{Json, Other};
    use Handle::{Aside, Either, Ledger, Store};
    let get = |path, about, parameters, answer, handle| Route {
        method: Method::GET,
        path,
        role: Some(Role::Viewer),
        about,
        parameters,
        body: None,
        answer,
        handle,
    };
    let post = |path, about, body: Describe, answer: Describe, handle| Route {
        method: Method::POST,
        path,
        role: Some(Role::Operator),
        about,
        parameters: &[],
        body: Some(body),
        answer: Json(answer),
        handle: Aside(handle),
    };
    vec![
        get("/me", "Who asks", &[], Json(SchemaGenerator::subschema_for::<Me>), Aside(live::me)),
        Route {
            role: None,
            handle: Handle::LogIn,
            ..post(
                "/session",
                "Log in: the answer sets a cookie",
                SchemaGenerator::subschema_for::<LogIn>,
                SchemaGenerator::subschema_for::<Me>,
                live::me,
            )
        },
        Route {
            method: Method::DELETE,
            path: "/session",
            role: None,
            about: "Log out",
            parameters: &[],
            body: None,
            answer: Json(SchemaGenerator::subschema_for::<Done>),
            handle: Handle::LogOut,
        },
        Route {
            role: None,
            ..get(
                "/login/provider",
                "Whether people can log in by way of an identity provider",
                &[],
                Json(SchemaGenerator::subschema_for::<LogInBy>),
                Handle::LogInBy,
            )
        },
        Route {
            role: None,
            ..get(
                "/login",
                "Log in by way of the identity provider: the answer leads a browser there",
                const { &[text("page", "Page of the console to go on with, such as flows?range=1h")] },
                Answers::Elsewhere,
                Handle::SignOn,
            )
        },
        Route {
            role: None,
            ..get(
                "/login/callback",
                "Where the identity provider sends the browser back to: the answer sets a cookie, and leads to the console",
                const {
                    &[
                        text("state", "As the request to the provider had it"),
                        text("code", "For which the provider gives an ID token"),
                        text("error", "Why there is no code"),
                        text("error_description", "The same in words"),
                        text("iss", "The issuer (RFC 9207)"),
                    ]
                },
                Answers::Elsewhere,
                Handle::SignedOn,
            )
        },
        get(
            "/status",
            "How things stand",
            &[],
            Json(SchemaGenerator::subschema_for::<Status>),
            Ledger(live::status),
        ),
        get(
            "/records",
            "What happened: entries of the ledger, the newest first",
            const {
                &[
                    KIND,
                    VERDICT,
                    SOURCE,
                    DESTINATION,
                    PORT,
                    RULE,
                    REASON,
                    NODE,
                    TOOL,
                    Q,
                    SINCE,
                    UNTIL,
                    BEFORE,
                    limit(1000, "At most so many [100]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<List<Record>>),
            Store(records::list),
        ),
        get(
            "/records/stream",
            "What happens, as server-sent events: `record` with its number as id, `lost` with how many were left out, `ping`",
            &[KIND, VERDICT, SOURCE, DESTINATION, PORT, RULE, REASON, NODE, TOOL, Q, SINCE, UNTIL, AFTER],
            Other("text/event-stream"),
            Handle::Stream,
        ),
        get(
            "/records/{number}",
            "One of them, the rule that decided with its lines, the way through the tiers, and what belongs to the same connection",
            &[],
            Json(SchemaGenerator::subschema_for::<Why>),
            Store(records::one),
        ),
        get(
            "/hints",
            "The most frequent words that a filter could have",
            const {
                &[
                    Parameter {
                        name: "field",
                        kind: ParameterKind::OneOf(&["source", "destination", "rule", "reason", "node"]),
                        about: "Of which field [source]",
                    },
                    text("prefix", "How they begin"),
                    KIND,
                    NODE,
                    SINCE,
                    UNTIL,
                    limit(100, "At most so many [20]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<Hints>),
            Ledger(sums::hints),
        ),
        get(
            "/edges",
            "Who ever reached, or tried to reach, whom, those first that were first seen last",
            const {
                &[
                    Parameter {
                        name: "new",
                        kind: ParameterKind::Flag,
                        about: "Only those that were first seen since `since`",
                    },
                    SINCE,
                    UNTIL,
                    SOURCE,
                    DESTINATION,
                    PORT,
                    RULE,
                    Parameter {
                        name: "verdict",
                        kind: ParameterKind::OneOf(&["allow", "deny"]),
                        about: "Only those of which some were let through, or some were not",
                    },
                    text("q", "Part of source, destination or the rule that decided last, in either case"),
                    text("before", "Only what follows an earlier answer: its `next`"),
                    limit(10_000, "At most so many [1000]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<Edges>),
            Store(sums::edges),
        ),
        get(
            "/graph",
            "Who reached, or tried to reach, whom in a time, to be drawn",
            const {
                &[
                    VERDICT,
                    SOURCE,
                    DESTINATION,
                    PORT,
                    RULE,
                    REASON,
                    NODE,
                    Q,
                    Parameter {
                        name: "new",
                        kind: ParameterKind::Flag,
                        about: "Only those that nobody saw before `since`",
                    },
                    Parameter {
                        name: "fold",
                        kind: ParameterKind::Flag,
                        about: "Where there are more than `limit`, put parties together that belong together, \
                                instead of leaving out what is weak",
                    },
                    Parameter {
                        name: "open",
                        kind: ParameterKind::Texts,
                        about: "Of what is put together, this one's parties one by one: the id of such a node; may be repeated",
                    },
                    SINCE,
                    UNTIL,
                    limit(50_000, "At most so many pairs and ports, and 10,000 [2000]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<Graph>),
            Either { file: graph::graph, store: graph::graph_of },
        ),
        get(
            "/top",
            "Who sent and received most, or was denied most",
            const {
                &[
                    Parameter {
                        name: "by",
                        kind: ParameterKind::OneOf(&["source", "destination", "rule"]),
                        about: "By what connections are summed up [source]",
                    },
                    Parameter {
                        name: "measure",
                        kind: ParameterKind::OneOf(&["bytes", "count", "denied"]),
                        about: "What counts [bytes]",
                    },
                    SINCE,
                    limit(1000, "At most so many [20]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<List<SumAnswer>>),
            Store(sums::top),
        ),
        get(
            "/series",
            "How often what was, over time",
            const {
                &[
                    KIND,
                    Parameter {
                        name: "by",
                        kind: ParameterKind::OneOf(&[
                            "verdict",
                            "kind",
                            "source",
                            "destination",
                            "rule",
                            "reason",
                        ]),
                        about: "What is told apart [verdict]",
                    },
                    VERDICT,
                    SOURCE,
                    DESTINATION,
                    PORT,
                    RULE,
                    REASON,
                    NODE,
                    TOOL,
                    Q,
                    SINCE,
                    UNTIL,
                    Parameter {
                        name: "step",
                        kind: ParameterKind::Number(1, 86_400),
                        about: "Seconds of one value [60, or more where there would be more than 2000 values]",
                    },
                ]
            },
            Json(SchemaGenerator::subschema_for::<Series>),
            Store(sums::series),
        ),
        get(
            "/usage",
            "What calls of models used, by workload, service and model; and budgets",
            &[VERDICT, SOURCE, DESTINATION, PORT, RULE, REASON, NODE, TOOL, Q, SINCE, UNTIL],
            Json(SchemaGenerator::subschema_for::<Usage>),
            Ledger(usage::usage),
        ),
        get(
            "/policies",
            "All policies in force, and how often each rule decided, of what the ledger has",
            &[NODE, SINCE, UNTIL],
            Json(SchemaGenerator::subschema_for::<Policies>),
            Ledger(live::policies),
        ),
        get(
            "/policies/{kind}/{namespace}/{name}",
            "One object as it was written; `-` for no namespace",
            &[],
            Json(SchemaGenerator::subschema_for::<ManifestAnswer>),
            Aside(live::manifest),
        ),
        get(
            "/findings",
            "What somebody should look at: each once, as the newest entry about it says, the newest first",
            const {
                &[
                    Parameter {
                        name: "state",
                        kind: ParameterKind::OneOf(&["open", "acknowledged"]),
                        about: "Only those",
                    },
                    Parameter {
                        name: "severity",
                        kind: ParameterKind::SomeOf(&["low", "medium", "high"]),
                        about: "Only these; may be repeated",
                    },
                    text(
                        "workload",
                        "Only of this one, as records have it; with * at the end all that begin so",
                    ),
                    text("subject", "Only about this; with * at the end all that begin so"),
                    NODE,
                    text("q", "Part of detector, workload, subject or sentence, in either case"),
                    SINCE,
                    UNTIL,
                    BEFORE,
                    limit(1000, "At most so many [100]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<List<Finding>>),
            Ledger(findings::list),
        ),
        post(
            "/findings/{id}/acknowledge",
            "Say that somebody has seen it",
            SchemaGenerator::subschema_for::<Words>,
            SchemaGenerator::subschema_for::<Done>,
            incidents::acknowledge_finding,
        ),
        get(
            "/incidents",
            "Findings that belong together, the latest first",
            const {
                &[
                    Parameter {
                        name: "state",
                        kind: ParameterKind::SomeOf(&["open", "acknowledged", "contained", "closed"]),
                        about: "Only those; may be repeated",
                    },
                    text("workload", "Only of this one; with * at the end all that begin so"),
                    NODE,
                    text("q", "Part of title, workloads, destinations or detectors, in either case"),
                    SINCE,
                    UNTIL,
                    limit(10_000, "At most so many [1000]"),
                ]
            },
            Json(SchemaGenerator::subschema_for::<Incidents>),
            Ledger(incidents::list),
        ),
        get(
            "/incidents/{id}",
            "All about one of them, by its id or as much of it as no other begins with",
            &[],
            Json(SchemaGenerator::subschema_for::<IncidentWhole>),
            Ledger(incidents::one),
        ),
        post(
            "/incidents/{id}/notes",
            "Write something down",
            SchemaGenerator::subschema_for::<Words>,
            SchemaGenerator::subschema_for::<Incident>,
            incidents::note,
        ),
        post(
            "/incidents/{id}/acknowledge",
            "Say that somebody has seen it",
            SchemaGenerator::subschema_for::<Words>,
            SchemaGenerator::subschema_for::<Incident>,
            incidents::acknowledge,
        ),
        post(
            "/incidents/{id}/close",
            "Say that it is over",
            SchemaGenerator::subschema_for::<Words>,
            SchemaGenerator::subschema_for::<Incident>,
            incidents::close,
        ),
        post(
            "/incidents/{id}/reopen",
            "Say that it is not over",
            SchemaGenerator::subschema_for::<Words>,
            SchemaGenerator::subschema_for::<Incident>,
            incidents::reopen,
        ),
        post(
            "/incidents/{id}/contain",
            "Let a workload reach nobody, and nobody it, for a while; asked again, the later end counts",
            SchemaGenerator::subschema_for::<ContainOrder>,
            SchemaGenerator::subschema_for::<Containment>,
            incidents::contain,
        ),
        post(
            "/incidents/{id}/release",
            "End that",
            SchemaGenerator::subschema_for::<ReleaseOrder>,
            SchemaGenerator::subschema_for::<Released>,
            incidents::release,
        ),
        Route {
            role: Some(Role::Operator),
            ..get(
                "/incidents/{id}/evidence",
                "A sealed bundle of all about it, named as for GET; taking it is audited",
                &[],
                Other("application/x-tar"),
                Ledger(incidents::evidence),
            )
        },
        get(
            "/hunt",
            "Where a domain, address, workload, key, model, hash or rule was seen",
            const { &[text("indicator", "What to look for"), NODE, SINCE, UNTIL] },
            Json(SchemaGenerator::subschema_for::<Hunt>),
            Ledger(incidents::hunt),
        ),
        get(
            "/clusters",
            "Clusters of the fleet and what is rolled out to them, where this process was given a hub",
            &[],
            Json(SchemaGenerator::subschema_for::<Fleet>),
            Aside(fleet::fleet),
        ),
        get(
            "/openapi.json",
            "The OpenAPI 3.1 document of all this",
            &[],
            Other("application/json"),
            Aside(live::openapi),
        ),
    ]
}

/// What a path leads to.
pub(crate) struct Led<'r> {
    /// One for each method.
    pub(crate) routes: Vec<&'r Route>,
    /// What stands for segments in braces, of the first.
    pub(crate) words: Vec<String>,
}

/// Finds what a path below [`BASE`] leads to. A path that is written out goes before one with braces.
///
/// # Errors
/// There is nothing, or the path is no text.
pub(crate) fn lead<'r>(routes: &'r [Route], path: &str) -> Result<Led<'r>, Problem> {
    let mut found: Vec<(usize, &Route)> = Vec::new();
    for route in routes {
        if let Some(braces) = matches(route.path, path) {
            found.push((braces, route));
        }
    }
    let Some(fewest) = found.iter().map(|(braces, _)| *braces).min() else {
        return Err(Problem::not_found(format!(
            "there is no such thing; {BASE}/openapi.json lists all there is"
        )));
    };
    let routes: Vec<_> =
        found.into_iter().filter(|(braces, _)| *braces == fewest).map(|(_, route)| route).collect();
    let template = routes.first().map_or("", |route| route.path);
    let mut words = Vec::new();
    for (wanted, given) in template.split('/').zip(path.split('/')) {
        if wanted.starts_with('{') {
            let word = decode(given, false)?;
            if word.len() > SEGMENT_BYTES {
                return Err(Problem::bad(format!("the path has a part longer than {SEGMENT_BYTES} bytes")));
            }
            words.push(word);
        }
    }
    Ok(Led { routes, words })
}

/// How many segments in braces it took; `None`: it does not match.
fn matches(template: &str, path: &str) -> Option<usize> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut braces = 0;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(braces),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => braces += 1,
            (Some(wanted), Some(given)) if wanted == given => {}
            (_, _) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_is_written_out_first() {
        let routes = routes();
        for (path, to, words) in [
            ("/records", "/records", vec![]),
            ("/records/7", "/records/{number}", vec!["7"]),
            ("/records/stream", "/records/stream", vec![]),
            ("/policies/A/-/c%2Fd", "/policies/{kind}/{namespace}/{name}", vec!["A", "-", "c/d"]),
            ("/incidents/x/notes", "/incidents/{id}/notes", vec!["x"]),
        ] {
            let led = lead(&routes, path).unwrap();
            assert_eq!(
                (led.routes[0].path, led.words),
                (to, words.iter().map(ToString::to_string).collect())
            );
        }
        for path in ["", "/", "/records/", "/records/7/8", "/record", "/policies/A/b", "/records/%ff"] {
            assert!(lead(&routes, path).is_err(), "{path}");
        }
        assert_eq!(lead(&routes, "/session").unwrap().routes.len(), 2);
    }
}
