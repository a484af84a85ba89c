//! What a request asks of a model beside an answer: what somebody asks for who wants to copy a model, or feels for its edges.
//!
//! Enters: a decoded body. Leaves: a [`ProbeFact`] for its record. Guarantees: nothing of what is said is in it: texts are digests
//! under a key that only this process has, so that nobody who reads records can try texts against them. Does not: judge, or
//! remember anything; detectors do.

use crate::guard::last_text;
use serde::Serialize;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};

/// Words at the beginning of a text by which texts of one make are known.
const TEMPLATE: usize = 3;
/// Bytes of a text that are looked at for its words.
const MOST_LOOKED_AT: usize = 4096;
/// Where settings of an answer are, beside the top: Gemini, Ollama, TGI, SGLang.
const WITHIN: [&str; 5] =
    ["generationConfig", "generation_config", "options", "parameters", "sampling_params"];
/// Fields that ask how likely tokens are, of OpenAI, vLLM, Gemini, SGLang and TGI.
const PROBABILITIES: [&str; 8] = [
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "responseLogprobs",
    "return_logprob",
    "top_logprobs_num",
    "top_n_tokens",
    "decoder_input_details",
];
const CHOICES: [&str; 4] = ["n", "best_of", "candidateCount", "candidate_count"];
/// Where what is said to a model stands.
const SAID: [&str; 5] = ["messages", "contents", "prompt", "input", "inputs"];

/// What a request asks of a model beside an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProbeFact {
    /// Of how many tokens at each place it asks how likely they are; 0: of none.
    pub logprobs: u64,
    /// How many answers it wants.
    pub choices: u64,
    /// Whether it wants the likeliest answer, the same each time: a temperature of 0, or one token to choose from.
    pub is_greedy: bool,
    /// Texts that it wants to have as vectors.
    pub texts: u64,
    /// Digest of what is asked, 16 digits; another in each process. `None`: no text was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The same of its first words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// What a body asks; `None`: it is no object of JSON.
pub(crate) fn fact(body: &[u8], is_embedding: bool, key: &RandomState) -> Option<ProbeFact> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let top = body.as_object()?;
    let within = WITHIN.iter().filter_map(|name| top.get(*name)?.as_object());
    let places: Vec<_> = std::iter::once(top).chain(within).collect();
    let values = |names: &'static [&'static str]| {
        places.iter().flat_map(move |place| names.iter().filter_map(|name| place.get(*name)))
    };
    let said = SAID.iter().filter_map(|name| top.get(*name));
    let text = said.clone().find_map(last_text);
    let template = text.as_deref().map(first_words);
    let digest = |text: &str| format!("{:016x}", key.hash_one(text));
    Some(ProbeFact {
        logprobs: values(&PROBABILITIES).map(number).max().unwrap_or(0),
        choices: values(&CHOICES).map(number).max().unwrap_or(0).max(1),
        is_greedy: values(&["temperature"]).any(|value| value.as_f64() == Some(0.0))
            || values(&["top_k", "topK"]).any(|value| value.as_u64() == Some(1)),
        texts: if is_embedding { said.map(texts).sum() } else { 0 },
        question: text.as_deref().map(digest),
        template: template.as_deref().map(digest),
    })
}

/// What a setting says as a number; `true` is one.
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| u64::from(value.as_bool() == Some(true)))
}

/// How many texts an input is: one, or as many as a list has; a list of numbers is one text as tokens.
fn texts(input: &Value) -> u64 {
    match input {
        Value::Array(list) if list.first().is_some_and(Value::is_number) => 1,
        Value::Array(list) => list.len() as u64,
        _ => 1,
    }
}

/// The first words in small letters; numbers are all the same.
fn first_words(text: &str) -> String {
    let mut end = text.len().min(MOST_LOOKED_AT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let words = text.get(..end).unwrap_or_default().split_whitespace().take(TEMPLATE);
    words.map(without_numbers).collect::<Vec<_>>().join(" ")
}

fn without_numbers(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut is_within = false;
    for letter in word.chars() {
        let is_digit = letter.is_numeric();
        match (is_digit, is_within) {
            (true, true) => {}
            (true, false) => plain.push('0'),
            (false, _) => plain.extend(letter.to_lowercase()),
        }
        is_within = is_digit;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> ProbeFact {
        fact(body.as_bytes(), false, &RandomState::new()).unwrap()
    }

    #[test]
    fn what_is_asked_beside_an_answer_is_found_in_every_dialect() {
        for (body, logprobs, choices, is_greedy) in [
            (r#"{"model":"m","messages":[]}"#, 0, 1, false),
            (r#"{"logprobs":true,"top_logprobs":20,"n":4,"temperature":0}"#, 20, 4, true),
            (r#"{"logprobs":true,"temperature":0.0}"#, 1, 1, true),
            (r#"{"logprobs":5,"prompt":"x","best_of":3,"temperature":0.7}"#, 5, 3, false),
            (r#"{"prompt_logprobs":2}"#, 2, 1, false),
            (r#"{"logprobs":false,"top_k":1}"#, 0, 1, true),
            (r#"{"generationConfig":{"responseLogprobs":true,"candidateCount":2,"topK":1}}"#, 1, 2, true),
            (r#"{"inputs":"x","parameters":{"top_n_tokens":5,"temperature":0}}"#, 5, 1, true),
        ] {
            let found = of(body);
            assert_eq!(
                (found.logprobs, found.choices, found.is_greedy),
                (logprobs, choices, is_greedy),
                "{body}"
            );
        }
        assert_eq!(fact(b"[1]", false, &RandomState::new()), None);
    }

    #[test]
    fn texts_of_one_make_have_one_template_and_nothing_of_them_is_told() {
        let key = RandomState::new();
        let asked = |text: &str| {
            let body = serde_json::json!({"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]});
            fact(body.to_string().as_bytes(), false, &key).unwrap()
        };
        let [one, other] = ["Rate review 17: it is good", "rate Review 4: it is bad"].map(asked);
        assert!(one.template == other.template && one.question != other.question, "{one:?} {other:?}");
        assert_ne!(asked("what is a fjord?").template, one.template);
        assert_eq!(asked("what is a fjord?"), asked("what is a fjord?"));
        assert_ne!(of(r#"{"prompt":"x"}"#).question, of(r#"{"prompt":"x"}"#).question, "of another process");
        let long = format!("é{}", "é".repeat(MOST_LOOKED_AT));
        assert!(asked(&long).template.is_some());
    }

    #[test]
    fn texts_to_embed_are_counted() {
        let of = |body: &str| fact(body.as_bytes(), true, &RandomState::new()).unwrap().texts;
        assert_eq!(of(r#"{"input":"x"}"#), 1);
        assert_eq!(of(r#"{"input":["x","y","z"]}"#), 3);
        assert_eq!(of(r#"{"input":[1,2,3]}"#), 1);
        assert_eq!(of(r#"{"input":[[1,2],[3]]}"#), 2);
        assert_eq!(of("{}"), 0);
    }
}
