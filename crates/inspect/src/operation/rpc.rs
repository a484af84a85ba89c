//! Messages of JSON-RPC 2.0, one or a batch, as MCP and A2A send them.
//!
//! Enters: wanted values of the body, and what the head says of it. Leaves: an operation. Guarantees: head and body agree;
//! of a batch the most dangerous verb with every tool counts, and one message that is not understood makes all unknown.
//! Does not: read arguments.

use super::json::{Found, Path, Value};
use super::request::Rpc;
use super::{a2a, mcp};
use policy::{Operation, Verb};
use std::borrow::Cow;

/// Different tools that one batch calls.
const MAX_TOOLS: usize = 64;
/// Wanted fields of a message; those of a batch follow.
const FIELDS: usize = 6;
const PATHS: [Path; 2 * FIELDS] = [
    &["jsonrpc"],
    &["method"],
    &["params", "name"],
    &["params", "uri"],
    &["result"],
    &["error"],
    &["*", "jsonrpc"],
    &["*", "method"],
    &["*", "params", "name"],
    &["*", "params", "uri"],
    &["*", "result"],
    &["*", "error"],
];

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) provider: &'static str,
    pub(super) verb: Verb,
    pub(super) of: Of,
}

/// What a method does it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Nothing,
    /// The tool `params.name`.
    Tool,
    /// `params.name`.
    Name,
    /// `params.uri`.
    Uri,
}

/// One message so far.
#[derive(Debug, Default)]
struct Message {
    is_version_2: bool,
    method: Option<String>,
    name: Option<String>,
    uri: Option<String>,
    is_answer: bool,
}

/// Reads the messages of one body.
#[derive(Debug)]
pub(super) struct Messages {
    rpc: Rpc,
    message: Message,
    is_judged: bool,
    /// Messages of a batch so far.
    batch: usize,
}

impl Messages {
    /// What must be read of the body.
    pub(super) fn paths() -> Vec<Path> {
        PATHS.to_vec()
    }

    /// A reader for a body of which the head says this.
    pub(super) fn new(rpc: Rpc) -> Self {
        Self { rpc, message: Message::default(), is_judged: false, batch: 0 }
    }

