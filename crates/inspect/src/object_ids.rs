//! Ids of what servers of models store for their clients (OpenAI's interface), put in each other's place: answers, conversations and
//! their items, files.
//!
//! Enters: the segments of a path, a whole request or one message of an answer, JSON, and who says what is in an id's place. Leaves:
//! which segments are ids; the JSON with the other ids. Guarantees: a path that leads to stored things in another way than is known
//! here is an error; what a server repeats of a request had its ids swapped in that request, so that nobody has one made his own by
//! sending it; in requests, every spelling of a member that a server may take for an id is found, also where it is written twice;
//! every byte beside ids stays, so that a schema keeps its order and a number its digits; what people and tools say to each other
//! is left alone. Does not: remember ids, know whose they are, or read forms.
//!
//! Source: the OpenAPI document of OpenAI, of revision 2.3.0; vLLM's `vllm/entrypoints/openai/responses/protocol.py`.

use crate::rewrite::tokens::{Kind, Token, Tokens, is_json};
use crate::task_ids::{IdOf, Swap, Unswapped, plain};
use std::ops::Range;

/// Things that are stored, of which no id is bound: whoever lists, reads or names one of them is refused.
const UNBOUND: [&str; 11] = [
    "batches",
    "uploads",
    "vector_stores",
    "assistants",
    "threads",
    "containers",
    "evals",
    "fine_tuning",
    "skills",
    "videos",
    "chatkit",
];

/// Members whose values are of people, models and tools, or describe such. No server looks for ids in them.
const CONTENT: [&str; 10] = [
    "metadata",
    "parameters",
    "schema",
    "inputschema",
    "outputschema",
    "guidedjson",
    "json",
    "format",
    "arguments",
    "documents",
];

/// Why a list is not shown.
const LISTS: &str = "a list of what is stored has what others stored in it";

/// What a path asks of stored things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Segments that are ids, by their places.
    pub ids: Vec<(usize, IdOf)>,
    /// What the member `id` of its answer is of; `None`: its answer has no ids of stored things.
    pub shown: Option<IdOf>,
    /// Whether it makes something that is stored, and that its server names.
    pub makes: bool,
    /// Whether its body may be a form, in which there are no ids.
    pub takes_form: bool,
}

/// Reads a path: its decoded segments, behind whatever prefix the server has.
///
/// # Errors
/// It leads to stored things, and nobody can tell whose; a clause for a person.
pub fn way(method: &str, segments: &[String]) -> Result<Way, &'static str> {
    let lower: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let is_form = |pair: &[String]| {
        matches!(
            pair,
            [first, second] if matches!((first.as_str(), second.as_str()),
                ("audio", "transcriptions" | "translations") | ("images", "edits" | "variations"))
        )
    };
    let takes_form = lower.windows(2).any(is_form);
    for (at, segment) in lower.iter().enumerate() {
        let first = at + 1;
        // Some servers do not mind an empty one.
        let places: Vec<usize> =
            (first..lower.len()).filter(|at| lower.get(*at).is_some_and(|it| !it.is_empty())).collect();
        let rest: Vec<&str> = places.iter().filter_map(|at| lower.get(*at)).map(String::as_str).collect();
        let place = |of: usize| places.get(of).copied().unwrap_or(first);
        let found = match segment.as_str() {
            "responses" => responses(method, &rest, place),
            "conversations" => conversations(method, &rest, place),
            "files" => files(method, &rest, place),
            "chat" => match chat(method, &rest) {
                Ok(()) => continue,
                Err(why) => Err(why),
            },
            other if UNBOUND.contains(&other) => {
                Err("what is stored of this kind is not bound to who stored it")
            }
            _ => continue,
        };
        return found;
    }
    Ok(Way { takes_form, ..Way::default() })
}

fn is_read(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

fn responses(method: &str, rest: &[&str], place: impl Fn(usize) -> usize) -> Result<Way, &'static str> {
    let of = |ids, makes| Ok(Way { ids, shown: Some(IdOf::Given), makes, takes_form: false });
    let one = || vec![(place(0), IdOf::Given)];
    match (method, rest) {
        ("POST", [] | ["compact" | "input_tokens"]) => of(Vec::new(), true),
        ("GET" | "HEAD" | "DELETE", [_]) | ("POST", [_, "cancel"]) => of(one(), false),
        (_, [_, "input_items"]) if is_read(method) => of(one(), false),
        (_, []) => Err(LISTS),
        _ => Err("nobody can tell which stored answer it is about"),
    }
}

