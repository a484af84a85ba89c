//! Random small policy sets and accesses, for tests that compare a fast path with `policy::decide`.
//!
//! Enters: a seed. Leaves: a world with everything policies can speak of, policies of every tier and shape, and
//! the accesses that tell them apart. Guarantees: the same seed gives the same sample. Few values for each field,
//! so that things match, overlap and contradict often. Does not: try to be typical.

use ipnet::IpNet;
use policy::{
    Access, Action, AnswerFiles, CONTAINMENT, Canaries, Capture, ClosedScope, Condition, Credential, Dns,
    DnsName, DnsNames, DnsResolvers, DomainPattern, Endpoint, Generation, Glob, HostedTools, Inject, Labels,
    LeakAction, Leaks, NamedPort, Namespace, NamespaceScope, Node, ObjectRef, Opaque, Operations, Party,
    Peer, Peers, Pod, Policy, PolicySet, PortMatch, Ports, Protocol, ProviderEgress, Quota, Quotas, Reason,
    Requests, Requirement, Resolved, Rule, RuleEntry, RuleId, SecretRef, Section, Selector, Subject, Tier,
    ToolCondition, UploadLimits, Verb, WhenUnopened, WorkloadRef, World,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A small generator of numbers (splitmix64): repeatable, good enough to pick from lists.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % bound).unwrap_or(0)
    }

    /// True `percent` times out of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    fn text(&mut self, list: &[&'static str]) -> &'static str {
        self.pick(list).copied().unwrap_or("")
    }

    fn byte(&mut self, bound: usize) -> u8 {
        u8::try_from(self.below(bound)).unwrap_or(0)
    }
}

/// A random policy set.
pub fn policy_set(seed: u64) -> PolicySet {
    let mut dice = Dice::new(seed);
    let world = world(&mut dice);
    let mut set = PolicySet::empty(Generation(1), world);
    let mut entries = policy::set::built_in_rules();
    for number in 0..dice.below(9) {
        let policy = policy(&mut dice, number, &mut entries);
        set.policies.push(policy);
    }
    if dice.chance(10) {
        set.policies.push(containment(&mut dice, &mut entries));
    }
    set.policies.sort_by(|a, b| a.order().cmp(&b.order()));
    for _ in 0..dice.below(5).saturating_sub(2) {
        let rule = entry(&mut entries, Reason::PolicyUnreadable);
        let directions = match dice.below(3) {
            0 => vec![policy::Direction::Egress],
            1 => vec![policy::Direction::Ingress],
            _ => vec![policy::Direction::Egress, policy::Direction::Ingress],
        };
        let pods = narrow_selector(&mut dice);
        let subject = Subject { namespaces: NamespaceScope::Own(namespace_name(&mut dice)), pods };
        set.closed.push(ClosedScope { rule, subject, directions });
    }
    set.rules = Arc::new(entries);
    set
}

fn namespace_name(dice: &mut Dice) -> Arc<str> {
    // The last one is often not declared.
    dice.text(&["red", "green", "blue", "ghost"]).into()
}

/// Of a pod: of this cluster or, now and then, of another.
fn any_namespace_name(dice: &mut Dice) -> Arc<str> {
    if dice.chance(15) { dice.text(&ELSEWHERE).into() } else { namespace_name(dice) }
}

/// Namespaces of other clusters; the first has the name of one here.
const ELSEWHERE: [&str; 2] = ["red@west", "ml@south"];

