//! Whom requests have providers contact, as services document it and as clients may disguise it.

use super::super::MAX_WATCHED;
use super::super::sample::Sample;
use super::*;
use proptest::prelude::*;

const RESPONSES: &str = "POST https://api.openai.com/v1/responses";
const CHAT: &str = "POST https://api.openai.com/v1/chat/completions";
const MESSAGES: &str = "POST https://api.anthropic.com/v1/messages";
const GEMINI: &str = "POST https://generativelanguage.googleapis.com/v1beta/models/g:generateContent";
const VERTEX: &str = "POST https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google/models/g:predictLongRunning";
const CONVERSE: &str = "POST https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse";
const A2A: &str = "POST https://agent.example/rpc\ncontent-type: application/json";

/// Its contacts, and whether it was known only at its end; else why it contradicts itself.
fn read(request: &str, body: &[u8], size: usize) -> Result<(Vec<String>, Vec<Asks>, bool), &'static str> {
    let mut reader = Sample::read(request).reader_by(|head| Reader::leaving(head, false));
    body.chunks(size).for_each(|part| reader.push(part));
    let is_late = reader.progress() == Progress::NeedMore;
    reader.end();
    let operation = match reader.progress() {
        Progress::Known(operation) => operation,
        Progress::Contradicted(_, why) => return Err(why),
        Progress::NeedMore => panic!("{request} is not known at its end"),
    };
    let show = |contact: &Contact| {
        let limited = matches!(contact.whom, Whom::Tool { limited: true, .. });
        format!("{} {}{}", contact.at, contact.whom, if limited { " limited" } else { "" })
    };
    let asks = operation.contacts.iter().filter_map(|contact| match &contact.whom {
        Whom::Host { asks, .. } => Some(asks.clone()),
        Whom::Domain(_) | Whom::Tool { .. } | Whom::Unread(_) => None,
    });
    Ok((operation.contacts.iter().map(show).collect(), asks.collect(), is_late))
}

fn check(request: &str, body: &str, expected: &[&str]) {
    for size in [1, 7, body.len().max(1)] {
        let (found, ..) = read(request, body.as_bytes(), size).unwrap();
        assert_eq!(found, expected, "{request} {body} in pieces of {size}");
    }
}

