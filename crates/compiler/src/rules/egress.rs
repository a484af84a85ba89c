//! EgressPolicy and ClusterEgressPolicy (`docs/decisions/0011-egress-policies.md`).
//!
//! Enters: one object and the catalog. Leaves: a draft policy, or the scope to close for egress if it is broken or asks of
//! the catalog what is not there. A rule that names providers becomes several, one for each list of ports: they stand in a
//! row and do the same, so nothing depends on their order. A rule that limits uploads or looks at requests is for TCP and QUIC alone.

use super::{Closure, Draft, provider, reason};
use crate::convert::{Context, object_name, protocol, source};
use crate::world::{NAME_LABEL, imported_label, service_of};
use crds::{
    Catalog, Code, Diagnostic, EgressPeer, EgressPort, EgressReach, EgressRule, Elsewhere, Located, Position,
    ProviderRef, Resolver, RuleAction, ServiceImportRef,
};
use ipnet::IpNet;
use policy::{
    Action, AnswerFiles, CLUSTER_LABEL, Canaries, Capture, Credential, Direction, Dns, DnsName, DnsNames,
    DnsResolvers, DomainPattern, Glob, HostedTools, Inject, LeakAction, Leaks, NamespaceScope, ObjectRef,
    Opaque, Operations, Peer, Peers, Policy, PortMatch, Ports, Protocol, ProviderEgress, Quota, Quotas,
    Reason, Requests, Requirement, Rule, RuleEntry, RuleId, SecretRef, Section, Selector, Subject, Tier,
    ToolCondition, UploadLimits, Verb, WhenUnopened,
};
use std::sync::Arc;

/// The port of DNS.
const DNS: u16 = 53;
/// The port of HTTPS: that of QUIC, over UDP.
const HTTPS: u16 = 443;

pub(super) fn draft(context: &mut Context, catalog: &Catalog, written: &crds::EgressPolicy) -> Draft {
    let object = context.object(written.kind().as_str(), &written.meta);
    let at = source(&written.position);
    let (subject, place) = reach(context, &object, written);
    let mut drafting = Drafting {
        context,
        catalog,
        zones: catalog.private_zones.iter().filter_map(|zone| DnsName::parse(zone).ok()).collect(),
        object: object.clone(),
        tier: place.map_or(Tier::NetworkPolicy, |(tier, _)| tier),
        entries: Vec::new(),
        is_sound: true,
    };
    let policy = place.map(|(tier, priority)| {
        // "Selecting a pod isolates it for egress", with or without rules; a ClusterEgressPolicy never isolates.
        let isolation = match tier {
            Tier::NetworkPolicy => drafting.entry(Reason::Isolated, "spec.subject", &written.position, None),
            Tier::Admin | Tier::Baseline => RuleId::NO_POLICY,
        };
        let (dns, resolvers) = drafting.dns(&written.dns);
        // First, so that in an ordered tier no rule of the same policy stands before it.
        let mut rules: Vec<Rule> = resolvers.into_iter().collect();
        for (index, rule) in written.egress.rules.iter().enumerate() {
            drafting.rule(index, rule, &mut rules);
        }
        let egress = match (tier, rules.is_empty()) {
            (Tier::Admin | Tier::Baseline, true) => Section::Untouched,
            (Tier::Admin | Tier::Baseline, false) | (Tier::NetworkPolicy, _) => Section::Rules(rules),
        };
        let (object, source, subject) = (object.clone(), at.clone(), subject.clone());
        let isolation = [isolation, RuleId::NO_POLICY];
        let ingress = Section::Untouched;
        Policy { object, source, tier, priority, subject, ingress, egress, isolation, dns }
    });
    let (entries, is_sound) = (drafting.entries, drafting.is_sound);
    match policy.filter(|_| is_sound) {
        Some(policy) => Draft::Judged { policy: Box::new(policy), entries },
        None => {
            let field = context.interner.text("");
            Draft::Closed(Closure { object, source: at, field, subject, directions: vec![Direction::Egress] })
        }
    }
}

