//! How long an answer may become, by what its request says.
//!
//! Enters: what a request does, then its body, decoded, split anywhere. Leaves: an [`Ask`]: what to set aside for it before it
//! goes on. Guarantees: bounded memory; every byte looked at a bounded number of times; how the bytes are split changes
//! nothing; a limit counts in every form that some server takes for a number (`1e5`, `"100000"`), and one that cannot be read
//! is the largest; of one that is written twice the larger one counts, and what no server would take for a limit is none.
//! A limit of another provider's does not count, for the server does not hold to it. Of a batch whose requests are in its body
//! each counts. Does not: change a request.

use super::json::{Json, Leaf, MAX_BARE};
use policy::{Operation, Verb};

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
    /// Of one of which nobody can tell how much its answers take.
    pub const UNKNOWABLE: Self = Self { limit: Some(u64::MAX), choices: 1 };

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
/// Questions that are lists: of tokens; of the messages of one conversation (vLLM's `chat/completions/batch`).
const LISTS: Paths = &["prompt/*", "input_ids/*", "messages/*"];

/// Characters of a text that may be a number.
const MAX_TEXT: usize = 64;

/// Where a batch has a request: Anthropic (<https://docs.anthropic.com/en/api/creating-message-batches>), Mistral
/// (<https://docs.mistral.ai/api/endpoint/batch>); Gemini (<https://ai.google.dev/api/batch-api>), without underscores.
const REQUEST: Paths = &["requests/*"];
const REQUEST_OF_GEMINI: &str = "batch/inputConfig/requests/requests/*";
/// Where a request of a batch has its limit.
const LIMIT: Paths = &["requests/*/params/max_tokens", "requests/*/body/max_tokens"];
const LIMIT_OF_GEMINI: &str =
    "batch/inputConfig/requests/requests/*/request/generationConfig/maxOutputTokens";
const CHOICES_OF_GEMINI: &str =
    "batch/inputConfig/requests/requests/*/request/generationConfig/candidateCount";
/// Where a batch says that its requests are elsewhere.
const ELSEWHERE: Paths = &["input_file_id", "input_files", "input_files/*", "input_dataset_id", "dataset_id"];
const ELSEWHERE_OF_GEMINI: &str = "batch/inputConfig/fileName";

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

/// Whether it has a provider answer many questions later.
pub fn is_batch(operation: &Operation) -> bool {
    operation.verb == Verb::Upload && operation.api == "batches"
}

/// Reads one request.
#[derive(Debug)]
pub struct AskReader {
    json: Json,
    paths: Option<Paths>,
    found: Found,
    batch: Option<Batch>,
}

#[derive(Debug, Default)]
struct Found {
    limit: Option<u64>,
    choices: u64,
    questions: u64,
    /// There is a limit that is none, such as `null` or -1.
    is_unlimited: bool,
}

/// What a batch has in its body.
#[derive(Debug, Default)]
struct Batch {
    /// Of the requests before the present one.
    output: u64,
    present: Option<Found>,
    choices: u64,
    is_elsewhere: bool,
}

/// What is written where a number is expected.
enum Written {
    Number(u64),
    /// What no server takes for a limit, such as `null`, `-1`, `"inf"`.
    Nothing,
}

impl AskReader {
    /// Begins with what the request does.
    pub fn new(operation: &Operation) -> Self {
        let batch = is_batch(operation).then(Batch::default);
        Self { json: Json::new(keep), paths: paths(operation), found: Found::default(), batch }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, body: &[u8]) {
        let (found, batch, paths) = (&mut self.found, &mut self.batch, self.paths.unwrap_or_default());
        self.json.push(body, &mut |path, leaf| match batch {
            Some(batch) => batch.leaf(path, leaf),
            None => found.leaf(paths, path, leaf),
        });
    }

    /// Whether what came is no JSON.
    pub fn is_broken(&self) -> bool {
        self.json.is_broken()
    }

    /// The body is over, or `is_whole` is false and the rest of it is not looked at.
    pub fn end(mut self, is_whole: bool) -> Ask {
        let Some(paths) = self.paths else { return Ask { limit: Some(0), choices: 1 } };
        let is_read = is_whole && !self.json.is_broken();
        if let Some(batch) = self.batch {
            return if is_read { batch.end() } else { Ask::UNKNOWABLE };
        }
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
        if is_one_of(paths, path) {
            self.limited(leaf, paths == OLLAMA);
            return;
        }
        if is_one_of(CHOICES, path) {
            self.choices = self.choices.max(choices(leaf));
        }
        let is_question = match leaf {
            Leaf::Text(..) => is_one_of(QUESTIONS, path),
            Leaf::Opens { is_object: false } => is_one_of(LISTS, path),
            Leaf::Count(_) | Leaf::Number(_) | Leaf::Other | Leaf::Opens { .. } => false,
        };
        self.questions += u64::from(is_question);
    }

