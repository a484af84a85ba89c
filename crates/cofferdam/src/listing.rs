//! What commands that list records of one kind have in common.
//!
//! Enters: filters. Leaves: one line per record, oldest first; with `--follow` as they come. Guarantees: as
//! [`crate::flows`]. Does not: know what a record says.

use crate::flows::moment;
use crate::form::{Clock, FormArgs, Sheet};
use crate::remote::{Kept, Remote, RemoteArgs, Seen, Sought, is_end};
use crate::up::client::ask;
use crate::up::lookup::Filter;
use crate::up::protocol::{Answer, Request};
use ::ledger::{Entry, EntryFilter, Kind, Match, Stored, Verdict};
use anyhow::{Result, bail};
use clap::Args;
use observe::{Pattern, Time};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Width of a column of ids.
pub(crate) const ID_WIDTH: usize = 10;

/// Filters and form.
#[derive(Args, Debug)]
pub(crate) struct Listing {
    /// Go on with records as they come
    #[arg(long, short = 'f', visible_short_alias = 'F')]
    pub(crate) follow: bool,
    /// Who: part of a name or address, or a glob such as 'prod/*'
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Whom or what for: part of a name, or a glob
    #[arg(long, value_name = "NAME", visible_alias = "to")]
    name: Option<String>,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Not younger: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The same as -o jsonl
    #[arg(long)]
    json: bool,
    /// Each record's id as well, as `cofferdam explain` takes it
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

/// How records of a kind are shown.
pub(crate) struct Form<R, const COLUMNS: usize> {
    /// Heads of the columns.
    pub(crate) heads: [&'static str; COLUMNS],
    /// First widths of the columns.
    pub(crate) widths: [usize; COLUMNS],
    /// The record in an answer.
    pub(crate) record: fn(Answer) -> Option<Arc<R>>,
    /// What it says.
    pub(crate) cells: fn(&R, &Clock) -> [String; COLUMNS],
    /// Its id, and whether it was denied.
    pub(crate) mark: fn(&R) -> (String, bool),
    /// What is written of it, a line, in place of both a row and its JSON.
    pub(crate) line: Option<fn(&R) -> String>,
}

impl Listing {
    /// What to ask for.
    pub(crate) fn filter<V>(&self, verdict: Option<V>) -> Filter<V> {
        Filter {
            verdict,
            from: self.from.as_deref().map(|text| Pattern(text.into())),
            name: self.name.as_deref().map(|text| Pattern(text.to_ascii_lowercase().into())),
            since: self.since,
            until: self.until,
            limit: self.limit,
            tool: None,
        }
    }

    /// The API that is to be asked instead, if one is.
    ///
    /// # Errors
    /// Its URL cannot be used, or a file cannot be read.
    pub(crate) fn remote(&self) -> Result<Option<Remote>> {
        self.remote.remote()
    }

