//! In which form a service takes its key, and a request's target without those that its client put there.
//!
//! Enters: whose service a request is for, and its target. Leaves: a [`KeyForm`]; the target without keys. Guarantees: what is
//! signed is told from what shows a key, for no other key can take its place. Does not: know any key.

use super::credential::{PARAMETERS, plain};
use super::hosts::{Family, service};
use super::target::decode;
use std::borrow::Cow;

/// Where a service looks for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// Alone in a field of this name, in lower case.
    Field(&'static str),
}

/// By the names of providers that operations have. OpenAI: <https://platform.openai.com/docs/api-reference/authentication>;
/// Anthropic: <https://docs.anthropic.com/en/api/overview>; Gemini: <https://ai.google.dev/api>; Azure:
/// <https://learn.microsoft.com/azure/ai-services/openai/reference>; Bedrock:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html>; the hub: <https://huggingface.co/docs/hub/api>.
const FORMS: &[(KeyForm, &[&str])] = &[
    (KeyForm::Field("x-api-key"), &["anthropic", "anthropic-compatible"]),
    (KeyForm::Field("x-goog-api-key"), &["gemini", "gemini-compatible"]),
    (KeyForm::Field("api-key"), &["azure-openai"]),
    (
        KeyForm::Bearer,
        &[
            "baseten",
            "bedrock",
            "cerebras",
            "cohere",
            "dashscope",
            "deepinfra",
            "deepseek",
            "fireworks",
            "github-copilot",
            "groq",
            "huggingface",
            "mistral",
            "moonshot",
            "npm",
            "nvidia",
            "openai",
            "openai-compatible",
            "openrouter",
            "perplexity",
            "together",
            "vllm",
            "xai",
        ],
    ),
];

/// Google's parameter for whole header fields, in lower case.
const FIELDS: &str = "$httpheaders";
/// Parameters that hold a signature, or whose it is, in lower case.
const SIGNATURES: [&str; 8] = [
    "awsaccesskeyid",
    "googleaccessid",
    "sig",
    "signature",
    "x-amz-credential",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// How a service takes its key; `None`: that is not known, or not everywhere the same.
pub fn key_form(provider: Option<&str>, target: &str) -> Option<KeyForm> {
    let provider = provider?;
    // Gemini has an interface that takes everything as OpenAI's does.
    let is_like_openai = ["/v1beta/openai/", "/v1/openai/"].iter().any(|start| target.starts_with(start));
    if provider.starts_with("gemini") && is_like_openai {
        return Some(KeyForm::Bearer);
    }
    FORMS.iter().find(|(_, providers)| providers.contains(&provider)).map(|(form, _)| *form)
}

/// Why no other key can take the place of what a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptKey {
    /// It is signed.
    Signed,
    /// A name in its query cannot be read, or has header fields behind it.
    Unreadable,
}

/// A target without the keys in its query; everything else as it was.
///
/// # Errors
/// A signature is in it, or it cannot be told what is.
pub fn without_keys<'t>(host: &str, target: &'t str) -> Result<Cow<'t, str>, KeptKey> {
    let Some((path, query)) = target.split_once('?') else { return Ok(Cow::Borrowed(target)) };
    let has_key = takes_key(host);
    let (mut kept, mut is_changed) = (Vec::new(), false);
    for part in query.split('&') {
        let raw = part.split('=').next().unwrap_or_default();
        let name = decode(raw, true).map_err(|_| KeptKey::Unreadable)?;
        if name.eq_ignore_ascii_case(FIELDS) {
            return Err(KeptKey::Unreadable);
        }
        let name = plain(&name);
        if SIGNATURES.contains(&name.as_str()) {
            return Err(KeptKey::Signed);
        }
        if PARAMETERS.contains(&name.as_str()) || has_key && name == "key" {
            is_changed = true;
        } else {
            kept.push(part);
        }
    }
    Ok(match (is_changed, kept.is_empty()) {
        (false, _) => Cow::Borrowed(target),
        (true, true) => Cow::Borrowed(path),
        (true, false) => Cow::Owned(format!("{path}?{}", kept.join("&"))),
    })
}

