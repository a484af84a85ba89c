//! Ids of tasks and conversations in messages of agents (A2A) and of servers of tools (MCP), put in each other's place.
//!
//! Enters: a whole request or one message of an answer, JSON, and who says what is in an id's place. Leaves: the JSON with the other
//! ids. Guarantees: every spelling of a member that a server may take for an id is found (`taskId`, `task_id`, any case), wherever it is;
//! what goes on was written anew, so that the server finds what was looked at, also where a member was written twice; what people
//! and tools say to each other is left alone. Does not: remember ids, or know whose they are.

use crate::fold::fold;
use crate::rewrite::tokens::{Kind, Tokens};
use serde_json::{Map, Value};

/// Whose messages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Agent2Agent, and where both are spoken.
    Agents,
    /// The Model Context Protocol: it has tasks, and no conversations.
    Tools,
}

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdOf {
    /// What its server names: a task, a stored answer; and what a server asks its client to bring back when it asked for more (MCP,
    /// `requestState`).
    Given,
    /// A conversation of A2A, an item of OpenAI's, or something else that its client may name.
    Chosen,
}

/// What is written in an id's place. `None`: it may not be there.
pub type Swap<'s> = dyn FnMut(IdOf, &str) -> Option<String> + 's;

/// Why a request is not written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unswapped {
    /// It is no JSON.
    NoJson,
    /// An id that may not be there, or in its place something that is none.
    NotGiven,
}

/// Members whose values are of people, models and tools. No server looks for ids in them.
const CONTENT: [&str; 9] =
    ["parts", "metadata", "data", "arguments", "content", "structuredcontent", "contents", "messages", "raw"];
/// How the name of a task begins where it is one of a resource.
const RESOURCE: &str = "tasks/";

/// A whole request. `None`: there is no id in it.
///
/// # Errors
/// It may not go on.
pub fn in_request(
    body: &[u8],
    protocol: Protocol,
    swap: &mut Swap<'_>,
) -> Result<Option<Vec<u8>>, Unswapped> {
    let mut value: Value = serde_json::from_slice(body).map_err(|_| Unswapped::NoJson)?;
    // Of a member that is written twice the server may take the other one.
    let text = std::str::from_utf8(body).map_err(|_| Unswapped::NoJson)?;
    let names = Tokens::of(text).filter(|token| token.kind == Kind::Name).count();
    let is_changed = names != members(&value);
    let mut walk = Walk { protocol, swap, is_changed, is_refused: false, is_answer: false };
    match &mut value {
        Value::Array(messages) => messages.iter_mut().for_each(|message| walk.message(message)),
        message => walk.message(message),
    }
    match (walk.is_refused, walk.is_changed) {
        (true, _) => Err(Unswapped::NotGiven),
        (false, true) => Ok(Some(value.to_string().into_bytes())),
        (false, false) => Ok(None),
    }
}

