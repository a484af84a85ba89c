//! Servers of models: vLLM, SGLang, TGI, KServe and Triton.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what loads or unloads a model is administration, whatever its method. Does
//! not: read tensors; know what else administers a server, which `listed` takes from the tables of `shield`.

use super::request::{Draft, Request, Shape};
use policy::Verb;

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    if let Some(draft) = ranking(request)? {
        return Ok(Some(draft));
    }
    let segments = request.segments();
    let found = match segments.as_slice() {
        ["v2", rest @ ..] => kserve(request.method(), rest),
        ["v1", "models", model] => kserve_v1(request.method(), model),
        ["inference.GRPCInferenceService", method] => grpc(method),
        segments => server(request, segments),
    };
    Ok(found.map(|mut draft| {
        if let Some(service) = request.service {
            draft.operation.provider = Some(service.provider.into());
        }
        draft
    }))
}

/// What scores texts with a model: several have it, and OpenAI has not.
pub(super) fn ranking(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let api = match segments.as_slice() {
        ["v1" | "v2", "rerank"] | ["rerank"] => "rerank",
        ["v1", "score"] | ["score"] => "score",
        ["v1" | "v2", "embed"] => "embeddings",
        ["v2", "chat"] if request.service.is_some() => "chat",
        _ => return Ok(None),
    };
    let is_call = request.method() == "POST";
    Ok(is_call.then(|| Draft::new(request.provider("vllm"), api, Verb::Call).model_in_body()))
}

/// Of vLLM, SGLang and TGI.
fn server(request: &Request<'_>, segments: &[&str]) -> Option<Draft> {
    let call = |provider, api: &'static str| Some(Draft::new(provider, api, Verb::Call).model_in_body());
    match (request.method(), segments) {
        ("POST", ["generate"]) => call("sglang", "generate"),
        ("POST", ["generate_stream"]) => call("tgi", "generate").map(|draft| draft.stream(true)),
        ("POST", ["inference", "v1", "generate"]) => call("vllm", "generate"),
        ("POST", ["invocations"]) => call("vllm", "invocations"),
        ("POST", ["pooling"]) => call("vllm", "pooling"),
        ("POST", ["classify"]) => call("vllm", "classify"),
        ("POST", ["generative_scoring"]) => call("vllm", "score"),
        ("POST", ["tokenize" | "detokenize"]) => call("vllm", "tokenize"),
        ("POST", ["v1", "load_lora_adapter" | "unload_lora_adapter"]) => {
            Some(Draft::new("vllm", "lora-adapter", Verb::Mutate))
        }
        ("GET" | "HEAD", ["info"]) => Some(Draft::new("tgi", "info", Verb::Meta)),
        ("GET" | "HEAD", ["health" | "metrics" | "version" | "load" | "ping"]) => {
            Some(Draft::new("vllm", "health", Verb::Meta))
        }
        _ => None,
    }
}

/// Of KServe's second protocol, and what Triton adds to it.
fn kserve(method: &str, rest: &[&str]) -> Option<Draft> {
    let is_read = matches!(method, "GET" | "HEAD");
    let kserve = |api: &'static str, verb| Draft::new("kserve", api, verb);
    let triton = |api: &'static str, verb| Draft::new("triton", api, verb);
    let asks = |model: &str, action: &str| {
        Some(match (method, action) {
            ("POST", "infer") => kserve("infer", Verb::Call).model(model),
            ("POST", "generate") => triton("generate", Verb::Call).model(model),
            ("POST", "generate_stream") => triton("generate", Verb::Call).model(model).stream(true),
            ("GET" | "HEAD", "ready" | "config" | "stats") => kserve("models", Verb::Meta).model(model),
            _ => return None,
        })
    };
    let setting = if is_read { Verb::Meta } else { Verb::Admin };
    match rest {
        [] | ["health", "live" | "ready"] | ["models", "stats"] if is_read => {
            Some(kserve("health", Verb::Meta))
        }
        ["models", model] | ["models", model, "versions", _] if is_read => {
            Some(kserve("models", Verb::Meta).model(*model))
        }
        ["models", model, action] | ["models", model, "versions", _, action] => asks(model, action),
        ["models", model, "trace", "setting"] => Some(triton("settings", setting).model(*model)),
        ["trace", "setting"] | ["logging"] => Some(triton("settings", setting)),
        ["repository", "index"] if method == "POST" => Some(triton("repository", Verb::Admin)),
        ["repository", "models", model, "load" | "unload"] if method == "POST" => {
            Some(triton("repository", Verb::Admin).model(*model))
        }
        ["systemsharedmemory" | "cudasharedmemory", ..] => Some(triton("shared-memory", setting)),
        _ => None,
    }
}

/// Of KServe's first protocol.
fn kserve_v1(method: &str, segment: &str) -> Option<Draft> {
    let (model, action) = segment.rsplit_once(':')?;
    let is_call = method == "POST" && matches!(action, "predict" | "explain");
    is_call.then(|| Draft::new("kserve", "infer", Verb::Call).model(model))
}

