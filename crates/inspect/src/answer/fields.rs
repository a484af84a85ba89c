//! Which fields of an answer say what, in every provider's words.
//!
//! The names are those of the providers' references: OpenAI (<https://platform.openai.com/docs/api-reference>), Anthropic
//! (<https://docs.anthropic.com/en/api/messages>), Gemini (<https://ai.google.dev/api/generate-content>), Bedrock
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>), Ollama
//! (<https://github.com/ollama/ollama/blob/main/docs/api.md>). No name means one thing here and another there, so it does
//! not matter whose answer it is.

use super::Usage;
use super::json::{Json, Leaf};

/// Bytes of a model's name, of an id, of a tool's name.
const MAX_TEXT: usize = 512;

/// Bytes of a Bedrock chunk, which is a whole event in base64.
const MAX_CHUNK: usize = 64 * 1024;

/// Names of tools, and reasons to finish.
const MAX_NAMES: usize = 64;

/// Where Bedrock has another provider's event.
const CHUNK: &str = "bytes";

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    found: Usage,
    /// Input that was not found in a cache, where the provider counts only this as input.
    uncached_input: Option<u64>,
    /// Read from and written to a cache, where the provider counts them apart from input.
    beside: (Option<u64>, Option<u64>),
    /// Output of which thoughts are no part.
    thoughts: Option<u64>,
}

/// How much is kept of the text at a path.
pub(crate) fn keep(path: &str) -> usize {
    if path == CHUNK { MAX_CHUNK } else { MAX_TEXT }
}

impl Fields {
    /// Takes what is at a path.
    pub(crate) fn leaf(&mut self, path: &str, leaf: Leaf<'_>) {
        // Gemini's stream is an array, if it is not asked for events.
        let path = path.strip_prefix("*/").unwrap_or(path);
        match leaf {
            Leaf::Text(chunk, _) if path == CHUNK => self.chunk(chunk),
            Leaf::Text(text, chars) => self.text(path, text, chars),
            Leaf::Count(count) => self.count(bare(path), count),
            Leaf::Number(_) | Leaf::Other | Leaf::Opens { .. } => {}
        }
    }

    /// A reason to end that no field says.
    pub(crate) fn ended(&mut self, reason: &str) {
        add(&mut self.found.finish, reason);
    }

    pub(crate) fn event(&mut self) {
        self.found.events += 1;
    }

    /// In the same terms for every provider: input includes what was cached, output includes thoughts.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = self.found.clone();
        let (read, written) = self.beside;
        if let Some(input) = self.uncached_input {
            let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
            usage.input_tokens = usage.input_tokens.max(Some(input.saturating_add(cached)));
        }
        usage.cached_tokens = usage.cached_tokens.max(read);
        usage.cache_write_tokens = usage.cache_write_tokens.max(written);
        if let Some(thoughts) = self.thoughts {
            usage.output_tokens = Some(usage.output_tokens.unwrap_or(0).saturating_add(thoughts));
            usage.reasoning_tokens = Some(thoughts);
        }
        usage
    }

    /// Counts grow while a stream goes on, so the largest is the last.
    fn count(&mut self, path: &str, count: u64) {
        let found = &mut self.found;
        let place = match path {
            "usage/prompt_tokens" | "usageMetadata/promptTokenCount" | "prompt_eval_count" => {
                &mut found.input_tokens
            }
            "usage/input_tokens" | "usage/inputTokens" | INVOKED_INPUT => &mut self.uncached_input,
            "usage/cache_read_input_tokens" | "usage/cacheReadInputTokens" | INVOKED_READ => {
                &mut self.beside.0
            }
            "usage/cache_creation_input_tokens" | "usage/cacheWriteInputTokens" | INVOKED_WRITTEN => {
                &mut self.beside.1
            }
            "usage/prompt_tokens_details/cached_tokens"
            | "usage/input_tokens_details/cached_tokens"
            | "usage/prompt_cache_hit_tokens"
            | "usageMetadata/cachedContentTokenCount" => &mut found.cached_tokens,
            "usage/prompt_tokens_details/cache_write_tokens"
            | "usage/input_tokens_details/cache_write_tokens" => &mut found.cache_write_tokens,
            "usage/completion_tokens"
            | "usage/output_tokens"
            | "usage/outputTokens"
            | "usageMetadata/candidatesTokenCount"
            | "eval_count"
            | "details/generated_tokens"
            | INVOKED_OUTPUT => &mut found.output_tokens,
            "usage/completion_tokens_details/reasoning_tokens"
            | "usage/output_tokens_details/reasoning_tokens" => &mut found.reasoning_tokens,
            "usageMetadata/thoughtsTokenCount" => &mut self.thoughts,
            _ => return,
        };
        *place = (*place).max(Some(count));
    }

    fn text(&mut self, path: &str, text: &str, chars: u64) {
        if is_output(path) {
            self.found.output_chars = self.found.output_chars.saturating_add(chars);
            self.found.output_pieces = self.found.output_pieces.saturating_add(u64::from(chars > 0));
        } else if is_tool(path) {
            add(&mut self.found.tool_calls, text);
        } else if is_finish(path, text) {
            add(&mut self.found.finish, text);
        } else if matches!(bare(path), "model" | "modelVersion") {
            first(&mut self.found.model, text);
        } else if matches!(bare(path), "id" | "responseId") {
            first(&mut self.found.id, text);
        }
    }

    fn chunk(&mut self, base64: &str) {
        let Some(bytes) = decode(base64) else { return };
        let mut on = |path: &str, leaf: Leaf<'_>| {
            // One layer: a chunk has no chunks.
            if path != CHUNK {
                self.leaf(path, leaf);
            }
        };
        Json::new(keep).push(&bytes, &mut on);
    }
}