    /// Asks an API for entries of its ledger, with a tool of such a name where one is given, and shows them.
    pub(crate) fn show_kept<const COLUMNS: usize>(
        &self,
        remote: &Remote,
        (kind, verdict, tool): (Kind, Option<Verdict>, Option<Pattern>),
        kept: &Kept<COLUMNS>,
        out: &mut impl Write,
    ) -> Result<()> {
        let wanted: Filter<Verdict> = self.filter(verdict);
        let is_meant = |stored: &Stored| {
            let Entry { source, destination, detail, .. } = &stored.entry;
            let detail: Option<Value> = detail.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let detail = detail.as_ref();
            is_end(wanted.from.as_ref(), source, detail, "from")
                && wanted
                    .name
                    .as_ref()
                    .is_none_or(|name| name.matches_text(&destination.to_ascii_lowercase()))
                && tool.as_ref().is_none_or(|tool| tools(detail).any(|name| tool.matches_text(name)))
        };
        let sought = Sought {
            kind,
            verdict,
            since: self.since,
            until: self.until,
            more: EntryFilter { tool: tool.as_ref().map(|_| Match::wanted("*")), ..EntryFilter::default() },
            is_meant: &is_meant,
            limit: self.limit,
            follow: self.follow,
        };
        show_kept(remote, &sought, kept, (&self.form, self.json, self.ids), out)
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Asks and shows.
    pub(crate) fn show<R: Serialize, const COLUMNS: usize>(
        &self,
        request: &Request,
        form: &Form<R, COLUMNS>,
        out: &mut impl Write,
    ) -> Result<()> {
        let answers = ask(self.socket.as_deref(), request)?;
        let (mut heads, mut widths) = (form.heads.to_vec(), form.widths.to_vec());
        if self.ids {
            heads.insert(0, "RECORD");
            widths.insert(0, ID_WIDTH);
        }
        let is_json = self.json || form.line.is_some();
        let mut shown = 0_u64;
        let mut sheet = Sheet::new(out, &self.form, (is_json, self.follow), heads, widths)?;
        for answer in answers {
            match answer? {
                Answer::Missed(count) => sheet.missed(count, "records")?,
                Answer::End { .. } => break,
                answer => {
                    let Some(record) = (form.record)(answer) else {
                        bail!("the answer is about something else")
                    };
                    let (id, is_denied) = (form.mark)(&record);
                    let ids = self.ids.then_some(id);
                    let cells = |clock: &Clock| ids.into_iter().chain((form.cells)(&record, clock)).collect();
                    let json = || match form.line {
                        Some(line) => Ok(line(&record)),
                        None => Ok(serde_json::to_string(&*record)?),
                    };
                    sheet.row(is_denied, cells, json)?;
                    shown += 1;
                }
            }
        }
        sheet.end()?;
        // Lines for people are no table, which says it by itself.
        if shown == 0 && form.line.is_some() {
            writeln!(std::io::stderr(), "there are none that match")?;
        }
        Ok(())
    }
}

/// The tools that a request offers or calls, as its whole record says.
pub(crate) fn tools(detail: Option<&Value>) -> impl Iterator<Item = &str> {
    let tools = detail.and_then(|detail| detail.pointer("/operation/tools")?.as_array());
    tools.into_iter().flatten().filter_map(Value::as_str)
}

/// Asks an API for entries of its ledger and shows them: in such a form, as JSON or not, with their ids or without.
pub(crate) fn show_kept<const COLUMNS: usize>(
    remote: &Remote,
    sought: &Sought<'_>,
    kept: &Kept<COLUMNS>,
    (form, is_json, has_ids): (&FormArgs, bool, bool),
    out: &mut impl Write,
) -> Result<()> {
    let (mut heads, mut widths) = (kept.heads.to_vec(), kept.widths.to_vec());
    if has_ids {
        heads.insert(0, "RECORD");
        widths.insert(0, ID_WIDTH);
    }
    let mut sheet = Sheet::new(out, form, (is_json, sought.follow), heads, widths)?;
    remote.list(sought, |seen| match seen {
        Seen::Missed(count) => sheet.missed(count, "records"),
        Seen::Entry(stored) => {
            let ids = has_ids.then(|| format!("ledger:{}", stored.id));
            let cells = |clock: &Clock| ids.into_iter().chain((kept.cells)(&stored, clock)).collect();
            sheet.row(stored.entry.verdict == Verdict::Deny, cells, || Ok((kept.json)(&stored)))
        }
    })?;
    sheet.end()
}

/// A verdict, as the ledger has it.
pub(crate) fn kept_verdict(verdict: policy::Verdict) -> Verdict {
    match verdict {
        policy::Verdict::Allow => Verdict::Allow,
        policy::Verdict::Deny => Verdict::Deny,
    }
}

/// An entry as `cofferdam ledger show` tells it to programs.
pub(crate) fn entry_json(stored: &Stored) -> String {
    export::line(stored).to_string()
}
