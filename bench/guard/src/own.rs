//! Texts of our own to learn from: patterns in `data/`, written out, and orders put into documents.
//!
//! Enters: the patterns, documents of the corpus, a seed. Leaves: [`Row`]s; the same for the same seed.

use crate::corpus::Row;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// Each file is a source of its own, in English and in other languages.
const FILES: [(&str, [&str; 2]); 6] = [
    (include_str!("../data/english.txt"), ["own-en", "own-languages"]),
    (include_str!("../data/languages.txt"), ["own-en", "own-languages"]),
    (include_str!("../data/agents.txt"), ["own-agents", "own-agents-languages"]),
    (include_str!("../data/chats.txt"), ["own-chats", "own-chats-languages"]),
    (include_str!("../data/scenes.txt"), ["own-scenes", "own-scenes-languages"]),
    (include_str!("../data/tongues.txt"), ["own-tongues-en", "own-tongues"]),
];

/// How often a pattern is written out: in English, and in other languages.
const SAMPLES: (usize, usize) = (28, 14);
/// How often a pattern that is made of lists, of which there are so many more ways to read it.
const LISTED: usize = 40;
/// How often a pattern that quotes an order: more would teach that orders are harmless.
const QUOTING: usize = 10;
/// Documents with an order in them, and carriers with one.
const COMPOSED: usize = 3000;
const CARRIED: usize = 500;
/// Documents with an attack of the corpus in them. More make orders that stand alone count for less.
const TAKEN: usize = 700;
/// Where a pattern has an order of another, which it quotes.
const QUOTED: &str = "«*»";
/// Where a carrier takes an order.
const TAKES: &str = "«+»";
/// Characters of a document around an order.
const AROUND: usize = 900;

/// One pattern and what it is.
struct Pattern {
    family: &'static str,
    language: &'static str,
    source: &'static str,
    text: &'static str,
}

/// Patterns that are used by name, each of them by those below it alone.
struct List {
    name: &'static str,
    lines: Vec<&'static str>,
}

/// All that the files have.
struct Patterns {
    all: Vec<Pattern>,
    lists: Vec<List>,
}

impl Patterns {
    fn read() -> Self {
        let (mut all, mut lists) = (Vec::new(), Vec::<List>::new());
        for (text, sources) in FILES {
            let (mut family, mut language, mut is_list) = ("", "", false);
            for line in text.lines().filter(|line| !line.is_empty() && !is_comment(line)) {
                if let Some((new_family, new_language)) =
                    line.strip_prefix('@').and_then(|head| head.split_once(' '))
                {
                    (family, language, is_list) = (new_family, new_language, false);
                } else if let Some(name) = line.strip_prefix('$') {
                    lists.push(List { name, lines: Vec::new() });
                    is_list = true;
                } else if let Some(list) = lists.last_mut().filter(|_| is_list) {
                    list.lines.push(line);
                } else {
                    let [english, other] = sources;
                    let source = if language == "en" { english } else { other };
                    all.push(Pattern { family, language, source, text: line });
                }
            }
        }
        Self { all, lists }
    }

    fn of(&self, is_meant: impl Fn(&Pattern) -> bool) -> Vec<&Pattern> {
        self.all.iter().filter(|pattern| is_meant(pattern)).collect()
    }

    fn written(&self, pattern: &str, random: &mut Random) -> String {
        written(pattern, &self.lists, random).replace("\\n", "\n")
    }
}

fn is_comment(line: &str) -> bool {
    line.starts_with("# ") && !line.starts_with("# «")
}

/// One way to read the pattern.
fn written(pattern: &str, lists: &[List], random: &mut Random) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, choices, after)) = first_choice(rest) {
        text.push_str(before);
        let choice = one_of(&choices, random);
        let named = choice.strip_prefix('$').and_then(|name| lists.iter().position(|list| list.name == name));
        let found = named.and_then(|place| Some((lists.get(place)?, lists.get(..place)?)));
        text.push_str(&match found {
            Some((list, before)) => written(one_of(&list.lines, random), before, random),
            None => written(choice, lists, random),
        });
        rest = after;
    }
    text.push_str(rest);
    text
}

fn one_of<'a>(choices: &[&'a str], random: &mut Random) -> &'a str {
    choices.get(random.below(choices.len())).copied().unwrap_or_default()
}

/// What is before the first choice of a pattern, what can be chosen, which may hold choices too, and the rest.
fn first_choice(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (before, rest) = pattern.split_once('«')?;
    let (mut depth, mut from, mut choices) = (0, 0, Vec::new());
    for (at, char) in rest.char_indices() {
        match char {
            '«' => depth += 1,
            '»' if depth > 0 => depth -= 1,
            '|' | '»' if depth == 0 => {
                choices.push(rest.get(from..at)?);
                from = at + char.len_utf8();
                if char == '»' {
                    return Some((before, choices, rest.get(from..)?));
                }
            }
            _ => {}
        }
    }
    None
}

fn row(pattern: &Pattern, text: String) -> Row {
    let (label, family) = match pattern.family {
        "direct" | "indirect" | "jailbreak" => (1, pattern.family),
        "hard" => (0, "hard_benign"),
        "doc" => (0, "benign_doc"),
        _ => (0, "benign"),
    };
    Row { text, label, family: family.to_owned(), source: pattern.source.to_owned() }
}

