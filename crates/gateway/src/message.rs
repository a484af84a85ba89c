//! What agent and proxy tell each other, as [`handover`] carries it.

use crate::call::Call;
use crate::capture::Content;
use crate::central::Egress;
use crate::counters::Counts;
use crate::front::{Host, Resolved};
use crate::keys::Keys;
use crate::quota::QuotaUse;
use crate::record::Record;
use crate::settings::{Limits, Rules};
use crate::state::{Bound, Named, PodState, RuleFacts, State, Window};
use crate::tls::{Inspection, OwnInspection};
use policy::table::Row;
use policy::{DnsName, Generation, Key, OwnEgress, RuleId, SecretRef};
use purse::{Prices, StoreMeans};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// What an agent tells a proxy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToProxy {
    /// Descriptors that came with it; the last `front` of those for connections are the front door's. Accepting begins
    /// with the first state.
    Sockets {
        udp: usize,
        tcp: usize,
        control: bool,
        limits: Limits,
        workers: usize,
        #[serde(default)]
        front: usize,
    },
    /// Everything, in place of what was.
    State { revision: u64, state: Box<StateFrame> },
    /// What is bound to single addresses, in place of what was there; of those without names nothing.
    Bind { revision: u64, rules: Vec<(IpAddr, RuleId, Arc<RuleFacts>)>, bindings: Bindings },
    /// The budgets that are used up.
    Spent(HashMap<u32, Window>),
    /// Accept no more; end when all connections did, or their time is over.
    Drain,
    /// End now.
    Stop,
    /// Where a host is that was asked for, or why nowhere.
    Found { id: u64, found: Resolved },
}

/// What a proxy tells an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToAgent {
    /// The sockets of a proxy whose agent died, for the next one. Its form must not change: the agent of one version takes
    /// the sockets of the proxy of another.
    Sockets { udp: usize, tcp: usize, control: bool },
    /// In force.
    Applied(u64),
    /// Not in force; what was before still is.
    NotApplied(u64, String),
    /// Connections that ended.
    Records(Vec<Record>),
    /// Requests of opened connections, whatever became of them.
    Calls(Vec<Call>),
    /// Counters, since the proxy started.
    Counts(Counts),
    /// Where is this host, for a client of the front door?
    Ask { id: u64, pod: IpAddr, host: HostFrame },
    /// What was kept of a request.
    Content(Box<Content>),
}

/// A host on its way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum HostFrame {
    Name(DnsName),
    Address(IpAddr),
}

impl From<Host> for HostFrame {
    fn from(host: Host) -> Self {
        match host {
            Host::Name(name) => Self::Name(name),
            Host::Address(address) => Self::Address(address),
        }
    }
}

impl From<HostFrame> for Host {
    fn from(host: HostFrame) -> Self {
        match host {
            HostFrame::Name(name) => Self::Name(name),
            HostFrame::Address(address) => Self::Address(address),
        }
    }
}

/// What is known of a rule.
type RuleFrame = (RuleId, Arc<RuleFacts>);

/// A name, the place of its row, and whether it is live.
type NameFrame = (DnsName, usize, bool);

/// A whole state.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StateFrame {
    generation: Generation,
    rules: Rules,
    pods: Vec<(IpAddr, Vec<RuleFrame>)>,
    /// Where pods may go by themselves, each once, and the place of a pod's.
    #[serde(default)]
    own: (Vec<Arc<OwnEgress>>, Vec<(IpAddr, usize)>),
    bindings: Bindings,
    spent: HashMap<u32, Window>,
    #[serde(default)]
    quota_use: HashMap<u32, QuotaUse>,
    #[serde(default)]
    inspection: Option<Arc<Inspection>>,
    #[serde(default)]
    own_inspection: Arc<OwnInspection>,
    #[serde(default)]
    egress: Option<Arc<Egress>>,
    #[serde(default)]
    workloads: HashMap<IpAddr, Arc<str>>,
    prices: Option<Arc<Prices>>,
    #[serde(default)]
    store: Option<Arc<StoreMeans>>,
    #[serde(default)]
    keys: Vec<(SecretRef, KeyFrame)>,
}

