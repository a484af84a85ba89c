//! Ids that a server gives one consumer, and that no other may use: of sessions and events (MCP), of tasks and conversations (A2A), of
//! what a server of models stores (OpenAI).
//!
//! Enters: an id of the server, or what a client says is one. Leaves: what the client gets, the id with a tag behind it; the id, where
//! the tag is that of who asks. Guarantees: the tag (HMAC-SHA-256, cut to 128 bits) is of one consumer, one route and one kind of id,
//! and nobody without the key can make it; equal ids of one consumer have equal tags, so an id stays the same however often a server
//! says it; gateways with the same keys understand each other. Does not: keep anything, or know which ids a server still has.
//!
//! Sessions have to be bound to who began them: <https://modelcontextprotocol.io/specification/2025-11-25/basic/security_best_practices>.

use crate::crowd::network;
use crate::reason::Reason;
use crate::request::Stop;
use crate::session::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{Consumer, Known};
use routes::RouteRef;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// In which the server names a session, and the client then says that it is its own.
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Behind which event of a stream a client wants to go on.
const EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Both, for who passes fields on.
pub(crate) const FIELDS: [&str; 2] = ["mcp-session-id", "last-event-id"];
/// Between an id and its tag; it has no meaning in fields, URLs and JSON.
const MARK: char = '~';
/// Of a tag, in bytes; it is written in hexadecimal digits.
const TAG: usize = 16;
/// Bytes of a key.
const KEY: usize = 32;
/// Most keys.
const MOST_KEYS: usize = 4;

/// Keys of all tags, where somebody gave some: the first makes them, and each is believed.
#[derive(Clone, Default)]
pub struct SessionKeys(Arc<[Key]>);

impl SessionKeys {
    /// From a file: 64 hexadecimal digits a line, 1 to 4 lines.
    ///
    /// # Errors
    /// What is wrong in which line; nothing of a key is in it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(line.trim().as_bytes()).ok();
            let Some(bytes) = bytes.filter(|bytes| bytes.len() == KEY) else {
                let way_out = "a key is 64 hexadecimal digits, as of `openssl rand -hex 32`";
                return Err(format!("line {}: {way_out}", at + 1));
            };
            keys.push(Key::new(HMAC_SHA256, &bytes));
        }
        match keys.len() {
            1..=MOST_KEYS => Ok(Self(keys.into())),
            found => Err(format!("it has {found} keys: 1 to {MOST_KEYS} are wanted, one a line")),
        }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys")
    }
}

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Session = 1,
    Event = 2,
    /// A task, a conversation, a stored answer, or another thing that its server named.
    Given = 3,
    /// The same where the client named it: then the server gets the tag with it, so that no client names what another has.
    Chosen = 4,
}

/// Whose ids they are.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    keys: Arc<[Key]>,
    /// The route, and who asks there.
    whose: String,
}

impl Owner {
    /// Of who asks on a route. Who is not known is where they are. `secret`: of the process, for routes that nothing else is known of.
    pub(crate) fn of(
        (keys, secret): (&SessionKeys, &Secret),
        route: &RouteRef,
        consumer: &Consumer,
        client: IpAddr,
    ) -> Self {
        let keys = if keys.0.is_empty() {
            let of_route = route.uid.as_bytes();
            let material = if of_route.is_empty() { secret.as_slice() } else { of_route };
            let mut context = Context::with_key(&Key::new(HMAC_SHA256, b"cofferdam ids of consumers"));
            context.update(material);
            Arc::from([Key::new(HMAC_SHA256, context.sign().as_ref())])
        } else {
            Arc::clone(&keys.0)
        };
        let who = match &consumer.how {
            Known::Anonymous => network(client),
            Known::ApiKey | Known::Token(_) | Known::Certificate(_) => consumer.name.to_string(),
        };
        let how = consumer.how.to_string();
        let RouteRef { kind, namespace, name, .. } = route;
        let whose =
            [*kind, namespace, name, &how, &who].map(|part| format!("{} {part}", part.len())).concat();
        Self { keys, whose }
    }

    /// What the client gets for an id of the server, or the other way round for one that it chose.
    pub(crate) fn give(&self, kind: Kind, id: &str) -> String {
        let tag = self.keys.first().map(|key| self.tag(key, kind, id)).unwrap_or_default();
        format!("{id}{MARK}{}", HEXLOWER.encode(&tag))
    }

