//! What a policy says of servers of the Model Context Protocol: which pages may ask, and that tools stay what they were.
//!
//! Guarantees: a request that a browser sent for a page that is not named does not go on (MCP, "Security Warning" of the Streamable
//! HTTP transport: a page could have its own name lead to a server inside); a tool in quarantine is in no list and is not called. Does not: remember
//! tools (`admit::Pins`), or read lists (`inspect::tool_list`).

use crate::policy::Held;
use crate::reason::Reason;
use crate::record::ToolFact;
use crate::request::Stop;
use admit::Pins;
use crds::{Definitions, Mcp, ServerKind};
use http::{HeaderMap, header};
use inspect::sieve::Edit;
use inspect::tool_list;
use policy::Operation;
use routes::Target;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tools that a record names.
const MOST_TOLD: usize = 64;
/// Bytes of a tool's name that are kept.
const MOST_NAME: usize = 256;

/// Whether the page for which a browser asks may.
pub(crate) fn origin(held: &Held, headers: &HeaderMap) -> Result<(), Stop> {
    let section = held.effective.mcp.as_ref();
    if section.is_none() && held.effective.server != Some(ServerKind::Mcp) {
        return Ok(());
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(first) = origins.next() else { return Ok(()) };
    let named = section.map(|(mcp, _)| mcp.origins.as_slice()).unwrap_or_default();
    if origins.next().is_none() && named.iter().any(|origin| origin.as_bytes() == first.as_bytes()) {
        return Ok(());
    }
    let rule = section.map(|(_, source)| source.to_string());
    let why = "mcp.origins of an InferencePolicy does not name it";
    Err(Stop { rule, ..Stop::because(Reason::OriginDenied, why) })
}

/// What a policy pins, if it does.
pub(crate) fn definitions(held: &Held) -> Option<(&Arc<Mcp>, &Definitions)> {
    let (mcp, _) = held.effective.mcp.as_ref()?;
    Some((mcp, mcp.definitions.as_ref()?))
}

/// Whether the tools that a request calls are what they were.
pub(crate) fn call(held: &Held, pins: &Pins, server: &str, operation: &Operation) -> Result<(), Stop> {
    let Some((_, definitions)) = definitions(held) else { return Ok(()) };
    if operation.provider.as_deref() != Some("mcp") {
        return Ok(());
    }
    for tool in &operation.tools {
        let standing = pins.called(definitions, server, tool);
        if !standing.is_usable() {
            let rule = held.effective.mcp.as_ref().map(|(_, source)| source.to_string());
            return Err(Stop { rule, ..Stop::because(Reason::ToolQuarantined, standing.describe()) });
        }
    }
    Ok(())
}

/// What is told of the tools that an answer lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<ToolFact>>>);

impl Told {
    fn facts(&self) -> MutexGuard<'_, Vec<ToolFact>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So far.
    pub(crate) fn so_far(&self) -> Vec<ToolFact> {
        self.facts().clone()
    }

    /// Those in quarantine are told of whatever else there is.
    fn tell(&self, fact: ToolFact) {
        let mut facts = self.facts();
        if facts.len() < MOST_TOLD {
            facts.push(fact);
        } else if fact.is_quarantined
            && let Some(other) = facts.iter_mut().rev().find(|known| !known.is_quarantined)
        {
            *other = fact;
        }
    }
}

/// Takes tools in quarantine out of lists.
pub(crate) fn edit(pins: &Arc<Pins>, mcp: &Arc<Mcp>, server: String, told: &Told) -> Edit {
    let (pins, mcp, told) = (Arc::clone(pins), Arc::clone(mcp), told.clone());
    Edit(Box::new(move |text| {
        let definitions = mcp.definitions.as_ref()?;
        tool_list::keep(text, &mut |tool| {
            let standing = pins.listed(definitions, &server, tool.name, tool.digest);
            let mut sha256 = String::new();
            for byte in tool.digest {
                // Writing to a text does not fail.
                let _written = write!(sha256, "{byte:02x}");
            }
            let name = tool.name.chars().take(MOST_NAME).collect();
            let is_quarantined = !standing.is_usable();
            told.tell(ToolFact { name, sha256, standing: standing.as_str(), is_quarantined });
            !is_quarantined
        })
    }))
}

/// Whose tools they are: all paths of a backend are one server.
pub(crate) fn server(target: &Target) -> String {
    match target {
        Target::Service { service, port, is_h2: _ } => {
            format!("Service {}/{}:{port}", service.namespace, service.name)
        }
        Target::Pool { pool } => format!("InferencePool {}/{}", pool.namespace, pool.name),
        Target::Nobody(_) => String::new(),
    }
}
