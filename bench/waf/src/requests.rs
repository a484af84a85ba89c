//! The requests that are measured: those of everyday, and prompts made to cost.

/// A request, all of it text.
pub struct Request {
    pub name: &'static str,
    pub method: &'static str,
    pub target: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

const SENTENCE: &str =
    "Write a short story about a gardener who finds an old letter under the roses. Keep it warm and plain. ";

/// Bytes of a prompt that is made to cost.
const ADVERSARIAL: usize = 64 << 10;

/// All of them; `prose` is a long text.
pub fn all(prose: &str) -> Vec<Request> {
    let long = |bytes: usize| prose.chars().cycle().take(bytes).collect::<String>();
    let flood = |piece: &str| piece.repeat(ADVERSARIAL / piece.len());
    vec![
        get("small GET", "/search?q=old+roses&page=2"),
        get("SQLi GET", "/search?q=1%27+union+select+password+from+users--"),
        chat("chat, 2 KB", &SENTENCE.repeat(20)),
        chat("chat, 32 KB", &long(32_000)),
        chat("chat, 200 KB", &long(200_000)),
        chat("64 KB of ${", &flood("${")),
        chat("64 KB of <a", &flood("<a ")),
        chat("64 KB of ../", &flood("../")),
        chat("64 KB of select(", &flood("select(")),
        chat("64 KB of ' or 1=1", &flood("' or 1=1 ")),
        chat("64 KB of blanks", &flood(" ")),
        chat("64 KB of %25", &flood("%25")),
        chat("64 KB of ;a=", &flood(";a=")),
    ]
}

fn get(name: &'static str, target: &'static str) -> Request {
    let headers = headers(vec![
        ("Host", "www.example.com".to_owned()),
        ("Cookie", "session=0123456789abcdef; theme=dark".to_owned()),
    ]);
    Request { name, method: "GET", target, headers, body: String::new() }
}

fn chat(name: &'static str, prompt: &str) -> Request {
    let body = serde_json::json!({
        "model": "m", "messages": [{"role": "user", "content": prompt}], "temperature": 0.7,
    })
    .to_string();
    let headers = headers(vec![
        ("Host", "api.example.com".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("Content-Length", body.len().to_string()),
    ]);
    Request { name, method: "POST", target: "/v1/chat/completions", headers, body }
}

fn headers(more: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let common = [
        ("User-Agent", "OpenAI/Python 1.51.0".to_owned()),
        ("Accept", "application/json".to_owned()),
        ("Accept-Encoding", "gzip, deflate".to_owned()),
    ];
    common.into_iter().chain(more).collect()
}
