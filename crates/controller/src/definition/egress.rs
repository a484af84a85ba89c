//! The definitions of EgressPolicy and ClusterEgressPolicy.
//!
//! Leaves: structural schemas that refuse what `crds` refuses, as far as a schema and its rules can say it; what depends on
//! the catalog they cannot. Descriptions are what `kubectl explain` prints.

use super::{Kind, conditions, crd, text};
use serde_json::{Map, Value, json};

/// As the reader has them: the longest lists, and the longest list of names.
const MOST: usize = 25;
const MOST_NAMES: usize = 100;
const MOST_PATTERNS: usize = 100;
const MOST_EXPRESSION: usize = policy::cel::MAX_TEXT;
/// `name`, `*.name` or `**.name`, of two labels at least.
const DOMAIN: &str = "^(\\*{1,2}\\.)?_?[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?(\\._?[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)+\\.?$";

/// A number of bytes that is written as text.
const BYTES: &str = "^[1-9][0-9]{0,18}(Ki|Mi|Gi|Ti|k|M|G|T)?$";

/// The definition of the namespaced kind.
pub(super) fn egress_policy() -> Value {
    let about = "Where pods of its namespace may connect to, by domain, provider or address, and what they may ask of DNS. \
                 Selecting a pod isolates it for egress: what no EgressPolicy or NetworkPolicy allows is denied. A Deny beats \
                 every Allow of these kinds, whatever the order. Ingress is not touched.";
    let subject = object(
        "Which pods of the namespace. Left out: all.",
        &[],
        json!({ "podSelector": selector("Pods with these labels. Left out or empty: all pods of the namespace.") }),
    );
    let actions = json!({
        "type": "string", "enum": ["Allow", "Deny"],
        "description": "Allow adds to what other policies allow. Deny beats every Allow of an EgressPolicy or NetworkPolicy.",
    });
    let mut spec = Map::new();
    spec.insert("subject".to_owned(), subject);
    add_rules(
        &mut spec,
        actions,
        Scope::Namespace,
        "Rules; their order does not matter. None: nothing is allowed.",
    );
    let spec = object("What is allowed.", &[], Value::Object(spec));
    let kind = Kind {
        kind: "EgressPolicy",
        plural: "egresspolicies",
        singular: "egresspolicy",
        short: "egp",
        scope: "Namespaced",
    };
    crd(kind, true, &whole(about, spec), &[])
}

/// The definition of the cluster's kind.
pub(super) fn cluster_egress_policy() -> Value {
    let about = "As EgressPolicy, for pods of any namespace, judged beside ClusterNetworkPolicies: by tier, then by priority, rules \
                 from top to bottom, and the first that matches decides. It isolates nobody: what no rule matches goes on to \
                 the next policy or tier.";
    let pods = object(
        "These pods.",
        &["podSelector"],
        json!({
            "namespaceSelector": selector("In namespaces with these labels. Left out: in all."),
            "podSelector": selector("With these labels. Empty: all."),
        }),
    );
    let mut subject = object(
        "Which pods: exactly one of the two. Pods of the host's network are never meant.",
        &[],
        json!({ "namespaces": selector("All pods of namespaces with these labels. Empty: of all."), "pods": pods }),
    );
    rule(
        &mut subject,
        "has(self.namespaces) != has(self.pods)",
        "exactly one of namespaces and pods is needed",
    );
    let actions = json!({
        "type": "string", "enum": ["Allow", "Deny", "Pass"],
        "description": "Allow and Deny are final for egress; Pass leaves the tier.",
    });
    let mut spec = Map::new();
    spec.insert(
        "tier".to_owned(),
        json!({
            "type": "string", "enum": ["Admin", "Baseline"],
            "description": "Admin is judged before EgressPolicies and NetworkPolicies; Baseline after them, for pods that none isolates.",
        }),
    );
    spec.insert(
        "priority".to_owned(),
        json!({
            "type": "integer", "format": "int32", "minimum": 0, "maximum": 1000,
            "description": "Lower is judged first, ClusterNetworkPolicies of the tier among them.",
        }),
    );
    spec.insert("subject".to_owned(), subject);
    add_rules(&mut spec, actions, Scope::Cluster, "Rules, judged from top to bottom.");
    let spec = object("What is allowed.", &["tier", "priority", "subject"], Value::Object(spec));
    let columns = [("Tier", "string", ".spec.tier"), ("Priority", "integer", ".spec.priority")];
    let kind = Kind {
        kind: "ClusterEgressPolicy",
        plural: "clusteregresspolicies",
        singular: "clusteregresspolicy",
        short: "cegp",
        scope: "Cluster",
    };
    crd(kind, true, &whole(about, spec), &columns)
}

