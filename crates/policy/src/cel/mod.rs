//! Expressions of the Common Expression Language (CEL, <https://github.com/google/cel-spec>), which say when something
//! may be.
//!
//! Enters: the text of an expression with the variables that it may use; then their values. Leaves: whether it holds.
//! Guarantees: an expression that uses a name or a function that is not there, or that cannot be true or false, does not
//! compile; evaluation is bounded by a [`Budget`] and by [`MAX_DEPTH`], never panics, and what cannot be told is an error,
//! never a value. Does not: know time (`timestamp`, `duration`), messages of protocol buffers, or patterns for `matches`
//! that are not written out.
//!
//! `lex` makes words of a text, `parse` a tree of them, `check` holds it to types, `evaluate` and `call` say what it
//! means, over values of `value`.

mod call;
mod check;
mod evaluate;
mod lex;
mod parse;
mod pattern;
mod value;

pub use check::Type;
pub use evaluate::{Budget, Wrong};
pub use value::{Map, Value};

use check::type_of;
use evaluate::Evaluation;
use parse::{Expr, Parser};
use std::sync::Arc;

/// Bytes of an expression.
pub const MAX_TEXT: usize = 4096;
/// Operations within each other.
pub const MAX_DEPTH: usize = 48;

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at character {character}")]
pub struct CompileError {
    /// A clause for a person.
    pub message: String,
    /// Which character of the text, from 1.
    pub character: usize,
}

/// An expression that is true or false.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Arc<str>,
    tree: Arc<Expr>,
}

impl Expression {
    /// Reads an expression that may use these variables.
    ///
    /// # Errors
    /// It is none, or cannot be true or false.
    pub fn compile(text: &str, variables: &[(&str, Type)]) -> Result<Self, CompileError> {
        let error = |(at, message): (usize, String)| {
            let before = text.get(..at).unwrap_or(text);
            CompileError { message, character: before.chars().count() + 1 }
        };
        if text.len() > MAX_TEXT {
            return Err(error((0, format!("an expression has at most {MAX_TEXT} bytes"))));
        }
        let names = variables.iter().map(|(name, _)| *name).collect();
        let tree = Parser::new(text, names).and_then(Parser::whole).map_err(error)?;
        let types: Vec<Type> = variables.iter().map(|(_, kind)| *kind).collect();
        match type_of(&tree, &types).map_err(error)? {
            Type::Bool | Type::Dyn => {}
            other => return Err(error((0, format!("it is {other}, not true or false")))),
        }
        Ok(Self { text: text.into(), tree: Arc::new(tree) })
    }

    /// As it was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it holds where its variables, in the order of [`Self::compile`], have these values.
    ///
    /// # Errors
    /// That cannot be told.
    pub fn holds(&self, values: &[Value], budget: &mut Budget) -> Result<bool, Wrong> {
        match Evaluation::new(values, budget).value(&self.tree)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(Wrong::NotBool(other.type_of())),
        }
    }
}

#[cfg(test)]
mod tests;
