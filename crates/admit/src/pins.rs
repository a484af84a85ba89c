//! Whether the tools of a server are still what they were.
//!
//! Enters: digests of definitions as servers list them, and names of tools that are called. Leaves: a [`Standing`]. Guarantees: a
//! tool that a policy pins is that one or is in quarantine; another is what it was when it was first seen; where no more can be
//! remembered, what is not known is in quarantine. Does not: read lists, or write files ([`Pins::kept`] is what is to be
//! written).

use crds::{Definitions, Unpinned};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tools of all servers that are remembered.
const MOST_TOOLS: usize = 65_536;
/// Tools of one server.
const MOST_OF_SERVER: usize = 4096;
/// Tools of the servers of one namespace: whoever has one may have it list whatever they like, and nothing is forgotten.
const MOST_OF_NAMESPACE: usize = MOST_TOOLS / 2;
/// Bytes of the names of a tool, and of a server.
const MOST_NAME: usize = 1024;

/// A SHA-256.
pub type Digest = [u8; 32];

/// What a tool is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// As it is pinned, or as it was.
    Same,
    /// Seen for the first time.
    First,
    /// Not as it is pinned, or not as it was.
    Changed,
    /// Not pinned, and only those may be used that are.
    Unpinned,
    /// Not known, and there is no room to remember it.
    NoRoom,
}

impl Standing {
    /// Whether it may be shown and called.
    pub fn is_usable(self) -> bool {
        match self {
            Self::Same | Self::First => true,
            Self::Changed | Self::Unpinned | Self::NoRoom => false,
        }
    }

    /// A word in kebab-case, for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::First => "first",
            Self::Changed => "changed",
            Self::Unpinned => "unpinned",
            Self::NoRoom => "no-room",
        }
    }

    /// A clause for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Same => "its definition is the one that it had",
            Self::First => "its definition was seen for the first time",
            Self::Changed => "its definition is another than it was",
            Self::Unpinned => "its definition is not pinned",
            Self::NoRoom => "more tools are in use than are remembered",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Tool {
    /// As it was seen first, and last.
    first: Digest,
    last: Digest,
}

/// Tools of every server. One for the process: it outlives policies.
#[derive(Debug, Default)]
pub struct Pins(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    servers: HashMap<Arc<str>, HashMap<Arc<str>, Tool>>,
    count: usize,
    /// Of each namespace.
    of: HashMap<String, usize>,
    /// Since they were kept last.
    is_changed: bool,
}

/// A tool as it was seen first and last, to be kept beyond the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTool {
    /// Whose it is.
    pub server: Arc<str>,
    /// Its name.
    pub tool: Arc<str>,
    /// Of its definition when it was seen first.
    pub first: Digest,
    /// When it was seen last.
    pub last: Digest,
}

impl Pins {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be kept, if anything changed since it was asked last.
    pub fn kept(&self) -> Option<Vec<KeptTool>> {
        let mut known = self.known();
        if !std::mem::take(&mut known.is_changed) {
            return None;
        }
        let servers = known.servers.iter().flat_map(|(server, tools)| {
            tools.iter().map(|(tool, Tool { first, last })| KeptTool {
                server: Arc::clone(server),
                tool: Arc::clone(tool),
                first: *first,
                last: *last,
            })
        });
        Some(servers.collect())
    }

    /// What was kept last was not written: it is asked for again.
    pub fn unkept(&self) {
        self.known().is_changed = true;
    }

    /// Takes over what was kept, before anything is listed.
    pub fn restore(&self, kept: Vec<KeptTool>) {
        let mut known = self.known();
        for KeptTool { server, tool, first, last } in kept {
            let _fits = known.remember(&server, &tool, first);
            let _as_it_was = known.remember(&server, &tool, last);
        }
        known.is_changed = false;
    }

    /// A server lists a tool.
    pub fn listed(&self, policy: &Definitions, server: &str, tool: &str, digest: Digest) -> Standing {
        let mut known = self.known();
        let remembered = known.remember(server, tool, digest);
        match (policy.pins.get(tool), policy.others, remembered) {
            (_, _, None) => Standing::NoRoom,
            (Some(pin), _, _) if *pin == digest => Standing::Same,
            (Some(_), _, _) => Standing::Changed,
            (None, Unpinned::Quarantine, _) => Standing::Unpinned,
            (None, Unpinned::TrustOnFirstUse, Some((_, true))) => Standing::First,
            (None, Unpinned::TrustOnFirstUse, Some((before, false))) => standing(before.first, digest),
        }
    }

    /// A client calls a tool: what was last seen of it decides. One that was not seen is what its policy says of it.
    pub fn called(&self, policy: &Definitions, server: &str, tool: &str) -> Standing {
        let known = self.known();
        let seen = known.servers.get(server).and_then(|tools| tools.get(tool)).copied();
        match (policy.pins.get(tool), policy.others, seen) {
            (Some(pin), _, Some(seen)) => standing(*pin, seen.last),
            (Some(_), _, None) => Standing::Same,
            (None, Unpinned::Quarantine, _) => Standing::Unpinned,
            (None, Unpinned::TrustOnFirstUse, Some(seen)) => standing(seen.first, seen.last),
            (None, Unpinned::TrustOnFirstUse, None) => Standing::First,
        }
    }
}

