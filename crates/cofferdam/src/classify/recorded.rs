//! Recorded requests: HAR 1.2, or one JSON object a line.
//!
//! Enters: a file's bytes. Leaves: its requests in order, each with where it is. Guarantees: one that cannot be read stands
//! in its place as an error. Does not: read answers.

mod verbatim;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::borrow::Cow;

/// One request.
pub(super) struct Recorded {
    pub(super) method: String,
    /// Lower case, without a trailing dot.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether the body was recorded as text, which a compressed one cannot be: it may have been recorded decoded.
    pub(super) is_text: bool,
    /// A field of the head says that it is for another host than the URL has it.
    pub(super) has_other_host: bool,
}

/// What is read of an object of a line.
pub(super) const FIELDS: [&str; 5] = ["method", "url", "headers", "body", "body_base64"];
/// Most names of fields that are kept.
const MOST_NAMES: usize = 20;

/// Fields of lines that are not read, each once and with the first line that has it.
pub(super) fn strays(text: &[u8]) -> Vec<(String, usize)> {
    let mut strays: Vec<(String, usize)> = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { continue };
        // Lines of HAR, and what is no request, are no objects of this form.
        if !fields.contains_key("method") && !fields.contains_key("url") {
            continue;
        }
        for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            if strays.len() < MOST_NAMES && !strays.iter().any(|(known, _)| known == name) {
                strays.push((name.chars().take(80).collect(), at + 1));
            }
        }
    }
    strays
}

/// The requests of a file: of HAR with the number of the entry, else with the line, both from 1.
pub(super) fn recorded(text: &[u8]) -> Vec<(String, Result<Recorded>)> {
    if let Ok(whole) = serde_json::from_slice::<Value>(text)
        && let Some(entries) = whole.pointer("/log/entries").and_then(Value::as_array)
    {
        let read = |(at, entry): (usize, &Value)| (format!("entry {}", at + 1), of_har(entry));
        return entries.iter().enumerate().map(read).collect();
    }
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(at, line)| ((at + 1).to_string(), of_line(line))).collect()
}

fn of_line(line: &[u8]) -> Result<Recorded> {
    let value: Value = serde_json::from_slice(line).context("the line is not JSON")?;
    let mut headers = headers(value.get("headers"))?;
    let there = |name: &str| value.get(name).filter(|value| !value.is_null());
    let body = match (there("body"), there("body_base64")) {
        (Some(_), Some(_)) => bail!("it has body and body_base64"),
        (None, Some(encoded)) => bytes(encoded.as_str().context("body_base64 is no text")?)?,
        (Some(Value::String(text)), None) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
        (Some(_), None) => {
            default_type(&mut headers, "application/json");
            // A field that is there twice is there twice.
            verbatim::body(line).context("the line is not JSON")?
        }
    };
    request(&value, headers, body, there("body_base64").is_none())
}

fn of_har(entry: &Value) -> Result<Recorded> {
    let value = entry.get("request").context("the entry has no request")?;
    let mut headers = headers(value.get("headers"))?;
    let post = value.get("postData");
    if let Some(kind) = post.and_then(|post| post.get("mimeType")).and_then(Value::as_str) {
        default_type(&mut headers, kind);
    }
    let text = post.and_then(|post| post.get("text")).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is_base64 = post.and_then(|post| post.get("encoding")).and_then(Value::as_str) == Some("base64");
    let params = post.and_then(|post| post.get("params")).and_then(Value::as_array);
    let body = match (text, params) {
        (Some(text), _) if is_base64 => bytes(text)?,
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(params)) if !params.is_empty() => form(params, &headers)?,
        (None, _) => Vec::new(),
    };
    request(value, headers, body, !is_base64)
}

/// What the body is, where no field of the head says it.
fn default_type(headers: &mut Vec<(String, String)>, kind: &str) {
    if !kind.is_empty() && !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
}

