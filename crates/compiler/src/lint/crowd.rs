//! Pods grouped by namespace and label set, with posting lists, so that a selector finds its pods without
//! looking at all of them.
//!
//! Enters: a [`World`]. Leaves: [`Crowd`], which answers "does anything match, and what" for a namespace scope
//! and a selector. Guarantees: equal to testing every pod; a test holds it. Group ids are sorted by namespace.
//! Does not: include host-network pods among the groups; no selector reaches them. They are counted apart.

use crate::lower::index::Whose;
use policy::{Labels, NamedPort, NamespaceScope, Pod, Requirement, Selector, World};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Pods of one namespace that carry the same labels.
pub(crate) struct Group<'w> {
    pub(crate) namespace: &'w Arc<str>,
    pub(crate) labels: &'w Labels,
    /// Each distinct list of named ports among its pods.
    pub(crate) ports: Vec<&'w [NamedPort]>,
    /// How many pods.
    pub(crate) count: usize,
}

impl Group<'_> {
    /// Whether its pods run in this cluster.
    pub(crate) fn is_ours(&self) -> bool {
        Whose::of(self.namespace) == Whose::Ours
    }
}

/// Whose namespaces a scope looks at.
fn whose(scope: &NamespaceScope) -> Whose {
    match scope {
        NamespaceScope::Own(_) | NamespaceScope::Matching(_) => Whose::Ours,
        NamespaceScope::Elsewhere(_) => Whose::Elsewhere,
    }
}

/// Index of a group.
pub(crate) type GroupId = u32;

/// The pods of a world, grouped and indexed.
pub(crate) struct Crowd<'w> {
    pub(crate) groups: Vec<Group<'w>>,
    ranges: BTreeMap<&'w str, Range<GroupId>>,
    namespaces: Vec<(&'w str, Labels)>,
    pod_postings: Postings<'w>,
    namespace_postings: Postings<'w>,
    /// By port name: groups in which some pod has it.
    port_holders: HashMap<&'w str, Vec<GroupId>>,
    namespace_cache: RefCell<HashMap<(Whose, Selector), Rc<Matching>>>,
}

/// Namespaces that a selector matches.
struct Matching {
    list: Vec<u32>,
    set: HashSet<u32>,
}

/// Sorted ids by label pair and by label key.
#[derive(Default)]
struct Postings<'w> {
    by_pair: HashMap<(&'w str, &'w str), Vec<u32>>,
    by_key: HashMap<&'w str, Vec<u32>>,
}

impl<'w> Postings<'w> {
    fn add(&mut self, labels: &'w Labels, id: u32) {
        for (key, value) in labels.iter() {
            self.by_pair.entry((key, value)).or_default().push(id);
            self.by_key.entry(key).or_default().push(id);
        }
    }

    /// Some requirement's candidates, the fewest found; `None` when no requirement names candidates.
    fn candidates<'a>(&'a self, selector: &'a Selector) -> Option<Vec<&'a [u32]>> {
        let named = selector.0.iter().filter_map(|requirement| self.named_by(requirement));
        named.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>())
    }

    fn named_by<'a>(&'a self, requirement: &'a Requirement) -> Option<Vec<&'a [u32]>> {
        match requirement {
            Requirement::In(key, values) => {
                let list = |value: &'a Arc<str>| {
                    self.by_pair.get(&(key.as_ref(), value.as_ref())).map(Vec::as_slice)
                };
                Some(values.iter().filter_map(list).collect())
            }
            Requirement::Exists(key) => {
                Some(self.by_key.get(key.as_ref()).map(Vec::as_slice).into_iter().collect())
            }
            Requirement::NotIn(..) | Requirement::DoesNotExist(_) => None,
        }
    }
}