pub(super) fn whole(about: &str, spec: Value) -> Value {
    json!({
        "type": "object",
        "description": about,
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": {
                "type": "object",
                "description": "How it stands. Written by the controller of Cofferdam.",
                "properties": { "conditions": conditions() },
            },
        },
    })
}

/// `egress` and `dns`.
fn add_rules(spec: &mut Map<String, Value>, actions: Value, scope: Scope, about: &str) {
    let mut of_egress = object(
        "It matches a connection to one of `to`, at one of `ports`.",
        &["action", "to"],
        json!({
            "name": text("For people: it is shown where the rule decides.", 100),
            "action": actions,
            "to": list("Any of these.", 1, MOST, peer()),
            "ports": list(
                "Any of these. Left out: for a provider the ports that the catalog has for each host, for others all protocols and \
                 ports.", 1, MOST, port()),
            "maxUploadBytes": max_upload_bytes(),
            "operations": operations(),
            "models": patterns(
                "Patterns of models' names: whatever names a model must name one of these. With neither operations nor tools the rule \
                 allows calls, and lists and descriptions."),
            "tools": patterns(
                "Patterns of the names of tools (MCP tools/call): each that is called must be one of these. Without operations as with \
                 models."),
            "credentials": credentials(scope),
            "onlyReferred": {
                "type": "boolean",
                "description": "true: only what an answer to another allowed request of the pod led to in the last five minutes, by a \
                                redirect or in a list of files: for content networks, whose objects have no names that tell.",
            },
            "redirects": redirects(),
            "leaks": leaks(),
            "budgets": budgets(),
            "capture": capture(),
            "toolConditions": tool_conditions("Without operations as with models."),
            "answers": answers(),
            "providerEgress": provider_egress(),
            "whenUnopened": {
                "type": "string", "enum": ["Deny", "Pass"],
                "description": "What becomes of a client that does not trust the inspection CA, so that its requests cannot be judged. \
                                Deny, also if left out: it is refused. Pass: it is known by its alerts, and its next connections to that \
                                name pass unread; the name and the limits of upload hold, requests are not judged. Pass only with \
                                maxUploadBytes or downloadOnly on the same rule, for a pod can choose not to be opened.",
            },
            "downloadOnly": {
                "type": "boolean",
                "description": "true: a connection may send at most 64 KiB and 5 % of what it received. As with maxUploadBytes, only in a \
                                rule that allows, to domains and providers, over TCP.",
            },
        }),
    );
    let judges = "has(self.operations) || has(self.models) || has(self.tools) || has(self.credentials) || \
                  (has(self.onlyReferred) && self.onlyReferred) || has(self.redirects) || has(self.leaks) || has(self.budgets) || has(self.capture) || \
                  has(self.toolConditions) || has(self.answers) || has(self.providerEgress)";
    let is_limited =
        format!("has(self.maxUploadBytes) || (has(self.downloadOnly) && self.downloadOnly) || {judges}");
    for (needs, message) in [
        ("self.action == 'Allow'", "only a rule that allows can say what may be uploaded or requested"),
        (
            "!self.to.exists(peer, has(peer.networks) || has(peer.clusters) || has(peer.serviceImport))",
            "what is uploaded and requested is judged where a connection's name is known, and a network has none, nor has a pod of another cluster",
        ),
        (
            "!has(self.ports) || self.ports.all(port, !has(port.protocol) || port.protocol == 'TCP')",
            "what is uploaded and requested is judged over TCP, and over QUIC where TCP port 443 is allowed",
        ),
    ] {
        rule(&mut of_egress, &format!("!({is_limited}) || {needs}"), message);
    }
    rule(
        &mut of_egress,
        "!has(self.whenUnopened) || self.whenUnopened == 'Deny' || has(self.maxUploadBytes) || (has(self.downloadOnly) && self.downloadOnly)",
        "what passes unopened is not judged: whenUnopened: Pass needs maxUploadBytes or downloadOnly: true",
    );
    rule(
        &mut of_egress,
        &format!("!has(self.whenUnopened) || ({judges})"),
        "nothing is opened for this rule, for it looks at no requests: leave whenUnopened out",
    );
    rule(
        &mut of_egress,
        "self.action == 'Allow' || !self.to.exists(peer, has(peer.serviceImport))",
        "only a rule that allows can name a service: its endpoints come and go",
    );
    if scope == Scope::Cluster {
        rule(
            &mut of_egress,
            "!has(self.redirects)",
            "a ClusterEgressPolicy grants nothing: write redirects in an EgressPolicy",
        );
    }
    spec.insert("egress".to_owned(), list(about, 0, MOST, of_egress));
    spec.insert("dns".to_owned(), dns());
}