    /// Takes a value. True: the operation is known.
    pub(super) fn take(&mut self, found: Found, operation: &mut Operation) -> Result<bool, &'static str> {
        let (at, value) = match found {
            Found::Value(at, value) => (at, value),
            Found::Element => {
                let message = std::mem::take(&mut self.message);
                self.batch += 1;
                self.element(&message, operation)?;
                return Ok(false);
            }
        };
        self.message.take(at % FIELDS, value)?;
        if at >= FIELDS {
            return Ok(false);
        }
        if self.is_judged {
            // The reader of JSON refuses a second method, so this one makes a request of an answer.
            let is_both = self.message.is_answer || self.message.method.is_some();
            return if is_both { Err("a message is a request and an answer") } else { Ok(true) };
        }
        let needs = self.message.meaning(&self.rpc).map(|meaning| meaning.of);
        let is_complete = match needs {
            Some(Of::Nothing) => self.rpc.name.is_none(),
            Some(Of::Tool | Of::Name) => self.message.name.is_some(),
            Some(Of::Uri) => self.message.uri.is_some(),
            None => false,
        };
        if is_complete && self.message.is_version_2 {
            let message = std::mem::take(&mut self.message);
            become_this(operation, self.judge(&message)?);
            self.is_judged = true;
        }
        Ok(self.is_judged)
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, operation: &mut Operation) -> Result<(), &'static str> {
        if self.is_judged {
            return Ok(());
        }
        if self.batch > 0 {
            let is_silent = self.rpc.method.is_none() && self.rpc.name.is_none();
            return if is_silent {
                Ok(())
            } else {
                Err("the head names one message, and the body has several")
            };
        }
        let message = std::mem::take(&mut self.message);
        become_this(operation, self.judge(&message)?);
        Ok(())
    }

    /// A message of a batch is complete.
    fn element(&self, message: &Message, operation: &mut Operation) -> Result<(), &'static str> {
        let one = self.judge(message)?;
        if self.batch == 1 {
            become_this(operation, one);
            return Ok(());
        }
        // What only describes may be beside something else.
        let both_count = operation.verb != Verb::Meta && one.verb != Verb::Meta;
        let has_two = both_count || operation.resource.is_some() && one.resource.is_some();
        if operation.provider != one.provider || has_two && operation.resource != one.resource {
            return Err("a batch is about several things");
        }
        operation.resource = operation.resource.take().or(one.resource);
        for tool in one.tools {
            if !operation.tools.contains(&tool) {
                operation.tools.push(tool);
            }
        }
        if operation.tools.len() > MAX_TOOLS {
            return Err("a batch calls more than 64 tools");
        }
        if danger(one.verb) > danger(operation.verb) {
            (operation.verb, operation.api) = (one.verb, one.api);
        }
        Ok(())
    }

    fn judge(&self, message: &Message) -> Result<Operation, &'static str> {
        let api = message.method.clone().map_or(Cow::Borrowed("answer"), Cow::Owned);
        if !message.is_version_2 {
            return Err("the body is no message of JSON-RPC 2.0");
        }
        if message.is_answer == message.method.is_some() {
            return Err("a message is neither a request nor an answer, or both");
        }
        let Some(meaning) = message.meaning(&self.rpc) else {
            return Err("it calls a method that is not known");
        };
        let named = match meaning.of {
            Of::Nothing => None,
            Of::Tool | Of::Name => Some(message.name.as_ref()),
            Of::Uri => Some(message.uri.as_ref()),
        };
        if named.is_some_and(|named| named.is_none()) {
            return Err("a message does not name what its method is about");
        }
        let named = named.flatten();
        if self.rpc.method.as_ref().is_some_and(|method| message.method.as_ref() != Some(method)) {
            return Err("Mcp-Method is not the method of the body");
        }
        if self.rpc.name.is_some() && self.rpc.name.as_ref() != named {
            return Err("Mcp-Name is not what the body names");
        }
        let tools = named.filter(|_| meaning.of == Of::Tool).cloned().into_iter().collect();
        let resource = named.filter(|_| meaning.of != Of::Tool).cloned();
        let stream = matches!(api.as_ref(), "message/stream" | "SendStreamingMessage");
        let reason = Cow::Borrowed("it is a message of JSON-RPC, by its body");
        let provider = Some(Cow::Borrowed(meaning.provider));
        let verb = meaning.verb;
        Ok(Operation { provider, api, verb, resource, tools, stream, ..Operation::unknown(reason) })
    }
}

impl Message {
    fn take(&mut self, field: usize, value: Value) -> Result<(), &'static str> {
        const NO_TEXT: &str = "a field that decides is no text";
        let text = |value| match value {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            Value::Bool(_) | Value::Other => Err(NO_TEXT),
        };
        match field {
            0 => self.is_version_2 = value == Value::Text("2.0".to_owned()),
            1 => self.method = Some(text(value)?.ok_or(NO_TEXT)?),
            // Only some methods have texts there.
            2 => self.name = text(value).unwrap_or_default(),
            3 => self.uri = text(value).unwrap_or_default(),
            _ => self.is_answer = true,
        }
        Ok(())
    }

    fn meaning(&self, rpc: &Rpc) -> Option<Meaning> {
        let Some(method) = &self.method else {
            // What the client answers a server that asked it; data leaves with it.
            let provider = if rpc.is_a2a { a2a::PROVIDER } else { mcp::PROVIDER };
            return self.is_answer.then_some(Meaning { provider, verb: Verb::Call, of: Of::Nothing });
        };
        let mcp = || mcp::meaning(method).filter(|_| !rpc.is_a2a);
        let a2a = || a2a::meaning(method).filter(|_| !rpc.is_mcp);
        mcp().or_else(a2a)
    }
}

/// All but the credentials, which the head shows.
fn become_this(operation: &mut Operation, judged: Operation) {
    let credentials = std::mem::take(&mut operation.credentials);
    *operation = Operation { credentials, ..judged };
}

/// Of two the one that counts.
pub(super) fn danger(verb: Verb) -> u8 {
    match verb {
        Verb::Meta => 0,
        Verb::Authorize => 1,
        Verb::Download => 2,
        Verb::Call => 3,
        Verb::Mutate => 4,
        Verb::Upload => 5,
        Verb::Admin => 6,
        Verb::Unknown => 7,
    }
}