/// A key on its way between two processes of one node, by a socket that nobody else has. Nothing else writes one.
#[derive(Debug)]
struct KeyFrame(Key);

impl Serialize for KeyFrame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for KeyFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        Key::read(text.as_bytes()).map(Self).map_err(de::Error::custom)
    }
}

/// Bindings, with each row once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bindings {
    rows: Vec<Arc<Row>>,
    all: Vec<BoundFrame>,
    /// Those whose names come beside what is bound. A proxy of an earlier version does not look here: it keeps what it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<BoundFrame>,
    #[serde(skip)]
    known: HashMap<Arc<Row>, usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BoundFrame {
    pod: IpAddr,
    destination: IpAddr,
    /// Place of the row without a name, and the names. None: nothing is bound any more.
    bound: Option<(usize, Vec<NameFrame>)>,
}

/// A binding, as it was read.
pub(crate) struct Binding {
    pub(crate) pod: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) bound: Option<Bound>,
}

impl Bindings {
    pub(crate) fn add(&mut self, pod: IpAddr, destination: IpAddr, bound: Option<&Bound>) {
        let adds = bound.is_some_and(|bound| bound.adds);
        let bound = bound.map(|bound| {
            let names = bound.names.iter();
            let names =
                names.map(|(name, named)| (name.clone(), self.place(&named.row), named.is_live)).collect();
            (self.place(&bound.unnamed), names)
        });
        let frame = BoundFrame { pod, destination, bound };
        if adds { self.more.push(frame) } else { self.all.push(frame) }
    }

    fn place(&mut self, row: &Arc<Row>) -> usize {
        *self.known.entry(Arc::clone(row)).or_insert_with(|| {
            self.rows.push(Arc::clone(row));
            self.rows.len() - 1
        })
    }

    /// All of them; an error says which row is missing.
    pub(crate) fn read(self) -> Result<Vec<Binding>, String> {
        let Self { rows, all, more, .. } = self;
        let row = |place: usize| rows.get(place).cloned().ok_or_else(|| format!("there is no row {place}"));
        let read = |(frame, adds): (BoundFrame, bool)| {
            let BoundFrame { pod, destination, bound } = frame;
            let bound = bound.map(|(unnamed, names)| {
                let named = |(name, place, is_live)| Ok((name, Named { row: row(place)?, is_live }));
                let names: Result<BTreeMap<_, _>, String> = names.into_iter().map(named).collect();
                Ok::<_, String>(Bound { names: names?, unnamed: row(unnamed)?, adds })
            });
            Ok(Binding { pod, destination, bound: bound.transpose()? })
        };
        let all = all.into_iter().map(|frame| (frame, false));
        all.chain(more.into_iter().map(|frame| (frame, true))).map(read).collect()
    }
}

impl StateFrame {
    pub(crate) fn of(state: &State) -> Self {
        let mut bindings = Bindings::default();
        let (mut pods, mut own) = (Vec::new(), (Vec::<Arc<OwnEgress>>::new(), Vec::new()));
        for (pod, PodState { rules, bound, own: of_pod }) in &state.pods {
            let known = own.0.iter().position(|known| Arc::ptr_eq(known, of_pod));
            let place = known.unwrap_or_else(|| {
                own.0.push(Arc::clone(of_pod));
                own.0.len() - 1
            });
            own.1.push((*pod, place));
            pods.push((*pod, rules.iter().map(|(rule, facts)| (*rule, Arc::clone(facts))).collect()));
            bound.iter().for_each(|(destination, bound)| bindings.add(*pod, *destination, Some(bound)));
        }
        let State { generation, rules, spent, quota_use, inspection, .. } = state;
        let (rules, spent, inspection) = (rules.clone(), spent.clone(), inspection.clone());
        let own_inspection = Arc::clone(&state.own_inspection);
        let (generation, quota_use) = (*generation, quota_use.clone());
        let (egress, workloads) = (state.egress.clone(), state.workloads.clone());
        let (prices, store) = (state.prices.clone(), state.store.clone());
        let keys = state.keys.iter().map(|(secret, key)| (secret.clone(), KeyFrame(key.clone()))).collect();
        Self {
            generation,
            rules,
            pods,
            own,
            bindings,
            spent,
            quota_use,
            inspection,
            own_inspection,
            egress,
            workloads,
            prices,
            store,
            keys,
        }
    }