impl<'w> Crowd<'w> {
    /// Groups the pods of a world. `namespaces` of the world must outlive the crowd.
    pub(crate) fn new(world: &'w World) -> Self {
        let mut keyed: BTreeMap<(&'w Arc<str>, &'w Labels), Group<'w>> = BTreeMap::new();
        for pod in world.pods.iter().filter(|pod| !pod.host_network) {
            let group = keyed.entry((&pod.namespace, &pod.labels)).or_insert_with(|| Group {
                namespace: &pod.namespace,
                labels: &pod.labels,
                ports: Vec::new(),
                count: 0,
            });
            group.count += 1;
            if !pod.ports.is_empty() && !group.ports.contains(&pod.ports.as_slice()) && group.ports.len() < 64
            {
                group.ports.push(&pod.ports);
            }
        }
        let groups: Vec<Group<'w>> = keyed.into_values().collect();
        let mut crowd = Self {
            ranges: BTreeMap::new(),
            namespaces: Vec::new(),
            pod_postings: Postings::default(),
            namespace_postings: Postings::default(),
            port_holders: HashMap::new(),
            namespace_cache: RefCell::default(),
            groups: Vec::new(),
        };
        for (id, group) in (0u32..).zip(&groups) {
            crowd.ranges.entry(group.namespace.as_ref()).or_insert(id..id).end = id + 1;
            crowd.pod_postings.add(group.labels, id);
            let names: HashSet<&'w str> =
                group.ports.iter().flat_map(|ports| ports.iter().map(|port| port.name.as_ref())).collect();
            for name in names {
                crowd.port_holders.entry(name).or_default().push(id);
            }
        }
        for (id, namespace) in (0u32..).zip(world.namespaces.values()) {
            crowd.namespaces.push((namespace.name.as_ref(), namespace.labels.clone()));
            crowd.namespace_postings.add(&namespace.labels, id);
        }
        crowd.groups = groups;
        crowd
    }

