//! What a policy says of servers of tools (MCP) and of agents (A2A): which pages may ask, and that what they say of themselves stays
//! what it was.
//!
//! Guarantees: a request that a browser sent for a page that is not named does not go on (MCP, "Security Warning" of the Streamable
//! HTTP transport: a page could have its own name lead to a server inside); a tool in quarantine is in no list and is not called; the card
//! of an agent in quarantine is not shown, and the agent is not asked. Does not: remember what they were (`admit::Pins`), read
//! lists and cards (`inspect::tool_list`), or know skills: messages to agents name none.

use crate::policy::Held;
use crate::reason::Reason;
use crate::record::ToolFact;
use crate::request::Stop;
use admit::{Pins, Source, Standing};
use crds::{AGENT_CARD, Mcp, ServerKind, Unpinned};
use data_encoding::HEXLOWER;
use http::{HeaderMap, StatusCode, header};
use inspect::sieve::Edit;
use inspect::tool_list::{self, CardPlace};
use policy::{Operation, Verb};
use routes::Target;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tools that a record names.
const MOST_TOLD: usize = 64;
/// Bytes of a tool's name that are kept.
const MOST_NAME: usize = 256;
/// Where agents show who they are to everybody; the second until 0.2.
const CARDS: [&str; 2] = ["/.well-known/agent-card.json", "/.well-known/agent.json"];
/// Where they say more to whom they know, by REST.
const EXTENDED: &str = "/extendedAgentCard";

type Section<'h> = Option<&'h (Arc<Mcp>, Source)>;

/// Whether the page for which a browser asks may.
pub(crate) fn origin(held: &Held, headers: &HeaderMap) -> Result<(), Stop> {
    let effective = &held.effective;
    let sections = [
        (effective.mcp.as_ref(), ServerKind::Mcp, "mcp.origins"),
        (effective.a2a.as_ref(), ServerKind::A2a, "a2a.origins"),
    ];
    let meant =
        sections.iter().filter(|(section, kind, _)| section.is_some() || effective.server == Some(*kind));
    let meant: Vec<&(Section<'_>, ServerKind, &str)> = meant.collect();
    let Some((first_section, _, field)) = meant.first() else { return Ok(()) };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(first) = origins.next() else { return Ok(()) };
    let mut named =
        meant.iter().flat_map(|(section, ..)| section.iter()).flat_map(|(section, _)| &section.origins);
    if origins.next().is_none() && named.any(|origin| origin.as_bytes() == first.as_bytes()) {
        return Ok(());
    }
    let rule = first_section.map(|(_, source)| source.to_string());
    let why = format!("{field} of an InferencePolicy does not name it");
    Err(Stop { rule, ..Stop::because(Reason::OriginDenied, why) })
}

/// Whether what a request calls is what it was. `path`: the one that goes on.
pub(crate) fn call(
    held: &Held,
    pins: &Pins,
    (server, path): (&str, &str),
    consumer: &str,
    operation: &Operation,
) -> Result<(), Stop> {
    let are = |section: Section<'_>, reason: Reason, names: &[String]| {
        let Some((section, source)) = section else { return Ok(()) };
        let Some(definitions) = &section.definitions else { return Ok(()) };
        let standings = names.iter().map(|name| pins.called(definitions, server, name));
        match standings.into_iter().find(|standing| !standing.is_usable()) {
            None => Ok(()),
            Some(standing) => {
                let rule = Some(source.to_string());
                Err(Stop { rule, ..Stop::because(reason, standing.describe()) })
            }
        }
    };
    // Both protocols have methods of one name, and only some clients say whose they speak.
    if !matches!(operation.provider.as_deref(), Some("mcp" | "a2a")) {
        return Ok(());
    }
    are(held.effective.mcp.as_ref(), Reason::ToolQuarantined, &operation.tools)?;
    if is_of_card(operation) {
        return Ok(());
    }
    let a2a = held.effective.a2a.as_ref();
    let others = a2a.and_then(|(a2a, _)| a2a.definitions.as_ref()).map(|definitions| definitions.others);
    // Where only what is pinned may be used, other cards are shown to nobody, and decide nothing.
    let names = cards_of(path, consumer, others == Some(Unpinned::TrustOnFirstUse));
    are(a2a, Reason::CardQuarantined, &names)
}

/// Whether a request asks an agent who it is.
fn is_of_card(operation: &Operation) -> bool {
    let names = ["agent-card", "GetAgentCard", "GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"];
    operation.provider.as_deref() == Some("a2a")
        && operation.verb == Verb::Meta
        && names.contains(&&*operation.api)
}

/// Names of the cards that say who answers there: those of its folder, and of all around it.
fn cards_of(path: &str, consumer: &str, with_others: bool) -> Vec<String> {
    let path = path.trim_end_matches('/');
    let folders = path.match_indices('/').map(|(at, _)| path.get(..at).unwrap_or_default());
    let mut names = Vec::new();
    for folder in folders.chain([path]) {
        let [card, early] = CARDS.map(|card| format!("{folder}{card}"));
        names.push(card_name(&card, false, consumer));
        if with_others {
            names.push(card_name(&early, false, consumer));
            names.push(card_name(&format!("{folder}{EXTENDED}"), false, consumer));
            names.push(card_name(folder, true, consumer));
        }
    }
    names
}

