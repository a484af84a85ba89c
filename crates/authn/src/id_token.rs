//! What an ID token must say besides what every token must (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! Enters: a consumer whose token was verified for this client as its audience. Leaves: whether it is the answer to one log-in.
//! Does not: verify anything again.

use policy::Consumer;
use policy::cel::{Map, Value};

/// Whether the token was made for the log-in of this client that sent this nonce. Where it is for others, too, it must say that
/// this client is the party that it was given to (`azp`).
#[must_use]
pub fn answers_log_in(consumer: &Consumer, client: &str, nonce: &str) -> bool {
    let Value::Map(claims) = &consumer.claims else { return false };
    let is_for_others = matches!(claims.get("aud"), Some(Value::List(list)) if list.len() > 1);
    let is_given_to = match claims.get("azp") {
        Some(Value::String(party)) => &**party == client,
        Some(_) => false,
        None => !is_for_others,
    };
    is_given_to && !nonce.is_empty() && is_text(claims, "nonce", nonce)
}

fn is_text(claims: &Map, claim: &str, wanted: &str) -> bool {
    matches!(claims.get(claim), Some(Value::String(text)) if &**text == wanted)
}
