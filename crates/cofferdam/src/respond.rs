//! What a running `up` or agent does about incidents: cuts workloads off and lets them go, and writes down what people do.
//!
//! Enters: orders, and who gives them. Leaves: JSON. Guarantees: whatever changes something is an entry of kind `audit` in the
//! ledger, with who asked; cutting off twice is one containment, and the later end counts. Does not: decide who may.

pub(crate) mod cluster;

use crate::up::engine::Engine;
use crate::up::journal::Journal;
use crate::up::protocol::Mode;
use crate::up::reach::{reachable, word};
use ::ledger::{EdgeFilter, Reader};
use anyhow::{Result, bail, ensure};
use incident::quarantine::{Labels, PodLabels, labels_of};
use incident::{Quarantine, Reach, Reachable, What, record};
use observe::{Kind, Query, Record, Time};
use policy::{PolicySet, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Shortest and longest time for which a workload is cut off.
const LASTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(90 * 24 * 3600)];
/// What was used so lately is cut: one hour.
const LATELY: Duration = Duration::from_secs(3600);
/// Connections that are listed as cut.
const MOST_CUTS: usize = 1000;
/// Longest text that somebody may write, in bytes.
const MAX_TEXT: usize = 4096;

/// What is to be done. JSON: `{"contain":{…}}` and so on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Order {
    /// Cut a workload off.
    Contain(Containment),
    /// Let it go.
    Release {
        /// Which.
        workload: String,
        /// For which incident.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Write something down.
    Annotate(Annotation),
    /// Seal what the ledger has so far, as far as it can be.
    Seal,
    /// Say where policy lets a workload go.
    Reach {
        /// Which.
        workload: String,
    },
}

/// Whom to cut off, and for how long.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Containment {
    /// `namespace/Kind/name`, or `namespace/name` of a pod.
    pub(crate) workload: String,
    /// For which incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident: Option<String>,
    /// For how long.
    pub(crate) seconds: u64,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// Cut off others with the same labels, too.
    pub(crate) wide: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// What to write down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Annotation {
    /// On an incident or a finding.
    pub(crate) on: String,
    /// What happened to it.
    pub(crate) what: Mark,
    /// In somebody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Of evidence that was taken out, the SHA-256 of its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<String>,
}

impl Annotation {
    /// What the entry says besides who, what and on what.
    ///
    /// # Errors
    /// A text is too long, or a note has none.
    pub(crate) fn detail(&self) -> Result<Map<String, Value>> {
        let Self { on, what, text, manifest } = self;
        check_text(text.as_deref())?;
        ensure!(on.len() <= MAX_TEXT, "an id has at most {MAX_TEXT} bytes");
        ensure!(
            *what != Mark::Note || text.as_ref().is_some_and(|text| !text.trim().is_empty()),
            "a note has a text"
        );
        let mut detail = Map::new();
        add(&mut detail, "text", text.as_deref());
        add(&mut detail, "manifest", manifest.as_deref());
        Ok(detail)
    }
}

/// What may be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// A note.
    Note,
    /// Somebody looks after it.
    Acknowledged,
    /// Nobody does any more.
    Unacknowledged,
    /// It is over.
    Closed,
    /// It is not.
    Reopened,
    /// Its evidence was taken out.
    Exported,
}

impl From<Mark> for What {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Note => Self::Note,
            Mark::Acknowledged => Self::Acknowledged,
            Mark::Unacknowledged => Self::Unacknowledged,
            Mark::Closed => Self::Closed,
            Mark::Reopened => Self::Reopened,
            Mark::Exported => Self::Exported,
        }
    }
}

/// What an entry of the ledger says of a containment.
pub(crate) struct Told<'a> {
    /// Who is cut off.
    pub(crate) workload: &'a str,
    until: Time,
    manifest: &'a str,
}

impl Told<'_> {
    /// What the entry says besides who, what and on whom.
    pub(crate) fn detail(&self, order: &Containment, problem: Option<&str>) -> Map<String, Value> {
        let mut detail = Map::new();
        detail.insert("until".to_owned(), json!(self.until));
        detail.insert("policy".to_owned(), self.manifest.into());
        add(&mut detail, "incident", order.incident.as_deref());
        add(&mut detail, "text", order.text.as_deref());
        add(&mut detail, "problem", problem);
        detail
    }
}

