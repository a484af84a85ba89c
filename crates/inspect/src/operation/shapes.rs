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
    a2a, anthropic, azure, bedrock, cas, git, github, gitlab, google, hub, inference, listed, mcp,
    modelscope, objects, oci, ollama, openai, packages, tokens,
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
    listed::anywhere,
    openai::shape,
    packages::shape,
    gitlab::elsewhere,
    listed::server,
    tokens::oauth,
    packages::npm_client,
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
    if reads_text(request, &draft) && !request.is_plain_text() {
        return Err("the body is in a character set in which servers may find other fields");
    }
    draft.operation.reason = reason(request.service, &draft);
    Ok(Some(draft))
}

/// Names by which frameworks let a request say that it has another method than its first line has.
const OF_METHOD: &[&str] = &[
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
    "http-method-override",
    "method-override",
];

/// Whether the method is the one of the first line.
fn is_itself(request: &Request<'_>) -> Result<(), &'static str> {
    let method = request.method();
    if !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method) {
        return Err("nothing is known of this method");
    }
    for (name, value) in request.head.headers {
        let is_method = OF_METHOD.contains(&name.replace('_', "-").as_str());
        if is_method && !value.trim_ascii().eq_ignore_ascii_case(method.as_bytes()) {
            return Err("a header field says that it has another method");
        }
    }
    // Some servers read what others pass by, or take for the next request.
    let has_length = request.header("content-length")?.is_some_and(|length| length != "0");
    if request.is_read() && (has_length || request.has_header("transfer-encoding")) {
        return Err("a request that only reads has a body");
    }
    // Of Rails and others; of Google's interfaces.
    for name in ["_method", "$httpMethod"].iter().chain(OF_METHOD) {
        if request.parameter(name)?.is_some_and(|other| !other.eq_ignore_ascii_case(method)) {
            return Err("a parameter says that it has another method");
        }
    }
    // Google's interfaces take what it says for fields of the head.
    if request.target.query.iter().any(|(name, _)| name.eq_ignore_ascii_case("$httpHeaders")) {
        return Err("a parameter says that it has other header fields");
    }
    // Some frameworks go by these in place of the first line.
    for name in ["x-original-url", "x-rewrite-url"] {
        if request.header(name)?.is_some_and(|other| other != request.head.target) {
            return Err("a header field says that it has another target");
        }
    }
    Ok(())
}