/// Which times a user may write for a grant: an hour at most.
const GRANT: &str =
    "^0*([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s$|^0*([1-9]|[1-5][0-9]|60)m$|^0*1h$";

fn redirects() -> Value {
    object(
        "Where its answers lead, by a redirect or in a list of files of Git LFS, the pod may follow, also to a host that no rule names: \
         exactly that URL, by GET or HEAD, over HTTPS at port 443, as long as the grant holds, and little more is sent there than it takes \
         to ask. A Deny still beats it. Only for what was asked to be downloaded or described, and only one step: what a granted answer \
         leads to is not granted.",
        &["grant"],
        json!({
            "grant": {
                "type": "string", "maxLength": 10, "pattern": GRANT,
                "description": "For how long, from a second to an hour: 60s, 5m.",
            },
        }),
    )
}

/// `name`, `*.name`, `**.name`, or anybody.
fn provider_egress() -> Value {
    let mut egress = object(
        "Whom requests may have the provider contact: servers of tools (MCP), pictures and files by URL, hooks, domains that a \
         container may reach. Always those that policy lets the pod itself reach, for what is asked there; what is listed here as \
         well. Anybody else, and what cannot be told, is refused, also where providerEgress is left out.",
        &[],
        json!({
            "domains": list(
                "Names: `*.x` is exactly one label below x, `**.x` one or more. `**` alone: anybody, also where it cannot be told \
                 who that is (a conversation over a WebSocket, a batch of requests in a file).",
                1, MOST_PATTERNS, json!({ "type": "string", "minLength": 1, "maxLength": 256 })),
            "hostedTools": {
                "type": "string", "enum": ["Deny", "AllowedDomains", "Allow"],
                "description": "Tools of the provider's that contact hosts of their own choice, such as searches of the web. Deny, also \
                                if left out: none. AllowedDomains: those that the request limits to domains, each of which is judged \
                                with all names below it. Allow: all.",
            },
        }),
    );
    put(&mut egress, "minProperties", 1.into());
    egress
}

fn max_upload_bytes() -> Value {
    let bytes = |about: &str| {
        json!({
            "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "minimum": 1, "maximum": crds::MOST_BYTES, "maxLength": 21, "pattern": BYTES, "description": about,
        })
    };
    let mut limits = object(
        "How many bytes a pod may upload under this rule: whole numbers, or with one of Ki Mi Gi Ti k M G T. Reaching one ends the \
         connection, and refuses new ones until the hour or day ends. The rule then matches TCP, and QUIC where TCP port 443 is \
         allowed, and decides before those that do not limit uploads. Only in a rule that allows, to domains and providers, over \
         TCP.",
        &[],
        json!({
            "connection": bytes("Payload that one connection may send."),
            "hour": bytes("What all connections of the pod may send in one hour of UTC, counted on the wire."),
            "day": bytes("What all connections of the pod may send in one day of UTC, counted on the wire."),
        }),
    );
    put(&mut limits, "minProperties", 1.into());
    limits
}

