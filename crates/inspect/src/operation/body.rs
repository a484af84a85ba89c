//! What a body tells of an operation that its head leaves open.
//!
//! Enters: what is wanted, then bytes, split anywhere. Leaves: fields of the operation. Guarantees: once it is known
//! nothing of it changes but whether its answer streams. Does not: hold the body.

use super::contacts::{self, Watch};
use super::copies;
use super::form::Form;
use super::graphql;
use super::json::{Found, Json, Value};
use super::oci;
use super::request::{Field, Says, Wanted};
use super::rpc::Messages;
use policy::{Contact, Operation, Verb};

/// Bytes of a form that asks for a token.
const MAX_SCOPE: usize = 16 * 1024;
/// Bytes of a document of GraphQL.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Fields of forms, by number. By `url` some (Groq) fetch what others have sent to them.
const FORM: [&str; 3] = ["model", "stream", "url"];

/// Reads one body.
#[derive(Debug)]
pub(super) struct Body {
    kind: Kind,
    is_known: bool,
}

#[derive(Debug)]
enum Kind {
    Json {
        json: Json,
        fields: &'static [Field],
        told: Vec<Says>,
    },
    /// And whom it has the provider contact, where somebody wants to know.
    Form(Form, Option<Vec<Contact>>),
    Rpc {
        json: Json,
        messages: Messages,
    },
    /// What of a form that tells what a token is for was read.
    Scope(Vec<u8>),
    Copies(copies::Copies),
    /// It tells nothing but whom it has the provider contact; until it cannot be read.
    Watched {
        json: Json,
        is_flawed: bool,
    },
}

impl Body {
    /// `None`: nothing is wanted.
    pub(super) fn new(wanted: Wanted, watch: Option<Watch>) -> Option<Self> {
        let kind = match wanted {
            Wanted::Nothing => {
                Kind::Watched { json: Json::new(Vec::new()).watched(Some(watch?)), is_flawed: false }
            }
            Wanted::Json(fields) => {
                let documents = fields.iter().map(|field| field.says == Says::Document);
                let json = Json::new(fields.iter().map(|field| field.path).collect());
                let json = json.with_room(documents, MAX_DOCUMENT).watched(watch);
                Kind::Json { json, fields, told: Vec::new() }
            }
            Wanted::Form(boundary) => Kind::Form(Form::new(boundary, &FORM), watch.map(|_| Vec::new())),
            Wanted::Scope => Kind::Scope(Vec::new()),
            Wanted::Copies => Kind::Copies(copies::Copies::default()),
            Wanted::Rpc(rpc) => {
                let json = Messages::json(&rpc).watched(watch);
                Kind::Rpc { json, messages: Messages::new(rpc) }
            }
        };
        let is_known = match &kind {
            Kind::Json { fields, told, .. } => is_told(fields, told),
            Kind::Watched { .. } => true,
            Kind::Form(..) | Kind::Rpc { .. } | Kind::Scope(_) | Kind::Copies(_) => false,
        };
        Some(Self { kind, is_known })
    }

    /// Whether what is still to come may have the provider contact somebody. Of messages that may be of another protocol it
    /// is asked again once that is known.
    pub(super) fn watches(&mut self, operation: &Operation) -> bool {
        match &mut self.kind {
            Kind::Json { json, .. } | Kind::Watched { json, .. } => json.watch().is_some(),
            Kind::Rpc { json, .. } => json.watch().is_some() && is_a2a(operation),
            Kind::Form(..) | Kind::Scope(_) | Kind::Copies(_) => false,
        }
    }

    /// Whom it has the provider contact, as far as it was read.
    pub(super) fn contacts(&mut self, operation: &Operation) -> &[Contact] {
        match &mut self.kind {
            Kind::Json { json, .. } | Kind::Watched { json, .. } => {
                json.watch().map_or(&[], |watch| watch.found())
            }
            Kind::Rpc { json, .. } if is_a2a(operation) => json.watch().map_or(&[], |watch| watch.found()),
            Kind::Rpc { .. } | Kind::Scope(_) | Kind::Copies(_) => &[],
            Kind::Form(_, found) => found.as_deref().unwrap_or_default(),
        }
    }