impl Containment {
    /// When it would end, if it began now.
    ///
    /// # Errors
    /// It is too short or too long, or its text is.
    pub(crate) fn until(&self, now: Time) -> Result<Time> {
        check_text(self.text.as_deref())?;
        let lasts = Duration::from_secs(self.seconds);
        let [shortest, longest] = LASTS;
        ensure!(
            (shortest..=longest).contains(&lasts),
            "a workload is cut off for at least a second and at most 90 days"
        );
        Ok(Time(now.0.saturating_add(micros(lasts))))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Acts for one running process.
pub(crate) struct Responder {
    engine: Arc<Mutex<Engine>>,
    journal: Arc<Journal>,
}

impl Responder {
    /// One for this engine, which writes into this journal's ledger.
    pub(crate) fn new(engine: Arc<Mutex<Engine>>, journal: Arc<Journal>) -> Self {
        Self { engine, journal }
    }

    /// After a panic in a load the last good tables are still the kernel's.
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is ordered by somebody.
    ///
    /// # Errors
    /// It cannot be done; the text says why and what can be done instead.
    pub(crate) fn run(&self, who: &str, order: &Order) -> Result<Value> {
        match order {
            Order::Contain(containment) => self.contain(who, containment),
            Order::Release { workload, incident, text } => {
                self.release(who, workload, incident.as_deref(), text.as_deref())
            }
            Order::Annotate(annotation) => self.annotate(who, annotation),
            Order::Seal => {
                self.journal.seal();
                Ok(json!({}))
            }
            Order::Reach { workload } => Ok(json!(self.could(workload))),
        }
    }

    /// Cuts a workload off from everything, in the name of `who`. Answers `{workload, policy, until, cuts, in_force, warnings}`.
    ///
    /// # Errors
    /// It cannot be selected, or is not cut off.
    pub(crate) fn contain(&self, who: &str, order: &Containment) -> Result<Value> {
        let now = Time::from(SystemTime::now());
        let until = order.until(now)?.0;
        let engine = self.engine();
        if engine.mode() == Mode::Node {
            drop(engine);
            return self.contain_in_cluster(who, order, Time(until), now);
        }
        let (mut quarantine, mut warnings) = quarantine(engine.policy_set(), who, order)?;
        let held = engine.held().into_iter().find(|held| held.workload == quarantine.workload);
        let longer = held.as_ref().filter(|held| held.until.0 > until);
        quarantine.until = longer.map_or(Time(until), |held| held.until);
        if let Some(held) = longer {
            warnings.push(format!(
                "{} cut it off before until {}, which is later and counts",
                held.by, held.until
            ));
        }
        let mode = engine.mode();
        // Whoever waits for a name waits for the engine: it is not held while a ledger is read.
        drop(engine);
        match mode {
            Mode::Machine | Mode::Lab | Mode::Node => {}
            Mode::JudgeOnly => warnings.push("nothing is enforced here: this process only judges".to_owned()),
        }
        let enforces = matches!(mode, Mode::Machine | Mode::Lab);
        let cuts = self.cuts(&quarantine.workload, now);
        let in_force = enforces && !order.dry_run;
        if in_force {
            let done = self.engine().contain(&quarantine);
            let problem = done.as_ref().err().map(|error| format!("{error:#}"));
            let manifest = quarantine.manifest();
            let told = Told { workload: &quarantine.workload, until: quarantine.until, manifest: &manifest };
            let is_told = self.tell_of(who, &told, order, problem.as_deref());
            done?;
            if !is_told {
                warnings.push(
                    "there is no ledger, so nothing tells later who did this: start with --ledger".to_owned(),
                );
            } else if !self.journal.settle() {
                warnings.push(
                    "the ledger does not tell it yet: `cofferdam status` says what is wrong with it"
                        .to_owned(),
                );
            }
        }
        Ok(json!({
            "workload": quarantine.workload,
            "policy": quarantine.manifest(),
            "until": quarantine.until,
            "cuts": cuts,
            "in_force": in_force,
            "warnings": warnings,
        }))
    }

    fn tell_of(&self, who: &str, told: &Told<'_>, order: &Containment, problem: Option<&str>) -> bool {
        self.journal.audit(who, What::Contained, told.workload, &told.detail(order, problem))
    }

    /// Lets a workload go, in the name of `who`. Answers `{workload, released}`: not, where it was not cut off.
    ///
    /// # Errors
    /// It is still cut off.
    pub(crate) fn release(
        &self,
        who: &str,
        workload: &str,
        incident: Option<&str>,
        text: Option<&str>,
    ) -> Result<Value> {
        check_text(text)?;
        let workload = canonical(workload);
        let cluster = self.engine().cluster().cloned();
        if let Some(cluster) = cluster {
            let released = self.release_in_cluster(who, &cluster, &workload, [incident, text])?;
            return Ok(json!({ "workload": workload, "released": released }));
        }
        let released = self.engine().release(&workload)?;
        if released {
            let mut detail = Map::new();
            add(&mut detail, "incident", incident);
            add(&mut detail, "text", text);
            self.journal.audit(who, What::Released, &workload, &detail);
            self.journal.settle();
        }
        Ok(json!({ "workload": workload, "released": released }))
    }

    /// Writes down what somebody says of an incident or a finding. Answers `{}`.
    ///
    /// # Errors
    /// There is no ledger to write it into, or it is too long.
    pub(crate) fn annotate(&self, who: &str, annotation: &Annotation) -> Result<Value> {
        let detail = annotation.detail()?;
        ensure!(
            self.journal.audit(who, What::from(annotation.what), &annotation.on, &detail),
            "there is no ledger to write it into: start with --ledger FILE"
        );
        // Who reads the ledger next finds it there.
        ensure!(
            self.journal.settle(),
            "it is not in the ledger yet, and will be when that can be written: `cofferdam status` says what is wrong with it"
        );
        Ok(json!({}))
    }

    /// Connections of a workload that are open or were used in the last hour, as edges.
    fn cuts(&self, workload: &str, now: Time) -> Vec<Value> {
        let since = now.before(LATELY);
        let mut cuts: BTreeMap<(String, String, u16, u8), Value> = BTreeMap::new();
        for edge in self.edges(workload, since) {
            let key = (edge.source.to_string(), edge.destination.to_string(), edge.port, edge.protocol);
            cuts.insert(key, record::edge(&edge));
        }
        let query = Query { verdict: Some(Verdict::Allow), ..Query::default() };
        let records = self.journal.flows.newest(&query).records;
        let closed: HashSet<u64> = records
            .iter()
            .filter(|record| record.kind == Kind::Close)
            .filter_map(|record| record.connection)
            .collect();
        for record in &records {
            let is_open =
                record.kind == Kind::Open && record.connection.is_some_and(|it| !closed.contains(&it));
            let ends = [record.from.workload(), record.to.workload()];
            if !(is_open || record.time >= since) || !ends.iter().any(|end| end == workload) {
                continue;
            }
            let [source, destination] = ends;
            let named = record.to.names.first().map(ToString::to_string);
            let destination = named.unwrap_or(destination);
            let key = (source, destination, record.port, record.protocol.0);
            cuts.entry(key)
                .or_insert_with_key(|(source, destination, ..)| of_record(record, source, destination));
        }
        cuts.into_values().take(MOST_CUTS).collect()
    }

    /// From the ledger, where there is one that can be read.
    fn edges(&self, workload: &str, since: Time) -> Vec<::ledger::Edge> {
        let Some(ledger) = self.journal.ledger() else { return Vec::new() };
        let Ok(reader) = Reader::open(&ledger.path) else { return Vec::new() };
        edges(&reader, workload, since)
    }
}

/// What was let through to or from a workload since a time.
fn edges(reader: &Reader, workload: &str, since: Time) -> Vec<::ledger::Edge> {
    let workload = || Some(workload.to_owned());
    let of = |source, destination| {
        let last_since = Some(since.0);
        let filter =
            EdgeFilter { source, destination, last_since, limit: Some(MOST_CUTS), ..EdgeFilter::default() };
        reader.edges(&filter).unwrap_or_default()
    };
    let mut edges = of(workload(), None);
    edges.extend(of(None, workload()));
    edges.retain(|edge| edge.allowed > 0);
    edges
}

/// The same of the last hour, as what a containment cuts: all that is known of it where only a ledger is.
pub(crate) fn cuts_in(reader: &Reader, workload: &str, now: Time) -> Vec<Value> {
    edges(reader, workload, now.before(LATELY)).iter().take(MOST_CUTS).map(record::edge).collect()
}

impl Reach for Responder {
    fn could(&self, workload: &str) -> Option<Reachable> {
        // Working it out takes a while on a large cluster, and nobody should wait for that.
        let set = self.engine().policy_set().cloned()?;
        reachable(&set, workload)
    }
}

fn of_record(record: &Record, source: &str, destination: &str) -> Value {
    json!({
        "source": source,
        "destination": destination,
        "port": record.port,
        "protocol": record.protocol.0,
        "first_seen": record.time,
        "last_seen": record.time,
        "allowed": 1,
        "denied": 0,
        "bytes_sent": record.traffic.map_or(0, |traffic| traffic.bytes_sent),
        "bytes_received": record.traffic.map_or(0, |traffic| traffic.bytes_received),
        "rule": record.rule().map(ToString::to_string).unwrap_or_default(),
    })
}

fn add(detail: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        detail.insert(key.to_owned(), text.into());
    }
}

fn check_text(text: Option<&str>) -> Result<()> {
    ensure!(text.is_none_or(|text| text.len() <= MAX_TEXT), "a text has at most {MAX_TEXT} bytes");
    Ok(())
}

/// A pod by itself is written without its kind.
pub(crate) fn canonical(workload: &str) -> String {
    match workload.split_once('/') {
        Some((namespace, rest)) => match rest.strip_prefix("Pod/") {
            Some(name) => format!("{namespace}/{name}"),
            None => workload.to_owned(),
        },
        None => workload.to_owned(),
    }
}

/// The quarantine of a workload, without its end; and what is to be said about it.
fn quarantine(set: Option<&PolicySet>, who: &str, order: &Containment) -> Result<(Quarantine, Vec<String>)> {
    let Some(set) = set else { bail!("no policy is in force yet, so nobody is known") };
    let workload = canonical(&order.workload);
    let namespace = workload.split_once('/').map(|(namespace, _)| namespace).unwrap_or_default();
    if let Some(cluster) = policy::cluster_of(namespace) {
        bail!(
            "{workload} runs in cluster {cluster}, and is cut off there: contain it with that cluster's `cofferdam incident`"
        );
    }
    let all = || set.world.pods.iter().filter(|pod| *pod.namespace == *namespace);
    let of_node = all().filter(|pod| pod.host_network && word(namespace, &pod.workload) == workload).count();
    let pods: Vec<PodLabels<'_>> = all()
        .filter(|pod| !pod.host_network)
        .map(|pod| PodLabels {
            pod: pod.to_string(),
            labels: pod.labels.iter().collect::<Labels<'_>>(),
            is_meant: word(namespace, &pod.workload) == workload,
        })
        .collect();
    ensure!(
        of_node == 0 || pods.iter().any(|pod| pod.is_meant),
        "the pods of {workload} use their node's network, where no policy holds for them: stop them instead"
    );
    let labels = labels_of(&workload, &pods, order.wide)?;
    let mut warnings = Vec::new();
    if of_node > 0 {
        warnings
            .push(format!("{of_node} of its pods use their node's network and are not cut off: stop them"));
    }
    let has_all = |pod: &&PodLabels<'_>| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    let others = pods.iter().filter(|pod| !pod.is_meant).filter(has_all).count();
    if others > 0 {
        warnings.push(format!("{others} pods of others have the same labels and are cut off, too"));
    }
    let quarantine = Quarantine {
        namespace: namespace.to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        until: Time(0),
        by: who.to_owned(),
        incident: order.incident.clone().unwrap_or_default(),
        workload,
    };
    Ok((quarantine, warnings))
}
