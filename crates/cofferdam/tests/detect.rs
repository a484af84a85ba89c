//! `cofferdam detect`, as a user runs it.

#![expect(clippy::expect_used, reason = "a test's helpers fail the test")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn detect(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .arg("detect")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cofferdam starts");
    child.stdin.take().expect("standard input").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// Names that look drawn by a program.
const DRAWN: &str = "xkqzvwpfjhtr.net\nq7f3k9z2xw1p.com\nvbhtqzlmwrkd.org\nzjxqwvkpfhgt.net\nwqxzjvkbpfmd.biz\n\
    hzqkxvjwtfpl.info\nkxqjzwvbhfpt.net\ntzqwxkvjpfhm.com\nfqzxjkwvthpb.org\njxkqzvwfhptm.net\nvwqxkzjfpthb.com\n";

#[test]
fn a_list_of_drawn_names_is_found_and_what_cannot_be_read_is_named() {
    let input = format!("{DRAWN}not a name\n");
    let output = detect(&["--replay", "-", "--json"], input.as_bytes());
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("stdin:12: "), "{stderr}");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let finding: serde_json::Value = serde_json::from_str(&printed).expect("one object");
    assert_eq!((&finding["detector"], &finding["severity"]), (&"dga".into(), &"high".into()), "{printed}");
    assert_eq!((&finding["records"][0], &finding["techniques"][0]), (&"stdin:1".into(), &"T1568.002".into()));
}

#[test]
fn recordings_may_be_compressed_and_harmless_ones_have_no_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("names.txt.gz");
    let file = std::fs::File::create(&path).expect("a file");
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(DRAWN.as_bytes()).expect("it is written");
    gzip.finish().expect("it is written");
    let output = detect(&["--replay", &path.display().to_string()], b"");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && printed.contains("high   dga list"), "{printed}");
    let output = detect(&["--replay", "/nowhere/at-all", &path.display().to_string()], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("high   dga list"), "the other one is read");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at-all cannot be read"));
    let harmless =
        b"kubernetes.io\ngithub.com\npypi.org\nhuggingface.co\nwikipedia.org\nrust-lang.org\ndebian.org\n\
        openai.com\nanthropic.com\nmozilla.org\nkernel.org\npython.org\n";
    let output = detect(&["--replay", "-"], harmless);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"0 findings in 12 events\n");
}

#[test]
fn detectors_explain_themselves() {
    let output = detect(&["--list", "--json"], b"");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    for line in printed.lines() {
        let detector: serde_json::Value = serde_json::from_str(line).expect("an object");
        for field in ["name", "what", "thresholds", "limits"] {
            assert!(detector[field].as_str().is_some_and(|text| !text.is_empty()), "{line}");
        }
        assert!(detector["techniques"].as_array().is_some_and(|ids| !ids.is_empty()), "{line}");
    }
    assert!(printed.lines().count() >= 17, "{printed}");
}
