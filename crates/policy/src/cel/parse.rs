//! The tree of an expression.
//!
//! Enters: its words. Leaves: operations with their operands; names are places in the list of values. Guarantees: no deeper
//! than [`MAX_DEPTH`], however it is written. Does not: know types.

use super::MAX_DEPTH;
use super::call::Function;
use super::lex::{Flaw, RESERVED, Word, words};
use super::pattern::Pattern;
use super::value::Value;
use std::sync::Arc;

/// A name that is not there.
const UNKNOWN_NAME: &str = "is no variable here; there are";

/// An operation with the place where it is written, and how deep it is.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) kind: Kind,
}

/// What it does.
#[derive(Debug)]
pub(super) enum Kind {
    Literal(Value),
    /// The value at this place.
    Variable(usize),
    /// `a.b`
    Select(Box<Expr>, Arc<str>),
    /// `has(a.b)`
    Has(Box<Expr>, Arc<str>),
    /// `a[b]`
    Index(Box<Expr>, Box<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// Any of them, or all.
    Logic {
        is_any: bool,
        operands: Vec<Expr>,
    },
    /// Condition, and what is meant by it and without.
    Choice(Box<[Expr; 3]>),
    Call(Function, Vec<Expr>),
    Matches(Box<Expr>, Pattern),
    /// A macro over the elements of the first.
    Each(Each, Box<Expr>, Box<Body>),
}

/// What a macro does with every element.
#[derive(Debug)]
pub(super) struct Body {
    /// Which elements are meant; `None`: all.
    pub(super) filter: Option<Expr>,
    /// What becomes of an element.
    pub(super) result: Expr,
}

/// Macros over elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// With what it is written, and how strongly it binds.
    const SIGNS: [(&'static str, u8, Self); 12] = [
        ("==", 1, Self::Equal),
        ("!=", 1, Self::Unequal),
        ("<", 1, Self::Less),
        ("<=", 1, Self::LessOrEqual),
        (">", 1, Self::Greater),
        (">=", 1, Self::GreaterOrEqual),
        ("in", 1, Self::In),
        ("+", 2, Self::Add),
        ("-", 2, Self::Subtract),
        ("*", 3, Self::Multiply),
        ("/", 3, Self::Divide),
        ("%", 3, Self::Remainder),
    ];

    pub(super) fn sign(self) -> &'static str {
        Self::SIGNS.iter().find(|(_, _, known)| *known == self).map_or("", |(sign, _, _)| sign)
    }
}

/// Reads one expression.
pub(super) struct Parser<'v> {
    words: std::vec::IntoIter<(usize, Word)>,
    /// Variables, then those of macros around, the innermost last.
    names: Vec<Arc<str>>,
    variables: Vec<&'v str>,
    depth: usize,
}

impl<'v> Parser<'v> {
    pub(super) fn new(text: &str, variables: Vec<&'v str>) -> Result<Self, Flaw> {
        let names = variables.iter().map(|name| Arc::from(*name)).collect();
        Ok(Self { words: words(text)?.into_iter(), names, variables, depth: 0 })
    }

    /// The whole text.
    pub(super) fn whole(mut self) -> Result<Expr, Flaw> {
        let whole = self.expression()?;
        match self.peek() {
            Word::End => Ok(whole),
            Word::Literal(_) | Word::Smallest | Word::Name(_) | Word::Sign(_) => Err(self.unexpected()),
        }
    }

    fn peek(&self) -> &Word {
        self.words.as_slice().first().map_or(&Word::End, |(_, word)| word)
    }

    fn at(&self) -> usize {
        self.words.as_slice().first().map_or(0, |(at, _)| *at)
    }

    fn next(&mut self) -> Word {
        // The end stays where it is.
        if *self.peek() == Word::End {
            return Word::End;
        }
        self.words.next().map_or(Word::End, |(_, word)| word)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Word::Sign(known) if *known == sign);
        if is_there {
            self.next();
        }
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<(), Flaw> {
        if self.eat(sign) { Ok(()) } else { Err((self.at(), format!("`{sign}` is missing"))) }
    }

    fn unexpected(&self) -> Flaw {
        let what = match self.peek() {
            Word::End => "the expression ends too early".to_owned(),
            Word::Sign(sign) => format!("`{sign}` does not fit there"),
            Word::Name(name) => format!("`{name}` does not fit there"),
            Word::Literal(_) | Word::Smallest => "that value does not fit there".to_owned(),
        };
        (self.at(), what)
    }