#[test]
fn every_field_by_which_a_provider_is_sent_somewhere_is_found() {
    for (request, body, expected) in [
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"function","name":"f"},{"type":"mcp","server_label":"x","server_url":"https://mcp.evil.io/sse?k=1"}],"input":"x"}"#,
            &["tools[1].server_url mcp.evil.io:443"][..],
        ),
        (
            RESPONSES,
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"https:\/\/img.evil.io:8443/?secret"},{"type":"input_file","file_url":"http://f.io/a"}]}]}"#,
            &["input[0].content[1].image_url img.evil.io:8443", "input[0].content[2].file_url f.io:80"],
        ),
        (
            CHAT,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.io/x.png"}}]}],"model":"m"}"#,
            &["messages[0].content[0].image_url.url a.io:443"],
        ),
        (
            CHAT,
            r#"{"model":"m","messages":[{"content":[{"type":"video_url","video_url":{"url":"https://v.io/"}},{"type":"audio_url","audio_url":"https://w.io"}]}]}"#,
            &["messages[0].content[0].video_url.url v.io:443", "messages[0].content[1].audio_url w.io:443"],
        ),
        (CHAT, r#"{"model":"m","web_search_options":{}}"#, &["web_search_options web_search_options"]),
        (CHAT, r#"{"model":"m:online"}"#, &["model m:online"]),
        (CHAT, r#"{"model":"m","plugins":[{"id":"web"}]}"#, &["plugins[0].id web"]),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"web_search_preview"},{"type":"code_interpreter","container":{"type":"auto"}}]}"#,
            &["tools[0].type web_search_preview"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"web_search","filters":{"allowed_domains":["a.io/docs"]}}]}"#,
            &[
                "tools[0].filters.allowed_domains[0] a.io and names below it",
                "tools[0].type web_search limited",
            ],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"web_search","filters":{"allowed_domains":[]}}]}"#,
            &["tools[0].type web_search"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"shell","environment":{"type":"container_auto","network_policy":{"type":"allowlist","allowed_domains":["p.io"]}}}]}"#,
            &["tools[0].environment.network_policy.allowed_domains[0] p.io:443"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"shell","environment":{"network_policy":{"type":"unrestricted"}}}]}"#,
            &["tools[0].environment.network_policy.type a container's network: unrestricted"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"type":"mcp","connector_id":"connector_gmail"},{"type":"tool_of_tomorrow"}]}"#,
            &["tools[0].connector_id connector_gmail", "tools[1].type tool_of_tomorrow"],
        ),
        (
            MESSAGES,
            r#"{"model":"m","mcp_servers":[{"type":"url","url":"https://mcp.io","name":"x"}],"messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://d.io/x.pdf"}}]}]}"#,
            &["mcp_servers[0].url mcp.io:443", "messages[0].content[0].source.url d.io:443"],
        ),
        (
            MESSAGES,
            r#"{"model":"m","tools":[{"name":"bash","type":"bash_20250124"},{"type":"web_fetch_20250910","name":"web_fetch","allowed_domains":["*.a.io"]}]}"#,
            &[
                "tools[1].allowed_domains[0] a.io and names below it",
                "tools[1].type web_fetch_20250910 limited",
            ],
        ),
        (
            "POST https://api.anthropic.com/v1/messages/batches",
            r#"{"requests":[{"custom_id":"a","params":{"mcp_servers":[{"url":"https://mcp.io"}]}}]}"#,
            &["requests[0].params.mcp_servers[0].url mcp.io:443"],
        ),
        (
            "POST https://api.openai.com/v1/batches",
            r#"{"input_file_id":"file-1","endpoint":"/v1/responses"}"#,
            &["input_file_id somebody who cannot be told"],
        ),
        (
            GEMINI,
            r#"{"contents":[{"parts":[{"fileData":{"fileUri":"https://www.youtube.com/watch?v=x"}},{"file_data":{"file_uri":"https://x.io/a"}}]}],"tools":[{"googleSearch":{}},{"url_context":{}}]}"#,
            &[
                "contents[0].parts[0].fileData.fileUri www.youtube.com:443",
                "contents[0].parts[1].file_data.file_uri x.io:443",
                "tools[0].googleSearch googleSearch",
                "tools[1].url_context url_context",
            ],
        ),
        (
            VERTEX,
            r#"{"instances":[{"prompt":"x","image":{"gcsUri":"gs://in/a.png"}}],"parameters":{"storageUri":"gs://out/x"}}"#,
            &[
                "instances[0].image.gcsUri storage.googleapis.com:443",
                "parameters.storageUri storage.googleapis.com:443",
            ],
        ),
        (
            CONVERSE,
            r#"{"messages":[{"content":[{"video":{"source":{"s3Location":{"uri":"s3://b/k"}}}}]}]}"#,
            &["messages[0].content[0].video.source.s3Location.uri s3.amazonaws.com:443"],
        ),
        (
            A2A,
            r#"{"jsonrpc":"2.0","method":"message/send","params":{"message":{"parts":[]},"configuration":{"pushNotificationConfig":{"url":"https://hook.io"}}}}"#,
            &["params.configuration.pushNotificationConfig.url hook.io:443"],
        ),
        (
            "GET https://api.openai.com/v1/realtime?model=m\nupgrade: websocket",
            "",
            &["the conversation somebody who cannot be told"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"Server_URL":"HTTPS://E.io"}]}"#,
            &["tools[0].Server_URL e.io:443"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"server\u005furl":"https\u003a//e.io"}]}"#,
            &["tools[0].server_url e.io:443"],
        ),
        (
            RESPONSES,
            r#"{"model":"m","tools":[{"server_url":"https://a.io"},{"server_url":"https://a.io"}]}"#,
            &["tools[0].server_url a.io:443"],
        ),
        (RESPONSES, r#"{"model":"m","x":{"image_url":"https://e.io/\ud800"}}"#, &["x.image_url e.io:443"]),
        (
            RESPONSES,
            r#"{"model":"m","x":{"image_url":"https://\ud800.io/"}}"#,
            &["x.image_url somebody who cannot be told"],
        ),
    ] {
        check(request, body, expected);
    }
}

