//! Whose host it is, for hosts that are known.
//!
//! Enters: a host's name. Leaves: a [`Service`]. Guarantees: every host of the catalog of providers is known here. Does
//! not: allow anything; and users put services behind names of their own, which are told by shape.

use std::borrow::Cow;

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) provider: &'static str,
    pub(super) family: Family,
}

/// Whose requests are made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    OpenAi,
    Azure,
    Anthropic,
    Gemini,
    Vertex,
    Bedrock,
    Hub,
    HubInference,
    HubEndpoints,
    HubData,
    Cas,
    /// Only reads, of files at any path.
    Content,
    S3,
    Gcs,
    AzureBlob,
    Oci,
    GitHub,
    GitHubApi,
    GitHubContent,
    GitLab,
    Pypi,
    Npm,
    Cargo,
    Maven,
    GoProxy,
    Apt,
    Conda,
    ModelScope,
    /// Models of one's own, and MLflow.
    Databricks,
    /// An action in a field of the head.
    Aws,
    /// Only what the table of `listed` has.
    Listed,
}

/// A star is any text within a label; two are one label or more. The first that matches counts.
const HOSTS: &[(&str, &str, Family)] = &[
    ("api.openai.com", "openai", Family::OpenAi),
    ("*.api.openai.com", "openai", Family::OpenAi),
    ("*.openai.azure.com", "azure-openai", Family::Azure),
    ("*.services.ai.azure.com", "azure-openai", Family::Azure),
    ("*.cognitiveservices.azure.com", "azure-openai", Family::Azure),
    ("api.anthropic.com", "anthropic", Family::Anthropic),
    ("generativelanguage.googleapis.com", "gemini", Family::Gemini),
    ("aiplatform.googleapis.com", "vertex", Family::Vertex),
    ("*-aiplatform.googleapis.com", "vertex", Family::Vertex),
    ("aiplatform.*.rep.googleapis.com", "vertex", Family::Vertex),
    ("bedrock-runtime.*.amazonaws.com", "bedrock", Family::Bedrock),
    ("bedrock-runtime-fips.*.amazonaws.com", "bedrock", Family::Bedrock),
    ("bedrock-agent-runtime.*.amazonaws.com", "bedrock", Family::Bedrock),
    ("bedrock.*.amazonaws.com", "bedrock", Family::Bedrock),
    ("bedrock-agent.*.amazonaws.com", "bedrock", Family::Bedrock),
    ("bedrock-mantle.*.api.aws", "bedrock", Family::Bedrock),
    ("*.bedrock-agent-runtime.*.vpce.amazonaws.com", "bedrock", Family::Bedrock),
    ("*.bedrock-runtime.*.vpce.amazonaws.com", "bedrock", Family::Bedrock),
    ("runtime.sagemaker.*.amazonaws.com", "sagemaker", Family::Listed),
    ("api.sagemaker.*.amazonaws.com", "aws", Family::Aws),
    ("sts.amazonaws.com", "aws", Family::Aws),
    ("sts.*.amazonaws.com", "aws", Family::Aws),
    ("api.ecr.*.amazonaws.com", "aws", Family::Aws),
    ("ecr.*.amazonaws.com", "aws", Family::Aws),
    ("api.ecr-public.*.amazonaws.com", "aws", Family::Aws),
    ("bedrock-agentcore.*.amazonaws.com", "bedrock-agentcore", Family::Listed),
    ("s3vectors.*.amazonaws.com", "s3-vectors", Family::Listed),
    ("codeartifact.*.amazonaws.com", "codeartifact", Family::Listed),
    ("secretsmanager.*.amazonaws.com", "aws", Family::Aws),
    ("dynamodb.*.amazonaws.com", "aws", Family::Aws),
    ("*.s3-control.*.amazonaws.com", "s3", Family::Listed),
    ("oauth2.googleapis.com", "google-oauth", Family::Listed),
    ("sts.googleapis.com", "google-oauth", Family::Listed),
    ("*.*.models.ai.azure.com", "azure-openai", Family::OpenAi),
    ("*.*.inference.ml.azure.com", "azure-ml", Family::Listed),
    ("**.prediction.vertexai.goog", "vertex", Family::Vertex),
    ("*.models.ai.azure.com", "azure-openai", Family::OpenAi),
    ("models.inference.ai.azure.com", "azure-openai", Family::OpenAi),
    ("models.github.ai", "github-models", Family::OpenAi),
    ("api.groq.com", "groq", Family::OpenAi),
    ("api.mistral.ai", "mistral", Family::OpenAi),
    ("codestral.mistral.ai", "mistral", Family::OpenAi),
    ("api.deepseek.com", "deepseek", Family::OpenAi),
    ("api.x.ai", "xai", Family::OpenAi),
    ("*.api.x.ai", "xai", Family::OpenAi),
    ("management-api.x.ai", "xai", Family::Listed),
    ("api.sambanova.ai", "sambanova", Family::OpenAi),
    ("api.hyperbolic.xyz", "hyperbolic", Family::OpenAi),
    ("api.novita.ai", "novita", Family::OpenAi),
    ("api.studio.nebius.com", "nebius", Family::OpenAi),
    ("api.voyageai.com", "voyage", Family::OpenAi),
    ("api.jina.ai", "jina", Family::OpenAi),
    ("api.ai21.com", "ai21", Family::OpenAi),
    ("ai-gateway.vercel.sh", "vercel", Family::OpenAi),
    ("fal.run", "fal", Family::Listed),
    ("queue.fal.run", "fal", Family::Listed),
    ("rest.alpha.fal.ai", "fal", Family::Listed),
    ("rest.fal.ai", "fal", Family::Listed),
    ("fal.media", "fal", Family::Listed),
    ("*.fal.media", "fal", Family::Listed),
    ("api.stability.ai", "stability", Family::Listed),
    ("*.ml.cloud.ibm.com", "watsonx", Family::Listed),
    ("iam.cloud.ibm.com", "watsonx", Family::Listed),
    ("api.cloudflare.com", "cloudflare", Family::Listed),
    ("api.wandb.ai", "wandb", Family::Listed),
    ("trace.wandb.ai", "wandb", Family::Listed),
    ("api.smith.langchain.com", "langsmith", Family::Listed),
    ("*.api.smith.langchain.com", "langsmith", Family::Listed),
    ("cloud.langfuse.com", "langfuse", Family::Listed),
    ("*.cloud.langfuse.com", "langfuse", Family::Listed),
    ("www.comet.com", "comet", Family::Listed),
    ("**.weaviate.network", "weaviate", Family::Listed),
    ("**.weaviate.cloud", "weaviate", Family::Listed),
    ("**.cloud.qdrant.io", "qdrant", Family::Listed),
    ("api.together.xyz", "together", Family::OpenAi),
    ("api.together.ai", "together", Family::OpenAi),
    ("api.fireworks.ai", "fireworks", Family::OpenAi),
    ("api.deepinfra.com", "deepinfra", Family::OpenAi),
    ("api.cerebras.ai", "cerebras", Family::OpenAi),
    ("openrouter.ai", "openrouter", Family::OpenAi),
    ("inference.baseten.co", "baseten", Family::OpenAi),
    ("api.cohere.ai", "cohere", Family::OpenAi),
    ("api.cohere.com", "cohere", Family::OpenAi),
    ("api.githubcopilot.com", "github-copilot", Family::OpenAi),
    ("api.*.githubcopilot.com", "github-copilot", Family::OpenAi),
    ("api.perplexity.ai", "perplexity", Family::OpenAi),
    ("integrate.api.nvidia.com", "nvidia", Family::OpenAi),
    ("ai.api.nvidia.com", "nvidia", Family::OpenAi),
    ("api.nvcf.nvidia.com", "nvidia", Family::Listed),
    ("api.ngc.nvidia.com", "nvidia-ngc", Family::Listed),
    ("authn.nvidia.com", "nvidia-ngc", Family::Listed),
    ("dashscope.aliyuncs.com", "dashscope", Family::OpenAi),
    ("dashscope-intl.aliyuncs.com", "dashscope", Family::OpenAi),
    ("dashscope-us.aliyuncs.com", "dashscope", Family::OpenAi),
    ("api.moonshot.ai", "moonshot", Family::OpenAi),
    ("api.moonshot.cn", "moonshot", Family::OpenAi),
    ("api.replicate.com", "replicate", Family::Listed),
    ("replicate.delivery", "replicate", Family::Content),
    ("*.replicate.delivery", "replicate", Family::Content),
    ("api.elevenlabs.io", "elevenlabs", Family::Listed),
    ("api.deepgram.com", "deepgram", Family::Listed),
    ("api.assemblyai.com", "assemblyai", Family::Listed),
    ("streaming.assemblyai.com", "assemblyai", Family::Listed),
    ("agent.deepgram.com", "deepgram", Family::Listed),
    ("*.azuredatabricks.net", "databricks", Family::Databricks),
    ("*.*.azuredatabricks.net", "databricks", Family::Databricks),
    ("*.cloud.databricks.com", "databricks", Family::Databricks),
    ("*.*.gcp.databricks.com", "databricks", Family::Databricks),
    ("api.pinecone.io", "pinecone", Family::Listed),
    ("**.pinecone.io", "pinecone", Family::Listed),
    ("huggingface.co", "huggingface", Family::Hub),
    ("huggingface.com", "huggingface", Family::Hub),
    ("huggingface.cn", "huggingface", Family::Hub),
    ("hf.co", "huggingface", Family::Hub),
    ("hub-ci.huggingface.co", "huggingface", Family::Hub),
    ("hf-mirror.com", "huggingface", Family::Hub),
    ("router.huggingface.co", "huggingface", Family::HubInference),
    ("api-inference.huggingface.co", "huggingface", Family::HubInference),
    ("api.endpoints.huggingface.cloud", "huggingface", Family::HubEndpoints),
    ("**.endpoints.huggingface.cloud", "huggingface", Family::HubInference),
    ("datasets-server.huggingface.co", "huggingface", Family::HubData),
    ("cas-server.xethub.hf.co", "huggingface", Family::Cas),
    ("cas-bridge.xethub.hf.co", "huggingface", Family::Content),
    ("transfer.xethub.hf.co", "huggingface", Family::Cas),
    ("transfer.xethub-eu.hf.co", "huggingface", Family::Cas),
    ("cdn-lfs*.hf.co", "huggingface", Family::Content),
    ("cdn-lfs*.huggingface.co", "huggingface", Family::Content),
    ("**.cdn.hf.co", "huggingface", Family::Content),
    ("modelscope.cn", "modelscope", Family::ModelScope),
    ("www.modelscope.cn", "modelscope", Family::ModelScope),
    ("modelscope.ai", "modelscope", Family::ModelScope),
    ("www.modelscope.ai", "modelscope", Family::ModelScope),
    ("api-inference.modelscope.cn", "modelscope", Family::OpenAi),
    ("api-inference.modelscope.ai", "modelscope", Family::OpenAi),
    ("cdn-lfs*.modelscope.cn", "modelscope", Family::Content),
    ("cdn-lfs*.modelscope.ai", "modelscope", Family::Content),
    ("www.kaggle.com", "kaggle", Family::Listed),
    ("api.kaggle.com", "kaggle", Family::Listed),
    ("civitai.com", "civitai", Family::Listed),
    ("www.civitai.com", "civitai", Family::Listed),
    ("storage.googleapis.com", "gcs", Family::Gcs),
    ("storage.cloud.google.com", "gcs", Family::Gcs),
    ("storage.mtls.googleapis.com", "gcs", Family::Gcs),
    ("storage.*.rep.googleapis.com", "gcs", Family::Gcs),
    ("commondatastorage.googleapis.com", "gcs", Family::Gcs),
    ("**.storage.googleapis.com", "gcs", Family::Gcs),
    ("*.blob.core.windows.net", "azure-blob", Family::AzureBlob),
    ("*.dfs.core.windows.net", "azure-blob", Family::AzureBlob),
    ("*.file.core.windows.net", "azure-blob", Family::AzureBlob),
    ("*.queue.core.windows.net", "azure-queue", Family::Listed),
    ("*.table.core.windows.net", "azure-table", Family::Listed),
    ("*.*.blob.storage.azure.net", "azure-blob", Family::AzureBlob),
    ("ghcr.io", "ghcr", Family::Oci),
    ("pkg-containers.githubusercontent.com", "ghcr", Family::Content),
    ("quay.io", "quay", Family::Oci),
    ("cdn*.quay.io", "quay", Family::Content),
    ("nvcr.io", "nvidia-ngc", Family::Oci),
    ("registry-1.docker.io", "docker-hub", Family::Oci),
    ("auth.docker.io", "docker-hub", Family::Oci),
    ("production.cloudflare.docker.com", "docker-hub", Family::Content),
    ("hub.docker.com", "docker-hub", Family::Listed),
    ("registry.gitlab.com", "gitlab", Family::Oci),
    ("mcr.microsoft.com", "oci", Family::Oci),
    ("registry.k8s.io", "oci", Family::Oci),
    ("gcr.io", "oci", Family::Oci),
    ("*.gcr.io", "oci", Family::Oci),
    ("*.pkg.dev", "oci", Family::Oci),
    ("public.ecr.aws", "oci", Family::Oci),
    ("*.dkr.ecr.*.amazonaws.com", "oci", Family::Oci),
    ("*.dkr-ecr.*.amazonaws.com", "oci", Family::Oci),
    ("*.azurecr.io", "oci", Family::Oci),
    ("registry.ollama.ai", "ollama", Family::Oci),
    ("github.com", "github", Family::GitHub),
    ("codeload.github.com", "github", Family::GitHubContent),
    ("raw.githubusercontent.com", "github", Family::GitHubContent),
    ("media.githubusercontent.com", "github", Family::GitHubContent),
    ("api.github.com", "github", Family::GitHubApi),
    ("uploads.github.com", "github", Family::GitHubApi),
    ("**.githubusercontent.com", "github", Family::Content),
    ("gitlab.com", "gitlab", Family::GitLab),
    ("pypi.org", "pypi", Family::Pypi),
    ("upload.pypi.org", "pypi", Family::Pypi),
    ("test.pypi.org", "pypi", Family::Pypi),
    ("files.pythonhosted.org", "pypi", Family::Pypi),
    ("download.pytorch.org", "pypi", Family::Pypi),
    ("pypi.nvidia.com", "pypi", Family::Pypi),
    ("conda.anaconda.org", "conda", Family::Conda),
    ("repo.anaconda.com", "conda", Family::Conda),
    ("api.anaconda.org", "conda", Family::Conda),
    ("anaconda.org", "conda", Family::Conda),
    ("rubygems.org", "rubygems", Family::Listed),
    ("api.nuget.org", "nuget", Family::Listed),
    ("www.nuget.org", "nuget", Family::Listed),
    ("**.npmjs.org", "npm", Family::Npm),
    ("registry.yarnpkg.com", "npm", Family::Npm),
    ("npm.pkg.github.com", "npm", Family::Npm),
    ("crates.io", "cargo", Family::Cargo),
    ("index.crates.io", "cargo", Family::Cargo),
    ("static.crates.io", "cargo", Family::Cargo),
    ("repo1.maven.org", "maven", Family::Maven),
    ("central.sonatype.com", "sonatype", Family::Listed),
    ("repo.maven.apache.org", "maven", Family::Maven),
    ("proxy.golang.org", "goproxy", Family::GoProxy),
    ("sum.golang.org", "goproxy", Family::GoProxy),
    ("**.debian.org", "apt", Family::Apt),
    ("archive.ubuntu.com", "apt", Family::Apt),
    ("*.archive.ubuntu.com", "apt", Family::Apt),
    ("security.ubuntu.com", "apt", Family::Apt),
    ("ports.ubuntu.com", "apt", Family::Apt),
];

