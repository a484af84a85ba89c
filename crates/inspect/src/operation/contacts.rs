//! Whom the body of a request has the provider contact, as it is read.
//!
//! Enters: the keys and texts of a body of JSON, as its reader comes to them. Leaves: [`Contact`]s. Guarantees: keys count
//! whatever their case and underscores, and as often as they are there; paths, texts and contacts are bounded, and what is
//! beyond is a contact that cannot be told. Does not: judge; look for URLs in what is said, which only tools of the provider's would follow.
//!
//! The fields are those of the documented interfaces: of OpenAI `image_url`, `file_url`, `server_url` and `connector_id` of
//! tools of type `mcp`, `web_search`, `container` with `network_policy`; of Anthropic `mcp_servers`, `source` of type `url`,
//! `web_search_*`, `web_fetch_*`; of Gemini and Vertex AI `fileData.fileUri`, `gcsUri`, `storageUri`, `googleSearch`,
//! `urlContext`; of Bedrock `s3Location.uri`; of others `search_parameters`, `plugins`, `connectors`, `audio_url`,
//! `video_url`, `document_url`; and of A2A every `url`.

use super::link::{self, Link};
use super::request::{Draft, Wanted};
use super::{Head, Progress, Reader};
use crate::fold::fold_letter;
use policy::{Asks, Contact, DnsName, Operation, Own, Verb, Whom};
use std::borrow::Cow;

/// Contacts of one body.
const MOST: usize = 128;
/// Bytes of where one is.
const MOST_AT: usize = 256;
/// Bytes of what a tool is called.
const MOST_NAME: usize = 64;

/// Parts of interfaces whose bodies are looked at, of whatever service.
const APIS: [&str; 37] = [
    "agents",
    "assistants",
    "async-invoke",
    "audio",
    "batches",
    "cached-contents",
    "chat",
    "classify",
    "completions",
    "containers",
    "conversations",
    "converse",
    "count-tokens",
    "embeddings",
    "evals",
    "fine-tuning",
    "generate",
    "generate-content",
    "images",
    "interactions",
    "invocations",
    "invoke",
    "message/send",
    "message/stream",
    "messages",
    "moderations",
    "ocr",
    "pooling",
    "predict",
    "realtime",
    "rerank",
    "responses",
    "retrieve",
    "score",
    "tasks/pushNotificationConfig/set",
    "threads",
    "videos",
];

/// Those of them that take forms, whose files are in the request itself.
const FORMS: [&str; 4] = ["audio", "containers", "images", "videos"];

/// Tools of which it is known that they contact nobody, or only whom other fields name. As the types begin.
const OFFLINE: [&str; 17] = [
    "apply_patch",
    "bash",
    "code_execution",
    "code_interpreter",
    "computer",
    "custom",
    "file_search",
    "function",
    "image_generation",
    "local_shell",
    "mcp",
    "memory",
    "namespace",
    "retrieval",
    "shell",
    "text_editor",
    "tool_search",
];
/// The same where the tool is the name of a field, without underscores.
const ONLINE: [&str; 8] = [
    "enterprisewebsearch",
    "googlemaps",
    "googlesearch",
    "googlesearchretrieval",
    "parallelaisearch",
    "urlcontext",
    "webfetch",
    "websearch",
];
/// What a URL stands for that the provider fetches; `url`, `uri` and `uris` mean it within these.
const FETCHED: [&str; 30] = [
    "audio",
    "audiourl",
    "audiourls",
    "contenturl",
    "document",
    "documenturl",
    "file",
    "filedata",
    "fileuri",
    "fileurl",
    "fileurls",
    "gcssource",
    "gcsuri",
    "image",
    "imagedata",
    "images",
    "imageurl",
    "imageurls",
    "inputaudio",
    "inputimage",
    "inputreference",
    "mediaurl",
    "referenceimage",
    "s3location",
    "s3uri",
    "source",
    "video",
    "videos",
    "videourl",
    "videourls",
];
/// Where the provider stores something.
const STORED: [&str; 6] =
    ["gcsdestination", "gcsoutputuri", "outputgcsuri", "outputuri", "outputuriprefix", "storageuri"];
/// Whom the provider asks for whatever it, or the host, likes.
const ASKED: [&str; 7] =
    ["callbackurl", "notificationurl", "pushurl", "serverurl", "streamableurl", "webhookurl", "webhookuri"];
/// Within what `url`, `uri` and `endpoint` mean that.
const ASKED_WITHIN: [&str; 11] = [
    "callback",
    "externalapi",
    "mcpserver",
    "mcpservers",
    "mcptool",
    "pushnotificationconfig",
    "sse",
    "ssetransport",
    "streamablehttptransport",
    "webhook",
    "webhooks",
];

