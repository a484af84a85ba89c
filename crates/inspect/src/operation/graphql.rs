//! Documents of GraphQL: whether one only asks.
//!
//! Enters: a draft, and the head of the request; then the text of the document. Leaves: the draft, and what the document
//! does. Guarantees: what could change something is an upload, for nobody can tell what a field of it stores; a document
//! that is elsewhere than in the body, or is not there, is not known. Does not: know any schema.
//!
//! <https://spec.graphql.org/October2021/#sec-Language.Operations>: what changes something begins with the word `mutation`,
//! which has no other spelling.

use super::request::{Draft, Field, Request, Says, Wanted};
use policy::Verb;

const DOCUMENT: &[Field] = &[Field { path: &["query"], says: Says::Document }];

/// What a request to an interface of GraphQL is read for.
///
/// # Errors
/// Its document could be elsewhere than where it is read.
pub(super) fn draft(draft: Draft, request: &Request<'_>) -> Result<Draft, &'static str> {
    if request.content_type()? != "application/json" {
        return Err("a document of GraphQL is read of JSON alone");
    }
    for name in ["query", "extensions", "operationName"] {
        if request.parameter(name)?.is_some() {
            return Err("the document of GraphQL can be that of the target or that of the body");
        }
    }
    Ok(draft.wants(Wanted::Json(DOCUMENT)))
}

/// What a document does.
///
/// # Errors
/// It is none, or its answer does not end.
pub(super) fn verb(document: &str) -> Result<Verb, &'static str> {
    let is_name = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    let has = |word: &str| document.split(|letter| !is_name(letter)).any(|found| found == word);
    if has("subscription") {
        Err("it subscribes to what happens")
    } else if has("mutation") {
        // In a comment or a text it counts as well: that errs on the safe side.
        Ok(Verb::Upload)
    } else if document.contains('{') {
        Ok(Verb::Download)
    } else {
        Err("it has no document of GraphQL")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn a_document_that_only_asks_is_told_from_one_that_changes() {
        let json = "POST https://api.github.com/graphql\ncontent-type: application/json";
        let unknown = "github unknown unknown";
        let long = |length: usize| format!(r#"{{"query":"{{ x }} #{}"}}"#, "x".repeat(length));
        check(&[
            (json, r#"{"query":"{ viewer { login } }"}"#, "github graphql download"),
            (
                json,
                r#"{"variables":{"a":1},"query":"query Q($a: Int) { x(a: $a) }"}"#,
                "github graphql download",
            ),
            (json, r#"{"query":"mutation { addStar(input: {}) { x } }"}"#, "github graphql upload"),
            (
                json,
                r#"{"query":"query A { x } #\nmutation B { y }","operationName":"B"}"#,
                "github graphql upload",
            ),
            (json, r#"{"query":"\u006dutation { y }"}"#, "github graphql upload"),
            (json, &long(60_000), "github graphql download"),
            (json, &long(60_000).replace("{ x }", "mutation { x }"), "github graphql upload"),
            (json, &long(66_000), unknown),
            (json, r#"{"query":"subscription { x }"}"#, unknown),
            (json, r#"{"query":""}"#, unknown),
            (json, r#"{"query":null,"extensions":{"persistedQuery":{"sha256Hash":"a"}}}"#, unknown),
            (json, r#"[{"query":"{ x }"}]"#, unknown),
            ("POST https://api.github.com/graphql", r#"{"query":"{ x }"}"#, unknown),
            (
                "POST https://api.github.com/graphql?query=mutation\ncontent-type: application/json",
                r#"{"query":"{ x }"}"#,
                unknown,
            ),
        ]);
    }
}
