//! What is said of a text: how suspicious it is, what it looks like, and where.

use crate::collect::{Collected, LARGEST};
use crate::look::{Look, looks};
use crate::model::Model;
use crate::view::Way;
use crate::window::FAMILIES;

/// Who a text comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Who talks to the model.
    #[default]
    User,
    /// What a tool, a page or a document gave, or a tool's description: nobody there may give orders.
    Tool,
    /// Who runs the model: orders are what such a text is for, so it is always allowed.
    Operator,
}

/// What should be done with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    /// Nothing.
    Allow,
    /// Tell of it: about one harmless text in a hundred is here too.
    Annotate,
    /// Do not pass it on: about one harmless text in a thousand is here too.
    Block,
}

impl Band {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Annotate => "annotate",
            Self::Block => "block",
        }
    }
}

/// What is said of a text.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// From 0 to 1, the more the more suspicious; comparable over families, roles and lengths.
    pub score: f64,
    /// The part of it that each family has, in the order of [`FAMILIES`].
    pub families: [f64; 3],
    /// What should be done.
    pub band: Band,
    /// How the text was read where it is most suspicious.
    pub way: Way,
    /// Bytes of the text that are most suspicious; of a text beyond [`LARGEST`], of what was looked at.
    pub span: (usize, usize),
    /// The text was too long, and its middle was not looked at; it is at least annotated.
    pub is_partial: bool,
}

impl Verdict {
    /// The family that fits best.
    pub fn family(&self) -> &'static str {
        let pairs = FAMILIES.iter().zip(self.families);
        pairs.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or("direct", |(name, _)| *name)
    }

    /// Why, in one sentence.
    pub fn reason(&self) -> String {
        let (from, to) = self.span;
        let partial = if self.is_partial { "; it is too long, and its middle was not looked at" } else { "" };
        match self.band {
            Band::Allow => format!("nothing in it looks enough like an attack{partial}"),
            Band::Annotate | Band::Block => format!(
                "bytes {from} to {to}, {}, look like {} injection{partial}",
                self.way.name(),
                self.family()
            )
            .replace("jailbreak injection", "a jailbreak"),
        }
    }
}

/// Says what is to be said of the text. None: the weights in the program are damaged; then nothing must pass for judged.
#[must_use]
pub fn judge(text: &str, role: Role) -> Option<Verdict> {
    if text.len() <= LARGEST {
        return judge_text(text, false, role);
    }
    let mut collected = Collected::default();
    collected.push(text.as_bytes());
    collected.judge(role)
}

pub(crate) fn judge_text(text: &str, is_partial: bool, role: Role) -> Option<Verdict> {
    let model = Model::embedded()?;
    let looks = looks(model, text);
    let most = looks.iter().map(|look| (model.head.logit(&look.inputs), look));
    let (logit, look) = most.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let score = 1.0 / (1.0 + (-f64::from(logit)).exp());
    let band = match role {
        Role::Operator => Band::Allow,
        Role::User | Role::Tool if is_partial => band(model, logit, role).max(Band::Annotate),
        Role::User | Role::Tool => band(model, logit, role),
    };
    let (families, span) = (shares(look, score), look.span);
    Some(Verdict { score, families, band, way: look.way, span, is_partial })
}

fn band(model: &Model, logit: f32, role: Role) -> Band {
    let [user, tool] = model.thresholds;
    let [annotate, block] = if role == Role::Tool { tool } else { user };
    if logit > block {
        Band::Block
    } else if logit > annotate {
        Band::Annotate
    } else {
        Band::Allow
    }
}

fn shares(look: &Look, score: f64) -> [f64; 3] {
    let most = look.summary.families.into_iter().fold(f32::MIN, f32::max);
    let raised = look.summary.families.map(|logit| f64::from(logit - most).exp());
    let sum: f64 = raised.iter().sum();
    raised.map(|raised| score * raised / sum)
}
