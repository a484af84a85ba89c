//! Ids of what a server of models stores (OpenAI's interface), on their way between a client and its server, where a policy says
//! `storedObjects: PerConsumer`: those of the client become the server's, and back.
//!
//! Guarantees: nothing that is stored is reached by an id that was not given to who asks, in whatever part of a request that is; what
//! cannot be read goes to no server; a list of what everybody stored is not asked for. Does not: make tags (`bound`), or read
//! messages and paths (`inspect::object_ids`).

use super::ids::{NotGiven, decoded, encoded, in_query, made, put};
use super::{Asking, Stop};
use crate::body::Outgoing;
use crate::bound::{Owner, not_given};
use crate::fields::Asks;
use crate::reason::Reason;
use http::{HeaderValue, header};
use inspect::object_ids::{self, Way};
use inspect::sieve::Edit;
use inspect::task_ids::{IdOf, Unswapped};

/// Makes the ids of a request those of its server. What the `id` of its answer is of; `None`: that has no such ids.
pub(super) async fn asked(
    owner: &Owner,
    asking: &mut Asking<'_>,
    body: &mut Outgoing,
) -> Result<Option<IdOf>, Stop> {
    if asking.asks == Asks::WebSocket {
        let why = "stored objects are each consumer's own, and within a WebSocket nobody reads their ids";
        return Err(Stop::because(Reason::Uninspected, why));
    }
    let mut written: Vec<String> = asking.target.path().split('/').map(str::to_owned).collect();
    let segments: Vec<String> = written.iter().map(|segment| decoded(segment)).collect();
    let way = object_ids::way(asking.head.method.as_str(), &segments).map_err(not_given)?;
    let swap = |of, id: &str| owner.asked(id, of == IdOf::Chosen);
    let refused = || not_given("a stored object that its target names was not given to who asks");
    for (at, of) in &way.ids {
        let (Some(segment), Some(place)) = (segments.get(*at), written.get_mut(*at)) else { continue };
        *place = encoded(&swap(*of, segment).ok_or_else(refused)?);
    }
    let path = (!way.ids.is_empty()).then(|| written.join("/"));
    // An empty one names nothing.
    let mut named = |of, id: &str| if id.is_empty() { Some(String::new()) } else { swap(of, id) };
    let query = asking.target.query().map(|query| in_query(query, of_query, &mut named));
    let query = query.transpose().map_err(|NotGiven| refused())?.flatten();
    if let Some(target) = made(&asking.target, path, query)? {
        asking.target = target;
    }
    in_body(owner, asking, body, &way).await?;
    Ok(way.shown)
}

/// What a member of a query is an id of. Where a list goes on (`after`, `before`) is an item: other lists are not asked for.
fn of_query(name: &str) -> Option<IdOf> {
    match name {
        "after" | "before" | "itemid" => Some(IdOf::Chosen),
        "responseid" | "previousresponseid" | "conversation" | "conversationid" | "fileid" => {
            Some(IdOf::Given)
        }
        _ => None,
    }
}

async fn in_body(owner: &Owner, asking: &mut Asking<'_>, body: &mut Outgoing, way: &Way) -> Result<(), Stop> {
    let headers = &mut asking.head.headers;
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = kind.get(..20).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/form-data;"));
    if way.takes_form && is_form {
        return Ok(());
    }
    body.hold_all().await?;
    let unread = || {
        let why = "stored objects are each consumer's own, and nobody can tell which ones its body names";
        Stop::because(Reason::NotUnderstood, why)
    };
    let decoded = body.decoded(headers).ok_or_else(unread)?;
    if decoded.is_empty() {
        return Ok(());
    }
    let mut swap = |of, id: &str| owner.asked(id, of == IdOf::Chosen);
    match object_ids::in_request(&decoded, way.makes, &mut swap) {
        Ok(None) => Ok(()),
        Ok(Some(other)) => put(headers, body, other),
        Err(Unswapped::NoJson) => Err(unread()),
        Err(Unswapped::NotGiven) => {
            Err(not_given("a stored object that its body names was not given to who asks"))
        }
    }
}

/// Has the ids in an answer become the client's, after what changes it first.
pub(super) fn edit(owner: &Owner, shown: IdOf, mut first: Option<Edit>) -> Edit {
    let owner = owner.clone();
    Edit(Box::new(move |text| {
        let changed = first.as_mut().and_then(|first| (first.0)(text));
        let text = changed.as_deref().unwrap_or(text);
        object_ids::in_answer(text, shown, &mut |_, id| Some(owner.answered(id))).or(changed)
    }))
}
