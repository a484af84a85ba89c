//! Whether a request may go on: who asks, what, how much, and what is in it.
//!
//! Guarantees: every step that a policy has is taken, in this order: who, turn, what, how much, firewall, guard. What cannot
//! be looked at as a policy demands does not go on. Does not: choose endpoints.

use crate::body::{Outgoing, Unread};
use crate::guard;
use crate::policy::Held;
use crate::reason::Reason;
use crate::record::Guard;
use crate::request::{Client, Stop};
use crate::server::{Shared, seconds};
use crate::waf;
use admit::Facts;
use authn::Shown;
use crds::{OperationClass, ProtectionMode, ServerKind};
use http::{HeaderMap, request};
use inspect::answer::estimate_question;
use inspect::operation::shield::{Class, Server, class, class_of_method, class_unless_told};
use inspect::sieve::Prompt;
use policy::{Consumer, Operation, Verb};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// From this size on a body is inspected where it does not keep others waiting.
const LARGE: usize = 16 * 1024;
/// How long a request waits for the keys by which it is known.
const KEYS_PATIENCE: Duration = Duration::from_secs(3);

/// What a request is judged by.
pub(crate) struct Judging<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) client: &'a Client,
    pub(crate) held: &'a Held,
}

impl Judging<'_> {
    /// Who asks.
    pub(crate) async fn consumer(&self, headers: &HeaderMap) -> Result<Arc<Consumer>, Stop> {
        if let Some(closed) = &self.held.effective.closed {
            let rule = Some(closed.source.to_string());
            return Err(Stop { rule, ..Stop::because(Reason::PolicyClosed, closed.why.clone()) });
        }
        let Some(authenticator) = &self.held.authenticator else {
            let why = "no InferencePolicy says who may ask here: write authentication in one";
            return Err(Stop::because(Reason::NoPolicy, why));
        };
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let certificates: Vec<&[u8]> = self.client.certificates.iter().map(AsRef::as_ref).collect();
        let shown = Shown { headers: &headers, certificates: &certificates };
        let mut told = authenticator.authenticate(&shown, seconds());
        if told.as_ref().is_err_and(|refused| refused.awaits.is_some()) {
            self.shared.keys.wanted(KEYS_PATIENCE).await;
            told = authenticator.authenticate(&shown, seconds());
        }
        told.map_err(|refused| {
            let source = self.held.effective.authentication.as_ref().map(|(_, source)| source.to_string());
            let reason = match refused.status() {
                503 => Reason::KeysNotThere,
                _ => Reason::Unauthenticated,
            };
            let headers = vec![("www-authenticate", refused.challenge().to_owned())];
            let detail = format!("{} ({})", refused.reason.describe(), refused.reason.as_str());
            Stop { rule: source, headers, ..Stop::because(reason, detail) }
        })
    }

    /// Whether this consumer may do that. `path` is the one that goes on.
    pub(crate) fn may(
        &self,
        consumer: &Consumer,
        head: &request::Parts,
        path: &str,
        body: &Outgoing,
        guard: &mut Guard,
    ) -> Result<(), Stop> {
        let operation = &guard.record.operation;
        let (kind, method) = (self.held.effective.server, head.method.as_str());
        let class = match kind {
            _ if body.is_ambiguous() || may_be_any_message(operation, kind, method, path) => Class::Unknown,
            Some(kind) => class(server(kind), method, path),
            None => class_unless_told(method, path),
        };
        let class = of_operation(class, operation, kind);
        // A server behind decodes it too, so that no spelling gets around a condition.
        let meant = routes::read_path(path);
        let facts = Facts {
            class,
            operation: &operation.api,
            model: operation.model.as_deref(),
            tools: &operation.tools,
            calls: &operation.calls,
            method,
            path: meant.as_deref().unwrap_or(path),
            input_tokens: Some(estimate_question(body.length())),
        };
        let verdict = self.held.effective.judge(consumer, &facts);
        guard.record.class = Some(class.as_str());
        let rule = verdict.source.as_ref().map(ToString::to_string);
        guard.record.rule.clone_from(&rule);
        if verdict.reason.is_allowed() {
            return Ok(());
        }
        let reason = match verdict.reason {
            admit::Reason::NotInference => Reason::Shielded,
            admit::Reason::Closed => Reason::PolicyClosed,
            admit::Reason::NoPolicy => Reason::NoPolicy,
            admit::Reason::ToolArguments => Reason::ToolArguments,
            _ if class == OperationClass::Unknown => Reason::NotUnderstood,
            _ => Reason::NotAllowed,
        };
        let mut message = verdict.message;
        if class == OperationClass::Unknown {
            message = format!("{message}; {}", operation.reason);
        }
        Err(Stop { rule, ..Stop::because(reason, message) })
    }

    /// Whether anybody looks at what is said to the model, which nobody does within a WebSocket.
    pub(crate) fn looks_inside(&self) -> bool {
        let effective = &self.held.effective;
        let is_guarded = effective.guard.as_ref().is_some_and(|(guard, _)| guard.mode != ProtectionMode::Off);
        let answers = self.held.answers.as_ref();
        let needs_prompt = answers.is_some_and(|answers| answers.wants_prompt() && !answers.is_lenient());
        self.held.waf.is_some() || is_guarded || needs_prompt
    }

    /// What the operator told the model, where its answer is searched for that.
    pub(crate) async fn prompt(
        &self,
        head: &request::Parts,
        body: &mut Outgoing,
        guard: &mut Guard,
    ) -> Result<Prompt, Stop> {
        let mut prompt = Prompt::default();
        let Some(answers) = self.held.answers.as_ref().filter(|answers| answers.wants_prompt()) else {
            return Ok(prompt);
        };
        let why = match body.hold_all().await {
            Err(unread @ (Unread::TooLarge | Unread::NoRoom)) if !answers.is_lenient() => {
                return Err(unread.into());
            }
            Err(Unread::TooLarge | Unread::NoRoom) => "its body is larger than what is held",
            Err(unread) => return Err(unread.into()),
            Ok(()) => match body.decoded(&head.headers).and_then(|decoded| guard::operator_texts(&decoded)) {
                Some(texts) => {
                    texts.iter().for_each(|text| prompt.add(text));
                    return Ok(prompt);
                }
                None => "its body is no JSON that is read, so what the operator says in it is not known",
            },
        };
        if answers.is_lenient() {
            guard.record.detail = Some(format!("not inspected: {why}"));
            return Ok(prompt);
        }
        Err(Stop { rule: Some(answers.source.to_string()), ..Stop::because(Reason::Uninspected, why) })
    }

    /// Has the firewall and the guard look at a request.
    pub(crate) async fn inspect(
        &self,
        head: &request::Parts,
        body: &mut Outgoing,
        guard: &mut Guard,
    ) -> Result<(), Stop> {
        let effective = &self.held.effective;
        let wanted = effective.guard.as_ref().filter(|(guard, _)| guard.mode != ProtectionMode::Off);
        if self.held.waf.is_none() && wanted.is_none() {
            return Ok(());
        }
        let is_enforced = self.held.waf.as_ref().is_some_and(|(waf, _)| waf.mode == ProtectionMode::Enforce)
            || wanted.is_some_and(|(guard, _)| guard.mode == ProtectionMode::Enforce);
        match body.hold_all().await {
            Err(Unread::TooLarge | Unread::NoRoom) if !is_enforced => {
                guard.record.detail = Some("not inspected: its body is larger than what is held".to_owned());
                return Ok(());
            }
            held => held?,
        }
        let Some(decoded) = body.decoded(&head.headers) else {
            let why = "its body is in a content coding that is not read, or too large when decoded";
            if is_enforced {
                return Err(Stop::because(Reason::Uninspected, why));
            }
            guard.record.detail = Some(format!("not inspected: {why}"));
            return Ok(());
        };
        let decoded = self.firewall(head, decoded, guard).await?;
        if let Some((policy, source)) = wanted {
            let policy = policy.clone();
            let said = apart(decoded.len(), move || guard::ask(&policy, &decoded)).await?;
            guard.record.guard = said.fact;
            if let Some(why) = said.unread {
                guard.record.detail = Some(format!("not inspected: {why}"));
            }
            if let Some((reason, why)) = said.stops {
                return Err(Stop { rule: Some(source.to_string()), ..Stop::because(reason, why) });
            }
        }
        Ok(())
    }

    /// Asks the firewall; gives the body back.
    async fn firewall(
        &self,
        head: &request::Parts,
        body: Vec<u8>,
        guard: &mut Guard,
    ) -> Result<Vec<u8>, Stop> {
        let Some((policy, rules)) = &self.held.waf else { return Ok(body) };
        let asked = waf::Asked {
            id: guard.record.request_id.clone(),
            now: seconds(),
            client: self.client.address,
            server: SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.client.port)),
            line: waf::Asked::line(head),
            headers: waf::Asked::fields(head),
            body,
        };
        let (policy, rules) = (*policy, rules.clone());
        let (said, body) = apart(asked.body.len(), move || {
            let said = waf::ask(&policy, &rules, &asked);
            (said, asked.body)
        })
        .await?;
        guard.record.waf = Some(said.fact);
        match said.stops {
            Some(why) => {
                let source = self.held.effective.waf.as_ref().map(|(_, source)| source.to_string());
                Err(Stop { rule: source, ..Stop::because(Reason::WafBlocked, why) })
            }
            None => Ok(body),
        }
    }
}

