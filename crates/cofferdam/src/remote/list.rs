//! Entries of one kind, of the ledger behind an API, as commands list records.
//!
//! Enters: filters. Leaves: entries, the oldest first; where it is asked for, those that come as well. Guarantees: none comes twice, and
//! what was not looked through is said. Does not: have what only the memory of a node has, such as each of the connections that a
//! ledger sums up.

use super::Remote;
use super::answer::Event;
use super::store::{Question, Told};
use crate::plain::printable;
use ::ledger::{EntryFilter, Kind, Store, Stored, Verdict};
use anyhow::{Context, Result, anyhow};
use observe::{End, Pattern, Time};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Write;

/// Entries that are listed where nobody says how many.
const MOST: usize = 10_000;
/// Entries that are looked through for those that are meant.
const LOOKED: usize = 200_000;
/// Bytes of whole records that are held until all are there: a node may have told long ones.
const HELD: usize = 256 << 20;
/// Entries that are asked for at once.
const PAGE: usize = 1000;

/// Which entries.
pub(crate) struct Sought<'a> {
    /// Of this kind.
    pub(crate) kind: Kind,
    /// Decided so.
    pub(crate) verdict: Option<Verdict>,
    /// Not older.
    pub(crate) since: Option<Time>,
    /// Not younger.
    pub(crate) until: Option<Time>,
    /// What else the API is to go by.
    pub(crate) more: EntryFilter,
    /// What it cannot go by.
    pub(crate) is_meant: &'a dyn Fn(&Stored) -> bool,
    /// At most so many, the newest ones.
    pub(crate) limit: Option<usize>,
    /// Those that come, too.
    pub(crate) follow: bool,
}

/// What comes of it.
pub(crate) enum Seen {
    /// An entry.
    Entry(Stored),
    /// So many were forgotten before they could be told.
    Missed(u64),
}

/// How entries are shown.
pub(crate) struct Kept<const COLUMNS: usize> {
    /// Heads of the columns.
    pub(crate) heads: [&'static str; COLUMNS],
    /// First widths of the columns.
    pub(crate) widths: [usize; COLUMNS],
    /// What an entry says.
    pub(crate) cells: fn(&Stored, &crate::form::Clock) -> [String; COLUMNS],
    /// The same for programs.
    pub(crate) json: fn(&Stored) -> String,
}

/// The whole record of an entry, where it is kept and one of these; its number is that of the entry.
pub(crate) fn whole<T: DeserializeOwned>(stored: &Stored) -> Option<T> {
    let mut record: Value = serde_json::from_str(stored.entry.detail.as_ref()?).ok()?;
    record.as_object_mut()?.insert("sequence".to_owned(), stored.id.into());
    serde_json::from_value(record).ok()
}

/// Whether an end is meant, by the name that the ledger has for it or by what the whole record, if it is kept, says of it as `field`.
pub(crate) fn is_end(pattern: Option<&Pattern>, name: &str, detail: Option<&Value>, field: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    let end = || serde_json::from_value::<End>(detail?.get(field)?.clone()).ok();
    pattern.matches_text(name) || end().is_some_and(|end| pattern.matches(&end))
}

impl Remote {
    /// Shows what is sought.
    ///
    /// # Errors
    /// The API does not answer or refuses it, or what `show` says.
    pub(crate) fn list(&self, sought: &Sought<'_>, mut show: impl FnMut(Seen) -> Result<()>) -> Result<()> {
        let filter = EntryFilter {
            kinds: vec![sought.kind],
            verdict: sought.verdict,
            since: sought.since.map(|time| time.0),
            until: sought.until.map(|time| time.0),
            ..sought.more.clone()
        };
        // What comes after this one is followed, and what came until it is listed.
        let newest = if sought.follow { Some(self.newest()?) } else { None };
        let mut found = self.newest_of(&filter, newest, sought)?;
        while let Some(stored) = found.pop() {
            show(Seen::Entry(stored))?;
        }
        let Some(newest) = newest else { return Ok(()) };
        let question = Question::entries(&filter).map_err(|why| self.failed("following records", why))?;
        self.follow(&question.path("/records/stream", &[("after", newest)]), |event| {
            match seen(event).with_context(|| format!("following {}", self.name()))? {
                Some(Seen::Entry(stored)) if !(sought.is_meant)(&stored) => Ok(()),
                Some(seen) => show(seen),
                None => Ok(()),
            }
        })
    }

    /// The number of the newest entry; 0 where there is none.
    fn newest(&self) -> Result<i64> {
        let one = EntryFilter { limit: Some(1), ..EntryFilter::default() };
        Ok(self.entries(&one)?.first().map_or(0, |stored| stored.id))
    }

