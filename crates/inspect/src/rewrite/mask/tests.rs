use super::*;
use crate::leak::{LeakOptions, LeakRules, Scanner};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

const CARD: &str = "4111 1111 1111 1111";
const CANARY: &str = "canary-4711-\"é\"";
const MARKS: [&str; 2] = ["[personal data removed: payment-card]", "[canary removed]"];

fn scan(body: &[u8], piece: usize) -> Vec<Span> {
    let options = LeakOptions {
        secrets: true,
        pii: true,
        canaries: vec![CANARY.as_bytes().to_vec()],
        ..LeakOptions::default()
    };
    let mut scanner = Scanner::new(Arc::new(LeakRules::new(&options).unwrap()));
    body.chunks(piece).for_each(|bytes| scanner.push(bytes));
    scanner.end();
    scanner.spans().unwrap().to_vec()
}

fn masked(body: &str, is_json: bool) -> Result<String, Unmaskable> {
    let masked = mask(body.as_bytes(), is_json, &scan(body.as_bytes(), 7))?;
    Ok(String::from_utf8(masked.body).unwrap())
}

#[test]
fn a_leak_in_a_text_of_a_value_is_a_marker() {
    let key = "AKIAQ3XJ7KZTB5WDN4RM";
    for (body, expected) in [
        (format!(r#"{{"a": "x {CARD} y"}}"#), format!(r#"{{"a": "x {} y"}}"#, MARKS[0])),
        (format!(r#"["\"{CARD}\"","é\n{CARD}\\"]"#), format!(r#"["\"{0}\"","é\n{0}\\"]"#, MARKS[0])),
        (r#"["canary-4711-\"é\"!"]"#.to_owned(), format!(r#"["{}!"]"#, MARKS[1])),
        (r#"["canary-4711-\"\u00e9\"\u00e9"]"#.to_owned(), format!(r#"["{}\u00e9"]"#, MARKS[1])),
        (
            format!(r#"["{{\"key\":\"{key}\"}}"]"#),
            r#"["{\"key\":\"[secret removed: aws-access-key-id]\"}"]"#.to_owned(),
        ),
        (format!(" [ \"{CARD}\" , 1.50 ] \n"), format!(" [ \"{}\" , 1.50 ] \n", MARKS[0])),
    ] {
        assert_eq!(masked(&body, true).as_deref(), Ok(expected.as_str()), "{body}");
    }
}

#[test]
fn what_is_no_text_of_a_value_is_not_masked() {
    for (body, is_json, expected) in [
        (r#"{"a":4111111111111111}"#, true, Unmaskable::OutsideText),
        (r#"{"4111111111111111":1}"#, true, Unmaskable::OutsideText),
        (r#"{"4111111111111111":1}"#, false, Unmaskable::OutsideText),
        (r#"{"a":"4111111111111111""#, true, Unmaskable::Form),
        (r#"{} 4111111111111111"#, true, Unmaskable::Form),
    ] {
        assert_eq!(masked(body, is_json), Err(expected), "{body}");
    }
    assert_eq!(mask(b"\xff", false, &[]), Err(Unmaskable::Form));
    assert_eq!(masked("é 4111111111111111\n", false).unwrap(), format!("é {}\n", MARKS[0]));
}

#[test]
fn nothing_of_a_key_is_left_that_is_longer_than_what_is_searched() {
    // By a linear congruential generator: base64 in lines of 64.
    let mut state = 7u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                [usize::try_from(state >> 26).unwrap()],
        )
    };
    let lines: Vec<String> = (0..90).map(|_| (0..64).map(|_| letter()).collect()).collect();
    let pem =
        format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n"));
    let body = serde_json::json!({"before": "b", "key": format!("it is: {pem}"), "behind": "c"}).to_string();
    let expected =
        serde_json::json!({"before": "b", "key": "it is: [secret removed: private-key]", "behind": "c"});
    assert_eq!(serde_json::from_str::<Value>(&masked(&body, true).unwrap()).unwrap(), expected);
}

#[test]
fn markers_are_counted_by_what_they_stand_for() {
    let body = format!(r#"["{CARD}","{CARD} canary-4711-\"é\""]"#);
    let masked = mask(body.as_bytes(), true, &scan(body.as_bytes(), 64)).unwrap();
    assert_eq!(masked.counts, [("payment-card", LeakClass::Pii, 2), ("canary", LeakClass::Canary(0), 1)]);
}

/// A value whose texts are made of harmless parts and leaks, and the same with marks for them.
fn value() -> impl Strategy<Value = (Value, Value)> {
    let part = prop_oneof![
        prop::sample::select(vec![" ", "\"", "\\", "\n", "é", "😀", " is ", "\u{1}", "/"])
            .prop_map(|text| (text.to_owned(), text.to_owned())),
        Just((format!(" is {CARD} "), format!(" is {} ", MARKS[0]))),
        Just((format!(" {CANARY} "), format!(" {} ", MARKS[1]))),
    ];
    let text = prop::collection::vec(part, 0..6).prop_map(|parts| {
        let (plain, marked): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (Value::from(plain.concat()), Value::from(marked.concat()))
    });
    let leaf = prop_oneof![
        4 => text,
        1 => any::<i16>().prop_map(|number| (number.into(), number.into())),
        1 => Just((Value::Null, Value::Null)),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|all| {
                let (plain, marked): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                (Value::from(plain), Value::from(marked))
            }),
            prop::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..5).prop_map(|all| {
                let plain = all.iter().map(|(name, (plain, _))| (name.clone(), plain.clone())).collect();
                let marked = all.into_iter().map(|(name, (_, marked))| (name, marked)).collect();
                (Value::Object(plain), Value::Object(marked))
            }),
        ]
    })
}

/// JSON with everything escaped that is not ASCII.
fn ascii(json: &str) -> String {
    let mut out = String::new();
    for letter in json.chars() {
        let mut units = [0; 2];
        match letter {
            letter if letter.is_ascii() => out.push(letter),
            letter => letter
                .encode_utf16(&mut units)
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out
}

proptest! {
    #[test]
    fn masked_json_is_the_same_but_for_its_leaks((plain, marked) in value(), is_ascii: bool, is_pretty: bool, piece in 1usize..50) {
        let body = if is_pretty { serde_json::to_string_pretty(&plain) } else { serde_json::to_string(&plain) }.unwrap();
        let body = if is_ascii { ascii(&body) } else { body };
        let masked = mask(body.as_bytes(), true, &scan(body.as_bytes(), piece)).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&masked.body).unwrap(), marked);
    }

    #[test]
    fn any_spans_in_any_text_leave_json_or_are_refused((plain, _) in value(), places in prop::collection::vec((0u64..200, 0u64..40), 0..6)) {
        let body = ascii(&plain.to_string());
        let mut places = places;
        places.sort_unstable();
        let spans: Vec<Span> = places.into_iter().map(|(start, length)| Span {
            range: start..start + length, rule: "x", class: LeakClass::Secret, is_confirmed: true,
        }).collect();
        if let Ok(masked) = mask(body.as_bytes(), true, &spans) {
            let read: Result<Value, _> = serde_json::from_slice(&masked.body);
            prop_assert!(read.is_ok(), "{}", String::from_utf8_lossy(&masked.body));
        }
    }
}
