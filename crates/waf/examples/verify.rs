//! Runs files of cases against a rule set: `verify RULES CASES…`.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;

use waf::Profile;
use waf::cases::{self, Bench};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let aware = arguments.next_if(|first| first == "--field-aware").is_some();
    let rules = arguments.next().ok_or("name the folder of rules")?;
    let profile = if aware { Profile::FieldAware } else { Profile::Crs };
    let mut found = Vec::new();
    for folder in [Path::new(&rules).to_owned(), Path::new(&rules).join("rules")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path)?));
            }
        }
    }
    let bench = Bench::load(&found, profile)?;
    println!("{} rules", bench.blocking().rules());
    for file in arguments {
        let tally = bench.tally(&cases::read(&std::fs::read_to_string(&file)?)?);
        for (file, (passed, failed)) in tally.files.iter().filter(|(_, counts)| counts.1 > 0) {
            println!("{file}: {passed} passed, {failed} failed");
        }
        for (key, verdict) in &tally.failures {
            println!("{key}: missing {:?}, extra {:?}", verdict.missing, verdict.extra);
        }
        for (key, blocked) in &tally.disagreements {
            println!("{key}: blocked {blocked}");
        }
        println!("{} passed, {} failed", tally.passed, tally.failed);
        println!("blocked {}, agree {}, split {}", tally.blocked, tally.blocked_agree, tally.blocked_split);
    }
    Ok(())
}
