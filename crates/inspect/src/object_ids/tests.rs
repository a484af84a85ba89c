use super::*;

/// What goes on of a request; each id that may be there begins with `g`.
fn asked(body: &str, makes: bool) -> Result<Option<String>, Unswapped> {
    let mut swap = |of, id: &str| {
        let kind = if of == IdOf::Given { "G" } else { "C" };
        (of == IdOf::Chosen || id.starts_with('g')).then(|| format!("{kind}{id}"))
    };
    let swapped = in_request(body.as_bytes(), makes, &mut swap)?;
    Ok(swapped.map(|body| String::from_utf8(body).unwrap()))
}

#[test]
fn every_id_of_a_request_is_swapped_and_every_other_byte_stays() {
    for (body, expected) in [
        (r#"{"previous_response_id":"g"}"#, r#"{"previous_response_id":"Gg"}"#),
        (
            r#"{"z":1.10, "previousResponseId" : "\u0067" ,"a":1e400}"#,
            r#"{"z":1.10, "previousResponseId" : "Gg" ,"a":1e400}"#,
        ),
        (r#"{"conversation":"g"}"#, r#"{"conversation":"Gg"}"#),
        (r#"{"conversation":{"id":"g"}}"#, r#"{"conversation":{"id":"Gg"}}"#),
        (
            r#"{"input":[{"type":"item_reference","id":"m"},{"id":"n","content":[{"file_id":"g","type":"input_file"}]}]}"#,
            r#"{"input":[{"type":"item_reference","id":"Cm"},{"id":"Cn","content":[{"file_id":"Gg","type":"input_file"}]}]}"#,
        ),
        (r#"{"items":[{"id":"m"}]}"#, r#"{"items":[{"id":"Cm"}]}"#),
        (r#"{"input":[{"approval_request_id":"m"}]}"#, r#"{"input":[{"approval_request_id":"Cm"}]}"#),
        (
            r#"{"previous_response":{"id":"g","output":[{"id":"m"}]}}"#,
            r#"{"previous_response":{"id":"Gg","output":[{"id":"Cm"}]}}"#,
        ),
        (
            r#"{"tools":[{"type":"code_interpreter","container":{"file_ids":["g1","g2"],"type":"auto"}}]}"#,
            r#"{"tools":[{"type":"code_interpreter","container":{"file_ids":["Gg1","Gg2"],"type":"auto"}}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"file":{"file_id":"g"},"type":"file"}]}]}"#,
            r#"{"messages":[{"content":[{"file":{"file_id":"Gg"},"type":"file"}]}]}"#,
        ),
        // Anthropic's.
        (
            r#"{"messages":[{"content":[{"source":{"file_id":"g","type":"file"}}]}]}"#,
            r#"{"messages":[{"content":[{"source":{"file_id":"Gg","type":"file"}}]}]}"#,
        ),
    ] {
        assert_eq!(asked(body, true), Ok(Some(expected.to_owned())), "{body}");
    }
}

#[test]
fn what_no_server_takes_for_an_id_is_left_alone() {
    for body in [
        r#"{"model":"m","input":"previous_response_id","previous_response_id":null,"conversation":null}"#,
        r#"{"previous_response_id":"","input":["a"],"id":"x"}"#,
        r#"{"structured_outputs":{"json":{"examples":[{"file_id":"x"}]}}}"#,
        r#"{"metadata":{"file_id":"x","conversation":"y","id":"z"}}"#,
        r#"{"tools":[{"parameters":{"properties":{"file_id":{"default":"x"}}},"name":"f"}]}"#,
        r#"{"text":{"format":{"schema":{"default":{"container":"x"}}}}}"#,
        r#"{"messages":[{"tool_calls":[{"id":"call_1","function":{"arguments":"{\"file_id\":\"x\"}"}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_use","id":"toolu_1","input":{"file_id":"x","container":"y"}}]}]}"#,
        r#"{"input":[{"call_id":"x","type":"function_call_output","output":"{\"id\":1}"}]}"#,
        r#"{"prompt":{"id":"pmpt_1"}}"#,
        "[1]",
        "7",
    ] {
        assert_eq!(asked(body, false), Ok(None), "{body}");
    }
}

#[test]
fn what_was_not_given_and_what_is_no_id_is_refused_however_it_is_written() {
    for body in [
        r#"{"previous_response_id":"x"}"#,
        r#"{"previous_response_id":"g","previous_response_id":"x"}"#,
        r#"{"previous_response_id":"x","previous_response_id":null}"#,
        r#"{"PREVIOUS_RESPONſE_ID":"x"}"#,
        r#"{"previous_response_\u0069d":"x"}"#,
        r#"{"previous_response_id":7}"#,
        r#"{"previous_response_id":["x"]}"#,
        r#"{"previous_response_id":{"id":"x"}}"#,
        r#"{"previous_response_id":"\ud800"}"#,
        r#"{"conversation":{"id":"x"}}"#,
        r#"{"conversation":{"id":true}}"#,
        r#"{"input":{"content":[{"file_id":"x"}]}}"#,
        r#"{"input":[{"content":[{"image":{"file_id":"x"}}]}]}"#,
        r#"{"tools":[{"vector_store_ids":["x"]}]}"#,
        r#"{"tools":[{"container":"x"}]}"#,
        r#"{"previous_response":{"id":"x"}}"#,
        r#"{"input_file_id":"x"}"#,
        r#"[{"previous_response_id":"x"}]"#,
        r#"{"request_id":"x"}"#,
        r#"{"id":"x"}"#,
    ] {
        assert_eq!(asked(body, true), Err(Unswapped::NotGiven), "{body}");
    }
    assert_eq!(asked(r#"{"request_id":"x","id":"y"}"#, false), Ok(None), "it stores nothing");
    for body in ["{", "", "{}{}", r#"{"a":NaN}"#, "\u{feff}{}"] {
        assert_eq!(asked(body, true), Err(Unswapped::NoJson), "{body}");
    }
    assert_eq!(in_request(b"{\"a\":\"\xff\"}", true, &mut |_, _| None), Err(Unswapped::NoJson));
}

#[test]
fn every_id_of_an_answer_is_swapped_and_nothing_else() {
    let response = |own: &str, last: &str, item: &str, conversation: &str| {
        format!(
            r#"{{"id":"{own}","object":"response","previous_response_id":"{last}","conversation":{{"id":"{conversation}"}},"metadata":{{"id":"x"}},"tools":[{{"name":"f","parameters":{{"file_id":"x"}}}}],"output":[{{"id":"{item}","type":"message","content":[{{"type":"output_text","text":"id","annotations":[]}}]}},{{"type":"function_call","id":"{item}","call_id":"call_1","arguments":"{{}}"}}]}}"#
        )
    };
    let (plain, swapped) = (response("r", "p", "m", "c"), response("Gr", "Gp", "Cm", "Gc"));
    let event = |of: &str| format!(r#"{{"type":"response.completed","response":{of},"sequence_number":9}}"#);
    for (shown, text, expected) in [
        (IdOf::Given, plain.clone(), swapped.clone()),
        (IdOf::Given, event(&plain), event(&swapped)),
        (
            IdOf::Given,
            r#"{"type":"response.output_text.delta","item_id":"m","delta":"id"}"#.to_owned(),
            r#"{"type":"response.output_text.delta","item_id":"Cm","delta":"id"}"#.to_owned(),
        ),
        (
            IdOf::Given,
            r#"{"type":"response.output_item.added","item":{"id":"m","type":"reasoning"}}"#.to_owned(),
            r#"{"type":"response.output_item.added","item":{"id":"Cm","type":"reasoning"}}"#.to_owned(),
        ),
        (
            IdOf::Given,
            r#"{"object":"list","data":[{"id":"m"}],"first_id":"m","last_id":"m"}"#.to_owned(),
            r#"{"object":"list","data":[{"id":"Cm"}],"first_id":"Cm","last_id":"Cm"}"#.to_owned(),
        ),
        (
            IdOf::Chosen,
            r#"{"id":"m","type":"message"}"#.to_owned(),
            r#"{"id":"Cm","type":"message"}"#.to_owned(),
        ),
    ] {
        let mut swap = |of, id: &str| Some(format!("{}{id}", if of == IdOf::Given { "G" } else { "C" }));
        assert_eq!(in_answer(&text, shown, &mut swap).as_deref(), Some(expected.as_str()), "{text}");
    }
    let mut swap = |_, id: &str| Some(format!("T{id}"));
    for other in ["[DONE]", r#"{"error":{"message":"m","code":null}}"#, "7", r#"{"id":null}"#] {
        assert_eq!(in_answer(other, IdOf::Given, &mut swap), None, "{other}");
    }
}

#[test]
fn paths_lead_to_ids_or_are_refused_or_are_of_something_else() {
    use IdOf::{Chosen, Given};
    let way = |asked: &str| {
        let (method, path) = asked.split_once(" /").unwrap();
        way(method, &path.split('/').map(str::to_owned).collect::<Vec<_>>())
    };
    for (asked, ids, shown) in [
        ("POST /v1/responses", vec![], Some(Given)),
        ("POST /v1/responses/", vec![], Some(Given)),
        ("POST /v1/responses/compact", vec![], Some(Given)),
        ("GET /v1/responses/r", vec![(2, Given)], Some(Given)),
        ("GET /V1/Responses//r", vec![(3, Given)], Some(Given)),
        ("DELETE /openai/v1/responses/r", vec![(3, Given)], Some(Given)),
        ("POST /v1/responses/r/cancel", vec![(2, Given)], Some(Given)),
        ("GET /v1/responses/r/input_items", vec![(2, Given)], Some(Given)),
        ("GET /v1/responses/compact", vec![(2, Given)], Some(Given)),
        ("POST /v1/conversations", vec![], Some(Given)),
        ("POST /v1/conversations/c", vec![(2, Given)], Some(Given)),
        ("GET /v1/conversations/c/items", vec![(2, Given)], Some(Given)),
        ("GET /v1/conversations/c/items/m", vec![(2, Given), (4, Chosen)], Some(Chosen)),
        ("DELETE /v1/conversations/c/items/m", vec![(2, Given), (4, Chosen)], Some(Given)),
        ("GET /v1/conversations/responses/items", vec![(2, Given)], Some(Given)),
        ("POST /v1/files", vec![], Some(Given)),
        ("GET /v1/files/f", vec![(2, Given)], Some(Given)),
        ("GET /v1/files/f/content", vec![(2, Given)], None),
        ("POST /v1/chat/completions", vec![], None),
        ("POST /v1/chat/completions/batch", vec![], None),
        ("POST /v1/messages", vec![], None),
        ("GET /v1/models/m", vec![], None),
        ("POST /v1/audio/transcriptions", vec![], None),
        ("GET /", vec![], None),
    ] {
        let way = way(asked).unwrap_or_else(|why| panic!("{asked}: {why}"));
        assert_eq!((way.ids, way.shown), (ids, shown), "{asked}");
    }
    for asked in [
        "GET /v1/responses",
        "GET /v1/responses/r/else",
        "POST /v1/responses/r",
        "PUT /v1/responses/r",
        "GET /v1/conversations",
        "GET /v1/files",
        "GET /v1/files/f/content/x",
        "GET /v1/chat/completions",
        "GET /v1/chat/completions/c",
        "POST /v1/Chat/Completions/c",
        "GET /v1/chat/completions/c/messages",
        "POST /v1/batches",
        "POST /v1/messages/batches",
        "GET /v1/vector_stores/v",
        "POST /v1/threads",
        "GET /v1/videos/v/content",
    ] {
        assert!(way(asked).is_err(), "{asked}");
    }
    for (asked, takes_form) in [
        ("POST /v1/files", true),
        ("POST /v1/audio/translations", true),
        ("POST /v1/images/edits", true),
        ("POST /v1/audio/speech", false),
        ("POST /v1/responses", false),
    ] {
        assert_eq!(way(asked).unwrap().takes_form, takes_form, "{asked}");
    }
}

/// What a server may repeat of a request: nobody has an id made his own by sending it.
#[test]
fn an_id_that_was_sent_is_not_swapped_where_it_was_not_swapped_on_its_way() {
    let sent = [
        r#"{"response":{"id":"x"},"item":{"id":"x"},"data":[{"id":"x"}],"first_id":"x","last_id":"x"}"#,
        r#"{"input":{"id":"x","file_id":"x","response":{"id":"x"}}}"#,
        r#"{"metadata":{"file_id":"x"},"arguments":{"output":[{"id":"x"}]}}"#,
        r#"{"prompt":{"id":"x"},"tool_choice":{"id":"x"}}"#,
    ];
    for extra in sent {
        let as_item = format!(r#"{{"items":[{extra}],"tools":[{extra}]}}"#);
        assert_eq!(asked(&as_item, true), Ok(None), "{as_item}");
        let mut swap = |_: IdOf, id: &str| -> Option<String> { panic!("{id} of {extra}") };
        for (shown, repeated) in [
            (IdOf::Given, format!(r#"{{"object":"response","tools":[{extra}]}}"#)),
            (IdOf::Given, format!(r#"{{"type":"response.created","response":{{"tools":[{extra}]}}}}"#)),
            (IdOf::Given, format!(r#"{{"object":"list","data":[{extra}]}}"#)),
            (IdOf::Chosen, extra.to_owned()),
        ] {
            assert_eq!(in_answer(&repeated, shown, &mut swap), None, "{repeated}");
        }
    }
}