#[test]
fn what_sends_nobody_anywhere_is_no_contact() {
    for (request, body) in [
        (
            RESPONSES,
            r#"{"model":"m","input":"see https://evil.io","tools":[{"type":"function","parameters":{"properties":{"image_url":{"type":"string"},"url":{"type":"string"}}}}]}"#,
        ),
        (
            RESPONSES,
            r#"{"model":"m","input":[{"type":"input_image","image_url":"data:image/png;base64,aHR0cHM6Ly9ldmls"},{"type":"input_file","file_id":"file-1"}]}"#,
        ),
        (
            RESPONSES,
            r#"{"model":"m","input":[{"content":[{"annotations":[{"type":"url_citation","url":"https://a.io"}]}]}],"metadata":{"image_url":"https://a.io"}}"#,
        ),
        (
            MESSAGES,
            r#"{"model":"m","messages":[{"content":[{"type":"tool_use","name":"fetch","input":{"image_url":"https://a.io","source":{"url":"https://a.io"}}}]}]}"#,
        ),
        (
            MESSAGES,
            r#"{"model":"m","messages":[{"content":[{"type":"search_result","source":"https://a.io","content":[]}]}]}"#,
        ),
        (
            GEMINI,
            r#"{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"fileUri":"https://a.io"}}},{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/f"}}]}],"tools":[{"functionDeclarations":[]},{"codeExecution":{}}]}"#,
        ),
        (
            "POST https://tools.example/mcp",
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t","arguments":{"url":"https://a.io"}}}"#,
        ),
        ("POST https://api.openai.com/v1/files", r#"{"image_url":"https://a.io"}"#),
        (GEMINI, ""),
    ] {
        check(request, body, &[]);
    }
}

#[test]
fn a_fetched_url_says_what_is_done_there_and_a_server_of_tools_may_do_anything() {
    let body = r#"{"model":"m","input":[{"image_url":"https://huggingface.co/evil/repo/resolve/main/a.png"}],"tools":[{"server_url":"https://huggingface.co/mcp"}]}"#;
    let (_, asks, _) = read(RESPONSES, body.as_bytes(), 5).unwrap();
    let [Asks::Fetch(fetched), Asks::Anything] = asks.as_slice() else { panic!("{asks:?}") };
    assert_eq!((fetched.verb, fetched.resource.as_deref()), (Verb::Download, Some("evil/repo")));
    let body = r#"{"instances":[],"parameters":{"storageUri":"gs://out/x"}}"#;
    let (_, asks, _) = read(VERTEX, body.as_bytes(), 5).unwrap();
    let [Asks::Store(stored)] = asks.as_slice() else { panic!("{asks:?}") };
    assert_eq!((stored.verb, stored.resource.as_deref()), (Verb::Upload, Some("out/x")));
    // Of a long URL the end is not known, and so not what it asks for.
    let long = format!(r#"{{"model":"m","x":{{"image_url":"https://a.io/{}"}}}}"#, "x".repeat(3000));
    let (found, asks, _) = read(RESPONSES, long.as_bytes(), 100).unwrap();
    assert_eq!(
        (found.as_slice(), asks.as_slice()),
        (&["x.image_url a.io:443".to_owned()][..], &[Asks::Anything][..])
    );
}

#[test]
fn a_body_is_known_at_its_end_or_its_bound_and_what_comes_then_contradicts_it() {
    let text = r#"{"model":"m","input":"x"}"#;
    assert_eq!(read(RESPONSES, text.as_bytes(), 1000), Ok((vec![], vec![], true)));
    let filler = "a".repeat(MAX_WATCHED);
    let late = format!(r#"{{"model":"m","input":"{filler}","x":{{"image_url":"https://a.io"}}}}"#);
    let plain = format!(r#"{{"model":"m","input":"{filler}"}}"#);
    for size in [10_000, late.len()] {
        assert_eq!(read(RESPONSES, plain.as_bytes(), size), Ok((vec![], vec![], false)));
        let why = read(RESPONSES, late.as_bytes(), size).unwrap_err();
        assert!(why.contains("contact"), "{why}");
    }
}

#[test]
fn a_body_that_nobody_can_read_may_send_the_provider_anywhere() {
    for body in ["x", "[", r#"{"a":"#, "\u{feff}{}", r#"{"contents":[]}{}"#] {
        let (found, ..) = read(GEMINI, body.as_bytes(), 1).unwrap();
        assert!(found.len() == 1 && found[0].contains("cannot be told"), "{body} {found:?}");
    }
    let many: Vec<_> = (0..200).map(|at| format!(r#"{{"image_url":"https://a{at}.io"}}"#)).collect();
    let body = format!(r#"{{"model":"m","input":[{}]}}"#, many.join(","));
    let (found, ..) = read(RESPONSES, body.as_bytes(), 999).unwrap();
    assert_eq!(found.len(), MOST + 1);
    assert!(found[MOST].contains("cannot be told"), "{}", found[MOST]);
}

#[test]
fn a_url_in_a_form_is_found_before_the_model_and_contradicts_behind_it() {
    let request = "POST https://api.groq.com/openai/v1/audio/transcriptions\ncontent-type: multipart/form-data; boundary=B";
    let part = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let (url, model) = (part("url", "https://a.io/x.mp3"), part("model", "m"));
    check(request, &format!("{url}{model}--B--\r\n"), &["url a.io:443"]);
    for size in [1, 1000] {
        assert!(read(request, format!("{model}{url}--B--\r\n").as_bytes(), size).is_err());
    }
}

proptest! {
    #[test]
    fn where_a_body_is_split_changes_nothing_and_nothing_makes_it_panic(
        request in prop::sample::select(vec![RESPONSES, GEMINI, MESSAGES, A2A]),
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"model\":\"m\"", "\"tools\"", "\"type\":\"mcp\"", "\"server_url\"",
            "\"https://a.io\"", "\"image_url\"", "\"url\"", "\"allowed_domains\"", "\"\\ud800\"", "1", "null",
            "\"jsonrpc\":\"2.0\",\"method\":\"message/send\"", "\"input\"", "\"content\"", "\"googleSearch\"",
        ]), 0..24),
        size in 1usize..6,
    ) {
        let body = pieces.concat();
        let whole = read(request, body.as_bytes(), body.len().max(1));
        let whole = whole.map(|(found, asks, _)| (found, asks));
        let parts = read(request, body.as_bytes(), size).map(|(found, asks, _)| (found, asks));
        prop_assert_eq!(parts, whole);
    }
}
