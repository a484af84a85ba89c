//! The table of how good scores are.

use crate::quality::{auc, part_above, threshold};
use crate::window::FAMILIES;
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// A text of which it is known what it is, and its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The family of an attack, by its place in [`FAMILIES`]. None: harmless.
    pub family: Option<usize>,
    /// Where it is from.
    pub source: String,
    /// What the guard says of it; the more the more suspicious.
    pub score: f64,
    /// Whether it is in another language than English, as far as that is known.
    pub is_foreign: bool,
}

/// How good the scores of these texts are, in Markdown: AUC, and the attacks found where 1 % and where 0.1 % of the harmless
/// texts are flagged, by family and by source; and how much of each harmless source is flagged then.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a [Scored]);

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let harmless = self.scores(|scored| scored.family.is_none());
        let limits = [threshold(&harmless, 0.01), threshold(&harmless, 0.001)];
        let sources: BTreeSet<&str> = self.0.iter().map(|scored| scored.source.as_str()).collect();
        writeln!(out, "| attacks | texts | AUC | found at 1 % | at 0.1 % |")?;
        writeln!(out, "| --- | --- | --- | --- | --- |")?;
        line(out, "all", &self.scores(|scored| scored.family.is_some()), &harmless, limits)?;
        let foreign = self.scores(|scored| scored.family.is_some() && scored.is_foreign);
        line(out, "not in English", &foreign, &harmless, limits)?;
        for (family, name) in FAMILIES.iter().enumerate() {
            line(out, name, &self.scores(|scored| scored.family == Some(family)), &harmless, limits)?;
        }
        for source in &sources {
            let attacks = self.scores(|scored| scored.family.is_some() && scored.source == *source);
            line(out, source, &attacks, &harmless, limits)?;
        }
        writeln!(out, "\n| harmless | texts | flagged at 1 % | at 0.1 % |\n| --- | --- | --- | --- |")?;
        for source in sources {
            let texts = self.scores(|scored| scored.family.is_none() && scored.source == source);
            let [one, few] = limits.map(|limit| part_above(&texts, limit));
            if let (Some(one), Some(few)) = (one, few) {
                writeln!(
                    out,
                    "| {source} | {} | {:.1} % | {:.1} % |",
                    texts.len(),
                    one * 100.0,
                    few * 100.0
                )?;
            }
        }
        Ok(())
    }
}

impl Table<'_> {
    fn scores(&self, is_meant: impl Fn(&Scored) -> bool) -> Vec<f64> {
        self.0.iter().filter(|scored| is_meant(scored)).map(|scored| scored.score).collect()
    }
}

/// One line, unless there are no attacks.
fn line(
    out: &mut Formatter<'_>,
    name: &str,
    attacks: &[f64],
    harmless: &[f64],
    limits: [f64; 2],
) -> fmt::Result {
    if attacks.is_empty() {
        return Ok(());
    }
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let [one, few] = limits.map(|limit| show(part_above(attacks, limit)));
    writeln!(out, "| {name} | {} | {} | {one} | {few} |", attacks.len(), show(auc(attacks, harmless)))
}

/// Whether a tenth of the letters are beyond ASCII, or words of other languages are common in it: a guess, to tell of these apart.
#[must_use]
pub fn is_foreign(text: &str) -> bool {
    const WORDS: [&str; 24] = [
        "de", "la", "el", "que", "mis", "tus", "las", "los", "les", "des", "tes", "votre", "der", "die",
        "das", "und", "deine", "dei", "tue", "le", "suas", "seu", "os", "ein",
    ];
    let letters = text.chars().filter(|char| char.is_alphabetic());
    let (all, beyond) =
        letters.fold((0, 0), |(all, beyond), char| (all + 1, beyond + usize::from(!char.is_ascii())));
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let common = words.iter().filter(|word| WORDS.contains(&word.as_str())).count();
    beyond * 10 > all || common * 8 > words.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_and_source_has_a_line() {
        let scored = |family, source: &str, score| Scored {
            family,
            source: source.to_owned(),
            score,
            is_foreign: false,
        };
        let all = [scored(Some(1), "mails", 2.0), scored(None, "chats", 1.0), scored(None, "chats", 3.0)];
        let table = Table(&all).to_string();
        assert!(
            table.contains("| indirect | 1 | 0.500 |") && table.contains("| mails | 1 | 0.500 |"),
            "{table}"
        );
        assert!(table.contains("| chats | 2 | 0.0 % |"), "{table}");
    }
}
