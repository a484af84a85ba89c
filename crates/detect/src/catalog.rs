//! Every detector: what it looks for, from where on it tells, what that is called elsewhere, what it does not see, and what to do.
//!
//! The first look for what nobody has a rule for; the others, from [`UPLOAD_CONNECTION`] on, say what enforcement points did.
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
    /// What to do about a finding.
    pub advice: &'static str,
    /// How much its findings matter unless they say otherwise.
    pub severity: Severity,
    /// What it is called elsewhere.
    pub techniques: &'static [&'static str],
}

impl Detector {
    /// Whether it compares something with a threshold that a policy may change. The others say what is so.
    pub fn is_tunable(&self) -> bool {
        ALL.iter()
            .take_while(|detector| detector.name != TOOL_DEFINITION_CHANGE.name)
            .any(|it| it.name == self.name)
    }
}

/// Data in the names of questions.
pub static DNS_TUNNEL: Detector = Detector {
    name: "dns-tunnel",
    what: "data in names below one registered domain",
    thresholds: "distinct names below a registered domain count for length x entropy / 8 bytes of the labels that no name before had, \
                 and answers that hold text for a tenth of their length. In a minute: 5 names and 300 bytes, \
                 if half of the questions are of types that carry data; 600 if only these labels are 40 bytes long on average; 30 if half are \
                 of types that nothing else asks for (NULL, private use); else 1200 bytes. In an hour: 20 names and 1200, 2400, 120 or \
                 20000 bytes. Names that end in no zone count together. In a list of names without times 20000 bytes stand for 1200",
    limits: "names of the cluster and of private networks are left out, and so are zones of a dozen \
             vendors whose scanners and block lists ask for digests; addresses turned round count one byte, those of IPv6 four; what \
             carries less than 20 bytes a minute is not seen; other services that look up long hashes look the same",
    advice: "look at which process of the pod asks, and cut it off; hold the workload to names with an EgressPolicy, which refuses all others",
    severity: Severity::High,
    techniques: &["T1071.004", "T1048", "T1572"],
};

/// Names that a program draws.
pub static DGA: Detector = Detector {
    name: "dga",
    what: "names that a program draws until one of them answers",
    thresholds: "the last 10 distinct registered domains that do not exist have a mean oddity of 1.25, the last 20 of 1.2 or the last 40 of \
                 1.1 (1.6, 1.35 and 1.1 where it is not known whether they exist); or 30 distinct domains in half an hour do not exist and \
                 they are 70% of those asked for; or of the last 30 none, or of the last 40 at most 2, have fewer than 9 letters",
    limits: "words put together are found by their length and number only, so not where they are short and answers unknown; names of other \
             alphabets (xn--) count by their number only; names below zones of clouds count only where it is known that they do not exist",
    advice: "treat the pod as compromised until it is known what asks; hold the workload to names with an EgressPolicy",
    severity: Severity::High,
    techniques: &["T1568.002"],
};

/// Many names that do not exist.
pub static NXDOMAIN_STORM: Detector = Detector {
    name: "nxdomain-storm",
    what: "many different names that do not exist",
    thresholds: "40 distinct names in a minute that do not exist, 4 times the workload's own mean, and half of those asked for",
    limits: "names of the cluster and of private networks, and names that a search list was added to, are left out, and so are \
             addresses that a block list does not have",
    advice: "look at what changed in the workload: a wrong name in its configuration is more likely than an attack",
    severity: Severity::Medium,
    techniques: &["T1568", "T1498"],
};

/// Connections that come back like a clock.
pub static BEACON: Detector = Detector {
    name: "beacon",
    what: "connections that come back like a clock, as those of a program that asks for orders",
    thresholds: "12 connections to one destination and port; of the last 64: half regularity of pauses (median distance from the \
                 median, or from the pause before), a quarter evenness (Bowley's skew), a quarter sameness of bytes sent; 0.8 of 1",
    limits: "connections within the cluster and those of nodes are left out, and so are DNS, network time, leases of addresses, \
             NetBIOS, what is sent to many at once, destinations of 5 workloads and, where a recording does not say what is \
             inside, workloads that visit 5 destinations on the port about as often; polling looks the same: it is told as low where policy names \
             the destination",
    advice: "find out whose destination it is; if nobody knows it, cut the workload off and keep the pod for evidence",
    severity: Severity::Medium,
    techniques: &["T1071.001", "T1573"],
};

