//! What an expression means where its variables have values.
//!
//! Enters: a tree, values, a budget. Leaves: a value, or why there is none. Guarantees: `&&`, `||`, `all` and `exists` mean
//! what CEL says also where one operand has no value; whatever is looked at or made costs a step, and there is no value
//! once the [`Budget`] is spent. What is wrong is told without anything of the values.

use super::check::Type;
use super::parse::{Binary, Body, Each, Expr, Kind};
use super::value::{Key, Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a text that one step is good for.
const BYTES_A_STEP: u64 = 16;

/// How many steps are left.
#[derive(Debug)]
pub struct Budget(u64);

impl Budget {
    /// So many steps: about one for each operation, each element of a list or a map that is looked at, and each 16 bytes of
    /// a text.
    pub fn new(steps: u64) -> Self {
        Self(steps)
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Wrong> {
        match self.0.checked_sub(steps) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Wrong::Cost)
            }
        }
    }

    /// For all bytes of a text; other values are not looked at as a whole.
    pub(super) fn spend_on(&mut self, value: &Value) -> Result<(), Wrong> {
        let length = match value {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::List(_)
            | Value::Map(_) => 0,
        };
        self.spend(1 + count(length) / BYTES_A_STEP)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It takes too many steps.
    #[error("it takes more steps than one request may")]
    Cost,
    /// A map has no such field.
    #[error("there is no field `{0}`")]
    NoField(Arc<str>),
    /// A field is there in another case, which some readers take for it.
    #[error("a field that is asked for is there in another case, which some readers take for it")]
    OtherCase,
    /// There is nothing at an index.
    #[error("there is nothing at an index that is asked for")]
    NoElement,
    /// An operator or a function that is not for such operands.
    #[error("`{0}` is not for {1}")]
    Operands(&'static str, Type),
    /// What should be true or false is not.
    #[error("it is {0} where true or false is needed")]
    NotBool(Type),
    /// A number does not fit.
    #[error("a number does not fit into 64 bits")]
    Overflow,
    /// Division by zero.
    #[error("it divides by zero")]
    DivideByZero,
    /// A value that is none of another type.
    #[error("a value cannot be made a {0}")]
    Conversion(&'static str),
    /// A map with a key twice, or with one that can be none.
    #[error("a map has a key twice, or one that can be none")]
    BadKey,
}

/// One evaluation.
pub(super) struct Evaluation<'b> {
    values: Vec<Value>,
    budget: &'b mut Budget,
}

impl<'b> Evaluation<'b> {
    pub(super) fn new(values: &[Value], budget: &'b mut Budget) -> Self {
        Self { values: values.to_vec(), budget }
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Result<Value, Wrong> {
        self.budget.spend(1)?;
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Variable(at) => self.values.get(*at).cloned().ok_or(Wrong::NoElement),
            Kind::Select(of, field) => {
                let found = self.field(of, field)?;
                found.ok_or_else(|| Wrong::NoField(field.clone()))
            }
            Kind::Has(of, field) => Ok(Value::Bool(self.field(of, field)?.is_some())),
            Kind::Index(of, index) => self.index(of, index),
            Kind::List(elements) => self.all(elements).map(|list| Value::List(list.into())),
            Kind::Map(entries) => self.map(entries),
            Kind::Not(operand) => Ok(Value::Bool(!self.bool(operand)?)),
            Kind::Negate(operand) => match self.value(operand)? {
                Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(Wrong::Overflow),
                Value::Double(number) => Ok(Value::Double(-number)),
                other => Err(Wrong::Operands("-", other.type_of())),
            },
            Kind::Logic { is_any, operands } => {
                self.any(*is_any, operands, |evaluation, operand| evaluation.bool(operand))
            }
            Kind::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.binary(*operator, &left, &right)
            }
            Kind::Choice(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let chosen = if self.bool(condition)? { then } else { otherwise };
                self.value(chosen)
            }
            Kind::Call(function, operands) => {
                let operands = self.all(operands)?;
                function.call(&operands, self.budget)
            }
            Kind::Matches(text, pattern) => match self.value(text)? {
                Value::String(text) => {
                    self.budget.spend((count(text.len()) + 1).saturating_mul(pattern.price()))?;
                    Ok(Value::Bool(pattern.fits(&text)))
                }
                other => Err(Wrong::Operands("matches", other.type_of())),
            },
            Kind::Each(each, of, body) => self.each(*each, of, body),
        }
    }

    fn bool(&mut self, expr: &Expr) -> Result<bool, Wrong> {
        match self.value(expr)? {
            Value::Bool(is) => Ok(is),
            other => Err(Wrong::NotBool(other.type_of())),
        }
    }

    fn all(&mut self, exprs: &[Expr]) -> Result<Vec<Value>, Wrong> {
        exprs.iter().map(|expr| self.value(expr)).collect()
    }

    /// The first operand that decides does, also where one before it has no value.
    fn any<T>(
        &mut self,
        decides: bool,
        operands: impl IntoIterator<Item = T>,
        mut ask: impl FnMut(&mut Self, T) -> Result<bool, Wrong>,
    ) -> Result<Value, Wrong> {
        let mut wrong = None;
        for operand in operands {
            match ask(self, operand) {
                Ok(is) if is == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(Wrong::Cost) => return Err(Wrong::Cost),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        wrong.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn field(&mut self, of: &Expr, field: &Arc<str>) -> Result<Option<Value>, Wrong> {
        match self.value(of)? {
            Value::Map(map) => self.lookup(&map, &Key::String(field.clone())),
            other => Err(Wrong::Operands(".", other.type_of())),
        }
    }

    fn lookup(&mut self, map: &Map, key: &Key) -> Result<Option<Value>, Wrong> {
        self.budget.spend(count(map.len()))?;
        match key {
            Key::String(text) if map.has_alike(text) => Err(Wrong::OtherCase),
            Key::String(_) | Key::Bool(_) | Key::Number(_) => Ok(map.0.get(key).cloned()),
        }
    }

    fn index(&mut self, of: &Expr, index: &Expr) -> Result<Value, Wrong> {
        let (of, index) = (self.value(of)?, self.value(index)?);
        self.budget.spend_on(&index)?;
        let key = index.key().ok_or(Wrong::Operands("[", index.type_of()))?;
        let found = match (&of, &key) {
            (Value::Map(map), key) => self.lookup(map, key)?,
            (Value::List(list), Key::Number(at)) => {
                usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned()
            }
            (other, _) => return Err(Wrong::Operands("[", other.type_of())),
        };
        found.ok_or(Wrong::NoElement)
    }

    fn map(&mut self, entries: &[(Expr, Expr)]) -> Result<Value, Wrong> {
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let key = self.value(key)?.key().ok_or(Wrong::BadKey)?;
            if map.insert(key, self.value(value)?).is_some() {
                return Err(Wrong::BadKey);
            }
        }
        Ok(Value::Map(Arc::new(Map(map))))
    }

    fn each(&mut self, each: Each, of: &Expr, body: &Body) -> Result<Value, Wrong> {
        let elements: Arc<[Value]> = match self.value(of)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.budget.spend(count(map.len()))?;
                map.0.keys().map(Key::value).collect()
            }
            other => return Err(Wrong::Operands("elements", other.type_of())),
        };
        let elements = elements.iter();
        match each {
            Each::All => self.any(false, elements, |it, element| it.asked(element, &body.result)),
            Each::Exists => self.any(true, elements, |it, element| it.asked(element, &body.result)),
            Each::ExistsOne => {
                let mut found = 0u64;
                for element in elements {
                    found += u64::from(self.asked(element, &body.result)?);
                }
                Ok(Value::Bool(found == 1))
            }
            Each::Filter => {
                let mut kept = Vec::new();
                for element in elements {
                    kept.extend(self.asked(element, &body.result)?.then(|| element.clone()));
                }
                Ok(Value::List(kept.into()))
            }
            Each::Map => {
                let mut made = Vec::new();
                for element in elements {
                    let is_meant = match &body.filter {
                        Some(filter) => self.asked(element, filter)?,
                        None => true,
                    };
                    if is_meant {
                        made.push(self.with(element, |it| it.value(&body.result))?);
                    }
                }
                Ok(Value::List(made.into()))
            }
        }
    }

    fn asked(&mut self, element: &Value, expr: &Expr) -> Result<bool, Wrong> {
        self.with(element, |evaluation| evaluation.bool(expr))
    }

    /// With one more variable.
    fn with<T>(
        &mut self,
        element: &Value,
        ask: impl FnOnce(&mut Self) -> Result<T, Wrong>,
    ) -> Result<T, Wrong> {
        self.values.push(element.clone());
        let answer = ask(self);
        self.values.pop();
        answer
    }

    fn binary(&mut self, operator: Binary, left: &Value, right: &Value) -> Result<Value, Wrong> {
        self.budget.spend_on(left)?;
        self.budget.spend_on(right)?;
        let ordered = |fits: fn(Ordering) -> bool| match left.order(right) {
            Some(order) => Ok(Value::Bool(order.is_some_and(fits))),
            None => Err(Wrong::Operands(operator.sign(), left.type_of())),
        };
        match operator {
            Binary::Equal => self.equal(left, right).map(Value::Bool),
            Binary::Unequal => self.equal(left, right).map(|is| Value::Bool(!is)),
            Binary::Less => ordered(Ordering::is_lt),
            Binary::LessOrEqual => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::GreaterOrEqual => ordered(Ordering::is_ge),
            Binary::In => self.is_in(left, right),
            Binary::Add => self.add(left, right),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
                calculate(operator, left, right)
            }
        }
    }

    fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Wrong> {
        self.budget.spend_on(left)?;
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::List(left), Value::List(right)) => {
                let mut is = left.len() == right.len();
                for (left, right) in left.iter().zip(right.iter()) {
                    is = is && self.equal(left, right)?;
                }
                Ok(is)
            }
            (Value::Map(left), Value::Map(right)) => {
                let mut is = left.len() == right.len();
                for ((key, left), (other, right)) in left.0.iter().zip(&right.0) {
                    is = is && key == other && self.equal(left, right)?;
                }
                Ok(is)
            }
            (left, right) => Ok(left.order(right) == Some(Some(Ordering::Equal))),
        }
    }

    fn is_in(&mut self, element: &Value, of: &Value) -> Result<Value, Wrong> {
        match of {
            Value::List(list) => {
                for one in list.iter() {
                    if self.equal(one, element)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Value::Map(map) => match element.key() {
                Some(key) => Ok(Value::Bool(self.lookup(map, &key)?.is_some())),
                None => Ok(Value::Bool(false)),
            },
            other => Err(Wrong::Operands("in", other.type_of())),
        }
    }

    fn add(&mut self, left: &Value, right: &Value) -> Result<Value, Wrong> {
        match (left, right) {
            (Value::String(left), Value::String(right)) => {
                Ok(Value::String([&**left, right].concat().into()))
            }
            (Value::Bytes(left), Value::Bytes(right)) => Ok(Value::Bytes([&**left, right].concat().into())),
            (Value::List(left), Value::List(right)) => {
                self.budget.spend(count(left.len()) + count(right.len()))?;
                Ok(Value::List(left.iter().chain(right.iter()).cloned().collect()))
            }
            (left, right) => calculate(Binary::Add, left, right),
        }
    }
}

/// Numbers of one type.
fn calculate(operator: Binary, left: &Value, right: &Value) -> Result<Value, Wrong> {
    let divides = matches!(operator, Binary::Divide | Binary::Remainder);
    match (left, right) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) if divides => {
            Err(Wrong::DivideByZero)
        }
        (Value::Int(left), Value::Int(right)) => {
            let (left, right) = (*left, *right);
            let calculated = match operator {
                Binary::Add => left.checked_add(right),
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide => left.checked_div(right),
                Binary::Remainder => left.checked_rem(right),
                _ => None,
            };
            calculated.map(Value::Int).ok_or(Wrong::Overflow)
        }
        (Value::Uint(left), Value::Uint(right)) => {
            let (left, right) = (*left, *right);
            let calculated = match operator {
                Binary::Add => left.checked_add(right),
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide => left.checked_div(right),
                Binary::Remainder => left.checked_rem(right),
                _ => None,
            };
            calculated.map(Value::Uint).ok_or(Wrong::Overflow)
        }
        (Value::Double(left), Value::Double(right)) => match operator {
            Binary::Add => Ok(Value::Double(left + right)),
            Binary::Subtract => Ok(Value::Double(left - right)),
            Binary::Multiply => Ok(Value::Double(left * right)),
            Binary::Divide => Ok(Value::Double(left / right)),
            _ => Err(Wrong::Operands(operator.sign(), Type::Double)),
        },
        (left, _) => Err(Wrong::Operands(operator.sign(), left.type_of())),
    }
}
