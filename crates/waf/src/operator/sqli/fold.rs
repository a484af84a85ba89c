//! Tokens folded until at most five are left: what says the same in SQL gives the same list.
//!
//! Enters: a text and as what it is read. Leaves: its tokens, folded, and their letters. The rules and their order are
//! those of libinjection (`libinjection_sqli_fold`), with what it does by accident.

use super::token::{Cutter, Kind, Reading, Token};
use super::words;

/// Tokens that are compared with lists of injections.
const MOST: usize = 5;

/// A text as a list of tokens.
#[derive(Debug)]
pub(super) struct Folded<'t> {
    pub(super) tokens: Vec<Token<'t>>,
    /// Their letters, at most eight.
    pub(super) print: Vec<u8>,
    /// How many tokens were cut.
    pub(super) count: usize,
    /// Whether MySQL would cut it in another way.
    pub(super) mysql_differs: bool,
}

/// Cuts a text and folds its tokens.
pub(super) fn fold(text: &[u8], reading: Reading) -> Folded<'_> {
    let mut folder = Folder {
        cutter: Cutter::new(text, reading),
        kept: [Token::new(Kind::Unknown, &[]); MOST + 3],
        end: 0,
        left: 0,
        more: true,
        comment: None,
        count: 0,
    };
    let found = if folder.first() { folder.run() } else { Some(Vec::new()) };
    let mysql_differs = found.is_some() && folder.cutter.mysql_differs;
    let mut tokens = found.unwrap_or_else(|| folder.kept.iter().take(folder.left + 2).copied().collect());
    let mut print: Vec<u8> = tokens.iter().map(|token| token.kind.letter()).collect();
    if print.contains(&Kind::Evil.letter()) {
        tokens = vec![Token::new(Kind::Evil, b"X")];
        print = vec![Kind::Evil.letter()];
    }
    Folded { tokens, print, count: folder.count, mysql_differs }
}

struct Folder<'t> {
    cutter: Cutter<'t>,
    kept: [Token<'t>; MOST + 3],
    /// Where the next token goes.
    end: usize,
    /// How many are folded; rules look at those from here.
    left: usize,
    /// Whether there may be more tokens.
    more: bool,
    /// A comment that no token follows.
    comment: Option<Token<'t>>,
    count: usize,
}

/// What a rule for two tokens leads to.
enum Step {
    /// The rules begin anew.
    Again,
    /// Three tokens are looked at.
    Three,
    /// Nothing else counts.
    Evil,
}

