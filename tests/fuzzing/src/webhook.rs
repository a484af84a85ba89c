//! Any JSON as what an API server asks before it stores an object: a review is answered for its uid and with one decision, and a
//! pod's patch can be applied to it, after which there is nothing more to change.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use compiler::built_in_catalog;
use serde_json::{Value, json};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let around = json!({ "request": { "uid": "7", "operation": "CREATE", "object": value } });
    for review in [&value, &around] {
        judged(review);
        injected(review);
    }
}

fn judged(review: &Value) {
    let Some(answer) = controller::admission::review(review, built_in_catalog()) else { return };
    let response = &answer["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    let allowed = response["allowed"].as_bool().expect("a decision");
    assert_eq!(allowed, response.get("status").is_none(), "{response}");
    if !["CREATE", "UPDATE"].iter().any(|it| review["request"]["operation"] == *it) {
        assert!(allowed, "removing is never refused");
    }
}

fn injected(review: &Value) {
    let Some(answer) = controller::inject::review(review) else { return };
    let response = &answer["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&review["request"]["uid"], &json!(true)));
    let Some(patch) = response.get("patch") else { return };
    let patch = BASE64.decode(patch.as_str().expect("a text")).expect("base64");
    let patch: Vec<Value> = serde_json::from_slice(&patch).expect("a patch");
    let mut again = review.clone();
    for change in &patch {
        assert_eq!(change["op"], "add");
        let (parent, field) =
            change["path"].as_str().expect("a path").rsplit_once('/').expect("below the pod");
        let parent = again.pointer_mut(&format!("/request/object{parent}")).expect("something to change");
        parent.as_object_mut().expect("an object").insert(field.to_owned(), change["value"].clone());
    }
    let nothing = controller::inject::review(&again).expect("still a review");
    assert!(nothing["response"].get("patch").is_none(), "{nothing}");
}