    /// Groups whose pods match, in order; lazily, so that asking for the first one is cheap.
    pub(crate) fn matching<'a>(
        &'a self,
        scope: &'a NamespaceScope,
        pods: &'a Selector,
    ) -> Box<dyn Iterator<Item = GroupId> + 'a> {
        let matches = move |id: &GroupId| self.group(*id).is_some_and(|group| pods.matches(group.labels));
        let candidates = self.pod_postings.candidates(pods);
        let found: usize =
            candidates.as_ref().map_or(usize::MAX, |lists| lists.iter().map(|l| l.len()).sum());
        let all = self.groups.len();
        match scope {
            NamespaceScope::Own(name) => {
                let range = self.range(name);
                match candidates {
                    Some(lists) if found < range.len() || range.len() > 64 => Box::new(
                        lists.into_iter().flat_map(move |list| within(list, range.clone())).filter(matches),
                    ),
                    Some(_) | None => Box::new(range.filter(matches)),
                }
            }
            NamespaceScope::Matching(selector) if selector.is_everything() => {
                let ours = |id: &GroupId| self.group(*id).is_some_and(Group::is_ours);
                match candidates {
                    Some(lists) => {
                        Box::new(lists.into_iter().flatten().copied().filter(ours).filter(matches))
                    }
                    None => {
                        Box::new((0..u32::try_from(all).unwrap_or(u32::MAX)).filter(ours).filter(matches))
                    }
                }
            }
            NamespaceScope::Matching(selector) | NamespaceScope::Elsewhere(selector) => {
                let namespaces = self.namespaces_matching(whose(scope), selector);
                match candidates {
                    Some(lists) if found < namespaces.list.len() => {
                        Box::new(lists.into_iter().flatten().copied().filter(matches).filter(move |id| {
                            self.group(*id)
                                .and_then(|group| self.namespace_id(group.namespace))
                                .is_some_and(|namespace| namespaces.set.contains(&namespace))
                        }))
                    }
                    Some(_) | None => {
                        let count = namespaces.list.len();
                        let ranges = (0..count).filter_map(move |i| {
                            let (name, _) = self.namespaces.get(*namespaces.list.get(i)? as usize)?;
                            self.ranges.get(name).cloned()
                        });
                        Box::new(ranges.flatten().filter(matches))
                    }
                }
            }
        }
    }

    /// Whether any pod matches.
    pub(crate) fn any(&self, scope: &NamespaceScope, pods: &Selector) -> bool {
        self.matching(scope, pods).next().is_some()
    }

    /// Whether some matching pod has a container port of that name (and protocol, if one is wanted).
    pub(crate) fn any_with_port(
        &self,
        scope: &NamespaceScope,
        pods: &Selector,
        has: impl Fn(&NamedPort) -> bool,
        name: &str,
    ) -> bool {
        let Some(holders) = self.port_holders.get(name) else { return false };
        let range = match scope {
            NamespaceScope::Own(namespace) => self.range(namespace),
            NamespaceScope::Matching(_) | NamespaceScope::Elsewhere(_) => 0..u32::MAX,
        };
        within(holders, range).filter_map(|id| self.group(id)).any(|group| {
            group.ports.iter().any(|ports| ports.iter().any(&has)) && self.includes(scope, pods, group)
        })
    }

    /// Whether any namespace of this cluster matches.
    pub(crate) fn any_namespace(&self, selector: &Selector) -> bool {
        !self.namespaces_matching(Whose::Ours, selector).list.is_empty()
    }

    /// Whether the scope includes this group's namespace and the selector its labels.
    pub(crate) fn includes(&self, scope: &NamespaceScope, pods: &Selector, group: &Group<'_>) -> bool {
        let in_scope = match scope {
            NamespaceScope::Own(name) => name == group.namespace,
            NamespaceScope::Matching(selector) => {
                group.is_ours()
                    && (selector.is_everything() || {
                        let namespaces = self.namespaces_matching(Whose::Ours, selector);
                        self.namespace_id(group.namespace).is_some_and(|id| namespaces.set.contains(&id))
                    })
            }
            NamespaceScope::Elsewhere(selector) => {
                let namespaces = self.namespaces_matching(Whose::Elsewhere, selector);
                self.namespace_id(group.namespace).is_some_and(|id| namespaces.set.contains(&id))
            }
        };
        in_scope && pods.matches(group.labels)
    }

    /// Groups of one namespace.
    pub(crate) fn range(&self, namespace: &str) -> Range<GroupId> {
        self.ranges.get(namespace).cloned().unwrap_or(0..0)
    }

    /// The group.
    pub(crate) fn group(&self, id: GroupId) -> Option<&Group<'w>> {
        self.groups.get(id as usize)
    }

    /// Labels of every namespace of this cluster, in name order.
    pub(crate) fn namespace_labels(&self) -> impl Iterator<Item = &Labels> {
        self.namespaces.iter().filter(|(name, _)| Whose::of(name) == Whose::Ours).map(|(_, labels)| labels)
    }

    fn namespace_id(&self, name: &str) -> Option<u32> {
        self.namespaces
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .ok()
            .and_then(|i| u32::try_from(i).ok())
    }

    fn namespaces_matching(&self, whose: Whose, selector: &Selector) -> Rc<Matching> {
        let key = (whose, selector.clone());
        if let Some(known) = self.namespace_cache.borrow().get(&key) {
            return known.clone();
        }
        let matches = |id: &u32| {
            let found = self.namespaces.get(*id as usize);
            found.is_some_and(|(name, labels)| Whose::of(name) == whose && selector.matches(labels))
        };
        let mut list: Vec<u32> = match self.namespace_postings.candidates(selector) {
            Some(lists) => lists.into_iter().flatten().copied().filter(matches).collect(),
            None => (0..u32::try_from(self.namespaces.len()).unwrap_or(u32::MAX)).filter(matches).collect(),
        };
        list.sort_unstable();
        let found = Rc::new(Matching { set: list.iter().copied().collect(), list });
        let mut cache = self.namespace_cache.borrow_mut();
        // Bounded: broad selectors have long lists, and there may be as many selectors as policies.
        if cache.len() >= CACHED_SELECTORS {
            cache.clear();
        }
        cache.insert(key, found.clone());
        found
    }
}

/// How many namespace selectors keep their result.
const CACHED_SELECTORS: usize = 1024;

fn within(list: &[u32], range: Range<u32>) -> impl Iterator<Item = u32> {
    let from = list.partition_point(|id| *id < range.start);
    let to = list.partition_point(|id| *id < range.end);
    list.get(from..to).unwrap_or_default().iter().copied()
}