    pub(crate) fn read(self) -> Result<State, String> {
        let Self { generation, rules, pods, bindings, spent, quota_use, inspection, own_inspection, .. } =
            self;
        let (egress, workloads, prices, store) = (self.egress, self.workloads, self.prices, self.store);
        let of_pod = |(pod, rules): (IpAddr, Vec<_>)| {
            (pod, PodState { rules: rules.into_iter().collect(), ..PodState::default() })
        };
        let mut pods: HashMap<IpAddr, PodState> = pods.into_iter().map(of_pod).collect();
        let (all, places) = self.own;
        for (pod, place) in places {
            let own = all.get(place).ok_or_else(|| format!("there is no egress {place}"))?;
            pods.entry(pod).and_modify(|state| state.own = Arc::clone(own));
        }
        for Binding { pod, destination, bound } in bindings.read()? {
            let state = pods.get_mut(&pod).ok_or_else(|| format!("no pod has the address {pod}"))?;
            state.bound.extend(bound.map(|bound| (destination, bound)));
        }
        let keys: Keys = self.keys.into_iter().map(|(secret, KeyFrame(key))| (secret, key)).collect();
        let keys = Arc::new(keys);
        Ok(State {
            generation,
            rules,
            pods,
            spent,
            quota_use,
            inspection,
            own_inspection,
            egress,
            workloads,
            prices,
            store,
            keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::table::{Cell, Ruling};
    use policy::{Protocol, Verdict};

    #[test]
    fn a_state_survives_the_way_with_each_row_once() {
        let row = |first| {
            let deny = Ruling { verdict: Verdict::Deny, rule: RuleId(16) };
            let allow = Ruling { verdict: Verdict::Allow, rule: RuleId(17) };
            Arc::new(Row {
                otherwise: deny,
                cells: vec![Cell { protocol: Protocol::TCP, first, last: first, ruling: allow }],
            })
        };
        let bound = Bound {
            names: ["a.example", "b.example"]
                .map(|name| (DnsName::parse(name).unwrap(), Named { row: row(443), is_live: name < "b" }))
                .into(),
            unnamed: row(80),
            adds: false,
        };
        let requests = crate::RequestRule {
            names: vec![policy::DomainPattern::parse_own("**.example").unwrap()],
            ports: vec![(443, 443)],
            shared: true,
            ..crate::RequestRule::default()
        };
        let requests = Some(Arc::new(requests));
        let facts = RuleFacts { text: "rule".into(), budget: Some(16), requests, ..RuleFacts::default() };
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let pod = PodState {
            rules: [(RuleId(17), Arc::new(facts))].into(),
            bound: (1..100).map(|last| (address(last), bound.clone())).collect(),
            own: Arc::default(),
        };
        let authority = crate::Authority::generate(std::time::SystemTime::now()).unwrap();
        let secret = authority.key.lines().nth(1).unwrap().to_owned();
        let node = feed::tls::Identity {
            chain: authority.certificate.clone().into_bytes(),
            key: authority.key.clone().into_bytes(),
            authority: Vec::new(),
        };
        let shown = Some(crate::Shown::from(&node));
        let other = crate::Authority::generate(std::time::SystemTime::now()).unwrap();
        let authorities = [("team".into(), Some(other.clone())), ("other".into(), None)].into();
        let own = OwnInspection { authorities, roots: vec![vec![3]] };
        let inspection = Inspection { authority, roots: vec![vec![1, 2]] };
        let store = StoreMeans {
            address: crate::StoreAddress::Tcp("store".into(), 6379),
            roots: None,
            user: None,
            password: Some("hush-hush".into()),
            node: "n".into(),
            down: crate::WhenDown::Deny,
        };
        let at = SecretRef { namespace: "ns".into(), name: "keys".into(), key: "a".into() };
        let state = State {
            generation: Generation(7),
            rules: Rules::default(),
            pods: [(address(200), pod)].into(),
            spent: [(16, Window::Hour)].into(),
            quota_use: [(3, QuotaUse { tokens_day: 1, ..QuotaUse::default() })].into(),
            inspection: Some(Arc::new(inspection)),
            own_inspection: Arc::new(own),
            egress: Some(Arc::new(Egress { replicas: vec![([192, 0, 2, 9], 9445).into()], shown })),
            workloads: [(address(200), "team/trainer".into())].into(),
            store: Some(Arc::new(store)),
            prices: Some(Arc::new(Prices { currency: "USD".into(), prices: Vec::new() })),
            keys: Arc::new([(at, Key::read(b"sk-quiet").unwrap())].into_iter().collect()),
        };
        let frame = StateFrame::of(&state);
        assert_eq!(frame.bindings.rows.len(), 2);
        let shown = format!("{state:?} {frame:?}");
        assert!(!shown.contains(other.key.lines().nth(1).unwrap()));
        assert!(!shown.contains(&secret) && !shown.contains("hush-hush") && !shown.contains("sk-quiet"));
        let text = serde_json::to_string(&frame).unwrap();
        let read: StateFrame = serde_json::from_str(&text).unwrap();
        assert_eq!(read.read().unwrap(), state);
        let broken: StateFrame = serde_json::from_str(&text.replace("192.0.2.200", "192.0.2.201")).unwrap();
        assert!(broken.read().is_ok());
        let missing = Bindings { rows: Vec::new(), ..StateFrame::of(&state).bindings };
        assert!(missing.read().is_err());
    }

    #[test]
    fn names_come_beside_those_that_are_bound_or_in_place_of_them() {
        let row = |rule| {
            Arc::new(Row {
                otherwise: Ruling { verdict: Verdict::Deny, rule: RuleId(rule) },
                cells: Vec::new(),
            })
        };
        let named =
            |text: &str, rule, is_live| (DnsName::parse(text).unwrap(), Named { row: row(rule), is_live });
        let (pod, at) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let bound = |names: Vec<(DnsName, Named)>, adds| Bound {
            names: names.into_iter().collect(),
            unnamed: row(16),
            adds,
        };
        let mut state = PodState::default();
        let mut tell = |bound: Option<&Bound>| {
            let mut bindings = Bindings::default();
            bindings.add(pod, at, bound);
            let text = serde_json::to_string(&bindings).unwrap();
            let read: Bindings = serde_json::from_str(&text).unwrap();
            for binding in read.read().unwrap() {
                assert_eq!((binding.pod, binding.destination), (pod, at));
                state.bind(at, binding.bound);
            }
            state.bound.get(&at).cloned()
        };
        let (a, b) = (named("a.io", 17, true), named("b.io", 18, true));
        let first = bound(vec![a.clone()], true);
        assert_eq!(tell(Some(&first)), Some(bound(vec![a.clone()], false)), "beside nothing");
        let both = tell(Some(&bound(vec![b.clone()], true)));
        assert_eq!(both, Some(bound(vec![a.clone(), b.clone()], false)));
        let ended = named("a.io", 17, false);
        let held = tell(Some(&bound(vec![ended.clone()], true)));
        assert_eq!(held, Some(bound(vec![ended, b.clone()], false)), "a name is told anew");
        let only = bound(vec![b], false);
        assert_eq!(tell(Some(&only)), Some(only));
        assert_eq!(tell(None), None);
    }
}
