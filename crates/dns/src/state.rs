//! What the proxy is told to do: the whole of it, swapped at once.
//!
//! Enters: a [`State`], as the agent sends it. Leaves: [`Rules`], the same for look-ups.
//! Guarantees: a pod that the state does not name gets no answer; patterns mean what `policy::DomainPattern` says.
//! Does not: ask where rules came from.

use crate::map::Map;
use crate::reply::LONGEST;
use crate::wire::Name;
use ipnet::IpNet;
use policy::{DnsName, DomainPattern, Generation};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything the proxy goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Counts states of policy.
    pub generation: Generation,
    /// The node's pods that are steered here. Any other source is refused.
    pub pods: Vec<Pod>,
    /// Resolvers whose answers are believed, in groups of those that know the same names and stand in for each other. What one
    /// group knows another need not: a cluster's own names, or those of a network. A group keeps its place in every state.
    pub trusted: Vec<Vec<IpAddr>>,
    /// Names that may lead to private addresses, each with all names below it; of a cluster, its domain.
    #[serde(with = "names")]
    pub private_zones: Vec<DnsName>,
    /// Settings.
    #[serde(default)]
    pub settings: Settings,
}

/// What holds for one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Who it is, for example its UID: what an earlier pod with its address had bound is not its own.
    pub identity: Arc<str>,
    /// Its addresses, of both families. Bindings carry the first.
    pub addresses: Vec<IpAddr>,
    /// Names that its policies speak of: only these are bound.
    #[serde(with = "patterns")]
    pub patterns: Vec<DomainPattern>,
    /// What it may ask for.
    pub questions: Questions,
    /// Whom it may ask.
    pub resolvers: Resolvers,
}

/// Which names may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Questions {
    /// Any.
    Any,
    /// Those that each of these lists.
    Only(Vec<Names>),
}

/// A list of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// What is allowed, and by which rule.
    pub allowed: Vec<AllowedName>,
    /// The rule that refuses all others, for pods and people to read.
    pub otherwise: Arc<str>,
}

/// Names that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedName {
    /// Which names.
    #[serde(with = "pattern")]
    pub pattern: DomainPattern,
    /// The rule, for people to read.
    pub rule: Arc<str>,
}

/// Which resolvers may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolvers {
    /// Any; whether the pod reaches it at all is for the kernel to say.
    Any,
    /// Those that each of these lists.
    Only(Vec<Addresses>),
}

/// A list of resolvers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Their addresses.
    pub allowed: Vec<IpNet>,
    /// The rule that refuses all others.
    pub otherwise: Arc<str>,
}

/// What can be set. A field that is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Port of resolvers. Default: 53.
    pub upstream_port: u16,
    /// Take ECH out of HTTPS and SVCB records, so that server names can be seen. Default: yes.
    pub strip_ech: bool,
    /// Shortest life of a binding, in seconds: clients connect a while after they asked. Default: 30.
    pub binding_floor: u32,
    /// Longest life of a binding, in seconds. Default: 86400, a day.
    pub binding_cap: u32,
    /// Queries a second that one pod may ask for long. Default: 1000.
    pub pod_rate: u32,
    /// Queries that one pod may ask at once. Default: 2000.
    pub pod_burst: u32,
    /// Queries of one pod that wait for an answer. Default: 256.
    pub pod_waiting: usize,
    /// Queries of all pods that wait. Default: 8192.
    pub waiting: usize,
    /// Connections of one pod. Default: 16.
    pub pod_connections: usize,
    /// Connections of all pods. Default: 512.
    pub connections: usize,
    /// Milliseconds without an answer until the next resolver is asked. Default: 700.
    pub retry_ms: u64,
    /// Milliseconds until a query fails; resolver libraries wait for 5000. Default: 4000.
    pub deadline_ms: u64,
    /// Milliseconds that a binding may take. Default: 2000.
    pub learn_ms: u64,
    /// Milliseconds until a pod gets an old answer instead of waiting longer (RFC 8767, section 5). Default: 1800.
    pub stale_after_ms: u64,
    /// Seconds for which an answer that ran out may still be given when resolvers are silent; 0: never. Default: a day.
    pub stale_for: u32,
    /// Answers that are kept. Default: 20000.
    pub cached_answers: usize,
    /// Bytes of answers that are kept. Default: 32 MiB.
    pub cached_bytes: usize,
    /// Bindings that are known to be in force without asking again. Default: 200000.
    pub known_bindings: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upstream_port: 53,
            strip_ech: true,
            binding_floor: 30,
            binding_cap: LONGEST,
            pod_rate: 1000,
            pod_burst: 2000,
            pod_waiting: 256,
            waiting: 8192,
            pod_connections: 16,
            connections: 512,
            retry_ms: 700,
            deadline_ms: 4000,
            learn_ms: 2000,
            stale_after_ms: 1800,
            stale_for: 86_400,
            cached_answers: 20_000,
            cached_bytes: 32 << 20,
            known_bindings: 200_000,
        }
    }
}

