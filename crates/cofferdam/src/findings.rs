//! `cofferdam findings`: what somebody should look at.
//!
//! Enters: filters. Leaves: findings, each once as it was last told, oldest first; with `--follow` each time it is told. Guarantees: as
//! [`crate::flows`]. Does not: act on them.

use crate::flows::moment;
use crate::form::{Clock, FormArgs, Sheet};
use crate::listing::ID_WIDTH;
use crate::remote::{RemoteArgs, Seen, Sought, whole};
use crate::up::client::ask;
use crate::up::finding::{Finding, FindingQuery};
use crate::up::protocol::{Answer, Request};
use ::ledger::{EntryFilter, Kind, Stored};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use detect::catalog;
use observe::{Kept as _, Pattern, Time};
use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// What somebody should look at: detections, limits, leaks.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam findings --since 1d
  cofferdam findings --severity high
  cofferdam findings --detector beacon --from 'ai/*'
  cofferdam findings --follow --json
  cofferdam findings --severity high --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector

`cofferdam detect --list` explains detectors, and what to do.")]
pub(crate) struct FindingsArgs {
    /// Go on with findings as they come
    #[arg(long, short = 'f', visible_short_alias = 'F')]
    follow: bool,
    /// Only what matters at least so much
    #[arg(long)]
    severity: Option<SeverityArg>,
    /// Only of this detector: dns-tunnel, beacon, leak-blocked, ...
    #[arg(long, value_name = "NAME", value_parser = detector)]
    detector: Option<String>,
    /// Who: part of the workload, or a glob such as 'prod/*'
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// What about: part of the domain, destination or service, or a glob
    #[arg(long, value_name = "NAME", visible_alias = "to")]
    name: Option<String>,
    /// Last seen not before: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Begun not after: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Those as well that a policy suppresses
    #[arg(long)]
    suppressed: bool,
    /// The same as -o jsonl
    #[arg(long)]
    json: bool,
    /// Each finding's id as well, as `cofferdam explain` takes it
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    form: FormArgs,
    /// Local socket of the running `up` or agent
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SeverityArg {
    Low,
    Medium,
    High,
}

fn detector(text: &str) -> Result<String, String> {
    match catalog::find(text) {
        Some(detector) => Ok(detector.name.to_owned()),
        None => Err("there is no such detector; see `cofferdam detect --list`".into()),
    }
}

impl FindingsArgs {
    fn query(&self) -> FindingQuery {
        FindingQuery {
            severity: self.severity.map(|severity| match severity {
                SeverityArg::Low => detect::Severity::Low,
                SeverityArg::Medium => detect::Severity::Medium,
                SeverityArg::High => detect::Severity::High,
            }),
            detector: self.detector.clone(),
            from: self.from.as_deref().map(|text| Pattern(text.into())),
            name: self.name.as_deref().map(|text| Pattern(text.to_ascii_lowercase().into())),
            since: self.since,
            until: self.until,
            // Of each finding the last is wanted: the limit is for those.
            limit: None,
            suppressed: self.suppressed,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &FindingsArgs, out: &mut impl Write) -> Result<()> {
    let request = Request::Findings { query: args.query(), after: None, follow: args.follow };
    let (mut heads, mut widths) = (HEADS.to_vec(), vec![12, 8, 18, 24, 24]);
    if args.ids {
        heads.insert(0, "RECORD");
        widths.insert(0, ID_WIDTH);
    }
    let mut sheet = Sheet::new(out, &args.form, (args.json, args.follow), heads, widths)?;
    let show = |sheet: &mut Sheet<'_, _>, finding: &Finding| {
        let ids = args.ids.then(|| finding.told.id.clone());
        let cells = |clock: &Clock| ids.into_iter().chain(cells(finding, clock)).collect();
        sheet.row(finding.told.severity == detect::Severity::High, cells, || {
            Ok(serde_json::to_string(finding)?)
        })
    };
    let mut newest = Newest::default();
    if let Some(remote) = args.remote.remote()? {
        let (query, unread) = (args.query(), Cell::new(0_u64));
        let is_meant = |stored: &Stored| match whole::<Finding>(stored) {
            Some(finding) => finding.matches(&query),
            None => {
                unread.set(unread.get() + 1);
                false
            }
        };
        // An entry has the time at which its finding was last seen, by which `until` does not go.
        let sought = Sought {
            kind: Kind::Finding,
            verdict: None,
            since: args.since,
            until: None,
            more: EntryFilter::default(),
            is_meant: &is_meant,
            limit: None,
            follow: args.follow,
        };
        remote.list(&sought, |seen| match seen {
            Seen::Missed(count) => sheet.missed(count, "findings"),
            Seen::Entry(stored) => {
                let Some(finding) = whole::<Finding>(&stored) else { return Ok(()) };
                if args.follow {
                    return show(&mut sheet, &finding);
                }
                newest.add(Arc::new(finding));
                Ok(())
            }
        })?;
        newest.last(args.limit).iter().try_for_each(|finding| show(&mut sheet, finding))?;
        if unread.get() > 0 {
            writeln!(std::io::stderr(), "... {} findings have a form that is not known here", unread.get())?;
        }
        return sheet.end();
    }
    for answer in ask(args.socket.as_deref(), &request)? {
        match answer? {
            Answer::Finding(finding) if args.follow => show(&mut sheet, &finding)?,
            Answer::Finding(finding) => newest.add(finding),
            Answer::Missed(count) => sheet.missed(count, "findings")?,
            Answer::End { .. } => break,
            Answer::Record(_)
            | Answer::Lookup(_)
            | Answer::Passage(_)
            | Answer::Call(_)
            | Answer::Content(_)
            | Answer::Settled { .. }
            | Answer::Status(_)
            | Answer::Lab { .. }
            | Answer::Probe(_)
            | Answer::Response(_)
            | Answer::Shadow(_)
            | Answer::Error(_) => bail!("the answer is about something else"),
        }
    }
    newest.last(args.limit).iter().try_for_each(|finding| show(&mut sheet, finding))?;
    sheet.end()
}

/// Findings as they were last told, in the order in which they were first told.
#[derive(Default)]
struct Newest {
    places: HashMap<String, usize>,
    findings: Vec<Arc<Finding>>,
}

impl Newest {
    fn add(&mut self, finding: Arc<Finding>) {
        let place = *self.places.entry(finding.told.id.clone()).or_insert(self.findings.len());
        match self.findings.get_mut(place) {
            Some(known) => *known = finding,
            None => self.findings.push(finding),
        }
    }

    fn last(&self, limit: Option<usize>) -> &[Arc<Finding>] {
        let from = self.findings.len().saturating_sub(limit.unwrap_or(usize::MAX));
        self.findings.get(from..).unwrap_or_default()
    }
}

const HEADS: [&str; 6] = ["LAST SEEN", "SEVERITY", "DETECTOR", "WHO", "WHAT ABOUT", "WHAT"];

pub(crate) fn cells(finding: &Finding, clock: &Clock) -> [String; 6] {
    let told = &finding.told;
    let mut what = told.sentence.clone();
    if let Some(rule) = &told.rule {
        what.push_str(&format!(" ({rule})"));
    }
    if let Some(suppressed) = &told.suppressed {
        what.push_str(&format!("; suppressed by {}: {}", suppressed.policy, suppressed.reason));
    }
    [
        clock.show(told.until),
        told.severity.as_str().to_owned(),
        told.detector.to_string(),
        told.workload.to_string(),
        told.subject.clone(),
        what,
    ]
}
