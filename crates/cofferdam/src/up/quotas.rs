//! How many requests and tokens pods used under rules with budgets of them or of money.
//!
//! Enters: pods and rules, and what the gateway counted. Leaves: a number for each pod and rule, by which the gateway counts,
//! and what was used when it begins. Guarantees: what was told is kept in a file over the ends of gateway and agent, however
//! rules are numbered then; of what the gateway counted, at most the last few seconds are lost with it. Does not: limit
//! anything; that is the gateway's.

use super::account::{Account, free_number};
use super::protocol::Used;
use anyhow::{Context, Result, ensure};
use gateway::QuotaUse;
use policy::{Pod, PodName, RuleEntry};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Pods and rules that are counted for.
const MOST: usize = 1 << 16;
/// How many are shown.
const MOST_SHOWN: usize = 100;
/// Seconds.
const DAY: u64 = 86_400;

/// One pod under one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    #[serde(flatten)]
    account: Account,
    number: u32,
    used: QuotaUse,
}

/// All of a node.
pub(crate) struct Quotas {
    standings: BTreeMap<Account, Standing>,
    /// Of pods the workloads, where budgets are shared by these: namespace, and kind and name. None: each pod has its own.
    workloads: Option<BTreeMap<PodName, PodName>>,
    file: Option<PathBuf>,
    problem: Option<String>,
}

