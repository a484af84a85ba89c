//! Ids on their way between a client and its server: those of the client become the server's, and back.
//!
//! Guarantees: an id that was not given to who asks gets to no server, in whatever part of a request it is and however it is written;
//! what cannot be read goes to no server that goes by such ids. Does not: make tags (`bound`), or read messages (`inspect::task_ids`);
//! ids of what servers of models store are `objects`'.

use super::{Asking, Exchange, Stop, objects};
use crate::body::{Outgoing, Unread};
use crate::bound::{Owner, not_given};
use crate::event_ids::EventIds;
use crate::policy::Held;
use crate::reason::Reason;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header, response};
use inspect::sieve::Edit;
use inspect::task_ids::{self, IdOf, Protocol, Unswapped};
use policy::{Consumer, Operation};
use routes::RouteRef;
use std::fmt::Write;

/// Fields about the bytes of a body, which are others now.
const OF_BYTES: [&str; 5] = ["content-encoding", "content-digest", "repr-digest", "digest", "content-md5"];
/// What is done to a task that a path names (A2A, REST).
const ACTIONS: [&str; 2] = ["cancel", "subscribe"];

/// Whose ids a request has, and which of its answer become theirs.
#[derive(Debug)]
pub(super) struct Ids {
    owner: Owner,
    /// What is spoken there; `None`: nothing that has tasks.
    protocol: Option<Protocol>,
    /// Whether events of its stream are a session's.
    has_events: bool,
    /// What the `id` of its answer is of, where that has ids of stored things.
    shown: Option<IdOf>,
}

impl Exchange {
    /// Makes the ids of a request those of its server.
    pub(super) async fn own_ids(
        &self,
        asking: &mut Asking<'_>,
        (held, route): (&Held, &RouteRef),
        consumer: &Consumer,
        (body, operation): (&mut Outgoing, &Operation),
    ) -> Result<Ids, Stop> {
        let keys = (&self.shared.session_keys, &self.shared.secret);
        let owner = Owner::of(keys, route, consumer, self.client.address.ip());
        let protocol = held.has_tasks();
        let is_of_tools = held.speaks_mcp() || operation.provider.as_deref() == Some("mcp");
        let has_events = is_of_tools || asking.head.headers.contains_key("mcp-session-id");
        owner.ask(&mut asking.head.headers, has_events)?;
        if has_events {
            // In what is compressed no event would get its tag.
            asking.head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let mut ids = Ids { owner, protocol, has_events, shown: None };
        if held.binds_objects() {
            ids.shown = objects::asked(&ids.owner, asking, body).await?;
        }
        let Some(protocol) = protocol else { return Ok(ids) };
        if protocol == Protocol::Agents {
            no_grpc(asking, operation)?;
        }
        if let Some(target) = ids.in_target(&asking.head.method, &asking.target)? {
            asking.target = target;
        }
        ids.in_body(asking, protocol, body, operation).await?;
        Ok(ids)
    }
}

impl Ids {
    fn asked(&self, of: IdOf, id: &str) -> Option<String> {
        self.owner.asked(id, of == IdOf::Chosen)
    }

    /// In a path and its query.
    fn in_target(&self, method: &Method, target: &PathAndQuery) -> Result<Option<PathAndQuery>, Stop> {
        let refused =
            || not_given("a task, conversation or session that its target names was not given to who asks");
        let path = self.in_path(method, target.path()).map_err(|NotGiven| refused())?;
        let query = target.query().map(|query| in_query(query, of_task, &mut |of, id| self.asked(of, id)));
        let query = query.transpose().map_err(|NotGiven| refused())?.flatten();
        made(target, path, query)
    }

