//! Gemini, Vertex AI and Cloud Storage.
//!
//! Enters: a head. Leaves: a draft. Guarantees: the model is the one of the path, as is whether the answer streams. Does
//! not: follow resumable uploads; each of their requests is an upload.

use super::objects;
use super::openai;
use super::request::{Draft, Request, STREAM, Shape, Wanted, joined};
use policy::Verb;

/// Reads a head of Gemini's interface.
pub(super) fn gemini(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("gemini-compatible");
    let is_known = request.service.is_some();
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb);
    let (before, rest) = match segments.as_slice() {
        [before @ ("upload" | "download"), "v1" | "v1beta" | "v1alpha", rest @ ..] => (*before, rest),
        ["v1" | "v1beta" | "v1alpha", rest @ ..] => ("", rest),
        _ => return Ok(None),
    };
    Ok(match (request.method(), before, rest) {
        (_, "", ["openai", rest @ ..]) if is_known || segments.first() == Some(&"v1beta") => {
            return openai::interface(request, provider, rest);
        }
        ("POST" | "PUT", "upload", _) => Some(draft("files", Verb::Upload)),
        ("GET" | "HEAD", "download", ["files", file]) if is_known => {
            Some(draft("files", Verb::Download).resource(file.trim_end_matches(":download")))
        }
        (_, "upload" | "download", _) => None,
        ("GET" | "HEAD", _, ["files" | "generatedFiles", file]) if is_known && is_media(request)? => {
            Some(draft("files", Verb::Download).resource(file.trim_end_matches(":download")))
        }
        ("GET" | "HEAD", _, ["files", file]) if is_known && file.ends_with(":download") => {
            Some(draft("files", Verb::Download).resource(file.trim_end_matches(":download")))
        }
        ("POST", _, ["tunedModels", model]) if is_known && model.ends_with(":transferOwnership") => {
            Some(draft("fine-tuning", Verb::Mutate))
        }
        ("POST", _, [kind @ ("models" | "tunedModels" | "dynamic"), model]) => method(model)
            // KServe has these two as well.
            .filter(|(_, method)| !matches!(*method, "predict" | "explain") || is_known)
            .and_then(|(model, method)| {
                let named = if *kind == "models" { model.to_owned() } else { format!("{kind}/{model}") };
                asks(provider, method).map(|draft| draft.model(named))
            }),
        ("POST", _, ["cachedContents"]) => Some(draft("cached-contents", Verb::Upload)),
        ("POST", _, ["tunedModels"]) => Some(draft("fine-tuning", Verb::Upload)),
        ("POST", _, ["files" | "files:register"]) if is_known => Some(draft("files", Verb::Upload)),
        ("POST", _, ["interactions"]) if is_known => Some(draft("interactions", Verb::Call).model_in_body()),
        ("POST", _, ["auth_tokens" | "authTokens"]) if is_known => {
            Some(draft("realtime", Verb::Authorize).intent(Some(Verb::Call)))
        }
        // Stores that models search.
        ("POST", _, [store]) if is_known && store.starts_with("corpora") => {
            Some(draft("vector-stores", Verb::Upload))
        }
        ("POST", _, ["corpora", corpus, .., last]) if is_known && last.ends_with(":query") => {
            Some(draft("vector-stores", Verb::Call).resource(*corpus))
        }
        ("POST", _, ["corpora", corpus]) if is_known && corpus.ends_with(":query") => {
            Some(draft("vector-stores", Verb::Call).resource(corpus.trim_end_matches(":query")))
        }
        ("POST" | "PATCH", _, ["corpora", ..]) if is_known => Some(draft("vector-stores", Verb::Upload)),
        ("POST", _, ["fileSearchStores", store]) if is_known && store.ends_with(":importFile") => {
            Some(draft("vector-stores", Verb::Upload).resource(store.trim_end_matches(":importFile")))
        }
        ("POST", _, ["environments", environment, "files", ..]) if is_known => {
            Some(draft("containers", Verb::Upload).resource(*environment))
        }
        ("GET" | "HEAD", _, ["environments", environment, "files", _, ..]) if is_known => {
            Some(draft("containers", Verb::Download).resource(*environment))
        }
        ("POST", _, ["voices"]) if is_known => Some(draft("voices", Verb::Upload)),
        // An agent begins to work.
        ("POST", _, ["triggers", trigger, "executions"]) if is_known => {
            Some(draft("agents", Verb::Call).resource(*trigger))
        }
        ("POST" | "PATCH" | "DELETE", _, [kind, ..]) if is_known => {
            kept(kind).map(|api| draft(api, Verb::Mutate))
        }
        ("GET" | "HEAD", _, ["models", model]) if is_known => Some(draft("models", Verb::Meta).model(*model)),
        ("GET" | "HEAD", _, [kind, ..]) if is_known => kept(kind).map(|api| draft(api, Verb::Meta)),
        _ => None,
    })
}