/// Addresses and ports tried one after the other.
pub static PORT_SCAN: Detector = Detector {
    name: "port-scan",
    what: "many addresses and ports that refuse, do not answer or are denied",
    thresholds: "20 distinct in ten minutes, half of those tried; or 30 ports below 32768 of one address in a day",
    limits: "slower ones over many addresses; those that find most open",
    advice: "find out which program tries; if nobody started it, cut the workload off and look where it got through before",
    severity: Severity::High,
    techniques: &["T1046"],
};

/// Ports of administration of many machines.
pub static LATERAL: Detector = Detector {
    name: "lateral-movement",
    what: "ports of administration of other machines: SSH, RDP, WinRM, kubelet, Docker, SMB, RPC, VNC, etcd",
    thresholds: "in ten minutes 5 machines, or 3 kinds on one machine of which one runs commands",
    limits: "movement over ports of applications; tools of administration look the same",
    advice: "find out whether somebody administers machines from there; if not, cut the workload off and look at the machines it reached",
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
    advice: "compare with what was released lately; if it is wanted, allow it by name, if not, see what else the workload did since",
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
    advice: "find out what was sent; limit uploads of the rule that lets it through",
    severity: Severity::Medium,
    techniques: &["T1048", "T1567"],
};

/// What hands out credentials, and what governs the cluster.
pub static PROBING: Detector = Detector {
    name: "probing",
    what: "refused attempts to reach the metadata service of a cloud or the API server",
    thresholds: "1 of the metadata service, 3 of the API server in ten minutes",
    limits: "only what policy denies is known; recordings of others do not say so",
    advice: "nothing was reached; find out why the workload wants credentials or the API server, and whether it got them another way before",
    severity: Severity::High,
    techniques: &["T1552.005", "T1613"],
};

/// DNS that is not the cluster's.
pub static RESOLVER_EVASION: Detector = Detector {
    name: "resolver-evasion",
    what: "refused attempts to ask another resolver than the cluster's",
    thresholds: "1 by DNS or DNS over TLS, 3 by HTTPS in ten minutes",
    limits: "as of probing; resolvers by HTTPS that are not on the list of public ones",
    advice: "nothing was reached; have the program ask the cluster's resolver, or treat it as malware that hides what it asks",
    severity: Severity::Medium,
    techniques: &["T1071.004", "T1572"],
};

/// Past the gateway.
pub static BYPASS: Detector = Detector {
    name: "gateway-bypass",
    what: "refused attempts to get past what connections are held to: other names, hidden names, addresses nobody resolved",
    thresholds: "1 other name or name that leads inside, 3 hidden, 10 addresses not resolved in ten minutes",
    limits: "as of probing; a client with a stale address looks the same until ten of them",
    advice: "nothing was reached; a misconfigured proxy or a stale address tells itself by its name, everything else is an attempt to get past policy",
    severity: Severity::Medium,
    techniques: &["T1090.004", "T1572"],
};

/// Tokens and money.
pub static SPEND: Detector = Detector {
    name: "spend-spike",
    what: "many more tokens, or much more money, for one service in an hour than usual",
    thresholds: "200,000 tokens or 5 units of money, and 8 times the median of up to 24 hours in which it was called before; 3 are needed",
    limits: "a workload that begins with it; only requests that a gateway judged are known",
    advice: "compare with what the workload does today; give its rule a budget of tokens or money",
    severity: Severity::Medium,
    techniques: &["AML.T0034", "LLM10"],
};

/// Many texts that give a model orders.
pub static INJECTION: Detector = Detector {
    name: "injection-campaign",
    what: "many texts that the prompt guard takes for attempts to give a model orders",
    thresholds: "5 in ten minutes from one consumer to one service, of those that the guard would annotate or block",
    limits: "what the guard does not see; only the ingress gateway asks it",
    advice: "look at who sends through the consumer, and have the guard block instead of annotate",
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
    advice: "ask the owner of the workload what it gathers; give its rule a budget of requests",
    severity: Severity::Low,
    techniques: &["AML.T0024", "LLM10"],
};

