//! `cofferdam shadow`: how a candidate differs from what is enforced, on the traffic that there was.
//!
//! Enters: nothing; it asks the local socket, or an API over HTTP. Leaves: counts and each difference, would-be denials first, for
//! people or as JSON. Exit code 1 where nothing is judged by a candidate, or it would have denied something that was allowed.
//! Guarantees: text from records cannot steer the terminal. Does not: judge.

use crate::flows::Table;
use crate::plain::printable;
use crate::remote::{Remote, RemoteArgs};
use crate::up::client::ask;
use crate::up::protocol::{Answer, Request};
use crate::up::shadow::{Seen, ShadowStatus};
use anyhow::{Context, Result, bail};
use clap::Args;
use policy::Verdict;
use serde::Deserialize;
use std::io::Write;
use std::path::PathBuf;

/// What the candidate of `up --shadow` would have changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam up -f now/ --shadow next/
  cofferdam shadow
  cofferdam shadow --json | jq '.differences[] | select(.verdict == \"deny\")'
  cofferdam flows --shadow-differs
  cofferdam shadow --api http://127.0.0.1:8080 --token token    of an `up` elsewhere: at most 200 differences

Exits with 1 when something that was allowed would have been denied, and when nothing is judged by a candidate.
Counts begin anew when the candidate is written anew. Times are UTC.")]
pub(crate) struct ShadowArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Local socket of the running `up`
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What an API says of policies, as far as it is about a candidate.
#[derive(Deserialize)]
struct Policies {
    /// Of the policy in force. An answer without it is another one.
    #[serde(rename = "generation")]
    _generation: u64,
    /// In the form that the local socket has, too.
    shadow: Option<ShadowStatus>,
}

/// Runs the command; whether nothing that was allowed would have been denied.
pub(crate) fn run(args: &ShadowArgs, out: &mut impl Write) -> Result<bool> {
    let shadow = match args.remote.remote()? {
        Some(remote) => elsewhere(&remote)?,
        None => here(args)?,
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&shadow)?)?;
    } else {
        print(&shadow, out)?;
    }
    Ok(shadow.problem.is_none() && shadow.would_deny == 0)
}

fn here(args: &ShadowArgs) -> Result<ShadowStatus> {
    let answer = ask(args.socket.as_deref(), &Request::Shadow {})?.next().context("no answer")??;
    let Answer::Shadow(shadow) = answer else { bail!("the answer is not about a candidate") };
    let shadow = shadow.map(|shadow| *shadow);
    shadow.context("nothing is judged by a candidate; say which with `cofferdam up --shadow PATH`")
}

fn elsewhere(remote: &Remote) -> Result<ShadowStatus> {
    let Policies { shadow, .. } = remote.told("/policies")?;
    shadow.with_context(|| {
        format!(
            "nothing is judged by a candidate at {}: ask an `up` that has --shadow. A collector judges by none; a cluster of a \
             fleet writes what its candidate would do into the status of its ManagedCluster",
            remote.name()
        )
    })
}

fn print(shadow: &ShadowStatus, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{}", printable(&summary(shadow)))?;
    if !shadow.differences.is_empty() {
        let heads = ["WOULD", "COUNT", "FROM", "TO", "PORT", "FIRST", "LAST", "BY"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heads).chain(shadow.differences.iter().map(cells)).collect();
        // The first time only widens the columns.
        let mut table = Table::<8>::new([0; 7]).shown();
        for row in &rows {
            table.row(row.clone());
        }
        let text: String = rows.into_iter().map(|row| table.row(row)).collect();
        out.write_all(text.as_bytes())?;
    }
    if shadow.unlisted > 0 {
        writeln!(out, "... and {} accesses that differ and found no room in the list", shadow.unlisted)?;
    }
    Ok(())
}

/// How a candidate is judged by, in one line.
pub(crate) fn summary(shadow: &ShadowStatus) -> String {
    let sources = shadow.sources.join(" ");
    if let Some(problem) = &shadow.problem {
        return format!("{sources}: NOTHING IS JUDGED BY IT: {problem}");
    }
    let ShadowStatus { policies, judged, would_deny, would_allow, unknown, .. } = shadow;
    let unknown = match unknown {
        0 => String::new(),
        count => format!(", {count} cannot be told (names of pods whose DNS is not followed: see --dns-all)"),
    };
    format!(
        "{sources} ({policies} policies): {judged} accesses judged, {would_deny} would be denied, {would_allow} would be \
         allowed{unknown}"
    )
}

fn cells(seen: &Seen) -> [String; 8] {
    let Seen { difference, seen } = seen;
    let would = match difference.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let port = if difference.protocol.has_ports() {
        format!("{}/{}", difference.port, difference.protocol)
    } else {
        difference.protocol.to_string()
    };
    [
        would.to_owned(),
        seen.count.to_string(),
        difference.source.to_string(),
        difference.destination.to_string(),
        port,
        seen.first.clock(),
        seen.last.clock(),
        difference.rule.to_string(),
    ]
    .map(|cell| printable(&cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_is_not_judged_by_never_looks_like_one_that_differs_nowhere() {
        let status = ShadowStatus { sources: vec!["next".into()], ..ShadowStatus::default() };
        assert_eq!(
            summary(&status),
            "next (0 policies): 0 accesses judged, 0 would be denied, 0 would be allowed"
        );
        let broken = ShadowStatus { problem: Some("it cannot be read".into()), ..status };
        assert_eq!(summary(&broken), "next: NOTHING IS JUDGED BY IT: it cannot be read");
    }
}
