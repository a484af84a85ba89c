//! The `id` of each event of a stream, made that of one consumer, so that nobody goes on with another's stream (`Last-Event-ID`).
//!
//! Enters: bytes of a stream of events, split anywhere. Leaves: the same, with a tag behind each id. Guarantees: nothing else is changed,
//! and nothing waits but the value of an id; one that is too long goes on as it is, so that nobody can go on behind it.
//! Does not: read events.

use crate::bound::{Kind, Owner};

/// Bytes of an id that gets a tag.
const MOST: usize = 1024;

#[derive(Debug)]
enum State {
    /// Of the name of a field, this much is that of an id.
    Name(usize),
    /// Behind the colon; what of the value came.
    Value(Vec<u8>),
    /// What does not matter, up to the end of the line.
    Rest,
}

/// Ids of one stream.
#[derive(Debug)]
pub(crate) struct EventIds {
    owner: Owner,
    state: State,
}

impl EventIds {
    pub(crate) fn of(owner: Owner) -> Self {
        Self { owner, state: State::Name(0) }
    }

    /// Takes what came; gives what goes on.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let is_end = matches!(byte, b'\r' | b'\n');
            let next = match &mut self.state {
                State::Value(value) if !is_end && value.len() < MOST => {
                    value.push(byte);
                    continue;
                }
                State::Value(value) => {
                    let value = std::mem::take(value);
                    out.extend(if is_end { self.tagged(&value) } else { value });
                    State::Rest
                }
                State::Name(at) => match (*at, byte) {
                    (0, b'i') => State::Name(1),
                    (1, b'd') => State::Name(2),
                    (2, b':') => State::Value(Vec::new()),
                    _ => State::Rest,
                },
                State::Rest => State::Rest,
            };
            self.state = if is_end { State::Name(0) } else { next };
            out.push(byte);
        }
        out
    }

    /// One space behind the colon is not of the value, and an empty value only says that there is no id.
    fn tagged(&self, value: &[u8]) -> Vec<u8> {
        let id = value.strip_prefix(b" ").unwrap_or(value);
        match std::str::from_utf8(id) {
            Ok(id) if !id.is_empty() => format!(" {}", self.owner.give(Kind::Event, id)).into_bytes(),
            Ok(_) | Err(_) => value.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::SessionKeys;
    use policy::Consumer;

    fn owner() -> Owner {
        let position = crds::Position { file: "t.yaml".into(), line: 1, column: 1 };
        let route = routes::RouteRef {
            kind: "HTTPRoute",
            namespace: "a".into(),
            name: "r".into(),
            position,
            uid: "u".into(),
        };
        let nobody = Consumer::anonymous();
        Owner::of((&SessionKeys::default(), &[7; 32]), &route, &nobody, "192.0.2.1".parse().unwrap())
    }

    #[test]
    fn each_id_gets_its_tag_and_nothing_else_changes_wherever_it_is_split() {
        let long = "x".repeat(MOST + 1);
        let text = format!(
            "id: a\ndata: id: b\n\nid:c\r\nevent: id\rid: d\r\rids: e\nid\nid:\nid: \n: id: f\n\nid: {long}\ndata: id\n\nid: g"
        );
        let tagged = |id: &str| owner().give(Kind::Event, id);
        let expected = format!(
            "id: {}\ndata: id: b\n\nid: {}\r\nevent: id\rid: {}\r\rids: e\nid\nid:\nid: \n: id: f\n\nid: {long}\ndata: id\n\nid:",
            tagged("a"),
            tagged("c"),
            tagged("d"),
        );
        for size in [1, 2, 3, 5, text.len()] {
            let mut ids = EventIds::of(owner());
            let out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| ids.push(piece)).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in pieces of {size}");
        }
    }
}
