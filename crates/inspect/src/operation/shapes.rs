//! Which families are asked about a head, and what holds for all of them.
//!
//! Enters: a head. Leaves: a [`Draft`]. Guarantees: at a known host only what that service has counts; anything that says
//! that the request is another than its first line tells makes it unknown. Does not: read bodies.

use super::hosts::{Family, Service};
use super::request::{self, Draft, Request, Rpc, Shape, Wanted};
use super::rpc::danger;
use super::target::Target;
use super::{Head, credential};
use super::{
    a2a, anthropic, azure, bedrock, cas, git, github, google, hub, inference, mcp, objects, oci, ollama,
    openai, packages,
};
use policy::{Operation, Verb};
use std::borrow::Cow;

type Reads = fn(&Request<'_>) -> Shape;

/// By their paths, the more particular before the more general.
const BY_PATH: &[Reads] = &[
    git::shape,
    azure::shape,
    google::gemini,
    google::vertex,
    google::gcs,
    oci::shape,
    cas::shape,
    hub::shape,
    ollama::shape,
    anthropic::shape,
    inference::shape,
    openai::shape,
    packages::shape,
];

/// By their header fields or bodies, whatever their paths; and who sends a request chooses both.
const BY_HEADER: &[Reads] = &[a2a::shape, mcp::shape, bedrock::shape, objects::azure_blob, objects::s3];

/// Families of which a request can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Families {
    by_path: &'static [Reads],
    by_header: &'static [Reads],
    /// Whether the host that is named says whose they are.
    by_host: bool,
}

/// All.
pub(super) const ALL: Families = Families { by_path: BY_PATH, by_header: BY_HEADER, by_host: true };

/// What servers of models, tools and agents speak.
pub(super) const OF_SERVERS: Families = Families {
    by_path: &[
        azure::shape,
        google::gemini,
        google::vertex,
        ollama::shape,
        anthropic::shape,
        inference::shape,
        openai::shape,
    ],
    by_header: &[a2a::shape, mcp::shape],
    by_host: false,
};

/// What is known of a request by its head.
pub(super) fn draft(head: &Head<'_>, families: Families) -> Draft {
    let service = if families.by_host { request::service(head) } else { None };
    let unknown = |why: &'static str| {
        let provider = service.map(|service| Cow::Borrowed(service.provider));
        let operation = Operation { provider, ..Operation::unknown(why) };
        Draft { operation, wanted: Wanted::Nothing, takes_odd_path: false, is_ambiguous: true }
    };
    if head.target == "*" && head.method == "OPTIONS" {
        return Draft {
            operation: Operation { verb: Verb::Meta, ..unknown("it asks what a server can do").operation },
            is_ambiguous: false,
            ..unknown("")
        };
    }
    let target = match Target::read(head.target) {
        Ok(target) => target,
        Err(why) => return unknown(why),
    };
    let request = Request { head, target: &target, service };
    let credentials = match credential::credentials(&request) {
        Ok(credentials) => credentials,
        Err(why) => return unknown(why),
    };
    let mut draft = match classify(&request, families) {
        Ok(Some(draft)) => draft,
        Ok(None) => {
            let why = match service {
                Some(_) => "nothing is known of such a request to this service",
                None => "neither the host nor the shape of the request is known",
            };
            Draft { is_ambiguous: false, ..unknown(why) }
        }
        Err(why) => unknown(why),
    };
    draft.operation.credentials = credentials;
    draft
}

/// Nothing is known any more but whose it is.
pub(super) fn forget(operation: &mut Operation, why: &'static str) {
    let (provider, credentials) = (operation.provider.take(), std::mem::take(&mut operation.credentials));
    *operation = Operation { provider, credentials, ..Operation::unknown(why) };
}

fn classify(request: &Request<'_>, families: Families) -> Shape {
    is_itself(request)?;
    if request.method() == "OPTIONS" {
        let is_preflight =
            request.has_header("origin") && request.has_header("access-control-request-method");
        return if is_preflight {
            Ok(Some(preflight(request)))
        } else {
            Err("OPTIONS is known only as a preflight")
        };
    }
    let found = if request.has_header("upgrade") { upgraded(request)? } else { asked(request, families)? };
    let Some(mut draft) = found else { return Ok(None) };
    let is_odd = request.target.has_slash || request.target.has_empty;
    if is_odd && !draft.takes_odd_path {
        return Err("the path has an encoded slash or an empty segment, which servers read differently");
    }
    draft.operation.reason = reason(request.service, &draft);
    Ok(Some(draft))
}

/// Whether the method is the one of the first line.
fn is_itself(request: &Request<'_>) -> Result<(), &'static str> {
    let method = request.method();
    if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method) {
        return Err("nothing is known of this method");
    }
    for name in ["x-http-method-override", "x-method-override", "x-http-method"] {
        if request.header(name)?.is_some_and(|other| !other.eq_ignore_ascii_case(method)) {
            return Err("a header field says that it has another method");
        }
    }
    match request.parameter("_method")? {
        Some(other) if !other.eq_ignore_ascii_case(method) => {
            Err("a parameter says that it has another method")
        }
        Some(_) | None => Ok(()),
    }
}

fn preflight(request: &Request<'_>) -> Draft {
    let provider = request.provider("");
    let mut draft = Draft::new(provider, "preflight", Verb::Meta).odd_path();
    draft.operation.provider = draft.operation.provider.filter(|provider| !provider.is_empty());
    draft.operation.reason = Cow::Borrowed("a browser asks whether it may ask");
    draft
}

