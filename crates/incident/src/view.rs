//! The incidents of a ledger.
//!
//! Enters: a ledger, the time. Leaves: incidents with their findings. Guarantees: the same entries give the same incidents with
//! the same ids, in the same states; nothing of it is kept anywhere else. Does not: write.

use crate::act::{Act, What};
use crate::finding::{Finding, MAX_LIST, Severity};
use crate::fold::{Group, fold};
use crate::score::{self, Part, Passed, score};
use ledger::{Column, EdgeFilter, EntryFilter, Kind, LedgerError, Match, Reader, Stored};
use observe::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Entries of findings that are read, the newest; those before are left out, which is said.
pub const MOST_FINDINGS: usize = 50_000;
/// Acts that are read, the newest.
pub const MOST_ACTS: usize = 50_000;
/// Bytes of their texts, and of those of records that are taken out at once.
const MOST_BYTES: usize = 256 << 20;
/// Pairs of a workload and a destination whose connections are counted for one score.
const PAIRS: usize = 16;
/// Notes of one incident, the newest.
const MOST_NOTES: usize = 200;

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing yet.
    Open,
    /// Somebody looks after it.
    Acknowledged,
    /// A workload of it is cut off.
    Contained,
    /// It is over; what comes later opens it again.
    Closed,
}

impl State {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Contained => "contained",
            Self::Closed => "closed",
        }
    }
}

/// What somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub time: Time,
    /// Who.
    pub who: String,
    /// What.
    pub text: String,
}

/// A workload that is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// Which.
    pub workload: String,
    /// Until when.
    pub until: Time,
}

/// Findings that belong together. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Of its first finding and when that began: 16 hexadecimal digits.
    pub id: String,
    /// What it is about, for a person.
    pub title: String,
    /// What is done about it.
    pub state: State,
    /// How much it matters.
    pub severity: Severity,
    /// The same from 0 to 100.
    pub score: u64,
    /// What the score is made of.
    pub parts: Vec<Part>,
    /// Who.
    pub workloads: Vec<String>,
    /// What they are about.
    pub destinations: Vec<String>,
    /// Which detectors, or enforcement points.
    pub detectors: Vec<String>,
    /// Ids of MITRE ATT&CK, MITRE ATLAS and the OWASP Top 10 for LLM applications.
    pub techniques: Vec<String>,
    /// When it began.
    pub first: Time,
    /// When something of it was seen last.
    pub last: Time,
    /// Ids of its findings, each once, in the order of their beginnings.
    pub findings: Vec<String>,
    /// What was written about it, the newest last.
    pub notes: Vec<Note>,
    /// Who is cut off.
    pub contained: Vec<Contained>,
}

/// An incident with its findings.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The incident.
    pub incident: Incident,
    /// In the order of their beginnings.
    pub findings: Vec<Finding>,
    /// Ids under which it is found: its own first.
    pub ids: Vec<String>,
    /// Until when its workloads are cut off.
    contained: BTreeMap<String, Time>,
}

/// All incidents.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The latest first.
    pub cases: Vec<Case>,
    /// Findings that somebody looks after, by id.
    pub acknowledged: BTreeSet<String>,
    /// Whether older findings or acts were left out.
    pub truncated: bool,
    /// Entries of findings that policies suppress; they are in no incident.
    pub suppressed: usize,
}

/// Why it is not clear which incident is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// None is known so, or none any more.
    #[error("there is no such incident")]
    Unknown,
    /// The ids of several begin so.
    #[error("several incidents begin with that: give more of the id")]
    Several,
}

/// Whose incidents; what is absent leaves all in. With a star at its end, a text means all that begin so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Of<'a> {
    /// One of its workloads.
    pub workload: Option<&'a str>,
    /// A node that told of one of its findings.
    pub node: Option<&'a str>,
    /// Part of its title, or of a workload, destination or detector of it, in either case.
    pub text: Option<&'a str>,
}