/// What a text of the body means, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Fetch,
    Store,
    Ask,
    /// A type of a tool.
    Type,
    /// A domain to which a tool is limited.
    Domain,
    /// A host that a container may reach.
    ContainerDomain,
    /// How much network a container has.
    Network,
    /// A service of others to which the provider has a way of its own.
    Connector,
    /// An addition by its name.
    Plugin,
    /// A model, of which some search.
    Model,
    /// A file with requests.
    Batch,
}

/// An object or an array that is not closed.
#[derive(Debug)]
struct Level {
    is_object: bool,
    /// Under which key it is, folded; of an element of an array, under which that is.
    key: String,
    /// How it is called in a path.
    name: String,
    /// Elements of an array that began.
    elements: usize,
    /// Nothing within means anything.
    is_skipped: bool,
    tool: Option<Tool>,
}

/// A tool as far as it was read.
#[derive(Debug, Default)]
struct Tool {
    /// What contacts hosts of its choice.
    online: Option<String>,
    at: String,
    is_limited: bool,
}

/// Looks at one body.
#[derive(Debug)]
pub(super) struct Watch {
    /// Of the provider itself.
    host: String,
    is_batch: bool,
    /// Every URL counts.
    is_a2a: bool,
    levels: Vec<Level>,
    /// The key of the value that comes, as it is written and folded.
    key: (String, String),
    found: Vec<Contact>,
}

/// What the head says of whom the provider contacts, and whether the body is looked at for more.
pub(super) fn watch(head: &Head<'_>, draft: &mut Draft) -> Option<Watch> {
    let Draft { operation, wanted, .. } = draft;
    let is_rpc = matches!(wanted, Wanted::Rpc(_));
    let writes = matches!(head.method, "POST" | "PUT" | "PATCH");
    // What asks and is a GET is a WebSocket.
    if operation.verb == Verb::Call && (operation.api == "realtime" || head.method == "GET") {
        operation.contacts.push(Contact {
            at: "the conversation".to_owned(),
            whom: Whom::Unread(Cow::Borrowed("what is said in it is not read")),
            own: Own::Unjudged,
        });
        return None;
    }
    let is_form =
        matches!(wanted, Wanted::Nothing) && FORMS.contains(&operation.api.as_ref()) && is_multipart(head);
    let is_meant = writes && !is_form && (is_rpc || APIS.contains(&operation.api.as_ref()));
    is_meant.then(|| Watch {
        host: head.host.to_owned(),
        is_batch: operation.api == "batches",
        is_a2a: is_rpc || operation.provider.as_deref() == Some(super::a2a::PROVIDER),
        levels: Vec::new(),
        key: Default::default(),
        found: Vec::new(),
    })
}

fn is_multipart(head: &Head<'_>) -> bool {
    let mut kinds = head.headers.iter().filter(|(name, _)| *name == "content-type");
    kinds.any(|(_, value)| value.to_ascii_lowercase().starts_with(b"multipart/form-data"))
}

/// A URL in a field of a form.
pub(super) fn of_form(field: &str, text: &str) -> Option<Contact> {
    let whom = whom(text, Means::Fetch, "")?;
    Some(Contact { at: field.to_owned(), whom, own: Own::Unjudged })
}

impl Watch {
    /// What was found so far.
    pub(super) fn found(&self) -> &[Contact] {
        &self.found
    }

    /// A key is complete. None: nobody could have meant it.
    pub(super) fn key(&mut self, key: Option<&[u8]>) {
        let name = key.map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let folded: String = name.chars().filter(|it| !matches!(it, '_' | '-')).map(fold_letter).collect();
        self.key = (name, folded);
        let is_root = self.levels.len() == 1;
        let is_online = ONLINE.contains(&self.key.1.as_str());
        if is_online && self.levels.last().is_some_and(|level| level.tool.is_some()) {
            let (at, name) = (self.at(), self.key.0.clone());
            self.is_online(at, &name);
        } else if is_root && matches!(self.key.1.as_str(), "websearchoptions" | "searchparameters") {
            let whom = Whom::Tool { name: self.key.0.clone(), limited: false };
            self.add(whom);
        }
    }

    /// Whether the text that comes means something.
    pub(super) fn wants(&self) -> bool {
        self.means().is_some()
    }