/// Stores with S3's interface: where they are asked, a bucket in the path. Before that there may be the name of one.
const STORES: &[&str] = &[
    "*.eu.r2.cloudflarestorage.com",
    "*.r2.cloudflarestorage.com",
    "s3.*.backblazeb2.com",
    "s3.*.wasabisys.com",
    "s3.wasabisys.com",
    "*.digitaloceanspaces.com",
    "*.your-objectstorage.com",
    "*.linodeobjects.com",
    "*.vultrobjects.com",
    "oss-*.aliyuncs.com",
    "cos.*.myqcloud.com",
    "storage.yandexcloud.net",
    "*.compat.objectstorage.*.oraclecloud.com",
    "s3.*.cloud-object-storage.appdomain.cloud",
    "s3.*.scw.cloud",
    "s3.*.io.cloud.ovh.net",
];

/// What is known of it. Lower case, without a trailing dot.
pub(super) fn service(host: &str) -> Option<Service> {
    // A bucket can have the name of another service, which then is where that service has its region behind.
    if bucket_of_s3(host).is_some() {
        return Some(Service { provider: "s3", family: Family::S3 });
    }
    let plain = plain_aws(host);
    // All others are looked for once.
    let other = Some(&*plain).filter(|plain| *plain != host);
    let is = |pattern: &str| matches(pattern, host) || other.is_some_and(|other| matches(pattern, other));
    let found = HOSTS.iter().find(|(pattern, ..)| is(pattern));
    if let Some((_, provider, family)) = found {
        return Some(Service { provider, family: *family });
    }
    bucket_of_store(host).map(|_| Service { provider: "s3-compatible", family: Family::S3 })
}