impl<'t> Folder<'t> {
    fn at(&self, place: usize) -> Token<'t> {
        self.kept.get(place).copied().unwrap_or_else(|| Token::new(Kind::Unknown, &[]))
    }

    fn kind(&self, place: usize) -> Kind {
        self.kept.get(place).map_or(Kind::Unknown, |token| token.kind)
    }

    fn put(&mut self, place: usize, token: Token<'t>) {
        if let Some(slot) = self.kept.get_mut(place) {
            *slot = token;
        }
    }

    fn turn(&mut self, place: usize, kind: Kind) {
        if let Some(slot) = self.kept.get_mut(place) {
            slot.kind = kind;
        }
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let next = self.cutter.next();
        self.count += usize::from(next.is_some());
        next
    }

    /// The first token that says something: comments, opening parentheses, types and signs before it do not.
    fn first(&mut self) -> bool {
        while let Some(token) = self.next() {
            let silent = matches!(token.kind, Kind::Comment | Kind::LeftParenthesis | Kind::Type);
            if !silent && !token.is_unary() {
                self.put(0, token);
                self.end = 1;
                return true;
            }
        }
        false
    }

    /// Cuts more until so many tokens are there to look at.
    fn want(&mut self, tokens: usize) {
        while self.more && self.end <= MOST && self.end - self.left < tokens {
            match self.next() {
                None => self.more = false,
                Some(token) if token.kind == Kind::Comment => self.comment = Some(token),
                Some(token) => {
                    self.comment = None;
                    self.put(self.end, token);
                    self.end += 1;
                }
            }
        }
    }

    /// Folds; none where one token alone decides.
    fn run(&mut self) -> Option<Vec<Token<'t>>> {
        loop {
            if self.end >= MOST && self.five() {
                let sixth = self.at(MOST);
                let over = self.end > MOST;
                if over {
                    self.put(1, sixth);
                }
                self.end = if over { 2 } else { 1 };
                self.left = 0;
            }
            if !self.more || self.left >= MOST {
                return Some(self.result());
            }
            self.want(2);
            if self.end - self.left < 2 {
                self.left = self.end;
                continue;
            }
            match self.two() {
                Step::Again => continue,
                Step::Evil => return None,
                Step::Three => {}
            }
            self.want(3);
            if self.end - self.left < 3 {
                self.left = self.end;
                continue;
            }
            if !self.three() {
                self.left += 1;
            }
        }
    }

    fn result(&self) -> Vec<Token<'t>> {
        let count = self.end.min(MOST);
        let mut tokens: Vec<Token<'t>> = self.kept.iter().take(count).copied().collect();
        // PHP takes a tick that is not closed for the start of a comment.
        if count > 2
            && let Some(last) = tokens.last_mut()
            && last.kind == Kind::Word
            && last.open == b'`'
            && last.text.is_empty()
            && last.close == 0
        {
            last.kind = Kind::Comment;
        }
        if count < MOST {
            tokens.extend(self.comment);
        }
        tokens
    }

    /// Five tokens that are an expression and say no more than their first.
    fn five(&self) -> bool {
        use Kind::{Comma, LeftParenthesis, Number, Operator, RightParenthesis, Word};
        matches!(
            [self.kind(0), self.kind(1), self.kind(2), self.kind(3), self.kind(4)],
            [Number, Operator | Comma, LeftParenthesis, Number, RightParenthesis]
                | [Word, Operator, LeftParenthesis, Word | Number, RightParenthesis]
                | [Number, RightParenthesis, Comma, LeftParenthesis, Number]
                | [Word, RightParenthesis, Operator, LeftParenthesis, Word]
        )
    }

    /// Forgets so many of the last tokens, and looks from the first again.
    fn forget(&mut self, tokens: usize) -> Step {
        self.end -= tokens;
        self.left = 0;
        Step::Again
    }

    /// Forgets the second of two tokens, and looks at the one before the first again.
    fn back(&mut self) -> Step {
        self.end -= 1;
        self.left = self.left.saturating_sub(1);
        Step::Again
    }

    /// The rules for two tokens.
    fn two(&mut self) -> Step {
        use Kind::{
            Backslash, Collation, Function, Keyword, LeftBrace, LeftParenthesis, Logic, Number, Operator,
            RightBrace, RightParenthesis, Semicolon, Text, TransactSql, Type, Variable, Word,
        };
        let (place, next) = (self.left, self.left + 1);
        let (left, right) = (self.at(place), self.at(next));
        match (left.kind, right.kind) {
            (Text, Text) | (Semicolon, Semicolon) => {
                self.end -= 1;
                return Step::Again;
            }
            (Operator | Logic, kind) if kind == Type || right.is_unary() => return self.forget(1),
            (LeftParenthesis, _) if right.is_unary() => return self.back(),
            (first, second) if joins(first) && (joins(second) || second == Logic) => {
                if let Some((text, kind)) = words::look_up_both(left.text, right.text) {
                    self.put(place, Token { kind, text, ..left });
                    return self.back();
                }
            }
            _ => {}
        }
        match (left.kind, right.kind) {
            (Semicolon, Function)
                if right.text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"IF")) =>
            {
                self.turn(next, TransactSql);
            }
            (Word | Variable, LeftParenthesis) if is_function(&left) => self.turn(place, Function),
            (Keyword, _) if left.is(b"IN") || left.is(b"NOT IN") => {
                self.turn(place, if right.kind == LeftParenthesis { Operator } else { Word });
            }
            (Operator, _) if left.is(b"LIKE") || left.is(b"NOT LIKE") => {
                if right.kind == LeftParenthesis {
                    self.turn(place, Function);
                }
                return Step::Three;
            }
            (Type, Word | Number | Type | LeftParenthesis | Function | Variable | Text) => {
                self.put(place, right);
                return self.forget(1);
            }
            (Collation, Word) => {
                if right.text.contains(&b'_') {
                    self.turn(next, Type);
                    self.left = 0;
                }
                return Step::Three;
            }
            (Backslash, _) if right.is_arithmetic() => {
                self.turn(place, Number);
                self.left = 0;
            }
            (Backslash, _) => {
                self.put(place, right);
                return self.forget(1);
            }
            (LeftParenthesis, LeftParenthesis) | (RightParenthesis, RightParenthesis) => {
                return self.forget(1);
            }
            (LeftBrace, Word) if right.text.is_empty() => {
                self.turn(next, Kind::Evil);
                return Step::Evil;
            }
            (LeftBrace, Word) => return self.forget(2),
            (_, RightBrace) => return self.forget(1),
            _ => return Step::Three,
        }
        Step::Again
    }

    /// The rules for three tokens; says whether one held.
    fn three(&mut self) -> bool {
        use Kind::{
            Comma, Dot, Expression, Function, Group, Keyword, LeftParenthesis, Logic, Number, Operator,
            RightParenthesis, Text, Type, Variable, Word,
        };
        let (place, next) = (self.left, self.left + 1);
        let (left, middle, right) = (self.at(place), self.at(next), self.at(place + 2));
        let unary = middle.is_unary();
        match (left.kind, middle.kind, right.kind) {
            (Number, Operator, Number)
            | (Logic, _, Logic)
            | (Variable, Operator, Variable | Number | Word)
            | (Word | Number, Operator, Number | Word)
            | (Word | Number | Text | Variable, Comma, Number | Word | Text | Variable)
            | (Word, Dot, Word) => {
                self.forget(2);
            }
            (Operator, kind, Operator) if kind != LeftParenthesis => {
                self.forget(2);
            }
            (Word | Number | Variable | Text, Operator, Type) if middle.text == b"::" => {
                self.forget(2);
            }
            (Expression | Group | Comma, _, LeftParenthesis)
            | (Keyword | Expression | Group, _, Number | Word | Variable | Text | Function)
            | (Comma, _, Function)
                if unary =>
            {
                self.put(next, right);
                self.forget(1);
            }
            (Comma, _, Number | Word | Variable | Text) if unary => {
                self.put(next, right);
                self.left = 0;
                self.end = self.end.saturating_sub(3);
            }
            (Expression, Dot, Word) => {
                self.put(next, right);
                self.forget(1);
            }
            (Function, LeftParenthesis, kind) => {
                if kind != RightParenthesis && left.is(b"USER") {
                    self.turn(place, Word);
                }
                return false;
            }
            _ => return false,
        }
        true
    }
}

/// Whether a word may be the first of two that are one.
fn joins(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Keyword
            | Kind::Word
            | Kind::Operator
            | Kind::Union
            | Kind::Function
            | Kind::Expression
            | Kind::TransactSql
            | Kind::Type
    )
}

/// Names that are functions where a parenthesis follows.
fn is_function(token: &Token<'_>) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"USER_ID",
        b"USER_NAME",
        b"DATABASE",
        b"PASSWORD",
        b"USER",
        b"CURRENT_USER",
        b"CURRENT_DATE",
        b"CURRENT_TIME",
        b"CURRENT_TIMESTAMP",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
    ];
    NAMES.iter().any(|name| token.is(name))
}
