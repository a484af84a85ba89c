//! Messages of JSON-RPC 2.0, one or a batch, as MCP and A2A send them.
//!
//! Enters: wanted values of the body, and what the head says of it. Leaves: an operation. Guarantees: head and body agree;
//! of a batch the most dangerous verb with every tool counts, and one message that is not understood makes all unknown;
//! where arguments of tools are wanted, nothing is known before they are there. Does not: look into them.

use super::json::{Found, Json, Path, Value};
use super::request::Rpc;
use super::{a2a, mcp};
use policy::{Arguments, ArgumentsFlaw, Operation, ToolCall, Verb};
use std::borrow::Cow;
use std::sync::Arc;

/// Different tools that one batch calls.
const MAX_TOOLS: usize = 64;
/// Calls of one batch, where their arguments are wanted.
const MAX_CALLS: usize = 64;
/// Bytes of all arguments of one body together.
const MAX_ARGUMENTS: usize = 64 * 1024;
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
/// Behind them: arguments of a message, and of those of a batch.
const ARGUMENTS: [Path; 2] = [&["params", "arguments"], &["*", "params", "arguments"]];

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
    /// `None`: none were there so far.
    arguments: Option<Arguments>,
    /// Whether the object of the arguments is not closed.
    is_within: bool,
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
    /// What reads the body for it.
    pub(super) fn json(rpc: &Rpc) -> Json {
        let mut paths = PATHS.to_vec();
        if rpc.server.is_none() {
            return Json::new(paths);
        }
        let held = [paths.len(), paths.len() + 1];
        paths.extend(ARGUMENTS);
        Json::new(paths).holding(&held, MAX_ARGUMENTS)
    }

    /// A reader for a body of which the head says this.
    pub(super) fn new(rpc: Rpc) -> Self {
        Self { rpc, message: Message::default(), is_judged: false, batch: 0 }
    }

    /// Takes a value. True: the operation is known.
    pub(super) fn take(&mut self, found: Found, operation: &mut Operation) -> Result<bool, &'static str> {
        let (at, value) = match found {
            Found::Value(at, value) => (at, value),
            Found::Object(at, bytes) => {
                self.message.arguments = Some(arguments(bytes));
                self.message.is_within = false;
                return self.advance(at != PATHS.len(), operation);
            }
            Found::Element => {
                let message = std::mem::take(&mut self.message);
                self.batch += 1;
                self.element(&message, operation)?;
                return Ok(false);
            }
        };
        if at >= PATHS.len() {
            self.message.arguments = Some(Arguments::Unread(ArgumentsFlaw::NoObject));
            self.message.is_within = value == Value::Other;
            return Ok(self.is_judged);
        }
        self.message.take(at % FIELDS, value)?;
        self.advance(at >= FIELDS, operation)
    }

    /// Judges the message as soon as all is there.
    fn advance(&mut self, is_batch: bool, operation: &mut Operation) -> Result<bool, &'static str> {
        if is_batch {
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
            Some(Of::Tool) => self.message.name.is_some() && self.has_arguments(),
            Some(Of::Name) => self.message.name.is_some(),
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

    /// Whether nothing that follows can bring arguments that are wanted.
    fn has_arguments(&self) -> bool {
        let message = &self.message;
        self.rpc.server.is_none() || message.arguments.is_some() && !message.is_within
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
        if operation.provider.as_deref() == Some(a2a::PROVIDER) {
            return Err("messages of A2A come one by one");
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
        operation.calls.extend(one.calls);
        if operation.calls.len() > MAX_CALLS {
            return Err("a batch calls tools more than 64 times");
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
        if let (Some(version), Some(method)) = (self.rpc.a2a_version, &message.method)
            && a2a::version_of(method).is_some_and(|own| own != version)
        {
            return Err("A2A-Version is not that of the method of the body");
        }
        if self.rpc.method.as_ref().is_some_and(|method| message.method.as_ref() != Some(method)) {
            return Err("Mcp-Method is not the method of the body");
        }
        if self.rpc.name.is_some() && self.rpc.name.as_ref() != named {
            return Err("Mcp-Name is not what the body names");
        }
        let tools: Vec<String> = named.filter(|_| meaning.of == Of::Tool).cloned().into_iter().collect();
        let calls =
            self.rpc.server.iter().flat_map(|server| tools.iter().map(|tool| message.call(tool, server)));
        let calls = calls.collect();
        let resource = named.filter(|_| meaning.of != Of::Tool).cloned();
        let stream = a2a::is_stream(&api);
        let reason = Cow::Borrowed("it is a message of JSON-RPC, by its body");
        let provider = Some(Cow::Borrowed(meaning.provider));
        let verb = meaning.verb;
        Ok(Operation { provider, api, verb, resource, tools, stream, calls, ..Operation::unknown(reason) })
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

    fn call(&self, tool: &str, server: &Arc<str>) -> ToolCall {
        let arguments = match &self.arguments {
            Some(arguments) => arguments.clone(),
            None => Arguments::Written(b"{}".as_slice().into()),
        };
        ToolCall { tool: tool.to_owned(), server: Arc::clone(server), arguments }
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

/// Of an object as it was written.
fn arguments(bytes: Option<Vec<u8>>) -> Arguments {
    bytes.map_or(Arguments::Unread(ArgumentsFlaw::TooLarge), |bytes| Arguments::Written(bytes.into()))
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

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::super::{Progress, Reader};
    use super::*;
    use policy::{Condition, Glob, Requests, ToolCondition};

    /// What a rule says to a body, whether it was said before the end, and whether it still is true then.
    fn judged(when: &str, body: &str, size: usize) -> (Option<String>, bool, bool) {
        let condition = ToolCondition { tool: Glob::new("*"), when: Condition::new(when).unwrap() };
        let rule = Requests { tool_conditions: vec![condition], ..Requests::default() };
        let mut reader = Sample::read("POST https://tools.example/mcp").reader_by(Reader::with_arguments);
        body.as_bytes().chunks(size).for_each(|part| reader.push(part));
        let is_early = !matches!(reader.progress(), Progress::NeedMore);
        reader.end();
        let (operation, stays) = match reader.progress() {
            Progress::Known(operation) => (operation, true),
            Progress::Contradicted(operation, _) => (operation, false),
            Progress::NeedMore => panic!("{body} is not known at the end"),
        };
        (rule.unmet(operation).map(|unmet| format!("{:?}", unmet.why)), is_early, stays)
    }

    #[test]
    fn arguments_are_there_before_a_call_is_known() {
        let call =
            |params: &str| format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{{params}}}}}"#);
        let large = format!(r#""name":"t","arguments":{{"n":1,"x":"{}"}}"#, "a".repeat(MAX_ARGUMENTS));
        let one = call(r#""name":"t","arguments":{"n":1}"#);
        let two = call(r#""name":"t","arguments":{"n":2}"#);
        let half =
            call(&format!(r#""name":"t","arguments":{{"n":1,"x":"{}"}}"#, "a".repeat(MAX_ARGUMENTS / 2)));
        let many: Vec<_> = (0..=MAX_CALLS).map(|_| one.as_str()).collect();
        let unread = |flaw: &str| Some(format!("Unread({flaw})"));
        // What is not known calls whatever its server finds in it.
        let unknown = || unread("NotHeld");
        for (body, lacks, is_early, stays) in [
            (one.clone(), None, true, true),
            (two.clone(), Some("False".to_owned()), true, true),
            (call(r#""arguments":{"n":1},"name":"t""#), None, true, true),
            (
                r#"{"params":{"arguments":{"n":1},"name":"t"},"method":"tools/call","jsonrpc":"2.0"}"#.into(),
                None,
                true,
                true,
            ),
            (call(r#""name":"t""#), Some("Wrong(NoField(\"n\"))".into()), false, true),
            (call(r#""name":"t","arguments":[1]"#), unread("NoObject"), false, true),
            (call(r#""name":"t","arguments":null"#), unread("NoObject"), false, true),
            (call(r#""name":"t","arguments":{"n":1,"\u006e":2}"#), unread("Ambiguous"), true, true),
            (call(r#""name":"t","arguments":{"n":1e999}"#), unread("Ambiguous"), true, true),
            (call(&large), unread("TooLarge"), true, true),
            // What comes behind it would be other arguments to some readers.
            (call(r#""name":"t","arguments":{"n":1},"arguments":{"n":2}"#), None, true, false),
            (call(r#""name":"t","arguments":{"n":1},"Arguments":{"n":2}"#), None, true, false),
            (call(r#""name":"t","Arguments":{"n":1}"#), unknown(), true, true),
            (format!("[{one},{one}]"), None, false, true),
            (format!("[{one},{two}]"), Some("False".into()), false, true),
            (format!("[{half},{half},{one}]"), unread("TooLarge"), false, true),
            (format!("[{}]", many.join(",")), unknown(), true, true),
            (r#"{"jsonrpc":"2.0","method":"ping","params":{"arguments":{"n":2}}}"#.into(), None, true, true),
        ] {
            for size in [1, 7, usize::MAX] {
                let expected = (lacks.clone(), is_early, stays);
                assert_eq!(
                    judged("args.n == 1 && server == 'tools.example'", &body, size),
                    expected,
                    "{size}: {body:.99}"
                );
            }
        }
    }
}
