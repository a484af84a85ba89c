//! The catalog as a page of the documentation: `docs/reference/detectors.md` is made by `cargo run -p detect --example reference`.

use crate::catalog;
use std::fmt::Write as _;

const HEAD: &str = "# Detectors

Made from the catalog in the program (`cargo run -p detect --example reference > docs/reference/detectors.md`); `cofferdam detect --list`
shows the same. The names are those of findings (`detector`), of `cofferdam findings --detector` and of a `DetectionPolicy`.
Techniques are ids of MITRE ATT&CK (`T...`), MITRE ATLAS (`AML.T...`) and the OWASP Top 10 for LLM applications 2025 (`LLM..`).
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut text = String::from(HEAD);
    let mut say = |of: &str, from: &str, to: Option<&str>| {
        let _ = writeln!(text, "\n## {of}\n");
        let begun = catalog::ALL.iter().skip_while(|detector| detector.name != from);
        for detector in begun.take_while(|detector| Some(detector.name) != to) {
            let techniques = detector.techniques.join(", ");
            let _ = writeln!(text, "### `{}`\n", detector.name);
            let _ = writeln!(text, "{} ({}; {techniques})\n", detector.what, detector.severity.as_str());
            let tuned =
                if detector.is_tunable() { "" } else { " (a policy can suppress it, and not tune it)" };
            let _ = writeln!(text, "- tells when: {}{tuned}", detector.thresholds);
            let _ = writeln!(text, "- does not see: {}", detector.limits);
            let _ = writeln!(text, "- what to do: {}\n", detector.advice);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    let (first, facts) = (catalog::DNS_TUNNEL.name, catalog::UPLOAD_CONNECTION.name);
    say("What nobody has a rule for", first, Some(facts));
    say("What enforcement points did", facts, None);
    text
}
