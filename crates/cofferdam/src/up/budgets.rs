//! How much pods sent under rules with an hour's or a day's limit.
//!
//! Enters: pods and rules, and what the kernel counted. Leaves: a number for each pod and rule, by which the gateway has the
//! kernel count; and which are used up. Guarantees: what was counted outlives this process and changes of policy, however
//! rules are numbered then; windows are the hours and days of UTC; while nobody looks, what is used up stays so.
//! Does not: end connections.

use super::account::{Account, free_number};
use super::names::Seconds;
use super::sight;
use anyhow::{Context, Result};
use datapath::{Budget, Budgets, Window};
use detect::event::{Limit, Reached};
use gateway::Window as Span;
use observe::{End, Time};
use policy::{PodName, RuleEntry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

const HOUR: Seconds = 3600;
const DAY: Seconds = 24 * HOUR;
/// Pods and rules that are counted for.
const MOST: usize = 1 << 16;

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    #[serde(flatten)]
    account: Account,
    number: u32,
    /// Of the rule's author, as last heard of; for records.
    text: Arc<str>,
    hour: Option<Count>,
    day: Option<Count>,
}

/// One window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    limit: u64,
    used: u64,
    /// When it began.
    since: Seconds,
}

impl Count {
    /// The window of now with this limit, with what an earlier count of the same window used.
    fn of(limit: u64, length: Seconds, now: Seconds, before: Option<Self>) -> Self {
        let since = now - now % length;
        let used = before.filter(|before| before.since >= since).map_or(0, |before| before.used);
        Self { limit, used, since }
    }

    fn is_over(self, length: Seconds, now: Seconds) -> bool {
        now >= self.since + length
    }

    fn is_spent(self) -> bool {
        self.used >= self.limit
    }

    fn window(self) -> Window {
        Window { limit: self.limit, used: self.used }
    }
}

/// A budget that was used up.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pod: PodName,
    rule: Arc<str>,
    span: Span,
    limit: u64,
}

impl Spent {
    /// Whose.
    pub(crate) fn pod(&self) -> (&str, &str) {
        (&self.pod.0, &self.pod.1)
    }

    /// As detectors hear of it. `from` is who the pod is.
    pub(crate) fn seen(&self, node: &Arc<str>, from: Option<End>) -> sight::Spent {
        let limit = match self.span {
            Span::Hour => Limit::UploadHour,
            Span::Day => Limit::UploadDay,
        };
        sight::Spent {
            time: Time::from(SystemTime::now()),
            node: Arc::clone(node),
            pod: self.pod.clone(),
            from,
            rule: Arc::clone(&self.rule),
            reached: Reached { limit, whom: None, bytes: self.limit },
        }
    }
}

/// The budgets of a node.
pub(crate) struct Ledger {
    kernel: Budgets,
    standings: BTreeMap<Account, Standing>,
    spent: HashMap<u32, Span>,
    file: Option<PathBuf>,
    problem: Option<String>,
}