/// Of a server that is called by its kind, namespace and name: `Service team/tools:80`.
fn namespace(server: &str) -> &str {
    let name = server.split_once(' ').map_or(server, |(_, name)| name);
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn standing(before: Digest, after: Digest) -> Standing {
    if before == after { Standing::Same } else { Standing::Changed }
}

impl Known {
    /// The tool as it was, and whether it was seen now; `None`: there is no room.
    fn remember(&mut self, server: &str, tool: &str, digest: Digest) -> Option<(Tool, bool)> {
        if let Some(known) = self.servers.get_mut(server).and_then(|tools| tools.get_mut(tool)) {
            let before = *known;
            known.last = digest;
            self.is_changed |= before.last != digest;
            return Some((before, false));
        }
        let of_server = self.servers.get(server).map_or(0, HashMap::len);
        let of_namespace = self.of.get(namespace(server)).copied().unwrap_or_default();
        let is_long = server.len() > MOST_NAME || tool.len() > MOST_NAME;
        let is_full = self.count >= MOST_TOOLS || of_namespace >= MOST_OF_NAMESPACE;
        if is_long || is_full || of_server >= MOST_OF_SERVER {
            return None;
        }
        self.count += 1;
        *self.of.entry(namespace(server).to_owned()).or_default() += 1;
        self.is_changed = true;
        let new = Tool { first: digest, last: digest };
        self.servers.entry(server.into()).or_default().insert(tool.into(), new);
        Some((new, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(pins: &[(&str, u8)], others: Unpinned) -> Definitions {
        Definitions {
            pins: pins.iter().map(|(tool, digest)| ((*tool).into(), [*digest; 32])).collect(),
            others,
        }
    }

    #[test]
    fn a_tool_is_what_it_is_pinned_to_or_in_quarantine() {
        use Standing::{Changed, First, Same, Unpinned as NotPinned};
        let first_use = policy(&[("pinned", 1)], Unpinned::TrustOnFirstUse);
        let strict = policy(&[("pinned", 1)], Unpinned::Quarantine);
        for (policy, tool, lists) in [
            (&first_use, "pinned", &[(1, Same, Same), (2, Changed, Changed), (1, Same, Same)][..]),
            (
                &first_use,
                "other",
                &[(7, First, Same), (7, Same, Same), (8, Changed, Changed), (7, Same, Same)],
            ),
            (&strict, "pinned", &[(2, Changed, Changed), (1, Same, Same)]),
            (&strict, "other", &[(7, NotPinned, NotPinned)]),
        ] {
            let pins = Pins::default();
            for (digest, listed, called) in lists {
                assert_eq!(pins.listed(policy, "a", tool, [*digest; 32]), *listed, "{tool} {digest}");
                assert_eq!(pins.called(policy, "a", tool), *called, "{tool} {digest}");
            }
        }
    }

    #[test]
    fn what_was_never_listed_is_what_the_policy_says() {
        let pins = Pins::default();
        let strict = policy(&[("pinned", 1)], Unpinned::Quarantine);
        assert!(pins.called(&strict, "a", "pinned").is_usable());
        assert!(!pins.called(&strict, "a", "other").is_usable());
        assert!(pins.called(&policy(&[], Unpinned::TrustOnFirstUse), "a", "other").is_usable());
    }

    #[test]
    fn what_was_kept_is_what_it_was() {
        let (pins, policy) = (Pins::default(), policy(&[], Unpinned::TrustOnFirstUse));
        assert!(pins.listed(&policy, "a", "t", [1; 32]).is_usable());
        assert!(!pins.listed(&policy, "a", "t", [2; 32]).is_usable());
        let kept = pins.kept().unwrap();
        assert!(pins.kept().is_none(), "nothing is new");
        let next = Pins::default();
        next.restore(kept.clone());
        assert!(next.kept().is_none());
        assert_eq!(next.called(&policy, "a", "t"), Standing::Changed);
        assert_eq!(next.listed(&policy, "a", "t", [1; 32]), Standing::Same);
        assert_eq!(next.listed(&policy, "a", "t", [2; 32]), Standing::Changed);
        let long = "n".repeat(MOST_NAME + 1);
        assert_eq!(next.listed(&policy, "a", &long, [1; 32]), Standing::NoRoom);
    }

    #[test]
    fn servers_do_not_share_their_tools_and_what_finds_no_room_is_in_quarantine() {
        let (pins, policy) = (Pins::default(), policy(&[], Unpinned::TrustOnFirstUse));
        assert_eq!(pins.listed(&policy, "a", "t", [1; 32]), Standing::First);
        assert_eq!(pins.listed(&policy, "b", "t", [2; 32]), Standing::First);
        for tool in 1..MOST_OF_SERVER {
            assert!(pins.listed(&policy, "a", &tool.to_string(), [1; 32]).is_usable());
        }
        assert_eq!(pins.listed(&policy, "a", "one more", [1; 32]), Standing::NoRoom);
        assert_eq!(pins.listed(&policy, "a", "t", [1; 32]), Standing::Same);
    }
    #[test]
    fn the_servers_of_one_namespace_take_no_room_from_others() {
        let (pins, policy) = (Pins::default(), policy(&[], Unpinned::TrustOnFirstUse));
        for number in 0..MOST_OF_NAMESPACE {
            let (server, tool) = (number / MOST_OF_SERVER, number % MOST_OF_SERVER);
            let server = format!("Service team/tools:{}", 8000 + server);
            assert!(pins.listed(&policy, &server, &tool.to_string(), [1; 32]).is_usable());
        }
        let one = |server: &str| pins.listed(&policy, server, "t", [1; 32]);
        assert_eq!(one("Service team/more:80"), Standing::NoRoom);
        assert_eq!(one("InferencePool team/pool"), Standing::NoRoom);
        assert_eq!(one("Service other/tools:80"), Standing::First);
    }
}