/// Which requests a rule allows.
fn operations() -> Value {
    let verbs: Vec<&str> = crds::Verb::WORDS.iter().map(|(word, _)| *word).collect();
    let verb = json!({ "type": "string", "enum": verbs });
    let entry = object(
        "Some verbs on some resources.",
        &["verbs"],
        json!({
            "verbs": list(
                "download also means what is listed and described on the way; tokens that are good for one of the verbs alone may be \
                 asked for with it; unknown is what was not understood.", 1, crds::Verb::WORDS.len(), verb),
            "resources": patterns(
                "Patterns of what it is done to: a repository, bucket/key, an image, a package. `*` is anything but `/`, `**` \
                 anything. Left out: any."),
        }),
    );
    let about = "Requests that the rule allows, one of these; what is not listed is refused. For it the gateway opens the connection, \
                 also where it is TLS: pods must trust its authority. The rule then decides before those that do not look at \
                 requests, and of several such rules of EgressPolicies any may allow. Only in a rule that allows, to domains and \
                 providers, over TCP.";
    list(about, 1, MOST, entry)
}

/// `of_rule`: what more there is to say of the rule that has them.
pub(super) fn tool_conditions(of_rule: &str) -> Value {
    let entry = object(
        "What must hold of the arguments of some tools.",
        &["tool", "when"],
        json!({
            "tool": {
                "type": "string", "minLength": 1, "maxLength": 512,
                "description": "Pattern of the tools' names. `*` is any number of any characters.",
            },
            "when": {
                "type": "string", "minLength": 1, "maxLength": MOST_EXPRESSION,
                "description": "An expression in CEL that must be true: of args (what the tool is called with), tool (its name) and \
                                server (the name for which the connection is, or to an ingress gateway the request), for example args.path.startsWith('/tmp/').",
            },
        }),
    );
    let about = format!(
        "Conditions on what tools (MCP tools/call) are called with. Each call must meet every condition that is for its tool; \
                 what cannot be told, and arguments of more than 64 KiB in one request, meet none. Tools that no entry is for are not \
                 restricted by it; tools does that. {of_rule}"
    );
    list(&about, 1, MOST, entry)
}

/// Whose kind it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespace,
    Cluster,
}

fn credentials(scope: Scope) -> Value {
    let mut entry = object(
        "Exactly one of the three.",
        &[],
        json!({
            "sha256": {
                "type": "string", "pattern": "^[0-9a-f]{64}$",
                "description": "SHA-256 of the key or token: printf %s \"$KEY\" | sha256sum",
            },
            "awsKeyId": {
                "type": "string", "pattern": "^[A-Za-z0-9]{16,128}$",
                "description": "Access key id of an AWS signature.",
            },
            "inject": inject(scope),
        }),
    );
    rule(
        &mut entry,
        "(has(self.sha256) ? 1 : 0) + (has(self.awsKeyId) ? 1 : 0) + (has(self.inject) ? 1 : 0) == 1",
        "exactly one of sha256, awsKeyId and inject is needed",
    );
    let about = "Keys with which requests may be made (sha256, awsKeyId; with neither: any, or none), and at most one with which they \
                 leave (inject).";
    list(about, 1, MOST_PATTERNS, entry)
}

/// With which key requests leave.
fn inject(scope: Scope) -> Value {
    let named =
        |about: &str| json!({ "type": "string", "minLength": 1, "maxLength": 253, "description": about });
    let (mut fields, needed) = (
        Map::new(),
        match scope {
            Scope::Namespace => &["name", "key"][..],
            Scope::Cluster => &["namespace", "name", "key"],
        },
    );
    fields.insert("name".to_owned(), named("Its name."));
    fields.insert("key".to_owned(), named("The entry of its data that is the key."));
    match scope {
        Scope::Namespace => {}
        Scope::Cluster => {
            fields.insert("namespace".to_owned(), named("Its namespace."));
        }
    }
    let secret = object(
        "The Secret, with the label cofferdam.dev/inject: \"true\"; of an EgressPolicy, in its own namespace. While it is not there, has \
         not the label or not the key, requests that the rule would allow are refused.",
        needed,
        Value::Object(fields),
    );
    object(
        "Requests that this rule allows leave with this key, as their service takes it; what the pod sends of keys (fields, \
         parameters of the query, cookies) is taken out. Only over TLS to a server that verifies; requests that are signed (AWS) are \
         refused. `to` must have one entry, without patterns, and awsKeyId and whenUnopened: Pass cannot be beside it.",
        &["secretRef"],
        json!({
            "secretRef": secret,
            "header": {
                "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9_-]+$",
                "description": "The field that the key goes in: authorization, with Bearer before it, or another, alone. Left out: as the \
                                provider has it; where that is not known requests are refused.",
            },
        }),
    )
}