    /// An object or an array begins.
    pub(super) fn open(&mut self, is_object: bool) {
        let name = self.step();
        let parent = self.levels.last();
        let (in_array, around) = match parent {
            Some(level) => (!level.is_object, level.key.as_str()),
            None => (false, ""),
        };
        let key = if in_array { around.to_owned() } else { std::mem::take(&mut self.key.1) };
        let is_data = is_object && !in_array && self.is_data(&key, around);
        let is_skipped = is_data || parent.is_some_and(|level| level.is_skipped);
        let tool = (is_object && key == "tools" && !is_skipped).then(Tool::default);
        self.levels.push(Level { is_object, key, name, elements: 0, is_skipped, tool });
    }

    /// It ends.
    pub(super) fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if let Some(Tool { online: Some(name), at, is_limited }) = level.tool {
            self.push(Contact { at, whom: Whom::Tool { name, limited: is_limited }, own: Own::Unjudged });
        }
    }

    /// A scalar. `text`: what it says where that was wanted, of a long text its beginning; none where it is no text, or one
    /// with half a character.
    pub(super) fn scalar(&mut self, text: Option<&[u8]>, is_cut: bool) {
        let means = self.means();
        self.step();
        let Some(means) = means else { return };
        let text = text.map(|text| String::from_utf8_lossy(text));
        self.text(means, text.as_deref(), is_cut);
    }

    /// The body is not JSON.
    pub(super) fn flaw(&mut self, why: &'static str) {
        self.levels.clear();
        self.add(Whom::Unread(Cow::Borrowed(why)));
    }

    fn text(&mut self, means: Means, text: Option<&str>, is_cut: bool) {
        // A number or null leads nowhere.
        let Some(text) = text else { return };
        match means {
            Means::Fetch | Means::Store | Means::Ask => {
                let means = if is_cut { Means::Ask } else { means };
                if self.is_batch && self.within("gcssource") {
                    self.add(Whom::Unread(Cow::Borrowed("requests in a file are not read")));
                }
                if let Some(whom) = whom(text, means, &self.host) {
                    self.add(whom);
                }
            }
            Means::Type => {
                let is_offline = OFFLINE.iter().any(|kind| is_kind(text, kind));
                if !is_offline {
                    let at = self.at();
                    self.is_online(at, text);
                }
            }
            Means::Domain => {
                let name = text.split('/').next().unwrap_or_default();
                let name = name.strip_prefix("*.").unwrap_or(name);
                let name = link::name(name).and_then(|name| DnsName::parse(&name).ok());
                match name {
                    Some(name) => {
                        let tool = self.levels.iter_mut().rev().find_map(|level| level.tool.as_mut());
                        tool.into_iter().for_each(|tool| tool.is_limited = true);
                        self.add(Whom::Domain(name));
                    }
                    None => self.add(Whom::Unread(Cow::Borrowed("a tool is limited to what is no name"))),
                }
            }
            Means::ContainerDomain => match link::name(text) {
                Some(name) => self.add(Whom::Host { name, port: 443, asks: Asks::Anything }),
                None => self.add(Whom::Unread(Cow::Borrowed("a container may reach what is no name"))),
            },
            Means::Network if !matches!(text, "allowlist" | "disabled") => {
                self.add(Whom::Tool {
                    name: short(&format!("a container's network: {text}")),
                    limited: false,
                });
            }
            Means::Network => {}
            Means::Connector => self.add(Whom::Tool { name: short(text), limited: false }),
            Means::Plugin if text.starts_with("web") => {
                self.add(Whom::Tool { name: short(text), limited: false });
            }
            Means::Model if text.ends_with(":online") => {
                self.add(Whom::Tool { name: short(text), limited: false });
            }
            Means::Plugin | Means::Model => {}
            Means::Batch => self.add(Whom::Unread(Cow::Borrowed("requests in a file are not read"))),
        }
    }

    /// What the text that comes means.
    fn means(&self) -> Option<Means> {
        let level = self.levels.last()?;
        if level.is_skipped {
            return None;
        }
        let above = self.levels.len().checked_sub(2).and_then(|at| self.levels.get(at));
        // An element of an array is under the array's key, and within what that is within.
        let (key, within) = match level.is_object {
            true => (self.key.1.as_str(), level),
            false => (level.key.as_str(), above?),
        };
        let around = within.key.as_str();
        let is_root = self.levels.len() == 1;
        let is_url = matches!(key, "url" | "uri" | "uris" | "endpoint");
        Some(match key {
            "type" if level.tool.is_some() => Means::Type,
            "type" if around == "networkpolicy" => Means::Network,
            "alloweddomains" if around == "networkpolicy" => Means::ContainerDomain,
            "alloweddomains" if self.levels.iter().any(|level| level.tool.is_some()) => Means::Domain,
            "connectorid" => Means::Connector,
            "id" if matches!(around, "plugins" | "connectors") => Means::Plugin,
            "model" if is_root => Means::Model,
            "inputfileid" if is_root => Means::Batch,
            "filename" if around == "inputconfig" => Means::Batch,
            _ if self.is_a2a && is_url => Means::Ask,
            _ if ASKED.contains(&key) || is_url && ASKED_WITHIN.contains(&around) => Means::Ask,
            _ if STORED.contains(&key) || is_url && STORED.contains(&around) => Means::Store,
            "s3uri" if around.contains("output") => Means::Store,
            // What somebody found elsewhere, as he tells it.
            "source" => return None,
            _ if FETCHED.contains(&key) || is_url && FETCHED.contains(&around) => Means::Fetch,
            _ => return None,
        })
    }

    /// Whether an object is what somebody's own tool is called with or answers, or is only kept.
    fn is_data(&self, key: &str, around: &str) -> bool {
        match key {
            "input" => matches!(around, "content" | "tooluse"),
            "args" => around == "functioncall",
            "response" => around == "functionresponse",
            "arguments" => true,
            "json" => matches!(around, "content" | "toolresult"),
            "metadata" => self.levels.len() == 1 || self.is_a2a,
            "data" => self.is_a2a,
            _ => false,
        }
    }

    fn within(&self, key: &str) -> bool {
        self.levels.iter().any(|level| level.key == key)
    }

    /// A tool contacts whom it likes.
    fn is_online(&mut self, at: String, name: &str) {
        let tool = self.levels.last_mut().and_then(|level| level.tool.as_mut());
        if let Some(tool) = tool.filter(|tool| tool.online.is_none()) {
            (tool.online, tool.at) = (Some(short(name)), at);
        }
    }

    /// A value begins. How it is called in a path.
    fn step(&mut self) -> String {
        match self.levels.last_mut() {
            None => String::new(),
            Some(level) if level.is_object => self.key.0.clone(),
            Some(level) => {
                level.elements += 1;
                format!("[{}]", level.elements - 1)
            }
        }
    }

    /// Where the value is that was read last, or whose key was.
    fn at(&self) -> String {
        let mut at = String::new();
        let own = match self.levels.last() {
            Some(level) if !level.is_object => format!("[{}]", level.elements.saturating_sub(1)),
            Some(_) | None => self.key.0.clone(),
        };
        for name in self.levels.iter().map(|level| level.name.as_str()).chain([own.as_str()]) {
            if !at.is_empty() && !name.is_empty() && !name.starts_with('[') {
                at.push('.');
            }
            at.push_str(name);
        }
        cut(&at, MOST_AT)
    }

    fn add(&mut self, whom: Whom) {
        let at = self.at();
        self.push(Contact { at, whom, own: Own::Unjudged });
    }

    fn push(&mut self, contact: Contact) {
        let is_known = self.found.iter().any(|known| known.whom == contact.whom);
        if is_known || self.found.len() > MOST {
            return;
        }
        if self.found.len() == MOST {
            let whom = Whom::Unread(Cow::Borrowed("it names more than 128 hosts"));
            self.found.push(Contact { whom, ..contact });
            return;
        }
        self.found.push(contact);
    }
}

