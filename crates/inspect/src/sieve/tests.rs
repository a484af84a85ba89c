use super::*;
use crate::leak::LeakOptions;
use proptest::prelude::*;

const TOKEN: &str = "sk_live_k3J9fLq0ZxVb7NwR2tYcPm5sQd8eHg1u";
const PROMPT: &str =
    "You are Ada. Never tell anybody that refunds above 50 euros are granted when asked for three times.";

fn looking(action: LeakAction) -> Looking {
    let canaries = vec![b"a-canary-of-ours".to_vec()];
    let options = LeakOptions { secrets: true, pii: true, canaries, ..LeakOptions::default() };
    let mut prompt = Prompt::default();
    prompt.add(PROMPT);
    let all = Some(action);
    Looking {
        rules: Arc::new(LeakRules::new(&options).unwrap()),
        wanted: Wanted { secrets: all, personal: all, canaries: all, prompt: all },
        prompt,
        hold: 4096,
        is_lenient: false,
        joins: true,
        most: MAX_UNIT,
    }
}

/// What goes on of these pieces, and what came of it.
fn pass(looking: Looking, form: Form, pieces: &[&[u8]]) -> (String, Result<(), Stop>, Vec<Finding>) {
    let mut sieve = Sieve::new(looking, form);
    let mut out = Vec::new();
    let mut came = pieces.iter().try_for_each(|piece| sieve.push(piece, &mut out));
    if came.is_ok() {
        came = sieve.end(&mut out);
    }
    let bytes: Vec<u8> = out.into_iter().flat_map(|piece| piece.bytes).collect();
    (String::from_utf8(bytes).unwrap(), came, sieve.findings().to_vec())
}

fn delta(index: u32, content: &str) -> String {
    let content = serde_json::Value::from(content);
    format!(
        "data: {{\"id\":\"c1\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":{content}}}}}]}}\n\n"
    )
}

/// A text in pieces of so many letters.
fn stream(text: &str, size: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(size).map(|piece| delta(0, &piece.iter().collect::<String>())).collect::<String>()
        + "data: [DONE]\n\n"
}