/// What must not be in bodies of requests.
fn leaks() -> Value {
    let one_of =
        |words: &[&str], about: &str| json!({ "type": "string", "enum": words, "description": about });
    let action = |about: &str| one_of(&["Report", "Block", "Mask"], about);
    let canaries = object(
        "Marks that were planted in what must not leave, as they are and encoded.",
        &["values", "action"],
        json!({
            "values": list("The marks.", 1, MOST_PATTERNS, json!({ "type": "string", "minLength": 8, "maxLength": 256 })),
            "action": action("What to do where one is found."),
        }),
    );
    let opaque = object(
        "Bodies, their parts, and what is in them in Base64, that nobody can read: encrypted, or packed in a form that is not known.",
        &["action"],
        json!({
            "action": one_of(&["Report", "Block"], "What to do with one."),
            "minBytes": {
                "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
                "minimum": crds::LEAST_OPAQUE, "maximum": crds::MOST_BYTES, "maxLength": 21, "pattern": BYTES,
                "description": "From how many such bytes on. Left out: 64Ki.",
            },
        }),
    );
    let mut leaks = object(
        "What is looked for in what requests carry, also below one encoding: Report makes it a finding, Block stops the request, \
         Mask puts a marker in its place in bodies that are JSON or text, and stops the request where that cannot be done.",
        &[],
        json!({
            "secrets": action("Keys and tokens of known kinds."),
            "personal": action("Payment cards, bank accounts, national ids, many e-mail addresses."),
            "files": one_of(&["Report", "Block"], "Weights of models and data sets, by their signature."),
            "canaries": canaries,
            "opaque": opaque,
        }),
    );
    put(&mut leaks, "minProperties", 1.into());
    leaks
}

/// What is kept of contents.
fn capture() -> Value {
    let mut capture = object(
        "What is kept of the contents of requests and answers, on their node and for `cofferdam calls --content` only, with secrets, \
         personal data and canaries masked. Left out: nothing.",
        &[],
        json!({
            "requests": { "type": "boolean", "description": "true: bodies of requests." },
            "answers": { "type": "boolean", "description": "true: bodies of answers." },
            "maxBytes": {
                "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
                "minimum": 1, "maximum": crds::Capture::MOST_BYTES, "maxLength": 21, "pattern": BYTES,
                "description": "Of each body its first bytes, at most so many: up to 256Ki. Left out: 16Ki.",
            },
        }),
    );
    let keeps = "(has(self.requests) && self.requests) || (has(self.answers) && self.answers)";
    rule(&mut capture, keeps, "it keeps neither requests nor answers");
    capture
}

/// What must not be in files that come back.
fn answers() -> Value {
    let action = |about: &str| json!({ "type": "string", "enum": ["Report", "Block"], "description": about });
    let mut answers = object(
        "What is looked for in files that answers bring, as they stream: Report makes it a finding, Block breaks the download off \
         before it is whole, also where it cannot be read.",
        &[],
        json!({
            "pickles": action("Python pickles, alone or in archives, that import what is not known to be harmless."),
            "archives": action(
                "Zip and tar archives with members that lead out of where they are unpacked, links, or devices; and what becomes too \
                 large."),
        }),
    );
    put(&mut answers, "minProperties", 1.into());
    answers
}