fn world(dice: &mut Dice) -> World {
    let mut world = World::default();
    for name in ["red", "green", "blue"] {
        let mut labels = vec![("kubernetes.io/metadata.name", name)];
        if dice.chance(70) {
            labels.push(("team", dice.text(&["a", "b"])));
        }
        let entry = Namespace { name: name.into(), labels: Labels::from_iter(labels) };
        world.namespaces.insert(name.into(), entry);
    }
    for namespace in ELSEWHERE {
        let (name, cluster) = namespace.split_once('@').unwrap_or_default();
        let mut labels = vec![("kubernetes.io/metadata.name", name), (policy::CLUSTER_LABEL, cluster)];
        labels.extend(dice.chance(70).then_some(("team", dice.text(&["a", "b"]))));
        let entry = Namespace { name: namespace.into(), labels: Labels::from_iter(labels) };
        world.namespaces.insert(namespace.into(), entry);
    }
    for number in 0..=dice.below(3) {
        let name: Arc<str> = format!("node{number}").into();
        let labels = Labels::from_iter([("zone", dice.text(&["x", "y"]))]);
        let mut addresses = vec![v4(10, 9, dice.byte(6))];
        if dice.chance(50) {
            addresses.push(v6(9, dice.byte(6)));
        }
        world.nodes.insert(name.clone(), Node { name, labels, addresses });
    }
    let mut pods: Vec<Pod> = (0..3 + dice.below(10)).map(|number| pod(dice, number)).collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    world.pods = pods.into_iter().map(Arc::new).collect();
    for pod in world.pods.iter().filter(|pod| pod.cluster().is_none()) {
        world.names.insert((pod.namespace.clone(), pod.name.clone()), resolved(dice));
    }
    world
}

fn resolved(dice: &mut Dice) -> Resolved {
    let mut resolved = Resolved::default();
    for _ in 0..dice.below(4) {
        let address = match dice.below(5) {
            0 => v4(10, dice.byte(3), dice.byte(12)),
            1 => v4(10, 9, dice.byte(6)),
            2 => v6(u16::from(dice.byte(3)), dice.byte(12)),
            3 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(dice.byte(3)))),
            _ => IpAddr::V4(Ipv4Addr::new(93, 184, 0, dice.byte(4))),
        };
        let answers = if dice.chance(20) { &mut resolved.past } else { &mut resolved.live };
        let names = answers.entry(address).or_default();
        names.extend(DnsName::parse(dice.text(&["a.io", "x.a.io", "y.x.a.io", "b.io", "x.b.io"])).ok());
    }
    resolved
}

fn v4(a: u8, b: u8, last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, 0, last))
}

fn v6(net: u16, last: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, u16::from(last)))
}

fn pod(dice: &mut Dice, number: usize) -> Pod {
    let name: Arc<str> = format!("pod{number}").into();
    let mut labels = Vec::new();
    if dice.chance(90) {
        labels.push(("app", dice.text(&["web", "db", "job"])));
    }
    if dice.chance(30) {
        labels.push(("canary", "yes"));
    }
    // Addresses rarely collide; when they do, the first pod in order has them.
    let last = if dice.chance(90) { u8::try_from(number).unwrap_or(0) } else { dice.byte(12) };
    let net = dice.byte(3);
    let mut addresses = Vec::new();
    if dice.chance(85) {
        addresses.push(v4(10, net, last));
    }
    if dice.chance(40) {
        addresses.push(v6(u16::from(net), last));
    }
    if dice.chance(3) {
        addresses = vec![v4(10, 9, dice.byte(6))];
    }
    let mut ports = Vec::new();
    for _ in 0..dice.below(4) {
        let protocol = *dice.pick(&Protocol::WITH_PORTS).unwrap_or(&Protocol::TCP);
        let port = *dice.pick(&[80, 81, 443]).unwrap_or(&80);
        ports.push(NamedPort { name: dice.text(&["http", "admin"]).into(), protocol, port });
    }
    let namespace = any_namespace_name(dice);
    let is_ours = policy::cluster_of(&namespace).is_none();
    Pod {
        namespace,
        name: name.clone(),
        labels: Labels::from_iter(labels),
        service_account: "default".into(),
        node: (is_ours && dice.chance(95)).then(|| format!("node{}", dice.below(4)).into()),
        addresses,
        ports: if is_ours { ports } else { Vec::new() },
        host_network: is_ours && dice.chance(8),
        workload: WorkloadRef { kind: "Pod".into(), name },
    }
}