impl Ledger {
    /// Of the calling thread's network namespace, with what is remembered in the file.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self> {
        let mut kernel = Budgets::open().context("opening what counts uploads")?;
        let remembered: Vec<Standing> = match file.as_deref().map(fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is not what was written there; remove it to begin limits of upload anew",
                    shown(file.as_deref())
                )
            })?,
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("reading {}", shown(file.as_deref())));
            }
            Some(Err(_)) | None => Vec::new(),
        };
        let counted = kernel.read().context("asking the kernel what was uploaded")?;
        let mut standings = BTreeMap::new();
        for mut standing in remembered {
            note(&mut standing, &counted);
            standings.insert(standing.account.clone(), standing);
        }
        // What nobody remembers belongs to nobody.
        let is_known =
            |number: &u32| standings.values().any(|standing: &Standing| standing.number == *number);
        let strangers: Vec<u32> = counted.keys().copied().filter(|number| !is_known(number)).collect();
        let mut ledger = Self { kernel, standings, spent: HashMap::new(), file, problem: None };
        let all: Vec<Budget> = ledger.standings.values().map(budget).collect();
        ledger.kernel.change(&all, &strangers).context("having the kernel count uploads")?;
        ledger.turn(now())?;
        Ok(ledger)
    }

    /// The number by which the gateway has the kernel count for a pod and a rule; none where the rule has no such limit.
    pub(crate) fn number(&mut self, pod: &PodName, entry: &RuleEntry) -> Result<Option<u32>> {
        let limits = entry.upload.unwrap_or_default();
        if limits.hour.is_none() && limits.day.is_none() {
            return Ok(None);
        }
        let account = Account::of(pod, entry);
        let (now, before) = (now(), self.standings.get(&account).cloned());
        let number = match &before {
            Some(before) => before.number,
            None => self.free_number()?,
        };
        let count = |limit: Option<u64>, length, before: Option<Count>| {
            limit.map(|limit| Count::of(limit, length, now, before))
        };
        let standing = Standing {
            account: account.clone(),
            number,
            text: entry.to_string().into(),
            hour: count(limits.hour, HOUR, before.as_ref().and_then(|it| it.hour)),
            day: count(limits.day, DAY, before.as_ref().and_then(|it| it.day)),
        };
        if before.as_ref() != Some(&standing) {
            let limits = |it: &Standing| [it.hour, it.day].map(|count| count.map(|it| (it.limit, it.since)));
            let is_counted = before.as_ref().is_some_and(|before| limits(before) == limits(&standing));
            if !is_counted {
                self.kernel.change(&[budget(&standing)], &[]).context("having the kernel count uploads")?;
            }
            self.standings.insert(account, standing);
            self.keep()?;
            self.spent = spent(self.standings.values());
        }
        Ok(Some(number))
    }

    fn free_number(&self) -> Result<u32> {
        anyhow::ensure!(
            self.standings.len() < MOST,
            "uploads of {MOST} pods and rules are counted: no room for more"
        );
        free_number(Budget::FIRST, self.standings.values().map(|it| it.number)).context("no number is free")
    }

    /// What is used up, and until when.
    pub(crate) fn spent(&self) -> &HashMap<u32, Span> {
        &self.spent
    }

    /// Why what was counted is not kept.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Asks the kernel, and begins new windows. What was used up since then.
    pub(crate) fn look(&mut self) -> Vec<Spent> {
        if self.standings.is_empty() {
            return Vec::new();
        }
        let counted = match self.kernel.read().context("asking the kernel what was uploaded") {
            Ok(counted) => counted,
            Err(error) => {
                self.problem = Some(format!("{error:#}"));
                return Vec::new();
            }
        };
        // Somebody may have removed them.
        let lost: Vec<Budget> =
            self.standings.values().filter(|it| !counted.contains_key(&it.number)).map(budget).collect();
        let put_back = self.kernel.change(&lost, &[]).context("having the kernel count uploads again");
        let mut is_new = false;
        for standing in self.standings.values_mut() {
            is_new |= note(standing, &counted);
        }
        let before = std::mem::take(&mut self.spent);
        let turned = self.turn(now());
        is_new |= *turned.as_ref().unwrap_or(&false);
        let kept = if is_new { self.keep() } else { Ok(()) };
        // What was used up is told all the same.
        self.problem = put_back.and(turned.map(drop)).and(kept).err().map(|error| format!("{error:#}"));
        let newly = |standing: &&Standing| {
            let span = self.spent.get(&standing.number);
            span.is_some() && before.get(&standing.number) != span
        };
        let spent = self.standings.values().filter(newly).filter_map(|standing| {
            let span = *self.spent.get(&standing.number)?;
            let count = match span {
                Span::Hour => standing.hour,
                Span::Day => standing.day,
            };
            let (pod, rule) = (standing.account.pod.clone(), Arc::clone(&standing.text));
            Some(Spent { pod, rule, span, limit: count?.limit })
        });
        spent.collect()
    }

    /// Begins the windows whose time has come. Whether there were any. Those that the kernel could not be told of go on as
    /// they were.
    fn turn(&mut self, now: Seconds) -> Result<bool> {
        let turned = |standing: &Standing| {
            let turn = |count: Option<Count>, length| {
                count.map(|count| match count.is_over(length, now) {
                    true => Count::of(count.limit, length, now, None),
                    false => count,
                })
            };
            let (hour, day) = (turn(standing.hour, HOUR), turn(standing.day, DAY));
            ((hour, day) != (standing.hour, standing.day)).then(|| Standing { hour, day, ..standing.clone() })
        };
        let new: Vec<Standing> = self.standings.values().filter_map(turned).collect();
        let budgets: Vec<Budget> = new.iter().map(budget).collect();
        let turned = match new.is_empty() {
            true => Ok(()),
            false => self.kernel.change(&budgets, &[]).context("beginning new windows of upload"),
        };
        let is_turned = turned.is_ok() && !new.is_empty();
        if is_turned {
            self.standings.extend(new.into_iter().map(|standing| (standing.account.clone(), standing)));
        }
        self.spent = spent(self.standings.values());
        turned.map(|()| is_turned)
    }

    /// Has the kernel count nothing any more.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.kernel.uninstall().context("counting no uploads")
    }

    /// Forgets pods that are gone, whose windows are over.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&PodName) -> bool) {
        let now = now();
        let is_over = |count: Option<Count>, length| count.is_none_or(|count| count.is_over(length, now));
        let is_gone = |standing: &Standing| {
            !is_there(&standing.account.pod) && is_over(standing.hour, HOUR) && is_over(standing.day, DAY)
        };
        let gone: Vec<u32> =
            self.standings.values().filter(|it| is_gone(it)).map(|standing| standing.number).collect();
        if !gone.is_empty() && self.kernel.change(&[], &gone).is_ok() {
            self.standings.retain(|_, standing| !gone.contains(&standing.number));
        }
    }

    fn keep(&self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let writing = || format!("writing {}", path.display());
        let new = path.with_extension("budgets-new");
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
        let all: Vec<&Standing> = self.standings.values().collect();
        file.with_context(writing)?.write_all(&serde_json::to_vec(&all)?).with_context(writing)?;
        fs::rename(&new, path).with_context(writing)
    }
}