/// How many requests and tokens.
fn budgets() -> Value {
    let number = |about: &str| {
        json!({
            "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "minimum": 1, "maximum": crds::MOST_BYTES, "maxLength": 21, "pattern": BYTES, "description": about,
        })
    };
    let budget = |about: &str| {
        let windows = json!({ "hour": number("In one hour of UTC."), "day": number("In one day of UTC.") });
        let mut budget = object(about, &[], windows);
        put(&mut budget, "minProperties", 1.into());
        budget
    };
    let mut money = object(
        "What the tokens cost, by the prices that the nodes were given (`--prices`), in their currency. A call of a model that \
         has no price is refused.",
        &[],
        json!({ "hour": amount("In one hour of UTC, for example \"5.00\"."), "day": amount("In one day of UTC.") }),
    );
    put(&mut money, "minProperties", 1.into());
    let mut budgets = object(
        "How much each pod may use under this rule. What is over is refused, and an answer that comes piece by piece is cut.",
        &[],
        json!({
            "requests": budget("Requests."),
            "tokens": budget("Tokens of models, asked and answered together: as the provider counts them, until then an estimate."),
            "money": money,
        }),
    );
    put(&mut budgets, "minProperties", 1.into());
    budgets
}

/// An amount of money that is something.
pub(super) fn amount(about: &str) -> Value {
    json!({
        "type": "string", "maxLength": 19, "pattern": "^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?$", "description": about,
        "not": { "pattern": "^[0.]*$" },
    })
}

pub(super) fn patterns(about: &str) -> Value {
    list(about, 1, MOST_PATTERNS, json!({ "type": "string", "minLength": 1, "maxLength": 512 }))
}

fn peer() -> Value {
    let name = |about: &str| {
        json!({
            "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "description": about,
        })
    };
    let with = json!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
        "description": "What stands for the words that hosts of the provider leave open, for example region: eu-west-1.",
    });
    let purposes = json!({ "type": "string", "enum": ["api", "content", "storage", "upload"] });
    let mut peer = object(
        "Exactly one of domains, provider, networks, clusters and serviceImport.",
        &[],
        json!({
            "domains": list(
                "Addresses that the pod itself resolved a matching name to. `name` is that name, `*.name` any name exactly one label \
                 below it, `**.name` one or more labels below it. (In a ClusterNetworkPolicy `*.name` is one or more.) An address \
                 that the pod did not resolve is not matched, whosever it is. In a rule that does not deny, a wildcard means no name in \
                 a private zone (cluster.local, clusterset.local, and those of the catalog) unless it is written within that zone.", 1, MOST, domain()),
            "provider": text(
                "A provider of the catalog (`cofferdam catalog list`): its hosts, each with its ports. A name that the catalog does \
                 not have makes the policy invalid, and closes what it selects.", 63),
            "for": list("Only hosts of the provider that are for one of these. Left out: all its hosts.", 1, 4, purposes),
            "with": with,
            "networks": networks("Any address in these blocks, pods' and nodes' addresses included."),
            "clusters": list(
                "Pods that these clusters export, of namespaces that the namespace of the same name here imports. \"*\": every other \
                 cluster. With namespaceSelector and podSelector.", 1, MOST, json!({
                    "type": "string", "maxLength": 63, "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\\*)$",
                })),
            "namespaceSelector": selector(
                "With clusters: namespaces with these labels in their cluster; kubernetes.io/metadata.name is always among them."),
            "podSelector": selector("With clusters: pods with these labels."),
            "serviceImport": object(
                "Pods behind a ServiceImport: those that its EndpointSlices name in the namespace of that name, of this cluster and of \
                 others as far as identities are exchanged. Only of a rule that allows.",
                &["namespace", "name"],
                json!({
                    "namespace": name("Its namespace, which is that of the service in every cluster."),
                    "name": name("Its name, which is that of the service in every cluster."),
                }),
            ),
        }),
    );
    let one_of = "(has(self.domains) ? 1 : 0) + (has(self.provider) ? 1 : 0) + (has(self.networks) ? 1 : 0) + \
                  (has(self.clusters) ? 1 : 0) + (has(self.serviceImport) ? 1 : 0) == 1";
    rule(
        &mut peer,
        one_of,
        "exactly one of domains, provider, networks, clusters and serviceImport is needed",
    );
    rule(
        &mut peer,
        "has(self.clusters) == has(self.namespaceSelector) && has(self.clusters) == has(self.podSelector)",
        "clusters, namespaceSelector and podSelector are written together",
    );
    rule(
        &mut peer,
        "has(self.provider) || !(has(self.__for__) || has(self.with))",
        "for and with choose among the hosts of a provider, and none is named",
    );
    peer
}