    /// Whether all that may be asked of the operation was seen.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Takes the next bytes. An error is final.
    pub(super) fn push(&mut self, bytes: &[u8], operation: &mut Operation) -> Result<(), &'static str> {
        let is_known = &mut self.is_known;
        match &mut self.kind {
            Kind::Json { json, fields, told } => json.push(bytes, |found| {
                let Found::Value(at, value) = found else { return Ok(()) };
                let Some(field) = fields.get(at) else { return Ok(()) };
                if tell(field.says, value, operation)? {
                    told.push(field.says);
                }
                *is_known |= is_told(fields, told);
                Ok(())
            }),
            Kind::Form(form, contacts) => form.push(bytes, |at, value| {
                match at {
                    0 => {
                        operation.model = Some(value);
                        *is_known = true;
                    }
                    1 => operation.stream = value == "true",
                    // What it does is known already, and was perhaps judged.
                    _ if *is_known && contacts.is_some() => {
                        return Err("the form names a URL behind its model");
                    }
                    _ => contacts.iter_mut().for_each(|all| all.extend(contacts::of_form("url", &value))),
                }
                Ok(())
            }),
            Kind::Scope(form) if form.len() + bytes.len() > MAX_SCOPE => {
                Err("the form that asks for a token has more than 16 KiB")
            }
            Kind::Scope(form) => {
                form.extend_from_slice(bytes);
                Ok(())
            }
            Kind::Copies(copies) => copies.push(bytes, operation),
            Kind::Watched { is_flawed: true, .. } => Ok(()),
            Kind::Watched { json, is_flawed } => {
                if let Err(why) = json.push(bytes, |_| Ok(())) {
                    flaw(json, why);
                    *is_flawed = true;
                }
                Ok(())
            }
            Kind::Rpc { json, messages } => json.push(bytes, |found| {
                *is_known |= messages.take(found, operation)?;
                Ok(())
            }),
        }
    }

    /// Nothing follows. What was not told by now is not told.
    pub(super) fn end(&mut self, operation: &mut Operation) -> Result<(), &'static str> {
        match &mut self.kind {
            Kind::Json { json, .. } => {
                json.end()?;
                if operation.verb == Verb::Unknown {
                    Err("the body does not say what it does")
                } else {
                    Ok(())
                }
            }
            Kind::Form(form, _) => form.end(),
            Kind::Scope(form) => {
                if let Some(good) = oci::of_form(form)? {
                    (operation.intent, operation.resource) = (Some(good.intent), Some(good.name));
                    operation.sources = good.also;
                }
                Ok(())
            }
            Kind::Copies(copies) => copies.end(operation),
            Kind::Watched { json, is_flawed } => {
                let is_read = *is_flawed || !json.has_begun() || json.end().is_ok();
                if !is_read {
                    flaw(json, "the body ends within its JSON");
                }
                Ok(())
            }
            Kind::Rpc { json, messages } => {
                json.end()?;
                messages.end(operation)
            }
        }
    }
}

/// A body that nobody can read may say anything to the provider.
fn flaw(json: &mut Json, why: &'static str) {
    json.watch().into_iter().for_each(|watch| watch.flaw(why));
}

fn is_a2a(operation: &Operation) -> bool {
    operation.provider.as_deref() == Some(super::a2a::PROVIDER)
}

fn is_told(fields: &[Field], told: &[Says]) -> bool {
    fields.iter().all(|field| field.says == Says::Stream || told.contains(&field.says))
}

/// Takes a value over. False: it says nothing.
fn tell(says: Says, value: Value, operation: &mut Operation) -> Result<bool, &'static str> {
    match (says, value) {
        (_, Value::Null) => return Ok(false),
        (Says::Stream, Value::Bool(is_stream)) => operation.stream = is_stream,
        (Says::Stream, Value::Text(_) | Value::Other) => return Err("stream is neither true nor false"),
        (Says::Model, Value::Text(model)) => set(&mut operation.model, model)?,
        (Says::Resource, Value::Text(resource)) => set(&mut operation.resource, resource)?,
        (Says::Direction, Value::Text(direction)) => {
            operation.verb = match direction.as_str() {
                "download" => Verb::Download,
                "upload" => Verb::Upload,
                _ => return Err("it is neither a download nor an upload"),
            }
        }
        (Says::Document, Value::Text(document)) => operation.verb = graphql::verb(&document)?,
        (Says::Source, Value::Text(source)) => operation.sources.push(source),
        // Whichever of the two comes first.
        (Says::NameOf(kind), Value::Text(name)) => {
            let name = copies::name(name)?;
            operation.resource =
                Some(format!("{kind}{}{name}", operation.resource.take().unwrap_or_default()));
        }
        (Says::Kind, Value::Text(kind)) => {
            let name = operation.resource.take().unwrap_or_default();
            let name = format!("{}{name}", copies::beginning(&kind)?);
            operation.resource = Some(name).filter(|name| !name.is_empty());
        }
        (
            Says::Model
            | Says::Resource
            | Says::Direction
            | Says::Document
            | Says::Source
            | Says::NameOf(_)
            | Says::Kind,
            Value::Bool(_) | Value::Other,
        ) => return Err("a field that decides is no text"),
    }
    Ok(true)
}

fn set(slot: &mut Option<String>, value: String) -> Result<(), &'static str> {
    if slot.as_ref().is_some_and(|before| *before != value) {
        return Err("the body names two different things");
    }
    *slot = Some(value);
    Ok(())
}
