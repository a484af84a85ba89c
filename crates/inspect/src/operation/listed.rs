//! Requests that have no family of their own, as rows of a table: what some hosts have beside an interface that many have,
//! and what servers and stores of others look like wherever they are.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what stores the caller's data is an upload, be it a vector, a measurement or
//! a message to somebody. Does not: know all of anybody's interface; what has no row is not known.
//!
//! Sources: the reference documentation of each service. Rows are `METHOD /path`: `*` is some segment or the rest of one,
//! `**` at the end whatever follows; `{model}` and `{resource}` are such segments, and what they are.

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
    /// `request.model`.
    Within,
    /// The parameter `model` of the query.
    Query,
}

const MODEL_ID: &[Field] = &[Field { path: &["model_id"], says: Says::Model }];
const WITHIN: &[Field] = &[
    Field { path: &["request", "model"], says: Says::Model },
    Field { path: &["request", "stream"], says: Says::Stream },
];

/// At hosts of these providers, beside what their family has.
const THERE: &[Row] = &[
    ("mistral", "POST /v1/fim/completions", "completions", Verb::Call, Reads::Model),
    ("mistral", "POST /v1/ocr", "ocr", Verb::Call, Reads::Model),
    ("mistral", "POST /v1/chat/moderations", "moderations", Verb::Call, Reads::Model),
    ("mistral", "POST /v1/classifications", "classify", Verb::Call, Reads::Model),
    ("mistral", "POST /v1/chat/classifications", "classify", Verb::Call, Reads::Model),
    ("mistral", "POST /v1/agents/completions", "agents", Verb::Call, Reads::Stream),
    ("mistral", "GET /v1/files/{resource}/url", "files", Verb::Download, Reads::Nothing),
    ("mistral", "POST /v1/batch/jobs", "batches", Verb::Upload, Reads::Nothing),
    ("mistral", "POST /v1/batch/jobs/{resource}/cancel", "batches", Verb::Mutate, Reads::Nothing),
    ("mistral", "GET /v1/batch/jobs/**", "batches", Verb::Meta, Reads::Nothing),
    ("mistral", "POST /v1/libraries/**", "vector-stores", Verb::Upload, Reads::Nothing),
    ("mistral", "GET /v1/libraries/**", "vector-stores", Verb::Meta, Reads::Nothing),
    ("mistral", "POST /v1/agents", "assistants", Verb::Mutate, Reads::Nothing),
    ("mistral", "PATCH /v1/agents/*", "assistants", Verb::Mutate, Reads::Nothing),
    ("mistral", "GET /v1/agents/**", "assistants", Verb::Meta, Reads::Nothing),
    ("cohere", "POST /v1/chat", "chat", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/generate", "completions", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/summarize", "completions", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/classify", "classify", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/tokenize", "tokenize", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/detokenize", "tokenize", Verb::Call, Reads::Model),
    ("cohere", "POST /v1/datasets", "files", Verb::Upload, Reads::Nothing),
    ("cohere", "GET /v1/datasets/**", "files", Verb::Meta, Reads::Nothing),
    ("cohere", "DELETE /v1/datasets/{resource}", "files", Verb::Mutate, Reads::Nothing),
    ("cohere", "POST /v1/embed-jobs", "batches", Verb::Upload, Reads::Nothing),
    ("cohere", "GET /v1/embed-jobs/**", "batches", Verb::Meta, Reads::Nothing),
    ("cohere", "POST /v1/finetuning/finetuned-models", "fine-tuning", Verb::Upload, Reads::Nothing),
    ("cohere", "GET /v1/finetuning/**", "fine-tuning", Verb::Meta, Reads::Nothing),
    ("xai", "GET /v1/language-models/**", "models", Verb::Meta, Reads::Nothing),
    ("xai", "GET /v1/embedding-models/**", "models", Verb::Meta, Reads::Nothing),
    ("xai", "GET /v1/image-generation-models/**", "models", Verb::Meta, Reads::Nothing),
    ("xai", "GET /v1/api-key", "account", Verb::Meta, Reads::Nothing),
    ("xai", "GET /v1/chat/deferred-completion/{resource}", "chat", Verb::Meta, Reads::Nothing),
    ("xai", "POST /v1/tokenize-text", "tokenize", Verb::Call, Reads::Model),
    ("xai", "POST /v1/documents/search", "vector-stores", Verb::Call, Reads::Nothing),
    ("xai", "POST /v1/videos/generations", "videos", Verb::Call, Reads::Model),
    ("together", "POST /v1/files/upload", "files", Verb::Upload, Reads::Nothing),
    ("together", "POST /v1/fine-tunes", "fine-tuning", Verb::Upload, Reads::Nothing),
    ("together", "GET /v1/fine-tunes/**", "fine-tuning", Verb::Meta, Reads::Nothing),
    ("together", "POST /v1/fine-tunes/{resource}/cancel", "fine-tuning", Verb::Mutate, Reads::Nothing),
    ("together", "GET /v1/finetune/download", "fine-tuning", Verb::Download, Reads::Nothing),
    ("together", "POST /v1/tci/execute", "containers", Verb::Call, Reads::Nothing),
    ("together", "GET /v1/endpoints/**", "endpoints", Verb::Meta, Reads::Nothing),
    ("together", "POST /v1/endpoints", "endpoints", Verb::Mutate, Reads::Nothing),
    ("together", "PATCH /v1/endpoints/*", "endpoints", Verb::Mutate, Reads::Nothing),
    ("together", "DELETE /v1/endpoints/*", "endpoints", Verb::Mutate, Reads::Nothing),
    ("fireworks", "POST /v1/accounts/*/datasets/*:upload", "files", Verb::Upload, Reads::Nothing),
    ("fireworks", "POST /v1/accounts/*/datasets/*:getUploadEndpoint", "files", Verb::Upload, Reads::Nothing),
    ("fireworks", "POST /v1/accounts/*/datasets", "files", Verb::Mutate, Reads::Nothing),
    ("fireworks", "POST /v1/accounts/*/models/*:getUploadEndpoint", "models", Verb::Upload, Reads::Nothing),
    ("fireworks", "GET /v1/accounts/**", "account", Verb::Meta, Reads::Nothing),
    ("openrouter", "GET /api/v1/generation", "account", Verb::Meta, Reads::Nothing),
    ("openrouter", "GET /api/v1/key", "account", Verb::Meta, Reads::Nothing),
    ("openrouter", "GET /api/v1/credits", "account", Verb::Meta, Reads::Nothing),
    ("openrouter", "GET /api/v1/providers", "models", Verb::Meta, Reads::Nothing),
    ("openrouter", "GET /api/v1/keys/**", "organization", Verb::Meta, Reads::Nothing),
    ("openrouter", "POST /api/v1/keys", "organization", Verb::Admin, Reads::Nothing),
    ("openrouter", "PATCH /api/v1/keys/*", "organization", Verb::Admin, Reads::Nothing),
    ("openrouter", "DELETE /api/v1/keys/*", "organization", Verb::Admin, Reads::Nothing),
    ("deepseek", "GET /user/balance", "account", Verb::Meta, Reads::Nothing),
    ("deepseek", "POST /beta/completions", "completions", Verb::Call, Reads::Model),
    ("moonshot", "GET /v1/users/me/balance", "account", Verb::Meta, Reads::Nothing),
    ("moonshot", "POST /v1/tokenizers/estimate-token-count", "tokenize", Verb::Call, Reads::Model),
    ("perplexity", "POST /search", "search", Verb::Call, Reads::Nothing),
    ("perplexity", "POST /async/chat/completions", "chat", Verb::Call, Reads::Within),
    ("perplexity", "GET /async/chat/completions/**", "chat", Verb::Meta, Reads::Nothing),
    // It hands out where to upload, and with which signature.
    ("dashscope", "GET /api/v1/uploads", "uploads", Verb::Upload, Reads::Nothing),
    ("dashscope", "POST /api/v1/services/embeddings/**", "embeddings", Verb::Call, Reads::Model),
    ("dashscope", "POST /api/v1/services/rerank/**", "rerank", Verb::Call, Reads::Model),
    ("dashscope", "POST /api/v1/services/**", "generate", Verb::Call, Reads::Model),
    ("dashscope", "GET /api/v1/tasks/{resource}", "tasks", Verb::Meta, Reads::Nothing),
    ("dashscope", "POST /api/v1/tasks/{resource}/cancel", "tasks", Verb::Mutate, Reads::Nothing),
    ("nvidia", "POST /v1/genai/**", "generate", Verb::Call, Reads::Nothing),
    ("nvidia", "POST /v1/retrieval/**", "rerank", Verb::Call, Reads::Model),
    ("nvidia", "POST /v1/cv/**", "generate", Verb::Call, Reads::Nothing),
    ("nvidia", "POST /v1/vlm/**", "generate", Verb::Call, Reads::Nothing),
    ("replicate", "POST /v1/predictions", "predict", Verb::Call, Reads::Nothing),
    ("replicate", "POST /v1/predictions/{resource}/cancel", "predict", Verb::Mutate, Reads::Nothing),
    ("replicate", "POST /v1/deployments/*/{resource}/predictions", "predict", Verb::Call, Reads::Nothing),
    ("replicate", "POST /v1/models/*/*/versions/*/trainings", "fine-tuning", Verb::Upload, Reads::Nothing),
    ("replicate", "POST /v1/models/**", "predict", Verb::Call, Reads::Nothing),
    ("replicate", "POST /v1/files", "files", Verb::Upload, Reads::Nothing),
    ("replicate", "GET /v1/files/*/download", "files", Verb::Download, Reads::Nothing),
    ("replicate", "GET /v1/**", "account", Verb::Meta, Reads::Nothing),
    ("replicate", "POST /v1/deployments/**", "endpoints", Verb::Mutate, Reads::Nothing),
    ("elevenlabs", "POST /v1/text-to-speech/*/stream", "audio", Verb::Call, Reads::ModelId),
    ("elevenlabs", "POST /v1/text-to-speech/**", "audio", Verb::Call, Reads::ModelId),
    ("elevenlabs", "POST /v1/speech-to-text", "audio", Verb::Call, Reads::Nothing),
    ("elevenlabs", "POST /v1/speech-to-speech/**", "audio", Verb::Call, Reads::Nothing),
    ("elevenlabs", "POST /v1/sound-generation", "audio", Verb::Call, Reads::Nothing),
    ("elevenlabs", "POST /v1/voices/add", "voices", Verb::Upload, Reads::Nothing),
    ("elevenlabs", "GET /v1/history/{resource}/audio", "audio", Verb::Download, Reads::Nothing),
    ("elevenlabs", "GET /v1/**", "account", Verb::Meta, Reads::Nothing),
    ("elevenlabs", "DELETE /v1/**", "account", Verb::Mutate, Reads::Nothing),
    ("deepgram", "POST /v1/listen", "audio", Verb::Call, Reads::Query),
    ("deepgram", "POST /v1/speak", "audio", Verb::Call, Reads::Query),
    ("deepgram", "GET /v1/**", "account", Verb::Meta, Reads::Nothing),
    ("assemblyai", "POST /v2/transcript", "audio", Verb::Call, Reads::Nothing),
    ("assemblyai", "POST /v2/upload", "files", Verb::Upload, Reads::Nothing),
    ("assemblyai", "GET /v2/**", "audio", Verb::Meta, Reads::Nothing),
    ("pinecone", "POST /vectors/upsert", "vectors", Verb::Upload, Reads::Nothing),
    ("pinecone", "POST /vectors/update", "vectors", Verb::Upload, Reads::Nothing),
    ("pinecone", "POST /bulk/imports", "vectors", Verb::Upload, Reads::Nothing),
    ("pinecone", "POST /records/namespaces/*/upsert", "vectors", Verb::Upload, Reads::Nothing),
    ("pinecone", "POST /records/namespaces/*/search", "vectors", Verb::Call, Reads::Nothing),
    ("pinecone", "POST /query", "vectors", Verb::Call, Reads::Nothing),
    ("pinecone", "GET /vectors/fetch", "vectors", Verb::Download, Reads::Nothing),
    ("pinecone", "POST /describe_index_stats", "vectors", Verb::Meta, Reads::Nothing),
    ("pinecone", "POST /vectors/delete", "vectors", Verb::Mutate, Reads::Nothing),
    ("pinecone", "POST /embed", "embeddings", Verb::Call, Reads::Model),
    ("pinecone", "POST /rerank", "rerank", Verb::Call, Reads::Model),
    ("pinecone", "GET /**", "collections", Verb::Meta, Reads::Nothing),
    ("pinecone", "POST /indexes/**", "collections", Verb::Mutate, Reads::Nothing),
    ("pinecone", "PATCH /indexes/**", "collections", Verb::Mutate, Reads::Nothing),
    ("pinecone", "DELETE /**", "collections", Verb::Mutate, Reads::Nothing),
    ("conda", "POST /stage/**", "publish", Verb::Upload, Reads::Nothing),
    ("conda", "POST /commit/**", "publish", Verb::Upload, Reads::Nothing),
    ("conda", "GET /download/**", "package", Verb::Download, Reads::Nothing),
    ("conda", "GET /*/*/*/download/**", "package", Verb::Download, Reads::Nothing),
    ("conda", "GET /package/**", "index", Verb::Meta, Reads::Nothing),
    ("rubygems", "POST /api/v1/gems", "publish", Verb::Upload, Reads::Nothing),
    ("rubygems", "DELETE /api/v1/gems/yank", "yank", Verb::Mutate, Reads::Nothing),
    ("rubygems", "GET /gems/**", "package", Verb::Download, Reads::Nothing),
    ("rubygems", "GET /**", "index", Verb::Meta, Reads::Nothing),
    ("nuget", "PUT /api/v2/package", "publish", Verb::Upload, Reads::Nothing),
    ("nuget", "GET /v3-flatcontainer/*/*/*.nupkg", "package", Verb::Download, Reads::Nothing),
    ("nuget", "GET /**", "index", Verb::Meta, Reads::Nothing),
    ("docker-hub", "POST /v2/users/login", "token", Verb::Authorize, Reads::Nothing),
    ("docker-hub", "POST /v2/auth/token", "token", Verb::Authorize, Reads::Nothing),
    ("docker-hub", "GET /v2/repositories/**", "list", Verb::Meta, Reads::Nothing),
    ("docker-hub", "GET /v2/namespaces/**", "list", Verb::Meta, Reads::Nothing),
    ("docker-hub", "DELETE /v2/repositories/**", "manifest", Verb::Mutate, Reads::Nothing),
];

/// Wherever they are: what only these servers and stores have.
const ANYWHERE: &[Row] = &[
    ("tei", "POST /embed", "embeddings", Verb::Call, Reads::Nothing),
    ("tei", "POST /embed_all", "embeddings", Verb::Call, Reads::Nothing),
    ("tei", "POST /embed_sparse", "embeddings", Verb::Call, Reads::Nothing),
    ("tei", "POST /similarity", "embeddings", Verb::Call, Reads::Nothing),
    ("vllm", "POST /v1/chat/completions/render", "chat", Verb::Call, Reads::Model),
    ("vllm", "POST /v1/completions/render", "completions", Verb::Call, Reads::Model),
    ("tensorflow", "POST /v1/models/{model}:classify", "infer", Verb::Call, Reads::Nothing),
    ("tensorflow", "POST /v1/models/{model}:regress", "infer", Verb::Call, Reads::Nothing),
    ("tensorflow", "POST /v1/models/{model}/versions/*:predict", "infer", Verb::Call, Reads::Nothing),
    ("tensorflow", "POST /v1/models/{model}/versions/*:classify", "infer", Verb::Call, Reads::Nothing),
    ("tensorflow", "POST /v1/models/{model}/versions/*:regress", "infer", Verb::Call, Reads::Nothing),
    ("tensorflow", "GET /v1/models/{model}/metadata", "models", Verb::Meta, Reads::Nothing),
    (
        "tensorflow",
        "POST /tensorflow.serving.PredictionService/GetModelMetadata",
        "models",
        Verb::Meta,
        Reads::Nothing,
    ),
    ("tensorflow", "POST /tensorflow.serving.PredictionService/*", "infer", Verb::Call, Reads::Nothing),
    (
        "tensorflow",
        "POST /tensorflow.serving.ModelService/GetModelStatus",
        "models",
        Verb::Meta,
        Reads::Nothing,
    ),
    ("tensorflow", "POST /tensorflow.serving.ModelService/*", "models", Verb::Admin, Reads::Nothing),
    ("sagemaker", "POST /endpoints/{model}/invocations", "invocations", Verb::Call, Reads::Nothing),
    (
        "sagemaker",
        "POST /endpoints/{model}/invocations-response-stream",
        "invocations",
        Verb::Call,
        Reads::Streams,
    ),
    // What is asked was stored before, and the answer will be.
    ("sagemaker", "POST /endpoints/{model}/async-invocations", "async-invoke", Verb::Upload, Reads::Nothing),
    ("qdrant", "PUT /collections/{resource}/points", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/batch", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "PUT /collections/{resource}/points/vectors", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/payload", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "PUT /collections/{resource}/points/payload", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/snapshots/upload", "vectors", Verb::Upload, Reads::Nothing),
    ("qdrant", "PUT /collections/{resource}/snapshots/recover", "vectors", Verb::Admin, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/search/**", "vectors", Verb::Call, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/query/**", "vectors", Verb::Call, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/recommend/**", "vectors", Verb::Call, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/discover/**", "vectors", Verb::Call, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/scroll", "vectors", Verb::Download, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/count", "vectors", Verb::Meta, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points", "vectors", Verb::Download, Reads::Nothing),
    ("qdrant", "GET /collections/{resource}/points/*", "vectors", Verb::Download, Reads::Nothing),
    ("qdrant", "GET /collections/{resource}/snapshots/*", "vectors", Verb::Download, Reads::Nothing),
    ("qdrant", "POST /collections/{resource}/points/delete", "vectors", Verb::Mutate, Reads::Nothing),
    ("qdrant", "GET /collections/**", "collections", Verb::Meta, Reads::Nothing),
    ("qdrant", "PUT /collections/{resource}", "collections", Verb::Mutate, Reads::Nothing),
    ("qdrant", "PATCH /collections/{resource}", "collections", Verb::Mutate, Reads::Nothing),
    ("qdrant", "DELETE /collections/{resource}", "collections", Verb::Mutate, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/insert", "vectors", Verb::Upload, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/upsert", "vectors", Verb::Upload, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/search", "vectors", Verb::Call, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/hybrid_search", "vectors", Verb::Call, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/query", "vectors", Verb::Download, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/get", "vectors", Verb::Download, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/entities/delete", "vectors", Verb::Mutate, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/jobs/import/create", "vectors", Verb::Upload, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/collections/list", "collections", Verb::Meta, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/collections/describe", "collections", Verb::Meta, Reads::Nothing),
    ("milvus", "POST /v2/vectordb/**", "collections", Verb::Mutate, Reads::Nothing),
    ("weaviate", "POST /v1/objects", "vectors", Verb::Upload, Reads::Nothing),
    ("weaviate", "PUT /v1/objects/**", "vectors", Verb::Upload, Reads::Nothing),
    ("weaviate", "PATCH /v1/objects/**", "vectors", Verb::Upload, Reads::Nothing),
    ("weaviate", "POST /v1/batch/objects", "vectors", Verb::Upload, Reads::Nothing),
    ("weaviate", "GET /v1/objects/**", "vectors", Verb::Download, Reads::Nothing),
    ("weaviate", "DELETE /v1/objects/**", "vectors", Verb::Mutate, Reads::Nothing),
    ("weaviate", "GET /v1/schema/**", "collections", Verb::Meta, Reads::Nothing),
    ("weaviate", "POST /v1/schema/**", "collections", Verb::Mutate, Reads::Nothing),
    ("weaviate", "GET /v1/meta", "collections", Verb::Meta, Reads::Nothing),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/add",
        "vectors",
        Verb::Upload,
        Reads::Nothing,
    ),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/upsert",
        "vectors",
        Verb::Upload,
        Reads::Nothing,
    ),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/update",
        "vectors",
        Verb::Upload,
        Reads::Nothing,
    ),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/query",
        "vectors",
        Verb::Call,
        Reads::Nothing,
    ),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/get",
        "vectors",
        Verb::Download,
        Reads::Nothing,
    ),
    (
        "chroma",
        "POST /api/v2/tenants/*/databases/*/collections/{resource}/delete",
        "vectors",
        Verb::Mutate,
        Reads::Nothing,
    ),
    ("chroma", "POST /api/v2/tenants/*/databases/*/collections", "collections", Verb::Mutate, Reads::Nothing),
    ("chroma", "GET /api/v2/tenants/**", "collections", Verb::Meta, Reads::Nothing),
    ("chroma", "POST /api/v1/collections/{resource}/add", "vectors", Verb::Upload, Reads::Nothing),
    ("chroma", "POST /api/v1/collections/{resource}/upsert", "vectors", Verb::Upload, Reads::Nothing),
    ("chroma", "POST /api/v1/collections/{resource}/update", "vectors", Verb::Upload, Reads::Nothing),
    ("chroma", "POST /api/v1/collections/{resource}/query", "vectors", Verb::Call, Reads::Nothing),
    ("chroma", "POST /api/v1/collections/{resource}/get", "vectors", Verb::Download, Reads::Nothing),
    ("mlflow", "PUT /api/2.0/mlflow-artifacts/artifacts/**", "artifacts", Verb::Upload, Reads::Nothing),
    ("mlflow", "POST /api/2.0/mlflow-artifacts/mpu/**", "artifacts", Verb::Upload, Reads::Nothing),
    ("mlflow", "GET /api/2.0/mlflow-artifacts/artifacts/**", "artifacts", Verb::Download, Reads::Nothing),
    ("mlflow", "GET /get-artifact", "artifacts", Verb::Download, Reads::Nothing),
    ("mlflow", "GET /model-versions/get-artifact", "artifacts", Verb::Download, Reads::Nothing),
    ("mlflow", "GET /api/2.0/mlflow/**", "runs", Verb::Meta, Reads::Nothing),
    ("mlflow", "POST /api/2.0/mlflow/runs/search", "runs", Verb::Meta, Reads::Nothing),
    ("mlflow", "POST /api/2.0/mlflow/experiments/search", "runs", Verb::Meta, Reads::Nothing),
    ("mlflow", "POST /api/2.0/mlflow/runs/delete", "runs", Verb::Mutate, Reads::Nothing),
    ("mlflow", "POST /api/2.0/mlflow/experiments/delete", "runs", Verb::Mutate, Reads::Nothing),
    // Measurements, parameters and tags are texts of the caller's.
    ("mlflow", "POST /api/2.0/mlflow/**", "runs", Verb::Upload, Reads::Nothing),
    ("opentelemetry", "POST /v1/traces", "telemetry", Verb::Upload, Reads::Nothing),
    ("opentelemetry", "POST /v1/metrics", "telemetry", Verb::Upload, Reads::Nothing),
    ("opentelemetry", "POST /v1/logs", "telemetry", Verb::Upload, Reads::Nothing),
    ("opentelemetry", "POST /opentelemetry.proto.collector.**", "telemetry", Verb::Upload, Reads::Nothing),
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
    read(request, THERE.iter().chain(ANYWHERE).filter(|row| row.0 == provider))
}

/// Reads a head at a host that is not known.
pub(super) fn anywhere(request: &Request<'_>) -> Shape {
    read(request, ANYWHERE.iter())
}

fn read(request: &Request<'_>, rows: impl Iterator<Item = &'static Row>) -> Shape {
    let segments = request.segments();
    for (provider, row, api, verb, reads) in rows {
        let Some((method, pattern)) = row.split_once(" /") else { continue };
        let is_method = method == request.method() || method == "GET" && request.is_read();
        let Some(named) = named(pattern, &segments).filter(|_| is_method) else { continue };
        let mut draft = Draft::new(provider, *api, *verb);
        draft.operation.model = named.model.map(str::to_owned);
        draft.operation.resource = named.resource.map(str::to_owned);
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
struct Named<'a> {
    model: Option<&'a str>,
    resource: Option<&'a str>,
}

/// Whether the pattern, without its first slash, is of this path, and what that names.
fn named<'a>(pattern: &str, segments: &[&'a str]) -> Option<Named<'a>> {
    let mut found = Named::default();
    let mut rest = segments.iter();
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return Some(found);
        }
        let segment = *rest.next()?;
        let (place, before, behind) = match (wanted.split_once("{model}"), wanted.split_once("{resource}")) {
            (Some((before, behind)), _) => (Some(&mut found.model), before, behind),
            (None, Some((before, behind))) => (Some(&mut found.resource), before, behind),
            (None, None) => match wanted.split_once('*') {
                // `**` within a segment is whatever is behind its beginning, in later segments too.
                Some((before, "*")) => return segment.starts_with(before).then_some(found),
                Some((before, behind)) => (None, before, behind),
                None if wanted == segment => continue,
                None => return None,
            },
        };
        let inner = segment.strip_prefix(before)?.strip_suffix(behind)?;
        if inner.is_empty() {
            return None;
        }
        place.into_iter().for_each(|place| *place = Some(inner));
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
    let draft = |verb| Draft::new(server.name(), api, verb);
    Ok(Some(match class {
        Class::Infer if request.method() != "POST" => return Ok(None),
        Class::Infer => {
            let draft = draft(Verb::Call);
            match segments.as_slice() {
                ["predictions" | "explanations" | "wfpredict", model, ..] => draft.model(*model),
                _ if request.content_type()? == "application/json" => draft.model_in_body(),
                _ => draft,
            }
        }
        Class::Introspect => draft(Verb::Meta),
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
        assert_eq!(named("a/{model}:x", "a/b:x"), Some((Some("b"), None)));
        assert_eq!(named("a/{resource}/c", "a/b/c"), Some((None, Some("b"))));
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
        for rows in [THERE, ANYWHERE] {
            for (at, (provider, row, _, verb, _)) in rows.iter().enumerate() {
                let (method, pattern) = row.split_once(" /").unwrap();
                assert!(["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method), "{row}");
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
