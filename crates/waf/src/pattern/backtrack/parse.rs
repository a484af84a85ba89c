//! A PCRE pattern to a tree, look-around and back-references with it.

use super::super::{Code, Reader, class};

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 100;
/// Most repetitions that are counted.
const MAX_REPEAT: usize = 1000;
/// Longest text that a look-behind may look at.
const MAX_BEHIND: usize = 255;

/// A part of a pattern.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Empty,
    Set(Box<[bool; 256]>),
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    Word(bool),
    /// The text of an earlier group; whether case is ignored.
    Back(usize, bool),
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    Group(Box<Node>, Option<usize>),
    /// What it has matched stays so: `(?>a)`, and `a*+`.
    Atomic(Box<Node>),
    Repeat {
        inner: Box<Node>,
        least: usize,
        most: Option<usize>,
        greedy: bool,
    },
    Look(Look, Box<Node>),
}

/// In which direction a part looks, and whether it must not find.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Ahead { negative: bool },
    Behind { negative: bool, shortest: usize, longest: usize },
}

/// How a group begins, and for one that looks: whether ahead, and whether it must not find.
type Sign<'s> = (&'s [u8], Option<(bool, bool)>);

struct Parser<'p> {
    reader: Reader<'p>,
    groups: usize,
    fold: bool,
}

/// Reads a pattern; also how many groups it has.
pub(super) fn parse(pattern: &[u8]) -> Result<(Node, usize), String> {
    let mut parser = Parser { reader: Reader::new(pattern), groups: 0, fold: false };
    let node = parser.alternation(0)?;
    if parser.reader.rest.is_empty() {
        Ok((node, parser.groups))
    } else {
        Err("pattern: a parenthesis is not opened".to_owned())
    }
}