/// What is asked of a model beside answers.
pub static PROBES: Detector = Detector {
    name: "model-probing",
    what: "calls that ask for more of a model than answers, as somebody does who copies it or feels for its edges",
    thresholds: "in an hour, of one consumer and service: 200 different questions, half of the calls with probabilities of tokens; or 400, nine \
                 tenths at temperature 0, four fifths of one make and 70% different; or 2000 answers of calls that want 4 each; or vectors of \
                 100 000 texts; or 50 answers that the model refused, 30% of all",
    limits: "only the ingress gateway says what calls ask, and of a body beyond 1 MiB it does not; questions are of one make if their first three \
             words are; evaluations, indexing and classifying in bulk look the same: it is a suspicion; the thresholds were chosen and not \
             measured on traffic of anybody; slower ones, and those spread over several keys",
    advice: "ask the owner of the consumer what it gathers; give it a limit of requests or tokens, and have no rule allow what it does not need",
    severity: Severity::Low,
    techniques: &["AML.T0024", "AML.T0006", "LLM10"],
};

/// A key of others.
pub static CREDENTIAL: Detector = Detector {
    name: "credential-misuse",
    what: "a key that one namespace shows and then another",
    thresholds: "the key is known for an hour; one call from another namespace",
    limits: "keys that namespaces share on purpose look the same; within a namespace",
    advice: "find out who gave the key away, and replace it; let the gateway inject keys, so that no pod has one",
    severity: Severity::High,
    techniques: &["T1078", "AML.T0012", "LLM02"],
};

/// Weights that leave.
pub static WEIGHTS: Detector = Detector {
    name: "weights-leaving",
    what: "uploads of files that hold the weights of a model",
    thresholds: "one file whose name ends like one (.safetensors, .gguf, .pt, .onnx, ...), or 256 MiB in one request",
    limits: "weights under another name in pieces; only requests that a gateway judged are known",
    advice: "find out whether the upload was meant to happen; allow uploads only to the registry that is meant",
    severity: Severity::High,
    techniques: &["AML.T0025", "T1567"],
};

/// Writes that no rule allows.
pub static WRITES: Detector = Detector {
    name: "refused-writes",
    what: "refused attempts to write to a service that a workload may only read from: uploads, commits, pull requests, jobs, messages",
    thresholds: "3 to one service in ten minutes",
    limits: "only requests that a gateway judged are known; a program that was never allowed to write and keeps trying looks the same",
    advice: "nothing got out by these; find out which program writes, and whether it found another way before",
    severity: Severity::High,
    techniques: &["T1567", "T1048", "AML.T0025"],
};

/// A tool that became another.
pub static TOOL_DEFINITION_CHANGE: Detector = Detector {
    name: "tool-definition-change",
    what: "tools of MCP servers whose definition is another than it was, or than a policy pins it to",
    thresholds: "1",
    limits: "only the ingress gateway reads lists of tools; a server that describes a tool differently to each client looks the same",
    advice: "compare the definitions; pin the one that was reviewed in an InferencePolicy, which takes others out of lists",
    severity: Severity::High,
    techniques: &["AML.T0010", "T1195.002", "LLM01", "LLM03"],
};

/// A connection that sent too much.
pub static UPLOAD_CONNECTION: Detector = Detector {
    name: "upload-connection",
    what: "connections that were cut because they sent as much as their rule lets one send",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "what rules do not limit",
    advice: "find out what was sent; raise the limit of the rule only if it was meant to be sent",
    severity: Severity::Medium,
    techniques: &["T1048", "T1567"],
};

/// A download that sends.
pub static DOWNLOAD_ONLY: Detector = Detector {
    name: "download-only",
    what: "connections that were cut because they sent more than goes with downloading",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of upload-connection",
    advice: "find out what the workload sends where it should only fetch",
    severity: Severity::Medium,
    techniques: &["T1048", "T1567"],
};

/// An hour's upload.
pub static UPLOAD_HOUR: Detector = Detector {
    name: "upload-hour",
    what: "pods that sent as much as their rule allows in an hour",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of upload-connection",
    advice: "compare with other hours of the workload; raise the limit only if it does its work",
    severity: Severity::Medium,
    techniques: &["T1048", "T1030"],
};

/// A day's upload.
pub static UPLOAD_DAY: Detector = Detector {
    name: "upload-day",
    what: "pods that sent as much as their rule allows in a day",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of upload-connection",
    advice: "as of upload-hour",
    severity: Severity::Medium,
    techniques: &["T1048", "T1030"],
};

/// Something unread.
pub static UNOPENED: Detector = Detector {
    name: "unopened",
    what: "connections that passed without their requests being judged, because the client does not trust the inspection CA",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "-",
    advice: "have the image trust the inspection CA, or refuse what cannot be opened (whenUnopened: Deny)",
    severity: Severity::Low,
    techniques: &["T1573"],
};