/// How many there are, in objects of all depths.
fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(all) => all.len() + all.values().map(members).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// One message of an answer, or all of it. `None`: there is no id in it, or it is no JSON.
pub fn in_answer(text: &str, protocol: Protocol, swap: &mut Swap<'_>) -> Option<String> {
    if protocol == Protocol::Tools && !text.contains("askId") && !text.contains("equestState") {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    let mut walk = Walk { protocol, swap, is_changed: false, is_refused: false, is_answer: true };
    match &mut value {
        Value::Array(messages) => messages.iter_mut().for_each(|message| walk.message(message)),
        message => walk.message(message),
    }
    walk.is_changed.then(|| value.to_string())
}

struct Walk<'w, 's> {
    protocol: Protocol,
    swap: &'w mut Swap<'s>,
    is_changed: bool,
    is_refused: bool,
    is_answer: bool,
}

impl Walk<'_, '_> {
    /// A message of JSON-RPC, whose own `id` is none of these, or what is sent by REST.
    fn message(&mut self, message: &mut Value) {
        let Some(members) = message.as_object_mut() else { return };
        if !members.contains_key("jsonrpc") {
            return self.within(message, None);
        }
        let method = members.get("method").and_then(Value::as_str).and_then(of_method);
        for (name, member) in members.iter_mut().filter(|(name, _)| *name != "id") {
            let own = if name == "params" { method } else { None };
            self.within(member, own);
        }
    }

    /// `own`: what the member `id` is of, and whether `name` and `parent` name a task.
    fn within(&mut self, value: &mut Value, own: Option<IdOf>) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.within(item, None)),
            Value::Object(members) => {
                let own = if self.is_answer { self.shown(members) } else { own };
                let is_agents = self.protocol == Protocol::Agents;
                for (name, member) in members.iter_mut() {
                    match plain(name).as_str() {
                        "taskid" | "requeststate" => self.id(member, IdOf::Given),
                        "contextid" if is_agents => self.id(member, IdOf::Chosen),
                        "referencetaskids" if is_agents => match member {
                            Value::Array(ids) => ids.iter_mut().for_each(|id| self.id(id, IdOf::Given)),
                            other => self.id(other, IdOf::Given),
                        },
                        "id" if is_agents && own.is_some() => self.id(member, own.unwrap_or(IdOf::Given)),
                        "name" | "parent" if is_agents => self.resource(member),
                        name if CONTENT.contains(&name) => {}
                        _ => self.within(member, None),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Of what the member `id` of an object of an answer is: tasks have a status, and early settings of notifications are a task's.
    fn shown(&self, members: &Map<String, Value>) -> Option<IdOf> {
        let has = |name: &str| members.get(name).is_some_and(Value::is_object);
        let is_setting = has("pushNotificationConfig") && !members.contains_key("taskId");
        (self.protocol == Protocol::Agents && (has("status") || is_setting)).then_some(IdOf::Given)
    }

    fn id(&mut self, value: &mut Value, of: IdOf) {
        match value {
            // What is not there names nothing; so it is written by who always writes all members.
            Value::Null => {}
            Value::String(id) if id.is_empty() => {}
            Value::String(id) => match (self.swap)(of, id) {
                Some(other) => {
                    *id = other;
                    self.is_changed = true;
                }
                None => self.is_refused = true,
            },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => self.is_refused = true,
        }
    }

    /// `tasks/ID` and what is below it.
    fn resource(&mut self, value: &mut Value) {
        let Value::String(text) = value else { return };
        let Some(rest) = text.strip_prefix(RESOURCE).filter(|rest| !rest.is_empty()) else { return };
        let (id, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match (self.swap)(IdOf::Given, id) {
            Some(other) => {
                *text = format!("{RESOURCE}{other}{below}");
                self.is_changed = true;
            }
            None => self.is_refused = true,
        }
    }
}

/// Of what `params.id` of a method is; `None`: not of a task. In 1.0 that of a setting of notifications is the setting's own.
fn of_method(method: &str) -> Option<IdOf> {
    match method {
        "GetTask" | "CancelTask" | "SubscribeToTask" | "TaskSubscription" => Some(IdOf::Given),
        // Until 0.1 clients named tasks.
        "tasks/send" | "tasks/sendSubscribe" => Some(IdOf::Chosen),
        early if early.starts_with(RESOURCE) => Some(IdOf::Given),
        _ => None,
    }
}

/// A member's name as the most lenient reader takes it.
pub(crate) fn plain(name: &str) -> String {
    fold(name).replace('_', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on of a request; each id that may be there begins with `g`.
    fn asked(body: &str, protocol: Protocol) -> Result<Option<String>, Unswapped> {
        let mut swap = |of, id: &str| {
            let kind = if of == IdOf::Given { "T" } else { "C" };
            id.starts_with('g').then(|| format!("{kind}{id}"))
        };
        let swapped = in_request(body.as_bytes(), protocol, &mut swap)?;
        Ok(swapped.map(|body| String::from_utf8(body).unwrap()))
    }

    fn rpc(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{params}}}"#)
    }

    #[test]
    fn every_id_of_a_request_is_swapped_and_nothing_else() {
        for (method, params, expected) in [
            ("tasks/get", r#"{"id":"g"}"#, r#"{"id":"Tg"}"#),
            ("tasks/cancel", r#"{"id":"g"}"#, r#"{"id":"Tg"}"#),
            ("tasks/resubscribe", r#"{"id":"g"}"#, r#"{"id":"Tg"}"#),
            ("GetTask", r#"{"id":"g","historyLength":1}"#, r#"{"historyLength":1,"id":"Tg"}"#),
            ("CancelTask", r#"{"name":"tasks/g"}"#, r#"{"name":"tasks/Tg"}"#),
            (
                "tasks/pushNotificationConfig/delete",
                r#"{"id":"g","pushNotificationConfigId":"x"}"#,
                r#"{"id":"Tg","pushNotificationConfigId":"x"}"#,
            ),
            ("GetTaskPushNotificationConfig", r#"{"id":"x","taskId":"g"}"#, r#"{"id":"x","taskId":"Tg"}"#),
            (
                "CreateTaskPushNotificationConfig",
                r#"{"parent":"tasks/g/pushNotificationConfigs"}"#,
                r#"{"parent":"tasks/Tg/pushNotificationConfigs"}"#,
            ),
            (
                "message/send",
                r#"{"message":{"contextId":"g1","messageId":"x","parts":[{"data":{"taskId":"x"}}],"referenceTaskIds":["g2","g3"],"taskId":"g4"}}"#,
                r#"{"message":{"contextId":"Cg1","messageId":"x","parts":[{"data":{"taskId":"x"}}],"referenceTaskIds":["Tg2","Tg3"],"taskId":"Tg4"}}"#,
            ),
            (
                "SendMessage",
                r#"{"message":{"TASKID":"g4","context_id":"g1","task_id":"g5"}}"#,
                r#"{"message":{"TASKID":"Tg4","context_id":"Cg1","task_id":"Tg5"}}"#,
            ),
            ("tasks/send", r#"{"id":"g"}"#, r#"{"id":"Cg"}"#),
        ] {
            let sorted = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let found = asked(&rpc(method, params), Protocol::Agents).unwrap().unwrap();
            assert_eq!(sorted(&found), sorted(&rpc(method, expected)), "{method}");
        }
        for (method, params) in
            [("message/send", r#"{"message":{"taskId":null,"contextId":""}}"#), ("x", "{}")]
        {
            assert_eq!(asked(&rpc(method, params), Protocol::Agents), Ok(None), "{params}");
        }
        // A server that reads the first of two finds what was looked at.
        for (params, expected) in [
            (r#"{"message":{"taskId":"other","taskId":null}}"#, r#"{"message":{"taskId":null}}"#),
            (r#"{"message":{"taskId":"other"},"message":{}}"#, r#"{"message":{}}"#),
        ] {
            let found = asked(&rpc("message/send", params), Protocol::Agents).unwrap().unwrap();
            assert!(found.contains(expected) && !found.contains("other"), "{found}");
        }
    }

    #[test]
    fn what_was_not_given_is_refused_however_it_is_written() {
        for (method, params) in [
            ("tasks/get", r#"{"id":"x"}"#),
            ("tasks/get", r#"{"id":"g","\u0069d":"x"}"#),
            ("GetTask", r#"{"id":7}"#),
            ("GetTask", r#"{"ID":"x"}"#),
            ("message/send", r#"{"message":{"taſkId":"x"}}"#),
            ("GetTask", r#"{"name":"tasks/x"}"#),
            ("message/send", r#"{"message":{"taskId":"g","task_id":"x"}}"#),
            ("message/send", r#"{"message":{"taskid":["x"]}}"#),
            ("message/send", r#"{"message":{"referenceTaskIds":["g","x"]}}"#),
            ("message/send", r#"{"message":{"referenceTaskIds":"x"}}"#),
            ("message/send", r#"{"message":{"contextId":"x"}}"#),
        ] {
            let body = rpc(method, params);
            assert_eq!(asked(&body, Protocol::Agents), Err(Unswapped::NotGiven), "{body}");
            let batch = format!("[{},{body}]", rpc("x", "{}"));
            assert_eq!(asked(&batch, Protocol::Agents), Err(Unswapped::NotGiven), "{batch}");
        }
        assert_eq!(asked(r#"{"message":{"taskId":"x"}}"#, Protocol::Agents), Err(Unswapped::NotGiven));
        assert_eq!(asked("{", Protocol::Agents), Err(Unswapped::NoJson));
        let tools = rpc("tools/call", r#"{"name":"tasks/x","arguments":{"taskId":"x"},"contextId":"x"}"#);
        assert_eq!(asked(&tools, Protocol::Tools), Ok(None));
        let again = rpc("tools/call", r#"{"name":"a","requestState":"x"}"#);
        assert_eq!(asked(&again, Protocol::Tools), Err(Unswapped::NotGiven));
        assert_eq!(
            asked(&rpc("tasks/result", r#"{"taskId":"x"}"#), Protocol::Tools),
            Err(Unswapped::NotGiven)
        );
    }

    #[test]
    fn every_id_of_an_answer_is_swapped_and_nothing_else() {
        let task = r#"{"artifacts":[{"artifactId":"a","parts":[{"text":"taskId"}]}],"contextId":"c","id":"t","status":{"message":{"taskId":"t","messageId":"m"},"state":"working"}}"#;
        let swapped = r#"{"artifacts":[{"artifactId":"a","parts":[{"text":"taskId"}]}],"contextId":"Cc","id":"Tt","status":{"message":{"taskId":"Tt","messageId":"m"},"state":"working"}}"#;
        let result = |of: &str| format!(r#"{{"jsonrpc":"2.0","id":"x","result":{of}}}"#);
        for (of, expected) in [
            (result(task), result(swapped)),
            (task.to_owned(), swapped.to_owned()),
            (result(&format!(r#"{{"task":{task}}}"#)), result(&format!(r#"{{"task":{swapped}}}"#))),
            (result(&format!(r#"{{"tasks":[{task}]}}"#)), result(&format!(r#"{{"tasks":[{swapped}]}}"#))),
            (
                result(r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{}}}"#),
                result(r#"{"statusUpdate":{"taskId":"Tt","contextId":"Cc","status":{}}}"#),
            ),
            (
                result(r#"{"taskId":"t","pushNotificationConfig":{"id":"p"}}"#),
                result(r#"{"taskId":"Tt","pushNotificationConfig":{"id":"p"}}"#),
            ),
        ] {
            let mut swap = |of, id: &str| Some(format!("{}{id}", if of == IdOf::Given { "T" } else { "C" }));
            let found = in_answer(&of, Protocol::Agents, &mut swap).unwrap();
            let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(value(&found), value(&expected));
        }
        let mut swap = |_, id: &str| Some(format!("T{id}"));
        let listed = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t","status":"working"}}}"#;
        assert!(in_answer(listed, Protocol::Tools, &mut swap).unwrap().contains(r#""taskId":"Tt""#));
        for other in ["[DONE]", r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#, "7"] {
            assert_eq!(in_answer(other, Protocol::Agents, &mut swap), None, "{other}");
        }
    }
}