impl Parser<'_> {
    fn alternation(&mut self, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err("pattern: nested too deeply".to_owned());
        }
        let mut parts = vec![self.concat(depth)?];
        while self.reader.eat(b"|") {
            parts.push(self.concat(depth)?);
        }
        Ok(match parts.len() {
            1 => parts.pop().unwrap_or(Node::Empty),
            _ => Node::Alternate(parts),
        })
    }

    fn concat(&mut self, depth: usize) -> Result<Node, String> {
        let mut parts = Vec::new();
        while !matches!(self.reader.rest.first(), None | Some(b'|' | b')')) {
            let part = self.atom(depth)?;
            parts.push(self.quantified(part)?);
        }
        Ok(Node::Concat(parts))
    }

    fn set(&self, wanted: impl Fn(u8) -> bool) -> Node {
        let mut set = Box::new([false; 256]);
        for (byte, slot) in (0_u8..=u8::MAX).zip(set.iter_mut()) {
            let folded =
                self.fold && (wanted(byte.to_ascii_lowercase()) || wanted(byte.to_ascii_uppercase()));
            *slot = wanted(byte) || folded;
        }
        Node::Set(set)
    }

    fn atom(&mut self, depth: usize) -> Result<Node, String> {
        let Some(byte) = self.reader.next() else { return Ok(Node::Empty) };
        Ok(match byte {
            b'.' => self.set(|_| true),
            b'^' => Node::LineStart,
            b'$' => Node::LineEnd,
            b'[' => {
                let (negated, members) = class::read(&mut self.reader)?;
                let member = |byte: u8| members.get(usize::from(byte)).copied().unwrap_or(false);
                let Node::Set(mut set) = self.set(member) else { return Ok(Node::Empty) };
                set.iter_mut().for_each(|slot| *slot = *slot != negated);
                Node::Set(set)
            }
            b'(' => self.group(depth)?,
            b'\\' => self.escape()?,
            b'*' | b'+' | b'?' => return Err("pattern: a quantifier has nothing before it".to_owned()),
            other => self.set(|byte| byte == other),
        })
    }

    fn escape(&mut self) -> Result<Node, String> {
        let Some(byte) = self.reader.next() else { return Err("pattern ends by a backslash".to_owned()) };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let space = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
        Ok(match byte {
            b'd' => self.set(|byte| byte.is_ascii_digit()),
            b'D' => self.set(|byte| !byte.is_ascii_digit()),
            b'w' => self.set(word),
            b'W' => self.set(|byte| !word(byte)),
            b's' => self.set(space),
            b'S' => self.set(|byte| !space(byte)),
            b'b' => Node::Word(true),
            b'B' => Node::Word(false),
            b'A' => Node::TextStart,
            b'z' => Node::TextEnd,
            b'1'..=b'9' => {
                let group = usize::from(byte - b'0');
                if group > self.groups {
                    return Err(format!("pattern: \\{group} refers to no group before it"));
                }
                Node::Back(group, self.fold)
            }
            other => match self.reader.code(other)? {
                Code::Byte(code) => self.set(|byte| byte == code),
                Code::Character(_) => {
                    return Err("pattern: a character of more than a byte is not supported here".to_owned());
                }
            },
        })
    }

    fn group(&mut self, depth: usize) -> Result<Node, String> {
        let fold = self.fold;
        let signs: [Sign<'_>; 7] = [
            (b"?>", None),
            (b"?:", None),
            (b"?=", Some((true, false))),
            (b"?!", Some((true, true))),
            (b"?<=", Some((false, false))),
            (b"?<!", Some((false, true))),
            (b"?i:", None),
        ];
        let sign = signs.iter().find(|(sign, _)| self.reader.rest.starts_with(sign)).copied();
        if sign.is_none() && self.reader.eat(b"?i)") {
            // It holds up to the end of the group around it, which puts it back.
            self.fold = true;
            return Ok(Node::Empty);
        }
        if sign.is_none() && self.reader.rest.starts_with(b"?") {
            return Err("pattern: a group of this kind is not supported beside look-around".to_owned());
        }
        let mut number = None;
        match sign {
            None => {
                self.groups += 1;
                number = Some(self.groups);
            }
            Some((sign, _)) => {
                self.reader.eat(sign);
                self.fold |= sign == b"?i:";
            }
        }
        let inner = self.alternation(depth + 1)?;
        self.fold = fold;
        if !self.reader.eat(b")") {
            return Err("pattern: a parenthesis is not closed".to_owned());
        }
        Ok(match sign.and_then(|(_, look)| look) {
            None if sign.is_some_and(|(sign, _)| sign == b"?>") => Node::Atomic(Box::new(inner)),
            None => Node::Group(Box::new(inner), number),
            Some((true, negative)) => Node::Look(Look::Ahead { negative }, Box::new(inner)),
            Some((false, negative)) => {
                let (shortest, longest) = width(&inner)
                    .filter(|(_, longest)| *longest <= MAX_BEHIND)
                    .ok_or("pattern: a look-behind has no bound")?;
                Node::Look(Look::Behind { negative, shortest, longest }, Box::new(inner))
            }
        })
    }

    fn quantified(&mut self, inner: Node) -> Result<Node, String> {
        let (least, most) = match self.reader.rest.first() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => return self.counted(inner),
            _ => return Ok(inner),
        };
        self.reader.next();
        Ok(self.repeat(inner, least, most))
    }

    fn counted(&mut self, inner: Node) -> Result<Node, String> {
        let end = self.reader.rest.iter().position(|byte| *byte == b'}').unwrap_or(0);
        let text = std::str::from_utf8(self.reader.rest.get(1..end).unwrap_or_default()).unwrap_or_default();
        let (least, most) = text.split_once(',').map_or((text, text), |(least, most)| (least, most));
        let Ok(least) = least.parse::<usize>() else {
            return Err("pattern: a brace must be escaped here".to_owned());
        };
        let most = if most.is_empty() {
            None
        } else {
            Some(most.parse().map_err(|_| "pattern: a brace must be escaped here")?)
        };
        if least.max(most.unwrap_or(0)) > MAX_REPEAT {
            return Err(format!("pattern: more than {MAX_REPEAT} repetitions"));
        }
        self.reader.rest = self.reader.rest.get(end + 1..).unwrap_or_default();
        Ok(self.repeat(inner, least, most))
    }

    fn repeat(&mut self, inner: Node, least: usize, most: Option<usize>) -> Node {
        let greedy = !self.reader.eat(b"?");
        let atomic = greedy && self.reader.eat(b"+");
        let repeat = Node::Repeat { inner: Box::new(inner), least, most, greedy };
        if atomic { Node::Atomic(Box::new(repeat)) } else { repeat }
    }
}

/// The least and the most bytes that a part matches.
fn width(node: &Node) -> Option<(usize, usize)> {
    Some(match node {
        Node::Set(_) => (1, 1),
        Node::Empty
        | Node::LineStart
        | Node::LineEnd
        | Node::TextStart
        | Node::TextEnd
        | Node::Word(_)
        | Node::Look(..) => (0, 0),
        Node::Back(..) => return None,
        Node::Group(inner, _) | Node::Atomic(inner) => width(inner)?,
        Node::Concat(parts) => {
            let widths = parts.iter().map(width).collect::<Option<Vec<_>>>()?;
            widths.iter().fold((0, 0), |sum, width| (sum.0 + width.0, sum.1 + width.1))
        }
        Node::Alternate(parts) => {
            let widths = parts.iter().map(width).collect::<Option<Vec<_>>>()?;
            (widths.iter().map(|width| width.0).min()?, widths.iter().map(|width| width.1).max()?)
        }
        Node::Repeat { inner, least, most, .. } => {
            let (shortest, longest) = width(inner)?;
            (shortest.checked_mul(*least)?, longest.checked_mul((*most)?)?)
        }
    })
}
