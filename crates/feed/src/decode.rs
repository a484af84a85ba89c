//! From the messages of the feed to the policy model.
//!
//! Enters: bytes of a resource. Leaves: the resource, equal texts and label sets shared. Guarantees: whatever is missing,
//! unknown or out of range is an error that names it; nothing is guessed, so that a node which is older than its
//! controller refuses what it does not understand. Does not: check that the parts fit each other ([`crate::replica`]).

use crate::resource::{Key, Kind, Resource};
use crate::wire;
use ipnet::IpNet;
use policy::detection::Tuning;
use policy::intern::Interner;
use policy::{
    Action, AnswerFiles, Canaries, Capture, ClosedScope, Condition, Credential, Direction, Dns, DnsName,
    DnsNames, DnsResolvers, DomainPattern, Glob, HostedTools, Inject, Labels, LeakAction, Leaks, NamedPort,
    Namespace, NamespaceScope, Node, ObjectRef, Opaque, Operations, Peer, Peers, Pod, Policy, PortMatch,
    Ports, Protocol, ProviderEgress, Quota, Quotas, Reason, Requests, Requirement, Rule, RuleEntry, RuleId,
    SecretRef, Section, Selector, SourceRef, Subject, Tier, ToolCondition, UploadLimits, Verb, WhenUnopened,
    WorkloadRef,
};
use prost::Message as _;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Why a message was not understood.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// It is no such message at all.
    #[error("not a message of the feed: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A part is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part has a value that this version does not know.
    #[error("{what} is {value:?}, which this version does not know; update the agent before the controller")]
    Unknown {
        /// Which part.
        what: &'static str,
        /// The value.
        value: String,
    },
}

fn unknown<T>(what: &'static str, value: impl ToString) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown { what, value: value.to_string() })
}

/// Decodes resources; one for a replica's life, or less.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    interner: Interner,
}

impl Decoder {
    pub(crate) fn resource(&mut self, bytes: &[u8]) -> Result<(Key, Resource), DecodeError> {
        let wire::Resource { key, body } = wire::Resource::decode(bytes)?;
        let key = self.key(&key.ok_or(DecodeError::Missing("a key"))?)?;
        let resource = match (key.kind, body.ok_or(DecodeError::Missing("the body of a resource"))?) {
            (Kind::Namespace, wire::Body::Namespace(it)) => {
                Resource::Namespace(Namespace { name: key.name.clone(), labels: self.labels(&it.labels) })
            }
            (Kind::Node, wire::Body::Node(it)) => Resource::Node(Node {
                name: key.name.clone(),
                labels: self.labels(&it.labels),
                addresses: addresses(&it.addresses)?,
            }),
            (Kind::Pod, wire::Body::Pod(it)) => Resource::Pod(Arc::new(self.pod(&key, &it)?)),
            (Kind::Policy, wire::Body::Policy(it)) => self.policy(&key, &it)?,
            (Kind::Closed, wire::Body::Closed(it)) => self.closed(&it)?,
            (Kind::Namespace | Kind::Node | Kind::Pod | Kind::Policy | Kind::Closed, _) => {
                return unknown("the body of a resource", &key);
            }
        };
        Ok((key, resource))
    }

    pub(crate) fn key(&mut self, key: &wire::Key) -> Result<Key, DecodeError> {
        let kind = match key.kind {
            1 => Kind::Namespace,
            2 => Kind::Node,
            3 => Kind::Pod,
            4 => Kind::Policy,
            5 => Kind::Closed,
            other => return unknown("a kind of resource", other),
        };
        Ok(Key {
            kind,
            object_kind: self.interner.text(&key.object_kind),
            namespace: self.interner.text(&key.namespace),
            name: self.interner.text(&key.name),
            number: key.number,
        })
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) -> Labels {
        self.interner.labels(labels)
    }

    fn pod(&mut self, key: &Key, pod: &wire::Pod) -> Result<Pod, DecodeError> {
        let mut ports = Vec::with_capacity(pod.ports.len());
        for port in &pod.ports {
            let name = self.interner.text(&port.name);
            ports.push(NamedPort { name, protocol: protocol(port.protocol)?, port: port_number(port.port)? });
        }
        Ok(Pod {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            labels: self.labels(&pod.labels),
            service_account: self.interner.text(&pod.service_account),
            node: pod.node.as_ref().map(|node| self.interner.text(node)),
            addresses: addresses(&pod.addresses)?,
            ports,
            host_network: pod.host_network,
            workload: WorkloadRef {
                kind: self.interner.text(&pod.workload_kind),
                name: self.interner.text(&pod.workload_name),
            },
        })
    }