/// Which pods, as far as that could be read; and tier and priority if the policy can be applied.
fn reach(
    context: &mut Context,
    object: &ObjectRef,
    written: &crds::EgressPolicy,
) -> (Subject, Option<(Tier, u16)>) {
    // What could not be read may select anything.
    let all = || NamespaceScope::Matching(Selector::everything());
    let (subject, is_read, place) = match &written.reach {
        EgressReach::Namespaced { pods } => {
            let selector = pods.as_ref().map_or_else(Selector::everything, |it| context.selector(it));
            let subject =
                Subject { namespaces: NamespaceScope::Own(object.namespace.clone()), pods: selector };
            (subject, pods.is_some(), Some((Tier::NetworkPolicy, 0)))
        }
        EgressReach::Cluster { tier, priority, subject } => {
            let tier = tier.map(|tier| match tier {
                crds::Tier::Admin => Tier::Admin,
                crds::Tier::Baseline => Tier::Baseline,
            });
            let selected = match subject {
                Some(crds::Subject::Namespaces(selector)) => {
                    Subject { namespaces: context.namespaces(selector), pods: Selector::everything() }
                }
                Some(crds::Subject::Pods { namespaces, pods }) => {
                    Subject { namespaces: context.namespaces(namespaces), pods: context.selector(pods) }
                }
                None => Subject { namespaces: all(), pods: Selector::everything() },
            };
            (selected, subject.is_some(), tier.zip(*priority))
        }
    };
    (subject, place.filter(|_| is_read && !written.broken))
}

struct Drafting<'a> {
    context: &'a mut Context,
    catalog: &'a Catalog,
    /// Where wildcards mean only what is written within.
    zones: Vec<DnsName>,
    object: ObjectRef,
    tier: Tier,
    entries: Vec<RuleEntry>,
    /// Nothing was wrong so far.
    is_sound: bool,
}

