//! What commands that list records of one kind have in common.
//!
//! Enters: filters. Leaves: one line per record, oldest first; with `--follow` as they come. Guarantees: as
//! [`crate::flows`]. Does not: know what a record says.

use crate::flows::moment;
use crate::form::{Clock, FormArgs, Sheet};
use crate::up::client::ask;
use crate::up::lookup::Filter;
use crate::up::protocol::{Answer, Request};
use anyhow::{Result, bail};
use clap::Args;
use observe::{Pattern, Time};
use serde::Serialize;
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
                }
            }
        }
        sheet.end()
    }
}