fn entry(entries: &mut Vec<RuleEntry>, reason: Reason) -> RuleId {
    let id = RuleId(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    entries.push(RuleEntry {
        reason,
        object: None,
        direction: None,
        index: None,
        name: None,
        field: "".into(),
        source: None,
        upload: None,
        requests: None,
    });
    id
}

/// What may be uploaded under a rule that allows, of one of Cofferdam's own kinds.
fn upload(dice: &mut Dice) -> Option<UploadLimits> {
    dice.chance(40).then(|| UploadLimits {
        connection: dice.chance(50).then(|| 1 + dice.roll() % 4096),
        hour: dice.chance(50).then(|| 1 + dice.roll() % 4096),
        day: Some(1 + dice.roll() % 4096),
        download_only: dice.chance(30),
    })
}

/// Which requests such a rule allows.
fn requests(dice: &mut Dice) -> Option<Arc<Requests>> {
    let globs = |dice: &mut Dice| -> Vec<Glob> {
        (0..dice.below(3)).map(|_| Glob::new(dice.text(&["acme/*", "**", "gpt-4o*", "a"]))).collect()
    };
    dice.chance(30).then(|| {
        let verbs = [Verb::Download, Verb::Upload, Verb::Call, Verb::Unknown];
        let operations = |dice: &mut Dice| Operations {
            verbs: verbs.into_iter().filter(|_| dice.chance(40)).collect(),
            resources: globs(dice),
        };
        Arc::new(Requests {
            operations: (0..dice.below(3)).map(|_| operations(dice)).collect(),
            models: globs(dice),
            tools: globs(dice),
            only_referred: dice.chance(20),
            granted: false,
            redirects: dice.chance(20).then_some(60),
            leaks: Leaks {
                secrets: dice.chance(30).then_some(LeakAction::Block),
                personal: dice.chance(30).then_some(LeakAction::Mask),
                files: dice.chance(30).then_some(LeakAction::Block),
                canaries: dice
                    .chance(30)
                    .then(|| Canaries { values: vec!["a-mark-of-ours".into()], action: LeakAction::Report }),
                opaque: dice
                    .chance(30)
                    .then(|| Opaque { action: LeakAction::Block, min_bytes: 4096 + dice.roll() % 4096 }),
            },
            quotas: Quotas {
                requests: Quota { hour: dice.chance(30).then_some(9), day: None },
                tokens: Quota { hour: None, day: dice.chance(30).then_some(99) },
                money: Quota { hour: dice.chance(10).then_some(5), day: dice.chance(20).then_some(7) },
            },
            tool_conditions: tool_conditions(dice),
            answers: AnswerFiles {
                pickles: dice.chance(30).then_some(LeakAction::Block),
                archives: dice.chance(30).then_some(LeakAction::Report),
            },
            credentials: match dice.below(3) {
                0 => vec![Credential::AwsKeyId("AKIA0000000000000000".into())],
                1 => vec![Credential::Sha256("00".repeat(32).into())],
                _ => Vec::new(),
            },
            capture: dice.chance(20).then(|| Capture {
                requests: true,
                answers: dice.chance(50),
                max_bytes: Capture::BYTES,
            }),
            when_unopened: if dice.chance(20) { WhenUnopened::Pass } else { WhenUnopened::Deny },
            provider_egress: ProviderEgress {
                domains: match dice.below(4) {
                    0 => vec![DomainPattern::Any],
                    1 => DomainPattern::parse_own("*.a.io").into_iter().collect(),
                    _ => Vec::new(),
                },
                hosted_tools: match dice.below(3) {
                    0 => HostedTools::Deny,
                    1 => HostedTools::AllowedDomains,
                    _ => HostedTools::Allow,
                },
            },
            inject: dice.chance(20).then(|| Inject {
                secret: SecretRef {
                    namespace: "x".into(),
                    name: "keys".into(),
                    key: dice.text(&["a", "b"]).into(),
                },
                header: dice.chance(30).then(|| "x-key".into()),
            }),
        })
    })
}

fn tool_conditions(dice: &mut Dice) -> Vec<ToolCondition> {
    let conditions = (0..dice.below(3)).filter_map(|_| {
        let when = dice.text(&["args.n == 1", "args.path.startsWith('/tmp/')", "server == 'a.io'"]);
        let tool = Glob::new(dice.text(&["*", "read_*", "a"]));
        Some(ToolCondition { tool, when: Condition::new(when).ok()? })
    });
    conditions.collect()
}

fn policy(dice: &mut Dice, number: usize, entries: &mut Vec<RuleEntry>) -> Policy {
    let tier = match dice.below(4) {
        0 => Tier::Admin,
        1 | 2 => Tier::NetworkPolicy,
        _ => Tier::Baseline,
    };
    let cluster = tier != Tier::NetworkPolicy;
    // Of Cofferdam's own kinds: egress only, a Deny in the NetworkPolicy tier, DNS.
    let own = dice.chance(40);
    let namespace = namespace_name(dice);
    let pods = narrow_selector(dice);
    let namespaces = match cluster {
        true => NamespaceScope::Matching(namespace_selector(dice)),
        false => NamespaceScope::Own(namespace.clone()),
    };
    let mut section = |dice: &mut Dice, percent: usize| match dice.chance(percent) {
        true => Section::Rules(
            (0..dice.below(4)).map(|_| rule(dice, (tier, own), &namespace, entries)).collect::<Vec<_>>(),
        ),
        false => Section::Untouched,
    };
    let (egress, ingress) = match own {
        true => (section(dice, 100), Section::Untouched),
        false => (section(dice, 70), section(dice, 70)),
    };
    let isolation = match cluster {
        true => [RuleId::NO_POLICY; 2],
        false => [entry(entries, Reason::Isolated), entry(entries, Reason::Isolated)],
    };
    let kind = match (cluster, own) {
        (false, false) => "NetworkPolicy",
        (false, true) => "EgressPolicy",
        (true, false) => "ClusterNetworkPolicy",
        (true, true) => "ClusterEgressPolicy",
    };
    Policy {
        object: ObjectRef {
            kind: kind.into(),
            namespace: if cluster { "".into() } else { namespace },
            // Often that of another kind's policy: then the kind is what orders them.
            name: format!("p{}", if own { number } else { number + 1 }).into(),
        },
        source: None,
        tier,
        priority: if cluster { u16::from(dice.byte(3)) } else { 0 },
        subject: Subject { namespaces, pods },
        ingress,
        egress,
        isolation,
        dns: if own { dns(dice, entries) } else { Dns::default() },
    }
}

/// A policy that cuts pods of a namespace off, before all others.
fn containment(dice: &mut Dice, entries: &mut Vec<RuleEntry>) -> Policy {
    let mut section = || {
        let id = entry(entries, Reason::AdminDeny);
        Section::Rules(vec![Rule { id, action: Action::Deny, peers: Peers::Everyone, ports: Ports::All }])
    };
    let (ingress, egress) = (section(), section());
    Policy {
        object: ObjectRef { kind: CONTAINMENT.into(), namespace: "".into(), name: "z".into() },
        source: None,
        tier: Tier::Admin,
        priority: 0,
        subject: Subject {
            namespaces: NamespaceScope::Own(namespace_name(dice)),
            pods: narrow_selector(dice),
        },
        ingress,
        egress,
        isolation: [RuleId::NO_POLICY; 2],
        dns: Dns::default(),
    }
}

fn dns(dice: &mut Dice, entries: &mut Vec<RuleEntry>) -> Dns {
    let mut dns = Dns::default();
    if dice.chance(40) {
        dns.names = DnsNames::Only {
            listed: entry(entries, Reason::DnsNameAllow),
            unlisted: entry(entries, Reason::DnsNameDeny),
            patterns: patterns(dice),
            from_rules: dice.chance(50),
        };
    }
    if dice.chance(30) {
        let cidr = network(dice).unwrap_or(IpNet::V4(ipnet::Ipv4Net::default()));
        dns.resolvers = DnsResolvers::Only {
            listed: entry(entries, Reason::EgressPolicyAllow),
            unlisted: entry(entries, Reason::DnsResolverDeny),
            peers: vec![Peer::Network { cidr, except: Vec::new() }],
        };
    }
    dns
}

fn patterns(dice: &mut Dice) -> Vec<DomainPattern> {
    let all = ["a.io", "*.a.io", "**.a.io", "*.x.a.io", "**.x.a.io", "b.io", "*.b.io", "**.io"];
    let texts: Vec<_> = (0..=dice.below(2)).map(|_| dice.text(&all)).collect();
    let zones = zones(dice);
    texts.into_iter().filter_map(|text| Some(DomainPattern::parse_own(text).ok()?.outside(&zones))).collect()
}

/// Mostly none, so that rules of one pod often mean the same names.
fn zones(dice: &mut Dice) -> Vec<DnsName> {
    let count = if dice.chance(25) { dice.below(3) } else { 0 };
    let texts: Vec<_> = (0..count).map(|_| dice.text(&["x.a.io", "a.io", "b.io", "c.io"])).collect();
    texts.into_iter().filter_map(|text| DnsName::parse(text).ok()).collect()
}

/// `own`: of one of Cofferdam's own kinds.
fn rule(
    dice: &mut Dice,
    (tier, own): (Tier, bool),
    namespace: &Arc<str>,
    entries: &mut Vec<RuleEntry>,
) -> Rule {
    let action = match (tier, dice.below(3)) {
        (Tier::NetworkPolicy, 1) if own => Action::Deny,
        (Tier::NetworkPolicy, _) | (_, 0) => Action::Accept,
        (_, 1) => Action::Deny,
        (_, _) => Action::Pass,
    };
    let reason = match (tier, action) {
        (Tier::NetworkPolicy, Action::Deny) => Reason::EgressPolicyDeny,
        (Tier::NetworkPolicy, _) if own => Reason::EgressPolicyAllow,
        (Tier::NetworkPolicy, _) => Reason::NetworkPolicyAllow,
        (Tier::Admin, Action::Deny) => Reason::AdminDeny,
        (Tier::Admin, Action::Accept | Action::Pass) => Reason::AdminAccept,
        (Tier::Baseline, Action::Deny) => Reason::BaselineDeny,
        (Tier::Baseline, Action::Accept | Action::Pass) => Reason::BaselineAccept,
    };
    let peers = match dice.chance(20) {
        true => Peers::Everyone,
        false => Peers::AnyOf((0..dice.below(4)).map(|_| peer(dice, namespace)).collect()),
    };
    let ports = match dice.chance(35) {
        true => Ports::All,
        false => Ports::AnyOf((0..dice.below(4)).map(|_| port_match(dice)).collect()),
    };
    let id = entry(entries, reason);
    let mut peers = peers;
    if own && action == Action::Accept {
        let (limits, requests) = (upload(dice), requests(dice));
        if requests.is_some() {
            peers = Peers::AnyOf(vec![Peer::Names(patterns(dice))]);
        }
        let is_granting = tier == Tier::NetworkPolicy && dice.chance(15);
        let requests = match is_granting {
            true => {
                peers = Peers::AnyOf(vec![Peer::Names(vec![DomainPattern::Any.outside(&zones(dice))])]);
                Some(Arc::new(Requests { granted: true, ..Requests::default() }))
            }
            false => requests,
        };
        entries.last_mut().into_iter().for_each(|entry| {
            entry.upload = limits;
            entry.requests.clone_from(&requests);
        });
    }
    Rule { id, action, peers, ports }
}

fn peer(dice: &mut Dice, namespace: &Arc<str>) -> Peer {
    if dice.chance(15) {
        let mut selector = namespace_selector(dice);
        if dice.chance(50) {
            let cluster = one_of(policy::CLUSTER_LABEL, dice.text(&["west", "south"]));
            selector = selector.0.iter().cloned().chain([cluster]).collect();
        }
        return Peer::Pods { namespaces: NamespaceScope::Elsewhere(selector), pods: self::selector(dice) };
    }
    match dice.below(10) {
        0..=2 => Peer::Pods {
            namespaces: NamespaceScope::Matching(namespace_selector(dice)),
            pods: selector(dice),
        },
        3 | 4 => Peer::Pods { namespaces: NamespaceScope::Own(namespace.clone()), pods: selector(dice) },
        5..=7 => {
            let except = (0..dice.below(3)).filter_map(|_| network(dice)).collect();
            let fallback = IpNet::V4(ipnet::Ipv4Net::default());
            Peer::Network { cidr: network(dice).unwrap_or(fallback), except }
        }
        8 => Peer::Nodes(match dice.chance(30) {
            true => Selector::everything(),
            false => Selector::from_iter([one_of("zone", dice.text(&["x", "y"]))]),
        }),
        _ => Peer::Names(patterns(dice)),
    }
}

/// Prefixes around, in and beside the addresses of pods and nodes; many nest.
fn network(dice: &mut Dice) -> Option<IpNet> {
    let v4s = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/30", "10.9.0.0/24"];
    let more = ["10.0.0.2/32", "10.2.0.4/31", "93.184.0.0/30", "93.184.0.1/32", "10.9.0.3/32", "10.0.0.0/29"];
    let v6s = ["::/0", "fd00::/16", "fd00:1::/32", "fd00:1::/126", "fd00::3/128", "fd00:9::/32"];
    let text = match dice.below(3) {
        0 => dice.text(&v4s),
        1 => dice.text(&more),
        _ => dice.text(&v6s),
    };
    text.parse().ok()
}

fn port_match(dice: &mut Dice) -> PortMatch {
    if dice.chance(35) {
        let protocol = dice.pick(&[None, Some(Protocol::TCP), Some(Protocol::UDP)]).copied().flatten();
        return PortMatch::Named { name: dice.text(&["http", "admin"]).into(), protocol };
    }
    let protocol = *dice.pick(&Protocol::WITH_PORTS).unwrap_or(&Protocol::TCP);
    let first = *dice.pick(&[0, 1, 79, 80, 81, 443, 1000]).unwrap_or(&80);
    let last = *dice.pick(&[first, first, 80, 443, 65535]).unwrap_or(&first);
    PortMatch::Numbers { protocol, first, last }
}

fn one_of(key: &str, value: &str) -> Requirement {
    Requirement::In(key.into(), vec![value.into()])
}

fn namespace_selector(dice: &mut Dice) -> Selector {
    match dice.below(6) {
        0 | 1 => Selector::everything(),
        2 => Selector::from_iter([one_of("team", dice.text(&["a", "b"]))]),
        3 => Selector::from_iter([one_of("kubernetes.io/metadata.name", &namespace_name(dice))]),
        4 => Selector::from_iter([Requirement::NotIn("team".into(), vec!["a".into()])]),
        _ => Selector::from_iter([Requirement::DoesNotExist("team".into())]),
    }
}

/// For subjects: often everything, so that policies meet.
fn narrow_selector(dice: &mut Dice) -> Selector {
    if dice.chance(50) { Selector::everything() } else { selector(dice) }
}

fn selector(dice: &mut Dice) -> Selector {
    match dice.below(9) {
        0 | 1 => Selector::everything(),
        2 => Selector::from_iter([one_of("app", dice.text(&["web", "db", "job"]))]),
        3 => Selector::from_iter([Requirement::In("app".into(), vec!["web".into(), "job".into()])]),
        4 => Selector::from_iter([Requirement::Exists("canary".into()), one_of("app", "web")]),
        5 => Selector::from_iter([Requirement::DoesNotExist("app".into())]),
        // Together they mean nobody.
        6 => Selector::from_iter([one_of("app", "web"), one_of("app", "db")]),
        7 => Selector::from_iter([
            Requirement::NotIn("app".into(), vec!["db".into(), "web".into()]),
            Requirement::NotIn("canary".into(), vec!["yes".into()]),
        ]),
        _ => Selector::from_iter([Requirement::NotIn("app".into(), vec!["db".into()])]),
    }
}

/// One end of a sampled access.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// As the evaluator sees it.
    pub endpoint: Endpoint<'a>,
    /// The address its packets carry.
    pub address: IpAddr,
}