/// Host-network pods by namespace.
pub(crate) fn host_network_pods(world: &World) -> BTreeMap<&str, Vec<&Pod>> {
    let mut found: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in world.pods.iter().filter(|pod| pod.host_network) {
        found.entry(pod.namespace.as_ref()).or_default().push(pod);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Namespace, WorkloadRef};

    /// 4 namespaces of 30 pods; labels `a: 0..3`, `b: 0..5`, and `c` on every seventh.
    fn world() -> World {
        let mut world = World::default();
        for n in 0..4 {
            let name: Arc<str> = format!("ns{n}").into();
            let odd = if n % 2 == 1 { "odd" } else { "even" };
            let labels = Labels::from_iter([("kubernetes.io/metadata.name", name.as_ref()), ("kind", odd)]);
            world.namespaces.insert(name.clone(), Namespace { name: name.clone(), labels });
            for p in 0..30 {
                let mut pairs = vec![("a", (p % 3).to_string()), ("b", (p % 5).to_string())];
                if p % 7 == 0 {
                    pairs.push(("c", "yes".to_owned()));
                }
                world.pods.push(Arc::new(Pod {
                    namespace: name.clone(),
                    name: format!("p{p:02}").into(),
                    labels: pairs.into_iter().collect(),
                    service_account: "default".into(),
                    node: None,
                    addresses: Vec::new(),
                    ports: Vec::new(),
                    host_network: p % 11 == 0,
                    workload: WorkloadRef { kind: "Pod".into(), name: format!("p{p:02}").into() },
                }));
            }
        }
        world
    }

    fn selectors() -> Vec<Selector> {
        let values = |list: &[&str]| list.iter().map(|value| Arc::from(*value)).collect::<Vec<Arc<str>>>();
        let one = [
            Requirement::In("a".into(), values(&["1"])),
            Requirement::In("b".into(), values(&["0", "4", "9"])),
            Requirement::In("kind".into(), values(&["odd"])),
            Requirement::NotIn("b".into(), values(&["2"])),
            Requirement::Exists("c".into()),
            Requirement::DoesNotExist("c".into()),
            Requirement::Exists("nowhere".into()),
        ];
        let mut all = vec![Selector::everything()];
        for (i, first) in one.iter().enumerate() {
            all.push([first.clone()].into_iter().collect());
            all.extend(
                one.iter().skip(i + 1).map(|second| [first.clone(), second.clone()].into_iter().collect()),
            );
        }
        all
    }

    #[test]
    fn the_index_finds_what_testing_every_pod_finds() {
        let world = world();
        let crowd = Crowd::new(&world);
        let own = ["ns1", "ns3", "none"].map(|name| NamespaceScope::Own(name.into()));
        let scopes = selectors().into_iter().map(NamespaceScope::Matching).chain(own);
        let mut found = 0;
        for scope in scopes {
            for pods in selectors() {
                let in_scope = |pod: &Pod| match &scope {
                    NamespaceScope::Own(name) => *name == pod.namespace,
                    NamespaceScope::Matching(s) => {
                        pod.cluster().is_none() && s.matches(&world.namespace_labels(&pod.namespace))
                    }
                    NamespaceScope::Elsewhere(s) => {
                        pod.cluster().is_some() && s.matches(&world.namespace_labels(&pod.namespace))
                    }
                };
                let expected =
                    world.pods.iter().filter(|p| !p.host_network && in_scope(p) && pods.matches(&p.labels));
                let ids: Vec<GroupId> = crowd.matching(&scope, &pods).collect();
                let distinct: HashSet<&GroupId> = ids.iter().collect();
                assert_eq!(distinct.len(), ids.len(), "{scope:?} {pods}");
                let count: usize = ids.iter().map(|id| crowd.group(*id).unwrap().count).sum();
                assert_eq!(count, expected.count(), "{scope:?} {pods}");
                for id in 0..u32::try_from(crowd.groups.len()).unwrap() {
                    let group = crowd.group(id).unwrap();
                    assert_eq!(crowd.includes(&scope, &pods, group), ids.contains(&id), "{scope:?} {pods}");
                }
                found += count;
            }
        }
        assert!(found > 1000);
    }
}