/// Something that leaks.
pub static LEAK: Detector = Detector {
    name: "leak",
    what: "requests that carried what should not leave, or answers that carried what should not be given away, and went on",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "only requests that a gateway opened are known; what no rule of leaks knows",
    advice: "replace the key or tell who is responsible for the data; have the rule block or mask it",
    severity: Severity::High,
    techniques: &["T1567", "T1048", "AML.T0057", "LLM02"],
};

/// A leak that was stopped.
pub static LEAK_BLOCKED: Detector = Detector {
    name: "leak-blocked",
    what: "requests or answers that were stopped for what they carried",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of leak",
    advice: "find out how it came there; a key that was about to leave should be replaced",
    severity: Severity::Medium,
    techniques: &["T1567", "T1048", "AML.T0057", "LLM02"],
};

/// A leak that was masked.
pub static LEAK_MASKED: Detector = Detector {
    name: "leak-masked",
    what: "requests or answers out of which was taken what should not pass",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of leak",
    advice: "find out how it came there",
    severity: Severity::Low,
    techniques: &["T1567", "AML.T0057", "LLM02"],
};

/// A budget of requests.
pub static QUOTA_REQUESTS: Detector = Detector {
    name: "quota-requests",
    what: "calls that were refused because the budget of requests is used up",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "only requests that a gateway opened are known",
    advice: "compare with what the workload does today; raise the budget only if it is its work",
    severity: Severity::Low,
    techniques: &["AML.T0034", "LLM10"],
};

/// A budget of tokens.
pub static QUOTA_TOKENS: Detector = Detector {
    name: "quota-tokens",
    what: "calls that were refused because the budget of tokens is used up",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "only requests that a gateway opened are known",
    advice: "as of quota-requests",
    severity: Severity::Low,
    techniques: &["AML.T0034", "LLM10"],
};

/// A budget of money.
pub static QUOTA_MONEY: Detector = Detector {
    name: "quota-money",
    what: "calls that were refused because the budget of money is used up",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "only requests that a gateway opened are known",
    advice: "as of quota-requests",
    severity: Severity::Low,
    techniques: &["AML.T0034", "LLM10"],
};

/// A model without a price.
pub static NO_PRICE: Detector = Detector {
    name: "no-price",
    what: "calls that were refused because their model has no price where money is limited",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "only requests that a gateway opened are known",
    advice: "add the model to the list of prices, or have the workload call one that is on it",
    severity: Severity::Low,
    techniques: &["LLM10"],
};

/// An unsafe file.
pub static UNSAFE_FILE: Detector = Detector {
    name: "unsafe-file",
    what: "files in answers that do something when they are opened, or that nobody could read, and that went on",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "what the readers of pickles and archives do not know",
    advice: "do not let it be opened until it was looked at; have the rule block such files",
    severity: Severity::High,
    techniques: &["AML.T0011.000", "AML.T0010", "T1195.002", "LLM03"],
};

/// An unsafe file that was stopped.
pub static UNSAFE_FILE_BLOCKED: Detector = Detector {
    name: "unsafe-file-blocked",
    what: "files in answers that were stopped because they do something when they are opened, or could not be read",
    thresholds: "each; told again when there is twice as much of it, and once in every hour in which it comes again",
    limits: "as of unsafe-file",
    advice: "tell whoever wanted the file; get the model as safetensors",
    severity: Severity::Medium,
    techniques: &["AML.T0011.000", "AML.T0010", "T1195.002", "LLM03"],
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
    &INJECTION,
    &EXTRACTION,
    &PROBES,
    &CREDENTIAL,
    &WEIGHTS,
    &WRITES,
    &TOOL_DEFINITION_CHANGE,
    &UPLOAD_CONNECTION,
    &DOWNLOAD_ONLY,
    &UPLOAD_HOUR,
    &UPLOAD_DAY,
    &UNOPENED,
    &LEAK,
    &LEAK_BLOCKED,
    &LEAK_MASKED,
    &QUOTA_REQUESTS,
    &QUOTA_TOKENS,
    &QUOTA_MONEY,
    &NO_PRICE,
    &UNSAFE_FILE,
    &UNSAFE_FILE_BLOCKED,
];

/// The detector of a name.
pub fn find(name: &str) -> Option<&'static Detector> {
    ALL.iter().copied().find(|detector| detector.name == name)
}