/// Whether fields of the body make a difference, here or to whom the provider contacts.
fn reads_text(request: &Request<'_>, draft: &Draft) -> bool {
    let is_json = || request.content_type().is_ok_and(|kind| kind.ends_with("json"));
    match draft.wanted {
        Wanted::Json(_) | Wanted::Rpc(_) | Wanted::Scope | Wanted::Copies => true,
        Wanted::Nothing | Wanted::Form(_) => is_json(),
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
    let found = if found.is_none() && request.service.is_some() { listed::there(request)? } else { found };
    if found.is_some() { Ok(found) } else { Err("nothing is known of such a WebSocket") }
}

fn asked(request: &Request<'_>, families: Families) -> Shape {
    let Some(service) = request.service else { return by_shape(request, families) };
    let reads: &[Reads] = match service.family {
        Family::OpenAi => &[listed::there, openai::shape, anthropic::shape, inference::ranking, mcp::shape],
        Family::Listed => &[listed::there, tokens::oauth],
        Family::ModelScope => &[git::shape, modelscope::shape],
        Family::Databricks => &[listed::there, listed::anywhere, openai::shape],
        Family::Aws => &[tokens::aws],
        Family::Azure => &[azure::shape],
        Family::Anthropic => &[anthropic::shape, openai::shape],
        Family::Gemini => &[google::gemini, google::grpc],
        Family::Vertex => &[google::vertex, google::grpc],
        Family::Bedrock => &[bedrock::shape, bedrock::compatible],
        Family::Hub => &[git::shape, hub::shape, mcp::shape],
        Family::HubEndpoints => &[hub::endpoints],
        Family::HubInference => &[hub::inference, openai::shape, anthropic::shape, inference::shape],
        Family::HubData => &[hub::data],
        Family::Cas => &[cas::shape],
        Family::Content => &[content],
        Family::S3 => &[objects::s3],
        Family::Gcs => &[google::grpc, google::gcs],
        Family::AzureBlob => &[objects::azure_blob],
        Family::Oci => &[oci::shape, packages::hosted, listed::there],
        Family::GitHub => &[git::shape, github::site, tokens::oauth],
        Family::GitHubContent => &[github::content],
        Family::GitHubApi => &[github::api],
        Family::Pypi => &[packages::pypi],
        Family::Npm => &[packages::npm],
        Family::Cargo => &[packages::cargo],
        Family::Maven => &[packages::maven],
        Family::GoProxy => &[packages::goproxy],
        Family::Apt => &[packages::apt],
        Family::Conda => &[listed::there, packages::conda],
        Family::GitLab => &[git::shape, oci::shape, packages::shape, gitlab::shape],
    };
    first(reads, request)
}

/// What looks like two services is the one that its header fields show, unless that would make it less than the other.
fn by_shape(request: &Request<'_>, families: Families) -> Shape {
    let by_path = match first(families.by_path, request)? {
        None if families.by_host => {
            let managed = managed(request)?;
            if managed.is_some() { managed } else { packages::hosted(request)? }
        }
        found => found,
    };
    match (first(families.by_header, request)?, by_path) {
        (Some(shown), Some(other)) => {
            let is_open = matches!(shown.wanted, Wanted::Rpc(_));
            let is_less = danger(shown.operation.verb) < danger(other.operation.verb);
            if is_open || is_less { Err("it has the shape of two services") } else { Ok(Some(shown)) }
        }
        (Some(one), None) | (None, Some(one)) => Ok(Some(one)),
        (None, None) => message(request),
    }
}

/// Behind the path under which managers of repositories (Artifactory, Nexus) have each of theirs.
fn managed(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let behind = match segments.as_slice() {
        ["artifactory", "api", _, _, rest @ ..] | ["artifactory" | "repository", _, rest @ ..] => rest.len(),
        ["api", "docker" | "npm" | "pypi" | "huggingfaceml" | "cargo" | "go" | "conda", _, rest @ ..] => {
            rest.len()
        }
        _ => return Ok(None),
    };
    let at = segments.len() - behind;
    let rest = request.target.segments.get(at..).unwrap_or_default().to_vec();
    let target = Target { segments: rest, ..request.target.clone() };
    first(BY_PATH, &Request { target: &target, ..*request })
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
    fn repositories_are_found_behind_the_paths_of_their_managers() {
        let (artifactory, nexus) = ("https://x.example/artifactory/api", "https://x.example/repository");
        check(&[
            (
                &format!("GET {artifactory}/docker/key/v2/o/i/manifests/1"),
                "",
                "oci manifest download resource=o/i",
            ),
            (
                &format!("POST {artifactory}/docker/key/v2/o/i/blobs/uploads/"),
                "",
                "oci blob upload resource=o/i",
            ),
            (
                &format!("GET {artifactory}/huggingfaceml/key/o/m/resolve/main/x"),
                "",
                "huggingface-compatible resolve download resource=o/m",
            ),
            (
                &format!("POST {artifactory}/huggingfaceml/key/api/models/o/m/commit/main"),
                "x",
                "huggingface-compatible commit upload resource=o/m",
            ),
            (
                &format!("GET {nexus}/npm/left-pad/-/left-pad-1.0.0.tgz"),
                "",
                "npm package download resource=left-pad",
            ),
            (
                &format!("PUT {nexus}/npm/left-pad\nnpm-command: publish"),
                "{}",
                "npm publish upload resource=left-pad",
            ),
            (&format!("GET {nexus}/pypi/simple/requests/"), "", "pypi index meta resource=requests"),
            (&format!("POST {nexus}/x/v2/o/i/blobs/uploads/"), "", "oci blob upload resource=o/i"),
            (&format!("GET {nexus}/x/unheard-of"), "", "- unknown unknown"),
        ]);
    }

    #[test]
    fn servers_of_models_are_known_by_what_is_theirs() {
        let json = "content-type: application/json";
        let model = r#"{"model":"m"}"#;
        check(&[
            (&format!("POST http://l:8080/completion\n{json}"), model, "llamacpp completions call model=m"),
            ("POST http://l:8080/slots/0?action=save", "{}", "llamacpp slots admin"),
            ("POST http://l:8080/models/load", model, "llamacpp models admin"),
            ("GET http://l:8080/props", "", "llamacpp props admin"),
            (&format!("POST http://s:30000/encode\n{json}"), model, "sglang embeddings call model=m"),
            ("POST http://s:30000/update_weights_from_ipc", "", "sglang update_weights_from_ipc admin"),
            ("GET http://s:30000/get_model_info", "", "sglang get_model_info meta"),
            ("POST http://v:8000/start_weight_update", "", "vllm start_weight_update admin"),
            ("POST http://v:8000/v1/chat/completions/render", model, "vllm chat call model=m"),
            ("POST http://t:8080/predictions/m", "x", "torchserve infer call model=m"),
            ("PUT http://t:8080/predictions/m/1.0", "x", "torchserve infer call model=m"),
            ("PUT http://t:8080/v1/chat/completions", "x", "- unknown unknown"),
            ("POST http://t:8081/models?url=https://x/y.mar", "", "torchserve models admin"),
            ("GET http://t:8081/models/m", "", "torchserve models meta"),
            ("DELETE http://t:8081/models/m", "", "torchserve models admin"),
            ("POST http://r:8265/api/jobs/", "{}", "ray jobs admin"),
            ("PUT http://r:8265/api/serve/applications/", "{}", "ray serve admin"),
            ("POST http://t:8001/grpc.health.v1.Health/Check", "", "triton Check meta"),
            (&format!("POST http://e/embed\n{json}"), r#"{"inputs":"x"}"#, "tei embeddings call"),
            ("POST http://f:8501/v1/models/m/versions/2:predict", "{}", "tensorflow infer call model=m"),
            ("GET http://x.example/docs", "", "- unknown unknown"),
            ("GET http://x.example/", "", "- unknown unknown"),
            (&format!("POST http://x.example/\n{json}"), "{}", "- unknown unknown"),
        ]);
    }

    #[test]
    fn what_stores_vectors_runs_and_measurements_is_an_upload() {
        check(&[
            ("PUT http://q:6333/collections/c/points", "{}", "qdrant vectors upload resource=c"),
            ("POST http://q:6333/collections/c/points/search", "{}", "qdrant vectors call resource=c"),
            ("POST http://q:6333/collections/c/points/delete", "{}", "qdrant vectors mutate resource=c"),
            ("POST http://m:19530/v2/vectordb/entities/insert", "{}", "milvus vectors upload"),
            ("POST http://w:8080/v1/objects", "{}", "weaviate vectors upload"),
            ("POST http://c:8000/api/v1/collections/c/add", "{}", "chroma vectors upload resource=c"),
            ("POST https://i.svc.us-east1-gcp.pinecone.io/vectors/upsert", "{}", "pinecone vectors upload"),
            ("POST http://m:5000/api/2.0/mlflow/runs/log-metric", "{}", "mlflow runs upload"),
            ("POST http://m:5000/api/2.0/mlflow/runs/search", "{}", "mlflow runs meta"),
            ("PUT http://m:5000/api/2.0/mlflow-artifacts/artifacts/1/x", "x", "mlflow artifacts upload"),
            ("POST http://o:4318/v1/traces", "x", "opentelemetry telemetry upload"),
        ]);
    }

    #[test]
    fn hosts_have_what_is_theirs_beside_a_common_interface() {
        let model = r#"{"model":"m","stream":true}"#;
        check(&[
            (
                "POST https://api.mistral.ai/v1/fim/completions",
                model,
                "mistral completions call model=m stream",
            ),
            ("POST https://api.mistral.ai/v1/batch/jobs", "{}", "mistral batches upload"),
            ("POST https://api.cohere.com/v1/chat", model, "cohere chat call model=m stream"),
            ("POST https://api.cohere.com/v1/datasets?name=x", "x", "cohere files upload"),
            ("POST https://api.together.xyz/v1/files/upload", "x", "together files upload"),
            ("POST https://openrouter.ai/api/v1/keys", "{}", "openrouter organization admin"),
            (
                "POST https://api.perplexity.ai/async/chat/completions",
                r#"{"request":{"model":"m"}}"#,
                "perplexity chat call model=m",
            ),
            (
                "POST https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation",
                model,
                "dashscope generate call model=m stream",
            ),
            (
                "GET https://dashscope.aliyuncs.com/api/v1/uploads?action=getPolicy&model=x",
                "",
                "dashscope uploads upload",
            ),
            (
                "POST https://api.elevenlabs.io/v1/text-to-speech/v/stream",
                r#"{"model_id":"e"}"#,
                "elevenlabs audio call model=e stream",
            ),
            ("POST https://api.deepgram.com/v1/listen?model=n", "x", "deepgram audio call model=n"),
            (
                "POST https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/e/invocations",
                "x",
                "sagemaker invocations call model=e",
            ),
            ("POST https://api.replicate.com/v1/files", "x", "replicate files upload"),
            ("GET https://hub.docker.com/v2/repositories/library/nginx/tags", "", "docker-hub list meta"),
            ("POST https://api.nuget.org/unheard-of", "x", "nuget unknown unknown"),
        ]);
    }

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
