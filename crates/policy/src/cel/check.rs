//! Types of an expression, as far as they are known before it has values.
//!
//! Enters: a tree. Leaves: its type. Guarantees: an operation that cannot have a value, whatever the variables are, is an
//! error. Does not: know what is in JSON; that is [`Type::Dyn`].

use super::lex::Flaw;
use super::parse::{Binary, Each, Expr, Kind};
use std::fmt;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It is not known before.
    Dyn,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// `list`
    List,
    /// `map`
    Map,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dyn => "anything",
            Self::Null => "null",
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Uint => "a uint",
            Self::Double => "a double",
            Self::String => "a string",
            Self::Bytes => "bytes",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether a value of one can be one of the other.
    fn fits(self, other: Self) -> bool {
        self == other || self == Self::Dyn || other == Self::Dyn
    }

    fn can_be(self, any: &[Self]) -> bool {
        self == Self::Dyn || any.contains(&self)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type of an expression whose variables have these.
pub(super) fn type_of(tree: &Expr, variables: &[Type]) -> Result<Type, Flaw> {
    Checker { types: variables.to_vec() }.check(tree)
}

struct Checker {
    types: Vec<Type>,
}

impl Checker {
    fn check(&mut self, expr: &Expr) -> Result<Type, Flaw> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.type_of()),
            Kind::Variable(at) => Ok(self.types.get(*at).copied().unwrap_or(Type::Dyn)),
            Kind::Select(of, field) => {
                self.must_be(of, &[Type::Map], &format!("`.{field}` needs a map"))?;
                Ok(Type::Dyn)
            }
            Kind::Has(of, field) => {
                self.must_be(of, &[Type::Map], &format!("`has(….{field})` needs a map"))?;
                Ok(Type::Bool)
            }
            Kind::Index(of, index) => {
                self.must_be(of, &[Type::List, Type::Map], "`[…]` needs a list or a map")?;
                self.check(index)?;
                Ok(Type::Dyn)
            }
            Kind::List(elements) => {
                elements.iter().try_for_each(|element| self.check(element).map(drop))?;
                Ok(Type::List)
            }
            Kind::Map(entries) => {
                let keys = [Type::Bool, Type::Int, Type::Uint, Type::String];
                for (key, value) in entries {
                    self.must_be(key, &keys, "a key is a bool, an int, a uint or a string")?;
                    self.check(value)?;
                }
                Ok(Type::Map)
            }
            Kind::Not(operand) => self.must_be(operand, &[Type::Bool], "`!` needs a bool"),
            Kind::Negate(operand) => {
                self.must_be(operand, &[Type::Int, Type::Double], "`-` needs an int or a double")
            }
            Kind::Logic { operands, .. } => {
                for operand in operands {
                    self.must_be(operand, &[Type::Bool], "`&&` and `||` need bools")?;
                }
                Ok(Type::Bool)
            }
            Kind::Binary(operator, left, right) => self.binary(expr.at, *operator, left, right),
            Kind::Choice(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                self.must_be(condition, &[Type::Bool], "`?` needs a bool")?;
                let (then, otherwise) = (self.check(then)?, self.check(otherwise)?);
                Ok(if then == otherwise { then } else { Type::Dyn })
            }
            Kind::Call(function, operands) => {
                for (operand, takes) in operands.iter().zip(function.takes()) {
                    let needs = format!("`{}` needs {takes}", function.name());
                    match takes {
                        Type::Dyn => self.check(operand)?,
                        takes => self.must_be(operand, &[*takes], &needs)?,
                    };
                }
                Ok(function.makes())
            }
            Kind::Matches(text, _) => {
                self.must_be(text, &[Type::String], "`matches` needs a string")?;
                Ok(Type::Bool)
            }
            Kind::Each(each, of, body) => {
                self.must_be(of, &[Type::List, Type::Map], "it needs a list or a map")?;
                self.types.push(Type::Dyn);
                if let Some(filter) = &body.filter {
                    self.must_be(filter, &[Type::Bool], "which elements are meant must be a bool")?;
                }
                let is_map = *each == Each::Map;
                let result = if is_map {
                    self.check(&body.result)
                } else {
                    self.must_be(&body.result, &[Type::Bool], "what is asked of each element must be a bool")
                };
                self.types.pop();
                result?;
                Ok(if is_map || *each == Each::Filter { Type::List } else { Type::Bool })
            }
        }
    }

    fn must_be(&mut self, expr: &Expr, any: &[Type], needs: &str) -> Result<Type, Flaw> {
        let found = self.check(expr)?;
        if found.can_be(any) { Ok(found) } else { Err((expr.at, format!("{needs}, and this is {found}"))) }
    }

    fn binary(&mut self, at: usize, operator: Binary, left: &Expr, right: &Expr) -> Result<Type, Flaw> {
        let (left, right) = (self.check(left)?, self.check(right)?);
        let numbers = [Type::Int, Type::Uint, Type::Double];
        let is_alike = left.fits(right) || left.is_number() && right.is_number();
        let (fits, makes) = match operator {
            Binary::Equal | Binary::Unequal => {
                (is_alike || left == Type::Null || right == Type::Null, Type::Bool)
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                let ordered = [Type::Bool, Type::Int, Type::Uint, Type::Double, Type::String, Type::Bytes];
                (is_alike && left.can_be(&ordered) && right.can_be(&ordered), Type::Bool)
            }
            Binary::In => (right.can_be(&[Type::List, Type::Map]), Type::Bool),
            Binary::Add => {
                let added = [Type::Int, Type::Uint, Type::Double, Type::String, Type::Bytes, Type::List];
                (left.fits(right) && left.can_be(&added) && right.can_be(&added), either(left, right))
            }
            Binary::Subtract | Binary::Multiply | Binary::Divide => {
                (left.fits(right) && left.can_be(&numbers) && right.can_be(&numbers), either(left, right))
            }
            Binary::Remainder => {
                let whole = [Type::Int, Type::Uint];
                (left.fits(right) && left.can_be(&whole) && right.can_be(&whole), either(left, right))
            }
        };
        if fits {
            return Ok(makes);
        }
        Err((at, format!("`{}` is not between {left} and {right}", operator.sign())))
    }
}

/// The one that is known.
fn either(left: Type, right: Type) -> Type {
    if left == Type::Dyn { right } else { left }
}
