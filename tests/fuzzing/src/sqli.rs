//! Any bytes as a text that may be an injection into SQL: `@detectSQLi` says what libinjection says.

use std::sync::LazyLock;
use waf::{Files, RuleSet, Start, Transaction};

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRule REQUEST_HEADERS:X "@detectSQLi" "id:1,phase:1,deny,t:none"
"#;

static LOADED: LazyLock<RuleSet> = LazyLock::new(|| {
    let files = Files { rules: vec![("rules".to_owned(), RULES.as_bytes().to_vec())], data: Vec::new() };
    RuleSet::load(&files).expect("the rules of this target load")
});

pub(crate) fn run(text: &[u8]) {
    let mut transaction = Transaction::new(&LOADED, Start::default());
    transaction.request_line(b"GET", b"/", b"HTTP/1.1");
    transaction.request_header(b"X", text);
    let _ = transaction.request_headers_done();
    let found = !transaction.finish().matched.is_empty();
    assert_eq!(found, libinjectionrs::detect_sqli(text).is_injection(), "{}", text.escape_ascii());
}