    /// `is_zero_none`: zero is no limit there.
    fn limited(&mut self, leaf: Leaf<'_>, is_zero_none: bool) {
        match written(leaf) {
            Written::Number(0) if is_zero_none => self.is_unlimited = true,
            Written::Number(limit) => self.limit = self.limit.max(Some(limit)),
            Written::Nothing => self.is_unlimited = true,
        }
    }
}

impl Batch {
    fn leaf(&mut self, path: &str, leaf: Leaf<'_>) {
        let is = |known| is_of_gemini(known, path);
        if is_one_of(LIMIT, path) || is(LIMIT_OF_GEMINI) {
            self.present.get_or_insert_default().limited(leaf, false);
        } else if path.eq_ignore_ascii_case("requests/*/body/n") || is(CHOICES_OF_GEMINI) {
            self.choices = self.choices.max(choices(leaf));
        } else if is_one_of(ELSEWHERE, path) || is(ELSEWHERE_OF_GEMINI) {
            self.is_elsewhere |= matches!(leaf, Leaf::Text(..));
        } else if (is_one_of(REQUEST, path) || is(REQUEST_OF_GEMINI)) && matches!(leaf, Leaf::Opens { .. }) {
            self.close();
            self.present = Some(Found::default());
        }
    }

    fn close(&mut self) {
        let Some(found) = self.present.take() else { return };
        let limit = match found.limit {
            Some(limit) if found.is_unlimited => limit.max(DEFAULT_OUTPUT),
            limit => limit.unwrap_or(DEFAULT_OUTPUT),
        };
        self.output = self.output.saturating_add(limit);
    }

    fn end(mut self) -> Ask {
        if self.present.is_none() || self.is_elsewhere {
            return Ask::UNKNOWABLE;
        }
        self.close();
        Ask { limit: Some(self.output), choices: self.choices.clamp(1, MOST_CHOICES) }
    }
}

/// Some servers read keys in any case.
fn is_one_of(paths: Paths, path: &str) -> bool {
    paths.iter().any(|known| known.eq_ignore_ascii_case(path))
}

/// Whether that is the path, in either spelling of Google's interfaces: `maxOutputTokens`, `max_output_tokens`.
fn is_of_gemini(known: &str, path: &str) -> bool {
    let plain = |text: &str| -> Vec<u8> { text.bytes().filter(|byte| *byte != b'_').collect() };
    // Of most paths the beginning is enough.
    path.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("batch"))
        && plain(path).eq_ignore_ascii_case(known.as_bytes())
}

/// Of a text only that is kept which may be a number.
fn keep(path: &str) -> usize {
    let last = path.rsplit('/').next().unwrap_or_default().as_bytes();
    let has = |word: &&[u8]| last.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    let words: [&[u8]; 5] = [b"token", b"predict", b"gen_len", b"best_of", b"candidate"];
    // One character takes up to four bytes.
    if words.iter().any(has) || last.eq_ignore_ascii_case(b"n") { 4 * MAX_TEXT } else { 0 }
}

/// How many answers are wanted; where that cannot be read, as many as anybody gives.
fn choices(leaf: Leaf<'_>) -> u64 {
    match written(leaf) {
        Written::Number(count) => count,
        Written::Nothing => 0,
    }
}

/// The number in any form that some server takes for one: pydantic takes `1e5`, `100000.0` and `" 100_000 "` for a whole number, and
/// what reads a fraction cuts it off. What may be a number and cannot be read is the largest.
fn written(leaf: Leaf<'_>) -> Written {
    match leaf {
        Leaf::Count(count) => Written::Number(count),
        Leaf::Number(text) if text.len() >= MAX_BARE => Written::Number(u64::MAX),
        Leaf::Number(text) => number(text),
        Leaf::Text(text, _) if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_digit()) => {
            Written::Nothing
        }
        Leaf::Text(text, chars) if chars <= MAX_TEXT as u64 => number(&text.trim().replace('_', "")),
        Leaf::Text(..) => Written::Number(u64::MAX),
        Leaf::Other | Leaf::Opens { .. } => Written::Nothing,
    }
}