const INVOKED_INPUT: &str = "amazon-bedrock-invocationMetrics/inputTokenCount";
const INVOKED_OUTPUT: &str = "amazon-bedrock-invocationMetrics/outputTokenCount";
const INVOKED_READ: &str = "amazon-bedrock-invocationMetrics/cacheReadInputTokenCount";
const INVOKED_WRITTEN: &str = "amazon-bedrock-invocationMetrics/cacheWriteInputTokenCount";

/// Without the object in which some events have the whole answer.
fn bare(path: &str) -> &str {
    let wrappers = ["response/", "message/", "metadata/", "x_groq/"];
    wrappers.iter().find_map(|wrapper| path.strip_prefix(wrapper)).unwrap_or(path)
}

/// What a model wrote, once: not the whole text that some streams say again at their end.
fn is_output(path: &str) -> bool {
    if let Some(of_choice) = path.strip_prefix("choices/*/") {
        let of_message = of_choice.strip_prefix("delta/").or_else(|| of_choice.strip_prefix("message/"));
        return matches!(
            of_message,
            Some(
                "content"
                    | "content/*/text"
                    | "reasoning"
                    | "reasoning_content"
                    | "refusal"
                    | "tool_calls/*/function/arguments"
            )
        ) || of_choice == "text";
    }
    matches!(
        path,
        "delta"
            | "output/*/content/*/text"
            | "output/*/arguments"
            | "delta/text"
            | "delta/thinking"
            | "delta/partial_json"
            | "delta/toolUse/input"
            | "delta/reasoningContent/text"
            | "content/*/text"
            | "content/*/thinking"
            | "completion"
            | "candidates/*/content/parts/*/text"
            | "output/message/content/*/text"
            | "message/content"
            | "message/thinking"
            | "response"
            | "thinking"
            | "token/text"
    )
}

fn is_tool(path: &str) -> bool {
    matches!(
        path,
        "choices/*/delta/tool_calls/*/function/name"
            | "choices/*/message/tool_calls/*/function/name"
            | "item/name"
            | "output/*/name"
            | "content_block/name"
            | "content/*/name"
            | "candidates/*/content/parts/*/functionCall/name"
            | "start/toolUse/name"
            | "output/message/content/*/toolUse/name"
            | "message/tool_calls/*/function/name"
    )
}

fn is_finish(path: &str, text: &str) -> bool {
    match path {
        "choices/*/finish_reason"
        | "stop_reason"
        | "delta/stop_reason"
        | "candidates/*/finishReason"
        | "promptFeedback/blockReason"
        | "stopReason"
        | "done_reason"
        | "details/finish_reason"
        | "response/incomplete_details/reason"
        | "incomplete_details/reason" => true,
        "response/status" | "status" => {
            matches!(text, "completed" | "incomplete" | "failed" | "cancelled")
        }
        _ => false,
    }
}

fn add(names: &mut Vec<String>, name: &str) {
    if !name.is_empty() && names.len() < MAX_NAMES && names.iter().all(|one| one != name) {
        names.push(name.to_owned());
    }
}

fn first(place: &mut Option<String>, text: &str) {
    if place.is_none() && !text.is_empty() {
        *place = Some(text.to_owned());
    }
}

/// Base64 in the standard alphabet (RFC 4648, section 4). `None`: it is none.
fn decode(base64: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in base64.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., low] = (bits >> count).to_be_bytes();
            bytes.push(low);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        for (text, expected) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode(text).unwrap(), expected.as_bytes());
        }
        assert_eq!(decode("Zm9v\nYmFy"), None);
        assert_eq!(decode("Zm9-"), None);
    }

    #[test]
    fn names_are_bounded_and_each_is_there_once() {
        let mut names = vec![];
        for at in 0..500 {
            add(&mut names, &format!("tool{}", at / 2));
        }
        assert_eq!(names.len(), MAX_NAMES);
        assert_eq!(names[1], "tool1");
    }
}