/// Addresses for all pods that have none, from 100.64.0.1 up.
pub fn placement(set: &PolicySet) -> BTreeMap<(Arc<str>, Arc<str>), Vec<IpAddr>> {
    let is_homeless =
        |pod: &&Arc<Pod>| !pod.host_network && pod.addresses.is_empty() && pod.cluster().is_none();
    let homeless = set.world.pods.iter().filter(is_homeless);
    let key = |pod: &Pod| (pod.namespace.clone(), pod.name.clone());
    let address = |number: usize| v4(100, 64, u8::try_from(number + 1).unwrap_or(u8::MAX));
    homeless.enumerate().map(|(number, pod)| (key(pod), vec![address(number)])).collect()
}

/// Every end worth asking about: pods, nodes, learned names, and addresses in and beside the networks.
pub fn ends(set: &PolicySet) -> Vec<End<'_>> {
    let world = &set.world;
    let outside =
        ["9.9.9.9", "10.0.0.200", "10.1.0.3", "10.1.0.77", "93.184.0.0", "93.184.0.1", "93.184.0.9"];
    let outside6 = ["2001:db8::1", "fd00:1::2", "fd00:1::ff", "fd00::3"];
    let mut addresses: BTreeSet<IpAddr> = world.pods.iter().flat_map(|pod| pod.addresses.clone()).collect();
    addresses.extend(world.nodes.values().flat_map(|node| node.addresses.clone()));
    let answered = |resolved: &Resolved| {
        [&resolved.live, &resolved.past].map(|answers| answers.keys().copied().collect::<Vec<_>>())
    };
    addresses.extend(world.names.values().flat_map(answered).flatten());
    addresses.extend(outside.iter().chain(&outside6).filter_map(|text| text.parse::<IpAddr>().ok()));
    let known = addresses.into_iter().map(|address| End { endpoint: Endpoint::at(world, address), address });
    let placed = placement(set);
    let homeless = world.pods.iter().filter_map(|pod| {
        let address = *placed.get(&(pod.namespace.clone(), pod.name.clone()))?.first()?;
        Some(End { endpoint: Endpoint { party: Party::Pod(pod), address: None }, address })
    });
    known.chain(homeless).collect()
}