/// What can be listed, read and deleted.
fn kept(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "models" => "models",
        "files" | "generatedFiles" => "files",
        "cachedContents" => "cached-contents",
        "tunedModels" => "fine-tuning",
        "batches" => "batches",
        "operations" => "operations",
        "interactions" => "interactions",
        "fileSearchStores" | "corpora" => "vector-stores",
        "agents" | "triggers" => "agents",
        "environments" => "containers",
        "credentials" => "vaults",
        "voices" => "voices",
        "webhooks" => "webhooks",
        _ => return None,
    })
}

/// Reads a head of Vertex AI.
pub(super) fn vertex(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("vertex-compatible");
    let is_post = request.method() == "POST";
    let is_known = request.service.is_some();
    let (project, rest) = match segments.as_slice() {
        ["v1" | "v1beta1", "projects", project, "locations", place, rest @ ..] => {
            if let (true, Some((_, action))) = (is_post && rest.is_empty(), method(place)) {
                let found = of_place(action).filter(|(_, verb)| is_known || *verb == Verb::Call);
                let draft = found.map(|(api, verb)| Draft::new(provider, api, verb));
                return Ok(draft.map(|draft| draft.resource(format!("projects/{project}"))));
            }
            (*project, rest)
        }
        ["upload", "v1" | "v1beta1", "projects", project, ..] if is_known => {
            let draft = Draft::new(provider, "files", Verb::Upload);
            return Ok(is_post.then(|| draft.resource(format!("projects/{project}"))));
        }
        // With a key, which has the project.
        ["v1" | "v1beta1", rest @ ..] if is_known => ("", rest),
        _ => return Ok(None),
    };
    let draft = match rest {
        ["publishers", _, "models", model] if is_post => {
            method(model).and_then(|(model, method)| asks(provider, method).map(|draft| draft.model(model)))
        }
        ["endpoints", "openapi", rest @ ..] => openai::interface(request, provider, rest)?,
        ["endpoints", endpoint, "chat", "completions"] if is_post => {
            let chat = Draft::new(provider, "chat", Verb::Call).model(format!("endpoints/{endpoint}"));
            Some(chat.wants(Wanted::Json(STREAM)))
        }
        ["endpoints", endpoint]
            if is_post && method(endpoint).is_some_and(|(_, method)| asks(provider, method).is_some()) =>
        {
            method(endpoint).and_then(|(endpoint, method)| {
                asks(provider, method).map(|draft| draft.model(format!("endpoints/{endpoint}")))
            })
        }
        // Whatever a server of one's own has.
        ["endpoints", endpoint, "invoke", ..]
        | ["endpoints", endpoint, "deployedModels", _, "invoke", ..]
            if is_post && is_known =>
        {
            Some(Draft::new(provider, "predict", Verb::Call).model(format!("endpoints/{endpoint}")))
        }
        ["publishers", _, "models", model, "invoke", ..] if is_post && is_known => {
            Some(Draft::new(provider, "predict", Verb::Call).model(*model))
        }
        ["reasoningEngines", engine]
            if is_post && (engine.ends_with(":query") || engine.ends_with(":streamQuery")) =>
        {
            Some(Draft::new(provider, "agents", Verb::Call).stream(engine.ends_with(":streamQuery")))
        }
        [] if is_known && request.is_read() => Some(Draft::new(provider, "models", Verb::Meta)),
        [kind, ..] => stored(request, kind, rest).map(|(api, verb)| Draft::new(provider, api, verb)),
        [] => None,
    };
    let project = if project.is_empty() { String::new() } else { format!("projects/{project}") };
    Ok(draft.map(|draft| draft.resource(project)))
}

