//! Texts of our own to learn from: patterns in `data/`, written out, and orders put into documents.
//!
//! Enters: the patterns, documents of the corpus, a seed. Leaves: [`Row`]s; the same for the same seed.

use crate::corpus::Row;
use crate::random::Random;
use std::collections::BTreeSet;

const ENGLISH: &str = include_str!("../data/english.txt");
const LANGUAGES: &str = include_str!("../data/languages.txt");

/// How often a pattern is written out: in English, and in other languages.
const SAMPLES: (usize, usize) = (28, 14);
/// How often a pattern that quotes an order: more would teach that orders are harmless.
const QUOTING: usize = 10;
/// Documents with an order in them.
const COMPOSED: usize = 1500;
/// Where a pattern has an order of another, which it quotes.
const QUOTED: &str = "«*»";
/// Characters of a document around an order.
const AROUND: usize = 900;

/// One pattern and what it is.
struct Pattern {
    family: &'static str,
    language: &'static str,
    text: &'static str,
}

fn patterns() -> Vec<Pattern> {
    let (mut all, mut family, mut language) = (Vec::new(), "", "");
    for line in ENGLISH.lines().chain(LANGUAGES.lines()) {
        if let Some((new_family, new_language)) = line.strip_prefix('@').and_then(|head| head.split_once(' '))
        {
            (family, language) = (new_family, new_language);
        } else if !line.is_empty() && !line.starts_with("# ") || line.starts_with("# «") {
            all.push(Pattern { family, language, text: line });
        }
    }
    all
}

/// One way to read the pattern.
fn written(pattern: &str, random: &mut Random) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, choice)) = rest.split_once('«') {
        text.push_str(before);
        let (choice, after) = choice.split_once('»').unwrap_or((choice, ""));
        let choices: Vec<&str> = choice.split('|').collect();
        text.push_str(choices.get(random.below(choices.len())).copied().unwrap_or_default());
        rest = after;
    }
    text.push_str(rest);
    text.replace("\\n", "\n")
}

fn row(family: &str, language: &str, text: String) -> Row {
    let (label, family) = match family {
        "direct" | "indirect" | "jailbreak" => (1, family),
        "hard" => (0, "hard_benign"),
        "doc" => (0, "benign_doc"),
        _ => (0, "benign"),
    };
    let language = if language == "en" { "en" } else { "languages" };
    Row { text, label, family: family.to_owned(), source: format!("own-{language}") }
}

/// All patterns written out, each several times.
pub(crate) fn rows(random: &mut Random) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let all = patterns();
    let orders: Vec<&Pattern> =
        all.iter().filter(|pattern| matches!(pattern.family, "direct" | "jailbreak")).collect();
    for pattern in &all {
        let samples = match pattern.text.contains(QUOTED) {
            true => QUOTING,
            false if pattern.language == "en" => SAMPLES.0,
            false => SAMPLES.1,
        };
        for _ in 0..samples {
            let text = match pattern.text.split_once(QUOTED) {
                None => written(pattern.text, random),
                Some((before, after)) => {
                    let order = orders.get(random.below(orders.len())).map_or("", |order| order.text);
                    [before, order, after].map(|part| written(part, random)).concat()
                }
            };
            if seen.insert(text.clone()) {
                rows.push(row(pattern.family, pattern.language, text));
            }
        }
    }
    rows
}

/// Documents with an order put into them, and the place of the document in `documents`.
pub(crate) fn composed(documents: &[&Row], random: &mut Random) -> Vec<(usize, Row)> {
    let orders: Vec<Pattern> =
        patterns().into_iter().filter(|pattern| pattern.family == "indirect").collect();
    let mut rows = Vec::new();
    for _ in 0..COMPOSED {
        let place = random.below(documents.len());
        let (Some(document), Some(order)) = (documents.get(place), orders.get(random.below(orders.len())))
        else {
            break;
        };
        let order = written(order.text, random);
        let body: Vec<char> = document.text.chars().take(AROUND).collect();
        let cut = match random.below(4) {
            0 => 0,
            1 => body.len(),
            _ => border(&body, random.below(body.len().max(1))),
        };
        let (before, after) = body.split_at(cut);
        let between = ["\n", "\n\n", " ", "\n---\n"].get(random.below(4)).copied().unwrap_or("\n");
        let before: String = before.iter().collect();
        let after: String = after.iter().collect();
        let text = format!("{before}{between}{order}{between}{after}").trim().to_owned();
        rows.push((
            place,
            Row { text, label: 1, family: "indirect".to_owned(), source: "own-composed".to_owned() },
        ));
    }
    rows
}

/// The end of the word at this place.
fn border(body: &[char], at: usize) -> usize {
    at + body.iter().skip(at).take_while(|char| !char.is_whitespace()).count()
}