/// Where a text leads. `own`: the provider's host.
fn whom(text: &str, means: Means, own: &str) -> Option<Whom> {
    let (name, port, target) = match Link::of(text) {
        Link::Nowhere => return None,
        Link::Unread(why) => return Some(Whom::Unread(Cow::Borrowed(why))),
        Link::To { host, .. } if host == own => return None,
        Link::To { host, port, target } => (host, port, target),
    };
    let does = |method| {
        let head = Head { method, host: &name, port, target: &target, headers: &[] };
        let mut reader = Reader::new(&head);
        reader.end();
        match reader.progress() {
            Progress::Known(operation) => Box::new(operation.clone()),
            Progress::NeedMore | Progress::Contradicted(..) => {
                Box::new(Operation::unknown("nothing is known of it"))
            }
        }
    };
    let asks = match means {
        Means::Fetch => Asks::Fetch(does("GET")),
        Means::Store => Asks::Store(does("PUT")),
        _ => Asks::Anything,
    };
    Some(Whom::Host { name, port, asks })
}

/// Whether a type is of this kind, whatever its version: `bash_20250124`, `computer-preview`.
fn is_kind(text: &str, kind: &str) -> bool {
    text.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '-']))
}

fn short(text: &str) -> String {
    cut(text, MOST_NAME)
}

fn cut(text: &str, most: usize) -> String {
    let end =
        text.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= most).last();
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