/// What is asked of a place itself.
fn of_place(action: &str) -> Option<(&'static str, Verb)> {
    Some(match action {
        "retrieveContexts" | "augmentPrompt" | "askContexts" | "corroborateContent" => {
            ("retrieve", Verb::Call)
        }
        "evaluateInstances"
        | "generateInstanceRubrics"
        | "generateSyntheticData"
        | "generateUserScenarios"
        | "generateLossClusters" => ("evals", Verb::Call),
        // What comes of it goes where the caller says.
        "evaluateDataset" | "asyncRetrieveContexts" => ("batches", Verb::Upload),
        "deploy" => ("models", Verb::Mutate),
        _ => return None,
    })
}

/// What Vertex AI keeps, and what is done with it.
fn stored(request: &Request<'_>, kind: &str, rest: &[&str]) -> Option<(&'static str, Verb)> {
    let api = match kind.split(':').next().unwrap_or_default() {
        "cachedContents" => "cached-contents",
        "batchPredictionJobs" => "batches",
        "tuningJobs" | "customJobs" | "pipelineJobs" | "trainingPipelines" | "hyperparameterTuningJobs" => {
            "fine-tuning"
        }
        "endpoints" | "models" | "publishers" | "operations" => "models",
        "ragCorpora" | "indexes" | "indexEndpoints" | "datasets" | "featureOnlineStores" => "vector-stores",
        "reasoningEngines" => "agents",
        _ if request.service.is_some() => "resources",
        _ => return None,
    };
    if request.is_read() {
        return Some(("models", Verb::Meta));
    }
    let action = rest.last().and_then(|last| last.rsplit_once(':')).map_or("", |(_, action)| action);
    let is_creation = request.method() == "POST" && rest.len() == 1 && action.is_empty();
    let is_filled = matches!(api, "cached-contents" | "batches" | "fine-tuning" | "agents");
    if is_creation && is_filled {
        return Some((api, Verb::Upload));
    }
    let begins = |words: &[&str]| words.iter().any(|word| action.starts_with(word));
    let verb = match request.method() {
        "POST" if begins(&["upload", "import", "upsert", "write", "append"]) => Verb::Upload,
        "POST" if matches!(action, "getIamPolicy" | "testIamPermissions" | "lookup") => Verb::Meta,
        "POST" if begins(&["find", "read", "retrieve", "search", "query", "streamQuery", "ask", "chat"]) => {
            Verb::Call
        }
        "POST" if begins(&["wait", "fetch", "list", "check"]) => Verb::Meta,
        // Elsewhere these words are too common.
        "POST" | "PATCH" | "DELETE" | "PUT" if request.service.is_some() => Verb::Mutate,
        _ => return None,
    };
    Some((api, verb))
}

