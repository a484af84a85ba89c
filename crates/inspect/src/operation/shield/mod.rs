//! Which part of an inference server a request reaches: asking its model, asking about it, running it, changing its weights.
//!
//! Enters: the kind of server, a method, a path without its query. Leaves: a [`Class`]. Guarantees: only what a table lists
//! for asking is [`Class::Infer`]; a path that two servers could read differently is [`Class::Unknown`]; where lists meet,
//! the graver class holds. Does not: read queries, headers or bodies. A path of MCP or A2A carries many methods: what a
//! message does is for [`super::Reader`] to say, and which class that has of A2A for [`class_of_method`].

mod tables;

use tables::Surface;

/// Bytes of a path. No listed one is nearly as long, whatever its model is called.
pub const MAX_PATH: usize = 1024;

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Text Generation Inference of Hugging Face.
    Tgi,
    /// Triton of NVIDIA, by HTTP or gRPC.
    Triton,
    /// A model server of KServe, either protocol, by HTTP or gRPC.
    Kserve,
    /// Ollama.
    Ollama,
    /// `llama-server` of llama.cpp.
    LlamaCpp,
    /// TorchServe, its inference and its management.
    TorchServe,
    /// Ray Serve and Ray's dashboard.
    Ray,
    /// Anything that speaks as OpenAI does.
    Openai,
    /// A server of the Model Context Protocol.
    Mcp,
    /// An agent that speaks Agent2Agent.
    A2a,
}

/// What a request reaches, gravest last but for what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Asks the model.
    Infer,
    /// Asks about the model or the server: which models, whether healthy, how busy.
    Introspect,
    /// Runs the server, or shows what belongs to whoever runs it: its configuration, what others asked.
    Admin,
    /// Puts weights in, takes them out or hands them out.
    MutateWeights,
    /// Nothing of the above that is known.
    Unknown,
}

impl Server {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Openai,
        Self::Ollama,
        Self::Mcp,
        Self::A2a,
        Self::Kserve,
        Self::Triton,
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::LlamaCpp,
        Self::TorchServe,
        Self::Ray,
    ];

    /// As users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
            Self::Triton => "triton",
            Self::Kserve => "kserve",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llamacpp",
            Self::TorchServe => "torchserve",
            Self::Ray => "ray",
            Self::Openai => "openai",
            Self::Mcp => "mcp",
            Self::A2a => "a2a",
        }
    }

    /// The kind that users write as `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name)
    }

    /// The first kind of [`Self::ALL`] that lists `path`, whatever for: a guess for a record. Who asks chooses the path, so
    /// where the kind is not told, decide by [`class_unless_told`].
    pub fn known_by(path: &str) -> Option<Self> {
        is_plain(path).then_some(())?;
        Self::ALL.into_iter().find(|server| {
            let surface = server.surface();
            let (asked, kept) =
                (surface.infer.iter().chain(surface.introspect), [surface.admin, surface.weights]);
            asked
                .flat_map(|list| *list)
                .any(|row| is_path(row.split_once(' ').map_or(*row, |(_, path)| path), path))
                || kept.iter().flat_map(|list| *list).any(|row| is_path(row, path))
        })
    }

    const fn surface(self) -> &'static Surface {
        match self {
            Self::Vllm => &tables::VLLM,
            Self::Sglang => &tables::SGLANG,
            Self::Tgi => &tables::TGI,
            Self::Triton => &tables::TRITON,
            Self::Kserve => &tables::KSERVE,
            Self::Ollama => &tables::OLLAMA,
            Self::LlamaCpp => &tables::LLAMACPP,
            Self::TorchServe => &tables::TORCHSERVE,
            Self::Ray => &tables::RAY,
            Self::Openai => &tables::OPENAI,
            Self::Mcp => &tables::MCP,
            Self::A2a => &tables::A2A,
        }
    }
}

impl Class {
    /// Every class, gravest last but for what is not known.
    pub const ALL: [Self; 5] =
        [Self::Infer, Self::Introspect, Self::Admin, Self::MutateWeights, Self::Unknown];

    /// As users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Introspect => "introspect",
            Self::Admin => "admin",
            Self::MutateWeights => "mutate-weights",
            Self::Unknown => "unknown",
        }
    }

    /// The class that users write as `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// What `method` of `path` reaches at `server`. The path is as it goes to the server, without its query, and neither decoded
/// nor tidied: what is not in plain form (percent signs, semicolons, backslashes, dot or empty segments) is unknown. Methods
/// and paths are compared letter by letter, capitals are others.
pub fn class(server: Server, method: &str, path: &str) -> Class {
    if !is_plain(path) {
        return Class::Unknown;
    }
    let surface = server.surface();
    let kept = |list: &[&str]| list.iter().any(|row| is_path(row, path));
    let asked = |lists: &[&[&str]]| lists.iter().flat_map(|list| *list).any(|row| is_row(row, method, path));
    if kept(surface.weights) {
        Class::MutateWeights
    } else if kept(surface.admin) {
        Class::Admin
    } else if asked(surface.introspect) {
        Class::Introspect
    } else if asked(surface.infer) {
        Class::Infer
    } else {
        Class::Unknown
    }
}

/// What `method` of `path` reaches at a server of whatever kind: the gravest that any kind knows it for.
pub fn class_unless_told(method: &str, path: &str) -> Class {
    let known = Server::ALL.into_iter().map(|server| class(server, method, path));
    known.filter(|class| *class != Class::Unknown).max().unwrap_or(Class::Unknown)
}

/// What a method of A2A reaches that comes in a message, whose path says nothing of it: what a path of its other bindings would.
/// `None`: what the path says.
pub fn class_of_method(method: &str) -> Option<Class> {
    match method {
        // Lists have everybody's tasks; what is pushed goes wherever the asker says.
        "ListTasks" | "tasks/list" => Some(Class::Admin),
        "GetExtendedAgentCard" | "agent/getAuthenticatedExtendedCard" => Some(Class::Introspect),
        _ if method.contains("PushNotificationConfig") || method.contains("pushNotificationConfig") => {
            Some(Class::Admin)
        }
        _ => None,
    }
}

/// Whether every server reads it the same.
fn is_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte))
    };
    path == "/" || (path.len() <= MAX_PATH && rest.split('/').all(is_segment))
}

/// Whether a row `METHOD /path` is of this request. Who may GET may ask for the HEAD of it.
fn is_row(row: &str, method: &str, path: &str) -> bool {
    let Some((listed, pattern)) = row.split_once(' ') else { return false };
    (listed == method || (listed == "GET" && method == "HEAD")) && is_path(pattern, path)
}

/// Whether a pattern is of this path: `*` in it is some segment or the rest of one, `**` at its end whatever follows.
fn is_path(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        if wanted == "**" {
            return true;
        }
        let Some(segment) = segments.next() else { return false };
        let is_wanted = match wanted.split_once('*') {
            Some((before, after)) => segment
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|rest| !rest.is_empty()),
            None => segment == wanted,
        };
        if !is_wanted {
            return false;
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests;
