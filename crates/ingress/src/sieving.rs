//! What a policy wants to be looked for in answers, and one answer on its way through it.
//!
//! Guarantees: content codings are undone, and what goes on has none; what is in a form that is not looked at is told to whoever
//! asks, who stops it or has it recorded, as the policy says. Does not: wait, or know sockets.

use crate::definitions::Told;
use crate::reason::Reason;
use crate::record::{LeakFact, Record};
use admit::Source;
use crds::{LeakAction as Written, OverBudget, Responses};
use http::{HeaderMap, header, response};
use inspect::coding::Decoder;
use inspect::leak::{LeakOptions, LeakRules};
use inspect::refusal::Framing;
use inspect::sieve::{Edit, Finding, Form, Kind, Looking, Piece, Prompt, Sieve, Stop, Wanted};
use policy::{LeakAction, Operation};
use std::sync::Arc;

/// Most bytes that an answer may decode to.
const MAX_DECODED: u64 = 64 << 30;
/// Bytes of each text that are held back where a policy says nothing: the longest thing that is looked for is not longer.
const HOLD: usize = 4096;

/// What is looked for in the answers of a place.
#[derive(Debug)]
pub(crate) struct Answers {
    rules: Arc<LeakRules>,
    wanted: Wanted,
    hold: usize,
    is_lenient: bool,
    /// Whether lists of tools and ids are all that matters.
    is_of_lists: bool,
    /// Where it is written.
    pub(crate) source: Source,
}

impl Answers {
    /// As policies say: `responses`, what tools and cards must stay, and that ids are bound to who got them.
    ///
    /// # Errors
    /// It cannot be looked for.
    pub(crate) fn new(
        written: Option<(&Responses, &Source)>,
        tools: Option<&Source>,
        bound: Option<&Source>,
    ) -> Result<Option<Self>, String> {
        match (written, tools.or(bound)) {
            (Some((written, source)), _) => Self::of(written, source, tools.is_some()).map(Some),
            (None, Some(source)) => Ok(Some(Self {
                rules: Arc::new(LeakRules::new(&LeakOptions::default()).map_err(|flaw| format!("{flaw:?}"))?),
                wanted: Wanted::default(),
                hold: HOLD,
                // An id that was not read is worth nothing to its client, and nothing to anybody else.
                is_lenient: tools.is_none(),
                is_of_lists: true,
                source: source.clone(),
            })),
            (None, None) => Ok(None),
        }
    }

    fn of(written: &Responses, source: &Source, has_tools: bool) -> Result<Self, String> {
        let leaks = &written.leaks;
        let canaries = leaks.canaries.as_ref().map(|(values, _)| values.as_slice()).unwrap_or_default();
        let options = LeakOptions {
            secrets: leaks.secrets.is_some(),
            pii: leaks.personal.is_some(),
            canaries: canaries.iter().map(|canary| canary.as_bytes().to_vec()).collect(),
            ..LeakOptions::default()
        };
        let rules = LeakRules::new(&options)
            .map_err(|flaw| format!("its canaries cannot be looked for: {flaw:?}"))?;
        let wanted = Wanted {
            secrets: leaks.secrets.map(action),
            personal: leaks.personal.map(action),
            canaries: leaks.canaries.as_ref().map(|(_, written)| action(*written)),
            prompt: leaks.system_prompt.map(action),
        };
        let hold = written.hold_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(HOLD);
        // A list that is not read may have anything in it.
        let is_lenient = written.uninspected == OverBudget::Allow && !has_tools;
        Ok(Self {
            rules: Arc::new(rules),
            wanted,
            hold,
            is_lenient,
            is_of_lists: false,
            source: source.clone(),
        })
    }

    /// Whether it matters what the operator told the model.
    pub(crate) fn wants_prompt(&self) -> bool {
        self.wanted.prompt.is_some()
    }