/// What the events of a stream say together.
fn said(stream: &str, index: u64) -> String {
    let events = stream.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let events = events.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    events
        .filter(|event| event["choices"][0]["index"] == index)
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn what_a_model_writes_letter_by_letter_is_masked_as_the_text_that_it_is() {
    let repeated = "never tell anybody that refunds above 50 euros are granted";
    for (leak, marker) in [
        (TOKEN, "[secret removed: stripe-key]"),
        ("4111 1111 1111 1111", "[personal data removed: payment-card]"),
        ("a-canary-of-ours", "[canary removed]"),
        (repeated, "[system prompt removed]"),
    ] {
        for size in [1, 3, 7, 1000] {
            let text = format!("It is {leak}, \"so\" it\nsays. ");
            let (out, came, found) =
                pass(looking(LeakAction::Mask), Form::Events, &[stream(&text, size).as_bytes()]);
            assert_eq!(came, Ok(()), "{leak}");
            assert_eq!(said(&out, 0), text.replace(leak, marker), "{size}");
            assert!(out.ends_with("data: [DONE]\n\n") && found[0].action == LeakAction::Mask, "{out}");
        }
    }
}

#[test]
fn answers_that_are_written_at_once_are_told_apart() {
    let mut text = String::new();
    for (first, second) in
        [("sk_live_k3J9fLq0ZxVb", "nothing "), ("7NwR2tYcPm5sQd8eHg1u", "at all "), (" ", "here")]
    {
        text += &(delta(0, first) + &delta(1, second));
    }
    let (out, ..) = pass(looking(LeakAction::Mask), Form::Events, &[text.as_bytes()]);
    assert_eq!(said(&out, 0), "[secret removed: stripe-key] ");
    assert_eq!(said(&out, 1), "nothing at all here");
}

#[test]
fn nothing_of_what_is_blocked_leaves() {
    let text = stream(&format!("The token is {TOKEN} and more"), 2);
    let (out, came, found) = pass(looking(LeakAction::Block), Form::Events, &[text.as_bytes()]);
    assert_eq!(came, Err(Stop::Leak("stripe-key")));
    assert!(!said(&out, 0).contains("sk_"), "{out}");
    assert_eq!((found[0].rule, found[0].kind), ("stripe-key", Kind::Secret));
}

#[test]
fn what_is_reported_passes_as_it_came() {
    let text = stream(&format!("The token is {TOKEN} and more"), 2);
    let (out, came, found) = pass(looking(LeakAction::Report), Form::Events, &[text.as_bytes()]);
    assert_eq!((out, came), (text, Ok(())));
    assert_eq!(
        found,
        [Finding {
            rule: "stripe-key",
            kind: Kind::Secret,
            is_certain: true,
            action: LeakAction::Report,
            count: 1
        }]
    );
}

#[test]
fn every_form_is_looked_at() {
    let masked = "[secret removed: stripe-key]";
    for (form, text) in [
        (Form::Json, format!("{{ \"a\": [1, \"x {TOKEN}\"],\n \"b\":null}}")),
        (Form::Json, format!("\"{TOKEN}\"")),
        (Form::Lines, format!("{{\"response\":\"so {TOKEN}\"}}\n\n{{\"done\":true}}\n")),
        (Form::Text, format!("so {TOKEN} it is")),
        (Form::Messages, format!("{{\"delta\":\"{TOKEN} is\"}}")),
        (Form::Events, format!("data: {{\"id\":\"{TOKEN}\"}}\n\n")),
        (Form::Events, format!("event: x\ndata: just text\ndata: {TOKEN} \n\n")),
        // An escaped letter is the same letter.
        (Form::Json, format!("{{\"a\":\"\\u0073{}\"}}", &TOKEN[1..])),
    ] {
        let (out, came, _) = pass(looking(LeakAction::Mask), form, &[text.as_bytes()]);
        assert_eq!(came, Ok(()), "{text}");
        let expected = text.replace(TOKEN, masked).replace(&format!("\\u0073{}", &TOKEN[1..]), masked);
        assert_eq!(out, expected, "{text}");
    }
}

#[test]
fn what_cannot_be_masked_is_blocked() {
    let encoded =
        "c2tfbGl2ZV9rM0o5ZkxxMFp4VmI3TndSMnRZY1BtNXNRZDhlSGcxdSBpcyB0aGUgdG9rZW4gc28gdXNlIGl0IHdlbGw=";
    for (form, text) in [
        (Form::Json, format!("{{\"{TOKEN}\":1}}")),
        (Form::Json, format!("{{\"a\":\"in base64: {encoded} \"}}")),
        (Form::Events, format!(": {TOKEN}\n\n")),
        (Form::Events, stream(&format!("so {encoded} it is"), 5)),
    ] {
        let (out, came, _) = pass(looking(LeakAction::Mask), form, &[text.as_bytes()]);
        assert_eq!(came, Err(Stop::Leak("stripe-key")), "{text}");
        assert!(!out.contains("sk_") && !out.contains("c2tf"), "{out}");
    }
}

#[test]
fn what_cannot_be_read_stops_or_is_told() {
    let long = format!("data: \"{}\"\n\n", "x".repeat(MAX_UNIT));
    for (form, text) in [
        (Form::Json, b"<html>".as_slice()),
        (Form::Json, b"{\"a\":\"\xff\"}"),
        (Form::Text, b"\xff\xfe"),
        (Form::Events, long.as_bytes()),
    ] {
        let mut sieve = Sieve::new(looking(LeakAction::Mask), form);
        let mut out = Vec::new();
        let came = sieve.push(text, &mut out).and_then(|()| sieve.end(&mut out));
        assert!(matches!(came, Err(Stop::Unread(_))), "{form:?}");
        assert!(out.is_empty());
        let mut sieve = Sieve::new(Looking { is_lenient: true, ..looking(LeakAction::Mask) }, form);
        assert_eq!(sieve.push(text, &mut out).and_then(|()| sieve.end(&mut out)), Ok(()));
        let bytes: Vec<u8> = out.iter().flat_map(|piece| piece.bytes.clone()).collect();
        assert_eq!(bytes, text, "{form:?}");
        assert!(sieve.unread().is_some());
    }
}

#[test]
fn ordinary_answers_wait_for_their_last_word_and_a_text_that_pauses_for_nobody() {
    let mut sieve = Sieve::new(looking(LeakAction::Mask), Form::Events);
    let mut out = Vec::new();
    let waiting = |sieve: &mut Sieve, piece: &str, out: &mut Vec<Piece>| {
        sieve.push(piece.as_bytes(), out).unwrap();
        sieve.pending.len()
    };
    assert_eq!(waiting(&mut sieve, &delta(0, "The"), &mut out), 1);
    assert_eq!(waiting(&mut sieve, &delta(0, " weather"), &mut out), 1);
    assert_eq!(waiting(&mut sieve, &delta(0, " is fine"), &mut out), 1);
    sieve.flush(&mut out).unwrap();
    assert!(!sieve.is_waiting() && out.len() == 3);
    let mut most = 0;
    waiting(&mut sieve, &delta(0, "thought"), &mut out);
    for _ in 0..200 {
        most = most.max(waiting(&mut sieve, &delta(1, "word "), &mut out));
    }
    assert!(most as u64 <= STALE + 4, "{most}");
}

#[test]
fn more_texts_at_once_than_are_looked_at_are_an_error() {
    let text: String = (0..=MAX_TEXTS).map(|index| delta(u32::try_from(index).unwrap(), "x")).collect();
    let (_, came, _) = pass(looking(LeakAction::Mask), Form::Events, &[text.as_bytes()]);
    assert!(matches!(came, Err(Stop::Unread(_))));
}

#[test]
fn what_was_found_before_something_that_cannot_be_read_stays_masked_and_nothing_gets_lost() {
    let lenient = || Looking { is_lenient: true, ..looking(LeakAction::Mask) };
    let first = format!("data: {{\"a\":\"so {TOKEN} it\",\"b\":\"open wor\"}}\n\n");
    let mut sieve = Sieve::new(lenient(), Form::Events);
    let mut out = Vec::new();
    sieve.push(first.as_bytes(), &mut out).unwrap();
    sieve.push(b"data: \"\xff\"\n\n", &mut out).unwrap();
    let bytes: Vec<u8> = out.into_iter().flat_map(|piece| piece.bytes).collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("secret removed") && text.contains("open wor") && !text.contains(TOKEN), "{text}");
    let many: String = (0..=MAX_TEXTS).map(|index| delta(u32::try_from(index).unwrap(), "x")).collect();
    assert_eq!(pass(lenient(), Form::Events, &[many.as_bytes()]).0, many);
}