    fn policy(&mut self, key: &Key, policy: &wire::Policy) -> Result<Resource, DecodeError> {
        let tier = match policy.tier {
            1 => Tier::Admin,
            2 => Tier::NetworkPolicy,
            3 => Tier::Baseline,
            other => return unknown("a tier", other),
        };
        let count = policy.entries.len();
        let (ingress, egress) =
            (self.section(policy.ingress.as_ref(), count)?, self.section(policy.egress.as_ref(), count)?);
        let isolation = |section: &Section, id: Option<u32>| match (section, id) {
            (Section::Rules(_), Some(id)) if tier == Tier::NetworkPolicy => rule_id(id, count),
            (Section::Rules(_), None) if tier == Tier::NetworkPolicy => {
                Err(DecodeError::Missing("the rule of an isolation"))
            }
            (Section::Rules(_) | Section::Untouched, Some(id)) => unknown("the rule of an isolation", id),
            (Section::Rules(_) | Section::Untouched, None) => Ok(RuleId::NO_POLICY),
        };
        let isolation =
            [isolation(&egress, policy.isolation_egress)?, isolation(&ingress, policy.isolation_ingress)?];
        let policy_of = Policy {
            object: ObjectRef {
                kind: key.object_kind.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
            },
            source: policy.source.as_ref().map(|source| self.source(source)),
            tier,
            priority: u16::try_from(policy.priority).or_else(|_| unknown("a priority", policy.priority))?,
            subject: self.subject(policy.subject.as_ref())?,
            ingress,
            egress,
            isolation,
            dns: self.dns(policy, count)?,
        };
        let entries = policy.entries.iter().map(|entry| self.entry(entry)).collect::<Result<_, _>>()?;
        Ok(Resource::Policy(Box::new(policy_of), entries))
    }

    fn dns(&mut self, policy: &wire::Policy, entries: usize) -> Result<Dns, DecodeError> {
        let mut dns = Dns::default();
        if let Some(it) = &policy.dns_names {
            dns.names = DnsNames::Only {
                listed: rule_id(it.listed, entries)?,
                unlisted: rule_id(it.unlisted, entries)?,
                patterns: patterns(it.names.as_ref().ok_or(DecodeError::Missing("the names of a list"))?)?,
                from_rules: it.from_rules,
            };
        }
        if let Some(it) = &policy.dns_resolvers {
            let peers = it.peers.as_ref().ok_or(DecodeError::Missing("the resolvers of a list"))?;
            dns.resolvers = DnsResolvers::Only {
                listed: rule_id(it.listed, entries)?,
                unlisted: rule_id(it.unlisted, entries)?,
                peers: peers.any_of.iter().map(|peer| self.peer(peer)).collect::<Result<_, _>>()?,
            };
        }
        Ok(dns)
    }

    fn closed(&mut self, closed: &wire::Closed) -> Result<Resource, DecodeError> {
        let entry = closed.entry.as_ref().ok_or(DecodeError::Missing("the rule of a closed scope"))?;
        let entry = self.entry(entry)?;
        let directions: Vec<_> =
            closed.directions.iter().map(|it| direction(*it)).collect::<Result<_, _>>()?;
        if directions.is_empty() {
            return Err(DecodeError::Missing("a direction of a closed scope"));
        }
        let scope = ClosedScope {
            rule: RuleId::NO_POLICY,
            subject: self.subject(closed.subject.as_ref())?,
            directions,
        };
        Ok(Resource::Closed(scope, Box::new(entry)))
    }

    fn section(&mut self, section: Option<&wire::Section>, entries: usize) -> Result<Section, DecodeError> {
        let Some(section) = section else { return Ok(Section::Untouched) };
        let rules = section.rules.iter().map(|rule| self.rule(rule, entries)).collect::<Result<_, _>>()?;
        Ok(Section::Rules(rules))
    }