/// Reads a head of gRPC: a service of these interfaces, and what its method is called.
pub(super) fn grpc(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let [service, method] = segments.as_slice() else { return Ok(None) };
    let Some((package, name)) = service.rsplit_once('.').filter(|_| request.method() == "POST") else {
        return Ok(None);
    };
    let is_theirs = ["google.storage.", "google.ai.generativelanguage.", "google.cloud.aiplatform."]
        .iter()
        .any(|start| package.starts_with(start));
    if !is_theirs {
        return Ok(None);
    }
    const COPIES: [&str; 3] = ["Rewrite", "Compose", "Move"];
    let begins = |words: &[&str]| words.iter().any(|word| method.starts_with(word));
    let (api, verb) = match name {
        "Storage" if method.ends_with("ReadObject") => ("object", Verb::Download),
        _ if begins(&["Get", "List", "Query", "Test"]) => ("grpc", Verb::Meta),
        "GenerativeService" | "PredictionService" | "LlmUtilityService" | "LlmBidiService" => {
            let is_batch = method.contains("BatchGenerate") || method.starts_with("AsyncBatch");
            ("generate-content", if is_batch { Verb::Upload } else { Verb::Call })
        }
        // The message, which is not read, names what is copied.
        "Storage" if begins(&COPIES) => ("copy", Verb::Upload),
        "Storage" if begins(&["Write", "BidiWrite", "StartResumable"]) => ("object", Verb::Upload),
        "Storage" => ("object", Verb::Mutate),
        _ if begins(&["Create", "BatchCreate", "Upload", "Import", "Upsert", "Write"]) => {
            ("grpc", Verb::Upload)
        }
        _ => ("grpc", Verb::Mutate),
    };
    let is_stream = verb == Verb::Call && begins(&["Stream", "Bidi", "ServerStreaming"]);
    let draft = Draft::new(request.provider("google"), api, verb).stream(is_stream);
    Ok(Some(if api == "copy" { draft.from([String::new()]) } else { draft }))
}

/// `model:method`.
fn method(segment: &str) -> Option<(&str, &str)> {
    segment.rsplit_once(':').filter(|(model, _)| !model.is_empty())
}

fn asks(provider: &'static str, method: &str) -> Option<Draft> {
    let (api, verb) = match method {
        "generateContent" | "streamGenerateContent" | "generateAnswer" => ("generate-content", Verb::Call),
        "generateText" | "generateMessage" => ("completions", Verb::Call),
        "countTokens" | "computeTokens" | "countTextTokens" | "countMessageTokens" => {
            ("count-tokens", Verb::Call)
        }
        "embedContent" | "batchEmbedContents" | "embedText" | "batchEmbedText" => ("embeddings", Verb::Call),
        "predict" | "rawPredict" | "streamRawPredict" | "serverStreamingPredict" => ("predict", Verb::Call),
        "predictLongRunning" | "directPredict" | "directRawPredict" | "explain" => ("predict", Verb::Call),
        "fetchPredictOperation" => ("predict", Verb::Meta),
        // Kept until there is time for it.
        "batchGenerateContent" | "asyncBatchEmbedContent" => ("batches", Verb::Upload),
        _ => return None,
    };
    let stream = matches!(method, "streamGenerateContent" | "streamRawPredict" | "serverStreamingPredict");
    Some(Draft::new(provider, api, verb).stream(stream))
}

/// A conversation over a WebSocket. Its first message names the model.
pub(super) fn live(request: &Request<'_>) -> Option<Draft> {
    let segments = request.segments();
    // Clients of Google's begin with two slashes; then there is a dot or a slash before the method.
    let service = match segments.as_slice() {
        ["ws", service @ ..] | ["", "ws", service @ ..] => service.join("."),
        _ => return None,
    };
    let methods = [".BidiGenerateContent", ".BidiGenerateContentConstrained", ".BidiGenerateMusic"];
    let is_live = service.starts_with("google.") && methods.iter().any(|method| service.ends_with(method));
    let draft = || Draft::new(request.provider("gemini-compatible"), "realtime", Verb::Call).stream(true);
    is_live.then(|| Draft { takes_odd_path: !request.target.has_slash, ..draft() })
}

