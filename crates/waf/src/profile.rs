//! What is judged how: everything alike, or prose of AI requests apart from the rest.
//!
//! A prompt may speak of `rm -rf`, `UNION SELECT` and `<script>`; what receives it reads it and does not run it. So in
//! the [`Profile::FieldAware`] profile rules that look for injections do not look at free text of requests of known AI
//! APIs: messages, prompts, instructions, results of tools, descriptions of tools. They look at everything else there
//! (models, ids, URLs, arguments of tools), and all other rules look at all of it.
//! Source: the API references of OpenAI, Anthropic, Google Gemini, Ollama, AWS Bedrock, Cohere and Hugging Face TGI.

use crate::body::json::Document;

/// How arguments are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// As the rules say.
    #[default]
    Crs,
    /// As the rules say, but rules that look for injections leave free text of AI requests to the guards of prompts.
    FieldAware,
}

/// Which part of a request an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Anything that something may interpret.
    Strict,
    /// Text for a model to read.
    Prose,
}

/// Tags of rules that look for injections into what may run or interpret a value.
const INJECTIONS: [&str; 13] = [
    "attack-deserialization",
    "attack-fixation",
    "attack-generic",
    "attack-injection-generic",
    "attack-injection-java",
    "attack-injection-php",
    "attack-lfi",
    "attack-rce",
    "attack-rfi",
    "attack-sqli",
    "attack-ssrf",
    "attack-ssti",
    "attack-xss",
];

/// Tag of rules that look for pieces of protocols in values; those that look at bytes and sizes have it too.
const PROTOCOL: &str = "attack-protocol";

/// Whether a rule looks for injections, by its tags and by whether it looks for a text.
pub(crate) fn is_injection(tags: &[String], seeks_text: bool) -> bool {
    tags.iter().any(|tag| INJECTIONS.contains(&tag.as_str()) || seeks_text && tag == PROTOCOL)
}

/// An API: how paths of its requests end, and where free text is in their bodies. `*` is an element of a list, and `**`
/// at the end whatever is below.
struct Api {
    paths: &'static [&'static str],
    prose: &'static [&'static str],
}

/// Where messages of a chat have text: a text, or parts of text, of thinking, and of results of tools.
const APIS: &[Api] = &[
    Api {
        paths: &[
            "/chat/completions",
            "/messages",
            "/messages/count_tokens",
            "/api/chat",
            "/v2/chat",
            "/converse",
            "/converse-stream",
        ],
        prose: &[
            "messages.*.content",
            "messages.*.content.*.text",
            "messages.*.content.*.thinking",
            "messages.*.content.*.content",
            "messages.*.content.*.content.*.text",
            "messages.*.content.*.toolResult.content.*.text",
            "messages.*.content.*.toolResult.content.*.json.**",
            "messages.*.reasoning_content",
            "messages.*.thinking",
            "messages.*.refusal",
            "messages.*.content.*.refusal",
            "system",
            "system.*.text",
            "prediction.content",
            "prediction.content.*.text",
            "tools.*.description",
            "tools.*.function.description",
            "functions.*.description",
            "stop",
            "stop.*",
            "stop_sequences.*",
            "options.stop.*",
        ],
    },
    Api {
        paths: &["/responses"],
        prose: &[
            "input",
            "input.*.content",
            "input.*.content.*.text",
            "input.*.content.*.refusal",
            "input.*.output",
            "input.*.output.*.text",
            "input.*.summary.*.text",
            "instructions",
            "tools.*.description",
        ],
    },
    Api { paths: &["/completions"], prose: &["prompt", "prompt.*", "suffix", "stop", "stop.*"] },
    Api {
        paths: &["/embeddings", "/moderations", "/api/embed"],
        prose: &["input", "input.*", "input.*.text"],
    },
    Api { paths: &["/api/generate"], prose: &["prompt", "system", "suffix", "options.stop.*"] },
    Api { paths: &["/api/embeddings"], prose: &["prompt"] },
    Api {
        paths: &[":generateContent", ":streamGenerateContent", ":countTokens"],
        prose: &[
            "contents.*.parts.*.text",
            "contents.parts.*.text",
            "contents.*.parts.*.functionResponse.response.**",
            "systemInstruction.parts.*.text",
            "system_instruction.parts.*.text",
            "systemInstruction.parts.text",
            "system_instruction.parts.text",
            "generationConfig.stopSequences.*",
            "tools.*.functionDeclarations.*.description",
            "tools.*.function_declarations.*.description",
        ],
    },
    Api { paths: &[":embedContent"], prose: &["content.parts.*.text"] },
    Api {
        paths: &["/v1/chat"],
        prose: &["message", "chat_history.*.message", "preamble", "documents.*.text", "documents.*.snippet"],
    },
    Api { paths: &["/rerank"], prose: &["query", "documents.*", "documents.*.text", "texts.*"] },
    Api { paths: &["/generate", "/generate_stream"], prose: &["inputs", "parameters.stop.*"] },
];