/// A host of AWS as its service has it in most regions: without what says that it is in China, reached by IPv6 too, validated
/// (FIPS) or private (`vpce`). <https://docs.aws.amazon.com/general/latest/gr/rande.html>
fn plain_aws(host: &str) -> Cow<'_, str> {
    let Some(name) = [".amazonaws.com.cn", ".amazonaws.com", ".api.aws", ".on.aws"]
        .iter()
        .find_map(|end| host.strip_suffix(end))
    else {
        return Cow::Borrowed(host);
    };
    let mut labels: Vec<_> =
        name.split('.').map(|label| label.strip_suffix("-fips").unwrap_or(label)).collect();
    if labels.first().is_some_and(|label| label.starts_with("vpce-")) && labels.last() == Some(&"vpce") {
        labels.remove(0);
        labels.pop();
    }
    Cow::Owned(format!("{}.amazonaws.com", labels.join(".")))
}

/// Whether it is a host of one of these services of AWS.
pub(super) fn is_of_aws(host: &str, services: &[&str]) -> bool {
    let plain = plain_aws(host);
    let first = plain.strip_suffix(".amazonaws.com").and_then(|name| name.split('.').next());
    first.is_some_and(|first| services.contains(&first))
}

/// The bucket that a host of a store names; empty where it is in the path. `None`: it is no host of a store that is known.
pub(super) fn bucket_of(host: &str) -> Option<String> {
    bucket_of_s3(host).or_else(|| bucket_of_store(host))
}

