//! Which secrets are known: prefix, shape, and where the vendor says so.
//!
//! Enters: nothing. Leaves: [`SECRETS`]. Guarantees: each row has a prefix of at least three bytes, so that a text without
//! secrets costs one search. Does not: know keys without a shape of their own (many are plain hexadecimal numbers).

use super::secret_checks as checks;
use super::shape::Alphabet::{Alnum, Base32, Base64, Dotted, Hex, UpperDash, Url, Word};
use super::shape::Shape::{self, Custom, Field, Run};

/// One kind of secret.
#[derive(Clone, Copy, Debug)]
pub struct Secret {
    /// Its rule's id, the same in every release.
    pub id: &'static str,
    /// For a person.
    pub name: &'static str,
    /// Who says that it looks so: the address of the vendor's document, or `vendor documentation` where none is stable.
    pub source: &'static str,
    pub(super) prefixes: &'static [&'static str],
    pub(super) shape: Shape,
}

impl Secret {
    /// What it begins with, or the names of the field that it is in.
    pub fn prefixes(&self) -> &'static [&'static str] {
        self.prefixes
    }
}

const VENDOR: &str = "vendor documentation";
const GITHUB: &str =
    "https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/";
const GITLAB: &str = "https://docs.gitlab.com/security/tokens/#token-prefixes";
const SLACK: &str = "https://docs.slack.dev/authentication/tokens";

const fn row(
    id: &'static str,
    name: &'static str,
    source: &'static str,
    prefixes: &'static [&'static str],
    shape: Shape,
) -> Secret {
    Secret { id, name, source, prefixes, shape }
}