/// By gRPC. The model is in a message that is not read.
fn grpc(method: &str) -> Option<Draft> {
    let (api, verb) = match method {
        "ModelInfer" | "ModelStreamInfer" => ("infer", Verb::Call),
        "ServerLive" | "ServerReady" | "ModelReady" | "ServerMetadata" | "ModelMetadata" | "ModelConfig"
        | "ModelStatistics" => ("models", Verb::Meta),
        "RepositoryIndex" | "RepositoryModelLoad" | "RepositoryModelUnload" => ("repository", Verb::Admin),
        "TraceSetting" | "LogSettings" => ("settings", Verb::Admin),
        _ if method.contains("SharedMemory") => ("shared-memory", Verb::Admin),
        _ => return None,
    };
    Some(Draft::new("triton", api, verb).stream(method == "ModelStreamInfer"))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn asking_is_a_call_and_the_rest_administers() {
        let (vllm, model) = ("http://vllm:8000", r#"{"model":"m"}"#);
        let mut rows: Vec<(String, &str, String)> = vec![];
        for (path, expected) in [
            ("v1/chat/completions", "openai-compatible chat call model=m"),
            ("v1/chat/completions/batch", "openai-compatible chat call model=m"),
            ("v1/completions", "openai-compatible completions call model=m"),
            ("v1/responses", "openai-compatible responses call model=m"),
            ("v1/embeddings", "openai-compatible embeddings call model=m"),
            ("v1/audio/transcriptions", "openai-compatible audio call model=m"),
            ("v1/messages", "anthropic-compatible messages call model=m"),
            ("v1/messages/count_tokens", "anthropic-compatible count-tokens call model=m"),
            ("v1/score", "vllm score call model=m"),
            ("v1/rerank", "vllm rerank call model=m"),
            ("v2/rerank", "vllm rerank call model=m"),
            ("v2/embed", "vllm embeddings call model=m"),
            ("inference/v1/generate", "vllm generate call model=m"),
            ("invocations", "vllm invocations call model=m"),
            ("pooling", "vllm pooling call model=m"),
            ("classify", "vllm classify call model=m"),
            ("score", "vllm score call model=m"),
            ("rerank", "vllm rerank call model=m"),
            ("generative_scoring", "vllm score call model=m"),
            ("tokenize", "vllm tokenize call model=m"),
            ("detokenize", "vllm tokenize call model=m"),
            ("v1/load_lora_adapter", "vllm lora-adapter mutate"),
            ("v1/unload_lora_adapter", "vllm lora-adapter mutate"),
            ("generate", "sglang generate call model=m"),
            ("generate_stream", "tgi generate call model=m stream"),
        ] {
            rows.push((format!("POST {vllm}/{path}"), model, expected.to_owned()));
        }
        for word in [
            "pause",
            "resume",
            "scale_elastic_ep",
            "init_weight_transfer_engine",
            "update_weights",
            "abort_requests",
            "collective_rpc",
            "sleep",
            "wake_up",
            "server_info",
            "reset_prefix_cache",
        ] {
            rows.push((format!("POST {vllm}/{word}"), "", format!("vllm {word} admin")));
        }
        for word in
            ["update_weights_from_disk", "update_weights_from_tensor", "flush_cache", "get_weights_by_name"]
        {
            rows.push((format!("GET http://sglang:30000/{word}"), "", format!("sglang {word} admin")));
        }
        for word in ["health", "metrics", "version", "load"] {
            rows.push((format!("GET {vllm}/{word}"), "", "vllm health meta".to_owned()));
        }
        rows.push((format!("GET {vllm}/v1/models"), "", "openai-compatible models meta".to_owned()));
        rows.push(("GET http://tgi/info".to_owned(), "", "tgi info meta".to_owned()));
        let rows: Vec<_> =
            rows.iter().map(|(request, body, expected)| (&**request, *body, &**expected)).collect();
        check(&rows);
    }

    #[test]
    fn a_models_repository_is_administered() {
        let host = "http://triton:8000/v2";
        check(&[
            (&format!("POST {host}/models/m/infer"), "x", "kserve infer call model=m"),
            (&format!("POST {host}/models/m/versions/1/infer"), "x", "kserve infer call model=m"),
            (&format!("POST {host}/models/m/generate"), "x", "triton generate call model=m"),
            (&format!("POST {host}/models/m/generate_stream"), "x", "triton generate call model=m stream"),
            (&format!("GET {host}/health/live"), "", "kserve health meta"),
            (&format!("GET {host}/models/m"), "", "kserve models meta model=m"),
            (&format!("GET {host}/models/m/ready"), "", "kserve models meta model=m"),
            (&format!("GET {host}/models/m/config"), "", "kserve models meta model=m"),
            (&format!("GET {host}/models/m/stats"), "", "kserve models meta model=m"),
            (&format!("POST {host}/repository/index"), "", "triton repository admin"),
            (&format!("POST {host}/repository/models/m/load"), "", "triton repository admin model=m"),
            (&format!("POST {host}/repository/models/m/unload"), "", "triton repository admin model=m"),
            (&format!("POST {host}/trace/setting"), "", "triton settings admin"),
            (&format!("POST {host}/logging"), "", "triton settings admin"),
            (&format!("POST {host}/systemsharedmemory/region/r/register"), "", "triton shared-memory admin"),
            (&format!("POST {host}/cudasharedmemory/region/r/register"), "", "triton shared-memory admin"),
            ("POST http://t:8001/inference.GRPCInferenceService/ModelInfer", "", "triton infer call"),
            (
                "POST http://t:8001/inference.GRPCInferenceService/ModelStreamInfer",
                "",
                "triton infer call stream",
            ),
            (
                "POST http://t:8001/inference.GRPCInferenceService/RepositoryModelLoad",
                "",
                "triton repository admin",
            ),
            ("POST http://kserve/v1/models/m:predict", "", "kserve infer call model=m"),
            ("POST http://kserve/v1/models/m:explain", "", "kserve infer call model=m"),
        ]);
    }
}