    /// `…/tasks/ID`, with an action or something below; some servers do not mind case.
    fn in_path(&self, method: &Method, path: &str) -> Result<Option<String>, NotGiven> {
        if self.protocol != Some(Protocol::Agents) {
            return Ok(None);
        }
        let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let last = segments.iter().rposition(|segment| decoded(segment).eq_ignore_ascii_case("tasks"));
        let Some(at) = last.map(|at| at + 1) else { return Ok(None) };
        let has_more = segments.get(at + 1).is_some_and(|segment| !segment.is_empty());
        let is_message = segments.last().is_some_and(|last| decoded(last).starts_with("message:"));
        let Some(segment) = segments.get_mut(at).filter(|segment| !segment.is_empty()) else {
            return Ok(None);
        };
        let text = decoded(segment);
        let (id, action) = match text.rsplit_once(':') {
            Some((id, action))
                if method == Method::POST || ACTIONS.iter().any(|one| one.eq_ignore_ascii_case(action)) =>
            {
                (id, format!(":{}", encoded(action)))
            }
            Some(_) | None => (text.as_str(), String::new()),
        };
        // Messages are posted anywhere, also below a folder of that name.
        if method == Method::POST && (is_message || action.is_empty() && !has_more) {
            return Ok(None);
        }
        *segment = encoded(&self.asked(IdOf::Given, id).ok_or(NotGiven)?) + &action;
        Ok(Some(segments.join("/")))
    }

    async fn in_body(
        &self,
        asking: &mut Asking<'_>,
        protocol: Protocol,
        body: &mut Outgoing,
        operation: &Operation,
    ) -> Result<(), Stop> {
        body.hold_all().await?;
        let headers = &mut asking.head.headers;
        let unread = || {
            let why = "nobody can tell which tasks or sessions are in it";
            let is_message = matches!(operation.provider.as_deref(), Some("mcp" | "a2a"));
            if is_message { Err(Stop::because(Reason::NotUnderstood, why)) } else { Ok(()) }
        };
        let Some(decoded) = body.decoded(headers) else { return unread() };
        if decoded.is_empty() {
            return Ok(());
        }
        match task_ids::in_request(&decoded, protocol, &mut |of, id| self.asked(of, id)) {
            Ok(None) => Ok(()),
            Ok(Some(other)) => put(headers, body, other),
            Err(Unswapped::NoJson) => unread(),
            Err(Unswapped::NotGiven) => {
                Err(not_given("a task or conversation that it names was not given to who asks"))
            }
        }
    }

    /// Makes the fields of an answer those of the client.
    pub(super) fn answered(&self, headers: &mut HeaderMap) {
        self.owner.answer(headers);
    }

    /// Has the ids in an answer become the client's, after what changes it first.
    pub(super) fn edit(&self, first: Option<Edit>) -> Option<Edit> {
        let tasks = match self.protocol {
            Some(protocol) => Some(self.edit_tasks(protocol, first)),
            None => first,
        };
        match self.shown {
            Some(shown) => Some(objects::edit(&self.owner, shown, tasks)),
            None => tasks,
        }
    }

    /// Whether its answer has ids of stored things.
    pub(super) fn has_objects(&self) -> bool {
        self.shown.is_some()
    }

    fn edit_tasks(&self, protocol: Protocol, mut first: Option<Edit>) -> Edit {
        let owner = self.owner.clone();
        Edit(Box::new(move |text| {
            let changed = first.as_mut().and_then(|first| (first.0)(text));
            let text = changed.as_deref().unwrap_or(text);
            let swapped = match text.trim_start().as_bytes().first() {
                // Until 2024-11-05 a server says so where its client asks, and the session is in that.
                Some(b'/' | b'h') => place(text, &owner),
                _ => task_ids::in_answer(text, protocol, &mut |_, id| Some(owner.answered(id))),
            };
            swapped.or(changed)
        }))
    }

    /// What gives the events of an answer their tags; its length is then another.
    pub(super) fn events(&self, head: &mut response::Parts) -> Option<EventIds> {
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())?;
        let is_stream =
            kind.trim_start().get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"));
        if !self.has_events || !is_stream || head.headers.contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        head.headers.remove(header::CONTENT_LENGTH);
        Some(EventIds::of(self.owner.clone()))
    }
}

/// An id that was not given to who asks.
pub(super) struct NotGiven;