/// The name of a card: where it is shown, and for what only some are shown also to whom.
fn card_name(path: &str, is_message: bool, consumer: &str) -> String {
    match path.strip_prefix("/.well-known/") {
        _ if is_message => format!("{} by message of {consumer}", path.trim_end_matches('/')),
        Some("agent-card.json") => AGENT_CARD.to_owned(),
        Some(other) => other.to_owned(),
        None if path.ends_with(EXTENDED) => format!("{path} of {consumer}"),
        None => path.to_owned(),
    }
}

/// What is told of the tools that an answer lists, or of the card that it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Facts>>);

#[derive(Debug, Default)]
struct Facts {
    tools: Vec<ToolFact>,
    /// Why the answer goes to nobody.
    stops: Option<&'static str>,
}

impl Told {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So far.
    pub(crate) fn so_far(&self) -> Vec<ToolFact> {
        self.facts().tools.clone()
    }

    /// Why the answer is a card that nobody may see.
    pub(crate) fn stops(&self) -> Option<&'static str> {
        self.facts().stops
    }

    /// Those in quarantine are told of whatever else there is.
    fn tell(&self, name: &str, digest: [u8; 32], standing: Standing) -> bool {
        let sha256 = HEXLOWER.encode(&digest);
        let name = name.chars().take(MOST_NAME).collect();
        let is_quarantined = !standing.is_usable();
        let fact = ToolFact { name, sha256, standing: standing.as_str(), is_quarantined };
        let tools = &mut self.facts().tools;
        if tools.len() < MOST_TOLD {
            tools.push(fact);
        } else if is_quarantined
            && let Some(other) = tools.iter_mut().rev().find(|known| !known.is_quarantined)
        {
            *other = fact;
        }
        !is_quarantined
    }

    fn stop(&self, why: &'static str) {
        self.facts().stops = Some(why);
    }
}

/// A request whose answer may list tools or be a card.
pub(crate) struct Listing<'a> {
    /// Whose they are.
    pub(crate) server: String,
    /// The path that went on.
    pub(crate) path: &'a str,
    pub(crate) consumer: &'a str,
    pub(crate) operation: &'a Operation,
    /// Of the answer.
    pub(crate) status: StatusCode,
}

impl Listing<'_> {
    /// Whether its answer is a card that a policy looks at.
    pub(crate) fn is_card(&self, held: &Held) -> bool {
        let a2a = held.effective.a2a.as_ref();
        is_of_card(self.operation)
            && self.status.is_success()
            && a2a.is_some_and(|(a2a, _)| a2a.definitions.is_some())
    }

    /// Takes tools in quarantine out of lists, and stops a card that is. `None`: nobody asks.
    pub(crate) fn edit(self, held: &Held, pins: &Arc<Pins>, told: &Told) -> Option<Edit> {
        let is_card = self.is_card(held);
        let (pins, told, server) = (Arc::clone(pins), told.clone(), self.server);
        if is_card {
            let (a2a, _) = held.effective.a2a.as_ref()?;
            let is_message = &*self.operation.api != "agent-card";
            let (a2a, name) = (Arc::clone(a2a), card_name(self.path, is_message, self.consumer));
            let place = if is_message { CardPlace::Result } else { CardPlace::Whole };
            return Some(Edit(Box::new(move |text| {
                let definitions = a2a.definitions.as_ref()?;
                let may_see = &mut |digest| {
                    let standing = pins.listed(definitions, &server, &name, digest);
                    let may = told.tell(&name, digest, standing);
                    if !may {
                        told.stop(standing.describe());
                    }
                    may
                };
                tool_list::card(text, place, may_see)
            })));
        }
        let (mcp, _) = held.effective.mcp.as_ref().filter(|(mcp, _)| mcp.definitions.is_some())?;
        let mcp = Arc::clone(mcp);
        Some(Edit(Box::new(move |text| {
            let definitions = mcp.definitions.as_ref()?;
            tool_list::keep(text, &mut |tool| {
                let standing = pins.listed(definitions, &server, tool.name, tool.digest);
                told.tell(tool.name, tool.digest, standing)
            })
        })))
    }
}

/// Whose tools they are: all paths of a backend are one server.
pub(crate) fn server(target: &Target) -> String {
    match target {
        Target::Service { service, port, is_h2: _ } => {
            format!("Service {}/{}:{port}", service.namespace, service.name)
        }
        Target::Pool { pool, is_h2: _ } => format!("InferencePool {}/{}", pool.namespace, pool.name),
        Target::Nobody(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_that_say_who_answers_are_those_of_its_folder_and_around_it() {
        assert_eq!(cards_of("/", "c", false), ["agent-card.json"]);
        assert_eq!(
            cards_of("/agents/a", "c", false),
            [
                "agent-card.json",
                "/agents/.well-known/agent-card.json",
                "/agents/a/.well-known/agent-card.json"
            ]
        );
        let all = cards_of("/a/message:send", "c", true);
        for shown in [
            card_name("/a/extendedAgentCard", false, "c"),
            card_name("/.well-known/agent.json", false, "c"),
            card_name("/a/message:send", true, "c"),
        ] {
            assert!(all.contains(&shown), "{shown}");
        }
        assert!(cards_of("/", "c", true).contains(&card_name("/", true, "c")));
        assert_ne!(card_name("/extendedAgentCard", false, "c"), card_name("/extendedAgentCard", false, "d"));
    }
}
