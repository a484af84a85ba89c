//! Any bytes as rules never panic, and any bytes as a request through rules that use most of the engine come to an end.

use std::sync::OnceLock;
use waf::{Files, RuleSet, Start, Transaction};

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecAction "id:1,phase:1,pass,nolog,setvar:tx.score=0,initcol:ip=%{REMOTE_ADDR}"
SecRule REQUEST_HEADERS:Content-Type "@rx json" "id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx xml" "id:3,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|XML:/*|FILES "@rx (?i)(union|select)\s+(\w+)" \
    "id:4,phase:2,pass,capture,t:none,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,t:cssDecode,multiMatch,\
    setvar:'tx.score=+5',setvar:'tx.%{MATCHED_VAR_NAME}=%{TX.1}',chain"
SecRule MATCHED_VARS "@pm from where" "t:none,t:cmdLine,t:normalizePath,t:replaceComments"
SecRule REQUEST_URI|ARGS|REQUEST_BODY "@detectSQLi" "id:5,phase:2,pass,t:utf8toUnicode,t:removeNulls,setvar:ip.seen=+1"
SecRule REQUEST_URI|ARGS|REQUEST_BODY "@detectXSS" "id:6,phase:2,pass,t:base64DecodeExt,t:escapeSeqDecode"
SecRule ARGS "@within %{TX.1}" "id:7,phase:2,pass,t:sqlHexDecode,t:compressWhitespace"
SecRule TX:score "@ge 50" "id:8,phase:2,deny"
SecRule RESPONSE_BODY "@rx error" "id:9,phase:4,deny"
"#;

pub(crate) fn run(bytes: &[u8]) {
    static LOADED: OnceLock<RuleSet> = OnceLock::new();
    let rules = LOADED.get_or_init(|| {
        let files = Files { rules: vec![("rules".to_owned(), RULES.as_bytes().to_vec())], data: Vec::new() };
        RuleSet::load(&files).expect("the rules of this target load")
    });
    let _ = RuleSet::load(&Files { rules: vec![("fuzz".to_owned(), bytes.to_vec())], data: Vec::new() });
    let mut parts = bytes.splitn(4, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (target, content_type, cookie, body) = (next(), next(), next(), next());
    let mut transaction = Transaction::new(rules, Start::default());
    transaction.request_line(b"POST", target, b"HTTP/1.1");
    transaction.request_header(b"Content-Type", content_type);
    transaction.request_header(b"Cookie", cookie);
    let _ = transaction.request_headers_done();
    transaction.request_body(body);
    let _ = transaction.request_body_done();
    transaction.response_status(200, b"HTTP/1.1");
    transaction.response_header(b"Content-Type", b"text/html");
    let _ = transaction.response_headers_done();
    transaction.response_body(body);
    let _ = transaction.response_body_done();
    let outcome = transaction.finish();
    assert!(outcome.matched.len() <= waf::MAX_MATCHES);
}