impl Settings {
    pub(crate) fn retry(&self) -> Duration {
        Duration::from_millis(self.retry_ms)
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    pub(crate) fn learn(&self) -> Duration {
        Duration::from_millis(self.learn_ms)
    }

    pub(crate) fn stale_after(&self) -> Duration {
        Duration::from_millis(self.stale_after_ms)
    }

    /// How long a binding lives that an answer of `ttl` seconds makes.
    pub(crate) fn binding(&self, ttl: u32) -> u32 {
        ttl.max(self.binding_floor).min(self.binding_cap)
    }
}

/// A [`State`] made for look-ups.
#[derive(Debug)]
pub struct Rules {
    /// State of policy.
    pub generation: Generation,
    /// Settings.
    pub settings: Settings,
    pods: Map<IpAddr, Arc<PodRules>>,
    trusted: Vec<Vec<IpAddr>>,
    private: NameMap<()>,
    epochs: u64,
}

impl Rules {
    /// The rules of a state that follows another.
    pub fn new(state: State, previous: Option<&Self>) -> Self {
        let mut pods = Map::default();
        let mut epochs = previous.map_or(0, |previous| previous.epochs);
        for pod in state.pods {
            let Some(first) = pod.addresses.first().copied() else { continue };
            let before = previous.and_then(|previous| previous.pod(first)).filter(|it| it.binds_like(&pod));
            let epoch = before.map_or_else(
                || {
                    epochs += 1;
                    epochs
                },
                |before| before.epoch,
            );
            let rules = Arc::new(PodRules::new(first, epoch, pod));
            pods.extend(rules.pod.addresses.iter().map(|address| (*address, Arc::clone(&rules))));
        }
        let private = NameMap::of_zones(&state.private_zones);
        Self {
            generation: state.generation,
            settings: state.settings,
            pods,
            trusted: state.trusted,
            private,
            epochs,
        }
    }

    /// The pod with this address.
    pub fn pod(&self, address: IpAddr) -> Option<&Arc<PodRules>> {
        self.pods.get(&address)
    }

    /// Resolvers whose answers are believed, those of the first group first.
    pub fn trusted(&self) -> impl Iterator<Item = IpAddr> {
        self.trusted.iter().flatten().copied()
    }

    /// Resolvers of a group.
    pub(crate) fn group(&self, group: usize) -> &[IpAddr] {
        self.trusted.get(group).map_or(&[], Vec::as_slice)
    }

    /// The first group that a resolver is in; `None` for one that is not believed.
    pub(crate) fn group_of(&self, resolver: IpAddr) -> Option<usize> {
        self.trusted.iter().position(|group| group.contains(&resolver))
    }

    /// Whether a name may lead to private addresses.
    pub fn is_private(&self, name: &Name) -> bool {
        self.private.find(name).is_some()
    }
}

/// What holds for one pod, made for look-ups.
#[derive(Debug)]
pub struct PodRules {
    /// Its first address, which bindings carry.
    pub address: IpAddr,
    /// Another one whenever what was bound for the pod may be bound no longer.
    pub(crate) epoch: u64,
    pub(crate) questions: PodQuestions,
    patterns: NameMap<()>,
    pod: Pod,
}

#[derive(Debug)]
pub(crate) enum PodQuestions {
    Any,
    Only(Vec<(NameMap<Arc<str>>, Arc<str>)>),
}

fn look_up(names: &Names) -> (NameMap<Arc<str>>, Arc<str>) {
    let mut map = NameMap::default();
    for it in &names.allowed {
        map.insert(&it.pattern, Arc::clone(&it.rule));
    }
    (map, Arc::clone(&names.otherwise))
}

impl PodRules {
    fn new(address: IpAddr, epoch: u64, pod: Pod) -> Self {
        let mut patterns = NameMap::default();
        for pattern in &pod.patterns {
            patterns.insert(pattern, ());
        }
        let questions = match &pod.questions {
            Questions::Any => PodQuestions::Any,
            Questions::Only(lists) => PodQuestions::Only(lists.iter().map(look_up).collect()),
        };
        Self { address, epoch, questions, patterns, pod }
    }

