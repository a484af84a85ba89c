//! From the policy model to the messages of the feed.
//!
//! Guarantees: equal resources give equal bytes. Does not: decide anything; [`crate::decode`] is its inverse.

use crate::resource::{Key, Kind, Resource};
use crate::wire;
use ipnet::IpNet;
use policy::detection::Tuning;
use policy::{
    Action, Capture, Credential, Direction, DnsName, DnsNames, DnsResolvers, DomainPattern, Glob,
    HostedTools, Inject, Labels, LeakAction, NamespaceScope, ObjectRef, Operations, Peer, Peers, Policy,
    PortMatch, Ports, ProviderEgress, Quota, Requests, Requirement, Rule, RuleEntry, RuleId, SecretRef,
    Section, Selector, SourceRef, Subject, Tier, ToolCondition, UploadLimits, WhenUnopened,
};
use prost::Message as _;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) fn resource(of: &Key, resource: &Resource) -> Bytes {
    let body = match resource {
        Resource::Namespace(namespace) => {
            wire::Body::Namespace(wire::Namespace { labels: labels(&namespace.labels) })
        }
        Resource::Node(node) => wire::Body::Node(wire::Node {
            labels: labels(&node.labels),
            addresses: node.addresses.iter().map(address).collect(),
        }),
        Resource::Pod(pod) => wire::Body::Pod(wire::Pod {
            labels: labels(&pod.labels),
            service_account: pod.service_account.to_string(),
            node: pod.node.as_ref().map(ToString::to_string),
            addresses: pod.addresses.iter().map(address).collect(),
            ports: pod
                .ports
                .iter()
                .map(|port| wire::NamedPort {
                    name: port.name.to_string(),
                    protocol: port.protocol.0.into(),
                    port: port.port.into(),
                })
                .collect(),
            host_network: pod.host_network,
            workload_kind: pod.workload.kind.to_string(),
            workload_name: pod.workload.name.to_string(),
        }),
        Resource::Policy(policy, entries) => wire::Body::Policy(self::policy(policy, entries)),
        Resource::Closed(scope, entry) => wire::Body::Closed(wire::Closed {
            entry: Some(self::entry(entry)),
            subject: Some(subject(&scope.subject)),
            directions: scope.directions.iter().map(|it| direction(*it)).collect(),
        }),
    };
    wire::Resource { key: Some(key(of)), body: Some(body) }.encode_to_vec().into()
}

