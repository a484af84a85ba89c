//! Bytes as a body that is masked and given an option: JSON stays JSON.

use inspect::leak::{LeakClass, LeakOptions, LeakRules, Scanner, Span};
use inspect::rewrite::{Set, mask, mask_text, set_option};
use std::sync::{Arc, LazyLock};

static RULES: LazyLock<Arc<LeakRules>> = LazyLock::new(|| {
    let canaries = vec![b"canary-4711".to_vec()];
    let options = LeakOptions { secrets: true, pii: true, canaries, ..LeakOptions::default() };
    Arc::new(LeakRules::new(&options).expect("rules that hold"))
});

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok()
}

pub(crate) fn run(data: &[u8]) {
    let Some(([start, length, is_json_said], body)) = data.split_first_chunk() else { return };
    let mut scanner = Scanner::new(Arc::clone(&RULES));
    scanner.push(body);
    scanner.end();
    let found = scanner.spans().unwrap_or_default().to_vec();
    let start = u64::from(*start);
    let range = start..start + u64::from(*length);
    let any = vec![Span { range, rule: "any", class: LeakClass::Secret, is_confirmed: true }];
    for spans in [found, any] {
        if let Ok(masked) = mask(body, *is_json_said % 2 == 0, &spans) {
            assert!(is_json(&masked.body) || !is_json(body));
        }
        if let Ok(text) = std::str::from_utf8(body) {
            let _any_text = mask_text(text, &spans);
        }
    }
    if let Some(Set::Changed(changed)) = set_option(body, "a", "b") {
        assert!(is_json(&changed) || !is_json(body));
        assert_eq!(set_option(&changed, "a", "b"), Some(Set::Already));
    }
}