    /// The id in what was given to the same consumer; `None`: it was not.
    pub(crate) fn take<'t>(&self, kind: Kind, text: &'t str) -> Option<&'t str> {
        let (id, tag) = parts(text)?;
        let tag = HEXLOWER.decode(tag.as_bytes()).ok()?;
        let is_own = |key: &Key| verify_slices_are_equal(&self.tag(key, kind, id), &tag).is_ok();
        self.keys.iter().any(is_own).then_some(id)
    }

    /// What the server gets for an id of a task, a conversation or a stored object in a request. `may_choose`: whether clients name such.
    /// `None`: it is not given to who asks.
    pub(crate) fn asked(&self, text: &str, may_choose: bool) -> Option<String> {
        match self.take(Kind::Given, text) {
            Some(id) => Some(id.to_owned()),
            // What has a tag was given to somebody, or made to look so.
            None if may_choose && parts(text).is_none() => Some(self.give(Kind::Chosen, text)),
            None => None,
        }
    }

    /// What the client gets for such an id in an answer.
    pub(crate) fn answered(&self, id: &str) -> String {
        match self.take(Kind::Chosen, id) {
            Some(own) => own.to_owned(),
            None => self.give(Kind::Given, id),
        }
    }

    /// Makes the fields of a request those of the server. `with_events`: whether its streams are a session's.
    pub(crate) fn ask(&self, headers: &mut HeaderMap, with_events: bool) -> Result<(), Stop> {
        let fields = [(SESSION, Kind::Session, true), (EVENT, Kind::Event, with_events)];
        for (name, kind, _) in fields.into_iter().filter(|(.., is_bound)| *is_bound) {
            let mut values = headers.get_all(&name).iter();
            let Some(first) = values.next() else { continue };
            if values.next().is_some() {
                return Err(not_given(&format!("it has {name} more than once")));
            }
            let id = first.to_str().ok().and_then(|text| self.take(kind, text));
            let Some(Ok(id)) = id.map(HeaderValue::from_str) else {
                return Err(not_given(&format!("its {name} was not given to who asks")));
            };
            headers.insert(name, id);
        }
        Ok(())
    }

    /// Makes the fields of an answer those of the client. One that says two sessions begins none.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) {
        let mut values = headers.get_all(SESSION).iter();
        let Some(first) = values.next() else { return };
        let is_one = values.next().is_none();
        let id = first.to_str().ok().filter(|id| is_one && id.bytes().all(|byte| byte.is_ascii_graphic()));
        match id.map(|id| HeaderValue::try_from(self.give(Kind::Session, id))) {
            Some(Ok(given)) => drop(headers.insert(SESSION, given)),
            Some(Err(_)) | None => drop(headers.remove(SESSION)),
        }
    }

    fn tag(&self, key: &Key, kind: Kind, id: &str) -> [u8; TAG] {
        let mut context = Context::with_key(key);
        context.update(&[kind as u8]);
        context.update(&(self.whose.len() as u64).to_be_bytes());
        context.update(self.whose.as_bytes());
        context.update(id.as_bytes());
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// Why a request with an id that another has does not go on. What somebody else has looks no other than what nobody has.
pub(crate) fn not_given(why: &str) -> Stop {
    Stop::because(Reason::NotGiven, why)
}

/// An id, and what looks like its tag.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (id, tag) = text.rsplit_once(MARK)?;
    let is_tag = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (!id.is_empty() && tag.len() == 2 * TAG && tag.bytes().all(is_tag)).then_some((id, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, uid: &str) -> RouteRef {
        let position = crds::Position { file: "t.yaml".into(), line: 1, column: 1 };
        RouteRef { kind: "HTTPRoute", namespace: "ai".into(), name: name.into(), position, uid: uid.into() }
    }

    fn consumer(name: &str, how: Known) -> Consumer {
        Consumer { name: name.into(), how, ..Consumer::anonymous() }
    }

    fn owner(keys: &str, route: &RouteRef, consumer: &Consumer, client: &str) -> Owner {
        let keys = if keys.is_empty() { SessionKeys::default() } else { SessionKeys::read(keys).unwrap() };
        Owner::of((&keys, &[7; 32]), route, consumer, client.parse().unwrap())
    }

    #[test]
    fn an_id_is_worth_something_to_who_got_it_and_to_nobody_else() {
        let (key, at) = ("a".repeat(64), "192.0.2.1");
        let (one, other) = (route("one", "u"), route("two", "u"));
        let alice = consumer("alice", Known::ApiKey);
        let given = owner(&key, &one, &alice, at).give(Kind::Session, "s1");
        assert_eq!(owner(&key, &one, &alice, "192.0.2.9").take(Kind::Session, &given), Some("s1"));
        let nobody = Consumer::anonymous();
        for (who, why) in [
            (owner(&key, &one, &consumer("bob", Known::ApiKey), at), "another"),
            (owner(&key, &one, &consumer("alice", Known::Token("i".into())), at), "of that name by a token"),
            (owner(&key, &one, &nobody, at), "nobody"),
            (owner(&key, &other, &alice, at), "on another route"),
            (owner(&"b".repeat(64), &one, &alice, at), "under another key"),
            (owner("", &one, &alice, at), "without keys"),
        ] {
            assert_eq!(who.take(Kind::Session, &given), None, "{why}");
        }
        let own = owner(&key, &one, &alice, at);
        for kind in [Kind::Event, Kind::Given, Kind::Chosen] {
            assert_eq!(own.take(kind, &given), None, "{kind:?}");
        }
        let there = owner(&key, &one, &nobody, at).give(Kind::Session, "s1");
        assert_eq!(owner(&key, &one, &nobody, at).take(Kind::Session, &there), Some("s1"));
        assert_eq!(owner(&key, &one, &nobody, "192.0.2.2").take(Kind::Session, &there), None, "elsewhere");
    }

    #[test]
    fn what_was_changed_means_nothing() {
        let own = owner("", &route("r", "u"), &consumer("alice", Known::ApiKey), "192.0.2.1");
        let given = own.give(Kind::Session, "s1");
        for at in 0..given.len() {
            let mut changed = given.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(own.take(Kind::Session, std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        let upper = given.to_uppercase();
        for other in ["", "s1", "~", "s1~", &upper, &given[3..], &format!("{given} "), &format!("x{given}")] {
            assert_eq!(own.take(Kind::Session, other), None, "{other}");
        }
    }

    #[test]
    fn a_key_may_be_replaced_and_then_both_are_believed() {
        let (old, new) = ("a".repeat(64), "B".repeat(64));
        let (at, alice) = (route("r", "u"), consumer("alice", Known::ApiKey));
        let given = owner(&old, &at, &alice, "192.0.2.1").give(Kind::Session, "s1");
        let both = owner(&format!("{new}\n\n{old}\n"), &at, &alice, "192.0.2.1");
        assert_eq!(both.take(Kind::Session, &given), Some("s1"));
        let next = both.give(Kind::Session, "s2");
        assert_eq!(owner(&new, &at, &alice, "192.0.2.1").take(Kind::Session, &next), Some("s2"));
        for wrong in ["", "abc", &"a".repeat(62), &[old.as_str(); 5].join("\n")] {
            let why = SessionKeys::read(wrong).unwrap_err();
            assert!(!why.contains(&old) && why.contains("key"), "{why}");
        }
        assert_eq!(format!("{:?}", SessionKeys::read(&old).unwrap()), "SessionKeys");
    }

    #[test]
    fn without_keys_gateways_agree_that_know_the_uid_of_the_route_and_others_do_not() {
        let alice = consumer("alice", Known::ApiKey);
        let of = |route: &RouteRef, secret: u8| {
            Owner::of((&SessionKeys::default(), &[secret; 32]), route, &alice, "192.0.2.1".parse().unwrap())
        };
        let (with, without) = (route("r", "u"), route("r", ""));
        let given = of(&with, 1).give(Kind::Session, "s");
        assert_eq!(of(&with, 2).take(Kind::Session, &given), Some("s"));
        assert_eq!(of(&route("r", "v"), 1).take(Kind::Session, &given), None);
        let given = of(&without, 1).give(Kind::Session, "s");
        assert_eq!(of(&without, 1).take(Kind::Session, &given), Some("s"));
        assert_eq!(of(&without, 2).take(Kind::Session, &given), None);
    }

    #[test]
    fn what_a_client_chose_is_its_own_and_never_what_another_has() {
        let at = route("r", "u");
        let of = |name: &str| owner("", &at, &consumer(name, Known::ApiKey), "192.0.2.1");
        let (alice, bob) = (of("alice"), of("bob"));
        let given = alice.answered("c1");
        assert_eq!(alice.asked(&given, true).as_deref(), Some("c1"));
        assert_eq!(bob.asked(&given, true), None);
        assert_eq!(alice.asked("c1", false), None, "who leaves the tag away chose it");
        let sent = bob.asked("c1", true).unwrap();
        assert_ne!(sent, "c1");
        assert_eq!(bob.answered(&sent), "c1", "and is told what was chosen");
        assert_ne!(alice.answered(&sent), "c1");
        // What goes to the server says to nobody that it was given.
        assert_eq!(bob.asked(&sent, true), None);
    }
}