    /// An expression within another.
    fn expression(&mut self) -> Result<Expr, Flaw> {
        self.deeper(Self::choice)
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<Expr, Flaw>) -> Result<Expr, Flaw> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep(self.at()));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn choice(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        let condition = self.logic(true)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        let then = self.deeper(|parser| parser.logic(true))?;
        self.expect(":")?;
        let otherwise = self.expression()?;
        let depth = condition.depth.max(then.depth).max(otherwise.depth);
        node(at, depth, Kind::Choice(Box::new([condition, then, otherwise])))
    }

    /// `||` over `&&`: however many there are, they are one operation.
    fn logic(&mut self, is_any: bool) -> Result<Expr, Flaw> {
        let at = self.at();
        let operand = |parser: &mut Self| if is_any { parser.logic(false) } else { parser.binary(1) };
        let first = operand(self)?;
        let mut operands = vec![first];
        while self.eat(if is_any { "||" } else { "&&" }) {
            operands.push(operand(self)?);
        }
        if operands.len() == 1 {
            return operands.pop().ok_or_else(|| self.unexpected());
        }
        node(at, deepest(&operands), Kind::Logic { is_any, operands })
    }

    /// Operators that bind at least so strongly.
    fn binary(&mut self, strength: u8) -> Result<Expr, Flaw> {
        let mut left = self.unary()?;
        loop {
            let Word::Sign(sign) = self.peek() else { return Ok(left) };
            let found = Binary::SIGNS.iter().find(|(known, of_it, _)| known == sign && *of_it >= strength);
            let Some((_, of_it, operator)) = found else { return Ok(left) };
            let at = self.at();
            self.next();
            let right = self.binary(of_it + 1)?;
            let depth = left.depth.max(right.depth);
            left = node(at, depth, Kind::Binary(*operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn unary(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        if self.eat("!") {
            let operand = self.deeper(Self::unary)?;
            return node(at, operand.depth, Kind::Not(Box::new(operand)));
        }
        if !self.eat("-") {
            return self.member();
        }
        match self.peek() {
            Word::Smallest => {
                self.next();
                node(at, 0, Kind::Literal(Value::Int(i64::MIN)))
            }
            Word::Literal(_) | Word::Name(_) | Word::Sign(_) | Word::End => {
                let operand = self.deeper(Self::unary)?;
                node(at, operand.depth, Kind::Negate(Box::new(operand)))
            }
        }
    }

    fn member(&mut self) -> Result<Expr, Flaw> {
        let mut of = self.primary()?;
        loop {
            let at = self.at();
            if self.eat(".") {
                let name_at = self.at();
                let Word::Name(name) = self.next() else {
                    return Err((name_at, "a field has a name".to_owned()));
                };
                of = if self.eat("(") {
                    self.method(name_at, of, &name)?
                } else {
                    node(at, of.depth, Kind::Select(Box::new(of), name))?
                };
            } else if self.eat("[") {
                let index = self.expression()?;
                self.expect("]")?;
                let depth = of.depth.max(index.depth);
                of = node(at, depth, Kind::Index(Box::new(of), Box::new(index)))?;
            } else {
                return Ok(of);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Flaw> {
        let at = self.at();
        match self.peek() {
            Word::Sign("(") => {
                self.next();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Word::Sign("[") => {
                self.next();
                let list = self.list("]")?;
                node(at, deepest(&list), Kind::List(list))
            }
            Word::Sign("{") => {
                self.next();
                let entries = self.entries()?;
                let depth = entries.iter().map(|(key, value)| key.depth.max(value.depth)).max();
                node(at, depth.unwrap_or(0), Kind::Map(entries))
            }
            Word::Literal(_) | Word::Name(_) => match self.next() {
                Word::Literal(value) => node(at, 0, Kind::Literal(value)),
                Word::Name(name) if self.eat("(") => self.function(at, &name),
                Word::Name(name) => self.variable(at, &name),
                Word::Smallest | Word::Sign(_) | Word::End => Err(self.unexpected()),
            },
            Word::Smallest => Err((at, "the number does not fit into 64 bits".to_owned())),
            Word::Sign(_) | Word::End => Err(self.unexpected()),
        }
    }

    fn variable(&self, at: usize, name: &str) -> Result<Expr, Flaw> {
        not_reserved(at, name)?;
        match self.names.iter().rposition(|known| **known == *name) {
            Some(place) => node(at, 0, Kind::Variable(place)),
            None => Err((at, format!("`{name}` {UNKNOWN_NAME} {}", self.variables.join(", ")))),
        }
    }

    /// Up to a closing bracket; a comma may be before it.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, Flaw> {
        let mut list = Vec::new();
        while !self.eat(close) {
            list.push(self.expression()?);
            if !self.eat(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(list)
    }

    fn entries(&mut self) -> Result<Vec<(Expr, Expr)>, Flaw> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }

    /// Behind `name(`.
    fn function(&mut self, at: usize, name: &str) -> Result<Expr, Flaw> {
        if name == "has" {
            let asked = self.expression()?;
            self.expect(")")?;
            return match asked.kind {
                Kind::Select(of, field) => node(at, of.depth, Kind::Has(of, field)),
                _ => Err((at, "has() asks for a field: has(args.path)".to_owned())),
            };
        }
        let operands = self.list(")")?;
        if name == "matches" { matching(at, operands) } else { call(at, name, false, operands) }
    }

    /// Behind `of.name(`.
    fn method(&mut self, at: usize, of: Expr, name: &str) -> Result<Expr, Flaw> {
        let each = match name {
            "all" => Each::All,
            "exists" => Each::Exists,
            "exists_one" => Each::ExistsOne,
            "filter" => Each::Filter,
            "map" => Each::Map,
            _ => {
                let mut operands = vec![of];
                operands.extend(self.list(")")?);
                return match name {
                    "matches" => matching(at, operands),
                    name => call(at, name, true, operands),
                };
            }
        };
        let name_at = self.at();
        let Word::Name(variable) = self.next() else {
            return Err((name_at, format!("{name}() begins with the name of an element")));
        };
        not_reserved(name_at, &variable)?;
        self.expect(",")?;
        self.names.push(variable);
        let read = self.list(")");
        self.names.pop();
        let mut operands = read?;
        let result = operands.pop();
        let filter = if each == Each::Map { operands.pop() } else { None };
        let (Some(result), true) = (result, operands.is_empty()) else {
            return Err((at, format!("{name}() has a name and one expression")));
        };
        let depth = of.depth.max(result.depth).max(filter.as_ref().map_or(0, |filter| filter.depth));
        node(at, depth, Kind::Each(each, Box::new(of), Box::new(Body { filter, result })))
    }
}

fn not_reserved(at: usize, name: &str) -> Result<(), Flaw> {
    let is_reserved = RESERVED.contains(&name);
    if is_reserved { Err((at, format!("`{name}` is a reserved word"))) } else { Ok(()) }
}

fn too_deep(at: usize) -> Flaw {
    (at, format!("there are more than {MAX_DEPTH} operations within each other"))
}

fn deepest(operands: &[Expr]) -> usize {
    operands.iter().map(|operand| operand.depth).max().unwrap_or(0)
}

/// `depth`: of its deepest operand.
fn node(at: usize, depth: usize, kind: Kind) -> Result<Expr, Flaw> {
    if depth == MAX_DEPTH {
        return Err(too_deep(at));
    }
    Ok(Expr { at, depth: depth + 1, kind })
}

fn call(at: usize, name: &str, is_method: bool, operands: Vec<Expr>) -> Result<Expr, Flaw> {
    let function = Function::named(name, is_method, operands.len()).map_err(|wrong| (at, wrong))?;
    node(at, deepest(&operands), Kind::Call(function, operands))
}

/// `matches` takes a pattern that is written out, so that it is known before how much it takes.
fn matching(at: usize, operands: Vec<Expr>) -> Result<Expr, Flaw> {
    let Ok([text, pattern]) = <[Expr; 2]>::try_from(operands) else {
        return Err((at, "matches() has a text and a pattern".to_owned()));
    };
    let Kind::Literal(Value::String(written)) = &pattern.kind else {
        return Err((pattern.at, "the pattern of matches() must be written out as a text".to_owned()));
    };
    let read = Pattern::new(written).map_err(|wrong| (pattern.at, wrong))?;
    node(at, text.depth, Kind::Matches(Box::new(text), read))
}