pub(crate) fn key(key: &Key) -> wire::Key {
    wire::Key {
        kind: match key.kind {
            Kind::Namespace => 1,
            Kind::Node => 2,
            Kind::Pod => 3,
            Kind::Policy => 4,
            Kind::Closed => 5,
        },
        object_kind: key.object_kind.to_string(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        number: key.number,
    }
}

fn labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn address(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn prefix(net: &IpNet) -> wire::Prefix {
    wire::Prefix { address: address(&net.addr()), length: net.prefix_len().into() }
}

fn direction(direction: Direction) -> u32 {
    match direction {
        Direction::Egress => 1,
        Direction::Ingress => 2,
    }
}

fn policy(policy: &Policy, entries: &[RuleEntry]) -> wire::Policy {
    let isolates = |section: &Section, id: RuleId| match section {
        Section::Rules(_) if policy.tier == Tier::NetworkPolicy => Some(id.0),
        Section::Rules(_) | Section::Untouched => None,
    };
    let [isolation_egress, isolation_ingress] = policy.isolation;
    wire::Policy {
        source: policy.source.as_ref().map(source),
        tier: match policy.tier {
            Tier::Admin => 1,
            Tier::NetworkPolicy => 2,
            Tier::Baseline => 3,
        },
        priority: policy.priority.into(),
        subject: Some(subject(&policy.subject)),
        ingress: section(&policy.ingress),
        egress: section(&policy.egress),
        isolation_egress: isolates(&policy.egress, isolation_egress),
        isolation_ingress: isolates(&policy.ingress, isolation_ingress),
        entries: entries.iter().map(entry).collect(),
        dns_names: match &policy.dns.names {
            DnsNames::Any => None,
            DnsNames::Only { listed, unlisted, patterns, from_rules } => Some(wire::DnsNames {
                listed: listed.0,
                unlisted: unlisted.0,
                names: Some(names(patterns)),
                from_rules: *from_rules,
            }),
        },
        dns_resolvers: match &policy.dns.resolvers {
            DnsResolvers::Any => None,
            DnsResolvers::Only { listed, unlisted, peers } => Some(wire::DnsResolvers {
                listed: listed.0,
                unlisted: unlisted.0,
                peers: Some(wire::Peers { any_of: peers.iter().map(peer).collect() }),
            }),
        },
    }
}

pub(crate) fn names(patterns: &[DomainPattern]) -> wire::Names {
    wire::Names { patterns: patterns.iter().map(pattern).collect() }
}

fn pattern(pattern: &DomainPattern) -> String {
    match pattern {
        DomainPattern::Exact(name) => name.to_string(),
        DomainPattern::OneBelow(name) => format!("*1.{name}"),
        DomainPattern::Below(name) => format!("*.{name}"),
        DomainPattern::Any => wire::ANY_NAME.to_owned(),
        DomainPattern::Outside(outside) => {
            let zones: Vec<&str> = outside.zones().iter().map(DnsName::as_str).collect();
            format!("{}{}{}", self::pattern(outside.wide()), wire::EXCEPT, zones.join(","))
        }
    }
}

fn section(section: &Section) -> Option<wire::Section> {
    match section {
        Section::Untouched => None,
        Section::Rules(rules) => Some(wire::Section { rules: rules.iter().map(rule).collect() }),
    }
}

fn rule(rule: &Rule) -> wire::Rule {
    wire::Rule {
        entry: rule.id.0,
        action: match rule.action {
            Action::Accept => 1,
            Action::Deny => 2,
            Action::Pass => 3,
        },
        peers: match &rule.peers {
            Peers::Everyone => None,
            Peers::AnyOf(list) => Some(wire::Peers { any_of: list.iter().map(peer).collect() }),
        },
        ports: match &rule.ports {
            Ports::All => None,
            Ports::AnyOf(list) => Some(wire::Ports { any_of: list.iter().map(port).collect() }),
        },
    }
}

fn peer(peer: &Peer) -> wire::Peer {
    let who = match peer {
        Peer::Pods { namespaces, pods } => wire::Who::Pods(pod_set(namespaces, pods)),
        Peer::Network { cidr, except } => wire::Who::Network(wire::Network {
            cidr: Some(prefix(cidr)),
            except: except.iter().map(prefix).collect(),
        }),
        Peer::Nodes(nodes) => wire::Who::Nodes(selector(nodes)),
        Peer::Names(patterns) => wire::Who::Names(names(patterns)),
    };
    wire::Peer { who: Some(who) }
}

fn port(port: &PortMatch) -> wire::Port {
    match port {
        PortMatch::Numbers { protocol, first, last } => wire::Port {
            protocol: Some(protocol.0.into()),
            name: None,
            first: (*first).into(),
            last: (*last).into(),
        },
        PortMatch::Named { name, protocol } => wire::Port {
            protocol: protocol.map(|protocol| protocol.0.into()),
            name: Some(name.to_string()),
            first: 0,
            last: 0,
        },
    }
}

fn subject(subject: &Subject) -> wire::PodSet {
    pod_set(&subject.namespaces, &subject.pods)
}

fn pod_set(namespaces: &NamespaceScope, pods: &Selector) -> wire::PodSet {
    let namespaces = match namespaces {
        NamespaceScope::Own(name) => wire::Namespaces::Own(name.to_string()),
        NamespaceScope::Matching(matching) => wire::Namespaces::Matching(selector(matching)),
        NamespaceScope::Elsewhere(matching) => wire::Namespaces::Elsewhere(selector(matching)),
    };
    wire::PodSet { namespaces: Some(namespaces), pods: Some(selector(pods)) }
}

fn selector(selector: &Selector) -> wire::Selector {
    wire::Selector { requirements: selector.0.iter().map(requirement).collect() }
}

fn requirement(requirement: &Requirement) -> wire::Requirement {
    let texts = |values: &[std::sync::Arc<str>]| values.iter().map(ToString::to_string).collect();
    let (operator, key, values) = match requirement {
        Requirement::In(key, values) => (1, key, texts(values)),
        Requirement::NotIn(key, values) => (2, key, texts(values)),
        Requirement::Exists(key) => (3, key, Vec::new()),
        Requirement::DoesNotExist(key) => (4, key, Vec::new()),
    };
    wire::Requirement { operator, key: key.to_string(), values }
}

fn entry(entry: &RuleEntry) -> wire::Entry {
    let limited = entry.upload.map_or("", |_| wire::LIMITED);
    let judged = entry.requests.as_ref().map_or("", |_| wire::JUDGED);
    wire::Entry {
        reason: format!("{}{limited}{judged}", entry.reason.as_str()),
        direction: entry.direction.map(direction),
        index: entry.index,
        name: entry.name.as_ref().map(ToString::to_string),
        field: entry.field.to_string(),
        source: entry.source.as_ref().map(source),
        object: entry.object.as_ref().map(object),
        upload: entry.upload.map(upload),
        requests: entry.requests.as_deref().map(requests).map(Box::new),
    }
}

fn upload(limits: UploadLimits) -> wire::UploadLimits {
    let UploadLimits { connection, hour, day, download_only } = limits;
    wire::UploadLimits { connection, hour, day, download_only }
}

fn requests(requests: &Requests) -> wire::Requests {
    let Requests {
        operations,
        models,
        tools,
        credentials,
        only_referred,
        leaks,
        quotas,
        capture,
        answers,
        granted,
        redirects,
        ..
    } = requests;
    let tool_conditions = requests.tool_conditions.iter().map(|ToolCondition { tool, when }| {
        wire::ToolCondition { tool: tool.to_string(), when: when.text().to_string() }
    });
    let word = |action: LeakAction| {
        let word = LeakAction::WORDS.into_iter().find(|(_, known)| *known == action);
        word.map(|(word, _)| word.to_owned())
    };
    let quota =
        |Quota { hour, day }: Quota| (hour.is_some() || day.is_some()).then_some(wire::Quota { hour, day });
    let texts = |globs: &[Glob]| globs.iter().map(ToString::to_string).collect();
    let operations = operations.iter().map(|Operations { verbs, resources }| wire::Operations {
        verbs: verbs.iter().map(ToString::to_string).collect(),
        resources: texts(resources),
    });
    let (mut sha256, mut aws_key_ids) = (Vec::new(), Vec::new());
    for credential in credentials {
        match credential {
            Credential::Sha256(digest) => sha256.push(digest.to_string()),
            Credential::AwsKeyId(id) => aws_key_ids.push(id.to_string()),
        }
    }
    wire::Requests {
        operations: operations.collect(),
        models: texts(models),
        tools: texts(tools),
        sha256,
        aws_key_ids,
        only_referred: *only_referred,
        secrets: leaks.secrets.and_then(word),
        personal: leaks.personal.and_then(word),
        files: leaks.files.and_then(word),
        canary_action: leaks.canaries.as_ref().and_then(|canaries| word(canaries.action)),
        canaries: leaks.canaries.iter().flat_map(|it| &it.values).map(ToString::to_string).collect(),
        request_quota: quota(quotas.requests),
        token_quota: quota(quotas.tokens),
        money_quota: quota(quotas.money),
        level: match (granted, redirects, &requests.inject) {
            (true, _, _) | (_, Some(_), _) => wire::LEVEL,
            (false, None, Some(_)) => wire::WITHOUT_GRANTS,
            (false, None, None) => wire::WITHOUT_INJECT,
        },
        granted: *granted,
        redirects: *redirects,
        capture: capture.map(|Capture { requests, answers, max_bytes }| wire::Capture {
            requests,
            answers,
            max_bytes,
        }),
        tool_conditions: tool_conditions.collect(),
        opaque_action: leaks.opaque.and_then(|opaque| word(opaque.action)),
        opaque_from: leaks.opaque.map_or(0, |opaque| opaque.min_bytes),
        pickles: answers.pickles.and_then(word),
        archives: answers.archives.and_then(word),
        pass_unopened: requests.when_unopened == WhenUnopened::Pass,
        inject: requests.inject.as_ref().map(inject),
        provider_egress: Some(&requests.provider_egress).filter(|it| !it.is_closed()).map(provider_egress),
    }
}

fn provider_egress(egress: &ProviderEgress) -> wire::ProviderEgress {
    let word = HostedTools::WORDS.into_iter().find(|(_, known)| *known == egress.hosted_tools);
    wire::ProviderEgress {
        domains: Some(names(&egress.domains)),
        hosted_tools: word.map(|(word, _)| word.to_owned()).unwrap_or_default(),
    }
}

/// What DetectionPolicies say.
pub(crate) fn detection<'t>(tunings: impl Iterator<Item = &'t Tuning>) -> wire::Detection {
    // Texts and numbers always become JSON.
    wire::Detection { tunings: tunings.filter_map(|tuning| serde_json::to_vec(tuning).ok()).collect() }
}

/// Keys on their way, which are in nothing that is kept.
pub(crate) fn keys(keys: &BTreeMap<SecretRef, policy::Key>) -> wire::Keys {
    let one = |(SecretRef { namespace, name, key: entry }, key): (&SecretRef, &policy::Key)| {
        let [namespace, name, entry] = [namespace, name, entry].map(ToString::to_string);
        wire::SecretKey { namespace, name, entry, key: key.expose().to_owned() }
    };
    wire::Keys { all: keys.iter().map(one).collect() }
}

fn inject(inject: &Inject) -> wire::Inject {
    let Inject { secret: SecretRef { namespace, name, key }, header } = inject;
    let [namespace, name, key] = [namespace, name, key].map(ToString::to_string);
    wire::Inject { namespace, name, key, header: header.as_ref().map(ToString::to_string) }
}

fn object(object: &ObjectRef) -> wire::Object {
    wire::Object {
        kind: object.kind.to_string(),
        namespace: object.namespace.to_string(),
        name: object.name.to_string(),
    }
}

fn source(source: &SourceRef) -> wire::Source {
    wire::Source { file: source.file.to_string(), line: source.line, column: source.column }
}