/// Reads a head of Cloud Storage: its own interface, and that of S3.
pub(super) fn gcs(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("gcs-compatible");
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb).odd_path();
    let object = |bucket: &str, object: &[&str]| format!("{bucket}/{}", joined(object));
    let is_read = request.is_read();
    Ok(Some(match (request.method(), segments.as_slice()) {
        ("POST" | "PUT", ["upload" | "resumable", ..]) if segments.contains(&"storage") => {
            let upload = draft("object", Verb::Upload);
            let at = segments.iter().position(|segment| *segment == "b").unwrap_or(segments.len());
            match (segments.get(at + 1), request.parameter("name")?) {
                (Some(bucket), Some(name)) => upload.resource(format!("{bucket}/{name}")),
                (Some(bucket), None) => upload.resource(format!("{bucket}/")),
                (None, _) => upload,
            }
        }
        (_, ["download", "storage", "v1", "b", bucket, "o", key]) if is_read => {
            draft("object", Verb::Download).resource(object(bucket, &[key]))
        }
        ("DELETE", ["upload", "storage", ..]) if request.has_parameter("upload_id") => {
            draft("object", Verb::Mutate)
        }
        ("POST", ["storage", "v1", "b", bucket, "o", source, "moveTo", "o", key]) => {
            let copy = draft("copy", Verb::Upload).resource(object(bucket, &[key]));
            copy.from([object(bucket, &[source])])
        }
        // Keys and accounts.
        (_, ["storage", "v1", "projects", ..]) => {
            draft("configuration", if is_read { Verb::Meta } else { Verb::Mutate })
        }
        (_, ["storage", "v1", "b", bucket, "o", key]) if is_read => {
            let verb = if is_media(request)? { Verb::Download } else { Verb::Meta };
            draft("object", verb).resource(object(bucket, &[key]))
        }
        (
            "POST",
            ["storage", "v1", "b", other, "o", source, "rewriteTo" | "copyTo", "b", bucket, "o", key],
        ) => {
            let copy = draft("copy", Verb::Upload).resource(object(bucket, &[key]));
            copy.from([object(other, &[source])])
        }
        // Its body names objects of the same bucket.
        ("POST", ["storage", "v1", "b", bucket, "o", key, "compose"]) => {
            let copy = draft("copy", Verb::Upload).resource(object(bucket, &[key]));
            copy.from([object(bucket, &[])])
        }
        (_, ["storage", "v1", "b", bucket, "o"]) if is_read => {
            draft("list", Verb::Meta).resource(format!("{bucket}/"))
        }
        (_, ["storage", "v1", "b"]) if is_read => draft("list", Verb::Meta),
        (_, ["storage", "v1", "b", bucket, ..]) if is_read => draft("bucket", Verb::Meta).resource(*bucket),
        // An object is made, or what is sent replaces one.
        ("POST", ["storage", "v1", "b", bucket, "o"]) => {
            let name = request.parameter("name")?.unwrap_or_default();
            draft("object", Verb::Upload).resource(object(bucket, &[name]))
        }
        ("PATCH" | "PUT" | "POST", ["storage", "v1", "b", bucket, "o", key])
            if request.parameter("uploadType")?.is_some() =>
        {
            draft("object", Verb::Upload).resource(object(bucket, &[key]))
        }
        ("DELETE" | "PATCH" | "PUT" | "POST", ["storage", "v1", "b", bucket, "o", key, ..]) => {
            draft("object", Verb::Mutate).resource(object(bucket, &[key]))
        }
        ("DELETE" | "PATCH" | "PUT" | "POST", ["storage", "v1", "b", rest @ ..]) => {
            let draft = draft("bucket", Verb::Mutate);
            rest.first().map_or_else(|| draft.clone(), |bucket| draft.clone().resource(*bucket))
        }
        (_, ["storage" | "upload" | "download" | "batch" | "resumable", ..]) => return Ok(None),
        _ if request.service.is_some() => {
            return objects::like_s3(request, provider, bucket_of(request.head.host));
        }
        _ => return Ok(None),
    }))
}

