//! The ways a text can be read: as it shows, put back together, decoded, turned, backwards.
//!
//! Enters: a text. Leaves: at most [`MOST_VIEWS`] [`View`]s of it, the plain one first. Guarantees: each is made in one pass and
//! is at most as long as the text unfolds to; nothing is decoded more than twice.

use crate::decode::decode;
use crate::fold::Folded;
use crate::mend::{backwards, mended, turned};

/// Views of a text, at most.
pub const MOST_VIEWS: usize = 6;
/// Hidden characters from which on they are a text.
const MIN_HIDDEN: usize = 4;

/// How a text was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// As it shows.
    Plain,
    /// With letters put together that were set apart, and signs read as the letters they stand for.
    Mended,
    /// What invisible tag characters say.
    Hidden,
    /// With base64, hexadecimal digits, percent-encoding, entities and escapes decoded, once.
    Decoded,
    /// The same of what that gave.
    DecodedTwice,
    /// Turned by thirteen letters.
    Turned,
    /// Backwards.
    Backwards,
}

impl Way {
    /// In a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mended => "letters put back together",
            Self::Hidden => "invisible characters read",
            Self::Decoded => "decoded",
            Self::DecodedTwice => "decoded twice",
            Self::Turned => "rot13 undone",
            Self::Backwards => "read backwards",
        }
    }
}

/// One reading of a text.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) way: Way,
    pub(crate) folded: Folded,
    /// Bytes of the text it is about, where places inside it have none in the text.
    pub(crate) about: Option<(usize, usize)>,
}

/// All views of the text.
pub(crate) fn views(text: &str) -> Vec<View> {
    let plain = Folded::of(text);
    let mut views = Vec::with_capacity(2);
    let mut add = |way, folded: Option<Folded>, about| {
        if let Some(folded) = folded
            && views.len() + 1 < MOST_VIEWS
        {
            views.push(View { way, folded, about });
        }
    };
    add(Way::Mended, mended(&plain), None);
    let hidden = Some(plain.hidden.as_str()).filter(|hidden| hidden.len() >= MIN_HIDDEN);
    add(Way::Hidden, hidden.map(Folded::of), Some((0, text.len())));
    if let Some(once) = decode(text) {
        let twice = decode(&once.text);
        add(Way::Decoded, Some(Folded::of(&once.text)), Some(once.place));
        add(Way::DecodedTwice, twice.map(|twice| Folded::of(&twice.text)), Some(once.place));
    }
    let turned = turned(&plain);
    let is_turned = turned.is_some();
    add(Way::Turned, turned, None);
    add(Way::Backwards, if is_turned { None } else { backwards(&plain) }, None);
    views.insert(0, View { way: Way::Plain, folded: plain, about: None });
    views
}
