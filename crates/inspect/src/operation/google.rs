//! Gemini, Vertex AI and Cloud Storage.
//!
//! Enters: a head. Leaves: a draft. Guarantees: the model is the one of the path, as is whether the answer streams. Does
//! not: follow resumable uploads; each of their requests is an upload.

use super::objects;
use super::openai;
use super::request::{Draft, Request, Shape, joined};
use policy::Verb;

/// Reads a head of Gemini's interface.
pub(super) fn gemini(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("gemini-compatible");
    let is_known = request.service.is_some();
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb);
    Ok(match (request.method(), segments.as_slice()) {
        (_, ["v1" | "v1beta", "openai", rest @ ..]) if is_known || segments.first() == Some(&"v1beta") => {
            return openai::interface(request, provider, rest);
        }
        ("POST" | "PUT", ["upload", "v1" | "v1beta", ..]) => Some(draft("files", Verb::Upload)),
        ("GET", ["download", "v1" | "v1beta", "files", file]) if is_known => {
            Some(draft("files", Verb::Download).resource(*file))
        }
        ("GET", ["v1" | "v1beta", "files", file]) if is_known && file.ends_with(":download") => {
            Some(draft("files", Verb::Download).resource(file.trim_end_matches(":download")))
        }
        ("POST", ["v1" | "v1beta" | "v1alpha", kind @ ("models" | "tunedModels"), model]) => method(model)
            .filter(|(_, method)| *method != "predict" || is_known)
            .and_then(|(model, method)| {
                let named = if *kind == "models" { model.to_owned() } else { format!("tunedModels/{model}") };
                asks(provider, method).map(|draft| draft.model(named))
            }),
        ("POST", ["v1" | "v1beta", "cachedContents"]) => Some(draft("cached-contents", Verb::Upload)),
        ("POST", ["v1" | "v1beta", "files"]) if is_known => Some(draft("files", Verb::Upload)),
        ("POST", ["v1" | "v1beta", "tunedModels"]) => Some(draft("fine-tuning", Verb::Upload)),
        ("POST" | "PATCH" | "DELETE", ["v1" | "v1beta", kind, ..]) if is_known => {
            kept(kind).map(|api| draft(api, Verb::Mutate))
        }
        ("GET", ["v1" | "v1beta", "models", model]) if is_known => {
            Some(draft("models", Verb::Meta).model(*model))
        }
        ("GET", ["v1" | "v1beta", kind, ..]) if is_known => kept(kind).map(|api| draft(api, Verb::Meta)),
        _ => None,
    })
}

/// What can be listed, read and deleted.
fn kept(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "models" => "models",
        "files" => "files",
        "cachedContents" => "cached-contents",
        "tunedModels" => "fine-tuning",
        "batches" => "batches",
        "operations" => "operations",
        _ => return None,
    })
}

/// Reads a head of Vertex AI.
pub(super) fn vertex(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let ["v1" | "v1beta1", "projects", project, "locations", _, rest @ ..] = segments.as_slice() else {
        return Ok(None);
    };
    let provider = request.provider("vertex-compatible");
    let is_post = request.method() == "POST";
    let draft = match rest {
        ["publishers", _, "models", model] if is_post => {
            method(model).and_then(|(model, method)| asks(provider, method).map(|draft| draft.model(model)))
        }
        ["endpoints", "openapi", rest @ ..] => {
            let draft = openai::interface(request, provider, rest)?;
            draft.map(|draft| draft.resource(format!("projects/{project}")))
        }
        ["endpoints", endpoint] if is_post => method(endpoint).and_then(|(endpoint, method)| {
            asks(provider, method).map(|draft| draft.model(format!("endpoints/{endpoint}")))
        }),
        ["cachedContents"] if is_post => Some(Draft::new(provider, "cached-contents", Verb::Upload)),
        ["batchPredictionJobs"] if is_post => Some(Draft::new(provider, "batches", Verb::Upload)),
        ["tuningJobs" | "customJobs"] if is_post => Some(Draft::new(provider, "fine-tuning", Verb::Upload)),
        [
            "endpoints" | "models" | "cachedContents" | "batchPredictionJobs" | "tuningJobs" | "publishers",
            ..,
        ] if request.is_read() => Some(Draft::new(provider, "models", Verb::Meta)),
        _ => None,
    };
    Ok(draft.map(|draft| draft.resource(format!("projects/{project}"))))
}

/// `model:method`.
fn method(segment: &str) -> Option<(&str, &str)> {
    segment.rsplit_once(':').filter(|(model, _)| !model.is_empty())
}

fn asks(provider: &'static str, method: &str) -> Option<Draft> {
    let (api, verb) = match method {
        "generateContent" | "streamGenerateContent" => ("generate-content", Verb::Call),
        "countTokens" => ("count-tokens", Verb::Call),
        "embedContent" | "batchEmbedContents" | "asyncBatchEmbedContent" => ("embeddings", Verb::Call),
        "predict" | "rawPredict" | "streamRawPredict" | "serverStreamingPredict" => ("predict", Verb::Call),
        "predictLongRunning" => ("predict", Verb::Call),
        "batchGenerateContent" => ("batches", Verb::Upload),
        _ => return None,
    };
    let stream = matches!(method, "streamGenerateContent" | "streamRawPredict" | "serverStreamingPredict");
    Some(Draft::new(provider, api, verb).stream(stream))
}

/// A conversation over a WebSocket. Its first message names the model.
pub(super) fn live(request: &Request<'_>) -> Option<Draft> {
    let segments = request.segments();
    let ["ws", service] = segments.as_slice() else { return None };
    let is_live = service.starts_with("google.") && service.ends_with(".BidiGenerateContent");
    is_live.then(|| Draft::new(request.provider("gemini-compatible"), "realtime", Verb::Call).stream(true))
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
        (_, ["storage", "v1", "b", bucket, "o", key]) if is_read => {
            let is_media = request.parameter("alt")? == Some("media");
            let verb = if is_media { Verb::Download } else { Verb::Meta };
            draft("object", verb).resource(object(bucket, &[key]))
        }
        ("POST", ["storage", "v1", "b", _, "o", _, "rewriteTo" | "copyTo", "b", bucket, "o", key]) => {
            draft("copy", Verb::Upload).resource(object(bucket, &[key]))
        }
        ("POST", ["storage", "v1", "b", bucket, "o", key, "compose"]) => {
            draft("copy", Verb::Upload).resource(object(bucket, &[key]))
        }
        (_, ["storage", "v1", "b", bucket, "o"]) if is_read => {
            draft("list", Verb::Meta).resource(format!("{bucket}/"))
        }
        (_, ["storage", "v1", "b"]) if is_read => draft("list", Verb::Meta),
        (_, ["storage", "v1", "b", bucket, ..]) if is_read => draft("bucket", Verb::Meta).resource(*bucket),
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
                "gcs copy upload resource=b/k",
            ),
            (&format!("DELETE {host}/storage/v1/b/b/o/a"), "", "gcs object mutate resource=b/a"),
            (&format!("GET {host}/b/k/l"), "", "gcs object download resource=b/k/l"),
            (&format!("PUT {host}/b/k"), "", "gcs object upload resource=b/k"),
            ("GET https://b.storage.googleapis.com/k", "", "gcs object download resource=b/k"),
            (&format!("POST {host}/batch/storage/v1"), "", "gcs unknown unknown"),
        ]);
    }
}
