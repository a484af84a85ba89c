//! Whether a text tries to give a model orders that it should not take: direct injection, indirect injection, jailbreaks.
//!
//! Enters: a text and who it comes from ([`Role`]). Leaves: a [`Verdict`]: a score, what it looks like, where, and what should be
//! done. Guarantees: no panic, time and memory linear in the text, the same answer for the same text on every machine; however
//! the text was hidden (`view`), at most [`view::MOST_VIEWS`] ways to read it are tried. Does not: understand. It compares a text with
//! what attacks look like, and is wrong in known proportions (`docs/prompt-guard.md`); what must not happen has to be made
//! impossible by rules of access.
//!
//! The weights are made by `bench/guard`, which says how.

pub mod collect;
mod confusable;
mod decode;
pub mod features;
pub mod fold;
mod hash;
pub mod lexicon;
pub mod look;
mod mend;
pub mod model;
pub mod quality;
pub mod table;
pub mod tokens;
pub mod verdict;
pub mod view;
pub mod window;

pub use collect::{Collected, LARGEST};
pub use verdict::{Band, Role, Verdict, judge};
pub use window::FAMILIES;