fn port() -> Value {
    let number = |about: &str| json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535, "description": about });
    let mut port = object(
        "Ports of one protocol.",
        &[],
        json!({
            "protocol": {
                "type": "string", "enum": ["TCP", "UDP", "SCTP"], "description": "Left out: TCP.",
            },
            "port": number("Left out: every port of the protocol."),
            "endPort": number("Last port of a range that begins at port."),
        }),
    );
    rule(
        &mut port,
        "!has(self.endPort) || (has(self.port) && self.port <= self.endPort)",
        "endPort needs a port that is not above it",
    );
    port
}

fn dns() -> Value {
    let pods = object(
        "These pods. Both selectors are needed: whoever may label a pod could make it a resolver otherwise.",
        &["namespaceSelector", "podSelector"],
        json!({
            "namespaceSelector": selector("In namespaces with these labels."),
            "podSelector": selector("With these labels."),
        }),
    );
    let mut resolver = object(
        "Exactly one of the two.",
        &[],
        json!({ "pods": pods, "networks": networks("Any address in these blocks.") }),
    );
    rule(&mut resolver, "has(self.pods) != has(self.networks)", "exactly one of pods and networks is needed");
    object(
        "What the subject may ask of DNS. Left out: anything, of any resolver that it may connect to.",
        &[],
        json!({
            "names": list(
                "Names that may be asked for, written as domains are. Lists of several EgressPolicies add up; those of the Admin \
                 tier bound them. Left out, without fromRules: any name.", 1, MOST_NAMES, domain()),
            "fromRules": {
                "type": "boolean",
                "description": "And every name that a rule speaks of which allows the pod to connect, whichever policy it is in.",
            },
            "resolvers": list(
                "Resolvers that may be asked; the subject may then reach them at UDP and TCP port 53 without a rule. Left out: any \
                 that rules let it reach.", 1, MOST, resolver),
        }),
    )
}

fn domain() -> Value {
    json!({ "type": "string", "maxLength": 256, "pattern": DOMAIN })
}

fn networks(about: &str) -> Value {
    let mut block = json!({ "type": "string", "maxLength": 43 });
    rule(&mut block, "isCIDR(self)", "it is no block in CIDR notation");
    list(about, 1, MOST, block)
}

pub(super) fn selector(about: &str) -> Value {
    let expression = object(
        "One condition.",
        &["key", "operator"],
        json!({
            "key": text("Label key.", 317),
            "operator": {
                "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                "description": "How the label's value and values are compared.",
            },
            "values": list("For In and NotIn.", 0, 1024, json!({ "type": "string", "maxLength": 63 })),
        }),
    );
    let mut selector = object(
        about,
        &[],
        json!({
            "matchLabels": {
                "type": "object", "additionalProperties": { "type": "string", "maxLength": 63 },
                "description": "All must be equal.",
            },
            "matchExpressions": list("All must hold.", 0, 64, expression),
        }),
    );
    put(&mut selector, "x-kubernetes-map-type", "atomic".into());
    selector
}

pub(super) fn object(about: &str, required: &[&str], properties: Value) -> Value {
    let mut object = json!({ "type": "object", "description": about, "properties": properties });
    if !required.is_empty() {
        put(&mut object, "required", json!(required));
    }
    object
}

pub(super) fn list(about: &str, least: usize, most: usize, items: Value) -> Value {
    let mut list = json!({
        "type": "array", "description": about, "maxItems": most, "items": items, "x-kubernetes-list-type": "atomic",
    });
    if least > 0 {
        put(&mut list, "minItems", least.into());
    }
    list
}

/// Adds a rule in the Common Expression Language.
pub(super) fn rule(schema: &mut Value, rule: &str, message: &str) {
    let rule = json!({ "rule": rule, "message": message });
    match schema.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        Some(rules) => rules.push(rule),
        None => put(schema, "x-kubernetes-validations", json!([rule])),
    }
}

fn put(schema: &mut Value, field: &str, value: Value) {
    if let Some(fields) = schema.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}
