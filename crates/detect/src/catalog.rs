//! Every detector: what it looks for, from where on it tells, what that is called elsewhere, and what it does not see.
//!
//! Technique ids: MITRE ATT&CK `T...`, MITRE ATLAS `AML.T...`, OWASP Top 10 for LLM applications 2025 `LLM..`.

use crate::finding::Severity;
use serde::Serialize;

/// A detector, for a person.
#[derive(Debug, Serialize)]
pub struct Detector {
    /// Stable word.
    pub name: &'static str,
    /// What it looks for.
    pub what: &'static str,
    /// From where on it tells, with the constants that it uses.
    pub thresholds: &'static str,
    /// What it does not see, and what it takes wrongly for it.
    pub limits: &'static str,
    /// How much its findings matter unless they say otherwise.
    pub severity: Severity,
    /// What it is called elsewhere.
    pub techniques: &'static [&'static str],
}

/// Data in the names of questions.
pub static DNS_TUNNEL: Detector = Detector {
    name: "dns-tunnel",
    what: "data in names below one registered domain",
    thresholds: "distinct names below a registered domain count for length x entropy / 8 bytes. In a minute: 5 names and 300 bytes, \
                 if half of the questions are of types that carry data or names are 40 bytes long on average; else 1500 bytes. \
                 In an hour: 20 names and 1200 bytes, else 20000",
    limits: "names of the cluster and of private networks are left out, addresses turned round count one byte; what carries \
             less than 20 bytes a minute is not seen; services that look up hashes longer than 40 bytes look the same",
    severity: Severity::High,
    techniques: &["T1071.004", "T1048", "T1572"],
};

/// Names that a program draws.
pub static DGA: Detector = Detector {
    name: "dga",
    what: "names that a program draws until one of them answers",
    thresholds: "the last 10 distinct registered domains that do not exist have a mean oddity of 1.25 (1.6 where it is not known \
                 whether they exist); or 30 distinct domains in half an hour do not exist and they are 70% of those asked for",
    limits: "words put together and syllables are found only by the second rule, and so only where answers are known; names below zones \
             of clouds count only where it is known that they do not exist",
    severity: Severity::High,
    techniques: &["T1568.002"],
};

/// Many names that do not exist.
pub static NXDOMAIN_STORM: Detector = Detector {
    name: "nxdomain-storm",
    what: "many different names that do not exist",
    thresholds: "40 distinct names in a minute that do not exist, 4 times the workload's own mean, and half of those asked for",
    limits: "names of the cluster and of private networks, and names that a search list was added to, are left out",
    severity: Severity::Medium,
    techniques: &["T1568", "T1498"],
};

/// Connections that come back like a clock.
pub static BEACON: Detector = Detector {
    name: "beacon",
    what: "connections that come back like a clock, as those of a program that asks for orders",
    thresholds: "12 connections to one destination and port; of the last 64: half regularity of pauses (median distance from the \
                 median, or from the pause before), a quarter evenness (Bowley's skew), a quarter sameness of bytes sent; 0.8 of 1",
    limits: "connections within the cluster and those of nodes are left out, and so are DNS, network time, destinations of 5 \
             workloads and, where a recording does not say what is inside, workloads with 5 destinations on the port; polling \
             looks the same: it is told as low where policy names the destination",
    severity: Severity::Medium,
    techniques: &["T1071.001", "T1573"],
};

/// Addresses and ports tried one after the other.
pub static PORT_SCAN: Detector = Detector {
    name: "port-scan",
    what: "many addresses and ports that refuse, do not answer or are denied",
    thresholds: "20 distinct in ten minutes, half of those tried",
    limits: "slower ones; those that find most open",
    severity: Severity::High,
    techniques: &["T1046"],
};

/// Ports of administration of many machines.
pub static LATERAL: Detector = Detector {
    name: "lateral-movement",
    what: "ports of administration of other machines: SSH, RDP, WinRM, kubelet, Docker, SMB, RPC, VNC, etcd",
    thresholds: "in ten minutes 5 machines, or 3 kinds on one machine of which one runs commands",
    limits: "movement over ports of applications; tools of administration look the same",
    severity: Severity::High,
    techniques: &["T1021", "T1018"],
};

/// Who a workload never talked to before.
pub static NEW_DESTINATION: Detector = Detector {
    name: "new-destination",
    what: "a destination that a workload did not talk to since it is watched",
    thresholds: "24 hours of learning; 5 a day for each workload are told of",
    limits: "a destination is what was registered, a workload, or a network of 256 addresses; what changed with a new release \
             is new as well",
    severity: Severity::Low,
    techniques: &["T1071", "T1041"],
};