/// All patterns written out, each several times.
pub(crate) fn rows(random: &mut Random) -> Vec<Row> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let patterns = Patterns::read();
    let orders = patterns.of(|pattern| matches!(pattern.family, "direct" | "jailbreak"));
    for pattern in patterns.of(|pattern| pattern.family != "carrier") {
        let samples = match pattern.text.contains(QUOTED) {
            true => QUOTING,
            false if pattern.text.contains("«$") => LISTED,
            false if pattern.language == "en" => SAMPLES.0,
            false => SAMPLES.1,
        };
        for _ in 0..samples {
            let text = match pattern.text.split_once(QUOTED) {
                None => patterns.written(pattern.text, random),
                Some((before, after)) => {
                    let order = orders.get(random.below(orders.len())).map_or("", |order| order.text);
                    [before, order, after].map(|part| patterns.written(part, random)).concat()
                }
            };
            if seen.insert(text.clone()) {
                rows.push(row(pattern, text));
            }
        }
    }
    rows
}

/// Documents and carriers with an order put into them, and the place of the document in `documents`. Harmless sentences put into
/// them besides made the weights worse: then an order in a mail that names no assistant counts for nothing.
pub(crate) fn composed(documents: &[&Row], random: &mut Random) -> Vec<(Option<usize>, Row)> {
    let patterns = Patterns::read();
    let carriers = patterns.of(|pattern| pattern.family == "carrier");
    let orders = patterns.of(|pattern| pattern.family == "indirect");
    let order = |random: &mut Random| {
        let order = orders.get(random.below(orders.len())).map_or("", |order| order.text);
        patterns.written(order, random)
    };
    let mut rows = Vec::new();
    let row = |text| Row { text, label: 1, family: "indirect".to_owned(), source: "own-composed".to_owned() };
    for _ in 0..COMPOSED {
        let order = order(random);
        let place = random.below(documents.len());
        let Some(document) = documents.get(place) else { break };
        rows.push((Some(place), row(put_into(&document.text, &order, random))));
    }
    for _ in 0..CARRIED {
        let order = order(random);
        let carrier = carriers.get(random.below(carriers.len())).map_or("", |carrier| carrier.text);
        let (before, after) = carrier.split_once(TAKES).unwrap_or((carrier, ""));
        let [before, after] = [before, after].map(|part| patterns.written(part, random));
        rows.push((None, row(format!("{before}{order}{after}"))));
    }
    rows
}

/// Documents with an attack of the corpus in them, and the places of both; each source of attacks as often as the others.
/// A row is of the attack's source, so that what only one collection says stays what only one says.
pub(crate) fn taken(documents: &[&Row], attacks: &[Row], random: &mut Random) -> Vec<(usize, usize, Row)> {
    let mut sources = BTreeMap::<&str, Vec<usize>>::new();
    for (place, attack) in attacks.iter().enumerate() {
        sources.entry(&attack.source).or_default().push(place);
    }
    let sources: Vec<Vec<usize>> = sources.into_values().collect();
    let mut rows = Vec::new();
    for _ in 0..TAKEN {
        let Some(of_source) = sources.get(random.below(sources.len())) else { break };
        let order = of_source.get(random.below(of_source.len())).copied().unwrap_or(0);
        let document = random.below(documents.len());
        let (Some(around), Some(attack)) = (documents.get(document), attacks.get(order)) else { break };
        let text = put_into(&around.text, &attack.text, random);
        let (family, source) = ("indirect".to_owned(), attack.source.clone());
        rows.push((document, order, Row { text, label: 1, family, source }));
    }
    rows
}

/// The document with the order at its beginning, its end or between two words.
fn put_into(document: &str, order: &str, random: &mut Random) -> String {
    let body: Vec<char> = document.chars().take(AROUND).collect();
    let cut = match random.below(4) {
        0 => 0,
        1 => body.len(),
        _ => border(&body, random.below(body.len().max(1))),
    };
    let (before, after) = body.split_at(cut);
    let between = one_of(&["\n", "\n\n", " ", "\n---\n"], random);
    let before: String = before.iter().collect();
    let after: String = after.iter().collect();
    format!("{before}{between}{order}{between}{after}").trim().to_owned()
}

/// The end of the word at this place.
fn border(body: &[char], at: usize) -> usize {
    at + body.iter().skip(at).take_while(|char| !char.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_in_documents_stay_with_their_source_and_large_sources_do_not_crowd_out_small_ones() {
        let row = |text: &str, source: &str| Row {
            text: text.to_owned(),
            label: 1,
            family: "direct".to_owned(),
            source: source.to_owned(),
        };
        let mut attacks: Vec<Row> = (0..99).map(|number| row(&format!("order {number}"), "large")).collect();
        attacks.push(row("the only one", "small"));
        let document = row("a page about bees", "pages");
        let taken = taken(&[&document], &attacks, &mut Random::new(3));
        assert_eq!(taken.len(), TAKEN);
        for (_, attack, row) in &taken {
            assert!(row.text.contains(&attacks[*attack].text) && row.text.contains("bees"), "{}", row.text);
            assert_eq!((&row.source, row.family.as_str()), (&attacks[*attack].source, "indirect"));
        }
        let small = taken.iter().filter(|(_, attack, _)| *attack == 99).count();
        assert!((TAKEN * 2 / 5..TAKEN * 3 / 5).contains(&small), "{small}");
    }

    #[test]
    fn every_pattern_can_be_read_to_its_end() {
        let patterns = Patterns::read();
        let mut random = Random::new(1);
        for pattern in &patterns.all {
            let text = pattern.text.replace(QUOTED, "").replace(TAKES, "");
            let text = patterns.written(&text, &mut random);
            assert!(!text.contains(['«', '»']), "{text}");
            assert!(patterns.lists.iter().all(|list| !text.contains(&format!("${}", list.name))), "{text}");
            assert!(!pattern.family.is_empty() && !pattern.text.starts_with(['@', '$']), "{}", pattern.text);
            assert_eq!(pattern.family == "carrier", pattern.text.contains(TAKES), "{}", pattern.text);
        }
    }
}