impl Drafting<'_> {
    fn rule(&mut self, index: usize, written: &EgressRule, rules: &mut Vec<Rule>) {
        let action = match written.action {
            RuleAction::Accept => Action::Accept,
            RuleAction::Deny => Action::Deny,
            RuleAction::Pass => Action::Pass,
        };
        let ports = ports(&written.ports);
        let is_limited = written.upload.is_some() || written.requests.is_some();
        let field = format!("spec.egress[{index}]");
        let position = &written.position;
        let requests = written.requests.as_ref().map(|written| {
            let tool_conditions = self.tool_conditions(&field, &written.tool_conditions);
            let inject = written.inject.as_ref().map(|inject| self.inject(inject));
            let provider_egress = self.provider_egress(&field, position, &written.provider_egress);
            Arc::new(Requests { tool_conditions, inject, provider_egress, ..requests(written) })
        });
        self.granted_by(index, written, requests.as_ref(), rules);
        let mut add = |drafting: &mut Self, field: String, at: &Position, peers: Vec<Peer>, ports: Ports| {
            let reason = match (drafting.tier, action) {
                (Tier::NetworkPolicy, Action::Accept | Action::Pass) => Reason::EgressPolicyAllow,
                (Tier::NetworkPolicy, Action::Deny) => Reason::EgressPolicyDeny,
                (Tier::Admin | Tier::Baseline, _) => reason(drafting.tier, action),
            };
            let id = drafting.entry(reason, &field, at, Some((index, written)));
            drafting.entries.last_mut().into_iter().for_each(|entry| entry.requests.clone_from(&requests));
            let ports = if is_limited { countable(ports) } else { ports };
            rules.push(Rule { id, action, peers: Peers::AnyOf(peers), ports });
        };
        let plain: Vec<Peer> = written
            .peers
            .iter()
            .flat_map(|peer| self.plain(&field, &peer.position, &peer.value, (action, is_limited)))
            .collect();
        if !plain.is_empty() {
            add(self, field.clone(), &written.position, plain, ports.clone());
        }
        for (number, peer) in written.peers.iter().enumerate() {
            let EgressPeer::Provider(asked) = &peer.value else { continue };
            let field = format!("{field}.to[{number}]");
            for (of_catalog, patterns) in self.hosts(&field, &peer.position, asked) {
                let patterns = self.meant(patterns, action);
                let ports = if written.ports.is_empty() { of_catalog } else { ports.clone() };
                add(self, field.clone(), &peer.position, vec![Peer::Names(patterns)], ports);
            }
        }
    }

    /// The rule by which what the rule's answers lead to may be fetched, wherever that is, where no other rule allows it.
    fn granted_by(
        &mut self,
        index: usize,
        written: &EgressRule,
        requests: Option<&Arc<Requests>>,
        rules: &mut Vec<Rule>,
    ) {
        let Some(requests) = requests.filter(|requests| requests.redirects.is_some()) else { return };
        let field = format!("spec.egress[{index}].redirects");
        let id = self.entry(Reason::EgressPolicyAllow, &field, &written.position, Some((index, written)));
        if let Some(entry) = self.entries.last_mut() {
            let limits = entry.upload.unwrap_or_default();
            entry.upload = Some(UploadLimits { download_only: true, ..limits });
            entry.requests = Some(Arc::new(Requests {
                granted: true,
                leaks: requests.leaks.clone(),
                answers: requests.answers,
                ..Requests::default()
            }));
        }
        let https = PortMatch::Numbers { protocol: Protocol::TCP, first: HTTPS, last: HTTPS };
        let peers = Peers::AnyOf(vec![Peer::Names(vec![DomainPattern::Any.outside(&self.zones)])]);
        rules.push(Rule { id, action: Action::Accept, peers, ports: Ports::AnyOf(vec![https]) });
    }

    /// A peer that is no provider.
    fn plain(
        &mut self,
        field: &str,
        at: &Position,
        written: &EgressPeer,
        (action, is_limited): (Action, bool),
    ) -> Vec<Peer> {
        match written {
            EgressPeer::Domains(domains) => {
                let patterns = self.patterns(field, at, domains);
                patterns.iter().for_each(|pattern| self.hint_at_more_labels(field, at, pattern));
                let mut peers = vec![Peer::Names(self.meant(patterns, action))];
                // A service's own address is translated before rules see it, so that its name alone would open nothing. What is sent to a
                // pod nobody looks into.
                if action == Action::Accept && !is_limited {
                    let services = domains.iter().filter_map(|it| service_of(it));
                    services.for_each(|(namespace, name)| peers.extend(self.endpoints(namespace, name)));
                }
                peers
            }
            EgressPeer::Networks(blocks) => blocks.iter().map(network).collect(),
            EgressPeer::Provider(_) => Vec::new(),
            EgressPeer::Clusters(written) => self.elsewhere(written, action),
            EgressPeer::ServiceImport(ServiceImportRef { namespace, name }) => {
                let found = self.endpoints(namespace, name);
                // One that means nobody is odd, and told as such.
                if found.is_empty() { vec![self.endpoints_elsewhere(namespace, name)] } else { found }
            }
        }
    }

    /// Pods of other clusters. Where the rule denies, the addresses of those too that are not believed: what is denied is not
    /// opened by a cluster that falls silent, or by another that claims the address.
    fn elsewhere(&mut self, written: &Elsewhere, action: Action) -> Vec<Peer> {
        let key = self.context.interner.text(CLUSTER_LABEL);
        let of_cluster = match written.clusters.as_slice() {
            [] => Requirement::Exists(key),
            names => {
                let mut names: Vec<_> = names.iter().map(|name| self.context.interner.text(name)).collect();
                names.sort();
                names.dedup();
                Requirement::In(key, names)
            }
        };
        let selected = self.context.selector(&written.namespaces);
        let requirements: Vec<_> = selected.0.iter().cloned().chain([of_cluster]).collect();
        let namespaces = self.context.interner.selector(requirements);
        let pods = self.context.selector(&written.pods);
        let mut peers = Vec::new();
        match action {
            Action::Deny => {
                let doubtful = self.context.doubtful.iter();
                let addresses = doubtful.flat_map(|pod| pod.addresses(&namespaces, &pods));
                peers.extend(addresses.map(|address| network(&IpNet::from(*address))));
            }
            Action::Accept | Action::Pass => {}
        }
        peers.push(Peer::Pods { namespaces: NamespaceScope::Elsewhere(namespaces), pods });
        peers
    }

    /// Pods behind a service of all clusters, of this one and of others, whichever has any.
    fn endpoints(&mut self, namespace: &str, name: &str) -> Vec<Peer> {
        let service: (Arc<str>, Arc<str>) = (namespace.into(), name.into());
        let mut peers = Vec::new();
        if self.context.imported_here.contains(&service) {
            let namespaces = NamespaceScope::Own(self.context.interner.text(namespace));
            peers.push(Peer::Pods { namespaces, pods: self.endpoint_of(name) });
        }
        if self.context.imported_elsewhere.contains(&service) {
            peers.push(self.endpoints_elsewhere(namespace, name));
        }
        peers
    }

    fn endpoints_elsewhere(&mut self, namespace: &str, name: &str) -> Peer {
        let interner = &mut self.context.interner;
        let named = Requirement::In(interner.text(NAME_LABEL), vec![interner.text(namespace)]);
        let of_cluster = Requirement::Exists(interner.text(CLUSTER_LABEL));
        let namespaces = NamespaceScope::Elsewhere(interner.selector([named, of_cluster]));
        Peer::Pods { namespaces, pods: self.endpoint_of(name) }
    }

    fn endpoint_of(&mut self, service: &str) -> Selector {
        let interner = &mut self.context.interner;
        let label = Requirement::Exists(interner.text(&imported_label(service)));
        interner.selector([label])
    }

    fn patterns(&mut self, field: &str, at: &Position, domains: &[Arc<str>]) -> Vec<DomainPattern> {
        let parsed: Result<Vec<_>, _> = domains.iter().map(|it| DomainPattern::parse_own(it)).collect();
        parsed.unwrap_or_else(|error| {
            self.wrong(field, at, Diagnostic::error(Code::InvalidDomain, error.to_string()));
            Vec::new()
        })
    }

    /// A wildcard opens no private zone that it is not written within. What is denied stays denied there as well.
    fn meant(&self, patterns: Vec<DomainPattern>, action: Action) -> Vec<DomainPattern> {
        match action {
            Action::Deny => patterns,
            Action::Accept | Action::Pass => patterns.into_iter().map(|it| it.outside(&self.zones)).collect(),
        }
    }

    /// `*.x` is one label. If the catalog has a host further below `x`, that may not be what was meant.
    fn hint_at_more_labels(&mut self, field: &str, at: &Position, pattern: &DomainPattern) {
        let DomainPattern::OneBelow(base) = pattern else { return };
        let Some((provider, host)) = provider::further_below(self.catalog, base) else { return };
        let message =
            format!("\"{pattern}\" is exactly one label below {base}, and {provider} also has {host}");
        let diagnostic = Diagnostic::warning(Code::WildcardLabels, message).suggest(format!(
            "for one or more labels write \"**.{base}\"; for its hosts, provider: {provider}"
        ));
        self.context.report(diagnostic.of(object_name(&self.object)).at(at.clone()).field(field));
    }

    /// Patterns of a provider's hosts with their ports; none if the catalog has not what is asked.
    fn hosts(&mut self, field: &str, at: &Position, asked: &ProviderRef) -> Vec<(Ports, Vec<DomainPattern>)> {
        match provider::hosts(self.catalog, asked) {
            Ok(hosts) => {
                let tcp = |port: u16| PortMatch::Numbers { protocol: Protocol::TCP, first: port, last: port };
                let ports = |numbers: Vec<u16>| Ports::AnyOf(numbers.into_iter().map(tcp).collect());
                hosts.into_iter().map(|(numbers, patterns)| (ports(numbers), patterns)).collect()
            }
            Err(wrong) => {
                let diagnostic = Diagnostic::error(Code::UnknownProvider, wrong.message);
                self.wrong(&format!("{field}.provider"), at, diagnostic.suggest(wrong.suggestion));
                Vec::new()
            }
        }
    }

    /// What is said about names and resolvers; and the rule that lets the subject reach the resolvers it may ask.
    fn dns(&mut self, written: &crds::EgressDns) -> (Dns, Option<Rule>) {
        let mut dns = Dns::default();
        let names =
            written.names.as_ref().map(|names| (names.position.clone(), "spec.dns.names", &names.value));
        let from_rules = written.from_rules.as_ref().map(|at| (at.clone(), "spec.dns.fromRules"));
        if let Some((at, field)) = names.as_ref().map(|(at, field, _)| (at.clone(), *field)).or(from_rules) {
            let texts = names.map(|(_, _, texts)| texts.as_slice()).unwrap_or_default();
            dns.names = DnsNames::Only {
                listed: self.entry(Reason::DnsNameAllow, field, &at, None),
                unlisted: self.entry(Reason::DnsNameDeny, field, &at, None),
                patterns: self.patterns(field, &at, texts),
                from_rules: written.from_rules.is_some(),
            };
        }
        let Some(resolvers) = &written.resolvers else { return (dns, None) };
        let (at, field) = (&resolvers.position, "spec.dns.resolvers");
        let accepted = match self.tier {
            Tier::NetworkPolicy => Reason::EgressPolicyAllow,
            Tier::Admin | Tier::Baseline => reason(self.tier, Action::Accept),
        };
        let listed = self.entry(accepted, field, at, None);
        let unlisted = self.entry(Reason::DnsResolverDeny, field, at, None);
        let peers: Vec<Peer> = resolvers.value.iter().flat_map(|it| self.resolver(it)).collect();
        let port = |protocol| PortMatch::Numbers { protocol, first: DNS, last: DNS };
        let rule = Rule {
            id: listed,
            action: Action::Accept,
            peers: Peers::AnyOf(peers.clone()),
            ports: Ports::AnyOf(vec![port(Protocol::UDP), port(Protocol::TCP)]),
        };
        dns.resolvers = DnsResolvers::Only { listed, unlisted, peers };
        (dns, Some(rule))
    }

    fn resolver(&mut self, written: &Resolver) -> Vec<Peer> {
        match written {
            Resolver::Pods { namespaces, pods } => vec![Peer::Pods {
                namespaces: self.context.namespaces(namespaces),
                pods: self.context.selector(pods),
            }],
            Resolver::Networks(blocks) => blocks.iter().map(network).collect(),
        }
    }

    /// `rule`: the rule of `spec.egress` that it is, with its index.
    fn entry(
        &mut self,
        reason: Reason,
        field: &str,
        at: &Position,
        rule: Option<(usize, &EgressRule)>,
    ) -> RuleId {
        let written = rule.map(|(_, written)| written);
        let name = written.and_then(|written| written.name.as_deref());
        let id = RuleId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(RuleEntry {
            reason,
            object: Some(self.object.clone()),
            direction: Some(Direction::Egress),
            index: rule.and_then(|(index, _)| u32::try_from(index).ok()),
            name: name.map(|name| self.context.interner.text(name)),
            field: self.context.interner.text(field),
            source: source(at),
            upload: written.and_then(|written| written.upload.as_ref()).map(upload),
            requests: None,
        });
        id
    }

    /// The conditions of a rule; one that cannot be read closes what the policy may select.
    fn tool_conditions(
        &mut self,
        field: &str,
        written: &[Located<crds::ToolCondition>],
    ) -> Vec<ToolCondition> {
        let mut conditions = Vec::new();
        for (at, entry) in written.iter().enumerate() {
            let crds::ToolCondition { tool, when } = &entry.value;
            match ToolCondition::new(tool, &when.value) {
                Ok(condition) => conditions.push(condition),
                Err(error) => {
                    let field = format!("{field}.toolConditions[{at}].when");
                    let diagnostic = Diagnostic::error(Code::InvalidValue, error.to_string());
                    self.wrong(&field, &when.position, diagnostic.suggest(ToolCondition::HINT));
                }
            }
        }
        conditions
    }

    fn provider_egress(
        &mut self,
        field: &str,
        at: &Position,
        written: &crds::ProviderEgress,
    ) -> ProviderEgress {
        let hosted_tools = match written.hosted_tools {
            crds::HostedTools::Deny => HostedTools::Deny,
            crds::HostedTools::AllowedDomains => HostedTools::AllowedDomains,
            crds::HostedTools::Allow => HostedTools::Allow,
        };
        let parsed: Result<_, _> = written.domains.iter().map(|it| DomainPattern::parse_shown(it)).collect();
        let domains = parsed.unwrap_or_else(|error| {
            let diagnostic = Diagnostic::error(Code::InvalidDomain, error.to_string());
            self.wrong(&format!("{field}.providerEgress.domains"), at, diagnostic);
            Vec::new()
        });
        ProviderEgress { domains, hosted_tools }
    }

    fn inject(&self, written: &crds::Inject) -> Inject {
        let crds::Inject { namespace, name, key, header } = written;
        let namespace = namespace.as_ref().unwrap_or(&self.object.namespace);
        let [namespace, name, key] = [namespace, name, key].map(Arc::clone);
        Inject { secret: SecretRef { namespace, name, key }, header: header.clone() }
    }

    fn wrong(&mut self, field: &str, at: &Position, diagnostic: Diagnostic) {
        self.is_sound = false;
        let message = format!("{}; what the policy may select is closed for egress", diagnostic.message);
        let diagnostic = Diagnostic { message, ..diagnostic };
        self.context.report(diagnostic.of(object_name(&self.object)).at(at.clone()).field(field));
    }
}