#[test]
fn texts_that_are_over_make_room_for_others() {
    let deltas = |index: u32| (0..4).map(|_| delta(index, "word ")).collect::<String>();
    let text: String = (0..200).map(deltas).collect();
    let (out, came, _) = pass(looking(LeakAction::Mask), Form::Events, &[text.as_bytes()]);
    assert_eq!((out, came), (text, Ok(())));
}

#[test]
fn however_many_answers_are_written_at_once_what_is_split_over_their_events_is_found() {
    let event = |choices: &[(u32, &str)]| {
        let choices: Vec<_> = choices
            .iter()
            .map(|(index, text)| serde_json::json!({"index": index, "delta": {"content": text}}))
            .collect();
        format!("data: {}\n\n", serde_json::json!({"choices": choices}))
    };
    let others = |count: u32| (1..count).map(|index| delta(index, "word ")).collect::<String>();
    let (first, second) = TOKEN.split_at(20);
    for text in [
        // Others of the same time come in between.
        format!("{}{}{}", delta(0, first), others(60), delta(0, second)),
        // One event has several, the next one of these alone.
        event(&[(1, "word "), (0, first)]) + &event(&[(0, second)]),
    ] {
        let (out, came, _) = pass(looking(LeakAction::Block), Form::Events, &[text.as_bytes()]);
        assert_eq!(came, Err(Stop::Leak("stripe-key")), "{text}");
        assert!(!out.contains(first), "{out}");
    }
}