    /// Whether what cannot be looked at may pass.
    pub(crate) fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    /// Whether an answer cannot have anything that matters, by what was asked, or by its kind: no client of MCP reads lists in it.
    pub(crate) fn passes(&self, headers: &HeaderMap, edited: &Edited) -> bool {
        if self.is_of_lists && edited.edit.is_none() {
            return true;
        }
        if edited.is_owned {
            return false;
        }
        let is_other = || form(headers).is_none_or(|form| form == Form::Text);
        self.is_of_lists && !says(headers, "json") && !says(headers, "event-stream") && is_other()
    }

    /// For one answer of this form.
    pub(crate) fn sieve(&self, edited: Edited, form: Form, joins: bool, most: usize) -> Sieve {
        let Edited { prompt, edit, is_owned, .. } = edited;
        let looking = Looking {
            rules: Arc::clone(&self.rules),
            wanted: self.wanted,
            prompt,
            hold: self.hold,
            is_lenient: self.is_lenient && !is_owned,
            joins,
            most,
        };
        let sieve = Sieve::new(looking, form);
        match edit {
            Some(edit) => sieve.editing(edit),
            None => sieve,
        }
    }
}

/// What is looked for in one answer besides.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    /// What it must not repeat.
    pub(crate) prompt: Prompt,
    /// What is taken out of its lists, and what is told of that.
    pub(crate) edit: Option<Edit>,
    /// Whether it is an agent's card that must be read.
    pub(crate) is_card: bool,
    /// Whether it has ids of stored things, and must be read for them.
    pub(crate) is_owned: bool,
    pub(crate) told: Told,
}

fn action(written: Written) -> LeakAction {
    match written {
        Written::Report => LeakAction::Report,
        Written::Block => LeakAction::Block,
        Written::Mask => LeakAction::Mask,
    }
}

/// Whether a card in this form is read: what clients take for one is JSON, or a message of JSON-RPC.
pub(crate) fn reads_card(headers: &HeaderMap) -> bool {
    matches!(form(headers), Some(Form::Json | Form::Events))
}

/// Whether what a model writes goes on from event to event: messages of MCP are whole.
pub(crate) fn joins(operation: &Operation) -> bool {
    operation.provider.as_deref() != Some("mcp")
}

/// What goes on, and whether more may.
pub(crate) type Sifted = (Vec<u8>, Result<(), Stop>);

/// One answer on its way.
#[derive(Debug)]
pub(crate) struct Sieving {
    decoder: Decoder,
    sieve: Sieve,
    form: Form,
    told: Told,
}

