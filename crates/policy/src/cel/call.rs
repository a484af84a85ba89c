//! Functions of expressions.
//!
//! Enters: values. Leaves: a value, or why there is none. Guarantees: what it looks at is paid for before.

use super::check::Type;
use super::evaluate::{Budget, Wrong};
use super::value::Value;
use std::sync::Arc;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    ToBool,
    ToInt,
    ToUint,
    ToDouble,
    ToString,
    ToBytes,
    Dyn,
}

/// Whether a function is called on its first operand: `a.f(b)`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Method,
    Either,
}

/// Name, form, operands, and what it takes and makes.
struct Entry(&'static str, Form, Function, &'static [Type], Type);

const ENTRIES: [Entry; 13] = [
    Entry("size", Form::Either, Function::Size, &[Type::Dyn], Type::Int),
    Entry("contains", Form::Method, Function::Contains, &[Type::String, Type::String], Type::Bool),
    Entry("startsWith", Form::Method, Function::StartsWith, &[Type::String, Type::String], Type::Bool),
    Entry("endsWith", Form::Method, Function::EndsWith, &[Type::String, Type::String], Type::Bool),
    Entry("lowerAscii", Form::Method, Function::LowerAscii, &[Type::String], Type::String),
    Entry("upperAscii", Form::Method, Function::UpperAscii, &[Type::String], Type::String),
    Entry("bool", Form::Plain, Function::ToBool, &[Type::Dyn], Type::Bool),
    Entry("int", Form::Plain, Function::ToInt, &[Type::Dyn], Type::Int),
    Entry("uint", Form::Plain, Function::ToUint, &[Type::Dyn], Type::Uint),
    Entry("double", Form::Plain, Function::ToDouble, &[Type::Dyn], Type::Double),
    Entry("string", Form::Plain, Function::ToString, &[Type::Dyn], Type::String),
    Entry("bytes", Form::Plain, Function::ToBytes, &[Type::Dyn], Type::Bytes),
    Entry("dyn", Form::Plain, Function::Dyn, &[Type::Dyn], Type::Dyn),
];

impl Function {
    /// The function of a name that is called so with so many operands; the error is a clause for a person.
    pub(super) fn named(name: &str, is_method: bool, operands: usize) -> Result<Self, String> {
        let Some(Entry(_, form, function, takes, _)) = ENTRIES.iter().find(|entry| entry.0 == name) else {
            let known: Vec<_> = ENTRIES.iter().map(|entry| entry.0).collect();
            return Err(format!(
                "there is no function `{name}`; there are matches, has, {}",
                known.join(", ")
            ));
        };
        if *form != Form::Either && (*form == Form::Method) != is_method {
            let how = if is_method { format!("{name}(…)") } else { format!("text.{name}(…)") };
            return Err(format!("`{name}` is called as {how}"));
        }
        if operands != takes.len() {
            return Err(format!("`{name}` has {} operands, and {operands} are written", takes.len()));
        }
        Ok(*function)
    }