impl Of<'_> {
    /// Whether it is one of these.
    #[must_use]
    pub fn is(&self, case: &Case) -> bool {
        let Incident { title, workloads, destinations, detectors, .. } = &case.incident;
        let has = |wanted: &str| {
            let wanted = wanted.to_ascii_lowercase();
            let mut texts = [title].into_iter().chain(workloads).chain(destinations).chain(detectors);
            texts.any(|text| text.to_ascii_lowercase().contains(&wanted))
        };
        self.workload.is_none_or(|wanted| workloads.iter().any(|it| is_like(wanted, it)))
            && self.node.is_none_or(|wanted| case.findings.iter().any(|it| is_like(wanted, &it.node)))
            && self.text.is_none_or(has)
    }
}

/// Whether a text is the one that is wanted, or with a star at its end begins so.
#[must_use]
pub fn is_like(wanted: &str, text: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == text, |begin| text.starts_with(begin))
}

impl View {
    /// Reads the incidents of a ledger.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(reader: &Reader, now: Time) -> Result<Self, LedgerError> {
        let of_findings = EntryFilter { kind: Some(Kind::Finding), ..EntryFilter::default() };
        let (findings, more_findings) = newest(reader, &of_findings, MOST_FINDINGS)?;
        let (acts, more_acts) = acts(reader)?;
        let mut cases = Vec::new();
        // They stay in the ledger, and are no reason for anybody to get up.
        let (suppressed, findings): (Vec<Finding>, Vec<Finding>) =
            findings.iter().map(Finding::read).partition(|finding| finding.suppressed);
        for group in fold(findings) {
            cases.push(case(reader, group)?);
        }
        cases.sort_by(|a, b| (b.incident.last, &b.incident.id).cmp(&(a.incident.last, &a.incident.id)));
        let truncated = more_findings || more_acts;
        let mut view = Self { cases, acknowledged: BTreeSet::new(), truncated, suppressed: suppressed.len() };
        view.apply(&acts, now);
        Ok(view)
    }

    /// The incident that is, or was, known under this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.ids.iter().any(|known| known == id))
    }

    /// The incident that somebody means who gives its id, or the beginning of one.
    ///
    /// # Errors
    /// No incident is known so, or several are.
    pub fn meant(&self, id: &str) -> Result<&Case, Unclear> {
        if let Some(case) = self.find(id) {
            return Ok(case);
        }
        let mut begin = self.cases.iter().filter(|case| !id.is_empty() && case.incident.id.starts_with(id));
        match (begin.next(), begin.next()) {
            (Some(case), None) => Ok(case),
            (Some(_), Some(_)) => Err(Unclear::Several),
            (None, _) => Err(Unclear::Unknown),
        }
    }

    /// The latest incident of a workload.
    #[must_use]
    pub fn latest_of(&self, workload: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.incident.workloads.iter().any(|it| it == workload))
    }

    fn apply(&mut self, acts: &[Act], now: Time) {
        let mut ids: HashMap<String, usize> = HashMap::new();
        let mut latest: HashMap<String, usize> = HashMap::new();
        for (index, case) in self.cases.iter().enumerate() {
            ids.extend(case.ids.iter().map(|id| (id.clone(), index)));
            for workload in &case.incident.workloads {
                latest.entry(workload.clone()).or_insert(index);
            }
        }
        for act in acts {
            let named = act.text("incident").and_then(|id| ids.get(id)).or_else(|| ids.get(&act.on));
            let meant = named.or_else(|| latest.get(&act.on)).copied();
            let Some(case) = meant.and_then(|index| self.cases.get_mut(index)) else {
                self.of_finding(act);
                continue;
            };
            case.apply(act);
        }
        self.cases.iter_mut().for_each(|case| case.settle(now));
    }

    /// Findings are acknowledged by themselves, too.
    fn of_finding(&mut self, act: &Act) {
        match act.what {
            What::Acknowledged => drop(self.acknowledged.insert(act.on.clone())),
            What::Unacknowledged => drop(self.acknowledged.remove(&act.on)),
            What::PolicyApplied
            | What::PolicyRefused
            | What::Contained
            | What::Released
            | What::ContainmentExpired
            | What::Note
            | What::Closed
            | What::Reopened
            | What::Exported
            | What::LoggedIn
            | What::LoginRefused
            | What::RecordsRefused
            | What::Other => {}
        }
    }
}

