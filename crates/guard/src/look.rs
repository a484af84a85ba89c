//! The numbers of a text that the head puts together, for each of its views.
//!
//! Enters: a text of any length, the weights. Leaves: [`Look`]s. Guarantees: time linear in the text.

use crate::features::Reading;
use crate::fold::Folded;
use crate::model::{Head, Model};
use crate::tokens::{Kind, Token};
use crate::view::{View, Way, views};
use crate::window::{LONG, Summary, WINDOW, summary};

/// A text in one view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// How it was read.
    pub way: Way,
    /// What the head takes.
    pub inputs: [f32; Head::INPUTS],
    /// How suspicious its parts are.
    pub summary: Summary,
    /// Bytes of the text that its most suspicious window is about.
    pub span: (usize, usize),
}

/// The text in all its views, the plain one first.
pub fn looks(model: &Model, text: &str) -> Vec<Look> {
    let views = views(text);
    let tricks = views.first().map_or(0, |plain| plain.folded.tricks.sum());
    views.iter().map(|view| look(model, text, view, tricks)).collect()
}

fn look(model: &Model, text: &str, view: &View, tricks: u32) -> Look {
    let Folded { chars, .. } = &view.folded;
    let reading = Reading::of(chars);
    let (sums, known) = model.sums(chars, &reading);
    let summary = summary(&sums, model.bias);
    let is = |holds: bool| f32::from(u8::from(holds));
    let inputs = [
        summary.best,
        summary.second,
        summary.small,
        summary.whole,
        logarithm(count(reading.tokens.len().min(LONG))),
        is(view.way == Way::Mended),
        is(!matches!(view.way, Way::Plain | Way::Mended)),
        logarithm(tricks.min(20)),
        known,
        logarithm(markers(chars, &reading.tokens)),
        if reading.tokens.len() > WINDOW { summary.best } else { 0.0 },
    ];
    let span = view.about.unwrap_or_else(|| span(text, view, &reading.tokens, summary.place));
    Look { way: view.way, inputs, summary, span }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn logarithm(count: u32) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX)).ln_1p()
}

/// Words that name who speaks, beside a mark: the borders that chat templates put between messages.
fn markers(chars: &[char], tokens: &[Token]) -> u32 {
    const SPEAKERS: [&str; 10] = [
        "system",
        "assistant",
        "user",
        "human",
        "inst",
        "sys",
        "instruction",
        "instructions",
        "tool",
        "admin",
    ];
    let mark = |token: Option<&Token>| {
        token.filter(|token| token.kind == Kind::Mark).and_then(|token| chars.get(token.start)).copied()
    };
    let found = tokens.iter().enumerate().filter(|(at, token)| {
        let before = at.checked_sub(1).and_then(|before| mark(tokens.get(before)));
        let is_opened = matches!(before, Some('<' | '[' | '|' | '/' | '#' | '{' | '_'));
        let is_closed = matches!(mark(tokens.get(at + 1)), Some(':' | '>' | ']' | '|' | '_'));
        let word = chars.get(token.start..token.end).unwrap_or_default();
        is_opened && is_closed && SPEAKERS.iter().any(|speaker| speaker.chars().eq(word.iter().copied()))
    });
    count(found.count())
}

/// The bytes that these tokens came from.
fn span(text: &str, view: &View, tokens: &[Token], (from, to): (usize, usize)) -> (usize, usize) {
    let byte = |char: usize| {
        let at = view.folded.at.get(char).and_then(|at| usize::try_from(*at).ok());
        at.filter(|at| *at < text.len())
    };
    let first = tokens.get(from).and_then(|token| byte(token.start)).unwrap_or(0);
    let last = tokens.get(to.saturating_sub(1)).and_then(|token| byte(token.end.saturating_sub(1)));
    let (start, end) = last.map_or((first, text.len()), |last| (first.min(last), first.max(last)));
    // The last character as a whole.
    let behind = (end + 1..text.len()).find(|at| text.is_char_boundary(*at));
    (start, behind.unwrap_or(text.len()))
}