    fn entry(self) -> Option<&'static Entry> {
        ENTRIES.iter().find(|entry| entry.2 == self)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.entry().map_or("", |entry| entry.0)
    }

    /// What it takes.
    pub(super) fn takes(self) -> &'static [Type] {
        self.entry().map_or(&[], |entry| entry.3)
    }

    /// What it makes.
    pub(super) fn makes(self) -> Type {
        self.entry().map_or(Type::Dyn, |entry| entry.4)
    }

    /// Calls it.
    pub(super) fn call(self, operands: &[Value], budget: &mut Budget) -> Result<Value, Wrong> {
        operands.iter().try_for_each(|operand| budget.spend_on(operand))?;
        let wrong = || Wrong::Operands(self.name(), operands.first().map_or(Type::Null, Value::type_of));
        match operands {
            [Value::String(text), Value::String(part)] => match self {
                Self::Contains => Some(Value::Bool(text.contains(&**part))),
                Self::StartsWith => Some(Value::Bool(text.starts_with(&**part))),
                Self::EndsWith => Some(Value::Bool(text.ends_with(&**part))),
                Self::Size
                | Self::LowerAscii
                | Self::UpperAscii
                | Self::ToBool
                | Self::ToInt
                | Self::ToUint
                | Self::ToDouble
                | Self::ToString
                | Self::ToBytes
                | Self::Dyn => None,
            },
            [one] => self.of_one(one)?,
            _ => None,
        }
        .ok_or_else(wrong)
    }

    fn of_one(self, one: &Value) -> Result<Option<Value>, Wrong> {
        let text = |text: String| Value::String(text.into());
        Ok(match (self, one) {
            (Self::Dyn, one) => Some(one.clone()),
            (Self::Size, one) => size(one).and_then(|size| i64::try_from(size).ok()).map(Value::Int),
            (Self::LowerAscii, Value::String(it)) => Some(text(it.to_ascii_lowercase())),
            (Self::UpperAscii, Value::String(it)) => Some(text(it.to_ascii_uppercase())),
            (Self::ToBool, Value::Bool(_)) => Some(one.clone()),
            (Self::ToBool, Value::String(it)) => Some(Value::Bool(match &**it {
                "true" | "True" | "TRUE" | "t" | "1" => true,
                "false" | "False" | "FALSE" | "f" | "0" => false,
                _ => return Err(Wrong::Conversion("bool")),
            })),
            (Self::ToInt, one) => to_int(one)?.map(Value::Int),
            (Self::ToUint, one) => to_uint(one)?.map(Value::Uint),
            (Self::ToDouble, one) => to_double(one)?.map(Value::Double),
            (Self::ToString, one) => to_string(one)?.map(Value::String),
            (Self::ToBytes, Value::Bytes(_)) => Some(one.clone()),
            (Self::ToBytes, Value::String(it)) => Some(Value::Bytes(it.as_bytes().into())),
            (Self::LowerAscii | Self::UpperAscii | Self::ToBool | Self::ToBytes, _)
            | (Self::Contains | Self::StartsWith | Self::EndsWith, _) => None,
        })
    }
}

fn size(of: &Value) -> Option<usize> {
    match of {
        Value::String(text) => Some(text.chars().count()),
        Value::Bytes(bytes) => Some(bytes.len()),
        Value::List(list) => Some(list.len()),
        Value::Map(map) => Some(map.len()),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) => None,
    }
}

fn to_int(of: &Value) -> Result<Option<i64>, Wrong> {
    const WRONG: Wrong = Wrong::Conversion("int");
    match of {
        Value::Int(number) => Ok(Some(*number)),
        Value::Uint(number) => i64::try_from(*number).map(Some).map_err(|_| WRONG),
        Value::Double(number) => {
            whole_part(*number).and_then(|it| i64::try_from(it).ok()).map(Some).ok_or(WRONG)
        }
        Value::String(text) => text.parse().map(Some).map_err(|_| WRONG),
        Value::Null | Value::Bool(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Ok(None),
    }
}

fn to_uint(of: &Value) -> Result<Option<u64>, Wrong> {
    const WRONG: Wrong = Wrong::Conversion("uint");
    match of {
        Value::Uint(number) => Ok(Some(*number)),
        Value::Int(number) => u64::try_from(*number).map(Some).map_err(|_| WRONG),
        Value::Double(number) => {
            whole_part(*number).and_then(|it| u64::try_from(it).ok()).map(Some).ok_or(WRONG)
        }
        Value::String(text) => text.parse().map(Some).map_err(|_| WRONG),
        Value::Null | Value::Bool(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Ok(None),
    }
}

#[expect(clippy::cast_precision_loss, reason = "as CEL converts")]
fn to_double(of: &Value) -> Result<Option<f64>, Wrong> {
    match of {
        Value::Double(number) => Ok(Some(*number)),
        Value::Int(number) => Ok(Some(*number as f64)),
        Value::Uint(number) => Ok(Some(*number as f64)),
        Value::String(text) => text.parse().map(Some).map_err(|_| Wrong::Conversion("double")),
        Value::Null | Value::Bool(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => Ok(None),
    }
}

fn to_string(of: &Value) -> Result<Option<Arc<str>>, Wrong> {
    match of {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(is) => Ok(Some(is.to_string().into())),
        Value::Int(number) => Ok(Some(number.to_string().into())),
        Value::Uint(number) => Ok(Some(number.to_string().into())),
        Value::Double(number) => Ok(Some(number.to_string().into())),
        Value::Bytes(bytes) => {
            std::str::from_utf8(bytes).map(|text| Some(text.into())).map_err(|_| Wrong::Conversion("string"))
        }
        Value::Null | Value::List(_) | Value::Map(_) => Ok(None),
    }
}

/// Without the fraction, where it fits into 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "it is within the bounds")]
fn whole_part(number: f64) -> Option<i128> {
    (number.abs() < 1e20).then_some(number.trunc() as i128)
}