impl Case {
    /// The number of the newest entry that told of it.
    fn newest_entry(&self) -> i64 {
        self.findings.iter().filter_map(|finding| finding.entries.last()).max().copied().unwrap_or(0)
    }

    fn apply(&mut self, act: &Act) {
        let told_later = self.newest_entry() > act.number;
        let incident = &mut self.incident;
        let is_about_it = act.on != incident.id && incident.workloads.contains(&act.on);
        match act.what {
            What::Acknowledged => incident.state = State::Acknowledged,
            What::Unacknowledged | What::Reopened => incident.state = State::Open,
            What::Closed if !told_later => incident.state = State::Closed,
            // What was told after it was closed opened it again.
            What::Closed => incident.state = State::Open,
            What::Contained if is_about_it => {
                let until = act.until().unwrap_or_default();
                let held = self.contained.entry(act.on.clone()).or_default();
                *held = until.max(*held);
            }
            What::Released | What::ContainmentExpired if is_about_it => {
                self.contained.remove(&act.on);
            }
            What::Contained
            | What::Released
            | What::ContainmentExpired
            | What::Note
            | What::PolicyApplied
            | What::PolicyRefused
            | What::Exported
            | What::LoggedIn
            | What::LoginRefused
            | What::RecordsRefused
            | What::Other => {}
        }
        if let Some(text) = act.text("text").filter(|text| !text.is_empty()) {
            if incident.notes.len() == MOST_NOTES {
                incident.notes.remove(0);
            }
            let (time, who) = (act.time, act.who.clone());
            incident.notes.push(Note { time, who, text: crate::finding::cut(text) });
        }
    }

    fn settle(&mut self, now: Time) {
        let held = self.contained.iter().filter(|(_, until)| **until > now);
        let incident = &mut self.incident;
        incident.contained =
            held.map(|(workload, until)| Contained { workload: workload.clone(), until: *until }).collect();
        if !incident.contained.is_empty() && incident.state != State::Closed {
            incident.state = State::Contained;
        }
    }
}

/// The newest entries, in the order in which they were written, at most so many and no more than have [`MOST_BYTES`]; and whether there
/// are older ones.
pub(crate) fn newest(
    reader: &Reader,
    filter: &EntryFilter,
    most: usize,
) -> Result<(Vec<Stored>, bool), LedgerError> {
    let (mut found, mut bytes): (Vec<Stored>, usize) = (Vec::new(), 0);
    loop {
        let before = found.last().map(|it| it.id).or(filter.before);
        // One more tells whether there are more.
        let limit = Some(most + 1 - found.len());
        let asked = EntryFilter { before, limit, ..filter.clone() };
        let (page, _) = reader.page(&asked, MOST_BYTES.saturating_sub(bytes))?;
        let is_last = page.is_empty();
        bytes += page.iter().map(|it| it.entry.bytes()).sum::<usize>();
        found.extend(page);
        if is_last || found.len() > most || bytes >= MOST_BYTES {
            break;
        }
    }
    let has_more = found.len() > most || bytes >= MOST_BYTES;
    found.truncate(most);
    found.reverse();
    Ok((found, has_more))
}

