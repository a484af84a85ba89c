//! The table of how good the scores are.

use guard::FAMILIES;
use guard::quality::{auc, part_above, threshold};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// One text's score: what it is, and what the guard said of it.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    pub(crate) target: Option<usize>,
    pub(crate) source: String,
    pub(crate) score: f64,
    pub(crate) is_foreign: bool,
}

/// Prints AUC and the attacks found where 1 % and 0.1 % of the harmless texts are flagged, by family and by source; and for
/// each harmless source how much of it is flagged.
pub(crate) fn print(all: &[Scored], out: &mut impl Write) -> io::Result<()> {
    let harmless: Vec<f64> = scores(all, |scored| scored.target.is_none());
    let (percent, permille) = (threshold(&harmless, 0.01), threshold(&harmless, 0.001));
    let mut line = |name: &str, attacks: &[f64]| {
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} |",
            attacks.len(),
            show(auc(attacks, &harmless)),
            show(part_above(attacks, percent)),
            show(part_above(attacks, permille))
        )
    };
    line("all attacks", &scores(all, |scored| scored.target.is_some()))?;
    line("not in English", &scores(all, |scored| scored.target.is_some() && scored.is_foreign))?;
    for (family, name) in FAMILIES.iter().enumerate() {
        line(name, &scores(all, |scored| scored.target == Some(family)))?;
    }
    let sources: BTreeSet<&str> = all.iter().map(|scored| scored.source.as_str()).collect();
    for source in &sources {
        let attacks = scores(all, |scored| scored.target.is_some() && scored.source == *source);
        if !attacks.is_empty() {
            line(source, &attacks)?;
        }
    }
    writeln!(out, "\n| harmless texts of | texts | flagged at 1 % | at 0.1 % |\n| --- | --- | --- | --- |")?;
    for source in sources {
        let texts = scores(all, |scored| scored.target.is_none() && scored.source == source);
        if let (Some(one), Some(few)) = (part_above(&texts, percent), part_above(&texts, permille)) {
            writeln!(out, "| {source} | {} | {:.1} % | {:.1} % |", texts.len(), one * 100.0, few * 100.0)?;
        }
    }
    Ok(())
}

fn scores(all: &[Scored], is_meant: impl Fn(&Scored) -> bool) -> Vec<f64> {
    all.iter().filter(|scored| is_meant(scored)).map(|scored| scored.score).collect()
}
