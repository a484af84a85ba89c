//! What servers say of themselves: definitions of tools as servers of the Model Context Protocol list them, and cards of agents (A2A).
//!
//! Enters: a message of a server, a JSON text. Leaves: the digest of each tool that it lists, or of its card, and the message without those
//! that nobody may see. Guarantees: what goes on was written anew, so that every reader finds the tools that were looked at, also where a
//! member was written twice; a digest does not depend on the order of members or on blanks. Does not: remember tools.

use crate::fold::fold;
use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;

/// Tools of one list; a longer one has none that may be seen.
pub const MOST_LISTED: usize = 4096;
/// Members of a definition that are about this answer and not about the tool.
const APART: &str = "_meta";
/// And of a card, about its proof.
const SIGNATURES: &str = "signatures";

/// One tool.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed<'t> {
    /// Its name.
    pub name: &'t str,
    /// SHA-256 of its definition: all its members but `_meta`, sorted by their names at every level, as JSON without blanks.
    pub digest: [u8; 32],
}

/// Keeps the tools that may be seen in every list of a message, or of a batch of them. `None`: there is no list in it, or it
/// is no JSON.
pub fn keep(text: &str, may_see: &mut dyn FnMut(&Listed<'_>) -> bool) -> Option<String> {
    let may_be = text.as_bytes().windows(4).any(|four| four.eq_ignore_ascii_case(b"tool"));
    if !may_be && !text.contains('\\') {
        return None;
    }
    let mut message: Value = serde_json::from_str(text).ok()?;
    let mut has_list = false;
    match &mut message {
        Value::Array(messages) => {
            messages.iter_mut().for_each(|message| has_list |= keep_in(message, may_see));
        }
        message => has_list = keep_in(message, may_see),
    }
    has_list.then(|| message.to_string())
}

fn keep_in(message: &mut Value, may_see: &mut dyn FnMut(&Listed<'_>) -> bool) -> bool {
    let mut has_list = false;
    for result in alike(message, "result") {
        for list in alike(result, "tools") {
            let Value::Array(tools) = list else { continue };
            has_list = true;
            if tools.len() > MOST_LISTED {
                tools.clear();
            }
            // Without a name nobody can call it.
            tools.retain(|tool| {
                name(tool).is_some_and(|name| may_see(&Listed { name, digest: digest(tool) }))
            });
        }
    }
    has_list
}

/// Members of a name in whatever case, for there are clients that do not mind it.
fn alike<'v>(value: &'v mut Value, name: &'static str) -> impl Iterator<Item = &'v mut Value> {
    let members = value.as_object_mut().into_iter().flatten();
    members.filter(move |(member, _)| fold(member) == name).map(|(_, value)| value)
}

/// The name of a tool. `None`: it has none, or clients take it for different ones.
fn name(tool: &Value) -> Option<&str> {
    let mut names = tool.as_object()?.iter().filter(|(member, _)| fold(member) == "name");
    match (names.next(), names.next()) {
        (Some((member, name)), None) if member == "name" => name.as_str(),
        _ => None,
    }
}

/// Where a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardPlace {
    /// The text is the card.
    Whole,
    /// It is the result of a message of JSON-RPC.
    Result,
}

/// Shows a card to whom it may be shown, or nothing in its place. Its digest is SHA-256 of all its members but `signatures`, which
/// are about how it is proved, as that of [`Listed`]. What is no card, as an error is none, is shown as it is: `None`.
pub fn card(text: &str, place: CardPlace, may_see: &mut dyn FnMut([u8; 32]) -> bool) -> Option<String> {
    let mut message: Value = serde_json::from_str(text).ok()?;
    let card = match place {
        CardPlace::Whole => &mut message,
        CardPlace::Result => message.get_mut("result")?,
    };
    if !may_see(digest_but(card, SIGNATURES)) {
        *card = Value::Object(serde_json::Map::new());
    }
    Some(message.to_string())
}

fn digest(tool: &Value) -> [u8; 32] {
    digest_but(tool, APART)
}

fn digest_but(value: &Value, apart: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    write(value, Some(apart), &mut context);
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// serde_json bounds how deep a value is.
fn write(value: &Value, apart: Option<&str>, out: &mut Context) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().filter(|(name, _)| Some(name.as_str()) != apart).collect();
            members.sort_by_key(|(name, _)| *name);
            out.update(b"{");
            for (at, (name, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.update(b",");
                }
                out.update(Value::String(name.clone()).to_string().as_bytes());
                out.update(b":");
                write(value, None, out);
            }
            out.update(b"}");
        }
        Value::Array(items) => {
            out.update(b"[");
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.update(b",");
                }
                write(item, None, out);
            }
            out.update(b"]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.update(value.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a message, and the digests that were seen.
    fn check(text: &str, hidden: &str) -> (Option<String>, Vec<[u8; 32]>) {
        let mut seen = Vec::new();
        let kept = keep(text, &mut |tool| {
            seen.push(tool.digest);
            tool.name != hidden
        });
        (kept, seen)
    }

    #[test]
    fn a_tool_that_nobody_may_see_is_in_no_list() {
        let list =
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"x"}}"#;
        let (kept, seen) = check(list, "b");
        assert_eq!(seen.len(), 2);
        let kept = kept.unwrap();
        assert!(
            kept.contains(r#""name":"a""#) && !kept.contains(r#""name":"b""#) && kept.contains("nextCursor")
        );
        assert!(check(&format!("[{list}]"), "b").0.unwrap().starts_with('['));
        for other in
            [r#"{"result":{"content":[{"text":"tools"}]}}"#, "no tools", r#"{"tools":[{"name":"b"}]}"#]
        {
            assert_eq!(check(other, "b").0, None, "{other}");
        }
    }

    #[test]
    fn who_writes_a_member_twice_or_with_escapes_hides_nothing() {
        let twice = r#"{"result":{"tools":[{"name":"good"}],"tools":[{"name":"bad"}]}}"#;
        let (kept, _) = check(twice, "bad");
        assert!(!kept.unwrap().contains("bad"));
        let escaped = r#"{"result":{"\u0074ools":[{"name":"bad"}]}}"#;
        assert!(!check(escaped, "bad").0.unwrap().contains("bad"));
        let nameless = r#"{"result":{"tools":[{"title":"x"}]}}"#;
        assert!(!check(nameless, "bad").0.unwrap().contains("title"));
    }

    #[test]
    fn who_writes_a_member_in_another_case_hides_nothing_from_clients_that_do_not_mind_it() {
        for list in [
            r#"{"result":{"Tools":[{"name":"bad"}]}}"#,
            r#"{"Result":{"toolſ":[{"name":"bad"}]}}"#,
            r#"{"result":{"tools":[]},"RESULT":{"tools":[{"name":"bad"}]}}"#,
            r#"{"result":{"tools":[{"name":"good","Name":"bad"}]}}"#,
            r#"{"result":{"tools":[{"NAME":"bad"}]}}"#,
        ] {
            assert!(!check(list, "bad").0.unwrap().contains("bad"), "{list}");
        }
    }

    #[test]
    fn a_digest_is_of_what_is_said_and_not_of_how() {
        let digest = |tool: &str| check(&format!("{{\"result\":{{\"tools\":[{tool}]}}}}"), "").1[0];
        let first =
            digest(r#"{"name":"a","description":"x","inputSchema":{"type":"object","required":["q"]}}"#);
        for same in [
            r#"{ "inputSchema":{"required":["q"],"type":"object"}, "description":"\u0078","name":"a"}"#,
            r#"{"name":"a","description":"x","_meta":{"at":1},"inputSchema":{"type":"object","required":["q"]}}"#,
        ] {
            assert_eq!(digest(same), first, "{same}");
        }
        for other in [
            r#"{"name":"a","description":"x ","inputSchema":{"type":"object","required":["q"]}}"#,
            r#"{"name":"a","description":"x","inputSchema":{"type":"object","required":["q"],"_meta":1}}"#,
            r#"{"name":"a","description":"x","inputSchema":{"type":"object","required":["q"]},"title":"y"}"#,
        ] {
            assert_ne!(digest(other), first, "{other}");
        }
        let sorted = br#"{"description":"x","name":"a"}"#;
        let expected = aws_lc_rs::digest::digest(&SHA256, sorted);
        assert_eq!(digest(r#"{"name":"a","description":"x"}"#), expected.as_ref());
    }

    #[test]
    fn a_card_is_shown_written_anew_or_not_at_all() {
        let card = r#"{"name":"a","url":"https://evil","skills":[],"url":"https://a","signatures":[1]}"#;
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{card}}}"#);
        let mut digests = Vec::new();
        for (text, place, shown, hidden) in [
            (card, CardPlace::Whole, r#""url":"https://a""#, "{}"),
            (&message, CardPlace::Result, r#""url":"https://a""#, r#""result":{}"#),
        ] {
            let seen = super::card(text, place, &mut |digest| {
                digests.push(digest);
                true
            });
            let seen = seen.unwrap();
            assert!(seen.contains(shown) && !seen.contains("evil"), "{seen}");
            assert!(super::card(text, place, &mut |_| false).unwrap().contains(hidden));
        }
        let sorted = br#"{"name":"a","skills":[],"url":"https://a"}"#;
        let expected = aws_lc_rs::digest::digest(&SHA256, sorted);
        assert!(digests.len() == 2 && digests.iter().all(|digest| digest == expected.as_ref()));
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32007}}"#;
        assert_eq!(super::card(error, CardPlace::Result, &mut |_| false), None);
    }

    #[test]
    fn a_list_without_end_has_nothing_in_it() {
        let tools = vec![r#"{"name":"a"}"#; MOST_LISTED + 1].join(",");
        let (kept, seen) = check(&format!("{{\"result\":{{\"tools\":[{tools}]}}}}"), "");
        assert_eq!((kept.as_deref(), seen.len()), (Some(r#"{"result":{"tools":[]}}"#), 0));
    }
}