/// Whether the ends are two addresses of one pod: what goes between them never leaves it.
pub fn stays_inside(from: &End<'_>, to: &End<'_>) -> bool {
    match (from.endpoint.party, to.endpoint.party) {
        (Party::Pod(a), Party::Pod(b)) => {
            (&a.namespace, &a.name) == (&b.namespace, &b.name) && from.address != to.address
        }
        (Party::Pod(_) | Party::Node(_) | Party::Outside, _) => false,
    }
}

/// A random access between two ends; pods are preferred. `None` where it would be between two addresses of one
/// pod, which never leaves the pod.
pub fn access<'a>(dice: &mut Dice, ends: &[End<'a>]) -> Option<(End<'a>, End<'a>, Access<'a>)> {
    let mut choose = || {
        let first = *dice.pick(ends)?;
        let again = !matches!(first.endpoint.party, Party::Pod(_)) && dice.chance(50);
        if again { dice.pick(ends).copied() } else { Some(first) }
    };
    let (from, to) = (choose()?, choose()?);
    if stays_inside(&from, &to) {
        return None;
    }
    let protocols =
        [Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP, Protocol::ICMPV6];
    let protocol = if dice.chance(3) { Protocol(47) } else { *dice.pick(&protocols)? };
    let ports = [0, 1, 78, 79, 80, 81, 82, 442, 443, 444, 999, 1000, 1001, 65535];
    let port = if protocol.has_ports() { *dice.pick(&ports)? } else { 0 };
    Some((from, to, Access { from: from.endpoint, to: to.endpoint, protocol, port }))
}
