//! The body of a line as it was written: with fields that are there twice, which a map would lose.
//!
//! Enters: a line of JSON. Leaves: the JSON of its field `body`, in the order in which it was written. Does not: keep how
//! numbers and spaces were written.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

#[derive(Deserialize)]
struct Line {
    body: Option<Json>,
}

/// JSON, written again.
struct Json(Vec<u8>);

/// The JSON of the field `body`; nothing where there is none.
pub(super) fn body(line: &[u8]) -> serde_json::Result<Vec<u8>> {
    let line: Line = serde_json::from_slice(line)?;
    Ok(line.body.map_or_else(Vec::new, |Json(body)| body))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl Written {
    fn scalar<E: Error>(value: impl serde::Serialize) -> Result<Json, E> {
        serde_json::to_vec(&value).map(Json).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Written {
    type Value = Json;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json(b"null".to_vec()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Self::scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Self::scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Self::scalar(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Self::scalar(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Self::scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Json, A::Error> {
        let mut text = vec![b'['];
        while let Some(Json(part)) = parts.next_element()? {
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend(part);
        }
        text.push(b']');
        Ok(Json(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Json, A::Error> {
        let mut text = vec![b'{'];
        while let Some((name, Json(part))) = parts.next_entry::<String, Json>()? {
            if text.len() > 1 {
                text.push(b',');
            }
            text.extend(serde_json::to_vec(&name).map_err(A::Error::custom)?);
            text.push(b':');
            text.extend(part);
        }
        text.push(b'}');
        Ok(Json(text))
    }
}