fn number(text: &str) -> Written {
    if let Ok(count) = text.parse() {
        return Written::Number(count);
    }
    match text.parse::<f64>() {
        Ok(number) if number < 0.0 => Written::Nothing,
        // Beyond that a whole number may be read as a smaller one.
        Ok(number) if number < 9e15 => {
            Written::Number(format!("{:.0}", number.ceil()).parse().unwrap_or(u64::MAX))
        }
        Ok(_) | Err(_) => Written::Number(u64::MAX),
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
            // Every form that some server takes for a number.
            ("openai", "chat", r#"{"max_tokens":1e5}"#, Some(100_000)),
            ("openai", "chat", r#"{"max_tokens":100000.0}"#, Some(100_000)),
            ("openai", "chat", r#"{"max_tokens":99999.5}"#, Some(100_000)),
            ("openai", "chat", r#"{"max_tokens":"100000"}"#, Some(100_000)),
            ("openai", "chat", r#"{"max_tokens":"\u00310_0000 "}"#, Some(100_000)),
            ("openai", "chat", r#"{"max_tokens":"1e5"}"#, Some(100_000)),
            ("gemini", "generate-content", r#"{"generationConfig":{"maxOutputTokens":"9000"}}"#, Some(9000)),
            ("ollama", "chat", r#"{"options":{"num_predict":1e5}}"#, Some(100_000)),
            ("ollama", "chat", r#"{"options":{"num_predict":0}}"#, None),
            ("openai", "chat", r#"{"max_tokens":-1.5}"#, None),
            ("openai", "chat", r#"{"max_tokens":"inf"}"#, None),
            ("openai", "chat", r#"{"max_tokens":true}"#, None),
            // What may be a number that nobody here can read.
            ("openai", "chat", r#"{"max_tokens":1e400}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":99999999999999999999}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":1.00000000000000000000000000000000e5}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":00000000000000000000000000000000000005}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":"0x5000"}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":"１０００００"}"#, Some(u64::MAX)),
            ("openai", "chat", r#"{"max_tokens":5,"max_tokens":"1e5"}"#, Some(100_000)),
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
        for three in ["3.0", "\"3\"", "0.3e1"] {
            assert_eq!(asked(&format!(r#"{{"max_tokens":7,"n":{three}}}"#), true), 21, "{three}");
        }
        assert_eq!(asked(r#"{"max_tokens":1,"n":"many 1"}"#, true), MOST_CHOICES);
        let tokens = r#"{"prompt":[[1,2],[3]],"max_tokens":7}"#;
        assert_eq!(read(&completions, tokens, 1000, true).output(), 14);
        assert_eq!(read(&completions, r#"{"prompt":[1,2],"max_tokens":7}"#, 1000, true).output(), 7);
        let conversations =
            r#"{"messages":[[{"role":"user","content":"a"}],[{"role":"user","content":[]}]],"max_tokens":7}"#;
        assert_eq!(asked(conversations, true), 14);
        assert_eq!(asked(r#"{"messages":[{"role":"user","content":["a"]}],"max_tokens":7}"#, true), 7);
        let embeddings = operation("openai", "embeddings");
        assert_eq!(read(&embeddings, r#"{"input":["a","b"]}"#, 9, true).output(), 0, "their bytes count");
        assert_eq!(asked(r#"{"max_tokens":7,"#, false), DEFAULT_OUTPUT);
        assert_eq!(asked(r#"{"max_tokens":7000,"#, false), 7000);
        let deep = format!("{{\"max_tokens\":7,\"a\":{}", "[".repeat(1000));
        assert_eq!(asked(&deep, true), DEFAULT_OUTPUT);
        let tool = Operation { tools: vec!["t".into()], ..operation("mcp", "tools") };
        assert_eq!(read(&tool, "{}", 9, true).output(), 0);
    }

    #[test]
    fn each_request_of_a_batch_counts_and_one_whose_requests_are_elsewhere_takes_nobody_knows_how_much() {
        for (provider, body, output) in [
            (
                "anthropic",
                r#"{"requests":[{"params":{"max_tokens":7}},{"params":{"max_tokens":"1e2"}}]}"#,
                107,
            ),
            ("anthropic", r#"{"requests":[{"params":{"max_tokens":7}},{"params":{}}]}"#, 7 + DEFAULT_OUTPUT),
            (
                "anthropic",
                r#"{"requests":[{"params":{"max_tokens":1,"max_tokens":2}},{}]}"#,
                2 + DEFAULT_OUTPUT,
            ),
            ("anthropic", r#"{"requests":[{"params":{"max_tokens":1}}]"#, 1),
            ("anthropic", r#"{"requests":[{"params":{"max_tokens":1}}]]"#, u64::MAX),
            ("mistral", r#"{"requests":[{"body":{"max_tokens":7,"n":2}},{"body":{"max_tokens":8}}]}"#, 30),
            ("mistral", r#"{"requests":[{"body":{"max_tokens":7}}],"input_files":["f"]}"#, u64::MAX),
            (
                "gemini",
                r#"{"batch":{"input_config":{"requests":{"requests":[
                    {"request":{"generation_config":{"maxOutputTokens":7}}},
                    {"request":{"generationConfig":{"max_output_tokens":8}}}]}}}}"#,
                15,
            ),
            ("gemini", r#"{"batch":{"input_config":{"file_name":"files/1"}}}"#, u64::MAX),
            ("openai", r#"{"input_file_id":"f","endpoint":"/v1/chat/completions"}"#, u64::MAX),
            ("openai", "", u64::MAX),
        ] {
            let batch = Operation { verb: Verb::Upload, ..operation(provider, "batches") };
            for size in [1, 1000] {
                assert_eq!(read(&batch, body, size, true).output(), output, "{provider} {body}");
            }
            assert_eq!(read(&batch, body, 9, false).output(), u64::MAX, "{body}: there may be more");
        }
        assert!(!is_batch(&Operation { verb: Verb::Meta, ..operation("openai", "batches") }));
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