/// Whether the thing itself is asked for, and not what is known of it. `$alt` is `alt`
/// (<https://cloud.google.com/apis/docs/system-parameters>); of two, servers could take either.
fn is_media(request: &Request<'_>) -> Result<bool, &'static str> {
    match (request.parameter("alt")?, request.parameter("$alt")?) {
        (Some(_), Some(_)) => Err("it says twice how the object is to be sent"),
        (alt, other) => Ok(alt.or(other) == Some("media")),
    }
}

/// The bucket that a host names; empty where it is in the path.
fn bucket_of(host: &str) -> &str {
    host.strip_suffix(".storage.googleapis.com").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn the_model_of_the_path_is_asked() {
        let host = "https://generativelanguage.googleapis.com";
        let vertex = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5";
        check(&[
            (
                &format!("POST {host}/v1beta/models/gemini-2:generateContent"),
                "",
                "gemini generate-content call model=gemini-2",
            ),
            (
                &format!("POST {host}/v1beta/models/gemini-2:streamGenerateContent?alt=sse"),
                "",
                "gemini generate-content call model=gemini-2 stream",
            ),
            (&format!("POST {host}/v1/models/g:countTokens"), "", "gemini count-tokens call model=g"),
            (&format!("POST {host}/v1beta/models/g:embedContent"), "", "gemini embeddings call model=g"),
            (
                &format!("POST {host}/v1beta/models/g:batchEmbedContents"),
                "",
                "gemini embeddings call model=g",
            ),
            (
                &format!("POST {host}/v1beta/models/g:batchGenerateContent"),
                "",
                "gemini batches upload model=g",
            ),
            (
                &format!("POST {host}/v1beta/tunedModels/t:generateContent"),
                "",
                "gemini generate-content call model=tunedModels/t",
            ),
            (
                &format!("POST {host}/v1beta/openai/chat/completions"),
                r#"{"model":"g"}"#,
                "gemini chat call model=g",
            ),
            (
                &format!("POST {host}/v1beta/openai/embeddings"),
                r#"{"model":"g"}"#,
                "gemini embeddings call model=g",
            ),
            (&format!("POST {host}/upload/v1beta/files"), "", "gemini files upload"),
            (&format!("POST {host}/v1beta/cachedContents"), "", "gemini cached-contents upload"),
            (&format!("GET {host}/v1beta/files/f"), "", "gemini files meta"),
            (
                &format!("GET {host}/v1beta/files/f:download?alt=media"),
                "",
                "gemini files download resource=f",
            ),
            (&format!("GET {host}/v1beta/models"), "", "gemini models meta"),
            (&format!("POST {host}/v1beta/models/g:unheardOf"), "", "gemini unknown unknown"),
            (
                &format!("POST {host}/v1beta/models/g:asyncBatchEmbedContent"),
                "",
                "gemini batches upload model=g",
            ),
            (&format!("POST {host}/v1beta/models/g:embedText"), "", "gemini embeddings call model=g"),
            (
                &format!("POST {host}/v1beta/dynamic/d:generateContent"),
                "",
                "gemini generate-content call model=dynamic/d",
            ),
            (
                &format!("POST {host}/v1beta/interactions"),
                r#"{"model":"g","stream":true}"#,
                "gemini interactions call model=g stream",
            ),
            (&format!("GET {host}/v1beta/interactions/i"), "", "gemini interactions meta"),
            (
                &format!("POST {host}/v1beta/fileSearchStores/s:importFile"),
                "{}",
                "gemini vector-stores upload resource=s",
            ),
            (
                &format!("POST {host}/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore"),
                "",
                "gemini files upload",
            ),
            (&format!("POST {host}/v1beta/fileSearchStores"), "{}", "gemini vector-stores mutate"),
            (&format!("POST {host}/v1beta/corpora/c/documents"), "{}", "gemini vector-stores upload"),
            (&format!("POST {host}/v1beta/corpora/c:query"), "{}", "gemini vector-stores call resource=c"),
            (&format!("POST {host}/v1beta/files:register"), "{}", "gemini files upload"),
            (&format!("POST {host}/v1alpha/auth_tokens"), "{}", "gemini realtime authorize intent=call"),
            (
                &format!("GET {host}/download/v1beta/files/f:download?alt=media"),
                "",
                "gemini files download resource=f",
            ),
            (
                &format!(
                    "POST {host}/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent"
                ),
                "",
                "gemini generate-content call stream",
            ),
            (
                &format!("POST {host}/google.ai.generativelanguage.v1beta.FileService/CreateFile"),
                "",
                "gemini grpc upload",
            ),
            (
                &format!("POST {host}/google.ai.generativelanguage.v1beta.ModelService/ListModels"),
                "",
                "gemini grpc meta",
            ),
            (
                &format!(
                    "GET {host}//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent\nupgrade: websocket"
                ),
                "",
                "gemini realtime call stream",
            ),
            (
                "GET https://aiplatform.googleapis.com/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent\nupgrade: websocket",
                "",
                "vertex realtime call stream",
            ),
            (
                "POST https://aiplatform.googleapis.com/v1/publishers/google/models/g:generateContent?key=k",
                "",
                "vertex generate-content call model=g",
            ),
            (
                &format!("POST {vertex}/publishers/google/models/v:fetchPredictOperation"),
                "{}",
                "vertex predict meta resource=projects/p model=v",
            ),
            (
                &format!("POST {vertex}/endpoints/7/chat/completions"),
                r#"{"stream":true}"#,
                "vertex chat call resource=projects/p model=endpoints/7 stream",
            ),
            (&format!("POST {vertex}:retrieveContexts"), "{}", "vertex retrieve call resource=projects/p"),
            (
                &format!("POST {vertex}/reasoningEngines/1:query"),
                "{}",
                "vertex agents call resource=projects/p",
            ),
            (&format!("POST {vertex}/models:upload"), "{}", "vertex models upload resource=projects/p"),
            (
                &format!("POST {vertex}/ragCorpora/1/ragFiles:import"),
                "{}",
                "vertex vector-stores upload resource=projects/p",
            ),
            (&format!("GET {vertex}/studies/1/trials"), "", "vertex models meta resource=projects/p"),
            (
                &format!("POST {vertex}/studies/1/trials/2:stop"),
                "",
                "vertex resources mutate resource=projects/p",
            ),
            (&format!("POST {vertex}/operations/1:wait"), "", "vertex models meta resource=projects/p"),
            (
                &format!("POST {vertex}/endpoints/7:deployModel"),
                "{}",
                "vertex models mutate resource=projects/p",
            ),
            (
                &format!("DELETE {vertex}/cachedContents/1"),
                "",
                "vertex cached-contents mutate resource=projects/p",
            ),
            (&format!("POST {vertex}/tuningJobs"), "{}", "vertex fine-tuning upload resource=projects/p"),
            (
                &format!("POST {vertex}/tuningJobs/1:cancel"),
                "",
                "vertex fine-tuning mutate resource=projects/p",
            ),
            (
                "POST https://aiplatform.googleapis.com/google.cloud.aiplatform.v1.PredictionService/Predict",
                "",
                "vertex generate-content call",
            ),
            (
                &format!(
                    "GET {host}/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent\nupgrade: websocket"
                ),
                "",
                "gemini realtime call stream",
            ),
            (
                "POST https://gw.example/v1beta/models/g:generateContent",
                "",
                "gemini-compatible generate-content call model=g",
            ),
            (
                &format!("POST {vertex}/publishers/google/models/g:generateContent"),
                "",
                "vertex generate-content call resource=projects/p model=g",
            ),
            (
                &format!("POST {vertex}/publishers/anthropic/models/c@1:streamRawPredict"),
                "",
                "vertex predict call resource=projects/p model=c@1 stream",
            ),
            (
                &format!("POST {vertex}/publishers/anthropic/models/c:rawPredict"),
                "",
                "vertex predict call resource=projects/p model=c",
            ),
            (
                &format!("POST {vertex}/endpoints/7:predict"),
                "",
                "vertex predict call resource=projects/p model=endpoints/7",
            ),
            (
                &format!("POST {vertex}/endpoints/openapi/chat/completions"),
                r#"{"model":"g"}"#,
                "vertex chat call resource=projects/p model=g",
            ),
            (&format!("POST {vertex}/publishers/google/models/g:unheardOf"), "", "vertex unknown unknown"),
        ]);
    }

    #[test]
    fn objects_are_read_and_stored() {
        let host = "https://storage.googleapis.com";
        check(&[
            (
                &format!("GET {host}/storage/v1/b/b/o/a%2Fb?alt=media"),
                "",
                "gcs object download resource=b/a/b",
            ),
            (&format!("GET {host}/storage/v1/b/b/o/a"), "", "gcs object meta resource=b/a"),
            (&format!("GET {host}/storage/v1/b/b/o/a?alt=media&alt=json"), "", "gcs unknown unknown"),
            (&format!("GET {host}/storage/v1/b/b/o"), "", "gcs list meta resource=b/"),
            (
                &format!("POST {host}/upload/storage/v1/b/b/o?name=a/b"),
                "",
                "gcs object upload resource=b/a/b",
            ),
            (&format!("PUT {host}/upload/storage/v1/b/b/o?upload_id=1"), "", "gcs object upload resource=b/"),
            (
                &format!("POST {host}/storage/v1/b/x/o/y/rewriteTo/b/b/o/k"),
                "",
                "gcs copy upload resource=b/k from=x/y",
            ),
            (
                &format!("POST {host}/storage/v1/b/b/o/k/compose"),
                r#"{"sourceObjects":[{"name":"x"}]}"#,
                "gcs copy upload resource=b/k from=b/",
            ),
            (&format!("DELETE {host}/storage/v1/b/b/o/a"), "", "gcs object mutate resource=b/a"),
            (&format!("GET {host}/b/k/l"), "", "gcs object download resource=b/k/l"),
            (&format!("PUT {host}/b/k"), "", "gcs object upload resource=b/k"),
            ("GET https://b.storage.googleapis.com/k", "", "gcs object download resource=b/k"),
            (&format!("POST {host}/batch/storage/v1"), "", "gcs unknown unknown"),
            (
                &format!("POST {host}/storage/v1/b/b/o/x/moveTo/o/k"),
                "",
                "gcs copy upload resource=b/k from=b/x",
            ),
            (&format!("DELETE {host}/upload/storage/v1/b/b/o?upload_id=1"), "", "gcs object mutate"),
            (&format!("POST {host}/storage/v1/projects/p/hmacKeys"), "", "gcs configuration mutate"),
            (&format!("POST {host}/b/k\nx-goog-resumable: start"), "", "gcs object upload resource=b/k"),
            (&format!("POST {host}/google.storage.v2.Storage/ReadObject"), "", "gcs object download"),
            (&format!("POST {host}/google.storage.v2.Storage/BidiWriteObject"), "", "gcs object upload"),
            (&format!("POST {host}/google.storage.v2.Storage/DeleteObject"), "", "gcs object mutate"),
            (&format!("POST {host}/google.storage.v2.Storage/ListObjects"), "", "gcs grpc meta"),
            ("GET https://storage.mtls.googleapis.com/b/k", "", "gcs object download resource=b/k"),
        ]);
    }
}
