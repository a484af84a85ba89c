//! How long an answer may become, by what its request says.
//!
//! Enters: what a request does, then its body, decoded, split anywhere. Leaves: an [`Ask`]: what to set aside for it before it
//! goes on. Guarantees: bounded memory; every byte looked at a bounded number of times; how the bytes are split changes
//! nothing; of a limit that is written twice the larger one counts, and what no server would take for a limit is none.
//! A limit of another provider's does not count, for the server does not hold to it. Does not: change a request.

use super::json::{Json, Leaf};
use policy::Operation;

/// Tokens that are set aside for an answer whose request sets no limit that is understood.
pub const DEFAULT_OUTPUT: u64 = 4096;

/// Bytes of a question in a token, at least in prose and code. Counted with two tokenizers of OpenAI's (`o200k_base` and
/// `cl100k_base`): English, German, Russian, Arabic, Hindi, Chinese, Japanese and Korean have 2.4 to 9.6, Rust 4.1, YAML and
/// JSON 6.6; hexadecimal, base64 and emoji, which are dense, have 1.4 to 2.6.
const BYTES_PER_TOKEN: u64 = 3;

/// Answers of one request that are believed: no provider gives more.
const MOST_CHOICES: u64 = 128;

/// About how many tokens so many bytes of a question are, rather too many than too few. A picture in base64 is taken for
/// far more than providers count.
pub fn estimate_question(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// What a request says of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Tokens of each of its answers. `None`: it sets no limit that is understood.
    pub limit: Option<u64>,
    /// How many answers it wants: 1 to 128 for each of its questions.
    pub choices: u64,
}

impl Ask {
    /// Of a request that says nothing.
    pub const SILENT: Self = Self { limit: None, choices: 1 };

    /// Tokens to set aside for all of its answers.
    pub fn output(&self) -> u64 {
        self.limit.unwrap_or(DEFAULT_OUTPUT).saturating_mul(self.choices)
    }
}

/// Where the limit of an answer is written.
type Paths = &'static [&'static str];

/// OpenAI (<https://platform.openai.com/docs/api-reference>), Anthropic (<https://docs.anthropic.com/en/api/messages>), Cohere.
const CHAT: Paths = &["max_tokens", "max_completion_tokens"];
const COMPLETIONS: Paths = &["max_tokens", "max_tokens_to_sample"];
const RESPONSES: Paths = &["max_output_tokens"];
/// Gemini and Vertex (<https://ai.google.dev/api/generate-content#generationconfig>); both spellings are JSON of the same.
const GEMINI: Paths = &[
    "generationConfig/maxOutputTokens",
    "generation_config/max_output_tokens",
    "generationConfig/max_output_tokens",
    "generation_config/maxOutputTokens",
];
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html>)
const CONVERSE: Paths = &["inferenceConfig/maxTokens"];
/// As each model wants it (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>).
const INVOKE: Paths = &[
    "max_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "maxTokens",
    "textGenerationConfig/maxTokenCount",
    "inferenceConfig/maxTokens",
    "inferenceConfig/max_new_tokens",
];
/// (<https://github.com/ollama/ollama/blob/main/docs/api.md>)
const OLLAMA: Paths = &["options/num_predict"];
/// (<https://huggingface.co/docs/text-generation-inference/reference/api_reference>)
const TGI: Paths = &["parameters/max_new_tokens"];
/// (<https://docs.sglang.ai/basic_usage/sampling_params.html>)
const SGLANG: Paths = &["sampling_params/max_new_tokens"];
/// How many answers are wanted.
const CHOICES: Paths =
    &["n", "best_of", "generationConfig/candidateCount", "generation_config/candidate_count"];
/// Of several questions each is answered: OpenAI's completions, SGLang.
const QUESTIONS: Paths = &["prompt/*", "text/*"];