/// Whether a parameter `key` is a key at a host: at others it is the name of something.
fn takes_key(host: &str) -> bool {
    service(host)
        .is_none_or(|service| matches!(service.family, Family::Gemini | Family::Vertex | Family::Gcs))
}

#[cfg(test)]
mod tests {
    use super::super::{Head, Reader};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_service_takes_its_key_in_its_own_form() {
        let field = |name| Some(KeyForm::Field(name));
        for (url, expected) in [
            ("api.openai.com/v1/models", Some(KeyForm::Bearer)),
            ("api.anthropic.com/v1/models", field("x-api-key")),
            ("llm.example/v1/messages", field("x-api-key")),
            ("generativelanguage.googleapis.com/v1beta/models", field("x-goog-api-key")),
            ("generativelanguage.googleapis.com/v1beta/openai/models", Some(KeyForm::Bearer)),
            ("me.openai.azure.com/openai/deployments/d/chat/completions?api-version=1", field("api-key")),
            ("huggingface.co/a/b/resolve/main/x", Some(KeyForm::Bearer)),
            ("openrouter.ai/api/v1/models", Some(KeyForm::Bearer)),
            ("llm.example/v1/chat/completions", Some(KeyForm::Bearer)),
            ("bucket.s3.amazonaws.com/x", None),
            ("ghcr.io/v2/a/b/manifests/x", None),
            ("nobody.example/x", None),
        ] {
            let (host, target) = url.split_at(url.find('/').unwrap());
            let method = if url.contains("completions") || url.contains("messages") { "POST" } else { "GET" };
            let head = Head { method, host, port: 443, target, headers: &[] };
            let reader = Reader::new(&head);
            assert_eq!(key_form(reader.so_far().provider.as_deref(), target), expected, "{url}");
        }
        assert_eq!(key_form(None, "/"), None);
    }

    #[test]
    fn keys_leave_a_query_and_nothing_else_does() {
        let gemini = "generativelanguage.googleapis.com";
        for (host, target, expected) in [
            (gemini, "/m?key=abc", Ok("/m")),
            (gemini, "/m?alt=sse&key=abc&x=%2F", Ok("/m?alt=sse&x=%2F")),
            (gemini, "/m?k%65y=abc&KEY=x&a", Ok("/m?a")),
            (gemini, "/m?%24key=abc&oauth_token=x&a", Ok("/m?a")),
            (gemini, "/m?%24httpHeaders=x-goog-api-key%3Aabc", Err(KeptKey::Unreadable)),
            ("h.example", "/m?access_token=a&key=b&api%2Dkey=c&d=e", Ok("/m?d=e")),
            ("api.openai.com", "/m?key=abc", Ok("/m?key=abc")),
            ("h.example", "/key=abc?", Ok("/key=abc?")),
            ("h.example", "/m", Ok("/m")),
            ("h.example", "/m?X-Amz-Signature=1", Err(KeptKey::Signed)),
            ("h.example", "/m?a=b&%73ig=1", Err(KeptKey::Signed)),
            ("h.example", "/m?%zz=1", Err(KeptKey::Unreadable)),
        ] {
            assert_eq!(without_keys(host, target).as_deref(), expected.as_deref(), "{host}{target}");
        }
    }

    proptest! {
        #[test]
        fn no_key_that_is_told_of_stays(
            host in prop::sample::select(vec!["generativelanguage.googleapis.com", "llm.example", "api.openai.com"]),
            parts in prop::collection::vec(prop::sample::select(vec![
                "key=a", "k%65y=a", "$key=a", "access_token=a", "api-key=a", "api_key", "alt=sse", "", "=", "a=%26key=b", "KEY=a", "sig=a",
                "X-Amz-Credential=A%2Fb", "AWSAccessKeyId=A", "%zz=a", "key%3Da", "a+b=c",
            ]), 0..6),
        ) {
            let target = format!("/v1/models?{}", parts.join("&"));
            if let Ok(bare) = without_keys(host, &target) {
                let head = Head { method: "GET", host, port: 443, target: &bare, headers: &[] };
                prop_assert!(Reader::new(&head).so_far().credentials.is_empty(), "{} -> {}", target, bare);
                let again = without_keys(host, &bare);
                prop_assert_eq!(again.as_deref(), Ok(&*bare));
            }
        }
    }
}