fn conversations(method: &str, rest: &[&str], place: impl Fn(usize) -> usize) -> Result<Way, &'static str> {
    let of = |ids, shown| Ok(Way { ids, shown: Some(shown), ..Way::default() });
    let one = || vec![(place(0), IdOf::Given)];
    let item = || vec![(place(0), IdOf::Given), (place(2), IdOf::Chosen)];
    match (method, rest) {
        ("POST", []) => Ok(Way { shown: Some(IdOf::Given), makes: true, ..Way::default() }),
        ("GET" | "HEAD" | "DELETE" | "POST", [_] | [_, "items"]) => of(one(), IdOf::Given),
        // What is left of the conversation is shown where an item goes.
        ("DELETE", [_, "items", _]) => of(item(), IdOf::Given),
        (_, [_, "items", _]) if is_read(method) => of(item(), IdOf::Chosen),
        (_, []) => Err(LISTS),
        _ => Err("nobody can tell which conversation it is about"),
    }
}

fn files(method: &str, rest: &[&str], place: impl Fn(usize) -> usize) -> Result<Way, &'static str> {
    let one = || vec![(place(0), IdOf::Given)];
    match (method, rest) {
        ("POST", []) => Ok(Way { shown: Some(IdOf::Given), takes_form: true, ..Way::default() }),
        ("GET" | "HEAD" | "DELETE", [_]) => {
            Ok(Way { ids: one(), shown: Some(IdOf::Given), ..Way::default() })
        }
        (_, [_, "content"]) if is_read(method) => Ok(Way { ids: one(), ..Way::default() }),
        (_, []) => Err(LISTS),
        _ => Err("nobody can tell which file it is about"),
    }
}

/// What asks a model has no id; what is stored of it has.
fn chat(method: &str, rest: &[&str]) -> Result<(), &'static str> {
    match rest {
        ["completions"] if method == "POST" => Ok(()),
        ["completions", "batch" | "render"] if method == "POST" => Ok(()),
        ["completions"] => Err(LISTS),
        ["completions", ..] => Err("stored answers of a chat are not bound to who asked for them"),
        _ => Ok(()),
    }
}

/// A whole request. `makes`: as [`Way`] says. `None`: there is no id in it.
///
/// # Errors
/// It may not go on.
pub fn in_request(body: &[u8], makes: bool, swap: &mut Swap<'_>) -> Result<Option<Vec<u8>>, Unswapped> {
    let text = std::str::from_utf8(body).ok().filter(|text| is_json(text)).ok_or(Unswapped::NoJson)?;
    let mut walk = Walk { text, swap, side: Side::Asked { makes }, edits: Vec::new(), is_refused: false };
    walk.all(What::Plain);
    if walk.is_refused { Err(Unswapped::NotGiven) } else { Ok(walk.written().map(String::into_bytes)) }
}

/// One message of an answer, or all of it. `shown`: as [`Way`] says. `None`: there is no id in it, or it is no JSON.
pub fn in_answer(text: &str, shown: IdOf, swap: &mut Swap<'_>) -> Option<String> {
    if !is_json(text) {
        return None;
    }
    let mut walk = Walk { text, swap, side: Side::Answered, edits: Vec::new(), is_refused: false };
    walk.all(What::Named(shown));
    walk.written()
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Asked { makes: bool },
    Answered,
}

/// What an object or array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Plain,
    /// An object whose `id` is of this; an array of ids.
    Named(IdOf),
    /// An array of such objects.
    Items,
    /// Nothing in it is looked at.
    Content,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// An id; several; or an object that has it as its `id`.
    Id(IdOf),
    /// An object that has an `id`, and no id where it is a text.
    Of(IdOf),
    /// A list of items.
    Items,
    /// What asks a model: a list of items, or what a tool is called with.
    Input,
    /// It may not be there.
    Refused,
    Content,
    Plain,
}

struct Walk<'w, 's> {
    text: &'w str,
    swap: &'w mut Swap<'s>,
    side: Side,
    edits: Vec<(Range<usize>, String)>,
    is_refused: bool,
}

impl Walk<'_, '_> {
    /// `top`: what the whole is.
    fn all(&mut self, top: What) {
        // Whether each that is open is an array.
        let mut open: Vec<(What, bool)> = Vec::new();
        let mut member = Member::Plain;
        for token in Tokens::of(self.text) {
            let within = open.last().copied();
            let here = match within {
                Some((what, true)) => element(what),
                Some((_, false)) => member,
                None => Member::Plain,
            };
            match token.kind {
                Kind::Name => member = self.member(&token, within, open.len()),
                Kind::Close => {
                    open.pop();
                }
                Kind::Object | Kind::Array => {
                    let is_array = token.kind == Kind::Array;
                    self.is_refused |= here == Member::Refused;
                    let what = if within.is_none() { top } else { self.opened(here, is_array, open.len()) };
                    open.push((what, is_array));
                }
                Kind::Text => match here {
                    Member::Id(of) => self.id(&token, of),
                    Member::Refused => self.is_refused = true,
                    Member::Of(_) | Member::Items | Member::Input | Member::Content | Member::Plain => {}
                },
                // What is not there names nothing; so it is written by who always writes all members.
                Kind::Bare => {
                    let is_meant = matches!(here, Member::Id(_) | Member::Refused);
                    self.is_refused |= is_meant && self.written_at(&token) != "null";
                }
            }
        }
    }