/// Acts that change what incidents are, in order. Those that came from the ledgers of other nodes are told in timelines, and
/// change nothing: a node that was taken over must not close what others found.
fn acts(reader: &Reader) -> Result<(Vec<Act>, bool), LedgerError> {
    let of_policy =
        [What::PolicyApplied, What::PolicyRefused, What::LoggedIn, What::LoginRefused, What::RecordsRefused];
    let reasons = What::ALL.into_iter().filter(|what| !of_policy.contains(what));
    let reasons = reasons.map(|what| what.as_str().to_owned()).collect();
    let filter = EntryFilter {
        kind: Some(Kind::Audit),
        texts: vec![(Column::Reason, Match::AnyOf(reasons)), (Column::Node, Match::Is(String::new()))],
        ..EntryFilter::default()
    };
    let (entries, has_more) = newest(reader, &filter, MOST_ACTS)?;
    Ok((entries.iter().map(Act::read).collect(), has_more))
}

fn case(reader: &Reader, Group { findings, ids }: Group) -> Result<Case, LedgerError> {
    let each = |of: fn(&Finding) -> &str| {
        let all: BTreeSet<&str> = findings.iter().map(of).filter(|it| !it.is_empty()).collect();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let (workloads, destinations) = (each(|it| &it.workload), each(|it| &it.subject));
    let detectors = each(|it| &it.detector);
    let techniques: BTreeSet<&String> = findings.iter().flat_map(|finding| &finding.techniques).collect();
    let techniques = techniques.into_iter().take(MAX_LIST * 4).cloned().collect();
    let (score, parts) = score(&findings, &destinations, passed(reader, &findings)?);
    let gravest = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Low);
    let mut told: Vec<String> = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for finding in &findings {
        if seen.insert(&finding.id) {
            told.push(finding.id.clone());
        }
    }
    let incident = Incident {
        id: ids.first().cloned().unwrap_or_default(),
        title: title(&findings, &workloads, &detectors),
        state: State::Open,
        severity: score::severity(score).max(gravest),
        score,
        parts,
        first: findings.iter().map(|finding| finding.time).min().unwrap_or_default(),
        last: findings.iter().map(|finding| finding.until).max().unwrap_or_default(),
        workloads,
        destinations,
        detectors,
        techniques,
        findings: told,
        notes: Vec::new(),
        contained: Vec::new(),
    };
    Ok(Case { incident, findings, ids, contained: BTreeMap::new() })
}

/// How often its workloads reached what its findings are about.
fn passed(reader: &Reader, findings: &[Finding]) -> Result<Passed, LedgerError> {
    let pairs: BTreeSet<(&str, &str)> = findings
        .iter()
        .filter(|finding| !finding.subject.is_empty())
        .map(|finding| (finding.workload.as_str(), finding.subject.as_str()))
        .collect();
    let mut passed = Passed::default();
    for (source, destination) in pairs.into_iter().take(PAIRS) {
        let (source, destination) = (Some(source.to_owned()), Some(destination.to_owned()));
        for edge in reader.edges(&EdgeFilter { source, destination, ..EdgeFilter::default() })? {
            passed.allowed = passed.allowed.saturating_add(edge.allowed);
            passed.denied = passed.denied.saturating_add(edge.denied);
        }
    }
    Ok(passed)
}

/// Who, the gravest finding, and how many more kinds there are.
fn title(findings: &[Finding], workloads: &[String], detectors: &[String]) -> String {
    let Some(gravest) =
        findings.iter().max_by_key(|finding| (finding.severity, std::cmp::Reverse(finding.time)))
    else {
        return String::new();
    };
    let who = match (gravest.workload.as_str(), workloads.len()) {
        ("", _) => "somebody unknown".to_owned(),
        (who, 0 | 1) => who.to_owned(),
        (who, more) => format!("{who} and {} more", more - 1),
    };
    let about = if gravest.subject.is_empty() { String::new() } else { format!(" ({})", gravest.subject) };
    let more = match detectors.len().saturating_sub(1) {
        0 => String::new(),
        1 => ", and one more kind of finding".to_owned(),
        more => format!(", and {more} more kinds of findings"),
    };
    format!("{who}: {}{about}{more}", gravest.detector.replace('-', " "))
}
