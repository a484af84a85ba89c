//! What a body tells of an operation that its head leaves open.
//!
//! Enters: what is wanted, then bytes, split anywhere. Leaves: fields of the operation. Guarantees: once it is known
//! nothing of it changes but whether its answer streams. Does not: hold the body.

use super::form::Form;
use super::json::{Found, Json, Value};
use super::request::{Field, Says, Wanted};
use super::rpc::Messages;
use policy::{Operation, Verb};

/// Fields of forms, by number.
const FORM: [&str; 2] = ["model", "stream"];

/// Reads one body.
#[derive(Debug)]
pub(super) struct Body {
    kind: Kind,
    is_known: bool,
}

#[derive(Debug)]
enum Kind {
    Json { json: Json, fields: &'static [Field], told: Vec<Says> },
    Form(Form),
    Rpc { json: Json, messages: Messages },
}

impl Body {
    /// `None`: nothing is wanted.
    pub(super) fn new(wanted: Wanted) -> Option<Self> {
        let kind = match wanted {
            Wanted::Nothing => return None,
            Wanted::Json(fields) => {
                let json = Json::new(fields.iter().map(|field| field.path).collect());
                Kind::Json { json, fields, told: Vec::new() }
            }
            Wanted::Form(boundary) => Kind::Form(Form::new(boundary, &FORM)),
            Wanted::Rpc(rpc) => Kind::Rpc { json: Messages::json(&rpc), messages: Messages::new(rpc) },
        };
        let is_known = matches!(&kind, Kind::Json { fields, told, .. } if is_told(fields, told));
        Some(Self { kind, is_known })
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
            Kind::Form(form) => form.push(bytes, |at, value| {
                if at == 0 {
                    operation.model = Some(value);
                    *is_known = true;
                } else {
                    operation.stream = value == "true";
                }
                Ok(())
            }),
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
            Kind::Form(form) => form.end(),
            Kind::Rpc { json, messages } => {
                json.end()?;
                messages.end(operation)
            }
        }
    }
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
        (Says::Model | Says::Resource | Says::Direction, Value::Bool(_) | Value::Other) => {
            return Err("a field that decides is no text");
        }
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