fn network(cidr: &ipnet::IpNet) -> Peer {
    Peer::Network { cidr: *cidr, except: Vec::new() }
}

fn upload(written: &crds::UploadLimits) -> UploadLimits {
    let crds::UploadLimits { connection, hour, day, download_only } = *written;
    UploadLimits { connection, hour, day, download_only }
}

/// All but the conditions on arguments and the domains, which may be wrong, and the key, which is of the policy's namespace.
fn requests(written: &crds::Requests) -> Requests {
    let globs = |patterns: &[Arc<str>]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
    let mut operations: Vec<Operations> = written
        .operations
        .iter()
        .map(|some| Operations {
            verbs: some.verbs.iter().copied().map(verb).collect(),
            resources: globs(&some.resources),
        })
        .collect();
    // Who names models or tools means that they may be called, and nothing else.
    let names_calls =
        !(written.models.is_empty() && written.tools.is_empty() && written.tool_conditions.is_empty());
    if operations.is_empty() && names_calls {
        operations.push(Operations { verbs: [Verb::Call, Verb::Meta].into(), resources: Vec::new() });
    }
    let credential = |written: &crds::Credential| match written {
        crds::Credential::Sha256(digest) => Credential::Sha256(Arc::clone(digest)),
        crds::Credential::AwsKeyId(id) => Credential::AwsKeyId(Arc::clone(id)),
    };
    Requests {
        only_referred: written.only_referred,
        granted: false,
        redirects: written.redirects,
        leaks: leaks(&written.leaks),
        quotas: Quotas {
            requests: quota(written.budgets.requests),
            tokens: quota(written.budgets.tokens),
            money: quota(written.budgets.money),
        },
        operations,
        models: globs(&written.models),
        tools: globs(&written.tools),
        credentials: written.credentials.iter().map(credential).collect(),
        capture: written.capture.map(|crds::Capture { requests, answers, max_bytes }| Capture {
            requests,
            answers,
            max_bytes: max_bytes.unwrap_or(Capture::BYTES),
        }),
        tool_conditions: Vec::new(),
        answers: AnswerFiles {
            pickles: written.answers.pickles.map(action),
            archives: written.answers.archives.map(action),
        },
        when_unopened: match written.when_unopened {
            crds::WhenUnopened::Deny => WhenUnopened::Deny,
            crds::WhenUnopened::Pass => WhenUnopened::Pass,
        },
        inject: None,
        provider_egress: ProviderEgress::default(),
    }
}