/// Messages over gRPC are not read, so nobody can tell which tasks are in them.
fn no_grpc(asking: &Asking<'_>, operation: &Operation) -> Result<(), Stop> {
    let kind = asking.head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let is_of_card = ["GetAgentCard", "GetExtendedAgentCard"].contains(&&*operation.api);
    if !is_grpc || is_of_card {
        return Ok(());
    }
    let why = "over gRPC nobody can tell which tasks are in it: use JSON-RPC or REST";
    Err(Stop::because(Reason::NotUnderstood, why))
}

/// A target with another path or query. `None`: both stay.
pub(super) fn made(
    target: &PathAndQuery,
    path: Option<String>,
    query: Option<String>,
) -> Result<Option<PathAndQuery>, Stop> {
    if path.is_none() && query.is_none() {
        return Ok(None);
    }
    let mut text = path.unwrap_or_else(|| target.path().to_owned());
    if let Some(query) = query.as_deref().or(target.query()) {
        text = format!("{text}?{query}");
    }
    let target = PathAndQuery::try_from(text);
    target.map(Some).map_err(|_| Stop::because(Reason::TargetAmbiguous, "the id in it makes no path"))
}

/// Puts another body in the place of one that is held.
pub(super) fn put(headers: &mut HeaderMap, body: &mut Outgoing, other: Vec<u8>) -> Result<(), Stop> {
    OF_BYTES.iter().for_each(|name| drop(headers.remove(*name)));
    headers.insert(header::CONTENT_LENGTH, other.len().into());
    body.replace(other).map_err(|unread: Unread| unread.into())
}

/// Where a client should send its messages, with the session in it made the client's.
fn place(text: &str, owner: &Owner) -> Option<String> {
    let (before, query) = text.split_once('?')?;
    let swapped = in_query(query, of_task, &mut |_, id| Some(owner.answered(id))).ok().flatten()?;
    Some(format!("{before}?{swapped}"))
}

/// In a query. `of`: what a member of this name, without its signs and in small letters, is an id of. `None`: no id is in it.
pub(super) fn in_query(
    query: &str,
    of: fn(&str) -> Option<IdOf>,
    swap: &mut dyn FnMut(IdOf, &str) -> Option<String>,
) -> Result<Option<String>, NotGiven> {
    let mut is_changed = false;
    let mut pairs = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain: String = decoded(name).chars().filter(char::is_ascii_alphanumeric).collect();
        let Some(of) = of(&plain.to_ascii_lowercase()) else {
            pairs.push(pair.to_owned());
            continue;
        };
        let id = decoded(&value.replace('+', " "));
        pairs.push(format!("{name}={}", encoded(&swap(of, &id).ok_or(NotGiven)?)));
        is_changed = true;
    }
    Ok(is_changed.then(|| pairs.join("&")))
}

/// Of a task, a conversation or a session.
fn of_task(name: &str) -> Option<IdOf> {
    match name {
        "taskid" => Some(IdOf::Given),
        "contextid" | "sessionid" | "mcpsessionid" => Some(IdOf::Chosen),
        _ => None,
    }
}

/// Undoes percent-encoding; what encodes nothing stays.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| byte == b'%') {
            Some(one) => {
                bytes.push(one);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All but what has no meaning anywhere (RFC 3986, section 2.3) is written by its number.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_query_are_found_in_every_spelling() {
        let swap = |query: &str| {
            in_query(query, of_task, &mut |_, id| id.strip_prefix('g').map(|id| format!("<{id}>")))
                .map_err(|NotGiven| ())
        };
        for (query, expected) in [
            ("a=b&session_id=g%31", Ok(Some("a=b&session_id=%3C1%3E"))),
            ("sessionId=g1&x", Ok(Some("sessionId=%3C1%3E&x"))),
            ("session%5Fid=g1", Ok(Some("session%5Fid=%3C1%3E"))),
            ("CONTEXT-ID=x", Err(())),
            ("session_id=g1&session_id=x", Err(())),
            ("task_id", Err(())),
            ("sessions=x&a=sessionId", Ok(None)),
            ("", Ok(None)),
        ] {
            assert_eq!(swap(query), expected.map(|text| text.map(str::to_owned)), "{query}");
        }
        assert_eq!(decoded("%7e%zz%4"), "~%zz%4");
    }
}
