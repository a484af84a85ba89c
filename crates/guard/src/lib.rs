//! Whether a text tries to give a model orders.
mod confusable;
pub mod features;
pub mod fold;
mod hash;
pub mod lexicon;
pub mod tokens;