fn action(written: crds::LeakAction) -> LeakAction {
    match written {
        crds::LeakAction::Report => LeakAction::Report,
        crds::LeakAction::Block => LeakAction::Block,
        crds::LeakAction::Mask => LeakAction::Mask,
    }
}

fn leaks(written: &crds::Leaks) -> Leaks {
    let canaries = written
        .canaries
        .as_ref()
        .map(|(values, written)| Canaries { values: values.clone(), action: action(*written) });
    let [secrets, personal, files] =
        [written.secrets, written.personal, written.files].map(|written| written.map(action));
    let opaque = written.opaque.map(|(written, min_bytes)| Opaque { action: action(written), min_bytes });
    Leaks { secrets, personal, files, canaries, opaque }
}

fn quota(written: crds::Budget) -> Quota {
    Quota { hour: written.hour, day: written.day }
}

fn verb(written: crds::Verb) -> Verb {
    match written {
        crds::Verb::Download => Verb::Download,
        crds::Verb::Upload => Verb::Upload,
        crds::Verb::Call => Verb::Call,
        crds::Verb::Mutate => Verb::Mutate,
        crds::Verb::Admin => Verb::Admin,
        crds::Verb::Meta => Verb::Meta,
        crds::Verb::Authorize => Verb::Authorize,
        crds::Verb::Unknown => Verb::Unknown,
    }
}

/// Of these ports, those whose uploads can be counted: TCP, and QUIC where TCP port 443 is among them.
fn countable(ports: Ports) -> Ports {
    let tcp = |first, last| PortMatch::Numbers { protocol: Protocol::TCP, first, last };
    let mut ports = match ports {
        Ports::All => vec![tcp(0, u16::MAX)],
        Ports::AnyOf(ports) => ports,
    };
    let over_tcp = |port: &PortMatch| match port {
        PortMatch::Numbers { protocol, first, last } => {
            *protocol == Protocol::TCP && (*first..=*last).contains(&HTTPS)
        }
        PortMatch::Named { .. } => false,
    };
    if ports.iter().any(over_tcp) {
        ports.push(PortMatch::Numbers { protocol: Protocol::UDP, first: HTTPS, last: HTTPS });
    }
    Ports::AnyOf(ports)
}

fn ports(written: &[Located<EgressPort>]) -> Ports {
    if written.is_empty() {
        return Ports::All;
    }
    let port = |port: &Located<EgressPort>| {
        let (first, last) = port.value.range.unwrap_or((0, u16::MAX));
        PortMatch::Numbers { protocol: protocol(port.value.protocol), first, last }
    };
    Ports::AnyOf(written.iter().map(port).collect())
}
