//! What a model's answer says of itself: tokens, model, why it ended, which tools it calls.
//!
//! Enters: the head of an answer, then its body, decoded, split anywhere. Leaves: [`Usage`], at any time. Guarantees: bounded
//! memory whatever the length of the body, its lines and its events; every byte looked at a bounded number of times; how
//! the bytes are split changes nothing; what cannot be read is passed over. Does not: keep what a model wrote, undo
//! content codings, or look at a clock.

mod ask;
mod fields;
mod json;
mod messages;
mod sse;

pub use ask::{Ask, AskReader, DEFAULT_OUTPUT, estimate_question, is_batch};

use crate::event_stream;
use fields::Fields;
use json::{Json, Leaf};
use messages::Messages;
use policy::Operation;
use sse::{Piece, Sse};

/// Characters of English text in a token, by the rule of thumb of OpenAI
/// (<https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them>).
const CHARS_PER_TOKEN: u64 = 4;

/// What an answer says of itself, in the same terms for every provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that went in, with those that were found in a cache or written to one.
    pub input_tokens: Option<u64>,
    /// Tokens that came out, with those of thoughts.
    pub output_tokens: Option<u64>,
    /// Of those that went in, those found in a cache.
    pub cached_tokens: Option<u64>,
    /// Of those that went in, those written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// Of those that came out, those of thoughts.
    pub reasoning_tokens: Option<u64>,
    /// The model that answered, at most 512 bytes.
    pub model: Option<String>,
    /// The answer's own id, at most 512 bytes.
    pub id: Option<String>,
    /// Why it ended, in the provider's words; each once, at most 64.
    pub finish: Vec<String>,
    /// Events of a stream that are whole, of whatever kind; 1 for an answer that is one object.
    pub events: u64,
    /// Characters of text, thoughts and arguments so far. See [`estimate`].
    pub output_chars: u64,
    /// In how many pieces they came, each of which is a token at least.
    pub output_pieces: u64,
    /// Names of the tools that it calls; each once, at most 64.
    pub tool_calls: Vec<String>,
}

/// About how many tokens so many characters are, until the provider says it: one for each four, rounded up. English has
/// about that; other languages and code have more, up to one or two for each character.
pub fn estimate(chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    fields: Fields,
}

#[derive(Debug)]
enum Form {
    /// One object, an array of them, or one after another.
    Json(Json),
    /// One a line. A line that cannot be read does not harm the next.
    Lines(Json),
    Events(Sse, Json),
    Messages(Messages),
    /// Nothing that is known to have usage.
    Opaque,
}

impl AnswerReader {
    /// Begins with the answer's head: every field line, names in lower case.
    pub fn new(operation: &Operation, headers: &[(&str, &[u8])]) -> Self {
        let mut fields = Fields::default();
        // Bedrock's `invoke` has its counts here, for the body is the model's own.
        for (name, value) in headers {
            let path = match *name {
                "x-amzn-bedrock-input-token-count" => "usage/inputTokens",
                "x-amzn-bedrock-output-token-count" => "usage/outputTokens",
                "x-amzn-bedrock-cache-read-input-token-count" => "usage/cacheReadInputTokens",
                "x-amzn-bedrock-cache-write-input-token-count" => "usage/cacheWriteInputTokens",
                _ => continue,
            };
            let count = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
            if let Some(count) = count {
                fields.leaf(path, Leaf::Count(count));
            }
        }
        let kind = headers.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| *value);
        Self { form: Form::of(operation, kind), fields }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, body: &[u8]) {
        let fields = &mut self.fields;
        match &mut self.form {
            Form::Json(json) => {
                let before = json.whole();
                json.push(body, &mut |path, leaf| fields.leaf(path, leaf));
                (before..json.whole()).for_each(|_| fields.event());
            }
            Form::Lines(json) => lines(json, fields, body),
            Form::Events(sse, json) => sse.push(body, |piece| match piece {
                Piece::Data(data) => json.push(data, &mut |path, leaf| fields.leaf(path, leaf)),
                Piece::End => {
                    json.end(&mut |path, leaf| fields.leaf(path, leaf));
                    fields.event();
                }
            }),
            Form::Messages(messages) => messages.push(body, |headers, payload| {
                let mut json = Json::new(fields::keep);
                json.push(payload, &mut |path, leaf| fields.leaf(path, leaf));
                json.end(&mut |path, leaf| fields.leaf(path, leaf));
                if let Some(exception) = event_stream::header(headers, ":exception-type") {
                    fields.ended(exception);
                }
                fields.event();
            }),
            Form::Opaque => {}
        }
    }

    /// Whether it is in a form that is not read, so that it says nothing of itself.
    pub fn is_opaque(&self) -> bool {
        matches!(self.form, Form::Opaque)
    }

    /// What was found so far.
    pub fn usage(&self) -> Usage {
        self.fields.usage()
    }

    /// The body is over.
    pub fn end(mut self) -> Usage {
        let fields = &mut self.fields;
        match &mut self.form {
            Form::Json(json) | Form::Lines(json) | Form::Events(_, json) => {
                json.end(&mut |path, leaf| fields.leaf(path, leaf));
            }
            Form::Messages(_) | Form::Opaque => {}
        }
        self.fields.usage()
    }
}

impl Form {
    fn of(operation: &Operation, content_type: Option<&[u8]>) -> Self {
        let json = || Json::new(fields::keep);
        let kind = content_type.map(String::from_utf8_lossy).unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match kind {
            "text/event-stream" => Self::Events(Sse::new(), json()),
            "application/vnd.amazon.eventstream" => Self::Messages(Messages::new()),
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines" => Self::Lines(json()),
            "" if operation.stream => Self::Events(Sse::new(), json()),
            "" | "application/json" | "text/json" => Self::Json(json()),
            other if other.ends_with("+json") => Self::Json(json()),
            _ => Self::Opaque,
        }
    }
}

fn lines(json: &mut Json, fields: &mut Fields, body: &[u8]) {
    for part in body.split_inclusive(|byte| *byte == b'\n') {
        let before = json.whole();
        json.push(part, &mut |path, leaf| fields.leaf(path, leaf));
        (before..json.whole()).for_each(|_| fields.event());
        if part.ends_with(b"\n") {
            json.end(&mut |path, leaf| fields.leaf(path, leaf));
        }
    }
}
