//! Takes out of a stream what its server tells of its tokens, where the client did not ask for it.
//!
//! Enters: a stream of server-sent events. Leaves: the same without the event that has usage and no choice. Guarantees:
//! bounded; all other bytes go on as they came, each event when it is whole. Does not: take `"usage": null` out of the other
//! events.

use super::cutting::is_plain_events;
use ::inspect::refusal::{Boundary, Framing};
use http::response;
use serde_json::Value;

/// Longest event that is held; a longer one goes on, for one with usage alone is short.
const MAX_EVENT: usize = 64 * 1024;

/// Follows one stream.
#[derive(Debug)]
pub(crate) struct Trimming {
    boundary: Boundary,
    /// What is there of an event.
    event: Vec<u8>,
    /// Whether the event is one that goes on as it comes.
    is_passing: bool,
}

impl Trimming {
    /// `None`: it is no stream of events, or one that is coded.
    pub(crate) fn of(head: &response::Parts) -> Option<Self> {
        is_plain_events(head).then(|| Self {
            boundary: Boundary::new(Framing::Sse),
            event: Vec::new(),
            is_passing: false,
        })
    }

    /// Takes a piece; what goes on by that.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::with_capacity(piece.len()), piece);
        while !rest.is_empty() {
            let (taken, behind) = rest.split_at(self.boundary.push(rest).min(rest.len()));
            rest = behind;
            self.event.extend_from_slice(taken);
            let is_whole = self.boundary.is_between();
            self.is_passing |= self.event.len() > MAX_EVENT;
            if is_whole && !self.is_passing && is_usage(&self.event) {
                self.event.clear();
            }
            self.is_passing &= !is_whole;
            if is_whole || self.is_passing {
                out.append(&mut self.event);
            }
        }
        out
    }

    /// Whether something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.event.is_empty()
    }

    /// The stream is over; what is left of it.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.event)
    }
}

/// Whether an event has usage and no choice
/// (<https://platform.openai.com/docs/api-reference/chat-streaming>).
fn is_usage(event: &[u8]) -> bool {
    let Ok(event) = std::str::from_utf8(event) else { return false };
    let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let Ok(data) = serde_json::from_str::<Value>(&data.join("\n")) else { return false };
    let has_no_choice = data.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
    has_no_choice && data.get("usage").is_some_and(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use proptest::prelude::*;

    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    const OTHERS: [&str; 6] = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":null,\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[{}],\"usage\":{}}\n\n",
        ": comment\n\n",
        "event: x\r\ndata: y\r\n\r\n",
        "data: [DONE]\n\n",
    ];

    fn trimmed(text: &str, size: usize) -> String {
        let head = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
        let mut trimming = Trimming::of(&head.into_parts().0).unwrap();
        let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| trimming.push(piece)).collect();
        out.extend(trimming.end());
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn the_event_with_usage_is_taken_out_however_it_is_split(
            events in prop::collection::vec(prop::sample::select([&[USAGE][..], &OTHERS].concat()), 0..9),
            rest in "(data: )?[a-z\n]{0,9}",
            size in 1usize..70,
        ) {
            let whole = events.concat() + &rest;
            let others: String = events.iter().filter(|event| **event != USAGE).copied().collect();
            prop_assert_eq!(trimmed(&whole, size), others + &rest);
        }
    }

    #[test]
    fn an_event_that_is_too_long_to_be_held_goes_on() {
        let long = format!("data: {{\"choices\":[],\"usage\":{{}},\"x\":\"{}\"}}\n\n", "x".repeat(MAX_EVENT));
        assert_eq!(trimmed(&format!("{long}{USAGE}{long}"), 1000), format!("{long}{long}"));
    }
}