fn bucket_of_store(host: &str) -> Option<String> {
    let labels: Vec<_> = host.split('.').collect();
    STORES.iter().find_map(|store| {
        let at = labels.len().checked_sub(store.split('.').count())?;
        let (bucket, place) = labels.split_at_checked(at)?;
        matches(store, &place.join(".")).then(|| bucket.join("."))
    })
}

/// The bucket that a host of S3 names; empty where it is in the path. `None`: it is no host of S3.
fn bucket_of_s3(host: &str) -> Option<String> {
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let labels: Vec<_> = name.split('.').collect();
    // What administers accounts has no objects.
    let is_s3 = |label: &&str| {
        *label == "s3"
            || label.starts_with("s3express-")
            || label.starts_with("s3-") && !label.starts_with("s3-control")
    };
    let at = labels.iter().rposition(is_s3)?;
    let (before, behind) = (labels.get(..at)?, labels.get(at + 1..)?);
    // Others name parts of their hosts as they like (load balancers): behind the service is a region, and little else.
    let is_place = |label: &&str| matches!(*label, "dualstack" | "vpce") || is_region(label);
    if behind.len() > 2 || !behind.iter().all(is_place) {
        return None;
    }
    // A private endpoint names what it is for, and itself, before the service.
    match before {
        [bucket @ .., "bucket", endpoint] if endpoint.starts_with("vpce-") => Some(bucket.join(".")),
        [.., "control", endpoint] if endpoint.starts_with("vpce-") => None,
        before => Some(before.join(".")),
    }
}