/// Every kind of secret that is looked for.
pub static SECRETS: &[Secret] = &[
    row(
        "aws-access-key-id",
        "AWS access key id",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
        &["AKIA", "ASIA", "ABIA", "ACCA"],
        Run(Base32, 16, 16),
    ),
    row(
        "aws-secret-access-key",
        "AWS secret access key",
        VENDOR,
        &[
            "aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
            "SecretAccessKey",
            "secretAccessKey",
            "aws_secret_key",
        ],
        Field(Base64, 40, 40),
    ),
    row(
        "aws-bedrock-key",
        "Amazon Bedrock API key",
        VENDOR,
        &["ABSKQmVkcm9ja0FQSUtleS"],
        Run(Base64, 90, 300),
    ),
    row("github-pat", "GitHub personal access token", GITHUB, &["ghp_"], Run(Alnum, 36, 36)),
    row("github-oauth", "GitHub OAuth token", GITHUB, &["gho_"], Run(Alnum, 36, 36)),
    row("github-app-user", "GitHub App user token", GITHUB, &["ghu_"], Run(Alnum, 36, 36)),
    row("github-app", "GitHub App installation token", GITHUB, &["ghs_"], Run(Dotted, 36, 600)),
    row("github-refresh", "GitHub refresh token", GITHUB, &["ghr_"], Run(Alnum, 36, 80)),
    row("github-fine-grained", "GitHub fine-grained token", GITHUB, &["github_pat_"], Run(Word, 82, 82)),
    row("gitlab-pat", "GitLab personal access token", GITLAB, &["glpat-"], Run(Dotted, 20, 320)),
    row("gitlab-deploy", "GitLab deploy token", GITLAB, &["gldt-"], Run(Dotted, 20, 320)),
    row("gitlab-runner", "GitLab runner token", GITLAB, &["glrt-"], Run(Dotted, 20, 320)),
    row("gitlab-ci", "GitLab CI job token", GITLAB, &["glcbt-"], Run(Dotted, 20, 320)),
    row("gitlab-trigger", "GitLab pipeline trigger token", GITLAB, &["glptt-"], Run(Dotted, 20, 320)),
    row("gitlab-agent", "GitLab agent token", GITLAB, &["glagent-"], Run(Dotted, 20, 320)),
    row("gitlab-oauth", "GitLab OAuth application secret", GITLAB, &["gloas-"], Run(Dotted, 20, 320)),
    row("slack-bot", "Slack bot token", SLACK, &["xoxb-"], Run(Url, 30, 120)),
    row(
        "slack-user",
        "Slack user or legacy token",
        SLACK,
        &["xoxp-", "xoxa-", "xoxr-", "xoxs-"],
        Run(Url, 30, 120),
    ),
    row(
        "slack-refresh",
        "Slack configuration token",
        SLACK,
        &["xoxe-", "xoxe.xoxp-", "xoxe.xoxb-"],
        Run(Url, 60, 300),
    ),
    row("slack-app", "Slack app-level token", SLACK, &["xapp-1-"], Run(Url, 40, 150)),
    row(
        "slack-webhook",
        "Slack webhook",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
        &["hooks.slack.com/services/T"],
        Custom(checks::slack_webhook),
    ),
    row("openai-project-key", "OpenAI project key", VENDOR, &["sk-proj-"], Run(Url, 40, 200)),
    row(
        "openai-service-key",
        "OpenAI service account or admin key",
        VENDOR,
        &["sk-svcacct-", "sk-admin-"],
        Run(Url, 40, 200),
    ),
    row("openai-key", "OpenAI key", VENDOR, &["sk-"], Custom(checks::openai_key)),
    row("sk-key", "model provider key of the form sk-…", VENDOR, &["sk-"], Custom(checks::sk_key)),
    row(
        "anthropic-key",
        "Anthropic API key",
        VENDOR,
        &["sk-ant-api03-", "sk-ant-admin01-", "sk-ant-oat01-", "sk-ant-ort01-"],
        Run(Url, 80, 120),
    ),
    row("openrouter-key", "OpenRouter key", VENDOR, &["sk-or-v1-"], Run(Hex, 64, 64)),
    row(
        "huggingface-token",
        "Hugging Face token",
        "https://huggingface.co/docs/hub/security-tokens",
        &["hf_", "api_org_"],
        Run(Alnum, 34, 40),
    ),
    row(
        "google-api-key",
        "Google API key",
        "https://cloud.google.com/docs/authentication/api-keys",
        &["AIza"],
        Run(Url, 35, 35),
    ),
    row("google-oauth-secret", "Google OAuth client secret", VENDOR, &["GOCSPX-"], Run(Url, 28, 28)),
    row("google-oauth-token", "Google OAuth access token", VENDOR, &["ya29."], Run(Url, 40, 600)),
    row(
        "stripe-key",
        "Stripe live key",
        "https://docs.stripe.com/keys",
        &["sk_live_", "rk_live_"],
        Run(Alnum, 24, 120),
    ),
    row(
        "stripe-webhook",
        "Stripe webhook secret",
        "https://docs.stripe.com/webhooks",
        &["whsec_"],
        Run(Alnum, 32, 64),
    ),
    row(
        "twilio-key",
        "Twilio API key id",
        "https://www.twilio.com/docs/iam/api-keys",
        &[
            "SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9", "SKa", "SKb", "SKc", "SKd",
            "SKe", "SKf",
        ],
        Custom(checks::twilio),
    ),
    row("sendgrid-key", "SendGrid API key", VENDOR, &["SG."], Custom(checks::sendgrid)),
    row(
        "npm-token",
        "npm access token",
        "https://github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/",
        &["npm_"],
        Run(Alnum, 36, 36),
    ),
    row(
        "pypi-token",
        "PyPI upload token",
        "https://pypi.org/help/#apitoken",
        &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"],
        Run(Url, 50, 600),
    ),
    row("rubygems-key", "RubyGems key", VENDOR, &["rubygems_"], Run(Hex, 48, 48)),
    row("crates-io-token", "crates.io token", VENDOR, &["cio"], Run(Alnum, 32, 32)),
    row(
        "docker-token",
        "Docker access token",
        "https://docs.docker.com/security/access-tokens/",
        &["dckr_pat_", "dckr_oat_"],
        Run(Url, 27, 32),
    ),
    row(
        "private-key",
        "private key",
        "https://www.rfc-editor.org/rfc/rfc7468",
        &["-----BEGIN "],
        Custom(checks::private_key),
    ),
    row(
        "private-key-base64",
        "private key in a kubeconfig",
        "https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/",
        &["client-key-data"],
        Field(Base64, 120, 4000),
    ),
    row(
        "age-key",
        "age secret key",
        "https://age-encryption.org/v1",
        &["AGE-SECRET-KEY-1"],
        Run(UpperDash, 58, 58),
    ),
    row(
        "jwt",
        "signed JSON web token",
        "https://www.rfc-editor.org/rfc/rfc7519",
        &["eyJ"],
        Custom(checks::jwt),
    ),
    row(
        "kubernetes-token",
        "Kubernetes service account token",
        "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
        &["eyJ"],
        Custom(checks::kubernetes_token),
    ),
    row(
        "azure-storage-key",
        "Azure storage key",
        "https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string",
        &["AccountKey="],
        Run(Base64, 86, 88),
    ),
    row("azure-sas-key", "Azure shared access key", VENDOR, &["SharedAccessKey="], Run(Base64, 43, 44)),
    row(
        "database-url",
        "database address with a password",
        "https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1",
        &["://"],
        Custom(checks::database_url),
    ),
    row(
        "vault-token",
        "HashiCorp Vault token",
        "https://developer.hashicorp.com/vault/docs/concepts/tokens",
        &["hvs.", "hvb.", "hvr."],
        Run(Url, 24, 300),
    ),
    row(
        "terraform-token",
        "Terraform Cloud token",
        "https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens",
        &[".atlasv1."],
        Custom(checks::terraform),
    ),
    row(
        "digitalocean-token",
        "DigitalOcean token",
        VENDOR,
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        Run(Hex, 64, 64),
    ),
    row(
        "shopify-token",
        "Shopify token",
        VENDOR,
        &["shpat_", "shpss_", "shpca_", "shppa_"],
        Run(Hex, 32, 32),
    ),
    row("square-token", "Square token", VENDOR, &["sq0atp-", "sq0csp-"], Run(Url, 22, 50)),
    row("mailgun-key", "Mailgun key", VENDOR, &["key-"], Run(Hex, 32, 32)),
    row(
        "discord-webhook",
        "Discord webhook",
        "https://discord.com/developers/docs/resources/webhook",
        &["discord.com/api/webhooks/"],
        Custom(checks::discord_webhook),
    ),
    row(
        "telegram-bot",
        "Telegram bot token",
        "https://core.telegram.org/bots/api#authorizing-your-bot",
        &[":AA"],
        Custom(checks::telegram),
    ),
    row("linear-key", "Linear key", VENDOR, &["lin_api_", "lin_oauth_"], Run(Alnum, 40, 64)),
    row("notion-token", "Notion token", VENDOR, &["ntn_"], Run(Alnum, 43, 50)),
    row("figma-token", "Figma token", VENDOR, &["figd_"], Run(Url, 40, 64)),
    row(
        "google-ai-key",
        "Google AI key bound to a service account",
        "https://ai.google.dev/gemini-api/docs/api-key",
        &["AQ.Ab"],
        Run(Url, 40, 90),
    ),
    row(
        "azure-key",
        "Azure key with a signature of its service",
        "https://github.com/microsoft/security-utilities",
        &["JQQJ99"],
        Custom(checks::azure_key),
    ),
    row("together-key", "Together AI key", VENDOR, &["tgp_v1_"], Run(Url, 43, 43)),
    row("cerebras-key", "Cerebras key", VENDOR, &["csk-"], Run(Alnum, 48, 48)),
    row("fireworks-key", "Fireworks AI key", VENDOR, &["fw_"], Custom(checks::fireworks)),
    row("elevenlabs-key", "ElevenLabs key", VENDOR, &["sk_"], Run(Hex, 48, 48)),
    row("voyage-key", "Voyage AI key", VENDOR, &["pa-"], Custom(checks::voyage)),
    row("jina-key", "Jina AI key", VENDOR, &["jina_"], Run(Alnum, 48, 64)),
    row("llamacloud-key", "LlamaCloud key", VENDOR, &["llx-"], Run(Alnum, 48, 48)),
    row("tavily-key", "Tavily key", VENDOR, &["tvly-"], Run(Url, 32, 60)),
    row("firecrawl-key", "Firecrawl key", VENDOR, &["fc-"], Run(Hex, 32, 32)),
    row("e2b-key", "E2B key", VENDOR, &["e2b_"], Run(Hex, 40, 72)),
    row("runpod-key", "Runpod key", VENDOR, &["rpa_"], Run(Alnum, 40, 56)),
    row("langfuse-key", "Langfuse secret key", VENDOR, &["sk-lf-"], Custom(checks::langfuse)),
    row("wandb-key", "Weights & Biases key", VENDOR, &["wandb_v1_"], Run(Word, 70, 90)),
    row("vercel-key", "Vercel token or AI gateway key", VENDOR, &["vck_", "vcp_"], Run(Alnum, 40, 64)),
    row(
        "cloudflare-token",
        "Cloudflare API token",
        "https://developers.cloudflare.com/fundamentals/api/get-started/token-formats/",
        &["cfut_", "cfat_", "cfk_"],
        Run(Alnum, 44, 56),
    ),
    row("groq-key", "Groq key", VENDOR, &["gsk_"], Run(Alnum, 52, 52)),
    row("xai-key", "xAI key", VENDOR, &["xai-"], Run(Alnum, 70, 90)),
    row("perplexity-key", "Perplexity key", VENDOR, &["pplx-"], Run(Alnum, 40, 64)),
    row("replicate-token", "Replicate token", VENDOR, &["r8_"], Run(Alnum, 37, 37)),
    row("nvidia-key", "NVIDIA API key", VENDOR, &["nvapi-"], Run(Url, 60, 80)),
    row("langsmith-key", "LangSmith key", VENDOR, &["lsv2_pt_", "lsv2_sk_"], Run(Word, 43, 50)),
    row("pinecone-key", "Pinecone key", VENDOR, &["pcsk_"], Run(Word, 60, 90)),
    row(
        "databricks-token",
        "Databricks token",
        "https://docs.databricks.com/aws/en/dev-tools/auth/pat",
        &["dapi"],
        Custom(checks::databricks),
    ),
    row(
        "doppler-token",
        "Doppler token",
        VENDOR,
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        Run(Dotted, 40, 60),
    ),
    row(
        "planetscale-token",
        "PlanetScale token",
        VENDOR,
        &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
        Run(Dotted, 32, 64),
    ),
    row(
        "grafana-token",
        "Grafana service account token",
        "https://grafana.com/docs/grafana/latest/administration/service-accounts/",
        &["glsa_"],
        Run(Word, 41, 41),
    ),
    row("grafana-cloud-token", "Grafana Cloud token", VENDOR, &["glc_"], Run(Base64, 32, 400)),
    row(
        "new-relic-key",
        "New Relic user key",
        "https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/",
        &["NRAK-"],
        Run(Alnum, 27, 27),
    ),
    row("sentry-token", "Sentry token", VENDOR, &["sntrys_", "sntryu_"], Run(Word, 64, 400)),
    row("postman-key", "Postman key", VENDOR, &["PMAK-"], Run(Url, 59, 59)),
    row(
        "atlassian-token",
        "Atlassian API token",
        VENDOR,
        &["ATATT3xFfGF0", "ATCTT3xFfGF0"],
        Run(Url, 60, 250),
    ),
    row("fly-token", "Fly.io token", VENDOR, &["fo1_", "fm2_"], Run(Base64, 43, 600)),
    row("supabase-key", "Supabase key", VENDOR, &["sbp_", "sb_secret_"], Run(Word, 31, 40)),
    row(
        "tailscale-key",
        "Tailscale key",
        "https://tailscale.com/kb/1277/key-prefixes",
        &["tskey-auth-", "tskey-api-", "tskey-client-"],
        Run(Url, 20, 80),
    ),
    row("netlify-token", "Netlify token", VENDOR, &["nfp_"], Run(Alnum, 36, 40)),
    row("pulumi-token", "Pulumi token", VENDOR, &["pul-"], Run(Hex, 40, 40)),
    row(
        "dynatrace-token",
        "Dynatrace token",
        "https://docs.dynatrace.com/docs/manage/identity-access-management/access-tokens-and-oauth-clients/access-tokens",
        &["dt0c01.", "dt0s01."],
        Run(Dotted, 80, 110),
    ),
    row("artifactory-key", "Artifactory API key", VENDOR, &["AKCp"], Run(Alnum, 60, 80)),
    row("alibaba-key-id", "Alibaba Cloud access key id", VENDOR, &["LTAI"], Run(Alnum, 20, 20)),
    row("facebook-token", "Meta access token", VENDOR, &["EAAG", "EAAJ", "EAAC"], Run(Alnum, 90, 300)),
];