impl Sieving {
    /// Begins with the head of an answer of at least this length, from which what does not hold afterwards is taken.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub(crate) fn of(
        answers: &Answers,
        edited: Edited,
        operation: &Operation,
        head: &mut response::Parts,
        (most, length): (usize, u64),
    ) -> Result<Self, &'static str> {
        let form = form(&head.headers).ok_or("its answer is of a kind that is not looked at")?;
        if form == Form::Lines && edited.edit.is_some() {
            // Clients of MCP take it for one value, and it has lists and ids across its lines then.
            return Err("lines of JSON are no answer of a server of tools or an agent");
        }
        if form == Form::Json && length > most as u64 {
            return Err("its answer is larger than what is held");
        }
        let codings = head.headers.get_all(header::CONTENT_ENCODING).into_iter();
        let decoder = Decoder::new(codings.map(http::HeaderValue::as_bytes), MAX_DECODED)
            .map_err(|_| "its answer is in a content coding that is not read")?;
        for name in [
            "content-encoding",
            "content-length",
            "content-digest",
            "repr-digest",
            "digest",
            "content-md5",
            "etag",
        ] {
            head.headers.remove(name);
        }
        let told = edited.told.clone();
        Ok(Self { decoder, sieve: answers.sieve(edited, form, joins(operation), most), form, told })
    }

    /// Whether nothing goes on before all is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.form == Form::Json
    }

    /// How the answer can be ended early; `None`: by breaking it off.
    pub(crate) fn framing(&self) -> Option<Framing> {
        match self.form {
            Form::Events => Some(Framing::Sse),
            Form::Lines => Some(Framing::NdJson),
            Form::Json | Form::Text | Form::Messages => None,
        }
    }

    /// Whether something waits for what follows.
    pub(crate) fn is_waiting(&self) -> bool {
        self.sieve.is_waiting()
    }

    /// Takes bytes as they came. `plain` sees them decoded. Gives what goes on, and why nothing more does.
    pub(crate) fn push(&mut self, bytes: &[u8], plain: &mut dyn FnMut(&[u8])) -> Sifted {
        let (sieve, mut out, mut came) = (&mut self.sieve, Vec::new(), Ok(()));
        let decoded = self.decoder.push_to(bytes, &mut |piece| {
            plain(piece);
            if came.is_ok() {
                came = sieve.push(piece, &mut out);
            }
            Ok(())
        });
        let decoded = decoded.map_err(|_| Stop::Unread("its answer is not what its content coding says"));
        (joined(out), came.and(decoded))
    }

    /// Nothing came for a while.
    pub(crate) fn flush(&mut self) -> Sifted {
        let mut out = Vec::new();
        let came = self.sieve.flush(&mut out);
        (joined(out), came)
    }

    /// The answer is over.
    pub(crate) fn end(&mut self) -> Sifted {
        let mut out = Vec::new();
        let decoded = self.decoder.end();
        let decoded = decoded.map_err(|_| Stop::Unread("its answer ends before its content coding does"));
        let came = decoded.and_then(|()| self.sieve.end(&mut out));
        (joined(out), came)
    }

    /// Why all of it is something that nobody may see.
    pub(crate) fn stops(&self) -> Option<&'static str> {
        self.told.stops()
    }

    /// Writes down what was found.
    pub(crate) fn note(&self, record: &mut Record) {
        note(&self.sieve, &self.told, record);
    }
}

/// Writes down what was found in an answer.
pub(crate) fn note(sieve: &Sieve, told: &Told, record: &mut Record) {
    record.tools = told.so_far();
    record.leaks = sieve.findings().iter().map(fact).collect();
    if let (Some(why), None) = (sieve.unread(), &record.detail) {
        record.detail = Some(format!("not inspected: {why}"));
    }
}

fn fact(finding: &Finding) -> LeakFact {
    LeakFact {
        rule: finding.rule,
        class: match finding.kind {
            Kind::Secret => "secret",
            Kind::Personal => "personal",
            Kind::Canary => "canary",
            Kind::Prompt => "system-prompt",
        },
        certain: finding.is_certain,
        action: match finding.action {
            LeakAction::Report => "reported",
            LeakAction::Mask => "masked",
            LeakAction::Block => "blocked",
        },
        count: finding.count,
    }
}

/// Why an answer that was stopped was.
pub(crate) fn why(stop: Stop) -> (Reason, String) {
    match stop {
        Stop::Leak(rule) => (Reason::LeakBlocked, format!("{rule} in its answer")),
        Stop::Unread(why) => (Reason::Uninspected, why.to_owned()),
    }
}

fn joined(pieces: Vec<Piece>) -> Vec<u8> {
    pieces.into_iter().flat_map(|piece| piece.bytes).collect()
}

/// Whether the media type has this in it, wherever: there are clients that look for no more.
fn says(headers: &HeaderMap, word: &str) -> bool {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    fields.any(|field| String::from_utf8_lossy(field.as_bytes()).to_ascii_lowercase().contains(word))
}

/// How the body of an answer is made up, by its media type. `None`: it is of another kind, or clients take it for different ones.
fn form(headers: &HeaderMap) -> Option<Form> {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let field = fields.next().and_then(|value| value.to_str().ok()).filter(|_| fields.next().is_none())?;
    let kind = field.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match kind.as_str() {
        "text/event-stream" => Form::Events,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Form::Lines
        }
        "application/json" | "text/json" => Form::Json,
        other if other.ends_with("+json") => Form::Json,
        other if other.starts_with("text/") && !says(headers, "json") && !says(headers, "event-stream") => {
            Form::Text
        }
        _ => return None,
    })
}