/// `eu-west-1`, `us-gov-west-1`, or a zone of one.
fn is_region(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.as_slice() {
        [words @ .., number] if words.len() >= 2 => {
            words.iter().all(is_word) && number.starts_with(|first: char| first.is_ascii_digit())
        }
        _ => false,
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return host.strip_suffix(rest).is_some_and(|label| !label.is_empty());
    }
    let (mut wanted, mut labels) = (pattern.split('.'), host.split('.'));
    loop {
        match (wanted.next(), labels.next()) {
            (None, None) => return true,
            (Some(wanted), Some(label)) if is_label(wanted, label) => {}
            (_, _) => return false,
        }
    }
}

fn is_label(wanted: &str, label: &str) -> bool {
    match wanted.split_once('*') {
        Some((start, end)) => label.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => wanted == label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_whole_labels() {
        for (host, expected) in [
            ("api.openai.com", Some("openai")),
            ("api.openai.com.evil.example", None),
            ("evilapi.openai.com", None),
            ("us-east5-aiplatform.googleapis.com", Some("vertex")),
            ("aiplatform.eu.rep.googleapis.com", Some("vertex")),
            ("bedrock-runtime.eu-west-1.amazonaws.com", Some("bedrock")),
            ("us-east-1.aws.cdn.hf.co", Some("huggingface")),
            ("cdn.hf.co", None),
            ("x.hf.space", None),
            ("b.s3.eu-west-1.amazonaws.com", Some("s3")),
            ("ec2.eu-west-1.amazonaws.com", None),
            ("dynamodb.s3.amazonaws.com", Some("s3")),
            ("bedrock-runtime.s3.eu-west-1.amazonaws.com", Some("s3")),
            ("bedrock-runtime.us-east-1.api.aws", Some("bedrock")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("bedrock")),
            ("bedrock-agent-runtime-fips.us-east-1.amazonaws.com", Some("bedrock")),
            ("vpce-1a-2b.bedrock.us-east-1.vpce.amazonaws.com", Some("bedrock")),
            ("vpce-1a-2b.runtime.sagemaker.us-east-1.vpce.amazonaws.com", Some("sagemaker")),
            ("vpce-1a-2b.bedrock.us-east-1.elb.amazonaws.com", None),
            ("1.dkr.ecr-fips.us-east-1.amazonaws.com", Some("oci")),
            ("1.dkr-ecr.us-east-1.on.aws", Some("oci")),
            ("1.s3-control.eu-west-1.amazonaws.com", Some("s3")),
            ("acct.r2.cloudflarestorage.com", Some("s3-compatible")),
            ("r2.cloudflarestorage.com", None),
            ("evil-r2.cloudflarestorage.com.example", None),
            ("bedrock-agent.eu-west-1.amazonaws.com", Some("bedrock")),
            ("api.endpoints.huggingface.cloud", Some("huggingface")),
            ("objects.githubusercontent.com", Some("github")),
            ("pkg-containers.githubusercontent.com", Some("ghcr")),
        ] {
            assert_eq!(service(host).map(|found| found.provider), expected, "{host}");
        }
    }

    #[test]
    fn a_bucket_is_what_stands_before_the_last_label_of_s3() {
        for (host, expected) in [
            ("s3.amazonaws.com", Some("")),
            ("s3.eu-west-1.amazonaws.com", Some("")),
            ("s3.dualstack.eu-west-1.amazonaws.com", Some("")),
            ("a.b.s3.eu-west-1.amazonaws.com", Some("a.b")),
            ("a.s3.b.s3.eu-west-1.amazonaws.com", Some("a.s3.b")),
            ("hf-hub-lfs-us-east-1.s3-accelerate.amazonaws.com", Some("hf-hub-lfs-us-east-1")),
            ("b--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com", Some("b--euw1-az1--x-s3")),
            ("amazonaws.com", None),
            ("1.s3-control.eu-west-1.amazonaws.com", None),
            ("b.s3.cn-north-1.amazonaws.com.cn", Some("b")),
            ("b.s3.us-gov-west-1.amazonaws.com", Some("b")),
            ("s3-us-west-2.amazonaws.com", Some("")),
            ("b.bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com", Some("b")),
            ("bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com", Some("")),
            ("control.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com", None),
            ("s3-evil-1234.eu-west-1.elb.amazonaws.com", None),
            ("b.s3.eu-west-1.elb.amazonaws.com", None),
            ("s3.evil.eu-west-1.elb.amazonaws.com", None),
            ("acct.r2.cloudflarestorage.com", Some("")),
            ("b.acct.r2.cloudflarestorage.com", Some("b")),
            ("b.acct.eu.r2.cloudflarestorage.com", Some("b")),
            ("a.b.nyc3.digitaloceanspaces.com", Some("a.b")),
            ("s3.us-west-004.backblazeb2.com", Some("")),
            ("b.oss-cn-hangzhou.aliyuncs.com", Some("b")),
        ] {
            assert_eq!(bucket_of(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn every_host_of_the_catalog_is_known_by_its_providers_name() {
        let catalog = crds::Catalog::built_in();
        let mut seen = 0;
        for provider in catalog.providers.values() {
            for host in &provider.hosts {
                let name = host.host.replace("{region}", "eu-west-1").replace("**", "x").replace('*', "x");
                let name = name.replace(['{', '}'], "");
                let found = service(&name).map(|found| found.provider);
                assert_eq!(found, Some(&*provider.name), "{name}");
                seen += 1;
            }
        }
        assert!(seen > 30, "the catalog has {seen} hosts");
    }
}