    /// Whether bindings made for this pod hold for that one.
    fn binds_like(&self, pod: &Pod) -> bool {
        let this = &self.pod;
        (&this.identity, &this.addresses, &this.patterns) == (&pod.identity, &pod.addresses, &pod.patterns)
    }

    pub(crate) fn resolvers(&self) -> &Resolvers {
        &self.pod.resolvers
    }

    /// Whether its policies speak of a name.
    pub fn speaks_of(&self, name: &Name) -> bool {
        self.patterns.find(name).is_some()
    }

    /// Whether they speak of any.
    pub(crate) fn speaks(&self) -> bool {
        !self.patterns.is_empty()
    }
}

/// Patterns by the wire form of their names: a look-up takes as many steps as a name has labels.
#[derive(Debug)]
pub(crate) struct NameMap<V> {
    exact: Map<Name, V>,
    one_below: Map<Box<[u8]>, V>,
    below: Map<Box<[u8]>, V>,
    any: Option<V>,
    /// Wildcards without private zones, by these.
    outside: Vec<Outside<V>>,
}

/// Wildcards that mean nothing in the same zones.
#[derive(Debug)]
struct Outside<V> {
    zones: Vec<DnsName>,
    within: NameMap<()>,
    wide: NameMap<V>,
}

impl<V> Outside<V> {
    fn of(zones: &[DnsName]) -> Self {
        Self { zones: zones.to_vec(), within: NameMap::of_zones(zones), wide: NameMap::default() }
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        let (exact, one_below, below) = (Map::default(), Map::default(), Map::default());
        Self { exact, one_below, below, any: None, outside: Vec::new() }
    }
}

impl NameMap<()> {
    /// Names of these, and those below them.
    fn of_zones(zones: &[DnsName]) -> Self {
        let mut map = Self::default();
        for zone in zones {
            map.insert(&DomainPattern::Exact(zone.clone()), ());
            map.insert(&DomainPattern::Below(zone.clone()), ());
        }
        map
    }
}

impl<V> NameMap<V> {
    /// The first rule of a pattern stays.
    fn insert(&mut self, pattern: &DomainPattern, value: V) {
        match pattern {
            DomainPattern::Exact(name) => {
                self.exact.entry(Name::from(name)).or_insert(value);
            }
            DomainPattern::OneBelow(name) => {
                self.one_below.entry(Name::from(name).wire().into()).or_insert(value);
            }
            DomainPattern::Below(name) => {
                self.below.entry(Name::from(name).wire().into()).or_insert(value);
            }
            DomainPattern::Any => {
                self.any.get_or_insert(value);
            }
            DomainPattern::Outside(without) => {
                let of_zones = self.outside.iter_mut().find(|it| it.zones == without.zones());
                match of_zones {
                    Some(outside) => outside.wide.insert(without.wide(), value),
                    None => {
                        let mut outside = Outside::of(without.zones());
                        outside.wide.insert(without.wide(), value);
                        self.outside.push(outside);
                    }
                }
            }
        }
    }

    /// What belongs to a pattern that means `name`. A name that is no host name is meant by none.
    pub(crate) fn find(&self, name: &Name) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let parent = || name.suffixes().nth(1).and_then(|parent| self.one_below.get(parent));
        let parents = || name.suffixes().skip(1).find_map(|parent| self.below.get(parent));
        let outside = || {
            let mut all = self.outside.iter().filter(|it| it.within.find(name).is_none());
            all.find_map(|it| it.wide.find(name))
        };
        let known = self.exact.get(name).or_else(parent).or_else(parents).or(self.any.as_ref());
        let found = known.or_else(outside)?;
        name.is_host_name().then_some(found)
    }

    fn is_empty(&self) -> bool {
        let has_none = self.exact.is_empty() && self.one_below.is_empty() && self.below.is_empty();
        has_none && self.any.is_none() && self.outside.is_empty()
    }
}