    fn rule(&mut self, rule: &wire::Rule, entries: usize) -> Result<Rule, DecodeError> {
        let action = match rule.action {
            1 => Action::Accept,
            2 => Action::Deny,
            3 => Action::Pass,
            other => return unknown("an action", other),
        };
        let peers = match &rule.peers {
            None => Peers::Everyone,
            Some(peers) => {
                Peers::AnyOf(peers.any_of.iter().map(|peer| self.peer(peer)).collect::<Result<_, _>>()?)
            }
        };
        let ports = match &rule.ports {
            None => Ports::All,
            Some(ports) => {
                Ports::AnyOf(ports.any_of.iter().map(|port| self.port(port)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Rule { id: rule_id(rule.entry, entries)?, action, peers, ports })
    }

    fn peer(&mut self, peer: &wire::Peer) -> Result<Peer, DecodeError> {
        match peer.who.as_ref().ok_or(DecodeError::Missing("who a peer is"))? {
            wire::Who::Pods(set) => {
                let Subject { namespaces, pods } = self.subject(Some(set))?;
                Ok(Peer::Pods { namespaces, pods })
            }
            wire::Who::Network(network) => Ok(Peer::Network {
                cidr: prefix(network.cidr.as_ref().ok_or(DecodeError::Missing("a network"))?)?,
                except: network.except.iter().map(prefix).collect::<Result<_, _>>()?,
            }),
            wire::Who::Nodes(nodes) => Ok(Peer::Nodes(self.selector(nodes)?)),
            wire::Who::Names(names) => Ok(Peer::Names(patterns(names)?)),
        }
    }

    fn port(&mut self, port: &wire::Port) -> Result<PortMatch, DecodeError> {
        let written = port.protocol.map(protocol).transpose()?;
        match (&port.name, written) {
            (Some(name), protocol) => Ok(PortMatch::Named { name: self.interner.text(name), protocol }),
            // A range that ends before it begins can be written, and matches nothing.
            (None, Some(protocol)) => Ok(PortMatch::Numbers {
                protocol,
                first: port_number(port.first)?,
                last: port_number(port.last)?,
            }),
            (None, None) => Err(DecodeError::Missing("the protocol of a port")),
        }
    }

    fn subject(&mut self, set: Option<&wire::PodSet>) -> Result<Subject, DecodeError> {
        let set = set.ok_or(DecodeError::Missing("a set of pods"))?;
        let namespaces =
            match set.namespaces.as_ref().ok_or(DecodeError::Missing("the namespaces of pods"))? {
                wire::Namespaces::Own(name) => NamespaceScope::Own(self.interner.text(name)),
                wire::Namespaces::Matching(selector) => NamespaceScope::Matching(self.selector(selector)?),
                wire::Namespaces::Elsewhere(selector) => NamespaceScope::Elsewhere(self.selector(selector)?),
            };
        let pods = set.pods.as_ref().ok_or(DecodeError::Missing("a selector of pods"))?;
        Ok(Subject { namespaces, pods: self.selector(pods)? })
    }

    fn selector(&mut self, selector: &wire::Selector) -> Result<Selector, DecodeError> {
        let mut requirements = Vec::with_capacity(selector.requirements.len());
        for it in &selector.requirements {
            let key = self.interner.text(&it.key);
            let values = it.values.iter().map(|value| self.interner.text(value)).collect();
            requirements.push(match it.operator {
                1 => Requirement::In(key, values),
                2 => Requirement::NotIn(key, values),
                3 => Requirement::Exists(key),
                4 => Requirement::DoesNotExist(key),
                other => return unknown("an operator of a selector", other),
            });
        }
        Ok(self.interner.selector(requirements))
    }

    fn entry(&mut self, entry: &wire::Entry) -> Result<RuleEntry, DecodeError> {
        let (word, requests) = match (entry.reason.strip_suffix(wire::JUDGED), &entry.requests) {
            (Some(word), Some(sent)) => (word, Some(Arc::new(requests(sent)?))),
            (None, None) => (entry.reason.as_str(), None),
            (Some(_), None) => return Err(DecodeError::Missing("which requests a rule allows")),
            (None, Some(_)) => return unknown("the reason of a rule that looks at requests", &entry.reason),
        };
        let (word, upload) = match (word.strip_suffix(wire::LIMITED), &entry.upload) {
            (Some(word), Some(limits)) => (word, Some(upload(limits))),
            (None, None) => (word, None),
            (Some(_), None) => return Err(DecodeError::Missing("what a rule lets a pod upload")),
            (None, Some(_)) => return unknown("the reason of a rule that limits uploads", &entry.reason),
        };
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == word);
        let Some(reason) = reason else { return unknown("a reason", &entry.reason) };
        Ok(RuleEntry {
            reason,
            object: entry.object.as_ref().map(|object| ObjectRef {
                kind: self.interner.text(&object.kind),
                namespace: self.interner.text(&object.namespace),
                name: self.interner.text(&object.name),
            }),
            direction: entry.direction.map(direction).transpose()?,
            index: entry.index,
            name: entry.name.as_ref().map(|name| self.interner.text(name)),
            field: self.interner.text(&entry.field),
            source: entry.source.as_ref().map(|source| self.source(source)),
            upload,
            requests,
        })
    }

    fn source(&mut self, source: &wire::Source) -> SourceRef {
        SourceRef { file: self.interner.text(&source.file), line: source.line, column: source.column }
    }
}

fn upload(limits: &wire::UploadLimits) -> UploadLimits {
    let wire::UploadLimits { connection, hour, day, download_only } = *limits;
    UploadLimits { connection, hour, day, download_only }
}

fn requests(sent: &wire::Requests) -> Result<Requests, DecodeError> {
    if sent.level > wire::LEVEL {
        return unknown("what is demanded of requests", sent.level);
    }
    let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect();
    let verb = |word: &String| {
        let known = Verb::ALL.into_iter().find(|(known, _)| known == word);
        known.map_or_else(|| unknown("a verb", word), |(_, verb)| Ok(verb))
    };
    let operations = sent.operations.iter().map(|some| {
        let verbs = some.verbs.iter().map(verb).collect::<Result<_, _>>()?;
        Ok::<_, DecodeError>(Operations { verbs, resources: globs(&some.resources) })
    });
    let digests = sent.sha256.iter().map(|digest| Credential::Sha256(digest.as_str().into()));
    let ids = sent.aws_key_ids.iter().map(|id| Credential::AwsKeyId(id.as_str().into()));
    Ok(Requests {
        operations: operations.collect::<Result<_, _>>()?,
        models: globs(&sent.models),
        tools: globs(&sent.tools),
        credentials: digests.chain(ids).collect(),
        only_referred: sent.only_referred,
        granted: sent.granted,
        redirects: sent.redirects.map(|seconds| seconds.clamp(1, Requests::MOST_GRANTED)),
        leaks: leaks(sent)?,
        quotas: Quotas {
            requests: quota(sent.request_quota),
            tokens: quota(sent.token_quota),
            money: quota(sent.money_quota),
        },
        capture: sent.capture.map(|wire::Capture { requests, answers, max_bytes }| Capture {
            requests,
            answers,
            max_bytes: max_bytes.min(Capture::MOST_BYTES),
        }),
        tool_conditions: sent.tool_conditions.iter().map(tool_condition).collect::<Result<_, _>>()?,
        answers: AnswerFiles { pickles: action(&sent.pickles)?, archives: action(&sent.archives)? },
        when_unopened: if sent.pass_unopened { WhenUnopened::Pass } else { WhenUnopened::Deny },
        inject: sent.inject.as_ref().map(inject),
        provider_egress: sent.provider_egress.as_ref().map(provider_egress).transpose()?.unwrap_or_default(),
    })
}

fn provider_egress(sent: &wire::ProviderEgress) -> Result<ProviderEgress, DecodeError> {
    let word = sent.hosted_tools.as_str();
    let known = HostedTools::WORDS.into_iter().find(|(known, _)| *known == word);
    let hosted_tools = match known {
        Some((_, hosted_tools)) => hosted_tools,
        None if word.is_empty() => HostedTools::Deny,
        None => return unknown("which tools of a provider may be used", word),
    };
    Ok(ProviderEgress {
        domains: sent.domains.as_ref().map(patterns).transpose()?.unwrap_or_default(),
        hosted_tools,
    })
}

/// What DetectionPolicies say. One that is not understood whole says nothing: it would suppress more than it should.
pub(crate) fn detection(sent: &wire::Detection) -> Arc<[Tuning]> {
    sent.tunings.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect()
}

/// Keys as they came. One that cannot be a key is none: the rule that has it is closed.
pub(crate) fn keys(sent: wire::Keys) -> BTreeMap<SecretRef, policy::Key> {
    let one = |wire::SecretKey { namespace, name, entry, key }: wire::SecretKey| {
        let key = policy::Key::read(zeroize::Zeroizing::new(key).as_bytes()).ok()?;
        Some((SecretRef { namespace: namespace.into(), name: name.into(), key: entry.into() }, key))
    };
    sent.all.into_iter().filter_map(one).collect()
}

fn inject(sent: &wire::Inject) -> Inject {
    let wire::Inject { namespace, name, key, header } = sent;
    let [namespace, name, key] = [namespace, name, key].map(|text| text.as_str().into());
    Inject { secret: SecretRef { namespace, name, key }, header: header.as_deref().map(Into::into) }
}

fn tool_condition(sent: &wire::ToolCondition) -> Result<ToolCondition, DecodeError> {
    let tool = Glob::new(&sent.tool);
    match Condition::new(&sent.when) {
        Ok(when) => Ok(ToolCondition { tool, when }),
        Err(error) => unknown("a condition on arguments", error),
    }
}

fn action(word: &Option<String>) -> Result<Option<LeakAction>, DecodeError> {
    let Some(word) = word else { return Ok(None) };
    let known = LeakAction::WORDS.into_iter().find(|(known, _)| known == word);
    known.map_or_else(|| unknown("what to do with a leak", word), |(_, action)| Ok(Some(action)))
}

fn leaks(sent: &wire::Requests) -> Result<Leaks, DecodeError> {
    let values: Vec<Arc<str>> = sent.canaries.iter().map(|value| value.as_str().into()).collect();
    let canaries = match (action(&sent.canary_action)?, values.is_empty()) {
        (Some(action), _) => Some(Canaries { values, action }),
        (None, true) => None,
        (None, false) => return Err(DecodeError::Missing("what to do with a canary")),
    };
    Ok(Leaks {
        secrets: action(&sent.secrets)?,
        personal: action(&sent.personal)?,
        files: action(&sent.files)?,
        canaries,
        opaque: action(&sent.opaque_action)?.map(|action| Opaque { action, min_bytes: sent.opaque_from }),
    })
}

fn quota(sent: Option<wire::Quota>) -> Quota {
    sent.map_or_else(Quota::default, |wire::Quota { hour, day }| Quota { hour, day })
}

fn rule_id(entry: u32, entries: usize) -> Result<RuleId, DecodeError> {
    if (entry as usize) < entries { Ok(RuleId(entry)) } else { unknown("the number of a rule", entry) }
}

pub(crate) fn patterns(names: &wire::Names) -> Result<Vec<DomainPattern>, DecodeError> {
    let read = |text: &String| pattern(text).map_or_else(|| unknown("a pattern of domain names", text), Ok);
    names.patterns.iter().map(read).collect()
}

fn pattern(text: &str) -> Option<DomainPattern> {
    if let Some((wide, zones)) = text.split_once(wire::EXCEPT) {
        let zones: Option<Vec<_>> = zones.split(',').map(|zone| DnsName::parse(zone).ok()).collect();
        return Some(pattern(wide)?.outside(&zones?));
    }
    if text == wire::ANY_NAME {
        return Some(DomainPattern::Any);
    }
    match text.strip_prefix("*1.") {
        Some(name) => DnsName::parse(name).map(DomainPattern::OneBelow).ok(),
        None => DomainPattern::parse(text).ok(),
    }
}

fn direction(direction: u32) -> Result<Direction, DecodeError> {
    match direction {
        1 => Ok(Direction::Egress),
        2 => Ok(Direction::Ingress),
        other => unknown("a direction", other),
    }
}

fn protocol(number: u32) -> Result<Protocol, DecodeError> {
    u8::try_from(number).map(Protocol).or_else(|_| unknown("a protocol", number))
}

fn port_number(number: u32) -> Result<u16, DecodeError> {
    u16::try_from(number).or_else(|_| unknown("a port", number))
}

fn addresses(addresses: &[Vec<u8>]) -> Result<Vec<IpAddr>, DecodeError> {
    addresses.iter().map(|bytes| address(bytes)).collect()
}

pub(crate) fn address(bytes: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => Ok(v6.into()),
        Err(_) => unknown("the length of an address", bytes.len()),
    }
}

fn prefix(prefix: &wire::Prefix) -> Result<IpNet, DecodeError> {
    let address = address(&prefix.address)?;
    let length = u8::try_from(prefix.length).ok().and_then(|length| IpNet::new(address, length).ok());
    match length {
        Some(net) => Ok(net),
        None => unknown("the length of a prefix", prefix.length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_controller_says_of_detectors_suppresses_nothing_where_it_is_not_understood_whole() {
        let known = r#"{"namespace":"ai","pods":[],"detectors":[]}"#;
        let only_some = r#"{"namespace":"ai","pods":[],"detectors":[{"detector":"beacon","threshold_percent":null,
            "suppress":[{"subject":"**","place":"p","reason":"r","until":null,"only_by_night":true}]}]}"#;
        let tunings = [known, only_some, "", "[]", "\u{0}"].map(|json| json.as_bytes().to_vec());
        let understood = detection(&wire::Detection { tunings: tunings.to_vec() });
        assert_eq!(understood.len(), 1);
        assert!(understood[0].detectors.is_empty());
    }
}