/// Does what takes long where it does not keep other requests waiting.
pub(crate) async fn apart<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    if size < LARGE {
        return Ok(work());
    }
    // It fails only where the work did not come to its end.
    let lost = |_| Stop::because(Reason::Uninspected, "its inspection did not come to an end");
    tokio::task::spawn_blocking(work).await.map_err(lost)
}

fn server(kind: ServerKind) -> Server {
    match kind {
        ServerKind::Vllm => Server::Vllm,
        ServerKind::Sglang => Server::Sglang,
        ServerKind::Tgi => Server::Tgi,
        ServerKind::Triton => Server::Triton,
        ServerKind::Kserve => Server::Kserve,
        ServerKind::Ollama => Server::Ollama,
        ServerKind::LlamaCpp => Server::LlamaCpp,
        ServerKind::TorchServe => Server::TorchServe,
        ServerKind::Ray => Server::Ray,
        ServerKind::Mcp => Server::Mcp,
        ServerKind::A2a => Server::A2a,
        ServerKind::OpenAi => Server::Openai,
    }
}

/// Whether what is sent to a path that carries messages of MCP or A2A could not be read as one: a server that is less strict may
/// find any in it.
fn may_be_any_message(operation: &Operation, kind: Option<ServerKind>, method: &str, path: &str) -> bool {
    let carries = |one: ServerKind| {
        kind.is_none_or(|kind| kind == one) && class(server(one), method, path) == Class::Infer
    };
    method == "POST"
        && operation.verb == Verb::Unknown
        && [ServerKind::Mcp, ServerKind::A2a].into_iter().any(carries)
}

/// The class of a request: that of its path, and the graver one that its body may say.
fn of_operation(class: Class, operation: &Operation, server: Option<ServerKind>) -> OperationClass {
    // MCP has methods of the same names, so that an agent's may look like one of its.
    let is_of_agent = operation.provider.as_deref() == Some("a2a") || server == Some(ServerKind::A2a);
    let of_method = if is_of_agent { class_of_method(&operation.api) } else { None };
    let class = of_method.map_or(class, |of_method| class.max(of_method));
    match (class, operation.verb) {
        (Class::Unknown, _) => OperationClass::Unknown,
        (Class::MutateWeights, _) => OperationClass::MutateWeights,
        (Class::Admin, _) | (_, Verb::Admin) => OperationClass::Admin,
        (Class::Introspect, _) => OperationClass::Introspect,
        (Class::Infer, _) => OperationClass::Infer,
    }
}