/// What becomes another protocol.
fn upgraded(request: &Request<'_>) -> Shape {
    if !request.is_websocket() || request.method() != "GET" {
        return Err("the connection becomes one of another protocol");
    }
    let realtime = openai::realtime(request)?;
    let found = if realtime.is_some() { realtime } else { google::live(request) };
    if found.is_some() { Ok(found) } else { Err("nothing is known of such a WebSocket") }
}

fn asked(request: &Request<'_>, families: Families) -> Shape {
    let Some(service) = request.service else { return by_shape(request, families) };
    let reads: &[Reads] = match service.family {
        Family::OpenAi => &[openai::shape, anthropic::shape, inference::ranking, mcp::shape],
        Family::Azure => &[azure::shape],
        Family::Anthropic => &[anthropic::shape, openai::shape],
        Family::Gemini => &[google::gemini],
        Family::Vertex => &[google::vertex],
        Family::Bedrock => &[bedrock::shape],
        Family::Hub => &[git::shape, hub::shape, mcp::shape],
        Family::HubInference => &[hub::inference, openai::shape, anthropic::shape, inference::shape],
        Family::HubData => &[hub::data],
        Family::Cas => &[cas::shape],
        Family::Content => &[content],
        Family::S3 => &[objects::s3],
        Family::Gcs => &[google::gcs],
        Family::AzureBlob => &[objects::azure_blob],
        Family::Oci => &[oci::shape],
        Family::GitHub => &[git::shape, github::site],
        Family::GitHubApi => &[github::api],
        Family::Pypi => &[packages::pypi],
        Family::Npm => &[packages::npm],
        Family::Cargo => &[packages::cargo],
        Family::Maven => &[packages::maven],
        Family::GoProxy => &[packages::goproxy],
        Family::Apt => &[packages::apt],
    };
    first(reads, request)
}

/// What looks like two services is the one that its header fields show, unless that would make it less than the other.
fn by_shape(request: &Request<'_>, families: Families) -> Shape {
    match (first(families.by_header, request)?, first(families.by_path, request)?) {
        (Some(shown), Some(other)) => {
            let is_open = matches!(shown.wanted, Wanted::Rpc(_));
            let is_less = danger(shown.operation.verb) < danger(other.operation.verb);
            if is_open || is_less { Err("it has the shape of two services") } else { Ok(Some(shown)) }
        }
        (Some(one), None) | (None, Some(one)) => Ok(Some(one)),
        (None, None) => message(request),
    }
}

fn first(reads: &[Reads], request: &Request<'_>) -> Shape {
    for read in reads {
        if let Some(draft) = read(request)? {
            return Ok(Some(draft));
        }
    }
    Ok(None)
}

/// A file of a network that only delivers them.
fn content(request: &Request<'_>) -> Shape {
    let provider = request.provider("");
    Ok(request.is_read().then(|| Draft::new(provider, "content", Verb::Download).odd_path()))
}

/// JSON of nobody that is known: it is a message of JSON-RPC, or unknown.
fn message(request: &Request<'_>) -> Shape {
    if request.method() != "POST" || request.content_type()? != "application/json" {
        return Ok(None);
    }
    let mut draft = Draft::new("", "message", Verb::Unknown).wants(Wanted::Rpc(Rpc::default()));
    draft.operation.provider = None;
    Ok(Some(draft))
}

fn reason(service: Option<Service>, draft: &Draft) -> Cow<'static, str> {
    let (api, provider) =
        (&draft.operation.api, draft.operation.provider.as_deref().unwrap_or("nobody known"));
    match service {
        Some(service) if service.provider == provider => Cow::Owned(format!(
            "by its host, which is one of {provider}, and its shape, which is that of {api}"
        )),
        Some(_) | None => Cow::Owned(format!("by its shape alone, which is that of {api} of {provider}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn header_fields_do_not_make_less_of_a_request() {
        let unknown = "- unknown unknown";
        let rpc = r#"{"jsonrpc":"2.0","method":"ping","files":[]}"#;
        let hub = "https://mirror.example/api/models/o/m";
        check(&[
            (&format!("GET {hub}/xet-write-token/main\nx-amz-content-sha256: x"), "", unknown),
            (&format!("GET {hub}/xet-write-token/main\nx-ms-version: x"), "", unknown),
            (
                &format!("GET {hub}/xet-write-token/main\nmcp-session-id: x\naccept: text/event-stream"),
                "",
                "huggingface-compatible xet-write-token upload resource=o/m",
            ),
            (&format!("POST {hub}/preupload/main\na2a-version: 1.0"), rpc, unknown),
            (&format!("POST {hub}/preupload/mcp"), rpc, unknown),
            (&format!("POST {hub}/preupload/main\nmcp-method: ping"), rpc, unknown),
            ("DELETE https://x.example/v1/files/f\nmcp-session-id: 1", "", "mcp end-session mutate"),
            ("POST https://api.openai.com/v1/unheard-of\nmcp-method: ping", rpc, "openai unknown unknown"),
            (
                "PUT http://minio:9000/b/x/a/1.0/a-1.0.jar\nx-amz-content-sha256: x",
                "",
                "s3-compatible object upload resource=b/x/a/1.0/a-1.0.jar",
            ),
            ("GET https://x.example/secret\nmcp-session-id: 1\naccept: text/event-stream", "", unknown),
        ]);
    }
}