/// Which of the settings that shape kept answers differ: those must go.
pub(crate) fn keeps_answers(old: &Rules, new: &Rules) -> bool {
    let of_group = |group: &Vec<IpAddr>| group.iter().copied().collect::<HashSet<_>>();
    let trusted = |rules: &Rules| rules.trusted.iter().map(of_group).collect::<Vec<_>>();
    old.settings.strip_ech == new.settings.strip_ech && trusted(old) == trusted(new)
}

mod pattern {
    use policy::DomainPattern;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(pattern: &DomainPattern, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(pattern)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DomainPattern, D::Error> {
        DomainPattern::parse_shown(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

mod patterns {
    use policy::DomainPattern;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(patterns: &[DomainPattern], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(patterns.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DomainPattern>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| DomainPattern::parse_shown(text).map_err(serde::de::Error::custom)).collect()
    }
}

pub(crate) mod names {
    use policy::DnsName;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(names: &[DnsName], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(names.iter().map(DnsName::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DnsName>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| DnsName::parse(text).map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn name(text: &str) -> Name {
        Name::from(&DnsName::parse(text).unwrap())
    }

    fn state() -> State {
        State {
            generation: Generation(3),
            pods: vec![Pod {
                identity: "uid".into(),
                addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
                patterns: vec![DomainPattern::parse("*.a.io").unwrap()],
                questions: Questions::Only(vec![Names {
                    allowed: vec![AllowedName {
                        pattern: DomainPattern::parse("*.a.io").unwrap(),
                        rule: "first".into(),
                    }],
                    otherwise: "last".into(),
                }]),
                resolvers: Resolvers::Any,
            }],
            trusted: vec![vec!["10.96.0.10".parse().unwrap()]],
            private_zones: vec![DnsName::parse("cluster.local").unwrap()],
            settings: Settings::default(),
        }
    }

    #[test]
    fn a_state_survives_its_way_and_settings_have_defaults() {
        let text = serde_json::to_string(&state()).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state());
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
        let broken = text.replace("*.a.io", "a.*.io");
        assert!(serde_json::from_str::<State>(&broken).is_err(), "half a state is none");
    }

    #[test]
    fn a_pod_is_found_by_each_of_its_addresses() {
        let rules = Rules::new(state(), None);
        let pod = rules.pod("fd00::1".parse().unwrap()).unwrap();
        assert_eq!(pod.address, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert!(pod.speaks_of(&name("x.a.io")) && !pod.speaks_of(&name("a.io")));
        assert!(rules.pod("10.0.0.2".parse().unwrap()).is_none());
        assert!(rules.is_private(&name("cluster.local")) && rules.is_private(&name("a.svc.cluster.local")));
        assert!(!rules.is_private(&name("notcluster.local")));
    }

    #[test]
    fn what_was_bound_stays_so_for_the_same_pod_with_the_same_patterns() {
        let epoch = |rules: &Rules| rules.pod("10.0.0.1".parse().unwrap()).unwrap().epoch;
        let first = Rules::new(state(), None);
        let again = Rules::new(state(), Some(&first));
        assert_eq!(epoch(&again), epoch(&first));
        let mut other = state();
        other.pods[0].identity = "another".into();
        let other = Rules::new(other, Some(&again));
        assert_ne!(epoch(&other), epoch(&first));
        let mut narrower = state();
        narrower.pods[0].patterns.clear();
        assert_ne!(epoch(&Rules::new(narrower, Some(&first))), epoch(&first));
    }

    proptest! {
        /// Look-ups mean what the pattern says.
        #[test]
        fn look_ups_agree_with_patterns(
            patterns in prop::collection::vec("(\\*\\*?\\.)?[ab](\\.[ab-]){0,3}", 0..5),
            zones in prop::collection::vec("[ab](\\.[ab]){0,2}", 0..3),
            asked in "[ab](\\.[ab]){0,4}",
        ) {
            let zones: Vec<_> = zones.iter().map(|text| DnsName::parse(text).unwrap()).collect();
            let parsed = patterns.iter().filter_map(|text| DomainPattern::parse_own(text).ok());
            // Some mean private zones, and some do not.
            let mut patterns: Vec<_> = parsed.clone().map(|it| it.outside(&zones)).collect();
            patterns.extend(parsed.skip(3));
            let mut map = NameMap::default();
            for pattern in &patterns {
                map.insert(pattern, ());
            }
            let asked = DnsName::parse(&asked).unwrap();
            let expected = patterns.iter().any(|pattern| pattern.matches(&asked));
            prop_assert_eq!(map.find(&Name::from(&asked)).is_some(), expected);
        }
    }
}
