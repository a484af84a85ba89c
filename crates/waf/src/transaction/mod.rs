//! One request and its answer, judged.
//!
//! Enters, in this order: [`Transaction::new`], [`connection`](Transaction::connection),
//! [`request_line`](Transaction::request_line), headers, [`request_headers_done`](Transaction::request_headers_done),
//! pieces of the body, [`request_body_done`](Transaction::request_body_done), the same for the answer, and
//! [`finish`](Transaction::finish). Leaves: an [`Interruption`] when a step finds one, and an [`Outcome`].
//! Guarantees: bounded memory and work; a limit that is reached interrupts, unless the engine only detects, and is said.

mod act;
mod answer;
mod collect;
mod evaluate;
mod facts;
mod gathered;
mod outcome;
mod request;
mod texts;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub use outcome::{
    Action, Cause, Interruption, Limit, MAX_MATCHES, MAX_SHOWN, MAX_VALUES, Match, Outcome, Scores,
};

use crate::load::{Compiled, RuleSet};
use crate::profile::Profile;
use crate::rule::{Audit, Engine, Phase, Processor, RuleFacts};
use crate::seclang::targets::Target;
use crate::store::Store;
use crate::variable::Variable;
use facts::Facts;
use gathered::Gathered;
use texts::Texts;

/// Most headers of a request or answer.
pub const MAX_HEADERS: usize = 1000;
/// Most bytes of all headers of a request or answer.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// Most entries that rules may keep in `TX`.
pub const MAX_TX: usize = 10_000;

/// What the host says of a transaction, for a pure crate has no clock and no randomness.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Seconds since 1970.
    pub now: u64,
    /// An id that no other transaction has.
    pub unique_id: String,
    /// Persistent collections; without them each transaction has its own.
    pub store: Option<Arc<Store>>,
    /// What is judged how.
    pub profile: Profile,
    /// How much the rules may read, in bytes: each transformation, scan and operator counts. What would be beyond is not
    /// done, and [`Limit::Budget`] is reached. None: [`DEFAULT_BUDGET`](crate::options::DEFAULT_BUDGET).
    pub budget: Option<u64>,
}

/// A request and its answer on their way through the rules.
#[derive(Debug)]
pub struct Transaction {
    rules: Arc<Compiled>,
    start: Start,
    store: Arc<Store>,
    facts: Facts,
    texts: Texts,
    /// Values of lists of targets, as long as no fact changes.
    gathered: Vec<Option<Gathered>>,
    tx: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys of the persistent collections that rules have opened.
    opened: BTreeMap<Variable, Vec<u8>>,
    matched_vars: Vec<(Vec<u8>, Arc<[u8]>)>,
    matched_var: Option<(Vec<u8>, Arc<[u8]>)>,
    current: Option<Arc<RuleFacts>>,
    highest_severity: Option<u8>,
    engine: Engine,
    audit: Audit,
    audit_parts: String,
    request_body_access: bool,
    response_body_access: bool,
    force_request_body: bool,
    processor: Option<Processor>,
    content_type: Vec<u8>,
    content_path: Vec<u8>,
    request_body: Vec<u8>,
    response_body: Vec<u8>,
    response_type: Vec<u8>,
    head: Vec<u8>,
    header_count: [usize; 2],
    header_bytes: [usize; 2],
    arguments: usize,
    arguments_size: usize,
    /// Rules that exclusions took away, a bit each.
    removed: Vec<u64>,
    /// Targets that exclusions took away, and from which rules.
    removed_targets: Vec<(Vec<u64>, Target)>,
    /// Rules that any of them touches.
    retargeted: Vec<u64>,
    /// First phase that `allow` lets pass, up to the last that it does not.
    allowed_until: Option<Phase>,
    outcome: Outcome,
}

impl Transaction {
    /// A transaction about which nothing is known yet.
    #[must_use]
    pub fn new(rules: &RuleSet, start: Start) -> Self {
        let rules = Arc::clone(&rules.inner);
        let options = &rules.options;
        let store = start.store.clone().unwrap_or_default();
        let mut transaction = Self {
            store,
            facts: Facts::new(),
            texts: Texts::new(),
            gathered: vec![None; rules.gathers],
            tx: BTreeMap::new(),
            opened: BTreeMap::new(),
            matched_vars: Vec::new(),
            matched_var: None,
            current: None,
            highest_severity: None,
            engine: options.engine,
            audit: options.audit,
            audit_parts: options.audit_parts.clone(),
            request_body_access: options.request_body_access,
            response_body_access: options.response_body_access,
            force_request_body: false,
            processor: None,
            content_type: Vec::new(),
            content_path: Vec::new(),
            request_body: Vec::new(),
            response_body: Vec::new(),
            response_type: Vec::new(),
            head: Vec::new(),
            header_count: [0; 2],
            header_bytes: [0; 2],
            arguments: 0,
            arguments_size: 0,
            removed: vec![0; rules.rules.len().div_ceil(64)],
            removed_targets: Vec::new(),
            retargeted: vec![0; rules.rules.len().div_ceil(64)],
            allowed_until: None,
            outcome: Outcome::default(),
            rules,
            start,
        };
        transaction.begin();
        transaction
    }

