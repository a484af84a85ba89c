//! `cofferdam waf`: the command, run as a person runs it, with a small rule set of its own.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use std::path::Path;
use std::process::{Command, Output};

const RULES: &str = r#"
SecRule ARGS "@rx (?i)union\s+select" "id:942100,phase:2,pass,t:none,tag:'attack-sqli',severity:'CRITICAL',\
    msg:'SQL injection',setvar:'tx.blocking_inbound_anomaly_score=+5'"
SecRule TX:blocking_inbound_anomaly_score "@ge 5" "id:949110,phase:2,deny,msg:'score'"
"#;

/// A request in base64: `GET /?q=union%20select`, and `GET /?q=roses`.
const CASES: &str = r#"{"key":"a","file":"F","method":"R0VU","uri":"Lz9xPXVuaW9uJTIwc2VsZWN0","ver":"SFRUUC8xLjE=","headers":[],"body":"","exp":["942100"],"noexp":[],"blocked_pl1":{"x":true}}
{"key":"b","file":"F","method":"R0VU","uri":"Lz9xPXJvc2Vz","ver":"SFRUUC8xLjE=","headers":[],"body":"","exp":[],"noexp":["942100"],"blocked_pl1":{"x":false}}
"#;

fn waf(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .arg("waf")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the command runs");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rules.conf"), RULES).expect("written");
    std::fs::write(folder.path().join("cases.jsonl"), CASES).expect("written");
    folder
}

#[test]
fn verify_counts_and_says_no_by_its_exit_code() {
    let folder = folder();
    let (code, text) = waf(folder.path(), &["verify", "--rules", ".", "--json", "cases.jsonl"]);
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().last().expect("a line");
    assert!(line.contains(r#""blocked":1"#) && line.contains(r#""blocked_agree":2"#), "{text}");
    assert!(line.contains(r#""passed":2"#) && line.contains(r#""failed":0"#), "{text}");
    std::fs::write(folder.path().join("cases.jsonl"), CASES.replace("\"exp\":[]", "\"exp\":[\"7\"]"))
        .expect("written");
    let (code, text) = waf(folder.path(), &["verify", "--rules", ".", "cases.jsonl"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 passed, 1 failed"), "{text}");
}

#[test]
fn one_request_is_judged_and_explained() {
    let folder = folder();
    let (code, text) = waf(folder.path(), &["test", "--rules", ".", "--url", "/?q=UNION%20SELECT"]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "942100 CRITICAL: SQL injection",
        "ARGS:q = UNION SELECT",
        "anomaly score: 5",
        "blocked by rule 949110",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(waf(folder.path(), &["test", "--rules", ".", "--url", "/?q=roses"]).0, Some(0));
    let (code, text) = waf(folder.path(), &["test", "--rules", ".", "--url", "/?q=UNION%20SELECT", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(
        (code, &told["passes"], &told["blocked"]["by"], &told["score"]["request"], &told["rules"][0]["id"]),
        (Some(1), &false.into(), &"rule 949110".into(), &5.into(), &942_100.into()),
        "{text}"
    );
}

#[test]
fn prompts_pass_where_prose_is_told_from_the_rest() {
    let folder = folder();
    let body = r#"{"messages":[{"role":"user","content":"explain union select"}]}"#;
    let request = |profile| {
        let header = "Content-Type: application/json";
        let url = "https://api.example.com/v1/chat/completions";
        waf(
            folder.path(),
            &["test", "--rules", ".", "--profile", profile, "--url", url, "--header", header, "--body", body],
        )
    };
    assert_eq!(request("crs").0, Some(1));
    assert_eq!(request("field-aware").0, Some(0));
}

#[test]
fn rules_that_do_not_load_are_said_by_file_and_line() {
    let folder = folder();
    std::fs::write(folder.path().join("rules.conf"), "\nSecRule ARGS \"@nope\" \"id:1\"\n").expect("written");
    let (code, text) = waf(folder.path(), &["test", "--rules", "."]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("rules.conf:2: operator @nope"), "{text}");
}

/// As the Core Rule Set lies on a disk: its rules in a folder, its set-up one above, and a rule that denies without a set-up.
#[test]
fn the_folder_of_the_rules_alone_takes_its_set_up_from_above_or_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (above, rules) = (folder.path().join("crs"), folder.path().join("crs/rules"));
    std::fs::create_dir_all(&rules).expect("made");
    let first =
        "SecRule &TX:crs_setup_version \"@eq 0\" \"id:901001,phase:1,deny,status:500,log,msg:'no set-up'\"\n";
    std::fs::write(rules.join("REQUEST-901-INITIALIZATION.conf"), first).expect("written");
    let (code, text) = waf(&rules, &["test", "--rules", "."]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("without which every request is denied") && text.contains("crs-setup.conf"),
        "{text}"
    );
    let setup = "SecAction \"id:900990,phase:1,pass,t:none,nolog,setvar:tx.crs_setup_version=4280\"\n";
    std::fs::write(above.join("crs-setup.conf.example"), setup).expect("written");
    for (at, named) in [(&rules, "."), (&above, "."), (&above, "rules")] {
        let (code, text) = waf(at, &["test", "--rules", named]);
        assert!(code == Some(0) && text.contains("verdict: passes"), "{named}: {code:?} {text}");
    }
}
