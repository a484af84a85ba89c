//! In whose words a refusal is told.

use super::Asked;
use policy::Operation;

/// The form of an error that the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    OpenAi,
    Anthropic,
    Google,
    Aws,
    S3,
    AzureBlob,
    Hub,
    Oci,
    Git,
    Lfs,
    Cargo,
    JsonRpc,
    Grpc,
    /// `{"error": "…"}`: Ollama, TGI, KServe, Triton, npm, and whoever is not known.
    Worded,
    Html,
}

impl Shape {
    pub(crate) fn of(operation: &Operation, asked: &Asked<'_>) -> Self {
        if asked.content_type.is_some_and(|kind| kind.starts_with("application/grpc")) {
            return Self::Grpc;
        }
        let known = by_server(operation.provider.as_deref())
            .or_else(|| by_interface(&operation.api))
            .or_else(|| by_provider(operation.provider.as_deref()));
        known.unwrap_or_else(|| by_client(asked))
    }
}

/// Servers that have one form whatever is asked.
fn by_server(provider: Option<&str>) -> Option<Shape> {
    match provider? {
        "ollama" | "tgi" | "kserve" | "triton" | "npm" | "npm-registry" => Some(Shape::Worded),
        "bedrock" => Some(Shape::Aws),
        "s3" | "s3-compatible" => Some(Shape::S3),
        "azure-blob" => Some(Shape::AzureBlob),
        "oci" | "ghcr" | "quay" | "nvidia-ngc" => Some(Shape::Oci),
        "cargo" | "cargo-registry" => Some(Shape::Cargo),
        "mcp" | "a2a" => Some(Shape::JsonRpc),
        _ => None,
    }
}

/// Interfaces that many offer beside their own.
fn by_interface(api: &str) -> Option<Shape> {
    match api {
        "git" => Some(Shape::Git),
        "lfs-batch" | "lfs" => Some(Shape::Lfs),
        "messages" | "count-tokens" => Some(Shape::Anthropic),
        "chat" | "responses" | "completions" | "embeddings" | "moderations" | "images" | "audio"
        | "realtime" | "videos" => Some(Shape::OpenAi),
        _ => None,
    }
}

fn by_provider(provider: Option<&str>) -> Option<Shape> {
    match provider? {
        "anthropic" => Some(Shape::Anthropic),
        "gemini" | "vertex" | "gcs" => Some(Shape::Google),
        "huggingface" => Some(Shape::Hub),
        "openai" | "openai-compatible" | "azure-openai" | "vllm" | "sglang" | "groq" | "mistral"
        | "deepseek" | "xai" | "together" | "fireworks" | "deepinfra" | "cerebras" | "openrouter"
        | "baseten" | "github-copilot" | "perplexity" => Some(Shape::OpenAi),
        "git" => Some(Shape::Git),
        _ => None,
    }
}

/// A client that says who it is reads its own form from whomever it asks.
fn by_client(asked: &Asked<'_>) -> Shape {
    let agent = asked.user_agent.unwrap_or_default();
    if agent.starts_with("git/") {
        return Shape::Git;
    }
    if agent.starts_with("git-lfs/") {
        return Shape::Lfs;
    }
    let first = asked.accept.unwrap_or_default().split([',', ';']).next().unwrap_or_default().trim();
    if matches!(first, "text/html" | "application/xhtml+xml") { Shape::Html } else { Shape::Worded }
}