    fn begin(&mut self) {
        let unique_id = self.start.unique_id.clone().into_bytes();
        self.set(Variable::UniqueId, unique_id);
        let application = self.rules.options.application.clone().into_bytes();
        self.set(Variable::Webappid, application);
        self.set(Variable::ModsecBuild, b"030000000".to_vec());
        self.set(Variable::Duration, b"0".to_vec());
        for flag in [
            Variable::ReqbodyError,
            Variable::ReqbodyProcessorError,
            Variable::InboundDataError,
            Variable::OutboundDataError,
            Variable::UrlencodedError,
            Variable::FilesCombinedSize,
            Variable::ArgsCombinedSize,
            Variable::RequestBodyLength,
        ] {
            self.set(flag, b"0".to_vec());
        }
        self.set_time();
    }

    /// Who is at the ends of the connection.
    pub fn connection(&mut self, client: SocketAddr, server: SocketAddr) {
        let address = client.ip().to_string().into_bytes();
        self.set(Variable::RemoteAddr, address.clone());
        self.set(Variable::RemoteHost, address);
        self.set(Variable::RemotePort, client.port().to_string().into_bytes());
        self.set(Variable::ServerAddr, server.ip().to_string().into_bytes());
        self.set(Variable::ServerPort, server.port().to_string().into_bytes());
    }

    /// Runs the rules of the request's head.
    pub fn request_headers_done(&mut self) -> Option<&Interruption> {
        self.run(Phase::RequestHeaders)
    }

    /// Reads the body and runs the rules of it.
    pub fn request_body_done(&mut self) -> Option<&Interruption> {
        if self.outcome.interruption.is_none() && self.engine != Engine::Off {
            self.read_request_body();
        }
        self.run(Phase::RequestBody)
    }

    /// Runs the rules of the answer's head.
    pub fn response_headers_done(&mut self) -> Option<&Interruption> {
        self.run(Phase::ResponseHeaders)
    }

    /// Runs the rules of the answer's body.
    pub fn response_body_done(&mut self) -> Option<&Interruption> {
        if self.outcome.interruption.is_none() && self.engine != Engine::Off {
            self.read_response_body();
        }
        self.run(Phase::ResponseBody)
    }

    /// Runs the last rules and says what came of it all.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.run_logging();
        let score = |names: &[&str]| {
            let found = names.iter().find_map(|name| self.tx.get(name.as_bytes()));
            found.map_or(0, |value| crate::operator::integer(value))
        };
        self.outcome.scores = Scores {
            inbound: score(&["blocking_inbound_anomaly_score", "anomaly_score"]),
            outbound: score(&["blocking_outbound_anomaly_score", "outbound_anomaly_score"]),
        };
        self.outcome.audit = match self.audit {
            Audit::On => true,
            Audit::Off => false,
            Audit::RelevantOnly => self.outcome.matched.iter().any(|found| found.audit),
        };
        self.outcome.audit_parts = std::mem::take(&mut self.audit_parts);
        self.outcome
    }

    /// Why the transaction must not go on, if it must not.
    #[must_use]
    pub fn interruption(&self) -> Option<&Interruption> {
        self.outcome.interruption.as_ref()
    }

    /// Whether the request's body is looked at; where it is not, it need not be given, and can go on at once.
    #[must_use]
    pub fn wants_request_body(&self) -> bool {
        self.engine != Engine::Off && self.request_body_access && self.outcome.interruption.is_none()
    }

    /// The same of the answer's body, once its headers are there: rules look at bodies of some types only.
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.engine != Engine::Off && self.keeps_response_body() && self.outcome.interruption.is_none()
    }

    /// What rules keep in `TX` under a name.
    #[must_use]
    pub fn tx(&self, name: &str) -> Option<&[u8]> {
        self.tx.get(name.to_ascii_lowercase().as_bytes()).map(Vec::as_slice)
    }

    fn set(&mut self, variable: Variable, value: Vec<u8>) {
        let text = self.texts.add(value);
        self.facts.set(variable, text);
    }

    fn add(&mut self, variable: Variable, key: &Arc<[u8]>, value: Vec<u8>) {
        let text = self.texts.add(value);
        self.facts.add(variable, key, text);
    }

    /// Notes that a limit was reached; unless the engine only detects, that ends the transaction.
    fn reached(&mut self, limit: Limit, phase: Phase) {
        if !self.outcome.limits.contains(&limit) {
            self.outcome.limits.push(limit);
        }
        if self.engine == Engine::On && self.outcome.interruption.is_none() {
            let status = limit.status();
            self.outcome.interruption =
                Some(Interruption { cause: Cause::Limit(limit), status, action: Action::Deny, phase });
        }
    }
}