/// Much that goes out.
pub static UPLOAD: Detector = Detector {
    name: "upload-volume",
    what: "much more sent to one destination than usual",
    thresholds: "64 MiB in an hour, twice the most of any of up to 24 hours before, and 8 times their median; where fewer than 3 are \
                 known, 4 bytes sent for each received, and 512 MiB in the first 24 hours",
    limits: "less than 64 MiB an hour; a destination is as for new-destination; backups look the same the first time",
    severity: Severity::Medium,
    techniques: &["T1048", "T1567"],
};

/// What hands out credentials, and what governs the cluster.
pub static PROBING: Detector = Detector {
    name: "probing",
    what: "refused attempts to reach the metadata service of a cloud or the API server",
    thresholds: "1 of the metadata service, 3 of the API server in ten minutes",
    limits: "only what policy denies is known; recordings of others do not say so",
    severity: Severity::High,
    techniques: &["T1552.005", "T1613"],
};

/// DNS that is not the cluster's.
pub static RESOLVER_EVASION: Detector = Detector {
    name: "resolver-evasion",
    what: "refused attempts to ask another resolver than the cluster's",
    thresholds: "1 by DNS or DNS over TLS, 3 by HTTPS in ten minutes",
    limits: "as of probing; resolvers by HTTPS that are not on the list of public ones",
    severity: Severity::Medium,
    techniques: &["T1071.004", "T1572"],
};

/// Past the gateway.
pub static BYPASS: Detector = Detector {
    name: "gateway-bypass",
    what: "refused attempts to get past what connections are held to: other names, hidden names, addresses nobody resolved",
    thresholds: "1 other name or name that leads inside, 3 hidden, 10 addresses not resolved in ten minutes",
    limits: "as of probing; a client with a stale address looks the same until ten of them",
    severity: Severity::Medium,
    techniques: &["T1090.004", "T1572"],
};

/// Tokens and money.
pub static SPEND: Detector = Detector {
    name: "spend-spike",
    what: "many more tokens, or much more money, for one service in an hour than usual",
    thresholds: "200,000 tokens or 5 units of money, and 8 times the median of up to 24 hours in which it was called before; 3 are needed",
    limits: "a workload that begins with it; only requests that a gateway judged are known",
    severity: Severity::Medium,
    techniques: &["AML.T0034", "LLM10"],
};

/// Budgets that are used up.
pub static BUDGET: Detector = Detector {
    name: "budget-exhausted",
    what: "calls that were refused because a budget is used up",
    thresholds: "1 in an hour",
    limits: "as of spend-spike",
    severity: Severity::Low,
    techniques: &["AML.T0034", "LLM10"],
};

/// Many texts that give a model orders.
pub static INJECTION: Detector = Detector {
    name: "injection-campaign",
    what: "many texts that the prompt guard takes for attempts to give a model orders",
    thresholds: "5 in ten minutes from one consumer to one service, of those that the guard would annotate or block",
    limits: "what the guard does not see; only the ingress gateway asks it",
    severity: Severity::High,
    techniques: &["AML.T0051", "LLM01"],
};

/// Answers gathered.
pub static EXTRACTION: Detector = Detector {
    name: "model-extraction",
    what: "many different questions of one make, as somebody asks who wants all answers of a model",
    thresholds: "1000 different in an hour, 70% of all, spread of their length a quarter of its mean",
    limits: "evaluations and sweeps look the same: it is a suspicion; bodies are compared by their digest, so those of a gateway that \
             has none are not seen; slower ones",
    severity: Severity::Low,
    techniques: &["AML.T0024", "LLM10"],
};

/// A key of others.
pub static CREDENTIAL: Detector = Detector {
    name: "credential-misuse",
    what: "a key that one namespace shows and then another",
    thresholds: "the key is known for an hour; one call from another namespace",
    limits: "keys that namespaces share on purpose look the same; within a namespace",
    severity: Severity::High,
    techniques: &["T1078", "AML.T0012", "LLM02"],
};

/// Weights that leave.
pub static WEIGHTS: Detector = Detector {
    name: "weights-leaving",
    what: "uploads of files that hold the weights of a model",
    thresholds: "one file whose name ends like one (.safetensors, .gguf, .pt, .onnx, ...), or 256 MiB in one request",
    limits: "weights under another name in pieces; only requests that a gateway judged are known",
    severity: Severity::High,
    techniques: &["AML.T0025", "T1567"],
};

/// All, in the order in which they are listed.
pub static ALL: &[&Detector] = &[
    &DNS_TUNNEL,
    &DGA,
    &NXDOMAIN_STORM,
    &BEACON,
    &PORT_SCAN,
    &LATERAL,
    &NEW_DESTINATION,
    &UPLOAD,
    &PROBING,
    &RESOLVER_EVASION,
    &BYPASS,
    &SPEND,
    &BUDGET,
    &INJECTION,
    &EXTRACTION,
    &CREDENTIAL,
    &WEIGHTS,
];