/// Where a request of this kind has its limit; empty: nowhere that is known. `None`: its answer has no tokens of its own.
fn paths(operation: &Operation) -> Option<Paths> {
    let provider = operation.provider.as_deref().unwrap_or_default();
    Some(match (provider, operation.api.as_ref()) {
        (_, "embeddings" | "rerank" | "score" | "pooling" | "classify" | "tokenize" | "count-tokens") => {
            return None;
        }
        (_, "moderations" | "vector-stores" | "guardrail") => return None,
        // What a tool does takes no model's tokens.
        _ if !operation.tools.is_empty() => return None,
        ("ollama", "chat" | "generate") => OLLAMA,
        ("tgi", "generate") => TGI,
        ("sglang", "generate") => SGLANG,
        (_, "chat" | "messages") => CHAT,
        (_, "completions") => COMPLETIONS,
        (_, "responses") => RESPONSES,
        (_, "generate-content") => GEMINI,
        (_, "converse") => CONVERSE,
        (_, "invoke") => INVOKE,
        (_, _) => &[],
    })
}

/// Reads one request.
#[derive(Debug)]
pub struct AskReader {
    json: Json,
    paths: Option<Paths>,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    limit: Option<u64>,
    choices: u64,
    questions: u64,
    /// There is a limit that is none, such as `null` or -1.
    is_unlimited: bool,
}

impl AskReader {
    /// Begins with what the request does.
    pub fn new(operation: &Operation) -> Self {
        Self { json: Json::new(|_| 0), paths: paths(operation), found: Found::default() }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, body: &[u8]) {
        let (found, paths) = (&mut self.found, self.paths.unwrap_or_default());
        self.json.push(body, &mut |path, leaf| found.leaf(paths, path, leaf));
    }

    /// Whether what came is no JSON.
    pub fn is_broken(&self) -> bool {
        self.json.is_broken()
    }

    /// The body is over, or `is_whole` is false and the rest of it is not looked at.
    pub fn end(mut self, is_whole: bool) -> Ask {
        let Some(paths) = self.paths else { return Ask { limit: Some(0), choices: 1 } };
        let is_read = is_whole && !self.json.is_broken();
        let found = &mut self.found;
        self.json.end(&mut |path, leaf| found.leaf(paths, path, leaf));
        let limit = match found.limit {
            Some(limit) if found.is_unlimited || !is_read => Some(limit.max(DEFAULT_OUTPUT)),
            limit => limit,
        };
        let choices = found.choices.clamp(1, MOST_CHOICES).saturating_mul(found.questions.max(1));
        Ask { limit, choices }
    }
}