/// Takes over what the kernel counted; whether that is more. A kernel that counts a window anew (after a restart of the
/// machine) takes nothing back.
fn note(standing: &mut Standing, counted: &BTreeMap<u32, Budget>) -> bool {
    let Some(counted) = counted.get(&standing.number) else { return false };
    let before = (standing.hour, standing.day);
    for (count, window) in [(&mut standing.hour, counted.hour), (&mut standing.day, counted.day)] {
        if let (Some(count), Some(window)) = (count, window) {
            count.used = count.used.max(window.used);
        }
    }
    before != (standing.hour, standing.day)
}

fn budget(standing: &Standing) -> Budget {
    Budget {
        number: standing.number,
        hour: standing.hour.map(Count::window),
        day: standing.day.map(Count::window),
    }
}

fn spent<'s>(standings: impl Iterator<Item = &'s Standing>) -> HashMap<u32, Span> {
    let span = |standing: &Standing| match (standing.hour, standing.day) {
        // The longer one says more.
        (_, Some(day)) if day.is_spent() => Some(Span::Day),
        (Some(hour), _) if hour.is_spent() => Some(Span::Hour),
        (_, _) => None,
    };
    standings.filter_map(|standing| Some((standing.number, span(standing)?))).collect()
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn now() -> Seconds {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_goes_on_within_its_time_whatever_its_limit_becomes() {
        let before = Count::of(100, HOUR, 7200, None);
        assert_eq!(before, Count { limit: 100, used: 0, since: 7200 });
        let before = Count { used: 70, ..before };
        assert_eq!(Count::of(50, HOUR, 10_799, Some(before)), Count { limit: 50, used: 70, since: 7200 });
        assert!(Count::of(50, HOUR, 10_799, Some(before)).is_spent());
        assert_eq!(Count::of(50, HOUR, 10_800, Some(before)), Count { limit: 50, used: 0, since: 10_800 });
        assert!(!before.is_over(HOUR, 10_799) && before.is_over(HOUR, 10_800));
    }
}