/// Which part each argument of a JSON body is.
pub(crate) fn parts(profile: Profile, path: &[u8], document: &Document) -> Vec<Part> {
    let known = match profile {
        Profile::Crs => None,
        // Names are paths with dots: where a key has a dot of its own, they do not say where a value is.
        Profile::FieldAware if document.dotted => None,
        Profile::FieldAware => api(path),
    };
    let part = |name: &[u8]| match known {
        Some(api) if is_prose(api, name) => Part::Prose,
        Some(_) | None => Part::Strict,
    };
    document.pairs.iter().map(|(name, _)| part(name)).collect()
}

/// The API whose path is the longest that fits.
fn api(path: &[u8]) -> Option<&'static Api> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let ends = |api: &&'static Api| {
        api.paths.iter().filter(|end| path.ends_with(end.as_bytes())).map(|end| end.len()).max()
    };
    APIS.iter()
        .filter_map(|api| ends(&api).map(|length| (length, api)))
        .max_by_key(|(length, _)| *length)
        .map(|(_, api)| api)
}

fn is_prose(api: &Api, name: &[u8]) -> bool {
    let Some(name) = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("json.")) else {
        return false;
    };
    api.prose.iter().any(|place| fits(place, name))
}

fn fits(place: &str, name: &str) -> bool {
    let mut name = name.split('.');
    for wanted in place.split('.') {
        if wanted == "**" {
            return name.next().is_some();
        }
        let Some(found) = name.next() else { return false };
        let element = found
            .strip_prefix("array_")
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if if wanted == "*" { !element } else { wanted != found } {
            return false;
        }
    }
    name.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Limits, json};

    fn prose(path: &str, body: &str) -> Vec<String> {
        let document = json::read(body.as_bytes(), Limits { arguments: 100, depth: 20 });
        assert_eq!(document.fault, None, "{body}");
        let parts = parts(Profile::FieldAware, path.as_bytes(), &document);
        let found = document.pairs.iter().zip(parts).filter(|(_, part)| *part == Part::Prose);
        found.map(|((_, value), _)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn free_text_is_told_from_everything_else() {
        let check = |path: &str, body: &str, expected: &[&str]| {
            assert_eq!(prose(path, body), expected, "{path} {body}")
        };
        check(
            "/v1/chat/completions",
            r#"{"model":"m","messages":[{"role":"user","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","content":"c"}],"user":"x"}"#,
            &["a", "b", "c"],
        );
        check(
            "/v1/messages",
            r#"{"system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":[
            {"type":"tool_use","input":{"text":"strict"}},{"type":"tool_result","content":[{"type":"text","text":"b"}]},
            {"type":"image","source":{"url":"u"}}]}]}"#,
            &["a", "b"],
        );
        check(
            "/v1/responses",
            r#"{"input":[{"type":"function_call","arguments":"{}"},{"type":"function_call_output","output":"a"}],"instructions":"b"}"#,
            &["a", "b"],
        );
        check("/v1/completions", r#"{"prompt":["a","b"],"model":"m"}"#, &["a", "b"]);
        check(
            "/v1beta/models/gemini:generateContent",
            r#"{"contents":[{"parts":[{"text":"a"},{"functionResponse":{"response":{"x":{"y":"b"}}}},{"functionCall":{"args":{"q":"s"}}}]}]}"#,
            &["a", "b"],
        );
        check("/api/generate", r#"{"model":"m","prompt":"a","template":"t"}"#, &["a"]);
        check("/search", r#"{"prompt":"a","messages":[{"content":"b"}]}"#, &[]);
    }

    #[test]
    fn a_key_with_a_dot_hides_nothing() {
        assert_eq!(prose("/v1/chat/completions", r#"{"messages.array_0.content":"a"}"#), [""; 0]);
        assert_eq!(prose("/v1/chat/completions", r#"{"messages":{"array_0":{"content":"a"}}}"#), [""; 0]);
    }
}