impl Found {
    fn leaf(&mut self, paths: Paths, path: &str, leaf: Leaf<'_>) {
        // Some servers read keys in any case.
        let is_one_of = |paths: Paths| paths.iter().any(|known| known.eq_ignore_ascii_case(path));
        if is_one_of(paths) {
            match leaf {
                Leaf::Count(count) => self.limit = self.limit.max(Some(count)),
                Leaf::Text(..) | Leaf::Other => self.is_unlimited = true,
            }
            return;
        }
        match leaf {
            Leaf::Count(count) if is_one_of(CHOICES) => self.choices = self.choices.max(count),
            Leaf::Text(..) if is_one_of(QUESTIONS) => self.questions += 1,
            Leaf::Count(_) | Leaf::Text(..) | Leaf::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Verb;
    use proptest::prelude::*;

    fn operation(provider: &'static str, api: &'static str) -> Operation {
        let unknown = Operation::unknown("test");
        Operation { provider: Some(provider.into()), api: api.into(), verb: Verb::Call, ..unknown }
    }

    fn read(operation: &Operation, body: &str, size: usize, is_whole: bool) -> Ask {
        let mut reader = AskReader::new(operation);
        body.as_bytes().chunks(size).for_each(|piece| reader.push(piece));
        reader.end(is_whole)
    }

    #[test]
    fn every_dialect_has_its_limit_where_its_server_looks_for_it() {
        for (provider, api, body, limit) in [
            ("openai", "chat", r#"{"model":"m","max_completion_tokens":7}"#, Some(7)),
            ("openai", "chat", r#"{"model":"m","max_tokens":7}"#, Some(7)),
            ("openai", "completions", r#"{"max_tokens":7}"#, Some(7)),
            ("openai", "responses", r#"{"max_output_tokens":7}"#, Some(7)),
            ("anthropic", "messages", r#"{"max_tokens":7,"messages":[{"max_tokens":9}]}"#, Some(7)),
            ("anthropic", "completions", r#"{"max_tokens_to_sample":7}"#, Some(7)),
            ("gemini", "generate-content", r#"{"generationConfig":{"maxOutputTokens":7}}"#, Some(7)),
            ("vertex", "generate-content", r#"{"generation_config":{"max_output_tokens":7}}"#, Some(7)),
            ("bedrock", "converse", r#"{"inferenceConfig":{"maxTokens":7}}"#, Some(7)),
            ("bedrock", "invoke", r#"{"textGenerationConfig":{"maxTokenCount":7}}"#, Some(7)),
            ("ollama", "chat", r#"{"options":{"num_predict":7}}"#, Some(7)),
            ("tgi", "generate", r#"{"parameters":{"max_new_tokens":7}}"#, Some(7)),
            ("openai", "embeddings", r#"{"max_tokens":7}"#, Some(0)),
            // What another server would hold to.
            ("openai", "chat", r#"{"options":{"num_predict":7}}"#, None),
            ("ollama", "chat", r#"{"max_tokens":7}"#, None),
            ("openai", "images", r#"{"max_tokens":7}"#, None),
            // Limits that are none, or that two readers could see differently.
            ("openai", "chat", r#"{"max_tokens":null}"#, None),
            ("openai", "chat", r#"{"max_tokens":7,"max_tokens":null}"#, Some(DEFAULT_OUTPUT)),
            ("openai", "chat", r#"{"max_tokens":7,"MAX_TOKENS":9}"#, Some(9)),
            ("openai", "chat", r#"{"max_tokens":9,"max_tokens":7}"#, Some(9)),
            ("ollama", "chat", r#"{"options":{"num_predict":-1}}"#, None),
            ("openai", "chat", r#"{"max_tokens":7]"#, Some(DEFAULT_OUTPUT)),
            ("openai", "chat", "", None),
        ] {
            assert_eq!(read(&operation(provider, api), body, 1000, true).limit, limit, "{provider} {body}");
        }
    }

    #[test]
    fn several_answers_take_several_times_as_much_and_what_was_not_seen_may_be_a_limit() {
        let chat = operation("openai", "chat");
        let asked = |body: &str, is_whole| read(&chat, body, 1000, is_whole).output();
        assert_eq!(asked(r#"{"max_tokens":7,"n":3}"#, true), 21);
        assert_eq!(asked(r#"{"n":2}"#, true), 2 * DEFAULT_OUTPUT);
        assert_eq!(asked(r#"{"max_tokens":18446744073709551615,"n":3}"#, true), u64::MAX);
        assert_eq!(asked(r#"{"max_tokens":1,"n":99999999}"#, true), MOST_CHOICES);
        let completions = operation("openai", "completions");
        let several = r#"{"prompt":["a","b","c"],"n":2,"max_tokens":7}"#;
        assert_eq!(read(&completions, several, 1000, true).output(), 42);
        assert_eq!(read(&completions, r#"{"prompt":"a","max_tokens":7}"#, 1000, true).output(), 7);
        assert_eq!(asked(r#"{"max_tokens":7,"#, false), DEFAULT_OUTPUT);
        assert_eq!(asked(r#"{"max_tokens":7000,"#, false), 7000);
        let deep = format!("{{\"max_tokens\":7,\"a\":{}", "[".repeat(1000));
        assert_eq!(asked(&deep, true), DEFAULT_OUTPUT);
        let tool = Operation { tools: vec!["t".into()], ..operation("mcp", "tools") };
        assert_eq!(read(&tool, "{}", 9, true).output(), 0);
    }

    proptest! {
        #[test]
        fn where_a_request_is_split_changes_nothing(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"max_tokens\":7", "\"max_tokens\":null", "\"n\":2", "\"\\u006e\":3", "é", "\"",
            ]), 0..20),
            size in 1usize..6,
            is_whole: bool,
        ) {
            let (body, chat) = (pieces.concat(), operation("openai", "chat"));
            prop_assert_eq!(read(&chat, &body, size, is_whole), read(&chat, &body, usize::MAX, is_whole));
        }
    }
}