fn request(value: &Value, headers: Vec<(String, String)>, body: Vec<u8>, is_text: bool) -> Result<Recorded> {
    let text = |name: &str| {
        value.get(name).and_then(Value::as_str).with_context(|| format!("it has no {name} that is a text"))
    };
    let method = text("method")?.to_owned();
    // Those of HTTP/2 that begin with a colon are in method and URL.
    let (own, headers): (Vec<_>, Vec<_>) = headers.into_iter().partition(|(name, _)| name.starts_with(':'));
    let whom: Vec<&str> = own
        .iter()
        .chain(&headers)
        .filter(|(name, _)| name == ":authority" || name == "host")
        .map(|(_, value)| value.trim())
        .collect();
    let written = match (text("url")?, whom.first()) {
        // As it stands in the first line of HTTP/1.
        (path, Some(host)) if path.starts_with('/') => Cow::Owned(format!("https://{host}{path}")),
        (whole, _) => Cow::Borrowed(whole),
    };
    let (host, port, target) = url(&written)?;
    let is_other = |other: &&str| url(&format!("https://{other}/")).is_ok_and(|(other, ..)| other != host);
    let has_other_host = whom.iter().any(is_other);
    Ok(Recorded { method, host, port, target, headers, body, is_text, has_other_host })
}

/// Host, port, and path with query.
fn url(url: &str) -> Result<(String, u16, String)> {
    let (scheme, rest) = url.split_once("://").context("its url has no scheme, such as https://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => 443,
        "http" | "ws" => 80,
        _ => bail!("its url is neither http nor https"),
    };
    // What stands behind a number sign is not sent.
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => {
            (host, number.parse().context("its url has no port")?)
        }
        Some(_) | None => (authority, port),
    };
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    if host.is_empty() {
        bail!("its url has no host");
    }
    Ok((host, port, target))
}

/// An object of texts or lists, or a list of pairs or of objects. Names in lower case.
fn headers(value: Option<&Value>) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a header is no text");
    let mut all = Vec::new();
    let mut add = |name: &str, value: String| all.push((name.to_ascii_lowercase(), value));
    match value.unwrap_or(&Value::Null) {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Array(values) => {
                        values.iter().try_for_each(|value| text(value).map(|value| add(name, value)))?
                    }
                    one => add(name, text(one)?),
                }
            }
        }
        Value::Array(fields) => {
            for field in fields {
                let (name, value) = match field.as_array().map(Vec::as_slice) {
                    Some([name, value]) => (text(name)?, text(value)?),
                    Some(_) => bail!("a header is no pair of name and value"),
                    None => {
                        let part = |name: &str| {
                            field.get(name).map(text).with_context(|| format!("a header has no {name}"))
                        };
                        (part("name")??, part("value")??)
                    }
                };
                add(&name, value);
            }
        }
        _ => bail!("headers are neither an object nor a list"),
    }
    Ok(all)
}

/// The body of a form whose fields HAR lists.
fn form(params: &[Value], headers: &[(String, String)]) -> Result<Vec<u8>> {
    let content_type =
        headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value.as_str());
    let part = |param: &Value, name: &str| param.get(name).and_then(Value::as_str).map(str::to_owned);
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let Some(boundary) = boundary.map(|boundary| boundary.trim_matches('"')) else {
        let pair = |param: &Value| {
            let text = |name| part(param, name).unwrap_or_default();
            format!("{}={}", text("name"), text("value"))
        };
        return Ok(params.iter().map(pair).collect::<Vec<_>>().join("&").into_bytes());
    };
    let mut body = String::new();
    for param in params {
        let name = part(param, "name").context("a field of its form has no name")?;
        let file = part(param, "fileName").map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let value = part(param, "value").unwrap_or_default();
        body.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    Ok(body.into_bytes())
}

fn bytes(encoded: &str) -> Result<Vec<u8>> {
    inspect::base64::decode(encoded.as_bytes()).context("its body is not Base64")
}