    fn written_at(&self, token: &Token) -> &str {
        self.text.get(token.range.clone()).unwrap_or_default()
    }

    fn member(&mut self, token: &Token, within: Option<(What, bool)>, depth: usize) -> Member {
        let Ok(name) = serde_json::from_str::<String>(self.written_at(token)) else {
            self.is_refused = true;
            return Member::Plain;
        };
        let what = within.map_or(What::Plain, |(what, _)| what);
        if what == What::Content {
            return Member::Content;
        }
        let is_own = depth == 1 && what == What::Named(IdOf::Given);
        match (plain(&name).as_str(), self.side) {
            // Under its own name, or that of its request (vLLM, SGLang), a client would name what another has.
            ("id" | "requestid", Side::Asked { makes: true }) if depth == 1 => Member::Refused,
            ("id", _) => match what {
                What::Named(of) => Member::Id(of),
                What::Plain | What::Items | What::Content => Member::Plain,
            },
            (
                "previousresponseid" | "responseid" | "conversation" | "conversationid" | "fileid"
                | "fileids" | "container" | "containerid",
                _,
            ) => Member::Id(IdOf::Given),
            ("approvalrequestid" | "itemid" | "previousitemid", _) => Member::Id(IdOf::Chosen),
            ("items" | "output", _) => Member::Items,
            ("input", _) => Member::Input,
            // vLLM: the whole answer to go on from.
            ("previousresponse", Side::Asked { .. }) => Member::Id(IdOf::Given),
            ("inputfileid" | "vectorstoreid" | "vectorstoreids" | "skillid", Side::Asked { .. }) => {
                Member::Id(IdOf::Given)
            }
            // Only of what is the server's own: an item has members that its client sent.
            ("response", Side::Answered) if is_own => Member::Of(IdOf::Given),
            ("item", Side::Answered) if is_own => Member::Of(IdOf::Chosen),
            ("data", Side::Answered) if is_own => Member::Items,
            ("firstid" | "lastid", Side::Answered) if is_own => Member::Id(IdOf::Chosen),
            (name, _) if CONTENT.contains(&name) => Member::Content,
            _ => Member::Plain,
        }
    }

    fn opened(&self, here: Member, is_array: bool, depth: usize) -> What {
        match here {
            Member::Id(of) => What::Named(of),
            Member::Of(of) if !is_array => What::Named(of),
            Member::Items if is_array => What::Items,
            Member::Items => What::Named(IdOf::Chosen),
            Member::Input if is_array => What::Items,
            // Elsewhere it is what a model calls a tool with.
            Member::Input if depth == 1 && self.side != Side::Answered => What::Named(IdOf::Chosen),
            Member::Input | Member::Content => What::Content,
            Member::Of(_) | Member::Refused | Member::Plain => What::Plain,
        }
    }

    fn id(&mut self, token: &Token, of: IdOf) {
        let Ok(id) = serde_json::from_str::<String>(self.written_at(token)) else {
            self.is_refused = true;
            return;
        };
        if id.is_empty() {
            return;
        }
        match (self.swap)(of, &id) {
            Some(other) => {
                self.edits.push((token.range.clone(), serde_json::Value::String(other).to_string()));
            }
            None => self.is_refused = true,
        }
    }

    /// With the other ids; `None`: there is none.
    fn written(self) -> Option<String> {
        if self.edits.is_empty() {
            return None;
        }
        let (mut out, mut copied) = (String::with_capacity(self.text.len()), 0);
        for (range, other) in self.edits {
            out.push_str(self.text.get(copied..range.start).unwrap_or_default());
            out.push_str(&other);
            copied = range.end;
        }
        out.push_str(self.text.get(copied..).unwrap_or_default());
        Some(out)
    }
}

/// What an element of an array is.
fn element(array: What) -> Member {
    match array {
        What::Named(of) => Member::Id(of),
        What::Items => Member::Of(IdOf::Chosen),
        What::Content => Member::Content,
        What::Plain => Member::Plain,
    }
}

#[cfg(test)]
mod tests;
