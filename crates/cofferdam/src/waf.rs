//! `cofferdam waf`: what a rule set says to requests, without a gateway.
//!
//! Enters: the folder of a Core Rule Set, and requests. Leaves: which rules match and why, and the verdict. Guarantees:
//! the engine is the one that gateways ask. Does not: send anything.

mod test;
mod verify;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Largest file of rules or data, bytes.
const LARGEST: u64 = 64 << 20;
/// How the names of its set-up begin.
const SETUP: &str = "crs-setup.conf";
/// Most files of a rule set.
const MOST: usize = 10_000;

/// Try requests against the OWASP Core Rule Set
#[derive(Subcommand, Debug)]
pub(crate) enum WafCommand {
    Verify(verify::VerifyArgs),
    Test(test::TestArgs),
}

/// Rules, and how they are applied.
#[derive(Args, Debug)]
struct Rules {
    /// Folder of a Core Rule Set: its set-up file and its folder `rules`, or that folder itself with the set-up one above
    #[arg(long, value_name = "DIR")]
    rules: PathBuf,
    /// What is judged how
    #[arg(long, value_enum, default_value_t = ProfileArg::Crs)]
    profile: ProfileArg,
}

/// How arguments are judged.
#[derive(ValueEnum, Debug, Clone, Copy)]
enum ProfileArg {
    /// Everything as the rules say
    Crs,
    /// Rules that look for injections leave prompts and other free text of known AI APIs alone
    FieldAware,
}

impl From<ProfileArg> for waf::Profile {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::Crs => Self::Crs,
            ProfileArg::FieldAware => Self::FieldAware,
        }
    }
}

/// Runs a verb. False: the answer is no.
pub(crate) fn run(command: &WafCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        WafCommand::Verify(args) => verify::run(args, out),
        WafCommand::Test(args) => test::run(args, out),
    }
}

impl Rules {
    fn load(&self) -> Result<waf::cases::Bench> {
        let found = read_rules(&self.rules)?;
        waf::cases::Bench::load(&found, self.profile.into())
            .context("the rules do not load; none of them is applied")
    }
}

/// Files of a Core Rule Set: of the folder, and of `rules` in it.
pub(crate) fn read_rules(rules: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    fs::metadata(rules).with_context(|| {
        format!(
            "reading rules of {}, which is to be the folder of a release of the OWASP Core Rule Set, or that of Debian's package \
             modsecurity-crs",
            rules.display()
        )
    })?;
    let mut found = Vec::new();
    for folder in [rules.to_path_buf(), rules.join("rules")] {
        if folder.is_dir() {
            read_folder(&folder, &mut found)?;
        }
    }
    if !found.iter().any(|(name, _)| name.contains(".conf")) {
        bail!("{} holds no rules: nothing there, or in `rules` below, ends in .conf", rules.display());
    }
    let has = |what: &str| found.iter().any(|(name, _)| file_name(name).starts_with(what));
    // Without its set-up the Core Rule Set denies every request.
    if has("REQUEST-901-") && !has(SETUP) {
        read_setup(rules, &mut found)?;
    }
    Ok(found)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The set-up of a rule set whose folder `rules` was named: it lies one folder above.
fn read_setup(rules: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let real = fs::canonicalize(rules).with_context(|| format!("cannot read {}", rules.display()))?;
    let mut above = Vec::new();
    if let Some(folder) = real.parent() {
        read_folder(folder, &mut above)?;
    }
    above.retain(|(name, _)| file_name(name).starts_with(SETUP));
    if above.is_empty() {
        bail!(
            "{} has the rules of a Core Rule Set and not its set-up, without which every request is denied: name the folder \
             that has both, or put crs-setup.conf beside the rules",
            rules.display()
        );
    }
    found.extend(above);
    Ok(())
}

fn read_folder(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let name = path.display().to_string();
        if !path.is_file() || ![".conf", ".conf.example", ".data"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let size = fs::metadata(&path).with_context(|| format!("cannot read {name}"))?.len();
        if size > LARGEST || found.len() >= MOST {
            bail!("{name}: more than {LARGEST} bytes, or more than {MOST} files of rules");
        }
        found.push((name.clone(), fs::read(&path).with_context(|| format!("cannot read {name}"))?));
    }
    Ok(())
}