    /// Those that are meant, the newest first, up to that one.
    fn newest_of(
        &self,
        filter: &EntryFilter,
        newest: Option<i64>,
        sought: &Sought<'_>,
    ) -> Result<Vec<Stored>> {
        let most = sought.limit.unwrap_or(MOST);
        let (mut found, mut looked, mut left) = (Vec::new(), 0, HELD);
        let mut before = newest.map(|number| number.saturating_add(1));
        while found.len() < most {
            if looked >= LOOKED {
                said(&format!(
                    "only the newest {looked} were looked through: say --since and --until for others"
                ));
                break;
            }
            let (page, next) =
                self.entry_page(&EntryFilter { before, limit: Some(PAGE), ..filter.clone() })?;
            looked += page.len();
            before = next;
            if !take(page, sought.is_meant, &mut found, &mut left) {
                let count = found.len();
                said(&format!(
                    "only the newest {count} are shown, for they are long: say --since and --until for others"
                ));
                break;
            }
            if before.is_none() {
                break;
            }
        }
        if found.len() > most || (found.len() == most && sought.limit.is_none()) {
            found.truncate(most);
            if sought.limit.is_none() {
                said(&cut(sought.kind, most));
            }
        }
        Ok(found)
    }
}

/// Takes those that are meant, and no more once their whole records have as many bytes as are left. Whether there is room for others.
fn take(
    page: Vec<Stored>,
    is_meant: &dyn Fn(&Stored) -> bool,
    found: &mut Vec<Stored>,
    left: &mut usize,
) -> bool {
    for stored in page.into_iter().filter(|stored| is_meant(stored)) {
        *left = left.saturating_sub(stored.entry.detail.as_ref().map_or(0, String::len));
        found.push(stored);
        if *left == 0 {
            return false;
        }
    }
    true
}

/// What is said where there may be more. A finding is in as many entries as it was told: its `--limit` is not theirs.
fn cut(kind: Kind, most: usize) -> String {
    match kind {
        Kind::Finding => {
            format!(
                "only the newest {most} entries of findings were looked through: say --since and --until for others"
            )
        }
        Kind::Flow | Kind::Dns | Kind::Tls | Kind::AiCall | Kind::Audit => {
            format!(
                "only the newest {most} are shown: say --limit for more, or --since and --until for others"
            )
        }
    }
}

/// Beside what is listed, so that programs that read it find only rows there.
fn said(text: &str) {
    // Who cannot be told of it has the rows.
    let _ = writeln!(std::io::stderr(), "... {text}");
}

fn seen(event: Event) -> Result<Option<Seen>> {
    match event.name.as_str() {
        "record" => {
            let told: Told = serde_json::from_value(event.data).map_err(|error| {
                // It repeats what the answer has.
                let error = printable(&error.to_string());
                anyhow!("the answer is not what this version of the program expects: {error}")
            })?;
            Ok(Some(Seen::Entry(told.into())))
        }
        "lost" => {
            let count = event.data.get("records").and_then(Value::as_u64);
            Ok(Some(Seen::Missed(
                count.ok_or_else(|| anyhow!("the answer does not say how many were lost"))?,
            )))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ledger::Entry;
    use serde_json::json;

    #[test]
    fn a_way_to_more_is_told_that_there_is() {
        assert!(cut(Kind::Dns, 7).contains("--limit"));
        assert!(!cut(Kind::Finding, 7).contains("--limit") && cut(Kind::Finding, 7).contains("--since"));
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let stored = |id| Stored {
            id,
            entry: Entry { detail: Some("x".repeat(100)), ..Entry::new(Kind::AiCall, Verdict::Allow) },
        };
        let (mut found, mut left) = (Vec::new(), 250);
        let is_meant = |stored: &Stored| stored.id != 3;
        assert!(take(vec![stored(5), stored(4)], &is_meant, &mut found, &mut left));
        assert!(!take(vec![stored(3), stored(2), stored(1)], &is_meant, &mut found, &mut left));
        assert_eq!(found.iter().map(|stored| stored.id).collect::<Vec<_>>(), [5, 4, 2]);
    }

    #[test]
    fn an_event_that_is_no_record_is_told_and_steers_no_terminal() {
        let data = json!({ "number": 1, "time": "2026-11-26T12:00:00Z", "kind": "\u{1b}[2J" });
        let error = seen(Event { name: "record".to_owned(), data }).err().unwrap().to_string();
        assert!(error.contains("[2J") && !error.contains('\u{1b}'), "{error:?}");
    }
}