impl Quotas {
    /// With what is remembered in the file.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self> {
        let mut standings = BTreeMap::new();
        if let Some(path) = &file {
            let shown = path.display();
            let remembered: Vec<Standing> = match fs::read(path) {
                Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                    format!(
                        "{shown} is not what was written there; remove it to begin budgets of requests anew"
                    )
                })?,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error).with_context(|| format!("reading {shown}")),
            };
            standings.extend(remembered.into_iter().map(|it| (it.account.clone(), it)));
        }
        Ok(Self { standings, workloads: None, file, problem: None })
    }

    /// The number by which the gateway counts for a pod and a rule; none where the rule has no budget of requests or tokens.
    pub(crate) fn number(&mut self, pod: &PodName, entry: &RuleEntry) -> Result<Option<u32>> {
        if entry.requests.as_ref().is_none_or(|requests| requests.quotas.is_open()) {
            return Ok(None);
        }
        let account = self.account(pod, entry);
        if let Some(known) = self.standings.get(&account) {
            return Ok(Some(known.number));
        }
        ensure!(
            self.standings.len() < MOST,
            "requests of {MOST} pods and rules are counted: no room for more"
        );
        let taken = self.standings.values().map(|it| it.number);
        let number = free_number(1, taken).context("no number is free")?;
        let standing = Standing { account: account.clone(), number, used: QuotaUse::default() };
        self.standings.insert(account, standing);
        self.keep();
        Ok(Some(number))
    }

    /// Shares budgets by workload, with these pods.
    pub(crate) fn share<'w>(&mut self, pods: impl Iterator<Item = &'w Pod>) {
        let workload = |pod: &Pod| {
            let name = format!("{}/{}", pod.workload.kind, pod.workload.name);
            ((Arc::clone(&pod.namespace), Arc::clone(&pod.name)), (Arc::clone(&pod.namespace), name.into()))
        };
        self.workloads = Some(pods.map(workload).collect());
    }

    /// By which name other nodes count for a pod's workload and a rule; nothing where they do not.
    pub(crate) fn shared_name(&self, pod: &PodName, entry: &RuleEntry) -> Option<Arc<str>> {
        self.workloads.as_ref()?;
        let Account { pod: (namespace, workload), rule } = self.account(pod, entry);
        Some(format!("{namespace}/{workload} {rule}").into())
    }

    fn account(&self, pod: &PodName, entry: &RuleEntry) -> Account {
        let workload = self.workloads.as_ref().and_then(|workloads| workloads.get(pod));
        Account::of(workload.unwrap_or(pod), entry)
    }

    /// What was used so far, by number.
    pub(crate) fn used(&self) -> HashMap<u32, QuotaUse> {
        self.standings.values().map(|it| (it.number, it.used)).collect()
    }

    /// Those that were drawn on today (UTC), what used most money and tokens first.
    pub(crate) fn used_today(&self) -> Vec<Used> {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY * DAY;
        let drawn = self.standings.values().filter(|it| it.used.day_start >= today && today > 0);
        let mut drawn: Vec<&Standing> = drawn.collect();
        drawn.sort_by_key(|it| Reverse((it.used.money_day, it.used.tokens_day, it.used.requests_day)));
        let used = |it: &Standing| {
            let (namespace, name) = &it.account.pod;
            Used { pod: format!("{namespace}/{name}"), rule: it.account.rule.clone(), used: it.used }
        };
        drawn.into_iter().take(MOST_SHOWN).map(used).collect()
    }

    /// Takes over what the gateway counted. Whether that is new.
    pub(crate) fn note(&mut self, counted: &[(u32, QuotaUse)]) -> bool {
        let counted: HashMap<u32, QuotaUse> = counted.iter().copied().collect();
        let mut is_new = false;
        for standing in self.standings.values_mut() {
            let Some(used) = counted.get(&standing.number).filter(|used| **used != standing.used) else {
                continue;
            };
            standing.used = *used;
            is_new = true;
        }
        if is_new {
            self.keep();
        }
        is_new
    }

    /// Why what was counted is not kept.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    /// Forgets pods that are gone. A pod of the same name is another one, and begins anew.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&PodName) -> bool) {
        let before = self.standings.len();
        let workloads: BTreeSet<&PodName> = self.workloads.iter().flat_map(BTreeMap::values).collect();
        self.standings.retain(|account, _| is_there(&account.pod) || workloads.contains(&account.pod));
        if self.standings.len() != before {
            self.keep();
        }
    }

    fn keep(&mut self) {
        self.problem = self.write().err().map(|error| format!("{error:#}"));
    }

    fn write(&self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let writing = || format!("writing {}", path.display());
        let new = path.with_extension("quotas-new");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let all: Vec<&Standing> = self.standings.values().collect();
        file.with_context(writing)?.write_all(&serde_json::to_vec(&all)?).with_context(writing)?;
        fs::rename(&new, path).with_context(writing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{ObjectRef, Quota, Reason, Requests};

    fn entry(index: u32, name: Option<&str>) -> RuleEntry {
        let mut requests = Requests::default();
        requests.quotas.requests = Quota { hour: Some(1), day: None };
        RuleEntry {
            reason: Reason::EgressPolicyAllow,
            object: Some(ObjectRef { kind: "EgressPolicy".into(), namespace: "x".into(), name: "p".into() }),
            direction: None,
            index: Some(index),
            name: name.map(Into::into),
            field: "".into(),
            source: None,
            upload: None,
            requests: Some(requests.into()),
        }
    }

    #[test]
    fn what_was_used_outlives_the_agent_and_renumbered_rules_and_goes_with_the_pod() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quotas");
        let pods: [PodName; 2] = [("x".into(), "a".into()), ("x".into(), "b".into())];
        let mut quotas = Quotas::open(Some(file.clone())).unwrap();
        let number = quotas.number(&pods[0], &entry(3, Some("chat"))).unwrap().unwrap();
        assert_ne!(quotas.number(&pods[1], &entry(3, Some("chat"))).unwrap(), Some(number));
        let used = QuotaUse { requests_hour: 7, ..QuotaUse::default() };
        assert!(quotas.note(&[(number, used)]) && !quotas.note(&[(number, used)]));
        let mut next = Quotas::open(Some(file.clone())).unwrap();
        assert_eq!(next.number(&pods[0], &entry(0, Some("chat"))).unwrap(), Some(number));
        assert_eq!(next.used()[&number], used);
        assert!(next.used_today().is_empty(), "that was long ago");
        next.retain(|pod| *pod == pods[1]);
        assert!(!Quotas::open(Some(file.clone())).unwrap().used().contains_key(&number));
        let pod = |name: &str| Pod {
            namespace: "x".into(),
            name: name.into(),
            labels: Default::default(),
            service_account: "".into(),
            node: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            host_network: false,
            workload: policy::WorkloadRef { kind: "Deployment".into(), name: "app".into() },
        };
        assert_eq!(next.shared_name(&pods[0], &entry(0, Some("chat"))), None);
        next.share([pod("a"), pod("b")].iter());
        let numbers = pods.each_ref().map(|pod| next.number(pod, &entry(0, Some("chat"))).unwrap());
        assert_eq!(numbers[0], numbers[1], "one workload has one account");
        let name = next.shared_name(&pods[1], &entry(0, Some("chat"))).unwrap();
        assert_eq!(&*name, "x/Deployment/app EgressPolicy x/p chat");
        next.retain(|_| false);
        assert!(next.used().contains_key(&numbers[0].unwrap()), "the workload is there");
        let without = RuleEntry { requests: None, ..entry(3, None) };
        assert_eq!(next.number(&pods[1], &without).unwrap(), None);
        fs::write(&file, "nonsense").unwrap();
        assert!(Quotas::open(Some(file)).is_err());
    }
}