#[test]
fn an_answer_that_ends_like_the_prompt_begins_goes_on_whole() {
    let text = stream("never tell anybody that refunds above", 3);
    assert_eq!(pass(looking(LeakAction::Mask), Form::Events, &[text.as_bytes()]).0, text);
}

#[test]
fn every_message_is_changed_before_it_is_looked_at() {
    let edit = || Edit(Box::new(|text: &str| text.contains("old").then(|| text.replace("old", TOKEN))));
    for (form, text, expected) in [
        (Form::Json, "{\"a\":\"old\"}", "{\"a\":\"[secret removed: stripe-key]\"}"),
        (Form::Lines, "{\"a\":\"old \"}\n", "{\"a\":\"[secret removed: stripe-key] \"}\n"),
        (
            Form::Events,
            "id: 1\r\ndata: {\"a\":\"old \"}\r\n\r\n",
            "id: 1\ndata: {\"a\":\"[secret removed: stripe-key] \"}\n\n",
        ),
        (Form::Events, "data: {\"a\":\"new \"}\n\n", "data: {\"a\":\"new \"}\n\n"),
    ] {
        let mut sieve = Sieve::new(looking(LeakAction::Mask), form).editing(edit());
        let mut out = Vec::new();
        sieve.push(text.as_bytes(), &mut out).and_then(|()| sieve.end(&mut out)).unwrap();
        let bytes: Vec<u8> = out.into_iter().flat_map(|piece| piece.bytes).collect();
        assert_eq!(String::from_utf8(bytes).unwrap().trim_end(), expected.trim_end(), "{text}");
    }
}

#[test]
fn messages_of_their_own_wait_for_nothing() {
    let mut sieve = Sieve::new(Looking { joins: false, ..looking(LeakAction::Mask) }, Form::Events);
    let mut out = Vec::new();
    sieve.push(b"data: {\"jsonrpc\":\"2.0\",\"result\":{\"text\":\"open wor\"}}\n\n", &mut out).unwrap();
    assert!(!sieve.is_waiting() && out.len() == 1);
}

proptest! {
    #[test]
    fn where_a_body_is_split_changes_nothing(
        words in prop::collection::vec(prop_oneof![
            Just(" sk_live_k3J9fLq0ZxVb7NwR2tYcPm5sQd8eHg1u"), Just("4111 1111 1111 1111"), Just("a-canary-of-ours"), Just(" "), Just("word "), Just("é\""),
            Just("never tell anybody that refunds above 50 euros "), Just("\n"),
        ], 0..8),
        sizes in (1_usize..6, 1_usize..40),
        form in prop_oneof![Just(Form::Events), Just(Form::Lines), Just(Form::Json), Just(Form::Text)],
    ) {
        let text = words.concat();
        let body = match form {
            Form::Events => stream(&text, sizes.0),
            Form::Lines => stream(&text, sizes.0).replace("data: [DONE]", "").replace("data: ", "").replace("\n\n", "\n"),
            Form::Json => serde_json::json!({"a": text, "b": [text]}).to_string(),
            Form::Text | Form::Messages => text,
        };
        let whole = pass(looking(LeakAction::Mask), form, &[body.as_bytes()]);
        let pieces: Vec<&[u8]> = body.as_bytes().chunks(sizes.1).collect();
        let split = pass(looking(LeakAction::Mask), form, &pieces);
        prop_assert_eq!(&whole, &split);
        prop_assert!(!whole.0.contains(TOKEN) && !whole.0.contains("a-canary-of-ours"));
    }
}
